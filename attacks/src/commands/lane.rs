//! The channel: clean messages, and every word and byte that can be reached.

use std::sync::atomic::Ordering;

use super::{Attacker, Command, command};
use crate::answer::{Answer, Failure, Fields, hex};
use crate::lane::{Ahead, HEAD, Lanes, Message, RX_ASLEEP, TX_ASLEEP};
use crate::line::{self, Line};
use crate::segment::Segment;
use crate::socket::{self, Ancillary};

const PLACE: &str = "mine|theirs control|data OFFSET [VALUE|HEX|LENGTH]";

pub const COMMANDS: &[Command] = &[
    command("send", "[HEX] size=N seed=N tag=N fds=A,B entries=E,E timeout=MS", send),
    command("volley", "HEX count=N tag=N step=N answers=yes|no timeout=MS", volley),
    command("pack", "HEX ... tag=N timeout=MS", pack),
    command("recvmsg", "timeout=MS", recvmsg),
    command("echo", "count=N timeout=MS", echo),
    command("leave", "", leave),
    command(
        "frame",
        "kind=N flags=N fds=N len=N tag=N payload=HEX size=N next=zero|keep|VALUE wake=yes|no advance=yes|no at=POSITION",
        frame,
    ),
    command("store64", PLACE, store64),
    command("store32", PLACE, store32),
    command("load64", PLACE, load64),
    command("load32", PLACE, load32),
    command("bytes", PLACE, bytes),
    command("peek", PLACE, peek),
    command("mprotect", "mine|theirs read|write", mprotect),
    command("head", "VALUE [wake]", head),
    command("tail", "VALUE", tail),
    command("where", "", position),
    command("asleep", "rx|tx VALUE", asleep),
    command("wake", "rx|tx", wake),
];

/// The lanes of the current connection.
pub fn lanes(attacker: &mut Attacker) -> Result<&mut Lanes, Failure> {
    attacker.connection()?.channel().map(|(lanes, _)| lanes)
}

/// Bytes that differ from place to place and from seed to seed.
fn pattern(size: u64, seed: u64) -> Vec<u8> {
    (0..size).map(|i| (i.wrapping_mul(31) >> 3).wrapping_add(i).wrapping_add(seed) as u8).collect()
}

/// FNV-1a with 64 bits.
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

fn describe(message: &Message) -> Fields {
    let fields = Fields::new().with("len", message.bytes.len()).with("tag", message.tag);
    let begins = hex(message.bytes.get(..16).unwrap_or(&message.bytes));
    let fields = fields.with("begins", begins);
    let fields =
        if message.bytes.len() <= 256 { fields.with("hex", hex(&message.bytes)) } else { fields };
    fields.with("sum", format_args!("{:016x}", sum(&message.bytes)))
}

fn send(attacker: &mut Attacker, line: &Line) -> Answer {
    let bytes = match line.number("size")? {
        Some(size) => pattern(size.min(1 << 28), line.number_or("seed", 0)?),
        None => line::bytes(line.word(0)?)?,
    };
    let message = Message { tag: line.number_or("tag", 0)?, bytes };
    let ahead = ahead(attacker, line)?;
    let (lanes, socket) = attacker.connection()?.channel()?;
    lanes.send(socket, &message, ahead.as_ref(), line.deadline()?)?;
    Ok(Fields::new()
        .with("len", message.bytes.len())
        .with("sum", format_args!("{:016x}", sum(&message.bytes))))
}

/// The same message many times, with tags that rise by a step, until there is no more room; waits for an answer to each if
/// told so. How many went, and what stopped it.
fn volley(attacker: &mut Attacker, line: &Line) -> Answer {
    let bytes = line::bytes(line.word(0)?)?;
    let (mut tag, step) = (line.number_or("tag", 0)?, line.number_or("step", 0)?);
    let (by, answers) = (line.deadline()?, line.yes("answers", false)?);
    let (lanes, socket) = attacker.connection()?.channel()?;
    let (mut sent, mut stopped) = (0, "none");
    let mut message = Message { tag, bytes };
    while sent < line.number_or("count", 1)? {
        message.tag = tag;
        let one = lanes.send(socket, &message, None, by);
        let one =
            one.and_then(|()| if answers { lanes.receive(socket, by).map(drop) } else { Ok(()) });
        match one {
            Ok(()) => sent += 1,
            Err(Failure::Word(word, _)) => {
                stopped = word;
                break;
            }
            Err(other) => return Err(other),
        }
        tag = tag.wrapping_add(step);
    }
    Ok(Fields::new().with("sent", sent).with("stopped", stopped))
}

/// The descriptors that go ahead, each one of the message's unless `entries=` says otherwise.
fn ahead(attacker: &Attacker, line: &Line) -> Result<Option<Ahead>, Failure> {
    let raw = attacker.descriptors(line)?;
    if raw.is_empty() {
        return Ok(None);
    }
    let mut fds = Ancillary::default();
    fds.rights(&raw);
    let entries =
        line.get("entries").map_or_else(|| vec!["fd"; raw.len()].join(","), str::to_owned);
    Ok(Some(Ahead { fds, count: u16::try_from(raw.len()).map_err(Failure::usage)?, entries }))
}

/// Several messages in one frame; the tags count up.
fn pack(attacker: &mut Attacker, line: &Line) -> Answer {
    let first = line.number_or("tag", 0)?;
    let messages =
        line.words().iter().zip(0..).map(|(digits, i)| {
            Ok(Message { tag: first.wrapping_add(i), bytes: line::bytes(digits)? })
        });
    let messages = messages.collect::<Result<Vec<_>, Failure>>()?;
    let (lanes, socket) = attacker.connection()?.channel()?;
    lanes.pack(socket, &messages, line.deadline()?)?;
    Ok(Fields::new().with("count", messages.len()))
}

fn recvmsg(attacker: &mut Attacker, line: &Line) -> Answer {
    let connection = attacker.connection()?;
    let (lanes, socket) = connection.channel()?;
    let fields = describe(&lanes.receive(socket, line.deadline()?)?);
    match lanes.with_last.take() {
        None => Ok(fields),
        Some(came) => {
            connection.fds = came.fds;
            Ok(fields.with("entries", came.entries))
        }
    }
}

/// Answers every message with itself; the deadline is for all of them.
fn echo(attacker: &mut Attacker, line: &Line) -> Answer {
    let by = line.deadline()?;
    let (lanes, socket) = attacker.connection()?.channel()?;
    let (mut count, mut bytes) = (0, 0);
    let most = line.number_or("count", u64::MAX)?;
    while count < most {
        let step = lanes.receive(socket, by).and_then(|message| {
            lanes.send(socket, &message, None, by)?;
            Ok(message.bytes.len())
        });
        match step {
            Ok(len) => bytes += len,
            // Told not how many, the end is what was waited for.
            Err(Failure::Word("closed", _)) if line.get("count").is_none() => break,
            Err(Failure::Word(word, fields)) => {
                return Err(Failure::Word(word, fields.with("count", count)));
            }
            Err(other) => return Err(other),
        }
        count += 1;
    }
    Ok(Fields::new().with("count", count).with("bytes", bytes))
}

/// Closes in order: both marks, then the socket.
fn leave(attacker: &mut Attacker, _: &Line) -> Answer {
    let (lanes, socket) = attacker.connection()?.channel()?;
    lanes.leave(socket)?;
    socket::shutdown(socket)?;
    let number = attacker.current;
    attacker.connections[number] = None;
    Ok(Fields::new())
}

/// Writes a frame, honest or not. Nothing is checked: neither room nor the header.
fn frame(attacker: &mut Attacker, line: &Line) -> Answer {
    let payload = line::bytes(line.get("payload").unwrap_or(""))?;
    let length = line.number_or("len", payload.len() as u64)?;
    let (lanes, socket) = attacker.connection()?.channel()?;
    let at = line.number_or("at", lanes.tail())?;
    // A length that no lane holds says nothing about where the next header lies.
    let told = if length <= lanes.mine.capacity { length } else { payload.len() as u64 };
    let size = line.number_or("size", 16 + told.next_multiple_of(16))?;
    lanes.mine.write(at.wrapping_add(16), &payload)?;
    lanes.mine.word64(at.wrapping_add(8))?.store(line.number_or("tag", 0)?, Ordering::Relaxed);
    let next = match line.get("next").unwrap_or("zero") {
        "zero" => Some(0),
        "keep" => None,
        value => Some(line::number(value)?),
    };
    if let Some(next) = next {
        lanes.mine.word64(at.wrapping_add(size))?.store(next, Ordering::Relaxed);
    }
    let byte = |key, default| line.number_or(key, default).map(|value| value & 0xff);
    let header = byte("kind", 1)?
        | byte("flags", 0)? << 8
        | (line.number_or("fds", 0)? & 0xffff) << 16
        | length << 32;
    lanes.mine.word64(at)?.store(header, Ordering::Release);
    if line.yes("advance", true)? {
        lanes.tail.store(at.wrapping_add(size), Ordering::Relaxed);
    }
    if line.yes("wake", true)? {
        lanes.wake_consumer(socket, at)?;
    }
    Ok(Fields::new().with("at", at).with("tail", lanes.tail()))
}

/// The segment and offset that a line begins with.
fn place<'a>(lanes: &'a Lanes, line: &Line) -> Result<(&'a Segment, usize), Failure> {
    let segment = match line.word(0)? {
        "mine" => &lanes.mine,
        "theirs" => &lanes.theirs,
        _ => return Err(Failure::usage("mine or theirs")),
    };
    let base = match line.word(1)? {
        "control" => 0,
        "data" => segment.control,
        _ => return Err(Failure::usage("control or data")),
    };
    let at = usize::try_from(line.number_at(2)?).ok().and_then(|at| at.checked_add(base));
    Ok((segment, at.ok_or_else(|| Failure::usage("offset"))?))
}

fn store64(attacker: &mut Attacker, line: &Line) -> Answer {
    let (segment, at) = place(lanes(attacker)?, line)?;
    let (value, word) = (line.number_at(3)?, segment.map.word64(at)?);
    segment.map.poke(|| {
        word.store(value, Ordering::SeqCst);
        Ok(())
    })?;
    Ok(Fields::new())
}

fn store32(attacker: &mut Attacker, line: &Line) -> Answer {
    let (segment, at) = place(lanes(attacker)?, line)?;
    let (value, word) = (line.number_at(3)? as u32, segment.map.word32(at)?);
    segment.map.poke(|| {
        word.store(value, Ordering::SeqCst);
        Ok(())
    })?;
    Ok(Fields::new())
}

fn load64(attacker: &mut Attacker, line: &Line) -> Answer {
    let (segment, at) = place(lanes(attacker)?, line)?;
    Ok(Fields::new()
        .with("value", format_args!("{:#x}", segment.map.word64(at)?.load(Ordering::SeqCst))))
}

fn load32(attacker: &mut Attacker, line: &Line) -> Answer {
    let (segment, at) = place(lanes(attacker)?, line)?;
    Ok(Fields::new()
        .with("value", format_args!("{:#x}", segment.map.word32(at)?.load(Ordering::SeqCst))))
}

fn bytes(attacker: &mut Attacker, line: &Line) -> Answer {
    let (segment, at) = place(lanes(attacker)?, line)?;
    let bytes = line::bytes(line.word(3)?)?;
    segment.map.poke(|| segment.map.write(at, &bytes))?;
    Ok(Fields::new())
}

fn peek(attacker: &mut Attacker, line: &Line) -> Answer {
    let (segment, at) = place(lanes(attacker)?, line)?;
    let mut bytes = vec![0; line.number_at(3)?.min(1 << 16) as usize];
    segment.map.read(at, &mut bytes)?;
    Ok(Fields::new().with("hex", hex(&bytes)))
}

fn mprotect(attacker: &mut Attacker, line: &Line) -> Answer {
    let lanes = lanes(attacker)?;
    let map = match line.word(0)? {
        "mine" => &lanes.mine.map,
        "theirs" => &lanes.theirs.map,
        _ => return Err(Failure::usage("mine or theirs")),
    };
    match line.word(1)? {
        "read" => map.protect(false)?,
        "write" => map.protect(true)?,
        _ => return Err(Failure::usage("read or write")),
    }
    Ok(Fields::new())
}

/// Stores our head word, whatever it says.
fn head(attacker: &mut Attacker, line: &Line) -> Answer {
    let value = line.number_at(0)?;
    let (lanes, socket) = attacker.connection()?.channel()?;
    lanes.mine.map.word64(HEAD)?.store(value, Ordering::Release);
    if line.has("wake") {
        lanes.wake_producer(socket)?;
    }
    Ok(Fields::new())
}

/// Moves the place where our next frame goes.
fn tail(attacker: &mut Attacker, line: &Line) -> Answer {
    lanes(attacker)?.tail.store(line.number_at(0)?, Ordering::Relaxed);
    Ok(Fields::new())
}

fn position(attacker: &mut Attacker, _: &Line) -> Answer {
    let words = lanes(attacker)?.words()?;
    Ok(words.into_iter().fold(Fields::new(), |fields, (name, value)| fields.with(name, value)))
}

/// Whether the first word is `rx` and not `tx`.
pub fn is_rx(line: &Line) -> Result<bool, Failure> {
    match line.word(0)? {
        "rx" => Ok(true),
        "tx" => Ok(false),
        _ => Err(Failure::usage("rx or tx")),
    }
}

fn asleep(attacker: &mut Attacker, line: &Line) -> Answer {
    let at = if is_rx(line)? { RX_ASLEEP } else { TX_ASLEEP };
    lanes(attacker)?.mine.map.word32(at)?.store(line.number_at(1)? as u32, Ordering::SeqCst);
    Ok(Fields::new())
}

/// Wakes whoever sleeps on our tail (`rx`) or on our head, for nothing.
fn wake(attacker: &mut Attacker, line: &Line) -> Answer {
    let rx = is_rx(line)?;
    let bed = lanes(attacker)?.bed(rx);
    Ok(Fields::new().with("woken", crate::sys::futex_wake(bed.word()?)))
}
