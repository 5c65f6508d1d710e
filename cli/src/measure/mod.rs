//! What the command and the benches measure with, compiled into both.
//!
//! The benches cannot be depended on, for they are not published; so what both need is here.
//!
//! It prints nothing.

pub mod line;
pub mod pin;

use std::error::Error;
use std::ops::Range;

/// Why a link failed.
pub type Failed = Box<dyn Error + Send + Sync>;

/// One end of something that carries a message to another process and an answer back.
pub trait Link {
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

/// The median; the lower one of two. Zero of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_small_tables() {
        for (values, middle) in
            [(&[][..], 0.0), (&[3.0], 3.0), (&[3.0, 1.0], 1.0), (&[3.0, 1.0, 2.0], 2.0)]
        {
            assert_eq!(median(values), middle);
        }
    }
}
