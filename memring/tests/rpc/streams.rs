//! Calls with many replies: credit, cancelling, and ends.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;

use memring::rpc::{Call, CallError, Calls, Cancel, Link, Options, Replies, ReplyError};

use super::support::eventually;

#[memring::message]
#[derive(Debug, PartialEq)]
pub struct TooFar(u32);

#[memring::interface(name = "counter", version = "1")]
trait Counter {
    fn count(to: u32) -> Stream<u32>;
    fn fail_at(at: u32) -> Result<Stream<String>, TooFar>;
    fn for_ever(word: &str) -> Stream<String>;
    fn panics(after: u32) -> Stream<u32>;
    /// Goes on after it has answered.
    fn goes_on() -> Stream<u32>;
    /// Each reply but the first waits until it is let go on.
    fn step_by_step(to: u32) -> Stream<u32>;
}

#[derive(Clone, Default)]
struct Counting {
    sent: Arc<AtomicU32>,
    ended: Arc<AtomicU32>,
    steps: Arc<(Mutex<u32>, Condvar)>,
}

impl Counting {
    /// Lets so many replies go.
    fn go_on(&self, steps: u32) {
        *self.steps.0.lock().unwrap() += steps;
        self.steps.1.notify_all();
    }
}

impl CounterServer for Counting {
    fn count(&self, _: &Call<'_>, to: u32, mut replies: Replies<u32>) {
        for number in 0..to {
            if replies.send(&number).is_err() {
                return;
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        replies.end(Ok(()));
    }

    fn fail_at(&self, _: &Call<'_>, at: u32, mut replies: Replies<String, TooFar>) {
        for number in 0..at {
            replies.send(&number.to_string()).expect("a reader");
        }
        replies.end(Err(TooFar(at)));
    }

    fn for_ever(&self, _: &Call<'_>, word: &str, mut replies: Replies<String>) {
        let (word, ended) = (word.to_owned(), Arc::clone(&self.ended));
        // It may outlive the handler.
        thread::spawn(move || {
            let why = loop {
                if let Err(error) = replies.send(&word) {
                    break error;
                }
            };
            assert!(matches!(why, ReplyError::Cancelled | ReplyError::Ended(_)), "{why:?}");
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }

    fn panics(&self, _: &Call<'_>, after: u32, mut replies: Replies<u32>) {
        for number in 0..after {
            replies.send(&number).expect("a reader");
        }
        panic!("as asked for");
    }

    fn goes_on(&self, call: &Call<'_>, replies: Replies<u32>) {
        assert!(!call.is_cancelled(), "the caller waits");
        replies.end(Ok(()));
        self.ended.fetch_add(u32::from(call.is_cancelled()), Ordering::Relaxed);
    }

    fn step_by_step(&self, _: &Call<'_>, to: u32, mut replies: Replies<u32>) {
        for number in 0..to {
            if number != 0 {
                let (steps, go) = &*self.steps;
                let mut steps = go.wait_while(steps.lock().unwrap(), |steps| *steps == 0).unwrap();
                *steps -= 1;
            }
            if replies.send(&number).is_err() {
                self.ended.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        replies.end(Ok(()));
    }
}

fn counter() -> (CounterClient, Counting) {
    let counting = Counting::default();
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [Counter::serve(counting.clone())]);
    thread::spawn(move || server.run());
    (Link::over(client).open().expect("it is served"), counting)
}

#[test]
fn all_replies_come_in_order_and_then_the_end() {
    let (counter, _) = counter();
    for to in [0, 1, 31, 32, 33, 1000] {
        let numbers: Result<Vec<_>, _> = counter.count(to).expect("room").collect();
        assert_eq!(numbers.expect("all come"), (0..to).collect::<Vec<_>>());
    }
    let mut words = counter.fail_at(3).expect("room");
    for word in ["0", "1", "2"] {
        assert_eq!(words.recv().expect("a reply").as_deref(), Some(word));
    }
    assert!(matches!(words.recv(), Err(CallError::Failed(TooFar(3)))));
    assert!(matches!(words.recv(), Ok(None)), "nothing comes after the end");
}

#[test]
fn a_reader_that_takes_nothing_stops_the_writer() {
    let (counter, counting) = counter();
    let mut numbers = counter.count(1000).expect("room");
    assert_eq!(numbers.recv().expect("a reply"), Some(0));
    eventually("the writer has used its credit", || counting.sent.load(Ordering::Relaxed) >= 32);
    // One that runs away would not be at this number when others have had their turn, but on its way.
    let before = counting.sent.load(Ordering::Relaxed);
    (0..1000).for_each(|_| thread::yield_now());
    assert_eq!((before, counting.sent.load(Ordering::Relaxed)), (32, 32));
    assert_eq!(numbers.by_ref().map(|number| number.expect("a reply")).sum::<u32>(), 499_500);
}

#[test]
fn dropping_a_stream_reaches_the_writer_and_others_go_on() {
    let (counter, counting) = counter();
    let mut words = counter.for_ever("again").expect("room");
    let others: Vec<_> = counter.count(100).expect("room").map(Result::unwrap).collect();
    assert_eq!(others.len(), 100, "both at once");
    for _ in 0..100 {
        assert_eq!(words.recv().expect("a reply").as_deref(), Some("again"));
    }
    drop(words);
    eventually("the writer was told", || counting.ended.load(Ordering::Relaxed) == 1);
    assert_eq!(counter.count(2).expect("room").count(), 2);
}

#[test]
fn a_slow_writer_that_is_the_only_thread_is_told_at_its_next_reply() {
    let (counter, counting) = counter();
    let mut numbers = counter.step_by_step(20).expect("room");
    assert_eq!(numbers.recv().expect("a reply"), Some(0));
    drop(numbers);
    counting.go_on(1);
    eventually("it was told", || counting.ended.load(Ordering::Relaxed) == 1);
    assert_eq!(counter.count(2).expect("room").count(), 2, "and others have their turn");
    assert!(counting.sent.load(Ordering::Relaxed) <= 2 + 2, "it sent no more");
}

#[test]
fn cancelling_ends_a_stream() {
    let (counter, counting) = counter();
    let cancel = Cancel::new();
    let mut words = counter.with(Options::new().cancel(&cancel)).for_ever("again").expect("room");
    assert!(words.recv().expect("a reply").is_some());
    cancel.cancel();
    let ended = words.recv();
    assert!(matches!(ended, Err(CallError::Cancelled)), "{ended:?}");
    assert!(matches!(words.recv(), Ok(None)), "nothing comes after the end");
    eventually("the writer was told", || counting.ended.load(Ordering::Relaxed) == 1);
}

#[test]
fn a_handler_that_panics_or_a_session_that_ends_is_the_last_item() {
    let (counter, counting) = counter();
    let replies: Vec<_> = counter.panics(2).expect("room").collect();
    assert!(matches!(&replies[..], [Ok(0), Ok(1), Err(CallError::Panicked)]), "{replies:?}");
    let mut words = counter.for_ever("again").expect("room");
    assert!(words.recv().expect("a reply").is_some());
    let (told, tell) = mpsc::channel();
    thread::spawn(move || told.send(words.find_map(Result::err)));
    counter.link().close();
    let last = tell.recv().expect("the thread ends");
    assert!(matches!(last, Some(CallError::Ended(_))), "{last:?}");
    eventually("the writer was told", || counting.ended.load(Ordering::Relaxed) == 1);
}

#[test]
fn who_has_answered_is_told_that_nobody_waits() {
    let (counter, counting) = counter();
    assert_eq!(counter.goes_on().expect("room").count(), 0);
    eventually("the handler was told", || counting.ended.load(Ordering::Relaxed) == 1);
}
