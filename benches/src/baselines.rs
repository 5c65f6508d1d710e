//! The bare machine: the fastest ways we know to use its memory and its kernel, with no care for anything.
//!
//! They are yardsticks and nothing to send messages with: no checks, no ends, a peer that is believed in all it
//! writes. Where spinning comes in two shapes, with and without `pause`, both are here and the better one counts.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, acceptfrom_with,
    bind, connect, listen, recv, send, socket_with,
};
use rustix::thread::futex;

use crate::link::{Contender, Failed, Link, Measure, Open, OpenEnd, Side, Terms, Waiting, expect};
use crate::payload::{self, WORD};
use crate::shared::{Shared, until_there};

/// What stands where others have a version.
pub const VERSION: &str = "raw";

/// All of them. The first is the probe: what a line costs to get across.
pub const ALL: &[Contender] = &[
    raw("raw line", round_trip, |terms, side, at| {
        Ok(Box::new(Line::<false>::meet(side, &at, terms.size)?))
    }),
    raw("raw line, pause", round_trip, |terms, side, at| {
        Ok(Box::new(Line::<true>::meet(side, &at, terms.size)?))
    }),
    raw("raw ring", one_way, |terms, side, at| {
        Ok(Box::new(Ring::<false>::meet(terms, side, &at)?))
    }),
    raw("raw ring, pause", one_way, |terms, side, at| {
        Ok(Box::new(Ring::<true>::meet(terms, side, &at)?))
    }),
    // Another's memory at its best: no other process at all.
    raw("memcpy, one process", one_way, |terms, side, _| Ok(Box::new(Copy::new(side, terms.size)))),
    raw(
        "raw futex",
        |terms| terms.measure != Measure::OneWay && sleeps(terms),
        |terms, side, at| Ok(Box::new(Futex::meet(side, &at, terms.size)?)),
    ),
    raw("pipe", sleeps, |terms, side, at| Ok(Box::new(pipe(side, &at, terms)?))),
    raw("Unix stream", sleeps, |terms, side, at| Ok(Box::new(stream(side, &at, terms)?))),
    raw(
        "Unix seqpacket",
        |terms| sleeps(terms) && terms.size <= 64 << 10 && terms.batch == 1,
        |terms, side, at| Ok(Box::new(Packets::meet(side, &at, terms.size)?)),
    ),
    Contender {
        name: "connect, accept, 6 packets",
        version: VERSION,
        can: |terms| terms.measure == Measure::SetUp,
        open: Open::Processes(|_, side, at| Ok(Box::new(Connect::meet(side, &at)?))),
    },
];

const fn raw(name: &'static str, can: fn(&Terms) -> bool, open: OpenEnd) -> Contender {
    Contender { name, version: VERSION, can, open: Open::Processes(open) }
}

fn round_trip(terms: &Terms) -> bool {
    terms.measure == Measure::RoundTrip && terms.wait == Waiting::Spin
}

fn one_way(terms: &Terms) -> bool {
    terms.measure == Measure::OneWay && terms.batch == 1
}

/// The kernel sleeps: nothing to choose, and nothing to look at while spinning.
fn sleeps(terms: &Terms) -> bool {
    match terms.measure {
        Measure::OneWay => true,
        Measure::RoundTrip | Measure::Idle => terms.wait == Waiting::Park,
        Measure::SetUp => false,
    }
}

#[inline]
fn pause<const PAUSE: bool>() {
    if PAUSE {
        std::hint::spin_loop();
    }
}

/// Looks between two questions whether the other process is there still.
const PATIENCE: u32 = 1 << 20;

/// A message of one or more cache lines that two processes pass back and forth.
///
/// The first word is the flag: it is stored last, looked at until it is what is due, and is payload itself. There
/// and back have lines of their own, far enough apart that no prefetcher takes them for neighbours.
///
/// Where in the third-level cache a line lives depends on its physical address, and its round trip with it: from
/// 240 to 550 ns from one page to the next, on a server with 480 MB of it. So the message moves on now and then,
/// through as much memory as the lanes of a channel have, and what is measured is the mean of many places.
pub struct Line<const PAUSE: bool = false> {
    memory: Shared,
    side: Side,
    size: usize,
    there: Box<dyn Fn() -> bool + Send>,
}

impl<const PAUSE: bool> Line<PAUSE> {
    /// At least so much memory.
    const BYTES: usize = 512 << 10;
    /// Messages before it moves on, as a power of two: so many that the first touch counts for little.
    const STAY: u32 = 7;

    fn pitch(size: usize) -> usize {
        size.next_multiple_of(4 * LINE)
    }

    fn memory(size: usize) -> usize {
        Self::BYTES.max(4 * Self::pitch(size))
    }

    /// The calling end, for messages of `size` bytes, and what the other end is opened with.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn create(size: usize) -> Result<(Self, OwnedFd), Failed> {
        let memory = Shared::create(Self::memory(size))?;
        let fd = memory.descriptor()?;
        Ok((Self::over(memory, Side::Near, size), fd))
    }

    /// The answering end.
    ///
    /// # Errors
    ///
    /// What the kernel says; that it is no such memory.
    pub fn open(fd: OwnedFd, size: usize) -> Result<Self, Failed> {
        Ok(Self::over(Shared::open(fd, Self::memory(size))?, Side::Far, size))
    }

    fn meet(side: Side, at: &Path, size: usize) -> Result<Self, Failed> {
        Ok(Self::over(Shared::meet(side, at, Self::memory(size))?, side, size))
    }

    fn over(memory: Shared, side: Side, size: usize) -> Self {
        Self { memory, side, size, there: Box::new(|| true) }
    }

    /// Asks `there` now and then, while waiting for the other process, whether it is there still: a word in
    /// memory does not tell. Without it a wait may be for ever.
    pub fn watch(&mut self, there: impl Fn() -> bool + Send + 'static) {
        self.there = Box::new(there);
    }

    #[inline]
    fn place(&self, number: u64, from: Side) -> usize {
        let pitch = Self::pitch(self.size);
        let pairs = Self::memory(self.size) / pitch / 2;
        let pair = (number >> Self::STAY) as usize % pairs;
        (2 * pair + usize::from(from == Side::Far)) * pitch
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

impl<const PAUSE: bool> Link for Line<PAUSE> {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        let at = self.place(number, self.side);
        put(&self.memory, at, self.size, number);
        Ok(())
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        let other = if self.side == Side::Near { Side::Far } else { Side::Near };
        let at = self.place(number, other);
        await_flag::<PAUSE>(&self.memory, at, number, &self.there)?;
        take(&self.memory, at, self.size, number)
    }
}

/// Writes message `number` at `at`, the flag last.
#[inline]
fn put(memory: &Shared, at: usize, size: usize, number: u64) {
    // SAFETY: these bytes are the sender's until the flag is stored.
    let rest = unsafe { memory.bytes_mut(at + WORD, size - WORD) };
    payload::write(rest, payload::word(number, 1));
    // ORDERING: Release; pairs with the Acquire in `await_flag`. Numbers begin at 0, which is what fresh memory
    // holds, so the flag is one more.
    memory.word(at).store(number + 1, Ordering::Release);
}

/// Waits until message `number` is there.
#[inline]
fn await_flag<const PAUSE: bool>(
    memory: &Shared,
    at: usize,
    number: u64,
    there: &dyn Fn() -> bool,
) -> Result<(), Failed> {
    let flag = memory.word(at);
    loop {
        for _ in 0..PATIENCE {
            // ORDERING: Acquire; pairs with the Release in `put`.
            if flag.load(Ordering::Acquire) == number + 1 {
                return Ok(());
            }
            pause::<PAUSE>();
        }
        if !there() {
            return Err("the process at the other end of the cache line has gone".into());
        }
    }
}

/// Reads message `number`, whose flag was seen.
#[inline]
fn take(memory: &Shared, at: usize, size: usize, number: u64) -> Result<(), Failed> {
    if size == WORD {
        return Ok(());
    }
    // SAFETY: the flag was seen, and these bytes are written again only after our answer, or our index.
    payload::read(unsafe { memory.bytes(at + WORD, size - WORD) }, payload::word(number, 1))
}

/// A ring of messages in shared memory, written and read in place.
///
/// As in [`Line`] each message's first word is its flag. The reader says how far it is only now and then, on a line
/// of its own, and the writer looks at that only when it must.
struct Ring<const PAUSE: bool> {
    memory: Shared,
    size: usize,
    slots: u64,
    /// The writer's: how far the reader was when last looked at. The reader's: what it said last.
    index: u64,
}

impl<const PAUSE: bool> Ring<PAUSE> {
    /// Where the reader's index is.
    const INDEX: usize = 0;
    /// Where the first message is.
    const FIRST: usize = 4 * LINE;

    fn meet(terms: &Terms, side: Side, at: &Path) -> Result<Self, Failed> {
        let slots = terms.room.messages(terms.size);
        let memory = Shared::meet(side, at, Self::FIRST + slots * terms.size)?;
        Ok(Self { memory, size: terms.size, slots: slots as u64, index: 0 })
    }

    #[inline]
    fn place(&self, number: u64) -> usize {
        // A power of two here, as sizes and rooms are; the compiler does not know.
        debug_assert!(self.slots.is_power_of_two());
        Self::FIRST + (number & (self.slots - 1)) as usize * self.size
    }
}

impl<const PAUSE: bool> Link for Ring<PAUSE> {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        while number - self.index >= self.slots {
            // ORDERING: Acquire; pairs with the Release in `receive`: its reads come before our writes.
            self.index = self.memory.word(Self::INDEX).load(Ordering::Acquire);
            pause::<PAUSE>();
        }
        put(&self.memory, self.place(number), self.size, number);
        Ok(())
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        let at = self.place(number);
        await_flag::<PAUSE>(&self.memory, at, number, &|| true)?;
        take(&self.memory, at, self.size, number)?;
        if number + 1 - self.index >= self.slots / 4 {
            self.index = number + 1;
            // ORDERING: Release; pairs with the Acquire in `send`.
            self.memory.word(Self::INDEX).store(self.index, Ordering::Release);
        }
        Ok(())
    }
}

/// A message that is written, copied and read by one process: the far one, alone.
struct Copy {
    side: Side,
    from: Vec<u8>,
    to: Vec<u8>,
    /// Where in `to` the message goes: so far from where it lies in `from`, modulo 4096, that no load is taken for
    /// one of what was just stored.
    apart: usize,
}

impl Copy {
    fn new(side: Side, size: usize) -> Self {
        let (from, to) = (vec![0_u8; size], vec![0_u8; size + 4096]);
        let apart = (from.as_ptr().addr() + 2048).wrapping_sub(to.as_ptr().addr()) % 4096;
        Self { side, from, to, apart }
    }
}

impl Link for Copy {
    fn send(&mut self, _: u64) -> Result<(), Failed> {
        Ok(())
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        debug_assert_eq!(self.side, Side::Far);
        payload::write(&mut self.from, number);
        // Or the compiler sees through it.
        std::hint::black_box(&mut self.from);
        let to = &mut self.to[self.apart..][..self.from.len()];
        to.copy_from_slice(&self.from);
        std::hint::black_box(&mut *to);
        payload::read(to, number)
    }
}

/// A message in shared memory whose flag the other process sleeps on.
struct Futex {
    memory: Shared,
    side: Side,
    size: usize,
}

impl Futex {
    /// Where the flags are, there and back.
    const FLAGS: [usize; 2] = [0, 4 * LINE];
    const FIRST: usize = 8 * LINE;

    fn meet(side: Side, at: &Path, size: usize) -> Result<Self, Failed> {
        let memory = Shared::meet(side, at, Self::FIRST + 2 * size)?;
        Ok(Self { memory, side, size })
    }
}

impl Link for Futex {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        let from = usize::from(self.side == Side::Far);
        // SAFETY: these bytes are the sender's until its flag is stored, and again after the answer.
        let bytes = unsafe { self.memory.bytes_mut(Self::FIRST + from * self.size, self.size) };
        payload::write(bytes, number);
        let flag = self.memory.half_word(Self::FLAGS[from]);
        // ORDERING: Release; pairs with the Acquire in `receive`.
        flag.store(number as u32 + 1, Ordering::Release);
        futex::wake(flag, futex::Flags::empty(), 1)?;
        Ok(())
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        let from = usize::from(self.side == Side::Near);
        let flag = self.memory.half_word(Self::FLAGS[from]);
        loop {
            // ORDERING: Acquire; pairs with the Release in `send`.
            let seen = flag.load(Ordering::Acquire);
            if seen == number as u32 + 1 {
                break;
            }
            match futex::wait(flag, futex::Flags::empty(), seen, None) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // SAFETY: the flag was seen, and these bytes are written again only after our answer.
        payload::read(
            unsafe { self.memory.bytes(Self::FIRST + from * self.size, self.size) },
            number,
        )
    }
}

/// Bytes read ahead, and gathered before a write if messages come in batches.
const GATHERED: usize = 64 << 10;

/// Messages of one size over a stream of bytes.
struct Stream<W, R> {
    writer: W,
    reader: BufReader<R>,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    size: usize,
    batched: bool,
}

impl<W: Write, R: Read> Stream<W, R> {
    fn new(writer: W, reader: R, terms: &Terms) -> Self {
        Self {
            writer,
            reader: BufReader::with_capacity(GATHERED, reader),
            outgoing: Vec::with_capacity(GATHERED + terms.size),
            incoming: vec![0; terms.size],
            size: terms.size,
            batched: terms.batch > 1,
        }
    }

    fn write(&mut self) -> Result<(), Failed> {
        self.writer.write_all(&self.outgoing)?;
        self.outgoing.clear();
        Ok(())
    }
}

impl<W: Write, R: Read> Link for Stream<W, R> {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        let start = self.outgoing.len();
        self.outgoing.resize(start + self.size, 0);
        payload::write(&mut self.outgoing[start..], number);
        if !self.batched || self.outgoing.len() >= GATHERED { self.write() } else { Ok(()) }
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        self.reader.read_exact(&mut self.incoming)?;
        payload::read(&self.incoming, number)
    }

    // Batches are as large as is good for it, whatever is asked for: only the last one is short.
    fn send_each(&mut self, numbers: std::ops::Range<u64>, _: u64) -> Result<(), Failed> {
        for number in numbers {
            self.send(number)?;
        }
        self.write()
    }
}

fn stream(side: Side, at: &Path, terms: &Terms) -> Result<Stream<UnixStream, UnixStream>, Failed> {
    let path = at.join("stream");
    let socket = match side {
        Side::Near => until_there(|| UnixStream::connect(&path))?,
        Side::Far => UnixListener::bind(&path)?.accept()?.0,
    };
    Ok(Stream::new(socket.try_clone()?, socket, terms))
}

/// Two pipes with names, one there and one back, with as much room as they may have.
fn pipe(side: Side, at: &Path, terms: &Terms) -> Result<Stream<File, File>, Failed> {
    let [there, back] = ["there", "back"].map(|name| at.join(name));
    for path in [&there, &back] {
        match mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // Each opening waits for the other end's, so both open in the same order.
    let open = |path: &Path, write: bool| OpenOptions::new().read(!write).write(write).open(path);
    let near = side == Side::Near;
    let there = open(&there, near)?;
    let back = open(&back, !near)?;
    let (writer, reader) = if near { (there, back) } else { (back, there) };
    let _ = rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20);
    Ok(Stream::new(writer, reader, terms))
}

/// A Unix socket for packets, and the address of one in `at`.
fn packet_socket(at: &Path) -> Result<(OwnedFd, SocketAddrUnix), Failed> {
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((socket, SocketAddrUnix::new(at.join("packets"))?))
}

fn dial(at: &Path) -> Result<OwnedFd, Failed> {
    let (socket, address) = packet_socket(at)?;
    until_there(|| Ok(connect(&socket, &address)?))?;
    Ok(socket)
}

fn bound(at: &Path) -> Result<OwnedFd, Failed> {
    let (socket, address) = packet_socket(at)?;
    bind(&socket, &address)?;
    listen(&socket, 8)?;
    Ok(socket)
}

/// Messages over a Unix socket that keeps them apart.
struct Packets {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Packets {
    fn meet(side: Side, at: &Path, size: usize) -> Result<Self, Failed> {
        let socket = match side {
            Side::Near => dial(at)?,
            Side::Far => acceptfrom_with(bound(at)?, SocketFlags::CLOEXEC)?.0,
        };
        Ok(Self { socket, buffer: vec![0; size] })
    }
}

impl Link for Packets {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        payload::write(&mut self.buffer, number);
        send(&self.socket, &self.buffer, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        let (got, _) = recv(&self.socket, &mut self.buffer, RecvFlags::empty())?;
        payload::read(&self.buffer[..got.min(self.buffer.len())], number)
    }
}

/// A connection made and closed for each call, with three packets there and three back.
enum Connect {
    Near(PathBuf),
    Far(OwnedFd),
}

impl Connect {
    const PACKET: usize = 100;

    fn meet(side: Side, at: &Path) -> Result<Self, Failed> {
        Ok(match side {
            Side::Near => Self::Near(at.to_owned()),
            Side::Far => Self::Far(bound(at)?),
        })
    }
}

impl Link for Connect {
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        let Self::Near(at) = self else { return Ok(()) };
        let socket = dial(at)?;
        let mut packet = [number as u8; Self::PACKET];
        for _ in 0..3 {
            send(&socket, &packet, SendFlags::NOSIGNAL)?;
            let (got, _) = recv(&socket, &mut packet, RecvFlags::empty())?;
            expect(got as u64, Self::PACKET as u64)?;
        }
        Ok(())
    }

    fn receive(&mut self, _: u64) -> Result<(), Failed> {
        let Self::Far(listener) = self else { return Ok(()) };
        let (socket, _) = acceptfrom_with(listener, SocketFlags::CLOEXEC)?;
        let mut packet = [0; Self::PACKET];
        for _ in 0..3 {
            let (got, _) = recv(&socket, &mut packet, RecvFlags::empty())?;
            expect(got as u64, Self::PACKET as u64)?;
            send(&socket, &packet, SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ends_of_a_line_answer_each_other() {
        for size in [8, 64, 256] {
            let (mut here, fd) = Line::<true>::create(size).unwrap();
            let mut there = Line::<true>::open(fd, size).unwrap();
            let other = std::thread::spawn(move || there.answer_each(0..1000).unwrap());
            here.call_each(0..1000).unwrap();
            other.join().unwrap();
        }
    }

    #[test]
    fn a_wait_ends_when_the_other_process_has_gone() {
        let (mut line, _fd) = Line::<false>::create(8).unwrap();
        line.watch(|| false);
        assert!(line.receive(0).is_err());
    }

    #[test]
    fn memory_of_another_size_is_no_line() {
        let small = Shared::create(4096).unwrap();
        assert!(Line::<false>::open(small.descriptor().unwrap(), 8).is_err());
    }
}
