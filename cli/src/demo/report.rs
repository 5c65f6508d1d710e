//! What the demo found, as text and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::args::Demo as Options;
use crate::latency::{COLUMNS, Summary};
use crate::measure::median;
use crate::negotiated::Negotiated;
use crate::output::{self, Table};

/// That everything arrived.
#[derive(Debug, Serialize)]
pub(super) struct Passed {
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) words: u64,
    pub(super) sha256_there: String,
    pub(super) sha256_back: String,
}

/// How fast records were streamed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Rate {
    pub(super) records: f64,
    pub(super) bytes: f64,
}

/// One rate a round.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    pub(super) memring: Vec<Rate>,
    pub(super) memring_together: Vec<Rate>,
    pub(super) stream: Vec<Rate>,
    pub(super) stream_together: Vec<Rate>,
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) raw_line_ns: Option<f64>,
    pub(super) memring: Summary,
    pub(super) stream: Summary,
    pub(super) throughput: Throughput,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    source: String,
    negotiated: Negotiated,
    verified: Passed,
    round_trip_ns: RoundTrips,
    per_second: Rates,
    ratios: Ratios,
}

#[derive(Debug, Serialize)]
struct RoundTrips {
    raw_cache_line: Option<f64>,
    memring: Summary,
    unix_stream: Summary,
}

#[derive(Debug, Serialize)]
struct Rates {
    memring: Rate,
    memring_in_batches: Rate,
    unix_stream: Rate,
    unix_stream_in_64k_writes: Rate,
}

/// How many times better memring does; of medians.
#[derive(Debug, Serialize)]
struct Ratios {
    round_trip: f64,
    throughput: f64,
    throughput_together: f64,
}

impl Report {
    pub(super) fn new(
        source: String,
        negotiated: Negotiated,
        verified: Passed,
        times: Times,
    ) -> Self {
        let rates = Rates {
            memring: median_rate(&times.throughput.memring),
            memring_in_batches: median_rate(&times.throughput.memring_together),
            unix_stream: median_rate(&times.throughput.stream),
            unix_stream_in_64k_writes: median_rate(&times.throughput.stream_together),
        };
        let ratios = Ratios {
            round_trip: times.stream.p50 as f64 / times.memring.p50.max(1) as f64,
            throughput: rates.memring.records / rates.unix_stream.records,
            throughput_together: rates.memring_in_batches.records
                / rates.unix_stream_in_64k_writes.records,
        };
        Self {
            source,
            negotiated,
            verified,
            round_trip_ns: RoundTrips {
                raw_cache_line: times.raw_line_ns,
                memring: times.memring,
                unix_stream: times.stream,
            },
            per_second: rates,
            ratios,
        }
    }

    /// The last part of the text.
    pub(super) fn measured(&self, options: &Options) -> String {
        let trips = &self.round_trip_ns;
        let mut latency = Table::default();
        latency.row(["round trip"].into_iter().chain(COLUMNS.map(|(name, _)| name)));
        let mut row = |name: &str, summary: &Summary| {
            latency.row([name.to_owned()].into_iter().chain(summary.cells()));
        };
        row("memring", &trips.memring);
        row("Unix stream socket", &trips.unix_stream);
        if let Some(raw) = trips.raw_cache_line {
            latency.row(["raw cache line, for scale".to_owned(), output::time(raw)]);
        }

        let mut throughput = Table::default();
        throughput.row(["throughput", "records", "bytes of text"]);
        let rates = &self.per_second;
        for (name, rate) in [
            ("memring, one by one", rates.memring),
            ("Unix stream, one by one", rates.unix_stream),
            ("memring, in batches", rates.memring_in_batches),
            ("Unix stream, 64 KiB a write", rates.unix_stream_in_64k_writes),
        ] {
            throughput.row([
                name.to_owned(),
                output::rate(rate.records, ""),
                output::rate(rate.bytes, "B"),
            ]);
        }

        let Ratios { round_trip, throughput: one_by_one, throughput_together } = self.ratios;
        let pinned = match options.pin {
            Some((ours, childs)) => format!("pinned to processors {ours} and {childs}"),
            None => "not pinned".to_owned(),
        };
        format!(
            "\nmeasured in {} rounds of {} records, link by link in turns, {pinned}\n{latency}\n{throughput}\n\
             To the Unix stream socket with the same records, as a ratio of medians: round trips {}, \
             throughput {} one by one and {} together.\n",
            options.load.rounds,
            options.load.records,
            times(round_trip),
            times(one_by_one),
            times(throughput_together),
        )
    }
}

fn times(ratio: f64) -> String {
    format!("{ratio:.1} times as fast")
}

fn median_rate(rates: &[Rate]) -> Rate {
    let of = |get: fn(&Rate) -> f64| median(&rates.iter().map(get).collect::<Vec<_>>());
    Rate { records: of(|rate| rate.records), bytes: of(|rate| rate.bytes) }
}

/// The first part of the text.
pub(super) fn negotiated(negotiated: &Negotiated) -> String {
    let mut text = String::from("\nnegotiated with the child\n");
    for (what, how) in negotiated.rows() {
        let _ = writeln!(text, "  {what:<17}  {how}");
    }
    text
}

/// The second.
pub(super) fn passed(passed: &Passed) -> String {
    format!(
        "\nverified: {} lines there, as many typed answers back, {} words counted\n  \
         there  {} bytes, sha256 {}\n  back   {} bytes, sha256 {}\n",
        passed.lines,
        passed.words,
        passed.bytes,
        passed.sha256_there,
        passed.bytes,
        passed.sha256_back,
    )
}
