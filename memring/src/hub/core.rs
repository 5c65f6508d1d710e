//! What a hub does: the round of what may be ready, and the sleep when nothing is.
//!
//! Whatever may have something is in the round and is visited in turn. What has nothing leaves it, to be brought back by the
//! kernel's word (an epoll), by another thread's (the [`Bell`]) or by its owner's touch. Sessions stay for a while before that,
//! unarmed, because what was busy will be again; when nothing is ready they are armed, all with one fence, and looked at once more
//! ([`memring_ring::arm`]).

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use memring_ring::fork::{Generation, generation};
use memring_ring::heads::Heads;
use memring_ring::lookout::{Lookout, Sight};
use memring_ring::{Patience, Wait};
use memring_transport::signals::Signals;
use memring_transport::{Notifier, Session};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;

use super::bell::Bell;
use super::clock::{Clock, Timer};
use super::key::{Key, Places};
use super::{Event, Readiness, Signal};
use crate::error::end_of;
use crate::polled::PolledListener;

/// Events between two looks at what the kernel has to say.
const LOOK_EVERY: u32 = 64;
/// The same, in looks at the round of a hub that spins; a power of two, for the count wraps.
const SPINS: u32 = 128;
/// Descriptors that one look takes.
const BATCH: usize = 64;
/// Sleeps that a session stays in the round without having had anything.
const PATIENT: u32 = 4;
/// Looks at the round, of one that never sleeps, before those who have had nothing meanwhile leave it; and how often it is gone
/// through at least.
const LOOKS: u64 = 1 << 16;
const LEAST: u64 = 16;

// No key is any of these: its generation is smaller.
const BELL: u64 = u64::MAX;
const CLOCK: u64 = u64::MAX - 1;

pub(super) struct Core {
    generation: Generation,
    pub(super) epoll: OwnedFd,
    pub(super) bell: Arc<Bell>,
    clock: Clock,
    places: Places<Slot>,
    round: Vec<Key>,
    /// Who is visited next.
    at: usize,
    /// How often the round was gone through, and when it was last cleared of those who have had nothing for long.
    turn: u64,
    cleared: u64,
    patience: Patience,
    /// Events since the kernel was asked.
    since: u32,
    /// Another thread has woken this one.
    woken: bool,
    told: Vec<Key>,
    timers: usize,
    /// A task that has its turn.
    turn_of: Option<(Key, Task, Waker)>,
    /// Tasks that were removed, to be dropped without the hub in use.
    gone: Vec<Task>,
}

struct Slot {
    in_round: bool,
    place: Place,
}

/// What is behind a key.
pub(super) enum Place {
    Session(Seen),
    Listener(PolledListener),
    Timer(Timer),
    Descriptor(Readiness),
    Signals(Signals),
    /// And what wakes it; `None` while it has its turn.
    Task(Option<Task>, Waker),
}

/// What runs in a hub.
pub(super) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What a wait comes to.
pub(super) enum Step {
    Event(Event),
    /// This has its turn, without the hub in use.
    Turn(Key, Task, Waker),
    /// The deadline has passed.
    Late,
}

/// Who takes it out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The member, which is used elsewhere afterwards, or closed.
    Session,
    /// The owner of the descriptor.
    Watched,
    /// Whoever has the key.
    Plain,
}

/// What a hub and the owner of a member both know.
#[derive(Default)]
pub(super) struct State {
    /// It is armed, and not in the round.
    pub cold: Cell<bool>,
    /// The owner waits for room.
    pub room: Cell<bool>,
    /// The owner wants to hear of no messages for now.
    pub paused: Cell<bool>,
}

/// A session in the hub.
pub(super) struct Seen {
    session: Arc<Session>,
    lookout: Lookout,
    notifier: Arc<Notifier>,
    state: Rc<State>,
    armed: bool,
    /// Room may have come free.
    has_room: bool,
    /// Its peer asks for channels.
    asked: bool,
    /// Its end was said.
    closed: bool,
    /// Sleeps since it last had something; and when that was.
    idle: u32,
    turn: u64,
}

impl Seen {
    fn is_quiet(&self) -> bool {
        !self.has_room && !self.asked && (self.closed || self.sight() == Sight::Nothing)
    }

    fn sight(&self) -> Sight {
        match self.lookout.sight() {
            Sight::Something if self.state.paused.get() => Sight::Nothing,
            sight => sight,
        }
    }

    fn arm(&mut self) {
        if !self.armed && !self.state.paused.get() {
            self.armed = true;
            self.lookout.ask_doorbell();
        }
    }

    fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.lookout.take_back_doorbell();
        }
    }

    fn cool(&mut self) {
        self.state.cold.set(true);
        self.lookout.rest();
    }

    fn warm(&mut self, turn: u64) {
        self.disarm();
        if self.state.cold.take() {
            self.lookout.resume();
        }
        self.idle = 0;
        self.turn = turn;
    }
}

/// What a visit came to: an event, if any, and whether to stay in the round.
enum Visit {
    Nothing,
    Leaves,
    Has(Event),
    Last(Event),
}

impl Core {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (bell, clock) = (Bell::new()?, Clock::new()?);
        for (fd, data) in [(bell.as_fd(), BELL), (clock.as_fd(), CLOCK)] {
            let data = epoll::EventData::new_u64(data);
            epoll::add(&epoll, fd, data, epoll::EventFlags::IN)?;
        }
        Ok(Self {
            generation: generation(),
            epoll,
            bell,
            clock,
            places: Places::new(),
            round: Vec::new(),
            at: 0,
            turn: 0,
            cleared: 0,
            patience: Patience::new(Wait::Adaptive),
            since: 0,
            woken: false,
            told: Vec::new(),
            timers: 0,
            turn_of: None,
            gone: Vec::new(),
        })
    }

    pub(super) fn set_wait_strategy(&mut self, wait: Wait) {
        self.patience.set_strategy(wait);
    }

    pub(super) fn check_process(&self) -> io::Result<()> {
        if self.generation.is_current() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::Unsupported, memring_ring::End::Forked))
    }

    // What comes and goes.

    pub(super) fn add_session(
        &mut self,
        session: &Arc<Session>,
        lookout: Lookout,
    ) -> io::Result<(Key, Rc<State>)> {
        self.check_process()?;
        let state = Rc::new(State::default());
        let Self { epoll, bell, places, .. } = self;
        let key = places.try_insert(|key| {
            let notifier = session.join_hub(epoll.as_fd(), key.to_bits(), bell.teller(key))?;
            let seen = Seen {
                session: Arc::clone(session),
                lookout,
                notifier,
                state: Rc::clone(&state),
                armed: false,
                has_room: false,
                asked: false,
                closed: false,
                idle: 0,
                turn: 0,
            };
            Ok::<_, io::Error>(Slot { in_round: false, place: Place::Session(seen) })
        })?;
        self.attend(key);
        Ok((key, state))
    }

    /// A place for what is not a session, and what the epoll is to report of it.
    pub(super) fn add(
        &mut self,
        place: Place,
        descriptor: Option<(BorrowedFd<'_>, epoll::EventFlags)>,
    ) -> io::Result<Key> {
        self.check_process()?;
        let Self { epoll, places, .. } = self;
        places.try_insert(|key| {
            let data = epoll::EventData::new_u64(key.to_bits());
            match (&place, descriptor) {
                (_, Some((fd, flags))) => epoll::add(epoll, fd, data, flags)?,
                (Place::Listener(listener), None) => {
                    epoll::add(epoll, listener, data, epoll::EventFlags::IN)?;
                }
                (Place::Signals(signals), None) => {
                    epoll::add(epoll, signals, data, epoll::EventFlags::IN)?;
                }
                _ => {}
            }
            Ok(Slot { in_round: false, place })
        })
    }

    pub(super) fn add_timer(&mut self, timer: Timer) -> io::Result<Key> {
        let key = self.add(Place::Timer(timer), None)?;
        self.timers += 1;
        self.clock.add(key, timer.due);
        Ok(key)
    }

    /// A task, which has its first turn soon.
    pub(super) fn add_task(&mut self, task: Task) -> io::Result<Key> {
        self.check_process()?;
        let Self { bell, places, .. } = self;
        let key = places.try_insert(|key| {
            let place = Place::Task(Some(task), bell.teller(key));
            Ok::<_, io::Error>(Slot { in_round: false, place })
        })?;
        self.enter(key);
        Ok(key)
    }

    /// It has had its turn and goes on, unless it was removed meanwhile.
    pub(super) fn put_back(&mut self, key: Key, task: Task) {
        match self.places.get_mut(key).map(|slot| &mut slot.place) {
            Some(Place::Task(place @ None, _)) => *place = Some(task),
            _ => self.gone.push(task),
        }
    }

    /// Tasks that were removed.
    pub(super) fn take_gone(&mut self) -> Vec<Task> {
        std::mem::take(&mut self.gone)
    }

    /// Takes out what is behind the key, if it is of this kind. Whether there was such.
    pub(super) fn remove(&mut self, key: Key, kind: Kind) -> bool {
        let Some(slot) = self.places.get_mut(key) else { return false };
        let is = match slot.place {
            Place::Session(_) => Kind::Session,
            Place::Descriptor(_) => Kind::Watched,
            _ => Kind::Plain,
        };
        if is != kind {
            return false;
        }
        if slot.in_round
            && let Some(at) = self.round.iter().rposition(|other| *other == key)
        {
            self.round.swap_remove(at);
        }
        match self.places.remove(key).map(|slot| slot.place) {
            Some(Place::Session(mut seen)) => {
                seen.session.leave_hub(self.epoll.as_fd());
                seen.warm(0);
            }
            Some(Place::Timer(_)) => {
                self.timers -= 1;
                let Self { clock, places, timers, .. } = self;
                clock.tidy(*timers, |key, due| is_timer(places, key, due));
            }
            // In a forked child the epoll is its parent's too.
            Some(Place::Listener(listener)) if self.generation.is_current() => {
                let _it_may_have_left_before = epoll::delete(&self.epoll, &listener);
            }
            Some(Place::Task(task, _)) => self.gone.extend(task),
            // Who has another descriptor takes it out; and of signals' ours is the only one, and closes.
            _ => {}
        }
        true
    }

    /// Nobody waits here any more. Watched descriptors stay with their owners.
    pub(super) fn dissolve(&mut self) {
        for key in self.places.keys() {
            let session = match self.places.get_mut(key).map(|slot| &slot.place) {
                Some(Place::Session(seen)) => Some(Arc::clone(&seen.session)),
                _ => None,
            };
            match session {
                Some(session) => {
                    self.remove(key, Kind::Session);
                    session.leave_loop();
                }
                None => {
                    self.remove(key, Kind::Plain);
                }
            }
        }
    }

    // The round.

    /// Has it visited.
    fn enter(&mut self, key: Key) {
        if let Some(slot) = self.places.get_mut(key)
            && !std::mem::replace(&mut slot.in_round, true)
        {
            self.at = self.at.min(self.round.len());
            self.round.push(key);
        }
    }

    /// The owner of a member is about to use it.
    pub(super) fn touch(&mut self, key: Key) {
        if let Some(Slot { place: Place::Session(seen), .. }) = self.places.get_mut(key) {
            seen.warm(self.turn);
            self.enter(key);
        }
    }

    /// Reads what came over the control socket of a session.
    fn attend(&mut self, key: Key) {
        let seen = match self.places.get_mut(key).map(|slot| &mut slot.place) {
            Some(Place::Session(seen)) => seen,
            Some(Place::Task(..)) => return self.enter(key),
            _ => return,
        };
        let _what_it_says_shows_when_it_is_visited = seen.session.begin_to_arm(&seen.notifier);
        if seen.session.life().end().is_some() {
            seen.session.leave_hub(self.epoll.as_fd());
        }
        seen.has_room |= seen.state.room.take();
        seen.asked |= seen.session.has_news_of_channels(&seen.notifier);
        self.touch(key);
    }

    /// Goes through the round once, or until something is ready.
    fn next(&mut self) -> io::Result<Option<Event>> {
        if std::mem::take(&mut self.woken) {
            return Ok(Some(Event::Woken));
        }
        let mut left = self.round.len();
        while left > 0 {
            if self.at >= self.round.len() {
                self.at = 0;
                self.turn += 1;
                self.let_go();
                if self.round.is_empty() {
                    break;
                }
            }
            left -= 1;
            let key = self.round[self.at];
            let visit = self.visit(key)?;
            match visit {
                Visit::Nothing | Visit::Has(_) => self.at += 1,
                Visit::Leaves | Visit::Last(_) => {
                    self.round.remove(self.at); // in their order: of timers, the first comes first
                    if let Some(slot) = self.places.get_mut(key) {
                        slot.in_round = false;
                    }
                }
            }
            match visit {
                Visit::Has(event) => return Ok(Some(event)),
                Visit::Last(event) => {
                    self.afterwards(key);
                    return Ok(Some(event));
                }
                Visit::Nothing | Visit::Leaves => {}
            }
            if self.turn_of.is_some() {
                break;
            }
        }
        Ok(None)
    }

    fn visit(&mut self, key: Key) -> io::Result<Visit> {
        let Some(slot) = self.places.get_mut(key) else { return Ok(Visit::Leaves) };
        Ok(match &mut slot.place {
            Place::Session(seen) => {
                if std::mem::take(&mut seen.has_room) {
                    return Ok(Visit::Has(Event::Room(key)));
                }
                if std::mem::take(&mut seen.asked) {
                    return Ok(Visit::Has(Event::Asked(key)));
                }
                if seen.closed {
                    return Ok(Visit::Leaves);
                }
                match seen.sight() {
                    Sight::Nothing => Visit::Nothing,
                    Sight::Something => {
                        seen.idle = 0;
                        seen.turn = self.turn;
                        Visit::Has(Event::Readable(key))
                    }
                    Sight::Ended(end) => {
                        seen.closed = true;
                        Visit::Last(Event::Closed(key, end_of(end, seen.session.peer())))
                    }
                }
            }
            Place::Listener(listener) => match listener.try_accept() {
                Ok(Some(incoming)) => Visit::Has(Event::Connected(key, Box::new(incoming))),
                Ok(None) => match listener.take_paused() {
                    Some(paused) => Visit::Last(Event::Paused(key, paused)),
                    None => Visit::Leaves,
                },
                Err(failed) => {
                    let _it_may_have_left_before = epoll::delete(&self.epoll, &*listener);
                    Visit::Last(Event::Stopped(key, failed))
                }
            },
            Place::Timer(_) => Visit::Last(Event::Timer(key)),
            Place::Task(task, waker) => {
                self.turn_of = task.take().map(|task| (key, task, waker.clone()));
                Visit::Leaves
            }
            Place::Descriptor(readiness) => Visit::Last(Event::Ready(key, *readiness)),
            Place::Signals(signals) => match signals.take()? {
                Some(signal) => Visit::Has(Event::Signal(Signal(signal))),
                None => Visit::Leaves,
            },
        })
    }

    /// What follows from the last event that something has for now.
    fn afterwards(&mut self, key: Key) {
        let Some(slot) = self.places.get_mut(key) else { return };
        match &mut slot.place {
            Place::Session(seen) => {
                if seen.session.life().end().is_some() {
                    seen.session.leave_hub(self.epoll.as_fd());
                }
                // Nothing is received any more.
                seen.disarm();
                seen.lookout.rest();
            }
            Place::Timer(timer) => match timer.next(Instant::now()) {
                Some(next) => {
                    *timer = next;
                    self.clock.add(key, next.due);
                }
                None => {
                    self.remove(key, Kind::Plain);
                }
            },
            _ => {}
        }
    }

    /// Whether the member of this key is of this session still.
    pub(super) fn holds(&mut self, key: Key, session: &Arc<Session>) -> bool {
        match self.places.get_mut(key).map(|slot| &slot.place) {
            Some(Place::Session(seen)) => Arc::ptr_eq(&seen.session, session),
            _ => true, // the hub has gone
        }
    }

    // Waiting.

    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> io::Result<Step> {
        self.check_process()?;
        loop {
            if self.since >= LOOK_EVERY {
                self.look_around(false)?;
            }
            if let Some(event) = self.next()? {
                self.since += 1;
                return Ok(Step::Event(event));
            }
            if let Some((key, task, waker)) = self.turn_of.take() {
                self.since += 1;
                return Ok(Step::Turn(key, task, waker));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                if self.since == 0 {
                    return Ok(Step::Late);
                }
                self.look_around(false)?;
            } else if !self.spin(deadline) {
                self.sleep(deadline)?;
            }
        }
    }

    /// Asks the kernel what is ready, waiting for it if it may.
    fn look_around(&mut self, waits: bool) -> io::Result<()> {
        self.since = 0;
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = (!waits).then_some(&at_once);
        let mut events = [MaybeUninit::uninit(); BATCH];
        let happened = match epoll::wait(&self.epoll, &mut events, timeout) {
            Ok((happened, _)) => happened,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in happened.iter() {
            match event.data.u64() {
                BELL => {
                    let mut told = std::mem::take(&mut self.told);
                    self.woken |= self.bell.answer(&mut told);
                    told.drain(..).for_each(|key| self.attend(key));
                    self.told = told;
                }
                CLOCK => self.clock.rang(),
                bits => self.happened(Key::from_bits(bits), event.flags),
            }
        }
        self.ring_timers();
        Ok(())
    }

    fn happened(&mut self, key: Key, flags: epoll::EventFlags) {
        match self.places.get_mut(key).map(|slot| &mut slot.place) {
            Some(Place::Session(_)) => self.attend(key),
            Some(Place::Descriptor(readiness)) => {
                *readiness = Readiness::of(flags);
                self.enter(key);
            }
            Some(_) => self.enter(key),
            None => {}
        }
    }

    fn ring_timers(&mut self) {
        if self.timers == 0 {
            return;
        }
        let now = Instant::now();
        while let Some((due, key)) = self.clock.take_due(now) {
            if is_timer(&mut self.places, key, due) {
                self.enter(key);
            }
        }
    }

    /// Looks at the round for as long as recent waits make it likely that something comes. Whether there is reason to go on.
    fn spin(&mut self, deadline: Option<Instant>) -> bool {
        if self.round.is_empty() && !self.patience.always_spins() {
            return false;
        }
        if self.patience.always_spins() {
            Heads::of_process().publish_all(); // which a sleep does, and this never comes to one
        }
        let Self { epoll, clock, places, round, patience, .. } = self;
        let (mut looks, mut asks) = (0_u32, false);
        let found = patience.spin(|| {
            looks = looks.wrapping_add(1);
            if looks.is_multiple_of(SPINS) {
                let until = clock.next(deadline);
                asks = is_readable(epoll) || until.is_some_and(|until| Instant::now() >= until);
                if asks {
                    return true;
                }
            }
            let has = |slot: &Slot| matches!(&slot.place, Place::Session(seen) if !seen.is_quiet());
            round.iter().any(|key| places.get_mut(*key).is_some_and(|slot| has(slot)))
        });
        if asks {
            self.since = LOOK_EVERY;
        }
        found
    }

    /// Arms what is in the round, and waits if there is nothing even then.
    fn sleep(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        Heads::of_process().publish_all();
        let idle = self.arm(|_| true);
        if idle {
            self.retain(|seen| {
                seen.idle += 1;
                seen.idle <= PATIENT
            });
            self.clock.set(deadline)?;
            self.look_around(true)?;
            self.patience.slept();
        }
        let Self { places, round, .. } = self;
        for key in round {
            if let Some(Slot { place: Place::Session(seen), .. }) = places.get_mut(*key) {
                seen.disarm();
            }
        }
        Ok(())
    }

    /// A hub that never sleeps: what has had nothing for long leaves the round.
    fn let_go(&mut self) {
        let since = self.turn - self.cleared;
        if since < LEAST || since.saturating_mul(self.round.len() as u64) < LOOKS {
            return;
        }
        let (turn, long) = (self.turn, since);
        self.cleared = turn;
        let is_stale = |seen: &Seen| turn.saturating_sub(seen.turn) > long;
        self.arm(is_stale);
        self.retain(|seen| {
            let stays = !is_stale(seen) || !seen.is_quiet();
            if stays {
                seen.disarm();
            }
            stays
        });
    }

    /// Arms these sessions of the round. Whether none of them has anything after the fence: who waits for doorbells then will
    /// hear them.
    fn arm(&mut self, which: impl Fn(&Seen) -> bool) -> bool {
        let Self { places, round, .. } = self;
        for key in &*round {
            if let Some(Slot { place: Place::Session(seen), .. }) = places.get_mut(*key)
                && which(seen)
            {
                seen.arm();
            }
        }
        let mut called = false;
        for key in &*round {
            if let Some(Slot { place: Place::Session(seen), .. }) = places.get_mut(*key)
                && seen.armed
            {
                seen.session.fence_once(&mut called);
            }
        }
        round.iter().all(|key| match places.get_mut(*key) {
            Some(Slot { place: Place::Session(seen), .. }) => seen.is_quiet(),
            _ => true,
        })
    }

    /// Of the sessions in the round only these stay; the others are armed.
    fn retain(&mut self, mut stays: impl FnMut(&mut Seen) -> bool) {
        let Self { places, round, .. } = self;
        round.retain(|key| {
            let Some(slot) = places.get_mut(*key) else { return false };
            let Place::Session(seen) = &mut slot.place else { return true };
            if stays(seen) {
                return true;
            }
            seen.cool();
            slot.in_round = false;
            false
        });
        self.at = 0;
    }
}

fn is_timer(places: &mut Places<Slot>, key: Key, due: Instant) -> bool {
    let place = places.get_mut(key).map(|slot| &slot.place);
    matches!(place, Some(Place::Timer(timer)) if timer.due == due)
}

fn is_readable(epoll: &OwnedFd) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(epoll, PollFlags::IN)];
    poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
}
