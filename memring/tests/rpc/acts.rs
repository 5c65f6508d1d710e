//! What tests of tasks have served, and the ways of serving it.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Instant;

use futures_util::FutureExt;
use memring::hub::{Event, Hub};
use memring::rpc::fuzzing::Raw;
use memring::rpc::{Call, Calls, Link, Replies, Serve};
use memring::{Connector, End, Lanes};

use super::raw::{kind, open, recv, send};
use super::support::{PATIENCE, soon};

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

pub const COUNT: u32 = 0;
pub const BYTES: u32 = 1;
pub const WAIT: u32 = 2;
pub const TOLD: u32 = 4;
pub const DROPS_REPLIES: u32 = 5;
pub const SHOUT: u32 = 7;
pub const NEWS: u32 = 8;

#[memring::interface(name = "caller", version = "1")]
pub trait Caller {
    fn say() -> u64;
}

pub struct Says;

impl CallerServer for Says {
    fn say(&self, _: &Call<'_>) -> u64 {
        42
    }
}

/// Handlers that are no futures.
pub struct InThreads(pub ActsSignals);

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
pub struct InTasks {
    pub told: Arc<AtomicU64>,
    pub waiting: Arc<AtomicU64>,
    pub cancelled: Arc<AtomicU64>,
    pub go: Arc<AtomicBool>,
    pub late: Arc<AtomicU64>,
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
pub async fn yield_now() {
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
pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let give_up = soon();
    while !is() {
        assert!(Instant::now() < give_up, "never happened: {what}");
        yield_now().await;
    }
}

pub fn runtime(threads: usize) -> tokio::runtime::Runtime {
    let runtime = if threads == 0 {
        tokio::runtime::Builder::new_current_thread().enable_all().build()
    } else {
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
    };
    runtime.expect("a runtime")
}

/// Runs it in a thread; fails the test if it hangs.
pub fn in_time<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, outcome) = mpsc::channel();
    thread::spawn(move || done.send(what()).ok());
    outcome.recv_timeout(2 * PATIENCE).expect("not for ever: a deadlock, a lost wake, or a panic")
}

/// A session with lanes of so many bytes; these are served at the first end.
pub fn ends(bytes: u64, serves: Serve) -> (Link, Link) {
    let lanes = Connector::new().lanes(Lanes::Bytes(bytes), Lanes::Bytes(bytes));
    let (server, client) = lanes.pair::<Calls>().expect("a pair");
    (Link::serving(server, [serves]), Link::serving(client, [Caller::serve(Says)]))
}

pub fn in_threads() -> Serve {
    let signals = ActsSignals::new(memring::fanout::Slow::DropNewest);
    Acts::serve(InThreads(signals.clone())).signals(&signals)
}

/// How a session is served in tasks.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Tokio(usize),
    Any,
    OnHub,
}

pub const WAYS: [Way; 4] = [Way::Tokio(0), Way::Tokio(2), Way::Any, Way::OnHub];

/// Serves the session this way, until it ends.
pub fn serve(way: Way, server: Link) -> thread::JoinHandle<End> {
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

/// A client that does what it is told to, with small lanes, and how it is served.
pub fn raw_client(way: Way, serves: Serve) -> (Raw, thread::JoinHandle<End>) {
    let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
    let (server, client) = lanes.pair::<Calls>().expect("a pair");
    let serving = serve(way, Link::serving(server, [serves]));
    let mut raw = Raw::over(client);
    send(&mut raw, &open("acts"), 1);
    assert_eq!(kind(&recv(&mut raw)), 2, "opened");
    (raw, serving)
}
