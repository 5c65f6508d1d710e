//! What is served: each call says itself what its handler shall do, and each handler writes down what it did.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::panic::panic_any;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use memring::rpc::{Call, Replies};

/// What a handler shall do.
#[memring::message]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Do {
    Answer,
    /// Answer once its gate is open; until then it looks at nothing else.
    WhenTold,
    /// Answer after the short deadlines.
    Late,
    Fail,
    Panic,
    /// Go on until nobody waits.
    UntilCancelled,
    /// Ask the caller in turn.
    CallBack,
}

/// How a stream ends.
#[memring::message]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finale {
    Well,
    Fail,
    Drop,
    Panic,
}

#[memring::message]
#[derive(Debug, Clone)]
pub struct Order {
    pub id: u64,
    pub what: Do,
    /// Bytes of the answer.
    pub size: u32,
    /// Whether the caller set a deadline.
    pub deadline: bool,
}

#[memring::message]
#[derive(Debug, Clone)]
pub struct Flow {
    pub id: u64,
    pub count: u32,
    /// Bytes of each reply.
    pub size: u32,
    pub finale: Finale,
    /// Whether another thread sends the replies.
    pub elsewhere: bool,
}

#[memring::message]
#[derive(Debug, PartialEq, Eq)]
pub struct Failed(pub u64);

#[memring::interface(name = "work", version = "1")]
pub trait Work {
    fn work(order: Order, bytes: &[u8]) -> Result<Vec<u8>, Failed>;
    fn flow(flow: Flow) -> Result<Stream<Vec<u8>>, Failed>;
    #[oneway]
    fn tell(id: u64);
    #[signal]
    fn news(number: u64);
}

/// What the caller serves.
#[memring::interface(name = "back", version = "1")]
pub trait Back {
    fn back(id: u64) -> u64;
}

/// What comes of a number: an answer, or a reply.
pub fn payload(number: u64, size: u32) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((0..size).map(|at| number.wrapping_add(at.into()) as u8));
    bytes
}

/// What a handler writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    Began = 0,
    CalledBack = 1,
    /// A deadline was set and did not arrive, or the other way round.
    Deadline = 2,
    /// Calling back failed.
    NoBack = 3,
}

/// Notes of handlers, in a file: some are in a process that is killed.
pub struct Ledger(File);

impl Ledger {
    pub fn at(path: &Path) -> Self {
        Self(OpenOptions::new().create(true).append(true).open(path).expect("a file"))
    }

    fn note(&self, id: u64, note: Note) {
        let mut line = [0; 9];
        line[..8].copy_from_slice(&id.to_le_bytes());
        line[8] = note as u8;
        (&self.0).write_all(&line).expect("room");
    }

    /// All notes so far.
    pub fn read(path: &Path) -> impl Iterator<Item = (u64, Note)> {
        let bytes = std::fs::read(path).unwrap_or_default();
        let (lines, _) = bytes.as_chunks::<9>();
        let notes = [Note::Began, Note::CalledBack, Note::Deadline, Note::NoBack];
        let read = move |line: &[u8; 9]| {
            let [id @ .., note] = *line;
            (u64::from_le_bytes(id), notes[usize::from(note)])
        };
        lines.iter().map(read).collect::<Vec<_>>().into_iter()
    }
}

#[derive(Default)]
struct Open {
    numbers: HashSet<u64>,
    all: bool,
}

/// What handlers wait at until they are told.
#[derive(Clone, Default)]
pub struct Gates(Arc<(Mutex<Open>, Condvar)>);

impl Gates {
    pub fn open(&self, id: u64) {
        self.0.0.lock().unwrap().numbers.insert(id);
        self.0.1.notify_all();
    }

    pub fn open_all(&self) {
        self.0.0.lock().unwrap().all = true;
        self.0.1.notify_all();
    }

    fn pass(&self, id: u64) {
        let shut = |open: &mut Open| !open.all && !open.numbers.contains(&id);
        drop(self.0.1.wait_while(self.0.0.lock().unwrap(), shut).unwrap());
    }
}

/// The handlers.
#[derive(Clone)]
pub struct Working {
    pub gates: Gates,
    pub ledger: Arc<Ledger>,
}

/// What handlers that are told to panic say: it is shown to nobody.
pub const AS_TOLD: &str = "as told";

impl WorkServer for Working {
    fn work(&self, call: &Call<'_>, order: Order, bytes: &[u8]) -> Result<Vec<u8>, Failed> {
        let Order { id, what, size, deadline } = order;
        self.ledger.note(id, Note::Began);
        assert_eq!(bytes, payload(id, bytes.len() as u32 - 8), "the arguments");
        if call.deadline().is_some() != deadline {
            self.ledger.note(id, Note::Deadline);
        }
        match what {
            Do::Answer => {}
            Do::WhenTold => self.gates.pass(id),
            Do::Late => thread::sleep(Duration::from_millis(3)),
            Do::Fail => return Err(Failed(id)),
            Do::Panic => panic_any(AS_TOLD),
            Do::UntilCancelled => {
                while !call.is_cancelled() {
                    thread::sleep(Duration::from_micros(100));
                }
            }
            Do::CallBack => {
                let asked = call.link().open::<BackClient>().map(|back| back.back(id));
                if !matches!(asked, Ok(Ok(answer)) if answer == !id) {
                    self.ledger.note(id, Note::NoBack);
                }
            }
        }
        Ok(payload(id, size))
    }

    fn flow(&self, _: &Call<'_>, flow: Flow, mut replies: Replies<Vec<u8>, Failed>) {
        let Flow { id, count, size, finale, elsewhere } = flow;
        self.ledger.note(id, Note::Began);
        let run = move || {
            for number in 0..count {
                if replies.send(&payload(id + u64::from(number), size)).is_err() {
                    return;
                }
            }
            match finale {
                Finale::Well => replies.end(Ok(())),
                Finale::Fail => replies.end(Err(Failed(id))),
                Finale::Drop => drop(replies),
                Finale::Panic => panic_any(AS_TOLD),
            }
        };
        if elsewhere {
            thread::spawn(run);
        } else {
            run();
        }
    }

    fn tell(&self, _: &Call<'_>, id: u64) {
        self.ledger.note(id, Note::Began);
    }
}

/// The caller's handlers.
pub struct CallingBack(pub Arc<Ledger>);

impl BackServer for CallingBack {
    fn back(&self, _: &Call<'_>, id: u64) -> u64 {
        self.0.note(id, Note::CalledBack);
        !id
    }
}
