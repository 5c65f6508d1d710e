//! Asking, and waiting for the answer.
//!
//! Most questions are asked by a thread that has both halves to itself: it is on no list, and what it waits for comes to
//! itself. The others are noted in the table.

use std::sync::atomic::Ordering;
use std::time::Instant;

use memring_ring::consumer::{Consumer, Item};
use memring_ring::halves::Which;

use super::carrier::Came;
use super::receiving::Mine;
use super::sending::{Body, NotSent, Outgoing, Sending};
use super::shared::{HeldHalves, Shared};
use super::table::{Expects, Packet, Table};
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
    /// piece; what is rare is elsewhere. Most answers are `usual` bytes long, or anything if it is 0.
    #[inline(always)]
    pub(crate) fn call<B: Body, T>(
        &self,
        header: Header,
        body: &B,
        deadline: Option<Instant>,
        usual: usize,
        read: impl FnOnce(Header, &[u8], Option<Came>) -> T,
    ) -> Result<T, Unanswered> {
        if B::CARRIES || self.is_forked() {
            return self.call_among_others(header, body, deadline, read);
        }
        let Some(packet) = Outgoing::small(header, body) else {
            return self.call_with_scratch(header, body, deadline, read);
        };
        let Some(mut held) = self.try_take(Which::BOTH) else {
            return self.call_among_others(header, body, deadline, read);
        };
        let Some(call) = self.ask_alone(held.sending(), packet) else {
            drop(held);
            return self.call_among_others(header, body, deadline, read);
        };
        // Most answers come soon, alone, and carry nothing.
        let item = self.next_soon(&mut held, usual);
        if let Some(item) = &item
            && let Some((header, body)) = plain_answer(&held.received().consumer, item, call)
        {
            return Ok(read(header, body, None));
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
        let asked = self.with_packet(header, body, |packet| {
            let mut held = self.try_take(Which::BOTH)?;
            let call = self.ask_alone(held.sending(), packet)?;
            Some((held, call))
        });
        match asked {
            Err(error) => Err(Unanswered::NotSent(error.into())),
            Ok(None) => self.call_among_others(header, body, deadline, read),
            Ok(Some((mut held, call))) => {
                let item = self.next_soon(&mut held, 0);
                self.answer_alone(held, item, call, deadline, read)
            }
        }
    }

    /// Asks with the sending half alone, if nothing stands in the way. The question's number.
    #[inline(always)]
    pub(crate) fn ask_at_once<B: Body>(&self, header: Header, body: &B) -> Option<u64> {
        if B::CARRIES || self.is_forked() || self.tasks.has_line() {
            return None;
        }
        let packet = Outgoing::small(header, body)?;
        let mut held = self.try_take(Which::SENDING)?;
        let sending = held.sending();
        let call = sending.last + 1;
        if self.noted.count() >= self.room_to_ask() || !self.noted.note(call) {
            return None;
        }
        if !packet.put(sending, call) {
            drop(self.forget(call));
            return None;
        }
        sending.last = call;
        Some(call)
    }

    /// Sends a question by who has both halves, on no list. Its number; `None` if that cannot be now.
    #[inline(always)]
    fn ask_alone(&self, sending: &mut Sending, packet: Outgoing<'_>) -> Option<u64> {
        let call = sending.last + 1;
        // Who owes something is to read closely, and pays then.
        if !self.may_ask() || self.owes() || !packet.put(sending, call) {
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
                    self.table().add_abandoned(call);
                }
                // ORDERING: Release; pairs with the Acquire in `room_to_ask`. Who sees it late takes the bound for closer than it is.
                self.alone.store(0, Ordering::Release);
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
        let call =
            self.ask(header, body, Expects::Answer, deadline).map_err(Unanswered::NotSent)?;
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
        let got = self.wait(false, deadline, ready, mine, waiter)?;
        Ok(self.read_answer(call, got, read))
    }

    /// The answer to a question, if it lies next in the lane, and nobody else reads.
    #[inline(always)]
    pub(crate) fn answer_at_once<T>(
        &self,
        call: u64,
        read: impl FnOnce(Header, &[u8], Option<Came>) -> T,
    ) -> Option<T> {
        // As long as it is only noted nothing was filed for it, and nobody files who has not the receiving half.
        if !self.noted.has(call) || self.is_forked() || self.owes() {
            return None;
        }
        let mut held = self.try_take(Which::RECEIVING)?;
        if !self.noted.has(call) || self.is_crowded() {
            return None;
        }
        let consumer = &mut held.receiving().consumer;
        let item = consumer.next_ready()?;
        let item = consumer.align(item).unwrap_or(item);
        if let Some((header, body)) = plain_answer(consumer, &item, call) {
            self.noted.take(call);
            return Some(read(header, body, None));
        }
        self.sort_for_others(held, item);
        None
    }

    /// Files a packet that was read.
    #[cold]
    fn sort_for_others(&self, mut held: HeldHalves<'_>, item: Item) {
        if let Err(broken) = self.sort(&mut held, item, &|_, _| false) {
            self.broken(&mut held, broken);
        }
    }

    /// Reads an answer that has come.
    fn read_answer<T>(
        &self,
        call: u64,
        got: Got<'_, Packet>,
        read: impl FnOnce(Header, &[u8], Option<Came>) -> T,
    ) -> T {
        match got {
            Got::Ready(packet) => read(packet.header, packet.body(), packet.came()),
            Got::Here(here) => {
                if !self.noted.take(call) {
                    drop(self.forget(call));
                }
                read(here.header, here.body(), here.came())
            }
        }
    }
}

/// The answer to this call, if the item is one that carries nothing.
#[inline(always)]
fn plain_answer<'a>(consumer: &'a Consumer, item: &Item, call: u64) -> Option<(Header, &'a [u8])> {
    if item.tag != call || item.has_fds() {
        return None;
    }
    let packet = consumer.bytes(item);
    let header = Header::plain_answer(packet)?;
    Some((header, packet.get(header.body_at()..)?))
}
