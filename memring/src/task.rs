//! Halves in tasks: futures that run under any executor, and under tokio with its reactor.
//!
//! One implementation with two fronts: a task tries, arms and waits as an event loop does ([`Polled`](crate::Polled)), and what
//! it waits with is a [`Driver`]. [`Watched`] needs no runtime: memring's own threads see to the control socket and wake the task.
//! With the feature `tokio`, [`Tokio`] registers a descriptor with tokio's reactor, which saves two wakes of threads.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use memring_codec::Message;
use memring_transport::{Notifier, Peer, Session};

use crate::channel::Channel;
use crate::error::{RecvError, SendError, TryRecvError, TrySendError};
use crate::polled::{Arm, Half, InLoop, Wants, arm_these};
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::view::{Received, View};

#[cfg(feature = "tokio")]
mod meet;
#[cfg(feature = "tokio")]
mod reactor;
#[cfg(feature = "tokio")]
mod streams;
#[cfg(feature = "tokio")]
pub use meet::TokioListener;
#[cfg(feature = "tokio")]
pub use reactor::Tokio;
#[cfg(feature = "tokio")]
pub use streams::{Messages, Outbox};

/// Turns that a task takes in one go though there is nothing to take: only a peer that says things without end makes it more.
pub(crate) const TURNS: u32 = 16;

/// Messages that a task takes or sends before others have their turn.
pub(crate) const STREAK: u32 = 128;

/// How a task spins at most before it waits, unless said otherwise: not at all, for other tasks may have something to do.
const SPIN: Duration = Duration::ZERO;

/// What wakes a task.
pub trait Driver: sealed::Sealed {}

pub(crate) mod sealed {
    use super::{Arc, Context, Notifier, Poll, Session, io};

    pub trait Sealed: Sized {
        fn of(session: &Arc<Session>) -> io::Result<Self>;

        fn notifier(&self) -> &Arc<Notifier>;

        /// Whether there was news since the last look; if not, the task is woken then.
        fn poll(&mut self, context: &mut Context<'_>) -> Poll<()>;
    }
}

/// A task that memring's own threads wake: any executor will do.
#[derive(Debug)]
pub struct Watched(Arc<Notifier>);

impl Driver for Watched {}

impl sealed::Sealed for Watched {
    fn of(session: &Arc<Session>) -> io::Result<Self> {
        Ok(Self(session.task_notifier()?))
    }

    fn notifier(&self) -> &Arc<Notifier> {
        &self.0
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll(context)
    }
}

/// A channel, or half of one, in a task.
///
/// Dropping a future of it loses nothing: a message was received whole or not at all, and sent whole or not at all. (A message
/// larger than the lane goes in parts; if its future is dropped the peer forgets what it has of it.)
///
/// ```
/// use memring::Bytes;
///
/// let (mut server, client) = memring::pair::<Bytes>()?;
/// let mut client = client.into_async()?;
/// server.send(b"news")?;
/// // Any executor will do.
/// let news = pollster::block_on(async { client.recv().await.map(|message| message.to_vec()) })?;
/// assert_eq!(news, b"news");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Async<H, D = Watched> {
    half: H,
    waiting: Waiting<D>,
    _in_loop: InLoop,
}

/// How a task waits: apart from the half, so that both can be borrowed.
struct Waiting<D> {
    driver: D,
    /// What it waits for, if it is armed and has not been told since.
    armed: Option<Wants>,
    /// Other tasks had their turn since this one was woken.
    yielded: bool,
    /// Messages in a row without a wait.
    streak: u32,
    spin: Duration,
}

impl<H: Half, D: Driver> Async<H, D> {
    pub(crate) fn new(half: H) -> io::Result<Self> {
        let driver = D::of(half.session())?;
        let _in_loop = InLoop(Arc::clone(half.session()));
        Ok(Self {
            half,
            _in_loop,
            waiting: Waiting { driver, armed: None, yielded: false, streak: 0, spin: SPIN },
        })
    }

    /// What it was made of, for blocking calls.
    #[must_use]
    pub fn into_inner(self) -> H {
        self.half
    }

    /// How long a task spins for a message, in its thread, before it waits; zero unless said otherwise. What it is good for: an
    /// answer that is on its way, where the thread has nothing else to do. What the half's
    /// [`Wait`](crate::Wait) has learnt bounds it further.
    #[must_use]
    pub fn spin(mut self, most: Duration) -> Self {
        self.waiting.spin = most;
        self
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.half.session().peer()
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        self.half.session()
    }
}

impl<D: Driver> Waiting<D> {
    /// Ready if it is time to look, for the first or another time. Otherwise the task is woken when it is.
    fn poll(
        &mut self,
        half: &mut impl Half,
        wants: Wants,
        turns: &mut u32,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        // A task may wait for both ways at once, and each has asked in turn.
        let all = self.armed.map_or(wants, |armed| armed.with(wants));
        if self.armed != Some(all) {
            *turns += 1;
            // To arm takes some system calls. First those have their turn that what came was for: what they do may bring the
            // next message before that.
            if !std::mem::replace(&mut self.yielded, true) || *turns > TURNS {
                return self.yield_now(context);
            }
            if half.spin(wants, self.spin) {
                return Poll::Ready(());
            }
            let other = self.armed.take().is_some();
            if arm_these(half, self.driver.notifier(), all) == Arm::Ready {
                if other {
                    context.waker().wake_by_ref(); // it may be for the way that has asked before
                }
                return Poll::Ready(());
            }
            self.armed = Some(all);
        }
        self.streak = 0;
        ready!(self.driver.poll(context));
        self.armed = None;
        self.yielded = false;
        half.take_back(all);
        Poll::Ready(())
    }

    /// Before something is taken or sent: not ready now and then, for there may be something to do without end.
    fn poll_budget(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.streak += 1;
        if self.streak > STREAK { self.yield_now(context) } else { Poll::Ready(()) }
    }

    fn yield_now(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.streak = 0;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What receives: a [`Receiver`], or a [`Channel`]'s.
trait Receives<R: Message + ?Sized>: Half {
    fn receiver(&mut self) -> &mut Receiver<R>;
}

/// What sends.
trait Sends<S: Message + ?Sized>: Half {
    fn sender(&mut self) -> &mut Sender<S>;
}

impl<R: Message + ?Sized> Receives<R> for Receiver<R> {
    fn receiver(&mut self) -> &mut Receiver<R> {
        self
    }
}

impl<S: Message + ?Sized> Sends<S> for Sender<S> {
    fn sender(&mut self) -> &mut Sender<S> {
        self
    }
}

impl<S: Message + ?Sized, R: Message + ?Sized> Receives<R> for Channel<S, R> {
    fn receiver(&mut self) -> &mut Receiver<R> {
        self.halves().1
    }
}

impl<S: Message + ?Sized, R: Message + ?Sized> Sends<S> for Channel<S, R> {
    fn sender(&mut self) -> &mut Sender<S> {
        self.halves().0
    }
}

/// Takes the next item, as the macro's user is told how.
macro_rules! poll_item {
    ($this:ident, $context:ident) => {{
        let mut turns = 0;
        ready!($this.waiting.poll_budget($context));
        loop {
            match $this.half.receiver().try_item() {
                Ok(item) => break Ok(item),
                Err(TryRecvError::Empty) => {}
                Err(error) => break Err(error.waited()),
            }
            ready!($this.waiting.poll(&mut $this.half, Wants::Messages, &mut turns, $context));
        }
    }};
}

macro_rules! receiving {
    ($($generics:ident),* => $half:ty, $message:ident) => {
        impl<$($generics: Message + ?Sized,)* D: Driver> Async<$half, D> {
            /// Ready when a receive finds something: a message, part of one, or an end. Then [`try_recv`](Self::try_recv).
            ///
            /// This and a plain receive is the way without a copy for whoever writes futures by hand.
            pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
                let mut turns = 0;
                while !self.half.receiver().consumer_mut().has_something() {
                    ready!(self.waiting.poll(&mut self.half, Wants::Messages, &mut turns, context));
                }
                Poll::Ready(())
            }

            /// Lends a view of the next message if there is one now, or has the task woken when there is.
            ///
            /// # Errors
            ///
            /// As [`recv`](Self::recv).
            pub fn poll_recv(
                &mut self,
                context: &mut Context<'_>,
            ) -> Poll<Result<View<'_, $message>, RecvError>> {
                let item = poll_item!(self, context);
                Poll::Ready(item.and_then(|item| Ok(self.half.receiver().lend(item)?)))
            }

            /// As [`poll_recv`](Self::poll_recv), with a message to keep.
            ///
            /// # Errors
            ///
            /// As [`recv`](Self::recv).
            pub fn poll_recv_owned(
                &mut self,
                context: &mut Context<'_>,
            ) -> Poll<Result<Received<$message>, RecvError>> {
                let item = poll_item!(self, context);
                Poll::Ready(item.and_then(|item| Ok(self.half.receiver().keep(&item)?)))
            }

            /// Waits for the next message and lends a view of it, until the next receive.
            ///
            /// # Errors
            ///
            /// [`RecvError::Ended`], after everything sent before was received; [`RecvError::FdsLost`].
            pub async fn recv(&mut self) -> Result<View<'_, $message>, RecvError> {
                let item = poll_fn(|context| Poll::Ready(poll_item!(self, context))).await?;
                Ok(self.half.receiver().lend(item)?)
            }

            /// As [`recv`](Self::recv), with a message to keep.
            ///
            /// # Errors
            ///
            /// As `recv`.
            pub async fn recv_owned(&mut self) -> Result<Received<$message>, RecvError> {
                poll_fn(|context| self.poll_recv_owned(context)).await
            }

            /// See [`Receiver::try_recv`].
            ///
            /// # Errors
            ///
            /// As there.
            pub fn try_recv(&mut self) -> Result<View<'_, $message>, TryRecvError> {
                self.half.receiver().try_recv()
            }
        }
    };
}
receiving!(R => Receiver<R>, R);
receiving!(S, R => Channel<S, R>, R);

macro_rules! sending {
    ($($generics:ident),* => $half:ty, $message:ident) => {
        impl<$($generics: Message + ?Sized,)* D: Driver> Async<$half, D> {
            /// Ready when what had no room last would have it now, or there is an end.
            pub fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<()> {
                let mut turns = 0;
                while !self.half.sender().has_room() {
                    ready!(self.waiting.poll(&mut self.half, Wants::Room, &mut turns, context));
                }
                Poll::Ready(())
            }

            /// Sends a message if there is room for all of it now, or has the task woken when there is.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send); and [`SendError::TooLarge`] for one that is larger than what the lane holds at once, which
            /// only `send` sends.
            pub fn poll_send(
                &mut self,
                context: &mut Context<'_>,
                message: &$message,
            ) -> Poll<Result<(), SendError>> {
                let mut turns = 0;
                ready!(self.waiting.poll_budget(context));
                loop {
                    match self.half.sender().try_send(message) {
                        Err(TrySendError::Full) => {}
                        Err(error) => return Poll::Ready(Err(error.waited())),
                        Ok(()) => return Poll::Ready(Ok(())),
                    }
                    ready!(self.waiting.poll(&mut self.half, Wants::Room, &mut turns, context));
                }
            }

            /// Sends a message, waiting for room.
            ///
            /// # Errors
            ///
            /// [`SendError`]; the peer sees nothing of the message then. One with descriptors or new blobs is too large if the lane
            /// does not hold it at once.
            pub async fn send(&mut self, message: &$message) -> Result<(), SendError> {
                let sent = poll_fn(|context| self.poll_send(context, message)).await;
                if !self.goes_in_parts(&sent) {
                    return sent;
                }
                let (bytes, mut sent) = (self.half.sender().encode(message)?, 0);
                poll_fn(|context| self.poll_send_on(context, &bytes, &mut sent)).await
            }

            /// Whether it was not sent because the lane does not hold it at once.
            fn goes_in_parts(&mut self, sent: &Result<(), SendError>) -> bool {
                let sender = self.half.sender();
                matches!(sent, Err(SendError::TooLarge { len, .. })
                    if sender.sends_in_parts() && *len <= sender.largest_message())
            }

            /// Sends on with a message that goes in parts, of which `sent` bytes went before.
            fn poll_send_on(
                &mut self,
                context: &mut Context<'_>,
                bytes: &[u8],
                sent: &mut u64,
            ) -> Poll<Result<(), SendError>> {
                let mut turns = 0;
                loop {
                    match self.half.sender().try_send_on(bytes, sent) {
                        Err(TrySendError::Full) => {}
                        Err(error) => return Poll::Ready(Err(error.waited())),
                        Ok(()) => return Poll::Ready(Ok(())),
                    }
                    ready!(self.waiting.poll(&mut self.half, Wants::Room, &mut turns, context));
                }
            }

            /// See [`Sender::try_send`].
            ///
            /// # Errors
            ///
            /// As there.
            pub fn try_send(&mut self, message: &$message) -> Result<(), TrySendError> {
                self.half.sender().try_send(message)
            }
        }
    };
}
sending!(S => Sender<S>, S);
sending!(S, R => Channel<S, R>, S);

impl<S: Message + ?Sized, R: Message + ?Sized, D: Driver> Async<Channel<S, R>, D> {
    /// Its halves, for a task each.
    ///
    /// # Errors
    ///
    /// What the kernel says, if the driver needs descriptors; the halves are dropped then.
    #[expect(clippy::type_complexity, reason = "two halves with their types")]
    pub fn split(self) -> io::Result<(Async<Sender<S>, D>, Async<Receiver<R>, D>)> {
        let spin = self.waiting.spin;
        let (sender, receiver) = self.half.split();
        Ok((Async::new(sender)?.spin(spin), Async::new(receiver)?.spin(spin)))
    }
}

impl<H: fmt::Debug, D> fmt::Debug for Async<H, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Async").field("half", &self.half).finish_non_exhaustive()
    }
}
