//! Questions of which nothing is to be known but that they were asked: their numbers, in places of their own, so that asking one
//! and taking its answer where it was read takes no lock.
//!
//! Whoever has the sending half notes a question, if its place is free. It leaves its place when its answer is read by the thread
//! that waits for it, which has the receiving half then; or, under the table's lock, when there is more to be known of it: who is
//! to be woken, that another thread read its answer, that nobody waits. Then it is on the table. Whoever takes it so is who waits
//! for it, or who has the receiving half: so nobody takes what another one is taking.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Numbers follow one another, so there are so many in a row. One whose place is taken goes on the table.
const PLACES: usize = 128;

/// All of a session's, and how many questions there are.
pub(crate) struct Noted {
    /// 0 is a free place.
    places: [AtomicU64; PLACES],
    /// How many were ever noted: by whoever has the sending half.
    begun: AtomicU32,
    /// Of how many the answer was taken from here: by whoever has the receiving half.
    answered: AtomicU32,
    /// How many were taken under the table's lock.
    moved: AtomicU32,
    /// How many are on the table: under its lock.
    listed: AtomicU32,
}

impl Default for Noted {
    fn default() -> Self {
        Self {
            places: [const { AtomicU64::new(0) }; PLACES],
            begun: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            moved: AtomicU32::new(0),
            listed: AtomicU32::new(0),
        }
    }
}

impl Noted {
    #[inline]
    fn place(&self, call: u64) -> &AtomicU64 {
        &self.places[call as usize % PLACES]
    }

    /// Notes a question, before it is sent; false if its place is taken. For whoever has the sending half.
    #[inline]
    pub(crate) fn note(&self, call: u64) -> bool {
        let place = self.place(call);
        // ORDERING: Acquire; pairs with the Release in `leave`: whoever sees a place free counts who left it.
        if place.load(Ordering::Acquire) != 0 {
            return false;
        }
        // ORDERING: Relaxed, for both; the frame is published after them, and its answer follows that.
        add_one(&self.begun, Ordering::Relaxed);
        place.store(call, Ordering::Relaxed);
        true
    }

    /// Whether it is here, and so nothing came of it yet.
    #[inline]
    pub(crate) fn has(&self, call: u64) -> bool {
        // ORDERING: Relaxed; see `note`. It leaves under the receiving half, or by who asks.
        call != 0 && self.place(call).load(Ordering::Relaxed) == call
    }

    /// Its answer was read by who waits for it, and has the receiving half. Whether it was here.
    #[inline]
    pub(crate) fn take(&self, call: u64) -> bool {
        self.leave(call, &self.answered)
    }

    /// It is to be on the table, or forgotten: under the table's lock. Whether it was here. What was moved to the table counts there
    /// first.
    pub(super) fn take_locked(&self, call: u64) -> bool {
        self.leave(call, &self.moved)
    }

    #[inline]
    fn leave(&self, call: u64, counted: &AtomicU32) -> bool {
        let is_here = self.has(call);
        if is_here {
            // Before it leaves: who counts sees no more of them than there are places.
            // ORDERING: Release; pairs with the Acquire in `placed`.
            add_one(counted, Ordering::Release);
            // ORDERING: Release; pairs with the Acquire in `note`, by who notes another one there.
            self.place(call).store(0, Ordering::Release);
        }
        is_here
    }

    /// So many are on the table: under its lock.
    pub(super) fn set_listed(&self, count: usize) {
        // ORDERING: Relaxed; see `placed`.
        self.listed.store(count as u32, Ordering::Relaxed);
    }

    /// How many are here. Never too few, to who has the sending half.
    #[inline]
    pub(crate) fn placed(&self) -> u32 {
        // ORDERING: Acquire; pairs with the Release in `leave`: whoever sees that one was moved sees it on the table, if that is
        // looked at after this.
        let left = self.moved.load(Ordering::Acquire);
        // ORDERING: Relaxed, for both; what has not been seen to be answered counts still. The other is this thread's to change.
        let left = left.wrapping_add(self.answered.load(Ordering::Relaxed));
        let placed = self.begun.load(Ordering::Relaxed).wrapping_sub(left);
        // Others see it change in any order.
        if placed > PLACES as u32 { 0 } else { placed }
    }

    /// How many there are, here and on the table. Never too few, to who has the sending half.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        let placed = self.placed();
        // ORDERING: Relaxed; see `placed`.
        placed + self.listed.load(Ordering::Relaxed)
    }
}

/// Counts, where nobody else does.
#[inline]
fn add_one(counter: &AtomicU32, order: Ordering) {
    // ORDERING: Relaxed; nobody else stores.
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), order);
}

#[cfg(test)]
mod tests {
    use std::{hint, thread};

    use super::*;

    #[test]
    fn a_question_has_one_place_and_leaves_it_once() {
        let noted = Noted::default();
        assert!(!noted.has(0) && !noted.take(0) && !noted.take_locked(0));
        assert!(noted.note(1) && noted.has(1));
        let same = 1 + PLACES as u64;
        assert!(!noted.note(same) && !noted.has(same) && !noted.take(same));
        assert_eq!(noted.count(), 1);
        assert!(noted.take(1) && !noted.take(1) && !noted.take_locked(1));
        assert!(noted.note(same) && noted.take_locked(same) && !noted.take_locked(same));
        assert_eq!(noted.count(), 0);
        noted.set_listed(3);
        assert_eq!((noted.placed(), noted.count()), (0, 3));
    }

    #[test]
    fn who_asks_counts_none_too_few_while_answers_are_taken() {
        const CALLS: u64 = 100_000;
        let (noted, asked, taken) = (Noted::default(), AtomicU64::new(0), AtomicU64::new(0));
        let mut too_few = None;
        thread::scope(|scope| {
            scope.spawn(|| {
                for call in 1..=CALLS {
                    while asked.load(Ordering::Acquire) < call {
                        thread::yield_now();
                    }
                    taken.store(call, Ordering::SeqCst);
                    noted.take(call);
                }
            });
            for call in 1..=CALLS {
                while !noted.note(call) {
                    hint::spin_loop();
                }
                let counted = u64::from(noted.count());
                let left = call - taken.load(Ordering::SeqCst);
                too_few = too_few.or((counted < left).then_some((counted, left)));
                asked.store(call, Ordering::Release);
            }
        });
        assert_eq!(too_few, None);
    }
}
