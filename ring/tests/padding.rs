//! What travels besides messages: nothing. Every byte of a frame is written, padding as zero (attack 76).
//!
//! The lane is filled with 0xAA beforehand, and in a second round with the bytes of older messages, and
//! then every frame is read raw, as a curious peer would: neither shows up in what was published.

mod support;

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::time::Instant;

use memring_ring::frame::{Entry, Header, Kind};
use memring_ring::memory::Region;
use memring_ring::position::frame_size;
use memring_ring::producer::Producer;
use memring_ring::{Terms, Wait};

use support::{Fencing, HEAD, Memory, STARTS, fill, side};

const CAPACITY: u64 = 4096;
const LARGEST: u64 = CAPACITY / 4 - 16;
/// The only byte that messages are made of.
const OURS: u8 = 0x5c;
const TAG: u64 = 0x5c5c_5c5c_5c5c_5c5c;
/// The case whose messages are all of one length and without a tag.
const ALIKE: &str = "batch of alike";
/// What lay there before.
const STALE: u8 = 0xaa;

struct Lane {
    producer: Producer,
    /// As the peer sees it.
    data: Region,
    /// The peer's word for what it has read.
    head: Region,
    position: u64,
    _rest: memring_ring::consumer::Consumer,
}

impl Lane {
    fn new(start: u64) -> Self {
        let (mine, theirs) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
        fill(&mine.writer.data(), CAPACITY as usize, STALE);
        let head = theirs.writer.control();
        head.store64(HEAD, start, Ordering::Release);
        let terms = Terms::new(10_000).start(start).wait(Wait::Park);
        let us = side(&mine, &theirs, &terms, Fencing::Ours);
        Self {
            producer: us.producer,
            data: mine.reader.data(),
            head,
            position: start,
            _rest: us.consumer,
        }
    }

    /// Reads all frames that were published since, and checks every byte of them; their kinds.
    fn check(&mut self, case: &str) -> Vec<Kind> {
        let mut kinds = Vec::new();
        loop {
            let at = (self.position % CAPACITY) as usize;
            let word = self.data.load64(at, Ordering::Acquire);
            // The header behind the last frame is zero, and was not before.
            if word == 0 {
                break;
            }
            let header =
                Header::decode(word, LARGEST).unwrap_or_else(|fault| panic!("{case}: {fault}"));
            let frame = frame_size(header.len.into());
            let mut bytes = vec![0; frame as usize];
            self.data.copy_out(at, &mut bytes);
            let tag = u64::from_le_bytes(bytes[8..16].try_into().expect("8 bytes"));
            check_payload(case, header, tag, &bytes[16..]);
            kinds.push(header.kind);
            self.position = self.position.wrapping_add(frame);
            if header.kind == Kind::End {
                return kinds;
            }
        }
        self.head.store64(HEAD, self.position, Ordering::Release);
        kinds
    }
}

/// Each byte is one of ours or a zero that belongs there.
fn check_payload(case: &str, header: Header, tag: u64, bytes: &[u8]) {
    let (payload, padding) = bytes.split_at(header.len as usize);
    // Messages that are alike have no tags, and their pack has their length for one.
    let expected = match header.kind {
        Kind::Data if case.starts_with(ALIKE) => 0,
        Kind::Data | Kind::First | Kind::Next | Kind::Last => TAG,
        Kind::Pack if case.starts_with(ALIKE) => tag,
        _ => 0,
    };
    assert_eq!(tag, expected, "{case}: tag of {header:?}");
    assert!(padding.iter().all(|byte| *byte == 0), "{case}: padding {padding:x?} of {header:?}");
    let ours = |bytes: &[u8]| bytes.iter().all(|byte| *byte == OURS);
    match header.kind {
        Kind::Data | Kind::Next | Kind::Last => assert!(ours(payload), "{case}: {payload:x?}"),
        Kind::First => {
            let total = u64::from_le_bytes(payload[..8].try_into().expect("8 bytes"));
            assert!(total > LARGEST && total <= 10_000, "{case}: {total}");
            assert!(ours(&payload[8..]), "{case}: {payload:x?}");
        }
        Kind::Pack if case.starts_with(ALIKE) => {
            for this in payload.chunks(tag.next_multiple_of(8) as usize) {
                let (message, padding) = this.split_at(tag as usize);
                assert!(ours(message), "{case}: {message:x?}");
                assert!(padding.iter().all(|byte| *byte == 0), "{case}: {padding:x?} in a pack");
            }
        }
        Kind::Pack => {
            let mut rest = payload;
            while !rest.is_empty() {
                let entry = Entry::decode(rest).unwrap_or_else(|fault| panic!("{case}: {fault}"));
                let (this, more) = rest.split_at(Entry::size(entry.len.into()) as usize);
                let (message, padding) = this[16..].split_at(entry.len as usize);
                assert_eq!(entry.tag, TAG, "{case}");
                assert!(ours(message), "{case}: {message:x?}");
                assert!(padding.iter().all(|byte| *byte == 0), "{case}: {padding:x?} in a pack");
                rest = more;
            }
        }
        Kind::Abort | Kind::End => assert_eq!(payload.len(), 0, "{case}"),
    }
}

fn ours(len: u64) -> Vec<u8> {
    vec![OURS; len as usize]
}

#[test]
fn attack_76_no_old_byte_travels_in_any_frame() {
    type Call = fn(&mut Producer, u64);
    let calls: [(&str, Call); 8] = [
        ("try_send", |producer, len| producer.try_send(&ours(len), TAG).expect("room")),
        ("send_two_at_once", |producer, len| {
            // Without a gap: that it is zero is for the model of the lane to see.
            let (a, b) = (ours(len / 3), ours(len - len / 3));
            if !producer.send_two_at_once(&a, a.len(), &b, TAG) {
                producer.try_send(&ours(len), TAG).expect("room"); // which looks for it
            }
        }),
        ("send_vectored", |producer, len| {
            let (a, b) = (ours(len / 3), ours(len - len / 3));
            let pieces = [IoSlice::new(&a), IoSlice::new(&[]), IoSlice::new(&b)];
            producer.send_vectored(&pieces, TAG, None).expect("room");
        }),
        ("grant", |producer, len| {
            if len as usize <= producer.largest_frame() {
                let mut grant = producer.try_claim(len as usize).expect("room");
                grant.write(&ours(len)).expect("lent");
                grant.commit(TAG);
            }
        }),
        ("grant that is used in part", |producer, len| {
            let mut grant = producer.try_claim(LARGEST as usize).expect("room");
            grant.write(&ours(len.min(LARGEST) / 2)).expect("lent");
            grant.commit(TAG);
        }),
        ("batch", |producer, len| {
            let mut batch = producer.batch();
            for len in [len, 0, len % 9, len % 24] {
                batch.try_push(&ours(len), TAG).expect("room");
            }
        }),
        (ALIKE, |producer, len| {
            let mut batch = producer.batch();
            for _ in 0..1 + len % 5 {
                batch.try_push(&ours(len.clamp(1, 200)), 0).expect("room");
            }
        }),
        ("batch of grants that are used in part or not at all", |producer, len| {
            let mut batch = producer.batch();
            for used in [len % 9, len % 24, 0, len % 40] {
                let mut grant = batch.try_claim(64).expect("room");
                grant.write(&ours(64)).expect("lent");
                drop(grant);
                let mut grant = batch.try_claim(64).expect("room");
                grant.write(&ours(used)).expect("lent");
                grant.commit(TAG);
            }
        }),
    ];
    for start in STARTS {
        for (case, call) in calls {
            let mut lane = Lane::new(start);
            // Several rounds of the lane, so that every frame lies where another one lay.
            for len in (0..40)
                .chain([100, 101, LARGEST - 17, LARGEST - 1, LARGEST, LARGEST + 1, 1500])
                .cycle()
                .take(200)
            {
                let case = format!("{case} of {len} bytes from {start:#x}");
                call(&mut lane.producer, len);
                lane.check(&case);
            }
            assert!(lane.position.wrapping_sub(start) > 2 * CAPACITY, "{case}");
        }
    }
}

#[test]
fn attack_76_marks_carry_nothing_but_themselves() {
    for start in STARTS {
        let mut lane = Lane::new(start);
        let mut kinds = Vec::new();
        for _ in 0..4 {
            // Larger than the lane: given up half-way for want of room, and said so by the next one.
            lane.producer.send(&ours(9000), TAG, Some(Instant::now())).expect_err("no room");
            kinds.extend(lane.check("given up"));
            lane.producer.try_send(&ours(7), TAG).expect("room");
            kinds.extend(lane.check("the next"));
        }
        assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Abort).count(), 4);
        let mut rest = lane.check("all read");
        assert!(rest.is_empty());
        drop(std::mem::replace(&mut lane.producer, Lane::new(start).producer));
        rest = lane.check("end");
        assert_eq!(rest, [Kind::End]);
    }
}
