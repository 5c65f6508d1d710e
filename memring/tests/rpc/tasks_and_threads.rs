//! Threads, tasks and runtimes in one session: whoever waits, and wherever, hears of what it waits for.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join;
use memring::End;
use memring::rpc::{
    AsyncService, Call, CallError, Calls, Client, Interface, Link, Options, Serve, TaskRequest,
    Work,
};

use super::acts::*;
use super::raw::{call, kind, packet, recv, send};
use super::support::{PATIENCE, eventually};

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

#[memring::interface(name = "log", version = "1")]
trait Log {
    #[oneway]
    fn log(number: u64);
}

#[derive(Clone, Default)]
struct Logs(Arc<AtomicU64>);

impl LogServer for Logs {
    fn log(&self, _: &Call<'_>, number: u64) {
        self.0.fetch_add(number, Relaxed);
    }
}

impl LogAsyncServer for Logs {
    async fn log(&self, _: &Call<'_>, number: u64) {
        yield_now().await;
        self.0.fetch_add(number, Relaxed);
    }
}

#[test]
fn what_was_told_before_the_session_ended_is_done() {
    const MOST: u64 = 300;
    let tell = |serves: Serve, serve: &dyn Fn(Link) -> thread::JoinHandle<End>| {
        let (server, client) = memring::pair::<Calls>().expect("a pair");
        let served = serve(Link::serving(server, [serves]));
        let log: LogClient = Link::over(client).open().expect("it is served");
        (1..=MOST).for_each(|number| log.log(number).expect("room"));
        drop(log);
        in_time(move || served.join().expect("no panic"));
    };
    let threads = |link: Link| {
        let others = [(); 2].map(|()| link.clone());
        thread::spawn(move || {
            let others = others.map(|link| thread::spawn(move || link.run()));
            let end = link.run();
            others.into_iter().for_each(|other| drop(other.join().expect("no panic")));
            end
        })
    };
    for way in std::iter::once(None).chain(WAYS.map(Some)) {
        for in_tasks in [false, true] {
            let logs = Logs::default();
            let serves =
                if in_tasks { Log::serve_async(logs.clone()) } else { Log::serve(logs.clone()) };
            match way {
                Some(way) => tell(serves, &|link| serve(way, link)),
                None => tell(serves, &threads),
            }
            let done = logs.0.load(Relaxed);
            assert_eq!(done, MOST * (MOST + 1) / 2, "{way:?}, handlers in tasks: {in_tasks}");
        }
    }
}
