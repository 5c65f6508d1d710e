//! Hostile release positions, and a peer that does not read.

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::time::Instant;

use memring_ring::producer::{SendError, TrySendError};
use memring_ring::{End, Fault};

use crate::support::STARTS;
use crate::target::{CAPACITY, LARGEST, Target};

/// A payload whose frame takes `FRAME` bytes.
const PAYLOAD: [u8; 240] = [5; 240];
const FRAME: u64 = 256;

/// Sends until there is no room: as far as the tail came, counted from the start.
fn fill(target: &mut Target) -> u64 {
    let mut sent = 0;
    loop {
        match target.us.producer.try_send(&PAYLOAD, 0) {
            Ok(()) => sent += FRAME,
            Err(TrySendError::Full) => return sent,
            Err(other) => panic!("{other}"),
        }
    }
}

/// A full lane of which the peer has read `read` bytes in good order, and the position of its tail.
fn full(start: u64, read: u64) -> (Target, u64) {
    let mut target = Target::new(start);
    assert_eq!(fill(&mut target), CAPACITY - FRAME);
    target.peer.head(start.wrapping_add(read));
    let more = fill(&mut target);
    assert_eq!(more, read / FRAME * FRAME);
    (target, start.wrapping_add(CAPACITY - FRAME + more))
}

#[test]
fn attack_51_a_head_outside_what_was_sent_is_a_fault() {
    for start in STARTS {
        for read in [0, 512, CAPACITY - FRAME] {
            let (_, tail) = full(start, read);
            let last = start.wrapping_add(read);
            for (case, word) in [
                ("past the tail", tail.wrapping_add(16)),
                ("past the tail by all", tail.wrapping_add(1 << 32)),
                ("past the tail by 2^63", tail.wrapping_add(1 << 63)),
                ("backwards", last.wrapping_sub(16)),
                ("backwards by a lane", last.wrapping_sub(CAPACITY)),
                ("between two grains", last.wrapping_add(8)),
                ("off by two", last.wrapping_add(2)),
                ("off by two and gone", last.wrapping_add(3)),
                ("largest", u64::MAX),
                ("largest grain", !15),
                ("half", 1 << 63),
                ("gone past the tail", tail.wrapping_add(16) | 1),
                ("gone backwards", last.wrapping_sub(16) | 1),
            ] {
                // With these starts some of them name a place that was sent.
                let grain = word & !1;
                if grain % 16 == 0 && grain.wrapping_sub(last) <= tail.wrapping_sub(last) {
                    continue;
                }
                let case = format!("{case}: {word:#x}, start {start:#x}, read {read}");
                let (mut target, _) = full(start, read);
                target.peer.head(word);
                let end = TrySendError::Ended(End::Fault(Fault::Head));
                assert_eq!(target.us.producer.try_send(&PAYLOAD, 0), Err(end), "{case}");
                target.assert_faulted(Fault::Head, &case);
            }
        }
    }
}

#[test]
fn attack_51_a_bad_head_ends_every_way_of_waiting_for_room() {
    let end = End::Fault(Fault::Head);
    type Call = fn(&mut Target) -> Option<SendError>;
    let calls: [(&str, Call); 6] = [
        ("send", |target| target.us.producer.send(&PAYLOAD, 0, None).err()),
        ("parts", |target| target.us.producer.send(&[0; 5000], 0, None).err()),
        ("vectored", |target| {
            target.us.producer.send_vectored(&[IoSlice::new(&PAYLOAD)], 0, None).err()
        }),
        ("claim", |target| target.us.producer.claim(PAYLOAD.len(), None).err()),
        ("room", |target| target.us.producer.wait_for_room(PAYLOAD.len(), None).err()),
        ("batch", |target| target.us.producer.batch().push(&PAYLOAD, 0, None).err()),
    ];
    for (case, call) in calls {
        let (mut target, tail) = full(0, 0);
        assert_eq!(target.us.producer.send(&PAYLOAD, 0, late()), Err(SendError::TimedOut));
        target.peer.head(tail + 16);
        assert_eq!(call(&mut target), Some(SendError::Ended(end)), "{case}");
        target.assert_faulted(Fault::Head, case);
    }
}

#[test]
fn a_head_within_what_was_sent_is_good_though_no_frame_ends_there() {
    for start in STARTS {
        let (mut target, tail) = full(start, 0);
        for (read, fits) in [(0, false), (16, true), (256, false), (272, true)] {
            target.peer.head(start.wrapping_add(read));
            let outcome = target.us.producer.try_send(&PAYLOAD, 0);
            assert_eq!(outcome.is_ok(), fits, "{read} bytes are free");
        }
        target.peer.head(tail.wrapping_add(2 * FRAME)); // all of it
        assert_eq!(fill(&mut target), CAPACITY - FRAME);
        assert_eq!(target.us.life.end(), None);
    }
}

#[test]
fn a_peer_that_says_it_has_gone_is_believed_once_and_for_all() {
    for start in STARTS {
        for read in [0, 16, FRAME, CAPACITY - FRAME] {
            let (mut target, _) = full(start, 0);
            target.peer.head(start.wrapping_add(read) | 1);
            let closed = TrySendError::Ended(End::Closed);
            let large = [0; LARGEST as usize];
            let full_lane = read < CAPACITY - FRAME;
            if full_lane {
                assert_eq!(target.us.producer.try_send(&large, 0), Err(closed), "{read}");
            }
            // It takes back what it said, and nobody listens.
            target.peer.head(start.wrapping_add(read));
            if full_lane {
                assert_eq!(target.us.producer.try_send(&[], 0), Err(closed), "{read}");
                assert_eq!(target.us.producer.end(), Some(End::Closed));
            }
            // The other direction and the session live on.
            assert_eq!(target.us.life.end(), None);
            target.peer.honest(memring_ring::frame::Kind::Data, 0, b"still here");
            assert_eq!(target.receive_all().0[0].1, b"still here");
            target.assert_isolated("gone");
        }
    }
}

#[test]
fn a_peer_that_closed_in_order_before_it_hung_up_has_closed() {
    for (word, end) in [(1, End::Closed), (0, End::HungUp), (24, End::Fault(Fault::Head))] {
        let mut target = Target::new(0);
        target.peer.head(word);
        target.us.life.hang_up();
        assert_eq!(target.us.producer.try_send(b"x", 0), Err(TrySendError::Ended(end)), "{word}");
        assert_eq!(target.us.producer.end(), Some(end));
    }
}

/// Whatever is asked of a full lane, it is full or the deadline passes, and the session goes on.
#[test]
fn attack_64_a_peer_that_never_reads_costs_no_more_than_a_deadline() {
    type Call = fn(&mut Target, &[u8]) -> bool;
    let calls: [(&str, Call); 6] = [
        ("try_send", |target, bytes| {
            matches!(
                target.us.producer.try_send(bytes, 0),
                Err(TrySendError::Full | TrySendError::TooLarge { .. })
            )
        }),
        ("try_send_vectored", |target, bytes| {
            matches!(
                target.us.producer.try_send_vectored(&[IoSlice::new(bytes)], 0),
                Err(TrySendError::Full | TrySendError::TooLarge { .. })
            )
        }),
        ("try_push", |target, bytes| {
            matches!(
                target.us.producer.batch().try_push(bytes, 0),
                Err(TrySendError::Full | TrySendError::TooLarge { .. })
            )
        }),
        ("push", |target, bytes| {
            target.us.producer.batch().push(bytes, 0, late()) == Err(SendError::TimedOut)
        }),
        ("send", |target, bytes| {
            target.us.producer.send(bytes, 0, late()) == Err(SendError::TimedOut)
        }),
        ("send_vectored", |target, bytes| {
            let pieces = [IoSlice::new(bytes)];
            target.us.producer.send_vectored(&pieces, 0, late()) == Err(SendError::TimedOut)
        }),
    ];
    for (case, call) in calls {
        for unread in [16, 32, 48, FRAME, CAPACITY - 32, CAPACITY - 16] {
            // The smallest that does not fit any more, in parts or in one frame.
            let in_parts = (CAPACITY - 88).saturating_sub(unread);
            let too_large = if in_parts > LARGEST {
                in_parts + 1
            } else {
                (CAPACITY - unread).checked_sub(32).map_or(0, |room| room + 1)
            };
            let more = [0, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 200, CAPACITY];
            for len in more.map(|more| too_large + more) {
                let case = format!("{case} {len} bytes on {unread}");
                let mut target = Target::new(0);
                let mut used = 0;
                while used < unread {
                    let payload = (unread - used - 16).min(LARGEST);
                    target.us.producer.try_send(&vec![1; payload as usize], 0).expect("room");
                    used += 16 + payload;
                }
                assert!(call(&mut target, &vec![2; len as usize]), "{case}");
                // The peer reads at last, and all is well.
                let tail = read_all(&target);
                target.peer.head(tail);
                target.us.producer.send(b"on we go", 0, late()).expect("room");
            }
        }
    }
    Target::new(0).assert_isolated("never reads");
}

fn late() -> Option<Instant> {
    Some(Instant::now())
}

/// Where the peer's consumer would come to if it read everything.
fn read_all(target: &Target) -> u64 {
    use memring_ring::frame::Header;
    use memring_ring::position::frame_size;
    let mut head = 0;
    loop {
        let at = (head % CAPACITY) as usize;
        let word = target.peer.our_data.load64(at, Ordering::Acquire);
        if word as u32 == 0 {
            return head;
        }
        let header = Header::decode(word, LARGEST).expect("an honest frame");
        head += frame_size(header.len.into());
    }
}
