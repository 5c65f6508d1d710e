//! Section A of the list, rows 11 to 18: who a peer is, whatever it becomes, forges or hands on.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use memring::{
    Bytes, ClientEnd, ConnectError, Connector, DeathDetection, End, HandshakeError,
    ListenerBuilder, Origin, Peer, Policy, Reason, RecvError, cause,
};
use memring_transport::socket::{ControlSocket, Incoming};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::attacker::{Attacker, uid};
use crate::names::needs_a_stranger;
use crate::scene::{PROTOCOL, Scene};
use crate::service::{ECHO, Service};
use crate::support::{eventually, soon};
use crate::victim::{Victim, trusting};

/// Who the server's latest client is, beside the bystander.
static CLIENT: Mutex<Option<Peer>> = Mutex::new(None);

/// Serves like the scene's own, and remembers whom.
const REMEMBERING: Service<Bytes> = Service {
    begin: |channel| {
        let mut client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
        *client = Some(channel.peer().clone());
        Vec::new()
    },
    ..ECHO
};

/// The client that has come.
#[track_caller]
fn client() -> Peer {
    let mut client = None;
    eventually("a client is served", || {
        client = CLIENT.lock().unwrap_or_else(PoisonError::into_inner).take();
        client.is_some()
    });
    client.expect("it is")
}

/// Only what the bystander needs.
fn narrow(builder: ListenerBuilder) -> ListenerBuilder {
    builder.policy(Policy::same_uid())
}

fn same(builder: ListenerBuilder) -> ListenerBuilder {
    builder
}

/// Kills a child that an attacker left behind.
fn kill(pid: u64) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::KILL).expect("ours to kill");
}

/// An attacker that was given this socket as its connection.
fn given(scene: &Scene, socket: OwnedFd) -> Attacker {
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).expect("inheritable");
    let mut attacker = scene.attacker();
    attacker.run(format!("adopt {}", socket.as_raw_fd()));
    attacker
}

#[track_caller]
fn turned_away(attacker: &mut Attacker, scene: &mut Scene) {
    let told = attacker.hung_up_on().expect("a word");
    assert_eq!((told.get("kind"), told.get("code")), ("reject", "4"));
    scene.counted(Reason::Denied);
}

#[test]
fn attack_11_another_program_is_turned_away_where_the_policy_names_one() {
    let ours = std::env::current_exe().expect("this binary's path");
    let policy = |builder: ListenerBuilder| {
        builder.policy(Policy::any_uid().allow_exe(ours).allow_exe("/no/such/program"))
    };
    let Some(mut scene) = Scene::with(name!(), policy, ECHO) else { return };
    let mut attacker = scene.attacker();
    attacker.run(format!("connect {}", scene.path()));
    turned_away(&mut attacker, &mut scene);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_11_a_peer_that_becomes_another_program_stays_who_it_was() {
    let Some(scene) = Scene::with(name!(), same, REMEMBERING) else { return };
    let mut attacker = scene.attacker_at("ready");
    let peer = client();
    attacker.run("exec /bin/sleep 60");
    // It keeps the socket, so there is a session; what it runs is advisory, and has changed.
    let sleep = std::fs::canonicalize("/bin/sleep").expect("there is one");
    eventually("it runs another program", || peer.exe_path().is_ok_and(|path| path == sleep));
    assert_eq!((peer.uid(), peer.pid()), (Some(uid()), Some(attacker.pid())));
    assert_eq!(peer.is_running(), Some(true));
    drop(attacker);
    match scene.ended() {
        End::PeerDied(dead) => assert_eq!(dead.uid(), Some(uid())),
        other => panic!("{other}"),
    }
    assert_eq!(peer.is_running(), Some(false));
    drop(peer);
    scene.finish();
}

#[test]
fn attack_12_privileges_count_as_they_were_when_it_connected() {
    if !needs_a_stranger() {
        return;
    }
    let Some(mut scene) = Scene::with(name!(), narrow, REMEMBERING) else { return };
    let mut attacker = scene.attacker_as(0);
    attacker.run(format!("connect {}", scene.path()));
    attacker.run(format!("setuid {}", uid()));
    attacker.run(format!("client until=ready {PROTOCOL}"));
    let peer = client();
    assert_eq!((peer.uid(), peer.pid()), (Some(0), Some(attacker.pid())));
    // It has none to connect anew with.
    attacker.run(format!("connect {}", scene.path()));
    turned_away(&mut attacker, &mut scene);
    drop((peer, attacker));
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_12_a_socket_that_is_handed_on_is_whose_it_was_and_dies_with_who_speaks() {
    if !needs_a_stranger() {
        return;
    }
    let Some(scene) = Scene::with(name!(), narrow, REMEMBERING) else { return };
    let place = scene.directory().join("hand");
    let between = UnixListener::bind(&place).expect("binds");
    let mut admitted = scene.attacker_as(0);
    admitted.run(format!("connect {}", scene.path()));
    admitted.run(format!("send-fd-to {}", place.display()));
    let mut speaks = given(&scene, take_fd(&between.accept().expect("it has come").0));
    drop(between);
    speaks.run(format!("client until=ready {PROTOCOL}"));
    let peer = client();
    assert_eq!((peer.uid(), peer.pid()), (Some(0), Some(speaks.pid())));
    // The other one lives, and holds the socket.
    speaks.kill();
    match scene.ended() {
        End::PeerDied(dead) => assert_eq!(dead.uid(), Some(0)),
        other => panic!("{other}"),
    }
    drop((peer, speaks, admitted));
    scene.finish();
}

/// The descriptor that lies in a stream.
fn take_fd(stream: &UnixStream) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [std::io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a byte");
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.expect("a descriptor")
}

#[test]
fn attack_13_another_process_of_the_same_number_is_not_taken_for_the_dead_peer() {
    if !needs_a_stranger() {
        return;
    }
    let Some(scene) = Scene::with(name!(), same, REMEMBERING) else { return };
    let mut attacker = scene.attacker_at("ready");
    let (peer, number) = (client(), attacker.pid());
    let holder = attacker.run("fork-hold").number("pid");
    attacker.kill();
    assert!(matches!(scene.ended(), End::PeerDied(_)), "although a child of it has the socket");
    let mut innocent = None;
    eventually("its number is used again", || {
        let next = std::fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string());
        next.expect("root may choose");
        let mut child = Command::new("/bin/sleep").arg("60").spawn().expect("a process");
        if child.id() == number {
            innocent = Some(child);
        } else {
            child.kill().and_then(|()| child.wait()).expect("it ends");
        }
        innocent.is_some()
    });
    assert_eq!(peer.is_running(), Some(false));
    assert!(peer.exe_path().is_err(), "not the innocent one's");
    let mut innocent = innocent.expect("it is");
    innocent.kill().and_then(|()| innocent.wait()).expect("it ends");
    kill(holder);
    drop((peer, attacker));
    scene.finish();
}

const NOBODY: u32 = 65_534;

#[test]
fn attack_14_a_uid_without_a_number_is_on_no_list() {
    if !needs_a_stranger() {
        return;
    }
    let policy = |builder: ListenerBuilder| {
        builder.policy(Policy::any_uid().allow_uid(NOBODY).allow_gid(NOBODY))
    };
    let Some(mut scene) = Scene::with(name!(), policy, ECHO) else { return };
    let mut attacker = scene.attacker_as(NOBODY);
    attacker.run(format!("connect {}", scene.path()));
    turned_away(&mut attacker, &mut scene);
    attacker.flood(&scene.path(), 100);
    scene.counted_times(Reason::Denied, 100);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_14_where_unknown_uids_are_asked_for_they_are_admitted_as_unknown() {
    if !needs_a_stranger() {
        return;
    }
    let policy = |builder: ListenerBuilder| builder.policy(Policy::same_uid().allow_unknown_uid());
    let Some(scene) = Scene::with(name!(), policy, REMEMBERING) else { return };
    let mut attacker = scene.attacker_as(NOBODY);
    attacker.run(format!("connect {}", scene.path()));
    attacker.run(format!("client until=ready {PROTOCOL}"));
    let peer = client();
    assert_eq!((peer.uid(), peer.gid(), peer.pid()), (None, None, Some(attacker.pid())));
    assert!(!peer.is_in_group(NOBODY));
    drop((peer, attacker));
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_15_credentials_of_the_sender_s_choice_change_nothing() {
    if !needs_a_stranger() {
        return;
    }
    let Some(mut scene) = Scene::with(name!(), narrow, REMEMBERING) else { return };
    // Who may forge.
    let mut attacker = scene.attacker_as(0);
    attacker.run(format!("connect {}", scene.path()));
    attacker.run("creds pid=1 uid=1000 gid=1000");
    attacker.run(format!("client until=ready {PROTOCOL}"));
    let peer = client();
    assert_eq!((peer.uid(), peer.gid()), (Some(0), Some(0)));
    // The kernel lets it choose of whom the pidfd is, so its own end is seen by hang-up, as below.
    assert_eq!(peer.pid(), Some(1));
    // Who is not admitted, and may not.
    let mut stranger = scene.attacker();
    stranger.run(format!("connect {}", scene.path()));
    assert_eq!(stranger.fails("creds pid=1 uid=0 gid=0"), "EPERM");
    turned_away(&mut stranger, &mut scene);
    // Who may forge, and is not admitted as who it is.
    attacker.run(format!("setuid {}", uid()));
    attacker.run(format!("connect {}", scene.path()));
    turned_away(&mut attacker, &mut scene);
    drop((peer, attacker, stranger));
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

/// What a session ends with once the attacker is killed, whoever else has its socket.
#[track_caller]
fn dies_with_its_speaker(mut session: ClientEnd<Bytes>, mut attacker: Attacker) {
    assert_eq!(session.peer().pid(), Some(attacker.pid()), "who spoke");
    assert_eq!(session.peer().death_detection(), DeathDetection::Pidfd);
    let holder = attacker.run("fork-hold").number("pid");
    attacker.kill();
    match session.recv_deadline(soon()).map(|_| ()) {
        Err(RecvError::Ended(End::PeerDied(_))) => {}
        other => panic!("{other:?}"),
    }
    kill(holder);
}

#[test]
fn attack_16_a_service_that_another_listened_for_is_watched_itself() {
    if !needs_a_stranger() {
        return;
    }
    let Some(scene) = Scene::of_clients(name!()) else { return };
    // This process is the manager that listens, and hands each connection to a service of another uid.
    let (manager, path) = listening(&scene);
    let victim = Victim::with(Connector::new(), path);
    let accepted = rustix::net::accept_with(&manager, SocketFlags::CLOEXEC).expect("it has come");
    let kept = accepted.try_clone().expect("a copy");
    let mut attacker = given(&scene, accepted);
    attacker.run("server until=ready");
    let session = victim.session();
    let peer = session.peer().clone();
    assert_eq!((peer.origin(), peer.uid()), (Origin::Listening, Some(0)), "who listened");
    dies_with_its_speaker(session, attacker);
    drop((kept, manager, peer));
    scene.finish();
}

/// A plain socket of this process that anybody may connect to.
fn listening(scene: &Scene) -> (OwnedFd, std::path::PathBuf) {
    let path = scene.directory().join("plain");
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .expect("a socket");
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path).expect("an address")).expect("binds");
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&path, open).expect("its mode");
    rustix::net::listen(&socket, 8).expect("listens");
    (socket, path)
}

#[test]
fn attack_17_at_the_other_end_of_an_inherited_socket_is_somebody_unverified() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let pair = || {
        let (ours, theirs) = ControlSocket::pair().expect("a pair");
        (OwnedFd::from(ours), OwnedFd::from(theirs))
    };
    // As the client of an attacker: the kernel names us, and the uid is no policy's business.
    let (ours, theirs) = pair();
    let mut attacker = given(&scene, theirs);
    let connecting =
        std::thread::spawn(move || trusting().policy(Policy::nobody()).from_fd::<Bytes>(ours));
    attacker.run("server until=ready");
    let session = connecting.join().expect("no panic").expect("a session");
    let us = rustix::process::geteuid().as_raw();
    assert_eq!((session.peer().origin(), session.peer().uid()), (Origin::Inherited, Some(us)));
    assert!(session.peer().to_string().contains("unverified"), "{}", session.peer());
    dies_with_its_speaker(session, attacker);
    // As its server.
    let (ours, theirs) = pair();
    let mut attacker = given(&scene, theirs);
    let serving = std::thread::spawn(move || trusting().from_fd_as_server::<Bytes>(ours));
    attacker.run(format!("client until=ready {PROTOCOL}"));
    let session = serving.join().expect("no panic").expect("a session");
    assert_eq!((session.peer().origin(), session.peer().uid()), (Origin::Inherited, Some(us)));
    dies_with_its_speaker(session, attacker);
    // What it says is believed as little as anybody's.
    let (ours, theirs) = pair();
    let mut attacker = given(&scene, theirs);
    attacker.run("packet 00112233445566778899aabbccddeeff");
    let error = trusting().from_fd_as_server::<Bytes>(ours).expect_err("no session");
    assert!(
        matches!(
            error,
            ConnectError::Connect(cause::ConnectError::Handshake(HandshakeError::Fault(_)))
        ),
        "{error:?}"
    );
    scene.counted(Reason::PacketMagic);
    drop(attacker);
    scene.finish();
}

/// The variant's name, as `Debug` shows it.
fn variant(problem: &cause::NotUsable) -> String {
    let shown = format!("{problem:?}");
    shown.split(['(', ' ']).next().unwrap_or_default().to_owned()
}

#[test]
fn attack_18_descriptors_of_an_attacker_s_choice_are_a_typed_error_or_a_silent_peer() {
    const KINDS: [(&str, &str); 12] = [
        ("tcp", "NotUnix"),
        ("inflight", "NotSeqPacket"),
        ("socket", "NotConnected"), // its other end closes while it is under way
        ("pipe", "NotASocket"),
        ("eventfd", "NotASocket"),
        ("epoll", "NotASocket"),
        ("pidfd", "NotASocket"),
        ("memfd", "NotASocket"),
        ("devzero", "NotASocket"),
        ("tmpfs", "NotASocket"),
        ("dir", "NotASocket"),
        ("opath", "System"),
    ];
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let (listener, path) = listening(&scene);
    let mut attacker = scene.attacker();
    attacker.run(format!("connect {}", path.display()));
    let names: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    for name in &names {
        attacker.run(format!("make {name} {name}"));
    }
    attacker.run("make silent socket");
    attacker.run(format!("packet 78 fds={},silent", names.join(",")));
    attacker.run("drop socket");
    let socket = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).expect("it has come");
    let socket = ControlSocket::from_fd(socket).expect("a control socket");
    let Incoming::Packet(packet) = socket.receive(&mut [0; 8]).expect("a packet") else {
        panic!("no packet");
    };
    drop(packet.pidfd);
    let mut fds: Vec<OwnedFd> = packet.fds.into_iter().map(|fd| fd.into_owned()).collect();
    assert_eq!(fds.len(), KINDS.len() + 1);
    let silent = fds.pop().expect("the last");
    for (fd, (kind, due)) in fds.into_iter().zip(KINDS) {
        let again = fd.try_clone().expect("a copy");
        for error in [
            trusting().from_fd::<Bytes>(fd).map(|_| ()).expect_err(kind),
            trusting().from_fd_as_server::<Bytes>(again).map(|_| ()).expect_err(kind),
        ] {
            match &error {
                ConnectError::Connect(cause::ConnectError::NotUsable(problem)) => {
                    assert_eq!(variant(problem), due, "{kind}");
                }
                other => panic!("{kind}: {other:?}"),
            }
        }
    }
    // One that listens, which the attacker cannot send by name: this process's own.
    match trusting().from_fd::<Bytes>(listener.try_clone().expect("a copy")).expect_err("listens") {
        ConnectError::Connect(cause::ConnectError::NotUsable(problem)) => {
            assert_eq!(variant(&problem), "Listening");
        }
        other => panic!("{other:?}"),
    }
    let short = trusting().timeout(Duration::from_millis(200));
    let error = short.from_fd::<Bytes>(silent).expect_err("nobody answers");
    assert!(
        matches!(
            error,
            ConnectError::Connect(cause::ConnectError::Handshake(HandshakeError::TimedOut))
        ),
        "{error:?}"
    );
    scene.counted(Reason::TimedOut);
    drop((socket, listener, attacker));
    scene.finish();
}
