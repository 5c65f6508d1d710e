//! Pinning this thread to a processor, and which there are.
//!
//! Latency depends on which two processors talk. A measurement that does not say measures the scheduler too.

use std::io;

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
    if !allowed()?.contains(&cpu) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "this process may not run on processor {cpu}: see `nproc` and /proc/self/status"
            ),
        ));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}
