//! One thread for thousands of sessions: an event loop without callbacks.
//!
//! What may be waited for together: channels of any protocols, listeners, timers, signals, any descriptor, and other threads. See
//! [`Hub`].

mod bell;
mod clock;
mod core;
mod key;
mod member;
mod place;
mod round;
mod seen;
mod watched;

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use memring_ring::Wait;
use memring_transport::signals::{self, number};
use rustix::event::epoll::EventFlags;

use crate::error::{AcceptFailed, End};
use crate::polled::NotPolled;
use crate::server::{Incoming, Listener};

use self::clock::Timer;
use self::core::{Core, Step};
use self::place::{Kind, Place};

pub use self::bell::Remote;
pub use self::key::Key;
pub use self::member::{Joins, Member};
pub use self::watched::{Interest, Watched};
pub use memring_transport::Paused;

/// A loop that waits for whatever happens first, and yields one event at a time.
///
/// An event names a [`Key`] and what is ready, and lends nothing: whoever gets it receives by himself, and may send on any
/// session while he holds the message. What is ready and was not taken is yielded again; of many that are busy each has its
/// turn.
///
/// What nobody takes so keeps the hub busy: who waits with an answer until there is room for it [pauses](Member::pause) its member.
///
/// Channels stay where they were made: [`add`](Self::add) gives them back as [`Member`]s, which are used as before. The
/// hub spins a little over those that were busy of late and arms the others, so that thousands of idle sessions cost
/// memory and two descriptors each, and no time. A message allocates nothing.
///
/// ```
/// # use std::error::Error;
/// use std::collections::HashMap;
/// use memring::hub::{Event, Hub};
/// use memring::{Bytes, Listener};
///
/// fn echo(listener: &Listener) -> Result<(), Box<dyn Error>> {
///     let mut hub = Hub::new()?;
///     hub.listen(listener)?;
///     let mut clients = HashMap::new();
///     loop {
///         match hub.wait(None)? {
///             Some(Event::Connected(_, incoming)) => {
///                 let Ok(client) = incoming.open::<Bytes>() else { continue };
///                 let client = hub.add(client)?;
///                 clients.insert(client.key(), client);
///             }
///             Some(Event::Readable(key)) => {
///                 let Some(client) = clients.get_mut(&key) else { continue };
///                 let (answers, questions) = client.halves();
///                 let Ok(question) = questions.try_recv() else { continue };
///                 if answers.try_send(&question).is_err() {
///                     clients.remove(&key); // it reads no answers
///                 }
///             }
///             Some(Event::Closed(key, _)) => drop(clients.remove(&key)),
///             Some(Event::Stopped(..)) => return Ok(()),
///             _ => {}
///         }
///     }
/// }
/// # let directory = std::env::temp_dir().join(format!("memring-hub-{}", std::process::id()));
/// # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
/// # let path = directory.join("sock");
/// # let listener = std::sync::Arc::new(Listener::bind(&path)?);
/// # let stopper = std::sync::Arc::clone(&listener);
/// # let client = std::thread::spawn(move || {
/// #     let mut client = memring::connect::<Bytes>(&path).expect("the server is there");
/// #     for n in 0..1000_u32 {
/// #         client.send(&n.to_le_bytes()).expect("sent");
/// #         assert_eq!(&*client.recv().expect("an answer"), n.to_le_bytes());
/// #     }
/// #     stopper.shut_down();
/// # });
/// # echo(&listener)?;
/// # client.join().unwrap();
/// # drop(listener);
/// # std::fs::remove_dir(&directory)?;
/// # Ok::<(), Box<dyn Error>>(())
/// ```
///
/// Wakers, subscribers and the like, which a wait may call, must not use this hub's members from there.
///
/// Hubs and their members stay in one thread. For more processors, have one each, all with a place at the same listener; other
/// threads wake one by its [`Remote`].
pub struct Hub {
    core: Rc<RefCell<Core>>,
}

/// What has happened. It names whom, by the key that adding it has given.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer asks this listener for a channel.
    Connected(Key, Box<Incoming>),
    /// A receive of this member's would find something. A message in parts may turn out not to be there in full.
    Readable(Key),
    /// Room may have come free for what [`Member::await_room`] waits for: try again.
    Room(Key),
    /// Nothing will come from this member's peer any more, and everything that has was received. Said once.
    ///
    /// If it [closed](End::Closed) in order, it may read still; otherwise the session is over.
    Closed(Key, End),
    /// The peer of this member asks for further channels: [`Channels::try_accept`](crate::Channels::try_accept) until that says
    /// `None`.
    Asked(Key),
    /// This timer's time has come. One that was for once has left.
    Timer(Key),
    /// This descriptor is ready. Until what it is ready for is done, it is again.
    Ready(Key, Readiness),
    /// A signal has come.
    Signal(Signal),
    /// A [`Remote`] woke the hub.
    Woken,
    /// This listener takes no connections for a while, because the process or the system lacks what they take. Said once, until
    /// it has taken one again.
    Paused(Key, Paused),
    /// This listener was shut down, or has failed: nobody will come. It is to be [removed](Hub::remove).
    Stopped(Key, AcceptFailed),
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// To be read, or it has ended.
    pub readable: bool,
    /// To be written to.
    pub writable: bool,
    /// The other end has gone, or the descriptor has an error to tell.
    pub hung_up: bool,
}

impl Readiness {
    fn of(flags: EventFlags) -> Self {
        let over = EventFlags::HUP | EventFlags::ERR;
        Self {
            readable: flags.intersects(EventFlags::IN | over | EventFlags::RDHUP),
            writable: flags.intersects(EventFlags::OUT | over),
            hung_up: flags.intersects(over | EventFlags::RDHUP),
        }
    }
}

/// A signal, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signal(pub i32);

impl Signal {
    /// To end.
    pub const TERM: Self = Self(number::SIGTERM);
    /// To end, from a keyboard.
    pub const INT: Self = Self(number::SIGINT);
    /// To end with a core, from a keyboard.
    pub const QUIT: Self = Self(number::SIGQUIT);
    /// The terminal has gone; for services, to read their configuration anew.
    pub const HUP: Self = Self(number::SIGHUP);
    /// A child has ended.
    pub const CHLD: Self = Self(number::SIGCHLD);
    /// The application's own.
    pub const USR1: Self = Self(number::SIGUSR1);
    /// The application's own.
    pub const USR2: Self = Self(number::SIGUSR2);
}

impl Hub {
    /// A hub with nothing to wait for: three descriptors.
    ///
    /// # Errors
    ///
    /// What the kernel says of them.
    pub fn new() -> io::Result<Self> {
        Ok(Self { core: Rc::new(RefCell::new(Core::new()?)) })
    }

    /// Waits for what happens first; `None` once the deadline has passed, if there is one. With one that has passed by now it
    /// looks and does not wait.
    ///
    /// # Errors
    ///
    /// In a forked child, where nothing of this belongs to it; what the kernel says of waiting.
    pub fn wait(&mut self, deadline: Option<Instant>) -> io::Result<Option<Event>> {
        let mut late = false;
        loop {
            let step = self.core.borrow_mut().wait(deadline)?;
            match step {
                Step::Event(event) => return Ok(Some(event)),
                Step::Late => return Ok(None),
                Step::Turn(key, task, waker) if late => {
                    // A task that is always awake makes nobody late for more than a turn.
                    self.core.borrow_mut().put_back(key, task);
                    waker.wake();
                    return Ok(None);
                }
                Step::Turn(key, mut task, waker) => {
                    match task.as_mut().poll(&mut Context::from_waker(&waker)) {
                        Poll::Pending => self.core.borrow_mut().put_back(key, task),
                        Poll::Ready(()) => {
                            self.core.borrow_mut().remove(key, Kind::Plain);
                        }
                    }
                    self.drop_gone();
                    late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
                }
            }
        }
    }

    /// Runs this in the hub's thread beside everything else: it has its turns in [`wait`](Self::wait), when it was woken. The
    /// application may use members of this hub there. It ends when it is ready, when its key is [removed](Self::remove), and with the
    /// hub.
    ///
    /// So a session of calls is served on a hub:
    ///
    /// ```
    /// # #[cfg(feature = "rpc")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use memring::hub::{Event, Hub};
    /// use memring::rpc::{Call, Calls, Link};
    ///
    /// #[memring::interface(name = "adder", version = "1")]
    /// trait Adder {
    ///     fn add(a: u64, b: u64) -> u64;
    /// }
    ///
    /// struct Adds;
    /// impl AdderServer for Adds {
    ///     fn add(&self, _: &Call<'_>, a: u64, b: u64) -> u64 {
    ///         a.wrapping_add(b)
    ///     }
    /// }
    ///
    /// let (server, client) = memring::pair::<Calls>()?;
    /// let mut hub = Hub::new()?;
    /// let remote = hub.remote();
    /// let link = Link::serving(server, [Adder::serve(Adds)]);
    /// hub.spawn(async move { drop(link.run_async().await) })?;
    /// let asks = std::thread::spawn(move || {
    ///     let adder: AdderClient = Link::over(client).open().expect("it is served");
    ///     assert_eq!(adder.add(1, 2).expect("an answer"), 3);
    ///     remote.wake();
    /// });
    /// // Beside whatever else the hub waits for.
    /// while !matches!(hub.wait(None)?, Some(Event::Woken)) {}
    /// # asks.join().unwrap();
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "rpc"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// In a forked child.
    pub fn spawn(&mut self, task: impl Future<Output = ()> + 'static) -> io::Result<Key> {
        self.core.borrow_mut().add_task(Box::pin(task))
    }

    /// How it waits, [adaptively](Wait::Adaptive) at first.
    pub fn set_wait_strategy(&mut self, wait: Wait) {
        self.core.borrow_mut().set_wait_strategy(wait);
    }

    /// Waits for this channel too, or for a receiver, and gives it back.
    ///
    /// # Errors
    ///
    /// [`NotPolled`], with what was to be added: in a forked child, and what the kernel says of one more in an epoll.
    pub fn add<H: Joins>(&mut self, half: H) -> Result<Member<H>, NotPolled<H>> {
        Member::new(&self.core, half)
    }

    /// Waits for peers at this listener too: [`Event::Connected`]. It may be in several hubs; whoever looks first has the peer.
    ///
    /// # Errors
    ///
    /// In a forked child; what the kernel says of two more descriptors.
    pub fn listen(&mut self, listener: &Listener) -> io::Result<Key> {
        self.core.borrow_mut().add(Place::Listener(listener.polled()?), None)
    }

    /// Waits for this descriptor too, [`Event::Ready`] while it is, and gives it back.
    ///
    /// # Errors
    ///
    /// In a forked child; what the kernel says: there are descriptors that are always ready, which it takes for an error
    /// (`PermissionDenied`).
    pub fn watch<F: AsFd>(&mut self, descriptor: F, interest: Interest) -> io::Result<Watched<F>> {
        Watched::new(&self.core, descriptor, interest)
    }

    /// One [`Event::Timer`], after so long.
    ///
    /// # Errors
    ///
    /// In a forked child.
    pub fn after(&mut self, delay: Duration) -> io::Result<Key> {
        self.at(after(delay))
    }

    /// One [`Event::Timer`], at this instant.
    ///
    /// # Errors
    ///
    /// In a forked child.
    pub fn at(&mut self, due: Instant) -> io::Result<Key> {
        self.core.borrow_mut().add_timer(Timer { due, every: None })
    }

    /// An [`Event::Timer`] after each such period. It keeps its beat: an event that comes late makes none after it late, and what
    /// was missed altogether is left out.
    ///
    /// # Errors
    ///
    /// In a forked child.
    ///
    /// # Panics
    ///
    /// If the period is zero.
    pub fn every(&mut self, period: Duration) -> io::Result<Key> {
        assert!(!period.is_zero(), "a period of no time has no end");
        let due = after(period);
        self.core.borrow_mut().add_timer(Timer { due, every: Some(period) })
    }

    /// Takes these signals as [events](Event::Signal), until the key is removed. They are blocked in this thread, and in those
    /// that it starts from now on; a thread that was there before is still interrupted by them, so this comes first in a program.
    ///
    /// ```
    /// use memring::hub::{Event, Hub, Signal};
    ///
    /// let mut hub = Hub::new()?;
    /// let key = hub.signals(&[Signal::TERM, Signal::HUP])?;
    /// # rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP)?;
    /// while let Some(event) = hub.wait(None)? {
    ///     match event {
    ///         Event::Signal(Signal::HUP) => break, // read the configuration anew
    ///         Event::Signal(Signal::TERM) => return Ok(()),
    ///         _ => {}
    ///     }
    /// }
    /// # assert!(hub.remove(key));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// In a forked child; `InvalidInput` for what is no signal, or cannot be blocked; `AlreadyExists` for one that this thread takes
    /// already; what the kernel says of one more descriptor.
    pub fn signals(&mut self, signals: &[Signal]) -> io::Result<Key> {
        let numbers: Vec<_> = signals.iter().map(|signal| signal.0).collect();
        let place = Place::Signals(signals::Signals::new(&numbers)?);
        self.core.borrow_mut().add(place, None)
    }

    /// Waits no more for the listener, the timer, the task or the signals of this key. Whether there was such. Members and watched
    /// descriptors leave when they are dropped, or made into what they were.
    pub fn remove(&mut self, key: Key) -> bool {
        let removed = self.core.borrow_mut().remove(key, Kind::Plain);
        self.drop_gone();
        removed
    }

    /// Drops tasks that were removed; they may use the hub's members as they end.
    fn drop_gone(&self) {
        let gone = self.core.borrow_mut().take_gone();
        drop(gone);
    }

    /// What wakes this hub from other threads.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote::new(&self.core.borrow().bell)
    }
}

/// The instant after so long. Who waits for longer than the clock goes waits for ever, or for ten years.
fn after(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or(now + Duration::from_secs(10 * 366 * 86_400))
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.core.borrow_mut().dissolve();
        self.drop_gone();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
