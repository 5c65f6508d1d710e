//! A process at one end of a contender: it serves, or it calls as it is told.
//!
//! Its orders and its replies are those of `memring_benches::workers`, and it dies with whoever started it. The one
//! that holds an end of the probe is a worker like those of `memring bench`.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use hdrhistogram::Histogram;
use memring_benches::worker::{self, Reply, Took, on_a_leash, orders, say};
use memring_benches::{Failed, baselines, pin};
use serde::{Deserialize, Serialize};

use super::{Calls, Threads, contenders};

/// The first argument of a worker's command line; the second is its [`Job`].
pub const COMMAND: &str = "calls-worker";

/// What a worker is started for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Hold an end of the probe.
    Probe(worker::Job),
    /// Serve.
    Serve(End),
    /// Call.
    Call(End),
}

/// An end of a contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct End {
    /// The contender's name.
    pub contender: String,
    /// What runs its tasks.
    pub threads: Threads,
    /// The processor it keeps to.
    pub processor: Option<usize>,
    /// Where the two ends meet.
    pub directory: PathBuf,
}

/// One turn: some calls to warm up, and those that count.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Turn {
    /// How many calls are outstanding; with one, each is timed.
    pub outstanding: u64,
    /// Calls before the clock starts.
    pub warm: u64,
    /// Calls by the clock.
    pub count: u64,
}

/// A worker's `main`.
pub fn run(job: &str) -> ExitCode {
    match work(job) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn work(job: &str) -> Result<(), Failed> {
    match serde_json::from_str(job)? {
        Job::Probe(job) => worker::work(baselines::ALL, &serde_json::to_string(&job)?),
        Job::Serve(end) => on_a_leash(|| serve(&end)),
        Job::Call(end) => on_a_leash(|| call(&end)),
    }
}

/// Serves in a thread of its own, and has nothing to say to a turn. It ends when there are no more orders, for not every
/// server can be told to.
fn serve(end: &End) -> Result<(), Failed> {
    let contender = end.take()?;
    let (threads, directory) = (end.threads, end.directory.clone());
    thread::spawn(move || {
        if let Err(error) = (contender.serve)(threads, &directory) {
            // It fails when nobody is interested any more.
            let _ = say(&Reply::Failed(error.to_string()));
        }
    });
    say(&Reply::Done)?;
    orders(|_: Turn| say(&Reply::Done))
}

fn call(end: &End) -> Result<(), Failed> {
    let mut calls = (end.take()?.connect)(end.threads, &end.directory)?;
    say(&Reply::Done)?;
    let mut next = 0;
    orders(|Turn { outstanding, warm, count }: Turn| {
        let warm = next..next + warm;
        let timed = warm.end..warm.end + count;
        next = timed.end;
        let took = match outstanding {
            1 => one_by_one(&mut *calls, warm, timed)?,
            _ => {
                calls.pipelined(warm, outstanding)?;
                let began = Instant::now();
                calls.pipelined(timed, outstanding)?;
                Took { nanos: began.elapsed().as_nanos() as f64, ..Took::default() }
            }
        };
        say(&Reply::Took(took))
    })
}

fn one_by_one(calls: &mut dyn Calls, warm: Range<u64>, timed: Range<u64>) -> Result<Took, Failed> {
    /// Nanoseconds; longer counts as so long.
    const LONGEST: u64 = 100_000_000_000;
    let mut times = Histogram::<u64>::new_with_bounds(1, LONGEST, 3)?;
    calls.round_trips(warm, &mut |_| ())?;
    let began = Instant::now();
    calls.round_trips(timed, &mut |took| times.saturating_record(took.as_nanos() as u64))?;
    let nanos = began.elapsed().as_nanos() as f64;
    let each = times.iter_recorded().map(|it| (it.value_iterated_to(), it.count_at_value()));
    Ok(Took { nanos, each: each.collect(), ..Took::default() })
}

impl End {
    /// Goes where it is to run, and finds out as what.
    fn take(&self) -> Result<super::Contender, Failed> {
        if let Some(processor) = self.processor {
            pin::pin(processor)?;
        }
        let mut all = contenders().into_iter();
        let found = all.find(|contender| contender.name == self.contender);
        Ok(found.ok_or_else(|| format!("there is no {}", self.contender))?)
    }
}
