//! What a caller lends for the moment of a call: archived as the owned type is, so that nobody at the other end sees which it was.
//!
//! `&str` is archived as a `String`, `&[T]` as a `Vec<T>`, any other `&T` as the `T`; and an `Option` of these, as one of those.

use rkyv::rancor::{Fallible, Source};
use rkyv::ser::{Allocator, Writer};
use rkyv::string::{ArchivedString, StringResolver};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::with::{ArchiveWith, SerializeWith};
use rkyv::{Archive, Place, Serialize};

/// A wrapper of rkyv's for fields that are references.
#[derive(Debug)]
pub struct Lent;

impl ArchiveWith<&str> for Lent {
    type Archived = ArchivedString;
    type Resolver = StringResolver;

    fn resolve_with(field: &&str, resolver: StringResolver, out: Place<ArchivedString>) {
        ArchivedString::resolve_from_str(field, resolver, out);
    }
}

impl<S> SerializeWith<&str, S> for Lent
where
    S: Fallible<Error: Source> + Writer + ?Sized,
{
    fn serialize_with(field: &&str, serializer: &mut S) -> Result<StringResolver, S::Error> {
        ArchivedString::serialize_from_str(field, serializer)
    }
}

impl<T: Archive> ArchiveWith<&[T]> for Lent {
    type Archived = ArchivedVec<T::Archived>;
    type Resolver = VecResolver;

    fn resolve_with(field: &&[T], resolver: VecResolver, out: Place<ArchivedVec<T::Archived>>) {
        ArchivedVec::resolve_from_slice(field, resolver, out);
    }
}

impl<T, S> SerializeWith<&[T], S> for Lent
where
    T: Serialize<S>,
    S: Fallible + Allocator + Writer + ?Sized,
{
    fn serialize_with(field: &&[T], serializer: &mut S) -> Result<VecResolver, S::Error> {
        ArchivedVec::<T::Archived>::serialize_from_slice(field, serializer)
    }
}

/// As [`Lent`], for references to values of a known size.
#[derive(Debug)]
pub struct LentValue;

impl<T: Archive> ArchiveWith<&T> for LentValue {
    type Archived = T::Archived;
    type Resolver = T::Resolver;

    fn resolve_with(field: &&T, resolver: T::Resolver, out: Place<T::Archived>) {
        T::resolve(field, resolver, out);
    }
}

impl<T, S> SerializeWith<&T, S> for LentValue
where
    T: Serialize<S>,
    S: Fallible + ?Sized,
{
    fn serialize_with(field: &&T, serializer: &mut S) -> Result<T::Resolver, S::Error> {
        T::serialize(field, serializer)
    }
}
