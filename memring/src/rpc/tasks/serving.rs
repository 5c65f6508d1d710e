//! Serving the calls of a session in tasks: each call is one, and runs beside the others.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use memring_ring::halves::Which;

use super::super::async_service::{TaskRequest, Work};
#[cfg(feature = "tokio")]
use super::super::background::sleep_until;
use super::super::service::Service;
use super::super::services::Handler;
use super::super::session::Link;
#[cfg(feature = "tokio")]
use super::super::shared::SLICE;
use super::super::shared::Shared;
use super::super::table::Job;
use super::super::waiter::Waiter;
use super::answering::{Answering, Errand};
use super::here::Here;
use crate::error::End;

/// What runs the peer's calls.
#[derive(Default)]
pub(super) struct Runs {
    /// Calls that run, one-way ones among them.
    running: Arc<AtomicU32>,
    /// Which runs them, unless the task that serves does.
    #[cfg(feature = "tokio")]
    runtime: Option<tokio::runtime::Handle>,
}

impl Link {
    /// Serves the peer's calls in this task, under any executor, until the session and what runs have ended; and how it
    /// did. Handlers of an asynchronous server run beside each other; others run in the task's thread, one at a time, which they
    /// should not keep for long. On a [`Hub`](crate::hub::Hub) it is [spawned](crate::hub::Hub::spawn).
    ///
    /// A handler of a stream that is no `async fn` waits in the thread for a reader that is slow: it gives its
    /// [`Replies`](super::super::Replies) to another thread. So does any handler that waits for its caller; the session goes on where
    /// it waits, and everything else in this thread waits with it. Answers and replies that carry descriptors or blobs wait for room
    /// in the thread too: to peers that are not trusted to read, they are served in threads, or by [`run_tokio`](Self::run_tokio) on
    /// several.
    ///
    /// # Panics
    ///
    /// If nothing is served: see [`serving`](Self::serving).
    pub async fn run_async(&self) -> End {
        self.shared.serve_in_tasks(Runs::default());
        let mut here = Here::new(&self.shared);
        poll_fn(|context| here.poll(context)).await
    }

    /// Serves the peer's calls in tasks of the runtime's that this is awaited in, until the session and what runs have ended; and how
    /// it did. Each call is a task and runs beside the others: handlers of an asynchronous server are awaited, and others run on
    /// threads that tokio keeps for what blocks. Answers and replies that carry descriptors or blobs wait for room in a thread of the
    /// runtime's.
    ///
    /// # Panics
    ///
    /// If nothing is served: see [`serving`](Self::serving). Outside of a runtime of tokio's, or in one without its I/O.
    #[cfg(feature = "tokio")]
    pub async fn run_tokio(&self) -> End {
        let shared = &self.shared;
        let runtime = Some(tokio::runtime::Handle::current());
        shared.serve_in_tasks(Runs { runtime, ..Runs::default() });
        shared.tasks.wake_driver();
        let mut sleep = None;
        let end = poll_fn(|context| {
            let end = shared.poll_end(&mut sleep, false, context);
            if end.is_pending() {
                // Again if the runtime has gone in which somebody read. Under tokio it takes no thread that could fail to start.
                let _ = shared.drive();
            }
            end
        });
        let end = end.await;
        // What was told before is done all the same, in the runtime, which may end when this does.
        shared.begin_jobs();
        while shared.has_jobs() || !shared.tasks.is_quiet() {
            sleep_until(std::time::Instant::now() + SLICE).await;
            shared.begin_jobs();
        }
        end
    }
}

impl Shared {
    fn serve_in_tasks(&self, runs: Runs) {
        assert!(self.services.get().is_some(), "nothing is served here");
        self.tasks.runs.get_or_init(|| runs);
    }

    /// How the session ended, or the task is woken when it does; and if it serves, when there is a call to be begun.
    pub(super) fn poll_end(
        &self,
        sleep: &mut Option<u64>,
        serves: bool,
        context: &Context<'_>,
    ) -> Poll<End> {
        let waiter = Waiter::Task(context.waker().clone());
        let mut table = self.table();
        let other = sleep.take().and_then(|number| table.woke(number));
        let polled = match table.end() {
            Some(end) => Poll::Ready(end.clone()),
            None => {
                *sleep = Some(table.sleeps(waiter, Which::NONE, serves));
                Poll::Pending
            }
        };
        drop(table);
        drop(other); // not under the lock: a waker may do anything
        polled
    }

    /// Begins calls that wait, as many as may run, if they are no task's that does so itself.
    pub(in super::super) fn begin_jobs(self: &Arc<Self>) {
        #[cfg(feature = "tokio")]
        if let Some(Runs { runtime: Some(runtime), .. }) = self.tasks.runs.get() {
            while let Some((job, counted)) = self.next_to_run() {
                let blocking = {
                    let runtime = runtime.clone();
                    move |errand: Errand, service: Arc<dyn Service>| async move {
                        runtime.spawn_blocking(move || errand.run(&service)).await.ok().flatten()
                    }
                };
                if let Some(work) = self.work(job, counted, blocking) {
                    runtime.spawn(work);
                }
            }
        }
    }

    /// The next call that may run now.
    pub(super) fn next_to_run(self: &Arc<Self>) -> Option<(Job, Counted)> {
        let runs = self.tasks.runs.get()?;
        if !self.has_jobs() {
            return None;
        }
        let job = {
            let mut table = self.table();
            // What is owed is never paid once the session is over.
            if self.owes() && table.end().is_none() {
                return None;
            }
            // ORDERING: Relaxed; a number. What ends counts that, and looks under this lock whether another waits.
            if runs.running.load(Ordering::Relaxed) >= self.most_running {
                return None;
            }
            self.next_job(&mut table)?
        };
        runs.running.fetch_add(1, Ordering::Relaxed);
        let counted = Counted { shared: Arc::clone(self), running: Arc::clone(&runs.running) };
        Some((job, counted))
    }

    /// What runs a call: `blocking` has a thread run it whose handler is no future.
    pub(super) fn work<F>(
        self: &Arc<Self>,
        job: Job,
        counted: Counted,
        blocking: impl FnOnce(Errand, Arc<dyn Service>) -> F,
    ) -> Option<Work>
    where
        F: Future<Output = Option<Answering>> + Send + 'static,
    {
        let place = job.packet.header.interface.into();
        match self.services.get()?.get(place)? {
            Handler::Task(service) => {
                let request = TaskRequest::of(self, job, service.interface(), true)?;
                let service = Arc::clone(service);
                Some(Box::pin(async move {
                    let _counted = counted;
                    request.run(service).await;
                }))
            }
            Handler::Thread(service) => {
                let answering = blocking(Errand::new(self, job), Arc::clone(service));
                Some(Box::pin(async move {
                    let _counted = counted;
                    if let Some(answer) = answering.await {
                        // If it cannot be told, the session is over.
                        let _ = answer.send().await;
                    }
                }))
            }
        }
    }
}

/// A call that runs.
pub(super) struct Counted {
    shared: Arc<Shared>,
    running: Arc<AtomicU32>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        // ORDERING: Release; pairs with the Acquire in `is_quiet`.
        self.running.fetch_sub(1, Ordering::Release);
        // Under the lock: see `next_to_run`.
        if !self.shared.is_forked() && self.shared.table().jobs() != 0 {
            self.shared.tasks.wake_driver();
        }
    }
}

impl Runs {
    pub(super) fn is_quiet(&self) -> bool {
        // ORDERING: Acquire; see the drop of `Counted`.
        self.running.load(Ordering::Acquire) == 0
    }
}
