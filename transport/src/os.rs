//! What rustix lacks of Linux's Unix sockets, over libc.
//!
//! One small file, so that every unsafe call of this crate's edge can be read in one sitting. Two
//! things are here although rustix has something of the name: `SO_PEERCRED`, because rustix reads
//! the pid into a type that cannot be zero while the kernel says zero for a peer in another pid
//! namespace; and `recvmsg`, because rustix drops control messages it does not know, and an `SCM_PIDFD`
//! dropped that way is a leaked descriptor.
//!
//! It decides nothing: what an absent option means is up to the caller. Absence is `ENOPROTOOPT`
//! (the kernel, or a sandbox's own network stack, does not know the option) and comes back as
//! `None` or [`Support::Absent`]; every other failure is an error.
//!
//! | option or message | since Linux | without it |
//! |---|---|---|
//! | `SO_PEERCRED` | always | no session at all |
//! | `SO_PEERSEC` | 2.6.2, with an LSM that labels sockets | no label |
//! | `SO_PEERGROUPS` | 4.13 | a peer has its primary group only |
//! | `SO_PEERPIDFD` | 6.5 | death is seen by hang-up only |
//! | `SO_PASSPIDFD`, `SCM_PIDFD` | 6.5 | who sent a packet is not known beyond `SO_PEERCRED` |
//! | `SO_PASSRIGHTS` | 6.16 | unwanted descriptors arrive and have to be closed |

#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

// The numbers of asm-generic, which every little-endian Linux has for these; libc has only some.
const SO_PASSPIDFD: libc::c_int = 76;
const SO_PEERPIDFD: libc::c_int = 77;
const SO_PASSRIGHTS: libc::c_int = 83;
const SCM_PIDFD: libc::c_int = 0x04;

/// The most descriptors the kernel puts into one packet (`SCM_MAX_FD`), however many control
/// messages the sender spread them over.
pub(crate) const MAX_PACKET_FDS: usize = 253;

/// Whether this kernel knows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an option that the kernel lacks has not been set"]
pub enum Support {
    /// It does, and the option is set.
    Present,
    /// It does not (`ENOPROTOOPT`); nothing changed.
    Absent,
}

/// Who is at the other end, as `SO_PEERCRED` has it, before anybody interprets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawCredentials {
    /// Zero if the peer has no number in our pid namespace.
    pub(crate) pid: i32,
    /// The overflow uid if the peer's has no mapping in our user namespace.
    pub(crate) uid: u32,
    /// The overflow gid likewise.
    pub(crate) gid: u32,
}

/// The credentials of whoever called `connect`, `listen` or `socketpair` at the other end.
pub(crate) fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<RawCredentials> {
    let mut raw = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = length_of::<libc::ucred>();
    // SAFETY: `raw` is a live `ucred`, valid for any bytes, and `len` is its size.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut raw).cast(),
            &raw mut len,
        )
    };
    check(done)?;
    if len != length_of::<libc::ucred>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "SO_PEERCRED: short answer"));
    }
    Ok(RawCredentials { pid: raw.pid, uid: raw.uid, gid: raw.gid })
}

/// A pidfd (CLOEXEC) of the process [`peer_credentials`] names. Linux 6.5.
///
/// `None` if the kernel lacks the option (`ENOPROTOOPT`), or has no living process to name: it was
/// reaped already (`ESRCH` or `EINVAL`, before 6.16), or there never was one (`ENODATA`).
pub(crate) fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut fd: RawFd = -1;
    let mut len = length_of::<RawFd>();
    // SAFETY: `fd` is a live int and `len` is its size.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut len,
        )
    };
    match check(done) {
        Ok(()) if fd >= 0 => {
            // SAFETY: the kernel has just installed `fd` for this call; nobody else knows of it.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
        }
        Ok(()) => Ok(None),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOPROTOOPT | libc::ESRCH | libc::EINVAL | libc::ENODATA) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The security label of the peer (`SO_PEERSEC`), without its trailing zero.
///
/// `None` if no security module labels sockets here (`ENOPROTOOPT`).
pub(crate) fn peer_label(socket: BorrowedFd<'_>) -> io::Result<Option<Vec<u8>>> {
    let Some(mut label) = growing_option(socket, libc::SO_PEERSEC, 1)? else {
        return Ok(None);
    };
    while label.last() == Some(&0) {
        label.pop();
    }
    Ok((!label.is_empty()).then_some(label))
}

/// The supplementary groups of the process [`peer_credentials`] names. Linux 4.13.
///
/// Empty if the kernel lacks the option, or the peer has no such groups.
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let bytes = growing_option(socket, libc::SO_PEERGROUPS, mem::size_of::<u32>())?;
    let bytes = bytes.unwrap_or_default();
    let (groups, _) = bytes.as_chunks::<4>();
    Ok(groups.iter().map(|group| u32::from_ne_bytes(*group)).collect())
}

/// Asks that each packet brings a pidfd of who sent it. Linux 6.5.
///
/// The kernel then gives the socket an abstract address of its own choosing when it connects or
/// sends; nobody listens there.
pub(crate) fn set_pass_pidfd(socket: BorrowedFd<'_>, pass: bool) -> io::Result<Support> {
    set_flag(socket, SO_PASSPIDFD, pass)
}

/// Allows or forbids descriptors on packets to this socket. Linux 6.16.
///
/// Forbidden, it is the sender who gets `EPERM`, and nothing of the packet arrives.
pub(crate) fn set_pass_rights(socket: BorrowedFd<'_>, pass: bool) -> io::Result<Support> {
    set_flag(socket, SO_PASSRIGHTS, pass)
}

/// One packet, with every descriptor that came with it owned.
#[derive(Debug)]
pub(crate) struct RawPacket {
    /// Bytes written to the buffer. Zero for an empty packet and for the end alike.
    pub(crate) len: usize,
    /// From every `SCM_RIGHTS` message, in order; all CLOEXEC.
    pub(crate) fds: Vec<OwnedFd>,
    /// From `SCM_PIDFD`: the process that sent the packet.
    pub(crate) pidfd: Option<OwnedFd>,
    /// The packet was longer than the buffer; the rest is lost.
    pub(crate) truncated: bool,
    /// Control messages, and so possibly descriptors, are lost.
    pub(crate) control_truncated: bool,
}

/// Room for control messages: 253 fds, a pidfd, credentials and a label that somebody may have
/// turned on before the socket was ours. A multiple of the header's alignment.
const CONTROL_BYTES: usize = {
    // SAFETY: arithmetic only.
    let need = unsafe {
        libc::CMSG_SPACE((MAX_PACKET_FDS * mem::size_of::<RawFd>()) as u32)
            + libc::CMSG_SPACE(mem::size_of::<RawFd>() as u32)
            + libc::CMSG_SPACE(mem::size_of::<libc::ucred>() as u32)
            + libc::CMSG_SPACE(512)
    };
    (need as usize).next_multiple_of(mem::align_of::<libc::cmsghdr>())
};

#[repr(C)]
union ControlBuffer {
    bytes: [u8; CONTROL_BYTES],
    _align: libc::cmsghdr,
}

/// Takes the next packet without waiting: `MSG_DONTWAIT` and `MSG_CMSG_CLOEXEC`, never `MSG_PEEK`.
///
/// There is room for more descriptors than a packet can carry, so none is dropped by the kernel
/// while it looks for room: dropping one inside `recvmsg` can block (a socket that lingers).
pub(crate) fn receive(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<RawPacket> {
    let mut control = ControlBuffer { bytes: [0; CONTROL_BYTES] };
    let mut part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: `msghdr` is plain data for which zeroes are a valid value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = CONTROL_BYTES as _;

    // SAFETY: `header` points at one iovec over `into` and at `control`, each with its own length;
    // all of them outlive the call.
    let len = unsafe {
        libc::recvmsg(
            socket.as_raw_fd(),
            &raw mut header,
            libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC,
        )
    };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;

    let mut packet = RawPacket {
        len,
        fds: Vec::new(),
        pidfd: None,
        truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        control_truncated: header.msg_flags & libc::MSG_CTRUNC != 0,
    };
    // SAFETY: the kernel filled `control` up to the `msg_controllen` it wrote into `header`; the
    // CMSG functions stay inside that.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !message.is_null() {
        // SAFETY: (1) CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header inside `control`.
        // (2) Its data is what `cmsg_len` says beyond the header, written by the kernel. (3) The
        // descriptors in it were installed for this call, and each is taken once.
        unsafe { take(message, &mut packet) };
        // SAFETY: as for CMSG_FIRSTHDR.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
    }
    Ok(packet)
}

/// Takes the descriptors of one control message.
///
/// # Safety
///
/// 1. `message` points at a control message header. 2. `cmsg_len` bytes of it were written by
///    `recvmsg`. 3. No descriptor in it has been taken before.
unsafe fn take(message: *const libc::cmsghdr, packet: &mut RawPacket) {
    // SAFETY: contract (1).
    let header = unsafe { message.read_unaligned() };
    // SAFETY: arithmetic only.
    let overhead = unsafe { libc::CMSG_LEN(0) } as usize;
    #[allow(clippy::unnecessary_cast)] // 32 bits wide with musl
    let Some(bytes) = (header.cmsg_len as usize).checked_sub(overhead) else {
        return;
    };
    if header.cmsg_level != libc::SOL_SOCKET {
        return;
    }
    // SAFETY: contract (1).
    let data = unsafe { libc::CMSG_DATA(message) };
    // By the length that the kernel wrote, never by what was expected: a second fd fits into the
    // padding after the first.
    let fd_at = |index: usize| -> Option<OwnedFd> {
        // SAFETY: contract (2), and `index` is below `bytes / 4` in both uses below.
        let fd = unsafe { data.cast::<RawFd>().add(index).read_unaligned() };
        // Where the kernel could not make a pidfd it writes an error in its place.
        // SAFETY: contract (3); the kernel installed it for us.
        (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let count = bytes / mem::size_of::<RawFd>();
    match header.cmsg_type {
        libc::SCM_RIGHTS => packet.fds.extend((0..count).filter_map(fd_at)),
        SCM_PIDFD if count >= 1 => packet.pidfd = fd_at(0),
        _ => {} // credentials and labels: nothing to own, and nothing we authenticate by
    }
}

/// Starts `command` with `fd` open in the child, and only there without CLOEXEC.
pub(crate) fn spawn_with_fd(
    command: &mut std::process::Command,
    fd: &OwnedFd,
) -> io::Result<std::process::Child> {
    use std::os::unix::process::CommandExt;
    const NONE: RawFd = -1;
    // The command keeps the closure for whatever it starts later, when the number is another descriptor's.
    let number = Arc::new(AtomicI32::new(fd.as_raw_fd()));
    let passed_on = Arc::clone(&number);
    // SAFETY: the closure runs in the child between fork and exec and makes one async-signal-safe call;
    // it allocates nothing and takes no lock. `fd` outlives the spawn below, so the number names it.
    unsafe {
        // ORDERING: Relaxed, here and below; one thread has `command`, and the child is a copy of it.
        command.pre_exec(move || match passed_on.load(Ordering::Relaxed) {
            NONE => Ok(()),
            number => check(libc::fcntl(number, libc::F_SETFD, 0)),
        });
    }
    let child = command.spawn();
    number.store(NONE, Ordering::Relaxed);
    child
}

/// Takes over a descriptor that the parent left open for us.
///
/// # Errors
///
/// `EBADF` if there is none of that number.
pub(crate) fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD of any number is harmless.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and its number was put into our environment by the parent for this
    // purpose alone; the caller takes it once a process.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn set_flag(socket: BorrowedFd<'_>, option: libc::c_int, on: bool) -> io::Result<Support> {
    let value = libc::c_int::from(on);
    // SAFETY: `value` is a live int of the size that is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const value).cast(),
            length_of::<libc::c_int>(),
        )
    };
    match check(done) {
        Ok(()) => Ok(Support::Present),
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(Support::Absent),
        Err(error) => Err(error),
    }
}

/// Reads an option whose length only the kernel knows, in units of `unit` bytes.
///
/// The kernel answers `ERANGE` and the length it needs; the peer's label or groups are fixed from
/// then on, so this ends. `None` for `ENOPROTOOPT` and `ENODATA`.
fn growing_option(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    unit: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0_u8; 64 * unit];
    for _ in 0..4 {
        let mut len = libc::socklen_t::try_from(bytes.len()).unwrap_or(libc::socklen_t::MAX);
        // SAFETY: `bytes` is live and at least `len` long.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                bytes.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        match check(done) {
            Ok(()) => {
                bytes.truncate(len as usize);
                return Ok(Some(bytes));
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOPROTOOPT | libc::ENODATA) => return Ok(None),
                Some(libc::ERANGE) if len as usize > bytes.len() => bytes.resize(len as usize, 0),
                _ => return Err(error),
            },
        }
    }
    Err(io::Error::from_raw_os_error(libc::ERANGE))
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

const fn length_of<T>() -> libc::socklen_t {
    mem::size_of::<T>() as libc::socklen_t
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_socketpair_names_this_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let who = peer_credentials(ours.as_fd()).unwrap();
        assert_eq!(who.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(who.uid, rustix::process::geteuid().as_raw());
        assert_eq!(who.gid, rustix::process::getegid().as_raw());
    }

    #[test]
    fn options_that_grow_are_read_whole_or_said_to_be_absent() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mine: Vec<u32> =
            rustix::process::getgroups().unwrap().iter().map(|g| g.as_raw()).collect();
        let mut said = peer_groups(ours.as_fd()).unwrap();
        said.retain(|group| mine.contains(group));
        assert_eq!(said.len(), mine.len());
        peer_label(ours.as_fd()).unwrap(); // either way, no error
    }

    #[test]
    fn a_socket_with_no_peer_has_no_pidfd() {
        let path = format!("/tmp/memring-os-{}", std::process::id());
        let alone = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        // A listener's peer is itself, by Linux's book; what matters is that nothing leaks.
        drop(peer_pidfd(alone.as_fd()).unwrap());
    }
}
