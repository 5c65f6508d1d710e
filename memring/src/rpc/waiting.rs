//! Waiting: whoever waits reads for all.
//!
//! A thread that finds the receiving half free takes it, files what is for others, and stops at what is for itself; one that
//! finds it taken sleeps, until its own was filed or it is to read.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use memring_ring::buffer::Buffer;
use memring_ring::consumer::{Item, RecvError as LaneRecvError, TryRecvError as LaneTryRecvError};
use memring_ring::halves::Which;

use super::carrier::Came;
use super::receiving::Mine;
use super::running::Place;
use super::shared::{HeldHalves, SLICE, Shared};
use super::table::{Job, Packet, Table};
use super::waiter::Waiter;
use super::wire::Header;
use crate::arrived::Arrived;
use crate::error::End;

/// Why a wait ended without what it was for.
pub(crate) enum Stopped {
    TimedOut,
    Ended(End),
}

/// What a wait was for.
pub(crate) enum Got<'a, T> {
    /// Another thread had filed it.
    Ready(T),
    /// It was read just now, and lies where it was read.
    Here(Here<'a>),
}

/// A packet in the receiving half, which nobody else can use as long as this lives.
pub(crate) struct Here<'a> {
    pub(super) held: HeldHalves<'a>,
    pub header: Header,
    pub call: u64,
    pub(super) item: Item,
    pub(super) arrived: Option<Arc<Arrived>>,
    pub(super) place: Option<Place>,
}

impl<'a> Here<'a> {
    /// Its body.
    #[inline]
    pub(crate) fn body(&self) -> &[u8] {
        let bytes = self.held.received().consumer.bytes(&self.item);
        bytes.get(self.header.body_at()..).unwrap_or_default()
    }

    /// What came with it.
    #[inline]
    pub(crate) fn came(&self) -> Option<Came> {
        self.arrived.as_ref().map(|arrived| Came(Arc::clone(arrived)))
    }

    /// Takes it out, into this memory, and lets others read.
    #[inline]
    pub(crate) fn take(mut self, spare: Buffer) -> Job {
        let memory = self.held.receiving().consumer.take(&self.item, spare);
        let arrived = self.arrived.take();
        let packet = Packet { header: self.header, call: self.call, memory, arrived };
        Job { packet, place: self.place.take() }
    }
}

/// What lies in the lane after some of it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lies {
    Nothing,
    /// Perhaps more.
    More,
    /// What is not read until calls that wait have begun.
    Crowded,
    /// The session is over.
    Over,
}

/// Where a thread that reads has stopped.
pub(super) enum Found<T> {
    /// Something that was filed.
    Filed(T),
    /// A packet that came for the thread itself.
    Mine(Mine),
}

impl Shared {
    /// Waits until `ready` finds something in the table, or a packet comes that is `mine`.
    pub(crate) fn wait<T>(
        &self,
        serves: bool,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut Table) -> Option<T>,
        mine: impl Fn(&Header, u64) -> bool,
        waiter: impl Fn(&mut Table, Waiter) -> Option<Waiter>,
    ) -> Result<Got<'_, T>, Stopped> {
        if self.is_forked() {
            return Err(Stopped::Ended(End::Forked));
        }
        loop {
            let held = self.try_take(Which::RECEIVING).or_else(|| self.take_parked(false));
            if let Some(held) = held {
                return self.wait_reading(held, serves, deadline, ready, mine);
            }
            let mut table = self.table();
            // Before it looks: what changes without the table's lock finds whom to wake, or is seen.
            let before = waiter(&mut table, Waiter::here());
            let looked = match ready(&mut table) {
                Some(found) => Err(Ok(Got::Ready(found))),
                None => match table.end() {
                    Some(end) => Err(Err(Stopped::Ended(end.clone()))),
                    None => Ok(table.sleeps(Waiter::here(), Which::RECEIVING, serves)),
                },
            };
            drop(table);
            drop(before); // not under the lock: a waker may do anything
            let number = match looked {
                Ok(number) => number,
                Err(over) => return over,
            };
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            self.sleep_unless_free(Which::RECEIVING, left);
            let (chosen, found) = {
                let mut table = self.table();
                (table.woke(number).is_none(), ready(&mut table))
            };
            if let Some(found) = found {
                if chosen {
                    self.hand_on(Which::RECEIVING); // another reads in its place
                }
                return Ok(Got::Ready(found));
            }
            if left.is_some_and(|left| left.is_zero()) {
                if chosen {
                    self.hand_on(Which::RECEIVING);
                }
                return Err(Stopped::TimedOut);
            }
        }
    }

    /// Waits until `ready` finds something in the table, for a thread that gets nothing but by that.
    pub(crate) fn wait_filed<T>(
        &self,
        deadline: Option<Instant>,
        ready: impl FnMut(&mut Table) -> Option<T>,
        waiter: impl Fn(&mut Table, Waiter) -> Option<Waiter>,
    ) -> Result<T, Stopped> {
        match self.wait(false, deadline, ready, |_, _| false, waiter)? {
            Got::Ready(found) => Ok(found),
            Got::Here(_) => Err(Stopped::Ended(End::Local)), // never: no packet is its own
        }
    }

    /// The same as [`wait`](Self::wait), of a thread that has the receiving half, and perhaps both.
    pub(super) fn wait_reading<'a, T>(
        &'a self,
        mut held: HeldHalves<'a>,
        serves: bool,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut Table) -> Option<T>,
        mine: impl Fn(&Header, u64) -> bool,
    ) -> Result<Got<'a, T>, Stopped> {
        // Nobody files anything from here on but this thread.
        let found = if self.may_be_filed(serves) { ready(&mut self.table()) } else { None };
        let read = match found {
            Some(found) => Ok(Found::Filed(found)),
            None => self.read_until(&mut held, serves, deadline, ready, mine),
        };
        match read {
            Ok(Found::Mine(Mine { header, item, arrived, place })) => {
                let call = item.tag;
                Ok(Got::Here(Here { held, header, call, item, arrived, place }))
            }
            Ok(Found::Filed(found)) => Ok(Got::Ready(found)),
            Err(stopped) => Err(stopped),
        }
    }

    /// Reads, files what is for others, and stops at what is for this thread. It does not come soon, so the sending half is
    /// given back.
    pub(super) fn read_until<T>(
        &self,
        held: &mut HeldHalves<'_>,
        serves: bool,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut Table) -> Option<T>,
        mine: impl Fn(&Header, u64) -> bool,
    ) -> Result<Found<T>, Stopped> {
        if held.has().any_of(Which::SENDING) {
            held.give_back(Which::SENDING);
        }
        self.read_on(held, serves, deadline, &mut ready, &mine)
    }

    /// The same, where it does not come soon.
    #[inline(never)]
    fn read_on<T>(
        &self,
        held: &mut HeldHalves<'_>,
        serves: bool,
        deadline: Option<Instant>,
        ready: &mut impl FnMut(&mut Table) -> Option<T>,
        mine: &impl Fn(&Header, u64) -> bool,
    ) -> Result<Found<T>, Stopped> {
        loop {
            self.pay(held);
            let receiving = held.receiving();
            let until = if !self.owes() {
                deadline
            } else {
                let soon = Instant::now() + SLICE;
                Some(deadline.map_or(soon, |deadline| deadline.min(soon)))
            };
            if !serves && self.is_crowded() {
                // What is behind has to wait until some of that has begun.
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Err(Stopped::TimedOut);
                }
                thread::sleep(SLICE);
                continue;
            }
            let item = match receiving.consumer.recv(until) {
                Ok(item) => item,
                Err(LaneRecvError::TimedOut) if until == deadline => {
                    return Err(Stopped::TimedOut);
                }
                Err(LaneRecvError::Ended(end)) => {
                    return Err(Stopped::Ended(self.over(held, end)));
                }
                Err(_) => continue,
            };
            match self.sort(held, item, mine) {
                Ok(Some(mine)) => return Ok(Found::Mine(mine)),
                Ok(None) => {
                    let found = ready(&mut self.table());
                    if let Some(found) = found {
                        return Ok(Found::Filed(found));
                    }
                }
                Err(broken) => return Err(Stopped::Ended(self.broken(held, broken))),
            }
        }
    }

    /// The next message if it comes soon, while nobody else wants the sending half. Most are `usual` bytes long.
    #[inline(always)]
    pub(super) fn next_soon(&self, held: &mut HeldHalves<'_>, usual: usize) -> Option<Item> {
        let stop = || self.halves.is_wanted(Which::SENDING);
        let consumer = &mut held.receiving().consumer;
        let item = consumer.next_soon_unless(usual, stop)?;
        Some(consumer.align(item).unwrap_or(item))
    }

    /// Files what lies in the lane, and waits for nothing.
    pub(super) fn read_what_is_there(&self, held: &mut HeldHalves<'_>) {
        self.read_some(held, u32::MAX);
    }

    /// The same, of so many packets at most.
    pub(super) fn read_some(&self, held: &mut HeldHalves<'_>, most: u32) -> Lies {
        self.pay(held);
        for _ in 0..most {
            if self.is_crowded() {
                return Lies::Crowded;
            }
            match held.receiving().consumer.try_recv() {
                Ok(item) => {
                    if let Err(broken) = self.sort(held, item, &|_, _| false) {
                        self.broken(held, broken);
                        return Lies::Over;
                    }
                }
                Err(LaneTryRecvError::Ended(end)) => {
                    self.over(held, end);
                    return Lies::Over;
                }
                Err(_) => return Lies::Nothing,
            }
        }
        Lies::More
    }

    /// Looks whether something came that changes what runs, such as a cancellation.
    pub(crate) fn look(&self) {
        if self.is_forked() {
            return;
        }
        let held = self.try_take(Which::RECEIVING).or_else(|| self.take_parked(true));
        if let Some(mut held) = held {
            self.read_what_is_there(&mut held);
        }
    }

    /// What a packet that was taken is, for a thread that waits for calls.
    #[cold]
    pub(super) fn look_closer<'a>(
        &'a self,
        mut held: HeldHalves<'a>,
        item: Item,
    ) -> Result<Option<Here<'a>>, End> {
        let call = item.tag;
        match self.sort(&mut held, item, &|header, _| header.is_call()) {
            Ok(Some(Mine { header, item, arrived, place })) => {
                Ok(Some(Here { held, header, call, item, arrived, place }))
            }
            Ok(None) => Ok(None),
            Err(broken) => Err(self.broken(&mut held, broken)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::session::Calls;
    use super::*;

    #[test]
    fn what_changes_between_a_look_and_the_sleep_wakes() {
        let (channel, _peer) = crate::pair::<Calls>().expect("a pair");
        let shared = Shared::new(channel, 8);
        let reads = shared.try_take(Which::RECEIVING).expect("nobody has it");
        let place = shared.running.begin(1, 0, 8).expect("room");
        let running = shared.running.at(place);
        let mut looks = 0;
        let ready = |_: &mut Table| {
            looks += 1;
            let found = running.is_cancelled().then_some(());
            if looks == 1 {
                shared.running.cut(1);
            }
            found
        };
        let soon = Instant::now() + Duration::from_secs(10);
        let waiter = |_: &mut Table, waiter| running.set_waiter(waiter);
        assert!(shared.wait_filed(Some(soon), ready, waiter).is_ok(), "it slept on");
        drop(reads);
    }
}
