//! Writing frames onto a lane, without waiting: what a producer does once there is room.
//!
//! It owns `tail`, in private memory, and writes frames that publish themselves: there is no index to
//! publish, the header is the last thing stored. What it reads of the peer is one word, `head`, believed
//! only between what was good before and what was sent.
//!
//! | step | what |
//! |---|---|
//! | P1 | write payload and tag; before it or after it |
//! | P2 | zero the next header |
//! | P3 | store this header (Release) |
//! | P4 | light fence |
//! | P5 | load the peer's sleep word; wake it, once an epoch |
//!
//! A crash before P3 leaves nothing visible, after it a whole frame. Not here: what the bytes mean.

use crate::asleep::{Asleep, How};
use crate::counters::{self, Stats, TX, Traffic};
use crate::fault::Fault;
use crate::frame::{Header, Kind};
use crate::heads::{HEAD, RX_ASLEEP};
use crate::lane::{Side, Terms};
use crate::life::{End, Life, OPEN};
use crate::position::{Capacity, GONE, HEADER, check_head, frame_size};
use crate::producer::TrySendError;
use crate::stage::Stage;
use crate::step::{self, Step};
use crate::sync::{self, Arc, FrameMut, Ordering, Region, WordRef, WritableRegion, mutant};
use crate::wait::Look;

/// The half without its way of waiting, so that a wait can borrow both.
// Aligned, so that no field of the hot path ever lies across two cache lines.
#[repr(align(64))]
pub(crate) struct Writer {
    pub(crate) data: WritableRegion,
    mine: Region,
    pub(crate) theirs: Region,
    pub(crate) capacity: Capacity,
    /// Next byte to write.
    pub(crate) tail: u64,
    /// The last good release position of the peer.
    pub(crate) head: u64,
    /// As far as we may write, by that: where the header that follows every frame still fits.
    limit: u64,
    /// The last sleep word of the peer that we acted on.
    woken: u32,
    /// Bytes of the frame that did not fit last.
    pub(crate) wanted: u64,
    /// A message in parts was begun and neither ended nor given up.
    pub(crate) unfinished: bool,
    /// A pack that is being filled.
    pub(crate) stage: Stage,
    max_message: u64,
    /// Something has to be seen to before the next message: an end, an open pack, a message given up. One question
    /// on the hot path instead of three; see [`Writer::settle`].
    hindered: bool,
    /// The largest message that goes in one frame: by the lane, and by what was negotiated.
    pub(crate) largest: u64,
    life: Arc<Life>,
    /// Of `life`.
    status: WordRef,
    end: Option<End>,
    wakes: u64,
    pub(crate) traffic: Traffic<TX>,
}

/// How far may be written while the peer has read up to `head`.
fn limit(capacity: Capacity, head: u64) -> u64 {
    head.wrapping_add(capacity.bytes() - HEADER)
}

/// Writes the padding up to the grain behind a payload of `len` bytes, so that no old bytes travel: of P1.
#[inline(always)]
fn pad(frame: FrameMut<'_>, len: u32) {
    let padding = len.wrapping_neg() as usize & (HEADER as usize - 1);
    if padding != 0 {
        frame.zero(len as usize, padding);
    }
}

/// Stores the empty header that a frame's end is followed by: P2.
#[inline(always)]
fn end_frame(after: FrameMut<'_>) {
    step::at(Step::P2);
    if !mutant("next-header-not-zeroed") && !mutant("next-header-zeroed-late") {
        // ORDERING: Relaxed; P3 publishes it. The consumer goes there only after this frame.
        after.store_header(0, Ordering::Relaxed); // P2
    }
}

/// Stores tag and header of a frame of which everything else is in place. The next one is `after` it.
#[inline(always)]
fn announce(frame: FrameMut<'_>, after: FrameMut<'_>, header: Header, tag: u64) {
    // ORDERING: Relaxed; P3 publishes it.
    frame.store_tag(tag, Ordering::Relaxed);
    step::at(Step::P3);
    // ORDERING: Release; pairs with the Acquire of C1 in `Cursor::header`. Publishes P1 and P2.
    let order = sync::order("relaxed-publish", Ordering::Release);
    frame.store_header(header.word(), order); // P3
    if mutant("next-header-zeroed-late") {
        after.store_header(0, Ordering::Relaxed);
    }
}

impl Writer {
    pub(crate) fn new(side: &Side, terms: &Terms) -> Self {
        Self {
            data: side.data_out.clone(),
            mine: side.mine.clone(),
            theirs: side.theirs.clone(),
            capacity: side.capacity_out,
            tail: terms.start,
            head: terms.start,
            limit: limit(side.capacity_out, terms.start),
            woken: 0,
            wanted: 0,
            unfinished: false,
            stage: Stage::default(),
            max_message: terms.max_message,
            hindered: false,
            largest: terms.max_message.min(side.capacity_out.largest_payload()),
            life: Arc::clone(&side.life),
            status: side.life.status(),
            end: None,
            wakes: 0,
            traffic: Traffic::new(side.mine.clone()),
        }
    }

    /// The end of this direction, if there is one.
    #[inline]
    pub(crate) fn alive(&mut self) -> Result<(), End> {
        if self.end.is_none() && self.is_open() {
            return Ok(());
        }
        Err(self.judge())
    }

    /// Whether nothing is known that ends the session. What ended this half alone has shut its stage.
    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        // ORDERING: Relaxed; it promises nothing, and what says otherwise is judged by `Life`.
        self.status.load(Ordering::Relaxed) == OPEN || self.life.is_open()
    }

    /// Says how the direction ended, by the peer's own word before anything else.
    #[cold]
    pub(crate) fn judge(&mut self) -> End {
        if self.life.is_forked() {
            return End::Forked;
        }
        if self.end.is_none() {
            // A peer that closed in order said so in its head before its socket went away.
            let gone = match self.reload(HEADER) {
                Err(end) if !mutant("end-without-look") => Some(end),
                _ => None,
            };
            self.end = match self.life.end() {
                Some(End::HungUp) | None => gone.or(Some(End::HungUp)),
                over => over,
            };
            self.stage.shut();
            self.settle();
        }
        self.end.unwrap_or(End::HungUp)
    }

    /// Before every send: alive, and nothing left open by an earlier call.
    #[inline]
    pub(crate) fn ready(&mut self) -> Result<(), TrySendError> {
        self.alive()?;
        if (self.stage.is_open() || self.unfinished) && !mutant("send-without-tidying") {
            return self.tidy();
        }
        Ok(())
    }

    #[cold]
    fn tidy(&mut self) -> Result<(), TrySendError> {
        self.close_pack();
        if self.unfinished {
            match self.room(frame_size(0))? {
                Look::Ready(()) => self.abort(),
                _ => return Err(TrySendError::Full),
            }
        }
        Ok(())
    }

    pub(crate) fn abort(&mut self) {
        self.close_pack();
        if self.unfinished {
            self.unfinished = false;
            self.settle();
            if !mutant("abort-forgotten") {
                step::at(Step::Abort);
                self.publish(Kind::Abort, 0, 0);
            }
        }
    }

    #[inline]
    pub(crate) fn largest_frame(&self) -> u64 {
        self.largest
    }

    /// Says again whether something has to be seen to. Whoever changes what it asks about calls it.
    #[inline]
    pub(crate) fn settle(&mut self) {
        self.hindered = self.end.is_some() || self.stage.is_open() || self.unfinished;
    }

    /// Sends a message that goes in one frame, if nothing at all stands in the way.
    #[inline(always)]
    pub(crate) fn put(&mut self, bytes: &[u8], tag: u64) -> bool {
        let len = bytes.len() as u64;
        let ready = len <= self.largest && self.is_ready_for(frame_size(len));
        if ready {
            self.write(Kind::Data, bytes, tag);
        }
        ready
    }

    /// As [`put`](Self::put), of a message that is in two pieces, the second `at` so many bytes.
    #[inline(always)]
    pub(crate) fn put_two(&mut self, first: &[u8], at: usize, second: &[u8], tag: u64) -> bool {
        let len = at as u64 + second.len() as u64;
        let ready = len <= self.largest && self.is_ready_for(frame_size(len));
        if ready {
            let next = self.tail.wrapping_add(frame_size(len));
            let (frame, after) = (self.data.frame_mut(self.tail), self.data.frame_mut(next));
            // From the end to the beginning, as in `write`.
            end_frame(after);
            pad(frame, len as u32);
            frame.copy_payload_in(at, second);
            frame.zero(first.len(), at - first.len());
            frame.copy_payload_in(0, first);
            step::at(Step::P1);
            announce(frame, after, Header::new(Kind::Data, len as u32), tag);
            self.look_after(next);
        }
        ready
    }

    /// Whether a frame of so many bytes can be written now, as far as is known.
    #[inline(always)]
    pub(crate) fn is_ready_for(&self, frame: u64) -> bool {
        !self.hindered && self.is_open() && frame <= self.free()
    }

    /// Writes a frame for which there is room, and publishes it.
    ///
    /// From its end to its beginning: the consumer looks at the header's line all the time, and a line that is
    /// stored to early is taken away before the header can be stored.
    #[inline(always)]
    pub(crate) fn write(&mut self, kind: Kind, bytes: &[u8], tag: u64) {
        let len = bytes.len() as u32;
        let next = self.tail.wrapping_add(frame_size(len.into()));
        let (frame, after) = (self.data.frame_mut(self.tail), self.data.frame_mut(next));
        end_frame(after);
        pad(frame, len);
        frame.copy_payload_in(0, bytes);
        step::at(Step::P1);
        announce(frame, after, Header::new(kind, len), tag);
        self.look_after(next);
    }

    /// Where the payload of the next frame goes.
    #[inline]
    pub(crate) fn payload(&self) -> usize {
        self.capacity.offset(self.tail) + HEADER as usize
    }

    /// The largest payload there is room for now, by what we know of the peer's head.
    #[inline]
    pub(crate) fn free_payload(&self) -> u64 {
        self.capacity.room(self.tail.wrapping_sub(self.head)).unwrap_or(0).min(self.largest_frame())
    }

    /// The largest pack there is room for now.
    pub(crate) fn free_pack(&self) -> u64 {
        self.capacity.room(self.tail.wrapping_sub(self.head)).unwrap_or(0)
    }

    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.life.is_forked()
    }

    /// How the direction ended, if that was said already.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// What this half did, with how it waited.
    pub(crate) fn stats(&self, waits: Stats) -> Stats {
        let stats = self.traffic.among(Stats { wakes: self.wakes, ..waits });
        let (messages, bytes) = self.stage.uncounted();
        Stats { messages: stats.messages + messages, bytes: stats.bytes + bytes, ..stats }
    }

    pub(crate) fn max_message(&self) -> u64 {
        self.max_message
    }

    /// Bytes that frames may take before the head has to move.
    #[inline(always)]
    fn free(&self) -> u64 {
        // Never negative: whatever is written fits, and the end mark, which goes beyond, is the last.
        self.limit.wrapping_sub(self.tail)
    }

    /// Whether a frame fits; reads the peer's head only if it does not fit by what we know.
    #[inline]
    pub(crate) fn room(&mut self, frame: u64) -> Result<Look<()>, End> {
        if frame <= self.free() {
            return Ok(Look::Ready(()));
        }
        self.reload(frame)
    }

    pub(crate) fn reload(&mut self, frame: u64) -> Result<Look<()>, End> {
        step::at(Step::H5);
        // ORDERING: Acquire; pairs with H2 in `Head::store`. The consumer's reads of the bytes come
        // before our writes over them.
        let word = self.theirs.load64(HEAD, sync::order("relaxed-room", Ordering::Acquire));
        match check_head(word & !GONE, self.head, self.tail) {
            Ok(head) => {
                self.head = head;
                self.limit = limit(self.capacity, head);
            }
            Err(fault) => return Err(self.fault(fault)),
        }
        if word & GONE != 0 {
            // Not the first word, perhaps: a flush can come here after this half has reported a hang-up.
            return Err(self.ended(End::Closed));
        }
        if frame <= self.free() {
            return Ok(Look::Ready(()));
        }
        self.wanted = frame;
        Ok(Look::Nothing { offset: HEAD, seen: word as u32 })
    }

    fn fault(&mut self, fault: Fault) -> End {
        let end = self.life.fail(fault);
        self.ended(end)
    }

    /// Keeps what ended the direction: what was said first stays.
    #[cold]
    fn ended(&mut self, end: End) -> End {
        let end = *self.end.get_or_insert(end);
        self.stage.shut();
        self.settle();
        end
    }

    /// Publishes the frame at the tail, whose payload of `len` bytes is in place.
    #[inline]
    pub(crate) fn publish(&mut self, kind: Kind, len: u32, tag: u64) {
        self.publish_as(Header::new(kind, len), tag);
    }

    /// As [`publish`](Self::publish), with everything that a header says.
    #[inline]
    pub(crate) fn publish_as(&mut self, header: Header, tag: u64) {
        let Header { kind, len, .. } = header;
        let next = self.tail.wrapping_add(frame_size(u64::from(len)));
        let (frame, after) = (self.data.frame_mut(self.tail), self.data.frame_mut(next));
        pad(frame, len);
        step::at(Step::P1);
        if kind != Kind::End {
            end_frame(after);
        }
        announce(frame, after, header, tag);
        self.look_after(next);
    }

    /// Moves the tail on over the frame that was published, wakes who waits for it, and prepares for the next one.
    #[inline(always)]
    fn look_after(&mut self, next: u64) {
        let at = std::mem::replace(&mut self.tail, next);
        step::at(Step::P4);
        self.life.fences().light(); // P4
        step::at(Step::P5);
        // ORDERING: Relaxed; ordered by P4 and by the sleeper's heavy fence.
        let asleep = Asleep(self.theirs.load32_at::<RX_ASLEEP>(Ordering::Relaxed)); // P5
        if asleep.is_new(self.woken) {
            self.wake(asleep, self.capacity.offset(at));
        }
        // The line after the next header: the next payload reaches into it, and the peer does not read it
        // yet. Fetched now, in time that would be idle, it does not hold up the next publish.
        self.data.frame_mut(next).prefetch_next_line();
    }

    #[cold]
    fn wake(&mut self, asleep: Asleep, at: usize) {
        match asleep.how() {
            Some(How::Futex) => {}
            Some(How::Doorbell) => {
                step::at(Step::P5Bell);
                if self.life.ring_doorbell() && !mutant("doorbell-each-time") {
                    self.woken = asleep.0;
                }
                return self.count_wake();
            }
            Some(How::Gone) => {
                // Not believed here: the head says so itself, now or at the next look.
                if self.reload(HEADER).is_err() {
                    self.woken = asleep.0;
                }
                return;
            }
            None => return,
        }
        let at = if mutant("wake-wrong-word") { self.capacity.offset(self.tail) } else { at };
        step::at(Step::P5Wake);
        let somebody = sync::wake(&self.data, at);
        if (somebody || mutant("epoch-settled-by-any-wake")) && !mutant("epoch-never-settled") {
            self.woken = asleep.0;
        }
        self.count_wake();
    }

    fn count_wake(&mut self) {
        self.wakes += 1;
        counters::put_wakes(&self.mine, counters::TX, self.wakes);
    }
}
