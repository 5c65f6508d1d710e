//! Selecting: a thread that waits for two consumers hears of either.

use memring_ring::select::select;

use super::{LOST_WAKE, Model, NOT_SENT, SMALLEST, both, channel, mutant};

pub const MODELS: &[Model] = &[Model {
    name: "select",
    property: "A thread that waits for two consumers at once hears of each message, whichever comes first.",
    body: selected,
    mutants: &[
        mutant("select-sleeps-on-one", LOST_WAKE),
        mutant("no-heavy-fence", LOST_WAKE),
        mutant("no-light-fence", LOST_WAKE),
        mutant("one-epoch", LOST_WAKE),
    ],
}];

fn selected() {
    let [mut near, mut far] = channel(SMALLEST);
    let [mut other_near, mut other_far] = channel(SMALLEST);
    both(
        move || {
            near.producer.try_send(&[], 1).expect("room");
            other_near.producer.try_send(&[], 1).expect("room");
            other_near.producer.try_send(&[], 2).expect("room");
            (near, other_near)
        },
        move || {
            let mut got = [0; 2];
            while got != [1, 2] {
                let mut consumers = [&mut far.consumer, &mut other_far.consumer];
                let found = select(&mut consumers, 0, None).expect("no deadline");
                let item = consumers[found].try_recv();
                got[found] += 1;
                assert!(item.is_ok_and(|item| item.tag == got[found]), "{NOT_SENT}");
            }
            (far, other_far)
        },
    );
}
