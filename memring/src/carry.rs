//! Carrying a typed message into the lane: encoded once, straight to where it is read from if that can be.
//!
//! A small archive is staged in memory of our own, whole, and sent in one piece: the ring then knows its length
//! before it writes, and writes it in the order that is fastest. A larger one goes piece by piece into room that was
//! claimed, as much as the last one took. What fits neither is encoded into scratch memory and sent from there.

use std::time::Instant;

use memring_codec::{EncodeError, Encoder, Format, Message, Scratch, Sink, SinkFull};
use memring_ring::batch::Batch;
use memring_ring::grant::Grant;
use memring_ring::producer::{Producer, SendError, TrySendError};

/// Memory kept for encoding messages that did not go straight into a frame.
pub(crate) const KEEP: usize = 1 << 20;

/// A way into the lane.
pub(crate) trait Way {
    /// Why a message did not go.
    type Error;

    /// Lends room for at least `len` bytes, if there is some now.
    fn claim(&mut self, len: usize) -> Option<Grant<'_>>;

    /// Sends a whole message.
    fn send(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// The largest message that one frame holds.
    fn largest(&self) -> usize;
}

impl Way for Producer {
    type Error = TrySendError;

    #[inline]
    fn claim(&mut self, len: usize) -> Option<Grant<'_>> {
        self.try_claim(len).ok()
    }

    #[inline(always)]
    fn send(&mut self, bytes: &[u8]) -> Result<(), TrySendError> {
        self.try_send(bytes, 0)
    }

    fn largest(&self) -> usize {
        self.largest_frame()
    }
}

impl Way for Batch<'_> {
    type Error = TrySendError;

    #[inline]
    fn claim(&mut self, len: usize) -> Option<Grant<'_>> {
        self.try_claim(len).ok()
    }

    #[inline(always)]
    fn send(&mut self, bytes: &[u8]) -> Result<(), TrySendError> {
        self.try_push(bytes, 0)
    }

    fn largest(&self) -> usize {
        self.largest_frame()
    }
}

/// A way that waits for room, until the deadline if there is one.
pub(crate) struct Waiting<'a, P> {
    pub producer: &'a mut P,
    pub deadline: Option<Instant>,
}

impl Way for Waiting<'_, Producer> {
    type Error = SendError;

    #[inline]
    fn claim(&mut self, len: usize) -> Option<Grant<'_>> {
        self.producer.try_claim(len).ok()
    }

    #[inline(always)]
    fn send(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.producer.send(bytes, 0, self.deadline)
    }

    fn largest(&self) -> usize {
        self.producer.largest_frame()
    }
}

impl Way for Waiting<'_, Batch<'_>> {
    type Error = SendError;

    #[inline]
    fn claim(&mut self, len: usize) -> Option<Grant<'_>> {
        self.producer.try_claim(len).ok()
    }

    #[inline(always)]
    fn send(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        self.producer.push(bytes, 0, self.deadline)
    }

    fn largest(&self) -> usize {
        self.producer.largest_frame()
    }
}

/// What has become of a message on its way.
enum Stage<'a, W: Way> {
    /// Nothing of it was written.
    Staged(&'a mut W),
    /// It is being written into the lane.
    Claimed(Grant<'a>),
    /// It went whole, or did not go.
    Sent(Result<(), W::Error>),
    /// There was no room to write it into.
    Without,
}

/// A message on its way, as a place to encode into.
struct Carried<'a, W: Way> {
    stage: Stage<'a, W>,
    hint: usize,
}

impl<W: Way> Sink for Carried<'_, W> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        if let Stage::Staged(_) = self.stage
            && let Stage::Staged(way) = std::mem::replace(&mut self.stage, Stage::Without)
        {
            // What stands in the way is found again by whoever sends from scratch.
            let grant = way.claim(self.hint.max(bytes.len())).ok_or(SinkFull::Room)?;
            self.stage = Stage::Claimed(grant);
        }
        match &mut self.stage {
            Stage::Claimed(grant) => grant.write(bytes).map_err(|_| SinkFull::Room),
            _ => Err(SinkFull::Room),
        }
    }

    #[inline(always)]
    fn last(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        let Stage::Staged(_) = self.stage else { return self.write(bytes) };
        if let Stage::Staged(way) = std::mem::replace(&mut self.stage, Stage::Without) {
            self.stage = Stage::Sent(way.send(bytes));
        }
        Ok(())
    }
}

/// Sends a message. `hint` is what the last one took that was written into the lane.
#[inline]
pub(crate) fn carry<T: Message + ?Sized, W: Way>(
    way: &mut W,
    message: &T,
    hint: &mut usize,
    scratch: &mut Scratch,
) -> Result<Result<(), W::Error>, EncodeError> {
    if let Some(bytes) = T::Format::ready(message) {
        return Ok(way.send(bytes));
    }
    let mut carried = Carried { stage: Stage::Staged(&mut *way), hint: *hint };
    let encoded = T::Format::encode(message, &mut Encoder::new(&mut carried));
    match (encoded, carried.stage) {
        (Ok(()), Stage::Sent(sent)) => return Ok(sent),
        (Ok(()), Stage::Claimed(grant)) => {
            *hint = grant.written();
            grant.commit(0);
            return Ok(Ok(()));
        }
        (Ok(()) | Err(EncodeError::Full), _) => {}
        (Err(other), _) => return Err(other),
    }
    from_scratch(way, message, hint, scratch)
}

/// Encodes into memory of our own, and sends from there.
#[cold]
#[inline(never)]
fn from_scratch<T: Message + ?Sized, W: Way>(
    way: &mut W,
    message: &T,
    hint: &mut usize,
    scratch: &mut Scratch,
) -> Result<Result<(), W::Error>, EncodeError> {
    scratch.clear();
    T::Format::encode(message, &mut Encoder::new(scratch))?;
    *hint = scratch.len().min(way.largest());
    let sent = way.send(scratch);
    scratch.clear_and_shrink(KEEP);
    Ok(sent)
}
