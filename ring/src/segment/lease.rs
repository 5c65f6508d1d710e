//! Asking the kernel whether anyone still has a segment open or mapped.
//!
//! The kernel grants a write lease only to the last one that has a file open, or mapped from an open
//! file. Tried on Linux 6.18, this misses two kinds of holder: an `O_PATH` fd, which keeps the memory all the
//! same, and the file that `memfd_create` itself gave, as opposed to a reopening of it. So it is a
//! check on peers that are not hostile; what nobody evades is [`super::Releases`].
//!
//! It does not wait, and it keeps no lease.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Whether another reopening of `probe`'s file, or a mapping through one, is left anywhere.
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
