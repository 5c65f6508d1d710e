//! What came of the calls: plain numbers, for the table and for JSON. Times are in nanoseconds.

use memring_benches::machine::Machine;
use memring_benches::outcome::{Probe, median, ratio};
use serde::Serialize;

use super::Threads;

/// All of a run.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Where it ran.
    pub machine: Machine,
    /// What ran the tasks of each process.
    pub threads: Threads,
    /// Turns that each had.
    pub turns: usize,
    /// Calls outstanding where there were many.
    pub outstanding: u64,
    /// By where the ends ran.
    pub groups: Vec<Group>,
}

/// What was compared in one interleaved run.
#[derive(Debug, Serialize)]
pub struct Group {
    /// Where the ends ran.
    pub placement: Placement,
    /// What a cache line took to get across, if there were two processors.
    pub probe: Option<Probe>,
    /// One for each contender.
    pub rows: Vec<Row>,
}

/// Where the ends run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The client on one processor, the server on another.
    Apart,
    /// Both on one.
    Together,
    /// Wherever the kernel has them.
    Free,
}

/// What came of a contender.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Who.
    pub name: &'static str,
    /// Which version.
    pub version: &'static str,
    /// How it went.
    #[serde(flatten)]
    pub came: Came,
}

/// The numbers, or why there are none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Came {
    /// It was measured.
    Through(Numbers),
    /// It was not.
    Failed {
        /// Why.
        failed: String,
    },
}

/// The numbers of a contender: medians of its turns.
#[derive(Debug, Serialize)]
pub struct Numbers {
    /// Half of the calls, one at a time, were answered within this.
    pub p50: f64,
    /// Nearly all.
    pub p99: f64,
    /// Calls a second, many outstanding.
    pub rate: f64,
    /// `p50` over that of the first contender: the median of the ratios turn by turn.
    pub time_over_first: Option<f64>,
    /// `rate` over that of the first contender, likewise.
    pub rate_over_first: Option<f64>,
}

/// What a contender's turns came to, turn by turn.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// The medians.
    pub p50: Vec<f64>,
    /// The 99th percentiles.
    pub p99: Vec<f64>,
    /// Calls a second.
    pub rate: Vec<f64>,
}

impl Turns {
    /// The numbers, beside those of the first contender.
    pub fn numbers(&self, first: &Self) -> Numbers {
        Numbers {
            p50: median(&self.p50),
            p99: median(&self.p99),
            rate: median(&self.rate),
            time_over_first: ratio(&self.p50, &first.p50),
            rate_over_first: ratio(&self.rate, &first.rate),
        }
    }
}
