//! Spawning a child that is connected from its first instruction.
//!
//! The child inherits one end of a socketpair and finds its number in its environment. A socketpair names
//! only its creator, so the parent watches the child by the pidfd of the process it spawned, and the child
//! the process that answers it.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::connect::{ConnectError, over};
use crate::connection::Connection;
use crate::control::Signature;
use crate::establish::HandshakeError;
use crate::handshake::Role;
use crate::os;
use crate::peer::{Origin, Peer};
use crate::settings::Settings;
use crate::socket::ControlSocket;

/// The variable that tells a child the number of its end of the connection.
pub const VARIABLE: &str = "MEMRING_FD";

/// Starts `command` with one end of a connection, and waits for its handshake at the other.
///
/// The parent is the accepting side; the child calls [`inherited`]. If the handshake fails, the child is
/// killed and reaped.
///
/// # Errors
///
/// [`ConnectError`].
pub fn spawn(
    command: &mut Command,
    settings: &Settings,
    signature: &Signature<'_>,
) -> Result<(Child, Connection), ConnectError> {
    let (ours, theirs) =
        ControlSocket::pair().map_err(HandshakeError::system("making a socketpair"))?;
    let theirs = OwnedFd::from(theirs);
    command.env(VARIABLE, theirs.as_raw_fd().to_string());
    let child = os::spawn_with_fd(command, &theirs);
    // Whatever the caller starts with it on its own has no connection, and shall not look for one.
    command.env_remove(VARIABLE);
    let mut child = child.map_err(HandshakeError::system("starting the child"))?;
    drop(theirs);
    match greet(ours, &child, settings, signature) {
        Ok(connection) => Ok((child, connection)),
        Err(error) => {
            // One that has become another user's cannot be killed, and is not waited for.
            if child.kill().is_ok() {
                let _ = child.wait();
            }
            Err(error)
        }
    }
}

fn greet(
    socket: ControlSocket,
    child: &Child,
    settings: &Settings,
    signature: &Signature<'_>,
) -> Result<Connection, ConnectError> {
    let mut peer = Peer::of(&socket, Origin::Spawned)
        .map_err(HandshakeError::system("asking the kernel about the socket"))?
        .with_child(child.id());
    // Not reaped, so the number is still its own.
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(pidfd) = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
        peer = peer.with_pidfd(pidfd);
    }
    over(socket, peer, Role::Accepting, settings, signature)
}

/// In a child that [`spawn`] started: the session with its parent.
///
/// The descriptor is marked CLOEXEC at once and belongs to the session; the first call of a process takes it.
///
/// # Errors
///
/// [`ConnectError::Handshake`] if there is none, or it was taken already.
pub fn inherited(
    settings: &Settings,
    signature: &Signature<'_>,
) -> Result<Connection, ConnectError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let missing = |why: &str| {
        ConnectError::Handshake(HandshakeError::System {
            doing: "taking over the inherited connection",
            source: std::io::Error::new(std::io::ErrorKind::NotFound, why.to_owned()),
        })
    };
    let number = std::env::var(VARIABLE)
        .ok()
        .and_then(|number| number.parse::<RawFd>().ok())
        .filter(|number| *number > 2)
        .ok_or_else(|| missing("MEMRING_FD names none: start this program by memring's spawn"))?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Err(missing("it was taken already: a process inherits one"));
    }
    let fd = os::take_inherited(number)
        .map_err(HandshakeError::system("taking over the inherited connection"))?;
    rustix::io::fcntl_setfd(&fd, FdFlags::CLOEXEC)
        .map_err(|error| HandshakeError::system("marking the connection CLOEXEC")(error.into()))?;
    let socket = ControlSocket::from_fd(fd)?;
    let peer = Peer::of(&socket, Origin::Inherited)
        .map_err(HandshakeError::system("asking the kernel about the socket"))?;
    over(socket, peer, Role::Connecting, settings, signature)
}
