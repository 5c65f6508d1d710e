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

/// Whose counters: [`TX`] or [`RX`].
///
/// Aligned, for the first two numbers are added to at each message, as one vector: across two cache lines that would
/// cost more than everything else.
#[repr(align(64))]
pub(crate) struct Counters<const HALF: usize> {
    stats: Stats,
    region: Region,
}

impl<const HALF: usize> Counters<HALF> {
    pub(crate) fn new(region: Region) -> Self {
        Self { stats: Stats::default(), region }
    }

    #[inline(always)]
    pub(crate) fn message(&mut self, bytes: u64) {
        self.count(bytes);
        self.show();
    }

    /// Counts a message, without showing it yet.
    #[inline(always)]
    pub(crate) fn count(&mut self, bytes: u64) {
        self.stats.messages += 1;
        self.stats.bytes += bytes;
    }

    /// Shows observers what was counted.
    #[inline(always)]
    pub(crate) fn show(&mut self) {
        // A model has no observers, and every store would double what it explores.
        #[cfg(not(memring_loom))]
        {
            // ORDERING: Relaxed; numbers for people, here and below.
            match HALF {
                TX => {
                    self.region.store64_at::<TX>(self.stats.messages, Ordering::Relaxed);
                    self.region.store64_at::<{ TX + 8 }>(self.stats.bytes, Ordering::Relaxed);
                }
                _ => {
                    self.region.store64_at::<RX>(self.stats.messages, Ordering::Relaxed);
                    self.region.store64_at::<{ RX + 8 }>(self.stats.bytes, Ordering::Relaxed);
                }
            }
        }
    }

    pub(crate) fn spin(&mut self, spinning: bool) {
        self.stats.spins += u64::from(spinning);
        put(&self.region, HALF + 8 * 2, self.stats.spins);
    }

    pub(crate) fn sleep(&mut self) {
        self.stats.sleeps += 1;
        put(&self.region, HALF + 8 * 3, self.stats.sleeps);
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }
}

/// Tells observers how often this half woke its peer; whoever wakes keeps the number.
pub(crate) fn put_wakes(region: &Region, half: usize, wakes: u64) {
    put(region, half + 8 * 4, wakes);
}

fn put(region: &Region, offset: usize, value: u64) {
    if cfg!(not(memring_loom)) {
        region.store64(offset, value, Ordering::Relaxed);
    }
}
