//! Where it ran: what a number means nothing without.

use serde::{Deserialize, Serialize};

use crate::pin;

/// A machine, as far as it shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Processors that this process may run on.
    pub processors: usize,
    /// Those that the two ends ran on.
    pub pinned: (usize, usize),
    /// The kernel.
    pub kernel: String,
    /// Transparent huge pages for shared memory.
    pub shmem_huge: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this(pinned: (usize, usize)) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let named = |line: &str| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        };
        let chosen = |list: String| {
            list.split_once('[').and_then(|(_, rest)| Some(rest.split_once(']')?.0.to_owned()))
        };
        Self {
            processor: read("/proc/cpuinfo").lines().find_map(named).unwrap_or_default(),
            processors: pin::allowed().map_or(0, |processors| processors.len()),
            pinned,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            shmem_huge: chosen(read("/sys/kernel/mm/transparent_hugepage/shmem_enabled"))
                .unwrap_or_default(),
        }
    }
}
