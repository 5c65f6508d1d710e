//! Calls: the same service by memring, by its rivals in calling, by a plain socket, and by memring's messages.
//!
//! Four words go there, and each comes back as one more. Whoever calls makes the argument anew for each call, from its
//! number, and checks the answer. Client and server are processes of their own; what each library is told, and why,
//! stands at the top of its file.
//!
//! | module | its job |
//! |---|---|
//! | `command` | the command line, and the order of things |
//! | `turns` | keeps all contenders open, and gives turns |
//! | `worker` | a process that serves, or calls as it is told |
//! | `outcome`, `table` | what came of it, and how that is shown |
//! | `meet` | how client and server find each other |
//! | `awaited` | calls by whatever has a future for each |
//! | `batches` | calls over whatever carries words in order, and knows of no calls |
//! | `socket`, `messages` | those: a Unix stream, and memring's messages |
//! | `rpc` | memring's calls |
//! | `ours` | how client and server find each other over memring |
//! | `tarpc`, `zbus`, `grpc` | the rivals |

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use memring_benches::{Failed, payload};
use serde::{Deserialize, Serialize};

mod awaited;
mod batches;
mod command;
mod grpc;
mod meet;
mod messages;
mod ours;
mod outcome;
mod rpc;
mod socket;
mod table;
mod tarpc;
#[cfg(test)]
mod tests;
mod turns;
mod worker;
mod zbus;

pub use command::{COMMAND, run};
pub use worker::{COMMAND as WORKER, run as work};

/// All of them: first what everybody else is compared with.
pub fn contenders() -> Vec<Contender> {
    [socket::ALL, messages::ALL, rpc::ALL, tarpc::ALL, zbus::ALL, grpc::ALL].concat()
}

/// The calling end of a connection.
pub trait Calls {
    /// Makes each of these calls when the one before it is answered, and tells how long each took.
    ///
    /// # Errors
    ///
    /// If the connection broke, or an answer is not the one that is due.
    fn round_trips(
        &mut self,
        numbers: Range<u64>,
        took: &mut dyn FnMut(Duration),
    ) -> Result<(), Failed>;

    /// Makes all of these calls, so many of them outstanding for as long as there are so many.
    ///
    /// # Errors
    ///
    /// As [`round_trips`](Self::round_trips).
    fn pipelined(&mut self, numbers: Range<u64>, outstanding: u64) -> Result<(), Failed>;
}

/// Something to call through.
#[derive(Clone, Copy)]
pub struct Contender {
    /// What it is called in tables.
    pub name: &'static str,
    /// Which version of what.
    pub version: &'static str,
    /// Serves one client in this directory, until it has gone or for ever.
    pub serve: fn(Threads, &Path) -> Result<(), Failed>,
    /// Connects to the server in this directory, or to one that will be there soon.
    pub connect: fn(Threads, &Path) -> Result<Client, Failed>,
}

/// A connected client.
pub type Client = Box<dyn Calls>;

/// The threads of the tokio that runs the tasks of a process, if tokio does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Threads {
    /// The one that calls, or that serves.
    #[default]
    One,
    /// As many as there are processors, and the one that calls.
    Many,
}

/// Argument and answer.
pub type Words = [u64; 4];

/// The argument of call `number`.
#[inline]
pub fn argument(number: u64) -> Words {
    [0, 1, 2, 3].map(|index| payload::word(number, index))
}

/// The service.
#[inline]
pub fn echo(argument: Words) -> Words {
    argument.map(|word| word.wrapping_add(1))
}

/// Whether this is the answer to call `number`.
///
/// # Errors
///
/// It is not.
#[inline]
pub fn check(number: u64, answer: Words) -> Result<(), Failed> {
    if answer == echo(argument(number)) { Ok(()) } else { Err(unexpected(number, answer)) }
}

#[cold]
fn unexpected(number: u64, answer: Words) -> Failed {
    format!("{answer:?} came for an answer to call {number}").into()
}
