//! The attacker: a hostile peer that speaks the protocol from `docs/PROTOCOL.md` alone.
//!
//! It reads commands from its standard input, one a line, and answers each with one line: `ok` and
//! fields, or `err` and a word. `help` lists them. Its clean sessions work both ways; every
//! message, word and byte of them can be made wrong. Nothing of memring's code is used here, and
//! nothing was copied from it.
//!
//! At the end of its input it exits without closing anything, as a process does that was killed.

mod answer;
mod commands;
mod connection;
mod deadline;
mod descriptors;
mod handshake;
mod lane;
mod line;
mod process;
mod segment;
mod socket;
mod storm;
mod sys;
mod wire;

use std::io::{self, BufRead, Write};

use commands::Attacker;

fn main() {
    process::die_with_parent();
    sys::register_membarrier();
    let mut attacker = Attacker::default();
    for line in io::stdin().lock().split(b'\n') {
        let Ok(line) = line else { break };
        let Some(answer) = attacker.obey(&String::from_utf8_lossy(&line)) else { continue };
        let said = match answer {
            Ok(fields) => format!("ok{fields}\n"),
            Err(failure) => format!("err {failure}\n"),
        };
        let mut out = io::stdout().lock();
        if out.write_all(said.as_bytes()).and_then(|()| out.flush()).is_err() {
            break;
        }
        drop(out);
        if let Some(after) = attacker.after.take() {
            after();
        }
    }
    process::exit(0);
}
