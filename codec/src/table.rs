//! Tables: many values of one type in one stretch of memory, each looked at alone.
//!
//! Why not one archive of a vector: rkyv's pointers have 31 bits, so an archive ends at 2 GiB, and it is checked as a
//! whole before the first look. A table is as long as memory is, is opened by reading its last 32 bytes, and each
//! value is checked when somebody asks for it, once.
//!
//! ```text
//! +---------+-----+---------+-----+---------+-----+-------+--------+
//! | value 0 | pad | value 1 | pad | value 2 | pad | index | footer |   values and index begin at multiples of 16
//! +---------+-----+---------+-----+---------+-----+-------+--------+
//! index:  the end of each value, u64
//! footer: magic "MRNGTABL", version u32, reserved u32, count u64, offset of the index u64
//! ```
//!
//! All numbers are little-endian. A value begins where the one before ends, rounded up to 16; so the index needs one
//! number a value, and no two overlap if all before are where they may be. Nothing lies between them but padding of zeros, which nobody
//! checks. Byte for byte it stands in
//! section 13 of docs/PROTOCOL.md.
//!
//! It works on bytes that nobody can change any more, and on any sink that goes on growing; where those come from is
//! not known here.
#![allow(unsafe_code)]

mod seen;

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use self::seen::Seen;
use crate::{Checked, DecodeError, EncodeError, Encoder, Format, Message, Sink, SinkFull, View};

/// The largest encoding of one value: rkyv's pointers have 31 bits and a sign, and it panics where one does not reach.
/// It finds out while what contains the pointer is on the stack and not yet in the sink, and no stack has the 16 MiB
/// that are left free here.
pub const LARGEST_VALUE: usize = (1 << 31) - (1 << 24);

/// Values, the index and whatever is read in place begin at multiples of this.
const ALIGNMENT: u64 = 16;

/// Bytes of an entry of the index.
const ENTRY: u64 = 8;

const MAGIC: [u8; 8] = *b"MRNGTABL";
const VERSION: u32 = 1;
const FOOTER: usize = 32;

/// Writes the values of a table to a sink, one after the other, then their index.
///
/// The index is kept in memory until then, 8 bytes a value.
///
/// ```
/// use memring_codec::{Scratch, Table, TableWriter};
///
/// let mut table = TableWriter::<[u8], _>::new(Scratch::new(1024));
/// table.push(b"first")?;
/// table.push(b"second")?;
/// table.finish()?;
/// let bytes = table.into_sink();
/// let table = Table::<[u8], _>::open(bytes.as_slice())?;
/// assert_eq!(&*table.get(1)?.expect("two values"), b"second");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TableWriter<T: Message + ?Sized, S> {
    sink: S,
    /// Bytes that the sink has taken, a multiple of 16 between two pushes.
    position: u64,
    ends: Vec<u64>,
    /// A value was written in part: nobody could tell where the next one begins.
    broken: bool,
    _values: PhantomData<fn(&T)>,
}

impl<T: Message + ?Sized, S: Sink> TableWriter<T, S> {
    /// A table without values. What `sink` holds must be empty, or begin at a multiple of 16 by itself.
    #[must_use]
    pub fn new(sink: S) -> Self {
        Self { sink, position: 0, ends: Vec::new(), broken: false, _values: PhantomData }
    }

    /// Appends `value`; says its place.
    ///
    /// # Errors
    ///
    /// [`TableWriteError`]. After one the table takes no more values and cannot be finished.
    pub fn push(&mut self, value: &T) -> Result<u64, TableWriteError> {
        if self.broken {
            return Err(TableWriteError::Broken);
        }
        self.broken = true;
        let mut part = Part { sink: &mut self.sink, written: 0, too_large: false };
        let encoded = match T::Format::ready(value) {
            Some(ready) => part.write(ready).map_err(EncodeError::from),
            None => T::Format::encode(value, &mut Encoder::new(&mut part)),
        };
        encoded.map_err(|error| match error {
            _ if part.too_large => TableWriteError::ValueTooLarge,
            EncodeError::Full | EncodeError::TooLarge { .. } => TableWriteError::Full,
            other => TableWriteError::Value(other),
        })?;
        let end = self.position + part.written as u64;
        self.position = end;
        self.ends.push(end);
        self.pad()?;
        self.broken = false;
        Ok(self.ends.len() as u64 - 1)
    }

    /// Values so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Writes the index. Nothing can be pushed afterwards.
    ///
    /// # Errors
    ///
    /// [`TableWriteError::Full`] if the sink refuses, [`TableWriteError::Broken`] if a value was refused before or the
    /// index is written.
    pub fn finish(&mut self) -> Result<(), TableWriteError> {
        if self.broken {
            return Err(TableWriteError::Broken);
        }
        self.broken = true;
        let mut bytes = [0; 512 * ENTRY as usize];
        for ends in self.ends.chunks(512) {
            let entries = bytes.chunks_exact_mut(ENTRY as usize).zip(ends);
            entries.for_each(|(entry, end)| entry.copy_from_slice(&end.to_le_bytes()));
            self.sink.write(&bytes[..size_of_val(ends)])?;
        }
        let footer = Footer { count: self.ends.len() as u64, index: self.position };
        Ok(self.sink.write(&footer.to_bytes())?)
    }

    /// The sink, into which nobody else should write before the table is finished.
    #[must_use]
    pub fn sink(&mut self) -> &mut S {
        &mut self.sink
    }

    /// The sink, and in it the table, if it was finished.
    #[must_use]
    pub fn into_sink(self) -> S {
        self.sink
    }

    fn pad(&mut self) -> Result<(), SinkFull> {
        let begin = self.position.next_multiple_of(ALIGNMENT);
        let zeros = [0; ALIGNMENT as usize];
        self.sink.write(&zeros[..(begin - self.position) as usize])?;
        self.position = begin;
        Ok(())
    }
}

impl<T: Message + ?Sized, S> fmt::Debug for TableWriter<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableWriter<{}>({} values)", T::name(), self.ends.len())
    }
}

/// One value on its way into the sink.
struct Part<'a, S> {
    sink: &'a mut S,
    written: usize,
    too_large: bool,
}

impl<S: Sink> Sink for Part<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SinkFull> {
        if bytes.len() > LARGEST_VALUE - self.written {
            self.too_large = true;
            return Err(SinkFull::Limit { max: LARGEST_VALUE });
        }
        self.sink.write(bytes)?;
        self.written += bytes.len();
        Ok(())
    }
}

/// Why a table takes no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableWriteError {
    /// The sink refuses.
    #[error("there is no room for more of the table")]
    Full,
    /// Its encoding exceeds what one value may have.
    #[error("one value of a table takes at most {LARGEST_VALUE} bytes: push its parts")]
    ValueTooLarge,
    /// It has no encoding.
    #[error(transparent)]
    Value(EncodeError),
    /// A value was refused half-way, or the index is written.
    #[error("this table is over, for a value was refused or it is finished: begin another")]
    Broken,
}

impl From<SinkFull> for TableWriteError {
    fn from(_: SinkFull) -> Self {
        Self::Full
    }
}

/// Bytes that do not change.
///
/// # Safety
///
/// [`bytes`](Self::bytes) gives the same bytes at the same address each time, however `self` is moved, and nothing
/// writes to them for as long as `self` is there.
pub unsafe trait Steady {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

// SAFETY: a shared slice, whose bytes are elsewhere and borrowed.
unsafe impl Steady for &[u8] {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// A table of values that are checked when they are first asked for.
///
/// Opening one looks at its last 32 bytes, and costs the same whatever its size. That a value was checked is
/// remembered in one bit, there for 65,536 values at a time and no earlier than one of them is asked for.
///
/// The values of formats that are not read in place (JSON, say) are made anew by each call: keep what you got.
pub struct Table<T: Message + ?Sized, B> {
    bytes: B,
    count: u64,
    index: u64,
    seen: Seen,
    _values: PhantomData<fn() -> Box<T>>,
}

impl<T: Message + ?Sized, B: Steady> Table<T, B> {
    /// Opens the table that `bytes` are. They are believed in nothing.
    ///
    /// # Errors
    ///
    /// [`TableError`] if they are none.
    ///
    /// # Panics
    ///
    /// If `bytes` do not begin at a multiple of 16.
    pub fn open(bytes: B) -> Result<Self, TableError> {
        let Footer { count, index } = Footer::of(bytes.bytes())?;
        let start = bytes.bytes().as_ptr().addr();
        assert!(start.is_multiple_of(ALIGNMENT as usize), "a table begins at a multiple of 16");
        Ok(Self { bytes, count, index, seen: Seen::new(count), _values: PhantomData })
    }

    /// How many values it has.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether it has none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What it lies in.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// The value at `place`, checked the first time; none at the end of the table.
    ///
    /// # Errors
    ///
    /// [`TableError`] if it is none of this type. Others may be, and the next call says the same.
    #[inline]
    pub fn get(&self, place: u64) -> Result<Option<Entry<'_, T>>, TableError> {
        if place >= self.count {
            return Ok(None);
        }
        let bytes = self.value(place)?;
        if let Some(checked) = nothing_to_keep::<Checked<T>>()
            && self.seen.contains(place)
        {
            return Ok(Some(Entry { checked, bytes }));
        }
        let checked =
            T::Format::decode(bytes).map_err(|source| TableError::Value { place, source })?;
        self.seen.insert(place);
        Ok(Some(Entry { checked, bytes }))
    }

    /// The bytes of a value that is there.
    #[inline]
    fn value(&self, place: u64) -> Result<&[u8], TableError> {
        let begin = match place.checked_sub(1) {
            None => 0,
            Some(before) => self
                .end(before)
                .checked_next_multiple_of(ALIGNMENT)
                .ok_or(TableError::Place { place })?,
        };
        let end = self.end(place);
        if begin > end || end > self.index {
            return Err(TableError::Place { place });
        }
        // Both are at most the offset of the index, which is below the length of a slice.
        Ok(&self.bytes.bytes()[begin as usize..end as usize])
    }

    /// Where the index says that a value ends.
    #[inline]
    fn end(&self, place: u64) -> u64 {
        // `Footer::of` has seen that so many entries lie in the bytes.
        let at = (self.index + place * ENTRY) as usize;
        u64_at(self.bytes.bytes(), at)
    }
}

impl<T: Message + ?Sized, B> fmt::Debug for Table<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table<{}>({} values)", T::name(), self.count)
    }
}

/// A value of a table. Derefs to its view: the archived form of a `#[message]` type, or `[u8]`.
pub struct Entry<'a, T: Message + ?Sized> {
    checked: Checked<T>,
    bytes: &'a [u8],
}

impl<'a, T: Message + ?Sized> Entry<'a, T> {
    /// Its bytes, as they were written.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl<'a, T> Entry<'a, T>
where
    T: Message<Format: Format<T, Checked = ()>> + ?Sized,
{
    /// The view, for as long as the table is borrowed: of formats that are read in place.
    #[inline]
    #[must_use]
    pub fn into_view(self) -> &'a View<T> {
        // SAFETY: as in `deref`.
        unsafe { T::Format::view(&(), self.bytes) }
    }
}

impl<T: Message + ?Sized> Deref for Entry<'_, T> {
    type Target = View<T>;

    #[inline]
    fn deref(&self) -> &View<T> {
        // SAFETY: (1) `Table::get` alone makes entries, with what `decode` made of these very bytes: just now, or, where that is
        // always the same, when `seen` says that it accepted them; they lie where they lay by the contract of
        // `Steady`. (2) By the same contract nothing writes to them while the table is borrowed.
        unsafe { T::Format::view(&self.checked, self.bytes) }
    }
}

impl<T: Message + ?Sized> fmt::Debug for Entry<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry<{}>({} bytes)", T::name(), self.bytes.len())
    }
}

/// What validation leaves behind, if that is always nothing. Settled when it is compiled.
#[inline(always)]
fn nothing_to_keep<C: 'static>() -> Option<C> {
    let mut nothing = Some(());
    let nothing: &mut dyn Any = &mut nothing;
    nothing.downcast_mut::<Option<C>>()?.take()
}

/// The end of a table, believed once its numbers fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Footer {
    count: u64,
    index: u64,
}

impl Footer {
    fn to_bytes(self) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.count.to_le_bytes());
        bytes[24..].copy_from_slice(&self.index.to_le_bytes());
        bytes
    }

    /// Reads it off the end of `table`.
    fn of(table: &[u8]) -> Result<Self, TableError> {
        let len = table.len() as u64;
        let Some((before, footer)) = table.split_last_chunk::<FOOTER>() else {
            return Err(TableError::Short { len });
        };
        if footer[..8] != MAGIC {
            return Err(TableError::NoTable);
        }
        let version = u64_at(footer, 8);
        if version != u64::from(VERSION) {
            return Err(TableError::Version {
                found: version as u32,
                reserved: (version >> 32) as u32,
            });
        }
        let (count, index) = (u64_at(footer, 16), u64_at(footer, 24));
        let end = count.checked_mul(ENTRY).and_then(|entries| index.checked_add(entries));
        if !index.is_multiple_of(ALIGNMENT) || end != Some(before.len() as u64) {
            return Err(TableError::Index { count, index, len });
        }
        Ok(Self { count, index })
    }
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// Bytes are no table, or a value in it is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Shorter than the end of any table.
    #[error("{len} bytes are too short for a table: its footer alone takes {FOOTER}")]
    Short {
        /// Bytes that there are.
        len: u64,
    },
    /// It does not end as a table does.
    #[error("the bytes do not end as a table does")]
    NoTable,
    /// A table of another version.
    #[error(
        "a table of version {found} (reserved {reserved:#x}) where {VERSION} is read: upgrade this side"
    )]
    Version {
        /// The version.
        found: u32,
        /// The reserved field, zero in all that are known.
        reserved: u32,
    },
    /// The index is not where the footer puts it.
    #[error("a table of {len} bytes has no room for an index of {count} values at offset {index}")]
    Index {
        /// Values stated.
        count: u64,
        /// Offset stated.
        index: u64,
        /// Bytes that there are.
        len: u64,
    },
    /// A value ends before it begins, or not before the index.
    #[error("value {place} of the table does not lie where the one before ends")]
    Place {
        /// Which value.
        place: u64,
    },
    /// A value is not what its type says.
    #[error("value {place} of the table is not valid")]
    Value {
        /// Which value.
        place: u64,
        /// Why.
        source: DecodeError,
    },
}
