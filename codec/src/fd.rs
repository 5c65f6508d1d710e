//! A file descriptor as a field of a message.
//!
//! The archive has a number, the descriptor goes beside it: whoever sends hands the sender's [`Attaches`] to the
//! encoder, whoever receives hands what came with the message, [`Arrivals`], to the decoder. Every descriptor that came has to be
//! named once, so that none is lost and none is two.
//!
//! Not here: how they travel.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Fallible;
use rkyv::{Archive, Archived, Deserialize, Place, Portable, Serialize};

use crate::{Fingerprinted, Schema};

/// A file descriptor in a message; its type is declared with `#[message(attachments)]`.
///
/// It is sent by duplication, so what was sent stays open here until the message is dropped. A clone is the same
/// descriptor, not a duplicate of it.
#[derive(Clone)]
pub struct Fd(Inner);

#[derive(Clone)]
enum Inner {
    Owned(Arc<OwnedFd>),
    Borrowed(BorrowedFd<'static>),
}

impl Fd {
    /// The descriptor itself, if no clone of this is left and it was not borrowed; a duplicate of it otherwise.
    ///
    /// ```
    /// use std::fs::File;
    /// use memring_codec::Fd;
    ///
    /// let fd = Fd::from(File::open("/dev/null")?);
    /// let file = File::from(fd.into_owned()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What the kernel says of duplicating it.
    pub fn into_owned(self) -> io::Result<OwnedFd> {
        match self.0 {
            Inner::Owned(fd) => Arc::try_unwrap(fd).or_else(|shared| shared.try_clone()),
            Inner::Borrowed(fd) => fd.try_clone_to_owned(),
        }
    }
}

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Self {
        Self(Inner::Owned(Arc::new(fd)))
    }
}

impl From<Arc<OwnedFd>> for Fd {
    fn from(fd: Arc<OwnedFd>) -> Self {
        Self(Inner::Owned(fd))
    }
}

/// One that stays open as long as the process does, such as standard output.
impl From<BorrowedFd<'static>> for Fd {
    fn from(fd: BorrowedFd<'static>) -> Self {
        Self(Inner::Borrowed(fd))
    }
}

macro_rules! from_owners {
    ($($type:ty)*) => {$(
        impl From<$type> for Fd {
            fn from(owner: $type) -> Self {
                OwnedFd::from(owner).into()
            }
        }
    )*};
}
from_owners!(std::fs::File std::net::TcpListener std::net::TcpStream std::net::UdpSocket
    std::os::unix::net::UnixListener std::os::unix::net::UnixStream std::os::unix::net::UnixDatagram
    std::io::PipeReader std::io::PipeWriter std::process::ChildStdin std::process::ChildStdout
    std::process::ChildStderr);

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Inner::Owned(fd) => fd.as_fd(),
            Inner::Borrowed(fd) => fd.as_fd(),
        }
    }
}

impl fmt::Debug for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_fd().fmt(f)
    }
}

/// Whether both are one descriptor; duplicates of one are two.
impl PartialEq for Fd {
    fn eq(&self, other: &Self) -> bool {
        use std::os::fd::AsRawFd;
        self.as_fd().as_raw_fd() == other.as_fd().as_raw_fd()
    }
}

impl Eq for Fd {}

/// A descriptor in a received message. The message has it: see `take_fd` there.
#[derive(Debug, Portable)]
#[repr(transparent)]
pub struct ArchivedFd {
    index: Archived<u32>,
}

impl ArchivedFd {
    /// Which it is of those that came with the message.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index.into()
    }
}

impl Fingerprinted for Fd {
    fn fingerprint(into: &mut Schema) {
        into.built_in("Fd");
        into.carries_fds();
    }
}

impl Archive for Fd {
    type Archived = ArchivedFd;
    type Resolver = u32;

    fn resolve(&self, index: u32, out: Place<ArchivedFd>) {
        rkyv::munge::munge!(let ArchivedFd { index: place } = out);
        index.resolve((), place);
    }
}

/// A serializer of messages that carry descriptors.
#[diagnostic::on_unimplemented(
    message = "only a message with attachments can hold an `Fd`",
    label = "declare the message with `#[memring::message(attachments)]`, a method with `#[attachments]`"
)]
pub trait SerializesFds: Fallible {
    /// Takes a descriptor along, and gives it a number.
    ///
    /// # Errors
    ///
    /// If there is no place for more.
    fn attach_fd(&mut self, fd: &Fd) -> Result<u32, Self::Error>;
}

impl<S: SerializesFds + ?Sized> Serialize<S> for Fd {
    fn serialize(&self, serializer: &mut S) -> Result<u32, S::Error> {
        serializer.attach_fd(self)
    }
}

/// A validator of messages that carry descriptors.
#[diagnostic::on_unimplemented(
    message = "only a message with attachments can hold an `Fd`",
    label = "declare the message with `#[memring::message(attachments)]`, a method with `#[attachments]`"
)]
pub trait ChecksFds: Fallible {
    /// Takes note that the message names the descriptor of this number.
    ///
    /// # Errors
    ///
    /// If none of that number came, or it was named before.
    fn claim_fd(&mut self, index: u32) -> Result<(), Self::Error>;
}

// SAFETY: the bytes are checked to be a number, as its type has it, before it is read; any number is a valid value.
#[allow(unsafe_code)]
unsafe impl<C: ChecksFds + ?Sized> CheckBytes<C> for ArchivedFd
where
    Archived<u32>: CheckBytes<C>,
{
    unsafe fn check_bytes(value: *const Self, context: &mut C) -> Result<(), C::Error> {
        // SAFETY: the caller's promise; this type is transparent over that one.
        unsafe { Archived::<u32>::check_bytes(value.cast(), context)? };
        // SAFETY: it was just found valid.
        let index = unsafe { (*value).index() };
        context.claim_fd(index)
    }
}

/// A deserialiser that takes descriptors out of a received message.
#[diagnostic::on_unimplemented(
    message = "descriptors cannot be taken here",
    label = "only a received message can be turned into a value with an `Fd`"
)]
pub trait TakesFds: Fallible {
    /// The descriptor of this number.
    ///
    /// # Errors
    ///
    /// If somebody took it before.
    fn take_fd(&mut self, index: u32) -> Result<OwnedFd, Self::Error>;
}

impl<D: TakesFds + ?Sized> Deserialize<Fd, D> for ArchivedFd {
    fn deserialize(&self, deserializer: &mut D) -> Result<Fd, D::Error> {
        deserializer.take_fd(self.index()).map(Fd::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn the_only_holder_gets_the_descriptor_itself_and_others_a_duplicate() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        let fd = Fd::from(file);
        let clone = fd.clone();
        assert_ne!(fd.into_owned().unwrap().as_raw_fd(), number);
        assert_eq!(clone.into_owned().unwrap().as_raw_fd(), number);
    }
}
