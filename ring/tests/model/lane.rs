//! A lane, and beside it the queue that it has to be: each operation is done to both.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Instant;

use memring_ring::buffer::Buffer;
use memring_ring::consumer::{Consumer, Item, RecvError, TryRecvError};
use memring_ring::producer::{Producer, SendError, TrySendError};
use memring_ring::{Delivery, Terms, Wait};

use super::ops::{Op, Push, Setting, Size, Sizes};
use super::support::{self, bytes, sides};

/// What must have been sent and not yet received.
#[derive(Default)]
pub struct Queue {
    pub messages: VecDeque<(Vec<u8>, u64)>,
    /// How many of the last ones may lie in an open pack, where no consumer sees them.
    pub held_back: usize,
    pub sent: u64,
    pub sent_bytes: u64,
    pub received: u64,
    pub received_bytes: u64,
}

pub struct Lane {
    pub producer: Producer,
    pub consumer: Consumer,
    pub sizes: Sizes,
    pub queue: Queue,
    pub spare: Buffer,
    pub next: u64,
    /// Nothing lies in the lane, and the producer can know.
    pub empty: bool,
    /// A large message may have been given up and not yet been marked so.
    pub unfinished: bool,
}

impl Lane {
    fn message(&mut self, size: Size) -> (Vec<u8>, u64) {
        self.next += 1;
        let len = size.of(&self.sizes).min(self.sizes.max_message + 3);
        (bytes(self.next, len), self.next << 32 | 7)
    }

    fn sent(&mut self, (bytes, tag): (Vec<u8>, u64)) {
        self.unfinished = false;
        self.queue.sent += 1;
        self.queue.sent_bytes += bytes.len() as u64;
        self.queue.messages.push_back((bytes, tag));
        self.empty = false;
    }

    /// A non-blocking send that takes up to `largest` bytes came to an end.
    fn tried(
        &mut self,
        message: (Vec<u8>, u64),
        largest: usize,
        outcome: Result<(), TrySendError>,
    ) {
        let len = message.0.len();
        self.queue.held_back = 0;
        match outcome {
            Ok(()) => {
                assert!(len <= largest.min(self.sizes.max_message), "{len} bytes were sent");
                self.sent(message);
            }
            Err(TrySendError::Full) => {
                assert!(!self.empty, "an empty lane is full for {len} bytes");
                // Room for the mark of the message before is asked for first.
                let fits = len <= largest.min(self.sizes.max_message);
                assert!(fits || self.unfinished, "{len} bytes will never fit");
            }
            Err(TrySendError::TooLarge { len: said, max }) => {
                assert_eq!(said, len as u64);
                assert_eq!(max, largest.min(self.sizes.max_message) as u64);
                assert!(said > max, "{said} is said to exceed {max}");
            }
            Err(TrySendError::Ended(end)) => panic!("ended by nobody: {end}"),
            Err(other) => panic!("an error of a later day: {other}"),
        }
    }

    /// A blocking send that takes up to `largest` bytes came to an end.
    fn waited(&mut self, message: (Vec<u8>, u64), largest: usize, outcome: Result<(), SendError>) {
        let len = message.0.len();
        match outcome {
            Ok(()) => {
                assert!(len <= largest);
                self.queue.held_back = 0;
                self.sent(message);
            }
            Err(SendError::TimedOut) => {
                assert!(!self.empty || len > self.sizes.at_once, "{len} bytes have room");
                assert!(len <= largest);
                self.queue.held_back = 0;
                self.empty = false; // parts of it may lie there
                self.unfinished = true;
            }
            Err(SendError::TooLarge { len: said, max }) => {
                assert_eq!((said, max), (len as u64, largest as u64));
                assert!(len > largest);
            }
            Err(SendError::Ended(end)) => panic!("ended by nobody: {end}"),
            Err(other) => panic!("an error of a later day: {other}"),
        }
    }

    fn received(&mut self, item: Item, take: bool) {
        let (expected, tag) = self.queue.messages.pop_front().expect("nothing was sent");
        self.queue.held_back = self.queue.held_back.min(self.queue.messages.len());
        self.queue.received += 1;
        self.queue.received_bytes += item.len() as u64;
        assert_eq!(
            (item.tag, item.len(), item.is_empty()),
            (tag, expected.len(), expected.is_empty())
        );
        let lent = self.consumer.bytes(&item);
        assert_eq!(lent.as_ptr().addr() % 16, 0, "not aligned");
        assert_eq!(lent, expected, "not the bytes that were sent");
        if take {
            let taken = self.consumer.take(&item, std::mem::take(&mut self.spare));
            assert_eq!(taken.bytes(), expected, "not the bytes that were sent");
            self.spare = taken;
        }
    }

    /// These bytes were received, and nothing is known of a tag.
    fn received_untagged(&mut self, bytes: &[u8]) {
        let (expected, _) = self.queue.messages.pop_front().expect("nothing was sent");
        self.queue.held_back = self.queue.held_back.min(self.queue.messages.len());
        self.queue.received += 1;
        self.queue.received_bytes += bytes.len() as u64;
        assert_eq!(bytes, expected, "not the bytes that were sent");
    }

    /// Sends messages that lie back to back.
    fn send_alike(&mut self, words: usize, count: usize, deadline: Option<Instant>) {
        let each = 8 * words;
        let messages: Vec<_> = (0..count)
            .map(|_| {
                self.next += 1;
                bytes(self.next, each)
            })
            .collect();
        let outcome = self.producer.send_alike(&messages.concat(), each, deadline);
        match &outcome {
            Ok(()) | Err(SendError::TimedOut) => {}
            Err(SendError::TooLarge { len, max }) => {
                assert_eq!((*len, *max), (each as u64, self.sizes.max_message as u64));
                assert!(each > self.sizes.max_message);
            }
            Err(other) => panic!("{other}"),
        }
        let sent = (self.producer.stats().messages - self.queue.sent) as usize;
        assert!(sent == count || outcome.is_err(), "{sent} of {count} were sent");
        if count != 0 && !matches!(outcome, Err(SendError::TooLarge { .. })) {
            self.queue.held_back = 0;
        }
        if outcome == Err(SendError::TimedOut) {
            self.empty = false;
            self.unfinished = true;
        }
        let unfinished = self.unfinished;
        for message in messages.into_iter().take(sent) {
            self.sent((message, 0));
        }
        self.unfinished = unfinished && outcome.is_err();
    }

    /// What the producer can know of what was received, after what it knew before.
    pub fn delivered(&self, last: Delivery) -> Delivery {
        let delivery = self.producer.delivery();
        assert_eq!(delivery.sent, self.queue.sent);
        assert!(delivery.received >= last.received, "{delivery:?} after {last:?}");
        assert!(delivery.unpublished() <= self.queue.held_back as u64, "{delivery:?}");
        // All of a batch is received with its first message, and none that was not published.
        assert!(delivery.received + delivery.in_doubt >= self.queue.received, "{delivery:?}");
        delivery
    }

    fn found_nothing(&mut self) {
        let waiting = self.queue.messages.len();
        assert!(waiting <= self.queue.held_back, "{waiting} messages lie there");
        // The mark of a message that was given up takes room, and so does a pack when it is closed.
        self.empty = self.queue.held_back == 0 && !self.unfinished;
    }

    fn receive(&mut self, take: bool) -> bool {
        match self.consumer.try_recv() {
            Ok(item) => {
                self.received(item, take);
                true
            }
            Err(TryRecvError::Empty) => {
                self.found_nothing();
                false
            }
            Err(TryRecvError::Ended(end)) => panic!("ended by nobody: {end}"),
            Err(other) => panic!("an error of a later day: {other}"),
        }
    }

    pub fn run(&mut self, op: Op) {
        let now = Some(Instant::now());
        let Sizes { frame, at_once, max_message: max } = self.sizes;
        let frame = frame.min(max);
        match op {
            Op::TrySend(size) => {
                let message = self.message(size);
                let outcome = self.producer.try_send(&message.0, message.1);
                self.tried(message, at_once, outcome);
            }
            Op::TrySendVectored(size, cuts) => {
                let message = self.message(size);
                let outcome =
                    self.producer.try_send_vectored(&pieces(&message.0, &cuts), message.1);
                self.tried(message, at_once, outcome);
            }
            Op::SendTwo { size, cut, gap } => {
                let (mut bytes, tag) = self.message(size);
                let (first, at) = (cut.min(bytes.len()), cut.min(bytes.len()) + gap);
                bytes.splice(first..first, std::iter::repeat_n(0, gap));
                let (before, after) = (&bytes[..first], &bytes[at..]);
                if self.producer.send_two_at_once(before, at, after, tag) {
                    assert!(bytes.len() <= frame, "{} bytes were sent", bytes.len());
                    self.queue.held_back = 0;
                    self.sent((bytes, tag));
                }
            }
            Op::Send(size) => {
                let message = self.message(size);
                let outcome = self.producer.send(&message.0, message.1, now);
                self.waited(message, max, outcome);
            }
            Op::SendVectored(size, cuts) => {
                let message = self.message(size);
                let outcome =
                    self.producer.send_vectored(&pieces(&message.0, &cuts), message.1, now);
                self.waited(message, max, outcome);
            }
            Op::Claim { size, commit, wait: true } => {
                let message = self.message(size);
                let outcome = self.producer.claim(message.0.len(), now).map(|mut grant| {
                    write(&mut grant, &message.0);
                    if commit {
                        grant.commit(message.1);
                    }
                });
                if commit || outcome.is_err() {
                    self.waited(message, frame, outcome);
                } else {
                    self.queue.held_back = 0;
                }
            }
            Op::Claim { size, commit, wait: false } => {
                let message = self.message(size);
                let outcome = self.producer.try_claim(message.0.len()).map(|mut grant| {
                    write(&mut grant, &message.0);
                    if commit {
                        grant.commit(message.1);
                    }
                });
                if commit || outcome.is_err() {
                    self.tried(message, frame, outcome);
                } else {
                    self.queue.held_back = 0;
                }
            }
            Op::Batch { pushes, leak, wait } => self.batch(&pushes, leak, wait),
            Op::SendAlike { words, count } => self.send_alike(words, count, now),
            Op::NextOf { packed } => {
                let len = self.queue.messages.front().map_or(8, |(bytes, _)| bytes.len());
                let Some(bytes) = self.consumer.next_of(len, packed) else { return };
                let grain = if packed { 8 } else { 16 };
                assert_eq!(bytes.as_ptr().addr() % grain, 0, "not aligned");
                let bytes = bytes.to_vec();
                self.received_untagged(&bytes);
            }
            Op::NextSoon { longer } => {
                let len = self.queue.messages.front().map_or(8, |(bytes, _)| bytes.len());
                if let Some(item) = self.consumer.next_soon_unless(len + longer, || true) {
                    let item = self.consumer.align(item).unwrap_or(item);
                    self.received(item, false);
                }
            }
            Op::SkipAlike => {
                let len = self.queue.messages.front().map_or(8, |(bytes, _)| bytes.len());
                let alike = self.consumer.alike(len).to_vec();
                let stride = len.next_multiple_of(8).max(8);
                let count = (alike.len() / stride).div_ceil(2);
                for padded in alike.chunks(stride).take(count) {
                    self.received_untagged(&padded[..len]);
                }
                if count != 0 {
                    self.consumer.skip_alike(count);
                }
            }
            Op::WaitForRoom(size) => {
                let len = size.of(&self.sizes);
                match self.producer.wait_for_room(len, now) {
                    Ok(()) => assert!(len <= frame),
                    Err(SendError::TimedOut) => assert!(!self.empty),
                    Err(SendError::TooLarge { .. }) => {
                        assert!(len > frame);
                        return;
                    }
                    Err(other) => panic!("{other}"),
                }
                self.queue.held_back = 0;
            }
            Op::TryRecv => {
                self.receive(false);
            }
            Op::Take => {
                self.receive(true);
            }
            Op::Recv => match self.consumer.recv(now) {
                Ok(item) => self.received(item, false),
                Err(RecvError::TimedOut) => self.found_nothing(),
                Err(other) => panic!("{other}"),
            },
            Op::Drain => while self.receive(false) {},
            Op::Publish => self.consumer.publish(),
            Op::Strategy(wait) => {
                self.producer.set_wait_strategy(wait);
                self.consumer.set_wait_strategy(wait);
            }
        }
    }

    fn batch(&mut self, pushes: &[Push], leak: bool, wait: bool) {
        let now = Some(Instant::now());
        let mut messages = Vec::new();
        for push in pushes {
            match push {
                Push::Bytes(size) | Push::Grant { size, .. } => {
                    messages.push((push, self.message(*size)));
                }
                Push::Alike(size, count) => {
                    for _ in 0..*count {
                        messages.push((push, (self.message(*size).0, 0)));
                    }
                }
                Push::Flush => messages.push((push, (Vec::new(), 0))),
            }
        }
        let mut sent = Vec::new();
        let mut given_up = false;
        let mut batch = self.producer.batch();
        for (push, message) in messages {
            match push {
                Push::Bytes(_) | Push::Alike(..) if wait => {
                    match batch.push(&message.0, message.1, now) {
                        Ok(()) => sent.push(message),
                        Err(SendError::TimedOut) => given_up = true,
                        Err(SendError::TooLarge { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                Push::Bytes(_) | Push::Alike(..) => match batch.try_push(&message.0, message.1) {
                    Ok(()) => sent.push(message),
                    Err(TrySendError::Full | TrySendError::TooLarge { .. }) => {}
                    Err(other) => panic!("{other}"),
                },
                Push::Grant { commit, .. } => match batch.try_claim(message.0.len()) {
                    Ok(mut grant) => {
                        write(&mut grant, &message.0);
                        if *commit {
                            grant.commit(message.1);
                            sent.push(message);
                        }
                    }
                    Err(TrySendError::Full | TrySendError::TooLarge { .. }) => {}
                    Err(other) => panic!("{other}"),
                },
                Push::Flush => batch.flush(),
            }
        }
        if leak {
            std::mem::forget(batch);
        } else {
            drop(batch);
        }
        // What was held back before may lie open still, if nothing of this batch came about.
        let held_back = self.queue.held_back;
        let count = sent.len();
        for message in sent {
            self.sent(message);
        }
        self.queue.held_back = if leak { held_back + count } else { 0 };
        self.empty = false;
        self.unfinished |= given_up;
    }
}

/// Cuts bytes into pieces, some of them empty.
fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<IoSlice<'a>> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, more) = rest.split_at(rest.len().min(*cut));
        pieces.push(IoSlice::new(piece));
        rest = more;
    }
    pieces.push(IoSlice::new(rest));
    pieces
}

/// Writes a message through a grant, in two pieces, and tries to write more than there is room for.
fn write(grant: &mut memring_ring::grant::Grant<'_>, message: &[u8]) {
    assert!(grant.limit() >= message.len(), "less was lent than asked for");
    let (first, second) = message.split_at(message.len() / 3);
    grant.write(first).expect("it was lent");
    let surplus = vec![0xee; grant.limit() - first.len() + 1];
    assert_eq!(grant.write(&surplus).map_err(|full| full.limit), Err(grant.limit()));
    grant.write(second).expect("it was lent");
    assert_eq!(grant.written(), message.len());
}

pub fn lane(setting: Setting) -> (Lane, support::Side) {
    let sizes = Sizes::of(setting);
    let terms = Terms::new(sizes.max_message as u64).start(setting.start).wait(Wait::Park);
    let (us, peer) = sides(setting.capacity, &terms, setting.fencing);
    let mut consumer = peer.consumer;
    if setting.in_place {
        // SAFETY: the producer at the other end is our own, and it does not change what it published.
        unsafe { consumer.trust_peer() };
    }
    let lane = Lane {
        producer: us.producer,
        consumer,
        sizes,
        queue: Queue::default(),
        spare: Buffer::new(),
        next: 0,
        empty: true,
        unfinished: false,
    };
    // The halves of the other lane stay, or their ends would be news.
    let rest = support::Side { producer: peer.producer, consumer: us.consumer, life: us.life };
    (lane, rest)
}
