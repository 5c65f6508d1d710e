//! A lane whose every load of the peer's memory returns what the fuzzer likes, and something else the next
//! time.
//!
//! In `lane` and `segment` memory stands still while one call runs, so what loads a word twice gets the same
//! word twice. Here the peer changes it in between, always. This is built with `--cfg memring_scripted` only,
//! which puts a double in the place of the ring's regions; see `ring/src/sync/scripted.rs`.
//!
//! Nothing panics, grows or takes more steps than a call may; faults stay; no head is believed that lies
//! outside of what was sent. And each word is loaded **once a decision** (`loads/liar.rs` says what that is for a
//! frame): what is delivered is, to the byte, what those single loads returned. For heads it holds of the
//! calls that do not wait: one load before each publish, and one more if the consumer is said to have gone. A
//! call that waits looks again on purpose, by the same function.

mod liar;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use memring_ring::buffer::Buffer;
use memring_ring::consumer::{Consumer, Item, TryRecvError};
use memring_ring::frame::Kind;
use memring_ring::producer::{Producer, SendError, TrySendError};
use memring_ring::scripted::choose_peer;
use memring_ring::{End, Life, Terms, channel};

use crate::Seed;
use crate::input::{Input, Script};
use crate::memory::{LARGEST, Memory, life, terms};
use crate::received::not_in_time;
use crate::witness::Witness;
use liar::{Liar, OURS, Shared};

/// What the script can ask for: the numbers by which seeds name them.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Op {
    TryRecv,
    Take,
    /// With no time to wait.
    Recv,
    /// Sleeps as often as the script says, until the peer hangs up.
    RecvAsleep,
    Publish,
    TrySend,
    Send,
    SendAsleep,
    Claim,
    Batch,
    AskEnd,
    HangUp,
    /// A message of so many bytes, in the way of one who knows how many.
    NextOf,
}

const OPS: [Op; 13] = [
    Op::TryRecv,
    Op::Take,
    Op::Recv,
    Op::RecvAsleep,
    Op::Publish,
    Op::TrySend,
    Op::Send,
    Op::SendAsleep,
    Op::Claim,
    Op::Batch,
    Op::AskEnd,
    Op::HangUp,
    Op::NextOf,
];

/// Loads of a call that does not wait: a batch of large messages has the most.
const STEPS: u32 = 2000;
/// Loads of one that does: the script is over before.
const MANY: u32 = 100_000;

/// One life of a channel.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let terms = terms(input.u8());
    Memory::with(terms.start, |memory| {
        let mut bench = Bench::new(memory, &terms, input.rest());
        while let Some(op) = bench.next() {
            bench.run(op);
        }
        bench.end();
    });
}

struct Bench {
    producer: Producer,
    consumer: Consumer,
    life: Arc<Life>,
    liar: Rc<RefCell<Liar>>,
    max_message: u64,
    spare: Buffer,
    /// How each half said that it ended.
    sending: Option<End>,
    receiving: Option<End>,
    sent: u64,
}

impl Bench {
    fn new(memory: &Memory, terms: &Terms, script: &[u8]) -> Self {
        let life = life();
        let ours = Witness::new(memory.ours.reader.data(), terms.start, terms.max_message);
        let liar = Rc::new(RefCell::new(Liar::new(script, &life, ours)));
        choose_peer(Some(Box::new(Shared(Rc::clone(&liar)))));
        let (producer, consumer) = channel(&memory.ours.writer, &memory.peers.reader, &life, terms);
        Self {
            producer,
            consumer,
            life,
            liar,
            max_message: terms.max_message,
            spare: Buffer::new(),
            sending: None,
            receiving: None,
            sent: 0,
        }
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Input<'_>) -> T) -> T {
        self.liar.borrow_mut().draw(draw)
    }

    fn next(&self) -> Option<Op> {
        let byte = self.draw(|input| (!input.is_over()).then(|| input.u8()))?;
        Some(OPS[usize::from(byte) % OPS.len()])
    }

    fn message(&self) -> Vec<u8> {
        vec![OURS; self.draw(|input| input.len())]
    }

    fn run(&mut self, op: Op) {
        let now = Some(Instant::now());
        self.liar.borrow_mut().allow(STEPS, None);
        match op {
            Op::TryRecv | Op::Take => {
                let received = self.consumer.try_recv();
                self.received(received, matches!(op, Op::Take));
            }
            Op::Recv | Op::RecvAsleep => {
                let deadline = if matches!(op, Op::Recv) { now } else { self.asleep() };
                let received = self.consumer.recv(deadline).map_err(not_in_time);
                self.received(received, false);
            }
            Op::Publish => self.consumer.publish(),
            Op::TrySend => {
                let message = self.message();
                self.liar.borrow_mut().allow(STEPS, Some(1));
                let outcome = self.producer.try_send(&message, 7);
                self.tried(outcome);
            }
            Op::Send | Op::SendAsleep => {
                let message = self.message();
                let deadline = if matches!(op, Op::Send) { now } else { self.asleep() };
                match self.producer.send(&message, 7, deadline) {
                    Ok(()) => self.has_sent(),
                    Err(SendError::TimedOut | SendError::TooLarge { .. }) => {}
                    Err(SendError::Ended(end)) => self.sending_ended(end),
                    Err(other) => panic!("{other}"),
                }
            }
            Op::Claim => {
                let message = self.message();
                self.liar.borrow_mut().allow(STEPS, Some(1));
                let outcome = self.producer.try_claim(message.len()).map(|mut grant| {
                    grant.write(&message).expect("as much as was lent");
                    grant.commit(7);
                });
                self.tried(outcome);
            }
            Op::Batch => self.batch(),
            Op::AskEnd => {
                self.liar.borrow_mut().allow(STEPS, Some(1));
                if let Some(end) = self.producer.end() {
                    self.sending_ended(end);
                }
            }
            Op::HangUp => self.life.hang_up(),
            Op::NextOf => {
                let (len, packed) = self.draw(|input| (input.u8().into(), input.u8() & 1 == 0));
                if let Some(bytes) = self.consumer.next_of(len, packed) {
                    assert!(self.receiving.is_none(), "received after {:?}", self.receiving);
                    assert_eq!(bytes.len(), len);
                    // Alone, or one of a pack.
                    let liar = self.liar.borrow();
                    let loaded = &liar.message;
                    assert!(loaded == bytes || loaded.windows(len.max(1)).any(|it| it == bytes));
                }
            }
        }
        let mut liar = self.liar.borrow_mut();
        liar.look();
        let end = self.life.end();
        assert!(!liar.lied || matches!(end, Some(End::Fault(_))), "a head was believed");
        liar.deaf |= matches!(end, Some(End::Fault(_)));
    }

    /// Before a call that waits without a deadline.
    fn asleep(&self) -> Option<Instant> {
        let sleeps = self.draw(|input| input.u8()) % 16;
        self.liar.borrow_mut().allow(MANY, None);
        self.liar.borrow_mut().sleeps = sleeps.into();
        None
    }

    fn batch(&mut self) {
        let choice = self.draw(|input| input.u8());
        let messages: Vec<_> = (0..choice % 8).map(|_| self.message()).collect();
        let mut outcomes = Vec::new();
        let mut batch = self.producer.batch();
        for message in &messages {
            self.liar.borrow_mut().allow(STEPS, Some(1));
            outcomes.push(batch.try_push(message, 7));
        }
        if choice & 0x80 != 0 {
            std::mem::forget(batch);
        } else {
            drop(batch);
        }
        for outcome in outcomes {
            self.tried(outcome);
        }
    }

    fn received(&mut self, received: Result<Item, TryRecvError>, take: bool) {
        match received {
            Ok(item) => {
                assert!(self.receiving.is_none(), "received after {:?}", self.receiving);
                assert!(item.len() as u64 <= self.max_message, "{} bytes", item.len());
                let bytes = self.consumer.bytes(&item).to_vec();
                assert_eq!(bytes.len(), item.len());
                let liar = self.liar.borrow();
                match liar.last.expect("a frame was read") {
                    (Kind::Data, tag) => assert_eq!((tag, &liar.message), (item.tag, &bytes)),
                    (Kind::Last, tag) => {
                        assert_eq!((tag, &liar.message[8..]), (item.tag, &bytes[..]))
                    }
                    // Some of its messages were moved to the grain below.
                    (kind, _) => assert_eq!(kind, Kind::Pack),
                }
                if take {
                    self.spare = self.consumer.take(&item, std::mem::take(&mut self.spare));
                    assert_eq!(self.spare.bytes(), bytes);
                }
                let most = 2 * self.max_message.max(LARGEST) + 64;
                assert!(self.spare.capacity() as u64 <= most);
            }
            Err(TryRecvError::Empty) => assert!(self.receiving.is_none()),
            Err(TryRecvError::Ended(end)) => {
                assert_eq!(*self.receiving.get_or_insert(end), end, "it stays");
                self.liar.borrow_mut().deaf = true;
                self.check_end(end);
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn tried(&mut self, outcome: Result<(), TrySendError>) {
        match outcome {
            Ok(()) => self.has_sent(),
            Err(TrySendError::Full | TrySendError::TooLarge { .. }) => {}
            Err(TrySendError::Ended(end)) => self.sending_ended(end),
            Err(other) => panic!("{other}"),
        }
    }

    fn has_sent(&mut self) {
        assert!(self.sending.is_none(), "sent after {:?}", self.sending);
        self.sent += 1;
    }

    fn sending_ended(&mut self, end: End) {
        assert_eq!(*self.sending.get_or_insert(end), end, "it stays");
        self.check_end(end);
    }

    fn check_end(&self, end: End) {
        match end {
            End::Closed => {} // one direction only
            End::HungUp => assert!(self.life.end().is_some()),
            End::Fault(_) => assert_eq!(self.life.end(), Some(end), "the session knows"),
            other => panic!("nobody forked or closed: {other}"),
        }
    }

    fn end(self) {
        self.liar.borrow_mut().allow(STEPS, None);
        drop(self.producer);
        drop(self.consumer);
        choose_peer(None);
        let mut liar = self.liar.borrow_mut();
        liar.look();
        assert!(liar.ours.has_ended(), "the end mark always fits");
        assert_eq!(liar.messages, self.sent, "what was sent lies there, once");
    }
}

impl Script {
    fn call(self, op: Op) -> Self {
        self.u8(op as u8)
    }

    /// A receive that loads this header, tag and payload.
    fn takes(self, op: Op, kind: u8, tag: u8, payload: &[u8]) -> Self {
        let len = payload.len().try_into().expect("a short payload");
        self.call(op).part(kind, tag, len, payload)
    }

    /// A look for a message of so many bytes.
    fn looks_for(self, len: u8) -> Self {
        self.call(Op::NextOf).u8(len).u8(0)
    }

    /// A frame loaded by a call that has begun; the producer does not sleep, then or at a publish.
    fn part(self, kind: u8, tag: u8, len: u16, payload: &[u8]) -> Self {
        self.u8(kind).u16(len).u8(tag).bytes(&payload[..payload.len().min(64)]).u8(0)
    }

    /// Sends of so many bytes, which look at nobody's sleep.
    fn sends(self, times: usize, len: u16) -> Self {
        (0..times).fold(self, |script, _| script.call(Op::TrySend).u8(200).u16(len).u8(0))
    }

    /// A send that finds the lane full, and loads the head.
    fn head(self, choice: &[u8]) -> Self {
        self.call(Op::TrySend).u8(200).u16(1000).bytes(choice)
    }
}

/// Good lives, lies of each kind, and words that change between two looks.
pub fn seeds() -> Vec<Seed> {
    let begin = |choice| Script::default().u8(choice);
    let wraps = || begin(2 | 3 << 2);
    let entry = |len: u8| [&[len, 0, 0, 0, 0, 0, 0, 0], &[9; 8][..], &[1; 8]].concat();
    let total = |total: u64| total.to_le_bytes();
    let first = |bytes: u64, of: u64| [&total(of)[..], &vec![1; bytes as usize]].concat();
    // The first part is loaded in two copies, each from the script.
    let full = || wraps().sends(3, 1000).sends(1, 900);
    let seeds: Vec<(&str, Script)> = vec![
        ("data", wraps().takes(Op::TryRecv, 1, 7, b"whole").takes(Op::Take, 1, 8, b"more")),
        ("empty", wraps().call(Op::TryRecv).u8(0).call(Op::Recv).u8(0).u8(0).u8(0)),
        ("empty-message", wraps().takes(Op::TryRecv, 1, 7, b"").call(Op::Publish)),
        (
            "known-length",
            wraps()
                .looks_for(3)
                .part(1, 7, 3, b"abc")
                .looks_for(4)
                .part(1, 7, 3, b"abc")
                .call(Op::Take),
        ),
        (
            "known-pack",
            wraps()
                .looks_for(5)
                .part(2, 5, 24, &[4; 24])
                .looks_for(5)
                .looks_for(5)
                .looks_for(5)
                .u8(0),
        ),
        (
            "known-pack-of-others",
            wraps().looks_for(6).u8(2).u16(24).u8(5).call(Op::Take).bytes(&[4; 24]).u8(0),
        ),
        ("pack", wraps().takes(Op::TryRecv, 2, 0, &[entry(5), entry(0)].concat()).call(Op::Take)),
        ("parts", wraps().takes(Op::TryRecv, 3, 5, &first(40, 70)).part(5, 5, 30, &[2; 30])),
        (
            "abort",
            wraps().takes(Op::Recv, 3, 5, &first(40, 70)).u8(6).u8(0).u8(0).part(1, 1, 3, b"new"),
        ),
        ("end", wraps().call(Op::TryRecv).u8(7).u8(0).u8(0).u8(0).call(Op::TryRecv)),
        ("too-long", wraps().call(Op::TryRecv).u8(1).u16(1009).u8(0).call(Op::TryRecv)),
        ("raw-header", wraps().call(Op::TryRecv).u8(9).u64(1 | 0xffff_ffff << 32)),
        ("too-large", begin(1 << 2).takes(Op::TryRecv, 1, 0, &[1; 101])),
        ("total-too-large", begin(1 << 2).takes(Op::TryRecv, 3, 5, &first(40, 101))),
        ("surplus", wraps().takes(Op::TryRecv, 3, 5, &first(40, 60)).part(5, 5, 30, &[2; 30])),
        // The producer is said to sleep, so the next header is looked at, and is another when it is taken.
        (
            "hint",
            wraps().call(Op::TryRecv).u8(1).u16(3).u8(7).bytes(b"abc").u8(5).u8(1).u16(900).takes(
                Op::TryRecv,
                1,
                8,
                b"changed",
            ),
        ),
        (
            "hint-then-empty",
            wraps().call(Op::TryRecv).u8(1).u16(0).u8(7).u8(5).u8(0).u8(5).call(Op::Recv).u8(0),
        ),
        ("recv-asleep", wraps().call(Op::RecvAsleep).u8(12).bytes(&[0; 20]).part(1, 7, 2, b"hi")),
        ("hung-up-asleep", wraps().call(Op::RecvAsleep).u8(3).bytes(&[0; 30])),
        ("sends", full().head(&[1, 0]).head(&[0])),
        ("large", wraps().call(Op::Send).u8(200).u16(9000).bytes(&[0, 0, 0, 1, 0, 1, 0, 1, 0])),
        ("send-asleep", full().call(Op::SendAsleep).u8(9).u8(200).u16(1000).bytes(&[0, 0, 0, 1])),
        ("given-up", wraps().call(Op::Send).u8(200).u16(9000).bytes(&[0, 0, 0]).sends(2, 10)),
        ("batch", wraps().call(Op::Batch).u8(4).bytes(&[0, 9, 17, 30]).call(Op::Claim).u8(9)),
        ("leaked", wraps().call(Op::Batch).u8(0x83).bytes(&[0, 9, 17]).sends(2, 30)),
        ("head-past", full().head(&[3, 1]).head(&[1])),
        ("head-back", full().head(&[1, 0]).sends(3, 1000).head(&[6, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("head-between", full().head(&[5]).head(&[1])),
        ("head-some", full().head(&[2, 20]).head(&[2, 70, 0]).head(&[2, 255])),
        ("gone", full().head(&[4]).call(Op::AskEnd)),
        (
            "gone-hint",
            wraps().call(Op::TrySend).u8(9).u8(3).u8(0).call(Op::TrySend).u8(9).u8(3).u8(4),
        ),
        (
            "dead",
            wraps().call(Op::HangUp).call(Op::TryRecv).u8(0).u8(0).call(Op::TrySend).u8(1).u8(0),
        ),
        ("awaits", wraps().call(Op::TrySend).u8(9).u8(5).call(Op::TrySend).u8(9).u8(9)),
    ];
    seeds.into_iter().map(|(name, script)| (name.to_owned(), script.0)).collect()
}
