//! postcard and bincode over a Unix socket: what one writes oneself in an afternoon.
//!
//! A message is serialised behind its length, and sent by one write; in batches, by one write for 64 KiB. The
//! receiver reads ahead as much and makes a value of each message. postcard writes small numbers in few bytes, so
//! it sends less than everybody else; bincode is told to write words as they are, its fastest way.

use std::io::{BufReader, Read, Write};
use std::ops::Range;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use bincode::config::{Configuration, Fixint, LittleEndian};
use memring_benches::link::{Contender, Open, Side, Terms};
use memring_benches::payload::{WORD, word};
use memring_benches::{Failed, Link};
use serde::{Deserialize, Serialize};

use crate::meet::until_there;
use crate::words;

/// One for each way to serialise.
pub const ALL: &[Contender] = &[
    Contender {
        name: "postcard over Unix stream",
        version: "postcard 1.2.0",
        can: crate::sleeps,
        open: Open::Processes(|terms, side, at| {
            Ok(Box::new(Stream::<Postcard>::meet(terms, side, &at)?))
        }),
    },
    Contender {
        name: "bincode over Unix stream",
        version: "bincode 2.0.1",
        can: crate::sleeps,
        open: Open::Processes(|terms, side, at| {
            Ok(Box::new(Stream::<Bincode>::meet(terms, side, &at)?))
        }),
    },
];

#[derive(Serialize, Deserialize, bincode::Encode, bincode::Decode)]
struct Message {
    words: Vec<u64>,
}

trait Format {
    /// Appends `message` to `bytes`.
    fn write(message: &Message, bytes: &mut Vec<u8>) -> Result<(), Failed>;
    fn read(bytes: &[u8]) -> Result<Message, Failed>;
}

struct Postcard;

impl Format for Postcard {
    fn write(message: &Message, bytes: &mut Vec<u8>) -> Result<(), Failed> {
        postcard::to_io(message, bytes)?;
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<Message, Failed> {
        Ok(postcard::from_bytes(bytes)?)
    }
}

struct Bincode;

impl Bincode {
    const CONFIG: Configuration<LittleEndian, Fixint> =
        bincode::config::standard().with_fixed_int_encoding();
}

impl Format for Bincode {
    fn write(message: &Message, bytes: &mut Vec<u8>) -> Result<(), Failed> {
        bincode::encode_into_std_write(message, bytes, Self::CONFIG)?;
        Ok(())
    }

    fn read(bytes: &[u8]) -> Result<Message, Failed> {
        Ok(bincode::decode_from_slice(bytes, Self::CONFIG)?.0)
    }
}

/// Bytes read ahead, and gathered before a write if messages come in batches.
const GATHERED: usize = 64 << 10;

struct Stream<F> {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
    message: Message,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    batched: bool,
    format: std::marker::PhantomData<F>,
}

impl<F: Format> Stream<F> {
    fn meet(terms: &Terms, side: Side, at: &Path) -> Result<Self, Failed> {
        let path = at.join("stream");
        let socket = match side {
            Side::Near => until_there(|| UnixStream::connect(&path))?,
            Side::Far => UnixListener::bind(&path)?.accept()?.0,
        };
        Ok(Self {
            writer: socket.try_clone()?,
            reader: BufReader::with_capacity(GATHERED, socket),
            message: Message { words: vec![0; terms.size / WORD] },
            outgoing: Vec::new(),
            incoming: Vec::new(),
            batched: terms.batch > 1,
            format: std::marker::PhantomData,
        })
    }

    fn write(&mut self) -> Result<(), Failed> {
        self.writer.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }
}

impl<F: Format> Link for Stream<F> {
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        for (index, place) in self.message.words.iter_mut().enumerate() {
            *place = word(number, index as u64);
        }
        let start = self.outgoing.len();
        self.outgoing.extend([0; 4]);
        F::write(&self.message, &mut self.outgoing)?;
        let length = (self.outgoing.len() - start - 4) as u32;
        self.outgoing[start..][..4].copy_from_slice(&length.to_le_bytes());
        if !self.batched || self.outgoing.len() >= GATHERED { self.write() } else { Ok(()) }
    }

    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        let mut length = [0; 4];
        self.reader.read_exact(&mut length)?;
        self.incoming.resize(u32::from_le_bytes(length) as usize, 0);
        self.reader.read_exact(&mut self.incoming)?;
        words::read(&F::read(&self.incoming)?.words, number)
    }

    // As with a bare stream, a batch is as large as is good for it.
    fn send_each(&mut self, numbers: Range<u64>, _: u64) -> Result<(), Failed> {
        for number in numbers {
            self.send(number)?;
        }
        self.write()
    }
}
