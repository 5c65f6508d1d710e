//! What is tried: random sessions, and what is done in them.

use proptest::prelude::*;
use proptest::sample::select;

use super::api::{Do, Finale};

/// Threads that call, of each session.
pub const CALLERS: usize = 3;
/// What may be cancelled together.
pub const CANCELS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deadline {
    None,
    /// It has passed already.
    Past,
    Short,
    Long,
}

/// A call, before it has a number.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub what: Do,
    pub deadline: Deadline,
    /// What cancels it, of that many.
    pub cancel: Option<usize>,
    /// Bytes of arguments and of the answer.
    pub sizes: [u32; 2],
}

/// A stream, before it has a number.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    pub count: u32,
    pub size: u32,
    pub finale: Finale,
    pub elsewhere: bool,
    pub deadline: Deadline,
    pub cancel: Option<usize>,
}

/// What a thread that calls does next. The numbers choose among what it has.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Call(Wanted),
    Start(Wanted),
    Wait(usize),
    Drop(usize),
    Watch(Watched),
    /// Takes so many replies at most.
    Read(usize, u32),
    Leave(usize),
    Tell,
    Subscribe,
    Unsubscribe(usize),
    Listen(usize),
}

#[derive(Debug, Clone, Copy)]
pub enum Op {
    /// Of one of the threads that call.
    Step(usize, Step),
    Cancel(usize),
    /// Lets one handler go on, of those that wait.
    Open(usize),
    Signal,
}

/// How a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All is answered, and looked at, before anything is closed.
    Quiet,
    CallerCloses,
    ServerCloses,
    /// The server shuts down in order, while calls come.
    ShutDown,
}

/// Where the handlers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// At the other end of a pair.
    Pair,
    /// In a server, which takes so many calls at once.
    Server(u32),
    /// In a process that is killed at the end.
    Child,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub place: Where,
    /// Threads that run the handlers.
    pub threads: usize,
    /// Whether the calling side serves, too: only then can it be called back.
    pub serves_back: bool,
    /// Bytes of the lanes.
    pub lanes: u32,
    pub ops: Vec<Op>,
    pub ending: Ending,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let what = prop_oneof![
        8 => Just(Do::Answer),
        2 => Just(Do::WhenTold),
        1 => Just(Do::Late),
        2 => Just(Do::Fail),
        1 => Just(Do::Panic),
        2 => Just(Do::UntilCancelled),
        1 => Just(Do::CallBack),
    ];
    let size = prop_oneof![6 => 0..40_u32, 2 => 90..130_u32, 1 => 900..1100_u32, 1 => 0..9000_u32];
    (what, deadline(), cancel(), [size.clone(), size]).prop_map(
        |(what, deadline, cancel, sizes)| {
            let goes_on = what == Do::UntilCancelled && deadline == Deadline::None;
            // What goes on until it is cancelled can be.
            let cancel = if goes_on { Some(cancel.unwrap_or(0)) } else { cancel };
            let cancel = if deadline == Deadline::Long && what == Do::UntilCancelled {
                Some(cancel.unwrap_or(0))
            } else {
                cancel
            };
            Wanted { what, deadline, cancel, sizes }
        },
    )
}

fn deadline() -> impl Strategy<Value = Deadline> {
    prop_oneof![
        6 => Just(Deadline::None),
        1 => Just(Deadline::Past),
        2 => Just(Deadline::Short),
        1 => Just(Deadline::Long),
    ]
}

fn cancel() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![5 => Just(None), 1 => (0..CANCELS).prop_map(Some)]
}

fn watched() -> impl Strategy<Value = Watched> {
    let finale = prop_oneof![
        4 => Just(Finale::Well),
        1 => Just(Finale::Fail),
        1 => Just(Finale::Drop),
        1 => Just(Finale::Panic),
    ];
    let count = prop_oneof![3 => 0..10_u32, 2 => 28..40_u32, 1 => 0..200_u32];
    let size = prop_oneof![4 => 0..20_u32, 1 => 0..600_u32];
    (count, size, finale, any::<bool>(), deadline(), cancel()).prop_map(
        |(count, size, finale, elsewhere, deadline, cancel)| Watched {
            count,
            size,
            finale,
            elsewhere,
            deadline,
            cancel,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let which = || any::<prop::sample::Index>().prop_map(|index| index.index(1 << 16));
    prop_oneof![
        8 => wanted().prop_map(Step::Call),
        8 => wanted().prop_map(Step::Start),
        4 => which().prop_map(Step::Wait),
        2 => which().prop_map(Step::Drop),
        3 => watched().prop_map(Step::Watch),
        4 => (which(), 0..60_u32).prop_map(|(which, most)| Step::Read(which, most)),
        1 => which().prop_map(Step::Leave),
        2 => Just(Step::Tell),
        1 => Just(Step::Subscribe),
        1 => which().prop_map(Step::Unsubscribe),
        1 => which().prop_map(Step::Listen),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        24 => (0..CALLERS, step()).prop_map(|(caller, step)| Op::Step(caller, step)),
        1 => (0..CANCELS).prop_map(Op::Cancel),
        3 => (0..1_usize << 16).prop_map(Op::Open),
        1 => Just(Op::Signal),
    ]
}

pub fn plan() -> impl Strategy<Value = Plan> {
    let place = prop_oneof![
        12 => Just(Where::Pair),
        8 => select(vec![1, 4, 1024]).prop_map(Where::Server),
        1 => Just(Where::Child),
    ];
    let ending = prop_oneof![
        4 => Just(Ending::Quiet),
        1 => Just(Ending::CallerCloses),
        1 => Just(Ending::ServerCloses),
        2 => Just(Ending::ShutDown),
    ];
    let lanes = select(vec![4096, 16 << 10, 256 << 10]);
    let ops = prop::collection::vec(op(), 1..150);
    (place, 1..4_usize, any::<bool>(), lanes, ops, ending).prop_map(
        |(place, threads, serves_back, lanes, ops, ending)| Plan {
            place,
            threads,
            serves_back,
            lanes,
            ops,
            ending,
        },
    )
}

impl Step {
    pub fn calls_back(self) -> bool {
        matches!(self, Self::Call(wanted) | Self::Start(wanted) if wanted.what == Do::CallBack)
    }
}
