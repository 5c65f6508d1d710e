//! Notifiers: what an event loop, or a task, waits for instead of a futex.
//!
//! A notifier is told of everything that may end such a wait: a doorbell that somebody else read from the control
//! socket, and an end that does not show there. The loop's descriptor is an epoll of ours that holds the control
//! socket, the peer's pidfd, and an eventfd that never leaves this process; a task has a waker.
//!
//! Who arms ([`Session::begin_to_arm`], then the halves) reads the control socket himself, to its end. From then on
//! the watcher looks for hang-ups only, so that a doorbell wakes the loop and no thread of ours beside it. A thread that
//! goes to wait in a futex finds that it has to look, reads, and has the watcher look for everything again.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;

use rustix::event::{EventfdFlags, epoll, eventfd};

use super::{Drained, Session};
use crate::drainer;

/// One event loop, or one task, that waits for things of one session.
#[derive(Debug)]
pub struct Notifier {
    /// In a loop's epoll; a task has none.
    event: Option<OwnedFd>,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    /// The eventfd is readable.
    rung: bool,
    waker: Option<Waker>,
}

/// Everybody who is to be told.
#[derive(Debug, Default)]
pub(super) struct Notifiers(Mutex<Vec<Weak<Notifier>>>);

/// What becomes readable when one has to look: the eventfd, the control socket, the peer's pidfd.
fn epoll_of(event: &OwnedFd, session: &Session) -> io::Result<OwnedFd> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let data = epoll::EventData::new_u64(0); // nobody asks which it was
    epoll::add(&epoll, event, data, epoll::EventFlags::IN)?;
    let ends_too = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
    epoll::add(&epoll, session.fd(), data, ends_too)?;
    if let Some(pidfd) = session.peer().watched_pidfd() {
        epoll::add(&epoll, &pidfd, data, epoll::EventFlags::IN)?;
    }
    Ok(epoll)
}

impl Notifier {
    /// Who is woken, until it was woken once.
    pub fn set_waker(&self, waker: &Waker) {
        let mut told = self.lock();
        match &mut told.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop has to look.
    fn tell(&self) {
        let mut told = self.lock();
        if let Some(event) = &self.event
            && !told.rung
        {
            // It holds one number, far from its largest, so it takes another.
            told.rung = rustix::io::write(event, &1_u64.to_ne_bytes()).is_ok();
        }
        let waker = told.waker.take();
        drop(told); // a waker may do anything
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The loop is about to look.
    fn hush(&self) {
        let mut told = self.lock();
        if let Some(event) = &self.event
            && told.rung
        {
            told.rung = rustix::io::read(event, &mut [0; 8]).is_err();
        }
    }
}

impl Notifiers {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Notifier>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, notifier: &Arc<Notifier>) {
        let mut list = self.lock();
        list.retain(|other| other.strong_count() != 0);
        list.push(Arc::downgrade(notifier));
    }

    /// Tells all but one, who knows.
    pub(super) fn tell(&self, but: Option<&Notifier>) {
        let list = self.lock();
        let all: Vec<_> = list.iter().filter_map(Weak::upgrade).collect();
        drop(list);
        for notifier in all {
            if !but.is_some_and(|but| std::ptr::eq(but, &*notifier)) {
                notifier.tell();
            }
        }
    }
}

impl Session {
    /// For an event loop: the descriptor becomes readable when it has to look.
    ///
    /// # Errors
    ///
    /// What the kernel says of two more descriptors.
    pub fn notifier(&self) -> io::Result<(OwnedFd, Arc<Notifier>)> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let epoll = epoll_of(&event, self)?;
        Ok((epoll, self.add_notifier(Some(event))))
    }

    /// For a task: it has a waker. The watcher and the drainer see to the control socket.
    pub fn task_notifier(&self) -> Arc<Notifier> {
        self.add_notifier(None)
    }

    fn add_notifier(&self, event: Option<OwnedFd>) -> Arc<Notifier> {
        let notifier = Arc::new(Notifier { event, told: Mutex::default() });
        self.notifiers.add(&notifier);
        notifier
    }

    /// What comes before halves ask for doorbells: reads the control socket. False if there is more to read than in one
    /// go, or an end to report: then nobody is to wait.
    #[must_use]
    pub fn begin_to_arm(&self, notifier: &Notifier) -> bool {
        if !self.generation.is_current() {
            return false;
        }
        notifier.hush();
        let drained = self.as_reader(Some(notifier), |reader| {
            self.life.take_attention();
            let drained = self.read(reader);
            if drained == Drained::Empty {
                self.settle(reader, notifier.event.is_none());
            }
            drained
        });
        if notifier.event.is_some() {
            // Threads that wait in a futex look for themselves from here on.
            self.life.trip();
        }
        drained == Drained::Empty
    }

    /// The heavy fence between asking for doorbells and looking. Where it fails, the notifier is told every now and then.
    pub fn fence(self: &Arc<Self>) {
        if !self.life.fence() && !self.nudged.swap(true, Ordering::AcqRel) {
            drainer::nudge(self);
        }
    }

    /// The time of a nudge has come.
    pub(crate) fn tell_nudged(&self) {
        self.nudged.store(false, Ordering::Release);
        self.tell();
    }

    /// Tells everybody who waits outside of futexes to look.
    pub(crate) fn tell(&self) {
        self.notifiers.tell(None);
    }
}
