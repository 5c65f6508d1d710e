//! A channel: both halves, before they are split.

use std::fmt;
use std::io::IoSlice;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use memring_codec::Message;
use memring_ring::Pulse;
use memring_transport::{Connection, Peer, Session};

use crate::batch::Batch;
use crate::channels::Channels;
use crate::error::{RecvError, SendError, TryRecvError, TrySendError};
use crate::polled::waits_elsewhere;
use crate::receiver::Receiver;
use crate::sender::Sender;
use crate::view::View;

/// An open channel that sends `S` and receives `R`: both halves in one, for a thread that needs both.
///
/// ```
/// let (mut server, client) = memring::pair::<memring::Bytes>()?;
/// // One thread sends while another receives.
/// let (mut tx, mut rx) = client.split();
/// let sending = std::thread::spawn(move || tx.send(b"question"));
/// let question = server.recv()?.to_vec();
/// server.send(&question)?;
/// assert_eq!(&*rx.recv()?, b"question");
/// # sending.join().unwrap()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Channel<S: Message + ?Sized, R: Message + ?Sized> {
    sender: Sender<S>,
    receiver: Receiver<R>,
}

/// The server's end of a channel of protocol `P`.
pub type ServerEnd<P> = Channel<<P as crate::Protocol>::ToClient, <P as crate::Protocol>::ToServer>;
/// The client's end of a channel of protocol `P`.
pub type ClientEnd<P> = Channel<<P as crate::Protocol>::ToServer, <P as crate::Protocol>::ToClient>;

impl<R: Message + ?Sized> Channel<[u8], R> {
    /// See [`Sender::send_with_fds`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_with_fds(
        &mut self,
        message: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), SendError> {
        self.sender.send_with_fds(message, fds)
    }
}

impl<S: Message + ?Sized> Channel<S, [u8]> {
    /// See [`Receiver::recv_with_fds`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn recv_with_fds(&mut self) -> Result<(View<'_, [u8]>, Vec<OwnedFd>), RecvError> {
        self.receiver.recv_with_fds()
    }
}

impl<S: Message + ?Sized, R: Message + ?Sized> Channel<S, R> {
    pub(crate) fn new(connection: Connection) -> Self {
        let Connection { producer, consumer, session } = connection;
        Self {
            sender: Sender::new(producer, Arc::clone(&session)),
            receiver: Receiver::new(consumer, session),
        }
    }

    /// Splits it into its halves, which may go to different threads.
    #[must_use]
    pub fn split(self) -> (Sender<S>, Receiver<R>) {
        (self.sender, self.receiver)
    }

    /// Both halves, borrowed: what only a half can do, without splitting the channel for good.
    ///
    /// ```
    /// # let (mut server, mut client) = memring::pair::<memring::Bytes>()?;
    /// # client.send(b"question")?;
    /// let (tx, rx) = server.halves();
    /// let question = rx.recv()?; // borrows one half only
    /// tx.send(&question)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn halves(&mut self) -> (&mut Sender<S>, &mut Receiver<R>) {
        (&mut self.sender, &mut self.receiver)
    }

    /// See [`Sender::beat`].
    pub fn beat(&self) {
        self.sender.beat();
    }

    /// See [`Sender::pulse`].
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.sender.pulse()
    }

    /// The further channels of its session.
    #[must_use]
    pub fn channels(&self) -> Channels {
        Channels::of(self.sender.session())
    }

    waits_elsewhere!();

    /// See [`Sender::send`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn send(&mut self, message: &S) -> Result<(), SendError> {
        self.sender.send(message)
    }

    /// See [`Sender::send_deadline`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_deadline(&mut self, message: &S, deadline: Instant) -> Result<(), SendError> {
        self.sender.send_deadline(message, deadline)
    }

    /// See [`Sender::send_owned`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_owned(&mut self, message: S) -> Result<(), (SendError, S)>
    where
        S: Sized,
    {
        self.sender.send_owned(message)
    }

    /// See [`Sender::try_send`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn try_send(&mut self, message: &S) -> Result<(), TrySendError> {
        self.sender.try_send(message)
    }

    /// See [`Sender::send_all`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_all(&mut self, messages: &[S]) -> Result<(), SendError>
    where
        S: Sized,
    {
        self.sender.send_all(messages)
    }

    /// See [`Sender::batch`].
    pub fn batch(&mut self) -> Batch<'_, S> {
        self.sender.batch()
    }

    /// See [`Sender::delivery`].
    #[must_use]
    pub fn delivery(&self) -> memring_ring::Delivery {
        self.sender.delivery()
    }

    /// See [`Receiver::recv`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn recv(&mut self) -> Result<View<'_, R>, RecvError> {
        self.receiver.recv()
    }

    /// See [`Receiver::recv_deadline`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<View<'_, R>, RecvError> {
        self.receiver.recv_deadline(deadline)
    }

    /// See [`Receiver::try_recv`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn try_recv(&mut self) -> Result<View<'_, R>, TryRecvError> {
        self.receiver.try_recv()
    }

    /// See [`Receiver::recv_each`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn recv_each(&mut self, each: impl FnMut(View<'_, R>)) -> Result<usize, RecvError> {
        self.receiver.recv_each(each)
    }

    /// Who is at the other end, as the kernel says.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        self.sender.peer()
    }

    /// What the peer's application calls itself. Only a claim.
    #[must_use]
    pub fn peer_name(&self) -> &str {
        self.session().negotiated().peer_name.as_str()
    }

    /// The peer application's own bytes.
    ///
    /// ```
    /// # #[memring::message] #[derive(Debug, PartialEq)] pub struct Greeting { pub build: u32 }
    /// let connector = memring::Connector::new().metadata_value(&Greeting { build: 7 })?;
    /// let (server, _client) = connector.pair::<memring::Bytes>()?;
    /// assert_eq!(server.peer_metadata_value::<Greeting>()?, Greeting { build: 7 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn peer_metadata(&self) -> &[u8] {
        self.session().negotiated().peer_metadata.as_bytes()
    }

    /// The peer application's own bytes as a value of a `#[message]` type.
    ///
    /// # Errors
    ///
    /// [`DecodeError`](crate::DecodeError) if they are none.
    pub fn peer_metadata_value<T: crate::MetadataValue>(&self) -> Result<T, crate::DecodeError> {
        T::from_metadata(self.peer_metadata())
    }

    /// The session: what was negotiated, and how to end it.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        self.sender.session()
    }
}

impl<R: Message + ?Sized> Channel<[u8], R> {
    /// See [`Sender::send_vectored`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_vectored(&mut self, pieces: &[IoSlice<'_>]) -> Result<(), SendError> {
        self.sender.send_vectored(pieces)
    }

    /// See [`Sender::claim`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn claim(&mut self, len: usize) -> Result<crate::slot::Slot<'_>, SendError> {
        self.sender.claim(len)
    }
}

impl<S: Message + ?Sized, R: Message + ?Sized> fmt::Debug for Channel<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("sender", &self.sender)
            .field("receiver", &self.receiver)
            .finish()
    }
}
