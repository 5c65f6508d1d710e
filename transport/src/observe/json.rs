//! A snapshot as one JSON object on one line.
//!
//! Written by hand: it is flat, and a plain memring pulls no library for it. Members stay; new ones may come.

use std::fmt::{self, Write as _};
use std::io;

use memring_ring::Stats;

use super::{Lane, PeerSnapshot, SessionSnapshot, Snapshot, State, origin_name};

impl Snapshot {
    /// Writes it as one JSON object, and a line's end.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write_json(&self, out: &mut impl io::Write) -> io::Result<()> {
        out.write_all(self.to_json().as_bytes())
    }

    /// As one JSON object, and a line's end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(512 + 1024 * self.sessions.len());
        // A string takes whatever is written to it.
        let _ = self.json(&mut out);
        out
    }

    fn json(&self, out: &mut String) -> fmt::Result {
        let Self { pid, uid, program, taken, begun, tally, sessions } = self;
        let (program, taken) = (Maybe(program.as_deref().map(Quoted)), taken.as_nanos());
        write!(
            out,
            r#"{{"format":1,"pid":{pid},"uid":{uid},"program":{program},"taken_ns":{taken},"#
        )?;
        write!(out, r#""begun":{begun},"refusals":{{"#)?;
        for (at, (reason, times)) in tally.iter().enumerate() {
            write!(out, r#"{}"{reason}":{times}"#, comma(at))?;
        }
        out.push_str(r#"},"sessions":["#);
        for (at, session) in sessions.iter().enumerate() {
            out.push_str(comma(at));
            session.json(out)?;
        }
        out.push_str("]}\n");
        Ok(())
    }
}

impl SessionSnapshot {
    fn json(&self, out: &mut String) -> fmt::Result {
        let Self { number, state, protocol, age, peer, outbound, inbound } = self;
        let fault = match state {
            State::Fault(reason) => Some(Quoted(reason.name())),
            _ => None,
        };
        let (state, fault, protocol) = (state.name(), Maybe(fault), Quoted(protocol));
        write!(out, r#"{{"number":{number},"state":"{state}","fault":{fault},"#)?;
        write!(out, r#""protocol":{protocol},"age_ms":{},"peer":"#, age.as_millis())?;
        let PeerSnapshot { origin, pid, uid, gid, name, program, label } = peer;
        let (origin, name) = (origin_name(*origin), Quoted(name));
        let (pid, uid, gid) = (Maybe(*pid), Maybe(*uid), Maybe(*gid));
        write!(out, r#"{{"origin":"{origin}","pid":{pid},"uid":{uid},"gid":{gid},"name":{name},"#)?;
        let (program, label) = (program.as_deref().map(Quoted), label.as_deref().map(Quoted));
        write!(out, r#""program":{},"label":{}}},"#, Maybe(program), Maybe(label))?;
        let (to, from) =
            (Maybe(outbound.as_ref().map(OfLane)), Maybe(inbound.as_ref().map(OfLane)));
        write!(out, r#""out":{to},"in":{from}}}"#)
    }
}

fn comma(at: usize) -> &'static str {
    if at == 0 { "" } else { "," }
}

/// A value, or `null`.
struct Maybe<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

struct OfLane<'a>(&'a Lane);

impl fmt::Display for OfLane<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lane { capacity, used, ours, claimed, .. } = self.0;
        write!(f, r#"{{"capacity":{capacity},"used":{used},"ours":"#)?;
        write!(f, r#"{},"claimed":{}}}"#, OfStats(ours), OfStats(claimed))
    }
}

struct OfStats<'a>(&'a Stats);

impl fmt::Display for OfStats<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { messages, bytes, spins, sleeps, wakes, .. } = self.0;
        write!(f, r#"{{"messages":{messages},"bytes":{bytes},"#)?;
        write!(f, r#""spins":{spins},"sleeps":{sleeps},"wakes":{wakes}}}"#)
    }
}

/// A string as JSON has it.
pub(super) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}
