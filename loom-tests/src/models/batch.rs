//! Batches: together or not at all, and never held back by somebody who waits.

use super::{LOST_WAKE, Model, NOT_SENT, RACE, SMALLEST, both, channel, expect_bytes, mutant};

const TORN: &str = "a batch was seen in part";

/// The smallest lane whose packs hold two messages.
const TWO_IN_A_PACK: u64 = 256;

pub const MODELS: &[Model] = &[
    Model {
        name: "batch-visibility",
        property: "Of a batch that fits in one frame, all is seen or nothing, and before what follows.",
        body: visibility,
        mutants: &[
            mutant("push-publishes", TORN),
            mutant("relaxed-publish", RACE),
            mutant("relaxed-header", RACE),
        ],
    },
    Model {
        name: "batch-leaked",
        property: "What was pushed to a guard that was leaked is published by the next send, before it.",
        body: leaked,
        mutants: &[mutant("send-without-tidying", NOT_SENT)],
    },
    Model {
        name: "batch-against-full",
        property: "A batch that waits for room has published what it holds, or nobody would make room.",
        body: against_full,
        mutants: &[mutant("wait-without-batch", LOST_WAKE), mutant("head-without-look", LOST_WAKE)],
    },
];

fn visibility() {
    let [mut near, mut far] = channel(TWO_IN_A_PACK);
    both(
        move || {
            let mut batch = near.producer.batch();
            batch.try_push(&[1; 8], 1).expect("room");
            batch.try_push(&[2; 8], 2).expect("room");
            drop(batch);
            near.producer.try_send(&[3; 8], 3).expect("room");
            near
        },
        move || {
            expect_bytes(&mut far.consumer, 1, &[1; 8]);
            match far.consumer.try_recv() {
                Ok(item) => assert!(
                    item.tag == 2 && far.consumer.bytes(&item) == [2; 8],
                    "{NOT_SENT}: {item:?}"
                ),
                Err(_) => panic!("{TORN}"),
            }
            expect_bytes(&mut far.consumer, 3, &[3; 8]);
            far
        },
    );
}

fn leaked() {
    let [mut near, mut far] = channel(TWO_IN_A_PACK);
    both(
        move || {
            let mut batch = near.producer.batch();
            batch.try_push(&[1; 8], 1).expect("room");
            std::mem::forget(batch); // a borrow and nothing else: nothing leaks
            near.producer.try_send(&[2; 8], 2).expect("room");
            near
        },
        move || {
            expect_bytes(&mut far.consumer, 1, &[1; 8]);
            expect_bytes(&mut far.consumer, 2, &[2; 8]);
            far
        },
    );
}

fn against_full() {
    let [mut near, mut far] = channel(SMALLEST);
    both(
        move || {
            let mut batch = near.producer.batch();
            // The first fills its frame, and the frame of the second has room only after it was read.
            batch.push(&[], 1, None).expect("sent");
            batch.push(&[], 2, None).expect("sent");
            drop(batch);
            near
        },
        move || {
            expect_bytes(&mut far.consumer, 1, &[]);
            expect_bytes(&mut far.consumer, 2, &[]);
            far
        },
    );
}
