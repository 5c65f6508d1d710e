//! Servers at an address: many clients, who may do what, and shutting down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use memring::rpc::{Call, CallError, OpenError, Serve, Server, Serving, connect};
use memring::{Listener, Policy};

use super::support::{PATIENCE, Scratch, eventually};

#[memring::interface(name = "desk", version = "1")]
trait Desk {
    fn who() -> (Option<u32>, String);
    fn slow(ms: u64) -> u64;
    fn long(bytes: u32) -> Vec<u8>;
    fn forbidden();
}

#[derive(Clone, Default)]
struct AtDesk(Arc<AtomicU32>);

impl DeskServer for AtDesk {
    fn who(&self, call: &Call<'_>) -> (Option<u32>, String) {
        (
            call.peer().pid(),
            format!("{} calls {} of {}", call.peer_name(), call.method(), call.interface()),
        )
    }

    fn slow(&self, _: &Call<'_>, ms: u64) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(ms));
        ms
    }

    fn long(&self, _: &Call<'_>, bytes: u32) -> Vec<u8> {
        self.0.fetch_add(1, Ordering::Relaxed);
        vec![7; bytes as usize]
    }

    fn forbidden(&self, _: &Call<'_>) {
        unreachable!("nobody may");
    }
}

fn serving(scratch: &Scratch, serve: impl FnOnce(Serve) -> Serve) -> (Arc<Serving>, AtDesk) {
    let desk = AtDesk::default();
    let serve = serve(Desk::serve(desk.clone()));
    let server = Server::new().serve(serve).listener(Listener::builder().name("desk"));
    let server = Arc::new(server.bind(scratch.socket()).expect("a place to listen at"));
    let running = Arc::clone(&server);
    thread::spawn(move || running.run().expect("it goes on until it is shut down"));
    (server, desk)
}

#[test]
fn a_blocked_handler_keeps_nobody_else_waiting_and_handlers_know_who_calls() {
    let scratch = Scratch::new();
    let (server, desk) = serving(&scratch, |serve| serve);
    let [one, two] = [(); 2].map(|()| DeskClient::connect(scratch.socket()).expect("it is served"));
    let blocked = thread::spawn(move || one.slow(300));
    eventually("it runs", || desk.0.load(Ordering::Relaxed) == 1);
    let (pid, said) = two.who().expect("an answer");
    assert_eq!(pid, Some(std::process::id()));
    assert!(said.ends_with(" calls who of desk 1"), "{said}");
    assert!(!blocked.is_finished(), "the first waits still");
    assert_eq!(blocked.join().expect("no panic").expect("an answer"), 300);
    server.shut_down(PATIENCE);
}

#[test]
fn policies_stand_on_interfaces_and_on_methods() {
    let scratch = Scratch::new();
    let (server, _) = serving(&scratch, |serve| serve.method("forbidden", Policy::nobody()));
    let client = DeskClient::connect(scratch.socket()).expect("it is served");
    assert!(matches!(client.forbidden(), Err(CallError::Denied { method: "forbidden" })));
    client.who().expect("the others work");
    server.shut_down(PATIENCE);
    let scratch = Scratch::new();
    let (server, _) = serving(&scratch, |serve| serve.policy(Policy::nobody()));
    let link = connect(scratch.socket()).expect("the session may be");
    assert!(matches!(link.open::<DeskClient>(), Err(OpenError::Denied { name: "desk" })));
    server.shut_down(PATIENCE);
}

#[test]
fn shutting_down_finishes_what_runs_and_refuses_what_comes() {
    let scratch = Scratch::new();
    let (server, desk) = serving(&scratch, |serve| serve);
    let client = DeskClient::connect(scratch.socket()).expect("it is served");
    let running = client.clone();
    let running = thread::spawn(move || running.slow(300));
    eventually("it runs", || desk.0.load(Ordering::Relaxed) == 1);
    let late = client.clone();
    let late = thread::spawn(move || late.slow(1));
    let began = Arc::clone(&server);
    let down = thread::spawn(move || began.shut_down(PATIENCE));
    assert_eq!(running.join().expect("no panic").expect("it is finished"), 300);
    let late = late.join().expect("no panic");
    assert!(
        matches!(late, Err(CallError::ShuttingDown | CallError::Ended(_)) | Ok(1)),
        "refused, unless it was begun before or came too late for that: {late:?}"
    );
    down.join().expect("no panic");
    assert!(matches!(client.who(), Err(CallError::Ended(_) | CallError::ShuttingDown)));
    assert!(DeskClient::connect(scratch.socket()).is_err(), "nobody listens");
}

#[test]
fn shutting_down_waits_for_answers_that_wait_for_room() {
    let scratch = Scratch::new();
    let (server, desk) = serving(&scratch, |serve| serve);
    let client: DeskAsyncClient =
        connect(scratch.socket()).expect("it listens").open().expect("it is served");
    let long = client.long(900_000);
    eventually("it runs", || desk.0.load(Ordering::Relaxed) == 1);
    let down = thread::spawn(move || server.shut_down(PATIENCE));
    // Time enough to find that nothing runs, where that is all that is waited for.
    thread::sleep(Duration::from_millis(100));
    assert_eq!(long.wait().expect("an answer").len(), 900_000);
    down.join().expect("no panic");
}
