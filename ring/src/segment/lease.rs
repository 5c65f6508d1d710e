//! Asking the kernel whether anyone still holds a segment.
//!
//! A peer may keep a mapping long after it has gone, and the seals forbid us to take the pages back. To
//! charge it for exactly as long, a server keeps a read-only reopening and tries to take a write
//! lease on it, which the kernel grants only to the last one that has the file open or mapped.
//!
//! It does not wait, and it keeps no lease.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Whether another open file or mapping of `probe`'s file is left anywhere.
///
/// `probe` is what [`super::Segment::reopen_read_only`] gave, neither duplicated nor sent, and our own
/// mappings of the segment are gone: each of them would count.
///
/// # Errors
///
/// Where leases do not work (`/proc/sys/fs/leases-enable`, another owner without `CAP_LEASE`, a
/// sandbox): fall back to counting.
pub fn still_held(probe: BorrowedFd<'_>) -> io::Result<bool> {
    // Whoever opens the file in the moment we have the lease breaks it, and the kernel says so by a
    // signal. The usual one, SIGIO, ends a process that is not prepared for it.
    fcntl(probe, F_SETSIG, libc::SIGURG)?;
    match fcntl(probe, libc::F_SETLEASE, libc::F_WRLCK) {
        Ok(()) => {
            fcntl(probe, libc::F_SETLEASE, libc::F_UNLCK)?;
            Ok(false)
        }
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(true),
        Err(error) => Err(error),
    }
}

/// From `asm-generic/fcntl.h`; the libc crate lacks it.
const F_SETSIG: libc::c_int = 10;

fn fcntl(fd: BorrowedFd<'_>, command: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the fd is borrowed, hence open, and these commands take an integer.
    match unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command, value) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
