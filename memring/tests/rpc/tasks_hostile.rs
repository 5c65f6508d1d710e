//! Calls in tasks, where somebody misbehaves: a peer that does not read, a handler that panics, a future that is dropped or not
//! polled.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use memring::hub::{Event, Hub};
use memring::rpc::fuzzing::{Raw, left};
use memring::rpc::{
    AsyncService, Call, CallError, Calls, Cancel, Client, Interface, Link, Options, Replies,
    ReplyError, Serve, TaskRequest, Work,
};
use memring::{Connector, Lanes};
use tokio::sync::Semaphore;

use super::acts::*;
use super::raw::{call, kind, open, opened, packet, recv, send};
use super::support::{PATIENCE, eventually, soon};

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
        send(&mut raw, &open("acts"), 1);
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
                    1 => (open("acts"), turn),
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

#[memring::interface(name = "crowd", version = "1")]
trait Crowd {
    #[oneway]
    fn stays();
}

/// How many have begun, and what they wait for.
#[derive(Clone)]
struct Staying(Arc<AtomicU64>, Arc<Semaphore>);

impl CrowdAsyncServer for Staying {
    async fn stays(&self, _: &Call<'_>) {
        self.0.fetch_add(1, Relaxed);
        let _closed = self.1.acquire().await;
    }
}

#[test]
fn no_more_calls_run_as_tasks_than_may_though_nobody_waits_for_an_answer() {
    const MAY: u64 = 1024;
    let stays = Staying(Arc::default(), Arc::new(Semaphore::new(0)));
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [Crowd::serve_async(stays.clone())]);
    let served = serve(Way::Tokio(0), server);
    let mut raw = Raw::over(client);
    send(&mut raw, &open("crowd"), 1);
    (0..2 * MAY).for_each(|_| send(&mut raw, &packet(5, 0, 0, 0, &[]), 0));
    eventually("they run", || stays.0.load(Relaxed) >= MAY);
    // Others wait, and what comes behind is read all the same.
    send(&mut raw, &open("crowd"), 2);
    assert_eq!([recv(&mut raw), recv(&mut raw)].map(|opened| opened.tag), [1, 2]);
    assert_eq!(stays.0.load(Relaxed), MAY);
    drop(raw);
    stays.1.close();
    served.join().expect("no panic");
    assert_eq!(stays.0.load(Relaxed), 2 * MAY, "what was told is done");
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
            send(&mut raw, &open("acts"), 1);
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
    let woken = hub.wait(Some(soon())).expect("a wait");
    assert!(matches!(woken, Some(Event::Woken)), "{woken:?}");
    asking.join().expect("no panic");
    drop((hub, stuck));
}

/// A client, whose server is raw, and has opened the interface as if it were the same.
fn raw_server<C: Client + Send + 'static>() -> (Raw, C) {
    let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
    let (server, client) = lanes.pair::<Calls>().expect("a pair");
    let mut raw = Raw::over(server);
    let opening = thread::spawn(move || pollster::block_on(Link::over(client).open_async::<C>()));
    opened::<C>(&mut raw);
    (raw, opening.join().expect("no panic").expect("opened"))
}

#[test]
fn a_server_that_sends_replies_and_reads_no_credit_is_left() {
    let (mut raw, acts) = raw_server::<ActsAsyncClient>();
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
fn what_waits_for_room_in_a_thread_ends_when_it_is_cancelled() {
    #[memring::interface(name = "takes", version = "1")]
    trait Takes {
        fn length(of: &[u8]) -> u64;
        #[oneway]
        fn take(of: &[u8]);
        fn parts(of: &[u8]) -> Stream<u64>;
    }
    const LONG: &[u8] = &[1; 100_000];
    type Waits = fn(&TakesClient) -> Result<(), CallError>;
    let ways: [Waits; 3] = [
        |takes| takes.length(LONG).map(drop),
        |takes| takes.take(LONG),
        |takes| takes.parts(LONG)?.recv().map(drop),
    ];
    for waits in ways {
        let (raw, takes) = raw_server::<TakesClient>();
        let cancel = Cancel::new();
        let canceller = cancel.clone();
        let (ends, link) = (takes.with(Options::new().cancel(&cancel)), takes.link());
        let first = takes.with(Options::new().cancel(&cancel));
        let sending = thread::spawn(move || first.length(LONG));
        eventually("a part of it has room", || left(&link) != 0);
        // Somebody else waits for the half that the first has, or will.
        let behind = thread::spawn(move || waits(&ends));
        canceller.cancel();
        let ended = in_time(move || (sending.join(), behind.join()));
        assert!(matches!(ended, (Ok(Err(CallError::Cancelled)), Ok(Err(CallError::Cancelled)))));
        assert_eq!(left(&link), 0, "questions under way");
        drop(raw);
    }
}

#[test]
fn a_question_that_a_thread_gives_up_half_sent_is_under_way_no_more() {
    #[memring::interface(name = "takes", version = "1")]
    trait Takes {
        fn length(of: &[u8]) -> u64;
    }
    let (raw, takes) = raw_server::<TakesAsyncClient>();
    let soon = takes.with(Options::new().timeout(Duration::from_millis(300)));
    let mut asking = soon.length(&[1; 100_000]);
    let polled = Pin::new(&mut asking).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending(), "a part of it has room");
    assert!(matches!(asking.wait(), Err(CallError::DeadlinePassed)));
    assert_eq!(left(&takes.link()), 0, "questions under way");
    drop(raw);
}

#[test]
fn answers_to_questions_that_were_begun_count_once_and_in_any_order() {
    let done = || packet(6, 0, 0, 0, &[]);
    for (rule, packets) in [
        ("was not made", vec![(done(), 0)]),
        ("was not made", vec![(done(), 2 + 128)]),
        ("was not made", vec![(done(), 2 + (1 << 32))]),
        ("was not made", vec![(done(), 4)]),
        ("that was answered", vec![(done(), 3), (done(), 3)]),
        ("of the wrong kind", vec![(packet(10, 0, 0, 0, &[]), 3)]),
    ] {
        let (mut raw, acts) = raw_server::<ActsAsyncClient>();
        let asking = [acts.shout(), acts.shout()];
        assert_eq!([recv(&mut raw).tag, recv(&mut raw).tag], [2, 3]);
        packets.iter().for_each(|(packet, tag)| send(&mut raw, packet, *tag));
        let [first, _second] = asking;
        match in_time(|| first.wait()) {
            Err(CallError::Ended(end)) => assert!(end.to_string().contains(rule), "{rule}: {end}"),
            other => panic!("{rule}: {other:?}"),
        }
    }
    let (mut raw, acts) = raw_server::<ActsAsyncClient>();
    let asking = [acts.shout(), acts.shout(), acts.shout()];
    for tag in [4, 2, 3] {
        send(&mut raw, &done(), tag);
    }
    for one in asking {
        in_time(|| one.wait()).expect("an answer");
    }
    assert_eq!(left(&acts.link()), 0, "questions under way");
}
