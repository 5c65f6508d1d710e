//! Faults: the rules of the lane that a peer can break.
//!
//! A fault ends the session it was seen on and no other. Its name is the rule, so that a counter or a
//! log line says what was tried.

/// The rule of the lane that the peer broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The release position moved backwards, past what was sent, or between two frames.
    #[error("the peer's release position is outside what was sent to it")]
    Head,
    /// A frame of a kind that this version does not know.
    #[error("the peer published a frame of unknown kind {0}")]
    Kind(u8),
    /// A header's reserved bits are set.
    #[error("the peer set reserved bits of a frame header")]
    Reserved,
    /// A frame is larger than a quarter of the lane, or its kind needs another length.
    #[error("the peer published a frame of {0} bytes, which its kind or the lane does not allow")]
    Length(u32),
    /// A frame claims file descriptors where none were agreed, or others than came.
    #[error("the peer's frame claims file descriptors that were not agreed or did not come")]
    Fds,
    /// What came as a blob is none, or more than were agreed.
    #[error("the peer sent as a blob what is none, or more blobs than were agreed")]
    Blob,
    /// A message is larger than the negotiated largest.
    #[error("the peer began a message of {0} bytes, more than the negotiated largest")]
    TooLarge(u64),
    /// A part without its first, a first without its last, surplus or missing bytes, an empty part.
    #[error("the peer broke off or mixed up a message in parts")]
    Parts,
    /// A pack of messages is empty, truncated or has trailing bytes.
    #[error("the peer published a malformed pack of messages")]
    Pack,
    /// A message did not validate as the agreed type.
    #[error("the peer sent bytes that are no valid message of the agreed type")]
    Decode,
    /// A packet of calls breaks a rule of theirs.
    #[error("the peer broke the rules of calls")]
    Calls,
    /// The control socket brought something that the protocol does not allow.
    #[error("the peer broke the control protocol")]
    Control,
}
