//! Running the command in directories of our own, and what every failure has to look like.

#![allow(dead_code)] // Each file uses some of it.

use std::fs::DirBuilder;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The text that the demo passes if it is given none.
pub const TEXT: &[u8] = include_bytes!("../../assets/demo.txt");

/// The command under test.
pub fn memring() -> Command {
    Command::new(env!("CARGO_BIN_EXE_memring"))
}

/// Runs it to its end with what it says caught, unless that goes elsewhere already.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Runs a shell script with the command as `$0`: for limits that a child inherits.
pub fn shell(script: &str) -> Output {
    run(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_memring")]))
}

/// That it ended with this status, and the one line it said about it.
pub fn one_line(output: &Output, status: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    let line = said.strip_suffix('\n').unwrap_or_else(|| panic!("no whole line: {said:?}"));
    assert!(!line.contains('\n'), "more than one line: {said}");
    assert!(line.starts_with("memring: "), "{said}");
    assert!(!line.chars().any(memring::observe::is_unseen), "{said:?}");
    assert!(!line.contains("os error") && !line.contains("fault of memring"), "{said}");
    line.to_owned()
}

/// A directory of mode 0700, gone when dropped.
pub struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // ORDERING: Relaxed; only that no two are the same matters.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("memring-cli-test-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&directory).unwrap();
        Self { directory }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A command that runs beside the test, and does not outlive it.
pub struct Running {
    pub child: Child,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self { child: command.spawn().unwrap() }
    }

    /// `memring echo`, once it listens.
    pub fn echo(socket: &Path, more: &[&str]) -> Self {
        Self::start_echo(memring().arg("echo").arg(socket).args(more))
    }

    /// As [`Running::echo`], by a command that differs.
    pub fn start_echo(command: &mut Command) -> Self {
        let mut running = Self::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut said = String::new();
        let mut stderr = BufReader::new(running.child.stderr.take().unwrap());
        stderr.read_line(&mut said).unwrap();
        assert!(said.contains("listening at"), "{said}");
        // Complaints about clients must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        running
    }

    /// As Ctrl-C does.
    pub fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Waits for its end; what it said, as far as that was caught and not taken away.
    pub fn end(mut self) -> Output {
        drop(self.child.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        if let Some(mut from) = self.child.stdout.take() {
            from.read_to_end(&mut stdout).unwrap();
        }
        if let Some(mut from) = self.child.stderr.take() {
            from.read_to_end(&mut stderr).unwrap();
        }
        let status = self.child.wait().unwrap();
        Output { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where it has been waited for, both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
