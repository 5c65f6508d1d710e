//! Serving the calls of a session in tasks: each call is one, and runs beside the others.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use memring_ring::halves::Which;
use tokio::runtime::Handle;

use super::super::async_service::TaskRequest;
use super::super::sending::SmallPacket;
use super::super::services::Handler;
use super::super::session::Link;
use super::super::shared::Shared;
use super::super::table::Job;
use super::super::waiter::Waiter;
use super::super::worker;
use crate::error::End;

/// What runs the peer's calls.
pub(super) struct Runs {
    runtime: Handle,
    /// Calls that run, one-way ones among them.
    running: Arc<AtomicU32>,
}

impl Link {
    /// Serves the peer's calls in tasks of the runtime's that this is awaited in, until the session ends; and how it did. Each call
    /// is a task and runs beside the others: what [`XAsyncServer`](crate::interface) serves as it is, and other handlers on threads
    /// that tokio keeps for what blocks.
    ///
    /// # Panics
    ///
    /// If nothing is served: see [`serving`](Self::serving). Outside of a runtime of tokio's, or in one without its I/O.
    pub async fn run_tokio(&self) -> End {
        let shared = &self.shared;
        assert!(shared.services.get().is_some(), "nothing is served here");
        let running = Arc::default();
        let _ = shared.tasks.runs.set(Runs { runtime: Handle::current(), running });
        // Under tokio it takes no thread that could fail to start.
        let _ = shared.drive();
        shared.tasks.wake_driver();
        let mut sleep = None;
        poll_fn(|context| {
            let waiter = Waiter::Task(context.waker().clone());
            let mut table = shared.table();
            let other = sleep.take().and_then(|number| table.woke(number));
            let polled = match table.end() {
                Some(end) => Poll::Ready(end.clone()),
                None => {
                    sleep = Some(table.sleeps(waiter, Which::NONE, false));
                    Poll::Pending
                }
            };
            drop(table);
            drop(other); // not under the lock: a waker may do anything
            polled
        })
        .await
    }
}

impl Shared {
    /// Begins calls that wait, as many as may run.
    pub(super) fn begin_jobs(self: &Arc<Self>) {
        let Some(runs) = self.tasks.runs.get() else { return };
        // ORDERING: Relaxed; a number. What ends has the driver look again after it has counted.
        while runs.running.load(Ordering::Relaxed) < self.most_running && !self.owes() {
            let job = {
                let mut table = self.table();
                self.next_job(&mut table)
            };
            let Some(job) = job else { return };
            runs.begin(self, job);
        }
    }
}

/// A call that runs.
struct Counted {
    shared: Arc<Shared>,
    running: Arc<AtomicU32>,
}

impl Counted {
    fn new(shared: &Arc<Shared>, running: &Arc<AtomicU32>) -> Self {
        running.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared), running: Arc::clone(running) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // ORDERING: Release; pairs with the Acquire in `is_quiet`.
        self.running.fetch_sub(1, Ordering::Release);
        if self.shared.has_jobs() {
            self.shared.tasks.wake_driver();
        }
    }
}

impl Runs {
    pub(super) fn is_quiet(&self) -> bool {
        // ORDERING: Acquire; see the drop of `Counted`.
        self.running.load(Ordering::Acquire) == 0
    }

    fn begin(&self, shared: &Arc<Shared>, job: Job) {
        let header = job.packet.header;
        let handler =
            shared.services.get().and_then(|services| services.get(header.interface.into()));
        let Some(handler) = handler else { return }; // it was looked at when it was read
        let counted = Counted::new(shared, &self.running);
        match handler {
            Handler::Task(service) => {
                let Some(request) = TaskRequest::of(shared, job, service.interface(), true) else {
                    return;
                };
                let service = Arc::clone(service);
                self.runtime.spawn(async move {
                    let _counted = counted;
                    request.run(service).await;
                });
            }
            Handler::Thread(_) => {
                let shared = Arc::clone(shared);
                self.runtime.spawn_blocking(move || {
                    let _counted = counted;
                    let answer = RefCell::new(SmallPacket::default());
                    drop(worker::answer_job(&shared, &job, &answer));
                });
            }
        }
    }
}
