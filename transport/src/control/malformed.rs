//! How a control packet can break the rules, one variant a rule.
//!
//! Whoever debugs a second implementation reads these sentences, so each names the field and what
//! would have been right. What it does not do: repeat bytes of the peer's text.

use thiserror::Error;

use super::{MAGIC, MAX_PACKET};

/// The rule of the wire format that a packet breaks. The peer broke it: close the session.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A packet without a byte; a reader cannot tell it from the end of the socket.
    #[error("an empty packet: every control message has a header of 16 bytes")]
    Empty,
    /// More bytes than any control message has.
    #[error("a packet longer than {MAX_PACKET} bytes")]
    Oversized,
    /// The packet ends inside a fixed part.
    #[error("the packet ends inside the {what}, with {have} bytes of it there")]
    Truncated {
        /// The fixed part.
        what: &'static str,
        /// How many bytes of it came.
        have: usize,
    },
    /// Not one of ours: something else is speaking.
    #[error("the packet begins with {0:02x?}, not {MAGIC:02x?}: the peer does not speak memring")]
    Magic([u8; 4]),
    /// A kind this version does not have.
    #[error("control messages of kind {0} do not exist in protocol version 1")]
    Kind(u16),
    /// Bytes that must be zero are not.
    #[error("reserved bytes of the {field} must be zero")]
    Reserved {
        /// The part they stand in.
        field: &'static str,
    },
    /// The header's length is not the packet's.
    #[error("the header states {stated} bytes, the packet has {got}")]
    Length {
        /// As stated.
        stated: u32,
        /// As received.
        got: usize,
    },
    /// A variable part is longer than its limit.
    #[error("{field} of {len} bytes, at most {limit} are allowed")]
    TooLong {
        /// The variable part.
        field: &'static str,
        /// Its stated length.
        len: usize,
        /// The most it may have.
        limit: usize,
    },
    /// The packet ends inside a variable part.
    #[error("{field} should have {len} bytes, the packet ends after {have}")]
    TailTruncated {
        /// The variable part.
        field: &'static str,
        /// Its stated length.
        len: usize,
        /// How many bytes were left.
        have: usize,
    },
    /// Bytes after the last variable part.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// Text that is not UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// The variable part.
        field: &'static str,
    },
    /// Text with a control character, which could upset a terminal or a log.
    #[error("{field} holds a control character")]
    ControlCharacter {
        /// The variable part.
        field: &'static str,
    },
    /// A number outside what the protocol allows.
    #[error("{field} is {value}, but {rule}")]
    Value {
        /// The number's name.
        field: &'static str,
        /// As received.
        value: u64,
        /// What would be right.
        rule: &'static str,
    },
}
