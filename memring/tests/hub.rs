//! Hubs: one thread, whatever it waits for, one event at a time.

#![allow(unsafe_code)] // a peer that is trusted

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use memring::hub::{Event, Hub, Interest, Key, Member, Signal};
use memring::{
    Arm, Bytes, Channel, ClientEnd, Connector, End, Lanes, Listener, Protocol, RecvError,
    ServerEnd, TryRecvError, TrySendError, Wait,
};

use rustix::process::{Pid, getpid, kill_process};

use support::liar::liar;
use support::{Forked, Helper, PATIENCE, Scratch, Stage, alone, eventually, forbid, play, soon};

#[test]
fn role() {
    play(&[("dies", dies), ("connects", connects)]);
}

fn dies(stage: &Stage) {
    let mut channel = memring::connect::<Bytes>(stage.path()).expect("connects");
    channel.send(b"last words").expect("sent");
    stage.say("sent");
    stage.linger();
}

fn connects(stage: &Stage) {
    let connecting = memring::connect::<Bytes>(stage.path());
    stage.say(if connecting.is_ok() { "connected" } else { "failed" });
    stage.linger();
}

type Ends = Channel<[u8], [u8]>;

/// The next event, which comes in time.
#[track_caller]
fn next(hub: &mut Hub) -> Event {
    hub.wait(Some(soon())).expect("waits").expect("an event in time")
}

/// Nothing happens for a moment.
#[track_caller]
fn nothing(hub: &mut Hub) {
    let event = hub.wait(Some(Instant::now() + Duration::from_millis(30))).expect("waits");
    assert!(event.is_none(), "{event:?}");
}

#[track_caller]
fn readable(hub: &mut Hub) -> Key {
    match next(hub) {
        Event::Readable(key) => key,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn closed(hub: &mut Hub) -> (Key, End) {
    match next(hub) {
        Event::Closed(key, end) => (key, end),
        other => panic!("{other:?}"),
    }
}

/// A pair, of which the server's end is in the hub.
fn pair_in(hub: &mut Hub) -> (Member<Ends>, Ends) {
    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    (hub.add(server).expect("joins"), client)
}

/// Waits until the hub is asleep: then nothing is ready but what comes.
fn asleep_then<T: Send + 'static>(
    send: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let tid = support::tid();
    thread::spawn(move || {
        support::eventually_asleep(tid);
        send()
    })
}

struct Numbers;

#[memring::message]
struct Number {
    number: u64,
}

impl Protocol for Numbers {
    const NAME: &'static str = "numbers";
    type ToClient = Number;
    type ToServer = Number;
}

#[test]
fn one_hub_serves_channels_of_several_protocols_from_several_listeners() {
    let scratches = [Scratch::new(), Scratch::new()];
    let listeners = scratches.each_ref().map(|it| Listener::bind(it.socket()).expect("binds"));
    let sockets = scratches.each_ref().map(Scratch::socket);
    let clients = thread::spawn(move || {
        let mut bytes = memring::connect::<Bytes>(&sockets[0]).expect("connects");
        let mut numbers = memring::connect::<Numbers>(&sockets[1]).expect("connects");
        for n in 0..1000_u64 {
            bytes.send(&n.to_le_bytes()).expect("sent");
            numbers.send(&Number { number: n }).expect("sent");
            assert_eq!(&*bytes.recv_deadline(soon()).expect("an answer"), n.to_le_bytes());
            assert_eq!(numbers.recv_deadline(soon()).expect("an answer").number, n + 1);
        }
    });
    let mut hub = Hub::new().expect("a hub");
    let keys = listeners.each_ref().map(|it| hub.listen(it).expect("joins"));
    let (mut bytes, mut numbers) = (HashMap::new(), HashMap::new());
    let mut ended = 0;
    while ended < 2 {
        match next(&mut hub) {
            Event::Connected(at, incoming) if at == keys[0] => {
                let client = hub.add(incoming.open::<Bytes>().expect("opens")).expect("joins");
                bytes.insert(client.key(), client);
            }
            Event::Connected(at, incoming) => {
                assert_eq!(at, keys[1]);
                let client = hub.add(incoming.open::<Numbers>().expect("opens")).expect("joins");
                numbers.insert(client.key(), client);
            }
            Event::Readable(key) => {
                if let Some(client) = bytes.get_mut(&key) {
                    let (tx, rx) = client.halves();
                    tx.send(&rx.try_recv().expect("it was said")).expect("sent");
                } else {
                    let client = numbers.get_mut(&key).expect("one of the two");
                    let number = client.try_recv().expect("it was said").number + 1;
                    client.send(&Number { number }).expect("sent");
                }
            }
            Event::Closed(_, End::Closed) => ended += 1,
            other => panic!("{other:?}"),
        }
    }
    clients.join().expect("no panic");
}

#[test]
fn what_came_in_one_frame_or_in_parts_is_read_event_by_event() {
    let mut hub = Hub::new().expect("a hub");
    let connector = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Normal);
    let (server, mut client) = connector.pair::<Bytes>().expect("a pair");
    let mut server = hub.add(server).expect("joins");
    let mut batch = client.halves().0.batch();
    (0..5_u8).for_each(|n| batch.push(&vec![n; usize::from(n) + 1]).expect("pushed"));
    drop(batch);
    client.send(b"after").expect("sent");
    for n in 0..5_u8 {
        assert_eq!(readable(&mut hub), server.key());
        assert_eq!(&*server.try_recv().expect("it was said"), vec![n; usize::from(n) + 1]);
    }
    assert_eq!(readable(&mut hub), server.key());
    assert_eq!(&*server.try_recv().expect("it was said"), b"after");
    nothing(&mut hub);
    let large: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    let sent = large.clone();
    let sending = thread::spawn(move || client.send(&sent).map(|()| client));
    let come = loop {
        assert_eq!(readable(&mut hub), server.key());
        match server.try_recv() {
            Ok(whole) => break whole.to_vec(),
            Err(TryRecvError::Empty) => {} // part of it
            Err(other) => panic!("{other}"),
        }
    };
    assert!(come == large);
    sending.join().expect("no panic").expect("sent");
}

#[test]
fn an_end_is_said_once_after_the_last_message() {
    let mut hub = Hub::new().expect("a hub");
    let (mut server, mut client) = pair_in(&mut hub);
    client.send(b"last").expect("sent");
    drop(client);
    assert_eq!(readable(&mut hub), server.key());
    assert_eq!(&*server.try_recv().expect("it was said"), b"last");
    let (key, end) = closed(&mut hub);
    assert!(key == server.key() && matches!(end, End::Closed), "{end:?}");
    nothing(&mut hub);
    assert!(matches!(server.try_recv(), Err(TryRecvError::Ended(End::Closed))));
    nothing(&mut hub);

    // Who finds it by himself is told all the same.
    let (mut server, client) = pair_in(&mut hub);
    drop(client);
    assert!(matches!(server.recv_deadline(soon()), Err(RecvError::Ended(End::Closed))));
    assert_eq!(closed(&mut hub).0, server.key());
    nothing(&mut hub);

    // By this side.
    let (server, _client) = pair_in(&mut hub);
    server.session().close();
    let (key, end) = closed(&mut hub);
    assert!(key == server.key() && matches!(end, End::Local), "{end:?}");
    nothing(&mut hub);
}

#[test]
fn an_end_wakes_a_hub_that_sleeps() {
    let mut hub = Hub::new().expect("a hub");
    let (server, client) = pair_in(&mut hub);
    let closing = asleep_then(move || drop(client));
    assert_eq!(closed(&mut hub).0, server.key());
    closing.join().expect("no panic");
    let (server, _client) = pair_in(&mut hub);
    let session = server.session().clone();
    let closing = asleep_then(move || session.close());
    assert_eq!(closed(&mut hub).0, server.key());
    closing.join().expect("no panic");
}

#[test]
fn a_fault_ends_its_session_and_no_other() {
    let mut hub = Hub::new().expect("a hub");
    let (server, mut liar) = liar::<Numbers>();
    let mut lied_to = hub.add(server).expect("joins");
    let (mut other, mut honest) = pair_in(&mut hub);
    liar.producer.send(b"no number", 0, None).expect("sent");
    assert_eq!(readable(&mut hub), lied_to.key());
    assert!(matches!(lied_to.try_recv(), Err(TryRecvError::Ended(End::Fault(_)))));
    let (key, end) = closed(&mut hub);
    assert!(key == lied_to.key() && matches!(end, End::Fault(_)), "{end:?}");
    honest.send(b"on").expect("sent");
    assert_eq!(readable(&mut hub), other.key());
    assert_eq!(&*other.try_recv().expect("it was said"), b"on");
    nothing(&mut hub);
}

#[test]
fn a_death_is_said_after_what_the_dead_has_sent() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut hub = Hub::new().expect("a hub");
    hub.listen(&listener).expect("joins");
    let helper = Helper::start("dies", &[("path", &scratch.socket().display())]);
    let mut client = match next(&mut hub) {
        Event::Connected(_, incoming) => {
            hub.add(incoming.open::<Bytes>().expect("opens")).expect("joins")
        }
        other => panic!("{other:?}"),
    };
    helper.expect("sent");
    assert_eq!(readable(&mut hub), client.key());
    let killing = asleep_then({
        let pid = Pid::from_raw(helper.pid() as i32).expect("a pid");
        move || kill_process(pid, rustix::process::Signal::KILL).expect("killed")
    });
    assert_eq!(&*client.try_recv().expect("it was said"), b"last words");
    let (key, end) = closed(&mut hub);
    assert!(key == client.key() && matches!(end, End::PeerDied(_)), "{end:?}");
    killing.join().expect("no panic");
    nothing(&mut hub);
}

#[test]
fn the_busy_take_turns() {
    const EACH: usize = 400;
    let mut hub = Hub::new().expect("a hub");
    let mut members = HashMap::new();
    let mut clients = Vec::new();
    for _ in 0..40 {
        let (server, mut client) = pair_in(&mut hub);
        (0..EACH).for_each(|_| client.try_send(b"at it").expect("room"));
        members.insert(server.key(), (server, 0_usize));
        clients.push(client);
    }
    for event in 0..40 * EACH {
        let (member, count) = members.get_mut(&readable(&mut hub)).expect("a member");
        member.try_recv().expect("it was said");
        *count += 1;
        let (most, least) = members
            .values()
            .fold((0, EACH), |(most, least), (_, count)| (most.max(*count), least.min(*count)));
        assert!(most - least <= 1, "after {event} events one has had {most} and one {least}");
    }
    nothing(&mut hub);
}

#[test]
fn others_are_heard_while_one_is_always_busy() {
    let mut hub = Hub::new().expect("a hub");
    let (mut busy, mut client) = pair_in(&mut hub);
    let (mut quiet, mut rare) = pair_in(&mut hub);
    nothing(&mut hub); // and so both are armed
    let timer = hub.after(Duration::from_millis(20)).expect("a timer");
    let (mut far, near) = UnixStream::pair().expect("a pair");
    let near = hub.watch(near, Interest::Read).expect("joins");
    far.write_all(b"x").expect("written");
    rare.send(b"now and then").expect("sent");
    let (mut rung, mut ready, mut said) = (false, false, false);
    let give_up = soon();
    while !(rung && ready && said) {
        assert!(Instant::now() < give_up, "timer {rung}, descriptor {ready}, the other {said}");
        client.try_send(b"again").expect("room");
        loop {
            match next(&mut hub) {
                Event::Readable(key) if key == busy.key() => {
                    busy.try_recv().expect("it was said");
                    break;
                }
                Event::Readable(_) => said = quiet.try_recv().is_ok(),
                Event::Timer(key) => rung = key == timer,
                Event::Ready(key, readiness) => {
                    ready = key == near.key() && readiness.readable;
                    let mut byte = [0];
                    assert_eq!((&*near).read(&mut byte).expect("read"), 1);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Answers as many times, sleeping whenever there is nothing.
fn answer(mut hub: Hub, mut member: Member<Ends>, rounds: u32) {
    for _ in 0..rounds {
        assert_eq!(readable(&mut hub), member.key());
        let (tx, rx) = member.halves();
        tx.send(&rx.try_recv().expect("it was said")).expect("sent");
    }
}

#[test]
fn two_hubs_that_always_sleep_lose_no_wake() {
    const ROUNDS: u32 = 20_000;
    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    let parked = || {
        let mut hub = Hub::new().expect("a hub");
        hub.set_wait_strategy(Wait::Park);
        hub
    };
    let answering = thread::spawn(move || {
        let mut hub = parked();
        let member = hub.add(server).expect("joins");
        answer(hub, member, ROUNDS);
    });
    let mut hub = parked();
    let mut client = hub.add(client).expect("joins");
    for round in 0..ROUNDS {
        client.send(&round.to_le_bytes()).expect("sent");
        assert_eq!(readable(&mut hub), client.key(), "a lost wake in round {round}");
        assert_eq!(&*client.try_recv().expect("it was said"), round.to_le_bytes());
    }
    answering.join().expect("no panic");
}

#[test]
fn a_wait_of_a_members_own_does_not_make_the_hub_deaf() {
    let mut hub = Hub::new().expect("a hub");
    hub.set_wait_strategy(Wait::Park);
    let (mut one, mut client) = pair_in(&mut hub);
    nothing(&mut hub);
    for round in 0..200 {
        // It sleeps in a futex of the lane, where the hub has armed for a doorbell, and says that it is awake.
        let moment = Instant::now() + Duration::from_millis(u64::from(round % 2 == 0));
        assert!(matches!(one.recv_deadline(moment), Err(RecvError::TimedOut)));
        let sending = asleep_then(move || client.send(b"news").map(|()| client).map(drop).unwrap());
        assert_eq!(readable(&mut hub), one.key(), "round {round}");
        assert_eq!(&*one.try_recv().expect("it was said"), b"news");
        sending.join().expect("no panic");
        if round == 199 {
            return;
        }
        assert!(matches!(closed(&mut hub).1, End::Closed));
        (one, client) = pair_in(&mut hub);
    }
}

#[test]
fn who_leaves_waits_elsewhere_as_before() {
    let mut hub = Hub::new().expect("a hub");
    hub.set_wait_strategy(Wait::Park);
    let (mut member, mut client) = pair_in(&mut hub);
    for round in 0..20_u8 {
        client.send(&[round]).expect("sent");
        assert_eq!(readable(&mut hub), member.key());
        member.try_recv().expect("it was said");
        nothing_yet(&mut hub);
        // A loop of another kind, which goes on counting armings where the hub stopped.
        let key = member.key();
        let mut polled = member.into_inner().polled().expect("descriptors");
        while polled.arm() != Arm::Armed {
            assert!(matches!(polled.try_recv(), Err(TryRecvError::Empty)));
        }
        client.send(b"to poll").expect("sent");
        let mut fds = [rustix::event::PollFd::new(&polled, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1), "round {round}");
        assert_eq!(&*polled.try_recv().expect("it was said"), b"to poll");
        let mut channel = polled.into_inner();
        client.send(b"to a thread").expect("sent");
        assert_eq!(&*channel.recv_deadline(soon()).expect("it was said"), b"to a thread");
        member = hub.add(channel).expect("joins again");
        assert_ne!(member.key(), key);
    }
}

fn nothing_yet(hub: &mut Hub) {
    let event = hub.wait(Some(Instant::now() + Duration::from_millis(1))).expect("waits");
    assert!(event.is_none(), "{event:?}");
}

#[test]
fn a_hub_that_goes_leaves_its_members_to_themselves() {
    let mut hub = Hub::new().expect("a hub");
    let (mut member, mut client) = pair_in(&mut hub);
    nothing(&mut hub);
    drop(hub);
    let tid = support::tid();
    let answering = thread::spawn(move || {
        support::eventually_asleep(tid);
        client.send(b"on").expect("sent");
        client
    });
    assert_eq!(&*member.recv_deadline(soon()).expect("it was said"), b"on");
    let client = answering.join().expect("no panic");
    let closing = asleep_then(move || drop(client));
    assert!(matches!(member.recv_deadline(soon()), Err(RecvError::Ended(End::Closed))));
    closing.join().expect("no panic");
}

#[test]
fn one_that_was_dropped_is_heard_of_no_more() {
    let mut hub = Hub::new().expect("a hub");
    let (first, mut gone) = pair_in(&mut hub);
    let old = first.key();
    gone.send(b"nobody reads this").expect("sent");
    drop(first);
    let (mut second, mut client) = pair_in(&mut hub);
    assert_eq!(second.key().index(), old.index());
    assert_ne!(second.key(), old);
    client.send(b"news").expect("sent");
    assert_eq!(readable(&mut hub), second.key());
    second.try_recv().expect("it was said");
    nothing(&mut hub);
    eventually("the peer is told", || gone.try_send(b"x").is_err());
}

#[test]
fn a_receiver_joins_alone_and_its_sender_goes_elsewhere() {
    let mut hub = Hub::new().expect("a hub");
    let connector = Connector::new().lanes(Lanes::Normal, Lanes::Bytes(4096));
    let (server, mut client) = connector.pair::<Bytes>().expect("a pair");
    let (mut answers, questions) = server.split();
    let mut questions = hub.add(questions).expect("joins");
    nothing(&mut hub);
    // Its thread waits for room, while the hub has the control socket.
    let answering = thread::spawn(move || {
        (0..100).for_each(|_| answers.send_deadline(&[1; 900], soon()).expect("room"));
    });
    for _ in 0..100 {
        assert_eq!(&*client.recv_deadline(soon()).expect("an answer"), [1; 900]);
        client.send(b"more").expect("sent");
        assert_eq!(readable(&mut hub), questions.key());
        questions.try_recv().expect("it was said");
    }
    answering.join().expect("no panic");
    assert!(matches!(client.recv_deadline(soon()), Err(RecvError::Ended(End::Closed))));
    drop(client);
    assert_eq!(closed(&mut hub).0, questions.key());
}

/// Sends so many messages of a kilobyte, waiting for room in the hub.
fn send_all(hub: &mut Hub, member: &mut Member<Ends>, count: u32) {
    for number in 0..count {
        let mut message = [0; 1000];
        message[..4].copy_from_slice(&number.to_le_bytes());
        while let Err(error) = member.try_send(&message) {
            assert!(matches!(error, TrySendError::Full), "{error}");
            if member.await_room() == Arm::Armed {
                match next(hub) {
                    Event::Room(key) => assert_eq!(key, member.key()),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

#[test]
fn room_is_waited_for_in_the_hub() {
    const COUNT: u32 = 5000;
    let mut hub = Hub::new().expect("a hub");
    let connector = Connector::new().lanes(Lanes::Normal, Lanes::Bytes(4096));
    let (server, mut client) = connector.pair::<Bytes>().expect("a pair");
    let mut member = hub.add(server).expect("joins");
    let reading = thread::spawn(move || {
        for number in 0..COUNT {
            let message = client.recv_deadline(soon()).expect("a message");
            assert_eq!(message[..4], number.to_le_bytes());
        }
        client
    });
    send_all(&mut hub, &mut member, COUNT);
    let client = reading.join().expect("no panic");
    // A peer that goes ends the wait for room too.
    while member.try_send(&[0; 1000]).is_ok() {}
    assert_eq!(member.await_room(), Arm::Armed);
    let closing = asleep_then(move || drop(client));
    let mut closed = false;
    while !closed {
        match next(&mut hub) {
            Event::Room(_) => {}
            Event::Closed(key, End::Closed) => closed = key == member.key(),
            other => panic!("{other:?}"),
        }
    }
    eventually("it is told", || matches!(member.try_send(b"x"), Err(TrySendError::Ended(_))));
    closing.join().expect("no panic");
}

#[test]
fn a_hub_sleeps_while_messages_lie_in_a_member_that_is_paused() {
    let mut hub = Hub::new().expect("a hub");
    let connector = Connector::new().lanes(Lanes::Normal, Lanes::Bytes(4096));
    let (server, mut client) = connector.pair::<Bytes>().expect("a pair");
    let mut member = hub.add(server).expect("joins");
    let (mut other, mut honest) = pair_in(&mut hub);
    for round in 0..3_u8 {
        while member.try_send(&[round; 1000]).is_ok() {}
        (0..5).for_each(|_| client.try_send(&[round]).expect("room"));
        assert_eq!(readable(&mut hub), member.key());
        member.pause();
        nothing(&mut hub);
        // Others are heard, and so is room.
        let sending = asleep_then(move || {
            honest.send(b"on").expect("sent");
            honest
        });
        assert_eq!(readable(&mut hub), other.key());
        assert_eq!(&*other.try_recv().expect("it was said"), b"on");
        honest = sending.join().expect("no panic");
        assert_eq!(member.await_room(), Arm::Armed);
        let reading = asleep_then(move || {
            while client.try_recv().is_ok() {}
            client
        });
        match next(&mut hub) {
            Event::Room(key) => assert_eq!(key, member.key()),
            other => panic!("{other:?}"),
        }
        client = reading.join().expect("no panic");
        member.resume();
        for _ in 0..5 {
            assert_eq!(readable(&mut hub), member.key());
            assert_eq!(&*member.try_recv().expect("it was said"), [round]);
        }
        nothing(&mut hub);
    }
    // What comes while it is paused and armed wakes nobody, an end that nothing lies before does.
    member.pause();
    nothing(&mut hub);
    drop(client);
    assert_eq!(closed(&mut hub).0, member.key());
    // Of one that messages lie before it is told after them.
    let (mut member, mut client) = pair_in(&mut hub);
    client.send(b"last").expect("sent");
    drop(client);
    member.pause();
    nothing(&mut hub);
    member.resume();
    assert_eq!(readable(&mut hub), member.key());
    assert_eq!(&*member.try_recv().expect("it was said"), b"last");
    assert_eq!(closed(&mut hub).0, member.key());
}

#[test]
fn what_is_lent_in_place_was_received_already() {
    let mut hub = Hub::new().expect("a hub");
    let (server, mut client) = memring::pair::<Bytes>().expect("a pair");
    // SAFETY: the peer is this test.
    let receiver = unsafe { server.split().1.trust_peer() };
    let mut receiver = hub.add(receiver).expect("joins");
    for round in 0..3 {
        client.send(&[round]).expect("sent");
        assert_eq!(readable(&mut hub), receiver.key());
        assert_eq!(&*receiver.try_recv().expect("it was said"), [round]);
        nothing(&mut hub);
    }
}

#[test]
fn timers_ring_in_order_again_and_not_once_removed() {
    let mut hub = Hub::new().expect("a hub");
    let began = Instant::now();
    let ms = Duration::from_millis;
    let late = hub.after(ms(60)).expect("a timer");
    let early = hub.at(began + ms(20)).expect("a timer");
    let never = hub.after(ms(30)).expect("a timer");
    assert!(hub.remove(never) && !hub.remove(never));
    let beat = hub.every(ms(25)).expect("a timer");
    let mut seen = Vec::new();
    while seen.len() < 5 {
        match next(&mut hub) {
            Event::Timer(key) => seen.push((key, began.elapsed())),
            other => panic!("{other:?}"),
        }
    }
    let at = |key| seen.iter().position(|(other, _)| *other == key).expect("it rang");
    assert!(at(early) < at(late), "{seen:?}");
    let first = |key| seen[at(key)].1;
    assert!(first(early) >= ms(20) && first(late) >= ms(60) && first(beat) >= ms(25), "{seen:?}");
    assert!(seen.iter().all(|(key, _)| [early, late, beat].contains(key)), "{seen:?}");
    assert!(!hub.remove(early), "one that was for once has left");
    assert!(hub.remove(beat));
    nothing(&mut hub);
    // Thousands that come and go leave nothing behind, and none of them rings.
    for _ in 0..10_000 {
        let key = hub.after(Duration::from_secs(3600)).expect("a timer");
        assert!(hub.remove(key));
    }
    assert!(hub.after(Duration::MAX).is_ok());
    nothing(&mut hub);
}

#[test]
fn a_deadline_that_has_passed_looks_and_does_not_wait() {
    let mut hub = Hub::new().expect("a hub");
    let past = Some(Instant::now());
    assert!(hub.wait(past).expect("waits").is_none());
    let (mut member, mut client) = pair_in(&mut hub);
    assert!(hub.wait(past).expect("waits").is_none());
    nothing(&mut hub); // armed
    client.send(b"news").expect("sent");
    match hub.wait(past).expect("waits") {
        Some(Event::Readable(key)) => assert_eq!(key, member.key()),
        other => panic!("{other:?}"),
    }
    member.try_recv().expect("it was said");
    assert!(hub.wait(past).expect("waits").is_none());
}

#[test]
fn descriptors_are_waited_for_as_long_as_they_are_held() {
    let mut hub = Hub::new().expect("a hub");
    let (mut far, near) = UnixStream::pair().expect("a pair");
    let mut near = hub.watch(near, Interest::Both).expect("joins");
    match next(&mut hub) {
        Event::Ready(key, readiness) => {
            assert_eq!(key, near.key());
            assert!(readiness.writable && !readiness.readable && !readiness.hung_up);
        }
        other => panic!("{other:?}"),
    }
    near.set_interest(Interest::Read).expect("changed");
    // What was found before the change may be said still.
    while hub.wait(Some(Instant::now())).expect("waits").is_some() {}
    nothing(&mut hub);
    far.write_all(b"twice").expect("written");
    for _ in 0..2 {
        assert!(matches!(next(&mut hub), Event::Ready(_, readiness) if readiness.readable));
    }
    near.read_exact(&mut [0; 5]).expect("read");
    while hub.wait(Some(Instant::now())).expect("waits").is_some() {}
    let near = near.into_inner();
    far.write_all(b"unheard").expect("written");
    nothing(&mut hub);
    let near = hub.watch(near, Interest::Read).expect("joins again");
    drop(near);
    nothing(&mut hub);
    let file = std::fs::File::open("/proc/self/exe").expect("a file");
    assert!(hub.watch(file, Interest::Read).is_err(), "a file is always ready");
    nothing(&mut hub);
}

#[test]
fn other_threads_wake_a_hub_and_leave_it_things() {
    let mut hub = Hub::new().expect("a hub");
    let (remote, (give, take)) = (hub.remote(), mpsc::channel());
    let waking = asleep_then(move || {
        give.send("work").expect("it is taken");
        remote.wake();
    });
    assert!(matches!(next(&mut hub), Event::Woken));
    assert_eq!(take.try_recv(), Ok("work"));
    waking.join().expect("no panic");
    let remote = hub.remote();
    remote.wake();
    remote.clone().wake();
    assert!(matches!(next(&mut hub), Event::Woken));
    nothing(&mut hub);
    drop(hub);
    remote.wake(); // in vain
}

#[test]
fn hubs_of_several_threads_share_a_listener() {
    const CLIENTS: usize = 40;
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    thread::scope(|scope| {
        let serve = || {
            let mut hub = Hub::new().expect("a hub");
            let mut members = HashMap::new();
            hub.listen(&listener).expect("joins");
            let mut served = 0;
            loop {
                match next(&mut hub) {
                    Event::Connected(_, incoming) => {
                        let channel = incoming.open::<Bytes>().expect("opens");
                        let member = hub.add(channel).expect("joins");
                        members.insert(member.key(), member);
                        served += 1;
                    }
                    Event::Readable(key) => {
                        let (tx, rx) = members.get_mut(&key).expect("a member").halves();
                        tx.send(&rx.try_recv().expect("it was said")).expect("sent");
                    }
                    Event::Closed(key, _) => drop(members.remove(&key)),
                    Event::Stopped(..) => return served,
                    other => panic!("{other:?}"),
                }
            }
        };
        let shards = [scope.spawn(serve), scope.spawn(serve)];
        let mut clients: Vec<ClientEnd<Bytes>> = (0..CLIENTS)
            .map(|_| memring::connect::<Bytes>(scratch.socket()).expect("connects"))
            .collect();
        for client in &mut clients {
            client.send(b"hello").expect("sent");
            assert_eq!(&*client.recv_deadline(soon()).expect("an answer"), b"hello");
        }
        listener.shut_down();
        let served: usize = shards.map(|shard| shard.join().expect("no panic")).iter().sum();
        assert_eq!(served, CLIENTS);
    });
}

#[test]
fn signals_come_as_events_and_as_signals_again_afterwards() {
    if !alone("signals_come_as_events_and_as_signals_again_afterwards") {
        return;
    }
    // A process of one thread: where signals are not blocked, they come as ever.
    assert!(Forked::start(take_signals).wait());
}

fn take_signals() {
    use rustix::process::Signal as Sent;
    let raise = |signal| kill_process(getpid(), signal).expect("raised");
    let mut hub = Hub::new().expect("a hub");
    assert!(hub.signals(&[Signal(libc::SIGKILL)]).is_err());
    assert!(hub.signals(&[Signal(0)]).is_err());
    let key = hub.signals(&[Signal::TERM, Signal::USR1]).expect("signals");
    raise(Sent::USR1);
    raise(Sent::TERM);
    let mut came: Vec<_> = (0..2)
        .map(|_| match next(&mut hub) {
            Event::Signal(signal) => signal,
            other => panic!("{other:?}"),
        })
        .collect();
    came.sort_by_key(|signal| signal.0);
    let mut sent = [Signal::TERM, Signal::USR1];
    sent.sort_by_key(|signal| signal.0);
    assert_eq!(came, sent);
    nothing(&mut hub);
    assert!(hub.remove(key));
    // Now what it did before: it ends a process.
    let ended = Forked::start(|| {
        raise(Sent::USR1);
        thread::sleep(PATIENCE);
    });
    assert!(!ended.wait());
}

#[test]
fn a_forked_child_has_no_hub() {
    if !alone("a_forked_child_has_no_hub") {
        return;
    }
    let mut hub = Hub::new().expect("a hub");
    let (mut member, mut client) = pair_in(&mut hub);
    let (_far, near) = UnixStream::pair().expect("a pair");
    let near = hub.watch(near, Interest::Read).expect("joins");
    let child = Forked::start(|| {
        assert!(hub.wait(Some(soon())).is_err());
        assert!(hub.after(Duration::ZERO).is_err());
        assert!(matches!(member.try_recv(), Err(TryRecvError::Ended(End::Forked))));
    });
    assert!(child.wait());
    let child = Forked::start(move || drop((member, near, hub)));
    assert!(child.wait());
    let _ = &mut client;
}

#[test]
fn what_a_forked_child_drops_its_parent_keeps() {
    if !alone("what_a_forked_child_drops_its_parent_keeps") {
        return;
    }
    let mut hub = Hub::new().expect("a hub");
    let (server, mut client) = memring::pair::<Bytes>().expect("a pair");
    let mut held = Some((hub.add(server).expect("joins"), UnixStream::pair().expect("a pair")));
    nothing(&mut hub);
    let child = Forked::start(|| drop(held.take()));
    assert!(child.wait());
    let (mut member, _) = held.expect("the parent's");
    client.send(b"on").expect("sent");
    assert_eq!(readable(&mut hub), member.key());
    assert_eq!(&*member.try_recv().expect("it was said"), b"on");
}

#[test]
fn without_descriptors_a_listener_pauses_and_says_so_once() {
    if !alone("without_descriptors_a_listener_pauses_and_says_so_once") {
        return;
    }
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut hub = Hub::new().expect("a hub");
    let key = hub.listen(&listener).expect("joins");
    let helper = Helper::start("connects", &[("path", &scratch.socket().display())]);
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    match next(&mut hub) {
        Event::Paused(at, why) => {
            assert_eq!(at, key);
            assert!(why.to_string().contains("ulimit -n"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    let moment = Instant::now() + Duration::from_millis(300);
    let event = hub.wait(Some(moment)).expect("waits");
    assert!(event.is_none(), "it is said once, and yet: {event:?}");
    drop(taken);
    let _client = match next(&mut hub) {
        Event::Connected(_, incoming) => incoming.open::<Bytes>().expect("opens"),
        other => panic!("{other:?}"),
    };
    helper.expect("connected");
}

#[test]
fn handshakes_that_lack_descriptors_pause_their_listener_too() {
    if !alone("handshakes_that_lack_descriptors_pause_their_listener_too") {
        return;
    }
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut hub = Hub::new().expect("a hub");
    let key = hub.listen(&listener).expect("joins");
    let helper = Helper::start("connects", &[("path", &scratch.socket().display())]);
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    taken.truncate(taken.len() - 3); // for the connection, and not for shared memory
    match next(&mut hub) {
        Event::Paused(at, why) => assert!(at == key && why.to_string().contains("ulimit -n")),
        other => panic!("{other:?}"),
    }
    helper.expect("failed");
    let moment = Instant::now() + Duration::from_millis(300);
    let event = hub.wait(Some(moment)).expect("waits");
    assert!(event.is_none(), "it is said once, and yet: {event:?}");
    drop(taken);
    let helper = Helper::start("connects", &[("path", &scratch.socket().display())]);
    let _client = match next(&mut hub) {
        Event::Connected(_, incoming) => incoming.open::<Bytes>().expect("opens"),
        other => panic!("{other:?}"),
    };
    helper.expect("connected");
}

#[test]
fn a_member_costs_two_descriptors_and_none_is_left() {
    if !alone("a_member_costs_two_descriptors_and_none_is_left") {
        return;
    }
    let open = || std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count();
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut hub = Hub::new().expect("a hub");
    let connect = |path: std::path::PathBuf| {
        thread::spawn(move || memring::connect::<Bytes>(path).expect("connects"))
    };
    let mut members: Vec<Member<ServerEnd<Bytes>>> = Vec::new();
    let mut clients = Vec::new();
    let mut counts = Vec::new();
    for _ in 0..5 {
        let connecting = connect(scratch.socket());
        let incoming = listener.accept_deadline(soon()).expect("accepts");
        let channel = incoming.open::<Bytes>().expect("opens");
        clients.push(connecting.join().expect("no panic"));
        let mut before = 0;
        eventually("handshakes have ended", || {
            let now = open();
            std::mem::replace(&mut before, now) == now && !has_handshakes()
        });
        members.push(hub.add(channel).expect("joins"));
        assert_eq!(open(), before, "joining costs none");
        counts.push(before);
    }
    // Of each side two: its control socket, and its peer's pidfd.
    assert!(counts.windows(2).all(|two| two[1] - two[0] <= 4), "{counts:?}");
    let first = if support::has_pidfds() { 4 } else { 2 };
    drop((members, clients));
    eventually("all are closed", || open() <= counts[0] - first);
}

fn has_handshakes() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc/self/task");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.into_iter().any(|name| name.starts_with("memring-hello"))
}

#[test]
fn where_fences_fail_messages_are_heard_all_the_same() {
    if !alone("where_fences_fail_messages_are_heard_all_the_same") {
        return;
    }
    forbid(libc::SYS_membarrier, libc::EPERM);
    let mut hub = Hub::new().expect("a hub");
    hub.set_wait_strategy(Wait::Park);
    let (mut member, mut client) = pair_in(&mut hub);
    for round in 0..50_u8 {
        let tid = support::tid();
        let sending = thread::spawn(move || {
            support::eventually_asleep(tid);
            client.send(&[round]).expect("sent");
            client
        });
        assert_eq!(readable(&mut hub), member.key());
        assert_eq!(&*member.try_recv().expect("it was said"), [round]);
        client = sending.join().expect("no panic");
    }
}
