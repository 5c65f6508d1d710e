//! Waiting for one of many: in threads that sleep on all of them, or on their descriptors.

#![allow(unsafe_code)] // to trust a peer

mod support;

use std::thread;
use std::time::{Duration, Instant};

use memring::select::Selectable;
use memring::{Bytes, End, Select, ServerEnd, TryRecvError, Wait};

use support::{Forked, alone, eventually, forbid, soon};

const SYS_FUTEX_WAITV: libc::c_long = 449;

/// So many servers, whose clients each send so many numbers, a little apart, and go; all is received, in order, and so are the ends.
fn all_of(count: usize, messages: u64) {
    let mut servers = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..count {
        let (server, client) = memring::pair::<Bytes>().expect("a pair");
        servers.push(server);
        clients.push(client);
    }
    let sending = thread::spawn(move || {
        for turn in 0..messages {
            for (number, client) in clients.iter_mut().enumerate() {
                if (turn as usize + number).is_multiple_of(5) {
                    thread::sleep(Duration::from_micros(30)); // so that the other side sleeps
                }
                client.send(&turn.to_le_bytes()).expect("room");
            }
        }
    });
    let mut select = Select::new();
    let mut due = vec![0_u64; count];
    let mut open: Vec<(usize, ServerEnd<Bytes>)> = servers.into_iter().enumerate().collect();
    while !open.is_empty() {
        let mut all: Vec<&mut dyn Selectable> =
            open.iter_mut().map(|(_, server)| server as &mut dyn Selectable).collect();
        let place = select.wait(&mut all, Some(soon())).expect("waits");
        let place = place.expect("a lost wake");
        let (number, server) = &mut open[place];
        match server.try_recv() {
            Ok(message) => {
                assert_eq!(*message, due[*number].to_le_bytes());
                due[*number] += 1;
            }
            Err(TryRecvError::Empty) => panic!("nothing was there"),
            Err(TryRecvError::Ended(End::Closed)) => drop(open.swap_remove(place)),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(due.iter().all(|got| *got == messages), "{due:?}");
    sending.join().expect("the clients");
}

#[test]
fn one_thread_hears_all_of_a_few() {
    all_of(1, 2_000);
    all_of(7, 1_000);
    all_of(64, 50);
}

#[test]
fn one_thread_hears_all_of_more_than_fit_one_sleep() {
    all_of(65, 50);
}

#[test]
fn without_waiting_on_many_words_it_waits_for_descriptors() {
    if !alone("without_waiting_on_many_words_it_waits_for_descriptors") {
        return;
    }
    forbid(SYS_FUTEX_WAITV, libc::ENOSYS);
    assert!(!memring::system::waitv_works());
    all_of(7, 500);
}

#[test]
fn a_deadline_ends_it_and_nobody_is_passed_over() {
    let (mut one, first) = memring::pair::<Bytes>().expect("a pair");
    let (mut two, second) = memring::pair::<Bytes>().expect("a pair");
    let (mut first, mut second) = (first, second);
    let mut select = Select::new();
    let until = Instant::now() + Duration::from_millis(20);
    let none = select.wait(&mut [&mut first, &mut second], Some(until)).expect("waits");
    assert!(none.is_none() && Instant::now() >= until);
    // Both always have something, and each has its turn.
    for _ in 0..10 {
        one.send(b"1").expect("room");
        two.send(b"2").expect("room");
    }
    let mut turns = Vec::new();
    for _ in 0..10 {
        let place = select.wait(&mut [&mut first, &mut second], None).expect("waits");
        turns.push(place.expect("no deadline"));
        let receiver = if turns[turns.len() - 1] == 0 { &mut first } else { &mut second };
        receiver.try_recv().expect("it is there");
    }
    assert!(turns.windows(2).all(|two| two[0] != two[1]), "{turns:?}");
}

#[test]
fn a_forked_child_is_told_that_it_is_one() {
    if !alone("a_forked_child_is_told_that_it_is_one") {
        return;
    }
    let (_server, mut client) = memring::pair::<Bytes>().expect("a pair");
    client.halves().1.set_wait_strategy(Wait::Park);
    let child = Forked::start(|| {
        let found = Select::new().wait(&mut [&mut client], Some(soon())).expect("waits");
        assert_eq!(found, Some(0));
        assert!(matches!(client.try_recv(), Err(TryRecvError::Ended(End::Forked))));
    });
    assert!(child.wait());
}

#[test]
fn sessions_that_were_waited_for_are_not_kept() {
    if !alone("sessions_that_were_waited_for_are_not_kept") {
        return;
    }
    let open = || std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count();
    let (_one, mut other) = memring::pair::<Bytes>().expect("a pair");
    let mut select = Select::new();
    let moment = || Instant::now() + Duration::from_millis(5);
    assert!(select.wait(&mut [&mut other], Some(moment())).expect("waits").is_none());
    let before = open();
    let mut many: Vec<_> = (0..70).map(|_| memring::pair::<Bytes>().expect("a pair")).collect();
    let mut all: Vec<&mut dyn Selectable> =
        many.iter_mut().map(|(server, _)| server as &mut dyn Selectable).collect();
    assert!(select.wait(&mut all, Some(moment())).expect("waits").is_none());
    drop(many);
    // Its own descriptors go with the next wait.
    assert!(select.wait(&mut [&mut other], Some(moment())).expect("waits").is_none());
    eventually("all are closed", || open() == before);
}

#[test]
fn what_is_lent_was_received_already() {
    if !alone("what_is_lent_was_received_already") {
        return;
    }
    forbid(SYS_FUTEX_WAITV, libc::ENOSYS);
    let (mut server, client) = memring::pair::<Bytes>().expect("a pair");
    // SAFETY: the peer is this test.
    let mut rx = unsafe { client.split().1.trust_peer() };
    server.send(b"news").expect("room");
    assert_eq!(&*rx.try_recv().expect("news"), b"news");
    let until = Instant::now() + Duration::from_millis(5);
    assert!(Select::new().wait(&mut [&mut rx], Some(until)).expect("waits").is_none());
}
