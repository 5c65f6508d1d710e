//! Packets on their way in: what each is, and whose.

use std::sync::{Arc, PoisonError};

use memring_ring::buffer::Buffer;
use memring_ring::consumer::{Consumer, Item};
use memring_transport::Session;

use super::running::Place;
use super::services::{self, Opened, Services};
use super::shared::{HeldHalves, Shared, now_nanos};
use super::stream::FIRST_CREDIT;
use super::table::{Job, Packet};
use super::waiter::Waiter;
use super::wire::described::Asks;
use super::wire::{Broken, Header, Kind, Opening, Shape};
use crate::arrived::Arrived;
use crate::error::{End, Fault, end_of};

/// The receiving half.
pub(crate) struct Receiving {
    pub(super) consumer: Consumer,
    /// The number of the peer's last question.
    pub(super) last: u64,
    /// What the peer opened, by the number of the service.
    opened: Vec<Option<Opened>>,
    fault: Option<Fault>,
    /// How far our clock is ahead of the peer's, in nanoseconds.
    ahead: i64,
}

/// What the thread that reads was waiting for.
pub(super) struct Mine {
    pub(super) header: Header,
    pub(super) item: Item,
    pub(super) arrived: Option<Arc<Arrived>>,
    pub(super) place: Option<Place>,
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
    pub(super) fn shape(
        &self,
        header: &Header,
        services: Option<&Arc<Services>>,
    ) -> Result<Shape, Broken> {
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
    /// What a packet is, and whose: the reader's own is returned, and others' are filed.
    #[inline]
    pub(super) fn sort(
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
        match header.kind {
            Kind::Opened | Kind::Refused if mine(&header, call) => {
                return Ok(Some(Mine { header, item, arrived: None, place: None }));
            }
            Kind::Opened | Kind::Refused => return self.file(held, header, item, None, None),
            Kind::Cancel => self.running.cut(call),
            Kind::Credit => self.running.grant(call, header.number)?,
            Kind::Open => {
                held.receiving().in_order(call)?;
                self.opens(held, header, item)?;
            }
            Kind::Signal => {
                let memory = held.receiving().consumer.take(&item, Buffer::new());
                let packet = Packet { header, call, memory, arrived: None };
                let told = self.table().signal(packet)?;
                told.into_iter().for_each(Waiter::wake);
            }
            Kind::Subscribe | Kind::Unsubscribe => {
                let shape = held.receiving().shape(&header, self.services.get())?;
                if shape != Shape::Signal || call != 0 {
                    return Err(Broken::Method);
                }
                self.subscribes(header);
            }
            _ => return Err(Broken::Method),
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
        let waiter = self.table().file(packet)?;
        if let Some(waiter) = waiter {
            waiter.wake();
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

    /// The peer asks for an interface, or what there is: it is told at once.
    fn opens(&self, held: &mut HeldHalves<'_>, header: Header, item: Item) -> Result<(), Broken> {
        let asks = Asks::of(&header)?;
        let receiving = held.receiving();
        let theirs = receiving.consumer.bytes(&item).get(header.body_at()..).unwrap_or_default();
        let (peer, most) = (self.peer(), self.most_running);
        let (answer, opened) = match (asks, self.services.get()) {
            (Asks::List(from), services) => {
                let list = |services: &Arc<Services>| services.list(from, peer, most);
                (services.map_or_else(|| Services::nothing(most), list), None)
            }
            (_, None) => {
                Opening::decode(theirs)?;
                (Services::none(), None)
            }
            (Asks::Open, Some(services)) => services.answer(&Opening::decode(theirs)?, peer, most),
            (Asks::Describe, Some(services)) => {
                services.describe(&Opening::decode(theirs)?, peer, most, self.largest_at_once)
            }
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
            self.owe_opening(answer, item.tag)?;
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
    pub(super) fn over(&self, held: &mut HeldHalves<'_>, end: memring_ring::End) -> End {
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
    pub(super) fn broken(&self, held: &mut HeldHalves<'_>, broken: Broken) -> End {
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
