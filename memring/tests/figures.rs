//! What content takes as a message and as a blob, from lying in one process to having been read in another. On demand:
//! `cargo test --release -p memring --test figures -- --ignored --nocapture`

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use memring::blob::{Blob, BlobBuilder};
use memring::{Bytes, ClientEnd, Connector, Lanes, Listener, Protocol, ServerEnd};
use support::{Helper, Scratch, Stage, play, soon};

#[test]
fn role() {
    play(&[("read", read)]);
}

#[memring::message(attachments)]
struct Content {
    bytes: Blob<[u8]>,
    /// How many of them to read.
    read: u64,
}

struct Contents;
impl Protocol for Contents {
    const NAME: &'static str = "contents";
    type ToClient = Content;
    type ToServer = [u8];
}

const LARGEST: usize = 64 << 20;
/// What is read of a blob that is looked into only.
const LOOK: u64 = 4 << 10;
const WAYS: [&str; 6] = [
    "Lanes::Normal",
    "Lanes::Bulk",
    "new blob",
    "the same again",
    "the same, 4 KiB of it",
    "making it, of the new blob",
];
/// How many of them are blobs that are sent.
const BLOBS: usize = 3;

/// All bytes, as words that add up.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    assert!(rest.is_empty(), "whole words");
    words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// Answers what came by its sum, way by way.
fn read(stage: &Stage) {
    let connect = |lanes| {
        let connector = Connector::new().lanes(Lanes::Small, lanes).largest_message(LARGEST as u64);
        connector.connect::<Bytes>(stage.path()).unwrap()
    };
    let mut lanes: [ClientEnd<Bytes>; 2] = [connect(Lanes::Normal), connect(Lanes::Bulk)];
    let connector = Connector::new().lanes(Lanes::Small, Lanes::Small);
    let mut blobs = connector.connect::<Contents>(stage.path()).unwrap();
    loop {
        for lane in &mut lanes {
            let Ok(message) = lane.recv() else { return };
            let sum = sum(&message);
            lane.send(&sum.to_le_bytes()).unwrap();
        }
        for _ in 0..BLOBS {
            let content = blobs.recv().unwrap();
            let bytes = content.blob(&content.bytes).unwrap();
            let sum = sum(&bytes[..content.read.to_native() as usize]);
            drop(content);
            blobs.send(&sum.to_le_bytes()).unwrap();
        }
    }
}

/// One process's ends.
struct Ends {
    lanes: [ServerEnd<Bytes>; 2],
    blobs: ServerEnd<Contents>,
}

impl Ends {
    /// Sends the content every way, and says how long each took.
    fn send(&mut self, content: &[u8]) -> [Duration; 6] {
        let due = sum(content).to_le_bytes();
        let mut took = [Duration::ZERO; 6];
        for (lane, took) in self.lanes.iter_mut().zip(&mut took) {
            let began = Instant::now();
            lane.send(content).unwrap();
            assert_eq!(*lane.recv().unwrap(), due);
            *took = began.elapsed();
        }
        let mut name = |bytes: Blob<[u8]>, read: u64| {
            self.blobs.send(&Content { bytes, read }).unwrap();
            self.blobs.recv().unwrap().to_vec()
        };
        let began = Instant::now();
        let mut blob = BlobBuilder::new().growing().unwrap();
        blob.write_all(content).unwrap();
        let blob = blob.seal().unwrap();
        took[5] = began.elapsed();
        assert_eq!(name(blob.clone(), blob.len() as u64), due);
        took[2] = began.elapsed();
        for (read, took) in [blob.len() as u64, LOOK].into_iter().zip(&mut took[3..5]) {
            let began = Instant::now();
            let sum = name(blob.clone(), read);
            *took = began.elapsed();
            assert!(read == LOOK || sum == due);
        }
        took
    }
}

#[test]
#[ignore = "measures, for a minute"]
fn when_a_blob_pays() {
    const ROUNDS: usize = 30;
    let sizes: Vec<usize> = (12..=26).step_by(2).map(|bits| 1 << bits).collect();
    let directory = Scratch::new();
    let listener =
        Listener::builder().largest_message(LARGEST as u64).bind(directory.socket()).unwrap();
    let reader = Helper::start("read", &[("path", &directory.socket().display())]);
    let lane = || listener.accept_deadline(soon()).unwrap().open::<Bytes>().unwrap();
    let lanes = [lane(), lane()];
    let blobs = listener.accept_deadline(soon()).unwrap().open::<Contents>().unwrap();
    let mut ends = Ends { lanes, blobs };

    let mut content = vec![0; LARGEST];
    for (at, byte) in (0_u64..).zip(&mut content) {
        *byte = (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    }
    let mut all: Vec<[Vec<Duration>; 6]> = vec![Default::default(); sizes.len()];
    let mut number = 0_u64;
    for round in 0..=ROUNDS {
        for (size, all) in sizes.iter().zip(&mut all) {
            for _ in 0..((1 << 20) / size).clamp(1, 10) {
                number += 1;
                content[..8].copy_from_slice(&number.to_le_bytes());
                let took = ends.send(&content[..*size]);
                if round > 0 {
                    (all.iter_mut().zip(took)).for_each(|(all, took)| all.push(took));
                }
            }
        }
    }
    drop(ends);
    drop(reader);

    println!("medians; {}", WAYS.join(", "));
    for (size, all) in sizes.iter().zip(&mut all) {
        let middle = all.each_mut().map(|all| {
            all.sort_unstable();
            all[all.len() / 2].as_secs_f64() * 1e6
        });
        let shown = middle.map(|micros| format!("{micros:9.1} us")).join(" ");
        let lane = middle[0].min(middle[1]);
        println!(
            "{:6} KiB {shown}; the better lane over a new blob {:.2}, over the same {:.2}",
            size >> 10,
            lane / middle[2],
            lane / middle[3],
        );
    }
}
