//! What the threads of a session share: both halves of its channel, and what is under way.
//!
//! There is no thread behind it. A thread that waits, for an answer, for a call to serve, for credit, takes the receiving
//! half if nobody has it, and files what it reads for the others until its own comes; then one of those that sleep reads in
//! its place. Whoever finds the half taken sleeps, and is woken when its own was filed or it is to read.
//!
//! A thread that asks while nobody else does has both halves, and is on no list: what it waits for comes to itself.
//!
//! The table's lock is held for no call and no wake. Whoever has a half never waits for the other.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use memring_ring::halves::{Halves, Held, Kept, Which};
use memring_transport::{Peer, Session};

use super::interface::Interface;
use super::noted::Noted;
use super::owed::Owed;
use super::receiving::Receiving;
use super::running::AllRunning;
use super::sending::Sending;
use super::services::Services;
use super::table::{Asked, FIRST_ASKED, Job, Table};
use super::tasks::Tasks;
use super::waiter::Waiter;
use super::wire::{self, Code, Header, Kind};
use super::workers::Workers;
use crate::channel::Channel;
use crate::error::End;

/// How long whoever has something else to look after looks away.
pub(crate) const SLICE: Duration = Duration::from_millis(1);

/// How long a thread that runs has the sending half at most, where it does not wait for its peer.
const LONGEST_TURN: Duration = Duration::from_millis(100);

/// Looks at a half that is taken before its taker sleeps: whoever has it for a moment gives it back within these.
const LOOKS: u32 = 8;

/// What the threads of a session share.
pub(crate) struct Shared {
    pub(super) session: Arc<Session>,
    pub(super) halves: Halves<Sending, Receiving>,
    table: Mutex<Table>,
    pub(super) noted: Arc<Noted>,
    /// How many the peer takes at once.
    most_asked: AtomicU32,
    /// How many are under way that are on no list: one at most.
    pub(super) alone: AtomicU32,
    pub(super) owed: Owed,
    pub(super) running: AllRunning,
    pub(super) workers: Workers,
    pub(super) tasks: Tasks,
    pub(super) most_running: u32,
    /// Bytes of the largest packet that the lane holds at once.
    pub(super) largest_at_once: usize,
    pub(super) services: OnceLock<Arc<Services>>,
    /// Signals that the peer wants: the number of the service, and the member.
    pub(super) subscribed: Mutex<BTreeSet<(u16, u32)>>,
    /// This.
    pub(super) this: Weak<Shared>,
    /// Whoever has the sending half waits for room.
    pub(super) stuck: AtomicBool,
    /// New calls are refused.
    stopping: AtomicBool,
    /// So much was read and not begun that only who begins it reads on.
    crowded: AtomicBool,
    /// How many calls wait to be begun.
    jobs: AtomicU32,
}

/// Halves that a thread has. Dropping it gives them back, and has those who sleep for one take it: after a panic, too.
pub(super) struct HeldHalves<'a> {
    shared: &'a Shared,
    held: Held<'a, Sending, Receiving>,
}

impl HeldHalves<'_> {
    #[inline]
    pub(super) fn has(&self) -> Which {
        self.held.has()
    }

    #[inline]
    pub(super) fn sending(&mut self) -> &mut Sending {
        self.held.sending()
    }

    #[inline]
    pub(super) fn receiving(&mut self) -> &mut Receiving {
        self.held.receiving()
    }

    #[inline]
    pub(super) fn received(&self) -> &Receiving {
        self.held.received()
    }

    /// Keeps what it has, for [`Shared::held_again`].
    pub(super) fn keep(mut self) -> Kept {
        self.held.keep()
    }

    /// Gives one half back, or both.
    #[inline]
    pub(super) fn give_back(&mut self, which: Which) {
        let wanted = self.held.give_back(which);
        if wanted != Which::NONE {
            self.shared.hand_on(wanted);
        }
    }
}

impl Drop for HeldHalves<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.held.has() != Which::NONE {
            self.give_back(Which::BOTH);
        }
    }
}

impl Shared {
    pub(crate) fn new(channel: Channel<[u8], [u8]>, most_running: u32) -> Arc<Self> {
        let (sender, receiver) = channel.split();
        let session = Arc::clone(sender.session());
        let largest_at_once = usize::try_from(sender.largest_at_once()).unwrap_or(usize::MAX);
        let receiving = Receiving::new(receiver.into_consumer(), &session);
        let noted = Arc::<Noted>::default();
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            subscribed: Mutex::default(),
            halves: Halves::new(Sending::new(sender), receiving),
            session,
            table: Mutex::new(Table::new(Arc::clone(&noted))),
            noted,
            most_asked: AtomicU32::new(FIRST_ASKED),
            alone: AtomicU32::new(0),
            owed: Owed::default(),
            running: AllRunning::default(),
            workers: Workers::default(),
            tasks: Tasks::default(),
            most_running: most_running.clamp(1, AllRunning::MOST),
            largest_at_once,
            services: OnceLock::new(),
            stuck: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            jobs: AtomicU32::new(0),
        })
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(crate) fn peer(&self) -> &Peer {
        self.session.peer()
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets a question that was not sent, or whose answer was taken.
    pub(super) fn forget(&self, call: u64) -> Option<Asked> {
        self.table().forget(call)
    }

    pub(super) fn is_forked(&self) -> bool {
        self.session.life().is_forked()
    }

    // ---- halves

    /// Takes halves, if nobody has any of them.
    #[inline]
    pub(super) fn try_take(&self, which: Which) -> Option<HeldHalves<'_>> {
        let held = self.halves.try_take(which)?;
        Some(HeldHalves { shared: self, held })
    }

    /// What was kept.
    pub(super) fn held_again(&self, kept: Kept) -> HeldHalves<'_> {
        HeldHalves { shared: self, held: self.halves.again(kept) }
    }

    /// Wakes who sleeps for these, which are free.
    #[cold]
    pub(super) fn hand_on(&self, mut wanted: Which) {
        if wanted.any_of(Which::SENDING)
            && self.owes()
            && let Some(mut held) = self.try_take(Which::SENDING)
        {
            self.pay(&mut held);
            wanted = wanted.with(held.held.give_back(Which::SENDING));
            self.have_it_paid();
        }
        for half in [Which::SENDING, Which::RECEIVING] {
            if !wanted.any_of(half) {
                continue;
            }
            let (chosen, more) = self.table().choose(half);
            if more {
                self.halves.remind(half);
            }
            if let Some(chosen) = chosen {
                chosen.wake();
            }
        }
    }

    /// Takes the sending half, waiting for it until the deadline.
    pub(super) fn take_sending(&self, deadline: Option<Instant>) -> Option<HeldHalves<'_>> {
        loop {
            for look in 0..=LOOKS {
                if let Some(held) = self.try_take(Which::SENDING) {
                    return Some(held);
                }
                match look {
                    0..LOOKS => std::hint::spin_loop(),
                    // It may be that whoever has it is kept from running by this thread: then this costs less than to sleep and
                    // to be woken.
                    _ => thread::yield_now(),
                }
            }
            if let Some(held) = self.try_take(Which::SENDING) {
                return Some(held);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return None;
            }
            let number = self.table().sleeps(Waiter::here(), Which::SENDING, false);
            self.sleep_unless_free(Which::SENDING, left);
            // Chosen or not, it takes the half now or sleeps again.
            self.table().woke(number);
        }
    }

    /// The same, but for a while only, and not if whoever has it waits for room itself.
    pub(super) fn take_sending_unless_stuck(&self) -> Option<HeldHalves<'_>> {
        let end = Instant::now() + LONGEST_TURN;
        loop {
            if let Some(held) = self.take_sending(Some(Instant::now() + SLICE)) {
                return Some(held);
            }
            // ORDERING: Relaxed; it says what was so for a while, and will be for a while.
            if self.stuck.load(Ordering::Relaxed) || Instant::now() >= end {
                return None;
            }
        }
    }

    /// How many questions at once the peer takes.
    #[inline]
    pub(super) fn most_asked(&self) -> u32 {
        // ORDERING: Relaxed; a number.
        self.most_asked.load(Ordering::Relaxed)
    }

    /// The peer takes so many questions at once.
    pub(super) fn set_most_asked(&self, most: u32) {
        self.most_asked.store(most, Ordering::Relaxed);
    }

    /// Sleeps until it is woken, unless the half has become free: for a thread that is on the list.
    pub(super) fn sleep_unless_free(&self, half: Which, left: Option<Duration>) {
        if !self.halves.want(half) || (half == Which::RECEIVING && self.tasks.is_parked()) {
            return;
        }
        match left {
            None => thread::park(),
            Some(left) => thread::park_timeout(left),
        }
    }

    // ---- what is under way

    pub(super) fn is_crowded(&self) -> bool {
        // ORDERING: Relaxed; a bound that may be overstepped by what is read meanwhile.
        self.crowded.load(Ordering::Relaxed)
    }

    /// Whether something may have been filed for this thread. For whoever has the receiving half: who files has it, too.
    #[inline]
    pub(super) fn may_be_filed(&self, serves: bool) -> bool {
        !serves || self.has_jobs()
    }

    /// Whether calls wait to be begun. For whoever has the receiving half.
    #[inline]
    pub(super) fn has_jobs(&self) -> bool {
        // ORDERING: Relaxed; it was stored by somebody who had the receiving half then.
        self.jobs.load(Ordering::Relaxed) != 0
    }

    /// Has another thread begin this.
    pub(super) fn queue(&self, job: Job) {
        let waiter: Option<Waiter> = {
            let mut table = self.table();
            let waiter = table.queue(job);
            self.crowded.store(table.is_crowded(), Ordering::Relaxed);
            self.jobs.store(table.jobs(), Ordering::Relaxed);
            waiter
        };
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        if self.tasks.serve()
            && let Some(this) = self.this.upgrade()
        {
            this.begin_jobs();
        }
    }

    /// Takes a call that another thread read.
    pub(crate) fn next_job(&self, table: &mut Table) -> Option<Job> {
        let job = table.next_job()?;
        self.crowded.store(table.is_crowded(), Ordering::Relaxed);
        self.jobs.store(table.jobs(), Ordering::Relaxed);
        Some(job)
    }

    /// The session is over: everybody is told.
    pub(super) fn finish_all(&self, end: &End) {
        let told = self.table().finish_all(end.clone());
        told.into_iter().for_each(Waiter::wake);
        self.running.cut_all();
        self.tasks.wake_line();
    }

    // ---- serving

    /// Refuses new calls from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Whether nothing runs for the peer, and nothing waits to, or to be sent.
    pub(crate) fn is_quiet(&self) -> bool {
        self.running.is_quiet()
            && self.table().jobs() == 0
            && self.tasks.is_quiet()
            && !self.workers.any_is_busy()
            && !self.owes()
    }

    /// The number of an interface whose signal the peer wants.
    pub(super) fn subscribed(&self, interface: &'static Interface, member: u32) -> Option<u16> {
        let place = self.services.get()?.place_of(interface)?;
        let subscribed = self.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
        subscribed.contains(&(place, member)).then_some(place)
    }

    /// Ends a call of the peer's without an answer of the method's. Its place is free already.
    pub(crate) fn end_call(&self, call: u64, code: Code, why: &str) {
        let header = Header { number: code as u32, ..Header::new(Kind::Ended) };
        let why = &why.as_bytes()[..why.len().min(wire::MAX_SIGNATURE)];
        // If it cannot be told, the session is over.
        let _ = self.send(header, call, &why, None);
    }

    /// The same, by a task: it is sent when that can be.
    pub(crate) fn end_call_sometime(&self, call: u64, code: Code, why: &str) {
        let header = Header { number: code as u32, ..Header::new(Kind::Ended) };
        let why = &why.as_bytes()[..why.len().min(wire::MAX_SIGNATURE)];
        if !self.is_forked() {
            self.send_sometime(wire::packet(header, why), call);
        }
    }

    /// Closes the session for both directions.
    pub(crate) fn close(&self) {
        if !self.is_forked() {
            self.session.close();
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("peer", self.peer()).finish_non_exhaustive()
    }
}

/// The instant at which the monotonic clock reads so.
pub(crate) fn instant_of(nanos: u64) -> Instant {
    let left = Duration::from_nanos(nanos.saturating_sub(now_nanos()));
    let now = Instant::now();
    now.checked_add(left).unwrap_or_else(|| now + Duration::from_secs(1 << 30))
}

/// What the monotonic clock reads at a deadline; 0 if there is none.
#[inline]
pub(crate) fn nanos_of(deadline: Option<Instant>) -> u64 {
    deadline.map_or(0, |deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        now_nanos().saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)).max(1)
    })
}

/// The monotonic clock, in nanoseconds.
pub(crate) fn now_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}
