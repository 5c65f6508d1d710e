//! The command as people use it: what it carries arrives, and bad input is one line and a status.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Stdio;

use support::{Running, Scratch, TEXT, memring, one_line, run, shell};

/// Bytes that no two neighbours share, so that lost, doubled and shifted ones show.
fn data(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[test]
fn bad_input_is_one_line_and_a_status() {
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path(name);
    fs::write(path("file"), "x").unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::create_dir(path("shared")).unwrap();
    fs::set_permissions(path("shared"), fs::Permissions::from_mode(0o777)).unwrap();
    let _stream = UnixListener::bind(path("stream")).unwrap();
    drop(UnixDatagram::bind(path("stale")).unwrap());
    let long = path(&"x".repeat(120));
    let of = |name: &str| path(name).to_str().unwrap().to_owned();
    let long = long.to_str().unwrap();

    let cases: &[(&[&str], i32, &str)] = &[
        // The command line.
        (&[], 2, "which command?"),
        (&["dance"], 2, "unrecognized subcommand"),
        (&["ping"], 2, "required"),
        (&["ping", "x", "--size", "9z"], 2, "no unit of size"),
        (&["ping", "x", "--size", "2G"], 2, "at most 1G"),
        (&["ping", "x", "--count", "0"], 2, "0 is not in"),
        (&["ping", "x", "--wait", "dance"], 2, "possible values"),
        (&["ping", "x", "--interval", "-1"], 2, "unexpected argument"),
        (&["ping", "x", "--timeout", "soon"], 2, "not a time"),
        (&["demo", "--rounds", "0"], 2, "0 is not in"),
        (&["demo", "--pin", "1"], 2, "two processors"),
        (&["bench", "round", "square"], 2, "no group's name has all of"),
        (&["bench", "--rounds", "0"], 2, "0 is not in"),
        (&["bench", "--from", &of("file"), "--pin", "0,1"], 2, "cannot be used with"),
        (&["bench-worker", "dance"], 2, "the job of a worker"),
        // Nobody there.
        (&["ping", &of("none")], 3, "nothing at"),
        (&["send", &of("none")], 3, "nothing at"),
        (&["ping", &of("nowhere/none")], 3, "nothing at"),
        (&["ping", &of("file")], 3, "nobody listens"),
        (&["ping", &of("stale")], 3, ""),
        (&["ping", &of("stream")], 3, "not a memring socket"),
        (&["ping", ""], 3, "names no file"),
        (&["ping", "/"], 3, "names no file"),
        (&["ping", "@abstract"], 3, "abstract name"),
        (&["ping", long], 3, "a Unix socket address holds"),
        (
            &["ping", &of("none"), "--wait-for-service", "--timeout", "50ms"],
            3,
            "before the deadline",
        ),
        (&["top", &of("none")], 3, "nothing at"),
        (&["top", &of("file")], 3, "is no socket"),
        (&["top", &of("stream"), "--timeout", "50ms"], 3, "no answer at"),
        (&["top", &of("stale")], 3, ""),
        (&["top", "@abstract"], 3, "abstract name"),
        (&["top", "x", "--interval", "0"], 2, "at least 10ms"),
        // No place to listen.
        (&["echo", &of("nowhere/e")], 3, "no directory"),
        (&["echo", &of("file")], 3, "not a socket"),
        (&["echo", &of("shared/e")], 3, "others can replace files"),
        (&["echo", &of("e"), "--observe", &of("file")], 3, "not a socket"),
        (&["recv", &of("file")], 3, "not a socket"),
        (&["recv", &of("r"), "--timeout", "50ms"], 3, "nobody connected before the deadline"),
        // Files.
        (&["demo", &of("none")], 1, "No such file or directory"),
        (&["demo", &of("shared")], 1, "Is a directory"),
        (&["demo", &of("empty")], 1, "nothing to pass"),
        (&["bench", "--from", &of("none")], 1, "No such file or directory"),
        (&["bench", "--from", &of("file")], 1, "expected value"),
        (&["bench", "--rivals", &of("none")], 1, "No such file or directory"),
        (&["bench", "--rivals", "/bin/true"], 1, "no program of contenders"),
        // Processors.
        (&["demo", &of("file"), "--pin", "0,900"], 1, "may not run on processor 900"),
        (&["bench", "--pin", "0,900"], 1, "may not run on processor 900"),
        (&["echo", &of("e"), "--pin", "99999999"], 1, "may not run on processor 99999999"),
    ];
    for (arguments, status, part) in cases {
        let output = run(memring().args(*arguments).stdin(Stdio::null()));
        let line = one_line(&output, *status);
        assert!(line.contains(part), "{arguments:?}: {line}");
        // demo says first what it passes; the child is what fails.
        assert!(
            output.stdout.is_empty() || arguments[0] == "demo",
            "{arguments:?}: {:?}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn with_json_a_failure_is_an_object_too() {
    let output = run(memring().args(["--json", "ping", "/nowhere/none"]));
    let line = one_line(&output, 3);
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["status"], 3);
    assert_eq!(format!("memring: {}", object["error"].as_str().unwrap()), line);
}

#[test]
fn help_explains_every_command_with_examples_and_statuses() {
    let general = run(memring().arg("--help"));
    assert!(general.status.success());
    let general = String::from_utf8(general.stdout).unwrap();
    for command in ["demo", "bench", "echo", "ping", "send", "recv", "top", "doctor"] {
        assert!(general.contains(&format!("  {command} ")), "{command}");
        for arguments in [[command, "--help"], ["help", command]] {
            let output = run(memring().args(arguments));
            assert!(output.status.success() && output.stderr.is_empty());
            let text = String::from_utf8(output.stdout).unwrap();
            for part in ["Usage:", "Examples:", "Exit status:", "--json"] {
                assert!(text.contains(part), "{arguments:?} lacks {part}");
            }
        }
    }
    for hidden in ["demo-child", "demo-cache-server", "bench-worker"] {
        assert!(!general.contains(hidden), "{hidden} is not for people");
    }
}

#[test]
fn what_is_sent_is_received_to_the_last_byte() {
    for len in [0, 1, 4096, 512 << 10, (512 << 10) + 1, 9 << 20] {
        let scratch = Scratch::new();
        let (socket, input, copy) = (scratch.path("s"), scratch.path("in"), scratch.path("out"));
        fs::write(&input, data(len)).unwrap();
        let output = fs::File::create(&copy).unwrap();
        let receiver = Running::start(memring().arg("recv").arg(&socket).stdout(output));
        let input = fs::File::open(&input).unwrap();
        let mut sender = memring();
        sender.arg("send").arg(&socket).args(["--wait-for-service", "--timeout", "60s", "--json"]);
        let sent = run(sender.stdin(input));
        assert!(sent.status.success(), "{sent:?}");
        let report: serde_json::Value = serde_json::from_slice(&sent.stdout).unwrap();
        assert_eq!(report["bytes"], len);
        assert!(receiver.end().status.success());
        assert!(fs::read(&copy).unwrap() == data(len), "{len} bytes");
        assert!(!socket.exists(), "nothing is left at the path");
    }
}

#[test]
fn a_slow_stream_arrives_piece_by_piece() {
    let scratch = Scratch::new();
    let socket = scratch.path("s");
    let mut receiver = Running::start(memring().arg("recv").arg(&socket).stdout(Stdio::piped()));
    let mut sender = Running::start(
        memring().arg("send").arg(&socket).arg("--wait-for-service").stdin(Stdio::piped()),
    );
    let mut into = sender.child.stdin.take().unwrap();
    let mut from = receiver.child.stdout.take().unwrap();
    for piece in [&b"one"[..], b"two\n", b"\0"] {
        into.write_all(piece).unwrap();
        let mut got = vec![0; piece.len()];
        from.read_exact(&mut got).unwrap(); // blocks for ever if pieces were kept back
        assert_eq!(got, piece);
    }
    drop(into);
    assert!(sender.end().status.success());
    assert!(receiver.end().status.success());
}

#[test]
fn a_stream_that_is_cut_fails_and_says_so() {
    // The sender is killed; or cannot read on, and ends in order without having sent everything.
    for (kill, stdin, line) in [
        (true, Stdio::piped(), "the stream was cut: the peer died"),
        (false, Stdio::from(fs::File::open("/").unwrap()), "the stream was cut before its end"),
    ] {
        let scratch = Scratch::new();
        let socket = scratch.path("s");
        let mut receiver = Running::start(
            memring().arg("recv").arg(&socket).stdout(Stdio::piped()).stderr(Stdio::piped()),
        );
        let mut sender = Running::start(
            memring()
                .arg("send")
                .arg(&socket)
                .arg("--wait-for-service")
                .stdin(stdin)
                .stderr(Stdio::piped()),
        );
        if kill {
            sender.child.stdin.as_mut().unwrap().write_all(b"begun").unwrap();
            let mut got = [0; 5];
            receiver.child.stdout.as_mut().unwrap().read_exact(&mut got).unwrap();
            sender.child.kill().unwrap();
        } else {
            let said = one_line(&sender.end(), 1);
            assert_eq!(said, "memring: reading standard input: Is a directory");
        }
        let said = one_line(&receiver.end(), 4);
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn a_full_disk_fails_both_sides_with_a_line() {
    let scratch = Scratch::new();
    let socket = scratch.path("s");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let receiver =
        Running::start(memring().arg("recv").arg(&socket).stdout(full).stderr(Stdio::piped()));
    fs::write(scratch.path("in"), data(9 << 20)).unwrap();
    let input = fs::File::open(scratch.path("in")).unwrap();
    let sent = run(memring().arg("send").arg(&socket).arg("--wait-for-service").stdin(input));
    let why = "writing to standard output: No space left on device";
    assert_eq!(one_line(&receiver.end(), 1), format!("memring: {why}"));
    assert_eq!(one_line(&sent, 4), format!("memring: the receiver failed: {why}"));
}

#[test]
fn a_full_disk_and_a_broken_pipe_are_told_apart_on_standard_output() {
    for arguments in [&["doctor"][..], &["--help"], &["demo", "--rounds", "1", "--records", "1"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = run(memring().args(arguments).stdout(full));
        assert_eq!(
            one_line(&output, 1),
            "memring: writing to standard output: No space left on device"
        );

        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(memring().args(arguments).stdout(writer));
        assert_eq!(output.status.code(), Some(141), "{arguments:?}");
        assert!(output.stderr.is_empty(), "a broken pipe is quiet");
    }
}

#[test]
fn the_reader_of_a_received_stream_may_go_and_the_sender_hears_of_it() {
    let scratch = Scratch::new();
    let socket = scratch.path("s");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let receiver =
        Running::start(memring().arg("recv").arg(&socket).stdout(writer).stderr(Stdio::piped()));
    fs::write(scratch.path("in"), data(1 << 20)).unwrap();
    let input = fs::File::open(scratch.path("in")).unwrap();
    let sent = run(memring().arg("send").arg(&socket).arg("--wait-for-service").stdin(input));
    one_line(&sent, 4);
    let received = receiver.end();
    assert_eq!((received.status.code(), received.stderr.len()), (Some(141), 0));
}

#[test]
fn pings_of_every_size_come_back_whole_however_both_wait() {
    let scratch = Scratch::new();
    let socket = scratch.path("e");
    let echo = Running::echo(&socket, &[]);
    let mut bytes = 0_u64;
    for (size, count) in [(0, 3), (1, 3), (7, 3), (8, 3), (100_000, 3), (5 << 20, 2)] {
        for wait in ["spin", "adaptive", "park"] {
            let (size_text, count_text) = (size.to_string(), count.to_string());
            let output = run(memring()
                .arg("ping")
                .arg(&socket)
                .args(["--size", &size_text, "--count", &count_text, "--wait", wait])
                .args(["--timeout", "60s", "--json"]));
            assert!(output.status.success(), "{output:?}");
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(report["round_trip_ns"]["count"], count);
            assert_eq!(report["wait"], wait);
            assert_eq!(report["peer"]["pid"], echo.child.id());
            bytes += size * count;
        }
    }
    echo.interrupt();
    let output = echo.end();
    assert!(output.status.success());
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.starts_with("18 sessions, 51 messages, "), "{report}");
    assert!(bytes > 0 && !socket.exists(), "nothing is left at the path");
}

#[test]
fn pings_at_intervals_are_a_line_each_and_end_with_a_summary_when_interrupted() {
    let scratch = Scratch::new();
    let socket = scratch.path("e");
    let _echo = Running::echo(&socket, &[]);
    let mut ping = Running::start(
        memring().arg("ping").arg(&socket).args(["--interval", "1us"]).stdout(Stdio::piped()),
    );
    let mut text = String::new();
    let mut from = ping.child.stdout.take().unwrap();
    while !text.contains("seq=2 ") {
        let mut some = [0; 256];
        let len = from.read(&mut some).unwrap();
        assert!(len > 0, "it ended: {text}");
        text.push_str(&String::from_utf8_lossy(&some[..len]));
    }
    ping.interrupt();
    from.read_to_string(&mut text).unwrap();
    assert!(ping.end().status.success());
    assert!(text.contains("seq=0 ") && text.contains("p99.9"), "{text}");
}

#[test]
fn a_peer_that_dies_or_means_something_else_ends_it_with_a_line() {
    let scratch = Scratch::new();
    let socket = scratch.path("e");
    let mut echo = Running::echo(&socket, &[]);
    let ping = Running::start(
        memring()
            .arg("ping")
            .arg(&socket)
            .args(["--interval", "1ms", "--wait", "park"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut ping = ping;
    let mut first = [0; 1];
    ping.child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();

    let meant = run(memring().arg("send").arg(&socket).stdin(Stdio::null()));
    let line = one_line(&meant, 3);
    assert!(line.contains("memring-pipe") && line.contains("memring-echo"), "{line}");

    echo.child.kill().unwrap();
    let line = one_line(&ping.end(), 4);
    assert!(line.contains(&format!("the peer died: pid {}", echo.child.id())), "{line}");
}

#[test]
fn a_path_in_use_says_so_and_one_left_behind_is_taken_over() {
    let scratch = Scratch::new();
    let socket = scratch.path("e");
    let mut echo = Running::echo(&socket, &[]);
    let second = run(memring().arg("echo").arg(&socket));
    let line = one_line(&second, 3);
    assert!(line.contains("is in use") && line.contains(&echo.child.id().to_string()), "{line}");

    echo.child.kill().unwrap();
    echo.child.wait().unwrap();
    let line = one_line(&run(memring().arg("ping").arg(&socket)), 3);
    assert!(line.contains("nobody listens"), "{line}");
    let next = Running::echo(&socket, &["--sessions", "1"]);
    let output = run(memring().arg("ping").arg(&socket).args(["--count", "1"]));
    assert!(output.status.success(), "{output:?}");
    assert!(next.end().status.success());
}

#[test]
fn another_user_s_server_and_another_user_as_client_are_turned_away() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: becoming another user takes root");
        return;
    }
    const OTHER: u32 = 12_345;
    let scratch = Scratch::new();
    let program = scratch.path("memring"); // where that user can run it
    // Not by this process: whatever it forks meanwhile would hold the file open for writing.
    let copy =
        run(std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_memring")).arg(&program));
    assert!(copy.status.success(), "{copy:?}");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(scratch.directory(), fs::Permissions::from_mode(0o755)).unwrap();
    let theirs = scratch.path("theirs");
    fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(OTHER), Some(OTHER)).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o700)).unwrap();

    let as_other = |arguments: &[&str]| {
        use std::os::unix::process::CommandExt;
        let mut command = std::process::Command::new(&program);
        command.args(arguments).uid(OTHER).gid(OTHER).stdin(Stdio::null());
        command
    };
    let socket = theirs.join("e");
    let _theirs = Running::start_echo(&mut as_other(&["echo", socket.to_str().unwrap()]));
    let line = one_line(&run(memring().arg("ping").arg(&socket)), 3);
    assert!(line.contains(&format!("uid {OTHER}")), "{line}");

    let socket = scratch.path("ours");
    let _ours = Running::echo(&socket, &[]);
    let line = one_line(&run(&mut as_other(&["ping", socket.to_str().unwrap()])), 3);
    assert!(line.contains("no permission"), "{line}");
    // Whoever opens the socket file to all is still protected by the policy.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let line = one_line(&run(&mut as_other(&["ping", socket.to_str().unwrap()])), 3);
    assert!(line.contains("uid"), "{line}");
}

#[test]
fn the_demo_verifies_any_file_and_prints_digests_that_others_compute() {
    let scratch = Scratch::new();
    let long_line = data(200_000).into_iter().filter(|byte| *byte != b'\n').collect::<Vec<_>>();
    // The SHA-256 of the file, if it is well known.
    let cases: &[(&[u8], Option<&str>)] = &[
        (b"abc", Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")),
        (b"\n\n\n", None),
        (b"no newline at the end\nlike this", None),
        (b"\0\xff\xfe\r\n", None),
        (&long_line, None),
        (TEXT, None),
    ];
    for (file, digest) in cases {
        let path = scratch.path("file");
        fs::write(&path, file).unwrap();
        let output = run(memring().arg("demo").arg(&path).args([
            "--rounds",
            "2",
            "--records",
            "20",
            "--json",
        ]));
        assert!(output.status.success(), "{output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["verified"]["bytes"], file.len());
        if let Some(digest) = digest {
            assert_eq!(report["verified"]["sha256_there"], *digest);
        }
        assert_eq!(report["round_trip_ns"]["memring"]["count"], 40);
        assert!(report["ratios"]["one_by_one"]["apart"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn the_demo_s_text_is_a_few_aligned_tables_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let output = run(memring()
        .args(["demo", "--rounds", "2", "--records", "20", "--wait", "park"])
        .env("TMPDIR", scratch.directory()));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "negotiated",
        "uid",
        "membarrier",
        "futex",
        "lanes",
        "largest message",
        "sha256",
        "p99.9",
        "Unix stream",
        "one by one",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0);
}

#[test]
fn the_demo_says_what_the_child_said_if_it_fails() {
    // Enough for the parent to begin with; not for what it then asks for.
    for limits in ["ulimit -n 12", "ulimit -n 6", "ulimit -f 1", "ulimit -v 40000"] {
        let output = shell(&format!("{limits}; exec \"$0\" demo --rounds 1 --records 1"));
        if output.status.success() {
            continue; // this machine makes do with less
        }
        let code = output.status.code();
        assert!(matches!(code, Some(1..=5)), "{limits}: {output:?}");
        one_line(&output, code.unwrap());
    }
}

#[test]
fn the_demo_s_child_may_be_killed_and_the_demo_says_so_and_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let mut demo = Running::start(
        memring()
            .args(["demo", "--rounds", "10000", "--records", "1000"])
            .env("TMPDIR", scratch.directory())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let stdout = demo.child.stdout.take().unwrap();
    let mut lines = BufReader::new(stdout).lines().map(Result::unwrap);
    let peer = lines.find(|line| line.trim_start().starts_with("peer ")).unwrap();
    let pid = peer.split_whitespace().skip_while(|word| *word != "pid").nth(1).unwrap();
    lines.find(|line| line.contains("back")).unwrap(); // verified, and times are taken from here on
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let line = one_line(&demo.end(), 4);
    assert!(line.contains("the peer died"), "{line}");
    assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0);
}

#[test]
fn groups_of_a_bench_are_listed_by_words() {
    let list = |words: &[&str]| {
        let output = run(memring().args(["bench", "--list"]).args(words));
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let all = list(&[]);
    assert!(all.contains("round trip 64 B\n") && all.contains("footprint of a session\n"), "{all}");
    assert_eq!(
        list(&["round trip", "1 KiB"]),
        "round trip 1 KiB\nround trip 1 KiB, one processor\n"
    );
    let json: serde_json::Value = serde_json::from_str(&list(&["idle", "--json"])).unwrap();
    assert_eq!(json["groups"], serde_json::json!(["idle"]));
}

#[test]
fn a_bench_measures_everybody_and_can_be_shown_again() {
    if std::thread::available_parallelism().unwrap().get() < 2 {
        println!("skipped: spinning takes two processors");
        return;
    }
    let scratch = Scratch::new();
    let (temporary, saved, pictures) = (scratch.path("t"), scratch.path("s"), scratch.path("p"));
    fs::create_dir(&temporary).unwrap();
    let output = run(memring()
        .args(["bench", "round trip 8 B", "--rounds", "1", "--json", "--plot"])
        .arg(&pictures)
        .env("TMPDIR", &temporary));
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let group = &report["groups"][0];
    assert_eq!(group["name"], "round trip 8 B");
    assert!(group["probe"]["nanos"].as_f64().unwrap() > 0.0, "{group}");
    let rows = group["rows"].as_array().unwrap();
    for row in rows {
        assert!(row["failed"].is_null() && row["median"].as_f64().unwrap() > 0.0, "{row}");
    }
    let first = ["memring", "memring, trust_peer", "memring, bytes", "memring, bytes, trust_peer"];
    for (row, name) in rows.iter().zip(first) {
        assert_eq!(row["name"], name);
    }
    assert_eq!(rows[0]["ours_over_it"], 1.0);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "directories are left behind");
    let picture = fs::read_to_string(pictures.join("round-trip.svg")).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("memring, adaptive"));

    fs::write(&saved, &output.stdout).unwrap();
    for (how, part) in [
        (&[][..], "  memring, adaptive  "),
        (&["--markdown"], "| memring, adaptive |"),
        (&["--json"], "\"memring, adaptive\""),
    ] {
        let output = run(memring().args(["bench", "--from"]).arg(&saved).args(how));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(part) && text.contains("time of memring over that of"), "{text}");
    }
}

#[test]
fn a_bench_counts_what_a_session_takes() {
    let output = run(memring().args(["bench", "footprint", "--json"]));
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |what: &str| report["footprint"][what].as_f64().unwrap();
    // The socket at least, and both lanes.
    assert!(of("near_fds") >= 1.0 && of("far_fds") >= 1.0, "{report}");
    assert!(of("memory") >= f64::from(512 << 10), "{report}");
    assert_eq!(report["groups"].as_array().unwrap().len(), 0);
}

#[test]
fn an_interrupted_bench_leaves_no_process_and_no_directory() {
    let scratch = Scratch::new();
    let bench = Running::start(
        memring()
            .args(["bench", "one processor", "--rounds", "10000"])
            .env("TMPDIR", scratch.directory())
            .stdout(Stdio::null())
            .stderr(Stdio::piped()),
    );
    let children = format!("/proc/{0}/task/{0}/children", bench.child.id());
    let workers = || -> Vec<u32> {
        let pids = fs::read_to_string(&children).unwrap_or_default();
        pids.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    };
    while workers().is_empty() {
        std::thread::yield_now();
    }
    let workers = workers();
    bench.interrupt();
    let line = one_line(&bench.end(), 130);
    assert!(line.contains("interrupted while measuring"), "{line}");
    assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0);
    assert!(workers.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
}

#[test]
fn the_doctor_tells_what_is_lost_and_what_is_fatal_by_its_status() {
    let healthy = run(memring().arg("doctor"));
    assert!(healthy.status.success(), "memring has to work where its tests run: {healthy:?}");
    let text = String::from_utf8(healthy.stdout).unwrap();
    for part in ["memfd seals", "futex_waitv", "membarrier", "SO_PEERPIDFD", "RLIMIT_NOFILE"] {
        assert!(text.contains(part), "{part}");
    }

    for (limits, strict, status, check, state) in [
        ("ulimit -n 64", "", 0, "RLIMIT_NOFILE", "lost"),
        ("ulimit -n 64", "--strict", 1, "RLIMIT_NOFILE", "lost"),
        ("ulimit -f 1", "", 1, "a session", "fatal"), // and no SIGXFSZ
    ] {
        let output = shell(&format!("{limits}; exec \"$0\" doctor --json {strict}"));
        assert_eq!(output.status.code(), Some(status), "{limits}: {output:?}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let checks = report["checks"].as_array().unwrap();
        let found = checks.iter().find(|each| each["name"] == check).unwrap();
        assert_eq!(found["state"], state, "{limits}: {found}");
        assert!(found["lost"].is_string());
    }
}
