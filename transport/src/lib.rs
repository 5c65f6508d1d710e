//! Sessions between two processes: control socket, handshake, credentials, and who watches whom.
//!
//! Two processes meet on a Unix seqpacket socket. Each asks the kernel who the other is, the accepting side
//! makes two sealed memfds and hands them over, and from then on messages flow through the lanes of
//! [`memring_ring`]; the control socket is left for rare notices and for the news of a death.
//!
//! This crate knows bytes and no message types. Where to start reading:
//!
//! | module | what |
//! |---|---|
//! | [`control`], [`handshake`] | what is said, in which order: pure |
//! | [`policy`], [`quota`] | who may, and how much: pure |
//! | [`tally`](tally()) | who was turned away, and for what |
//! | [`address`], [`bind`](BindOptions), [`socket`], [`peer`] | the edge: paths, sockets, credentials |
//! | `establish` | a handshake on a socket |
//! | [`Listener`], [`connect`], [`pair`], [`from_fd`], [`spawn`] | how sessions begin |
//! | [`Session`] | one session; its watcher and drainer threads |
//! | [`observe`] | every session of the process at one moment, and a socket to ask for it |

#[cfg(not(target_os = "linux"))]
compile_error!("memring runs on Linux only: it is built on sealed memfds, futexes and pidfds.");

pub mod activation;
pub mod address;
pub mod attachments;
mod bind;
pub mod blob;
mod closer;
mod connect;
mod connection;
pub mod control;
mod crew;
mod drainer;
mod establish;
pub mod handshake;
mod ledger;
mod listener;
pub mod observe;
mod os;
pub mod peer;
pub mod policy;
pub mod quota;
mod session;
mod settings;
pub mod signals;
pub mod socket;
mod spawn;
mod tally;
#[doc(hidden)]
pub mod thread;
mod trace;
mod watcher;

#[cfg(test)]
mod testing;

pub use address::{Address, AddressError};
pub use bind::{BindError, BindOptions, DirectoryRisk};
pub use connect::{ConnectError, connect, from_fd, pair};
pub use connection::Connection;
pub use establish::HandshakeError;
pub use handshake::Role;
pub use listener::{
    AcceptError, DEFAULT_DECISION, Doorway, Incoming, ListenError, ListenOptions, Listener, Paused,
    Turned,
};
pub use peer::{DeathDetection, Origin, Peer};
pub use policy::{Denied, Policy};
pub use quota::{Limits, OverQuota, Quotas};
pub use session::{Asked, FurtherError, Notifier, Session, wait_readable};
pub use settings::{DEFAULT_CAPACITY, DEFAULT_HANDSHAKE, Settings};
pub use socket::{ConnectProblem, NotUsable, WhenAbsent};
pub use spawn::{VARIABLE, inherited, spawn};
pub use tally::{Reason, Tally, tally};
