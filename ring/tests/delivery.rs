//! How far the peer has got: every kind of frame is counted, and a peer's nonsense is nobody's delivery.

mod support;

use std::sync::atomic::Ordering;
use std::time::Instant;

use memring_ring::{Delivery, Terms, Wait};

use support::{Fencing, HEAD, Memory, STARTS, Side, bytes, side, sides};

const CAPACITY: u64 = 4096;

fn terms(start: u64) -> Terms {
    Terms::new(10_000).wait(Wait::Park).start(start)
}

#[track_caller]
fn check(side: &Side, sent: u64, received: u64, in_doubt: u64) {
    let Delivery { sent: was_sent, received: was_received, in_doubt: was_in_doubt, .. } =
        side.producer.delivery();
    let found = (was_sent, was_received, was_in_doubt);
    assert_eq!(found, (sent, received, in_doubt), "sent, received, in doubt");
}

/// Receives so many, and says so.
fn receive(side: &mut Side, count: usize) {
    for _ in 0..count {
        let _ = side.consumer.try_recv().expect("a message");
    }
    side.consumer.publish();
}

#[test]
fn every_kind_of_frame_counts_as_the_messages_it_holds() {
    for start in STARTS {
        let (mut us, mut peer) = sides(CAPACITY, &terms(start), Fencing::Ours);
        check(&us, 0, 0, 0);
        us.producer.try_send(b"", 0).expect("room");
        us.producer.try_send(b"data", 1).expect("room");
        check(&us, 2, 0, 2);
        receive(&mut peer, 1);
        check(&us, 2, 1, 1);
        receive(&mut peer, 1);
        check(&us, 2, 2, 0);

        // Messages with entries, and messages that are alike.
        let mut batch = us.producer.batch();
        for n in 0..5 {
            batch.try_push(&bytes(n, n as usize * 3), n).expect("room");
        }
        batch.flush();
        for n in 0..7 {
            batch.try_push(&bytes(n, 20), 0).expect("room");
        }
        drop(batch);
        us.producer.send_alike(&bytes(9, 80), 8, None).expect("room");
        check(&us, 24, 2, 22);
        receive(&mut peer, 1);
        // The frame was taken out as a whole.
        check(&us, 24, 7, 17);
        receive(&mut peer, 4 + 7);
        check(&us, 24, 14, 10);
        receive(&mut peer, 10);
        check(&us, 24, 24, 0);

        // In parts; and one that was given up, which nobody has sent.
        us.producer.try_send(&bytes(1, 3000), 0).expect("room");
        check(&us, 25, 24, 1);
        let late = us.producer.send(&bytes(2, 9000), 0, Some(Instant::now()));
        assert!(late.is_err(), "it does not fit at once");
        check(&us, 25, 24, 1);
        receive(&mut peer, 1);
        assert!(peer.consumer.try_recv().is_err());
        us.producer.try_send(b"after it", 0).expect("room");
        check(&us, 26, 25, 1);
        receive(&mut peer, 1);
        check(&us, 26, 26, 0);
    }
}

#[test]
fn what_lies_in_an_open_batch_is_neither_received_nor_in_doubt() {
    for tag in [0, 7] {
        let (mut us, mut peer) = sides(CAPACITY, &terms(0), Fencing::Ours);
        us.producer.try_send(b"before", 0).expect("room");
        let mut batch = us.producer.batch();
        for n in 0..3 {
            batch.try_push(&bytes(n, 24), tag).expect("room");
        }
        std::mem::forget(batch);
        check(&us, 4, 0, 1);
        assert_eq!(us.producer.delivery().unpublished(), 3);
        receive(&mut peer, 1);
        check(&us, 4, 1, 0);
        us.producer.try_send(b"after", 0).expect("room");
        check(&us, 5, 1, 4);
        receive(&mut peer, 4);
        check(&us, 5, 5, 0);
    }
}

#[test]
fn what_is_said_of_the_dead_stays() {
    let (mut us, mut peer) = sides(CAPACITY, &terms(0), Fencing::Ours);
    for n in 0..10 {
        us.producer.try_send(&bytes(n, 10), 0).expect("room");
    }
    receive(&mut peer, 4);
    us.life.hang_up();
    assert!(us.producer.try_send(b"too late", 0).is_err());
    check(&us, 10, 4, 6);

    // Its last word counts too.
    let (mut us, mut peer) = sides(CAPACITY, &terms(0), Fencing::Ours);
    for n in 0..10 {
        us.producer.try_send(&bytes(n, 10), 0).expect("room");
    }
    for _ in 0..4 {
        let _ = peer.consumer.try_recv().expect("a message");
    }
    drop(peer.consumer);
    assert!(us.producer.end().is_some());
    check(&us, 10, 4, 6);
}

#[test]
fn attack_51_a_head_that_makes_no_sense_leaves_everything_in_doubt() {
    for start in STARTS {
        let (mine, theirs) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
        let mut us = side(&mine, &theirs, &terms(start), Fencing::Ours);
        let head = |read: u64| {
            theirs.writer.control().store64(HEAD, start.wrapping_add(read), Ordering::Release);
        };
        head(0);
        for _ in 0..8 {
            us.producer.try_send(&[0xee; 240], 0).expect("room");
        }
        check(&us, 8, 0, 8);
        head(512);
        check(&us, 8, 2, 6);
        // Outside of what was sent: as if it had not been said.
        for read in [8 * 256 + 16, 512 + 8, 1 << 63, 0_u64.wrapping_sub(16)] {
            head(read);
            check(&us, 8, 0, 8);
        }
        // In the midst of a frame: what lies there is no header.
        for read in [256 + 16, 512 + 128, 8 * 256 - 16] {
            head(read);
            check(&us, 8, 0, 8);
        }
        head(8 * 256);
        check(&us, 8, 8, 0);
        assert!(us.life.end().is_none(), "asking ends nothing");
    }
}

#[test]
fn attack_51_a_head_that_makes_no_sense_takes_nothing_back_of_what_made_room() {
    for start in STARTS {
        let (mine, theirs) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
        let mut us = side(&mine, &theirs, &terms(start), Fencing::Ours);
        let head = |read: u64| {
            theirs.writer.control().store64(HEAD, start.wrapping_add(read), Ordering::Release);
        };
        head(0);
        let mut sent = 0;
        while us.producer.try_send(&[0xee; 240], 0).is_ok() {
            sent += 1;
        }
        // Four make room for one, which is found there.
        head(4 * 256);
        us.producer.try_send(&[0xee; 240], 0).expect("room");
        sent += 1;
        head(6 * 256);
        check(&us, sent, 6, sent - 6); // asking keeps nothing of it
        for read in [3 * 256, 0, (sent + 1) * 256, 6 * 256 + 8, 1 << 63] {
            head(read);
            check(&us, sent, 4, sent - 4);
        }
        assert!(us.life.end().is_none(), "asking ends nothing");
    }
}

#[test]
fn attack_51_frames_that_a_peer_has_written_over_leave_everything_in_doubt() {
    // Who made the segment may have kept a way to write it.
    for (word, tag) in [
        (0_u64, 0_u64),
        (u64::MAX, 0),
        (1 | 1008 << 32, 0), // past the tail
        (1 | 1009 << 32, 0),
        (2 | 240 << 32, 0),   // no entries
        (2 | 240 << 32, 7),   // alike, which do not fill it
        (2 | 240 << 32, 241), // or are too long
        (2 | 240 << 32, u64::MAX),
        (2 | 240 << 32, 1), // thirty of them, where two were sent
    ] {
        let (mine, theirs) = (Memory::new(CAPACITY), Memory::new(CAPACITY));
        let mut us = side(&mine, &theirs, &terms(0), Fencing::Ours);
        for _ in 0..2 {
            us.producer.try_send(&[0xee; 240], 0).expect("room");
        }
        mine.writer.data().store64(256, word, Ordering::Relaxed);
        mine.writer.data().store64(264, tag, Ordering::Relaxed);
        check(&us, 2, 0, 2);
    }
}
