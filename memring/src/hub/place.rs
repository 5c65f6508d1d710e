//! What can be behind a key of a hub.

use std::future::Future;
use std::pin::Pin;
use std::task::Waker;

use memring_transport::signals::Signals;

use super::Readiness;
use super::clock::Timer;
use super::seen::Seen;
use crate::polled::PolledListener;

pub(super) struct Slot {
    /// It is visited; the [round](super::round) says so.
    pub in_round: bool,
    pub place: Place,
}

impl Slot {
    pub(super) fn new(place: Place) -> Self {
        Self { in_round: false, place }
    }
}

/// What is behind a key.
pub(super) enum Place {
    Session(Seen),
    Listener(PolledListener),
    Timer(Timer),
    Descriptor(Readiness),
    Signals(Signals),
    /// And what wakes it; `None` while it has its turn.
    Task(Option<Task>, Waker),
}

impl Place {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Session(_) => Kind::Session,
            Self::Descriptor(_) => Kind::Watched,
            _ => Kind::Plain,
        }
    }
}

/// What runs in a hub.
pub(super) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Who takes it out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The member, which is used elsewhere afterwards, or closed.
    Session,
    /// The owner of the descriptor.
    Watched,
    /// Whoever has the key.
    Plain,
}
