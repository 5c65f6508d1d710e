//! Waiting for whichever of several receivers has something first.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Instant;

use memring_codec::Message;
use memring_ring::consumer::Consumer;
use memring_ring::select::{MOST, select};
use memring_ring::waitv_works;
use memring_transport::{Notifier, Session, wait_readable};

use crate::channel::Channel;
use crate::polled::Half;
use crate::receiver::Receiver;

/// A thread's wait for whichever of several receivers has something first, of any types and sessions.
///
/// It sleeps on all of them at once, without descriptors, up to 64 of them; more of them, or where the kernel lacks `futex_waitv`
/// (5.16), it waits for two descriptors each, which it keeps for the next wait. It is fair: whoever had something last comes
/// last in the next look.
///
/// ```
/// use memring::{Bytes, Select};
///
/// let (mut quotes, quoted) = memring::pair::<Bytes>()?;
/// let (_orders, ordered) = memring::pair::<Bytes>()?;
/// let (_, mut quoted) = quoted.split();
/// let (_, mut ordered) = ordered.split();
/// quotes.send(b"42")?;
///
/// let mut select = Select::new();
/// match select.wait(&mut [&mut ordered, &mut quoted], None)? {
///     Some(0) => println!("an order: {:?}", ordered.try_recv()?),
///     Some(_) => assert_eq!(&*quoted.try_recv()?, b"42"),
///     None => println!("nothing before the deadline"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Select {
    last: usize,
    /// For those that are waited for by descriptors, in their order.
    watched: Vec<Watched>,
}

/// One that is waited for by a descriptor.
struct Watched {
    epoll: OwnedFd,
    notifier: Arc<Notifier>,
    session: Weak<Session>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(session) = self.session.upgrade() {
            session.leave_loop();
        }
    }
}

impl Select {
    /// For waits to come.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until a `try_recv` of one of these would find something: a message, or an end; its place among them. `None` once
    /// the deadline has passed, if there is one.
    ///
    /// A message in parts may turn out not to be there in full, or given up: `try_recv` says `Empty` then, and the wait goes on
    /// with the next call. What belongs to another process, after a fork, always has an end to tell.
    ///
    /// # Errors
    ///
    /// Where it takes descriptors: what the kernel says of two more each.
    ///
    /// # Panics
    ///
    /// If there are none to wait for.
    pub fn wait(
        &mut self,
        receivers: &mut [&mut dyn Selectable],
        deadline: Option<Instant>,
    ) -> io::Result<Option<usize>> {
        assert!(!receivers.is_empty(), "a wait for nothing would never end");
        let found = if receivers.len() <= MOST && waitv_works() {
            self.watched.clear();
            let mut consumers: Vec<_> = receivers.iter_mut().map(|one| one.consumer()).collect();
            select(&mut consumers, self.last, deadline)
        } else {
            self.wait_by_descriptors(receivers, deadline)?
        };
        self.last = found.unwrap_or(self.last);
        Ok(found)
    }

    fn wait_by_descriptors(
        &mut self,
        receivers: &mut [&mut dyn Selectable],
        deadline: Option<Instant>,
    ) -> io::Result<Option<usize>> {
        let count = receivers.len();
        let after = self.last;
        let first = |receivers: &mut [&mut dyn Selectable]| {
            let mut places = (1..=count).map(|step| (after + step) % count);
            places.find(|at| receivers[*at].consumer().has_something())
        };
        loop {
            if let Some(found) = first(receivers) {
                return Ok(Some(found));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
            self.watch(receivers)?;
            let mut quiet = true;
            for (one, watched) in receivers.iter_mut().zip(&self.watched) {
                quiet &= one.session().begin_to_arm(&watched.notifier);
                one.consumer().ask_doorbell();
            }
            receivers.iter().for_each(|one| one.session().fence());
            if quiet && first(receivers).is_none() {
                let fds: Vec<_> = self.watched.iter().map(|one| one.epoll.as_fd()).collect();
                wait_readable(&fds, deadline)?;
            }
            receivers.iter_mut().for_each(|one| one.consumer().take_back_doorbell());
        }
    }

    /// Sees that each has its descriptor.
    fn watch(&mut self, receivers: &[&mut dyn Selectable]) -> io::Result<()> {
        self.watched.truncate(receivers.len());
        for (place, one) in receivers.iter().enumerate() {
            let session = one.session();
            if self.watched.get(place).is_some_and(|it| it.session.as_ptr() == Arc::as_ptr(session))
            {
                continue;
            }
            let (epoll, notifier) = session.notifier()?;
            let watched = Watched { epoll, notifier, session: Arc::downgrade(session) };
            match self.watched.get_mut(place) {
                Some(other) => *other = watched,
                None => self.watched.push(watched),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Select").field("last", &self.last).finish_non_exhaustive()
    }
}

/// What can be waited for with others: a [`Receiver`], or a [`Channel`]'s.
pub trait Selectable: Half + sealed::Sealed {}

impl<R: Message + ?Sized> Selectable for Receiver<R> {}
impl<S: Message + ?Sized, R: Message + ?Sized> Selectable for Channel<S, R> {}

mod sealed {
    use super::{Channel, Consumer, Message, Receiver};

    pub trait Sealed {
        fn consumer(&mut self) -> &mut Consumer;
    }

    impl<R: Message + ?Sized> Sealed for Receiver<R> {
        fn consumer(&mut self) -> &mut Consumer {
            self.consumer_mut()
        }
    }

    impl<S: Message + ?Sized, R: Message + ?Sized> Sealed for Channel<S, R> {
        fn consumer(&mut self) -> &mut Consumer {
            self.halves().1.consumer_mut()
        }
    }
}
