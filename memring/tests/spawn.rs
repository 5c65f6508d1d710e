//! Sessions that begin without a listener: children, descriptors from elsewhere, pairs.

mod support;

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use memring::{
    Bytes, ConnectError, Connector, DeathDetection, End, HandshakeError, Lanes, Origin, RecvError,
};
use support::children::{child, spawn};
use support::{Held, Helper, Stage, alone, play, soon};

#[test]
fn role() {
    play(&[("child", child), ("deaf", deaf), ("gone", |_| ()), ("handed", handed)]);
}

/// Never takes what it inherited.
fn deaf(stage: &Stage) {
    stage.linger();
}

/// Serves or uses a socket that it was handed by number.
fn handed(stage: &Stage) {
    // SAFETY: the parent put a descriptor there for this process, and nobody else owns it.
    #[allow(unsafe_code)]
    let fd = unsafe { OwnedFd::from_raw_fd(stage.number("fd") as i32) };
    let mut channel = match stage.get("side") {
        "client" => Connector::new().from_fd::<Bytes>(fd),
        _ => Connector::new().from_fd_as_server::<Bytes>(fd),
    }
    .expect("a session");
    assert_eq!(channel.peer().pid(), Some(stage.number("parent") as u32), "who said hello");
    let message = channel.recv().expect("a message").to_vec();
    channel.send(&message).expect("sends");
    stage.say("answered");
    let end = channel.recv().map(|_| ());
    assert!(matches!(end, Err(RecvError::Ended(End::Closed))), "{end:?}");
}

#[test]
fn a_spawned_child_talks_to_its_parent_and_the_parent_knows_it() {
    let (mut helper, mut channel) = spawn("child").expect("a child");
    let peer = channel.peer();
    assert_eq!(peer.origin(), Origin::Spawned);
    assert_eq!(peer.pid(), Some(helper.pid()));
    if support::has_pidfds() {
        assert_eq!(peer.death_detection(), DeathDetection::Pidfd);
    }
    for len in [0, 1, 1000, 1_000_000] {
        let message = vec![len as u8; len];
        channel.send_deadline(&message, soon()).expect("sends");
        assert!(*channel.recv_deadline(soon()).expect("an answer") == message[..]);
    }
    drop(channel);
    helper.expect("the peer closed the channel");
    helper.finish();
}

#[test]
fn a_spawned_child_that_is_killed_is_known_to_be_dead() {
    let (helper, mut channel) = spawn("child").expect("a child");
    channel.send(b"there?").expect("sends");
    assert_eq!(&*channel.recv_deadline(soon()).unwrap(), b"there?");
    helper.kill();
    match channel.recv_deadline(soon()).map(|_| ()) {
        Err(RecvError::Ended(End::PeerDied(peer))) => assert_eq!(peer.pid(), Some(helper.pid())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_that_spawned_before_spawns_again_and_passes_on_nothing_else() {
    if !alone("a_command_that_spawned_before_spawns_again_and_passes_on_nothing_else") {
        return;
    }
    let mut command = support::role_command("child", &[]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let spawn = |command: &mut Command| {
        let (child, channel) =
            Connector::new().timeout(support::PATIENCE).spawn::<Bytes>(command).expect("a child");
        (Helper::of(child), channel)
    };
    let first = spawn(&mut command);
    // Its number is some other descriptor's now, and there are some more.
    let directory = support::Scratch::new();
    let open = || std::fs::File::open(directory.path()).expect("opens");
    let _ours = [open(), open(), open()];
    let second = spawn(&mut command);
    let passed_on = |helper: &Helper| {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", helper.pid())).expect("/proc");
        let links = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        links.filter(|to| to == directory.path()).count()
    };
    assert_eq!(passed_on(&second.0), 0, "descriptors of ours in the second child");
    for (mut helper, mut channel) in [first, second] {
        channel.send(b"each its own").expect("sends");
        assert_eq!(&*channel.recv_deadline(soon()).expect("an answer"), b"each its own");
        drop(channel);
        helper.expect("the peer closed the channel");
        helper.finish();
    }
    // What this parent starts by other means has no connection, and is told so.
    let started = command.spawn().expect("starts");
    let mut stranger = Helper::of(started);
    assert!(!stranger.wait().success(), "it inherits nothing");
}

#[test]
fn a_child_that_never_takes_its_end_is_killed_after_the_timeout() {
    if !alone("a_child_that_never_takes_its_end_is_killed_after_the_timeout") {
        return;
    }
    let held = Held::settled();
    // One that lingers, and one that ends at once.
    for (role, kind) in
        [("deaf", io::ErrorKind::TimedOut), ("gone", io::ErrorKind::ConnectionReset)]
    {
        let mut command = support::role_command(role, &[]);
        // Its input stays open, so it ends only if somebody ends it.
        let (reads, writes) = io::pipe().expect("a pipe");
        command.stdin(reads).stdout(Stdio::null());
        let short = Duration::from_millis(if role == "deaf" { 200 } else { 10_000 });
        let error =
            Connector::new().timeout(short).spawn::<Bytes>(&mut command).expect_err("no session");
        assert_eq!(io::Error::from(error).kind(), kind, "{role}");
        drop((writes, command));
        let children =
            std::fs::read_to_string(format!("/proc/self/task/{}/children", support::tid()));
        if let Ok(children) = children {
            assert_eq!(children.trim(), "", "{role}: reaped");
        }
    }
    held.eventually_again();
    let error = memring::spawn::<Bytes>(&mut Command::new("/no/such/program")).expect_err("none");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
    held.eventually_again();
}

#[test]
fn a_process_that_was_not_spawned_inherits_nothing() {
    let error = memring::inherited::<Bytes>().expect_err("no parent of that kind");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    assert!(text.contains("MEMRING_FD"), "{text}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_connected_socket_from_elsewhere_serves_either_side() {
    for (side, ours) in [("client", "server"), ("server", "client")] {
        let (here, there) = seqpacket_pair();
        // Over exec by its number.
        let number = there.as_raw_fd();
        let parent = std::process::id();
        let arguments: [(&str, &dyn Display); 3] =
            [("fd", &number), ("side", &side), ("parent", &parent)];
        let mut command = support::role_command("handed", &arguments);
        // SAFETY: between fork and exec only a system call is made.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                if libc::fcntl(number, libc::F_SETFD, 0) == -1 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let mut helper = Helper::run(&mut command);
        drop(there);
        let connector = Connector::new().timeout(support::PATIENCE);
        let mut channel = match ours {
            "client" => connector.from_fd::<Bytes>(here),
            _ => connector.from_fd_as_server::<Bytes>(here),
        }
        .expect("a session");
        assert_eq!(channel.peer().origin(), Origin::Inherited);
        // Without pidfds a socketpair names who made it, and that is us.
        let known = if support::has_pidfds() { helper.pid() } else { parent };
        assert_eq!(channel.peer().pid(), Some(known), "by what it sent");
        channel.send(b"over a socket from elsewhere").expect("sends");
        let answer = channel.recv_deadline(soon()).expect("an answer");
        assert_eq!(&*answer, b"over a socket from elsewhere");
        drop(channel);
        helper.expect("answered");
        helper.finish();
    }
}

fn seqpacket_pair() -> (OwnedFd, OwnedFd) {
    let (a, b) = memring_transport::socket::ControlSocket::pair().expect("a socketpair");
    (a.into(), b.into())
}

#[test]
fn attack_18_descriptors_of_other_kinds_are_refused() {
    let stream = std::os::unix::net::UnixStream::pair().expect("a pair");
    let datagram = std::os::unix::net::UnixDatagram::pair().expect("a pair");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let file = std::fs::File::open("/dev/null").expect("opens");
    let hung_up = seqpacket_pair().0;
    let fds: [(OwnedFd, &str); 5] = [
        (stream.0.into(), "stream"),
        (datagram.0.into(), "datagram"),
        (tcp.into(), "tcp"),
        (file.into(), "file"),
        (hung_up, "hung up"),
    ];
    for (fd, what) in fds {
        let again = fd.try_clone().expect("a copy");
        for error in [
            Connector::new().from_fd::<Bytes>(fd).map(|_| ()),
            Connector::new().from_fd_as_server::<Bytes>(again).map(|_| ()),
        ] {
            let error = error.expect_err(what);
            assert!(
                matches!(
                    error,
                    ConnectError::Connect(memring_transport::ConnectError::NotUsable(_))
                ),
                "{what}: {error:?}"
            );
        }
    }
}

#[test]
fn attack_17_two_ends_that_both_mean_to_speak_first_fail_and_do_not_hang() {
    let (a, b) = seqpacket_pair();
    let connect = |fd| {
        std::thread::spawn(move || {
            let started = Connector::new().timeout(support::PATIENCE).from_fd::<Bytes>(fd);
            started.map(|_| ()).expect_err("nobody answers")
        })
    };
    let (a, b) = (connect(a), connect(b));
    for error in [a.join().unwrap(), b.join().unwrap()] {
        let fault = matches!(
            error,
            ConnectError::Connect(memring_transport::ConnectError::Handshake(
                HandshakeError::Fault(_) | HandshakeError::PeerGone
            ))
        );
        assert!(fault, "{error:?}");
    }
}

#[test]
fn a_pair_s_ends_go_to_different_threads() {
    let (server, client) =
        Connector::new().lanes(Lanes::Small, Lanes::Small).pair::<Bytes>().expect("a pair");
    let (mut server_tx, mut server_rx) = server.split();
    let (mut client_tx, mut client_rx) = client.split();
    const COUNT: u64 = 20_000;
    let threads = [
        std::thread::spawn(move || {
            for number in 0..COUNT {
                server_tx.send_deadline(&number.to_le_bytes(), soon()).expect("sends");
            }
        }),
        std::thread::spawn(move || {
            for number in 0..COUNT {
                assert_eq!(*server_rx.recv_deadline(soon()).unwrap(), number.to_le_bytes());
            }
        }),
        std::thread::spawn(move || {
            for number in 0..COUNT {
                client_tx.send_deadline(&number.to_le_bytes(), soon()).expect("sends");
            }
        }),
        std::thread::spawn(move || {
            for number in 0..COUNT {
                assert_eq!(*client_rx.recv_deadline(soon()).unwrap(), number.to_le_bytes());
            }
        }),
    ];
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn descriptors_are_given_back_whatever_begins_and_fails() {
    if !alone("descriptors_are_given_back_whatever_begins_and_fails") {
        return;
    }
    let once = || {
        drop(memring::pair::<Bytes>().expect("a pair"));
        let (mut helper, channel) = spawn("child").expect("a child");
        drop(channel);
        helper.finish();
        let (a, b) = seqpacket_pair();
        let gone = std::thread::spawn(move || drop(b));
        assert!(Connector::new().from_fd::<Bytes>(a).is_err());
        gone.join().unwrap();
        let (a, _held) = seqpacket_pair();
        let short = Duration::from_millis(20);
        assert!(Connector::new().timeout(short).from_fd_as_server::<Bytes>(a).is_err());
    };
    once();
    let held = Held::settled();
    (0..20).for_each(|_| once());
    held.eventually_again();
}
