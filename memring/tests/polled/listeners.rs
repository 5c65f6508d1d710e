//! Listeners in loops: everybody who comes is handed out, and so is the end.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread;

use memring::{Bytes, Listener, ServerEnd};

use crate::loops::{KINDS, Kind, Loop, is_readable};
use crate::support::{
    self, Helper, PATIENCE, Scratch, Stage, alone, eventually, eventually_asleep, soon,
};

/// Accepts so many in a loop of this kind, and says hello to each.
fn accept(kind: Kind, listener: &Listener, count: usize) -> Vec<ServerEnd<Bytes>> {
    let mut waiting = listener.polled().expect("descriptors");
    let mut wait = Loop::of(kind, &waiting);
    let mut channels = Vec::new();
    while channels.len() < count {
        while let Some(incoming) = waiting.try_accept().expect("listens") {
            let mut channel = incoming.open::<Bytes>().expect("opens");
            channel.send(b"hello").expect("sent");
            channels.push(channel);
        }
        if channels.len() < count {
            assert!(wait.wait(&waiting), "{kind:?}: somebody comes");
        }
    }
    channels
}

fn hello(path: &Path) {
    let mut channel = memring::connect::<Bytes>(path).expect("connects");
    assert_eq!(&*channel.recv_deadline(soon()).expect("hello"), b"hello");
}

#[test]
fn a_listener_in_any_loop_hands_out_everybody_and_ends() {
    for kind in KINDS {
        let scratch = Scratch::new();
        let path = scratch.socket();
        let listener = Listener::bind(&path).expect("binds");
        thread::scope(|scope| {
            (0..30).for_each(|_| drop(scope.spawn(|| hello(&path))));
            assert_eq!(accept(kind, &listener, 30).len(), 30);
        });
        let mut waiting = listener.polled().expect("descriptors");
        let mut wait = Loop::of(kind, &waiting);
        assert!(waiting.try_accept().expect("nobody").is_none());
        listener.shut_down();
        assert!(wait.wait(&waiting), "{kind:?}: the end");
        assert!(waiting.try_accept().is_err());
    }
}

#[test]
fn a_listener_goes_on_behind_a_burst_of_those_who_say_nothing() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let patience = 2 * PATIENCE; // none of them is let go before
    let listener = Listener::builder().handshake_timeout(patience).bind(&path).expect("binds");
    // All of them are there before the loop looks for the first time, and nothing else comes to wake it.
    let silent: Vec<OwnedFd> = (0..40).map(|_| connection(&path)).collect();
    let (says, tid) = std::sync::mpsc::channel();
    let client = thread::spawn(move || {
        says.send(support::tid()).expect("heard");
        hello(&path);
    });
    // So that it is there too: it waits for what the server says.
    eventually_asleep(tid.recv().expect("a thread"));
    assert_eq!(accept(Kind::Edge, &listener, 1).len(), 1);
    client.join().expect("greeted");
    drop(silent);
}

/// A connection that says nothing.
fn connection(path: &Path) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
    connect(&socket, &SocketAddrUnix::new(path).expect("a path")).expect("connects");
    socket
}

#[test]
fn a_listener_in_a_loop_rests_without_descriptors_and_goes_on() {
    if !alone("listeners::a_listener_in_a_loop_rests_without_descriptors_and_goes_on") {
        return;
    }
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener = Listener::bind(&path).expect("binds");
    let mut waiting = listener.polled().expect("descriptors");
    let mut wait = Loop::of(Kind::Edge, &waiting);
    let mut client = Helper::start("guest", &[("path", &path.display())]);
    client.expect("connecting");
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), ..before }).expect("less");
    for _ in 0..3 {
        eventually("it comes, and there is no room", || {
            assert!(waiting.try_accept().expect("listens").is_none());
            listener.turned().failed > 0
        });
        assert!(!is_readable(&waiting), "it would spin");
        assert!(wait.wait(&waiting), "the pause ends");
    }
    setrlimit(Resource::Nofile, before).expect("as before");
    let mut channel = loop {
        match waiting.try_accept().expect("listens") {
            Some(incoming) => break incoming.open::<Bytes>().expect("opens"),
            None => assert!(wait.wait(&waiting), "it comes"),
        }
    };
    channel.send(b"hello").expect("sent");
    client.finish();
}

/// A process that connects and is greeted.
pub fn guest(stage: &Stage) {
    stage.say("connecting");
    hello(stage.path());
}
