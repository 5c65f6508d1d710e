//! The drainer: one thread that reads control sockets when nobody waits who could.
//!
//! A receive can block where the kernel discards a descriptor that came with a packet, so neither the
//! watcher nor an accepting thread ever reads. The drainer starts on first need and sleeps otherwise.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use memring_ring::fork::PerProcess;

use crate::session::Session;
use crate::thread;

#[derive(Default)]
struct Drainer {
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    drain: VecDeque<Arc<Session>>,
    /// Whose notifiers are told when the time has come, since a doorbell may go missing.
    nudge: Vec<Weak<Session>>,
    nudge_at: Option<Instant>,
}

/// How long a wait for a doorbell lasts at most where fences fail.
const NUDGE: Duration = Duration::from_millis(10);

static DRAINER: PerProcess<Arc<Drainer>> = PerProcess::new();

/// There once a sandbox may forbid starting threads.
static SETTLED: PerProcess<()> = PerProcess::new();

/// Starts the thread now, for later it may be forbidden.
pub(crate) fn before_sandbox() {
    let _ = DRAINER.get_or_try_init(start);
    SETTLED.get_or_init(|| ());
}

/// Has the session's control socket read, soon.
pub(crate) fn submit(session: Arc<Session>) {
    // No thread can be had now? Better to read here, where it may block, than never.
    if let Err(session) = submit_elsewhere(session) {
        session.drain();
    }
}

/// As [`submit`], never in the calling thread, which may hold locks; the session comes back if no other can be had.
pub(crate) fn submit_elsewhere(session: Arc<Session>) -> Result<(), Arc<Session>> {
    let Some(drainer) = drainer() else { return Err(session) };
    // A session is here a few times at most: its watch is one-shot and armed again by the drain, and so are its word that
    // blobs have departed, and that it owes a doorbell; and loops that it is in are left once each.
    drainer.lock().drain.push_back(session);
    drainer.more.notify_one();
    Ok(())
}

/// Has the session's notifiers told soon: they may miss a doorbell.
pub(crate) fn nudge(session: &Arc<Session>) {
    let Some(drainer) = drainer() else { return session.tell_nudged() };
    let mut queue = drainer.lock();
    queue.nudge.push(Arc::downgrade(session));
    queue.nudge_at.get_or_insert_with(|| Instant::now() + NUDGE);
    drainer.more.notify_one();
}

/// The drainer, if one is there or can be had.
fn drainer() -> Option<&'static Arc<Drainer>> {
    match SETTLED.get() {
        Some(()) => DRAINER.get(),
        None => DRAINER.get_or_try_init(start).ok(),
    }
}

fn start() -> io::Result<Arc<Drainer>> {
    let drainer = Arc::new(Drainer::default());
    let body = Arc::clone(&drainer);
    thread::start_and_wait(c"memring-drainer", move || body.run())?;
    Ok(drainer)
}

impl Drainer {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut queue = self.lock();
        loop {
            let now = Instant::now();
            // Before whatever there is to drain, of which others may make more without end.
            if queue.nudge_at.is_some_and(|at| at <= now) {
                queue.nudge_at = None;
                let nudge = std::mem::take(&mut queue.nudge);
                drop(queue);
                nudge.iter().filter_map(Weak::upgrade).for_each(|session| session.tell_nudged());
                queue = self.lock();
            } else if let Some(session) = queue.drain.pop_front() {
                drop(queue);
                session.drain_as_asked();
                drop(session); // perhaps the last reference: not under the lock
                queue = self.lock();
            } else if let Some(at) = queue.nudge_at {
                let woken = self.more.wait_timeout(queue, at.saturating_duration_since(now));
                queue = woken.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
