//! Waiting for one of many: in threads that sleep on all of them, or on their descriptors.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use memring::select::Selectable;
use memring::{Bytes, End, Select, ServerEnd, TryRecvError};

use support::{alone, forbid, soon};

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
