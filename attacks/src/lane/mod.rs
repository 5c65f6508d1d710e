//! A clean channel: the producer of one lane and the consumer of the other, with sleep, wake and
//! fences, as sections 5 to 9 of the protocol say.
//!
//! What the protocol allows to be done later is done at once here: a look after every frame, one
//! frame a message. Whoever wants to break a rule uses `frame`, `head` and the stores, not this.
//!
//! Orders, and what each pairs with. X publishes, Y sleeps; either side is both.
//!
//! | | X | | Y |
//! |---|---|---|---|
//! | L1 | payload and tag before the header word: release | L2 | header word before them: acquire |
//! | L3 | copies before the head: release | L4 | head before its room is written: acquire |
//! | L5 | header or head, light fence, then a look at the sleep word | L6 | sleep word, heavy fence, then a look at header or head |
//!
//! Without L5 and L6 both could see the old value of the other: Y sleeps and nobody wakes it. All
//! other accesses are relaxed: between two of the same side, or of words that decide nothing.

mod consumer;
mod producer;

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};
use std::time::Duration;

use consumer::Receiving;
use producer::Sending;

use crate::answer::Failure;
use crate::deadline::Deadline;
use crate::segment::Segment;
use crate::socket::{self, Ancillary, Packet};
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
const BY_DOORBELL: u32 = 2;
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

/// What goes ahead of a message.
pub struct Ahead {
    /// The descriptors.
    pub fds: Ancillary,
    /// How many.
    pub count: u16,
    /// What each is, as [`wire::build`] takes it.
    pub entries: String,
}

/// What came ahead of one.
pub struct Came {
    position: u64,
    /// The descriptors.
    pub fds: Vec<OwnedFd>,
    /// What each is, as [`wire::build`] takes it.
    pub entries: String,
}

/// How the two orders of section 8 are kept.
#[derive(Clone, Copy)]
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
    /// How its fences are kept now.
    pub fences: Fences,
    awaits_ack: bool,
    largest: u64,
    /// Descriptors that we take, blobs among them.
    takes: u64,
    /// What came ahead of messages that have not.
    came: VecDeque<Came>,
    /// What came with the message that was received last.
    pub with_last: Option<Came>,
    /// Our next byte to write; storms look at it too.
    pub tail: Arc<AtomicU64>,
    sending: Sending,
    /// Our next byte to read.
    pub head: u64,
    receiving: Receiving,
    epoch: u32,
    socket_ended: bool,
}

impl Lanes {
    /// A channel at its beginning.
    pub fn new(mine: Segment, theirs: Segment, fences: Fences, largest: u64, takes: u64) -> Self {
        Self {
            mine,
            theirs,
            fences,
            awaits_ack: false,
            largest,
            takes,
            came: VecDeque::new(),
            with_last: None,
            tail: Arc::default(),
            sending: Sending::default(),
            head: 0,
            receiving: Receiving::default(),
            epoch: 0,
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

    /// Closes both lanes in order: End, bit 0 of the head, and the hint that nobody reads.
    pub fn leave(&mut self, socket: BorrowedFd<'_>) -> Result<(), Failure> {
        if self.sending.ended {
            return Ok(());
        }
        self.sending.ended = true;
        let tail = self.tail();
        self.mine.word64(tail.wrapping_add(8))?.store(0, Ordering::Relaxed);
        self.mine.word64(tail)?.store(END.into(), Ordering::Release); // L1
        self.tail.store(tail.wrapping_add(HEADER), Ordering::Relaxed);
        self.wake_consumer(socket, tail)?;
        self.receiving.published = self.head;
        self.mine.map.word64(HEAD)?.store(self.head | GONE, Ordering::Release); // L3
        let gone = self.next_epoch() | CONSUMER_GONE;
        self.mine.map.word32(RX_ASLEEP)?.store(gone, Ordering::Release);
        self.wake_producer(socket)
    }

    /// A sleep word that was not used before, by futex.
    fn next_epoch(&mut self) -> u32 {
        self.epoch = self.epoch.wrapping_add(1) & (u32::MAX >> 2);
        self.epoch << 2 | BY_FUTEX
    }

    fn slice(&self, deadline: Deadline) -> Duration {
        deadline.left().min(Duration::from_millis(if self.awaits_ack { 10 } else { 50 }))
    }

    /// L5: between a publish and the look at the sleep word.
    fn light(&self) {
        if self.fences.light_is_free {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
    }

    /// L6: between the sleep word and the last look.
    fn heavy(&mut self, socket: BorrowedFd<'_>) {
        if self.fences.heavy_is_membarrier && !sys::membarrier() {
            self.fences.heavy_is_membarrier = false;
            self.awaits_ack = say(socket, "fence").is_ok();
        }
        fence(Ordering::SeqCst);
    }

    /// Reads what lies in the socket: Fence, FenceAck, what goes with messages, or the end.
    pub fn drain(&mut self, socket: BorrowedFd<'_>) -> Result<(), Failure> {
        while !self.socket_ended {
            match socket::try_recv(socket) {
                Err(Failure::Errno(libc::EAGAIN)) => break,
                Err(Failure::Errno(libc::ECONNRESET | libc::EINTR)) => {}
                Err(other) => return Err(other),
                Ok(None) => self.socket_ended = true,
                Ok(Some(packet)) => self.hear(socket, packet)?,
            }
        }
        Ok(())
    }

    fn hear(&mut self, socket: BorrowedFd<'_>, packet: Packet) -> Result<(), Failure> {
        let message = wire::parse(&packet.bytes).map_err(Failure::fault)?;
        match message.name {
            "attachments" if self.takes != 0 => {
                let entries = message.entries();
                if packet.cut || packet.fds.len() != entries.split(',').count() {
                    return Err(Failure::fault("descriptors of Attachments"));
                }
                let position = message.number("position");
                self.came.push_back(Came { position, fds: packet.fds, entries });
                let waiting: usize = self.came.iter().map(|came| came.fds.len()).sum();
                if waiting as u64 > self.takes {
                    return Err(Failure::fault("more descriptors than are taken"));
                }
            }
            _ if !packet.fds.is_empty() => return Err(Failure::fault("descriptors")),
            "fence" => {
                self.fences.light_is_free = false;
                sys::membarrier();
                fence(Ordering::SeqCst);
                say(socket, "fenceack")?;
            }
            "fenceack" => self.awaits_ack = false,
            // Of a sleep word that a command has set: this client waits in no loop.
            "doorbell" => {}
            // Whoever keeps no blob has nothing to forget.
            "forget" if self.takes != 0 => {}
            other => return Err(Failure::fault(format!("{other} after Ready"))),
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
            ("published", self.receiving.published),
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

    /// Where the other side's consumer (`rx`) or producer sleeps: in our segment.
    pub fn bed(&self, rx: bool) -> Bed {
        Bed { segment: self.mine.clone(), tail: Arc::clone(&self.tail), rx }
    }
}

/// The word in our segment that the other side sleeps on, as our tail moves.
pub struct Bed {
    /// Our segment.
    pub segment: Segment,
    tail: Arc<AtomicU64>,
    rx: bool,
}

impl Bed {
    /// The word as of now.
    pub fn word(&self) -> Result<&AtomicU32, Failure> {
        if self.rx {
            self.segment.word32(self.tail.load(Ordering::Relaxed))
        } else {
            self.segment.map.word32(HEAD)
        }
    }
}

/// Wakes whoever sleeps so on this word, or waits for a doorbell; whether that was a success.
fn wake(socket: BorrowedFd<'_>, asleep: u32, word: &AtomicU32) -> Result<bool, Failure> {
    match asleep & 3 {
        BY_FUTEX => Ok(sys::futex_wake(word) > 0),
        BY_DOORBELL => match say(socket, "doorbell") {
            // Whose queue is full has something to read.
            Ok(()) | Err(Failure::Errno(libc::EAGAIN)) => Ok(true),
            Err(Failure::Errno(libc::EPIPE | libc::ECONNRESET)) => Ok(true),
            Err(other) => Err(other),
        },
        _ => Ok(false),
    }
}

fn say(socket: BorrowedFd<'_>, name: &str) -> Result<(), Failure> {
    let layout = wire::layout(name).ok_or_else(|| Failure::usage(name))?;
    socket::try_send(socket, &wire::build(layout, &[])?, &Ancillary::default())
}
