//! Packets on their way in: what each is, whose it is, and waiting for one's own.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use memring_ring::buffer::{Buffer, copy_fresh};
use memring_ring::consumer::{
    Consumer, Item, RecvError as LaneRecvError, TryRecvError as LaneTryRecvError,
};
use memring_ring::halves::Which;
use memring_transport::Session;

use super::carrier::Came;
use super::running::Place;
use super::sending::{Body, NotSent, SMALL, Sending, SmallPacket};
use super::services::{self, Opened, Services};
use super::shared::{HeldHalves, SLICE, Shared, now_nanos};
use super::stream::FIRST_CREDIT;
use super::table::{Job, Packet, Table};
use super::wire::{Broken, Header, Kind, Opening, Shape};
use crate::arrived::Arrived;
use crate::error::{End, Fault, end_of};

/// The receiving half.
pub(crate) struct Receiving {
    consumer: Consumer,
    /// The number of the peer's last question.
    last: u64,
    /// What the peer opened, by the number of the service.
    opened: Vec<Option<Opened>>,
    fault: Option<Fault>,
    /// How far our clock is ahead of the peer's, in nanoseconds.
    ahead: i64,
}

/// Why a wait ended without what it was for.
pub(crate) enum Stopped {
    TimedOut,
    Ended(End),
}

/// Why a call has no answer.
pub(crate) enum Unanswered {
    NotSent(NotSent),
    /// The peer was told that nobody waits.
    Stopped(Stopped),
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
    shared: &'a Shared,
    held: HeldHalves<'a>,
    pub header: Header,
    pub call: u64,
    item: Item,
    arrived: Option<Arc<Arrived>>,
    place: Option<Place>,
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

impl Drop for Here<'_> {
    #[inline]
    fn drop(&mut self) {
        self.shared.give_back(&mut self.held, Which::BOTH);
    }
}

/// Few arguments, which begin as archives have to.
#[repr(align(16))]
pub(super) struct Small(pub [u8; SMALL]);

/// A call with few arguments.
pub(super) struct SmallCall {
    pub header: Header,
    pub call: u64,
    pub place: Place,
    pub len: usize,
}

/// What the thread that reads was waiting for.
pub(super) struct Mine {
    header: Header,
    item: Item,
    arrived: Option<Arc<Arrived>>,
    place: Option<Place>,
}

enum Read<T> {
    Ready(T),
    Here(Mine),
}

impl Receiving {
    pub(super) fn new(mut consumer: Consumer, session: &Session) -> Self {
        if session.negotiated().takes.any() {
            consumer.take_fds();
        }
        Self { consumer, last: 0, opened: Vec::new(), fault: None, ahead: 0 }
    }

    /// What kind of member a call is for, if the peer may call it.
    #[inline]
    fn shape(&self, header: &Header, services: Option<&Arc<Services>>) -> Result<Shape, Broken> {
        let place = usize::from(header.interface);
        let opened = self.opened.get(place).and_then(Option::as_ref).ok_or(Broken::NotOpened)?;
        let members = services.map_or(&[][..], |services| services.members(place));
        let member = members.get(header.number as usize).ok_or(Broken::Method)?;
        if !opened.allows(header.number as usize) {
            return Err(Broken::Method);
        }
        Ok(member.shape)
    }

    /// A question's number follows the one before.
    #[inline]
    fn in_order(&mut self, call: u64) -> Result<(), Broken> {
        if call <= self.last {
            return Err(Broken::Order);
        }
        self.last = call;
        Ok(())
    }
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
        let Some(mut held) = self.halves.try_take(Which::BOTH) else {
            return self.call_among_others(header, body, deadline, read);
        };
        let Some(call) = self.ask_alone(held.sending(), packet.bytes()) else {
            self.give_back(&mut held, Which::BOTH);
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
                let answer = read(header, body, None);
                self.give_back(&mut held, Which::BOTH);
                return Ok(answer);
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
            let mut held = self.halves.try_take(Which::BOTH)?;
            match self.ask_alone(held.sending(), packet) {
                Some(call) => Some((held, call)),
                None => {
                    self.give_back(&mut held, Which::BOTH);
                    None
                }
            }
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
        if !self.may_ask(sending) || sending.out.producer().try_send(packet, call).is_err() {
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
                    self.give_back(&mut held, Which::BOTH);
                    return Err(Unanswered::Stopped(Stopped::Ended(end)));
                }
            },
            None => None,
        };
        let came = match sorted {
            Some(mine) => Ok(Read::Here(mine)),
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
            Ok(Read::Here(Mine { header, item, arrived, place })) => {
                let here = Here { shared: self, held, header, call, item, arrived, place };
                Ok(read(header, here.body(), here.came()))
            }
            Ok(Read::Ready(())) => {
                // Never: nothing is ready for who is on no list.
                self.give_back(&mut held, Which::BOTH);
                Err(Unanswered::Stopped(Stopped::Ended(End::Local)))
            }
            Err(stopped) => {
                self.give_back(&mut held, Which::BOTH);
                if let Stopped::TimedOut = stopped {
                    self.tell_cancelled(call);
                }
                Err(Unanswered::Stopped(stopped))
            }
        }
    }

    /// The next message if it comes soon, while nobody else wants the sending half.
    #[inline(always)]
    pub(super) fn next_soon(&self, held: &mut HeldHalves<'_>) -> Option<Item> {
        let stop = || self.halves.is_wanted(Which::SENDING);
        let consumer = &mut held.receiving().consumer;
        let item = consumer.next_soon_unless(stop)?;
        Some(consumer.align(item).unwrap_or(item))
    }

    /// A call that came alone, carries nothing, and has few arguments, which are copied out: what most calls are. Both halves
    /// are given back with it. Anything else stays for a closer look.
    #[inline]
    pub(super) fn take_small_call(
        &self,
        held: &mut HeldHalves<'_>,
        item: Item,
        into: &mut Small,
    ) -> Option<SmallCall> {
        let receiving = held.receiving();
        let packet = receiving.consumer.bytes(&item);
        let header = Header::plain_call(packet)?;
        let body = packet.get(header.body_at()..)?;
        let len = body.len();
        if item.has_fds() || len > into.0.len() || item.tag <= receiving.last {
            return None;
        }
        if receiving.shape(&header, self.services.get()).ok()? != Shape::Call {
            return None;
        }
        let place = self.running.begin(item.tag, 0, self.most_running).ok()?;
        copy_fresh(&mut into.0[..len], body);
        receiving.last = item.tag;
        self.give_back(held, Which::BOTH);
        Some(SmallCall { header, call: item.tag, place, len })
    }

    #[inline(never)]
    fn call_among_others<B: Body, T>(
        &self,
        header: Header,
        body: &B,
        deadline: Option<Instant>,
        read: impl FnOnce(Header, &[u8], Option<Came>) -> T,
    ) -> Result<T, Unanswered> {
        let asked = super::table::Asked::Waiting(None);
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
                let came = packet.arrived.as_ref().map(|arrived| Came(Arc::clone(arrived)));
                Ok(read(packet.header, packet.body(), came))
            }
            Got::Here(here) => {
                self.with_asked(|table| table.forget(call));
                Ok(read(here.header, here.body(), here.came()))
            }
        }
    }

    /// Waits until `ready` finds something in the table, or a packet comes that is `mine`.
    pub(crate) fn wait<T>(
        &self,
        serves: bool,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut Table) -> Option<T>,
        mine: impl Fn(&Header, u64) -> bool,
        waiter: impl Fn(&mut Table, Thread),
    ) -> Result<Got<'_, T>, Stopped> {
        if self.is_forked() {
            return Err(Stopped::Ended(End::Forked));
        }
        loop {
            if let Some(held) = self.halves.try_take(Which::RECEIVING) {
                return self.wait_reading(held, serves, deadline, ready, mine);
            }
            let number = {
                let mut table = self.table();
                if let Some(found) = ready(&mut table) {
                    return Ok(Got::Ready(found));
                }
                if let Some(end) = table.end() {
                    return Err(Stopped::Ended(end.clone()));
                }
                waiter(&mut table, thread::current());
                table.sleeps(thread::current(), Which::RECEIVING, serves)
            };
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            self.sleep_unless_free(Which::RECEIVING, left);
            let (chosen, found) = {
                let mut table = self.table();
                (!table.woke(number), ready(&mut table))
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

    /// The same, of a thread that has the receiving half, and perhaps both.
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
            Some(found) => Ok(Read::Ready(found)),
            None => self.read_until(&mut held, serves, deadline, ready, mine),
        };
        match read {
            Ok(Read::Here(Mine { header, item, arrived, place })) => {
                let call = item.tag;
                Ok(Got::Here(Here { shared: self, held, header, call, item, arrived, place }))
            }
            Ok(Read::Ready(found)) => {
                self.give_back(&mut held, Which::BOTH);
                Ok(Got::Ready(found))
            }
            Err(stopped) => {
                self.give_back(&mut held, Which::BOTH);
                Err(stopped)
            }
        }
    }

    /// Reads, files what is for others, and stops at what is for this thread. It does not come soon, so the sending half is
    /// given back.
    fn read_until<T>(
        &self,
        held: &mut HeldHalves<'_>,
        serves: bool,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut Table) -> Option<T>,
        mine: impl Fn(&Header, u64) -> bool,
    ) -> Result<Read<T>, Stopped> {
        self.give_back(held, Which::SENDING);
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
    ) -> Result<Read<T>, Stopped> {
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
                Ok(Some(mine)) => return Ok(Read::Here(mine)),
                Ok(None) => {
                    let found = ready(&mut self.table());
                    if let Some(found) = found {
                        return Ok(Read::Ready(found));
                    }
                }
                Err(broken) => return Err(Stopped::Ended(self.broken(held, broken))),
            }
        }
    }

    /// Files what lies in the lane, and waits for nothing.
    pub(super) fn read_what_is_there(&self, held: &mut HeldHalves<'_>) {
        self.pay(held);
        while !self.is_crowded() {
            match held.receiving().consumer.try_recv() {
                Ok(item) => {
                    if let Err(broken) = self.sort(held, item, &|_, _| false) {
                        self.broken(held, broken);
                        return;
                    }
                }
                Err(LaneTryRecvError::Ended(end)) => {
                    self.over(held, end);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Looks whether something came that changes what runs, such as a cancellation.
    pub(crate) fn look(&self) {
        if self.is_forked() {
            return;
        }
        if let Some(mut held) = self.halves.try_take(Which::RECEIVING) {
            self.read_what_is_there(&mut held);
            self.give_back(&mut held, Which::RECEIVING);
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
                Ok(Some(Here { shared: self, held, header, call, item, arrived, place }))
            }
            Ok(None) => {
                self.give_back(&mut held, Which::BOTH);
                Ok(None)
            }
            Err(broken) => {
                let end = self.broken(&mut held, broken);
                self.give_back(&mut held, Which::BOTH);
                Err(end)
            }
        }
    }

    /// What a packet is, and whose: the reader's own is returned, and others' are filed.
    #[inline]
    fn sort(
        &self,
        held: &mut HeldHalves<'_>,
        item: Item,
        mine: &impl Fn(&Header, u64) -> bool,
    ) -> Result<Option<Mine>, Broken> {
        let receiving = held.receiving();
        let item = receiving.consumer.align(item).unwrap_or(item);
        let mut header = Header::decode(receiving.consumer.bytes(&item))?;
        let call = item.tag;
        let mut place = None;
        match header.kind {
            Kind::Done | Kind::Failed | Kind::Ended | Kind::Item => {}
            Kind::Call | Kind::Tell => {
                if header.time != 0 {
                    header.time = header.time.saturating_add_signed(receiving.ahead).max(1);
                }
                let shape = receiving.shape(&header, self.services.get())?;
                match (header.kind, shape) {
                    (Kind::Call, Shape::Call | Shape::Stream) => {
                        receiving.in_order(call)?;
                        let credit = if shape == Shape::Stream { FIRST_CREDIT } else { 0 };
                        place = Some(self.running.begin(call, credit, self.most_running)?);
                    }
                    (Kind::Tell, Shape::OneWay) if call == 0 => {}
                    _ => return Err(Broken::Method),
                }
            }
            _ => return self.sort_rare(held, header, item, mine),
        }
        let arrived = if item.has_fds() || header.blobs != 0 {
            Some(self.arrived(receiving, header, &item)?)
        } else {
            None
        };
        if mine(&header, call) {
            return Ok(Some(Mine { header, item, arrived, place }));
        }
        self.file(held, header, item, arrived, place)
    }

    /// Packets that are no answers and no calls, and the answers that openings have.
    #[cold]
    fn sort_rare(
        &self,
        held: &mut HeldHalves<'_>,
        header: Header,
        item: Item,
        mine: &impl Fn(&Header, u64) -> bool,
    ) -> Result<Option<Mine>, Broken> {
        let call = item.tag;
        if item.has_fds() {
            drop(self.session.take_parcel()); // none of these carries anything
        }
        let told = match header.kind {
            Kind::Opened | Kind::Refused if mine(&header, call) => {
                return Ok(Some(Mine { header, item, arrived: None, place: None }));
            }
            Kind::Opened | Kind::Refused => return self.file(held, header, item, None, None),
            Kind::Cancel => self.running.cut(call),
            Kind::Credit => self.running.grant(call, header.number)?,
            Kind::Open => {
                held.receiving().in_order(call)?;
                self.opens(held, header, item)?;
                None
            }
            Kind::Signal => {
                let memory = held.receiving().consumer.take(&item, Buffer::new());
                let packet = Packet { header, call, memory, arrived: None };
                let told = self.table().signal(packet)?;
                told.into_iter().for_each(|thread| thread.unpark());
                None
            }
            Kind::Subscribe | Kind::Unsubscribe => {
                let shape = held.receiving().shape(&header, self.services.get())?;
                if shape != Shape::Signal || call != 0 {
                    return Err(Broken::Method);
                }
                self.subscribes(header);
                None
            }
            _ => return Err(Broken::Method),
        };
        if let Some(waiter) = told {
            waiter.unpark();
        }
        Ok(None)
    }

    /// Files a packet for another thread.
    #[cold]
    fn file(
        &self,
        held: &mut HeldHalves<'_>,
        header: Header,
        item: Item,
        arrived: Option<Arc<Arrived>>,
        place: Option<Place>,
    ) -> Result<Option<Mine>, Broken> {
        let memory = held.receiving().consumer.take(&item, Buffer::new());
        let packet = Packet { header, call: item.tag, memory, arrived };
        if matches!(header.kind, Kind::Call | Kind::Tell) {
            self.queue(Job { packet, place });
            return Ok(None);
        }
        let waiter = self.with_asked(|table| table.file(packet))?;
        if let Some(waiter) = waiter {
            waiter.unpark();
        }
        Ok(None)
    }

    /// What came with a packet, named before anything else is read: the peer counts on it.
    #[cold]
    fn arrived(
        &self,
        receiving: &Receiving,
        header: Header,
        item: &Item,
    ) -> Result<Arc<Arrived>, Broken> {
        let parcel = if item.has_fds() { self.session.take_parcel() } else { None };
        let blobs = header.blobs_of(receiving.consumer.bytes(item));
        let session = Arc::clone(&self.session);
        let arrived = Arrived::listing(session, parcel.unwrap_or_default(), blobs);
        Ok(Arc::new(arrived.ok_or(Broken::Blob)?))
    }

    /// The peer asks for an interface: it is told at once.
    fn opens(&self, held: &mut HeldHalves<'_>, header: Header, item: Item) -> Result<(), Broken> {
        let receiving = held.receiving();
        let theirs = receiving.consumer.bytes(&item).get(header.body_at()..).unwrap_or_default();
        let opening = Opening::decode(theirs)?;
        let (answer, opened) = match self.services.get() {
            Some(services) => services.answer(&opening, self.peer(), self.most_running),
            None => (Services::none(), None),
        };
        receiving.ahead = clock_difference(header.time);
        if let Some((place, opened)) = opened {
            if receiving.opened.len() <= place {
                receiving.opened.resize_with(place + 1, || None);
            }
            receiving.opened[place] = Some(opened);
        }
        let answer =
            if answer.len() > self.largest_at_once { services::too_long() } else { answer };
        if self.owes() || !self.try_put(held, &answer, item.tag) {
            self.owe(answer, item.tag, self.most_running as usize)?;
        }
        Ok(())
    }

    /// The peer wants a signal, or does not any more.
    fn subscribes(&self, header: Header) {
        let (place, member) = (header.interface, header.number);
        let wants = header.kind == Kind::Subscribe;
        {
            let mut subscribed = self.subscribed.lock().unwrap_or_else(PoisonError::into_inner);
            if wants {
                subscribed.insert((place, member))
            } else {
                subscribed.remove(&(place, member))
            };
        }
        let all = self.services.get().and_then(|services| services.subscribers(place.into()));
        if let (Some(all), Some(this)) = (all, self.this.upgrade()) {
            if wants { all.add(&this, place, member) } else { all.remove(&this, member) }
        }
    }

    /// The session ended.
    #[cold]
    fn over(&self, held: &mut HeldHalves<'_>, end: memring_ring::End) -> End {
        let end = match (&held.receiving().fault, end) {
            (Some(fault), memring_ring::End::Fault(rule)) if fault.rule == rule => {
                End::Fault(fault.clone())
            }
            (_, end) => end_of(end, self.peer()),
        };
        self.finish_all(&end);
        end
    }

    /// The peer broke a rule.
    #[cold]
    fn broken(&self, held: &mut HeldHalves<'_>, broken: Broken) -> End {
        let rule = memring_ring::Fault::Calls;
        let receiving = held.receiving();
        let end = receiving.consumer.fail(rule);
        receiving.fault.get_or_insert(Fault { rule, detail: Some(broken.to_string().into()) });
        self.over(held, end)
    }
}

/// How far our clock is ahead of the peer's, which read so when it wrote: nothing, unless it is in another time namespace.
fn clock_difference(theirs: u64) -> i64 {
    /// What a packet may take on its way.
    const SLACK: i64 = 10_000_000_000;
    let ahead = now_nanos().wrapping_sub(theirs) as i64;
    if (0..SLACK).contains(&ahead) { 0 } else { ahead }
}
