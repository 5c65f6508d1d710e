//! The ledger: whose quota the memory of which segment is charged to, until the kernel shows it free.
//!
//! A peer can keep a segment after its session has ended, and the seals forbid anybody to take the pages
//! back. So what a segment was charged is given back when the segment is gone and not when its session is: an
//! inotify watch says so, whatever kept it alive ([`Releases`]). Nobody waits for that. Whoever is about to
//! charge, or to look, settles the ledger first.
//!
//! Where a segment cannot be watched (inotify denied, no `/proc`) what it was charged is given back [`UNWATCHED`]
//! after its session ended. A peer that keeps memory can then have its share anew that often, and no oftener.
//! Watches are used up by whoever keeps many segments, however small: once they are, a uid that has a good part
//! of them gets no more segments, and the others are given back theirs by time.
//!
//! It does not know how much anybody may have: that is [`quota`](crate::quota).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memring_ring::fork::{Generation, PerProcess, generation};
use memring_ring::segment::{Drained, Releases, Segment, Watched};

use crate::quota::Ticket;

/// How long bytes stay charged after the session, where nobody can say whether they are free.
const UNWATCHED: Duration = Duration::from_secs(60);

/// A uid has a good part of the watches with so many, and a quarter of all of them. As many as the sessions that
/// it may have need.
const MANY: usize = 2048;

#[derive(Default)]
struct Ledger {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    /// Missing as long as none could be had.
    releases: Option<Releases>,
    /// Reports were lost, and what they said was not found out yet.
    lost: bool,
    watched: HashMap<Watched, Ticket>,
    /// Of segments that nobody watches and whose sessions have ended, the earliest first.
    overdue: VecDeque<(Instant, Ticket)>,
}

impl Entries {
    fn has_many(&self, uid: u32) -> bool {
        let has = self.watched.values().filter(|ticket| ticket.uid() == uid).count();
        has >= MANY && has >= self.watched.len() / 4
    }
}

/// The entry of one segment. Dropping it says that the session has ended; see the module for what follows.
#[derive(Debug)]
#[must_use = "dropping it says that the session has ended"]
pub(crate) struct Entry {
    /// Of a segment that nobody watches.
    unwatched: Option<Ticket>,
    generation: Generation,
}

/// Enters a segment that was just made, before anybody else can have it.
///
/// # Errors
///
/// `ENOSPC` if watches are used up, a good part of them by this uid: it must not have the segment.
pub(crate) fn enter(segment: &Segment, ticket: Ticket) -> io::Result<Entry> {
    // Over both, so that no report can come before its entry.
    let mut entries = ledger().entries();
    let generation = generation();
    if entries.releases.is_none() {
        entries.releases = Releases::new().ok();
    }
    match entries.releases.as_ref().map(|releases| releases.watch(segment)) {
        Some(Ok(watched)) => {
            entries.watched.insert(watched, ticket);
            Ok(Entry { unwatched: None, generation })
        }
        Some(Err(error))
            if error.raw_os_error() == Some(libc::ENOSPC) && entries.has_many(ticket.uid()) =>
        {
            Err(error)
        }
        _ => Ok(Entry { unwatched: Some(ticket), generation }),
    }
}

/// Gives back what is free by now.
pub(crate) fn settle() {
    let Some(ledger) = LEDGER.get() else {
        return;
    };
    let mut entries = ledger.entries();
    let entries = &mut *entries;
    if let Some(releases) = &entries.releases {
        let drained = releases.drain(|watched| drop(entries.watched.remove(&watched)));
        // What an error hid is found out as what was lost is; until that can be, it stays charged.
        entries.lost |= !matches!(drained, Ok(Drained::All));
        if entries.lost
            && let Ok(left) = releases.left()
        {
            entries.watched.retain(|watched, _| left.contains(watched));
            entries.lost = false;
        }
    }
    let now = Instant::now();
    while entries.overdue.front().is_some_and(|(due, _)| *due <= now) {
        entries.overdue.pop_front();
    }
}

static LEDGER: PerProcess<Ledger> = PerProcess::new();

fn ledger() -> &'static Ledger {
    LEDGER.get_or_init(Ledger::default)
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
            if !self.generation.is_current() {
                return; // the parent's
            }
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
        let watched = Releases::new().is_ok();
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
        let entry = enter(&segment, charge(&quotas)).unwrap();
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
        let _kept = enter(&kept, charge(&quotas)).unwrap();
        // Two events each, and nobody looks.
        for _ in 0..queue / 2 + 100 {
            let segment = segment();
            drop(enter(&segment, charge(&quotas)).unwrap());
        }
        assert_eq!(held(&quotas), PAGE, "of the one that is left");
    }

    #[test]
    fn attack_48_who_has_used_up_the_watches_gets_no_more_segments_and_others_do() {
        if !alone(
            "ledger::tests::attack_48_who_has_used_up_the_watches_gets_no_more_segments_and_others_do",
        ) {
            return;
        }
        if !watched() {
            return;
        }
        let quotas = quotas();
        let kept: Vec<_> = (0..MANY)
            .map(|_| {
                let segment = segment();
                drop(enter(&segment, charge(&quotas)).unwrap());
                segment.into_writer().unwrap().0 // a mapping, so that it takes no descriptor
            })
            .collect();
        refuse(libc::SYS_inotify_add_watch, None, libc::ENOSPC);
        let refused = enter(&segment(), charge(&quotas)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC));
        let other = quotas.charge(Resource::Bytes, Some(2), PAGE).unwrap();
        assert!(enter(&segment(), other).unwrap().unwatched.is_some(), "by time");
        drop(kept);
    }

    #[test]
    fn a_descriptor_for_watching_that_could_not_be_had_is_asked_for_again() {
        if !alone(
            "ledger::tests::a_descriptor_for_watching_that_could_not_be_had_is_asked_for_again",
        ) {
            return;
        }
        if !watched() {
            return;
        }
        let quotas = quotas();
        let (before, after) = (segment(), segment());
        let (charged, again) = (charge(&quotas), charge(&quotas));
        let was = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let none = rustix::process::Rlimit { current: Some(0), maximum: was.maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, none).unwrap();
        assert!(enter(&before, charged).unwrap().unwatched.is_some());
        rustix::process::setrlimit(rustix::process::Resource::Nofile, was).unwrap();
        assert!(enter(&after, again).unwrap().unwatched.is_none());
    }

    #[test]
    fn what_cannot_be_watched_stays_charged_after_its_session() {
        if !alone("ledger::tests::what_cannot_be_watched_stays_charged_after_its_session") {
            return;
        }
        refuse(libc::SYS_inotify_init1, None, libc::EMFILE);
        let quotas = quotas();
        let segment = segment();
        let entry = enter(&segment, charge(&quotas)).unwrap();
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
