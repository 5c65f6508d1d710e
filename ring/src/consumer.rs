//! The consumer: the receiving half of a channel.
//!
//! It owns `head`, in private memory, and trusts nothing it reads: a header is loaded once and decoded
//! into plain data, a payload is copied once into a buffer of our own, and only then looked at.
//!
//! | step | what |
//! |---|---|
//! | C1 | load the header at the head (Acquire); zero is empty |
//! | C2 | decode it; a broken rule is a fault |
//! | C3 | copy the payload out |
//! | C4 | release the frame: `Head::release`, and publish it when that is due |
//!
//! Not here: what the bytes mean. They are whole messages, as long as their headers said, and anything.

use crate::buffer::Buffer;
use crate::counters::{self, Counters, Stats};
use crate::fault::Fault;
use crate::frame::{Entry, Header, Kind};
use crate::heads::{Head, Heads, RX_ASLEEP};
use crate::lane::{Side, Terms};
use crate::life::{End, Life};
use crate::position::{Capacity, HEADER, frame_size};
use crate::step::{self, Step};
use crate::sync::{self, Arc, Instant, Ordering, Region, mutant};
use crate::wait::{Look, PARTS, Place, Sleeper, Stopped, Wait};

/// Why nothing was received, now or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// There is no message now.
    #[error("no message")]
    Empty,
    /// The direction has ended, and everything before was received.
    #[error(transparent)]
    Ended(#[from] End),
}

/// Why a blocking receive failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The deadline passed without a message.
    #[error("no message before the deadline")]
    TimedOut,
    /// The direction has ended, and everything before was received.
    #[error(transparent)]
    Ended(#[from] End),
}

/// Where a received message lies, until the next receive: see [`Consumer::bytes`].
#[derive(Clone, Copy, Debug)]
#[must_use = "the message is lost unless its bytes are looked at"]
pub struct Item {
    start: usize,
    len: usize,
    /// What travelled with the message.
    pub tag: u64,
    in_place: bool,
    /// The buffer holds this message and nothing else.
    alone: bool,
}

impl Item {
    /// Bytes of the message.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the message has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The receiving half of a channel. Dropping it tells the producer that nobody reads.
pub struct Consumer {
    core: Core,
    sleeper: Sleeper,
    heads: Arc<Heads>,
}

struct Core {
    data: Region,
    mine: Region,
    capacity: Capacity,
    /// Next byte to read.
    head: u64,
    /// The head this half last asked to publish.
    published: u64,
    shared: Arc<Head>,
    buffer: Buffer,
    /// A message in parts, as far as it has come.
    parts: Option<Parts>,
    /// Where the next message of the pack in the buffer begins.
    pack: Option<usize>,
    /// Bytes of the frame lent in place, to be released by the next receive.
    lent: u64,
    /// Whole frames are lent in place: the peer is trusted not to change them.
    in_place: bool,
    max_message: u64,
    life: Arc<Life>,
    end: Option<End>,
}

#[derive(Clone, Copy)]
struct Parts {
    total: u64,
    arrived: usize,
    tag: u64,
}

impl Consumer {
    pub(crate) fn new(side: &Side, terms: &Terms, heads: Arc<Heads>) -> Self {
        let counters = Counters::new(side.mine.clone(), counters::RX);
        let shared =
            Head::new(terms.start, side.mine.clone(), side.theirs.clone(), Arc::clone(&side.life));
        heads.add(&shared);
        Self {
            core: Core {
                data: side.data_in.clone(),
                mine: side.mine.clone(),
                capacity: side.capacity_in,
                head: terms.start,
                published: terms.start,
                shared,
                buffer: Buffer::new(),
                parts: None,
                pack: None,
                lent: 0,
                in_place: false,
                max_message: terms.max_message,
                life: Arc::clone(&side.life),
                end: None,
            },
            sleeper: Sleeper::new(terms.wait, counters),
            heads,
        }
    }

    /// Takes the next message, if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`], [`TryRecvError::Ended`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<Item, TryRecvError> {
        match self.core.look() {
            Look::Ready(Ok(item)) => {
                self.sleeper.counters.message(item.len as u64);
                Ok(item)
            }
            Look::Ready(Err(end)) => Err(end.into()),
            Look::Nothing { .. } if self.core.life.is_open() => {
                self.core.publish();
                Err(TryRecvError::Empty)
            }
            _ => self.try_further(),
        }
    }

    /// Looks again, after part of a message or when it may have ended: the rest is taken, and what was
    /// published before the end.
    #[cold]
    fn try_further(&mut self) -> Result<Item, TryRecvError> {
        let over = !self.core.life.is_open();
        if over && mutant("end-without-look") {
            return Err(self.core.judge().into());
        }
        let found =
            (0..PARTS).map(|_| self.core.look()).find(|found| !matches!(found, Look::Again));
        match found {
            Some(Look::Ready(Ok(item))) => {
                self.sleeper.counters.message(item.len as u64);
                Ok(item)
            }
            Some(Look::Ready(Err(end))) => Err(end.into()),
            Some(Look::Nothing { .. }) if over => Err(self.core.judge().into()),
            _ => {
                self.core.publish();
                Err(TryRecvError::Empty)
            }
        }
    }

    /// Takes the next message, waiting for it until the deadline, if there is one.
    ///
    /// A message that lies there is taken before a deadline or an end is reported.
    ///
    /// # Errors
    ///
    /// [`RecvError::TimedOut`], [`RecvError::Ended`].
    #[inline]
    pub fn recv(&mut self, deadline: Option<Instant>) -> Result<Item, RecvError> {
        match self.core.look() {
            Look::Ready(Ok(item)) => {
                self.sleeper.counters.message(item.len as u64);
                Ok(item)
            }
            Look::Ready(Err(end)) => Err(end.into()),
            _ => self.wait(deadline),
        }
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Result<Item, RecvError> {
        let core = &mut self.core;
        core.publish();
        let (life, shared, mine) = (Arc::clone(&core.life), core.data.clone(), core.mine.clone());
        let place = Place {
            life: &life,
            heads: &self.heads,
            shared: &shared,
            mine: &mine,
            asleep: RX_ASLEEP,
        };
        let look = || {
            let found = core.look();
            if matches!(found, Look::Nothing { .. }) {
                core.publish(); // what was taken since and is no message: parts, a message given up
            }
            found
        };
        match self.sleeper.wait(&place, deadline, look) {
            Ok(Ok(item)) => {
                self.sleeper.counters.message(item.len as u64);
                Ok(item)
            }
            Ok(Err(end)) => Err(end.into()),
            Err(Stopped::TimedOut) => Err(RecvError::TimedOut),
            Err(Stopped::Ended) => Err(self.core.judge().into()),
        }
    }

    /// The bytes of the message received last, aligned to 16.
    ///
    /// They are a private copy that nobody else can change (but see [`trust_peer`](Self::trust_peer)).
    #[inline]
    #[must_use]
    pub fn bytes(&self, item: &Item) -> &[u8] {
        if item.in_place {
            return self.core.in_place(item);
        }
        self.core.buffer.bytes().get(item.start..item.start + item.len).unwrap_or(&[])
    }

    /// Takes the message out of the consumer, which goes on with `spare` as its buffer.
    pub fn take(&mut self, item: &Item, mut spare: Buffer) -> Buffer {
        // An item of an earlier receive must not take away what later ones rely on.
        if item.alone && !item.in_place && self.core.parts.is_none() && self.core.pack.is_none() {
            spare.clear();
            return std::mem::replace(&mut self.core.buffer, spare);
        }
        spare.copy_from(self.bytes(item));
        spare
    }

    /// Reads whole frames in place from now on, without copying them.
    ///
    /// A frame stays unreleased until the next receive. Packs and messages in parts are copied still.
    ///
    /// # Safety
    ///
    /// The peer must not change a frame after it has published it. A peer that does makes the bytes change
    /// under a shared reference, which is undefined behaviour in this process. Only a peer that is one
    /// program with us can be trusted so.
    #[allow(unsafe_code)]
    pub unsafe fn trust_peer(&mut self) {
        self.core.in_place = true;
    }

    /// The peer broke a rule that only the reader of messages knows: the session fails with it.
    pub fn fail(&mut self, fault: Fault) -> End {
        self.core.fault(fault)
    }

    /// Publishes what was received, for the producer to use again, without waiting for it to be due.
    pub fn publish(&mut self) {
        if !self.core.life.is_forked() {
            self.core.release_lent();
            self.core.publish();
        }
    }

    /// What this half did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        // In a forked child the lock that guards them may be held for good.
        let wakes = if self.core.life.is_forked() { 0 } else { self.core.shared.wakes() };
        Stats { wakes, ..self.sleeper.counters.stats() }
    }

    /// Bytes the lane holds.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.core.capacity
    }

    /// The negotiated largest message, in bytes.
    #[must_use]
    pub fn largest_message(&self) -> u64 {
        self.core.max_message
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
}

impl Core {
    /// Looks for the next message; takes parts and marks on the way.
    // Inlined by force: a nested enum handed back through memory costs more than the work (28 to 21 ns a
    // typed receive, one thread).
    #[inline(always)]
    fn look(&mut self) -> Look<Result<Item, End>> {
        if self.end.is_some() || self.life.is_over() || self.life.is_forked() {
            return Look::Ready(Err(self.judge()));
        }
        if self.pack.is_some() {
            return Look::Ready(self.next_of_pack());
        }
        self.release_lent();
        let offset = self.capacity.offset(self.head);
        step::at(Step::C1);
        // ORDERING: Acquire; pairs with P3 in `Core::publish` of the producer. The payload and the next
        // header are read after it. It is loaded once; from here on `word` is ours.
        let order = sync::order("relaxed-header", Ordering::Acquire);
        let word = self.data.load64(offset, order); // C1
        if word as u32 == 0 {
            return Look::Nothing { offset, seen: 0 };
        }
        match self.take(word, offset) {
            Ok(Some(item)) => Look::Ready(Ok(item)),
            Ok(None) => Look::Again,
            Err(fault) => Look::Ready(Err(fault)),
        }
    }

    /// Takes the frame that `word` published at `offset`.
    #[inline(always)]
    fn take(&mut self, word: u64, offset: usize) -> Result<Option<Item>, End> {
        let largest = self.capacity.largest_payload();
        step::at(Step::C2);
        let header = match Header::decode(word, largest) {
            Ok(header) => header, // C2
            Err(fault) => return Err(self.fault(fault)),
        };
        if header.kind != Kind::Data || self.parts.is_some() {
            return self.take_other(header, offset);
        }
        if u64::from(header.len) > self.max_message {
            return Err(self.fault(Fault::TooLarge(header.len.into())));
        }
        // ORDERING: Relaxed; published by C1, as the payload is.
        let tag = self.data.load64(offset + 8, Ordering::Relaxed);
        let len = header.len as usize;
        let payload = offset + HEADER as usize;
        let frame = frame_size(header.len.into());
        if self.in_place {
            self.lent = frame;
            return Ok(Some(Item { start: payload, len, tag, in_place: true, alone: false }));
        }
        if mutant("release-before-copy") {
            self.release(frame);
            self.publish();
            self.data.copy_out(payload, self.buffer.extend(0, len));
        } else {
            step::at(Step::C3);
            self.data.copy_out(payload, self.buffer.extend(0, len)); // C3
            self.release(frame); // C4
        }
        Ok(Some(Item { start: 0, len, tag, in_place: false, alone: true }))
    }

    /// Everything that is not a plain message.
    #[cold]
    fn take_other(&mut self, header: Header, offset: usize) -> Result<Option<Item>, End> {
        let tag = self.data.load64(offset + 8, Ordering::Relaxed);
        let payload = offset + HEADER as usize;
        let len = header.len as usize;
        let frame = frame_size(header.len.into());
        if mutant("part-released-before-copy") {
            self.shared.release(self.head.wrapping_add(frame));
            self.shared.publish();
        }
        step::at(Step::C3);
        let item = match (header.kind, self.parts) {
            (Kind::End, _) => {
                self.parts = None; // an unfinished message is discarded
                self.end = Some(End::Closed);
                self.release(frame);
                self.publish();
                return Err(End::Closed);
            }
            (Kind::Abort, Some(_)) => {
                self.parts = None;
                None
            }
            (Kind::Pack, None) => {
                self.data.copy_out(payload, self.buffer.extend(0, len));
                self.release(frame);
                self.pack = Some(0);
                return self.first_of_pack().map(Some);
            }
            (Kind::First, None) => {
                let mut total = [0; 8];
                self.data.copy_out(payload, &mut total);
                let total = u64::from_le_bytes(total);
                if total > self.max_message {
                    return Err(self.fault(Fault::TooLarge(total)));
                }
                let arrived = len - 8; // `Header::decode` made sure that there are more than 8
                if arrived as u64 >= total {
                    return Err(self.fault(Fault::Parts));
                }
                self.data.copy_out(payload + 8, self.buffer.extend(0, arrived));
                self.parts = Some(Parts { total, arrived, tag });
                None
            }
            (Kind::Next | Kind::Last, Some(parts)) => {
                let arrived = parts.arrived + len;
                let whole = arrived as u64 == parts.total;
                let surplus = arrived as u64 > parts.total;
                if surplus || whole != (header.kind == Kind::Last) || tag != parts.tag {
                    return Err(self.fault(Fault::Parts));
                }
                self.data.copy_out(payload, self.buffer.extend(parts.arrived, len));
                self.parts = (!whole).then_some(Parts { arrived, ..parts });
                whole.then_some(Item { start: 0, len: arrived, tag, in_place: false, alone: true })
            }
            // A part without its first, or anything else in the middle of a message.
            _ => return Err(self.fault(Fault::Parts)),
        };
        self.release(frame);
        Ok(item)
    }

    /// As `next_of_pack`, out of line: `look` has that one inlined already.
    #[cold]
    fn first_of_pack(&mut self) -> Result<Item, End> {
        self.next_of_pack()
    }

    /// The next message of the pack in the buffer.
    #[inline(always)]
    fn next_of_pack(&mut self) -> Result<Item, End> {
        let start = self.pack.unwrap_or(0);
        let rest = self.buffer.bytes().get(start..).unwrap_or(&[]);
        let entry = match Entry::decode(rest) {
            Ok(entry) => entry,
            Err(fault) => return Err(self.fault(fault)),
        };
        let payload = u64::from(entry.len);
        if payload > self.max_message {
            return Err(self.fault(Fault::TooLarge(payload)));
        }
        let next = start + Entry::size(payload) as usize;
        self.pack = (next < self.buffer.bytes().len()).then_some(next);
        let len = entry.len as usize;
        let start = self.buffer.align(start + Entry::SIZE as usize, len);
        Ok(Item { start, len, tag: entry.tag, in_place: false, alone: false })
    }

    /// The frame at the head has been read.
    #[inline]
    fn release(&mut self, frame: u64) {
        step::at(Step::C4);
        self.head = self.head.wrapping_add(frame);
        self.shared.release(self.head);
        let behind = self.head.wrapping_sub(self.published);
        let due = behind >= self.capacity.bytes() / 8 && !mutant("eighth-kept");
        if due || self.producer_needs_it() {
            self.publish();
        }
    }

    /// Whether the producer sleeps for room and the backlog has been read to its end.
    #[inline]
    fn producer_needs_it(&self) -> bool {
        // ORDERING: Relaxed; nothing is read on the strength of it.
        self.shared.producer_sleeps()
            && self.data.load64(self.capacity.offset(self.head), Ordering::Relaxed) as u32 == 0
    }

    #[inline]
    fn release_lent(&mut self) {
        if self.lent != 0 {
            let frame = std::mem::take(&mut self.lent);
            self.release(frame);
        }
    }

    #[inline]
    fn publish(&mut self) {
        if self.head != self.published {
            self.published = self.head;
            self.shared.publish();
        }
    }

    #[allow(unsafe_code)]
    fn in_place(&self, item: &Item) -> &[u8] {
        let start = self.capacity.offset(self.head) + HEADER as usize;
        if item.start != start || frame_size(item.len as u64) != self.lent || self.life.is_forked()
        {
            return &[]; // of an earlier receive, or of another process, where the lane is not mapped
        }
        // SAFETY: (1) `lent` is set only after `trust_peer`, whose caller vouches that the peer does not
        // change a published frame. (2) The item lies in the frame that is lent now, as was just checked;
        // it is not released before the next receive or `publish`, which need `&mut self`, so the producer
        // does not write over it either. (3) It lies in bounds: the offset is masked, the frame at most a
        // quarter of the lane, and the mirror follows.
        unsafe { self.data.slice(item.start, item.len) }
    }

    /// Says how the direction ended, when nothing is left to take.
    #[cold]
    fn judge(&mut self) -> End {
        if self.life.is_forked() {
            return End::Forked;
        }
        if self.end.is_none() {
            self.end = self.life.end();
        }
        self.end.unwrap_or(End::HungUp)
    }

    #[cold]
    fn fault(&mut self, fault: Fault) -> End {
        self.pack = None;
        let end = self.life.fail(fault);
        self.end = Some(end);
        end
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.core.life.is_forked() {
            return; // the parent's; its registry and its memory are not ours to touch
        }
        self.heads.remove(&self.core.shared);
        self.core.release_lent();
        self.core.shared.leave();
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("capacity", &self.core.capacity)
            .field("head", &self.core.head)
            .field("end", &self.core.end)
            .finish_non_exhaustive()
    }
}
