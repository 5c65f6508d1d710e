//! The bell: how other threads have a hub look.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use rustix::event::{EventfdFlags, eventfd};

use super::key::Key;

/// What other threads leave for a hub, and a descriptor that is readable then.
pub(super) struct Bell {
    event: OwnedFd,
    told: Mutex<Vec<Key>>,
    woken: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self { event, told: Mutex::default(), woken: AtomicBool::new(false) }))
    }

    /// Wakes the hub, to look at this member.
    pub(super) fn teller(self: &Arc<Self>, key: Key) -> Waker {
        Waker::from(Arc::new(Teller { bell: Arc::clone(self), key }))
    }

    /// Those to look at, into `into`; whether the hub was woken for its own sake. The descriptor is quiet then.
    pub(super) fn answer(&self, into: &mut Vec<Key>) -> bool {
        // Before what it was rung for is taken: what comes after that rings again.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        into.append(&mut self.told());
        // ORDERING: Acquire; pairs with the Release in `wake`: what was done before it is seen by who is woken.
        self.woken.swap(false, Ordering::Acquire)
    }

    fn told(&self) -> MutexGuard<'_, Vec<Key>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // It holds a number far from its largest, so it takes another.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

struct Teller {
    bell: Arc<Bell>,
    key: Key,
}

impl Wake for Teller {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut told = self.bell.told();
        let first = told.is_empty();
        told.push(self.key);
        drop(told);
        if first {
            self.bell.ring();
        }
    }
}

/// Wakes a hub from other threads: its wait yields [`Event::Woken`](super::Event::Woken).
///
/// What it is to do then, they leave in a channel of the standard library's, or wherever they like. Several wakes before the hub
/// looks are one event.
#[derive(Clone)]
pub struct Remote {
    bell: Arc<Bell>,
}

impl Remote {
    pub(super) fn new(bell: &Arc<Bell>) -> Self {
        Self { bell: Arc::clone(bell) }
    }

    /// Wakes the hub. What this thread did before is seen by the hub's thread after the event.
    pub fn wake(&self) {
        // ORDERING: the Release pairs with the Acquire in `answer`.
        if !self.bell.woken.swap(true, Ordering::Release) {
            self.bell.ring();
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}
