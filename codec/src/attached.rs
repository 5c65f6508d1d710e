//! The rkyv format of messages that carry file descriptors and blobs beside their bytes.
//!
//! A format of its own, so that all other messages pay nothing for it, and so that a type which carries anything says so
//! where it is declared.

#![allow(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rkyv::api::{deserialize_using, serialize_using};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{Source, Strategy};
use rkyv::{Archive, Deserialize, Portable, Serialize};

use crate::archive::{Check, Failure, SPACE, STAGE, Serializer, check_root, explain};
use crate::fd::{ChecksFds, Fd, SerializesFds, TakesFds};
use crate::message::Carriage;
use crate::{DecodeError, EncodeError, Encoder, Format, Reason};

/// The format of what `#[message(attachments)]` declares.
#[derive(Debug, Clone, Copy, Default)]
pub struct Attached;

/// Where attachments go while a message is encoded.
pub trait Attaches {
    /// Takes a descriptor along. Its number: how many there were before.
    ///
    /// # Errors
    ///
    /// [`NoPlace`].
    fn fd(&mut self, fd: &Fd) -> Result<u32, NoPlace>;

    /// Takes a blob along, which is whatever the two sides call so. Its number.
    ///
    /// # Errors
    ///
    /// [`NoPlace`].
    fn blob(&mut self, blob: &Arc<dyn Any + Send + Sync>) -> Result<u64, NoPlace>;
}

/// The message cannot take it along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoPlace {
    /// Here, messages are bytes.
    #[error("nothing can go with a message here: send it on a channel")]
    Nothing,
    /// More descriptors than the peer takes.
    #[error("the message has more file descriptors than the {most} that the peer takes")]
    Fds {
        /// What the peer takes.
        most: u16,
    },
    /// More or larger blobs than the peer takes.
    #[error("the message has more or larger blobs than the peer takes")]
    Blobs,
}

/// Takes nothing.
struct Nowhere;

impl Attaches for Nowhere {
    fn fd(&mut self, _: &Fd) -> Result<u32, NoPlace> {
        Err(NoPlace::Nothing)
    }

    fn blob(&mut self, _: &Arc<dyn Any + Send + Sync>) -> Result<u64, NoPlace> {
        Err(NoPlace::Nothing)
    }
}

/// What came with a message.
pub trait Arrivals: Send + Sync {
    /// How many descriptors.
    fn fds(&self) -> u32;

    /// Takes a descriptor out. `None` if it was taken before.
    fn take_fd(&self, index: u32) -> Option<OwnedFd>;

    /// Takes note that the message names the blob of this number. False if the peer made none known under it, or it was
    /// forgotten.
    fn claim_blob(&self, number: u64) -> bool;

    /// The blob of this number, which the message named.
    fn blob(&self, number: u64) -> Option<Arc<dyn Any + Send + Sync>>;
}

/// Nothing came.
struct Alone;

impl Arrivals for Alone {
    fn fds(&self) -> u32 {
        0
    }

    fn take_fd(&self, _: u32) -> Option<OwnedFd> {
        None
    }

    fn claim_blob(&self, _: u64) -> bool {
        false
    }

    fn blob(&self, _: u64) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// What came with a message that nothing came with.
#[must_use]
pub fn nothing() -> Arc<dyn Arrivals> {
    Arc::new(Alone)
}

/// What a message carries that was received and checked. What is not taken out goes with it.
pub struct Carried(Arc<dyn Arrivals>);

impl Carried {
    /// Takes out a descriptor. `None` if it was taken before.
    #[must_use]
    pub fn take_fd(&self, fd: &crate::ArchivedFd) -> Option<OwnedFd> {
        self.0.take_fd(fd.index())
    }

    /// The blob of this number.
    #[must_use]
    pub fn blob(&self, number: u64) -> Option<Arc<dyn Any + Send + Sync>> {
        self.0.blob(number)
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("fds", &self.0.fds()).finish_non_exhaustive()
    }
}

/// Attachments of a message being written.
pub struct Outgoing<'a>(&'a mut dyn Attaches);

impl SerializesFds for Strategy<Serializer<'_, Outgoing<'_>>, Failure> {
    fn attach_fd(&mut self, fd: &Fd) -> Result<u32, Failure> {
        self.attached.0.fd(fd).map_err(Failure::new)
    }
}

/// A serializer of messages that carry blobs.
#[diagnostic::on_unimplemented(
    message = "only a message with attachments can hold a `Blob`",
    label = "declare the message with `#[memring::message(attachments)]`, a method with `#[attachments]`"
)]
pub trait SerializesBlobs: rkyv::rancor::Fallible {
    /// Takes a blob along, and gives it a number.
    ///
    /// # Errors
    ///
    /// If there is no place for it.
    fn attach_blob(&mut self, blob: &Arc<dyn Any + Send + Sync>) -> Result<u64, Self::Error>;
}

impl SerializesBlobs for Strategy<Serializer<'_, Outgoing<'_>>, Failure> {
    fn attach_blob(&mut self, blob: &Arc<dyn Any + Send + Sync>) -> Result<u64, Failure> {
        self.attached.0.blob(blob).map_err(Failure::new)
    }
}

/// What came with a message being checked, and what of it was named so far.
pub struct Claims<'a> {
    arrivals: &'a dyn Arrivals,
    named: [u64; 4],
    left: u32,
}

impl<'a> Claims<'a> {
    fn new(arrivals: &'a dyn Arrivals) -> Self {
        Self { arrivals, named: [0; 4], left: arrivals.fds() }
    }

    fn claim_fd(&mut self, index: u32) -> Result<(), Unclaimed> {
        let (word, bit) = (self.named.get_mut(index as usize / 64), 1 << (index % 64));
        match word {
            Some(word) if index < self.arrivals.fds() && *word & bit == 0 => {
                *word |= bit;
                self.left -= 1;
                Ok(())
            }
            Some(_) if index < self.arrivals.fds() => Err(Unclaimed::Twice { index }),
            _ => Err(Unclaimed::Absent { index, came: self.arrivals.fds() }),
        }
    }
}

/// What a message names did not come with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Unclaimed {
    #[error("it names descriptor {index}, and {came} came with it")]
    Absent { index: u32, came: u32 },
    #[error("it names descriptor {index} twice")]
    Twice { index: u32 },
    #[error("{left} descriptors came with it that it does not name")]
    Unnamed { left: u32 },
    #[error("it names blob {number}, which is not known")]
    Blob { number: u64 },
}

impl ChecksFds for Strategy<Check<'_, Claims<'_>>, Reason> {
    fn claim_fd(&mut self, index: u32) -> Result<(), Reason> {
        self.claims.claim_fd(index).map_err(Reason::new)
    }
}

/// A validator of messages that carry blobs.
#[diagnostic::on_unimplemented(
    message = "only a message with attachments can hold a `Blob`",
    label = "declare the message with `#[memring::message(attachments)]`, a method with `#[attachments]`"
)]
pub trait ChecksBlobs: rkyv::rancor::Fallible {
    /// Takes note that the message names the blob of this number.
    ///
    /// # Errors
    ///
    /// If it is not known.
    fn claim_blob(&mut self, number: u64) -> Result<(), Self::Error>;
}

impl ChecksBlobs for Strategy<Check<'_, Claims<'_>>, Reason> {
    fn claim_blob(&mut self, number: u64) -> Result<(), Reason> {
        if self.claims.arrivals.claim_blob(number) {
            return Ok(());
        }
        Err(Reason::new(Unclaimed::Blob { number }))
    }
}

/// What rkyv has to know of a type for it to be a message with attachments.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be archived as a message with attachments",
    note = "`Rc` and `Arc` cannot be part of a message: use the value itself, a `Box`, or \
            `#[rkyv(with = Unshare)]`"
)]
pub trait Attachable:
    for<'a, 'b> Serialize<
        Strategy<Serializer<'a, Outgoing<'b>>, Failure>,
        Archived: Portable + for<'c, 'd> CheckBytes<Strategy<Check<'c, Claims<'d>>, Reason>>,
    >
{
}

impl<T> Attachable for T where
    T: for<'a, 'b> Serialize<
            Strategy<Serializer<'a, Outgoing<'b>>, Failure>,
            Archived: Portable + for<'c, 'd> CheckBytes<Strategy<Check<'c, Claims<'d>>, Reason>>,
        >
{
}

impl<T: Attachable> Format<T> for Attached {
    type View = T::Archived;
    type Checked = Carried;

    const NAME: &'static str = "rkyv";
    const CARRIAGE: Carriage = Carriage::Within;

    fn encode(value: &T, out: &mut Encoder<'_>) -> Result<(), EncodeError> {
        <Self as Format<T>>::encode_with(value, out, &mut Nowhere)
    }

    fn encode_with(
        value: &T,
        out: &mut Encoder<'_>,
        attached: &mut dyn Attaches,
    ) -> Result<(), EncodeError> {
        let mut stage = [MaybeUninit::uninit(); STAGE];
        let mut space = [MaybeUninit::uninit(); SPACE];
        let attached = Outgoing(attached);
        let mut serializer =
            Serializer::new(out.sink, out.position, &mut stage, &mut space, attached);
        let result = serialize_using::<_, Failure>(value, &mut serializer);
        let result = result.and_then(|_| serializer.finish());
        out.position = serializer.position;
        result.map_err(|failure| explain(failure, serializer.refusal))
    }

    fn decode(bytes: &[u8]) -> Result<Carried, DecodeError> {
        <Self as Format<T>>::decode_with(bytes, Arc::new(Alone))
    }

    fn decode_with(bytes: &[u8], arrivals: Arc<dyn Arrivals>) -> Result<Carried, DecodeError> {
        let needed = size_of::<T::Archived>();
        if bytes.len() < needed {
            return Err(DecodeError::Short { needed, found: bytes.len() });
        }
        let invalid = |source| DecodeError::Invalid { source };
        let mut check = Check::with(bytes, Claims::new(&*arrivals));
        check_root::<T::Archived, _>(bytes, &mut check).map_err(invalid)?;
        match check.surplus() {
            0 => {}
            surplus => return Err(DecodeError::Surplus { surplus, found: bytes.len() }),
        }
        match check.claims.left {
            0 => Ok(Carried(arrivals)),
            left => Err(invalid(Reason::new(Unclaimed::Unnamed { left }))),
        }
    }

    unsafe fn view<'a>(_: &'a Carried, bytes: &'a [u8]) -> &'a T::Archived {
        // SAFETY: by the contract of `Format::view`, (1) `decode_with` accepted these bytes, at this address, as a
        // `T::Archived` at the root position, alignment included, and (2) they have not changed.
        unsafe { rkyv::access_unchecked::<T::Archived>(bytes) }
    }
}

/// The deserialiser behind [`take_value`].
#[derive(Debug)]
pub struct Taker<'a>(&'a Carried);

#[derive(Debug, thiserror::Error)]
#[error("descriptor {0} was taken out of the message before")]
struct Gone(u32);

impl TakesFds for Strategy<Taker<'_>, Reason> {
    fn take_fd(&mut self, index: u32) -> Result<OwnedFd, Reason> {
        self.0.0.take_fd(index).ok_or_else(|| Reason::new(Gone(index)))
    }
}

/// A deserialiser that finds the blobs of a received message.
pub trait FindsBlobs: rkyv::rancor::Fallible {
    /// The blob of this number.
    ///
    /// # Errors
    ///
    /// If it is not known.
    fn find_blob(&mut self, number: u64) -> Result<Arc<dyn Any + Send + Sync>, Self::Error>;
}

impl FindsBlobs for Strategy<Taker<'_>, Reason> {
    fn find_blob(&mut self, number: u64) -> Result<Arc<dyn Any + Send + Sync>, Reason> {
        self.0.blob(number).ok_or_else(|| Reason::new(Unclaimed::Blob { number }))
    }
}

/// Turns a received message into an owned value, which takes the descriptors out of it.
///
/// # Errors
///
/// [`DecodeError::Invalid`] if a descriptor was taken before, or a wrapper of yours refuses. What was taken by then is closed.
pub fn take_value<T>(archived: &T::Archived, carried: &Carried) -> Result<T, DecodeError>
where
    T: Archive,
    T::Archived: for<'a> Deserialize<T, Strategy<Taker<'a>, Reason>>,
{
    deserialize_using::<T, Taker<'_>, Reason>(archived, &mut Taker(carried))
        .map_err(|source| DecodeError::Invalid { source })
}

/// The owned value that an archive holds, which is checked first, with what came beside it.
///
/// # Errors
///
/// As [`Format::decode_with`] and [`take_value`].
pub fn take_from_archive<T>(bytes: &[u8], arrivals: Arc<dyn Arrivals>) -> Result<T, DecodeError>
where
    T: Attachable,
    T::Archived: for<'a> Deserialize<T, Strategy<Taker<'a>, Reason>>,
{
    let carried = <Attached as Format<T>>::decode_with(bytes, arrivals)?;
    // SAFETY: (1) these very bytes were just decoded. (2) They are borrowed shared, until this returns.
    let archived = unsafe { <Attached as Format<T>>::view(&carried, bytes) };
    take_value(archived, &carried)
}
