//! Tasks: what they share in a session, beside what threads share.
//!
//! A task cannot sleep with a half in its hands, so tasks have somebody who reads for them: a [`Driver`](driver::Driver), which is
//! a task itself. It files what comes as any reader does, and has what it was for woken. Between its turns the receiving half lies
//! here. A thread that waits takes it from here and reads for all, for the driver's turn may never come while it waits: it may be
//! the driver's own thread. It gets the half back after that.

pub(super) mod answering;
pub(super) mod departing;
pub(super) mod driver;
mod here;
mod serving;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use memring_ring::halves::Kept;

use super::error::CallError;
use super::shared::Shared;
use super::table::Table;
use super::waiter::Waiter;
use crate::error::End;

/// What tasks share.
#[derive(Default)]
pub(crate) struct Tasks {
    state: Mutex<State>,
    /// A driver is there, or on its way.
    driven: AtomicBool,
    /// The driver has the receiving half.
    reading: AtomicBool,
    /// The receiving half between the driver's turns, unless a thread has taken it.
    parked: Mutex<Option<Kept>>,
    /// Some stand in line.
    waiting: AtomicBool,
    /// What runs the peer's calls, if tasks do.
    runs: OnceLock<serving::Runs>,
}

#[derive(Default)]
struct State {
    /// Tasks that wait for room, the one that has waited longest first, and what wakes them.
    line: VecDeque<(u64, Option<Waker>)>,
    last: u64,
    /// What wakes the driver.
    driver: Option<Waker>,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is this one's turn to send, which may stand in line; otherwise it does from now on.
    fn is_turn(&self, place: &mut Option<u64>, context: &Context<'_>) -> bool {
        let mut state = self.lock();
        match (state.line.front(), *place) {
            (None, _) => true,
            (Some((first, _)), Some(place)) if *first == place => true,
            _ => {
                drop(state);
                self.stand_in_line(place, context);
                // Whoever was before it may have left meanwhile.
                state = self.lock();
                state.line.front().is_some_and(|(first, _)| Some(*first) == *place)
            }
        }
    }

    /// Whether a driver reads, which tells whoever waits for room.
    fn has_reader(&self) -> bool {
        // ORDERING: Relaxed; who reads from now on asks the next in line to look.
        self.reading.load(Ordering::Relaxed)
    }

    /// Whether tasks run the peer's calls.
    pub(super) fn serve(&self) -> bool {
        self.runs.get().is_some()
    }

    /// Whether no task runs a call.
    pub(super) fn is_quiet(&self) -> bool {
        self.runs.get().is_none_or(serving::Runs::is_quiet)
    }

    /// Whether somebody stands in line.
    pub(super) fn has_line(&self) -> bool {
        // ORDERING: Relaxed; who comes to stand there now might as well have come later.
        self.waiting.load(Ordering::Relaxed)
    }

    /// Stands in line, and is woken when it is its turn.
    fn stand_in_line(&self, place: &mut Option<u64>, context: &Context<'_>) {
        let waker = context.waker().clone();
        let mut state = self.lock();
        // ORDERING: Relaxed; whoever passes on the turn after this asks for the lock.
        self.waiting.store(true, Ordering::Relaxed);
        let found =
            place.and_then(|place| state.line.iter_mut().find(|(number, _)| *number == place));
        let other = match found {
            Some((_, slot)) => slot.replace(waker),
            None => {
                state.last += 1;
                let number = state.last;
                *place = Some(number);
                state.line.push_back((number, Some(waker)));
                None
            }
        };
        drop(state);
        drop(other); // not under the lock: a waker may do anything
    }

    /// Stands in line no more; the next has its turn.
    fn leave_line(&self, place: &mut Option<u64>) {
        let Some(place) = place.take() else { return };
        let mut state = self.lock();
        let at = state.line.iter().position(|(number, _)| *number == place);
        let left = at.and_then(|at| state.line.remove(at));
        self.waiting.store(!state.line.is_empty(), Ordering::Relaxed);
        drop(state);
        drop(left);
        self.next_in_line();
    }

    /// Has the first in line look again.
    pub(super) fn next_in_line(&self) {
        // ORDERING: Relaxed; who stands there looks himself, after that.
        if !self.waiting.load(Ordering::Relaxed) {
            return;
        }
        let first = self.lock().line.front_mut().and_then(|(_, waker)| waker.take());
        if let Some(waker) = first {
            waker.wake();
        }
    }

    /// Has all in line look again: the session is over.
    pub(super) fn wake_line(&self) {
        let all: Vec<_> =
            self.lock().line.iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        all.into_iter().for_each(Waker::wake);
        self.wake_driver();
    }

    /// Has the driver look again.
    pub(super) fn wake_driver(&self) {
        let driver = self.lock().driver.take();
        if let Some(waker) = driver {
            waker.wake();
        }
    }

    fn parked(&self) -> MutexGuard<'_, Option<Kept>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the driver has the receiving half, and is not reading.
    pub(super) fn is_parked(&self) -> bool {
        self.parked().is_some()
    }

    fn set_driver(&self, waker: Waker) {
        let other = self.lock().driver.replace(waker);
        drop(other);
    }
}

/// The session's last user has gone, and with him the driver goes.
impl Drop for Tasks {
    fn drop(&mut self) {
        self.wake_driver();
    }
}

impl Shared {
    /// What `ready` finds in the table, in a task; `waiter` says what is woken when there is something. `None` if it is not there and
    /// `now` it should be.
    pub(super) fn poll_filed<T>(
        self: &Arc<Self>,
        context: &Context<'_>,
        now: bool,
        ready: impl FnOnce(&mut Table) -> Option<T>,
        waiter: impl FnOnce(&mut Table, Waiter) -> Option<Waiter>,
    ) -> Poll<Result<Option<T>, CallError>> {
        if self.is_forked() {
            return Poll::Ready(Err(CallError::Ended(End::Forked)));
        }
        let this = Waiter::Task(context.waker().clone());
        let mut table = self.table();
        if let Some(found) = ready(&mut table) {
            return Poll::Ready(Ok(Some(found)));
        }
        if let Some(end) = table.end() {
            return Poll::Ready(Err(CallError::Ended(end.clone())));
        }
        if now {
            return Poll::Ready(Ok(None));
        }
        let other = waiter(&mut table, this);
        drop(table);
        drop(other); // not under the lock: a waker may do anything
        self.drive().map_err(|error| CallError::Thread(error.into()))?;
        Poll::Pending
    }
}
