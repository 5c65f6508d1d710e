//! What goes with messages: open files and sockets, and memory that was written once.
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
