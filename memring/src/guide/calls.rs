//! Calls: functions of another process.
//!
//! # From messages to calls
//!
//! A protocol of questions and answers soon has two enums, a loop that matches each, a number by which answers find their questions, and
//! something that says that a question was nonsense. [`rpc`](crate::rpc) has all of that: an interface is declared once, one side
//! implements it, and the other calls it like functions.
//!
//! ```
//! use memring::rpc::{Call, CallError, Calls, Link};
//!
//! #[memring::message]
//! #[derive(Debug, PartialEq)]
//! pub enum NoQuote { Unknown }
//!
//! // Instead of `enum Question`, `enum Answer` and `impl Protocol`:
//! #[memring::interface(name = "quotes", version = "1")]
//! pub trait Quotes {
//!     fn quote(symbol: &str) -> Result<u64, NoQuote>;
//! }
//!
//! struct Market;
//! impl QuotesServer for Market {
//!     fn quote(&self, _: &Call<'_>, symbol: &str) -> Result<u64, NoQuote> {
//!         if symbol == "ABC" { Ok(12) } else { Err(NoQuote::Unknown) }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A server at an address is `rpc::Server`. In one process, as for tests:
//! let (server, client) = memring::pair::<Calls>()?;
//! let server = Link::serving(server, [Quotes::serve(Market)]);
//! std::thread::spawn(move || server.run());
//!
//! let quotes: QuotesClient = Link::over(client).open()?;
//! assert!(matches!(quotes.quote("ABC"), Ok(12)));
//! assert!(matches!(quotes.quote("DEF"), Err(CallError::Failed(NoQuote::Unknown))));
//! # Ok(())
//! # }
//! ```
//!
//! Under it is a channel of bytes, and what was said of channels holds: lanes, waiting, ends, limits, who is let in.
//!
//! # When which
//!
//! | messages | calls |
//! |---|---|
//! | what flows without being asked for: data of a market, log lines, frames, samples | questions with answers, orders that succeed or fail |
//! | each half has one owner | a client is shared by any number of threads, each with calls of its own under way |
//! | both types are the same on both sides, or no channel opens | each method by itself; versions side by side, several interfaces in a session |
//! | in batches, in place, or one to many with lanes of their own | with deadlines that travel, cancelling, and errors by type |
//! | a client that is [supervised](crate::guide#coming-back) knows what was received | the answer says so |
//!
//! A call costs a message each way and a little more: `cargo run --release -p memring-benches --bin calls` says how much on your machine. What is
//! large goes as a [blob](#descriptors-and-blobs) or in a stream; a stream has 32 replies under way at most, so what flows for ever and fast
//! is better off in a channel of its own.
//!
//! # How an interface changes
//!
//! Programs of different age meet. Opening an interface compares it member by member, by names and by fingerprints of types:
//!
//! | change | an older client | a newer client of an older server |
//! |---|---|---|
//! | a method or a signal more, anywhere | sees nothing of it | [`UnknownMethod`](crate::rpc::CallError::UnknownMethod) where it calls it, the others work |
//! | a method less, or under another name | `UnknownMethod` where it calls it | the same for the new name |
//! | another type, or name, of an argument, a result or an error, however deep in it | [`MethodChanged`](crate::rpc::CallError::MethodChanged), which shows both | the same |
//! | another version | [`UnknownVersion`](crate::rpc::OpenError::UnknownVersion), which lists what there is | the same |
//!
//! So what was published keeps its types. What needs others is a method of another name, or, if it is most of the interface, a version of
//! another name. Versions are the same or they are not; none is less than another. A server serves both, and does the work once, for
//! the newer:
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::Arc;
//! use memring::rpc::{Call, Calls, Link, OpenError};
//!
//! mod v1 {
//!     #[memring::message]
//!     #[derive(Debug, PartialEq)]
//!     pub struct Account { pub owner: String, pub cents: i64 }
//!
//!     #[memring::interface(name = "bank", version = "1")]
//!     pub trait Bank {
//!         fn account(number: u32) -> Option<Account>;
//!     }
//! }
//!
//! mod v2 {
//!     #[memring::message]
//!     #[derive(Clone, Debug, PartialEq)]
//!     pub struct Account { pub owners: Vec<String>, pub cents: i64, pub currency: String }
//!
//!     #[memring::interface(name = "bank", version = "2")]
//!     pub trait Bank {
//!         fn account(number: u32) -> Option<Account>;
//!     }
//! }
//!
//! // What the new one is to those who know the old one only; the other way for arguments.
//! impl From<v2::Account> for v1::Account {
//!     fn from(new: v2::Account) -> Self {
//!         Self { owner: new.owners.join(" and "), cents: new.cents }
//!     }
//! }
//!
//! #[derive(Clone)]
//! struct Books(Arc<HashMap<u32, v2::Account>>);
//!
//! impl v2::BankServer for Books {
//!     fn account(&self, _: &Call<'_>, number: u32) -> Option<v2::Account> {
//!         self.0.get(&number).cloned()
//!     }
//! }
//!
//! impl v1::BankServer for Books {
//!     fn account(&self, call: &Call<'_>, number: u32) -> Option<v1::Account> {
//!         v2::BankServer::account(self, call, number).map(Into::into)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let account = v2::Account { owners: vec!["Ada".into(), "Grace".into()], cents: 5, currency: "EUR".into() };
//! # let books = Books(Arc::new(HashMap::from([(1, account)])));
//! # let (server, client) = memring::pair::<Calls>()?;
//! // The server.
//! let services = [v1::Bank::serve(books.clone()), v2::Bank::serve(books)];
//! # let server = Link::serving(server, services);
//! # std::thread::spawn(move || server.run());
//!
//! // A client that speaks both takes what it gets.
//! # let link = Link::over(client);
//! let owners = match link.open::<v2::BankClient>() {
//!     Ok(bank) => bank.account(1)?.map(|account| account.owners),
//!     Err(OpenError::UnknownVersion { .. }) => {
//!         link.open::<v1::BankClient>()?.account(1)?.map(|account| vec![account.owner])
//!     }
//!     Err(error) => return Err(error.into()),
//! };
//! assert_eq!(owners.expect("it is there"), ["Ada", "Grace"]);
//! # let old = link.open::<v1::BankClient>()?.account(1)?.expect("it is there");
//! # assert_eq!(old, v1::Account { owner: "Ada and Grace".into(), cents: 5 });
//! # Ok(())
//! # }
//! ```
//!
//! # Who waits for whom
//!
//! **At the client nobody reads but who waits.** There is no thread behind a session. A thread that waits for its answer reads for all others,
//! and files what is for them. So calls of many threads are under way at once, answered in any order, and a lone caller never crosses threads. It also
//! means that a process in which nobody waits for anything takes nothing off its lane: a subscriber who does not come for his signals is a
//! slow one, and becomes what the server said when it made its senders ([`Slow`](crate::fanout::Slow)).
//!
//! **At a server each client has a thread**, or as many as [`threads_per_client`](crate::rpc::Server::threads_per_client) says. With one,
//! calls of a session run in the order in which they were sent, one-way calls among them. A handler that blocks, or that sends a stream to a slow
//! reader, keeps that client's other calls waiting, and no other client. [`Replies`](crate::rpc::Replies) may go to a
//! thread of its own.
//!
//! **Either side may serve** ([`Link::serving`](crate::rpc::Link::serving)). A handler may call its caller back, who answers if a thread of his
//! [runs](crate::rpc::Link::run) the session, and so on, as deep as there are threads. What locks a handler holds meanwhile is its own affair, as
//! everywhere. Two sides that wait for room in each other's lanes read meanwhile, so full lanes stop nobody for good.
//!
//! # Deadlines and cancelling
//!
//! A call takes as long as it takes: until its answer, or until the session ends, which it does at once if the peer dies. Against a peer
//! that is stuck there are [`Options`](crate::rpc::Options): a timeout for each call, a deadline for all, and a
//! [`Cancel`](crate::rpc::Cancel) that any thread may pull.
//!
//! ```
//! # #[memring::interface(name = "quotes", version = "1")]
//! # trait Quotes { fn quote(symbol: &str) -> u64; }
//! use std::time::Duration;
//! use memring::rpc::{CallError, Options};
//!
//! fn quote(quotes: &QuotesClient) -> Result<Option<u64>, CallError> {
//!     let quotes = quotes.with(Options::new().timeout(Duration::from_millis(50)));
//!     match quotes.quote("ABC") {
//!         Ok(price) => Ok(Some(price)),
//!         // It did not run: whoever is asked next does not do it a second time.
//!         Err(error) if error.never_began() => Ok(None),
//!         // It may have run, also if the deadline has passed.
//!         Err(error) => Err(error),
//!     }
//! }
//! # let _ = quote;
//! ```
//!
//! The deadline goes with the call. One that has passed when the call's turn comes ends it without running; a handler that runs sees
//! it, and a cancel, by [`is_cancelled`](crate::rpc::Call::is_cancelled), and nothing interrupts it. Dropping a
//! [`Pending`](crate::rpc::Pending) or a [`Stream`](crate::rpc::Stream) cancels too. An answer that comes too late is dropped. Whether a call
//! that failed has run is certain only of errors that say so: [`never_began`](crate::rpc::CallError::never_began).
//!
//! # Who calls, and who may
//!
//! Each handler has its [`Call`](crate::rpc::Call): [`peer`](crate::rpc::Call::peer) is who calls, in the kernel's words;
//! [`peer_name`](crate::rpc::Call::peer_name) is what he calls himself, which proves nothing. A [`Policy`](crate::Policy) may stand
//! at each of these doors, and who does not pass one does not get to the next:
//!
//! | at | who does not pass |
//! |---|---|
//! | the listener ([`policy`](crate::ListenerBuilder::policy)) | has no session; nothing he sends is read |
//! | an interface ([`Serve::policy`](crate::rpc::Serve::policy)) | [`OpenError::Denied`](crate::rpc::OpenError::Denied) |
//! | a method or a signal ([`Serve::method`](crate::rpc::Serve::method)) | [`CallError::Denied`](crate::rpc::CallError::Denied) when he calls it, or subscribes; the others work |
//! | what is asked for: by the handler | an error of the method's own |
//!
//! ```
//! use memring::rpc::{Call, Server};
//! use memring::{Listener, Policy};
//!
//! #[memring::message]
//! #[derive(Debug)]
//! pub enum NotYours { OfAnother }
//!
//! #[memring::interface(name = "mail", version = "1")]
//! trait Mail {
//!     fn unread(uid: u32) -> Result<u64, NotYours>;
//!     fn purge();
//! }
//!
//! struct Boxes;
//! impl MailServer for Boxes {
//!     fn unread(&self, call: &Call<'_>, uid: u32) -> Result<u64, NotYours> {
//!         if call.peer().uid() == Some(uid) { Ok(0) } else { Err(NotYours::OfAnother) }
//!     }
//!     fn purge(&self, _: &Call<'_>) {}
//! }
//!
//! let server = Server::new()
//!     .listener(Listener::builder().mode(0o666).policy(Policy::any_uid()))
//!     .serve(Mail::serve(Boxes).method("purge", Policy::nobody().allow_uid(0)));
//! # let _ = server;
//! ```
//!
//! # Descriptors and blobs
//!
//! [`Fd`](crate::Fd)s and [`Blob`](crate::blob::Blob)s are arguments and results, of streams too, with all that was said of them
//! in [`attachments`](super::attachments); signals carry none. A method that names one is seen to carry; where it is inside of a message,
//! `#[attachments]` on the method says so.
//!
//! ```
//! # use std::io::Read;
//! use memring::blob::{Blob, BlobBuilder};
//! use memring::rpc::{Call, Calls, Link};
//! use memring::{Connector, Fd};
//!
//! #[memring::message(attachments)]
//! pub struct Document { pub title: String, pub text: Blob<[u8]> }
//!
//! #[memring::interface(name = "press", version = "1")]
//! trait Press {
//!     fn words(text: Blob<[u8]>) -> u64;
//!     #[attachments]
//!     fn print(document: Document) -> Result<Fd, String>;
//! }
//!
//! struct Printing;
//! impl PressServer for Printing {
//!     fn words(&self, _: &Call<'_>, text: Blob<[u8]>) -> u64 {
//!         // Read where it lies; a clone may be kept as long as it is wanted.
//!         text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count() as u64
//!     }
//!     fn print(&self, _: &Call<'_>, document: Document) -> Result<Fd, String> {
//!         let (output, mut input) = std::io::pipe().map_err(|error| error.to_string())?;
//!         std::thread::spawn(move || std::io::Write::write_all(&mut input, &document.text));
//!         Ok(output.into())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Both sides say what they take. A listener does so too, by the same settings; `PressClient::connect` takes what results carry.
//! let (server, client) = Connector::new().fds(8).blobs(8, 1 << 20).pair::<Calls>()?;
//! # let server = Link::serving(server, [Press::serve(Printing)]);
//! # std::thread::spawn(move || server.run());
//! # let press: PressClient = Link::over(client).open()?;
//! let mut text = BlobBuilder::new().with_size(10)?;
//! text.copy_from_slice(b"to and fro");
//! let text = text.seal()?;
//! assert_eq!(press.words(text.clone())?, 3);
//! let printed = press.print(Document { title: "Ways".into(), text }); // the blob goes as a number now
//! # let mut output = std::fs::File::from(printed.expect("an answer").into_owned()?);
//! # let mut read = String::new();
//! # output.read_to_string(&mut read)?;
//! # assert_eq!(read, "to and fro");
//! # Ok(())
//! # }
//! ```
//!
//! To a side that takes none such a call is [`CallError::Send`](crate::rpc::CallError::Send), and an answer that it does not take
//! [`CallError::Unanswered`](crate::rpc::CallError::Unanswered); the others work.
