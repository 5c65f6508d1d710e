//! The drainer: one thread that reads control sockets when nobody waits who could.
//!
//! A receive can block where the kernel discards a descriptor that came with a packet, so neither the
//! watcher nor an accepting thread ever reads. The drainer starts on first need and sleeps otherwise.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use memring_ring::fork::PerProcess;

use crate::session::Session;
use crate::thread;

#[derive(Default)]
struct Drainer {
    queue: Mutex<VecDeque<Arc<Session>>>,
    more: Condvar,
}

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
    let drainer = match SETTLED.get() {
        Some(()) => DRAINER.get(),
        None => DRAINER.get_or_try_init(start).ok(),
    };
    let Some(drainer) = drainer else { return Err(session) };
    // A session is here twice at most: its watch is one-shot and armed again by the drain, and so is its
    // word that blobs have departed.
    drainer.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(session);
    drainer.more.notify_one();
    Ok(())
}

fn start() -> io::Result<Arc<Drainer>> {
    let drainer = Arc::new(Drainer::default());
    let body = Arc::clone(&drainer);
    thread::start_and_wait(c"memring-drainer", move || body.run())?;
    Ok(drainer)
}

impl Drainer {
    fn run(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match queue.pop_front() {
                Some(session) => {
                    drop(queue);
                    session.drain_as_asked();
                    drop(session); // perhaps the last reference: not under the lock
                    queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                }
                None => queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
