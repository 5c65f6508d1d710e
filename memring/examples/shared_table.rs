//! One large table, built once, and four processes that look values up in it. It is sent to each as a blob: a
//! descriptor and a number. Nobody copies it, each value is checked when a process first asks for it, and the memory is
//! there once for all of them.
//!
//! `cargo run --release --example shared_table [MEGABYTES [LOOKUPS]]`

use std::error::Error;
use std::hint::black_box;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use memring::blob::{Blob, BlobBuilder, Table};
use memring::{Connector, Lanes, Protocol, ServerEnd};

/// A value of the table.
#[memring::message]
struct Record {
    key: u64,
    /// What the words of its body add up to.
    sum: u64,
    body: Vec<u64>,
}

/// From whoever has the table.
#[memring::message(attachments)]
enum Say {
    /// Look values up, so many.
    LookUp { table: Blob<Table<Record>>, lookups: u32 },
    /// All of you have: how much memory is it?
    HowMuch,
}

/// From a reader. Times in nanoseconds.
#[memring::message]
enum Answer {
    /// It is there, and wants the table.
    Ask,
    /// What looking values up took: the first, and the middle of those that were asked for the first time and again.
    Took { first: u64, new: u64, again: u64, wrong: u32 },
    /// Shared memory in KiB: what is mapped and there, and this process's share of it.
    Memory { resident: u64, share: u64 },
}

struct Lookup;

impl Protocol for Lookup {
    const NAME: &'static str = "lookup";
    type ToClient = Say;
    type ToServer = Answer;
}

const READERS: usize = 4;
/// Words of a body: a value is a KiB.
const WORDS: u64 = 125;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["reader", seed] => reader(seed.parse()?),
        [megabytes, lookups] => owner(megabytes.parse()?, lookups.parse()?),
        [megabytes] => owner(megabytes.parse()?, 200_000),
        _ => owner(100, 200_000),
    }
}

fn owner(megabytes: u64, lookups: u32) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let table = build(megabytes * 1000)?;
    let (values, bytes) = (table.len(), table.bytes().len());
    println!("{values} values, {bytes} bytes, built in {:?}", began.elapsed());

    let mut readers = Vec::new();
    for number in 1..=READERS {
        let mut command = Command::new(std::env::current_exe()?);
        // Small lanes: what goes through them is the number of the blob.
        let connector = Connector::new().lanes(Lanes::Small, Lanes::Small);
        readers.push(connector.spawn::<Lookup>(command.args(["reader", &number.to_string()]))?);
    }
    // All at once: first each is told, then each is listened to.
    for (_, reader) in &mut readers {
        if !matches!(&*reader.recv()?, ArchivedAnswer::Ask) {
            return Err("a reader asks for nothing".into());
        }
        reader.send(&Say::LookUp { table: table.clone(), lookups })?;
    }
    for (number, (_, reader)) in (1..).zip(&mut readers) {
        match &*reader.recv()? {
            ArchivedAnswer::Took { first, new, again, wrong } if *wrong == 0 => println!(
                "reader {number}: the first value took {:?} from the question, others {} ns the \
                 first time and {} ns again",
                Duration::from_nanos(first.to_native()),
                new,
                again,
            ),
            ArchivedAnswer::Took { wrong, .. } => return Err(format!("{wrong} are wrong").into()),
            _ => return Err("a reader says something else".into()),
        }
    }
    // Nobody lets go of it before all were asked.
    let mut whole = 0;
    let mut shares = 0;
    for (_, reader) in &mut readers {
        reader.send(&Say::HowMuch)?;
        match &*reader.recv()? {
            ArchivedAnswer::Memory { resident, share } => {
                whole = whole.max(resident.to_native());
                shares += share.to_native();
            }
            _ => return Err("a reader says something else".into()),
        }
    }
    println!("each reader has up to {whole} KiB in memory, all together {shares} KiB");
    // Copies would be four times one; some may not have looked everywhere.
    if shares > whole * 3 / 2 {
        return Err("the memory is not shared".into());
    }
    readers.into_iter().try_for_each(finish)
}

fn finish((mut child, reader): (Child, ServerEnd<Lookup>)) -> Result<(), Box<dyn Error>> {
    drop(reader);
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("a reader ended by {status}").into()) }
}

/// A table of so many values, the body of each from a generator that its key begins.
fn build(values: u64) -> Result<Blob<Table<Record>>, Box<dyn Error>> {
    let mut table = BlobBuilder::new().table()?;
    let mut record = Record { key: 0, sum: 0, body: vec![0; WORDS as usize] };
    for key in 0..values {
        let mut random = Random(key);
        record.key = key;
        record.body.iter_mut().for_each(|word| *word = random.next());
        record.sum = record.body.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word));
        table.push(&record)?;
    }
    Ok(table.seal()?)
}

fn reader(seed: u64) -> Result<(), Box<dyn Error>> {
    let (mut answers, mut said) = memring::inherited::<Lookup>()?.split();
    let began = Instant::now();
    answers.send(&Answer::Ask)?;
    let say = said.recv()?;
    let ArchivedSay::LookUp { table, lookups } = &*say else { return Err("no table came".into()) };
    let lookups = lookups.to_native();
    // A blob may be kept when the message is gone. Its memory was mapped, and not yet looked at.
    let table = say.blob(table)?;
    let mut random = Random(seed);
    let mut place = || random.next() % table.len();
    let mut wrong = u32::from(!holds(&table, place())?);
    let first = began.elapsed();

    let places: Vec<u64> = (0..lookups).map(|_| place()).collect();
    let mut took = [Vec::new(), Vec::new()];
    for took in &mut took {
        took.reserve(places.len());
        for place in &places {
            let began = Instant::now();
            let holds = holds(&table, *place)?;
            took.push(began.elapsed().as_nanos() as u64);
            wrong += u32::from(!holds);
        }
        took.sort_unstable();
    }
    let [new, again] = took.map(|took| took.get(took.len() / 2).copied().unwrap_or_default());
    answers.send(&Answer::Took { first: first.as_nanos() as u64, new, again, wrong })?;

    match &*said.recv()? {
        ArchivedSay::HowMuch => {
            let resident = kib("/proc/self/status", "RssShmem:")?;
            let share = kib("/proc/self/smaps_rollup", "Pss_Shmem:")?;
            answers.send(&Answer::Memory { resident, share })?;
        }
        ArchivedSay::LookUp { .. } => return Err("a second table came".into()),
    }
    // The table is held until the owner closes, so that it counts for all of them.
    while said.recv().is_ok() {}
    Ok(())
}

/// Whether the value at `place` is the one that belongs there.
fn holds(table: &Blob<Table<Record>>, place: u64) -> Result<bool, Box<dyn Error>> {
    let record = table.get(place)?.ok_or("there is no such value")?;
    let sum = record.body.iter().fold(0, |sum: u64, word| sum.wrapping_add(word.to_native()));
    Ok(black_box(record.key == place && record.sum == sum))
}

/// A number of KiB that the kernel keeps of this process.
fn kib(file: &str, field: &str) -> Result<u64, Box<dyn Error>> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such field")?;
    Ok(line.trim_end_matches("kB").trim().parse()?)
}

/// A seeded generator: splitmix64, by Sebastiano Vigna (<https://prng.di.unimi.it/splitmix64.c>).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
