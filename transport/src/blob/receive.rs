//! Believing a blob that a peer sent.
//!
//! A descriptor from another process can be anything: a file on a dead network share whose `fstat` hangs, one that is
//! cut short while we read it, one whose bytes change after they were validated. The rules and their order are the
//! protection: `F_GET_SEALS` first, because it never blocks and only memfds and files like them answer it; what it
//! says cannot be taken back; and only after it does the size mean anything.
//!
//! It never reads, writes, seeks or locks through the descriptor, whose offset and flags the peer shares. One that
//! fails goes to the closer. It validates no byte: those are the reader's.
#![allow(unsafe_code)]

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::SealFlags;
use rustix::io::Errno;

use super::{BlobError, MemoryId, SEALS, SealedMemory};
use crate::socket::ForeignFd;

/// `f_type` of tmpfs, from which memfds come unless they were asked to be hugetlb.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// `st_blocks` counts in these, whatever `st_blksize` says.
const BLOCK: u64 = 512;

impl SealedMemory {
    /// Maps what a peer sent as a blob of `len` bytes, if that is what it is.
    ///
    /// # Errors
    ///
    /// [`NotReceived::Unfit`] with the first rule it broke: the peer's fault. [`NotReceived::NotMapped`], with the
    /// descriptor, if this process has no room for it.
    pub fn from_foreign(fd: ForeignFd, len: u64) -> Result<Self, NotReceived> {
        let id = examine(fd.as_fd(), len).map_err(NotReceived::Unfit)?;
        // A memfd: it is safe to close in place.
        let fd = fd.into_owned();
        // SAFETY: (1) `examine` saw that it has `len` bytes and (2) that it bears the seals, which keep it so.
        unsafe { Self::map(fd, len, id) }
            .map_err(|(fd, source)| NotReceived::NotMapped { fd: ForeignFd::new(fd), source })
    }

    /// Maps a blob that came in another way than with a message: one that was inherited, say, or another map of one that
    /// is here already.
    ///
    /// # Errors
    ///
    /// As [`from_foreign`](Self::from_foreign).
    pub fn from_fd(fd: OwnedFd) -> Result<Self, NotReceived> {
        let fd = ForeignFd::new(fd);
        // Nobody said how many bytes it has. The seals are asked for first all the same.
        let stat = sealed(fd.as_fd())
            .and_then(|()| rustix::fs::fstat(&fd).map_err(unreadable("fstat")))
            .map_err(NotReceived::Unfit)?;
        Self::from_foreign(fd, u64::try_from(stat.st_size).unwrap_or(0))
    }
}

/// Whether it bears the seals, which is asked before anything else.
fn sealed(fd: BorrowedFd<'_>) -> Result<(), Unfit> {
    let seals = rustix::fs::fcntl_get_seals(fd)
        .map_err(|errno| Unfit::NotSealable { errno: errno.raw_os_error() })?;
    // Exactly these. One less, and the peer can change it; one that we do not know may mean anything. EXEC says only
    // that nobody can execute it.
    if seals - SealFlags::EXEC != SEALS {
        return Err(Unfit::Seals { found: seals.bits() });
    }
    Ok(())
}

/// The order matters, see the module.
fn examine(fd: BorrowedFd<'_>, stated: u64) -> Result<MemoryId, Unfit> {
    sealed(fd)?;
    let stat = rustix::fs::fstat(fd).map_err(unreadable("fstat"))?;
    let found = u64::try_from(stat.st_size).unwrap_or(0);
    if found != stated {
        return Err(Unfit::Size { found, stated });
    }
    // Who reads a hole pays for the page. None can come about later: that would be a write.
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
    if allocated < stated {
        return Err(Unfit::Holes { allocated, stated });
    }
    let found = rustix::fs::fstatfs(fd).map_err(unreadable("fstatfs"))?.f_type as u64;
    if found != TMPFS_MAGIC {
        return Err(Unfit::NotTmpfs { found });
    }
    Ok(MemoryId::of(&stat))
}

/// A blob that was sent is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotReceived {
    /// What the peer sent is no blob, or not the one it said.
    #[error(transparent)]
    Unfit(Unfit),
    /// It is one, and this process could not map it. Make room and try again with the descriptor.
    #[error("a blob was received and could not be mapped")]
    NotMapped {
        /// The blob's.
        fd: ForeignFd,
        /// Why.
        source: BlobError,
    },
}

/// The rule that a blob from the peer broke.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// It has no seals at all: not a memfd.
    NotSealable {
        /// What `F_GET_SEALS` said.
        errno: i32,
    },
    /// Other seals than were due.
    Seals {
        /// `F_GET_SEALS` as read.
        found: u32,
    },
    /// Another size than was stated, in bytes.
    Size {
        /// Size of the file.
        found: u64,
        /// Size stated.
        stated: u64,
    },
    /// Not all of it is allocated, so that reading it would be charged to the reader.
    Holes {
        /// Bytes allocated.
        allocated: u64,
        /// Bytes of the file.
        stated: u64,
    },
    /// Sealed, but not of tmpfs: hugetlb, whose pages can be missing when touched.
    NotTmpfs {
        /// `f_type` of its file system.
        found: u64,
    },
    /// A memfd that will not be looked at.
    Unreadable {
        /// The call that failed.
        operation: &'static str,
        /// What the kernel said.
        errno: i32,
    },
}

impl std::error::Error for Unfit {}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let os = |errno| std::io::Error::from_raw_os_error(errno);
        match *self {
            Self::NotSealable { errno } => {
                write!(f, "the peer's blob is not a memfd ({})", os(errno))
            }
            Self::Seals { found } => {
                let due = SEALS.bits();
                write!(f, "the peer's blob bears seals {found:#x} where {due:#x} are due")
            }
            Self::Size { found, stated } => {
                write!(f, "the peer's blob has {found} bytes where {stated} were stated")
            }
            Self::Holes { allocated, stated } => {
                write!(f, "the peer's blob has holes: {allocated} of {stated} bytes are there")
            }
            Self::NotTmpfs { found } => {
                write!(f, "the peer's blob is on file system {found:#x} and not on tmpfs")
            }
            Self::Unreadable { operation, errno } => {
                write!(f, "{operation} of the peer's blob failed ({})", os(errno))
            }
        }
    }
}

fn unreadable(operation: &'static str) -> impl Fn(Errno) -> Unfit {
    move |errno| Unfit::Unreadable { operation, errno: errno.raw_os_error() }
}
