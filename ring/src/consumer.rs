//! The consumer: the receiving half of a channel, which reads frames and waits for them.
//!
//! How a frame is read, step by step, is `reader.rs`'s business; how one sleeps, [`crate::wait`]'s.

use std::time::Duration;

use crate::buffer::Buffer;
use crate::counters::{self, Stats, Waits};
use crate::fault::Fault;
use crate::heads::{Head, Heads, RX_ASLEEP};
pub use crate::item::Item;
use crate::lane::{Side, Terms};
use crate::life::End;
use crate::position::Capacity;
use crate::reader::Reader;
use crate::sync::{Arc, Instant, mutant};
use crate::wait::{Look, PARTS, Post, Sleeper, Stopped, Wait};

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

/// A wait that has begun; see [`Consumer::begin_wait`].
#[derive(Debug)]
#[must_use = "a wait that has begun is gone on with"]
pub struct Begun {
    /// How long it spins before it sleeps; `None` is for ever.
    budget: Option<Duration>,
    /// It has had its first looks.
    looked: bool,
}

impl Begun {
    #[inline]
    fn spins(&self) -> bool {
        self.budget != Some(Duration::ZERO)
    }
}

/// The receiving half of a channel. Dropping it tells the producer that nobody reads.
pub struct Consumer {
    pub(crate) reader: Reader,
    pub(crate) sleeper: Sleeper<{ counters::RX }>,
    pub(crate) heads: Arc<Heads>,
    pub(crate) post: Post,
    /// What a wait has found. Here, and not returned with an error: what comes back through memory that way is loaded by
    /// pairs of words, which wait for the stores of each.
    found: Item,
}

impl Consumer {
    pub(crate) fn new(side: &Side, terms: &Terms, heads: Arc<Heads>) -> Self {
        let shared =
            Head::new(terms.start, side.mine.clone(), side.theirs.clone(), Arc::clone(&side.life));
        heads.add(&shared);
        Self {
            reader: Reader::new(side, terms, shared),
            sleeper: Sleeper::new(terms.wait, Waits::new(side.mine.clone())),
            heads,
            post: Post {
                life: Arc::clone(&side.life),
                shared: side.data_in.clone(),
                mine: side.mine.clone(),
                asleep: RX_ASLEEP,
            },
            found: Item::NOTHING,
        }
    }

    /// Takes the next message, if there is one now.
    ///
    /// # Errors
    ///
    /// [`TryRecvError::Empty`], [`TryRecvError::Ended`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<Item, TryRecvError> {
        let item = match self.next_ready() {
            Some(item) => item,
            None => self.try_closely()?,
        };
        Ok(self.align(item).unwrap_or(item))
    }

    /// Takes the next message if it lies there as most do: whole, in a frame of its own or in an open pack.
    ///
    /// `None` says nothing, and has to be followed by [`try_recv`](Self::try_recv), [`recv`](Self::recv) or
    /// [`next_within`](Self::next_within), which look closely, see ends and tell the producer what is free. It is here
    /// for callers that want the common case among their own instructions, and an item in registers. Its bytes begin
    /// at a multiple of 8, see [`align`](Self::align).
    #[inline(always)]
    pub fn next_ready(&mut self) -> Option<Item> {
        self.reader.next()
    }

    /// As [`next_ready`](Self::next_ready), if the message is `len` bytes long: for callers that know, when they are compiled,
    /// how long most are. Its bytes; there is no tag. They begin at a multiple of 16, but if `packed` allows it, of 8.
    #[inline(always)]
    pub fn next_of(&mut self, len: usize, packed: bool) -> Option<&[u8]> {
        self.reader.next_of(len, packed)
    }

    /// The item that these bytes are, which [`next_of`](Self::next_of) or [`next_soon_of`](Self::next_soon_of) found last.
    pub fn item_of(&self, bytes: *const [u8]) -> Item {
        self.reader.item_of(bytes)
    }

    /// As [`next_ready`](Self::next_ready), where [`next_of`](Self::next_of) never finds anything: in a pack of other
    /// messages, or if the peer is trusted.
    #[inline(always)]
    pub fn next_other(&mut self) -> Option<Item> {
        if self.reader.copies_frames() { None } else { self.reader.next() }
    }

    /// Whether messages are left that came in one frame with the last one.
    #[inline]
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.reader.has_pack()
    }

    /// The messages that are left of those that came in one frame with the last one, if all are `len` bytes long and
    /// without a tag: back to back, each padded to a multiple of 8. To be taken by [`skip_alike`](Self::skip_alike).
    #[inline]
    #[must_use]
    pub fn alike(&self, len: usize) -> &[u8] {
        self.reader.alike(len)
    }

    /// Takes the next `count` of [`alike`](Self::alike).
    #[inline]
    pub fn skip_alike(&mut self, count: usize) {
        self.reader.skip_alike(count);
    }

    /// Moves the message received last so that its bytes begin at a multiple of 16, and says where it is then; `None` if
    /// that was not needed, or it is one of an earlier receive.
    #[inline(always)]
    pub fn align(&mut self, item: Item) -> Option<Item> {
        self.reader.align(item)
    }

    /// As [`try_recv`](Self::try_recv), where there is nothing, or something special.
    fn try_closely(&mut self) -> Result<Item, TryRecvError> {
        match self.reader.look() {
            Look::Ready(Ok(item)) => Ok(item),
            Look::Ready(Err(end)) => Err(end.into()),
            Look::Nothing { .. } if self.reader.life().is_open() => {
                self.reader.cursor.publish();
                Err(TryRecvError::Empty)
            }
            _ => self.try_further(),
        }
    }

    /// Looks again, after part of a message or when it may have ended: the rest is taken, and what was
    /// published before the end.
    #[cold]
    fn try_further(&mut self) -> Result<Item, TryRecvError> {
        let over = !self.reader.life().is_open();
        if over && mutant("end-without-look") {
            return Err(self.reader.judge().into());
        }
        let found =
            (0..PARTS).map(|_| self.reader.look()).find(|found| !matches!(found, Look::Again));
        match found {
            Some(Look::Ready(Ok(item))) => Ok(item),
            Some(Look::Ready(Err(end))) => Err(end.into()),
            Some(Look::Nothing { .. }) if over => Err(self.reader.judge().into()),
            _ => {
                self.reader.cursor.publish();
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
            None => {
                let begun = self.begin_wait();
                self.next_within(&begun, deadline).map(|()| self.found)
            }
        };
        match found {
            Ok(item) => Ok(self.align(item).unwrap_or(item)),
            Err(Unready::TimedOut) => Err(RecvError::TimedOut),
            Err(Unready::Ended) => Err(RecvError::Ended(self.reader.judge())),
        }
    }

    /// Begins a wait for the next message: decides how long to spin.
    #[inline]
    pub fn begin_wait(&mut self) -> Begun {
        if self.reader.life().is_forked() {
            return Begun { budget: Some(Duration::ZERO), looked: true }; // the parent's heads and clocks are not ours to touch
        }
        self.reader.release_lent();
        Begun { budget: self.sleeper.budget(), looked: false }
    }

    /// As [`next_of`](Self::next_of), looking some times if the wait spins. It is followed by
    /// [`next_within`](Self::next_within) if it finds nothing.
    #[inline(always)]
    pub fn next_soon_of(&mut self, begun: &mut Begun, len: usize) -> Option<&[u8]> {
        if !begun.spins() || !self.reader.copies_frames() {
            return None;
        }
        begun.looked = true;
        self.reader.next_soon_of(len)
    }

    /// Looks some times for a message that is on its way, if waits spin, until `stop` says so. `None` says nothing, as that of
    /// [`next_ready`](Self::next_ready). Its bytes begin at a multiple of 8. One that is `usual` bytes long is taken the fastest.
    #[inline(always)]
    pub fn next_soon_unless(&mut self, usual: usize, stop: impl FnMut() -> bool) -> Option<Item> {
        if !self.sleeper.spins() || self.reader.life().is_forked() {
            return self.reader.next();
        }
        self.reader.release_lent();
        self.reader.next_soon_unless(usual, stop)
    }

    /// As [`recv`](Self::recv), with an error that is one word, [`ended`](Self::ended) knows the rest. The message is
    /// [`found`](Self::found) then, and its bytes begin at a multiple of 8.
    ///
    /// # Errors
    ///
    /// [`Unready`].
    #[inline(never)]
    pub fn next_within(&mut self, begun: &Begun, deadline: Option<Instant>) -> Result<(), Unready> {
        let reader = &mut self.reader;
        if reader.life().is_forked() {
            return Err(Unready::Ended);
        }
        reader.release_lent();
        if begun.spins()
            && !begun.looked
            && let Some(item) = reader.next_soon()
        {
            self.found = item;
            return Ok(());
        }
        // Not sooner: an answer that comes within the first looks finds a producer with room.
        reader.cursor.publish();
        let place = self.post.place(&self.heads);
        let look = || {
            let found = reader.look();
            if matches!(found, Look::Nothing { .. }) {
                reader.cursor.publish(); // what was taken since and is no message: parts, a message given up
            }
            found
        };
        match self.sleeper.wait(&place, deadline, begun.budget, look) {
            Ok(Ok(item)) => {
                self.found = item;
                Ok(())
            }
            Ok(Err(_)) | Err(Stopped::Ended) => {
                self.reader.judge();
                Err(Unready::Ended)
            }
            Err(Stopped::TimedOut) => Err(Unready::TimedOut),
        }
    }

    /// The message that [`next_within`](Self::next_within) has taken.
    #[inline(always)]
    pub fn found(&self) -> Item {
        self.found
    }

    /// How the direction ended, if a receive has said that it has.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        if self.reader.life().is_forked() { Some(End::Forked) } else { self.reader.end() }
    }

    /// The bytes of the message received last.
    ///
    /// They are a private copy that nobody else can change (but see [`trust_peer`](Self::trust_peer)).
    #[inline]
    #[must_use]
    pub fn bytes(&self, item: &Item) -> &[u8] {
        self.reader.bytes(item)
    }

    /// Takes the message out of the consumer, which goes on with `spare` as its buffer.
    pub fn take(&mut self, item: &Item, spare: Buffer) -> Buffer {
        self.reader.take(item, spare)
    }

    /// From now on messages may have file descriptors, which whoever owns the control socket finds: see
    /// [`Host::fetch_fds`](crate::Host::fetch_fds). Until then one that claims some is a fault.
    pub fn take_fds(&mut self) {
        self.reader.take_fds();
    }

    /// Reads whole frames in place from now on, without copying them; those that file descriptors came with are copied.
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
        // SAFETY: passed on.
        unsafe { self.reader.trust_peer() };
    }

    /// The peer broke a rule that only the reader of messages knows: the session fails with it.
    pub fn fail(&mut self, fault: Fault) -> End {
        self.reader.fault(fault)
    }

    /// Publishes what was received, for the producer to use again, without waiting for it to be due.
    pub fn publish(&mut self) {
        if !self.reader.life().is_forked() {
            self.reader.release_lent();
            self.reader.cursor.publish();
        }
    }

    /// What this half did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        // In a forked child the lock that guards them may be held for good.
        let wakes = if self.reader.life().is_forked() { 0 } else { self.reader.cursor.wakes() };
        self.reader.stats(Stats { wakes, ..self.sleeper.counted.stats() })
    }

    /// Bytes the lane holds.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.reader.cursor.capacity()
    }

    /// The negotiated largest message, in bytes.
    #[must_use]
    pub fn largest_message(&self) -> u64 {
        self.reader.max_message()
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

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.reader.life().is_forked() {
            return; // the parent's; its registry and its memory are not ours to touch
        }
        self.heads.remove(self.reader.cursor.shared());
        self.reader.release_lent();
        self.reader.cursor.leave();
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("capacity", &self.reader.cursor.capacity())
            .field("head", &self.reader.cursor.position())
            .field("end", &self.reader.end())
            .finish_non_exhaustive()
    }
}
