//! Mappings of a blob's memory: one to write it, ours alone, and one to read it, which nobody can write.
//!
//! Unlike a lane's, these bytes can be Rust's: nobody else writes them, by the contracts below. So they are lent as
//! slices.
//!
//! | | who can write the file | in a forked child |
//! |---|---|---|
//! | [`WriteMap`] | we, through this map | not there (`MADV_DONTFORK`); whoever holds one asks its generation first |
//! | [`ReadMap`] | nobody, ever | there, and as good |
//!
//! Where a map has room for a huge page it begins where one can, at a multiple of 2 MiB: memory that the kernel holds
//! in huge pages is else mapped by small ones.
//!
//! It does not check files; whoever maps one has.
#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use memring_ring::fork::{self, Generation};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::BlobError;

/// A huge page of most machines. Where they are of another size, blobs have small ones.
const HUGE: usize = 2 << 20;

const ABSENT: &str = "a blob that the parent process builds is not in a forked child";

/// The bytes of a sealed file.
#[derive(Debug)]
pub(super) struct ReadMap {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the range is owned until drop, fixed in place, and never written by anybody.
unsafe impl Send for ReadMap {}
// SAFETY: as above; `&ReadMap` gives out nothing but `&[u8]`.
unsafe impl Sync for ReadMap {}

impl ReadMap {
    /// Maps `len` bytes, which are not zero.
    ///
    /// # Safety
    ///
    /// 1. The file has `len` bytes, and its size cannot change: `F_SEAL_SHRINK` and `F_SEAL_SEAL`.
    /// 2. Nobody can write it, and no map of it that can write is left: `F_SEAL_WRITE`, which the kernel gives only then.
    pub(super) unsafe fn new(fd: BorrowedFd<'_>, len: usize) -> Result<Self, BlobError> {
        let start = match map(fd, len, ProtFlags::READ, MapFlags::SHARED) {
            // A descriptor that could write, had the file no seals. Before Linux 6.7 a shared map of it counts as
            // one that writes. A private one has the very same pages for as long as it is only read.
            Err(Errno::PERM) => map(fd, len, ProtFlags::READ, MapFlags::PRIVATE),
            other => other,
        };
        let start = start.map_err(BlobError::of("mmap", len as u64))?;
        Ok(Self { start, len })
    }

    /// The bytes.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped to read until drop, `len` bytes of it, initialised as all memory that a kernel gives; the
        // file keeps them there (1) and nobody changes them (2), by the contract of `new`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Asks the kernel to put these bytes into huge pages now, whatever its settings say of those that do not ask.
    ///
    /// It copies them, and may find no huge page, or be too old (6.1): small ones are as good, only slower.
    pub(super) fn gather_into_huge_pages(&self) {
        if self.len < HUGE {
            return;
        }
        for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
            // SAFETY: the range is ours until drop, and neither advice changes what it contains.
            let _ = unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, advice) };
        }
    }
}

impl Drop for ReadMap {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, in this process or in one it was forked from, whose maps it has a copy of; every
        // slice of it borrowed `self`.
        unsafe { unmap(self.start, self.len) }
    }
}

/// The bytes of a file that is being written.
#[derive(Debug)]
pub(super) struct WriteMap {
    start: NonNull<u8>,
    len: usize,
    generation: Generation,
}

// SAFETY: the range is owned until drop and fixed in place.
unsafe impl Send for WriteMap {}
// SAFETY: as above; `&WriteMap` gives out `&[u8]`, and writing takes `&mut`.
unsafe impl Sync for WriteMap {}

impl WriteMap {
    /// Maps `len` bytes, which are not zero.
    ///
    /// # Safety
    ///
    /// 1. The file has `len` bytes and keeps them until this is dropped.
    /// 2. Nobody else writes or reads the file until then, in this process or another.
    pub(super) unsafe fn new(fd: BorrowedFd<'_>, len: usize) -> Result<Self, BlobError> {
        let generation = fork::generation();
        // No fork between map and DONTFORK: a child that has the map can write while we hold `&mut [u8]`, and keeps
        // the file from being sealed.
        fork::guarded(|| {
            let start = map(fd, len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
                .map_err(BlobError::of("mmap", len as u64))?;
            let this = Self { start, len, generation };
            this.advise(Advice::LinuxDontFork)
                .map_err(BlobError::of("madvise(MADV_DONTFORK)", len as u64))?;
            Ok(this)
        })
    }

    /// Whether this process has it: a forked child has not.
    pub(super) fn is_here(&self) -> bool {
        self.generation.is_current()
    }

    /// The bytes.
    ///
    /// # Panics
    ///
    /// In a forked child, where they are not.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        assert!(self.is_here(), "{ABSENT}");
        // SAFETY: as in `bytes_mut`, and `&self` keeps all others from writing.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to be written.
    ///
    /// # Panics
    ///
    /// In a forked child, where they are not.
    #[inline]
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(self.is_here(), "{ABSENT}");
        // SAFETY: mapped to write until drop in this process, by the line above, `len` bytes of it, initialised as
        // all memory that a kernel gives; they stay there (1) and are nobody else's (2), by the contract of `new`.
        // `&mut self` keeps it to one slice.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Brings its pages in, huge ones where the kernel is set to give them to whoever asks. It may give none.
    pub(super) fn populate_with_huge_pages(&self) {
        if self.len >= HUGE {
            let _ = self.advise(Advice::LinuxHugepage);
            let _ = self.advise(Advice::LinuxPopulateWrite);
        }
    }

    fn advise(&self, advice: Advice) -> rustix::io::Result<()> {
        // SAFETY: the range is ours until drop, and none of the advice used here changes what it contains.
        rustix::io::retry_on_intr(|| unsafe {
            rustix::mm::madvise(self.start.as_ptr().cast(), self.len, advice)
        })
    }
}

impl Drop for WriteMap {
    fn drop(&mut self) {
        // In a child the range may be in other use.
        if self.is_here() {
            // SAFETY: mapped in `new` by this process, and every slice of it borrowed `self`.
            unsafe { unmap(self.start, self.len) }
        }
    }
}

/// A fresh map of `len` bytes of `fd`, aligned for huge pages if it can have one.
fn map(
    fd: BorrowedFd<'_>,
    len: usize,
    protection: ProtFlags,
    flags: MapFlags,
) -> Result<NonNull<u8>, Errno> {
    let hint = if len < HUGE { ptr::null_mut() } else { free_aligned(len) };
    // SAFETY: a fresh range: without MAP_FIXED the address is a wish, and no memory of ours is replaced.
    let start = unsafe { rustix::mm::mmap(hint.cast(), len, protection, flags, fd, 0) }?;
    NonNull::new(start.cast()).ok_or(Errno::FAULT)
}

/// Where `len` bytes would be free a moment ago, at a multiple of [`HUGE`]; null if nowhere.
fn free_aligned(len: usize) -> *mut u8 {
    let Some(room) = len.checked_add(HUGE) else {
        return ptr::null_mut();
    };
    // SAFETY: a fresh range, which nothing can be stored in, and which goes before anybody has seen it.
    let found = unsafe {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let found = rustix::mm::mmap_anonymous(ptr::null_mut(), room, ProtFlags::empty(), flags);
        found.inspect(|found| {
            let _ = rustix::mm::munmap(*found, room);
        })
    };
    let aligned = |start: *mut u8| start.map_addr(|at| at.next_multiple_of(HUGE));
    found.map_or(ptr::null_mut(), |start| aligned(start.cast()))
}

/// # Safety
///
/// The range is one map of this process's, and nothing refers to it any more.
unsafe fn unmap(start: NonNull<u8>, len: usize) {
    // SAFETY: the caller's promise.
    let unmapped = unsafe { rustix::mm::munmap(start.as_ptr().cast(), len) };
    debug_assert!(unmapped.is_ok(), "munmap of a whole range of ours: {unmapped:?}");
}

#[cfg(test)]
pub(super) mod tests {
    //! Maps as somebody makes them who means no good.

    use std::os::fd::AsFd;

    use rustix::mm::MprotectFlags;

    use super::*;

    pub(crate) fn map_shared(
        fd: impl AsFd,
        len: usize,
        protection: ProtFlags,
    ) -> Result<NonNull<u8>, Errno> {
        map(fd.as_fd(), len, protection, MapFlags::SHARED)
    }

    pub(crate) fn protect(
        start: NonNull<u8>,
        len: usize,
        protection: MprotectFlags,
    ) -> Result<(), Errno> {
        // SAFETY: a map of the test's own, of which no slice was made.
        unsafe { rustix::mm::mprotect(start.as_ptr().cast(), len, protection) }
    }

    pub(crate) fn unmap(start: NonNull<u8>, len: usize) {
        // SAFETY: as above, and it is not used again.
        unsafe { super::unmap(start, len) }
    }
}
