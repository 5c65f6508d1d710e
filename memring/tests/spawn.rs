//! Sessions that begin without a listener: children, descriptors from elsewhere, pairs; and what becomes of
//! them in processes that fork or exec.

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
    SendError, ServerEnd, TryRecvError, TrySendError,
};
use support::{Forked, Held, Helper, Stage, alone, eventually, play, soon};

#[test]
fn role() {
    play(&[
        ("child", child),
        ("deaf", deaf),
        ("gone", |_| ()),
        ("exec", exec),
        ("list", list),
        ("handed", handed),
    ]);
}

/// A child that answers its parent until that closes.
fn child(stage: &Stage) {
    let mut channel = memring::inherited::<Bytes>().expect("a parent");
    assert_eq!(channel.peer().origin(), Origin::Inherited);
    assert!(memring::inherited::<Bytes>().is_err(), "once");
    loop {
        match channel.recv() {
            Ok(message) => {
                let message = message.to_vec();
                channel.send(&message).expect("sends");
            }
            Err(error) => return stage.say(error),
        }
    }
}

/// Never takes what it inherited.
fn deaf(stage: &Stage) {
    stage.linger();
}

/// Has a session, and execs another program.
fn exec(stage: &Stage) {
    let mut channel = memring::inherited::<Bytes>().expect("a parent");
    channel.send(b"before").expect("sends");
    assert_eq!(&*channel.recv().expect("an answer"), b"before");
    stage.say("ready");
    stage.hear();
    let error = support::role_command("list", &[]).exec();
    panic!("exec: {error}");
}

/// Says which descriptors it has, beside the three that everybody has.
fn list(stage: &Stage) {
    let mut fds: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .expect("/proc")
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let number: i32 = path.file_name()?.to_str()?.parse().ok()?;
            let target = std::fs::read_link(&path).ok()?;
            (number > 2).then(|| format!("{number} {}", target.display()))
        })
        .filter(|shown| !shown.contains("/proc/")) // the listing itself
        .collect();
    fds.sort();
    stage.say(fds.join(", "));
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

fn spawn(role: &str) -> Result<(Helper, ServerEnd<Bytes>), ConnectError> {
    let mut command = support::role_command(role, &[]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (child, channel) =
        Connector::new().timeout(support::PATIENCE).spawn::<Bytes>(&mut command)?;
    Ok((Helper::of(child), channel))
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
fn attack_35_what_a_peer_execs_or_we_start_inherits_no_descriptor() {
    // A program started beside sessions of every kind.
    let (_server, _client) = memring::pair::<Bytes>().expect("a pair");
    let scratch = support::Scratch::new();
    let _listener = memring::Listener::bind(scratch.socket()).expect("binds");
    let (_child, _channel) = spawn("child").expect("a child");
    let helper = Helper::start("list", &[]);
    let ours = helper.hear();
    assert!(
        !["socket:", "memfd:", "pidfd", "eventpoll", "eventfd"].iter().any(|kind| {
            // libtest's own pipes may leak from tests beside this one; nothing of ours does.
            ours.contains(kind)
        }),
        "{ours}"
    );

    // A program that a peer becomes.
    let (mut helper, mut channel) = spawn("exec").expect("a child");
    assert_eq!(&*channel.recv_deadline(soon()).unwrap(), b"before");
    channel.send(b"before").expect("sends");
    helper.expect("ready");
    helper.tell("exec");
    let theirs = helper.hear();
    assert!(!theirs.contains("socket:") && !theirs.contains("memfd:"), "{theirs}");
    // Its process lives; the session does not: the other end of the socket is closed.
    match channel.recv_deadline(soon()).map(|_| ()) {
        Err(RecvError::Ended(End::PeerDied(_))) => {}
        other => panic!("{other:?}"),
    }
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
fn attack_78_in_a_forked_child_every_use_is_an_error_and_every_drop_is_harmless() {
    if !alone("attack_78_in_a_forked_child_every_use_is_an_error_and_every_drop_is_harmless") {
        return;
    }
    let (mut helper, mut channel) = spawn("child").expect("a child");
    channel.send(b"before").expect("sends");
    assert_eq!(&*channel.recv_deadline(soon()).unwrap(), b"before");
    let (mut tx, rx) = channel.split();
    let mut batch = tx.batch();
    batch.push(b"in a batch, when it forks").expect("pushes");
    std::mem::forget(batch); // open in the parent, at the time of the fork
    let mut halves = Some((tx, rx));
    let forked = Forked::start(|| {
        let (mut tx, mut rx) = halves.take().expect("the child's copy");
        let session = tx.session().clone();
        assert!(matches!(tx.try_send(b"x"), Err(TrySendError::Ended(End::Forked))));
        assert!(matches!(tx.send(b"x"), Err(SendError::Ended(End::Forked))));
        assert!(matches!(tx.send(&[0; 500_000]), Err(SendError::Ended(End::Forked))));
        assert!(matches!(tx.send_vectored(&[]), Err(SendError::Ended(End::Forked))));
        assert!(matches!(tx.claim(1), Err(SendError::Ended(End::Forked))));
        assert!(matches!(tx.try_claim(1), Err(TrySendError::Ended(End::Forked))));
        assert!(matches!(tx.batch().push(b"x"), Err(SendError::Ended(End::Forked))));
        assert!(matches!(tx.batch().try_push(b"x"), Err(TrySendError::Ended(End::Forked))));
        tx.batch().flush();
        assert!(matches!(tx.end(), Some(End::Forked)));
        assert!(matches!(rx.try_recv(), Err(TryRecvError::Ended(End::Forked))));
        assert!(matches!(rx.recv(), Err(RecvError::Ended(End::Forked))));
        assert!(matches!(rx.recv_owned(), Err(RecvError::Ended(End::Forked))));
        assert!(rx.iter().next().is_some_and(|last| last.is_err()));
        rx.release();
        session.close();
        session.before_sandbox();
        let _ = (tx.stats(), rx.stats(), tx.lane_bytes(), format!("{tx:?} {rx:?} {session:?}"));
        drop((tx, rx, session));
        // A session of its own is another matter.
        let (mut server, mut client) = memring::pair::<Bytes>().expect("a pair in the child");
        server.send(b"anew").expect("sends");
        assert_eq!(&*client.recv_deadline(soon()).unwrap(), b"anew");
    });
    assert!(forked.wait(), "the forked child");
    let (mut tx, mut rx) = halves.expect("the parent's");
    tx.send(b"after").expect("sends");
    assert_eq!(&*rx.recv_deadline(soon()).unwrap(), b"in a batch, when it forks");
    assert_eq!(&*rx.recv_deadline(soon()).unwrap(), b"after");
    drop((tx, rx));
    helper.expect("the peer closed the channel");
    helper.finish();
}

#[test]
fn attack_85_a_forked_child_that_holds_the_socket_hides_no_close() {
    if !alone("attack_85_a_forked_child_that_holds_the_socket_hides_no_close") {
        return;
    }
    let (mut helper, channel) = spawn("child").expect("a child");
    let (reads, mut writes) = io::pipe().expect("a pipe");
    let forked = Forked::start(|| {
        // Holds copies of all descriptors until the parent lets go.
        let mut reads = reads.try_clone().expect("a copy");
        let _ = io::Read::read(&mut reads, &mut [0]);
    });
    drop(channel);
    helper.expect("the peer closed the channel");
    helper.finish();
    io::Write::write_all(&mut writes, b"x").expect("writes");
    assert!(forked.wait());
}

#[test]
fn attack_85_a_worker_forked_before_the_first_session_has_its_own() {
    if !alone("attack_85_a_worker_forked_before_the_first_session_has_its_own") {
        return;
    }
    let work = || {
        let (mut server, client) = memring::pair::<Bytes>().expect("a pair");
        let (mut tx, mut rx) = client.split();
        tx.send(b"ping").expect("sends");
        assert_eq!(&*server.recv_deadline(soon()).unwrap(), b"ping");
        // Its own watcher hears of the close.
        drop(server);
        let end = rx.recv_deadline(soon()).map(|_| ());
        assert!(matches!(end, Err(RecvError::Ended(End::Closed))), "{end:?}");
        eventually("the sends end", || tx.try_send(b"").is_err());
    };
    let early = Forked::start(work);
    work();
    let late = Forked::start(work);
    assert!(early.wait() && late.wait());
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
