//! The system calls that need a name of their own: fences, futexes, seals, and the like.
//!
//! Each is one call and says what the kernel said. What a call is good for is said where it is
//! used.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use crate::answer::Failure;

/// A number from the kernel: below zero is an error.
pub fn check(result: i64) -> Result<i64, Failure> {
    if result < 0 { Err(Failure::last()) } else { Ok(result) }
}

/// A new descriptor from the kernel.
///
/// # Safety
///
/// `result` is what a call that makes descriptors has just returned.
pub unsafe fn descriptor(result: i64) -> Result<OwnedFd, Failure> {
    let fd = RawFd::try_from(check(result)?).map_err(Failure::usage)?;
    // SAFETY: by the contract nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `fcntl` with a number.
pub fn fcntl(fd: &impl AsRawFd, command: libc::c_int, argument: u64) -> Result<i64, Failure> {
    // SAFETY: every command that this program uses takes a number or nothing.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) }.into())
}

/// The seals of a file.
pub fn seals(fd: &impl AsRawFd) -> Result<u64, Failure> {
    Ok(u64::from(fcntl(fd, libc::F_GET_SEALS, 0)?.unsigned_abs() as u32))
}

/// A second descriptor for the same open file.
pub fn duplicate(fd: &impl AsRawFd) -> Result<OwnedFd, Failure> {
    // SAFETY: just made, and ours.
    unsafe { descriptor(fcntl(fd, libc::F_DUPFD_CLOEXEC, 3)?) }
}

/// The page size in bytes.
pub fn page() -> u64 {
    // SAFETY: reads a constant.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.unsigned_abs()
}

const MEMBARRIER_GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const MEMBARRIER_REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

/// A memory barrier on every processor that runs a registered process. False if it is denied.
pub fn membarrier() -> bool {
    // SAFETY: numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_GLOBAL_EXPEDITED, 0, 0) == 0 }
}

/// Registers this process for [`membarrier`]. False if it is denied.
pub fn register_membarrier() -> bool {
    // SAFETY: numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0 }
}

/// Sleeps on a shared word while it is `seen`, at most for `time`. Wakes for no reason too.
pub fn futex_wait(word: &AtomicU32, seen: u32, time: Duration) {
    let time = libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: word and time live through the call.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, &raw const time)
    };
}

/// Wakes all who sleep on a shared word; says how many. The word may be mapped read-only.
pub fn futex_wake(word: &AtomicU32) -> u64 {
    // SAFETY: the word lives through the call, which does not write it.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, libc::c_int::MAX) }
        .try_into()
        .unwrap_or(0)
}

/// Moves all who sleep on `from` to `to` without waking them; says how many.
pub fn futex_requeue(from: &AtomicU32, to: &AtomicU32) -> u64 {
    let (none, all) = (0, u64::from(libc::c_int::MAX.unsigned_abs()));
    // SAFETY: both words live through the call, which does not write them.
    unsafe {
        libc::syscall(libc::SYS_futex, from.as_ptr(), libc::FUTEX_REQUEUE, none, all, to.as_ptr())
    }
    .try_into()
    .unwrap_or(0)
}
