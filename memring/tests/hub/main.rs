//! Hubs: one thread, whatever it waits for, one event at a time.

mod beside;
mod ends;
mod process;
mod room;
mod sessions;
#[path = "../support/mod.rs"]
mod support;

use std::thread;
use std::time::{Duration, Instant};

use memring::hub::{Event, Hub, Key, Member};
use memring::{Bytes, Channel, End, Protocol};

use support::{Stage, play, soon};

#[test]
fn role() {
    play(&[("dies", dies), ("connects", connects), ("fills", sessions::fills)]);
}

fn dies(stage: &Stage) {
    let mut channel = memring::connect::<Bytes>(stage.path()).expect("connects");
    channel.send(b"last words").expect("sent");
    stage.say("sent");
    stage.linger();
}

fn connects(stage: &Stage) {
    let connecting = memring::connect::<Bytes>(stage.path());
    stage.say(if connecting.is_ok() { "connected" } else { "failed" });
    stage.linger();
}

type Ends = Channel<[u8], [u8]>;

/// The next event, which comes in time.
#[track_caller]
fn next(hub: &mut Hub) -> Event {
    hub.wait(Some(soon())).expect("waits").expect("an event in time")
}

/// Nothing happens for a moment.
#[track_caller]
fn nothing(hub: &mut Hub) {
    let event = hub.wait(Some(Instant::now() + Duration::from_millis(30))).expect("waits");
    assert!(event.is_none(), "{event:?}");
}

#[track_caller]
fn readable(hub: &mut Hub) -> Key {
    match next(hub) {
        Event::Readable(key) => key,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn closed(hub: &mut Hub) -> (Key, End) {
    match next(hub) {
        Event::Closed(key, end) => (key, end),
        other => panic!("{other:?}"),
    }
}

/// A pair, of which the server's end is in the hub.
fn pair_in(hub: &mut Hub) -> (Member<Ends>, Ends) {
    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    (hub.add(server).expect("joins"), client)
}

/// Waits until the hub is asleep: then nothing is ready but what comes.
fn asleep_then<T: Send + 'static>(
    send: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let tid = support::tid();
    thread::spawn(move || {
        support::eventually_asleep(tid);
        send()
    })
}

struct Numbers;

#[memring::message]
struct Number {
    number: u64,
}

impl Protocol for Numbers {
    const NAME: &'static str = "numbers";
    type ToClient = Number;
    type ToServer = Number;
}

fn nothing_yet(hub: &mut Hub) {
    let event = hub.wait(Some(Instant::now() + Duration::from_millis(1))).expect("waits");
    assert!(event.is_none(), "{event:?}");
}
