//! What a message is: a type, a format that turns it into bytes and back, and a fingerprint.
//!
//! Why the format is a parameter: rkyv is read in place, JSON is parsed into a value, raw bytes are what
//! they are, and one channel serves them all. What a receiver gets is the format's *view*.
//!
//! Not here: any format itself. The unsafe method is declared here and argued where it is written.

#![allow(unsafe_code)]

use std::sync::Arc;

use crate::attached::{Arrivals, Attaches};
use crate::{Carries, EncodeError, Encoder, Fingerprint, Reason};

/// A type that travels on a channel. Written by `#[message]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a message",
    note = "put `#[memring::message]` on its declaration"
)]
pub trait Message: 'static {
    /// How it becomes bytes.
    type Format: Format<Self>;

    /// The digest of its structure, shown to the peer when a channel opens. Computed by each call.
    #[must_use]
    fn fingerprint() -> Fingerprint;

    /// A short name for people, shown when two sides mismatch. Never a path.
    #[must_use]
    fn name() -> String;

    /// What its values may carry beside bytes, by their type: nothing unless it is a message with attachments.
    #[must_use]
    fn carries() -> Carries {
        Carries::default()
    }
}

/// Where a message has what it carries beside its bytes: file descriptors and blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carriage {
    /// It carries nothing.
    None,
    /// Beside it, in an order; its bytes say nothing of them.
    Beside,
    /// Its bytes name each of them.
    Within,
}

/// Turns a `T` into bytes and validates bytes as a `T`.
pub trait Format<T: ?Sized> {
    /// What a receiver looks at: the archived form of `T`, the bytes, or an owned `T`.
    type View: ?Sized;

    /// What validation leaves behind to be kept beside the bytes: nothing for formats read in place. Several threads may
    /// read a message that is kept, or a blob.
    type Checked: Send + Sync + 'static;

    /// What people call it, such as `JSON`: told to a peer that means another. Raw bytes are in none.
    const NAME: &'static str = "";

    /// Bytes of most encodings, where the type says it. Others are as good, only slower to receive.
    const USUAL: Option<usize> = None;

    /// What messages may carry beside their bytes.
    const CARRIAGE: Carriage = Carriage::None;

    /// Writes `value`, from the encoder's position 0 on.
    ///
    /// # Errors
    ///
    /// [`EncodeError::Full`] if the sink had too little room; what it holds then is worthless, and the
    /// value can be encoded again into a larger one. The other errors will not go away by trying again.
    fn encode(value: &T, out: &mut Encoder<'_>) -> Result<(), EncodeError>;

    /// As [`encode`](Self::encode), with a place for what `value` carries.
    ///
    /// # Errors
    ///
    /// As `encode`; [`EncodeError::Unencodable`] too if there is no place for it.
    fn encode_with(
        value: &T,
        out: &mut Encoder<'_>,
        attached: &mut dyn Attaches,
    ) -> Result<(), EncodeError> {
        let _ = attached;
        Self::encode(value, out)
    }

    /// The encoding of `value`, if it lies there already: such a message is copied once and never encoded.
    #[inline]
    #[must_use]
    fn ready(value: &T) -> Option<&[u8]> {
        let _ = value;
        None
    }

    /// The encodings of `values`, if they lie there already, one after the other: each `size_of::<T>()` bytes, a multiple of 8
    /// and not zero.
    #[inline]
    #[must_use]
    fn ready_all(values: &[T]) -> Option<&[u8]>
    where
        T: Sized,
    {
        let _ = values;
        None
    }

    /// The alignment at which most encodings of `len` bytes can be looked at: 16 unless the format knows better. One
    /// that is refused at a smaller one is looked at again at 16.
    #[inline]
    #[must_use]
    fn alignment(len: usize) -> usize {
        let _ = len;
        16
    }

    /// Checks that `bytes` are a `T`. They are believed in nothing, but must be private to the caller
    /// and begin at a multiple of what [`alignment`](Self::alignment) says.
    ///
    /// # Errors
    ///
    /// Any [`DecodeError`]: the sender broke the format, or means another type by this one's name.
    fn decode(bytes: &[u8]) -> Result<Self::Checked, DecodeError>;

    /// As [`decode`](Self::decode), of a message that these came with.
    ///
    /// # Errors
    ///
    /// As `decode`; [`DecodeError::Invalid`] too if the message names others than came.
    fn decode_with(
        bytes: &[u8],
        arrivals: Arc<dyn Arrivals>,
    ) -> Result<Self::Checked, DecodeError> {
        drop(arrivals);
        Self::decode(bytes)
    }

    /// Looks at bytes that were checked.
    ///
    /// # Safety
    ///
    /// 1. `checked` came from `Self::decode` of these very bytes, and they lie where they lay then. (A copy has
    ///    to be decoded again: a type may ask for more alignment than 16.)
    /// 2. Nothing wrote to them since, and nothing can for as long as `'a` lasts.
    unsafe fn view<'a>(checked: &'a Self::Checked, bytes: &'a [u8]) -> &'a Self::View;
}

/// What a receiver of `T` looks at.
pub type View<T> = <<T as Message>::Format as Format<T>>::View;

/// What validating a `T` leaves behind, kept beside its bytes.
pub type Checked<T> = <<T as Message>::Format as Format<T>>::Checked;

/// Received bytes are not what their type says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Fewer bytes than the smallest value takes.
    #[error("message of {found} bytes is too short: its type takes at least {needed}")]
    Short {
        /// Bytes that the smallest value takes.
        needed: usize,
        /// Bytes that came.
        found: usize,
    },
    /// The value ends before the bytes do.
    #[error("{surplus} of the message's {found} bytes belong to no part of it")]
    Surplus {
        /// Bytes that nothing in the message refers to.
        surplus: usize,
        /// Bytes that came.
        found: usize,
    },
    /// A pointer, length, tag, number or text in the message is not valid.
    #[error("message is not a valid encoding of its type")]
    Invalid {
        /// The check that failed, and the fields that led to it.
        source: Reason,
    },
}
