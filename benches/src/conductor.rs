//! The conductor: opens all that a group compares, keeps it open, and gives turns.
//!
//! A turn takes some milliseconds; in each round everybody has one, the probe first, which is a raw cache line
//! between the same two processors. If the line's cost changed half-way, somebody moved the processors, and the
//! group is run again.

use std::path::{Path, PathBuf};

use crate::link::{Failed, Measure, Terms, Waiting};
use crate::outcome::{Footprint, GroupOutcome, Probe, Row};
use crate::pair::Pair;
use crate::plan::{Group, Who};
use crate::worker::Named;
use crate::{baselines, built_in, crowd, ours};

pub use crate::workers::list;

/// So often a group is run in all, if the placement changes.
pub const ATTEMPTS: usize = 3;
/// Rounds of those who wait for nothing.
const IDLE_ROUNDS: usize = 3;

/// Who measures, and where.
#[derive(Clone, Debug)]
pub struct Conductor {
    /// The program that is a worker for all that is [`built_in`].
    pub program: PathBuf,
    /// The program that is one for the rivals.
    pub rivals: Option<PathBuf>,
    /// The processors of the near and the far end. If they are one, there is no probe, and only groups whose ends
    /// share a processor make sense.
    pub processors: (usize, usize),
    /// Rounds in which everybody has a turn.
    pub rounds: usize,
}

/// Told how many rounds are done, now and then; an error of its own ends the measurement.
pub type Progress<'a> = &'a mut dyn FnMut(usize) -> Result<(), Failed>;

/// One of a group.
struct Entry {
    name: String,
    version: String,
    wait: Waiting,
    pair: Result<Pair, Failed>,
}

impl Conductor {
    /// How many rounds a group has.
    #[must_use]
    pub fn rounds(&self, group: &Group) -> usize {
        match group.terms.measure {
            Measure::Idle => IDLE_ROUNDS.min(self.rounds),
            _ => self.rounds,
        }
    }

    /// Measures a group. Call it on a thread that lasts: the workers die with it.
    ///
    /// # Errors
    ///
    /// If the probe does not work, or the rivals' program; what `progress` says. Who else fails has a row that
    /// says so.
    pub fn measure(&self, group: &Group, progress: Progress<'_>) -> Result<GroupOutcome, Failed> {
        let mut outcome = self.attempt(group, progress)?;
        for _ in 1..ATTEMPTS {
            if outcome.is_steady() {
                break;
            }
            outcome = self.attempt(group, progress)?;
        }
        Ok(outcome)
    }

    /// Measures what a session takes.
    ///
    /// # Errors
    ///
    /// If the sessions did not come about.
    pub fn footprint(&self) -> Result<Footprint, Failed> {
        crowd::measure(&self.program)
    }

    fn attempt(&self, group: &Group, progress: Progress<'_>) -> Result<GroupOutcome, Failed> {
        let mut line = self.probe(&group.terms)?;
        let mut entries = self.entries(group, progress)?;
        for round in 1..=self.rounds(group) {
            if let Some(line) = &mut line {
                line.turn()?;
            }
            for entry in &mut entries {
                if let Ok(pair) = &mut entry.pair
                    && let Err(error) = pair.turn()
                {
                    entry.pair = Err(error);
                }
            }
            progress(round)?;
        }
        let ours = entries.first().and_then(|entry| Some(entry.pair.as_ref().ok()?.rounds()));
        let ours = ours.unwrap_or_default().to_vec();
        Ok(GroupOutcome {
            name: group.name.clone(),
            terms: group.terms.clone(),
            probe: line.map(|line| Probe::of(line.rounds())),
            rows: entries.into_iter().map(|entry| entry.finish(&ours)).collect(),
        })
    }

    /// A raw cache line, across both processors even where the group shares one: it says where they are.
    fn probe(&self, terms: &Terms) -> Result<Option<Pair>, Failed> {
        if self.processors.0 == self.processors.1 {
            return Ok(None);
        }
        let terms = Terms {
            measure: Measure::RoundTrip,
            size: 8,
            wait: Waiting::Spin,
            together: false,
            ..terms.clone()
        };
        let line = Named::of(&baselines::ALL[0]);
        Pair::open(&self.program, &line, &terms, self.processors).map(Some)
    }

    /// Starts everybody who takes part, memring's typed messages first.
    fn entries(&self, group: &Group, progress: Progress<'_>) -> Result<Vec<Entry>, Failed> {
        let mut entries: Vec<Entry> = Vec::new();
        let further = group.more.iter().map(|(terms, who)| (terms, *who));
        for (terms, who) in std::iter::once((&group.terms, Who::All)).chain(further) {
            for (program, named) in self.able(terms)? {
                if who == Who::Ours && named.name != ours::ALL[0].name {
                    continue;
                }
                progress(0)?;
                let name = match entries.iter().any(|entry| entry.name == named.name) {
                    true => format!("{}, {}", named.name, terms.wait.name()),
                    false => named.name.clone(),
                };
                let pair = Pair::open(program, &named, terms, self.processors);
                entries.push(Entry { name, version: named.version, wait: terms.wait, pair });
            }
        }
        Ok(entries)
    }

    /// Who can be measured on these terms, and by which program.
    fn able(&self, terms: &Terms) -> Result<Vec<(&Path, Named)>, Failed> {
        let here = built_in().filter(|it| (it.can)(terms)).map(Named::of);
        let mut able: Vec<_> = here.map(|named| (self.program.as_path(), named)).collect();
        if let Some(rivals) = &self.rivals {
            able.extend(list(rivals, terms)?.into_iter().map(|named| (rivals.as_path(), named)));
        }
        Ok(able)
    }
}

impl Entry {
    fn finish(self, ours: &[f64]) -> Row {
        let Self { name, version, wait, pair } = self;
        let row = match pair {
            Ok(pair) => pair.finish(ours),
            Err(error) => Row { failed: Some(error.to_string()), ..Row::default() },
        };
        Row { name, version, wait, ..row }
    }
}
