//! One side dies, or closes, or stops: the other learns which, and takes everything sent before.

mod support;

use std::fmt::Display;
use std::time::{Duration, Instant};

use memring::{
    Bytes, Channel, Connector, End, Lanes, Listener, RecvError, SendError, TryRecvError,
    TrySendError,
};
use support::{Helper, Scratch, Stage, WAITS, eventually, eventually_asleep, play, soon};

type Ends = Channel<[u8], [u8]>;

#[test]
fn role() {
    play(&[("peer", peer)]);
}

/// The other process, as client or server, doing what `deed` says.
fn peer(stage: &Stage) {
    let mut channel: Ends = match stage.get("side") {
        "client" => Connector::new()
            .wait(stage.wait())
            .lanes(Lanes::Small, Lanes::Small)
            .timeout(support::PATIENCE)
            .connect::<Bytes>(stage.path())
            .expect("connects"),
        _ => {
            let listener =
                Listener::builder().wait(stage.wait()).bind(stage.path()).expect("binds");
            stage.say("listening");
            listener.accept_deadline(soon()).expect("accepts").open::<Bytes>().expect("opens")
        }
    };
    match stage.get("deed") {
        // Sends a few and then does nothing at all.
        "idle" => {
            send_some(&mut channel, 10);
            stage.say("10");
            stage.linger();
        }
        // Sends a few and then waits for an answer.
        "receive" => {
            send_some(&mut channel, 10);
            stage.say("10");
            let _ = channel.recv();
        }
        // Fills the lane, and leaves it so.
        "fill" => {
            let filled = fill(&mut channel);
            stage.say(filled);
            stage.linger();
        }
        // Fills the lane, and waits for room.
        "fill and wait" => {
            let filled = fill(&mut channel);
            stage.say(filled);
            let _ = channel.send(&filled.to_le_bytes());
        }
        // Sends without end, saying now and then how many went for certain.
        "stream" => {
            for number in 0_u64.. {
                channel.send(&number.to_le_bytes()).expect("sends");
                if number % 1000 == 999 {
                    stage.say(number + 1);
                }
            }
        }
        // Receives without end.
        "drink" => {
            stage.say("0");
            for received in 1_u64.. {
                channel.recv().expect("a message");
                if received == 1000 {
                    stage.say(received);
                }
            }
        }
        // Half a large message, for there is no room for the rest.
        "part" => {
            send_some(&mut channel, 10);
            let late = Instant::now() + Duration::from_millis(1);
            let large = vec![1; 1 << 20];
            assert!(matches!(channel.send_deadline(&large, late), Err(SendError::TimedOut)));
            stage.say("10");
            stage.linger();
        }
        // Ends in order.
        "close" => {
            send_some(&mut channel, 10);
            stage.say("10");
            stage.hear();
            drop(channel);
            stage.say("closed");
            stage.linger();
        }
        // Ends in order, with the process.
        "return" => {
            send_some(&mut channel, 10);
            stage.say("10");
        }
        // Ends the process without a word.
        "exit" => {
            send_some(&mut channel, 10);
            stage.say("10");
            std::process::exit(0);
        }
        "abort" => {
            send_some(&mut channel, 10);
            stage.say("10");
            std::process::abort();
        }
        // Unwinds: destructors run, so this is a close.
        "panic" => {
            send_some(&mut channel, 10);
            stage.say("10");
            let moved = channel;
            let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _channel = moved;
                std::panic::resume_unwind(Box::new(()));
            }));
            assert!(unwound.is_err());
            stage.linger();
        }
        // Sends back what comes.
        "echo" => {
            stage.say("0");
            loop {
                let message = channel.recv().expect("a message").to_vec();
                channel.send(&message).expect("sends");
            }
        }
        other => panic!("no such deed: {other}"),
    }
}

fn send_some(channel: &mut Ends, count: u64) {
    for number in 0..count {
        channel.send(&number.to_le_bytes()).expect("sends");
    }
}

/// Fills the lane with numbers; how many went in.
fn fill(channel: &mut Ends) -> u64 {
    for number in 0_u64.. {
        match channel.try_send(&number.to_le_bytes()) {
            Ok(()) => {}
            Err(TrySendError::Full) => return number,
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("the lane is bounded")
}

/// A channel to another process that does `deed`, as `side`.
fn start(side: &str, deed: &str, ours: &str, theirs: &str) -> (Ends, Helper) {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let shown = path.display();
    let arguments: [(&str, &dyn Display); 4] =
        [("path", &shown), ("side", &side), ("deed", &deed), ("wait", &theirs)];
    let ours = support::wait_named(ours);
    if side == "client" {
        let listener = Listener::builder().wait(ours).bind(&path).expect("binds");
        let helper = Helper::start("peer", &arguments);
        let incoming = listener.accept_deadline(soon()).expect("accepts");
        return (incoming.open::<Bytes>().expect("opens"), helper);
    }
    let helper = Helper::start("peer", &arguments);
    helper.expect("listening");
    let channel = Connector::new()
        .wait(ours)
        .lanes(Lanes::Small, Lanes::Small)
        .timeout(support::PATIENCE)
        .connect::<Bytes>(&path)
        .expect("connects");
    (channel, helper)
}

/// Receives numbers in order until the direction ends; how many, and how it ended.
fn drain(channel: &mut Ends, from: u64) -> (u64, End) {
    let mut next = from;
    loop {
        match channel.recv_deadline(soon()) {
            Ok(bytes) => assert_eq!(*bytes, next.to_le_bytes(), "in order, and whole"),
            Err(RecvError::Ended(end)) => return (next, end),
            Err(other) => panic!("after {next}: {other}"),
        }
        next += 1;
    }
}

#[track_caller]
fn assert_died(end: &End, helper: &Helper) {
    match end {
        End::PeerDied(peer) => assert_eq!(peer.pid(), Some(helper.pid())),
        other => panic!("{other:?} instead of PeerDied"),
    }
}

/// Sends until that fails: a sender that has room looks at nothing else before the socket has ended.
fn eventually_unsent(channel: &mut Ends) -> End {
    let mut ended = None;
    eventually("sends fail", || {
        match channel.try_send(b"?") {
            Ok(()) => {}
            Err(TrySendError::Ended(end)) => ended = Some(end),
            Err(other) => panic!("{other}"),
        }
        ended.is_some()
    });
    ended.expect("it has ended")
}

/// Every later call says that the peer died.
#[track_caller]
fn assert_dead_for_good(channel: &mut Ends, helper: &Helper) {
    for _ in 0..2 {
        match channel.send_deadline(b"?", soon()) {
            Err(SendError::Ended(end)) => assert_died(&end, helper),
            other => panic!("{other:?}"),
        }
        match channel.try_send(b"?") {
            Err(TrySendError::Ended(end)) => assert_died(&end, helper),
            other => panic!("{other:?}"),
        }
        match channel.recv_deadline(soon()) {
            Err(RecvError::Ended(end)) => assert_died(&end, helper),
            other => panic!("{other:?}"),
        }
        match channel.try_recv() {
            Err(TryRecvError::Ended(end)) => assert_died(&end, helper),
            other => panic!("{other:?}"),
        }
    }
}

const SIDES: [&str; 2] = ["client", "server"];

#[test]
fn what_was_sent_before_a_kill_is_received_and_then_the_death() {
    for side in SIDES {
        for theirs in WAITS {
            for deed in ["idle", "receive", "fill", "fill and wait", "part"] {
                if theirs != "park" && ["idle", "fill"].contains(&deed) {
                    continue; // these do not wait
                }
                let (mut channel, helper) = start(side, deed, "adaptive", theirs);
                let sent: u64 = helper.hear().parse().expect("a number");
                if theirs == "park" {
                    support::eventually_all_asleep(helper.pid());
                }
                helper.kill();
                let (received, end) = drain(&mut channel, 0);
                assert_eq!(received, sent, "{side} {deed} {theirs}");
                assert_died(&end, &helper);
                assert_dead_for_good(&mut channel, &helper);
            }
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_sending_leaves_no_half_message() {
    for side in SIDES {
        for (ours, theirs) in [("spin", "adaptive"), ("adaptive", "spin"), ("park", "park")] {
            let (mut channel, helper) = start(side, "stream", ours, theirs);
            for number in 0..5000_u64 {
                let bytes = channel.recv_deadline(soon()).expect("a number");
                assert_eq!(*bytes, number.to_le_bytes());
            }
            helper.signal(libc::SIGKILL);
            let (received, end) = drain(&mut channel, 5000);
            assert_died(&end, &helper);
            eventually("the helper's pipe ends", || {
                // What it had sent when it said so, has come.
                match helper.latest() {
                    Some(sent) => {
                        let sent: u64 = sent.parse().expect("a number");
                        assert!(received >= sent, "{received} of {sent}");
                        false
                    }
                    None => true,
                }
            });
            assert_dead_for_good(&mut channel, &helper);
        }
    }
}

#[test]
fn a_kill_of_the_receiver_ends_a_send_in_any_state() {
    for side in SIDES {
        for ours in WAITS {
            // While it receives.
            let (mut channel, helper) = start(side, "drink", ours, "adaptive");
            helper.expect("0");
            for number in 0..1000_u64 {
                channel.send_deadline(&number.to_le_bytes(), soon()).expect("sends");
            }
            helper.expect("1000");
            helper.signal(libc::SIGKILL);
            let end = loop {
                match channel.send_deadline(b"more", soon()) {
                    Ok(()) => {}
                    Err(SendError::Ended(end)) => break end,
                    Err(other) => panic!("{other}"),
                }
            };
            assert_died(&end, &helper);
            assert_dead_for_good(&mut channel, &helper);

            // While it does not, and we wait for room.
            let (mut channel, helper) = start(side, "idle", ours, "adaptive");
            helper.expect("10");
            fill(&mut channel);
            let (end, mut channel) = while_blocked(
                ours,
                channel,
                |channel| match channel.send_deadline(b"more", soon()) {
                    Err(SendError::Ended(end)) => end,
                    other => panic!("{other:?}"),
                },
                || helper.signal(libc::SIGKILL),
            );
            assert_died(&end, &helper);
            // What it had sent is there still.
            let (received, end) = drain(&mut channel, 0);
            assert_eq!(received, 10);
            assert_died(&end, &helper);
        }
    }
}

#[test]
fn a_kill_ends_a_receive_that_waits() {
    for side in SIDES {
        for ours in WAITS {
            let (mut channel, helper) = start(side, "idle", ours, "adaptive");
            helper.expect("10");
            for number in 0..10_u64 {
                assert_eq!(*channel.recv_deadline(soon()).unwrap(), number.to_le_bytes());
            }
            let (end, mut channel) = while_blocked(
                ours,
                channel,
                |channel| match channel.recv_deadline(soon()) {
                    Err(RecvError::Ended(end)) => end,
                    other => panic!("{other:?}"),
                },
                || helper.signal(libc::SIGKILL),
            );
            assert_died(&end, &helper);
            assert_dead_for_good(&mut channel, &helper);
        }
    }
}

/// Runs `call` on a thread of its own, and `event` once that sleeps (if its way of waiting does).
fn while_blocked<R: Send + 'static>(
    wait: &str,
    mut channel: Ends,
    call: fn(&mut Ends) -> R,
    event: impl FnOnce(),
) -> (R, Ends) {
    let (tell, told) = std::sync::mpsc::channel();
    let blocked = std::thread::spawn(move || {
        tell.send(support::tid()).unwrap();
        (call(&mut channel), channel)
    });
    let tid = told.recv().unwrap();
    if wait != "spin" {
        eventually_asleep(tid);
    }
    event();
    blocked.join().unwrap()
}

#[test]
fn ends_in_order_and_deaths_are_told_apart() {
    for side in SIDES {
        for (deed, in_order) in
            [("close", true), ("return", true), ("panic", true), ("exit", false), ("abort", false)]
        {
            let (mut channel, mut helper) = start(side, deed, "adaptive", "adaptive");
            helper.expect("10");
            if deed == "close" {
                helper.tell("close");
                helper.expect("closed");
            }
            let (received, end) = drain(&mut channel, 0);
            assert_eq!(received, 10, "{side} {deed}");
            if in_order {
                assert!(matches!(end, End::Closed), "{side} {deed}: {end:?}");
                let sent = eventually_unsent(&mut channel);
                assert!(matches!(sent, End::Closed), "{deed}: {sent:?}");
                let again = channel.recv_deadline(soon()).map(|_| ());
                assert!(matches!(again, Err(RecvError::Ended(End::Closed))), "{deed}: {again:?}");
            } else {
                assert_died(&end, &helper);
                assert_dead_for_good(&mut channel, &helper);
            }
        }
    }
}

#[test]
fn attack_90_a_close_is_a_close_whichever_half_looks_first() {
    for _ in 0..50 {
        let (server, client) = memring::pair::<Bytes>().expect("a pair");
        let (mut tx, mut rx) = client.split();
        let closing = std::thread::spawn(move || drop(server));
        let sent = loop {
            match tx.send_deadline(b"a", soon()) {
                Ok(()) => {}
                Err(error) => break error,
            }
        };
        assert!(matches!(sent, SendError::Ended(End::Closed)), "{sent:?}");
        let received = rx.recv_deadline(soon()).map(|_| ());
        assert!(matches!(received, Err(RecvError::Ended(End::Closed))), "{received:?}");
        closing.join().unwrap();
    }
}

#[test]
fn dropping_one_half_ends_its_direction_only() {
    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    let (mut server_tx, mut server_rx) = server.split();
    let (client_tx, mut client_rx) = client.split();
    let mut client_tx = client_tx;
    client_tx.send(b"before").expect("sends");
    drop(client_tx);
    assert_eq!(&*server_rx.recv_deadline(soon()).unwrap(), b"before");
    let ended = server_rx.recv_deadline(soon()).map(|_| ());
    assert!(matches!(ended, Err(RecvError::Ended(End::Closed))), "{ended:?}");
    for _ in 0..10_000 {
        server_tx.send_deadline(b"goes on", soon()).expect("sends");
        assert_eq!(&*client_rx.recv_deadline(soon()).unwrap(), b"goes on");
    }
    assert!(server_tx.end().is_none());
}

#[test]
fn a_sender_with_room_finds_out_at_its_next_send_that_the_receiver_was_dropped() {
    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    let (_server_tx, server_rx) = server.split();
    let (mut client_tx, _client_rx) = client.split();
    client_tx.send(b"before").expect("sends");
    drop(server_rx);
    assert!(matches!(client_tx.end(), Some(End::Closed)), "asked");

    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    let (_server_tx, server_rx) = server.split();
    let (mut client_tx, _client_rx) = client.split();
    drop(server_rx);
    client_tx.send(b"in vain").expect("there is room");
    let sent = client_tx.send(b"refused");
    assert!(matches!(sent, Err(SendError::Ended(End::Closed))), "not asked: {sent:?}");
}

#[test]
fn a_dropped_receiver_ends_the_sends_to_it() {
    for ours in WAITS {
        // One that waits for room is told.
        let (server, client) =
            Connector::new().wait(support::wait_named(ours)).pair::<Bytes>().expect("a pair");
        let (mut server_tx, server_rx) = server.split();
        let (mut client_tx, mut client_rx) = client.split();
        while client_tx.try_send(b"fill").is_ok() {}
        let (tell, told) = std::sync::mpsc::channel();
        let blocked = std::thread::spawn(move || {
            tell.send(support::tid()).unwrap();
            (client_tx.send_deadline(b"more", soon()), client_tx)
        });
        let tid = told.recv().unwrap();
        if ours != "spin" {
            eventually_asleep(tid);
        }
        drop(server_rx);
        let (sent, mut client_tx) = blocked.join().unwrap();
        assert!(matches!(sent, Err(SendError::Ended(End::Closed))), "{ours}: {sent:?}");
        assert!(matches!(client_tx.end(), Some(End::Closed)));
        // The other direction goes on.
        server_tx.send(b"goes on").expect("sends");
        assert_eq!(&*client_rx.recv_deadline(soon()).unwrap(), b"goes on");
    }
    // One that has room finds out at the latest when it has none any more.
    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    let (_server_tx, server_rx) = server.split();
    let (mut client_tx, _client_rx) = client.split();
    drop(server_rx);
    let mut sent = 0;
    let end = loop {
        match client_tx.send_deadline(&[0; 100], soon()) {
            Ok(()) => sent += 116,
            Err(error) => break error,
        }
        assert!(sent <= client_tx.lane_bytes());
    };
    assert!(matches!(end, SendError::Ended(End::Closed)), "{end:?}");
}

#[test]
fn closing_a_session_ends_both_halves_here_and_there() {
    for ours in WAITS {
        let (server, client) =
            Connector::new().wait(support::wait_named(ours)).pair::<Bytes>().expect("a pair");
        let session = server.session().clone();
        let (end, mut server) = while_blocked(
            ours,
            server,
            |channel| match channel.recv_deadline(soon()) {
                Err(RecvError::Ended(end)) => end,
                other => panic!("{other:?}"),
            },
            || session.close(),
        );
        assert!(matches!(end, End::Local), "{end:?}");
        assert!(matches!(server.send(b"?"), Err(SendError::Ended(End::Local))));
        drop(server);
        let (mut tx, mut rx) = client.split();
        // No half had a word to say, or it came too late.
        let end = rx.recv_deadline(soon()).map(|_| ());
        assert!(matches!(end, Err(RecvError::Ended(End::PeerDied(_) | End::Closed))), "{end:?}");
        eventually("the sends fail", || tx.try_send(b"?").is_err());
        assert!(tx.end().is_some());
    }
}

#[test]
fn a_stopped_peer_costs_a_deadline_and_nothing_else() {
    for side in SIDES {
        for theirs in WAITS {
            let (mut channel, helper) = start(side, "echo", "adaptive", theirs);
            helper.expect("0");
            channel.send(b"before").expect("sends");
            assert_eq!(&*channel.recv_deadline(soon()).unwrap(), b"before");
            helper.stop();
            let short = || Instant::now() + Duration::from_millis(20);
            let received = channel.recv_deadline(short()).map(|_| ());
            assert!(matches!(received, Err(RecvError::TimedOut)), "{received:?}");
            // What fits is sent; then there is no room.
            let filled = fill(&mut channel);
            let sent = channel.send_deadline(b"no room", short());
            assert!(matches!(sent, Err(SendError::TimedOut)), "{sent:?}");
            let received = channel.recv_deadline(short()).map(|_| ());
            assert!(matches!(received, Err(RecvError::TimedOut)), "{received:?}");
            helper.go_on();
            for number in 0..filled {
                assert_eq!(
                    *channel.recv_deadline(soon()).expect("an answer"),
                    number.to_le_bytes(),
                    "{side} {theirs}"
                );
            }
            channel.send_deadline(b"after", soon()).expect("sends");
            assert_eq!(&*channel.recv_deadline(soon()).unwrap(), b"after");
            // A stopped process can die all the same.
            helper.stop();
            helper.kill();
            let (_, end) = drain(&mut channel, 0);
            assert_died(&end, &helper);
        }
    }
}

#[test]
fn attack_87_two_processes_that_both_wait_for_room_go_on_when_one_receives() {
    for theirs in WAITS {
        let (mut channel, helper) = start("client", "fill and wait", "park", theirs);
        let filled: u64 = helper.hear().parse().expect("a number");
        let ours = fill(&mut channel);
        assert!(ours > 0);
        let (sent, mut channel) = while_blocked(
            "park",
            channel,
            |channel| channel.send_deadline(b"no", Instant::now() + Duration::from_millis(50)),
            || (),
        );
        assert!(matches!(sent, Err(SendError::TimedOut)));
        // The helper's message had to wait for room, comes last, and it ends.
        let (received, end) = drain(&mut channel, 0);
        assert_eq!(received, filled + 1, "{theirs}");
        assert!(matches!(end, End::Closed), "{end:?}");
    }
}

#[test]
fn attack_82_a_frame_of_a_peer_stopped_before_its_wake_is_received_and_not_timed_out() {
    for ours in ["park", "adaptive"] {
        let (mut channel, helper) = start("client", "stream", ours, "adaptive");
        let mut next = 0_u64;
        for _ in 0..100 {
            // It may stand still anywhere, also between a publish and the look whether we sleep.
            helper.stop();
            let mut late = 0;
            while late < 2 {
                // Nothing is published now, so after a deadline there is nothing to take.
                let until = Instant::now() + Duration::from_micros(200);
                match channel.recv_deadline(until) {
                    Ok(bytes) => assert_eq!(*bytes, next.to_le_bytes(), "in order"),
                    Err(RecvError::TimedOut) => {
                        late += 1;
                        let left = channel.try_recv().map(|_| ());
                        assert!(matches!(left, Err(TryRecvError::Empty)), "{left:?}");
                        continue;
                    }
                    Err(other) => panic!("{other}"),
                }
                next += 1;
            }
            helper.go_on();
            // We sleep, and it is woken for room that it waited for before it was stopped.
            let bytes = channel.recv_deadline(soon()).expect("it goes on");
            assert_eq!(*bytes, next.to_le_bytes(), "in order");
            next += 1;
        }
    }
}
