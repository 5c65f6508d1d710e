//! Frames: what is published is whole, in order, and never read while it is written.

use memring_ring::consumer::Consumer;

use super::{
    Model, NOT_SENT, RACE, SMALLEST, both, channel, expect, expect_of_known_length, mutant, send,
};

pub const MODELS: &[Model] = &[
    Model {
        name: "across-the-wrap",
        property: "Messages arrive whole and in order across the end of the lane and of the positions.",
        body: across_the_wrap,
        mutants: &[mutant("relaxed-publish", RACE), mutant("relaxed-header", RACE)],
    },
    Model {
        name: "known-length",
        property: "The same, where the receiver knows beforehand how long they are.",
        body: known_length,
        mutants: &[mutant("relaxed-publish", RACE), mutant("relaxed-header", RACE)],
    },
    Model {
        name: "next-header",
        property: "The header after a published frame reads zero until a frame is published there.",
        body: next_header,
        mutants: &[
            mutant("next-header-not-zeroed", NOT_SENT),
            mutant("next-header-zeroed-late", NOT_SENT),
        ],
    },
];

fn across_the_wrap() {
    one_by_one(3, expect);
}

fn known_length() {
    one_by_one(2, expect_of_known_length);
}

/// So many messages, each alone in its lane, so that the third waits for the first.
fn one_by_one(count: u64, expect: fn(&mut Consumer, u64)) {
    let [mut near, mut far] = channel(SMALLEST);
    both(
        move || {
            (1..=count).for_each(|number| send(&mut near.producer, number));
            near
        },
        move || {
            (1..=count).for_each(|number| expect(&mut far.consumer, number));
            far
        },
    );
}

fn next_header() {
    let [mut near, mut far] = channel(SMALLEST);
    // Once round the lane: where frames will end there are words that would do for headers.
    for number in 1..=2 {
        send(&mut near.producer, number);
        expect(&mut far.consumer, number);
    }
    both(
        move || {
            near.producer.try_send(&[], 3).expect("there is room");
            near.producer.try_send(&[], 4).expect("there is room");
            near
        },
        move || {
            let mut next = 3;
            for _ in 0..3 {
                if let Ok(item) = far.consumer.try_recv() {
                    assert!(
                        item.tag == next && item.is_empty() && next <= 4,
                        "{NOT_SENT}: {item:?}"
                    );
                    next += 1;
                }
            }
            far
        },
    );
}
