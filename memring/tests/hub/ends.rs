//! How sessions end in a hub, and how members leave one.

use std::thread;

use memring::hub::{Event, Hub};
use memring::{Arm, Bytes, End, Listener, RecvError, TryRecvError, Wait};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::liar::liar;
use crate::support::{self, Helper, PATIENCE, Scratch, eventually, soon};
use crate::{Numbers, asleep_then, closed, next, nothing, nothing_yet, pair_in, readable};

#[test]
fn an_end_is_said_once_after_the_last_message() {
    let mut hub = Hub::new().expect("a hub");
    let (mut server, mut client) = pair_in(&mut hub);
    client.send(b"last").expect("sent");
    drop(client);
    assert_eq!(readable(&mut hub), server.key());
    assert_eq!(&*server.try_recv().expect("it was said"), b"last");
    let (key, end) = closed(&mut hub);
    assert!(key == server.key() && matches!(end, End::Closed), "{end:?}");
    nothing(&mut hub);
    assert!(matches!(server.try_recv(), Err(TryRecvError::Ended(End::Closed))));
    nothing(&mut hub);

    // Who finds it by himself is told all the same.
    let (mut server, client) = pair_in(&mut hub);
    drop(client);
    assert!(matches!(server.recv_deadline(soon()), Err(RecvError::Ended(End::Closed))));
    assert_eq!(closed(&mut hub).0, server.key());
    nothing(&mut hub);

    // By this side.
    let (server, _client) = pair_in(&mut hub);
    server.session().close();
    let (key, end) = closed(&mut hub);
    assert!(key == server.key() && matches!(end, End::Local), "{end:?}");
    nothing(&mut hub);
}

#[test]
fn an_end_wakes_a_hub_that_sleeps() {
    let mut hub = Hub::new().expect("a hub");
    let (server, client) = pair_in(&mut hub);
    let closing = asleep_then(move || drop(client));
    assert_eq!(closed(&mut hub).0, server.key());
    closing.join().expect("no panic");
    let (server, _client) = pair_in(&mut hub);
    let session = server.session().clone();
    let closing = asleep_then(move || session.close());
    assert_eq!(closed(&mut hub).0, server.key());
    closing.join().expect("no panic");
}

#[test]
fn a_fault_ends_its_session_and_no_other() {
    let mut hub = Hub::new().expect("a hub");
    let (server, mut liar) = liar::<Numbers>();
    let mut lied_to = hub.add(server).expect("joins");
    let (mut other, mut honest) = pair_in(&mut hub);
    liar.producer.send(b"no number", 0, None).expect("sent");
    assert_eq!(readable(&mut hub), lied_to.key());
    assert!(matches!(lied_to.try_recv(), Err(TryRecvError::Ended(End::Fault(_)))));
    let (key, end) = closed(&mut hub);
    assert!(key == lied_to.key() && matches!(end, End::Fault(_)), "{end:?}");
    honest.send(b"on").expect("sent");
    assert_eq!(readable(&mut hub), other.key());
    assert_eq!(&*other.try_recv().expect("it was said"), b"on");
    nothing(&mut hub);
}

#[test]
fn a_death_is_said_after_what_the_dead_has_sent() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut hub = Hub::new().expect("a hub");
    hub.listen(&listener).expect("joins");
    let helper = Helper::start("dies", &[("path", &scratch.socket().display())]);
    let mut client = match next(&mut hub) {
        Event::Connected(_, incoming) => {
            hub.add(incoming.open::<Bytes>().expect("opens")).expect("joins")
        }
        other => panic!("{other:?}"),
    };
    helper.expect("sent");
    assert_eq!(readable(&mut hub), client.key());
    let killing = asleep_then({
        let pid = Pid::from_raw(helper.pid() as i32).expect("a pid");
        move || kill_process(pid, Signal::KILL).expect("killed")
    });
    assert_eq!(&*client.try_recv().expect("it was said"), b"last words");
    let (key, end) = closed(&mut hub);
    assert!(key == client.key() && matches!(end, End::PeerDied(_)), "{end:?}");
    killing.join().expect("no panic");
    nothing(&mut hub);
}

#[test]
fn who_leaves_waits_elsewhere_as_before() {
    let mut hub = Hub::new().expect("a hub");
    hub.set_wait_strategy(Wait::Park);
    let (mut member, mut client) = pair_in(&mut hub);
    for round in 0..20_u8 {
        client.send(&[round]).expect("sent");
        assert_eq!(readable(&mut hub), member.key());
        member.try_recv().expect("it was said");
        nothing_yet(&mut hub);
        // A loop of another kind, which goes on counting armings where the hub stopped.
        let key = member.key();
        let mut polled = member.into_inner().polled().expect("descriptors");
        while polled.arm() != Arm::Armed {
            assert!(matches!(polled.try_recv(), Err(TryRecvError::Empty)));
        }
        client.send(b"to poll").expect("sent");
        let mut fds = [rustix::event::PollFd::new(&polled, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1), "round {round}");
        assert_eq!(&*polled.try_recv().expect("it was said"), b"to poll");
        let mut channel = polled.into_inner();
        client.send(b"to a thread").expect("sent");
        assert_eq!(&*channel.recv_deadline(soon()).expect("it was said"), b"to a thread");
        member = hub.add(channel).expect("joins again");
        assert_ne!(member.key(), key);
    }
}

#[test]
fn a_hub_that_goes_leaves_its_members_to_themselves() {
    let mut hub = Hub::new().expect("a hub");
    let (mut member, mut client) = pair_in(&mut hub);
    nothing(&mut hub);
    drop(hub);
    let tid = support::tid();
    let answering = thread::spawn(move || {
        support::eventually_asleep(tid);
        client.send(b"on").expect("sent");
        client
    });
    assert_eq!(&*member.recv_deadline(soon()).expect("it was said"), b"on");
    let client = answering.join().expect("no panic");
    let closing = asleep_then(move || drop(client));
    assert!(matches!(member.recv_deadline(soon()), Err(RecvError::Ended(End::Closed))));
    closing.join().expect("no panic");
}

#[test]
fn one_that_was_dropped_is_heard_of_no_more() {
    let mut hub = Hub::new().expect("a hub");
    let (first, mut gone) = pair_in(&mut hub);
    let old = first.key();
    gone.send(b"nobody reads this").expect("sent");
    drop(first);
    let (mut second, mut client) = pair_in(&mut hub);
    assert_eq!(second.key().index(), old.index());
    assert_ne!(second.key(), old);
    client.send(b"news").expect("sent");
    assert_eq!(readable(&mut hub), second.key());
    second.try_recv().expect("it was said");
    nothing(&mut hub);
    eventually("the peer is told", || gone.try_send(b"x").is_err());
}
