//! Strangers who stand still: at any step, on either side, and in whose way they are.

mod support;

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use memring::{Address, Bytes, ConnectError, Connector, End, HandshakeError, Listener, RecvError};
use memring_transport::handshake::{CapacityLimits, ChannelWish, ClientHandshake, Local};
use memring_transport::socket::{ControlSocket, Incoming, WhenAbsent};
use support::strangers::{answer, client, start_client};
use support::{Held, Helper, Scratch, Stage, alone, eventually, play, soon};

#[test]
fn role() {
    play(&[("client", client), ("stalled server", stalled_server), ("raw", raw)]);
}

/// Listens, and takes a connection as far as `step` before it does nothing more.
fn stalled_server(stage: &Stage) {
    let listener = Listener::bind(stage.path()).expect("binds");
    stage.say("listening");
    match stage.get("step") {
        "listen" => stage.linger(),
        _ => {
            let _asked = listener.accept_deadline(soon()).expect("accepts");
            stage.say("asked");
            stage.linger();
        }
    }
}

/// Where a client of our own making stands still.
const STEPS: [&str; 4] = ["connect", "hello", "open", "granted"];

/// A client by hand that goes as far as `step` and stands still there.
fn stall(path: &Path, step: &str) -> ControlSocket {
    let address = Address::path(path).expect("an address");
    let socket =
        ControlSocket::connect(&address, Some(soon()), WhenAbsent::Fail).expect("connects");
    let archive = memring_transport::Settings::new().archive;
    let local = Local::new(4096, Default::default(), archive);
    let wish = ChannelWish {
        signature: Default::default(),
        capacity_to_accepting: 16 << 10,
        capacity_to_connecting: 16 << 10,
        metadata: Default::default(),
        carries: Default::default(),
    };
    let mut handshake =
        ClientHandshake::new(local, wish, CapacityLimits::PROTOCOL).expect("good settings");
    let packets = handshake.start();
    let count = match step {
        "connect" => 0,
        "hello" => 1,
        _ => 2,
    };
    for packet in &packets[..count] {
        socket.send(packet, &[]).expect("sends");
    }
    if step == "granted" {
        let mut buffer = [0; 65536];
        let mut fds = 0;
        while fds < 2 {
            match socket.receive_deadline(&mut buffer, Some(soon())).expect("an answer") {
                Incoming::Packet(packet) => fds += packet.fds.len(),
                other => panic!("{other:?}"),
            }
        }
    }
    socket
}

fn raw(stage: &Stage) {
    let _socket = stall(stage.path(), stage.get("step"));
    stage.say("stalled");
    if stage.get("then") == "exit" {
        return;
    }
    stage.linger();
}

#[test]
fn attack_09_clients_that_stall_at_any_step_delay_nobody() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener =
        Listener::builder().handshake_timeout(Duration::from_secs(60)).bind(&path).expect("binds");
    let stalled: Vec<ControlSocket> = std::thread::scope(|scope| {
        // Their handshakes need somebody in `accept`, who meanwhile serves a quick one.
        let stalling: Vec<_> = STEPS
            .iter()
            .flat_map(|step| [step; 3])
            .map(|step| scope.spawn(|| stall(&path, step)))
            .collect();
        for _ in 0..3 {
            let mut helper = start_client(&path);
            answer(&listener);
            helper.expect("answered");
            helper.finish();
        }
        let short = Instant::now() + Duration::from_millis(100);
        assert!(listener.accept_deadline(short).is_err(), "nobody else has got so far");
        stalling.into_iter().map(|stalling| stalling.join().unwrap()).collect()
    });
    for _ in 0..10 {
        let mut helper = start_client(&path);
        answer(&listener);
        helper.expect("answered");
        helper.finish();
    }
    assert_eq!(stalled.len(), 12);
    assert_eq!(listener.turned(), Default::default());
}

#[test]
fn attack_09_a_handshake_is_over_by_its_deadline_wherever_it_stands() {
    let scratch = Scratch::new();
    let listener = Listener::builder()
        .handshake_timeout(Duration::from_millis(100))
        .bind(scratch.socket())
        .expect("binds");
    std::thread::scope(|scope| {
        for step in STEPS {
            scope.spawn({
                let path = scratch.socket();
                move || {
                    let socket = stall(&path, step);
                    let mut buffer = [0; 65536];
                    loop {
                        let got = socket.receive_deadline(&mut buffer, Some(soon()));
                        match got.expect("reads") {
                            Incoming::Ended => return,
                            Incoming::Packet(_) => {}
                            Incoming::WouldBlock => panic!("{step}: not hung up on"),
                        }
                    }
                }
            });
        }
        eventually("all four have run out of time", || {
            let short = Instant::now() + Duration::from_millis(10);
            assert!(listener.accept_deadline(short).is_err());
            listener.turned().unfinished == 4
        });
    });
}

#[test]
fn attack_09_one_byte_at_a_time_is_no_way_to_last() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let socket = stall(&scratch.socket(), "connect");
    socket.send(&[1], &[]).expect("sends");
    eventually("a packet of one byte is a fault", || {
        let short = Instant::now() + Duration::from_millis(10);
        assert!(listener.accept_deadline(short).is_err());
        listener.turned().faults == 1
    });
}

#[test]
fn attack_10_clients_that_die_at_any_step_leave_nothing_behind() {
    if !alone("attack_10_clients_that_die_at_any_step_leave_nothing_behind") {
        return;
    }
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let (path, mut gone) = (scratch.socket(), 0);
    let mut round = || {
        for step in STEPS {
            for then in ["kill", "exit"] {
                let shown = path.display();
                let arguments: [(&str, &dyn Display); 3] =
                    [("path", &shown), ("step", &step), ("then", &then)];
                let mut helper = Helper::start("raw", &arguments);
                gone += 1;
                let mut stalled = false;
                eventually("the handshake is over", || {
                    if !stalled && helper.latest().is_some() {
                        stalled = true;
                        match then {
                            "kill" => helper.kill(),
                            _ => helper.finish(),
                        }
                    }
                    let short = Instant::now() + Duration::from_millis(1);
                    assert!(listener.accept_deadline(short).is_err());
                    listener.turned().unfinished == gone
                });
            }
        }
    };
    round();
    let held = Held::settled();
    (0..3).for_each(|_| round());
    held.eventually_again();
    // And somebody who means it is served.
    let mut helper = start_client(&path);
    answer(&listener);
    helper.expect("answered");
    helper.finish();
}

#[test]
fn attack_10_a_client_that_dies_while_the_application_decides() {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    for answers in ["open", "refuse", "drop"] {
        let helper = start_client(&scratch.socket());
        let incoming = listener.accept_deadline(soon()).expect("accepts");
        helper.kill();
        match answers {
            "refuse" => incoming.refuse("too late to matter"),
            "drop" => drop(incoming),
            _ => match incoming.open::<Bytes>() {
                Ok(mut channel) => {
                    let end = channel.recv_deadline(soon()).map(|_| ());
                    assert!(matches!(end, Err(RecvError::Ended(End::PeerDied(_)))), "{end:?}");
                }
                Err(ConnectError::Handshake(HandshakeError::PeerGone)) => {}
                Err(other) => panic!("{other}"),
            },
        }
    }
}

#[test]
fn a_client_of_a_server_that_stalls_or_dies_is_not_held() {
    for step in ["listen", "decide"] {
        for dies in [false, true] {
            let scratch = Scratch::new();
            let path = scratch.socket();
            let shown = path.display();
            let helper = Helper::start("stalled server", &[("path", &shown), ("step", &step)]);
            helper.expect("listening");
            let timeout = if dies { support::PATIENCE } else { Duration::from_millis(200) };
            let connecting = std::thread::spawn(move || {
                Connector::new().timeout(timeout).connect::<Bytes>(&path).map(|_| ())
            });
            if step == "decide" {
                helper.expect("asked");
            }
            if dies {
                helper.kill();
            }
            let failed = connecting.join().unwrap().expect_err("no session");
            let kind = io::Error::from(failed).kind();
            let kinds = match (dies, step) {
                (false, _) => vec![io::ErrorKind::TimedOut],
                // It may have died before we connected.
                (true, "listen") => {
                    vec![io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused]
                }
                (true, _) => vec![io::ErrorKind::ConnectionReset],
            };
            assert!(kinds.contains(&kind), "{step}, dies: {dies}: {kind}");
        }
    }
}

#[test]
fn a_stuck_peer_has_another_pulse_than_an_idle_one() {
    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    assert_eq!(server.pulse(), memring::Pulse::default(), "who does not beat is never stuck");
    assert!(!server.pulse().is_stuck_since(server.pulse()));
    client.beat();
    let before = server.pulse();
    assert!(server.pulse().is_stuck_since(before));
    client.beat();
    assert!(!server.pulse().is_stuck_since(before));
    // The other way it says nothing, and asleep it is idle.
    assert_eq!(client.pulse().beats, 0);
    let (server, _rx) = server.split();
    let idle = std::thread::spawn(move || {
        let mut client = client;
        client.recv_deadline(soon()).map(drop)
    });
    let before = server.pulse();
    eventually("it waits", || server.pulse().waits);
    assert!(!server.pulse().is_stuck_since(before));
    drop((server, _rx));
    assert!(matches!(idle.join().expect("no panic"), Err(RecvError::Ended(End::Closed))));
}
