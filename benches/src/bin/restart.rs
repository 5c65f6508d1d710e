//! How long clients take to come back when their server is killed and started again.
//!
//! So many supervised clients, ten in a process, each in a receive that has no deadline. Each round kills the server with
//! SIGKILL, leaves it dead for a while, and starts another one at the same path, which greets whoever comes. A client is
//! back when it has received that. Measured from the kill, and from the moment when the new server listens.
//!
//! `cargo run --release -p memring-benches --bin restart [CLIENTS [ROUNDS]]`

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use memring::hub::{Event, Hub};
use memring::supervised::Failed;
use memring::{Bytes, Connector, Lanes, Listener};
use memring_benches::scratch::Scratch;
use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROLE: &str = "RESTART_ROLE";
const PATH: &str = "RESTART_PATH";
const CLIENTS: &str = "RESTART_CLIENTS";
/// Clients of a process.
const TOGETHER: usize = 10;
/// For how long the server is dead.
const ABSENT: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(1000)];
/// Nobody may take longer.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Outcome<()> {
    match std::env::var(ROLE).as_deref() {
        Ok("server") => return serve(Path::new(&std::env::var(PATH)?)),
        Ok(_) => {
            return clients(Path::new(&std::env::var(PATH)?), std::env::var(CLIENTS)?.parse()?);
        }
        Err(_) => {}
    }
    let mut numbers = std::env::args().skip(1).map(|number| number.parse::<usize>());
    let count = numbers.next().unwrap_or(Ok(200))?;
    let rounds = numbers.next().unwrap_or(Ok(10))?;
    let scratch = Scratch::new()?;
    let path = scratch.path().join("sock");
    let (tell, told) = channel();
    let mut server = start(&path, "server", 0, &tell)?;
    let mut processes = Vec::new();
    for first in (0..count).step_by(TOGETHER) {
        let some = TOGETHER.min(count - first);
        processes.push(start(&path, "clients", some, &tell)?);
    }
    all_back(&told, count)?;
    println!(
        "{count} clients, {rounds} rounds; ms until a client is back, after the kill and after the server listens"
    );
    println!(
        "{:<16}{:>26}{:>26}",
        "server dead for", "median   99 %  worst", "median   99 %  worst"
    );
    for absent in ABSENT {
        let (mut since_kill, mut since_listening) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let killed = now();
            server.kill()?;
            server.wait()?;
            thread::sleep(absent);
            server = start(&path, "server", 0, &tell)?;
            let (listening, back) = all_back(&told, count)?;
            since_kill.extend(back.iter().map(|back| back.saturating_sub(killed)));
            since_listening.extend(back.iter().map(|back| back.saturating_sub(listening)));
        }
        println!("{:<16}{}{}", format!("{absent:?}"), shown(since_kill), shown(since_listening));
    }
    for mut process in processes.into_iter().chain([server]) {
        process.kill()?;
        process.wait()?;
    }
    Ok(())
}

/// The median, the 99th percentile and the worst.
fn shown(mut times: Vec<u64>) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100] as f64 / 1e6;
    let all = format!("{:>6.0} {:>6.0} {:>6.0}", at(50), at(99), at(100));
    format!("{all:>26}")
}

/// Nanoseconds of the clock that all processes share.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Starts a process of which each line goes to who listens.
fn start(path: &Path, role: &str, clients: usize, tell: &Sender<String>) -> Outcome<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .env(ROLE, role)
        .env(PATH, path)
        .env(CLIENTS, clients.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    let tell = tell.clone();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if tell.send(line).is_err() {
                return;
            }
        }
    });
    Ok(child)
}

/// Waits until the server listens and each client is back; when that was.
fn all_back(told: &Receiver<String>, count: usize) -> Outcome<(u64, Vec<u64>)> {
    let (mut listening, mut back) = (None, HashMap::new());
    while listening.is_none() || back.len() < count {
        let line = told
            .recv_timeout(PATIENCE)
            .map_err(|_| format!("stuck: {} of {count} clients are back", back.len()))?;
        let (who, when) = line.split_once(' ').ok_or("no such line")?;
        let when = when.parse()?;
        if who == "server" {
            listening = Some(when);
        } else {
            back.insert(who.to_owned(), when);
        }
    }
    Ok((listening.ok_or("no server")?, back.into_values().collect()))
}

fn say(who: &str, when: u64) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{who} {when}")?;
    Ok(out.flush()?)
}

/// Greets whoever comes, and keeps them all.
fn serve(path: &Path) -> Outcome<()> {
    let listener = Listener::bind(path)?;
    say("server", now())?;
    let mut hub = Hub::new()?;
    hub.listen(&listener)?;
    let mut members = HashMap::new();
    loop {
        match hub.wait(None)? {
            Some(Event::Connected(_, incoming)) => {
                let Ok(mut client) = incoming.open::<Bytes>() else { continue };
                client.try_send(b"welcome")?;
                let member = hub.add(client)?;
                members.insert(member.key(), member);
            }
            Some(Event::Closed(key, _)) => drop(members.remove(&key)),
            _ => {}
        }
    }
}

/// Clients that say when they were greeted.
fn clients(path: &Path, count: usize) -> Outcome<()> {
    let threads: Vec<_> = (0..count)
        .map(|n| {
            let connector = Connector::new().lanes(Lanes::Small, Lanes::Small);
            let mut client = connector.supervised::<Bytes>(path)?;
            let who = format!("{}.{n}", std::process::id());
            Ok(thread::spawn(move || {
                loop {
                    match client.recv().map(|_| ()) {
                        Ok(()) if say(&who, now()).is_ok() => {}
                        Err(Failed::Lost(_)) => {}
                        _ => return,
                    }
                }
            }))
        })
        .collect::<Result<_, memring::ConnectError>>()?;
    for thread in threads {
        thread.join().map_err(|_| "a client panicked")?;
    }
    Ok(())
}
