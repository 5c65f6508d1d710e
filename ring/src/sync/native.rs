//! The machine's own atomics, futexes and clock.

pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, Ordering, compiler_fence, fence,
};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
pub(crate) use std::time::Instant;

pub(crate) use crate::fork::{Generation, Word};
pub(crate) use crate::futex::{Sleep, sleep, sleep_any, wake, wake_private};
#[cfg(not(memring_scripted))]
pub(crate) use crate::memory::{Frame, FrameMut, WritableRegion};
pub(crate) use crate::memory::{Region, copy_fresh};

/// A word's reference, to be kept by whoever keeps its owner alive.
pub(crate) type WordRef = &'static AtomicU32;

/// The region as the lanes see it: here as it is.
pub(crate) fn region(real: Region) -> Region {
    real
}

/// The lane that this side writes, likewise.
#[cfg(not(memring_scripted))]
pub(crate) fn writable_region(real: Region) -> WritableRegion {
    WritableRegion::new(real)
}

/// Whether the named mutant is being run. Only models have mutants.
#[inline(always)]
pub(crate) const fn mutant(_name: &str) -> bool {
    false
}

/// The ordering, which the named mutant weakens to none. Only models have mutants.
#[inline(always)]
pub(crate) const fn order(_mutant: &str, order: Ordering) -> Ordering {
    order
}

/// Locks, whether or not a holder panicked: what these locks guard is good after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Tells the processor that this is a spin loop.
#[inline(always)]
pub(crate) fn pause() {
    std::hint::spin_loop();
}

/// Leaves the peer's memory alone for a microsecond.
#[cold]
pub(crate) fn moment() {
    let until = Instant::now() + std::time::Duration::from_micros(1);
    while Instant::now() < until {
        for _ in 0..4 {
            pause();
        }
    }
}

/// The cheap half of the asymmetric pair; see `fence`.
#[inline(always)]
pub(crate) fn light_fence() {
    // ORDERING: keeps program order in the compiler alone; the processor is ordered by the sleeper's
    // membarrier, see `fence`.
    compiler_fence(Ordering::SeqCst);
}

/// The dear half of the asymmetric pair: every running thread of every registered process passes a
/// full barrier before this returns true. False if the kernel refuses.
pub(crate) fn heavy_fence() -> bool {
    // The one mutant that only a machine can run; see `ci/stress-soak.sh`.
    #[allow(unexpected_cfgs, reason = "set by that script alone")]
    let mutant = cfg!(memring_stress_mutant);
    mutant || crate::fence::membarrier_all()
}

/// Drains our own store buffer.
#[inline(always)]
pub(crate) fn full_fence() {
    fence(Ordering::SeqCst);
}

/// The shortest time worth spinning for before a sleep: at least ten heavy fences, and about what waking
/// an idle processor costs. Zero where there is one processor, and the peer cannot run while we spin.
pub(crate) fn shortest_spin() -> std::time::Duration {
    const WAKE: std::time::Duration = std::time::Duration::from_micros(50);
    static ONLINE: crate::fork::PerProcess<usize> = crate::fork::PerProcess::new();
    if *ONLINE.get_or_init(online_processors) < 2 {
        return std::time::Duration::ZERO;
    }
    WAKE.max(10 * crate::fence::heavy_cost())
}

fn online_processors() -> usize {
    // Not what this thread may run on: two pinned peers on two processors still gain by spinning.
    std::fs::read_to_string("/sys/devices/system/cpu/online").map_or(1, |list| {
        list.trim()
            .split(',')
            .filter_map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1)
            })
            .sum()
    })
}
