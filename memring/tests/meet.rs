//! Strangers meet: who is let in, who is turned away and told why, and who is kept waiting by nobody.

mod support;

use std::io;
use std::time::{Duration, Instant};

use memring::{
    AcceptFailed, Address, BindError, Bytes, ConnectError, Connector, End, HandshakeError, Lanes,
    Limits, Listener, Policy, RecvError, Resource,
};
use support::strangers::{answer, chain, client, start_client};
use support::{Forked, Held, Helper, Scratch, Stage, alone, eventually, play, soon};

#[test]
fn role() {
    play(&[("client", client), ("server", server), ("crowd", crowd), ("late server", late_server)]);
}

/// A thousand clients in one process, all there at once.
fn crowd(stage: &Stage) {
    let mut clients = Vec::new();
    for _ in 0..stage.number("count") {
        let small = Connector::new().lanes(Lanes::Bytes(4096), Lanes::Bytes(4096));
        let client = small.timeout(support::PATIENCE).connect::<Bytes>(stage.path());
        clients.push(client.expect("connects"));
    }
    stage.say("all here");
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&number.to_le_bytes()).expect("sends");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(*client.recv_deadline(soon()).expect("an answer"), number.to_le_bytes());
    }
    stage.say("all answered");
    stage.linger();
}

/// Listens, and answers whoever comes.
fn server(stage: &Stage) {
    let listener = match Listener::bind(stage.path()) {
        Ok(listener) => listener,
        Err(error) => return stage.say(chain(&error)),
    };
    stage.say("listening");
    serve(&listener);
}

/// Listens once it is told to.
fn late_server(stage: &Stage) {
    stage.say("here");
    stage.hear();
    serve(&Listener::bind(stage.path()).expect("binds"));
}

fn serve(listener: &Listener) {
    while let Ok(incoming) = listener.accept() {
        if let Ok(mut channel) = incoming.open::<Bytes>() {
            std::thread::spawn(move || {
                while let Ok(message) = channel.recv().map(|view| view.to_vec()) {
                    if channel.send(&message).is_err() {
                        return;
                    }
                }
            });
        }
    }
}

#[test]
fn two_hundred_clients_in_turn_leave_nothing_behind() {
    if !alone("two_hundred_clients_in_turn_leave_nothing_behind") {
        return;
    }
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let path = scratch.socket();
    let one = || {
        let mut helper = start_client(&path);
        let incoming = listener.accept_deadline(soon()).expect("accepts");
        let mut channel = incoming.open::<Bytes>().expect("opens");
        let message = channel.recv_deadline(soon()).expect("a message").to_vec();
        channel.send(&message).expect("sends");
        helper.expect("answered");
        helper.finish();
        let end = channel.recv_deadline(soon()).map(|_| ());
        assert!(matches!(end, Err(RecvError::Ended(End::Closed))), "{end:?}");
    };
    // What is started on first need is there after the first.
    one();
    one();
    let held = Held::settled();
    (0..100).for_each(|_| one());
    held.eventually_again();
    let maps = support::maps();
    (0..100).for_each(|_| one());
    held.eventually_again();
    // The allocator and the cache of stacks keep what they like, but not a piece for each client.
    eventually("the memory map is about as it was", || support::maps() <= maps + 20);
    drop(listener);
    assert_eq!(scratch.files(), [""; 0], "nothing is left in the file system");
}

#[test]
fn a_thousand_clients_at_once_are_served_and_leave_nothing_behind() {
    if !alone("a_thousand_clients_at_once_are_served_and_leave_nothing_behind") {
        return;
    }
    const COUNT: usize = 1000;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is live and whole.
    #[allow(unsafe_code)]
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max.min(4 * COUNT as u64);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    };
    if raised != 0 || limit.rlim_cur < 3 * COUNT as u64 {
        println!("skipped: RLIMIT_NOFILE does not allow a thousand sessions");
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.socket();
    let mut limits = Limits::default();
    limits.sessions_per_uid = COUNT as u64;
    let listener = Listener::builder().limits(limits).bind(&path).expect("binds");
    drop(memring::pair::<Bytes>().expect("a pair")); // what a process needs once
    let held = Held::settled();
    let shown = path.display();
    let helper = Helper::start("crowd", &[("path", &shown), ("count", &COUNT)]);
    let mut channels = Vec::new();
    for _ in 0..COUNT {
        let incoming = listener.accept_deadline(soon()).expect("accepts");
        channels.push(incoming.open::<Bytes>().expect("opens"));
    }
    helper.expect("all here");
    for channel in &mut channels {
        let message = channel.recv_deadline(soon()).expect("a message").to_vec();
        channel.send(&message).expect("sends");
    }
    helper.expect("all answered");
    assert_eq!(Held::now().segments, 4 * COUNT, "two segments, each mapped twice over");
    helper.kill();
    for channel in &mut channels {
        let end = channel.recv_deadline(soon()).map(|_| ());
        assert!(matches!(end, Err(RecvError::Ended(End::PeerDied(_)))), "{end:?}");
    }
    drop((channels, helper));
    held.eventually_again();
}

#[test]
fn who_waits_for_a_service_is_there_when_it_starts() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let absent = memring::connect::<Bytes>(&path).expect_err("nobody is there");
    assert!(chain(&absent).contains("start the service"), "{absent}");
    assert_eq!(io::Error::from(absent).kind(), io::ErrorKind::NotFound);

    let short = Duration::from_millis(50);
    let absent = memring::connect_timeout::<Bytes>(&path, short).expect_err("nobody came");
    assert_eq!(io::Error::from(absent).kind(), io::ErrorKind::TimedOut);

    let mut helper = Helper::start("late server", &[("path", &path.display())]);
    helper.expect("here");
    let waiting = std::thread::spawn(move || {
        let mut channel = memring::connect_timeout::<Bytes>(&path, support::PATIENCE)?;
        channel.send_deadline(b"hello", soon()).expect("sends");
        assert_eq!(&*channel.recv_deadline(soon()).expect("an answer"), b"hello");
        Ok::<(), ConnectError>(())
    });
    helper.tell("now");
    waiting.join().unwrap().expect("connects");
}

#[test]
fn attack_04_a_killed_server_s_files_are_taken_over_by_the_next() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    for _ in 0..3 {
        let helper = Helper::start("server", &[("path", &path.display())]);
        helper.expect("listening");
        let mut client = start_client(&path);
        client.expect("answered");
        client.finish();
        helper.kill();
        assert!(path.exists(), "killed: it could not remove the socket");
        let refused = memring::connect::<Bytes>(&path).expect_err("nobody listens");
        assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::ConnectionRefused);
    }
    drop(Listener::bind(&path).expect("takes over"));
    assert_eq!(scratch.files(), [""; 0], "one that ends in order leaves nothing");
}

#[test]
fn attack_04_of_two_servers_the_second_is_told() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let first = Helper::start("server", &[("path", &path.display())]);
    first.expect("listening");
    let error = Listener::bind(&path).expect_err("in use");
    let text = chain(&error);
    assert!(text.contains("in use") && text.contains(&first.pid().to_string()), "{text}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::AddrInUse);
    let second = Helper::start("server", &[("path", &path.display())]);
    assert!(second.hear().contains("in use"));
    // The first is none the worse.
    let mut client = start_client(&path);
    client.expect("answered");
    client.finish();

    // Many at once: one wins.
    let scratch = Scratch::new();
    let path = scratch.socket();
    let many: Vec<Helper> =
        (0..6).map(|_| Helper::start("server", &[("path", &path.display())])).collect();
    let said: Vec<String> = many.iter().map(Helper::hear).collect();
    assert_eq!(said.iter().filter(|line| *line == "listening").count(), 1, "{said:?}");
    assert!(said.iter().all(|line| line == "listening" || line.contains("in use")), "{said:?}");
}

#[test]
fn attack_01_a_taken_abstract_name_is_an_error() {
    let name = format!("memring-facade-{}", std::process::id());
    let address = Address::abstract_name(&name).expect("a name");
    let listener = Listener::bind(&address).expect("binds");
    let error = Listener::bind(&address).expect_err("taken");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::AddrInUse);
    let connecting = std::thread::spawn(move || {
        let mut channel = memring::connect::<Bytes>(&address).expect("connects");
        channel.send(b"by an abstract name").expect("sends");
        channel.recv_deadline(soon()).expect("an answer");
    });
    answer(&listener);
    connecting.join().unwrap();
    // A string never means one.
    let error = memring::connect::<Bytes>(&*format!("@{name}")).expect_err("not asked for");
    assert!(chain(&error).contains("abstract"), "{error}");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn attack_02_a_shared_directory_is_refused_unless_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Listener::bind(scratch.socket()).expect_err("others can write there");
    assert!(matches!(error, BindError::Listen(_)), "{error}");
    assert!(chain(&error).contains("0700"), "{error}");
    let listener =
        Listener::builder().allow_shared_directory().bind(scratch.socket()).expect("binds");
    let mut client = start_client(&scratch.socket());
    answer(&listener);
    client.expect("answered");
    client.finish();
}

#[test]
fn attack_05_a_policy_turns_processes_away_and_they_learn_that_it_did() {
    let scratch = Scratch::new();
    let ours = std::process::id();
    let listener = Listener::builder()
        .policy(Policy::same_uid().check(move |peer| peer.pid() == Some(ours)))
        .bind(scratch.socket())
        .expect("binds");
    let mut helper = start_client(&scratch.socket());
    let refused = std::thread::spawn(move || {
        let said = helper.hear();
        helper.finish();
        said
    });
    eventually("it was turned away", || {
        let short = Instant::now() + Duration::from_millis(10);
        assert!(listener.accept_deadline(short).is_err());
        refused.is_finished()
    });
    let said = refused.join().unwrap();
    assert!(said.contains("does not admit your process"), "{said}");
    assert_eq!(listener.turned().denied, 1);
    // This process passes the check.
    let path = scratch.socket();
    let connecting = std::thread::spawn(move || {
        let mut channel = memring::connect::<Bytes>(&path).expect("connects");
        channel.send(b"me").expect("sends");
        channel.recv_deadline(soon()).expect("an answer");
    });
    answer(&listener);
    connecting.join().unwrap();
}

#[test]
fn attack_05_another_user_is_kept_out_or_let_in_by_the_policy() {
    // SAFETY: no memory is involved.
    #[allow(unsafe_code)]
    if unsafe { libc::geteuid() } != 0 {
        println!("skipped: only root can start another user's process");
        return;
    }
    const OTHER: u32 = 54_321;
    for (policy, let_in) in [
        (Policy::same_uid(), false),
        (Policy::same_uid().allow_uid(OTHER + 1), false),
        (Policy::same_uid().allow_uid(OTHER), true),
        (Policy::nobody().allow_gid(OTHER), true),
        (Policy::any_uid(), true),
        (Policy::any_uid().check(|peer| peer.uid() == Some(0)), false),
    ] {
        let scratch = Scratch::new();
        let path = scratch.socket();
        let shown = format!("{policy:?}");
        let listener = Listener::builder().mode(0o666).policy(policy).bind(&path).expect("binds");
        let mut helper = Helper::start_as(OTHER, &scratch, "client", &[("path", &path.display())]);
        if let_in {
            let incoming = listener.accept_deadline(soon()).expect("accepts");
            assert_eq!(incoming.peer().uid(), Some(OTHER));
            let mut channel = incoming.open::<Bytes>().expect("opens");
            let message = channel.recv_deadline(soon()).expect("a message").to_vec();
            channel.send(&message).expect("sends");
            helper.expect("answered");
        } else {
            eventually("it is turned away", || {
                let short = Instant::now() + Duration::from_millis(10);
                assert!(listener.accept_deadline(short).is_err());
                listener.turned().denied == 1
            });
            let said = helper.hear();
            assert!(said.contains("does not admit your process"), "{shown}: {said}");
        }
        helper.finish();
    }
}

#[test]
fn attack_01_a_client_checks_who_the_server_is_before_it_says_anything() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let refused = Connector::new()
        .policy(Policy::same_uid().check(|_| false))
        .metadata(b"a secret")
        .connect::<Bytes>(scratch.socket())
        .expect_err("not the right server");
    assert!(
        matches!(
            refused,
            ConnectError::Connect(memring_transport::ConnectError::Handshake(
                HandshakeError::Denied(_)
            ))
        ),
        "{refused:?}"
    );
    assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::PermissionDenied);
    eventually("its handshake ends before it began", || {
        let short = Instant::now() + Duration::from_millis(10);
        assert!(listener.accept_deadline(short).is_err());
        listener.turned().unfinished == 1
    });
}

#[test]
fn a_refusal_s_words_reach_the_client() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    for (why, expected) in [
        ("come back on Monday".to_owned(), "come back on Monday"),
        ("x".repeat(10_000), "xxxxxxxxxx"),
        (String::new(), "turned down"),
    ] {
        let mut helper = start_client(&scratch.socket());
        listener.accept_deadline(soon()).expect("accepts").refuse(&why);
        let said = helper.hear();
        assert!(said.contains(expected), "{said}");
        assert!(said.len() < 1000, "at most 512 bytes of it");
        helper.finish();
    }
    // Dropped without a word: the connection closes.
    let mut helper = start_client(&scratch.socket());
    drop(listener.accept_deadline(soon()).expect("accepts"));
    assert!(helper.hear().contains("closed the connection"));
    helper.finish();
}

/// A client that this listener turns away, and what it is told.
fn turned_away(listener: &Listener, path: &std::path::Path) -> String {
    let path = path.to_owned();
    let connecting = std::thread::spawn(move || {
        let small = Connector::new().lanes(Lanes::Small, Lanes::Small);
        small.timeout(support::PATIENCE).connect::<Bytes>(&path).map(drop)
    });
    eventually("the client is turned away", || {
        let short = Instant::now() + Duration::from_millis(10);
        assert!(listener.accept_deadline(short).is_err(), "nobody is let in");
        connecting.is_finished()
    });
    chain(&connecting.join().unwrap().expect_err("no session"))
}

#[test]
fn attack_06_each_limit_refuses_one_more_with_the_reason() {
    type Case = (fn(&mut Limits), &'static str);
    let cases: [Case; 7] = [
        (|limits| limits.handshakes_per_uid = 0, "0 of at most 0 handshakes"),
        (|limits| limits.pending_per_uid = 0, "0 of at most 0 channels to be decided on"),
        (|limits| limits.sessions = 0, "0 of at most 0 sessions"),
        (|limits| limits.bytes_per_uid = 30_000, "20480 of at most 30000 bytes of segments"),
        (|limits| limits.descriptors_per_uid = 7, "5 of at most 7 descriptors"),
        (|limits| limits.descriptors = 4, "0 of at most 4 descriptors"),
        (|limits| limits.blob_bytes_per_uid = 999, "0 of at most 999 bytes of blobs"),
    ];
    for (limit, said) in cases {
        let scratch = Scratch::new();
        let mut limits = Limits::default();
        limit(&mut limits);
        let builder = Listener::builder().blobs(1, 1000).limits(limits);
        let listener = builder.bind(scratch.socket()).expect("binds");
        let text = turned_away(&listener, &scratch.socket());
        assert!(text.contains(said), "{said}: {text}");
        assert_eq!(listener.turned().over_quota, 1, "{said}");
        for resource in [Resource::Handshakes, Resource::Sessions, Resource::Descriptors] {
            eventually("nothing is held", || listener.quotas().held(resource, None) == 0);
        }
    }
}

#[test]
fn attack_09_a_peer_that_nobody_decides_on_is_told_so_and_let_go() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener = Listener::builder().decision_timeout(Duration::ZERO).bind(&path).expect("binds");
    let text = turned_away(&listener, &path);
    assert!(text.contains("took too long to decide"), "{text}");
    assert_eq!(listener.turned().unfinished, 1);
}

#[test]
fn attack_06_sessions_beyond_a_uid_s_share_are_refused_with_the_reason() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let mut limits = Limits::default();
    limits.sessions_per_uid = 3;
    let listener = Listener::builder().limits(limits).bind(&path).expect("binds");
    let connect = |path: std::path::PathBuf| {
        std::thread::spawn(move || {
            Connector::new()
                .lanes(Lanes::Small, Lanes::Small)
                .timeout(support::PATIENCE)
                .connect::<Bytes>(&path)
        })
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        let connecting = connect(path.clone());
        let server = listener.accept_deadline(soon()).expect("accepts").open::<Bytes>();
        held.push((server.expect("opens"), connecting.join().unwrap().expect("connects")));
    }
    let connecting = connect(path.clone());
    eventually("the fourth is turned away", || {
        let short = Instant::now() + Duration::from_millis(10);
        assert!(listener.accept_deadline(short).is_err());
        connecting.is_finished()
    });
    let text = chain(&connecting.join().unwrap().expect_err("one too many"));
    assert!(text.contains("3 of at most 3 sessions"), "{text}");
    assert_eq!(listener.turned().over_quota, 1);
    // Those that are there go on, and one that leaves makes room.
    for (server, client) in &mut held {
        server.send(b"still").expect("sends");
        assert_eq!(&*client.recv_deadline(soon()).unwrap(), b"still");
    }
    held.pop();
    let give_up = soon();
    loop {
        let connecting = connect(path.clone());
        let until = Instant::now() + Duration::from_millis(200);
        match listener.accept_deadline(until) {
            Ok(incoming) => {
                incoming.open::<Bytes>().expect("opens");
                connecting.join().unwrap().expect("connects");
                break;
            }
            Err(_) => assert!(Instant::now() < give_up, "no room again"),
        }
    }
}

#[test]
fn accepting_ends_by_a_deadline_or_from_another_thread() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let error = listener
        .accept_deadline(Instant::now() + Duration::from_millis(10))
        .expect_err("nobody came");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let listener = &listener;
        let accepting = scope.spawn(move || {
            tell.send(support::tid()).unwrap();
            assert!(listener.incoming().next().is_none());
            listener.accept().map(|_| ())
        });
        support::eventually_asleep(told.recv().unwrap());
        listener.shut_down();
        let error: AcceptFailed = accepting.join().unwrap().expect_err("shut down");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::NotConnected);
    });
    assert!(listener.accept().is_err(), "and stays so");
}

#[test]
fn attack_78_a_listener_in_a_forked_child_is_the_parents() {
    if !alone("attack_78_a_listener_in_a_forked_child_is_the_parents") {
        return;
    }
    let scratch = Scratch::new();
    let mut listener = Some(Listener::bind(scratch.socket()).expect("binds"));
    let child = Forked::start(|| {
        let listener = listener.take().expect("the child's copy");
        let error = listener.accept().expect_err("the parent's");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::Unsupported);
        listener.shut_down(); // does nothing
        drop(listener);
    });
    assert!(child.wait());
    let mut client = start_client(&scratch.socket());
    answer(&listener.expect("still here"));
    client.expect("answered");
    client.finish();
}
