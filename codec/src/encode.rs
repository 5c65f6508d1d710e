//! Where an encoding goes: a sink, and the position in it.
//!
//! Why not a `Vec`: a message is written straight into the frame that the ring lent, once. Why not
//! `io::Write`: a frame that is too small is no error to report but a reason to claim a larger one.
//!
//! The encoder knows no format.

use crate::Reason;

/// Takes the bytes of one message, in order, from the first to the last.
pub trait Sink {
    /// Appends `bytes`, all of them or none.
    ///
    /// # Errors
    ///
    /// [`SinkFull`] if they do not fit; the sink is not written to again.
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull>;

    /// Appends `bytes`, after which nothing comes. If nothing was before, they are all of the message.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    #[inline]
    fn last(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        self.write(bytes)
    }
}

/// A sink has no room for what was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkFull {
    /// This sink is too small; a larger one may do.
    #[error("no room left: encode again into a larger sink")]
    Room,
    /// No sink would do: the message exceeds the largest that is allowed.
    #[error("message exceeds the largest allowed, {max} bytes")]
    Limit {
        /// The largest message allowed, in bytes.
        max: usize,
    },
}

/// A value could not be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The sink was too small. Encode again into a larger one.
    #[error("the sink was too small: encode again into a larger one")]
    Full,
    /// The encoding exceeds the largest message allowed.
    #[error("message exceeds the largest allowed, {max} bytes: send less, or negotiate more")]
    TooLarge {
        /// The largest message allowed, in bytes.
        max: usize,
    },
    /// The value itself has no encoding, such as a path that is not UTF-8 archived as a string.
    #[error("this value cannot be encoded")]
    Unencodable {
        /// What the format said.
        source: Reason,
    },
}

impl From<SinkFull> for EncodeError {
    fn from(full: SinkFull) -> Self {
        match full {
            SinkFull::Room => Self::Full,
            SinkFull::Limit { max } => Self::TooLarge { max },
        }
    }
}

/// Writes one message into a [`Sink`] and knows how far it has come.
pub struct Encoder<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) position: usize,
}

impl<'a> Encoder<'a> {
    /// Starts at position 0, which has to lie at a multiple of 16 wherever the bytes are read in the end.
    #[inline]
    pub fn new(sink: &'a mut dyn Sink) -> Self {
        Self { sink, position: 0 }
    }

    /// Bytes written so far.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    ///
    /// [`SinkFull`] if they do not fit.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        self.sink.write(bytes)?;
        self.position += bytes.len();
        Ok(())
    }
}
