//! Section D of the list: sleeping and waking (59 to 65). Who dies or stops is in `deaths.rs`.

use std::thread;
use std::time::{Duration, Instant};

use memring::{Bytes, End, RecvError, SendError, ServerEnd};

use crate::attacker::Attacker;
use crate::in_hand::InHand;
use crate::scene::Scene;
use crate::session::{LARGEST, NO_WAIT, SMALL, fill, in_time};
use crate::support::{eventually, forbid, soon};

/// Why an attack on who sleeps on a word of the lane is none on a hub.
const ON_WORDS: &str = "a hub sleeps on descriptors, and on no word of a lane";

/// A Fence, byte for byte.
const FENCE: &str = "4d524e47090000001000000000000000";

/// Waits until the victim says that it sleeps: as consumer (`rx_asleep`) or as producer.
#[track_caller]
fn until_asleep(attacker: &mut Attacker, word: &str) {
    eventually("the victim sleeps", || attacker.run("where").number(word) != 0);
}

/// Waits until all decoys sleep on their word.
#[track_caller]
fn until_decoys_sleep(attacker: &Attacker) {
    let tasks = format!("/proc/{}/task", attacker.pid());
    eventually("four decoys sleep", || {
        let stats = std::fs::read_dir(&tasks).expect("its threads").filter_map(|task| {
            std::fs::read_to_string(task.expect("a thread").path().join("stat")).ok()
        });
        stats.filter(|stat| stat.contains("(decoy) S")).count() == 4
    });
}

/// How often each decoy woke.
fn decoys(attacker: &mut Attacker) -> [u64; 4] {
    let rounds = attacker.run("rounds");
    [0, 1, 2, 3].map(|number| rounds.number(&format!("decoy{number}")))
}

/// Sends `count` messages; how many wakes that cost.
fn wakes_of_sending(victim: &mut ServerEnd<Bytes>, count: u64) -> u64 {
    let before = victim.halves().0.stats().wakes;
    for _ in 0..count {
        victim.try_send(b"x").expect("room");
    }
    victim.halves().0.stats().wakes - before
}

/// Receives `count` messages, and says so after each; how many wakes that cost.
fn wakes_of_receiving(attacker: &mut Attacker, victim: &mut InHand, count: u64) -> u64 {
    for number in 0..count {
        attacker.run("send 2a");
        assert_eq!(*victim.recv_deadline(soon()).expect("a message"), [0x2a], "{number}");
        assert!(victim.try_recv().is_err());
    }
    victim.halves().1.stats().wakes
}

#[test]
fn attack_59_a_sleep_word_that_lies_costs_one_wake_a_message_and_no_more() {
    const COUNT: u64 = 40;
    let Some(scene) = Scene::in_hand(name!()) else { return };
    // Nobody sleeps there, so no wake settles anything: it is one each time and never more. A doorbell that is on its way does.
    let words: [(&str, u32, u64); 6] = [
        ("stuck off", 0, 0),
        ("stuck on", 1 << 2 | 1, COUNT),
        ("stuck at the last epoch", u32::MAX << 2 | 1, COUNT),
        ("a doorbell that nobody hears", 1 << 2 | 2, 1),
        ("an epoch and no way", 1 << 2, 0),
        ("gone, which the head does not say", 1 << 2 | 3, 0),
    ];
    let mut attacker = scene.attacker();
    for (case, word, wakes) in words {
        let mut victim = scene.session(&mut attacker, SMALL);
        attacker.run(format!("asleep rx {word}"));
        assert_eq!(wakes_of_sending(&mut victim, COUNT), wakes, "{case}: sending");
        attacker.run(format!("asleep tx {word}"));
        let woken = wakes_of_receiving(&mut attacker, &mut victim, COUNT);
        assert_eq!(woken, wakes, "{case}: receiving");
        attacker.run("close");
    }
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_59_a_sleep_word_that_toggles_costs_one_wake_a_message_and_no_more() {
    const COUNT: u64 = 100;
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    attacker.run("toggle mine control 128 5 9");
    attacker.run("toggle mine control 256 5 0");
    assert!(wakes_of_sending(&mut victim, COUNT) <= COUNT);
    assert!(wakes_of_receiving(&mut attacker, &mut victim, COUNT) <= COUNT);
    let stopped = attacker.run("stop");
    assert!(stopped.number("toggle0") > 0 && stopped.number("toggle1") > 0);
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_59_a_sleeper_that_never_rises_is_woken_once() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), NO_WAIT, |b| b) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    attacker.run("decoy rx time=30000");
    until_decoys_sleep(&attacker);
    attacker.run("asleep rx 5");
    assert_eq!(wakes_of_sending(&mut victim, 50), 1);
    eventually("the decoys were woken", || !decoys(&mut attacker).contains(&0));
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_60_a_storm_of_wakes_wakes_a_receiver_now_and_then() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), ON_WORDS, |b| b) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    let receiver = thread::spawn(move || {
        let message = victim.recv_deadline(soon()).expect("a message").to_vec();
        (message, victim.halves().1.stats().sleeps)
    });
    until_asleep(&mut attacker, "rx_asleep");
    attacker.run("wakestorm rx");
    let rounds = rounds_of_a_storm(&mut attacker);
    attacker.run("send 0a0b0c");
    let (message, sleeps) = in_time(receiver);
    assert_eq!(message, [0x0a, 0x0b, 0x0c]);
    assert!(sleeps < rounds / 100, "{sleeps} sleeps under {rounds} wakes");
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_60_a_storm_of_wakes_wakes_a_sender_now_and_then() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), ON_WORDS, |b| b) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    fill(&mut victim, &[1; LARGEST]);
    let sender = thread::spawn(move || {
        victim.send_deadline(&[2; LARGEST], soon()).expect("room");
        victim.halves().0.stats().sleeps
    });
    until_asleep(&mut attacker, "tx_asleep");
    attacker.run("wakestorm tx");
    let rounds = rounds_of_a_storm(&mut attacker);
    attacker.run("head 1024 wake");
    let sleeps = in_time(sender);
    assert!(sleeps < rounds / 100, "{sleeps} sleeps under {rounds} wakes");
    drop(attacker);
    scene.finish();
}

/// Waits until a storm of wakes has gone on for a while; how many wakes that were.
#[track_caller]
fn rounds_of_a_storm(attacker: &mut Attacker) -> u64 {
    let mut rounds = 0;
    eventually("50,000 wakes", || {
        rounds = attacker.run("rounds").number("wakestorm0");
        rounds >= 50_000
    });
    rounds
}

/// Waits until the victim's waiter was moved to another word.
#[track_caller]
fn until_moved(attacker: &mut Attacker, half: &str) {
    attacker.run(format!("requeue {half}"));
    eventually("a waiter is moved", || attacker.run("rounds").number("requeue0") > 0);
}

#[test]
fn attack_61_a_receiver_that_was_moved_to_another_word_hears_what_happens_here() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), ON_WORDS, |b| b) else { return };
    if !memring::system::waitv_works() {
        println!("skipped: no futex_waitv here; sleeps are sliced instead, see row 63");
        return scene.finish();
    }
    for dies in [true, false] {
        let mut attacker = scene.attacker();
        let mut victim = scene.session(&mut attacker, SMALL);
        let session = victim.session().clone();
        // Without a deadline, so that nothing but the event ends it.
        let receiver = thread::spawn(move || match victim.recv() {
            Err(RecvError::Ended(end)) => end,
            other => panic!("{:?}", other.map(|message| message.to_vec())),
        });
        until_asleep(&mut attacker, "rx_asleep");
        until_moved(&mut attacker, "rx");
        if dies {
            attacker.kill();
            assert!(matches!(in_time(receiver), End::PeerDied(_)));
        } else {
            session.close();
            assert!(matches!(in_time(receiver), End::Local));
        }
    }
    scene.finish();
}

#[test]
fn attack_61_a_sender_that_was_moved_to_another_word_hears_what_happens_here() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), ON_WORDS, |b| b) else { return };
    if !memring::system::waitv_works() {
        println!("skipped: no futex_waitv here; sleeps are sliced instead, see row 63");
        return scene.finish();
    }
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    fill(&mut victim, &[1; LARGEST]);
    let sender = thread::spawn(move || victim.send(&[2; LARGEST]));
    until_asleep(&mut attacker, "tx_asleep");
    until_moved(&mut attacker, "tx");
    attacker.kill();
    match in_time(sender) {
        Err(SendError::Ended(End::PeerDied(_))) => {}
        other => panic!("{other:?}"),
    }
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_62_decoys_on_the_words_that_we_wake_keep_no_wake_from_the_others() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    for half in ["rx", "tx"] {
        let mut attacker = scene.attacker();
        let mut victim = scene.session(&mut attacker, SMALL);
        attacker.run(format!("decoy {half} time=30000"));
        until_decoys_sleep(&attacker);
        attacker.run(format!("asleep {half} 5"));
        if half == "rx" {
            victim.send(b"news").expect("room");
        } else {
            attacker.run("send 2a");
            assert_eq!(*victim.recv_deadline(soon()).expect("a message"), [0x2a]);
            assert!(victim.try_recv().is_err());
        }
        // One wake, and each of them has it.
        eventually("every decoy is woken", || !decoys(&mut attacker).contains(&0));
        let (sender, receiver) = victim.halves();
        assert_eq!(sender.stats().wakes + receiver.stats().wakes, 1, "{half}");
    }
    scene.finish();
}

#[test]
fn attack_63_without_waiting_on_two_words_a_waiter_that_was_moved_still_hears_everything() {
    let denied = |builder: memring::ListenerBuilder| {
        forbid(libc::SYS_futex_waitv, libc::EPERM);
        builder
    };
    let Some(scene) = Scene::in_hand_without_hub(name!(), ON_WORDS, denied) else { return };
    assert!(!memring::system::waitv_works(), "it is denied");
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    // Without deadlines: only short sleeps come back from a word that nobody wakes.
    let receiver = thread::spawn(move || {
        let message = victim.recv().expect("a message").to_vec();
        let end = victim.recv().map(|message| message.to_vec());
        (message, end)
    });
    until_asleep(&mut attacker, "rx_asleep");
    until_moved(&mut attacker, "rx");
    attacker.run("frame kind=1 len=3 payload=0a0b0c wake=no");
    eventually("the message is taken", || attacker.run("where").number("their_head") == 32);
    let moved = attacker.run("rounds").number("requeue0");
    eventually("a waiter is moved again", || attacker.run("rounds").number("requeue0") > moved);
    attacker.kill();
    let (message, end) = in_time(receiver);
    assert_eq!(message, [0x0a, 0x0b, 0x0c]);
    assert!(matches!(end, Err(RecvError::Ended(End::PeerDied(_)))), "{end:?}");
    drop((attacker, end)); // who died is held with a pidfd
    scene.finish();
}

#[test]
fn attack_64_a_peer_that_never_reads_costs_a_deadline_and_a_lane() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    assert_eq!(fill(&mut victim, &[1; LARGEST]), 3);
    let sender = thread::spawn(move || {
        for _ in 0..3 {
            match victim.send_deadline(&[2; LARGEST], Instant::now() + Duration::from_millis(20)) {
                Err(SendError::TimedOut) => {}
                other => panic!("{other:?}"),
            }
        }
        victim
    });
    let mut victim = in_time(sender);
    // Only the one direction stands still.
    attacker.run("send 0a");
    assert_eq!(*victim.recv_deadline(soon()).expect("a message"), [0x0a]);
    // What was sent is whole and what was given up is not there.
    for _ in 0..3 {
        assert_eq!(attacker.run("recvmsg").get("len"), LARGEST.to_string());
    }
    assert_eq!(attacker.fails("recvmsg timeout=1"), "timeout");
    victim.send_deadline(b"after", soon()).expect("room");
    assert_eq!(attacker.run("recvmsg").get("hex"), "6166746572");
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_64_a_peer_that_asks_and_never_reads_is_owed_one_answer() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    let mut asked = 0;
    eventually("3000 questions", || {
        let burst = attacker.run(format!("burst 500 {FENCE}"));
        asked += burst.number("sent");
        asked >= 3000
    });
    // The answers that its own queue holds, and one more. Its `send` would read some of them too.
    let mut answers = 0;
    while answers < asked {
        attacker.tell("recv timeout=100");
        match attacker.hear() {
            said if said.starts_with("ok kind=fenceack") => answers += 1,
            said if said.starts_with("err timeout") => break,
            other => panic!("{other}"),
        }
    }
    assert!((1..asked / 4).contains(&answers), "{answers} answers to {asked} questions");
    // The session is as good as before.
    attacker.run("send 0a");
    assert_eq!(*victim.recv_deadline(soon()).expect("a message"), [0x0a]);
    victim.send(b"x").expect("room");
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_65_what_we_are_not_woken_for_is_found_at_the_deadline() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    let receiver = thread::spawn(move || {
        let outcome = victim.recv_deadline(Instant::now() + Duration::from_secs(1));
        let message = outcome.map(|message| message.to_vec());
        (victim, message)
    });
    until_asleep(&mut attacker, "rx_asleep");
    attacker.run("frame kind=1 len=3 payload=0a0b0c wake=no");
    let (mut victim, message) = in_time(receiver);
    assert_eq!(message.expect("not TimedOut"), [0x0a, 0x0b, 0x0c]);
    // Room, likewise.
    fill(&mut victim, &[1; LARGEST]);
    let sender = thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(1);
        let outcome = victim.send_deadline(&[2; LARGEST], deadline);
        (victim, outcome)
    });
    until_asleep(&mut attacker, "tx_asleep");
    attacker.run("head 1024");
    let (victim, outcome) = in_time(sender);
    outcome.expect("not TimedOut");
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_65_what_we_are_not_woken_for_is_found_at_the_next_wake() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), ON_WORDS, |b| b) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    let receiver = thread::spawn(move || {
        let first = victim.recv().expect("a message").to_vec();
        let second = victim.recv().expect("a message").to_vec();
        [first, second]
    });
    until_asleep(&mut attacker, "rx_asleep");
    attacker.run("frame kind=1 len=1 payload=0a wake=no");
    attacker.run("frame kind=1 len=1 payload=0b wake=no");
    // It sleeps on the first.
    attacker.run("tail 0");
    attacker.run("wake rx");
    assert_eq!(in_time(receiver), [vec![0x0a], vec![0x0b]]);
    drop(attacker);
    scene.finish();
}
