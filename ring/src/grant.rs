//! A grant: room in the lane, lent for writing a message in place.
//!
//! The room is a frame of its own or an entry of a pack. Writes append; what was written when the grant is
//! committed is the message. Dropping a grant sends nothing.

use crate::frame::{Entry, Kind};
use crate::producer::Producer;
use crate::step::{self, Step};

/// More was written than the grant holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the grant holds no more than {limit} bytes")]
pub struct GrantFull {
    /// Bytes the grant holds.
    pub limit: usize,
}

/// Room for one message in the lane.
#[must_use = "a grant that is dropped sends nothing"]
pub struct Grant<'a> {
    producer: &'a mut Producer,
    /// Where its first byte goes: in the lane, or in the pack.
    at: usize,
    limit: usize,
    written: usize,
    in_pack: bool,
}

impl<'a> Grant<'a> {
    /// The frame at the tail, as large as there is room for.
    #[inline]
    pub(crate) fn frame(producer: &'a mut Producer) -> Self {
        step::at(Step::Claim);
        let at = producer.writer.payload();
        let limit = producer.writer.free_payload() as usize;
        Self { producer, at, limit, written: 0, in_pack: false }
    }

    /// The next entry of the open pack.
    #[inline]
    pub(crate) fn entry(producer: &'a mut Producer, at: usize, limit: usize) -> Self {
        step::at(Step::Claim);
        Self { producer, at, limit, written: 0, in_pack: true }
    }

    /// Appends bytes.
    ///
    /// # Errors
    ///
    /// [`GrantFull`] if they do not fit; nothing of them was written. In a forked child nothing fits.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), GrantFull> {
        if bytes.len() > self.limit - self.written {
            return Err(GrantFull { limit: self.limit });
        }
        if self.producer.writer.is_forked() {
            return Err(GrantFull { limit: 0 }); // the parent's room, and no memory of this process
        }
        step::at(Step::Write);
        let (writer, at) = (&mut self.producer.writer, self.at + self.written);
        if self.in_pack {
            writer.stage.lend(at, bytes.len()).copy_from_slice(bytes);
        } else {
            writer.data.copy_in(at, bytes);
        }
        self.written += bytes.len();
        Ok(())
    }

    /// Appends `len` bytes and lends them to be written in place. What they held is anything.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    ///
    /// # Safety
    ///
    /// The peer must not write into this lane. The kernel refuses it that, unless it kept a mapping from before the
    /// segment was sealed: only a peer that is one program with us can be trusted not to. One that does changes the
    /// bytes under a unique reference, which is undefined behaviour in this process. And the bytes must not be touched in
    /// a forked child, where the lane is not mapped.
    #[allow(unsafe_code)]
    #[inline]
    pub unsafe fn lend(&mut self, len: usize) -> Result<&mut [u8], GrantFull> {
        if len > self.limit - self.written {
            return Err(GrantFull { limit: self.limit });
        }
        if self.producer.writer.is_forked() {
            return Err(GrantFull { limit: 0 });
        }
        let at = self.at + self.written;
        self.written += len;
        if self.in_pack {
            return Ok(self.producer.writer.stage.lend(at, len));
        }
        // SAFETY: (1) The peer does not write them, by the caller's promise, and in this process the producer alone
        // does, which the grant borrows. (2) The slice borrows the grant, and no two of them overlap.
        Ok(unsafe { self.producer.writer.data.slice_mut(at, len) })
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> usize {
        self.written
    }

    /// Bytes the grant holds in all: at least what was asked for.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Sends what was written, as one message. In a batch it is published with the batch.
    #[inline]
    pub fn commit(self, tag: u64) {
        let len = self.written as u32;
        let writer = &mut self.producer.writer;
        if writer.is_forked() {
            return;
        }
        step::at(Step::Commit);
        if self.in_pack {
            let size = Entry::size(u64::from(len)) as usize;
            let entry = writer.stage.lend(self.at - Entry::SIZE as usize, size);
            entry[..Entry::SIZE as usize].copy_from_slice(&Entry { len, tag }.bytes());
            entry[Entry::SIZE as usize + self.written..].fill(0);
            writer.grow_pack(u64::from(len));
        } else {
            writer.publish(Kind::Data, len, tag);
        }
        self.producer.sent(u64::from(len));
    }
}

impl std::fmt::Debug for Grant<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant")
            .field("limit", &self.limit)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}
