//! Who waits: a thread that sleeps, or a task that is not polled until then.

use std::task::Waker;
use std::thread::{self, Thread};

/// Who is to be told.
#[derive(Debug)]
pub(crate) enum Waiter {
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    /// The thread that asks.
    pub(crate) fn here() -> Self {
        Self::Thread(thread::current())
    }

    /// Tells it. Never under a lock: a waker may do anything.
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}
