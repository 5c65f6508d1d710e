//! What whoever asks, and whoever is shown, can do to a process that shows its sessions.

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;

use memring::Address;
use memring::observe::{self, CONNECTIONS, SessionSnapshot};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::attacker::uid;
use crate::names::needs_a_stranger;
use crate::scene::Scene;
use crate::session::SMALL;
use crate::support::{Helper, PATIENCE, Scratch, Stage};

const NO_SERVICE: &str = "it is not the service that is attacked";

/// The role: asks at an abstract name, and says what it heard.
pub fn onlooker(stage: &Stage) {
    let address = SocketAddr::from_abstract_name(stage.get("name")).expect("a name");
    let mut stream = UnixStream::connect_addr(&address).expect("connects");
    let _it_may_have_closed = stream.write_all(b"json\n");
    let mut answer = String::new();
    let _nor_may_it_be_read_to_its_end = stream.read_to_string(&mut answer);
    stage.say(answer.trim_end());
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

#[test]
fn attack_05_a_stranger_is_told_nothing_of_the_sessions() {
    if !needs_a_stranger() {
        return;
    }
    let Some(scene) = Scene::without_hub(name!(), NO_SERVICE) else { return };
    let name = format!("memring-attack-observe-{}", std::process::id());
    // Such a name has no mode that would keep anybody from connecting.
    let address = Address::abstract_name(&name).expect("a name");
    let serving = observe::serve(address).expect("serves");
    let place = Scratch::new();
    let onlooker = Helper::start_as(uid(), &place, "onlooker", &[("name", &name)]);
    onlooker.expect("memring: only processes of uid 0 and root may look");
    drop((onlooker, serving));
    scene.finish();
}

#[test]
fn attack_09_who_asks_for_nothing_keeps_nobody_from_asking() {
    let Some(scene) = Scene::without_hub(name!(), NO_SERVICE) else { return };
    let place = Scratch::new();
    let path = place.path().join("o");
    let serving = observe::serve(&path).expect("serves");
    let silent: Vec<_> = (0..CONNECTIONS).map(|_| connect(&path)).collect();
    let mut asks = connect(&path);
    asks.write_all(b"json\n").expect("asked");
    let mut answer = String::new();
    asks.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("]}\n"), "{answer}");
    drop((silent, asks, serving));
    scene.finish();
}

#[test]
fn attack_09_a_loop_has_its_endpoint_back_however_many_connect() {
    let Some(scene) = Scene::without_hub(name!(), NO_SERVICE) else { return };
    let place = Scratch::new();
    let path = place.path().join("o");
    let mut endpoint = observe::endpoint(&path).expect("binds");
    // Each is over at once, so that they are never too many at a time.
    (0..100).for_each(|_| drop(connect(&path)));
    endpoint.turn().expect("goes on");
    let mut fds = [PollFd::new(&endpoint, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("polls");
    assert_eq!(ready, 1, "some are left for another turn");
    drop(endpoint);
    scene.finish();
}

/// What is shown of this peer.
#[track_caller]
fn shown(pid: u32) -> SessionSnapshot {
    let sessions = observe::snapshot().sessions;
    sessions.into_iter().find(|session| session.peer.pid == Some(pid)).expect("it is shown")
}

#[test]
fn attack_51_no_more_of_a_lane_is_shown_in_use_than_there_is() {
    let Some(scene) = Scene::in_hand(name!()) else { return };
    let mut attacker = scene.attacker();
    let victim = scene.session(&mut attacker, SMALL);
    // Four frames that fill the lane for good: behind the last is the first again.
    for _ in 0..4 {
        attacker.run("frame kind=1 len=1008 payload=00 next=keep wake=no");
    }
    let pid = victim.session().peer().pid().expect("a number");
    for head in [0, 16, 1 << 40, u64::MAX - 15] {
        attacker.run(format!("head {head}"));
        let seen = shown(pid);
        let (out, inbound) = (seen.outbound.expect("a lane"), seen.inbound.expect("a lane"));
        assert_eq!((inbound.used, inbound.capacity), (4096, 4096));
        assert!(out.used <= out.capacity, "{out:?}");
    }
    drop((attacker, victim));
    scene.finish();
}
