//! Mapped lane memory, and the only code that touches it.
//!
//! Another process may change these bytes at any moment. Rust has no reference for such memory, and a
//! compiler that is told of one may read twice what was checked once. So everything goes through
//! [`Region`]: words by atomics of one fixed size, made on the fly, payload by the assembly of `copy.rs`,
//! each method with its bounds checked against private numbers. A failed check is a slip in our own
//! arithmetic and panics; a peer's number never arrives here before it was checked.
//!
//! It does not know what the bytes mean, who may write them (see [`crate::segment`]), or in which
//! order (that is the lane's business). A forked child does not have these mappings: whoever holds a
//! `Region` asks [`crate::fork`] first.
//!
//! ```text
//! +---------+----------+----------+
//! | control | data     | data     |   one range of addresses; the second data window is the
//! +---------+----------+----------+   first again, so a frame that wraps is still one piece
//! 0         control    +capacity  +2*capacity
//! ```
#![allow(unsafe_code)]

mod copy;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags};

use crate::fork::{self, Generation};
use crate::segment::Geometry;

/// Bytes that every region has at least: the smallest page there is.
const LEAST: usize = 4096;

/// Whether this process may write a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// We are the segment's writer.
    ReadWrite,
    /// The peer is; the kernel refuses our stores.
    ReadOnly,
}

/// A system call on memory that failed, and which one.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed")]
#[non_exhaustive]
pub struct MapError {
    /// The call, as in its manual page.
    pub operation: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// One segment in our address space: a control area and a data area that is there twice, back to back.
///
/// Unmapped when the last [`Region`] of it goes. In a forked child the range was never there
/// (`MADV_DONTFORK`) and may be in other use, so a child's drop leaves it alone.
pub struct Mapping {
    base: NonNull<u8>,
    control: usize,
    capacity: usize,
    access: Access,
    generation: Generation,
}

// SAFETY: the range is owned until drop, fixed in place, and only touched through atomics and assembly,
// from whichever thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives out nothing but `Region`s.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the file in `fd`, `geometry.file_len()` bytes, and its data area once more behind it.
    ///
    /// Pages are not there yet: see [`Mapping::prefault`].
    ///
    /// # Errors
    ///
    /// [`MapError`], usually for want of address space, memory or mappings (`vm.max_map_count`).
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        geometry: Geometry,
        access: Access,
    ) -> Result<Arc<Self>, MapError> {
        let (control, capacity) = (geometry.control_bytes(), geometry.capacity_bytes());
        let total = control + 2 * capacity;
        let protection = match access {
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
            Access::ReadOnly => ProtFlags::READ,
        };
        let generation = fork::generation();
        // No fork between the maps and DONTFORK, or the child has the lane.
        fork::guarded(|| {
            // The whole range at once, at an address of the kernel's choice, so that a refusal (a seal
            // that a peer added just now) leaves no trace. What lies past the end of the file is
            // replaced at once by the mirror.
            // SAFETY: a fresh range; no memory of ours is replaced.
            let base = unsafe {
                rustix::mm::mmap(ptr::null_mut(), total, protection, MapFlags::SHARED, fd, 0)
            }
            .map_err(failed("mmap"))?;
            let Some(base) = NonNull::new(base.cast::<u8>()) else {
                return Err(failed("mmap")(Errno::FAULT));
            };
            let mapping = Self { base, control, capacity, access, generation };
            // An old length of zero means: the same shared pages once more, elsewhere. No new look at
            // the seals, so a peer that seals between these two calls cannot make this one fail.
            // SAFETY: both windows lie in the range mapped above, which nobody has seen yet.
            let mirrored = unsafe {
                let data = base.as_ptr().add(control);
                rustix::mm::mremap_fixed(
                    data.cast(),
                    0,
                    capacity,
                    MremapFlags::MAYMOVE,
                    data.add(capacity).cast(),
                )
            };
            match mirrored {
                Ok(_) => {}
                // Valgrind does not know that form.
                Err(Errno::INVAL) => mapping.mirror_from(fd, protection)?,
                Err(error) => return Err(failed("mremap")(error)),
            }
            mapping.advise(Advice::LinuxDontFork).map_err(failed("madvise(MADV_DONTFORK)"))?;
            Ok(Arc::new(mapping))
        })
    }

    /// The mirror by a second map of the file, where it cannot be had from the first.
    fn mirror_from(&self, fd: BorrowedFd<'_>, protection: ProtFlags) -> Result<(), MapError> {
        // SAFETY: the window lies in the range of this mapping, which nobody has seen yet.
        let mirrored = unsafe {
            rustix::mm::mmap(
                self.base.as_ptr().add(self.control + self.capacity).cast(),
                self.capacity,
                protection,
                MapFlags::SHARED | MapFlags::FIXED,
                fd,
                self.control as u64,
            )
        };
        match mirrored {
            Ok(_) => Ok(()),
            Err(error) => {
                // What stood there may be unmapped now, and the hole somebody else's by the time this
                // mapping is dropped. Here, under the fork lock, is the moment to put something back.
                // SAFETY: as above; a private anonymous map at worst replaces what the call left.
                let _ = unsafe {
                    rustix::mm::mmap_anonymous(
                        self.base.as_ptr().add(self.control + self.capacity).cast(),
                        self.capacity,
                        ProtFlags::empty(),
                        MapFlags::PRIVATE | MapFlags::FIXED,
                    )
                };
                Err(failed("mmap")(error))
            }
        }
    }

    /// Brings every page in that a message can touch, so that none pays for a page fault: of the second window that
    /// is a quarter, which the largest frame may run into.
    ///
    /// # Errors
    ///
    /// [`MapError`] if memory runs out on the way.
    pub(crate) fn prefault(&self) -> Result<(), MapError> {
        let advice = match self.access {
            Access::ReadWrite => Advice::LinuxPopulateWrite,
            Access::ReadOnly => Advice::LinuxPopulateRead,
        };
        match self.advise_first(self.touched(), advice) {
            Ok(()) => Ok(()),
            // Linux before 5.14. The file is full size and allocated, so a touch cannot fault for good.
            Err(Errno::INVAL) => {
                self.touch_pages();
                Ok(())
            }
            Err(other) => Err(failed("madvise(MADV_POPULATE)")(other)),
        }
    }

    /// Keeps the lane's bytes out of core dumps (`MADV_DONTDUMP`).
    ///
    /// # Errors
    ///
    /// [`MapError`] if the kernel refuses; dumps then contain the lane.
    pub fn exclude_from_dumps(&self) -> Result<(), MapError> {
        self.advise(Advice::LinuxDontDump).map_err(failed("madvise(MADV_DONTDUMP)"))
    }

    /// The control area.
    pub fn control(self: &Arc<Self>) -> Region {
        self.region(0, self.control)
    }

    /// The data area: `capacity` bytes, and the same again behind them.
    pub fn data(self: &Arc<Self>) -> Region {
        let frames = (self.capacity - 1) & !15;
        Region { frames, ..self.region(self.control, 2 * self.capacity) }
    }

    /// Whether this process may store into it.
    pub fn is_writable(&self) -> bool {
        self.access == Access::ReadWrite
    }

    /// Size of the data area in bytes, counted once.
    pub fn capacity(&self) -> u64 {
        self.capacity as u64
    }

    /// Whether it is there: a forked child does not have it.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.generation.is_current()
    }

    fn total(&self) -> usize {
        self.control + 2 * self.capacity
    }

    fn region(self: &Arc<Self>, start: usize, len: usize) -> Region {
        assert!(len >= LEAST, "a control area is at least a page, and so are two windows of data");
        // SAFETY: callers stay within `total()`.
        let start = unsafe { self.base.add(start) };
        let writable = if self.is_writable() { len } else { 0 };
        Region { start, readable: len, writable, frames: 0, owner: Arc::clone(self) }
    }

    /// Bytes from the start that frames reach: see `Capacity::largest_payload`.
    fn touched(&self) -> usize {
        self.control + self.capacity + self.capacity / 4
    }

    fn advise(&self, advice: Advice) -> rustix::io::Result<()> {
        self.advise_first(self.total(), advice)
    }

    fn advise_first(&self, len: usize, advice: Advice) -> rustix::io::Result<()> {
        // SAFETY: the range is ours alone, and none of the advice used here discards its contents.
        rustix::io::retry_on_intr(|| unsafe {
            rustix::mm::madvise(self.base.as_ptr().cast(), len, advice)
        })
    }

    fn touch_pages(&self) {
        for offset in (0..self.touched()).step_by(rustix::param::page_size()) {
            // SAFETY: within the range and aligned to a page; the memory outlives the borrow.
            let word = unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset).cast()) };
            // ORDERING: Relaxed; the values mean nothing here.
            match self.access {
                Access::ReadWrite => word.fetch_or(0, Ordering::Relaxed),
                Access::ReadOnly => word.load(Ordering::Relaxed),
            };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if !self.generation.is_current() {
            return;
        }
        // SAFETY: mapped by this process in `map`, and every `Region` of it held the `Arc`.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.total()) };
        debug_assert!(unmapped.is_ok(), "munmap of a whole range of ours: {unmapped:?}");
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping")
            .field("control", &self.control)
            .field("capacity", &self.capacity)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}

/// A stretch of a [`Mapping`], as bytes that others change while we look.
///
/// Every load is a snapshot of the past. Offsets are in bytes from the start of the region.
///
/// # Panics
///
/// Each method that takes an offset panics if the access leaves the region, is not aligned to its size, or stores into a
/// read-only mapping: a mistake in this crate, and better a panic than memory that is not ours.
#[derive(Clone)]
pub struct Region {
    start: NonNull<u8>,
    /// Addressable bytes; a multiple of the page size.
    readable: usize,
    /// The same, or zero: bounds and permission in one comparison.
    writable: usize,
    /// Of a data area: takes a position in the lane to the offset of the frame there, a multiple of 16 below the
    /// capacity, whatever the position. Whoever goes by it needs no other check, for a window of the same size
    /// follows. Zero otherwise.
    frames: usize,
    owner: Arc<Mapping>,
}

// SAFETY: a pointer into a `Mapping`, which is `Send` and kept alive by the `Arc` beside it.
unsafe impl Send for Region {}
// SAFETY: all access through `&Region` is atomic or by assembly that assumes nothing about the bytes.
unsafe impl Sync for Region {}

impl Region {
    /// Loads the u64 at `offset`.
    #[inline]
    pub fn load64(&self, offset: usize, order: Ordering) -> u64 {
        let at = word(self.start, offset, 8, self.readable);
        // SAFETY: `word` gives an aligned address in memory that `owner` keeps mapped. A u64 word is
        // never accessed by another size.
        unsafe { AtomicU64::from_ptr(at.cast()) }.load(order)
    }

    /// Stores the u64 at `offset`.
    #[inline]
    pub fn store64(&self, offset: usize, value: u64, order: Ordering) {
        let at = word(self.start, offset, 8, self.writable);
        // SAFETY: as in `load64`, and `writable` is zero unless the mapping is.
        unsafe { AtomicU64::from_ptr(at.cast()) }.store(value, order);
    }

    /// Loads the u32 at `offset`.
    #[inline]
    pub fn load32(&self, offset: usize, order: Ordering) -> u32 {
        let at = word(self.start, offset, 4, self.readable);
        // SAFETY: as in `load64`; a u32 word is a u32 word everywhere.
        unsafe { AtomicU32::from_ptr(at.cast()) }.load(order)
    }

    /// Stores the u32 at `offset`.
    #[inline]
    pub fn store32(&self, offset: usize, value: u32, order: Ordering) {
        let at = word(self.start, offset, 4, self.writable);
        // SAFETY: as in `load32`, and `writable` is zero unless the mapping is.
        unsafe { AtomicU32::from_ptr(at.cast()) }.store(value, order);
    }

    /// Loads the u32 at `OFFSET` of the first page.
    #[inline]
    pub fn load32_at<const OFFSET: usize>(&self, order: Ordering) -> u32 {
        const { assert!(OFFSET.is_multiple_of(4) && OFFSET < LEAST) };
        // SAFETY: as in `load32`: aligned, and within the page that every region has.
        unsafe { AtomicU32::from_ptr(self.start.add(OFFSET).as_ptr().cast()) }.load(order)
    }

    /// Stores the u64 at `OFFSET` of the first page.
    #[inline]
    pub fn store64_at<const OFFSET: usize>(&self, value: u64, order: Ordering) {
        const { assert!(OFFSET.is_multiple_of(8) && OFFSET < LEAST) };
        self.to_be_written();
        // SAFETY: as in `store64`: aligned, within the page that every region has, and writable.
        unsafe { AtomicU64::from_ptr(self.start.add(OFFSET).as_ptr().cast()) }.store(value, order);
    }

    /// The frame at `position`, of a data area.
    #[inline(always)]
    pub fn frame(&self, position: u64) -> Frame<'_> {
        debug_assert!(self.frames != 0, "a control area has no frames");
        // SAFETY: `frames` is zero, and a region has a page; or it takes the position below the capacity, of which
        // there are two.
        let at = unsafe { self.start.add(position as usize & self.frames) };
        Frame { at, most: self.frames, region: PhantomData }
    }

    #[inline(always)]
    fn to_be_written(&self) {
        if self.writable == 0 {
            misuse(0, 8, 0);
        }
    }

    /// Copies `bytes` to `offset`. No order is promised, not even within a word.
    #[inline]
    pub fn copy_in(&self, offset: usize, bytes: &[u8]) {
        let at = span(self.start, offset, bytes.len(), self.writable);
        // SAFETY: `span` checked the bounds and the right to write; `bytes` is readable by its type.
        unsafe { copy::copy(at, bytes.as_ptr(), bytes.len()) }
    }

    /// Copies `into.len()` bytes out of the region, from `offset`.
    ///
    /// What arrives may be a mix of old and new if the writer is at work; from here on it cannot change.
    #[inline]
    pub fn copy_out(&self, offset: usize, into: &mut [u8]) {
        let at = span(self.start, offset, into.len(), self.readable);
        // SAFETY: `span` checked the bounds; `into` is writable by its type, and never part of a
        // mapping, because nothing gives out a `&mut [u8]` of one.
        unsafe { copy::copy(into.as_mut_ptr(), at, into.len()) }
    }

    /// Stores `len` zero bytes at `offset`.
    #[inline]
    pub fn zero(&self, offset: usize, len: usize) {
        let at = span(self.start, offset, len, self.writable);
        // SAFETY: `span` checked the bounds and the right to write.
        unsafe { copy::zero(at, len) }
    }

    /// The address of the u32 at `offset`, or of the low half of a u64, for futex calls only.
    #[inline]
    pub fn futex_word(&self, offset: usize) -> *const u32 {
        word(self.start, offset, 4, self.readable).cast_const().cast()
    }

    /// The bytes themselves.
    ///
    /// # Safety
    ///
    /// Nobody, in this process or another, writes these bytes while the slice lives. Only a peer that
    /// is trusted as one trusts oneself can promise that; see `trust_peer`.
    #[inline]
    pub unsafe fn slice(&self, offset: usize, len: usize) -> &[u8] {
        let at = span(self.start, offset, len, self.readable);
        // SAFETY: in bounds and mapped as long as `self`; unchanging by the caller's promise.
        unsafe { std::slice::from_raw_parts(at, len) }
    }

    /// The bytes themselves, to be written.
    ///
    /// # Safety
    ///
    /// 1. Nobody else writes these bytes while the slice lives, in this process or another: as for
    ///    [`slice`](Self::slice).
    /// 2. No other slice of them lives.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "a region is a window on memory that is not Rust's")]
    pub unsafe fn slice_mut(&self, offset: usize, len: usize) -> &mut [u8] {
        let at = span(self.start, offset, len, self.writable);
        // SAFETY: in bounds, writable, and mapped as long as `self`; nobody else's by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(at, len) }
    }

    /// The mapping this is part of.
    #[inline]
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.owner
    }
}

/// Where a frame lies in a data area: found once, for all that is done with it.
///
/// Header and tag are 16 bytes, and `most` more follow within the two windows, wherever the frame begins.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    at: NonNull<u8>,
    most: usize,
    region: PhantomData<&'a Region>,
}

impl Frame<'_> {
    /// Loads its header.
    #[inline(always)]
    pub fn load_header(self, order: Ordering) -> u64 {
        // SAFETY: `Region::frame` is in bounds and aligned to 16, the region outlives `self`, and a header is a u64
        // everywhere.
        unsafe { AtomicU64::from_ptr(self.at.as_ptr().cast()) }.load(order)
    }

    /// Loads its tag.
    #[inline(always)]
    pub fn load_tag(self, order: Ordering) -> u64 {
        // SAFETY: as in `load_header`; a frame has 16 bytes at least.
        unsafe { AtomicU64::from_ptr(self.at.as_ptr().add(8).cast()) }.load(order)
    }

    /// Copies its payload out, as [`Region::copy_out`] does.
    ///
    /// # Panics
    ///
    /// If that is no smaller than the lane.
    #[inline(always)]
    pub fn copy_payload_out(self, into: &mut [u8]) {
        let from = self.payload(0, into.len());
        // SAFETY: `payload` checked the bounds; `into` is as in `Region::copy_out`.
        unsafe { copy::copy(into.as_mut_ptr(), from, into.len()) }
    }

    /// Where `len` bytes of the payload are, from `offset` on.
    #[inline(always)]
    fn payload(self, offset: usize, len: usize) -> *mut u8 {
        if len > self.most || offset > self.most - len {
            misuse(offset, len, self.most);
        }
        // SAFETY: the frame and 16 are at most the capacity from the start of two windows, and the rest is less.
        unsafe { self.at.as_ptr().add(16 + offset) }
    }
}

/// A [`Frame`] to be written.
#[derive(Clone, Copy)]
pub struct FrameMut<'a> {
    frame: Frame<'a>,
}

impl FrameMut<'_> {
    /// Stores its header.
    #[inline(always)]
    pub fn store_header(self, value: u64, order: Ordering) {
        // SAFETY: as in `Frame::load_header`, and the mapping is writable, as `WritableRegion::new` saw.
        unsafe { AtomicU64::from_ptr(self.frame.at.as_ptr().cast()) }.store(value, order);
    }

    /// Stores its tag.
    #[inline(always)]
    pub fn store_tag(self, value: u64, order: Ordering) {
        // SAFETY: as in `Frame::load_tag`, and the mapping is writable.
        unsafe { AtomicU64::from_ptr(self.frame.at.as_ptr().add(8).cast()) }.store(value, order);
    }

    /// Copies a piece of its payload in, which begins so many bytes behind its header, and writes the first cache line of it last.
    ///
    /// # Panics
    ///
    /// If it goes beyond what a frame may have.
    #[inline(always)]
    pub fn copy_payload_in(self, offset: usize, bytes: &[u8]) {
        let to = self.frame.payload(offset, bytes.len());
        // SAFETY: `payload` checked the bounds, and the mapping is writable.
        unsafe { copy::copy_backwards(to, bytes.as_ptr(), bytes.len()) }
    }

    /// Stores zeros into its payload.
    ///
    /// # Panics
    ///
    /// If they go beyond what a frame may have.
    #[inline(always)]
    pub fn zero(self, offset: usize, len: usize) {
        let to = self.frame.payload(offset, len);
        // SAFETY: `payload` checked the bounds, and the mapping is writable.
        unsafe { copy::zero(to, len) }
    }

    /// Asks the processor to fetch the line after the one with its header for writing. Only a hint.
    #[inline(always)]
    pub fn prefetch_next_line(self) {
        const LINE: usize = 64;
        let line = self.frame.at.as_ptr().map_addr(|at| (at | (LINE - 1)) + 1);
        copy::prefetch_for_writing(line);
    }
}

/// A data area that this process writes: what is checked of a [`Region`] at each store is known of this one.
#[derive(Clone, Debug)]
pub struct WritableRegion {
    region: Region,
}

impl WritableRegion {
    /// A data area.
    ///
    /// # Panics
    ///
    /// If its mapping is read-only, or it is none.
    #[must_use]
    pub fn new(region: Region) -> Self {
        assert!(region.writable != 0, "a side writes its own segment");
        assert!(region.frames != 0, "a control area has no frames");
        Self { region }
    }

    /// The frame at `position`, to be written.
    #[inline(always)]
    pub fn frame_mut(&self, position: u64) -> FrameMut<'_> {
        FrameMut { frame: self.frame(position) }
    }
}

impl std::ops::Deref for WritableRegion {
    type Target = Region;

    #[inline(always)]
    fn deref(&self) -> &Region {
        &self.region
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("len", &self.readable)
            .field("writable", &(self.writable != 0))
            .finish_non_exhaustive()
    }
}

/// Copies bytes that were written just now, all of `from`, within memory of our own.
///
/// # Panics
///
/// If the two are not of one length.
#[inline(always)]
pub(crate) fn copy_fresh(to: &mut [u8], from: &[u8]) {
    const MOST: usize = 64;
    if from.len() > MOST {
        return to.copy_from_slice(from);
    }
    assert_eq!(to.len(), from.len());
    // SAFETY: both are valid by their types, which also keep them apart, and of one length by the line above.
    unsafe { copy::copy_backwards(to.as_mut_ptr(), from.as_ptr(), from.len()) }
}

/// The address of a word of `size` bytes. `limit` is a multiple of 16, so an aligned start below it
/// is a whole word below it.
#[inline(always)]
fn word(start: NonNull<u8>, offset: usize, size: usize, limit: usize) -> *mut u8 {
    if offset >= limit || !offset.is_multiple_of(size) {
        misuse(offset, size, limit);
    }
    // SAFETY: below `limit`, which is within one mapping.
    unsafe { start.add(offset).as_ptr() }
}

/// The address of `len` bytes.
#[inline(always)]
fn span(start: NonNull<u8>, offset: usize, len: usize, limit: usize) -> *mut u8 {
    if offset > limit || len > limit - offset {
        misuse(offset, len, limit);
    }
    // SAFETY: at most `limit`, which is within one mapping or one past its end.
    unsafe { start.add(offset).as_ptr() }
}

#[cold]
#[inline(never)]
fn misuse(offset: usize, len: usize, limit: usize) -> ! {
    panic!("memring bug: {len} bytes at offset {offset} of {limit} accessible bytes of a lane")
}

fn failed(operation: &'static str) -> impl Fn(Errno) -> MapError {
    move |source| MapError { operation, source: source.into() }
}

#[cfg(test)]
mod tests;
