//! Serving in one task: the driver and the calls that run are polled there, each when it was woken.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use super::super::async_service::Work;
use super::super::background::Alarm;
use super::super::service::Service;
use super::super::shared::{SLICE, Shared};
use super::answering::Errand;
use super::driver::Driver;
use crate::error::End;

/// What serves a session in one task.
pub(super) struct Here {
    shared: Arc<Shared>,
    /// The driver, unless it is elsewhere; and the calls that run.
    works: Vec<(Work, Arc<Woken>)>,
    /// What wakes the task.
    task: Arc<Mutex<Waker>>,
    sleep: Option<u64>,
    /// For calls that are not begun while something is owed.
    soon: Option<Alarm>,
}

/// Whether one of them is to be polled.
struct Woken {
    is: AtomicBool,
    task: Arc<Mutex<Waker>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // ORDERING: Release; pairs with the Acquire in `poll`.
        if !self.is.swap(true, Ordering::Release) {
            let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
            task.wake();
        }
    }
}

impl Here {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let task = Arc::new(Mutex::new(Waker::noop().clone()));
        Self { shared: Arc::clone(shared), works: Vec::new(), task, sleep: None, soon: None }
    }

    fn add(&mut self, work: Work) {
        let woken = Woken { is: AtomicBool::new(true), task: Arc::clone(&self.task) };
        self.works.push((work, Arc::new(woken)));
    }

    /// Gives each that was woken a turn; ready once the session is over and nothing runs.
    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<End> {
        let waker = context.waker().clone();
        let other = std::mem::replace(
            &mut *self.task.lock().unwrap_or_else(PoisonError::into_inner),
            waker,
        );
        drop(other);
        let end = self.shared.poll_end(&mut self.sleep, true, context);
        if end.is_pending() {
            // Again if one that was elsewhere has gone: this was woken then.
            match Driver::own(&self.shared) {
                Ok(Some(driver)) => self.add(Box::pin(driver)),
                Ok(None) => {}
                Err(_) => return Poll::Ready(End::Forked), // it fails nowhere else
            }
        }
        self.turn();
        if self.shared.owes() && self.shared.has_jobs() {
            Alarm::set(&mut self.soon, Instant::now() + SLICE, context);
        }
        while let Some((job, counted)) = self.shared.next_to_run() {
            let blocking =
                |errand: Errand, service: Arc<dyn Service>| async move { errand.run(&service) };
            if let Some(work) = self.shared.work(job, counted, blocking) {
                self.add(work);
            }
        }
        // ORDERING: Acquire; see `wake`.
        if self.works.iter().any(|(_, woken)| woken.is.load(Ordering::Acquire)) {
            context.waker().wake_by_ref(); // others have their turn first
        }
        match end {
            Poll::Ready(end) if self.works.is_empty() => Poll::Ready(end),
            _ => Poll::Pending,
        }
    }

    fn turn(&mut self) {
        self.works.retain_mut(|(work, woken)| {
            // ORDERING: Acquire; see `wake`.
            if !woken.is.swap(false, Ordering::Acquire) {
                return true;
            }
            let waker = Waker::from(Arc::clone(woken));
            let turn = || work.as_mut().poll(&mut Context::from_waker(&waker));
            // What panics is over, and nobody else's turn with it.
            catch_unwind(AssertUnwindSafe(turn)).is_ok_and(|polled| polled.is_pending())
        });
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(number) = self.sleep.take()
            && !self.shared.is_forked()
        {
            let slept = self.shared.table().woke(number);
            drop(slept);
        }
    }
}
