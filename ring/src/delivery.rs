//! How far the peer has got with what was sent: counted when somebody asks, so that sending counts nothing for it.
//!
//! What lies between the peer's published head and our tail was perhaps not read. Those frames are still in the lane, for
//! nothing is written over before the head has passed it, so they are walked from header to header. The lane is ours,
//! and it is walked as if it were not: who made the segment may have kept a way to write it, and a head may point into the
//! midst of a frame. Such a walk ends, and what it found is not believed.
//!
//! Not here: whether what was received was also acted upon. Only an answer says that.

use crate::frame::{Header, Kind};
use crate::heads::HEAD;
use crate::pack;
use crate::position::{GONE, HEADER, check_head, frame_size};
use crate::producer::Producer;
use crate::sync::Ordering;
use crate::writer::Writer;

/// What became of the messages that a half has sent. They travel in order: first those that were received, then those in
/// doubt, last those of a batch that nobody has flushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    /// Messages that were sent, or put into a batch: each for which a call said so.
    pub sent: u64,
    /// Those of them that the peer has taken out of the lane, by its own word.
    pub received: u64,
    /// Those that it can see, and may have read or not.
    pub in_doubt: u64,
}

impl Delivery {
    /// Messages of a batch that was never flushed: nobody will see them, unless it is.
    #[must_use]
    pub fn unpublished(&self) -> u64 {
        self.sent.saturating_sub(self.received).saturating_sub(self.in_doubt)
    }
}

impl Producer {
    /// What became of what was sent, as far as can be known now. After the end it does not change any more, once the peer is
    /// dead.
    ///
    /// Received is what the peer has said it has read, which it says now and then: while it lives it may have read more. Of
    /// a batch, all counts as received once it has taken the first.
    ///
    /// A peer that lies about it is believed. A position outside of what was sent counts as not said: then the last holds that
    /// this half found sensible when it looked for room, and without one nothing was received. Of one in the midst of a frame, or where
    /// frames were written over, nobody can count what lies behind it: then everything is in doubt, as it is in a forked child.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        let writer = &self.writer;
        let sent = self.stats().messages;
        let published = sent.saturating_sub(writer.stage.messages());
        let unread = if writer.is_forked() { None } else { writer.unread() };
        let in_doubt = unread.filter(|unread| *unread <= published).unwrap_or(published);
        Delivery { sent, received: published - in_doubt, in_doubt }
    }
}

impl Writer {
    /// How many messages lie in the lane behind the peer's head; `None` if that is none of ours.
    fn unread(&self) -> Option<u64> {
        // ORDERING: Acquire; as in `reload`. Nothing is written over by what is learnt here.
        let word = self.theirs.load64(HEAD, Ordering::Acquire);
        let head = check_head(word & !GONE, self.head, self.tail).unwrap_or(self.head);
        let mut left = self.tail.wrapping_sub(head);
        let mut messages = 0;
        while left != 0 {
            let at = self.tail.wrapping_sub(left);
            let frame = self.data.frame(at);
            // ORDERING: Relaxed, both; this thread stored them.
            let word = frame.load_header(Ordering::Relaxed);
            let header = Header::decode(word, self.capacity.largest_payload()).ok()?;
            messages += match header.kind {
                Kind::Data | Kind::Last => 1,
                Kind::Pack => self.packed(at, header.len, frame.load_tag(Ordering::Relaxed))?,
                Kind::First | Kind::Next | Kind::Abort | Kind::End => 0,
            };
            // At least a header each, so this comes to an end.
            left = left.checked_sub(frame_size(header.len.into()))?;
        }
        Some(messages)
    }

    /// How many messages the pack at this position holds.
    fn packed(&self, at: u64, len: u32, tag: u64) -> Option<u64> {
        let mut bytes = vec![0; len as usize];
        self.data.copy_out(self.capacity.offset(at) + HEADER as usize, &mut bytes);
        pack::messages(&bytes, tag)
    }
}
