//! Pinning this thread to a processor, and which there are.
//!
//! Latency depends on which two processors talk. A measurement that does not say measures the scheduler too.

use std::io;

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors this thread may run on.
///
/// # Errors
///
/// What the kernel says.
pub fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Keeps this thread, and the threads it starts later, on processor `cpu`.
///
/// # Errors
///
/// `InvalidInput` if this process may not run there.
pub fn pin(cpu: usize) -> io::Result<()> {
    let refused = |_| {
        let why = format!("this process may not run on processor {cpu}: see `taskset -p $$`");
        io::Error::new(io::ErrorKind::InvalidInput, why)
    };
    if cpu >= CpuSet::MAX_CPU {
        return Err(refused(Errno::INVAL));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(refused)
}

/// Does something on processor `cpu`, and then lets this thread run where it ran before.
///
/// # Errors
///
/// As [`pin`].
pub fn on<T>(cpu: usize, work: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    pin(cpu)?;
    let outcome = work();
    sched_setaffinity(None, &before)?;
    Ok(outcome)
}
