//! An open pack: messages that came in one frame, were checked as a whole, and lie in the reader's buffer.
//!
//! How a pack is filled is [`crate::stage`]'s business.

use crate::buffer::Buffer;
use crate::fault::Fault;
use crate::frame::Entry;
use crate::item::{IN_PACK, Item};

/// What is left of a pack.
#[derive(Clone, Copy, Default)]
pub(crate) struct Pack {
    /// Where its next message begins, and where the last one ends: the same if none is open.
    at: usize,
    end: usize,
    /// Bytes of each of its messages, if they are alike. Zero if each has an entry, or none is open.
    each: usize,
}

/// Bytes from one message to the next, if all are `each` bytes long.
const fn stride(each: usize) -> usize {
    each.next_multiple_of(8)
}

/// How many messages a pack of these bytes, with this tag of its frame, holds; `None` if it is none.
pub(crate) fn messages(bytes: &[u8], tag: u64) -> Option<u64> {
    if tag != 0 {
        let each = usize::try_from(tag).ok().filter(|each| *each <= bytes.len())?;
        return Some(Pack::of_alike(bytes.len(), each)?.alike_left().0);
    }
    let (mut rest, mut count) = (bytes, 0);
    while !rest.is_empty() {
        let entry = Entry::decode(rest).ok()?;
        rest = rest.get(Entry::size(entry.len.into()) as usize..)?;
        count += 1;
    }
    Some(count)
}

impl Pack {
    /// The pack that these bytes, which are some, and its frame's tag are; if its messages fill it and none is larger
    /// than the largest.
    pub(crate) fn of(bytes: &[u8], tag: u64, largest: usize) -> Result<Self, Fault> {
        if tag != 0 {
            if tag > largest as u64 {
                return Err(Fault::TooLarge(tag));
            }
            return Self::of_alike(bytes.len(), tag as usize).ok_or(Fault::Pack);
        }
        let mut rest = bytes;
        loop {
            let entry = Entry::decode(rest)?;
            if entry.len as usize > largest {
                return Err(Fault::TooLarge(entry.len.into()));
            }
            rest = &rest[Entry::size(entry.len.into()) as usize..];
            if rest.is_empty() {
                return Ok(Self { at: 0, end: bytes.len(), each: 0 });
            }
        }
    }

    /// So many bytes of messages of `each`, which is not zero; if they fill them.
    #[inline(always)]
    pub(crate) fn of_alike(bytes: usize, each: usize) -> Option<Self> {
        bytes.is_multiple_of(stride(each)).then_some(Self { at: 0, end: bytes, each })
    }

    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        self.at < self.end
    }

    /// Messages of one length that are left, and their bytes. Of others, none are said to be.
    pub(crate) fn alike_left(&self) -> (u64, u64) {
        if self.each == 0 {
            return (0, 0);
        }
        let count = (self.end - self.at) / stride(self.each);
        (count as u64, (count * self.each) as u64)
    }

    /// Whether its messages are all `len` bytes long, and a pack is open.
    #[inline(always)]
    pub(crate) fn is_of(&self, len: usize) -> bool {
        len != 0 && self.each == len
    }

    /// The next message; whether it has an entry. `None` if no pack is open.
    #[inline(always)]
    pub(crate) fn next(&mut self, buffer: &Buffer) -> Option<(Item, bool)> {
        if !self.is_open() {
            return None;
        }
        if self.each != 0 {
            let (start, len) = (self.next_alike(self.each), self.each);
            return Some((Item { start, len, tag: 0, place: IN_PACK }, false));
        }
        let start = self.at + Entry::SIZE as usize;
        let header = buffer.within(self.at, Entry::SIZE as usize)?;
        let Entry { len, tag } = Entry::read(header.first_chunk()?);
        self.at += Entry::size(len.into()) as usize;
        Some((Item { start, len: len as usize, tag, place: IN_PACK }, true))
    }

    /// Where the next message of an open pack of such begins, which is taken so.
    #[inline(always)]
    pub(crate) fn next_alike(&mut self, len: usize) -> usize {
        let at = self.at;
        self.at += stride(len);
        at
    }

    /// Takes the next `count` of messages of one length, or as many as there are.
    pub(crate) fn skip_alike(&mut self, count: usize) {
        let (left, _) = self.alike_left();
        self.at += count.min(left as usize) * stride(self.each);
    }

    /// Where the bytes that are left begin, and how many there are.
    pub(crate) fn rest(&self) -> (usize, usize) {
        (self.at, self.end - self.at)
    }
}
