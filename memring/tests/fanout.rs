//! One to many: what the fast get, what the slow miss, and who is let go.

mod support;

use std::thread;
use std::time::{Duration, Instant};

use memring::fanout::{Fanout, Slow, Subscriber};
use memring::{Bytes, ClientEnd, Connector, End, Lanes, RecvError, SendError, TryRecvError};

/// One more subscriber, with a lane that four messages of 900 bytes fill.
fn join(fanout: &mut Fanout<[u8]>, slow: Slow) -> (Subscriber, ClientEnd<Bytes>) {
    let small = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
    let (server, client) = small.pair::<Bytes>().expect("a pair");
    (fanout.add(server.split().0, slow), client)
}

fn message(number: u64) -> Vec<u8> {
    let mut bytes = vec![7; 900];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The numbers of all messages that lie there.
fn all(client: &mut ClientEnd<Bytes>) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        match client.try_recv() {
            Ok(bytes) => {
                assert!(bytes.len() == 900 && bytes[8..].iter().all(|byte| *byte == 7));
                numbers.push(u64::from_le_bytes(bytes[..8].try_into().expect("eight")));
            }
            Err(TryRecvError::Empty | TryRecvError::Ended(End::Closed)) => return numbers,
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn each_gets_what_its_pace_leaves_it_and_none_holds_up_another() {
    let mut fanout = Fanout::new();
    let (fast_is, mut fast) = join(&mut fanout, Slow::Disconnect);
    let (missing_is, mut missing) = join(&mut fanout, Slow::DropNewest);
    let (late_is, mut late) = join(&mut fanout, Slow::KeepLatest);
    let (gone_is, mut gone) = join(&mut fanout, Slow::Disconnect);
    let mut lost = Vec::new();
    for number in 0..20 {
        lost.extend(fanout.publish(&message(number)).expect("published"));
        assert_eq!(all(&mut fast), [number]);
    }
    // Whoever would not be waited for got what fitted, and then nothing.
    let fitted = all(&mut gone);
    let fits = fitted.len() as u64;
    assert_eq!(fitted, (0..fits).collect::<Vec<_>>());
    assert!((1..20).contains(&fits));
    assert!(matches!(gone.recv(), Err(RecvError::Ended(End::Closed))));
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].subscriber, lost[0].missed), (gone_is, 1));
    assert!(lost[0].end.is_none() && fanout.missed(gone_is).is_none());
    // The others missed what they were to miss, and say so.
    assert_eq!(all(&mut missing), fitted);
    assert_eq!(fanout.missed(missing_is), Some(20 - fits));
    assert_eq!(all(&mut late), fitted);
    assert_eq!(fanout.missed(late_is), Some(19 - fits), "the last is kept");
    assert!(fanout.flush().is_empty());
    assert_eq!(all(&mut late), [19]);
    assert!(fanout.flush().is_empty() && all(&mut late).is_empty(), "kept once");
    assert_eq!((fanout.missed(fast_is), fanout.len()), (Some(0), 3));
    // Everybody has room again.
    fanout.publish(&message(20)).expect("published");
    for client in [&mut fast, &mut missing, &mut late] {
        assert_eq!(all(client), [20]);
    }
}

#[test]
fn whoever_is_waited_for_in_vain_is_let_go_and_others_are_not_kept() {
    let mut fanout = Fanout::new();
    let patience = Duration::from_millis(200);
    let (_, mut slow) = join(&mut fanout, Slow::Wait(support::PATIENCE));
    let (never_is, never) = join(&mut fanout, Slow::Wait(patience));
    let reading = thread::spawn(move || {
        let mut got = Vec::new();
        while let Ok(bytes) = slow.recv().map(|bytes| bytes[..8].to_vec()) {
            got.push(u64::from_le_bytes(bytes.try_into().expect("eight")));
            thread::sleep(Duration::from_micros(200));
        }
        got
    });
    let began = Instant::now();
    let mut lost = Vec::new();
    for number in 0..200 {
        lost.extend(fanout.publish(&message(number)).expect("published"));
    }
    assert!(began.elapsed() >= patience);
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].subscriber, never_is);
    drop((fanout, never));
    assert_eq!(reading.join().expect("the reader"), (0..200).collect::<Vec<_>>());
}

#[test]
fn who_has_gone_is_taken_out_and_too_much_is_refused_to_all() {
    let mut fanout = Fanout::new();
    let (one_is, mut one) = join(&mut fanout, Slow::DropNewest);
    let (two_is, two) = join(&mut fanout, Slow::DropNewest);
    assert!(matches!(fanout.publish(&[0; 5000]), Err(SendError::TooLarge { .. })));
    assert!(all(&mut one).is_empty());
    drop(two);
    // The first after it may not show it yet.
    let mut lost = fanout.publish(&message(0)).expect("published");
    lost.extend(fanout.publish(&message(1)).expect("published"));
    assert_eq!(lost.len(), 1);
    assert!(lost[0].subscriber == two_is && matches!(lost[0].end, Some(End::Closed)), "{lost:?}");
    assert_eq!(all(&mut one), [0, 1]);
    let mut sender = fanout.remove(one_is).expect("it was there");
    assert!(fanout.is_empty() && fanout.publish(&message(2)).expect("to nobody").is_empty());
    sender.send(&message(3)).expect("on its own");
    assert_eq!(all(&mut one), [3]);
}
