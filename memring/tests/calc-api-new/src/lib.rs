//! What a calculator and its clients are compiled from. `calc-api-old` is what it was.
//!
//! What changed within version 1.0 is there for those who were not compiled anew to be told of, method by method. What could
//! not be said there at all is version 2.0, and `From` goes from the types of one to those of the other.

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

/// A step of a calculation. It has changed, as has by that whatever takes or gives one.
#[memring::message]
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What came out of it.
    pub value: i64,
    /// Which step it is.
    pub number: u32,
}

/// Calculates.
#[memring::interface(name = "calculator", version = "1.0")]
pub trait Calculator {
    /// The product: it is new, and stands first, so that no method has the number it had.
    fn multiply(factors: &[i64]) -> i64;
    /// A product was calculated: a new signal.
    #[signal]
    fn multiplied(product: i64);
    /// So much was noted.
    #[signal]
    fn full(notes: u64);
    /// Something was noted.
    #[signal]
    fn noted(text: &str);
    /// What was noted.
    fn notes() -> Vec<String>;
    /// Notes something.
    #[oneway]
    fn note(text: &str);
    /// Forgets what was noted. It was answered.
    #[oneway]
    fn clear();
    /// Takes a step down. What it is written with has changed.
    fn step(step: Step) -> Step;
    /// All primes up to there. They came all at once.
    fn primes(to: u32) -> Stream<u32>;
    /// The logarithm to the base of two, rounded down. The error was text.
    fn log2(of: u64) -> Result<u32, CalcError>;
    /// The root, rounded down. It took less.
    fn root(of: u64) -> u32;
    /// The quotient.
    fn divide(dividend: i64, divisor: i64) -> Result<i64, CalcError>;
    /// The sum.
    fn add(terms: &[i64]) -> i64;
}

/// Version 2.0.
pub mod v2 {
    /// A number, with digits behind the point.
    #[memring::message]
    #[derive(Clone, Debug, PartialEq)]
    pub struct Number {
        /// In units of the last digit.
        pub units: i64,
        /// How many digits are behind the point.
        pub digits: u8,
    }

    impl From<i64> for Number {
        fn from(units: i64) -> Self {
            Self { units, digits: 0 }
        }
    }

    /// What is behind the point is lost.
    impl From<Number> for i64 {
        fn from(number: Number) -> Self {
            10_i64.checked_pow(number.digits.into()).map_or(0, |unit| number.units / unit)
        }
    }

    /// Why there is no result.
    #[memring::message]
    #[derive(Clone, Debug, PartialEq)]
    pub enum CalcError {
        /// This cannot be divided by zero.
        DivisionByZero(Number),
    }

    impl std::fmt::Display for CalcError {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("division by zero")
        }
    }

    impl std::error::Error for CalcError {}

    impl From<CalcError> for super::CalcError {
        fn from(error: CalcError) -> Self {
            match error {
                CalcError::DivisionByZero(_) => Self::DivisionByZero,
            }
        }
    }

    /// Calculates with digits.
    #[memring::interface(name = "calculator", version = "2.0")]
    pub trait Calculator {
        /// The sum.
        fn add(terms: Vec<Number>) -> Number;
        /// The quotient.
        fn divide(dividend: Number, divisor: Number) -> Result<Number, CalcError>;
    }
}
