//! Clean sessions between the library and the attacker, which knows the protocol from its page alone.
//!
//! They show that two implementations mean the same, and that an attack which fails does not fail
//! because the attacker speaks badly. Nothing here attacks.

use std::io::{Read, Write};
use std::path::Path;
use std::thread;

use memring::blob::{Blob, BlobBuilder};
use memring::{
    Bytes, Channel, Connector, End, Fd, Lanes, Listener, Protocol, RecvError, SendError, Wait,
};

use crate::attacker::Attacker;
use crate::support::{PATIENCE, Scratch, eventually, soon};

/// The library's end.
type Victim = Channel<[u8], [u8]>;

/// One of our own uid, whom every default policy admits.
fn start() -> Attacker {
    let directory = Scratch::new();
    Attacker::start_as(rustix::process::geteuid().as_raw(), directory.path())
}

/// Sends what `line` says and takes it back: it has to be the same.
#[track_caller]
fn comes_back(attacker: &mut Attacker, line: &str) {
    let sent = attacker.run(line);
    let came = attacker.run("recvmsg");
    assert_eq!(came.get("len"), sent.get("len"), "{line}");
    assert_eq!(came.get("sum"), sent.get("sum"), "{line}");
}

/// Whether it sleeps in a futex just now. `None` if the kernel does not tell.
fn sleeps(attacker: &Attacker) -> Option<bool> {
    let call = std::fs::read_to_string(format!("/proc/{}/syscall", attacker.pid())).ok()?;
    Some(call.starts_with(&format!("{} ", libc::SYS_futex)))
}

/// Which side the attacker is.
#[derive(Clone, Copy, Debug)]
enum Side {
    Client,
    Server,
}

const SIDES: [Side; 2] = [Side::Client, Side::Server];

/// How the two meet. `fence` is what the attacker states of what it can.
#[derive(Clone, Copy, Debug)]
struct Setting {
    side: Side,
    capacity: u64,
    wait: Wait,
    fence: u64,
}

fn quiet(side: Side) -> Setting {
    Setting { side, capacity: 1 << 16, wait: Wait::Park, fence: 3 }
}

fn meet(attacker: &mut Attacker, setting: Setting) -> Victim {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let Setting { side, capacity, fence, .. } = setting;
    let victim = match side {
        Side::Client => {
            let listener = listen(&path, setting.wait);
            attacker.run(format!("connect {}", path.display()));
            let wish = format!("to_accepting={capacity} to_connecting={capacity}");
            attacker.tell(format!("client protocol=bytes {wish} fence={fence}"));
            let incoming = listener.accept_deadline(soon()).expect("a client");
            incoming.open::<Bytes>().expect("a channel")
        }
        Side::Server => {
            attacker.run(format!("bind {}", path.display()));
            attacker.tell("accept");
            attacker.tell(format!("server fence={fence}"));
            let victim = Connector::new()
                .wait(setting.wait)
                .timeout(PATIENCE)
                .lanes(Lanes::Bytes(capacity), Lanes::Bytes(capacity))
                .connect::<Bytes>(&path)
                .expect("a server");
            attacker.answer();
            victim
        }
    };
    let agreed = attacker.answer();
    for lane in ["s_capacity", "c_capacity"] {
        assert_eq!(agreed.get(lane), capacity.to_string(), "{lane} of {setting:?}");
    }
    assert!(agreed.get("light") == "full" || fence & 1 != 0, "{setting:?}: {agreed:?}");
    assert!(agreed.get("heavy") == "full" || fence & 2 != 0, "{setting:?}: {agreed:?}");
    victim
}

fn listen(path: &Path, wait: Wait) -> Listener {
    Listener::builder()
        .wait(wait)
        .lanes_between(Lanes::Bytes(4096), Lanes::Normal)
        .handshake_timeout(PATIENCE)
        .bind(path)
        .expect("a listener")
}

/// What the library sends as a batch: the first three are alike, and go without entries.
const BATCH: [&str; 5] = ["a", "b", "c", "", "nine byte"];

/// Sends a batch, then every message back, until the attacker closes. Waits longer than the attacker
/// does: a message that is only found at the deadline comes too late.
fn echo(mut victim: Victim) {
    let last = soon() + 5 * PATIENCE;
    let mut batch = victim.batch();
    for message in BATCH {
        batch.push(message.as_bytes()).expect("room");
    }
    drop(batch);
    loop {
        let message = match victim.recv_deadline(last) {
            Ok(message) => message.to_vec(),
            Err(RecvError::Ended(End::Closed)) => return,
            Err(other) => panic!("instead of the end: {other}"),
        };
        victim.send_deadline(&message, last).expect("it can be sent back");
    }
}

fn talk(setting: Setting) {
    let mut attacker = start();
    let victim = meet(&mut attacker, setting);
    let echo = thread::spawn(move || echo(victim));
    for hex in ["61", "62", "63", "", "6e696e652062797465"] {
        assert_eq!(attacker.run("recvmsg").get("hex"), hex, "of the batch, {setting:?}");
    }
    let most = setting.capacity / 4 - 16;
    let sizes = [0, 1, 15, 16, 17, most - 1, most, most + 1, 2 * most, 5 * setting.capacity];
    for (seed, size) in sizes.iter().enumerate() {
        comes_back(&mut attacker, &format!("send size={size} seed={seed}"));
    }
    attacker.run("frame kind=2 tag=3 payload=61626300000000006465660000000000");
    for hex in ["616263", "646566"] {
        assert_eq!(attacker.run("recvmsg").get("hex"), hex, "of those alike, {setting:?}");
    }
    attacker.run("pack aa bbcc \"\" 0102030405060708");
    for hex in ["aa", "bbcc", "", "0102030405060708"] {
        assert_eq!(attacker.run("recvmsg").get("hex"), hex, "of the pack, {setting:?}");
    }
    attacker.run("leave");
    echo.join().unwrap_or_else(|_| panic!("the library's end, {setting:?}"));
}

#[test]
fn messages_of_every_form_cross_small_lanes_however_the_library_waits() {
    for side in SIDES {
        for capacity in [4096, 1 << 14] {
            for wait in [Wait::Park, Wait::Adaptive] {
                talk(Setting { side, capacity, wait, fence: 3 });
            }
        }
    }
}

/// Stating less than one can is allowed; each direction is judged by itself.
#[test]
fn every_pair_of_fences_works() {
    for side in SIDES {
        for fence in 0..4 {
            talk(Setting { side, capacity: 4096, wait: Wait::Park, fence });
        }
    }
}

/// The library sleeps in one futex call without end, so that only the attacker's wake ends it.
#[test]
fn the_attacker_wakes_the_library() {
    for side in SIDES {
        let mut attacker = start();
        let victim = meet(&mut attacker, quiet(side));
        let echo = thread::spawn(move || echo(victim));
        for _ in BATCH {
            attacker.run("recvmsg");
        }
        for tag in 0..5 {
            eventually("the library sleeps", || {
                attacker.run("where").get("rx_asleep").parse::<u64>().expect("a word") & 3 == 1
            });
            comes_back(&mut attacker, &format!("send aabb tag={tag}"));
        }
        attacker.run("leave");
        echo.join().expect("the library's end");
    }
}

/// The attacker also wakes by itself now and then, so that one message may find it awake.
#[test]
fn the_library_wakes_the_attacker() {
    for side in SIDES {
        let mut attacker = start();
        if sleeps(&attacker).is_none() {
            return println!("skipped: no /proc/PID/syscall");
        }
        let (mut sender, _receiver) = meet(&mut attacker, quiet(side)).split();
        eventually("the library wakes the attacker", || {
            attacker.tell("recvmsg");
            eventually("the attacker sleeps", || sleeps(&attacker) == Some(true));
            sender.send(b"wake up").expect("it can be sent");
            assert_eq!(attacker.answer().get("len"), "7");
            sender.stats().wakes > 0
        });
    }
}

#[test]
fn fence_is_answered_by_either_side() {
    for side in SIDES {
        let mut attacker = start();
        let victim = meet(&mut attacker, quiet(side));
        let session = victim.session().clone();
        let echo = thread::spawn(move || echo(victim));
        for _ in BATCH {
            attacker.run("recvmsg");
        }
        attacker.run("fence");
        assert_eq!(attacker.run("recv").get("kind"), "fenceack");
        comes_back(&mut attacker, "send aa");
        session.before_sandbox();
        comes_back(&mut attacker, "send size=200000");
        comes_back(&mut attacker, "send bb");
        attacker.run("leave");
        echo.join().expect("the library's end");
    }
}

/// What the library's end says when it is read to the end, after `expected` messages.
#[track_caller]
fn ends(victim: &mut Victim, expected: &[&[u8]]) -> End {
    for message in expected {
        assert_eq!(&*victim.recv_deadline(soon()).expect("a message"), *message);
    }
    match victim.recv_deadline(soon()) {
        Err(RecvError::Ended(end)) => end,
        other => panic!("instead of the end: {:?}", other.map(|message| message.len())),
    }
}

/// The first part of a message of 32 bytes.
const BEGIN: &str = "frame kind=3 tag=5 payload=2000000000000000616263";

#[test]
fn the_library_hears_how_the_attacker_ended() {
    let closed: fn(&End) -> bool = |end| matches!(end, End::Closed);
    let died: fn(&End) -> bool = |end| matches!(end, End::PeerDied(_));
    for side in SIDES {
        for (commands, messages, is_right) in [
            (&["send aa", "leave"][..], &[&b"\xaa"[..]][..], closed),
            (&["send aa", "exit 0"], &[b"\xaa"], died),
            (&["send aa", "shutdown"], &[b"\xaa"], died),
            (&["frame kind=7 next=keep"], &[], closed),
            (&[BEGIN, "leave"], &[], closed),
            (&[BEGIN, "exit 0"], &[], died),
            (&[BEGIN, "frame kind=6", "send bb", "leave"], &[b"\xbb"], closed),
        ] {
            let mut attacker = start();
            let mut victim = meet(&mut attacker, quiet(side));
            for command in commands {
                attacker.run(command);
            }
            let end = ends(&mut victim, messages);
            assert!(is_right(&end), "{side:?} {commands:?}: {end}");
        }
    }
}

#[test]
fn the_attacker_hears_how_the_library_ended() {
    for side in SIDES {
        let mut attacker = start();
        let mut victim = meet(&mut attacker, quiet(side));
        victim.send(b"last").expect("it can be sent");
        drop(victim);
        attacker.run("recvmsg");
        assert_eq!(attacker.fails("recvmsg"), "closed");
        assert_eq!(attacker.fails("send aa"), "closed");

        let mut attacker = start();
        let mut victim = meet(&mut attacker, quiet(side));
        victim.send(b"last").expect("it can be sent");
        victim.session().close();
        attacker.run("recvmsg");
        assert_eq!(attacker.fails("recvmsg"), "died");
    }
}

#[test]
fn each_direction_closes_by_itself() {
    for side in SIDES {
        let mut attacker = start();
        let (sender, mut receiver) = meet(&mut attacker, quiet(side)).split();
        drop(sender);
        assert_eq!(attacker.fails("recvmsg"), "closed");
        attacker.run("send aa");
        assert_eq!(&*receiver.recv_deadline(soon()).expect("a message"), b"\xaa");

        let mut attacker = start();
        let (mut sender, receiver) = meet(&mut attacker, quiet(side)).split();
        drop(receiver);
        assert_eq!(attacker.fails("send aa"), "closed");
        sender.send(b"still").expect("it can be sent");
        assert_eq!(attacker.run("recvmsg").get("len"), "5");

        let mut attacker = start();
        let mut victim = meet(&mut attacker, quiet(side));
        attacker.run("frame kind=7 next=keep");
        assert!(matches!(ends(&mut victim, &[]), End::Closed));
        victim.send(b"still").expect("it can be sent");
        assert_eq!(attacker.run("recvmsg").get("len"), "5");
        attacker.run("head 33 wake");
        eventually("the sender finds out", || {
            let sent = victim.send_deadline(&[0; 9000], soon());
            matches!(sent, Err(SendError::Ended(End::Closed)))
        });
    }
}

/// A message with something beside its bytes.
#[memring::message(attachments)]
struct Parcel {
    name: String,
    fds: Vec<Fd>,
    blob: Option<Blob<[u8]>>,
}

struct Parcels;
impl Protocol for Parcels {
    const NAME: &'static str = "parcels";
    type ToClient = Parcel;
    type ToServer = Parcel;
}

/// What both sides take.
const TAKES: &str = "takes_fds=4 takes_blobs=2 takes_bytes=0x10000";

/// They meet, and this is what the attacker takes.
fn meet_with_parcels(attacker: &mut Attacker, side: Side, takes: &str) -> Channel<Parcel, Parcel> {
    let scratch = Scratch::new();
    let path = scratch.socket();
    match side {
        Side::Client => {
            let listener =
                Listener::builder().fds(4).blobs(2, 1 << 16).bind(&path).expect("a listener");
            let accept = || listener.accept_deadline(soon()).expect("a client").open::<Parcels>();
            // It learns what the messages are by being refused.
            attacker.run(format!("connect {}", path.display()));
            attacker.tell(format!("client until=sealed protocol=parcels {takes}"));
            accept().expect_err("other messages");
            attacker.answer();
            let refused = attacker.run("recv");
            let fingerprints = ["fp_accepting", "fp_connecting"]
                .map(|name| format!("{name}={}", refused.get(name)))
                .join(" ");
            attacker.run(format!("connect {}", path.display()));
            attacker.tell(format!("client protocol=parcels {fingerprints} {takes}"));
            let victim = accept().expect("a channel");
            attacker.answer();
            victim
        }
        Side::Server => {
            attacker.run(format!("bind {}", path.display()));
            attacker.tell("accept");
            attacker.tell(format!("server {takes}"));
            let connector = Connector::new().timeout(PATIENCE).fds(4).blobs(2, 1 << 16);
            let victim = connector.connect::<Parcels>(&path).expect("a server");
            attacker.answer();
            attacker.answer();
            victim
        }
    }
}

#[test]
fn descriptors_and_blobs_cross_both_ways() {
    for side in SIDES {
        let mut attacker = start();
        let mut victim = meet_with_parcels(&mut attacker, side, TAKES);
        let mut memory = BlobBuilder::new().with_size(5000).expect("memory");
        memory.fill(7);
        let blob = memory.seal().expect("sealed");
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"through").expect("room");
        let parcel = |fds, blob: &Blob<[u8]>| Parcel {
            name: "a parcel".to_owned(),
            fds,
            blob: Some(blob.clone()),
        };

        victim.send(&parcel(vec![reader.into()], &blob)).expect("it can be sent");
        let came = attacker.run("recvmsg");
        assert_eq!(came.get("entries"), "fd,1:5000", "{side:?}");
        assert_eq!(attacker.run("stat fd1").number("size"), 5000);
        assert_eq!(attacker.run("seals fd1").number("seals") & 0x1f, 0xf);
        attacker.run(format!("send {} fds=fd0,fd1 entries=fd,1:5000", came.get("hex")));
        let back = victim.recv_deadline(soon()).expect("it comes back");
        assert_eq!(back.name, "a parcel");
        let fd = back.take_fd(&back.fds[0]).expect("the pipe");
        let mut read = [0; 7];
        std::fs::File::from(fd).read_exact(&mut read).expect("what was written");
        assert_eq!(&read, b"through");
        let same = back.blob(back.blob.as_ref().expect("a blob")).expect("bytes");
        assert_eq!((same.id(), &*same), (blob.id(), &*blob), "{side:?}");

        // From now on a number does.
        victim.send(&parcel(vec![], &blob)).expect("it can be sent");
        let came = attacker.run("recvmsg");
        attacker.run(format!("send {}", came.get("hex")));
        let again = victim.recv_deadline(soon()).expect("it comes back");
        let again = again.blob(again.blob.as_ref().expect("a blob")).expect("bytes");
        assert!(std::ptr::eq(again.bytes(), same.bytes()), "{side:?}");

        // In parts, and with an end.
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let long = Parcel { name: "x".repeat(150_000), fds: vec![reader.into()], blob: None };
        attacker.tell("recvmsg");
        victim.send_deadline(&long, soon()).expect("it can be sent");
        assert_eq!(attacker.answer().get("entries"), "fd");
        drop((same, again, blob));
        attacker.run("forget blob=1 mentions=2");
        let forget = attacker.run("recv");
        assert_eq!(forget.get("kind"), "forget", "{side:?}");
        assert_eq!((forget.number("blob"), forget.number("mentions")), (1, 2), "{side:?}");
        attacker.run("leave");
        match victim.recv_deadline(soon()) {
            Err(RecvError::Ended(End::Closed)) => {}
            other => panic!("instead of the end: {:?}", other.map(|parcel| parcel.name.len())),
        }
    }
}

/// The attacker does not read its socket for a while, as somebody does who is stopped or busy.
#[test]
fn what_makes_room_is_said_before_what_takes_it() {
    let mut attacker = start();
    let takes = "takes_fds=253 takes_blobs=200 takes_bytes=0x100000";
    let mut victim = meet_with_parcels(&mut attacker, Side::Client, takes);
    let (sender, _) = victim.halves();
    let blob = || BlobBuilder::new().with_size(1).expect("memory").seal().expect("sealed");
    let of = |fds, blob| Parcel { name: String::new(), fds, blob };
    let blobs: Vec<_> = (0..200).map(|_| blob()).collect();
    for blob in &blobs {
        sender.try_send(&of(vec![], Some(blob.clone()))).expect("room");
    }
    let null = || vec![Fd::from(std::fs::File::open("/dev/null").expect("a file"))];
    let sent = (0..250).take_while(|_| sender.try_send(&of(null(), None)).is_ok()).count();
    assert!(sent < 250, "the socket is full");
    thread::scope(|scope| {
        let last = of(vec![], Some(blob()));
        let sending = scope.spawn(move || sender.send_deadline(&last, soon()));
        let mut asleep = || attacker.run("where").number("tx_asleep") != 0;
        eventually("it waits until the first was received", &mut asleep);
        for _ in 0..50 {
            assert_eq!(attacker.run("recv").get("kind"), "attachments");
        }
        let length = attacker.run("peek theirs data 4 2");
        let length = u16::from_str_radix(length.get("hex"), 16).expect("a length").swap_bytes();
        attacker.run(format!("head {} wake", 16 + length.next_multiple_of(16)));
        sending.join().expect("no panic").expect("it has room now");
    });
    let mut forgotten = false;
    loop {
        let packet = attacker.run("recv");
        match packet.get("kind") {
            "forget" => forgotten = packet.number("blob") == 1,
            _ if packet.get("entries") == "201:1" => break,
            _ => {}
        }
    }
    assert!(forgotten, "the first was to be forgotten for it");
}
