//! Peers and processes: who is let in, how much each may hold, and what forks, sandboxes and trust change.
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
//! `memring-drainer` reads control sockets when nobody waits; up to four `memring-closer` close what a peer sent), and one
//! for each handshake under way. They sleep.
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
//! | descriptors in messages | `sendmsg`, and `ppoll` where the socket is full; `recvmsg`, and `getsockopt` unless Unix sockets are allowed; what closes or uses them |
//! | blobs | that; to take one `fcntl`, `fstat`, `fstatfs`, `mmap`, `munmap` and `close`; to make one much more: make them before, or elsewhere |
//! | calls | `futex` for threads that wait together; `getrandom` where an interface is opened, at either end; `geteuid` where a policy stands on one that is served |
//! | large messages | what the allocator needs: `mmap`, `munmap`, `mremap`, `mprotect`, `madvise`, `brk` |
//!
//! Put the filter on all threads (`SECCOMP_FILTER_FLAG_TSYNC`), or the library's own stay outside of it. No
//! more descriptors are needed, unless messages bring some, so `RLIMIT_NOFILE` may be 0. New sessions need much more: make them before.
//! `examples/sandboxed_decoder.rs` does all this around a decoder that is not to be trusted, and its host
//! replaces the child that a file has made crash, hang, lie or reach out; `examples/plugin_host.rs` does the same with calls.
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
//! # More channels in a session
//!
//! Either side may open [`Channels`](crate::Channels) beside the first, if both allowed it when the session began: of any protocol, with a name and
//! metadata, to be taken or declined. Each has lanes, back-pressure and an end of its own, and whoever asks is the client of its protocol.
//!
//! # Stuck, idle or dead
//!
//! A death ends the session by itself. A peer that is stopped, or caught in a loop, is seen by deadlines; and where those say too little, by its
//! [pulse](crate::Sender::pulse): a word that it [counts up](crate::Sender::beat) at each turn of its loop, and whether it waits for a message.
//!
//! # What it is doing
//!
//! A process shows its sessions at a socket beside its service:
//!
//! ```no_run
//! # fn main() -> Result<(), memring::BindError> {
//! let _serving = memring::observe::serve("/run/quotes/quotes.observe")?;
//! # Ok(())
//! # }
//! ```
//!
//! `memring top /run/quotes/quotes.observe` is the table of them, live: who each is with, how much passes, how full the lanes are, how often
//! this side sleeps. Prometheus reads the same socket (`/metrics`), or a file that [`write_file`](crate::observe::write_file)
//! keeps whole; anything else can be made of a [`snapshot`](crate::observe::snapshot). Only this uid and root may look. The
//! halves do nothing for it that they do not do anyway.
//!
//! How to read a table: a lane that stays full has a receiver which is slow, stopped, or not receiving at all. One that stays empty while its
//! sender sleeps little has a receiver that waits for work. Many sleeps for few messages are those of a session which waits for each
//! answer; [`Wait`](crate::Wait) or [batches](crate::guide#batches) change that.
//!
//! Logs: with the feature `tracing` a subscriber of the application's hears what is rare.
//!
//! | target | what | level |
//! |---|---|---|
//! | `memring::session` | opened, ended by either side | debug |
//! | | the peer died; no session came about where we connected | info |
//! | | the peer broke a rule, which is named | warn |
//! | `memring::listener` | somebody was turned away, and why | info |
//! | | somebody broke the handshake; no connections are taken for want of descriptors or memory | warn |
//! | `memring::wait` | a half begins to sleep in a system call, and is awake again | trace |
//!
//! No message has an event. Events come from threads of memring's too, so a subscriber should neither block nor panic.
