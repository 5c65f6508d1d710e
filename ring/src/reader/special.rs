//! The closer look of a [`Reader`]: at whatever is no plain message in a frame of its own, and at ends.
//!
//! Messages in parts or with file descriptors, packs as they come, marks, faults. Its steps are those of [`super`]; a header that was
//! loaded there is not loaded again here.

use super::Reader;
use crate::cursor::Cursor;
use crate::fault::Fault;
use crate::frame::{Header, Kind};
use crate::heads::Left;
use crate::item::{ALONE, Item, WITH_FDS};
use crate::life::End;
use crate::pack::Pack;
use crate::position::frame_size;
use crate::step::{self, Step};
use crate::sync::mutant;
use crate::wait::Look;

/// How far a message in parts has come.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    total: u64,
    arrived: usize,
    tag: u64,
}

impl Reader {
    /// Looks for the next message; takes parts and marks on the way.
    #[inline]
    pub(crate) fn look(&mut self) -> Look<Result<Item, End>> {
        match self.next() {
            Some(item) => Look::Ready(Ok(item)),
            None => self.look_closely(),
        }
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
            0 => Cursor::header(self.cursor.frame()),
            seen => seen,
        };
        match word {
            empty if empty as u32 == 0 => Look::Nothing { offset: self.cursor.offset(), seen: 0 },
            word => self.take_frame(word),
        }
    }

    /// Keeps the header for a closer look, unless it is none.
    #[cold]
    #[inline(never)]
    pub(super) fn take_later(&mut self, word: u64) {
        if word as u32 != 0 {
            self.seen = word;
            self.settle();
        }
    }

    /// Takes what was kept for a closer look, if that is a message. What else it is shows later.
    #[inline(always)]
    pub(super) fn take_kept(&mut self) -> Option<Item> {
        if self.seen == 0 { None } else { self.take_seen() }
    }

    #[inline(never)]
    fn take_seen(&mut self) -> Option<Item> {
        match self.look_closely() {
            Look::Ready(Ok(item)) => Some(item),
            _ => None,
        }
    }

    /// Takes the frame that `word` published at the head, whatever it is.
    #[cold]
    #[inline(never)]
    fn take_frame(&mut self, word: u64) -> Look<Result<Item, End>> {
        let taken = self.take_any(word);
        self.settle();
        match taken {
            Ok(Some(item)) => Look::Ready(Ok(item)),
            Ok(None) => Look::Again,
            Err(end) => Look::Ready(Err(end)),
        }
    }

    fn take_any(&mut self, word: u64) -> Result<Option<Item>, End> {
        debug_assert!(!self.pack.is_open(), "a frame is taken over an open pack");
        step::at(Step::C2);
        let header = match Header::decode(word, self.cursor.capacity().largest_payload()) {
            Ok(header) => header, // C2
            Err(fault) => return Err(self.fault(fault)),
        };
        if !self.life.is_open() && !self.was_left(frame_size(header.len.into())) {
            return Err(self.judge());
        }
        if header.kind != Kind::Data || self.parts.is_some() {
            return self.take_other(header);
        }
        if u64::from(header.len) > self.max_message {
            return Err(self.fault(Fault::TooLarge(header.len.into())));
        }
        let len = header.len as usize;
        if header.fds != 0 {
            if mutant("released-before-fetched") {
                let item = self.copy(len);
                let at = self.cursor.position().wrapping_sub(frame_size(len as u64));
                self.cursor.publish();
                return match self.life.fetch_fds(at, header.fds) {
                    Ok(()) => Ok(Some(Item { place: WITH_FDS, ..item })),
                    Err(end) => Err(end),
                };
            }
            self.fetch(header.fds)?;
            return Ok(Some(Item { place: WITH_FDS, ..self.copy(len) }));
        }
        Ok(Some(if self.in_place { self.lend(len) } else { self.copy(len) }))
    }

    /// Whether the frame at the head, so many bytes, can be one that a peer left which has gone: no more than a lane holds
    /// lay behind the place where we were when we first knew. Who leaves a header wherever we look has us go round its lane
    /// for ever otherwise, and take what was read for news.
    ///
    /// No rule is broken by more. Whose socket has ended may still live, and be in the middle of a large message, for the
    /// parts of which we go on making room.
    fn was_left(&mut self, frame: u64) -> bool {
        let position = self.cursor.position();
        let since = position.wrapping_sub(*self.gone_at.get_or_insert(position));
        self.cursor.capacity().holds(frame, since)
    }

    /// Has the file descriptors found that went ahead of the frame at the head. Before it is released: from then on
    /// the peer may send as many more.
    fn fetch(&mut self, fds: u16) -> Result<(), End> {
        if !self.takes_fds {
            return Err(self.fault(Fault::Fds));
        }
        match self.life.fetch_fds(self.cursor.position(), fds) {
            Ok(()) => Ok(()),
            Err(End::Fault(fault)) => Err(self.fault(fault)),
            Err(end) => {
                self.over(end);
                Err(end)
            }
        }
    }

    /// Everything that is not a plain message.
    #[cold]
    fn take_other(&mut self, header: Header) -> Result<Option<Item>, End> {
        let tag = self.seen_tag.take().unwrap_or_else(|| self.cursor.tag());
        let payload = self.cursor.payload();
        let len = header.len as usize;
        let frame = frame_size(header.len.into());
        if mutant("part-released-before-copy") {
            let after = self.cursor.position().wrapping_add(frame);
            self.cursor.shared().release(after);
            self.cursor.shared().publish();
        }
        let item = match (header.kind, self.parts) {
            (Kind::End, _) => {
                self.parts = None; // an unfinished message is discarded
                self.end = Some(End::Closed);
                self.cursor.shared().leaves(Left::End);
                self.cursor.release(frame);
                self.cursor.publish();
                return Err(End::Closed);
            }
            (Kind::Abort, Some(_)) => {
                self.parts = None;
                None
            }
            (Kind::Pack, None) => {
                self.cursor.copy_out(payload, self.buffer.extend(0, len));
                self.cursor.release(frame);
                match Pack::of(self.buffer.bytes(), tag, self.largest) {
                    Ok(pack) => self.open_pack(pack),
                    Err(fault) => return Err(self.fault(fault)),
                }
                return Ok(self.next_packed());
            }
            (Kind::First, None) => {
                let mut total = [0; 8];
                self.cursor.copy_out(payload, &mut total);
                let total = u64::from_le_bytes(total);
                if total > self.max_message {
                    return Err(self.fault(Fault::TooLarge(total)));
                }
                let arrived = len - 8; // `Header::decode` made sure that there are more than 8
                if arrived as u64 >= total {
                    return Err(self.fault(Fault::Parts));
                }
                self.cursor.copy_out(payload + 8, self.buffer.extend(0, arrived));
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
                if header.fds != 0 {
                    self.fetch(header.fds)?;
                }
                self.cursor.copy_out(payload, self.buffer.extend(parts.arrived, len));
                self.parts = (!whole).then_some(Parts { arrived, ..parts });
                if whole {
                    self.cursor.traffic.count(arrived as u64);
                }
                let place = if header.fds == 0 { ALONE } else { WITH_FDS };
                whole.then_some(Item { start: 0, len: arrived, tag, place })
            }
            // A part without its first, or anything else in the middle of a message.
            _ => return Err(self.fault(Fault::Parts)),
        };
        self.cursor.release(frame);
        Ok(item)
    }

    /// Whether a look would find something: a frame, part of a pack, an end.
    pub(crate) fn has_something(&self) -> bool {
        let kept = self.seen != 0 || self.pack.is_open() || self.end.is_some();
        // What is lent in place was received, and is only not released yet.
        let next = self.cursor.frame_behind(self.lent);
        kept || !self.is_open() || Cursor::header(next) as u32 != 0
    }

    /// How the direction ended, if that was said already.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// The session has ended, and with it this direction: nothing is read any more.
    fn over(&mut self, end: End) {
        self.end = Some(end);
        self.cursor.shared().leaves(Left::Over);
    }

    /// Says how the direction ended, when nothing is left to take.
    #[cold]
    pub(crate) fn judge(&mut self) -> End {
        if self.life.is_forked() {
            return End::Forked;
        }
        if self.end.is_none() {
            if let Some(end) = self.life.end() {
                self.over(end);
            }
            self.settle();
        }
        self.end.unwrap_or(End::HungUp)
    }

    #[cold]
    pub(crate) fn fault(&mut self, fault: Fault) -> End {
        let (messages, bytes) = std::mem::take(&mut self.pack).alike_left();
        self.cursor.traffic.uncount(messages, bytes);
        let end = self.life.fail(fault);
        self.end = Some(end);
        self.settle();
        end
    }
}
