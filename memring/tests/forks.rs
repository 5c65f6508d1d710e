//! What becomes of sessions in processes that fork or exec, and that neither disturbs whoever goes on.

#![allow(unsafe_code)] // A closure between fork and exec.

mod support;

use std::io;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use memring::{
    AcceptError, Bytes, Channel, Connector, End, Listener, Receiver, RecvError, Resource,
    SendError, Sender, TryRecvError, TrySendError, Wait,
};
use support::children::{child, spawn};
use support::{Forked, Helper, Scratch, Stage, alone, eventually, play, soon};

#[test]
fn role() {
    play(&[("child", child), ("exec", exec), ("list", list)]);
}

/// Has a session, and execs another program.
fn exec(stage: &Stage) {
    let mut channel = memring::inherited::<Bytes>().expect("a parent");
    channel.send(b"before").expect("sends");
    assert_eq!(&*channel.recv().expect("an answer"), b"before");
    stage.say("ready");
    stage.hear();
    let error = support::role_command("list", &[]).exec();
    panic!("exec: {error}");
}

/// Says which descriptors it has, beside the three that everybody has.
fn list(stage: &Stage) {
    let mut fds: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .expect("/proc")
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let number: i32 = path.file_name()?.to_str()?.parse().ok()?;
            let target = std::fs::read_link(&path).ok()?;
            (number > 2).then(|| format!("{number} {}", target.display()))
        })
        .filter(|shown| !shown.contains("/proc/")) // the listing itself
        .collect();
    fds.sort();
    stage.say(fds.join(", "));
    stage.linger();
}

/// The first descriptor in a list that can be of ours; libtest's own pipes may leak from tests beside this one.
fn ours_among(list: &str) -> Option<&str> {
    let kinds = ["socket:", "memfd:", "pidfd", "eventpoll", "eventfd", "inotify"];
    list.split(", ").find(|shown| kinds.iter().any(|kind| shown.contains(kind)))
}

#[test]
fn attack_35_what_a_peer_execs_or_we_start_inherits_no_descriptor() {
    // A program started beside sessions of every kind.
    let (_server, _client) = memring::pair::<Bytes>().expect("a pair");
    let scratch = support::Scratch::new();
    let _listener = memring::Listener::bind(scratch.socket()).expect("binds");
    let (_child, _channel) = spawn("child").expect("a child");
    let helper = Helper::start("list", &[]);
    let ours = helper.hear();
    assert!(ours_among(&ours).is_none(), "{ours}");

    // A program that a peer becomes.
    let (mut helper, mut channel) = spawn("exec").expect("a child");
    assert_eq!(&*channel.recv_deadline(soon()).unwrap(), b"before");
    channel.send(b"before").expect("sends");
    helper.expect("ready");
    helper.tell("exec");
    let theirs = helper.hear();
    assert!(ours_among(&theirs).is_none(), "{theirs}");
    // Its process lives; the session does not: the other end of the socket is closed.
    match channel.recv_deadline(soon()).map(|_| ()) {
        Err(RecvError::Ended(End::PeerDied(_))) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_child_that_has_no_room_for_a_blob_takes_none_from_its_parent() {
    use memring::blob::{Blob, BlobBuilder};
    #[memring::message(attachments)]
    struct Image {
        pixels: Blob<[u8]>,
    }
    struct Images;
    impl memring::Protocol for Images {
        const NAME: &'static str = "images";
        type ToClient = Image;
        type ToServer = [u8];
    }
    if !alone("a_child_that_has_no_room_for_a_blob_takes_none_from_its_parent") {
        return;
    }
    let (mut server, mut client) =
        Connector::new().blobs(1, 1 << 20).pair::<Images>().expect("a pair");
    let image = || {
        let pixels = BlobBuilder::new().with_size(9).expect("memory").seal().expect("sealed");
        Image { pixels }
    };
    let (first, second) = (image(), image());
    server.send(&first).expect("sends");
    drop(client.recv_deadline(soon()).expect("an image"));
    let mut halves = Some(server);
    let forked = Forked::start(|| {
        let mut server = halves.take().expect("the child's copy");
        match server.send_deadline(&second, soon()) {
            Err(SendError::Ended(End::Forked)) => {}
            other => panic!("{other:?}"),
        }
    });
    assert!(forked.wait(), "the forked child");
    let mut server = halves.expect("the parent's");
    server.send(&first).expect("sends");
    let image = client.recv_deadline(soon()).expect("the peer still knows it");
    assert_eq!(image.blob(&image.pixels).expect("bytes").len(), 9);
}

/// Every call of both halves, of what they lend and of their session, in a process that they do not belong to.
fn every_use_is_an_error(mut tx: Sender<[u8]>, mut rx: Receiver<[u8]>) {
    let session = tx.session().clone();
    let large = vec![0; 500_000];
    let pushed = tx.batch().push(b"x");
    let pushed_by_then = tx.batch().push_deadline(b"x", soon());
    let sent = [
        pushed,
        pushed_by_then,
        tx.send(b"x"),
        tx.send(&large),
        tx.send_deadline(b"x", soon()),
        tx.send_vectored(&[]),
        tx.send_vectored_deadline(&[], soon()),
        tx.claim(1).map(|_| ()),
        tx.claim_deadline(1, soon()).map(|_| ()),
    ];
    for (at, sent) in sent.iter().enumerate() {
        assert!(matches!(sent, Err(SendError::Ended(End::Forked))), "{at}: {sent:?}");
    }
    let pushed = tx.batch().try_push(b"x");
    let sent = [pushed, tx.try_send(b"x"), tx.try_claim(1).map(|_| ())];
    for (at, sent) in sent.iter().enumerate() {
        assert!(matches!(sent, Err(TrySendError::Ended(End::Forked))), "{at}: {sent:?}");
    }
    tx.batch().flush();
    assert!(matches!(tx.end(), Some(End::Forked)));
    let received = [
        rx.recv().map(|_| ()),
        rx.recv_deadline(soon()).map(|_| ()),
        rx.recv_owned().map(|_| ()),
        rx.recv_owned_deadline(soon()).map(|_| ()),
        rx.iter().next().expect("the error is the last item").map(|_| ()),
        (&mut rx).into_iter().next().expect("the error is the last item").map(|_| ()),
    ];
    for (at, received) in received.iter().enumerate() {
        assert!(matches!(received, Err(RecvError::Ended(End::Forked))), "{at}: {received:?}");
    }
    let received = [rx.try_recv().map(|_| ()), rx.try_recv_owned().map(|_| ())];
    for (at, received) in received.iter().enumerate() {
        assert!(matches!(received, Err(TryRecvError::Ended(End::Forked))), "{at}: {received:?}");
    }
    rx.release();
    tx.set_wait_strategy(Wait::Spin);
    rx.set_wait_strategy(Wait::Spin);
    session.close();
    session.before_sandbox();
    // What was known before is known still.
    let _ = (tx.peer().pid(), rx.peer().pid(), tx.largest_message(), rx.wait_strategy());
    let _ = (tx.stats(), rx.stats(), tx.lane_bytes(), rx.lane_bytes(), session.negotiated());
    let _ = format!("{tx:?} {rx:?} {session:?}");
    drop((tx, session));
    let last = rx.into_iter().next().expect("the error is the last item").map(|_| ());
    assert!(matches!(last, Err(RecvError::Ended(End::Forked))), "{last:?}");
}

/// [`every_use_is_an_error`], before the halves are parted.
fn every_use_of_a_channel_is_an_error(mut channel: Channel<[u8], [u8]>) {
    let sent = [
        channel.send(b"x"),
        channel.send_deadline(b"x", soon()),
        channel.send_vectored(&[]),
        channel.claim(1).map(|_| ()),
    ];
    for (at, sent) in sent.iter().enumerate() {
        assert!(matches!(sent, Err(SendError::Ended(End::Forked))), "{at}: {sent:?}");
    }
    assert!(matches!(channel.batch().push(b"x"), Err(SendError::Ended(End::Forked))));
    assert!(matches!(channel.try_send(b"x"), Err(TrySendError::Ended(End::Forked))));
    let received = [channel.recv().map(|_| ()), channel.recv_deadline(soon()).map(|_| ())];
    for (at, received) in received.iter().enumerate() {
        assert!(matches!(received, Err(RecvError::Ended(End::Forked))), "{at}: {received:?}");
    }
    assert!(matches!(channel.try_recv(), Err(TryRecvError::Ended(End::Forked))));
    let _ = format!("{channel:?} {:?} {:?}", channel.peer(), channel.peer_metadata());
    let (tx, rx) = channel.split();
    every_use_is_an_error(tx, rx);
}

/// A session of this process's own.
fn a_pair_talks() {
    let (mut server, mut client) = memring::pair::<Bytes>().expect("a pair");
    server.send(b"anew").expect("sends");
    assert_eq!(&*client.recv_deadline(soon()).unwrap(), b"anew");
    client.send(b"too").expect("sends");
    assert_eq!(&*server.recv_deadline(soon()).unwrap(), b"too");
}

#[test]
fn attack_78_in_a_forked_child_every_use_is_an_error_and_every_drop_is_harmless() {
    if !alone("attack_78_in_a_forked_child_every_use_is_an_error_and_every_drop_is_harmless") {
        return;
    }
    let (mut helper, mut channel) = spawn("child").expect("a child");
    channel.send(b"before").expect("sends");
    assert_eq!(&*channel.recv_deadline(soon()).unwrap(), b"before");
    let (mut tx, rx) = channel.split();
    let mut batch = tx.batch();
    batch.push(b"in a batch, when it forks").expect("pushes");
    std::mem::forget(batch); // open in the parent, at the time of the fork
    let mut halves = Some((tx, rx));
    let forked = Forked::start(|| {
        let (tx, rx) = halves.take().expect("the child's copy");
        every_use_is_an_error(tx, rx);
        a_pair_talks();
    });
    assert!(forked.wait(), "the forked child");
    let (mut tx, mut rx) = halves.expect("the parent's");
    tx.send(b"after").expect("sends");
    assert_eq!(&*rx.recv_deadline(soon()).unwrap(), b"in a batch, when it forks");
    assert_eq!(&*rx.recv_deadline(soon()).unwrap(), b"after");
    drop((tx, rx));
    helper.expect("the peer closed the channel");
    helper.finish();
}

#[test]
fn attack_78_a_grandchild_is_as_strange_as_a_child() {
    if !alone("attack_78_a_grandchild_is_as_strange_as_a_child") {
        return;
    }
    let (mut helper, channel) = spawn("child").expect("a child");
    let mut channel = Some(channel);
    let forked = Forked::start(|| {
        // With a session of its own, which is the grandchild's as little.
        let (server, client) = memring::pair::<Bytes>().expect("a pair");
        let mut ends = Some((server, client));
        let forked = Forked::start(|| {
            every_use_of_a_channel_is_an_error(channel.take().expect("the grandchild's copy"));
            let (server, client) = ends.take().expect("the grandchild's copy");
            every_use_of_a_channel_is_an_error(server);
            every_use_of_a_channel_is_an_error(client);
            a_pair_talks();
        });
        assert!(forked.wait(), "the grandchild");
        let (mut server, mut client) = ends.expect("the child's");
        server.send(b"after").expect("sends");
        assert_eq!(&*client.recv_deadline(soon()).unwrap(), b"after");
        every_use_of_a_channel_is_an_error(channel.take().expect("the child's copy"));
    });
    assert!(forked.wait(), "the forked child");
    let mut channel = channel.expect("the parent's");
    channel.send(b"after").expect("sends");
    assert_eq!(&*channel.recv_deadline(soon()).unwrap(), b"after");
    drop(channel);
    helper.expect("the peer closed the channel");
    helper.finish();
}

#[test]
fn attack_78_listeners_and_offers_and_messages_kept_are_harmless_in_a_child() {
    if !alone("attack_78_listeners_and_offers_and_messages_kept_are_harmless_in_a_child") {
        return;
    }
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let client = {
        let path = scratch.socket();
        std::thread::spawn(move || {
            let mut channel = Connector::new()
                .timeout(support::PATIENCE)
                .connect::<Bytes>(path)
                .expect("connects");
            channel.send(b"kept").expect("sends");
            let end = channel.recv_deadline(soon()).map(|_| ());
            assert!(matches!(end, Err(RecvError::Ended(End::Closed))), "{end:?}");
        })
    };
    let offer = listener.accept_deadline(soon()).expect("accepts");
    let mut inherited = Some((listener, offer));
    for how in ["opened", "refused", "dropped"] {
        let forked = Forked::start(|| {
            let (listener, offer) = inherited.take().expect("the child's copy");
            for _ in 0..2 {
                let errors = [listener.accept(), listener.accept_deadline(soon())];
                for error in errors {
                    let error = error.expect_err("not the child's").0;
                    assert!(matches!(error, AcceptError::Forked), "{error:?}");
                }
                listener.shut_down();
            }
            let first = listener.incoming().next().expect("the error is the last item");
            assert!(first.is_err());
            let _ = (listener.turned(), listener.address(), offer.peer(), offer.name());
            match how {
                "opened" => {
                    let error = offer.open::<Bytes>().expect_err("not the child's");
                    assert!(support::strangers::chain(&error).contains("fork"), "{error}");
                }
                "refused" => offer.refuse("not mine to refuse"),
                _ => drop(offer),
            }
            drop(listener);
        });
        assert!(forked.wait(), "{how}");
    }
    let (listener, offer) = inherited.expect("the parent's");
    assert!(scratch.socket().exists(), "the parent's socket");
    let mut channel = offer.open::<Bytes>().expect("opens");
    let kept = channel.halves().1.recv_owned_deadline(soon()).expect("a message");
    let forked = Forked::start(|| assert_eq!(&*kept, b"kept")); // private memory is copied
    assert!(forked.wait());
    assert_eq!(&*kept, b"kept");
    drop((kept, channel));
    client.join().unwrap();
    // And it still listens.
    let path = scratch.socket();
    let client = std::thread::spawn(move || memring::connect::<Bytes>(path).map(|_| ()));
    listener.accept_deadline(soon()).expect("accepts").open::<Bytes>().expect("opens");
    client.join().unwrap().expect("connects");
}

/// Makes and ends sessions of every kind in threads of this process while `body` runs.
fn beside_sessions_that_come_and_go(body: impl FnOnce(&Listener)) {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let done = AtomicBool::new(false);
    let made = AtomicU32::new(0);
    let until_done = |work: &dyn Fn()| {
        while !done.load(Ordering::Relaxed) {
            work();
            made.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| until_done(&a_pair_talks));
        scope.spawn(|| {
            until_done(&|| {
                let connector = Connector::new().timeout(support::PATIENCE);
                drop(connector.connect::<Bytes>(scratch.socket()).expect("connects"));
            });
            listener.shut_down();
        });
        scope.spawn(|| {
            for incoming in listener.incoming() {
                match incoming {
                    Ok(incoming) => drop(incoming.open::<Bytes>()),
                    Err(error) => {
                        assert!(matches!(error.0, AcceptError::ShutDown), "{error}");
                        break;
                    }
                }
            }
        });
        scope.spawn(|| {
            until_done(&|| {
                let (mut helper, channel) = spawn("child").expect("a child");
                drop(channel);
                helper.finish();
            });
        });
        // As an application does: std's own lists are as little our child's concern as our locks.
        scope.spawn(|| until_done(&|| std::thread::spawn(|| ()).join().expect("a thread")));
        eventually("sessions come", || made.load(Ordering::Relaxed) > 3);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&listener)));
        done.store(true, Ordering::Relaxed);
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn attack_78_a_child_forked_while_other_threads_hold_our_locks_can_work() {
    if !alone("attack_78_a_child_forked_while_other_threads_hold_our_locks_can_work") {
        return;
    }
    beside_sessions_that_come_and_go(|listener| {
        let scratch = Scratch::new();
        let own = Listener::bind(scratch.socket()).expect("binds");
        let connecting = std::thread::spawn(move || {
            let connector = Connector::new().timeout(support::PATIENCE);
            connector.connect::<Bytes>(scratch.socket()).expect("connects")
        });
        let mut channel = Some(own.accept().expect("accepts").open::<Bytes>().expect("opens"));
        let _client = connecting.join().expect("no panic");
        for _ in 0..50 {
            let forked = Forked::start(|| {
                // What it has of its parent's, accounts included.
                assert_eq!(listener.quotas().held(Resource::Sessions, None), 0);
                drop(channel.take());
                a_pair_talks();
            });
            assert!(forked.wait(), "a child's own session");
        }
        assert_eq!(own.quotas().held(Resource::Sessions, None), 1);
    });
}

#[test]
fn attack_35_a_program_started_while_sessions_begin_inherits_none_of_them() {
    if !alone("attack_35_a_program_started_while_sessions_begin_inherits_none_of_them") {
        return;
    }
    beside_sessions_that_come_and_go(|_| {
        for round in 0..20 {
            let mut command = support::role_command("list", &[]);
            if round % 2 == 0 {
                // With anything to do before the exec this is a fork; without, it is a vfork.
                // SAFETY: nothing is done between fork and exec.
                unsafe { command.pre_exec(|| Ok(())) };
            }
            let inherited = Helper::run(&mut command).hear();
            assert!(ours_among(&inherited).is_none(), "{inherited}");
        }
    });
}

#[test]
fn attack_85_a_forked_child_that_holds_the_socket_hides_no_close() {
    if !alone("attack_85_a_forked_child_that_holds_the_socket_hides_no_close") {
        return;
    }
    let (mut helper, channel) = spawn("child").expect("a child");
    let (reads, mut writes) = io::pipe().expect("a pipe");
    let forked = Forked::start(|| {
        // Holds copies of all descriptors until the parent lets go.
        let mut reads = reads.try_clone().expect("a copy");
        let _ = io::Read::read(&mut reads, &mut [0]);
    });
    drop(channel);
    helper.expect("the peer closed the channel");
    helper.finish();
    io::Write::write_all(&mut writes, b"x").expect("writes");
    assert!(forked.wait());
}

#[test]
fn attack_85_a_worker_forked_before_the_first_session_has_its_own() {
    if !alone("attack_85_a_worker_forked_before_the_first_session_has_its_own") {
        return;
    }
    let work = || {
        let (mut server, client) = memring::pair::<Bytes>().expect("a pair");
        let (mut tx, mut rx) = client.split();
        tx.send(b"ping").expect("sends");
        assert_eq!(&*server.recv_deadline(soon()).unwrap(), b"ping");
        // Its own watcher hears of the close.
        drop(server);
        let end = rx.recv_deadline(soon()).map(|_| ());
        assert!(matches!(end, Err(RecvError::Ended(End::Closed))), "{end:?}");
        eventually("the sends end", || tx.try_send(b"").is_err());
    };
    let early = Forked::start(work);
    work();
    let late = Forked::start(work);
    assert!(early.wait() && late.wait());
}
