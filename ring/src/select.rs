//! Selecting: one thread that waits for whichever of several consumers has something first.
//!
//! The steps are those of [`crate::wait`], each done for all of them before the next, with one heavy fence: a word that
//! changes after it belongs to a peer that finds its consumer asleep.
//!
//! Without `futex_waitv`, or for more than it takes, others wait for descriptors: see [`crate::arm`].

use crate::consumer::Consumer;
use crate::counters::RX;
use crate::fence::Heavy;
use crate::step::{self, Step};
use crate::sync::{self, Bed, Instant, Ordering, mutant};
use crate::trace;
use crate::wait::{BACK_OFF, FIRST, SPURIOUS, Wait};

/// How many consumers one wait takes: each has two words, and the kernel takes 128.
pub const MOST: usize = 64;

/// Waits until a receive would find something in one of them, a message, part of one or an end; which one. `None` once the
/// deadline has passed. Of several the first after `after` counts, so that none is left waiting for the others' sake.
///
/// # Panics
///
/// If there are none, or more than [`MOST`].
pub fn select(
    consumers: &mut [&mut Consumer],
    after: usize,
    deadline: Option<Instant>,
) -> Option<usize> {
    assert!((1..=MOST).contains(&consumers.len()), "one wait takes 1 to 64 consumers");
    let count = consumers.len();
    let first = |consumers: &[&mut Consumer]| {
        (1..=count).map(|step| (after + step) % count).find(|at| consumers[*at].has_something())
    };
    for consumer in consumers.iter_mut().filter(|consumer| !consumer.reader.life().is_forked()) {
        consumer.reader.release_lent();
    }
    // Those of another process, after a fork, have an end to tell; nothing of theirs is touched.
    if let Some(found) = first(consumers) {
        return Some(found);
    }
    let spins = consumers.iter().all(|consumer| consumer.wait_strategy() != Wait::Park);
    for _ in 0..if spins { FIRST } else { 0 } {
        if let Some(found) = first(consumers) {
            return Some(found);
        }
        sync::pause();
    }
    for consumer in consumers.iter_mut() {
        consumer.reader.cursor.publish();
    }
    consumers[0].heads.publish_all();
    let lives: Vec<_> = consumers.iter().map(|one| sync::Arc::clone(&one.post.life)).collect();
    let waiting: Vec<_> = lives.iter().map(|life| life.enter()).collect();
    let mut spurious = vec![0; count];
    loop {
        step::at(Step::W1);
        // ORDERING: Acquire; pairs with the Release of L2 in `life`, as in `wait`.
        let private: Vec<_> =
            lives.iter().map(|life| life.word().load(Ordering::Acquire)).collect(); // W1
        waiting.iter().for_each(|waiting| waiting.attend());
        step::at(Step::W2);
        if let Some(found) = first(consumers) {
            return Some(found); // W2
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return None;
        }
        step::at(Step::W3);
        for consumer in consumers.iter_mut() {
            let Consumer { sleeper, post, heads, .. } = &mut **consumer;
            sleeper.counted.sleep();
            sleeper.say_asleep(&post.place(heads)); // W3
        }
        step::at(Step::W4);
        let mut called = false;
        let mut slice = None;
        for life in &lives {
            // One call reaches every process; what full fences need beside it is free.
            if let Heavy::Sliced { longest, first } = life.fences().heavy_once(&mut called) {
                if first {
                    life.heavy_fence_failed();
                }
                slice = Some(Instant::now() + longest);
            }
        }
        step::at(Step::W5);
        let found = first(consumers); // W5
        if found.is_none() {
            // As in `wait`, but for each by itself: who wakes us for nothing loses its own wakes, for a while.
            let resting = spurious.iter().any(|wakes| *wakes >= SPURIOUS);
            let back_off = resting.then(|| Instant::now() + BACK_OFF);
            let until = [deadline, slice, back_off].into_iter().flatten().min();
            let mut beds = Vec::with_capacity(count);
            for (at, consumer) in consumers.iter().enumerate() {
                beds.push(Bed {
                    region: &consumer.post.shared,
                    offset: consumer.reader.cursor.offset(),
                    seen: 0,
                    shared: spurious[at] < SPURIOUS,
                    private: lives[at].word(),
                    private_seen: private[at],
                });
            }
            let beds = if mutant("select-sleeps-on-one") { &beds[..1] } else { &beds[..] };
            trace::sleeps(RX);
            step::at(Step::W6);
            let woken_by = sync::sleep_any(beds, until); // W6
            trace::woke(RX, woken_by.is_some());
            spurious.iter_mut().for_each(|wakes| *wakes = (*wakes).min(SPURIOUS - 1));
            if let Some(at) = woken_by {
                let for_nothing = !consumers[at].has_something();
                spurious[at] = if for_nothing { spurious[at] + 1 } else { 0 };
            }
        }
        step::at(Step::W7);
        for consumer in consumers.iter_mut() {
            consumer.post.place(&consumer.heads).take_back(); // W7
        }
        if found.is_some() {
            return found;
        }
    }
}
