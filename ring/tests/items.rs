//! Items and grants that outlive their moment: an earlier receive, a forked child.
//!
//! None of them reaches memory that is no longer theirs, and none disturbs what came later.

#![allow(unsafe_code)]

mod support;

use std::time::Instant;

use memring_ring::buffer::Buffer;
use memring_ring::consumer::TryRecvError;
use memring_ring::{Terms, Wait};

use support::{Fencing, Side, bytes, sides};

const CAPACITY: u64 = 4096;

fn pair() -> (Side, Side) {
    sides(CAPACITY, &Terms::new(10_000).wait(Wait::Park), Fencing::Ours)
}

#[test]
fn an_item_of_an_earlier_receive_lends_nothing_of_the_lane() {
    let (mut us, mut peer) = pair();
    // SAFETY: the producer at the other end is our own, and it does not change what it published.
    unsafe { peer.consumer.trust_peer() };
    us.producer.try_send(b"first", 0).expect("room");
    us.producer.try_send(b"second", 0).expect("room");
    let first = peer.consumer.try_recv().expect("a message");
    assert_eq!(peer.consumer.bytes(&first), b"first");
    let second = peer.consumer.try_recv().expect("a message");
    assert_eq!(peer.consumer.bytes(&second), b"second");
    // Its frame was released: the producer may write there at this very moment.
    assert_eq!(peer.consumer.bytes(&first), b"");
    assert_eq!(peer.consumer.take(&first, Buffer::new()).bytes(), b"");
    // So it is for the last one, once it is given back.
    assert_eq!(peer.consumer.take(&second, Buffer::new()).bytes(), b"second");
    peer.consumer.publish();
    assert_eq!(peer.consumer.bytes(&second), b"");
    us.producer.try_send(b"third", 0).expect("room");
    let third = peer.consumer.try_recv().expect("a message");
    assert_eq!(peer.consumer.bytes(&second), b"");
    assert_eq!(peer.consumer.bytes(&third), b"third");
}

#[test]
fn taking_an_old_item_takes_nothing_away_from_later_messages() {
    let (mut us, mut peer) = pair();
    us.producer.try_send(b"old", 0).expect("room");
    let old = peer.consumer.try_recv().expect("a message");
    // Half of a large message lies in the buffer.
    let large = bytes(1, 9000);
    let send = us.producer.send(&large, 1, Some(Instant::now()));
    assert!(send.is_err(), "it does not fit at once");
    assert_eq!(peer.consumer.try_recv().err(), Some(TryRecvError::Empty));
    let _ = peer.consumer.take(&old, Buffer::new());
    let mut batch = us.producer.batch();
    for n in 0..4 {
        batch.try_push(&bytes(n, 20), n).expect("room");
    }
    drop(batch);
    for n in 0..4 {
        let item = peer.consumer.try_recv().expect("a message");
        assert_eq!(peer.consumer.bytes(&item), bytes(n, 20), "message {n}");
        // Now the rest of a pack lies there.
        let _ = peer.consumer.take(&old, Buffer::new());
    }
    std::thread::scope(|scope| {
        scope.spawn(|| us.producer.send(&large, 1, None).expect("the consumer reads"));
        let item = loop {
            match peer.consumer.try_recv() {
                Ok(item) => break item,
                Err(TryRecvError::Empty) => drop(peer.consumer.take(&old, Buffer::new())),
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(peer.consumer.bytes(&item), large);
    });
}

#[test]
fn attack_78_a_grant_and_a_lent_frame_are_nothing_in_a_forked_child() {
    let (mut us, mut peer) = pair();
    // SAFETY: as above.
    unsafe { peer.consumer.trust_peer() };
    us.producer.try_send(b"lent", 0).expect("room");
    let item = peer.consumer.try_recv().expect("a message");
    let mut grant = us.producer.try_claim(100).expect("room");
    grant.write(b"the parent's").expect("lent");
    // SAFETY: the child allocates nothing, takes no lock and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = grant.write(b"the child's").is_err() && peer.consumer.bytes(&item).is_empty();
        grant.commit(1);
        // SAFETY: ends the process, without the parent's destructors and output buffers.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: `status` is a live int.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child touched what is the parent's");
    assert_eq!(peer.consumer.bytes(&item), b"lent");
    grant.write(b" goes on").expect("lent");
    grant.commit(1);
    let item = peer.consumer.try_recv().expect("a message");
    assert_eq!(peer.consumer.bytes(&item), b"the parent's goes on");
}

/// What the consumer makes of all that lies there, by calls that wait or do not.
fn rest(peer: &mut Side, waits: bool) -> (Vec<Vec<u8>>, String) {
    let mut messages = Vec::new();
    loop {
        let item = match waits {
            true => peer.consumer.recv(Some(Instant::now())).map_err(|error| error.to_string()),
            false => peer.consumer.try_recv().map_err(|error| error.to_string()),
        };
        match item {
            Ok(item) => messages.push(peer.consumer.bytes(&item).to_vec()),
            Err(end) => return (messages, end),
        }
    }
}

#[test]
fn attack_67_the_rest_of_a_pack_outlives_whoever_sent_it() {
    for (waits, tag, received) in [false, true]
        .into_iter()
        .flat_map(|waits| [0, 7].map(|tag| (waits, tag)))
        .flat_map(|(waits, tag)| [0, 1, 2].map(|received| (waits, tag, received)))
    {
        let (mut us, mut peer) = pair();
        let mut batch = us.producer.batch();
        for n in 1..=3 {
            batch.try_push(&[n; 8], tag).expect("room");
        }
        drop(batch);
        us.producer.try_send(b"behind", 0).expect("room");
        for n in 1..=received {
            let item = peer.consumer.try_recv().expect("a message");
            assert_eq!(peer.consumer.bytes(&item), [n; 8]);
        }
        peer.life.hang_up();
        let (messages, end) = rest(&mut peer, waits);
        let mut expected: Vec<Vec<u8>> = (received + 1..=3).map(|n| vec![n; 8]).collect();
        expected.push(b"behind".to_vec());
        assert_eq!(messages, expected, "waits: {waits}, tag {tag}, {received} before");
        assert_eq!(end, "the peer died");
    }
}

/// Sends until there is no room: messages of that length, and then empty ones, of which the last leaves room for the end
/// mark and nothing else.
fn fill(us: &mut Side, len: usize, sent: &mut Vec<Vec<u8>>) {
    for len in [len, 0] {
        loop {
            let message = vec![sent.len() as u8; len];
            match us.producer.try_send(&message, 0) {
                Ok(()) => sent.push(message),
                Err(_) => break,
            }
        }
    }
}

#[test]
fn attack_67_a_lane_full_to_its_last_byte_outlives_whoever_filled_it() {
    for (closes, waits, before) in [false, true]
        .into_iter()
        .flat_map(|closes| [false, true].map(|waits| (closes, waits)))
        .flat_map(|(closes, waits)| [0, 1, 3].map(|before| (closes, waits, before)))
    {
        for len in [0, 16, 48, 1008, 3 * 1008] {
            let (mut us, mut peer) = pair();
            let mut sent = Vec::new();
            fill(&mut us, len, &mut sent);
            // Somewhere else in the lane, and full again.
            for message in sent.drain(..before.min(sent.len())) {
                let item = peer.consumer.try_recv().expect("a message");
                assert_eq!(peer.consumer.bytes(&item), message);
            }
            peer.consumer.publish();
            fill(&mut us, len, &mut sent);
            let Side { producer, consumer: _consumer, .. } = us;
            let _open = (!closes).then_some(producer);
            peer.life.hang_up();
            let (messages, end) = rest(&mut peer, waits);
            let case = format!("{len} bytes, closes: {closes}, waits: {waits}, {before} before");
            assert!(messages == sent, "{case}: {} of {}", messages.len(), sent.len());
            assert_eq!(end, if closes { "the peer closed" } else { "the peer died" }, "{case}");
        }
    }
}

#[test]
fn messages_that_are_alike_share_a_pack_until_one_differs() {
    let (mut us, mut peer) = pair();
    let mut sent: Vec<(Vec<u8>, u64)> = (0..5).map(|n| (vec![n; 12], 0)).collect();
    sent.push((vec![], 0));
    sent.extend((0..3).map(|n| (vec![n; 8], 0)));
    sent.push((vec![9; 8], 1));
    sent.push((vec![9; 1000], 0));
    for together in [true, false] {
        let mut batch = us.producer.batch();
        for (message, tag) in &sent {
            batch.try_push(message, *tag).expect("room");
            if !together {
                batch.flush();
            }
        }
        drop(batch);
        for (message, tag) in &sent {
            let item = peer.consumer.try_recv().expect("a message");
            assert_eq!((peer.consumer.bytes(&item), item.tag), (&message[..], *tag));
            assert_eq!(peer.consumer.bytes(&item).as_ptr().addr() % 16, 0);
        }
        assert_eq!(peer.consumer.try_recv().err(), Some(TryRecvError::Empty));
    }
}

#[test]
fn aligning_an_item_of_an_earlier_receive_moves_nothing() {
    let (mut us, mut peer) = pair();
    // Where an item of one pack would be moved to lie the entries of the next.
    for len in [8, 8, 200] {
        let mut batch = us.producer.batch();
        for n in 0..6 {
            batch.try_push(&[n; 200][..len], 100 + u64::from(n)).expect("room");
        }
        drop(batch);
    }
    let mut old = Vec::new();
    for n in 0..18_u8 {
        // As the typed half does it: the first comes by a closer look.
        let item = match peer.consumer.next_ready() {
            Some(item) => item,
            None => {
                let begun = peer.consumer.begin_wait();
                peer.consumer.next_within(&begun, Some(Instant::now())).expect("a message");
                peer.consumer.found()
            }
        };
        assert_eq!(item.tag, 100 + u64::from(n % 6), "message {n}");
        assert_eq!(item.len(), if n < 12 { 8 } else { 200 }, "message {n}");
        assert!(peer.consumer.bytes(&item).iter().all(|byte| *byte == n % 6), "message {n}");
        old.push(item);
        for mut item in old.clone() {
            // Later ones are checked above, and whatever this lends is bytes of ours.
            item = peer.consumer.align(item).unwrap_or(item);
            let _ = peer.consumer.bytes(&item);
        }
    }
    let mut spare = Buffer::new();
    for item in &mut old {
        spare = peer.consumer.take(item, spare);
        *item = peer.consumer.align(*item).unwrap_or(*item);
    }
}

#[test]
fn of_a_pack_with_a_fault_only_what_was_taken_is_counted() {
    let (mut us, mut peer) = pair();
    us.producer.send_alike(&[7; 32], 8, None).expect("room");
    assert_eq!(peer.consumer.next_of(8, true), Some(&[7; 8][..]));
    assert_eq!(peer.consumer.stats().messages, 1);
    peer.consumer.fail(memring_ring::Fault::Decode);
    let stats = peer.consumer.stats();
    assert_eq!((stats.messages, stats.bytes), (1, 8));
}

#[test]
fn a_wait_that_goes_on_lends_no_frame_twice() {
    let (mut us, mut peer) = pair();
    // SAFETY: the producer at the other end is our own, and it does not change what it published.
    unsafe { peer.consumer.trust_peer() };
    us.producer.try_send(b"one", 1).expect("room");
    us.producer.try_send(b"two", 2).expect("room");
    let begun = peer.consumer.begin_wait();
    for due in [b"one", b"two"] {
        peer.consumer.next_within(&begun, Some(Instant::now())).expect("a message");
        let item = peer.consumer.found();
        assert_eq!(peer.consumer.bytes(&item), due);
    }
}

#[test]
fn no_more_of_a_pack_is_skipped_than_is_there() {
    let (mut us, mut peer) = pair();
    peer.consumer.skip_alike(3); // of none
    us.producer.send_alike(&[7; 32], 8, None).expect("room");
    us.producer.try_send(b"next", 5).expect("room");
    assert_eq!(peer.consumer.next_of(8, true), Some(&[7; 8][..]));
    assert_eq!(peer.consumer.alike(8), [7; 24]);
    peer.consumer.skip_alike(usize::MAX);
    assert!(peer.consumer.alike(8).is_empty() && !peer.consumer.has_more());
    let item = peer.consumer.try_recv().expect("a message");
    assert_eq!((peer.consumer.bytes(&item), item.tag), (&b"next"[..], 5));
    assert_eq!(peer.consumer.stats().messages, 5);
}
