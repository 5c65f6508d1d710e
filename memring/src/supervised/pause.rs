//! When to try again: pauses that grow, each cut by chance, so that clients of one server do not come in step. Pure, but for
//! the chance.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// The first pause, and the longest. The latter bounds how long after a server's return its last client comes.
const FIRST: Duration = Duration::from_millis(4);
const LONGEST: Duration = Duration::from_millis(200);

pub(super) struct Pauses {
    /// How long the next one is at most.
    next: Duration,
    due: Instant,
    /// When the session began that stands.
    since: Instant,
}

impl Pauses {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: FIRST, due: now, since: now }
    }

    /// When the next attempt is due.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// An attempt failed.
    pub(super) fn failed(&mut self, now: Instant) {
        self.due = now + some_of(self.next, random());
        self.next = (self.next * 2).min(LONGEST);
    }

    /// There is a session.
    pub(super) fn stands(&mut self, now: Instant) {
        self.since = now;
    }

    /// There was one. If it did not last, it is as if there had been none: a server that ends each at once is not asked
    /// without a pause.
    pub(super) fn lost(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= LONGEST {
            self.next = FIRST;
        }
        self.failed(now);
    }
}

/// Between half of a pause and all of it.
fn some_of(pause: Duration, random: u64) -> Duration {
    let half = pause / 2;
    half + half.mul_f64(random as f64 / u64::MAX as f64)
}

/// Another number at each call, also in processes that were forked from one.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_begin_anew_after_a_session_that_lasted() {
        let mut now = Instant::now();
        let mut pauses = Pauses::new(now);
        assert_eq!(pauses.due(), now, "the first attempt waits for nothing");
        let check = |pauses: &Pauses, now: Instant, most: u64| {
            let pause = pauses.due() - now;
            let most = Duration::from_millis(most);
            assert!(pause >= most / 2 && pause <= most, "{pause:?} of {most:?}");
        };
        for most in [4, 8, 16, 32, 64, 128, 200, 200] {
            pauses.failed(now);
            check(&pauses, now, most);
            now = pauses.due();
        }
        pauses.stands(now);
        now += Duration::from_millis(199);
        pauses.lost(now);
        check(&pauses, now, 200);
        pauses.stands(now);
        now += Duration::from_millis(200);
        for most in [4, 8] {
            pauses.lost(now);
            check(&pauses, now, most);
            pauses.stands(now);
        }
    }

    #[test]
    fn chance_takes_from_nothing_to_half() {
        for pause in [FIRST, LONGEST] {
            assert_eq!(some_of(pause, 0), pause / 2);
            assert_eq!(some_of(pause, u64::MAX), pause);
        }
        let all: std::collections::HashSet<_> = (0..100).map(|_| random()).collect();
        assert!(all.len() > 90, "{} of 100", all.len());
    }
}
