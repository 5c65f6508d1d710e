//! Serving the calls of a session in a thread.

use std::cell::Cell;
use std::sync::Arc;

use memring_ring::buffer::Buffer;

use super::receiving::{Got, Here, Stopped};
use super::running::Place;
use super::sending::{SMALL, SmallPacket};
use super::service::Request;
use super::shared::{HeldHalves, Shared};
use super::table::{Job, Table};
use super::wire::{Code, Header, Kind};
use crate::arrived::Arrived;
use crate::carry::KEEP;
use crate::error::End;

/// A call of the peer's that is to be run now.
pub(crate) struct Incoming<'a> {
    pub header: Header,
    pub number: u64,
    /// Where it runs, unless it is one that is not answered.
    pub place: Option<Place>,
    pub body: &'a [u8],
    pub arrived: Option<&'a Arc<Arrived>>,
}

/// Bytes that begin as archives have to.
#[repr(align(16))]
struct Aligned([u8; SMALL]);

/// Serves the peer's calls, one after the other, until the session ends; and how it did.
pub(crate) fn run(shared: &Arc<Shared>) -> End {
    let mut spare = Buffer::new();
    let mut at_hand = None;
    loop {
        let got = match next(shared, at_hand.take()) {
            Ok(got) => got,
            Err(end) => return end,
        };
        let (number, answer) = match got {
            Got::Here(here) if here.body().len() <= SMALL && here.came().is_none() => {
                (here.call, small(shared, here))
            }
            got => {
                let job = match got {
                    Got::Here(here) => here.take(std::mem::take(&mut spare)),
                    Got::Ready(job) => job,
                };
                let answer = whole(shared, &job);
                spare = job.packet.memory;
                spare.clear();
                if spare.capacity() > KEEP {
                    spare = Buffer::new();
                }
                (job.packet.call, answer)
            }
        };
        at_hand = answer.and_then(|answer| shared.answer_small(&answer, number));
    }
}

/// Waits for the next call, with the halves that are at hand.
#[inline]
fn next<'a>(shared: &'a Shared, at_hand: Option<HeldHalves<'a>>) -> Result<Got<'a, Job>, End> {
    let ready = |table: &mut Table| shared.next_job(table);
    let mine = |header: &Header, _| matches!(header.kind, Kind::Call | Kind::Tell);
    let got = match at_hand {
        Some(held) => shared.wait_reading(held, true, None, ready, mine),
        None => shared.wait(true, None, ready, mine, |_, _| {}),
    };
    got.map_err(|stopped| match stopped {
        Stopped::Ended(end) => end,
        Stopped::TimedOut => End::Local, // it waits for ever
    })
}

/// Runs a call with few arguments, which are copied out, so that others can read meanwhile.
#[inline]
fn small(shared: &Arc<Shared>, here: Here<'_>) -> Option<SmallPacket> {
    let mut copy = Aligned([0; SMALL]);
    let len = here.body().len();
    copy.0[..len].copy_from_slice(here.body());
    let (header, number, place) = (here.header, here.call, here.place());
    drop(here);
    let body = &copy.0[..len];
    serve(shared, &Incoming { header, number, place, body, arrived: None })
}

/// Runs a call out of memory of its own.
fn whole(shared: &Arc<Shared>, job: &Job) -> Option<SmallPacket> {
    let Job { packet, place } = job;
    let incoming = Incoming {
        header: packet.header,
        number: packet.call,
        place: *place,
        body: packet.body(),
        arrived: packet.arrived.as_ref(),
    };
    serve(shared, &incoming)
}

/// Runs a call. Its answer, unless it was sent.
#[inline]
fn serve(shared: &Arc<Shared>, incoming: &Incoming<'_>) -> Option<SmallPacket> {
    let header = incoming.header;
    // Both were looked at when it was read.
    let service = shared.services.get()?.get(header.interface.into())?;
    let interface = service.interface();
    let member = interface.members.get(header.number as usize)?;
    let answer = Cell::new(None);
    let request = Request::new(shared, incoming, interface, member, &answer);
    if shared.is_stopping() {
        request.end(Code::ShuttingDown, "");
    } else if request.is_cut() {
        request.end(Code::Cancelled, "");
    } else {
        service.call(header.number, request);
    }
    answer.into_inner()
}
