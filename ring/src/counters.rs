//! Counters: what a half did, written for observers into its own control area.
//!
//! One writer, relaxed stores of numbers kept in private memory: no half reads them back, and nothing
//! depends on them. Who shows them is `observer.rs`.

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

/// What passed through a half, whose place is [`TX`] or [`RX`].
///
/// Aligned, for both numbers are added to at each message, as one vector: across two cache lines that would
/// cost more than everything else.
#[repr(align(16))]
pub(crate) struct Traffic<const HALF: usize> {
    messages: u64,
    bytes: u64,
    #[cfg_attr(memring_loom, expect(dead_code, reason = "nobody observes a model"))]
    region: Region,
}

impl<const HALF: usize> Traffic<HALF> {
    pub(crate) fn new(region: Region) -> Self {
        Self { messages: 0, bytes: 0, region }
    }

    /// Counts a message, and shows it.
    #[inline(always)]
    pub(crate) fn message(&mut self, bytes: u64) {
        self.count(bytes);
        self.show();
    }

    /// Counts a message, without showing it yet.
    #[inline(always)]
    pub(crate) fn count(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }

    /// Counts so many messages.
    pub(crate) fn count_many(&mut self, messages: u64, bytes: u64) {
        self.messages += messages;
        self.bytes += bytes;
    }

    /// So many were counted, and will not be received after all.
    pub(crate) fn uncount(&mut self, messages: u64, bytes: u64) {
        self.messages -= messages;
        self.bytes -= bytes;
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
                    self.region.store64_at::<TX>(self.messages, Ordering::Relaxed);
                    self.region.store64_at::<{ TX + 8 }>(self.bytes, Ordering::Relaxed);
                }
                _ => {
                    self.region.store64_at::<RX>(self.messages, Ordering::Relaxed);
                    self.region.store64_at::<{ RX + 8 }>(self.bytes, Ordering::Relaxed);
                }
            }
        }
    }

    /// Messages so far.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// These numbers among the others.
    pub(crate) fn among(&self, stats: Stats) -> Stats {
        Stats { messages: self.messages, bytes: self.bytes, ..stats }
    }
}

/// How a half waited, whose place is [`TX`] or [`RX`].
pub(crate) struct Waits<const HALF: usize> {
    spins: u64,
    sleeps: u64,
    region: Region,
}

impl<const HALF: usize> Waits<HALF> {
    pub(crate) fn new(region: Region) -> Self {
        Self { spins: 0, sleeps: 0, region }
    }

    pub(crate) fn spin(&mut self, spinning: bool) {
        self.spins += u64::from(spinning);
        put(&self.region, HALF + 8 * 2, self.spins);
    }

    pub(crate) fn sleep(&mut self) {
        self.sleeps += 1;
        put(&self.region, HALF + 8 * 3, self.sleeps);
    }

    /// These numbers, and none of the others.
    pub(crate) fn stats(&self) -> Stats {
        Stats { spins: self.spins, sleeps: self.sleeps, ..Stats::default() }
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
