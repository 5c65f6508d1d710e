//! Our own system calls made to fail, each in turn: a typed error or another way, and nothing left behind.
//!
//! A case is a forked child that tries for a session twice. While it tries first, one call is refused: the
//! n-th of its kind, for n = 1, 2, 3 until there are no more, or all of them. Then the call is good again,
//! the second try must succeed, and what the process holds must be what it holds after two good tries.
//! Servers and clients have an honest process at the other end, one for all cases: it tries again whenever
//! a session ends, so a case in which it was left hanging has nobody to meet in the second try.

#![allow(unsafe_code)] // A seccomp filter, and the thread that answers for it.

mod calls;
mod inject;
mod sessions;
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use calls::{ROWS, Row, Then};
use inject::{Call, Judge, When};
use sessions::{Attempt, child, client_for_ever, server_for_ever};
use support::{Forked, Held, Helper, PATIENCE, Scratch, alone, play};

#[test]
fn role() {
    play(&[("server", server_for_ever), ("client", client_for_ever), ("child", child)]);
}

/// The most calls of one kind that are made to fail one by one.
const MOST: u32 = 60;

#[test]
fn attack_79_whichever_call_of_a_pair_fails_nothing_is_left_behind() {
    if alone("attack_79_whichever_call_of_a_pair_fails_nothing_is_left_behind") {
        try_all("p", sessions::pair, &Scratch::new());
    }
}

#[test]
fn attack_79_whichever_call_of_a_server_fails_nothing_is_left_behind() {
    if alone("attack_79_whichever_call_of_a_server_fails_nothing_is_left_behind") {
        let scratch = Scratch::new();
        let _client = Helper::start("client", &[("path", &scratch.socket().display())]);
        try_all("s", sessions::server, &scratch);
    }
}

#[test]
fn attack_79_whichever_call_of_a_client_fails_nothing_is_left_behind() {
    if alone("attack_79_whichever_call_of_a_client_fails_nothing_is_left_behind") {
        let scratch = Scratch::new();
        let server = Helper::start("server", &[("path", &scratch.socket().display())]);
        server.expect("listening");
        try_all("c", sessions::client, &scratch);
    }
}

#[test]
fn attack_79_whichever_call_of_a_parent_fails_nothing_is_left_behind() {
    if alone("attack_79_whichever_call_of_a_parent_fails_nothing_is_left_behind") {
        try_all("x", sessions::spawned, &Scratch::new());
    }
}

/// Every row of the table that this side takes part in.
fn try_all(side: &str, attempt: Attempt, scratch: &Scratch) {
    let path = scratch.socket();
    let idle = Call { number: libc::SYS_getpriority, only: None };
    let good = || Judge::new(idle, libc::EPERM, When::Never);
    let case = Case { judge: good(), limit: None, then: Then::Session };
    let held =
        case.run(attempt, &path, None).unwrap_or_else(|why| panic!("no fault at all: {why}"));
    let mut failures = Vec::new();
    for limit in limits() {
        let case = Case { judge: good(), limit: Some(limit), then: Then::Whatever };
        let outcome = case.run(attempt, &path, Some(&held.held));
        failures.extend(outcome.err().map(|why| format!("{limit:?}: {why}")));
    }
    for row in ROWS.iter().filter(|row| row.by.contains(side)) {
        for errno in row.errnos {
            failures.extend(try_row(row, *errno, attempt, &path, &held.held));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The row's call refused in turn, and then for ever. What went wrong, if anything.
fn try_row(row: &Row, errno: i32, attempt: Attempt, path: &Path, held: &str) -> Option<String> {
    let error = std::io::Error::from_raw_os_error(errno);
    let told =
        |when: When, why: &dyn Display| Some(format!("{} {when:?}, {error}: {why}", row.name));
    let run = |when: When| {
        let judge = Judge::new(row.call, errno, when);
        Case { judge, limit: None, then: row.then }.run(attempt, path, Some(held))
    };
    for n in 1..=MOST {
        match run(When::Nth(n)) {
            Err(why) => return told(When::Nth(n), &why),
            Ok(outcome) if outcome.fired > 0 => {}
            // As many as there are have failed.
            Ok(_) if n > 1 => break,
            Ok(_) if row.may_be_missing() => {
                println!("skipped: no session here makes the call {}", row.name);
                return None;
            }
            Ok(_) => return told(When::Nth(n), &"this side makes no such call"),
        }
    }
    // For ever these are no fault but a wait, to the deadline.
    if errno == libc::EINTR || errno == libc::EAGAIN && row.call.number == libc::SYS_connect {
        return None;
    }
    run(When::Always).err().and_then(|why| told(When::Always, &why))
}

/// A limit of the process, while it tries first.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// So many descriptors more than are open.
    Descriptors(u64),
    /// Bytes of a file. Without a look at it first the kernel sends SIGXFSZ.
    FileSize(u64),
}

/// One descriptor more each time, until there are enough for any side; and files below a segment's size.
fn limits() -> impl Iterator<Item = Limit> {
    (0..16).map(Limit::Descriptors).chain([0, 4096, 16384].map(Limit::FileSize))
}

impl Limit {
    /// Lowers the soft limit. What it was comes back with the second call.
    fn impose(self, open: usize) -> impl FnOnce() {
        let (resource, most) = match self {
            Self::Descriptors(more) => (libc::RLIMIT_NOFILE, open as u64 + more),
            Self::FileSize(most) => (libc::RLIMIT_FSIZE, most),
        };
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `before` is live and whole.
        assert_eq!(unsafe { libc::getrlimit(resource, &raw mut before) }, 0);
        let set = move |limits: libc::rlimit| {
            // SAFETY: `limits` is live and whole.
            assert_eq!(unsafe { libc::setrlimit(resource, &raw const limits) }, 0);
        };
        set(libc::rlimit { rlim_cur: most, ..before });
        move || set(before)
    }
}

struct Case {
    judge: Judge,
    limit: Option<Limit>,
    then: Then,
}

/// What a case tells.
struct Outcome {
    fired: u32,
    held: String,
}

impl Case {
    /// In a child of its own. An error says what went wrong.
    fn run(self, attempt: Attempt, path: &Path, held: Option<&str>) -> Result<Outcome, String> {
        let told = path.with_extension("told");
        let _ = std::fs::remove_file(&told);
        let child = Forked::start(|| {
            let outcome = self.play(attempt, path, held);
            let text = match &outcome {
                Ok(outcome) => format!("ok {}\n{}", outcome.fired, outcome.held),
                Err(why) => format!("error\n{why}"),
            };
            std::fs::write(&told, text).expect("the scratch directory takes a file");
        });
        let ended = child.wait();
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        match text.split_once('\n') {
            Some((first, held)) if ended => match first.strip_prefix("ok ") {
                Some(fired) => {
                    Ok(Outcome { fired: fired.parse().expect("a number"), held: held.to_owned() })
                }
                None => Err(held.to_owned()),
            },
            _ => Err("the process ended badly".to_owned()),
        }
    }

    /// In the child: both tries, and what is left.
    fn play(self, attempt: Attempt, path: &Path, held: Option<&str>) -> Result<Outcome, String> {
        static PANICKED: AtomicBool = AtomicBool::new(false);
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICKED.store(true, SeqCst);
            print(info);
        }));
        let judge: &'static Judge = Box::leak(Box::new(self.judge));
        let (sat, sits) = channel();
        std::thread::spawn(move || {
            // It has allocated by now, and never does again: whoever forks holds libc's locks while it waits
            // for the judge.
            let _ = sat.send(());
            drop(sat);
            judge.sit();
        });
        let _ = sits.recv();
        let (tell, told) = channel();
        let path = path.to_owned();
        let worker = std::thread::spawn(move || {
            let open = Held::now().fds.len() + 1; // and the judge's
            judge.install();
            let lift = self.limit.map(|limit| limit.impose(open));
            let first = attempt(&path);
            judge.disarm();
            if let Some(lift) = lift {
                lift();
            }
            let second = attempt(&path);
            // Without a word of thanks: joining is a call that may be judged.
            let _ = tell.send((first, second));
        });
        // Less than the parent waits for this process, which then tells more.
        let (first, second) = match told.recv_timeout(PATIENCE - Duration::from_secs(1)) {
            Ok(both) => both,
            Err(RecvTimeoutError::Timeout) => return Err("it hangs".to_owned()),
            Err(RecvTimeoutError::Disconnected) => return Err("a panic".to_owned()),
        };
        worker.join().map_err(|_| "a panic")?;
        match first {
            Err(why) if why.is_empty() => return Err("an error without a word".to_owned()),
            Err(why) if self.then == Then::Session => return Err(format!("no session: {why}")),
            _ => {}
        }
        second.map_err(|why| format!("no session afterwards: {why}; at first {first:?}"))?;
        if PANICKED.load(SeqCst) {
            return Err("a panic".to_owned());
        }
        let mut now = String::new();
        match held {
            None => now = format!("{:?}", Held::settled()),
            Some(held) => {
                for _ in 0..2000 {
                    now = format!("{:?}", Held::now());
                    if now == held {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                if now != held {
                    return Err(format!("left behind: {now}, not {held}; at first {first:?}"));
                }
            }
        }
        Ok(Outcome { fired: judge.fired(), held: now })
    }
}
