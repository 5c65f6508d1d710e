//! Comparing links by turns.
//!
//! A machine's speed drifts, so what is compared alternates, and what is quoted is the median of the ratios of
//! neighbouring turns.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::measure::{Failed, Link};

/// A link that takes part in a comparison, and how many timed calls are in one turn of it: a slow link
/// makes fewer, so that its turns take no longer than the others'.
pub struct Entry<'a> {
    /// The link.
    pub link: &'a mut dyn Link,
    /// Timed calls a turn.
    pub calls: u64,
}

impl Entry<'_> {
    /// Calls before those that are timed.
    fn warm(&self) -> u64 {
        self.calls / 8
    }

    /// The number of the first call of a turn, and those of its timed ones.
    fn turn(&self, round: u64) -> (Range<u64>, Range<u64>) {
        let from = round * (self.warm() + self.calls);
        let timed = from + self.warm();
        (from..timed, timed..timed + self.calls)
    }
}

/// Times the links by turns: one row a link, in it the mean time of a call for each round.
///
/// # Errors
///
/// As [`Link::call`].
pub fn call_by_turns(rounds: u64, entries: &mut [Entry<'_>]) -> Result<Vec<Vec<Duration>>, Failed> {
    let mut rows = vec![Vec::new(); entries.len()];
    for round in 0..rounds {
        for (entry, row) in entries.iter_mut().zip(&mut rows) {
            let (warm, timed) = entry.turn(round);
            entry.link.call_each(warm)?;
            let began = Instant::now();
            entry.link.call_each(timed)?;
            row.push(began.elapsed().div_f64(entry.calls as f64));
        }
    }
    Ok(rows)
}

/// The other process's part in [`call_by_turns`].
///
/// # Errors
///
/// As [`Link::answer`].
pub fn answer_by_turns(rounds: u64, entries: &mut [Entry<'_>]) -> Result<(), Failed> {
    for round in 0..rounds {
        for entry in &mut *entries {
            let (warm, timed) = entry.turn(round);
            entry.link.answer_each(warm.start..timed.end)?;
        }
    }
    Ok(())
}

/// How many times as long `row` took as `base`, round by round.
#[must_use]
pub fn ratios(row: &[Duration], base: &[Duration]) -> Vec<f64> {
    row.iter().zip(base).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let millis = |list: &[u64]| -> Vec<Duration> {
            list.iter().copied().map(Duration::from_millis).collect()
        };
        // Whole seconds, which a float holds exactly.
        assert_eq!(ratios(&millis(&[4000, 9000]), &millis(&[2000, 3000])), [2.0, 3.0]);
        assert!(ratios(&[], &millis(&[1])).is_empty());
    }
}
