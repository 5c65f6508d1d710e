//! Fences: no sleep counts on a fence that is no longer made.

use memring_ring::model::is_covered;

use super::{Model, SMALLEST, both, channel, mutant};

const UNCOVERED: &str = "a sleep that no light publish wakes, and no slice ends";

pub const MODELS: &[Model] = &[Model {
    name: "fence-given-up",
    property: "While this end gives up calling, a sleep has called or is sliced until the peer turned.",
    body: given_up,
    mutants: &[mutant("calls-stop-first", UNCOVERED), mutant("relaxed-give-up", UNCOVERED)],
}];

fn given_up() {
    let [near, _far] = channel(SMALLEST);
    let life = near.life.clone();
    both(
        move || assert!(is_covered(life.fences()), "{UNCOVERED}"),
        move || {
            near.life.fences().stop_calling();
            near
        },
    );
}
