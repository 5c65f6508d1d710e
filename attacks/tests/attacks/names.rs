//! Section A of the list, rows 1 to 10: names, files, and connections in any number and state.

use std::fs::File;
use std::time::{Duration, Instant};

use memring::{
    Address, BindError, ConnectError, Connector, End, HandshakeError, Limits, Listener,
    ListenerBuilder, Policy, Reason, Resource, cause,
};

use crate::attacker::{Attacker, is_stranger, uid};
use crate::scene::{PROTOCOL, Scene};
use crate::service::ECHO;
use crate::support::{Held, eventually};
use crate::victim::{Victim, serve, served_up_to, trusting};

/// Handshakes that end by what a test does, and not by their deadline.
fn patient(builder: ListenerBuilder) -> ListenerBuilder {
    builder.handshake_timeout(Duration::from_secs(60))
}

/// Whether attackers are somebody else; says that the test is skipped if not.
pub fn needs_a_stranger() -> bool {
    if !is_stranger() {
        println!("skipped: only root can start another user's process");
    }
    is_stranger()
}

/// Takes the next connection of whoever wanted to talk to the attacker: it ends without a word.
#[track_caller]
fn hears_nothing(attacker: &mut Attacker) {
    attacker.run("accept");
    assert!(attacker.hung_up_on().is_none(), "something was said");
}

/// What stands in the way of listening there.
#[track_caller]
fn refused(listening: Result<Listener, BindError>) -> cause::BindError {
    match listening {
        Err(BindError::Listen(cause::ListenError::Bind(error))) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn attack_01_who_takes_an_abstract_name_first_is_named_and_told_nothing() {
    if !needs_a_stranger() {
        return;
    }
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let name = format!("memring-attack-{}", std::process::id());
    let mut attacker = scene.attacker();
    attacker.run(format!("bind @{name}"));
    let address = Address::abstract_name(&name).expect("a name");
    match refused(Listener::bind(&address)) {
        cause::BindError::InUse { holder, .. } => assert_eq!(holder, Some(attacker.pid())),
        other => panic!("{other}"),
    }
    hears_nothing(&mut attacker);
    let denied = Victim::with(Connector::new().metadata(b"a secret"), address).handshake_error();
    assert!(matches!(denied, HandshakeError::Denied(_)), "{denied}");
    scene.counted(Reason::Denied);
    hears_nothing(&mut attacker);
    drop((denied, attacker));
    scene.finish();
}

#[test]
fn attack_02_a_directory_that_others_can_change_is_refused_and_left_as_it_is() {
    if !needs_a_stranger() {
        return;
    }
    let Some(scene) = Scene::without_hub(name!(), "it is refused before there is a server") else {
        return;
    };
    let theirs = scene.attackers_directory();
    let open = scene.new_directory("open", 0o777);
    let private = scene.new_directory("private", 0o700);
    let mut attacker = scene.attacker();
    let link = theirs.join("link");
    attacker.run(format!("symlink {} {}", private.display(), link.display()));
    for (directory, due) in [
        (&theirs, cause::DirectoryRisk::OwnedBy(uid())),
        (&open, cause::DirectoryRisk::Writable(0o777)),
        (&link, cause::DirectoryRisk::LinkOwnedBy(uid())),
    ] {
        match refused(Listener::bind(directory.join("s"))) {
            cause::BindError::SharedDirectory { risk, .. } => assert_eq!(risk, due),
            other => panic!("{other}"),
        }
        let names = std::fs::read_dir(directory).expect("a directory").map(|file| file.unwrap());
        let ours = names.filter(|file| file.file_name() != "link").count();
        assert_eq!(ours, 0, "nothing is left in {}", directory.display());
    }
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_02_a_socket_put_in_the_place_of_ours_is_believed_by_no_client_and_stays() {
    if !needs_a_stranger() {
        return;
    }
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    let path = scene.new_directory("open", 0o777).join("s");
    let listener = Listener::builder().allow_shared_directory().bind(&path).expect("binds");
    let mut attacker = scene.attacker();
    attacker.run(format!("bind {}", path.display()));
    let secret = Connector::new().metadata(b"a secret");
    let denied = Victim::with(secret, path.clone()).handshake_error();
    assert!(matches!(denied, HandshakeError::Denied(_)), "{denied}");
    scene.counted(Reason::Denied);
    hears_nothing(&mut attacker);
    drop(listener);
    assert!(path.exists(), "what is not ours is not removed");
    drop((denied, attacker));
    scene.finish();
}

#[test]
fn attack_03_whoever_waits_for_the_socket_never_finds_it_wider_than_asked() {
    if !needs_a_stranger() {
        return;
    }
    let Some(scene) = Scene::without_hub(name!(), "nobody connects") else { return };
    let path = scene.directory().join("narrow");
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let mut attacker = scene.attacker();
    attacker.tell(format!("pounce {} timeout=700", path.display()));
    let race = Instant::now() + Duration::from_millis(500);
    while Instant::now() < race {
        drop(Listener::bind(&path).expect("binds"));
    }
    let last = Listener::bind(&path).expect("binds");
    let pounced = attacker.answer();
    assert!(pounced.number("forbidden") > 0, "it saw the socket");
    assert_eq!(pounced.number("open"), 0, "and never with the mode of the umask");
    drop((last, attacker));
    rustix::process::umask(before);
    scene.finish();
}

#[test]
fn attack_04_what_lies_in_the_place_of_a_lock_is_neither_followed_nor_waited_for() {
    if !needs_a_stranger() {
        return;
    }
    let Some(scene) = Scene::without_hub(name!(), "nobody connects") else { return };
    let planted = scene.attackers_directory().join("planted");
    let open = scene.new_directory("open", 0o777);
    let place = |name: &str| open.join(name).display().to_string();
    let bind = |name: &str| Listener::builder().allow_shared_directory().bind(open.join(name));
    let mut attacker = scene.attacker();
    attacker.run(format!("symlink {} {}", planted.display(), place("link.lock")));
    attacker.run(format!("bind {}", place("socket.lock")));
    for name in ["link", "socket"] {
        let error = refused(bind(name));
        assert!(matches!(error, cause::BindError::ForeignLock(_)), "{name}: {error}");
        assert!(!open.join(name).exists(), "{name}: nothing is left");
    }
    assert!(!planted.exists(), "nothing was made where the link leads");
    // A socket that it listens on is taken, and left behind by it is stale.
    attacker.run(format!("bind {}", place("taken")));
    match refused(bind("taken")) {
        cause::BindError::InUse { holder, .. } => assert_eq!(holder, Some(attacker.pid())),
        other => panic!("{other}"),
    }
    attacker.kill();
    drop(bind("taken").expect("takes over"));
    assert!(!open.join("taken").exists(), "and cleans up");
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_05_a_flood_of_those_not_admitted_is_told_so_and_begins_no_handshake() {
    const ROUNDS: u64 = 10;
    const CROWD: u64 = 200;
    if !needs_a_stranger() {
        return;
    }
    let policy = |builder: ListenerBuilder| builder.policy(Policy::same_uid());
    let Some(mut scene) = Scene::with(name!(), policy, ECHO) else { return };
    let mut attacker = scene.attacker();
    attacker.run(format!("connect {}", scene.path()));
    let told = attacker.hung_up_on().expect("a word");
    assert_eq!((told.get("kind"), told.get("code")), ("reject", "4"));
    assert!(told.get("sentence").contains("does_not_admit_your_process"), "{told:?}");
    scene.counted(Reason::Denied);
    for _ in 0..ROUNDS {
        attacker.flood(&scene.path(), CROWD);
        let begun = |thread: &String| thread.starts_with("memring-");
        assert!(!Held::now().threads.iter().any(begun), "a handshake was begun");
        scene.counted_times(Reason::Denied, CROWD);
        attacker.run("disperse");
    }
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_06_ten_thousand_connections_of_one_uid_get_its_share_and_others_theirs() {
    const CROWD: u64 = 10_000;
    let Some(mut scene) = Scene::with(name!(), patient, ECHO) else { return };
    let share = Limits::default().handshakes_per_uid;
    let mut attacker = scene.attacker();
    attacker.flood(&scene.path(), CROWD);
    scene.counted_times(Reason::QuotaHandshakes, CROWD - share);
    assert_eq!(scene.listener().quotas().held(Resource::Handshakes, Some(uid())), share);
    attacker.run(format!("connect {}", scene.path()));
    let told = attacker.hung_up_on().expect("a word");
    assert_eq!((told.get("kind"), told.get("code")), ("reject", "5"));
    assert!(told.get("sentence").contains("64_of_at_most_64_handshakes"), "{told:?}");
    scene.counted(Reason::QuotaHandshakes);
    if is_stranger() {
        scene.serves_us();
    }
    attacker.run("disperse");
    scene.counted_times(Reason::Gone, share);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_06_sessions_beyond_a_share_or_the_total_are_refused_and_one_that_leaves_makes_room() {
    type Case = (fn(&mut Limits), u64, Reason, &'static str, &'static str);
    const CASES: [Case; 4] = [
        (
            |limits| limits.sessions_per_uid = 4,
            4,
            Reason::QuotaSessions,
            "reject",
            "4_of_at_most_4",
        ),
        // One is the bystander's.
        (|limits| limits.sessions = 3, 2, Reason::QuotaSessions, "reject", "all_users_together"),
        // A session has 2 of 68 KiB.
        (|limits| limits.bytes_per_uid = 200_000, 1, Reason::QuotaBytes, "refused", "of_segments"),
        // 2 each, and 5 more for a handshake.
        (
            |limits| limits.descriptors_per_uid = 11,
            3,
            Reason::QuotaDescriptors,
            "reject",
            "11_of_at",
        ),
    ];
    if !needs_a_stranger() {
        return;
    }
    for (limit, most, reason, kind, words) in CASES {
        let settings = |builder: ListenerBuilder| {
            let mut limits = Limits::default();
            limit(&mut limits);
            builder.limits(limits)
        };
        let Some(mut scene) = Scene::with(name!(), settings, ECHO) else { return };
        let mut attacker = scene.attacker();
        let session = |scene: &Scene, attacker: &mut Attacker| {
            attacker.run(format!("connect {}", scene.path()));
            attacker.run(format!("client until=ready {PROTOCOL}"));
            let quotas = scene.listener().quotas();
            eventually("no handshake", || quotas.held(Resource::Handshakes, None) == 0);
        };
        (0..most).for_each(|_| session(&scene, &mut attacker));
        attacker.run(format!("connect {}", scene.path()));
        if kind == "refused" {
            // It has to ask first.
            attacker.run(format!("client until=open {PROTOCOL}"));
        }
        let told = attacker.hung_up_on().expect("a word");
        assert_eq!(told.get("kind"), kind);
        assert!(told.get("sentence").contains(words), "{told:?}");
        scene.counted(reason);
        attacker.run("close 0");
        assert!(matches!(scene.ended(), End::PeerDied(_)));
        let held = |resource| scene.listener().quotas().held(resource, Some(uid()));
        eventually("its place is free", || {
            held(Resource::Sessions) == most - 1 && (most > 1 || held(Resource::Bytes) == 0)
        });
        session(&scene, &mut attacker);
        drop(attacker);
        scene.finish();
    }
}

#[test]
fn attack_07_a_flood_while_descriptors_are_wanting_is_waited_out_without_spinning() {
    use rustix::process::{Resource as Limit, Rlimit, getrlimit, setrlimit};
    const CROWD: u64 = 20;
    let Some(mut scene) = Scene::with(name!(), patient, ECHO) else { return };
    let mut attacker = scene.attacker();
    let before = getrlimit(Limit::Nofile);
    setrlimit(Limit::Nofile, Rlimit { current: Some(256), ..before }).expect("a limit");
    let mut used = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        used.push(file);
    }
    let began = Instant::now();
    attacker.flood(&scene.path(), CROWD);
    eventually("five accepts have failed", || scene.news().of(Reason::Ours) >= 5);
    // Between them lie pauses of 10, 20, 40 and 80 ms at least.
    assert!(began.elapsed() >= Duration::from_millis(150), "it spins");
    drop(used);
    setrlimit(Limit::Nofile, before).expect("the limit it had");
    let quotas = scene.listener().quotas();
    eventually("it takes them all up", || quotas.held(Resource::Handshakes, None) == CROWD);
    scene.counted_times(Reason::Ours, scene.news().of(Reason::Ours));
    attacker.run("disperse");
    scene.counted_times(Reason::Gone, CROWD);
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_08_a_server_that_accepts_nobody_is_tried_until_the_deadline_or_until_it_does() {
    let Some(scene) = Scene::of_clients(name!()) else { return };
    let mut attacker = scene.attacker();
    let path = scene.attackers_directory().join("s").display().to_string();
    attacker.run(format!("bind {path} backlog=0"));
    attacker.run(format!("connect {path}")); // it is full of the attacker itself
    let short = trusting().timeout(Duration::from_millis(200));
    match Victim::with(short, path.clone()).error() {
        ConnectError::Connect(cause::ConnectError::Unreachable(problem)) => {
            assert!(matches!(problem, cause::ConnectProblem::TimedOut { .. }), "{problem}");
            assert!(problem.to_string().contains("does not accept connections"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
    let victim = Victim::connect(&path);
    attacker.run("accept"); // its own
    attacker.run("accept");
    attacker.run("server until=ready");
    drop(victim.session());
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_09_a_crowd_that_says_nothing_keeps_out_its_own_newest_and_nobody_else() {
    const CROWD: u64 = 200;
    let Some(mut scene) = Scene::with(name!(), patient, ECHO) else { return };
    let share = Limits::default().handshakes_per_uid;
    let mut attacker = scene.attacker();
    attacker.run(format!("connect {}", scene.path())); // the oldest of all
    attacker.flood(&scene.path(), CROWD);
    scene.counted_times(Reason::QuotaHandshakes, 1 + CROWD - share);
    attacker.run(format!("connect {}", scene.path())); // and the newest
    let told = attacker.hung_up_on().expect("a word");
    assert_eq!((told.get("kind"), told.get("code")), ("reject", "5"));
    scene.counted(Reason::QuotaHandshakes);
    if is_stranger() {
        scene.serves_us();
    }
    attacker.run("use 0");
    attacker.run(format!("client until=ready {PROTOCOL}"));
    drop(attacker);
    scene.counted_times(Reason::Gone, share - 1);
    assert!(matches!(scene.ended(), End::PeerDied(_)));
    scene.finish();
}

#[test]
fn attack_09_one_deadline_ends_a_handshake_at_whatever_step_and_pace() {
    const DEADLINE: Duration = Duration::from_secs(3);
    let settings = |builder: ListenerBuilder| builder.handshake_timeout(DEADLINE);
    let Some(mut scene) = Scene::with(name!(), settings, ECHO) else { return };
    let mut attacker = scene.attacker();
    let steps = ["hello", "open", "welcome", "granted", "connect"];
    let mut began = Instant::now();
    for step in steps {
        began = Instant::now();
        attacker.run(format!("connect {}", scene.path()));
        attacker.run(format!("client until={step} {PROTOCOL}"));
    }
    let quotas = scene.listener().quotas();
    eventually("all are under way", || {
        quotas.held(Resource::Handshakes, None) == steps.len() as u64
    });
    // The last speaks when two thirds of its time are over, and gains none by it. What a busy machine took until here is
    // part of them.
    std::thread::sleep((began + DEADLINE * 2 / 3).saturating_duration_since(Instant::now()));
    attacker.run("hello");
    let spoke = Instant::now();
    let last = attacker.hung_up_on().expect("an answer");
    assert_eq!(last.get("kind"), "welcome");
    assert!(spoke.elapsed() < DEADLINE, "each packet has a deadline of its own");
    scene.counted_times(Reason::TimedOut, steps.len() as u64);
    for number in 0..steps.len() - 1 {
        attacker.run(format!("use {number}"));
        attacker.hung_up_on();
    }
    drop(attacker);
    scene.finish();
}

#[test]
fn attack_09_a_byte_at_a_time_is_a_fault_with_the_first() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    let mut attacker = scene.attacker();
    attacker.run(format!("connect {}", scene.path()));
    attacker.run("packet 4d");
    scene.counted(Reason::PacketTruncated);
    assert!(attacker.hung_up_on().is_none());
    drop(attacker);
    scene.finish();
}

/// Ways for an attacker to be there no longer.
const ENDS: [&str; 3] = ["kill", "exit 1", "close"];

fn end(attacker: &mut Attacker, how: &str) {
    match how {
        "kill" => attacker.kill(),
        how => drop(attacker.run(how)),
    }
}

#[test]
fn attack_10_a_client_that_ends_at_any_step_leaves_nothing_behind() {
    let Some(mut scene) = Scene::set(name!()) else { return };
    for how in ENDS {
        for step in ["connect", "hello", "open", "welcome", "granted"] {
            end(&mut scene.attacker_at(step), how);
            scene.counted(Reason::Gone);
        }
        end(&mut scene.attacker_at("ready"), how);
        assert!(matches!(scene.ended(), End::PeerDied(_)), "{how}");
    }
    // Here it has done its part: whether there is a session yet, or an error of `open`, is a race.
    for how in ENDS {
        end(&mut scene.attacker_at("sealed"), how);
    }
    scene.finish();
}

#[test]
fn attack_10_a_server_that_ends_at_any_step_leaves_its_client_an_error() {
    let Some(mut scene) = Scene::of_clients(name!()) else { return };
    for how in ENDS {
        for step in ["accept", "hello", "welcome", "open", "granted", "sealed"] {
            let (mut attacker, victim) = served_up_to(step, &scene);
            end(&mut attacker, how);
            let error = victim.handshake_error();
            assert!(matches!(error, HandshakeError::PeerGone), "{step}, {how}: {error}");
            scene.counted(Reason::Gone);
        }
    }
    // One that listens on, and may end its sessions as it likes.
    let mut attacker = scene.attacker();
    let path = scene.attackers_directory().join("s").display().to_string();
    attacker.run(format!("bind {path}"));
    let mut session = serve(&mut attacker, &path, "ready").session();
    attacker.run("close");
    let ended = session.recv_deadline(crate::support::soon()).map(|_| ());
    assert!(matches!(ended, Err(memring::RecvError::Ended(End::PeerDied(_)))), "{ended:?}");
    drop((session, ended, attacker));
    scene.finish();
}
