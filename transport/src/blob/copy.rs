//! A blob from a file: copied by the kernel where it can.
//!
//! `copy_file_range` first, which may share what file systems can share; then `sendfile`, which is what works from a
//! disk on most kernels; then `read` and `write`, which work for all that can be read. A way that fails is left for
//! the next one, so that what is reported in the end comes from a call that touches one side only.
//!
//! A file that others write meanwhile is copied as it is found, piece by piece. It is for the caller to see to it
//! that nobody does, where that matters.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{FileType, SeekFrom};
use rustix::io::{Errno, retry_on_intr};

use super::{BlobError, GrowingMemory, MemoryBuilder, SealedMemory};

/// Bytes copied between two calls of the progress callback.
const CHUNK: u64 = 16 << 20;

/// Bytes read at once where the kernel does not copy.
const BUFFER: usize = 256 << 10;

/// Copies `file` into sealed memory.
///
/// A file that states its size is copied from its beginning up to that size, wherever its own position is, which
/// stays. One that states none, such as a pipe, is read from where it is to its end.
///
/// `progress` is told the bytes copied and the size stated (zero if none), after every 16 MiB and at the end, and
/// can stop it.
///
/// ```no_run
/// use std::ops::ControlFlow;
/// use memring_transport::blob::{self, MemoryBuilder};
///
/// let file = std::fs::File::open("large")?;
/// let memory = blob::copy(&file, MemoryBuilder::new(), |done, total| {
///     println!("{done} of {total} bytes");
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(memory.len(), file.metadata()?.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`CopyError`]; nothing is left behind.
pub fn copy(
    file: impl AsFd,
    builder: MemoryBuilder,
    progress: impl FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<SealedMemory, CopyError> {
    let mut memory = builder.growing()?;
    memory.append_file(file, progress)?;
    Ok(memory.seal()?)
}

impl GrowingMemory {
    /// Appends `file`, as [`copy`] does; says how many bytes that were.
    ///
    /// # Errors
    ///
    /// [`CopyError`]. A part of the file may have been appended.
    pub fn append_file(
        &mut self,
        file: impl AsFd,
        mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<u64, CopyError> {
        self.pass_on()?;
        let file = file.as_fd();
        let stat = rustix::fs::fstat(file).map_err(source("fstat"))?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let total = if regular { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        // Files of /proc state no size and have something to say.
        let mut way = if total == 0 { Way::ReadOn } else { Way::CopyFileRange };
        let end = if total == 0 { u64::MAX } else { total };
        let mut done = 0;
        while done < end {
            match self.append_chunk(file, way, done, CHUNK.min(end - done)) {
                Ok(0) => match way {
                    Way::ReadOn => break,
                    Way::Read => return Err(CopyError::Shrunk { stated: total, found: done }),
                    // Some files have no end for one way and bytes for another.
                    other => way = other.next(),
                },
                Ok(copied) => {
                    done += copied;
                    if progress(done, total).is_break() {
                        return Err(CopyError::Stopped { done });
                    }
                }
                Err(CopyError::Source { .. }) if way.next() != way => way = way.next(),
                Err(error) => return Err(error),
            }
        }
        if done == 0 && progress(0, total).is_break() {
            return Err(CopyError::Stopped { done });
        }
        Ok(done)
    }

    /// Appends at most `most` bytes of `file`, those at `from`; none if there are none.
    fn append_chunk(
        &mut self,
        file: BorrowedFd<'_>,
        way: Way,
        from: u64,
        most: u64,
    ) -> Result<u64, CopyError> {
        // At most `CHUNK`, which is a `usize` everywhere.
        let len = most as usize;
        let mut from = from;
        match way {
            Way::CopyFileRange => self.fill(most, |memory, mut at| {
                let copied = retry_on_intr(|| {
                    rustix::fs::copy_file_range(file, Some(&mut from), memory, Some(&mut at), len)
                });
                Ok(copied.map_err(source("copy_file_range"))? as u64)
            }),
            Way::SendFile => self.fill(most, |memory, at| {
                rustix::fs::seek(memory, SeekFrom::Start(at))
                    .map_err(BlobError::of("lseek", at))?;
                let copied =
                    retry_on_intr(|| rustix::fs::sendfile(memory, file, Some(&mut from), len));
                Ok(copied.map_err(source("sendfile"))? as u64)
            }),
            Way::Read | Way::ReadOn => {
                let mut buffer = vec![0; BUFFER.min(len)];
                let mut read = 0;
                while read < most {
                    let room = buffer.len().min((most - read) as usize);
                    let now = retry_on_intr(|| match way {
                        Way::Read => rustix::io::pread(file, &mut buffer[..room], from + read),
                        _ => rustix::io::read(file, &mut buffer[..room]),
                    });
                    let now = now.map_err(source("read"))?;
                    if now == 0 {
                        break;
                    }
                    self.append(&buffer[..now])?;
                    read += now as u64;
                }
                self.pass_on()?;
                Ok(read)
            }
        }
    }
}

/// Who moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    CopyFileRange,
    SendFile,
    /// We do, from where the file begins.
    Read,
    /// We do, from where its position is.
    ReadOn,
}

impl Way {
    /// What to try if this one does not work; itself if nothing is left.
    fn next(self) -> Self {
        match self {
            Self::CopyFileRange => Self::SendFile,
            Self::SendFile | Self::Read => Self::Read,
            Self::ReadOn => Self::ReadOn,
        }
    }
}

/// A file was not copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The file cannot be read.
    #[error("{operation} of the file to be copied failed")]
    Source {
        /// The call that failed.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file got shorter while it was copied.
    #[error("the file had {stated} bytes and ended after {found}: copy it while nobody cuts it")]
    Shrunk {
        /// Its size at the beginning.
        stated: u64,
        /// Where it ended.
        found: u64,
    },
    /// The progress callback said so.
    #[error("copying was stopped after {done} bytes")]
    Stopped {
        /// Bytes copied by then.
        done: u64,
    },
    /// There is no memory to copy it to.
    #[error(transparent)]
    Memory(#[from] BlobError),
}

fn source(operation: &'static str) -> impl Fn(Errno) -> CopyError {
    move |errno| CopyError::Source { operation, source: errno.into() }
}
