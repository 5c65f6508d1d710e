//! A peer that changes its bytes while we read them: what we decide on was loaded once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use memring_ring::consumer::RecvError;
use memring_ring::frame::{Header, Kind};
use memring_ring::producer::TrySendError;
use memring_ring::{End, Fault, Terms, Wait};

use crate::support::{HEAD, bytes};
use crate::target::{CAPACITY, Target};

/// Runs `peer` over and over in another thread while `us` runs.
fn against<T>(mut peer: impl FnMut() + Send, us: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peer();
            }
        });
        let outcome = us();
        over.store(true, Ordering::Relaxed);
        outcome
    })
}

#[test]
fn attack_55_a_length_that_changes_after_the_check_is_not_read_again() {
    let lens = [16_u32, 1008];
    let words = lens.map(|len| Header::new(Kind::Data, len).word());
    for _ in 0..20 {
        let target = Target::with(Terms::new(2000).wait(Wait::Park));
        let (mut consumer, peer) = (target.us.consumer, target.peer);
        // Every place a frame can begin at, so that whatever length was believed, it goes on.
        let write = |word: u64| {
            for at in (0..CAPACITY as usize).step_by(16) {
                peer.data.store64(at, word, Ordering::Release);
            }
        };
        write(words[0]);
        let mut turn = 0;
        against(
            || {
                turn += 1;
                write(words[turn % 2]);
            },
            || {
                let mut seen = [0_u32; 2];
                for _ in 0..3000 {
                    let item = consumer.recv(None).expect("every word there is a good header");
                    let which = lens.iter().position(|len| *len as usize == item.len());
                    seen[which.expect("one length or the other")] += 1;
                    assert_eq!(consumer.bytes(&item).len(), item.len());
                }
            },
        );
    }
}

#[test]
fn attack_53_words_that_oscillate_are_a_fault_or_a_message_and_never_a_mixture() {
    let good = Header::new(Kind::Data, 32).word();
    for (bad, fault) in [
        (Header::new(Kind::Data, u32::MAX).word(), Fault::Length(u32::MAX)),
        (good | 0xff00, Fault::Reserved),
        (good | 0xff, Fault::Kind(0xff)),
    ] {
        for _ in 0..50 {
            let mut target = Target::new(0);
            let peer = target.peer.clone();
            let write = |word: u64| {
                for at in (0..CAPACITY as usize).step_by(48) {
                    peer.data.store64(at, word, Ordering::Release);
                }
            };
            write(good);
            let consumer = &mut target.us.consumer;
            let outcome = against(
                || {
                    write(bad);
                    write(good);
                },
                || {
                    // Within the first round of the lane, whose length 48 does not divide.
                    for _ in 0..CAPACITY / 48 {
                        match consumer.recv(Some(Instant::now())) {
                            Ok(item) => assert_eq!(item.len(), 32),
                            Err(error) => return Some(error),
                        }
                    }
                    None
                },
            );
            match outcome {
                None | Some(RecvError::TimedOut) => {}
                Some(RecvError::Ended(end)) => {
                    assert_eq!(end, End::Fault(fault));
                    target.assert_faulted(fault, "oscillating");
                }
                Some(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn attack_53_a_head_that_oscillates_is_good_or_a_fault() {
    for _ in 0..50 {
        let mut target = Target::new(0);
        let control = target.peer.control.clone();
        let mut sent = 0_u64;
        let producer = &mut target.us.producer;
        let outcome = against(
            || {
                control.store64(HEAD, u64::MAX, Ordering::Release);
                control.store64(HEAD, 0, Ordering::Release);
            },
            || {
                for _ in 0..2000 {
                    match producer.try_send(&[0; 48], 0) {
                        Ok(()) => sent += 64,
                        Err(TrySendError::Full) => {}
                        Err(error) => return Some(error),
                    }
                }
                None
            },
        );
        assert!(sent <= CAPACITY - 16, "a lie made room: {sent}");
        if let Some(error) = outcome {
            assert_eq!(error, TrySendError::Ended(End::Fault(Fault::Head)));
            target.assert_faulted(Fault::Head, "oscillating");
        }
    }
}

#[test]
fn attack_56_a_message_that_was_received_does_not_change_any_more() {
    let scribbles = [bytes(1, 1000), bytes(2, 1000)];
    let whole = |payload: &[u8]| payload.to_vec();
    type Write = fn(&mut crate::target::Peer);
    let shapes: [(&str, Write); 3] = [
        ("data", |peer| peer.honest(Kind::Data, 0, &[0; 1000])),
        ("pack", |peer| {
            let mut pack = vec![0; 1000];
            pack[0] = 200; // five messages of 200 bytes in 216 each would be too many: one, and then another
            pack[216..224].copy_from_slice(&(1000_u64 - 216 - 16).to_le_bytes());
            peer.honest(Kind::Pack, 0, &pack);
        }),
        ("parts", |peer| {
            let mut first = 1900_u64.to_le_bytes().to_vec();
            first.extend([0; 900]);
            peer.honest(Kind::First, 0, &first);
            peer.honest(Kind::Last, 0, &[0; 1000]);
        }),
    ];
    for (case, write) in shapes {
        let mut target = Target::new(0);
        write(&mut target.peer);
        let consumer = &mut target.us.consumer;
        // Received before the scribbling begins, so its headers are in order.
        let item = consumer.recv(None).expect("a message");
        let before = whole(consumer.bytes(&item));
        let data = target.peer.data.clone();
        let mut turn = 0;
        against(
            || {
                turn += 1;
                for at in (0..CAPACITY as usize - 1000).step_by(500) {
                    data.copy_in(at, &scribbles[turn % 2]);
                }
            },
            || {
                for _ in 0..2000 {
                    assert_eq!(consumer.bytes(&item), before, "{case}");
                }
                if case == "pack" {
                    // The rest of the pack was copied with it.
                    let item = consumer.try_recv().expect("the second of the pack");
                    assert_eq!(consumer.bytes(&item), &[0; 1000 - 216 - 16], "{case}");
                }
            },
        );
    }
}
