//! Clients that break the rules of calls, packet by packet, and what is only an answer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use memring::rpc::fuzzing::{Raw, RawPacket};
use memring::rpc::{Call, Calls, Link, Replies, Server};
use memring::{ClientEnd, Connector, End, Lanes, Listener, Policy, Rule, ServerEnd};

use super::raw::{call, kind, open, packet, recv, send};
use super::support::{PATIENCE, Scratch, eventually, soon};

#[memring::interface(name = "all", version = "1")]
pub trait All {
    fn twice(number: u32) -> u32;
    fn count(to: u32) -> Stream<u32>;
    #[oneway]
    fn told(number: u32);
    #[signal]
    fn news(number: u32);
    fn denied();
    fn texts(texts: Vec<String>) -> u32;
    #[json]
    fn worded(texts: Vec<String>, most: Option<u32>) -> u32;
}

pub const TWICE: u32 = 0;
pub const COUNT: u32 = 1;
pub const TOLD: u32 = 2;
pub const NEWS: u32 = 3;
pub const DENIED: u32 = 4;
pub const TEXTS: u32 = 5;
pub const WORDED: u32 = 6;

pub struct Serves;

impl AllServer for Serves {
    fn twice(&self, _: &Call<'_>, number: u32) -> u32 {
        number.wrapping_mul(2)
    }

    fn count(&self, _: &Call<'_>, to: u32, mut replies: Replies<u32>) {
        for number in 0..to {
            if replies.send(&number).is_err() {
                return;
            }
        }
        replies.end(Ok(()));
    }

    fn told(&self, _: &Call<'_>, _: u32) {}

    fn denied(&self, _: &Call<'_>) {}

    fn texts(&self, _: &Call<'_>, texts: Vec<String>) -> u32 {
        texts.len() as u32
    }

    fn worded(&self, _: &Call<'_>, texts: Vec<String>, most: Option<u32>) -> u32 {
        most.unwrap_or(u32::MAX).min(texts.len() as u32)
    }
}

/// The same with arguments in JSON.
pub fn worded(number: u32, body: &str) -> Vec<u8> {
    packet(0x84, 0, number, 0, body.as_bytes())
}

/// An opening that asks something else.
pub fn asks(number: u32, from: u16, name: &str) -> Vec<u8> {
    let mut asks = open(name);
    asks[2..4].copy_from_slice(&from.to_le_bytes());
    asks[4..8].copy_from_slice(&number.to_le_bytes());
    asks
}

/// Two ends, though all processors be busy.
pub fn pair() -> (ServerEnd<Calls>, ClientEnd<Calls>) {
    Connector::new().timeout(PATIENCE).pair::<Calls>().expect("a pair")
}

/// A raw client, and its server, which nobody runs yet.
pub fn raw_pair() -> (Raw, Link) {
    let (server, client) = pair();
    let serve = All::serve(Serves).method("denied", Policy::nobody());
    (Raw::over(client), Link::serving(server, [serve]))
}

/// A raw client, and the thread of its server.
fn raw_client() -> (Raw, JoinHandle<End>) {
    let (mut raw, server) = raw_pair();
    let serving = thread::spawn(move || server.run());
    send(&mut raw, &open("all"), 1);
    assert_eq!(kind(&recv(&mut raw)), 2, "opened");
    (raw, serving)
}

/// The number in a packet's header.
pub fn number(packet: &RawPacket) -> u32 {
    u32::from_le_bytes(packet.bytes[4..8].try_into().expect("four"))
}

#[track_caller]
pub fn is_broken(end: &End, rule: &str) {
    match end {
        End::Fault(fault) => {
            assert_eq!(fault.rule, Rule::Calls);
            let detail = fault.detail.as_deref().unwrap_or_default();
            assert!(detail.contains(rule), "`{rule}`, and not `{detail}`");
        }
        other => panic!("a fault was due, `{rule}`, and not: {other}"),
    }
}

/// Packets with their tags, and the rule that they break.
pub type Cases<'a> = &'a [(&'a str, Vec<(Vec<u8>, u64)>)];

#[test]
fn a_server_ends_the_session_of_a_client_that_breaks_a_rule() {
    let two = 2_u32.to_le_bytes();
    let blobs = |count: u8, rest: &[u8]| {
        let mut packet = call(TWICE, rest);
        packet[1] = count;
        packet
    };
    let mut unsorted = open("all");
    unsorted.push(0);
    let cases: Cases<'_> = &[
        ("shorter than its header", vec![(vec![], 2)]),
        ("shorter than its header", vec![(call(TWICE, &[])[..15].to_vec(), 2)]),
        ("shorter than its header", vec![(blobs(1, &[0; 8]), 2)]),
        ("unknown kind 0", vec![(packet(0, 0, 0, 0, &[]), 2)]),
        ("unknown kind 15", vec![(packet(15, 0, 0, 0, &[]), 2)]),
        ("not zero", vec![(packet(0x44, 0, 0, 0, &[0; 64]), 2)]),
        ("shorter than its header", vec![(packet(0x34, 0, 0, 0, &[0; 47]), 2)]),
        ("not zero", vec![(packet(9, 1, 0, 0, &[]), 2)]),
        ("not zero", vec![(packet(11, 0, 1, 1, &[]), 2)]),
        ("goes on behind it", vec![(unsorted, 2)]),
        ("ends before", vec![(packet(1, 0, 0, 0, &[1]), 2)]),
        ("no text", vec![(open("a\nb"), 2)]),
        ("no text", vec![(open(""), 2)]),
        ("more entries", vec![(packet(1, 0, 0, 0, &[1, 0, 97, 1, 0, 97, 255, 255]), 2)]),
        ("asks for the unknown 3", vec![(asks(3, 0, "all"), 2)]),
        ("not zero", vec![(asks(0, 1, "all"), 2)]),
        ("not zero", vec![(asks(2, 1, "all"), 2)]),
        ("no text", vec![(asks(2, 0, ""), 2)]),
        ("ends before", vec![(packet(1, 0, 2, 0, &[1]), 2)]),
        ("does not follow", vec![(asks(1, 0, "all"), 1)]),
        ("not zero", vec![(packet(0x81, 0, 0, 0, &open("all")[16..]), 2)]),
        ("not zero", vec![(packet(0x8a, 0, 0, 0, &[]), 2)]),
        ("not zero", vec![(packet(0xc4, 0, WORDED, 0, b"[]"), 2)]),
        ("a method that", vec![(worded(DENIED, "{}"), 2)]),
        ("a method that", vec![(worded(NEWS, "{}"), 2)]),
        ("a method that", vec![(worded(99, "{}"), 2)]),
        ("does not follow", vec![(worded(WORDED, "{}"), 1)]),
        ("unknown shape", vec![(packet(1, 0, 0, 0, &[1, 0, 97, 1, 0, 97, 1, 0, 9]), 2)]),
        ("does not follow", vec![(call(TWICE, &two), 1)]),
        ("does not follow", vec![(call(TWICE, &two), 0)]),
        ("does not follow", vec![(call(TWICE, &two), 7), (call(TWICE, &two), 7)]),
        ("does not follow", vec![(call(TWICE, &two), u64::MAX), (open("all"), 3)]),
        ("was not made", vec![(packet(6, 0, 0, 0, &[]), 1)]),
        ("was not made", vec![(packet(7, 0, 0, 0, &[]), 0)]),
        ("was not made", vec![(packet(8, 0, 6, 0, &[]), 9)]),
        ("was not made", vec![(packet(10, 0, 0, 0, &[]), 9)]),
        ("was not made", vec![(packet(2, 0, 1, 0, &[0, 0]), 9)]),
        ("was not made", vec![(packet(3, 0, 1, 0, &[]), 9)]),
        ("was not made", vec![(packet(12, 0, NEWS, 0, &two), 0)]),
        ("blob that is not known", vec![(blobs(1, &[1; 16]), 2)]),
        ("was not opened", vec![(packet(4, 1, 0, 0, &two), 2)]),
        ("was not opened", vec![(packet(5, u16::MAX, 0, 0, &two), 0)]),
        ("was not opened", vec![(packet(13, 7, NEWS, 0, &[]), 0)]),
        ("a method that", vec![(call(7, &two), 2)]),
        ("a method that", vec![(call(u32::MAX, &two), 2)]),
        ("a method that", vec![(call(DENIED, &[]), 2)]),
        ("a method that", vec![(call(TOLD, &two), 2)]),
        ("a method that", vec![(call(NEWS, &two), 2)]),
        ("a method that", vec![(packet(5, 0, TWICE, 0, &two), 0)]),
        ("a method that", vec![(packet(5, 0, COUNT, 0, &two), 0)]),
        ("a method that", vec![(packet(5, 0, NEWS, 0, &two), 0)]),
        ("a method that", vec![(packet(5, 0, TOLD, 0, &two), 2)]),
        ("a method that", vec![(packet(13, 0, TWICE, 0, &[]), 0)]),
        ("a method that", vec![(packet(14, 0, 99, 0, &[]), 0)]),
        ("a method that", vec![(packet(13, 0, NEWS, 0, &[]), 3)]),
        (
            "without credit",
            vec![
                (call(COUNT, &u32::MAX.to_le_bytes()), 2),
                (packet(11, 0, i32::MAX as u32, 0, &[]), 2),
                (packet(11, 0, i32::MAX as u32, 0, &[]), 2),
            ],
        ),
    ];
    let is_ended = |rule: &str, mut raw: Raw, serving: JoinHandle<End>| {
        let end = loop {
            // It may have answered before.
            match raw.recv(soon()) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(end, memring::RecvError::Ended(_)), "{rule}: {end}");
        is_broken(&serving.join().expect("no panic"), rule);
    };
    let check = |rule: &str, packets: &[(Vec<u8>, u64)]| {
        let (mut raw, serving) = raw_client();
        packets.iter().for_each(|(packet, tag)| send(&mut raw, packet, *tag));
        is_ended(rule, raw, serving);
    };
    // The same where they lie right behind a call: a thread that has just answered looks at what is next by itself.
    let check_behind_a_call = |rule: &str, packets: &[(Vec<u8>, u64)]| {
        let (mut raw, server) = raw_pair();
        send(&mut raw, &open("all"), 1);
        send(&mut raw, &call(TWICE, &two), 2);
        for (packet, tag) in packets {
            let tag = if matches!(*tag, 0 | u64::MAX) { *tag } else { tag + 1 };
            send(&mut raw, packet, tag);
        }
        is_ended(rule, raw, thread::spawn(move || server.run()));
    };
    // Beside each other: each is a session that is made and ended, which is mostly waiting for one's turn where all
    // processors are busy.
    thread::scope(|scope| {
        for some in cases.chunks(6) {
            scope.spawn(move || {
                for (rule, packets) in some {
                    check(rule, packets);
                    check_behind_a_call(rule, packets);
                }
            });
        }
    });
}

#[test]
fn what_breaks_no_rule_is_an_answer_or_nothing() {
    let (mut raw, serving) = raw_client();
    let (two, bomb) = (2_u32.to_le_bytes(), [0xff; 64]);
    for (question, tag, answer) in [
        (call(TWICE, &two), 2, (6, 0)),
        (call(TWICE, &[]), 3, (8, 9)),             // no arguments
        (call(TWICE, &[0; 8]), 5, (8, 9)),         // too many
        (call(TEXTS, &bomb), 6, (8, 9)),           // a list that goes beyond
        (call(COUNT, &two[..3]), 7, (8, 9)),       // no arguments of a stream
        (packet(4, 0, TWICE, 1, &two), 8, (8, 7)), // a deadline that is long over
        (packet(4, 0, TWICE, u64::MAX, &two), 9, (6, 0)),
        (open("none"), 10, (3, 1)),
        (open("all"), 11, (2, 1024)),
        (asks(1, 0, "whatever"), 12, (2, 1024)),
        (asks(1, u16::MAX, "all"), 13, (2, 1024)),
        (asks(2, 0, "all"), 14, (2, 1024)),
        (asks(2, 0, "none"), 15, (3, 1)),
        (worded(WORDED, r#"{"texts": ["a"]}"#), 16, (6, 0)),
        (worded(WORDED, ""), 17, (8, 9)),
        (worded(WORDED, "\u{0}"), 18, (8, 9)),
        (worded(WORDED, "[[\"ü\"]]"), 19, (6, 0)),
        (packet(0x84, 0, WORDED, 0, b"[[\"\xff\"]]"), 20, (8, 9)), // no UTF-8
        (worded(WORDED, &format!("[{}", "[".repeat(50_000))), 21, (8, 9)),
        (worded(WORDED, r#"[["a"], 1e400]"#), 22, (8, 9)),
        (worded(TWICE, "[1]"), 23, (8, 9)), // it takes none
        (packet(0x84, 0, WORDED, 1, b"[[]]"), 24, (8, 7)),
        (call(TWICE, &two), u64::MAX, (6, 0)),
    ] {
        // None of these is about anything.
        for nothing in [packet(9, 0, 0, 0, &[]), packet(11, 0, u32::MAX, 0, &[1])] {
            [0, 1, tag, u64::MAX].iter().for_each(|about| send(&mut raw, &nothing, *about));
        }
        send(&mut raw, &question, tag);
        let came = recv(&mut raw);
        assert_eq!((came.tag, (kind(&came), number(&came))), (tag, answer));
    }
    for kind in [13, 13, 14, 14] {
        send(&mut raw, &packet(kind, 0, NEWS, 0, &[]), 0);
    }
    send(&mut raw, &packet(5, 0, TOLD, 0, &[]), 0); // a message to nobody
    send(&mut raw, &packet(5, 0, TOLD, 1, &two), 0); // and one that is late
    send(&mut raw, &packet(0x85, 0, TOLD, 0, b"[1]"), 0); // and one to who takes no JSON
    drop(raw);
    let end = serving.join().expect("no panic");
    assert!(matches!(end, End::Closed | End::PeerDied(_)), "{end}");
}

#[test]
fn what_lies_behind_a_call_is_answered_as_what_comes_alone() {
    let (one, item, done, ended) = (1_u32.to_le_bytes(), 10, 6, 8);
    for (question, answers) in [
        (call(TWICE, &one), vec![done]),
        (call(TWICE, &one[1..]), vec![ended]),
        (call(TEXTS, &[0xff; 1000]), vec![ended]), // many arguments
        (call(COUNT, &one), vec![item, done]),
        (packet(4, 0, TWICE, 1, &one), vec![ended]), // too late
        (worded(WORDED, "[[]]"), vec![done]),
        (open("none"), vec![3]),
    ] {
        let (mut raw, server) = raw_pair();
        send(&mut raw, &open("all"), 1);
        send(&mut raw, &call(TWICE, &one), 2);
        send(&mut raw, &question, 3);
        let serving = thread::spawn(move || server.run());
        assert_eq!([recv(&mut raw), recv(&mut raw)].each_ref().map(kind), [2, done]);
        for answer in answers {
            let came = recv(&mut raw);
            assert_eq!((kind(&came), came.tag), (answer, 3));
        }
        drop(raw);
        serving.join().expect("no panic");
    }
}

#[test]
fn a_call_that_is_cancelled_before_it_begins_is_not_run() {
    let (mut raw, server) = raw_pair();
    let one = 1_u32.to_le_bytes();
    send(&mut raw, &open("all"), 1);
    send(&mut raw, &call(COUNT, &one), 2); // whose handler looks at what lies behind it
    send(&mut raw, &call(TWICE, &one), 3);
    send(&mut raw, &packet(9, 0, 0, 0, &[]), 3);
    let serving = thread::spawn(move || server.run());
    let answers =
        [(); 4].map(|()| recv(&mut raw)).map(|came| (came.tag, kind(&came), number(&came)));
    assert_eq!(answers, [(1, 2, 1024), (2, 10, 0), (2, 6, 0), (3, 8, 8)]);
    drop(raw);
    serving.join().expect("no panic");
}

#[test]
fn an_answer_that_is_longer_than_messages_may_be_is_refused_as_that() {
    let small = Connector::new().timeout(PATIENCE).largest_message(320);
    let (server, client) = small.pair::<Calls>().expect("a pair");
    let (server, mut raw) = (Link::serving(server, [All::serve(Serves)]), Raw::over(client));
    let serving = thread::spawn(move || server.run());
    let questions = [
        (open("all"), (2, 1024)),
        (asks(2, 0, "all"), (3, 5)),
        (call(TWICE, &[1, 0, 0, 0]), (6, 0)),
    ];
    for ((question, answer), tag) in questions.iter().zip(1..) {
        send(&mut raw, question, tag);
        let came = recv(&mut raw);
        assert_eq!((came.tag, (kind(&came), number(&came))), (tag, *answer));
    }
    drop(raw);
    serving.join().expect("no panic");
}

/// The monotonic clock, in nanoseconds.
fn clock() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * SECOND + now.tv_nsec as u64
}

const SECOND: u64 = 1_000_000_000;

/// An opening that was sent when the clock read so.
fn open_at(told: u64) -> Vec<u8> {
    let mut opening = open("all");
    opening[8..16].copy_from_slice(&told.to_le_bytes());
    opening
}

#[test]
fn deadlines_are_read_by_the_clock_that_the_opening_told() {
    let now = clock();
    let (done, late) = ((6, 0), (8, 7));
    for (told, deadline, answer) in [
        (now, now + 3600 * SECOND, done),
        (now, now, late),
        (now.saturating_sub(5 * SECOND), now.saturating_sub(SECOND), late), // it was on its way for long
        (1, 60 * SECOND, done), // that one began just now
        (now + 3600 * SECOND, now + 3600 * SECOND, late),
        (now + 3600 * SECOND, 1, late), // before ours began
        (1, u64::MAX, done),
    ] {
        let (mut raw, server) = raw_pair();
        send(&mut raw, &open_at(told), 1);
        send(&mut raw, &packet(4, 0, TWICE, deadline, &[1, 0, 0, 0]), 2);
        let serving = thread::spawn(move || server.run());
        assert_eq!(kind(&recv(&mut raw)), 2, "opened");
        let came = recv(&mut raw);
        assert_eq!((kind(&came), number(&came)), answer, "{told} {deadline}");
        drop(raw);
        serving.join().expect("no panic");
    }
}

#[test]
fn a_stream_ends_at_its_deadline_whether_or_not_it_is_read() {
    for credit in [0, i32::MAX as u32 - 32] {
        let (mut raw, serving) = raw_client();
        send(&mut raw, &open_at(clock()), 2);
        assert_eq!(kind(&recv(&mut raw)), 2, "opened again");
        let deadline = clock() + SECOND / 10;
        send(&mut raw, &packet(4, 0, COUNT, deadline, &u32::MAX.to_le_bytes()), 3);
        send(&mut raw, &packet(11, 0, credit, 0, &[]), 3);
        let answer = std::iter::repeat_with(|| recv(&mut raw)).find(|packet| kind(packet) != 10);
        assert!(answer.is_some_and(|packet| kind(&packet) == 8), "it did not end well");
        assert!(clock() >= deadline);
        drop(raw);
        serving.join().expect("no panic");
    }
}

#[test]
fn openings_whose_answers_are_not_read_have_a_bound() {
    let (mut raw, serving) = raw_client();
    for tag in 2.. {
        let sent = raw.send(&open("all"), tag, std::time::Instant::now() + Duration::from_secs(5));
        if let Err(error) = sent {
            assert!(matches!(error, memring::SendError::Ended(_)), "{error}");
            break;
        }
    }
    is_broken(&serving.join().expect("no panic"), "more calls at once");
}

#[memring::interface(name = "flood", version = "1")]
trait Flood {
    fn flood() -> Stream<u32>;
}

#[derive(Default)]
struct Flooding(std::sync::Arc<AtomicU32>);

impl FloodServer for Flooding {
    fn flood(&self, _: &Call<'_>, mut replies: Replies<u32>) {
        while replies.send(&0).is_ok() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn openings_may_wait_for_room_where_one_call_is_taken_at_once() {
    let place = Scratch::new();
    let flooding = Flooding::default();
    let sent = std::sync::Arc::clone(&flooding.0);
    let listener = Listener::builder().lanes_between(Lanes::Bytes(4096), Lanes::Normal);
    let server = Server::new().serve(Flood::serve(flooding)).listener(listener).calls_at_once(1);
    let server = std::sync::Arc::new(server.bind(place.socket()).expect("binds"));
    let running = {
        let server = std::sync::Arc::clone(&server);
        thread::spawn(move || server.run())
    };
    let lanes = Lanes::Bytes(4096);
    let channel = Connector::new().lanes(lanes, lanes).connect::<Calls>(place.socket());
    let mut raw = Raw::over(channel.expect("connects"));
    send(&mut raw, &open("flood"), 1);
    assert_eq!(kind(&recv(&mut raw)), 2, "opened");
    send(&mut raw, &call(0, &[]), 2);
    send(&mut raw, &packet(11, 0, 1000, 0, &[]), 2);
    eventually("the lane is full", || sent.load(Ordering::Relaxed) >= 60);
    // As many as may be under way before it is said how many.
    (3..19).for_each(|tag| send(&mut raw, &open("flood"), tag));
    let answers = std::iter::from_fn(|| Some(recv(&mut raw))).filter(|packet| kind(packet) == 2);
    assert!(answers.take(16).map(|packet| packet.tag).eq(3..19), "all are answered");
    drop(raw);
    server.shut_down(Duration::ZERO);
    running.join().expect("no panic").expect("ends in order");
}
