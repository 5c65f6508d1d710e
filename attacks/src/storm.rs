//! Threads that disturb without end: words that flip, wakes for nothing, bytes at random.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use crate::answer::Failure;

/// A thread that does one thing over and over, until it is dropped.
pub struct Storm {
    name: &'static str,
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Storm {
    /// Starts a thread that does `round` over and over; each says how many it counts for. Returns
    /// once it runs.
    pub fn start(
        name: &'static str,
        mut round: impl FnMut() -> u64 + Send + 'static,
    ) -> Result<Self, Failure> {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (its_stop, its_rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
        let (tell, runs) = std::sync::mpsc::channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _ = tell.send(());
            while !its_stop.load(Ordering::Relaxed) {
                its_rounds.fetch_add(round(), Ordering::Relaxed);
            }
        })?;
        runs.recv().map_err(Failure::usage)?;
        Ok(Self { name, stop, rounds, thread: Some(thread) })
    }

    /// What it does.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many rounds it made so far.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Ends it; says how many rounds it made.
    pub fn stop(mut self) -> u64 {
        self.end();
        self.rounds()
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.end();
    }
}

/// Numbers that look random: xorshift.
pub struct Numbers(u64);

impl Numbers {
    /// Begins with a seed that is not 0.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
