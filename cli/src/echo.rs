//! `memring echo`: answers every message with itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use memring::{
    AcceptError, AcceptFailed, Channel, End, Incoming, Listener, Protocol, RecvError, SendError,
};
use memring_benches::pin;
use serde::Serialize;

use crate::args::{self, Waiting};
use crate::failure::Failure;
use crate::{output, signals};

/// Byte strings that come back as they went.
pub(crate) struct Echo;

impl Protocol for Echo {
    const NAME: &'static str = "memring-echo";
    type ToClient = [u8];
    type ToServer = [u8];
}

/// The largest message that is echoed: as large as `ping --size` takes.
pub(crate) const LARGEST: u64 = 1 << 30;

/// What one session answered. One writer, so plain stores do.
#[derive(Debug, Default)]
struct Tally {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// What was answered by sessions that have ended, and those that stand.
#[derive(Debug, Default)]
struct Sessions {
    books: Mutex<Books>,
    one_ended: Condvar,
}

#[derive(Debug, Default)]
struct Books {
    opened: u64,
    messages: u64,
    bytes: u64,
    open: Vec<Arc<Tally>>,
}

#[derive(Serialize)]
struct Report {
    sessions: u64,
    messages: u64,
    bytes: u64,
}

pub(crate) fn run(options: &args::Echo, json: bool) -> Result<(), Failure> {
    if let Some(cpu) = options.pin {
        pin::pin(cpu).map_err(|error| Failure::io("--pin", &error))?;
    }
    let listener = Listener::builder()
        .name("memring echo")
        .largest_message(LARGEST)
        .bind(options.path.as_str())?;
    let listener = Arc::new(listener);
    let to_stop = Arc::new(Mutex::new(Some(Arc::clone(&listener))));
    let its = Arc::clone(&to_stop);
    let stop = move || {
        if let Some(listener) = &*its.lock().unwrap_or_else(PoisonError::into_inner) {
            listener.shut_down();
        }
    };
    signals::on_interrupt(stop).map_err(|error| Failure::io("watching for signals", &error))?;
    let observe = options.observe.as_deref();
    let _until_the_end = observe.map(memring::observe::serve).transpose()?;
    output::note(&format!("memring echo: listening at {}", listener.address()));

    let sessions = Arc::new(Sessions::default());
    let mut opened = 0;
    while options.sessions.is_none_or(|most| opened < most) {
        let incoming = match listener.accept() {
            Ok(incoming) => incoming,
            Err(AcceptFailed(AcceptError::ShutDown)) => break,
            Err(error) => return Err(error.into()),
        };
        opened += u64::from(serve(incoming, options.wait, &sessions));
    }
    // Taken under the lock, or the other thread might hold the last one while this process exits, and what is
    // at the path would stay.
    to_stop.lock().unwrap_or_else(PoisonError::into_inner).take();
    drop(listener);
    if options.sessions == Some(opened) {
        sessions.wait_for_all();
    }
    let report = sessions.report();
    if json {
        return output::print_json(&report);
    }
    output::print(&format!(
        "{} sessions, {} messages, {}\n",
        report.sessions,
        report.messages,
        output::bytes(report.bytes)
    ))
}

/// Starts a thread for a client; false if none came about, which concerns nobody but that client.
fn serve(incoming: Incoming, wait: Option<Waiting>, sessions: &Arc<Sessions>) -> bool {
    let wait = wait.or_else(|| wish_in(incoming.metadata())).unwrap_or_default();
    let who = incoming.peer().to_string();
    let channel = match incoming.open::<Echo>() {
        Ok(channel) => channel,
        Err(error) => {
            let failure = Failure::from(error).within(&who);
            output::complain(failure.line().unwrap_or_default());
            return false;
        }
    };
    let tally = sessions.open();
    let (ours, theirs) = (Arc::clone(&tally), Arc::clone(sessions));
    let answering = move || {
        let end = answer(channel, wait, &ours);
        if !matches!(end, End::Closed) {
            output::complain(&format!("{who}: {end}"));
        }
        theirs.close(&ours);
    };
    if let Err(error) = thread::Builder::new().name("echo".into()).spawn(answering) {
        sessions.close(&tally);
        let failure = Failure::io("starting a thread", &error);
        output::complain(failure.line().unwrap_or_default());
        return false;
    }
    true
}

fn answer(channel: Channel<[u8], [u8]>, wait: Waiting, tally: &Tally) -> End {
    let (mut sender, mut receiver) = channel.split();
    sender.set_wait_strategy(wait.into());
    receiver.set_wait_strategy(wait.into());
    let (mut messages, mut bytes) = (0, 0);
    loop {
        let message = match receiver.recv() {
            Ok(message) => message,
            Err(RecvError::Ended(end)) => break end,
            Err(_) => continue, // no deadline was given
        };
        match sender.send(&message) {
            Ok(()) => {}
            Err(SendError::Ended(end)) => break end,
            // It came over this session, so it is no larger than what goes back.
            Err(_) => break End::Local,
        }
        messages += 1;
        bytes += message.len() as u64;
        // ORDERING: Relaxed; numbers for people.
        tally.messages.store(messages, Ordering::Relaxed);
        tally.bytes.store(bytes, Ordering::Relaxed);
    }
}

impl Sessions {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let mut books = self.books();
        books.opened += 1;
        books.open.push(Arc::clone(&tally));
        tally
    }

    fn close(&self, tally: &Arc<Tally>) {
        let mut books = self.books();
        books.open.retain(|open| !Arc::ptr_eq(open, tally));
        books.count(tally);
        self.one_ended.notify_all();
    }

    fn wait_for_all(&self) {
        drop(self.one_ended.wait_while(self.books(), |books| !books.open.is_empty()));
    }

    /// What was answered, by sessions that stand as well.
    fn report(&self) -> Report {
        let mut books = self.books();
        for tally in std::mem::take(&mut books.open) {
            books.count(&tally);
        }
        Report { sessions: books.opened, messages: books.messages, bytes: books.bytes }
    }
}

impl Books {
    fn count(&mut self, tally: &Tally) {
        // ORDERING: Relaxed; numbers for people.
        self.messages += tally.messages.load(Ordering::Relaxed);
        self.bytes += tally.bytes.load(Ordering::Relaxed);
    }
}

/// What a client says at the start of how it waits: `wait=spin`.
pub(crate) fn wish(wait: Waiting) -> String {
    format!("wait={}", wait.name())
}

fn wish_in(metadata: &[u8]) -> Option<Waiting> {
    std::str::from_utf8(metadata).ok()?.strip_prefix("wait=").and_then(Waiting::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_wish_is_understood_or_ignored() {
        for wait in [Waiting::Spin, Waiting::Adaptive, Waiting::Park] {
            assert_eq!(wish_in(wish(wait).as_bytes()), Some(wait));
        }
        for other in [&b""[..], b"wait=", b"wait=Spin", b"spin", b"wait=spin\n", b"\xff"] {
            assert_eq!(wish_in(other), None);
        }
    }
}
