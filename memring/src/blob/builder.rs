//! Blobs being made: from a value, value by value, as bytes, or from a file.
//!
//! A value is encoded straight into the blob's memory, with nothing in between but the little buffer of
//! [`GrowingMemory`]. What fails leaves nothing behind.
//!
//! What becomes of it is `blob`.

use std::io;
use std::ops::{ControlFlow, Deref, DerefMut};
use std::os::fd::AsFd;
use std::sync::Arc;

use memring_codec::{
    EncodeError, Encoder, Format, LARGEST_VALUE, Message, Sink, SinkFull, TableWriteError,
    TableWriter,
};
use memring_transport::blob::{GrowingMemory, MemoryBuilder, SizedMemory};

use super::{Blob, CopyError, MemoryError, Pages, Table};

/// Begins blobs.
///
/// ```
/// use memring::blob::BlobBuilder;
///
/// let mut picture = BlobBuilder::new().with_size(640 * 480)?;
/// picture[640] = 255;
/// let picture = picture.seal()?;
/// assert_eq!((picture[640], picture.len()), (255, 640 * 480));
/// # Ok::<(), memring::blob::MemoryError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "it makes nothing until it is told what"]
pub struct BlobBuilder {
    memory: MemoryBuilder,
}

impl BlobBuilder {
    /// With the usual pages.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these pages.
    pub fn pages(self, pages: Pages) -> Self {
        Self { memory: self.memory.pages(pages) }
    }

    /// `value` as a blob, written straight into its memory.
    ///
    /// # Errors
    ///
    /// [`BuildError`]; nothing is left behind.
    pub fn value<T: Message + ?Sized>(self, value: &T) -> Result<Blob<T>, BuildError> {
        let mut written = Written::to(self.memory.growing()?);
        let done = match T::Format::ready(value) {
            Some(ready) => written.write(ready).map_err(EncodeError::from),
            None => {
                let mut archive = Archive { written: &mut written, len: 0 };
                T::Format::encode(value, &mut Encoder::new(&mut archive))
            }
        };
        done.map_err(|error| written.explain(error))?;
        Ok(Blob::of_one(written.memory.seal()?))
    }

    /// A table, to be pushed to.
    ///
    /// # Errors
    ///
    /// [`MemoryError`]; nothing is left behind.
    pub fn table<T: Message + ?Sized>(self) -> Result<TableBuilder<T>, MemoryError> {
        let written = Written::to(self.memory.growing()?);
        Ok(TableBuilder { table: TableWriter::new(written) })
    }

    /// `len` zeros, to be written over.
    ///
    /// # Errors
    ///
    /// [`MemoryError`]; nothing is left behind.
    pub fn with_size(self, len: u64) -> Result<SizedBlob, MemoryError> {
        Ok(SizedBlob(self.memory.with_size(len)?))
    }

    /// No bytes yet, to be appended to by [`io::Write`].
    ///
    /// # Errors
    ///
    /// [`MemoryError`]; nothing is left behind.
    pub fn growing(self) -> Result<GrowingBlob, MemoryError> {
        Ok(GrowingBlob(self.memory.growing()?))
    }

    /// A copy of a file, made by the kernel where it can. `progress` is told the bytes copied and the size that the file states,
    /// zero if none, now and then, and can stop it.
    ///
    /// ```no_run
    /// use std::ops::ControlFlow;
    /// use memring::blob::BlobBuilder;
    ///
    /// let file = std::fs::File::open("large")?;
    /// let blob = BlobBuilder::new().copy_of(&file, |_, _| ControlFlow::Continue(()))?;
    /// println!("{} bytes", blob.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CopyError`]; nothing is left behind.
    pub fn copy_of(
        self,
        file: impl AsFd,
        progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Blob<[u8]>, CopyError> {
        Ok(Blob::of_one(memring_transport::blob::copy(file, self.memory, progress)?))
    }
}

/// A blob of bytes of a fixed number, being written. Derefs to them.
///
/// In a process forked from the one that began it, touching them panics, and sealing is an error.
#[derive(Debug)]
#[must_use = "seal it"]
pub struct SizedBlob(SizedMemory);

impl SizedBlob {
    /// Seals it: from here on nobody can change it.
    ///
    /// # Errors
    ///
    /// [`MemoryError`]; nothing is left behind.
    pub fn seal(self) -> Result<Blob<[u8]>, MemoryError> {
        Ok(Blob::of_one(self.0.seal()?))
    }
}

impl Deref for SizedBlob {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl DerefMut for SizedBlob {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

/// A blob of bytes that grows by what is written to it.
#[derive(Debug)]
#[must_use = "seal it"]
pub struct GrowingBlob(GrowingMemory);

impl GrowingBlob {
    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Seals it: from here on nobody can change it.
    ///
    /// # Errors
    ///
    /// [`MemoryError`]; nothing is left behind.
    pub fn seal(self) -> Result<Blob<[u8]>, MemoryError> {
        Ok(Blob::of_one(self.0.seal()?))
    }
}

impl io::Write for GrowingBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A table being written.
#[derive(Debug)]
#[must_use = "seal it"]
pub struct TableBuilder<T: Message + ?Sized> {
    table: TableWriter<T, Written>,
}

impl<T: Message + ?Sized> TableBuilder<T> {
    /// Appends `value`; says its place.
    ///
    /// # Errors
    ///
    /// [`BuildError`]. After one the table takes no more values and cannot be sealed.
    pub fn push(&mut self, value: &T) -> Result<u64, BuildError> {
        let pushed = self.table.push(value);
        self.explained(pushed)
    }

    /// Values so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.table.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Writes the index and seals it.
    ///
    /// # Errors
    ///
    /// [`BuildError`]; nothing is left behind.
    pub fn seal(mut self) -> Result<Blob<Table<T>>, BuildError> {
        let finished = self.table.finish();
        self.explained(finished)?;
        let memory = self.table.into_sink().memory.seal()?;
        Blob::of(Arc::new(memory)).map_err(|_| BuildError::Table(TableWriteError::Broken))
    }

    fn explained<R>(&mut self, result: Result<R, TableWriteError>) -> Result<R, BuildError> {
        result.map_err(|error| match (error, self.table.sink().refusal.take()) {
            (TableWriteError::Full, Some(refusal)) => refusal.into(),
            (TableWriteError::Value(EncodeError::Unencodable { source }), _) => {
                BuildError::Value(EncodeError::Unencodable { source })
            }
            (other, _) => BuildError::Table(other),
        })
    }
}

/// Memory as a sink, and why it took no more: a sink can only say that it is full.
#[derive(Debug)]
struct Written {
    memory: GrowingMemory,
    refusal: Option<MemoryError>,
}

impl Written {
    fn to(memory: GrowingMemory) -> Self {
        Self { memory, refusal: None }
    }

    fn explain(&mut self, error: EncodeError) -> BuildError {
        match (error, self.refusal.take()) {
            (EncodeError::Full, Some(refusal)) => refusal.into(),
            (EncodeError::TooLarge { .. }, _) => BuildError::ArchiveTooLarge,
            (other, _) => BuildError::Value(other),
        }
    }
}

impl Sink for Written {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        self.memory.append(bytes).map_err(|refusal| {
            self.refusal = Some(refusal);
            SinkFull::Room
        })
    }
}

/// An archive on its way into memory: no longer than its pointers reach.
struct Archive<'a> {
    written: &'a mut Written,
    len: usize,
}

impl Sink for Archive<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        if bytes.len() > LARGEST_VALUE - self.len {
            return Err(SinkFull::Limit { max: LARGEST_VALUE });
        }
        self.written.write(bytes)?;
        self.len += bytes.len();
        Ok(())
    }
}

/// A blob was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Its memory could not be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// One archive cannot be so large.
    #[error(
        "one value takes at most {LARGEST_VALUE} bytes: make it a table of its parts (`BlobBuilder::table`)"
    )]
    ArchiveTooLarge,
    /// The value has no encoding.
    #[error(transparent)]
    Value(EncodeError),
    /// The table takes no more.
    #[error(transparent)]
    Table(TableWriteError),
}
