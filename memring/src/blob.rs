//! Blobs: values too large to be messages, written once, sealed, and read where they lie by every process that has them.
//!
//! Why not a larger message: that is copied into a lane and out of it, and has a receiver. A blob is memory of its own that
//! the kernel lets nobody change any more, so it is checked once and lent for as long as one holds it, also when
//! its maker was killed.
//!
//! | blob | what | |
//! |---|---|---|
//! | [`Blob<T>`](Blob) | one value of a `#[message]` type, up to 2 GiB | [`BlobBuilder::value`] |
//! | [`Blob<Table<T>>`](Table) | many of them, each checked when it is asked for; as large as memory | [`BlobBuilder::table`] |
//! | `Blob<[u8]>` | bytes | [`BlobBuilder::with_size`], [`BlobBuilder::growing`], [`BlobBuilder::copy_of`] |
//!
//! It does not send them.
//!
//! ```
//! use memring::blob::BlobBuilder;
//!
//! #[memring::message]
//! struct Frame { at: u64, pixels: Vec<u8> }
//!
//! let mut film = BlobBuilder::new().table::<Frame>()?;
//! for at in 0..3 {
//!     film.push(&Frame { at, pixels: vec![at as u8; 100_000] })?;
//! }
//! let film = film.seal()?;
//! let frame = film.get(2)?.expect("three of them");
//! assert!(frame.at == 2 && frame.pixels[99_999] == 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![allow(unsafe_code)]

mod builder;
mod field;

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use memring_codec::{Checked, DecodeError, Format, Message, Steady, View};
use memring_transport::blob::{NotReceived, SealedMemory};

pub use self::builder::{BlobBuilder, BuildError, GrowingBlob, SizedBlob, TableBuilder};
pub use self::field::ArchivedBlob;
pub(crate) use self::field::find;
pub use memring_codec::{Entry, TableError};
pub use memring_transport::blob::{BlobError as MemoryError, CopyError, MemoryId, Pages};

/// What a blob is that has many values: `Blob<Table<T>>`.
pub struct Table<T: ?Sized>(PhantomData<fn() -> Box<T>>);

/// What can be a blob: every message, bytes, and tables of messages.
pub trait Content: sealed::Content {}
impl<T: sealed::Content + ?Sized> Content for T {}

mod sealed {
    use super::*;

    pub trait Content: 'static {
        /// What a blob remembers of its bytes.
        type State: Send + Sync + 'static;

        /// What it knows before they are looked at.
        fn begin(memory: &Arc<SealedMemory>) -> Result<Self::State, TableError>;
    }

    impl<T: Message + ?Sized> Content for T {
        /// That they are valid.
        type State = OnceLock<Checked<T>>;

        fn begin(_: &Arc<SealedMemory>) -> Result<Self::State, TableError> {
            Ok(OnceLock::new())
        }
    }

    impl<T: Message + ?Sized> Content for Table<T> {
        /// Where they are, and which are valid.
        type State = memring_codec::Table<T, Held>;

        fn begin(memory: &Arc<SealedMemory>) -> Result<Self::State, TableError> {
            memring_codec::Table::open(Held(Arc::clone(memory)))
        }
    }

    /// Memory that a table lies in.
    pub struct Held(pub(super) Arc<SealedMemory>);
}

// SAFETY: sealed memory is mapped until the last `Arc` of it goes, at one address, and its seals keep everybody from
// writing to it.
unsafe impl Steady for sealed::Held {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// Memory that nobody can change any more, as a `T`. Cloning it is cheap and copies no byte; what was checked in one
/// clone is checked in all.
pub struct Blob<T: Content + ?Sized> {
    inner: Arc<Inner<T>>,
}

struct Inner<T: Content + ?Sized> {
    memory: Arc<SealedMemory>,
    state: <T as sealed::Content>::State,
}

impl<T: Content + ?Sized> Blob<T> {
    /// What that memory is, if it is one. Its values are not looked at.
    ///
    /// # Errors
    ///
    /// [`TableError`] if a table is due and it is none.
    pub fn of(memory: Arc<SealedMemory>) -> Result<Self, TableError> {
        let state = T::begin(&memory)?;
        Ok(Self { inner: Arc::new(Inner { memory, state }) })
    }

    /// A blob whose descriptor came in another way than with a message: inherited, say, or from a program that knows
    /// memfds. That of one that is here already gives another map of the same memory.
    ///
    /// ```
    /// use memring::blob::{Blob, BlobBuilder};
    /// use std::os::fd::AsFd;
    ///
    /// let blob = BlobBuilder::new().with_size(100)?.seal()?;
    /// let fd = blob.memory().as_fd().try_clone_to_owned()?;
    /// let again = Blob::<[u8]>::from_fd(fd)?;
    /// assert_eq!((again.id(), again.len()), (blob.id(), 100));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReadError::Received`] if it is none, or cannot be mapped; [`ReadError::Table`] if a table is due and it is none.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, ReadError> {
        Ok(Self::of(Arc::new(SealedMemory::from_fd(fd)?))?)
    }

    /// The memory.
    #[must_use]
    pub fn memory(&self) -> &Arc<SealedMemory> {
        &self.inner.memory
    }

    /// Its bytes, as they were sealed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.inner.memory.bytes()
    }

    /// Which memory it is: the same for all blobs that are in one piece of memory, in this process.
    #[must_use]
    pub fn id(&self) -> MemoryId {
        self.inner.memory.id()
    }
}

impl<T: Message + ?Sized> Blob<T> {
    /// One value, or bytes. They are not looked at.
    fn of_one(memory: SealedMemory) -> Self {
        let memory = Arc::new(memory);
        Self { inner: Arc::new(Inner { memory, state: OnceLock::new() }) }
    }

    /// The value: the archived form of a `#[message]` type, or `[u8]`. Checked by the first call that succeeds.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if the bytes are none.
    pub fn get(&self) -> Result<&View<T>, ReadError> {
        let Inner { memory, state } = &*self.inner;
        let bytes = memory.bytes();
        let checked = match state.get() {
            Some(checked) => checked,
            None => {
                let checked = caught(|| T::Format::decode(bytes))??;
                state.get_or_init(|| checked)
            }
        };
        // SAFETY: (1) `checked` came from decoding these very bytes, which lie where they lay. (2) The kernel lets nobody
        // write them, and `self` keeps them mapped.
        Ok(unsafe { T::Format::view(checked, bytes) })
    }
}

impl Deref for Blob<[u8]> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes()
    }
}

impl<T: Message + ?Sized> Blob<Table<T>> {
    /// How many values it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.inner.state.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inner.state.is_empty()
    }

    /// The value at `place`, checked the first time; none at the end of the table.
    ///
    /// # Errors
    ///
    /// [`ReadError`] if it is none of this type. Others may be.
    #[inline]
    pub fn get(&self, place: u64) -> Result<Option<Entry<'_, T>>, ReadError> {
        Ok(caught(|| self.inner.state.get(place))??)
    }
}

/// A type may bring checks of its own, and a peer chooses what they are asked about: one that panics has not accepted
/// the value (attack 77). Where panics abort, nobody can help.
#[inline]
fn caught<R>(check: impl FnOnce() -> R) -> Result<R, ReadError> {
    // Nothing that the check could leave broken is looked at again: the bytes cannot change, and what it returns is dropped.
    catch_unwind(AssertUnwindSafe(check)).map_err(|_| ReadError::Panicked)
}

impl<T: Content + ?Sized> Clone for Blob<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T: Content + ?Sized> fmt::Debug for Blob<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blob").field(&self.inner.memory).finish()
    }
}

/// The bytes of a blob are not what its type says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The value is not valid.
    #[error("the blob is not valid")]
    Invalid(#[from] DecodeError),
    /// The table, or a value in it, is not valid.
    #[error(transparent)]
    Table(#[from] TableError),
    /// It is no blob, or cannot be mapped.
    #[error(transparent)]
    Received(#[from] NotReceived),
    /// It was asked for with a field of another message.
    #[error("the message names no such blob: ask the message that the field is of")]
    Unnamed,
    /// A check of the type's own panicked.
    #[error("checking the blob panicked")]
    Panicked,
}

#[cfg(test)]
mod tests;
