//! Calls: interfaces with versions, methods, streams and signals, over a channel.
//!
//! An interface is declared as a trait, usually in a crate of its own that both programs use. `#[memring::interface]` makes of
//! `Calculator`: `CalculatorClient`, whose methods wait for their answers, and `CalculatorAsyncClient`, whose methods give what
//! can be waited for; the trait `CalculatorServer`, and `Calculator::serve`, which makes a service of whoever implements it;
//! and `CalculatorSignals`, if there are signals.
//!
//! ```
//! use memring::rpc::{Call, CallError, Server};
//!
//! #[memring::message]
//! #[derive(Debug)]
//! pub enum CalcError { DivisionByZero }
//!
//! #[memring::interface(name = "calculator", version = "1.0")]
//! pub trait Calculator {
//!     /// Adds up.
//!     fn sum(name: &str, terms: &[i64]) -> i64;
//!     fn divide(a: i64, b: i64) -> Result<i64, CalcError>;
//! }
//!
//! struct Calc;
//! impl CalculatorServer for Calc {
//!     fn sum(&self, call: &Call<'_>, name: &str, terms: &[memring::rkyv::Archived<i64>]) -> i64 {
//!         println!("{} adds up {name}", call.peer());
//!         terms.iter().map(|term| term.to_native()).sum()
//!     }
//!     fn divide(&self, _: &Call<'_>, a: i64, b: i64) -> Result<i64, CalcError> {
//!         a.checked_div(b).ok_or(CalcError::DivisionByZero)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("memring-rpc-{}", std::process::id()));
//! # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
//! # let path = directory.join("calculator.sock");
//! // One process:
//! let server = Server::new().serve(Calculator::serve(Calc)).bind(&path)?;
//! # std::thread::scope(|scope| -> Result<(), Box<dyn std::error::Error>> {
//! # let serving = scope.spawn(|| server.run());
//! # /*
//! server.run()?; // for ever: a thread for each client
//! # */
//!
//! // Another one:
//! let calculator = CalculatorClient::connect(&path)?;
//! assert_eq!(calculator.sum("three", &[1, 2, 3])?, 6);
//! match calculator.divide(1, 0) {
//!     Err(CallError::Failed(CalcError::DivisionByZero)) => println!("of course"),
//!     other => println!("{other:?}"),
//! }
//! # server.shut_down(std::time::Duration::ZERO); serving.join().unwrap()?; Ok(()) })?;
//! # std::fs::remove_dir_all(directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! # What a declaration means
//!
//! - An argument that is a reference is **lent**: the client takes `&str`, `&[T]`, `&T`, and the handler reads `&str`,
//!   `&[Archived<T>]`, `&Archived<T>` out of the message that came. Other arguments, results and errors are made for whoever
//!   gets them. All have to be types that messages may have as fields.
//! - `-> Result<T, E>`: the client gets `Result<T, CallError<E>>`, with the method's own error in
//!   [`CallError::Failed`].
//! - `-> Stream<T>`: the handler gets [`Replies`] and the client a [`Stream`]. A slow reader stops the writer.
//! - `#[oneway]`: nothing comes back. `#[signal]`: the server sends it, and clients subscribe.
//! - `Fd` and `Blob` go as arguments and results. The listener says that it takes them
//!   ([`fds`](crate::ListenerBuilder::fds), [`blobs`](crate::ListenerBuilder::blobs)).
//!
//! - `#[json]` on a method, or `json` beside the version for all of them: they also take JSON, and answer it, by the same handlers.
//!   Types of arguments, results and errors derive serde; what carries an `Fd` or a `Blob` cannot be JSON. Needs the feature
//!   `json`. The command `memring call` calls them, and so does [`Description::json`].
//!
//! What a peer serves it says itself: [`Link::offered`], [`Link::describe`], and the command `memring describe`.
//!
//! # Versions
//!
//! A peer that serves another version of an interface, or none, is [`OpenError`]. Within a version methods are compared one by
//! one, by their names and types: one that is missing or has other types is an error **when it is called**, and the others work.
//! So methods and signals may be added at any time. A type that changes is a new method, or a new version; both can be
//! served side by side.
//!
//! # Who waits for whom
//!
//! A client is used by any number of threads at once, and there is no thread behind it: whoever waits reads for all. A server has a
//! thread for each client, so a handler that blocks keeps that client's other calls waiting and nobody else's; with
//! [`threads_per_client`](Server::threads_per_client) as many run beside each other. A handler may call its caller back
//! ([`Call::link`]): either side may serve ([`Link::serving`]).
//!
//! A call ends: with its answer, at its deadline, when it is cancelled ([`Options`]), or with the session. The peer is told when
//! nobody waits any more, and a handler sees it ([`Call::is_cancelled`]).

mod asking;
mod carrier;
mod client;
mod description;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod interface;
mod json;
mod options;
mod owed;
mod pending;
mod receiving;
mod running;
mod sending;
mod server;
mod service;
mod services;
mod session;
mod shared;
mod signal;
mod stream;
mod table;
mod waiting;
mod wire;
mod worker;

pub use carrier::{Attaching, Carries, Delivers, NoError, Plainly};
pub use client::{Bound, Client};
pub use description::{
    DescribeError, DescribedMember, Description, JsonError, JsonMethod, NotCallable, Offered,
};
pub use error::{CallError, Never, OpenError, ReplyError};
pub use interface::{Interface, Member};
#[cfg(feature = "json")]
pub use json::Json;
pub use options::{Cancel, Options};
pub use pending::Pending;
pub use server::{Server, Serving};
pub use service::{Call, Request, Service};
pub use services::Serve;
pub use session::{Calls, Link, connect, connect_to};
pub use signal::{Reached, Signals, Subscription};
#[doc(hidden)]
pub use signal::{read_signal, signal_to};
pub use stream::{Replies, Stream};
pub use wire::{Prints, Shape};
