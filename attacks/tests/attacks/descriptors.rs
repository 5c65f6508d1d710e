//! Section C of the list: descriptors that come too many, too few, or where none are due.

use memring::cause::HandshakeFault;
use memring::{End, HandshakeError, Listener, Reason, RecvError, Resource};
use rustix::process::{Resource as Limited, Rlimit, getrlimit, setrlimit};

use crate::attacker::Attacker;
use crate::kernel::{Third, has_passrights, refuse, without_passrights};
use crate::scene::{PROTOCOL, Scene};
use crate::server::{HostileServer, exchange};
use crate::service::ECHO;
use crate::support::strangers::chain;
use crate::support::{Held, eventually, eventually_asleep, is_asleep, soon};

/// So many times the same descriptor, as `fds=` takes them.
fn times(name: &str, count: usize) -> String {
    vec![name; count].join(",")
}

/// How many descriptors came, as the error says.
#[track_caller]
fn got(error: &HandshakeError) -> usize {
    match error {
        HandshakeError::Fault(HandshakeFault::FdCount { got, .. }) => *got,
        other => panic!("not for the number of descriptors: {}", chain(other)),
    }
}

/// A client that hears Granted with these.
#[track_caller]
fn granted_with(scene: &mut Scene, server: &mut HostileServer, fds: &str) -> usize {
    let client = server.lure("open");
    server.prepare(&["make p pipe"]);
    server.attacker.run(format!("granted {fds}"));
    let error = client.refuses();
    scene.counted(Reason::Descriptors);
    server.over();
    got(&error)
}

/// A client that hears Welcome with these.
#[track_caller]
fn welcomed_with(scene: &mut Scene, server: &mut HostileServer, fds: &str) -> usize {
    let client = server.lure("hello");
    server.attacker.run("make p pipe");
    server.attacker.run(format!("welcome {fds}"));
    let error = client.refuses();
    scene.counted(Reason::Descriptors);
    assert_eq!(server.attacker.run("recv").get("kind"), "open");
    server.over();
    got(&error)
}

#[test]
fn attack_28_another_number_of_descriptors_than_due_is_refused() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    for (fds, count) in [
        ("", 0),
        ("fds=s_sent", 1),
        ("fds=s_sent,c_sent,p", 3),
        ("fds=s_sent,c_sent,p split", 3),
        ("fds=s_sent,c_sent,s_sent,c_sent split", 4),
    ] {
        assert_eq!(granted_with(&mut scene, &mut server, fds), count);
    }
    for split in ["", " split"] {
        let all = format!("fds={}{split}", times("p", 253));
        assert_eq!(granted_with(&mut scene, &mut server, &all), 253, "as many as a packet takes");
        assert_eq!(welcomed_with(&mut scene, &mut server, "fds=p"), 1);
        assert_eq!(welcomed_with(&mut scene, &mut server, &format!("fds=p,p{split}")), 2);
    }
    // Two in two messages are two.
    let client = server.lure("open");
    server.prepare(&[]);
    server.attacker.run("granted fds=s_sent,c_sent split");
    server.attacker.run("server until=ready");
    let mut client = client.connects();
    exchange(&mut client, &mut server.attacker);
    drop(client);
    drop(server);
    scene.finish();
}

#[test]
fn attack_29_a_descriptor_beyond_those_looked_for_is_found_and_closed() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let mut server = HostileServer::start(&scene);
    // Control messages are padded to 8 bytes, where a second descriptor, or a fourth, lies unseen.
    for count in 1..=8 {
        for split in ["", " split"] {
            let fds = format!("fds={}{split}", times("p", count));
            assert_eq!(welcomed_with(&mut scene, &mut server, &fds), count);
            if count != 2 {
                assert_eq!(granted_with(&mut scene, &mut server, &fds), count);
            }
        }
    }
    drop(server);
    scene.finish();
}

/// Descriptors of this process of one kind, as `/proc` names it: `pipe`, `socket`.
pub fn open_of(kind: &str) -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd");
    let read = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    read.filter(|to| to.to_string_lossy().starts_with(&format!("{kind}:"))).count()
}

/// The number of the thread of this name.
fn thread_named(name: &str) -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc/self/task");
    let mut paths = tasks.map(|task| task.expect("a thread").path());
    let path = paths.find(|path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    });
    let number = path.as_ref().and_then(|path| path.file_name()?.to_str()?.parse().ok());
    number.expect("a thread of that name")
}

/// This process may open nothing beyond descriptor `most`, while this lives.
struct Shortage(Rlimit);

impl Shortage {
    fn of(most: u64) -> Self {
        let before = getrlimit(Limited::Nofile);
        setrlimit(Limited::Nofile, Rlimit { current: Some(most), ..before }).expect("less");
        Self(before)
    }

    /// Room for one more.
    fn but_one() -> Self {
        use std::os::fd::AsRawFd;
        let next = std::fs::File::open("/dev/null").expect("one more");
        let number = next.as_raw_fd() as u64;
        drop(next);
        Self::of(number + 1)
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        setrlimit(Limited::Nofile, self.0).expect("as before");
    }
}

#[test]
fn attack_30_descriptors_that_get_lost_end_the_handshake_and_the_rest_are_closed() {
    let Some(mut scene) = Scene::with(name!(), without_passrights, ECHO) else { return };
    // The client lacks room for both of Granted, then for one of them.
    let mut server = HostileServer::start(&scene);
    let open = || Held::now().fds.len();
    let before = open();
    for short in [|| Shortage::of(3), Shortage::but_one] {
        let client = server.lure("open");
        server.prepare(&[]);
        // What it closes later would make room for a second one. Its socket and a pidfd of the server stay.
        eventually("the client has looked at the server, and waits for Granted", || {
            let task = format!("/proc/self/task/{}", thread_named("test-client"));
            open() == before + 2 && is_asleep(&task)
        });
        let shortage = short();
        server.attacker.run("granted fds=s_sent,c_sent");
        let error = client.refuses();
        drop(shortage);
        assert!(matches!(error, HandshakeError::DescriptorsLost), "{}", chain(&error));
        scene.counted(Reason::DescriptorsLost);
        server.over();
        eventually("all of the client's are closed", || open() == before);
    }
    drop(server);
    // The server lacks it for those that nobody asked for: in the handshake, and afterwards.
    let mut attacker = scene.attacker();
    attacker.run("make p pipe");
    let handshakes = |scene: &Scene| scene.listener().quotas().held(Resource::Handshakes, None);
    attacker.run(format!("connect {}", scene.path()));
    eventually("the server waits for Hello", || handshakes(&scene) == 1);
    // And its listener for others: one that finds no room for a connection counts that too.
    eventually_asleep(thread_named(scene.accepts()));
    let shortage = Shortage::of(3);
    attacker.run("hello fds=p,p");
    scene.counted(Reason::DescriptorsLost);
    drop(shortage);
    assert_eq!(attacker.fails("recv"), "end");
    attacker.run(format!("connect {}", scene.path()));
    attacker.run(format!("client until=ready {PROTOCOL}"));
    eventually_asleep(thread_named(scene.accepts()));
    let shortage = Shortage::of(3);
    attacker.run("fence fds=p,p");
    scene.poisoned(Reason::DescriptorsLost);
    drop(shortage);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_31_where_the_kernel_can_it_keeps_unwanted_descriptors_off() {
    let Some(scene) = Scene::set(name!()) else { return };
    if !has_passrights() {
        println!("skipped: SO_PASSRIGHTS needs Linux 6.16");
        return scene.finish();
    }
    let mut attacker = scene.attacker();
    attacker.run("make p pipe");
    attacker.run(format!("connect {}", scene.path()));
    for (message, step) in
        [("hello", "hello"), ("open", "open"), ("sealed", "sealed"), ("fence", "ready")]
    {
        assert_eq!(attacker.fails(format!("{message} fds=p")), "EPERM");
        attacker.run(format!("client until={step} {PROTOCOL}"));
    }
    assert_eq!(attacker.fails("packet 00 fds=p,p split"), "EPERM");
    attacker.run("send 00ff");
    assert_eq!(attacker.run("recvmsg").get("hex"), "00ff");
    drop(attacker);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    // A client takes the two of Granted, and no more after them.
    let mut server = HostileServer::start(&scene);
    let client = server.lure("sealed");
    server.attacker.run("make p pipe");
    for message in ["ready fds=p", "refused fds=p", "fence fds=p"] {
        assert_eq!(server.attacker.fails(message), "EPERM");
    }
    server.attacker.run("ready");
    let mut client = client.connects();
    assert_eq!(server.attacker.fails("fence fds=p"), "EPERM");
    exchange(&mut client, &mut server.attacker);
    drop(client);
    drop(server);
    scene.finish();
}

#[test]
fn attack_31_elsewhere_they_are_closed_and_end_the_session() {
    let Some(mut scene) = Scene::with(name!(), without_passrights, ECHO) else { return };
    for (step, message) in [("connect", "hello"), ("hello", "open"), ("granted", "sealed")] {
        let mut attacker = scene.attacker_at(step);
        attacker.run("make p pipe");
        attacker.run(format!("{message} fds=p,p.other,p"));
        scene.counted(Reason::Descriptors);
        // Behind what the server said before.
        eventually("the server closes", || {
            attacker.tell("recv");
            attacker.hear() == "err end"
        });
    }
    for fds in ["fds=p".to_owned(), format!("fds={}", times("p", 253)), "fds=p,p split".to_owned()]
    {
        for message in ["fence", "fenceack"] {
            let mut attacker = scene.attacker_at("ready");
            attacker.run("make p pipe");
            attacker.run(format!("{message} {fds}"));
            scene.poisoned(Reason::Descriptors);
        }
    }
    // So for a client: with Ready, and later.
    let mut server = HostileServer::start(&scene);
    let client = server.lure("sealed");
    server.attacker.run("make p pipe");
    server.attacker.run("ready fds=p");
    assert_eq!(got(&client.refuses()), 1);
    scene.counted(Reason::Descriptors);
    server.over();
    let mut client = server.lure("ready").connects();
    exchange(&mut client, &mut server.attacker);
    server.attacker.run("fence fds=p,p");
    let end = client.recv_deadline(soon()).map(|_| ()).expect_err("a fault");
    assert!(matches!(end, RecvError::Ended(End::Fault(_))), "{end}");
    scene.counted(Reason::Descriptors);
    drop(client);
    drop(server);
    scene.finish();
}

/// Fence, as a packet.
const FENCE: &str = "4d524e47090000001000000000000000";

#[test]
fn attack_32_a_flood_of_descriptors_does_not_get_in_where_the_kernel_can_keep_it_off() {
    let Some(scene) = Scene::set(name!()) else { return };
    if !has_passrights() {
        println!("skipped: SO_PASSRIGHTS needs Linux 6.16");
        return scene.finish();
    }
    let mut attacker = scene.attacker();
    attacker.run("make p pipe");
    let flood = |attacker: &mut Attacker| {
        let flood = attacker.run(format!("burst 100 {FENCE} fds={}", times("p", 253)));
        assert_eq!((flood.number("sent"), flood.get("stopped")), (0, "EPERM"));
    };
    // Before it is accepted, by a server that does not come to it.
    let path = scene.attackers_directory().join("busy");
    let busy = Listener::builder().allow_shared_directory().mode(0o666).bind(&path).expect("binds");
    attacker.run(format!("connect {}", path.display()));
    flood(&mut attacker);
    drop(busy);
    attacker.run(format!("connect {}", scene.path()));
    for step in ["connect", "hello", "granted", "ready"] {
        attacker.run(format!("client until={step} {PROTOCOL}"));
        flood(&mut attacker);
    }
    attacker.run("send 00ff");
    assert_eq!(attacker.run("recvmsg").get("hex"), "00ff");
    drop(attacker);
    scene.ended();
    scene.finish();
}

#[test]
fn attack_32_a_flood_of_descriptors_is_read_and_closed_elsewhere() {
    let Some(mut scene) = Scene::with(name!(), without_passrights, ECHO) else { return };
    // Under way at a time are at most so many of a user, wherever they lie unread.
    let mut attacker = scene.attacker();
    attacker.run("nofile 1024");
    attacker.run("make p pipe");
    let flood = format!("burst 100 {FENCE} fds={}", times("p", 253));
    let mut sent = 0;
    for _ in 0..6 {
        attacker.run(format!("connect {}", scene.path()));
        attacker.run(format!("client until=ready {PROTOCOL}"));
        eventually("what came before is read or closed", || {
            let flooded = attacker.run(&flood).number("sent");
            sent += flooded * 253;
            flooded > 0
        });
        scene.poisoned(Reason::Descriptors);
        // Nor in the handshake, whose deadline does not wait for what came before.
        eventually("what came before is read or closed", || {
            attacker.run(format!("connect {}", scene.path()));
            let flooded = attacker.run(&flood).number("sent");
            sent += flooded * 253;
            if flooded == 0 {
                attacker.run("close");
                scene.counted(Reason::Gone);
            }
            flooded > 0
        });
        scene.counted(Reason::Order);
    }
    assert!(sent > 2 * 1265, "{sent} went through, and none lies anywhere");
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_33_nobody_peeks_at_packets_that_may_bring_descriptors() {
    let Some(mut scene) = Scene::with(
        name!(),
        |builder| {
            refuse(libc::SYS_recvmsg, Third::Has(libc::MSG_PEEK), libc::EPERM);
            without_passrights(builder)
        },
        ECHO,
    ) else {
        return;
    };
    let mut server = HostileServer::start(&scene);
    for count in [1, 3] {
        let fds = format!("fds={}", times("p", count));
        assert_eq!(welcomed_with(&mut scene, &mut server, &fds), count, "and not twice as many");
    }
    let mut client = server.lure("ready").connects();
    exchange(&mut client, &mut server.attacker);
    drop(client);
    drop(server);
    let mut attacker = scene.attacker_at("ready");
    attacker.run("make p pipe");
    attacker.run("fence fds=p,p,p");
    scene.poisoned(Reason::Descriptors);
    drop(attacker);
    scene.finish();
}
