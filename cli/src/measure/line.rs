//! A raw cache line that two processes pass back and forth: the least that any message over memory costs.
//!
//! A word for each direction on a line of its own, no system call, no data, no care. It is the yardstick and
//! nothing to send messages with.
//!
//! Where in the third-level cache a line lives depends on its physical address, and its round trip with it: from
//! 240 to 550 ns from one page to the next, on a server with 480 MB of it. So the two words move on, through
//! as much memory as the lanes of a channel have, and what is measured is the mean of many lines.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::{Failed, Link};

/// Bytes mapped.
const BYTES: usize = 512 << 10;
/// Words lie so far apart that no prefetcher takes them for neighbours.
const APART: usize = 256;
/// Calls before the words move on, as a power of two: so many that the first touch of a line counts for little.
const STAY: u32 = 7;
/// Looks between two questions whether the other process is there still.
const PATIENCE: u64 = 1 << 20;

/// Which of two words.
#[derive(Clone, Copy)]
enum Direction {
    There = 0,
    Back = 1,
}

/// One end of the line.
pub struct Line {
    page: NonNull<u8>,
    there: Box<dyn Fn() -> bool + Send>,
}

impl Line {
    /// Shared memory that the other process can have by its descriptor.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn create() -> io::Result<(Self, OwnedFd)> {
        let fd = memfd_create("memring-line", MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, BYTES as u64)?;
        Ok((Self::open(&fd)?, fd))
    }

    /// The other end of it.
    ///
    /// # Errors
    ///
    /// What the kernel says, `InvalidInput` if it is no such page.
    pub fn open(fd: impl AsFd) -> io::Result<Self> {
        if rustix::fs::fstat(fd.as_fd())?.st_size != BYTES as i64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice takes nothing away from anybody.
        let page = unsafe { mmap(std::ptr::null_mut(), BYTES, protection, flags, fd, 0)? };
        let page = NonNull::new(page.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { page, there: Box::new(|| true) })
    }

    /// Asks `there` now and then, while waiting for the other process, whether it is there still: a word in
    /// memory does not tell. Without it a wait may be for ever.
    pub fn watch(&mut self, there: impl Fn() -> bool + Send + 'static) {
        self.there = Box::new(there);
    }

    /// The word of call `number` in this direction.
    fn word(&self, direction: Direction, number: u64) -> &AtomicU64 {
        let pairs = BYTES / APART / 2;
        let pair = (number >> STAY) as usize % pairs;
        let index = 2 * pair + direction as usize;
        // SAFETY: (1) `index` is below `BYTES / APART`, so the word lies inside the mapping, and 256 divides its
        // address. (2) It stays mapped while `self` lives. (3) Both processes access it by atomics of this
        // size only; the file belongs to these two and is never truncated.
        unsafe { AtomicU64::from_ptr(self.page.as_ptr().add(index * APART).cast()) }
    }

    #[inline]
    fn await_call(&self, direction: Direction, number: u64) -> Result<(), Failed> {
        let word = self.word(direction, number);
        loop {
            // ORDERING: Acquire; pairs with the Release stores below. There is no data behind the word, but a
            // message would need it, and on x86 it is free.
            for _ in 0..PATIENCE {
                if word.load(Ordering::Acquire) == number + 1 {
                    return Ok(());
                }
            }
            if !(self.there)() {
                return Err("the process at the other end of the cache line has gone".into());
            }
        }
    }
}

// SAFETY: the mapping belongs to the process and not to a thread.
unsafe impl Send for Line {}

impl Link for Line {
    #[inline]
    fn call(&mut self, number: u64) -> Result<(), Failed> {
        // ORDERING: Release; see `await_call`.
        self.word(Direction::There, number).store(number + 1, Ordering::Release);
        self.await_call(Direction::Back, number)
    }

    #[inline]
    fn answer(&mut self, number: u64) -> Result<(), Failed> {
        self.await_call(Direction::There, number)?;
        // ORDERING: Release; see `await_call`.
        self.word(Direction::Back, number).store(number + 1, Ordering::Release);
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // SAFETY: mapped by `open`, with this length, and nothing borrows from it any more.
        unsafe { munmap(self.page.as_ptr().cast(), BYTES).ok() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_a_line_answer_each_other() {
        let (mut here, fd) = Line::create().unwrap();
        let mut there = Line::open(&fd).unwrap();
        let other = std::thread::spawn(move || there.answer_each(0..1000).unwrap());
        here.call_each(0..1000).unwrap();
        other.join().unwrap();
    }

    #[test]
    fn a_wait_ends_when_the_other_process_has_gone() {
        let (mut line, _fd) = Line::create().unwrap();
        line.watch(|| false);
        assert!(line.call(0).is_err());
    }

    #[test]
    fn a_file_of_another_size_is_no_line() {
        let fd = memfd_create("small", MemfdFlags::CLOEXEC).unwrap();
        assert!(Line::open(&fd).is_err());
    }
}
