//! What is told to `tracing` of waits, with that feature: each sleep, at trace level.
//!
//! A sleep is a system call anyway, so asking whether anybody listens costs nothing beside it. Without the feature, and in
//! models, nothing is left of this. Its target is `memring::wait`.

/// A half is about to sleep in a system call.
#[inline(always)]
pub(crate) fn sleeps(half: usize) {
    #[cfg(all(feature = "tracing", not(memring_loom)))]
    tracing::trace!(target: "memring::wait", half = name(half), "sleeps");
    let _ = half;
}

/// It is awake again: somebody woke it, or its time was up.
#[inline(always)]
pub(crate) fn woke(half: usize, woken: bool) {
    #[cfg(all(feature = "tracing", not(memring_loom)))]
    tracing::trace!(target: "memring::wait", half = name(half), woken, "awake");
    let _ = (half, woken);
}

#[cfg(all(feature = "tracing", not(memring_loom)))]
fn name(half: usize) -> &'static str {
    if half == crate::counters::TX { "sender" } else { "receiver" }
}
