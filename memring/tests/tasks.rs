//! Tasks: under any executor and under tokio's reactor, every message arrives, and a future that is dropped loses none.

mod support;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use memring::task::Driver;
use memring::{
    Async, Bytes, Channel, Connector, End, Fd, Lanes, Listener, Protocol, RecvError, SendError,
    Sender, Session, TryRecvError,
};

use support::pages::{Page, Pages, page};
use support::{Helper, PATIENCE, Scratch, Stage, play, soon};

type Ends<D> = Async<Plain, D>;

type Plain = Channel<[u8], [u8]>;

/// Both ends, with lanes that a few messages fill.
fn pair() -> (Plain, Plain) {
    let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
    lanes.pair::<Bytes>().expect("a pair")
}

/// Runs it on a runtime of one thread, for so long at most.
fn on_tokio<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let timed = async { tokio::time::timeout(2 * PATIENCE, future).await };
    runtime.block_on(timed).expect("not for ever: a lost wake")
}

/// Runs it with an executor that knows nothing but wakers; fails the test if it hangs.
fn on_any<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let (done, outcome) = std::sync::mpsc::channel();
    thread::spawn(move || done.send(pollster::block_on(future)).ok());
    outcome.recv_timeout(2 * PATIENCE).expect("not for ever: a lost wake")
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Sends back what comes, until the peer closes.
async fn echo<D: Driver>(mut channel: Ends<D>) {
    loop {
        let message = match channel.recv().await {
            Ok(message) => message.to_vec(),
            Err(RecvError::Ended(End::Closed)) => return,
            Err(other) => panic!("{other}"),
        };
        channel.send(&message).await.expect("open");
    }
}

/// Asks one by one, and then so many that lanes fill.
async fn ask<D: Driver>(channel: Ends<D>) {
    let mut channel = channel;
    for turn in 0..2_000_u64 {
        channel.send(&turn.to_le_bytes()).await.expect("sent");
        assert_eq!(number(&channel.recv().await.expect("an answer")), turn);
    }
    let (mut tx, mut rx) = channel.split().expect("descriptors");
    let sending = async {
        for turn in 0..5_000_u64 {
            let mut bytes = vec![7; 8 + turn as usize % 900];
            bytes[..8].copy_from_slice(&turn.to_le_bytes());
            tx.send(&bytes).await.expect("sent");
        }
        tx
    };
    let receiving = async {
        for turn in 0..5_000_u64 {
            assert_eq!(number(&rx.recv().await.expect("an answer")), turn);
        }
    };
    let (_tx, ()) = futures_util::future::join(sending, receiving).await;
}

#[test]
fn any_executor_will_do() {
    let (server, client) = pair();
    let echoing = thread::spawn(move || on_any(echo(server.into_async().expect("a task"))));
    on_any(ask(client.into_async().expect("a task")));
    echoing.join().expect("the echo");
}

#[test]
fn tokio_drives_both_ends_in_one_thread() {
    let (server, client) = pair();
    on_tokio(async {
        let echo = echo(server.into_tokio().expect("descriptors"));
        tokio::join!(echo, ask(client.into_tokio().expect("descriptors")));
    });
}

#[test]
fn a_task_and_a_thread_talk() {
    let (mut server, client) = pair();
    let echoing = thread::spawn(move || {
        while let Ok(message) = server.recv().map(|message| message.to_vec()) {
            server.send(&message).expect("open");
        }
    });
    on_tokio(async { ask(client.into_tokio().expect("descriptors")).await });
    echoing.join().expect("the echo");
}

#[test]
fn dropping_a_future_loses_nothing() {
    on_tokio(async {
        let (server, client) = pair();
        let (mut tx, _rx) = server.into_tokio().expect("descriptors").split().expect("more");
        let (_tx, mut rx) = client.into_tokio().expect("descriptors").split().expect("more");
        let sending = async {
            let mut dropped = 0;
            for turn in 0..3_000_u64 {
                let mut bytes = vec![0; 500];
                bytes[..8].copy_from_slice(&turn.to_le_bytes());
                // Given up as soon as it has to wait, now and then, and sent anew.
                loop {
                    let mut sending = pin!(tx.send(&bytes));
                    let now = poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await;
                    match now {
                        Poll::Ready(sent) => break sent.expect("sent"),
                        Poll::Pending if turn % 3 == 0 => break sending.await.expect("sent"),
                        Poll::Pending => dropped += 1,
                    }
                    tokio::task::yield_now().await;
                }
            }
            dropped
        };
        let receiving = async {
            let mut dropped = 0;
            let mut due = 0;
            while due < 3_000 {
                let mut receiving = pin!(rx.recv());
                let now = poll_fn(|context| Poll::Ready(receiving.as_mut().poll(context))).await;
                let got = match now {
                    Poll::Ready(got) => number(&got.expect("a message")),
                    Poll::Pending if due % 3 == 0 => number(&receiving.await.expect("a message")),
                    Poll::Pending => {
                        dropped += 1;
                        tokio::task::yield_now().await;
                        continue;
                    }
                };
                assert_eq!(got, due);
                due += 1;
            }
            dropped
        };
        let dropped = tokio::join!(sending, receiving);
        assert!(dropped.0 > 0 && dropped.1 > 0, "{dropped:?}");
    });
}

#[test]
fn a_message_larger_than_the_lane_goes_in_parts_and_given_up_is_forgotten() {
    on_tokio(async {
        let (server, client) = pair();
        let (mut server, mut client) =
            (server.into_tokio().expect("descriptors"), client.into_tokio().expect("descriptors"));
        let large: Vec<u8> = (0..100_000_u32).map(|at| at as u8).collect();
        // Given up with parts of it in the lane.
        {
            let mut sending = pin!(server.send(&large));
            assert!(
                poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await.is_pending()
            );
        }
        let sending = async {
            server.send(b"after").await.expect("sent");
            server.send(&large).await.expect("sent");
            server.send(b"the end").await.expect("sent");
        };
        let receiving = async {
            assert_eq!(&*client.recv().await.expect("it"), b"after");
            assert_eq!(&*client.recv().await.expect("it"), &*large);
            assert_eq!(&*client.recv().await.expect("it"), b"the end");
        };
        tokio::join!(sending, receiving);
        // By a sink too.
        let (tx, _rx) = server.split().expect("descriptors");
        assert!(matches!(
            tx.into_inner().try_send(&large),
            Err(memring::TrySendError::TooLarge { .. })
        ));
    });
}

/// Text one way, and descriptors the other.
struct Files;

#[memring::message]
struct Line {
    text: String,
}

#[memring::message(attachments)]
struct File {
    number: u64,
    file: Fd,
}

impl Protocol for Files {
    const NAME: &'static str = "files";
    type ToClient = Line;
    type ToServer = File;
}

#[test]
fn streams_and_sinks_carry_messages_in_order_and_end() {
    on_tokio(async {
        let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096)).fds(4);
        let (server, client) = lanes.pair::<Files>().expect("a pair");
        let (tx, _rx) = server.split();
        let (_tx, rx) = client.split();
        let mut sink = tx.into_tokio().expect("descriptors").into_sink();
        let mut stream = rx.into_tokio().expect("descriptors").into_stream();
        let text = |turn: usize| "x".repeat(if turn == 500 { 50_000 } else { turn % 700 });
        let sending = async move {
            for turn in 0..1_000 {
                sink.send(Line { text: text(turn) }).await.expect("sent");
            }
            sink.close().await.expect("all went");
        };
        let receiving = async {
            for turn in 0..1_000 {
                let message = stream.next().await.expect("not the end").expect("a message");
                assert_eq!(message.text.as_str(), text(turn));
            }
            assert!(stream.next().await.is_none() && stream.next().await.is_none());
        };
        tokio::join!(sending, receiving);
    });
}

#[test]
fn descriptors_are_waited_for_and_none_is_lost() {
    on_tokio(async {
        let few = Connector::new().fds(4);
        let (server, client) = few.pair::<Files>().expect("a pair");
        let (_tx, mut rx) = server.into_tokio().expect("descriptors").split().expect("more");
        let (mut tx, _rx) = client.into_tokio().expect("descriptors").split().expect("more");
        let sending = async {
            for number in 0..500 {
                let file = Fd::from(io::pipe().expect("a pipe").0);
                tx.send(&File { number, file }).await.expect("sent");
            }
        };
        let receiving = async {
            for number in 0..500_u64 {
                let message = rx.recv().await.expect("a file");
                assert_eq!(message.number.to_native(), number);
                assert!(message.take_fd(&message.file).is_some());
            }
        };
        tokio::join!(sending, receiving);
    });
}

#[test]
fn role() {
    play(&[("reader", reader)]);
}

/// Receives so many pages, once it goes on.
fn reader(stage: &Stage) {
    let taking = Connector::new().blobs(1024, 1 << 30);
    let mut channel = taking.connect::<Pages>(stage.path()).expect("connects");
    stage.say("connected");
    for _ in 0..stage.number("pages") {
        channel.recv().expect("a page");
    }
    stage.say("all");
    stage.linger();
}

/// More pages than packets that a socket holds unread.
const PAGES: u64 = 700;

async fn send_pages<D: Driver>(mut tx: Async<Sender<Page>, D>, peer: Helper) {
    let mut went = 0;
    let mut stopped = true;
    while went < PAGES {
        let message = page();
        let mut sending = pin!(tx.send(&message));
        let now = poll_fn(|context| Poll::Ready(sending.as_mut().poll(context))).await;
        match now {
            Poll::Ready(sent) => sent.expect("sent"),
            Poll::Pending => {
                if std::mem::take(&mut stopped) {
                    assert!((100..600).contains(&went), "the socket is full, and the lane is not");
                    peer.go_on();
                }
                sending.await.expect("sent");
            }
        }
        went += 1;
    }
    assert!(!stopped, "the socket was never full");
    peer.expect("all");
}

#[test]
fn a_control_socket_that_is_full_is_waited_for() {
    for tokio in [false, true] {
        let scratch = Scratch::new();
        let listener = Listener::bind(scratch.socket()).expect("binds");
        let path = scratch.socket();
        let peer = Helper::start("reader", &[("path", &path.display()), ("pages", &PAGES)]);
        let incoming = listener.accept_deadline(soon()).expect("accepts");
        let (tx, _rx) = incoming.open::<Pages>().expect("opens").split();
        peer.expect("connected");
        peer.stop();
        if tokio {
            on_tokio(async move { send_pages(tx.into_tokio().expect("descriptors"), peer).await });
        } else {
            on_any(async move { send_pages(tx.into_async().expect("a task"), peer).await });
        }
    }
}

/// Waits for room and for a message in turn, in one task; the peer makes room.
async fn wait_for_both<D: Driver>(mut channel: Ends<D>) {
    while channel.try_send(&[7; 900]).is_ok() {}
    let sent = poll_fn(|context| {
        let sent = channel.poll_send(context, &[8; 900]);
        assert!(channel.poll_recv(context).is_pending());
        sent
    });
    sent.await.expect("sent");
}

#[test]
fn one_task_waits_for_both_ways_of_a_channel() {
    for tokio in [false, true] {
        let (mut server, client) = pair();
        let reading = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50)); // so that the task waits
            while server.try_recv().is_ok() {}
            server
        });
        if tokio {
            on_tokio(async { wait_for_both(client.into_tokio().expect("descriptors")).await });
        } else {
            on_any(wait_for_both(client.into_async().expect("a task")));
        }
        drop(reading.join().expect("no panic"));
    }
    // A message that comes after it was asked for, and before room is.
    on_tokio(async {
        let (mut server, client) = pair();
        let mut channel = client.into_tokio().expect("descriptors");
        while channel.try_send(&[7; 900]).is_ok() {}
        let mut sent = false;
        let news = poll_fn(|context| {
            if let Poll::Ready(message) = channel.poll_recv(context) {
                return Poll::Ready(message.expect("news").to_vec());
            }
            if !std::mem::replace(&mut sent, true) {
                context.waker().wake_by_ref();
            } else {
                server.send(b"news").expect("room");
            }
            assert!(channel.poll_send(context, &[8; 900]).is_pending());
            Poll::Pending
        });
        assert_eq!(news.await, b"news");
    });
}

#[test]
fn a_lane_that_is_never_empty_leaves_others_their_turn() {
    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    let (mut tx, _rx) = server.split();
    let (_tx, rx) = client.split();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                if tx.send_deadline(&[1; 8], soon()).is_err() {
                    return; // the receiver has gone already
                }
            }
        });
        on_tokio(async {
            let mut rx = rx.into_tokio().expect("descriptors");
            let mut received = 0;
            let receiving = async {
                while received < 10_000_000 {
                    rx.recv().await.expect("a message");
                    received += 1;
                    let until = Instant::now() + Duration::from_micros(20); // of work
                    while Instant::now() < until {}
                }
            };
            let timed = tokio::time::timeout(Duration::from_millis(100), receiving).await;
            assert!(timed.is_err(), "the timeout had no turn");
        });
        stop.store(true, Ordering::Relaxed);
    });
}

/// A waker that closes the session when it goes.
struct Closes(Arc<Session>);

impl std::task::Wake for Closes {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Closes {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[test]
fn a_waker_may_do_anything_when_it_goes() {
    let (_server, client) = pair();
    let (done, outcome) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut channel = client.into_async().expect("a task");
        let closes = Waker::from(Arc::new(Closes(channel.session().clone())));
        for _ in 0..3 {
            assert!(channel.poll_ready(&mut Context::from_waker(&closes)).is_pending());
        }
        drop(closes);
        while channel.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending() {}
        done.send(()).expect("heard");
    });
    outcome.recv_timeout(PATIENCE).expect("not for ever: it waits for itself");
}

#[test]
fn a_task_outlives_its_runtime() {
    let (mut server, client) = pair();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut channel = {
        let _within = runtime.enter();
        client.into_tokio().expect("descriptors")
    };
    drop(runtime);
    let sending = thread::spawn(move || {
        for _ in 0..3 {
            thread::sleep(Duration::from_millis(20)); // so that the task waits
            server.send(b"news").expect("room");
        }
        server
    });
    on_any(async move {
        for _ in 0..3 {
            assert_eq!(&*channel.recv().await.expect("news"), b"news");
        }
    });
    drop(sending.join().expect("no panic"));
}

#[test]
fn tasks_meet_at_a_listener() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener = Listener::bind(&path).expect("binds");
    on_tokio(async {
        let mut waiting = listener.tokio().expect("descriptors");
        let serving = async {
            let mut channels = Vec::new();
            for number in 0..20_u64 {
                let incoming = waiting.accept().await.expect("listens");
                let channel = incoming.open::<Bytes>().expect("opens");
                let mut channel = channel.into_tokio().expect("descriptors");
                channel.send(&number.to_le_bytes()).await.expect("sent");
                channels.push(channel);
            }
            channels
        };
        let connector = Connector::new();
        let client = || async {
            let mut channel = connector.connect_tokio::<Bytes>(&path).await.expect("connects");
            number(&channel.recv().await.expect("a number"))
        };
        let clients = futures_util::future::join_all((0..20).map(|_| client()));
        let (_channels, mut numbers) = tokio::join!(serving, clients);
        numbers.sort_unstable();
        assert_eq!(numbers, (0..20).collect::<Vec<_>>());
        listener.shut_down();
        assert!(waiting.accept().await.is_err());
    });
}

#[test]
fn ends_reach_tasks() {
    // The peer closes, or this side does in a thread.
    let (server, client) = pair();
    let mut client = client.into_async().expect("a task");
    let session = client.session().clone();
    let closing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20)); // so that the task waits
        session.close();
    });
    let ended = on_any(async move { client.recv().await.map(drop) });
    assert!(matches!(ended, Err(RecvError::Ended(End::Local))), "{ended:?}");
    closing.join().expect("closed");
    drop(server);
    on_tokio(async {
        let (server, client) = pair();
        let mut client = client.into_tokio().expect("descriptors");
        let closing = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(server);
        };
        let (ended, ()) = tokio::join!(client.recv(), closing);
        assert!(matches!(ended, Err(RecvError::Ended(End::Closed))));
        // The first may not know it yet.
        let sent = [client.send(b"to nobody").await, client.send(b"to nobody").await];
        assert!(matches!(sent, [_, Err(SendError::Ended(End::Closed))]), "{sent:?}");
    });
}

#[test]
fn ready_and_then_a_plain_receive_takes_no_copy() {
    on_tokio(async {
        let (mut server, client) = pair();
        let mut client = client.into_tokio().expect("descriptors");
        let waiting = async {
            poll_fn(|context| client.poll_ready(context)).await;
            assert_eq!(&*client.try_recv().expect("it is there"), b"news");
            assert!(matches!(client.try_recv(), Err(TryRecvError::Empty)));
        };
        let sending = async {
            tokio::task::yield_now().await;
            server.send(b"news").expect("sent");
        };
        tokio::join!(waiting, sending);
    });
}
