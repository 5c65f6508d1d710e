//! How arguments and results become the bodies of packets: as archives, and those that carry descriptors or blobs with these.

use std::sync::Arc;

use memring_codec::attached::{Attaches, Taker};
use memring_codec::rkyv::Deserialize;
use memring_codec::rkyv::rancor::Strategy;
use memring_codec::{
    Archivable, Attachable, Attached, DecodeError, EncodeError, Encoder, Format, Owner, Reason,
    Rkyv, Scratch,
};

use super::error::Never;
use super::sending::Body;
use crate::arrived::Arrived;

/// A way of values into packets.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot travel with a call",
    label = "it holds what is no plain data",
    note = "if a type hides an `Fd` or a `Blob`, put `#[attachments]` on the method",
    note = "`Rc` and `Arc` cannot be part of a message: use the value itself or a `Box`"
)]
pub trait Carries<T> {
    /// Whether something may go along that is no bytes.
    #[doc(hidden)]
    const MORE: bool;

    /// Bytes of most encodings, if that is known.
    #[doc(hidden)]
    const USUAL: Option<usize> = None;

    /// The encoding of `value`, if it lies there already.
    #[doc(hidden)]
    fn ready(value: &T) -> Option<&[u8]> {
        let _ = value;
        None
    }

    #[doc(hidden)]
    fn encode(
        value: &T,
        into: &mut Scratch,
        place: Option<&mut dyn Attaches>,
    ) -> Result<(), EncodeError>;
}

/// And out of them.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot travel with a call",
    label = "it holds what is no plain data",
    note = "if a type hides an `Fd` or a `Blob`, put `#[attachments]` on the method",
    note = "`Rc` and `Arc` cannot be part of a message: use the value itself or a `Box`"
)]
pub trait Delivers<T>: Carries<T> {
    #[doc(hidden)]
    fn decode(body: &[u8], arrived: Option<Came>) -> Result<T, DecodeError>;
}

/// What came with a packet.
#[doc(hidden)]
#[derive(Clone)]
pub struct Came(pub(crate) Arc<Arrived>);

impl std::fmt::Debug for Came {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Came")
    }
}

/// Values that are bytes.
#[derive(Debug)]
pub struct Plainly;

#[diagnostic::do_not_recommend]
impl<T: Archivable> Carries<T> for Plainly {
    const MORE: bool = false;
    const USUAL: Option<usize> = <Rkyv as Format<T>>::USUAL;

    #[inline]
    fn ready(value: &T) -> Option<&[u8]> {
        <Rkyv as Format<T>>::ready(value)
    }

    #[inline]
    fn encode(
        value: &T,
        into: &mut Scratch,
        _: Option<&mut dyn Attaches>,
    ) -> Result<(), EncodeError> {
        <Rkyv as Format<T>>::encode(value, &mut Encoder::new(into))
    }
}

#[diagnostic::do_not_recommend]
impl<T> Delivers<T> for Plainly
where
    T: Archivable,
    T::Archived: Deserialize<T, Strategy<Owner, Reason>>,
{
    #[inline]
    fn decode(body: &[u8], _: Option<Came>) -> Result<T, DecodeError> {
        memring_codec::from_archive(body)
    }
}

/// Values that carry descriptors or blobs.
#[derive(Debug)]
pub struct Attaching;

#[diagnostic::do_not_recommend]
impl<T: Attachable> Carries<T> for Attaching {
    const MORE: bool = true;

    fn encode(
        value: &T,
        into: &mut Scratch,
        place: Option<&mut dyn Attaches>,
    ) -> Result<(), EncodeError> {
        let mut encoder = Encoder::new(into);
        match place {
            Some(place) => <Attached as Format<T>>::encode_with(value, &mut encoder, place),
            None => <Attached as Format<T>>::encode(value, &mut encoder),
        }
    }
}

#[diagnostic::do_not_recommend]
impl<T> Delivers<T> for Attaching
where
    T: Attachable,
    T::Archived: for<'a> Deserialize<T, Strategy<Taker<'a>, Reason>>,
{
    fn decode(body: &[u8], arrived: Option<Came>) -> Result<T, DecodeError> {
        match arrived {
            Some(Came(arrived)) => memring_codec::take_from_archive(body, arrived),
            None => memring_codec::take_from_archive(body, memring_codec::attached::nothing()),
        }
    }
}

/// The error of a method that gives none.
#[derive(Debug)]
pub struct NoError;

impl Carries<Never> for NoError {
    const MORE: bool = false;

    fn encode(
        value: &Never,
        _: &mut Scratch,
        _: Option<&mut dyn Attaches>,
    ) -> Result<(), EncodeError> {
        match *value {}
    }
}

impl Delivers<Never> for NoError {
    fn decode(body: &[u8], _: Option<Came>) -> Result<Never, DecodeError> {
        Err(DecodeError::Surplus { surplus: body.len(), found: body.len() })
    }
}

/// A value on its way into a packet.
pub(crate) struct Value<'a, T, C>(pub &'a T, pub std::marker::PhantomData<C>);

impl<'a, T, C> Value<'a, T, C> {
    pub(crate) fn new(value: &'a T) -> Self {
        Self(value, std::marker::PhantomData)
    }
}

impl<T, C: Carries<T>> Body for Value<'_, T, C> {
    const CARRIES: bool = C::MORE;

    #[inline]
    fn ready(&self) -> Option<&[u8]> {
        C::ready(self.0)
    }

    #[inline]
    fn encode(
        &self,
        into: &mut Scratch,
        place: Option<&mut dyn Attaches>,
    ) -> Result<(), EncodeError> {
        C::encode(self.0, into, place)
    }
}
