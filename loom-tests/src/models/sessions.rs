//! Several sessions: a process that waits on one holds nothing back in another.

use memring_ring::model;

use super::{LOST_WAKE, Model, SMALLEST, both, channel_of, expect_bytes, fill, mutant};

/// Here an empty message is less than the eighth at which a consumer publishes by itself.
const EIGHTH_IS_TWO_FRAMES: u64 = 256;

pub const MODELS: &[Model] = &[Model {
    name: "two-sessions-in-a-cycle",
    property: "A process that waits in one session has published its heads of all others.",
    body: cycle,
    mutants: &[mutant("wait-without-heads", LOST_WAKE), mutant("head-without-look", LOST_WAKE)],
}];

fn cycle() {
    let heads = [model::heads(), model::heads()];
    // Boxed, for a model's threads have small stacks.
    let boxed = |capacity| channel_of(capacity, [&heads[0], &heads[1]]).map(Box::new);
    let [mut near_one, mut far_one] = boxed(EIGHTH_IS_TWO_FRAMES);
    let [mut near_two, mut far_two] = boxed(SMALLEST);
    fill(&mut near_one.producer);
    // Released and not published: the far process sees no reason to yet.
    expect_bytes(&mut far_one.consumer, 0, &[]);
    both(
        move || {
            near_one.producer.send(&[], 1, None).expect("sent");
            near_two.producer.send(&[], 2, None).expect("sent");
            (near_one, near_two)
        },
        move || {
            expect_bytes(&mut far_two.consumer, 2, &[]);
            (far_one, far_two)
        },
    );
}
