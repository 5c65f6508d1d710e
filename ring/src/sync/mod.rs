//! The one door to concurrency: atomics, fences, shared bytes, futexes and time come from here.
//!
//! `native` is the machine, `model` is loom, `scripted` the machine with a fuzzer for a peer. All offer the
//! same names, so that the code above this door is the code that is explored. Nothing else in the crate asks
//! for `cfg(memring_loom)` except to leave out what only a real machine has (segments, fork, the
//! process-wide fence), nor for `cfg(memring_scripted)` except to let the fuzzer in.

/// Where one of several sleeps: its shared word, unless it leaves that out, and its private one.
pub(crate) struct Bed<'a, R> {
    pub region: &'a R,
    pub offset: usize,
    pub seen: u32,
    /// Not in a model, where nobody is woken for nothing.
    #[cfg_attr(memring_loom, expect(dead_code))]
    pub shared: bool,
    pub private: &'a AtomicU32,
    pub private_seen: u32,
}

#[cfg(not(memring_loom))]
mod native;
#[cfg(not(any(memring_loom, memring_scripted)))]
pub(crate) use native::*;

#[cfg(any(memring_loom, memring_scripted))]
mod frame;

#[cfg(memring_loom)]
pub mod model;
#[cfg(memring_loom)]
pub(crate) use model::*;

#[cfg(memring_scripted)]
pub mod scripted;
#[cfg(memring_scripted)]
pub(crate) use scripted::*;
