//! The guide: how to choose, what fails and how, and what is promised against whom.
//!
//! It goes from the first program to the last nanosecond. Programs that run are in `memring/examples`, every
//! limit is in `LIMITS.md`, every byte in `docs/PROTOCOL.md`.
//!
//! 1. [A protocol](#a-protocol), [other formats](#other-formats)
//! 2. [A server and a client](#a-server-and-a-client)
//! 3. [Without a listener](#without-a-listener)
//! 4. [Sending](#sending)
//! 5. [Receiving](#receiving)
//! 6. [How it ends](#how-it-ends), [coming back](#coming-back)
//! 7. [Errors](#errors)
//! 8. [`attachments`]: [File descriptors](attachments#file-descriptors), [blobs](attachments#blobs)
//! 9. [`peers`]: [Who is at the other end](peers#who-is-at-the-other-end), [limits](peers#limits),
//!    [threads, fork, exec](peers#threads-fork-exec), [sandboxes](peers#sandboxes),
//!    [a peer that is trusted](peers#a-peer-that-is-trusted), [what it is doing](peers#what-it-is-doing)
//! 10. [`calls`]: [From messages to calls](calls#from-messages-to-calls), [when which](calls#when-which),
//!     [how an interface changes](calls#how-an-interface-changes), [who waits for whom](calls#who-waits-for-whom),
//!     [deadlines and cancelling](calls#deadlines-and-cancelling), [who calls](calls#who-calls-and-who-may),
//!     [descriptors and blobs](calls#descriptors-and-blobs)
//! 11. [`speed`]: [How to wait](speed#how-to-wait), [how large the lanes](speed#how-large-the-lanes),
//!     [faster](speed#faster)
//!
//! # A protocol
//!
//! Two programs agree on a name and on two message types, one for each direction. Write them down once, in a
//! crate of its own that both are compiled from; its only dependency is `memring`.
//!
//! ```
//! /// What something costs.
//! #[memring::message]
//! pub struct Quote { pub symbol: String, pub price: i64 }
//!
//! /// What a client can ask for. An enum, if there is more than one thing.
//! #[memring::message]
//! pub enum Request { Buy { symbol: String, quantity: u32 }, CancelAll }
//!
//! pub struct Quotes;
//!
//! impl memring::Protocol for Quotes {
//!     const NAME: &'static str = "quotes";
//!     type ToClient = Quote;
//!     type ToServer = Request;
//! }
//! ```
//!
//! A field may be a number, `bool`, `char`, `String`, `Vec`, `Option`, `Result`, `Box`, array, tuple, most of
//! what the standard library has, and any other `#[message]` type. [`message`](crate::message) lists the
//! rest.
//!
//! Each type has a fingerprint of its structure: names, order, variants, and the same of all it contains. It
//! does not depend on the module or the crate a type lives in. When a channel opens, both sides' fingerprints
//! are compared; if they differ, nobody gets garbage. Both sides get an error that names the types of both.
//!
//! There is no other versioning of messages. To change one, deploy both sides, or give the new protocol a name
//! of its own and let the server [speak both](#a-server-and-a-client). Interfaces change
//! [method by method](calls#how-an-interface-changes).
//!
//! ## Other formats
//!
//! A message is an rkyv archive unless its declaration says otherwise. Each other format is a feature of this crate:
//!
//! | `format =` | feature | derive beside it | for |
//! |---|---|---|---|
//! | `json` | `json` | serde's `Serialize` and `Deserialize` | what people read, or other programs write |
//! | `cbor` | `cbor` | the same | the same in fewer bytes |
//! | `postcard` | `postcard` | the same | the fewest bytes, of types that have serde's derives already |
//! | `plain` | `zerocopy` | zerocopy's `IntoBytes`, `TryFromBytes` or `FromBytes`, `Immutable`, `KnownLayout` | structs of numbers and arrays: nothing is encoded, and they are read in place as they are |
//!
#![cfg_attr(
    all(feature = "json", feature = "zerocopy"),
    doc = r#"```
#[memring::message(format = json)]
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Command { pub name: String, pub arguments: Vec<String> }

#[memring::message(format = plain)]
#[derive(Debug, Clone, Copy, PartialEq)]
#[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)]
#[repr(C)]
pub struct Sample { pub at: u64, pub values: [f32; 4] }

pub struct Probe;
impl memring::Protocol for Probe {
    const NAME: &'static str = "probe";
    type ToClient = Sample;
    type ToServer = Command;
}

# fn main() -> Result<(), Box<dyn std::error::Error>> {
let (mut server, mut client) = memring::pair::<Probe>()?;
client.send(&Command { name: "start".into(), arguments: vec!["fast".into()] })?;
let command: Command = server.recv()?.into_value();
assert_eq!(command.arguments, ["fast"]);

server.send(&Sample { at: 1, values: [0.5; 4] })?;
let sample: Sample = *client.recv()?;
assert_eq!(sample.values[3], 0.5);
# Ok(())
# }
```"#
)]
//!
//! Of serde's formats a receiver gets the value, which was made when it was received. A
//! [`View`](crate::View) derefs to it, and `into_value` hands it out. What a value may cost the receiver is bounded on both
//! sides: 64 levels, and no more elements than bytes. A value that breaks this, or that the format has no words for (a NaN in
//! JSON), is an [`EncodeError`](crate::EncodeError) of its sender. What a format loses, it loses here too: in JSON and CBOR `Some(None)`
//! is `None`.
//!
//! The format is part of the fingerprint, and so is every word of `#[serde(...)]` on a type that is declared so: two
//! sides that mean other formats, or other names, are told before the first message. Parts of a message are declared in the
//! format of the whole. In every format maps need the feature `maps`, or a name given by hand.
//!
//! ## Bytes
//!
//! If there is nothing to agree on but bytes, [`Bytes`](crate::Bytes) is the protocol: `[u8]` both ways.
//!
//! # A server and a client
//!
//! ```
//! # #[memring::message] pub struct Quote { pub symbol: String, pub price: i64 }
//! # #[memring::message] pub enum Request { Buy { symbol: String, quantity: u32 }, CancelAll }
//! # pub struct Quotes;
//! # impl memring::Protocol for Quotes {
//! #     const NAME: &'static str = "quotes"; type ToClient = Quote; type ToServer = Request;
//! # }
//! # struct QuotesV2;
//! # impl memring::Protocol for QuotesV2 {
//! #     const NAME: &'static str = "quotes2"; type ToClient = Quote; type ToServer = [u8];
//! # }
//! use memring::Listener;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("memring-guide-{}", std::process::id()));
//! # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
//! # let path = directory.join("quotes.sock");
//! // The server.
//! let listener = Listener::bind(&path)?;
//! # let client = std::thread::spawn(move || -> Result<(), String> { (|| {
//!
//! // A client, elsewhere.
//! let (mut requests, mut quotes) = memring::connect::<Quotes>(&path)?.split();
//! let quote = quotes.recv()?;
//! if quote.price < 100 {
//!     let symbol = quote.symbol.as_str().to_owned();
//!     requests.send(&Request::Buy { symbol, quantity: 10 })?;
//! }
//! # Ok(()) })().map_err(|error: Box<dyn std::error::Error>| error.to_string()) });
//!
//! // The server again. A real one loops, and gives each client a thread.
//! let incoming = listener.accept()?;
//! if incoming.speaks::<QuotesV2>() {
//!     // A client of the next version.
//! }
//! let (mut quotes, mut requests) = incoming.open::<Quotes>()?.split();
//! quotes.send(&Quote { symbol: "ABC".into(), price: 12 })?;
//! match &*requests.recv()? {
//!     ArchivedRequest::Buy { symbol, quantity } => println!("{quantity} of {symbol}"),
//!     ArchivedRequest::CancelAll => println!("nothing after all"),
//! }
//! # client.join().unwrap()?;
//! # drop(listener);
//! # std::fs::remove_dir(&directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! An address with a slash in it is a path. One without is a name in the runtime directory:
//! `$RUNTIME_DIRECTORY`, which systemd sets, else `$XDG_RUNTIME_DIR/memring`, else `/run/memring` for root.
//! The directory of a path has to be one in which nobody else can put files; that is what keeps others from
//! taking the server's place. Abstract names ([`Address::abstract_name`](crate::Address::abstract_name))
//! belong to whoever comes first, so they are never meant unless you say so.
//!
//! A listener takes over what a killed one left behind, and never what belongs to one that lives: two servers
//! at one address are an error for the second. When it is dropped, its files are removed.
//!
//! Handshakes run beside each other, each within a deadline (1 s, see
//! [`handshake_timeout`](crate::ListenerBuilder::handshake_timeout)), so a client that stalls delays nobody.
//! They proceed while a thread is in [`accept`](crate::Listener::accept). Those that fail are counted
//! ([`turned`](crate::Listener::turned)) and never returned.
//!
//! Between `accept` and `open` the server decides. It sees who asks ([`peer`](crate::Incoming::peer)), what
//! for ([`protocol`](crate::Incoming::protocol)) and up to 4 KiB of the client's own
//! ([`metadata`](crate::Incoming::metadata), or a typed [`metadata_value`](crate::Incoming::metadata_value)).
//! It may also [`refuse`](crate::Incoming::refuse), with words that reach the client's error. The client
//! waits meanwhile, so decide soon: its whole connect takes 5 s at most unless it says otherwise.
//!
//! A client that starts before its server waits for it with [`connect_timeout`](crate::connect_timeout);
//! [`connect`](crate::connect) says at once that nobody is there. A client whose server went away connects
//! anew; nothing does that for it yet.
//!
//! # Without a listener
//!
//! A child that this process starts is connected from its first instruction. There is no path that anybody
//! else could use, and the parent knows the child by the pidfd it was started with:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use memring::Bytes;
//! use std::process::Command;
//!
//! // The parent, which is the server.
//! let (mut child, mut channel) = memring::spawn::<Bytes>(&mut Command::new("/usr/libexec/worker"))?;
//! channel.send(b"do something")?;
//!
//! // The child, in its main.
//! let mut channel = memring::inherited::<Bytes>()?;
//! # Ok(())
//! # }
//! ```
//!
//! [`pair`](crate::pair) makes both ends in one process, for threads and for tests. A connected
//! `SOCK_SEQPACKET` socket from anywhere else becomes a session by
//! [`Connector::from_fd`](crate::Connector::from_fd) at one end and
//! [`from_fd_as_server`](crate::Connector::from_fd_as_server) at the other. The kernel names only who *made*
//! such a socket, so whoever handed it over is trusted for who is at the other end;
//! [`Peer::origin`](crate::Peer::origin) says so.
//!
//! # Sending
//!
//! | call | when there is no room |
//! |---|---|
//! | [`send`](crate::Sender::send) | waits for it |
//! | [`send_deadline`](crate::Sender::send_deadline) | waits until then, at most |
//! | [`try_send`](crate::Sender::try_send) | says [`Full`](crate::TrySendError::Full) |
//!
//! `send` returns once the message is in the lane, which does not mean that it was received, or ever will be.
//! If you need to know, let the other side answer. When a send fails, the peer sees nothing of that message,
//! not even a part, and the channel goes on (unless it has ended).
//!
//! The lane is all the memory there is: a peer that does not keep up makes `send` wait, and never makes this
//! process grow. Two sides that both only send fill both lanes and then wait for each other. Receive in a
//! thread of its own, or use deadlines.
//!
//! A message may be empty, or as large as both sides agreed
//! ([`largest_message`](crate::Connector::largest_message), 16 MiB unless said otherwise). One that is larger
//! than a quarter of the lane travels in parts, while the other side receives; `try_send` takes only what
//! fits whole.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use memring::{Bytes, SendError, TrySendError};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut server, mut client) = memring::pair::<Bytes>()?;
//! let mut dropped = 0;
//! for _ in 0..100_000 {
//!     match server.try_send(b"position update") {
//!         Ok(()) => {}
//!         Err(TrySendError::Full) => dropped += 1,
//!         Err(other) => return Err(other.into()),
//!     }
//! }
//! assert!(dropped > 0, "nobody received");
//! let late = server.send_deadline(b"important", Instant::now() + Duration::from_millis(1));
//! assert!(matches!(late, Err(SendError::TimedOut)));
//! # assert_eq!(&*client.recv()?, b"position update");
//! # Ok(())
//! # }
//! ```
//!
//! ## Batches
//!
//! Small messages cost their frame: a header, a publish, a look whether the other side sleeps. A
//! [batch](crate::Sender::batch) packs many into one frame. They are seen together when the batch is dropped
//! or flushed, when it has filled a quarter of the lane, and before it waits for room. On the other side they
//! are messages like any others. A batch trades latency for throughput, so it is never made unasked.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (mut server, mut client) = memring::pair::<memring::Bytes>()?;
//! let mut batch = server.batch();
//! for line in ["one", "two", "three"] {
//!     batch.push(line.as_bytes())?;
//! }
//! drop(batch); // now they can be seen
//! assert_eq!(&*client.recv()?, b"one");
//! # Ok(())
//! # }
//! ```
//!
//! Where the messages are there already, [`send_all`](crate::Sender::send_all) makes one batch of a slice, and
//! [`recv_each`](crate::Receiver::recv_each) takes what came together: of small plain messages five times as many a
//! second as one by one.
//!
//! ## Bytes in pieces, or in place
//!
//! Typed messages are encoded straight into the lane. A sender of bytes can do the same: it
//! [claims](crate::Sender::claim) room, writes into it and commits. Or it hands in
//! [pieces](crate::Sender::send_vectored) that go out as one message.
//!
//! ```
//! use std::io::IoSlice;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (mut server, mut client) = memring::pair::<memring::Bytes>()?;
//! let mut slot = server.claim(100)?;
//! slot.write(b"header ")?;
//! slot.write(b"and body")?;
//! slot.commit(); // dropped without this, it sends nothing
//! server.send_vectored(&[IoSlice::new(b"header "), IoSlice::new(b"and body")])?;
//! assert_eq!(&*client.recv()?, b"header and body");
//! assert_eq!(&*client.recv()?, b"header and body");
//! # Ok(())
//! # }
//! ```
//!
//! One message goes to many by a [`Fanout`](crate::Fanout): encoded once, copied into each lane, and with a say in what becomes of it
//! where there is no room.
//!
//! # Receiving
//!
//! | call | when there is no message |
//! |---|---|
//! | [`recv`](crate::Receiver::recv) | waits for one |
//! | [`recv_deadline`](crate::Receiver::recv_deadline) | waits until then, at most; takes what is there by then |
//! | [`try_recv`](crate::Receiver::try_recv) | says [`Empty`](crate::TryRecvError::Empty) |
//!
//! A received message was copied into memory of this process and checked there, in that order, so the peer
//! cannot change it any more, and a view of it is as good as a value. [`View`](crate::View) lends it until
//! the next receive. It derefs to the archived form of the type: numbers of fixed byte order, that compare
//! with and convert to ordinary ones, `ArchivedString`, `ArchivedVec` and so on.
//!
//! Three ways to keep it longer:
//!
//! ```
//! #[memring::message]
//! #[derive(Debug, PartialEq)]
//! struct Track { title: String, marks: Vec<u32> }
//!
//! struct Player;
//! impl memring::Protocol for Player {
//!     const NAME: &'static str = "player";
//!     type ToClient = Track;
//!     type ToServer = [u8];
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut server, client) = memring::pair::<Player>()?;
//! let (_, mut tracks) = client.split();
//! for _ in 0..3 {
//!     server.send(&Track { title: "Prelude".into(), marks: vec![1, 30] })?;
//! }
//!
//! // Take what is needed out of the view.
//! let title = tracks.recv()?.title.as_str().to_owned();
//!
//! // Turn it into a value: as many allocations as the type has.
//! let track: Track = tracks.recv()?.to_value()?;
//! assert_eq!(track, Track { title, marks: vec![1, 30] });
//!
//! // Keep the bytes themselves: no copy, and it may go to another thread.
//! let kept = tracks.recv_owned()?;
//! std::thread::spawn(move || assert_eq!(kept.marks[1], 30)).join().unwrap();
//! # Ok(())
//! # }
//! ```
//!
//! A [`Received`](crate::Received) gives its memory back to its receiver when it is dropped, up to 16
//! buffers. A receiver is also an iterator of them, which ends when the peer closes; any other end is its
//! last item.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (server, client) = memring::pair::<memring::Bytes>()?;
//! # let ((mut tx, _), (_, rx)) = (server.split(), client.split());
//! # std::thread::spawn(move || tx.send(b"a line"));
//! for line in rx {
//!     println!("{} bytes", line?.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # How it ends
//!
//! Each direction ends once, and says the same for ever after. Whatever had been sent before is received
//! first, also after a crash.
//!
//! | [`End`](crate::End) | means | do |
//! |---|---|---|
//! | `Closed` | the peer dropped that half, or returned, or panicked and unwound | finish |
//! | `PeerDied` | its process or its socket ended without a word: killed, `process::exit`, exec | connect anew, or have it [done](#coming-back) |
//! | `Fault` | it broke a rule, or sent what is no message of the type | log it; that program has a bug, or is hostile |
//! | `Forked` | this process is a fork of the one that owns the session | connect anew |
//! | `Local` | this side called [`Session::close`](crate::Session::close) | nothing |
//!
//! Dropping one half ends its direction and not the other one. That is how to say "no more from me" and still
//! hear the answer. A sender that has room does not look whether anybody still receives: it finds out when
//! the lane is full, or when the peer's other half has gone too.
//!
//! ```
//! use memring::{Bytes, End, RecvError};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (server, client) = memring::pair::<Bytes>()?;
//! let (mut questions, mut answers) = client.split();
//! questions.send(b"what time is it?")?;
//! drop(questions); // no more from me
//!
//! let (mut tx, mut rx) = server.split();
//! loop {
//!     match rx.recv() {
//!         Ok(question) => println!("{} bytes", question.len()),
//!         Err(RecvError::Ended(End::Closed)) => break,
//!         Err(error) => return Err(error.into()),
//!     }
//! }
//! tx.send(b"late")?;
//! assert_eq!(&*answers.recv()?, b"late");
//! # Ok(())
//! # }
//! ```
//!
//! A death is noticed at once by the peer's pidfd (Linux 6.5), even if a child of it still holds the socket
//! open, and by the socket's hang-up elsewhere: [`Peer::death_detection`](crate::Peer::death_detection) says
//! which. A peer that is stopped, or stuck, is neither dead nor closed. Against that there are deadlines.
//!
//! ## Coming back
//!
//! A client that is to outlive its server is [supervised](crate::Connector::supervised): it connects when it is first used,
//! and anew, with pauses, after a session was lost. Whichever call finds out says so, once, and what became of the
//! messages that were sent: they travel in order, so the first `received` of them were, the next `in_doubt` may have
//! been. Nothing is ever sent a second time unasked; what to do about the doubtful ones only the application knows, and it says
//! hello again.
//!
//! ```
//! use memring::{Bytes, Connector, Listener};
//! use memring::supervised::Failed;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = std::env::temp_dir().join(format!("memring-guide-{}", std::process::id()));
//! # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
//! # let path = directory.join("sock");
//! # let serving = path.clone();
//! # let server = std::thread::spawn(move || {
//! #     for _ in 0..2 {
//! #         let listener = Listener::bind(&serving).expect("binds");
//! #         let mut server = listener.accept().expect("accepts").open::<Bytes>().expect("opens");
//! #         server.recv().expect("the first job");
//! #     }
//! # });
//! let mut client = Connector::new().supervised::<Bytes>(&path)?;
//! let mut jobs = [b"first job", b"other job"].into_iter().cycle();
//! let lost = loop {
//!     match client.send(jobs.next().expect("there is always one")) {
//!         Ok(()) => {}
//!         Err(Failed::Lost(lost)) => break lost, // the server has ended
//!         Err(error) => return Err(error.into()),
//!     }
//! };
//! println!("{} jobs are done, {} may be", lost.delivery.received, lost.delivery.in_doubt);
//! client.send(b"first job")?; // connects anew, as soon as there is a server
//! # server.join().unwrap();
//! # std::fs::remove_dir(&directory)?;
//! # Ok(())
//! # }
//! ```
//!
//! Received means taken out of the lane; a server can die with a job in its hands. If that matters, let it answer.
//! [`Supervised`](crate::Supervised) says which errors are waited out and which are not, and how it goes into a hub.
//!
//! # Errors
//!
//! Each function has an error of its own, and all of them say what to do next. They are non-exhaustive;
//! conditions that pass (`Full`, `Empty`, `TimedOut`) are variants of their own, and everything that does not
//! pass is an [`End`](crate::End). `source()` leads to what lies behind; [`cause`](crate::cause) has the
//! types. In a program that speaks [`std::io::Error`], `?` converts:
//!
//! | | `io::ErrorKind` |
//! |---|---|
//! | `Full`, `Empty` | `WouldBlock` |
//! | `TimedOut`, at any call | `TimedOut` |
//! | `Closed` | `BrokenPipe` |
//! | `PeerDied` | `ConnectionReset` |
//! | `Fault` | `InvalidData` |
//! | a message that is too large, or carries more than the peer takes; a setting or an address that breaks a limit | `InvalidInput` |
//! | `FdsInFlight` | `ResourceBusy` |
//! | `FdsLost` | `Other` |
//! | nobody at the address | `NotFound`, `ConnectionRefused` |
//! | refused by the peer | `ConnectionRefused` |
//! | refused by our policy | `PermissionDenied` |
//! | the address is in use | `AddrInUse` |
//!
//! ```
//! use std::io;
//!
//! fn ask(path: &str) -> io::Result<Vec<u8>> {
//!     let mut channel = memring::connect::<memring::Bytes>(path)?;
//!     channel.send(b"?")?;
//!     Ok(channel.recv()?.to_vec())
//! }
//! assert_eq!(ask("/no/such/service").unwrap_err().kind(), io::ErrorKind::NotFound);
//! ```

pub mod attachments;
#[cfg(feature = "rpc")]
pub mod calls;
pub mod peers;
pub mod speed;
