//! Section C of the list: descriptors that are no segments, or would not stay what they are.

use std::fs::File;

use memring::Reason;
use memring::cause::RefuseCode;

use crate::attacker::Attacker;
use crate::scene::{PROTOCOL, Scene};
use crate::server::{HostileServer, exchange};
use crate::support::soon;
use crate::support::strangers::chain;

/// The seals of a segment before and after its writer has mapped it, as `make memfd` is told; the kernel may
/// add `F_SEAL_EXEC`.
pub const FIRST: u64 = 0x6;
const LAST: u64 = 0x17;

/// What a client is granted is made like this, first as S and then as C, with the seals that are due unless it says
/// which; it is refused both times.
#[track_caller]
fn refused(scene: &mut Scene, server: &mut HostileServer, how: &str, reason: Reason) {
    for (seals, fds) in [(LAST, "x,c_sent"), (FIRST, "s_sent,x")] {
        let seals = if how.contains("seals=") { String::new() } else { format!(" seals={seals}") };
        server.grant(&[&format!("make x {how}{seals}")], fds);
        scene.counted(reason);
    }
}

/// What is no memfd, as `make` is told, of so many bytes where it has any.
pub fn no_memfds(scene: &Scene, size: &str) -> Vec<String> {
    let file = format!("file size={size} at={}", scene.attackers_directory().display());
    let sized = [file, format!("secret size={size}"), format!("tmpfs size={size}")];
    let others = [
        "pipe",
        "socket",
        "tcp",
        "eventfd",
        "epoll",
        "pidfd",
        "userfaultfd",
        "devzero",
        "devnull",
        "opath",
        "dir",
    ];
    sized.into_iter().chain(others.map(str::to_owned)).collect()
}

#[test]
fn attack_37_descriptors_that_are_no_memfds_are_refused() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    for how in no_memfds(&scene, "SIZE") {
        let try_it = format!("make y {}", how.replace("SIZE", "4096"));
        server.attacker.tell(&try_it);
        let said = server.attacker.hear();
        if said.starts_with("err ") {
            println!("skipped: {how} cannot be had here: {said}");
            continue;
        }
        server.attacker.run("drop y");
        // A file on tmpfs has seals, and only the one that forbids more of them.
        let reason =
            if how.starts_with("tmpfs") { Reason::SegmentSeals } else { Reason::SegmentForeign };
        for fds in ["x,c_sent", "s_sent,x"] {
            let error = server.grant(&[&format!("make x {how}")], fds);
            scene.counted(reason);
            assert!(chain(&error).contains("the peer's segment"), "{}", chain(&error));
        }
    }
    drop(server);
    scene.finish();
}

/// One huge page that is free, while it lives; `None` where none can be had. Others who want one wait.
pub struct HugePage {
    before: String,
    _lock: File,
}

const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

impl HugePage {
    pub fn reserve() -> Option<Self> {
        let free = || {
            let info = std::fs::read_to_string("/proc/meminfo").ok()?;
            let line = info.lines().find_map(|line| line.strip_prefix("HugePages_Free:"))?;
            line.trim().parse::<u64>().ok()
        };
        let lock = File::open(HUGE_PAGES).ok()?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).ok()?;
        let before = std::fs::read_to_string(HUGE_PAGES).ok()?.trim().to_owned();
        let page = Self { before, _lock: lock };
        if free()? == 0 {
            let more = page.before.parse::<u64>().ok()? + 1;
            std::fs::write(HUGE_PAGES, more.to_string()).ok()?;
        }
        (free()? > 0).then_some(page)
    }
}

impl Drop for HugePage {
    fn drop(&mut self) {
        std::fs::write(HUGE_PAGES, &self.before).ok();
    }
}

#[test]
fn attack_38_huge_pages_are_refused() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let Some(page) = HugePage::reserve() else {
        println!("skipped: no huge page is free here");
        return scene.finish();
    };
    let mut server = HostileServer::start(&scene);
    // Everything about it is as it should be, but for the file system it is on.
    let client = server.lure("open");
    let sizes = "control=0x100000 s_capacity=0x100000 c_capacity=0x100000";
    server.attacker.run(format!("segments {sizes}"));
    server.attacker.run("make x hugetlb size=0x200000");
    server.attacker.run("allocate x 0 0x200000");
    server.attacker.run(format!("seal x {LAST}"));
    let kind = server.attacker.run("stat x").number("type");
    assert_eq!(kind, 0x9584_58f6, "on hugetlbfs");
    let seals = server.attacker.run("seals x").number("seals");
    server.attacker.run(format!("granted {sizes} s_seals={seals} fds=x,c_sent"));
    let error = client.refuses();
    scene.counted(Reason::SegmentNotTmpfs);
    assert!(chain(&error).contains("0x958458f6"), "{}", chain(&error));
    server.over();
    drop(server);
    drop(page);
    scene.finish();
}

#[test]
fn attack_39_other_seals_than_due_are_refused_and_not_repaired() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    let check = |scene: &mut Scene, server: &mut HostileServer, seals: u64, fds: &str| {
        let make = format!("make x memfd size=SIZE seals={seals}");
        let error = server.grant(&[&make], fds);
        scene.counted(Reason::SegmentSeals);
        assert!(chain(&error).contains("seals"), "{}", chain(&error));
        let found = server.attacker.run("seals x").number("seals");
        assert_eq!(found & 0x1f, seals, "nobody added any");
    };
    // S: none, GROW only, without SHRINK, GROW, FUTURE_WRITE, SEAL; WRITE on top of all.
    for seals in [0x0, 0x4, 0x2, FIRST, 0x15, 0x13, 0x7, 0x16, LAST | 0x8, 0xf] {
        check(&mut scene, &mut server, seals, "x,c_sent");
    }
    // C: as S, and with what only its writer may add.
    for seals in [0x0, 0x4, 0x2, 0x7, 0xe, 0x16, LAST] {
        check(&mut scene, &mut server, seals, "s_sent,x");
    }
    // Seals as due, but for the one against executing, which was stated otherwise.
    let probe = server.attacker.run("make x memfd size=4096").number("fd");
    assert!(probe > 2);
    if server.attacker.run("seals x").number("seals") & 0x20 != 0 {
        let error = server.grant(&["make x memfd size=SIZE seals=0x17 exec=yes"], "x,c_sent");
        scene.counted(Reason::SegmentSeals);
        assert!(chain(&error).contains("0x37"), "{}", chain(&error));
    }
    drop(server);
    scene.finish();
}

#[test]
fn attack_40_other_sizes_than_granted_are_refused_and_seals_are_asked_for_first() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    let size = {
        let client = server.lure("open");
        server.prepare(&[]);
        let size = server.attacker.run("stat s").number("size");
        server.attacker.run("close");
        client.refuses();
        scene.counted(Reason::Gone);
        size
    };
    for wrong in [0, 1, 4096, size - 4096, size - 1, size + 1, size + 4096, 2 * size] {
        let how = format!("memfd size={wrong}");
        refused(&mut scene, &mut server, &how, Reason::SegmentSize);
    }
    // A size that nobody has the memory for, and that maps all the same.
    let vast = format!("memfd alloc=no size={}", 1_u64 << 60);
    refused(&mut scene, &mut server, &vast, Reason::SegmentSize);
    // Unsealed, its size means nothing and is not looked at.
    let vast = format!("{vast} seals=0");
    refused(&mut scene, &mut server, &vast, Reason::SegmentSeals);
    drop(server);
    scene.finish();
}

/// Commands that take memory away from under a segment, and how the kernel says no.
fn cannot_shrink(attacker: &mut Attacker, name: &str, is_read_only: bool) {
    let (truncate, punch) = if is_read_only { ("EINVAL", "EBADF") } else { ("EPERM", "EPERM") };
    for size in ["0", "4096"] {
        assert_eq!(attacker.fails(format!("truncate {name} {size}")), truncate, "{name}");
    }
    assert_eq!(attacker.fails(format!("punch {name} 4096 4096")), punch, "{name}");
}

#[test]
fn attack_41_nobody_shrinks_a_segment_that_passed() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    // All but the seal against it: refused before anything is mapped, for a page cut off kills who reads it.
    let error = server.grant(&["make x memfd size=SIZE seals=0x15"], "x,c_sent");
    scene.counted(Reason::SegmentSeals);
    assert!(chain(&error).contains("0x15") || chain(&error).contains("0x35"), "{}", chain(&error));
    // A hostile server that holds both, writable.
    let client = server.lure("ready");
    let mut client = client.connects();
    for name in ["s", "c"] {
        cannot_shrink(&mut server.attacker, name, false);
    }
    exchange(&mut client, &mut server.attacker);
    drop(client);
    drop(server);
    // A hostile client of ours.
    let mut attacker = scene.attacker_at("ready");
    cannot_shrink(&mut attacker, "fd0", true);
    cannot_shrink(&mut attacker, "fd1", false);
    answered(&mut attacker);
    attacker.run("leave");
    scene.ended();
    drop(attacker);
    scene.finish();
}

/// The server sends back what this attacker says.
#[track_caller]
pub fn answered(attacker: &mut Attacker) {
    attacker.run("send 0123456789");
    assert_eq!(attacker.run("recvmsg").get("hex"), "0123456789");
}

#[test]
fn attack_42_segments_with_holes_are_refused() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    refused(&mut scene, &mut server, "memfd size=SIZE alloc=no", Reason::SegmentHoles);
    // All pages but one.
    for (seals, fds) in [(LAST, "x,c_sent"), (FIRST, "s_sent,x")] {
        let error = server.grant(
            &["make x memfd size=SIZE", "punch x 4096 4096", &format!("seal x {seals}")],
            fds,
        );
        scene.counted(Reason::SegmentHoles);
        assert!(chain(&error).contains("holes"), "{}", chain(&error));
    }
    drop(server);
    scene.finish();
}

/// A client of ours has what it was granted, does `instead` of mapping and sealing C, and says Sealed.
#[track_caller]
pub fn sealed_otherwise(scene: &mut Scene, instead: &[&str], reason: Reason) {
    let mut attacker = scene.attacker_at("granted");
    for command in instead {
        attacker.run(command);
    }
    attacker.run("sealed");
    scene.counted(reason);
    let answer = attacker.run("recv");
    assert_eq!(answer.get("kind"), "refused");
    assert_eq!(answer.number("code"), u64::from(RefuseCode::Seals.to_wire()));
    assert_eq!(attacker.fails("recv"), "end");
}

#[test]
fn attack_43_holes_punched_before_the_seal_are_seen_and_after_it_there_are_none() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    // The last seals forbid it from then on, so one look after them is enough.
    for (at, length) in [(4096, 4096), (0, 4096), (8192, 8192)] {
        let punch = format!("punch fd1 {at} {length}");
        sealed_otherwise(&mut scene, &[&punch, "seal fd1 0x11"], Reason::SegmentHoles);
    }
    let mut attacker = scene.attacker_at("ready");
    assert_eq!(attacker.fails("punch fd1 4096 4096"), "EPERM");
    assert_eq!(attacker.fails("punch fd0 4096 4096"), "EBADF");
    answered(&mut attacker);
    drop(attacker);
    scene.ended();
    // The server's side of it: a client has a hole punched into what it reads, or what it writes.
    let mut server = HostileServer::start(&scene);
    let mut client = server.lure("ready").connects();
    for name in ["s", "c"] {
        assert_eq!(server.attacker.fails(format!("punch {name} 4096 4096")), "EPERM");
    }
    exchange(&mut client, &mut server.attacker);
    drop(client);
    drop(server);
    scene.finish();
}

#[test]
fn attack_44_one_file_for_both_segments_is_refused() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    // What the seals of S are forbids what the seals of C are, so they speak before the inode does.
    for fds in ["s_sent,s_sent", "c_sent,c_sent", "s,s_sent", "c_sent,s_sent"] {
        server.grant(&[], fds);
        scene.counted(Reason::SegmentSeals);
    }
    let same = ["make x memfd size=SIZE seals=0x17", "make y dup of=x", "make z readonly of=x"];
    for fds in ["x,y", "z,x"] {
        server.grant(&same, fds);
        scene.counted(Reason::SegmentSeals);
    }
    // Changed in between: before the first look it is no S, after it no C.
    server.grant(&["make x memfd size=SIZE seals=6", "make y dup of=x", "seal x 0x11"], "x,y");
    scene.counted(Reason::SegmentSeals);
    drop(server);
    scene.finish();
}

#[test]
fn attack_44_our_own_segments_sent_back_to_us_are_a_relay_and_no_more() {
    let Some(scene) = Scene::set(name!()) else { return };
    // The attacker asks our server for a session and hands what it gets to a client of ours: each side
    // writes what it alone writes, so they talk to each other as if nobody stood between.
    let mut server = HostileServer::start(&scene);
    let client = server.lure("open");
    let lanes = "to_accepting=16384 to_connecting=16384";
    server.attacker.run(format!("connect {}", scene.path()));
    server.attacker.run(format!("client until=granted {PROTOCOL} {lanes}"));
    server.attacker.run("make s dup of=fd0");
    server.attacker.run("make c dup of=fd1");
    let seals = server.attacker.run("seals s").number("seals");
    server.attacker.run("use 0");
    server.attacker.run(format!("granted s_seals={seals} c_seals={seals} fds=s,c"));
    assert_eq!(server.attacker.run("recv").get("kind"), "sealed");
    server.attacker.run("use 1");
    server.attacker.run("sealed");
    assert_eq!(server.attacker.run("recv").get("kind"), "ready");
    server.attacker.run("use 0");
    server.attacker.run("ready");
    let mut client = client.connects();
    client.send(b"round about").expect("sends");
    let answer = client.recv_deadline(soon()).expect("our own server's answer");
    assert_eq!(&*answer, b"round about");
    drop(client);
    drop(server);
    scene.ended();
    scene.finish();
}
