//! Members that messages come to: what is read of them, in which turns, and that none is missed.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use memring::hub::{Event, Hub, Interest, Member};
use memring::{Arm, Bytes, Connector, End, Lanes, Listener, RecvError, TryRecvError, Wait};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::support::{Helper, PATIENCE, Scratch, Stage, soon};
use crate::{Ends, Number, Numbers, asleep_then, closed, next, nothing, pair_in, readable};

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

#[allow(unsafe_code)] // a peer that is trusted
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

/// Sends what leaves the lane nearly empty, and then what takes nearly all of it at once.
pub fn fills(stage: &Stage) {
    let connector = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Normal);
    let mut client = connector.connect::<Bytes>(stage.path()).expect("connects");
    client.send(&[1; 400]).expect("sent");
    assert_eq!(stage.hear(), "read");
    let mut client = client.polled().expect("descriptors");
    while client.try_send(&[7; 3900]).is_err() {
        if client.arm_for_room() == Arm::Armed {
            let mut fds = [PollFd::new(&client, PollFlags::IN)];
            let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
            assert_eq!(poll(&mut fds, Some(&patience)), Ok(1), "a lost wake: room");
        }
    }
    stage.linger();
}

#[test]
fn a_hub_that_spins_hears_everything_and_gives_back_room() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut hub = Hub::new().expect("a hub");
    hub.set_wait_strategy(Wait::Spin);
    hub.listen(&listener).expect("joins");
    let mut helper = Helper::start("fills", &[("path", &scratch.socket().display())]);
    let mut member = match next(&mut hub) {
        Event::Connected(_, incoming) => {
            hub.add(incoming.open::<Bytes>().expect("opens")).expect("joins")
        }
        other => panic!("{other:?}"),
    };
    let (mut quiet, mut rare) = pair_in(&mut hub);
    assert_eq!(readable(&mut hub), member.key());
    assert_eq!(&*member.try_recv().expect("it was said"), [1; 400]);
    // It has no room for the next before that is given back, and nobody sleeps here who would.
    helper.tell("read");
    let come = loop {
        assert_eq!(readable(&mut hub), member.key());
        match member.try_recv() {
            Ok(whole) => break whole.to_vec(),
            Err(TryRecvError::Empty) => {}
            Err(other) => panic!("{other}"),
        }
    };
    assert!(come == [7; 3900]);
    helper.kill();
    assert!(matches!(closed(&mut hub).1, End::PeerDied(_)));
    rare.send(b"now and then").expect("sent");
    assert_eq!(readable(&mut hub), quiet.key());
    quiet.try_recv().expect("it was said");
    let timer = hub.after(Duration::from_millis(5)).expect("a timer");
    assert!(matches!(next(&mut hub), Event::Timer(key) if key == timer));
    nothing(&mut hub);
}
