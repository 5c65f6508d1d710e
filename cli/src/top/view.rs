//! What is shown of a snapshot: a line about the server, and a table of sessions by how busy they are. Pure.
//!
//! Texts come from a server, and in it from its peers: whatever they are, they take one cell and command nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use memring::observe::is_unseen;
use serde::Deserialize;

use crate::output::{Table, scaled};

/// Characters of a text in a cell.
const MOST_SHOWN: usize = 24;
/// Of a state with the rule that was broken, and of a reason to turn somebody away.
const MOST_REASON: usize = 48;
/// Of the path of the server's program: as many as a server says.
const MOST_PATH: usize = 256;
/// Reasons why somebody was turned away, the most frequent first.
const MOST_REASONS: usize = 16;

/// A snapshot, as far as it is shown.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Seen {
    pid: u32,
    uid: u32,
    program: Option<String>,
    taken_ns: u64,
    begun: u64,
    refusals: BTreeMap<String, u64>,
    sessions: Vec<Session>,
}

#[derive(Clone, Debug, Deserialize)]
struct Session {
    number: u64,
    state: String,
    fault: Option<String>,
    protocol: String,
    age_ms: u64,
    peer: Peer,
    out: Option<Lane>,
    r#in: Option<Lane>,
}

#[derive(Clone, Debug, Deserialize)]
struct Peer {
    pid: Option<u32>,
    uid: Option<u32>,
    name: String,
    program: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Lane {
    capacity: u64,
    used: u64,
    ours: Stats,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Stats {
    messages: u64,
    bytes: u64,
    sleeps: u64,
}

impl Seen {
    /// Of one JSON object. What is not shown is read over, and takes no memory.
    pub(super) fn of(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

/// One snapshot beside the one before.
pub(super) struct View<'a> {
    pub address: &'a str,
    pub now: &'a Seen,
    pub before: Option<&'a Seen>,
}

impl View<'_> {
    /// As text of so many lines at most.
    pub(super) fn text(&self, most: usize) -> String {
        if most == 0 {
            return String::new();
        }
        let mut text = self.about();
        let mut rows: Vec<_> = self.rates();
        // A head alone says nothing.
        if rows.is_empty() || most < 3 {
            return text;
        }
        rows.sort_by(|(a, one), (b, other)| {
            let busy = |rates: &Option<Rates>| rates.map_or(0.0, |rates| rates.messages());
            busy(other).total_cmp(&busy(one)).then(a.number.cmp(&b.number))
        });
        // The line about the server, the head of the table, and one that says how many are left out.
        let fits = most.saturating_sub(2);
        let (count, fits) =
            if rows.len() <= fits { (rows.len(), true) } else { (fits.saturating_sub(1), false) };
        let mut table = Table::default();
        table.row([
            "peer", "pid", "uid", "protocol", "state", "age", "out/s", "B/s", "fill", "in/s",
            "B/s", "fill", "sleeps/s",
        ]);
        for (session, rates) in &rows[..count] {
            table.row(session.cells(*rates));
        }
        // A string takes whatever is written to it.
        let _ = write!(text, "{table}");
        if !fits {
            let _ = writeln!(text, "  and {} more", rows.len() - count);
        }
        text
    }

    fn about(&self) -> String {
        let Seen { pid, uid, program, begun, refusals, sessions, .. } = self.now;
        let program = program
            .as_deref()
            .map_or_else(String::new, |path| format!(" {}", cut(path, MOST_PATH)));
        let (address, open) = (plain(self.address), sessions.len());
        let mut line =
            format!("{address}: pid {pid} uid {uid}{program}, {open} of {begun} sessions");
        let mut reasons: Vec<_> = refusals.iter().collect();
        reasons.sort_by_key(|(_, times)| Reverse(**times));
        let mut separator = "; turned away: ";
        for (reason, times) in reasons.iter().take(MOST_REASONS) {
            let _ = write!(line, "{separator}{} {times}", cut(reason, MOST_REASON));
            separator = ", ";
        }
        if let Some(more) = reasons.len().checked_sub(MOST_REASONS).filter(|more| *more > 0) {
            let _ = write!(line, ", and for {more} more reasons");
        }
        line.push('\n');
        line
    }

    /// Each session, and how fast it is.
    fn rates(&self) -> Vec<(&Session, Option<Rates>)> {
        let before: HashMap<_, _> = self
            .before
            .iter()
            .flat_map(|before| &before.sessions)
            .map(|session| (session.number, session))
            .collect();
        let between = self.before.map(|before| self.now.taken_ns.saturating_sub(before.taken_ns));
        let rates = |session: &Session| {
            // One that began meanwhile did all of it since then.
            let was = before.get(&session.number);
            let young = session.age_ms.saturating_mul(1_000_000);
            let between = if was.is_some() { between? } else { between?.min(young) };
            let seconds = Duration::from_nanos(between).as_secs_f64();
            (seconds > 0.0).then(|| Rates {
                out: Rate::of(session.out, was.and_then(|was| was.out), seconds),
                inbound: Rate::of(session.r#in, was.and_then(|was| was.r#in), seconds),
            })
        };
        self.now.sessions.iter().map(|session| (session, rates(session))).collect()
    }
}

#[derive(Clone, Copy)]
struct Rates {
    out: Rate,
    inbound: Rate,
}

impl Rates {
    fn messages(&self) -> f64 {
        self.out.messages + self.inbound.messages
    }
}

/// Of one of our halves, a second.
#[derive(Clone, Copy)]
struct Rate {
    messages: f64,
    bytes: f64,
    sleeps: f64,
}

impl Rate {
    fn of(now: Option<Lane>, before: Option<Lane>, seconds: f64) -> Self {
        let (now, before) = (now.map(|lane| lane.ours), before.map(|lane| lane.ours));
        let (now, before) = (now.unwrap_or_default(), before.unwrap_or_default());
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        Self {
            messages: rate(now.messages, before.messages),
            bytes: rate(now.bytes, before.bytes),
            sleeps: rate(now.sleeps, before.sleeps),
        }
    }
}

impl Session {
    fn cells(&self, rates: Option<Rates>) -> [String; 13] {
        let number = |id: Option<u32>| id.map_or_else(|| "?".to_owned(), |id| id.to_string());
        let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), scaled);
        let fill = |lane: Option<Lane>| {
            lane.map_or_else(
                || "-".to_owned(),
                |lane| {
                    let percent = 100 * u128::from(lane.used) / u128::from(lane.capacity.max(1));
                    format!("{}%", percent.min(100))
                },
            )
        };
        let state = match &self.fault {
            Some(rule) => format!("{} {}", self.state, rule),
            None => self.state.clone(),
        };
        [
            self.peer.who(),
            number(self.peer.pid),
            number(self.peer.uid),
            cell(&self.protocol),
            cut(&state, MOST_REASON),
            age(self.age_ms / 1000),
            rate(rates.map(|rates| rates.out.messages)),
            rate(rates.map(|rates| rates.out.bytes)),
            fill(self.out),
            rate(rates.map(|rates| rates.inbound.messages)),
            rate(rates.map(|rates| rates.inbound.bytes)),
            fill(self.r#in),
            rate(rates.map(|rates| rates.out.sleeps + rates.inbound.sleeps)),
        ]
    }
}

impl Peer {
    /// What it calls itself, or else its program.
    fn who(&self) -> String {
        match (self.name.as_str(), &self.program) {
            ("", Some(program)) => {
                format!("[{}]", cell(program.rsplit('/').next().unwrap_or(program)))
            }
            ("", None) => "-".to_owned(),
            (name, _) => cell(name),
        }
    }
}

/// A text on one line, without what commands a terminal or hides what follows.
fn plain(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { '?' } else { c }).collect()
}

/// A text for one cell: not long, either.
fn cell(text: &str) -> String {
    cut(text, MOST_SHOWN)
}

/// A text of so many characters at most.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        // The end of a path says more than its beginning.
        Some(_) if text.starts_with('/') => {
            let end = text.char_indices().rev().take(most - 2).last();
            format!("..{}", plain(end.map_or("", |(at, _)| &text[at..])))
        }
        Some((at, _)) => plain(&text[..at]),
        None => plain(text),
    }
}

/// `59s`, `3m`, `2h`, `5d`.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(used: u64, messages: u64, bytes: u64, sleeps: u64) -> serde_json::Value {
        serde_json::json!({
            "capacity": 1000, "used": used,
            "ours": {"messages": messages, "bytes": bytes, "spins": 0, "sleeps": sleeps, "wakes": 0},
        })
    }

    fn session(number: u64, name: &str, out: serde_json::Value) -> serde_json::Value {
        serde_json::json!({
            "number": number, "state": "open", "fault": null, "protocol": "quotes", "age_ms": 61_000,
            "peer": {"origin": "connected", "pid": 42, "uid": null, "gid": 7, "name": name,
                "program": "/usr/bin/feed", "label": null},
            "out": out, "in": null,
        })
    }

    fn seen(taken_ns: u64, sessions: &[serde_json::Value]) -> Seen {
        let object = serde_json::json!({
            "format": 1, "pid": 7, "uid": 8, "program": "/opt/server", "taken_ns": taken_ns,
            "begun": 5, "refusals": {"denied": 3}, "sessions": sessions,
        });
        Seen::of(&object.to_string()).unwrap()
    }

    #[test]
    fn the_busiest_come_first_with_rates_between_two_looks() {
        let before = seen(
            1_000_000_000,
            &[session(1, "slow", lane(0, 0, 0, 0)), session(2, "", lane(0, 0, 0, 0))],
        );
        let now = seen(
            3_000_000_000,
            &[session(1, "slow", lane(500, 20, 2000, 2)), session(2, "", lane(1001, 4000, 0, 0))],
        );
        let view = View { address: "./o", now: &now, before: Some(&before) };
        let expected = "\
./o: pid 7 uid 8 /opt/server, 2 of 5 sessions; turned away: denied 3
  peer    pid  uid  protocol  state  age  out/s  B/s  fill  in/s  B/s  fill  sleeps/s
  [feed]   42    ?    quotes   open  61s     2k    0  100%     0    0     -         0
  slow     42    ?    quotes   open  61s     10   1k   50%     0    0     -         1
";
        assert_eq!(view.text(usize::MAX), expected);
        // What does not fit is said.
        let short = view.text(3);
        assert!(short.ends_with("sleeps/s\n  and 2 more\n"), "{short}");
        assert_eq!(view.text(4), expected);
        // And of one look there are no rates.
        let first = View { before: None, ..view };
        assert!(first.text(9).contains("open  61s      -    -"), "{}", first.text(9));
    }

    #[test]
    fn one_that_began_between_two_looks_did_all_of_it_since() {
        let before = seen(0, &[]);
        let mut young = session(1, "new", lane(0, 500, 0, 0));
        young["age_ms"] = 500.into();
        let now = seen(1_000_000_000, &[young]);
        let view = View { address: "o", now: &now, before: Some(&before) };
        assert!(view.text(9).contains(" 1k "), "{}", view.text(9));
    }

    #[test]
    fn it_has_no_more_lines_than_the_terminal() {
        let sessions: Vec<_> = (1..=3).map(|n| session(n, "x", lane(0, 0, 0, 0))).collect();
        for count in 0..=3 {
            let now = seen(0, &sessions[..count]);
            let view = View { address: "o", now: &now, before: None };
            for (most, lines) in (0..8).zip([0, 1, 1, 3, 4, 5, 5, 5]) {
                let whole = if count == 0 { 1 } else { count + 2 };
                let text = view.text(most);
                assert_eq!(text.lines().count(), whole.min(lines), "{count} in {most}: {text}");
            }
        }
    }

    #[test]
    fn a_rule_that_was_broken_is_shown_whole() {
        for rule in ["packet.descriptors_flood", "handshake.descriptors_lost"] {
            let mut broke = session(1, "x", lane(0, 0, 0, 0));
            (broke["state"], broke["fault"]) = ("fault".into(), rule.into());
            let now = seen(0, &[broke]);
            let text = View { address: "o", now: &now, before: None }.text(9);
            assert!(text.contains(&format!("  fault {rule}  ")), "{text}");
        }
    }

    #[test]
    fn a_state_takes_its_cell_and_no_more_whatever_a_server_says() {
        let mut broke = session(1, "x", lane(0, 0, 0, 0));
        (broke["state"], broke["fault"]) = ("s\u{1b}".repeat(100).into(), "f".repeat(100).into());
        let now = seen(0, &[broke]);
        let text = View { address: "o", now: &now, before: None }.text(9);
        assert!(text.contains(&format!("  {}  61s ", "s?".repeat(MOST_REASON / 2))), "{text}");
    }

    #[test]
    fn the_line_about_a_server_ends_whatever_it_says() {
        let mut now = seen(0, &[]);
        now.program = Some(format!("/{}/end\u{202e}", "x".repeat(1 << 20)));
        now.refusals = (0..1000).map(|n| (format!("{n:04}{}", "x".repeat(1 << 10)), n)).collect();
        let text = View { address: "o", now: &now, before: None }.text(9);
        assert!(text.contains("/end?, 0 of 5 sessions; turned away: 0999xx"), "{text}");
        assert!(text.ends_with("x 984, and for 984 more reasons\n"), "{text}");
        assert!(text.len() < 2000, "{}", text.len());
        now.refusals.retain(|_, times| *times < MOST_REASONS as u64);
        let text = View { address: "o", now: &now, before: None }.text(9);
        assert!(!text.contains("more"), "{text}");
    }

    #[test]
    fn texts_take_one_cell_and_command_nothing() {
        for (text, shown) in [
            ("plain", "plain"),
            ("\x1b[2J\nhello\u{202e}", "?[2J?hello?"),
            ("soft\u{ad}\u{fff9}\u{e0041}", "soft???"),
            ("/\u{fe0f}äöü/äöü/äöü/äöü/äöü/äöü", "..öü/äöü/äöü/äöü/äöü/äöü"),
            ("123456789012345678901234567", "123456789012345678901234"),
            ("/a/long/path/to/some/program", "..g/path/to/some/program"),
        ] {
            assert_eq!(cell(text), shown.to_owned());
        }
        for (seconds, text) in
            [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (200_000, "2d")]
        {
            assert_eq!(age(seconds), text);
        }
    }
}
