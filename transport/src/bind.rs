//! A listening socket, and the file it is found by: made without a window, removed without a race.
//!
//! # The order of things
//!
//! 1. The directory is opened and checked: whoever can write it can put another socket in place.
//! 2. `PATH.lock` is locked (`flock`). Whoever holds it may touch `PATH`; a second server is told so.
//! 3. A socket file that nobody listens on is removed. Anything else that is there is left alone.
//! 4. `fchmod` on the socket, then `bind`: the file appears with its mode, never wider. `chown`,
//!    `chmod` for what the umask took away, and only then `listen`: until that nobody connects.
//! 5. On drop, in the process that bound it and if the file is still the one: `PATH` is removed, then
//!    the lock file, then the lock given up.
//!
//! Step 2, 3 and 5 are `bind/files.rs`.
//!
//! Abstract names have no file and no lock; if one is taken, that is the end of it.
//!
//! It accepts connections but does not ask who they are, and it has no thread.

mod files;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use memring_ring::fork::{Generation, generation};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Gid, Uid};

use crate::activation::NotActivated;
use crate::address::{Address, AddressKind};
use crate::os;
use crate::socket::ControlSocket;
use files::{Claim, Files, probe};

/// Pauses of a listener that cannot accept: doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How to bind: mode 0600, our own uid and gid, a private directory, no descriptors from clients.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `bind` is called"]
pub struct BindOptions {
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
    backlog: i32,
    shared_directory: bool,
    fds: bool,
    kind: SocketType,
}

/// A listening control socket. Dropping it stops listening and removes its files.
#[derive(Debug)]
pub struct Bound {
    /// Dropped first of all: its files go while it still listens, so no name leads nowhere.
    files: Option<Files>,
    socket: OwnedFd,
    address: Address,
    generation: Generation,
    fds: bool,
    /// Whoever opened the socket goes on listening when this process does not.
    handed_over: bool,
    /// Failed accepts in a row that were for want of resources.
    failures: AtomicU32,
}

/// What `accept` found.
#[derive(Debug)]
pub enum Accepted<T = ControlSocket> {
    /// Somebody connected. Nothing has been read, and nobody asked who it is.
    Connection(T),
    /// Nobody is waiting.
    WouldBlock,
    /// This is a forked child: who waits is waiting for the parent.
    Forked,
    /// Somebody is waiting, and this process or machine has no descriptors or memory for it
    /// (`EMFILE`, `ENFILE`, `ENOMEM`, `ENOBUFS`).
    ///
    /// The socket stays readable, so polling it now would spin: leave it alone for `pause`, which
    /// grows with each failure, 10 ms to 1 s, and then accept again.
    Pause {
        /// What is missing.
        why: io::Error,
        /// For how long to leave it alone.
        pause: Duration,
    },
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another server has it.
    #[error("{address} is in use{}: stop that server, or choose another address", by(*holder))]
    InUse {
        /// The address.
        address: Address,
        /// The process that called `listen`, if it does and has a number here.
        holder: Option<u32>,
    },
    /// Something that is no socket has that name. It was left alone.
    #[error("{} exists and is not a socket: remove it, or choose another path", .0.display())]
    Occupied(PathBuf),
    /// The directory does not exist.
    #[error("no directory {}: create it with mode 0700", .0.display())]
    NoDirectory(PathBuf),
    /// Others could replace the socket.
    #[error(
        "others can replace files in {} ({risk}): use a directory of your own with mode 0700, such \
         as a bare name gives, or say allow_shared_directory() if every client checks who the server \
         is",
        directory.display()
    )]
    SharedDirectory {
        /// The directory.
        directory: PathBuf,
        /// What is wrong with it.
        risk: DirectoryRisk,
    },
    /// The lock file is somebody else's, or no plain file.
    #[error("{} is not a lock file of ours: remove it, or choose another path", .0.display())]
    ForeignLock(PathBuf),
    /// What was handed over is something else.
    #[error(
        "what was handed over is no listening Unix socket of packets: say ListenSequentialPacket= in the socket unit"
    )]
    NotListening,
    /// No socket was handed over, or not this one.
    #[error(transparent)]
    NotActivated(#[from] NotActivated),
    /// A system call failed.
    #[error("{doing} {}", path.display())]
    System {
        /// What was being done.
        doing: &'static str,
        /// To which file, or abstract name.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What lets others replace files in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryRisk {
    /// It belongs to this uid, which is neither ours nor root.
    OwnedBy(u32),
    /// Its group or everybody may write, with this mode.
    Writable(u32),
    /// It is reached by a symbolic link that belongs to this uid, neither ours nor root.
    LinkOwnedBy(u32),
}

impl fmt::Display for DirectoryRisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnedBy(uid) => write!(f, "it belongs to uid {uid}"),
            Self::Writable(mode) => write!(f, "mode {mode:04o} lets others write"),
            Self::LinkOwnedBy(uid) => write!(f, "it is a symbolic link of uid {uid}"),
        }
    }
}

impl Default for BindOptions {
    fn default() -> Self {
        Self {
            mode: 0o600,
            owner: None,
            group: None,
            backlog: 128,
            shared_directory: false,
            fds: false,
            kind: SocketType::SEQPACKET,
        }
    }
}

impl BindOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Permission bits of the socket file, whatever the umask: who has write permission may connect.
    /// 0600 by default. Of no meaning for abstract names.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// Gives the socket file to another user (root only).
    pub fn owner(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// Gives the socket file to another group, one of ours unless we are root.
    pub fn group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// How many clients may wait to be accepted; 128 by default, and at most `net.core.somaxconn`.
    pub fn backlog(mut self, clients: u32) -> Self {
        self.backlog = i32::try_from(clients).unwrap_or(i32::MAX);
        self
    }

    /// Binds even where others could put another socket in place, `/tmp` say.
    ///
    /// Clients have to check who the server is, which memring's always do; but they can be kept from
    /// reaching this one.
    pub fn allow_shared_directory(mut self) -> Self {
        self.shared_directory = true;
        self
    }

    /// Lets clients send descriptors. Without it the kernel refuses them to the sender (Linux 6.16).
    pub fn allow_fds(mut self) -> Self {
        self.fds = true;
        self
    }

    /// A socket of bytes, and not of packets: for whoever is to be answered without speaking memring's protocol.
    pub(crate) fn stream(mut self) -> Self {
        self.kind = SocketType::STREAM;
        self
    }

    /// Binds and listens.
    ///
    /// # Errors
    ///
    /// [`BindError`]; nothing is left behind then.
    pub fn bind(&self, address: &Address) -> Result<Bound, BindError> {
        let socket = self.new_socket().map_err(|source| BindError::System {
            doing: "making a socket for",
            path: address.to_string().into(),
            source,
        })?;
        let files = match address.kind() {
            AddressKind::Path(path) => Some(self.bind_path(&socket, address, path)?),
            AddressKind::Abstract(_) => {
                bind_socket(&socket, address)?;
                None
            }
        };
        // Last of all: until now nobody could connect.
        rustix::net::listen(&socket, self.backlog).map_err(|error| BindError::System {
            doing: "listening on",
            path: address.to_string().into(),
            source: error.into(),
        })?;
        Ok(Bound {
            files,
            socket,
            address: address.clone(),
            generation: generation(),
            fds: self.fds,
            handed_over: false,
            failures: AtomicU32::new(0),
        })
    }

    /// Takes over a socket that somebody else bound and listens on: a service manager. Mode, owner and backlog are
    /// theirs to decide, and the socket goes on listening when this is dropped.
    ///
    /// # Errors
    ///
    /// [`BindError::NotListening`].
    pub fn take_over(&self, socket: OwnedFd) -> Result<Bound, BindError> {
        let listens = sockopt::socket_domain(&socket) == Ok(AddressFamily::UNIX)
            && sockopt::socket_type(&socket) == Ok(SocketType::SEQPACKET)
            && sockopt::socket_acceptconn(&socket) == Ok(true);
        if !listens {
            return Err(BindError::NotListening);
        }
        let system = |source| BindError::System {
            doing: "taking over",
            path: "the socket that was handed over".into(),
            source,
        };
        let address = Address::of_socket(&socket).map_err(|error| system(error.into()))?;
        let flags = rustix::fs::fcntl_getfl(&socket).map_err(|error| system(error.into()))?;
        rustix::fs::fcntl_setfl(&socket, flags | OFlags::NONBLOCK)
            .and_then(|()| rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC))
            .map_err(|error| system(error.into()))?;
        // Whoever connected before brings none of the first with what was sent by then.
        let _ = os::set_pass_pidfd(socket.as_fd(), true).map_err(system)?;
        let _ = os::set_pass_rights(socket.as_fd(), self.fds).map_err(system)?;
        Ok(Bound {
            files: None,
            socket,
            address,
            generation: generation(),
            fds: self.fds,
            handed_over: true,
            failures: AtomicU32::new(0),
        })
    }

    fn new_socket(&self) -> io::Result<OwnedFd> {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            self.kind,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        // Before listening: connections inherit both from the moment they are made, and what a client
        // sends before it is accepted is subject to them already. Absence is looked at elsewhere.
        let packets = self.kind == SocketType::SEQPACKET;
        let _ = os::set_pass_pidfd(socket.as_fd(), packets)?;
        let _ = os::set_pass_rights(socket.as_fd(), self.fds)?;
        Ok(socket)
    }

    fn bind_path(
        &self,
        socket: &OwnedFd,
        address: &Address,
        path: &Path,
    ) -> Result<Files, BindError> {
        let system = |doing| {
            move |error: Errno| BindError::System { doing, path: path.into(), source: error.into() }
        };
        let claim = Claim::take(address, path, self.shared_directory)?;
        rustix::fs::fchmod(socket, Mode::from_raw_mode(self.mode)).map_err(system("preparing"))?;
        bind_socket(socket, address)?;
        // From here on `files` removes what was made, if anything fails.
        let files = claim.found().map_err(system("examining the socket just bound at"))?;
        let node = &files.node;

        if self.owner.is_some() || self.group.is_some() {
            let (owner, group) = (self.owner.map(Uid::from_raw), self.group.map(Gid::from_raw));
            rustix::fs::chownat(node, "", owner, group, AtFlags::EMPTY_PATH)
                .map_err(system("giving away"))?;
        }
        if files.facts.st_mode & 0o777 != self.mode {
            // The umask took something away. By the descriptor and not by name, so that it is this
            // file whatever has that name by now.
            let link = format!("/proc/self/fd/{}", node.as_raw_fd());
            rustix::fs::chmodat(CWD, link, Mode::from_raw_mode(self.mode), AtFlags::empty())
                .map_err(system(
                    "setting the mode (which takes /proc where there is a umask) of",
                ))?;
        }
        Ok(files)
    }
}

fn bind_socket(socket: &OwnedFd, address: &Address) -> Result<(), BindError> {
    let bound = address.to_socket_address().and_then(|name| rustix::net::bind(socket, &name));
    bound.map_err(|error| match error {
        Errno::ADDRINUSE => {
            BindError::InUse { address: address.clone(), holder: probe(address).holder() }
        }
        error => BindError::System {
            doing: "binding",
            path: address.to_string().into(),
            source: error.into(),
        },
    })
}

/// Whether it says that the process or the system lacks descriptors or memory.
pub(crate) fn is_shortage(errno: i32) -> bool {
    matches!(
        Errno::from_raw_os_error(errno),
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS
    )
}

/// How long to leave connections alone after so many failures in a row before this one.
pub(crate) fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(LONGEST_PAUSE)
}

impl Bound {
    /// The address that was bound.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Takes a connection if one is waiting. Never blocks.
    ///
    /// The connection is nonblocking and CLOEXEC, brings a pidfd with each packet and takes
    /// descriptors only if [`BindOptions::allow_fds`] was said, each where the kernel can.
    ///
    /// # Errors
    ///
    /// What the kernel says beyond the states that [`Accepted`] has: `EINVAL` after
    /// [`shutdown`](Self::shutdown).
    pub fn accept(&self) -> io::Result<Accepted> {
        self.accept_as(|fd| ControlSocket::accepted(fd, self.fds))
    }

    /// As [`accept`](Self::accept), for what is no control socket.
    pub(crate) fn accept_plain(&self) -> io::Result<Accepted<OwnedFd>> {
        self.accept_as(Ok)
    }

    fn accept_as<T>(&self, make: impl FnOnce(OwnedFd) -> io::Result<T>) -> io::Result<Accepted<T>> {
        if !self.generation.is_current() {
            return Ok(Accepted::Forked);
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let error = loop {
            match rustix::net::accept_with(&self.socket, flags) {
                Ok(fd) => {
                    // ORDERING: Relaxed; see below.
                    self.failures.store(0, Ordering::Relaxed);
                    return make(fd).map(Accepted::Connection);
                }
                // One that gave up before it was accepted is gone from the queue. (One that a
                // security module refuses is not: EPERM is an error, or this would spin.)
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => break error,
            }
        };
        match error {
            Errno::AGAIN => Ok(Accepted::WouldBlock),
            error if is_shortage(error.raw_os_error()) => {
                // ORDERING: Relaxed; a count that only this backoff looks at.
                let failures = self.failures.fetch_add(1, Ordering::Relaxed);
                Ok(Accepted::Pause { why: error.into(), pause: pause_after(failures) })
            }
            error => Err(error.into()),
        }
    }

    /// Stops listening, for every holder of the socket: whoever polls it is woken, clients are
    /// refused. The files stay until this is dropped. One that was handed over is not ours to stop.
    pub fn shutdown(&self) {
        if self.handed_over {
            return;
        }
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both).ok();
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        drop(self.files.take());
        // A forked child may hold the socket open, and clients would queue up there.
        if self.generation.is_current() {
            self.shutdown();
        }
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn by(holder: Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

#[cfg(test)]
mod tests;
