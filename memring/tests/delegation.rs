//! Sockets that change hands: whoever connected or listened is not who speaks, or not who it was.
//!
//! What `Peer` says of a uid is of the moment of `connect` or `listen`, and stays. Which process it is, and
//! whose death ends the session, goes by who sent Hello or Welcome.

#![allow(unsafe_code)] // Descriptors by number, a closure between fork and exec, privileges.

mod support;

use std::fmt::Display;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use memring::{
    Bytes, Channel, Connector, DeathDetection, End, Listener, Origin, RecvError, ToAddress,
};
use memring_transport::WhenAbsent;
use memring_transport::socket::ControlSocket;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use support::{Forked, Helper, PATIENCE, Scratch, Stage, play, soon};

/// Another uid than that of the tests.
const OTHER: u32 = 1_054_320;

#[test]
fn role() {
    play(&[
        ("connect and pass on", connect_and_pass_on),
        ("listen and pass on", listen_and_pass_on),
        ("speak", speak),
        ("serve", serve),
        ("leave a child", leave_a_child),
        ("drop privileges", drop_privileges_later),
    ]);
}

fn our_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Becomes another user, where that is possible.
fn drop_privileges() {
    if our_uid() == 0 {
        // SAFETY: no memory is involved.
        let dropped = unsafe {
            libc::setresgid(OTHER, OTHER, OTHER) == 0 && libc::setresuid(OTHER, OTHER, OTHER) == 0
        };
        assert!(dropped, "{}", std::io::Error::last_os_error());
        assert_eq!(our_uid(), OTHER);
    }
}

/// Starts `role` with `fd`, says its number, and ends when it is told to.
#[allow(clippy::zombie_processes)] // It may outlive this process.
fn pass_on(stage: &Stage, fd: &OwnedFd, role: &str) {
    let number = fd.as_raw_fd();
    let arguments: [(&str, &dyn Display); 1] = [("fd", &number)];
    let mut command = support::role_command(role, &arguments);
    command.env(support::OUTLIVES, "");
    // SAFETY: one system call between fork and exec.
    unsafe {
        command.pre_exec(move || match libc::fcntl(number, libc::F_SETFD, 0) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    let mut child = command.stdin(Stdio::null()).spawn().expect("starts");
    stage.say(child.id());
    if stage.hear() == "wait for it" {
        child.wait().expect("its end");
    }
}

fn connect_and_pass_on(stage: &Stage) {
    let address = stage.path().to_address().expect("an address");
    let socket = ControlSocket::connect(&address, Some(soon()), WhenAbsent::Fail);
    pass_on(stage, &socket.expect("connects").into(), "speak");
}

fn listen_and_pass_on(stage: &Stage) {
    let listening = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .expect("a socket");
    let address = rustix::net::SocketAddrUnix::new(stage.path()).expect("an address");
    rustix::net::bind(&listening, &address).expect("binds");
    rustix::net::listen(&listening, 1).expect("listens");
    pass_on(stage, &listening, "serve");
}

/// What was passed on to this process, which outlives the one that did it.
fn passed_on(stage: &Stage) -> OwnedFd {
    // SAFETY: the parent left this descriptor open for us, and nobody else owns it here.
    unsafe { OwnedFd::from_raw_fd(stage.number("fd") as i32) }
}

/// Speaks on a socket that another process connected, as another user.
fn speak(stage: &Stage) {
    let socket = passed_on(stage);
    drop_privileges();
    echo(Connector::new().timeout(PATIENCE).from_fd::<Bytes>(socket).expect("a session"));
}

/// Serves a client of a socket that another process listens on, as another user.
fn serve(stage: &Stage) {
    let listening = passed_on(stage);
    drop_privileges();
    let socket = rustix::net::accept(&listening).expect("accepts");
    let held = socket.try_clone().expect("a copy");
    let connector = Connector::new().timeout(PATIENCE);
    let channel = connector.from_fd_as_server::<Bytes>(socket).expect("a session");
    // So that the socket does not hang up when this process dies.
    let _child = Forked::start(|| until_hang_up(&held));
    echo(channel);
}

fn until_hang_up(socket: &OwnedFd) {
    let mut fd = libc::pollfd { fd: socket.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: `fd` is one live entry.
    while unsafe { libc::poll(&raw mut fd, 1, -1) } < 1 {}
}

/// Sends back what comes until the session ends.
fn echo(mut channel: Channel<[u8], [u8]>) {
    while let Ok(message) = channel.recv() {
        let message = message.to_vec();
        channel.send(&message).expect("sends");
    }
}

/// Has a session, forks a child that holds its socket too, and waits.
fn leave_a_child(stage: &Stage) {
    let mut channel: Channel<[u8], [u8]> = match stage.get("side") {
        "client" => Connector::new().timeout(PATIENCE).connect::<Bytes>(stage.path()).expect("one"),
        _ => {
            let listener = Listener::bind(stage.path()).expect("binds");
            stage.say("listening");
            listener.accept_deadline(soon()).expect("accepts").open::<Bytes>().expect("opens")
        }
    };
    let _child = Forked::start(|| {
        stage.hear();
        stage.say("still here");
        stage.linger();
    });
    stage.say("forked");
    let _ = channel.recv().map(|_| ());
}

fn drop_privileges_later(stage: &Stage) {
    let channel = Connector::new().timeout(PATIENCE).connect::<Bytes>(stage.path()).expect("one");
    drop_privileges();
    echo(channel);
}

fn start(role: &str, scratch: &Scratch, more: &[(&str, &dyn Display)]) -> Helper {
    let path = scratch.socket();
    let shown = path.display();
    let mut arguments: Vec<(&str, &dyn Display)> = vec![("path", &shown)];
    arguments.extend_from_slice(more);
    Helper::start(role, &arguments)
}

#[track_caller]
fn goes_on(channel: &mut Channel<[u8], [u8]>) {
    channel.send(b"there?").expect("sends");
    assert_eq!(&*channel.recv_deadline(soon()).expect("an answer"), b"there?");
}

#[track_caller]
fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).expect("not zero");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kills");
}

/// The peer is known by the process `pid`, whose death is reported.
#[track_caller]
fn dies_with(mut channel: Channel<[u8], [u8]>, pid: u32) {
    match channel.recv_deadline(soon()).map(|_| ()) {
        Err(RecvError::Ended(End::PeerDied(peer))) => assert_eq!(peer.pid(), Some(pid)),
        other => panic!("{other:?}"),
    }
}

/// The peer is who spoke, with the uid of who connected or listened.
#[track_caller]
fn assert_who(channel: &Channel<[u8], [u8]>, origin: Origin, pid: u32) {
    let peer = channel.peer();
    assert_eq!(peer.origin(), origin);
    assert_eq!(peer.uid(), Some(our_uid()), "of the moment of connect or listen");
    assert_eq!(peer.pid(), Some(pid), "who spoke");
    assert_eq!(peer.death_detection(), DeathDetection::Pidfd);
    assert_eq!(peer.is_running(), Some(true));
}

#[test]
fn attack_12_a_connected_socket_passed_on_keeps_its_uid_and_dies_with_who_speaks() {
    if support::no_pidfds() {
        return;
    }
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let mut passer = start("connect and pass on", &scratch, &[]);
    let speaker: u32 = passer.hear().parse().expect("a number");
    let offer = listener.accept_deadline(soon()).expect("accepts");
    let mut channel = offer.open::<Bytes>().expect("opens");
    assert_who(&channel, Origin::Connected, speaker);
    goes_on(&mut channel);
    // Who connected is gone, and that is no death.
    passer.tell("go");
    passer.finish();
    goes_on(&mut channel);
    assert_who(&channel, Origin::Connected, speaker);
    kill(speaker);
    dies_with(channel, speaker);
}

#[test]
fn attack_12_a_peer_that_drops_its_privileges_is_known_by_what_it_connected_with() {
    if support::no_pidfds() {
        return;
    }
    if our_uid() != 0 {
        println!("skipped: dropping privileges takes root");
        return;
    }
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let helper = start("drop privileges", &scratch, &[]);
    let offer = listener.accept_deadline(soon()).expect("accepts");
    let mut channel = offer.open::<Bytes>().expect("opens");
    goes_on(&mut channel);
    let status = std::fs::read_to_string(format!("/proc/{}/status", helper.pid())).expect("/proc");
    assert!(status.contains(&format!("Uid:\t{OTHER}\t")), "{status}");
    assert_who(&channel, Origin::Connected, helper.pid());
    helper.kill();
    dies_with(channel, helper.pid());
}

#[test]
fn attack_16_who_listens_for_others_is_judged_and_who_serves_is_watched() {
    if support::no_pidfds() {
        return;
    }
    let scratch = Scratch::new();
    let mut manager = start("listen and pass on", &scratch, &[]);
    let server: u32 = manager.hear().parse().expect("a number");
    let mut channel =
        Connector::new().timeout(PATIENCE).connect::<Bytes>(scratch.socket()).expect("connects");
    assert_who(&channel, Origin::Listening, server);
    goes_on(&mut channel);
    // Who listens lives on, and hides nothing.
    kill(server);
    dies_with(channel, server);
    manager.tell("wait for it");
    manager.finish();
}

#[test]
fn attack_83_a_listener_that_is_gone_before_anybody_connects_is_no_dead_peer() {
    if support::no_pidfds() {
        return;
    }
    for gone in ["before", "after"] {
        let scratch = Scratch::new();
        let mut first = start("listen and pass on", &scratch, &[]);
        let server: u32 = first.hear().parse().expect("a number");
        let mut go = || {
            first.tell("go");
            first.finish();
        };
        if gone == "before" {
            go();
        }
        let mut channel = Connector::new()
            .timeout(PATIENCE)
            .connect::<Bytes>(scratch.socket())
            .expect("connects");
        assert_who(&channel, Origin::Listening, server);
        if gone == "after" {
            go();
        }
        goes_on(&mut channel);
        assert!(channel.session().life().end().is_none(), "no false death");
        assert_who(&channel, Origin::Listening, server);
        kill(server);
        dies_with(channel, server);
    }
}

#[test]
fn attack_68_a_child_that_keeps_the_socket_hides_no_death() {
    if support::no_pidfds() {
        return;
    }
    for side in ["client", "server"] {
        let scratch = Scratch::new();
        let listener = (side == "client").then(|| Listener::bind(scratch.socket()).expect("binds"));
        let mut helper = start("leave a child", &scratch, &[("side", &side)]);
        let channel = match listener {
            Some(listener) => {
                listener.accept_deadline(soon()).expect("accepts").open::<Bytes>().expect("opens")
            }
            None => {
                helper.expect("listening");
                let connector = Connector::new().timeout(PATIENCE);
                connector.connect::<Bytes>(scratch.socket()).expect("connects")
            }
        };
        assert_eq!(channel.peer().pid(), Some(helper.pid()));
        helper.expect("forked");
        helper.kill();
        dies_with(channel, helper.pid());
        helper.tell("who is there?");
        helper.expect("still here");
    }
}
