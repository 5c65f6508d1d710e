//! Threads that answer calls of the peer's, and whether each has one in hand.
//!
//! A call's place is free before its answer is sent (see `running.rs`), for the peer may ask again as soon as it has that. Who
//! ends a session in order waits for the answer, too, which may have to wait for room.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// All of a session's.
#[derive(Default)]
pub(crate) struct Workers(Mutex<Vec<Weak<AtomicBool>>>);

/// One of them. It is none any more when this is dropped.
pub(crate) struct AtWork(Arc<AtomicBool>);

impl Workers {
    /// One more, which is busy.
    pub(crate) fn join(&self) -> AtWork {
        let busy = Arc::new(AtomicBool::new(true));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() != 0);
        all.push(Arc::downgrade(&busy));
        AtWork(busy)
    }

    /// Whether one has a call in hand: of those whose places were found free before, at least.
    pub(crate) fn any_is_busy(&self) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // ORDERING: Acquire; pairs with the Release in `set_busy`: the answer was sent.
        all.iter().any(|one| one.upgrade().is_some_and(|busy| busy.load(Ordering::Acquire)))
    }
}

impl AtWork {
    /// It begins with a call, or has sent what came of it.
    #[inline]
    pub(crate) fn set_busy(&self, busy: bool) {
        // ORDERING: Release; pairs with the Acquire in `any_is_busy`. That it is busy is seen by whoever finds the call's place
        // free after, which is a Release as well.
        self.0.store(busy, Ordering::Release);
    }
}
