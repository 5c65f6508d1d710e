//! What carries a message to another process and an answer back, and how it is timed.
//!
//! The bodies are written once, over [`Link`], so that whatever is compared does the same work: the
//! command's `demo` and the benches share this folder. Links are compared in rounds that alternate between
//! them, because a machine's speed drifts; what is quoted is the median of the rounds' ratios.
//!
//! It prints nothing.

pub mod line;
pub mod pin;
pub mod stream;
pub mod tick;

use std::error::Error;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Why a link failed.
pub type Failed = Box<dyn Error + Send + Sync>;

/// One end of something that carries a message to another process and an answer back.
pub trait Link {
    /// What it is called in a table.
    fn name(&self) -> &'static str;

    /// Sends message `number`, and takes the answer to it and no other.
    ///
    /// # Errors
    ///
    /// If the link broke, or the answer was to another message.
    fn call(&mut self, number: u64) -> Result<(), Failed>;

    /// Takes message `number` and answers it.
    ///
    /// # Errors
    ///
    /// If the link broke, or another message came.
    fn answer(&mut self, number: u64) -> Result<(), Failed>;

    /// Calls with these numbers, one after the other.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    fn call_each(&mut self, numbers: Range<u64>) -> Result<(), Failed> {
        for number in numbers {
            self.call(number)?;
        }
        Ok(())
    }

    /// The other end of [`call_each`](Self::call_each).
    ///
    /// # Errors
    ///
    /// As [`answer`](Self::answer).
    fn answer_each(&mut self, numbers: Range<u64>) -> Result<(), Failed> {
        for number in numbers {
            self.answer(number)?;
        }
        Ok(())
    }
}

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

/// The median; the lower one of two. Zero of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
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
    fn medians_and_ratios_of_small_tables() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[3.0, 1.0]), 1.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        let millis = |list: &[u64]| -> Vec<Duration> {
            list.iter().copied().map(Duration::from_millis).collect()
        };
        assert_eq!(ratios(&millis(&[4, 9]), &millis(&[2, 3])), [2.0, 3.0]);
        assert!(ratios(&[], &millis(&[1])).is_empty());
    }
}
