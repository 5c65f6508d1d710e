//! Further channels in a session: asked for by either side, taken or declined, each for itself.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use memring::hub::{Event, Hub};
use memring::{
    Bytes, ChannelError, ClientEnd, Connector, End, Listener, Protocol, RecvError, ServerEnd, Wait,
};

use support::{Forked, Scratch, alone, eventually, soon};

/// What differs by direction, so that nobody mistakes his side.
struct Quotes;

#[memring::message]
struct Quote {
    price: u32,
}

#[memring::message]
struct Order {
    symbol: String,
}

impl Protocol for Quotes {
    const NAME: &'static str = "quotes";
    type ToClient = Quote;
    type ToServer = Order;
}

/// The two ends of a session that may have some.
fn session() -> (ServerEnd<Bytes>, ClientEnd<Bytes>) {
    Connector::new().channels(4).pair::<Bytes>().expect("a pair")
}

/// Two sides with their channels, in both orders: who asks and who is asked.
fn both_ways(mut test: impl FnMut(memring::Channels, memring::Channels)) {
    let (server, client) = session();
    test(client.channels(), server.channels());
    test(server.channels(), client.channels());
}

#[test]
fn either_side_opens_typed_channels_with_a_name_and_metadata() {
    both_ways(|asks, serves| {
        let asking = thread::spawn(move || asks.open_with::<Quotes>("fast", b"v2", soon()));
        let asked = serves.accept_deadline(soon()).expect("asked");
        assert_eq!((asked.name(), asked.metadata()), ("fast", &b"v2"[..]));
        let mut server = asked.open::<Quotes>().expect("opens");
        let mut client = asking.join().expect("no panic").expect("opened");
        client.send(&Order { symbol: "ABC".into() }).expect("sent");
        assert_eq!(server.recv_deadline(soon()).expect("an order").symbol, "ABC");
        server.send(&Quote { price: 42 }).expect("sent");
        assert_eq!(client.recv_deadline(soon()).expect("a quote").price, 42);
        drop(server);
        assert!(matches!(client.recv_deadline(soon()), Err(RecvError::Ended(End::Closed))));
    });
}

#[test]
fn a_channel_that_is_declined_is_so_with_a_sentence() {
    both_ways(|asks, serves| {
        for sentence in ["not today", ""] {
            let asks = asks.clone();
            let asking = thread::spawn(move || asks.open::<Bytes>("x").map(drop));
            let asked = serves.accept_deadline(soon()).expect("asked");
            if sentence.is_empty() {
                drop(asked)
            } else {
                asked.decline(sentence)
            }
            let error = asking.join().expect("no panic").expect_err("declined");
            let text = format!("{error}: {:?}", std::error::Error::source(&error));
            assert!(text.contains(sentence), "{text}");
        }
    });
}

#[test]
fn sides_that_mean_different_messages_are_both_told() {
    both_ways(|asks, serves| {
        let asking = thread::spawn(move || asks.open::<Quotes>("x").map(drop));
        let asked = serves.accept_deadline(soon()).expect("asked");
        // Who connected finds out when the other side has: as in every handshake.
        let ours = asked.open::<Bytes>().map(drop).expect_err("other messages");
        let theirs = asking.join().expect("no panic").expect_err("other messages");
        for error in [ours, theirs] {
            assert!(matches!(error, ChannelError::Setup(_)), "{error}");
        }
    });
}

#[test]
fn both_sides_have_to_allow_them() {
    let scratch = Scratch::new();
    for (here, there) in [(0, 4), (4, 0), (0, 0)] {
        let listener = Listener::builder().channels(here).bind(scratch.socket()).expect("binds");
        let path = scratch.socket();
        let connecting = thread::spawn(move || {
            Connector::new().channels(there).connect::<Bytes>(path).expect("connects")
        });
        let incoming = listener.accept_deadline(soon()).expect("accepts");
        let server = incoming.open::<Bytes>().expect("opens");
        let client = connecting.join().expect("no panic");
        for channels in [server.channels(), client.channels()] {
            let opened = channels.open::<Bytes>("x").map(drop);
            assert!(matches!(opened, Err(ChannelError::NotAllowed)), "{opened:?}");
            assert!(matches!(channels.try_accept(), Err(ChannelError::NotAllowed)));
        }
    }
}

#[test]
fn no_more_are_open_at_a_time_than_who_is_asked_allows() {
    both_ways(|asks, serves| {
        let serving = thread::spawn(move || {
            let mut open = Vec::new();
            for _ in 0..4 {
                let asked = serves.accept_deadline(soon()).expect("asked");
                open.push(asked.open::<Bytes>().expect("opens"));
            }
            (open, serves)
        });
        let mut held: Vec<_> = (0..4).map(|_| asks.open::<Bytes>("x").expect("opened")).collect();
        let (mut open, serves) = serving.join().expect("no panic");
        let fifth = asks.open::<Bytes>("x").map(drop);
        assert!(matches!(fifth, Err(ChannelError::TooMany(_))), "{fifth:?}");
        // Others are as before, and one that goes makes room.
        held[3].send(b"still here").expect("sent");
        assert_eq!(&*open[3].recv_deadline(soon()).expect("it"), b"still here");
        drop((held.remove(0), open.remove(0)));
        let serving = thread::spawn(move || {
            serves.accept_deadline(soon()).expect("asked").open::<Bytes>().expect("opens")
        });
        eventually("there is room again", || asks.open::<Bytes>("x").is_ok());
        drop(serving.join().expect("no panic"));
    });
}

#[test]
fn one_that_closes_disturbs_no_other_and_neither_does_the_first() {
    let (server, client) = session();
    let (asks, serves) = (client.channels(), server.channels());
    let mut pairs = Vec::new();
    for _ in 0..3 {
        let asks = asks.clone();
        let asking = thread::spawn(move || asks.open::<Bytes>("x").expect("opened"));
        let there = serves.accept_deadline(soon()).expect("asked").open::<Bytes>().expect("opens");
        pairs.push((asking.join().expect("no panic"), there));
    }
    let (one, mut other) = pairs.remove(0);
    drop(one);
    assert!(matches!(other.recv_deadline(soon()), Err(RecvError::Ended(End::Closed))));
    let faulty = pairs.remove(0);
    faulty.0.session().close();
    drop((asks, serves, server, client));
    let (mut one, mut other) = pairs.remove(0);
    one.send(b"on").expect("sent");
    assert_eq!(&*other.recv_deadline(soon()).expect("it"), b"on");
}

#[test]
fn those_that_are_being_decided_on_count_too() {
    both_ways(|asks, serves| {
        let asking: Vec<_> = (0..4)
            .map(|_| {
                let asks = asks.clone();
                thread::spawn(move || asks.open::<Bytes>("x").map(drop))
            })
            .collect();
        let in_hand: Vec<_> =
            (0..4).map(|_| serves.accept_deadline(soon()).expect("asked")).collect();
        let fifth = asks.open::<Bytes>("x").map(drop);
        assert!(matches!(fifth, Err(ChannelError::TooMany(_))), "{fifth:?}");
        drop(in_hand);
        for asking in asking {
            assert!(asking.join().expect("no panic").is_err(), "dropped, and so declined");
        }
        let serving = thread::spawn(move || {
            serves.accept_deadline(soon()).expect("asked").open::<Bytes>().map(drop)
        });
        asks.open::<Bytes>("x").map(drop).expect("there is room again");
        serving.join().expect("no panic").expect("opens");
    });
}

/// Waits for this in a thread, which sleeps by now.
fn waiting<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    let (says, tid) = std::sync::mpsc::channel();
    let waiting = thread::spawn(move || {
        says.send(support::tid()).expect("heard");
        wait()
    });
    support::eventually_asleep(tid.recv().expect("a thread"));
    waiting
}

#[test]
fn who_waits_is_told_when_the_session_ends() {
    for server_ends in [false, true] {
        let (server, client) = session();
        let [accepts, asks] = [server.channels(), client.channels()];
        let accepting = waiting(move || accepts.accept().map(drop));
        let ends = if server_ends { server.session() } else { client.session() };
        ends.close();
        let ended = accepting.join().expect("no panic");
        assert!(matches!(ended, Err(ChannelError::Ended(_))), "{ended:?}");
        eventually("it is over", || matches!(asks.open::<Bytes>("x"), Err(ChannelError::Ended(_))));
    }
    // And who asks, and is answered by nobody: the connecting side waits for that, the accepting side for the handshake.
    let (server, client) = session();
    let asks = client.channels();
    let asking = waiting(move || asks.open::<Bytes>("x").map(drop));
    server.session().close();
    assert!(asking.join().expect("no panic").is_err());
}

#[test]
fn a_deadline_is_kept_and_what_comes_too_late_harms_nobody() {
    both_ways(|asks, serves| {
        let moment = Instant::now() + Duration::from_millis(50);
        let opened = asks.open_with::<Bytes>("late", &[], moment).map(drop);
        assert!(matches!(opened, Err(ChannelError::TimedOut)), "{opened:?}");
        // It was asked for, and is not there any more.
        let late = serves.accept_deadline(Instant::now() + Duration::from_millis(500));
        if let Ok(late) = late {
            assert_eq!(late.name(), "late");
            let _whatever_it_says = late.open::<Bytes>().map(drop);
        }
        let asking = thread::spawn(move || asks.open::<Bytes>("in time").map(drop));
        let asked = serves.accept_deadline(soon()).expect("asked");
        assert_eq!(asked.name(), "in time");
        asked.open::<Bytes>().map(drop).expect("opens");
        asking.join().expect("no panic").expect("opened");
    });
}

#[test]
fn many_threads_open_at_a_time_while_messages_flow() {
    const THREADS: usize = 8;
    let (mut server, mut client) = Connector::new().channels(64).pair::<Bytes>().expect("a pair");
    let (asks, serves) = (client.channels(), server.channels());
    let serving = thread::spawn(move || {
        for _ in 0..THREADS * 5 {
            let mut channel =
                serves.accept_deadline(soon()).expect("asked").open::<Bytes>().expect("opens");
            thread::spawn(move || {
                while let Ok(message) = channel.recv().map(|message| message.to_vec()) {
                    channel.send(&message).expect("sent");
                }
            });
        }
    });
    let asking: Vec<_> = (0..THREADS)
        .map(|number| {
            let asks = asks.clone();
            thread::spawn(move || {
                for round in 0..5_u8 {
                    let mut channel = asks.open::<Bytes>("x").expect("opened");
                    let message = [number as u8, round];
                    channel.send(&message).expect("sent");
                    assert_eq!(&*channel.recv_deadline(soon()).expect("it"), message);
                }
            })
        })
        .collect();
    while !asking.iter().all(thread::JoinHandle::is_finished) {
        client.send(b"beside them").expect("sent");
        assert_eq!(&*server.recv_deadline(soon()).expect("it"), b"beside them");
    }
    asking.into_iter().for_each(|asking| asking.join().expect("no panic"));
    serving.join().expect("no panic");
}

#[test]
fn in_a_hub_an_event_says_that_channels_are_asked_for() {
    let (server, client) = session();
    let asks = client.channels();
    let mut hub = Hub::new().expect("a hub");
    hub.set_wait_strategy(Wait::Park);
    let member = hub.add(server).expect("joins");
    let mut next = |what: &str| hub.wait(Some(soon())).expect("waits").expect(what);
    let asking = thread::spawn(move || {
        let mut channel = asks.open::<Bytes>("x").expect("opened");
        channel.send(b"hello").expect("sent");
        channel
    });
    let asked = match next("asked") {
        Event::Asked(key) => {
            assert_eq!(key, member.key());
            member.channels().try_accept().expect("allowed").expect("one")
        }
        other => panic!("{other:?}"),
    };
    assert!(member.channels().try_accept().expect("allowed").is_none());
    let channel = asked.open::<Bytes>().expect("opens");
    let mut second = hub.add(channel).expect("joins");
    match hub.wait(Some(soon())).expect("waits").expect("a message") {
        Event::Readable(key) => assert_eq!(key, second.key()),
        other => panic!("{other:?}"),
    }
    assert_eq!(&*second.try_recv().expect("it"), b"hello");
    drop(asking.join().expect("no panic"));
    match hub.wait(Some(soon())).expect("waits").expect("an end") {
        Event::Closed(key, End::Closed) => assert_eq!(key, second.key()),
        other => panic!("{other:?}"),
    }
    // And who is in a hub may ask himself: while he waits others see to his session.
    let serves = client.channels();
    let serving = thread::spawn(move || {
        serves.accept_deadline(soon()).expect("asked").open::<Bytes>().map(drop)
    });
    member.channels().open::<Bytes>("y").map(drop).expect("opened");
    serving.join().expect("no panic").expect("opens");
}

#[test]
fn whoever_polls_something_of_the_session_is_woken_when_channels_are_asked_for() {
    let (server, client) = session();
    let mut server = server.polled().expect("descriptors");
    let asks = client.channels();
    let asking = thread::spawn(move || asks.open::<Bytes>("x").map(drop));
    let mut asked = None;
    let give_up = soon();
    while asked.is_none() {
        assert!(Instant::now() < give_up, "a lost wake");
        asked = server.channels().try_accept().expect("allowed");
        if asked.is_none() && server.arm() == memring::Arm::Armed {
            let mut fds = [rustix::event::PollFd::new(&server, rustix::event::PollFlags::IN)];
            let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
            rustix::event::poll(&mut fds, Some(&patience)).expect("polled");
        }
    }
    asked.expect("asked").open::<Bytes>().map(drop).expect("opens");
    asking.join().expect("no panic").expect("opened");
}

#[test]
fn of_several_that_wait_each_hears_that_channels_are_asked_for() {
    let (server, client) = session();
    let (tx, rx) = server.split();
    let mut tx = tx.polled().expect("descriptors");
    let mut hub = Hub::new().expect("a hub");
    let member = hub.add(rx).expect("joins");
    let asks = client.channels();
    let asking = thread::spawn(move || asks.open::<Bytes>("x").map(drop));
    // Whoever looks first does not take it from the other.
    while tx.try_send(&[0; 1000]).is_ok() {}
    while tx.arm_for_room() == memring::Arm::Armed {
        let mut fds = [rustix::event::PollFd::new(&tx, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1));
    }
    match hub.wait(Some(soon())).expect("waits").expect("asked") {
        Event::Asked(key) => assert_eq!(key, member.key()),
        other => panic!("{other:?}"),
    }
    let asked = member.channels().try_accept().expect("allowed").expect("one");
    asked.open::<Bytes>().map(drop).expect("opens");
    asking.join().expect("no panic").expect("opened");
}

#[test]
fn channels_that_came_and_went_leave_nothing() {
    if !alone("channels_that_came_and_went_leave_nothing") {
        return;
    }
    let (server, client) = session();
    let open = || std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count();
    let round = |asks: memring::Channels, serves: memring::Channels| {
        let asking = thread::spawn(move || asks.open::<Bytes>("x").expect("opened"));
        let asked = serves.accept_deadline(soon()).expect("asked");
        let there = asked.open::<Bytes>().expect("opens");
        drop((asking.join().expect("no panic"), there));
    };
    round(client.channels(), server.channels());
    round(server.channels(), client.channels());
    let settled = || support::Held::settled();
    let before = settled();
    let count = open();
    for _ in 0..10 {
        round(client.channels(), server.channels());
        round(server.channels(), client.channels());
        let asks = client.channels();
        let declined = thread::spawn(move || asks.open::<Bytes>("x").map(drop));
        drop(server.channels().accept_deadline(soon()).expect("asked"));
        assert!(declined.join().expect("no panic").is_err());
    }
    before.eventually_again();
    eventually("all are closed", || open() <= count);
}

#[test]
fn a_forked_child_opens_none() {
    if !alone("a_forked_child_opens_none") {
        return;
    }
    let (server, client) = session();
    let child = Forked::start(|| {
        for channels in [server.channels(), client.channels()] {
            let opened = channels.open::<Bytes>("x").map(drop);
            assert!(matches!(opened, Err(ChannelError::Ended(End::Forked))), "{opened:?}");
            let accepted = channels.accept_deadline(soon()).map(drop);
            assert!(matches!(accepted, Err(ChannelError::Ended(End::Forked))), "{accepted:?}");
        }
    });
    assert!(child.wait());
}
