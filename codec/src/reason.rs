//! Why a format refused: the failed check, and of rkyv's the way through the value that led to it.
//!
//! Why our own error and not rkyv's: its ready-made ones either forget the way in release builds or keep it
//! where `Display` does not show it, and then "bool set to invalid byte 2" is all there is to read.
//!
//! It keeps only the steps nearest to the failed check: the sender decides how many there are.

use std::error::Error;
use std::fmt;

use rkyv::rancor::{Source, Trace};

/// Steps kept on the way to a failed check, from the inside.
const STEPS: usize = 4;

/// What a format said about a message or a value, and where.
#[derive(Debug)]
pub struct Reason(Box<Inner>);

#[derive(Debug)]
struct Inner {
    cause: Box<dyn Error + Send + Sync>,
    steps: Vec<String>,
    left_out: usize,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.cause.fmt(f)?;
        for step in &self.0.steps {
            write!(f, ", {step}")?;
        }
        match self.0.left_out {
            0 => Ok(()),
            more => write!(f, ", {more} steps further out"),
        }
    }
}

impl Error for Reason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.source()
    }
}

impl Trace for Reason {
    #[cold]
    fn trace<R>(mut self, trace: R) -> Self
    where
        R: fmt::Debug + fmt::Display + Send + Sync + 'static,
    {
        if self.0.steps.len() < STEPS {
            self.0.steps.push(trace.to_string());
        } else {
            self.0.left_out += 1;
        }
        self
    }
}

impl Source for Reason {
    #[cold]
    fn new<T: Error + Send + Sync + 'static>(source: T) -> Self {
        Self(Box::new(Inner { cause: Box::new(source), steps: Vec::new(), left_out: 0 }))
    }
}
