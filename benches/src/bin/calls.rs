//! What a call costs: beside the raw round trip of the same message, beside plain one-way messages, and with many threads on
//! one client.
//!
//! A child echoes. All ways take turns in one run; caller and child each have a processor of their own.
//!
//! `cargo run --release -p memring-benches --bin calls [ROUNDS]`
//!
//! `ONLY=call`, `ONLY=flight` and `ONLY=threads` make one kind of calls alone, for a profiler.

use std::collections::VecDeque;
use std::process::{Child, Command};
use std::sync::Barrier;
use std::time::Instant;

use memring::rpc::{Call, Calls, Link};
use memring::{Connector, Protocol, ServerEnd, Wait};
use memring_benches::machine::Machine;
use memring_benches::pin;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const CHILD: &str = "CALLS_CHILD";
/// Round trips of a turn.
const TURN: u64 = 20_000;
/// Calls of a turn that are made with others in flight, and messages of a turn one way.
const MANY: u64 = 100_000;
const IN_FLIGHT: usize = 64;
const THREADS: u64 = 64;

/// 32 bytes.
#[memring::message]
#[derive(Clone, Copy)]
struct Words([u64; 4]);

struct Raw;
impl Protocol for Raw {
    const NAME: &'static str = "raw";
    type ToClient = Words;
    type ToServer = Words;
}

/// 64 bytes.
#[memring::message]
#[derive(Clone, Copy)]
struct Tick([u64; 8]);

struct OneWay;
impl Protocol for OneWay {
    const NAME: &'static str = "one way";
    type ToClient = Tick;
    type ToServer = Words;
}

#[memring::interface(name = "echo", version = "1")]
trait Echo {
    fn echo(words: [u64; 4]) -> [u64; 4];
}

struct Echoing;

impl EchoServer for Echoing {
    fn echo(&self, _: &Call<'_>, words: [u64; 4]) -> [u64; 4] {
        words.map(|word| word + 1)
    }
}

fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(21), |rounds| rounds.parse())?;
    if let Ok(way) = std::env::var(CHILD) {
        return child(&way);
    }
    let [ours, childs] = match pin::allowed()?.as_slice() {
        [first, second, ..] => [*first, *second],
        _ => return Err("two processors are needed".into()),
    };
    let machine = Machine::this((ours, childs));
    println!("{} · Linux {} · processors {ours} and {childs}", machine.processor, machine.kernel);
    // Whoever is started has the processor of who starts it.
    let children = pin::on(childs, || -> Outcome<_> {
        Ok((start::<Raw>("raw")?, start::<OneWay>("one way")?, start::<Calls>("calls")?))
    })??;
    let ((raw_child, raw), (one_way_child, one_way), (calls_child, calls)) = children;
    pin::on(ours, || measure(rounds, raw, one_way, calls))??;
    for mut child in [raw_child, one_way_child, calls_child] {
        child.wait()?;
    }
    Ok(())
}

fn start<P: Protocol>(way: &str) -> Outcome<(Child, ServerEnd<P>)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(CHILD, way);
    Ok(Connector::new().wait(Wait::Adaptive).spawn::<P>(&mut command)?)
}

fn child(way: &str) -> Outcome<()> {
    match way {
        "raw" => {
            let mut channel = memring::inherited::<Raw>()?;
            while let Ok(words) = channel.recv() {
                let words = words.0.map(|word| word.to_native() + 1);
                if channel.send(&Words(words)).is_err() {
                    break;
                }
            }
        }
        "one way" => {
            let mut channel = memring::inherited::<OneWay>()?;
            let (mut count, mut sum) = (0, 0_u64);
            while let Ok(tick) = channel.recv() {
                sum = tick.0.iter().fold(sum, |sum, word| sum.wrapping_add(word.to_native()));
                count += 1;
                if count % MANY == 0 {
                    channel.send(&Words([sum; 4]))?;
                }
            }
        }
        _ => {
            let channel = memring::inherited::<Calls>()?;
            Link::serving(channel, [Echo::serve(Echoing)]).run();
        }
    }
    Ok(())
}

fn measure(
    rounds: usize,
    mut raw: ServerEnd<Raw>,
    mut one_way: ServerEnd<OneWay>,
    calls: ServerEnd<Calls>,
) -> Outcome<()> {
    let link = Link::over(calls);
    let client: EchoClient = link.open()?;
    let starts: EchoAsyncClient = link.open()?;
    if let Ok(only) = std::env::var("ONLY") {
        for _ in 0..rounds {
            let took = match only.as_str() {
                "flight" => pipelined(&starts)?,
                "threads" => threads(&client),
                _ => timed(TURN, |word| {
                    assert_eq!(client.echo([word; 4]).expect("an answer")[3], word + 1);
                }),
            };
            println!("{took:.1} ns");
        }
        return Ok(());
    }
    // In nanoseconds.
    let mut times: [Vec<f64>; 5] = Default::default();
    for _ in 0..rounds {
        times[0].push(timed(TURN, |word| {
            raw.send(&Words([word; 4])).expect("the child is there");
            let answer = raw.recv().expect("the child is there");
            assert_eq!(answer.0[3], word + 1);
        }));
        times[1].push(timed(TURN, |word| {
            assert_eq!(client.echo([word; 4]).expect("an answer")[3], word + 1);
        }));
        let began = Instant::now();
        for word in 0..MANY {
            one_way.send(&Tick([word; 8]))?;
        }
        one_way.recv()?;
        times[2].push(each(began, MANY));
        times[3].push(pipelined(&starts)?);
        times[4].push(threads(&client));
    }
    let [raw_time, call, plain, flight, threads] = times.map(|mut times| {
        times.sort_unstable_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!("32 bytes to and fro, spinning, medians of {rounds} interleaved turns");
    println!("raw round trip                {raw_time:>8.0} ns");
    println!(
        "call                          {call:>8.0} ns   {:.2} of the raw one",
        call / raw_time
    );
    println!("64 bytes one way              {plain:>8.1} ns");
    println!(
        "call, {IN_FLIGHT} in flight            {flight:>8.1} ns   {:.3} of the one-way rate",
        plain / flight
    );
    println!(
        "call, {THREADS} threads on a client   {threads:>8.0} ns   {:.2} of one thread's rate",
        call / threads
    );
    Ok(())
}

/// What one of so many takes, after some to warm up.
fn timed(count: u64, mut one: impl FnMut(u64)) -> f64 {
    (0..200).for_each(&mut one);
    let began = Instant::now();
    (0..count).for_each(one);
    each(began, count)
}

/// Nanoseconds of one of so many.
fn each(began: Instant, count: u64) -> f64 {
    began.elapsed().as_secs_f64() * 1e9 / count as f64
}

fn pipelined(client: &EchoAsyncClient) -> Outcome<f64> {
    let began = Instant::now();
    let mut pending = VecDeque::with_capacity(IN_FLIGHT);
    for word in 0..MANY {
        if pending.len() == IN_FLIGHT
            && let Some((word, oldest)) = pending.pop_front()
        {
            check(word, oldest)?;
        }
        pending.push_back((word, client.echo([word; 4])));
    }
    for (word, oldest) in pending {
        check(word, oldest)?;
    }
    Ok(each(began, MANY))
}

fn check(word: u64, pending: memring::rpc::Pending<[u64; 4]>) -> Outcome<()> {
    assert_eq!(pending.wait()?[3], word + 1);
    Ok(())
}

fn threads(client: &EchoClient) -> f64 {
    const EACH: u64 = 1000;
    let together = Barrier::new(THREADS as usize + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                together.wait();
                for word in 0..EACH {
                    assert_eq!(client.echo([word; 4]).expect("an answer")[3], word + 1);
                }
                together.wait();
            });
        }
        // That they are made, and end, is no part of it.
        let began = Instant::now();
        together.wait();
        together.wait();
        each(began, EACH * THREADS)
    })
}
