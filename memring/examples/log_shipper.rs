//! A collector of log lines that sleeps while there are none, and applications that never wait for it.
//!
//! The collector parks: no processor time while nothing is logged. An application sends its lines in batches, and
//! if the collector does not keep up it drops lines and counts them instead of standing still.
//!
//! `cargo run --example log_shipper` starts the collector and two applications.

use std::error::Error;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Command;

use memring::{
    Connector, End, Lanes, Listener, Protocol, RecvError, Sender, ServerEnd, TrySendError, Wait,
};

/// One line.
#[memring::message]
struct Line {
    level: Level,
    text: String,
    /// Lines before this one that were dropped.
    dropped: u64,
}

#[memring::message]
#[derive(Debug)]
enum Level {
    Info,
    Warning,
}

struct Log;

impl Protocol for Log {
    const NAME: &'static str = "log";
    type ToClient = [u8]; // nothing is ever said to applications
    type ToServer = Line;
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [path, name] => application(Path::new(path), name),
        _ => collect(&["web", "mail"]),
    }
}

fn collect(applications: &[&str]) -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("memring-log-{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let path = directory.join("log.sock");
    let listener = Listener::builder()
        .wait(Wait::Park)
        // No application gets more than 256 KiB of memory each way, whatever it asks for.
        .lanes_between(Lanes::Small, Lanes::Normal)
        .bind(&path)?;
    let mut children = Vec::new();
    for name in applications {
        children.push(Command::new(std::env::current_exe()?).arg(&path).arg(name).spawn()?);
    }
    let mut threads = Vec::new();
    for _ in applications {
        let incoming = listener.accept()?;
        let name = incoming.name().to_owned();
        let channel = incoming.open::<Log>()?;
        threads.push(std::thread::spawn(move || show(&name, channel)));
    }
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked")?;
    }
    for mut child in children {
        child.wait()?;
    }
    drop(listener); // takes its socket file with it
    std::fs::remove_dir(&directory)?;
    Ok(())
}

/// Shows what one application logs, until it ends.
fn show(name: &str, channel: ServerEnd<Log>) {
    let (_, mut lines) = channel.split();
    let mut count = 0;
    let end = loop {
        match lines.recv() {
            Ok(line) => {
                count += 1;
                if line.dropped > 0 {
                    println!("{name}: {} lines lost here", line.dropped);
                }
                if matches!(line.level, ArchivedLevel::Warning) {
                    println!("{name}: {}", line.text);
                }
            }
            Err(RecvError::Ended(End::Closed)) => break "it ended".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    println!("{name}: {count} lines; {end}. The collector slept {} times", lines.stats().sleeps);
}

fn application(path: &Path, name: &str) -> Result<(), Box<dyn Error>> {
    let channel = Connector::new().name(name).connect::<Log>(path)?;
    let (mut log, _) = channel.split();
    let mut dropped = 0;
    for work in 0..20 {
        let lines = (0..50).map(|step| format!("step {step} of {work}"));
        send(&mut log, lines, &mut dropped)?;
    }
    // For what matters it waits.
    let text = "done".to_owned();
    log.send(&Line { level: Level::Warning, text, dropped })?;
    Ok(())
}

/// Logs the lines in one batch, or drops what there is no room for.
fn send(
    log: &mut Sender<Line>,
    lines: impl IntoIterator<Item = String>,
    dropped: &mut u64,
) -> Result<(), Box<dyn Error>> {
    let mut batch = log.batch();
    let mut line = Line { level: Level::Info, text: String::new(), dropped: 0 };
    for text in lines {
        (line.text, line.dropped) = (text, *dropped);
        match batch.try_push(&line) {
            Ok(()) => *dropped = 0,
            Err(TrySendError::Full) => *dropped += 1,
            Err(other) => return Err(other.into()),
        }
    }
    Ok(()) // the batch is published when it is dropped
}
