//! A blob as a field of a message: in the archive a number, under which the peer made it known.

#![allow(unsafe_code)]

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use memring_codec::attached::{Carried, ChecksBlobs, FindsBlobs, SerializesBlobs};
use memring_codec::rkyv::bytecheck::CheckBytes;
use memring_codec::rkyv::{self, Archive, Archived, Deserialize, Place, Portable, Serialize};
use memring_codec::{Fingerprinted, Schema};
use memring_transport::attachments::KnownBlob;

use super::{Blob, Content, ReadError, Table};

/// A blob in a received message: see [`View::blob`](crate::View::blob).
#[derive(Portable)]
#[rkyv(crate = memring_codec::rkyv)]
#[repr(transparent)]
pub struct ArchivedBlob<T: ?Sized> {
    number: Archived<u64>,
    _content: PhantomData<fn() -> Box<T>>,
}

impl<T: ?Sized> ArchivedBlob<T> {
    /// The number under which the peer made it known.
    fn number(&self) -> u64 {
        self.number.into()
    }
}

impl<T: ?Sized> std::fmt::Debug for ArchivedBlob<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ArchivedBlob({})", self.number())
    }
}

impl<T: Fingerprinted + ?Sized> Fingerprinted for Table<T> {
    fn fingerprint(into: &mut Schema) {
        into.built_in("Table");
        into.argument::<T>();
    }
}

impl<T: Content + Fingerprinted + ?Sized> Fingerprinted for Blob<T> {
    fn fingerprint(into: &mut Schema) {
        into.built_in("Blob");
        into.argument::<T>();
        into.carries_blobs();
    }
}

impl<T: Content + ?Sized> Archive for Blob<T> {
    type Archived = ArchivedBlob<T>;
    type Resolver = u64;

    fn resolve(&self, number: u64, out: Place<ArchivedBlob<T>>) {
        rkyv::munge::munge!(let ArchivedBlob { number: place, .. } = out);
        number.resolve((), place);
    }
}

impl<T: Content + ?Sized, S: SerializesBlobs + ?Sized> Serialize<S> for Blob<T> {
    fn serialize(&self, serializer: &mut S) -> Result<u64, S::Error> {
        let memory: Arc<dyn Any + Send + Sync> = Arc::clone(self.memory()) as _;
        serializer.attach_blob(&memory)
    }
}

// SAFETY: the bytes are checked to be a number, as its type has it, before it is read; any number is a valid value.
unsafe impl<T: ?Sized, C: ChecksBlobs + ?Sized> CheckBytes<C> for ArchivedBlob<T>
where
    Archived<u64>: CheckBytes<C>,
{
    unsafe fn check_bytes(value: *const Self, context: &mut C) -> Result<(), C::Error> {
        // SAFETY: the caller's promise; this type is transparent over that one.
        unsafe { Archived::<u64>::check_bytes(value.cast(), context)? };
        // SAFETY: it was just found valid.
        let number = unsafe { (*value).number() };
        context.claim_blob(number)
    }
}

impl<T: Content + ?Sized, D: FindsBlobs + ?Sized> Deserialize<Blob<T>, D> for ArchivedBlob<T>
where
    D::Error: rkyv::rancor::Source,
{
    fn deserialize(&self, deserializer: &mut D) -> Result<Blob<T>, D::Error> {
        let known = deserializer.find_blob(self.number())?;
        read(known).map_err(rkyv::rancor::Source::new)
    }
}

/// The blob that a message names.
pub(crate) fn find<T: Content + ?Sized>(
    carried: &Carried,
    blob: &ArchivedBlob<T>,
) -> Result<Blob<T>, ReadError> {
    // Whoever asks with a field of another message may ask for one that this one does not name.
    read(carried.blob(blob.number()).ok_or(ReadError::Unnamed)?)
}

/// A known blob as a `T`, as whoever first read it found it.
fn read<T: Content + ?Sized>(known: Arc<dyn Any + Send + Sync>) -> Result<Blob<T>, ReadError> {
    let known = known.downcast::<KnownBlob>().map_err(|_| ReadError::Unnamed)?;
    if let Some(blob) = known.reading().get().and_then(|read| read.downcast_ref::<Blob<T>>()) {
        return Ok(blob.clone());
    }
    let blob = Blob::of(Arc::clone(known.memory()))?;
    // If another thread was faster, or reads it as something else, ours is as good.
    let _ = known.reading().set(Arc::new(blob.clone()));
    Ok(blob)
}
