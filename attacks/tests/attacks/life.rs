//! Section F of the list, where another process has a part in it: what its life and its haste do to ours.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use memring::{Bytes, End};

use crate::scene::Scene;
use crate::service::{Service, receive};

#[test]
fn attack_81_membarrier_without_end_stops_nobody_and_loses_no_wake() {
    let Some(scene) = Scene::set(name!()) else { return };
    let mut storm = scene.attacker();
    storm.run("membarrier-storm");
    let mut attacker = scene.attacker_at("ready");
    // Each answer is a sleep and a wake on either side.
    for number in 0..500 {
        attacker.run(format!("send {number:08x}"));
        assert_eq!(attacker.run("recvmsg").get("hex"), format!("{number:08x}"));
    }
    assert!(storm.run("stop").number("membarrier0") > 500);
    drop((attacker, storm));
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_86_a_message_given_up_half_way_is_forgotten_and_the_next_is_whole() {
    let Some(scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker_at("ready");
    for (given_up, whole) in [(1, "aa"), (3, "bb"), (0, "cc")] {
        // The first part says how much there will be, and the rest does not come.
        attacker.run("frame kind=3 len=16 payload=00100000000000001111111111111111");
        for _ in 0..given_up {
            attacker.run("frame kind=4 len=8 payload=2222222222222222");
        }
        attacker.run("frame kind=6 len=0");
        attacker.run(format!("send {whole}"));
        assert_eq!(attacker.run("recvmsg").get("hex"), whole);
    }
    // And one that ends with its sender.
    attacker.run("frame kind=3 len=16 payload=00100000000000001111111111111111");
    attacker.run("leave");
    assert!(matches!(scene.ended(), End::Closed));
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_87_two_that_both_wait_for_room_go_on_when_one_reads() {
    // Fills its lane, then goes on sending until it is heard, and only then reads.
    static HEARD: AtomicU32 = AtomicU32::new(0);
    let service = Service::<Bytes> {
        begin: |_| (0..1000_u32).map(|number| vec![number as u8; 100]).collect(),
        answer: |channel, how| {
            if let Some(message) = receive::<Bytes>(channel, how)? {
                let number = HEARD.fetch_add(1, Ordering::Relaxed);
                assert_eq!(*message, [number as u8; 100]);
            }
            Ok(None)
        },
    };
    let Some(scene) = Scene::with(name!(), |builder| builder, service) else { return };
    let mut attacker = scene.attacker_at("ready");
    // Its own lane is full too, before it reads the first.
    let mut sent = 0;
    let one = |number: u32| format!("send {}", format!("{:02x}", number as u8).repeat(100));
    loop {
        attacker.tell(format!("{} timeout=200", one(sent)));
        if !attacker.hear().starts_with("ok") {
            break;
        }
        sent += 1;
    }
    assert!(sent > 10 && sent < 1000, "{sent} messages fill a lane");
    for number in 0..1000_u32 {
        let message = attacker.run("recvmsg");
        assert_eq!(message.get("hex"), format!("{:02x}", number as u8).repeat(100));
    }
    for number in sent..1000 {
        attacker.run(one(number));
    }
    attacker.run("leave");
    assert!(matches!(scene.ended(), End::Closed));
    assert_eq!(HEARD.load(Ordering::Relaxed), 1000);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_90_a_close_with_our_packets_unread_is_a_close_and_loses_nothing() {
    // Has something to say on the control socket, which the other side never reads.
    static HEARD: AtomicU8 = AtomicU8::new(0);
    let service = Service::<Bytes> {
        begin: |channel| {
            channel.session().before_sandbox();
            Vec::new()
        },
        answer: |channel, how| {
            if let Some(message) = receive::<Bytes>(channel, how)? {
                assert_eq!(*message, [HEARD.fetch_add(1, Ordering::Relaxed)]);
            }
            Ok(None)
        },
    };
    let Some(scene) = Scene::with(name!(), |builder| builder, service) else { return };
    let mut attacker = scene.attacker_at("ready");
    for number in 0..10 {
        attacker.run(format!("frame kind=1 len=1 payload={number:02x} wake=no"));
    }
    attacker.run("leave");
    assert!(matches!(scene.ended(), End::Closed), "and no death, though the socket was reset");
    assert_eq!(HEARD.load(Ordering::Relaxed), 10);
    drop(attacker);
    scene.finish();
}
