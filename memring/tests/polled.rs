//! Channels in event loops: under poll, epoll with levels and with edges, and mio, no wake is lost, and none is rung for nothing.

mod support;

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::thread;
use std::time::Duration;

use memring::{
    Arm, Bytes, Channel, ClientEnd, Connector, End, Lanes, Listener, Polled, Receiver, RecvError,
    ServerEnd, Session, TryRecvError, TrySendError,
};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};

use support::pages::{Pages, page};
use support::{Forked, Helper, PATIENCE, Scratch, Stage, eventually, play, soon};

/// What waits for a descriptor.
enum Loop {
    Poll,
    Epoll(OwnedFd),
    Mio(mio::Poll),
}

/// The kinds of them.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Poll,
    Level,
    Edge,
    Mio,
}

const KINDS: [Kind; 4] = [Kind::Poll, Kind::Level, Kind::Edge, Kind::Mio];

fn patience() -> Timespec {
    Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 }
}

impl Loop {
    fn of(kind: Kind, fd: &impl AsFd) -> Self {
        match kind {
            Kind::Poll => Self::Poll,
            Kind::Level | Kind::Edge => {
                let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
                let edge = matches!(kind, Kind::Edge);
                let edge = if edge { epoll::EventFlags::ET } else { epoll::EventFlags::empty() };
                let data = epoll::EventData::new_u64(0);
                epoll::add(&epoll, fd, data, epoll::EventFlags::IN | edge).expect("added");
                Self::Epoll(epoll)
            }
            Kind::Mio => {
                let poll = mio::Poll::new().expect("mio");
                let interest = mio::Interest::READABLE;
                let fd = fd.as_fd().as_raw_fd();
                let mut source = mio::unix::SourceFd(&fd);
                poll.registry().register(&mut source, mio::Token(0), interest).expect("registered");
                Self::Mio(poll)
            }
        }
    }

    /// Whether the descriptor became readable in time.
    fn wait(&mut self, fd: &impl AsFd) -> bool {
        match self {
            Self::Poll => {
                poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&patience())).expect("polled") == 1
            }
            Self::Epoll(epoll) => {
                let mut events = Vec::with_capacity(1);
                let events_of = rustix::buffer::spare_capacity(&mut events);
                epoll::wait(&*epoll, events_of, Some(&patience())).expect("waited") == 1
            }
            Self::Mio(poll) => {
                let mut events = mio::Events::with_capacity(1);
                poll.poll(&mut events, Some(PATIENCE)).expect("polled");
                !events.is_empty()
            }
        }
    }
}

/// Waits until the peer has answered that it publishes with full fences, which a loop asks for when it begins: from then on nothing
/// comes that no test has sent.
fn settle(session: &Session, mut arm: impl FnMut() -> Arm) {
    eventually("the peer publishes with full fences", || {
        let _it_reads_what_came = arm();
        !session.life().fences().chosen().1
    });
}

fn is_readable(fd: &impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&now)).expect("polled") == 1
}

/// A polled channel of bytes, and its loop.
struct Looped {
    channel: Polled<Channel<[u8], [u8]>>,
    wait: Loop,
    /// Waits so far.
    waits: u64,
}

impl Looped {
    fn new(kind: Kind, channel: Channel<[u8], [u8]>) -> Self {
        let channel = channel.polled().expect("two more descriptors");
        let wait = Loop::of(kind, &channel);
        Self { channel, wait, waits: 0 }
    }

    fn wait(&mut self, arm: impl Fn(&mut Polled<Channel<[u8], [u8]>>) -> Arm, what: &str) {
        if arm(&mut self.channel) == Arm::Armed {
            self.waits += 1;
            assert!(self.wait.wait(&self.channel), "a lost wake: {what}");
        }
    }

    /// Hands the next message to `each`; how it ended otherwise.
    fn recv<T>(&mut self, each: impl Fn(&[u8]) -> T) -> Result<T, End> {
        loop {
            match self.channel.try_recv() {
                Ok(message) => return Ok(each(&message)),
                Err(TryRecvError::Empty) => self.wait(Polled::<Channel<_, _>>::arm, "a message"),
                Err(TryRecvError::Ended(end)) => return Err(end),
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        loop {
            match self.channel.try_send(bytes) {
                Ok(()) => return,
                Err(TrySendError::Full) => {
                    self.wait(Polled::<Channel<_, _>>::arm_for_room, "room");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
}

/// Sends back what comes, until the peer closes; how often it waited.
fn echo(kind: Kind, channel: ServerEnd<Bytes>) -> u64 {
    let mut here = Looped::new(kind, channel);
    loop {
        match here.recv(<[u8]>::to_vec) {
            Ok(bytes) => here.send(&bytes),
            Err(End::Closed) => return here.waits,
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn every_message_comes_through_every_kind_of_loop() {
    for kind in KINDS {
        let (server, client) = memring::pair::<Bytes>().expect("a pair");
        let serving = thread::spawn(move || echo(kind, server));
        let mut here = Looped::new(kind, client);
        for turn in 0..2_000_u64 {
            // One, or some at once.
            let some = 1 + turn % 3;
            for nth in 0..some {
                here.send(&(turn * 3 + nth).to_le_bytes());
            }
            for nth in 0..some {
                assert_eq!(here.recv(number).expect("open"), turn * 3 + nth, "{kind:?}");
            }
        }
        let waits = here.waits;
        drop(here);
        let theirs = serving.join().expect("the echo");
        println!("{kind:?}: {waits} and {theirs} waits");
        assert!(waits > 0 && theirs > 0, "nobody ever waited");
    }
}

#[test]
fn room_is_waited_for_in_every_kind_of_loop() {
    for kind in KINDS {
        let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
        let (server, client) = lanes.pair::<Bytes>().expect("a pair");
        let serving = thread::spawn(move || {
            let mut here = Looped::new(kind, server);
            let mut due = 0;
            while let Ok(got) = here.recv(number) {
                assert_eq!(got, due);
                due += 1;
            }
            due
        });
        let mut here = Looped::new(kind, client);
        for turn in 0..20_000_u64 {
            let len = 8 + (turn % 7) as usize * 100;
            let mut bytes = vec![0; len];
            bytes[..8].copy_from_slice(&turn.to_le_bytes());
            here.send(&bytes);
        }
        println!("{kind:?}: {} waits", here.waits);
        assert!(here.waits > 0, "nobody ever waited");
        drop(here);
        assert_eq!(serving.join().expect("the receiver"), 20_000, "{kind:?}");
    }
}

#[test]
fn a_doorbell_is_rung_when_armed_and_once() {
    let (mut server, client) = memring::pair::<Bytes>().expect("a pair");
    let mut client = client.polled().expect("descriptors");
    let session = client.session().clone();
    settle(&session, || client.arm());
    // A blocking call takes that back, once it has slept: one whose moment has passed before does not.
    let moment = || std::time::Instant::now() + Duration::from_millis(10);
    let block = |client: &mut memring::Polled<_>| {
        for _ in 0..3 {
            let received = memring::ClientEnd::<Bytes>::recv_deadline(client, moment());
            assert!(matches!(received, Err(RecvError::TimedOut)));
        }
    };
    block(&mut client);
    let mut wait = Loop::of(Kind::Poll, &client);
    let rung = |server: &mut ServerEnd<Bytes>| server.halves().0.stats().wakes;
    server.send(b"before").expect("sent");
    assert_eq!(rung(&mut server), 0, "nobody waits");
    assert_eq!(client.arm(), Arm::Ready, "something is there");
    assert_eq!(&*client.try_recv().expect("it"), b"before");
    for turn in 1..=3 {
        assert_eq!(client.arm(), Arm::Armed);
        (0..10).for_each(|_| server.send(b"one of many").expect("sent"));
        assert_eq!(rung(&mut server), turn, "once an arming");
        assert!(wait.wait(&client));
        (0..10).for_each(|_| assert_eq!(&*client.try_recv().expect("many"), b"one of many"));
    }
    // What came before arming is read by it: nothing is left that makes the descriptor readable.
    assert_eq!(client.arm(), Arm::Armed);
    assert!(!is_readable(&client));
    block(&mut client);
    server.send(b"unheard").expect("sent");
    assert_eq!(rung(&mut server), 3);
}

#[test]
fn ends_wake_a_loop() {
    for kind in KINDS {
        // The peer closes.
        let (server, client) = memring::pair::<Bytes>().expect("a pair");
        let mut here = Looped::new(kind, client);
        let closing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20)); // so that the loop waits
            drop(server);
        });
        assert!(matches!(here.recv(number), Err(End::Closed)));
        closing.join().expect("closed");
        // This side does, in another thread.
        let (_server, client) = memring::pair::<Bytes>().expect("a pair");
        let mut here = Looped::new(kind, client);
        let session = here.channel.session().clone();
        let closing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            session.close();
        });
        assert!(matches!(here.recv(number), Err(End::Local)));
        closing.join().expect("closed");
        assert_eq!(here.channel.arm(), Arm::Ready, "what has ended is nothing to wait for");
    }
}

/// The number in the next message of a half that is in a loop of its own.
fn recv(rx: &mut Polled<Receiver<[u8]>>, wait: &mut Loop) -> u64 {
    loop {
        match rx.try_recv() {
            Ok(message) => return number(&message),
            Err(TryRecvError::Empty) => {}
            Err(other) => panic!("{other}"),
        }
        if rx.arm() == Arm::Armed {
            assert!(wait.wait(rx), "a lost wake: a message");
        }
    }
}

/// Receives 20,000 numbers in a loop, while another thread sends them.
fn receive_all<T>(rx: Receiver<[u8]>, sending: thread::JoinHandle<T>) {
    let mut rx = rx.polled().expect("descriptors");
    let mut wait = Loop::of(Kind::Edge, &rx);
    (0..20_000).for_each(|turn| assert_eq!(recv(&mut rx, &mut wait), turn));
    drop((sending.join().expect("the sender"), rx));
}

#[test]
fn each_half_has_a_loop_of_its_own_and_takes_no_wake_from_the_other() {
    let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
    let (server, client) = lanes.pair::<Bytes>().expect("a pair");
    let echoing = thread::spawn(move || echo(Kind::Poll, server));
    let (tx, rx) = client.split();
    let sending = thread::spawn(move || {
        let mut tx = tx.polled().expect("descriptors");
        let mut wait = Loop::of(Kind::Level, &tx);
        for turn in 0..20_000_u64 {
            while let Err(error) = tx.try_send(&turn.to_le_bytes()) {
                assert!(matches!(error, TrySendError::Full), "{error}");
                if tx.arm_for_room() == Arm::Armed {
                    assert!(wait.wait(&tx), "a lost wake: room");
                }
            }
        }
        tx
    });
    receive_all(rx, sending);
    echoing.join().expect("the echo");
}

#[test]
fn a_doorbell_that_another_loop_reads_is_passed_on_once() {
    let (mut server, client) = memring::pair::<Bytes>().expect("a pair");
    let (tx, rx) = client.split();
    let (mut tx, mut rx) = (tx.polled().expect("descriptors"), rx.polled().expect("descriptors"));
    let session = rx.session().clone();
    settle(&session, || rx.arm());
    assert_eq!(rx.arm(), Arm::Armed);
    server.send(b"news").expect("sent");
    assert_eq!(tx.arm_for_room(), Arm::Ready, "nothing was refused"); // and it has read the doorbell
    assert!(is_readable(&rx));
    assert_eq!(rx.arm(), Arm::Ready);
    assert_eq!(&*rx.try_recv().expect("it"), b"news");
    assert_eq!(rx.arm(), Arm::Armed);
    assert!(!is_readable(&rx));
}

/// A server that sends pages, and a client.
fn page_pair() -> (ServerEnd<Pages>, ClientEnd<Pages>) {
    let connector = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Normal);
    connector.blobs(1024, 1 << 30).pair::<Pages>().expect("a pair")
}

#[test]
fn a_doorbell_that_found_the_socket_full_is_heard_by_whoever_waits_for_it() {
    let (mut server, client) = page_pair();
    let (tx, mut rx) = client.split();
    let mut tx = tx.polled().expect("descriptors");
    let session = tx.session().clone();
    settle(&session, || tx.arm_for_room());
    while tx.try_send(&[7; 1000]).is_ok() {}
    assert_eq!(tx.arm_for_room(), Arm::Armed);
    // Until the client's socket is full. Kept, so that nothing is said of them once it is not any more.
    let mut kept = vec![page()];
    while server.try_send(&kept[kept.len() - 1]).is_ok() {
        kept.push(page());
    }
    let sent = kept.len() - 1;
    assert!((50..1000).contains(&sent), "{sent} packets");
    while server.try_recv().is_ok() {}
    assert_eq!(server.halves().1.stats().wakes, 1, "a doorbell was to be rung");
    // All there is in the socket is read for these, and no doorbell is among it.
    (0..sent).for_each(|_| drop(rx.try_recv().expect("a page")));
    assert!(Loop::of(Kind::Level, &tx).wait(&tx), "a lost wake: room");
    assert_eq!(tx.arm_for_room(), Arm::Ready);
}

#[test]
fn who_leaves_a_loop_is_served_by_the_watcher_again() {
    let (mut server, client) = page_pair();
    let mut client = client.polled().expect("descriptors");
    assert_eq!(client.arm(), Arm::Armed);
    let mut client = client.into_inner();
    // Word of each that goes lies in the client's socket, until that is full; from now on it never waits.
    let all: Vec<_> = (0..400).map(|_| page()).collect();
    for page in &all {
        server.send_deadline(page, soon()).expect("room");
        eventually("it comes", || client.try_recv().is_ok());
    }
    drop(all);
    thread::sleep(Duration::from_millis(100)); // while another thread says so
    server.send_deadline(&page(), soon()).expect("the client's socket is read");
    eventually("it comes", || client.try_recv().is_ok());
}

#[test]
fn an_arming_that_reads_only_part_leaves_the_rest_to_the_watcher() {
    let connector = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Normal);
    let (mut server, client) = connector.blobs(1024, 1 << 30).pair::<Pages>().expect("a pair");
    let (tx, mut rx) = client.split();
    let mut tx = tx.polled().expect("descriptors");
    let session = tx.session().clone();
    settle(&session, || tx.arm_for_room());
    while tx.try_send(&[7; 1000]).is_ok() {}
    assert_eq!(tx.arm_for_room(), Arm::Armed);
    while server.try_recv().is_ok() {}
    // More than are read in one go. This half has what it wanted, and arms no more.
    let mut kept: Vec<_> = (0..100).map(|_| page()).collect();
    kept.iter().for_each(|page| server.try_send(page).expect("room"));
    assert_eq!(tx.arm_for_room(), Arm::Ready);
    let receiving = thread::spawn(move || (0..601).all(|_| rx.recv_deadline(soon()).is_ok()));
    for _ in 0..500 {
        kept.push(page());
        server.send_deadline(&kept[kept.len() - 1], soon()).expect("room");
    }
    eventually("all but one were received", || server.halves().0.stats().messages == 600);
    drop(kept);
    thread::sleep(Duration::from_millis(100)); // while another thread says so
    server.send_deadline(&page(), soon()).expect("the client's socket is read");
    assert!(receiving.join().expect("no panic"));
    drop(tx);
}

#[test]
fn room_in_the_lane_is_not_hidden_by_a_socket_that_was_full_before() {
    let connector = Connector::new().lanes(Lanes::Normal, Lanes::Bytes(4096));
    let (server, client) = connector.blobs(1024, 1 << 30).pair::<Pages>().expect("a pair");
    let mut server = server.polled().expect("descriptors");
    let mut client = client.polled().expect("descriptors");
    let session = client.session().clone();
    settle(&session, || client.arm());
    assert_eq!(client.arm(), Arm::Armed); // from here on only messages with something new have its socket read
    let known = page();
    let mut gone = vec![];
    for number in 0..600 {
        gone.push(page());
        let page = if number == 0 { &known } else { &gone[number] };
        server.send_deadline(page, soon()).expect("room");
        client.try_recv().expect("a page");
    }
    // Word of those fills the socket, and what is left of it goes before a new page, which has no room then. Another thread
    // says it, some time; so does an arming, whatever that has said by then. A page that went sooner would be new no more, and
    // the client would read what lies in the socket for it.
    drop(gone);
    let _it_says_what_is_owed = server.arm();
    assert!(matches!(server.try_send(&page()), Err(TrySendError::Full)), "the socket is full");
    // Known ones go until the lane is full, and as soon as it is not.
    while server.try_send(&known).is_ok() {}
    while client.try_recv().is_ok() {}
    assert_eq!(server.arm_for_room(), Arm::Ready);
    server.try_send(&known).expect("room");
}

#[test]
#[should_panic(expected = "another half")]
fn another_half_is_not_put_in_the_place_of_one_that_is_polled() {
    let (_one, client) = memring::pair::<Bytes>().expect("a pair");
    let (_two, other) = memring::pair::<Bytes>().expect("a pair");
    let mut client = client.polled().expect("descriptors");
    *client = other;
    let _ = client.arm();
}

#[test]
fn a_thread_that_waits_in_a_call_and_a_loop_share_a_session() {
    let lanes = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
    let (server, client) = lanes.pair::<Bytes>().expect("a pair");
    let echoing = thread::spawn(move || echo(Kind::Level, server));
    let (mut tx, rx) = client.split();
    let sending = thread::spawn(move || {
        (0..20_000_u64).for_each(|turn| tx.send(&turn.to_le_bytes()).expect("sent"));
        tx
    });
    receive_all(rx, sending);
    echoing.join().expect("the echo");
}

#[test]
fn role() {
    play(&[("echo", echo_at), ("hidden", hidden), ("still", still), ("guest", guest)]);
}

/// A process that sends back what comes, in an event loop.
fn echo_at(stage: &Stage) {
    let listener = Listener::bind(stage.path()).expect("binds");
    stage.say("ready");
    let incoming = listener.accept_deadline(soon()).expect("accepts");
    let channel = incoming.open::<Bytes>().expect("opens");
    echo(Kind::Edge, channel);
}

/// How many times each of two processes went to sleep in an event loop and was woken. `MEMRING_SLEEPS` says how often in all;
/// `ci/sleeps.sh` says a million.
#[test]
fn no_wake_is_lost_between_two_processes() {
    let sleeps = std::env::var("MEMRING_SLEEPS").ok().and_then(|text| text.parse().ok());
    let sleeps: u64 = sleeps.unwrap_or(10_000);
    let scratch = Scratch::new();
    let path = scratch.socket();
    let mut server = Helper::start("echo", &[("path", &path.display())]);
    server.expect("ready");
    let client = memring::connect::<Bytes>(&path).expect("connects");
    let mut here = Looped::new(Kind::Edge, client);
    let mut turns = 0_u64;
    let began = std::time::Instant::now();
    while here.waits < sleeps {
        // Now and then a moment more, so that each meets the other at another place.
        for _ in 0..turns % 97 * 13 {
            std::hint::spin_loop();
        }
        here.send(&turns.to_le_bytes());
        assert_eq!(here.recv(number).expect("open"), turns);
        turns += 1;
    }
    println!("{} sleeps in {turns} turns, {:?}", here.waits, began.elapsed());
    drop(here);
    server.finish();
}

/// A process that connects and has a child that keeps its socket open, also when it is killed itself.
fn hidden(stage: &Stage) {
    let channel = memring::connect::<Bytes>(stage.path()).expect("connects");
    let child = Forked::start(|| stage.linger());
    stage.say("hidden");
    stage.linger();
    drop((channel, child));
}

#[test]
fn a_death_that_the_socket_hides_wakes_a_loop() {
    if support::no_pidfds() {
        return;
    }
    for kind in KINDS {
        let scratch = Scratch::new();
        let path = scratch.socket();
        let listener = Listener::bind(&path).expect("binds");
        let client = Helper::start("hidden", &[("path", &path.display())]);
        let incoming = listener.accept_deadline(soon()).expect("accepts");
        let channel = incoming.open::<Bytes>().expect("opens");
        client.expect("hidden");
        let mut here = Looped::new(kind, channel);
        let killing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            client.kill();
            client
        });
        assert!(matches!(here.recv(number), Err(End::PeerDied(_))), "{kind:?}");
        drop(killing.join().expect("killed")); // which ends the child
    }
}

/// Accepts so many in a loop of this kind, and says hello to each.
fn accept(kind: Kind, listener: &Listener, count: usize) -> Vec<ServerEnd<Bytes>> {
    let mut waiting = listener.polled().expect("descriptors");
    let mut wait = Loop::of(kind, &waiting);
    let mut channels = Vec::new();
    while channels.len() < count {
        while let Some(incoming) = waiting.try_accept().expect("listens") {
            let mut channel = incoming.open::<Bytes>().expect("opens");
            channel.send(b"hello").expect("sent");
            channels.push(channel);
        }
        if channels.len() < count {
            assert!(wait.wait(&waiting), "{kind:?}: somebody comes");
        }
    }
    channels
}

fn hello(path: &std::path::Path) {
    let mut channel = memring::connect::<Bytes>(path).expect("connects");
    assert_eq!(&*channel.recv_deadline(soon()).expect("hello"), b"hello");
}

#[test]
fn a_listener_in_any_loop_hands_out_everybody_and_ends() {
    for kind in KINDS {
        let scratch = Scratch::new();
        let path = scratch.socket();
        let listener = Listener::bind(&path).expect("binds");
        thread::scope(|scope| {
            (0..30).for_each(|_| drop(scope.spawn(|| hello(&path))));
            assert_eq!(accept(kind, &listener, 30).len(), 30);
        });
        let mut waiting = listener.polled().expect("descriptors");
        let mut wait = Loop::of(kind, &waiting);
        assert!(waiting.try_accept().expect("nobody").is_none());
        listener.shut_down();
        assert!(wait.wait(&waiting), "{kind:?}: the end");
        assert!(waiting.try_accept().is_err());
    }
}

#[test]
fn a_listener_goes_on_behind_a_burst_of_those_who_say_nothing() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let patience = 2 * PATIENCE; // none of them is let go before
    let listener = Listener::builder().handshake_timeout(patience).bind(&path).expect("binds");
    // All of them are there before the loop looks for the first time, and nothing else comes to wake it.
    let silent: Vec<OwnedFd> = (0..40).map(|_| connection(&path)).collect();
    let (says, tid) = std::sync::mpsc::channel();
    let client = thread::spawn(move || {
        says.send(support::tid()).expect("heard");
        hello(&path);
    });
    // So that it is there too: it waits for what the server says.
    support::eventually_asleep(tid.recv().expect("a thread"));
    assert_eq!(accept(Kind::Edge, &listener, 1).len(), 1);
    client.join().expect("greeted");
    drop(silent);
}

/// A connection that says nothing.
fn connection(path: &std::path::Path) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    connect(&socket, &SocketAddrUnix::new(path).expect("a path")).expect("connects");
    socket
}

#[test]
fn a_listener_in_a_loop_rests_without_descriptors_and_goes_on() {
    if !support::alone("a_listener_in_a_loop_rests_without_descriptors_and_goes_on") {
        return;
    }
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener = Listener::bind(&path).expect("binds");
    let mut waiting = listener.polled().expect("descriptors");
    let mut wait = Loop::of(Kind::Edge, &waiting);
    let mut client = Helper::start("guest", &[("path", &path.display())]);
    client.expect("connecting");
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..before }).expect("less");
    for _ in 0..3 {
        eventually("it comes, and there is no room", || {
            assert!(waiting.try_accept().expect("listens").is_none());
            listener.turned().failed > 0
        });
        assert!(!is_readable(&waiting), "it would spin");
        assert!(wait.wait(&waiting), "the pause ends");
    }
    setrlimit(Resource::Nofile, before).expect("as before");
    let mut channel = loop {
        match waiting.try_accept().expect("listens") {
            Some(incoming) => break incoming.open::<Bytes>().expect("opens"),
            None => assert!(wait.wait(&waiting), "it comes"),
        }
    };
    channel.send(b"hello").expect("sent");
    client.finish();
}

/// A process that connects and is greeted.
fn guest(stage: &Stage) {
    stage.say("connecting");
    hello(stage.path());
}

/// A process that connects and does nothing.
fn still(stage: &Stage) {
    let _channel = memring::connect::<Bytes>(stage.path()).expect("connects");
    stage.linger();
}

#[test]
fn a_loop_is_told_to_look_while_fences_fail() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let peer = Helper::start("still", &[("path", &scratch.socket().display())]);
    let incoming = listener.accept_deadline(soon()).expect("accepts");
    let channel = incoming.open::<Bytes>().expect("opens");
    if !memring::system::fence_bits().can_call {
        println!("skipped: there are no asymmetric fences here that could fail");
        return;
    }
    // It cannot say that it publishes with full fences from now on.
    peer.stop();
    let mut channel = channel.polled().expect("descriptors");
    assert_eq!(channel.arm(), Arm::Armed);
    thread::sleep(Duration::from_millis(50));
    assert!(!is_readable(&channel), "without a reason");
    channel.session().before_sandbox();
    let mut wait = Loop::of(Kind::Level, &channel);
    for _ in 0..3 {
        assert_eq!(channel.arm(), Arm::Armed);
        assert!(wait.wait(&channel), "a wake may be missed, and nobody looks");
    }
    // Once it has said so, nothing is told any more.
    peer.go_on();
    eventually("the peer has answered", || {
        while channel.arm() == Arm::Ready {}
        thread::sleep(Duration::from_millis(50));
        !is_readable(&channel)
    });
}

#[test]
fn descriptors_of_a_loop_are_closed_with_it() {
    let open = || std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count();
    if !support::alone("descriptors_of_a_loop_are_closed_with_it") {
        return;
    }
    let (_server, client) = memring::pair::<Bytes>().expect("a pair");
    let before = open();
    let client = client.polled().expect("descriptors");
    let fd: RawFd = client.as_raw_fd();
    assert!(fd >= 0 && open() == before + 2);
    let client = client.into_inner();
    eventually("both are closed", || open() == before);
    let _again = client.polled().expect("descriptors");
    assert_eq!(open(), before + 2);
}
