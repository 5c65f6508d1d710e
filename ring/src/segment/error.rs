//! What can go wrong while a segment is made or mapped, by what to do about it.

use std::io;

use rustix::io::Errno;

use super::{GeometryError, SegmentFault};
use crate::memory::MapError;

/// A segment could not be made, mapped or sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The sizes asked for are not possible.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// `RLIMIT_FSIZE` is too small. Going on would have ended the process with SIGXFSZ.
    #[error(
        "a segment of {needed} bytes exceeds RLIMIT_FSIZE ({limit}): raise it (ulimit -f) or choose smaller lanes"
    )]
    FileSizeLimit {
        /// Bytes of the segment.
        needed: u64,
        /// The soft limit in bytes.
        limit: u64,
    },
    /// No memory for it, or no address space.
    #[error(
        "{operation}: no memory for a segment ({needed} bytes): free some, raise the memory limit, or choose smaller lanes"
    )]
    NoMemory {
        /// The call that failed.
        operation: &'static str,
        /// Bytes of the file; zero where the mapping failed and not the file.
        needed: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// This process or the host has run out of file descriptors.
    #[error("{operation}: no file descriptor left: raise RLIMIT_NOFILE or keep fewer sessions")]
    NoDescriptors {
        /// The call that failed.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel has no `F_SEAL_FUTURE_WRITE`.
    #[error(
        "this kernel cannot seal a segment against other writers: Linux 5.1 or later is needed"
    )]
    NoFutureWriteSeal,
    /// The peer broke a rule about this segment.
    #[error(transparent)]
    Refused(#[from] SegmentFault),
    /// Any other system error.
    #[error("{operation} failed for a segment")]
    System {
        /// The call that failed.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl SegmentError {
    /// The error of `operation`.
    pub(super) fn of(operation: &'static str) -> impl Fn(Errno) -> Self {
        Self::sized(operation, 0)
    }

    /// The error of `operation` on a file of `needed` bytes.
    pub(super) fn sized(operation: &'static str, needed: u64) -> impl Fn(Errno) -> Self {
        move |errno| Self::sort(operation, needed, errno.into())
    }

    /// The error of `operation` as the memfd crate wraps it.
    pub(super) fn memfd(operation: &'static str) -> impl Fn(memfd::Error) -> Self {
        move |error| {
            let (memfd::Error::Create(source)
            | memfd::Error::AddSeals(source)
            | memfd::Error::GetSeals(source)) = error;
            Self::sort(operation, 0, source)
        }
    }

    fn sort(operation: &'static str, needed: u64, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(Errno::NOMEM | Errno::NOSPC | Errno::DQUOT) => {
                Self::NoMemory { operation, needed, source }
            }
            Some(Errno::MFILE | Errno::NFILE) => Self::NoDescriptors { operation, source },
            _ => Self::System { operation, source },
        }
    }
}

impl From<MapError> for SegmentError {
    fn from(error: MapError) -> Self {
        Self::sort(error.operation, 0, error.source)
    }
}
