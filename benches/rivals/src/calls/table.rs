//! What came of the calls, as a table.

use std::fmt::{self, Display};

use super::Threads;
use super::outcome::{Came, Group, Numbers, Outcome, Placement, Row};

impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, threads, turns, outstanding, .. } = self;
        let threads = match threads {
            Threads::One => "one thread",
            Threads::Many => "many threads",
        };
        writeln!(
            f,
            "{}, {} processors; Linux {}; {turns} turns; tokio with {threads}.",
            machine.processor, machine.processors, machine.kernel
        )?;
        writeln!(
            f,
            "p50 and p99 are of calls one at a time, in us; calls/s are with {outstanding} outstanding. \
             Medians of turns;\n\"to first\" is the ratio to the first row, the median of the ratios turn by turn."
        )?;
        let (near, far) = machine.pinned;
        for group in &self.groups {
            let place = match group.placement {
                Placement::Apart => format!("client on processor {near}, server on {far}"),
                Placement::Together => format!("both on processor {near}"),
                Placement::Free => "both wherever the kernel has them".to_owned(),
            };
            write!(f, "\n{place}{}\n{group}", across(group))?;
        }
        Ok(())
    }
}

/// A ratio, with the digits that count.
fn ratio(value: f64) -> String {
    match value {
        v if v < 0.0995 => format!("{v:.4}"),
        v if v < 9.95 => format!("{v:.2}"),
        v => format!("{v:.1}"),
    }
}

/// What a cache line took, and whether that can be relied on.
fn across(group: &Group) -> String {
    let Some(probe) = group.probe else { return String::new() };
    let moved = match probe.is_steady() {
        true => String::new(),
        false => format!(
            ". WARNING: from {:.0} to {:.0} ns half-way, each time: somebody moves the processors",
            probe.early, probe.late
        ),
    };
    format!("; a cache line takes {:.0} ns to get across{moved}", probe.nanos)
}

impl Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest = |cell: fn(&Row) -> &str| self.rows.iter().map(|row| cell(row).len()).max();
        let name = widest(|row| row.name).unwrap_or_default();
        let version = widest(|row| row.version).unwrap_or_default();
        writeln!(
            f,
            "  {:name$}  {:version$} {:>9} {:>9} {:>8} {:>10} {:>8}",
            "", "version", "p50", "p99", "to first", "calls/s", "to first"
        )?;
        for row in &self.rows {
            writeln!(f, "  {:name$}  {:version$} {row}", row.name, row.version)?;
        }
        Ok(())
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.came {
            Came::Through(numbers) => numbers.fmt(f),
            Came::Failed { failed } => write!(f, "failed: {failed}"),
        }
    }
}

impl Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9.2} {:>9.2} {:>8} {:>10.0} {:>8}",
            self.p50 / 1e3,
            self.p99 / 1e3,
            self.time_over_first.map_or_else(String::new, ratio),
            self.rate,
            self.rate_over_first.map_or_else(String::new, ratio),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::outcome::Turns;

    #[test]
    fn a_row_has_medians_and_ratios_of_turns_or_says_why_it_has_none() {
        let turns = |p50: [f64; 3], rate: [f64; 3]| Turns {
            p50: p50.into(),
            p99: p50.map(|p50| 10.0 * p50).into(),
            rate: rate.into(),
        };
        let first = turns([2e3, 9e3, 4e3], [1e6, 2e6, 3e6]);
        let other = turns([6e3, 9e3, 12e3], [1e4, 4e4, 3e4]);
        let row = |name, came| Row { name, version: "raw", came };
        let group = Group {
            placement: Placement::Free,
            probe: None,
            rows: vec![
                row("first", Came::Through(first.numbers(&first))),
                row("other", Came::Through(other.numbers(&first))),
                row("third", Came::Failed { failed: "no".to_owned() }),
            ],
        };
        let table = group.to_string();
        let lines: Vec<Vec<&str>> =
            table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines,
            [
                vec!["first", "raw", "4.00", "40.00", "1.00", "2000000", "1.00"],
                vec!["other", "raw", "9.00", "90.00", "3.00", "30000", "0.0100"],
                vec!["third", "raw", "failed:", "no"],
            ]
        );
    }
}
