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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Limits, Quotas, Resource};
    use crate::testing::{alone, refuse};
    use memring_ring::segment::Geometry;

    const PAGE: u64 = 4096;

    fn segment() -> Segment {
        Segment::create(Geometry::new(PAGE as u32, PAGE).unwrap()).unwrap()
    }

    fn quotas() -> Quotas {
        Quotas::new(Limits { bytes_per_uid: u64::MAX, bytes: u64::MAX, ..Limits::default() })
    }

    fn charge(quotas: &Quotas) -> Ticket {
        quotas.charge(Resource::Bytes, Some(1), PAGE).unwrap()
    }

    /// Whether releases can be watched here; says that a test is skipped if not.
    fn watched() -> bool {
        let watched = ledger().releases.is_some();
        if !watched {
            println!("skipped: no inotify");
        }
        watched
    }

    fn held(quotas: &Quotas) -> u64 {
        settle();
        quotas.held(Resource::Bytes, Some(1))
    }

    #[test]
    fn attack_48_bytes_are_given_back_with_the_last_reference_and_not_with_the_session() {
        if !watched() {
            return;
        }
        let quotas = quotas();
        let segment = segment();
        let entry = enter(&segment, charge(&quotas));
        let kept = segment.offer_writer().unwrap();
        drop(entry);
        drop(segment);
        assert_eq!(held(&quotas), PAGE, "somebody has it open");
        drop(kept);
        // A child that another test forks has a copy of whatever is open until it execs.
        crate::testing::eventually("the bytes are free", || held(&quotas) == 0);
    }

    #[test]
    fn reports_that_are_lost_are_made_good() {
        if !alone("ledger::tests::reports_that_are_lost_are_made_good") {
            return;
        }
        let queue = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let queue: u64 = queue.trim().parse().unwrap();
        if queue > 100_000 {
            return println!("skipped: a queue of {queue} takes long to fill");
        }
        if !watched() {
            return;
        }
        let quotas = quotas();
        let kept = segment();
        let _kept = enter(&kept, charge(&quotas));
        // Two events each, and nobody looks.
        for _ in 0..queue / 2 + 100 {
            let segment = segment();
            drop(enter(&segment, charge(&quotas)));
        }
        assert_eq!(held(&quotas), PAGE, "of the one that is left");
    }

    #[test]
    fn what_cannot_be_watched_stays_charged_after_its_session() {
        if !alone("ledger::tests::what_cannot_be_watched_stays_charged_after_its_session") {
            return;
        }
        refuse(libc::SYS_inotify_init1, None, libc::EMFILE);
        let quotas = quotas();
        let segment = segment();
        let entry = enter(&segment, charge(&quotas));
        drop(segment);
        assert_eq!(held(&quotas), PAGE);
        drop(entry);
        assert_eq!(held(&quotas), PAGE, "for a minute");
        let mut entries = ledger().entries();
        let until = entries.overdue.front().expect("it waits").0;
        assert!(until > Instant::now() && until <= Instant::now() + UNWATCHED);
        entries.overdue[0].0 = Instant::now(); // the minute is over
        drop(entries);
        assert_eq!(held(&quotas), 0);
    }
}
