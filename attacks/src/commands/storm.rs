//! Storms over the current channel. They go on when another connection is used, until `stop`.

use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::lane::{is_rx, lanes};
use super::{Attacker, Command, command};
use crate::answer::{Answer, Failure, Fields};
use crate::lane::HEAD;
use crate::line::{self, Line};
use crate::socket::{self, Ancillary};
use crate::storm::{Numbers, Storm};
use crate::{process, sys};

pub const COMMANDS: &[Command] = &[
    command("toggle", "mine [control|data] OFFSET A B", toggle),
    command("wakestorm", "rx|tx", wakestorm),
    command("requeue", "rx|tx", requeue),
    command("decoy", "rx|tx time=MS", decoy),
    command("packetstorm", "HEX", packetstorm),
    command("membarrier-storm", "", membarrier_storm),
    command("scribble", "[control|data] seed=N", scribble),
    command("deface", "PID FD [control|data] seed=N", deface),
    command("rounds", "", rounds),
    command("stop", "", stop),
];

/// An unused place in the control area, where nobody wakes.
const NOWHERE: usize = 448;

fn start(
    attacker: &mut Attacker,
    name: &'static str,
    round: impl FnMut() -> u64 + Send + 'static,
) -> Answer {
    attacker.storms.push(Storm::start(name, round)?);
    Ok(Fields::new())
}

/// A u64 of ours, now one value, now the other. Theirs cannot be written.
fn toggle(attacker: &mut Attacker, line: &Line) -> Answer {
    let words = line.words();
    let segment = match line.word(0)? {
        "mine" => lanes(attacker)?.mine.clone(),
        "theirs" => return Err(Failure::Errno(libc::EACCES)),
        _ => return Err(Failure::usage("mine or theirs")),
    };
    let (base, next) = match words.get(1).map(String::as_str) {
        Some("data") => (segment.control, 2),
        Some("control") => (0, 2),
        _ => (0, 1),
    };
    let at = (line.number_at(next)? as usize)
        .checked_add(base)
        .ok_or_else(|| Failure::usage("offset"))?;
    let (a, b) = (line.number_at(next + 1)?, line.number_at(next + 2)?);
    segment.map.word64(at)?;
    start(attacker, "toggle", move || {
        let Ok(word) = segment.map.word64(at) else { return 0 };
        word.store(a, Ordering::Release);
        word.store(b, Ordering::Release);
        1
    })
}

/// Wakes whoever sleeps there, again and again; a round is a call.
fn wakestorm(attacker: &mut Attacker, line: &Line) -> Answer {
    let bed = lanes(attacker)?.bed(is_rx(line)?);
    start(attacker, "wakestorm", move || u64::from(bed.word().map(sys::futex_wake).is_ok()))
}

/// Moves whoever sleeps there to a word that nobody wakes; a round is a waiter moved.
fn requeue(attacker: &mut Attacker, line: &Line) -> Answer {
    let bed = lanes(attacker)?.bed(is_rx(line)?);
    start(attacker, "requeue", move || {
        let places = bed.word().and_then(|word| Ok((word, bed.segment.map.word32(NOWHERE)?)));
        places.map_or(0, |(word, nowhere)| sys::futex_requeue(word, nowhere))
    })
}

/// Four threads that sleep on the word which the other side wakes, so long at a time; a round is a sleep that
/// ended.
fn decoy(attacker: &mut Attacker, line: &Line) -> Answer {
    let rx = is_rx(line)?;
    let time = Duration::from_millis(line.number_or("time", 20)?);
    for _ in 0..4 {
        let lanes = lanes(attacker)?;
        let (segment, head) = (lanes.theirs.clone(), lanes.head);
        start(attacker, "decoy", move || {
            let word = if rx { segment.word32(head) } else { segment.map.word32(HEAD) };
            if let Ok(word) = word {
                sys::futex_wait(word, word.load(Ordering::Relaxed), time);
            }
            1
        })?;
    }
    Ok(Fields::new())
}

/// The same packet as often as there is room for it; a round is one that went.
fn packetstorm(attacker: &mut Attacker, line: &Line) -> Answer {
    let bytes = line::bytes(line.word(0)?)?;
    let socket = sys::duplicate(&attacker.connection()?.socket())?;
    start(attacker, "packetstorm", move || {
        u64::from(socket::try_send(socket.as_fd(), &bytes, &Ancillary::default()).is_ok())
    })
}

/// Makes every registered process on this machine pass a fence, again and again.
fn membarrier_storm(attacker: &mut Attacker, _: &Line) -> Answer {
    start(attacker, "membarrier", || u64::from(sys::membarrier()))
}

/// Random bytes over our whole segment, or one area of it; a round is a word.
fn scribble(attacker: &mut Attacker, line: &Line) -> Answer {
    let segment = lanes(attacker)?.mine.clone();
    let (from, words) = match line.words().first().map(String::as_str) {
        None => (0, segment.map.length() / 8),
        Some("control") => (0, segment.control / 8),
        Some("data") => (segment.control, (segment.map.length() - segment.control) / 8),
        Some(_) => return Err(Failure::usage("control or data")),
    };
    let mut numbers = Numbers::new(line.number_or("seed", 0x9e37_79b9)?);
    start(attacker, "scribble", move || {
        let at = from + 8 * (numbers.next() as usize % words.max(1));
        segment.map.word64(at).map_or(0, |word| {
            word.store(numbers.next(), Ordering::Release);
            1
        })
    })
}

/// Random bytes over a segment that only another process may write, or over one area of it, through that
/// process's memory: for root, in place of whoever found a way through a seal. A round is a word.
fn deface(attacker: &mut Attacker, line: &Line) -> Answer {
    let pid = line.number_at(0)?;
    let segment = lanes(attacker)?.theirs.clone();
    let base = process::mapped_at(pid, attacker.descriptor(line.word(1)?)?)?;
    let (from, length) = match line.words().get(2).map(String::as_str) {
        None => (0, segment.map.length()),
        Some("control") => (0, segment.control),
        Some("data") => (segment.control, segment.map.length() - segment.control),
        Some(_) => return Err(Failure::usage("control or data")),
    };
    let memory = std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"))?;
    let mut numbers = Numbers::new(line.number_or("seed", 0x9e37_79b9)?);
    start(attacker, "deface", move || {
        let at = from + 8 * (numbers.next() as usize % (length / 8).max(1));
        let written = memory.write_at(&numbers.next().to_le_bytes(), base + at as u64);
        u64::from(written.is_ok_and(|count| count == 8))
    })
}

/// How many rounds each made so far.
fn rounds(attacker: &mut Attacker, _: &Line) -> Answer {
    let each = attacker.storms.iter().zip(0..);
    Ok(each.fold(Fields::new(), |fields, (storm, i)| {
        fields.with(format_args!("{}{i}", storm.name()), storm.rounds())
    }))
}

/// Ends all; says how many rounds each made.
fn stop(attacker: &mut Attacker, _: &Line) -> Answer {
    let each = std::mem::take(&mut attacker.storms).into_iter().zip(0..);
    Ok(each.fold(Fields::new(), |fields, (storm, i)| {
        fields.with(format!("{}{i}", storm.name()), storm.stop())
    }))
}
