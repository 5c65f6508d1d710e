//! `memring demo cache`: a cache server with files in memory, and a client that asks for them and looks into them.
//!
//! Each request is timed from the question to the checked hash of one part, drawn for it. A file goes over a session
//! once, as a blob; that is the first request, and all later ones bring its number. Beside it all parts are written to and read from a Unix
//! stream socket, and a part checked likewise. All sizes take turns, round by round.

mod files;
mod report;
pub(crate) mod server;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use memring::{ClientEnd, Connector};
use memring_benches::scratch::Scratch;
use memring_benches::{Failed, pin};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Child, Places};
use crate::args::DemoCache as Options;
use crate::failure::{Failure, Status};
use crate::output;
use files::{ArchivedAnswer, Ask, Cache, File, Random, hash};
use report::{Report, Size};

/// The socket's name in the directory that the two processes share.
const SOCKET: &str = "cache.sock";
/// How long the server may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has ended instead.
const LOOK: Duration = Duration::from_millis(5);
/// Bytes read from the socket at once.
const PIECE: usize = 256 << 10;
/// Files that the client keeps at a time: all that a session can.
const MAX_BLOBS: u16 = 1024;
/// Files at most, some being made known while others are not forgotten yet.
const MOST_FILES: u32 = 1000;
/// Time for the socket with each size in all, if the rounds leave it that long.
const SOCKET_TIME: Duration = Duration::from_secs(4);

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let say = |text: String| if json { Ok(()) } else { output::print(&text) };
    let (mut client, mut child, places) = start(options)?;
    let outcome = (|| {
        let mut sizes = Size::all(options);
        say(report::opening(&sizes))?;
        client.make(options, &sizes)?;
        client.measure(options, &mut sizes)?;
        let report = Report::new(options, &sizes, places.pinned);
        if json { output::print_json(&report) } else { say(report.text()) }
    })();
    drop(client);
    match outcome {
        Ok(()) => child.finish(),
        Err(failure) => Err(child.explain(failure)),
    }
}

/// Starts the server, and connects to it.
fn start(options: &Options) -> Result<(Client, Child, Places), Failure> {
    more_descriptors();
    let doing = |doing: &'static str| move |error| Failure::io(doing, &error);
    let directory = Scratch::new().map_err(doing("making a directory for the socket"))?;
    let places = Places::choose(options.pin).map_err(doing("asking for the processors"))?;
    let program = std::env::current_exe().map_err(doing("finding this program"))?;
    let mut command = Command::new(program);
    command
        .arg("demo-cache-server")
        .arg(directory.path())
        .args(["--wait", options.wait.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    if let Some((ours, servers)) = places.pinned {
        command.args(["--pin", &servers.to_string()]);
        pin::pin(ours).map_err(doing("--pin"))?;
    }
    let mut child = Child(command.spawn().map_err(doing("starting the cache"))?);
    let socket = directory.path().join(SOCKET);
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        let ended = child.0.try_wait().is_ok_and(|status| status.is_some());
        if ended || Instant::now() >= deadline {
            let failure = Failure::new(Status::NoSession, "the cache did not begin to listen");
            return Err(child.explain(failure));
        }
        std::thread::sleep(LOOK);
    }
    let connector = Connector::new()
        .name("memring demo")
        .wait(options.wait.into())
        .blobs(MAX_BLOBS, u64::MAX)
        .unix_sockets()
        .timeout(PATIENCE)
        .wait_for_service();
    let channel =
        connector.connect::<Cache>(socket).map_err(|error| child.explain(error.into()))?;
    let client = Client { channel, socket: None };
    Ok((client, child, places))
}

/// Each file is a descriptor, here and in the server, which inherits the limit.
fn more_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let more = Rlimit { current: limit.maximum, ..limit };
    // Where it is not to be had, the one file too many says so.
    let _ = setrlimit(Resource::Nofile, more);
}

/// The client: its session, and the socket beside it.
struct Client {
    channel: ClientEnd<Cache>,
    socket: Option<UnixStream>,
}

impl Client {
    /// Has all files made.
    fn make(&mut self, options: &Options, sizes: &[Size]) -> Result<(), Failure> {
        let total = sizes.iter().map(|size| size.bytes * u64::from(size.files())).sum();
        let progress = output::progress(total, "bytes").with_message("making files");
        for size in sizes {
            for number in size.numbers.clone() {
                let (bytes, seed) = (size.bytes, options.seed.wrapping_add(number.into()));
                self.channel.send(&Ask::Make { bytes, seed, huge: options.pages.huge() })?;
                match &*self.channel.recv()? {
                    ArchivedAnswer::Made => {}
                    ArchivedAnswer::Failed(why) => {
                        let line = format!("the cache cannot hold {}: {why}", output::bytes(bytes));
                        return Err(Failure::new(Status::Local, line));
                    }
                    _ => return Err(wrong()),
                }
                progress.inc(bytes);
            }
        }
        progress.finish_and_clear();
        Ok(())
    }

    fn measure(&mut self, options: &Options, sizes: &mut [Size]) -> Result<(), Failure> {
        let rounds = options.rounds;
        let progress = output::progress(2 * u64::from(rounds), "rounds").with_message("measuring");
        let mut random = Random(options.seed);
        // What is known takes no part in it.
        for number in sizes.iter().flat_map(|size| size.numbers.clone()) {
            fetch(&mut self.channel, number)?;
        }
        for round in 0..rounds {
            for size in &mut *sizes {
                let times = requests(options.requests, rounds, round);
                self.ask_again(size, &mut random, times, options.all)?;
                if size.streamed < SOCKET_TIME || size.socket.summary().count < 3 {
                    let (number, drawn) = size.draw(&mut random);
                    let time = self
                        .stream(number, size.bytes, drawn, options.all)
                        .map_err(|error| Failure::because(Status::Cut, &*error))?;
                    size.streamed += time;
                    size.socket.add(time);
                }
            }
            progress.inc(1);
        }
        // By themselves, for a file that has come anew has all its pages before it.
        for _ in 0..rounds {
            for size in &mut *sizes {
                let (number, drawn) = size.draw(&mut random);
                self.channel.send(&Ask::Renew(number))?;
                if !matches!(&*self.channel.recv()?, ArchivedAnswer::Made) {
                    return Err(wrong());
                }
                size.first.add(look_into(&mut self.channel, number, drawn, options.all)?);
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(())
    }

    /// Asks for a file that the session knows, so many times; and for scale, as often, hashes a part without asking, and asks
    /// without a file.
    fn ask_again(
        &mut self,
        size: &mut Size,
        random: &mut Random,
        times: u32,
        all: bool,
    ) -> Result<(), Failure> {
        for _ in 0..times {
            let (number, drawn) = size.draw(random);
            size.repeated.add(look_into(&mut self.channel, number, drawn, all)?);
            let (number, drawn) = size.draw(random);
            let file = fetch(&mut self.channel, number)?;
            let begun = Instant::now();
            check(&file, drawn, all)?;
            size.alone.add(begun.elapsed());
            size.nothing.add(ask_for_nothing(&mut self.channel)?);
        }
        Ok(())
    }

    /// Reads all parts from the socket, and checks the one that was drawn, or all.
    fn stream(
        &mut self,
        number: u32,
        bytes: u64,
        drawn: u64,
        all: bool,
    ) -> Result<Duration, Failed> {
        self.channel.send(&Ask::Stream(number))?;
        if self.socket.is_none() {
            let answer = self.channel.recv()?;
            let ArchivedAnswer::Socket(fd) = &*answer else { return Err("no socket came".into()) };
            self.socket = answer.take_fd(fd).map(UnixStream::from);
        }
        let socket = self.socket.as_mut().ok_or("no socket came")?;
        let mut piece = vec![0; PIECE];
        let begun = Instant::now();
        socket.write_all(&[1])?;
        let (mut left, mut part) = (bytes, 0);
        let mut sum = 0;
        while left > 0 {
            let now = left.min(PIECE as u64) as usize;
            socket.read_exact(&mut piece[..now])?;
            for bytes in piece[..now].chunks(files::PART) {
                if all || part == drawn {
                    sum ^= hash(bytes);
                }
                part += 1;
            }
            left -= now as u64;
        }
        let time = begun.elapsed();
        let due = self.hashes(number, drawn, all)?;
        if sum == due { Ok(time) } else { Err("another hash than in the cache".into()) }
    }

    /// The hash of a part, or all of them together, as the file has them.
    fn hashes(&mut self, number: u32, drawn: u64, all: bool) -> Result<u64, Failed> {
        let file = fetch(&mut self.channel, number)
            .map_err(|failure| failure.line().unwrap_or_default().to_owned())?;
        let some = if all { 0..file.len() } else { drawn..drawn + 1 };
        let mut sum = 0;
        for part in some {
            sum ^= file.get(part)?.ok_or("a part is missing")?.hash.to_native();
        }
        Ok(sum)
    }
}

/// Asks for a file, and checks the hash of one part of it, or of all.
fn look_into(
    channel: &mut ClientEnd<Cache>,
    number: u32,
    drawn: u64,
    all: bool,
) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let file = fetch(channel, number)?;
    check(&file, drawn, all)?;
    Ok(begun.elapsed())
}

/// Checks the hash of one part, or of all.
fn check(file: &File, drawn: u64, all: bool) -> Result<(), Failure> {
    let some = if all { 0..file.len() } else { drawn..drawn + 1 };
    for part in some {
        let part = file.get(part).map_err(|error| Failure::because(Status::Cut, &error))?;
        if part.is_none_or(|part| hash(&part.bytes) != part.hash) {
            return Err(wrong());
        }
    }
    Ok(())
}

fn fetch(channel: &mut ClientEnd<Cache>, number: u32) -> Result<File, Failure> {
    channel.send(&Ask::File(number))?;
    let answer = channel.recv()?;
    match &*answer {
        ArchivedAnswer::File(file) => {
            answer.blob(file).map_err(|error| Failure::because(Status::Cut, &error))
        }
        _ => Err(wrong()),
    }
}

fn ask_for_nothing(channel: &mut ClientEnd<Cache>) -> Result<Duration, Failure> {
    let begun = Instant::now();
    channel.send(&Ask::Nothing)?;
    match &*channel.recv()? {
        ArchivedAnswer::Nothing => Ok(begun.elapsed()),
        _ => Err(wrong()),
    }
}

/// Repeated requests in a round, so that all rounds have as many as asked for.
fn requests(all: u32, rounds: u32, round: u32) -> u32 {
    all / rounds + u32::from(round < all % rounds)
}

fn wrong() -> Failure {
    Failure::new(
        Status::Cut,
        "the cache answered with something else than the file that was asked for",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rounds_have_all_requests_between_them() {
        for (all, rounds) in [(10, 3), (3, 10), (0, 1), (1000, 100)] {
            assert_eq!((0..rounds).map(|round| requests(all, rounds, round)).sum::<u32>(), all);
        }
    }
}
