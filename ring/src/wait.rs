//! Waiting: spin, then sleep, and never miss what was published meanwhile.
//!
//! Both halves wait here: the consumer for a frame, the producer for room. The caller brings a `look`,
//! which says either what it found or which shared word to sleep on and what it saw there.
//!
//! | step | what |
//! |---|---|
//! | W1 | load the private word; read what ended, and whether the deadline has passed |
//! | W2 | look; whatever W1 found is reported only now, when there is nothing left to take |
//! | W3 | say that we sleep: a new epoch |
//! | W4 | heavy fence |
//! | W5 | look again: what was published before the fence is seen here |
//! | W6 | sleep until either word changes; a publish after the fence finds W3 and wakes us |
//! | W7 | say that we are awake; back to W1 |
//!
//! The kernel compares the words itself before it sleeps, so a futex sleep on what W2 saw would lose nothing
//! without W5: W5 saves the call. To sleep on a value that no look has judged would lose wakes (the mutant
//! `sleep-without-look` does that).
//!
//! Not here: what is being waited for, and who wakes (the producer's `Writer::announce`, `Head::publish`).

use std::time::Duration;

use crate::asleep::Asleep;
use crate::counters::Waits;
use crate::fence::Heavy;
use crate::heads::Heads;
use crate::life::Life;
use crate::spin::Learnt;
use crate::step::{self, Step};
use crate::sync::{self, Arc, Instant, Ordering, Region, Sleep, mutant};
use crate::trace;

/// How a blocking call waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Spins until there is something to do: the lowest latency, one processor burnt.
    Spin,
    /// Spins for a time learnt from recent waits, then sleeps.
    #[default]
    Adaptive,
    /// Sleeps at once: no processor time while there is nothing to do.
    Park,
}

/// What a look found.
pub(crate) enum Look<T> {
    /// What the caller waits for.
    Ready(T),
    /// Nothing yet: the word to sleep on, and what it held.
    Nothing { offset: usize, seen: u32 },
    /// Something moved, but it is not ready: look again before sleeping.
    Again,
}

/// Why a wait ended without what it was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Ended,
    TimedOut,
}

/// Where one half waits: the shared words, and what it must do before it sleeps.
pub(crate) struct Place<'a> {
    pub life: &'a Life,
    pub heads: &'a Heads,
    /// Holds the word that the peer changes.
    pub shared: &'a Region,
    /// Our control area, which holds our sleep word.
    pub mine: &'a Region,
    pub asleep: usize,
}

/// The same, kept by a half: a wait borrows it while it looks, and counts no references.
pub(crate) struct Post {
    pub life: Arc<Life>,
    pub shared: Region,
    pub mine: Region,
    pub asleep: usize,
}

impl Post {
    #[inline]
    pub(crate) fn place<'a>(&'a self, heads: &'a Heads) -> Place<'a> {
        let Self { life, shared, mine, asleep } = self;
        Place { life, heads, shared, mine, asleep: *asleep }
    }
}

impl Place<'_> {
    /// Says that the half's owner waits for a doorbell: a new epoch. See [`crate::arm`], E1.
    pub(crate) fn ask_doorbell(&self, epoch: u32) {
        let epoch = if mutant("one-epoch") { 1 } else { epoch };
        self.life.expect_doorbell();
        step::at(Step::E1);
        // ORDERING: Release; whoever is rung at finds that it was expected. E2 orders it before E3.
        self.mine.store32(self.asleep, Asleep::doorbell(epoch), Ordering::Release); // E1
    }

    /// Says that nobody waits, after all.
    pub(crate) fn take_back(&self) {
        self.mine.store32(self.asleep, Asleep::AWAKE, Ordering::Relaxed);
    }
}

/// Parts that are taken, when there is no time left, for the sake of the message they belong to. One that
/// lies in the lane whole, behind one that was given up, has fewer.
pub(crate) const PARTS: u32 = 8;
/// Looks before anything else is done: an answer that is on its way comes within these.
pub(crate) const FIRST: u32 = 512;
/// Looks between two readings of the clock.
const STRIDE: u32 = 64;
/// Wakes without reason before a sleep leaves out the shared word.
pub(crate) const SPURIOUS: u32 = 8;
/// How long such a sleep lasts at most.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(10);

/// Spins until `look` finds something, but not longer than this. Whether it has.
fn spin(until: Option<Instant>, look: &mut impl FnMut() -> bool) -> bool {
    loop {
        for _ in 0..STRIDE {
            if look() {
                return true;
            }
            sync::pause();
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return false;
        }
    }
}

/// How an event loop waits for things that come soon: as the blocking calls do, but that it sleeps by itself.
pub struct Patience {
    strategy: Wait,
    learnt: Learnt,
    began: Option<Instant>,
}

impl Patience {
    /// Waits this way, having learnt nothing yet.
    #[must_use]
    pub fn new(strategy: Wait) -> Self {
        Self { strategy, learnt: Learnt::new(), began: None }
    }

    /// Waits this way from now on.
    pub fn set_strategy(&mut self, strategy: Wait) {
        self.strategy = strategy;
    }

    /// Whether it never sleeps.
    #[must_use]
    pub fn always_spins(&self) -> bool {
        self.strategy == Wait::Spin
    }

    /// Spins until `look` finds something, for as long as recent waits make likely. Whether it has; if not, whoever waits
    /// sleeps now, and says [`slept`](Self::slept).
    pub fn spin(&mut self, mut look: impl FnMut() -> bool) -> bool {
        let budget = match self.strategy {
            Wait::Spin => None,
            Wait::Adaptive => Some(self.learnt.budget()),
            Wait::Park => Some(Duration::ZERO),
        };
        self.began = None;
        if budget == Some(Duration::ZERO) {
            return false;
        }
        let began = Instant::now();
        let found = spin(budget.map(|budget| began + budget), &mut look);
        if found {
            self.learnt.waited(began.elapsed(), false);
        } else {
            self.began = Some(began);
        }
        found
    }

    /// The sleep is over that [`spin`](Self::spin) did not save.
    pub fn slept(&mut self) {
        if let Some(began) = self.began.take() {
            self.learnt.waited(began.elapsed(), true);
        }
    }
}

impl std::fmt::Debug for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patience").field("strategy", &self.strategy).finish_non_exhaustive()
    }
}

/// One half's way of waiting: its strategy, its epochs and what it has learnt.
pub(crate) struct Sleeper<const HALF: usize> {
    strategy: Wait,
    epoch: u32,
    learnt: Learnt,
    /// For the observers.
    pub counted: Waits<HALF>,
}

impl<const HALF: usize> Sleeper<HALF> {
    pub(crate) fn new(strategy: Wait, counted: Waits<HALF>) -> Self {
        Self { strategy, epoch: 0, learnt: Learnt::new(), counted }
    }

    pub(crate) fn strategy(&self) -> Wait {
        self.strategy
    }

    pub(crate) fn set_strategy(&mut self, strategy: Wait) {
        self.strategy = strategy;
    }

    /// Numbers a sleep.
    pub(crate) fn next_epoch(&mut self) -> u32 {
        self.epoch = self.epoch.wrapping_add(1);
        self.epoch
    }

    /// Says that this half sleeps in a futex call, with others: a new epoch. See [`crate::select`], W3.
    pub(crate) fn say_asleep(&mut self, place: &Place<'_>) {
        self.epoch = if mutant("one-epoch") { 1 } else { self.epoch.wrapping_add(1) };
        place.mine.store32(place.asleep, Asleep::futex(self.epoch), Ordering::Relaxed);
    }

    /// Spins for as long as a wait would, but not longer than `most`; whether `look` found something by then.
    pub(crate) fn spin(&mut self, most: Duration, mut look: impl FnMut() -> bool) -> bool {
        let budget = self.budget().unwrap_or(most).min(most);
        if budget.is_zero() {
            return false;
        }
        let began = Instant::now();
        let found = spin(Some(began + budget), &mut look);
        self.learnt.waited(began.elapsed(), !found);
        found
    }

    /// Whether the next wait spins at first.
    #[inline]
    pub(crate) fn spins(&self) -> bool {
        match self.strategy {
            Wait::Spin => true,
            Wait::Adaptive => self.learnt.pays(),
            Wait::Park => false,
        }
    }

    /// How long the next wait spins before it sleeps; `None` is for ever. Asked once a wait.
    pub(crate) fn budget(&mut self) -> Option<Duration> {
        match self.strategy {
            Wait::Spin => None,
            Wait::Adaptive => Some(self.learnt.budget()),
            Wait::Park => Some(Duration::ZERO),
        }
    }

    /// Waits until `look` is ready. If there is a budget, the caller has looked up to [`FIRST`] times already.
    ///
    /// A frame that lies there is always taken before an end or a deadline is reported.
    pub(crate) fn wait<T>(
        &mut self,
        place: &Place<'_>,
        deadline: Option<Instant>,
        budget: Option<Duration>,
        mut look: impl FnMut() -> Look<T>,
    ) -> Result<T, Stopped> {
        // From here on the wait is long enough for the rest to cost nothing.
        place.heads.publish_all();
        let waiting = place.life.enter();
        let began = (self.strategy != Wait::Park).then(Instant::now);
        let mut spinning = budget != Some(Duration::ZERO);
        self.counted.spin(spinning);
        let mut spurious = 0;
        let mut late = 0;
        let mut last = None;
        let mut slept = false;
        let outcome = loop {
            step::at(Step::W1);
            // ORDERING: Acquire; pairs with the Release of L2 in `life`: what ended is read after it.
            let order = sync::order("relaxed-private-word", Ordering::Acquire);
            let private_seen = place.life.word().load(order); // W1
            if !mutant("wait-without-attending") {
                waiting.attend();
            }
            let over = !place.life.is_open();
            let expired = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if over && mutant("end-without-look") {
                break Err(Stopped::Ended);
            }
            step::at(Step::W2);
            let offset = match look() {
                Look::Ready(found) => break Ok(found), // W2
                Look::Again if mutant("parts-end-at-the-end") && over => {
                    break Err(Stopped::Ended);
                }
                // Part of a message: the rest may lie there too. A peer that sends parts for ever does not
                // hold us past the deadline.
                Look::Again if !expired || late < PARTS => {
                    late += u32::from(expired);
                    continue;
                }
                Look::Again => break Err(Stopped::TimedOut),
                Look::Nothing { .. } if over => break Err(Stopped::Ended),
                Look::Nothing { .. } if expired => break Err(Stopped::TimedOut),
                Look::Nothing { offset, .. } => offset,
            };
            if spinning {
                let mut found = None;
                for _ in 0..STRIDE {
                    sync::pause();
                    if let Look::Ready(it) = look() {
                        found = Some(it);
                        break;
                    }
                }
                if let Some(found) = found {
                    break Ok(found);
                }
                let spent = began.map_or(Duration::ZERO, |began| began.elapsed());
                spinning = budget.is_none_or(|budget| spent < budget);
                continue;
            }
            self.epoch = if mutant("one-epoch") { 1 } else { self.epoch.wrapping_add(1) };
            step::at(Step::W3);
            // ORDERING: Relaxed; W4 orders it before W5, and the waker's load follows its own fence.
            place.mine.store32(place.asleep, Asleep::futex(self.epoch), Ordering::Relaxed); // W3
            step::at(Step::W4);
            let heavy = place.life.fences().heavy(); // W4
            step::at(Step::W5);
            let (offset, seen) = if mutant("sleep-without-look") {
                (offset, place.shared.load32(offset, Ordering::Relaxed))
            } else {
                match look() {
                    Look::Nothing { offset, seen } => (offset, seen), // W5
                    found => {
                        if !mutant("found-unsaid") {
                            place.mine.store32(place.asleep, Asleep::AWAKE, Ordering::Relaxed); // W7
                        }
                        match found {
                            Look::Ready(found) => break Ok(found),
                            _ => continue,
                        }
                    }
                }
            };
            let slice = match heavy {
                Heavy::Assured => None,
                Heavy::Sliced { longest, first } => {
                    if first {
                        place.life.heavy_fence_failed();
                    }
                    Some(Instant::now() + longest)
                }
            };
            let private_seen = if mutant("private-word-late") {
                place.life.word().load(Ordering::Acquire)
            } else {
                private_seen
            };
            // A word that moved was a good reason; the same one again and again is a peer that wakes us
            // for nothing (attack 60).
            if last.replace((offset, seen)) != Some((offset, seen)) {
                spurious = 0;
            }
            let shared = spurious < SPURIOUS;
            let back_off = (!shared).then(|| Instant::now() + BACK_OFF);
            let until = [deadline, slice, back_off].into_iter().flatten().min();
            self.counted.sleep();
            trace::sleeps(HALF);
            let how = Sleep { shared, until };
            step::at(Step::W6);
            let woken =
                sync::sleep(place.shared, offset, seen, place.life.word(), private_seen, how); // W6
            step::at(Step::W7);
            if !mutant("awake-unsaid") {
                place.mine.store32(place.asleep, Asleep::AWAKE, Ordering::Relaxed); // W7
            }
            slept = true;
            trace::woke(HALF, woken);
            if !shared {
                spurious = SPURIOUS - 1; // it has had its rest; one more such wake is another
            } else if woken && place.life.word().load(Ordering::Relaxed) == private_seen {
                spurious += 1; // and no local event either
            }
        };
        drop(waiting);
        if let Some(began) = began {
            self.learnt.waited(began.elapsed(), slept);
        }
        outcome
    }
}
