//! The control socket: one `SOCK_SEQPACKET` connection, packets in and out, never blocking unless
//! a deadline is given.
//!
//! Packets keep their bounds and their descriptors together, which a stream does not: there the
//! kernel joins and splits, and a descriptor can arrive with the wrong bytes. The socket is always
//! `O_NONBLOCK` and `CLOEXEC`; every wait is a `ppoll` of our own, against `CLOCK_MONOTONIC`.
//!
//! It knows no messages and reports no identity (see `peer`), it never uses `MSG_PEEK` (which would
//! install descriptors a second time), and it does not serialise readers: who calls
//! [`receive`](ControlSocket::receive) is the session's business.
//!
//! Closing a socket closes what lies unread in its queue, and a descriptor there may be one whose close
//! blocks. So a socket is closed in place only if none can be there, and by the closer otherwise.

mod connecting;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use memring_ring::fork::{Generation, generation};
use memring_ring::step::{self, Step};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags,
    SocketType, sockopt,
};

pub use crate::closer::ForeignFd;
use crate::os;
pub use crate::os::Support;
use crate::quota::Ticket;
pub use connecting::{ConnectProblem, Obstacle, WhenAbsent};

/// The most descriptors one packet can carry: the kernel's own limit.
pub const MOST_FDS: usize = os::MAX_PACKET_FDS;

/// A connected `AF_UNIX` `SOCK_SEQPACKET` socket, nonblocking and CLOEXEC.
#[derive(Debug)]
pub struct ControlSocket {
    fd: ForeignFd,
    /// The kernel lets no descriptors in.
    refuses_fds: AtomicBool,
    /// And none is in its queue.
    holds_no_fds: AtomicBool,
    generation: Generation,
}

/// Why a descriptor cannot be a control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotUsable {
    /// It is no socket at all.
    #[error("the descriptor is not a socket: pass one end of a SOCK_SEQPACKET Unix socketpair")]
    NotASocket,
    /// It is a socket of another family.
    #[error("the socket is not a Unix socket: only those can tell who is at the other end")]
    NotUnix,
    /// It is a stream or datagram socket.
    #[error("the Unix socket is not SOCK_SEQPACKET: packets have to keep their bounds")]
    NotSeqPacket,
    /// It listens, and so is nobody's other end.
    #[error("the socket is listening: accept a connection from it and pass that")]
    Listening,
    /// It is not connected, or not any more.
    #[error("the socket is not connected, or its other end has gone already")]
    NotConnected,
    /// The kernel refused to say.
    #[error("examining the socket")]
    System(#[source] io::Error),
}

/// Why a packet was not sent. Nothing of it was, whichever it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendProblem {
    /// The peer has not read what lies before it: its queue is full. Its socket is readable.
    #[error("the peer's control socket is full")]
    WouldBlock,
    /// The deadline passed while the queue was full.
    #[error("the peer did not read its control socket before the deadline")]
    TimedOut,
    /// The peer closed, died, or either side shut the socket down.
    #[error("the control socket is closed")]
    Closed,
    /// The kernel had no memory for it; the same packet may do better later.
    #[error("the kernel has no memory for the packet")]
    NoMemory,
    /// Too many descriptors of this user are under way, in all its processes; wait for them to arrive.
    #[error("too many descriptors of this user are in flight: wait until they have been received")]
    TooManyInFlight,
    /// The receiving side takes no descriptors (`SO_PASSRIGHTS` is off), or a security module
    /// forbids it.
    #[error("the peer takes no descriptors")]
    FdsRefused,
    /// More than [`MOST_FDS`].
    #[error("{0} descriptors, and a packet carries at most {MOST_FDS}")]
    TooManyFds(usize),
    /// The packet exceeds the socket's buffer, and always will.
    #[error("a packet of {0} bytes exceeds the socket's send buffer")]
    TooLarge(usize),
    /// Anything else.
    #[error("sending on the control socket")]
    System(#[source] io::Error),
}

/// What a look at the control socket brought.
#[derive(Debug)]
pub enum Incoming {
    /// A packet of at least one byte.
    Packet(Packet),
    /// Nothing yet.
    WouldBlock,
    /// Nothing ever again: the peer closed, died or shut down, and all it had sent has been read.
    ///
    /// A packet of no bytes means this too. Nobody of ours sends one, the kernel reports it exactly
    /// like the end, and believing it to be anything else would be a way to make us loop.
    Ended,
}

/// One packet's facts; its bytes are in the buffer that was lent.
#[derive(Debug)]
pub struct Packet {
    /// Bytes in the buffer, at least 1.
    pub len: usize,
    /// Every descriptor that came, all CLOEXEC, however they were spread over control messages.
    /// Those not taken go to the closer.
    pub fds: Vec<ForeignFd>,
    /// The process that sent this packet, where the kernel says (Linux 6.5, `pass_pidfd`).
    pub pidfd: Option<OwnedFd>,
    /// The packet was longer than the buffer. What is missing is lost.
    pub truncated: bool,
    /// Control data was lost, and so possibly descriptors: too many for our limits, or refused by a
    /// security module. The bytes arrive all the same.
    pub control_truncated: bool,
}

impl ControlSocket {
    /// Two connected sockets. The kernel names this process as the peer of both, for ever.
    ///
    /// # Errors
    ///
    /// Whatever the kernel says, mostly `EMFILE`.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        Ok((Self::prepared(a)?, Self::prepared(b)?))
    }

    /// Takes over a connected socket made elsewhere, and makes it nonblocking and CLOEXEC.
    ///
    /// `O_NONBLOCK` belongs to the open file description, so whoever shares it sees that too.
    ///
    /// # Errors
    ///
    /// [`NotUsable`] says what it is instead. The descriptor is closed then.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, NotUsable> {
        match sockopt::socket_domain(&fd) {
            Ok(AddressFamily::UNIX) => {}
            Ok(_) => return Err(NotUsable::NotUnix),
            Err(Errno::NOTSOCK) => return Err(NotUsable::NotASocket),
            Err(error) => return Err(NotUsable::System(error.into())),
        }
        let system = |error: Errno| NotUsable::System(error.into());
        if sockopt::socket_type(&fd).map_err(system)? != SocketType::SEQPACKET {
            return Err(NotUsable::NotSeqPacket);
        }
        if sockopt::socket_acceptconn(&fd).map_err(system)? {
            return Err(NotUsable::Listening);
        }
        match rustix::net::getpeername(&fd) {
            Ok(_) => {}
            Err(Errno::NOTCONN) => return Err(NotUsable::NotConnected),
            Err(error) => return Err(system(error)),
        }
        // Shut down or hung up, and nothing left to read.
        let mut now = [PollFd::new(&fd, PollFlags::IN)];
        poll(&mut now, Some(&Timespec::default())).map_err(system)?;
        if now[0].revents().contains(PollFlags::HUP) && !has_unread(&fd) {
            return Err(NotUsable::NotConnected);
        }
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).map_err(system)?;
        let flags = rustix::fs::fcntl_getfl(&fd).map_err(system)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK).map_err(system)?;
        Self::prepared(fd).map_err(NotUsable::System)
    }

    /// A socket that `accept` returned.
    ///
    /// `pass_rights`: what the listener was told before it listened. It is inherited where the kernel knows the
    /// option, and said again at no risk.
    pub(crate) fn accepted(fd: OwnedFd, pass_rights: bool) -> io::Result<Self> {
        let socket = Self::prepared(fd)?;
        if socket.pass_rights(pass_rights)? == Support::Present && !pass_rights {
            // ORDERING: Relaxed; as in `drop`.
            socket.holds_no_fds.store(true, Ordering::Relaxed);
        }
        Ok(socket)
    }

    fn prepared(fd: OwnedFd) -> io::Result<Self> {
        let _without_it_we_watch_for_hang_up = os::set_pass_pidfd(fd.as_fd(), true)?;
        Ok(Self::of(fd))
    }

    fn of(fd: OwnedFd) -> Self {
        Self {
            fd: ForeignFd::new(fd),
            refuses_fds: AtomicBool::new(false),
            holds_no_fds: AtomicBool::new(false),
            generation: generation(),
        }
    }

    /// Says that nobody else has the other end, or ever will: nothing foreign can lie in its queue.
    pub(crate) fn stays_with_us(&self) {
        // ORDERING: Relaxed; as in `drop`.
        self.holds_no_fds.store(true, Ordering::Relaxed);
    }

    /// Keeps this charged until it is closed, for descriptors may lie in its queue.
    pub(crate) fn charge(&mut self, ticket: &Arc<Ticket>) {
        self.fd.charge(ticket);
    }

    /// Sends one packet, now or not at all, and never blocks or raises SIGPIPE.
    ///
    /// The descriptors are duplicated into the packet; the caller's stay open.
    ///
    /// # Errors
    ///
    /// [`SendProblem`]; nothing was sent then.
    ///
    /// # Panics
    ///
    /// If `bytes` is empty: the receiver could not tell that from the end.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SendProblem> {
        assert!(!bytes.is_empty(), "an empty packet cannot be told from the end");
        if fds.len() > MOST_FDS {
            return Err(SendProblem::TooManyFds(fds.len()));
        }
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(fds));
            debug_assert!(fits, "there is room for {MOST_FDS}");
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let part = [io::IoSlice::new(bytes)];
        step::at(Step::Send);
        loop {
            let problem = match rustix::net::sendmsg(&self.fd, &part, &mut control, flags) {
                Ok(_) => {
                    step::at(Step::Sent);
                    return Ok(()); // a packet is sent whole or not at all
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => SendProblem::WouldBlock,
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::CONNREFUSED) => {
                    SendProblem::Closed
                }
                Err(Errno::NOBUFS | Errno::NOMEM) => SendProblem::NoMemory,
                Err(Errno::TOOMANYREFS) => SendProblem::TooManyInFlight,
                Err(Errno::PERM) if !fds.is_empty() => SendProblem::FdsRefused,
                Err(Errno::MSGSIZE) => SendProblem::TooLarge(bytes.len()),
                Err(error) => SendProblem::System(error.into()),
            };
            return Err(problem);
        }
    }

    /// [`send`](Self::send), waiting for the peer to make room until `deadline` (`None`: for ever).
    ///
    /// # Errors
    ///
    /// As `send`, with `TimedOut` for `WouldBlock`.
    pub fn send_deadline(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<(), SendProblem> {
        loop {
            match self.send(bytes, fds) {
                Err(SendProblem::WouldBlock) => {}
                done => return done,
            }
            match self.wait(PollFlags::OUT, deadline) {
                Ok(true) => {}
                Ok(false) => return Err(SendProblem::TimedOut),
                Err(error) => return Err(SendProblem::System(error)),
            }
        }
    }

    /// Takes the next packet if there is one.
    ///
    /// After a reset, what the peer sent before it is still delivered, and then `Ended`.
    ///
    /// # Errors
    ///
    /// What the kernel says beyond the states that [`Incoming`] has: `ENOMEM`, say.
    ///
    /// # Panics
    ///
    /// If `buffer` is empty: every packet would look like the end.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Incoming> {
        assert!(!buffer.is_empty(), "with an empty buffer every packet looks like the end");
        loop {
            let raw = match os::receive(self.fd.as_fd(), buffer) {
                Ok(raw) => raw,
                Err(error) => match error.raw_os_error() {
                    // The kernel reports a reset once and clears it; the queue behind it is whole.
                    Some(libc::EINTR | libc::ECONNRESET) => continue,
                    Some(libc::EAGAIN) => {
                        // ORDERING: Relaxed, all three; as in `drop`.
                        if self.refuses_fds.load(Ordering::Relaxed) {
                            self.holds_no_fds.store(true, Ordering::Relaxed);
                        }
                        return Ok(Incoming::WouldBlock);
                    }
                    Some(libc::ENOTCONN) => return Ok(Incoming::Ended),
                    _ => return Err(error),
                },
            };
            let fds: Vec<_> = raw.fds.into_iter().map(ForeignFd::new).collect();
            if raw.len == 0 {
                return Ok(Incoming::Ended); // whatever came with it goes to the closer
            }
            step::at(Step::Received);
            return Ok(Incoming::Packet(Packet {
                len: raw.len,
                fds,
                pidfd: raw.pidfd,
                truncated: raw.truncated,
                control_truncated: raw.control_truncated,
            }));
        }
    }

    /// [`receive`](Self::receive), waiting for a packet until `deadline` (`None`: for ever).
    ///
    /// `WouldBlock` means that the deadline passed; one last look was taken after it did.
    ///
    /// # Errors
    ///
    /// As `receive`.
    pub fn receive_deadline(
        &self,
        buffer: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<Incoming> {
        loop {
            match self.receive(buffer)? {
                Incoming::WouldBlock => {}
                something => return Ok(something),
            }
            if !self.wait(PollFlags::IN, deadline)? {
                return self.receive(buffer);
            }
        }
    }

    /// Asks for a pidfd with each packet; on already for every socket this type makes or takes over.
    ///
    /// # Errors
    ///
    /// What the kernel says, except that it lacks the option: that is [`Support::Absent`].
    pub fn pass_pidfd(&self, pass: bool) -> io::Result<Support> {
        os::set_pass_pidfd(self.fd.as_fd(), pass)
    }

    /// Allows or forbids descriptors on packets to this socket.
    ///
    /// # Errors
    ///
    /// What the kernel says, except that it lacks the option: that is [`Support::Absent`], and
    /// unwanted descriptors then arrive in [`Packet::fds`].
    pub fn pass_rights(&self, pass: bool) -> io::Result<Support> {
        let support = os::set_pass_rights(self.fd.as_fd(), pass)?;
        let refuses = support == Support::Present && !pass;
        // ORDERING: Relaxed, both; as in `drop`.
        self.refuses_fds.store(refuses, Ordering::Relaxed);
        if pass {
            self.holds_no_fds.store(false, Ordering::Relaxed);
        }
        Ok(support)
    }

    /// Ends both directions for every holder of this connection, forked children included.
    ///
    /// What was sent can still be read at the other end, and what was received here. A second call
    /// does nothing.
    pub fn shutdown(&self) {
        step::at(Step::ShutDown);
        // ENOTCONN: it ended already. There is no other failure for a connected Unix socket.
        rustix::net::shutdown(&self.fd, Shutdown::Both).ok();
    }

    /// Waits until the peer has read so much that another packet may go, or the socket ended; until the deadline at
    /// most.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn wait_for_room(&self, deadline: Instant) -> io::Result<()> {
        self.wait(PollFlags::OUT, Some(deadline)).map(drop)
    }

    /// Whether another packet may go, or the socket has ended, which a send would find.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.wait(PollFlags::OUT, Some(Instant::now())).unwrap_or(true)
    }

    /// Waits for `interest`, an error or a hang-up; `false` once the deadline has passed.
    fn wait(&self, interest: PollFlags, deadline: Option<Instant>) -> io::Result<bool> {
        wait_fd(self.fd.as_fd(), interest, deadline)
    }
}

/// Waits until poll reports something for `fd`; `false` once `deadline` has passed.
pub(crate) fn wait_fd(
    fd: BorrowedFd<'_>,
    interest: PollFlags,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    loop {
        // Computed anew each time round, so that signals do not stretch it.
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::from_borrowed_fd(fd, interest)], timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether bytes lie in the receive queue, without touching them.
fn has_unread(fd: &OwnedFd) -> bool {
    rustix::io::ioctl_fionread(fd).is_ok_and(|bytes| bytes > 0)
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ControlSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// For a child that shall inherit it, which has to clear CLOEXEC itself.
impl From<ControlSocket> for OwnedFd {
    fn from(mut socket: ControlSocket) -> Self {
        socket.fd.take().expect("only this and drop take it, and both consume the socket")
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // ORDERING: Relaxed; whoever drops it is the last to have it, and was handed it by something stronger.
        if self.holds_no_fds.load(Ordering::Relaxed) || !self.generation.is_current() {
            drop(self.fd.take()); // a forked child's is a copy, whose close ends nothing
        } else if self.fd.is_there() {
            // The closer takes it, soon. Whoever waits at the other end shall not wait for that.
            self.shutdown();
        }
    }
}

#[cfg(test)]
mod tests;
