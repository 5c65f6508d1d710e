//! The commands: a table of names, usages and functions, and the state that they share.
//!
//! What an attack does lies in the nouns; a command only reads its line, calls them and says what
//! came of it.

mod connection;
mod descriptor;
mod lane;
mod message;
mod process;
mod storm;

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::answer::{Answer, Failure, Fields, text};
use crate::connection::{Connection, Remains};
use crate::handshake::Segments;
use crate::line::Line;
use crate::segment::Map;
use crate::storm::Storm;
use crate::wire;

/// One command.
pub struct Command {
    name: &'static str,
    /// The words and keys it takes. A key that does not stand here is refused, unless it takes
    /// fields.
    usage: &'static str,
    run: fn(&mut Attacker, &Line) -> Answer,
}

const fn command(
    name: &'static str,
    usage: &'static str,
    run: fn(&mut Attacker, &Line) -> Answer,
) -> Command {
    Command { name, usage, run }
}

fn all() -> impl Iterator<Item = &'static Command> {
    [
        connection::COMMANDS,
        message::COMMANDS,
        descriptor::COMMANDS,
        lane::COMMANDS,
        storm::COMMANDS,
        process::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

/// All that commands leave behind for those that follow.
#[derive(Default)]
pub struct Attacker {
    connections: Vec<Option<Connection>>,
    current: usize,
    listener: Option<OwnedFd>,
    crowd: Vec<OwnedFd>,
    kept: Vec<Remains>,
    named: BTreeMap<String, OwnedFd>,
    segments: Option<Segments>,
    maps: Vec<Arc<Map>>,
    storms: Vec<Storm>,
    /// What is done once the answer is out.
    pub after: Option<Box<dyn FnOnce()>>,
}

impl Attacker {
    /// Does what a line says. `None` if it says nothing.
    pub fn obey(&mut self, line: &str) -> Option<Answer> {
        let line = Line::parse(line)?;
        if line.name == "help" {
            return Some(help(&line));
        }
        let Some(command) = all().find(|command| command.name == line.name) else {
            return Some(Err(Failure::usage("no such command, see help")));
        };
        let known = |key: &str| {
            let mut keys = command.usage.split_whitespace().filter_map(|word| word.split_once('='));
            key == "timeout"
                || keys.any(|(name, _)| [key, "field"].contains(&name.trim_start_matches('[')))
        };
        if let Some((key, _)) = line.named().iter().find(|(key, _)| !known(key)) {
            return Some(Err(Failure::usage(format!(
                "{key}= is not known here: {}",
                command.usage
            ))));
        }
        Some((command.run)(self, &line))
    }

    fn add(&mut self, socket: OwnedFd) -> usize {
        self.connections.push(Some(Connection::new(socket)));
        self.current = self.connections.len() - 1;
        self.current
    }

    fn connection(&mut self) -> Result<&mut Connection, Failure> {
        self.connections
            .get_mut(self.current)
            .and_then(Option::as_mut)
            .ok_or_else(|| Failure::usage("no connection"))
    }

    /// A descriptor by name; `fd0` and so on are those that came on the current connection.
    fn descriptor(&self, name: &str) -> Result<&OwnedFd, Failure> {
        let received = || {
            let index: usize = name.strip_prefix("fd")?.parse().ok()?;
            self.connections.get(self.current)?.as_ref()?.fds.get(index)
        };
        let made = || {
            let segments = self.segments.as_ref()?;
            match name {
                "s" => Some(&segments.s),
                "s_sent" => Some(&segments.s_sent),
                "c" => Some(&segments.c),
                "c_sent" => Some(&segments.c_sent),
                _ => None,
            }
        };
        let named = self.named.get(name).or_else(received).or_else(made);
        named.ok_or_else(|| Failure::usage(format!("no descriptor {name}")))
    }

    /// The raw descriptors of `fds=A,B`.
    fn descriptors(&self, line: &Line) -> Result<Vec<RawFd>, Failure> {
        let names = line.get("fds").unwrap_or("").split(',').filter(|name| !name.is_empty());
        names.map(|name| self.descriptor(name).map(AsRawFd::as_raw_fd)).collect()
    }
}

/// One line: the names of all commands; of one command, its usage and the fields of its message.
fn help(line: &Line) -> Answer {
    let Some(name) = line.words().first() else {
        let names: Vec<&str> = all().map(|command| command.name).collect();
        return Ok(Fields::new().with("commands", names.join(",")));
    };
    let command = all().find(|command| command.name == name);
    let command = command.ok_or_else(|| Failure::usage("no such command"))?;
    let fields = Fields::new().with("usage", text(command.usage));
    Ok(match wire::layout(name) {
        Some(layout) => fields.with("fields", layout.names()),
        None => fields,
    })
}
