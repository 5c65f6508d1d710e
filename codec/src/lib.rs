//! Messages as bytes: rkyv archives written straight into a frame, checked in memory of our own, and a
//! fingerprint of a type's structure by which two programs find out that they mean the same thing. Behind features
//! also other formats, for types that ask for one.
//!
//! Why a crate of its own: what bytes mean and how they travel change for different reasons. This crate
//! knows neither rings nor sockets; a [`Sink`] is all it asks of the place where an encoding goes, and a
//! slice that nobody else can write is all it asks of the place where bytes come from.
//!
//! What it does not do: it never reads memory that a peer can still change (copy first), it does not
//! follow shared pointers (`Rc` and `Arc` in a message are a compile error), and a fingerprint finds
//! mistakes, not forgeries: received bytes are always validated, whatever fingerprint was shown.
//!
//! People do not depend on this crate but on `memring`, which re-exports it.
//!
//! ```
//! use memring_codec::{Encoder, Format, Message, Raw, Scratch};
//!
//! let mut scratch = Scratch::new(1024);
//! Raw::encode(b"hello".as_slice(), &mut Encoder::new(&mut scratch))?;
//! assert_eq!(scratch.as_slice(), b"hello");
//! assert!(<[u8] as Message>::fingerprint().is_untyped());
//! # Ok::<(), memring_codec::EncodeError>(())
//! ```

mod archive;
pub mod attached;
mod described;
mod encode;
mod fd;
mod fingerprint;
mod lent;
mod message;
mod options;
mod outline;
#[cfg(feature = "serde")]
mod parsed;
#[cfg(feature = "zerocopy")]
mod plain;
mod raw;
mod reason;
mod schema;
mod scratch;
mod table;

#[doc(inline)]
pub use rkyv;

pub use archive::{
    Archivable, Check, DEPTH, Failure, Owner, Rkyv, Serializer, deserialize, from_archive,
};
pub use attached::{Attachable, Attached, take_from_archive, take_value};
pub use described::Wrapped;
pub use encode::{EncodeError, Encoder, Sink, SinkFull};
pub use fd::{ArchivedFd, ChecksFds, Fd, SerializesFds, TakesFds};
pub use fingerprint::Fingerprint;
pub use lent::{Lent, LentValue};
pub use message::{Carriage, Checked, DecodeError, Format, Message, View};
pub use options::FormatOptions;
pub use outline::Outlines;
#[cfg(feature = "cbor")]
pub use parsed::Cbor;
#[cfg(feature = "postcard")]
pub use parsed::Postcard;
#[cfg(feature = "json")]
pub use parsed::{Arguments as JsonArguments, Json, archive_json, to_json};
#[cfg(feature = "serde")]
pub use parsed::{Notation, Parsed, Says};
#[cfg(feature = "zerocopy")]
pub use plain::Plain;
pub use raw::Raw;
pub use reason::Reason;
pub use schema::{
    Carries, Constant, Fingerprinted, Schema, carried_by, fingerprint_in, fingerprint_of, name_of,
};
pub use scratch::Scratch;
pub use table::{Entry, LARGEST_VALUE, Steady, Table, TableError, TableWriteError, TableWriter};

/// What the code written by `#[message]` names. Not for people: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        Archivable, Attachable, Attached, Carries, EncodeError, Encoder, Fingerprint,
        Fingerprinted, Format, Lent, LentValue, Message, Outlines, Rkyv, Schema, carried_by,
        deserialize, fingerprint_in, fingerprint_of, name_of, take_value,
    };
    // Of a format whose feature is off, the compiler then says that it is, and once.
    #[cfg(feature = "cbor")]
    pub type Cbor = crate::Parsed<crate::Cbor>;
    #[cfg(feature = "json")]
    pub type Json = crate::Parsed<crate::Json>;
    #[cfg(feature = "zerocopy")]
    pub use crate::Plain;
    #[cfg(feature = "json")]
    pub use crate::parsed::{Arguments as JsonArguments, Next, incomplete};
    #[cfg(feature = "postcard")]
    pub type Postcard = crate::Parsed<crate::Postcard>;
    pub use core;
    pub use rkyv;
    pub use std::boxed::Box;
    pub use std::string::String;
    pub use std::sync::Arc;
    pub use std::vec::Vec;
}
