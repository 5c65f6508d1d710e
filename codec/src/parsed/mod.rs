//! Formats that go through serde: a message is written from a value and parsed into one.
//!
//! Why beside rkyv: a type may have serde's derives already, and JSON, CBOR and postcard are read by others too.
//! What a receiver gets is the value itself, made once.
//!
//! The libraries parse; what they may cost is decided here, alike for all three ([`bounds`], put around them by
//! [`reading`] and [`writing`]): a message has at most [`DEPTH`](crate::DEPTH) levels, no more elements than
//! bytes, and nothing after its end. What a receiver would refuse for these reasons its sender refuses first.
//!
//! It reads nothing in place, and it does not keep the library's own errors: their text is the peer's to choose.

// `Format` declares an unsafe method. Nothing unsafe is done here.
#![allow(unsafe_code)]

mod bounds;
#[cfg(feature = "cbor")]
mod cbor;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "json")]
mod named;
#[cfg(feature = "postcard")]
mod postcard;
mod reading;
mod said;
mod stage;
mod writing;

use std::marker::PhantomData;

use serde_core::Serialize;
use serde_core::de::{DeserializeOwned, DeserializeSeed};

use crate::{DecodeError, EncodeError, Encoder, Format};
use bounds::Bounds;
use said::Said;
use stage::Stage;

#[cfg(feature = "cbor")]
pub use cbor::Cbor;
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "json")]
pub use named::{Arguments, Next, archive_json, incomplete};
#[cfg(feature = "postcard")]
pub use postcard::Postcard;

/// The format of messages that serde writes and parses, in the notation `N`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parsed<N>(PhantomData<N>);

/// A way to write serde's values down: what differs between one library and the next.
pub trait Notation: 'static {
    /// What people call it; also a part of the fingerprint.
    const NAME: &'static str;

    /// What it can say.
    const SAYS: Says;

    /// Writes `value`.
    #[doc(hidden)]
    fn write<T: Serialize>(value: &T, out: &mut Stage<'_, '_>) -> Result<(), Said>;

    /// Reads what `seed` makes of `bytes`. Also how many of them are left over.
    #[doc(hidden)]
    fn read<'de, S>(seed: S, bytes: &'de [u8]) -> Result<(S::Value, usize), Said>
    where
        S: DeserializeSeed<'de>;
}

/// What a notation can say, and so what a sender may ask of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Says {
    /// Numbers that are none, and infinite ones.
    pub not_finite: bool,
    /// That a field is left out: it gives fields by name.
    pub left_out: bool,
}

impl<T, N> Format<T> for Parsed<N>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    N: Notation,
{
    type View = T;
    type Checked = T;

    const NAME: &'static str = N::NAME;

    fn encode(value: &T, out: &mut Encoder<'_>) -> Result<(), EncodeError> {
        write::<N, T>(value, out)
    }

    /// A value is made of bytes wherever they lie.
    fn alignment(_: usize) -> usize {
        1
    }

    fn decode(bytes: &[u8]) -> Result<T, DecodeError> {
        read::<N, T>(bytes)
    }

    unsafe fn view<'a>(checked: &'a T, _: &'a [u8]) -> &'a T {
        checked
    }
}

/// Writes `value`, within bounds.
fn write<N: Notation, T: Serialize>(value: &T, out: &mut Encoder<'_>) -> Result<(), EncodeError> {
    let bounds = Bounds::of_writing();
    let mut stage = Stage::new(out);
    let written = N::write(&writing::Watched::new(value, &bounds, N::SAYS), &mut stage)
        .map_err(|said| bounds.reason(said))
        .and_then(|()| bounds.settle(stage.len()));
    // A sink that refused is why nothing could be written.
    stage.finish(written.is_ok())?;
    written.map_err(|source| EncodeError::Unencodable { source })
}

/// Reads a value that is all of `bytes`, within bounds.
fn read<N: Notation, T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let bounds = Bounds::of_reading(bytes.len());
    let seed = reading::Seed::new(PhantomData::<T>, &bounds);
    match N::read(seed, bytes) {
        Ok((value, 0)) => Ok(value),
        Ok((_, surplus)) => Err(DecodeError::Surplus { surplus, found: bytes.len() }),
        Err(said) => Err(DecodeError::Invalid { source: bounds.reason(said) }),
    }
}

/// Writes `value` as JSON, though its type be a message in another format.
///
/// # Errors
///
/// As [`Format::encode`].
#[cfg(feature = "json")]
pub fn to_json<T: Serialize>(value: &T, out: &mut Encoder<'_>) -> Result<(), EncodeError> {
    write::<Json, T>(value, out)
}
