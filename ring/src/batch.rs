//! Batches: many small messages in one frame, published together.
//!
//! A batch is explicit, because it trades latency for throughput: what is pushed is seen when the batch is
//! flushed or dropped, when its frame is full, or when the producer has to wait. A guard that is leaked is
//! closed by the next call.

use crate::frame::Entry;
use crate::grant::Grant;
use crate::position::frame_size;
use crate::producer::{Producer, SendError, TrySendError};
use crate::stage::alike_size;
use crate::sync::{Instant, mutant};
use crate::wait::Look;
use crate::writer::Writer;

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

    /// The producer, with what was pushed so far published.
    pub fn producer(&mut self) -> &mut Producer {
        self.flush();
        self.producer
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
        self.try_push_closely(bytes, tag)
    }

    /// As [`try_push`](Self::try_push), where the open pack does not hold it.
    #[cold]
    #[inline(never)]
    fn try_push_closely(&mut self, bytes: &[u8], tag: u64) -> Result<(), TrySendError> {
        let writer = &mut self.producer.writer;
        let len = bytes.len() as u64;
        let alike = tag == 0 && len != 0;
        self.mixed |= writer.stage.each().is_some_and(|each| !(alike && each == len));
        if alike && !self.mixed && len <= writer.largest {
            writer.stage.make_room();
            if self.put(bytes, tag) {
                return Ok(());
            }
            let writer = &mut self.producer.writer;
            Self::open(writer, len, len)?;
            writer.stage.make_room();
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

    /// Writes a message into the open pack, if that is one of messages like this and nothing stands in the way.
    #[inline(always)]
    fn put(&mut self, bytes: &[u8], tag: u64) -> bool {
        let writer = &mut self.producer.writer;
        let put = tag == 0 && writer.is_open() && writer.stage.put(bytes);
        if put && mutant("push-publishes") {
            writer.close_pack();
        }
        put
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
        let held = if mutant("wait-without-batch") {
            self.producer.writer.stage.frame()
        } else {
            self.producer.wait_ready(deadline)?;
            0
        };
        self.producer.wait_room(held + frame_size(Entry::size(len as u64)), deadline)
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
        let (at, room) = match writer.stage.entry(len) {
            Some(place) => {
                writer.alive()?;
                place
            }
            None => {
                Self::open(writer, len as u64, 0)?;
                // Opened with at least this much room.
                writer.stage.entry(len).ok_or(TrySendError::Full)?
            }
        };
        let limit = max.min(room as u64) as usize;
        Ok(Grant::entry(self.producer, at, limit))
    }

    /// Publishes the full pack and opens one that holds at least this message: of messages of `each` bytes, or of
    /// entries if that is zero.
    #[cold]
    fn open(writer: &mut Writer, len: u64, each: u64) -> Result<(), TrySendError> {
        let held = if mutant("wait-without-batch") {
            writer.stage.frame()
        } else {
            writer.ready()?; // publishes the full pack: nothing is held back while we may wait for room
            0
        };
        let needed = if each == 0 { Entry::size(len) } else { alike_size(len as usize) as u64 };
        let largest = writer.capacity.largest_payload();
        if needed > largest {
            return Err(TrySendError::TooLarge { len, max: largest - u64::from(Entry::SIZE) });
        }
        match writer.room(held + frame_size(needed))? {
            Look::Ready(()) => {
                writer.close_pack(); // only the mutant has one
                let limit = writer.free_pack();
                writer.stage.open(limit, each);
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
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
