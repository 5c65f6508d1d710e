//! Asking, and waiting for the answer.
//!
//! Most questions are asked by a thread that has both halves to itself: it is on no list, and what it waits for comes to
//! itself. The others are noted in the table.

use std::sync::atomic::Ordering;
use std::time::Instant;

use memring_ring::consumer::Item;
use memring_ring::halves::Which;

use super::carrier::Came;
use super::receiving::Mine;
use super::sending::{Body, NotSent, Sending, SmallPacket};
use super::shared::{HeldHalves, Shared};
use super::table::{Asked, Table};
use super::waiting::{Found, Got, Here, Stopped};
use super::wire::Header;
use crate::error::End;

/// Why a call has no answer.
pub(crate) enum Unanswered {
    NotSent(NotSent),
    /// The peer was told that nobody waits.
    Stopped(Stopped),
}

impl Shared {
    /// Asks and waits for the answer, with both halves if nobody else has one. What most calls come to is all here, in one
    /// piece; what is rare is elsewhere.
    #[inline(always)]
    pub(crate) fn call<B: Body, T>(
        &self,
        header: Header,
        body: &B,
        deadline: Option<Instant>,
        read: impl FnOnce(Header, &[u8], Option<Came>) -> T,
    ) -> Result<T, Unanswered> {
        let mut packet = SmallPacket::default();
        if B::CARRIES || self.is_forked() || !packet.fill(header, body) {
            return self.call_with_scratch(header, body, deadline, read);
        }
        let Some(mut held) = self.try_take(Which::BOTH) else {
            return self.call_among_others(header, body, deadline, read);
        };
        let Some(call) = self.ask_alone(held.sending(), packet.bytes()) else {
            drop(held);
            return self.call_among_others(header, body, deadline, read);
        };
        // Most answers come soon, alone, and carry nothing.
        let item = self.next_soon(&mut held);
        if let Some(item) = &item
            && item.tag == call
            && !item.has_fds()
        {
            let packet = held.receiving().consumer.bytes(item);
            if let Some(header) = Header::plain_answer(packet)
                && let Some(body) = packet.get(header.body_at()..)
            {
                return Ok(read(header, body, None));
            }
        }
        self.answer_alone(held, item, call, deadline, read)
    }

    /// The same, of a question that has to be encoded first.
    #[inline(never)]
    fn call_with_scratch<B: Body, T>(
        &self,
        header: Header,
        body: &B,
        deadline: Option<Instant>,
        read: impl FnOnce(Header, &[u8], Option<Came>) -> T,
    ) -> Result<T, Unanswered> {
        if B::CARRIES || self.is_forked() {
            return self.call_among_others(header, body, deadline, read);
        }
        let asked = self.with_packet(header, body, |packet| {
            let mut held = self.try_take(Which::BOTH)?;
            let call = self.ask_alone(held.sending(), packet)?;
            Some((held, call))
        });
        match asked {
            Err(error) => Err(Unanswered::NotSent(error.into())),
            Ok(None) => self.call_among_others(header, body, deadline, read),
            Ok(Some((mut held, call))) => {
                let item = self.next_soon(&mut held);
                self.answer_alone(held, item, call, deadline, read)
            }
        }
    }

    /// Sends a question by who has both halves, on no list. Its number; `None` if that cannot be now.
    #[inline(always)]
    fn ask_alone(&self, sending: &mut Sending, packet: &[u8]) -> Option<u64> {
        let call = sending.last + 1;
        if !self.may_ask() || sending.out.producer().try_send(packet, call).is_err() {
            return None;
        }
        sending.last = call;
        Some(call)
    }

    /// Waits for the answer to such a question, of which `item` may be one.
    #[inline(never)]
    fn answer_alone<T>(
        &self,
        mut held: HeldHalves<'_>,
        item: Option<Item>,
        call: u64,
        deadline: Option<Instant>,
        read: impl FnOnce(Header, &[u8], Option<Came>) -> T,
    ) -> Result<T, Unanswered> {
        let mine = |header: &Header, of: u64| of == call && header.is_answer();
        let sorted = match item {
            Some(item) => match self.sort(&mut held, item, &mine) {
                Ok(sorted) => sorted,
                Err(broken) => {
                    let end = self.broken(&mut held, broken);
                    return Err(Unanswered::Stopped(Stopped::Ended(end)));
                }
            },
            None => None,
        };
        let came = match sorted {
            Some(mine) => Ok(Found::Mine(mine)),
            None => {
                // ORDERING: Relaxed; whoever counts questions has the sending half, and gets it from this thread.
                self.alone.store(1, Ordering::Relaxed);
                let none = |_: &mut Table| None::<()>;
                let came = self.read_until(&mut held, false, deadline, none, mine);
                if let Err(Stopped::TimedOut) = came {
                    // Note is taken of it before another thread could read its answer.
                    self.with_asked(|table| table.add_abandoned(call));
                }
                // ORDERING: Relaxed; who sees it late takes the bound for closer than it is.
                self.alone.store(0, Ordering::Relaxed);
                came
            }
        };
        match came {
            Ok(Found::Mine(Mine { header, item, arrived, place })) => {
                let here = Here { held, header, call, item, arrived, place };
                Ok(read(header, here.body(), here.came()))
            }
            Ok(Found::Filed(())) => {
                // Never: nothing is ready for who is on no list.
                Err(Unanswered::Stopped(Stopped::Ended(End::Local)))
            }
            Err(stopped) => {
                drop(held);
                if let Stopped::TimedOut = stopped {
                    self.tell_cancelled(call);
                }
                Err(Unanswered::Stopped(stopped))
            }
        }
    }

    /// Asks and waits as one among others.
    #[inline(never)]
    fn call_among_others<B: Body, T>(
        &self,
        header: Header,
        body: &B,
        deadline: Option<Instant>,
        read: impl FnOnce(Header, &[u8], Option<Came>) -> T,
    ) -> Result<T, Unanswered> {
        let asked = Asked::Waiting(None);
        let call = self.ask(header, body, asked, deadline).map_err(Unanswered::NotSent)?;
        self.answer(call, deadline, read).map_err(|stopped| {
            self.cancel(call);
            Unanswered::Stopped(stopped)
        })
    }

    /// Waits for the answer to a question, and reads it where it lies.
    pub(crate) fn answer<T>(
        &self,
        call: u64,
        deadline: Option<Instant>,
        read: impl FnOnce(Header, &[u8], Option<Came>) -> T,
    ) -> Result<T, Stopped> {
        let ready = |table: &mut Table| table.take_answer(call);
        let mine = |header: &Header, of: u64| of == call && header.is_answer();
        let waiter = |table: &mut Table, waiter| table.set_waiter(call, waiter);
        match self.wait(false, deadline, ready, mine, waiter)? {
            Got::Ready(packet) => {
                self.with_asked(|_| {});
                Ok(read(packet.header, packet.body(), packet.came()))
            }
            Got::Here(here) => {
                self.with_asked(|table| table.forget(call));
                Ok(read(here.header, here.body(), here.came()))
            }
        }
    }
}
