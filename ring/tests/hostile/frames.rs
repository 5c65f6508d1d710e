//! Hostile frames: headers, packs and parts that break the rules of section 5 of the protocol.

use std::time::{Duration, Instant};

use memring_ring::consumer::{RecvError, TryRecvError};
use memring_ring::frame::{Entry, Header, Kind};
use memring_ring::lookout::Sight;
use memring_ring::position::frame_size;
use memring_ring::{End, Fault, Terms, Wait};
use proptest::prelude::*;

use crate::support::{STARTS, bytes, fill};
use crate::target::{CAPACITY, LARGEST, MAX_MESSAGE, NEVER, Target};

/// One frame: its header word, its tag and its payload, which need not fit each other.
#[derive(Clone, Debug)]
struct Frame {
    word: u64,
    tag: u64,
    payload: Vec<u8>,
}

fn frame(kind: Kind, tag: u64, payload: &[u8]) -> Frame {
    let len = payload.len() as u32;
    raw(Header::new(kind, len).word(), tag, payload)
}

fn raw(word: u64, tag: u64, payload: &[u8]) -> Frame {
    Frame { word, tag, payload: payload.to_vec() }
}

fn data(payload: &[u8]) -> Frame {
    frame(Kind::Data, 1, payload)
}

fn first(total: u64, tag: u64, payload: &[u8]) -> Frame {
    let mut bytes = total.to_le_bytes().to_vec();
    bytes.extend(payload);
    frame(Kind::First, tag, &bytes)
}

fn next(tag: u64, payload: &[u8]) -> Frame {
    frame(Kind::Next, tag, payload)
}

fn last(tag: u64, payload: &[u8]) -> Frame {
    frame(Kind::Last, tag, payload)
}

fn abort() -> Frame {
    frame(Kind::Abort, 0, &[])
}

fn entry(len: u64, tag: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.extend(tag.to_le_bytes());
    bytes.extend(payload);
    bytes
}

fn pack(entries: &[Vec<u8>]) -> Frame {
    frame(Kind::Pack, 0, &entries.concat())
}

/// How a test receives.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Polls,
    Waits,
    /// Looks for a message of the length that is due, or that the last frame says, before it polls.
    Knows,
}

/// Writes the frames, and expects these messages and then this error; for a fault, with all that follows
/// from it. Whether somebody polls, waits, or knows how long messages are, and wherever the lane begins.
fn check(case: &str, frames: &[Frame], messages: &[&[u8]], error: TryRecvError) {
    for start in STARTS {
        for way in [Way::Polls, Way::Waits, Way::Knows] {
            let mut target = Target::new(start);
            for frame in frames {
                target.peer.frame(frame.word, frame.tag, &frame.payload);
            }
            let mut delivered = Vec::new();
            let outcome = loop {
                assert!(delivered.len() <= messages.len(), "{case}, start {start:#x}: surplus");
                let consumer = &mut target.us.consumer;
                let last = frames.last().map_or(0, |frame| match frame.tag {
                    0 => (frame.word >> 32) as usize,
                    tag => tag as usize & 0xffff_ffff,
                });
                let due = messages.get(delivered.len()).map_or(last, |message| message.len());
                if way == Way::Knows
                    && let Some(bytes) = consumer.next_of(due, true)
                {
                    delivered.push(bytes.to_vec());
                    continue;
                }
                let received = if way == Way::Waits {
                    consumer.recv(Some(Instant::now())).map_err(not_in_time)
                } else {
                    consumer.try_recv()
                };
                match received {
                    Ok(item) => delivered.push(consumer.bytes(&item).to_vec()),
                    Err(error) => break error,
                }
            };
            assert_eq!(delivered, messages, "{case}, start {start:#x}: delivered");
            assert_eq!(outcome, error, "{case}, start {start:#x}");
            // Whoever looks from outside sees no more than was to be received, whatever lies behind an end.
            let seen = match error {
                TryRecvError::Ended(end) => Sight::Ended(end),
                _ => Sight::Nothing,
            };
            assert_eq!(target.us.consumer.lookout().sight(), seen, "{case}, start {start:#x}");
            match error {
                TryRecvError::Ended(End::Fault(fault)) => target.assert_faulted(fault, case),
                _ => target.assert_isolated(case),
            }
        }
    }
}

/// A receive that waits says it as one that does not.
fn not_in_time(error: RecvError) -> TryRecvError {
    match error {
        RecvError::TimedOut => TryRecvError::Empty,
        RecvError::Ended(end) => TryRecvError::Ended(end),
        other => panic!("{other}"),
    }
}

fn faults(case: &str, frames: &[Frame], messages: &[&[u8]], fault: Fault) {
    check(case, frames, messages, TryRecvError::Ended(End::Fault(fault)));
}

fn good(case: &str, frames: &[Frame], messages: &[&[u8]]) {
    check(case, frames, messages, TryRecvError::Empty);
}

#[test]
fn attack_52_a_header_of_any_value_is_a_fault_or_a_message() {
    for (word, fault) in [
        (8, Fault::Kind(8)),
        (0x7f, Fault::Kind(0x7f)),
        (0xff, Fault::Kind(0xff)),
        (0x0100, Fault::Reserved), // no kind, but the low half is not zero
        (u64::MAX, Fault::Reserved),
        (0xaaaa_aaaa_aaaa_aaaa, Fault::Reserved),
        (1 | 0x10_0000, Fault::Fds),
        (0xffff_0000, Fault::Kind(0)),
        (0x00ff_0000_0000 | 0x0001_0000, Fault::Kind(0)),
        (8 | 16 << 32, Fault::Kind(8)),
    ] {
        let case = format!("{word:#x}");
        faults(&case, &[raw(word, 0, &[])], &[], fault);
        faults(&case, &[data(b"whole"), raw(word, 0, &[])], &[b"whole"], fault);
    }
    // A low half of zero says that there is nothing, whatever the high half says.
    good("high half alone", &[raw(0xffff_ffff << 32, 0, &[])], &[]);
}

#[test]
fn attack_54_a_length_beyond_the_lane_is_a_fault() {
    for kind in [Kind::Data, Kind::Pack, Kind::First, Kind::Next, Kind::Last] {
        for len in [
            LARGEST + 1,
            LARGEST + 16,
            CAPACITY,
            2 * CAPACITY,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_fff0, // rounds up to 2^32
            0xffff_ffff,
        ] {
            let word = Header::new(kind, len as u32).word();
            let fault = Fault::Length(len as u32);
            for tag in [0, 8] {
                faults(&format!("{kind:?} of {len}"), &[raw(word, tag, &[])], &[], fault);
            }
        }
    }
    let most = bytes(1, LARGEST as usize);
    good("the largest", &[data(&most), data(&most)], &[&most, &most]);
}

#[test]
fn attack_54_frames_that_overlap_are_only_bytes() {
    // The first says that it is longer than the place of the second: the second is part of it.
    let mut target = Target::new(0);
    target.peer.frame(Header::new(Kind::Data, 64).word(), 1, &[7; 16]);
    target.peer.frame(Header::new(Kind::Data, 16).word(), 2, &[9; 16]);
    let item = target.us.consumer.try_recv().expect("a frame");
    let got = target.us.consumer.bytes(&item);
    assert_eq!(got.len(), 64);
    assert_eq!(&got[..16], &[7; 16]);
    assert_eq!(&got[32..48], &[9; 16]);
    // And what lies behind its claimed end was never published.
    assert_eq!(target.us.consumer.try_recv().err(), Some(TryRecvError::Empty));
}

#[test]
fn attack_52_a_next_header_that_was_never_zeroed_is_judged_like_any_other() {
    for (byte, fault) in [
        (0xaa, Fault::Reserved),
        (0x01, Fault::Reserved), // in every byte
        (0xff, Fault::Reserved),
    ] {
        let mut target = Target::new(0);
        fill(&target.peer.data, CAPACITY as usize, byte);
        let word = Header::new(Kind::Data, 5).word();
        target.peer.data.copy_in(16, b"whole");
        target.peer.word_at(0, word);
        let (messages, error) = target.receive_all();
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].1, b"whole");
        assert_eq!(error, TryRecvError::Ended(End::Fault(fault)));
        target.assert_faulted(fault, "never zeroed");
    }
}

#[test]
fn attack_52_messages_in_parts_are_whole_or_a_fault() {
    let part = bytes(1, 100);
    let (a, b, c) = (&part[..40], &part[40..70], &part[70..]);
    good("three parts", &[first(100, 5, a), next(5, b), last(5, c)], &[&part]);
    good("two parts", &[first(70, 5, a), last(5, b)], &[&part[..70]]);
    good("given up", &[first(100, 5, a), next(5, b), abort(), data(c)], &[c]);
    good("unfinished", &[first(100, 5, a), next(5, b)], &[]);
    for (case, frames) in [
        ("next without first", vec![next(5, a)]),
        ("last without first", vec![last(5, a)]),
        ("abort without first", vec![abort()]),
        ("abort twice", vec![first(100, 5, a), abort(), abort()]),
        ("next after last", vec![first(70, 5, a), last(5, b), next(5, c)]),
        ("next after abort", vec![first(100, 5, a), abort(), next(5, b)]),
        ("first in a message", vec![first(100, 5, a), first(100, 5, a)]),
        ("data in a message", vec![first(100, 5, a), data(b)]),
        ("pack in a message", vec![first(100, 5, a), pack(&[entry(0, 0, &[])])]),
        ("a last that leaves some missing", vec![first(100, 5, a), last(5, b)]),
        ("a last with a surplus", vec![first(60, 5, a), last(5, b)]),
        ("a next with a surplus", vec![first(60, 5, a), next(5, b)]),
        ("a next that is the last", vec![first(70, 5, a), next(5, b)]),
        ("total as long as the first", vec![first(40, 5, a)]),
        ("total shorter than the first", vec![first(39, 5, a)]),
        ("total of zero", vec![first(0, 5, a)]),
        ("another tag", vec![first(100, 5, a), next(6, b)]),
        ("another tag in the last", vec![first(70, 5, a), last(4, b)]),
    ] {
        let whole: &[&[u8]] = if case == "next after last" { &[&part[..70]] } else { &[] };
        faults(case, &frames, whole, Fault::Parts);
    }
    for (case, frames, len) in [
        ("an empty next", vec![first(100, 5, a), next(5, &[])], 0),
        ("an empty last", vec![first(100, 5, a), last(5, &[])], 0),
        ("a first with its total alone", vec![first(100, 5, &[])], 8),
        ("a first with less", vec![frame(Kind::First, 5, &[1; 7])], 7),
        ("an abort with bytes", vec![first(100, 5, a), frame(Kind::Abort, 5, b)], 30),
        ("an end with bytes", vec![frame(Kind::End, 5, b)], 30),
    ] {
        faults(case, &frames, &[], Fault::Length(len));
    }
}

#[test]
fn an_end_in_the_middle_of_a_message_closes_without_a_fault() {
    let frames = [data(b"whole"), first(100, 5, &[1; 40]), frame(Kind::End, 0, &[]), data(b"late")];
    check("end", &frames, &[b"whole"], TryRecvError::Ended(End::Closed));
}

#[test]
fn attack_54_no_message_grows_past_the_negotiated_largest() {
    for total in [MAX_MESSAGE + 1, 1 << 32, 1 << 63, u64::MAX] {
        faults(
            &format!("total {total}"),
            &[first(total, 5, &[1; 40])],
            &[],
            Fault::TooLarge(total),
        );
    }
    // Where the largest message is smaller than a frame.
    for (frames, fault) in [
        (vec![data(&[1; 101])], Fault::TooLarge(101)),
        (vec![pack(&[entry(101, 0, &[1; 104])])], Fault::TooLarge(101)),
        (vec![first(101, 5, &[1; 40])], Fault::TooLarge(101)),
        (vec![frame(Kind::Pack, 101, &[1; 208])], Fault::TooLarge(101)),
    ] {
        for known in [false, true] {
            let mut target = Target::with(Terms::new(100));
            target.peer.frame(Header::new(Kind::Data, 100).word(), 0, &[2; 100]);
            for frame in &frames {
                target.peer.frame(frame.word, frame.tag, &frame.payload);
            }
            if known {
                assert_eq!(target.us.consumer.next_of(100, true), Some(&[2; 100][..]));
                assert_eq!(target.us.consumer.next_of(101, true), None);
            }
            let (messages, error) = target.receive_all();
            assert_eq!(messages.len(), usize::from(!known));
            assert_eq!(error, TryRecvError::Ended(End::Fault(fault)));
            target.assert_faulted(fault, &format!("{frames:?}"));
        }
    }
}

#[test]
fn attack_52_packs_are_filled_exactly_or_a_fault() {
    let one = entry(5, 1, b"hello\0\0\0");
    good("one", &[pack(std::slice::from_ref(&one))], &[b"hello"]);
    good("two", &[pack(&[one.clone(), entry(0, 2, &[]), one.clone()])], &[b"hello", b"", b"hello"]);
    // Padding is not looked at.
    good("dirty padding", &[pack(&[entry(5, 1, b"helloxyz")])], &[b"hello"]);
    for (case, entries) in [
        ("one that overruns", vec![entry(9, 1, b"hello\0\0\0")]),
        ("one whose padding is missing", vec![entry(5, 1, b"hello")]),
        ("one with bytes missing", vec![entry(8, 1, b"hello")]),
        ("a length beyond all", vec![entry(0xffff_ffff, 1, b"hello\0\0\0")]),
        ("a length that rounds to 2^32", vec![entry(0xffff_fff9, 1, &[])]),
        ("a reserved bit", vec![entry(5 | 1 << 32, 1, b"hello\0\0\0")]),
        ("the highest reserved bit", vec![entry(5 | 1 << 63, 1, b"hello\0\0\0")]),
        ("trailing bytes", vec![one.clone(), vec![0; 8]]),
        ("one trailing byte", vec![one.clone(), vec![0; 1]]),
        ("half an entry", vec![one.clone(), vec![0; 15]]),
        ("a second that overruns", vec![one.clone(), entry(1, 1, &[])]),
    ] {
        // Nothing of such a frame is delivered, whatever of it was good.
        faults(case, &[pack(&entries)], &[], Fault::Pack);
        faults(case, &[data(b"hello"), pack(&entries)], &[b"hello"], Fault::Pack);
    }
    // Messages that are alike: the tag is the length of each.
    let alike = |each: u64, len: usize| frame(Kind::Pack, each, &vec![7; len]);
    good("two of 8", &[alike(8, 16)], &[&[7_u8; 8] as &[u8]; 2]);
    good("three of 5", &[alike(5, 24)], &[&[7_u8; 5] as &[u8]; 3]);
    good("one of 16", &[alike(16, 16), data(b"hello")], &[&[7_u8; 16] as &[u8], b"hello"]);
    for (case, each, len) in [
        ("half a message too much", 8, 20),
        ("one that does not fill it", 24, 16),
        ("without its padding", 5, 23),
        ("not a whole number", 16, 40),
    ] {
        faults(case, &[data(b"hello"), alike(each, len)], &[b"hello"], Fault::Pack);
    }
    for each in [LARGEST + 1, u64::from(u32::MAX) + 9, u64::MAX] {
        faults("each too large", &[alike(each, 16)], &[], Fault::TooLarge(each));
    }
    faults("one of 8, and no more", &[alike(8, 8)], &[], Fault::Length(8));
    for len in [0, 1, 15] {
        let frames = [frame(Kind::Pack, 0, &vec![0; len])];
        faults(&format!("a pack of {len}"), &frames, &[], Fault::Length(len as u32));
    }
    // As many as there can be: each is delivered, none is looked for behind them.
    let empty = vec![entry(0, 4, &[]); LARGEST as usize / Entry::SIZE as usize];
    good("as many as can be", &[pack(&empty)], &vec![b"" as &[u8]; empty.len()]);
}

/// Fills the lane with these frames over and over: behind the last is the first again.
fn fill_for_good(target: &Target, frames: &[Frame]) {
    let mut at = 0;
    while at < CAPACITY {
        for frame in frames {
            let mut bytes = frame.word.to_le_bytes().to_vec();
            bytes.extend(frame.tag.to_le_bytes());
            bytes.extend(&frame.payload);
            let offset = target.peer.start.wrapping_add(at) % CAPACITY;
            target.peer.data.copy_in(offset as usize, &bytes);
            at += frame_size(frame.payload.len() as u64);
        }
    }
    assert_eq!(at, CAPACITY, "the frames divide the lane");
}

/// Everything that lies in the lane belongs to messages that are begun and given up.
fn flood(target: &Target) {
    fill_for_good(target, &[first(100, 0, &[0; 24]), abort()]);
}

#[test]
fn attack_52_messages_given_up_without_end_hold_nobody_past_a_deadline() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let mut target = Target::with(Terms::new(MAX_MESSAGE).wait(wait));
        flood(&target);
        let consumer = &mut target.us.consumer;
        for patience in [Duration::ZERO, Duration::from_millis(5)] {
            assert_eq!(consumer.try_recv().err(), Some(TryRecvError::Empty), "{wait:?}");
            let outcome = consumer.recv(Some(Instant::now() + patience));
            assert_eq!(outcome.err(), Some(RecvError::TimedOut), "{wait:?}");
        }
        target.assert_isolated("flood");
        // Nor past the end of the session: by this side, though it would wait for ever.
        let life = target.us.life.clone();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || target.us.consumer.recv(None).err());
            life.close();
            let end = waiter.join().expect("no panic");
            assert_eq!(end, Some(RecvError::Ended(End::Local)), "{wait:?}");
        });
    }
}

/// How the rest of what a peer left is received.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rest {
    Polls,
    Waits,
    WaitsForEver,
    Knows,
    /// As a loop over many does, which looks before it receives.
    Looks,
}

/// How many messages come of a peer that has gone, in this way of receiving, and how it ends.
fn receive_rest(target: &mut Target, how: Rest, len: usize) -> (u64, End) {
    let consumer = &mut target.us.consumer;
    let lookout = consumer.lookout();
    let mut received = 0;
    for _ in 0..4 * CAPACITY / 16 {
        if how == Rest::Looks {
            match lookout.sight() {
                Sight::Something => {}
                Sight::Ended(end) => return (received, end),
                Sight::Nothing => panic!("who has gone has an end"),
            }
        }
        if how == Rest::Knows && consumer.next_of(len, true).is_some() {
            received += 1;
            continue;
        }
        let deadline = (how != Rest::WaitsForEver).then(Instant::now);
        let outcome = match how {
            Rest::Waits | Rest::WaitsForEver => consumer.recv(deadline).map_err(not_in_time),
            _ => consumer.try_recv(),
        };
        match outcome {
            Ok(item) => {
                assert_eq!(consumer.bytes(&item).len(), len);
                received += 1;
            }
            Err(TryRecvError::Empty) => {} // parts of messages that were given up, and more of them
            Err(TryRecvError::Ended(end)) => return (received, end),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("{received} messages, and no end");
}

#[test]
fn attack_67_who_died_and_left_a_header_wherever_one_looks_is_read_for_one_lane() {
    let two = [entry(8, 1, &[7; 8]), entry(8, 1, &[7; 8])];
    // The frames, how many messages they are, and how long those.
    for (case, frames, messages, len) in [
        ("large", vec![data(&[7; LARGEST as usize])], 1, LARGEST),
        ("middling", vec![data(&[7; 48])], 1, 48),
        ("empty", vec![data(&[])], 1, 0),
        ("packs", vec![pack(&two)], 2, 8),
        ("alike", vec![frame(Kind::Pack, 8, &[7; 16])], 2, 8),
        ("parts", vec![first(88, 5, &[7; 24]), last(5, &[7; 64])], 1, 88),
        ("given up", vec![first(100, 0, &[0; 24]), abort()], 0, 0),
    ] {
        let size: u64 = frames.iter().map(|frame| frame_size(frame.payload.len() as u64)).sum();
        let lane = CAPACITY / size * messages;
        // Before anything was received, in the middle, and after more than the lane holds.
        let befores = if messages == 0 { vec![0] } else { vec![0, 1, 3, lane + 1] };
        for before in befores {
            for how in [Rest::Polls, Rest::Waits, Rest::WaitsForEver, Rest::Knows, Rest::Looks] {
                for start in STARTS {
                    let case = format!("{case}, {before} before, {how:?}, start {start:#x}");
                    let mut target = Target::new(start);
                    fill_for_good(&target, &frames);
                    for _ in 0..before {
                        // Of who lives it may be news.
                        assert!(target.us.consumer.recv(None).is_ok(), "{case}");
                    }
                    target.us.life.hang_up();
                    let (received, end) = receive_rest(&mut target, how, len as usize);
                    let of_an_open_pack = before.next_multiple_of(messages.max(1)) - before;
                    assert_eq!(received, lane + of_an_open_pack, "{case}");
                    // Not a fault: whose socket has ended may live, and be in the middle of a large message.
                    assert_eq!(end, End::HungUp, "{case}");
                    let consumer = &mut target.us.consumer;
                    assert_eq!(consumer.try_recv().err(), Some(TryRecvError::Ended(end)), "{case}");
                    assert_eq!(consumer.recv(None).err(), Some(RecvError::Ended(end)), "{case}");
                    assert_eq!(consumer.lookout().sight(), Sight::Ended(end), "{case}");
                    assert_eq!(target.us.life.end(), Some(end), "{case}");
                    target.assert_isolated("gone");
                }
            }
        }
    }
}

#[test]
fn a_peer_that_hung_up_and_writes_on_is_not_read_for_ever() {
    let mut target = Target::new(0);
    flood(&target);
    target.us.life.hang_up();
    // A live process whose socket is gone may write on. Polls and deadlines hold, and so does the end.
    let consumer = &mut target.us.consumer;
    assert_eq!(consumer.try_recv().err(), Some(TryRecvError::Empty));
    let outcome = consumer.recv(Some(Instant::now()));
    assert_eq!(outcome.err(), Some(RecvError::TimedOut));
    let outcome = consumer.recv(Some(Instant::now() + NEVER));
    assert_eq!(outcome.err(), Some(RecvError::Ended(End::HungUp)));
}

#[test]
fn what_a_peer_writes_after_its_end_is_not_seen_from_outside() {
    let mut target = Target::new(0);
    let lookout = target.us.consumer.lookout();
    let late = data(b"late");
    target.us.life.hang_up();
    assert_eq!(lookout.sight(), Sight::Ended(End::HungUp));
    // What came before it was said is still delivered.
    target.peer.frame(late.word, late.tag, &late.payload);
    assert_eq!(lookout.sight(), Sight::Something);
    assert!(target.us.consumer.try_recv().is_ok());
    assert_eq!(target.us.consumer.try_recv().err(), Some(TryRecvError::Ended(End::HungUp)));
    target.peer.frame(late.word, late.tag, &late.payload);
    assert_eq!(lookout.sight(), Sight::Ended(End::HungUp));
    assert_eq!(target.us.consumer.try_recv().err(), Some(TryRecvError::Ended(End::HungUp)));
}

#[test]
fn attack_72_bytes_that_are_no_message_fail_the_session_of_whoever_says_so() {
    let mut target = Target::new(0);
    target.peer.honest(Kind::Data, 0, b"no archive");
    target.peer.honest(Kind::Data, 0, b"never delivered");
    let item = target.us.consumer.recv(Some(Instant::now() + NEVER)).expect("bytes");
    assert_eq!(target.us.consumer.bytes(&item), b"no archive");
    assert_eq!(target.us.consumer.fail(Fault::Decode), End::Fault(Fault::Decode));
    target.assert_faulted(Fault::Decode, "decode");
}

#[test]
fn the_first_fault_is_the_one_that_is_told() {
    let mut target = Target::new(0);
    target.peer.frame(8, 0, &[]);
    let (_, error) = target.receive_all();
    assert_eq!(error, TryRecvError::Ended(End::Fault(Fault::Kind(8))));
    // A second one, and what the socket says afterwards.
    target.peer.head(4);
    target.us.life.fail(Fault::Control);
    target.us.life.hang_up();
    target.us.life.close();
    target.assert_faulted(Fault::Kind(8), "first of many");
}

/// Anything at all in the lane: only faults, ends and messages within their limits come of it.
fn check_any(start: u64, memory: &[u8], receives: usize) {
    let terms = Terms::new(3000).wait(Wait::Park).start(start);
    let mut target = Target::with(terms);
    for (index, chunk) in memory.chunks_exact(8).enumerate().take(CAPACITY as usize / 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("8 bytes"));
        target.peer.data.store64(index * 8, word, std::sync::atomic::Ordering::Relaxed);
    }
    for _ in 0..receives {
        match target.us.consumer.recv(Some(Instant::now())) {
            Ok(item) => {
                assert!(item.len() <= 3000);
                assert_eq!(target.us.consumer.bytes(&item).len(), item.len());
            }
            Err(RecvError::TimedOut) => {}
            Err(RecvError::Ended(End::Closed)) => {
                assert_eq!(target.us.life.end(), None);
                break;
            }
            Err(RecvError::Ended(End::Fault(fault))) => {
                target.assert_faulted(fault, "anything");
                return;
            }
            Err(other) => panic!("{other}"),
        }
    }
    target.assert_isolated("anything");
}

/// Words that pass for headers more often than chance would have it.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..9_u64, 0..80_u64).prop_map(|(kind, len)| kind | len << 32),
        2 => (0..9_u64, 0..1100_u64).prop_map(|(kind, len)| kind | len << 32),
        2 => 0..3000_u64,
        1 => any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn attack_52_anything_in_the_lane_is_faults_ends_and_messages(
        words in prop::collection::vec(word(), 1..512),
        start in any::<u64>().prop_map(|start| start & !15),
        receives in 1..60_usize,
    ) {
        let memory: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        check_any(start, &memory.repeat(CAPACITY as usize / memory.len() + 1), receives);
    }
}
