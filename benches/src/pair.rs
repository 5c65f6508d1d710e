//! Both ends of a contender, and the turns they take.

use std::path::Path;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::link::{Failed, Measure, Side, Terms};
use crate::outcome::{Row, median, quantile, ratio};
use crate::scratch::Scratch;
use crate::worker::{COMMAND, Hold, Job, Named, Reply, Took, Turn, Work};
use crate::workers::{Workers, unexpected};

/// What a turn should take.
const TURN: Duration = Duration::from_millis(5);
/// How long an idle turn waits.
const IDLE: Duration = Duration::from_millis(200);
/// The parts quoted of a distribution.
const PARTS: [f64; 14] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 1.0];

/// Both ends, in one or two workers, and what came of them so far.
pub(crate) struct Pair {
    workers: Workers,
    measure: Measure,
    /// Messages a turn.
    count: u64,
    /// Nanoseconds a message, round by round.
    rounds: Vec<f64>,
    cpu: f64,
    switches: u64,
    messages: u64,
    histogram: Histogram<u64>,
    _directory: Scratch,
}

impl Pair {
    /// Opens both ends, and finds out how many messages take as long as a turn should.
    pub(crate) fn open(
        program: &Path,
        named: &Named,
        terms: &Terms,
        (near, far): (usize, usize),
    ) -> Result<Self, Failed> {
        let directory = Scratch::new()?;
        let job = |side| {
            Job::Hold(Hold {
                contender: named.name.clone(),
                terms: terms.clone(),
                side,
                processors: (near, if terms.together { near } else { far }),
                directory: directory.path().to_owned(),
            })
        };
        let jobs = match named.threads {
            true => vec![job(None)],
            false => vec![job(Some(Side::Near)), job(Some(Side::Far))],
        };
        let mut workers = Workers::start(program, COMMAND, &jobs)?;
        workers.done()?;
        let mut pair = Self {
            workers,
            measure: terms.measure,
            count: 1,
            rounds: Vec::new(),
            cpu: 0.0,
            switches: 0,
            messages: 0,
            histogram: Histogram::new(3)?,
            _directory: directory,
        };
        pair.settle()?;
        Ok(pair)
    }

    fn work(&self) -> Work {
        match self.measure {
            Measure::RoundTrip | Measure::SetUp => Work::Calls,
            Measure::OneWay => Work::Stream,
            Measure::Idle => Work::Idle(IDLE.as_millis() as u64),
        }
    }

    fn settle(&mut self) -> Result<(), Failed> {
        if self.measure == Measure::Idle {
            return self.play(self.work(), 1, 1).map(drop);
        }
        self.count = 16;
        loop {
            let took = self.play(self.work(), self.count, self.count)?.nanos;
            let turn = TURN.as_nanos() as f64;
            if took >= turn / 2.0 {
                self.count = ((self.count as f64 * turn / took) as u64).max(1);
                return Ok(());
            }
            self.count *= 2;
        }
    }

    /// A turn. After a failure there is nothing more to be had of it.
    pub(crate) fn turn(&mut self) -> Result<(), Failed> {
        let warm = (self.count / 8).max(1);
        let took = self.play(self.work(), warm, self.count)?;
        self.rounds.push(took.nanos / self.count as f64);
        self.cpu += took.cpu;
        self.switches += took.switches;
        self.messages += self.count;
        if self.measure == Measure::RoundTrip {
            let each = self.play(Work::EachCall, warm, (self.count / 4).max(1))?.each;
            for (nanos, count) in each {
                self.histogram.record_n(nanos, count)?;
            }
        }
        Ok(())
    }

    /// Gives both ends a turn. The time is that of the end which knows it.
    fn play(&mut self, work: Work, warm: u64, count: u64) -> Result<Took, Failed> {
        self.workers.tell(&Turn { work, warm, count })?;
        let mut replies = self.workers.replies()?.into_iter().map(|reply| match reply {
            Reply::Took(took) => Ok(took),
            _ => Err(unexpected()),
        });
        let near = replies.next().ok_or_else(unexpected)??;
        // Of two threads, one speaks for both.
        let Some(far) = replies.next().transpose()? else { return Ok(near) };
        Ok(Took {
            nanos: if work.far_knows() { far.nanos } else { near.nanos },
            // Of one who waits, what counts is what the waiting costs.
            cpu: if matches!(work, Work::Idle(_)) { far.cpu } else { near.cpu + far.cpu },
            switches: near.switches + far.switches,
            each: near.each,
        })
    }

    /// Nanoseconds a message, round by round.
    pub(crate) fn rounds(&self) -> &[f64] {
        &self.rounds
    }

    /// What came of it, and of ours over it; whose it is, is for the caller to fill in.
    pub(crate) fn finish(self, ours: &[f64]) -> Row {
        let messages = self.messages.max(1) as f64;
        // A part is quoted where there are messages beyond it.
        let timed = self.histogram.len() as f64;
        let quoted = |part: &f64| (1.0 - part) * timed >= 1.0 || *part == 1.0 && timed > 0.0;
        let at = |part| (part, self.histogram.value_at_quantile(part));
        Row {
            best: quantile(&self.rounds, 0.0),
            median: median(&self.rounds),
            p90: quantile(&self.rounds, 0.9),
            ours_over_it: ratio(ours, &self.rounds),
            cpu: self.cpu / messages,
            switches: self.switches as f64 / messages,
            distribution: PARTS.into_iter().filter(quoted).map(at).collect(),
            rounds: self.rounds,
            ..Row::default()
        }
    }
}
