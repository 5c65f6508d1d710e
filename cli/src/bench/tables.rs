//! What came of a bench, as tables for a terminal or for a page.

use std::fmt::Write as _;

use memring_benches::conductor::ATTEMPTS;
use memring_benches::link::Measure;
use memring_benches::machine::Machine;
use memring_benches::outcome::{
    Footprint, GoalOutcome, GroupOutcome, Outcome, Row, bytes_a_second,
};
use memring_benches::plan::FOOTPRINT;

use crate::failure::{Failure, one_line};
use crate::output::{self, Table, rate, time};

/// What the columns are.
const LEGEND: &str = "\
Times are a message's, or a round trip's: of the best turn, the median one, and one that nine of ten
were no slower than. p99 is of single round trips; cpu and switches are of both ends together.
\"memring over it\" is the time of memring's typed messages over this one's, the median of the rounds:
below 1 memring is quicker.
";

/// How tables are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    Text,
    Markdown,
    /// Not at all: somebody wants JSON.
    None,
}

impl Pages {
    pub(super) fn new(json: bool, markdown: bool) -> Self {
        match (json, markdown) {
            (true, _) => Self::None,
            (_, true) => Self::Markdown,
            _ => Self::Text,
        }
    }

    /// Says where it runs.
    pub(super) fn begin(self, machine: &Machine, rounds: usize) -> Result<(), Failure> {
        let (near, far) = machine.pinned;
        let text = format!(
            "{}, {} processors, the ends on {near} and {far}; Linux {}; {rounds} rounds.\n",
            machine.processor, machine.processors, machine.kernel
        );
        match self {
            Self::Text | Self::Markdown => output::print(&format!("{text}\n{LEGEND}")),
            Self::None => Ok(()),
        }
    }

    /// One group's table.
    pub(super) fn group(self, group: &GroupOutcome) -> Result<(), Failure> {
        let columns = columns(group.terms.measure);
        let mut table = Table::default();
        table.row(["", "version"].into_iter().chain(columns.iter().map(|(head, _)| *head)));
        let mut failed = String::new();
        for row in &group.rows {
            let (name, version) = (row.name.clone(), row.version.clone());
            if let Some(why) = &row.failed {
                let bullet = if self == Self::Markdown { "-" } else { " " };
                let _ = writeln!(failed, "{bullet} {name} {version} failed: {}", one_line(why));
            } else {
                let cells = columns.iter().map(|(_, cell)| cell(row, group));
                table.row([name, version].into_iter().chain(cells));
            }
        }
        self.print(&group.name, &across(group), &table, &failed)
    }

    /// The footprint and the goals.
    pub(super) fn end(self, outcome: &Outcome) -> Result<(), Failure> {
        if let Some(footprint) = &outcome.footprint {
            let about = format!("default lanes, the mean of {}", footprint.sessions);
            self.print(FOOTPRINT, &about, &footprint_table(footprint), "")?;
        }
        let known: Vec<_> = outcome.goals.iter().filter_map(goal).collect();
        if known.is_empty() {
            return Ok(());
        }
        let unknown = match outcome.goals.len() - known.len() {
            0 => String::new(),
            unknown => format!("  {unknown} more were not measured\n"),
        };
        let mut table = Table::default();
        table.row(["goal", "bound", "reached", ""]);
        for cells in known {
            table.row(cells);
        }
        self.print("goals", "", &table, &unknown)
    }

    fn print(self, title: &str, about: &str, table: &Table, more: &str) -> Result<(), Failure> {
        match self {
            Self::Text => {
                let colon = if about.is_empty() { "" } else { ": " };
                output::print(&format!("\n{title}{colon}{about}\n{table}{more}"))
            }
            Self::Markdown => {
                let mut text = format!("\n### {title}\n\n");
                let mut about = about.chars();
                if let Some(first) = about.next() {
                    text.extend(first.to_uppercase().chain(about));
                    text.push_str(".\n\n");
                }
                text.push_str(&table.markdown());
                if !more.is_empty() {
                    text.extend(["\n", more.trim_start()]);
                }
                output::print(&text)
            }
            Self::None => Ok(()),
        }
    }
}

type Column = (&'static str, fn(&Row, &GroupOutcome) -> String);

const BEST: Column = ("best", |row, _| time(row.best));
const MEDIAN: Column = ("median", |row, _| time(row.median));
const P90: Column = ("p90", |row, _| time(row.p90));
const P99: Column = ("p99", |row, _| {
    let p99 = row.distribution.iter().find(|(part, _)| *part == 0.99);
    p99.map_or_else(String::new, |(_, nanos)| time(*nanos as f64))
});
const MESSAGES: Column = ("messages", |row, _| rate(1e9 / row.median, ""));
const BYTES: Column =
    ("bytes", |row, group| rate(bytes_a_second(group.terms.size, row.median), "B"));
const CPU: Column = ("cpu", |row, _| time(row.cpu));
const SWITCHES: Column = ("switches", |row, _| match row.switches {
    few if few < 0.005 => "0".to_owned(),
    some => format!("{some:.2}"),
});
const OVER_IT: Column =
    ("memring over it", |row, _| row.ours_over_it.map_or_else(String::new, ratio));

fn columns(measure: Measure) -> &'static [Column] {
    match measure {
        Measure::RoundTrip => &[BEST, MEDIAN, P90, P99, CPU, SWITCHES, OVER_IT],
        Measure::OneWay => &[BEST, MEDIAN, P90, MESSAGES, BYTES, OVER_IT],
        Measure::SetUp => &[BEST, MEDIAN, P90, CPU, SWITCHES, OVER_IT],
        Measure::Idle => &[CPU, SWITCHES],
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
fn across(group: &GroupOutcome) -> String {
    let what = match group.terms.measure {
        Measure::Idle => "while waiting 200 ms for a message; ",
        Measure::SetUp => "connecting, handshake and close; ",
        _ => "",
    };
    let Some(probe) = group.probe else {
        return format!("{what}one processor");
    };
    let changed = match group.is_steady() {
        true => String::new(),
        false => format!(
            ". WARNING: from {} to {} half-way, each of {ATTEMPTS} times: somebody moves the processors",
            time(probe.early),
            time(probe.late)
        ),
    };
    format!("{what}a cache line takes {} to get across{changed}", time(probe.nanos))
}

fn footprint_table(footprint: &Footprint) -> Table {
    let mut table = Table::default();
    table.row(["of a session", ""]);
    table.row([
        "memory, both processes together".to_owned(),
        output::bytes(footprint.memory as u64),
    ]);
    for (side, fds) in [("connecting", footprint.near_fds), ("accepting", footprint.far_fds)] {
        table.row([format!("descriptors of the {side} process"), format!("{fds:.2}")]);
    }
    table
}

/// What is bound, by what, where it is, and whether that is within; nothing if it was not measured.
fn goal(goal: &GoalOutcome) -> Option<[String; 4]> {
    let (reached, met) = (goal.reached?, goal.is_met()?);
    let bound = if goal.at_most { "at most" } else { "at least" };
    let met = if met { "met" } else { "missed" };
    let what = format!("{}: {}", goal.group, goal.what);
    Some([what, format!("{bound} {}", goal.bound), ratio(reached), met.to_owned()])
}
