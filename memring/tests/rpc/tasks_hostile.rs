//! Calls in tasks, where somebody misbehaves: a peer that does not read, a handler that waits in the thread, a future that is
//! dropped or not polled, a runtime that goes or sleeps.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join;
use memring::hub::{Event, Hub};
use memring::rpc::fuzzing::{Raw, RawPacket};
use memring::rpc::{
    AsyncService, Call, CallError, Calls, Client, Interface, Link, Options, Replies, ReplyError,
    Serve, TaskRequest, Work,
};
use memring::{Connector, End, Lanes};

use super::support::{PATIENCE, eventually, soon};

/// What is served. Each test uses some of it.
#[memring::interface(name = "acts", version = "1")]
pub trait Acts {
    fn count(to: u64) -> Stream<u64>;
    fn bytes(len: u32) -> Vec<u8>;
    /// Until nobody waits.
    fn wait();
    /// What the caller says when it is called back.
    fn back() -> u64;
    #[oneway]
    fn told(number: u64);
    /// Replies of so many bytes that go on until there is no room, and what comes after.
    fn drops_replies() -> Stream<Vec<u8>>;
    /// A stream that has ended before its handler has.
    fn ends_early() -> Stream<u64>;
    fn shout();
    #[signal]
    fn news(number: u64);
}

const COUNT: u32 = 0;
const BYTES: u32 = 1;
const WAIT: u32 = 2;
const TOLD: u32 = 4;
const DROPS_REPLIES: u32 = 5;
const SHOUT: u32 = 7;
const NEWS: u32 = 8;

#[memring::interface(name = "caller", version = "1")]
trait Caller {
    fn say() -> u64;
}

struct Says;

impl CallerServer for Says {
    fn say(&self, _: &Call<'_>) -> u64 {
        42
    }
}

/// Handlers that are no futures.
struct InThreads(ActsSignals);

impl ActsServer for InThreads {
    fn count(&self, _: &Call<'_>, to: u64, mut replies: Replies<u64>) {
        for number in 0..to {
            if replies.send(&number).is_err() {
                return;
            }
        }
        replies.end(Ok(()));
    }

    fn bytes(&self, _: &Call<'_>, len: u32) -> Vec<u8> {
        vec![7; len as usize]
    }

    fn wait(&self, call: &Call<'_>) {
        let give_up = soon();
        while !call.is_cancelled() && Instant::now() < give_up {
            thread::yield_now();
        }
    }

    fn back(&self, call: &Call<'_>) -> u64 {
        call.link().open::<CallerClient>().map_or(0, |caller| caller.say().unwrap_or(1))
    }

    fn told(&self, _: &Call<'_>, _: u64) {}

    fn drops_replies(&self, _: &Call<'_>, _: Replies<Vec<u8>>) {}

    fn ends_early(&self, _: &Call<'_>, _: Replies<u64>) {}

    fn shout(&self, _: &Call<'_>) {
        self.0.news(7).expect("it is encoded");
    }
}

/// Handlers that are futures.
#[derive(Clone, Default)]
struct InTasks {
    told: Arc<AtomicU64>,
    waiting: Arc<AtomicU64>,
    cancelled: Arc<AtomicU64>,
    go: Arc<AtomicBool>,
    late: Arc<AtomicU64>,
}

impl ActsAsyncServer for InTasks {
    async fn count(&self, _: &Call<'_>, to: u64, mut replies: Replies<u64>) {
        for number in 0..to {
            if replies.send_async(&number).await.is_err() {
                return;
            }
        }
        replies.end_async(Ok(())).await;
    }

    async fn bytes(&self, _: &Call<'_>, len: u32) -> Vec<u8> {
        vec![7; len as usize]
    }

    async fn wait(&self, call: &Call<'_>) {
        self.waiting.fetch_add(1, Relaxed);
        call.cancelled().await;
        self.cancelled.fetch_add(1, Relaxed);
    }

    async fn back(&self, call: &Call<'_>) -> u64 {
        let Ok(caller) = call.link().open_async::<CallerAsyncClient>().await else { return 0 };
        caller.say().await.unwrap_or(1)
    }

    async fn told(&self, _: &Call<'_>, number: u64) {
        self.told.fetch_add(number, Relaxed);
    }

    async fn drops_replies(&self, _: &Call<'_>, mut replies: Replies<Vec<u8>>) {
        // One that has no room is given up, many times over, as a timeout does.
        let mut dropped = 0;
        while dropped < 100 {
            let item = vec![dropped; 500];
            let mut sending = Box::pin(replies.send_async(&item));
            if sending.as_mut().now_or_never().is_none() {
                dropped += 1;
            }
        }
        // In parts, of which one went.
        assert!(replies.send_async(&vec![0; 9000]).now_or_never().is_none());
        self.waiting.fetch_add(1, Relaxed);
        while !self.go.load(Relaxed) {
            yield_now().await;
        }
        for _ in 0..10 {
            if replies.send_async(&vec![255; 500]).await.is_err() {
                return;
            }
        }
        replies.end_async(Ok(())).await;
    }

    async fn ends_early(&self, call: &Call<'_>, replies: Replies<u64>) {
        replies.end_async(Ok(())).await;
        self.waiting.fetch_add(1, Relaxed);
        while !self.go.load(Relaxed) {
            yield_now().await;
        }
        // Its place is another call's by now.
        if call.is_cancelled() && call.cancelled().now_or_never().is_some() {
            self.late.fetch_add(1, Relaxed);
        }
        self.late.fetch_add(1, Relaxed);
    }

    async fn shout(&self, _: &Call<'_>) {}
}

/// Has other tasks take a turn.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Until this is so; not for ever.
async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let give_up = soon();
    while !is() {
        assert!(Instant::now() < give_up, "never happened: {what}");
        yield_now().await;
    }
}

fn runtime(threads: usize) -> tokio::runtime::Runtime {
    let runtime = if threads == 0 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
    };
    runtime.expect("a runtime")
}

/// Runs it in a thread; fails the test if it hangs.
fn in_time<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(what()).ok());
    outcome.recv_timeout(2 * PATIENCE).expect("not for ever: a deadlock, a lost wake, or a panic")
}

/// A session with lanes of so many bytes; these are served at the first end.
fn ends(bytes: u64, serves: Serve) -> (Link, Link) {
    let lanes = Connector::new().lanes(Lanes::Bytes(bytes), Lanes::Bytes(bytes));
    let (server, client) = lanes.pair::<Calls>().expect("a pair");
    (Link::serving(server, [serves]), Link::serving(client, [Caller::serve(Says)]))
}

fn in_threads() -> Serve {
    let signals = ActsSignals::new(memring::fanout::Slow::DropNewest);
    Acts::serve(InThreads(signals.clone())).signals(&signals)
}

/// How a session is served in tasks.
#[derive(Clone, Copy, Debug)]
enum Way {
    Tokio(usize),
    Any,
    OnHub,
}

const WAYS: [Way; 4] = [Way::Tokio(0), Way::Tokio(2), Way::Any, Way::OnHub];

/// Serves the session this way, until it ends.
fn serve(way: Way, server: Link) -> thread::JoinHandle<End> {
    thread::spawn(move || match way {
        Way::Tokio(threads) => runtime(threads).block_on(server.run_tokio()),
        Way::Any => pollster::block_on(server.run_async()),
        Way::OnHub => {
            let mut hub = Hub::new().expect("a hub");
            let (remote, (ended, how)) = (hub.remote(), mpsc::channel());
            hub.spawn(async move {
                ended.send(server.run_async().await).expect("it waits");
                remote.wake();
            })
            .expect("a task");
            while !matches!(hub.wait(None).expect("a wait"), Some(Event::Woken)) {}
            how.recv().expect("it has ended")
        }
    })
}

fn packet(kind: u8, interface: u16, number: u32, time: u64, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, 0];
    packet.extend(interface.to_le_bytes());
    packet.extend(number.to_le_bytes());
    packet.extend(time.to_le_bytes());
    packet.extend(body);
    packet
}

/// An opening of an interface of which nothing is known.
fn open() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    packet(1, 0, 0, 0, &[text("acts"), text("1"), vec![0, 0]].concat())
}

fn call(number: u32, body: &[u8]) -> Vec<u8> {
    packet(4, 0, number, 0, body)
}

/// A client that does what it is told to, with small lanes, and how it is served.
fn raw_client(way: Way, serves: Serve) -> (Raw, thread::JoinHandle<End>) {
    let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
    let (server, client) = lanes.pair::<Calls>().expect("a pair");
    let serving = serve(way, Link::serving(server, [serves]));
    let mut raw = Raw::over(client);
    send(&mut raw, &open(), 1);
    assert_eq!(kind(&recv(&mut raw)), 2, "opened");
    (raw, serving)
}

/// Beside the padding.
fn kind(packet: &RawPacket) -> u8 {
    packet.bytes[0] & 15
}

#[track_caller]
fn send(raw: &mut Raw, packet: &[u8], tag: u64) {
    raw.send(packet, tag, soon()).expect("room");
}

#[track_caller]
fn recv(raw: &mut Raw) -> RawPacket {
    raw.recv(soon()).expect("a packet")
}

#[test]
fn a_handler_that_waits_in_the_thread_gets_credit_and_answers_there() {
    for way in WAYS {
        println!("{way:?}");
        let (server, client) = ends(4096, in_threads());
        let served = serve(way, server);
        in_time(move || {
            let calling = client.clone();
            let running = thread::spawn(move || client.run());
            let acts: ActsClient = calling.open().expect("it is served");
            let counted: Result<Vec<_>, _> = acts.count(1000).expect("begun").collect();
            assert!(counted.expect("replies").into_iter().eq(0..1000));
            assert_eq!(acts.back().expect("an answer"), 42);
            calling.close();
            running.join().expect("no panic");
        });
        served.join().expect("no panic");
    }
}

#[test]
fn a_handler_that_looks_in_the_thread_sees_that_it_is_cancelled() {
    for way in WAYS {
        println!("{way:?}");
        let (server, client) = ends(4096, in_threads());
        let served = serve(way, server);
        in_time(move || {
            let acts: ActsClient = client.open().expect("it is served");
            let begun = Instant::now();
            let soon = acts.with(Options::new().timeout(Duration::from_millis(20)));
            // Its handler ends at the deadline as well, and may say so before this looks.
            let waited = soon.wait();
            assert!(matches!(waited, Ok(()) | Err(CallError::DeadlinePassed)), "{waited:?}");
            let cancel = memring::rpc::Cancel::new();
            let asks = acts.with(Options::new().cancel(&cancel));
            thread::scope(|scope| {
                let asking = scope.spawn(|| asks.wait());
                cancel.cancel();
                assert!(matches!(asking.join().expect("no panic"), Err(CallError::Cancelled)));
            });
            assert_eq!(acts.bytes(1).expect("an answer"), [7]);
            assert!(begun.elapsed() < PATIENCE, "it did not see it");
        });
        served.join().expect("no panic");
    }
}

#[test]
fn a_thread_waits_though_the_runtime_that_reads_sleeps() {
    let (server, client) = ends(4096, Acts::serve_async(InTasks::default()));
    let served = thread::spawn(move || server.run());
    in_time(move || {
        let runtime = runtime(0);
        let acts = runtime.block_on(client.open_async::<ActsAsyncClient>()).expect("it is served");
        for _ in 0..3 {
            assert_eq!(runtime.block_on(async { acts.bytes(1).await }).expect("an answer"), [7]);
            // Nobody polls what is spawned there now.
            assert_eq!(acts.bytes(2).wait().expect("an answer"), [7, 7]);
            let threads: ActsClient = client.open().expect("it is served");
            assert_eq!(threads.bytes(3).expect("an answer"), [7, 7, 7]);
        }
        // And in the midst of a task that keeps the thread.
        runtime.block_on(async {
            let more = acts.bytes(5);
            assert_eq!(acts.bytes(4).wait().expect("an answer").len(), 4);
            assert_eq!(more.await.expect("an answer").len(), 5);
        });
    });
    served.join().expect("no panic");
}

#[test]
fn calls_are_begun_though_a_thread_reads() {
    let (server, client) = ends(4096, Acts::serve_async(InTasks::default()));
    let other = server.clone();
    let served = thread::spawn(move || runtime(0).block_on(other.run_tokio()));
    in_time(move || {
        let running = {
            let client = client.clone();
            thread::spawn(move || client.run())
        };
        // The server's side asks in a thread, and is asked meanwhile.
        thread::scope(|scope| {
            scope.spawn(|| {
                let caller: CallerClient = server.open().expect("it is served");
                for _ in 0..300 {
                    assert_eq!(caller.say().expect("an answer"), 42);
                }
            });
            let acts: ActsClient = client.open().expect("it is served");
            for _ in 0..300 {
                assert_eq!(acts.back().expect("an answer"), 42);
            }
        });
        client.close();
        running.join().expect("no panic");
    });
    served.join().expect("no panic");
}

#[test]
fn a_call_looks_at_no_other_calls_place() {
    let serves = InTasks::default();
    let (server, client) = ends(4096, Acts::serve_async(serves.clone()));
    let served = serve(Way::Tokio(0), server);
    in_time(move || {
        runtime(0).block_on(async move {
            let acts: ActsAsyncClient = client.open_async().await.expect("it is served");
            let mut early = acts.ends_early().expect("begun");
            assert_eq!(early.recv_async().await.expect("it ended well"), None);
            until("the handler is past its end", || serves.waiting.load(Relaxed) == 1).await;
            let waiting = acts.wait();
            until("another call has its place", || serves.waiting.load(Relaxed) == 2).await;
            serves.go.store(true, Relaxed);
            until("it has looked", || serves.late.load(Relaxed) != 0).await;
            assert_eq!(serves.late.load(Relaxed), 2, "nobody waits for what has ended");
            drop(waiting);
            until("the other hears of its own end", || serves.cancelled.load(Relaxed) == 1).await;
        });
    });
    served.join().expect("no panic");
}

#[test]
fn replies_that_are_dropped_on_their_way_keep_nobody_waiting() {
    for way in WAYS {
        println!("{way:?}");
        let serves = InTasks::default();
        let (mut raw, serving) = raw_client(way, Acts::serve_async(serves.clone()));
        send(&mut raw, &call(DROPS_REPLIES, &[]), 2);
        eventually("it has given up often", || serves.waiting.load(Relaxed) == 1);
        serves.go.store(true, Relaxed);
        let mut late = 0;
        loop {
            let came = recv(&mut raw);
            assert_eq!(came.tag, 2);
            match kind(&came) {
                10 if came.bytes.get(100..200) == Some(&[255; 100][..]) => late += 1,
                10 => {}
                6 => break,
                other => panic!("a packet of kind {other}"),
            }
        }
        assert_eq!(late, 10);
        drop(raw);
        serving.join().expect("no panic");
    }
}

#[test]
fn an_answer_that_is_dropped_on_its_way_is_told_of() {
    for (len, serves) in [
        (900, Acts::serve_async(InTasks::default())),
        (100_000, Acts::serve_async(InTasks::default())),
        (900, in_threads()),
        (100_000, in_threads()),
    ] {
        let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
        let (server, client) = lanes.pair::<Calls>().expect("a pair");
        let server = Link::serving(server, [serves]);
        let mut raw = Raw::over(client);
        send(&mut raw, &open(), 1);
        let arguments = u32::to_le_bytes(len);
        (2..=12).for_each(|tag| send(&mut raw, &call(BYTES, &arguments), tag));
        {
            let mut serving = pin!(server.run_async());
            for _ in 0..100 {
                assert!(
                    serving.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
                );
            }
        }
        // Whoever serves from now on finds nothing in the way.
        let served = serve(Way::Any, server);
        send(&mut raw, &call(BYTES, &1_u32.to_le_bytes()), 13);
        let mut answered = std::collections::BTreeSet::new();
        while answered.len() < 13 {
            let came = recv(&mut raw);
            assert!(matches!(kind(&came), 2 | 6 | 8), "{}", kind(&came));
            assert!(answered.insert(came.tag), "{} has two answers", came.tag);
        }
        drop(raw);
        served.join().expect("no panic");
    }
}

#[test]
fn a_handler_that_is_awaited_in_a_thread_may_wait_there_too() {
    /// Is woken, and then waits for something else in the same thread.
    struct Waits;
    impl AsyncService for Waits {
        fn interface(&self) -> &'static Interface {
            ActsClient::interface()
        }

        fn call(self: Arc<Self>, _: u32, request: TaskRequest) -> Work {
            Box::pin(async move {
                let mut woken = false;
                poll_fn(|context| {
                    if std::mem::replace(&mut woken, true) {
                        return Poll::Ready(());
                    }
                    context.waker().wake_by_ref();
                    thread::park_timeout(Duration::from_millis(10));
                    Poll::Pending
                })
                .await;
                drop(request);
            })
        }
    }
    let (server, client) = ends(4096, Serve::new_async(Waits));
    let served = thread::spawn(move || server.run());
    in_time(move || {
        let acts: ActsClient = client.open().expect("it is served");
        assert!(matches!(acts.wait(), Err(CallError::Unanswered(_) | CallError::Dropped)));
    });
    served.join().expect("no panic");
}

#[test]
fn a_service_that_panics_ends_nobody_elses_call() {
    struct Panics;
    impl AsyncService for Panics {
        fn interface(&self) -> &'static Interface {
            ActsClient::interface()
        }

        fn call(self: Arc<Self>, member: u32, request: TaskRequest) -> Work {
            assert_ne!(member, WAIT, "as asked for");
            Box::pin(async move {
                yield_now().await;
                assert_ne!(member, BYTES, "as asked for");
                drop(request);
            })
        }
    }
    for way in WAYS {
        let (server, client) = ends(4096, Serve::new_async(Panics));
        let served = serve(way, server);
        in_time(move || {
            let acts: ActsClient = client.open().expect("it is served");
            let is_over = |error: CallError| !matches!(error, CallError::Ended(_));
            assert!(acts.wait().is_err_and(is_over));
            assert!(acts.bytes(1).is_err_and(is_over));
            assert!(acts.shout().is_err_and(is_over));
        });
        served.join().expect("no panic");
    }
}

#[test]
fn a_signal_waits_for_no_task_that_has_half_an_answer_sent() {
    let (mut raw, serving) = raw_client(Way::OnHub, in_threads());
    send(&mut raw, &packet(13, 0, NEWS, 0, &[]), 0);
    send(&mut raw, &call(BYTES, &100_000_u32.to_le_bytes()), 2);
    send(&mut raw, &call(SHOUT, &[]), 3);
    send(&mut raw, &call(BYTES, &1_u32.to_le_bytes()), 4);
    // Nothing is read until the handler has shouted: then one more packet has room.
    let mut answered = 0;
    thread::sleep(Duration::from_millis(50));
    while answered < 3 {
        let came = recv(&mut raw);
        match kind(&came) {
            12 => {}
            6 => answered += 1,
            other => panic!("a packet of kind {other}"),
        }
    }
    drop(raw);
    serving.join().expect("no panic");
}

#[test]
fn opening_waits_for_no_task_that_has_half_a_call_sent() {
    #[memring::interface(name = "takes", version = "1")]
    trait Takes {
        fn length(of: &[u8]) -> u64;
    }
    struct Taking;
    impl TakesServer for Taking {
        fn length(&self, _: &Call<'_>, of: &[u8]) -> u64 {
            of.len() as u64
        }
    }
    let (server, client) = ends(4096, Takes::serve(Taking));
    in_time(move || {
        let other = server.clone();
        let serving = thread::spawn(move || other.run());
        runtime(0).block_on(async move {
            let takes: TakesAsyncClient = client.open_async().await.expect("it is served");
            let large = vec![1; 1_000_000];
            for _ in 0..20 {
                let opening = client.open_async::<TakesAsyncClient>();
                let (opened, length) = join(opening, takes.length(&large)).await;
                opened.expect("it is served");
                assert_eq!(length.expect("an answer"), 1_000_000);
            }
        });
        server.close();
        serving.join().expect("no panic");
    });
}

#[test]
fn a_runtime_without_io_spoils_no_session() {
    let (server, client) = ends(4096, Acts::serve_async(InTasks::default()));
    let served = thread::spawn(move || server.run());
    in_time(move || {
        let acts: ActsAsyncClient = client.open().expect("it is served");
        let other = acts.clone();
        let panicked = thread::spawn(move || {
            let bare = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            bare.block_on(async { other.bytes(1).await })
        });
        assert!(panicked.join().is_err(), "as is documented");
        assert_eq!(pollster::block_on(acts.bytes(2)).expect("an answer"), [7, 7]);
        // Without time it has all that it needs.
        let timeless = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let timeless = timeless.expect("a runtime");
        let soon = acts.with(Options::new().timeout(Duration::from_millis(20)));
        let waited = timeless.block_on(async { soon.wait().await });
        assert!(matches!(waited, Ok(()) | Err(CallError::DeadlinePassed)), "{waited:?}");
    });
    served.join().expect("no panic");
}

#[test]
fn what_serves_goes_on_when_the_runtime_that_read_has_gone() {
    for way in [Way::Tokio(0), Way::Any, Way::OnHub] {
        println!("{way:?}");
        let (server, client) = ends(4096, Acts::serve_async(InTasks::default()));
        in_time(move || {
            let running = {
                let client = client.clone();
                thread::spawn(move || client.run())
            };
            // The first to await something in this session has somebody read in its runtime.
            let first = runtime(0);
            let caller: CallerAsyncClient =
                first.block_on(server.open_async()).expect("it is served");
            let served = serve(way, server);
            let acts: ActsClient = thread::scope(|scope| {
                let opening = scope.spawn(|| client.open().expect("it is served"));
                // It reads now and then, as its runtime is used.
                while !opening.is_finished() {
                    first.block_on(async { caller.say().await }).expect("an answer");
                }
                opening.join().expect("no panic")
            });
            let acts = acts.with(Options::new().timeout(PATIENCE));
            drop(first);
            assert_eq!(acts.bytes(1).expect("an answer"), [7]);
            assert_eq!(acts.back().expect("an answer"), 42);
            client.close();
            drop(caller);
            running.join().expect("no panic");
            served.join().expect("no panic");
        });
    }
}

#[test]
fn a_thread_that_waited_for_room_lets_the_task_behind_it_go_on() {
    let (server, client) = ends(4096, Acts::serve_async(InTasks::default()));
    in_time(move || {
        let served = {
            let server = server.clone();
            thread::spawn(move || runtime(0).block_on(server.run_tokio()))
        };
        let acts: ActsAsyncClient = pollster::block_on(client.open_async()).expect("it is served");
        for _ in 0..30 {
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let acts = acts.clone();
                    thread::spawn(move || {
                        for number in 0..100 {
                            pollster::block_on(acts.told(number)).expect("it is sent");
                        }
                    })
                })
                .collect();
            for number in 0..200 {
                acts.told(number).wait().expect("it is sent");
            }
            tasks.into_iter().for_each(|task| task.join().expect("no panic"));
        }
        drop((acts, client));
        served.join().expect("no panic");
    });
}

/// Everything a client may do to whoever serves it in tasks, without reading an answer.
#[test]
fn a_client_that_floods_and_reads_nothing_harms_itself_alone() {
    let two = 2_u64.to_le_bytes();
    let many = 1_000_000_u64.to_le_bytes();
    let floods: [(&str, u8, u32, &[u8]); 6] = [
        ("one-way calls", 5, TOLD, &two),
        ("calls", 4, BYTES, &[0, 4, 0, 0]),
        ("calls of large answers", 4, BYTES, &[0, 0, 4, 0]),
        ("calls that wait", 4, WAIT, &[]),
        ("streams", 4, COUNT, &many),
        ("openings", 1, 0, &[]),
    ];
    for way in [Way::Tokio(0), Way::Any] {
        for (what, kind, number, body) in floods {
            println!("{way:?} {what}");
            let serves = Acts::serve_async(InTasks::default());
            let (mut raw, serving) = raw_client(way, serves);
            let give_up = Instant::now() + Duration::from_millis(300);
            for turn in 2_u64.. {
                let (packet, tag) = match kind {
                    1 => (open(), turn),
                    5 => (packet(5, 0, number, 0, body), 0),
                    _ => (call(number, body), turn),
                };
                // It has no room any more, or has been sent away.
                if raw.send(&packet, tag, give_up).is_err() || Instant::now() >= give_up {
                    break;
                }
                if turn % 3 == 0 && kind == 4 {
                    let _ = raw.send(&packet_cancel(), tag, give_up);
                }
            }
            drop(raw);
            let (ended, how) = mpsc::channel();
            thread::spawn(move || ended.send(serving.join()));
            let end = how.recv_timeout(PATIENCE).expect("it ends").expect("no panic");
            println!("{end}");
        }
    }
}

fn packet_cancel() -> Vec<u8> {
    packet(9, 0, 0, 0, &[])
}

#[test]
fn a_hub_serves_on_beside_clients_that_read_nothing() {
    let mut hub = Hub::new().expect("a hub");
    let mut stuck = Vec::new();
    for (number, body) in [(BYTES, 100_000_u64), (BYTES, 900), (COUNT, 1 << 40), (WAIT, 0)] {
        for serves in [Acts::serve_async(InTasks::default()), in_threads()] {
            // A handler that keeps the thread is its author's to mind.
            if matches!(number, COUNT | WAIT) && stuck.len() % 2 == 1 {
                stuck.push(None);
                continue;
            }
            let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
            let (server, client) = lanes.pair::<Calls>().expect("a pair");
            let server = Link::serving(server, [serves]);
            hub.spawn(async move { drop(server.run_async().await) }).expect("a task");
            let mut raw = Raw::over(client);
            send(&mut raw, &open(), 1);
            for tag in 2..20 {
                let body =
                    if number == BYTES { &body.to_le_bytes()[..4] } else { &body.to_le_bytes() };
                let body = if number == WAIT { &[] } else { body };
                send(&mut raw, &call(number, body), tag);
            }
            stuck.push(Some(raw));
        }
    }
    let (server, client) = ends(4096, Acts::serve_async(InTasks::default()));
    hub.spawn(async move { drop(server.run_async().await) }).expect("a task");
    let remote = hub.remote();
    let asking = thread::spawn(move || {
        let acts: ActsClient = client.open().expect("it is served");
        for _ in 0..100 {
            assert_eq!(acts.bytes(10_000).expect("an answer").len(), 10_000);
        }
        remote.wake();
    });
    loop {
        match hub.wait(Some(soon())).expect("a wait") {
            Some(Event::Woken) => break,
            Some(other) => panic!("{other:?}"),
            None => panic!("not for ever"),
        }
    }
    asking.join().expect("no panic");
    drop((hub, stuck));
}

/// A client, whose server is raw, and has opened `acts` as if it were the same.
fn raw_server() -> (Raw, ActsAsyncClient) {
    let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
    let (server, client) = lanes.pair::<Calls>().expect("a pair");
    let mut raw = Raw::over(server);
    let opening = thread::spawn(move || {
        pollster::block_on(Link::over(client).open_async::<ActsAsyncClient>())
    });
    let asked = recv(&mut raw);
    assert_eq!((kind(&asked), asked.tag), (1, 1));
    let count = ActsClient::interface().members.len() as u16;
    let mut standings = count.to_le_bytes().to_vec();
    (0..u32::from(count)).for_each(|member| {
        standings.push(0);
        standings.extend(member.to_le_bytes());
    });
    send(&mut raw, &packet(2, 0, 16, 0, &standings), 1);
    (raw, opening.join().expect("no panic").expect("opened"))
}

#[test]
fn a_server_that_sends_replies_and_reads_no_credit_is_left() {
    let (mut raw, acts) = raw_server();
    let mut stream = acts.count(1).expect("begun");
    let (ended, how) = mpsc::channel();
    let taken = Arc::new(AtomicU64::new(0));
    let counts = Arc::clone(&taken);
    let reading = thread::spawn(move || {
        let end = pollster::block_on(async {
            loop {
                match stream.recv_async().await {
                    Ok(Some(_)) => {
                        counts.fetch_add(1, Relaxed);
                    }
                    other => break other,
                }
            }
        });
        ended.send(()).expect("the test waits");
        end
    });
    assert_eq!(recv(&mut raw).tag, 2);
    // So much credit is given as it has room for, and owed beyond that: but not without a bound.
    for sent in 0..50_000_000_u64 {
        while sent - taken.load(Relaxed).min(sent) >= 16 && how.try_recv().is_err() {
            thread::yield_now();
        }
        if raw.send(&packet(10, 0, 0, 0, &[0; 8]), 2, soon()).is_err() {
            break;
        }
    }
    let end = reading.join().expect("no panic");
    assert!(matches!(end, Err(CallError::Ended(_))), "{end:?}");
}

#[test]
fn a_reply_that_is_too_large_costs_no_credit() {
    struct Large;
    #[memring::interface(name = "large", version = "1")]
    trait TooLarge {
        fn all() -> Stream<Vec<u8>>;
    }
    impl TooLargeAsyncServer for Large {
        async fn all(&self, _: &Call<'_>, mut replies: Replies<Vec<u8>>) {
            for _ in 0..100 {
                let sent = replies.send_async(&vec![0; 10_000]).await;
                assert!(matches!(sent, Err(ReplyError::Send(_))), "{sent:?}");
            }
            replies.send_async(&vec![1]).await.expect("a reader");
            replies.end_async(Ok(())).await;
        }
    }
    let small = Connector::new().largest_message(8000);
    let (server, client) = small.pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [TooLarge::serve_async(Large)]);
    let served = serve(Way::Any, server);
    in_time(move || {
        let large: TooLargeClient = Link::over(client).open().expect("it is served");
        let all: Result<Vec<_>, _> = large.all().expect("begun").collect();
        assert_eq!(all.expect("replies"), [[1]]);
    });
    served.join().expect("no panic");
}

#[test]
fn what_ends_calls_reaches_threads_and_tasks_alike() {
    let serves = InTasks::default();
    let (server, client) = ends(4096, Acts::serve_async(serves.clone()));
    let served = serve(Way::Tokio(2), server);
    in_time(move || {
        let acts: ActsAsyncClient = pollster::block_on(client.open_async()).expect("it is served");
        for round in 1..=20 {
            let cancel = memring::rpc::Cancel::new();
            let asks = acts.with(Options::new().cancel(&cancel).timeout(2 * PATIENCE));
            thread::scope(|scope| {
                let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| asks.wait().wait())).collect();
                let tasks: Vec<_> =
                    (0..2).map(|_| scope.spawn(|| pollster::block_on(asks.wait()))).collect();
                eventually("all run", || serves.waiting.load(Relaxed) == 4 * round);
                cancel.cancel();
                for asking in threads.into_iter().chain(tasks) {
                    let outcome = asking.join().expect("no panic");
                    assert!(matches!(outcome, Err(CallError::Cancelled)), "{outcome:?}");
                }
            });
            eventually("all are told", || serves.cancelled.load(Relaxed) == 4 * round);
        }
    });
    served.join().expect("no panic");
}

#[test]
fn alarms_that_change_and_go_wake_whom_they_should() {
    let (_nobody_serves, client) = ends(1 << 16, Acts::serve_async(InTasks::default()));
    in_time(move || {
        let begun = Instant::now();
        let due = |ms: u64| begun + Duration::from_millis(ms);
        // Later ones first, several at one instant, and each second one gone before it is due.
        let mut all: Vec<Pin<Box<dyn Future<Output = bool>>>> = Vec::new();
        for turn in 0..15 {
            let (client, ms) = (client.clone(), 200 - 10 * (turn / 2));
            all.push(Box::pin(async move {
                let opened = client.open_deadline_async::<ActsAsyncClient>(due(ms)).await;
                opened.is_err() && Instant::now() >= due(ms)
            }));
        }
        for one in &mut all {
            assert!(one.as_mut().now_or_never().is_none());
        }
        let mut turn = 0;
        all.retain(|_| {
            turn += 1;
            turn % 2 == 0
        });
        let all = pollster::block_on(futures_util::future::join_all(all));
        assert!(all.into_iter().all(|timed_out| timed_out));
    });
}
