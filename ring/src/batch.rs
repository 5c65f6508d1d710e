//! Batches: many small messages in one frame, published together.
//!
//! A batch is explicit, because it trades latency for throughput: what is pushed is seen when the batch is
//! flushed or dropped, when its frame is full, or when the producer has to wait. A guard that is leaked is
//! closed by the next call.

use crate::frame::{Entry, Kind};
use crate::grant::Grant;
use crate::position::frame_size;
use crate::producer::{Producer, SendError, TrySendError};
use crate::step::{self, Step};
use crate::sync::{Instant, mutant};
use crate::wait::Look;
use crate::writer::Writer;

/// The pack at the tail: how much of it is filled and how much it can hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenPack {
    filled: u64,
    limit: u64,
    /// Bytes of each message, if they are alike: all of this length, and without a tag. Zero if each has an
    /// [`Entry`] of its own.
    each: u64,
}

impl Writer {
    /// Publishes the open pack, if there is one with anything in it.
    #[inline]
    pub(crate) fn close_pack(&mut self) {
        let Some(OpenPack { filled, each, .. }) = self.pack.take() else { return };
        self.settle();
        if filled == 0 {
            return;
        }
        step::at(Step::Flush);
        let staged = std::mem::take(&mut self.staged);
        if each != 0 && filled == alike_size(each) {
            // One message alone goes as a frame of its own.
            self.write(Kind::Data, &staged[..each as usize], 0);
        } else {
            self.write(Kind::Pack, &staged[..filled as usize], each);
        }
        self.staged = staged;
    }

    /// The next `size` bytes of the open pack, to be written.
    #[inline(always)]
    pub(crate) fn stage(&mut self, at: usize, size: usize) -> &mut [u8] {
        if self.staged.len() < at + size {
            self.grow_stage(at + size);
        }
        &mut self.staged[at..at + size]
    }

    #[cold]
    #[inline(never)]
    fn grow_stage(&mut self, least: usize) {
        // By doubling, from a page on; at most to twice what a frame holds.
        self.staged.resize(least.next_power_of_two().max(4096), 0);
    }

    /// An entry with a payload of `len` was committed to the open pack.
    #[inline]
    pub(crate) fn grow_pack(&mut self, len: u64) {
        if let Some(pack) = &mut self.pack {
            step::at(Step::Grow);
            pack.filled += Entry::size(len);
        }
        if mutant("push-publishes") {
            self.close_pack();
        }
    }
}

/// Bytes that a message takes in a pack of messages that are alike.
#[inline]
const fn alike_size(len: u64) -> u64 {
    (len + 7) & !7
}

/// A batch of messages; see [`Producer::batch`].
#[must_use = "a batch is published when it is dropped"]
#[derive(Debug)]
pub struct Batch<'a> {
    producer: &'a mut Producer,
    /// Not all messages were alike so far.
    mixed: bool,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(producer: &'a mut Producer) -> Self {
        Self { producer, mixed: false }
    }

    /// Adds a message if there is room now.
    ///
    /// # Errors
    ///
    /// As [`Producer::try_send`]. What was pushed before has been published if there is no room for more.
    #[inline]
    pub fn try_push(&mut self, bytes: &[u8], tag: u64) -> Result<(), TrySendError> {
        if self.put(bytes, tag) {
            return Ok(());
        }
        let pushed = self.try_push_closely(bytes, tag);
        self.producer.show(); // a full pack was published, perhaps
        pushed
    }

    /// As [`try_push`](Self::try_push), where the open pack does not hold it.
    #[cold]
    #[inline(never)]
    fn try_push_closely(&mut self, bytes: &[u8], tag: u64) -> Result<(), TrySendError> {
        let writer = &mut self.producer.writer;
        let len = bytes.len() as u64;
        let alike = tag == 0 && len != 0;
        self.mixed |=
            writer.pack.is_some_and(|pack| pack.each != 0 && !(alike && pack.each == len));
        if alike && !self.mixed && len <= writer.largest {
            Self::open(writer, len, len)?;
            if self.put(bytes, tag) {
                return Ok(());
            }
        }
        match self.try_claim(bytes.len()) {
            Ok(mut grant) => {
                // The grant holds at least what was asked for.
                if grant.write(bytes).is_ok() {
                    grant.commit(tag);
                }
                Ok(())
            }
            Err(TrySendError::TooLarge { .. }) => {
                self.flush();
                self.producer.try_send(bytes, tag)
            }
            Err(other) => Err(other),
        }
    }

    /// Writes a message into the open pack, if that holds it and nothing stands in the way.
    #[inline(always)]
    fn put(&mut self, bytes: &[u8], tag: u64) -> bool {
        let writer = &mut self.producer.writer;
        let len = bytes.len() as u64;
        let Some(OpenPack { filled, limit, each }) = writer.pack else { return false };
        let alike = each != 0;
        let size = if alike { alike_size(len) } else { Entry::size(len) };
        if size > limit - filled || len > writer.largest || writer.alive().is_err() {
            return false;
        }
        if alike && (len != each || tag != 0) {
            return false;
        }
        let place = writer.stage(filled as usize, size as usize);
        let (header, place) = place.split_at_mut(if alike { 0 } else { Entry::SIZE as usize });
        if !alike {
            header.copy_from_slice(&Entry { len: len as u32, tag }.bytes());
        }
        let (payload, padding) = place.split_at_mut(bytes.len());
        payload.copy_from_slice(bytes);
        padding.fill(0);
        step::at(Step::Grow);
        writer.pack = Some(OpenPack { filled: filled + size, limit, each });
        self.producer.packed(len);
        if mutant("push-publishes") {
            self.producer.writer.close_pack();
        }
        true
    }

    /// Adds a message, waiting for room until the deadline. What was pushed before is published first.
    ///
    /// # Errors
    ///
    /// As [`Producer::send`].
    #[inline]
    pub fn push(
        &mut self,
        bytes: &[u8],
        tag: u64,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        if self.put(bytes, tag) {
            return Ok(());
        }
        self.push_closely(bytes, tag, deadline)
    }

    /// As [`push`](Self::push), where the open pack does not hold it.
    #[cold]
    #[inline(never)]
    fn push_closely(
        &mut self,
        bytes: &[u8],
        tag: u64,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        // A message that no pack holds is not retried here: room for a part of it is not room for all of it.
        if Entry::size(bytes.len() as u64) > self.producer.writer.capacity.largest_payload() {
            return self.producer.send(bytes, tag, deadline);
        }
        loop {
            match self.try_push(bytes, tag) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Ended(end)) => return Err(end.into()),
                Err(TrySendError::TooLarge { .. }) => {
                    return self.producer.send(bytes, tag, deadline);
                }
                Err(TrySendError::Full) => self.wait(bytes.len(), deadline)?,
            }
        }
    }

    #[cold]
    fn wait(&mut self, len: usize, deadline: Option<Instant>) -> Result<(), SendError> {
        if !mutant("wait-without-batch") {
            self.producer.wait_ready(deadline)?;
        }
        self.producer.wait_room(frame_size(Entry::size(len as u64)), deadline)
    }

    /// Lends room for a message of up to `len` bytes within the batch.
    ///
    /// # Errors
    ///
    /// As [`Producer::try_claim`]; the largest message of a batch is 16 bytes less than that of a frame.
    #[inline]
    pub fn try_claim(&mut self, len: usize) -> Result<Grant<'_>, TrySendError> {
        let writer = &mut self.producer.writer;
        let max = writer.max_message();
        if len as u64 > max {
            return Err(TrySendError::TooLarge { len: len as u64, max });
        }
        let needed = Entry::size(len as u64);
        let at = match writer.pack {
            Some(pack) if pack.each == 0 && needed <= pack.limit - pack.filled => {
                writer.alive()?;
                pack.filled
            }
            _ => {
                Self::open(writer, len as u64, 0)?;
                0
            }
        };
        let limit = writer.pack.map_or(0, |pack| pack.limit);
        let at = at as usize + Entry::SIZE as usize;
        // Down to the grain of entries, so that the padding of whatever is written fits as well.
        let room = (limit as usize).saturating_sub(at) & !7;
        let limit = max.min(room as u64) as usize;
        Ok(Grant::entry(self.producer, at, limit))
    }

    /// Publishes the full pack and opens one that holds at least this message: of messages of `each` bytes, or of
    /// entries if that is zero.
    #[cold]
    fn open(writer: &mut Writer, len: u64, each: u64) -> Result<(), TrySendError> {
        if !mutant("wait-without-batch") {
            writer.ready()?; // publishes the full pack: nothing is held back while we may wait for room
        }
        let needed = if each == 0 { Entry::size(len) } else { alike_size(len) };
        let largest = writer.capacity.largest_payload();
        if needed > largest {
            return Err(TrySendError::TooLarge { len, max: largest - u64::from(Entry::SIZE) });
        }
        match writer.room(frame_size(needed))? {
            Look::Ready(()) => {
                if mutant("wait-without-batch") {
                    writer.close_pack();
                }
                let limit = writer.free_pack();
                writer.pack = Some(OpenPack { filled: 0, limit, each });
                writer.settle();
                Ok(())
            }
            _ => Err(TrySendError::Full),
        }
    }

    /// The largest message that one frame holds, in bytes.
    #[must_use]
    pub fn largest_frame(&self) -> usize {
        self.producer.largest_frame()
    }

    /// Publishes what was pushed so far.
    pub fn flush(&mut self) {
        if !self.producer.writer.is_forked() {
            self.producer.writer.close_pack();
            self.producer.show();
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
