//! `memring ping`: how long it takes there and back, and whether what comes back is what went.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use memring::{Channel, RecvError, Stats};
use memring_benches::pin;
use serde::Serialize;

use crate::args;
use crate::echo::{self, Echo};
use crate::failure::{Failure, Status};
use crate::latency::{COLUMNS, Latencies, Summary};
use crate::output::{self, Table};
use crate::{negotiated, signals};

/// Messages sent if nothing else is asked for.
const COUNT: u64 = 100_000;
/// Round trips between two looks at whether Ctrl-C was pressed and how far we are.
const STRIDE: u64 = 1 << 16;

#[derive(Serialize)]
struct Report {
    peer: negotiated::PeerFacts,
    size: u64,
    wait: &'static str,
    pinned: Option<usize>,
    interrupted: bool,
    round_trip_ns: Summary,
    sleeps: u64,
    wakes: u64,
}

pub(crate) fn run(options: &args::Ping, json: bool) -> Result<(), Failure> {
    if let Some(cpu) = options.pin {
        pin::pin(cpu).map_err(|error| Failure::io("--pin", &error))?;
    }
    let interrupted =
        signals::interrupts().map_err(|error| Failure::io("watching for signals", &error))?;
    let connector = options
        .reach
        .connector("memring ping")
        .metadata(echo::wish(options.wait).as_bytes())
        .wait(options.wait.into())
        .largest_message(echo::LARGEST);
    let channel = connector.connect::<Echo>(options.path.as_str())?;
    let peer = negotiated::PeerFacts::of(channel.peer());
    if !json {
        output::print(&format!(
            "ping {}: {}, {} a message, waiting by {}\n",
            options.path,
            channel.peer(),
            output::bytes(options.size),
            options.wait.name(),
        ))?;
    }

    let mut pinger = Pinger::new(channel, options)?;
    let stopped = match options.interval {
        Some(interval) => pinger.at_intervals(options.count, interval, &interrupted, json)?,
        None => pinger.at_once(options.count.unwrap_or(COUNT), &interrupted)?,
    };
    let summary = pinger.latencies.summary();
    if summary.count == 0 {
        return Err(Failure::new(Status::Interrupted, "interrupted before the first answer"));
    }
    let (sent, received) = pinger.stats();
    let report = Report {
        peer,
        size: options.size,
        wait: options.wait.name(),
        pinned: options.pin,
        interrupted: stopped,
        round_trip_ns: summary,
        sleeps: sent.sleeps + received.sleeps,
        wakes: sent.wakes + received.wakes,
    };
    if json { output::print_json(&report) } else { report.print() }
}

impl Report {
    fn print(&self) -> Result<(), Failure> {
        let mut table = Table::default();
        table.row(["round trip"].into_iter().chain(COLUMNS.map(|(name, _)| name)));
        let label = format!("{} messages", self.round_trip_ns.count);
        table.row([label].into_iter().chain(self.round_trip_ns.cells()));
        output::print(&format!(
            "{table}every byte came back; this side slept {} times and woke the peer {} times\n",
            self.sleeps, self.wakes
        ))
    }
}

/// The channel, and the message that goes over it.
struct Pinger {
    channel: Channel<[u8], [u8]>,
    payload: Vec<u8>,
    latencies: Latencies,
    timeout: Duration,
    next: u64,
}

impl Pinger {
    fn new(channel: Channel<[u8], [u8]>, options: &args::Ping) -> Result<Self, Failure> {
        let size = usize::try_from(options.size)
            .map_err(|_| Failure::new(Status::Usage, "--size: more than this machine addresses"))?;
        let mut payload = Vec::new();
        payload
            .try_reserve_exact(size)
            .map_err(|_| Failure::new(Status::Local, "no memory for a message of that size"))?;
        // Bytes that differ from their neighbours, so that a shifted message is not mistaken for itself.
        payload.extend((0..size).map(|at| (at as u32).wrapping_mul(0x9e37_79b1).to_be_bytes()[0]));
        Ok(Self {
            channel,
            payload,
            latencies: Latencies::new(),
            timeout: options.reach.timeout,
            next: 0,
        })
    }

    /// One message there and back, checked. It makes no system call of its own.
    #[inline]
    fn once(&mut self) -> Result<Duration, Failure> {
        let number = self.next.to_le_bytes();
        for (byte, digit) in self.payload.iter_mut().zip(number) {
            *byte = digit;
        }
        let began = Instant::now();
        let deadline = began + self.timeout;
        self.channel.send_deadline(&self.payload, deadline).map_err(Failure::from)?;
        let answer = self
            .channel
            .recv_deadline(deadline)
            .map_err(|error| unanswered(&error, self.next, self.timeout))?;
        let took = began.elapsed();
        if *answer != *self.payload {
            return Err(Failure::new(
                Status::Corrupt,
                format!("message {} came back changed", self.next),
            ));
        }
        self.latencies.add(took);
        self.next += 1;
        Ok(took)
    }

    /// One after the other; true if interrupted.
    fn at_once(&mut self, count: u64, interrupted: &Receiver<()>) -> Result<bool, Failure> {
        let progress = output::progress(count, "messages");
        while self.next < count {
            for _ in 0..STRIDE.min(count - self.next) {
                self.once()?;
            }
            progress.set_position(self.next);
            if !matches!(interrupted.try_recv(), Err(TryRecvError::Empty)) {
                return Ok(true);
            }
        }
        progress.finish_and_clear();
        Ok(false)
    }

    /// A line for each, as of ping(8); true if interrupted.
    fn at_intervals(
        &mut self,
        count: Option<u64>,
        interval: Duration,
        interrupted: &Receiver<()>,
        quiet: bool,
    ) -> Result<bool, Failure> {
        let mut due = Instant::now();
        loop {
            let number = self.next;
            let took = self.once()?;
            if !quiet {
                output::print(&format!(
                    "{} from {}: seq={number} time={}\n",
                    output::bytes(self.payload.len() as u64),
                    self.channel.peer(),
                    output::duration(took),
                ))?;
            }
            if count.is_some_and(|count| self.next >= count) {
                return Ok(false);
            }
            // By the clock, so that slow answers do not make the whole thing slower.
            due = (due + interval).max(Instant::now());
            match interrupted.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(true),
            }
        }
    }

    fn stats(&mut self) -> (Stats, Stats) {
        let (sender, receiver) = self.channel.halves();
        (sender.stats(), receiver.stats())
    }
}

/// What is wrong if no answer came.
fn unanswered(error: &RecvError, number: u64, timeout: Duration) -> Failure {
    match error {
        RecvError::TimedOut => Failure::new(
            Status::Cut,
            format!("no answer to message {number} within {}", output::duration(timeout)),
        ),
        ended => Failure::because(Status::Cut, ended),
    }
}
