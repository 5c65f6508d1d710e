//! Serving the calls of a session in a thread.

use std::cell::Cell;
use std::sync::Arc;

use memring_ring::buffer::{Buffer, copy_fresh};
use memring_ring::consumer::Item;
use memring_ring::halves::Which;

use super::async_service::{AsyncService, TaskRequest, block_on};
use super::running::Place;
use super::sending::{Number, Outgoing, SMALL};
use super::service::{Answers, Incoming, Request, Service, Then};
use super::services::Handler;
use super::shared::{HeldHalves, Shared};
use super::table::{Job, Table};
use super::tasks::answering::Answering;
use super::waiting::{Got, Stopped};
use super::wire::{Code, Header, Shape};
use crate::arrived::Arrived;
use crate::carry::KEEP;
use crate::error::End;

/// A call of the peer's that is to be run now.
pub(crate) struct Due<'a> {
    pub header: Header,
    pub number: u64,
    /// Where it runs, unless it is one that is not answered.
    pub place: Option<Place>,
    pub body: &'a [u8],
    pub arrived: Option<&'a Arc<Arrived>>,
}

/// Few arguments, which begin as archives have to.
#[repr(align(16))]
struct Aligned([u8; SMALL]);

/// A call with few arguments.
struct SmallCall {
    header: Header,
    call: u64,
    place: Place,
    len: usize,
}

/// Serves the peer's calls, one after the other, until the session ends; and how it did.
pub(crate) fn run(shared: &Arc<Shared>) -> End {
    let mut arguments = Aligned([0; SMALL]);
    let mut spare = Buffer::new();
    // As long as the last one was.
    let mut usual = 0;
    let mut at_hand: Option<HeldHalves<'_>> = None;
    let at_work = shared.workers.join();
    loop {
        at_work.set_busy(false);
        let mut got = None;
        // Most calls come soon after the last answer.
        if let Some(mut held) = at_hand.take() {
            shared.pay(&mut held);
            let item = if shared.has_jobs() { None } else { shared.next_soon(&mut held, usual) };
            match item {
                Some(item) => match shared.take_small_call(&mut held, item, &mut arguments) {
                    Some(SmallCall { header, call, place, len }) => {
                        usual = item.len();
                        let body = &arguments.0[..len];
                        let place = Some(place);
                        let due = Due { header, number: call, place, body, arrived: None };
                        at_work.set_busy(true);
                        at_hand = answer_to(shared, &due);
                        continue;
                    }
                    None => match shared.look_closer(held, item) {
                        Ok(Some(here)) => got = Some(Got::Here(here)),
                        Ok(None) => continue,
                        Err(end) => return end,
                    },
                },
                None => match next(shared, Some(held)) {
                    Ok(next) => got = Some(next),
                    Err(end) => return end,
                },
            }
        }
        let got = match got.map_or_else(|| next(shared, None), Ok) {
            Ok(got) => got,
            Err(end) => return end,
        };
        let job = match got {
            Got::Here(here) => here.take(std::mem::take(&mut spare)),
            Got::Ready(job) => job,
        };
        at_work.set_busy(true);
        at_hand = answer_to(shared, &due(&job));
        spare = job.packet.memory;
        spare.clear();
        if spare.capacity() > KEEP {
            spare = Buffer::new();
        }
    }
}

/// Waits for the next call, with the halves that are at hand.
#[cold]
fn next<'a>(shared: &'a Shared, at_hand: Option<HeldHalves<'a>>) -> Result<Got<'a, Job>, End> {
    let ready = |table: &mut Table| shared.next_job(table);
    let mine = |header: &Header, _| header.is_call();
    let got = match at_hand {
        Some(held) => shared.wait_reading(held, true, None, ready, mine),
        None => shared.wait(true, None, ready, mine, |_, _| None),
    };
    got.map_err(|stopped| match stopped {
        Stopped::Ended(end) => end,
        Stopped::TimedOut => End::Local, // it waits for ever
    })
}

/// Has a handler run a call, unless nobody waits or it comes too late.
#[inline]
fn run_request(shared: &Shared, service: &Arc<dyn Service>, request: Request<'_>, header: &Header) {
    if shared.is_stopping() {
        request.end(Code::ShuttingDown, "");
    } else if request.is_cut() {
        request.end(Code::Cancelled, "");
    } else if header.json {
        service.call_json(header.number, request);
    } else {
        service.call(header.number, request);
    }
}

/// Runs a call that was read, in a thread that must not wait for room. What is to be sent when there is.
pub(crate) fn answer_job_later(
    shared: &Arc<Shared>,
    job: &Job,
    service: &Arc<dyn Service>,
) -> Option<Answering> {
    let due = due(job);
    let interface = service.interface();
    let member = interface.members.get(due.header.number as usize)?;
    let answers = Later { shared, answer: Cell::new(None) };
    let incoming = Incoming::new(shared, &due, interface, member, &answers);
    run_request(shared, service, Request::of(&incoming), &due.header);
    answers.answer.into_inner()
}

fn due(Job { packet, place }: &Job) -> Due<'_> {
    Due {
        header: packet.header,
        number: packet.call,
        place: *place,
        body: packet.body(),
        arrived: packet.arrived.as_ref(),
    }
}

/// Runs one of a handler that is a future, to its end in this thread.
#[cold]
fn run_future(shared: &Arc<Shared>, due: &Due<'_>, service: &Arc<dyn AsyncService>) {
    if let Some(request) = TaskRequest::copied(shared, due, service.interface()) {
        block_on(Box::pin(request.run(Arc::clone(service))));
    }
}

/// Runs a call and answers it. Both halves, if nobody else has one: the next call is waited for with them.
#[inline]
fn answer_to<'a>(shared: &'a Arc<Shared>, due: &Due<'_>) -> Option<HeldHalves<'a>> {
    let header = &due.header;
    // Both were looked at when it was read.
    let service = match shared.services.get()?.get(header.interface.into())? {
        Handler::Thread(service) => service,
        Handler::Task(service) => {
            run_future(shared, due, service);
            return None;
        }
    };
    let interface = service.interface();
    let member = interface.members.get(header.number as usize)?;
    let answers = AtOnce { shared, held: Cell::new(None) };
    let incoming = Incoming::new(shared, due, interface, member, &answers);
    run_request(shared, service, Request::of(&incoming), header);
    answers.held.into_inner()
}

/// Answers that are sent before the next call is waited for.
struct AtOnce<'a> {
    shared: &'a Shared,
    /// Both halves, if the answer was sent with them, and nothing runs before the wait for the next call: they go on to that.
    held: Cell<Option<HeldHalves<'a>>>,
}

impl Answers for AtOnce<'_> {
    #[inline]
    fn send(&self, packet: Outgoing<'_>, call: u64, then: Then) {
        if let Some(mut held) = self.shared.try_take(Which::BOTH)
            && packet.put(held.sending(), call)
        {
            if then == Then::Nothing {
                self.held.set(Some(held));
            }
            return;
        }
        // If it cannot be told, the session is over.
        let _ = self.shared.send_packet(packet, call, None);
    }

    fn later(&self) -> Option<&Cell<Option<Answering>>> {
        None
    }
}

/// Answers that leave when there is room.
struct Later<'a> {
    shared: &'a Arc<Shared>,
    answer: Cell<Option<Answering>>,
}

impl Answers for Later<'_> {
    fn send(&self, packet: Outgoing<'_>, call: u64, _: Then) {
        let begin = || self.shared.begin_packet(packet, Number::Of(call));
        // If it cannot be told, the session is over.
        self.answer.set(Answering::begin(self.shared, call, begin).ok());
    }

    fn later(&self) -> Option<&Cell<Option<Answering>>> {
        Some(&self.answer)
    }
}

impl Shared {
    /// A call that came alone, carries nothing, and has few arguments, which are copied out: what most calls are. Both halves
    /// are given back with it. Anything else stays for a closer look.
    #[inline]
    fn take_small_call(
        &self,
        held: &mut HeldHalves<'_>,
        item: Item,
        into: &mut Aligned,
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
        held.give_back(Which::BOTH);
        Some(SmallCall { header, call: item.tag, place, len })
    }
}
