//! Tries of single system calls that neither `std` nor rustix has in a safe form.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

// The numbers of asm-generic, which every machine that memring runs on has; libc has only some.
const SO_PASSPIDFD: libc::c_int = 76;
const SO_PEERPIDFD: libc::c_int = 77;
const SO_PASSRIGHTS: libc::c_int = 83;

/// Socket options that memring can use.
#[derive(Clone, Copy, Debug)]
pub(super) enum SocketOption {
    PassPidfd,
    PeerPidfd,
    PassRights,
}

/// Whether a Unix socket takes an option. Tried on a pair of our own.
pub(super) fn socket_option(option: SocketOption) -> io::Result<()> {
    let (socket, _other) = UnixStream::pair()?;
    let on: libc::c_int = 1;
    match option {
        SocketOption::PassPidfd => set(&socket, SO_PASSPIDFD, on),
        SocketOption::PassRights => set(&socket, SO_PASSRIGHTS, on),
        SocketOption::PeerPidfd => {
            let mut fd: libc::c_int = -1;
            let mut len = size_of::<libc::c_int>() as libc::socklen_t;
            // SAFETY: `fd` is a live int, and `len` is its size.
            let done = unsafe {
                libc::getsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    SO_PEERPIDFD,
                    (&raw mut fd).cast(),
                    &raw mut len,
                )
            };
            check(done)?;
            if fd >= 0 {
                // SAFETY: the kernel has just installed it for this call; nobody else knows of it.
                drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) });
            }
            Ok(())
        }
    }
}

fn set(socket: &UnixStream, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is a live int, and `len` is its size.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            len,
        )
    })
}

fn check(done: libc::c_int) -> io::Result<()> {
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the kernel takes this advice on a page of ours.
pub(super) fn advice(advice: Advice) -> io::Result<()> {
    let len = rustix::param::page_size();
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice, advised and unmapped before anybody else
    // knows of it.
    unsafe {
        let page = mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE)?;
        let outcome = madvise(page, len, advice);
        munmap(page, len)?;
        Ok(outcome?)
    }
}
