//! Life: what a session and its halves share in private memory, and how a local event wakes a sleeper.
//!
//! A sleeper waits on two words: one that the peer changes, and [`Life`]'s own. Whatever happens on this
//! side (the peer died, the session failed, the control socket needs reading) is written here first and
//! then the word is changed and woken; a peer can neither see nor disturb it. Life knows no sockets: it
//! asks its [`Host`].
//!
//! | step | who | what |
//! |---|---|---|
//! | L1 | event | stores what happened (Release: a waiter may find it before L2) |
//! | L2 | event | changes the word (Release), then wakes it |
//! | L3 | waiter | loads the word (Acquire) |
//! | L4 | waiter | reads what happened |
//! | L5 | waiter | sleeps only if the word is still what L3 saw |
//!
//! L5 and the kernel's check make an event between L3 and the sleep end the sleep.

use std::sync::{OnceLock, Weak};

use crate::fault::Fault;
use crate::fence::{Fences, Heavy};
use crate::step::{self, Step};
use crate::sync::{
    self, Arc, AtomicBool, AtomicU32, AtomicU64, Generation, Ordering, Word, WordRef, fence,
    full_fence, mutant, wake_private,
};

/// How a session ended, or a direction of it. Sticky.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum End {
    /// The peer closed this direction, having said so.
    #[error("the peer closed")]
    Closed,
    /// The peer's process or its socket ended without a word.
    #[error("the peer died")]
    HungUp,
    /// The peer broke a rule.
    #[error("fault: {0}")]
    Fault(#[from] Fault),
    /// This process was forked from the one that owns the session.
    #[error("the session belongs to the parent process")]
    Forked,
    /// This side closed the session.
    #[error("closed by this side")]
    Local,
}

/// What the ring asks of whoever owns the control socket.
pub trait Host: Send + Sync {
    /// A waiter was tripped: read the control socket until it is empty.
    fn attend(&self);

    /// Heavy fences fail from now on: ask the peer to publish with full fences.
    fn heavy_fence_failed(&self);

    /// The frame at `position` of the lane that is read says that `count` file descriptors, at least one, went ahead
    /// of it: finds them, and keeps them for who takes the message. The frame is released afterwards.
    ///
    /// # Errors
    ///
    /// [`Fault::Fds`] if they did not come, so many and for this frame; any other end of the session.
    fn fetch_fds(&self, position: u64, count: u16) -> Result<(), End> {
        let _ = (position, count);
        Err(End::Fault(Fault::Fds))
    }

    /// The peer waits in an event loop: sends it a doorbell. True if one is on its way, or no use any more.
    fn ring_doorbell(self: std::sync::Arc<Self>) -> bool {
        false
    }

    /// The session is over for this side (a fault, or closed): the peer may know at once.
    fn over(&self);
}

/// What the status reads in a forked child, unless that has ended what it took for its own.
const FORKED: u32 = 0;
/// Open, and in the process that the session belongs to.
pub(crate) const OPEN: u32 = 1;
/// Open; whether in that process has to be asked, for the kernel wipes no pages.
const OPEN_SOMEWHERE: u32 = 2;
const HUNG_UP: u32 = 3;
const OVER: u32 = 4;

/// The private half of a session's state.
pub struct Life {
    /// Read by both halves at every call.
    status: Word,
    /// What it says while the session is open.
    open: u32,
    word: AtomicU32,
    attention: AtomicBool,
    waiters: AtomicU32,
    over: OnceLock<End>,
    host: OnceLock<Weak<dyn Host>>,
    fences: Fences,
    generation: Generation,
    /// Doorbells that were asked for.
    doorbells: AtomicU64,
}

impl Life {
    /// A session that has just begun, in the process of this generation.
    #[must_use]
    pub fn new(fences: Fences, generation: Generation) -> Arc<Self> {
        let status = Word::new();
        let open = match status.is_wiped() {
            _ if !generation.is_current() => FORKED,
            true => OPEN,
            false => OPEN_SOMEWHERE,
        };
        // ORDERING: Relaxed; whoever looks got at it by way of the `Arc`.
        status.get().store(open, Ordering::Relaxed);
        Arc::new(Self {
            word: AtomicU32::new(0),
            status,
            open,
            attention: AtomicBool::new(false),
            waiters: AtomicU32::new(0),
            over: OnceLock::new(),
            host: OnceLock::new(),
            fences,
            generation,
            doorbells: AtomicU64::new(0),
        })
    }

    /// Names who reads the control socket. The first call counts.
    pub fn set_host(&self, host: Weak<dyn Host>) {
        let _ = self.host.set(host);
    }

    /// The fences of this session.
    pub fn fences(&self) -> &Fences {
        &self.fences
    }

    /// The peer will publish nothing more: its process or its socket ended. What it published before is
    /// still delivered.
    pub fn hang_up(&self) {
        step::at(Step::L1);
        // ORDERING: Release; pairs with the Acquire in `is_open` and `end`: what the peer published before
        // it died is seen by whoever sees that it died. Never from OVER back to HUNG_UP.
        let status = self.status.get();
        let _ = status.compare_exchange(self.open, HUNG_UP, Ordering::Release, Ordering::Relaxed); // L1
        self.ring();
    }

    /// The peer broke a rule: nothing more is delivered. What ended the session, which is an earlier fault
    /// if there was one.
    pub fn fail(&self, fault: Fault) -> End {
        self.finish(End::Fault(fault));
        self.over.get().copied().unwrap_or(End::Fault(fault))
    }

    /// This side closes the session under its halves.
    pub fn close(&self) {
        self.finish(End::Local);
    }

    fn finish(&self, end: End) {
        step::at(Step::L1);
        let _ = self.over.set(end);
        // ORDERING: Release; pairs with the Acquire in `end`, which reads `over` after it.
        self.status.get().store(OVER, Ordering::Release); // L1
        self.ring();
        if let Some(host) = self.host.get().and_then(Weak::upgrade) {
            host.over();
        }
    }

    /// What ended the whole session: a fault or this side, or the peer's hang-up.
    pub fn end(&self) -> Option<End> {
        // ORDERING: Acquire; pairs with L1 in `hang_up` and `finish`, where `over` is set before.
        match self.status.get().load(Ordering::Acquire) {
            OPEN | OPEN_SOMEWHERE => None,
            FORKED => Some(End::Forked),
            HUNG_UP => Some(End::HungUp),
            _ => Some(self.over.get().copied().unwrap_or(End::Local)),
        }
    }

    /// Whether this is another process than the one that made the session.
    #[inline]
    pub fn is_forked(&self) -> bool {
        !self.generation.is_current()
    }

    /// The status, for the hot path: while it is [`OPEN`] there is nothing to judge, and [`is_open`](Self::is_open)
    /// would say so.
    pub(crate) fn status(&self) -> WordRef {
        self.status.get()
    }

    /// Whether there is nothing to judge, and this is the process that the session belongs to. What the peer
    /// published before it died is seen by the looks that follow a `false`.
    pub(crate) fn is_open(&self) -> bool {
        // ORDERING: Relaxed if open, which promises nothing; else Acquire, which pairs with L1.
        match self.status.get().load(Ordering::Relaxed) {
            OPEN => return true,
            OPEN_SOMEWHERE => return !self.is_forked(),
            _ => {}
        }
        if !mutant("relaxed-end") {
            fence(Ordering::Acquire);
        }
        false
    }

    /// Whether nothing may be delivered any more: a fault, or closed by this side.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.status.get().load(Ordering::Relaxed) == OVER
    }

    /// The control socket has something to read. True if a waiter will see to it; false if nobody waits
    /// and the caller has to find somebody else.
    pub fn trip(&self) -> bool {
        self.attention.store(true, Ordering::Relaxed);
        // ORDERING: SeqCst fence; pairs with the one in `Waiting::drop`. A waiter that we see has not left,
        // and sees `attention` when it does; or it sleeps, and is woken. One that we do not see may see
        // `attention` too: `take_attention` gives the duty to one.
        if !mutant("trip-without-fence") {
            full_fence();
        }
        if self.waiters.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.ring();
        true
    }

    /// As [`trip`](Self::trip), but wakes nobody: whether anybody waits. If not, whoever comes to wait attends first.
    #[must_use = "somebody waits, who is not woken"]
    pub fn leave_attention(&self) -> bool {
        self.attention.store(true, Ordering::Relaxed);
        // ORDERING: SeqCst fence; pairs with the one in `enter`: a waiter that we miss sees `attention`.
        full_fence();
        self.waiters.load(Ordering::Relaxed) != 0
    }

    /// Takes the duty that [`trip`](Self::trip) left: true for exactly one caller.
    pub fn take_attention(&self) -> bool {
        if mutant("attention-shared") {
            let any = self.attention.load(Ordering::Relaxed);
            if any {
                self.attention.store(false, Ordering::Relaxed);
            }
            return any;
        }
        self.attention.load(Ordering::Relaxed) && self.attention.swap(false, Ordering::AcqRel)
    }

    /// Tells the host that heavy fences fail.
    pub(crate) fn heavy_fence_failed(&self) {
        if let Some(host) = self.host.get().and_then(Weak::upgrade) {
            host.heavy_fence_failed();
        }
    }

    /// The heavy fence of an arming: see [`crate::arm`], E2. False if the peer may publish unseen all the same, because
    /// the kernel refused: then a wait for its doorbell must not be a long one.
    pub fn fence(&self) -> bool {
        self.fence_once(&mut false)
    }

    /// As [`fence`](Self::fence), for one of several armings: a call of the kernel's is made once for all, `called` says
    /// whether it was.
    pub fn fence_once(&self, called: &mut bool) -> bool {
        step::at(Step::E2);
        match self.fences.heavy_once(called) {
            Heavy::Assured => true,
            Heavy::Sliced { first, .. } => {
                if first {
                    self.heavy_fence_failed();
                }
                false
            }
        }
    }

    /// A doorbell is about to be asked for.
    pub(crate) fn expect_doorbell(&self) {
        // ORDERING: Relaxed; the store of the sleep word that follows publishes it.
        self.doorbells.fetch_add(1, Ordering::Relaxed);
    }

    /// How many doorbells were asked for so far: no honest peer rings more often.
    pub fn doorbells(&self) -> u64 {
        // ORDERING: Acquire; the doorbell that is being judged was rung after the sleep word was seen.
        self.doorbells.load(Ordering::Acquire)
    }

    /// See [`Host::ring_doorbell`].
    pub(crate) fn ring_doorbell(&self) -> bool {
        !mutant("doorbell-unrung")
            && self.host.get().and_then(Weak::upgrade).is_some_and(Host::ring_doorbell)
    }

    /// See [`Host::fetch_fds`].
    pub(crate) fn fetch_fds(&self, position: u64, count: u16) -> Result<(), End> {
        match self.host.get().and_then(Weak::upgrade) {
            Some(host) => host.fetch_fds(position, count),
            None => Err(End::Fault(Fault::Fds)),
        }
    }

    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Begins a wait during which this thread will attend to trips.
    pub(crate) fn enter(&self) -> Waiting<'_> {
        // ORDERING: SeqCst fence; pairs with the one in `leave_attention`. If `trip` does not see us, its caller looks for
        // somebody else.
        self.waiters.fetch_add(1, Ordering::Relaxed);
        full_fence();
        Waiting { life: self }
    }

    fn ring(&self) {
        if mutant("end-without-trip") {
            return;
        }
        step::at(Step::L2);
        // ORDERING: Release; pairs with the Acquire of L3. Publishes L1.
        let order = sync::order("relaxed-ring", Ordering::Release);
        self.word.fetch_add(1, order); // L2
        wake_private(&self.word);
    }

    fn attend(&self) {
        if self.take_attention()
            && let Some(host) = self.host.get().and_then(Weak::upgrade)
        {
            host.attend();
        }
    }
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Life").field("end", &self.end()).finish_non_exhaustive()
    }
}

/// A thread that waits, and so will look when it is tripped. Leaving attends once more.
pub(crate) struct Waiting<'a> {
    life: &'a Life,
}

impl Waiting<'_> {
    /// Does what a trip asked for, if anything.
    pub(crate) fn attend(&self) {
        self.life.attend();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.life.waiters.fetch_sub(1, Ordering::Relaxed);
        // ORDERING: SeqCst fence; pairs with the one in `trip`: it saw us waiting, or we see its trip.
        if !mutant("leave-without-fence") {
            full_fence();
        }
        if !mutant("leave-without-attending") {
            self.life.attend();
        }
    }
}
