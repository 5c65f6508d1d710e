//! What carries the demo's records: memring, or a Unix stream socket with the same archives on it.
//!
//! On the socket each archive follows its length, and is validated and looked at in place like memring's. It
//! reads ahead as a careful program would, and writes one record a call, or many if told that more follow.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use memring::rkyv::api::high::to_bytes_in;
use memring::rkyv::rancor;
use memring::rkyv::util::AlignedVec;
use memring::rkyv::{self, Archive};
use memring_benches::Failed;

use super::records::{Child, FromChild, Parent, ToChild};

/// Bytes that are gathered before a write, and read ahead.
const GATHERED: usize = 64 << 10;

/// Messages that memring sends together: few enough that the other side has something to do meanwhile.
const BATCH: usize = 64;

/// Carries typed messages: `Out` from here, `In` to here.
pub(super) trait Carrier<Out, In: Archive> {
    /// Sends one, at once.
    fn send(&mut self, message: &Out) -> Result<(), Failed>;

    /// Sends many, together where that pays.
    fn send_together<'a>(&mut self, messages: impl Iterator<Item = &'a Out>) -> Result<(), Failed>
    where
        Out: 'a;

    /// Waits for one and shows it.
    fn receive<R>(&mut self, look: impl FnOnce(&In::Archived) -> R) -> Result<R, Failed>;
}

/// One end of a Unix stream socket with archives on it.
#[derive(Debug)]
pub(super) struct Stream {
    writer: UnixStream,
    reader: BufReader<UnixStream>,
    archive: AlignedVec,
    outgoing: Vec<u8>,
    incoming: AlignedVec,
}

impl Stream {
    pub(super) fn new(socket: UnixStream) -> std::io::Result<Self> {
        Ok(Self {
            writer: socket.try_clone()?,
            reader: BufReader::with_capacity(GATHERED, socket),
            archive: AlignedVec::new(),
            outgoing: Vec::with_capacity(2 * GATHERED),
            incoming: AlignedVec::new(),
        })
    }

    fn gather(&mut self) -> Result<(), Failed> {
        self.outgoing.extend_from_slice(&u32::try_from(self.archive.len())?.to_le_bytes());
        self.outgoing.extend_from_slice(&self.archive);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        self.writer.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }

    /// Reads the next archive into aligned memory.
    fn next(&mut self) -> Result<&[u8], Failed> {
        let mut length = [0; 4];
        self.reader.read_exact(&mut length)?;
        self.incoming.resize(usize::try_from(u32::from_le_bytes(length))?, 0);
        self.reader.read_exact(&mut self.incoming)?;
        Ok(&self.incoming)
    }
}

// A message's archived form is only known to be checkable for a type at hand, so each direction is spelled out.
macro_rules! carries {
    ($channel:ty, $out:ty, $in:ty) => {
        impl Carrier<$out, $in> for $channel {
            #[inline]
            fn send(&mut self, message: &$out) -> Result<(), Failed> {
                Ok(Self::send(self, message)?)
            }

            fn send_together<'a>(
                &mut self,
                messages: impl Iterator<Item = &'a $out>,
            ) -> Result<(), Failed> {
                let mut batch = self.batch();
                for (message, number) in messages.zip(1_usize..) {
                    batch.push(message)?;
                    if number % BATCH == 0 {
                        batch.flush();
                    }
                }
                Ok(())
            }

            #[inline]
            fn receive<R>(
                &mut self,
                look: impl FnOnce(&<$in as Archive>::Archived) -> R,
            ) -> Result<R, Failed> {
                Ok(look(&*self.recv()?))
            }
        }

        impl Carrier<$out, $in> for Stream {
            fn send(&mut self, message: &$out) -> Result<(), Failed> {
                self.send_together(std::iter::once(message))
            }

            fn send_together<'a>(
                &mut self,
                messages: impl Iterator<Item = &'a $out>,
            ) -> Result<(), Failed> {
                for message in messages {
                    self.archive.clear();
                    let memory = std::mem::take(&mut self.archive);
                    self.archive = to_bytes_in::<_, rancor::Error>(message, memory)?;
                    self.gather()?;
                    if self.outgoing.len() >= GATHERED {
                        self.flush()?;
                    }
                }
                self.flush()
            }

            fn receive<R>(
                &mut self,
                look: impl FnOnce(&<$in as Archive>::Archived) -> R,
            ) -> Result<R, Failed> {
                let bytes = self.next()?;
                let view = rkyv::access::<<$in as Archive>::Archived, rancor::Error>(bytes)?;
                Ok(look(view))
            }
        }
    };
}
carries!(Parent, ToChild, FromChild);
carries!(Child, FromChild, ToChild);
