//! Plain data: types whose bytes are their encoding, as zerocopy vouches. Nothing is encoded and nothing parsed.
//!
//! Why beside rkyv, which sends its own plain types as they lie too: these are read as the type itself, with
//! ordinary numbers, and no second type is made for its archive. That their bytes are all initialised, and which
//! bytes are a value, is proven by zerocopy's derives.
//!
//! Not for types with anything out of line. Numbers are in this machine's byte order: both sides are on one.

#![allow(unsafe_code)]

use rkyv::rancor::Source;
use zerocopy::{Immutable, IntoBytes, KnownLayout, TryCastError, TryFromBytes};

use crate::{DecodeError, EncodeError, Encoder, Format, Reason};

/// The format of plain data.
///
/// No message lies at a multiple of more than 16, so no type may ask for more:
///
/// ```compile_fail
/// use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
///
/// #[memring_macros::message(crate = memring_codec, format = plain)]
/// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[repr(C, align(32))]
/// struct Vector([f64; 4]);
///
/// let _ = <memring_codec::Plain as memring_codec::Format<Vector>>::alignment(32);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

/// Why bytes of the right number are no value.
#[derive(Debug, thiserror::Error)]
enum Unsuitable {
    #[error("its bytes are no value of the type")]
    NoValue,
    #[error("it does not lie at a multiple of {0}")]
    Misaligned(usize),
}

impl<T> Format<T> for Plain
where
    T: TryFromBytes + IntoBytes + Immutable + KnownLayout + 'static,
{
    type View = T;
    type Checked = ();

    const NAME: &'static str = "plain data";
    const USUAL: Option<usize> = Some(size_of::<T>());

    fn encode(value: &T, out: &mut Encoder<'_>) -> Result<(), EncodeError> {
        Ok(out.write(value.as_bytes())?)
    }

    #[inline]
    fn ready(value: &T) -> Option<&[u8]> {
        Some(value.as_bytes())
    }

    #[inline]
    fn ready_all(values: &[T]) -> Option<&[u8]> {
        let whole_words = const { size_of::<T>() != 0 && size_of::<T>().is_multiple_of(8) };
        whole_words.then(|| values.as_bytes())
    }

    #[inline]
    fn alignment(_: usize) -> usize {
        const {
            assert!(align_of::<T>() <= 16, "a message lies at a multiple of 16, and of no more");
        }
        align_of::<T>()
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<(), DecodeError> {
        let (needed, found) = (size_of::<T>(), bytes.len());
        if found != needed {
            return Err(of_another_size(needed, found));
        }
        match T::try_ref_from_bytes(bytes) {
            Ok(_) => Ok(()),
            Err(error) => Err(invalid(match error {
                TryCastError::Alignment(_) => Unsuitable::Misaligned(align_of::<T>()),
                TryCastError::Size(_) | TryCastError::Validity(_) => Unsuitable::NoValue,
            })),
        }
    }

    #[inline]
    unsafe fn view<'a>(_: &'a (), bytes: &'a [u8]) -> &'a T {
        // SAFETY: by the contract of `Format::view`, (1) `decode` accepted these bytes, at this address, as a whole
        // `T`, alignment included, and (2) they have not changed.
        unsafe { &*bytes.as_ptr().cast::<T>() }
    }
}

#[cold]
fn of_another_size(needed: usize, found: usize) -> DecodeError {
    match found.checked_sub(needed) {
        Some(surplus) => DecodeError::Surplus { surplus, found },
        None => DecodeError::Short { needed, found },
    }
}

#[cold]
fn invalid(why: Unsuitable) -> DecodeError {
    DecodeError::Invalid { source: Reason::new(why) }
}
