//! The producer: the sending half of a channel, which writes frames and waits for room.
//!
//! How a frame is written, step by step, is `writer.rs`'s business; how one sleeps, [`crate::wait`]'s.

use std::io::IoSlice;
use std::time::Duration;

use crate::batch::Batch;
use crate::counters::{self, Stats, Waits};
use crate::frame::Kind;
use crate::grant::Grant;
use crate::heads::{Heads, TX_ASLEEP};
use crate::lane::{Side, Terms};
use crate::life::End;
use crate::parts::{Gather, total};
use crate::position::{Capacity, HEADER, frame_size};
use crate::step::{self, Step};
use crate::sync::{self, Arc, AtomicU64, Instant, mutant};
use crate::wait::{FIRST, Look, Post, Sleeper, Stopped, Wait};
use crate::writer::Writer;

/// Why nothing was sent, now or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// There is no room now. True only of the past: the consumer may free some at any moment.
    #[error("the lane is full")]
    Full,
    /// The message exceeds what this call can send.
    #[error("a message of {len} bytes exceeds {max}, the most that this call can send")]
    TooLarge {
        /// Bytes of the message.
        len: u64,
        /// The most that this call can send: the negotiated largest, or what the lane holds at once.
        max: u64,
    },
    /// The direction has ended.
    #[error(transparent)]
    Ended(#[from] End),
}

/// Why a blocking send failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The deadline passed before there was room. Nothing of the message will be seen.
    #[error("no room in the lane before the deadline")]
    TimedOut,
    /// The message exceeds the negotiated largest.
    #[error("a message of {len} bytes exceeds {max}, the negotiated largest")]
    TooLarge {
        /// Bytes of the message.
        len: u64,
        /// The negotiated largest message.
        max: u64,
    },
    /// The direction has ended.
    #[error(transparent)]
    Ended(#[from] End),
}

impl SendError {
    fn of(stopped: Stopped, end: impl FnOnce() -> End) -> Self {
        match stopped {
            Stopped::TimedOut => Self::TimedOut,
            Stopped::Ended => Self::Ended(end()),
        }
    }
}

/// The sending half of a channel. Dropping it publishes the end-of-stream mark.
pub struct Producer {
    pub(crate) writer: Writer,
    pub(crate) sleeper: Sleeper<{ counters::TX }>,
    pub(crate) heads: Arc<Heads>,
    pub(crate) post: Post,
    pub(crate) beats: AtomicU64,
}

impl Producer {
    pub(crate) fn new(side: &Side, terms: &Terms, heads: Arc<Heads>) -> Self {
        Self {
            writer: Writer::new(side, terms),
            sleeper: Sleeper::new(terms.wait, Waits::new(side.mine.clone())),
            heads,
            post: Post {
                life: Arc::clone(&side.life),
                shared: side.theirs.clone(),
                mine: side.mine.clone(),
                asleep: TX_ASLEEP,
            },
            beats: AtomicU64::new(0),
        }
    }

    /// Sends a message if there is room for all of it now. `tag` travels with it.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`], [`TrySendError::TooLarge`] beyond the negotiated largest or what the lane
    /// can hold at once, [`TrySendError::Ended`]. Nothing was sent.
    #[inline(always)]
    pub fn try_send(&mut self, bytes: &[u8], tag: u64) -> Result<(), TrySendError> {
        if self.writer.put(bytes, tag) {
            self.writer.traffic.message(bytes.len() as u64);
            return Ok(());
        }
        self.try_send_closely(bytes, tag)
    }

    /// Sends a message in two pieces, the second of which begins `at` so many of its bytes, if nothing at all stands in the way:
    /// whether it was sent. What is between them is zero. If it was not, [`try_send`](Self::try_send) knows more.
    ///
    /// # Panics
    ///
    /// If the second begins before the first ends.
    #[inline(always)]
    pub fn send_two_at_once(&mut self, first: &[u8], at: usize, second: &[u8], tag: u64) -> bool {
        assert!(first.len() <= at, "the pieces overlap");
        let sent = self.writer.put_two(first, at, second, tag);
        if sent {
            self.writer.traffic.message((at + second.len()) as u64);
        }
        sent
    }

    /// As [`try_send`](Self::try_send), where something stands in the way.
    #[cold]
    #[inline(never)]
    fn try_send_closely(&mut self, bytes: &[u8], tag: u64) -> Result<(), TrySendError> {
        let writer = &mut self.writer;
        writer.ready()?;
        let len = bytes.len() as u64;
        if len > writer.largest {
            return self.try_send_parts(&[IoSlice::new(bytes)], len, tag);
        }
        match writer.room(frame_size(len))? {
            Look::Ready(()) => {}
            _ => return Err(TrySendError::Full),
        }
        writer.write(Kind::Data, bytes, tag);
        self.writer.traffic.message(len);
        Ok(())
    }

    /// Sends a message, waiting for room until the deadline, if there is one.
    ///
    /// # Errors
    ///
    /// [`SendError::TimedOut`], [`SendError::TooLarge`], [`SendError::Ended`]. The peer sees nothing of the
    /// message.
    #[inline(always)]
    pub fn send(
        &mut self,
        bytes: &[u8],
        tag: u64,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        if self.writer.put(bytes, tag) {
            self.writer.traffic.message(bytes.len() as u64);
            return Ok(());
        }
        self.send_closely(bytes, tag, deadline)
    }

    /// As [`send`](Self::send), where something stands in the way.
    #[cold]
    #[inline(never)]
    fn send_closely(
        &mut self,
        bytes: &[u8],
        tag: u64,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        match self.try_send_closely(bytes, tag) {
            Ok(()) => Ok(()),
            Err(TrySendError::Ended(end)) => Err(end.into()),
            Err(_) => self.send_vectored(&[IoSlice::new(bytes)], tag, deadline),
        }
    }

    /// Sends messages of `each` bytes, a multiple of 8 and not zero, that lie back to back; waits as [`send`](Self::send)
    /// does. As many as one frame holds are published together. They have no tag.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). Some of the messages may have been sent; how many, [`stats`](Self::stats) says.
    ///
    /// # Panics
    ///
    /// If `each` is zero or no multiple of 8, or the bytes are not so many whole messages.
    #[inline]
    pub fn send_alike(
        &mut self,
        bytes: &[u8],
        each: usize,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        assert!(each != 0 && each.is_multiple_of(8) && bytes.len().is_multiple_of(each));
        let together = self.writer.capacity.largest_payload() as usize / each * each;
        if each > self.largest_frame() {
            // Each by itself, in parts, or not at all.
            return bytes.chunks_exact(each).try_for_each(|one| self.send(one, 0, deadline));
        }
        for some in bytes.chunks(together) {
            let frame = frame_size(some.len() as u64);
            if !self.writer.is_ready_for(frame) {
                self.wait_ready(deadline)?;
                self.wait_room(frame, deadline)?;
            }
            if some.len() == each {
                self.writer.write(Kind::Data, some, 0);
            } else {
                self.writer.write(Kind::Pack, some, each as u64);
            }
            let count = (some.len() / each) as u64;
            self.writer.traffic.count_many(count, some.len() as u64);
            self.writer.traffic.show();
        }
        Ok(())
    }

    /// Sends the pieces, one after the other, as one message; waits as [`send`](Self::send) does.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_vectored(
        &mut self,
        pieces: &[IoSlice<'_>],
        tag: u64,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let len = total(pieces);
        if len > self.writer.max_message() {
            return Err(SendError::TooLarge { len, max: self.writer.max_message() });
        }
        self.wait_ready(deadline)?;
        let mut gather = Gather::new(pieces);
        if len <= self.writer.capacity.largest_payload() {
            self.wait_room(frame_size(len), deadline)?;
            let at = self.writer.payload();
            gather.copy(&self.writer.data, at, len);
            self.writer.publish(Kind::Data, len as u32, tag);
        } else {
            let mut sent = 0;
            while sent < len {
                let part = self.writer.next_part(sent, len);
                self.wait_room(part.frame, deadline)?;
                sent += self.writer.put_part(part, &mut gather, len, tag, 0);
            }
        }
        self.writer.traffic.message(len);
        Ok(())
    }

    /// As [`send_vectored`](Self::send_vectored), if there is room for all of it now.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send).
    pub fn try_send_vectored(
        &mut self,
        pieces: &[IoSlice<'_>],
        tag: u64,
    ) -> Result<(), TrySendError> {
        self.writer.ready()?;
        let len = total(pieces);
        if len > self.writer.largest {
            return self.try_send_parts(pieces, len, tag);
        }
        match self.writer.room(frame_size(len))? {
            Look::Ready(()) => {}
            _ => return Err(TrySendError::Full),
        }
        let at = self.writer.payload();
        Gather::new(pieces).copy(&self.writer.data, at, len);
        self.writer.publish(Kind::Data, len as u32, tag);
        self.writer.traffic.message(len);
        Ok(())
    }

    #[cold]
    fn try_send_parts(
        &mut self,
        pieces: &[IoSlice<'_>],
        len: u64,
        tag: u64,
    ) -> Result<(), TrySendError> {
        let writer = &mut self.writer;
        let frames = writer.parts_size(len);
        if len > writer.max_message() || !writer.capacity.fits(frames, 0) {
            let max = writer.capacity.largest_at_once().min(writer.max_message());
            return Err(TrySendError::TooLarge { len, max });
        }
        match writer.room(frames)? {
            Look::Ready(()) => {}
            _ => return Err(TrySendError::Full),
        }
        let mut gather = Gather::new(pieces);
        let mut sent = 0;
        while sent < len {
            let part = writer.next_part(sent, len);
            sent += writer.put_part(part, &mut gather, len, tag, 0);
        }
        self.writer.traffic.message(len);
        Ok(())
    }

    /// Sends on with a large message for as long as there is room. `sent` says how much of it went before: 0 begins it. Any other
    /// send, or the end, gives up what is unfinished.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] if the rest has to wait for room; otherwise as [`send`](Self::send).
    pub fn try_send_on(
        &mut self,
        bytes: &[u8],
        tag: u64,
        sent: &mut u64,
    ) -> Result<(), TrySendError> {
        let writer = &mut self.writer;
        let (len, max) = (bytes.len() as u64, writer.max_message());
        if len > max {
            return Err(TrySendError::TooLarge { len, max });
        }
        if *sent == 0 {
            writer.ready()?;
            if len <= writer.capacity.largest_payload() {
                return self.try_send(bytes, tag);
            }
        } else {
            writer.alive()?;
        }
        while *sent < len {
            let part = self.writer.next_part(*sent, len);
            match self.writer.room(part.frame)? {
                Look::Ready(()) => {}
                _ => return Err(TrySendError::Full),
            }
            let rest = [IoSlice::new(bytes.get(*sent as usize..).unwrap_or(&[]))];
            *sent += self.writer.put_part(part, &mut Gather::new(&rest), len, tag, 0);
        }
        self.writer.traffic.message(len);
        Ok(())
    }

    /// Lends room for a message of up to `len` bytes, or more if more is free, to be written in place.
    ///
    /// A grant stays good whatever the consumer does; dropping it without a commit sends nothing.
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`]; [`TrySendError::TooLarge`] if `len` exceeds one frame (a quarter of the lane):
    /// a larger message goes in parts, by [`send`](Self::send).
    #[inline]
    pub fn try_claim(&mut self, len: usize) -> Result<Grant<'_>, TrySendError> {
        self.writer.ready()?;
        let len = len as u64;
        let max = self.writer.largest_frame();
        if len > max {
            return Err(TrySendError::TooLarge { len, max });
        }
        match self.writer.room(frame_size(len))? {
            Look::Ready(()) => Ok(Grant::frame(self)),
            _ => Err(TrySendError::Full),
        }
    }

    /// As [`try_claim`](Self::try_claim), waiting for room until the deadline.
    ///
    /// # Errors
    ///
    /// [`SendError::TimedOut`], [`SendError::TooLarge`] beyond one frame, [`SendError::Ended`].
    pub fn claim(&mut self, len: usize, deadline: Option<Instant>) -> Result<Grant<'_>, SendError> {
        let len = len as u64;
        let max = self.writer.largest_frame();
        if len > max {
            return Err(SendError::TooLarge { len, max });
        }
        self.wait_ready(deadline)?;
        self.wait_room(frame_size(len), deadline)?;
        Ok(Grant::frame(self))
    }

    /// Begins a batch: small messages share frames, and are published together.
    pub fn batch(&mut self) -> Batch<'_> {
        Batch::new(self)
    }

    /// Waits until a message of `len` bytes has room, without sending it.
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    pub fn wait_for_room(
        &mut self,
        len: usize,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        self.claim(len, deadline).map(drop)
    }

    /// Waits until what a send that does not wait had no room for last would have it. What is unfinished of a message in parts stays
    /// so: see [`try_send_on`](Self::try_send_on).
    ///
    /// # Errors
    ///
    /// [`SendError::TimedOut`], [`SendError::Ended`].
    pub fn wait_for_what_was_full(&mut self, deadline: Option<Instant>) -> Result<(), SendError> {
        self.wait_room(self.writer.wanted, deadline)
    }

    /// The largest message that one frame holds, in bytes; larger ones go in parts.
    #[must_use]
    pub fn largest_frame(&self) -> usize {
        self.writer.largest_frame() as usize
    }

    /// The negotiated largest message, in bytes.
    #[must_use]
    pub fn largest_message(&self) -> u64 {
        self.writer.max_message()
    }

    /// Bytes the lane holds.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.writer.capacity
    }

    /// Where in the lane the next frame goes: behind everything that was sent.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.writer.tail
    }

    /// What this half did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.writer.stats(self.sleeper.counted.stats())
    }

    /// How blocking calls wait.
    #[must_use]
    pub fn wait_strategy(&self) -> Wait {
        self.sleeper.strategy()
    }

    /// Changes how blocking calls wait.
    pub fn set_wait_strategy(&mut self, wait: Wait) {
        self.sleeper.set_strategy(wait);
    }

    /// What ended this direction, if anything has. Once seen, it stays.
    pub fn end(&mut self) -> Option<End> {
        self.writer.alive().and_then(|()| self.writer.reload(HEADER).map(drop)).err()
    }

    #[inline]
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.writer.traffic.message(bytes);
    }

    /// Closes what a leaked guard or a given-up message left behind, waiting for room if need be.
    pub(crate) fn wait_ready(&mut self, deadline: Option<Instant>) -> Result<(), SendError> {
        match self.writer.ready() {
            Ok(()) => Ok(()),
            Err(TrySendError::Ended(end)) => Err(end.into()),
            Err(_) => {
                self.wait_room(frame_size(0), deadline)?;
                self.writer.abort();
                Ok(())
            }
        }
    }

    /// Waits until a frame of this size fits.
    pub(crate) fn wait_room(
        &mut self,
        frame: u64,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let writer = &mut self.writer;
        // The one check of the fast path; the wait below looks at everything else.
        match writer.room(frame) {
            Ok(Look::Ready(())) => return Ok(()),
            Ok(_) => {}
            Err(end) => return Err(end.into()),
        }
        let budget = self.sleeper.budget();
        if budget != Some(Duration::ZERO) {
            for _ in 0..FIRST {
                match writer.room(frame) {
                    Ok(Look::Ready(())) => return Ok(()),
                    Ok(_) => sync::pause(),
                    Err(end) => return Err(end.into()),
                }
            }
        }
        let place = self.post.place(&self.heads);
        let waited = self.sleeper.wait(&place, deadline, budget, || match writer.room(frame) {
            Ok(Look::Ready(())) => Look::Ready(Ok(())),
            Ok(Look::Nothing { offset, seen }) => Look::Nothing { offset, seen },
            Ok(Look::Again) => Look::Again,
            Err(end) => Look::Ready(Err(end)),
        });
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(end)) => Err(end.into()),
            Err(stopped) => Err(SendError::of(stopped, || self.writer.judge())),
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let writer = &mut self.writer;
        if writer.is_forked() {
            return;
        }
        // Room for this one header is always kept; see `Capacity::fits`. It ends an unfinished message.
        writer.close_pack();
        if !mutant("drop-without-end") {
            step::at(Step::EndMark);
            writer.publish(Kind::End, 0, 0);
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("capacity", &self.writer.capacity)
            .field("tail", &self.writer.tail)
            .field("end", &self.writer.end())
            .finish_non_exhaustive()
    }
}
