//! What belongs to a process: forks, descriptors, fences that fail. Each test has one of its own.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use memring::hub::{Event, Hub, Interest, Member};
use memring::{Bytes, End, Listener, ServerEnd, TryRecvError, Wait};

use crate::support::{self, Forked, Helper, Scratch, alone, eventually, forbid, soon};
use crate::{next, nothing, pair_in, readable};

#[test]
fn a_forked_child_has_no_hub() {
    if !alone("process::a_forked_child_has_no_hub") {
        return;
    }
    let mut hub = Hub::new().expect("a hub");
    let (mut member, mut client) = pair_in(&mut hub);
    let (_far, near) = UnixStream::pair().expect("a pair");
    let near = hub.watch(near, Interest::Read).expect("joins");
    let child = Forked::start(|| {
        assert!(hub.wait(Some(soon())).is_err());
        assert!(hub.after(Duration::ZERO).is_err());
        assert!(matches!(member.try_recv(), Err(TryRecvError::Ended(End::Forked))));
    });
    assert!(child.wait());
    let child = Forked::start(move || drop((member, near, hub)));
    assert!(child.wait());
    let _ = &mut client;
}

#[test]
fn what_a_forked_child_drops_its_parent_keeps() {
    if !alone("process::what_a_forked_child_drops_its_parent_keeps") {
        return;
    }
    let mut hub = Hub::new().expect("a hub");
    let (server, mut client) = memring::pair::<Bytes>().expect("a pair");
    let mut held = Some((hub.add(server).expect("joins"), UnixStream::pair().expect("a pair")));
    nothing(&mut hub);
    let child = Forked::start(|| drop(held.take()));
    assert!(child.wait());
    let (mut member, _) = held.expect("the parent's");
    client.send(b"on").expect("sent");
    assert_eq!(readable(&mut hub), member.key());
    assert_eq!(&*member.try_recv().expect("it was said"), b"on");
}

/// A listener in a process that has no more descriptors left than these says once that it pauses, and goes on when there are others.
fn pauses(left: usize, first: Option<&str>) {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut hub = Hub::new().expect("a hub");
    let key = hub.listen(&listener).expect("joins");
    let connects = || Helper::start("connects", &[("path", &scratch.socket().display())]);
    let mut helper = connects();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    taken.truncate(taken.len() - left);
    match next(&mut hub) {
        Event::Paused(at, why) => {
            assert_eq!(at, key);
            assert!(why.to_string().contains("ulimit -n"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    if let Some(first) = first {
        helper.expect(first);
    }
    let moment = Instant::now() + Duration::from_millis(300);
    let event = hub.wait(Some(moment)).expect("waits");
    assert!(event.is_none(), "it is said once, and yet: {event:?}");
    drop(taken);
    if first.is_some() {
        helper = connects();
    }
    let _client = match next(&mut hub) {
        Event::Connected(_, incoming) => incoming.open::<Bytes>().expect("opens"),
        other => panic!("{other:?}"),
    };
    helper.expect("connected");
}

#[test]
fn without_descriptors_a_listener_pauses_and_says_so_once() {
    if alone("process::without_descriptors_a_listener_pauses_and_says_so_once") {
        pauses(0, None);
    }
}

#[test]
fn handshakes_that_lack_descriptors_pause_their_listener_too() {
    if alone("process::handshakes_that_lack_descriptors_pause_their_listener_too") {
        pauses(3, Some("failed")); // for the connection, and not for shared memory
    }
}

#[test]
fn a_member_costs_two_descriptors_and_none_is_left() {
    if !alone("process::a_member_costs_two_descriptors_and_none_is_left") {
        return;
    }
    let open = || std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd").count();
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut hub = Hub::new().expect("a hub");
    let connect = |path: std::path::PathBuf| {
        thread::spawn(move || memring::connect::<Bytes>(path).expect("connects"))
    };
    let mut members: Vec<Member<ServerEnd<Bytes>>> = Vec::new();
    let mut clients = Vec::new();
    let mut counts = Vec::new();
    for _ in 0..5 {
        let connecting = connect(scratch.socket());
        let incoming = listener.accept_deadline(soon()).expect("accepts");
        let channel = incoming.open::<Bytes>().expect("opens");
        clients.push(connecting.join().expect("no panic"));
        let mut before = 0;
        eventually("handshakes have ended", || {
            let now = open();
            std::mem::replace(&mut before, now) == now && !has_handshakes()
        });
        members.push(hub.add(channel).expect("joins"));
        assert_eq!(open(), before, "joining costs none");
        counts.push(before);
    }
    // Of each side two: its control socket, and its peer's pidfd.
    assert!(counts.windows(2).all(|two| two[1] - two[0] <= 4), "{counts:?}");
    let first = if support::has_pidfds() { 4 } else { 2 };
    drop((members, clients));
    eventually("all are closed", || open() <= counts[0] - first);
}

fn has_handshakes() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc/self/task");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.into_iter().any(|name| name.starts_with("memring-hello"))
}

#[test]
fn where_fences_fail_messages_are_heard_all_the_same() {
    if !alone("process::where_fences_fail_messages_are_heard_all_the_same") {
        return;
    }
    forbid(libc::SYS_membarrier, libc::EPERM);
    let mut hub = Hub::new().expect("a hub");
    hub.set_wait_strategy(Wait::Park);
    let (mut member, mut client) = pair_in(&mut hub);
    for round in 0..50_u8 {
        let tid = support::tid();
        let sending = thread::spawn(move || {
            support::eventually_asleep(tid);
            client.send(&[round]).expect("sent");
            client
        });
        assert_eq!(readable(&mut hub), member.key());
        assert_eq!(&*member.try_recv().expect("it was said"), [round]);
        client = sending.join().expect("no panic");
    }
}
