//! A packet on its way out of a task, which waits for room without a thread.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use memring_ring::halves::{Kept, Which};

use super::super::background::Alarm;
use super::super::error::CallError;
use super::super::options::Until;
use super::super::pending::Question;
use super::super::sending::{Body, NotSent, Number, Outgoing};
use super::super::session::not_sent;
use super::super::shared::{HeldHalves, SLICE, Shared};
use super::super::table::Expects;
use super::super::waiter::Waiter;
use super::super::waiting::Stopped;
use super::super::wire::Header;
use crate::error::{End, SendError, TrySendError};

/// A whole packet that was not sent yet. One of which the peer has a part has the sending half until it has all. If it is dropped
/// before, the peer forgets what it has.
pub(crate) struct Departing {
    shared: Weak<Shared>,
    packet: Vec<u8>,
    /// What it is about, or what note is taken of once it is sent.
    about: About,
    /// Bytes that went.
    sent: u64,
    /// The sending half, once a part went.
    kept: Option<Kept>,
    /// In the line of those who wait for room.
    place: Option<u64>,
    /// The number of its sleep, while others have the sending half.
    sleep: Option<u64>,
    /// Where a thread reads, which tells no task of room.
    soon: Option<Alarm>,
}

/// The number of a packet.
enum About {
    Call(u64),
    Question(Option<Expects>),
}

impl Departing {
    fn new(shared: &Shared, packet: Vec<u8>, about: About) -> Self {
        let shared = Weak::clone(&shared.this);
        Self { shared, packet, about, sent: 0, kept: None, place: None, sleep: None, soon: None }
    }

    /// Whether it is one that is answered.
    pub(crate) fn is_question(&self) -> bool {
        matches!(self.about, About::Question(_))
    }

    /// Sends it, if there is room now; otherwise the task is woken when there is. Its number.
    pub(crate) fn poll(
        &mut self,
        shared: &Arc<Shared>,
        context: &Context<'_>,
    ) -> Poll<Result<u64, NotSent>> {
        let sent = self.poll_on(shared, context);
        if sent.is_ready() {
            self.leave(shared);
        }
        sent
    }

    fn poll_on(
        &mut self,
        shared: &Arc<Shared>,
        context: &Context<'_>,
    ) -> Poll<Result<u64, NotSent>> {
        loop {
            if shared.is_forked() {
                return Poll::Ready(Err(SendError::Ended(End::Forked).into()));
            }
            if let Some(end) = shared.table().end() {
                return Poll::Ready(Err(SendError::Ended(end.clone()).into()));
            }
            if !shared.tasks.is_turn(&mut self.place, context) {
                return Poll::Pending;
            }
            let Some(mut held) = self.take(shared, context) else { return Poll::Pending };
            if let Some(sent) = self.try_send(shared, &mut held) {
                return Poll::Ready(sent);
            }
            // In line before it asks: whoever rings after that finds it there.
            shared.tasks.stand_in_line(&mut self.place, context);
            let room = {
                let producer = held.sending().out.producer();
                producer.ask_doorbell();
                shared.session().fence();
                producer.has_room()
            };
            if self.sent != 0 {
                self.kept = Some(held.keep());
                // ORDERING: Relaxed; see `take_sending_unless_stuck`.
                shared.stuck.store(true, Ordering::Relaxed);
            }
            if !room {
                if !shared.tasks.has_reader() {
                    Alarm::set(&mut self.soon, Instant::now() + SLICE, context);
                }
                return Poll::Pending;
            }
        }
    }

    /// Sends it, waiting in the thread. Its number.
    pub(crate) fn send(&mut self, shared: &Arc<Shared>, until: &Until) -> Result<u64, CallError> {
        if shared.is_forked() {
            return Err(CallError::Ended(End::Forked));
        }
        shared.tasks.leave_line(&mut self.place);
        let mut held = match self.take_kept(shared) {
            Some(held) => held,
            None => until.wait(|until| shared.take_sending(until).ok_or(Stopped::TimedOut))?,
        };
        let sent = loop {
            if let Some(sent) = self.try_send(shared, &mut held) {
                break sent.map_err(not_sent);
            }
            let room = until.check().and_then(|()| {
                let room = shared.wait_for_room(&mut held, until.deadline);
                room.map_err(|error| not_sent(error.into()))
            });
            if let Err(error) = room {
                self.forget(shared, &mut held);
                break Err(error);
            }
        };
        // ORDERING: Relaxed; see `take_sending_unless_stuck`.
        shared.stuck.store(false, Ordering::Relaxed);
        drop(held);
        // To sleep it has asked for the doorbell that a task may wait for.
        shared.tasks.next_in_line();
        sent
    }

    /// The sending half, if it was kept.
    fn take_kept<'a>(&mut self, shared: &'a Shared) -> Option<HeldHalves<'a>> {
        let kept = self.kept.take()?;
        // ORDERING: Relaxed; see `take_sending_unless_stuck`.
        shared.stuck.store(false, Ordering::Relaxed);
        Some(shared.held_again(kept))
    }

    /// The sending half, or the task is woken when it may be free.
    fn take<'a>(&mut self, shared: &'a Shared, context: &Context<'_>) -> Option<HeldHalves<'a>> {
        if let Some(held) = self.take_kept(shared) {
            return Some(held);
        }
        loop {
            self.wake_up(shared);
            if let Some(held) = shared.try_take(Which::SENDING) {
                return Some(held);
            }
            let waiter = Waiter::Task(context.waker().clone());
            self.sleep = Some(shared.table().sleeps(waiter, Which::SENDING, false));
            if shared.halves.want(Which::SENDING) {
                return None;
            }
        }
    }

    /// It sleeps no more. Whether it had been chosen for the half.
    fn wake_up(&mut self, shared: &Shared) -> bool {
        let Some(number) = self.sleep.take() else { return false };
        let slept = shared.table().woke(number);
        slept.is_none()
    }

    /// Sends it, or on with it; `None` if there is no room.
    fn try_send(
        &mut self,
        shared: &Shared,
        held: &mut HeldHalves<'_>,
    ) -> Option<Result<u64, NotSent>> {
        try_send(shared, held, Outgoing::Whole(&self.packet), &mut self.about, &mut self.sent)
    }

    /// It is not sent on with: what stands behind it has its turn, and the peer forgets what it has of it.
    pub(crate) fn leave(&mut self, shared: &Shared) {
        if shared.is_forked() {
            return;
        }
        if self.wake_up(shared) {
            shared.hand_on(Which::SENDING);
        }
        if let Some(mut held) = self.take_kept(shared) {
            self.forget(shared, &mut held);
        }
        shared.tasks.leave_line(&mut self.place);
    }

    /// A question of which a part went is not asked after all.
    fn forget(&self, shared: &Shared, held: &mut HeldHalves<'_>) {
        if let About::Question(None) = self.about {
            drop(shared.forget(held.sending().last));
        }
    }
}

impl Drop for Departing {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            self.leave(&shared);
        }
    }
}

/// Sends a packet, or on with one of which so much was sent; `None` if there is no room.
fn try_send(
    shared: &Shared,
    held: &mut HeldHalves<'_>,
    packet: Outgoing<'_>,
    about: &mut About,
    sent: &mut u64,
) -> Option<Result<u64, NotSent>> {
    let sending = held.sending();
    let begun = match about {
        About::Question(expects) => *expects,
        About::Call(_) => None,
    };
    let call = match about {
        About::Call(call) => *call,
        About::Question(expects) => match expects.take() {
            None => sending.last, // a part of it went
            Some(expects) => match shared.number(sending, Number::Next(expects)) {
                Ok(call) => call,
                Err(why) => return Some(Err(why)),
            },
        },
    };
    if *sent == 0 && packet.put(sending, call) {
        return Some(Ok(call));
    }
    match sending.out.try_send_on(&packet.whole(), call, sent) {
        Ok(()) => Some(Ok(call)),
        Err(TrySendError::Full) if *sent != 0 => None,
        Err(error) => {
            if let About::Question(expects) = about {
                // It was not asked, and the next question has its number.
                sending.last -= 1;
                drop(shared.forget(call));
                *expects = begun;
            }
            match error {
                TrySendError::Full => None,
                error => Some(Err(error.waited().into())),
            }
        }
    }
}

impl Shared {
    /// Sends a packet if that can be now; otherwise it is ready to depart.
    pub(in super::super) fn begin_in_task<B: Body>(
        &self,
        header: Header,
        body: &B,
        number: Number,
    ) -> Result<Question, NotSent> {
        self.with_packet(header, body, |packet| self.begin_packet(packet, number))?
    }

    /// The same, of a whole packet.
    pub(in super::super) fn begin_packet(
        &self,
        packet: Outgoing<'_>,
        number: Number,
    ) -> Result<Question, NotSent> {
        let mut about = match number {
            Number::Of(call) => About::Call(call),
            Number::Next(expects) => About::Question(Some(expects)),
        };
        if self.is_forked() {
            return Err(SendError::Ended(End::Forked).into());
        }
        if !self.tasks.has_line()
            && let Some(mut held) = self.try_take(Which::SENDING)
            && packet.len() <= held.sending().out.producer().largest_frame()
            && let Some(sent) = try_send(self, &mut held, packet, &mut about, &mut 0)
        {
            let call = sent?;
            return Ok(match about {
                About::Call(_) => Question::Told,
                About::Question(_) => Question::Asked(call),
            });
        }
        Ok(Question::Departing(Box::new(Departing::new(self, packet.whole().into_owned(), about))))
    }
}
