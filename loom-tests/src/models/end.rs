//! Ends: whoever sleeps is told, and what was committed before is delivered first.

use loom::thread;
use memring_ring::consumer::{RecvError, TryRecvError};
use memring_ring::model::ModelEnd;
use memring_ring::producer::SendError;
use memring_ring::{End, Fault};

use super::{
    LOST_WAKE, Model, NOT_SENT, SMALLEST, both, channel, expect_bytes, message, mutant, send,
};

const OTHER_END: &str = "another end than the one that came";
const TOO_EARLY: &str = "the end was reported before the last message";

/// Three parts of a message have room here at once.
const THREE_PARTS: u64 = 128;

pub const MODELS: &[Model] = &[
    Model {
        name: "end-mark",
        property: "A consumer that sleeps learns that its producer was dropped, after the last message.",
        body: end_mark,
        mutants: &[
            mutant("drop-without-end", LOST_WAKE),
            mutant("no-light-fence", LOST_WAKE),
            mutant("no-heavy-fence", LOST_WAKE),
        ],
    },
    Model {
        name: "gone",
        property: "A producer that sleeps for room learns that its consumer was dropped.",
        body: gone,
        mutants: &[
            mutant("gone-unsaid", LOST_WAKE),
            mutant("head-without-look", LOST_WAKE),
            mutant("no-heavy-fence", LOST_WAKE),
        ],
    },
    Model {
        name: "hang-up",
        property: "A consumer that sleeps learns that its peer died, after the last message.",
        body: hang_up,
        mutants: &[
            mutant("end-without-trip", LOST_WAKE),
            mutant("private-word-late", LOST_WAKE),
            mutant("end-without-look", NOT_SENT),
            mutant("relaxed-end", NOT_SENT),
            mutant("relaxed-private-word", LOST_WAKE),
            mutant("relaxed-ring", LOST_WAKE),
        ],
    },
    Model {
        name: "hang-up-polled",
        property: "A consumer that polls learns that its peer died, after the last message.",
        body: hang_up_polled,
        mutants: &[mutant("end-without-look", TOO_EARLY), mutant("relaxed-end", TOO_EARLY)],
    },
    Model {
        name: "hang-up-after-parts",
        property: "A message in parts that was whole when its sender died is delivered.",
        body: hang_up_after_parts,
        mutants: &[mutant("parts-end-at-the-end", NOT_SENT)],
    },
    Model {
        name: "mark-before-hang-up",
        property: "A peer that closed in order, and then died, has closed: both halves say so.",
        body: mark_before_hang_up,
        mutants: &[mutant("end-without-look", OTHER_END), mutant("relaxed-end", OTHER_END)],
    },
    Model {
        name: "both-halves-end",
        property: "Both halves of a side wake when the session fails, and both name the fault.",
        body: both_halves_end,
        mutants: &[
            mutant("end-without-trip", LOST_WAKE),
            mutant("private-word-late", LOST_WAKE),
            mutant("wake-one-of-many", LOST_WAKE),
        ],
    },
];

fn ends<T: std::fmt::Debug>(outcome: Result<T, RecvError>, end: End) {
    assert!(
        matches!(outcome, Err(RecvError::Ended(it)) if it == end),
        "{OTHER_END}: {outcome:?} and not {end:?}"
    );
}

fn ends_sending(outcome: Result<(), SendError>, end: End) {
    assert!(
        matches!(outcome, Err(SendError::Ended(it)) if it == end),
        "{OTHER_END}: {outcome:?} and not {end:?}"
    );
}

fn end_mark() {
    let [near, mut far] = channel(SMALLEST);
    let ModelEnd { mut producer, consumer: _consumer, life: _life } = near;
    both(
        move || {
            producer.try_send(&[], 1).expect("room");
            drop(producer);
        },
        move || {
            expect_bytes(&mut far.consumer, 1, &[]);
            ends(far.consumer.recv(None), End::Closed);
            far
        },
    );
}

fn gone() {
    let [mut near, far] = channel(SMALLEST);
    send(&mut near.producer, 1);
    let ModelEnd { producer: _producer, consumer, life: _life } = far;
    both(
        move || {
            ends_sending(near.producer.send(&message(2), 2, None), End::Closed);
            near
        },
        move || drop(consumer),
    );
}

fn hang_up() {
    let [mut near, mut far] = channel(SMALLEST);
    let life = far.life.clone();
    both(
        move || {
            near.producer.try_send(&[], 1).expect("room");
            life.hang_up(); // the far watcher, which comes to know of it afterwards
            near
        },
        move || {
            expect_bytes(&mut far.consumer, 1, &[]);
            ends(far.consumer.recv(None), End::HungUp);
            far
        },
    );
}

fn hang_up_polled() {
    let [mut near, mut far] = channel(SMALLEST);
    let life = far.life.clone();
    both(
        move || {
            near.producer.try_send(&[], 1).expect("room");
            life.hang_up();
            near
        },
        move || {
            let mut arrived = false;
            for _ in 0..3 {
                match far.consumer.try_recv() {
                    Ok(_) => arrived = true,
                    Err(TryRecvError::Ended(_)) => assert!(arrived, "{TOO_EARLY}"),
                    Err(_) => {}
                }
            }
            far
        },
    );
}

fn hang_up_after_parts() {
    let [mut near, mut far] = channel(THREE_PARTS);
    let life = far.life.clone();
    let large = [7; 40];
    both(
        move || {
            near.producer.try_send(&large, 1).expect("room");
            life.hang_up();
            near
        },
        move || {
            expect_bytes(&mut far.consumer, 1, &large);
            far
        },
    );
}

fn mark_before_hang_up() {
    let [near, far] = channel(SMALLEST);
    let ModelEnd { mut producer, mut consumer, life } = far;
    send(&mut producer, 1);
    both(
        move || {
            drop(near);
            life.hang_up();
        },
        move || {
            ends(consumer.recv(None), End::Closed);
            ends_sending(producer.send(&message(2), 2, None), End::Closed);
            (producer, consumer)
        },
    );
}

fn both_halves_end() {
    let [mut near, _far] = channel(SMALLEST);
    send(&mut near.producer, 1);
    let ModelEnd { mut producer, mut consumer, life } = near;
    let fault = End::Fault(Fault::Parts);
    let sends = thread::spawn(move || {
        ends_sending(producer.send(&message(2), 2, None), fault);
        producer
    });
    let receives = thread::spawn(move || {
        ends(consumer.recv(None), fault);
        consumer
    });
    life.fail(Fault::Parts);
    drop((sends.join(), receives.join()));
}
