//! A plain Unix stream socket: blocking reads and writes of 32 bytes a call.
//!
//! With many calls outstanding each end reads all that is there at once, and writes all that it has.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use memring_benches::{Failed, baselines};

use super::batches::{self, Caller, Carrier};
use super::{Contender, Words, meet};

/// Nothing to choose.
pub const ALL: &[Contender] = &[Contender {
    name: "Unix stream",
    version: baselines::VERSION,
    serve: |_, at| batches::serve(Socket::over(meet::accept(at)?)),
    connect: |_, at| Ok(Box::new(Caller::over(Socket::over(meet::connect(at)?)))),
}];

/// Bytes of an argument, or of an answer.
const BYTES: usize = size_of::<Words>();
/// The most read at once.
const AT_ONCE: usize = 1024 * BYTES;

struct Socket {
    stream: UnixStream,
    outgoing: Vec<u8>,
    incoming: Box<[u8]>,
    /// Bytes of the next words that are in `incoming` already.
    begun: usize,
}

impl Socket {
    fn over(stream: UnixStream) -> Self {
        Self { stream, outgoing: Vec::new(), incoming: vec![0; AT_ONCE].into(), begun: 0 }
    }
}

impl Carrier for Socket {
    fn send(&mut self, words: &[Words]) -> Result<(), Failed> {
        self.outgoing.clear();
        self.outgoing.extend(words.as_flattened().iter().flat_map(|word| word.to_le_bytes()));
        Ok(self.stream.write_all(&self.outgoing)?)
    }

    fn receive(&mut self, into: &mut Vec<Words>) -> Result<bool, Failed> {
        while self.begun < BYTES {
            match self.stream.read(&mut self.incoming[self.begun..])? {
                0 => return Ok(false),
                some => self.begun += some,
            }
        }
        let (whole, rest) = self.incoming[..self.begun].as_chunks::<BYTES>();
        into.extend(whole.iter().map(words));
        let (end, rest) = (self.begun, rest.len());
        self.incoming.copy_within(end - rest..end, 0);
        self.begun = rest;
        Ok(true)
    }
}

fn words(bytes: &[u8; BYTES]) -> Words {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}
