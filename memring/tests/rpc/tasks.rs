//! Calls in tasks: under tokio and under any executor, every call comes to an end, and none that is dropped harms another.

use std::cell::Cell;
use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join;
use futures_util::{FutureExt, StreamExt};
use memring::hub::{Event, Hub, Interest};
use memring::rkyv::Archived;
use memring::rpc::{Call, CallError, Calls, Cancel, Link, OpenError, Options, Replies, Server};
use memring::{Connector, End, Lanes};

use super::acts::yield_now;
use super::support::{PATIENCE, Scratch, eventually, soon};

#[memring::message]
#[derive(Debug, PartialEq)]
pub struct Odd(u32);

#[memring::interface(name = "works", version = "1")]
pub trait Works {
    fn twice(text: &str) -> String;
    fn sum(numbers: &[u64]) -> u64;
    fn half(of: u32) -> Result<u32, Odd>;
    fn bytes(len: u32, with: u8) -> Vec<u8>;
    fn length(of: &[u8]) -> u64;
    fn count(to: u64) -> Stream<u64>;
    fn fail_after(count: u64) -> Result<Stream<u64>, Odd>;
    /// Until nobody waits.
    fn wait();
    fn boom();
    #[oneway]
    fn tell(number: u64);
    #[signal]
    fn news(number: u64);
}

#[derive(Clone, Default)]
struct Working {
    told: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
    cancelled: Arc<AtomicU64>,
}

impl WorksAsyncServer for Working {
    async fn twice(&self, call: &Call<'_>, text: &str) -> String {
        assert_eq!(call.peer().pid(), Some(std::process::id()));
        yield_now().await; // what is lent lives on
        text.repeat(2)
    }

    async fn sum(&self, _: &Call<'_>, numbers: &[Archived<u64>]) -> u64 {
        yield_now().await;
        numbers.iter().map(|number| number.to_native()).sum()
    }

    async fn half(&self, _: &Call<'_>, of: u32) -> Result<u32, Odd> {
        if of.is_multiple_of(2) { Ok(of / 2) } else { Err(Odd(of)) }
    }

    async fn bytes(&self, _: &Call<'_>, len: u32, with: u8) -> Vec<u8> {
        vec![with; len as usize]
    }

    async fn length(&self, _: &Call<'_>, of: &[u8]) -> u64 {
        of.len() as u64
    }

    async fn count(&self, _: &Call<'_>, to: u64, mut replies: Replies<u64>) {
        for number in 0..to {
            if replies.send_async(&number).await.is_err() {
                self.cancelled.fetch_add(1, Relaxed);
                return;
            }
        }
        replies.end_async(Ok(())).await;
    }

    async fn fail_after(&self, _: &Call<'_>, count: u64, mut replies: Replies<u64, Odd>) {
        for number in 0..count {
            replies.send_async(&number).await.expect("a reader");
        }
        replies.end_async(Err(Odd(1))).await;
    }

    async fn wait(&self, call: &Call<'_>) {
        self.waiting.fetch_add(1, Relaxed);
        call.cancelled().await;
        self.cancelled.fetch_add(1, Relaxed);
    }

    async fn boom(&self, _: &Call<'_>) {
        yield_now().await;
        panic!("boom, as asked for");
    }

    async fn tell(&self, _: &Call<'_>, number: u64) {
        self.told.fetch_add(number, Relaxed);
    }
}

/// Runs it on a runtime of so many threads, for so long at most.
fn on_tokio<T>(threads: usize, future: impl Future<Output = T>) -> T {
    let runtime = if threads == 0 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
    };
    let timed = async { tokio::time::timeout(2 * PATIENCE, future).await };
    runtime.expect("a runtime").block_on(timed).expect("not for ever: a lost wake")
}

/// Runs it with an executor that knows nothing but wakers; fails the test if it hangs.
fn on_any<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(pollster::block_on(future)).ok());
    outcome.recv_timeout(2 * PATIENCE).expect("not for ever: a lost wake")
}

/// A session with lanes of so many bytes, and what works at its other end.
fn ends(bytes: u64) -> (Link, Link, Working) {
    let lanes = Connector::new().lanes(Lanes::Bytes(bytes), Lanes::Bytes(bytes));
    let (server, client) = lanes.pair::<Calls>().expect("a pair");
    let working = Working::default();
    let server = Link::serving(server, [Works::serve_async(working.clone())]);
    (server, Link::over(client), working)
}

/// Everything that a client does, wherever it runs.
async fn ask(link: Link) {
    let works: WorksAsyncClient = link.open_async().await.expect("it is served");
    assert_eq!(works.twice("ab").await.expect("an answer"), "abab");
    assert_eq!(works.sum(&[1, 2, 39]).await.expect("an answer"), 42);
    assert_eq!(works.half(42).await.expect("an answer"), 21);
    assert!(matches!(works.half(1).await, Err(CallError::Failed(Odd(1)))));
    assert!(matches!(works.boom().await, Err(CallError::Panicked)));
    works.tell(5).await.expect("it is sent");
    // Many at once, answered in any order.
    let many: Vec<_> = (0..200).map(|turn| (turn, works.twice(&format!("{turn} ")))).collect();
    for (turn, answer) in many {
        assert_eq!(answer.await.expect("an answer"), format!("{turn} ").repeat(2));
    }
    // More than fits the lane, in both ways at once.
    let large = vec![7; 300_000];
    let (sent, came) = join(works.length(&large), works.bytes(large.len() as u32, 7)).await;
    assert_eq!(sent.expect("an answer"), large.len() as u64);
    assert_eq!(came.expect("an answer"), large);
    let counted: Vec<_> = works.count(1000).expect("begun").into_stream().collect().await;
    assert!(counted.into_iter().map(|reply| reply.expect("a reply")).eq(0..1000));
    let mut failing = works.fail_after(3).expect("begun");
    for number in 0..3 {
        assert_eq!(failing.recv_async().await.expect("a reply"), Some(number));
    }
    assert!(matches!(failing.recv_async().await, Err(CallError::Failed(Odd(1)))));
    assert!(matches!(failing.recv_async().await, Ok(None)));
}

#[test]
fn calls_work_in_tasks_of_tokios() {
    for threads in [0, 2] {
        for bytes in [4096, 1 << 20] {
            let (server, client, working) = ends(bytes);
            on_tokio(threads, async move {
                tokio::spawn(async move { server.run_tokio().await });
                ask(client).await;
                while working.told.load(Relaxed) != 5 {
                    yield_now().await;
                }
            });
        }
    }
}

#[test]
fn calls_work_under_any_executor_and_a_thread_serves() {
    for bytes in [4096, 1 << 20] {
        let (server, client, working) = ends(bytes);
        let served = thread::spawn(move || server.run());
        on_any(ask(client));
        served.join().expect("no panic");
        assert_eq!(working.told.load(Relaxed), 5);
    }
}

#[test]
fn a_session_is_served_in_one_task_under_any_executor() {
    for bytes in [4096, 1 << 20] {
        let (server, client, working) = ends(bytes);
        let served = thread::spawn(move || pollster::block_on(server.run_async()));
        on_any(ask(client));
        assert!(matches!(served.join().expect("no panic"), End::Closed));
        assert_eq!(working.told.load(Relaxed), 5);
    }
}

#[test]
fn a_hub_serves_sessions_beside_what_else_it_waits_for() {
    let mut hub = Hub::new().expect("a hub");
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (server, client, _) = ends(4096);
        let over = hub.remote();
        hub.spawn(async move {
            server.run_async().await;
            over.wake();
        })
        .expect("a task");
        clients.push(client);
    }
    // One whose handlers are no futures, and whose client reads nothing for now.
    let (server, stuck) = Connector::new()
        .lanes(Lanes::Bytes(4096), Lanes::Bytes(4096))
        .pair::<Calls>()
        .expect("a pair");
    let server = Link::serving(server, [Doubling::serve(Doubles)]);
    let serving = hub.spawn(async move { drop(server.run_async().await) }).expect("a task");
    let (theirs, mut ours) = std::io::pipe().expect("a pipe");
    let theirs = hub.watch(theirs, Interest::Read).expect("a pipe can be waited for");
    let mut beats = 0;
    let every = hub.every(Duration::from_millis(1)).expect("a timer");
    let asking = thread::spawn(move || {
        let doubles: DoublingAsyncClient = Link::over(stuck).open().expect("it is served");
        let many: Vec<_> = (0..12).map(|_| doubles.twice("ab".repeat(500))).collect();
        clients.into_iter().for_each(|client| on_any(ask(client)));
        for answer in many {
            assert_eq!(answer.wait().expect("an answer"), "ab".repeat(1000));
        }
        ours.write_all(b"!").expect("it is read");
    });
    let (mut over, mut heard) = (false, false);
    while !(over && heard && beats > 0) {
        match hub.wait(Some(soon())).expect("a wait") {
            Some(Event::Woken) => over = true,
            Some(Event::Ready(key, _)) if key == theirs.key() => heard = true,
            Some(Event::Timer(key)) if key == every => beats += 1,
            Some(other) => panic!("{other:?}"),
            None => panic!("not for ever"),
        }
    }
    asking.join().expect("no panic");
    // It has ended with its session, or does as it is removed.
    hub.remove(serving);
}

#[test]
fn a_task_of_a_hubs_that_is_always_awake_makes_nobody_late() {
    let mut hub = Hub::new().expect("a hub");
    let turns = Rc::new(Cell::new(0));
    let counts = Rc::clone(&turns);
    let task = hub
        .spawn(async move {
            loop {
                counts.set(counts.get() + 1);
                yield_now().await;
            }
        })
        .expect("a task");
    assert!(hub.wait(Some(Instant::now() + Duration::from_millis(5))).expect("a wait").is_none());
    assert!(turns.get() > 1);
    let timer = hub.after(Duration::from_millis(1)).expect("a timer");
    assert!(matches!(hub.wait(None).expect("a wait"), Some(Event::Timer(key)) if key == timer));
    assert!(hub.remove(task));
    let before = turns.get();
    assert_eq!(Rc::strong_count(&turns), 1, "it is gone");
    assert!(hub.wait(Some(Instant::now())).expect("a wait").is_none());
    assert_eq!(turns.get(), before);
}

#[memring::interface(name = "doubling", version = "1")]
trait Doubling {
    fn twice(text: String) -> String;
}

struct Doubles;

impl DoublingServer for Doubles {
    fn twice(&self, _: &Call<'_>, text: String) -> String {
        text.repeat(2)
    }
}

#[test]
fn threads_and_tasks_share_a_session() {
    let (server, client, _) = ends(4096);
    thread::spawn(move || server.run());
    let works: WorksClient = client.open().expect("it is served");
    let asks = |works: WorksClient| {
        for turn in 0..300_u64 {
            assert_eq!(works.sum(&[turn, 1]).expect("an answer"), turn + 1);
        }
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            let works = works.clone();
            scope.spawn(move || asks(works));
        }
        let link = client.clone();
        scope.spawn(move || on_any(ask(link)));
        on_tokio(0, ask(client.clone()));
    });
    asks(works); // and the driver has gone with its runtime
}

#[test]
fn a_handler_that_blocks_keeps_no_other_call_waiting() {
    struct Blocks(mpsc::Sender<mpsc::Sender<()>>);
    #[memring::interface(name = "blocks", version = "1")]
    trait Blocking {
        fn block();
        fn pass() -> u32;
    }
    impl BlockingServer for Blocks {
        fn block(&self, _: &Call<'_>) {
            let (go, goes) = mpsc::channel();
            self.0.send(go).expect("the test waits");
            goes.recv_timeout(PATIENCE).expect("the test lets it go");
        }

        fn pass(&self, _: &Call<'_>) -> u32 {
            7
        }
    }
    let (blocked, blocks) = mpsc::channel();
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [Blocking::serve(Blocks(blocked))]);
    on_tokio(0, async move {
        tokio::spawn(async move { server.run_tokio().await });
        let client: BlockingAsyncClient =
            Link::over(client).open_async().await.expect("it is served");
        let blocked = client.block();
        let mut blocked = pin!(blocked);
        assert!(blocked.as_mut().now_or_never().is_none());
        assert_eq!(client.pass().await.expect("an answer"), 7);
        let go = tokio::task::spawn_blocking(move || blocks.recv_timeout(PATIENCE)).await;
        go.expect("no panic").expect("it blocks").send(()).expect("it waits");
        blocked.await.expect("an answer");
    });
}

#[test]
fn a_call_ends_at_its_deadline_and_when_it_is_cancelled_or_dropped() {
    let (server, client, working) = ends(4096);
    on_tokio(0, async move {
        tokio::spawn(async move { server.run_tokio().await });
        let works: WorksAsyncClient = client.open_async().await.expect("it is served");
        let soon = works.with(Options::new().timeout(Duration::from_millis(20)));
        assert!(matches!(soon.wait().await, Err(CallError::DeadlinePassed)));
        let cancel = Cancel::new();
        let cancelled = works.with(Options::new().cancel(&cancel)).wait();
        let waiting = Arc::clone(&working.waiting);
        let cancels = async {
            while waiting.load(Relaxed) != 2 {
                yield_now().await;
            }
            cancel.cancel();
        };
        let (outcome, ()) = join(cancelled, cancels).await;
        assert!(matches!(outcome, Err(CallError::Cancelled)), "{outcome:?}");
        let never = works.with(Options::new().cancel(&cancel)).twice("no").await;
        assert!(matches!(never, Err(CallError::Cancelled)), "{never:?}");
        let dropped = works.wait();
        while waiting.load(Relaxed) != 3 {
            yield_now().await;
        }
        drop(dropped);
        let mut stream = works.count(u64::MAX).expect("begun");
        assert_eq!(stream.recv_async().await.expect("a reply"), Some(0));
        drop(stream);
        // The handlers have heard of all four.
        while working.cancelled.load(Relaxed) != 4 {
            yield_now().await;
        }
        assert_eq!(works.twice("a").await.expect("an answer"), "aa");
    });
}

#[test]
fn an_alarm_wakes_a_task_that_nothing_else_does() {
    const LATER: Duration = Duration::from_millis(50);
    let (_nobody_serves, client, _) = ends(4096);
    let begun = Instant::now();
    on_any(async move {
        let opening = client.open_deadline_async::<WorksAsyncClient>(begun + LATER);
        let mut opening = pin!(opening);
        assert!(opening.as_mut().now_or_never().is_none());
        let opened = opening.await;
        assert!(matches!(opened, Err(OpenError::Call(CallError::DeadlinePassed))), "{opened:?}");
    });
    assert!(begun.elapsed() >= LATER, "it waits as long as it says");
}

#[test]
fn what_waits_for_room_is_sent_in_order_and_may_be_dropped() {
    let (server, client, working) = ends(4096);
    on_tokio(0, async move {
        let opening = Link::clone(&client);
        // It is served for as long as it takes to open it.
        let local = tokio::task::LocalSet::new();
        let serving = local.spawn_local(async move { server.run_tokio().await });
        local
            .run_until(async move {
                let works: WorksAsyncClient = opening.open_async().await.expect("it is served");
                let calls: Vec<_> =
                    (0..400_u64).map(|number| Box::pin(works.tell(number))).collect();
                let large = vec![0; 100_000];
                let mut first = Box::pin(works.length(&large));
                let mut second = Box::pin(works.length(&large));
                let waker = Waker::noop();
                let mut context = Context::from_waker(waker);
                let mut sum = 0;
                let mut stuck = Vec::new();
                for (number, mut call) in (0..).zip(calls) {
                    match call.as_mut().poll(&mut context) {
                        Poll::Ready(sent) => {
                            sent.expect("it is sent");
                            sum += number;
                        }
                        Poll::Pending => stuck.push((number, call)),
                    }
                }
                assert!(!stuck.is_empty(), "the lane is too small for all of them");
                assert!(first.as_mut().poll(&mut context).is_pending());
                assert!(second.as_mut().poll(&mut context).is_pending());
                // Every third is dropped where it stands, and one of which a part may have gone.
                for (number, call) in stuck {
                    if number % 3 != 0 {
                        call.await.expect("it is sent");
                        sum += number;
                    }
                }
                drop(first);
                assert_eq!(second.await.expect("an answer"), 100_000);
                while working.told.load(Relaxed) != sum {
                    assert!(working.told.load(Relaxed) < sum, "more than was sent");
                    yield_now().await;
                }
            })
            .await;
        serving.abort();
    });
}

#[test]
fn every_call_ends_with_the_session() {
    let (server, client, working) = ends(4096);
    on_tokio(0, async move {
        let other = server.clone();
        let serving = tokio::spawn(async move { other.run_tokio().await });
        let works: WorksAsyncClient = client.open_async().await.expect("it is served");
        let waiting: Vec<_> = (0..10).map(|_| works.wait()).collect();
        let mut stream = works.count(u64::MAX).expect("begun");
        while working.waiting.load(Relaxed) != 10 {
            yield_now().await;
        }
        server.close();
        for call in waiting {
            let outcome = call.await;
            assert!(matches!(outcome, Err(CallError::Ended(_))), "{outcome:?}");
        }
        let last = loop {
            match stream.recv_async().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(last, Err(CallError::Ended(_))), "{last:?}");
        serving.await.expect("no panic");
        assert!(matches!(works.twice("").await, Err(CallError::Ended(_))));
        // The handlers were told.
        while working.cancelled.load(Relaxed) < 10 {
            yield_now().await;
        }
    });
}

#[test]
fn a_runtime_that_goes_takes_no_session_with_it() {
    let (server, client, _) = ends(4096);
    thread::spawn(move || server.run());
    let works = on_tokio(0, async { client.open_async::<WorksAsyncClient>().await });
    let works = works.expect("it is served");
    // The driver was a task of that runtime's.
    let ours = works.clone();
    on_any(async move { assert_eq!(ours.twice("a").await.expect("an answer"), "aa") });
    on_tokio(2, async { assert_eq!(works.twice("b").await.expect("an answer"), "bb") });
    assert_eq!(works.twice("c").wait().expect("an answer"), "cc");
}

#[test]
fn a_server_in_tasks_takes_clients_and_finishes_what_runs() {
    let directory = Scratch::new();
    let path = directory.socket();
    let working = Working::default();
    let signals = WorksSignals::new(memring::fanout::Slow::DropNewest);
    let served = Works::serve_async(working.clone()).signals(&signals);
    let server = Arc::new(Server::new().serve(served).bind(&path).expect("a server"));
    on_tokio(2, async move {
        let run = tokio::spawn({
            let server = Arc::clone(&server);
            async move { server.run_tokio().await }
        });
        let clients = futures_util::future::join_all((0..8).map(|_| {
            let path = path.clone();
            tokio::spawn(async move {
                let works = WorksAsyncClient::connect(&path).await.expect("a server");
                ask(works.link()).await;
                works
            })
        }));
        let clients = clients.await;
        let works = clients[0].as_ref().expect("no panic").clone();
        let mut news = works.news().expect("it is a signal");
        works.twice("and then it has been heard of").await.expect("an answer");
        assert_eq!(signals.news(7).expect("it is encoded").reached, 1);
        assert_eq!(news.recv_async().await.expect("a signal"), 7);
        // What runs as it shuts down is finished; the deadline ends it.
        let last = works.with(Options::new().timeout(Duration::from_millis(200))).wait();
        while working.waiting.load(Relaxed) == 0 {
            yield_now().await;
        }
        let shut = server.shut_down_async(PATIENCE);
        let (last, ()) = join(last, shut).await;
        // Its handler ends at the deadline as well, and may say so before the caller looks.
        assert!(matches!(last, Ok(()) | Err(CallError::DeadlinePassed)), "{last:?}");
        run.await.expect("no panic").expect("nothing else ended it");
        let after = works.twice("").await;
        assert!(matches!(after, Err(CallError::Ended(_))), "{after:?}");
    });
}

#[test]
fn a_driver_goes_with_the_last_of_its_session() {
    let (server, client, _) = ends(4096);
    let served = thread::spawn(move || server.run());
    on_any(async move {
        let works: WorksAsyncClient = client.open_async().await.expect("it is served");
        drop(client);
        works.twice("a").await.expect("an answer");
    });
    // Its session is over, though memring's own thread read for it.
    eventually("the server sees the end", || served.is_finished());
}
