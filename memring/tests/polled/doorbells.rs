//! Doorbells: rung once an arming, and heard though they share a control socket with other packets.

use std::thread;
use std::time::{Duration, Instant};

use memring::{
    Arm, Bytes, ClientEnd, Connector, Lanes, Polled, Receiver, RecvError, Sender, ServerEnd,
    Session, TrySendError,
};

use crate::loops::{Kind, Loop, is_readable};
use crate::support::pages::{Page, Pages, page};
use crate::support::{eventually, soon};

/// Waits until the peer has answered that it publishes with full fences, which a loop asks for when it begins: from then on nothing
/// comes that no test has sent.
fn settle(session: &Session, mut arm: impl FnMut() -> Arm) {
    eventually("the peer publishes with full fences", || {
        let _it_reads_what_came = arm();
        !session.life().fences().chosen().1
    });
}

#[test]
fn a_doorbell_is_rung_when_armed_and_once() {
    let (mut server, client) = memring::pair::<Bytes>().expect("a pair");
    let mut client = client.polled().expect("descriptors");
    let session = client.session().clone();
    settle(&session, || client.arm());
    // A blocking call takes that back, once it has slept: one whose moment has passed before does not.
    let moment = || Instant::now() + Duration::from_millis(10);
    let block = |client: &mut Polled<_>| {
        for _ in 0..3 {
            let received = ClientEnd::<Bytes>::recv_deadline(client, moment());
            assert!(matches!(received, Err(RecvError::TimedOut)));
        }
    };
    block(&mut client);
    let mut wait = Loop::of(Kind::Poll, &client);
    let rung = |server: &mut ServerEnd<Bytes>| server.halves().0.stats().wakes;
    server.send(b"before").expect("sent");
    assert_eq!(rung(&mut server), 0, "nobody waits");
    assert_eq!(client.arm(), Arm::Ready, "something is there");
    assert_eq!(&*client.try_recv().expect("it"), b"before");
    for turn in 1..=3 {
        assert_eq!(client.arm(), Arm::Armed);
        (0..10).for_each(|_| server.send(b"one of many").expect("sent"));
        assert_eq!(rung(&mut server), turn, "once an arming");
        assert!(wait.wait(&client));
        (0..10).for_each(|_| assert_eq!(&*client.try_recv().expect("many"), b"one of many"));
    }
    // What came before arming is read by it: nothing is left that makes the descriptor readable.
    assert_eq!(client.arm(), Arm::Armed);
    assert!(!is_readable(&client));
    block(&mut client);
    server.send(b"unheard").expect("sent");
    assert_eq!(rung(&mut server), 3);
}

#[test]
fn a_doorbell_that_another_loop_reads_is_passed_on_once() {
    let (mut server, client) = memring::pair::<Bytes>().expect("a pair");
    let (tx, rx) = client.split();
    let (mut tx, mut rx) = (tx.polled().expect("descriptors"), rx.polled().expect("descriptors"));
    let session = rx.session().clone();
    settle(&session, || rx.arm());
    assert_eq!(rx.arm(), Arm::Armed);
    server.send(b"news").expect("sent");
    assert_eq!(tx.arm_for_room(), Arm::Ready, "nothing was refused"); // and it has read the doorbell
    assert!(is_readable(&rx));
    assert_eq!(rx.arm(), Arm::Ready);
    assert_eq!(&*rx.try_recv().expect("it"), b"news");
    assert_eq!(rx.arm(), Arm::Armed);
    assert!(!is_readable(&rx));
}

/// A server that sends pages, and a client.
fn page_pair() -> (ServerEnd<Pages>, ClientEnd<Pages>) {
    let connector = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Normal);
    connector.blobs(1024, 1 << 30).pair::<Pages>().expect("a pair")
}

/// The halves of such a client, of which the one that sends has filled its lane, and waits for room in a loop.
fn in_want_of_room(client: ClientEnd<Pages>) -> (Polled<Sender<[u8]>>, Receiver<Page>) {
    let (tx, rx) = client.split();
    let mut tx = tx.polled().expect("descriptors");
    let session = tx.session().clone();
    settle(&session, || tx.arm_for_room());
    while tx.try_send(&[7; 1000]).is_ok() {}
    assert_eq!(tx.arm_for_room(), Arm::Armed);
    (tx, rx)
}

#[test]
fn a_doorbell_that_found_the_socket_full_is_heard_by_whoever_waits_for_it() {
    let (mut server, client) = page_pair();
    let (mut tx, mut rx) = in_want_of_room(client);
    // Until the client's socket is full. Kept, so that nothing is said of them once it is not any more.
    let mut kept = vec![page()];
    while server.try_send(&kept[kept.len() - 1]).is_ok() {
        kept.push(page());
    }
    let sent = kept.len() - 1;
    assert!((50..1000).contains(&sent), "{sent} packets");
    while server.try_recv().is_ok() {}
    assert_eq!(server.halves().1.stats().wakes, 1, "a doorbell was to be rung");
    // All there is in the socket is read for these, and no doorbell is among it.
    (0..sent).for_each(|_| drop(rx.try_recv().expect("a page")));
    assert!(Loop::of(Kind::Level, &tx).wait(&tx), "a lost wake: room");
    assert_eq!(tx.arm_for_room(), Arm::Ready);
}

#[test]
fn who_leaves_a_loop_is_served_by_the_watcher_again() {
    let (mut server, client) = page_pair();
    let mut client = client.polled().expect("descriptors");
    assert_eq!(client.arm(), Arm::Armed);
    let mut client = client.into_inner();
    // Word of each that goes lies in the client's socket, until that is full; from now on it never waits.
    let all: Vec<_> = (0..400).map(|_| page()).collect();
    for page in &all {
        server.send_deadline(page, soon()).expect("room");
        eventually("it comes", || client.try_recv().is_ok());
    }
    drop(all);
    thread::sleep(Duration::from_millis(100)); // while another thread says so
    server.send_deadline(&page(), soon()).expect("the client's socket is read");
    eventually("it comes", || client.try_recv().is_ok());
}

#[test]
fn an_arming_that_reads_only_part_leaves_the_rest_to_the_watcher() {
    let (mut server, client) = page_pair();
    let (mut tx, mut rx) = in_want_of_room(client);
    while server.try_recv().is_ok() {}
    // More than are read in one go. This half has what it wanted, and arms no more.
    let mut kept: Vec<_> = (0..100).map(|_| page()).collect();
    kept.iter().for_each(|page| server.try_send(page).expect("room"));
    assert_eq!(tx.arm_for_room(), Arm::Ready);
    let receiving = thread::spawn(move || (0..601).all(|_| rx.recv_deadline(soon()).is_ok()));
    for _ in 0..500 {
        kept.push(page());
        server.send_deadline(&kept[kept.len() - 1], soon()).expect("room");
    }
    eventually("all but one were received", || server.halves().0.stats().messages == 600);
    drop(kept);
    thread::sleep(Duration::from_millis(100)); // while another thread says so
    server.send_deadline(&page(), soon()).expect("the client's socket is read");
    assert!(receiving.join().expect("no panic"));
    drop(tx);
}

#[test]
fn room_in_the_lane_is_not_hidden_by_a_socket_that_was_full_before() {
    let connector = Connector::new().lanes(Lanes::Normal, Lanes::Bytes(4096));
    let (server, client) = connector.blobs(1024, 1 << 30).pair::<Pages>().expect("a pair");
    let mut server = server.polled().expect("descriptors");
    let mut client = client.polled().expect("descriptors");
    let session = client.session().clone();
    settle(&session, || client.arm());
    assert_eq!(client.arm(), Arm::Armed); // from here on only messages with something new have its socket read
    let known = page();
    let mut gone = vec![];
    for number in 0..600 {
        gone.push(page());
        let page = if number == 0 { &known } else { &gone[number] };
        server.send_deadline(page, soon()).expect("room");
        client.try_recv().expect("a page");
    }
    // Word of those fills the socket, and what is left of it goes before a new page, which has no room then. Another thread
    // says it, some time; so does an arming, whatever that has said by then. A page that went sooner would be new no more, and
    // the client would read what lies in the socket for it.
    drop(gone);
    let _it_says_what_is_owed = server.arm();
    assert!(matches!(server.try_send(&page()), Err(TrySendError::Full)), "the socket is full");
    // Known ones go until the lane is full, and as soon as it is not.
    while server.try_send(&known).is_ok() {}
    while client.try_recv().is_ok() {}
    assert_eq!(server.arm_for_room(), Arm::Ready);
    server.try_send(&known).expect("room");
}
