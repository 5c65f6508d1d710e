//! Hostile sleep words and wakes: a peer that lies about sleeping, never wakes, or wakes without end.
//!
//! Its lies cost itself wakes and us one system call a publish at most.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memring_ring::consumer::RecvError;
use memring_ring::frame::Kind;
use memring_ring::memory::Region;
use memring_ring::{End, Life, Terms, Wait};

use crate::support::{HEAD, RX_ASLEEP, TX_ASLEEP};
use crate::target::{CAPACITY, MAX_MESSAGE, NEVER, Target};

const FUTEX_WAKE: libc::c_int = 1;
const FUTEX_REQUEUE: libc::c_int = 3;

/// Wakes whoever sleeps on a word, and moves nobody.
fn wake(region: &Region, offset: usize) {
    // SAFETY: a wake reads nothing at the address, which the region keeps mapped.
    unsafe { libc::syscall(libc::SYS_futex, region.futex_word(offset), FUTEX_WAKE, i32::MAX) };
}

/// Moves everybody who sleeps on a word over to another word; how many there were.
fn requeue(region: &Region, offset: usize, to: &AtomicU32) -> i64 {
    // SAFETY: both addresses are of words that are mapped for the time of the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            region.futex_word(offset),
            FUTEX_REQUEUE,
            0,
            i32::MAX as usize,
            to.as_ptr(),
        )
    }
}

/// Waits until the other thread says that it sleeps.
fn until_asleep(region: &Region, offset: usize) {
    let give_up = Instant::now() + NEVER;
    while region.load32(offset, Ordering::Acquire) == 0 {
        assert!(Instant::now() < give_up, "nobody goes to sleep");
        thread::yield_now();
    }
}

#[test]
fn attack_59_a_sleep_word_that_is_stuck_or_toggles_costs_one_wake_a_publish() {
    const SENDS: u32 = 100;
    type Word = fn(u32) -> u32;
    let words: [(&str, Word, u64); 7] = [
        ("awake", |_| 0, 0),
        ("stuck on", |_| 1 << 2 | 1, SENDS.into()),
        ("stuck at the last epoch", |_| u32::MAX << 2 | 1, SENDS.into()),
        ("a new epoch each time", |n| n << 2 | 1, SENDS.into()),
        ("a doorbell, wanted anew each time", |n| n << 2 | 2, SENDS.into()),
        ("a reserved way", |n| n << 2 | 3, 0),
        ("an epoch and no way", |n| (n + 1) << 2, 0),
    ];
    for (case, word, most) in words {
        let mut target = Target::new(0);
        for n in 0..SENDS {
            target.peer.control.store32(RX_ASLEEP, word(n), Ordering::Relaxed);
            target.us.producer.try_send(b"x", 0).expect("room");
        }
        let wakes = target.us.producer.stats().wakes;
        // Nobody sleeps there, so no wake settles anything: it is one each time and never more.
        assert_eq!(wakes, most, "{case}: sending");

        let mut target = Target::new(0);
        for n in 0..SENDS {
            target.peer.control.store32(TX_ASLEEP, word(n), Ordering::Relaxed);
            target.peer.honest(Kind::Data, 0, b"x");
            let _ = target.us.consumer.try_recv().expect("a message");
            assert!(target.us.consumer.try_recv().is_err());
        }
        let wakes = target.us.consumer.stats().wakes;
        assert_eq!(wakes, most, "{case}: receiving");
        target.assert_isolated(case);
    }
}

#[test]
fn attack_59_a_stuck_sleep_word_does_not_make_a_batch_or_a_large_message_dearer() {
    let mut target = Target::new(0);
    target.peer.control.store32(RX_ASLEEP, 1 << 2 | 1, Ordering::Relaxed);
    let mut batch = target.us.producer.batch();
    for _ in 0..30 {
        batch.try_push(b"eight by", 0).expect("room");
    }
    drop(batch);
    assert_eq!(target.us.producer.stats().wakes, 1, "one frame, one wake");
    target.us.producer.try_send(&[0; 2000], 0).expect("room");
    assert_eq!(target.us.producer.stats().wakes, 3, "two parts, two wakes");
}

#[test]
fn attack_65_a_message_whose_wake_never_comes_is_found_at_the_deadline() {
    let target = Target::new(0);
    let (mut consumer, mut peer) = (target.us.consumer, target.peer);
    let waiter = thread::spawn(move || {
        let item = consumer.recv(Some(Instant::now() + Duration::from_millis(50)));
        item.map(|item| consumer.bytes(&item).to_vec())
    });
    until_asleep(&peer.our_control, RX_ASLEEP);
    peer.honest(Kind::Data, 0, b"no wake");
    assert_eq!(waiter.join().expect("no panic"), Ok(b"no wake".to_vec()));
}

#[test]
fn attack_65_room_whose_wake_never_comes_is_found_at_the_deadline() {
    let target = Target::new(0);
    let (mut producer, peer) = (target.us.producer, target.peer);
    while producer.try_send(&[0; 1000], 0).is_ok() {}
    let waiter = thread::spawn(move || {
        producer.send(&[0; 1000], 0, Some(Instant::now() + Duration::from_millis(50)))
    });
    until_asleep(&peer.our_control, TX_ASLEEP);
    peer.head(1024);
    assert_eq!(waiter.join().expect("no panic"), Ok(()));
}

/// Wakes whoever sleeps on a word without reason, all the time, until it is over; how often that was.
fn storm(shared: &Region, offset: usize, over: &AtomicBool) -> u64 {
    let mut wakes = 0;
    while !over.load(Ordering::Relaxed) {
        wake(shared, offset);
        wakes += 1;
    }
    wakes
}

#[test]
fn attack_60_wakes_without_reason_make_a_sleeper_deaf_to_them_for_a_while() {
    let patience = Duration::from_millis(300);
    // Eight before it is deaf for ten milliseconds; after each rest it listens once more.
    let most = 8 + 2 * 30 + 2;
    let target = Target::new(0);
    let (mut consumer, mut producer) = (target.us.consumer, target.us.producer);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let peer = &target.peer;
        let wakes = scope.spawn(|| storm(&peer.data, 0, &over));
        let outcome = consumer.recv(Some(Instant::now() + patience));
        over.store(true, Ordering::Relaxed);
        assert_eq!(outcome.err(), Some(RecvError::TimedOut));
        let (sleeps, wakes) = (consumer.stats().sleeps, wakes.join().expect("no panic"));
        assert!(sleeps <= most, "{sleeps} sleeps under {wakes} wakes");
    });
    while producer.try_send(&[0; 1000], 0).is_ok() {}
    over.store(false, Ordering::Relaxed);
    thread::scope(|scope| {
        let peer = &target.peer;
        let wakes = scope.spawn(|| storm(&peer.control, HEAD, &over));
        let outcome = producer.send(&[0; 1000], 0, Some(Instant::now() + patience));
        over.store(true, Ordering::Relaxed);
        assert!(outcome.is_err());
        let (sleeps, wakes) = (producer.stats().sleeps, wakes.join().expect("no panic"));
        assert!(sleeps <= most, "{sleeps} sleeps under {wakes} wakes");
    });
}

#[test]
fn attack_61_a_sleeper_that_was_moved_to_another_word_hears_what_happens_on_this_side() {
    if !memring_ring::waitv_works() {
        println!("skipped: no futex_waitv here; sleeps are sliced instead");
        return;
    }
    type Event = fn(&Life);
    let events: [(&str, Event, End); 2] = [
        ("closed", |life| life.close(), End::Local),
        ("hung up", |life| life.hang_up(), End::HungUp),
    ];
    for (case, event, end) in events {
        let target = Target::new(0);
        let elsewhere = AtomicU32::new(0);
        let (mut consumer, life) = (target.us.consumer, target.us.life);
        let waiter = thread::spawn(move || consumer.recv(None).err());
        until_asleep(&target.peer.our_control, RX_ASLEEP);
        // Until it is there to be moved.
        let give_up = Instant::now() + NEVER;
        while requeue(&target.peer.data, 0, &elsewhere) == 0 {
            assert!(Instant::now() < give_up, "nobody sleeps on the lane's word");
            thread::yield_now();
        }
        wake(&target.peer.data, 0); // goes to nobody
        event(&life);
        assert_eq!(waiter.join().expect("no panic"), Some(RecvError::Ended(end)), "{case}");
    }
}

#[test]
fn attack_66_only_the_deadline_ends_a_wait_for_a_silent_peer() {
    for wait in [Wait::Spin, Wait::Adaptive, Wait::Park] {
        let mut target = Target::with(Terms::new(MAX_MESSAGE).wait(wait));
        while target.us.producer.try_send(&[0; 1000], 0).is_ok() {}
        for _ in 0..3 {
            let soon = || Some(Instant::now() + Duration::from_millis(2));
            let received = target.us.consumer.recv(soon());
            assert_eq!(received.err(), Some(RecvError::TimedOut), "{wait:?}");
            assert!(target.us.producer.send(&[0; 1000], 0, soon()).is_err(), "{wait:?}");
        }
        // It was only slow.
        target.peer.honest(Kind::Data, 0, b"at last");
        target.peer.head(CAPACITY / 4);
        let item = target.us.consumer.recv(Some(Instant::now() + NEVER)).expect("a message");
        assert_eq!(target.us.consumer.bytes(&item), b"at last");
        target.us.producer.send(&[0; 1000], 0, None).expect("room");
    }
}
