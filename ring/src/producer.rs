//! The producer: the sending half of a channel.
//!
//! It owns `tail`, in private memory, and writes frames that publish themselves: there is no index to
//! publish, the header is the last thing stored. What it reads of the peer is one word, `head`, believed
//! only between what was good before and what was sent.
//!
//! | step | what |
//! |---|---|
//! | P1 | write payload and tag; before it or after it |
//! | P2 | zero the next header |
//! | P3 | store this header (Release) |
//! | P4 | light fence |
//! | P5 | load the peer's sleep word; wake it, once an epoch |
//!
//! A crash before P3 leaves nothing visible, after it a whole frame. Not here: what the bytes mean.

use std::io::IoSlice;
use std::time::Duration;

use crate::asleep::{Asleep, How};
use crate::batch::{Batch, OpenPack};
use crate::counters::{self, Counters, Stats};
use crate::fault::Fault;
use crate::frame::{Header, Kind};
use crate::grant::Grant;
use crate::heads::{HEAD, Heads, RX_ASLEEP, TX_ASLEEP};
use crate::lane::{Side, Terms};
use crate::life::{End, Life};
use crate::parts::{Gather, total};
use crate::position::{Capacity, GONE, HEADER, check_head, frame_size};
use crate::step::{self, Step};
use crate::sync::{self, Arc, Instant, Ordering, Region, mutant};
use crate::wait::{FIRST, Look, Post, Sleeper, Stopped, Wait};

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
    pub(crate) core: Core,
    sleeper: Sleeper<{ counters::TX }>,
    heads: Arc<Heads>,
    post: Post,
}

/// The half without its way of waiting, so that a wait can borrow both.
// Aligned, so that no field of the hot path ever lies across two cache lines.
#[repr(align(64))]
pub(crate) struct Core {
    pub(crate) data: Region,
    mine: Region,
    theirs: Region,
    pub(crate) capacity: Capacity,
    /// Next byte to write.
    pub(crate) tail: u64,
    /// The last good release position of the peer.
    head: u64,
    /// The last sleep word of the peer that we acted on.
    woken: u32,
    /// A message in parts was begun and neither ended nor given up.
    pub(crate) unfinished: bool,
    /// A pack that is being filled, and not in the lane yet.
    pub(crate) pack: Option<OpenPack>,
    /// What is in it. Not written in the lane one by one: its first line has the header that the consumer looks at
    /// all the time, and every message there would be a fight over it.
    pub(crate) staged: Vec<u8>,
    max_message: u64,
    /// Something has to be seen to before the next message: an end, an open pack, a message given up. One question
    /// on the hot path instead of three; see [`Core::settle`].
    hindered: bool,
    /// The largest message that goes in one frame: by the lane, and by what was negotiated.
    pub(crate) largest: u64,
    life: Arc<Life>,
    end: Option<End>,
    wakes: u64,
}

impl Producer {
    pub(crate) fn new(side: &Side, terms: &Terms, heads: Arc<Heads>) -> Self {
        let counters = Counters::new(side.mine.clone());
        Self {
            core: Core {
                data: side.data_out.clone(),
                mine: side.mine.clone(),
                theirs: side.theirs.clone(),
                capacity: side.capacity_out,
                tail: terms.start,
                head: terms.start,
                woken: 0,
                unfinished: false,
                pack: None,
                staged: Vec::new(),
                max_message: terms.max_message,
                hindered: false,
                largest: terms.max_message.min(side.capacity_out.largest_payload()),
                life: Arc::clone(&side.life),
                end: None,
                wakes: 0,
            },
            sleeper: Sleeper::new(terms.wait, counters),
            heads,
            post: Post {
                life: Arc::clone(&side.life),
                shared: side.theirs.clone(),
                mine: side.mine.clone(),
                asleep: TX_ASLEEP,
            },
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
        if self.core.put(bytes, tag) {
            self.sleeper.counters.message(bytes.len() as u64);
            return Ok(());
        }
        self.try_send_closely(bytes, tag)
    }

    /// As [`try_send`](Self::try_send), where something stands in the way.
    #[cold]
    #[inline(never)]
    fn try_send_closely(&mut self, bytes: &[u8], tag: u64) -> Result<(), TrySendError> {
        let core = &mut self.core;
        core.ready()?;
        let len = bytes.len() as u64;
        if len > core.largest {
            return self.try_send_parts(&[IoSlice::new(bytes)], len, tag);
        }
        match core.room(frame_size(len))? {
            Look::Ready(()) => {}
            _ => return Err(TrySendError::Full),
        }
        core.write(Kind::Data, bytes, tag);
        self.sleeper.counters.message(len);
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
        if self.core.put(bytes, tag) {
            self.sleeper.counters.message(bytes.len() as u64);
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
        if len > self.core.max_message {
            return Err(SendError::TooLarge { len, max: self.core.max_message });
        }
        self.wait_ready(deadline)?;
        let mut gather = Gather::new(pieces);
        if len <= self.core.capacity.largest_payload() {
            self.wait_room(frame_size(len), deadline)?;
            let at = self.core.payload();
            gather.copy(&self.core.data, at, len);
            self.core.publish(Kind::Data, len as u32, tag);
        } else {
            let mut sent = 0;
            while sent < len {
                let part = self.core.next_part(sent, len);
                self.wait_room(part.frame, deadline)?;
                sent += self.core.put_part(part, &mut gather, len, tag);
            }
        }
        self.sleeper.counters.message(len);
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
        self.core.ready()?;
        let len = total(pieces);
        if len > self.core.largest {
            return self.try_send_parts(pieces, len, tag);
        }
        match self.core.room(frame_size(len))? {
            Look::Ready(()) => {}
            _ => return Err(TrySendError::Full),
        }
        let at = self.core.payload();
        Gather::new(pieces).copy(&self.core.data, at, len);
        self.core.publish(Kind::Data, len as u32, tag);
        self.sleeper.counters.message(len);
        Ok(())
    }

    #[cold]
    fn try_send_parts(
        &mut self,
        pieces: &[IoSlice<'_>],
        len: u64,
        tag: u64,
    ) -> Result<(), TrySendError> {
        let core = &mut self.core;
        let mut frames = 0;
        let mut sent = 0;
        while sent < len && frames <= core.capacity.bytes() {
            let part = core.next_part(sent, len);
            frames += part.frame;
            sent += part.bytes;
        }
        if len > core.max_message || !core.capacity.fits(frames, 0) {
            let max = core.capacity.largest_at_once().min(core.max_message);
            return Err(TrySendError::TooLarge { len, max });
        }
        match core.room(frames)? {
            Look::Ready(()) => {}
            _ => return Err(TrySendError::Full),
        }
        let mut gather = Gather::new(pieces);
        let mut sent = 0;
        while sent < len {
            let part = core.next_part(sent, len);
            sent += core.put_part(part, &mut gather, len, tag);
        }
        self.sleeper.counters.message(len);
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
        self.core.ready()?;
        let len = len as u64;
        let max = self.core.largest_frame();
        if len > max {
            return Err(TrySendError::TooLarge { len, max });
        }
        match self.core.room(frame_size(len))? {
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
        let max = self.core.largest_frame();
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

    /// The largest message that one frame holds, in bytes; larger ones go in parts.
    #[must_use]
    pub fn largest_frame(&self) -> usize {
        self.core.largest_frame() as usize
    }

    /// The negotiated largest message, in bytes.
    #[must_use]
    pub fn largest_message(&self) -> u64 {
        self.core.max_message
    }

    /// Bytes the lane holds.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.core.capacity
    }

    /// What this half did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { wakes: self.core.wakes, ..self.sleeper.counters.stats() }
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
        self.core.alive().and_then(|()| self.core.reload(HEADER).map(drop)).err()
    }

    #[inline]
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.sleeper.counters.message(bytes);
    }

    /// Counts a message of a pack, which observers see when the pack is published.
    #[inline(always)]
    pub(crate) fn packed(&mut self, bytes: u64) {
        self.sleeper.counters.count(bytes);
    }

    /// Shows observers what was counted. In a forked child there are none, and no memory to show it in.
    #[inline]
    pub(crate) fn show(&mut self) {
        if !self.core.is_forked() {
            self.sleeper.counters.show();
        }
    }

    /// Closes what a leaked guard or a given-up message left behind, waiting for room if need be.
    pub(crate) fn wait_ready(&mut self, deadline: Option<Instant>) -> Result<(), SendError> {
        match self.core.ready() {
            Ok(()) => Ok(()),
            Err(TrySendError::Ended(end)) => Err(end.into()),
            Err(_) => {
                self.wait_room(frame_size(0), deadline)?;
                self.core.abort();
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
        let core = &mut self.core;
        // The one check of the fast path; the wait below looks at everything else.
        match core.room(frame) {
            Ok(Look::Ready(())) => return Ok(()),
            Ok(_) => {}
            Err(end) => return Err(end.into()),
        }
        let budget = self.sleeper.budget();
        if budget != Some(Duration::ZERO) {
            for _ in 0..FIRST {
                match core.room(frame) {
                    Ok(Look::Ready(())) => return Ok(()),
                    Ok(_) => sync::pause(),
                    Err(end) => return Err(end.into()),
                }
            }
        }
        let place = self.post.place(&self.heads);
        let waited = self.sleeper.wait(&place, deadline, budget, || match core.room(frame) {
            Ok(Look::Ready(())) => Look::Ready(Ok(())),
            Ok(Look::Nothing { offset, seen }) => Look::Nothing { offset, seen },
            Ok(Look::Again) => Look::Again,
            Err(end) => Look::Ready(Err(end)),
        });
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(end)) => Err(end.into()),
            Err(stopped) => Err(SendError::of(stopped, || self.core.judge())),
        }
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

impl Core {
    /// The end of this direction, if there is one.
    #[inline]
    pub(crate) fn alive(&mut self) -> Result<(), End> {
        if self.end.is_none() && self.life.is_open() && !self.life.is_forked() {
            return Ok(());
        }
        Err(self.judge())
    }

    /// Says how the direction ended, by the peer's own word before anything else.
    #[cold]
    fn judge(&mut self) -> End {
        if self.life.is_forked() {
            return End::Forked;
        }
        if self.end.is_none() {
            // A peer that closed in order said so in its head before its socket went away.
            let gone = match self.reload(HEADER) {
                Err(end) if !mutant("end-without-look") => Some(end),
                _ => None,
            };
            self.end = match self.life.end() {
                Some(End::HungUp) | None => gone.or(Some(End::HungUp)),
                over => over,
            };
            self.settle();
        }
        self.end.unwrap_or(End::HungUp)
    }

    /// Before every send: alive, and nothing left open by an earlier call.
    #[inline]
    pub(crate) fn ready(&mut self) -> Result<(), TrySendError> {
        self.alive()?;
        if (self.pack.is_some() || self.unfinished) && !mutant("send-without-tidying") {
            return self.tidy();
        }
        Ok(())
    }

    #[cold]
    fn tidy(&mut self) -> Result<(), TrySendError> {
        self.close_pack();
        if self.unfinished {
            match self.room(frame_size(0))? {
                Look::Ready(()) => self.abort(),
                _ => return Err(TrySendError::Full),
            }
        }
        Ok(())
    }

    fn abort(&mut self) {
        self.close_pack();
        if self.unfinished {
            self.unfinished = false;
            self.settle();
            if !mutant("abort-forgotten") {
                step::at(Step::Abort);
                self.publish(Kind::Abort, 0, 0);
            }
        }
    }

    #[inline]
    fn largest_frame(&self) -> u64 {
        self.largest
    }

    /// Says again whether something has to be seen to. Whoever changes what it asks about calls it.
    #[inline]
    pub(crate) fn settle(&mut self) {
        self.hindered = self.end.is_some() || self.pack.is_some() || self.unfinished;
    }

    /// Sends a message that goes in one frame, if nothing at all stands in the way.
    #[inline(always)]
    fn put(&mut self, bytes: &[u8], tag: u64) -> bool {
        let len = bytes.len() as u64;
        let unhindered = !self.hindered
            && self.life.is_open()
            && !self.life.is_forked()
            && len <= self.largest
            && self.capacity.fits(frame_size(len), self.tail.wrapping_sub(self.head));
        if unhindered {
            self.write(Kind::Data, bytes, tag);
        }
        unhindered
    }

    /// Writes a frame for which there is room, and publishes it.
    ///
    /// From its end to its beginning: the consumer looks at the header's line all the time, and a line that is
    /// stored to early is taken away before the header can be stored.
    #[inline(always)]
    pub(crate) fn write(&mut self, kind: Kind, bytes: &[u8], tag: u64) {
        let len = bytes.len() as u32;
        let next = self.tail.wrapping_add(frame_size(len.into()));
        self.end_frame(next);
        self.pad(len);
        self.data.copy_payload_in(self.tail, bytes);
        step::at(Step::P1);
        self.announce(Header { kind, len }, tag, next);
    }

    /// Writes the padding up to the grain behind a payload of `len` bytes, so that no old bytes travel: of P1.
    #[inline(always)]
    fn pad(&mut self, len: u32) {
        let padding = len.wrapping_neg() as usize & (HEADER as usize - 1);
        if padding != 0 {
            self.data.zero(self.payload() + len as usize, padding);
        }
    }

    /// Stores the empty header that the frame's end is followed by: P2.
    #[inline(always)]
    fn end_frame(&mut self, next: u64) {
        step::at(Step::P2);
        if !mutant("next-header-not-zeroed") && !mutant("next-header-zeroed-late") {
            // ORDERING: Relaxed; P3 publishes it. The consumer goes there only after this frame.
            self.data.store_header(next, 0, Ordering::Relaxed); // P2
        }
    }

    /// Where the payload of the next frame goes.
    #[inline]
    pub(crate) fn payload(&self) -> usize {
        self.capacity.offset(self.tail) + HEADER as usize
    }

    /// The largest payload there is room for now, by what we know of the peer's head.
    #[inline]
    pub(crate) fn free_payload(&self) -> u64 {
        self.capacity.room(self.tail.wrapping_sub(self.head)).unwrap_or(0).min(self.largest_frame())
    }

    /// The largest pack there is room for now.
    pub(crate) fn free_pack(&self) -> u64 {
        self.capacity.room(self.tail.wrapping_sub(self.head)).unwrap_or(0)
    }

    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.life.is_forked()
    }

    pub(crate) fn max_message(&self) -> u64 {
        self.max_message
    }

    /// Whether a frame fits; reads the peer's head only if it does not fit by what we know.
    #[inline]
    pub(crate) fn room(&mut self, frame: u64) -> Result<Look<()>, End> {
        if self.capacity.fits(frame, self.tail.wrapping_sub(self.head)) {
            return Ok(Look::Ready(()));
        }
        self.reload(frame)
    }

    fn reload(&mut self, frame: u64) -> Result<Look<()>, End> {
        step::at(Step::H5);
        // ORDERING: Acquire; pairs with H2 in `Head::store`. The consumer's reads of the bytes come
        // before our writes over them.
        let word = self.theirs.load64(HEAD, sync::order("relaxed-room", Ordering::Acquire));
        match check_head(word & !GONE, self.head, self.tail) {
            Ok(head) => self.head = head,
            Err(fault) => return Err(self.fault(fault)),
        }
        if word & GONE != 0 {
            // Not the first word, perhaps: a flush can come here after this half has reported a hang-up.
            return Err(self.ended(End::Closed));
        }
        if self.capacity.fits(frame, self.tail.wrapping_sub(self.head)) {
            return Ok(Look::Ready(()));
        }
        Ok(Look::Nothing { offset: HEAD, seen: word as u32 })
    }

    fn fault(&mut self, fault: Fault) -> End {
        let end = self.life.fail(fault);
        self.ended(end)
    }

    /// Keeps what ended the direction: what was said first stays.
    #[cold]
    fn ended(&mut self, end: End) -> End {
        let end = *self.end.get_or_insert(end);
        self.settle();
        end
    }

    /// Publishes the frame at the tail, whose payload of `len` bytes is in place.
    #[inline]
    pub(crate) fn publish(&mut self, kind: Kind, len: u32, tag: u64) {
        let next = self.tail.wrapping_add(frame_size(u64::from(len)));
        self.pad(len);
        step::at(Step::P1);
        if kind != Kind::End {
            self.end_frame(next);
        }
        self.announce(Header { kind, len }, tag, next);
    }

    /// Stores tag and header of the frame at the tail, of which everything else is in place, and wakes who waits
    /// for it. The next frame begins at `next`.
    #[inline(always)]
    fn announce(&mut self, header: Header, tag: u64, next: u64) {
        let at = self.tail;
        // ORDERING: Relaxed; P3 publishes it.
        self.data.store_tag(at, tag, Ordering::Relaxed);
        step::at(Step::P3);
        // ORDERING: Release; pairs with the Acquire of C1 in the consumer's `Core::header`. Publishes P1 and P2.
        let order = sync::order("relaxed-publish", Ordering::Release);
        self.data.store_header(at, header.word(), order); // P3
        if mutant("next-header-zeroed-late") {
            self.data.store_header(next, 0, Ordering::Relaxed);
        }
        self.tail = next;
        step::at(Step::P4);
        self.life.fences().light(); // P4
        step::at(Step::P5);
        // ORDERING: Relaxed; ordered by P4 and by the sleeper's heavy fence.
        let asleep = Asleep(self.theirs.load32_at::<RX_ASLEEP>(Ordering::Relaxed)); // P5
        if asleep.is_new(self.woken) {
            self.wake(asleep, self.capacity.offset(at));
        }
        // The line after the next header: the next payload reaches into it, and the peer does not read it
        // yet. Fetched now, in time that would be idle, it does not hold up the next publish.
        self.data.prefetch_for_writing((self.capacity.offset(next) | (LINE - 1)) + 1);
    }

    #[cold]
    fn wake(&mut self, asleep: Asleep, at: usize) {
        match asleep.how() {
            Some(How::Futex) => {}
            Some(How::Gone) => {
                // Not believed here: the head says so itself, now or at the next look.
                if self.reload(HEADER).is_err() {
                    self.woken = asleep.0;
                }
                return;
            }
            None => return,
        }
        let at = if mutant("wake-wrong-word") { self.capacity.offset(self.tail) } else { at };
        step::at(Step::P5Wake);
        let somebody = sync::wake(&self.data, at);
        if (somebody || mutant("epoch-settled-by-any-wake")) && !mutant("epoch-never-settled") {
            self.woken = asleep.0;
        }
        self.wakes += 1;
        counters::put_wakes(&self.mine, counters::TX, self.wakes);
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        let core = &mut self.core;
        if core.life.is_forked() {
            return;
        }
        // Room for this one header is always kept; see `Capacity::fits`. It ends an unfinished message.
        core.close_pack();
        if !mutant("drop-without-end") {
            step::at(Step::EndMark);
            core.publish(Kind::End, 0, 0);
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("capacity", &self.core.capacity)
            .field("tail", &self.core.tail)
            .field("end", &self.core.end)
            .finish_non_exhaustive()
    }
}
