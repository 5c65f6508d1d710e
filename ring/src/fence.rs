//! The asymmetric fence pair: nothing on a publish, a membarrier before a sleep.
//!
//! Dekker's handshake ("I publish, then look whether you sleep; you say that you sleep, then look
//! whether I published") needs a full fence between the two halves on both sides. Publishing is hot and
//! sleeping is not, so the publisher only keeps program order (`Fences::light`) and the sleeper makes
//! every processor that runs a registered process pass a barrier (`Fences::heavy`, one
//! `membarrier(GLOBAL_EXPEDITED)`). The argument stands in `docs/decisions/0001-asymmetric-fence.md`.
//!
//! The pair holds for a word that X publishes and Y sleeps on iff X had registered before its first
//! publish and Y can call; otherwise both use full fences. Each side states both bits in the handshake.
//!
//! This module does not know what is published or who sleeps.

use std::time::Duration;

use crate::sync::{self, AtomicBool, Ordering, full_fence, heavy_fence, light_fence, mutant};

/// Longest sleep while the peer may still publish with light fences that we can no longer complete.
const SLICE: Duration = Duration::from_millis(10);

/// What one side can do for the pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FenceBits {
    /// It registered for `membarrier(GLOBAL_EXPEDITED)`, so its running threads are reached.
    pub registered: bool,
    /// It can call `membarrier(GLOBAL_EXPEDITED)`.
    pub can_call: bool,
}

/// Which fences one end of a channel uses, towards this one peer.
#[derive(Debug)]
pub struct Fences {
    /// Our publishes carry a full fence.
    full: AtomicBool,
    /// Our sleeps call membarrier, because the peer's publishes carry none.
    calls: AtomicBool,
    /// A call failed, and the peer has not yet said that it publishes with full fences.
    unassured: AtomicBool,
    /// The peer was asked to publish with full fences, though calls do not fail.
    asked: AtomicBool,
    /// A sandbox may forbid every call from here on.
    forbidden: AtomicBool,
    /// All our publishes have been full, or a barrier has passed since they turned so.
    turned: AtomicBool,
}

/// What a heavy fence achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heavy {
    /// A publish is either seen by the look that follows, or its publisher sees us asleep.
    Assured,
    /// The kernel refused: sleep no longer than this at a time. The first time, tell the peer.
    Sliced { longest: Duration, first: bool },
}

impl Fences {
    /// What this end uses, given what both sides can do.
    #[must_use]
    pub fn negotiate(ours: FenceBits, theirs: FenceBits) -> Self {
        let began_light = ours.registered && theirs.can_call;
        Self {
            full: AtomicBool::new(!began_light),
            calls: AtomicBool::new(theirs.registered && ours.can_call),
            unassured: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            forbidden: AtomicBool::new(false),
            turned: AtomicBool::new(!began_light),
        }
    }

    /// Between a publish and the look at the peer's sleep word.
    #[inline(always)]
    pub(crate) fn light(&self) {
        if mutant("no-light-fence") {
            return;
        }
        // ORDERING: Relaxed; a private switch. Whoever turns it to full tells the peer only afterwards.
        if self.full.load(Ordering::Relaxed) {
            full_fence(); // F1, pairs with the full fence in `heavy`
        } else {
            light_fence(); // F2, pairs with the membarrier in `heavy`
        }
    }

    /// Between saying that we sleep and the last look.
    pub(crate) fn heavy(&self) -> Heavy {
        if mutant("no-heavy-fence") {
            return Heavy::Assured;
        }
        let mut first = false;
        // ORDERING: Relaxed; the full fence below makes it an Acquire, which pairs with `give_up`.
        if self.calls.load(Ordering::Relaxed) {
            if heavy_fence() {
                return Heavy::Assured;
            }
            first = self.give_up();
        }
        full_fence();
        if self.unassured.load(Ordering::Relaxed) {
            Heavy::Sliced { longest: SLICE, first }
        } else {
            Heavy::Assured
        }
    }

    /// As [`heavy`](Self::heavy), for one of several sleeps that begin together: a call is made once, for all.
    pub(crate) fn heavy_once(&self, called: &mut bool) -> Heavy {
        if *called && self.calls.load(Ordering::Relaxed) && !mutant("no-heavy-fence") {
            return Heavy::Assured;
        }
        let heavy = self.heavy();
        // What was assured by a call, and not by full fences, is assured for all.
        *called |= heavy == Heavy::Assured && self.calls.load(Ordering::Relaxed);
        heavy
    }

    /// Publishes carry a full fence from now on: the peer said that it cannot call any more.
    ///
    /// True if the peer may be told so: every thread of ours has passed a barrier since. False if this
    /// process cannot call either, or may not any more ([`stop_calling`](Self::stop_calling)); the peer then
    /// goes on sleeping in slices. However often the peer says it, one barrier is made.
    ///
    /// Whoever calls this and `stop_calling` keeps the two apart.
    #[must_use = "the peer may only be told if this is true"]
    pub fn publish_full(&self) -> bool {
        // ORDERING: Relaxed, for all three words; the barrier orders `full` before what the peer is told, and
        // the other two belong to whoever keeps the calls apart.
        self.full.store(true, Ordering::Relaxed);
        if self.turned.load(Ordering::Relaxed) {
            return true;
        }
        // A thread of ours may be between a light publish and its look. The barrier reaches it: we had
        // registered, or we would not have published lightly.
        let turned = !self.forbidden.load(Ordering::Relaxed) && heavy_fence();
        self.turned.store(turned, Ordering::Relaxed);
        turned
    }

    /// Gives up calling for good, before a sandbox forbids it. True if the peer has to be told.
    pub fn stop_calling(&self) -> bool {
        self.forbidden.store(true, Ordering::Relaxed);
        self.calls.load(Ordering::Relaxed) && self.give_up()
    }

    /// True for the first who gives up.
    fn give_up(&self) -> bool {
        if mutant("calls-stop-first") {
            self.calls.store(false, Ordering::Relaxed);
            return !self.unassured.swap(true, Ordering::Relaxed);
        }
        let first = !self.unassured.swap(true, Ordering::Relaxed);
        // ORDERING: Release; pairs with the fence in `heavy`: another thread that finds that we call no more
        // finds its sleeps unassured.
        let order = sync::order("relaxed-give-up", Ordering::Release);
        self.calls.store(false, order);
        first
    }

    /// Full fences of the peer are the better bargain here, for this side sleeps often. True if it has to be asked for
    /// them; sleeps go on calling until it has answered.
    #[must_use = "the peer has to be asked"]
    pub fn prefer_full(&self) -> bool {
        self.calls.load(Ordering::Relaxed) && !self.asked.swap(true, Ordering::Relaxed)
    }

    /// The peer publishes with full fences now: sleeps need no slices, and none calls any more if that was what it was asked for.
    pub fn peer_publishes_full(&self) {
        if self.asked.load(Ordering::Relaxed) {
            // ORDERING: Release; pairs with the fence in `heavy`: whoever calls no more comes after the answer.
            self.calls.store(false, Ordering::Release);
        }
        self.unassured.store(false, Ordering::Relaxed);
    }

    /// Whether publishes carry a full fence, and whether sleeps call membarrier.
    #[must_use]
    pub fn chosen(&self) -> (bool, bool) {
        (self.full.load(Ordering::Relaxed), self.calls.load(Ordering::Relaxed))
    }
}

#[cfg(not(memring_loom))]
pub use process::{AlreadyChosen, Fence, choose, heavy_cost, ours};

#[cfg(not(memring_loom))]
pub(crate) use process::membarrier_all;

#[cfg(not(memring_loom))]
mod process {
    //! The process-wide choice, and the system call.

    use std::sync::atomic::{AtomicU8, Ordering};
    use std::time::{Duration, Instant};

    use super::FenceBits;
    use crate::fork::PerProcess;
    use crate::futex::membarrier;

    /// Which fences this process offers its peers.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    #[repr(u8)]
    pub enum Fence {
        /// [`Fence::Asymmetric`] where the kernel has it, but [`Fence::SeqCst`] where `nohz_full` names
        /// a processor: a membarrier would interrupt what was isolated on purpose.
        #[default]
        Auto = 1,
        /// Register, and call membarrier before a sleep. Any local process can then tax ours by calling
        /// membarrier in a loop.
        Asymmetric,
        /// A full fence on every publish: two to four times less throughput, no system-wide effect.
        SeqCst,
    }

    /// The fence was chosen before, or the first session chose it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("the fence is chosen once a process, before its first session; it is already {0:?}")]
    pub struct AlreadyChosen(pub Fence);

    /// A [`Fence`], or 0 before the choice. A forked child inherits it, and an atomic is never half set there.
    static CHOICE: AtomicU8 = AtomicU8::new(0);

    /// Chooses the fence for this process.
    ///
    /// # Errors
    ///
    /// [`AlreadyChosen`] after the first choice or the first session.
    pub fn choose(fence: Fence) -> Result<(), AlreadyChosen> {
        // ORDERING: Relaxed; the word is all there is to know.
        match CHOICE.compare_exchange(0, fence as u8, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(chosen) => Err(AlreadyChosen(Fence::of(chosen))),
        }
    }

    impl Fence {
        fn of(word: u8) -> Self {
            [Self::Asymmetric, Self::SeqCst]
                .into_iter()
                .find(|fence| *fence as u8 == word)
                .unwrap_or_default()
        }
    }

    struct State {
        bits: FenceBits,
        cost: Duration,
    }

    static STATE: PerProcess<State> = PerProcess::new();

    /// What this process can do. The first call fixes the choice and registers.
    pub fn ours() -> FenceBits {
        STATE.get_or_init(start).bits
    }

    /// What one heavy fence takes here, measured once; zero if there is none. Waiters spin at least ten
    /// times as long before they pay it.
    pub fn heavy_cost() -> Duration {
        STATE.get_or_init(start).cost
    }

    fn start() -> State {
        let none = State { bits: FenceBits::default(), cost: Duration::ZERO };
        let choice = match choose(Fence::Auto) {
            Ok(()) => Fence::Auto,
            Err(AlreadyChosen(choice)) => choice,
        };
        let wanted = match choice {
            Fence::Auto => !isolated_processors(),
            Fence::Asymmetric => true,
            Fence::SeqCst => false,
        };
        if !wanted {
            // Calling needs no registration: a peer that registered may still publish lightly to us.
            return State {
                bits: FenceBits { registered: false, can_call: membarrier::supported() },
                ..none
            };
        }
        if !membarrier::supported() {
            return none;
        }
        let registered = membarrier::register();
        let mut cost = Duration::MAX;
        let mut can_call = true;
        for _ in 0..8 {
            let began = Instant::now();
            can_call &= membarrier::all();
            cost = cost.min(began.elapsed());
        }
        State { bits: FenceBits { registered, can_call }, cost }
    }

    /// Whether the kernel was told to keep ticks off some processor.
    fn isolated_processors() -> bool {
        std::fs::read_to_string("/sys/devices/system/cpu/nohz_full")
            .is_ok_and(|list| list.trim().starts_with(|c: char| c.is_ascii_digit()))
    }

    pub(crate) fn membarrier_all() -> bool {
        membarrier::all()
    }
}

#[cfg(all(test, not(memring_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_pair_needs_a_registered_publisher_and_a_calling_sleeper() {
        let bits = |registered, can_call| FenceBits { registered, can_call };
        for (ours, theirs, full, calls) in [
            (bits(true, true), bits(true, true), false, true),
            (bits(true, true), bits(true, false), true, true),
            (bits(true, true), bits(false, true), false, false),
            (bits(false, true), bits(true, true), true, true),
            (bits(true, false), bits(true, true), false, false),
            (bits(false, false), bits(false, false), true, false),
        ] {
            let end = Fences::negotiate(ours, theirs);
            assert_eq!(end.chosen(), (full, calls), "{ours:?} {theirs:?}");
            // Whenever our sleeps do not call, the peer publishes with full fences, and conversely.
            let peer = Fences::negotiate(theirs, ours);
            assert_eq!(peer.chosen().0, !end.chosen().1);
        }
    }

    #[test]
    fn giving_up_calls_is_told_once_and_sliced_until_the_peer_has_turned() {
        let all = FenceBits { registered: true, can_call: true };
        let fences = Fences::negotiate(all, all);
        assert!(fences.stop_calling());
        assert!(!fences.stop_calling());
        assert_eq!(fences.heavy(), Heavy::Sliced { longest: SLICE, first: false });
        fences.peer_publishes_full();
        assert_eq!(fences.heavy(), Heavy::Assured);
    }

    #[test]
    fn a_peer_that_was_asked_and_has_answered_saves_the_calls() {
        let all = FenceBits { registered: true, can_call: true };
        let fences = Fences::negotiate(all, all);
        fences.peer_publishes_full();
        assert_eq!(fences.chosen(), (false, true), "an answer to nothing changes nothing");
        assert!(fences.prefer_full());
        assert!(!fences.prefer_full(), "asked once");
        assert_eq!(fences.chosen(), (false, true), "until it has answered");
        fences.peer_publishes_full();
        assert_eq!(fences.chosen(), (false, false));
        assert_eq!(fences.heavy(), Heavy::Assured);
        let full = Fences::negotiate(all, FenceBits { registered: false, can_call: true });
        assert!(!full.prefer_full(), "it does so anyway");
    }

    #[test]
    fn whoever_may_be_in_a_sandbox_turns_full_and_calls_nothing() {
        let all = FenceBits { registered: true, can_call: true };
        // Registered, as a session's fences are only then negotiated to be light.
        ours();
        let fences = Fences::negotiate(all, all);
        fences.stop_calling();
        // With a call this would be true here, and the end of a process whose filter kills.
        assert!(!fences.publish_full());
        assert_eq!(fences.chosen(), (true, false));

        let turned_before = Fences::negotiate(all, all);
        let could = turned_before.publish_full();
        turned_before.stop_calling();
        assert_eq!(turned_before.publish_full(), could, "as was found out then");
        let always_full = Fences::negotiate(FenceBits::default(), all);
        always_full.stop_calling();
        assert!(always_full.publish_full());
    }
}
