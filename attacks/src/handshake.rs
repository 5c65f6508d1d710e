//! A clean handshake, step by step, from either side.
//!
//! A step that a command already did by hand is not done again, so that a session can be begun in
//! order and broken at any place, or the other way round.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use crate::answer::{Failure, Fields};
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::descriptors;
use crate::lane::{Fences, Lanes};
use crate::line::Line;
use crate::segment::{Map, Segment};
use crate::socket::Ancillary;
use crate::sys;
use crate::wire::{self, Layout, Message};

/// `F_SEAL_FUTURE_WRITE` and `F_SEAL_SEAL`: the last seals, once the writer has mapped.
pub const LAST_SEALS: u64 = 0x11;
const TMPFS: u64 = 0x0102_1994;
const LARGEST: u64 = 1 << 20;

/// Field values by name.
pub type Values = Vec<(String, String)>;

/// Segments as the accepting side makes them: S for itself, C for the other, and what is sent of
/// both.
pub struct Segments {
    /// S, writable.
    pub s: OwnedFd,
    /// S, as it is sent.
    pub s_sent: OwnedFd,
    /// C, writable.
    pub c: OwnedFd,
    /// C, as it is sent.
    pub c_sent: OwnedFd,
}

impl Segments {
    /// The seals that a Granted with them states.
    pub fn seals(&self) -> Result<Values, Failure> {
        let (s, c) = (sys::seals(&self.s)?, sys::seals(&self.c)? | LAST_SEALS);
        Ok(vec![("s_seals".to_owned(), s.to_string()), ("c_seals".to_owned(), c.to_string())])
    }
}

/// The bits that this process can honestly state.
fn fence_bits() -> u64 {
    u64::from(sys::register_membarrier()) | u64::from(sys::membarrier()) << 1
}

/// What a good message of this kind holds now, on this connection.
pub fn good(layout: &Layout, connection: &Connection) -> Values {
    let asked = |message: &str, name: &str, default: u64| {
        connection.either(message).map_or(default, |m| m.number(name))
    };
    let numbers: &[(&str, u64)] = match layout.name {
        "hello" => &[
            ("oldest", 1),
            ("newest", 1),
            ("fence", fence_bits()),
            ("order", 1),
            ("alignment", 1),
            ("width", 32),
            ("largest", LARGEST),
            ("page", sys::page()),
        ],
        "welcome" => &[
            ("version", 1),
            ("fence", fence_bits()),
            ("order", asked("hello", "order", 1)),
            ("alignment", asked("hello", "alignment", 1)),
            ("width", asked("hello", "width", 32)),
            ("largest", asked("hello", "largest", LARGEST).min(LARGEST)),
            ("page", sys::page()),
        ],
        "reject" => &[("code", 4)],
        "open" => &[("to_accepting", 1 << 16), ("to_connecting", 1 << 16)],
        "granted" => &[
            ("control", page(connection)),
            ("s_capacity", asked("open", "to_connecting", 1 << 16).max(page(connection))),
            ("c_capacity", asked("open", "to_accepting", 1 << 16).max(page(connection))),
            ("s_seals", 0x17),
            ("c_seals", 0x17),
        ],
        "refused" => &[("code", 3)],
        "attachments" => &[("position", connection.lanes.as_ref().map_or(0, Lanes::tail))],
        "forget" => &[("blob", 1), ("mentions", 1)],
        "ask" | "answer" => &[("number", 1)],
        _ => &[],
    };
    let mut values: Values =
        numbers.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
    if matches!(layout.name, "hello" | "welcome") {
        values.push(("application".to_owned(), "attacker".to_owned()));
    }
    values
}

/// The larger of both page sizes.
fn page(connection: &Connection) -> u64 {
    let theirs = connection
        .received("hello")
        .or_else(|| connection.received("welcome"))
        .map_or(0, |m| m.number("page"));
    sys::page().max(theirs)
}

/// Builds a good message, but for what `told` names.
fn make(
    connection: &Connection,
    name: &str,
    told: &[(String, String)],
) -> Result<Vec<u8>, Failure> {
    let layout = wire::layout(name).ok_or_else(|| Failure::usage(name))?;
    let mut values = good(layout, connection);
    values.extend(told.iter().filter(|(name, _)| layout.knows(name)).cloned());
    wire::build(layout, &values)
}

fn say(
    connection: &mut Connection,
    name: &str,
    told: &[(String, String)],
    by: Deadline,
) -> Result<(), Failure> {
    if connection.sent(name).is_some() {
        return Ok(());
    }
    let packet = make(connection, name, told)?;
    connection.send(&packet, &Ancillary::default(), by)
}

/// Reads the message that has to come now.
fn hear(connection: &mut Connection, name: &str, by: Deadline) -> Result<Message, Failure> {
    if let Some(message) = connection.received(name) {
        return Ok(message.clone());
    }
    let arrival = connection.recv(by)?.ok_or(Failure::word("end"))?;
    let message = arrival.message.map_err(Failure::fault)?;
    if arrival.cut || arrival.fds != if message.name == "granted" { 2 } else { 0 } {
        return Err(Failure::fault("descriptors"));
    }
    match message.name {
        came if came == name => Ok(message),
        "reject" if name == "welcome" => Err(Failure::Word("reject", message.fields())),
        "refused" if matches!(name, "granted" | "ready") => {
            Err(Failure::Word("refused", message.fields()))
        }
        came => Err(Failure::fault(format!("{came} instead of {name}"))),
    }
}

/// The steps of the connecting side.
pub const CLIENT: &[&str] = &["connect", "hello", "open", "welcome", "granted", "sealed", "ready"];

/// Plays the connecting side up to and including a step.
pub fn client(
    connection: &mut Connection,
    until: &str,
    told: &Values,
    by: Deadline,
) -> Result<(), Failure> {
    for step in upto(CLIENT, until)? {
        match step {
            "hello" | "open" => match say(connection, step, told, by) {
                // It has closed already: a Reject may lie here, and is sent without reading.
                Err(Failure::Errno(libc::EPIPE | libc::ECONNRESET)) => {}
                other => other?,
            },
            "welcome" => check_welcome(&hear(connection, step, by)?, connection)?,
            "granted" => check_granted(&hear(connection, step, by)?, connection)?,
            "sealed" => {
                if connection.lanes.is_none() {
                    take_granted(connection)?;
                }
                say(connection, step, told, by)?;
            }
            "ready" => drop(hear(connection, step, by)?),
            _ => {}
        }
    }
    Ok(())
}

fn upto(
    steps: &'static [&'static str],
    until: &str,
) -> Result<impl Iterator<Item = &'static str>, Failure> {
    let last = steps.iter().position(|step| *step == until);
    let last = last.ok_or_else(|| Failure::usage(format!("steps are {}", steps.join(" "))))?;
    Ok(steps[..=last].iter().copied())
}

fn check_welcome(welcome: &Message, connection: &Connection) -> Result<(), Failure> {
    let Some(hello) = connection.sent("hello") else { return Ok(()) };
    let (mine, its) = (|name| hello.number(name), |name| welcome.number(name));
    let broken = if !(mine("oldest")..=mine("newest")).contains(&its("version")) {
        "version"
    } else if its("features") & !mine("offered") != 0 || mine("required") & !its("features") != 0 {
        "features"
    } else if ["order", "alignment", "width"].iter().any(|name| mine(name) != its(name)) {
        "archive"
    } else if its("largest") > mine("largest") {
        "largest"
    } else {
        return Ok(());
    };
    Err(Failure::fault(broken))
}

fn check_granted(granted: &Message, connection: &Connection) -> Result<(), Failure> {
    let page = page(connection);
    match ["control", "s_capacity", "c_capacity"]
        .iter()
        .find(|name| !granted.number(name).is_multiple_of(page))
    {
        Some(name) => Err(Failure::fault(format!("{name} is no multiple of the page"))),
        None => Ok(()),
    }
}

/// Checks what a peer had in hand, and says its device and inode.
fn check_file(file: &OwnedFd, seals: u64, size: u64) -> Result<(u64, u64), Failure> {
    let has = sys::seals(file).map_err(|_| Failure::fault("no seals"))?;
    if has != seals {
        return Err(Failure::fault(format!("seals {has:#x} and not {seals:#x}")));
    }
    let [(_, its_size), (_, blocks), _, (_, device), (_, inode), (_, system)] =
        descriptors::stat(file)?;
    if its_size != size || blocks.saturating_mul(512) < size || system != TMPFS {
        return Err(Failure::fault("size, blocks or file system"));
    }
    Ok((device, inode))
}

/// As the connecting side: checks, maps and seals what Granted brought, and sets up the lanes.
pub fn take_granted(connection: &mut Connection) -> Result<(), Failure> {
    let granted = connection
        .received("granted")
        .ok_or_else(|| Failure::usage("Granted has not come"))?
        .clone();
    let [s, c] = &connection.fds[..] else { return Err(Failure::usage("fd0 and fd1 are gone")) };
    let number = |name| granted.number(name);
    let (s_size, c_size) =
        (number("control") + number("s_capacity"), number("control") + number("c_capacity"));
    let s_is = check_file(s, number("s_seals"), s_size)?;
    let c_is = check_file(c, number("c_seals") & !LAST_SEALS, c_size)?;
    let writable =
        sys::fcntl(c, libc::F_GETFL, 0)? & i64::from(libc::O_ACCMODE) == i64::from(libc::O_RDWR);
    if s_is == c_is || !writable {
        return Err(Failure::fault("S is C, or C is read-only"));
    }
    let theirs = Map::new(s, s_size, false)?;
    let mine = Map::new(c, c_size, true)?;
    sys::fcntl(c, libc::F_ADD_SEALS, LAST_SEALS)?;
    stand(connection, &granted, mine, theirs, false);
    Ok(())
}

/// Sets up the lanes over what is mapped.
fn stand(
    connection: &mut Connection,
    granted: &Message,
    mine: Arc<Map>,
    theirs: Arc<Map>,
    serves: bool,
) {
    let segment =
        |map, capacity| Segment { map, control: granted.number("control") as usize, capacity };
    let (s, c) = (granted.number("s_capacity"), granted.number("c_capacity"));
    let (mine, theirs) = if serves {
        (segment(mine, s), segment(theirs, c))
    } else {
        (segment(mine, c), segment(theirs, s))
    };
    let (ours, other) = if serves { ("welcome", "hello") } else { ("hello", "welcome") };
    let takes = |name| connection.sent(ours).map_or(0, |m| m.number(name));
    let takes = takes("takes_fds") + takes("takes_blobs");
    let bits = |message: Option<&Message>| message.map_or(0, |m| m.number("fence"));
    let (ours, other) = (bits(connection.sent(ours)), bits(connection.received(other)));
    let fences = Fences {
        light_is_free: ours & 1 != 0 && other & 2 != 0,
        heavy_is_membarrier: other & 1 != 0 && ours & 2 != 0,
    };
    let largest = connection.either("welcome").map_or(LARGEST, |m| m.number("largest"));
    connection.lanes = Some(Lanes::new(mine, theirs, fences, largest, takes));
}

/// The steps of the accepting side.
pub const SERVER: &[&str] = &["accept", "hello", "welcome", "open", "granted", "sealed", "ready"];

/// Plays the accepting side up to and including a step. Segments that it makes are put into
/// `segments`.
pub fn server(
    connection: &mut Connection,
    until: &str,
    line: &Line,
    told: &Values,
    segments: &mut Option<Segments>,
    by: Deadline,
) -> Result<(), Failure> {
    for step in upto(SERVER, until)? {
        match step {
            "hello" => {
                let hello = hear(connection, step, by)?;
                if let Some(code) = must_reject(&hello) {
                    let told = vec![("code".to_owned(), code.to_string())];
                    say(connection, "reject", &told, by)?;
                    return Err(Failure::Word("reject", Fields::new().with("code", code)));
                }
            }
            "welcome" | "ready" => say(connection, step, told, by)?,
            "open" => drop(hear(connection, step, by)?),
            "granted" if connection.sent(step).is_none() => {
                let granted = make(connection, step, told)?;
                let granted = wire::parse(&granted).map_err(Failure::usage)?;
                let made = make_segments(connection, &granted, line)?;
                let mut values = made.seals()?;
                values.extend(told.iter().cloned());
                let mut with = Ancillary::default();
                with.rights(&[made.s_sent.as_raw_fd(), made.c_sent.as_raw_fd()]);
                let packet = make(connection, step, &values)?;
                connection.send(&packet, &with, by)?;
                *segments = Some(made);
            }
            "sealed" => {
                hear(connection, step, by)?;
                if connection.lanes.is_none() {
                    let made = segments.as_ref().ok_or_else(|| Failure::usage("segments first"))?;
                    take_sealed(connection, &made.c)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The code with which a clean server rejects this Hello.
fn must_reject(hello: &Message) -> Option<u64> {
    let number = |name| hello.number(name);
    if !(number("oldest")..=number("newest")).contains(&1) {
        Some(1)
    } else if number("required") != 0 {
        Some(2)
    } else if (number("order"), number("alignment"), number("width")) != (1, 1, 32) {
        Some(3)
    } else {
        None
    }
}

/// Makes both segments for a Granted, maps S, and seals it.
pub fn make_segments(
    connection: &mut Connection,
    granted: &Message,
    line: &Line,
) -> Result<Segments, Failure> {
    let control = granted.number("control");
    let size =
        |name: &str, capacity: &str| line.number_or(name, control + granted.number(capacity));
    let (s_size, c_size) = (size("s_size", "s_capacity")?, size("c_size", "c_capacity")?);
    let (s, c) = (descriptors::segment(s_size)?, descriptors::segment(c_size)?);
    connection.own = Some(Map::new(&s, s_size, true)?);
    sys::fcntl(&s, libc::F_ADD_SEALS, LAST_SEALS)?;
    let (s_sent, c_sent) = (descriptors::reopen(&s, false)?, descriptors::reopen(&c, true)?);
    Ok(Segments { s, s_sent, c, c_sent })
}

/// As the accepting side: checks and maps C once the other side has sealed it, and sets up the
/// lanes.
pub fn take_sealed(connection: &mut Connection, c: &OwnedFd) -> Result<(), Failure> {
    let granted =
        connection.sent("granted").ok_or_else(|| Failure::usage("Granted was not sent"))?.clone();
    let mine = connection.own.clone().ok_or_else(|| Failure::usage("S is not mapped"))?;
    let size = granted.number("control") + granted.number("c_capacity");
    check_file(c, granted.number("c_seals"), size)?;
    let theirs = Map::new(c, size, false)?;
    stand(connection, &granted, mine, theirs, true);
    Ok(())
}

/// What was agreed, as `client` and `server` answer it.
pub fn agreed(connection: &Connection) -> Fields {
    let mut all = Fields::new();
    for (message, name) in [("welcome", "version"), ("welcome", "largest"), ("granted", "control")]
    {
        if let Some(message) = connection.either(message) {
            all = all.with(name, message.number(name));
        }
    }
    if let Some(granted) = connection.either("granted") {
        all = all
            .with("s_capacity", granted.number("s_capacity"))
            .with("c_capacity", granted.number("c_capacity"));
    }
    if let Some(lanes) = &connection.lanes {
        let Fences { light_is_free, heavy_is_membarrier } = lanes.fences;
        all = all.with("light", if light_is_free { "compiler" } else { "full" });
        all = all.with("heavy", if heavy_is_membarrier { "membarrier" } else { "full" });
    }
    all
}
