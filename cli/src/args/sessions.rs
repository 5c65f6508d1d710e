//! What the commands take that serve others, or are clients: `echo` and `ping`, `send` and `recv`, `top`, `describe` and `call`.

use std::time::Duration;

use clap::Args;
use memring::Connector;

use super::values::{Waiting, interval, size, time};
use crate::calls::target::{Target, target};
use crate::failure;

/// How long a call takes at the most, unless said otherwise; but a stream.
const TIMEOUT: Duration = Duration::from_secs(5);

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

impl Call {
    /// Where no time is given, it is that of everything but a stream.
    pub(crate) fn reach(&self) -> Reach {
        let timeout = self.timeout.unwrap_or(TIMEOUT);
        Reach { timeout, wait_for_service: self.wait_for_service }
    }
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

impl Reach {
    /// A client of this name, which reaches it so.
    pub(crate) fn connector(self, name: &str) -> Connector {
        let connector = Connector::new().name(name).timeout(self.timeout);
        if self.wait_for_service { connector.wait_for_service() } else { connector }
    }
}
