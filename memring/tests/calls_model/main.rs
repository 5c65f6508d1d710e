//! Calls against a model: whatever is called, cancelled, given up, closed or killed, in any order and by several threads at
//! once, no call is answered twice, lost, or left pending.
//!
//! A plan is a session, and what is done in it, by real threads in real sessions; so what a call comes to is not one thing,
//! and the model (`book.rs`) says what it may be. Each call says what its handler shall do (`api.rs`).
//! `MEMRING_CALLS` says how many operations there are to be; then what became of them is shown.

mod api;
mod book;
mod caller;
mod plan;
mod session;
#[path = "../support/mod.rs"]
mod support;

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Instant;

use proptest::test_runner::{Config, TestRunner};

use book::Tally;

#[test]
fn role() {
    support::play(&[("serves", session::serves)]);
}

/// Handlers that panic because they are told to do it in silence.
fn be_quiet() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let words = payload.downcast_ref::<String>().map(String::as_str);
        if words.or(payload.downcast_ref::<&str>().copied()) != Some(api::AS_TOLD) {
            before(panic);
        }
    }));
}

/// Operations of each run of the tests.
const OPERATIONS: u64 = 20_000;
/// Sessions beside each other, which mostly wait.
const AT_ONCE: usize = 6;

#[test]
fn no_call_is_answered_twice_lost_or_left_pending() {
    be_quiet();
    let wanted = std::env::var("MEMRING_CALLS").ok();
    let operations =
        wanted.as_deref().map_or(OPERATIONS, |wanted| wanted.parse().expect("a number"));
    let (done, sessions) = (AtomicU64::new(0), AtomicU64::new(0));
    let (tally, failure) = (Mutex::new(Tally::new()), OnceLock::new());
    let began = Instant::now();
    let try_some = || {
        // A failure is made smaller, where that does not take for ever: most of them are waits in vain.
        let config = Config {
            cases: 8,
            failure_persistence: None,
            max_shrink_time: 30_000,
            ..Config::default()
        };
        let tried = TestRunner::new(config).run(&plan::plan(), |plan| {
            session::run(&plan, &tally);
            done.fetch_add(plan.ops.len() as u64, Ordering::Relaxed);
            sessions.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        if let Err(why) = tried {
            failure.get_or_init(|| why.to_string());
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) < operations && failure.get().is_none() {
                    try_some();
                }
            });
        }
    });
    if let Some(failure) = failure.get() {
        panic!("{failure}");
    }
    let tally = tally.into_inner().expect("no panic");
    let ended = |how: &str| tally.keys().any(|(_, came)| came == how);
    for how in ["Answer", "Failed", "Panicked", "DeadlinePassed", "Cancelled", "Ended", "GivenUp"] {
        assert!(ended(how), "none came to that: {how}");
    }
    if wanted.is_some() {
        let (done, sessions) = (done.into_inner(), sessions.into_inner());
        println!("{done} operations in {sessions} sessions, {:?}", began.elapsed());
        for ((kind, came), count) in tally {
            println!("{count:>9}  {kind:20} {came}");
        }
    }
}
