//! Calls over whatever carries words in order, and knows of no calls: the least that calling can cost.
//!
//! There are no numbers, no names and no errors on the way: the next answer is the answer to the oldest call. What is
//! there is taken at once, and what is to be sent goes together.

use std::ops::Range;
use std::time::Duration;

use memring_benches::Failed;
use memring_benches::link::time_each;

use super::{Calls, Words, argument, check, echo};

/// One end of something that carries words to the other end, in order.
pub trait Carrier {
    /// Sends these.
    fn send(&mut self, words: &[Words]) -> Result<(), Failed>;

    /// Waits until there is something, and adds it; whether there was, or the other end has gone.
    fn receive(&mut self, into: &mut Vec<Words>) -> Result<bool, Failed>;
}

/// The calling end.
pub struct Caller<C> {
    carrier: C,
    arguments: Vec<Words>,
    answers: Vec<Words>,
}

impl<C: Carrier> Caller<C> {
    /// Calls over this.
    pub fn over(carrier: C) -> Self {
        Self { carrier, arguments: Vec::new(), answers: Vec::new() }
    }

    /// Waits for answers, the first of which is due to call `next`, and to `next` again when it has returned.
    fn answers(&mut self, next: &mut u64) -> Result<(), Failed> {
        self.answers.clear();
        if !self.carrier.receive(&mut self.answers)? {
            return Err("the server has gone".into());
        }
        for answer in &self.answers {
            check(*next, *answer)?;
            *next += 1;
        }
        Ok(())
    }
}

impl<C: Carrier> Calls for Caller<C> {
    fn round_trips(
        &mut self,
        numbers: Range<u64>,
        took: &mut dyn FnMut(Duration),
    ) -> Result<(), Failed> {
        time_each(numbers, took, |number| {
            let mut due = number;
            self.carrier.send(&[argument(number)])?;
            self.answers(&mut due)
        })
    }

    fn pipelined(&mut self, numbers: Range<u64>, outstanding: u64) -> Result<(), Failed> {
        let (mut next, mut due) = (numbers.start, numbers.start);
        while due < numbers.end {
            let until = numbers.end.min(due + outstanding);
            self.arguments.clear();
            self.arguments.extend((next..until).map(argument));
            self.carrier.send(&self.arguments)?;
            next = until;
            self.answers(&mut due)?;
        }
        Ok(())
    }
}

/// Answers until the other end has gone.
pub fn serve(mut carrier: impl Carrier) -> Result<(), Failed> {
    let mut words = Vec::new();
    while carrier.receive(&mut words)? {
        for word in &mut words {
            *word = echo(*word);
        }
        carrier.send(&words)?;
        words.clear();
    }
    Ok(())
}
