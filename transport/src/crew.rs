//! A crew: threads for short jobs that come in bursts.
//!
//! A job gets a thread that has just finished another, or a new one: it never waits for one that is busy. A thread
//! without a job lingers for a moment, because starting one costs as much as a quarter of a handshake does.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::thread;

/// How long a thread waits for another job.
const LINGER: Duration = Duration::from_millis(500);
/// Threads that wait at most.
const WAITING: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// See the module.
pub(crate) struct Crew {
    name: &'static CStr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dismissed: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Given to threads that wait, which have not taken them yet.
    jobs: VecDeque<Job>,
    /// Threads that wait.
    waiting: usize,
}

impl Crew {
    /// Nobody yet.
    pub(crate) fn new(name: &'static CStr) -> Self {
        Self { name, shared: Arc::default() }
    }

    /// Does the job on another thread, now.
    ///
    /// # Errors
    ///
    /// Those of [`thread::start`].
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.shared.lock();
        if state.waiting > state.jobs.len() {
            state.jobs.push_back(Box::new(job));
            drop(state);
            self.shared.changed.notify_one();
            return Ok(());
        }
        drop(state);
        let shared = Arc::clone(&self.shared);
        thread::start(self.name, move || {
            job();
            shared.serve();
        })
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // Without the lock, which somebody may hold in a forked child who is not there. Who misses it goes when it has
        // lingered.
        self.shared.dismissed.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_dismissed(&self) -> bool {
        self.dismissed.load(Ordering::Relaxed)
    }

    /// Does what comes, until nothing does for a while.
    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if self.is_dismissed() || state.waiting >= WAITING {
                return;
            }
            let until = Instant::now() + LINGER;
            state.waiting += 1;
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break Some(job);
                }
                let left = until.saturating_duration_since(Instant::now());
                if self.is_dismissed() || left.is_zero() {
                    break None;
                }
                state = self
                    .changed
                    .wait_timeout(state, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            };
            state.waiting -= 1;
            let Some(job) = job else { return };
            drop(state);
            job();
            state = self.lock();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn jobs_run_beside_each_other_and_threads_are_used_again() {
        let crew = Crew::new(c"crew-test");
        let (say, hear) = channel();
        // Each job waits for the other: they need a thread each.
        let (first, second) = (channel::<()>(), channel::<()>());
        let both = [(first.0, second.1), (second.0, first.1)];
        for (tell, wait) in both {
            let say = say.clone();
            crew.run(move || {
                tell.send(()).unwrap();
                wait.recv().unwrap();
                say.send(std::thread::current().id()).unwrap();
            })
            .unwrap();
        }
        let mut seen: HashSet<_> = hear.iter().take(2).collect();
        assert_eq!(seen.len(), 2);
        for _ in 0..20 {
            // Once a thread waits, as one does soon.
            let give_up = Instant::now() + Duration::from_secs(10);
            while crew.shared.lock().waiting == 0 && Instant::now() < give_up {
                std::thread::yield_now();
            }
            let say = say.clone();
            crew.run(move || say.send(std::thread::current().id()).unwrap()).unwrap();
            seen.insert(hear.recv().unwrap());
        }
        assert!(seen.len() < 22, "no thread was used again");
    }
}
