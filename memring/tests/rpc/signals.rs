//! Signals: to all who subscribed, to one, and to those who do not keep up.

use std::thread;
use std::time::{Duration, Instant};

use memring::fanout::Slow;
use memring::rpc::{Call, CallError, Calls, Link};
use memring::{Connector, Lanes};

use super::support::{eventually, soon};

#[memring::interface(name = "news", version = "1")]
trait News {
    fn greet(name: String);
    #[signal]
    fn important_news(headline: &str, body: &str);
    #[signal]
    fn welcome(name: &str);
    #[signal]
    fn large(bytes: &[u8]);
    #[signal]
    fn tick();
}

struct Newsroom;

impl NewsServer for Newsroom {
    fn greet(&self, call: &Call<'_>, name: String) {
        NewsSignals::welcome_to(call, &name).expect("room");
    }
}

fn reader(signals: &NewsSignals) -> NewsClient {
    let connector = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(16 << 10));
    let (server, client) = connector.pair::<Calls>().expect("a pair");
    let serve = News::serve(Newsroom).signals(signals);
    let server = Link::serving(server, [serve]);
    thread::spawn(move || server.run());
    Link::over(client).open().expect("it is served")
}

#[test]
fn all_who_subscribed_get_a_signal_and_no_others() {
    let signals = NewsSignals::new(Slow::DropNewest);
    let [one, two, three] = [(); 3].map(|()| reader(&signals));
    let [mut first, mut second] =
        [&one, &two].map(|one| one.important_news().expect("it is there"));
    let mut ticks = one.tick().expect("it is there");
    let mut again = one.clone().important_news().expect("it is there");
    for reader in [&one, &two, &three] {
        reader.greet("nobody".into()).expect("what was said before was read");
    }
    let reached = signals.important_news("headline", "body").expect("it can be encoded");
    assert_eq!((reached.reached, reached.missed), (2, 0), "a session gets it once");
    for reader in [&mut first, &mut second, &mut again] {
        assert_eq!(reader.recv().expect("it comes"), ("headline".into(), "body".into()));
    }
    assert_eq!(signals.tick().expect("it can be encoded").reached, 1);
    ticks.recv().expect("it comes");
    assert!(ticks.try_recv().expect("the session stands").is_none());
    // The last subscription of a session ends it there.
    drop(first);
    two.greet("nobody".into()).expect("an answer");
    one.greet("nobody".into()).expect("an answer");
    assert_eq!(signals.important_news("a", "b").expect("it can be encoded").reached, 2);
    assert_eq!(again.recv().expect("it comes").0, "a");
    drop(again);
    eventually("the server was told", || {
        one.greet("nobody".into()).expect("an answer");
        signals.important_news("c", "d").expect("it can be encoded").reached == 1
    });
    drop((two, second));
    eventually("who has gone is forgotten", || {
        signals.important_news("e", "f").expect("it can be encoded").reached == 0
    });
}

#[test]
fn a_handler_signals_its_caller_alone() {
    let signals = NewsSignals::new(Slow::DropNewest);
    let [one, two] = [(); 2].map(|()| reader(&signals));
    let [mut to_one, mut to_two] = [&one, &two].map(|one| one.welcome().expect("it is there"));
    one.greet("Ada".into()).expect("an answer");
    two.greet("Bob".into()).expect("an answer");
    assert_eq!(to_one.recv().expect("it comes"), "Ada");
    assert_eq!(to_two.recv().expect("it comes"), "Bob");
    drop(to_one);
    one.greet("Ada".into()).expect("who did not subscribe gets none");
}

#[test]
fn who_does_not_keep_up_misses_or_waits_or_is_ended_as_was_said() {
    let bytes = [7; 1000];
    // Nobody reads, and the lane holds 16 KiB.
    let check = |slow, reached_at_most: usize, ended: bool| {
        let signals = NewsSignals::new(slow);
        let reader = reader(&signals);
        let mut large = reader.large().expect("it is there");
        reader.greet("nobody".into()).expect("an answer");
        let sent: Vec<_> =
            (0..40).map(|_| signals.large(&bytes).expect("it can be encoded")).collect();
        let reached = sent.iter().map(|one| one.reached).sum::<usize>();
        assert!((10..=reached_at_most).contains(&reached), "{slow:?}: {reached}");
        assert_eq!(sent.iter().any(|one| one.ended != 0), ended, "{slow:?}");
        let came = std::iter::from_fn(|| {
            large.recv_deadline(Instant::now() + Duration::from_millis(50)).ok()
        });
        (came.count(), reached, signals, reader, large)
    };
    let (came, reached, signals, reader, mut large) = check(Slow::DropNewest, 20, false);
    assert_eq!(came, reached);
    assert_eq!(signals.large(&bytes).expect("it can be encoded").reached, 1, "there is room again");
    assert_eq!(large.recv().expect("it comes"), bytes);
    drop((reader, signals));
    let (came, _, signals, _reader, mut large) = check(Slow::KeepLatest, 40, false);
    signals.flush();
    assert!(came < 40 && large.recv_deadline(soon()).is_ok(), "the latest comes");
    let (_, _, _, reader, mut large) = check(Slow::Disconnect, 20, true);
    assert!(matches!(large.recv(), Err(CallError::Ended(_))));
    assert!(matches!(reader.greet("nobody".into()), Err(CallError::Ended(_))));
    drop(check(Slow::Wait(Duration::from_millis(20)), 20, true));
}
