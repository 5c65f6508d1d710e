//! Calls: interfaces with versions, methods, streams and signals, over a channel.
//!
//! An interface is declared as a trait, usually in a crate of its own that both programs use. `#[memring::interface]` makes of
//! `Calculator`: `CalculatorClient`, whose methods wait for their answers, and `CalculatorAsyncClient`, whose methods give what
//! is awaited, or waited for later; the traits `CalculatorServer` and `CalculatorAsyncServer`, and `Calculator::serve` and
//! `Calculator::serve_async`, which make services of whoever implements them; and `CalculatorSignals`, if there are signals.
//!
//! ```
//! use memring::fanout::Slow;
//! use memring::rkyv::Archived;
//! use memring::rpc::{Call, CallError, Replies, Server};
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
//!     /// The sums on the way.
//!     fn sums(terms: &[i64]) -> Stream<i64>;
//!     #[signal]
//!     fn important_news(headline: &str, body: &str);
//! }
//!
//! struct Calc(CalculatorSignals);
//! impl CalculatorServer for Calc {
//!     fn sum(&self, call: &Call<'_>, name: &str, terms: &[Archived<i64>]) -> i64 {
//!         println!("{} adds up {name}", call.peer());
//!         terms.iter().map(|term| term.to_native()).sum()
//!     }
//!     fn divide(&self, call: &Call<'_>, a: i64, b: i64) -> Result<i64, CalcError> {
//!         if b == 0 {
//!             let _ = self.0.important_news("Division by zero", &call.peer().to_string());
//!         }
//!         a.checked_div(b).ok_or(CalcError::DivisionByZero)
//!     }
//!     fn sums(&self, _: &Call<'_>, terms: &[Archived<i64>], mut replies: Replies<i64>) {
//!         let mut sum = 0;
//!         for term in terms {
//!             sum += term.to_native();
//!             if replies.send(&sum).is_err() {
//!                 return; // nobody reads any more
//!             }
//!         }
//!         replies.end(Ok(()));
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("memring-rpc-{}", std::process::id()));
//! # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
//! # let path = directory.join("calculator.sock");
//! // One process. Whoever has no room for a signal misses it:
//! let news = CalculatorSignals::new(Slow::DropNewest);
//! let calculator = Calculator::serve(Calc(news.clone())).signals(&news);
//! let server = Server::new().serve(calculator).bind(&path)?;
//! # std::thread::scope(|scope| -> Result<(), Box<dyn std::error::Error>> {
//! # let serving = scope.spawn(|| server.run());
//! # /*
//! server.run()?; // for ever: a thread for each client
//! # */
//!
//! // Another one:
//! let calculator = CalculatorClient::connect(&path)?;
//! let mut news = calculator.important_news()?; // from now on
//! assert_eq!(calculator.sum("three", &[1, 2, 3])?, 6);
//! match calculator.divide(1, 0) {
//!     Err(CallError::Failed(CalcError::DivisionByZero)) => println!("of course"),
//!     other => println!("{other:?}"),
//! }
//! for sum in calculator.sums(&[1, 2, 3])? {
//!     println!("{}", sum?);
//! }
//! let (headline, body) = news.recv()?;
//! println!("{headline}: {body}");
//! # server.shut_down(std::time::Duration::ZERO); serving.join().unwrap()?; Ok(()) })?;
//! # std::fs::remove_dir_all(directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! The [guide](crate::guide::calls) says when to call and when to send messages, and how an interface changes; whole programs
//! are in `memring/examples`.
//!
//! # What a declaration means
//!
//! - An argument that is a reference is **lent**: the client takes `&str`, `&[T]`, `&T`, and the handler reads `&str`,
//!   `&[Archived<T>]`, `&Archived<T>` out of the message that came. Other arguments, results and errors are made for whoever
//!   gets them. All have to be types that messages may have as fields.
//! - `-> Result<T, E>`: the client gets `Result<T, CallError<E>>`, with the method's own error in
//!   [`CallError::Failed`]. For `?` in a function that returns `Box<dyn Error>`, `E` has to be a [`std::error::Error`], as
//!   `CalcError` above is not; then its `CallError` is one.
//! - `-> Stream<T>`, or `-> Result<Stream<T>, E>`: the handler gets [`Replies`] and the client a [`Stream`]. A slow reader stops
//!   the writer. `Stream` is a word of the declaration there, which needs no `use`.
//! - `#[oneway]`: nothing comes back. `#[signal]`: the server sends it, and clients subscribe.
//! - `Fd` and `Blob` go as arguments and results. The listener says that it takes them
//!   ([`fds`](crate::ListenerBuilder::fds), [`blobs`](crate::ListenerBuilder::blobs)).
//! - `#[json]` on a method, or `json` beside the version for all of them: they also take JSON, and answer it, by the same handlers.
//!   Types of arguments, results and errors derive serde; what carries an `Fd` or a `Blob` cannot be JSON. Needs the feature
//!   `json`. The command `memring call` calls them, and so does [`Description::json`].
//!
//! What a peer serves it says itself: [`Link::offered`], [`Link::describe`], and the command `memring describe`.
//!
//! # Sessions and clients
//!
//! A client's `connect` makes a session for one interface, with the usual settings. A [`Link`] is the session by itself: several
//! interfaces are opened in it, for threads or for tasks, and it is made over a channel with any settings.
//!
//! ```no_run
//! use memring::{Connector, Lanes};
//! use memring::rpc::{Calls, Link};
//! # #[memring::interface(name = "calculator", version = "1.0")]
//! # trait Calculator { fn divide(a: i64, b: i64) -> i64; }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let connector = Connector::new().name("accounts").lanes(Lanes::Small, Lanes::Bulk);
//! let link = Link::over(connector.connect::<Calls>("calculator")?);
//! let calculator = link.open::<CalculatorClient>()?;
//! // Its methods do not wait: each gives what its answer is waited for with, or what is awaited.
//! let calculator = link.open::<CalculatorAsyncClient>()?;
//! # Ok(())
//! # }
//! ```
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
//!
//! # Tasks
//!
//! What has `async` in its name is for tasks. Clients work under any executor, and whoever implements `CalculatorAsyncServer`
//! writes `async fn`s. Sessions are served by tasks of tokio's ([`Serving::run_tokio`], [`Link::run_tokio`], with the feature
//! `tokio`), each call in one of its own; or in one task under any executor ([`Link::run_async`]), which may be a hub's
//! ([`Hub::spawn`](crate::hub::Hub::spawn)). Every server serves services of both kinds.
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use memring::rpc::{Call, Replies, Server};
//!
//! #[memring::interface(name = "calculator", version = "1.0")]
//! pub trait Calculator {
//!     fn twice(text: &str) -> String;
//!     fn count(to: u32) -> Stream<u32>;
//! }
//!
//! struct Calc;
//! impl CalculatorAsyncServer for Calc {
//!     async fn twice(&self, _: &Call<'_>, text: &str) -> String {
//!         tokio::task::yield_now().await;
//!         text.repeat(2)
//!     }
//!     async fn count(&self, _: &Call<'_>, to: u32, mut replies: Replies<u32>) {
//!         for number in 0..to {
//!             if replies.send_async(&number).await.is_err() {
//!                 return; // nobody reads any more
//!             }
//!         }
//!         replies.end_async(Ok(())).await;
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! # let directory = std::env::temp_dir().join(format!("memring-rpc-tasks-{}", std::process::id()));
//! # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
//! # let path = directory.join("calculator.sock");
//! let server = Server::new().serve(Calculator::serve_async(Calc)).bind(&path)?;
//! let serve = server.run_tokio();
//! let ask = async {
//!     let calculator = CalculatorAsyncClient::connect(&path).await?;
//!     let (one, other) = tokio::join!(calculator.twice("ab"), calculator.twice("c"));
//!     assert_eq!((one?, other?), ("abab".into(), "cc".into()));
//!     let mut numbers = calculator.count(3)?;
//!     while let Some(number) = numbers.recv_async().await? {
//!         println!("{number}");
//!     }
//!     server.shut_down_async(std::time::Duration::from_secs(1)).await;
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! };
//! let (served, asked) = tokio::join!(serve, ask);
//! # std::fs::remove_dir_all(directory)?;
//! # served?;
//! # asked
//! # })
//! # }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! A call whose arguments or result carry descriptors or blobs is sent where it is begun, in the thread, which may have to wait for
//! room.
//!
//! # What is here
//!
//! | | |
//! |---|---|
//! | [`connect`], [`connect_to`], [`connect_to_async`], [`Link`], [`Calls`] | sessions: to be made, to open interfaces in, and to serve some in |
//! | [`Options`], [`Cancel`] | how long calls may take, and what ends them before |
//! | [`Pending`] | a call whose answer is awaited, or waited for later |
//! | [`Stream`], [`Subscription`] | replies, and signals, as they come |
//! | [`CallError`], [`OpenError`], [`Never`] | what can go wrong with calls and with opening; the error of a method that has none |
//! | [`Server`], [`Serving`] | what is served to whoever connects; that, listening |
//! | [`Serve`] | an interface that is served: its signals, and who may use it |
//! | [`Call`] | what a handler knows of its call |
//! | [`Replies`], [`ReplyError`] | where a handler sends a stream's replies |
//! | [`Reached`] | whom a signal reached |
//! | [`Client`], [`Interface`], [`Member`], [`Shape`] | what the declaration has become, for code about any interface |
//! | [`Service`], [`Request`], [`AsyncService`], [`TaskRequest`], [`Work`], [`Carries`], [`Delivers`], [`Plainly`], [`Attaching`], [`NoError`], [`Prints`] | what the code that `#[memring::interface]` writes is made of |

mod asking;
mod async_service;
mod background;
mod carrier;
mod client;
mod description;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod interface;
mod json;
mod noted;
mod options;
mod owed;
mod pending;
mod receiving;
mod replies;
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
mod tasks;
mod waiter;
mod waiting;
mod wire;
mod worker;
mod workers;

pub use async_service::{AsyncService, TaskRequest, Work, caught};
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
pub use replies::Replies;
pub use server::{Server, Serving};
pub use service::{Call, Refused, Request, Service};
pub use services::Serve;
pub use session::{Calls, Link, connect, connect_to, connect_to_async};
pub use signal::{Reached, Signals, Subscription};
#[doc(hidden)]
pub use signal::{read_signal, signal_to};
pub use stream::Stream;
#[cfg(feature = "tokio")]
pub use stream::Streamed;
pub use wire::{Prints, Shape};
