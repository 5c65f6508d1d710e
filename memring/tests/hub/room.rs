//! Room that is waited for in a hub, and members that are paused for want of it.

use std::thread;

use memring::hub::{Event, Hub, Member};
use memring::{Arm, Bytes, Connector, End, Lanes, TrySendError};

use crate::support::{eventually, soon};
use crate::{Ends, asleep_then, closed, next, nothing, pair_in, readable};

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
