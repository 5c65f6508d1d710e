//! The examples run and say what they should. `cargo test` builds them beside the tests.

#[path = "examples/calls.rs"]
mod calls;
mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::{Scratch, eventually};

/// The program of an example, if it has been built.
fn program(name: &str) -> Option<PathBuf> {
    let mut path = std::env::current_exe().expect("this binary's path");
    path.pop();
    path.pop();
    path.push("examples");
    path.push(name);
    if !path.exists() {
        println!("skipped: example {name} is not built; cargo test without a filter builds it");
        return None;
    }
    Some(path)
}

/// Runs a program to its end; what it said.
fn said(command: &mut Command) -> String {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("starts");
    let mut output = child.stdout.take().expect("a pipe");
    let reading = std::thread::spawn(move || std::io::read_to_string(&mut output));
    let mut status = None;
    eventually("the example ends", || {
        status = child.try_wait().expect("its status");
        status.is_some()
    });
    let said = reading.join().unwrap().expect("text");
    assert!(status.expect("ended").success(), "{said}");
    said
}

#[test]
fn the_server_greets_the_client() {
    let (Some(server), Some(client)) = (program("server"), program("client")) else { return };
    let scratch = Scratch::new();
    let mut server =
        Command::new(server).arg(scratch.socket()).stdout(Stdio::null()).spawn().expect("starts");
    for first in [1, 3] {
        let said = said(Command::new(&client).arg(scratch.socket()));
        assert_eq!(
            said,
            format!("Hello, Ada! (the number {first})\nHello, Grace! (the number {})\n", first + 1)
        );
    }
    server.kill().expect("kills");
    server.wait().expect("reaps");
}

#[test]
fn the_child_does_its_work() {
    let Some(program) = program("spawned_child") else { return };
    let said = said(&mut Command::new(program));
    for line in ["[] make 0", "[1, 2, 3] make 6", "too much at number 1", "exit status: 0"] {
        assert!(said.contains(line), "{line:?} in {said}");
    }
}

#[test]
fn the_pair_that_spins_measures_itself() {
    if std::thread::available_parallelism().is_ok_and(|processors| processors.get() < 2) {
        println!("skipped: spinning takes two processors");
        return;
    }
    let Some(program) = program("latency") else { return };
    // Few: where others keep the processors busy, a spin lasts until the scheduler comes round.
    let said = said(Command::new(program).arg("100"));
    assert!(said.contains("p99.9") && said.contains("200 messages"), "{said}");
}

#[test]
fn the_collector_shows_what_was_logged() {
    let Some(program) = program("log_shipper") else { return };
    let said = said(&mut Command::new(program));
    for name in ["web", "mail"] {
        for line in ["done", "it ended"] {
            assert!(
                said.lines().any(|said| said.starts_with(name) && said.contains(line)),
                "{name}: {line:?} in {said}"
            );
        }
    }
}

#[test]
fn the_host_survives_whatever_files_make_of_its_decoder() {
    let Some(program) = program("sandboxed_decoder") else { return };
    let said = said(&mut Command::new(program));
    for (file, outcome) in [
        ("small.ppm", "2 x 2"),
        ("crash.ppm", "bad file: the peer died"),
        ("hang.ppm", "bad file: no message before the deadline"),
        ("open.ppm", "(SIGSYS)"),
        ("eat.ppm", "bad file: the peer died"),
        ("leave.ppm", "bad file: the peer died"),
        ("lie.ppm", "bad file: its answer does not fit"),
        ("torn.ppm", "no picture"),
        ("large.ppm", "600 x 400"),
        ("the host", "is well"),
    ] {
        let line = said.lines().find(|line| line.starts_with(file)).unwrap_or_default();
        assert!(line.contains(outcome), "{file}: {outcome:?} in {said}");
    }
}

#[test]
fn the_front_hands_every_connection_over_and_keeps_none() {
    let Some(program) = program("hand_over") else { return };
    let said = said(Command::new(program).arg("20"));
    for line in ["is out: the peer died", "19 visitors were answered", "and has none of them"] {
        assert!(said.contains(line), "{line:?} in {said}");
    }
    assert_eq!(said.matches(" answered ").count(), 2, "the workers that are left, in {said}");
}

#[test]
fn the_readers_share_one_table() {
    let Some(program) = program("shared_table") else { return };
    let said = said(Command::new(program).args(["2", "1000"]));
    assert!(said.starts_with("2000 values"), "{said}");
    assert_eq!(said.matches("the first value took").count(), 4, "{said}");
    assert!(said.contains("all together"), "{said}");
}

#[test]
fn both_readers_see_frames_in_messages_and_in_blobs() {
    let Some(program) = program("video") else { return };
    let said = said(Command::new(program).arg("2"));
    for way in ["messages", "blobs"] {
        let delivered =
            said.lines().filter(|line| line.starts_with(way) && line.contains("delivered"));
        assert_eq!(delivered.count(), 2, "{way} in {said}");
    }
    assert!(said.contains("as a blob a frame is with its readers"), "{said}");
}

#[test]
fn the_front_and_its_engine_lose_nothing() {
    let Some(program) = program("async_front") else { return };
    assert_eq!(said(Command::new(program).arg("30")), "30 customers, 3000 in all: true\n");
}

#[test]
fn the_service_tells_the_time_at_an_address_of_its_own() {
    let Some(program) = program("service") else { return };
    let scratch = Scratch::new();
    let mut service = Command::new(&program)
        .env("RUNTIME_DIRECTORY", scratch.path())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let socket = scratch.path().join("memring-clock");
    eventually("the service is there", || socket.exists());
    let time = said(Command::new(&program).arg("ask").arg(&socket));
    let seconds: f64 = time.trim_end().parse().expect("a number");
    assert!(seconds > 1.7e9, "{time}");
    service.kill().expect("kills");
    service.wait().expect("reaps");
}
