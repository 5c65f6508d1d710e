//! Messages with something that goes ahead of them over the control socket: file descriptors.
//!
//! Room is claimed first, then they are sent, then the frame that counts them is published; between the last two
//! nothing can fail. So who finds such a frame finds them too, and who has them only missed a process that died.
//!
//! What goes ahead, how, and how much of it may be under way is the caller's business: it is told the position
//! of the frame, and can wait until the peer has read up to a position.

use std::io::IoSlice;
use std::num::NonZeroU16;

use crate::frame::{Header, Kind};
use crate::life::End;
use crate::parts::{Gather, total};
use crate::position::{HEADER, frame_size};
use crate::producer::{Producer, SendError, TrySendError};
use crate::sync::{Instant, mutant};
use crate::wait::Look;

/// Why a message was not sent: the lane's reason, or what went ahead did not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent<L, A> {
    /// The lane's.
    Lane(L),
    /// The caller's.
    Ahead(A),
}

impl Producer {
    /// Sends the pieces as one message, waiting for room until the deadline, if there is one. `ahead` is called once the
    /// message is sure to go, with the position of the frame that will say that `fds` descriptors went ahead of it; it sends
    /// them.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and what `ahead` says. The peer receives nothing of the message.
    pub fn send_with_fds<A>(
        &mut self,
        pieces: &[IoSlice<'_>],
        tag: u64,
        fds: NonZeroU16,
        deadline: Option<Instant>,
        ahead: impl FnOnce(u64) -> Result<(), A>,
    ) -> Result<(), Unsent<SendError, A>> {
        let len = total(pieces);
        let max = self.writer.max_message();
        if len > max {
            return Err(Unsent::Lane(SendError::TooLarge { len, max }));
        }
        self.wait_ready(deadline).map_err(Unsent::Lane)?;
        let mut gather = Gather::new(pieces);
        if len <= self.writer.capacity.largest_payload() {
            self.wait_room(frame_size(len), deadline).map_err(Unsent::Lane)?;
            let position = self.writer.tail;
            let mut ahead = Some(ahead);
            if !mutant("ahead-behind")
                && let Some(ahead) = ahead.take()
            {
                ahead(position).map_err(Unsent::Ahead)?;
            }
            let at = self.writer.payload();
            gather.copy(&self.writer.data, at, len);
            let header = Header { fds: fds.get(), ..Header::new(Kind::Data, len as u32) };
            self.writer.publish_as(header, tag);
            if let Some(ahead) = ahead {
                ahead(position).map_err(Unsent::Ahead)?;
            }
        } else {
            let (mut sent, mut ahead) = (0, Some(ahead));
            while sent < len {
                let part = self.writer.next_part(sent, len);
                self.wait_room(part.frame, deadline).map_err(Unsent::Lane)?;
                if part.kind == Kind::Last
                    && let Some(ahead) = ahead.take()
                {
                    ahead(self.writer.tail).map_err(Unsent::Ahead)?;
                }
                sent += self.writer.put_part(part, &mut gather, len, tag, fds.get());
            }
        }
        self.writer.traffic.message(len);
        Ok(())
    }

    /// As [`send_with_fds`](Self::send_with_fds), if there is room for all of it now.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send), and what `ahead` says.
    pub fn try_send_with_fds<A>(
        &mut self,
        pieces: &[IoSlice<'_>],
        tag: u64,
        fds: NonZeroU16,
        ahead: impl FnOnce(u64) -> Result<(), A>,
    ) -> Result<(), Unsent<TrySendError, A>> {
        let writer = &mut self.writer;
        writer.ready().map_err(Unsent::Lane)?;
        let len = total(pieces);
        let in_parts = len > writer.capacity.largest_payload();
        let frames = if in_parts { writer.parts_size(len) } else { frame_size(len) };
        if len > writer.max_message() || !writer.capacity.fits(frames, 0) {
            let max = writer.capacity.largest_at_once().min(writer.max_message());
            return Err(Unsent::Lane(TrySendError::TooLarge { len, max }));
        }
        match writer.room(frames) {
            Ok(Look::Ready(())) => {}
            Ok(_) => return Err(Unsent::Lane(TrySendError::Full)),
            Err(end) => return Err(Unsent::Lane(end.into())),
        }
        // There is room for all of it, so this waits for nothing.
        self.send_with_fds(pieces, tag, fds, None, ahead).map_err(|unsent| match unsent {
            Unsent::Ahead(why) => Unsent::Ahead(why),
            Unsent::Lane(SendError::Ended(end)) => Unsent::Lane(end.into()),
            Unsent::Lane(_) => Unsent::Lane(TrySendError::Full),
        })
    }

    /// Whether the peer has read everything before `position`, which was [`position`](Self::position) once. True for good;
    /// what is false may have changed since.
    ///
    /// # Errors
    ///
    /// How the direction ended.
    pub fn has_read(&mut self, position: u64) -> Result<bool, End> {
        self.writer.alive()?;
        let read = self.room_if_read(position);
        Ok(matches!(self.writer.room(read)?, Look::Ready(())))
    }

    /// Waits until the peer has read everything before `position`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn wait_until_read(
        &mut self,
        position: u64,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        self.wait_ready(deadline)?;
        let read = self.room_if_read(position);
        self.wait_room(read, deadline)
    }

    /// The frame that fits if everything before `position` was read, and does not otherwise.
    fn room_if_read(&self, position: u64) -> u64 {
        let since = self.writer.tail.wrapping_sub(position);
        (self.writer.capacity.bytes() - HEADER).saturating_sub(since)
    }
}
