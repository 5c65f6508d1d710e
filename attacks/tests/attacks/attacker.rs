//! The attacker as its test sees it: a process that is told one line at a time and answers each.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal};

use crate::support::PATIENCE;

/// Who the attackers are where this process may start them as somebody else: one of so many from here on,
/// which no account has.
const STRANGERS: std::ops::Range<u32> = 1_054_321..1_154_321;

/// Whether attackers are of another uid than the victim.
pub fn is_stranger() -> bool {
    // Root's children may become anybody.
    rustix::process::geteuid().is_root()
}

/// The uid that this test's attackers run as. The kernel counts descriptors in flight by uid, so two tests that run
/// at once have two.
pub fn uid() -> u32 {
    if is_stranger() {
        STRANGERS.start + std::process::id() % STRANGERS.len() as u32
    } else {
        rustix::process::geteuid().as_raw()
    }
}

/// Another process that speaks the protocol as it is told. Dropping it kills it.
pub struct Attacker {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

/// What the attacker answers to a command that went through: fields by name.
#[derive(Debug)]
pub struct Answer {
    said: String,
    fields: HashMap<String, String>,
}

impl Attacker {
    /// Starts one, from a copy in `directory` that its user may run.
    pub fn start(directory: &Path) -> Self {
        Self::start_as(uid(), directory)
    }

    /// Starts one as this user and group, which takes root unless they are ours.
    pub fn start_as(uid: u32, directory: &Path) -> Self {
        let copy = directory.join("attacker");
        if !copy.exists() {
            // Not written by this process: a child that is forked meanwhile would hold it open for writing.
            let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_attacker")).arg(&copy).status();
            assert!(copied.is_ok_and(|status| status.success()), "a copy of the attacker");
        }
        let mut command = Command::new(copy);
        if is_stranger() {
            command.gid(uid).uid(uid);
        }
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the attacker starts");
        let stdin = child.stdin.take().expect("its input is a pipe");
        let stdout = child.stdout.take().expect("its output is a pipe");
        let (said, lines) = channel();
        std::thread::Builder::new()
            .name("test-attacker".to_owned())
            .spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if said.send(line).is_err() {
                        return;
                    }
                }
            })
            .expect("a thread");
        Self { child, stdin, lines }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it one line, without waiting for the answer.
    #[track_caller]
    pub fn tell(&mut self, command: impl Display) {
        writeln!(self.stdin, "{command}").expect("the attacker listens");
    }

    /// The next answer, as it stands.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        // Its own patience is as long as ours, so it gets a little longer to say that it lost it.
        self.lines.recv_timeout(2 * PATIENCE).expect("the attacker answers")
    }

    /// Tells it one line, which must go through.
    #[track_caller]
    pub fn run(&mut self, command: impl Display) -> Answer {
        self.tell(&command);
        let said = self.hear();
        match Answer::read(&said) {
            Some(answer) => answer,
            None => panic!("`{command}` did not go through: {said}"),
        }
    }

    /// The next answer, to a command that must have gone through.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let said = self.hear();
        Answer::read(&said).unwrap_or_else(|| panic!("it did not go through: {said}"))
    }

    /// Tells it one line; whether that went through.
    #[track_caller]
    pub fn goes_through(&mut self, command: impl Display) -> bool {
        self.tell(&command);
        !self.hear().starts_with("err ")
    }

    /// Tells it one line, which must fail; the word for how.
    #[track_caller]
    pub fn fails(&mut self, command: impl Display) -> String {
        self.tell(&command);
        let said = self.hear();
        let why =
            said.strip_prefix("err ").unwrap_or_else(|| panic!("`{command}` went through: {said}"));
        why.split(' ').next().unwrap_or_default().to_owned()
    }

    /// Has it open so many connections more to `path` and let them stand, however long the backlog is full.
    #[track_caller]
    pub fn flood(&mut self, path: &str, count: u64) {
        let patience = PATIENCE.as_millis();
        let answer = self.run(format!("flood {path} count={count} timeout={patience}"));
        assert_eq!(answer.number("opened"), count, "how many were opened");
    }

    /// Reads what lies on its connection up to the end, which must come, and closes it; the last message.
    #[track_caller]
    pub fn hung_up_on(&mut self) -> Option<Answer> {
        let mut last = None;
        loop {
            self.tell("recv");
            let said = self.hear();
            if said == "err end" {
                self.run("close");
                return last;
            }
            last = Some(Answer::read(&said).unwrap_or_else(|| panic!("the end was due: {said}")));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("it is ours");
    }

    /// `kill -9`, and its end awaited.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Answer {
    fn read(said: &str) -> Option<Self> {
        let mut words = said.split(' ');
        if words.next() != Some("ok") {
            return None;
        }
        let fields = words
            .filter_map(|word| word.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Some(Self { said: said.to_owned(), fields })
    }

    /// A field's value.
    #[track_caller]
    pub fn get(&self, key: &str) -> &str {
        self.fields.get(key).unwrap_or_else(|| panic!("no {key} in `{}`", self.said))
    }

    /// A field as a number, decimal or hexadecimal.
    #[track_caller]
    pub fn number(&self, key: &str) -> u64 {
        let value = self.get(key);
        let number = match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => value.parse(),
        };
        number.unwrap_or_else(|_| panic!("{key} is no number in `{}`", self.said))
    }
}
