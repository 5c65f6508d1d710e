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

use std::time::Duration;

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
use crate::wait::{FIRST, Look, PARTS, Post, Sleeper, Stopped, Wait};

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

/// Why there is no message, in a word: the size of an item's, with which it shares them in a `Result`. One that were
/// smaller would make the compiler carry items byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(usize)]
#[non_exhaustive]
pub enum Unready {
    /// The deadline passed.
    #[error("no message before the deadline")]
    TimedOut,
    /// The direction has ended; [`Consumer::ended`] says how.
    #[error("the direction has ended")]
    Ended,
}

/// Where a received message lies, until the next receive: see [`Consumer::bytes`].
#[derive(Clone, Copy, Debug)]
#[must_use = "the message is lost unless its bytes are looked at"]
pub struct Item {
    start: usize,
    len: usize,
    /// What travelled with the message.
    pub tag: u64,
    /// A word like the others, so that an item goes from hand to hand in registers.
    place: usize,
}

/// In the lane, until the next receive.
const IN_PLACE: usize = 0;
/// In the buffer, which holds nothing else.
const ALONE: usize = 1;
/// In the buffer, with others.
const IN_PACK: usize = 2;

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
    sleeper: Sleeper<{ counters::RX }>,
    heads: Arc<Heads>,
    post: Post,
}

// Aligned, so that no field of the hot path ever lies across two cache lines.
#[repr(align(64))]
struct Core {
    data: Region,
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
    /// Bytes of each of its messages, if they are alike, and from one to the next; zero if each has an entry.
    each: usize,
    stride: usize,
    /// A header that was loaded and is for a closer look, or zero: it is not loaded again.
    seen: u64,
    /// Bytes of the frame lent in place, to be released by the next receive.
    lent: u64,
    /// Whole frames are lent in place: the peer is trusted not to change them.
    in_place: bool,
    max_message: u64,
    /// The largest message that one frame may hold: by the lane, and by what was negotiated.
    largest: usize,
    life: Arc<Life>,
    end: Option<End>,
    /// What comes next is a frame or nothing: there is no end, no open pack, no message in parts, no header kept. One
    /// question on the hot path instead of four; see [`Core::settle`].
    plain: bool,
}

#[derive(Clone, Copy)]
struct Parts {
    total: u64,
    arrived: usize,
    tag: u64,
}

impl Consumer {
    pub(crate) fn new(side: &Side, terms: &Terms, heads: Arc<Heads>) -> Self {
        let counters = Counters::new(side.mine.clone());
        let shared =
            Head::new(terms.start, side.mine.clone(), side.theirs.clone(), Arc::clone(&side.life));
        heads.add(&shared);
        Self {
            core: Core {
                data: side.data_in.clone(),
                capacity: side.capacity_in,
                head: terms.start,
                published: terms.start,
                shared,
                buffer: Buffer::new(),
                parts: None,
                pack: None,
                each: 0,
                stride: 0,
                seen: 0,
                lent: 0,
                in_place: false,
                max_message: terms.max_message,
                largest: terms.max_message.min(side.capacity_in.largest_payload()) as usize,
                life: Arc::clone(&side.life),
                end: None,
                plain: true,
            },
            sleeper: Sleeper::new(terms.wait, counters),
            heads,
            post: Post {
                life: Arc::clone(&side.life),
                shared: side.data_in.clone(),
                mine: side.mine.clone(),
                asleep: RX_ASLEEP,
            },
        }
    }

    /// Takes the next message, if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`], [`TryRecvError::Ended`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<Item, TryRecvError> {
        let mut item = match self.next_ready() {
            Some(item) => item,
            None => self.try_closely()?,
        };
        self.align(&mut item);
        Ok(item)
    }

    /// Takes the next message if it lies there as most do: whole, in a frame of its own or in an open pack.
    ///
    /// `None` says nothing, and has to be followed by [`try_recv`](Self::try_recv), [`recv`](Self::recv) or
    /// [`next_within`](Self::next_within), which look closely, see ends and tell the producer what is free. It is here
    /// for callers that want the common case among their own instructions, and an item in registers. Its bytes begin
    /// at a multiple of 8, see [`align`](Self::align).
    #[inline(always)]
    pub fn next_ready(&mut self) -> Option<Item> {
        let item = self.core.next()?;
        self.sleeper.counters.count(item.len as u64);
        if self.core.plain {
            self.sleeper.counters.show();
        }
        Some(item)
    }

    /// Moves the message received last so that its bytes begin at a multiple of 16; whether that was needed.
    ///
    /// An item of an earlier receive stays where it is.
    #[inline(always)]
    pub fn align(&mut self, item: &mut Item) -> bool {
        // What comes behind it was checked and must not be moved into.
        let behind = self.core.pack.unwrap_or(self.core.buffer.len());
        if item.place != IN_PACK || item.start & 15 == 0 || item.start + item.len > behind {
            return false;
        }
        item.start = self.core.buffer.move_down(item.start, item.len);
        true
    }

    /// As [`try_recv`](Self::try_recv), where there is nothing, or something special.
    fn try_closely(&mut self) -> Result<Item, TryRecvError> {
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
        let found = match self.next_ready() {
            Some(item) => Ok(item),
            None => self.next_within(deadline),
        };
        match found {
            Ok(mut item) => {
                self.align(&mut item);
                Ok(item)
            }
            Err(Unready::TimedOut) => Err(RecvError::TimedOut),
            Err(Unready::Ended) => Err(RecvError::Ended(self.core.judge())),
        }
    }

    /// As [`recv`](Self::recv), with an error that is one word, [`ended`](Self::ended) knows the rest;
    /// and with bytes that begin at a multiple of 8.
    ///
    /// # Errors
    ///
    /// [`Unready`].
    #[inline(never)]
    pub fn next_within(&mut self, deadline: Option<Instant>) -> Result<Item, Unready> {
        let core = &mut self.core;
        if core.life.is_forked() {
            return Err(Unready::Ended); // the parent's heads and clocks are not ours to touch
        }
        core.release_lent();
        core.publish();
        let budget = self.sleeper.budget();
        if budget != Some(Duration::ZERO)
            && let Some(item) = core.next_soon()
        {
            self.sleeper.counters.message(item.len as u64);
            return Ok(item);
        }
        let place = self.post.place(&self.heads);
        let look = || {
            let found = core.look();
            if matches!(found, Look::Nothing { .. }) {
                core.publish(); // what was taken since and is no message: parts, a message given up
            }
            found
        };
        match self.sleeper.wait(&place, deadline, budget, look) {
            Ok(Ok(item)) => {
                self.sleeper.counters.message(item.len as u64);
                Ok(item)
            }
            Ok(Err(_)) | Err(Stopped::Ended) => {
                self.core.judge();
                Err(Unready::Ended)
            }
            Err(Stopped::TimedOut) => Err(Unready::TimedOut),
        }
    }

    /// How the direction ended, if a receive has said that it has.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        if self.core.life.is_forked() { Some(End::Forked) } else { self.core.end }
    }

    /// The bytes of the message received last.
    ///
    /// They are a private copy that nobody else can change (but see [`trust_peer`](Self::trust_peer)).
    #[inline]
    #[must_use]
    pub fn bytes(&self, item: &Item) -> &[u8] {
        if item.place == IN_PLACE {
            return self.core.in_place(item);
        }
        self.core.buffer.piece(item.start, item.len)
    }

    /// Takes the message out of the consumer, which goes on with `spare` as its buffer.
    pub fn take(&mut self, item: &Item, mut spare: Buffer) -> Buffer {
        // An item of an earlier receive must not take away what later ones rely on.
        if item.place == ALONE && self.core.parts.is_none() && self.core.pack.is_none() {
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
    /// The next message, if it lies there as most do: whole, in a frame of its own or in the open pack.
    #[inline(always)]
    fn next(&mut self) -> Option<Item> {
        if !self.life.is_open() || self.life.is_forked() {
            return None;
        }
        if !self.plain {
            return self.next_packed();
        }
        self.release_lent();
        let word = self.header();
        self.take_plain(word)
    }

    /// Looks some times for a message that is on its way; not at anything else.
    #[inline(always)]
    fn next_soon(&mut self) -> Option<Item> {
        for _ in 0..FIRST {
            if !self.plain || !self.life.is_open() || self.life.is_forked() {
                return self.next().or_else(|| self.take_kept());
            }
            let word = self.header();
            if word as u32 != 0 {
                return self.take_plain(word).or_else(|| self.take_kept());
            }
            sync::pause();
        }
        None
    }

    /// Keeps the header for a closer look, unless it is none.
    #[cold]
    fn take_later(&mut self, word: u64) -> Option<Item> {
        if word as u32 != 0 {
            self.seen = word;
            self.plain = false;
        }
        None
    }

    /// Takes what was kept for a closer look, if that is the first message of a pack. What else it is shows later.
    #[inline(never)]
    fn take_kept(&mut self) -> Option<Item> {
        if self.seen == 0 {
            return None;
        }
        match self.look_closely() {
            Look::Ready(Ok(item)) => Some(item),
            _ => None,
        }
    }

    /// Takes the frame that `word` published at the head, if it is a plain message.
    #[inline(always)]
    fn take_plain(&mut self, word: u64) -> Option<Item> {
        let len = (word >> 32) as usize;
        // The low half of a data frame's header is its kind and nothing else.
        if word as u32 != Kind::Data as u32 || len > self.largest {
            return self.take_later(word);
        }
        step::at(Step::C2);
        Some(if self.in_place { self.lend(len) } else { self.copy(len) })
    }

    /// Looks for the next message; takes parts and marks on the way.
    #[inline]
    fn look(&mut self) -> Look<Result<Item, End>> {
        match self.next() {
            Some(item) => Look::Ready(Ok(item)),
            None => self.look_closely(),
        }
    }

    /// Loads the header at the head: C1.
    #[inline(always)]
    fn header(&self) -> u64 {
        step::at(Step::C1);
        // ORDERING: Acquire; pairs with P3 in `Core::announce` of the producer. The payload and the next
        // header are read after it. It is loaded once; from there on the word is ours.
        self.data.load_header(self.head, sync::order("relaxed-header", Ordering::Acquire)) // C1
    }

    /// As [`look`](Self::look), where there is nothing, or something special.
    #[inline(never)]
    fn look_closely(&mut self) -> Look<Result<Item, End>> {
        if self.end.is_some() || self.life.is_over() || self.life.is_forked() {
            return Look::Ready(Err(self.judge()));
        }
        // The peer may have hung up since: `next` does not look then.
        if let Some(item) = self.next_packed() {
            return Look::Ready(Ok(item));
        }
        self.release_lent();
        let word = match std::mem::take(&mut self.seen) {
            0 => self.header(),
            seen => seen,
        };
        match word {
            empty if empty as u32 == 0 => {
                Look::Nothing { offset: self.capacity.offset(self.head), seen: 0 }
            }
            word => self.take(word),
        }
    }

    /// Takes the frame that `word` published at the head, whatever it is.
    #[cold]
    #[inline(never)]
    fn take(&mut self, word: u64) -> Look<Result<Item, End>> {
        let taken = self.take_any(word);
        self.settle();
        match taken {
            Ok(Some(item)) => Look::Ready(Ok(item)),
            Ok(None) => Look::Again,
            Err(end) => Look::Ready(Err(end)),
        }
    }

    fn take_any(&mut self, word: u64) -> Result<Option<Item>, End> {
        debug_assert!(self.pack.is_none(), "a frame is taken over an open pack");
        step::at(Step::C2);
        let header = match Header::decode(word, self.capacity.largest_payload()) {
            Ok(header) => header, // C2
            Err(fault) => return Err(self.fault(fault)),
        };
        if header.kind != Kind::Data || self.parts.is_some() {
            return self.take_other(header);
        }
        if u64::from(header.len) > self.max_message {
            return Err(self.fault(Fault::TooLarge(header.len.into())));
        }
        let len = header.len as usize;
        Ok(Some(if self.in_place { self.lend(len) } else { self.copy(len) }))
    }

    /// Lends the frame at the head in place; the next receive releases it.
    #[inline]
    fn lend(&mut self, len: usize) -> Item {
        let tag = self.tag();
        self.lent = frame_size(len as u64);
        let start = self.capacity.offset(self.head) + HEADER as usize;
        Item { start, len, tag, place: IN_PLACE }
    }

    /// Loads the tag of the frame at the head, whose header was seen.
    #[inline(always)]
    fn tag(&self) -> u64 {
        // ORDERING: Relaxed; published by C1, as the payload is.
        self.data.load_tag(self.head, Ordering::Relaxed)
    }

    /// Copies a whole message out of the frame at the head, and releases that.
    #[inline(always)]
    fn copy(&mut self, len: usize) -> Item {
        let tag = self.tag();
        let frame = frame_size(len as u64);
        let at = self.head;
        if mutant("release-before-copy") {
            self.release(frame);
            self.publish();
            self.data.copy_payload_out(at, self.buffer.extend(0, len));
        } else {
            step::at(Step::C3);
            self.data.copy_payload_out(at, self.buffer.extend(0, len)); // C3
            self.release(frame); // C4
        }
        Item { start: 0, len, tag, place: ALONE }
    }

    /// Says again whether anything is special. Whoever changes what it asks about calls it.
    fn settle(&mut self) {
        self.plain =
            self.seen == 0 && self.end.is_none() && self.pack.is_none() && self.parts.is_none();
    }

    /// Everything that is not a plain message.
    #[cold]
    fn take_other(&mut self, header: Header) -> Result<Option<Item>, End> {
        let tag = self.tag();
        let payload = self.capacity.offset(self.head) + HEADER as usize;
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
                if let Err(fault) = self.check_pack(tag) {
                    return Err(self.fault(fault));
                }
                self.pack = Some(0);
                return Ok(self.next_packed());
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
                whole.then_some(Item { start: 0, len: arrived, tag, place: ALONE })
            }
            // A part without its first, or anything else in the middle of a message.
            _ => return Err(self.fault(Fault::Parts)),
        };
        self.release(frame);
        Ok(item)
    }

    /// Checks the pack in the buffer, which is not empty: that its messages fill it, and none is too large.
    fn check_pack(&mut self, tag: u64) -> Result<(), Fault> {
        self.each = 0;
        let mut rest = self.buffer.bytes();
        if tag != 0 {
            if tag > self.largest as u64 {
                return Err(Fault::TooLarge(tag));
            }
            self.each = tag as usize;
            self.stride = self.each.next_multiple_of(8);
            return if rest.len().is_multiple_of(self.stride) { Ok(()) } else { Err(Fault::Pack) };
        }
        loop {
            let entry = Entry::decode(rest)?;
            if entry.len as usize > self.largest {
                return Err(Fault::TooLarge(entry.len.into()));
            }
            rest = &rest[Entry::size(entry.len.into()) as usize..];
            if rest.is_empty() {
                return Ok(());
            }
        }
    }

    /// The next message of the open pack, which was checked; `None` if none is open.
    #[inline(always)]
    fn next_packed(&mut self) -> Option<Item> {
        let at = self.pack?;
        let (start, len, tag, next) = if self.each != 0 {
            (at, self.each, 0, at + self.stride)
        } else {
            let header = self.buffer.piece(at, Entry::SIZE as usize);
            let Entry { len, tag } = Entry::read(header.first_chunk()?);
            let next = at + Entry::size(len.into()) as usize;
            (at + Entry::SIZE as usize, len as usize, tag, next)
        };
        if next < self.buffer.len() {
            self.pack = Some(next);
        } else {
            self.pack = None;
            self.settle();
        }
        Some(Item { start, len, tag, place: IN_PACK })
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
            && self.data.load_header(self.head, Ordering::Relaxed) as u32 == 0
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
            self.settle();
        }
        self.end.unwrap_or(End::HungUp)
    }

    #[cold]
    fn fault(&mut self, fault: Fault) -> End {
        self.pack = None;
        let end = self.life.fail(fault);
        self.end = Some(end);
        self.settle();
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
