//! What a receiver hands out: a message lent, or one to keep.

#![allow(unsafe_code)]

use std::fmt;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use memring_codec::attached::Carried;
use memring_codec::rkyv::rancor::Source;
use memring_codec::{Attached, Checked, DecodeError, Format, Message, Reason, Rkyv, rkyv};
#[cfg(feature = "serde")]
use memring_codec::{Notation, Parsed};
use memring_ring::buffer::Buffer;

use crate::arrived::Arrived;
use crate::pool::Pool;

/// A received message, lent until the next receive. Derefs to the message's view: the archived form of a
/// `#[message]` type, the type itself where it has another format, or `[u8]`.
///
/// ```
/// #[memring::message]
/// #[derive(Debug, PartialEq)]
/// struct Point { x: i32, label: String }
///
/// struct Points;
/// impl memring::Protocol for Points {
///     const NAME: &'static str = "points";
///     type ToClient = Point;
///     type ToServer = [u8];
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut server, mut client) = memring::pair::<Points>()?;
/// server.send(&Point { x: -3, label: "here".into() })?;
/// let point = client.recv()?;
/// assert!(point.x < 0 && point.label == "here");
/// assert_eq!(point.to_value()?, Point { x: -3, label: "here".into() });
/// # Ok(())
/// # }
/// ```
pub struct View<'a, T: Message + ?Sized> {
    checked: Checked<T>,
    bytes: &'a [u8],
}

/// Why bytes are no message.
pub(crate) enum Undecodable {
    Invalid(DecodeError),
    Panicked,
}

impl From<Undecodable> for DecodeError {
    fn from(why: Undecodable) -> Self {
        match why {
            Undecodable::Invalid(error) => error,
            Undecodable::Panicked => Self::Invalid { source: Reason::new(CheckPanicked) },
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a check of this application's own panicked over it")]
struct CheckPanicked;

/// Decodes. A type may bring checks of its own, and the peer chooses what they are asked about: one that
/// panics has not accepted the message (attack 77). Where panics abort, nobody can help.
#[inline(always)]
fn decode_caught<T: Message + ?Sized>(bytes: &[u8]) -> Result<Checked<T>, Undecodable> {
    caught(|| T::Format::decode(bytes))
}

#[inline(always)]
pub(crate) fn caught<C>(decode: impl FnOnce() -> Result<C, DecodeError>) -> Result<C, Undecodable> {
    // Nothing that the check could leave broken is looked at again: the bytes are shared with nobody, and
    // what it returns is dropped.
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(decoded) => decoded.map_err(Undecodable::Invalid),
        Err(_) => Err(Undecodable::Panicked),
    }
}

impl<'a, T: Message + ?Sized> View<'a, T> {
    /// A message that is these bytes, if they are one.
    #[inline(always)]
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, Undecodable> {
        Ok(Self { checked: decode_caught::<T>(bytes)?, bytes })
    }

    /// As [`of`](Self::of), of a message that this came with.
    pub(crate) fn carrying(bytes: &'a [u8], arrived: Arc<Arrived>) -> Result<Self, Undecodable> {
        Ok(Self { checked: caught(|| T::Format::decode_with(bytes, arrived))?, bytes })
    }
}

impl<T: Message + ?Sized> View<'_, T> {
    /// The message's bytes, as they were sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }
}

impl<T: Message + ?Sized> Deref for View<'_, T> {
    type Target = memring_codec::View<T>;

    #[inline]
    fn deref(&self) -> &memring_codec::View<T> {
        // SAFETY: (1) `checked` came from decoding these very bytes in `of`. (2) They are borrowed for `'a`: in the consumer's
        // buffer, which nothing writes meanwhile, or in the lane after `trust_peer`, whose caller vouched for the peer.
        unsafe { T::Format::view(&self.checked, self.bytes) }
    }
}

/// A message in memory of its own, which lends its view for as long as it is there itself. Unlike [`Received`] it is of no type
/// before it is looked at: what a task keeps has to be so for any lifetime, and the arguments of calls are messages for one alone.
#[cfg(feature = "rpc")]
pub(crate) struct Lasting {
    memory: LastingMemory,
    /// What its decoding left behind.
    checked: std::sync::OnceLock<Box<dyn std::any::Any + Send + Sync>>,
}

#[cfg(feature = "rpc")]
enum LastingMemory {
    /// What came, and where the message begins in it.
    Came(Buffer, usize),
    Copied(rkyv::util::AlignedVec),
}

#[cfg(feature = "rpc")]
impl Lasting {
    /// The message from this byte on.
    pub(crate) fn came(buffer: Buffer, from: usize) -> Self {
        Self { memory: LastingMemory::Came(buffer, from), checked: std::sync::OnceLock::new() }
    }

    /// A copy of these bytes.
    pub(crate) fn copy(bytes: &[u8]) -> Self {
        let mut memory = rkyv::util::AlignedVec::new();
        memory.extend_from_slice(bytes);
        Self { memory: LastingMemory::Copied(memory), checked: std::sync::OnceLock::new() }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.memory {
            LastingMemory::Came(buffer, from) => buffer.bytes().get(*from..).unwrap_or_default(),
            LastingMemory::Copied(bytes) => bytes,
        }
    }

    /// Decodes it, and lends its view.
    pub(crate) fn view<T: Message>(
        &self,
        arrived: Option<&Arc<Arrived>>,
    ) -> Result<&memring_codec::View<T>, Undecodable> {
        let checked = match arrived {
            Some(arrived) => {
                let arrived = Arc::clone(arrived);
                caught(|| T::Format::decode_with(self.bytes(), arrived))?
            }
            None => decode_caught::<T>(self.bytes())?,
        };
        let checked = self.checked.get_or_init(|| Box::new(Decoded::<T>(checked)));
        let Some(Decoded(checked)) = checked.downcast_ref::<Decoded<T>>() else {
            return Err(Undecodable::Panicked); // it was looked at as something else
        };
        // SAFETY: (1) `checked` came from decoding these very bytes as a `T`: `Decoded<T>` is made nowhere else. (2) They
        // are this value's own, and nothing writes them before it is dropped. (3) Both borrows are those of `self`.
        Ok(unsafe { T::Format::view(checked, self.bytes()) })
    }

    /// What it carries, if it was looked at as something that may.
    pub(crate) fn carried<T: Message<Format = Attached>>(&self) -> Option<&Carried>
    where
        Attached: Format<T, Checked = Carried>,
    {
        self.checked.get()?.downcast_ref::<Decoded<T>>().map(|decoded| &decoded.0)
    }
}

/// What decoding a `T` left behind.
#[cfg(feature = "rpc")]
struct Decoded<T: Message>(Checked<T>);

/// A received message to keep: `'static`, and its memory is used again once it is dropped. Derefs as [`View`]
/// does.
///
/// ```
/// let (mut server, client) = memring::pair::<memring::Bytes>()?;
/// let (_, mut rx) = client.split();
/// server.send(b"to keep")?;
/// let kept = rx.recv_owned()?;
/// std::thread::spawn(move || assert_eq!(&*kept, b"to keep")).join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Received<T: Message + ?Sized> {
    checked: Checked<T>,
    memory: Memory,
}

/// A buffer that goes back to its pool.
struct Memory {
    buffer: Buffer,
    pool: Arc<Pool>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.buffer));
    }
}

impl<T: Message + ?Sized> Received<T> {
    /// A message that fills this buffer, if it is one; its memory goes to the pool.
    pub(crate) fn of(buffer: Buffer, pool: &Arc<Pool>) -> Result<Self, Undecodable> {
        let checked = decode_caught::<T>(buffer.bytes())?;
        Ok(Self { checked, memory: Memory { buffer, pool: Arc::clone(pool) } })
    }

    /// As [`of`](Self::of), of a message that this came with.
    pub(crate) fn carrying(
        buffer: Buffer,
        pool: &Arc<Pool>,
        arrived: Arc<Arrived>,
    ) -> Result<Self, Undecodable> {
        let checked = caught(|| T::Format::decode_with(buffer.bytes(), arrived))?;
        Ok(Self { checked, memory: Memory { buffer, pool: Arc::clone(pool) } })
    }

    /// Its memory, which the pool goes without.
    #[cfg(test)]
    pub(crate) fn into_buffer(mut self) -> Buffer {
        std::mem::take(&mut self.memory.buffer)
    }

    /// The message's bytes, as they were sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.memory.buffer.bytes()
    }
}

impl<T: Message + ?Sized> Deref for Received<T> {
    type Target = memring_codec::View<T>;

    #[inline]
    fn deref(&self) -> &memring_codec::View<T> {
        // SAFETY: (1) `checked` came from decoding these bytes in `of`; moving a buffer does not
        // move them. (2) The buffer is this value's own and nothing writes it before it is dropped. (3) A
        // buffer begins at a multiple of 16.
        unsafe { T::Format::view(&self.checked, self.memory.buffer.bytes()) }
    }
}

/// Messages of `#[message]` types can be turned into owned values.
macro_rules! owned_value {
    ($($holder:ident $(<$life:lifetime>)?),*) => {$(
        impl<$($life,)? T> $holder<$($life,)? T>
        where
            T: Message<Format = Rkyv> + rkyv::Archive,
            Rkyv: Format<T, View = T::Archived>,
            T::Archived: rkyv::Deserialize<T, rkyv::rancor::Strategy<memring_codec::Owner, memring_codec::Reason>>,
        {
            /// The message as an owned value of its type.
            ///
            /// # Errors
            ///
            /// [`DecodeError`] if a wrapper (`#[rkyv(with = ...)]`) of yours refuses.
            pub fn to_value(&self) -> Result<T, DecodeError> {
                memring_codec::deserialize::<T>(self)
            }
        }
    )*};
}
owned_value!(View<'a>, Received);

/// What messages with attachments carry can be taken out of them.
macro_rules! takes_out {
    ($($holder:ident $(<$life:lifetime>)?),*) => {$(
        impl<$($life,)? T> $holder<$($life,)? T>
        where
            T: Message<Format = Attached> + rkyv::Archive,
            Attached: Format<T, View = T::Archived, Checked = Carried>,
        {
            /// Takes a file descriptor out of the message, once. What is not taken is closed with the message.
            ///
            /// It is whatever the peer sent: using it may block, and closing it too.
            ///
            /// ```
            /// use memring::Fd;
            ///
            /// #[memring::message(attachments)]
            /// struct Job { name: String, log: Fd }
            ///
            /// struct Jobs;
            /// impl memring::Protocol for Jobs {
            ///     const NAME: &'static str = "jobs";
            ///     type ToClient = Job;
            ///     type ToServer = [u8];
            /// }
            ///
            /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
            /// let (mut server, mut client) = memring::pair::<Jobs>()?;
            /// let log = std::fs::File::open("/dev/null")?;
            /// server.send(&Job { name: "build".into(), log: log.into() })?;
            /// let job = client.recv()?;
            /// let log = job.take_fd(&job.log);
            /// assert!(log.is_some() && job.take_fd(&job.log).is_none());
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn take_fd(&self, fd: &memring_codec::ArchivedFd) -> Option<OwnedFd> {
                self.checked.take_fd(fd)
            }

            /// A blob that the message names. What was checked of it is remembered for as long as the peer may name it again.
            ///
            /// # Errors
            ///
            /// [`ReadError`](crate::blob::ReadError) if it should be a table and is none, or another message names it. Its values
            /// are not looked at.
            pub fn blob<B: crate::blob::Content + ?Sized>(
                &self,
                blob: &crate::blob::ArchivedBlob<B>,
            ) -> Result<crate::blob::Blob<B>, crate::blob::ReadError> {
                crate::blob::find(&self.checked, blob)
            }

            /// What it carries, for code that a macro writes.
            #[doc(hidden)]
            #[must_use]
            pub fn carried(&self) -> &Carried {
                &self.checked
            }

            /// The message as an owned value of its type, with the file descriptors taken out of it.
            ///
            /// # Errors
            ///
            /// [`DecodeError`] if one of them was taken before, or a wrapper (`#[rkyv(with = ...)]`) of yours refuses.
            pub fn take_value(&self) -> Result<T, DecodeError>
            where
                T::Archived: for<'t> rkyv::Deserialize<
                    T,
                    rkyv::rancor::Strategy<memring_codec::attached::Taker<'t>, memring_codec::Reason>,
                >,
            {
                memring_codec::take_value::<T>(self, &self.checked)
            }
        }
    )*};
}
takes_out!(View<'a>, Received);

/// Messages that serde parsed are owned values already.
#[cfg(feature = "serde")]
macro_rules! parsed_value {
    ($($holder:ident $(<$life:lifetime>)?),*) => {$(
        impl<$($life,)? T, N> $holder<$($life,)? T>
        where
            T: Message<Format = Parsed<N>>,
            Parsed<N>: Format<T, Checked = T>,
            N: Notation,
        {
            /// The message itself, which was made when it was received.
            #[must_use]
            pub fn into_value(self) -> T {
                self.checked
            }
        }
    )*};
}
#[cfg(feature = "serde")]
parsed_value!(View<'a>, Received);

impl<T: Message + ?Sized> fmt::Debug for View<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View<{}>({} bytes)", T::name(), self.bytes.len())
    }
}

impl<T: Message + ?Sized> fmt::Debug for Received<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Received<{}>({} bytes)", T::name(), self.bytes().len())
    }
}
