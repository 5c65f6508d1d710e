//! Messaging between two processes on one host, measured side by side.
//!
//! Every [`Contender`] (memring, a rival, the bare machine) is driven by the same code through the same
//! [`Link`]; a [`conductor`] keeps their processes alive at once and gives them short turns, so that a
//! machine whose speed drifts drifts for all. What is quoted is the median of ratios of turns of one round.
//!
//! | module | its job |
//! |---|---|
//! | [`link`] | what is measured: a link, its terms, and whoever opens it |
//! | [`payload`] | every byte written by the sender, every byte read by the receiver |
//! | [`baselines`] | the bare machine: cache lines, futexes, memory, pipes and sockets |
//! | [`ours`] | memring itself |
//! | [`plan`] | what is compared with what |
//! | [`worker`] | a process that holds one end and does as told |
//! | [`workers`] | the same, as whoever started them sees them |
//! | `pair` | the two ends of a contender, and their turns |
//! | [`conductor`] | keeps all of a group open and gives turns |
//! | [`crowd`] | what a session takes, of many |
//! | [`outcome`] | what came of it |
//! | [`goals`] | what memring has set itself |
//!
//! `memring bench` shows it to people; the rivals are a program of their own, in `benches/rivals`.

pub mod baselines;
pub mod conductor;
pub mod crowd;
pub mod goals;
pub mod link;
pub mod machine;
pub mod ours;
pub mod outcome;
mod pair;
pub mod payload;
pub mod pin;
pub mod plan;
pub mod scratch;
mod shared;
mod usage;
pub mod worker;
pub mod workers;

pub use link::{Contender, Failed, Link};

/// All that comes with this library: memring first, then the bare machine.
pub fn built_in() -> impl Iterator<Item = &'static Contender> {
    ours::ALL.iter().chain(baselines::ALL)
}
