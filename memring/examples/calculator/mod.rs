//! What `calculator_server` and `calculator_client` are both compiled from. In real programs this is a crate of its own.

use std::fmt;

/// Why there is no result.
#[memring::message]
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum CalcError {
    /// The calculator has no such key.
    UnknownOp(String),
    /// There is nothing to calculate with.
    NoTerms,
    /// Somebody divides by zero.
    DivisionByZero,
    /// The result has more digits than it can show.
    TooLarge,
}

// What goes through `?` and into people's sight has to be an error as Rust has them; `CallError<CalcError>` is one then.
impl fmt::Display for CalcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOp(op) => write!(f, "`{op}` is none of + - * /"),
            Self::NoTerms => f.write_str("there are no terms"),
            Self::DivisionByZero => f.write_str("nothing can be divided by zero"),
            Self::TooLarge => f.write_str("the result is too large: ask for fewer digits"),
        }
    }
}

impl std::error::Error for CalcError {}

/// Calculates. Its methods also take JSON, so that `memring call` can call them by hand.
#[memring::interface(name = "calculator", version = "1.0", json)]
pub trait Calculator {
    /// Joins the terms by `op` and rounds to so many `digits` behind the point, which the result leaves out: 12.5 with two
    /// of them is 1250.
    fn calculate(op: &str, digits: u32, terms: &[f32]) -> Result<i32, CalcError>;

    /// The digits of a quotient behind the point, one after the other. Most quotients have no last one: whoever has seen
    /// enough drops the stream.
    fn digits(dividend: u32, divisor: u32) -> Result<Stream<u8>, CalcError>;

    /// Has the server write this down. Nobody waits for that.
    #[oneway]
    fn log(line: &str);

    /// What everybody has to know who uses this calculator.
    #[signal]
    fn important_news(headline: &str, body: &str);
}
