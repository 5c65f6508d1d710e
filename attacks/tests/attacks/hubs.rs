//! Section D of the list: what a peer can do to whoever serves others in the same thread. What it comes to for those is told by
//! the bystander.

use memring::End;

use crate::attacker::Attacker;
use crate::scene::{PROTOCOL, Scene};
use crate::session::SMALL;

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
