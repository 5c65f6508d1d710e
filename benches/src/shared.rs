//! Memory that two processes share without any care: what the baselines are made of.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::link::Side;

/// How long the two ends wait for each other.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mapping that both processes may write at any time.
pub(crate) struct Shared {
    start: NonNull<u8>,
    bytes: usize,
    /// The near side's: gone with it.
    file: OwnedFd,
}

impl Shared {
    /// Fresh zeroed memory, and its descriptor.
    pub(crate) fn create(bytes: usize) -> io::Result<Self> {
        let file = memfd_create("memring-baseline", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, bytes as u64)?;
        Self::open(file, bytes)
    }

    /// The same memory.
    pub(crate) fn open(file: OwnedFd, bytes: usize) -> io::Result<Self> {
        if rustix::fs::fstat(file.as_fd())?.st_size != bytes as i64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice takes nothing away from anybody.
        let start = unsafe { mmap(std::ptr::null_mut(), bytes, protection, flags, &file, 0)? };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, bytes, file })
    }

    /// One end of memory that the two ends meet at, in a directory of theirs.
    pub(crate) fn meet(side: Side, directory: &Path, bytes: usize) -> io::Result<Self> {
        let link = directory.join("memory");
        match side {
            Side::Near => {
                let shared = Self::create(bytes)?;
                let fd = shared.file.as_raw_fd();
                std::os::unix::fs::symlink(format!("/proc/{}/fd/{fd}", std::process::id()), link)?;
                Ok(shared)
            }
            Side::Far => {
                let open = || File::options().read(true).write(true).open(&link);
                Self::open(until_there(open)?.into(), bytes)
            }
        }
    }

    /// Another descriptor of it.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.file.try_clone()
    }

    /// The 64-bit word at `offset`.
    ///
    /// # Panics
    ///
    /// If it is not aligned or lies outside.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < self.bytes);
        // SAFETY: aligned and inside, by the line above; mapped while `self` lives; the file is never truncated,
        // and everybody accesses this word by atomics of this size.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// The 32-bit word at `offset`.
    ///
    /// # Panics
    ///
    /// As [`word`](Self::word).
    #[inline]
    pub(crate) fn half_word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < self.bytes);
        // SAFETY: as in `word`.
        unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) }
    }

    /// The bytes at `offset`, to be written.
    ///
    /// # Safety
    ///
    /// Until the slice is gone nobody, in either process, touches these bytes: the two ends agree by words
    /// elsewhere on whose they are.
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn bytes_mut(&self, offset: usize, len: usize) -> &mut [u8] {
        assert!(offset + len <= self.bytes);
        // SAFETY: inside, by the line above; nobody else's, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(offset), len) }
    }

    /// The bytes at `offset`, to be read.
    ///
    /// # Safety
    ///
    /// Until the slice is gone nobody, in either process, writes these bytes.
    #[inline]
    pub(crate) unsafe fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(offset + len <= self.bytes);
        // SAFETY: inside, by the line above; unchanging by the caller's promise.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), len) }
    }
}

// SAFETY: the mapping belongs to the process and not to a thread; everything in it is an atomic or somebody's by
// agreement.
unsafe impl Send for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `open`, with this length, and nothing borrows from it any more.
        unsafe { munmap(self.start.as_ptr().cast(), self.bytes).ok() };
    }
}

/// Tries again while what the other end makes is not there yet.
pub(crate) fn until_there<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) && Instant::now() < give_up =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            outcome => return outcome,
        }
    }
}
