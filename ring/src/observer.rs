//! An observer: what can be seen of a channel beside its halves, for people.
//!
//! Whoever watches a process wants to know what each session did and how full its lanes are, from any thread and at no
//! cost to the halves. All of that lies in the two segments anyway: counters (`counters.rs`), release positions, and frames.
//! The observer loads it, relaxed, and holds no memory: once both halves have gone there is nothing to see.
//!
//! What the peer wrote is a claim, and a plain number: nothing is decided by it, here or above. Where a lane is walked, each
//! header is checked as its consumer would, and the walk ends within the lane.

use std::sync::{Arc, Weak};

use crate::counters::{RX, Stats, TX};
use crate::frame::{Header, Kind};
use crate::heads::HEAD;
use crate::memory::{Mapping, Region};
use crate::position::{Capacity, GONE, HEADER, frame_size};
use crate::sync::Ordering;

/// Frames looked at in one lane: more than a lane of the usual size holds.
const FRAMES: u64 = 1 << 14;
/// How often a walk begins anew because the lane moved on under it.
const TRIES: u32 = 4;

/// Sees one channel, as one of its sides does.
#[derive(Debug)]
pub struct Observer {
    mine: Weak<Mapping>,
    theirs: Weak<Mapping>,
}

/// What an [`Observer`] saw. It may be different by now, and no two of its numbers are of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// The lane that this side writes.
    pub outbound: Lane,
    /// The lane that this side reads.
    pub inbound: Lane,
}

/// A lane, as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lane {
    /// Bytes that it holds.
    pub capacity: u64,
    /// Bytes of it that are in use: frames up to the last one published, as far as their consumer has not given room
    /// back. Of more than 16384 frames only those are counted.
    pub used: u64,
    /// What our half of it did. A consumer shows what it received when it gives room back, at the latest before it sleeps.
    pub ours: Stats,
    /// What the peer says that its half did.
    pub claimed: Stats,
}

impl Observer {
    /// Sees the channel of these two segments: see [`channel`](crate::channel).
    #[must_use]
    pub fn new(mine: &Arc<Mapping>, theirs: &Arc<Mapping>) -> Self {
        Self { mine: Arc::downgrade(mine), theirs: Arc::downgrade(theirs) }
    }

    /// Looks; `None` if both halves have gone, or this is a forked child.
    #[must_use]
    pub fn look(&self) -> Option<Sighting> {
        let (mine, theirs) = (self.mine.upgrade()?, self.theirs.upgrade()?);
        if !mine.is_of_this_process() || !theirs.is_of_this_process() {
            return None;
        }
        let (ours, peers) = (mine.control(), theirs.control());
        Some(Sighting {
            outbound: Lane {
                capacity: mine.capacity(),
                used: used(&peers, &mine),
                ours: counters::<TX>(&ours),
                claimed: counters::<RX>(&peers),
            },
            inbound: Lane {
                capacity: theirs.capacity(),
                used: used(&ours, &theirs),
                ours: counters::<RX>(&ours),
                claimed: counters::<TX>(&peers),
            },
        })
    }

    /// Whether the peer says that it receives no more; `None` as of [`look`](Self::look).
    #[must_use]
    pub fn peer_left(&self) -> Option<bool> {
        let theirs = self.theirs.upgrade().filter(|theirs| theirs.is_of_this_process())?;
        // ORDERING: Relaxed, here and below: numbers for people.
        Some(theirs.control().load64(HEAD, Ordering::Relaxed) & GONE != 0)
    }
}

fn counters<const HALF: usize>(control: &Region) -> Stats {
    let [messages, bytes, spins, sleeps, wakes] =
        [0, 1, 2, 3, 4].map(|at| control.load64(HALF + 8 * at, Ordering::Relaxed));
    Stats { messages, bytes, spins, sleeps, wakes }
}

/// How much of a lane is in use, by the control area of its consumer.
fn used(consumer: &Region, producer: &Arc<Mapping>) -> u64 {
    let (data, Some(capacity)) = (producer.data(), Capacity::new(producer.capacity())) else {
        return 0; // never: a mapping was made from a checked geometry
    };
    let mut used = 0;
    for _ in 0..TRIES {
        let head = consumer.load64(HEAD, Ordering::Relaxed) & !GONE;
        let walk =
            walk(capacity, |at| data.frame(head.wrapping_add(at)).load_header(Ordering::Relaxed));
        match walk {
            Ok(walked) => return walked,
            Err(walked) => used = walked,
        }
        if consumer.load64(HEAD, Ordering::Relaxed) & !GONE == head {
            break; // it is not the lane that moved
        }
    }
    used
}

/// The bytes of the frames from a release position on; an error with those before what is no frame. `header` loads the one
/// so many bytes behind that position.
fn walk(capacity: Capacity, header: impl Fn(u64) -> u64) -> Result<u64, u64> {
    let mut used = 0;
    for _ in 0..FRAMES {
        let word = header(used);
        if word as u32 == 0 {
            break;
        }
        let Ok(Header { kind, len, .. }) = Header::decode(word, capacity.largest_payload()) else {
            return Err(used);
        };
        used += frame_size(len.into());
        if used + HEADER > capacity.bytes() {
            // Only the mark of the end may come so late; anything else was written over while we looked.
            let fits = kind == Kind::End && used <= capacity.bytes();
            return if fits { Ok(used) } else { Err(used.min(capacity.bytes())) };
        }
        if kind == Kind::End {
            break; // nothing follows
        }
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A lane of 256 bytes with these headers, each behind the frame before it.
    fn check(headers: &[(Kind, u32)], after: u64, expected: Result<u64, u64>) {
        let mut at = 0;
        let mut words = std::collections::HashMap::new();
        for (kind, len) in headers {
            words.insert(at, Header::new(*kind, *len).word());
            at += frame_size(u64::from(*len));
        }
        words.entry(at).or_insert(after);
        let walked = walk(Capacity::new(256).unwrap(), |at| words.get(&at).copied().unwrap_or(0));
        assert_eq!(walked, expected, "{headers:?}, then {after:#x}");
    }

    #[test]
    fn a_walk_counts_frames_up_to_the_first_that_was_not_published() {
        check(&[], 0, Ok(0));
        check(&[(Kind::Data, 0)], 0, Ok(16));
        check(&[(Kind::Data, 1), (Kind::Pack, 33)], 0, Ok(32 + 64));
        check(&[(Kind::Data, 0); 15], 0, Ok(240)); // full
        check(&[(Kind::Data, 0), (Kind::End, 0)], 1, Ok(32)); // whatever lies there
    }

    #[test]
    fn attack_51_a_walk_over_what_a_peer_made_up_ends_within_the_lane() {
        check(&[(Kind::Data, 48), (Kind::Data, 48)], 0xff, Err(128)); // no kind
        check(&[(Kind::Data, 48); 4], 0, Err(256)); // one more than fits
        check(&[(Kind::Data, 49)], 0, Err(0)); // larger than a frame may be
        check(&[(Kind::Data, u32::MAX)], 0, Err(0));
        let ever = |word| walk(Capacity::new(256).unwrap(), |_| word);
        assert_eq!(ever(Header::new(Kind::Data, 0).word()), Err(256));
        assert_eq!(ever(u64::MAX), Err(0));
        let large = Capacity::new(Capacity::MAX).unwrap();
        assert_eq!(walk(large, |_| Header::new(Kind::Data, 0).word()), Ok(FRAMES * 16));
    }
}
