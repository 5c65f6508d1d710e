//! What `memring demo` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::values::{Waiting, file_size, size, two_processors};
use crate::failure;

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

fn pins(text: &str) -> Result<Pins, String> {
    match text {
        "none" => Ok(Pins::Free),
        two => two_processors(two).map(|(ours, childs)| Pins::On(ours, childs)),
    }
}
