//! Room: however a head is published, a producer that sleeps for it is woken, and gets no more than was
//! released.

use super::{
    LOST_WAKE, Model, RACE, both, channel, channel_of, expect, expect_bytes, fill, message, mutant,
    send,
};
use loom::thread;
use memring_ring::model::{self, ModelEnd};

const WENT_BACK: &str = "the published head went back";

/// Here a message of three parts has room at once, and an empty one after it.
const THREE_PARTS: u64 = 128;
/// Here an empty message is less than the eighth at which a consumer publishes by itself.
const EIGHTH_IS_TWO_FRAMES: u64 = 256;
/// Here that is so for a message of 16 bytes.
const EIGHTH_IS_FOUR_FRAMES: u64 = 512;

pub const MODELS: &[Model] = &[
    Model {
        name: "read-before-overwritten",
        property: "A message is not overwritten before it was copied.",
        body: read_before_overwritten,
        mutants: &[
            mutant("release-before-copy", RACE),
            mutant("relaxed-head", RACE),
            mutant("relaxed-room", RACE),
            mutant("eighth-kept", LOST_WAKE),
        ],
    },
    Model {
        name: "parts-read-before-overwritten",
        property: "No part of a message is overwritten before it was copied.",
        body: parts_read_before_overwritten,
        mutants: &[mutant("part-released-before-copy", RACE), mutant("relaxed-head", RACE)],
    },
    Model {
        name: "head-on-request",
        property: "A head that is published on request wakes a producer that sleeps for its room.",
        body: head_on_request,
        mutants: &[
            mutant("head-without-look", LOST_WAKE),
            mutant("no-light-fence", LOST_WAKE),
            mutant("no-heavy-fence", LOST_WAKE),
        ],
    },
    Model {
        name: "room-in-two-heads",
        property: "A producer for which the first head was too little is woken by the second.",
        body: room_in_two_heads,
        mutants: &[
            mutant("head-epoch-settled-by-any-wake", LOST_WAKE),
            mutant("one-epoch", LOST_WAKE),
        ],
    },
    Model {
        name: "head-by-another-thread",
        property: "Room that another thread publishes is not written before the consumer has read it.",
        body: head_by_another_thread,
        mutants: &[mutant("relaxed-release", RACE), mutant("relaxed-released", RACE)],
    },
    Model {
        name: "two-publishers",
        property: "Of two threads that publish one head, neither takes back what the other published.",
        body: two_publishers,
        mutants: &[mutant("head-read-unlocked", WENT_BACK)],
    },
];

/// Sends a message for which there is room once the first frame, of 32 bytes, was read. Its own frame ends
/// where that frame's payload lay.
fn overwrite(mut near: ModelEnd, mut far: ModelEnd, first: &'static [u8]) {
    near.producer.try_send(first, 1).expect("room");
    near.producer.try_send(&[], 2).expect("room");
    let (_near, mut far) = both(
        move || {
            send(&mut near.producer, 3);
            near
        },
        move || {
            expect_bytes(&mut far.consumer, 1, first);
            far
        },
    );
    expect_bytes(&mut far.consumer, 2, &[]);
    expect(&mut far.consumer, 3);
}

fn read_before_overwritten() {
    let [near, far] = channel(super::SMALLEST);
    overwrite(near, far, &[1; 16]);
}

fn parts_read_before_overwritten() {
    let [near, far] = channel(THREE_PARTS);
    overwrite(near, far, &[1; 40]);
}

fn head_on_request() {
    let [mut near, mut far] = channel(EIGHTH_IS_TWO_FRAMES);
    fill(&mut near.producer);
    expect_bytes(&mut far.consumer, 0, &[]);
    both(
        move || {
            near.producer.send(&[], 1, None).expect("sent");
            near
        },
        move || {
            far.consumer.publish();
            far
        },
    );
}

fn room_in_two_heads() {
    let [mut near, mut far] = channel(super::SMALLEST);
    for number in 1..=3 {
        near.producer.try_send(&[], number).expect("room");
    }
    both(
        move || {
            send(&mut near.producer, 4); // the room of two
            near
        },
        move || {
            for number in 1..=3 {
                expect_bytes(&mut far.consumer, number, &[]);
            }
            far
        },
    );
}

fn head_by_another_thread() {
    let heads = [model::heads(), model::heads()];
    let [mut near, mut far] = channel_of(EIGHTH_IS_FOUR_FRAMES, [&heads[0], &heads[1]]);
    send(&mut near.producer, 1);
    fill(&mut near.producer);
    let publisher = heads[1].clone();
    let publishes = thread::spawn(move || publisher.publish_all());
    both(
        move || {
            expect(&mut far.consumer, 1);
            far
        },
        move || {
            let _ = near.producer.try_send(&message(2), 2);
            near
        },
    );
    let _ = publishes.join();
}

fn two_publishers() {
    let heads = [model::heads(), model::heads()];
    let [mut near, mut far] = channel_of(EIGHTH_IS_TWO_FRAMES, [&heads[0], &heads[1]]);
    near.producer.try_send(&[], 0).expect("room");
    send(&mut near.producer, 1);
    fill(&mut near.producer);
    let (_far, ()) = both(
        move || {
            expect_bytes(&mut far.consumer, 0, &[]);
            expect(&mut far.consumer, 1); // from here on it is due, and published
            far
        },
        move || heads[1].publish_all(),
    );
    let room = near.producer.try_send(&message(2), 2);
    assert!(room.is_ok(), "{WENT_BACK}");
}
