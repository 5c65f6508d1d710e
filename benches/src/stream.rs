//! The same over a Unix stream socket: what most programs would use instead.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use crate::measure::{Failed, Link};
use crate::tick::expect;

/// One end of a blocking Unix stream socket that carries messages of a fixed size.
#[derive(Debug)]
pub struct Stream {
    socket: UnixStream,
    buffer: Vec<u8>,
}

impl Stream {
    /// Messages of `size` bytes, at least 8, over `socket`.
    #[must_use]
    pub fn new(socket: UnixStream, size: usize) -> Self {
        Self { socket, buffer: vec![0; size.max(8)] }
    }

    fn send(&mut self, number: u64) -> Result<(), Failed> {
        if let Some(first) = self.buffer.first_chunk_mut() {
            *first = number.to_le_bytes();
        }
        Ok(self.socket.write_all(&self.buffer)?)
    }

    fn take(&mut self, number: u64) -> Result<(), Failed> {
        self.socket.read_exact(&mut self.buffer)?;
        let got = self.buffer.first_chunk().copied().unwrap_or_default();
        expect(u64::from_le_bytes(got), number)
    }
}

impl Link for Stream {
    fn call(&mut self, number: u64) -> Result<(), Failed> {
        self.send(number)?;
        self.take(number)
    }

    fn answer(&mut self, number: u64) -> Result<(), Failed> {
        self.take(number)?;
        self.send(number)
    }
}
