//! A lock for two halves that threads share: one word says who has which, so that both are taken at once, or given back, by
//! one instruction.
//!
//! A call sends, and then receives its answer. With a lock for each half that would be four locked instructions, which cost
//! as much as half of the way to the other process and back; with one word it is two.
//!
//! | step | who | what |
//! |---|---|---|
//! | K1 | taker | takes what it needs, if nobody has any of it |
//! | K2 | sleeper | is on the list of those that sleep, and says that something is wanted, unless it is free by now |
//! | K3 | holder | gives back, and finds what is wanted; then it wakes somebody off the list |
//!
//! Whoever has a half for longer than a borrow may last, as a task does between its turns, keeps it as [`Kept`].
//!
//! Not here: the list, sleeping, and waking. Whoever gives back is told what was wanted, and has to see to it.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::fmt;
use std::sync::atomic::AtomicU64;

use crate::sync::{AtomicU32, Ordering, mutant, order};

/// Which of two halves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Which(u32);

impl Which {
    /// Neither.
    pub const NONE: Self = Self(0);
    /// The sending one.
    pub const SENDING: Self = Self(1);
    /// The receiving one.
    pub const RECEIVING: Self = Self(2);
    /// Both.
    pub const BOTH: Self = Self(3);

    /// Whether any of these is among those.
    #[inline]
    #[must_use]
    pub fn any_of(self, those: Self) -> bool {
        self.0 & those.0 != 0
    }

    /// These and those.
    #[must_use]
    pub fn with(self, those: Self) -> Self {
        Self(self.0 | those.0)
    }

    /// Those of these that are not among those.
    #[inline]
    #[must_use]
    pub fn without(self, those: Self) -> Self {
        Self(self.0 & !those.0)
    }
}

impl fmt::Debug for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "neither",
            1 => "sending",
            2 => "receiving",
            _ => "both",
        })
    }
}

/// The bits of a half that is wanted, beside those of a half that somebody has.
const WANTED: u32 = 2;

/// Two halves, each for one thread at a time.
pub struct Halves<S, R> {
    word: AtomicU32,
    /// No others have it: see [`Kept`].
    id: u64,
    sending: UnsafeCell<S>,
    receiving: UnsafeCell<R>,
}

// SAFETY: a half is reached through `Held` only, of whom there is one at a time for each: see `try_take`.
unsafe impl<S: Send, R: Send> Sync for Halves<S, R> {}

impl<S, R> Halves<S, R> {
    /// Both free.
    pub fn new(sending: S, receiving: R) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            word: AtomicU32::new(0),
            // ORDERING: Relaxed; only that no two are the same counts.
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            sending: UnsafeCell::new(sending),
            receiving: UnsafeCell::new(receiving),
        }
    }

    /// Takes these, if nobody has any of them: K1.
    #[inline]
    pub fn try_take(&self, which: Which) -> Option<Held<'_, S, R>> {
        // ORDERING: Relaxed; the exchange below decides.
        let mut word = self.word.load(Ordering::Relaxed);
        while word & which.0 == 0 || mutant("take-what-is-taken") {
            let taken = word | which.0;
            // ORDERING: Acquire; pairs with the Release in `give_back`, K3: what the last holder did to the half is seen.
            let acquire = order("take-without-acquire", Ordering::Acquire);
            match self.word.compare_exchange_weak(word, taken, acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Held { halves: self, has: which }),
                Err(now) => word = now,
            }
        }
        None
    }

    /// What was kept of these.
    ///
    /// # Panics
    ///
    /// If it was kept of others.
    pub fn again(&self, kept: Kept) -> Held<'_, S, R> {
        assert_eq!(self.id, kept.id, "halves were kept of others");
        // Its bits are set still, and it is used up, so nobody else has what it has. Whoever passed it on from another thread
        // has passed on with it what was done to the half there.
        Held { halves: self, has: kept.has }
    }

    /// Says that these are wanted, by somebody who is on the list and will sleep: K2. False if they are free, and it must not
    /// sleep.
    pub fn want(&self, which: Which) -> bool {
        // ORDERING: Relaxed; the exchange below decides.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if word & which.0 == 0 {
                return false;
            }
            if mutant("want-without-saying") {
                return true;
            }
            // ORDERING: Release; pairs with the Acquire in `give_back`, K3: whoever finds it finds the sleeper on the list.
            let wanted = word | which.0 << WANTED;
            match self.word.compare_exchange_weak(
                word,
                wanted,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Whether somebody sleeps who wants one of these. Only a hint.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self, which: Which) -> bool {
        // ORDERING: Relaxed; K3 will tell.
        self.word.load(Ordering::Relaxed) & which.0 << WANTED != 0
    }

    /// Says that these are wanted still, on behalf of those that are left on the list.
    pub fn remind(&self, which: Which) {
        // ORDERING: Release; as in `want`.
        self.word.fetch_or(which.0 << WANTED, Ordering::Release);
    }
}

impl<S, R> fmt::Debug for Halves<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // ORDERING: Relaxed; for a look.
        let word = self.word.load(Ordering::Relaxed);
        f.debug_struct("Halves").field("taken", &Which(word & 3)).finish_non_exhaustive()
    }
}

/// One half or both, as long as somebody has them.
///
/// Dropping it gives back what is left and wakes nobody: what was wanted stays wanted until the next that gives back.
#[must_use = "it is given back at once"]
pub struct Held<'a, S, R> {
    halves: &'a Halves<S, R>,
    has: Which,
}

impl<S, R> Held<'_, S, R> {
    /// What it has.
    #[inline]
    #[must_use]
    pub fn has(&self) -> Which {
        self.has
    }

    /// The sending half.
    ///
    /// # Panics
    ///
    /// If it was not taken.
    #[inline]
    pub fn sending(&mut self) -> &mut S {
        assert!(self.has.any_of(Which::SENDING), "the sending half was not taken");
        // SAFETY: its bit was clear when this `Held` set it, and stays set until this one clears it: nobody else has been
        // given the half since. It is borrowed as this is.
        unsafe { &mut *self.halves.sending.get() }
    }

    /// The receiving half.
    ///
    /// # Panics
    ///
    /// If it was not taken.
    #[inline]
    pub fn receiving(&mut self) -> &mut R {
        assert!(self.has.any_of(Which::RECEIVING), "the receiving half was not taken");
        // SAFETY: as in `sending`.
        unsafe { &mut *self.halves.receiving.get() }
    }

    /// The receiving half, to look at.
    ///
    /// # Panics
    ///
    /// If it was not taken.
    #[inline]
    #[must_use]
    pub fn received(&self) -> &R {
        assert!(self.has.any_of(Which::RECEIVING), "the receiving half was not taken");
        // SAFETY: as in `sending`; who could change it borrows this mutably.
        unsafe { &*self.halves.receiving.get() }
    }

    /// Keeps what it has, for [`Halves::again`]. If that never comes, nobody gets it any more.
    pub fn keep(&mut self) -> Kept {
        let has = std::mem::replace(&mut self.has, Which::NONE);
        Kept { has, id: self.halves.id }
    }

    /// Gives these back, of those it has: K3. What of them is wanted, which is not said again: somebody has to be woken.
    #[inline]
    #[must_use = "somebody may sleep for it"]
    pub fn give_back(&mut self, which: Which) -> Which {
        let back = which.0 & self.has.0;
        self.has = self.has.without(which);
        let forget = if mutant("forget-who-wants") { 3 << WANTED } else { back << WANTED };
        // ORDERING: Release; pairs with the Acquire in `try_take`, K1. Acquire; pairs with the Release in `want`, K2.
        let release = order("give-back-without-release", Ordering::AcqRel);
        let word = self.halves.word.fetch_and(!(back | forget), release);
        Which((word >> WANTED) & back)
    }
}

/// One half or both, which are somebody's though nothing borrows them.
#[derive(Debug)]
#[must_use = "nobody gets them any more if it is dropped"]
pub struct Kept {
    has: Which,
    /// Whose they are.
    id: u64,
}

impl<S, R> Drop for Held<'_, S, R> {
    fn drop(&mut self) {
        if self.has != Which::NONE {
            // ORDERING: Release; as in `give_back`.
            self.halves.word.fetch_and(!self.has.0, Ordering::Release);
        }
    }
}

impl<S, R> fmt::Debug for Held<'_, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("has", &self.has).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(memring_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_taken_until_it_is_given_back() {
        let halves = Halves::new(1, 2);
        let kept = halves.try_take(Which::RECEIVING).expect("free").keep();
        assert!(halves.try_take(Which::RECEIVING).is_none());
        assert!(halves.try_take(Which::SENDING).is_some());
        assert!(halves.want(Which::RECEIVING));
        let mut held = std::thread::scope(|scope| {
            scope.spawn(|| *halves.again(kept).receiving() = 3).join().expect("no panic");
            halves.try_take(Which::RECEIVING).expect("it was dropped")
        });
        assert_eq!(*held.receiving(), 3);
    }

    #[test]
    #[should_panic(expected = "of others")]
    fn what_was_kept_of_others_is_not_taken() {
        let kept = Halves::new(1, 2).try_take(Which::BOTH).expect("free").keep();
        let _ = Halves::new(1, 2).again(kept);
    }
}
