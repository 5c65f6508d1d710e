//! The model: what each call may come to, and what its handler may have done by then.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memring::End;
use memring::rpc::{CallError, Cancel};

use super::api::{Do, Failed, Finale, Ledger, Note};
use super::plan::{Deadline, Ending, Plan, Watched, Where};

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    Call(Do),
    Stream(Watched),
    Tell,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    /// With all that was due.
    Answer,
    Failed,
    Panicked,
    /// The handler gave no answer.
    Dropped,
    DeadlinePassed,
    Cancelled,
    ShuttingDown,
    TooManyCalls,
    Ended,
    /// Nobody waited.
    GivenUp,
    /// It has no answer.
    Sent,
}

struct Entry {
    asked: Asked,
    deadline: Deadline,
    cancel: Option<Cancel>,
    came: Option<Came>,
}

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Runs = 0,
    /// The server begins nothing new.
    Stops = 1,
    /// It is being closed, or the peer killed.
    Ends = 2,
}

/// How often what came to what.
pub type Tally = BTreeMap<(String, String), u64>;

/// All calls of a session.
pub struct Book {
    calls: Mutex<HashMap<u64, Entry>>,
    last: AtomicU64,
    phase: AtomicU8,
    /// How many calls the peer takes at once.
    most: u32,
    wrong: Mutex<Vec<String>>,
}

/// Between the numbers of two calls: the replies of a stream have numbers too.
const STEP: u64 = 1 << 10;

impl Book {
    pub fn new(most: u32) -> Self {
        Self {
            calls: Mutex::default(),
            last: AtomicU64::new(0),
            phase: AtomicU8::new(Phase::Runs as u8),
            most,
            wrong: Mutex::default(),
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before it begins to be so.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    fn is_past(&self, phase: Phase) -> bool {
        self.phase.load(Ordering::SeqCst) >= phase as u8
    }

    /// A call is about to be made. Its number.
    pub fn begin(&self, asked: Asked, deadline: Deadline, cancel: Option<Cancel>) -> u64 {
        let id = self.last.fetch_add(STEP, Ordering::Relaxed) + STEP;
        let entry = Entry { asked, deadline, cancel, came: None };
        assert!(self.calls().insert(id, entry).is_none());
        id
    }

    /// The number of one that waits to be told, if there is one.
    pub fn waiting(&self, which: usize) -> Option<u64> {
        let calls = self.calls();
        let waits = |entry: &Entry| {
            entry.came.is_none() && matches!(entry.asked, Asked::Call(Do::WhenTold))
        };
        let mut ids: Vec<_> =
            calls.iter().filter(|(_, one)| waits(one)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        (!ids.is_empty()).then(|| ids[which % ids.len()])
    }

    /// Something is not as it has to be.
    pub fn wrong(&self, what: impl fmt::Display) {
        self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(what.to_string());
    }

    /// Fails if something is not as it has to be.
    #[track_caller]
    pub fn check(&self) {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// What it came to, of which there is one.
    pub fn came(&self, id: u64, came: Came) {
        let mut calls = self.calls();
        let Some(entry) = calls.get_mut(&id) else { panic!("call {id} is none") };
        let asked = entry.asked;
        if let Some(before) = entry.came.replace(came) {
            self.wrong(format_args!("call {id}, {asked:?}: {came:?}, and {before:?} before"));
        }
        if !self.may(entry, came) {
            let deadline = entry.deadline;
            self.wrong(format_args!("call {id}, {asked:?}, {deadline:?}: may not be {came:?}"));
        }
    }

    /// What an error says that it came to.
    pub fn failed(&self, id: u64, error: &CallError<Failed>) {
        let came = match error {
            CallError::Failed(Failed(of)) if *of == id => Came::Failed,
            CallError::Panicked => Came::Panicked,
            CallError::Dropped => Came::Dropped,
            CallError::DeadlinePassed => Came::DeadlinePassed,
            CallError::Cancelled => Came::Cancelled,
            CallError::ShuttingDown => Came::ShuttingDown,
            CallError::TooManyCalls { most } if *most == self.most => Came::TooManyCalls,
            CallError::Ended(end) if !matches!(end, End::Fault(_) | End::Forked) => Came::Ended,
            other => return self.wrong(format_args!("call {id}: {other:?}")),
        };
        self.came(id, came);
    }

    /// Whether the session may have ended.
    pub fn may_have_ended(&self) -> bool {
        self.is_past(Phase::Stops)
    }

    /// Whether a call may come to this now.
    fn may(&self, entry: &Entry, came: Came) -> bool {
        let Entry { asked, deadline, cancel, .. } = entry;
        let passes = matches!(deadline, Deadline::Past | Deadline::Short);
        match (came, *asked) {
            (Came::DeadlinePassed, _) => passes,
            (Came::Cancelled, _) => cancel.as_ref().is_some_and(Cancel::is_cancelled),
            (Came::ShuttingDown, _) => self.is_past(Phase::Stops),
            (Came::Ended, _) => self.may_have_ended(),
            // As many were begun, whatever became of them.
            (Came::TooManyCalls, Asked::Call(_) | Asked::Stream(_)) => {
                self.last.load(Ordering::Relaxed) / STEP > self.most.into()
            }
            (Came::GivenUp, Asked::Call(_) | Asked::Stream(_)) => true,
            (Came::Sent, Asked::Tell) => true,
            (_, Asked::Tell) => false,
            (Came::Answer, Asked::Call(Do::Fail | Do::Panic)) => false,
            // It has to be told, by its deadline, say; and its caller may look once more after.
            (Came::Answer, Asked::Call(Do::UntilCancelled)) => passes,
            (Came::Answer, Asked::Call(_)) => true,
            (Came::Failed, Asked::Call(what)) => what == Do::Fail,
            (Came::Panicked, Asked::Call(what)) => what == Do::Panic,
            (Came::Answer, Asked::Stream(flow)) => flow.finale == Finale::Well,
            (Came::Failed, Asked::Stream(flow)) => flow.finale == Finale::Fail,
            (Came::Panicked, Asked::Stream(flow)) => flow.finale == Finale::Panic,
            // A writer whose caller's deadline has passed drops its end.
            (Came::Dropped, Asked::Stream(flow)) => flow.finale == Finale::Drop || passes,
            (Came::Sent | Came::Dropped, _) => false,
        }
    }

    /// The session is over: what did the handlers do meanwhile?
    pub fn judge(&self, ledger: &Path, plan: &Plan, ending: Option<Ending>, tally: &Mutex<Tally>) {
        let mut notes = HashMap::<u64, [u32; 4]>::new();
        Ledger::read(ledger)
            .for_each(|(id, note)| notes.entry(id).or_default()[note as usize] += 1);
        let calls = self.calls();
        // Elsewhere nobody says whether what has no answer had been begun before the end.
        let all_begin = plan.place == Where::Pair && ending == Some(Ending::Quiet);
        let in_order = matches!(ending, Some(Ending::Quiet | Ending::ShutDown));
        for (id, entry) in calls.iter() {
            let notes = notes.remove(id).unwrap_or_default();
            let note = |note: Note| notes[note as usize];
            let Some(came) = entry.came else {
                self.wrong(format_args!("call {id}, {:?}, came to nothing", entry.asked));
                continue;
            };
            let began = note(Note::Began);
            let begins = match (came, entry.asked) {
                (Came::Answer | Came::Failed | Came::Panicked | Came::Dropped, _) => began == 1,
                (Came::TooManyCalls | Came::ShuttingDown, _) => began == 0,
                (Came::Sent, _) if all_begin => began == 1,
                // What runs is finished, and what is not begun is not begun.
                (Came::Ended, _) if in_order => began == 0,
                _ => began <= 1,
            };
            let calls_back = entry.asked_back() && came == Came::Answer;
            let backs = note(Note::CalledBack);
            let back = backs <= 1 && (!calls_back || !in_order || backs == 1);
            let reached = note(Note::NoBack) == 0 || !in_order;
            if !begins || !back || !reached || note(Note::Deadline) != 0 {
                let asked = entry.asked;
                self.wrong(format_args!("call {id}, {asked:?}: {came:?}, and handlers: {notes:?}"));
            }
        }
        if !notes.is_empty() {
            self.wrong(format_args!("handlers of no call: {notes:?}"));
        }
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in calls.values() {
            let came = entry.came.map_or_else(String::new, |came| format!("{came:?}"));
            *tally.entry((entry.kind(), came)).or_default() += 1;
        }
    }
}

impl Entry {
    fn asked_back(&self) -> bool {
        matches!(self.asked, Asked::Call(Do::CallBack))
    }

    fn kind(&self) -> String {
        match self.asked {
            Asked::Call(what) => format!("call {what:?}"),
            Asked::Stream(flow) => format!("stream {:?}", flow.finale),
            Asked::Tell => "one-way".into(),
        }
    }
}
