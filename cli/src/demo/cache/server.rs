//! The cache: a process that has files in memory and hands them out.

use std::io::{IoSlice, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use memring::{End, Listener, RecvError, ServerEnd};
use memring_benches::{Failed, pin};

use super::SOCKET;
use super::files::{Answer, ArchivedAsk, Cache, File, make};
use crate::args::DemoCacheServer;
use crate::failure::{Failure, Status, causes};

/// Parts that one call writes to the socket: more than it takes at once.
const TOGETHER: usize = 32;

pub(crate) fn run(options: &DemoCacheServer) -> Result<(), Failure> {
    if let Some(cpu) = options.pin {
        pin::pin(cpu).map_err(|error| Failure::io("--pin", &error))?;
    }
    let listener = Listener::builder()
        .name("memring demo cache")
        .wait(options.wait.into())
        .bind(options.directory.join(SOCKET))?;
    let channel = listener.accept()?.open::<Cache>()?;
    drop(listener);
    serve(channel).map_err(|error| Failure::because(Status::Cut, &*error))
}

/// Answers until the client closes.
fn serve(mut channel: ServerEnd<Cache>) -> Result<(), Failed> {
    let mut files: Vec<File> = Vec::new();
    let mut socket = None;
    loop {
        let ask = match channel.recv() {
            Ok(ask) => ask,
            Err(RecvError::Ended(End::Closed)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let number = match &*ask {
            ArchivedAsk::File(number)
            | ArchivedAsk::Stream(number)
            | ArchivedAsk::Renew(number) => number.to_native() as usize,
            _ => 0,
        };
        let answer = match &*ask {
            ArchivedAsk::Nothing => Answer::Nothing,
            ArchivedAsk::Make { bytes, seed, huge } => {
                match make(bytes.to_native(), seed.to_native(), *huge) {
                    Ok(file) => {
                        files.push(file);
                        Answer::Made
                    }
                    Err(error) => Answer::Failed(causes(&error)),
                }
            }
            ArchivedAsk::File(_) => match files.get(number) {
                Some(file) => Answer::File(file.clone()),
                None => Answer::Failed("no such file".into()),
            },
            ArchivedAsk::Renew(_) => match files.get_mut(number) {
                Some(file) => {
                    *file = File::from_fd(file.memory().as_fd().try_clone_to_owned()?)?;
                    Answer::Made
                }
                None => Answer::Failed("no such file".into()),
            },
            ArchivedAsk::Stream(_) => {
                if socket.is_none() {
                    let (ours, theirs) = UnixStream::pair()?;
                    socket = Some(ours);
                    channel.send(&Answer::Socket(theirs.into()))?;
                }
                stream(socket.as_mut(), files.get(number).ok_or("no such file")?)?;
                continue;
            }
        };
        channel.send(&answer)?;
    }
}

/// Writes all parts to the socket, once a byte has come over it.
fn stream(socket: Option<&mut UnixStream>, file: &File) -> Result<(), Failed> {
    let socket = socket.ok_or("no socket")?;
    socket.read_exact(&mut [0])?;
    for first in (0..file.len()).step_by(TOGETHER) {
        let last = file.len().min(first + TOGETHER as u64);
        let parts = (first..last).map(|number| Ok(file.get(number)?.ok_or("a part is missing")?));
        let parts = parts.collect::<Result<Vec<_>, Failed>>()?;
        let mut pieces: Vec<_> = parts.iter().map(|part| IoSlice::new(&part.bytes)).collect();
        let mut left = &mut pieces[..];
        while !left.is_empty() {
            let written = socket.write_vectored(left)?;
            IoSlice::advance_slices(&mut left, written);
        }
    }
    Ok(())
}
