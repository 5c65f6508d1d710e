//! Large messages in parts, as the producer sends them: how they are cut, and how pieces are gathered.
//!
//! The first part carries the total length before its bytes, and each is at most a quarter of the lane. What
//! becomes of a message that is given up is the producer's business, how parts are put together again the
//! consumer's.

use std::io::IoSlice;

use crate::frame::{Header, Kind};
use crate::position::frame_size;
use crate::step::{self, Step};
use crate::sync::WritableRegion;
use crate::writer::Writer;

/// One part of a large message: how many bytes of it, and how large its frame is.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) frame: u64,
}

impl Writer {
    /// The part of a large message that follows `sent` bytes of `len`.
    pub(crate) fn next_part(&self, sent: u64, len: u64) -> Part {
        let largest = self.capacity.largest_payload();
        if sent == 0 {
            return Part { kind: Kind::First, bytes: largest - 8, frame: frame_size(largest) };
        }
        let bytes = (len - sent).min(largest);
        let kind = if sent + bytes == len { Kind::Last } else { Kind::Next };
        Part { kind, bytes, frame: frame_size(bytes) }
    }

    /// The frames of a large message, in bytes. No more than a lane holds are counted.
    pub(crate) fn parts_size(&self, len: u64) -> u64 {
        let (mut frames, mut sent) = (0, 0);
        while sent < len && frames <= self.capacity.bytes() {
            let part = self.next_part(sent, len);
            frames += part.frame;
            sent += part.bytes;
        }
        frames
    }

    /// Publishes a part that has room, and says in the last how many file descriptors went ahead of the message. The bytes
    /// of it that went with the part.
    pub(crate) fn put_part(
        &mut self,
        part: Part,
        gather: &mut Gather<'_>,
        len: u64,
        tag: u64,
        fds: u16,
    ) -> u64 {
        step::at(Step::Part);
        let mut at = self.payload();
        let mut payload = part.bytes;
        if part.kind == Kind::First {
            self.data.copy_in(at, &len.to_le_bytes());
            at += 8;
            payload += 8;
        }
        gather.copy(&self.data, at, part.bytes);
        let last = part.kind == Kind::Last;
        self.unfinished = !last;
        self.settle();
        let fds = if last { fds } else { 0 };
        self.publish_as(Header { fds, ..Header::new(part.kind, payload as u32) }, tag);
        part.bytes
    }
}

pub(crate) fn total(pieces: &[IoSlice<'_>]) -> u64 {
    pieces.iter().map(|piece| piece.len() as u64).sum()
}

/// Copies pieces one after the other into frames that do not end where the pieces do.
pub(crate) struct Gather<'a> {
    pieces: &'a [IoSlice<'a>],
    /// Bytes of the first piece that are gone already.
    offset: usize,
}

impl<'a> Gather<'a> {
    pub(crate) fn new(pieces: &'a [IoSlice<'a>]) -> Self {
        Self { pieces, offset: 0 }
    }

    /// Copies the next `len` bytes to `at`. The pieces hold at least as many.
    pub(crate) fn copy(&mut self, data: &WritableRegion, mut at: usize, len: u64) {
        let mut left = len as usize;
        while left > 0 {
            let Some((piece, rest)) = self.pieces.split_first() else {
                return;
            };
            let piece = &piece[self.offset..];
            let now = piece.len().min(left);
            data.copy_in(at, &piece[..now]);
            at += now;
            left -= now;
            if now == piece.len() {
                self.pieces = rest;
                self.offset = 0;
            } else {
                self.offset += now;
            }
        }
    }
}
