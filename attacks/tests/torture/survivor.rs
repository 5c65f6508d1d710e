//! The survivor: one process that lives through all rounds, and says after each what it found.
//!
//! It meets a new victim in each round, as its server or its client, talks to it both ways at once until that
//! ends, and sees to it that nothing is held any more. What to think of it is `verdict.rs`'s business.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use memring::{Bytes, Channel, End, Listener, Receiver, Sender, TryRecvError, TrySendError};

use super::half::split;
use super::ledger::Ledger;
use super::load::Load;
use super::plan::{Fate, Moment, Round};
use super::random::Random;
use super::support::{Held, Helper, PATIENCE, Stage, role_command, soon, state_of};
use super::verdict::{Ends, Evidence, Outcome};
use super::victim::{SURVIVOR_LEDGER, SURVIVOR_LISTENS, VICTIM_LEDGER, VICTIM_LISTENS, connector};
use super::wrong::Wrong;

/// The process that lives on.
pub struct Survivor {
    listener: Listener,
    root: PathBuf,
    ours: Ledger,
    theirs: Ledger,
    /// What this process holds between two rounds.
    held: (Held, Vec<String>),
}

type Talk = Channel<[u8], [u8]>;

/// A victim's process, to be struck and looked at from any thread. It is not reaped while this exists.
#[derive(Clone, Copy)]
struct Target(u32);

impl Target {
    fn signal(self, signal: i32) {
        // SAFETY: no memory is involved; the victim is not reaped yet, so the number is its own.
        unsafe { libc::kill(self.0 as i32, signal) };
    }

    fn is_stopped(self) -> bool {
        state_of(self.0) == Some('T')
    }

    fn is_dead(self) -> bool {
        matches!(state_of(self.0), None | Some('Z' | 'X'))
    }
}

/// Nanoseconds of the clock that all processes share.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Survivor {
    pub fn new(stage: &Stage) -> Self {
        let root = stage.path().to_owned();
        let listener = Listener::builder()
            .handshake_timeout(PATIENCE)
            .bind(root.join(SURVIVOR_LISTENS))
            .expect("binds");
        let ledger = |name| Ledger::open(&root.join(name));
        let (ours, theirs) = (ledger(SURVIVOR_LEDGER), ledger(VICTIM_LEDGER));
        // What a first session leaves for good, such as the watcher, is no leak.
        drop(memring::pair::<Bytes>().expect("a pair"));
        let held = (Held::settled(), Vec::new());
        let mut survivor = Self { listener, root, ours, theirs, held };
        survivor.held = survivor.holds();
        survivor
    }

    /// What this process holds now, and the files beside its socket.
    fn holds(&self) -> (Held, Vec<String>) {
        let files = std::fs::read_dir(self.root.join(SURVIVOR_LISTENS).parent().expect("a folder"));
        let mut names: Vec<String> = files
            .expect("the survivor's folder")
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        (Held::now(), names)
    }

    /// Plays one round.
    pub fn play(&mut self, round: &Round) -> Result<Outcome, Wrong> {
        self.ours.clear();
        self.theirs.clear();
        let root = self.root.display();
        let mut command = role_command(
            "victim",
            &[
                ("path", &root),
                ("scenario", &round.scenario.number()),
                ("seed", &round.seed),
                ("messages", &round.messages()),
            ],
        );
        if let Some((step, nth, signal)) = round.fate.step() {
            command.env("MEMRING_STEP", format!("{}:{nth}:{signal}", step.name()));
        }
        let mut victim = Helper::run(&mut command);
        let target = Target(victim.pid());
        let (talked, struck) = thread::scope(|scope| {
            let warden = scope.spawn(|| watch_over(target, round));
            let talked = self.talk(round, target);
            if talked.is_err() {
                target.signal(libc::SIGKILL);
            }
            (talked, warden.join().expect("the warden"))
        });
        let status = victim.wait();
        let said: Vec<String> = victim.rest().collect();
        drop(victim);
        let (ours, theirs) = (&self.ours, &self.theirs);
        let judged = talked.and_then(|ends| {
            Evidence { round, pid: target.0, status, said: &said, struck, ends, ours, theirs }
                .judge()
        });
        // A victim that found something wrong knows more of it than we do.
        let heard = said.iter().find_map(|line| line.strip_prefix("wrong "));
        let judged = heard.map_or(judged, |wrong| Err(Wrong::heard(wrong)));
        let held = self.let_go();
        judged.and_then(|outcome| held.map(|()| outcome))
    }

    /// Meets the victim and talks to it until there is nothing more to say.
    fn talk(&self, round: &Round, target: Target) -> Result<Ends, Wrong> {
        let met =
            if round.scenario.server { self.connect(round, target)? } else { self.accept(target)? };
        let Some(channel) = met else {
            return Ok(Ends::default());
        };
        let ours = Load::new(round.seed, round.scenario.server, round.messages());
        let theirs = Load::new(round.seed, !round.scenario.server, round.messages());
        let (mut tx, mut rx) = split(channel, round.scenario.survivor_loops, round.seed);
        tx.set_wait_strategy(round.scenario.wait());
        rx.set_wait_strategy(round.scenario.wait());
        let until = (!round.scenario.closes).then(|| round.messages());
        let (earn, credits) = mpsc::channel();
        let ends = thread::scope(|scope| {
            let (tx, ours) = (&mut tx, &ours);
            let pouring = scope.spawn(move || -> Result<_, Wrong> {
                let poured = ours.pour(tx, credits, &self.ours);
                if poured.is_err() {
                    target.signal(libc::SIGKILL); // the receiver need not go on
                }
                let end = poured?;
                let all = self.ours.sent() == round.messages();
                match end {
                    Some(end) => Ok(Some((end, now()))),
                    None if all && until.is_some() => Ok(None),
                    None => end_of(tx).map(Some),
                }
            });
            let drunk = theirs.drink(&mut rx, until, earn, &self.ours);
            let receiving = drunk.map(|end| end.map(|end| (end, now())));
            if receiving.is_err() {
                target.signal(libc::SIGKILL); // the sender need not go on
            }
            let sending = pouring.join().expect("the sender");
            Ok(Ends { receiving: receiving?, sending: sending? })
        })?;
        stays(&ends, &mut tx, &mut rx)?;
        Ok(ends)
    }

    /// Accepts the victim; nobody if it dies first.
    fn accept(&self, target: Target) -> Result<Option<Talk>, Wrong> {
        let give_up = soon();
        loop {
            match self.listener.accept_deadline(Instant::now() + Duration::from_millis(2)) {
                Ok(incoming) => match incoming.open::<Bytes>() {
                    Ok(channel) => return Ok(Some(channel)),
                    Err(error) => return died(target, "opening", &error),
                },
                Err(_) if target.is_dead() => return Ok(None),
                Err(error) if Instant::now() >= give_up => {
                    return Err(Wrong::failed(format!("accepting: {error}")));
                }
                Err(_) => {}
            }
        }
    }

    /// Connects to the victim; nobody if it dies first.
    fn connect(&self, round: &Round, target: Target) -> Result<Option<Talk>, Wrong> {
        let give_up = soon();
        loop {
            let path = self.root.join(VICTIM_LISTENS);
            let error = match connector(round.scenario).connect::<Bytes>(path) {
                Ok(channel) => return Ok(Some(channel)),
                Err(error) => std::io::Error::from(error),
            };
            let not_yet = [std::io::ErrorKind::NotFound, std::io::ErrorKind::ConnectionRefused];
            if !not_yet.contains(&error.kind()) || target.is_dead() || Instant::now() >= give_up {
                return died(target, "connecting", &error);
            }
            thread::sleep(Duration::from_micros(300));
        }
    }

    /// Waits until this process holds what it held before the round.
    fn let_go(&mut self) -> Result<(), Wrong> {
        let give_up = soon();
        loop {
            let holds = self.holds();
            if holds == self.held {
                return Ok(());
            }
            if Instant::now() >= give_up {
                let held = std::mem::replace(&mut self.held, holds);
                return Err(Wrong::leaked(format!("{held:?} before, {:?} now", self.held)));
            }
            // The handshake of a victim that is dead may have ended well a moment later.
            drop(self.listener.accept_deadline(Instant::now() + Duration::from_micros(500)));
        }
    }
}

/// Lets befall the victim what is meant for it; when that was, if it was this that did it.
fn watch_over(target: Target, round: &Round) -> Option<u64> {
    let mut random = Random::new(round.seed);
    let mut go_on = || {
        thread::sleep(Duration::from_micros(random.below(3000)));
        target.signal(libc::SIGCONT);
    };
    match round.fate {
        Fate::None | Fate::Kill(Moment::At(..)) => None,
        Fate::Kill(Moment::After(time)) => {
            thread::sleep(time);
            let killed = now();
            target.signal(libc::SIGKILL);
            Some(killed)
        }
        Fate::Stop(Moment::After(time)) => {
            thread::sleep(time);
            let stopped = now();
            target.signal(libc::SIGSTOP);
            go_on();
            Some(stopped)
        }
        Fate::Stop(Moment::At(..)) => {
            // It stops itself, once at most, and perhaps when the survivor has closed already.
            while !target.is_stopped() {
                if target.is_dead() {
                    return None;
                }
                thread::sleep(Duration::from_micros(300));
            }
            go_on();
            None
        }
    }
}

/// Asks a sender that has nothing more to send how its direction ends.
fn end_of(tx: &mut Sender<[u8]>) -> Result<(End, u64), Wrong> {
    let give_up = soon();
    loop {
        if let Some(end) = tx.end() {
            return Ok((end, now()));
        }
        if Instant::now() >= give_up {
            return Err(Wrong::failed("sending does not end"));
        }
        thread::sleep(Duration::from_micros(100));
    }
}

/// Whether both halves go on saying what they said.
fn stays(ends: &Ends, tx: &mut Sender<[u8]>, rx: &mut Receiver<[u8]>) -> Result<(), Wrong> {
    let same = |a: &End, b: &End| std::mem::discriminant(a) == std::mem::discriminant(b);
    if let Some((end, _)) = &ends.receiving {
        match rx.try_recv() {
            Err(TryRecvError::Ended(again)) if same(end, &again) => {}
            other => return Err(Wrong::ended(end, format!("of receiving, then {other:?}"))),
        }
    }
    if let Some((end, _)) = &ends.sending {
        match tx.try_send(b"?") {
            Err(TrySendError::Ended(again)) if same(end, &again) => {}
            other => return Err(Wrong::ended(end, format!("of sending, then {other:?}"))),
        }
    }
    Ok(())
}

/// No session came about: right if the victim is dead, or dies of it now.
fn died<T>(target: Target, doing: &str, error: &dyn std::fmt::Display) -> Result<Option<T>, Wrong> {
    let give_up = soon();
    while !target.is_dead() {
        if Instant::now() >= give_up {
            return Err(Wrong::failed(format!("{doing}, the victim being alive: {error}")));
        }
        thread::sleep(Duration::from_micros(100));
    }
    Ok(None)
}
