//! The demo's other process: connects, answers lines, and tells what came.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use memring::Connector;
use memring_benches::{Failed, Link, pin};

use super::carrier::{Carrier, Stream};
use super::records::{ArchivedToChild, Child, Demo, Digest, Digester, FromChild, ToChild, answer};
use super::{LINE, Line, SOCKET, Turn};
use crate::args::DemoChild;
use crate::failure::{Failure, Status};

pub(crate) fn run(options: &DemoChild) -> Result<(), Failure> {
    let channel = Connector::new()
        .name("memring demo child")
        .wait(options.load.wait.into())
        .connect::<Demo>(options.directory.join(SOCKET))?;
    serve(options, channel).map_err(|error| Failure::because(Status::Cut, &*error))
}

fn serve(options: &DemoChild, mut channel: Child) -> Result<(), Failed> {
    if let Some(cpu) = options.pin {
        pin::pin(cpu)?;
    }
    // The parent handed these down as standard input and output.
    let mut apart = match options.apart {
        Some((parents, ours)) => {
            let memory = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
            let mut line = Line::open(memory, LINE)?;
            let session = Arc::clone(channel.session());
            line.watch(move || session.life().end().is_none());
            Some((parents, ours, line))
        }
        None => None,
    };
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let mut stream = Stream::new(UnixStream::from(socket))?;

    let mut digester = Digester::default();
    let came = answer_lines(&mut channel, u64::MAX, |text| digester.add(text))?;
    channel.send(&came.report(digester.finish()))?;

    let records = u64::from(options.load.records);
    for round in 0..u64::from(options.load.rounds) {
        for turn in Turn::ALL {
            match turn {
                Turn::Line => {
                    if let Some((_, ours, line)) = &mut apart {
                        let numbers = 2 * round * records..2 * (round + 1) * records;
                        pin::on(*ours, || line.answer_each(numbers))??;
                    }
                }
                Turn::RoundTrips => {
                    answer_lines(&mut channel, records, |_| ())?;
                    answer_lines(&mut stream, records, |_| ())?;
                }
                Turn::OneByOne | Turn::Together => {
                    take_lines(&mut channel)?;
                    take_lines(&mut stream)?;
                }
                Turn::Shared => {
                    if let Some((parents, ..)) = &apart {
                        pin::on(*parents, || {
                            answer_lines(&mut stream, records, |_| ())?;
                            take_lines(&mut stream)?;
                            take_lines(&mut stream)
                        })??;
                    }
                }
            }
        }
    }
    Ok(())
}

/// What came, in numbers.
#[derive(Debug, Default)]
struct Came {
    lines: u64,
    bytes: u64,
}

impl Came {
    fn report(&self, digest: Digest) -> FromChild {
        FromChild::Received { lines: self.lines, bytes: self.bytes, digest }
    }
}

/// Answers `most` lines, or as many as there are.
fn answer_lines(
    carrier: &mut impl Carrier<FromChild, ToChild>,
    most: u64,
    mut look: impl FnMut(&[u8]),
) -> Result<Came, Failed> {
    let mut came = Came::default();
    while came.lines < most {
        let answer = carrier.receive(|message| match message {
            ArchivedToChild::Line { number, text } => {
                look(text);
                came.lines += 1;
                came.bytes += text.len() as u64;
                Some(answer(number.to_native(), text))
            }
            ArchivedToChild::Enough => None,
        })?;
        match answer {
            Some(answer) => carrier.send(&answer)?,
            None => break,
        }
    }
    Ok(came)
}

/// Takes lines until there are no more, and tells how many.
fn take_lines(carrier: &mut impl Carrier<FromChild, ToChild>) -> Result<(), Failed> {
    let mut came = Came::default();
    let mut more = true;
    while more {
        more = carrier.receive(|message| match message {
            ArchivedToChild::Line { text, .. } => {
                came.lines += 1;
                came.bytes += text.len() as u64;
                true
            }
            ArchivedToChild::Enough => false,
        })?;
    }
    carrier.send(&came.report([0; 32]))
}
