//! Reading frames off a lane, without waiting: what a consumer does once something lies there.
//!
//! It trusts nothing it reads: a header is loaded once and decoded into plain data, a payload is copied once
//! into a buffer of our own, and only then looked at.
//!
//! | step | what |
//! |---|---|
//! | C1 | load the header at the head (Acquire); zero is empty |
//! | C2 | decode it; a broken rule is a fault |
//! | C3 | copy the payload out |
//! | C4 | release the frame: `Head::release`, and publish it when that is due |
//!
//! C1, C3 and C4 are the [`Cursor`]'s. Here is what most frames are, a plain message each; [`packs`] takes the messages of an open
//! pack, and [`special`] is the closer look at everything else.
//!
//! Not here: what the bytes mean. They are whole messages, as long as their headers said, and anything.

mod packs;
mod special;

use crate::buffer::Buffer;
use crate::counters::Stats;
use crate::cursor::Cursor;
use crate::frame::{Header, Kind};
use crate::heads::Head;
use crate::item::{ALONE, IN_PACK, IN_PLACE, Item, WITH_FDS};
use crate::lane::{Side, Terms};
use crate::life::{End, Life, OPEN};
use crate::pack::Pack;
use crate::position::frame_size;
use crate::step::{self, Step};
use crate::sync::{self, Arc, Ordering, WordRef, mutant};
use crate::wait::FIRST;

use self::special::Parts;

/// Reads frames, and lends or hands out the messages in them.
// Aligned, so that no field of the hot path ever lies across two cache lines.
#[repr(align(64))]
pub(crate) struct Reader {
    pub(crate) cursor: Cursor,
    buffer: Buffer,
    life: Arc<Life>,
    /// Of `life`.
    status: WordRef,
    /// The largest message that one frame may hold: by the lane, and by what was negotiated.
    largest: usize,
    /// What comes next is a frame, to be copied, or nothing: there is no end, no open pack, no message in parts, no
    /// header kept. One question on the hot path instead of five; see [`Reader::settle`].
    plain: bool,
    /// The same, but that the frame is lent in place.
    lending: bool,
    /// Whole frames are lent in place: the peer is trusted not to change them.
    in_place: bool,
    /// Messages may have file descriptors.
    takes_fds: bool,
    /// Bytes of the frame lent in place, to be released by the next receive.
    lent: u64,
    /// A message in parts, as far as it has come.
    parts: Option<Parts>,
    pack: Pack,
    /// A header that was loaded and is for a closer look, or zero; and its tag, if that was too. Neither is loaded again.
    seen: u64,
    seen_tag: Option<u64>,
    max_message: u64,
    end: Option<End>,
    /// Where the reader was when it first took a frame knowing that the peer has gone.
    gone_at: Option<u64>,
    /// Messages received when the lane was last found empty, or a pack was read to its end.
    run_began: u64,
}

/// Messages in a row, each in a frame of its own, after which a reader that spins lets the writer get ahead.
const RUN: u64 = 64;

impl Reader {
    pub(crate) fn new(side: &Side, terms: &Terms, shared: Arc<Head>) -> Self {
        Self {
            cursor: Cursor::new(side, terms, shared),
            buffer: Buffer::new(),
            life: Arc::clone(&side.life),
            status: side.life.status(),
            largest: terms.max_message.min(side.capacity_in.largest_payload()) as usize,
            plain: true,
            lending: false,
            in_place: false,
            takes_fds: false,
            lent: 0,
            parts: None,
            pack: Pack::default(),
            seen: 0,
            seen_tag: None,
            max_message: terms.max_message,
            end: None,
            gone_at: None,
            run_began: 0,
        }
    }

    /// Whether there may be something to read for this process, and no end to report.
    #[inline(always)]
    fn is_open(&self) -> bool {
        // ORDERING: Relaxed; it promises nothing, and what says otherwise is judged by `Life`.
        self.status.load(Ordering::Relaxed) == OPEN || self.life.is_open()
    }

    /// The next message, if it lies there as most do: whole, in a frame of its own or in the open pack.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Item> {
        if !self.is_open() {
            return None;
        }
        if !self.plain {
            // Not out of line: an item that comes back through memory, word by word, is loaded by pairs of words,
            // which wait until the stores have reached the cache.
            if !self.lending {
                return self.next_packed().or_else(|| self.take_kept());
            }
            self.release_lent();
        }
        let word = Cursor::header(self.cursor.frame());
        self.take_plain(word)
    }

    /// The next message, if it lies there and is `len` bytes long: in a frame of its own, or in an open pack of messages
    /// that are all so long, if `packed`. There its bytes begin at a multiple of 8 only.
    ///
    /// A length that the caller knows makes this short, and what it makes of the frame does not hang on what is
    /// loaded: the processor goes on to the next while this one is on its way.
    #[inline(always)]
    pub(crate) fn next_of(&mut self, len: usize, packed: bool) -> Option<&[u8]> {
        if !self.is_open() {
            return None;
        }
        if !self.plain {
            return if packed { self.next_alike(len) } else { None };
        }
        let word = Cursor::header(self.cursor.frame());
        self.take_word_of(len, word)
    }

    /// See [`Consumer::item_of`](crate::consumer::Consumer::item_of).
    pub(crate) fn item_of(&self, bytes: *const [u8]) -> Item {
        let start = bytes.addr().wrapping_sub(self.buffer.bytes().as_ptr().addr());
        let place = if start == 0 { ALONE } else { IN_PACK };
        Item { start, len: bytes.len(), tag: 0, place }
    }

    /// Looks some times for a message that is on its way; not at anything else.
    #[inline(always)]
    pub(crate) fn next_soon(&mut self) -> Option<Item> {
        self.next_soon_unless(0, || false)
    }

    /// The same, until `stop` says so. One that is `usual` bytes long is taken the fastest: what is made of the frame does not hang
    /// on what is loaded, as in [`next_of`](Self::next_of).
    #[inline(always)]
    pub(crate) fn next_soon_unless(
        &mut self,
        usual: usize,
        mut stop: impl FnMut() -> bool,
    ) -> Option<Item> {
        let due = Header::new(Kind::Data, usual as u32).word();
        self.let_ahead();
        for _ in 0..FIRST {
            if !(self.plain || self.lending) || !self.is_open() {
                return self.next();
            }
            let word = Cursor::header(self.cursor.frame());
            if word == due && self.plain && usual <= self.largest {
                step::at(Step::C2);
                return Some(self.copy(usual));
            }
            if word as u32 != 0 {
                return self.take_plain(word).or_else(|| self.take_kept());
            }
            if stop() {
                break;
            }
            sync::pause();
        }
        None
    }

    /// As [`next_of`](Self::next_of), and as [`next_soon`](Self::next_soon).
    #[inline(always)]
    pub(crate) fn next_soon_of(&mut self, len: usize) -> Option<&[u8]> {
        let mut looks = FIRST;
        self.let_ahead();
        while self.plain && self.is_open() {
            let word = Cursor::header(self.cursor.frame());
            if word as u32 != 0 {
                return self.take_word_of(len, word);
            }
            looks -= 1;
            if looks == 0 {
                break;
            }
            sync::pause();
        }
        None
    }

    /// The lane is empty. After a long run, a moment without a look: a reader at the writer's heels takes each line away
    /// while it is being written, and both wait for it twice.
    fn let_ahead(&mut self) {
        if !(self.plain || self.lending) {
            return; // something is there, for a closer look
        }
        let received = self.cursor.traffic.messages();
        if received.saturating_sub(self.run_began) >= RUN {
            sync::moment();
        }
        self.run_began = received;
    }

    /// Takes the frame that `word` published at the head, if it is a plain message.
    #[inline(always)]
    fn take_plain(&mut self, word: u64) -> Option<Item> {
        let len = (word >> 32) as usize;
        // The low half of a data frame's header is its kind and nothing else.
        if word as u32 != Kind::Data as u32 || len > self.largest {
            self.take_later(word);
            return None;
        }
        step::at(Step::C2);
        Some(if self.in_place { self.lend(len) } else { self.copy(len) })
    }

    /// Takes the frame that `word` published at the head, if it is a plain message of `len` bytes.
    #[inline(always)]
    fn take_word_of(&mut self, len: usize, word: u64) -> Option<&[u8]> {
        let due = Header::new(Kind::Data, len as u32).word();
        if word != due || len > self.largest {
            return self.take_pack_of(len, word);
        }
        step::at(Step::C2);
        Some(self.copy_out(len))
    }

    /// Lends the frame at the head in place; the next receive releases it.
    #[inline]
    fn lend(&mut self, len: usize) -> Item {
        let tag = self.cursor.tag();
        self.lent = frame_size(len as u64);
        self.cursor.shared().lends(self.lent);
        self.cursor.traffic.count(len as u64);
        Item { start: self.cursor.payload(), len, tag, place: IN_PLACE }
    }

    /// Copies a whole message out of the frame at the head, and releases that.
    #[inline(always)]
    fn copy(&mut self, len: usize) -> Item {
        let tag = self.cursor.tag();
        self.copy_out(len);
        Item { start: 0, len, tag, place: ALONE }
    }

    /// Copies the payload of the frame at the head, a whole message, and releases that.
    #[inline(always)]
    fn copy_out(&mut self, len: usize) -> &[u8] {
        let Self { cursor, buffer, .. } = self;
        let frame = frame_size(len as u64);
        let into = buffer.extend(0, len);
        if mutant("release-before-copy") {
            cursor.release_first(frame, into);
        } else {
            Cursor::copy_payload(cursor.frame(), into); // C3
            cursor.release(frame); // C4
        }
        cursor.traffic.count(len as u64);
        into
    }

    /// Says again whether anything is special. Whoever changes what it asks about calls it.
    fn settle(&mut self) {
        let nothing =
            self.seen == 0 && self.end.is_none() && !self.pack.is_open() && self.parts.is_none();
        self.plain = nothing && !self.in_place;
        self.lending = nothing && self.in_place;
    }

    /// Whether what comes next is a frame to be copied, or nothing.
    #[inline(always)]
    pub(crate) fn copies_frames(&self) -> bool {
        self.plain
    }

    /// What this half did, with how it waited and how often it woke the peer.
    pub(crate) fn stats(&self, waits: Stats) -> Stats {
        let stats = self.cursor.traffic.among(waits);
        let (messages, bytes) = self.pack.alike_left();
        Stats { messages: stats.messages - messages, bytes: stats.bytes - bytes, ..stats }
    }

    /// Releases what was lent, if anything is.
    #[inline]
    pub(crate) fn release_lent(&mut self) {
        if self.lent != 0 {
            let frame = std::mem::take(&mut self.lent);
            self.cursor.shared().lends(0);
            self.cursor.release(frame);
        }
    }

    /// See [`Consumer::align`](crate::consumer::Consumer::align).
    #[inline(always)]
    pub(crate) fn align(&mut self, item: Item) -> Option<Item> {
        // What comes behind it was checked and must not be moved into.
        let behind = if self.pack.is_open() { self.pack.rest().0 } else { self.buffer.len() };
        if item.place != IN_PACK
            || item.start & 15 == 0
            || item.start.saturating_add(item.len) > behind
        {
            return None;
        }
        let start = self.buffer.move_down(item.start, item.len);
        Some(Item { start, ..item })
    }

    /// See [`Consumer::bytes`](crate::consumer::Consumer::bytes).
    #[inline]
    pub(crate) fn bytes(&self, item: &Item) -> &[u8] {
        if item.place == IN_PLACE {
            return self.in_place(item);
        }
        self.buffer.piece(item.start, item.len)
    }

    /// See [`Consumer::take`](crate::consumer::Consumer::take).
    pub(crate) fn take(&mut self, item: &Item, mut spare: Buffer) -> Buffer {
        // An item of an earlier receive must not take away what later ones rely on.
        let alone = matches!(item.place, ALONE | WITH_FDS);
        let whole = alone && item.len == self.buffer.len();
        if whole && self.parts.is_none() && !self.pack.is_open() {
            spare.clear();
            return std::mem::replace(&mut self.buffer, spare);
        }
        spare.copy_from(self.bytes(item));
        spare
    }

    /// See [`Consumer::take_fds`](crate::consumer::Consumer::take_fds).
    pub(crate) fn take_fds(&mut self) {
        self.takes_fds = true;
    }

    /// Lends whole frames in place from now on.
    ///
    /// # Safety
    ///
    /// As for [`Consumer::trust_peer`](crate::consumer::Consumer::trust_peer).
    #[allow(unsafe_code)]
    pub(crate) unsafe fn trust_peer(&mut self) {
        self.in_place = true;
        self.settle();
    }

    #[allow(unsafe_code)]
    fn in_place(&self, item: &Item) -> &[u8] {
        let start = self.cursor.payload();
        if item.start != start || frame_size(item.len as u64) != self.lent || self.life.is_forked()
        {
            return &[]; // of an earlier receive, or of another process, where the lane is not mapped
        }
        // SAFETY: (1) `lent` is set only after `trust_peer`, whose caller vouches that the peer does not
        // change a published frame. (2) The item lies in the frame that is lent now, as was just checked;
        // it is not released before the next receive or `publish`, which need `&mut self`, so the producer
        // does not write over it either. (3) It lies in bounds: the offset is masked, the frame at most a
        // quarter of the lane, and the mirror follows.
        unsafe { self.cursor.slice(item.start, item.len) }
    }

    /// The negotiated largest message.
    pub(crate) fn max_message(&self) -> u64 {
        self.max_message
    }

    /// What the session is.
    pub(crate) fn life(&self) -> &Life {
        &self.life
    }
}
