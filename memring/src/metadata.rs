//! Metadata: up to 4 KiB that an application tells its peer before any channel opens, as bytes or typed.
//!
//! Typed metadata has no fingerprint of its own in the handshake: both programs have to mean the same type.
//! It is validated like any message, so a peer that means another one gets an error and harms nobody.

#![allow(unsafe_code)]

use memring_codec::{
    Archivable, DecodeError, EncodeError, Encoder, Format, Message, Owner, Reason, Rkyv, Scratch,
    Sink, deserialize, rkyv,
};
use memring_transport::control::MAX_METADATA;

/// A `#[message]` type that can be metadata, and be had back as an owned value.
pub trait MetadataValue: Message<Format = Rkyv> + Sized {
    #[doc(hidden)]
    fn to_metadata(&self) -> Result<Vec<u8>, EncodeError>;
    #[doc(hidden)]
    fn from_metadata(bytes: &[u8]) -> Result<Self, DecodeError>;
}

impl<T> MetadataValue for T
where
    T: Message<Format = Rkyv> + Archivable,
    T::Archived: rkyv::Deserialize<T, rkyv::rancor::Strategy<Owner, Reason>>,
{
    fn to_metadata(&self) -> Result<Vec<u8>, EncodeError> {
        let mut scratch = Scratch::new(MAX_METADATA);
        Rkyv::encode(self, &mut Encoder::new(&mut scratch))?;
        Ok(scratch.to_vec())
    }

    fn from_metadata(bytes: &[u8]) -> Result<Self, DecodeError> {
        // Into memory that is aligned as archives need it; the bytes are private already.
        let mut aligned = Scratch::new(bytes.len());
        // It holds exactly as many.
        let _ = aligned.write(bytes);
        <Rkyv as Format<T>>::decode(&aligned)?;
        // SAFETY: these bytes were decoded just now, where they lie; they are borrowed until the end, so
        // nothing writes to them.
        deserialize::<T>(unsafe { <Rkyv as Format<T>>::view(&(), &aligned) })
    }
}
