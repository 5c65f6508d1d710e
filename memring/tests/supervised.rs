//! Clients that come back: all of them, whatever becomes of the server; told once what was delivered; and nothing sent twice.

mod support;

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memring::hub::{Event, Hub};
use memring::supervised::{Failed, Lost};
use memring::{
    Bytes, ConnectError, Connector, Delivery, End, HandshakeError, Limits, Listener, Policy,
    Protocol, RecvError, ServerEnd, Supervised, TrySendError, cause,
};

use support::{Forked, Helper, Scratch, Stage, alone, eventually, play, soon};

#[test]
fn role() {
    play(&[
        ("serves", serves),
        ("crowd", crowd),
        ("reads some", reads_some),
        ("speaks and dies", speaks_and_dies),
    ]);
}

/// What a client sends: who it is, in which session, the how manieth of it, and whether it wants an answer.
#[memring::message]
struct Step {
    client: u64,
    session: u64,
    index: u64,
    answer: bool,
}

/// The number of the server that answers.
#[memring::message]
struct Served {
    server: u64,
}

struct Steps;

impl Protocol for Steps {
    const NAME: &'static str = "steps";
    type ToClient = Served;
    type ToServer = Step;
}

/// Reads what all clients send, writes down what it has read, and answers where that is wanted.
fn serves(stage: &Stage) {
    let listener = Listener::bind(stage.path()).expect("binds");
    let log = Arc::new(File::options().append(true).open(stage.get("log")).expect("a log"));
    let server = stage.number("server");
    stage.say("listening");
    loop {
        let mut channel = listener.accept().expect("accepts").open::<Steps>().expect("opens");
        let log = Arc::clone(&log);
        thread::spawn(move || {
            loop {
                let (client, session, index, answer) = match channel.recv() {
                    Ok(it) => (
                        it.client.to_native(),
                        it.session.to_native(),
                        it.index.to_native(),
                        it.answer,
                    ),
                    Err(_) => return,
                };
                let entry = [client, session, index].map(u64::to_le_bytes).concat();
                (&*log).write_all(&entry).expect("the log is written");
                if answer && channel.send(&Served { server }).is_err() {
                    return;
                }
            }
        });
    }
}

fn server(path: &Path, log: &Path, number: u64) -> Helper {
    File::create(log).expect("a log");
    let (path, log) = (path.display(), log.display());
    let helper = Helper::start("serves", &[("path", &path), ("log", &log), ("server", &number)]);
    helper.expect("listening");
    helper
}

/// `kill -9`, and until it is gone: the kernel may take its time over a process that had an inotify.
fn bury(mut server: Helper) {
    server.signal(libc::SIGKILL);
    server.child.wait().expect("its status");
}

/// A client's notes on one lost session.
type Report = (u64, u64, Delivery);

/// Sends and hears answers until it is to stop; `heard` is the last server that answered.
fn client(
    path: &Path,
    client: u64,
    heard: &AtomicU64,
    stop: &AtomicBool,
    mut report: impl FnMut(Report),
) {
    let mut supervised = Connector::new().supervised::<Steps>(path).expect("an address");
    let mut told = 0;
    let mut lost = |lost: Box<Lost>, sent: &mut u64| {
        assert_eq!(lost.session, told + 1, "each session is reported once");
        assert_eq!(lost.delivery.sent, *sent, "as many as were sent");
        assert!(matches!(lost.end, End::PeerDied(_)), "{lost}");
        told = lost.session;
        *sent = 0;
        report((client, lost.session, lost.delivery));
    };
    let mut sent = 0;
    let mut turn = client;
    'turns: while !stop.load(Ordering::Relaxed) {
        turn += 1;
        for nth in (0..turn % 8).rev() {
            let session = supervised.connect().expect("it comes back");
            let step = Step { client, session, index: sent, answer: nth == 0 };
            match supervised.send(&step) {
                Ok(()) => sent += 1,
                Err(Failed::Lost(it)) => {
                    lost(it, &mut sent);
                    continue 'turns;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        if turn.is_multiple_of(8) {
            continue;
        }
        match supervised.recv() {
            Ok(served) => heard.store(served.server.to_native(), Ordering::Relaxed),
            Err(Failed::Lost(it)) => lost(it, &mut sent),
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// A process with several clients. It says each report, and which server all of them have heard.
fn crowd(stage: &Stage) {
    let (first, count) = (stage.number("first"), stage.number("count"));
    let heard: Vec<_> = (0..count).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for (n, heard) in (first..).zip(&heard) {
            let stop = &stop;
            scope.spawn(move || {
                client(stage.path(), n, heard, stop, |(client, session, delivery)| {
                    let Delivery { sent, received, in_doubt, .. } = delivery;
                    stage.say(format!("{client} {session} {sent} {received} {in_doubt}"));
                });
            });
        }
        for server in 1.. {
            // However long the server is dead; the test is patient with the living.
            while !heard.iter().all(|heard| heard.load(Ordering::Relaxed) >= server) {
                thread::sleep(Duration::from_millis(1));
            }
            stage.say(format!("back {server}"));
            if stage.hear() == "stop" {
                stop.store(true, Ordering::Relaxed);
                break;
            }
        }
    });
    stage.say("stopped");
}

#[test]
fn all_clients_are_back_after_each_kill_told_what_was_delivered_and_nothing_comes_twice() {
    const KILLS: u64 = 4;
    let scratch = Scratch::new();
    let path = scratch.socket();
    let log = |server: u64| scratch.path().join(format!("log{server}"));
    let mut serving = server(&path, &log(1), 1);
    let shown = path.display();
    let mut crowds: Vec<_> = [(100, 12), (200, 6), (300, 6)]
        .map(|(first, count)| {
            Helper::start("crowd", &[("path", &shown), ("first", &first), ("count", &count)])
        })
        .into();
    let mut reports: Vec<(u64, u64, u64, u64, u64)> = Vec::new();
    let mut all_back = |crowds: &mut Vec<Helper>, server: u64| {
        for crowd in crowds {
            loop {
                let line = crowd.hear();
                if line == format!("back {server}") {
                    break;
                }
                let numbers: Vec<u64> =
                    line.split(' ').map(|number| number.parse().expect("a number")).collect();
                let [client, session, sent, received, in_doubt] = numbers[..] else {
                    panic!("{line}");
                };
                reports.push((client, session, sent, received, in_doubt));
            }
        }
    };
    all_back(&mut crowds, 1);
    for killed in 1..=KILLS {
        for crowd in &mut crowds {
            crowd.tell("go on");
        }
        bury(serving); // in whatever they all do
        serving = server(&path, &log(killed + 1), killed + 1);
        all_back(&mut crowds, killed + 1);
    }
    for crowd in &mut crowds {
        crowd.tell("stop");
        crowd.expect("stopped");
        crowd.finish();
    }
    drop(serving);

    // What each server has read of each session: in order, from the first on, and none twice.
    let mut read: HashMap<(u64, u64), (u64, u64)> = HashMap::new();
    for server in 1..=KILLS + 1 {
        let mut bytes = Vec::new();
        File::open(log(server)).expect("a log").read_to_end(&mut bytes).expect("it is read");
        // A kill may have torn the last entry.
        for entry in bytes.chunks_exact(24) {
            let word = |at: usize| u64::from_le_bytes(*entry[at..].first_chunk().expect("8 bytes"));
            let (by, count) = read.entry((word(0), word(8))).or_insert((server, 0));
            assert_eq!((*by, *count), (server, word(16)), "in order, and once");
            *count += 1;
        }
    }
    let clients = 24;
    assert_eq!(reports.len() as u64, clients * KILLS, "one for each session that was lost");
    for (client, session, sent, received, in_doubt) in reports {
        let (_, read) = read.get(&(client, session)).copied().unwrap_or_default();
        let told =
            format!("{client} {session}: read {read} of {received} + {in_doubt}, {sent} sent");
        // One that was taken from the lane when the kill came was not written down.
        assert!(received <= read + 1, "{told}");
        assert!(read <= received + in_doubt, "{told}");
        assert_eq!(received + in_doubt, sent, "{told}");
    }
}

/// Reads so many, says so, and stays.
fn reads_some(stage: &Stage) {
    let listener = Listener::bind(stage.path()).expect("binds");
    stage.say("listening");
    let channel = listener.accept().expect("accepts").open::<Bytes>().expect("opens");
    let (_tx, mut rx) = channel.split();
    for _ in 0..stage.number("count") {
        rx.recv().expect("a message");
    }
    rx.release();
    stage.say("read");
    stage.linger();
}

/// What the next receive finds out: that the session was lost.
#[track_caller]
fn eventually_lost(client: &mut Supervised<Bytes>) -> Box<Lost> {
    match client.recv_deadline(soon()).map(|_| ()) {
        Err(Failed::Lost(lost)) => lost,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(lost: &Lost, session: u64, sent: u64, received: u64, in_doubt: u64) {
    let Delivery { sent: was_sent, received: was_received, in_doubt: was_in_doubt, .. } =
        lost.delivery;
    assert_eq!(
        (lost.session, was_sent, was_received, was_in_doubt),
        (session, sent, received, in_doubt),
        "{lost}"
    );
}

#[test]
fn a_report_is_exact_where_the_server_stood_still() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let mut client = Connector::new().supervised::<Bytes>(&path).expect("an address");
    for (session, read) in [(1, 0), (2, 3), (3, 10)] {
        let shown = path.display();
        let helper = Helper::start("reads some", &[("path", &shown), ("count", &read)]);
        helper.expect("listening");
        for number in 0..10_u64 {
            client.send_deadline(&number.to_le_bytes(), soon()).expect("sends");
        }
        helper.expect("read");
        assert_eq!(client.session(), Some(session));
        bury(helper);
        let lost = eventually_lost(&mut client);
        check(&lost, session, 10, read, 10 - read);
        assert_eq!(client.session(), None);
        assert_eq!(
            std::io::Error::from(Failed::<RecvError>::Lost(lost)).kind(),
            std::io::ErrorKind::ConnectionReset
        );
    }
}

fn speaks_and_dies(stage: &Stage) {
    let listener = Listener::bind(stage.path()).expect("binds");
    stage.say("listening");
    let mut channel = listener.accept().expect("accepts").open::<Bytes>().expect("opens");
    for word in [b"one", b"two"] {
        channel.send(word).expect("sends");
    }
    stage.say("spoken");
    stage.linger();
}

#[test]
fn what_had_come_is_received_before_the_report_and_after_a_send_told_it() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let shown = path.display();
    for sends in [false, true] {
        let mut client = Connector::new().supervised::<Bytes>(&path).expect("an address");
        let helper = Helper::start("speaks and dies", &[("path", &shown)]);
        helper.expect("listening");
        assert_eq!(client.connect_deadline(soon()).expect("connects"), 1);
        helper.expect("spoken");
        bury(helper);
        if sends {
            let mut sent = 0;
            let lost = loop {
                match client.try_send(b"?") {
                    Ok(()) => sent += 1,
                    Err(Failed::Call(TrySendError::Full)) => {}
                    Err(Failed::Lost(lost)) => break lost,
                    Err(other) => panic!("{other:?}"),
                }
            };
            check(&lost, 1, sent, 0, sent);
            assert!(matches!(client.try_recv().map(|_| ()), Err(Failed::Away(None))));
            let rest = client.rest().expect("of the session that was lost");
            assert_eq!(&*rest.recv().expect("it had come"), b"one");
            assert_eq!(&*rest.recv().expect("it had come"), b"two");
            assert!(matches!(rest.recv().map(|_| ()), Err(RecvError::Ended(End::PeerDied(_)))));
        } else {
            assert_eq!(&*client.recv_deadline(soon()).expect("it had come"), b"one");
            assert_eq!(&*client.recv_owned_deadline(soon()).expect("it had come"), b"two");
            check(&eventually_lost(&mut client), 1, 0, 0, 0);
        }
    }
}

/// What stands in the way of a session, by a call that has a deadline; which it waits for.
fn away<T: std::fmt::Debug, E: std::fmt::Debug>(
    mut call: impl FnMut(Instant) -> Result<T, Failed<E>>,
) -> ConnectError {
    loop {
        let deadline = Instant::now() + Duration::from_millis(20);
        match call(deadline) {
            Err(Failed::Away(met)) => {
                assert!(Instant::now() >= deadline, "it waits");
                if let Some(met) = met {
                    return *met;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The next client's end, of a listener in this process.
#[track_caller]
fn accept(listener: &Listener) -> ServerEnd<Bytes> {
    listener.accept_deadline(soon()).expect("somebody comes").open::<Bytes>().expect("opens")
}

/// Connects to a listener in this process.
#[track_caller]
fn meet(client: &mut Supervised<Bytes>, listener: &Listener) -> ServerEnd<Bytes> {
    thread::scope(|scope| {
        let accepting = scope.spawn(|| accept(listener));
        client.connect_deadline(soon()).expect("connects");
        accepting.join().expect("accepts")
    })
}

#[test]
fn a_server_that_closes_in_order_is_come_back_to_and_no_report_comes_twice() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut client = Connector::new().supervised::<Bytes>(scratch.socket()).expect("an address");
    for session in 1..=3 {
        let mut server = meet(&mut client, &listener);
        assert_eq!(client.session(), Some(session));
        client.send(b"a word").expect("sends");
        assert_eq!(&*server.recv().expect("a word"), b"a word");
        client.send(b"another").expect("sends");
        server.send(b"goodbye").expect("sends");
        drop(server);
        assert_eq!(&*client.recv().expect("it came before the end"), b"goodbye");
        let lost = eventually_lost(&mut client);
        check(&lost, session, 2, 1, 1);
        assert!(matches!(lost.end, End::Closed), "{lost}");
        // It was told: what follows knows of no session.
        for _ in 0..2 {
            assert!(matches!(client.try_send(b"?"), Err(Failed::Away(None))));
            assert!(matches!(client.try_recv().map(|_| ()), Err(Failed::Away(None))));
        }
        assert!(client.channel().is_none());
    }
}

#[test]
fn this_side_may_cut_a_session_and_comes_back_too() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut client = Connector::new().supervised::<Bytes>(scratch.socket()).expect("an address");
    let _server = meet(&mut client, &listener);
    client.channel().expect("a session").session().close();
    let lost = eventually_lost(&mut client);
    assert!(matches!(lost.end, End::Local), "{lost}");
    let _server = meet(&mut client, &listener);
    assert_eq!(client.session(), Some(2));
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for_until_the_deadline() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let mut client = Connector::new().supervised::<Bytes>(&path).expect("an address");
    assert_eq!(client.session(), None);
    assert!(client.next_attempt().is_some_and(|due| due <= Instant::now()));
    assert!(matches!(client.try_send(b"?"), Err(Failed::Away(None))));
    assert!(matches!(client.try_recv().map(|_| ()), Err(Failed::Away(None))));
    let met = away(|deadline| client.send_deadline(b"?", deadline));
    let absent = matches!(
        met,
        ConnectError::Connect(cause::ConnectError::Unreachable(cause::ConnectProblem::NotThere(_)))
    );
    assert!(absent, "{met}");
    let error = Failed::<RecvError>::Away(Some(Box::new(met)));
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
    away(|deadline| client.recv_deadline(deadline).map(|_| ()));
    // An attempt is made when it is due, and not before.
    let mut attempts = 0;
    eventually("attempts are due", || {
        let due = client.next_attempt().expect("there is no session");
        let before = Instant::now();
        match client.try_connect() {
            Err(Failed::Away(None)) => assert!(before < due, "one was due"),
            Err(Failed::Away(Some(_))) => {
                assert!(Instant::now() >= due, "none was due");
                attempts += 1;
            }
            other => panic!("{other:?}"),
        }
        attempts == 2
    });

    let starting = thread::spawn(move || {
        let listener = Listener::bind(&path).expect("binds");
        let mut server = accept(&listener);
        assert_eq!(&*server.recv_deadline(soon()).expect("a message"), b"at last");
    });
    client.send(b"at last").expect("it came about");
    starting.join().expect("served");
}

#[test]
fn a_server_that_never_answers_holds_nobody_past_a_deadline_or_the_timeout() {
    let scratch = Scratch::new();
    // Its backlog takes connections, and nobody ever accepts one.
    let silent = rustix_listener(&scratch.socket());
    let connector = Connector::new().timeout(Duration::from_millis(30));
    let mut client = connector.supervised::<Bytes>(scratch.socket()).expect("an address");
    match client.try_connect() {
        Err(Failed::Away(Some(met))) => assert!(timed_out(&met), "{met}"),
        other => panic!("{other:?}"),
    }
    let mut client = Connector::new()
        .timeout(Duration::MAX)
        .supervised::<Bytes>(scratch.socket())
        .expect("an address");
    let met = away(|deadline| client.recv_deadline(deadline).map(|_| ()));
    assert!(timed_out(&met), "{met}");
    drop(silent);
}

fn timed_out(met: &ConnectError) -> bool {
    matches!(met, ConnectError::Connect(cause::ConnectError::Handshake(HandshakeError::TimedOut)))
}

fn rustix_listener(path: &Path) -> std::os::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    bind(&socket, &SocketAddrUnix::new(path).expect("an address")).expect("binds");
    listen(&socket, 8).expect("listens");
    socket
}

#[test]
fn what_waiting_does_not_heal_is_said_at_once_and_asked_anew_by_the_next_call() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let refusing = thread::spawn(move || {
        for _ in 0..2 {
            let incoming = listener.accept_deadline(soon()).expect("somebody comes");
            assert!(incoming.open::<Bytes>().is_err(), "it means other messages");
        }
        listener.accept_deadline(soon()).expect("somebody comes").refuse("not today");
        listener
    });
    let mut client = Connector::new().supervised::<Steps>(scratch.socket()).expect("an address");
    for _ in 0..2 {
        match client.recv().map(|_| ()) {
            Err(Failed::Refused(error)) => {
                assert!(error.to_string().contains("steps"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    match client.connect() {
        Err(Failed::Refused(error)) => assert!(error.to_string().contains("not today"), "{error}"),
        other => panic!("{other:?}"),
    }
    let _listener = refusing.join().expect("refused");

    // And what our own policy says.
    let connector = Connector::new().policy(Policy::nobody());
    let mut client = connector.supervised::<Bytes>(scratch.socket()).expect("an address");
    match client.send(b"?") {
        Err(error @ Failed::Refused(_)) => {
            assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::PermissionDenied);
        }
        other => panic!("{other:?}"),
    }
    // Some things are known before anybody is asked.
    let nowhere = Connector::new().supervised::<Bytes>(PathBuf::from("x".repeat(500)));
    assert!(matches!(nowhere, Err(ConnectError::Address(_))));
    let nameless = Connector::new().name(&"x".repeat(100)).supervised::<Bytes>(scratch.socket());
    assert!(matches!(nameless, Err(ConnectError::Text { .. })));
}

#[test]
fn a_server_that_is_full_is_tried_until_there_is_room() {
    let scratch = Scratch::new();
    let mut limits = Limits::default();
    limits.sessions_per_uid = 1;
    let listener = Listener::builder().limits(limits).bind(scratch.socket()).expect("binds");
    let mut first = Connector::new().supervised::<Bytes>(scratch.socket()).expect("an address");
    let mut second = Connector::new().supervised::<Bytes>(scratch.socket()).expect("an address");
    let server = meet(&mut first, &listener);
    thread::scope(|scope| {
        let accepting = scope.spawn(|| accept(&listener));
        let mut rejected = false;
        while !rejected {
            let met = away(|deadline| second.connect_deadline(deadline));
            rejected = matches!(
                met,
                ConnectError::Connect(cause::ConnectError::Handshake(HandshakeError::Rejected(_)))
            );
            assert!(rejected || timed_out(&met), "{met}");
        }
        drop((first, server));
        second.connect_deadline(soon()).expect("there is room");
        accepting.join().expect("accepts");
    });
}

#[test]
fn a_session_that_was_taken_is_for_a_hub_to_watch_and_the_next_one_follows() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut client = Connector::new().supervised::<Bytes>(scratch.socket()).expect("an address");
    let mut hub = Hub::new().expect("a hub");
    for session in 1..=3 {
        let server = meet(&mut client, &listener);
        assert_eq!(client.session(), Some(session));
        let mut member = hub.add(client.take().expect("it stands")).expect("joins");
        assert!(client.take().is_none());
        assert_eq!(client.session(), None);
        member.try_send(b"into the void").expect("room");
        drop(server);
        match hub.wait(Some(soon())).expect("waits") {
            Some(Event::Closed(key, End::Closed)) => assert_eq!(key, member.key()),
            other => panic!("{other:?}"),
        }
        let delivery = member.into_inner().delivery();
        assert_eq!((delivery.sent, delivery.received, delivery.in_doubt), (1, 0, 1));
    }
}

#[test]
fn a_forked_child_has_neither_the_session_nor_another() {
    if !alone("a_forked_child_has_neither_the_session_nor_another") {
        return;
    }
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let address = scratch.socket();
    let of = || Connector::new().supervised::<Bytes>(&address).expect("an address");
    let (mut standing, mut lost, away) = (of(), of(), of());
    let mut server = meet(&mut standing, &listener);
    let other = meet(&mut lost, &listener);
    standing.send(b"before").expect("sends");
    drop(other);
    check(&eventually_lost(&mut lost), 1, 0, 0, 0);
    let mut clients = Some([standing, lost, away]);
    let forked = Forked::start(|| {
        for mut client in clients.take().expect("the child's copy") {
            for _ in 0..2 {
                assert!(matches!(client.send(b"?"), Err(Failed::Forked)));
                assert!(matches!(client.send_deadline(b"?", soon()), Err(Failed::Forked)));
                assert!(matches!(client.try_send(b"?"), Err(Failed::Forked)));
                assert!(matches!(client.recv().map(|_| ()), Err(Failed::Forked)));
                assert!(matches!(client.try_recv().map(|_| ()), Err(Failed::Forked)));
                assert!(matches!(client.connect(), Err(Failed::Forked)));
                assert!(matches!(client.try_connect(), Err(Failed::Forked)));
            }
            if let Some(channel) = client.channel() {
                assert_eq!(channel.delivery().in_doubt, 1, "nothing is known here");
            }
            let _ = format!("{client:?}");
        }
    });
    assert!(forked.wait(), "the forked child");
    let [mut standing, mut lost, _away] = clients.expect("the parent's");
    standing.send(b"after").expect("sends");
    for word in [b"before".as_slice(), b"after"] {
        assert_eq!(&*server.recv_deadline(soon()).expect("a word"), word);
    }
    let _server = meet(&mut lost, &listener);
    assert_eq!(lost.session(), Some(2));
}

#[test]
fn it_goes_to_another_thread_and_none_is_stuck_when_all_wait_at_once() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let mut client = Connector::new().supervised::<Bytes>(&path).expect("an address");
            thread::spawn(move || {
                // Asleep in a receive at each of the ends.
                for session in 1..=3 {
                    let word = client.recv_deadline(soon()).map(|word| word.to_vec());
                    assert_eq!(word.expect("a word"), b"word");
                    check(&eventually_lost(&mut client), session, 0, 0, 0);
                }
                assert!(matches!(client.try_recv().map(|_| ()), Err(Failed::Away(None))));
            })
        })
        .collect();
    for _ in 0..3 {
        let listener = Listener::bind(&path).expect("binds");
        let mut servers: Vec<_> = (0..clients.len()).map(|_| accept(&listener)).collect();
        for server in &mut servers {
            server.send(b"word").expect("sends");
        }
        drop(listener);
    }
    for client in clients {
        client.join().expect("it came back each time");
    }
}
