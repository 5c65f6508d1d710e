//! A clean channel: the producer of one lane and the consumer of the other, with sleep, wake and fences.
//!
//! What the protocol allows to be done later is done at once here: a look after every frame, one frame a
//! message. Whoever wants to break a rule uses `frame`, `head` and the stores, not this.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};
use std::time::Duration;

use crate::answer::Failure;
use crate::deadline::Deadline;
use crate::segment::Segment;
use crate::socket::{self, Ancillary};
use crate::{sys, wire};

/// Offsets in the control area.
pub const HEAD: usize = 0;
/// Likewise.
pub const RX_ASLEEP: usize = 128;
/// Likewise.
pub const TX_ASLEEP: usize = 256;

const HEADER: u64 = 16;
const GONE: u64 = 1;
const BY_FUTEX: u32 = 1;
const CONSUMER_GONE: u32 = 3;

const DATA: u8 = 1;
const PACK: u8 = 2;
const FIRST: u8 = 3;
const NEXT: u8 = 4;
const LAST: u8 = 5;
const ABORT: u8 = 6;
const END: u8 = 7;

/// A message and its tag.
pub struct Message {
    /// The application's number.
    pub tag: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// How the two orders of section 8 are kept.
pub struct Fences {
    /// After a publish a compiler fence is enough.
    pub light_is_free: bool,
    /// Before a sleep `membarrier` stands in for the other side's fence.
    pub heavy_is_membarrier: bool,
}

/// Both lanes of a channel.
pub struct Lanes {
    /// What we write.
    pub mine: Segment,
    /// What the other side writes.
    pub theirs: Segment,
    fences: Fences,
    awaits_ack: bool,
    largest: u64,
    /// Our next byte to write; storms look at it too.
    pub tail: Arc<AtomicU64>,
    their_head: u64,
    woken_rx: u32,
    unfinished: bool,
    ended: bool,
    /// Our next byte to read.
    pub head: u64,
    published: u64,
    woken_tx: u32,
    epoch: u32,
    parts: Option<Parts>,
    waiting: VecDeque<Message>,
    closed: bool,
    socket_ended: bool,
}

/// A message in parts that has not come whole.
struct Parts {
    total: u64,
    message: Message,
}

/// The header of a frame, loaded once.
#[derive(Clone, Copy)]
struct Header {
    kind: u8,
    length: u64,
}

/// What a look at the lane found.
enum Look {
    Empty,
    Message(Message),
    End,
}

impl Lanes {
    /// A channel at its beginning.
    pub fn new(mine: Segment, theirs: Segment, fences: Fences, largest: u64) -> Self {
        Self {
            mine,
            theirs,
            fences,
            awaits_ack: false,
            largest,
            tail: Arc::default(),
            their_head: 0,
            woken_rx: 0,
            unfinished: false,
            ended: false,
            head: 0,
            published: 0,
            woken_tx: 0,
            epoch: 0,
            parts: None,
            waiting: VecDeque::new(),
            closed: false,
            socket_ended: false,
        }
    }

    /// Where our next frame goes.
    pub fn tail(&self) -> u64 {
        self.tail.load(Ordering::Relaxed)
    }

    fn most(&self) -> u64 {
        self.mine.capacity / 4 - HEADER
    }

    // Sending.

    /// Sends a message, in parts if it is long.
    pub fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        message: &Message,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let total = message.bytes.len() as u64;
        if total > self.largest {
            return Err(Failure::usage(format!("the largest message has {} bytes", self.largest)));
        }
        self.begin(socket, deadline)?;
        if total <= self.most() {
            return self.frame(socket, DATA, message.tag, &message.bytes, deadline);
        }
        let mut first = total.to_le_bytes().to_vec();
        let (begin, mut rest) = message.bytes.split_at((self.most() - 8) as usize);
        first.extend(begin);
        self.frame(socket, FIRST, message.tag, &first, deadline)?;
        self.unfinished = true;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(self.most() as usize));
            let kind = if after.is_empty() { LAST } else { NEXT };
            self.frame(socket, kind, message.tag, part, deadline)?;
            rest = after;
        }
        self.unfinished = false;
        Ok(())
    }

    /// Sends several messages in one frame.
    pub fn pack(
        &mut self,
        socket: BorrowedFd<'_>,
        messages: &[Message],
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let mut payload = Vec::new();
        for message in messages {
            payload
                .extend(u32::try_from(message.bytes.len()).map_err(Failure::usage)?.to_le_bytes());
            payload.extend([0; 4]);
            payload.extend(message.tag.to_le_bytes());
            payload.extend(&message.bytes);
            payload.resize(payload.len().next_multiple_of(8), 0);
        }
        if messages.is_empty() || payload.len() as u64 > self.most() {
            return Err(Failure::usage("no pack of that size"));
        }
        self.begin(socket, deadline)?;
        self.frame(socket, PACK, 0, &payload, deadline)
    }

    fn begin(&mut self, socket: BorrowedFd<'_>, deadline: Deadline) -> Result<(), Failure> {
        self.drain(socket)?;
        if self.ended {
            return Err(Failure::usage("we have closed"));
        }
        if self.unfinished {
            self.frame(socket, ABORT, 0, &[], deadline)?;
            self.unfinished = false;
        }
        if self.socket_ended {
            self.look_at_head()?;
            return Err(Failure::Word("died", Default::default()));
        }
        Ok(())
    }

    fn frame(
        &mut self,
        socket: BorrowedFd<'_>,
        kind: u8,
        tag: u64,
        bytes: &[u8],
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let size = HEADER + (bytes.len() as u64).next_multiple_of(HEADER);
        if self.theirs.map.word32(RX_ASLEEP)?.load(Ordering::Relaxed) & 3 == CONSUMER_GONE {
            self.look_at_head()?;
        }
        self.make_room(socket, size, deadline)?;
        let tail = self.tail();
        let mut payload = bytes.to_vec();
        payload.resize(bytes.len().next_multiple_of(HEADER as usize), 0);
        self.mine.write(tail.wrapping_add(HEADER), &payload)?;
        self.mine.word64(tail.wrapping_add(8))?.store(tag, Ordering::Relaxed);
        self.mine.word64(tail.wrapping_add(size))?.store(0, Ordering::Relaxed);
        let header = u64::from(kind) | (bytes.len() as u64) << 32;
        self.mine.word64(tail)?.store(header, Ordering::Release);
        self.tail.store(tail.wrapping_add(size), Ordering::Relaxed);
        self.wake_consumer(tail)
    }

    /// After a frame was published at `position`: wakes the consumer if it sleeps.
    pub fn wake_consumer(&mut self, position: u64) -> Result<(), Failure> {
        self.light();
        let asleep = self.theirs.map.word32(RX_ASLEEP)?.load(Ordering::Relaxed);
        if asleep & 3 == BY_FUTEX
            && asleep != self.woken_rx
            && sys::futex_wake(self.mine.word32(position)?) > 0
        {
            self.woken_rx = asleep;
        }
        Ok(())
    }

    /// Loads the other side's head and checks it; says the raw word.
    fn look_at_head(&mut self) -> Result<u64, Failure> {
        let raw = self.theirs.map.word64(HEAD)?.load(Ordering::Acquire);
        let head = raw & !GONE;
        let moved = head.wrapping_sub(self.their_head);
        if !head.is_multiple_of(HEADER) || moved > self.tail().wrapping_sub(self.their_head) {
            return Err(Failure::fault(format!("head {raw:#x}")));
        }
        self.their_head = head;
        if raw & GONE != 0 { Err(Failure::Word("closed", Default::default())) } else { Ok(raw) }
    }

    fn fits(&self, size: u64) -> bool {
        let used = self.tail().wrapping_sub(self.their_head);
        size + HEADER <= self.mine.capacity.saturating_sub(used)
    }

    fn make_room(
        &mut self,
        socket: BorrowedFd<'_>,
        size: u64,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        while !self.fits(size) {
            self.look_at_head()?;
            if self.fits(size) {
                break;
            }
            self.publish_head()?;
            let sleep = self.next_epoch();
            self.mine.map.word32(TX_ASLEEP)?.store(sleep, Ordering::Relaxed);
            self.heavy(socket);
            let seen = self.look_at_head();
            if let (Ok(seen), false) = (&seen, self.fits(size)) {
                let low = *seen as u32;
                sys::futex_wait(self.theirs.map.word32(HEAD)?, low, self.slice(deadline));
            }
            self.mine.map.word32(TX_ASLEEP)?.store(0, Ordering::Relaxed);
            seen?;
            self.drain(socket)?;
            let out_of_time = deadline.passed();
            self.look_at_head()?;
            if self.fits(size) {
                break;
            }
            if self.socket_ended {
                return Err(Failure::Word("died", Default::default()));
            }
            if out_of_time {
                return Err(Failure::Word("timeout", Default::default()));
            }
        }
        Ok(())
    }

    // Receiving.

    /// Takes the next message.
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        deadline: Deadline,
    ) -> Result<Message, Failure> {
        loop {
            if let Some(found) = self.found()? {
                return found;
            }
            let sleep = self.next_epoch();
            self.mine.map.word32(RX_ASLEEP)?.store(sleep, Ordering::Relaxed);
            self.heavy(socket);
            let word = self.theirs.word32(self.head)?;
            if word.load(Ordering::Acquire) == 0 {
                sys::futex_wait(word, 0, self.slice(deadline));
            }
            self.mine.map.word32(RX_ASLEEP)?.store(0, Ordering::Relaxed);
            self.drain(socket)?;
            let out_of_time = deadline.passed();
            if let Some(found) = self.found()? {
                return found;
            }
            if self.socket_ended {
                return Err(Failure::Word("died", Default::default()));
            }
            if out_of_time {
                return Err(Failure::Word("timeout", Default::default()));
            }
        }
    }

    fn found(&mut self) -> Result<Option<Result<Message, Failure>>, Failure> {
        Ok(match self.look()? {
            Look::Empty => None,
            Look::Message(message) => Some(Ok(message)),
            Look::End => Some(Err(Failure::Word("closed", Default::default()))),
        })
    }

    fn look(&mut self) -> Result<Look, Failure> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Ok(Look::Message(message));
            }
            if self.closed {
                return Ok(Look::End);
            }
            let word = self.theirs.word64(self.head)?.load(Ordering::Acquire);
            if word as u32 == 0 {
                self.publish_head()?;
                return Ok(Look::Empty);
            }
            let header = self.check(word)?;
            let tag = self.theirs.word64(self.head.wrapping_add(8))?.load(Ordering::Relaxed);
            let mut bytes = vec![0; header.length as usize];
            self.theirs.read(self.head.wrapping_add(HEADER), &mut bytes)?;
            self.head = self.head.wrapping_add(HEADER + header.length.next_multiple_of(HEADER));
            self.take(header.kind, tag, bytes)?;
            let behind = self.head.wrapping_sub(self.published);
            let sleeps = self.theirs.map.word32(TX_ASLEEP)?.load(Ordering::Relaxed) != 0;
            if behind >= self.theirs.capacity / 8 || sleeps {
                self.publish_head()?;
            }
        }
    }

    fn check(&self, word: u64) -> Result<Header, Failure> {
        let header = Header { kind: word as u8, length: word >> 32 };
        let least = match header.kind {
            DATA => 0,
            PACK => 16,
            FIRST => 9,
            NEXT | LAST => 1,
            ABORT | END => 0,
            _ => return Err(Failure::fault(format!("header {word:#x}"))),
        };
        let most =
            if matches!(header.kind, ABORT | END) { 0 } else { self.theirs.capacity / 4 - HEADER };
        if word as u32 >> 8 != 0 || !(least..=most).contains(&header.length) {
            return Err(Failure::fault(format!("header {word:#x}")));
        }
        Ok(header)
    }

    fn take(&mut self, kind: u8, tag: u64, bytes: Vec<u8>) -> Result<(), Failure> {
        let in_parts = self.parts.is_some();
        if in_parts != matches!(kind, NEXT | LAST | ABORT) && kind != END {
            return Err(Failure::fault(format!("a frame of kind {kind} here")));
        }
        match kind {
            DATA => self.deliver(Message { tag, bytes })?,
            PACK => self.unpack(&bytes)?,
            FIRST => {
                let (total, begin) = bytes.split_at(8);
                let total = number(total);
                if begin.len() as u64 >= total || total > self.largest {
                    return Err(Failure::fault(format!("a total of {total}")));
                }
                self.parts = Some(Parts { total, message: Message { tag, bytes: begin.to_vec() } });
            }
            NEXT | LAST => {
                let mut parts = self.parts.take().ok_or_else(|| Failure::fault("parts"))?;
                parts.message.bytes.extend(&bytes);
                let have = parts.message.bytes.len() as u64;
                if parts.message.tag != tag
                    || (kind == LAST) != (have == parts.total)
                    || have > parts.total
                {
                    return Err(Failure::fault(format!("{have} of {} bytes", parts.total)));
                }
                match kind {
                    LAST => self.deliver(parts.message)?,
                    _ => self.parts = Some(parts),
                }
            }
            ABORT => self.parts = None,
            _ => self.closed = true,
        }
        Ok(())
    }

    fn unpack(&mut self, mut rest: &[u8]) -> Result<(), Failure> {
        let bad = || Failure::fault("an entry of a pack");
        while !rest.is_empty() {
            let (entry, after) = rest.split_at_checked(16).ok_or_else(bad)?;
            let (length, tag) = (number(&entry[..8]), number(&entry[8..]));
            // The u32 after the length has to be zero, so both are one number.
            let length =
                usize::try_from(length).ok().filter(|l| *l <= after.len()).ok_or_else(bad)?;
            let (bytes, _) = after.split_at(length);
            rest = after.get(length.next_multiple_of(8)..).ok_or_else(bad)?;
            self.deliver(Message { tag, bytes: bytes.to_vec() })?;
        }
        Ok(())
    }

    fn deliver(&mut self, message: Message) -> Result<(), Failure> {
        if message.bytes.len() as u64 > self.largest {
            return Err(Failure::fault("a message above the largest"));
        }
        self.waiting.push_back(message);
        Ok(())
    }

    fn publish_head(&mut self) -> Result<(), Failure> {
        if self.published == self.head {
            return Ok(());
        }
        self.published = self.head;
        self.mine.map.word64(HEAD)?.store(self.head, Ordering::Release);
        self.wake_producer()
    }

    /// After a head was published: wakes the producer if it sleeps.
    pub fn wake_producer(&mut self) -> Result<(), Failure> {
        self.light();
        let asleep = self.theirs.map.word32(TX_ASLEEP)?.load(Ordering::Relaxed);
        if asleep & 3 == BY_FUTEX
            && asleep != self.woken_tx
            && sys::futex_wake(self.mine.map.word32(HEAD)?) > 0
        {
            self.woken_tx = asleep;
        }
        Ok(())
    }

    // Ends, sleeps and fences.

    /// Closes both lanes in order: End, bit 0 of the head, and the hint that nobody reads.
    pub fn leave(&mut self) -> Result<(), Failure> {
        if self.ended {
            return Ok(());
        }
        self.ended = true;
        let tail = self.tail();
        self.mine.word64(tail.wrapping_add(8))?.store(0, Ordering::Relaxed);
        self.mine.word64(tail)?.store(END.into(), Ordering::Release);
        self.tail.store(tail.wrapping_add(HEADER), Ordering::Relaxed);
        self.wake_consumer(tail)?;
        self.published = self.head;
        self.mine.map.word64(HEAD)?.store(self.head | GONE, Ordering::Release);
        let gone = self.next_epoch() | CONSUMER_GONE;
        self.mine.map.word32(RX_ASLEEP)?.store(gone, Ordering::Release);
        self.wake_producer()
    }

    /// A sleep word that was not used before, by futex.
    fn next_epoch(&mut self) -> u32 {
        self.epoch = self.epoch.wrapping_add(1) & (u32::MAX >> 2);
        self.epoch << 2 | BY_FUTEX
    }

    fn slice(&self, deadline: Deadline) -> Duration {
        deadline.left().min(Duration::from_millis(if self.awaits_ack { 10 } else { 50 }))
    }

    fn light(&self) {
        if self.fences.light_is_free {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    fn heavy(&mut self, socket: BorrowedFd<'_>) {
        if self.fences.heavy_is_membarrier && !sys::membarrier() {
            self.fences.heavy_is_membarrier = false;
            self.awaits_ack = say(socket, "fence").is_ok();
        }
        fence(Ordering::SeqCst);
    }

    /// Reads what lies in the socket: Fence, FenceAck or the end.
    pub fn drain(&mut self, socket: BorrowedFd<'_>) -> Result<(), Failure> {
        while !self.socket_ended {
            match socket::try_recv(socket) {
                Err(Failure::Errno(libc::EAGAIN)) => break,
                Err(Failure::Errno(libc::ECONNRESET | libc::EINTR)) => {}
                Err(other) => return Err(other),
                Ok(None) => self.socket_ended = true,
                Ok(Some(packet)) => match wire::parse(&packet.bytes).map(|message| message.name) {
                    Ok("fence") if packet.fds.is_empty() => {
                        self.fences.light_is_free = false;
                        sys::membarrier();
                        fence(Ordering::SeqCst);
                        say(socket, "fenceack")?;
                    }
                    Ok("fenceack") if packet.fds.is_empty() => self.awaits_ack = false,
                    _ => return Err(Failure::fault("another packet than Fence")),
                },
            }
        }
        Ok(())
    }

    /// The words of both sides, by name.
    pub fn words(&self) -> Result<[(&'static str, u64); 11], Failure> {
        let word = |segment: &Segment, at| {
            Ok::<_, Failure>(u64::from(segment.map.word32(at)?.load(Ordering::Acquire)))
        };
        Ok([
            ("tail", self.tail()),
            ("head", self.head),
            ("published", self.published),
            ("their_head", self.theirs.map.word64(HEAD)?.load(Ordering::Acquire)),
            ("my_rx_asleep", word(&self.mine, RX_ASLEEP)?),
            ("my_tx_asleep", word(&self.mine, TX_ASLEEP)?),
            ("rx_asleep", word(&self.theirs, RX_ASLEEP)?),
            ("tx_asleep", word(&self.theirs, TX_ASLEEP)?),
            ("control", self.mine.control as u64),
            ("mine", self.mine.capacity),
            ("theirs", self.theirs.capacity),
        ])
    }

    /// A word that the other side's consumer (`rx`) or producer sleeps on; it lies in our segment.
    pub fn sleeping_place(&self, rx: bool) -> Result<&AtomicU32, Failure> {
        if rx { self.mine.word32(self.tail()) } else { self.mine.map.word32(HEAD) }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))
}

fn say(socket: BorrowedFd<'_>, name: &str) -> Result<(), Failure> {
    let layout = wire::layout(name).ok_or_else(|| Failure::usage(name))?;
    socket::try_send(socket, &wire::build(layout, &[])?, &Ancillary::default())
}
