//! `memring demo`: two real processes pass real data, prove that it arrived, and measure what it costs.
//!
//! The parent listens, starts a child and waits for it to connect over a socket path. First every line goes
//! there and an answer comes back, all of it digested; then times are taken, link by link in turns, with a
//! Unix stream socket that carries the same archives.

pub(crate) mod cache;
mod carrier;
pub(crate) mod child;
mod records;
mod report;

use std::error::Error;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use memring::{AcceptError, AcceptFailed, Listener, RecvError};
use memring_benches::outcome::median;
use memring_benches::scratch::Scratch;
use memring_benches::{Failed, Link, baselines, pin};

use crate::args::{Demo as Options, OtherDemo, Pins};
use crate::failure::{Failure, Status};
use crate::latency::Latencies;
use crate::negotiated::Negotiated;
use crate::output;
use carrier::{Carrier, Stream};
use records::{ArchivedFromChild, Demo, Digester, FromChild, Parent, ToChild};
use report::{Passed, Report, Throughput, Times};

/// The socket's name in the directory that the two processes share.
const SOCKET: &str = "demo.sock";
/// How long the child may take to connect.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to end when something has gone wrong.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often it is looked whether the child has ended instead of connecting.
const LOOK: Duration = Duration::from_millis(50);
/// Records streamed for each that goes there and back: streaming is quicker.
const STREAMED: u32 = 10;
/// What is passed if no file is named.
const TEXT: &[u8] = include_bytes!("../../assets/demo.txt");

/// A raw cache line, for scale.
type Line = baselines::Line<false>;
/// Bytes that cross on it.
const LINE: usize = 8;

/// What is timed in a round, in this order, by both processes.
#[derive(Clone, Copy)]
enum Turn {
    /// A raw cache line there and back.
    Line,
    /// Records there and answers back, one at a time.
    RoundTrips,
    /// Records one way, each sent at once.
    OneByOne,
    /// Records one way, sent together.
    Together,
    /// All of that over the socket, with both ends on one processor.
    Shared,
}

impl Turn {
    const ALL: [Self; 5] =
        [Self::Line, Self::RoundTrips, Self::OneByOne, Self::Together, Self::Shared];
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    if let Some(OtherDemo::Cache(options)) = &options.other {
        return cache::run(options, json);
    }
    let (source, file) = match &options.file {
        Some(path) => {
            let source = path.display().to_string();
            let file = std::fs::read(path)
                .map_err(|error| Failure::io(&format!("reading {source}"), &error))?;
            (source, file)
        }
        None => ("the text that comes with memring".to_owned(), TEXT.to_vec()),
    };
    if file.is_empty() {
        return Err(Failure::new(
            Status::Local,
            format!("{source} is empty: there is nothing to pass"),
        ));
    }
    let lines = records::cut(&file);
    let say = |text: String| if json { Ok(()) } else { output::print(&text) };
    say(format!("{source}: {} lines, {}\n", lines.len(), output::bytes(file.len() as u64)))?;

    let mut pair = Pair::start(options)?;
    let outcome = (|| {
        let (sender, receiver) = pair.channel.halves();
        let negotiated = Negotiated::of(sender, receiver);
        say(report::negotiated(&negotiated))?;
        let passed = pair.pass(&lines, &file)?;
        say(report::passed(&passed))?;
        let times = pair.measure(options, &lines)?;
        let report = Report::new(source, negotiated, passed, times);
        if json {
            output::print_json(&report)
        } else {
            say(report.measured(options, pair.places.pinned))
        }
    })();
    match outcome {
        Ok(()) => pair.child.finish(),
        Err(failure) => {
            pair.channel.session().close();
            Err(pair.child.explain(failure))
        }
    }
}

/// This process's ends of all that connects it with the child.
struct Pair {
    channel: Parent,
    stream: Stream,
    line: Line,
    places: Places,
    child: Child,
}

impl Pair {
    fn start(options: &Options) -> Result<Self, Failure> {
        let doing = |doing: &'static str| move |error| Failure::io(doing, &error);
        let directory = Scratch::new().map_err(doing("making a directory for the socket"))?;
        let listener = Listener::builder()
            .name("memring demo")
            .wait(options.load.wait.into())
            .bind(directory.path().join(SOCKET))?;

        let places = Places::choose(options.pin).map_err(doing("asking for the processors"))?;
        if let Some((ours, childs)) = places.pinned {
            // Both, before there is a child that would have to explain.
            pin::on(childs, || ()).and_then(|()| pin::on(ours, || ())).map_err(doing("--pin"))?;
        }
        let (mut line, line_fd) = Line::create(LINE).map_err(|error| {
            Failure::because(Status::Local, &*error).within("making a shared page")
        })?;
        let (socket, theirs) = UnixStream::pair().map_err(doing("making a socketpair"))?;
        let stream = Stream::new(socket).map_err(doing("making a socketpair"))?;

        let program = std::env::current_exe().map_err(doing("finding this program"))?;
        let mut command = Command::new(program);
        command
            .arg("demo-child")
            .arg(directory.path())
            .args(["--wait", options.load.wait.name()])
            .args(["--rounds", &options.load.rounds.to_string()])
            .args(["--records", &options.load.records.to_string()])
            .stdin(Stdio::from(line_fd))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped());
        if let Some((ours, childs)) = places.apart {
            command.args(["--apart", &format!("{ours},{childs}")]);
        }
        if let Some((_, childs)) = places.pinned {
            command.args(["--pin", &childs.to_string()]);
        }
        let mut child = Child(command.spawn().map_err(doing("starting the child"))?);
        drop(command); // it holds the child's end of the socketpair
        if let Some((ours, _)) = places.pinned {
            pin::pin(ours).map_err(|error| Failure::io("--pin", &error))?;
        }
        let channel = child.connects(&listener)?;
        let session = Arc::clone(channel.session());
        line.watch(move || session.life().end().is_none());
        // Both are done with: whatever happens from here on leaves nothing in the file system.
        drop(listener);
        drop(directory);
        Ok(Self { channel, stream, line, places, child })
    }

    /// Sends every line, takes every answer, and compares the digests.
    fn pass(&mut self, lines: &[ToChild], file: &[u8]) -> Result<Passed, Failure> {
        let progress = output::progress(lines.len() as u64, "lines").with_message("verifying");
        let (mut there, mut back) = (Digester::default(), Digester::default());
        let mut words = 0;
        for line in lines {
            let ToChild::Line { number: due, text } = line else { continue };
            there.add(text);
            self.channel.send(line)?;
            match &*self.channel.recv()? {
                ArchivedFromChild::Answer { number, words: some, capitals } if number == due => {
                    back.add(capitals);
                    words += u64::from(some.to_native());
                }
                _ => return Err(wrong(&format!("another message than the answer to line {due}"))),
            }
            progress.inc(1);
        }
        self.channel.send(&ToChild::Enough)?;
        let arrived = match &*self.channel.recv()? {
            ArchivedFromChild::Received { lines: count, bytes, digest } => {
                if *count != lines.len() as u64 || *bytes != file.len() as u64 {
                    return Err(wrong(&format!("{bytes} bytes in {count} lines arrived")));
                }
                *digest
            }
            ArchivedFromChild::Answer { .. } => return Err(wrong("one answer too many")),
        };
        progress.finish_and_clear();

        let (sent, answered) = (there.finish(), back.finish());
        let mut due = Digester::default();
        due.add(&file.to_ascii_uppercase());
        if arrived != sent || answered != due.finish() {
            return Err(wrong("the digests differ"));
        }
        Ok(Passed {
            lines: lines.len() as u64,
            bytes: file.len() as u64,
            words,
            sha256_there: records::hex(&sent),
            sha256_back: records::hex(&answered),
        })
    }

    /// Takes times, by turns.
    fn measure(&mut self, options: &Options, lines: &[ToChild]) -> Result<Times, Failure> {
        let rounds = u64::from(options.load.rounds);
        let progress = output::progress(rounds, "rounds").with_message("measuring");
        let times = self.rounds(options, lines, &progress).map_err(|error| self.broken(&*error))?;
        progress.finish_and_clear();
        Ok(times)
    }

    /// Why times could not be taken. If the child is gone memring knows it, whichever link noticed first.
    fn broken(&mut self, error: &(dyn Error + 'static)) -> Failure {
        let deadline = Instant::now() + FAREWELL;
        loop {
            match self.channel.recv_deadline(deadline) {
                Ok(_) => {}
                Err(ended @ RecvError::Ended(_)) => break Failure::from(ended),
                Err(_) => break Failure::because(Status::Cut, error),
            }
        }
    }

    fn rounds(
        &mut self,
        options: &Options,
        lines: &[ToChild],
        progress: &ProgressBar,
    ) -> Result<Times, Failed> {
        let Self { channel, stream, line, places, .. } = self;
        let records = u64::from(options.load.records);
        let (mut raw, mut ours) = (Vec::new(), Latencies::new());
        let (mut sockets, mut shared) = (Latencies::new(), Latencies::new());
        let mut throughput = Throughput::default();
        for round in 0..u64::from(options.load.rounds) {
            // Each round begins elsewhere in the file, the same for every link.
            let some = |count: u64| {
                let from = (round * records % lines.len() as u64) as usize;
                lines.iter().cycle().skip(from).take(count as usize)
            };
            let many = || some(records * u64::from(STREAMED));
            for turn in Turn::ALL {
                match turn {
                    Turn::Line => {
                        if let Some((cpu, _)) = places.apart {
                            let warm = 2 * round * records;
                            let took = pin::on(cpu, || -> Result<_, Failed> {
                                line.call_each(warm..warm + records)?;
                                let began = Instant::now();
                                line.call_each(warm + records..warm + 2 * records)?;
                                Ok(began.elapsed())
                            })??;
                            raw.push(took.as_secs_f64() * 1e9 / records as f64);
                        }
                    }
                    Turn::RoundTrips => {
                        there_and_back(channel, some(records), &mut ours)?;
                        there_and_back(stream, some(records), &mut sockets)?;
                    }
                    Turn::OneByOne => {
                        throughput.memring.push(one_by_one(channel, many())?);
                        throughput.stream.push(one_by_one(stream, many())?);
                    }
                    Turn::Together => {
                        throughput.memring_together.push(together(channel, many())?);
                        throughput.stream_together.push(together(stream, many())?);
                    }
                    Turn::Shared => {
                        if let Some((cpu, _)) = places.apart {
                            let rates = pin::on(cpu, || -> Result<_, Failed> {
                                there_and_back(stream, some(records), &mut shared)?;
                                Ok((one_by_one(stream, many())?, together(stream, many())?))
                            })??;
                            throughput.shared.push(rates.0);
                            throughput.shared_together.push(rates.1);
                        }
                    }
                }
            }
            progress.inc(1);
        }
        Ok(Times {
            raw_line_ns: (!raw.is_empty()).then(|| median(&raw)),
            memring: ours.summary(),
            stream: sockets.summary(),
            shared: places.apart.map(|_| shared.summary()),
            throughput,
        })
    }
}

/// Where the two processes run, ours first.
#[derive(Clone, Copy, Debug)]
struct Places {
    /// Where they are kept.
    pinned: Option<(usize, usize)>,
    /// Two different processors, if there are: for the raw cache line, which two that spin for each other on one
    /// would pass a time slice each way; and so that it makes sense to put both on one.
    apart: Option<(usize, usize)>,
}

impl Places {
    fn choose(pin: Option<Pins>) -> std::io::Result<Self> {
        let first_two = match pin::allowed()?.as_slice() {
            [first, second, ..] => Some((*first, *second)),
            _ => None,
        };
        Ok(match pin {
            None => Self { pinned: first_two, apart: first_two },
            Some(Pins::Free) => Self { pinned: None, apart: first_two },
            Some(Pins::On(ours, childs)) => Self {
                pinned: Some((ours, childs)),
                apart: (ours != childs).then_some((ours, childs)),
            },
        })
    }
}

/// Sends lines and takes their answers, one at a time.
fn there_and_back<'a>(
    carrier: &mut impl Carrier<ToChild, FromChild>,
    lines: impl Iterator<Item = &'a ToChild>,
    latencies: &mut Latencies,
) -> Result<(), Failed> {
    for line in lines {
        let began = Instant::now();
        carrier.send(line)?;
        let got = carrier.receive(|message| match message {
            ArchivedFromChild::Answer { number, .. } => Some(number.to_native()),
            ArchivedFromChild::Received { .. } => None,
        })?;
        latencies.add(began.elapsed());
        let ToChild::Line { number: due, .. } = line else { continue };
        if got != Some(*due) {
            return Err(format!("another message than the answer to line {due} came").into());
        }
    }
    Ok(())
}

/// Records and bytes a second, with each record sent at once.
fn one_by_one<'a>(
    carrier: &mut impl Carrier<ToChild, FromChild>,
    lines: impl Iterator<Item = &'a ToChild>,
) -> Result<report::Rate, Failed> {
    let began = Instant::now();
    for line in lines {
        carrier.send(line)?;
    }
    all_received(carrier, began)
}

/// Records and bytes a second, with records sent together.
fn together<'a>(
    carrier: &mut impl Carrier<ToChild, FromChild>,
    lines: impl Iterator<Item = &'a ToChild>,
) -> Result<report::Rate, Failed> {
    let began = Instant::now();
    carrier.send_together(lines)?;
    all_received(carrier, began)
}

fn all_received(
    carrier: &mut impl Carrier<ToChild, FromChild>,
    began: Instant,
) -> Result<report::Rate, Failed> {
    carrier.send(&ToChild::Enough)?;
    let (lines, bytes) = carrier
        .receive(|message| match message {
            ArchivedFromChild::Received { lines, bytes, .. } => {
                Some((lines.to_native(), bytes.to_native()))
            }
            ArchivedFromChild::Answer { .. } => None,
        })?
        .ok_or("an answer came where a report was due")?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(report::Rate { records: lines as f64 / seconds, bytes: bytes as f64 / seconds })
}

fn wrong(what: &str) -> Failure {
    Failure::new(Status::Corrupt, format!("what came is not what was sent: {what}"))
}

/// The child process; it does not outlive this value.
struct Child(std::process::Child);

impl Child {
    /// Waits until it has connected.
    fn connects(&mut self, listener: &Listener) -> Result<Parent, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let slice = deadline.min(Instant::now() + LOOK);
            match listener.accept_deadline(slice) {
                // Another process of this user, which guessed the path; a pid may be unknown here.
                Ok(incoming) if incoming.peer().pid().is_some_and(|pid| pid != self.0.id()) => {
                    incoming.refuse("this socket is for the child of a memring demo");
                }
                Ok(incoming) => return Ok(incoming.open::<Demo>()?),
                Err(AcceptFailed(AcceptError::TimedOut)) => {
                    let ended = self.0.try_wait().is_ok_and(|status| status.is_some());
                    if ended || Instant::now() >= deadline {
                        let line = "the child did not connect";
                        return Err(self.explain(Failure::new(Status::NoSession, line)));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// It has to end well.
    fn finish(&mut self) -> Result<(), Failure> {
        match self.0.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => {
                Err(self
                    .explain(Failure::new(Status::Cut, format!("the child ended with {status}"))))
            }
            Err(error) => Err(Failure::io("waiting for the child", &error)),
        }
    }

    /// Adds what the child said about it, if it did. Whatever connects it with us is closed or will be of no use.
    fn explain(&mut self, failure: Failure) -> Failure {
        // It may be about to say what is wrong.
        let deadline = Instant::now() + FAREWELL;
        while Instant::now() < deadline && matches!(self.0.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK / 10);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
        let mut said = String::new();
        if let Some(stderr) = self.0.stderr.take() {
            let _ = stderr.take(4096).read_to_string(&mut said);
        }
        match said.lines().next().and_then(|line| line.strip_prefix("memring: ")) {
            Some(line) => failure.and_also(&format!("the child says: {line}")),
            None => failure,
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Where it has been waited for, both do nothing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
