//! Two threads, one lane, every way of waiting: nothing is lost, doubled, torn or out of order.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use memring_ring::consumer::{Consumer, RecvError};
use memring_ring::producer::{Producer, SendError};
use memring_ring::{End, Terms, Wait};

use support::{Fencing, STARTS, bytes, sides};

/// So long that only a lost wake-up takes longer.
const NEVER: Duration = Duration::from_secs(60);

/// A xorshift generator: the same messages in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Mostly small, sometimes about a frame, now and then larger than the lane.
    fn size(&mut self, max: u64) -> usize {
        let most = match self.below(16) {
            0 => max,
            1..=4 => 2000,
            _ => 100,
        };
        self.below(most.min(max) + 1) as usize
    }
}

/// Message `seq` at its `attempt`: whoever gets it can tell both, and whether all of it is there.
fn message(seq: u64, attempt: u64, len: usize) -> Vec<u8> {
    bytes(seq << 20 | attempt, len)
}

fn tag(seq: u64, attempt: u64) -> u64 {
    seq << 20 | attempt
}

/// Sends `count` messages in every way there is, and gives some up for want of time.
fn send(mut producer: Producer, count: u64, max: u64) {
    let mut random = Random(0x5eed);
    let mut attempt = 0;
    let mut seq = 0;
    while seq < count {
        let len = random.size(max);
        let bytes = message(seq, attempt, len);
        let never = Some(Instant::now() + NEVER);
        let outcome = match random.below(8) {
            0 => producer.send(&bytes, tag(seq, attempt), Some(Instant::now())),
            1 if len <= producer.largest_frame() => producer.claim(len, never).map(|mut grant| {
                grant.write(&bytes).expect("as much as was lent");
                grant.commit(tag(seq, attempt));
            }),
            2 => {
                let mut batch = producer.batch();
                for n in 0..random.below(40) {
                    let small = message(seq, 0, (n * 3) as usize);
                    batch.push(&small, tag(seq, 0), never).expect("the consumer reads");
                    seq += 1;
                }
                if random.below(2) == 0 {
                    std::mem::forget(batch);
                }
                continue;
            }
            _ => producer.send(&bytes, tag(seq, attempt), never),
        };
        match outcome {
            Ok(()) => (seq, attempt) = (seq + 1, 0),
            Err(SendError::TimedOut) => attempt += 1,
            Err(other) => panic!("message {seq}: {other}"),
        }
    }
}

/// Receives until the end; how many messages.
fn receive(mut consumer: Consumer) -> u64 {
    let mut seq = 0;
    loop {
        let item = match consumer.recv(Some(Instant::now() + NEVER)) {
            Ok(item) => item,
            Err(RecvError::Ended(End::Closed)) => return seq,
            Err(other) => panic!("message {seq}: {other}"),
        };
        let got = consumer.bytes(&item);
        assert_eq!(item.tag >> 20, seq, "a message was lost or doubled");
        assert_eq!(got, message(seq, item.tag & 0xf_ffff, item.len()), "message {seq}");
        seq += 1;
    }
}

fn run(wait: Wait, fencing: Fencing, start: u64, count: u64) {
    let max = 20_000;
    let terms = Terms::new(max).wait(wait).start(start);
    let (us, peer) = sides(8192, &terms, fencing);
    let sender = thread::spawn(move || send(us.producer, count, max));
    let received = receive(peer.consumer);
    sender.join().expect("the sender's own checks");
    assert!(received >= count, "{received} of {count}");
}

#[test]
fn everything_arrives_whole_and_in_order_spinning() {
    run(Wait::Spin, Fencing::Ours, STARTS[1], 8000);
}

#[test]
fn everything_arrives_whole_and_in_order_adapting() {
    run(Wait::Adaptive, Fencing::Ours, STARTS[2], 8000);
}

#[test]
fn everything_arrives_whole_and_in_order_parking() {
    run(Wait::Park, Fencing::Ours, STARTS[3], 8000);
}

#[test]
fn everything_arrives_whole_and_in_order_with_full_fences() {
    run(Wait::Park, Fencing::Full, STARTS[4], 8000);
}

/// Attack 87: each side waits for the other's answer, in turns, on lanes too small for either.
#[test]
fn attack_87_two_halves_of_each_side_wait_for_room_and_for_data_at_once() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let terms = Terms::new(20_000).wait(wait);
        let (us, peer) = sides(4096, &terms, Fencing::Ours);
        let count = 600;
        thread::scope(|scope| {
            for producer in [us.producer, peer.producer] {
                scope.spawn(move || send(producer, count, 20_000));
            }
            for consumer in [us.consumer, peer.consumer] {
                scope.spawn(move || assert!(receive(consumer) >= count));
            }
        });
    }
}
