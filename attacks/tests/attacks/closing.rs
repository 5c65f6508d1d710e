//! Section C of the list: descriptors that do harm when somebody else inherits them, looks at them or closes them.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use memring::{Bytes, Connector, Lanes, Listener, Policy, Reason};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::attacker::Attacker;
use crate::descriptors::open_of;
use crate::fuse::SilentFile;
use crate::kernel::without_passrights;
use crate::scene::{PROTOCOL, Scene};
use crate::server::{HostileServer, exchange};
use crate::service::ECHO;
use crate::support::{PATIENCE, eventually};

#[test]
fn attack_34_sockets_in_their_own_queues_are_refused_like_any() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    for _ in 0..5 {
        for fds in ["i,c_sent", "s_sent,i"] {
            server.grant(&["make i inflight", "make u socket"], fds);
            scene.counted(Reason::SegmentForeign);
        }
        server.grant(&["make u socket"], "u,u.other");
        scene.counted(Reason::SegmentForeign);
    }
    // Unread in the queue of a socket that we close.
    let mut attacker = scene.attacker();
    for name in ["i", "j"] {
        attacker.run(format!("make {name} inflight"));
    }
    let socket =
        handed(&scene, &mut attacker, &["fence fds=i", "fence fds=j,i", "drop i", "drop j"]);
    refused_over(&mut scene, socket, Reason::Order);
    drop(attacker);
    drop(server);
    scene.finish();
}

/// One end of a connection on which the attacker, at the other, has said all this before anybody reads.
#[track_caller]
fn handed(scene: &Scene, attacker: &mut Attacker, commands: &[&str]) -> OwnedFd {
    let path = scene.attackers_directory().join("handed");
    std::fs::remove_file(&path).ok();
    let flags = SocketFlags::CLOEXEC;
    let listener =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .expect("a socket");
    let address = SocketAddrUnix::new(&path).expect("a short path");
    rustix::net::bind(&listener, &address).expect("binds");
    let open = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&path, open).expect("for the attacker");
    rustix::net::listen(&listener, 1).expect("listens");
    attacker.run(format!("connect {}", path.display()));
    for command in commands {
        attacker.run(command);
    }
    rustix::net::accept_with(&listener, flags).expect("the attacker's connection")
}

/// A client over that socket, which has to give up in time.
#[track_caller]
fn refused_over(scene: &mut Scene, socket: OwnedFd, reason: Reason) {
    let (done, outcome) = channel();
    std::thread::Builder::new()
        .name("test-client".to_owned())
        .spawn(move || {
            let connector = Connector::new().lanes(Lanes::Small, Lanes::Small).timeout(PATIENCE);
            let refused = connector.from_fd::<Bytes>(socket).map(|_| ());
            done.send(refused).ok();
        })
        .expect("a thread");
    let outcome = outcome.recv_timeout(2 * PATIENCE).expect("the client comes back in time");
    assert!(outcome.is_err());
    scene.counted(reason);
}

/// Sockets `l0` and so on of the attacker's: whoever closes the last descriptor of one waits for minutes, unless
/// [`let_them_go`] is called.
pub fn lingering(attacker: &mut Attacker, count: usize) {
    for i in 0..count {
        attacker.run(format!("make l{i} linger seconds=300"));
        attacker.run(format!("make r{i} dup of=l{i}.other"));
    }
}

/// The other end goes, and with it the reason to wait.
pub fn let_them_go(attacker: &mut Attacker, count: usize) {
    for i in 0..count {
        attacker.run(format!("drop r{i}"));
    }
    eventually("nobody is held up any more", || held_up() == 0);
}

/// Threads of the closer's that wait in `close` just now.
pub fn held_up() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc/self/task");
    let closing = |task: std::io::Result<std::fs::DirEntry>| {
        let path = task.expect("a thread").path();
        let is = |file: &str, begins: &str| {
            std::fs::read_to_string(path.join(file)).is_ok_and(|text| text.starts_with(begins))
        };
        is("comm", "memring-closer") && is("syscall", &format!("{} ", libc::SYS_close))
    };
    tasks.map(closing).filter(|closing| *closing).count()
}

/// Descriptors of ours that a program we start would inherit.
fn inherited() -> Vec<String> {
    let listed = Command::new("ls").arg("-l").arg("/proc/self/fd").output().expect("ls");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let fds = listed.lines().filter_map(|line| {
        let (before, to) = line.split_once(" -> ")?;
        let number: u32 = before.rsplit(' ').next()?.parse().ok()?;
        // Three streams, and what ls looks with.
        (number > 2 && !to.starts_with("/proc/")).then(|| format!("{number} {to}"))
    });
    fds.collect()
}

#[test]
fn attack_35_what_a_peer_sends_is_inherited_by_no_program() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    // Whoever started this process may have left something open, which is none of ours.
    let before = inherited();
    let ours = ["socket:", "anon_inode:", "memfd:"];
    assert!(!before.iter().any(|fd| ours.iter().any(|kind| fd.contains(kind))), "{before:?}");
    // At every step of both sides.
    for step in ["connect", "hello", "granted", "ready"] {
        let mut attacker = scene.attacker_at(step);
        assert_eq!(inherited(), before, "{step}");
        attacker.run(format!("client until=ready {PROTOCOL}"));
        attacker.run("leave");
        scene.ended();
    }
    let mut server = HostileServer::start(&scene);
    for step in ["hello", "welcome", "open", "sealed"] {
        let client = server.lure(step);
        assert_eq!(inherited(), before, "{step}");
        server.attacker.run("server until=ready");
        let client = client.connects();
        assert_eq!(inherited(), before);
        drop(client);
        server.attacker.run("close");
    }
    // As many closes as there are threads for it are held up, so the rest of what was sent stays open.
    lingering(&mut server.attacker, 4);
    server.attacker.run("make p pipe");
    let said = ["welcome fds=l0,l1,l2,l3,p,p,p", "drop l0", "drop l1", "drop l2", "drop l3"];
    let socket = handed(&scene, &mut server.attacker, &said);
    refused_over(&mut scene, socket, Reason::Descriptors);
    eventually("all threads are held up", || held_up() == 4);
    let with = open_of("pipe");
    assert_eq!(inherited(), before);
    let_them_go(&mut server.attacker, 4);
    eventually("they are closed", || open_of("pipe") == with - 3);
    drop(server);
    scene.finish();
}

#[test]
fn attack_36_a_socket_that_lingers_holds_up_the_closer_and_nobody_else() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    // As S, as C, and where none is due: before anybody reads, the attacker lets go of it.
    for (said, reason) in [
        (&["welcome fds=l0"][..], Reason::Descriptors),
        (&["welcome", "segments", "granted fds=l0,c_sent"], Reason::SegmentForeign),
        (&["welcome", "segments", "granted fds=s_sent,l0"], Reason::SegmentForeign),
    ] {
        lingering(&mut server.attacker, 1);
        let said = [said, &["drop l0"]].concat();
        let socket = handed(&scene, &mut server.attacker, &said);
        refused_over(&mut scene, socket, reason);
        eventually("the closer is held up", || held_up() == 1);
        // Others come and go meanwhile.
        let mut client = server.lure("ready").connects();
        exchange(&mut client, &mut server.attacker);
        drop(client);
        let_them_go(&mut server.attacker, 1);
    }
    drop(server);
    scene.finish();
}

#[test]
fn attack_36_what_lies_unread_in_a_socket_that_we_close_holds_nobody_up() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    // The first ends the handshake; the second goes with the socket.
    for said in [
        &["welcome fds=p", "welcome fds=l0"][..],
        &["packet \"\" fds=p", "packet \"\" fds=l0"],
        &["welcome", "fence", "packet \"\" fds=l0"],
    ] {
        lingering(&mut server.attacker, 1);
        server.attacker.run("make p pipe");
        let said = [said, &["drop l0"]].concat();
        let socket = handed(&scene, &mut server.attacker, &said);
        let reason = match said[0] {
            "welcome fds=p" => Reason::Descriptors,
            "welcome" => Reason::Order,
            _ => Reason::Gone,
        };
        refused_over(&mut scene, socket, reason);
        eventually("the closer is held up", || held_up() == 1);
        let_them_go(&mut server.attacker, 1);
    }
    drop(server);
    scene.finish();
}

#[test]
fn attack_36_a_listener_that_turns_a_stranger_away_is_not_held_up() {
    let Some(mut scene) = Scene::with(name!(), without_passrights, ECHO) else { return };
    let path = scene.attackers_directory().join("exclusive");
    // It admits nobody, and looks at nobody yet.
    let listener = Listener::builder()
        .allow_shared_directory()
        .mode(0o666)
        .policy(Policy::nobody())
        .bind(&path)
        .expect("binds");
    let mut attacker = scene.attacker();
    lingering(&mut attacker, 1);
    attacker.run(format!("connect {}", path.display()));
    attacker.run("packet 00 fds=l0");
    attacker.run("drop l0");
    let (done, outcome) = channel();
    std::thread::spawn(move || {
        let until = Instant::now() + Duration::from_millis(200);
        done.send(listener.accept_deadline(until).map(|_| ())).ok();
    });
    let outcome = outcome.recv_timeout(2 * PATIENCE).expect("accept comes back");
    assert!(outcome.is_err(), "nobody was admitted");
    scene.counted(Reason::Denied);
    eventually("the closer is held up", || held_up() == 1);
    let_them_go(&mut attacker, 1);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_36_a_file_that_never_answers_is_asked_for_its_seals_and_closed_elsewhere() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let silent = match SilentFile::mount(&scene.attackers_directory()) {
        Ok(silent) => silent,
        Err(why) => {
            println!("skipped: no FUSE file system can be mounted here: {why}");
            return scene.finish();
        }
    };
    // Started within the namespace of the mount.
    let mut server = HostileServer::start(&scene);
    // Given up before the attacker is, which cannot end while it waits for an answer.
    let silent = silent;
    server.attacker.run(format!("make f open at={}", silent.path().display()));
    for (fds, held) in [("f,c_sent", 1), ("s_sent,f", 2)] {
        server.grant(&[], fds);
        scene.counted(Reason::SegmentForeign);
        eventually("the closer is held up", || held_up() == held);
        let mut client = server.lure("ready").connects();
        exchange(&mut client, &mut server.attacker);
        drop(client);
        server.attacker.run("close");
    }
    drop(silent);
    eventually("nobody is held up any more", || held_up() == 0);
    drop(server);
    scene.finish();
}
