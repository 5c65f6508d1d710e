//! What the demo found, as text and as JSON.

use std::fmt::Write as _;

use memring_benches::outcome::median;
use serde::Serialize;

use crate::args::Demo as Options;
use crate::latency::{COLUMNS, Summary};
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
    /// With both ends of the socket on one processor.
    pub(super) shared: Vec<Rate>,
    pub(super) shared_together: Vec<Rate>,
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) raw_line_ns: Option<f64>,
    pub(super) memring: Summary,
    pub(super) stream: Summary,
    /// With both ends of the socket on one processor.
    pub(super) shared: Option<Summary>,
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
    unix_stream_on_one_processor: Option<Summary>,
}

#[derive(Debug, Serialize)]
struct Rates {
    one_by_one: Row,
    /// memring in batches, the socket by writes of 64 KiB.
    together: Row,
}

/// One way of sending.
#[derive(Debug, Serialize)]
struct Row {
    memring: Rate,
    unix_stream: Rate,
    unix_stream_on_one_processor: Option<Rate>,
}

/// How many times better memring does, of medians: against the socket on two processors, and on one.
#[derive(Debug, Serialize)]
struct Ratios {
    round_trip: Ratio,
    one_by_one: Ratio,
    together: Ratio,
}

#[derive(Debug, Serialize)]
struct Ratio {
    apart: f64,
    on_one_processor: Option<f64>,
}

impl Report {
    pub(super) fn new(
        source: String,
        negotiated: Negotiated,
        verified: Passed,
        times: Times,
    ) -> Self {
        let Throughput { memring, memring_together, stream, stream_together, .. } =
            &times.throughput;
        let rates = Rates {
            one_by_one: Row::new(memring, stream, &times.throughput.shared),
            together: Row::new(
                memring_together,
                stream_together,
                &times.throughput.shared_together,
            ),
        };
        let median_trip = times.memring.p50.max(1) as f64;
        let ratios = Ratios {
            round_trip: Ratio {
                apart: times.stream.p50 as f64 / median_trip,
                on_one_processor: times.shared.map(|shared| shared.p50 as f64 / median_trip),
            },
            one_by_one: rates.one_by_one.ratio(),
            together: rates.together.ratio(),
        };
        let round_trip_ns = RoundTrips {
            raw_cache_line: times.raw_line_ns,
            memring: times.memring,
            unix_stream: times.stream,
            unix_stream_on_one_processor: times.shared,
        };
        Self { source, negotiated, verified, round_trip_ns, per_second: rates, ratios }
    }

    /// The last part of the text.
    pub(super) fn measured(&self, options: &Options, pinned: Option<(usize, usize)>) -> String {
        let trips = &self.round_trip_ns;
        let mut latency = Table::default();
        latency.row(["round trip"].into_iter().chain(COLUMNS.map(|(name, _)| name)));
        let mut row = |name: &str, summary: &Summary| {
            latency.row([name.to_owned()].into_iter().chain(summary.cells()));
        };
        row("memring", &trips.memring);
        row("Unix stream", &trips.unix_stream);
        if let Some(shared) = &trips.unix_stream_on_one_processor {
            row("Unix stream, one processor", shared);
        }
        if let Some(raw) = trips.raw_cache_line {
            latency.row(["raw cache line, for scale".to_owned(), output::time(raw)]);
        }

        let mut throughput = Table::default();
        throughput.row(["throughput", "one by one", "", "together", ""]);
        let Rates { one_by_one, together } = &self.per_second;
        let mut row = |name: &str, alone: &Rate, together: &Rate| {
            let cells = [alone, together]
                .map(|rate| [output::rate(rate.records, ""), output::rate(rate.bytes, "B")]);
            throughput.row([name.to_owned()].into_iter().chain(cells.into_iter().flatten()));
        };
        row("memring", &one_by_one.memring, &together.memring);
        row("Unix stream", &one_by_one.unix_stream, &together.unix_stream);
        if let (Some(alone), Some(together)) =
            (&one_by_one.unix_stream_on_one_processor, &together.unix_stream_on_one_processor)
        {
            row("Unix stream, one processor", alone, together);
        }

        let mut ratios = Table::default();
        ratios.row(["memring is so many times as fast", "round trip", "one by one", "together"]);
        let Ratios { round_trip, one_by_one, together } = &self.ratios;
        let all = [round_trip, one_by_one, together];
        let mut row = |name: &str, ratios_: [Option<f64>; 3]| {
            let cells =
                ratios_.map(|ratio| ratio.map_or_else(String::new, |ratio| format!("{ratio:.1}")));
            ratios.row([name.to_owned()].into_iter().chain(cells));
        };
        row("  as the Unix stream", all.map(|ratio| Some(ratio.apart)));
        if round_trip.on_one_processor.is_some() {
            row("  as the Unix stream, one processor", all.map(|ratio| ratio.on_one_processor));
        }

        let place = match pinned {
            Some((ours, childs)) => format!("on processors {ours} and {childs}"),
            None => "where the scheduler put them".to_owned(),
        };
        format!(
            "\nmeasured in {} rounds of {} records, link by link in turns, {place}\n\
             {latency}\n{throughput}\n{ratios}\n\
             Together: memring in batches of 64, the socket by writes of 64 KiB. Ratios are of medians.\n",
            options.load.rounds, options.load.records,
        )
    }
}

impl Row {
    fn new(memring: &[Rate], stream: &[Rate], shared: &[Rate]) -> Self {
        Self {
            memring: median_rate(memring),
            unix_stream: median_rate(stream),
            unix_stream_on_one_processor: (!shared.is_empty()).then(|| median_rate(shared)),
        }
    }

    fn ratio(&self) -> Ratio {
        let to = |other: &Rate| self.memring.records / other.records;
        Ratio {
            apart: to(&self.unix_stream),
            on_one_processor: self.unix_stream_on_one_processor.as_ref().map(to),
        }
    }
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
