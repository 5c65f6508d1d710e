//! Doorbells and event loops: peers that ring for nothing, not at all, or want to be rung for ever; and sections D and G where
//! they are about loops.

use std::os::fd::AsFd;
use std::thread;

use memring::{Arm, Bytes, End, Reason, ServerEnd, TryRecvError, TrySendError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::attacker::Attacker;
use crate::lane::assert_fault;
use crate::scene::Scene;
use crate::session::{LARGEST, NO_WAIT, SMALL, fill, in_time};
use crate::support::{PATIENCE, eventually};

/// Why some attacks are on these loops alone.
const OF_ITS_OWN: &str = "it is about a loop that polls halves";

/// Waits until the descriptor is readable.
fn wait(channel: &impl AsFd) {
    let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut fds = [PollFd::new(channel, PollFlags::IN)];
    assert_eq!(poll(&mut fds, Some(&patience)).expect("polled"), 1, "a lost wake");
}

/// Sends back what comes, in an event loop.
fn echo(channel: ServerEnd<Bytes>) -> End {
    let mut channel = channel.polled().expect("two more descriptors");
    let mut owed: Option<Vec<u8>> = None;
    loop {
        if let Some(bytes) = owed.take() {
            match channel.try_send(&bytes) {
                Ok(()) => {}
                Err(TrySendError::Ended(end)) => return end,
                Err(TrySendError::Full) => {
                    owed = Some(bytes);
                    if channel.arm_for_room() == Arm::Armed {
                        wait(&channel);
                    }
                    continue;
                }
                Err(other) => panic!("{other}"),
            }
        }
        owed = match channel.try_recv() {
            Ok(message) => Some(message.to_vec()),
            Err(TryRecvError::Ended(end)) => return end,
            Err(TryRecvError::Empty) => None,
            Err(other) => panic!("{other}"),
        };
        if owed.is_none() && channel.arm() == Arm::Armed {
            wait(&channel);
        }
    }
}

/// A server that sends back what comes, in an event loop.
#[track_caller]
fn set(name: &'static str) -> Option<Scene> {
    Scene::with_loops(name, echo)
}

/// Sends this and sees that it comes back.
#[track_caller]
fn exchange(attacker: &mut Attacker, bytes: &str) {
    attacker.run(format!("send {bytes}"));
    assert_eq!(attacker.run("recvmsg").get("hex"), bytes);
}

/// Waits until the server waits for a doorbell, as consumer (`rx_asleep`) or as producer.
#[track_caller]
fn until_armed(attacker: &mut Attacker, word: &str) {
    eventually("the victim is armed", || attacker.run("where").number(word) & 3 == 2);
}

/// Waits until the server's word has been the same for a while.
#[track_caller]
fn until_settled(attacker: &mut Attacker) {
    let (mut last, mut same) = (0, 0);
    eventually("it arms no more", || {
        let word = attacker.run("where").number("rx_asleep");
        same = if word == last { same + 1 } else { 0 };
        last = word;
        same == 10
    });
}

#[test]
fn attack_23_a_doorbell_that_nobody_asked_for_ends_the_session() {
    // Where nothing waits in a loop, the first is one too many.
    let Some(mut scene) = Scene::without_hub(name!(), "a hub asks for doorbells") else { return };
    let mut attacker = scene.attacker_at("ready");
    exchange(&mut attacker, "0a");
    attacker.run("doorbell");
    scene.poisoned(Reason::DoorbellFlood);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_23_a_doorbell_too_many_ends_a_session_in_a_loop() {
    let Some(mut scene) = set(name!()) else { return };
    for early in [0, 1, 2] {
        let mut attacker = scene.attacker_at("ready");
        (0..early).for_each(|_| exchange(&mut attacker, "0a"));
        until_armed(&mut attacker, "rx_asleep");
        // One for nothing costs a turn of the loop; it arms anew. A storm of them is not that patient.
        attacker.run("burst 1000 4d524e470b0000001000000000000000");
        scene.counted(Reason::DoorbellFlood);
        assert_fault(Some(scene.ended()), Reason::DoorbellFlood.name());
        drop(attacker);
    }
    scene.finish();
}

#[test]
fn attack_64_a_peer_that_asks_for_doorbells_and_reads_none_costs_a_call_a_message() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), NO_WAIT, |b| b) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    // Each time in a new epoch; the queue of its socket is full long before the end.
    for epoch in 1..=2_000_u32 {
        attacker.run(format!("asleep rx {}", epoch << 2 | 2));
        victim.try_send(b"x").expect("room");
        attacker.run(format!("head {}", 32 * epoch));
    }
    assert_eq!(victim.halves().0.stats().wakes, 2_000);
    drop((attacker, victim));
    scene.finish();
}

#[test]
fn attack_65_a_loop_that_is_not_rung_for_hears_at_the_next_doorbell() {
    let Some(scene) = set(name!()) else { return };
    let mut attacker = scene.attacker_at("ready");
    exchange(&mut attacker, "0a");
    until_armed(&mut attacker, "rx_asleep");
    // It may look once more for another reason: an answer to its Fence, or others in the same hub while this one was busy of late.
    eventually("what was not rung for lies there", || {
        until_settled(&mut attacker);
        attacker.run("frame kind=1 len=1 payload=0b wake=no");
        attacker.tell("recvmsg timeout=100");
        attacker.hear().starts_with("err timeout")
    });
    attacker.run("send 0c");
    assert_eq!(attacker.run("recvmsg").get("hex"), "0b");
    assert_eq!(attacker.run("recvmsg").get("hex"), "0c");
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_66_a_loop_that_waits_for_room_hears_that_its_peer_died() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), OF_ITS_OWN, |b| b) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    fill(&mut victim, &[1; LARGEST]);
    let mut victim = victim.into_channel().polled().expect("two more descriptors");
    assert!(matches!(victim.try_send(&[2; LARGEST]), Err(TrySendError::Full)));
    assert_eq!(victim.arm_for_room(), Arm::Armed);
    let waiting = thread::spawn(move || {
        loop {
            wait(&victim);
            match victim.try_send(&[2; LARGEST]) {
                Err(TrySendError::Ended(end)) => return end,
                other => assert!(matches!(other, Err(TrySendError::Full)), "{other:?}"),
            }
            // The end is told after this, if not before.
            while victim.arm_for_room() == Arm::Ready {
                if let Err(TrySendError::Ended(end)) = victim.try_send(&[2; LARGEST]) {
                    return end;
                }
            }
        }
    });
    drop(attacker);
    assert!(matches!(in_time(waiting), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_89_a_doorbell_that_another_thread_reads_wakes_the_loop_that_waits_for_it() {
    let Some(scene) = Scene::in_hand_without_hub(name!(), OF_ITS_OWN, |b| b) else { return };
    let mut attacker = scene.attacker();
    let mut victim = scene.session(&mut attacker, SMALL);
    fill(&mut victim, &[1; LARGEST]);
    let (tx, rx) = victim.into_channel().split();
    let (mut tx, mut rx) = (tx.polled().expect("descriptors"), rx.polled().expect("descriptors"));
    for turn in 0..20_u8 {
        // Room is waited for in one loop, a message in the other. Each is rung for, and the latter reads both.
        assert!(matches!(tx.try_send(&[turn; LARGEST]), Err(TrySendError::Full)));
        assert_eq!(tx.arm_for_room(), Arm::Armed);
        assert_eq!(rx.arm(), Arm::Armed);
        attacker.run("recvmsg");
        attacker.run(format!("send {turn:02x}"));
        wait(&rx);
        assert_eq!(rx.arm(), Arm::Ready);
        assert_eq!(*rx.try_recv().expect("a message"), [turn]);
        wait(&tx);
        tx.try_send(&[turn; LARGEST]).expect("room");
    }
    drop((attacker, tx, rx));
    scene.finish();
}
