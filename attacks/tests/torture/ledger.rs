//! A ledger: what a process has done for certain, kept where its death does not take it along.
//!
//! A file of a few numbers. What was written before a SIGKILL is there afterwards, so whoever survives
//! knows what the other had begun to send, and what it had sent, received and closed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How far a process has come with closing its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Open,
    /// The sender is being dropped.
    Closing,
    /// The sender has gone, and the receiver is being dropped.
    SenderClosed,
    /// Both have gone.
    Closed,
}

/// One process's numbers.
pub struct Ledger {
    file: File,
}

const BEGUN: u64 = 0;
const SENT: u64 = 8;
const RECEIVED: u64 = 16;
const PHASE: u64 = 24;
const BYTES: usize = 32;

impl Ledger {
    /// The ledger at `path`; nothing in it yet if there was none.
    pub fn open(path: &Path) -> Self {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        Self { file: file.expect("the ledger opens") }
    }

    pub fn clear(&self) {
        self.file.write_all_at(&[0; BYTES], 0).expect("the ledger takes zeroes");
    }

    /// Messages up to this number may be seen from now on.
    pub fn set_begun(&self, count: u64) {
        self.set(BEGUN, count);
    }

    /// Messages up to this number were published.
    pub fn set_sent(&self, count: u64) {
        self.set(SENT, count);
    }

    pub fn set_received(&self, count: u64) {
        self.set(RECEIVED, count);
    }

    pub fn set_phase(&self, phase: Phase) {
        self.set(PHASE, phase as u64);
    }

    pub fn begun(&self) -> u64 {
        self.get(BEGUN)
    }

    pub fn sent(&self) -> u64 {
        self.get(SENT)
    }

    pub fn received(&self) -> u64 {
        self.get(RECEIVED)
    }

    pub fn phase(&self) -> Phase {
        let phases = [Phase::Open, Phase::Closing, Phase::SenderClosed, Phase::Closed];
        phases[self.get(PHASE) as usize]
    }

    fn set(&self, at: u64, number: u64) {
        self.file.write_all_at(&number.to_le_bytes(), at).expect("the ledger takes a number");
    }

    fn get(&self, at: u64) -> u64 {
        let mut number = [0; 8];
        self.file.read_exact_at(&mut number, at).expect("the ledger has a number");
        u64::from_le_bytes(number)
    }
}
