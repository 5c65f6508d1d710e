//! Sleep and wake: nobody sleeps on what lies there, and nobody is woken more than it takes.

use loom::thread;
use memring_ring::model::{ModelEnd, redundant_wakes};

use super::{LOST_WAKE, Model, SMALLEST, both, channel, expect, expect_bytes, mutant, send};

const WOKEN_TWICE: &str = "a sleeper was woken again before it rose";
const WOKEN_AWAKE: &str = "a wake for a consumer that is awake";

pub const MODELS: &[Model] = &[
    Model {
        name: "sleep-and-wake",
        property: "A consumer that sleeps for messages and a producer that sleeps for room are woken.",
        body: sleep_and_wake,
        mutants: &[
            mutant("no-light-fence", LOST_WAKE),
            mutant("no-heavy-fence", LOST_WAKE),
            mutant("sleep-without-look", LOST_WAKE),
            mutant("head-without-look", LOST_WAKE),
            mutant("wake-wrong-word", LOST_WAKE),
        ],
    },
    Model {
        name: "first-unlooked-word",
        property: "A look that finds a sleep on a later word does not settle that sleep.",
        body: first_unlooked_word,
        mutants: &[mutant("epoch-settled-by-any-wake", LOST_WAKE), mutant("one-epoch", LOST_WAKE)],
    },
    Model {
        name: "one-wake-an-epoch",
        property: "A consumer that is slow to rise costs one wake, and one that is awake costs none.",
        body: one_wake_an_epoch,
        mutants: &[
            mutant("epoch-never-settled", WOKEN_TWICE),
            mutant("awake-unsaid", WOKEN_AWAKE),
            mutant("found-unsaid", WOKEN_AWAKE),
        ],
    },
    Model {
        name: "both-halves-asleep",
        property: "While both halves of one side sleep, each is woken for its own reason.",
        body: both_halves_asleep,
        mutants: &[
            mutant("no-light-fence", LOST_WAKE),
            mutant("no-heavy-fence", LOST_WAKE),
            mutant("head-without-look", LOST_WAKE),
        ],
    },
];

fn sleep_and_wake() {
    let [mut near, mut far] = channel(SMALLEST);
    both(
        move || {
            // The second waits for the room of the first.
            (1..=2).for_each(|number| send(&mut near.producer, number));
            near
        },
        move || {
            (1..=2).for_each(|number| expect(&mut far.consumer, number));
            far
        },
    );
}

/// `count` empty messages from one thread to another, all of which have room from the start.
fn trickle(count: u64) -> (ModelEnd, ModelEnd) {
    let [mut near, mut far] = channel(SMALLEST);
    both(
        move || {
            (1..=count).for_each(|number| near.producer.try_send(&[], number).expect("room"));
            near
        },
        move || {
            (1..=count).for_each(|number| expect_bytes(&mut far.consumer, number, &[]));
            far
        },
    )
}

fn first_unlooked_word() {
    trickle(2);
}

fn one_wake_an_epoch() {
    let (mut near, _far) = trickle(2);
    assert!(redundant_wakes() == 0, "{WOKEN_TWICE}");
    let before = near.producer.stats().wakes;
    near.producer.try_send(&[], 3).expect("room");
    assert!(near.producer.stats().wakes == before, "{WOKEN_AWAKE}");
}

fn both_halves_asleep() {
    let [mut near, mut far] = channel(SMALLEST);
    send(&mut near.producer, 1); // fills the lane
    let ModelEnd { mut producer, mut consumer, life: _life } = near;
    let sends = thread::spawn(move || {
        send(&mut producer, 2);
        producer
    });
    let receives = thread::spawn(move || {
        expect(&mut consumer, 3);
        consumer
    });
    send(&mut far.producer, 3);
    expect(&mut far.consumer, 1);
    let halves = (sends.join(), receives.join());
    expect(&mut far.consumer, 2);
    drop(halves);
}
