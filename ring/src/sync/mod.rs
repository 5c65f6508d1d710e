//! The one door to concurrency: atomics, fences, shared bytes, futexes and time come from here.
//!
//! `native` is the machine, `model` is loom. Both offer the same names, so that the code above this
//! door is the code that the models explore. Nothing else in the crate asks for `cfg(memring_loom)`
//! except to leave out what only a real machine has (segments, fork, the process-wide fence).

#[cfg(not(memring_loom))]
mod native;
#[cfg(not(memring_loom))]
pub(crate) use native::*;

#[cfg(memring_loom)]
pub mod model;
#[cfg(memring_loom)]
pub(crate) use model::*;
