//! Tests of the control socket, in a file of their own for their length.

use super::*;
use crate::address::Address;
use crate::testing::{Scratch, alone, eventually, open_fds};
use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

fn pair() -> (ControlSocket, ControlSocket) {
    ControlSocket::pair().unwrap()
}

fn packet(socket: &ControlSocket, buffer: &mut [u8]) -> Packet {
    match socket.receive(buffer).unwrap() {
        Incoming::Packet(packet) => packet,
        other => panic!("expected a packet, not {other:?}"),
    }
}

fn ended(socket: &ControlSocket) -> bool {
    matches!(socket.receive(&mut [0; 8]).unwrap(), Incoming::Ended)
}

fn null() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

fn is_cloexec(fd: impl AsFd) -> bool {
    rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC)
}

/// Sends control messages as they are, which `send` would not do.
fn send_raw(socket: &ControlSocket, bytes: &[u8], messages: &[&[BorrowedFd<'_>]]) {
    let mut space = vec![std::mem::MaybeUninit::uninit(); 4096];
    let mut control = SendAncillaryBuffer::new(&mut space);
    for fds in messages {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let part = [io::IoSlice::new(bytes)];
    rustix::net::sendmsg(&socket.fd, &part, &mut control, SendFlags::DONTWAIT).unwrap();
}

/// Closes it before this returns. Dropped, it may go to the closer, and be closed a moment later.
fn close_now(socket: ControlSocket) {
    drop(OwnedFd::from(socket));
}

fn seqpacket() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
}

fn listening(address: &Address, backlog: i32) -> OwnedFd {
    let socket = seqpacket();
    rustix::net::bind(&socket, &address.to_socket_address().unwrap()).unwrap();
    rustix::net::listen(&socket, backlog).unwrap();
    socket
}

#[test]
fn packets_keep_their_bounds_and_order() {
    let (a, b) = pair();
    for size in [1, 2, 100, 4096] {
        a.send(&vec![size as u8; size], &[]).unwrap();
    }
    let mut buffer = [0; 8192];
    for size in [1, 2, 100, 4096] {
        assert_eq!(packet(&b, &mut buffer).len, size);
        assert!(buffer[..size].iter().all(|byte| *byte == size as u8));
    }
    assert!(matches!(b.receive(&mut buffer).unwrap(), Incoming::WouldBlock));
    close_now(a);
    assert!(ended(&b) && ended(&b));
}

#[test]
fn attack_18_only_a_connected_seqpacket_socket_is_taken() {
    let (stream, _kept) = UnixStream::pair().unwrap();
    let (datagram, _kept) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let scratch = Scratch::new();
    let listening = listening(&Address::path(scratch.join("s")).unwrap(), 1);
    let (shut, other) = pair();
    shut.shutdown();
    let (orphan, gone) = pair();
    close_now(gone);
    type Case = (&'static str, OwnedFd, fn(&NotUsable) -> bool);
    let cases: [Case; 8] = [
        ("file", null(), |e| matches!(e, NotUsable::NotASocket)),
        ("tcp", std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into(), |e| {
            matches!(e, NotUsable::NotUnix)
        }),
        ("stream", stream.into(), |e| matches!(e, NotUsable::NotSeqPacket)),
        ("datagram", datagram.into(), |e| matches!(e, NotUsable::NotSeqPacket)),
        ("listening", listening, |e| matches!(e, NotUsable::Listening)),
        ("unconnected", seqpacket(), |e| matches!(e, NotUsable::NotConnected)),
        ("shut down", shut.into(), |e| matches!(e, NotUsable::NotConnected)),
        ("orphaned", orphan.into(), |e| matches!(e, NotUsable::NotConnected)),
    ];
    for (what, fd, fits) in cases {
        let error = ControlSocket::from_fd(fd).expect_err(what);
        assert!(fits(&error), "{what}: {error:?}");
    }
    drop(other);

    // A peer that wrote and went is still worth reading.
    let (last, gone) = pair();
    gone.send(b"bye", &[]).unwrap();
    close_now(gone);
    let last = ControlSocket::from_fd(last.into()).unwrap();
    assert_eq!(packet(&last, &mut [0; 8]).len, 3);
}

#[test]
fn a_socket_taken_over_is_nonblocking_and_cloexec() {
    let (ours, _theirs) = pair();
    let fd = OwnedFd::from(ours);
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty()).unwrap();
    rustix::fs::fcntl_setfl(&fd, rustix::fs::OFlags::empty()).unwrap();
    let socket = ControlSocket::from_fd(fd).unwrap();
    assert!(is_cloexec(&socket));
    let flags = rustix::fs::fcntl_getfl(&socket).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn attack_08_connecting_to_a_full_backlog_times_out_and_succeeds_once_there_is_room() {
    let scratch = Scratch::new();
    let address = Address::path(scratch.join("full")).unwrap();
    let listening = listening(&address, 0);
    let connect = |within| {
        let deadline = Some(Instant::now() + Duration::from_millis(within));
        ControlSocket::connect(&address, deadline, WhenAbsent::Fail)
    };
    let mut waiting = Vec::new();
    let error = loop {
        match connect(20) {
            Ok(socket) => waiting.push(socket),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, ConnectProblem::TimedOut { last: Obstacle::BacklogFull, .. }),
        "{error:?}"
    );
    // Whoever makes the pauses is told at once, though there is no deadline.
    let once = ControlSocket::connect(&address, None, WhenAbsent::Once);
    assert!(matches!(once, Err(ConnectProblem::BacklogFull(_))), "{once:?}");
    std::thread::scope(|scope| {
        let patient = scope.spawn(|| connect(60_000));
        drop(rustix::net::accept(&listening).unwrap());
        patient.join().unwrap().unwrap();
    });
}

#[test]
fn connecting_says_what_is_there_instead() {
    let scratch = Scratch::new();
    let at = |name: &str| Address::path(scratch.join(name)).unwrap();
    let connect = |name: &str| {
        let now = Some(Instant::now());
        let failed = ControlSocket::connect(&at(name), now, WhenAbsent::Fail);
        let once = ControlSocket::connect(&at(name), None, WhenAbsent::Once);
        assert_eq!(failed.as_ref().unwrap_err().to_string(), once.unwrap_err().to_string());
        failed.expect_err(name)
    };
    drop(UnixListener::bind(scratch.join("stale")).unwrap());
    let _stream = UnixListener::bind(scratch.join("stream")).unwrap();
    assert!(matches!(connect("absent"), ConnectProblem::NotThere(_)));
    assert!(matches!(connect("stale"), ConnectProblem::NobodyListens(_)));
    assert!(matches!(connect("stream"), ConnectProblem::NotOurKind(_)));
    let error = ControlSocket::connect(&at("absent"), Some(Instant::now()), WhenAbsent::Wait);
    let error = error.unwrap_err();
    assert!(matches!(error, ConnectProblem::TimedOut { last: Obstacle::NotThere, .. }), "{error}");
}

#[test]
fn waiting_for_a_service_sees_it_start() {
    let scratch = Scratch::new();
    let address = Address::path(scratch.join("late")).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ControlSocket::connect(&address, None, WhenAbsent::Wait));
        let _listening = listening(&address, 1);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn attack_20_an_empty_packet_is_the_end() {
    let (a, b) = pair();
    send_raw(&a, b"", &[]);
    assert!(ended(&b));
    let fd = null();
    send_raw(&a, b"", &[&[fd.as_fd()]]); // its descriptor is closed, see the fd count below
    assert!(ended(&b));
}

#[test]
fn attack_21_an_oversized_packet_is_marked() {
    let (a, b) = pair();
    a.send(&[1; 9], &[]).unwrap();
    a.send(&[2; 8], &[]).unwrap();
    let mut buffer = [0; 8];
    let long = packet(&b, &mut buffer);
    assert!(long.truncated && long.len == 8);
    let exact = packet(&b, &mut buffer);
    assert!(!exact.truncated && exact.len == 8 && buffer == [2; 8]);
}

#[test]
fn attack_28_every_control_message_is_taken() {
    let (a, b) = pair();
    let fd = null();
    let (one, two) = ([fd.as_fd()], [fd.as_fd(), fd.as_fd()]);
    send_raw(&a, b"x", &[&one, &two, &one]);
    let packet = packet(&b, &mut [0; 8]);
    assert_eq!(packet.fds.len(), 4);
    assert!(!packet.control_truncated);
}

#[test]
fn attack_29_and_35_a_full_packet_is_owned_and_cloexec() {
    if !alone("socket::tests::attack_29_and_35_a_full_packet_is_owned_and_cloexec") {
        return;
    }
    let (a, b) = pair();
    let fd = null();
    let before = open_fds();
    for count in [0, 1, 2, 3, MOST_FDS] {
        a.send(b"x", &vec![fd.as_fd(); count]).unwrap();
        let packet = packet(&b, &mut [0; 8]);
        assert_eq!(packet.fds.len(), count);
        assert!(!packet.control_truncated);
        assert!(packet.fds.iter().all(is_cloexec));
        let sender = packet.pidfd.as_ref().map_or(0, |_| 1);
        assert!(packet.pidfd.as_ref().is_none_or(is_cloexec));
        assert_eq!(open_fds().len(), before.len() + count + sender);
        drop(packet);
        eventually("all are closed", || open_fds() == before);
    }
    // The same with nobody looking at them.
    send_raw(&a, b"", &[&[fd.as_fd()]]);
    assert!(ended(&b));
    eventually("all are closed", || open_fds() == before);
    let many = vec![fd.as_fd(); MOST_FDS + 1];
    assert!(matches!(a.send(b"x", &many), Err(SendProblem::TooManyFds(254))));
}

#[test]
fn attack_30_descriptors_beyond_our_limit_are_said_to_be_lost() {
    if !alone("socket::tests::attack_30_descriptors_beyond_our_limit_are_said_to_be_lost") {
        return;
    }
    let (a, b) = pair();
    let fd = null();
    let next_free = u64::try_from(rustix::io::dup(&fd).unwrap().as_raw_fd()).unwrap();
    let before = open_fds();
    for (room, arrive) in [(3, 3), (2, 2), (0, 0)] {
        a.send(b"three", &[fd.as_fd(); 3]).unwrap();
        let limit = |current| rustix::process::Rlimit { current, maximum: Some(4096) };
        let set = |limit| rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
        set(limit(Some(next_free + room))).unwrap();
        let got = b.receive(&mut [0; 8]).unwrap();
        set(limit(Some(1024))).unwrap();
        let Incoming::Packet(packet) = got else { panic!("{got:?}") };
        assert_eq!((packet.len, packet.fds.len()), (5, arrive));
        assert_eq!(packet.control_truncated, arrive < 3, "room for {room}");
        let lowest = rustix::io::dup(&fd).unwrap();
        drop(packet);
        drop(lowest);
        eventually("all are closed", || open_fds() == before);
    }
}

#[test]
fn attack_31_descriptors_can_be_forbidden_where_the_kernel_can() {
    let (a, b) = pair();
    let fd = null();
    if b.pass_rights(false).unwrap() == Support::Absent {
        println!("skipped: SO_PASSRIGHTS needs Linux 6.16");
        return;
    }
    assert!(matches!(a.send(b"x", &[fd.as_fd()]), Err(SendProblem::FdsRefused)));
    a.send(b"x", &[]).unwrap();
    assert!(packet(&b, &mut [0; 8]).fds.is_empty());
    assert_eq!(b.pass_rights(true).unwrap(), Support::Present);
    a.send(b"x", &[fd.as_fd()]).unwrap();
    assert_eq!(packet(&b, &mut [0; 8]).fds.len(), 1);
}

#[test]
fn attack_32_too_many_descriptors_in_flight_are_a_condition() {
    const TEST: &str = "socket::tests::attack_32_too_many_descriptors_in_flight_are_a_condition";
    if !alone(TEST) {
        return;
    }
    // Root may put any number in flight, and the count is the uid's: so another uid, once.
    if rustix::process::geteuid().is_root() {
        let uid = rustix::process::Uid::from_raw(62_321);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
    }
    let limit = rustix::process::Rlimit { current: Some(64), maximum: Some(64) };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let (a, b) = pair();
    let fd = null();
    let many = [fd.as_fd(); 50];
    let mut sent = 0;
    let error = loop {
        match a.send(b"x", &many) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, SendProblem::TooManyInFlight), "{error:?}");
    a.send(b"no descriptors", &[]).unwrap();
    for _ in 0..sent {
        packet(&b, &mut [0; 16]);
    }
    eventually("there is room again", || a.send(b"x", &many[..1]).is_ok());
}

#[test]
fn attack_33_peeking_is_nobodys_habit() {
    let mut left = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let flags = [["RecvFlags", "PEEK"].join("::"), ["libc", "MSG_PEEK"].join("::")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!flags.iter().any(|flag| text.contains(flag)), "{}", path.display());
    }
}

#[test]
fn attack_64_a_full_queue_is_a_condition_and_then_a_deadline() {
    let (a, b) = pair();
    let error = loop {
        if let Err(error) = a.send(&[7; 64], &[]) {
            break error;
        }
    };
    assert!(matches!(error, SendProblem::WouldBlock));
    let soon = Some(Instant::now() + Duration::from_millis(5));
    assert!(matches!(a.send_deadline(b"x", &[], soon), Err(SendProblem::TimedOut)));
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| a.send_deadline(b"patient", &[], None));
        let mut buffer = [0; 64];
        eventually(
            "the packet got through",
            || matches!(b.receive(&mut buffer).unwrap(), Incoming::Packet(packet) if packet.len == 7),
        );
        sender.join().unwrap().unwrap();
    });
}

#[test]
fn attack_90_what_was_sent_before_a_reset_is_read_and_then_the_end() {
    let (a, b) = pair();
    b.send(b"unread by a", &[]).unwrap(); // makes the close below a reset
    a.send(b"last", &[]).unwrap();
    a.send(b"words", &[]).unwrap();
    close_now(a);
    let mut buffer = [0; 8];
    assert_eq!(packet(&b, &mut buffer).len, 4);
    assert_eq!(packet(&b, &mut buffer).len, 5);
    assert!(ended(&b));
    assert!(matches!(b.send(b"x", &[]), Err(SendProblem::Closed)));
}

#[test]
fn deadlines_pass_and_the_last_look_counts() {
    let (a, b) = pair();
    let mut buffer = [0; 8];
    let past = Some(Instant::now());
    assert!(matches!(b.receive_deadline(&mut buffer, past).unwrap(), Incoming::WouldBlock));
    a.send(b"x", &[]).unwrap();
    assert!(matches!(b.receive_deadline(&mut buffer, past).unwrap(), Incoming::Packet(_)));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| b.receive_deadline(&mut [0; 8], None));
        a.send(b"y", &[]).unwrap();
        assert!(matches!(reader.join().unwrap().unwrap(), Incoming::Packet(_)));
        let reader = scope.spawn(|| b.receive_deadline(&mut [0; 8], None));
        b.shutdown();
        assert!(matches!(reader.join().unwrap().unwrap(), Incoming::Ended));
    });
    b.shutdown(); // twice is once
    assert!(matches!(a.send(b"z", &[]), Err(SendProblem::Closed)));
    assert!(ended(&a));
}

#[test]
fn attack_15_credentials_that_the_sender_chose_change_nothing() {
    let (a, b) = pair();
    rustix::net::sockopt::set_socket_passcred(&b, true).unwrap(); // whoever made the socket may have
    let fd = null();
    a.send(b"x", &[fd.as_fd(); MOST_FDS]).unwrap();
    let packet = packet(&b, &mut [0; 8]);
    assert_eq!(packet.fds.len(), MOST_FDS);
    assert!(!packet.control_truncated, "there is room for credentials beside all else");
    let has_pidfds = b.pass_pidfd(true).unwrap() == Support::Present;
    assert_eq!(packet.pidfd.is_some(), has_pidfds);

    if !rustix::process::geteuid().is_root() {
        println!("skipped: forging credentials takes root");
        return;
    }
    let before = crate::peer::Peer::of(&b, crate::peer::Origin::Inherited).unwrap();
    let forged = rustix::net::UCred {
        pid: rustix::process::Pid::INIT,
        uid: rustix::process::Uid::from_raw(4242),
        gid: rustix::process::Gid::from_raw(4242),
    };
    let mut space = vec![std::mem::MaybeUninit::uninit(); 128];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmCredentials(forged)));
    let part = [io::IoSlice::new(b"forged")];
    rustix::net::sendmsg(&a.fd, &part, &mut control, SendFlags::DONTWAIT).unwrap();
    assert!(matches!(b.receive(&mut [0; 8]).unwrap(), Incoming::Packet(packet) if packet.len == 6));
    let after = crate::peer::Peer::of(&b, crate::peer::Origin::Inherited).unwrap();
    assert_eq!(after.to_string(), before.to_string());
}
