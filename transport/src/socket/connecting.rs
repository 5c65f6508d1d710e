//! Connecting a control socket: one attempt, or many until a deadline.
//!
//! A nonblocking `connect` to a Unix socket is done at once or fails; there is nothing to wait on
//! for a full backlog or a service that has not started. So it is tried again, with pauses that grow
//! from 1 to 50 ms. Whom it found is not asked here.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::ControlSocket;
use crate::address::Address;
use crate::os;

/// First and longest pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectProblem {
    /// There is no such file.
    #[error("nothing at {0}: start the service, or wait for it")]
    NotThere(Address),
    /// There is a socket file, but nobody listens.
    #[error("nobody listens at {0}: the service has ended, or has not started listening yet")]
    NobodyListens(Address),
    /// The file's mode, or that of a directory above it, forbids it.
    #[error("no permission to connect to {0}: ask for write access to the socket file")]
    NotAllowed(Address),
    /// It is no `SOCK_SEQPACKET` socket, so no memring listener.
    #[error("{0} is not a memring socket")]
    NotOurKind(Address),
    /// The service listens, but has as many connections to accept as it lets wait.
    #[error("{0} has as many connections to accept as it lets wait: try again")]
    BacklogFull(Address),
    /// The backlog stayed full, or the service absent, until the deadline.
    #[error("no connection to {address} before the deadline: {last}")]
    TimedOut {
        /// Where to.
        address: Address,
        /// What the last attempt met.
        last: Obstacle,
    },
    /// Anything else.
    #[error("connecting to {address}")]
    System {
        /// Where to.
        address: Address,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What an attempt to connect can meet that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// The service listens, but has as many connections to accept as it lets wait.
    #[error("the service does not accept connections")]
    BacklogFull,
    /// There is no such file.
    #[error("nothing is there")]
    NotThere,
    /// There is a socket, but nobody listens on it.
    #[error("nobody listens there")]
    NobodyListens,
}

/// What to do while there is no such service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAbsent {
    /// Say so at once.
    #[default]
    Fail,
    /// Try again until the deadline: it may be about to start.
    Wait,
    /// Say so at once, and also if its backlog is full: one attempt, for whoever makes the pauses.
    Once,
}

impl ControlSocket {
    /// Connects, trying again with growing pauses (1 to 50 ms) while the listener's backlog is full
    /// and, if so asked, while there is no listener; or does not, if so asked.
    ///
    /// # Errors
    ///
    /// [`ConnectProblem`]; `TimedOut` only once `deadline` has passed (`None`: never).
    pub fn connect(
        address: &Address,
        deadline: Option<Instant>,
        absent: WhenAbsent,
    ) -> Result<Self, ConnectProblem> {
        let system = |source| ConnectProblem::System { address: address.clone(), source };
        let name = address.to_socket_address().map_err(|error| system(error.into()))?;
        let fd = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(|error| system(error.into()))?;
        // Before connecting: the first packet may be on its way as soon as that returns.
        let _without_it_we_watch_for_hang_up =
            os::set_pass_pidfd(fd.as_fd(), true).map_err(system)?;
        let mut pause = FIRST_PAUSE;
        loop {
            let last = match rustix::net::connect(&fd, &name) {
                Ok(()) => return Ok(Self::of(fd)),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Obstacle::BacklogFull,
                Err(Errno::NOENT) => Obstacle::NotThere,
                Err(Errno::CONNREFUSED) => Obstacle::NobodyListens,
                Err(Errno::ACCESS | Errno::PERM) => {
                    return Err(ConnectProblem::NotAllowed(address.clone()));
                }
                Err(Errno::PROTOTYPE) => return Err(ConnectProblem::NotOurKind(address.clone())),
                Err(other) => return Err(system(other.into())),
            };
            match (last, absent) {
                (Obstacle::BacklogFull, WhenAbsent::Once) => {
                    return Err(ConnectProblem::BacklogFull(address.clone()));
                }
                (Obstacle::BacklogFull, _) | (_, WhenAbsent::Wait) => {}
                (Obstacle::NotThere, _) => return Err(ConnectProblem::NotThere(address.clone())),
                (Obstacle::NobodyListens, _) => {
                    return Err(ConnectProblem::NobodyListens(address.clone()));
                }
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(ConnectProblem::TimedOut { address: address.clone(), last });
            }
            std::thread::sleep(left.map_or(pause, |left| pause.min(left)));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
