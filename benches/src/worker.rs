//! A worker: a process that holds one end of a link (or both, for links between threads) and does as told.
//!
//! Orders come as lines of JSON on its standard input, answers go to its standard output. It dies with whoever
//! started it: a spinning orphan would be in everybody's way.

use std::io::{BufRead, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::crowd::{self, Crowd, Weight};
use crate::link::{Contender, Failed, Link, Open, Side, Terms};
use crate::pin;
use crate::usage::Usage;

/// The first argument of a worker's command line; the second is its [`Job`].
pub const COMMAND: &str = "bench-worker";

/// What a worker is started for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Say who can be measured on these terms, as a list of [`Named`].
    List(Terms),
    /// Hold an end and take turns.
    Hold(Hold),
    /// Hold one side of many sessions.
    Crowd(Crowd),
}

/// What a worker holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// The contender's name.
    pub contender: String,
    /// What it is opened on.
    pub terms: Terms,
    /// Which end; none if both, in threads.
    pub side: Option<Side>,
    /// The processors of the near and the far end.
    pub processors: (usize, usize),
    /// Where the two ends meet.
    pub directory: PathBuf,
}

/// A contender, to those who cannot see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether both ends are threads of one process.
    pub threads: bool,
}

/// What is done in a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Calls, timed as a whole.
    Calls,
    /// Calls, each timed.
    EachCall,
    /// Messages one way.
    Stream,
    /// One message that comes after so many milliseconds.
    Idle(u64),
}

impl Work {
    /// Whether it is the far end that knows how long it took, and not the near one.
    #[must_use]
    pub fn far_knows(self) -> bool {
        match self {
            Self::Stream | Self::Idle(_) => true,
            Self::Calls | Self::EachCall => false,
        }
    }
}

/// One turn: some messages to warm up, and those that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// What to do.
    pub work: Work,
    /// Messages before the clock starts.
    pub warm: u64,
    /// Messages by the clock.
    pub count: u64,
}

/// What came of a turn, at one end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Took {
    /// Nanoseconds by the clock.
    pub nanos: f64,
    /// Processor time of the process, all threads, in nanoseconds.
    pub cpu: f64,
    /// Context switches of the process, wanted or not.
    pub switches: u64,
    /// Of timed calls: nanoseconds, and how many took that long.
    pub each: Vec<(u64, u64)>,
}

/// A line from a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// What was asked for is done; first of all, that the end is open.
    Done,
    /// A turn is done.
    Took(Took),
    /// What the process takes.
    Weighs(Weight),
    /// It is over.
    Failed(String),
}

/// A program whose only purpose is to be a worker: its `main`.
#[must_use]
pub fn run(contenders: &[Contender]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &arguments[..] {
        [command, job] if command == COMMAND => work(contenders, job),
        _ => Err(format!("to be started by `memring bench`, as: {COMMAND} JOB").into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the job, which is JSON.
///
/// # Errors
///
/// That the job is none, or that nobody listens. What goes wrong with the link is a [`Reply`].
pub fn work(contenders: &[Contender], job: &str) -> Result<(), Failed> {
    match serde_json::from_str(job)? {
        Job::List(terms) => {
            let able = contenders.iter().filter(|contender| (contender.can)(&terms));
            let named: Vec<Named> = able.map(Named::of).collect();
            say(&named)
        }
        Job::Hold(hold) => on_a_leash(|| hold_on(contenders, &hold)),
        Job::Crowd(crowd) => on_a_leash(|| crowd::work(&crowd)),
    }
}

/// Does something that is not to outlive whoever started this process, who is told if it fails.
///
/// # Errors
///
/// That nobody listens, or what the kernel says.
pub fn on_a_leash(work: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    work().or_else(|error| say(&Reply::Failed(error.to_string())))
}

impl Named {
    /// Of a contender.
    #[must_use]
    pub fn of(contender: &Contender) -> Self {
        Self {
            name: contender.name.to_owned(),
            version: contender.version.to_owned(),
            threads: matches!(contender.open, Open::Threads(_)),
        }
    }
}

/// A line to whoever started this process.
///
/// # Errors
///
/// That nobody listens.
pub fn say(what: &impl Serialize) -> Result<(), Failed> {
    let mut line = serde_json::to_string(what)?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}

fn hold_on(contenders: &[Contender], hold: &Hold) -> Result<(), Failed> {
    let contender = contenders
        .iter()
        .find(|contender| contender.name == hold.contender)
        .ok_or_else(|| format!("there is no {}", hold.contender))?;
    let (near, far) = hold.processors;
    match (contender.open, hold.side) {
        (Open::Processes(open), Some(side)) => {
            pin::pin(if side == Side::Near { near } else { far })?;
            let mut link = open(&hold.terms, side, hold.directory.clone())?;
            let mut end = End::new(side, hold);
            take_turns(|turn| end.turn(&mut *link, turn))
        }
        (Open::Threads(open), None) => {
            pin::pin(near)?;
            let (mut here, mut there) = open(&hold.terms)?;
            let (mut near_end, mut far_end) =
                (End::new(Side::Near, hold), End::new(Side::Far, hold));
            take_turns(|turn| {
                thread::scope(|scope| {
                    let other = scope.spawn(|| {
                        pin::pin(far)?;
                        far_end.turn(&mut *there, turn)
                    });
                    let took = near_end.turn(&mut *here, turn)?;
                    let other = other.join().map_err(|_| "the other thread panicked")??;
                    Ok(if turn.work.far_knows() { other } else { took })
                })
            })
        }
        _ => Err("asked for one end of two threads, or for both of two processes".into()),
    }
}

fn take_turns(mut turn: impl FnMut(&Turn) -> Result<Took, Failed>) -> Result<(), Failed> {
    say(&Reply::Done)?;
    orders(|order| say(&Reply::Took(turn(&order)?)))
}

/// Obeys, line by line, until there are no more.
///
/// # Errors
///
/// What `obey` says; that a line is no order.
pub fn orders<T: DeserializeOwned>(
    mut obey: impl FnMut(T) -> Result<(), Failed>,
) -> Result<(), Failed> {
    std::io::stdin().lock().lines().try_for_each(|line| obey(serde_json::from_str(&line?)?))
}

/// Which end, and how far it is.
struct End {
    side: Side,
    next: u64,
    batch: u64,
}

impl End {
    fn new(side: Side, hold: &Hold) -> Self {
        Self { side, next: 0, batch: hold.terms.batch }
    }

    fn turn(&mut self, link: &mut dyn Link, turn: &Turn) -> Result<Took, Failed> {
        let warm = self.next..self.next + turn.warm;
        let timed = warm.end..warm.end + turn.count;
        self.next = timed.end;
        self.pass(link, turn.work, warm)?;
        match (turn.work, self.side) {
            (Work::EachCall, Side::Near) => time_each(link, timed),
            (Work::Idle(millis), Side::Near) => {
                thread::sleep(Duration::from_millis(millis));
                clock(|| self.pass(link, turn.work, timed))
            }
            _ => clock(|| self.pass(link, turn.work, timed)),
        }
    }

    /// This end's part in passing these messages.
    fn pass(&self, link: &mut dyn Link, work: Work, numbers: Range<u64>) -> Result<(), Failed> {
        match (work, self.side) {
            (Work::Calls | Work::EachCall, Side::Near) => link.call_each(numbers),
            (Work::Calls | Work::EachCall, Side::Far) => link.answer_each(numbers),
            (Work::Stream | Work::Idle(_), Side::Near) => link.send_each(numbers, self.batch),
            (Work::Stream | Work::Idle(_), Side::Far) => link.receive_each(numbers),
        }
    }
}

/// What something took, by the clock and by the kernel's books.
fn clock(work: impl FnOnce() -> Result<(), Failed>) -> Result<Took, Failed> {
    let before = Usage::now();
    let began = Instant::now();
    work()?;
    let nanos = began.elapsed().as_nanos() as f64;
    let after = Usage::now();
    Ok(Took {
        nanos,
        cpu: (after.cpu - before.cpu).as_nanos() as f64,
        switches: after.switches - before.switches,
        each: Vec::new(),
    })
}

/// The same of calls, and of each by itself.
fn time_each(link: &mut dyn Link, numbers: Range<u64>) -> Result<Took, Failed> {
    /// Nanoseconds; longer counts as so long.
    const LONGEST: u64 = 100_000_000_000;
    let mut times = Histogram::<u64>::new_with_bounds(1, LONGEST, 3)?;
    let mut note = |took: Duration| times.saturating_record(took.as_nanos() as u64);
    let took = clock(|| link.time_each(numbers, &mut note))?;
    let each = times.iter_recorded().map(|it| (it.value_iterated_to(), it.count_at_value()));
    Ok(Took { each: each.collect(), ..took })
}
