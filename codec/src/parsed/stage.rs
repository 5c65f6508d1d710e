//! Where a library writes: bytes gathered, and passed on to the encoder by the hundred.
//!
//! Why: libraries write a byte or a few at a time, and each piece handed to a sink costs a call and a copy into
//! shared memory. A message that fits is passed on whole.
//!
//! It keeps what the sink said when it refused: the libraries know only that something failed.

use crate::{EncodeError, Encoder, SinkFull};

/// Bytes gathered before they are passed on.
const STAGE: usize = 512;

/// The way to an encoder.
pub struct Stage<'a, 'e> {
    out: &'a mut Encoder<'e>,
    bytes: [u8; STAGE],
    /// The first so many bytes are not yet passed on.
    staged: usize,
    refusal: Option<SinkFull>,
}

/// The sink refused. Why is kept in the stage.
#[derive(Debug, thiserror::Error)]
#[error("the sink has no room left")]
pub struct Refused;

impl<'a, 'e> Stage<'a, 'e> {
    pub(super) fn new(out: &'a mut Encoder<'e>) -> Self {
        Self { out, bytes: [0; STAGE], staged: 0, refusal: None }
    }

    /// Appends `bytes`.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let Some(room) = self.bytes[self.staged..].get_mut(..bytes.len()) else {
            return self.push_past(bytes);
        };
        room.copy_from_slice(bytes);
        self.staged += bytes.len();
        Ok(())
    }

    /// Appends more than the stage has room for.
    #[cold]
    fn push_past(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let staged = std::mem::take(&mut self.staged);
        if self.refusal.is_none() {
            let written = self.out.write(&self.bytes[..staged]);
            self.refusal = written.err();
        }
        if self.refusal.is_none() && bytes.len() > STAGE {
            self.refusal = self.out.write(bytes).err();
        } else if bytes.len() <= STAGE {
            self.bytes[..bytes.len()].copy_from_slice(bytes);
            self.staged = bytes.len();
        }
        if self.refusal.is_some() { Err(Refused) } else { Ok(()) }
    }

    /// Bytes that were appended, passed on or not.
    pub(super) fn len(&self) -> usize {
        self.out.position + self.staged
    }

    /// Passes on the rest if the value is `whole`.
    ///
    /// # Errors
    ///
    /// What the sink said, if it refused, now or before.
    pub(super) fn finish(mut self, whole: bool) -> Result<(), EncodeError> {
        if self.refusal.is_none() && whole {
            let rest = &self.bytes[..self.staged];
            self.refusal = self.out.sink.last(rest).err();
            self.out.position += rest.len();
        }
        match self.refusal {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }
}
