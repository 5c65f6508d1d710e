//! The cache: a process that has files in memory and hands them out.

use std::io::{IoSlice, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};

use memring::{End, Listener, RecvError, ServerEnd};
use memring_benches::{Failed, pin};

use super::files::{Answer, ArchivedAsk, Cache, File, make};
use super::{SESSIONS, SOCKET};
use crate::args::DemoCacheServer;
use crate::failure::{Failure, Status};

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
    let files = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let mut serving = Vec::new();
        for _ in 0..SESSIONS {
            let channel = listener.accept()?.open::<Cache>()?;
            let files = &files;
            serving.push(scope.spawn(move || serve(channel, files)));
        }
        for session in serving {
            match session.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(Failure::because(Status::Cut, &*error)),
                Err(_) => return Err(Failure::new(Status::Cut, "a thread of the cache panicked")),
            }
        }
        Ok(())
    })
}

/// Answers until the client closes.
fn serve(mut channel: ServerEnd<Cache>, files: &Mutex<Vec<File>>) -> Result<(), Failed> {
    let mut socket = None;
    loop {
        let ask = match channel.recv() {
            Ok(ask) => ask,
            Err(RecvError::Ended(End::Closed)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let file = |number: u32| {
            let files = files.lock().unwrap_or_else(PoisonError::into_inner);
            files.get(number as usize).cloned().ok_or("no such file")
        };
        let answer = match &*ask {
            ArchivedAsk::Nothing => Answer::Nothing,
            ArchivedAsk::File(number) => match file(number.to_native()) {
                Ok(file) => Answer::File(file),
                Err(why) => Answer::Failed(why.into()),
            },
            ArchivedAsk::Make { bytes, seed, huge } => {
                match make(bytes.to_native(), seed.to_native(), *huge) {
                    Ok(file) => {
                        files.lock().unwrap_or_else(PoisonError::into_inner).push(file);
                        Answer::Made
                    }
                    Err(error) => Answer::Failed(in_full(&error)),
                }
            }
            ArchivedAsk::Stream(number) if socket.is_none() => {
                let number = number.to_native();
                let (ours, theirs) = UnixStream::pair()?;
                socket = Some(ours);
                channel.send(&Answer::Socket(theirs.into()))?;
                stream(socket.as_mut(), &file(number)?)?;
                continue;
            }
            ArchivedAsk::Stream(number) => {
                let number = number.to_native();
                stream(socket.as_mut(), &file(number)?)?;
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

fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
