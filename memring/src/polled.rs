//! Halves in an event loop: a descriptor to wait for, and a question to ask before each wait.

mod listener;

pub use listener::PolledListener;

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use memring_codec::Message;
use memring_transport::{Notifier, Session};

use crate::channel::Channel;
use crate::receiver::Receiver;
use crate::sender::Sender;

/// What a channel and its halves have in common: waiting elsewhere than in a blocking call.
macro_rules! waits_elsewhere {
    () => {
        /// Puts it into an event loop of yours: see [`Polled`](crate::polled::Polled).
        ///
        /// # Errors
        ///
        /// [`NotPolled`](crate::polled::NotPolled), with what was to be polled, and what the kernel says of two more
        /// descriptors.
        pub fn polled(self) -> Result<crate::polled::Polled<Self>, crate::polled::NotPolled<Self>> {
            crate::polled::Polled::new(self)
        }

        /// Puts it into a task: see [`Async`](crate::task::Async).
        ///
        /// # Errors
        ///
        /// In a forked child, whose parent has the session.
        pub fn into_async(self) -> std::io::Result<crate::task::Async<Self>> {
            crate::task::Async::new(self)
        }

        /// Puts it into a task of tokio's: see [`Async`](crate::task::Async).
        ///
        /// # Errors
        ///
        /// What the kernel says of two more descriptors; what was to be awaited is dropped then.
        ///
        /// # Panics
        ///
        /// Outside of a runtime of tokio's, or in one without its I/O.
        #[cfg(feature = "tokio")]
        pub fn into_tokio(self) -> std::io::Result<crate::task::Async<Self, crate::task::Tokio>> {
            crate::task::Async::new(self)
        }
    };
}
pub(crate) use waits_elsewhere;

/// Whether a wait for the descriptor may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a wait for the descriptor needs a fresh `Armed`"]
pub enum Arm {
    /// Not now: there is something to do already. Receive, or send, and ask again.
    Ready,
    /// The descriptor becomes readable when there is something to do.
    Armed,
}

/// A channel, or half of one, in an event loop of yours: `poll`, `epoll`, io_uring, mio, calloop.
///
/// It is what it was made of, with a descriptor, and with [`arm`](Polled::arm). The contract:
///
/// 1. Take what there is with `try_recv`, or send with `try_send`, until that says `Empty`, or `Full`.
/// 2. `arm`. [`Arm::Ready`] means back to 1: something came meanwhile, or there is an end to be told.
/// 3. After [`Arm::Armed`], and only then, wait until the descriptor is readable. Then back to 1, whether something
///    is there or not: every wait needs a fresh `Armed`.
///
/// Level- and edge-triggered loops may both rely on it. One that remembers that a descriptor was readable forgets it before
/// `arm`, and not after. While nothing is armed the peer rings no doorbell, so a busy channel
/// makes no system call. While it is armed, publishing rings once; further messages before the next `arm` ring no more.
/// The descriptor tells of the peer's death too, and of the end of the session. It is made for waiting: reading it, or
/// adding to it, is not for its users.
///
/// From the first `arm` on the control socket is read when something is armed, or waits in a blocking call, in the thread that
/// does so. A loop that goes on for long without either leaves what the peer says lying there, and a peer that sends
/// descriptors or blobs may have to wait for it.
///
/// # Panics
///
/// `arm` does, if another half was put in the place of the one that was polled.
///
/// ```
/// use memring::{Arm, Bytes, TryRecvError};
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// let (mut server, client) = memring::pair::<Bytes>()?;
/// let mut client = client.polled()?;
/// server.send(b"news")?;
/// loop {
///     match client.try_recv() {
///         Ok(message) => {
///             assert_eq!(&*message, b"news");
///             break;
///         }
///         Err(TryRecvError::Empty) => {
///             if client.arm() == Arm::Armed {
///                 // Beside whatever else the loop waits for.
///                 poll(&mut [PollFd::new(&client, PollFlags::IN)], None)?;
///             }
///         }
///         Err(error) => return Err(error.into()),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Polled<H> {
    half: H,
    epoll: OwnedFd,
    notifier: Arc<Notifier>,
    in_loop: InLoop,
}

/// In a loop of this session's, until dropped.
pub(crate) struct InLoop(pub Arc<Session>);

impl Drop for InLoop {
    fn drop(&mut self) {
        self.0.leave_loop();
    }
}

/// No descriptor could be made; the half is as before.
#[derive(thiserror::Error)]
#[error("making descriptors for an event loop")]
pub struct NotPolled<H> {
    /// What was to be polled.
    pub half: Box<H>,
    /// What the kernel said.
    #[source]
    pub error: io::Error,
}

impl<H> fmt::Debug for NotPolled<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotPolled").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<H> From<NotPolled<H>> for io::Error {
    fn from(not: NotPolled<H>) -> Self {
        not.error
    }
}

impl<H: Half> Polled<H> {
    /// Makes the descriptor: two of this process, an `epoll` and an `eventfd`.
    pub(crate) fn new(half: H) -> Result<Self, NotPolled<H>> {
        let session = Arc::clone(half.session());
        match session.notifier() {
            Ok((epoll, notifier)) => Ok(Self { half, epoll, notifier, in_loop: InLoop(session) }),
            Err(error) => Err(NotPolled { half: Box::new(half), error }),
        }
    }

    /// What it was made of, without the descriptor.
    #[must_use]
    pub fn into_inner(self) -> H {
        self.half
    }

    fn arm_these(&mut self, wants: Wants) -> Arm {
        let same = Arc::ptr_eq(self.half.session(), &self.in_loop.0);
        assert!(same, "another half was put in the place of the one that is polled");
        arm_these(&mut self.half, &self.notifier, wants)
    }
}

/// Whether a wait for these may begin, of whoever the notifier tells; see the contract of [`Polled`].
pub(crate) fn arm_these(half: &mut impl Half, notifier: &Notifier, wants: Wants) -> Arm {
    // A channel that was asked for since somebody looked may be what the notifier told of.
    if !half.session().begin_to_arm(notifier) || half.session().has_news_of_channels(notifier) {
        return Arm::Ready;
    }
    if !wants.room() {
        // Room that was waited for before. A peer that believes it goes on saying at once what it has read.
        half.take_back(Wants::Room);
    }
    half.ask(wants);
    half.session().fence();
    if half.look(wants) {
        half.take_back(wants);
        return Arm::Ready;
    }
    Arm::Armed
}

impl<R: Message + ?Sized> Polled<Receiver<R>> {
    /// Before a wait for messages: whether it may begin.
    pub fn arm(&mut self) -> Arm {
        self.arm_these(Wants::Messages)
    }
}

impl<S: Message + ?Sized> Polled<Sender<S>> {
    /// Before a wait for room, after a `try_send` that said `Full`: whether it may begin. [`Arm::Ready`] says that what did not
    /// go then would go now.
    pub fn arm_for_room(&mut self) -> Arm {
        self.arm_these(Wants::Room)
    }
}

impl<S: Message + ?Sized, R: Message + ?Sized> Polled<Channel<S, R>> {
    /// Before a wait for messages: whether it may begin.
    ///
    /// An answer that waits for room is no message: whoever has one asks [`arm_for_room`](Self::arm_for_room), or both.
    pub fn arm(&mut self) -> Arm {
        self.arm_these(Wants::Messages)
    }

    /// Before a wait for room, after a `try_send` that said `Full`: whether it may begin.
    pub fn arm_for_room(&mut self) -> Arm {
        self.arm_these(Wants::Room)
    }

    /// Before a wait for messages and for room, whichever comes first: for whoever has a message that a `try_send` found no room
    /// for. While none is refused there is room, and this says so at once.
    pub fn arm_for_both(&mut self) -> Arm {
        self.arm_these(Wants::Both)
    }
}

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Wants {
    Messages,
    Room,
    Both,
}

impl Wants {
    /// This and that.
    pub(crate) fn with(self, other: Self) -> Self {
        if self == other { self } else { Self::Both }
    }

    pub(crate) fn messages(self) -> bool {
        self != Self::Room
    }

    pub(crate) fn room(self) -> bool {
        self != Self::Messages
    }
}

/// What can be polled: [`Channel`], [`Sender`] and [`Receiver`].
pub trait Half: sealed::Sealed {}

impl<S: Message + ?Sized, R: Message + ?Sized> Half for Channel<S, R> {}
impl<S: Message + ?Sized> Half for Sender<S> {}
impl<R: Message + ?Sized> Half for Receiver<R> {}

pub(crate) mod sealed {
    use std::time::Duration;

    use super::{Arc, Channel, Message, Receiver, Sender, Session, Wants};

    pub trait Sealed {
        fn session(&self) -> &Arc<Session>;
        fn ask(&mut self, wants: Wants);
        fn look(&mut self, wants: Wants) -> bool;
        fn spin(&mut self, wants: Wants, most: Duration) -> bool;
        fn take_back(&mut self, wants: Wants);
    }

    impl<S: Message + ?Sized> Sealed for Sender<S> {
        fn session(&self) -> &Arc<Session> {
            self.session()
        }

        fn ask(&mut self, _: Wants) {
            self.ask_for_room();
        }

        fn look(&mut self, _: Wants) -> bool {
            self.has_room()
        }

        fn spin(&mut self, _: Wants, _: Duration) -> bool {
            false // room is not what comes at once
        }

        fn take_back(&mut self, _: Wants) {
            self.producer_mut().take_back_doorbell();
        }
    }

    impl<R: Message + ?Sized> Sealed for Receiver<R> {
        fn session(&self) -> &Arc<Session> {
            self.session()
        }

        fn ask(&mut self, _: Wants) {
            self.consumer_mut().ask_doorbell();
        }

        fn look(&mut self, _: Wants) -> bool {
            self.consumer_mut().has_something()
        }

        fn spin(&mut self, _: Wants, most: Duration) -> bool {
            !most.is_zero() && self.consumer_mut().spin(most)
        }

        fn take_back(&mut self, _: Wants) {
            self.consumer_mut().take_back_doorbell();
        }
    }

    impl<S: Message + ?Sized, R: Message + ?Sized> Sealed for Channel<S, R> {
        fn session(&self) -> &Arc<Session> {
            self.session()
        }

        fn ask(&mut self, wants: Wants) {
            let (sender, receiver) = self.halves();
            if wants.room() {
                sender.ask(wants);
            }
            if wants.messages() {
                receiver.ask(wants);
            }
        }

        fn look(&mut self, wants: Wants) -> bool {
            let (sender, receiver) = self.halves();
            (wants.room() && sender.look(wants)) || (wants.messages() && receiver.look(wants))
        }

        fn spin(&mut self, wants: Wants, most: Duration) -> bool {
            wants.messages() && self.halves().1.spin(wants, most)
        }

        fn take_back(&mut self, wants: Wants) {
            let (sender, receiver) = self.halves();
            if wants.room() {
                sender.take_back(wants);
            }
            if wants.messages() {
                receiver.take_back(wants);
            }
        }
    }
}

impl<H> Deref for Polled<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.half
    }
}

impl<H> DerefMut for Polled<H> {
    fn deref_mut(&mut self) -> &mut H {
        &mut self.half
    }
}

impl<H> AsFd for Polled<H> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl<H> AsRawFd for Polled<H> {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl<H: fmt::Debug> fmt::Debug for Polled<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polled").field("half", &self.half).finish_non_exhaustive()
    }
}
