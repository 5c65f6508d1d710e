//! The open pack of a [`Reader`]: messages that came in one frame, taken one by one.
//!
//! What a pack is, and whether one is whole, is [`crate::pack`]'s business. It was copied into the buffer before it was looked at,
//! and its frame is released.

use super::Reader;
use crate::cursor::Cursor;
use crate::frame::{Entry, Kind};
use crate::heads::Left;
use crate::item::Item;
use crate::pack::Pack;
use crate::position::frame_size;
use crate::step::{self, Step};

impl Reader {
    /// Whether messages of a pack are left.
    pub(crate) fn has_pack(&self) -> bool {
        self.pack.is_open()
    }

    /// What is left of the open pack, if its messages are alike and `len` bytes long: them, back to back, each padded to 8.
    pub(crate) fn alike(&self, len: usize) -> &[u8] {
        if !self.pack.is_of(len) || !self.is_open() {
            return &[];
        }
        let (at, bytes) = self.pack.rest();
        self.buffer.within(at, bytes).unwrap_or(&[])
    }

    /// The next `count` of those were taken.
    pub(crate) fn skip_alike(&mut self, count: usize) {
        self.pack.skip_alike(count);
        if !self.pack.is_open() {
            self.close_pack();
        }
    }

    /// The next message of the open pack, if its messages are alike and `len` bytes long.
    #[inline(always)]
    pub(super) fn next_alike(&mut self, len: usize) -> Option<&[u8]> {
        if !self.pack.is_of(len) {
            return None;
        }
        let at = self.pack.next_alike(len);
        if !self.pack.is_open() {
            self.close_pack();
        }
        self.buffer.within(at, len)
    }

    /// Opens the frame at the head, if it is a pack of messages that are all `len` bytes long, and takes the first of
    /// them. Anything else is kept for a closer look, a pack with a fault too.
    #[inline(never)]
    pub(super) fn take_pack_of(&mut self, len: usize, word: u64) -> Option<&[u8]> {
        let bytes = (word >> 32) as usize;
        let largest = self.cursor.capacity().largest_payload();
        // As in `Header::decode`, of which the rest is that the low half is the kind and nothing else.
        let fits = bytes >= Entry::SIZE as usize && bytes as u64 <= largest;
        if word as u32 != Kind::Pack as u32 || !fits || len == 0 || len > self.largest {
            self.take_later(word);
            return None;
        }
        step::at(Step::C2);
        let tag = self.cursor.tag();
        let Some(pack) = Pack::of_alike(bytes, len).filter(|_| tag == len as u64) else {
            self.seen_tag = Some(tag);
            self.take_later(word);
            return None;
        };
        let Self { cursor, buffer, .. } = self;
        Cursor::copy_payload(cursor.frame(), buffer.extend(0, bytes));
        cursor.release(frame_size(bytes as u64));
        self.open_pack(pack);
        self.plain = false;
        self.next_alike(len)
    }

    /// Opens the pack that lies in the buffer.
    pub(super) fn open_pack(&mut self, pack: Pack) {
        self.pack = pack;
        // Messages that are alike are counted at once, and not one by one as they are taken: see `stats`.
        let (messages, bytes) = pack.alike_left();
        self.cursor.traffic.count_many(messages, bytes);
        self.cursor.shared().leaves(Left::Messages);
    }

    /// The next message of the open pack; `None` if none is open.
    #[inline(always)]
    pub(super) fn next_packed(&mut self) -> Option<Item> {
        let (item, has_entry) = self.pack.next(&self.buffer)?;
        if has_entry {
            self.cursor.traffic.count(item.len as u64);
        }
        if !self.pack.is_open() {
            self.close_pack();
        }
        Some(item)
    }

    /// The pack was read to its end.
    #[inline(never)]
    fn close_pack(&mut self) {
        self.pack = Pack::default();
        self.cursor.shared().leaves(Left::Nothing);
        self.run_began = self.cursor.traffic.messages();
        self.settle();
    }
}
