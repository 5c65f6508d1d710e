//! How long an adaptive wait spins before it sleeps: learnt from recent waits, one half's own.
//!
//! Spinning pays if the peer usually answers within the budget. While it does, the budget follows twice
//! the mean wait. After a few waits that spun in vain it spins no more, except now and then to find out
//! whether times have changed.
//!
//! One thing a short spin cannot find out: that two processes which the scheduler put on one processor would
//! do better on two. While they take turns neither looks busy, so nothing moves them; a spin of several
//! milliseconds does, because then one is left waiting to run. So a half whose sleeps are all ended at
//! once, by a peer that could only answer when we stopped spinning, tries that, at most for a hundredth of
//! the time.
//!
//! It knows no lanes and does not spin itself; see `wait`.

use std::time::Duration;

use crate::sync::{self, Instant};

/// What recent waits taught.
pub(crate) struct Learnt {
    /// Exponential mean of the waits that spinning caught, in nanoseconds.
    mean: u64,
    /// Waits in a row that spun in vain.
    misses: u32,
    /// Waits left until the next trial, once `misses` has reached [`Learnt::PATIENCE`].
    until_trial: u32,
    /// Waits between trials; doubles with each that fails.
    pause: u32,
    /// Sleeps in a row that were over within [`Learnt::PROMPT`].
    prompt: u32,
    /// When the last long trial began.
    long_trial: Option<Instant>,
    least: Duration,
    tried: bool,
}

impl Learnt {
    const PATIENCE: u32 = 4;
    const FIRST_PAUSE: u32 = 16;
    const LONGEST_PAUSE: u32 = 1024;
    const MOST: Duration = Duration::from_millis(1);
    /// A sleep that ends so soon was ended by a peer that answers.
    const PROMPT: Duration = Duration::from_micros(200);
    /// So many of them, and it looks like two processes on one processor.
    const PROMPT_ENOUGH: u32 = 64;
    /// About three ticks of a slow clock: by then the scheduler has looked for an idle processor.
    const LONG: Duration = Duration::from_millis(10);
    /// From one long trial to the next.
    const LONG_PAUSE: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> Self {
        Self {
            mean: 0,
            misses: 0,
            until_trial: 0,
            pause: Self::FIRST_PAUSE,
            prompt: 0,
            long_trial: None,
            least: sync::shortest_spin(),
            tried: false,
        }
    }

    /// Whether the next wait spins, long trials left aside. Asking changes nothing.
    #[inline]
    pub(crate) fn pays(&self) -> bool {
        !self.least.is_zero() && (self.misses < Self::PATIENCE || self.until_trial == 0)
    }

    /// How long the next wait spins.
    pub(crate) fn budget(&mut self) -> Duration {
        self.tried = !self.least.is_zero();
        if !self.tried {
            return Duration::ZERO;
        }
        if self.prompt >= Self::PROMPT_ENOUGH && self.long_trial_is_due() {
            self.prompt = 0;
            return Self::LONG;
        }
        if !self.pays() {
            self.until_trial -= 1;
            self.tried = false;
            return Duration::ZERO;
        }
        // The least comes from a measurement that others can slow down: it may exceed the most.
        Duration::from_nanos(2 * self.mean).min(Self::MOST).max(self.least)
    }

    fn long_trial_is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.long_trial.is_none_or(|last| now.duration_since(last) >= Self::LONG_PAUSE);
        if due {
            self.long_trial = Some(now);
        }
        due
    }

    /// What came of it: how long the wait took, and whether it ended in a sleep.
    pub(crate) fn waited(&mut self, took: Duration, slept: bool) {
        if slept {
            self.prompt = if took < Self::PROMPT + self.least { self.prompt + 1 } else { 0 };
        }
        if !self.tried {
            return;
        }
        if slept {
            self.misses = self.misses.saturating_add(1);
            if self.misses >= Self::PATIENCE {
                self.until_trial = self.pause;
                self.pause = (self.pause * 2).min(Self::LONGEST_PAUSE);
            }
        } else {
            self.prompt = 0;
            let took = took.min(Self::MOST).as_nanos() as u64;
            self.mean = (7 * self.mean + took) / 8;
            self.misses = 0;
            self.pause = Self::FIRST_PAUSE;
        }
    }
}

#[cfg(all(test, not(memring_loom)))]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_micros(5);
    const LATE: Duration = Duration::from_secs(1);

    fn learnt(least: Duration) -> Learnt {
        let mut learnt = Learnt::new();
        learnt.least = least;
        learnt
    }

    #[test]
    fn spinning_stops_when_it_does_not_pay_and_is_tried_again() {
        let mut learnt = learnt(Duration::from_micros(50));
        for _ in 0..Learnt::PATIENCE {
            assert!(!learnt.budget().is_zero());
            learnt.waited(LATE, true);
        }
        let idle = (0..).take_while(|_| !learnt.pays() && learnt.budget().is_zero()).count();
        assert!(learnt.pays());
        assert_eq!(idle as u32, Learnt::FIRST_PAUSE);
        learnt.waited(SOON, false);
        for _ in 0..100 {
            assert!(!learnt.budget().is_zero(), "a wait that spinning caught makes it pay again");
            learnt.waited(SOON, false);
        }
    }

    #[test]
    fn a_peer_that_answers_as_soon_as_we_sleep_is_worth_one_long_spin_a_second() {
        let mut learnt = learnt(Duration::from_micros(50));
        let long = |learnt: &mut Learnt| {
            (0..10_000)
                .filter(|_| {
                    let long = learnt.budget() == Learnt::LONG;
                    learnt.waited(SOON, true);
                    long
                })
                .count()
        };
        assert_eq!(long(&mut learnt), 1);
        learnt.long_trial = Instant::now().checked_sub(Learnt::LONG_PAUSE);
        assert_eq!(long(&mut learnt), 1, "and again after the pause");
        learnt.long_trial = None;
        learnt.prompt = 0;
        for _ in 0..10_000 {
            assert_ne!(learnt.budget(), Learnt::LONG, "nobody answers soon");
            learnt.waited(LATE, true);
        }
    }

    #[test]
    fn attack_81_a_fence_that_others_slow_down_makes_longer_spins_and_no_panic() {
        let mut learnt = learnt(4 * Learnt::MOST);
        assert_eq!(learnt.budget(), learnt.least);
    }

    #[test]
    fn nothing_spins_where_there_is_one_processor() {
        let mut learnt = learnt(Duration::ZERO);
        learnt.prompt = u32::MAX / 2;
        assert!(learnt.budget().is_zero());
    }
}
