//! `memring send` and `memring recv`: a stream of bytes from one process to another.
//!
//! The bytes travel as messages of any size. An empty message says that this was all: without it the stream was
//! cut, however orderly the session ended. The receiver then says what became of it, so that the sender's
//! status can be believed: all was written, or why not.

use std::io::{self, Read, Write};
use std::time::Instant;

use indicatif::ProgressBar;
use memring::{Lanes, Listener, Protocol, RecvError};
use serde::Serialize;

use crate::args;
use crate::failure::{Failure, Status};
use crate::output;

/// Bytes read at a time. A quarter of a lane, so that none of it goes in parts.
const CHUNK: usize = 512 << 10;

/// What became of a stream.
#[memring::message]
enum Outcome {
    /// All of it was written.
    Written(u64),
    /// It could not be written, and why.
    Failed(String),
}

/// A stream of bytes one way, an outcome the other.
struct Pipe;

impl Protocol for Pipe {
    const NAME: &'static str = "memring-pipe";
    type ToClient = Outcome;
    type ToServer = [u8];
}

#[derive(Serialize)]
struct Report {
    bytes: u64,
    seconds: f64,
}

pub(crate) fn send(options: &args::Send, json: bool) -> Result<(), Failure> {
    let connector = options.reach.connector("memring send").lanes(Lanes::Bulk, Lanes::Small);
    let (mut sender, mut outcomes) = connector.connect::<Pipe>(options.path.as_str())?.split();

    let mut progress = Progress::new();
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; CHUNK];
    let sent = loop {
        let read = match input.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::io("reading standard input", &error)),
        };
        // The empty message at the end says that this was all.
        let bytes = buffer.get(..read).unwrap_or_default();
        if let Err(error) = sender.send(bytes) {
            break Err(error);
        }
        progress.add(read);
        if read == 0 {
            break Ok(());
        }
    };
    drop(sender);
    let outcome = outcomes.recv();
    let bytes = progress.bytes;
    match (outcome, sent) {
        (Ok(outcome), _) => match &*outcome {
            ArchivedOutcome::Written(written) if written.to_native() == bytes => {}
            ArchivedOutcome::Written(written) => {
                let line = format!("the receiver wrote {written} of {bytes} bytes");
                return Err(Failure::new(Status::Corrupt, line));
            }
            ArchivedOutcome::Failed(why) => {
                return Err(Failure::new(Status::Cut, format!("the receiver failed: {why}")));
            }
        },
        (Err(_), Err(error)) => return Err(Failure::from(error)),
        (Err(error), Ok(())) => {
            return Err(
                Failure::from(error).within("the receiver did not say that all was written")
            );
        }
    }
    let report = progress.done();
    if json { output::print_json(&report) } else { Ok(()) }
}

pub(crate) fn recv(options: &args::Recv, json: bool) -> Result<(), Failure> {
    let report = receive(options).inspect_err(|failure| {
        // Standard output is the data.
        if json && let Ok(line) = output::json_line(&failure.as_json()) {
            output::note(line.trim_end());
        }
    })?;
    if json {
        output::note(output::json_line(&report)?.trim_end());
    }
    Ok(())
}

fn receive(options: &args::Recv) -> Result<Report, Failure> {
    let listener = Listener::builder().name("memring recv").bind(options.path.as_str())?;
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    let channel = loop {
        let incoming = match deadline {
            Some(deadline) => listener.accept_deadline(deadline)?,
            None => listener.accept()?,
        };
        let who = incoming.peer().to_string();
        match incoming.open::<Pipe>() {
            Ok(channel) => break channel,
            // It was told. The sender may still come.
            Err(error) => {
                let failure = Failure::from(error).within(&who);
                output::complain(failure.line().unwrap_or_default());
            }
        }
    };
    drop(listener);
    let (mut outcomes, mut receiver) = channel.split();

    let mut progress = Progress::new();
    let mut output = unbuffered_stdout()?;
    loop {
        let piece = match receiver.recv() {
            Ok(piece) => piece,
            Err(error @ RecvError::Ended(memring::End::Closed)) => {
                return Err(Failure::from(error).within("the stream was cut before its end"));
            }
            Err(error) => return Err(Failure::from(error).within("the stream was cut")),
        };
        let written = if piece.is_empty() { output.flush() } else { output.write_all(&piece) };
        if let Err(error) = written {
            let failure = Failure::output(&error);
            let why = failure.line().unwrap_or("nobody reads its standard output any more");
            // If the sender has gone, so has whoever could be told.
            let _ = outcomes.send(&Outcome::Failed(why.to_owned()));
            return Err(failure);
        }
        if piece.is_empty() {
            break;
        }
        progress.add(piece.len());
    }
    // All that came was written, whether or not the sender is still there to hear it.
    let _ = outcomes.send(&Outcome::Written(progress.bytes));
    Ok(progress.done())
}

/// Standard output without the line buffer of `std`, which would split every piece at its last newline.
fn unbuffered_stdout() -> Result<std::fs::File, Failure> {
    let fd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)
        .map_err(|error| Failure::output(&error.into()))?;
    Ok(std::fs::File::from(fd))
}

/// How much has passed, shown on a terminal.
struct Progress {
    bar: ProgressBar,
    bytes: u64,
    began: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { bar: output::byte_spinner(), bytes: 0, began: Instant::now() }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.bar.set_position(self.bytes);
    }

    fn done(&self) -> Report {
        self.bar.finish();
        Report { bytes: self.bytes, seconds: self.began.elapsed().as_secs_f64() }
    }
}
