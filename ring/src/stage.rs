//! The pack that is being filled, in memory of our own.
//!
//! Not written in the lane one by one: its first line has the header that the consumer looks at all the time,
//! and every message there would be a fight over it.

use crate::frame::{Entry, Kind};
use crate::pack;
use crate::position::frame_size;
use crate::step::{self, Step};
use crate::sync::{self, mutant};
use crate::writer::Writer;

/// A pack that was not published yet.
#[derive(Default)]
pub(crate) struct Stage {
    /// As large as the largest pack so far; what lies beyond `filled` is anything.
    bytes: Vec<u8>,
    filled: usize,
    limit: usize,
    /// Bytes of each message, if they are alike: all of this length, and without a tag. Zero if each has an
    /// [`Entry`] of its own, and if no pack is open.
    each: usize,
    open: bool,
}

/// Bytes that a message takes in a pack of messages that are alike.
#[inline]
pub(crate) const fn alike_size(len: usize) -> usize {
    len.next_multiple_of(8)
}

impl Stage {
    /// Opens a pack of up to `limit` bytes: of messages of `each` bytes, or of entries if that is zero.
    pub(crate) fn open(&mut self, limit: u64, each: u64) {
        self.filled = 0;
        self.limit = limit as usize;
        self.each = each as usize;
        self.open = true;
    }

    /// Takes no more into the pack.
    pub(crate) fn shut(&mut self) {
        self.limit = self.filled;
    }

    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Bytes of the frame that the open pack would be.
    pub(crate) fn frame(&self) -> u64 {
        if self.filled == 0 { 0 } else { frame_size(self.filled as u64) }
    }

    /// Messages in it that are counted when it is published, and their bytes: those of messages that are alike.
    pub(crate) fn uncounted(&self) -> (u64, u64) {
        if self.each == 0 {
            return (0, 0);
        }
        let count = self.filled / alike_size(self.each);
        (count as u64, (count * self.each) as u64)
    }

    /// Messages in it: nobody has seen them.
    pub(crate) fn messages(&self) -> u64 {
        let staged = self.bytes.get(..self.filled).filter(|_| self.open).unwrap_or(&[]);
        pack::messages(staged, self.each as u64).unwrap_or(0)
    }

    /// Bytes of each message, if a pack of messages that are alike is open.
    pub(crate) fn each(&self) -> Option<u64> {
        (self.each != 0).then_some(self.each as u64)
    }

    /// Where the payload of an entry would go if it had `len` bytes, and how many it could have.
    pub(crate) fn entry(&self, len: usize) -> Option<(usize, usize)> {
        let at = self.filled + Entry::SIZE as usize;
        let fits = self.open
            && self.each == 0
            && Entry::size(len as u64) as usize <= self.limit - self.filled;
        // Down to the grain of entries, so that the padding of whatever is written fits as well.
        fits.then(|| (at, (self.limit - at) & !7))
    }

    /// Adds a message to a pack of messages that are alike, if one like this is open, and has room in memory that is
    /// there.
    #[inline(always)]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> bool {
        let len = bytes.len();
        let end = self.filled + alike_size(len);
        if len == 0 || len != self.each || end > self.limit {
            return false;
        }
        let Some(place) = self.bytes.get_mut(self.filled..end) else { return false };
        let (payload, padding) = place.split_at_mut(len);
        sync::copy_fresh(payload, bytes);
        padding.fill(0);
        step::at(Step::Grow);
        self.filled = end;
        true
    }

    /// So many bytes of the memory, to be written; there is more of it afterwards if need be.
    #[inline(always)]
    pub(crate) fn lend(&mut self, at: usize, len: usize) -> &mut [u8] {
        if self.bytes.len() < at + len {
            self.grow(at + len);
        }
        &mut self.bytes[at..at + len]
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, least: usize) {
        // By doubling, from a page on; at most to twice what a frame holds.
        self.bytes.resize(least.next_power_of_two().max(4096), 0);
    }

    /// Makes sure that there is memory for one more message of an open pack of messages that are alike.
    #[cold]
    pub(crate) fn make_room(&mut self) {
        let next = self.filled + alike_size(self.each);
        if self.each != 0 && next <= self.limit {
            self.lend(self.filled, next - self.filled);
        }
    }

    /// An entry whose payload of `len` bytes was written is part of the pack now.
    fn grow_by(&mut self, len: u64) {
        step::at(Step::Grow);
        self.filled += Entry::size(len) as usize;
    }
}

impl Writer {
    /// Publishes the open pack, if there is one with anything in it.
    #[inline]
    pub(crate) fn close_pack(&mut self) {
        if !self.stage.open {
            return;
        }
        let mut stage = std::mem::take(&mut self.stage);
        self.settle();
        let Stage { filled, each, .. } = stage;
        if filled != 0 {
            step::at(Step::Flush);
            let staged = &stage.bytes[..filled];
            let (messages, bytes) = stage.uncounted();
            self.traffic.count_many(messages, bytes);
            if each != 0 && filled == alike_size(each) {
                // One message alone goes as a frame of its own.
                self.write(Kind::Data, &staged[..each], 0);
            } else {
                self.write(Kind::Pack, staged, each as u64);
            }
            self.traffic.show();
        }
        (stage.filled, stage.limit, stage.each, stage.open) = (0, 0, 0, false);
        self.stage = stage;
    }

    /// An entry with a payload of `len` was committed to the open pack.
    #[inline]
    pub(crate) fn grow_pack(&mut self, len: u64) {
        self.stage.grow_by(len);
        if mutant("push-publishes") {
            self.close_pack();
        }
    }
}
