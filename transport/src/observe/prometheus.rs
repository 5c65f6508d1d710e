//! A snapshot in the text format of Prometheus, version 0.0.4.
//!
//! Who a session is with stands in one metric, `memring_session_info`, and the others name its number: labels that are on
//! everything would multiply what is stored. Names stay; new metrics may come.

use std::fmt::{self, Write as _};
use std::io;

use memring_ring::Stats;

use super::{Lane, PeerSnapshot, SessionSnapshot, Snapshot, State, origin_name};
use crate::tally::Reason;

/// What HTTP calls this format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One number of a half.
type Count = (&'static str, &'static str, fn(&Stats) -> u64);

const COUNTS: [Count; 5] = [
    ("messages", "Messages", |stats| stats.messages),
    ("bytes", "Bytes of messages", |stats| stats.bytes),
    ("spins", "Waits that began by spinning", |stats| stats.spins),
    ("sleeps", "Sleeps in a system call", |stats| stats.sleeps),
    ("wakes", "Wakes of the other side", |stats| stats.wakes),
];

impl Snapshot {
    /// Writes it in the text format of Prometheus.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write_prometheus(&self, out: &mut impl io::Write) -> io::Result<()> {
        out.write_all(self.to_prometheus().as_bytes())
    }

    /// In the text format of Prometheus.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut out = String::with_capacity(8192 + 2048 * self.sessions.len());
        // A string takes whatever is written to it.
        let _ = self.prometheus(&mut out);
        out
    }

    fn prometheus(&self, out: &mut String) -> fmt::Result {
        head(out, "memring_sessions", "gauge", "Sessions that stand, or are held on to.")?;
        writeln!(out, "memring_sessions {}", self.sessions.len())?;
        head(out, "memring_sessions_begun_total", "counter", "Sessions that have begun.")?;
        writeln!(out, "memring_sessions_begun_total {}", self.begun)?;
        let help = "Peers turned away, and sessions that a peer ended by breaking a rule.";
        head(out, "memring_refusals_total", "counter", help)?;
        for reason in Reason::ALL {
            let times = self.tally.of(*reason);
            writeln!(out, "memring_refusals_total{{reason=\"{reason}\"}} {times}")?;
        }
        if self.sessions.is_empty() {
            return Ok(());
        }
        head(out, "memring_session_info", "gauge", "Whom a session is with; the name is its own.")?;
        self.sessions.iter().try_for_each(|session| session.info(out))?;
        head(out, "memring_session_age_seconds", "gauge", "Since the session stands.")?;
        for SessionSnapshot { number, age, .. } in &self.sessions {
            let age = age.as_secs_f64();
            writeln!(out, "memring_session_age_seconds{{session=\"{number}\"}} {age:.3}")?;
        }
        let (metric, help) = ("memring_lane_capacity_bytes", "Bytes that a lane holds.");
        self.each(out, metric, "gauge", help, |lane| lane.capacity)?;
        let (metric, help) = ("memring_lane_used_bytes", "Bytes of a lane that are in use.");
        self.each(out, metric, "gauge", help, |lane| lane.used)?;
        for (name, help, of) in COUNTS {
            let (ours, claimed) =
                (format!("{help} of this side."), format!("{help}, as the peer says."));
            let metric = format!("memring_session_{name}_total");
            self.each(out, &metric, "counter", &ours, |lane| of(&lane.ours))?;
            let metric = format!("memring_session_claimed_{name}_total");
            self.each(out, &metric, "counter", &claimed, |lane| of(&lane.claimed))?;
        }
        Ok(())
    }

    /// One metric, of every lane.
    fn each(
        &self,
        out: &mut String,
        metric: &str,
        kind: &str,
        help: &str,
        of: impl Fn(&Lane) -> u64,
    ) -> fmt::Result {
        head(out, metric, kind, help)?;
        for SessionSnapshot { number, outbound, inbound, .. } in &self.sessions {
            for (direction, lane) in [("out", outbound), ("in", inbound)] {
                if let Some(lane) = lane {
                    let value = of(lane);
                    let labels = format_args!(r#"session="{number}",direction="{direction}""#);
                    writeln!(out, "{metric}{{{labels}}} {value}")?;
                }
            }
        }
        Ok(())
    }
}

impl SessionSnapshot {
    fn info(&self, out: &mut String) -> fmt::Result {
        let Self { number, state, protocol, peer, .. } = self;
        let PeerSnapshot { origin, pid, uid, gid, name, program, label } = peer;
        let fault = match state {
            State::Fault(reason) => reason.name(),
            _ => "",
        };
        let number_of = |id: Option<u32>| id.map_or_else(String::new, |id| id.to_string());
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        write!(out, "memring_session_info{{session=\"{number}\"")?;
        for (label, value) in [
            ("state", state.name()),
            ("fault", fault),
            ("protocol", protocol),
            ("origin", origin_name(*origin)),
            ("pid", &number_of(*pid)),
            ("uid", &number_of(*uid)),
            ("gid", &number_of(*gid)),
            ("name", name),
            ("program", &text(program)),
            ("label", &text(label)),
        ] {
            write!(out, ",{label}=\"{}\"", Escaped(value))?;
        }
        out.push_str("} 1\n");
        Ok(())
    }
}

fn head(out: &mut String, metric: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP {metric} {help}\n# TYPE {metric} {kind}")
}

/// The value of a label.
pub(super) struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '"' | '\\' => write!(f, "\\{c}"),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}
