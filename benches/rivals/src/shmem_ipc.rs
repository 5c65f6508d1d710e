//! shmem-ipc: a ring in a memfd, and an eventfd for each side that sleeps.
//!
//! A ring each way. It lends all it has free and takes back all that was read at once, so whoever receives many
//! takes as many as there are. Spinning, the rings are used without their signals.

#![allow(unsafe_code)]

use std::fs::File;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::slice;

use memring_benches::link::{Contender, Open, Side, Terms, Waiting};
use memring_benches::{Failed, Link};
use shmem_ipc::sharedring::{Receiver, Sender};
use uds::UnixStreamExt;

use crate::meet::until_there;
use crate::words::{self, by_size, has_size};

/// Spinning, or asleep on an eventfd.
pub const ALL: &[Contender] = &[Contender {
    name: "shmem-ipc",
    version: "shmem-ipc 0.3.0",
    can: |terms| crate::spins_or_sleeps(terms) && has_size(terms.size),
    open: Open::Processes(|terms, side, at| {
        let parks = terms.wait == Waiting::Park;
        by_size!(terms.size, N => Ok(if parks {
            Box::new(End::<N, true>::meet(terms, side, &at)?)
        } else {
            Box::new(End::<N, false>::meet(terms, side, &at)?)
        }))
    }),
}];

struct End<const N: usize, const PARK: bool> {
    outgoing: Sender<[u64; N]>,
    incoming: Receiver<[u64; N]>,
}

impl<const N: usize, const PARK: bool> End<N, PARK> {
    /// The near end makes both rings, and hands them over.
    fn meet(terms: &Terms, side: Side, at: &Path) -> Result<Self, Failed> {
        let path = at.join("rings");
        let room = terms.room.messages(terms.size);
        match side {
            Side::Near => {
                let outgoing = Sender::new(room)?;
                let incoming = Receiver::new(room)?;
                let socket = until_there(|| UnixStream::connect(&path))?;
                let files = [
                    outgoing.memfd().as_file(),
                    outgoing.empty_signal(),
                    outgoing.full_signal(),
                    incoming.memfd().as_file(),
                    incoming.empty_signal(),
                    incoming.full_signal(),
                ];
                socket.send_fds(&[0], &files.map(AsRawFd::as_raw_fd))?;
                Ok(Self { outgoing, incoming })
            }
            Side::Far => {
                let (socket, _) = UnixListener::bind(&path)?.accept()?;
                let [ring, empty, full, back, back_empty, back_full] = received_files(&socket)?;
                let incoming = Receiver::open(room, ring, empty, full)?;
                let outgoing = Sender::open(room, back, back_empty, back_full)?;
                Ok(Self { outgoing, incoming })
            }
        }
    }

    /// Sends up to `most` messages from `first` on, as many as fit in one piece; none if the ring is full.
    #[inline]
    fn send_some(&mut self, first: u64, most: u64) -> Result<u64, Failed> {
        let mut count = 0;
        let write = |start: *mut [u64; N], free: usize| {
            count = most.min(free as u64);
            // SAFETY: so many messages are lent us, and the other end reads none of them before they are sent.
            let messages = unsafe {
                slice::from_raw_parts_mut(start.cast::<[MaybeUninit<u64>; N]>(), count as usize)
            };
            for (message, number) in messages.iter_mut().zip(first..) {
                words::write(message, number);
            }
            count as usize
        };
        if PARK {
            self.outgoing.block_until_writable()?;
            self.outgoing.send_raw(write)?;
        } else {
            self.outgoing.sender_mut().send(write)?;
        }
        Ok(count)
    }

    /// Receives up to `most` messages from `first` on, as many as lie in one piece; none if the ring is empty.
    #[inline]
    fn receive_some(&mut self, first: u64, most: u64) -> Result<u64, Failed> {
        let mut outcome = Ok(0);
        let read = |start: *const [u64; N], there: usize| {
            let count = most.min(there as u64);
            // SAFETY: so many messages are there, and the other end, which we trust, overwrites none of them
            // before they are taken.
            let messages = unsafe { slice::from_raw_parts(start, count as usize) };
            outcome = messages
                .iter()
                .zip(first..)
                .try_for_each(|(message, number)| words::read(message, number))
                .map(|()| count);
            count as usize
        };
        if PARK {
            self.incoming.block_until_readable()?;
            self.incoming.receive_raw(read)?;
        } else {
            self.incoming.receiver_mut().recv(read)?;
        }
        outcome
    }
}

impl<const N: usize, const PARK: bool> Link for End<N, PARK> {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        while self.send_some(number, 1)? == 0 {
            std::hint::spin_loop();
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        while self.receive_some(number, 1)? == 0 {
            std::hint::spin_loop();
        }
        Ok(())
    }

    fn send_each(&mut self, mut numbers: Range<u64>, batch: u64) -> Result<(), Failed> {
        while !numbers.is_empty() {
            let most = batch.min(numbers.end - numbers.start);
            numbers.start += self.send_some(numbers.start, most)?;
        }
        Ok(())
    }

    fn receive_each(&mut self, mut numbers: Range<u64>) -> Result<(), Failed> {
        while !numbers.is_empty() {
            numbers.start += self.receive_some(numbers.start, numbers.end - numbers.start)?;
        }
        Ok(())
    }
}

/// The files that came with one message.
fn received_files<const N: usize>(socket: &UnixStream) -> Result<[File; N], Failed> {
    let mut fds = [RawFd::from(-1); N];
    let (_, came) = socket.recv_fds(&mut [0], &mut fds)?;
    if came != N {
        return Err(format!("{came} files came where {N} were due").into());
    }
    // SAFETY: each was just received, and is nobody else's.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }.into()))
}
