//! Two honest ends of a channel, and overwrites of the segment that one of them writes: the other is the
//! victim.
//!
//! The script says what the ends do, and at which steps any bytes of the peer's segment become any others,
//! in its control area and in its lane, in the midst of whatever is going on. Unlike in `lane`, what is
//! lied about is real traffic of memring's own.
//!
//! - Until the first overwrite both directions are queues, to the byte.
//! - The victim neither panics nor hangs nor grows. What it receives keeps to what was agreed. A fault needs
//!   an overwrite, comes to both its halves, and each half goes on saying how it ended.
//! - What the victim publishes stays in order and is what it sent. A witness (`witness.rs`) reads all of it,
//!   unless the peer said that it has read what was not sent yet: then one call may write over what it sent
//!   itself.
//! - Its release position goes forward by whole grains, and no faster than frames can be read.
//! - An overwrite of the control area changes nothing in what the victim receives before it finds a fault,
//!   and one of the lane nothing in what the peer does.
//!
//! What the bytes of good and bad lives look like is in `segment/seeds.rs`.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use memring_ring::buffer::Buffer;
use memring_ring::consumer::{Consumer, TryRecvError};
use memring_ring::memory::Region;
use memring_ring::position::{Capacity, GONE, frame_size};
use memring_ring::producer::{Producer, SendError, TrySendError};
use memring_ring::{End, Life, Terms, channel};

use crate::input::Input;
use crate::memory::{CAPACITY, HEAD, LARGEST, Memory, RX_ASLEEP, TX_ASLEEP, life, offset, terms};
use crate::received::not_in_time;
use crate::witness::Witness;

mod seeds;

pub use seeds::seeds;

/// What the script can ask for: the numbers by which seeds name them.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Op {
    TrySend,
    Send,
    /// In two pieces.
    Vectored,
    /// Committed or given back.
    Claim,
    /// Flushed or leaked.
    Batch,
    TryRecv,
    Recv,
    Take,
    Publish,
    CloseSender,
    CloseReceiver,
    HangUp,
    /// Overwrites bytes anywhere in the peer's lane.
    Bytes,
    /// A word where a frame can begin, counted from what the victim has released.
    Header,
    /// Likewise, with a kind and a length that may be good.
    Frame,
    /// Bytes anywhere among the words of the peer's control area.
    Control,
    /// One of those words: the head near what the victim has sent, or any value.
    Word,
}

const OPS: [Op; 17] = [
    Op::TrySend,
    Op::Send,
    Op::Vectored,
    Op::Claim,
    Op::Batch,
    Op::TryRecv,
    Op::Recv,
    Op::Take,
    Op::Publish,
    Op::CloseSender,
    Op::CloseReceiver,
    Op::HangUp,
    Op::Bytes,
    Op::Header,
    Op::Frame,
    Op::Control,
    Op::Word,
];

/// The bit of an op that says: the peer does it.
const BY_PEER: u8 = 0x80;
const VICTIM: usize = 0;
const PEER: usize = 1;

/// One life of a channel.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let terms = terms(input.u8());
    Memory::with(terms.start, |memory| {
        let mut bench = Bench::new(memory, &terms);
        while !input.is_over() {
            let op = input.u8();
            let who = usize::from(op & BY_PEER != 0);
            bench.run(who, OPS[usize::from(op & !BY_PEER) % OPS.len()], &mut input);
        }
        bench.end();
    });
}

/// Tag and bytes.
type Message = (u64, Vec<u8>);

/// One end, and what it has told us.
struct Party {
    producer: Option<Producer>,
    consumer: Option<Consumer>,
    life: Arc<Life>,
    spare: Buffer,
    /// How each half said that it ended.
    sending: Option<End>,
    receiving: Option<End>,
    /// Messages and bytes.
    sent: (u64, u64),
    received: (u64, u64),
}

/// One direction.
struct Way {
    witness: Witness,
    /// Sent and not seen in the lane yet: a pack that is still open.
    sent: VecDeque<Message>,
    /// Published and not received yet, each with the position behind its last frame.
    published: VecDeque<(u64, Message)>,
    /// That position of the last one received.
    received: u64,
    /// The same when whoever receives was told that the other has gone.
    received_when_gone: Option<u64>,
    next: u64,
}

/// What was overwritten so far.
#[derive(Clone, Copy, Default)]
struct Overwritten {
    control: bool,
    lane: bool,
}

struct Bench {
    parties: [Party; 2],
    /// By who sends.
    ways: [Way; 2],
    /// By who writes it.
    controls: [Region; 2],
    /// The peer's lane.
    lane: Region,
    overwritten: Overwritten,
    /// The victim's release position when we last looked.
    released: u64,
    /// Bytes of a message that found no room in this step.
    refused: Option<u64>,
    /// The victim may have sent more in one step than its lane holds.
    lapped: bool,
    max_message: u64,
}

/// How a call that sends came out.
enum Outcome {
    Sent,
    NoRoom,
    TooLarge,
    Ended(End),
}

impl From<TrySendError> for Outcome {
    fn from(error: TrySendError) -> Self {
        match error {
            TrySendError::Full => Self::NoRoom,
            TrySendError::TooLarge { .. } => Self::TooLarge,
            TrySendError::Ended(end) => Self::Ended(end),
            other => panic!("{other}"),
        }
    }
}

impl From<SendError> for Outcome {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TimedOut => Self::NoRoom,
            SendError::TooLarge { .. } => Self::TooLarge,
            SendError::Ended(end) => Self::Ended(end),
            other => panic!("{other}"),
        }
    }
}

fn outcome<E: Into<Outcome>>(result: Result<(), E>) -> Outcome {
    result.map_or_else(E::into, |()| Outcome::Sent)
}

impl Bench {
    fn new(memory: &Memory, terms: &Terms) -> Self {
        let (ours, peers) = (&memory.ours, &memory.peers);
        let party = |mine: &_, theirs: &_| {
            let life = life();
            let (producer, consumer) = channel(mine, theirs, &life, terms);
            Party {
                producer: Some(producer),
                consumer: Some(consumer),
                life,
                spare: Buffer::new(),
                sending: None,
                receiving: None,
                sent: (0, 0),
                received: (0, 0),
            }
        };
        let way = |data| Way {
            witness: Witness::new(data, terms.start, terms.max_message),
            sent: VecDeque::new(),
            published: VecDeque::new(),
            received: terms.start,
            received_when_gone: None,
            next: 0,
        };
        Self {
            parties: [party(&ours.writer, &peers.reader), party(&peers.writer, &ours.reader)],
            ways: [way(ours.reader.data()), way(peers.reader.data())],
            controls: [ours.reader.control(), peers.writer.control()],
            lane: peers.writer.data(),
            overwritten: Overwritten::default(),
            released: terms.start,
            refused: None,
            lapped: false,
            max_message: terms.max_message,
        }
    }

    fn run(&mut self, who: usize, op: Op, input: &mut Input<'_>) {
        let told = self.controls[PEER].load64(HEAD, Ordering::Relaxed) & !GONE;
        let ahead = told.wrapping_sub(self.ways[VICTIM].witness.at());
        self.lapped |= (1..=CAPACITY).contains(&ahead);
        match op {
            Op::TrySend | Op::Send | Op::Vectored | Op::Claim => self.send(who, op, input),
            Op::Batch => self.batch(who, input),
            Op::TryRecv | Op::Recv | Op::Take => drop(self.receive(who, op)),
            Op::Publish => {
                if let Some(consumer) = &mut self.parties[who].consumer {
                    consumer.publish();
                }
            }
            Op::CloseSender => self.parties[who].producer = None,
            Op::CloseReceiver => self.parties[who].consumer = None,
            Op::HangUp => {
                let way = &mut self.ways[1 - who];
                way.received_when_gone.get_or_insert(way.received);
                self.parties[who].life.hang_up();
            }
            Op::Bytes | Op::Header | Op::Frame | Op::Control | Op::Word => {
                self.overwrite(op, input);
            }
        }
        self.look(who);
        if let Some(len) = self.refused.take()
            && !self.overwritten.any()
        {
            self.check_full(who, len);
        }
    }

    fn send(&mut self, who: usize, op: Op, input: &mut Input<'_>) {
        let (choice, len) = (input.u8(), input.len());
        let message = self.ways[who].message(len);
        let Some(producer) = &mut self.parties[who].producer else { return };
        let (tag, bytes) = (message.0, &message.1[..]);
        let (now, waits) = (Some(Instant::now()), choice & 1 != 0);
        let outcome = match op {
            Op::TrySend => outcome(producer.try_send(bytes, tag)),
            Op::Send => outcome(producer.send(bytes, tag, now)),
            Op::Vectored => {
                let (one, two) = bytes.split_at(len.min(choice.into()));
                let pieces = [IoSlice::new(one), IoSlice::new(two)];
                if waits {
                    outcome(producer.send_vectored(&pieces, tag, now))
                } else {
                    outcome(producer.try_send_vectored(&pieces, tag))
                }
            }
            _ => {
                let grant = if waits {
                    producer.claim(len, now).map_err(Outcome::from)
                } else {
                    producer.try_claim(len).map_err(Outcome::from)
                };
                match grant {
                    Ok(mut grant) => {
                        grant.write(bytes).expect("as much as was lent");
                        if choice & 2 != 0 {
                            return; // given back
                        }
                        grant.commit(tag);
                        Outcome::Sent
                    }
                    Err(outcome) => outcome,
                }
            }
        };
        self.sent(who, message, outcome);
    }

    fn batch(&mut self, who: usize, input: &mut Input<'_>) {
        let choice = input.u8();
        let messages: Vec<_> =
            (0..choice % 8).map(|_| self.ways[who].message(input.len())).collect();
        let Some(producer) = &mut self.parties[who].producer else { return };
        let now = Some(Instant::now());
        let mut batch = producer.batch();
        let outcomes: Vec<_> =
            messages.iter().map(|(tag, bytes)| outcome(batch.push(bytes, *tag, now))).collect();
        if choice & 0x80 != 0 {
            std::mem::forget(batch);
        } else {
            drop(batch);
        }
        for (message, outcome) in messages.into_iter().zip(outcomes) {
            self.sent(who, message, outcome);
        }
    }

    /// A call of this end that sends came to its end.
    fn sent(&mut self, who: usize, message: Message, outcome: Outcome) {
        let len = message.1.len() as u64;
        let party = &mut self.parties[who];
        match outcome {
            Outcome::Sent => {
                assert!(party.sending.is_none(), "sent after {:?}", party.sending);
                assert!(len <= self.max_message);
                party.sent.0 += 1;
                party.sent.1 += len;
                self.ways[who].sent.push_back(message);
            }
            Outcome::NoRoom => {
                assert!(party.sending.is_none());
                self.refused = Some(len);
            }
            Outcome::TooLarge => assert!(len > LARGEST.min(self.max_message)),
            Outcome::Ended(end) => {
                assert_eq!(*party.sending.get_or_insert(end), end, "it stays");
                // Whoever receives is gone, if we can believe what it says.
                if end == End::Closed && !(who == VICTIM && self.overwritten.control) {
                    assert!(self.parties[1 - who].consumer.is_none());
                }
                self.check_end(who, end);
            }
        }
    }

    /// A message of so many bytes found no room: not even a part of it has any, beside what may have to go
    /// before it.
    fn check_full(&self, who: usize, len: u64) {
        let head = self.controls[1 - who].load64(HEAD, Ordering::Relaxed) & !GONE;
        let used = self.ways[who].witness.at().wrapping_sub(head);
        assert!(used < CAPACITY);
        if len <= LARGEST {
            // As an entry of a pack, behind the mark of a message given up.
            let most = frame_size((len + 24).min(LARGEST)) + frame_size(0);
            let lane = Capacity::new(CAPACITY).expect("a capacity");
            assert!(!lane.fits(most, used), "{len} bytes have room beside {used}");
        }
    }

    /// Whether a message came.
    fn receive(&mut self, who: usize, op: Op) -> bool {
        let exact = self.is_exact(1 - who);
        let (party, way) = (&mut self.parties[who], &mut self.ways[1 - who]);
        let Some(consumer) = &mut party.consumer else { return false };
        let received = match op {
            Op::Recv => consumer.recv(Some(Instant::now())).map_err(not_in_time),
            _ => consumer.try_recv(),
        };
        match received {
            Ok(item) => {
                assert!(party.receiving.is_none(), "received after {:?}", party.receiving);
                assert!(item.len() as u64 <= self.max_message, "{} bytes", item.len());
                let bytes = consumer.bytes(&item).to_vec();
                assert_eq!(bytes.len(), item.len());
                if op == Op::Take {
                    party.spare = consumer.take(&item, std::mem::take(&mut party.spare));
                    assert_eq!(party.spare.bytes(), bytes);
                    let most = 2 * self.max_message.max(LARGEST) + 64;
                    assert!(party.spare.capacity() as u64 <= most);
                }
                party.received.0 += 1;
                party.received.1 += item.len() as u64;
                if exact {
                    let (end, message) =
                        way.published.pop_front().expect("only what was published");
                    assert_eq!(message, (item.tag, bytes));
                    way.received = end;
                }
                return true;
            }
            Err(TryRecvError::Empty) => {
                assert!(party.receiving.is_none());
                assert!(!exact || way.published.is_empty() && !way.witness.has_ended());
            }
            Err(TryRecvError::Ended(end)) => {
                let first = party.receiving.replace(end);
                assert!(first.is_none_or(|first| first == end), "it stays");
                if exact && first.is_none() && matches!(end, End::Closed | End::HungUp) {
                    assert!(way.published.is_empty() || way.is_beyond_a_lane(end));
                    assert!(end == End::HungUp || way.witness.has_ended());
                }
                self.check_end(who, end);
            }
            Err(other) => panic!("{other}"),
        }
        false
    }

    /// An end that a half of this party reported.
    fn check_end(&self, who: usize, end: End) {
        match end {
            End::Closed => {} // one direction only
            // A half that saw it before a fault of the other goes on saying so.
            End::HungUp => assert!(self.parties[who].life.end().is_some()),
            End::Fault(_) => {
                assert!(self.overwritten.any(), "{end} without a lie");
                assert_eq!(self.parties[who].life.end(), Some(end), "the session knows");
            }
            other => panic!("nobody forked or closed: {other}"),
        }
    }

    /// Whether what this end sends must come out as it went in.
    fn is_exact(&self, sender: usize) -> bool {
        // The victim writes over what the peer has not read yet only if the peer says that it has.
        if sender == VICTIM { !self.overwritten.control } else { !self.overwritten.lane }
    }

    /// Reads what this end published, and how far the victim says that it has read.
    fn look(&mut self, who: usize) {
        if if who == VICTIM { !self.lapped } else { !self.overwritten.lane } {
            let exact = self.is_exact(who);
            let Way { witness, sent, published, .. } = &mut self.ways[who];
            loop {
                let (before, first) = (witness.at(), published.len());
                witness.read(1, |tag, bytes| {
                    let message = sent.pop_front().expect("only what was sent");
                    assert_eq!((message.0, &message.1[..]), (tag, bytes));
                    if exact {
                        published.push_back((0, message));
                    }
                });
                if witness.at() == before {
                    break;
                }
                published.iter_mut().skip(first).for_each(|(end, _)| *end = witness.at());
            }
            if self.parties[who].producer.is_none() {
                assert!(sent.is_empty() && witness.has_ended(), "the end mark always fits");
            }
        }
        let word = self.controls[VICTIM].load64(HEAD, Ordering::Relaxed);
        let further = (word & !GONE).wrapping_sub(self.released);
        // A receive takes so many frames at most: a message, and what was given up before it.
        assert!(further.is_multiple_of(16) && further <= 16 * CAPACITY / 4);
        assert!(word & GONE == 0 || self.parties[VICTIM].consumer.is_none());
        self.released = word & !GONE;
        if !self.overwritten.lane {
            assert!(self.ways[PEER].witness.at().wrapping_sub(self.released) <= CAPACITY);
        }
    }

    fn overwrite(&mut self, op: Op, input: &mut Input<'_>) {
        let control = &self.controls[PEER];
        match op {
            Op::Bytes => {
                let (at, len) = (input.u16().into(), input.u8().into());
                self.lane.copy_in(offset(at), input.bytes(len));
            }
            Op::Header | Op::Frame => {
                let at = offset(self.released.wrapping_add(u64::from(input.u8()) * 16));
                let word = match op {
                    Op::Header => input.u64(),
                    _ => u64::from(input.u8()) | u64::from(input.u16()) << 32,
                };
                self.lane.store64(at, word, Ordering::Relaxed);
            }
            Op::Control => {
                let (at, len) = (usize::from(input.u16()) % 1024, input.u8().into());
                control.copy_in(at, input.bytes(len));
            }
            _ => match input.u8() {
                0 => control.store32(RX_ASLEEP, input.u64() as u32, Ordering::Relaxed),
                1 => control.store32(TX_ASLEEP, input.u64() as u32, Ordering::Relaxed),
                2 => control.store64(HEAD, input.u64(), Ordering::Relaxed),
                grains => {
                    let near = u64::from(grains).wrapping_sub(128).wrapping_mul(16);
                    let word = self.ways[VICTIM].witness.at().wrapping_add(near);
                    control.store64(HEAD, word, Ordering::Relaxed);
                }
            },
        }
        match op {
            Op::Bytes | Op::Header | Op::Frame => self.overwritten.lane = true,
            _ => self.overwritten.control = true,
        }
    }

    /// Both ends close; all that must arrive has arrived by then.
    fn end(mut self) {
        for who in [VICTIM, PEER] {
            let party = &self.parties[who];
            if let Some(stats) = party.producer.as_ref().map(Producer::stats) {
                assert_eq!((stats.messages, stats.bytes), party.sent);
            }
            if let Some(stats) = party.consumer.as_ref().map(Consumer::stats) {
                assert_eq!((stats.messages, stats.bytes), party.received);
            }
        }
        for who in [VICTIM, PEER] {
            self.parties[who].producer = None;
            self.look(who);
            let most = self.ways[who].published.len();
            let whole = (0..most).all(|_| self.receive(1 - who, Op::TryRecv));
            let over = self.parties[1 - who].receiving.is_some();
            let there = self.parties[1 - who].consumer.is_some();
            assert!(whole || over || !there || !self.is_exact(who));
            self.receive(1 - who, Op::Recv);
        }
        self.parties[VICTIM].consumer = None;
        self.look(VICTIM);
    }
}

impl Overwritten {
    fn any(self) -> bool {
        self.control || self.lane
    }
}

impl Way {
    /// Whether all that was not received lies further from what was, when the sender was said to have gone, than a lane is
    /// long: such a sender left it there no more than that, and one that goes on publishing all the same is not read for ever.
    fn is_beyond_a_lane(&self, end: End) -> bool {
        let (Some(gone), Some((next, _))) = (self.received_when_gone, self.published.front())
        else {
            return false;
        };
        end == End::HungUp && next.wrapping_sub(gone) > CAPACITY
    }

    /// A message like no other.
    fn message(&mut self, len: usize) -> Message {
        self.next += 1;
        let mut bytes = vec![self.next as u8; len];
        for (number, chunk) in bytes.chunks_mut(100).enumerate() {
            chunk[0] ^= number as u8;
        }
        (self.next, bytes)
    }
}
