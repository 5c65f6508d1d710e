//! A lane whose other end is the fuzzer: it writes the peer's memory, and we send and receive.
//!
//! Whatever lies there, nothing panics, hangs or grows past its limit; a fault stays, on both halves; what
//! is received keeps to what was agreed; and what we publish is in order as long as the peer has not lied
//! about what it read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use memring_ring::buffer::Buffer;
use memring_ring::consumer::{Consumer, Item, TryRecvError};
use memring_ring::memory::Region;
use memring_ring::position::frame_size;
use memring_ring::producer::{Producer, SendError, TrySendError};
use memring_ring::{End, Life, Terms, channel};

use crate::Seed;
use crate::input::{Input, Script};
use crate::memory::{CAPACITY, HEAD, LARGEST, Memory, RX_ASLEEP, TX_ASLEEP, life, offset, terms};
use crate::received::not_in_time;
use crate::witness::Witness;

/// What the script can ask for: the numbers by which seeds name them.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Op {
    TryRecv,
    Recv,
    Take,
    Publish,
    /// A frame with an honest header: kind, length, tag.
    Frame,
    /// Bytes anywhere in the peer's lane.
    Bytes,
    /// A word at a place where a frame can begin.
    Word,
    /// A header word at the peer's tail.
    Header,
    /// The peer reads so many frames of ours, and says so.
    Read,
    /// The peer says that it has read up to here, whatever is true.
    Head,
    Asleep,
    TrySend,
    Send,
    Claim,
    Batch,
    HangUp,
    Leave,
    /// A message of so many bytes, in the way of one who knows how many.
    NextOf,
    /// As many as the script says of what is left of a pack of such.
    SkipAlike,
}

const OPS: [Op; 19] = [
    Op::TryRecv,
    Op::Recv,
    Op::Take,
    Op::Publish,
    Op::Frame,
    Op::Bytes,
    Op::Word,
    Op::Header,
    Op::Read,
    Op::Head,
    Op::Asleep,
    Op::TrySend,
    Op::Send,
    Op::Claim,
    Op::Batch,
    Op::HangUp,
    Op::Leave,
    Op::NextOf,
    Op::SkipAlike,
];

/// One life of a channel.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let terms = terms(input.u8());
    Memory::with(terms.start, |memory| {
        let mut bench = Bench::new(memory, &terms);
        while !input.is_over() {
            let op = OPS[usize::from(input.u8()) % OPS.len()];
            bench.run(op, &mut input);
        }
        bench.end();
    });
}

struct Bench {
    producer: Producer,
    consumer: Consumer,
    life: Arc<Life>,
    max_message: u64,
    spare: Buffer,
    peer: Peer,
    /// The first fault or hang-up that either half reported.
    fault: Option<End>,
    received: (u64, u64),
    sent: (u64, u64),
}

/// The fuzzer's side: its memory, and ours as it sees it.
struct Peer {
    control: Region,
    data: Region,
    ours: Witness,
    /// Where it writes next.
    tail: u64,
    start: u64,
    /// How many messages of ours it has read.
    messages: u64,
    /// It never said that it has read what it has not, so our lane must make sense to it.
    honest: bool,
    /// Since it told a lie that no producer may ever believe: the bytes that may still be sent.
    granted: Option<u64>,
}

impl Bench {
    fn new(memory: &Memory, terms: &Terms) -> Self {
        let life = life();
        let (producer, consumer) = channel(&memory.ours.writer, &memory.peers.reader, &life, terms);
        let start = terms.start;
        Self {
            producer,
            consumer,
            life,
            max_message: terms.max_message,
            spare: Buffer::new(),
            peer: Peer {
                control: memory.peers.writer.control(),
                data: memory.peers.writer.data(),
                ours: Witness::new(memory.ours.reader.data(), start, terms.max_message),
                tail: start,
                start,
                messages: 0,
                honest: true,
                granted: None,
            },
            fault: None,
            received: (0, 0),
            sent: (0, 0),
        }
    }

    fn run(&mut self, op: Op, input: &mut Input<'_>) {
        let now = Some(Instant::now());
        match op {
            Op::TryRecv => {
                let received = self.consumer.try_recv();
                self.received(received, false);
            }
            Op::Take => {
                let received = self.consumer.try_recv();
                self.received(received, true);
            }
            Op::Recv => {
                let received = self.consumer.recv(now).map_err(not_in_time);
                self.received(received, false);
            }
            Op::Publish => self.consumer.publish(),
            Op::TrySend => {
                let message = message(input);
                let outcome = self.producer.try_send(&message, 7);
                self.tried(message.len(), outcome);
            }
            Op::Send => {
                let message = message(input);
                let outcome = self.producer.send(&message, 7, now);
                self.waited(message.len(), outcome);
            }
            Op::Claim => {
                let message = message(input);
                let outcome = self.producer.try_claim(message.len()).map(|mut grant| {
                    grant.write(&message).expect("as much as was lent");
                    grant.commit(7);
                });
                self.tried(message.len(), outcome);
            }
            Op::Batch => self.batch(input),
            Op::HangUp => self.life.hang_up(),
            Op::Frame | Op::Bytes | Op::Word | Op::Header => self.peer.write(op, input),
            Op::Read => self.peer.read(input.u8().into()),
            Op::Head => self.peer.lie(input),
            Op::Asleep => {
                let (offset, word) = (input.u8(), input.u64());
                let offset = if offset & 1 == 0 { RX_ASLEEP } else { TX_ASLEEP };
                self.peer.control.store32(offset, word as u32, Ordering::Relaxed);
            }
            Op::Leave => {
                let word = self.peer.control.load64(HEAD, Ordering::Relaxed);
                self.peer.control.store64(HEAD, word | 1, Ordering::Relaxed);
            }
            Op::NextOf => {
                let (len, packed) = (input.u8().into(), input.u8() & 1 == 0);
                if let Some(bytes) = self.consumer.next_of(len, packed) {
                    assert!(self.fault.is_none(), "received after {:?}", self.fault);
                    assert_eq!(bytes.len(), len);
                    assert!(len as u64 <= self.max_message);
                    self.received.0 += 1;
                    self.received.1 += len as u64;
                }
            }
            Op::SkipAlike => {
                let (len, count): (usize, usize) = (input.u8().into(), input.u8().into());
                let there = self.consumer.alike(len).len() / len.next_multiple_of(8).max(8);
                let count = count.min(there);
                if count != 0 {
                    self.consumer.skip_alike(count);
                    self.received.0 += count as u64;
                    self.received.1 += (count * len) as u64;
                }
            }
        }
    }

    fn received(&mut self, received: Result<Item, TryRecvError>, take: bool) {
        match received {
            Ok(item) => {
                assert!(self.fault.is_none(), "received after {:?}", self.fault);
                assert!(item.len() as u64 <= self.max_message, "{} bytes", item.len());
                let bytes = self.consumer.bytes(&item);
                assert_eq!((bytes.len(), bytes.is_empty()), (item.len(), item.is_empty()));
                self.received.0 += 1;
                self.received.1 += item.len() as u64;
                let before = bytes.to_vec();
                if take {
                    self.spare = self.consumer.take(&item, std::mem::take(&mut self.spare));
                    assert_eq!(self.spare.bytes(), before);
                }
                assert!(self.spare.capacity() as u64 <= 2 * self.max_message.max(LARGEST) + 64);
            }
            Err(TryRecvError::Empty) => assert!(self.fault.is_none()),
            Err(TryRecvError::Ended(end)) => self.ended(end),
            Err(other) => panic!("{other}"),
        }
    }

    fn tried(&mut self, len: usize, outcome: Result<(), TrySendError>) {
        match outcome {
            Ok(()) => self.has_sent(len),
            Err(TrySendError::Full) => self.found_no_room(),
            Err(TrySendError::TooLarge { .. }) => {}
            Err(TrySendError::Ended(end)) => self.ended(end),
            Err(other) => panic!("{other}"),
        }
    }

    fn waited(&mut self, len: usize, outcome: Result<(), SendError>) {
        match outcome {
            Ok(()) => self.has_sent(len),
            Err(SendError::TimedOut) => self.found_no_room(),
            Err(SendError::TooLarge { max, .. }) => assert!(len as u64 > max),
            Err(SendError::Ended(end)) => self.ended(end),
            Err(other) => panic!("{other}"),
        }
    }

    /// The head was read, and believed.
    fn found_no_room(&self) {
        assert!(self.fault.is_none() && self.peer.granted.is_none());
    }

    fn has_sent(&mut self, len: usize) {
        assert!(self.fault.is_none(), "sent after {:?}", self.fault);
        assert!(len as u64 <= self.max_message);
        self.sent.0 += 1;
        self.sent.1 += len as u64;
        if let Some(granted) = &mut self.peer.granted {
            let left = granted.checked_sub(len as u64);
            *granted = left.expect("a lie about what was read makes no room");
        }
    }

    fn batch(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        let now = Some(Instant::now());
        let mut outcomes = Vec::new();
        let mut batch = self.producer.batch();
        for _ in 0..choice % 8 {
            let message = message(input);
            // Those without a tag may be alike.
            let tag = if choice & 0x40 != 0 { 0 } else { 7 };
            outcomes.push((message.len(), batch.push(&message, tag, now)));
        }
        if choice & 0x80 != 0 {
            std::mem::forget(batch);
        } else {
            drop(batch);
        }
        for (len, outcome) in outcomes {
            self.waited(len, outcome);
        }
    }

    /// A half said that it is over.
    fn ended(&mut self, end: End) {
        match end {
            // One direction only.
            End::Closed => {}
            // A half that saw it before a fault of the other goes on saying so.
            End::HungUp => assert!(self.life.end().is_some()),
            End::Fault(_) => {
                assert_eq!(self.life.end(), Some(end), "the session knows");
                assert_eq!(*self.fault.get_or_insert(end), end, "the first one stays");
            }
            other => panic!("nobody forked or closed: {other}"),
        }
    }

    /// The invariants of a whole run, and what must hold after a fault.
    fn end(mut self) {
        let (tx, rx) = (self.producer.stats(), self.consumer.stats());
        assert_eq!((rx.messages, rx.bytes), self.received);
        assert_eq!((tx.messages, tx.bytes), self.sent);
        let delivery = self.producer.delivery();
        let parts = [delivery.received, delivery.in_doubt, delivery.unpublished()];
        assert_eq!((delivery.sent, parts.iter().sum()), (self.sent.0, self.sent.0));
        if self.peer.honest {
            assert_eq!(delivery.received, self.peer.messages, "as many as it says it has read");
        }
        if let Some(end) = self.fault {
            self.peer.data.zero(0, CAPACITY as usize);
            // A direction that had ended before goes on saying how.
            let stays = |said| said == end || matches!(said, End::Closed | End::HungUp);
            let received = self.consumer.try_recv();
            assert!(matches!(received, Err(TryRecvError::Ended(said)) if stays(said)));
            let sent = self.producer.try_send(&[], 0);
            assert!(matches!(sent, Err(TrySendError::Ended(said)) if stays(said)));
        }
        drop(self.producer);
        self.peer.read(usize::MAX);
        if self.peer.honest {
            assert!(self.peer.ours.has_ended(), "the end mark always fits");
            assert_eq!(self.peer.messages, self.sent.0, "what was sent lies there, once");
        }
        drop(self.consumer);
    }
}

/// What our messages are made of.
const OURS: u8 = 0x5c;

fn message(input: &mut Input<'_>) -> Vec<u8> {
    vec![OURS; input.len()]
}

impl Peer {
    fn write(&mut self, op: Op, input: &mut Input<'_>) {
        match op {
            Op::Frame => {
                let (kind, len) = (input.u8(), u64::from(input.u16()) % (LARGEST + 32));
                let tag = u64::from(input.u8());
                let payload = input.bytes((len as usize).min(64));
                let at = offset(self.tail);
                self.data.copy_in(at + 16, payload);
                self.data.store64(at + 8, tag, Ordering::Relaxed);
                self.tail = self.tail.wrapping_add(frame_size(len));
                self.data.store64(offset(self.tail), 0, Ordering::Relaxed);
                self.data.store64(at, u64::from(kind) | len << 32, Ordering::Relaxed);
            }
            Op::Bytes => {
                let (at, len) = (u64::from(input.u16()), usize::from(input.u8()));
                self.data.copy_in(offset(at), input.bytes(len));
            }
            Op::Word => {
                let (at, word) = (u64::from(input.u8()) * 16, input.u64());
                self.data.store64(offset(at), word, Ordering::Relaxed);
            }
            _ => {
                let word = input.u64();
                self.data.store64(offset(self.tail), word, Ordering::Relaxed);
                let len = (word >> 32) % (LARGEST + 1);
                self.tail = self.tail.wrapping_add(frame_size(len));
            }
        }
    }

    /// Reads up to so many frames of ours, which must be in order, and says so.
    fn read(&mut self, frames: usize) {
        if !self.honest {
            return;
        }
        self.ours.read(frames, |_, bytes| {
            assert!(bytes.iter().all(|byte| *byte == OURS), "made of our own bytes");
            self.messages += 1;
        });
        let gone = self.control.load64(HEAD, Ordering::Relaxed) & 1;
        self.control.store64(HEAD, self.ours.at() | gone, Ordering::Release);
    }

    fn lie(&mut self, input: &mut Input<'_>) {
        let word = match input.u8() {
            0 => self.ours.at().wrapping_add(16),
            1 => self.ours.at().wrapping_sub(16),
            2 => self.ours.at().wrapping_add(CAPACITY),
            3 => self.ours.at() | 8,
            _ => input.u64(),
        };
        // One that is never good, however much we send. After others nobody knows what lies where.
        let never = word & 0b1110 != 0 || (word & !1).wrapping_sub(self.start) > 1 << 32;
        self.granted = (self.honest && never).then_some(CAPACITY);
        self.honest = false;
        self.control.store64(HEAD, word, Ordering::Relaxed);
    }
}

impl Script {
    fn op(self, op: Op) -> Self {
        self.u8(op as u8)
    }

    fn frame(self, kind: u8, tag: u8, payload: &[u8]) -> Self {
        let len = payload.len().try_into().expect("a short payload");
        self.op(Op::Frame).u8(kind).u16(len).u8(tag).bytes(payload)
    }

    fn known(self, len: u8) -> Self {
        self.op(Op::NextOf).u8(len).u8(0)
    }

    fn skip(self, len: u8, count: u8) -> Self {
        self.op(Op::SkipAlike).u8(len).u8(count)
    }

    fn receive(self, times: usize) -> Self {
        (0..times).fold(self, |script, _| script.op(Op::Recv))
    }
}

/// Good lives of both halves, and the first step of each attack.
pub fn seeds() -> Vec<Seed> {
    // Positions about to wrap at 2^64, and messages of up to 20,000 bytes.
    let begin = |choice| Script::default().u8(choice);
    let wraps = || begin(2 | 3 << 2);
    let first = |total: u64| [&total.to_le_bytes()[..], &[1; 40]].concat();
    let entry = |len: u8| [&[len, 0, 0, 0, 0, 0, 0, 0], &[9; 8][..], &[1; 8]].concat();
    let mut seeds: Vec<(&str, Script)> = vec![
        ("data", wraps().frame(1, 7, b"whole").frame(1, 8, &[]).receive(3).op(Op::Publish)),
        ("take", wraps().frame(1, 7, b"one").frame(1, 7, b"two").op(Op::Take).op(Op::Take)),
        ("pack", wraps().frame(2, 0, &[entry(5), entry(0), entry(8)].concat()).receive(4)),
        ("pack-of-rest", wraps().frame(2, 0, &[entry(5), vec![0; 8]].concat()).receive(2)),
        ("pack-alike", wraps().frame(2, 5, &[4; 24]).frame(1, 7, b"next").receive(4)),
        (
            "known-length",
            wraps().frame(1, 7, b"abc").frame(1, 7, b"d").known(3).known(3).receive(1),
        ),
        ("known-pack", wraps().frame(2, 5, &[4; 24]).known(5).known(5).known(5).known(5)),
        ("known-pack-torn", wraps().frame(2, 5, &[4; 20]).known(5).receive(1)),
        ("known-pack-skipped", wraps().frame(2, 5, &[4; 48]).known(5).skip(5, 3).receive(3)),
        ("pack-alike-torn", wraps().frame(2, 5, &[4; 20]).receive(2)),
        ("pack-reserved", wraps().frame(2, 0, &[5, 0, 0, 0, 1, 0, 0, 0]).receive(1)),
        ("parts", wraps().frame(3, 5, &first(70)).frame(5, 5, &[2; 30]).receive(2)),
        ("parts-next", wraps().frame(3, 5, &first(80)).frame(4, 5, &[2; 30]).frame(5, 5, &[3; 10])),
        ("abort", wraps().frame(3, 5, &first(80)).frame(6, 0, &[]).frame(1, 1, b"x").receive(2)),
        ("end", wraps().frame(1, 5, b"last").frame(7, 0, &[]).receive(3)),
        ("surplus", wraps().frame(3, 5, &first(60)).frame(5, 5, &[2; 30]).receive(2)),
        ("orphan", wraps().frame(4, 5, b"part").receive(2)),
        (
            "too-large",
            begin(1 << 2).frame(1, 0, &[1; 64]).receive(1).frame(1, 0, &[1; 101]).receive(1),
        ),
        (
            "total-too-large",
            begin(1 << 2).frame(3, 5, &first(101)).frame(5, 5, &[2; 61]).receive(2),
        ),
        ("entry-too-large", begin(0).frame(2, 0, &entry(5)).receive(2)),
        ("total", wraps().frame(3, 5, &first(u64::MAX)).receive(2)),
        ("kind", wraps().op(Op::Header).u64(0xff).receive(2).op(Op::TrySend).u8(5)),
        ("reserved", wraps().op(Op::Word).u8(252).u64(0x0101).receive(2)),
        ("length", wraps().op(Op::Header).u64(1 | 0xffff_ffff << 32).receive(2)),
        ("fds", wraps().op(Op::Header).u64(0x0001_0001).receive(1)),
        ("bytes", begin(3 << 2).op(Op::Bytes).u16(0).u8(40).bytes(&[1; 40]).receive(2)),
        ("dead", wraps().frame(1, 7, b"before").op(Op::HangUp).receive(2).op(Op::TrySend).u8(5)),
    ];
    let full = || {
        (0..5)
            .fold(wraps(), |script, _| script.op(Op::TrySend).u8(200).u16(1000))
            .op(Op::Read)
            .u8(1)
    };
    seeds.extend([
        ("to-the-brim", full().op(Op::TrySend).u8(200).u16(976).op(Op::TrySend).u8(0)),
        ("beyond-the-brim", {
            // Leaves 16 bytes: the next header and nothing more.
            let three = (0..3).fold(wraps(), |script, _| script.op(Op::TrySend).u8(200).u16(1008));
            three.op(Op::TrySend).u8(200).u16(1007).op(Op::TrySend).u8(200).u16(992)
        }),
        ("sends", full().op(Op::Read).u8(9).op(Op::TrySend).u8(10)),
        ("large", wraps().op(Op::Send).u8(200).u16(9000).op(Op::Read).u8(9).op(Op::Send).u8(3)),
        ("batch", wraps().op(Op::Batch).u8(5).bytes(&[0, 9, 17, 200, 0, 8, 1]).op(Op::Read).u8(9)),
        ("leaked", wraps().op(Op::Batch).u8(0x83).bytes(&[0, 9, 17]).op(Op::Claim).u8(30)),
        ("head-past", full().op(Op::Head).u8(0).op(Op::Send).u8(200).u16(5000).receive(1)),
        ("head-back", full().op(Op::Head).u8(1).op(Op::Send).u8(200).u16(5000)),
        ("head-lane", full().op(Op::Head).u8(2).op(Op::Send).u8(200).u16(5000)),
        ("head-odd", full().op(Op::Head).u8(3).op(Op::Send).u8(200).u16(5000)),
        ("head-max", full().op(Op::Head).u8(9).u64(u64::MAX).op(Op::Send).u8(200).u16(5000)),
        ("head-far", full().op(Op::Head).u8(9).u64(1 << 62).op(Op::Send).u8(200).u16(5000)),
        ("gone", full().op(Op::Leave).op(Op::Send).u8(200).u16(5000).op(Op::TrySend).u8(0)),
        ("asleep", full().op(Op::Asleep).u8(0).u64(5).op(Op::TrySend).u8(9).op(Op::TrySend).u8(9)),
        (
            // A pack left open, a fault of the other half, and a second rule broken behind it.
            "fault-after-fault",
            wraps()
                .op(Op::Batch)
                .u8(0x82)
                .bytes(&[9, 9])
                .op(Op::Word)
                .u8(252)
                .u64(0x0101)
                .receive(1)
                .op(Op::Asleep)
                .u8(0)
                .u64(3)
                .op(Op::Head)
                .u8(3)
                .op(Op::Batch)
                .u8(0)
                .op(Op::TrySend)
                .u8(1),
        ),
        ("awaits", wraps().op(Op::Asleep).u8(1).u64(5).frame(1, 7, b"x").receive(2)),
    ]);
    seeds.into_iter().map(|(name, script)| (name.to_owned(), script.0)).collect()
}
