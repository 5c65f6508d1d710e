//! Calls that work, and the errors of those that do not.

use std::thread;

use memring::rpc::{Call, CallError, Calls, Link};

#[memring::message]
#[derive(Debug, PartialEq)]
pub enum CalcError {
    DivisionByZero,
    UnknownOperation { op: String },
}

impl std::fmt::Display for CalcError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
impl std::error::Error for CalcError {}

/// Calculates.
#[memring::interface(name = "calculator", version = "1.0")]
pub trait Calculator {
    /// Applies an operation.
    fn calculate(op: &str, digits: u32, terms: &[f32]) -> Result<i32, CalcError>;
    fn twice(text: String) -> String;
    fn nothing();
    #[oneway]
    fn log(line: &str);
    fn logged() -> Vec<String>;
    fn boom();
}

#[derive(Default)]
struct Calc {
    lines: std::sync::Mutex<Vec<String>>,
}

impl CalculatorServer for Calc {
    fn calculate(
        &self,
        call: &Call<'_>,
        op: &str,
        digits: u32,
        terms: &[memring::rkyv::Archived<f32>],
    ) -> Result<i32, CalcError> {
        assert_eq!(call.peer().pid(), Some(std::process::id()));
        let sum = terms.iter().map(|term| term.to_native()).sum::<f32>();
        match op {
            "+" => Ok(sum as i32 * 10_i32.pow(digits)),
            "/" => Err(CalcError::DivisionByZero),
            other => Err(CalcError::UnknownOperation { op: other.into() }),
        }
    }

    fn twice(&self, _: &Call<'_>, text: String) -> String {
        text.repeat(2)
    }

    fn nothing(&self, _: &Call<'_>) {}

    fn log(&self, _: &Call<'_>, line: &str) {
        self.lines.lock().unwrap().push(line.into());
    }

    fn logged(&self, _: &Call<'_>) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn boom(&self, _: &Call<'_>) {
        panic!("boom, as asked for");
    }
}

/// A client whose server is a thread of this process.
fn calculator() -> CalculatorClient {
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [Calculator::serve(Calc::default())]);
    thread::spawn(move || server.run());
    Link::over(client).open().expect("it is served")
}

#[test]
fn a_call_is_answered() {
    let calc = calculator();
    assert_eq!(calc.calculate("+", 1, &[1.0, 2.0]).expect("an answer"), 30);
    match calc.calculate("/", 0, &[]) {
        Err(CallError::Failed(CalcError::DivisionByZero)) => {}
        other => panic!("{other:?}"),
    }
    match calc.calculate("?", 0, &[]) {
        Err(CallError::Failed(CalcError::UnknownOperation { op })) if op == "?" => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(calc.twice("ab".into()).expect("an answer"), "abab");
    calc.nothing().expect("an answer");
    calc.log("one").expect("room");
    calc.log("two").expect("room");
    assert_eq!(calc.logged().expect("an answer"), ["one", "two"]);
    assert!(matches!(calc.boom(), Err(CallError::Panicked)));
    calc.nothing().expect("a panic ends one call and no other");
    let large = "x".repeat(3 << 20);
    assert_eq!(calc.twice(large.clone()).expect("an answer").len(), 2 * large.len());
}

#[test]
fn many_threads_share_a_client() {
    let calc = calculator();
    let threads: Vec<_> = (0..16)
        .map(|number| {
            let calc = calc.clone();
            thread::spawn(move || {
                for turn in 0..500 {
                    let text = format!("{number} {turn} ");
                    assert_eq!(calc.twice(text.clone()).expect("an answer"), text.repeat(2));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}
