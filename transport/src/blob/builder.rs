//! Memory being written, until it is sealed: of a known size, or growing.
//!
//! Why two: a known size is lent as a slice, to be filled in any order and by several threads. What grows is
//! appended to by `pwrite`, through a small buffer of our own: on the machine where it was measured that takes half
//! the time of a mapping, whose every page is cleared and then faulted in before it is written
//! (docs/decisions/0091-blobs.md).
//!
//! It does not know what is written.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::file::{self, Unsealed};
use super::map::WriteMap;
use super::{BlobError, SealedMemory};

/// Bytes gathered before they are written.
const STAGE: usize = 64 << 10;

/// Which pages the memory is to be in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// The kernel's own choice: small ones, unless it is set otherwise.
    #[default]
    Usual,
    /// Huge ones (2 MiB) where there are any, at the price of a copy when it is sealed. Worth it for memory that is read
    /// often and out of order.
    Huge,
}

/// Begins memory that will be sealed.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "it makes no memory until it is told how much"]
pub struct MemoryBuilder {
    pages: Pages,
}

impl MemoryBuilder {
    /// With the usual pages.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these pages.
    pub fn pages(self, pages: Pages) -> Self {
        Self { pages }
    }

    /// `len` zeros to be written over, all of them there.
    ///
    /// # Errors
    ///
    /// [`BlobError`]; nothing is left behind.
    pub fn with_size(self, len: u64) -> Result<SizedMemory, BlobError> {
        let Ok(in_memory) = isize::try_from(len) else {
            return Err(BlobError::TooLarge { needed: len });
        };
        let file = Unsealed::create()?;
        file.resize(len)?;
        let map = match in_memory.unsigned_abs() {
            0 => None,
            // SAFETY: (1) its size was set just now, and `file`, which is ours alone, changes it no more: only
            // `GrowingMemory` does. (2) `SizedMemory` neither lends the descriptor nor uses it before the map is gone,
            // except to allocate, which changes no byte; a forked child is refused its use.
            len => Some(unsafe { WriteMap::new(file.as_fd(), len) }?),
        };
        if let (Pages::Huge, Some(map)) = (self.pages, &map) {
            map.populate_with_huge_pages();
        }
        file.allocate(len)?;
        Ok(SizedMemory { map, file, len, pages: self.pages })
    }

    /// None yet, to be appended to.
    ///
    /// # Errors
    ///
    /// [`BlobError`]; nothing is left behind.
    pub fn growing(self) -> Result<GrowingMemory, BlobError> {
        let file = Unsealed::create()?;
        Ok(GrowingMemory { file, written: 0, stage: Vec::new(), pages: self.pages })
    }
}

/// Memory of a fixed size, being written.
#[must_use = "seal it"]
pub struct SizedMemory {
    /// None of an empty one.
    map: Option<WriteMap>,
    file: Unsealed,
    len: u64,
    pages: Pages,
}

impl SizedMemory {
    /// The bytes, zeros until they are written.
    ///
    /// # Panics
    ///
    /// In a process forked from the one that began it.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.map.as_ref().map_or(&[], WriteMap::bytes)
    }

    /// The bytes, to be written over.
    ///
    /// # Panics
    ///
    /// In a process forked from the one that began it. What was borrowed before the fork is not in the child either.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.map.as_mut().map_or(&mut [], WriteMap::bytes_mut)
    }

    /// Seals it: from here on nobody can change it.
    ///
    /// # Errors
    ///
    /// [`BlobError`]; nothing is left behind.
    pub fn seal(self) -> Result<SealedMemory, BlobError> {
        self.file.check_process()?;
        drop(self.map); // the kernel seals nothing that somebody can still write
        seal(self.file, self.len, self.pages)
    }
}

impl fmt::Debug for SizedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SizedMemory").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Memory that grows by what is written to it, which [`io::Write`] does as well.
#[must_use = "seal it"]
pub struct GrowingMemory {
    file: Unsealed,
    /// Bytes in the file. What lies beyond is of a write that failed.
    written: u64,
    /// Bytes that come after those.
    stage: Vec<u8>,
    pages: Pages,
}

impl GrowingMemory {
    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.written + self.stage.len() as u64
    }

    /// Whether none were.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends `bytes`, all of them or none.
    ///
    /// # Errors
    ///
    /// [`BlobError`]. What was written before is still there.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.file.check_process()?;
        if bytes.len() > STAGE - self.stage.len() {
            self.pass_on()?;
            if bytes.len() >= STAGE {
                self.file.write_at(bytes, self.written)?;
                self.written += bytes.len() as u64;
                return Ok(());
            }
        }
        if self.stage.capacity() == 0 {
            self.stage.reserve_exact(STAGE);
        }
        self.stage.extend_from_slice(bytes);
        Ok(())
    }

    /// Seals what was written: from here on nobody can change it.
    ///
    /// # Errors
    ///
    /// [`BlobError`]; nothing is left behind.
    pub fn seal(mut self) -> Result<SealedMemory, BlobError> {
        self.file.check_process()?;
        self.pass_on()?;
        self.file.resize(self.written)?; // a write that failed may have left something behind
        seal(self.file, self.written, self.pages)
    }

    /// Writes what is staged.
    pub(super) fn pass_on(&mut self) -> Result<(), BlobError> {
        self.file.write_at(&self.stage, self.written)?;
        self.written += self.stage.len() as u64;
        self.stage.clear();
        Ok(())
    }

    /// Lets `fill` write at most `most` bytes at the end of the file, and say how many it wrote. Nothing is staged.
    pub(super) fn fill<E: From<BlobError>>(
        &mut self,
        most: u64,
        fill: impl FnOnce(BorrowedFd<'_>, u64) -> Result<u64, E>,
    ) -> Result<u64, E> {
        self.file.check_process()?;
        debug_assert!(self.stage.is_empty(), "what is staged comes first");
        file::may_have(self.written.saturating_add(most))?;
        let filled = fill(self.file.as_fd(), self.written)?;
        self.written += filled;
        Ok(filled)
    }
}

impl io::Write for GrowingMemory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for GrowingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrowingMemory").field("len", &self.len()).finish_non_exhaustive()
    }
}

fn seal(file: Unsealed, len: u64, pages: Pages) -> Result<SealedMemory, BlobError> {
    let (fd, id) = file.seal(len)?;
    // SAFETY: (1) so many were set or written, and nobody else had the file; (2) sealed by the line above.
    let memory = unsafe { SealedMemory::map(fd, len, id) }.map_err(|(_, error)| error)?;
    if pages == Pages::Huge {
        memory.gather_into_huge_pages();
    }
    Ok(memory)
}
