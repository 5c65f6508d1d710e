//! A thread that calls: what it has under way, and what it does with that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use memring::rpc::{CallError, Cancel, Options, Pending, Stream, Subscription};

use super::api::{Do, Failed, Flow, Order, WorkAsyncClient, WorkClient, payload};
use super::book::{Asked, Book, Came};
use super::plan::{CALLERS, CANCELS, Deadline, Step, Wanted, Watched};

/// What callers of a session share.
pub struct Desk {
    pub book: Book,
    cancels: Mutex<[Cancel; CANCELS]>,
    under_way: [Mutex<UnderWay>; CALLERS],
}

/// What a caller has under way and does not wait for.
#[derive(Default)]
struct UnderWay {
    pending: Vec<Started>,
    streams: Vec<Watching>,
    /// What keeps its handler busy until somebody cares is not kept any more.
    let_go: bool,
}

impl Desk {
    pub fn new(book: Book) -> Self {
        Self { book, cancels: Mutex::default(), under_way: Default::default() }
    }

    /// Gives up what keeps its handler busy until somebody cares: others may wait behind it.
    pub fn let_go(&self) {
        for under_way in &self.under_way {
            let mut under_way = under_way.lock().unwrap();
            under_way.let_go = true;
            let UnderWay { pending, streams, .. } = &mut *under_way;
            pending.extract_if(.., |one| one.keeps_busy()).for_each(|one| one.give_up(&self.book));
            streams.extract_if(.., |one| one.keeps_busy()).for_each(|one| one.give_up(&self.book));
        }
    }

    /// Cancels one, and has another in its place.
    pub fn cancel(&self, which: usize) {
        std::mem::take(&mut self.cancels.lock().unwrap()[which]).cancel();
    }

    /// Cancels all, and what is called from now on with one of them.
    pub fn cancel_all(&self) {
        self.cancels.lock().unwrap().iter().for_each(Cancel::cancel);
    }

    fn cancel_of(&self, which: Option<usize>) -> Option<Cancel> {
        which.map(|which| self.cancels.lock().unwrap()[which].clone())
    }
}

/// What is given to a caller to do.
enum Task {
    Step(Step),
    /// Waits for all that is under way, and ends.
    Finish,
}

/// A thread that calls, from outside.
pub struct Caller {
    tasks: mpsc::Sender<Task>,
    /// How much it was given and has not done.
    backlog: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Caller {
    pub fn new(
        number: usize,
        desk: &Arc<Desk>,
        client: &WorkClient,
        starts: &WorkAsyncClient,
    ) -> Self {
        let (tasks, given) = mpsc::channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&backlog);
        let mut calling = Calling {
            number,
            desk: Arc::clone(desk),
            client: client.clone(),
            starts: starts.clone(),
            signals: Vec::new(),
        };
        let thread = thread::spawn(move || {
            for task in given {
                match task {
                    Task::Step(step) => calling.step(step),
                    Task::Finish => return calling.finish(),
                }
                left.fetch_sub(1, Ordering::Relaxed);
            }
        });
        Self { tasks, backlog, thread }
    }

    /// Gives it this to do, once it has done most of the rest, or a moment has passed: it may be kept waiting.
    pub fn give(&self, step: Step) {
        let end = Instant::now() + Duration::from_micros(300);
        while self.backlog.load(Ordering::Relaxed) > 1 && Instant::now() < end {
            thread::yield_now();
        }
        self.backlog.fetch_add(1, Ordering::Relaxed);
        self.tasks.send(Task::Step(step)).expect("it goes on until it is told");
    }

    pub fn finish(&self) {
        self.tasks.send(Task::Finish).expect("it goes on until it is told");
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    pub fn join(self) {
        self.thread.join().expect("no panic");
    }
}

type Replies = Stream<Vec<u8>, Failed>;

/// A call under way.
struct Started {
    id: u64,
    wanted: Wanted,
    pending: Pending<Vec<u8>, Failed>,
}

impl Started {
    fn keeps_busy(&self) -> bool {
        self.wanted.what == Do::UntilCancelled
    }

    fn give_up(self, book: &Book) {
        drop(self.pending);
        book.came(self.id, Came::GivenUp);
    }

    fn wait(self, book: &Book) {
        answered(book, self.id, self.wanted.sizes[1], self.pending.wait());
    }
}

/// A stream under way.
struct Watching {
    id: u64,
    flow: Watched,
    taken: u32,
    replies: Replies,
}

struct Calling {
    number: usize,
    desk: Arc<Desk>,
    client: WorkClient,
    starts: WorkAsyncClient,
    /// And the last number that came.
    signals: Vec<(Subscription<u64>, u64)>,
}

fn options(deadline: Deadline, cancel: Option<&Cancel>) -> Options {
    let options = match deadline {
        Deadline::None => Options::new(),
        Deadline::Past => Options::new().deadline(Instant::now()),
        Deadline::Short => Options::new().timeout(Duration::from_millis(1)),
        Deadline::Long => Options::new().timeout(Duration::from_secs(1000)),
    };
    match cancel {
        Some(cancel) => options.cancel(cancel),
        None => options,
    }
}

/// One of them, if there are any.
fn choose(len: usize, which: usize) -> Option<usize> {
    (len != 0).then(|| which % len)
}

impl Calling {
    fn book(&self) -> &Book {
        &self.desk.book
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Call(wanted) => {
                let (id, order, bytes, options) = self.order(wanted);
                let answer = self.client.with(options).work(order, &bytes);
                answered(self.book(), id, wanted.sizes[1], answer);
            }
            Step::Start(wanted) => {
                let (id, order, bytes, options) = self.order(wanted);
                let pending = self.starts.with(options).work(order, &bytes);
                self.keep(Started { id, wanted, pending });
            }
            Step::Wait(which) => {
                if let Some(one) = self.take_pending(which) {
                    one.wait(self.book());
                }
            }
            Step::Drop(which) => {
                if let Some(one) = self.take_pending(which) {
                    one.give_up(self.book());
                }
            }
            Step::Watch(flow) => self.watch(flow),
            Step::Read(which, most) => {
                if let Some(mut one) = self.take_stream(which)
                    && !(0..most).any(|_| one.read(self.book()))
                {
                    self.keep_stream(one);
                }
            }
            Step::Leave(which) => {
                if let Some(one) = self.take_stream(which) {
                    one.give_up(self.book());
                }
            }
            Step::Tell => {
                let id = self.book().begin(Asked::Tell, Deadline::None, None);
                match self.client.tell(id) {
                    Ok(()) => self.book().came(id, Came::Sent),
                    Err(error) => self.book().failed(id, &widened(error)),
                }
            }
            Step::Subscribe => match self.client.news() {
                Ok(signals) => self.signals.push((signals, 0)),
                Err(error) => self.signals_end(&error),
            },
            Step::Unsubscribe(which) => {
                if let Some(at) = choose(self.signals.len(), which) {
                    drop(self.signals.swap_remove(at));
                }
            }
            Step::Listen(which) => self.listen(which),
        }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.desk.under_way[self.number].lock().unwrap()
    }

    fn keep(&self, one: Started) {
        let mut under_way = self.under_way();
        if under_way.let_go && one.keeps_busy() {
            one.give_up(self.book());
        } else {
            under_way.pending.push(one);
        }
    }

    fn keep_stream(&self, one: Watching) {
        let mut under_way = self.under_way();
        if under_way.let_go && one.keeps_busy() {
            one.give_up(self.book());
        } else {
            under_way.streams.push(one);
        }
    }

    fn take_pending(&self, which: usize) -> Option<Started> {
        let mut under_way = self.under_way();
        let at = choose(under_way.pending.len(), which)?;
        Some(under_way.pending.swap_remove(at))
    }

    fn take_stream(&self, which: usize) -> Option<Watching> {
        let mut under_way = self.under_way();
        let at = choose(under_way.streams.len(), which)?;
        Some(under_way.streams.swap_remove(at))
    }

    fn order(&self, wanted: Wanted) -> (u64, Order, Vec<u8>, Options) {
        let Wanted { what, deadline, cancel, sizes: [arguments, size] } = wanted;
        let cancel = self.desk.cancel_of(cancel);
        let options = options(deadline, cancel.as_ref());
        let id = self.book().begin(Asked::Call(what), deadline, cancel);
        let order = Order { id, what, size, deadline: deadline != Deadline::None };
        (id, order, payload(id, arguments), options)
    }

    fn watch(&mut self, flow: Watched) {
        let Watched { count, size, finale, elsewhere, deadline, cancel } = flow;
        let cancel = self.desk.cancel_of(cancel);
        let options = options(deadline, cancel.as_ref());
        let id = self.book().begin(Asked::Stream(flow), deadline, cancel);
        let asked = Flow { id, count, size, finale, elsewhere };
        match self.client.with(options).flow(asked) {
            Ok(replies) => self.keep_stream(Watching { id, flow, taken: 0, replies }),
            Err(error) => self.book().failed(id, &widened(error)),
        }
    }

    fn listen(&mut self, which: usize) {
        let Some(at) = choose(self.signals.len(), which) else { return };
        loop {
            let (signals, last) = &mut self.signals[at];
            match signals.try_recv() {
                Ok(Some(number)) if number > *last => *last = number,
                Ok(Some(number)) => {
                    let last = *last;
                    return self.book().wrong(format_args!("signal {number} after {last}"));
                }
                Ok(None) => return,
                Err(error) => return self.signals_end(&error),
            }
        }
    }

    fn signals_end(&self, error: &CallError) {
        if !matches!(error, CallError::Ended(_)) || !self.book().may_have_ended() {
            self.book().wrong(format_args!("a subscription: {error:?}"));
        }
    }

    fn finish(mut self) {
        while let Some(one) = self.take_pending(0) {
            one.wait(self.book());
        }
        while let Some(mut one) = self.take_stream(0) {
            while !one.read(self.book()) {}
        }
        (0..self.signals.len()).for_each(|which| self.listen(which));
    }
}

fn widened(error: CallError) -> CallError<Failed> {
    match error {
        CallError::TooManyCalls { most } => CallError::TooManyCalls { most },
        CallError::DeadlinePassed => CallError::DeadlinePassed,
        CallError::Cancelled => CallError::Cancelled,
        CallError::Ended(end) => CallError::Ended(end),
        CallError::Send(error) => CallError::Send(error),
        other => panic!("nothing was sent: {other:?}"),
    }
}

fn answered(book: &Book, id: u64, size: u32, answer: Result<Vec<u8>, CallError<Failed>>) {
    match answer {
        Ok(bytes) if bytes == payload(id, size) => book.came(id, Came::Answer),
        Ok(bytes) => book.wrong(format_args!("call {id}: another's answer, {bytes:?}")),
        Err(error) => book.failed(id, &error),
    }
}

impl Watching {
    /// Whether a thread of the server's may wait for it to be read.
    fn keeps_busy(&self) -> bool {
        !self.flow.elsewhere && self.flow.count > 32
    }

    fn give_up(self, book: &Book) {
        drop(self.replies);
        book.came(self.id, Came::GivenUp);
    }

    /// Takes a reply. Whether it was none, but the end.
    fn read(&mut self, book: &Book) -> bool {
        let Self { id, flow, taken, replies } = self;
        match replies.recv() {
            Ok(Some(bytes)) if bytes == payload(*id + u64::from(*taken), flow.size) => *taken += 1,
            Ok(Some(bytes)) => book.wrong(format_args!("stream {id}: {bytes:?} at {taken}")),
            Ok(None) => {
                book.came(*id, Came::Answer);
                self.all_came(book);
                return true;
            }
            Err(error) => {
                book.failed(*id, &error);
                if matches!(error, CallError::Failed(_)) {
                    self.all_came(book);
                }
                return true;
            }
        }
        false
    }

    fn all_came(&self, book: &Book) {
        let Self { id, flow, taken, .. } = self;
        if *taken != flow.count {
            book.wrong(format_args!("stream {id}: {taken} replies of {}", flow.count));
        }
    }
}
