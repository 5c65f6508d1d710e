//! What came of a measurement: plain numbers, for tables, pictures and JSON.

use serde::{Deserialize, Serialize};

use crate::link::{Terms, Waiting};
use crate::machine::Machine;

/// All of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Where it ran.
    pub machine: Machine,
    /// Rounds in which every entry of a group had its turn.
    pub rounds: usize,
    /// What was compared.
    pub groups: Vec<GroupOutcome>,
    /// What a session takes.
    pub footprint: Option<Footprint>,
    /// What memring has set itself, and where it is.
    pub goals: Vec<GoalOutcome>,
}

/// What was compared with what, in one interleaved run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupOutcome {
    /// As in [`crate::plan::Group::name`].
    pub name: String,
    /// What it was measured on, but for entries whose names say otherwise.
    pub terms: Terms,
    /// What a cache line took, if there were two processors.
    pub probe: Option<Probe>,
    /// One for each entry.
    pub rows: Vec<Row>,
}

impl GroupOutcome {
    /// Whether the placement stayed what it was, as far as is known.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.probe.is_none_or(Probe::is_steady)
    }
}

/// How long a cache line took to get from one processor to the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Nanoseconds: the median of the rounds.
    pub nanos: f64,
    /// The same in the first half of the rounds. If it differs much from the second, the placement changed
    /// half-way, and did so each time the group was run again.
    pub early: f64,
    /// The same in the second half.
    pub late: f64,
}

impl Probe {
    /// How much the placement may change during a group: more, and it is run again.
    pub const STEADY: f64 = 1.25;

    /// Of round trips, round by round.
    #[must_use]
    pub fn of(trips: &[f64]) -> Self {
        let (early, late) = trips.split_at(trips.len() / 2);
        Self { nanos: median(trips) / 2.0, early: median(early) / 2.0, late: median(late) / 2.0 }
    }

    /// Whether the placement stayed what it was.
    #[must_use]
    pub fn is_steady(self) -> bool {
        let Self { early, late, .. } = self;
        // Of a single round there is no first half.
        early == 0.0 || early.max(late) <= Self::STEADY * early.min(late)
    }
}

/// What came of one entry.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// Who, and how if there is more than one way.
    pub name: String,
    /// Which version.
    pub version: String,
    /// How its ends waited, as far as they could choose.
    pub wait: Waiting,
    /// Why there are no numbers.
    pub failed: Option<String>,
    /// Nanoseconds a message, or a round trip: the best turn, the median, and the 90th percentile of turns.
    pub best: f64,
    /// The median of turns.
    pub median: f64,
    /// Nine of ten turns were no slower.
    pub p90: f64,
    /// Our typed message over this: the median of the ratios round by round.
    pub ours_over_it: Option<f64>,
    /// Processor time a message of both ends, in nanoseconds.
    pub cpu: f64,
    /// Context switches a message, of both ends.
    pub switches: f64,
    /// Of single round trips: a part of them, and the nanoseconds within which they came back.
    pub distribution: Vec<(f64, u64)>,
    /// Nanoseconds a message, round by round.
    #[serde(skip)]
    pub rounds: Vec<f64>,
}

/// What a session takes, with lanes of the default size, between two processes of one user.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Footprint {
    /// Sessions that stood at once.
    pub sessions: usize,
    /// Bytes a session, both processes together, shared memory counted once.
    pub memory: f64,
    /// Descriptors a session, at the connecting side.
    pub near_fds: f64,
    /// Descriptors a session, at the accepting side.
    pub far_fds: f64,
}

/// What memring has set itself, and where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GoalOutcome {
    /// The name of the group, or of the footprint.
    pub group: String,
    /// What is compared, in words.
    pub what: String,
    /// The bound.
    pub bound: f64,
    /// Whether the bound is an upper one.
    pub at_most: bool,
    /// What is compared with the bound, if it was measured.
    pub reached: Option<f64>,
}

impl GoalOutcome {
    /// Whether it is reached, if it is known.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        let within = |it| if self.at_most { it <= self.bound } else { it >= self.bound };
        self.reached.map(within)
    }
}

/// The value at `part` of the sorted ones; zero of nothing.
#[must_use]
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = part * values.len().saturating_sub(1) as f64;
    values.get(at as usize).copied().unwrap_or_default()
}

/// The median; the lower one of two. Zero of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The median of the ratios round by round.
#[must_use]
pub fn ratio(over: &[f64], under: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = over.iter().zip(under).map(|(a, b)| a / b).collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}

/// What a message of these terms moves, in bytes a second, if it takes so many nanoseconds.
#[must_use]
pub fn bytes_a_second(size: usize, nanos: f64) -> f64 {
    size as f64 / nanos * 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_of_small_tables() {
        for (values, middle) in
            [(&[][..], 0.0), (&[3.0], 3.0), (&[3.0, 1.0], 1.0), (&[3.0, 1.0, 2.0], 2.0)]
        {
            assert_eq!(median(values), middle);
        }
        for (part, value) in [(0.0, 1.0), (0.9, 10.0), (0.99, 10.0), (1.0, 11.0)] {
            let values: Vec<f64> = (1..=11).rev().map(f64::from).collect();
            assert_eq!(quantile(&values, part), value, "{part}");
        }
        assert_eq!(ratio(&[4.0, 9.0, 5.0], &[2.0, 3.0, 1.0]), Some(3.0));
        assert_eq!(ratio(&[], &[1.0]), None);
    }

    #[test]
    fn a_group_is_steady_if_both_halves_are_alike_or_nothing_is_known() {
        for (halves, steady) in [
            (None, true),
            (Some((60.0, 70.0)), true),
            (Some((60.0, 80.0)), false),
            (Some((80.0, 60.0)), false),
            (Some((0.0, 60.0)), true), // a single round
        ] {
            let probe = halves.map(|(early, late)| Probe { nanos: early, early, late });
            let group = GroupOutcome {
                name: String::new(),
                terms: crate::plan::groups()[0].terms.clone(),
                probe,
                rows: Vec::new(),
            };
            assert_eq!(group.is_steady(), steady, "{halves:?}");
        }
    }
}
