//! Section D of the list: who stops or dies (66 to 69).

use std::thread;
use std::time::{Duration, Instant};

use memring::{Bytes, DeathDetection, End, RecvError, SendError, ServerEnd, TryRecvError};
use rustix::process::{Pid, Signal, kill_process};

use crate::attacker::Attacker;
use crate::scene::Scene;
use crate::session::{LARGEST, NO_WAIT, SMALL, drain, fill, in_time};
use crate::support::{eventually, soon, state_of};

/// A moment that comes while nothing happens.
fn shortly() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

fn stop(attacker: &Attacker) {
    attacker.signal(Signal::STOP);
    eventually("it stands still", || state_of(attacker.pid()) == Some('T'));
}

/// Waits until this process knows that the peer has died.
#[track_caller]
fn until_known(victim: &ServerEnd<Bytes>) {
    eventually("the death is known", || victim.session().life().end().is_some());
}

#[test]
fn attack_66_a_peer_that_stands_still_is_late_and_not_dead() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    stop(&attacker);
    let waiting = thread::spawn(move || {
        for _ in 0..2 {
            match victim.recv_deadline(shortly()) {
                Err(RecvError::TimedOut) => {}
                other => panic!("{:?}", other.map(|message| message.to_vec())),
            }
            fill(&mut victim, &[1; LARGEST]);
            match victim.send_deadline(&[2; LARGEST], shortly()) {
                Err(SendError::TimedOut) => {}
                other => panic!("{other:?}"),
            }
        }
        victim
    });
    let mut victim = in_time(waiting);
    attacker.signal(Signal::CONT);
    for _ in 0..3 {
        assert_eq!(attacker.run("recvmsg").get("len"), LARGEST.to_string());
    }
    attacker.run("send 0a");
    assert_eq!(*victim.recv_deadline(soon()).expect("a message"), [0x0a]);
    victim.send(b"x").expect("room");
    assert_eq!(attacker.run("recvmsg").get("hex"), "78");
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_66_a_peer_that_stops_after_a_frame_and_before_its_wake_has_sent_it() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    let receiver = thread::spawn(move || {
        let outcome = victim.recv_deadline(Instant::now() + Duration::from_secs(1));
        outcome.map(|message| message.to_vec())
    });
    eventually("it sleeps", || attacker.run("where").number("rx_asleep") != 0);
    attacker.run("frame kind=1 len=1 payload=0a wake=no");
    stop(&attacker);
    assert_eq!(in_time(receiver).expect("not TimedOut"), [0x0a]);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_67_a_peer_killed_between_any_two_steps_has_sent_whole_messages() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    // What it does after two good messages, and how many more of them are whole.
    let cases: [(&str, &[&str], &[usize]); 6] = [
        ("payload written, no header", &["bytes mine data 80 aabbccdd"], &[]),
        ("header stored, nobody woken", &["frame kind=1 len=3 wake=no"], &[3]),
        ("after the first part", &["frame kind=3 len=16 payload=2000000000000000"], &[]),
        ("a long message, whole", &["send size=3000"], &[3000]),
        (
            "given up, and another begun",
            &["frame kind=3 len=16 payload=2000000000000000", "frame kind=6", "send 0d"],
            &[1],
        ),
        ("several at once", &["pack 01 0203 040506"], &[1, 2, 3]),
    ];
    for (case, commands, more) in cases {
        for known in [true, false] {
            let mut attacker = scene.attacker();
            let mut victim = scene.session(&mut attacker, SMALL);
            attacker.run("send 0a");
            attacker.run("send 0b");
            for command in commands {
                attacker.run(command);
            }
            attacker.kill();
            let mut lens = Vec::new();
            if known {
                // Nothing waits and nothing is lost.
                until_known(&victim);
                let end = loop {
                    match victim.try_recv() {
                        Ok(message) => lens.push(message.len()),
                        Err(TryRecvError::Ended(end)) => break end,
                        Err(other) => panic!("{case}: {other}"),
                    }
                };
                assert!(matches!(end, End::PeerDied(_)), "{case}: {end:?}");
            } else {
                let (messages, end) = drain(&mut victim);
                lens.extend(messages.iter().map(Vec::len));
                assert!(matches!(end, Some(End::PeerDied(_))), "{case}: {end:?}");
            }
            assert_eq!(lens, [&[1, 1], more].concat(), "{case}, known: {known}");
            match victim.send_deadline(b"x", soon()) {
                Err(SendError::Ended(End::PeerDied(_))) => {}
                other => panic!("{case}: {other:?}"),
            }
        }
    }
    scene.finish();
}

#[test]
fn attack_67_a_peer_that_dies_with_parts_behind_a_sleeper_has_sent_them() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    attacker.run("send size=3000");
    attacker.kill();
    until_known(&victim);
    let (messages, end) = drain(&mut victim);
    assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), [3000]);
    assert!(matches!(end, Some(End::PeerDied(_))), "{end:?}");
    drop((attacker, victim, end)); // who died is held with a pidfd
    scene.finish();
}

#[test]
fn attack_67_a_peer_that_dies_wakes_who_waits_for_it() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    let receiver = thread::spawn(move || match victim.recv() {
        Err(RecvError::Ended(end)) => end,
        other => panic!("{:?}", other.map(|message| message.to_vec())),
    });
    eventually("it sleeps", || attacker.run("where").number("rx_asleep") != 0);
    attacker.kill();
    assert!(matches!(in_time(receiver), End::PeerDied(_)));
    drop(attacker);

    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    fill(&mut victim, &[1; LARGEST]);
    let sender = thread::spawn(move || victim.send(&[2; LARGEST]));
    eventually("it sleeps", || attacker.run("where").number("tx_asleep") != 0);
    attacker.kill();
    match in_time(sender) {
        Err(SendError::Ended(End::PeerDied(_))) => {}
        other => panic!("{other:?}"),
    }
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_68_a_peer_that_dies_is_dead_though_its_child_keeps_the_socket() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    if victim.peer().death_detection() != DeathDetection::Pidfd {
        println!("skipped: no pidfd of a peer here; only the end of its socket tells");
        drop((attacker, victim));
        return scene.finish();
    }
    let child = attacker.run("fork-hold").number("pid");
    let receiver = thread::spawn(move || {
        let message = victim.recv().expect("what it had sent").to_vec();
        (message, victim.recv().map(|message| message.to_vec()))
    });
    attacker.run("send 0a");
    // Asleep for the second: the end of the socket, which does not come, cannot be what wakes it.
    eventually("the message is taken", || attacker.run("where").number("their_head") == 32);
    eventually("it sleeps", || attacker.run("where").number("rx_asleep") != 0);
    attacker.kill();
    let (message, end) = in_time(receiver);
    assert_eq!(message, [0x0a]);
    assert!(matches!(end, Err(RecvError::Ended(End::PeerDied(_)))), "{end:?}");
    let child = Pid::from_raw(i32::try_from(child).expect("a pid")).expect("a pid");
    assert!(state_of(child.as_raw_pid().unsigned_abs()).is_some(), "the child lives");
    kill_process(child, Signal::KILL).expect("it can be killed");
    drop((attacker, end));
    scene.finish();
}

#[test]
fn attack_69_who_comes_after_a_crash_sees_nothing_of_what_was_before() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), NO_WAIT, |b| b) else { return };
    for round in 0..3 {
        let mut attacker = scene.attacker();
        let mut victim = scene.session(&mut attacker, SMALL);
        let words = attacker.run("where");
        for word in ["tail", "their_head", "rx_asleep", "tx_asleep", "my_rx_asleep"] {
            assert_eq!(words.number(word), 0, "{word} in round {round}");
        }
        for segment in ["mine", "theirs"] {
            for (area, size) in [("control", words.number("control")), ("data", 4096)] {
                let hex = attacker.run(format!("peek {segment} {area} 0 {size}"));
                let hex = hex.get("hex");
                assert_eq!(hex.len() as u64, 2 * size);
                assert!(hex.bytes().all(|digit| digit == b'0'), "{segment} {area}, round {round}");
            }
        }
        // Both lanes full of what nobody else may see, and then it crashes.
        assert_eq!(fill(&mut victim, &[0x55; LARGEST]), 3);
        attacker.run(format!("bytes mine data 0 {}", "5a".repeat(4096)));
        attacker.run("asleep rx 5");
        attacker.run("head 1024");
        attacker.kill();
        until_known(&victim);
    }
    scene.finish();
}
