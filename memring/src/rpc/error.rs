//! Errors of calls, by function: what can go wrong with opening an interface, and with a call.

use std::fmt;
use std::sync::Arc;

use memring_codec::{DecodeError, Fingerprinted, Schema};

use super::interface::Interface;
use crate::error::{ConnectError, End, SendError};

/// The error of a method that gives none of its own. It has no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

impl Fingerprinted for Never {
    fn fingerprint(into: &mut Schema) {
        into.built_in("never");
    }
}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

/// A call came to no result. `E` is the method's own error.
///
/// Whether the method ran can be told for sure by those which say that it did not: [`never_began`](Self::never_began).
#[derive(Debug)]
#[non_exhaustive]
pub enum CallError<E = Never> {
    /// The method's own error.
    Failed(E),
    /// The peer's interface has no such method.
    UnknownMethod {
        /// The interface, with its version.
        interface: String,
        /// The method.
        method: &'static str,
    },
    /// The peer's method of this name has other types.
    MethodChanged {
        /// The interface, with its version.
        interface: String,
        /// The method.
        method: &'static str,
        /// Its signature here.
        ours: &'static str,
        /// Its signature there.
        theirs: String,
    },
    /// The peer lets this process not use the method.
    Denied {
        /// The method.
        method: &'static str,
    },
    /// The method panicked.
    Panicked,
    /// There was no answer before the deadline. What the method does of that the peer was told.
    DeadlinePassed,
    /// The caller cancelled it.
    Cancelled,
    /// The peer finishes what runs, and begins nothing new.
    ShuttingDown,
    /// As many calls are under way as the peer takes.
    TooManyCalls {
        /// How many it takes.
        most: u32,
    },
    /// The peer did not understand the arguments, or what they carry did not arrive there.
    Arguments(Arc<str>),
    /// The method ended, and its answer could not be sent: it was too large, say.
    Unanswered(Arc<str>),
    /// The method was dropped before it gave an answer.
    Dropped,
    /// The answer is none: a type of yours refuses it.
    Answer(DecodeError),
    /// The call could not be sent.
    Send(SendError),
    /// A task waits, and no thread could be had that reads for it.
    Thread(Arc<std::io::Error>),
    /// The session ended before there was an answer.
    Ended(End),
}

impl<E> CallError<E> {
    /// Whether it is certain that the method did not begin.
    #[must_use]
    pub fn never_began(&self) -> bool {
        matches!(
            self,
            Self::UnknownMethod { .. }
                | Self::MethodChanged { .. }
                | Self::Denied { .. }
                | Self::ShuttingDown
                | Self::TooManyCalls { .. }
                | Self::Arguments(_)
                | Self::Send(_)
        )
    }

    /// The same error of a method with another error of its own, or that one.
    pub(crate) fn map<F>(self, map: impl FnOnce(E) -> F) -> CallError<F> {
        match self {
            Self::Failed(error) => CallError::Failed(map(error)),
            Self::UnknownMethod { interface, method } => {
                CallError::UnknownMethod { interface, method }
            }
            Self::MethodChanged { interface, method, ours, theirs } => {
                CallError::MethodChanged { interface, method, ours, theirs }
            }
            Self::Denied { method } => CallError::Denied { method },
            Self::Panicked => CallError::Panicked,
            Self::DeadlinePassed => CallError::DeadlinePassed,
            Self::Cancelled => CallError::Cancelled,
            Self::ShuttingDown => CallError::ShuttingDown,
            Self::TooManyCalls { most } => CallError::TooManyCalls { most },
            Self::Arguments(why) => CallError::Arguments(why),
            Self::Unanswered(why) => CallError::Unanswered(why),
            Self::Dropped => CallError::Dropped,
            Self::Answer(error) => CallError::Answer(error),
            Self::Send(error) => CallError::Send(error),
            Self::Thread(error) => CallError::Thread(error),
            Self::Ended(end) => CallError::Ended(end),
        }
    }
}

impl CallError {
    /// The same error of a method with an error of its own.
    pub(crate) fn widen<E>(self) -> CallError<E> {
        self.map(|never| match never {})
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::UnknownMethod { interface, method } => {
                write!(
                    f,
                    "the peer's {interface} has no method `{method}`: it is of another build, of which the older one has to be rebuilt"
                )
            }
            Self::MethodChanged { interface, method, ours, theirs } if ours == theirs => write!(
                f,
                "method `{method}` of {interface} differs: it is written `{ours}` here and there, and \
                 a type in it has changed: rebuild the older side"
            ),
            Self::MethodChanged { interface, method, ours, theirs } => write!(
                f,
                "method `{method}` of {interface} differs: here it is `{ours}`, and the peer's is \
                 `{theirs}`: rebuild the older side"
            ),
            Self::Denied { method } => {
                write!(f, "the peer does not let this process call `{method}`")
            }
            Self::Panicked => f.write_str("the method panicked"),
            Self::DeadlinePassed => f.write_str("no answer before the deadline"),
            Self::Cancelled => f.write_str("the call was cancelled"),
            Self::ShuttingDown => f.write_str("the peer is shutting down and begins nothing new"),
            Self::TooManyCalls { most } => {
                write!(f, "{most} calls are under way, the most that the peer takes at once")
            }
            Self::Arguments(why) => write!(f, "the peer could not use the arguments: {why}"),
            Self::Unanswered(why) => {
                write!(f, "the method ended, and its answer could not be sent: {why}")
            }
            Self::Dropped => f.write_str("the method was dropped without an answer"),
            Self::Answer(_) => f.write_str("decoding the answer"),
            Self::Send(_) => f.write_str("sending the call"),
            Self::Thread(_) => f.write_str("starting a thread that reads for tasks"),
            Self::Ended(_) => f.write_str("the session ended before there was an answer"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for CallError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Answer(error) => Some(error),
            Self::Send(error) => Some(error),
            Self::Ended(end) => Some(end),
            _ => None,
        }
    }
}

/// A reply of a stream was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The caller reads no more: it cancelled, or its deadline has passed.
    #[error("the caller reads no more")]
    Cancelled,
    /// This one could not be sent; others can.
    #[error("sending a reply")]
    Send(#[source] SendError),
    /// The session ended.
    #[error("the session ended")]
    Ended(#[source] End),
}

/// An interface could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer serves no interface of this name.
    #[error("the peer serves no interface `{name}`: is it another server, or an older build?")]
    UnknownInterface {
        /// Its name.
        name: &'static str,
    },
    /// The peer serves it, in other versions only.
    #[error(
        "the peer serves {name} in {}, and not {wanted}: open one of these, or rebuild the older side",
        list_of(offered)
    )]
    UnknownVersion {
        /// Its name.
        name: &'static str,
        /// The version that was asked for.
        wanted: &'static str,
        /// The versions that there are.
        offered: Vec<String>,
    },
    /// The peer's policy does not let this process use it.
    #[error("the peer does not let this process use {name}")]
    Denied {
        /// Its name.
        name: &'static str,
    },
    /// The peer's answer, which has all its methods and signals, is longer than its lane holds at once.
    #[error(
        "the peer's answer about {name} does not fit its lane: ask for larger lanes from the server"
    )]
    TooLong {
        /// Its name.
        name: &'static str,
    },
    /// The peer's answer is none.
    #[error("the peer's answer is none: it does not keep to the protocol of calls")]
    Answer(#[source] DecodeError),
    /// The declaration breaks a limit of the protocol.
    #[error(
        "{0} is no interface that can be asked for: its name or version, or one of its members', is empty or too long"
    )]
    Declaration(&'static str),
    /// No session came about to ask in.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Asking failed.
    #[error("asking for the interface")]
    Call(#[source] CallError),
}

impl OpenError {
    pub(crate) fn denied(interface: &Interface) -> Self {
        Self::Denied { name: interface.name }
    }
}

pub(super) fn list_of(versions: &[String]) -> String {
    match versions {
        [] => "no version".into(),
        [one] => format!("version {one}"),
        many => format!("versions {}", many.join(", ")),
    }
}
