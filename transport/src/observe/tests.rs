use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use memring_ring::Stats;

use super::json::Quoted;
use super::prometheus::Escaped;
use super::*;
use crate::address::{Address, AddressKind};
use crate::control::{Name, Signature};
use crate::settings::Settings;
use crate::testing::{Scratch, alone, eventually, open_fds};
use crate::{Connection, pair};

/// Two ends of a session whose protocol has this name, and whose sides call themselves so too.
fn session(name: &'static str) -> (Connection, Connection) {
    let mut settings = Settings::new();
    settings.name = Name::new(name).unwrap();
    let protocol = TypeName::new(name).unwrap();
    pair(&settings, &Signature { protocol, ..Signature::default() }).unwrap()
}

/// Those of this test, among those of all.
fn sessions(name: &str) -> Vec<SessionSnapshot> {
    snapshot().sessions.into_iter().filter(|session| session.protocol == name).collect()
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

#[test]
fn a_snapshot_has_every_session_with_what_it_did() {
    let (mut a, mut b) = session("counted");
    for _ in 0..3 {
        a.producer.send(&[7; 100], 0, soon()).unwrap();
    }
    let _received = b.consumer.recv(soon()).unwrap();
    let seen = sessions("counted");
    let [one, other] = &seen[..] else { panic!("{seen:?}") };
    assert!(one.number < other.number && other.number <= snapshot().begun);
    let of_a = a.session.observe();
    assert_eq!((of_a.state, of_a.peer.name.as_str()), (State::Open, "counted"));
    assert_eq!(of_a.peer.pid, Some(std::process::id()));
    let out = of_a.outbound.unwrap();
    assert_eq!((out.ours.messages, out.ours.bytes), (3, 300));
    let inbound = b.session.observe().inbound.unwrap();
    assert_eq!((inbound.claimed.messages, inbound.claimed.bytes), (3, 300));
    // The peer gives room back later.
    assert_eq!((out.capacity, out.used), (Settings::new().capacities[0], 3 * 128));

    drop((a, b));
    eventually("both have gone", || sessions("counted").is_empty());
}

#[test]
fn how_a_session_ended_is_seen_for_as_long_as_it_is_held() {
    let state = |connection: &Connection| connection.session.observe().state;
    // Closed in order: the peer's halves went first.
    let (a, b) = session("ends");
    drop(b);
    eventually("it is closed", || state(&a) == State::Closed);
    // By this side; and to the other one it is as if the peer had died.
    let (a, b) = session("ends");
    a.session.close();
    assert_eq!(state(&a), State::Local);
    eventually("it died", || state(&b) == State::Died);
    // A rule was broken.
    let (a, _b) = session("ends");
    a.session.life().fail(memring_ring::Fault::Parts);
    assert_eq!(state(&a), State::Fault(Reason::LaneParts));
    // Halves that have gone leave nothing to look at.
    let Connection { producer, consumer, session } = a;
    drop((producer, consumer));
    let seen = session.observe();
    assert!(seen.outbound.is_none() && seen.inbound.is_none());
}

/// A snapshot with one session of a peer that says the worst.
fn hostile() -> Snapshot {
    let mut claimed = Stats::default();
    claimed.messages = u64::MAX;
    let (a, _b) = session("hostile");
    let mut session = a.session.observe();
    session.outbound.as_mut().unwrap().claimed = claimed;
    session.state = State::Fault(Reason::LaneHead);
    session.peer.name = "a\"b\\c\nd{}#,=".into();
    session.peer.program = Some(shown(b"/tmp/\xff\x1b[31m\xe2\x80\xae"));
    session.peer.label = None;
    session.peer.uid = None;
    Snapshot { sessions: vec![session], ..snapshot() }
}

#[test]
fn prometheus_text_has_one_line_a_sample_whatever_the_peer_says() {
    let text = hostile().to_prometheus();
    let number = hostile().sessions.len(); // one
    assert_eq!(number, 1);
    let mut described = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE ") {
            assert!(described.insert(metric.split(' ').next().unwrap().to_owned()), "{line} twice");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(described.contains(name), "{line} before its type");
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    let info = text.lines().find(|line| line.starts_with("memring_session_info")).unwrap();
    assert!(info.contains(r#",name="a\"b\\c\nd{}#,=","#), "{info}");
    assert!(info.contains("program=\"/tmp/\u{fffd}\u{fffd}[31m\u{fffd}\""), "{info}");
    assert!(info.contains(r#"state="fault",fault="lane.head""#), "{info}");
    assert!(info.contains(r#",uid="","#), "{info}");
    assert!(text.contains("memring_refusals_total{reason=\"denied\"} "), "{text}");
    let claims = format!("direction=\"out\"}} {}", u64::MAX);
    assert!(text.lines().any(|line| line.contains("claimed_messages") && line.ends_with(&claims)));
}

#[test]
fn json_is_one_line_and_closes_what_it_opens() {
    let text = hostile().to_json();
    assert_eq!(text.matches('\n').count(), 1, "{text}");
    assert!(text.ends_with("]}\n"));
    assert!(text.contains(r#""name":"a\"b\\c\u000ad{}#,=""#), "{text}");
    assert!(text.contains(r#""fault":"lane.head""#) && text.contains(r#""uid":null"#), "{text}");
    assert!(text.contains(&format!(r#""claimed":{{"messages":{}"#, u64::MAX)), "{text}");
}

#[test]
fn texts_are_quoted_by_table() {
    for (text, json, label) in [
        ("", r#""""#, ""),
        ("plain", r#""plain""#, "plain"),
        ("\"\\", r#""\"\\""#, r#"\"\\"#),
        ("a\nb\t\0", r#""a\u000ab\u0009\u0000""#, "a\\nb\t\0"),
        ("ü", r#""ü""#, "ü"),
    ] {
        assert_eq!(Quoted(text).to_string(), json);
        assert_eq!(Escaped(text).to_string(), label);
    }
    for (bytes, text) in [
        (&b"plain"[..], "plain"),
        (b"\x1b]0;title\x07", "\u{fffd}]0;title\u{fffd}"),
        (b"\xff", "\u{fffd}"),
        ("\u{202e}txt.exe\u{200b}".as_bytes(), "\u{fffd}txt.exe\u{fffd}"),
        ("a\u{ad}b\u{e0100}".as_bytes(), "a\u{fffd}b\u{fffd}"),
    ] {
        assert_eq!(shown(bytes), text);
    }
    assert_eq!(shown(&[b'x'; 1000]).len(), MOST_TEXT);
    assert!(shown("ü".repeat(1000).as_bytes()).len() <= MOST_TEXT);
}

fn connect(address: &Address) -> UnixStream {
    let AddressKind::Path(path) = address.kind() else { panic!("{address}") };
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

fn ask(address: &Address, request: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_endpoint_answers_lines_and_http_and_leaves_no_file() {
    let scratch = Scratch::new();
    let path = scratch.join("o");
    let serving = serve(&Address::path(&path).unwrap()).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let address = serving.address();
    let json = ask(address, b"json\n");
    assert!(json.starts_with(r#"{"format":1,"pid":"#) && json.ends_with("}\n"), "{json}");
    assert!(ask(address, b"metrics\n").starts_with("# HELP memring_sessions "));
    let http = ask(address, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (head, body) = http.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    assert_eq!(ask(address, b"what\n"), "memring: say json or metrics\n");
    // A second one at the same place is told so.
    let taken = serve(address).unwrap_err().to_string();
    assert!(taken.contains("in use"), "{taken}");
    drop(serving);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn attack_09_whoever_says_nothing_or_reads_nothing_is_let_go_and_delays_nobody_for_long() {
    let scratch = Scratch::new();
    let serving = serve(&Address::path(scratch.join("o")).unwrap()).unwrap();
    let address = serving.address();
    // Fewer than there is room for.
    let silent: Vec<_> = (1..CONNECTIONS).map(|_| connect(address)).collect();
    assert!(ask(address, b"json\n").ends_with("}\n"));
    // And more: who waits in the queue has its turn when their time is up.
    let mut more: Vec<_> = (0..CONNECTIONS).map(|_| connect(address)).collect();
    more[0].write_all(b"j").unwrap();
    assert!(ask(address, b"json\n").ends_with("}\n"));
    for mut stream in silent.into_iter().chain(more) {
        let mut nothing = Vec::new();
        // Not that we gave up first.
        if let Err(error) = stream.read_to_end(&mut nothing) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert!(nothing.is_empty(), "{nothing:?}");
    }
}

#[test]
fn attack_64_a_client_that_does_not_read_takes_its_answer_and_no_more() {
    // More than the kernel takes for one who does not read.
    let sessions: Vec<_> = (0..200).map(|_| session("many")).collect();
    let scratch = Scratch::new();
    let mut endpoint = Endpoint::bind(&Address::path(scratch.join("o")).unwrap()).unwrap();
    let mut lazy = connect(endpoint.address());
    lazy.write_all(b"metrics\n").unwrap();
    endpoint.turn().unwrap();
    let due = endpoint.due().expect("it waits for its reader");
    assert!(due <= Instant::now() + ANSWER_IN);
    // In the hands of whoever serves it, others are answered.
    let mut stream = connect(endpoint.address());
    stream.write_all(b"what\n").unwrap();
    endpoint.turn().unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "memring: say json or metrics\n");
    // It is let go when its time is up, read or not.
    eventually("its time is up", || {
        endpoint.turn().unwrap();
        endpoint.due().is_none()
    });
    drop(sessions);
}

#[test]
fn a_file_holds_a_whole_snapshot_and_nothing_is_left_beside_it() {
    let scratch = Scratch::new();
    let path = scratch.join("memring.prom");
    std::fs::write(&path, "old").unwrap();
    write_file(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("# HELP memring_sessions "), "{text}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    // What a process of this number left behind when it was killed, as the first of a container always has: it is left alone.
    let left = |number| format!(".memring.prom.{}-{number}.new", std::process::id());
    (0..100).for_each(|number| std::fs::write(scratch.join(&left(number)), "left").unwrap());
    write_file(&path).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("# HELP memring_sessions "));
    for number in 0..100 {
        let left = scratch.join(&left(number));
        assert_eq!(std::fs::read_to_string(&left).unwrap(), "left");
        std::fs::remove_file(left).unwrap();
    }
    // Where it cannot be put in place, what was there stays.
    std::fs::create_dir(scratch.join("taken")).unwrap();
    std::fs::write(scratch.join("taken/by"), "").unwrap();
    assert!(write_file(scratch.join("taken")).is_err());
    assert!(write_file(scratch.join("none/x.prom")).is_err());
    assert_eq!(write_file("/").unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 2);
}

#[test]
fn an_endpoint_comes_and_goes_without_a_trace() {
    if !alone("observe::tests::an_endpoint_comes_and_goes_without_a_trace") {
        return;
    }
    let scratch = Scratch::new();
    let address = Address::path(scratch.join("o")).unwrap();
    drop(serve(&address).unwrap());
    let before = open_fds();
    let serving = serve(&address).unwrap();
    assert!(ask(&address, b"json\n").contains(r#""sessions":[]"#));
    let _one_that_stays = connect(&address);
    drop(serving);
    drop(_one_that_stays);
    eventually("all descriptors are closed", || open_fds() == before);
}
