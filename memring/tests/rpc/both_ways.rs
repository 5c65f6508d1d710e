//! Both sides serve: handlers that call back, while calls of either side are under way.

use std::sync::{Mutex, mpsc};
use std::thread;

use memring::rpc::{
    Call, CallError, Calls, Client, Interface, Link, Never, NoError, Plainly, Request, Serve,
    Service,
};
use memring::{Connector, Lanes};

use super::acts::{Caller, CallerClient, Says, in_time};
use super::support::PATIENCE;

#[memring::interface(name = "parent", version = "1")]
trait Parent {
    /// Asks the child for as many halves as it takes.
    fn halve(number: u64) -> Result<u64, String>;
    fn echo(bytes: &[u8]) -> Vec<u8>;
}

#[memring::interface(name = "child", version = "1")]
trait Child {
    fn half(number: u64) -> u64;
    fn echo(bytes: &[u8]) -> Vec<u8>;
}

struct Parenting;

impl ParentServer for Parenting {
    fn halve(&self, call: &Call<'_>, number: u64) -> Result<u64, String> {
        let child: ChildClient = call.link().open().map_err(|error| error.to_string())?;
        let mut number = number;
        while number > 1 {
            number = child.half(number).map_err(|error| error.to_string())?;
        }
        Ok(number)
    }

    fn echo(&self, _: &Call<'_>, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }
}

#[derive(Default)]
struct Childish(Mutex<u32>);

impl ChildServer for Childish {
    fn half(&self, call: &Call<'_>, number: u64) -> u64 {
        *self.0.lock().unwrap() += 1;
        // Back again, in the midst of it.
        let parent: ParentClient = call.link().open().expect("it is served");
        assert_eq!(parent.echo(&[1, 2, 3]).expect("an answer"), [1, 2, 3]);
        number / 2
    }

    fn echo(&self, _: &Call<'_>, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }
}

/// Both ends, each with so many threads that serve.
fn family(threads: usize, lanes: Lanes) -> (Link, Link) {
    let connector = Connector::new().lanes(lanes, lanes);
    let (parent, child) = connector.pair::<Calls>().expect("a pair");
    let parent = Link::serving(parent, [Parent::serve(Parenting)]);
    let child = Link::serving(child, [Child::serve(Childish::default())]);
    for link in [&parent, &child] {
        for _ in 0..threads {
            let link = link.clone();
            thread::spawn(move || link.run());
        }
    }
    (parent, child)
}

#[test]
fn a_handler_calls_its_caller_who_calls_back() {
    for threads in [2, 4] {
        let (_parent, child) = family(threads, Lanes::Normal);
        let client: ParentClient = child.open().expect("it is served");
        assert_eq!(client.halve(1 << 20).expect("an answer"), 1);
    }
}

#[test]
fn both_sides_call_at_once_with_more_than_the_lanes_hold() {
    let (parent, child) = family(2, Lanes::Bytes(4096));
    let to_parent: ParentClient = child.open().expect("it is served");
    let to_child: ChildClient = parent.open().expect("it is served");
    let bytes = vec![7; 50_000];
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(to_parent.echo(&bytes).expect("an answer"), bytes);
                }
            });
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(to_child.echo(&bytes).expect("an answer"), bytes);
                }
            });
        }
    });
}

#[test]
fn a_side_that_serves_nothing_says_so() {
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [Parent::serve(Parenting)]);
    thread::spawn(move || server.run());
    let link = Link::over(client);
    let client: ParentClient = link.open().expect("it is served");
    match client.halve(2) {
        Err(CallError::Failed(why)) => {
            assert!(why.starts_with("the peer serves no interface `child`"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_that_calls_its_caller_after_it_has_answered_waits_for_nobody() {
    #[memring::message]
    struct Nothing;

    struct CallsAfterwards(mpsc::SyncSender<u64>);
    impl Service for CallsAfterwards {
        fn interface(&self) -> &'static Interface {
            CallerClient::interface()
        }

        fn call(&self, _: u32, request: Request<'_>) {
            let mut link = None;
            request.answer::<Nothing, u64, Plainly, Never, NoError>(|call, _| {
                link = Some(call.link());
                Ok(Ok(1))
            });
            let caller: CallerClient = link.expect("it ran").open().expect("it is served");
            self.0.send(caller.say().expect("an answer")).expect("the test waits");
        }
    }
    let (called, said) = mpsc::sync_channel(1);
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [Serve::new(CallsAfterwards(called))]);
    let client = Link::serving(client, [Caller::serve(Says)]);
    let serving = thread::spawn(move || server.run());
    in_time(move || {
        let other = client.clone();
        let running = thread::spawn(move || other.run());
        let caller: CallerClient = client.open().expect("it is served");
        assert_eq!(caller.say().expect("an answer"), 1);
        assert_eq!(said.recv_timeout(PATIENCE).expect("it called back"), 42);
        client.close();
        running.join().expect("no panic");
    });
    serving.join().expect("no panic");
}
