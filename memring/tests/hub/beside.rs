//! What a hub waits for beside sessions: timers, descriptors, signals, other threads, and others at its listener.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use memring::hub::{Event, Hub, Interest, Signal};
use memring::{Bytes, ClientEnd, Listener};
use rustix::process::{Signal as Sent, getpid, kill_process};

use crate::support::{Forked, PATIENCE, Scratch, alone, soon};
use crate::{asleep_then, next, nothing, pair_in};

#[test]
fn timers_ring_in_order_again_and_not_once_removed() {
    let mut hub = Hub::new().expect("a hub");
    let began = Instant::now();
    let ms = Duration::from_millis;
    let late = hub.after(ms(60)).expect("a timer");
    let early = hub.at(began + ms(20)).expect("a timer");
    let never = hub.after(ms(30)).expect("a timer");
    assert!(hub.remove(never) && !hub.remove(never));
    let beat = hub.every(ms(25)).expect("a timer");
    let mut seen = Vec::new();
    while seen.len() < 5 {
        match next(&mut hub) {
            Event::Timer(key) => seen.push((key, began.elapsed())),
            other => panic!("{other:?}"),
        }
    }
    let at = |key| seen.iter().position(|(other, _)| *other == key).expect("it rang");
    assert!(at(early) < at(late), "{seen:?}");
    let first = |key| seen[at(key)].1;
    assert!(first(early) >= ms(20) && first(late) >= ms(60) && first(beat) >= ms(25), "{seen:?}");
    assert!(seen.iter().all(|(key, _)| [early, late, beat].contains(key)), "{seen:?}");
    assert!(!hub.remove(early), "one that was for once has left");
    assert!(hub.remove(beat));
    nothing(&mut hub);
    // Those that are due by the time that anybody looks, too.
    let now = Instant::now();
    let mut due: Vec<_> = [4, 2, 0, 3, 1]
        .map(|at| (at, hub.at(now + ms(at)).expect("a timer")))
        .into_iter()
        .collect();
    due.sort_unstable();
    thread::sleep(ms(10));
    for (at, key) in due {
        assert!(matches!(next(&mut hub), Event::Timer(rung) if rung == key), "{at}");
    }
    nothing(&mut hub);
    // Thousands that come and go leave nothing behind, and none of them rings.
    for _ in 0..10_000 {
        let key = hub.after(Duration::from_secs(3600)).expect("a timer");
        assert!(hub.remove(key));
    }
    assert!(hub.after(Duration::MAX).is_ok() && hub.every(Duration::MAX).is_ok());
    nothing(&mut hub);
}

#[test]
fn a_deadline_that_has_passed_looks_and_does_not_wait() {
    let mut hub = Hub::new().expect("a hub");
    let past = Some(Instant::now());
    assert!(hub.wait(past).expect("waits").is_none());
    let (mut member, mut client) = pair_in(&mut hub);
    assert!(hub.wait(past).expect("waits").is_none());
    nothing(&mut hub); // armed
    client.send(b"news").expect("sent");
    match hub.wait(past).expect("waits") {
        Some(Event::Readable(key)) => assert_eq!(key, member.key()),
        other => panic!("{other:?}"),
    }
    member.try_recv().expect("it was said");
    assert!(hub.wait(past).expect("waits").is_none());
}

#[test]
fn descriptors_are_waited_for_as_long_as_they_are_held() {
    let mut hub = Hub::new().expect("a hub");
    let (mut far, near) = UnixStream::pair().expect("a pair");
    let mut near = hub.watch(near, Interest::Both).expect("joins");
    match next(&mut hub) {
        Event::Ready(key, readiness) => {
            assert_eq!(key, near.key());
            assert!(readiness.writable && !readiness.readable && !readiness.hung_up);
        }
        other => panic!("{other:?}"),
    }
    near.set_interest(Interest::Read).expect("changed");
    // What was found before the change may be said still.
    while hub.wait(Some(Instant::now())).expect("waits").is_some() {}
    nothing(&mut hub);
    far.write_all(b"twice").expect("written");
    for _ in 0..2 {
        assert!(matches!(next(&mut hub), Event::Ready(_, readiness) if readiness.readable));
    }
    near.read_exact(&mut [0; 5]).expect("read");
    while hub.wait(Some(Instant::now())).expect("waits").is_some() {}
    let near = near.into_inner();
    far.write_all(b"unheard").expect("written");
    nothing(&mut hub);
    let near = hub.watch(near, Interest::Read).expect("joins again");
    drop(near);
    nothing(&mut hub);
    let file = std::fs::File::open("/proc/self/exe").expect("a file");
    assert!(hub.watch(file, Interest::Read).is_err(), "a file is always ready");
    nothing(&mut hub);
}

#[test]
fn other_threads_wake_a_hub_and_leave_it_things() {
    let mut hub = Hub::new().expect("a hub");
    let (remote, (give, take)) = (hub.remote(), mpsc::channel());
    let waking = asleep_then(move || {
        give.send("work").expect("it is taken");
        remote.wake();
    });
    assert!(matches!(next(&mut hub), Event::Woken));
    assert_eq!(take.try_recv(), Ok("work"));
    waking.join().expect("no panic");
    let remote = hub.remote();
    remote.wake();
    remote.clone().wake();
    assert!(matches!(next(&mut hub), Event::Woken));
    nothing(&mut hub);
    drop(hub);
    remote.wake(); // in vain
}

#[test]
fn hubs_of_several_threads_share_a_listener() {
    const CLIENTS: usize = 40;
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    thread::scope(|scope| {
        let serve = || {
            let mut hub = Hub::new().expect("a hub");
            let mut members = HashMap::new();
            hub.listen(&listener).expect("joins");
            let mut served = 0;
            loop {
                match next(&mut hub) {
                    Event::Connected(_, incoming) => {
                        let channel = incoming.open::<Bytes>().expect("opens");
                        let member = hub.add(channel).expect("joins");
                        members.insert(member.key(), member);
                        served += 1;
                    }
                    Event::Readable(key) => {
                        let (tx, rx) = members.get_mut(&key).expect("a member").halves();
                        tx.send(&rx.try_recv().expect("it was said")).expect("sent");
                    }
                    Event::Closed(key, _) => drop(members.remove(&key)),
                    Event::Stopped(..) => return served,
                    other => panic!("{other:?}"),
                }
            }
        };
        let shards = [scope.spawn(serve), scope.spawn(serve)];
        let mut clients: Vec<ClientEnd<Bytes>> = (0..CLIENTS)
            .map(|_| memring::connect::<Bytes>(scratch.socket()).expect("connects"))
            .collect();
        for client in &mut clients {
            client.send(b"hello").expect("sent");
            assert_eq!(&*client.recv_deadline(soon()).expect("an answer"), b"hello");
        }
        listener.shut_down();
        let served: usize = shards.map(|shard| shard.join().expect("no panic")).iter().sum();
        assert_eq!(served, CLIENTS);
    });
}

#[test]
fn a_hub_that_goes_leaves_its_listeners_whoever_of_its_members_stays() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut hub = Hub::new().expect("a hub");
    hub.listen(&listener).expect("joins");
    let (_member, _client) = pair_in(&mut hub);
    drop(hub);
    drop(listener);
    assert!(scratch.files().is_empty(), "{:?}", scratch.files());
}

#[test]
fn signals_come_as_events_and_as_signals_again_afterwards() {
    if !alone("beside::signals_come_as_events_and_as_signals_again_afterwards") {
        return;
    }
    // A process of one thread: where signals are not blocked, they come as ever.
    assert!(Forked::start(take_signals).wait());
}

fn take_signals() {
    let raise = |signal| kill_process(getpid(), signal).expect("raised");
    let mut hub = Hub::new().expect("a hub");
    assert!(hub.signals(&[Signal(libc::SIGKILL)]).is_err());
    assert!(hub.signals(&[Signal(0)]).is_err());
    let key = hub.signals(&[Signal::TERM, Signal::USR1]).expect("signals");
    let twice = hub.signals(&[Signal::HUP, Signal::TERM]).expect_err("taken already");
    assert_eq!(twice.kind(), std::io::ErrorKind::AlreadyExists);
    raise(Sent::USR1);
    raise(Sent::TERM);
    let mut came: Vec<_> = (0..2)
        .map(|_| match next(&mut hub) {
            Event::Signal(signal) => signal,
            other => panic!("{other:?}"),
        })
        .collect();
    came.sort_by_key(|signal| signal.0);
    let mut sent = [Signal::TERM, Signal::USR1];
    sent.sort_by_key(|signal| signal.0);
    assert_eq!(came, sent);
    nothing(&mut hub);
    assert!(hub.remove(key));
    // A hub that goes gives them back too, whoever of its members stays.
    hub.signals(&[Signal::TERM, Signal::USR1]).expect("signals again");
    let (_member, _client) = pair_in(&mut hub);
    drop(hub);
    // Now what it did before: it ends a process.
    let ended = Forked::start(|| {
        raise(Sent::USR1);
        thread::sleep(PATIENCE);
    });
    assert!(!ended.wait());
}
