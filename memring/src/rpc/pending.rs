//! A call under way: a future, and for threads something to wait for.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::carrier::Came;
use super::error::CallError;
use super::shared::Shared;
use super::wire::Header;

/// How an answer is read.
pub(crate) type Read<R, E> = fn(Header, &[u8], Option<Came>) -> Result<R, CallError<E>>;

/// A call that was sent and whose answer was not taken. Dropping it cancels the call.
///
/// Many may be under way; they are answered in any order.
#[must_use = "dropping it cancels the call"]
pub struct Pending<R, E = super::Never> {
    shared: Arc<Shared>,
    state: State<E>,
    deadline: Option<Instant>,
    read: Read<R, E>,
}

enum State<E> {
    Asked(u64),
    /// It was not sent.
    Failed(CallError<E>),
    Over,
}

impl<R, E> fmt::Debug for Pending<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("peer", self.shared.peer()).finish_non_exhaustive()
    }
}

impl<R, E> Pending<R, E> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        asked: Result<u64, CallError>,
        deadline: Option<Instant>,
        read: Read<R, E>,
    ) -> Self {
        let state = match asked {
            Ok(call) => State::Asked(call),
            Err(error) => State::Failed(error.widen()),
        };
        Self { shared, state, deadline, read }
    }

    /// Waits for the answer in this thread, reading for others meanwhile.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn wait(mut self) -> Result<R, CallError<E>> {
        let call = match std::mem::replace(&mut self.state, State::Over) {
            State::Asked(call) => call,
            State::Failed(error) => return Err(error),
            State::Over => return Err(CallError::Cancelled), // it was polled to its end
        };
        self.shared.answer(call, self.deadline, self.read).unwrap_or_else(|stopped| {
            self.shared.cancel(call);
            Err(CallError::from(stopped).widen())
        })
    }
}

impl<R, E> Drop for Pending<R, E> {
    fn drop(&mut self) {
        if let State::Asked(call) = self.state {
            self.shared.cancel(call);
        }
    }
}
