//! How calls end that have no answer: deadlines, cancelling, bounds, and the end of the session.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use memring::End;
use memring::fanout::Slow;
use memring::rpc::{Call, CallError, Calls, Cancel, Link, OpenError, Options, Pending};

use super::support::{Helper, PATIENCE, Scratch, Stage, eventually, soon};

#[memring::interface(name = "gate", version = "1")]
pub trait Gate {
    /// Returns once the gate is open, or nobody waits any more: then it says so.
    fn pass(number: u32) -> u32;
    fn at_once(number: u32) -> u32;
    fn deadline_in_ms() -> Option<u64>;
    #[signal]
    fn tick(number: u32);
}

#[derive(Default)]
struct Inner {
    open: Mutex<bool>,
    opens: Condvar,
    began: AtomicU32,
    cancelled: AtomicU32,
}

#[derive(Clone, Default)]
pub struct Gating(Arc<Inner>);

impl Gating {
    fn open(&self) {
        *self.0.open.lock().unwrap() = true;
        self.0.opens.notify_all();
    }

    fn began(&self) -> u32 {
        self.0.began.load(Ordering::Relaxed)
    }

    fn cancelled(&self) -> u32 {
        self.0.cancelled.load(Ordering::Relaxed)
    }
}

impl GateServer for Gating {
    fn pass(&self, call: &Call<'_>, number: u32) -> u32 {
        self.0.began.fetch_add(1, Ordering::Relaxed);
        let mut open = self.0.open.lock().unwrap();
        while !*open {
            if call.is_cancelled() {
                self.0.cancelled.fetch_add(1, Ordering::Relaxed);
                // An answer that comes when the caller looks for the last time is one.
                thread::sleep(Duration::from_millis(50));
                break;
            }
            open = self.0.opens.wait_timeout(open, Duration::from_millis(1)).unwrap().0;
        }
        number
    }

    fn at_once(&self, _: &Call<'_>, number: u32) -> u32 {
        number
    }

    fn deadline_in_ms(&self, call: &Call<'_>) -> Option<u64> {
        let left = call.deadline()?.saturating_duration_since(Instant::now());
        Some(left.as_millis() as u64)
    }
}

/// A session whose server has so many threads.
fn gate(threads: usize) -> (Link, Gating) {
    gate_with(threads, &GateSignals::new(Slow::DropNewest))
}

fn gate_with(threads: usize, signals: &GateSignals) -> (Link, Gating) {
    let gating = Gating::default();
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let serve = Gate::serve(gating.clone()).signals(signals);
    let server = Link::serving(server, [serve]);
    for _ in 0..threads {
        let server = server.clone();
        thread::spawn(move || server.run());
    }
    (Link::over(client), gating)
}

#[test]
fn a_deadline_ends_the_call_on_both_sides_and_no_other() {
    let (link, gating) = gate(2);
    let client: GateClient = link.open().expect("it is served");
    let short = client.with(Options::new().timeout(Duration::from_millis(20)));
    assert!(matches!(short.pass(1), Err(CallError::DeadlinePassed)));
    eventually("the handler was told", || gating.cancelled() == 1);
    assert_eq!(client.at_once(2).expect("an answer"), 2, "the late answer is nobody's");
    let long = client.with(Options::new().timeout(Duration::from_secs(100)).deadline(soon()));
    let left = long.deadline_in_ms().expect("an answer").expect("it travelled");
    assert!(left <= PATIENCE.as_millis() as u64, "the earlier counts: {left}");
    assert_eq!(client.deadline_in_ms().expect("an answer"), None);
    // One that has passed before it is begun does not begin.
    let began = gating.began();
    let past = client.with(Options::new().deadline(Instant::now()));
    assert!(matches!(past.pass(3), Err(CallError::DeadlinePassed)));
    assert_eq!(client.at_once(4).expect("an answer"), 4);
    assert!(gating.began() <= began + 1, "once at most, where it was read in time");
}

#[test]
fn cancelling_reaches_the_handler_and_the_caller() {
    let (link, gating) = gate(2);
    let client: GateClient = link.open().expect("it is served");
    let cancel = Cancel::new();
    let calling = client.with(Options::new().cancel(&cancel));
    let callers: Vec<_> = (0..2)
        .map(|number| {
            let calling = calling.clone();
            thread::spawn(move || calling.pass(number))
        })
        .collect();
    eventually("both run", || gating.began() == 2);
    cancel.cancel();
    for caller in callers {
        let ended = caller.join().expect("no panic");
        assert!(matches!(ended, Err(CallError::Cancelled)), "{ended:?}");
    }
    eventually("both handlers were told", || gating.cancelled() == 2);
    assert!(matches!(calling.at_once(1), Err(CallError::Cancelled)), "and so for ever");
    assert_eq!(client.at_once(2).expect("an answer"), 2);
}

#[test]
fn what_is_pending_is_cancelled_as_calls_are_and_nothing_is_begun_after() {
    let (link, gating) = gate(2);
    let client: GateAsyncClient = link.open().expect("it is served");
    let cancel = Cancel::new();
    let calling = client.with(Options::new().cancel(&cancel));
    let pending = calling.pass(1);
    eventually("it runs", || gating.began() == 1);
    let waiting = thread::spawn(move || pending.wait());
    cancel.cancel();
    assert!(matches!(waiting.join().expect("no panic"), Err(CallError::Cancelled)));
    eventually("the handler was told", || gating.cancelled() == 1);
    assert!(matches!(calling.pass(2).wait(), Err(CallError::Cancelled)));
    assert_eq!(client.at_once(3).wait().expect("an answer"), 3);
    assert_eq!(gating.began(), 1, "what was made with it after is not begun");
}

#[test]
fn dropping_what_is_pending_cancels_and_many_are_answered_in_any_order() {
    let (link, gating) = gate(3);
    let client: GateAsyncClient = link.open().expect("it is served");
    let slow = [client.pass(0), client.pass(1)];
    let quick: Vec<Pending<u32>> = (2..12).map(|number| client.at_once(number)).collect();
    for (number, pending) in (2..).zip(quick) {
        assert_eq!(pending.wait().expect("an answer"), number, "others wait, and this does not");
    }
    // One that has not begun would be told and end without having run.
    eventually("both run", || gating.began() == 2);
    let [first, second] = slow;
    drop(first);
    eventually("the handler was told", || gating.cancelled() == 1);
    gating.open();
    assert_eq!(second.wait().expect("an answer"), 1);
}

#[test]
fn as_many_calls_are_under_way_as_the_peer_takes() {
    let (link, gating) = gate(1);
    let client: GateAsyncClient = link.open().expect("it is served");
    let mut pending: Vec<_> = (0..1024).map(|number| client.pass(number)).collect();
    match client.at_once(0).wait() {
        Err(CallError::TooManyCalls { most: 1024 }) => {}
        other => panic!("{other:?}"),
    }
    gating.open();
    let last = pending.pop().expect("there are many");
    for (number, pending) in (0..).zip(pending) {
        assert_eq!(pending.wait().expect("an answer"), number);
    }
    drop(last);
    eventually("there is room again", || client.at_once(1).wait().is_ok());
}

#[test]
fn calls_that_were_given_up_make_room_though_nobody_waits() {
    let (link, gating) = gate(1);
    let client: GateAsyncClient = link.open().expect("it is served");
    drop((0..1024).map(|number| client.pass(number)).collect::<Vec<_>>());
    gating.open();
    eventually("there is room again", || client.at_once(1).wait().is_ok());
}

#[test]
fn the_last_signals_are_kept_and_what_is_lost_is_counted() {
    let signals = GateSignals::new(Slow::Wait(PATIENCE));
    let (link, _) = gate_with(1, &signals);
    let client: GateClient = link.open().expect("it is served");
    let mut ticks = client.tick().expect("it is there");
    client.at_once(0).expect("an answer");
    for number in 0..2000 {
        assert_eq!(signals.tick(number).expect("it can be encoded").reached, 1);
        if number % 100 == 0 {
            client.at_once(0).expect("an answer"); // which reads what lies before it
        }
    }
    client.at_once(0).expect("an answer");
    assert_eq!(ticks.missed(), 2000 - 1024);
    assert_eq!(ticks.recv().expect("it comes"), 2000 - 1024);
}

/// What has long signatures, and at the other end others.
#[allow(clippy::type_complexity, reason = "long is what it is to be")]
mod wordy {
    macro_rules! wordy {
        ($module:ident, $type:ty) => {
            pub mod $module {
                #[memring::interface(name = "wordy", version = "1")]
                pub trait Wordy {
                    fn one(
                        a_name_that_fills_a_line_and_is_of_no_use_but_for_being_a_long_one: $type,
                    );
                    fn two(
                        a_name_that_fills_a_line_and_is_of_no_use_but_for_being_a_long_one: $type,
                    );
                    fn three(
                        a_name_that_fills_a_line_and_is_of_no_use_but_for_being_a_long_one: $type,
                    );
                }
            }
        };
    }
    wordy!(theirs, Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<String>>>>>>>>);
    wordy!(ours, String);
}

#[test]
fn an_answer_about_an_interface_that_does_not_fit_the_lane_is_said_to() {
    struct Words;
    #[allow(clippy::type_complexity, reason = "long is what it is to be")]
    impl wordy::theirs::WordyServer for Words {
        fn one(&self, _: &Call<'_>, _: Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<String>>>>>>>>) {}
        fn two(&self, _: &Call<'_>, _: Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<String>>>>>>>>) {}
        fn three(&self, _: &Call<'_>, _: Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<String>>>>>>>>) {}
    }
    // What is largest is agreed, and an answer is never more than that.
    for (largest, fits) in [(1 << 20, true), (320, false)] {
        let connector = memring::Connector::new().largest_message(largest);
        let (server, client) = connector.pair::<Calls>().expect("a pair");
        let server = Link::serving(server, [wordy::theirs::Wordy::serve(Words)]);
        thread::spawn(move || server.run());
        let link = Link::over(client);
        match link.open::<wordy::ours::WordyClient>() {
            Ok(_) => assert!(fits, "{largest}"),
            Err(OpenError::TooLong { name: "wordy" }) => assert!(!fits, "{largest}"),
            Err(OpenError::Call(CallError::Send(_))) if !fits => {} // nor did the question
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_end_of_the_session_ends_every_call() {
    let (link, gating) = gate(2);
    let client: GateClient = link.open().expect("it is served");
    let callers: Vec<_> = (0..8)
        .map(|number| {
            let client = client.clone();
            thread::spawn(move || client.pass(number))
        })
        .collect();
    eventually("some run", || gating.began() == 2);
    link.close();
    for caller in callers {
        let ended = caller.join().expect("no panic");
        assert!(matches!(ended, Err(CallError::Ended(End::Local))), "{ended:?}");
    }
    eventually("the handlers were told", || gating.cancelled() == 2);
    assert!(matches!(client.at_once(1), Err(CallError::Ended(End::Local))));
}

/// A child that serves until it is killed.
pub fn serves(stage: &Stage) {
    let server = memring::rpc::Server::new().serve(Gate::serve(Gating::default()));
    let server = server.bind(stage.path()).expect("a place to listen at");
    stage.say("listens");
    server.run().expect("it goes on");
}

#[test]
fn a_peer_that_dies_ends_every_call_with_its_death() {
    let scratch = Scratch::new();
    let server = Helper::start("serves", &[("path", &scratch.socket().display())]);
    server.expect("listens");
    let client = GateClient::connect(scratch.socket()).expect("it is served");
    assert_eq!(client.at_once(7).expect("an answer"), 7);
    let callers: Vec<_> = (0..4)
        .map(|number| {
            let client = client.clone();
            thread::spawn(move || client.pass(number))
        })
        .collect();
    client.with(Options::new().timeout(Duration::from_millis(1))).pass(9).expect_err("it waits");
    server.kill();
    for caller in callers {
        let ended = caller.join().expect("no panic");
        assert!(matches!(ended, Err(CallError::Ended(End::PeerDied(_)))), "{ended:?}");
    }
    assert!(matches!(client.at_once(1), Err(CallError::Ended(End::PeerDied(_)))));
}
