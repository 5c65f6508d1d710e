//! Section C of the list: what a peer does with a segment that it shares, for as long as it has it.
//!
//! It can keep it, and write into what is its own. Everything else is refused by the kernel, or means nothing to us.

use memring::{Bytes, ClientEnd, Limits, ListenerBuilder, Reason, Resource};

use crate::attacker::{Attacker, is_stranger, uid};
use crate::scene::{PROTOCOL, Scene};
use crate::segments::{FIRST, answered, sealed_otherwise};
use crate::server::{HostileServer, exchange};
use crate::service::ECHO;
use crate::support::strangers::chain;
use crate::support::{Held, eventually, soon};

/// What can be done to an open file that another process shares, each of which has to go through.
const MEDDLING: [&str; 5] =
    ["seek NAME 777", "setfl NAME append", "seek NAME 4099", "setfl NAME nonblock", "flock NAME"];

#[track_caller]
fn meddle(attacker: &mut Attacker, names: [&str; 2]) {
    for name in names {
        for command in MEDDLING {
            attacker.run(command.replace("NAME", name));
        }
    }
}

#[test]
fn attack_45_offset_flags_and_locks_of_a_shared_file_mean_nothing_to_us() {
    let Some(scene) = Scene::set(name!()) else { return };
    // The attacker is the server: before the client looks, and while it works.
    let mut server = HostileServer::start(&scene);
    let client = server.lure("open");
    server.prepare(&[]);
    meddle(&mut server.attacker, ["s_sent", "c_sent"]);
    server.attacker.run("granted fds=s_sent,c_sent");
    server.attacker.run("server until=ready");
    let mut client = client.connects();
    meddle(&mut server.attacker, ["s_sent", "c_sent"]);
    server.attacker.run("lease s_sent");
    exchange(&mut client, &mut server.attacker);
    drop(client);
    drop(server);
    // It is the client: before the server maps C, and afterwards.
    let mut attacker = scene.attacker_at("granted");
    meddle(&mut attacker, ["fd0", "fd1"]);
    attacker.run("client until=ready");
    meddle(&mut attacker, ["fd0", "fd1"]);
    if is_stranger() {
        assert_eq!(attacker.fails("lease fd0"), "EACCES", "a lease is for the owner");
    }
    answered(&mut attacker);
    drop(attacker);
    scene.ended();
    scene.finish();
}

#[test]
fn attack_46_another_uid_hangs_no_attributes_on_our_segments() {
    let Some(scene) = Scene::set(name!()) else { return };
    if !is_stranger() {
        println!("skipped: only root can start a process of another uid");
        return scene.finish();
    }
    for step in ["granted", "ready"] {
        let mut attacker = scene.attacker_at(step);
        for name in ["fd0", "fd1"] {
            let answer = attacker.run(format!("xattr {name} count=400 size=65536"));
            assert_eq!((answer.number("set"), answer.get("stopped")), (0, "EACCES"), "{name}");
            assert_eq!(attacker.run(format!("stat {name}")).get("mode"), "0o100600");
            assert_eq!(attacker.fails(format!("make x readwrite of={name}")), "EACCES");
        }
        attacker.run("client until=ready");
        answered(&mut attacker);
        drop(attacker);
        scene.ended();
    }
    scene.finish();
}

#[test]
fn attack_47_seals_that_the_peer_adds_are_refused_or_come_too_late() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    // C is not sealed as due when the server maps it: WRITE, only one of both, none at all.
    for seal in [
        &["seal fd1 0x8"][..],
        &["seal fd1 0x19"],
        &["seal fd1 0x10"],
        &["seal fd1 0x1"],
        &["seal fd1 0x18", "seal fd1 0x1"],
        &[],
    ] {
        sealed_otherwise(&mut scene, seal, Reason::SegmentSeals);
    }
    // S is mapped and closed to further seals before anybody gets it; C once it is in use.
    let mut attacker = scene.attacker_at("ready");
    for name in ["fd0", "fd1"] {
        for seal in ["0x8", "0x1", "0x20"] {
            assert_eq!(attacker.fails(format!("seal {name} {seal}")), "EPERM");
        }
        assert_eq!(
            attacker.fails(format!("mapw {name}")),
            if name == "fd0" { "EACCES" } else { "EPERM" }
        );
    }
    answered(&mut attacker);
    drop(attacker);
    scene.ended();
    // A server seals C against the client's mapping before it sends it.
    let mut server = HostileServer::start(&scene);
    for seal in ["seal x 0x8", "seal x 0x10", "seal x 0x1", "seal x 0x19"] {
        server.grant(&["make x memfd size=SIZE seals=6", seal], "s_sent,x");
        scene.counted(Reason::SegmentSeals);
    }
    drop(server);
    scene.finish();
}

/// The bytes that sessions may take in the tests of row 48: those of three.
fn three_sessions() -> Limits {
    let mut limits = Limits::default();
    let page = rustix::param::page_size() as u64;
    // Beside the bystander, which is of another uid unless this is not root.
    let bystanders = if is_stranger() { 0 } else { 2 * (page + (16 << 10)) };
    limits.bytes_per_uid = 3 * SESSION + bystanders;
    limits
}

/// The bytes of both segments of a session as the attacker asks for.
const SESSION: u64 = 2 * (4096 + (1 << 16));

/// How many segments of ours another process has mapped.
fn mapped(pid: u64) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its memory map");
    maps.lines().filter(|line| line.contains("/memfd:")).count()
}

/// Connects, keeps something of the session, leaves; again and again, until it is refused. `each` is how many
/// segments it keeps mapped of each.
#[track_caller]
fn hoard(scene: &mut Scene, keep: &[&str], each: usize) {
    if rustix::param::page_size() != 4096 {
        return println!("skipped: the quota of this test is for pages of 4 KiB");
    }
    let held = |scene: &Scene| scene.listener().quotas().held(Resource::Bytes, Some(uid()));
    let before = held(scene);
    let mut attacker = scene.attacker();
    for kept in 1..=3 {
        attacker.run(format!("connect {}", scene.path()));
        attacker.run(format!("client until=ready {PROTOCOL}"));
        for command in keep {
            attacker.run(command.replace("NUMBER", &kept.to_string()));
        }
        scene.ended();
        eventually("the session's own is given back", || Held::now().segments == HELD_SEGMENTS);
        assert_eq!(held(scene) - before, kept * SESSION, "and its memory is not");
        assert_eq!(mapped(attacker.pid().into()), kept as usize * each);
    }
    for _ in 0..5 {
        attacker.run(format!("connect {}", scene.path()));
        assert_eq!(attacker.fails(format!("client until=ready {PROTOCOL}")), "refused");
        attacker.run("close");
        scene.counted(Reason::QuotaBytes);
        assert_eq!(held(scene) - before, 3 * SESSION);
    }
    attacker.kill();
    eventually("all of it is free once nobody has it", || held(scene) == before);
    let mut attacker = scene.attacker_at("ready");
    answered(&mut attacker);
    drop(attacker);
    scene.ended();
}

/// Lines of the memory map that a session of the bystander takes: the control area and the data area twice,
/// of each segment.
const HELD_SEGMENTS: usize = 4;

#[test]
fn attack_48_memory_that_a_peer_keeps_mapped_stays_charged_to_it() {
    let settings = |builder: ListenerBuilder| builder.limits(three_sessions());
    let Some(mut scene) = Scene::with(name!(), settings, ECHO) else { return };
    hoard(&mut scene, &["close keep"], 2);
    scene.finish();
}

#[test]
fn attack_48_memory_that_a_peer_only_has_a_name_for_stays_charged_to_it() {
    let settings = |builder: ListenerBuilder| builder.limits(three_sessions());
    let Some(mut scene) = Scene::with(name!(), settings, ECHO) else { return };
    let keep = ["make sNUMBER opath of=fd0", "make cNUMBER opath of=fd1", "close"];
    hoard(&mut scene, &keep, 0);
    scene.finish();
}

/// Names that a careless log, terminal or parser would stumble over; no blanks, for they part commands.
const LABELS: [&str; 4] = [
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "%s%n%x/../../etc/passwd\u{202e}",
    "memring(deleted)",
    "\u{1}\u{7f}'\";--",
];

#[test]
fn attack_49_the_name_of_a_memfd_is_read_by_nobody() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    for label in LABELS {
        // Refused: its name is in no word of the error.
        let make = format!("make x memfd size=SIZE seals=0 label={label}");
        let error = server.grant(&[&make], "x,c_sent");
        scene.counted(Reason::SegmentSeals);
        let said = format!("{} {error:?}", chain(&error));
        assert!(!said.contains(label) && said.is_ascii(), "{said:?}");
        // Taken: a session like any other.
        let mut client = named(&mut server, label);
        let maps = std::fs::read("/proc/self/maps").expect("/proc/self/maps");
        let maps = String::from_utf8_lossy(&maps).into_owned();
        let found = maps
            .lines()
            .filter(|line| line.contains("/memfd:") && !line.contains("/memfd:memring ("));
        assert!(found.count() >= 4, "it is mapped by that name: {maps}");
        exchange(&mut client, &mut server.attacker);
        drop(client);
        server.attacker.run("close");
    }
    drop(server);
    scene.finish();
}

/// A session over segments that the attacker made by hand and called `label`.
#[track_caller]
fn named(server: &mut HostileServer, label: &str) -> ClientEnd<Bytes> {
    let client = server.lure("open");
    let attacker = &mut server.attacker;
    let size = rustix::param::page_size() as u64 + (16 << 10);
    for name in ["ss", "cc"] {
        attacker.run(format!("make {name} memfd size={size} seals={FIRST} label={label}"));
    }
    attacker.run("mapw ss");
    attacker.run("seal ss 0x11");
    let seals = attacker.run("seals ss").number("seals");
    attacker.run("make ssent readonly of=ss");
    attacker.run("make csent readwrite of=cc");
    attacker.run(format!("granted s_seals={seals} c_seals={seals} fds=ssent,csent"));
    assert_eq!(attacker.run("recv").get("kind"), "sealed");
    attacker.run("attach of=cc");
    attacker.run("ready");
    client.connects()
}

#[test]
fn attack_50_a_mapping_from_before_the_seal_changes_only_what_is_always_hostile() {
    let Some(scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    let client = server.lure("open");
    // Of C, which the client alone is to write; and a third process has it too.
    server.prepare(&["mapw c"]);
    server.attacker.run("granted fds=s_sent,c_sent");
    server.attacker.run("server until=ready");
    let child = server.attacker.run("fork-hold").number("pid");
    assert_eq!(mapped(child), mapped(server.attacker.pid().into()), "by both");
    let mut client = client.connects();
    exchange(&mut client, &mut server.attacker);
    // All that the client publishes there: its head, who sleeps, frames to come. It reads none of it back.
    for value in [u64::MAX, 0, 0x0102_0304_0506_0708, 1 << 63] {
        for at in (0..4096).step_by(64) {
            server.attacker.run(format!("poke 0 {at} {value}"));
        }
        for message in 0..20_u64 {
            // Without a look at the client's head, which says what the attacker wrote there.
            let payload = message.swap_bytes();
            server.attacker.run(format!("frame kind=1 payload={payload:016x} wake=yes"));
            let got = client.recv_deadline(soon()).expect("what the attacker says");
            assert_eq!(*got, message.to_le_bytes());
            client.send_deadline(&message.to_le_bytes(), soon()).expect("sends");
        }
    }
    // What lies in the lane is the attacker's own loss.
    for at in (4096..4096 + 16384).step_by(512) {
        server.attacker.run(format!("poke 0 {at} -1"));
    }
    server.attacker.run("frame kind=1 payload=00 wake=yes");
    let got = client.recv_deadline(soon()).expect("still good");
    assert_eq!(&*got, b"\0");
    drop(client);
    drop(server);
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(child as i32).expect("a pid"),
        rustix::process::Signal::KILL,
    )
    .expect("the third process was there");
    scene.finish();
}
