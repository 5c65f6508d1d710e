//! The ledger: whose quota the memory of which segment is charged to, until the kernel shows it free.
//!
//! A peer can keep a segment after its session has ended, and the seals forbid anybody to take the pages
//! back. So what a segment was charged is given back when the segment is gone and not when its session is: an
//! inotify watch says so, whatever kept it alive ([`Releases`]). Nobody waits for that. Whoever is about to
//! charge, or to look, settles the ledger first.
//!
//! Where a segment cannot be watched (inotify denied or used up, no `/proc`) what it was charged is given back
//! [`UNWATCHED`] after its session ended. A peer that keeps memory can then have its share anew that often,
//! and no oftener.
//!
//! It does not know how much anybody may have: that is [`quota`](crate::quota).

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memring_ring::fork::PerProcess;
use memring_ring::segment::{Drained, Releases, Segment, Watched};

use crate::quota::Ticket;

/// How long bytes stay charged after the session, where nobody can say whether they are free.
const UNWATCHED: Duration = Duration::from_secs(60);

struct Ledger {
    releases: Option<Releases>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    watched: HashMap<Watched, Ticket>,
    /// Of segments that nobody watches and whose sessions have ended, the earliest first.
    overdue: VecDeque<(Instant, Ticket)>,
}

/// The entry of one segment. Dropping it says that the session has ended; see the module for what follows.
#[derive(Debug)]
#[must_use = "dropping it says that the session has ended"]
pub(crate) struct Entry {
    /// Of a segment that nobody watches.
    unwatched: Option<Ticket>,
}

/// Enters a segment that was just made, before anybody else can have it.
pub(crate) fn enter(segment: &Segment, ticket: Ticket) -> Entry {
    let ledger = ledger();
    // Over both, so that no report can come before its entry.
    let mut entries = ledger.entries();
    match ledger.releases.as_ref().map(|releases| releases.watch(segment)) {
        Some(Ok(watched)) => {
            entries.watched.insert(watched, ticket);
            Entry { unwatched: None }
        }
        _ => Entry { unwatched: Some(ticket) },
    }
}

/// Gives back what is free by now.
pub(crate) fn settle() {
    let Some(ledger) = LEDGER.get() else {
        return;
    };
    let mut entries = ledger.entries();
    let entries = &mut *entries;
    if let Some(releases) = &ledger.releases {
        // An error is no report: what cannot be learned stays charged.
        let drained = releases.drain(|watched| drop(entries.watched.remove(&watched)));
        if let Ok(Drained::SomeLost) = drained
            && let Ok(left) = releases.left()
        {
            entries.watched.retain(|watched, _| left.contains(watched));
        }
    }
    let now = Instant::now();
    while entries.overdue.front().is_some_and(|(due, _)| *due <= now) {
        entries.overdue.pop_front();
    }
}

static LEDGER: PerProcess<Ledger> = PerProcess::new();

fn ledger() -> &'static Ledger {
    LEDGER.get_or_init(|| Ledger { releases: Releases::new().ok(), entries: Mutex::default() })
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        // Nothing panics while it is held.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(ticket) = self.unwatched.take() {
            // In a forked child this is a copy of the parent's ticket in an account of nobody's.
            ledger().entries().overdue.push_back((Instant::now() + UNWATCHED, ticket));
        }
    }
}
