//! Calls of the peer's that run here: what a cancellation and credit reach.
//!
//! They have places in memory that stays where it is, so that beginning and ending one takes no lock and allocates nothing.
//! Places are given by whoever has the receiving half, and so is news of the peer's; whoever runs a call frees its own.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::waiter::Waiter;
use super::wire::Broken;

/// A call that runs.
#[derive(Default)]
pub(crate) struct Running {
    /// Its number; 0 is a free place.
    call: AtomicU64,
    cancelled: AtomicBool,
    credit: AtomicU32,
    waiters: Mutex<Waiters>,
}

/// Who waits for a call.
#[derive(Default)]
struct Waiters {
    /// For credit.
    credit: Option<Waiter>,
    /// For nothing but that nobody waits for the answer any more, and to which call.
    cut: Vec<Waiter>,
    cut_of: u64,
}

impl Running {
    /// Whether nobody waits for its answer.
    pub(crate) fn is_cancelled(&self) -> bool {
        // ORDERING: Acquire; pairs with the Release in `cut`: whoever sees it sees what the session ended with.
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whether nobody waits for the answer to this one, which may have ended: then its place may be another's.
    pub(crate) fn is_over(&self, call: u64) -> bool {
        let cancelled = self.is_cancelled();
        // ORDERING: Relaxed; it is loaded after the other, by the Acquire there. So if it is this call's still, that was as well.
        cancelled || self.call.load(Ordering::Relaxed) != call
    }

    /// Nobody waits for its answer any more.
    fn cut(&self) {
        // ORDERING: Release; see `is_cancelled`.
        self.cancelled.store(true, Ordering::Release);
        let Waiters { credit, cut, .. } = std::mem::take(&mut *self.lock());
        credit.into_iter().chain(cut).for_each(Waiter::wake);
    }

    /// Lets so many more replies go. `Err` if that is more than anybody counts.
    fn grant(&self, more: u32) -> Result<(), Broken> {
        let add = |credit: u32| credit.checked_add(more).filter(|sum| *sum <= i32::MAX as u32);
        // ORDERING: Relaxed; it is a number. Whoever waits passes the lock below before its last look: it is found there, or sees
        // this.
        let added = self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        added.map_err(|_| Broken::Credit)?;
        let waiter = self.lock().credit.take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes credit for one reply, if there is some.
    pub(crate) fn take_credit(&self) -> bool {
        let take = |credit: u32| credit.checked_sub(1);
        // ORDERING: Relaxed; as in `grant`.
        self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    pub(crate) fn has_credit(&self) -> bool {
        // ORDERING: Relaxed; as in `grant`.
        self.credit.load(Ordering::Relaxed) != 0
    }

    /// Has this one told of credit, and of when nobody waits. Who was to be told before.
    #[must_use = "a waker is not dropped under a lock"]
    pub(crate) fn set_waiter(&self, waiter: Waiter) -> Option<Waiter> {
        self.lock().credit.replace(waiter)
    }

    /// Has this one told, too, of when nobody waits for the answer to this call, if its place is its own still. Who is to be told no
    /// more.
    #[must_use = "a waker is not dropped under a lock"]
    pub(crate) fn set_cut_waiter(&self, call: u64, waiter: Waiter) -> Vec<Waiter> {
        let mut waiters = self.lock();
        // ORDERING: Relaxed; who had this lock for a later call had read that one's number before.
        if self.call.load(Ordering::Relaxed) != call {
            return vec![waiter];
        }
        let of_another = std::mem::replace(&mut waiters.cut_of, call) != call;
        if of_another {
            return std::mem::replace(&mut waiters.cut, vec![waiter]);
        }
        match waiters.cut.iter_mut().find(|other| other.is_same(&waiter)) {
            Some(same) => vec![std::mem::replace(same, waiter)],
            None => {
                waiters.cut.push(waiter);
                Vec::new()
            }
        }
    }

    /// Gives back the credit for a reply that was not sent.
    pub(crate) fn give_back_credit(&self) {
        // ORDERING: Relaxed; as in `grant`. Who waits for credit is who gives it back.
        self.credit.fetch_add(1, Ordering::Relaxed);
    }

    /// This one is over, unless it was before.
    pub(crate) fn finish_if(&self, call: u64) {
        // ORDERING: Release; as in `finish`.
        let _ = self.call.compare_exchange(call, 0, Ordering::Release, Ordering::Relaxed);
    }

    /// It is over, and its place free.
    #[inline]
    pub(crate) fn finish(&self) {
        // ORDERING: Release; pairs with the Acquire in `begin`: who gets the place next is done with nothing of this one's.
        self.call.store(0, Ordering::Release);
    }
}

/// Places of the first piece; each further piece has twice as many as the one before.
const FIRST: usize = 8;
const PIECES: usize = 12;

/// Where a running call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

/// All that run.
#[derive(Default)]
pub(crate) struct AllRunning {
    first: [Running; FIRST],
    more: [OnceLock<Box<[Running]>>; PIECES - 1],
}

impl AllRunning {
    /// How many there can be at all.
    pub(crate) const MOST: u32 = (FIRST as u32) * ((1 << PIECES) - 1);

    #[inline]
    pub(crate) fn at(&self, Place(place): Place) -> &Running {
        let place = place as usize;
        if place < FIRST {
            return &self.first[place];
        }
        self.further_at(place)
    }

    #[cold]
    fn further_at(&self, place: usize) -> &Running {
        let piece = (place / FIRST + 1).ilog2() as usize;
        let before = FIRST * ((1 << piece) - 1);
        &self.piece(piece)[place - before]
    }

    fn piece(&self, piece: usize) -> &[Running] {
        self.more[piece - 1]
            .get_or_init(|| std::iter::repeat_with(Running::default).take(FIRST << piece).collect())
    }

    /// Begins one, among `most`. For whoever has the receiving half.
    #[inline]
    pub(crate) fn begin(&self, call: u64, credit: u32, most: u32) -> Result<Place, Broken> {
        // ORDERING: Acquire; see `finish`.
        let free = |running: &Running| running.call.load(Ordering::Acquire) == 0;
        let place = match self.first.iter().position(free) {
            Some(place) => place,
            None => self
                .further()
                .position(free)
                .map_or_else(|| FIRST * ((1 << self.pieces()) - 1), |further| FIRST + further),
        };
        if place >= most as usize {
            return Err(Broken::Overrun);
        }
        let place = Place(place as u32);
        let running = self.at(place);
        // ORDERING: Relaxed; others hear of the place by a lock, or by the receiving half.
        running.cancelled.store(false, Ordering::Relaxed);
        running.credit.store(credit, Ordering::Relaxed);
        running.call.store(call, Ordering::Relaxed);
        Ok(place)
    }

    /// How many pieces there are.
    fn pieces(&self) -> usize {
        1 + self.more.iter().take_while(|piece| piece.get().is_some()).count()
    }

    /// Those behind the first piece.
    fn further(&self) -> impl Iterator<Item = &Running> {
        self.more.iter().map_while(OnceLock::get).flat_map(|piece| piece.iter())
    }

    fn all(&self) -> impl Iterator<Item = &Running> {
        self.first.iter().chain(self.further())
    }

    /// The one of this number. For whoever has the receiving half.
    fn find(&self, call: u64) -> Option<&Running> {
        // ORDERING: Relaxed; the number was stored under the receiving half.
        let is = |running: &&Running| running.call.load(Ordering::Relaxed) == call;
        if call == 0 { None } else { self.all().find(is) }
    }

    /// Nobody waits for the answer to this one any more, if it still runs.
    pub(crate) fn cut(&self, call: u64) {
        if let Some(running) = self.find(call) {
            running.cut();
        }
    }

    /// It may send so many more replies, if it still runs.
    pub(crate) fn grant(&self, call: u64, more: u32) -> Result<(), Broken> {
        self.find(call).map_or(Ok(()), |running| running.grant(more))
    }

    /// Nobody waits for any of them any more.
    pub(crate) fn cut_all(&self) {
        self.all().for_each(Running::cut);
    }

    /// Whether nothing runs.
    pub(crate) fn is_quiet(&self) -> bool {
        // ORDERING: Acquire; see `finish`.
        self.all().all(|running| running.call.load(Ordering::Acquire) == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn places_are_used_again_and_there_are_as_many_as_were_agreed() {
        let all = AllRunning::default();
        let mut places: Vec<_> = (1..=100).map(|call| all.begin(call, 0, 100).ok()).collect();
        assert!(places.iter().all(Option::is_some));
        places.dedup();
        assert_eq!(places.len(), 100);
        assert_eq!(all.begin(101, 0, 100), Err(Broken::Overrun));
        let Some(Some(place)) = places.get(40) else { panic!("as many as there are") };
        all.cut(41);
        assert!(all.at(*place).is_cancelled());
        all.at(*place).finish();
        assert_eq!(all.begin(101, 0, 100), Ok(*place));
        assert!(!all.at(*place).is_cancelled(), "it is another call's");
        assert!(all.at(*place).is_over(41) && !all.at(*place).is_over(101));
        let set = |call| all.at(*place).set_cut_waiter(call, Waiter::here()).len();
        assert_eq!(
            [set(41), set(101), set(101)],
            [1, 0, 1],
            "another's, the first, the same again"
        );
        all.at(*place).finish_if(41);
        assert!(all.find(41).is_none() && all.find(101).is_some());
        assert!(!all.is_quiet());
        places.iter().flatten().for_each(|place| all.at(*place).finish());
        assert!(all.is_quiet());
    }

    #[test]
    fn all_who_wait_for_the_end_of_a_call_are_told_and_those_of_the_one_before_are_forgotten() {
        struct Told(AtomicU32);
        impl std::task::Wake for Told {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let told = [(); 3].map(|()| Arc::new(Told(AtomicU32::new(0))));
        let waiter = |of: usize| Waiter::Task(Arc::clone(&told[of]).into());
        let all = AllRunning::default();
        let running = all.at(all.begin(1, 0, 8).expect("room"));
        assert!(running.set_cut_waiter(1, waiter(0)).is_empty());
        running.finish();
        assert_eq!(all.begin(2, 0, 8), Ok(Place(0)));
        assert_eq!(running.set_cut_waiter(2, waiter(1)).len(), 1);
        assert!(running.set_cut_waiter(2, waiter(2)).is_empty());
        all.cut(2);
        assert_eq!([0, 1, 2].map(|of: usize| told[of].0.load(Ordering::Relaxed)), [0, 1, 1]);
    }

    #[test]
    fn credit_is_counted_and_bounded() {
        let all = AllRunning::default();
        let place = all.begin(1, 1, 8).expect("room");
        let running = all.at(place);
        assert!(running.take_credit() && !running.take_credit());
        assert!(all.grant(1, 2).is_ok());
        assert!(running.take_credit() && running.take_credit() && !running.take_credit());
        assert!(all.grant(1, i32::MAX as u32).is_ok());
        assert!(
            matches!(all.grant(1, u32::MAX), Err(Broken::Credit)),
            "which is less than nothing"
        );
        assert!(matches!(all.grant(1, 1), Err(Broken::Credit)));
        assert!(all.grant(2, u32::MAX).is_ok(), "it is over, and its credit came late");
    }
}
