//! The tally of all rounds, and the one line that it comes to.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use memring_ring::step::Step;

use super::plan::{Fate, Moment, Round};
use super::verdict::Outcome;
use super::wrong::{Kind, Wrong};

#[derive(Default)]
pub struct Tally {
    pub rounds: u64,
    kills: u64,
    stops: u64,
    /// Steps at which a victim was killed or stopped.
    steps: BTreeSet<&'static str>,
    wrongs: Vec<Kind>,
    reported: Vec<Duration>,
}

impl Tally {
    pub fn add(&mut self, round: &Round, outcome: &Result<Outcome, Wrong>) {
        self.rounds += 1;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(wrong) => return self.wrongs.push(wrong.kind),
        };
        self.reported.extend(outcome.reported);
        if !outcome.struck {
            return;
        }
        match round.fate {
            Fate::None => return,
            Fate::Kill(_) => self.kills += 1,
            Fate::Stop(_) => self.stops += 1,
        }
        if let Fate::Kill(Moment::At(step, _)) | Fate::Stop(Moment::At(step, _)) = round.fate {
            self.steps.insert(step.name());
        }
    }

    /// Steps at which no victim was killed or stopped yet.
    pub fn missing(&self) -> Vec<Step> {
        let those = Step::ALL.iter().filter(|step| !self.steps.contains(step.name()));
        those.copied().collect()
    }

    pub fn wrongs(&self) -> usize {
        self.wrongs.len()
    }

    fn count(&self, kind: Kind) -> usize {
        self.wrongs.iter().filter(|wrong| **wrong == kind).count()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reported = self.reported.clone();
        reported.sort();
        let median = reported.get(reported.len() / 2).copied().unwrap_or_default();
        let longest = reported.last().copied().unwrap_or_default();
        write!(
            f,
            "{} rounds, {} kills, {} stops, {} of {} steps; {} lost, {} torn, {} mixed up, {} leaked, \
             {} failed; {} deaths reported, {median:.1?} (median) to {longest:.1?} after the kill",
            self.rounds,
            self.kills,
            self.stops,
            self.steps.len(),
            Step::ALL.len(),
            self.count(Kind::Lost),
            self.count(Kind::Torn),
            self.count(Kind::Mixed),
            self.count(Kind::Leaked),
            self.count(Kind::Failed),
            reported.len(),
        )
    }
}
