//! How long a survivor takes to learn that its peer was killed, and whether anything is left behind.
//!
//! Each round starts a child, lets it do one of the things a peer does, kills it with SIGKILL at a random
//! moment, and measures from just before the kill to `PeerDied`, or from taking the last committed message if
//! that is later. Then the descriptors, mappings and threads of this process must be what they were.
//!
//! `cargo run --release -p memring-benches --bin death [ROUNDS]`

use std::process::Command;
use std::time::{Duration, Instant};

use memring::{Bytes, Connector, End, Lanes, RecvError, SendError, Wait};

/// What the two processes are doing when the child dies.
const SCENES: [&str; 6] = [
    "child streams",
    "parent streams",
    "ping-pong",
    "both idle",
    "child in a batch",
    "large messages",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Ok(scene) = std::env::var("DEATH_SCENE") {
        return child(scene.parse()?);
    }
    let rounds: usize = std::env::args().nth(1).map_or(Ok(300), |rounds| rounds.parse())?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    let mut longest = [[Duration::ZERO; 3]; SCENES.len()];
    // The first session starts the watcher, the first event that nobody waits for the drainer. They stay.
    round(0, Wait::Park, Duration::from_millis(5))?;
    let (server, client) = memring::pair::<Bytes>()?;
    drop(client);
    let give_up = Instant::now() + Duration::from_secs(10);
    while !runs("memring-drainer")? && Instant::now() < give_up {
        std::thread::yield_now();
    }
    drop(server);
    let before = held()?;
    for _ in 0..rounds {
        for (scene, longest) in longest.iter_mut().enumerate() {
            for (at, wait) in [Wait::Spin, Wait::Adaptive, Wait::Park].into_iter().enumerate() {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let after = Duration::from_micros(random % 3000);
                longest[at] = longest[at].max(round(scene, wait, after)?);
            }
        }
    }
    println!(
        "longest of {rounds} rounds from SIGKILL, or the last message, to PeerDied (bar: 50 ms)"
    );
    println!("{:<18}{:>12}{:>12}{:>12}", "", "spin", "adaptive", "park");
    for (scene, longest) in SCENES.iter().zip(longest) {
        let [spin, adaptive, park] =
            longest.map(|longest| format!("{:.2} ms", longest.as_secs_f64() * 1e3));
        println!("{scene:<18}{spin:>12}{adaptive:>12}{park:>12}");
    }
    // The kernel takes a moment to end what a process held; wait for the condition, not for time.
    let give_up = Instant::now() + Duration::from_secs(10);
    while held()? != before && Instant::now() < give_up {
        std::thread::yield_now();
    }
    println!("fds, mappings, threads before: {before:?}, after: {:?}", held()?);
    if held()? != before {
        return Err("something was left behind".into());
    }
    Ok(())
}

/// Whether this process has a thread of that name.
fn runs(name: &str) -> Result<bool, std::io::Error> {
    Ok(std::fs::read_dir("/proc/self/task")?.flatten().any(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
    }))
}

/// Descriptors, memring mappings and threads of this process.
fn held() -> Result<[usize; 3], std::io::Error> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    Ok([
        std::fs::read_dir("/proc/self/fd")?.count(),
        maps.lines().filter(|line| line.contains("memfd:memring")).count(),
        std::fs::read_dir("/proc/self/task")?.count(),
    ])
}

fn round(
    scene: usize,
    wait: Wait,
    after: Duration,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env("DEATH_SCENE", scene.to_string());
    let connector = Connector::new().wait(wait).lanes(Lanes::Small, Lanes::Small);
    let (mut child, channel) = connector.spawn::<Bytes>(&mut command)?;
    let (mut sender, mut receiver) = channel.split();
    let pid = child.id();
    let (killed, when) = std::sync::mpsc::channel();
    let killer = std::thread::spawn(move || {
        let at = Instant::now() + after;
        while Instant::now() < at {
            std::thread::yield_now();
        }
        let now = Instant::now();
        let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
        let _ = killed.send((now, status));
        Instant::now()
    });
    let mut last = Instant::now();
    let end = loop {
        let failed = match scene {
            1 => sender.send(&[7; 100]).err().map(|error| match error {
                SendError::Ended(end) => end,
                other => unreachable!("{other}"),
            }),
            2 => {
                let _ = sender.try_send(b"ping");
                receive(&mut receiver, &mut last)
            }
            _ => receive(&mut receiver, &mut last),
        };
        if let Some(end) = failed {
            break end;
        }
    };
    let told = Instant::now();
    // `kill` itself is a process; the signal was sent when it had ended, at the latest.
    let sent = killer.join().map_err(|_| "the killer panicked")?;
    let (_, status) = when.recv()?;
    if !status?.success() {
        return Err("kill failed".into());
    }
    child.wait()?;
    match end {
        End::PeerDied(_) => Ok(told.saturating_duration_since(sent.max(last))),
        other => Err(format!("{}: expected PeerDied, got: {other}", SCENES[scene]).into()),
    }
}

fn receive(receiver: &mut memring::Receiver<[u8]>, last: &mut Instant) -> Option<End> {
    match receiver.recv() {
        Ok(_) => {
            *last = Instant::now();
            None
        }
        Err(RecvError::Ended(end)) => Some(end),
        Err(other) => unreachable!("{other}"),
    }
}

fn child(scene: usize) -> Result<(), Box<dyn std::error::Error>> {
    let (mut sender, mut receiver) = memring::inherited::<Bytes>()?.split();
    let large = vec![1; 300_000];
    loop {
        match scene {
            0 => sender.send(&[7; 100])?,
            2 => {
                let ping = receiver.recv()?.to_vec();
                sender.send(&ping)?;
            }
            4 => {
                let mut batch = sender.batch();
                for _ in 0..50 {
                    batch.push(&[7; 20])?;
                }
            }
            5 => sender.send(&large)?,
            _ => {
                receiver.recv()?;
            }
        }
    }
}
