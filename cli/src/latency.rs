//! How long things took: a histogram of nanoseconds and what is quoted of it.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::output;

/// The percentiles quoted, and how they are headed.
pub(crate) const COLUMNS: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// Times, each within a thousandth. Its memory is all there from the start.
#[derive(Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
}

/// What is quoted of them, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) min: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    #[serde(rename = "p99.9")]
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Latencies {
    const LONGEST: u64 = 100_000_000_000;

    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, Self::LONGEST, 3)
            .expect("a histogram takes bounds from 1, and three digits");
        Self { histogram }
    }

    /// Adds one; longer than 100 s counts as 100 s.
    #[inline]
    pub(crate) fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanos);
    }

    pub(crate) fn summary(&self) -> Summary {
        let at = |part| self.histogram.value_at_quantile(part);
        Summary {
            count: self.histogram.len(),
            min: if self.histogram.is_empty() { 0 } else { self.histogram.min() },
            mean: self.histogram.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.histogram.max(),
        }
    }
}

impl Summary {
    /// The values of [`COLUMNS`], to be shown.
    pub(crate) fn cells(&self) -> [String; COLUMNS.len()] {
        [self.p50, self.p90, self.p99, self.p999, self.max].map(|nanos| output::time(nanos as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth_and_none_of_nothing() {
        let mut latencies = Latencies::new();
        let empty = latencies.summary();
        assert_eq!((empty.count, empty.min, empty.p50, empty.max), (0, 0, 0, 0));
        for nanos in 1..=1000 {
            latencies.add(Duration::from_nanos(nanos * 100));
        }
        let summary = latencies.summary();
        let near = |got: u64, due: u64| assert!(got.abs_diff(due) * 1000 <= due, "{got} {due}");
        near(summary.min, 100);
        near(summary.p50, 50_000);
        near(summary.p99, 99_000);
        near(summary.max, 100_000);
        latencies.add(Duration::from_secs(3600));
        near(latencies.summary().max, Latencies::LONGEST);
    }
}
