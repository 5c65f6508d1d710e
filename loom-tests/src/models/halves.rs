//! Two halves under one word: one owner each, and whoever sleeps for one gets it.

use std::collections::VecDeque;

use loom::cell::Cell;
use loom::sync::{Arc, Condvar, Mutex};
use memring_ring::halves::{Halves, Held, Which};

use super::{LOST_WAKE, Model, RACE, both, mutant};

pub const MODELS: &[Model] = &[
    Model {
        name: "halves-taken",
        property: "Of two threads that want both halves each gets them, and sees what the other did.",
        body: taken_by_turns,
        mutants: &[
            mutant("take-what-is-taken", RACE),
            mutant("take-without-acquire", RACE),
            mutant("give-back-without-release", RACE),
            mutant("want-without-saying", LOST_WAKE),
        ],
    },
    Model {
        name: "halves-given-back",
        property: "Who sleeps for one half is woken for it, though the other is given back before.",
        body: given_back_one_by_one,
        mutants: &[mutant("forget-who-wants", LOST_WAKE), mutant("want-without-saying", LOST_WAKE)],
    },
];

/// What the threads share: the halves, and a list of those that sleep. Each has a bed of its own, as a thread that parks has.
struct Shared {
    halves: Halves<Cell<u32>, Cell<u32>>,
    asleep: Mutex<VecDeque<usize>>,
    beds: [(Mutex<bool>, Condvar); 2],
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            halves: Halves::new(Cell::new(0), Cell::new(0)),
            asleep: Mutex::new(VecDeque::new()),
            beds: [(Mutex::new(false), Condvar::new()), (Mutex::new(false), Condvar::new())],
        })
    }

    /// Takes these, sleeping as long as somebody has one of them.
    fn take(&self, me: usize, which: Which) -> Held<'_, Cell<u32>, Cell<u32>> {
        loop {
            if let Some(held) = self.halves.try_take(which) {
                return held;
            }
            self.asleep.lock().expect("nobody panics").push_back(me);
            if self.halves.want(which) {
                let (woken, bed) = &self.beds[me];
                let mut woken = woken.lock().expect("nobody panics");
                while !*woken {
                    woken = bed.wait(woken).expect("nobody panics");
                }
                *woken = false;
            }
            self.asleep.lock().expect("nobody panics").retain(|other| *other != me);
        }
    }

    fn give_back(&self, held: &mut Held<'_, Cell<u32>, Cell<u32>>, which: Which) {
        if held.give_back(which) == Which::NONE {
            return;
        }
        let chosen = self.asleep.lock().expect("nobody panics").pop_front();
        if let Some(chosen) = chosen {
            let (woken, bed) = &self.beds[chosen];
            *woken.lock().expect("nobody panics") = true;
            bed.notify_one();
        }
    }
}

fn taken_by_turns() {
    let shared = Shared::new();
    let one = |me: usize| {
        let shared = shared.clone();
        move || {
            let mut held = shared.take(me, Which::BOTH);
            let sent = held.sending().get();
            held.sending().set(sent + 1);
            let received = held.receiving().get();
            held.receiving().set(received + 1);
            assert_eq!(sent, received, "half of what the other did");
            shared.give_back(&mut held, Which::BOTH);
        }
    };
    both(one(0), one(1));
    let mut held = shared.halves.try_take(Which::BOTH).expect("both are free");
    assert_eq!((held.sending().get(), held.receiving().get()), (2, 2));
}

fn given_back_one_by_one() {
    let shared = Shared::new();
    let first = shared.clone();
    let second = shared.clone();
    both(
        move || {
            let mut held = first.take(0, Which::BOTH);
            first.give_back(&mut held, Which::SENDING);
            held.receiving().set(1);
            first.give_back(&mut held, Which::RECEIVING);
        },
        move || {
            let mut held = second.take(1, Which::RECEIVING);
            let seen = held.receiving().get();
            held.receiving().set(seen + 2);
            second.give_back(&mut held, Which::RECEIVING);
        },
    );
}
