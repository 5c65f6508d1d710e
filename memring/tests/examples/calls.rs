//! Pairs of programs that talk, most of them by calls.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::support::{PATIENCE, Scratch, eventually};
use super::{program, said};

/// A program that one talks with, by standard input and line by line; killed when it is dropped.
struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (said, lines) = channel();
        // It ends with the output, or with the test.
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        Self { input: child.stdin.take(), lines, child }
    }

    /// A server, once it listens at the address that is its argument `at`.
    fn server(program: &Path, arguments: &[&str], at: usize) -> Self {
        let mut server = Self::start(program, arguments);
        assert_eq!(server.line(), format!("listening at {}", arguments[at]));
        server
    }

    /// The next line that it says.
    #[track_caller]
    fn line(&mut self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("another line")
    }

    #[track_caller]
    fn says(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }

    fn type_in(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("its input is open"), "{line}").expect("it reads");
    }

    /// Ends its input, and waits until it has ended.
    fn end(&mut self) -> ExitStatus {
        self.input = None;
        self.ended()
    }

    /// Waits until it has ended.
    fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().expect("its status");
            status.is_some()
        });
        status.expect("ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_calculator_calculates_and_tells_the_news() {
    let (Some(server), Some(client)) = (program("calculator_server"), program("calculator_client"))
    else {
        return;
    };
    let scratch = Scratch::new();
    let address = scratch.socket();
    let address = address.to_str().expect("text");
    let early = Command::new(&client).arg(address).output().expect("starts");
    assert_eq!(early.status.code(), Some(1));
    let why = format!("Error: nothing at {address}: start the service, or wait for it\n");
    assert_eq!(String::from_utf8_lossy(&early.stderr), why);
    let mut server = Running::server(&server, &[address], 0);
    let mut listener = Running::start(&client, &[address]);
    let process = listener.child.id();
    for line in [
        "1.5 + 2.25 = 375 hundredths",
        "1 % 2: `%` is none of + - * /",
        "1 / 0: of course",
        "1000000000000000000000000000000 * 1000000000000000000000000000000: \
         the result is too large: ask for fewer digits",
        "1 / 8 = 0.125",
        "1 / 7 = 0.142857142857",
    ] {
        listener.says(line);
    }
    let news = listener.line();
    let due = format!("Division by zero: pid {process} ");
    assert!(news.starts_with(&due) && news.ends_with("has tried it"), "{news}");
    assert!(listener.end().success());
    let logged = server.line();
    assert!(logged.starts_with(&format!("pid {process} ")), "{logged}");
    assert!(logged.ends_with(": here I am"), "{logged}");
}

#[test]
fn the_chat_knows_who_says_what_and_lets_only_some_speak() {
    let (Some(server), Some(client)) = (program("chat_server"), program("chat_client")) else {
        return;
    };
    let scratch = Scratch::new();
    let address = scratch.socket();
    let address = address.to_str().expect("text");
    let uid = rustix::process::geteuid().as_raw();
    let chat = Running::server(&server, &[address], 0);
    // Two of one name: what they call themselves tells nobody apart, their processes do.
    let [mut one, mut two] = [(); 2].map(|()| {
        let mut client = Running::start(&client, &["Ada", address]);
        client.says("-- welcome, Ada");
        client
    });
    let [first, second] = [&one, &two].map(|one| one.child.id());
    one.type_in("Good morning");
    let greeting = format!("Ada (uid {uid}, process {first}): Good morning");
    one.says(&greeting);
    two.says(&greeting);
    two.type_in("\u{1b}[2J");
    let answer = format!("Ada (uid {uid}, process {second}): \\u{{1b}}[2J");
    one.says(&answer);
    two.says(&answer);
    // Who comes later is told what was said, once.
    let mut late = Running::start(&client, &["Grace", address]);
    late.says(&greeting);
    late.says(&answer);
    late.says("-- welcome, Grace");
    one.type_in("Welcome");
    late.says(&format!("Ada (uid {uid}, process {first}): Welcome"));
    for mut client in [one, two] {
        assert!(client.end().success());
    }
    drop(chat);
    assert!(!late.ended().success(), "the server has died, and it says so");

    // Only another user may speak here.
    let other = (uid + 1).to_string();
    let _chat = Running::server(&server, &[address, &other], 0);
    let mut command = Command::new(&client);
    command.args(["Ada", address]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut client = command.stderr(Stdio::piped()).spawn().expect("starts");
    writeln!(client.stdin.take().expect("a pipe"), "Hello?").expect("it reads");
    let output = client.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "-- you may only listen here\n");
}

#[test]
fn one_thread_plays_with_clients_and_hears_what_is_typed() {
    let (Some(pong), Some(ping)) = (program("pong"), program("ping")) else { return };
    let scratch = Scratch::new();
    let address = scratch.socket();
    let address = address.to_str().expect("text");
    let mut pong = Running::server(&pong, &[address], 0);
    let played = |word: &str| {
        let said = said(Command::new(&ping).args([address, "3"]));
        let lines: Vec<_> = said.lines().map(|line| line.split(" after ").next()).collect();
        let due: Vec<_> = (1..=3).map(|number| format!("{word} {number}")).collect();
        assert_eq!(lines, due.iter().map(|line| Some(line.as_str())).collect::<Vec<_>>());
    };
    played("pong");
    pong.type_in("peng");
    pong.says("from now on: peng");
    played("peng");
    assert!(pong.end().success(), "its input has ended");
}

#[test]
fn the_file_cache_holds_files_and_tells_of_changes() {
    let (Some(server), Some(client)) = (program("file_cache_server"), program("file_cache_client"))
    else {
        return;
    };
    let scratch = Scratch::new();
    let address = scratch.socket();
    let directory = scratch.path().join("files");
    std::fs::create_dir(&directory).expect("a directory");
    std::fs::write(directory.join("poem"), "one\ntwo\n").expect("room");
    std::fs::write(scratch.path().join("secret"), "nobody's business").expect("room");
    std::os::unix::fs::symlink("../secret", directory.join("link")).expect("a link");
    let (address, directory_name) =
        (address.to_str().expect("text"), directory.to_str().expect("text"));
    let _server = Running::server(&server, &[directory_name, address], 1);
    let ask = |what: &str, name: &str| {
        let mut command = Command::new(&client);
        let output = command.args([what, name, address]).output().expect("starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (output.status.success(), text(output.stdout) + &text(output.stderr))
    };
    let check = |what: &str, name: &str, well: bool, said: &str| {
        assert_eq!(ask(what, name), (well, format!("{said}\n")), "{what} {name}");
    };
    let mut watching = Running::start(&client, &["watch", "poem", address]);
    watching.says("8 bytes, not cached");
    check("stat", "poem", true, "8 bytes, not cached");
    check("lines", "poem", true, "2");
    check("stat", "poem", true, "8 bytes, cached");
    check("copy", "poem", true, "one\ntwo");
    for (name, why) in [
        ("prose", "there is no such file"),
        (".", "it is not a file"),
        ("../secret", "the name leads out of the directory that is served"),
        ("link", "the name leads out of the directory that is served"),
    ] {
        for what in ["lines", "copy", "stat", "watch"] {
            check(what, name, false, &format!("Error: {name}: {why}"));
        }
    }
    // Put there whole, so that nobody sees half of it.
    let new = directory.join("new");
    std::fs::write(&new, "one\ntwo\nthree\n").expect("room");
    std::fs::rename(new, directory.join("poem")).expect("there");
    watching.says("14 bytes, not cached");
    check("lines", "poem", true, "3");
    std::fs::remove_file(directory.join("poem")).expect("it was there");
    assert!(!watching.ended().success(), "there is nothing to watch any more");
}

#[test]
fn the_host_survives_whatever_templates_make_of_its_plugin() {
    let (Some(host), Some(_)) = (program("plugin_host"), program("plugin")) else { return };
    let steers = said(Command::new(&host).arg("\u{1b}[2J"));
    assert!(steers.contains(": \\u{1b}[2J\n"), "{steers:?}");
    let said = said(&mut Command::new(host));
    for (template, outcome) in [
        ("{greeting}, {user}!", ": Hello, Ada!"),
        ("{greeting:", "bad template: a `{` has no `}`"),
        ("{mystery}", "bad template: nobody knows what `mystery` is"),
        ("{panic}", "bad plugin: the method panicked"),
        ("{crash}", "the plugin died of it; it ended by signal"),
        ("{hang}", "the plugin hangs; it ended by signal: 9"),
        ("{open}", "the plugin died of it; it ended by signal: 31 (SIGSYS)"),
        ("again: {user}", ": again: Ada"),
        ("the host", "is well"),
    ] {
        let line = said.lines().find(|line| line.starts_with(template)).unwrap_or_default();
        assert!(line.contains(outcome), "{template}: {outcome:?} in {said}");
    }
    assert!(said.contains(" (spawned) says: 19 bytes became 11"), "{said}");
}
