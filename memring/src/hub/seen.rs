//! A session in a hub: what the hub knows of it, and shares with the owner of its member.
//!
//! Whether it may have something shows in its lane, or came over its control socket. It is armed before the hub sleeps, and cold
//! once it has left the round. When each of that is due is the [round's](super::round) business.

use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::sync::Arc;

use memring_ring::lookout::{Lookout, Sight};
use memring_transport::{Notifier, Session};

use super::Event;
use super::key::Key;
use super::round::Visit;
use crate::error::end_of;

/// Sleeps that a session stays in the round without having had anything.
const PATIENT: u32 = 4;

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
    pub(super) fn new(
        session: Arc<Session>,
        lookout: Lookout,
        notifier: Arc<Notifier>,
        state: Rc<State>,
    ) -> Self {
        Self {
            session,
            lookout,
            notifier,
            state,
            armed: false,
            has_room: false,
            asked: false,
            closed: false,
            idle: 0,
            turn: 0,
        }
    }

    pub(super) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Reads what came over its control socket. What that says shows when it is visited.
    pub(super) fn attend(&mut self, epoll: BorrowedFd<'_>) {
        let _what_it_says_shows_later = self.session.begin_to_arm(&self.notifier);
        self.leave_if_over(epoll);
        self.has_room |= self.state.room.take();
        self.asked |= self.session.has_news_of_channels(&self.notifier);
    }

    /// Looks whether it has something, in this turn of the round.
    #[inline]
    pub(super) fn visit(&mut self, key: Key, turn: u64) -> Visit {
        if std::mem::take(&mut self.has_room) {
            return Visit::Has(Event::Room(key));
        }
        if std::mem::take(&mut self.asked) {
            return Visit::Has(Event::Asked(key));
        }
        if self.closed {
            return Visit::Leaves;
        }
        match self.sight() {
            Sight::Nothing => Visit::Nothing,
            Sight::Something => {
                self.idle = 0;
                self.turn = turn;
                Visit::Has(Event::Readable(key))
            }
            Sight::Ended(end) => {
                self.closed = true;
                Visit::Last(Event::Closed(key, end_of(end, self.session.peer())))
            }
        }
    }

    /// Its end was said: nothing is received any more.
    pub(super) fn rest(&mut self, epoll: BorrowedFd<'_>) {
        self.leave_if_over(epoll);
        self.disarm();
        self.lookout.rest();
    }

    /// It is in the hub no more.
    pub(super) fn leave(&mut self, epoll: BorrowedFd<'_>) {
        self.session.leave_hub(epoll);
        self.warm(0);
    }

    fn leave_if_over(&self, epoll: BorrowedFd<'_>) {
        if self.session.life().end().is_some() {
            self.session.leave_hub(epoll);
        }
    }

    /// Whether a visit would come to nothing.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        !self.has_room && !self.asked && (self.closed || self.sight() == Sight::Nothing)
    }

    #[inline]
    fn sight(&self) -> Sight {
        match self.lookout.sight() {
            Sight::Something if self.state.paused.get() => Sight::Nothing,
            sight => sight,
        }
    }

    /// Whether it has had nothing for more turns than that.
    pub(super) fn is_stale(&self, turn: u64, long: u64) -> bool {
        turn.saturating_sub(self.turn) > long
    }

    /// The hub is about to sleep, and this has nothing. Whether it stays in the round all the same.
    pub(super) fn idles(&mut self) -> bool {
        self.idle += 1;
        self.idle <= PATIENT
    }

    pub(super) fn arm(&mut self) {
        if !self.armed && !self.state.paused.get() {
            self.armed = true;
            self.lookout.ask_doorbell();
        }
    }

    /// Passes the fence that an arming needs; one goes for many.
    pub(super) fn fence_once(&self, called: &mut bool) {
        if self.armed {
            self.session.fence_once(called);
        }
    }

    pub(super) fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.lookout.take_back_doorbell();
        }
    }

    /// It leaves the round, armed.
    pub(super) fn cool(&mut self) {
        self.state.cold.set(true);
        self.lookout.rest();
    }

    /// It is to be visited.
    pub(super) fn warm(&mut self, turn: u64) {
        self.disarm();
        if self.state.cold.take() {
            self.lookout.resume();
        }
        self.idle = 0;
        self.turn = turn;
    }
}
