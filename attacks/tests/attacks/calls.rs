//! What a peer can do by the packets of calls, to who serves and to who calls. Packets are written by hand, from section 15 of
//! the protocol.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use memring::fanout::Slow;
use memring::rpc::{Call, CallError, Calls, Client, Link, Replies, Serve, Signals};
use memring::{Connector, End, Policy, Reason};

use crate::attacker::Attacker;
use crate::descriptors::open_of;
use crate::payloads::{Chain, hex};
use crate::scene::Scene;
use crate::session::in_time;
use crate::support::{PATIENCE, eventually, soon};
use crate::victim::trusting;

/// What is served to attackers.
#[memring::interface(name = "target", version = "1")]
trait Target {
    fn twice(number: u32) -> u32;
    fn count(to: u32) -> Stream<u32>;
    #[oneway]
    fn told(number: u32);
    #[signal]
    fn news(bytes: &[u8]);
    fn denied();
    /// Goes on until nobody waits.
    fn linger();
    fn texts(texts: Vec<String>) -> u32;
    fn chain(chain: Chain) -> u32;
    /// Goes on, and reads nothing, until it is let go.
    fn hold();
}

const COUNT: u32 = 1;
const TOLD: u32 = 2;
const NEWS: u32 = 3;
const DENIED: u32 = 4;
const LINGER: u32 = 5;
const TEXTS: u32 = 6;
const CHAIN: u32 = 7;
const HOLD: u32 = 8;

/// Calls that linger now.
static LINGERS: AtomicU64 = AtomicU64::new(0);

/// Calls that hold now, and such as were let go.
static HOLDS: AtomicU64 = AtomicU64::new(0);
static LET_GO: AtomicU64 = AtomicU64::new(0);

struct Serves;

impl TargetServer for Serves {
    fn twice(&self, _: &Call<'_>, number: u32) -> u32 {
        number.wrapping_mul(2)
    }

    fn count(&self, _: &Call<'_>, to: u32, mut replies: Replies<u32>) {
        for number in 0..to {
            if replies.send(&number).is_err() {
                return;
            }
        }
        replies.end(Ok(()));
    }

    fn told(&self, _: &Call<'_>, _: u32) {}

    fn denied(&self, _: &Call<'_>) {}

    fn linger(&self, call: &Call<'_>) {
        LINGERS.fetch_add(1, Ordering::Relaxed);
        while !call.is_cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        LINGERS.fetch_sub(1, Ordering::Relaxed);
    }

    fn texts(&self, _: &Call<'_>, texts: Vec<String>) -> u32 {
        texts.len() as u32
    }

    fn chain(&self, _: &Call<'_>, chain: Chain) -> u32 {
        u32::from(chain.next.is_some())
    }

    fn hold(&self, _: &Call<'_>) {
        let number = HOLDS.fetch_add(1, Ordering::Relaxed) + 1;
        eventually("it is let go", || LET_GO.load(Ordering::Relaxed) >= number);
    }
}

static SIGNALS: std::sync::LazyLock<TargetSignals> =
    std::sync::LazyLock::new(|| TargetSignals::new(Slow::DropNewest));

/// Another, of which anybody may use all.
#[memring::interface(name = "plain", version = "1")]
trait Plain {
    fn nothing();
}

impl PlainServer for Serves {
    fn nothing(&self, _: &Call<'_>) {}
}

fn serve() -> Vec<Serve> {
    let target = Target::serve(Serves).signals(&*SIGNALS);
    vec![target.method("denied", Policy::nobody()), Plain::serve(Serves)]
}

fn scene(name: &'static str) -> Option<Scene> {
    Scene::of_calls(name, |builder| builder, serve)
}

/// A packet in hexadecimal digits.
fn packet(kind: u8, interface: u16, number: u32, time: u64, body: &[u8]) -> String {
    let mut packet = vec![kind, 0];
    packet.extend(interface.to_le_bytes());
    packet.extend(number.to_le_bytes());
    packet.extend(time.to_le_bytes());
    packet.extend(body);
    hex(&packet)
}

fn call(number: u32, body: &[u8]) -> String {
    packet(4, 0, number, 0, body)
}

/// An opening of an interface of which nothing is known.
fn open(name: &str) -> String {
    let text = |text: &str| [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat();
    packet(1, 0, 0, 0, &[text(name), text("1"), vec![0, 0]].concat())
}

const TWO: [u8; 4] = 2_u32.to_le_bytes();
const PROTOCOL: &str = "protocol=memring.calls.1";
const SMALL: &str = "to_accepting=4096 to_connecting=4096";

/// An attacker that has opened the interface.
#[track_caller]
fn opened(scene: &Scene) -> Attacker {
    let mut attacker = scene.attacker();
    opens(scene, &mut attacker, "");
    attacker
}

#[track_caller]
fn opens(scene: &Scene, attacker: &mut Attacker, asking: &str) {
    attacker.run(format!("connect {}", scene.path()));
    attacker.run(format!("client until=ready {PROTOCOL} {asking}"));
    attacker.run(format!("send {} tag=1", open("target")));
    assert_eq!(answer(attacker), (1, 2, 1024), "opened");
}

/// The next packet: its tag, kind and number.
#[track_caller]
fn answer(attacker: &mut Attacker) -> (u64, u8, u32) {
    let came = attacker.run("recvmsg");
    let digits = came.get("begins");
    let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("digits");
    (came.number("tag"), byte(0) & 15, u32::from_le_bytes([4, 5, 6, 7].map(byte)))
}

/// Sees that a call is answered as it should be.
#[track_caller]
fn is_served(attacker: &mut Attacker, tag: u64) {
    attacker.run(format!("send {} tag={tag}", call(0, &TWO)));
    assert_eq!(answer(attacker), (tag, 6, 0), "done");
}

/// Each of these ends the session of whoever sends it.
#[track_caller]
fn end_the_session(scene: &mut Scene, cases: &[&[(String, u64)]]) {
    let mut attacker = scene.attacker();
    for packets in cases {
        opens(scene, &mut attacker, "");
        for (packet, tag) in *packets {
            let empty = if packet.is_empty() { "\"\"" } else { packet };
            attacker.run(format!("send {empty} tag={tag}"));
        }
        scene.poisoned(Reason::LaneCalls);
        attacker.run("close");
    }
    scene.answers_others();
    drop(attacker);
}

#[test]
fn attack_57_packets_of_no_kind_with_reserved_fields_or_too_short_end_the_session() {
    let Some(mut scene) = scene(name!()) else { return };
    let mut blobs = call(0, &TWO);
    blobs.replace_range(2..4, "01");
    end_the_session(
        &mut scene,
        &[
            &[(String::new(), 2)],
            &[(call(0, &TWO)[..30].to_owned(), 2)],
            &[(packet(0, 0, 0, 0, &[]), 2)],
            &[(packet(15, 0, 0, 0, &[]), 2)],
            &[(packet(255, 0, 0, 0, &[]), 2)],
            &[(packet(0x44, 0, 0, 0, &[0; 64]), 2)],
            &[(packet(0x34, 0, 0, 0, &[0; 47]), 2)],
            &[(packet(9, 1, 0, 0, &[]), 2)],
            &[(packet(9, 0, 1, 0, &[]), 2)],
            &[(packet(13, 0, NEWS, 1, &[]), 0)],
            &[(packet(1, 0, 3, 0, &[]), 2)],
            &[(packet(1, 1, 0, 0, &[]), 2)],
            &[(packet(1, 1, 2, 0, &[]), 2)],
            &[(packet(0x81, 0, 0, 0, &[]), 2)],
            &[(packet(0x86, 0, 0, 0, &[]), 2)],
            &[(packet(0xc4, 0, 0, 0, &[]), 2)],
            &[(blobs, 2)],
        ],
    );
    scene.finish();
}

#[test]
fn attack_27_and_23_numbers_out_of_order_and_what_was_not_opened_or_asked_end_the_session() {
    let Some(mut scene) = scene(name!()) else { return };
    end_the_session(
        &mut scene,
        &[
            &[(call(0, &TWO), 1)],
            &[(call(0, &TWO), 0)],
            &[(call(0, &TWO), 9), (call(0, &TWO), 9)],
            &[(call(0, &TWO), u64::MAX), (call(0, &TWO), 2)],
            &[(open("target"), 1)],
            &[(packet(4, 1, 0, 0, &TWO), 2)],
            &[(packet(5, u16::MAX, TOLD, 0, &TWO), 0)],
            &[(packet(13, 1, NEWS, 0, &[]), 0)],
            &[(call(9, &[]), 2)],
            &[(open("plain"), 2), (packet(4, 1, 1, 0, &[]), 3)],
            &[(call(u32::MAX, &[]), 2)],
            &[(call(DENIED, &[]), 2)],
            &[(call(NEWS, &TWO), 2)],
            &[(call(TOLD, &TWO), 2)],
            &[(packet(5, 0, 0, 0, &TWO), 0)],
            &[(packet(5, 0, TOLD, 0, &TWO), 2)],
            &[(packet(13, 0, 0, 0, &[]), 0)],
            &[(packet(2, 0, 9, 0, &[0, 0]), 1)],
            &[(packet(6, 0, 0, 0, &TWO), 1)],
            &[(packet(10, 0, 0, 0, &TWO), 1)],
            &[(packet(12, 0, NEWS, 0, &[]), 0)],
        ],
    );
    scene.finish();
}

#[test]
fn attack_54_openings_that_say_more_than_they_have_end_the_session() {
    let Some(mut scene) = scene(name!()) else { return };
    let opening = |members: [u8; 2], rest: &[u8]| {
        packet(1, 0, 0, 0, &[&[1, 0, b'n', 1, 0, b'1'][..], &members, rest].concat())
    };
    end_the_session(
        &mut scene,
        &[
            &[(opening([0xff, 0xff], &[]), 2)],
            &[(opening([0x01, 0x04], &[]), 2)], // 1025
            &[(opening([0x00, 0x04], &[]), 2)],
            &[(opening([0, 0], &[0]), 2)],
            &[(opening([1, 0], &[4]), 2)],
            &[(opening([1, 0], &[0, 0xff, 0xff]), 2)],
            &[(packet(1, 0, 0, 0, &[0, 0]), 2)],
            &[(packet(1, 0, 0, 0, &[0xff, 0xff]), 2)],
            &[(packet(1, 0, 0, 0, &[2, 0, 0xc3, 0x28]), 2)],
            &[(packet(1, 0, 0, 0, &[1, 0, 0x1b]), 2)],
        ],
    );
    scene.finish();
}

/// The opening of what is served, with this number: 1 asks which interfaces there are, and 2 what this one consists of.
fn asks(number: u8) -> String {
    let mut opening = open("target");
    opening.replace_range(8..10, &format!("{number:02x}"));
    opening
}

/// Bytes of memory that this process has.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// Sees that no more than this is taken meanwhile.
struct Memory {
    before: u64,
    more: u64,
}

impl Memory {
    fn at_most(more: u64) -> Self {
        Self { before: memory(), more }
    }
}

impl Drop for Memory {
    #[track_caller]
    fn drop(&mut self) {
        let more = memory().saturating_sub(self.before);
        assert!(more <= self.more || std::thread::panicking(), "{more} bytes more");
    }
}

#[test]
fn attack_06_openings_without_number_are_answered_and_take_nothing() {
    let Some(mut scene) = scene(name!()) else { return };
    let bound = Memory::at_most(16 << 20);
    let mut attacker = opened(&scene);
    let questions = [open("target"), open("no-such-interface"), asks(1), asks(2)];
    for (question, number) in questions.iter().zip(0_u64..) {
        // Not in one go: the attacker says nothing before it is through.
        for tag in ((number << 32) + 2..).step_by(5_000).take(10) {
            let volley = format!("volley {question} count=5000 tag={tag} step=1 answers=yes");
            let sent = attacker.run(volley);
            assert_eq!((sent.number("sent"), sent.get("stopped")), (5_000, "none"));
        }
    }
    is_served(&mut attacker, 1 << 40);
    drop(bound);
    scene.answers_others();
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_64_openings_whose_answers_are_not_read_end_the_session() {
    let Some(mut scene) = scene(name!()) else { return };
    let bound = Memory::at_most(64 << 20);
    let mut attacker = scene.attacker();
    for question in [open("target"), asks(1), asks(2)] {
        opens(&scene, &mut attacker, SMALL);
        attacker.run(format!("volley {question} count=1000000 tag=2 step=1"));
        scene.poisoned(Reason::LaneCalls);
        attacker.run("close");
    }
    drop(bound);
    scene.answers_others();
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_06_more_calls_at_once_than_were_agreed_end_the_session() {
    let Some(mut scene) = scene(name!()) else { return };
    let mut attacker = opened(&scene);
    // The first lingers, and looks whether it was cancelled; so the others are read, and wait.
    let sent = attacker.run(format!("volley {} count=1024 tag=2 step=1", call(LINGER, &[])));
    assert_eq!(sent.number("sent"), 1024);
    eventually("one runs", || LINGERS.load(Ordering::Relaxed) == 1);
    scene.answers_others();
    attacker.run(format!("send {} tag=5000", call(LINGER, &[])));
    scene.poisoned(Reason::LaneCalls);
    eventually("it was told", || LINGERS.load(Ordering::Relaxed) == 0);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_64_cancels_and_credit_without_end_cost_their_sender_and_nobody_else() {
    let Some(mut scene) = scene(name!()) else { return };
    let bound = Memory::at_most(16 << 20);
    let mut attacker = opened(&scene);
    for (storm, step) in [(packet(9, 0, 0, 0, &[]), 1), (packet(11, 0, 1, 0, &[]), 0)] {
        for _ in 0..2 {
            attacker.run(format!("volley {storm} count=50000 tag=0 step={step} timeout=60000"));
        }
    }
    for kind in [13, 14] {
        let storm = packet(kind, 0, NEWS, 0, &[]);
        attacker.run(format!("volley {storm} count=20000 timeout=60000"));
    }
    is_served(&mut attacker, 2);
    // One that runs, too, and many times.
    attacker.run(format!("send {} tag=3", call(LINGER, &[])));
    attacker.run(format!("volley {} count=1000 tag=3", packet(9, 0, 0, 0, &[])));
    assert_eq!(answer(&mut attacker), (3, 6, 0), "one answer");
    is_served(&mut attacker, 4);
    drop(bound);
    scene.answers_others();
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_54_credit_beyond_all_counting_ends_the_session() {
    let Some(mut scene) = scene(name!()) else { return };
    let credit = |more| (packet(11, 0, more, 0, &[]), 2);
    let stream = (call(COUNT, &u32::MAX.to_le_bytes()), 2);
    // Nobody reads what it sends, so it cannot use it up.
    end_the_session(
        &mut scene,
        &[
            &[stream.clone(), credit(u32::MAX)],
            &[stream, credit(i32::MAX as u32 - 32), credit(u32::MAX)],
        ],
    );
    scene.finish();
}

#[test]
fn attack_70_and_72_bombs_as_arguments_are_answered_as_none() {
    let Some(mut scene) = scene(name!()) else { return };
    let mut attacker = opened(&scene);
    // Each of these boxes points at the next, which lies eight bytes before it.
    let mut chain = vec![0; 8];
    for _ in 0..50_000 {
        chain.extend([1, 0, 0, 0]);
        chain.extend((-12_i32).to_le_bytes());
    }
    let mut tag = 1;
    for (method, body) in [
        (CHAIN, chain),
        (TEXTS, [[0; 4], [0xff; 4]].concat()),
        (TEXTS, [[0xf8, 0xff, 0xff, 0xff], [0xff, 0xff, 0, 0]].concat()),
        (TEXTS, vec![0xff; 4096]),
        (0, vec![]),
        (0, vec![0; 5]),
        (COUNT, vec![]),
    ] {
        tag += 1;
        attacker.run(format!("send {} tag={tag}", call(method, &body)));
        assert_eq!(answer(&mut attacker), (tag, 8, 9), "no arguments");
    }
    attacker.run(format!("send {}", packet(5, 0, TOLD, 0, &[1]))); // nobody is told
    // A deadline that was over before this machine ran.
    attacker.run(format!("send {} tag=100", packet(4, 0, 0, 1, &TWO)));
    assert_eq!(answer(&mut attacker), (100, 8, 7), "too late");
    is_served(&mut attacker, 101);
    scene.answers_others();
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_31_descriptors_with_what_carries_none_are_closed() {
    let settings = |builder: memring::ListenerBuilder| builder.fds(4);
    let Some(mut scene) = Scene::of_calls(name!(), settings, serve) else { return };
    let mut attacker = opened(&scene);
    attacker.run("make p pipe");
    let before = open_of("pipe");
    let all_are_closed = || eventually("all are closed", || open_of("pipe") == before);
    for round in 0..50_u64 {
        let tag = 10 + 2 * round;
        attacker.run(format!("send {} tag={tag} fds=p", call(0, &TWO)));
        assert_eq!(answer(&mut attacker), (tag, 6, 0), "its arguments carry none");
        attacker.run(format!("send {} tag={tag} fds=p,p", packet(9, 0, 0, 0, &[])));
        attacker.run(format!("send {} tag=0 fds=p", packet(5, 0, TOLD, 0, &TWO)));
        attacker.run(format!("send {} tag=0 fds=p", packet(13, 0, NEWS, 0, &[])));
        is_served(&mut attacker, tag + 1);
    }
    all_are_closed();
    // Behind a call, where the thread that has answered looks at what is next by itself.
    for round in 1..=10_u64 {
        let tag = 1000 + 2 * round;
        attacker.run(format!("send {} tag={tag}", call(HOLD, &[])));
        eventually("it holds", || HOLDS.load(Ordering::Relaxed) == round);
        attacker.run(format!("send {} tag={} fds=p", call(0, &TWO), tag + 1));
        LET_GO.store(round, Ordering::Relaxed);
        assert_eq!([(); 2].map(|()| answer(&mut attacker).0), [tag, tag + 1]);
    }
    all_are_closed();
    scene.answers_others();
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_31_descriptors_with_answers_that_carry_none_are_closed() {
    let Some(scene) = Scene::of_clients(name!()) else { return };
    let mut attacker = scene.attacker();
    let path = scene.attackers_directory().join("s").display().to_string();
    attacker.run(format!("bind {path}"));
    let client = lured(&mut attacker, &path, trusting().fds(4));
    attacker.run("make p pipe");
    let before = open_of("pipe");
    for tag in 2..50_u64 {
        // It lies there before anybody asks, so whoever does looks at it by itself.
        attacker.run(format!("send {} tag={tag} fds=p,p", packet(6, 0, 0, 0, &TWO)));
        assert_eq!(client.twice(2).expect("an answer"), 2);
        assert_eq!(attacker.run("recvmsg").number("tag"), tag);
    }
    eventually("all are closed", || open_of("pipe") == before);
    drop(client);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_64_who_calls_and_reads_no_answers_waits_for_itself() {
    let Some(mut scene) = scene(name!()) else { return };
    let bound = Memory::at_most(96 << 20);
    let mut attacker = scene.attacker();
    opens(&scene, &mut attacker, "to_accepting=0x100000 to_connecting=4096");
    // As many as were agreed may lie there. One-way calls are not counted, and have another bound.
    attacker.run(format!("volley {} count=1000 tag=2 step=1 timeout=2000", call(0, &TWO)));
    let told = packet(5, 0, TOLD, 0, &[0; 900]);
    let sent = attacker.run(format!("volley {told} count=300000 timeout=8000"));
    assert_eq!(sent.get("stopped"), "timeout");
    drop(bound);
    scene.answers_others();
    attacker.kill();
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_64_who_subscribes_and_reads_no_signals_misses_them() {
    let Some(mut scene) = scene(name!()) else { return };
    let mut attacker = scene.attacker();
    for subscribed in 1..=8 {
        opens(&scene, &mut attacker, SMALL);
        attacker.run(format!("send {}", packet(13, 0, NEWS, 0, &[])));
        eventually("it is subscribed", || {
            AsRef::<Signals>::as_ref(&*SIGNALS).count(NEWS as usize) == subscribed
        });
    }
    let bound = Memory::at_most(16 << 20);
    let (mut missed, began) = (0, Instant::now());
    for _ in 0..1000 {
        missed += SIGNALS.news(&[7; 500]).expect("it can be encoded").missed;
    }
    assert!(missed > 7000, "{missed}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(bound);
    scene.answers_others();
    drop(attacker);
    (0..8).for_each(|_| assert!(matches!(scene.ended(), End::PeerDied(_))));
    scene.finish();
}

#[test]
fn attack_67_who_dies_in_mid_call_is_waited_for_no_longer() {
    let Some(mut scene) = scene(name!()) else { return };
    let mut attacker = opened(&scene);
    attacker.run(format!("send {} tag=2", call(LINGER, &[])));
    attacker.run(format!("send {} tag=3", call(COUNT, &1000_u32.to_le_bytes())));
    eventually("it runs", || LINGERS.load(Ordering::Relaxed) == 1);
    attacker.kill();
    eventually("it was told", || LINGERS.load(Ordering::Relaxed) == 0);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    drop(attacker);
    // A stream that waits for credit, too.
    let mut attacker = opened(&scene);
    attacker.run(format!("send {} tag=2", call(COUNT, &1000_u32.to_le_bytes())));
    (0..32).for_each(|_| assert_eq!(answer(&mut attacker), (2, 10, 0)));
    attacker.kill();
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.answers_others();
    drop(attacker);
    scene.finish();
}

/// A client of ours that has opened the interface at an attacker.
#[track_caller]
fn lured(attacker: &mut Attacker, path: &str, connector: Connector) -> TargetClient {
    let address = path.to_owned();
    let connecting = Builder::new()
        .name("test-victim".to_owned())
        .spawn(move || {
            let channel = connector.connect::<Calls>(address).expect("a session");
            Link::over(channel).open_deadline::<TargetClient>(Instant::now() + PATIENCE)
        })
        .expect("a thread");
    attacker.run("accept");
    attacker.run("server until=ready");
    assert_eq!(attacker.run("recvmsg").number("tag"), 1);
    let members = TargetClient::interface().members.len() as u16;
    let mut body = members.to_le_bytes().to_vec();
    for member in 0..u32::from(members) {
        body.push(0);
        body.extend(member.to_le_bytes());
    }
    attacker.run(format!("send {} tag=1", packet(2, 0, 16, 0, &body)));
    in_time(connecting).expect("opened")
}

#[test]
fn attack_23_answers_and_replies_that_are_not_due_end_the_session_of_a_client() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut attacker = scene.attacker();
    let path = scene.attackers_directory().join("s").display().to_string();
    attacker.run(format!("bind {path}"));
    let item = (packet(10, 0, 0, 0, &TWO), 2);
    let done = |tag| (packet(6, 0, 0, 0, &[]), tag);
    // To a stream, number 2, beside which a call is waited for.
    let cases: &[&[(String, u64)]] = &[
        &[done(1)],
        &[done(0)],
        &[done(4)],
        &[done(2), done(2)],
        &[done(2), item.clone()],
        &vec![item.clone(); 33],
        &[(item.0.clone(), 3)],
        &[(packet(12, 0, NEWS, 0, &[]), 0)],
        &[(packet(4, 0, 0, 0, &TWO), 9)],
        &[(packet(13, 0, NEWS, 0, &[]), 0)],
        &[(packet(15, 0, 0, 0, &[]), 2)],
        &[(packet(6, 0, 0, 1, &[]), 3)],
    ];
    for packets in cases {
        let client = lured(&mut attacker, &path, trusting());
        let stream = client.count(9).expect("room");
        let calling = {
            let client = client.clone();
            let calling = Builder::new().name("test-victim".to_owned());
            calling.spawn(move || client.twice(2)).expect("a thread")
        };
        assert_eq!([2, 3], [(); 2].map(|()| attacker.run("recvmsg").number("tag")));
        for (packet, tag) in *packets {
            attacker.run(format!("send {packet} tag={tag}"));
        }
        match in_time(calling) {
            Err(CallError::Ended(End::Fault(_))) => {}
            other => panic!("a fault was due: {packets:?}, {other:?}"),
        }
        assert!(stream.count() <= 33, "it ends");
        scene.counted(Reason::LaneCalls);
        drop(client);
        attacker.run("close");
    }
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_64_a_server_that_asks_and_signals_without_end_takes_nothing_of_a_client() {
    let Some(scene) = Scene::of_clients(name!()) else { return };
    let mut attacker = scene.attacker();
    let path = scene.attackers_directory().join("s").display().to_string();
    attacker.run(format!("bind {path}"));
    let client = lured(&mut attacker, &path, trusting());
    let mut news = client.news().expect("it is there");
    let bound = Memory::at_most(64 << 20);
    assert_eq!(attacker.run("recvmsg").number("tag"), 0);
    let calling = {
        let client = client.clone();
        let calling = Builder::new().name("test-victim".to_owned());
        calling.spawn(move || client.twice(2)).expect("a thread")
    };
    assert_eq!(attacker.run("recvmsg").number("tag"), 2);
    let sent = attacker
        .run(format!("volley {} count=20000 timeout=60000", packet(12, 0, NEWS, 0, &[7; 2000])));
    assert_eq!(sent.number("sent"), 20_000);
    attacker.run(format!(
        "volley {} count=5000 tag=1 step=1 answers=yes timeout=60000",
        open("target")
    ));
    attacker.run(format!("send {} tag=2", packet(6, 0, 0, 0, &TWO)));
    assert_eq!(in_time(calling).expect("an answer"), 2);
    assert!(news.recv_deadline(soon()).is_err(), "what came is no signal");
    assert!(news.missed() >= 18_000, "the last 1024 are kept");
    drop(bound);
    drop((news, client));
    drop(attacker);
    scene.finish();
}
