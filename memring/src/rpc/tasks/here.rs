//! Serving in one task: the driver and the calls that run are polled there, each when it was woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::super::async_service::Work;
use super::super::shared::Shared;
use super::super::worker;
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
    begun: bool,
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
        Self { shared: Arc::clone(shared), works: Vec::new(), task, sleep: None, begun: false }
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
        if !std::mem::replace(&mut self.begun, true) {
            match Driver::own(&self.shared) {
                Ok(Some(driver)) => self.add(Box::pin(driver)),
                Ok(None) => {}
                Err(_) => return Poll::Ready(End::Forked), // it fails nowhere else
            }
        }
        let end = self.shared.poll_end(&mut self.sleep, true, context);
        self.turn();
        while let Some((job, counted)) = self.shared.next_to_run() {
            let blocking = |shared, job, service| async move {
                worker::answer_job_later(&shared, &job, &service)
            };
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
            work.as_mut().poll(&mut Context::from_waker(&waker)).is_pending()
        });
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(number) = self.sleep.take() {
            let slept = self.shared.table().woke(number);
            drop(slept);
        }
    }
}
