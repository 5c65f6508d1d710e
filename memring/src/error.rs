//! Errors, by function: what can go wrong with a send, a receive, a connection, a listener.

use std::fmt;
use std::io;
use std::sync::Arc;

use memring_codec::EncodeError;
use memring_ring::producer;
use memring_transport::control::TextError;
use memring_transport::{
    AcceptError, AddressError, FurtherError, HandshakeError, ListenError, Peer,
};

/// How a direction of a channel ended. It stays so: every later call says the same.
///
/// ```
/// use memring::{Bytes, End, RecvError};
///
/// let (server, mut client) = memring::pair::<Bytes>()?;
/// drop(server);
/// match client.recv() {
///     Err(RecvError::Ended(End::Closed)) => println!("done"),
///     Err(RecvError::Ended(End::PeerDied(peer))) => println!("{peer} died: start it again"),
///     other => println!("{other:?}"),
/// }
/// # Ok::<(), memring::ConnectError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum End {
    /// The peer closed this direction in order. All it sent before was received.
    Closed,
    /// The peer's process or its socket ended without a word. All it had published before was received.
    /// The value keeps the peer's pidfd open as long as it lives.
    PeerDied(Peer),
    /// The peer broke a rule of the protocol; the session is over for both directions.
    Fault(Fault),
    /// This process was forked from the one that owns the session. Connect anew.
    Forked,
    /// This side closed the session.
    Local,
}

/// The rule that the peer broke, and what was found.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The rule.
    pub rule: memring_ring::Fault,
    /// What exactly was wrong, where there is more to say.
    pub detail: Option<Arc<str>>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rule.fmt(f)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer closed the channel"),
            Self::PeerDied(peer) => write!(f, "the peer died: {peer}"),
            Self::Fault(fault) => write!(f, "the session was ended, because {fault}"),
            Self::Forked => f.write_str(
                "the session belongs to the parent process: a forked child has to connect anew",
            ),
            Self::Local => f.write_str("this side closed the session"),
        }
    }
}

impl std::error::Error for End {}

impl From<End> for io::Error {
    fn from(end: End) -> Self {
        let kind = match end {
            End::Closed => io::ErrorKind::BrokenPipe,
            End::PeerDied(_) => io::ErrorKind::ConnectionReset,
            End::Fault(_) => io::ErrorKind::InvalidData,
            End::Forked => io::ErrorKind::Unsupported,
            End::Local => io::ErrorKind::NotConnected,
        };
        Self::new(kind, end)
    }
}

/// A blocking send failed. Nothing of the message will be seen by the peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There was no room before the deadline: the peer does not keep up.
    #[error("the peer made no room before the deadline")]
    TimedOut,
    /// The message exceeds the negotiated largest.
    #[error(
        "a message of {len} bytes exceeds {max}, the negotiated largest: send less or a blob, or raise the limit on both sides"
    )]
    TooLarge {
        /// Bytes of the message, or more than the limit if it was not encoded to its end.
        len: u64,
        /// The negotiated largest, in bytes.
        max: u64,
    },
    /// The value could not be encoded.
    #[error("encoding the message")]
    Encode(#[source] EncodeError),
    /// The message carries more file descriptors than the peer takes.
    #[error(
        "a message with {count} file descriptors, and the peer takes {most}: send fewer, or let it take more"
    )]
    TooManyFds {
        /// How many it carries, or with the blobs that the peer does not know if only so it is too many.
        count: usize,
        /// How many may be under way to the peer, or go with one message at all.
        most: u16,
    },
    /// The message names more blobs, or larger ones, than the peer keeps at a time.
    #[error("the message names more or larger blobs than the peer keeps: let it keep more")]
    Blobs,
    /// Too many file descriptors of this user are under way, in all its processes. Wait until some have been received.
    #[error(
        "too many file descriptors of this user are under way in all its processes: wait until some were received"
    )]
    FdsInFlight,
    /// The kernel did not pass the file descriptors on.
    #[error("passing file descriptors")]
    Fds(#[source] io::Error),
    /// The direction has ended.
    #[error(transparent)]
    Ended(#[from] End),
}

/// A send that does not wait failed. Nothing was sent; the value is still the caller's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// There is no room now. The peer may make some at any moment.
    #[error("the lane is full")]
    Full,
    /// The message exceeds the negotiated largest, or what the lane holds at once.
    #[error(
        "a message of {len} bytes exceeds {max}, the most that can be sent at once without waiting"
    )]
    TooLarge {
        /// Bytes of the message, or more than the limit if it was not encoded to its end.
        len: u64,
        /// The most that can be sent so, in bytes.
        max: u64,
    },
    /// The value could not be encoded.
    #[error("encoding the message")]
    Encode(#[source] EncodeError),
    /// The message carries more file descriptors than the peer takes.
    #[error(
        "a message with {count} file descriptors, and the peer takes {most}: send fewer, or let it take more"
    )]
    TooManyFds {
        /// How many it carries, or with the blobs that the peer does not know if only so it is too many.
        count: usize,
        /// How many may be under way to the peer, or go with one message at all.
        most: u16,
    },
    /// The message names more blobs, or larger ones, than the peer keeps at a time.
    #[error("the message names more or larger blobs than the peer keeps: let it keep more")]
    Blobs,
    /// Too many file descriptors of this user are under way, in all its processes. Wait until some have been received.
    #[error(
        "too many file descriptors of this user are under way in all its processes: wait until some were received"
    )]
    FdsInFlight,
    /// The kernel did not pass the file descriptors on.
    #[error("passing file descriptors")]
    Fds(#[source] io::Error),
    /// The direction has ended.
    #[error(transparent)]
    Ended(#[from] End),
}

/// A blocking receive failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// No message came before the deadline.
    #[error("no message before the deadline")]
    TimedOut,
    /// A message came and its file descriptors did not all: this process has too many open, or a security module
    /// refused one. The message and the descriptors that did come are gone; the channel goes on.
    #[error(
        "a message is lost, for this process could not have the descriptors or blobs that go with it: \
         raise RLIMIT_NOFILE, or keep fewer open"
    )]
    FdsLost {
        /// How many it was sent with; none if what could not be had is a blob that was sent before.
        sent: usize,
    },
    /// The direction has ended, and everything sent before was received.
    #[error(transparent)]
    Ended(#[from] End),
}

/// A receive that does not wait failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TryRecvError {
    /// There is no message now.
    #[error("no message")]
    Empty,
    /// A message came and its file descriptors did not all: this process has too many open, or a security module
    /// refused one. The message and the descriptors that did come are gone; the channel goes on.
    #[error(
        "a message is lost, for this process could not have the descriptors or blobs that go with it: \
         raise RLIMIT_NOFILE, or keep fewer open"
    )]
    FdsLost {
        /// How many it was sent with; none if what could not be had is a blob that was sent before.
        sent: usize,
    },
    /// The direction has ended, and everything sent before was received.
    #[error(transparent)]
    Ended(#[from] End),
}

/// No listener came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be one.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The address cannot be listened at.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A name or the metadata breaks a limit.
    #[error("the {what}")]
    Text {
        /// Which setting.
        what: &'static str,
        /// The limit.
        source: TextError,
    },
}

/// No session came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be one.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The peer could not be reached, or the handshake failed.
    #[error(transparent)]
    Connect(#[from] memring_transport::ConnectError),
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// A name or the metadata breaks a limit.
    #[error("the {what}")]
    Text {
        /// Which setting.
        what: &'static str,
        /// The limit.
        source: TextError,
    },
    /// The session stands, and the runtime of the task cannot wait for it.
    #[error("waiting for the session in this runtime")]
    Runtime(#[source] io::Error),
}

/// A setting that breaks a limit of the protocol, kept until there is an error to put it into.
pub(crate) type BadText = (&'static str, TextError);

impl From<BadText> for ConnectError {
    fn from((what, source): BadText) -> Self {
        Self::Text { what, source }
    }
}

impl From<BadText> for BindError {
    fn from((what, source): BadText) -> Self {
        Self::Text { what, source }
    }
}

impl SendError {
    pub(crate) fn of_encoding(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { max } => {
                Self::TooLarge { len: max as u64 + 1, max: max as u64 }
            }
            other => Self::Encode(other),
        }
    }
}

impl TrySendError {
    pub(crate) fn of_encoding(error: EncodeError) -> Self {
        match error {
            EncodeError::TooLarge { max } => {
                Self::TooLarge { len: max as u64 + 1, max: max as u64 }
            }
            other => Self::Encode(other),
        }
    }
}

impl TryRecvError {
    /// What it is to somebody who waited.
    pub(crate) fn waited(self) -> RecvError {
        match self {
            Self::Empty => RecvError::TimedOut,
            Self::FdsLost { sent } => RecvError::FdsLost { sent },
            Self::Ended(end) => RecvError::Ended(end),
        }
    }
}

impl TrySendError {
    /// What it is to somebody who waited.
    pub(crate) fn waited(self) -> SendError {
        match self {
            Self::Full => SendError::TimedOut,
            Self::TooLarge { len, max } => SendError::TooLarge { len, max },
            Self::Encode(error) => SendError::Encode(error),
            Self::TooManyFds { count, most } => SendError::TooManyFds { count, most },
            Self::Blobs => SendError::Blobs,
            Self::FdsInFlight => SendError::FdsInFlight,
            Self::Fds(error) => SendError::Fds(error),
            Self::Ended(end) => SendError::Ended(end),
        }
    }
}

/// Why a message that was taken was not handed out.
pub(crate) enum NotLent {
    Ended(End),
    FdsLost { sent: usize },
}

impl From<NotLent> for RecvError {
    fn from(not: NotLent) -> Self {
        match not {
            NotLent::Ended(end) => Self::Ended(end),
            NotLent::FdsLost { sent } => Self::FdsLost { sent },
        }
    }
}

impl From<NotLent> for TryRecvError {
    fn from(not: NotLent) -> Self {
        match not {
            NotLent::Ended(end) => Self::Ended(end),
            NotLent::FdsLost { sent } => Self::FdsLost { sent },
        }
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Ended(end) => end.into(),
            SendError::TimedOut => Self::new(io::ErrorKind::TimedOut, error),
            SendError::FdsInFlight => Self::new(io::ErrorKind::ResourceBusy, error),
            SendError::Fds(source) => source,
            _ => Self::new(io::ErrorKind::InvalidInput, error),
        }
    }
}

impl From<TrySendError> for io::Error {
    fn from(error: TrySendError) -> Self {
        match error {
            TrySendError::Ended(end) => end.into(),
            TrySendError::Full => Self::new(io::ErrorKind::WouldBlock, error),
            TrySendError::FdsInFlight => Self::new(io::ErrorKind::ResourceBusy, error),
            TrySendError::Fds(source) => source,
            _ => Self::new(io::ErrorKind::InvalidInput, error),
        }
    }
}

impl From<RecvError> for io::Error {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Ended(end) => end.into(),
            RecvError::TimedOut => Self::new(io::ErrorKind::TimedOut, error),
            RecvError::FdsLost { .. } => Self::other(error),
        }
    }
}

impl From<TryRecvError> for io::Error {
    fn from(error: TryRecvError) -> Self {
        match error {
            TryRecvError::Ended(end) => end.into(),
            TryRecvError::Empty => Self::new(io::ErrorKind::WouldBlock, error),
            TryRecvError::FdsLost { .. } => Self::other(error),
        }
    }
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        let kind = match &error {
            BindError::Listen(ListenError::Bind(memring_transport::BindError::InUse {
                ..
            })) => io::ErrorKind::AddrInUse,
            BindError::Address(_)
            | BindError::Text { .. }
            | BindError::Listen(ListenError::Settings(_)) => io::ErrorKind::InvalidInput,
            _ => innermost_kind(&error),
        };
        Self::new(kind, error)
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        use memring_transport::{ConnectError as Transport, ConnectProblem};
        let kind = match &error {
            ConnectError::Address(_) | ConnectError::Text { .. } => io::ErrorKind::InvalidInput,
            ConnectError::Connect(Transport::Unreachable(problem)) => match problem {
                ConnectProblem::NotThere(_) => io::ErrorKind::NotFound,
                ConnectProblem::NobodyListens(_) => io::ErrorKind::ConnectionRefused,
                ConnectProblem::NotAllowed(_) => io::ErrorKind::PermissionDenied,
                ConnectProblem::BacklogFull(_) => io::ErrorKind::WouldBlock,
                ConnectProblem::TimedOut { .. } => io::ErrorKind::TimedOut,
                _ => innermost_kind(&error),
            },
            ConnectError::Connect(Transport::Handshake(handshake))
            | ConnectError::Handshake(handshake) => match handshake {
                HandshakeError::TimedOut => io::ErrorKind::TimedOut,
                HandshakeError::PeerGone => io::ErrorKind::ConnectionReset,
                HandshakeError::Denied(_) => io::ErrorKind::PermissionDenied,
                HandshakeError::Rejected(_)
                | HandshakeError::Refused(_)
                | HandshakeError::NotTaken(_) => io::ErrorKind::ConnectionRefused,
                HandshakeError::Fault(_) | HandshakeError::Segment(_) => io::ErrorKind::InvalidData,
                HandshakeError::Settings(_) => io::ErrorKind::InvalidInput,
                _ => innermost_kind(&error),
            },
            _ => innermost_kind(&error),
        };
        Self::new(kind, error)
    }
}

/// Why there is no further channel in a session.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// One of the sides does not allow any.
    #[error(
        "this session has one channel: have both sides allow further ones (`channels`) before it begins"
    )]
    NotAllowed,
    /// The other side does not want it, and may have said why.
    #[error("the other side declined the channel{}", with_sentence(.0))]
    Declined(String),
    /// There are as many as the other side allows at a time.
    #[error("the other side allows no more channels now{}", with_sentence(.0))]
    TooMany(String),
    /// The deadline passed.
    #[error("no channel before the deadline")]
    TimedOut,
    /// The session has ended.
    #[error("the session has ended: {0}")]
    Ended(End),
    /// A name or metadata breaks a limit.
    #[error("{field} cannot be sent")]
    Text {
        /// Which.
        field: &'static str,
        /// Why.
        source: TextError,
    },
    /// The channel's handshake failed, the messages that both sides mean differ, or what came is no socket of the session's.
    #[error("setting up the channel")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn with_sentence(sentence: &str) -> String {
    if sentence.is_empty() { String::new() } else { format!(": {sentence}") }
}

impl From<BadText> for ChannelError {
    fn from((field, source): BadText) -> Self {
        Self::Text { field, source }
    }
}

impl ChannelError {
    pub(crate) fn of(error: FurtherError, peer: &Peer) -> Self {
        match error {
            FurtherError::NotAllowed => Self::NotAllowed,
            FurtherError::Declined(sentence) => Self::Declined(sentence.as_str().to_owned()),
            FurtherError::TooMany(sentence) => Self::TooMany(sentence.as_str().to_owned()),
            FurtherError::TimedOut | FurtherError::Handshake(HandshakeError::TimedOut) => {
                Self::TimedOut
            }
            FurtherError::Ended(end) => Self::Ended(end_of(end, peer)),
            other => Self::Setup(Box::new(other)),
        }
    }
}

/// An accept failed for good or by its deadline; a peer that fails is no error.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AcceptFailed(#[from] pub AcceptError);

impl From<AcceptFailed> for io::Error {
    fn from(error: AcceptFailed) -> Self {
        let kind = match &error.0 {
            AcceptError::TimedOut => io::ErrorKind::TimedOut,
            AcceptError::ShutDown => io::ErrorKind::NotConnected,
            AcceptError::Forked => io::ErrorKind::Unsupported,
            _ => innermost_kind(&error),
        };
        Self::new(kind, error)
    }
}

fn innermost_kind(error: &(dyn std::error::Error + 'static)) -> io::ErrorKind {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind();
        }
        source = error.source();
    }
    io::ErrorKind::Other
}

/// Turns a ring's word for the end into ours, which knows the peer.
pub(crate) fn end_of(end: memring_ring::End, peer: &Peer) -> End {
    match end {
        memring_ring::End::Closed => End::Closed,
        memring_ring::End::HungUp => End::PeerDied(peer.clone()),
        memring_ring::End::Fault(rule) => End::Fault(Fault { rule, detail: None }),
        memring_ring::End::Forked => End::Forked,
        _ => End::Local,
    }
}

pub(crate) fn send_error(error: producer::SendError, peer: &Peer) -> SendError {
    match error {
        producer::SendError::Ended(end) => SendError::Ended(end_of(end, peer)),
        producer::SendError::TooLarge { len, max } => SendError::TooLarge { len, max },
        _ => SendError::TimedOut,
    }
}

pub(crate) fn try_send_error(error: producer::TrySendError, peer: &Peer) -> TrySendError {
    match error {
        producer::TrySendError::Ended(end) => TrySendError::Ended(end_of(end, peer)),
        producer::TrySendError::TooLarge { len, max } => TrySendError::TooLarge { len, max },
        _ => TrySendError::Full,
    }
}
