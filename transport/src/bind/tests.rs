//! Tests of binding, in a file of their own for their length.

use super::files::directory_risk;
use super::*;
use crate::peer::{DeathDetection, Origin, Peer};
use crate::socket::{ConnectProblem, Incoming, SendProblem, WhenAbsent};
use crate::testing::{Forked, Scratch, alone, alone_with, eventually, open_fds};
use rustix::fs::statat;
use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

fn at(path: impl AsRef<Path>) -> Address {
    Address::path(path).unwrap()
}

fn bind(path: impl AsRef<Path>) -> Result<Bound, BindError> {
    BindOptions::new().bind(&at(path))
}

fn connect(address: &Address) -> Result<ControlSocket, ConnectProblem> {
    ControlSocket::connect(address, Some(std::time::Instant::now()), WhenAbsent::Fail)
}

fn accept(bound: &Bound) -> ControlSocket {
    match bound.accept().unwrap() {
        Accepted::Connection(socket) => socket,
        other => panic!("expected a connection, not {other:?}"),
    }
}

fn names_in(scratch: &Scratch) -> Vec<String> {
    let entries = fs::read_dir(scratch.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn umask(mode: u32) {
    rustix::process::umask(Mode::from_raw_mode(mode));
}

#[test]
fn a_listener_accepts_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let bound = bind(scratch.join("s")).unwrap();
    assert!(matches!(bound.accept().unwrap(), Accepted::WouldBlock));
    let client = connect(bound.address()).unwrap();
    let server = accept(&bound);
    client.send(b"hello", &[]).unwrap();
    assert!(matches!(server.receive(&mut [0; 8]).unwrap(), Incoming::Packet(p) if p.len == 5));
    assert_eq!(names_in(&scratch), ["s", "s.lock"]);
    drop(bound);
    assert_eq!(names_in(&scratch), [""; 0]);
    client.send(b"still", &[]).unwrap(); // what was accepted outlives the listener
}

#[test]
fn attack_01_a_taken_abstract_name_is_a_hard_error() {
    let name = format!("memring-test-{}", std::process::id());
    let address = Address::abstract_name(&name).unwrap();
    let first = BindOptions::new().bind(&address).unwrap();
    let error = BindOptions::new().bind(&address).unwrap_err();
    let BindError::InUse { holder, .. } = error else { panic!("{error:?}") };
    assert_eq!(holder, Some(std::process::id()));
    drop(first);
    let again = BindOptions::new().bind(&address).unwrap();
    connect(again.address()).unwrap();
}

#[test]
fn attack_02_a_directory_that_others_can_write_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.join("s");
    let mode = |mode| fs::set_permissions(scratch.path(), fs::Permissions::from_mode(mode));
    for (bits, fine) in [
        (0o700, true),
        (0o755, true),
        (0o775, false),
        (0o757, false),
        (0o1777, false),
        (0o1770, false),
    ] {
        mode(bits).unwrap();
        match bind(&path) {
            Ok(_) => assert!(fine, "mode {bits:o} was accepted"),
            Err(BindError::SharedDirectory { risk: DirectoryRisk::Writable(mode), .. }) => {
                assert!(!fine && mode == bits, "mode {bits:o} was refused as {mode:o}");
            }
            Err(other) => panic!("mode {bits:o}: {other}"),
        }
        drop(BindOptions::new().allow_shared_directory().bind(&at(&path)).unwrap());
    }
    let said = bind("/tmp/memring-first-try.sock").unwrap_err().to_string();
    assert!(said.contains("/tmp") && said.contains("allow_shared_directory()"), "{said}");
}

#[test]
fn attack_02_owners_of_directories_and_links_by_table() {
    let scratch = Scratch::new();
    symlink(scratch.path(), scratch.join("link")).unwrap();
    let of = |path: &Path, uid| {
        let mut facts = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        facts.st_uid = uid;
        facts
    };
    let directory = |uid| of(scratch.path(), uid);
    let link = |uid| of(&scratch.join("link"), uid);
    let cases = [
        (directory(7), directory(7), None),
        (directory(0), directory(0), None),
        (directory(8), directory(8), Some(DirectoryRisk::OwnedBy(8))),
        (directory(7), link(7), None),
        (directory(7), link(0), None),
        (directory(7), link(8), Some(DirectoryRisk::LinkOwnedBy(8))),
        (directory(8), link(7), Some(DirectoryRisk::OwnedBy(8))),
    ];
    for (inside, named, risk) in cases {
        assert_eq!(directory_risk(&inside, &named, 7), risk);
    }
}

#[test]
fn attack_03_the_socket_appears_with_its_mode_whatever_the_umask() {
    if !alone("bind::tests::attack_03_the_socket_appears_with_its_mode_whatever_the_umask") {
        return;
    }
    let scratch = Scratch::new();
    let mode_of = |name: &str| fs::symlink_metadata(scratch.join(name)).unwrap().mode() & 0o7777;
    for (mask, mode) in [(0, 0o600), (0, 0o660), (0o077, 0o666), (0o777, 0o600), (0o022, 0o620)] {
        umask(mask);
        let bound = BindOptions::new().mode(mode).bind(&at(scratch.join("s"))).unwrap();
        umask(0o022);
        assert_eq!(mode_of("s"), mode, "umask {mask:03o}");
        assert_eq!(mode_of("s.lock") & !0o600, 0, "umask {mask:03o}");
        connect(bound.address()).unwrap();
    }
    // At the moment of bind, before any chmod could have been made, it is no wider.
    umask(0);
    let socket = BindOptions::new().new_socket().unwrap();
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600)).unwrap();
    bind_socket(&socket, &at(scratch.join("raw"))).unwrap();
    assert_eq!(mode_of("raw"), 0o600);
}

#[test]
fn owner_and_group_are_given_before_anybody_can_connect() {
    if !geteuid().is_root() {
        println!("skipped: giving a file away takes root");
        return;
    }
    let scratch = Scratch::new();
    let options = BindOptions::new().owner(12_345).group(54_321).mode(0o660);
    let _bound = options.bind(&at(scratch.join("s"))).unwrap();
    let facts = fs::symlink_metadata(scratch.join("s")).unwrap();
    assert!(facts.file_type().is_socket());
    assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o777), (12_345, 54_321, 0o660));
}

#[test]
fn attack_04_stale_files_are_taken_over_and_live_servers_are_not() {
    let scratch = Scratch::new();
    let path = scratch.join("s");
    drop(UnixListener::bind(&path).unwrap()); // std leaves the file behind, as kill -9 does
    fs::write(scratch.join("s.lock"), "").unwrap();
    let first = bind(&path).unwrap();
    let error = bind(&path).unwrap_err();
    assert!(
        matches!(error, BindError::InUse { holder: Some(pid), .. } if pid == std::process::id()),
        "{error:?}"
    );
    assert!(matches!(accept(&first).receive(&mut [0; 8]).unwrap(), Incoming::Ended)); // the probe
    connect(first.address()).unwrap(); // it is still the first one's
    drop(first);

    // A server that knows nothing of our lock, and then somebody's file.
    let _foreign = UnixListener::bind(&path).unwrap();
    assert!(matches!(bind(&path).unwrap_err(), BindError::InUse { holder: None, .. }));
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&path).unwrap_err(), BindError::Occupied(_)));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    assert_eq!(names_in(&scratch), ["s", "s.lock"]); // the lock file was there before
}

#[test]
fn attack_04_of_many_that_start_at_once_one_wins_and_the_others_are_told() {
    let scratch = Scratch::new();
    let path = scratch.join("s");
    for round in 0..20 {
        if round % 2 == 0 {
            drop(UnixListener::bind(&path).unwrap());
        }
        let barrier = std::sync::Barrier::new(8);
        let results: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                bind(&path)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{lost:?}");
        for error in lost {
            assert!(matches!(error, Err(BindError::InUse { .. })), "{error:?}");
        }
        connect(&at(&path)).unwrap();
        drop(won);
        assert!(names_in(&scratch).is_empty());
    }
}

#[test]
fn attack_04_no_two_hold_the_lock_however_often_it_is_removed() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    let scratch = Scratch::new();
    let path = scratch.join("s");
    let held = AtomicBool::new(false);
    let turns = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while turns.load(SeqCst) < 400 {
                    match bind(&path) {
                        Ok(bound) => {
                            assert!(!held.swap(true, SeqCst), "two servers at once");
                            turns.fetch_add(1, SeqCst);
                            held.store(false, SeqCst);
                            drop(bound);
                        }
                        Err(BindError::InUse { .. }) => std::thread::yield_now(),
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
}

#[test]
fn only_lock_files_of_ours_are_locked() {
    let scratch = Scratch::new();
    let lock = scratch.join("s.lock");
    let refused = || {
        let error = bind(scratch.join("s")).unwrap_err();
        assert!(matches!(&error, BindError::ForeignLock(path) if *path == lock), "{error:?}");
        assert!(!scratch.join("s").exists());
    };
    symlink("/dev/null", &lock).unwrap();
    refused();
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    refused();
    fs::remove_dir(&lock).unwrap();
    let _socket = UnixListener::bind(&lock).unwrap();
    refused();
    if geteuid().is_root() {
        fs::remove_file(&lock).unwrap();
        fs::write(&lock, "").unwrap();
        std::os::unix::fs::chown(&lock, Some(12_345), None).unwrap();
        refused();
    }
}

#[test]
fn a_file_that_is_no_longer_ours_stays() {
    let scratch = Scratch::new();
    let bound = bind(scratch.join("s")).unwrap();
    fs::remove_file(scratch.join("s")).unwrap();
    let _other = UnixListener::bind(scratch.join("s")).unwrap();
    drop(bound);
    assert_eq!(names_in(&scratch), ["s"]);
}

#[test]
fn a_bare_name_gets_a_private_directory() {
    let scratch = Scratch::new();
    let environment =
        [("RUNTIME_DIRECTORY", "".as_ref()), ("XDG_RUNTIME_DIR", scratch.path().as_os_str())];
    if !alone_with("bind::tests::a_bare_name_gets_a_private_directory", &environment) {
        let directory = fs::metadata(scratch.join("memring")).unwrap();
        assert_eq!(directory.mode() & 0o7777, 0o700);
        return;
    }
    umask(0);
    let address = Address::parse("quotes").unwrap();
    for _ in 0..2 {
        let bound = BindOptions::new().bind(&address).unwrap();
        connect(bound.address()).unwrap();
    }
    let error = bind("/nonexistent/s").unwrap_err();
    assert!(matches!(error, BindError::NoDirectory(_)), "{error:?}");
}

#[test]
fn attack_07_accepting_without_descriptors_pauses_and_resumes() {
    if !alone("bind::tests::attack_07_accepting_without_descriptors_pauses_and_resumes") {
        return;
    }
    let scratch = Scratch::new();
    let bound = bind(scratch.join("s")).unwrap();
    let client = connect(bound.address()).unwrap();
    let limit = |current| rustix::process::Rlimit { current: Some(current), maximum: Some(4096) };
    let set = |limit| rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
    set(limit(3));
    let mut last = Duration::ZERO;
    for _ in 0..20 {
        let Accepted::Pause { why, pause } = bound.accept().unwrap() else { panic!("accepted") };
        assert_eq!(why.raw_os_error(), Some(libc::EMFILE));
        assert!(pause >= FIRST_PAUSE && pause >= last && pause <= LONGEST_PAUSE);
        last = pause;
    }
    assert_eq!(last, LONGEST_PAUSE);
    set(limit(1024));
    let server = accept(&bound);
    client.send(b"x", &[]).unwrap();
    assert!(matches!(server.receive(&mut [0; 8]).unwrap(), Incoming::Packet(_)));
    let _waiting = connect(bound.address()).unwrap();
    set(limit(3));
    let Accepted::Pause { pause, .. } = bound.accept().unwrap() else { panic!("accepted") };
    assert_eq!(pause, FIRST_PAUSE); // a success in between starts it anew
    set(limit(1024)); // cleaning up takes descriptors too
}

#[test]
fn attack_31_what_the_listener_forbids_holds_before_accept() {
    let scratch = Scratch::new();
    let probe_kernel = ControlSocket::pair().unwrap().0.pass_rights(false).unwrap();
    if probe_kernel == os::Support::Absent {
        println!("skipped: SO_PASSRIGHTS needs Linux 6.16");
        return;
    }
    let null = fs::File::open("/dev/null").unwrap();
    for allowed in [false, true] {
        let options = BindOptions::new();
        let options = if allowed { options.allow_fds() } else { options };
        let bound = options.bind(&at(scratch.join("s"))).unwrap();
        let client = connect(bound.address()).unwrap();
        let try_it = || match client.send(b"x", &[null.as_fd()]) {
            Ok(()) => assert!(allowed),
            Err(SendProblem::FdsRefused) => assert!(!allowed),
            Err(other) => panic!("{other}"),
        };
        try_it(); // nobody has accepted yet
        let _server = accept(&bound);
        try_it();
    }
}

#[test]
fn the_first_packet_names_its_sender_even_if_sent_before_accept() {
    let scratch = Scratch::new();
    let bound = bind(scratch.join("s")).unwrap();
    let client = connect(bound.address()).unwrap();
    client.send(b"hello", &[]).unwrap();
    let server = accept(&bound);
    let peer = Peer::of(&server, Origin::Connected).unwrap();
    if peer.death_detection() == DeathDetection::HangUp {
        println!("skipped: pidfds of peers need Linux 6.5");
        return;
    }
    let Incoming::Packet(packet) = server.receive(&mut [0; 8]).unwrap() else { panic!() };
    let peer = peer.with_pidfd(packet.pidfd.expect("SCM_PIDFD comes with SO_PEERPIDFD"));
    assert_eq!(peer.pid(), Some(std::process::id()));
}

#[test]
fn attack_35_everything_is_cloexec_and_nothing_leaks() {
    if !alone("bind::tests::attack_35_everything_is_cloexec_and_nothing_leaks") {
        return;
    }
    let scratch = Scratch::new();
    let _warm_up = bind(scratch.join("warm"));
    let before = open_fds();
    for _ in 0..3 {
        let bound = bind(scratch.join("s")).unwrap();
        assert!(bind(scratch.join("s")).is_err());
        let client = connect(bound.address()).unwrap();
        accept(&bound); // the probe's
        let server = accept(&bound);
        let _peer = Peer::of(&server, Origin::Connected).unwrap();
        client.send(b"x", &[client.as_fd()]).ok();
        let _incoming = server.receive(&mut [0; 8]).unwrap();
        let listing = std::process::Command::new("ls")
            .args(["-l", "/proc/self/fd"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let inherited = String::from_utf8(listing.stdout).unwrap();
        assert!(inherited.contains("/dev/null"), "ls lists nothing: {inherited}");
        for ours in ["socket:", "pidfd", "memring"] {
            assert!(!inherited.contains(ours), "{ours} was inherited: {inherited}");
        }
        let all = open_fds();
        let cloexec = |fd: &i32| {
            let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            u32::from_str_radix(flags.trim(), 8).unwrap() & 0o2_000_000 != 0
        };
        let new: Vec<_> = all.iter().filter(|fd| !before.contains(fd)).collect();
        assert!(new.len() >= 5 && new.into_iter().all(cloexec));
    }
    eventually("all are closed", || open_fds() == before);
    let error = bind("/nonexistent/s").unwrap_err();
    assert!(matches!(error, BindError::NoDirectory(_)));
    assert_eq!(open_fds(), before);
}

#[test]
fn attack_78_a_forked_child_takes_nothing_down() {
    if !alone("bind::tests::attack_78_a_forked_child_takes_nothing_down") {
        return;
    }
    let scratch = Scratch::new();
    let mut bound = Some(bind(scratch.join("s")).unwrap());
    let waiting = connect(bound.as_ref().unwrap().address()).unwrap();
    let child = Forked::start(|| {
        let bound = bound.take().unwrap(); // the child's copy
        assert!(matches!(bound.accept().unwrap(), Accepted::Forked));
    });
    assert!(child.wait(), "the child failed");
    assert_eq!(names_in(&scratch), ["s", "s.lock"]);
    waiting.send(b"x", &[]).unwrap();
    accept(bound.as_ref().unwrap());
    assert!(matches!(bind(scratch.join("s")), Err(BindError::InUse { .. })));
}

#[test]
fn attack_85_a_child_that_keeps_the_socket_does_not_keep_the_name() {
    if !alone("bind::tests::attack_85_a_child_that_keeps_the_socket_does_not_keep_the_name") {
        return;
    }
    let scratch = Scratch::new();
    let bound = bind(scratch.join("s")).unwrap();
    let waiting = connect(bound.address()).unwrap();
    let (gate, mut opened) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut gate = Some(gate);
    let child = Forked::start(|| {
        drop(gate.take());
        std::io::Read::read(&mut opened, &mut [0]).unwrap(); // until the parent opens the gate
    });
    drop(bound);
    assert!(matches!(waiting.receive(&mut [0; 8]).unwrap(), Incoming::WouldBlock));
    let bound = bind(scratch.join("s")).unwrap();
    let _client = connect(bound.address()).unwrap();
    accept(&bound);
    drop(gate);
    assert!(child.wait());
}

#[test]
fn attack_05_another_user_is_told_apart_and_kept_out_by_mode_and_by_policy() {
    use crate::policy::{Denied, Policy};
    const STRANGER: u32 = 54_321;
    if !geteuid().is_root() {
        println!("skipped: becoming another user takes root");
        return;
    }
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The credentials of a connection are those of the thread that makes it.
    let connect_as_stranger = |address: &Address| {
        std::thread::scope(|scope| {
            let stranger = scope.spawn(|| {
                let (uid, gid) = (Uid::from_raw(STRANGER), Gid::from_raw(STRANGER));
                rustix::thread::set_thread_groups(&[Gid::from_raw(77)]).unwrap();
                rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
                rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
                connect(address)
            });
            stranger.join().unwrap()
        })
    };
    let private = bind(scratch.join("private")).unwrap();
    let refused = connect_as_stranger(private.address());
    assert!(matches!(refused, Err(ConnectProblem::NotAllowed(_))), "{refused:?}");

    let open = BindOptions::new().mode(0o666).bind(&at(scratch.join("open"))).unwrap();
    let client = connect_as_stranger(open.address()).unwrap();
    let server = accept(&open);
    let peer = Peer::of(&server, Origin::Connected).unwrap();
    assert_eq!((peer.uid(), peer.gid()), (Some(STRANGER), Some(STRANGER)));
    assert_eq!(peer.pid(), Some(std::process::id()));
    let us = geteuid().as_raw();
    let denied = Policy::same_uid().judge(&peer, us).unwrap_err();
    assert!(matches!(denied, Denied::NotListed { our_uid, .. } if our_uid == us));
    Policy::nobody().allow_uid(STRANGER).judge(&peer, us).unwrap();
    Policy::nobody().allow_gid(STRANGER).judge(&peer, us).unwrap();
    if peer.is_in_group(77) {
        Policy::nobody().allow_gid(77).judge(&peer, us).unwrap(); // SO_PEERGROUPS, Linux 4.13
    }
    assert!(Policy::nobody().allow_gid(us).judge(&peer, us).is_err());
    // The stranger's end says who listens, whoever asks.
    let listening = Peer::of(&client, Origin::Listening).unwrap();
    assert_eq!(listening.uid(), Some(us));
}

#[test]
fn attack_79_want_of_memory_in_the_kernel_is_no_error_of_accept() {
    let test = "bind::tests::attack_79_want_of_memory_in_the_kernel_is_no_error_of_accept";
    if !alone(test) {
        return;
    }
    let scratch = Scratch::new();
    let bound = bind(scratch.join("s")).unwrap();
    for errno in [libc::ENFILE, libc::ENOMEM, libc::ENOBUFS] {
        let bound = &bound;
        std::thread::scope(|scope| {
            let seen = scope.spawn(move || {
                crate::testing::refuse(libc::SYS_accept4, None, errno);
                bound.accept()
            });
            let seen = seen.join().unwrap();
            assert!(
                matches!(&seen, Ok(Accepted::Pause { why, .. }) if why.raw_os_error() == Some(errno)),
                "{seen:?}"
            );
        });
    }
    let denied = std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            crate::testing::refuse(libc::SYS_accept4, None, libc::EPERM);
            bound.accept()
        });
        seen.join().unwrap()
    });
    assert_eq!(denied.unwrap_err().raw_os_error(), Some(libc::EPERM)); // and it ends
}
