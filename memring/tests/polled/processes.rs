//! Peers that are other processes: two put each other to sleep, one dies unseen, one stands still.

use std::thread;
use std::time::{Duration, Instant};

use memring::{Arm, Bytes, End, Listener};

use crate::loops::{KINDS, Kind, Loop, Looped, echo, is_readable, number};
use crate::support::{self, Forked, Helper, Scratch, Stage, eventually, soon};

/// A process that sends back what comes, in an event loop.
pub fn echo_at(stage: &Stage) {
    let listener = Listener::bind(stage.path()).expect("binds");
    stage.say("ready");
    let incoming = listener.accept_deadline(soon()).expect("accepts");
    let channel = incoming.open::<Bytes>().expect("opens");
    echo(Kind::Edge, channel);
}

/// How many times each of two processes went to sleep in an event loop and was woken. `MEMRING_SLEEPS` says how often in all;
/// `ci/sleeps.sh` says a million.
#[test]
fn no_wake_is_lost_between_two_processes() {
    let sleeps = std::env::var("MEMRING_SLEEPS").ok().and_then(|text| text.parse().ok());
    let sleeps: u64 = sleeps.unwrap_or(10_000);
    let scratch = Scratch::new();
    let path = scratch.socket();
    let mut server = Helper::start("echo", &[("path", &path.display())]);
    server.expect("ready");
    let client = memring::connect::<Bytes>(&path).expect("connects");
    let mut here = Looped::new(Kind::Edge, client);
    let mut turns = 0_u64;
    let began = Instant::now();
    while here.waits < sleeps {
        // Now and then a moment more, so that each meets the other at another place.
        for _ in 0..turns % 97 * 13 {
            std::hint::spin_loop();
        }
        here.send(&turns.to_le_bytes());
        assert_eq!(here.recv(number).expect("open"), turns);
        turns += 1;
    }
    println!("{} sleeps in {turns} turns, {:?}", here.waits, began.elapsed());
    drop(here);
    server.finish();
}

/// A process that connects and has a child that keeps its socket open, also when it is killed itself.
pub fn hidden(stage: &Stage) {
    let channel = memring::connect::<Bytes>(stage.path()).expect("connects");
    let child = Forked::start(|| stage.linger());
    stage.say("hidden");
    stage.linger();
    drop((channel, child));
}

#[test]
fn a_death_that_the_socket_hides_wakes_a_loop() {
    if support::no_pidfds() {
        return;
    }
    for kind in KINDS {
        let scratch = Scratch::new();
        let path = scratch.socket();
        let listener = Listener::bind(&path).expect("binds");
        let client = Helper::start("hidden", &[("path", &path.display())]);
        let incoming = listener.accept_deadline(soon()).expect("accepts");
        let channel = incoming.open::<Bytes>().expect("opens");
        client.expect("hidden");
        let mut here = Looped::new(kind, channel);
        let killing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            client.kill();
            client
        });
        assert!(matches!(here.recv(number), Err(End::PeerDied(_))), "{kind:?}");
        drop(killing.join().expect("killed")); // which ends the child
    }
}

/// A process that connects and does nothing.
pub fn still(stage: &Stage) {
    let _channel = memring::connect::<Bytes>(stage.path()).expect("connects");
    stage.linger();
}

#[test]
fn a_loop_is_told_to_look_while_fences_fail() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let peer = Helper::start("still", &[("path", &scratch.socket().display())]);
    let incoming = listener.accept_deadline(soon()).expect("accepts");
    let channel = incoming.open::<Bytes>().expect("opens");
    if !memring::system::fence_bits().can_call {
        println!("skipped: there are no asymmetric fences here that could fail");
        return;
    }
    // It cannot say that it publishes with full fences from now on.
    peer.stop();
    let mut channel = channel.polled().expect("descriptors");
    assert_eq!(channel.arm(), Arm::Armed);
    thread::sleep(Duration::from_millis(50));
    assert!(!is_readable(&channel), "without a reason");
    channel.session().before_sandbox();
    let mut wait = Loop::of(Kind::Level, &channel);
    for _ in 0..3 {
        assert_eq!(channel.arm(), Arm::Armed);
        assert!(wait.wait(&channel), "a wake may be missed, and nobody looks");
    }
    // Once it has said so, nothing is told any more.
    peer.go_on();
    eventually("the peer has answered", || {
        while channel.arm() == Arm::Ready {}
        thread::sleep(Duration::from_millis(50));
        !is_readable(&channel)
    });
}
