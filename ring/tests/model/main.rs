//! The ring against a model: a queue. Whatever is done to the two halves, what arrives is what was sent.
//!
//! One thread drives both halves through random operations, so that every failure can be shrunk and
//! repeated. What only happens between threads is in `stress.rs`, and in the models that loom explores.

#![allow(unsafe_code)]

mod lane;
mod ops;
#[path = "../support/mod.rs"]
mod support;

use memring_ring::consumer::{RecvError, TryRecvError};
use memring_ring::producer::{SendError, TrySendError};
use memring_ring::{Delivery, End};
use proptest::prelude::*;

use lane::{Lane, lane};
use ops::{Op, Sizes, op, setting, size};
use support::bytes;

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn what_arrives_is_what_was_sent(
        setting in setting(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let (mut lane, rest) = lane(setting);
        let mut last = Delivery::default();
        for op in ops {
            lane.run(op);
            last = lane.delivered(last);
        }
        let stats = lane.producer.stats();
        prop_assert_eq!((stats.messages, stats.bytes), (lane.queue.sent, lane.queue.sent_bytes));
        // The end comes after everything that was sent, held back or not, and stays.
        let Lane { producer, mut consumer, mut queue, .. } = lane;
        drop(producer);
        for (expected, tag) in queue.messages.drain(..) {
            let item = consumer.recv(None).expect("it was sent before the end");
            prop_assert_eq!((consumer.bytes(&item), item.tag), (&expected[..], tag));
            queue.received += 1;
            queue.received_bytes += item.len() as u64;
        }
        for _ in 0..2 {
            prop_assert_eq!(consumer.recv(None).err(), Some(RecvError::Ended(End::Closed)));
            prop_assert_eq!(consumer.try_recv().err(), Some(TryRecvError::Ended(End::Closed)));
        }
        let stats = consumer.stats();
        prop_assert_eq!((stats.messages, stats.bytes), (queue.received, queue.received_bytes));
        drop(rest);
    }

    #[test]
    fn once_everything_is_received_nothing_is_in_doubt(
        setting in setting(),
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let (mut lane, rest) = lane(setting);
        for op in ops {
            lane.run(op);
        }
        lane.run(Op::Drain);
        let held_back = lane.queue.messages.len() as u64;
        let delivery = lane.producer.delivery();
        prop_assert_eq!(delivery.sent, lane.queue.sent);
        prop_assert_eq!((delivery.in_doubt, delivery.unpublished()), (0, held_back));
        drop(rest);
    }

    #[test]
    fn a_consumer_that_leaves_ends_the_sending(
        setting in setting(),
        before in prop::collection::vec(op(), 0..40),
        after in prop::collection::vec(size(), 1..200),
    ) {
        let (mut lane, rest) = lane(setting);
        for op in before {
            lane.run(op);
        }
        let Lane { mut producer, consumer, .. } = lane;
        drop(consumer);
        let mut closed = false;
        for (n, size) in after.into_iter().enumerate() {
            let message = bytes(n as u64, size.of(&Sizes::of(setting)));
            // It is found out at the latest when there seems to be no room.
            let outcome = producer.send(&message, 0, None);
            match outcome {
                Ok(()) => prop_assert!(!closed, "sent after the end"),
                Err(SendError::TooLarge { .. }) => {}
                Err(SendError::Ended(end)) => {
                    prop_assert_eq!(end, End::Closed);
                    closed = true;
                }
                Err(other) => panic!("{other}"),
            }
            if closed {
                prop_assert_eq!(producer.end(), Some(End::Closed));
                prop_assert_eq!(
                    producer.batch().try_push(&[], 0),
                    Err(TrySendError::Ended(End::Closed))
                );
            }
        }
        drop(rest);
    }
}
