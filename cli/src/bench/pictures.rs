//! The pictures of a bench: which lines there are, and what they are called.
//!
//! Of a contender that was measured in more than one way, the best is drawn; memring's ways each have their line.

use std::fs;
use std::path::Path;

use memring_benches::baselines::VERSION as RAW;
use memring_benches::link::{Measure, Waiting};
use memring_benches::outcome::{GroupOutcome, Outcome, Row, bytes_a_second};
use memring_benches::plan;

use super::canvas::{Axis, Line, Picture, Style};
use crate::failure::{Failure, Status};
use crate::output::{self, rate, time};

/// The group whose single round trips are drawn.
const DISTRIBUTION: &str = "round trip 64 B";
/// The parts that are labelled.
const NINES: [(f64, &str); 7] = [
    (0.0, "0 %"),
    (0.5, "50 %"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (0.99999, "99.999 %"),
];
/// Our lines, and their names in a legend. Round trips of byte strings would lie upon those of typed messages.
const OURS: [&str; 6] = [
    "memring",
    "memring, adaptive",
    "memring, park",
    "memring, trust_peer",
    "memring, bytes",
    "memring, bytes, trust_peer",
];

/// Draws what was measured into files in this directory.
pub(super) fn draw(outcome: &Outcome, directory: &Path) -> Result<(), Failure> {
    let doing = |path: &Path| format!("writing {}", path.display());
    fs::create_dir_all(directory).map_err(|error| Failure::io(&doing(directory), &error))?;
    let families = Families::of(outcome);
    for (file, picture) in [
        ("round-trip.svg", round_trip(outcome, &families)),
        ("round-trip-distribution.svg", distribution(outcome, &families)),
        ("one-way-messages.svg", one_way_messages(outcome, &families)),
        ("one-way-bytes.svg", one_way_bytes(outcome, &families)),
    ] {
        if picture.lines.is_empty() {
            output::note(&format!("memring bench: nothing was measured of what {file} shows"));
            continue;
        }
        let path = directory.join(file);
        let svg = picture
            .svg()
            .map_err(|error| Failure::because(Status::Local, &*error).within(&doing(&path)))?;
        fs::write(&path, svg).map_err(|error| Failure::io(&doing(&path), &error))?;
    }
    Ok(())
}

fn round_trip(outcome: &Outcome, families: &Families) -> Picture {
    let lines = families.by_size(outcome, Measure::RoundTrip, &OURS[..3], |_, nanos| nanos);
    Picture {
        title: "Round trip by size of the message",
        about: format!(
            "median of turns, lower is better; dashed: the ends sleep. {}",
            place(outcome)
        ),
        x: sizes(&lines),
        y: Axis::up("there and back", &lines, time),
        lines,
    }
}

fn one_way_messages(outcome: &Outcome, families: &Families) -> Picture {
    let lines = families.by_size(outcome, Measure::OneWay, &OURS, |_, nanos| 1e9 / nanos);
    Picture {
        title: "Messages a second, one way, by size of the message",
        about: format!("median of turns, higher is better. {}", place(outcome)),
        x: sizes(&lines),
        y: Axis::up("messages a second", &lines, messages),
        lines,
    }
}

fn one_way_bytes(outcome: &Outcome, families: &Families) -> Picture {
    let lines = families.by_size(outcome, Measure::OneWay, &OURS, bytes_a_second);
    Picture {
        title: "Bytes a second, one way, by size of the message",
        about: format!("median of turns, higher is better. {}", place(outcome)),
        x: sizes(&lines),
        y: Axis::up("bytes a second", &lines, bytes),
        lines,
    }
}

/// Parts on a scale of nines: each step is a tenth of what was left.
fn distribution(outcome: &Outcome, families: &Families) -> Picture {
    let nines = |part: f64| -(1.0 - part).log10();
    let group = outcome.groups.iter().find(|group| group.name == DISTRIBUTION);
    let lines: Vec<Line> = families
        .rows(group, &OURS[..3])
        .into_iter()
        .map(|(label, style, row)| {
            let parts = row.distribution.iter().filter(|(part, _)| *part < 1.0);
            let points = parts.map(|(part, nanos)| (nines(*part), (*nanos as f64).log10()));
            Line { label, style, points: points.collect() }
        })
        .filter(|line| !line.points.is_empty())
        .collect();
    let ticks = NINES.map(|(part, label)| (nines(part), label.to_owned()));
    Picture {
        title: "Single round trips of 64 B",
        about: format!("lower is better; dashed: the ends sleep. {}", place(outcome)),
        x: Axis::across("part of the round trips", &lines, ticks),
        y: Axis::up("there and back within", &lines, time),
        lines,
    }
}

fn place(outcome: &Outcome) -> String {
    let machine = &outcome.machine;
    format!("{}, Linux {}", machine.processor, machine.kernel)
}

/// An axis with the sizes that are measured.
fn sizes(lines: &[Line]) -> Axis {
    let ticks = plan::SIZES.map(|size| ((size as f64).log10(), plan::bytes(size)));
    Axis::across("size of the message", lines, ticks)
}

fn messages(a_second: f64) -> String {
    rate(a_second, "")
}

fn bytes(a_second: f64) -> String {
    rate(a_second, "B")
}

/// All that a colour and a marker stand for: whoever is measured, in whatever way.
struct Families {
    raw: Vec<String>,
    rivals: Vec<String>,
}

impl Families {
    fn of(outcome: &Outcome) -> Self {
        let mut families = Self { raw: Vec::new(), rivals: Vec::new() };
        for row in outcome.groups.iter().flat_map(|group| &group.rows) {
            let all = match &*row.version {
                RAW => &mut families.raw,
                _ => &mut families.rivals,
            };
            let family = family(row).to_owned();
            if family != OURS[0] && !all.contains(&family) {
                all.push(family);
            }
        }
        families
    }

    fn style(&self, row: &Row) -> Style {
        let at = |all: &[String]| all.iter().position(|name| name == family(row));
        let sleeps = row.wait != Waiting::Spin;
        match (at(&self.raw), at(&self.rivals)) {
            (Some(index), _) => Style::raw(index, sleeps),
            (_, Some(index)) => Style::rival(index, sleeps),
            _ => Style::ours(OURS.iter().position(|name| *name == row.name).unwrap_or(0)),
        }
    }

    /// Whose lines are drawn: those of ours that are named, and the best of each other's.
    fn rows<'a>(
        &self,
        group: Option<&'a GroupOutcome>,
        ours: &[&str],
    ) -> Vec<(String, Style, &'a Row)> {
        let mut chosen: Vec<(String, Style, &Row)> = Vec::new();
        let rows = group.into_iter().flat_map(|group| &group.rows);
        for row in rows.filter(|row| row.failed.is_none()) {
            if family(row) == OURS[0] && !ours.contains(&&*row.name) {
                continue;
            }
            let label = label(row);
            match chosen.iter_mut().find(|(there, ..)| *there == label) {
                Some((.., there)) if there.median <= row.median => {}
                Some((.., there)) => *there = row,
                None => chosen.push((label, self.style(row), row)),
            }
        }
        chosen
    }

    /// Lines over the sizes of the groups that measure this across two processors, without company.
    fn by_size(
        &self,
        outcome: &Outcome,
        measure: Measure,
        ours: &[&str],
        value: impl Fn(usize, f64) -> f64,
    ) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for group in &outcome.groups {
            let terms = &group.terms;
            if terms.measure != measure || terms.together || terms.batch != 1 {
                continue;
            }
            let x = (terms.size as f64).log10();
            for (label, style, row) in self.rows(Some(group), ours) {
                let point = (x, value(terms.size, row.median).log10());
                match lines.iter_mut().find(|line| line.label == label) {
                    // Some sizes are measured in lanes of two sizes: the first ones are the default.
                    Some(line) if line.points.iter().any(|there| there.0 == x) => {}
                    Some(line) => line.points.push(point),
                    None => lines.push(Line { label, style, points: vec![point] }),
                }
            }
        }
        lines
    }
}

/// Who it is, without how.
fn family(row: &Row) -> &str {
    match &*row.version {
        RAW => row.name.strip_suffix(", pause").unwrap_or(&row.name),
        _ => row.name.split(", ").next().unwrap_or(&row.name),
    }
}

/// What it is called in a legend: ours by name, others by family and, if they can choose, by how they wait.
fn label(row: &Row) -> String {
    let wait = row.wait.name();
    match family(row) {
        ours if ours == OURS[0] => row.name.clone(),
        family if row.name.ends_with(&format!(", {wait}")) => format!("{family}, {wait}"),
        family => family.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memring_benches::machine::Machine;

    fn row(name: &str, version: &str, wait: Waiting, median: f64) -> Row {
        let (name, version) = (name.to_owned(), version.to_owned());
        Row { name, version, wait, median, ..Row::default() }
    }

    /// The first group, of round trips of 8 B, with these rows.
    fn outcome(rows: Vec<Row>) -> Outcome {
        let plan::Group { name, terms, .. } = plan::groups().swap_remove(0);
        let group = GroupOutcome { name, terms, probe: None, rows };
        let machine = Machine::this((0, 1));
        Outcome { machine, rounds: 1, groups: vec![group], footprint: None, goals: Vec::new() }
    }

    #[test]
    fn of_others_the_best_way_is_drawn_and_of_ours_what_is_named() {
        let outcome = outcome(vec![
            row("memring", "1", Waiting::Spin, 1.0),
            row("memring, bytes", "1", Waiting::Spin, 1.0),
            row("memring, park", "1", Waiting::Park, 1.0),
            row("raw line", RAW, Waiting::Spin, 100.0),
            row("raw line, pause", RAW, Waiting::Spin, 10.0),
            row("memcpy, one process", RAW, Waiting::Spin, 1.0),
            row("rival", "2", Waiting::Spin, 10.0),
            row("rival, bytes", "2", Waiting::Spin, 100.0),
            row("rival, bytes, park", "2", Waiting::Park, 1000.0),
            row("rival, park", "2", Waiting::Park, 10_000.0),
            Row { failed: Some("why".into()), ..row("broken", "3", Waiting::Spin, 0.0) },
        ]);
        let picture = round_trip(&outcome, &Families::of(&outcome));
        let lines = picture.lines.iter().map(|line| (line.label.as_str(), line.points[0].1));
        assert_eq!(
            lines.collect::<Vec<_>>(),
            [
                ("memring", 0.0),
                ("memring, park", 0.0),
                ("raw line", 1.0),
                ("memcpy, one process", 0.0),
                ("rival", 1.0),
                ("rival, park", 3.0),
            ]
        );
        assert!(picture.svg().unwrap().contains("rival, park"));
    }

    #[test]
    fn nothing_is_drawn_of_what_was_not_measured() {
        let outcome = outcome(Vec::new());
        let families = Families::of(&outcome);
        for picture in [
            round_trip(&outcome, &families),
            distribution(&outcome, &families),
            one_way_messages(&outcome, &families),
            one_way_bytes(&outcome, &families),
        ] {
            assert!(picture.lines.is_empty());
        }
    }
}
