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
//! 6. [File descriptors](#file-descriptors)
//! 7. [Blobs](#blobs)
//! 8. [How it ends](#how-it-ends)
//! 9. [Errors](#errors)
//! 10. [Who is at the other end](#who-is-at-the-other-end)
//! 11. [How to wait](#how-to-wait)
//! 12. [How large the lanes](#how-large-the-lanes)
//! 13. [Limits](#limits)
//! 14. [Threads, fork, exec](#threads-fork-exec)
//! 15. [Sandboxes](#sandboxes)
//! 16. [A peer that is trusted](#a-peer-that-is-trusted)
//! 17. [Faster](#faster)
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
//! There is no other versioning yet. To change a message, deploy both sides, or give the new protocol a name
//! of its own and let the server [speak both](#a-server-and-a-client).
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
//! # File descriptors
//!
//! A message may have open files, sockets or whatever else a descriptor stands for. Its type says so where it is
//! declared, with `attachments`, and so does every type in it that has any; rkyv's format, the usual one, is the only one that can. The
//! fields are [`Fd`](crate::Fd)s, in options, vectors and variants as other fields are.
//!
//! ```
//! use std::fs::File;
//! use std::io::Read;
//! use memring::Fd;
//!
//! #[memring::message(attachments)]
//! struct Job { name: String, input: Fd, log: Option<Fd> }
//!
//! struct Jobs;
//! impl memring::Protocol for Jobs {
//!     const NAME: &'static str = "jobs";
//!     type ToClient = Job;
//!     type ToServer = [u8];
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut server, mut client) = memring::pair::<Jobs>()?;
//! let input = File::open("/proc/self/cmdline")?;
//! // Sends it and closes this side's copy. If it cannot be sent, the message comes back with the error.
//! server
//!     .send_owned(Job { name: "count".into(), input: input.into(), log: None })
//!     .map_err(|(error, _job)| error)?;
//!
//! let job = client.recv()?;
//! let input = job.take_fd(&job.input).expect("nobody took it before");
//! assert!(job.log.is_none());
//! let mut bytes = Vec::new();
//! File::from(input).read_to_end(&mut bytes)?;
//! # assert!(!bytes.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! **What happens.** The descriptors go ahead of the message, over the socket, by one system call; the message follows in
//! the lane, and the receiver finds both or neither. Messages of such a type that carry nothing cost no call. In a batch one
//! that carries something goes by itself.
//!
//! **Who has them.** Sending duplicates: the sender's own stay open until it drops the message, which
//! [`send_owned`](crate::Sender::send_owned) does for it. At the receiver they belong to the message.
//! [`take_fd`](crate::View::take_fd) takes one out, once; [`take_value`](crate::View::take_value) takes them all out as a
//! value, whose [`Fd::into_owned`](crate::Fd::into_owned) gives the descriptor. What nobody took is closed when the view is
//! dropped, at the latest by the next receive. What is under way to a peer that dies is closed with its socket, by the kernel: a connection that was handed
//! to it ends, and nobody waits for it (`examples/hand_over.rs`).
//!
//! **Limits.** The receiving side says how many may be under way to it, sent and not yet received
//! ([`Connector::fds`](crate::Connector::fds), [`ListenerBuilder::fds`](crate::ListenerBuilder::fds)), 253 at most. So
//! many one message may carry. Whoever connects, or starts a child, takes 64 where its messages have some, for it chose its peer.
//! A listener takes none unless it says so: closing a descriptor that a stranger made may block. It is charged with
//! them to the client's quota, used or not.
//!
//! | what can go wrong | where | then |
//! |---|---|---|
//! | the other side takes none, and messages to it have some | `connect`, `open`: refused, and both are told | let it say `fds(n)` |
//! | [`TooManyFds`](crate::SendError::TooManyFds) | `send` | fewer in one message, or a higher limit |
//! | as many as the peer takes are under way | `send` waits, `try_send` says `Full` | as for any room |
//! | [`FdsInFlight`](crate::SendError::FdsInFlight) | `send` | this user has as many in flight, in all its processes, as `RLIMIT_NOFILE`; wait until some are received |
//! | [`Fds`](crate::SendError::Fds) | `send` | the kernel said no; a security module, for one |
//! | [`FdsLost`](crate::RecvError::FdsLost) | `recv` | no room in this process's table: that message is gone with its descriptors, and the channel goes on |
//!
//! **What it may be.** Anything that the peer could get hold of. Reading it may block, so may closing it; it may be
//! another file than you think. Set timeouts on sockets, and look at what it is before you rely on it. A Unix socket ends the
//! session, unless this side allowed them ([`unix_sockets`](crate::ListenerBuilder::unix_sockets)).
//!
//! Bytes have no fields: [`send_with_fds`](crate::Sender::send_with_fds) and
//! [`recv_with_fds`](crate::Receiver::recv_with_fds) have the descriptors beside them. A [`recv`](crate::Receiver::recv)
//! closes what came.
//!
//! # Blobs
//!
//! A [`Blob`](crate::blob::Blob) is memory that was written once and that the kernel lets nobody change any more. A
//! message carries it by name; every process that has it reads it where it lies, for as long as it likes.
//!
//! ```
//! use memring::blob::{Blob, BlobBuilder, Table};
//!
//! #[memring::message]
//! struct City { name: String, people: u64 }
//!
//! #[memring::message(attachments)]
//! struct Atlas { year: u32, cities: Blob<Table<City>> }
//!
//! struct Atlases;
//! impl memring::Protocol for Atlases {
//!     const NAME: &'static str = "atlases";
//!     type ToClient = Atlas;
//!     type ToServer = [u8];
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut cities = BlobBuilder::new().table()?;
//! for (name, people) in [("Ulm", 126_000), ("Lyon", 522_000)] {
//!     cities.push(&City { name: name.into(), people })?;
//! }
//! let cities = cities.seal()?;
//!
//! let (mut server, mut client) = memring::pair::<Atlases>()?;
//! for year in [2024, 2025] {
//!     server.send(&Atlas { year, cities: cities.clone() })?; // the second time it is a number
//! }
//! let atlas = client.recv()?;
//! let cities = atlas.blob(&atlas.cities)?;
//! drop(atlas); // the blob stays
//! let lyon = cities.get(1)?.expect("two of them");
//! assert!(lyon.name == "Lyon" && lyon.people == 522_000);
//! # Ok(())
//! # }
//! ```
//!
//! **What happens.** The first time a blob is sent on a session, its descriptor goes ahead of the message and the other side
//! maps it, after it has seen that nobody can write it. From then on messages name its number, and cost what any small message does. It
//! is forgotten when nobody at the sending side holds it any more, or when the receiving side keeps no more and it was
//! named the longest ago; then it is sent anew, if it is.
//!
//! **What is checked.** A value when it is first asked for, and once for all clones of a blob; of a table each value by
//! itself. So opening a gigabyte takes microseconds, and reading all of it as long as reading takes. A blob that is not
//! what its type says is a [`ReadError`](crate::blob::ReadError) of whoever reads it, and no fault of the session: look at it
//! before you answer for it.
//!
//! **Who has it.** Everybody who holds a clone, also when its maker has died. The memory is freed when the last process lets go. Sent on, it is the same memory.
//!
//! **Limits.** The receiving side says how many it keeps known, and how many bytes they may have together
//! ([`blobs`](crate::Connector::blobs)); the defaults are as for descriptors: 64 of 16 GiB for whoever connects, none for
//! listeners, at most 1024. Where they are used up, a send that brings a new one waits until one that was forgotten has been
//! received. [`SendError::Blobs`](crate::SendError::Blobs) means that the message alone names more than the other side keeps. The
//! memory is the maker's, and its cgroup's; what a receiver pays are a descriptor and a mapping each.
//!
//! **When.** Where it is sent to many, or again, or only looked into, or kept. Not in place of a message that is made for one
//! reader and read once: memory that is new has to be found, cleared and mapped, which costs more than two copies. From one process to another, until
//! all bytes were read there, on one machine (`docs/decisions/0093-when-a-blob-pays.md`), in microseconds:
//!
//! | bytes | `Lanes::Normal` | `Lanes::Bulk` | a new blob | the same again | the same, 4 KiB of it |
//! |---:|---:|---:|---:|---:|---:|
//! | 4 KiB | 26 - 32 | 17 - 22 | 129 - 168 | 13 - 18 | 9 - 14 |
//! | 64 KiB | 64 - 80 | 24 - 35 | 139 - 175 | 12 - 17 | 9 - 13 |
//! | 1 MiB | 440 - 630 | 270 - 430 | 830 - 1200 | 50 - 87 | 10 - 17 |
//! | 16 MiB | 9200 - 12,000 | 6500 - 9100 | 16,000 - 18,000 | 1400 - 2300 | 23 - 37 |
//! | 64 MiB | 36,000 - 48,000 | 25,000 - 34,000 | 66,000 - 73,000 | 7100 - 8500 | 34 - 48 |
//!
//! So from a MiB on a blob pays when it is sent three to five times, and at 64 KiB when it is sent about ten times. Or when there are four readers
//! and more: `examples/video.rs` sends new frames both ways and says so of your machine. `examples/shared_table.rs` has
//! one table in five processes. A command does it with a gigabyte: `memring demo cache`.
//!
//! # How it ends
//!
//! Each direction ends once, and says the same for ever after. Whatever had been sent before is received
//! first, also after a crash.
//!
//! | [`End`](crate::End) | means | do |
//! |---|---|---|
//! | `Closed` | the peer dropped that half, or returned, or panicked and unwound | finish |
//! | `PeerDied` | its process or its socket ended without a word: killed, `process::exit`, exec | connect anew |
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
//!
//! # Who is at the other end
//!
//! Before anything is read or sent, each side asks the kernel who the other is and asks its
//! [`Policy`](crate::Policy). The default admits processes of our own uid and nobody else, not even root.
//!
//! ```no_run
//! use memring::{Bytes, Connector, Listener, Policy};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A system service: root's clients, and members of one group.
//! let listener = Listener::builder()
//!     .mode(0o660)
//!     .group(985)
//!     .policy(Policy::same_uid().allow_uid(0).allow_gid(985))
//!     .bind("/run/quotes/quotes.sock")?;
//!
//! // Its client says whom it takes for the service: no other process gets to see a message.
//! let channel = Connector::new()
//!     .policy(Policy::nobody().allow_uid(991))
//!     .connect::<Bytes>("/run/quotes/quotes.sock")?;
//! # Ok(())
//! # }
//! ```
//!
//! A closure decides what lists cannot ([`Policy::check`](crate::Policy::check)). What [`Peer`](crate::Peer)
//! says is the kernel's word at the time of connecting, and nothing in it comes from the peer; what it says
//! of itself (`name`, `metadata`) is only a claim. A uid that has no number here is unknown, and matches no
//! list. The path of a peer's program is advice and no proof: a process can exec another after it has
//! connected.
//!
//! What a peer that was let in can do: end its session, and waste the memory of its own lanes. It cannot make
//! this process read or write out of bounds, panic, hang past a deadline, allocate past a limit or leak a
//! descriptor, and it cannot touch another session. That holds for peers of another uid and for sandboxed
//! ones. A hostile process of *our own* uid could attach a debugger; against that, nothing here helps.
//!
//! # How to wait
//!
//! [`Wait`](crate::Wait) is chosen for each half, and each side for itself.
//!
//! | | while there is nothing to do | wakes in | for |
//! |---|---|---|---|
//! | `Spin` | burns a processor | the time of a cache line | pairs with two processors to themselves |
//! | `Adaptive` | spins for a time learnt from recent waits, then sleeps | either | most programs; the default |
//! | `Park` | sleeps | a wake of the scheduler, 5 to 50 µs | what is mostly idle |
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use memring::{Bytes, Connector, Wait};
//!
//! let (mut server, client) = Connector::new().wait(Wait::Spin).pair::<Bytes>()?;
//! let (_, mut rx) = client.split();
//! rx.set_wait_strategy(Wait::Park); // this half only, and from now on
//! # server.send(b"x")?; rx.recv()?;
//! # Ok(())
//! # }
//! ```
//!
//! Nobody has to poll, and no wake is lost, whatever the two sides chose. A process that sleeps makes no
//! system call and takes no time. One that spins on the only processor there is stands in its peer's way.
//!
//! # How large the lanes
//!
//! The client wishes ([`Connector::lanes`](crate::Connector::lanes)), the server grants within its limits
//! ([`lanes_between`](crate::ListenerBuilder::lanes_between)). The size decides throughput, how much a burst
//! may hold before somebody waits, and memory: both lanes are there from the start. It does not decide
//! latency.
//!
//! | [`Lanes`](crate::Lanes) | each | for |
//! |---|---|---|
//! | `Small` | 16 KiB | thousands of sessions |
//! | `Normal` | 256 KiB | the default |
//! | `Bulk` | 4 MiB | large messages: past the second-level cache, reader and writer no longer share it |
//!
//! Choose so that a quarter of the lane holds your ordinary message. Larger ones work, in parts, with a copy
//! more. What is sent again, or to many, may be a [blob](#blobs).
//!
//! # Limits
//!
//! A listener limits what each uid, and all together, may hold; a client beyond it is told which limit. The
//! defaults suit a desktop.
//!
//! ```no_run
//! use memring::{Lanes, Limits, Listener};
//!
//! # fn main() -> Result<(), memring::BindError> {
//! let mut limits = Limits::default();
//! limits.sessions_per_uid = 8;
//! limits.bytes_per_uid = 16 << 20;
//! let listener = Listener::builder()
//!     .limits(limits)
//!     .lanes_between(Lanes::Small, Lanes::Normal)
//!     .largest_message(1 << 20)
//!     .bind("/run/app/app.sock")?;
//! # Ok(())
//! # }
//! ```
//!
//! A session takes two descriptors and four mappings at each end, and its lanes once for both. `LIMITS.md`
//! lists every limit, its default, and what happens at it.
//!
//! # Threads, fork, exec
//!
//! A half has one owner: it can be sent to another thread and not be shared. To send from many threads, open
//! a session for each, or put a queue of your own in front. [`Session`](crate::Session) is shared by both
//! halves, and any thread may [`close`](crate::Session::close) it under them. The peer then sees what it would see of a death;
//! to end in order, drop the halves.
//!
//! The library starts a thread or two of its own on first need (`memring-watcher` hears of deaths,
//! `memring-drainer` reads control sockets when nobody waits), and one for each handshake under way. They
//! sleep.
//!
//! After `fork`, the child has none of the sessions: every use is [`End::Forked`](crate::End::Forked),
//! dropping one there disturbs nobody, and it may connect anew. Memory of lanes is not even mapped there.
//! After `exec`, every descriptor is closed.
//!
//! # Sandboxes
//!
//! A process that means to lock itself in says so first, on each session. From then on the library starts no
//! thread and calls no `membarrier`; one that forbids `membarrier` without a word goes on too, at the price of
//! short sleeps until the peer knows:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (channel, _client) = memring::pair::<memring::Bytes>()?;
//! channel.session().before_sandbox();
//! // ... and now seccomp
//! # Ok(())
//! # }
//! ```
//!
//! What a session that stands needs from the kernel after that:
//!
//! | to | system calls |
//! |---|---|
//! | send, and receive what is there | none; `futex` to wake a peer that sleeps |
//! | sleep | `futex_waitv`, or `futex` where it answers `ENOSYS` or `EPERM`; `clock_gettime` where the vDSO has no clock |
//! | hear of deaths and notices (the library's threads) | `epoll_wait` or `epoll_pwait`, `epoll_ctl`, `recvmsg`, `sendmsg`, `futex` |
//! | end a session | `shutdown`, `close`, `munmap`, `epoll_ctl` |
//! | descriptors in messages | `sendmsg`; `recvmsg`; what closes or uses them |
//! | blobs | that; to take one `fcntl`, `fstat`, `fstatfs` and `mmap`; to make one much more: make them before, or elsewhere |
//! | large messages | what the allocator needs: `mmap`, `munmap`, `mremap`, `mprotect`, `madvise`, `brk` |
//!
//! Put the filter on all threads (`SECCOMP_FILTER_FLAG_TSYNC`), or the library's own stay outside of it. No
//! more descriptors are needed, unless messages bring some, so `RLIMIT_NOFILE` may be 0. New sessions need much more: make them before.
//! `examples/sandboxed_decoder.rs` does all this around a decoder that is not to be trusted, and its host
//! replaces the child that a file has made crash, hang, lie or reach out.
//!
//! A process registers for `membarrier` with its first session. From then on any local process can slow it
//! down by calling `membarrier` in a loop. Where that matters, or where processors are kept free of
//! interrupts, choose full fences before the first session. They cost the throughput of small messages, two
//! to four times, and nothing else.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! memring::choose_fence(memring::Fence::SeqCst)?;
//! # Ok(())
//! # }
//! ```
//!
//! # A peer that is trusted
//!
//! If both processes are one program, and one going wild would take the other with it anyway, the receiver
//! may read frames where they lie, without the copy. It matters for messages of many kilobytes.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (mut server, client) = memring::pair::<memring::Bytes>()?;
//! let (_, rx) = client.split();
//! // SAFETY: the sender is this program too, and changes nothing after it has sent it.
//! let mut rx = unsafe { rx.trust_peer() };
//! # server.send(b"in place")?;
//! assert_eq!(&*rx.recv()?, b"in place");
//! # Ok(())
//! # }
//! ```
//!
//! The promise is about the peer's behaviour, and it is unsafe for that: a peer that writes to a message
//! after it was checked makes safe code here misbehave. Checking itself is still done. A message is given
//! back to the lane by the next receive, so a receiver that keeps one blocks its sender sooner. Batches and
//! messages in parts are copied as ever.
//!
//! # Faster
//!
//! In the order in which it usually pays:
//!
//! 1. Build with `--release`: debug builds are many times slower.
//! 2. Look before you tune: [`Sender::stats`](crate::Sender::stats) and
//!    [`Receiver::stats`](crate::Receiver::stats) tell how often a half slept and woke the other. `memring ping`
//!    measures this machine.
//! 3. For latency, do not sleep: `Wait::Spin` on both sides, each pinned to a processor of its own, both in one cache
//!    domain. Waking a sleeper costs more than everything else together.
//! 4. For throughput of small messages, [batch](#batches): with `send_all` and `recv_each` if you can.
//! 5. For large messages, `Lanes::Bulk`, and keep a message below a quarter of the lane.
//! 6. Read the view. [`to_value`](crate::View::to_value) allocates; fields of a view do not.
//! 7. Types without pointers (numbers, arrays, enums of them) need hardly any checking; each `String` and `Vec`
//!    adds a little. Structs of numbers and arrays that are `#[repr(C)]`, have no padding and no parameters are not encoded at all but
//!    copied. Most of the cost of a small message is the cache line that carries it.
//! 8. A receiver that waits for something other than memring, with room unpublished, can hold up its sender:
//!    [`release`](crate::Receiver::release) before it does.
