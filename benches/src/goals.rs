//! What memring has set itself, and whether it is reached.

use crate::outcome::{Footprint, GoalOutcome, GroupOutcome, Row, ratio};
use crate::plan::FOOTPRINT;

/// A ratio that memring has set itself.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// The group's name.
    pub group: &'static str,
    /// Ours.
    pub ours: &'static str,
    /// What it is compared with: the best of these.
    pub over: &'static [&'static str],
    /// The bound of the ratio.
    pub bound: f64,
    /// Whether times are compared, and the bound is an upper one; else speeds, and a lower one.
    pub at_most: bool,
}

const LINE: &[&str] = &["raw line", "raw line, pause"];
const RING: &[&str] = &["raw ring", "raw ring, pause"];
const RTRB: &[&str] = &["rtrb", "rtrb, pause"];

const fn at_most(
    group: &'static str,
    ours: &'static str,
    over: &'static [&'static str],
    bound: f64,
) -> Goal {
    Goal { group, ours, over, bound, at_most: true }
}

const fn at_least(
    group: &'static str,
    ours: &'static str,
    over: &'static [&'static str],
    bound: f64,
) -> Goal {
    Goal { group, ours, over, bound, at_most: false }
}

/// The goals.
pub const GOALS: &[Goal] = &[
    at_most("round trip 8 B", "memring", LINE, 1.25),
    at_most("round trip 64 B", "memring", LINE, 1.6),
    at_most("round trip 8 B", "memring", RTRB, 1.15),
    at_most("round trip 64 B", "memring", RTRB, 0.95),
    at_most("round trip 64 B", "memring", &["iceoryx2"], 0.25),
    at_most("round trip 64 B", "memring", &["Aeron"], 0.8),
    at_most("round trip 64 B", "memring", &["shmem-ipc"], 0.85),
    at_most("round trip 64 B, one processor", "memring", &["raw futex"], 1.2),
    at_most("round trip 64 B, one processor", "memring", &["Unix stream"], 0.65),
    at_most("round trip 64 B", "memring, adaptive", &["memring"], 1.1),
    at_most("set-up, one processor", "memring", &["connect, accept, 6 packets"], 6.0),
    at_least("one way 64 B", "memring", RTRB, 1.5),
    at_least("one way 64 B", "memring", &["iceoryx2"], 20.0),
    at_least("one way 64 B", "memring", &["Aeron"], 4.0),
    at_least("one way 64 B", "memring", &["ipc-channel", "ipc-channel, bytes"], 100.0),
    at_least("one way 8 B, in batches", "memring", &["rtrb, chunks"], 1.0),
    at_least("one way 8 B, in batches", "memring", &["Unix stream"], 1.5),
    at_least("one way 1 KiB, bulk lanes", "memring", &["shmem-ipc"], 1.2),
    at_least("one way 64 KiB, bulk lanes", "memring, bytes", RING, 0.6),
    at_least("one way 1 MiB, large lanes", "memring, bytes", RING, 0.6),
    at_least("one way 64 KiB, bulk lanes", "memring, bytes, trust_peer", RING, 0.95),
    at_least("one way 1 MiB, large lanes", "memring, bytes, trust_peer", RING, 0.95),
];

/// KiB of memory that a session may take, both processes together.
const MEMORY: f64 = 600.0;
/// Descriptors that a session may take, at each side.
const FDS: f64 = 2.0;

/// Where memring is, goal by goal.
#[must_use]
pub fn judge(groups: &[GroupOutcome], footprint: Option<&Footprint>) -> Vec<GoalOutcome> {
    let of = |get: fn(&Footprint) -> f64| footprint.map(get);
    let footprint = [
        ("KiB of memory, both processes together", MEMORY, of(|it| it.memory / 1024.0)),
        ("descriptors, the connecting side", FDS, of(|it| it.near_fds)),
        ("descriptors, the accepting side", FDS, of(|it| it.far_fds)),
    ];
    let footprint = footprint.map(|(what, bound, reached)| GoalOutcome {
        group: FOOTPRINT.to_owned(),
        what: what.to_owned(),
        bound,
        at_most: true,
        reached,
    });
    GOALS.iter().map(|goal| goal.judge(groups)).chain(footprint).collect()
}

impl Goal {
    /// Takes the ratio out of what was measured.
    fn judge(&self, groups: &[GroupOutcome]) -> GoalOutcome {
        let rows = groups.iter().find(|group| group.name == self.group).map(|group| &group.rows);
        let named = |name: &str| -> Option<&Row> {
            rows?.iter().find(|row| row.name == name && row.failed.is_none())
        };
        let ours = named(self.ours);
        let over = self.over.iter().filter_map(|name| named(name));
        let over = over.min_by(|a, b| a.median.total_cmp(&b.median));
        let (kind, reached) = match self.at_most {
            true => ("time", ours.zip(over).and_then(|(a, b)| ratio(&a.rounds, &b.rounds))),
            false => ("speed", ours.zip(over).and_then(|(a, b)| ratio(&b.rounds, &a.rounds))),
        };
        let over = over.map_or(self.over[0], |row| &row.name);
        GoalOutcome {
            group: self.group.to_owned(),
            what: format!("{kind} of {} over that of {over}", self.ours),
            bound: self.bound,
            at_most: self.at_most,
            reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{built_in, plan};

    fn group(name: &str, rows: &[(&str, &[f64])]) -> GroupOutcome {
        let row = |(name, rounds): &(&str, &[f64])| Row {
            name: (*name).to_owned(),
            failed: rounds.is_empty().then(|| "no".to_owned()),
            median: crate::outcome::median(rounds),
            rounds: rounds.to_vec(),
            ..Row::default()
        };
        GroupOutcome {
            name: name.to_owned(),
            terms: plan::groups()[0].terms.clone(),
            probe: None,
            rows: rows.iter().map(row).collect(),
        }
    }

    #[test]
    fn a_goal_is_a_median_of_ratios_to_the_best_that_did_not_fail() {
        let goal = Goal { group: "g", ours: "we", over: &["a", "b"], bound: 1.0, at_most: true };
        let check = |at_most, rows: &[(&str, &[f64])], reached, met| {
            let outcome = Goal { at_most, ..goal }.judge(&[group("g", rows)]);
            assert_eq!((outcome.reached, outcome.is_met()), (reached, met), "{outcome:?}");
        };
        let we: (&str, &[f64]) = ("we", &[3.0, 8.0, 3.0]);
        check(true, &[we, ("a", &[2.0, 4.0, 6.0]), ("b", &[9.0; 3])], Some(1.5), Some(false));
        check(true, &[we, ("a", &[6.0; 3]), ("b", &[9.0; 3])], Some(0.5), Some(true));
        check(true, &[we, ("a", &[]), ("b", &[1.0; 3])], Some(3.0), Some(false));
        check(false, &[we, ("a", &[6.0; 3])], Some(2.0), Some(true));
        check(true, &[we, ("a", &[])], None, None);
        check(true, &[("we", &[]), ("a", &[1.0])], None, None);
        check(true, &[], None, None);
    }

    #[test]
    fn goals_are_of_groups_that_are_planned_and_of_names_that_are_known() {
        let groups = plan::groups();
        for goal in GOALS {
            let group = groups.iter().find(|group| group.name == goal.group);
            let group = group.unwrap_or_else(|| panic!("no group {}", goal.group));
            let can = |name: &str| {
                let mut all = built_in().filter(|it| it.name == name);
                all.all(|it| (it.can)(&group.terms))
            };
            assert!(can(goal.ours) && goal.over.iter().all(|name| can(name)), "{goal:?}");
        }
    }

    #[test]
    fn what_a_session_takes_is_judged_too_and_unknown_if_it_was_not_measured() {
        let footprint =
            Footprint { sessions: 1, memory: 700.0 * 1024.0, near_fds: 2.0, far_fds: 2.0 };
        let met = |footprint| -> Vec<_> {
            let outcomes = judge(&[], footprint);
            outcomes[GOALS.len()..].iter().map(GoalOutcome::is_met).collect()
        };
        assert_eq!(met(Some(&footprint)), [Some(false), Some(true), Some(true)]);
        assert_eq!(met(None), [None; 3]);
    }
}
