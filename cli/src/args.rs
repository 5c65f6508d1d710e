//! The command line: what can be asked for, and the help that explains it.
//!
//! Parsed once, into types that cannot be wrong; a mistake becomes one line. The help is the manual.

mod demo;
mod sessions;
mod values;

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::failure::{self, Failure, Status};

pub(crate) use demo::{Demo, DemoCache, DemoCacheServer, DemoChild, OtherDemo, Pins};
pub(crate) use sessions::{Call, Describe, Echo, Ping, Reach, Recv, Send, Top};
pub(crate) use values::Waiting;
use values::two_processors;

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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }
}
