//! Generations, the fork lock and cells, in this process and in forked children of it.
#![allow(unsafe_code)]

use std::panic::catch_unwind;
use std::sync::atomic::AtomicBool;
use std::sync::{Barrier, Mutex};
use std::thread;

use super::testing::{Way, alone, in_child, segment_maps};
use super::*;
use crate::memory::Mapping;

#[test]
fn a_generation_is_one_number_for_all_threads() {
    let mine = generation();
    assert!(mine.is_current());
    assert_ne!(mine.number(), 0);
    let theirs: Vec<Generation> = (0..4)
        .map(|_| thread::spawn(generation))
        .map(|thread| thread.join().expect("no panic"))
        .collect();
    assert!(theirs.iter().all(|&other| other == mine));
}

#[test]
fn attack_78_a_child_and_its_child_have_generations_of_their_own() {
    alone("fork::tests::attack_78_a_child_and_its_child_have_generations_of_their_own", || {
        for way in [Way::Fork, Way::RawClone] {
            let parents = generation();
            assert!(in_child(way, || {
                assert!(!parents.is_current());
                let childs = generation();
                assert!(childs.is_current() && childs.number() > parents.number());
                in_child(way, || {
                    assert!(!parents.is_current() && !childs.is_current());
                    generation().number() > childs.number()
                }) && childs.is_current()
            }));
            assert!(parents.is_current());
            assert_eq!(generation(), parents);
        }
    });
}

#[test]
fn without_the_wiped_page_the_process_id_tells_a_child() {
    alone("fork::tests::without_the_wiped_page_the_process_id_tells_a_child", || {
        static WORD: PidWord = PidWord::new();
        assert_eq!(WORD.number_if_current(), None);
        let parents = WORD.number();
        assert_eq!(WORD.number(), parents);
        assert!(WORD.is_current(parents));
        for way in [Way::Fork, Way::RawClone] {
            assert!(in_child(way, || {
                assert!(!WORD.is_current(parents));
                let childs = WORD.number();
                childs > parents && WORD.is_current(childs)
            }));
        }
        WORD.clear();
        assert!(!WORD.is_current(parents));
    });
}

#[test]
fn a_cell_is_made_once_however_many_come() {
    static MADE: AtomicU32 = AtomicU32::new(0);
    static CELL: PerProcess<u32> = PerProcess::new();
    let together = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                let value = CELL.get_or_init(|| {
                    thread::yield_now();
                    MADE.fetch_add(1, Ordering::Relaxed)
                });
                assert_eq!(*value, 0);
            });
        }
    });
    assert_eq!(MADE.load(Ordering::Relaxed), 1);
}

#[test]
fn a_cell_whose_making_failed_is_made_by_the_next_who_asks() {
    static CELL: PerProcess<u32> = PerProcess::new();
    assert_eq!(CELL.get_or_try_init(|| Err("no memory")), Err("no memory"));
    assert_eq!(CELL.get(), None);
    assert_eq!(CELL.get_or_try_init(|| Ok::<_, &str>(7)), Ok(&7));
    assert_eq!(CELL.get_or_try_init(|| Err("made already")), Ok(&7));
}

#[test]
fn a_cell_whose_making_panicked_is_made_by_the_next() {
    static FAIL: AtomicBool = AtomicBool::new(true);
    static CELL: PerProcess<&str> = PerProcess::new();
    let make = || {
        if FAIL.swap(false, Ordering::Relaxed) { panic!("first") } else { "second" }
    };
    assert!(catch_unwind(|| CELL.get_or_init(make)).is_err());
    assert_eq!(CELL.get(), None);
    assert_eq!(*CELL.get_or_init(make), "second");
}

#[test]
fn a_child_makes_the_cell_anew_and_leaves_the_inherited_one_alone() {
    alone("fork::tests::a_child_makes_the_cell_anew_and_leaves_the_inherited_one_alone", || {
        static CELL: PerProcess<Mutex<u32>> = PerProcess::new();
        let make = || Mutex::new(1);
        let parents = CELL.get_or_init(make);
        // Held across the fork, as a thread that the child does not have would.
        let mut held = parents.lock().expect("not poisoned");
        *held = 2;
        for way in [Way::Fork, Way::RawClone] {
            assert!(in_child(way, || {
                assert!(CELL.get().is_none());
                let childs = CELL.get_or_init(make);
                assert!(!ptr::eq(childs, parents));
                childs.try_lock().is_ok_and(|value| *value == 1)
            }));
        }
        assert!(ptr::eq(CELL.get_or_init(make), parents));
    });
}

#[test]
fn a_child_does_not_wait_for_threads_it_does_not_have() {
    alone("fork::tests::a_child_does_not_wait_for_threads_it_does_not_have", || {
        static CELL: PerProcess<u32> = PerProcess::new();
        static STAGE: Barrier = Barrier::new(2);
        fn slow() -> u32 {
            STAGE.wait(); // the maker is at work
            STAGE.wait(); // until the fork has been
            1
        }
        let makers: [fn(); 2] = [
            || {
                CELL.get_or_init(slow);
            },
            || {
                guarded(slow);
            },
        ];
        for maker in makers {
            let thread = thread::spawn(maker);
            STAGE.wait();
            // The bare call: an ordinary fork waits for `guarded`, as it should.
            assert!(in_child(Way::RawClone, || {
                guarded(|| ());
                *CELL.get_or_init(|| 2) == 2
            }));
            STAGE.wait();
            thread.join().expect("no panic");
        }
    });
}

/// Forks as fast as it can beside a thread that maps as fast as it can.
#[test]
fn attack_78_no_child_ever_has_a_lane() {
    alone("fork::tests::attack_78_no_child_ever_has_a_lane", || {
        static DONE: AtomicBool = AtomicBool::new(false);
        let kept = Mapping::anonymous_pair(1 << 16, 1 << 16).expect("a pair");
        let mapper = thread::spawn(|| {
            let mut mapped = 0;
            while !DONE.load(Ordering::Relaxed) {
                drop(Mapping::anonymous_pair(1 << 16, 1 << 16).expect("a pair"));
                mapped += 1;
            }
            mapped
        });
        for _ in 0..200 {
            assert!(in_child(Way::Fork, || segment_maps() == 0));
        }
        DONE.store(true, Ordering::Relaxed);
        assert!(mapper.join().expect("no panic") > 0);
        assert_eq!(segment_maps(), 4, "two mappings of two windows each are kept: {kept:?}");
    });
}

#[test]
fn attack_78_a_word_reads_zero_in_a_child_and_the_child_has_words_of_its_own() {
    alone(
        "fork::tests::attack_78_a_word_reads_zero_in_a_child_and_the_child_has_words_of_its_own",
        || {
            let word = Word::new();
            if !word.is_wiped() {
                println!("skipped: this kernel wipes no pages in a child");
                return;
            }
            word.get().store(5, Ordering::Relaxed);
            for way in [Way::Fork, Way::RawClone] {
                assert!(in_child(way, || {
                    let own = Word::new();
                    own.get().store(7, Ordering::Relaxed);
                    let apart = !ptr::eq(own.get(), word.get());
                    let inherited = word.get();
                    drop(Word::new());
                    apart && inherited.load(Ordering::Relaxed) == 0
                }));
                assert_eq!(word.get().load(Ordering::Relaxed), 5);
            }
        },
    );
}

#[test]
fn a_word_that_was_dropped_is_used_again_and_begins_at_zero() {
    alone("fork::tests::a_word_that_was_dropped_is_used_again_and_begins_at_zero", || {
        let words: Vec<_> = (0..100).map(|_| Word::new()).collect();
        let mut places: Vec<_> = words.iter().map(|word| ptr::from_ref(word.get())).collect();
        places.sort();
        places.dedup();
        assert_eq!(places.len(), words.len(), "each has a place of its own");
        for word in &words {
            word.get().store(9, Ordering::Relaxed);
        }
        drop(words);
        let again: Vec<_> = (0..100).map(|_| Word::new()).collect();
        assert!(again.iter().all(|word| word.get().load(Ordering::Relaxed) == 0));
        assert!(again.iter().all(|word| places.contains(&ptr::from_ref(word.get()))));
    });
}
