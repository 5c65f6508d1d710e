//! What a message that was given up took of the lane is given back before a sleep.
//!
//! Alone in its process: any other wait would publish this head along with its own, and hide a lapse.

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use memring_ring::consumer::RecvError;
use memring_ring::{Terms, Wait};

use support::{Fencing, HEAD, Memory, side};

const CAPACITY: u64 = 4096;

#[test]
fn what_a_given_up_message_took_is_published_before_a_sleep() {
    let (mine, theirs) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
    let terms = Terms::new(10_000).wait(Wait::Park);
    let mut us = side(&mine, &theirs, &terms, Fencing::Ours);
    let head = || mine.reader.control().load64(HEAD, Ordering::Acquire);
    let peer = theirs.writer.data();
    // A First of 32 bytes and its Abort: less than is published for its size alone.
    peer.copy_in(16, &100_u64.to_le_bytes());
    peer.store64(48, 6, Ordering::Relaxed);
    peer.store64(0, 3 | 32 << 32, Ordering::Release);
    let soon = Some(Instant::now() + Duration::from_millis(1));
    assert_eq!(us.consumer.recv(soon).err(), Some(RecvError::TimedOut));
    assert_eq!(head(), 64);
}
