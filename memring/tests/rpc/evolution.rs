//! Programs of two builds: `calc-api-old` and `calc-api-new` are one api crate, then and now. Every pairing of a client and a
//! server, and versions beside each other.

use std::fmt::{Debug, Display};
use std::sync::{Arc, Mutex};
use std::thread;

use calc_api_new as new;
use calc_api_new::v2;
use calc_api_old as old;
use memring::fanout::Slow;
use memring::rkyv::Archived;
use memring::rpc::{Call, CallError, Calls, Link, OpenError, Replies, Serve};

use super::support::PATIENCE;

/// No signal is lost here to a subscriber that was not given the processor for a while.
const PATIENT: Slow = Slow::Wait(PATIENCE);

/// A server that was compiled from the old crate.
#[derive(Clone)]
struct Old {
    notes: Arc<Mutex<Vec<String>>>,
    signals: old::CalculatorSignals,
}

impl Old {
    fn start() -> Self {
        Self { notes: Arc::default(), signals: old::CalculatorSignals::new(PATIENT) }
    }

    fn link(&self) -> Link {
        let serve = old::Calculator::serve(self.clone());
        served([serve.signals(&self.signals)])
    }
}

impl old::CalculatorServer for Old {
    fn add(&self, _: &Call<'_>, terms: &[Archived<i64>]) -> i64 {
        terms.iter().map(|term| term.to_native()).sum()
    }

    fn divide(&self, _: &Call<'_>, dividend: i64, divisor: i64) -> Result<i64, old::CalcError> {
        dividend.checked_div(divisor).ok_or(old::CalcError::DivisionByZero)
    }

    fn root(&self, _: &Call<'_>, of: u32) -> u32 {
        of.isqrt()
    }

    fn log2(&self, _: &Call<'_>, of: u64) -> Result<u32, String> {
        of.checked_ilog2().ok_or_else(|| "nothing gives zero".into())
    }

    fn primes(&self, _: &Call<'_>, to: u32) -> Vec<u32> {
        primes(to).collect()
    }

    fn collatz(&self, _: &Call<'_>, from: u64, mut replies: Replies<old::Step>) {
        let next = |value: &u64| match value {
            0 | 1 => None,
            even if even % 2 == 0 => Some(even / 2),
            odd => odd.checked_mul(3)?.checked_add(1),
        };
        for value in std::iter::successors(Some(from), next) {
            replies.send(&old::Step { value: value as i64 }).expect("a reader");
        }
        replies.end(Ok(()));
    }

    fn step(&self, _: &Call<'_>, step: old::Step) -> old::Step {
        step
    }

    fn clear(&self, _: &Call<'_>) -> u32 {
        self.notes.lock().unwrap().drain(..).count() as u32
    }

    fn note(&self, _: &Call<'_>, text: &str) {
        self.notes.lock().unwrap().push(text.into());
        self.signals.noted(text).expect("it can be encoded");
        self.signals.full(1).expect("it can be encoded");
        self.signals.retired().expect("it can be encoded");
    }

    fn notes(&self, _: &Call<'_>) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }
}

/// A server that is compiled from the new crate.
#[derive(Clone)]
struct New {
    notes: Arc<Mutex<Vec<String>>>,
    signals: new::CalculatorSignals,
}

impl New {
    fn start() -> Self {
        Self { notes: Arc::default(), signals: new::CalculatorSignals::new(PATIENT) }
    }

    fn serves(&self) -> [Serve; 2] {
        let one = new::Calculator::serve(self.clone()).signals(&self.signals);
        [one, v2::Calculator::serve(Exact)]
    }

    fn link(&self) -> Link {
        served(self.serves())
    }
}

/// What is of version 2.0 is done there, and for clients of 1.0 translated.
impl new::CalculatorServer for New {
    fn add(&self, call: &Call<'_>, terms: &[Archived<i64>]) -> i64 {
        let terms = terms.iter().map(|term| term.to_native().into()).collect();
        v2::CalculatorServer::add(&Exact, call, terms).into()
    }

    fn divide(&self, call: &Call<'_>, dividend: i64, divisor: i64) -> Result<i64, new::CalcError> {
        let quotient = v2::CalculatorServer::divide(&Exact, call, dividend.into(), divisor.into())?;
        Ok(quotient.into())
    }

    fn multiply(&self, call: &Call<'_>, factors: &[Archived<i64>]) -> i64 {
        let product = factors.iter().map(|factor| factor.to_native()).product();
        self.signals.multiplied(product).expect("it can be encoded");
        new::CalculatorSignals::multiplied_to(call, -product).expect("room");
        product
    }

    fn root(&self, _: &Call<'_>, of: u64) -> u32 {
        of.isqrt() as u32
    }

    fn log2(&self, _: &Call<'_>, of: u64) -> Result<u32, new::CalcError> {
        of.checked_ilog2().ok_or(new::CalcError::DivisionByZero)
    }

    fn primes(&self, _: &Call<'_>, to: u32, mut replies: Replies<u32>) {
        primes(to).for_each(|prime| replies.send(&prime).expect("a reader"));
        replies.end(Ok(()));
    }

    fn step(&self, _: &Call<'_>, step: new::Step) -> new::Step {
        step
    }

    fn clear(&self, _: &Call<'_>) {
        self.notes.lock().unwrap().clear();
    }

    fn note(&self, call: &Call<'_>, text: &str) {
        self.notes.lock().unwrap().push(text.into());
        // Who does not know the first is not disturbed by it.
        self.signals.multiplied(0).expect("it can be encoded");
        new::CalculatorSignals::multiplied_to(call, 0).expect("room");
        self.signals.full(1).expect("it can be encoded");
        self.signals.noted(text).expect("it can be encoded");
    }

    fn notes(&self, _: &Call<'_>) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }
}

/// A server of version 2.0.
struct Exact;

impl v2::CalculatorServer for Exact {
    fn add(&self, _: &Call<'_>, terms: Vec<v2::Number>) -> v2::Number {
        let digits = terms.iter().map(|term| term.digits).max().unwrap_or(0);
        let units = |term: &v2::Number| term.units * 10_i64.pow((digits - term.digits).into());
        v2::Number { units: terms.iter().map(units).sum(), digits }
    }

    fn divide(
        &self,
        _: &Call<'_>,
        dividend: v2::Number,
        divisor: v2::Number,
    ) -> Result<v2::Number, v2::CalcError> {
        let [over, under] = [&dividend, &divisor].map(|number| number.units);
        let Some(units) = over.checked_div(under) else {
            return Err(v2::CalcError::DivisionByZero(dividend));
        };
        Ok(v2::Number { units, digits: dividend.digits.saturating_sub(divisor.digits) })
    }
}

fn primes(to: u32) -> impl Iterator<Item = u32> {
    (2..=to).filter(|number| (2..*number).all(|divisor| number % divisor != 0))
}

/// The client's end of a session in which these are served.
fn served(services: impl IntoIterator<Item = Serve>) -> Link {
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, services);
    thread::spawn(move || server.run());
    Link::over(client)
}

/// What both builds know works. Both apis have the same names, and other types.
macro_rules! check_unchanged {
    ($api:ident, $link:expr) => {{
        let calc: $api::CalculatorClient = $link.open().expect("it is served");
        let mut noted = calc.noted().expect("it is there");
        assert_eq!(calc.add(&[1, 2, 3]).expect("an answer"), 6);
        assert_eq!(calc.divide(7, 2).expect("an answer"), 3);
        let failed = calc.divide(7, 0).expect_err("an error");
        assert!(matches!(failed, CallError::Failed($api::CalcError::DivisionByZero)), "{failed:?}");
        let before = calc.notes().expect("an answer").len();
        for text in ["one", "two"] {
            calc.note(text).expect("room");
            assert_eq!(noted.recv().expect("it comes"), text);
        }
        assert_eq!(calc.notes().expect("an answer")[before..], ["one", "two"]);
        assert!(noted.try_recv().expect("the session stands").is_none());
    }};
}

#[test]
fn what_both_builds_know_works_in_every_pairing() {
    check_unchanged!(old, Old::start().link());
    check_unchanged!(new, New::start().link());
    check_unchanged!(old, New::start().link());
    check_unchanged!(new, Old::start().link());
}

/// A call is refused before it is made, in these words.
#[track_caller]
fn check_refused<T: Debug, E: Debug + Display>(result: Result<T, CallError<E>>, said: &str) {
    let error = result.expect_err("the peer's is another");
    assert!(error.never_began(), "{error:?}");
    let found = match &error {
        CallError::UnknownMethod { interface, method } => format!("{interface} {method} unknown"),
        CallError::MethodChanged { interface, method, ours, theirs } => {
            let text = error.to_string();
            let names = [*ours, theirs].iter().all(|signature| text.contains(signature));
            assert!(names && text.contains(method), "{text}");
            format!("{interface} {method} {ours} | {theirs}")
        }
        other => format!("{other:?}"),
    };
    assert_eq!(found, format!("calculator 1.0 {said}"));
}

#[test]
fn an_old_client_learns_of_each_method_that_is_another_at_a_new_server() {
    let link = New::start().link();
    let calc: old::CalculatorClient = link.open().expect("it is served");
    check_refused(calc.root(4), "root (of: u32) -> u32 | (of: u64) -> u32");
    check_refused(
        calc.log2(4),
        "log2 (of: u64) -> Result<u32, String> | (of: u64) -> Result<u32, CalcError>",
    );
    check_refused(calc.primes(9), "primes (to: u32) -> Vec<u32> | (to: u32) -> Stream<u32>");
    check_refused(
        calc.step(old::Step { value: 1 }),
        "step (step: Step) -> Step | (step: Step) -> Step",
    );
    check_refused(calc.clear(), "clear () -> u32 | () #[oneway]");
    check_refused(calc.full(), "full (notes: u32) #[signal] | (notes: u64) #[signal]");
    check_refused(calc.collatz(6), "collatz unknown");
    check_refused(calc.retired(), "retired unknown");
    check_unchanged!(old, link);
}

#[test]
fn a_new_client_learns_of_each_method_that_is_another_at_an_old_server() {
    let link = Old::start().link();
    let calc: new::CalculatorClient = link.open().expect("it is served");
    check_refused(calc.root(4), "root (of: u64) -> u32 | (of: u32) -> u32");
    check_refused(
        calc.log2(4),
        "log2 (of: u64) -> Result<u32, CalcError> | (of: u64) -> Result<u32, String>",
    );
    check_refused(calc.primes(9), "primes (to: u32) -> Stream<u32> | (to: u32) -> Vec<u32>");
    let step = new::Step { value: 1, number: 1 };
    check_refused(calc.step(step), "step (step: Step) -> Step | (step: Step) -> Step");
    check_refused(calc.clear(), "clear () #[oneway] | () -> u32");
    check_refused(calc.full(), "full (notes: u64) #[signal] | (notes: u32) #[signal]");
    check_refused(calc.multiply(&[2, 3]), "multiply unknown");
    check_refused(calc.multiplied(), "multiplied unknown");
    check_unchanged!(new, link);
}

#[test]
fn programs_of_one_build_have_all_of_it() {
    let link = Old::start().link();
    let calc: old::CalculatorClient = link.open().expect("it is served");
    assert_eq!(calc.root(17).expect("an answer"), 4);
    assert_eq!(calc.log2(17).expect("an answer"), 4);
    assert!(matches!(calc.log2(0), Err(CallError::Failed(text)) if text == "nothing gives zero"));
    assert_eq!(calc.primes(9).expect("an answer"), [2, 3, 5, 7]);
    let steps = calc.collatz(6).expect("room").map(|step| step.expect("a reply").value);
    assert_eq!(steps.collect::<Vec<_>>(), [6, 3, 10, 5, 16, 8, 4, 2, 1]);
    let step = old::Step { value: 1 };
    assert_eq!(calc.step(step.clone()).expect("an answer"), step);
    let (mut full, mut retired) = (calc.full().expect("it is there"), calc.retired().expect("too"));
    calc.note("something").expect("room");
    assert_eq!(full.recv().expect("it comes"), 1);
    retired.recv().expect("it comes");
    assert_eq!(calc.clear().expect("an answer"), 1);

    let link = New::start().link();
    let calc: new::CalculatorClient = link.open().expect("it is served");
    assert_eq!(calc.root(1 << 34).expect("an answer"), 1 << 17);
    assert_eq!(calc.log2(17).expect("an answer"), 4);
    assert!(matches!(calc.log2(0), Err(CallError::Failed(new::CalcError::DivisionByZero))));
    let primes: Result<Vec<_>, _> = calc.primes(9).expect("room").collect();
    assert_eq!(primes.expect("all come"), [2, 3, 5, 7]);
    let step = new::Step { value: 1, number: 2 };
    assert_eq!(calc.step(step.clone()).expect("an answer"), step);
    let mut products = calc.multiplied().expect("it is there");
    assert_eq!(calc.multiply(&[2, 3]).expect("an answer"), 6);
    assert_eq!([products.recv().expect("it comes"), products.recv().expect("it comes")], [6, -6]);
    let mut full = calc.full().expect("it is there");
    calc.note("something").expect("room");
    assert_eq!(full.recv().expect("it comes"), 1);
    calc.clear().expect("room");
    assert!(calc.notes().expect("an answer").is_empty());
}

#[test]
fn what_was_added_does_not_disturb_an_old_client() {
    let server = New::start();
    let (old, new) = (server.link(), server.link());
    let calc: old::CalculatorClient = old.open().expect("it is served");
    let calc_new: new::CalculatorClient = new.open().expect("it is served");
    let mut noted = calc.noted().expect("it is there");
    let mut products = calc_new.multiplied().expect("it is there");
    for round in 0..100 {
        assert_eq!(calc_new.multiply(&[round, 1]).expect("an answer"), round);
        assert_eq!(products.recv().expect("it comes"), round);
        assert_eq!(products.recv().expect("it comes"), -round);
        calc.note("a note").expect("room");
        assert_eq!(products.recv().expect("it comes"), 0, "the note's");
        assert_eq!(noted.recv().expect("it comes"), "a note");
        assert_eq!(calc.add(&[round, round]).expect("an answer"), 2 * round);
    }
    assert!(noted.try_recv().expect("the session stands").is_none(), "nothing else came");
    assert_eq!(server.signals.multiplied(0).expect("it can be encoded").reached, 1);
    check_unchanged!(old, old);
}

/// An interface that no calculator has.
#[memring::interface(name = "abacus", version = "1.0")]
pub trait Abacus {
    fn slide(beads: u32) -> u32;
}

/// The version that will be.
mod v3 {
    #[memring::interface(name = "calculator", version = "3.0")]
    pub trait Calculator {
        fn add(terms: &str) -> String;
    }
}

struct Wooden;

impl AbacusServer for Wooden {
    fn slide(&self, call: &Call<'_>, beads: u32) -> u32 {
        assert_eq!((call.interface().name, call.method()), ("abacus", "slide"));
        beads + 1
    }
}

#[test]
fn a_version_that_is_not_served_is_refused_with_those_that_are() {
    #[track_caller]
    fn check(refused: OpenError, wanted: &str, offered: &[&str], said: &str) {
        let text = refused.to_string();
        assert!(text.starts_with(&format!("{said}: open one of these")), "{text}");
        match refused {
            OpenError::UnknownVersion { name: "calculator", wanted: found, offered: others } => {
                assert_eq!(found, wanted);
                assert_eq!(others, offered);
            }
            other => panic!("{other:?}"),
        }
    }
    let link = Old::start().link();
    let refused = link.open::<v2::CalculatorClient>().expect_err("it is not served");
    let said = "the peer serves calculator in version 1.0, and not 2.0";
    check(refused, "2.0", &["1.0"], said);
    check_unchanged!(old, link);
    check_unchanged!(new, link);

    let link = New::start().link();
    let refused = link.open::<v3::CalculatorClient>().expect_err("it is not served");
    let said = "the peer serves calculator in versions 1.0, 2.0, and not 3.0";
    check(refused, "3.0", &["1.0", "2.0"], said);
    let refused = link.open::<AbacusClient>().expect_err("it is not served");
    assert!(matches!(refused, OpenError::UnknownInterface { name: "abacus" }), "{refused:?}");
    let text = refused.to_string();
    assert!(text.starts_with("the peer serves no interface `abacus`: "), "{text}");
    check_unchanged!(old, link);
}

/// A client that speaks both versions, with the better one where there is a choice.
fn half(link: &Link, of: i64) -> i64 {
    match link.open::<v2::CalculatorClient>() {
        Ok(calc) => calc.divide(of.into(), 2.into()).expect("an answer").into(),
        Err(OpenError::UnknownVersion { .. }) => {
            let calc: new::CalculatorClient = link.open().expect("it is served");
            calc.divide(of, 2).expect("an answer")
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_client_of_both_versions_finds_one_at_every_server() {
    assert_eq!(half(&Old::start().link(), 9), 4);
    assert_eq!(half(&New::start().link(), 9), 4);
    assert_eq!(half(&served([v2::Calculator::serve(Exact)]), 9), 4);
}

#[test]
fn both_versions_and_other_interfaces_share_a_session() {
    let abacus = Abacus::serve(Wooden);
    let link = served(New::start().serves().into_iter().chain([abacus]));
    let first: old::CalculatorClient = link.open().expect("it is served");
    let same: new::CalculatorClient = link.open().expect("it is served to both builds");
    let second: v2::CalculatorClient = link.open().expect("it is served");
    let abacus: AbacusClient = link.open().expect("it is served");
    let again: v2::CalculatorClient =
        link.open().expect("it is served as often as it is asked for");
    let number = |units, digits| v2::Number { units, digits };
    let mut products = same.multiplied().expect("it is there");
    let alternate = |turn: i64| {
        assert_eq!(first.add(&[turn, 1]).expect("an answer"), turn + 1);
        let sum = second.add(vec![number(turn, 0), number(5, 1)]).expect("an answer");
        assert_eq!(sum, number(10 * turn + 5, 1));
        assert_eq!(abacus.slide(turn as u32).expect("an answer"), turn as u32 + 1);
        assert_eq!(same.multiply(&[turn, 2]).expect("an answer"), 2 * turn);
        match again.divide(number(turn, 2), 0.into()) {
            Err(CallError::Failed(v2::CalcError::DivisionByZero(dividend))) => {
                assert_eq!(dividend, number(turn, 2));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(first.root(4), Err(CallError::MethodChanged { .. })));
    };
    for turn in 0..100 {
        alternate(turn);
        assert_eq!([(); 2].map(|()| products.recv().expect("it comes")), [2 * turn, -2 * turn]);
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(&alternate));
        }
    });
}

mod shapes {
    pub mod once {
        #[memring::interface(name = "clock", version = "1")]
        pub trait Clock {
            fn tick() -> u32;
        }
    }
    pub mod often {
        #[memring::interface(name = "clock", version = "1")]
        pub trait Clock {
            fn tick() -> Stream<u32>;
        }
    }
}

#[test]
fn a_method_of_the_same_types_and_another_shape_is_another() {
    struct Ticks;
    impl shapes::often::ClockServer for Ticks {
        fn tick(&self, _: &Call<'_>, replies: Replies<u32>) {
            replies.end(Ok(()));
        }
    }
    let link = served([shapes::often::Clock::serve(Ticks)]);
    let clock: shapes::once::ClockClient = link.open().expect("it is served");
    let refused = clock.tick();
    assert!(matches!(refused, Err(CallError::MethodChanged { .. })), "{refused:?}");
}
