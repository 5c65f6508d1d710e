//! A mapped file, and the segment in it: raw words and bytes that the other process may change at
//! any time.
//!
//! Everything goes through atomics, and nothing that is read here is believed. What the mapping does
//! not allow is tried by a child, which may die of it.

#![allow(unsafe_code)]

use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::answer::Failure;
use crate::sys::check;

/// A shared mapping, unmapped when dropped.
pub struct Map {
    base: usize,
    length: usize,
    writable: AtomicBool,
}

impl Map {
    /// Maps the first `length` bytes of a file.
    pub fn new(file: &impl AsRawFd, length: u64, writable: bool) -> Result<Arc<Self>, Failure> {
        let length = usize::try_from(length).map_err(Failure::usage)?;
        let how = protection(writable);
        // SAFETY: a new mapping, at a place of the kernel's choice, touches nothing of ours.
        let base = unsafe {
            libc::mmap(ptr::null_mut(), length, how, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(Failure::last());
        }
        Ok(Arc::new(Self { base: base.expose_provenance(), length, writable: writable.into() }))
    }

    /// Bytes mapped.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Asks the kernel to make it writable, or read-only.
    pub fn protect(&self, writable: bool) -> Result<(), Failure> {
        let base = ptr::with_exposed_provenance_mut(self.base);
        // SAFETY: our own mapping, whole. While it is in use only stores can begin to fail, which
        // `poke` expects.
        check(unsafe { libc::mprotect(base, self.length, protection(writable)) }.into())?;
        self.writable.store(writable, Ordering::Relaxed);
        Ok(())
    }

    /// Where `size` bytes lie, if they are mapped and aligned to their size.
    fn place<T>(&self, at: usize, size: usize) -> Result<*mut T, Failure> {
        if !at.is_multiple_of(size) || at.checked_add(size).is_none_or(|end| end > self.length) {
            return Err(Failure::usage(format!(
                "offset {at} is outside or not a multiple of {size}"
            )));
        }
        Ok(ptr::with_exposed_provenance_mut(self.base + at))
    }

    /// The word of 32 bits at an offset.
    pub fn word32(&self, at: usize) -> Result<&AtomicU32, Failure> {
        // SAFETY: in bounds, aligned, mapped as long as `self` lives, and never reached but by
        // atomics.
        Ok(unsafe { AtomicU32::from_ptr(self.place(at, 4)?) })
    }

    /// The word of 64 bits at an offset.
    pub fn word64(&self, at: usize) -> Result<&AtomicU64, Failure> {
        // SAFETY: as `word32`.
        Ok(unsafe { AtomicU64::from_ptr(self.place(at, 8)?) })
    }

    fn byte(&self, at: usize) -> Result<&AtomicU8, Failure> {
        // SAFETY: as `word32`.
        Ok(unsafe { AtomicU8::from_ptr(self.place(at, 1)?) })
    }

    /// Copies bytes out.
    pub fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Failure> {
        for (i, chunk) in into.chunks_mut(8).enumerate() {
            let at = at + 8 * i;
            if chunk.len() == 8 && at.is_multiple_of(8) {
                chunk.copy_from_slice(&self.word64(at)?.load(Ordering::Relaxed).to_le_bytes());
                continue;
            }
            for (j, byte) in chunk.iter_mut().enumerate() {
                *byte = self.byte(at + j)?.load(Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Copies bytes in. The mapping has to be writable.
    pub fn write(&self, at: usize, bytes: &[u8]) -> Result<(), Failure> {
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let at = at + 8 * i;
            match <[u8; 8]>::try_from(chunk) {
                Ok(word) if at.is_multiple_of(8) => {
                    self.word64(at)?.store(u64::from_le_bytes(word), Ordering::Relaxed)
                }
                _ => {
                    for (j, byte) in chunk.iter().enumerate() {
                        self.byte(at + j)?.store(*byte, Ordering::Relaxed);
                    }
                }
            }
        }
        Ok(())
    }

    /// Does `act`, which stores into this mapping, or `EACCES` if the kernel kills who does.
    pub fn poke(&self, act: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
        if self.writable.load(Ordering::Relaxed) { act() } else { survive(act) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: our own mapping; all references into it borrow from `self`.
        unsafe { libc::munmap(ptr::with_exposed_provenance_mut(self.base), self.length) };
    }
}

fn protection(writable: bool) -> libc::c_int {
    if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ }
}

/// Does `act` in a child.
fn survive(act: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the child stores, and allocates at most for a failure that `place` would have found
    // here too.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends the child, at the latest here. A core file would only be in the way.
        unsafe {
            libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
            libc::_exit(act().is_err().into());
        }
    }
    let child = check(child.into())? as libc::pid_t;
    let mut status = 0;
    loop {
        // SAFETY: waits for the child just made.
        match check(unsafe { libc::waitpid(child, &raw mut status, 0) }.into()) {
            Err(Failure::Errno(libc::EINTR)) => {}
            Err(other) => return Err(other),
            Ok(_) => break,
        }
    }
    if libc::WIFSIGNALED(status) {
        return Err(Failure::Errno(libc::EACCES));
    }
    if libc::WEXITSTATUS(status) != 0 { Err(Failure::usage("offset")) } else { Ok(()) }
}

/// A segment: the control area, then the data area of a lane.
#[derive(Clone)]
pub struct Segment {
    /// The whole of it.
    pub map: Arc<Map>,
    /// Bytes of the control area.
    pub control: usize,
    /// Bytes of the data area.
    pub capacity: u64,
}

impl Segment {
    /// Where a position lies.
    pub fn offset(&self, position: u64) -> usize {
        self.control + (position % self.capacity) as usize
    }

    /// The header word, or any 8 bytes, at a position.
    pub fn word64(&self, position: u64) -> Result<&AtomicU64, Failure> {
        self.map.word64(self.offset(position))
    }

    /// The low half of the header word at a position: what a consumer sleeps on.
    pub fn word32(&self, position: u64) -> Result<&AtomicU32, Failure> {
        self.map.word32(self.offset(position))
    }

    /// Copies bytes out, across the end of the data area if need be.
    pub fn read(&self, position: u64, into: &mut [u8]) -> Result<(), Failure> {
        let room = (self.capacity - position % self.capacity) as usize;
        let (first, rest) = into.split_at_mut(room.min(into.len()));
        self.map.read(self.offset(position), first)?;
        self.map.read(self.control, rest)
    }

    /// Copies bytes in, likewise.
    pub fn write(&self, position: u64, bytes: &[u8]) -> Result<(), Failure> {
        let room = (self.capacity - position % self.capacity) as usize;
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.map.write(self.offset(position), first)?;
        self.map.write(self.control, rest)
    }
}
