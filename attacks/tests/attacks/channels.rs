//! Further channels: asks and answers that are not due, and too many of them.

use std::thread;
use std::time::{Duration, Instant};

use memring::{Bytes, ChannelError, Reason};

use crate::attacker::Attacker;
use crate::scene::{PROTOCOL, Scene};
use crate::service::ECHO;
use crate::support::soon;
use crate::victim::{Victim, trusting};

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

#[test]
fn attack_37_a_channel_comes_over_a_socket_of_its_kind_or_not_at_all() {
    let Some(mut scene) = Scene::without_hub(name!(), "the victim is a client") else { return };
    let mut attacker = scene.attacker();
    let path = scene.attackers_directory().join("s").display().to_string();
    attacker.run(format!("bind {path}"));
    let listening = format!("listening at={path}.other");
    for kind in ["pipe", "tcp", "eventfd", "epoll", &listening, "socket"] {
        let victim = Victim::with(trusting().channels(4), path.clone());
        attacker.run("accept");
        attacker.run("server until=ready features=4");
        let mut client = victim.session();
        attacker.run(format!("make p {kind}"));
        let asks = client.channels();
        // Of one that is a socket of the kind, nobody is at the other end.
        let vain = kind == "socket";
        let until = if vain { Instant::now() + Duration::from_millis(500) } else { soon() };
        let asking = thread::spawn(move || asks.open_with::<Bytes>("x", &[], until).map(drop));
        // Something else may come before: a processor that is taken away has a thread sleep, and say so.
        while attacker.run("recv").get("kind") != "ask" {}
        attacker.run("answer number=1 code=0 fds=p");
        let error = asking.join().expect("no panic").expect_err("no channel");
        match error {
            ChannelError::TimedOut if vain => {}
            ChannelError::Setup(why) if !vain => {
                assert_eq!(why.to_string(), "what the peer sent is no socket of this session's");
            }
            other => panic!("{kind}: {other}"),
        }
        // The session has nothing to do with it.
        client.send(b"on").expect("sent");
        assert_eq!(attacker.run("recvmsg").get("hex"), "6f6e");
        drop(client);
        attacker.run("close");
        attacker.run("drop p");
    }
    scene.counted(Reason::TimedOut);
    drop(attacker);
    scene.finish();
}
