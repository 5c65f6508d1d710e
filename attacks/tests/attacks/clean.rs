//! Clean sessions between the library and the attacker, which knows the protocol from its page alone.
//!
//! They show that two implementations mean the same, and that an attack which fails does not fail
//! because the attacker speaks badly. Nothing here attacks.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use memring::{Bytes, Channel, Connector, End, Lanes, Listener, RecvError, SendError, Wait};

const PATIENCE: Duration = Duration::from_secs(10);

/// The library's end.
type Victim = Channel<[u8], [u8]>;

/// The attacker's process and its answers.
struct Attacker {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

/// The fields of an answer.
#[derive(Debug)]
struct Answer(HashMap<String, String>);

impl Attacker {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_attacker"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the attacker starts");
        let input = child.stdin.take().expect("its input is a pipe");
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let (tell, answers) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, input, answers }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("the attacker listens");
    }

    /// Takes the answer to `line`, which has to begin with `word`.
    #[track_caller]
    fn heard(&mut self, line: &str, word: &str) -> Answer {
        // Its commands give up after 10 s, and say so.
        let answer = self.answers.recv_timeout(2 * PATIENCE).expect("the attacker answers");
        let mut words = answer.strip_prefix("err ").unwrap_or(&answer).split(' ');
        assert_eq!(words.next(), Some(word), "{line}: {answer}");
        let field = |word: &str| {
            word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
        };
        Answer(words.filter_map(field).collect())
    }

    #[track_caller]
    fn gives(&mut self, line: &str, word: &str) -> Answer {
        self.say(line);
        self.heard(line, word)
    }

    #[track_caller]
    fn ok(&mut self, line: &str) -> Answer {
        self.gives(line, "ok")
    }

    /// Sends what `line` says and takes it back: it has to be the same.
    #[track_caller]
    fn comes_back(&mut self, line: &str) {
        let sent = self.ok(line);
        let came = self.ok("recvmsg");
        assert_eq!(came["len"], sent["len"], "{line}");
        assert_eq!(came["sum"], sent["sum"], "{line}");
    }

    /// Whether it sleeps in a futex just now. `None` if the kernel does not tell.
    fn sleeps(&self) -> Option<bool> {
        let call = std::fs::read_to_string(format!("/proc/{}/syscall", self.child.id())).ok()?;
        Some(call.starts_with(&format!("{} ", libc::SYS_futex)))
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl std::ops::Index<&str> for Answer {
    type Output = str;

    fn index(&self, key: &str) -> &str {
        self.0.get(key).unwrap_or_else(|| panic!("no {key} in {self:?}"))
    }
}

/// A directory of mode 0700 with one socket in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("memring-attacks-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path).expect("a scratch directory");
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = soon();
    while !condition() {
        assert!(Instant::now() < give_up, "never happened: {what}");
        thread::sleep(Duration::from_millis(1));
    }
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
            attacker.ok(&format!("connect {}", path.display()));
            let wish = format!("to_accepting={capacity} to_connecting={capacity}");
            attacker.say(&format!("client protocol=bytes {wish} fence={fence}"));
            let incoming = listener.accept_deadline(soon()).expect("a client");
            incoming.open::<Bytes>().expect("a channel")
        }
        Side::Server => {
            attacker.ok(&format!("bind {}", path.display()));
            attacker.say("accept");
            attacker.say(&format!("server fence={fence}"));
            let victim = Connector::new()
                .wait(setting.wait)
                .timeout(PATIENCE)
                .lanes(Lanes::Bytes(capacity), Lanes::Bytes(capacity))
                .connect::<Bytes>(&path)
                .expect("a server");
            attacker.heard("accept", "ok");
            victim
        }
    };
    let agreed = attacker.heard("the handshake", "ok");
    for lane in ["s_capacity", "c_capacity"] {
        assert_eq!(agreed[lane], capacity.to_string(), "{lane} of {setting:?}");
    }
    assert!(&agreed["light"] == "full" || fence & 1 != 0, "{setting:?}: {agreed:?}");
    assert!(&agreed["heavy"] == "full" || fence & 2 != 0, "{setting:?}: {agreed:?}");
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

/// Sends a batch, then every message back, until the attacker closes. Waits longer than the attacker
/// does: a message that is only found at the deadline comes too late.
fn echo(mut victim: Victim) {
    let last = soon() + 5 * PATIENCE;
    let mut batch = victim.batch();
    for message in ["a", "", "nine byte"] {
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
    let mut attacker = Attacker::start();
    let victim = meet(&mut attacker, setting);
    let echo = thread::spawn(move || echo(victim));
    for hex in ["61", "", "6e696e652062797465"] {
        assert_eq!(&attacker.ok("recvmsg")["hex"], hex, "of the batch, {setting:?}");
    }
    let most = setting.capacity / 4 - 16;
    let sizes = [0, 1, 15, 16, 17, most - 1, most, most + 1, 2 * most, 5 * setting.capacity];
    for (seed, size) in sizes.iter().enumerate() {
        attacker.comes_back(&format!("send size={size} seed={seed}"));
    }
    attacker.ok("pack aa bbcc \"\" 0102030405060708");
    for hex in ["aa", "bbcc", "", "0102030405060708"] {
        assert_eq!(&attacker.ok("recvmsg")["hex"], hex, "of the pack, {setting:?}");
    }
    attacker.ok("leave");
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
        let mut attacker = Attacker::start();
        let victim = meet(&mut attacker, quiet(side));
        let echo = thread::spawn(move || echo(victim));
        for _ in 0..3 {
            attacker.ok("recvmsg");
        }
        for tag in 0..5 {
            eventually("the library sleeps", || {
                attacker.ok("where")["rx_asleep"].parse::<u64>().expect("a word") & 3 == 1
            });
            attacker.comes_back(&format!("send aabb tag={tag}"));
        }
        attacker.ok("leave");
        echo.join().expect("the library's end");
    }
}

/// The attacker also wakes by itself now and then, so that one message may find it awake.
#[test]
fn the_library_wakes_the_attacker() {
    for side in SIDES {
        let mut attacker = Attacker::start();
        if attacker.sleeps().is_none() {
            return println!("skipped: no /proc/PID/syscall");
        }
        let (mut sender, _receiver) = meet(&mut attacker, quiet(side)).split();
        eventually("the library wakes the attacker", || {
            attacker.say("recvmsg");
            eventually("the attacker sleeps", || attacker.sleeps() == Some(true));
            sender.send(b"wake up").expect("it can be sent");
            assert_eq!(&attacker.heard("recvmsg", "ok")["len"], "7");
            sender.stats().wakes > 0
        });
    }
}

#[test]
fn fence_is_answered_by_either_side() {
    for side in SIDES {
        let mut attacker = Attacker::start();
        let victim = meet(&mut attacker, quiet(side));
        let session = victim.session().clone();
        let echo = thread::spawn(move || echo(victim));
        for _ in 0..3 {
            attacker.ok("recvmsg");
        }
        attacker.ok("fence");
        assert_eq!(&attacker.ok("recv")["kind"], "fenceack");
        attacker.comes_back("send aa");
        session.before_sandbox();
        attacker.comes_back("send size=200000");
        attacker.comes_back("send bb");
        attacker.ok("leave");
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
            let mut attacker = Attacker::start();
            let mut victim = meet(&mut attacker, quiet(side));
            for command in commands {
                attacker.ok(command);
            }
            let end = ends(&mut victim, messages);
            assert!(is_right(&end), "{side:?} {commands:?}: {end}");
        }
    }
}

#[test]
fn the_attacker_hears_how_the_library_ended() {
    for side in SIDES {
        let mut attacker = Attacker::start();
        let mut victim = meet(&mut attacker, quiet(side));
        victim.send(b"last").expect("it can be sent");
        drop(victim);
        attacker.ok("recvmsg");
        attacker.gives("recvmsg", "closed");
        attacker.gives("send aa", "closed");

        let mut attacker = Attacker::start();
        let mut victim = meet(&mut attacker, quiet(side));
        victim.send(b"last").expect("it can be sent");
        victim.session().close();
        attacker.ok("recvmsg");
        attacker.gives("recvmsg", "died");
    }
}

#[test]
fn each_direction_closes_by_itself() {
    for side in SIDES {
        let mut attacker = Attacker::start();
        let (sender, mut receiver) = meet(&mut attacker, quiet(side)).split();
        drop(sender);
        attacker.gives("recvmsg", "closed");
        attacker.ok("send aa");
        assert_eq!(&*receiver.recv_deadline(soon()).expect("a message"), b"\xaa");

        let mut attacker = Attacker::start();
        let (mut sender, receiver) = meet(&mut attacker, quiet(side)).split();
        drop(receiver);
        attacker.gives("send aa", "closed");
        sender.send(b"still").expect("it can be sent");
        assert_eq!(&attacker.ok("recvmsg")["len"], "5");

        let mut attacker = Attacker::start();
        let mut victim = meet(&mut attacker, quiet(side));
        attacker.ok("frame kind=7 next=keep");
        assert!(matches!(ends(&mut victim, &[]), End::Closed));
        victim.send(b"still").expect("it can be sent");
        assert_eq!(&attacker.ok("recvmsg")["len"], "5");
        attacker.ok("head 33 wake");
        eventually("the sender finds out", || {
            let sent = victim.send_deadline(&[0; 9000], soon());
            matches!(sent, Err(SendError::Ended(End::Closed)))
        });
    }
}
