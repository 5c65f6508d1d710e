//! Frames of 8 MB, sixty a second, to two readers, or more: as messages and as blobs, in turns.
//!
//! A message is copied into a lane and out of it, once for each reader. A blob is written once and read where it lies; but
//! each frame is a new one, and new memory costs pages, which the kernel finds, clears, maps into each reader and takes
//! back. So the more readers, the sooner blobs pay, and this program says whether they do.
//!
//! Every frame is checked by every reader. A reader that does not keep up misses frames, and the camera goes on.
//!
//! `cargo run --release --example video [FRAMES [READERS]]`

use std::error::Error;
use std::io::IoSlice;
use std::ops::Range;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::mpsc::{TrySendError, sync_channel};
use std::time::{Duration, Instant};

use memring::blob::{Blob, BlobBuilder};
use memring::{Connector, End, Lanes, Protocol, RecvError, SendError, Sender};
use rustix::time::{ClockId, clock_gettime};

/// A frame as a blob.
#[memring::message(attachments)]
struct Frame {
    number: u64,
    begun: u64,
    pixels: Blob<[u8]>,
}

/// What a reader says when there are no more. Times in nanoseconds.
#[memring::message]
#[derive(Default)]
struct Report {
    /// From a frame's first pixel to its having been checked, for each that came.
    took: Vec<u64>,
    wrong: u32,
    processor: u64,
}

struct Messages;

impl Protocol for Messages {
    const NAME: &'static str = "video in messages";
    type ToClient = [u8]; // the number of the frame, when it was begun, and the pixels
    type ToServer = Report;
}

struct Blobs;

impl Protocol for Blobs {
    const NAME: &'static str = "video in blobs";
    type ToClient = Frame;
    type ToServer = Report;
}

/// Both ways take turns, so that a machine that does other work too disturbs both.
const TURNS: u32 = 5;
const BYTES: usize = 8_000_000;
/// Bytes before the pixels in a message.
const HEADER: usize = 16;
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / 60);
/// Frames that wait for a reader: what is more, it misses.
const WAITING: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["messages"] => reads_messages(),
        ["blobs"] => reads_blobs(),
        [frames, readers] => show(frames.parse()?, readers.parse()?),
        [frames] => show(frames.parse()?, 2),
        _ => show(300, 2),
    }
}

fn show(frames: u32, readers: usize) -> Result<(), Box<dyn Error>> {
    println!("{frames} frames of {BYTES} bytes to {readers} readers, 60 a second");
    let (mut messages, mut blobs) = (Outcome::default(), Outcome::default());
    let turn = frames.div_ceil(TURNS).max(1);
    for first in (0..frames).step_by(turn as usize) {
        let numbers = first.into()..(first + turn).min(frames).into();
        let outcome = film::<Messages, _>(
            ("messages", &for_messages(), readers, numbers.clone()),
            |number| {
                let mut pixels = vec![0; BYTES];
                draw(&mut pixels, number);
                Ok(Arc::new(pixels))
            },
            |sender, number, begun, pixels| {
                let header = [number.to_le_bytes(), begun.to_le_bytes()].concat();
                sender.send_vectored(&[IoSlice::new(&header), IoSlice::new(pixels)])
            },
        )?;
        messages.add(outcome);
        let outcome = film::<Blobs, _>(
            ("blobs", &for_blobs(), readers, numbers),
            |number| {
                let mut pixels = BlobBuilder::new().with_size(BYTES as u64)?;
                draw(&mut pixels, number);
                Ok(pixels.seal()?)
            },
            |sender, number, begun, pixels| {
                sender.send(&Frame { number, begun, pixels: pixels.clone() })
            },
        )?;
        blobs.add(outcome);
    }
    messages.show("messages", frames)?;
    blobs.show("blobs", frames)?;
    println!(
        "as a blob a frame is with its readers after {:.2} of the time that it takes as a message, and costs {:.2} \
         of the processor time",
        blobs.middle().as_secs_f64() / messages.middle().as_secs_f64(),
        blobs.each().as_secs_f64() / messages.each().as_secs_f64(),
    );
    Ok(())
}

/// A frame is larger than the lane, so it goes in parts while its reader reads.
fn for_messages() -> Connector {
    let largest = (HEADER + BYTES) as u64;
    Connector::new().lanes(Lanes::Small, Lanes::Bulk).largest_message(largest)
}

/// What goes through the lane are numbers.
fn for_blobs() -> Connector {
    Connector::new().lanes(Lanes::Small, Lanes::Small)
}

/// What came of one way.
#[derive(Default)]
struct Outcome {
    /// Processor time of whoever draws and sends.
    writer: Duration,
    readers: Vec<Report>,
}

impl Outcome {
    /// A turn more.
    fn add(&mut self, turn: Self) {
        self.writer += turn.writer;
        self.readers.resize_with(turn.readers.len(), Report::default);
        for (sum, report) in self.readers.iter_mut().zip(turn.readers) {
            sum.took.extend(report.took);
            sum.took.sort_unstable();
            sum.wrong += report.wrong;
            sum.processor += report.processor;
        }
    }

    fn show(&self, way: &str, frames: u32) -> Result<(), Box<dyn Error>> {
        println!("{way}: the writer took {:.1?} of processor time", self.writer);
        for report in &self.readers {
            let came = report.took.len();
            if report.wrong != 0 || came == 0 {
                return Err(
                    format!("of {came} frames that came, {} are wrong", report.wrong).into()
                );
            }
            println!(
                "{way}: {came} of {frames} frames delivered, from the first pixel to checked {:.1?} (p50) and \
                 {:.1?} (p99); the reader took {:.1?} of processor time",
                report.percent(50),
                report.percent(99),
                Duration::from_nanos(report.processor),
            );
        }
        Ok(())
    }

    /// What a frame took to the slower reader, in the middle.
    fn middle(&self) -> Duration {
        self.readers.iter().map(|report| report.percent(50)).max().unwrap_or_default()
    }

    /// Processor time of all processes, for a frame at a reader.
    fn each(&self) -> Duration {
        let readers = self.readers.iter().map(|report| Duration::from_nanos(report.processor));
        let came: usize = self.readers.iter().map(|report| report.took.len()).sum();
        (self.writer + readers.sum::<Duration>()) / came.max(1) as u32
    }
}

/// Films: each frame is what `make` draws, and goes to each reader by `send`.
fn film<P, F>(
    (way, connector, readers, numbers): (&str, &Connector, usize, Range<u64>),
    make: impl Fn(u64) -> Result<F, Box<dyn Error>>,
    send: impl Fn(&mut Sender<P::ToClient>, u64, u64, &F) -> Result<(), SendError> + Copy + Send,
) -> Result<Outcome, Box<dyn Error>>
where
    P: Protocol<ToServer = Report>,
    F: Clone + Send,
{
    let (mut children, mut channels) = (Vec::new(), Vec::new());
    for _ in 0..readers {
        let mut command = Command::new(std::env::current_exe()?);
        let (child, channel) = connector.clone().spawn::<P>(command.arg(way))?;
        children.push(child);
        channels.push(channel);
    }
    let before = clock(ClockId::ProcessCPUTime);
    let readers = std::thread::scope(|scope| {
        let (mut queues, mut sending) = (Vec::new(), Vec::new());
        for channel in channels {
            let (queue, waiting) = sync_channel::<(u64, u64, F)>(WAITING);
            queues.push(queue);
            // A thread for each, so that neither reader waits for the other.
            sending.push(scope.spawn(move || {
                let (mut sender, mut reports) = channel.split();
                for (number, begun, frame) in waiting {
                    send(&mut sender, number, begun, &frame).map_err(|error| error.to_string())?;
                }
                drop(sender); // no more of them: the reader reports
                let report = reports.recv().map_err(|error| error.to_string())?;
                report.to_value().map_err(|error| error.to_string())
            }));
        }
        let began = Instant::now();
        for (place, number) in (0..).zip(numbers) {
            let due = began + INTERVAL * place;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let begun = clock(ClockId::Monotonic).as_nanos() as u64;
            let frame = make(number)?;
            for queue in &queues {
                match queue.try_send((number, begun, frame.clone())) {
                    Ok(()) | Err(TrySendError::Full(_)) => {}
                    Err(TrySendError::Disconnected(_)) => break, // its thread says why
                }
            }
        }
        drop(queues);
        let mut reports: Vec<Report> = Vec::new();
        for thread in sending {
            reports.push(thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok::<_, Box<dyn Error>>(reports)
    })?;
    let writer = clock(ClockId::ProcessCPUTime) - before;
    children.iter_mut().try_for_each(finish)?;

    Ok(Outcome { writer, readers })
}

fn finish(child: &mut Child) -> Result<(), Box<dyn Error>> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("a reader ended by {status}").into()) }
}

fn reads_messages() -> Result<(), Box<dyn Error>> {
    let (reports, mut frames) = for_messages().inherited::<Messages>()?.split();
    let mut report = Report::default();
    loop {
        match frames.recv() {
            Ok(message) => {
                let (number, rest) = message.split_first_chunk().ok_or("no number")?;
                let (begun, pixels) = rest.split_first_chunk().ok_or("no time")?;
                report.note(u64::from_le_bytes(*number), u64::from_le_bytes(*begun), pixels);
            }
            Err(end) => return report.send(reports, end),
        }
    }
}

fn reads_blobs() -> Result<(), Box<dyn Error>> {
    let (reports, mut frames) = for_blobs().inherited::<Blobs>()?.split();
    let mut report = Report::default();
    loop {
        match frames.recv() {
            Ok(frame) => {
                let pixels = frame.blob(&frame.pixels)?;
                report.note(frame.number.to_native(), frame.begun.to_native(), &pixels);
            }
            Err(end) => return report.send(reports, end),
        }
    }
}

impl Report {
    /// What so many of a hundred frames took at most. There are some, in order.
    fn percent(&self, percent: usize) -> Duration {
        let at = self.took.len() * percent / 100;
        Duration::from_nanos(self.took.get(at).copied().unwrap_or_default())
    }

    /// Checks a frame, and notes how long it took from its first pixel.
    fn note(&mut self, number: u64, begun: u64, pixels: &[u8]) {
        self.wrong += u32::from(!is_drawn(pixels, number));
        self.took.push(clock(ClockId::Monotonic).as_nanos() as u64 - begun);
    }

    /// There are no more frames, for this reason.
    fn send(mut self, mut reports: Sender<Self>, end: RecvError) -> Result<(), Box<dyn Error>> {
        if !matches!(end, RecvError::Ended(End::Closed)) {
            return Err(end.into());
        }
        self.processor = clock(ClockId::ProcessCPUTime).as_nanos() as u64;
        Ok(reports.send(&self)?)
    }
}

/// Draws a frame: words that count up, from one that no other frame begins with.
fn draw(pixels: &mut [u8], number: u64) {
    for (word, value) in pixels.chunks_exact_mut(8).zip(number << 32..) {
        word.copy_from_slice(&value.to_le_bytes());
    }
}

/// Whether these are all pixels of that frame. Looks at each of them.
fn is_drawn(pixels: &[u8], number: u64) -> bool {
    let (words, rest) = pixels.as_chunks();
    let different = (words.iter().zip(number << 32..))
        .fold(0, |different, (word, value)| different | (u64::from_le_bytes(*word) ^ value));
    pixels.len() == BYTES && rest.is_empty() && different == 0
}

/// What that clock says; for all processes the same but for those that are of one.
fn clock(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
