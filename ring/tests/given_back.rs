//! When room is given back: at an eighth of the lane, when there is nothing to read, and before a sleep.
//!
//! One test alone in its process: any other wait would publish this head along with its own, and hide a
//! lapse.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use memring_ring::consumer::{RecvError, TryRecvError};
use memring_ring::{Terms, Wait};

use support::{Fencing, HEAD, Memory, side};

const CAPACITY: u64 = 4096;

#[test]
fn room_is_given_back_by_the_eighth_when_nothing_is_left_and_before_a_sleep() {
    let (mine, theirs) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
    let terms = Terms::new(10_000).wait(Wait::Park);
    let mut us = side(&mine, &theirs, &terms, Fencing::Ours);
    let mut peer = side(&theirs, &mine, &terms, Fencing::Ours);
    let head = || mine.reader.control().load64(HEAD, Ordering::Acquire);
    // Frames of 112 bytes: the fifth goes past 512.
    for _ in 0..8 {
        peer.producer.try_send(&[1; 96], 0).expect("room");
    }
    for (received, published) in [(1, 0), (4, 0), (5, 560), (8, 560)] {
        while us.consumer.stats().messages < received {
            let item = us.consumer.try_recv().expect("a message");
            assert_eq!(us.consumer.bytes(&item), &[1; 96]);
        }
        assert_eq!(head(), published, "{received} frames were read");
    }
    assert_eq!(us.consumer.try_recv().err(), Some(TryRecvError::Empty));
    assert_eq!(head(), 8 * 112);

    // A First of 32 bytes and its Abort, by hand: taken in the middle of a wait, and less than an eighth.
    let data = theirs.writer.data();
    let at = 8 * 112;
    data.copy_in(at + 16, &100_u64.to_le_bytes());
    data.store64(at + 48, 6, Ordering::Relaxed);
    data.store64(at + 64, 0, Ordering::Relaxed);
    data.store64(at, 3 | 32 << 32, Ordering::Release);
    let soon = Some(Instant::now() + Duration::from_millis(1));
    assert_eq!(us.consumer.recv(soon).err(), Some(RecvError::TimedOut));
    assert_eq!(head(), at as u64 + 64);
}
