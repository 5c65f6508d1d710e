//! Each contender's service answers right, and as many calls are outstanding as are said to be.

use std::cell::Cell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use memring_benches::Failed;

use super::awaited::{Echo, in_lanes};
use super::batches::{Caller, Carrier};
use super::{Calls, Contender, Threads, Words, argument, check, contenders, echo};

/// Calls a server in a thread of its own.
fn check_all(name: &str) {
    let found: Vec<_> = contenders().into_iter().filter(|one| one.name == name).collect();
    let [contender] = &found[..] else { panic!("no contender, or many, called {name}") };
    for threads in [Threads::One, Threads::Many] {
        let directory = tempfile::tempdir().unwrap();
        serve(*contender, threads, directory.path().to_owned());
        let mut calls = (contender.connect)(threads, directory.path()).unwrap();
        for turn in 0..3 {
            let numbers = 1000 * turn..1000 * turn + 100;
            let mut count = 0;
            calls.round_trips(numbers, &mut |_| count += 1).unwrap();
            assert_eq!(count, 100);
            calls.pipelined(1000 * turn + 100..1000 * (turn + 1), 64).unwrap();
        }
    }
}

/// Not every server ends when its client has gone: nobody waits for it.
fn serve(contender: Contender, threads: Threads, at: PathBuf) {
    thread::spawn(move || (contender.serve)(threads, &at).unwrap());
}

macro_rules! every_call_is_answered {
    ($($test:ident: $name:literal)*) => {
        $(#[test]
        fn $test() {
            check_all($name);
        })*

        #[test]
        fn every_contender_is_tested() {
            let tested = [$($name),*];
            assert!(contenders().iter().all(|one| tested.contains(&one.name)));
        }
    };
}

every_call_is_answered! {
    socket: "Unix stream"
    messages: "memring, messages"
    messages_park: "memring, messages, park"
    calls: "memring, calls"
    calls_park: "memring, calls, park"
    calls_tokio: "memring, calls, tokio"
    tarpc: "tarpc"
    zbus: "zbus"
    grpc: "gRPC"
}

#[test]
fn every_version_is_the_one_built() {
    let lock = include_str!("../../Cargo.lock");
    for contender in contenders() {
        for library in contender.version.split(", ") {
            // What is built here, and the kernel, have no version of a library.
            let Some((name, version)) = library.split_once(' ') else { continue };
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"\n");
            assert!(lock.contains(&entry), "{}: not built with {library}", contender.name);
        }
    }
}

#[test]
fn an_answer_to_another_call_and_a_wrong_one_are_noticed() {
    check(7, [8, 9, 10, 11]).unwrap();
    check(u64::MAX, [0, 1, 2, 3]).unwrap();
    for wrong in [argument(7), echo(argument(8)), [8, 9, 10, 12], [9, 9, 10, 11]] {
        assert!(check(7, wrong).is_err(), "{wrong:?}");
    }
}

/// Sends answers back as they come, at most three at once, and knows how many were outstanding.
#[derive(Default)]
struct Loopback {
    queue: VecDeque<Words>,
    most: usize,
}

impl Carrier for &mut Loopback {
    fn send(&mut self, words: &[Words]) -> Result<(), Failed> {
        self.queue.extend(words);
        self.most = self.most.max(self.queue.len());
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<Words>) -> Result<bool, Failed> {
        let some = self.queue.len().min(3);
        into.extend(self.queue.drain(..some).map(echo));
        Ok(some > 0)
    }
}

/// Takes everything, and has gone by then.
struct Gone;

impl Carrier for Gone {
    fn send(&mut self, _: &[Words]) -> Result<(), Failed> {
        Ok(())
    }

    fn receive(&mut self, _: &mut Vec<Words>) -> Result<bool, Failed> {
        Ok(false)
    }
}

/// Answers a call when it is polled for the third time.
#[derive(Default)]
struct Slow {
    outstanding: Cell<u64>,
    most: Cell<u64>,
    answered: Cell<u64>,
}

impl Echo for Slow {
    async fn echo(&self, argument: Words) -> Result<Words, Failed> {
        self.outstanding.set(self.outstanding.get() + 1);
        self.most.set(self.most.get().max(self.outstanding.get()));
        for _ in 0..2 {
            let mut polled = false;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        self.outstanding.set(self.outstanding.get() - 1);
        self.answered.set(self.answered.get() + 1);
        Ok(echo(argument))
    }
}

#[test]
fn so_many_calls_are_outstanding_and_each_is_made_once() {
    for (calls, outstanding, most) in [(1000, 64, 64), (1000, 1, 1), (10, 64, 10), (0, 64, 0)] {
        let mut loopback = Loopback::default();
        Caller::over(&mut loopback).pipelined(7..7 + calls, outstanding).unwrap();
        assert_eq!((loopback.most as u64, loopback.queue.len()), (most, 0));

        let slow = Slow::default();
        let mut lanes = pin!(in_lanes(&slow, 7..7 + calls, outstanding));
        let mut context = Context::from_waker(Waker::noop());
        let outcome = loop {
            if let Poll::Ready(outcome) = lanes.as_mut().poll(&mut context) {
                break outcome;
            }
        };
        outcome.unwrap();
        assert_eq!((slow.most.get(), slow.answered.get()), (most, calls));
    }
}

#[test]
fn a_server_that_has_gone_is_an_error() {
    assert!(Caller::over(Gone).pipelined(0..3, 64).is_err());
    assert!(Caller::over(Gone).round_trips(0..3, &mut |_| ()).is_err());
}
