//! What can go wrong while a blob's memory is made or mapped, by what to do about it.

use std::io;

use rustix::io::Errno;

/// The memory of a blob could not be had. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// `RLIMIT_FSIZE` is too small. Going on would have ended the process with SIGXFSZ.
    #[error(
        "a blob of {needed} bytes exceeds RLIMIT_FSIZE ({limit}): raise it (ulimit -f) or make it smaller"
    )]
    FileSizeLimit {
        /// Bytes that the blob would have.
        needed: u64,
        /// The soft limit in bytes.
        limit: u64,
    },
    /// More than this machine can address.
    #[error("a blob of {needed} bytes cannot be mapped on this machine: make several")]
    TooLarge {
        /// Bytes that the blob would have.
        needed: u64,
    },
    /// No memory for it, no address space, or too many mappings.
    #[error(
        "{operation}: no memory for a blob of {needed} bytes: drop others, or raise the limit on memory or mappings"
    )]
    NoMemory {
        /// The call that failed.
        operation: &'static str,
        /// Bytes that the blob has or would have.
        needed: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// This process or the host has run out of file descriptors.
    #[error("{operation}: no file descriptor left: raise RLIMIT_NOFILE or hold fewer blobs")]
    NoDescriptors {
        /// The call that failed.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// It was begun in the process that this one was forked from, which goes on with it.
    #[error("this blob is being built by the parent process: begin another one here")]
    Forked,
    /// Any other system error.
    #[error("{operation} failed for a blob")]
    System {
        /// The call that failed.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl BlobError {
    /// The error of `operation` for a blob of `needed` bytes.
    pub(super) fn of(operation: &'static str, needed: u64) -> impl Fn(Errno) -> Self {
        move |errno| match errno {
            Errno::NOMEM | Errno::NOSPC | Errno::DQUOT => {
                Self::NoMemory { operation, needed, source: errno.into() }
            }
            Errno::MFILE | Errno::NFILE => Self::NoDescriptors { operation, source: errno.into() },
            _ => Self::System { operation, source: errno.into() },
        }
    }
}

impl From<BlobError> for io::Error {
    /// For those who write through [`io::Write`]; the error itself is inside.
    fn from(error: BlobError) -> Self {
        let kind = match error {
            BlobError::FileSizeLimit { .. } | BlobError::TooLarge { .. } => {
                io::ErrorKind::FileTooLarge
            }
            BlobError::NoMemory { .. } => io::ErrorKind::OutOfMemory,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
