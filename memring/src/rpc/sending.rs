//! Packets on their way out: encoded by each thread for itself, numbered and sent one after the other.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use memring_codec::attached::Attaches;
use memring_codec::{EncodeError, LARGEST_VALUE, Scratch, Sink};
use memring_ring::halves::Which;
use memring_ring::producer::TrySendError as LaneTrySendError;

use super::shared::{HeldHalves, SLICE, Shared};
use super::table::Expects;
use super::wire::{HEADER, Header, Kind, MOST_PADDING, packet};
use crate::attached::Outbound;
use crate::carry::KEEP;
use crate::error::{End, SendError, TrySendError};
use crate::sender::Sender;

/// The sending half.
pub(crate) struct Sending {
    pub(super) out: Outbound,
    /// The number of the last question.
    pub(super) last: u64,
}

impl Sending {
    pub(super) fn new(sender: Sender<[u8]>) -> Self {
        Self { out: Outbound::of(sender), last: 0 }
    }

    /// Sends a short packet if that can be now, or nobody is there to get it. Whether it need not be sent any more.
    pub(super) fn try_put(&mut self, packet: &[u8], call: u64) -> bool {
        !matches!(self.out.producer().try_send(packet, call), Err(LaneTrySendError::Full))
    }
}

/// Bytes of a body that needs no buffer of its own.
pub(super) const SMALL: usize = 112;

/// A body, to be encoded behind its header.
pub(crate) trait Body {
    /// Whether it may carry something beside bytes.
    const CARRIES: bool;

    /// Its encoding, if it lies there already.
    fn ready(&self) -> Option<&[u8]>;

    fn encode(
        &self,
        into: &mut Scratch,
        place: Option<&mut dyn Attaches>,
    ) -> Result<(), EncodeError>;
}

/// Bytes as they are.
impl Body for &[u8] {
    const CARRIES: bool = false;

    fn ready(&self) -> Option<&[u8]> {
        Some(self)
    }

    fn encode(&self, into: &mut Scratch, _: Option<&mut dyn Attaches>) -> Result<(), EncodeError> {
        Ok(into.write(self)?)
    }
}

/// Why something was not sent.
pub(crate) enum NotSent {
    /// As many questions are open as the peer takes.
    TooMany(u32),
    Send(SendError),
}

impl From<SendError> for NotSent {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

/// A packet on its way out.
#[derive(Clone, Copy)]
pub(crate) enum Outgoing<'a> {
    /// Its header, and a body that is small and lies elsewhere.
    Small(Header, &'a [u8]),
    /// All of it.
    Whole(&'a [u8]),
}

impl<'a> Outgoing<'a> {
    /// A packet of a body that is small and lies there already.
    #[inline(always)]
    pub(crate) fn small(header: Header, body: &'a impl Body) -> Option<Self> {
        let body = body.ready().filter(|body| body.len() <= SMALL)?;
        Some(Self::Small(header.padded(body.len()), body))
    }

    /// Sends it if nothing stands in the way: whether it was sent.
    #[inline(always)]
    pub(super) fn put(self, sending: &mut Sending, call: u64) -> bool {
        let producer = sending.out.producer();
        match self {
            Self::Small(header, body) => {
                producer.send_two_at_once(&header.encode(), header.body_at(), body, call)
            }
            Self::Whole(packet) => producer.try_send(packet, call).is_ok(),
        }
    }

    /// Bytes of it.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Small(header, body) => header.body_at() + body.len(),
            Self::Whole(packet) => packet.len(),
        }
    }

    /// All of it in one piece.
    #[cold]
    pub(super) fn whole(self) -> Cow<'a, [u8]> {
        match self {
            Self::Small(header, body) => packet(header, body).into(),
            Self::Whole(packet) => packet.into(),
        }
    }
}

thread_local! {
    /// Where this thread encodes.
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

impl Shared {
    /// Hands out a packet whose body carries nothing.
    #[inline]
    pub(super) fn with_packet<B: Body, R>(
        &self,
        header: Header,
        body: &B,
        with: impl FnOnce(Outgoing<'_>) -> R,
    ) -> Result<R, SendError> {
        if let Some(small) = Outgoing::small(header, body) {
            return Ok(with(small));
        }
        self.with_scratch(|scratch| {
            // Room for the header, and for what pads it once the body is known.
            const FRONT: usize = HEADER + MOST_PADDING;
            scratch.write(&[0; FRONT]).map_err(|full| SendError::of_encoding(full.into()))?;
            body.encode(scratch, None).map_err(SendError::of_encoding)?;
            let header = header.padded(scratch.len() - FRONT);
            let start = FRONT - header.body_at();
            scratch.overwrite(start, &header.encode());
            Ok(with(Outgoing::Whole(&scratch[start..])))
        })
    }

    /// Lends this thread's memory for encoding.
    fn with_scratch<R>(&self, with: impl FnOnce(&mut Scratch) -> R) -> R {
        let most = self.session.negotiated().largest_message.min(LARGEST_VALUE as u64) as usize;
        // An encoding that calls somebody itself finds none, and makes its own.
        let mut scratch = SCRATCH.take().unwrap_or_else(|| Scratch::new(most));
        scratch.set_max(most);
        let result = with(&mut scratch);
        scratch.clear_and_shrink(KEEP);
        SCRATCH.set(Some(scratch));
        result
    }

    /// Sends a packet about a call that has a number.
    pub(crate) fn send<B: Body>(
        &self,
        header: Header,
        call: u64,
        body: &B,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        match self.put(header, body, deadline, Number::Of(call)) {
            Ok(_) => Ok(()),
            Err(NotSent::Send(error)) => Err(error),
            Err(NotSent::TooMany(_)) => Err(SendError::TimedOut), // none is asked for
        }
    }

    /// Sends a packet about a call that has a number, waiting for room until the deadline.
    pub(super) fn send_packet(
        &self,
        packet: Outgoing<'_>,
        call: u64,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        if self.is_forked() {
            return Err(SendError::Ended(End::Forked));
        }
        let mut held = self.take_sending(deadline).ok_or(SendError::TimedOut)?;
        if packet.put(held.sending(), call) {
            return Ok(());
        }
        self.put_slowly(&mut held, &packet.whole(), call, deadline)
    }

    /// Sends a whole packet, if there is room now: whether there was.
    pub(super) fn try_send_whole(&self, packet: &[u8], call: u64) -> Result<bool, SendError> {
        if self.is_forked() {
            return Err(SendError::Ended(End::Forked));
        }
        let Some(mut held) = self.take_sending_unless_stuck() else { return Ok(false) };
        let mut sent = 0;
        let largest = held.sending().out.producer().largest_frame();
        let result = if packet.len() <= largest {
            held.sending().out.try_send_on(packet, call, &mut sent)
        } else {
            Err(TrySendError::Full) // in parts it would have to wait
        };
        match result {
            Ok(()) => Ok(true),
            Err(TrySendError::Full) => Ok(false),
            Err(error) => Err(error.waited()),
        }
    }

    /// Sends a question, and takes note of it. Its number.
    pub(crate) fn ask<B: Body>(
        &self,
        header: Header,
        body: &B,
        expects: Expects,
        deadline: Option<Instant>,
    ) -> Result<u64, NotSent> {
        self.put(header, body, deadline, Number::Next(expects))
    }

    fn put<B: Body>(
        &self,
        header: Header,
        body: &B,
        deadline: Option<Instant>,
        number: Number,
    ) -> Result<u64, NotSent> {
        if self.is_forked() {
            return Err(SendError::Ended(End::Forked).into());
        }
        if B::CARRIES {
            return self.with_scratch(|scratch| {
                self.put_carrying(header, body, deadline, scratch, number)
            });
        }
        self.with_packet(header, body, |packet| {
            let mut held = self.take_sending(deadline).ok_or(SendError::TimedOut)?;
            self.put_packet(&mut held, packet, deadline, number)
        })?
    }

    /// Numbers a packet and sends it.
    fn put_packet(
        &self,
        held: &mut HeldHalves<'_>,
        packet: Outgoing<'_>,
        deadline: Option<Instant>,
        number: Number,
    ) -> Result<u64, NotSent> {
        let question = matches!(number, Number::Next(_));
        let call = self.number(held.sending(), number)?;
        if packet.put(held.sending(), call) {
            return Ok(call);
        }
        match self.put_slowly(held, &packet.whole(), call, deadline) {
            Ok(()) => Ok(call),
            Err(error) => {
                if question {
                    drop(self.forget(call));
                }
                Err(error.into())
            }
        }
    }

    /// The number that a packet has, which is noted if it is a question's.
    pub(super) fn number(&self, sending: &mut Sending, number: Number) -> Result<u64, NotSent> {
        match number {
            Number::Of(call) => Ok(call),
            Number::Next(expects) => {
                let call = sending.last + 1;
                let room = self.room_to_ask();
                if self.noted.count() >= room {
                    self.look(); // some may be answered that nobody waits for
                }
                if expects == Expects::Answer && self.noted.count() < room && self.noted.note(call)
                {
                    sending.last = call;
                    return Ok(call);
                }
                if !self.table().ask(call, expects, room) {
                    return Err(NotSent::TooMany(self.most_asked()));
                }
                sending.last = call;
                Ok(call)
            }
        }
    }

    /// Sends as room comes free, and reads meanwhile: both sides may be waiting for room.
    #[cold]
    pub(super) fn put_slowly(
        &self,
        held: &mut HeldHalves<'_>,
        packet: &[u8],
        call: u64,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let mut sent = 0;
        let sent = loop {
            match held.sending().out.try_send_on(packet, call, &mut sent) {
                Err(TrySendError::Full) => match self.wait_for_room(held, deadline) {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                other => break other.map_err(TrySendError::waited),
            }
        };
        self.stuck.store(false, Ordering::Relaxed);
        // To sleep it has asked for the doorbell that a task may wait for.
        self.tasks.next_in_line();
        sent
    }

    /// Waits a moment for room, and reads what there is. Whoever calls it says when it waits no more.
    pub(super) fn wait_for_room(
        &self,
        held: &mut HeldHalves<'_>,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Err(SendError::TimedOut);
        }
        let until = deadline.map_or(now + SLICE, |deadline| deadline.min(now + SLICE));
        // ORDERING: Relaxed; see `take_sending_unless_stuck`.
        self.stuck.store(true, Ordering::Relaxed);
        let waited = held.sending().out.wait_for_room(until);
        if let Err(SendError::Ended(end)) = waited {
            return Err(SendError::Ended(end));
        }
        if held.has().any_of(Which::RECEIVING) {
            self.read_what_is_there(held);
        } else {
            self.look();
        }
        Ok(())
    }

    /// Sends what may carry descriptors or blobs.
    fn put_carrying<B: Body>(
        &self,
        header: Header,
        body: &B,
        deadline: Option<Instant>,
        scratch: &mut Scratch,
        number: Number,
    ) -> Result<u64, NotSent> {
        let mut held = self.take_sending(deadline).ok_or(SendError::TimedOut)?;
        self.put_carrying_held(&mut held, header, body, deadline, scratch, number)
    }

    fn put_carrying_held<B: Body>(
        &self,
        held: &mut HeldHalves<'_>,
        header: Header,
        body: &B,
        deadline: Option<Instant>,
        scratch: &mut Scratch,
        number: Number,
    ) -> Result<u64, NotSent> {
        // What goes along is numbered in the order in which it is sent, so by who has the half.
        let out = &held.sending().out;
        let going = out
            .encode(scratch, |scratch, place| body.encode(scratch, Some(place)))
            .map_err(SendError::of_encoding)?;
        let blobs = going.blobs();
        let count = u8::try_from(blobs.len()).map_err(|_| SendError::Blobs)?;
        let list = (blobs.len() * 8).next_multiple_of(16);
        let header = Header { blobs: count, ..header }.padded(list + scratch.len());
        let mut packet = Vec::with_capacity(header.body_at() + scratch.len());
        packet.extend_from_slice(&header.encode());
        packet.resize(header.list_at(), 0);
        blobs.for_each(|number| packet.extend_from_slice(&number.to_le_bytes()));
        packet.resize(header.body_at(), 0);
        packet.extend_from_slice(scratch);
        let question = matches!(number, Number::Next(_));
        let call = self.number(held.sending(), number)?;
        let sent = loop {
            match held.sending().out.try_send(&packet, &going, call) {
                Err(TrySendError::Full) => {}
                other => break other.map_err(TrySendError::waited),
            }
            if let Err(error) = self.wait_for_room(held, deadline) {
                break Err(error);
            }
            // It may be that the peer has to receive what went before, and nothing says when it has.
            thread::sleep(SLICE / 4);
        };
        self.stuck.store(false, Ordering::Relaxed);
        self.tasks.next_in_line(); // as in `put_slowly`
        if sent.is_err() && question {
            drop(self.forget(call));
        }
        sent.map(|()| call).map_err(NotSent::Send)
    }

    /// Sends a short packet if that can be now, or nobody is there to get it. Whether it need not be sent any more.
    pub(super) fn try_put(&self, held: &mut HeldHalves<'_>, packet: &[u8], call: u64) -> bool {
        if held.has().any_of(Which::SENDING) {
            return held.sending().try_put(packet, call);
        }
        let Some(mut other) = self.try_take(Which::SENDING) else { return false };
        other.sending().try_put(packet, call)
    }

    /// Tells the peer that nobody waits for this answer.
    pub(crate) fn tell_cancelled(&self, call: u64) {
        if !self.is_forked() {
            self.send_sometime(packet(Header::new(Kind::Cancel), &[]), call);
        }
    }

    /// Nobody waits for this answer any more: the peer is told, if it has not answered.
    pub(crate) fn cancel(&self, call: u64) {
        if self.is_forked() {
            return;
        }
        let (missing, kept) = self.table().abandon(call);
        drop(kept); // not under the lock: a waker may do anything
        if missing {
            self.tell_cancelled(call);
        }
    }

    /// How many questions may be noted or on the table.
    #[inline]
    pub(super) fn room_to_ask(&self) -> u32 {
        // ORDERING: Acquire; pairs with the Release in `answer_alone`: one that is not alone any more is on the table, or answered.
        self.most_asked().saturating_sub(self.alone.load(Ordering::Acquire))
    }

    /// Whether one more question would not be more than the peer takes, for whoever has both halves.
    #[inline]
    pub(super) fn may_ask(&self) -> bool {
        self.noted.count() < self.most_asked()
    }
}

/// The number of a packet.
pub(super) enum Number {
    /// It is about this call.
    Of(u64),
    /// It is a question, of which note is taken.
    Next(Expects),
}
