//! A batch of typed messages, which share frames.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use memring_codec::{Carriage, Format, Message, Scratch};
use memring_ring::batch;
use memring_transport::Session;
use memring_transport::attachments::UnderWay;

use crate::attached::Post;
use crate::carry::{Waiting, carry};
use crate::error::{SendError, TrySendError, send_error, try_send_error};

/// A batch of messages; see [`Sender::batch`](crate::Sender::batch). Published when it is flushed or dropped, when it fills a
/// quarter of the lane, and before it waits for room.
#[must_use = "a batch is published when it is dropped"]
pub struct Batch<'a, T: Message + ?Sized> {
    pub(crate) batch: batch::Batch<'a>,
    pub(crate) hint: &'a mut usize,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) session: &'a Arc<Session>,
    pub(crate) under_way: &'a mut UnderWay,
    pub(crate) socket_full: &'a mut bool,
    pub(crate) _sends: PhantomData<fn(&T)>,
}

impl<T: Message + ?Sized> Batch<'_, T> {
    /// Adds a message, waiting for room as long as it takes.
    ///
    /// # Errors
    ///
    /// As [`Sender::send`](crate::Sender::send).
    #[inline]
    pub fn push(&mut self, message: &T) -> Result<(), SendError> {
        self.push_by(message, None)
    }

    /// As [`push`](Self::push), waiting until the deadline at most.
    ///
    /// # Errors
    ///
    /// As [`Sender::send_deadline`](crate::Sender::send_deadline).
    pub fn push_deadline(&mut self, message: &T, deadline: Instant) -> Result<(), SendError> {
        self.push_by(message, Some(deadline))
    }

    #[inline]
    fn push_by(&mut self, message: &T, deadline: Option<Instant>) -> Result<(), SendError> {
        if const { matches!(T::Format::CARRIAGE, Carriage::Within) } {
            let (mut post, scratch) = self.post();
            return post.send(message, scratch, deadline);
        }
        let mut way = Waiting { producer: &mut self.batch, deadline };
        let sent =
            carry(&mut way, message, self.hint, self.scratch).map_err(SendError::of_encoding)?;
        sent.map_err(|error| send_error(error, self.session.peer()))
    }

    /// Adds a message if there is room now. If there is none, what was pushed before is published.
    ///
    /// # Errors
    ///
    /// As [`Sender::try_send`](crate::Sender::try_send).
    #[inline]
    pub fn try_push(&mut self, message: &T) -> Result<(), TrySendError> {
        if const { matches!(T::Format::CARRIAGE, Carriage::Within) } {
            let (mut post, scratch) = self.post();
            return post.try_send(message, scratch);
        }
        let sent = carry(&mut self.batch, message, self.hint, self.scratch)
            .map_err(TrySendError::of_encoding)?;
        sent.map_err(|error| try_send_error(error, self.session.peer()))
    }

    /// Messages that carry something share no frame: each goes by itself, after what was pushed before.
    fn post(&mut self) -> (Post<'_>, &mut Scratch) {
        let Self { batch, session, under_way, socket_full, scratch, .. } = self;
        (Post { producer: batch.producer(), session, under_way, socket_full, tag: 0 }, scratch)
    }

    /// Publishes what was pushed so far.
    pub fn flush(&mut self) {
        self.batch.flush();
    }
}

impl<T: Message + ?Sized> std::fmt::Debug for Batch<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("message", &T::name())
            .field("peer", self.session.peer())
            .finish_non_exhaustive()
    }
}
