//! What a calculator and its clients were compiled from, some time ago. `calc-api-new` is what became of it.

/// Why there is no result.
#[memring::message]
#[derive(Clone, Debug, PartialEq)]
pub enum CalcError {
    /// Nothing can be divided by zero.
    DivisionByZero,
}

impl std::fmt::Display for CalcError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("division by zero")
    }
}

impl std::error::Error for CalcError {}

/// A step of a calculation.
#[memring::message]
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What came out of it.
    pub value: i64,
}

/// Calculates.
#[memring::interface(name = "calculator", version = "1.0")]
pub trait Calculator {
    /// The sum.
    fn add(terms: &[i64]) -> i64;
    /// The quotient.
    fn divide(dividend: i64, divisor: i64) -> Result<i64, CalcError>;
    /// The root, rounded down.
    fn root(of: u32) -> u32;
    /// The logarithm to the base of two, rounded down.
    fn log2(of: u64) -> Result<u32, String>;
    /// All primes up to there.
    fn primes(to: u32) -> Vec<u32>;
    /// The steps to one: half of what is even, thrice what is odd and one more.
    fn collatz(from: u64) -> Stream<Step>;
    /// Takes a step down.
    fn step(step: Step) -> Step;
    /// Forgets what was noted.
    fn clear() -> u32;
    /// Notes something.
    #[oneway]
    fn note(text: &str);
    /// What was noted.
    fn notes() -> Vec<String>;
    /// Something was noted.
    #[signal]
    fn noted(text: &str);
    /// So much was noted.
    #[signal]
    fn full(notes: u32);
    /// The last service is over.
    #[signal]
    fn retired();
}
