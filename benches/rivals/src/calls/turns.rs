//! The turns: all contenders are open at once, and in each round everybody has one, the probe first.
//!
//! As in `memring bench`: whoever has no turn sleeps, so that a machine whose speed drifts drifts for all; and if the
//! cost of a cache line changed half-way, somebody moved the processors, and all is done again.

use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use memring_benches::link::{Measure, Room, Side, Terms, Waiting};
use memring_benches::outcome::Probe;
use memring_benches::scratch::Scratch;
use memring_benches::worker::{self, Hold, Reply, Took, Work};
use memring_benches::workers::Workers;
use memring_benches::{Failed, baselines};

use super::outcome::{Came, Group, Placement, Row, Turns};
use super::worker::{COMMAND, End, Job, Turn};
use super::{Contender, Threads};

/// Calls outstanding where there are many.
pub const OUTSTANDING: u64 = 64;
/// What a turn should take: the 99th percentile has to be of some hundreds.
const TURN: Duration = Duration::from_millis(100);
/// So often all is done, if the placement changes.
const ATTEMPTS: usize = 3;
/// Round trips in a turn of the probe: some milliseconds.
const PROBES: u64 = 10_000;

/// Who measures, and where.
pub struct Conductor {
    /// This program.
    pub program: PathBuf,
    /// What runs the tasks of each process.
    pub threads: Threads,
    /// The processors of client and server; they may be one.
    pub processors: (usize, usize),
    /// How many turns each has.
    pub turns: usize,
}

impl Conductor {
    /// Where the ends can run.
    pub fn placements(&self) -> &'static [Placement] {
        match self.processors.0 == self.processors.1 {
            true => &[Placement::Together],
            false => &[Placement::Apart, Placement::Together, Placement::Free],
        }
    }

    /// Measures these. Call it on a thread that lasts: the workers die with it.
    ///
    /// # Errors
    ///
    /// If the probe does not work. Who else fails has a row that says so.
    pub fn measure(&self, contenders: &[Contender], placement: Placement) -> Result<Group, Failed> {
        let mut group = self.attempt(contenders, placement)?;
        for _ in 1..ATTEMPTS {
            if group.probe.is_none_or(Probe::is_steady) {
                break;
            }
            group = self.attempt(contenders, placement)?;
        }
        Ok(group)
    }

    fn attempt(&self, contenders: &[Contender], placement: Placement) -> Result<Group, Failed> {
        let mut line = self.line()?;
        let mut pairs: Vec<Result<Pair, Failed>> =
            contenders.iter().map(|contender| self.open(contender, placement)).collect();
        for _ in 0..self.turns {
            if let Some(line) = &mut line {
                line.turn()?;
            }
            for entry in &mut pairs {
                if let Ok(pair) = entry
                    && let Err(error) = pair.turn()
                {
                    *entry = Err(error);
                }
            }
        }
        let results: Vec<Result<Turns, String>> = pairs
            .into_iter()
            .map(|pair| pair.map(|pair| pair.turns).map_err(|error| error.to_string()))
            .collect();
        let first = results.first().and_then(|first| first.as_ref().ok()).cloned();
        let first = first.unwrap_or_default();
        let rows = contenders.iter().zip(results).map(|(contender, turns)| Row {
            name: contender.name,
            version: contender.version,
            came: match turns {
                Ok(turns) => Came::Through(turns.numbers(&first)),
                Err(failed) => Came::Failed { failed },
            },
        });
        let probe = line.map(|line| Probe::of(&line.trips));
        Ok(Group { placement, probe, rows: rows.collect() })
    }

    /// A raw cache line, across both processors wherever the others are: it says where those are.
    fn line(&self) -> Result<Option<Line>, Failed> {
        if self.processors.0 == self.processors.1 {
            return Ok(None);
        }
        let directory = Scratch::new()?;
        let terms = Terms {
            measure: Measure::RoundTrip,
            size: 8,
            wait: Waiting::Spin,
            room: Room::Normal,
            batch: 1,
            together: false,
        };
        let job = |side| {
            Job::Probe(worker::Job::Hold(Hold {
                contender: baselines::ALL[0].name.to_owned(),
                terms: terms.clone(),
                side: Some(side),
                processors: self.processors,
                directory: directory.path().to_owned(),
            }))
        };
        let jobs = [job(Side::Near), job(Side::Far)];
        let mut workers = Workers::start(&self.program, COMMAND, &jobs)?;
        workers.done()?;
        Ok(Some(Line { workers, trips: Vec::new(), _directory: directory }))
    }

    /// Starts both ends of a contender, and finds out how many calls take as long as a turn should.
    fn open(&self, contender: &Contender, placement: Placement) -> Result<Pair, Failed> {
        let directory = Scratch::new()?;
        let end = |processor| End {
            contender: contender.name.to_owned(),
            threads: self.threads,
            processor,
            directory: directory.path().to_owned(),
        };
        let (client, server) = match placement {
            Placement::Apart => (Some(self.processors.0), Some(self.processors.1)),
            Placement::Together => (Some(self.processors.0), Some(self.processors.0)),
            Placement::Free => (None, None),
        };
        let jobs = [Job::Call(end(client)), Job::Serve(end(server))];
        let mut workers = Workers::start(&self.program, COMMAND, &jobs)?;
        workers.done()?;
        let mut pair = Pair {
            workers,
            counts: [0; KINDS.len()],
            turns: Turns::default(),
            _directory: directory,
        };
        for (index, outstanding) in KINDS.into_iter().enumerate() {
            pair.counts[index] = pair.settle(outstanding)?;
        }
        Ok(pair)
    }
}

/// Calls outstanding, by kind of turn.
const KINDS: [u64; 2] = [1, OUTSTANDING];

/// Both ends of the probe.
struct Line {
    workers: Workers,
    /// Nanoseconds of a round trip, turn by turn.
    trips: Vec<f64>,
    _directory: Scratch,
}

impl Line {
    fn turn(&mut self) -> Result<(), Failed> {
        let turn = worker::Turn { work: Work::Calls, warm: PROBES / 8, count: PROBES };
        self.workers.tell(&turn)?;
        self.trips.push(took(&mut self.workers)?.nanos / PROBES as f64);
        Ok(())
    }
}

/// Both ends of a contender.
struct Pair {
    workers: Workers,
    /// Calls a turn, by kind.
    counts: [u64; KINDS.len()],
    turns: Turns,
    _directory: Scratch,
}

impl Pair {
    fn settle(&mut self, outstanding: u64) -> Result<u64, Failed> {
        let turn = TURN.as_nanos() as f64;
        let mut count = 4 * OUTSTANDING;
        loop {
            let nanos = self.play(outstanding, count)?.nanos;
            if nanos >= turn / 4.0 {
                return Ok(((count as f64 * turn / nanos) as u64).max(1));
            }
            count *= 2;
        }
    }

    /// A turn of each kind. After a failure there is nothing more to be had of it.
    fn turn(&mut self) -> Result<(), Failed> {
        let [alone, many] = self.counts;
        let mut times = Histogram::<u64>::new(3)?;
        for (nanos, count) in self.play(1, alone)?.each {
            times.record_n(nanos, count)?;
        }
        let rate = many as f64 * 1e9 / self.play(OUTSTANDING, many)?.nanos;
        self.turns.p50.push(times.value_at_quantile(0.5) as f64);
        self.turns.p99.push(times.value_at_quantile(0.99) as f64);
        self.turns.rate.push(rate);
        Ok(())
    }

    fn play(&mut self, outstanding: u64, count: u64) -> Result<Took, Failed> {
        self.workers.tell(&Turn { outstanding, warm: (count / 8).max(OUTSTANDING), count })?;
        took(&mut self.workers)
    }
}

/// What a turn took, as the near end has it.
fn took(workers: &mut Workers) -> Result<Took, Failed> {
    match workers.replies()?.into_iter().next() {
        Some(Reply::Took(took)) => Ok(took),
        _ => Err("a worker answered what nobody asked".into()),
    }
}
