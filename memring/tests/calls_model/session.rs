//! One session from beginning to end, as a plan has it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use memring::fanout::Slow;
use memring::rpc::fuzzing::left;
use memring::rpc::{Calls, Link, Options, Server, Serving};
use memring::{Connector, Lanes, Listener};

use super::api::{
    Back, CallingBack, Do, Gates, Ledger, Order, Work, WorkAsyncClient, WorkClient, WorkSignals,
    Working, payload,
};
use super::book::{Asked, Book, Came, Phase, Tally};
use super::caller::{Caller, Desk};
use super::plan::{CALLERS, Deadline, Ending, Op, Plan, Where};
use super::support::{Helper, PATIENCE, Scratch, Stage, eventually};

/// Where the handlers are.
enum Serves {
    Pair { link: Link, threads: Vec<JoinHandle<()>> },
    Server { server: Arc<Serving>, running: JoinHandle<()>, path: PathBuf },
    Child(Helper),
}

/// What tells handlers to go on, and signals.
enum Tells {
    Here(Gates, mpsc::Sender<u64>),
    /// By lines to the child.
    There,
}

fn working(ledger: &Path) -> Working {
    Working { gates: Gates::default(), ledger: Arc::new(Ledger::at(ledger)) }
}

fn server(working: &Working, signals: &WorkSignals, threads: usize, most: u32) -> Server {
    let serve = Work::serve(working.clone()).signals(signals);
    let listener = Listener::builder().lanes_between(Lanes::Bytes(4096), Lanes::Normal);
    Server::new().serve(serve).listener(listener).threads_per_client(threads).calls_at_once(most)
}

/// The child that serves until it is killed.
pub fn serves(stage: &Stage) {
    super::be_quiet();
    let working = working(Path::new(stage.get("ledger")));
    let signals = WorkSignals::new(Slow::DropNewest);
    let server = server(&working, &signals, stage.number("threads") as usize, 1024);
    let server = server.bind(stage.path()).expect("a place to listen at");
    stage.say("listens");
    thread::spawn(move || server.run().expect("it goes on"));
    loop {
        let line = stage.hear();
        match line.split_once(' ') {
            Some(("open", id)) => working.gates.open(id.parse().expect("a number")),
            Some(("signal", number)) => {
                signals.news(number.parse().expect("a number")).expect("it can be encoded");
            }
            _ => working.gates.open_all(),
        }
    }
}

/// Signals, in a thread of their own: they may have to wait.
fn signaller(signals: WorkSignals) -> mpsc::Sender<u64> {
    let (numbers, told) = mpsc::channel();
    thread::spawn(move || {
        for number in told {
            signals.news(number).expect("it can be encoded");
        }
    });
    numbers
}

struct Session {
    desk: Arc<Desk>,
    link: Link,
    client: WorkClient,
    /// The thread that serves the peer's calls back, if one does.
    back: Option<JoinHandle<()>>,
    callers: Vec<Caller>,
    serves: Serves,
    tells: Tells,
    ledger: PathBuf,
    signalled: u64,
    // At last.
    _scratch: Scratch,
}

impl Session {
    fn new(plan: &Plan) -> Self {
        let scratch = Scratch::new();
        let ledger = scratch.path().join("ledger");
        let path = scratch.socket();
        let lanes = Lanes::Bytes(plan.lanes.into());
        let connector = Connector::new().lanes(lanes, lanes).largest_message(1 << 20);
        let signals = WorkSignals::new(Slow::DropNewest);
        let most = if let Where::Server(most) = plan.place { most } else { 1024 };
        let (serves, tells, channel) = match plan.place {
            Where::Pair => {
                let working = working(&ledger);
                let gates = working.gates.clone();
                let (server, client) = connector.pair::<Calls>().expect("a pair");
                let link = Link::serving(server, [Work::serve(working).signals(&signals)]);
                let run = |link: Link| thread::spawn(move || drop(link.run()));
                let threads = (0..plan.threads).map(|_| run(link.clone())).collect();
                (Serves::Pair { link, threads }, Tells::Here(gates, signaller(signals)), client)
            }
            Where::Server(most) => {
                let working = working(&ledger);
                let server = server(&working, &signals, plan.threads, most);
                let server = Arc::new(server.bind(&path).expect("a place to listen at"));
                let runs = Arc::clone(&server);
                let running = thread::spawn(move || runs.run().expect("it ends in order"));
                let channel = connector.connect::<Calls>(&path).expect("it is served");
                let serves = Serves::Server { server, running, path };
                (serves, Tells::Here(working.gates, signaller(signals)), channel)
            }
            Where::Child => {
                let child = Helper::start(
                    "serves",
                    &[
                        ("path", &path.display()),
                        ("ledger", &ledger.display()),
                        ("threads", &plan.threads),
                    ],
                );
                child.expect("listens");
                let channel = connector.connect::<Calls>(&path).expect("it is served");
                (Serves::Child(child), Tells::There, channel)
            }
        };
        let back = CallingBack(Arc::new(Ledger::at(&ledger)));
        let link = Link::serving(channel, [Back::serve(back)]);
        let client: WorkClient = link.open().expect("it is served");
        let back = plan.serves_back.then(|| {
            let link = link.clone();
            thread::spawn(move || drop(link.run()))
        });
        let desk = Arc::new(Desk::new(Book::new(most)));
        let starts: WorkAsyncClient = link.open().expect("it is served");
        let callers =
            (0..CALLERS).map(|number| Caller::new(number, &desk, &client, &starts)).collect();
        Self {
            desk,
            link,
            client,
            back,
            callers,
            serves,
            tells,
            ledger,
            signalled: 0,
            _scratch: scratch,
        }
    }

    fn tell(&mut self, line: &str) {
        if let Serves::Child(child) = &mut self.serves {
            child.tell(line);
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Step(caller, step) => self.callers[caller].give(step),
            Op::Cancel(which) => self.desk.cancel(which),
            Op::Open(which) => {
                if let Some(id) = self.desk.book.waiting(which) {
                    match &self.tells {
                        Tells::Here(gates, _) => gates.open(id),
                        Tells::There => self.tell(&format!("open {id}")),
                    }
                }
            }
            Op::Signal => {
                self.signalled += 1;
                let number = self.signalled;
                match &self.tells {
                    Tells::Here(_, signals) => signals.send(number).expect("it listens"),
                    Tells::There => self.tell(&format!("signal {number}")),
                }
            }
        }
    }

    fn open_all(&mut self) {
        match &self.tells {
            Tells::Here(gates, _) => gates.open_all(),
            Tells::There => self.tell("all"),
        }
    }

    /// Lets all handlers go on, and come to their ends.
    fn let_go(&mut self) {
        self.open_all();
        self.desk.cancel_all();
        self.desk.let_go();
    }

    /// Each caller comes to its end.
    fn finish_callers(&mut self) {
        self.callers.iter().for_each(Caller::finish);
        eventually("every call ends", || {
            self.desk.book.check();
            self.callers.iter().all(Caller::is_finished)
        });
        self.callers.drain(..).for_each(Caller::join);
    }

    /// One more call, which reads what has come where no thread serves.
    fn ask(&self) {
        let book = &self.desk.book;
        let id = book.begin(Asked::Call(Do::Answer), Deadline::None, None);
        let order = Order { id, what: Do::Answer, size: 0, deadline: true };
        // It ends in time, as the model has it.
        let client = self.client.with(Options::new().timeout(PATIENCE));
        match client.work(order, &payload(id, 0)) {
            Ok(_) => book.came(id, Came::Answer),
            Err(error) => book.failed(id, &error),
        }
        book.check();
    }

    /// Nothing is left of what was under way, on neither side.
    fn come_to_rest(&self) {
        eventually("both sides come to rest", || {
            self.ask();
            let served = match &self.serves {
                Serves::Pair { link, .. } => left(link),
                _ => 0,
            };
            left(&self.link) + served == 0
        });
    }

    fn end(&mut self, ending: Option<Ending>) {
        match (ending, &self.serves) {
            (Some(Ending::Quiet), _) => {
                self.let_go();
                self.finish_callers();
                self.come_to_rest();
                self.desk.book.set_phase(Phase::Ends);
            }
            (Some(Ending::ShutDown), Serves::Server { server, .. }) => {
                self.desk.book.set_phase(Phase::Stops);
                let server = Arc::clone(server);
                let shutting_down = thread::spawn(move || server.shut_down(2 * PATIENCE));
                self.let_go();
                self.finish_callers();
                // Answers to what was given up may wait for room.
                eventually("it has shut down", || {
                    self.ask();
                    shutting_down.is_finished()
                });
                self.desk.book.set_phase(Phase::Ends);
            }
            (_, serves) => {
                self.desk.book.set_phase(Phase::Ends);
                match serves {
                    Serves::Child(child) => child.kill(),
                    Serves::Pair { link, .. } if ending != Some(Ending::CallerCloses) => {
                        link.close()
                    }
                    _ => self.link.close(),
                }
                // Handlers may still be where they are.
                self.finish_callers();
            }
        }
    }

    /// What is behind the session ends, too; and others are served.
    fn close(self, plan: &Plan, ending: Option<Ending>, tally: &Mutex<Tally>) {
        let Self { desk, link, client, back, serves, ledger, tells, _scratch, .. } = self;
        link.close();
        let mut threads: Vec<_> = back.into_iter().collect();
        if let Tells::Here(gates, _) = &tells {
            gates.open_all();
        }
        match serves {
            Serves::Pair { threads: serving, .. } => threads.extend(serving),
            Serves::Server { server, running, path } => {
                if ending != Some(Ending::ShutDown) {
                    let another = WorkClient::connect(&path).expect("it is served");
                    let id = desk.book.begin(Asked::Call(Do::Answer), Deadline::None, None);
                    let order = Order { id, what: Do::Answer, size: 0, deadline: false };
                    another.work(order, &payload(id, 0)).expect("an answer");
                    desk.book.came(id, Came::Answer);
                    server.shut_down(PATIENCE);
                }
                threads.push(running);
            }
            Serves::Child(child) => {
                // Its notes are complete once it is dead.
                child.kill();
            }
        }
        eventually("every thread ends", || threads.iter().all(JoinHandle::is_finished));
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        drop((client, link));
        desk.book.judge(&ledger, plan, ending, tally);
        desk.book.check();
    }
}

/// Runs a session.
pub fn run(plan: &Plan, tally: &Mutex<Tally>) {
    let mut session = Session::new(plan);
    // What is killed ends so, and a pair does not shut down in order.
    let ending = match (plan.place, plan.ending) {
        (Where::Child, Ending::Quiet) => Some(Ending::Quiet),
        (Where::Child, _) => None,
        (Where::Pair, Ending::ShutDown) => Some(Ending::ServerCloses),
        (_, ending) => Some(ending),
    };
    for &op in &plan.ops {
        let back = matches!(op, Op::Step(_, step) if step.calls_back());
        if !back || plan.serves_back {
            session.run(op);
        }
    }
    session.end(ending);
    session.close(plan, ending, tally);
}
