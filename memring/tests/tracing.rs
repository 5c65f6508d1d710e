//! What a subscriber hears, with the feature `tracing`: of sessions, of peers that are turned away, of sleeps.

#![cfg(feature = "tracing")]

mod support;

use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use memring::{Bytes, Connector, Listener, Policy, Protocol, Wait};
use support::{Helper, Scratch, alone, eventually, play, soon};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

#[test]
fn role() {
    play(&[("client", support::strangers::client)]);
}

/// Writes events down as `LEVEL target message field=value`.
struct Ear;

static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("memring::")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        let Line { message, fields } = line;
        let line = format!("{} {} {message}{fields}", metadata.level(), metadata.target());
        HEARD.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push_str(&format!(" {name}={value:?}")),
        }
    }
}

/// A line of this level and target that has all of these, and how often there is one.
fn count(level: Level, target: &str, parts: &[&str]) -> usize {
    let begins = format!("{level} memring::{target} ");
    let heard = HEARD.lock().unwrap();
    let fits =
        |line: &&String| line.starts_with(&begins) && parts.iter().all(|part| line.contains(part));
    heard.iter().filter(fits).count()
}

#[track_caller]
fn once(level: Level, target: &str, parts: &[&str]) {
    let begins = Instant::now();
    while count(level, target, parts) == 0 && begins.elapsed() < support::PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
    let times = count(level, target, parts);
    assert_eq!(times, 1, "{level} {target} {parts:?} in {:#?}", HEARD.lock().unwrap());
}

struct Other;
impl Protocol for Other {
    const NAME: &'static str = "another";
    type ToClient = [u8];
    type ToServer = [u8];
}

#[test]
fn sessions_tell_of_their_beginning_and_once_of_their_end() {
    if !alone("sessions_tell_of_their_beginning_and_once_of_their_end") {
        return;
    }
    tracing::subscriber::set_global_default(Ear).expect("the first");
    // Two ends in this process, of which one goes first.
    let (server, client) = Connector::new().name("me").pair::<Bytes>().expect("a pair");
    assert_eq!(count(Level::DEBUG, "session", &["opened", "name=\"me\""]), 2);
    drop(client);
    once(Level::DEBUG, "session", &["ended by this side"]);
    once(Level::DEBUG, "session", &["ended by the peer"]);
    drop(server);

    // A rule that is broken, as if the peer had.
    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    server.session().life().fail(memring::Rule::Parts);
    once(Level::WARN, "session", &["ended by a fault", "rule=\"lane.parts\""]);
    drop((server, client));

    // Another process that dies.
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener = Listener::bind(&path).expect("binds");
    let helper = Helper::start("client", &[("path", &path.display())]);
    let mut channel =
        listener.accept_deadline(soon()).expect("accepts").open::<Bytes>().expect("opens");
    channel.recv_deadline(soon()).expect("hello");
    let pid = format!("pid {} ", helper.pid());
    once(Level::DEBUG, "session", &["opened", &pid]);
    helper.kill();
    once(Level::INFO, "session", &["ended: the peer died", &pid]);
    drop(channel);
    let ends =
        count(Level::INFO, "session", &["ended"]) + count(Level::WARN, "session", &["ended"]);
    assert!(ends >= 2);
    once(Level::INFO, "session", &["ended: the peer died", &pid]);
}

#[test]
fn listeners_tell_whom_they_turn_away_and_why() {
    if !alone("listeners_tell_whom_they_turn_away_and_why") {
        return;
    }
    tracing::subscriber::set_global_default(Ear).expect("the first");
    let scratch = Scratch::new();
    let path = scratch.socket();
    let me = format!("pid {} ", std::process::id());
    let connect = |path: &std::path::Path| {
        let path = path.to_owned();
        std::thread::spawn(move || drop(memring::connect::<Bytes>(path)))
    };
    let moment = || Instant::now() + Duration::from_millis(10);

    // By the policy.
    let listener =
        Listener::builder().policy(Policy::same_uid().check(|_| false)).bind(&path).expect("binds");
    let connecting = connect(&path);
    eventually("it is turned away", || {
        assert!(listener.accept_deadline(moment()).is_err());
        listener.turned().denied == 1
    });
    connecting.join().unwrap();
    once(Level::INFO, "listener", &["turned away", "the policy does not admit it", &me]);
    once(Level::INFO, "session", &["not connected", "does not admit your process"]);
    drop(listener);

    // By the application, and for meaning something else.
    let listener = Listener::bind(&path).expect("binds");
    let connecting = connect(&path);
    listener.accept_deadline(soon()).expect("accepts").refuse("not today");
    connecting.join().unwrap();
    once(Level::INFO, "listener", &["turned away", "not today"]);
    let connecting = connect(&path);
    let incoming = listener.accept_deadline(soon()).expect("accepts");
    assert!(incoming.open::<Other>().is_err());
    connecting.join().unwrap();
    once(Level::INFO, "listener", &["turned away", "another"]);

    // For a handshake that is none.
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let socket = || {
        let kind = rustix::net::SocketType::SEQPACKET;
        rustix::net::socket_with(rustix::net::AddressFamily::UNIX, kind, flags, None).unwrap()
    };
    let address = rustix::net::SocketAddrUnix::new(&path).unwrap();
    let (liar, late) = (socket(), socket());
    rustix::net::connect(&liar, &address).unwrap();
    rustix::net::send(&liar, b"hello?", rustix::net::SendFlags::NOSIGNAL).unwrap();
    eventually("it is turned away", || {
        assert!(listener.accept_deadline(moment()).is_err());
        listener.turned().faults == 1
    });
    once(Level::WARN, "listener", &["broke the handshake", &me]);

    // And when there are no descriptors for anybody.
    rustix::net::connect(&late, &address).unwrap();
    let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let few = rustix::process::Rlimit { current: Some(3), ..before };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
    assert!(listener.accept_deadline(moment()).is_err());
    rustix::process::setrlimit(rustix::process::Resource::Nofile, before).unwrap();
    assert!(count(Level::WARN, "listener", &["paused"]) >= 1);
}

#[test]
fn sleeps_are_told_at_trace_level_and_messages_are_not() {
    if !alone("sleeps_are_told_at_trace_level_and_messages_are_not") {
        return;
    }
    tracing::subscriber::set_global_default(Ear).expect("the first");
    let (mut server, mut client) =
        Connector::new().wait(Wait::Park).pair::<Bytes>().expect("a pair");
    let before = HEARD.lock().unwrap().len();
    for _ in 0..100 {
        server.send(b"x").expect("sends");
        client.recv().expect("a message");
    }
    assert_eq!(HEARD.lock().unwrap().len(), before, "messages are nobody's business");
    let receiving = std::thread::spawn(move || client.recv().expect("a message").len());
    eventually("it sleeps", || count(Level::TRACE, "wait", &["sleeps", "receiver"]) > 0);
    server.send(b"x").expect("sends");
    receiving.join().unwrap();
    assert!(count(Level::TRACE, "wait", &["awake", "receiver"]) > 0);
}
