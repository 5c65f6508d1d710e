//! What the process tests share: second processes, conditions, and what is counted.
//!
//! A second process is this test binary again. Each file has one test called `role`, which passes at once
//! unless [`Helper::start`] started it to play a part; the two then talk by lines over pipes, so that a
//! test waits for what happened and never for time. Whatever does not happen within [`PATIENCE`] fails.

#![allow(dead_code, unsafe_code)] // Each file uses some of it; signals and fork are system calls.

pub mod children;
pub mod container;
pub mod liar;
pub mod pages;
pub mod strangers;

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use memring::Wait;

/// How long anything may take before it counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(10);

const ROLE: &str = "MEMRING_TEST_ROLE";
const ALONE: &str = "MEMRING_TEST_ALONE";
const ARGUMENT: &str = "MEMRING_TEST_ARG_";
/// Set for a role that may go on when who started it has ended.
pub const OUTLIVES: &str = "MEMRING_TEST_OUTLIVES";

/// The deadline of whatever begins now.
pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Waits until `condition` holds; fails the test, naming `what`, if it never does.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = soon();
    while !condition() {
        assert!(Instant::now() < give_up, "never happened: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A directory of mode 0700 that is removed with everything in it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        use std::os::unix::fs::DirBuilderExt;
        use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Relaxed);
            let name = format!("memring-facade-{}-{number}", std::process::id());
            let path = std::env::temp_dir().join(name);
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Self(path),
                // Of a test that was killed, in a process of the same number.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("a scratch directory: {error}"),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where this test's server listens.
    pub fn socket(&self) -> PathBuf {
        self.0.join("s")
    }

    /// The names of the files in it.
    pub fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(&self.0)
            .expect("the scratch directory")
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Another process that plays a part of this file. Dropping it kills it.
pub struct Helper {
    pub child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// The command that starts this test binary as `role`.
pub fn role_command(role: &str, arguments: &[(&str, &dyn Display)]) -> Command {
    role_of(&std::env::current_exe().expect("this binary's path"), role, arguments)
}

fn role_of(program: &Path, role: &str, arguments: &[(&str, &dyn Display)]) -> Command {
    let mut command = Command::new(program);
    command
        .args(["role", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env_remove(ALONE);
    for (key, value) in arguments {
        command.env(format!("{ARGUMENT}{key}"), value.to_string());
    }
    command
}

/// The command that starts `role` as another user, from a copy of this binary that it may read.
pub fn role_command_as(
    uid: u32,
    directory: &Scratch,
    role: &str,
    arguments: &[(&str, &dyn Display)],
) -> Command {
    use std::os::unix::fs::PermissionsExt;
    let copy = directory.path().join("program");
    // Not written by this process: a child that another test forks meanwhile would hold it open for
    // writing, and nobody could run it.
    let copied = Command::new("cp")
        .arg(std::env::current_exe().expect("this binary's path"))
        .arg(&copy)
        .status();
    assert!(copied.is_ok_and(|status| status.success()), "a copy of this binary");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&copy, open.clone()).expect("others may run it");
    std::fs::set_permissions(directory.path(), open).expect("others may get there");
    let mut command = role_of(&copy, role, arguments);
    command.current_dir("/").gid(uid).uid(uid);
    command
}

impl Helper {
    /// Starts `role` with these arguments.
    #[track_caller]
    pub fn start(role: &str, arguments: &[(&str, &dyn Display)]) -> Self {
        Self::run(&mut role_command(role, arguments))
    }

    /// Starts `role` as another user, from a copy of this binary that it may read.
    pub fn start_as(
        uid: u32,
        directory: &Scratch,
        role: &str,
        arguments: &[(&str, &dyn Display)],
    ) -> Self {
        Self::run(&mut role_command_as(uid, directory, role, arguments))
    }

    /// Starts what `command` says, and listens to it.
    #[track_caller]
    pub fn run(command: &mut Command) -> Self {
        Self::try_run(command).expect("the helper starts")
    }

    /// [`run`](Self::run), where this machine may not be able to.
    pub fn try_run(command: &mut Command) -> std::io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map(Self::of)
    }

    /// Listens to a child that was started with piped standard input and output.
    pub fn of(mut child: Child) -> Self {
        let stdout = child.stdout.take().expect("its output is a pipe");
        let stdin = child.stdin.take();
        let (said, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // libtest writes "test role ... " in front of the first.
                let Some((_, line)) = line.split_once('@') else { continue };
                if said.send(line.to_owned()).is_err() {
                    return;
                }
            }
        });
        Self { child, stdin, lines }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    #[track_caller]
    pub fn hear(&self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("the helper said nothing for {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the helper ended without a word"),
        }
    }

    /// Waits until it says exactly this.
    #[track_caller]
    pub fn expect(&self, line: &str) {
        assert_eq!(self.hear(), line, "what the helper says");
    }

    /// The last line it has said so far, if any.
    pub fn latest(&self) -> Option<String> {
        self.lines.try_iter().last()
    }

    /// The lines that it says from here on, until its output ends.
    pub fn rest(&self) -> impl Iterator<Item = String> + '_ {
        self.lines.iter()
    }

    /// Says a line to it.
    #[track_caller]
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("its input is a pipe");
        writeln!(stdin, "{line}").expect("the helper listens");
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // SAFETY: no memory is involved; the child is not reaped, so the number is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// `kill -9`. It is dead on return, with all its threads, and not reaped.
    pub fn kill(&self) {
        self.signal(libc::SIGKILL);
        eventually("the killed helper is dead", || {
            // SAFETY: all zeroes are a siginfo_t, and the call fills it.
            let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
            let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            // SAFETY: `info` is live and whole; the child is left to be reaped by its owner.
            let done = unsafe { libc::waitid(libc::P_PID, self.pid(), &raw mut info, how) };
            assert_eq!(done, 0);
            // SAFETY: waitid has filled it, or left the pid zero.
            unsafe { info.si_pid() != 0 }
        });
    }

    /// Stops it, and waits until all its threads stand still.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        eventually("the helper stands still", || state_of(self.pid()) == Some('T'));
    }

    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the helper ends", || {
            status = self.child.try_wait().expect("its status");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub fn finish(&mut self) {
        drop(self.stdin.take());
        let status = self.wait();
        assert!(status.success(), "the helper: {status}");
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What the kernel says a process is doing: `R`, `S`, `T` (stopped), `Z` (dead); `None` once it is reaped.
pub fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Waits until a thread of this process sleeps in a system call.
pub fn eventually_asleep(tid: i32) {
    eventually("the thread sleeps", || is_asleep(&format!("/proc/self/task/{tid}")));
}

/// Whether the thread of this folder of `/proc` sleeps in a system call.
pub fn is_asleep(task: &str) -> bool {
    let stat = std::fs::read_to_string(format!("{task}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

/// Waits until the main work of another process sleeps: each of its threads does.
pub fn eventually_all_asleep(pid: u32) {
    eventually("the process sleeps", || {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
            return false;
        };
        tasks.filter_map(Result::ok).all(|task| is_asleep(&task.path().to_string_lossy()))
    });
}

/// The calling thread's number.
pub fn tid() -> i32 {
    // SAFETY: no memory is involved.
    unsafe { libc::gettid() }
}

/// Whether this kernel makes pidfds of processes and of who sent a packet.
pub fn has_pidfds() -> bool {
    const SO_PASSPIDFD: libc::c_int = 76;
    let (socket, _) = std::os::unix::net::UnixDatagram::pair().expect("a socketpair");
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `on` is a live int of the length that is given.
    let passes = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSPIDFD,
            (&raw const on).cast(),
            length,
        )
    };
    // SAFETY: the call takes no memory.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
    if opened >= 0 {
        // SAFETY: just opened, and nobody else knows of it.
        drop(unsafe { OwnedFd::from_raw_fd(opened as i32) });
    }
    passes == 0 && opened >= 0
}

/// What a helper does, by name.
pub type Role = (&'static str, fn(&Stage));

/// The other end of a [`Helper`].
pub struct Stage {
    arguments: HashMap<String, String>,
}

/// Plays the part that this process was started for, if any; the body of each file's test `role`.
pub fn play(roles: &[Role]) {
    let Some(role) = std::env::var_os(ROLE) else {
        return;
    };
    if std::env::var_os(OUTLIVES).is_none() {
        // SAFETY: no memory is involved. Whatever becomes of the test, its helper does not outlive it.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    }
    let arguments = std::env::vars()
        .filter_map(|(key, value)| Some((key.strip_prefix(ARGUMENT)?.to_owned(), value)))
        .collect();
    let (_, act) = roles.iter().find(|(name, _)| role == *name).expect("a role of this file");
    act(&Stage { arguments });
}

impl Stage {
    /// An argument.
    pub fn get(&self, key: &str) -> &str {
        self.arguments.get(key).unwrap_or_else(|| panic!("argument {key}"))
    }

    /// Where to connect to or listen at.
    pub fn path(&self) -> &Path {
        Path::new(self.get("path"))
    }

    /// A number among the arguments.
    pub fn number(&self, key: &str) -> u64 {
        self.get(key).parse().expect("a number")
    }

    /// How to wait.
    pub fn wait(&self) -> Wait {
        wait_named(self.get("wait"))
    }

    /// Says a line to the test.
    pub fn say(&self, line: impl Display) {
        let mut out = std::io::stdout().lock();
        // A test that does not listen any more has failed already.
        writeln!(out, "@{line}").and_then(|()| out.flush()).ok();
    }

    /// The next line of the test's. Ends this process if there is none.
    pub fn hear(&self) -> String {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
            std::process::exit(0);
        }
        line.trim_end().to_owned()
    }

    /// Stays until the test lets go or kills.
    pub fn linger(&self) {
        loop {
            self.hear();
        }
    }
}

/// Whether deaths are not told by pidfds here. Says that the test is skipped then.
pub fn no_pidfds() -> bool {
    let missing = !has_pidfds();
    if missing {
        println!("skipped: deaths are told by pidfds, which are not to be had here");
    }
    missing
}

/// Every way of waiting, by name.
pub const WAITS: [&str; 3] = ["spin", "adaptive", "park"];

pub fn wait_named(name: &str) -> Wait {
    match name {
        "spin" => Wait::Spin,
        "adaptive" => Wait::Adaptive,
        "park" => Wait::Park,
        other => panic!("no such strategy: {other}"),
    }
}

/// Whether this is a process with only the calling test in it: call it first, and return if not.
///
/// In the parent this runs the test binary again with only `test` and checks that it passed.
#[track_caller]
#[must_use = "the rest of the test belongs to the child"]
pub fn alone(test: &str) -> bool {
    let is = is_alone(test);
    if !is {
        start_alone(test, None);
    }
    is
}

/// Whether this is a process with only this test in it.
pub fn is_alone(test: &str) -> bool {
    std::env::var_os(ALONE).is_some_and(|name| name == test)
}

/// Runs the test binary again with only `test` and perhaps a variable more, and checks that it passed.
#[track_caller]
pub fn start_alone(test: &str, variable: Option<(&str, &str)>) {
    let output = Command::new(std::env::current_exe().expect("this binary's path"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, test)
        .envs(variable)
        .output()
        .expect("the test binary starts again");
    let said = String::from_utf8_lossy(&output.stdout);
    // What a reader of the log is to see: why a test was skipped, what one measured.
    for mark in ["skipped: ", "recorded: "] {
        for what in said.lines().filter_map(|line| line.split(mark).nth(1)) {
            println!("{mark}{what}");
        }
    }
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test} in a process of its own{}: {}\n{said}\n{}",
        variable.map_or(String::new(), |(name, value)| format!(", {name}={value}")),
        output.status,
        String::from_utf8_lossy(&output.stderr),
    );
}

/// What this process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What its descriptors are of, but for the one used to look.
    pub fds: Vec<String>,
    /// Mappings of segments.
    pub segments: usize,
    /// Threads by name, but for those that are started on first need and stay.
    pub threads: Vec<String>,
}

impl Held {
    pub fn now() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
        let list = |path: &str| {
            let entries = std::fs::read_dir(path).expect("/proc/self");
            entries.map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>()
        };
        // Numbers of sockets and the like tell nothing, and change.
        let kind = |target: PathBuf| {
            let shown = target.display().to_string();
            shown.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default().to_owned()
        };
        let mut fds: Vec<String> = list("/proc/self/fd")
            .into_iter()
            .filter_map(|fd| Some(kind(std::fs::read_link(fd).ok()?)))
            .collect();
        fds.sort();
        // One a process: it tells when segments are free.
        if let Some(at) = fds.iter().position(|kind| kind == "anon_inode:inotify") {
            fds.remove(at);
        }
        let mut threads: Vec<String> = list("/proc/self/task")
            .into_iter()
            .filter_map(|task| std::fs::read_to_string(task.join("comm")).ok())
            .map(|name| name.trim_end().to_owned())
            .collect();
        threads.sort();
        // These are started on first need and stay. (A thread bears its maker's name until it takes its own.)
        for (stays, most) in [("memring-watcher", 1), ("memring-drainer", 1), ("memring-closer", 4)]
        {
            for _ in 0..most {
                if let Some(at) = threads.iter().position(|name| name == stays) {
                    threads.remove(at);
                }
            }
        }
        Self {
            fds,
            segments: maps.lines().filter(|line| line.contains("/memfd:memring")).count(),
            threads,
        }
    }

    /// What is held once whatever is on its way out has gone: handshakes and closes end a moment later.
    pub fn settled() -> Self {
        let mut held = Self::now();
        let mut same = 0;
        eventually("nothing changes any more", || {
            let now = Self::now();
            same = if now == held { same + 1 } else { 0 };
            held = now;
            same >= 20 && !held.threads.iter().any(|name| name.starts_with("memring-"))
        });
        held
    }

    /// Waits until this process holds exactly this again.
    #[track_caller]
    pub fn eventually_again(&self) {
        let give_up = soon();
        let mut now = Self::now();
        while now != *self {
            assert!(Instant::now() < give_up, "held at first {self:#?}, now {now:#?}");
            thread::sleep(Duration::from_millis(1));
            now = Self::now();
        }
    }
}

/// Lets the kernel answer `errno` to a system call of this thread, and of those it starts, from now on.
pub fn forbid(call: libc::c_long, errno: i32) {
    let step =
        |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 0, 1),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter describes live instructions, which the kernel checks and copies.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter), 0);
    }
}

/// Lines of this process's memory map.
pub fn maps() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    maps.lines().count()
}

/// A child made by `fork` without an exec.
pub struct Forked(libc::pid_t);

impl Forked {
    /// Runs `body` in a forked child, which ends after it, with success unless `body` panics. It works on
    /// the child's copy of everything, so what it takes is still there in the parent.
    pub fn start(body: impl FnOnce()) -> Self {
        // SAFETY: the child runs `body` on its copy of this thread's stack and ends by `_exit`. glibc makes
        // its own locks good in the child, and tests that fork are alone in their process.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
                // SAFETY: ends the process, without the parent's destructors and output buffers.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
            child => Self(child),
        }
    }

    /// Waits for its end; whether it succeeded.
    pub fn wait(mut self) -> bool {
        let mut status = 0;
        let mut reaped = 0;
        eventually("the forked child ends", || {
            // SAFETY: `status` is a live int.
            reaped = unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) };
            reaped != 0
        });
        let ended = reaped == self.0;
        self.0 = 0;
        ended && status == 0
    }
}

impl Drop for Forked {
    /// One that never ends would keep this process's output open, and whoever reads it waiting.
    fn drop(&mut self) {
        if self.0 > 0 {
            // SAFETY: no memory is involved; the child is not reaped, so the number is its own.
            unsafe {
                libc::kill(self.0, libc::SIGKILL);
                libc::waitpid(self.0, std::ptr::null_mut(), 0);
            }
        }
    }
}
