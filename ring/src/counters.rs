//! Counters: what a half did, written for observers into its own control area.
//!
//! One writer, relaxed stores of numbers kept in private memory: nothing is ever read back, and nothing
//! depends on them.

use crate::sync::{Ordering, Region};

/// Offset of the producer's counters in a control area.
pub(crate) const TX: usize = 512;
/// Offset of the consumer's counters.
pub(crate) const RX: usize = 640;

/// What one half of a channel did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages sent or received.
    pub messages: u64,
    /// Their bytes, without headers and padding.
    pub bytes: u64,
    /// Waits that began by spinning.
    pub spins: u64,
    /// Sleeps in a system call.
    pub sleeps: u64,
    /// Wakes of the peer.
    pub wakes: u64,
}

pub(crate) struct Counters {
    stats: Stats,
    region: Region,
    offset: usize,
}

impl Counters {
    pub(crate) fn new(region: Region, offset: usize) -> Self {
        Self { stats: Stats::default(), region, offset }
    }

    #[inline]
    fn put(&self, index: usize, value: u64) {
        put(&self.region, self.offset + 8 * index, value);
    }

    #[inline]
    pub(crate) fn message(&mut self, bytes: u64) {
        self.stats.messages += 1;
        self.stats.bytes += bytes;
        self.put(0, self.stats.messages);
        self.put(1, self.stats.bytes);
    }

    pub(crate) fn spin(&mut self, spinning: bool) {
        self.stats.spins += u64::from(spinning);
        self.put(2, self.stats.spins);
    }

    pub(crate) fn sleep(&mut self) {
        self.stats.sleeps += 1;
        self.put(3, self.stats.sleeps);
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }
}

/// Tells observers how often this half woke its peer; whoever wakes keeps the number.
pub(crate) fn put_wakes(region: &Region, half: usize, wakes: u64) {
    put(region, half + 8 * 4, wakes);
}

#[inline]
fn put(region: &Region, offset: usize, value: u64) {
    // A model has no observers, and every store would double what it explores.
    if cfg!(not(memring_loom)) {
        // ORDERING: Relaxed; a number for people.
        region.store64(offset, value, Ordering::Relaxed);
    }
}
