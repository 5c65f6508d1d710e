//! Observing: what every session of this process does, for people, for `memring top` and for Prometheus.
//!
//! A [`snapshot`] has each session with its peer, its state, its lanes, and how often either side waited. It is taken from any thread, beside the
//! sessions, and costs those nothing: the counters are there anyway. The usual way to show them is a socket beside the
//! service's own:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("memring-observe-doc-{}", std::process::id()));
//! # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
//! # let path = directory.join("quotes.observe");
//! let _serving = memring::observe::serve(&path)?; // until it is dropped
//! # let mut stream = std::os::unix::net::UnixStream::connect(&path)?;
//! # std::io::Write::write_all(&mut stream, b"GET /metrics HTTP/1.1\r\n\r\n")?;
//! # assert!(std::io::read_to_string(stream)?.starts_with("HTTP/1.1 200 OK"));
//! # drop(_serving);
//! # std::fs::remove_dir(&directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! $ memring top ./quotes.observe
//! $ curl --unix-socket ./quotes.observe http://localhost/metrics
//! ```
//!
//! The socket has mode 0600, and the kernel is asked who connects: processes of this uid, and root. Others hear one bare sentence, whatever
//! they asked, and their connection is closed with that unread: to a client that speaks HTTP that is no response (curl says, as it happens, that it could not
//! connect, that it received HTTP/0.9, or that the connection was reset). Each connection is one request, `json` or
//! `metrics` on a line or `GET /json` or `GET /metrics` over HTTP, and is answered with one snapshot. Its thread, `memring-observe`,
//! makes no system call while nobody asks.
//!
//! Other ways: [`write_file`] for the textfile collector of Prometheus's node exporter; [`Snapshot::write_json`] and
//! [`Snapshot::write_prometheus`] into whatever the application serves already; an [`Endpoint`] in its own event loop.
//! One session alone: [`Session::observe`](crate::Session::observe).
//!
//! What a peer says of itself, its name and its own counters, is shown as such and nothing more. No text in a snapshot commands a
//! terminal.

#[doc(hidden)] // for the command, which shows what servers and peers say
pub use memring_transport::observe::is_unseen;
pub use memring_transport::observe::{
    ANSWER_IN, CONNECTIONS, Endpoint, Lane, MOST_REQUEST_BYTES, PeerSnapshot, Serving,
    SessionSnapshot, Snapshot, State, snapshot, write_file,
};

use memring_transport::observe;

use crate::address::ToAddress;
use crate::error::BindError;

/// Answers at this address, on a thread of its own, until what it returns is dropped.
///
/// # Errors
///
/// [`BindError`], as of a [`Listener`](crate::Listener).
pub fn serve(address: impl ToAddress) -> Result<Serving, BindError> {
    Ok(observe::serve(&address.to_address()?)?)
}

/// The same for an event loop of the application's: wait for its descriptor to be readable, until [`due`](Endpoint::due) at
/// most, and then [`turn`](Endpoint::turn).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("memring-endpoint-doc-{}", std::process::id()));
/// # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
/// # let path = directory.join("quotes.observe");
/// let mut endpoint = memring::observe::endpoint(&path)?;
/// // Whenever poll, epoll or mio says so, or it is due:
/// endpoint.turn()?;
/// # drop(endpoint);
/// # std::fs::remove_dir(&directory)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`BindError`], as of a [`Listener`](crate::Listener).
pub fn endpoint(address: impl ToAddress) -> Result<Endpoint, BindError> {
    Ok(Endpoint::bind(&address.to_address()?)?)
}
