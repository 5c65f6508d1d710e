//! Messages with file descriptors: typed and raw, many and large, given up, refused, lost, and none left behind.

mod support;

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use memring::{
    Bytes, Connector, Fd, HandshakeError, Lanes, Listener, Protocol, RecvError, SendError,
    TryRecvError, TrySendError,
};
use support::{Helper, Scratch, Stage, alone, eventually, play, soon};

#[test]
fn role() {
    play(&[("take all", take_all), ("flood", flood)]);
}

#[memring::message(attachments)]
struct Job {
    name: String,
    input: Option<Fd>,
    outputs: Vec<Fd>,
    rest: Vec<u8>,
}

struct Jobs;
impl Protocol for Jobs {
    const NAME: &'static str = "jobs";
    type ToClient = Job;
    type ToServer = Job;
}

fn null() -> OwnedFd {
    File::open("/dev/null").expect("a file to pass").into()
}

/// Descriptors of this process.
fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count() - 1
}

/// A pipe whose reading end tells which it is.
fn marked(mark: u32) -> OwnedFd {
    let (reader, mut writer) = pipe().expect("a pipe");
    writer.write_all(&mark.to_le_bytes()).expect("four bytes");
    reader.into()
}

fn mark(fd: OwnedFd) -> u32 {
    let mut bytes = [0; 4];
    File::from(fd).read_exact(&mut bytes).expect("four bytes");
    u32::from_le_bytes(bytes)
}

fn job(marks: &[u32], rest: usize) -> Job {
    let mut fds = marks.iter().map(|mark| Fd::from(marked(*mark)));
    let input = fds.next();
    Job { name: format!("{marks:?}"), input, outputs: fds.collect(), rest: vec![7; rest] }
}

#[test]
fn descriptors_come_with_their_message_in_one_frame_and_in_parts() {
    let connector = Connector::new().lanes(Lanes::Small, Lanes::Small).fds(16);
    let (server, mut client) = connector.pair::<Jobs>().unwrap();
    let sending = std::thread::spawn(move || {
        let mut server = server;
        for (marks, rest) in [(&[][..], 0), (&[1, 2, 3], 0), (&[4], 100_000), (&[5, 6], 10)] {
            server.send(&job(marks, rest)).unwrap();
        }
        server
    });
    for marks in [&[][..], &[1, 2, 3], &[4], &[5, 6]] {
        let job = client.recv().unwrap();
        assert_eq!(job.name, format!("{marks:?}"));
        let input = job.input.as_ref().map(|fd| job.take_fd(fd).expect("the first time"));
        let outputs = job.outputs.iter().map(|fd| job.take_fd(fd).expect("the first time"));
        let came: Vec<u32> = input.into_iter().chain(outputs).map(mark).collect();
        assert_eq!(came, marks);
        assert!(job.outputs.iter().all(|fd| job.take_fd(fd).is_none()), "once");
    }
    drop(sending.join().unwrap());
}

#[test]
fn a_message_with_descriptors_is_kept_taken_whole_or_closed_with_them() {
    let (mut server, client) = memring::pair::<Jobs>().unwrap();
    let (_tx, mut rx) = client.split();
    server.send(&job(&[1, 2], 0)).unwrap();
    let kept = rx.recv_owned().unwrap();
    let value = std::thread::spawn(move || {
        let value = kept.take_value().unwrap();
        assert!(kept.take_value().is_err(), "its descriptors are gone");
        value
    });
    let value = value.join().unwrap();
    let outputs = value.outputs.into_iter().map(|fd| fd.as_fd().try_clone_to_owned().unwrap());
    assert_eq!(outputs.map(mark).collect::<Vec<_>>(), [2]);

    // What nobody takes is closed with the message.
    let (reader, writer) = pipe().unwrap();
    let job =
        Job { name: String::new(), input: Some(writer.into()), outputs: vec![], rest: vec![] };
    server.send_owned(job).map_err(|(error, _)| error).unwrap();
    drop(rx.recv().unwrap());
    let mut nothing = Vec::new();
    (&reader).read_to_end(&mut nothing).unwrap(); // waits until all writing ends are closed
}

#[test]
fn raw_bytes_have_descriptors_beside_them_and_others_none() {
    let (mut server, client) = Connector::new().fds(4).pair::<Bytes>().unwrap();
    let (_tx, mut rx) = client.split();
    let fds: Vec<OwnedFd> = (0..3).map(marked).collect();
    let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    server.send(b"before").unwrap();
    server.send_with_fds(b"with", &borrowed).unwrap();
    server.send(b"after").unwrap();
    server.send_with_fds(b"", &borrowed[..1]).unwrap();
    for (bytes, count) in [(&b"before"[..], 0), (b"with", 3), (b"after", 0), (b"", 1)] {
        let (message, came) = rx.recv_with_fds().unwrap();
        assert_eq!((&*message, came.len()), (bytes, count));
        for (came, sent) in came.iter().zip(&fds) {
            let inode =
                |fd: &OwnedFd| File::from(fd.try_clone().unwrap()).metadata().unwrap().ino();
            assert_eq!(inode(came), inode(sent), "in the order in which they were sent");
        }
    }
    // A receive that does not ask for them closes them.
    let (reader, writer) = pipe().unwrap();
    server.send_with_fds(b"unasked", &[writer.as_fd()]).unwrap();
    drop(writer);
    assert_eq!(&*rx.recv().unwrap(), b"unasked");
    (&reader).read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn no_more_are_under_way_than_the_peer_takes() {
    let (mut server, client) = Connector::new().fds(4).pair::<Bytes>().unwrap();
    let (_tx, mut rx) = client.split();
    let fd = null();
    let five = [fd.as_fd(); 5];
    let too_many = server.send_with_fds(b"", &five).unwrap_err();
    assert!(matches!(too_many, SendError::TooManyFds { count: 5, most: 4 }), "{too_many}");
    let (tx, _) = server.halves();
    tx.try_send_with_fds(b"one", &five[..1]).unwrap();
    tx.try_send_with_fds(b"three", &five[..3]).unwrap();
    assert!(matches!(tx.try_send_with_fds(b"full", &five[..1]), Err(TrySendError::Full)));
    let late = tx.send_with_fds_deadline(b"late", &five[..1], Instant::now());
    assert!(matches!(late, Err(SendError::TimedOut)));
    tx.try_send(b"bytes go on").unwrap();

    let (message, came) = rx.recv_with_fds().unwrap();
    assert_eq!((&*message, came.len()), (&b"one"[..], 1));
    rx.release();
    tx.try_send_with_fds(b"another", &five[..1]).unwrap();
    assert!(matches!(tx.try_send_with_fds(b"full", &five[..1]), Err(TrySendError::Full)));
    for (bytes, count) in [(&b"three"[..], 3), (b"bytes go on", 0), (b"another", 1)] {
        let (message, came) = rx.recv_with_fds().unwrap();
        assert_eq!((&*message, came.len()), (bytes, count));
    }
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));
    tx.try_send_with_fds(b"four", &five[..4]).unwrap();
    assert_eq!(rx.recv_with_fds().unwrap().1.len(), 4);
}

#[test]
fn attack_88_a_send_that_times_out_for_room_has_sent_no_descriptor() {
    let connector = Connector::new().lanes(Lanes::Small, Lanes::Small).fds(8);
    let (mut server, client) = connector.pair::<Bytes>().unwrap();
    let (_tx, mut rx) = client.split();
    let (tx, _) = server.halves();
    let fd = null();
    let mut filled = 0;
    while tx.try_send(&[1; 1000]).is_ok() {
        filled += 1;
    }
    for size in [1000, 10_000] {
        let late = tx.send_with_fds_deadline(&vec![2; size], &[fd.as_fd()], Instant::now());
        assert!(matches!(late, Err(SendError::TimedOut)), "{late:?}");
    }
    for _ in 0..filled {
        assert_eq!(rx.recv_with_fds().unwrap().0.len(), 1000);
    }
    rx.release();
    tx.send_with_fds(b"now", &[fd.as_fd(), fd.as_fd()]).unwrap();
    let (message, came) = rx.recv_with_fds().unwrap();
    assert_eq!((&*message, came.len()), (&b"now"[..], 2));
}

#[test]
fn messages_that_carry_what_the_peer_does_not_take_are_refused_before_the_channel_opens() {
    let directory = Scratch::new();
    let listener = Listener::bind(directory.socket()).unwrap();
    std::thread::scope(|scope| {
        let accepting = scope.spawn(|| listener.accept_deadline(soon()).map(drop));
        let refused = memring::connect::<Jobs>(directory.socket()).unwrap_err();
        assert!(refused.to_string().contains("file descriptors"), "{refused}");
        assert_eq!(std::io::Error::from(refused).kind(), std::io::ErrorKind::ConnectionRefused);
        listener.shut_down();
        assert!(accepting.join().unwrap().is_err(), "the application sees nothing of it");
    });
    drop(listener);
    let listener = Listener::bind(directory.socket()).unwrap();

    // The other way round: this client says that it takes none.
    struct OneWay;
    impl Protocol for OneWay {
        const NAME: &'static str = "one way";
        type ToClient = Job;
        type ToServer = [u8];
    }
    std::thread::scope(|scope| {
        let client = scope
            .spawn(|| Connector::new().fds(0).connect::<OneWay>(directory.socket()).unwrap_err());
        let refused = listener.accept_deadline(soon()).unwrap().open::<OneWay>().unwrap_err();
        assert!(refused.to_string().contains("file descriptors"), "{refused}");
        let told = client.join().unwrap();
        assert!(told.to_string().contains("file descriptors"), "{told}");
    });
    // And one that says nothing takes what its messages bring.
    std::thread::scope(|scope| {
        let client = scope.spawn(|| memring::connect::<OneWay>(directory.socket()).unwrap());
        let mut server = listener.accept_deadline(soon()).unwrap().open::<OneWay>().unwrap();
        server.send(&job(&[9], 0)).unwrap();
        let mut client = client.join().unwrap();
        let job = client.recv().unwrap();
        let fd = job.input.as_ref().and_then(|fd| job.take_fd(fd)).expect("it came");
        assert_eq!(mark(fd), 9);
    });
}

#[test]
fn a_setting_beyond_the_protocols_limit_is_refused() {
    let refused = Connector::new().fds(254).pair::<Bytes>().unwrap_err();
    assert!(std::error::Error::source(&refused).is_some() || !refused.to_string().is_empty());
    let memring::ConnectError::Connect(memring::cause::ConnectError::Handshake(
        HandshakeError::Settings(_),
    )) = refused
    else {
        panic!("{refused:?}");
    };
}

/// Receives until the end; says how many descriptors came, in order or not.
fn take_all(stage: &Stage) {
    let path = stage.path();
    let mut client = Connector::new().fds(253).connect::<Bytes>(path).unwrap();
    stage.say("ready");
    let before = open_fds();
    let (mut next, mut count) = (0, 0);
    while let Ok((message, fds)) = client.recv_with_fds() {
        assert_eq!(message.len(), 8);
        for fd in fds {
            assert_eq!(mark(fd), next, "in order, none twice, none lost");
            next += 1;
            count += 1;
        }
    }
    drop(client);
    eventually("none is left", || open_fds() <= before);
    stage.say(count);
}

#[test]
fn ten_thousand_descriptors_arrive_one_by_one_and_a_hundred_at_once() {
    let directory = Scratch::new();
    let listener = Listener::bind(directory.socket()).unwrap();
    let helper = Helper::start("take all", &[("path", &directory.socket().display())]);
    let mut server = listener.accept_deadline(soon()).unwrap().open::<Bytes>().unwrap();
    helper.expect("ready");
    let mut next = 0;
    let mut send = |count: u32| {
        let fds: Vec<OwnedFd> = (next..next + count).map(marked).collect();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        server.send_with_fds(&u64::from(next).to_le_bytes(), &fds).unwrap();
        next += count;
    };
    for _ in 0..10_000 {
        send(1);
    }
    send(100);
    drop(server);
    helper.expect("10100");
}

/// Opens so many files that none is left, and receives a message with some.
#[test]
fn attack_30_descriptors_that_do_not_fit_are_lost_with_their_message_and_no_other() {
    if !alone("attack_30_descriptors_that_do_not_fit_are_lost_with_their_message_and_no_other") {
        return;
    }
    let (mut server, client) = Connector::new().fds(8).pair::<Bytes>().unwrap();
    let (_tx, mut rx) = client.split();
    let fd = null();
    server.send_with_fds(b"first", &[fd.as_fd()]).unwrap();
    assert_eq!(rx.recv_with_fds().unwrap().1.len(), 1);

    let was = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let open = open_fds() as u64;
    let limit = rustix::process::Rlimit { current: Some(open + 8), maximum: was.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    let mut held = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        held.push(file);
    }
    held.pop();
    server.send_with_fds(b"three into one place", &[fd.as_fd(); 3]).unwrap();
    server.send(b"next").unwrap();
    let lost = rx.recv_with_fds().map(drop).unwrap_err();
    assert!(matches!(lost, RecvError::FdsLost { sent: 3 }), "{lost:?}");
    assert_eq!(&*rx.recv().unwrap(), b"next");
    drop(held);
    rustix::process::setrlimit(rustix::process::Resource::Nofile, was).unwrap();
    server.send_with_fds(b"again", &[fd.as_fd(); 3]).unwrap();
    let (message, fds) = rx.recv_with_fds().unwrap();
    assert_eq!((&*message, fds.len()), (&b"again"[..], 3));
}

/// Sends messages with descriptors without end.
fn flood(stage: &Stage) {
    let path = stage.path();
    let mut client = memring::connect::<Bytes>(path).unwrap();
    stage.say("ready");
    let fd = null();
    while client.send_with_fds(b"take it", &[fd.as_fd(); 4]).is_ok() {}
}

#[test]
fn a_client_that_sends_on_and_on_is_held_to_its_limit_and_leaves_nothing() {
    if !alone("a_client_that_sends_on_and_on_is_held_to_its_limit_and_leaves_nothing") {
        return;
    }
    let directory = Scratch::new();
    let listener = Listener::builder().fds(8).bind(directory.socket()).unwrap();
    let helper = Helper::start("flood", &[("path", &directory.socket().display())]);
    let mut server = listener.accept_deadline(soon()).unwrap().open::<Bytes>().unwrap();
    helper.expect("ready");
    let before = open_fds();
    for _ in 0..200 {
        let (_, fds) = server.recv_with_fds().unwrap();
        assert!(fds.len() == 4 && open_fds() <= before + 4 + 8);
    }
    drop(helper);
    eventually("the rest is received, or goes with the session", || server.recv().is_err());
    drop(server);
    eventually("none is left", || open_fds() <= before);
}
