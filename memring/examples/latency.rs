//! A pair for whom each nanosecond counts: both spin, each on a processor of its own.
//!
//! Spinning burns a processor on each side, and is worth it only if nothing else wants to run there. Where the
//! kernel may be told so, boot with `isolcpus=` for these processors.
//!
//! `cargo run --release --example latency -- [ROUND_TRIPS]`

use std::error::Error;
use std::process::Command;
use std::time::Instant;

use memring::{Connector, Protocol, Wait};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// 32 bytes of plain data: it is archived by copying.
#[memring::message]
struct Tick {
    id: u64,
    price: i64,
    size: u64,
    flags: u64,
}

struct Ticks;

impl Protocol for Ticks {
    const NAME: &'static str = "ticks";
    type ToClient = Tick;
    type ToServer = Tick;
}

/// Round trips before the first that is measured, but not more than are measured.
const WARM_UP: u64 = 10_000;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("child") => child(),
        Some(count) => parent(count.parse()?),
        None => parent(200_000),
    }
}

/// Spinning needs two processors.
fn connector() -> Result<Connector, Box<dyn Error>> {
    let two = std::thread::available_parallelism()?.get() > 1;
    Ok(Connector::new().wait(if two { Wait::Spin } else { Wait::Adaptive }))
}

fn parent(count: u64) -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    // Asked before either of the two is pinned.
    let connector = connector()?;
    let (mut child, mut channel) = connector.spawn::<Ticks>(command.arg("child"))?;
    pin(0)?;
    let mut took = Vec::with_capacity(usize::try_from(count)?);
    let warm_up = WARM_UP.min(count);
    for id in 0..warm_up + count {
        let began = Instant::now();
        channel.send(&Tick { id, price: -1, size: 100, flags: 0 })?;
        let answer = channel.recv()?;
        assert_eq!(answer.id, id);
        if id >= warm_up {
            took.push(began.elapsed());
        }
    }
    took.sort_unstable();
    for (name, per_mille) in [("p50", 500), ("p99", 990), ("p99.9", 999)] {
        let at = (took.len() * per_mille / 1000).min(took.len().saturating_sub(1));
        if let Some(took) = took.get(at) {
            println!("{name:>6} {took:?}");
        }
    }
    let stats = channel.halves().0.stats();
    println!("{} messages, {} sleeps", stats.messages, stats.sleeps);
    drop(channel);
    child.wait()?;
    Ok(())
}

fn child() -> Result<(), Box<dyn Error>> {
    let connector = connector()?;
    let (mut answers, mut ticks) = connector.inherited::<Ticks>()?.split();
    pin(1)?;
    while let Ok(tick) = ticks.recv() {
        answers.send(&Tick {
            id: tick.id.to_native(),
            price: tick.price.to_native(),
            size: tick.size.to_native(),
            flags: tick.flags.to_native(),
        })?;
    }
    Ok(())
}

/// Keeps this thread on the first, or second, ... of the processors that it may use.
fn pin(index: usize) -> Result<(), Box<dyn Error>> {
    let allowed = sched_getaffinity(None)?;
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    if let Some(cpu) = cpus.nth(index) {
        let mut one = CpuSet::new();
        one.set(cpu);
        sched_setaffinity(None, &one)?;
    }
    Ok(())
}
