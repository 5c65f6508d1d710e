//! Packets, control messages and handshakes.

use std::os::fd::AsRawFd;

use super::{Attacker, Command, command};
use crate::answer::{Answer, Failure, Fields, hex, symbol};
use crate::handshake::{self, Segments, Values};
use crate::line::{self, Line};
use crate::socket::{self, Ancillary};
use crate::wire::{self, Layout};

const FIELDS: &str =
    "[field=value ...] [at=OFFSET:HEX] [cut=N] [append=HEX] [fds=A,B] [split] timeout=MS";

pub const COMMANDS: &[Command] = &[
    command("packet", "HEX fds=A,B [split] timeout=MS", packet),
    command("creds", "[HEX] pid=N uid=N gid=N timeout=MS", creds),
    command("burst", "N HEX fds=A,B [split]", burst),
    command("hello", FIELDS, message),
    command("open", FIELDS, message),
    command("welcome", FIELDS, message),
    command("reject", FIELDS, message),
    command("granted", FIELDS, message),
    command("sealed", FIELDS, message),
    command("ready", FIELDS, message),
    command("refused", FIELDS, message),
    command("fence", FIELDS, message),
    command("fenceack", FIELDS, message),
    command("doorbell", FIELDS, message),
    command("attachments", FIELDS, message),
    command("forget", FIELDS, message),
    command("ask", FIELDS, message),
    command("answer", FIELDS, message),
    command("recv", "timeout=MS", recv),
    command("client", "until=STEP [field=value ...] timeout=MS", client),
    command("server", "until=STEP [field=value ...] s_size=N c_size=N timeout=MS", server),
    command("segments", "[field=value ...] s_size=N c_size=N", segments),
    command("attach", "of=NAME", attach),
];

/// The descriptors of `fds=`, in one message or, with `split`, in one each.
fn ancillary(attacker: &Attacker, line: &Line) -> Result<Ancillary, Failure> {
    let fds = attacker.descriptors(line)?;
    let mut with = Ancillary::default();
    if line.has("split") {
        fds.chunks(1).for_each(|one| with.rights(one));
    } else if !fds.is_empty() {
        with.rights(&fds);
    }
    Ok(with)
}

fn packet(attacker: &mut Attacker, line: &Line) -> Answer {
    let with = ancillary(attacker, line)?;
    attacker.connection()?.send(&line::bytes(line.word(0)?)?, &with, line.deadline()?)?;
    Ok(Fields::new())
}

/// A packet, a Hello unless told, with credentials that need not be ours.
fn creds(attacker: &mut Attacker, line: &Line) -> Answer {
    let connection = attacker.connection()?;
    let hello = wire::layout("hello").ok_or_else(|| Failure::usage("hello"))?;
    let bytes = match line.words().first() {
        Some(digits) => line::bytes(digits)?,
        None => wire::build(hello, &handshake::good(hello, connection))?,
    };
    let number = |key| line.number_or(key, 0).map(|number| number as u32);
    let mut with = Ancillary::default();
    with.credentials(number("pid")?, number("uid")?, number("gid")?);
    connection.send(&bytes, &with, line.deadline()?)?;
    Ok(Fields::new())
}

/// As many packets as there is room for.
fn burst(attacker: &mut Attacker, line: &Line) -> Answer {
    let with = ancillary(attacker, line)?;
    let bytes = line::bytes(line.word(1)?)?;
    let socket = attacker.connection()?.socket();
    let (mut sent, mut stopped) = (0, "none".to_owned());
    while sent < line.number_at(0)? {
        match socket::try_send(socket, &bytes, &with) {
            Ok(()) => sent += 1,
            Err(Failure::Errno(errno)) => {
                stopped = symbol(errno);
                break;
            }
            Err(other) => return Err(other),
        }
    }
    Ok(Fields::new().with("sent", sent).with("stopped", stopped))
}

/// Names that a message command takes beside the fields of its message.
const ABOUT: &[&str] = &["at", "cut", "append", "fds", "timeout"];

/// Sends the message that the command is named for.
fn message(attacker: &mut Attacker, line: &Line) -> Answer {
    let layout = wire::layout(&line.name).ok_or_else(|| Failure::usage("no such message"))?;
    let told = told(line, &[layout], ABOUT)?;
    let with = ancillary(attacker, line)?;
    let seals = attacker
        .segments
        .as_ref()
        .filter(|_| layout.name == "granted")
        .map(Segments::seals)
        .transpose()?;
    let connection = attacker.connection()?;
    let mut values = handshake::good(layout, connection);
    values.extend(seals.unwrap_or_default());
    if layout.knows("entries") {
        let each = line.get("fds").unwrap_or("").split(',').map(|_| "fd");
        values.push(("entries".to_owned(), each.collect::<Vec<_>>().join(",")));
    }
    values.extend(told);
    let mut packet = wire::build(layout, &values)?;
    for (_, patch) in line.named().iter().filter(|(key, _)| key == "at") {
        let (offset, digits) =
            patch.split_once(':').ok_or_else(|| Failure::usage("at=OFFSET:HEX"))?;
        let (offset, bytes) = (line::number(offset)? as usize, line::bytes(digits)?);
        let place = offset.checked_add(bytes.len()).and_then(|end| packet.get_mut(offset..end));
        place.ok_or_else(|| Failure::usage("at= lies outside"))?.copy_from_slice(&bytes);
    }
    let cut = line.number_or("cut", 0)? as usize;
    packet.truncate(packet.len().saturating_sub(cut));
    packet.extend(line::bytes(line.get("append").unwrap_or(""))?);
    connection.send(&packet, &with, line.deadline()?)?;
    Ok(Fields::new().with("bytes", packet.len()))
}

/// What the line names, all of it known to one of the layouts or to the command.
fn told(line: &Line, layouts: &[&Layout], about: &[&str]) -> Result<Values, Failure> {
    let (mut values, known) =
        (Vec::new(), |key: &str| layouts.iter().any(|layout| layout.knows(key)));
    for (key, value) in line.named() {
        if known(key) {
            values.push((key.clone(), value.clone()));
        } else if !about.contains(&key.as_str()) {
            return Err(Failure::usage(format!("no field {key}")));
        }
    }
    Ok(values)
}

fn recv(attacker: &mut Attacker, line: &Line) -> Answer {
    let arrival = attacker.connection()?.recv(line.deadline()?)?.ok_or(Failure::word("end"))?;
    let fields = match &arrival.message {
        Ok(message) => message.fields(),
        Err(why) => {
            let why = crate::answer::text(why);
            Fields::new().with("kind", "bad").with("why", why).with("hex", hex(&arrival.bytes))
        }
    };
    Ok(fields.with("fds", arrival.fds).with("cut", u8::from(arrival.cut)))
}

fn layouts(names: &[&str]) -> Vec<&'static Layout> {
    names.iter().filter_map(|name| wire::layout(name)).collect()
}

fn client(attacker: &mut Attacker, line: &Line) -> Answer {
    let told = told(line, &layouts(&["hello", "open", "sealed"]), &["until", "timeout"])?;
    let connection = attacker.connection()?;
    handshake::client(connection, line.get("until").unwrap_or("ready"), &told, line.deadline()?)?;
    Ok(handshake::agreed(connection))
}

fn server(attacker: &mut Attacker, line: &Line) -> Answer {
    let about = ["until", "timeout", "s_size", "c_size"];
    let told = told(line, &layouts(&["welcome", "granted", "ready"]), &about)?;
    let mut segments = attacker.segments.take();
    let connection = attacker.connection();
    let until = line.get("until").unwrap_or("ready");
    let answer = connection.and_then(|connection| {
        handshake::server(connection, until, line, &told, &mut segments, line.deadline()?)?;
        Ok(handshake::agreed(connection))
    });
    attacker.segments = segments;
    answer
}

/// Makes the segments of a Granted without sending it: `s`, `s_sent`, `c` and `c_sent`.
fn segments(attacker: &mut Attacker, line: &Line) -> Answer {
    let layout = wire::layout("granted").ok_or_else(|| Failure::usage("granted"))?;
    let told = told(line, &[layout], &["s_size", "c_size"])?;
    let connection = attacker.connection()?;
    let mut values = handshake::good(layout, connection);
    values.extend(told);
    let granted = wire::parse(&wire::build(layout, &values)?).map_err(Failure::usage)?;
    let made = handshake::make_segments(connection, &granted, line)?;
    let fields = Fields::new().with("s", made.s.as_raw_fd()).with("c", made.c.as_raw_fd());
    attacker.segments = Some(made);
    Ok(fields)
}

/// Sets up the lanes without a word: as the connecting side over what Granted brought, as the
/// accepting side over our own S and `c`.
fn attach(attacker: &mut Attacker, line: &Line) -> Answer {
    if attacker.connection()?.received("granted").is_some() {
        handshake::take_granted(attacker.connection()?)?;
    } else {
        let c = crate::sys::duplicate(attacker.descriptor(line.get("of").unwrap_or("c"))?)?;
        handshake::take_sealed(attacker.connection()?, &c)?;
    }
    Ok(handshake::agreed(attacker.connection()?))
}
