//! What the cache demo found, as text and as JSON.

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;

use super::MOST_FILES;
use super::files::{Random, parts};
use crate::args::DemoCache as Options;
use crate::latency::{Latencies, Summary};
use crate::output::{self, Table};

/// What was measured of one size.
pub(super) struct Size {
    pub(super) bytes: u64,
    /// The numbers of its files.
    pub(super) numbers: Range<u32>,
    pub(super) first: Latencies,
    pub(super) repeated: Latencies,
    /// A part looked into without asking.
    pub(super) alone: Latencies,
    /// Asked without a file.
    pub(super) nothing: Latencies,
    pub(super) socket: Latencies,
    /// Time that the socket has taken.
    pub(super) streamed: Duration,
}

impl Size {
    /// Those that were asked for, each with as many files as make up the spread, one at least.
    pub(super) fn all(options: &Options) -> Vec<Self> {
        let mut next = 0;
        let of = |(at, bytes): (usize, &u64)| {
            let others = options.sizes.len() - at - 1; // which have one each, at least
            let most = MOST_FILES.saturating_sub(next + others as u32).max(1);
            let files = (options.spread / bytes).clamp(1, most.into()) as u32;
            let numbers = next..next + files;
            next = numbers.end;
            Self {
                bytes: *bytes,
                numbers,
                first: Latencies::new(),
                repeated: Latencies::new(),
                alone: Latencies::new(),
                nothing: Latencies::new(),
                socket: Latencies::new(),
                streamed: Duration::ZERO,
            }
        };
        options.sizes.iter().enumerate().map(of).collect()
    }

    pub(super) fn files(&self) -> u32 {
        self.numbers.end - self.numbers.start
    }

    /// Draws a file of this size, and a part of it.
    pub(super) fn draw(&self, random: &mut Random) -> (u32, u64) {
        let file = self.numbers.start + random.below(self.files().into()) as u32;
        (file, random.below(parts(self.bytes)))
    }
}

/// All of it.
#[derive(Serialize)]
pub(super) struct Report {
    pages: &'static str,
    reads: &'static str,
    wait: &'static str,
    seed: u64,
    /// The processors of client and cache, if they were kept there.
    processors: Option<(usize, usize)>,
    sizes: Vec<Measured>,
    /// Median of repeated requests, largest over smallest.
    largest_over_smallest: f64,
}

#[derive(Serialize)]
struct Measured {
    bytes: u64,
    files: u32,
    /// Nanoseconds, as all times.
    first: Summary,
    repeated: Summary,
    /// The hash alone, of a part drawn likewise, without a request.
    alone: Summary,
    /// A request that is answered without a file.
    nothing: Summary,
    socket: Summary,
    /// Medians: the socket's over that of repeated requests.
    socket_over_repeated: f64,
    socket_over_first: f64,
}

pub(super) fn opening(sizes: &[Size]) -> String {
    let of = |size: &Size| match size.files() {
        1 => output::bytes(size.bytes),
        files => format!("{files} of {}", output::bytes(size.bytes)),
    };
    let sizes: Vec<_> = sizes.iter().map(of).collect();
    format!("a cache with files in parts of 16 KiB: {}\n", sizes.join(", "))
}

impl Report {
    pub(super) fn new(
        options: &Options,
        sizes: &[Size],
        processors: Option<(usize, usize)>,
    ) -> Self {
        let sizes: Vec<_> = sizes.iter().map(Measured::of).collect();
        let by_size = |measured: &&Measured| measured.bytes;
        let p50 = |measured: Option<&Measured>| measured.map_or(0, |some| some.repeated.p50) as f64;
        let (smallest, largest) =
            (sizes.iter().min_by_key(by_size), sizes.iter().max_by_key(by_size));
        Self {
            pages: options.pages.name(),
            reads: if options.all { "every byte" } else { "one part" },
            wait: options.wait.name(),
            seed: options.seed,
            processors,
            largest_over_smallest: p50(largest) / p50(smallest),
            sizes,
        }
    }

    pub(super) fn text(&self) -> String {
        let looked = format!(
            "from the question to the hash of {}, checked; {} pages, waiting: {}",
            match self.reads {
                "one part" => "a part that was drawn",
                all => all,
            },
            self.pages,
            self.wait,
        );
        let mut table = Table::default();
        table.row([
            "file",
            "first p50",
            "p99",
            "again p50",
            "p99",
            "hash alone",
            "socket p50",
            "p99",
            "socket/again",
        ]);
        for size in &self.sizes {
            let time = |nanos: u64| output::time(nanos as f64);
            table.row([
                output::bytes(size.bytes),
                time(size.first.p50),
                time(size.first.p99),
                time(size.repeated.p50),
                time(size.repeated.p99),
                time(size.alone.p50),
                time(size.socket.p50),
                time(size.socket.p99),
                format!("{:.0}", size.socket_over_repeated),
            ]);
        }
        let counts = self.sizes.iter().map(|size| {
            format!("{}+{}+{}", size.first.count, size.repeated.count, size.socket.count)
        });
        let counts: Vec<_> = counts.collect();
        let mut text = format!("\n{looked}\n{table}  requests: {}\n", counts.join(", "));
        if self.sizes.len() > 1 {
            text += &format!("  again, largest over smallest: {:.2}\n", self.largest_over_smallest);
        }
        if let Some(size) = self.sizes.first() {
            text +=
                &format!("  an answer without a file: {}\n", output::time(size.nothing.p50 as f64));
        }
        text
    }
}

impl Measured {
    fn of(size: &Size) -> Self {
        let (first, repeated) = (size.first.summary(), size.repeated.summary());
        let (alone, nothing) = (size.alone.summary(), size.nothing.summary());
        let socket = size.socket.summary();
        let over = |other: Summary| socket.p50 as f64 / other.p50 as f64;
        Self {
            bytes: size.bytes,
            files: size.files(),
            first,
            repeated,
            alone,
            nothing,
            socket,
            socket_over_repeated: over(repeated),
            socket_over_first: over(first),
        }
    }
}
