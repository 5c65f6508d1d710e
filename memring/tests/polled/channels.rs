//! Channels and their halves: messages, room and ends are waited for in every kind of loop.

use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::Duration;

use memring::{Arm, Bytes, Connector, End, Lanes, Polled, Receiver, TryRecvError, TrySendError};

use crate::loops::{KINDS, Kind, Loop, Looped, echo, number};
use crate::support::{alone, eventually};

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
#[should_panic(expected = "another half")]
fn another_half_is_not_put_in_the_place_of_one_that_is_polled() {
    let (_one, client) = memring::pair::<Bytes>().expect("a pair");
    let (_two, other) = memring::pair::<Bytes>().expect("a pair");
    let mut client = client.polled().expect("descriptors");
    *client = other;
    let _ = client.arm();
}

#[test]
fn descriptors_of_a_loop_are_closed_with_it() {
    let open = || std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count();
    if !alone("channels::descriptors_of_a_loop_are_closed_with_it") {
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
