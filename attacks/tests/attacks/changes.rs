//! Section D of the list: words and bytes that change while we look (53, 55, 56).

use std::hint::black_box;

use memring::{Reason, TrySendError};

use crate::lane::{assert_fault, hex, word};
use crate::scene::Scene;
use crate::session::{Flips, LARGEST, NO_WAIT, SMALL, fill};
use crate::support::eventually;

/// Messages that are looked at before the attacker may have done enough.
const ROUND: usize = 200;

#[test]
fn attack_53_a_header_that_changes_under_our_eyes_is_one_of_its_values() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), NO_WAIT, |b| b) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    // Four frames that fill the lane for good. Each is a whole message of 1000 bytes or, by another header, a
    // pack of one message of 992; both headers are good, and no mixture of them is.
    for _ in 0..4 {
        attacker.run(format!("frame kind=1 len=1000 payload={} next=keep wake=no", hex(992)));
    }
    attacker.run(format!("toggle mine data 0 {} {}", word(1, 1000), word(2, 1008)));
    let mut state = (Flips::new(20_000), 0);
    while state.0.go_on() {
        state = victim.look_at(ROUND, state, |(flips, number), message| {
            let seen = (message.len(), message.first());
            match (*number, seen) {
                (_, (1000, Some(0xe0))) | (0, (992, Some(0))) => {}
                _ => panic!("message {number} has a header that was never there: {seen:?}"),
            }
            if *number == 0 {
                flips.saw(message.len() == 992);
            }
            *number = (*number + 1) % 4;
        });
    }
    assert!(attacker.run("stop").number("toggle0") > 0);
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_53_a_head_that_changes_under_our_eyes_lets_nothing_through() {
    let Some(mut scene) = Scene::in_hand(name!()) else { return };
    for bad in [8192, 512, u64::MAX - 15] {
        let mut attacker = scene.attacker();
        let mut victim = scene.session(&mut attacker, SMALL);
        assert_eq!(fill(&mut victim, &[1; LARGEST]), 3);
        attacker.run("head 1024");
        assert_eq!(fill(&mut victim, &[2; LARGEST]), 1);
        // Good is 2048, which makes room for one message more.
        attacker.run(format!("toggle mine control 0 2048 {bad}"));
        let (mut sent, mut end) = (0, None);
        eventually("the bad head is seen", || {
            match victim.try_send(&[3; LARGEST]) {
                Ok(()) => sent += 1,
                Err(TrySendError::Full) => {}
                Err(TrySendError::Ended(it)) => end = Some(it),
                Err(other) => panic!("{other}"),
            }
            end.is_some()
        });
        assert_fault(end, "a head that changes");
        assert!(sent <= 1, "{sent} messages in room for one");
        assert!(attacker.run("stop").number("toggle0") > 0);
        scene.counted(Reason::LaneHead);
    }
    scene.finish();
}

#[test]
fn attack_55_a_length_that_changes_after_the_check_is_the_length_that_was_checked() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    // Five frames that fill the lane for good, each with its number in it. The first is now one of 512, now one of
    // 1024 bytes with the second in it; what follows it must be what follows that length.
    for (number, len) in [496, 496, 1008, 1008, 1008].iter().enumerate() {
        let payload = format!("0{number}{}", "00".repeat(len - 1));
        attacker.run(format!("frame kind=1 payload={payload} next=keep wake=no"));
    }
    attacker.run(format!("toggle mine data 0 {} {}", word(1, 496), word(1, 1008)));
    let mut state = (Flips::new(60_000), 0);
    while state.0.go_on() {
        state = victim.look_at(ROUND, state, |(flips, due), message| {
            assert_eq!(message.first(), Some(&*due), "the number of the frame");
            if *due == 0 {
                flips.saw(message.len() == 1008);
            }
            *due = match (*due, message.len()) {
                (0, 1008) => 2,
                (0 | 1, 496) | (2..=4, 1008) => (*due + 1) % 5,
                (_, other) => panic!("message {due} has {other} bytes"),
            };
        });
    }
    assert!(attacker.run("stop").number("toggle0") > 0);
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_56_a_payload_that_changes_under_our_eyes_is_a_copy_that_does_not() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    for _ in 0..4 {
        attacker.run("frame kind=1 len=1008 next=keep wake=no");
    }
    // The first and the last word of the first payload.
    attacker.run(format!("toggle mine data 16 0 {}", u64::MAX));
    attacker.run(format!("toggle mine data 1016 0 {}", u64::MAX));
    let mut state = (Flips::new(20_000), 0);
    while state.0.go_on() {
        state = victim.look_at(ROUND, state, |(flips, number), message| {
            let copy = message.to_vec();
            assert_eq!(copy.len(), LARGEST);
            if *number == 0 {
                for _ in 0..20 {
                    assert!(black_box(&*message) == copy.as_slice(), "a message has changed");
                }
                flips.saw(copy[0] == 0xff);
            }
            *number = (*number + 1) % 4;
        });
    }
    let stopped = attacker.run("stop");
    assert!(stopped.number("toggle0") > 0 && stopped.number("toggle1") > 0);
    drop((attacker, victim));
    scene.finish();
}
