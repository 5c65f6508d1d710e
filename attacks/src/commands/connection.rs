//! Connections: to make, take, flood and end them.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use super::{Attacker, Command, command};
use crate::answer::{Answer, Failure, Fields, symbol};
use crate::line::{self, Line};
use crate::socket::{self, Ancillary};

pub const COMMANDS: &[Command] = &[
    command("connect", "PATH timeout=MS", connect),
    command("use", "N", use_connection),
    command("close", "[N] [keep]", close),
    command("shutdown", "", shutdown),
    command("bind", "PATH backlog=N", bind),
    command("accept", "timeout=MS", accept),
    command("adopt", "FD", adopt),
    command("flood", "PATH count=N say=HEX timeout=MS", flood),
    command("disperse", "", disperse),
    command("send-fd-to", "PATH timeout=MS", pass_on),
    command("pounce", "PATH timeout=MS", pounce),
    command("symlink", "TARGET PATH", symlink),
];

/// Waits for a place in the backlog, as long as it may.
fn connect(attacker: &mut Attacker, line: &Line) -> Answer {
    match socket::connect_by(line.word(0)?, line.deadline()?) {
        Ok(socket) => Ok(Fields::new().with("conn", attacker.add(socket))),
        Err(Failure::Errno(libc::EAGAIN)) => Err(Failure::word("timeout")),
        Err(other) => Err(other),
    }
}

fn use_connection(attacker: &mut Attacker, line: &Line) -> Answer {
    let number = line.number_at(0)? as usize;
    match attacker.connections.get(number) {
        Some(Some(_)) => {
            attacker.current = number;
            Ok(Fields::new())
        }
        _ => Err(Failure::usage("no such connection")),
    }
}

/// Drops the connection with its mappings and the descriptors that came; with `keep`, its socket
/// only.
fn close(attacker: &mut Attacker, line: &Line) -> Answer {
    let number = match line.words().iter().find(|word| *word != "keep") {
        Some(number) => line::number(number)? as usize,
        None => attacker.current,
    };
    let closed = attacker.connections.get_mut(number).and_then(Option::take);
    let closed = closed.ok_or_else(|| Failure::usage("no such connection"))?;
    if line.has("keep") {
        attacker.kept.push(closed.without_socket());
    }
    Ok(Fields::new())
}

fn shutdown(attacker: &mut Attacker, _: &Line) -> Answer {
    socket::shutdown(attacker.connection()?.socket())?;
    Ok(Fields::new())
}

fn bind(attacker: &mut Attacker, line: &Line) -> Answer {
    attacker.listener = Some(socket::listen(line.word(0)?, line.number_or("backlog", 64)?)?);
    Ok(Fields::new())
}

fn accept(attacker: &mut Attacker, line: &Line) -> Answer {
    let listener = attacker.listener.as_ref().ok_or_else(|| Failure::usage("bind first"))?;
    let socket = socket::accept(listener, line.deadline()?)?;
    Ok(Fields::new().with("conn", attacker.add(socket)))
}

fn adopt(attacker: &mut Attacker, line: &Line) -> Answer {
    let socket = socket::adopt(RawFd::try_from(line.number_at(0)?).map_err(Failure::usage)?)?;
    Ok(Fields::new().with("conn", attacker.add(socket)))
}

/// Opens many connections and keeps them, each saying `say`; stops at the first that fails. Waits for
/// places in the backlog only if told how long.
fn flood(attacker: &mut Attacker, line: &Line) -> Answer {
    let (path, by) = (line.word(0)?, line.deadline()?);
    let waits = line.get("timeout").is_some();
    let say = line.get("say").map(line::bytes).transpose()?;
    let (mut opened, mut stopped) = (0, "none".to_owned());
    while opened < line.number_or("count", 1)? {
        let connected = if waits { socket::connect_by(path, by) } else { socket::connect(path) };
        match connected {
            Ok(socket) => {
                if let Some(say) = &say {
                    // The victim may have closed it already.
                    let _ = socket::send(socket.as_fd(), say, &Ancillary::default(), by);
                }
                attacker.crowd.push(socket);
                opened += 1;
            }
            Err(Failure::Errno(errno)) => {
                stopped = symbol(errno);
                break;
            }
            Err(other) => return Err(other),
        }
    }
    Ok(Fields::new().with("opened", opened).with("stopped", stopped))
}

/// Closes what `flood` opened.
fn disperse(attacker: &mut Attacker, _: &Line) -> Answer {
    let closed = attacker.crowd.len();
    attacker.crowd.clear();
    Ok(Fields::new().with("closed", closed))
}

/// Hands the control socket to whoever listens at a stream socket.
fn pass_on(attacker: &mut Attacker, line: &Line) -> Answer {
    let other = socket::connect_stream(line.word(0)?)?;
    let mut with = Ancillary::default();
    with.rights(&[attacker.connection()?.socket().as_raw_fd()]);
    socket::send(other.as_fd(), b"x", &with, line.deadline()?)?;
    Ok(Fields::new())
}

/// Tries to connect, over and over until its time is up: how often, how often the mode of the file forbade it, and
/// how often a file was there whose mode did not.
fn pounce(_: &mut Attacker, line: &Line) -> Answer {
    let (path, by) = (line.word(0)?, line.deadline()?);
    let (mut tries, mut forbidden, mut open) = (0u64, 0u64, 0u64);
    while !by.passed() {
        tries += 1;
        match socket::connect(path) {
            Err(Failure::Errno(libc::EACCES)) => forbidden += 1,
            Err(Failure::Errno(libc::ENOENT)) => {}
            Ok(_) | Err(Failure::Errno(libc::ECONNREFUSED | libc::EAGAIN)) => open += 1,
            Err(other) => return Err(other),
        }
    }
    Ok(Fields::new().with("tries", tries).with("forbidden", forbidden).with("open", open))
}

fn symlink(_: &mut Attacker, line: &Line) -> Answer {
    std::os::unix::fs::symlink(line.word(0)?, line.word(1)?)?;
    Ok(Fields::new())
}
