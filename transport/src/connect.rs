//! Connecting: to a listener by its address, or over a socket that came from elsewhere.

use std::os::fd::OwnedFd;
use std::time::Duration;

use memring_ring::step::{self, Step};

use crate::address::{Address, AddressError};
use crate::connection::Connection;
use crate::control::Signature;
use crate::establish::{Greeting, HandshakeError, accepting, after, connecting};
use crate::handshake::Role;
use crate::peer::{Origin, Peer};
use crate::policy::Policy;
use crate::settings::Settings;
use crate::socket::{ConnectProblem, ControlSocket, NotUsable, WhenAbsent};
use crate::tally;
use crate::thread;

/// Why there is no session with a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be one.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nobody could be reached there.
    #[error(transparent)]
    Unreachable(#[from] ConnectProblem),
    /// A descriptor handed in cannot be used.
    #[error(transparent)]
    NotUsable(#[from] NotUsable),
    /// No session came about with who is there.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Connects to a listener.
///
/// The server's credentials are checked against `policy` before anything is sent. `timeout` bounds the
/// whole: reaching it, and the handshake.
///
/// # Errors
///
/// [`ConnectError`].
pub fn connect(
    address: &Address,
    timeout: Duration,
    absent: WhenAbsent,
    policy: &Policy,
    settings: &Settings,
    signature: &Signature<'_>,
) -> Result<Connection, ConnectError> {
    let deadline = after(timeout);
    let socket = ControlSocket::connect(address, Some(deadline), absent)?;
    step::at(Step::Connected);
    let peer = Peer::of(&socket, Origin::Listening)
        .map_err(HandshakeError::system("asking the kernel who the server is"))?;
    policy
        .judge(&peer, rustix::process::geteuid().as_raw())
        .map_err(HandshakeError::from)
        .inspect_err(tally::count_error)?;
    let greeting = Greeting::new(socket, peer, deadline);
    Ok(connecting::greet(greeting, settings, signature)?)
}

/// Makes a session over a connected Unix seqpacket socket that came from elsewhere.
///
/// The kernel names only who *created* such a socket, so who is at the other end is not verified:
/// whoever handed it over is trusted for that.
///
/// # Errors
///
/// [`ConnectError::NotUsable`] if `fd` is not such a socket, [`ConnectError::Handshake`].
pub fn from_fd(
    fd: OwnedFd,
    role: Role,
    settings: &Settings,
    signature: &Signature<'_>,
) -> Result<Connection, ConnectError> {
    over_inherited(ControlSocket::from_fd(fd)?, role, settings, signature)
}

/// [`over`] a socket of which the kernel only knows who made it.
fn over_inherited(
    socket: ControlSocket,
    role: Role,
    settings: &Settings,
    signature: &Signature<'_>,
) -> Result<Connection, ConnectError> {
    let peer = Peer::of(&socket, Origin::Inherited)
        .map_err(HandshakeError::system("asking the kernel about the socket"))?;
    over(socket, peer, role, settings, signature)
}

/// Makes a session over a socket whose peer is known already.
pub(crate) fn over(
    socket: ControlSocket,
    peer: Peer,
    role: Role,
    settings: &Settings,
    signature: &Signature<'_>,
) -> Result<Connection, ConnectError> {
    let greeting = Greeting::new(socket, peer, accepting::deadline(settings));
    Ok(match role {
        Role::Connecting => connecting::greet(greeting, settings, signature)?,
        Role::Accepting => {
            let _unsupported_is_fine = greeting
                .socket
                .pass_rights(false)
                .map_err(HandshakeError::system("refusing descriptors"))?;
            accepting::greet(greeting, settings, None)?.accept(signature, settings.carries[1])?
        }
    })
}

/// Two connected ends in this process: the accepting side's first.
///
/// # Errors
///
/// [`ConnectError`].
pub fn pair(
    settings: &Settings,
    signature: &Signature<'_>,
) -> Result<(Connection, Connection), ConnectError> {
    let (ours, theirs) =
        ControlSocket::pair().map_err(HandshakeError::system("making a socketpair"))?;
    // So they can be closed in place, whatever fails below, be it for want of threads.
    ours.stays_with_us();
    theirs.stays_with_us();
    let (accepted, connected) = thread::both(
        c"memring-pair",
        || over_inherited(ours, Role::Accepting, settings, signature),
        || over_inherited(theirs, Role::Connecting, settings, signature),
    )
    .map_err(HandshakeError::system("starting a thread"))?;
    match (accepted, connected) {
        // The one whose end was closed is the echo of the other, which knows why.
        (Err(ConnectError::Handshake(HandshakeError::PeerGone)), Err(why)) => Err(why),
        (accepted, connected) => Ok((accepted?, connected?)),
    }
}
