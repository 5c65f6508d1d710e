//! Descriptors: to make strange ones, and to do to a file what its other holders would not like.

use std::os::fd::AsRawFd;

use super::{Attacker, Command, command};
use crate::answer::{Answer, Failure, Fields, symbol};
use crate::descriptors;
use crate::line::{self, Line};
use crate::segment::Map;
use crate::sys::{self, fcntl};

pub const COMMANDS: &[Command] = &[
    command(
        "make",
        "NAME KIND of=NAME size=N alloc=yes|no seals=MASK mode=N exec=yes|no label=TEXT at=PATH seconds=N timeout=MS",
        make,
    ),
    command("drop", "NAME", drop_named),
    command("seal", "NAME MASK", seal),
    command("seals", "NAME", seals),
    command("stat", "NAME", stat),
    command("truncate", "NAME SIZE", truncate),
    command("punch", "NAME OFFSET LENGTH", punch),
    command("allocate", "NAME OFFSET LENGTH", allocate),
    command("write", "NAME OFFSET HEX", write),
    command("mapw", "NAME size=N", mapw),
    command("mapr", "NAME size=N", mapr),
    command("unmap", "", unmap),
    command("poke", "MAP OFFSET VALUE", poke),
    command("xattr", "NAME count=N size=N", xattr),
    command("flock", "NAME", flock),
    command("lease", "NAME", lease),
    command("setfl", "NAME append|nonblock|none", setfl),
    command("seek", "NAME OFFSET", seek),
];

fn make(attacker: &mut Attacker, line: &Line) -> Answer {
    let (name, kind) = (line.word(0)?.to_owned(), line.word(1)?);
    let of = line.get("of").map(|name| attacker.descriptor(name)).transpose()?;
    let (fd, other) = descriptors::make(kind, line, of, line.deadline()?)?;
    let fields = Fields::new().with("fd", fd.as_raw_fd());
    if let Some(other) = other {
        attacker.named.insert(format!("{name}.other"), other);
    }
    attacker.named.insert(name, fd);
    Ok(fields)
}

/// Closes one that was made, with its other end, or one that came.
fn drop_named(attacker: &mut Attacker, line: &Line) -> Answer {
    let name = line.word(0)?;
    if attacker.named.remove(name).is_some() {
        attacker.named.remove(&format!("{name}.other"));
        return Ok(Fields::new());
    }
    match name {
        "fds" => attacker.connection()?.fds.clear(),
        "segments" => attacker.segments = None,
        _ => return Err(Failure::usage("no such descriptor")),
    }
    Ok(Fields::new())
}

fn seal(attacker: &mut Attacker, line: &Line) -> Answer {
    let file = attacker.descriptor(line.word(0)?)?;
    fcntl(file, libc::F_ADD_SEALS, line.number_at(1)?)?;
    Ok(Fields::new().with("seals", format_args!("{:#x}", sys::seals(file)?)))
}

fn seals(attacker: &mut Attacker, line: &Line) -> Answer {
    let seals = sys::seals(attacker.descriptor(line.word(0)?)?)?;
    Ok(Fields::new().with("seals", format_args!("{seals:#x}")))
}

fn stat(attacker: &mut Attacker, line: &Line) -> Answer {
    let all = descriptors::stat(attacker.descriptor(line.word(0)?)?)?;
    Ok(all.into_iter().fold(Fields::new(), |fields, (name, value)| match name {
        "mode" => fields.with(name, format_args!("{value:#o}")),
        "type" => fields.with(name, format_args!("{value:#x}")),
        _ => fields.with(name, value),
    }))
}

fn truncate(attacker: &mut Attacker, line: &Line) -> Answer {
    descriptors::set_size(attacker.descriptor(line.word(0)?)?, line.number_at(1)?)?;
    Ok(Fields::new())
}

fn punch(attacker: &mut Attacker, line: &Line) -> Answer {
    let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    descriptors::allocate(
        attacker.descriptor(line.word(0)?)?,
        hole,
        line.number_at(1)?,
        line.number_at(2)?,
    )?;
    Ok(Fields::new())
}

fn allocate(attacker: &mut Attacker, line: &Line) -> Answer {
    descriptors::allocate(
        attacker.descriptor(line.word(0)?)?,
        0,
        line.number_at(1)?,
        line.number_at(2)?,
    )?;
    Ok(Fields::new())
}

fn write(attacker: &mut Attacker, line: &Line) -> Answer {
    let file = attacker.descriptor(line.word(0)?)?;
    let written = descriptors::write_at(file, line.number_at(1)?, &line::bytes(line.word(2)?)?)?;
    Ok(Fields::new().with("written", written))
}

fn mapw(attacker: &mut Attacker, line: &Line) -> Answer {
    map(attacker, line, true)
}

fn mapr(attacker: &mut Attacker, line: &Line) -> Answer {
    map(attacker, line, false)
}

/// Maps a file and keeps the mapping. As a server that has none yet, a writable one of `s` is its
/// S.
fn map(attacker: &mut Attacker, line: &Line, writable: bool) -> Answer {
    let file = attacker.descriptor(line.word(0)?)?;
    let size = match line.number("size")? {
        Some(size) => size,
        None => descriptors::stat(file)?[0].1,
    };
    let map = Map::new(file, size, writable)?;
    if writable
        && let Ok(connection) = attacker.connection()
        && connection.sent("hello").is_none()
    {
        connection.own.get_or_insert_with(|| map.clone());
    }
    attacker.maps.push(map);
    Ok(Fields::new().with("map", attacker.maps.len() - 1).with("bytes", size))
}

/// Drops all that `mapw`, `mapr` and `close keep` keep.
fn unmap(attacker: &mut Attacker, _: &Line) -> Answer {
    let dropped = attacker.maps.len() + attacker.kept.len();
    attacker.maps.clear();
    attacker.kept.clear();
    Ok(Fields::new().with("dropped", dropped))
}

/// Stores 8 bytes through a kept mapping.
fn poke(attacker: &mut Attacker, line: &Line) -> Answer {
    let map = attacker
        .maps
        .get(line.number_at(0)? as usize)
        .ok_or_else(|| Failure::usage("no such map"))?;
    let (at, value) = (line.number_at(1)? as usize, line.number_at(2)?);
    map.word64(at)?;
    map.poke(|| {
        map.word64(at)?.store(value, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    })?;
    Ok(Fields::new())
}

fn xattr(attacker: &mut Attacker, line: &Line) -> Answer {
    let file = attacker.descriptor(line.word(0)?)?;
    let value = vec![0xa5; line.number_or("size", 1)?.min(1 << 20) as usize];
    for set in 0..line.number_or("count", 1)? {
        match descriptors::attribute(file, &format!("user.attacker{set}"), &value) {
            Ok(()) => {}
            Err(Failure::Errno(errno)) => {
                return Ok(Fields::new().with("set", set).with("stopped", symbol(errno)));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(Fields::new().with("set", line.number_or("count", 1)?).with("stopped", "none"))
}

fn flock(attacker: &mut Attacker, line: &Line) -> Answer {
    descriptors::lock(attacker.descriptor(line.word(0)?)?)?;
    Ok(Fields::new())
}

fn lease(attacker: &mut Attacker, line: &Line) -> Answer {
    let file = attacker.descriptor(line.word(0)?)?;
    let kind = |kind: libc::c_int| fcntl(file, libc::F_SETLEASE, kind.unsigned_abs().into());
    match kind(libc::F_WRLCK) {
        Ok(_) => Ok(Fields::new().with("lease", "write")),
        // Others have it open: a read lease may still be had, on a read-only descriptor.
        Err(first) => {
            kind(libc::F_RDLCK).map(|_| Fields::new().with("lease", "read")).map_err(|_| first)
        }
    }
}

fn setfl(attacker: &mut Attacker, line: &Line) -> Answer {
    let file = attacker.descriptor(line.word(0)?)?;
    let flags = match line.word(1)? {
        "append" => libc::O_APPEND,
        "nonblock" => libc::O_NONBLOCK,
        "none" => 0,
        _ => return Err(Failure::usage("append, nonblock or none")),
    };
    fcntl(file, libc::F_SETFL, flags.unsigned_abs().into())?;
    Ok(Fields::new())
}

fn seek(attacker: &mut Attacker, line: &Line) -> Answer {
    let at = descriptors::seek(attacker.descriptor(line.word(0)?)?, line.number_at(1)?)?;
    Ok(Fields::new().with("at", at))
}
