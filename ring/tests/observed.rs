//! What an observer sees of a channel: counters and fill of both lanes, from either side, and no memory of theirs held.

mod support;

use std::sync::atomic::Ordering;

use memring_ring::observer::{Lane, Observer, Sighting};
use memring_ring::{Stats, Terms, Wait};

use support::{Fencing, HEAD, Memory, STARTS, side};

const CAPACITY: u64 = 4096;

fn look(observer: &Observer) -> Sighting {
    observer.look().expect("the halves are there")
}

/// Messages and bytes.
fn of(stats: Stats) -> (u64, u64) {
    (stats.messages, stats.bytes)
}

#[test]
fn both_sides_see_the_same_lane_fill_and_empty() {
    for start in STARTS {
        let (s, c) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
        let terms = Terms::new(10_000).wait(Wait::Park).start(start);
        let mut us = side(&s, &c, &terms, Fencing::Ours);
        let mut peer = side(&c, &s, &terms, Fencing::Ours);
        let (ours, theirs) =
            (Observer::new(&s.writer, &c.reader), Observer::new(&c.writer, &s.reader));
        let fill = |used, sent: (u64, u64), received: (u64, u64)| {
            let (here, there) = (look(&ours).outbound, look(&theirs).inbound);
            for lane in [here, there] {
                assert_eq!((lane.capacity, lane.used), (CAPACITY, used), "from {start:#x}");
            }
            assert_eq!((of(here.ours), of(here.claimed)), (sent, received));
            assert_eq!((of(there.claimed), of(there.ours)), (sent, received));
        };
        fill(0, (0, 0), (0, 0));
        // Three frames of 112 bytes.
        for _ in 0..3 {
            us.producer.try_send(&[1; 96], 0).expect("room");
        }
        fill(3 * 112, (3, 288), (0, 0));
        for _ in 0..3 {
            let _received = peer.consumer.try_recv().expect("a message");
        }
        assert!(peer.consumer.try_recv().is_err());
        fill(0, (3, 288), (3, 288));
        // Full, but for the header that follows every frame.
        let mut sent = 3;
        while us.producer.try_send(&[], 0).is_ok() {
            sent += 1;
        }
        fill(CAPACITY - 16, (sent, 288), (3, 288));
        assert_eq!((ours.peer_left(), theirs.peer_left()), (Some(false), Some(false)));
        drop(us);
        assert_eq!(theirs.peer_left(), Some(true));
        assert_eq!(look(&theirs).inbound.used, CAPACITY, "and the mark of the end");
    }
}

#[test]
fn an_observer_keeps_no_memory() {
    let (s, c) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
    let observer = Observer::new(&s.writer, &c.reader);
    assert!(observer.look().is_some());
    drop((s, c));
    assert_eq!((observer.look(), observer.peer_left()), (None, None));
}

#[test]
fn attack_51_what_a_peer_writes_is_a_number_and_no_more() {
    let (s, c) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
    let observer = Observer::new(&s.writer, &c.reader);
    let peers = c.writer.control();
    for head in [0, 1, 7, 15, CAPACITY, 1 << 63, u64::MAX] {
        peers.store64(HEAD, head, Ordering::Relaxed);
        // Ours is empty, wherever the peer says that it is.
        assert_eq!(look(&observer).outbound.used, 0, "{head:#x}");
        assert_eq!(observer.peer_left(), Some(head & 1 != 0));
    }
    for word in [1, 8, 1 << 32, 0x0001_0002, (1 << 42) | 1, u64::MAX] {
        for at in 0..CAPACITY / 8 {
            c.writer.data().store64(at as usize * 8, word, Ordering::Relaxed);
        }
        for at in [512, 640] {
            for word in 0..5 {
                peers.store64(at + 8 * word, u64::MAX, Ordering::Relaxed);
            }
        }
        let Lane { used, claimed, .. } = look(&observer).inbound;
        assert!(used <= CAPACITY, "{word:#x}: {used}");
        assert_eq!(claimed.messages, u64::MAX);
    }
}
