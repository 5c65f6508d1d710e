//! Further channels: asks and answers that are not due, and too many of them.

use memring::Reason;

use crate::attacker::Attacker;
use crate::scene::{PROTOCOL, Scene};
use crate::service::ECHO;

/// Feature 2, offered.
const FURTHER: &str = "offered=4";

/// A server that allows four further channels to each, and takes none that is asked for.
#[track_caller]
fn set(name: &'static str) -> Option<Scene> {
    Scene::with(name, |builder| builder.channels(4), ECHO)
}

fn attacker_who_may_ask(scene: &Scene) -> Attacker {
    let mut attacker = scene.attacker();
    attacker.run(format!("connect {}", scene.path()));
    attacker.run(format!("client until=ready {PROTOCOL} {FURTHER}"));
    attacker
}

#[test]
fn attack_23_an_ask_where_none_was_agreed_on_is_out_of_order() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    for packet in ["ask", "answer code=1"] {
        let mut attacker = scene.attacker_at("ready");
        attacker.run(packet);
        scene.poisoned(Reason::Order);
        drop(attacker);
    }
    scene.finish();
}

#[test]
fn attack_23_asks_out_of_their_order_and_answers_to_none_end_the_session() {
    let Some(mut scene) = set(name!()) else { return };
    for packets in [
        &["ask number=2"][..],
        &["ask number=0xffffffff"],
        &["ask number=1", "ask number=1"],
        &["ask number=1", "ask number=3"],
        &["answer number=1 code=1"],
        &["answer number=0xffffffff code=1"],
    ] {
        let mut attacker = attacker_who_may_ask(&scene);
        packets.iter().for_each(|packet| drop(attacker.run(*packet)));
        scene.poisoned(Reason::ChannelUnasked);
        drop(attacker);
        if packets.len() == 2 {
            // The handshake of the first ends with the attacker.
            scene.counted(Reason::Gone);
        }
    }
    // And who accepts makes every socket himself.
    let mut attacker = attacker_who_may_ask(&scene);
    attacker.run("answer number=1 code=0");
    scene.poisoned(Reason::Order);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_64_who_asks_for_more_than_he_may_is_told_so_and_ends_if_he_never_reads_it() {
    let Some(mut scene) = set(name!()) else { return };
    let mut attacker = attacker_who_may_ask(&scene);
    // Some are begun, and end when he does; the others are declined until his queue is full, and then some.
    let mut number = 0;
    while number < 10_000 && scene.news().of(Reason::ChannelFlood) == 0 {
        number += 1;
        if !attacker.goes_through(format!("ask number={number}")) {
            break;
        }
    }
    scene.poisoned(Reason::ChannelFlood);
    drop(attacker);
    scene.counted_times(Reason::Gone, 4);
    scene.finish();
}
