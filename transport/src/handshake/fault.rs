//! How a handshake goes wrong: the peer broke a rule, or our own settings do.
//!
//! What it does not do: hold the news that the other side said no; that is an outcome, see
//! [`Rejection`](super::Rejection) and [`Refusal`](super::Refusal).

use thiserror::Error;

use crate::control::{Control, Kind, Malformed};

/// The rule of the handshake that the peer broke. Close the socket; nothing it sent counts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandshakeFault {
    /// A packet is no control message.
    #[error("the peer sent a malformed control message: {0}")]
    Malformed(#[from] Malformed),
    /// A good message at the wrong time, or twice.
    #[error("the peer sent {got} while {due} was due")]
    OutOfOrder {
        /// What came.
        got: Kind,
        /// What would have been right.
        due: &'static str,
    },
    /// The wrong number of file descriptors.
    #[error("the peer sent {got} file descriptors with {kind}, exactly {due} are due")]
    FdCount {
        /// What they came with.
        kind: Kind,
        /// How many are due.
        due: usize,
        /// How many came.
        got: usize,
    },
    /// A channel that is not the one being opened.
    #[error("the peer named channel {got} where channel {due} is due")]
    Channel {
        /// The one being opened.
        due: u32,
        /// The one named.
        got: u32,
    },
    /// Welcome chose what Hello had not offered.
    #[error("the peer's Welcome breaks a rule: {rule}")]
    Choice {
        /// What would have been right.
        rule: &'static str,
    },
    /// Granted states sizes this side cannot take.
    #[error("the peer granted {field} of {value}, but {rule}")]
    Grant {
        /// The number's name.
        field: &'static str,
        /// As granted.
        value: u64,
        /// What would have been right.
        rule: &'static str,
    },
}

impl HandshakeFault {
    pub(super) fn out_of_order(got: &Control<'_>, due: &'static str) -> Self {
        Self::OutOfOrder { got: got.kind(), due }
    }
}

/// Our own settings break a rule of the protocol, so nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("these settings cannot be sent: {0}")]
pub struct SettingsError(#[source] pub(super) Malformed);
