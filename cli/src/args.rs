//! The command line: what can be asked for, and the help that explains it.
//!
//! Parsed once, into types that cannot be wrong; a mistake becomes one line. The help is the manual.

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand, ValueEnum};
use memring::Wait;

use crate::calls::target::{Target, target};
use crate::failure::{self, Failure, Status};

const ABOUT: &str = "\
Typed messages between two processes on one Linux host, at the speed of the cache, without trusting the \
process at the other end.

Start with `memring demo`. Every command takes --json and then prints one JSON object on standard output \
(`recv`, whose standard output is the data, on standard error).";

const EXAMPLES: &str = "\
Examples:
  memring demo                            two real processes, real data, and what it costs
  memring doctor                          what this machine and sandbox have, and what is lost
  memring bench 64 B                      memring beside the bare machine, with messages of 64 bytes
  memring echo ./e.sock &                 answer every message
  memring ping ./e.sock --wait spin       measure round trips to it
  memring recv ./p.sock > copy.tar &      take one stream of bytes
  memring send ./p.sock < some.tar        send it
  memring top ./o.sock                    the sessions of a running server
  memring describe ./c.sock               what a server of calls serves
  memring call ./c.sock clock.now         call a method of it

PATH is the path of a socket. A bare name, without a slash, is a socket in the runtime directory:
$RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/memring, else /run/memring for root, else /tmp/memring-UID.
The directory of a path has to be one in which others cannot replace files: mode 0700 is right.
Only processes of the same user may connect.

`memring help COMMAND` explains a command.";

/// What came of the command line.
pub(crate) enum Parsed {
    /// A command to run.
    Options(Options),
    /// Help or a version to print.
    Text(String),
}

/// Parses the command line of this process.
pub(crate) fn parse() -> Result<Parsed, Failure> {
    Options::try_parse().map(Parsed::Options).or_else(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Ok(Parsed::Text(error.render().to_string()))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(usage("which command? `memring --help` lists them"))
        }
        _ => Err(usage(&first_paragraph(&error.render().to_string()))),
    })
}

fn usage(line: &str) -> Failure {
    Failure::new(Status::Usage, line)
}

/// Of a message of several lines, what is wrong, without the usage that follows.
fn first_paragraph(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let wrong = text.split("\n\n").next().unwrap_or(text);
    format!("{wrong} (see --help)")
}

/// Typed messages between two processes on one Linux host.
#[derive(Debug, Parser)]
#[command(
    name = "memring",
    version,
    about,
    long_about = ABOUT,
    after_help = failure::HELP,
    after_long_help = format!("{EXAMPLES}\n\n{}", failure::HELP),
    max_term_width = 100,
    disable_help_subcommand = false,
)]
pub(crate) struct Options {
    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(Demo),
    #[command(hide = true)]
    DemoChild(DemoChild),
    #[command(hide = true)]
    DemoCacheServer(DemoCacheServer),
    Bench(Bench),
    #[command(hide = true)]
    BenchWorker(BenchWorker),
    Echo(Echo),
    Ping(Ping),
    Send(Send),
    Recv(Recv),
    Top(Top),
    Describe(Describe),
    Call(Call),
    Doctor(Doctor),
}

/// Pass a file between two processes, line by line, and measure it.
///
/// Starts a child process, which connects over a socket path, receives FILE line by line as typed records and
/// answers each with a typed reply. Prints what the two negotiated, verifies a digest of every byte both
/// ways, then measures round trips and throughput, by turns with a Unix stream socket that carries the same
/// records, and with a raw cache line for scale. The socket is measured on two processors, as memring is, and
/// with both its ends on one, where it is at its best.
///
/// The first digest is what `sha256sum FILE` says, the second what `tr a-z A-Z < FILE | sha256sum` says.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, after_long_help = format!("\
Examples:
  memring demo                        with a text that comes with the command
  memring demo /var/log/syslog        with a file of yours
  memring demo --wait spin            the lowest latency: two processors, burnt
  memring demo --json | jq .ratios
  memring demo cache                  another one: a gigabyte in microseconds

Lines longer than 64 KiB are cut into records of at most that. Ratios are medians over rounds that
alternate between the links, for a machine's speed drifts.

{}", failure::HELP))]
pub(crate) struct Demo {
    /// Another demo than this.
    #[command(subcommand)]
    pub(crate) other: Option<OtherDemo>,
    /// The file to pass; a text of the command's own if left out.
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) load: Load,
    /// The processors for this process and the child, as 0,1; or none, to let the scheduler choose. [default:
    /// the first two]
    #[arg(long, value_name = "OURS,CHILD", value_parser = pins)]
    pub(crate) pin: Option<Pins>,
}

/// Demos of something else than messages.
#[derive(Debug, Subcommand)]
pub(crate) enum OtherDemo {
    Cache(DemoCache),
}

/// Hand out files of up to a gigabyte, from a cache in memory.
///
/// Starts a cache server, which makes files of each size, in parts of 16 KiB with their hashes (XXH3), and asks it for
/// them. A request is timed from the question until the hash of one part has been checked; which, a
/// seeded generator draws for each request. The first request for a file on a session brings it as a blob: sealed memory, which is
/// checked and mapped within that time. From then on it is only named. So its size hardly matters.
///
/// Beside it, all parts are written to a Unix stream socket and read from it, in pieces of 256 KiB, and a
/// hash is checked likewise, for four seconds a size but three times at least. All sizes take turns, round by round.
#[derive(Args, Debug)]
#[command(after_long_help = format!("\
Examples:
  memring demo cache                          from 100 KiB to a gigabyte
  memring demo cache --sizes 4K,4G --requests 1000
  memring demo cache --all --sizes 1M,100M    the time it takes to read every byte
  memring demo cache --spread 0               small files where they are fastest: in the caches
  memring demo cache --wait spin --json

{}", failure::HELP))]
pub(crate) struct DemoCache {
    /// Sizes of files, with K, M or G for powers of 1024.
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = file_size,
        default_value = "100K,1M,10M,100M,1G")]
    pub(crate) sizes: Vec<u64>,
    /// Have as many files of each size as make up so much, so that the small ones do not lie in the processor's caches where the
    /// large one cannot. 0 makes one of each; there are about a thousand
    /// in all at the most.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "80M")]
    pub(crate) spread: u64,
    /// Requests for a file that was sent before, of each size.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) requests: u32,
    /// Rounds in which each size has its turn; so many first requests there are.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
    /// Check every part, not only one: all bytes are read.
    #[arg(long)]
    pub(crate) all: bool,
    /// Pages of the files.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) pages: FilePages,
    /// Where the draws and the files' contents begin.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How blocking calls wait.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wait: Waiting,
    /// The processors for this process and the cache, as 0,1; or none, to let the scheduler choose. [default:
    /// the first two]
    #[arg(long, value_name = "OURS,CACHE", value_parser = pins)]
    pub(crate) pin: Option<Pins>,
}

/// What a file in the cache lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum FilePages {
    /// The machine's pages, 4 KiB mostly.
    Usual,
    /// Huge ones, where the kernel gives them: they cost time when the file is made.
    #[default]
    Huge,
}

impl FilePages {
    pub(crate) const fn huge(self) -> bool {
        matches!(self, Self::Huge)
    }

    pub(crate) const fn name(self) -> &'static str {
        if self.huge() { "huge" } else { "usual" }
    }
}

/// The other process of `demo cache`.
#[derive(Args, Debug)]
pub(crate) struct DemoCacheServer {
    /// The directory of the socket.
    pub(crate) directory: PathBuf,
    /// How blocking calls wait.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wait: Waiting,
    /// The processor to run on.
    #[arg(long)]
    pub(crate) pin: Option<usize>,
}

/// Where the two processes of `demo` run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pins {
    /// Each on a processor.
    On(usize, usize),
    /// Where the scheduler puts them.
    Free,
}

/// How much `demo` measures, and how its processes wait: the same in both.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Load {
    /// How blocking calls wait.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) wait: Waiting,
    /// Rounds in which each link has its turn.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
    /// Records a turn, there and back or streamed.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) records: u32,
}

/// The other process of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoChild {
    /// The directory of the sockets.
    pub(crate) directory: PathBuf,
    #[command(flatten)]
    pub(crate) load: Load,
    /// The processors of the parent and of this process, as 0,1.
    #[arg(long, value_parser = two_processors)]
    pub(crate) apart: Option<(usize, usize)>,
    /// The processor to run on.
    #[arg(long)]
    pub(crate) pin: Option<usize>,
}

/// Measure memring beside the bare machine, and beside rivals.
///
/// Round trips, messages one way, set-up, idling and the footprint of a session, between two processes on two
/// processors or on one. All that a group compares is kept open at once and measured in short turns, round by round,
/// with every byte written and read; what is quoted is the median of turns, and of the ratios of turns in one round.
///
/// Groups whose names have all of the WORDs are measured; all of them if none is given, which takes some minutes.
#[derive(Args, Debug)]
#[command(after_long_help = format!("\
Examples:
  memring bench --list                     the names of the groups
  memring bench round trip 64 B            two of them
  memring bench --json --plot . > all.json everything, with pictures
  memring bench --from all.json --markdown the same again, as a page

--rivals takes the program that is built in benches/rivals of memring's repository: it holds what memring is
compared with, and nobody who installs memring has to build it. The machine should have nothing else to do.

{}", failure::HELP))]
pub(crate) struct Bench {
    /// Words that a group's name has to have.
    #[arg(value_name = "WORD")]
    pub(crate) words: Vec<String>,
    /// Rounds in which everybody has a turn.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
    /// The program that holds the rivals.
    #[arg(long, value_name = "FILE")]
    pub(crate) rivals: Option<PathBuf>,
    /// The processors of the two ends, as 0,1. [default: the first two]
    #[arg(long, value_name = "NEAR,FAR", value_parser = two_processors)]
    pub(crate) pin: Option<(usize, usize)>,
    /// Draw pictures of the outcome into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) plot: Option<PathBuf>,
    /// Measure nothing, and show what --json printed once.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rounds", "rivals", "pin"])]
    pub(crate) from: Option<PathBuf>,
    /// Print the tables as Markdown.
    #[arg(long, conflicts_with = "json")]
    pub(crate) markdown: bool,
    /// List the groups and measure nothing.
    #[arg(long, conflicts_with_all = ["from", "plot", "markdown"])]
    pub(crate) list: bool,
}

/// One end of what `bench` measures.
#[derive(Args, Debug)]
pub(crate) struct BenchWorker {
    /// What to do, as JSON.
    pub(crate) job: String,
}

/// Answer every message with itself.
///
/// Listens at PATH for any number of clients of the same user, each on a thread of its own, until
/// interrupted; then says how many messages it answered. It waits as each client waits, unless told how.
#[derive(Args, Debug)]
#[command(after_long_help = format!("\
Examples:
  memring echo ./e.sock               until Ctrl-C
  memring echo ./e.sock --sessions 1  until the first client has gone
  memring echo ./e.sock --pin 1       on processor 1
  memring echo ./e.sock --observe ./o.sock & memring top ./o.sock

{}", failure::HELP))]
pub(crate) struct Echo {
    /// The socket to listen at.
    pub(crate) path: String,
    /// How to wait for messages; as each client does, if left out.
    #[arg(long, value_enum)]
    pub(crate) wait: Option<Waiting>,
    /// Let `memring top` look, at this socket.
    #[arg(long, value_name = "PATH")]
    pub(crate) observe: Option<String>,
    /// End after this many sessions.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sessions: Option<u64>,
    /// Run on this processor only.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
}

/// Measure round trips to `memring echo`.
///
/// Sends messages to the `memring echo` at PATH, one at a time, checks that every byte comes back, and
/// prints how long the round trips took.
///
/// Without --interval, messages follow each other at once and only the summary is printed. With it, each
/// round trip is a line, as of ping(8). Ctrl-C ends it with the summary.
#[derive(Args, Debug)]
#[command(after_long_help = format!("\
Examples:
  memring ping ./e.sock                            100000 messages at once
  memring ping ./e.sock --interval 1s              one a second, until Ctrl-C
  memring ping ./e.sock --wait spin --pin 0        the lowest latency, with `memring echo --pin 1`
  memring ping ./e.sock --size 64k --count 1000 --json

With --wait spin neither process makes a system call a message, which can be looked at:
  strace -c -f memring ping ./e.sock --wait spin --count 1000000

{}", failure::HELP))]
pub(crate) struct Ping {
    /// The socket to connect to.
    pub(crate) path: String,
    /// Bytes of a message, as 32, 4k or 1M.
    #[arg(long, short, default_value = "32", value_parser = size)]
    pub(crate) size: u64,
    /// Messages to send. [default: 100000; with --interval, until interrupted]
    #[arg(long, short, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Time from one message to the next, as 1s, 200ms or 50us.
    #[arg(long, short, value_parser = time)]
    pub(crate) interval: Option<Duration>,
    /// How both sides wait for messages.
    #[arg(long, short, value_enum, default_value_t)]
    pub(crate) wait: Waiting,
    /// Run on this processor only.
    #[arg(long, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// Send standard input to `memring recv`.
///
/// Connects to the `memring recv` at PATH and sends it standard input to its end. Succeeds only when the
/// other side has said that all of it was written.
#[derive(Args, Debug)]
#[command(after_long_help = format!("\
Examples:
  memring send ./p.sock < file
  tar c . | memring send ./p.sock --wait-for-service --timeout 60s

{}", failure::HELP))]
pub(crate) struct Send {
    /// The socket to connect to.
    pub(crate) path: String,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// Receive what `memring send` sends, on standard output.
///
/// Listens at PATH for one `memring send` of the same user and writes what it sends to standard output.
/// Succeeds only when the sender has said that this was all, and all of it was written; a stream that was cut
/// is a failure, and what came of it has been written.
#[derive(Args, Debug)]
#[command(after_long_help = format!("\
Examples:
  memring recv ./p.sock > file
  memring recv ./p.sock | tar x

Standard output is the data, so --json prints its object on standard error.

{}", failure::HELP))]
pub(crate) struct Recv {
    /// The socket to listen at.
    pub(crate) path: String,
    /// Give up if no sender has come in this time.
    #[arg(long, value_parser = time)]
    pub(crate) timeout: Option<Duration>,
}

/// Show the sessions of a running server, live.
///
/// PATH is the socket of the server's `memring::observe::serve`, or of `memring echo --observe`; not the one where it meets
/// its clients. Only processes of the server's user, and root, may look. The server's sessions are not slowed down by it.
///
/// Sessions with the most messages come first. Rates are of the server's own halves, between two looks: `out` is what
/// it sends, `in` what it receives. `fill` is how much of a lane is in use. `sleeps` are waits that ended in a system call. A
/// peer is shown by the name it gave itself, or else by its program in brackets; pid and uid are the kernel's word. A
/// session that has ended stays for as long as the server holds on to it: `closed` or `died` by the peer, `local` by the
/// server, `fault` with the rule that the peer broke.
///
/// On a terminal each table is drawn over the one before, until Ctrl-C; elsewhere they follow each other.
#[derive(Args, Debug)]
#[command(after_long_help = format!("\
Examples:
  memring echo ./e.sock --observe ./o.sock &
  memring ping ./e.sock --count 10000000 &
  memring top ./o.sock                         once a second, until Ctrl-C
  memring top ./o.sock --once                  one table, after one interval
  memring top ./o.sock --json --interval 10s   one object each ten seconds
  curl --unix-socket ./o.sock http://localhost/metrics

With --json each look is one object, as the server gives it: counters and no rates; `taken_ns` is when. What a peer
says of itself is in `name` and `claimed`.

{}", failure::HELP))]
pub(crate) struct Top {
    /// The socket to ask at.
    pub(crate) path: String,
    /// Time from one look to the next, as 1s or 200ms.
    #[arg(long, short, default_value = "1s", value_parser = interval)]
    pub(crate) interval: Duration,
    /// Show one table and end.
    #[arg(long)]
    pub(crate) once: bool,
    /// How long to wait for each answer.
    #[arg(long, default_value = "5s", value_parser = interval)]
    pub(crate) timeout: Duration,
}

/// Say what a server of calls serves: interfaces, their methods, and the types of these.
///
/// PATH is the socket where the server meets its clients. What it tells is what it lets this user use: an interface that a policy of
/// its hides is left out, and a method is marked `denied`.
///
/// Each member is a line: `call` for a method with one answer, `stream` for one with many replies, `one-way` for one without any, and
/// `signal` for what the server sends to those who subscribe. `json` marks what `memring call` can call. Then come the structs and enums
/// of their arguments, results and errors, as they would be declared; what serde is told about them, such as other names in JSON, is not shown.
#[derive(Args, Debug)]
#[command(after_long_help = format!("\
Examples:
  memring describe ./c.sock
  memring describe ./c.sock --json | jq '.interfaces[].members[] | select(.json).name'

With --json there is also what programs compare when they open an interface: the fingerprints of the arguments, the result and
the error of each member.

{}", failure::HELP))]
pub(crate) struct Describe {
    /// The socket to ask at.
    pub(crate) path: String,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// Call a method of a running server with JSON, and print what comes back.
///
/// PATH is the socket where the server meets its clients, and METHOD is `interface.method`, or `interface@version.method`.
/// Of an interface that is served in several versions the newest is taken, by the numbers in them.
///
/// The arguments are a JSON object by their names, or an array in their order; `-` reads them from standard input. The result is
/// printed as JSON on a line; each reply of a stream is a line, as it comes; of a one-way method nothing is. A method's own error is
/// printed on standard error, as JSON, and is status 1.
///
/// Only methods that their server declares `json` can be called so; `memring describe` marks them.
#[derive(Args, Debug)]
#[command(after_long_help = format!("\
Examples:
  memring call ./c.sock calculator.calculate '{{\"op\": \"+\", \"digits\": 0, \"terms\": [2, 40]}}'
  memring call ./c.sock calculator@1.0.calculate '[\"+\", 0, [2, 40]]'
  echo '{{\"symbol\": \"ABC\"}}' | memring call ./m.sock market.watch - --count 10
  memring call ./c.sock clock.now

Arguments that are not the method's are status 2, as are names of what there is not.

{}", failure::HELP))]
pub(crate) struct Call {
    /// The socket to connect to.
    pub(crate) path: String,
    /// The method, with its interface.
    #[arg(value_name = "METHOD", value_parser = target)]
    pub(crate) target: Target,
    /// Its arguments: a JSON object or array, or - for standard input.
    #[arg(value_name = "JSON", default_value = "{}")]
    pub(crate) arguments: String,
    /// The version of the interface. [default: that of METHOD, or else the newest]
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// End after so many replies of a stream.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// How long to wait for the connection, and for the result. [default: 5s; for a stream as long as it goes on]
    #[arg(long, value_parser = time)]
    pub(crate) timeout: Option<Duration>,
    /// Keep trying, until the timeout, while nobody listens there.
    #[arg(long)]
    pub(crate) wait_for_service: bool,
}

/// Say what this machine and sandbox have, and what is lost without it.
///
/// Tries each kernel feature that memring uses, harmlessly, and reads the limits that it can run into.
/// Succeeds if memring works here, even if something is lost.
#[derive(Args, Debug)]
#[command(after_long_help = format!("\
Examples:
  memring doctor
  memring doctor --strict && echo nothing is lost here
  memring doctor --json | jq '.checks[] | select(.state != \"ok\")'

Status 1 means that memring cannot run here; with --strict, that something is missing.

{}", failure::HELP))]
pub(crate) struct Doctor {
    /// Fail if anything is missing, even what memring can do without.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// How to reach a service.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Reach {
    /// How long to wait for the connection, and for each answer.
    #[arg(long, default_value = "5s", value_parser = time)]
    pub(crate) timeout: Duration,
    /// Keep trying, until the timeout, while nobody listens there.
    #[arg(long)]
    pub(crate) wait_for_service: bool,
}

/// How blocking calls wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Waiting {
    /// Spin until there is something to do: the lowest latency, one processor burnt.
    Spin,
    /// Spin for a time learnt from recent waits, then sleep.
    #[default]
    Adaptive,
    /// Sleep at once: no processor time while there is nothing to do.
    Park,
}

impl Waiting {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Spin => "spin",
            Self::Adaptive => "adaptive",
            Self::Park => "park",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Spin, Self::Adaptive, Self::Park].into_iter().find(|waiting| waiting.name() == name)
    }
}

impl From<Waiting> for Wait {
    fn from(waiting: Waiting) -> Self {
        match waiting {
            Waiting::Spin => Self::Spin,
            Waiting::Adaptive => Self::Adaptive,
            Waiting::Park => Self::Park,
        }
    }
}

/// `1s`, `200ms`, `50us`, or seconds without a unit.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let number: f64 = number.parse().map_err(|_| "not a time, as 1s or 200ms".to_owned())?;
    let scale = match unit {
        "s" | "" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "m" => 60.0,
        _ => return Err(format!("{unit:?} is no unit of time: s, ms, us or m")),
    };
    let seconds = number * scale;
    // The clock is added to it, so centuries would overflow.
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time <= Duration::from_secs(365 * 24 * 3600) => Ok(time),
        _ => Err("from 0 to a year".to_owned()),
    }
}

/// The same, of which there are not too many a second.
fn interval(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    Some(time).filter(|time| time.as_millis() >= 10).ok_or_else(|| "at least 10ms".to_owned())
}

/// `32`, `4k`, `1M`: bytes, in powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    Some(bytes(text)?).filter(|bytes| *bytes <= 1 << 30).ok_or_else(|| "at most 1G".to_owned())
}

/// The same, without a limit.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let number: u64 = number.parse().map_err(|_| "not a size, as 32, 4k or 1M".to_owned())?;
    let scale: u64 = match unit {
        "" | "B" => 1,
        "k" | "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(format!("{unit:?} is no unit of size: k, M or G")),
    };
    number.checked_mul(scale).ok_or_else(|| "that is more than there is".to_owned())
}

fn split_unit(text: &str) -> (&str, &str) {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    text.split_at(digits)
}

/// Bytes of a file in memory, as `100K`.
fn file_size(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    let fits = (1..=1 << 40).contains(&bytes);
    fits.then_some(bytes).ok_or_else(|| "from 1 to 1024G".to_owned())
}

fn two_processors(text: &str) -> Result<(usize, usize), String> {
    let two = text
        .split_once(',')
        .and_then(|(ours, childs)| Some((ours.parse().ok()?, childs.parse().ok()?)));
    two.ok_or_else(|| "two processors, as 0,1".to_owned())
}

fn pins(text: &str) -> Result<Pins, String> {
    match text {
        "none" => Ok(Pins::Free),
        two => two_processors(two).map(|(ours, childs)| Pins::On(ours, childs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn times_and_sizes_are_parsed_or_refused() {
        for (text, nanos) in [
            ("1s", Some(1_000_000_000)),
            ("0", Some(0)),
            ("0.25", Some(250_000_000)),
            ("200ms", Some(200_000_000)),
            ("50us", Some(50_000)),
            ("2m", Some(120_000_000_000)),
            ("", None),
            ("-1", None),
            ("1h", None),
            ("1e400", None),
            ("99999999999999", None),
            ("inf", None),
            ("1.2.3", None),
        ] {
            assert_eq!(time(text).ok().map(|time| time.as_nanos()), nanos, "{text:?}");
        }
        for (text, bytes) in [
            ("0", Some(0)),
            ("32", Some(32)),
            ("4k", Some(4096)),
            ("1M", Some(1 << 20)),
            ("1G", Some(1 << 30)),
            ("2G", None),
            ("99999999999999999999", None),
            ("18014398509481984k", None),
            ("1.5k", None),
            ("k", None),
            ("3x", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text:?}");
        }
        for (text, two) in [("0,1", Some((0, 1))), ("3", None), ("a,b", None), ("1,", None)] {
            assert_eq!(two_processors(text).ok(), two, "{text:?}");
        }
    }

    #[test]
    fn ways_to_wait_have_the_names_that_the_command_line_knows() {
        for waiting in Waiting::value_variants() {
            let name = waiting.to_possible_value().unwrap();
            assert_eq!(name.get_name(), waiting.name());
            assert_eq!(Waiting::parse(waiting.name()), Some(*waiting));
        }
        assert_eq!(Waiting::parse("dance"), None);
    }
}
