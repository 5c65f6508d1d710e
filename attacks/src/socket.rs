//! The control socket: packets and descriptors, with the ancillary data laid out by hand.
//!
//! Nothing here blocks without a deadline.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use crate::answer::Failure;
use crate::deadline::Deadline;
use crate::sys::{check, descriptor};

/// What one read brought.
pub struct Packet {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The descriptors, ours now.
    pub fds: Vec<OwnedFd>,
    /// Bytes or descriptors were cut off.
    pub cut: bool,
}

/// Ancillary data to send: any number of `SCM_RIGHTS` messages, and credentials.
#[derive(Default)]
pub struct Ancillary {
    bytes: Vec<u8>,
}

const HEADER: usize = size_of::<libc::cmsghdr>();

impl Ancillary {
    /// Adds one message of descriptors.
    pub fn rights(&mut self, fds: &[RawFd]) {
        self.push(
            libc::SCM_RIGHTS,
            &fds.iter().flat_map(|fd| fd.to_ne_bytes()).collect::<Vec<_>>(),
        );
    }

    /// Adds credentials, true or not.
    pub fn credentials(&mut self, pid: u32, uid: u32, gid: u32) {
        self.push(libc::SCM_CREDENTIALS, &[pid, uid, gid].map(u32::to_ne_bytes).concat());
    }

    fn push(&mut self, kind: libc::c_int, data: &[u8]) {
        self.bytes.extend((HEADER + data.len()).to_ne_bytes());
        self.bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(size_of::<usize>()), 0);
    }
}

/// Connects to a path, or with `@` to an abstract name. Does not wait for a place in the backlog.
pub fn connect(path: &str) -> Result<OwnedFd, Failure> {
    let socket = new(libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK)?;
    join(&socket, path)?;
    Ok(socket)
}

/// [`connect`], with a place in the backlog waited for until the deadline; EAGAIN then.
pub fn connect_by(path: &str, deadline: Deadline) -> Result<OwnedFd, Failure> {
    let socket = new(libc::SOCK_SEQPACKET)?;
    // None at all would mean for ever.
    let left = deadline.left().clamp(Duration::from_millis(1), Duration::from_secs(1 << 20));
    let left = libc::timeval {
        tv_sec: left.as_secs() as libc::time_t,
        tv_usec: left.subsec_micros().into(),
    };
    // SAFETY: `left` is live, and its size is given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDTIMEO,
            (&raw const left).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    check(set.into())?;
    join(&socket, path)?;
    // SAFETY: no memory is involved; the flag is the only one that such a socket has.
    check(unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) }.into())?;
    Ok(socket)
}

/// Connects a stream socket to a path.
pub fn connect_stream(path: &str) -> Result<OwnedFd, Failure> {
    let socket = new(libc::SOCK_STREAM)?;
    join(&socket, path)?;
    Ok(socket)
}

fn join(socket: &OwnedFd, path: &str) -> Result<(), Failure> {
    let (address, length) = address(path)?;
    // SAFETY: the address lives through the call and `length` lies in it.
    let result = unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) };
    check(result.into()).map(|_| ())
}

/// Listens at a path, in the place of what lay there.
pub fn listen(path: &str, backlog: u64) -> Result<OwnedFd, Failure> {
    let socket = new(libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK)?;
    let (address, length) = address(path)?;
    if !path.starts_with('@') {
        let _ = std::fs::remove_file(path);
    }
    let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
    // SAFETY: as in `join`.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) }.into())?;
    // SAFETY: numbers only.
    check(unsafe { libc::listen(socket.as_raw_fd(), backlog) }.into())?;
    Ok(socket)
}

/// Takes the next connection.
pub fn accept(listener: &OwnedFd, deadline: Deadline) -> Result<OwnedFd, Failure> {
    retry(listener.as_fd(), libc::POLLIN, deadline, || {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no address is asked for; the descriptor is new.
        unsafe {
            descriptor(
                libc::accept4(listener.as_raw_fd(), ptr::null_mut(), ptr::null_mut(), flags).into(),
            )
        }
    })
}

fn new(kind: libc::c_int) -> Result<OwnedFd, Failure> {
    // SAFETY: numbers only.
    unsafe { descriptor(libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0).into()) }
}

fn address(path: &str) -> Result<(libc::sockaddr_un, libc::socklen_t), Failure> {
    // SAFETY: all zero is a good address.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let (name, end) = match path.strip_prefix('@') {
        Some(name) => (format!("\0{name}"), 0),
        None => (path.to_owned(), 1),
    };
    if name.len() + end > address.sun_path.len() {
        return Err(Failure::Errno(libc::ENAMETOOLONG));
    }
    for (place, byte) in address.sun_path.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    let length = std::mem::offset_of!(libc::sockaddr_un, sun_path) + name.len() + end;
    Ok((address, length as libc::socklen_t))
}

/// Sends one packet, waiting for room.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    with: &Ancillary,
    deadline: Deadline,
) -> Result<(), Failure> {
    retry(socket, libc::POLLOUT, deadline, || try_send(socket, bytes, with))
}

/// Sends one packet if there is room for it.
pub fn try_send(socket: BorrowedFd<'_>, bytes: &[u8], with: &Ancillary) -> Result<(), Failure> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all zero is a good message header: nothing anywhere.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !with.bytes.is_empty() {
        message.msg_control = with.bytes.as_ptr().cast_mut().cast();
        message.msg_controllen = with.bytes.len() as _;
    }
    // SAFETY: what the header points at lives through the call, which only reads it.
    let sent = unsafe {
        libc::sendmsg(
            socket.as_raw_fd(),
            &raw const message,
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
        )
    };
    check(sent as i64).map(|_| ())
}

/// Reads one packet, waiting for it. `None` is the end.
pub fn recv(socket: BorrowedFd<'_>, deadline: Deadline) -> Result<Option<Packet>, Failure> {
    retry(socket, libc::POLLIN, deadline, || match try_recv(socket) {
        // Only says that packets of ours were unread when the other side closed: what it sent may
        // follow.
        Err(Failure::Errno(libc::ECONNRESET)) => try_recv(socket),
        other => other,
    })
}

/// Reads a packet that is there.
pub fn try_recv(socket: BorrowedFd<'_>) -> Result<Option<Packet>, Failure> {
    let mut bytes = vec![0u8; 1 << 16];
    let mut control = [0usize; 1024];
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: all zero is a good message header: nothing anywhere.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the buffers live through the call and are as long as the header says.
    let count =
        check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) } as i64)?;
    let fds = rights(&control, message.msg_controllen as usize);
    let cut = message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    bytes.truncate(usize::try_from(count).unwrap_or(0));
    if bytes.is_empty() && fds.is_empty() {
        return Ok(None);
    }
    Ok(Some(Packet { bytes, fds, cut }))
}

/// The descriptors in ancillary data that the kernel wrote.
fn rights(control: &[usize], length: usize) -> Vec<OwnedFd> {
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).take(length).collect();
    let number =
        |at: usize| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let (mut all, mut at) = (Vec::new(), 0);
    while at + HEADER <= bytes.len() {
        let mut word = [0; size_of::<usize>()];
        word.copy_from_slice(&bytes[at..at + size_of::<usize>()]);
        let end = at + usize::from_ne_bytes(word);
        if end < at + HEADER || end > bytes.len() {
            break;
        }
        let (level, kind) = (number(at + size_of::<usize>()), number(at + size_of::<usize>() + 4));
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            for place in (at + HEADER..end).step_by(4) {
                // SAFETY: the kernel just made this descriptor for us.
                all.push(unsafe { OwnedFd::from_raw_fd(number(place)) });
            }
        }
        at = end.next_multiple_of(size_of::<usize>());
    }
    all
}

/// Does what must not block until it succeeds or fails in earnest.
fn retry<T>(
    socket: BorrowedFd<'_>,
    event: libc::c_short,
    deadline: Deadline,
    mut act: impl FnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    loop {
        match act() {
            Err(Failure::Errno(libc::EAGAIN)) if deadline.passed() => {
                return Err(Failure::word("timeout"));
            }
            Err(Failure::Errno(libc::EAGAIN | libc::EINTR)) => poll(socket, event, deadline)?,
            other => return other,
        }
    }
}

/// Waits for an event. In slices: a full queue of the other side is not always told of.
fn poll(socket: BorrowedFd<'_>, event: libc::c_short, deadline: Deadline) -> Result<(), Failure> {
    let time = deadline.left().as_millis().clamp(1, 20) as libc::c_int;
    let mut wait = libc::pollfd { fd: socket.as_raw_fd(), events: event, revents: 0 };
    // SAFETY: one entry, which lives through the call.
    if unsafe { libc::poll(&raw mut wait, 1, time) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Takes a descriptor that was inherited, once.
pub fn adopt(fd: RawFd) -> Result<OwnedFd, Failure> {
    // SAFETY: only asks whether it is open, and how.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into())?;
    if flags & i64::from(libc::FD_CLOEXEC) != 0 || fd < 3 {
        return Err(Failure::usage("that was not inherited"));
    }
    // SAFETY: what we open ourselves closes on exec, and so does this from here on: it was nobody's.
    unsafe {
        libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Shuts both directions.
pub fn shutdown(socket: BorrowedFd<'_>) -> Result<(), Failure> {
    // SAFETY: numbers only.
    check(unsafe { libc::shutdown(socket.as_raw_fd(), libc::SHUT_RDWR) }.into())?;
    Ok(())
}

/// Two ends of a Unix socket.
pub fn pair(kind: libc::c_int) -> Result<(OwnedFd, OwnedFd), Failure> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors, which are ours.
    let result =
        unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()) };
    check(result.into())?;
    // SAFETY: as above.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}
