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

    /// Whether both tell the same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Thread(one), Self::Thread(other)) => one.id() == other.id(),
            (Self::Task(one), Self::Task(other)) => one.will_wake(other),
            _ => false,
        }
    }

    /// Tells it. Never under a lock: a waker may do anything.
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}
