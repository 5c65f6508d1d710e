//! Believing, step by step, a segment that a peer sent us.
//!
//! An fd from another process can be anything: a file on a dead network share whose `fstat` hangs, a
//! file that will be cut short under our mapping, our own segment sent back. The steps and their order
//! are the protection: `F_GET_SEALS` first, because it never blocks and only memfds answer it, and
//! only with its answer does any other call mean what it says.
//!
//! It never reads, writes, seeks or locks through the fd, whose offset and flags the peer shares. An fd
//! that fails is handed back unclosed, since closing can block too.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::SealFlags;
use rustix::io::Errno;

use super::{Geometry, Identity, SealMask, SegmentError};
use crate::memory::{Access, Mapping};
use crate::step::{self, Step};

/// `f_type` of tmpfs, from which memfds come unless they were asked to be hugetlb.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// `st_blocks` counts in these, whatever `st_blksize` says.
const BLOCK: u64 = 512;

/// What a segment must be, from the handshake.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// Which of the two segments it is, and so which seals it bears by now.
    pub stage: Stage,
    /// The sizes granted.
    pub geometry: Geometry,
    /// The final mask stated with the grant.
    pub mask: SealMask,
    /// Every other segment this session has, ours and theirs.
    pub others: &'a [Identity],
}

/// How far a segment is sealed when it reaches the connecting side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its writer has mapped it; nobody can map it writable any more.
    Sealed,
    /// It is ours to map, write and seal; only its size is fixed.
    Open,
}

/// An fd that arrived where a segment was due. Not yet believed.
#[must_use = "check it, or hand its fd to a thread that may block in close"]
#[derive(Debug)]
pub struct Candidate {
    fd: OwnedFd,
}

impl Candidate {
    /// Takes the fd. No system call is made on it.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Gives the fd back unchecked. Closing it can block: do it where that harms nobody.
    pub fn reject(self) -> OwnedFd {
        self.fd
    }

    /// Checks that this is exactly the segment that was granted.
    ///
    /// # Errors
    ///
    /// [`Rejected`] with the fd, still open, and the first rule it broke.
    pub fn check(self, expect: Expect<'_>) -> Result<Checked, Rejected> {
        match examine(self.fd.as_fd(), &expect) {
            Ok(identity) => Ok(Checked {
                fd: self.fd,
                geometry: expect.geometry,
                mask: expect.mask,
                stage: expect.stage,
                identity,
            }),
            Err(why) => Err(Rejected { fd: self.fd, why }),
        }
    }
}

/// The order matters, see the module.
fn examine(fd: BorrowedFd<'_>, expect: &Expect<'_>) -> Result<Identity, SegmentFault> {
    let due = match expect.stage {
        Stage::Sealed => expect.mask.last(),
        Stage::Open => expect.mask.first(),
    };
    check_seals(fd, due)?;
    let identity = check_size(fd, expect.geometry)?;
    if expect.others.contains(&identity) {
        return Err(SegmentFault::Duplicate);
    }
    let found = rustix::fs::fstatfs(fd).map_err(unreadable("fstatfs"))?.f_type as u64;
    if found != TMPFS_MAGIC {
        return Err(SegmentFault::NotTmpfs { found });
    }
    if expect.stage == Stage::Open {
        let flags = rustix::fs::fcntl_getfl(fd).map_err(unreadable("fcntl(F_GETFL)"))?;
        if flags & rustix::fs::OFlags::ACCMODE != rustix::fs::OFlags::RDWR {
            return Err(SegmentFault::NotWritable);
        }
    }
    Ok(identity)
}

/// Exactly these seals: one missing lets the peer pull the file from under us, one more (WRITE, say)
/// makes our own mapping fail.
pub(super) fn check_seals(fd: BorrowedFd<'_>, due: SealFlags) -> Result<(), SegmentFault> {
    let found = rustix::fs::fcntl_get_seals(fd)
        .map_err(|errno| SegmentFault::NotSealable { errno: errno.raw_os_error() })?;
    if found != due {
        return Err(SegmentFault::Seals { found: found.bits(), expected: due.bits() });
    }
    Ok(())
}

/// Exact size, and every block there: who reads a hole pays for the page.
pub(super) fn check_size(fd: BorrowedFd<'_>, geometry: Geometry) -> Result<Identity, SegmentFault> {
    let stat = rustix::fs::fstat(fd).map_err(unreadable("fstat"))?;
    let expected = geometry.file_len();
    let found = u64::try_from(stat.st_size).unwrap_or(0);
    if found != expected {
        return Err(SegmentFault::Size { found, expected });
    }
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK);
    if allocated < expected {
        return Err(SegmentFault::Holes { allocated, expected });
    }
    Ok(Identity::of(&stat))
}

/// A segment that is what was granted. The kernel keeps it so.
#[derive(Debug)]
#[must_use = "map it"]
pub struct Checked {
    fd: OwnedFd,
    geometry: Geometry,
    mask: SealMask,
    stage: Stage,
    identity: Identity,
}

impl Checked {
    /// Which file it is, for the `others` of the next check.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Maps the peer's segment for reading, all pages in, and closes the fd.
    ///
    /// # Errors
    ///
    /// [`SegmentError`] from the system.
    ///
    /// # Panics
    ///
    /// If this was checked as [`Stage::Open`]: that one is ours to write.
    pub fn map_reader(self) -> Result<Arc<Mapping>, SegmentError> {
        assert_eq!(self.stage, Stage::Sealed, "only a sealed segment is read");
        let mapping = Mapping::map(self.fd.as_fd(), self.geometry, Access::ReadOnly)?;
        mapping.prefault()?;
        step::at(Step::SegmentRead);
        Ok(mapping)
    }

    /// Maps our own segment, made by the peer, for writing; seals it so that nobody else can; closes
    /// the fd.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Refused`] if the peer changed the file after it was checked, else whatever the
    /// system said.
    ///
    /// # Panics
    ///
    /// If this was checked as [`Stage::Sealed`]: that one is the peer's to write.
    pub fn map_writer_and_seal(self) -> Result<Arc<Mapping>, SegmentError> {
        assert_eq!(self.stage, Stage::Open, "only an open segment is written");
        let fd = self.fd.as_fd();
        let mapping = match Mapping::map(fd, self.geometry, Access::ReadWrite) {
            Ok(mapping) => mapping,
            Err(error) => {
                // A seal against writing, added since the check, is the peer's doing.
                check_seals(fd, self.mask.first())?;
                return Err(error.into());
            }
        };
        step::at(Step::SegmentMapped);
        let sealed = super::seal(fd, SealFlags::FUTURE_WRITE | SealFlags::SEAL);
        // The peer's own fd could seal as well until now, so what counts is the result. Read first:
        // a seal too many is also why `seal` would have been refused.
        check_seals(fd, self.mask.last())?;
        sealed?;
        step::at(Step::SegmentSealed);
        // Until the seal it could punch holes too; from here on it cannot.
        check_size(fd, self.geometry)?;
        mapping.prefault()?;
        Ok(mapping)
    }
}

/// A candidate that failed. Its fd is still open, because closing it can block.
#[derive(Debug, thiserror::Error)]
#[error("{why}")]
#[must_use = "hand the fd to a thread that may block in close"]
pub struct Rejected {
    /// The fd. A close may hang (FUSE, NFS, a lingering socket): not on a thread that matters.
    pub fd: OwnedFd,
    /// The rule it broke.
    #[source]
    pub why: SegmentFault,
}

/// The rule that a segment from the peer broke.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentFault {
    /// It has no seals at all: not a memfd.
    NotSealable {
        /// What `F_GET_SEALS` said.
        errno: i32,
    },
    /// Other seals than were due.
    Seals {
        /// `F_GET_SEALS` as read.
        found: u32,
        /// `F_GET_SEALS` as due.
        expected: u32,
    },
    /// Another size than was granted, in bytes.
    Size {
        /// Size of the file.
        found: u64,
        /// Size granted.
        expected: u64,
    },
    /// Not all of it is allocated, so that reading it would be charged to the reader.
    Holes {
        /// Bytes allocated.
        allocated: u64,
        /// Bytes of the file.
        expected: u64,
    },
    /// A file that is in use as another segment already.
    Duplicate,
    /// A memfd, but not of tmpfs: hugetlb, whose pages can be missing when touched.
    NotTmpfs {
        /// `f_type` of its file system.
        found: u64,
    },
    /// The segment we are to write was opened for reading.
    NotWritable,
    /// A memfd that will not be looked at.
    Unreadable {
        /// The call that failed.
        operation: &'static str,
        /// What the kernel said.
        errno: i32,
    },
}

impl std::error::Error for SegmentFault {}

impl fmt::Display for SegmentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let os = |errno| std::io::Error::from_raw_os_error(errno);
        match *self {
            Self::NotSealable { errno } => {
                write!(f, "the peer's segment is not a memfd ({})", os(errno))
            }
            Self::Seals { found, expected } => {
                write!(f, "the peer's segment bears seals {found:#x} where {expected:#x} are due")
            }
            Self::Size { found, expected } => {
                write!(f, "the peer's segment has {found} bytes where {expected} were granted")
            }
            Self::Holes { allocated, expected } => {
                write!(f, "the peer's segment has holes: {allocated} of {expected} bytes are there")
            }
            Self::Duplicate => write!(f, "the peer sent a segment that is in use already"),
            Self::NotTmpfs { found } => {
                write!(f, "the peer's segment is on file system {found:#x} and not on tmpfs")
            }
            Self::NotWritable => write!(f, "the segment for us to write was sent read-only"),
            Self::Unreadable { operation, errno } => {
                write!(f, "{operation} of the peer's segment failed ({})", os(errno))
            }
        }
    }
}

fn unreadable(operation: &'static str) -> impl Fn(Errno) -> SegmentFault {
    move |errno| SegmentFault::Unreadable { operation, errno: errno.raw_os_error() }
}
