//! Observing: every session of this process at one moment, for people and for what watches services.
//!
//! A [`snapshot`] is read from any thread, beside the sessions: it takes what the kernel said of each peer, what was agreed, and
//! what an [`Observer`] sees of the lanes. Nothing is counted for its sake, and no lock is held while a session is looked at.
//!
//! Two kinds of facts are in it. Credentials, our own counters and our own lane are known. The peer's name, its
//! counters and its lane are what it says: [`Lane::claimed`] and [`PeerSnapshot::name`]. Texts are fit to be shown on a terminal.
//!
//! | file | what it is |
//! |---|---|
//! | `json.rs`, `prometheus.rs` | a snapshot as text |
//! | `request.rs` | what a client asks for. Pure |
//! | `endpoint.rs` | a socket that answers each connection with one snapshot |
//! | `serving.rs` | the thread that does so |
//! | `file.rs` | a file that always holds a whole snapshot |
//! | `unseen.rs` | which characters of a text from elsewhere are not shown. Pure |

mod endpoint;
mod file;
mod json;
mod prometheus;
mod request;
mod serving;
mod unseen;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memring_ring::End;
pub use memring_ring::observer::Lane;
use memring_ring::observer::Observer;
use rustix::time::{ClockId, clock_gettime};

pub use endpoint::{ANSWER_IN, CONNECTIONS, Endpoint};
pub use file::write_file;
pub use request::MOST_REQUEST_BYTES;
pub use serving::{Serving, serve};
pub use unseen::is_unseen;

use crate::control::TypeName;
use crate::peer::Origin;
use crate::session::Session;
use crate::tally::{Reason, Tally, tally};
use crate::trace::Told;
use crate::watcher;

/// Bytes of a text that comes from a peer, or of the path of its program: what is longer is cut.
const MOST_TEXT: usize = 256;

/// Sessions that have begun in this process.
static BEGUN: AtomicU64 = AtomicU64::new(0);

/// What a session keeps for whoever looks at it.
#[derive(Debug)]
pub(crate) struct Record {
    number: u64,
    began: Instant,
    protocol: TypeName<'static>,
    observer: Observer,
    /// The peer's program, looked up when somebody first asks.
    program: OnceLock<Option<String>>,
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "nothing is told"))]
    told: Told,
}

impl Record {
    pub(crate) fn new(protocol: TypeName<'static>, observer: Observer) -> Self {
        Self {
            // ORDERING: Relaxed; a number for people.
            number: BEGUN.fetch_add(1, Ordering::Relaxed) + 1,
            began: Instant::now(),
            protocol,
            observer,
            program: OnceLock::new(),
            told: Told::default(),
        }
    }

    /// Whether the peer said that it receives no more; unknown once both halves were dropped.
    pub(crate) fn peer_left(&self) -> Option<bool> {
        self.observer.peer_left()
    }
}

/// For events.
#[cfg(feature = "tracing")]
impl Record {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn protocol(&self) -> &str {
        self.protocol.as_str()
    }

    pub(crate) fn told(&self) -> &Told {
        &self.told
    }
}

/// This process and its sessions, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// This process.
    pub pid: u32,
    /// Its effective uid.
    pub uid: u32,
    /// The path of its program, if the kernel says.
    pub program: Option<String>,
    /// When it was taken, by the machine's monotonic clock: what rates are made of.
    pub taken: Duration,
    /// Sessions that have begun so far, those that have ended among them.
    pub begun: u64,
    /// Why peers were turned away, and how often.
    pub tally: Tally,
    /// Those that stand, or are held on to.
    pub sessions: Vec<SessionSnapshot>,
}

/// One session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionSnapshot {
    /// Its number in this process, from 1 on.
    pub number: u64,
    /// Whether it has ended, and how.
    pub state: State,
    /// The protocol that it speaks.
    pub protocol: String,
    /// Since it stands.
    pub age: Duration,
    /// Who is at the other end.
    pub peer: PeerSnapshot,
    /// The lane to the peer; `None` once both halves were dropped.
    pub outbound: Option<Lane>,
    /// The lane from the peer, likewise.
    pub inbound: Option<Lane>,
}

/// Who is at the other end of a session.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerSnapshot {
    /// How the connection came about, and so whom the credentials are of.
    pub origin: Origin,
    /// See [`Peer::pid`](crate::Peer::pid).
    pub pid: Option<u32>,
    /// See [`Peer::uid`](crate::Peer::uid).
    pub uid: Option<u32>,
    /// See [`Peer::gid`](crate::Peer::gid).
    pub gid: Option<u32>,
    /// What it calls itself. Only a claim; may be empty.
    pub name: String,
    /// Its program, when it was first looked at: see [`Peer::exe_path`](crate::Peer::exe_path).
    pub program: Option<String>,
    /// Its security label.
    pub label: Option<String>,
}

/// How a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Both sides are there.
    Open,
    /// The peer has gone, and said before that it receives no more.
    Closed,
    /// The peer's process or its socket ended without a word.
    Died,
    /// The peer broke this rule.
    Fault(Reason),
    /// This side closed it.
    Local,
    /// It is that of the process which this one was forked from.
    Forked,
}

impl State {
    /// Its name, for metrics. Names stay.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Died => "died",
            Self::Fault(_) => "fault",
            Self::Local => "local",
            Self::Forked => "forked",
        }
    }

    pub(crate) fn of(session: &Session) -> Self {
        match session.life().end() {
            None => Self::Open,
            Some(End::Fault(fault)) => Self::Fault(session.reason(fault)),
            Some(End::Forked) => Self::Forked,
            Some(End::Local) => Self::Local,
            // Of one whose halves were dropped before, nobody asks.
            Some(_) if session.record().peer_left() == Some(false) => Self::Died,
            Some(_) => Self::Closed,
        }
    }
}

/// This process and its sessions, at this moment.
#[must_use]
pub fn snapshot() -> Snapshot {
    let taken = clock_gettime(ClockId::Monotonic);
    let taken = Duration::new(
        u64::try_from(taken.tv_sec).unwrap_or_default(),
        u32::try_from(taken.tv_nsec).unwrap_or_default(),
    );
    // One by one, so that a session which its owner drops meanwhile ends then, and not after all the others.
    let each = |session: std::sync::Weak<Session>| Some(session.upgrade()?.observe());
    let mut sessions: Vec<_> = watcher::sessions().into_iter().filter_map(each).collect();
    sessions.sort_unstable_by_key(|session| session.number);
    Snapshot {
        pid: std::process::id(),
        uid: rustix::process::geteuid().as_raw(),
        program: std::env::current_exe()
            .ok()
            .map(|path| shown(path.as_os_str().as_encoded_bytes())),
        taken,
        // ORDERING: Relaxed; a number for people.
        begun: BEGUN.load(Ordering::Relaxed),
        tally: tally(),
        sessions,
    }
}

impl SessionSnapshot {
    pub(crate) fn of(session: &Session) -> Self {
        let (record, peer) = (session.record(), session.peer());
        let forked = session.life().is_forked();
        let seen = if forked { None } else { record.observer.look() };
        let program = || {
            let path = peer.exe_path().ok()?;
            Some(shown(path.as_os_str().as_encoded_bytes()))
        };
        // In a forked child the cell may be one that a thread of the parent was just filling.
        let program = if forked { None } else { record.program.get_or_init(program).clone() };
        Self {
            number: record.number,
            state: State::of(session),
            protocol: shown(record.protocol.as_str().as_bytes()),
            age: record.began.elapsed(),
            peer: PeerSnapshot {
                origin: peer.origin(),
                pid: peer.pid(),
                uid: peer.uid(),
                gid: peer.gid(),
                name: shown(session.negotiated().peer_name.as_str().as_bytes()),
                program,
                label: peer.security_label().map(shown),
            },
            outbound: seen.map(|seen| seen.outbound),
            inbound: seen.map(|seen| seen.inbound),
        }
    }
}

/// Bytes from elsewhere as text that can be shown: it commands no terminal, turns no line around, and is not long.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut fitted = String::with_capacity(text.len().min(MOST_TEXT));
    for c in text.chars() {
        let c = if is_unseen(c) { char::REPLACEMENT_CHARACTER } else { c };
        if fitted.len() + c.len_utf8() > MOST_TEXT {
            break;
        }
        fitted.push(c);
    }
    fitted
}

/// How the connection came about, in a word.
fn origin_name(origin: Origin) -> &'static str {
    match origin {
        Origin::Connected => "connected",
        Origin::Listening => "listening",
        Origin::Inherited => "inherited",
        Origin::Spawned => "spawned",
    }
}

#[cfg(test)]
mod tests;
