//! `memring top` beside a server that runs: tables, objects, and a terminal that is left as it was.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use support::{Running, Scratch, memring, one_line, run, shell};

/// A server with a socket to look at, and a client that pings it every few milliseconds.
struct Scene {
    scratch: Scratch,
    echo: Running,
    _ping: Running,
}

impl Scene {
    fn new() -> Self {
        let scratch = Scratch::new();
        let observe = scratch.path("o");
        let echo = Running::echo(&scratch.path("e"), &["--observe", observe.to_str().unwrap()]);
        let mut ping = memring();
        ping.arg("ping").arg(scratch.path("e")).args(["--interval", "5ms"]);
        let mut ping = Running::start(ping.stdout(Stdio::piped()));
        // One answer has come.
        let mut stdout = BufReader::new(ping.child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("seq=0") {
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "ping has ended");
        }
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        Self { scratch, echo, _ping: ping }
    }

    fn observed(&self) -> PathBuf {
        self.scratch.path("o")
    }

    fn top(&self, more: &[&str]) -> std::process::Command {
        let mut top = memring();
        top.arg("top").arg(self.observed()).args(more).stdin(Stdio::null());
        top
    }
}

#[test]
fn a_server_s_sessions_are_shown_with_their_rates() {
    let scene = Scene::new();
    let output = run(&mut scene.top(&["--once", "--interval", "200ms"]));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines: Vec<_> = text.lines().collect();
    let [about, head, session] = lines[..] else { panic!("{text}") };
    assert!(about.contains(&format!("pid {}", scene.echo.child.id())), "{about}");
    assert!(about.ends_with("1 of 1 sessions"), "{about}");
    assert!(head.contains("out/s") && head.contains("fill"), "{head}");
    let cells: Vec<_> = session.split_whitespace().collect();
    let ping = scene._ping.child.id().to_string();
    assert!(session.starts_with("  memring ping ") && cells.contains(&ping.as_str()), "{session}");
    assert!(cells.contains(&"memring-echo") && cells.contains(&"open"), "{session}");
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn with_json_each_look_is_one_object() {
    let scene = Scene::new();
    let once = run(&mut scene.top(&["--once", "--json"]));
    let object: serde_json::Value = serde_json::from_slice(&once.stdout).unwrap();
    let session = &object["sessions"][0];
    assert_eq!(session["peer"]["name"], "memring ping");
    assert_eq!(session["peer"]["pid"], scene._ping.child.id());
    assert!(session["in"]["claimed"]["messages"].as_u64().unwrap() > 0, "{session}");

    let mut top = scene.top(&["--json", "--interval", "20ms"]);
    let mut top = Running::start(top.stdout(Stdio::piped()));
    let mut lines = BufReader::new(top.child.stdout.take().unwrap()).lines();
    let mut last = 0;
    for _ in 0..3 {
        let object: serde_json::Value =
            serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let taken = object["taken_ns"].as_u64().unwrap();
        assert!(taken > last);
        last = taken;
    }
    // The same counters for whoever speaks HTTP.
    let mut stream = std::os::unix::net::UnixStream::connect(scene.observed()).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let text = std::io::read_to_string(stream).unwrap();
    assert!(text.contains("memring_session_info{session=\"1\",state=\"open\""), "{text}");
    top.interrupt();
    assert!(top.end().status.success());
}

#[test]
fn a_server_that_ends_and_a_file_that_is_none_of_its_are_one_line() {
    let scene = Scene::new();
    let service = run(memring().arg("top").arg(scene.scratch.path("e")));
    assert!(one_line(&service, 3).contains("where a service meets its clients"));

    let mut line = String::new();
    let mut top = scene.top(&["--interval", "20ms"]);
    let mut top = Running::start(top.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut stdout = BufReader::new(top.child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let reading = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    scene.echo.interrupt();
    let ended = top.end();
    reading.join().unwrap().unwrap();
    let line = one_line(&ended, 4);
    assert!(
        ["nothing at", "nobody listens", "has ended"].iter().any(|why| line.contains(why)),
        "{line}"
    );

    let file = scene.scratch.path("file");
    File::create(&file).unwrap();
    assert!(one_line(&run(memring().arg("top").arg(file)), 3).contains("is no socket"));
}

/// What the command says of a server that answers this to whoever asks; with these arguments, below these limits of a shell.
fn beside(answer: &[u8], limits: &str, more: &str) -> Output {
    let scratch = Scratch::new();
    let path = scratch.path("stranger");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok((mut stream, _)) = listener.accept() {
                stream.read_exact(&mut [0; 5]).unwrap();
                let _it_may_have_had_enough = stream.write_all(answer);
            }
        });
        let output = shell(&format!("{limits} exec \"$0\" top '{}' --once {more}", path.display()));
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        output
    })
}

/// An answer of a server without sessions, of this program, with one more member.
fn answer(program: &str, more: &str) -> String {
    format!(
        r#"{{"pid":1,"uid":2,"program":"{program}","taken_ns":3,"begun":4,"refusals":{{}},"sessions":[]{more}}}"#
    )
}

#[test]
fn what_a_stranger_answers_is_one_line_and_not_a_long_one() {
    let says = |answer: &[u8]| one_line(&beside(answer, "", ""), 3);
    assert!(says(b"").contains("closed without an answer"));
    assert!(says(b"SSH-2.0-OpenSSH\r\n").contains("no server of memring's"));
    assert!(says(b"{\"format\":1}\n").contains("no server of memring's"));
    assert!(says(b"\xff\x1b[2J\n").contains("no server of memring's"));
    let told = says(b"memring: only processes of uid 7 and root may look\n");
    assert!(told.ends_with("only processes of uid 7 and root may look"), "{told}");
    let told = says(b"memring: turned\xe2\x80\xaednuora \xff\nand more\n");
    assert!(told.ends_with(": turned dnuora \u{fffd}"), "{told}");
    let told = says(format!("memring: {}", "ü".repeat(1 << 20)).as_bytes());
    assert_eq!(told.matches('ü').count(), 512);
}

#[test]
fn json_of_a_stranger_is_one_line_that_commands_nothing_and_says_the_same() {
    let said = answer("\u{7f}\u{9b}2J\u{202e}\u{ad}\u{e0041}ü", ",\n\t\"more\": [\"\u{200b}\"]");
    let output = beside(said.as_bytes(), "", "--json");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.strip_suffix('\n').unwrap();
    assert!(!line.chars().any(memring::observe::is_unseen), "{line:?}");
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(line), value(&said));
}

#[test]
fn whatever_a_stranger_answers_little_memory_is_taken() {
    const LIMIT: &str = "ulimit -v 300000;"; // in KiB
    // As values in memory these would take more than ten times their bytes.
    let much = answer("/p", &format!(r#","more":[0{}]"#, ",0".repeat(10 << 20)));
    let table = beside(much.as_bytes(), LIMIT, "--interval 10ms");
    let text = String::from_utf8_lossy(&table.stdout);
    assert!(text.ends_with(": pid 1 uid 2 /p, 0 of 4 sessions\n"), "{table:?}");
    let json = beside(much.as_bytes(), LIMIT, "--json");
    assert!(json.status.success() && json.stdout.len() == much.len() + 1, "{:?}", json.status);
    let endless = vec![b' '; 65 << 20];
    let line = one_line(&beside(&endless, LIMIT, ""), 1);
    assert!(line.ends_with("the answer has more than 64 MiB"), "{line}");
}

/// A terminal: what is drawn on it, and its other end.
fn terminal() -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let path = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options()
        .read(true)
        .write(true)
        .open(path.to_str().expect("a path of letters"))
        .unwrap();
    (master.into(), slave.into())
}

#[test]
fn on_a_terminal_tables_are_drawn_over_each_other_and_it_is_left_as_it_was() {
    let scene = Scene::new();
    let (mut screen, slave) = terminal();
    let before = rustix::termios::tcgetattr(&slave).unwrap();
    let mut top = scene.top(&["--interval", "20ms"]);
    let mut top = Running::start(top.stdout(slave.try_clone().unwrap()));
    let mut drawn = Vec::new();
    let give_up = Instant::now() + Duration::from_secs(10);
    let mut interrupted = false;
    loop {
        // What it draws over three others: then it has enough.
        let text = String::from_utf8_lossy(&drawn).into_owned();
        if !interrupted && text.matches("\x1b[3A\r").count() >= 3 {
            top.interrupt();
            interrupted = true;
        }
        let ended = interrupted && top.child.try_wait().unwrap().is_some();
        assert!(Instant::now() < give_up, "{text:?}");
        let mut fds = [rustix::event::PollFd::new(&screen, rustix::event::PollFlags::IN)];
        let moment = rustix::event::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        if rustix::event::poll(&mut fds, Some(&moment)).unwrap() > 0 {
            let mut some = [0; 4096];
            let read = screen.read(&mut some).unwrap();
            drawn.extend_from_slice(&some[..read]);
        } else if ended {
            break; // and all of it was read
        }
    }
    assert!(top.end().status.success());
    let text = String::from_utf8_lossy(&drawn);
    assert_eq!(text.matches("\x1b[?7l").count(), text.matches("\x1b[?7h").count(), "{text:?}");
    assert!(text.ends_with("\x1b[?7h"), "{text:?}");
    let after = rustix::termios::tcgetattr(&slave).unwrap();
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
}
