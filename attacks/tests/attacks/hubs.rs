//! Section D of the list: what a peer can do to whoever serves others in the same thread. What it comes to for those is told by
//! the bystander.

use memring::{Bytes, End};

use crate::attacker::Attacker;
use crate::scene::{PROTOCOL, Scene};
use crate::service::{Service, receive};
use crate::session::SMALL;
use crate::victim::Victim;

/// Takes what comes.
const TAKES: Service<Bytes> = Service::of(|channel, how| {
    receive::<Bytes>(channel, how)?;
    Ok(None)
});

/// Sends messages with their numbers until there is room for no more; how many.
#[track_caller]
fn fill(attacker: &mut Attacker) -> u64 {
    let mut sent = 0;
    loop {
        attacker.tell(format!("send {} timeout=200", numbered(sent)));
        match attacker.hear() {
            said if said.starts_with("ok") => sent += 1,
            said if said.starts_with("err timeout") => return sent,
            other => panic!("{other}"),
        }
    }
}

fn numbered(number: u64) -> String {
    format!("{number:016x}").repeat(6)
}

#[test]
fn attack_64_who_reads_no_answers_is_asked_for_no_more_questions_until_it_does() {
    let Some(scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    attacker.run(format!("connect {}", scene.path()));
    attacker.run(format!("client until=ready {PROTOCOL} {SMALL}"));
    for _ in 0..3 {
        // Both lanes, and an answer between them.
        let sent = fill(&mut attacker);
        assert!((100..200).contains(&sent), "{sent} messages fill two lanes");
        for number in 0..sent {
            assert_eq!(attacker.run("recvmsg").get("hex"), numbered(number), "answer {number}");
        }
    }
    fill(&mut attacker);
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_64_who_always_has_another_message_has_its_turns_and_no_more() {
    let Some(mut scene) = Scene::with(name!(), |builder| builder, TAKES) else { return };
    for leaves_them in [false, true] {
        let mut attacker = scene.attacker();
        attacker.run(format!("connect {}", scene.path()));
        attacker.run(format!("client until=ready {PROTOCOL} {SMALL}"));
        // Four frames that fill the lane for good: behind the last is the first again.
        for _ in 0..4 {
            attacker.run("frame kind=1 len=1008 payload=00 next=keep");
        }
        scene.answers_others();
        // And who comes now is served too.
        drop(Victim::connect(&scene.path()).session());
        assert!(matches!(scene.ended(), End::Closed));
        if !leaves_them {
            attacker.run("store64 mine data 0 0");
        }
        // What it leaves is read once more and not for ever.
        drop(attacker);
        assert!(matches!(scene.ended(), End::PeerDied(_)));
    }
    scene.finish();
}
