//! Messages in parts: larger than the lane, and whole or not there at all.

use std::time::Instant;

use memring_ring::producer::SendError;

use super::{LOST_WAKE, Model, NOT_SENT, RACE, SMALLEST, both, channel, expect_bytes, mutant};

const GIVEN_UP: &str = "a message arrived that was given up, or did not that was sent";

pub const MODELS: &[Model] = &[
    Model {
        name: "parts",
        property: "A message larger than the lane arrives whole, part by part.",
        body: parts,
        mutants: &[
            mutant("relaxed-publish", RACE),
            mutant("no-heavy-fence", LOST_WAKE),
            mutant("head-without-look", LOST_WAKE),
        ],
    },
    Model {
        name: "given-up",
        property: "A message whose deadline passes between two parts is never seen, and the next one is.",
        body: given_up,
        mutants: &[mutant("abort-forgotten", NOT_SENT), mutant("send-without-tidying", NOT_SENT)],
    },
];

/// Three parts of one frame each, where the lane holds one.
const LARGE: [u8; 40] = [7; 40];

fn parts() {
    let [mut near, mut far] = channel(SMALLEST);
    both(
        move || {
            near.producer.send(&LARGE, 1, None).expect("sent");
            near
        },
        move || {
            expect_bytes(&mut far.consumer, 1, &LARGE);
            far
        },
    );
}

fn given_up() {
    let [mut near, mut far] = channel(SMALLEST);
    let ((_near, sent), (_far, arrived)) = both(
        move || {
            // In the past: it waits for nothing, but goes on as long as there is room.
            let sent = near.producer.send(&LARGE, 1, Some(Instant::now()));
            assert!(matches!(sent, Ok(()) | Err(SendError::TimedOut)));
            near.producer.send(&[], 2, None).expect("sent");
            (near, sent.is_ok())
        },
        move || {
            let first = far.consumer.recv(None);
            let arrived = match &first {
                Ok(item) if item.tag == 1 => {
                    assert!(far.consumer.bytes(item) == LARGE, "{NOT_SENT}: {item:?}");
                    true
                }
                Ok(item) if item.tag == 2 => false,
                other => panic!("{NOT_SENT}: {other:?}"),
            };
            if arrived {
                expect_bytes(&mut far.consumer, 2, &[]);
            }
            (far, arrived)
        },
    );
    assert!(sent == arrived, "{GIVEN_UP}");
}
