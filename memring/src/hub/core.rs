//! What a hub does: it visits what may be ready, and sleeps when nothing is.
//!
//! Whatever may have something is in the [round](Round) and is visited in turn. What has nothing leaves it, to be brought back by the
//! kernel's word (an epoll), by another thread's (the [`Bell`]) or by its owner's touch. Sessions stay for a while before that,
//! unarmed, because what was busy will be again; when nothing is ready they are armed, and looked at once more.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use memring_ring::fork::{Generation, generation};
use memring_ring::heads::Heads;
use memring_ring::lookout::Lookout;
use memring_ring::{Patience, Wait};
use memring_transport::Session;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;

use super::bell::Bell;
use super::clock::{Clock, Timer};
use super::key::{Key, Places};
use super::place::{Kind, Place, Slot, Task};
use super::round::{Round, Visit};
use super::seen::{Seen, State};
use super::{Event, Readiness, Signal};

/// Events between two looks at what the kernel has to say.
const LOOK_EVERY: u32 = 64;
/// The same, in looks at the round of a hub that spins; a power of two, for the count wraps.
const SPINS: u32 = 128;
/// Descriptors that one look takes.
const BATCH: usize = 64;

// No key is any of these: its generation is smaller.
const BELL: u64 = u64::MAX;
const CLOCK: u64 = u64::MAX - 1;

pub(super) struct Core {
    generation: Generation,
    pub(super) epoll: OwnedFd,
    pub(super) bell: Arc<Bell>,
    clock: Clock,
    places: Places<Slot>,
    round: Round,
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

/// What a wait comes to.
pub(super) enum Step {
    Event(Event),
    /// This has its turn, without the hub in use.
    Turn(Key, Task, Waker),
    /// The deadline has passed.
    Late,
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
            round: Round::default(),
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
            let seen = Seen::new(Arc::clone(session), lookout, notifier, Rc::clone(&state));
            Ok::<_, io::Error>(Slot::new(Place::Session(seen)))
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
            Ok(Slot::new(place))
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
            Ok::<_, io::Error>(Slot::new(Place::Task(Some(task), bell.teller(key))))
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
        if slot.place.kind() != kind {
            return false;
        }
        if slot.in_round {
            self.round.remove(key);
        }
        match self.places.remove(key).map(|slot| slot.place) {
            Some(Place::Session(mut seen)) => seen.leave(self.epoll.as_fd()),
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
                Some(Place::Session(seen)) => Some(Arc::clone(seen.session())),
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
        self.round.enter(&mut self.places, key);
    }

    /// The owner of a member is about to use it.
    pub(super) fn touch(&mut self, key: Key) {
        if let Some(Slot { place: Place::Session(seen), .. }) = self.places.get_mut(key) {
            seen.warm(self.round.turn());
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
        seen.attend(self.epoll.as_fd());
        self.touch(key);
    }

    /// Goes through the round once, or until something is ready.
    fn next(&mut self) -> io::Result<Option<Event>> {
        if std::mem::take(&mut self.woken) {
            return Ok(Some(Event::Woken));
        }
        let mut left = self.round.len();
        while left > 0
            && let Some(key) = self.round.next(&mut self.places)
        {
            left -= 1;
            let visit = self.visit(key)?;
            self.round.visited(&mut self.places, &visit);
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
            Place::Session(seen) => seen.visit(key, self.round.turn()),
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
            Place::Session(seen) => seen.rest(self.epoll.as_fd()),
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
            Some(Place::Session(seen)) => Arc::ptr_eq(seen.session(), session),
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
            !round.is_quiet(places)
        });
        if asks {
            self.since = LOOK_EVERY;
        }
        found
    }

    /// Arms what is in the round, and waits if there is nothing even then.
    fn sleep(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        Heads::of_process().publish_all();
        if self.round.arm(&mut self.places, |_| true) {
            self.round.retain(&mut self.places, Seen::idles);
            self.clock.set(deadline)?;
            self.look_around(true)?;
            self.patience.slept();
        }
        self.round.disarm(&mut self.places);
        Ok(())
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
