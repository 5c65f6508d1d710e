//! Establishing a session: the handshake's edge, where its pure steps meet sockets and segments.
//!
//! One thread, one connection, one total deadline. [`accepting`] and [`connecting`] drive the two state
//! machines of [`handshake`](crate::handshake); both end as a [`Connection`](crate::Connection).

pub(crate) mod accepting;
pub(crate) mod connecting;

use std::io;
use std::time::{Duration, Instant};

use memring_ring::fence::{self, Fences};
use memring_ring::segment::{GeometryError, SegmentError, SegmentFault};

use crate::closer::ForeignFd;
use crate::control::{self, MAX_PACKET};
use crate::handshake::{Carries, HandshakeFault, Refusal, Rejection, SettingsError};
use crate::peer::Peer;
use crate::policy::Denied;
use crate::quota::OverQuota;
use crate::socket::{ControlSocket, Incoming, SendProblem};

/// Why no session came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer did not answer in time.
    #[error("the peer did not finish the handshake before the deadline")]
    TimedOut,
    /// The peer closed or died before the session stood.
    #[error("the peer closed the connection during the handshake")]
    PeerGone,
    /// Our policy does not admit the peer.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// A limit of ours was reached.
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    /// The peer turned the session down.
    #[error("{0}")]
    Rejected(Rejection),
    /// The peer turned the channel down.
    #[error("{0}")]
    Refused(Refusal),
    /// The peer broke a rule of the handshake.
    #[error("the peer broke the protocol")]
    Fault(#[from] HandshakeFault),
    /// A segment is not what was agreed.
    #[error("the peer's segment is not what was agreed")]
    Segment(#[from] SegmentFault),
    /// Our own segments could not be made or mapped.
    #[error("setting up shared memory")]
    Memory(#[source] SegmentError),
    /// The sizes agreed on do not suit this machine.
    #[error("the sizes of the lanes")]
    Geometry(#[from] GeometryError),
    /// One page of the peer's exceeds the largest lane that we grant.
    #[error("a page of the peer's exceeds this side's limit on lanes: raise the limit")]
    PageTooLarge,
    /// Messages to the peer carry what it does not take.
    #[error("messages to the peer carry {0}, and it takes none: let it say how many it takes")]
    NotTaken(Carries),
    /// A name, metadata or size of ours breaks a limit.
    #[error("the settings of this side")]
    Settings(#[from] SettingsError),
    /// A system call failed.
    #[error("{doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Descriptors that the peer sent did not arrive: this process has too many, or a security module
    /// refused them.
    #[error("descriptors that the peer sent were lost: raise RLIMIT_NOFILE or keep fewer sessions")]
    DescriptorsLost,
    /// This process was forked from the one that began.
    #[error("the connection belongs to the parent process: connect anew after fork")]
    Forked,
}

impl HandshakeError {
    pub(crate) fn system(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}

impl From<SegmentError> for HandshakeError {
    fn from(error: SegmentError) -> Self {
        match error {
            SegmentError::Refused(fault) => Self::Segment(fault),
            ours => Self::Memory(ours),
        }
    }
}

impl From<SendProblem> for HandshakeError {
    fn from(problem: SendProblem) -> Self {
        match problem {
            SendProblem::TimedOut | SendProblem::WouldBlock => Self::TimedOut,
            SendProblem::Closed => Self::PeerGone,
            SendProblem::System(source) => {
                Self::System { doing: "sending on the control socket", source }
            }
            other => Self::System {
                doing: "sending on the control socket",
                source: io::Error::other(other),
            },
        }
    }
}

/// The moment that is `timeout` from now, or one so late that nobody sees it: `Duration::MAX` means no bound.
pub(crate) fn after(timeout: Duration) -> Instant {
    const CENTURIES: Duration = Duration::from_secs(1 << 34);
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + CENTURIES)
}

/// A connection in its handshake: the socket, who is there, and until when.
pub(crate) struct Greeting {
    pub socket: ControlSocket,
    pub peer: Peer,
    pub deadline: Instant,
    buffer: Box<[u8; MAX_PACKET + 1]>,
    /// Whether the process that sends the first packet is the one to watch.
    adopt_sender: bool,
}

impl Greeting {
    pub(crate) fn new(socket: ControlSocket, peer: Peer, deadline: Instant) -> Self {
        // A spawned child is watched by the pidfd it was spawned with.
        let adopt_sender = peer.origin() != crate::Origin::Spawned;
        Self { socket, peer, deadline, buffer: Box::new([0; MAX_PACKET + 1]), adopt_sender }
    }

    /// The next packet and the descriptors that came with it.
    fn receive(&mut self) -> Result<(&[u8], Vec<ForeignFd>), HandshakeError> {
        let incoming = self
            .socket
            .receive_deadline(self.buffer.as_mut_slice(), Some(self.deadline))
            .map_err(HandshakeError::system("reading the control socket"))?;
        match incoming {
            Incoming::WouldBlock => Err(HandshakeError::TimedOut),
            Incoming::Ended => Err(HandshakeError::PeerGone),
            Incoming::Packet(packet) => {
                if let Some(pidfd) = packet.pidfd
                    && std::mem::take(&mut self.adopt_sender)
                {
                    self.peer = self.peer.with_pidfd(pidfd);
                }
                // A descriptor that did not fit is lost, and so is the handshake. (A packet that did not
                // fit fills the buffer, which is longer than the decoder takes.)
                if packet.control_truncated {
                    return Err(HandshakeError::DescriptorsLost);
                }
                Ok((self.buffer.get(..packet.len).unwrap_or(&[]), packet.fds))
            }
        }
    }

    fn send(&self, packet: &[u8]) -> Result<(), HandshakeError> {
        Ok(self.socket.send_deadline(packet, &[], Some(self.deadline))?)
    }
}

/// The fences towards a peer that stated these bits.
pub(crate) fn fences(theirs: control::FenceBits) -> Fences {
    let control::FenceBits { registered, can_call } = theirs;
    Fences::negotiate(fence::ours(), fence::FenceBits { registered, can_call })
}
