//! The fastest same-host messaging for Linux that stays sound against a hostile or dying peer.
//!
//! Two processes meet on a Unix socket; each checks the other's credentials with the kernel; two sealed
//! memfds change hands once. From then on typed messages flow through cache-aligned lock-free lanes, with
//! no system call a message, and a futex wakes whoever slept.
//!
//! ```
//! // What both programs are compiled from:
//! #[memring::message]
//! pub struct Quote { pub symbol: String, pub price: f64 }
//! #[memring::message]
//! pub struct Order { pub symbol: String, pub quantity: i32 }
//!
//! pub struct Quotes;
//! impl memring::Protocol for Quotes {
//!     const NAME: &'static str = "quotes";
//!     type ToClient = Quote;
//!     type ToServer = Order;
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("memring-doc-{}", std::process::id()));
//! # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
//! # let path = directory.join("quotes.sock");
//! // One process:
//! let listener = memring::Listener::bind(&path)?;
//! # let client = std::thread::spawn(move || {
//! # (|| -> Result<(), Box<dyn std::error::Error>> {
//! // Another one:
//! let (mut orders, mut quotes) = memring::connect::<Quotes>(&path)?.split();
//! let quote = quotes.recv()?;
//! orders.send(&Order { symbol: quote.symbol.as_str().into(), quantity: 100 })?;
//! # Ok(()) })().unwrap() });
//!
//! // The first again:
//! let incoming = listener.accept()?;
//! let (mut quotes, mut orders) = incoming.open::<Quotes>()?.split();
//! quotes.send(&Quote { symbol: "ABC".into(), price: 12.5 })?;
//! assert_eq!(orders.recv()?.quantity, 100);
//! # client.join().unwrap(); std::fs::remove_dir_all(directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! The [`guide`] explains how to choose, what fails and how, and what is promised against whom.

#[cfg(not(target_os = "linux"))]
compile_error!("memring runs on Linux only: it is built on sealed memfds, futexes and pidfds.");

mod address;
mod arrived;
mod attached;
mod batch;
pub mod blob;
mod carry;
mod channel;
mod channels;
mod client;
mod error;
pub mod fanout;
pub mod guide;
pub mod hub;
mod iter;
mod metadata;
pub mod observe;
mod options;
pub mod polled;
mod pool;
mod protocol;
mod receiver;
#[cfg(feature = "rpc")]
pub mod rpc;
pub mod select;
mod sender;
mod server;
#[cfg(feature = "systemd")]
pub mod service;
mod slot;
pub mod supervised;
pub mod task;
mod view;

pub use address::ToAddress;
pub use batch::Batch;
pub use channel::{Channel, ClientEnd, ServerEnd};
pub use channels::{Asked, Channels};
pub use client::{Connector, connect, connect_timeout, inherited, pair, spawn};
pub use error::{
    AcceptFailed, BindError, ChannelError, ConnectError, End, Fault, RecvError, SendError,
    TryRecvError, TrySendError,
};
pub use fanout::Fanout;
pub use hub::Hub;
pub use iter::{IntoIter, Iter};
pub use metadata::MetadataValue;
pub use options::Lanes;
pub use polled::{Arm, Polled, PolledListener};
pub use protocol::{Bytes, Protocol};
pub use receiver::Receiver;
pub use select::Select;
pub use sender::Sender;
pub use server::{Incoming, Listener, ListenerBuilder};
pub use slot::Slot;
pub use supervised::Supervised;
pub use task::Async;
pub use view::{Received, View};

pub use memring_codec::{
    ArchivedFd, DecodeError, EncodeError, Fd, Fingerprint, Fingerprinted, FormatOptions, Message,
    deserialize, rkyv,
};
#[cfg(feature = "rpc")]
pub use memring_macros::interface;
pub use memring_macros::message;
pub use memring_ring::fence::{AlreadyChosen, Fence, choose as choose_fence};
pub use memring_ring::grant::GrantFull;
pub use memring_ring::{Delivery, Fault as Rule, Pulse, Stats, Wait};
pub use memring_transport::handshake::Negotiated;
pub use memring_transport::{
    AcceptError, Address, AddressError, DeathDetection, HandshakeError, Limits, Origin, OverQuota,
    Peer, Policy, Quotas, Reason, Session, Tally, Turned, quota::Resource, tally,
};

/// What lies behind [`BindError`], [`ConnectError`] and [`AcceptFailed`], for programs that tell cases apart.
///
/// ```
/// use memring::{Bytes, ConnectError, cause};
///
/// let error = memring::connect::<Bytes>("/no/such/service").unwrap_err();
/// assert!(matches!(
///     error,
///     ConnectError::Connect(cause::ConnectError::Unreachable(cause::ConnectProblem::NotThere(_)))
/// ));
/// ```
pub mod cause {
    pub use memring_transport::activation::NotActivated;
    pub use memring_transport::control::{RefuseCode, RejectCode, TextError};
    pub use memring_transport::handshake::{
        HandshakeFault, Mismatch, Refusal, Rejection, SettingsError,
    };
    pub use memring_transport::peer::ExeUnknown;
    pub use memring_transport::{
        BindError, ConnectError, ConnectProblem, Denied, DirectoryRisk, ListenError, NotUsable,
    };
}

/// What `#[message]` writes refers to; not for people.
#[doc(hidden)]
pub use memring_codec::__private;

/// What `#[interface]` writes for `json` stands in it: code if memring has that feature, and otherwise one error that says so.
#[doc(hidden)]
#[macro_export]
#[cfg(feature = "json")]
macro_rules! __json {
    ($($code:tt)*) => { $($code)* };
}

/// The other case.
#[doc(hidden)]
#[macro_export]
#[cfg(not(feature = "json"))]
macro_rules! __json {
    ($($code:tt)*) => {
        compile_error!("`json` in an interface takes memring's feature `json`: add it where Cargo.toml names memring");
    };
}

/// The same, with something else for where memring has not the feature; the error is elsewhere.
#[doc(hidden)]
#[macro_export]
#[cfg(feature = "json")]
macro_rules! __json_or {
    ([$($other:tt)*] $($code:tt)*) => { $($code)* };
}

/// The other case.
#[doc(hidden)]
#[macro_export]
#[cfg(not(feature = "json"))]
macro_rules! __json_or {
    ([$($other:tt)*] $($code:tt)*) => { $($other)* };
}

/// What memring is built of, for tools that inspect a machine.
pub mod system {
    pub use memring_ring::fence::{FenceBits, heavy_cost, ours as fence_bits};
    pub use memring_ring::waitv_works;
}
