//! Round trips between two pinned processes: a raw cache line, a typed 32-byte message over memring, and
//! the same over a Unix stream socket, by turns.
//!
//! What counts is the ratio to the cache line in the same run: which two processors a virtual machine was
//! given decides whether a line takes 50 ns or 200 to get across.
//!
//! `rtt [--rounds 400] [--calls 2000] [--pin 0,1] [--wait spin|adaptive|park]`

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use memring::{Connector, Wait};
use memring_benches::measure::line::Line;
use memring_benches::measure::{Failed, Link, median, pin};
use memring_benches::stream::Stream;
use memring_benches::tick::{Tick, Ticks};
use memring_benches::turns::{Entry, answer_by_turns, call_by_turns, ratios};

/// What the command line says.
#[derive(Clone, Copy, Debug)]
struct Options {
    rounds: u64,
    calls: u64,
    /// Ours, and the child's.
    pins: Option<(usize, usize)>,
    wait: Wait,
    child: bool,
}

impl Options {
    fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, Failed> {
        let processors = pin::allowed()?;
        let mut options = Self {
            rounds: 400,
            calls: 2_000,
            pins: match *processors {
                [first, second, ..] => Some((first, second)),
                _ => None,
            },
            wait: Wait::Spin,
            child: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--calls" => options.calls = value()?.parse()?,
                "--wait" => options.wait = parse_wait(&value()?)?,
                "--pin" => {
                    let pins = value()?;
                    let (ours, theirs) = pins.split_once(',').ok_or("--pin takes two, as 0,1")?;
                    options.pins = Some((ours.parse()?, theirs.parse()?));
                }
                "--child" => options.child = true,
                other => return Err(format!("what is {other}?").into()),
            }
        }
        Ok(options)
    }

    /// Who takes part: the same in both processes.
    fn entries<'a>(
        &self,
        line: &'a mut dyn Link,
        channel: &'a mut dyn Link,
        stream: &'a mut dyn Link,
    ) -> [Entry<'a>; 3] {
        let few = (self.calls / 40).max(1);
        [(line, self.calls), (channel, self.calls), (stream, few)]
            .map(|(link, calls)| Entry { link, calls })
    }
}

fn parse_wait(name: &str) -> Result<Wait, Failed> {
    match name {
        "spin" => Ok(Wait::Spin),
        "adaptive" => Ok(Wait::Adaptive),
        "park" => Ok(Wait::Park),
        other => Err(format!("--wait takes spin, adaptive or park, not {other}").into()),
    }
}

fn main() -> ExitCode {
    let run = || -> Result<(), Failed> {
        let options = Options::parse(std::env::args().skip(1))?;
        if options.child { child(options) } else { parent(options) }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rtt: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parent(options: Options) -> Result<(), Failed> {
    let (mut line, fd) = Line::create()?;
    let (socket, theirs) = UnixStream::pair()?;
    let mut stream = Stream::new(socket, size_of::<Tick>());
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(std::env::args().skip(1))
        .arg("--child")
        .stdin(Stdio::from(fd))
        .stdout(Stdio::from(OwnedFd::from(theirs)));
    let (mut child, mut channel) =
        Connector::new().wait(options.wait).spawn::<Ticks>(&mut command)?;
    let session = Arc::clone(channel.session());
    line.watch(move || session.life().end().is_none());
    drop(command); // it holds the child's ends
    if let Some((ours, _)) = options.pins {
        pin::pin(ours)?;
    }

    let names = ["raw cache line", "memring, typed", "Unix stream socket"];
    let mut entries = options.entries(&mut line, &mut channel, &mut stream);
    let rows = call_by_turns(options.rounds, &mut entries)?;
    if !child.wait()?.success() {
        return Err("the child failed".into());
    }

    let base = &rows[0];
    let Options { rounds, calls, .. } = options;
    println!(
        "{rounds} rounds of {calls} round trips each, by turns, {}, waiting by {:?}",
        match options.pins {
            Some((ours, theirs)) => format!("pinned to processors {ours} and {theirs}"),
            None => "not pinned: there is one processor".to_owned(),
        },
        options.wait,
    );
    println!("a line takes {:.0} ns to get across", nanos(base, 0.5) / 2.0);
    println!();
    println!(
        "{:<20} {:>10} {:>10} {:>10} {:>14}",
        "round trip, ns", "best", "median", "p90", "x raw, median"
    );
    for (name, row) in names.iter().zip(&rows) {
        println!(
            "{name:<20} {:>10.0} {:>10.0} {:>10.0} {:>14.2}",
            nanos(row, 0.0),
            nanos(row, 0.5),
            nanos(row, 0.9),
            median(&ratios(row, base)),
        );
    }
    Ok(())
}

fn child(options: Options) -> Result<(), Failed> {
    let mut line = Line::open(rustix::stdio::stdin())?;
    let socket = UnixStream::from(rustix::io::dup(rustix::stdio::stdout())?);
    let mut stream = Stream::new(socket, size_of::<Tick>());
    let mut channel = Connector::new().wait(options.wait).inherited::<Ticks>()?;
    let session = Arc::clone(channel.session());
    line.watch(move || session.life().end().is_none());
    if let Some((_, theirs)) = options.pins {
        pin::pin(theirs)?;
    }
    let mut entries = options.entries(&mut line, &mut channel, &mut stream);
    answer_by_turns(options.rounds, &mut entries)
}

/// The time at `part` of the sorted rounds, in nanoseconds.
fn nanos(row: &[Duration], part: f64) -> f64 {
    let mut sorted = row.to_vec();
    sorted.sort();
    let at = (part * sorted.len().saturating_sub(1) as f64) as usize;
    sorted.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e9)
}
