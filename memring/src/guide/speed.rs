//! Waiting, sizes and speed.
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
//! # Many receivers
//!
//! A thread that blocks may wait for several receivers at once: [`Select`](crate::Select) sleeps on all of them, and says which has something.
//!
//! # In an event loop
//!
//! A thread that waits for other things too does so in `poll`, `epoll`, io_uring, or a library over them, and those wait for
//! descriptors. [`polled`](crate::Channel::polled) makes one for a channel, or for half of one. Its
//! [contract](crate::Polled) has three steps: take what there is until there is nothing, `arm`, and wait only if that says
//! `Armed`.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use memring::{Arm, Bytes, TryRecvError};
//! use mio::{Events, Interest, Poll, Token, unix::SourceFd};
//! use std::os::fd::AsRawFd;
//!
//! let (mut server, client) = memring::pair::<Bytes>()?;
//! let mut client = client.polled()?;
//! let mut poll = Poll::new()?;
//! poll.registry().register(&mut SourceFd(&client.as_raw_fd()), Token(0), Interest::READABLE)?;
//! # server.send(b"stop")?;
//! let mut events = Events::with_capacity(8);
//! 'running: loop {
//!     match client.try_recv() {
//!         Ok(message) if *message == *b"stop" => break 'running,
//!         Ok(message) => println!("{} bytes", message.len()),
//!         Err(TryRecvError::Empty) => {
//!             if client.arm() == Arm::Armed {
//!                 poll.poll(&mut events, None)?;
//!             }
//!         }
//!         Err(error) => return Err(error.into()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Thousands of clients
//!
//! A server that has many clients takes a [`Hub`](crate::hub::Hub): one thread, one event at a time, and each event names whom it is about. It spins a
//! little over those that were busy of late; the others cost memory and two descriptors each.
//!
//! ```no_run
//! use memring::hub::{Event, Hub, Signal};
//! use memring::{Bytes, Listener};
//! use std::collections::HashMap;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut hub = Hub::new()?;
//! hub.signals(&[Signal::TERM])?; // first, before other threads start
//! let listener = Listener::bind("echo.sock")?;
//! hub.listen(&listener)?;
//! let statistics = hub.every(Duration::from_secs(10))?;
//! let mut clients = HashMap::new();
//! while let Some(event) = hub.wait(None)? {
//!     match event {
//!         Event::Connected(_, incoming) => {
//!             if let Ok(client) = incoming.open::<Bytes>() {
//!                 let client = hub.add(client)?;
//!                 clients.insert(client.key(), client);
//!             }
//!         }
//!         Event::Readable(key) => {
//!             if let Some(client) = clients.get_mut(&key) {
//!                 let (tx, rx) = client.halves();
//!                 let answered = rx.try_recv().map(|message| tx.try_send(&message));
//!                 drop(answered); // who reads no answers has none
//!             }
//!         }
//!         Event::Closed(key, end) => {
//!             println!("{key}: {end}");
//!             clients.remove(&key);
//!         }
//!         Event::Timer(key) if key == statistics => println!("{} clients", clients.len()),
//!         Event::Paused(_, why) => eprintln!("{why}"),
//!         Event::Signal(Signal::TERM) => break,
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Answer with `try_send`: a `send` that waits for one client's room keeps all the others waiting. Who has to wait for room says
//! [`await_room`](crate::hub::Member::await_room) and goes on at [`Event::Room`](crate::hub::Event::Room). Raise the
//! [limits](crate::guide::peers#limits): by default one uid has at most 1024 sessions, and the lanes should be small.
//!
//! For more processors, a hub in each of several threads, all with a place at the same listener.
//!
//! # In a task
//!
//! [`into_async`](crate::Channel::into_async) makes futures of the same calls, for any executor: memring's own threads wake them. With the feature
//! `tokio`, [`into_tokio`](crate::Channel::into_tokio) has tokio's reactor do that, which is faster. A future that is dropped
//! loses nothing, so `select!` and timeouts are safe.
//!
//! ```
//! # #[cfg(feature = "tokio")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use memring::Bytes;
//! use std::time::Duration;
//!
//! let (mut server, client) = memring::pair::<Bytes>()?;
//! let (mut tx, mut rx) = client.into_tokio()?.split()?; // a task each
//! let late = tokio::time::timeout(Duration::from_millis(1), rx.recv()).await;
//! assert!(late.is_err());
//! server.send(b"news")?;
//! assert_eq!(&*rx.recv().await?, b"news");
//! tx.send(b"thanks").await?;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
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
//! more. What is sent again, or to many, may be a [blob](crate::guide::attachments#blobs).
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
//! 4. For throughput of small messages, [batch](crate::guide#batches): with `send_all` and `recv_each` if you can.
//! 5. For large messages, `Lanes::Bulk`, and keep a message below a quarter of the lane.
//! 6. Read the view. [`to_value`](crate::View::to_value) allocates; fields of a view do not.
//! 7. Types without pointers (numbers, arrays, enums of them) need hardly any checking; each `String` and `Vec`
//!    adds a little. Structs of numbers and arrays that are `#[repr(C)]`, have no padding and no parameters are not encoded at all but
//!    copied. Most of the cost of a small message is the cache line that carries it.
//! 8. A receiver that waits for something other than memring, with room unpublished, can hold up its sender:
//!    [`release`](crate::Receiver::release) before it does.
