//! A receiving half as a stream, a sending half as a sink.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::{FusedStream, Stream};
use futures_sink::Sink;
use memring_codec::Message;

use super::{Async, Driver};
use crate::error::{End, RecvError, SendError};
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::view::Received;

/// The messages of a receiver, to keep; see [`Async::into_stream`].
pub struct Messages<R: Message + ?Sized, D> {
    receiver: Async<Receiver<R>, D>,
    over: bool,
}

impl<R: Message + ?Sized, D: Driver> Async<Receiver<R>, D> {
    /// Its messages as a stream, which ends when the peer closes. Any other end is its last item.
    #[must_use]
    pub fn into_stream(self) -> Messages<R, D> {
        Messages { receiver: self, over: false }
    }
}

impl<R: Message + ?Sized, D: Driver + Unpin> Stream for Messages<R, D> {
    type Item = Result<Received<R>, RecvError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let next = ready!(this.receiver.poll_recv_owned(context));
        // What lost its descriptors is one message; all else is the end.
        this.over = matches!(&next, Err(error) if !matches!(error, RecvError::FdsLost { .. }));
        Poll::Ready(match next {
            Err(RecvError::Ended(End::Closed)) => None,
            next => Some(next),
        })
    }
}

impl<R: Message + ?Sized, D: Driver + Unpin> FusedStream for Messages<R, D> {
    fn is_terminated(&self) -> bool {
        self.over
    }
}

impl<R: Message + ?Sized, D> fmt::Debug for Messages<R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("over", &self.over).finish_non_exhaustive()
    }
}

/// Takes messages for a sender; see [`Async::into_sink`].
pub struct Outbox<S: Message, D> {
    sender: Async<Sender<S>, D>,
    waiting: Option<Outgoing<S>>,
}

/// A message that waits for room.
enum Outgoing<S> {
    Whole(S),
    /// The lane does not hold it at once: its bytes, and how many of them went.
    Parts(Vec<u8>, u64),
}

impl<S: Message, D: Driver> Async<Sender<S>, D> {
    /// It as a sink, which keeps one message while there is no room for it. The direction ends when the sink is dropped.
    #[must_use]
    pub fn into_sink(self) -> Outbox<S, D> {
        Outbox { sender: self, waiting: None }
    }
}

impl<S: Message, D: Driver> Outbox<S, D> {
    fn poll_waiting(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            let sent = match &mut self.waiting {
                None => return Poll::Ready(Ok(())),
                Some(Outgoing::Parts(bytes, sent)) => {
                    ready!(self.sender.poll_send_on(context, bytes, sent))
                }
                Some(Outgoing::Whole(message)) => {
                    let sent = ready!(self.sender.poll_send(context, message));
                    if self.sender.goes_in_parts(&sent) {
                        let bytes = self.sender.half.encode(message);
                        self.waiting = None;
                        self.waiting = Some(Outgoing::Parts(bytes?, 0));
                        continue;
                    }
                    sent
                }
            };
            self.waiting = None; // it went, or never will
            return Poll::Ready(sent);
        }
    }
}

impl<S: Message + Unpin, D: Driver + Unpin> Sink<S> for Outbox<S, D> {
    type Error = SendError;

    fn poll_ready(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.get_mut().poll_waiting(context)
    }

    /// # Panics
    ///
    /// If it was not asked whether it is ready, and is not.
    fn start_send(self: Pin<&mut Self>, message: S) -> Result<(), SendError> {
        let this = self.get_mut();
        assert!(this.waiting.is_none(), "a message is handed to a sink that was not ready");
        this.waiting = Some(Outgoing::Whole(message));
        // It goes now, if there is room; nobody has to flush for that.
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        match this.poll_waiting(&mut nobody) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.get_mut().poll_waiting(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.get_mut().poll_waiting(context)
    }
}

impl<S: Message, D> fmt::Debug for Outbox<S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("waiting", &self.waiting.is_some()).finish_non_exhaustive()
    }
}
