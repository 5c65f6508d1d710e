//! Threads that libraries start for themselves.

use memring_benches::Failed;
use memring_benches::link::Terms;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Runs `start`, so that the threads it starts may run on any processor.
///
/// An end keeps to one processor, and so would they: a helper would take turns with the very end that waits for
/// it, where a user would give it a processor of its own. Ends that share a processor share it with their helpers.
pub fn start<T: Send>(
    terms: &Terms,
    start: impl FnOnce() -> Result<T, Failed> + Send,
) -> Result<T, Failed> {
    if terms.together {
        return start();
    }
    let roaming = || {
        let mut all = CpuSet::new();
        (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
        sched_setaffinity(None, &all)?;
        start()
    };
    std::thread::scope(|scope| scope.spawn(roaming).join().expect("nothing in it panics"))
}
