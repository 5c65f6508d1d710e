//! A calculator that others call, and that tells them important news. Its other half is `calculator_client`.
//!
//! `cargo run --example calculator_server -- [PATH]`

mod calculator;
mod told;

use calculator::{CalcError, Calculator, CalculatorServer, CalculatorSignals};
use memring::fanout::Slow;
use memring::rkyv::Archived;
use memring::rpc::{Call, Replies, Server};
use told::Told;

fn main() -> Result<(), Told> {
    let address = std::env::args().nth(1).unwrap_or("calculator".to_owned());
    // Handlers send news, and none of them waits for a reader who does not read: who has no room misses it.
    let news = CalculatorSignals::new(Slow::DropNewest);
    let calculator = Calculator::serve(Calc { news: news.clone() }).signals(&news);
    let server = Server::new()
        .serve(calculator)
        // Somebody who reads digits slowly has a thread waiting for him, and can calculate meanwhile by the other.
        .threads_per_client(2)
        .bind(address)?;
    println!("listening at {}", server.listener().address());
    server.run()?;
    Ok(())
}

struct Calc {
    news: CalculatorSignals,
}

impl CalculatorServer for Calc {
    fn calculate(
        &self,
        call: &Call<'_>,
        op: &str,
        digits: u32,
        // Terms are read where they lie in the message, in the byte order of archives.
        terms: &[Archived<f32>],
    ) -> Result<i32, CalcError> {
        let join: fn(f64, f64) -> f64 = match op {
            "+" => |sum, term| sum + term,
            "-" => |rest, term| rest - term,
            "*" => |product, term| product * term,
            "/" => |quotient, term| quotient / term,
            _ => return Err(CalcError::UnknownOp(op.to_owned())),
        };
        if op == "/" && terms.iter().skip(1).any(|term| *term == 0.0) {
            return Err(self.division_by_zero(call));
        }
        let terms = terms.iter().map(|term| f64::from(term.to_native()));
        let result = terms.reduce(join).ok_or(CalcError::NoTerms)?;
        let shifted = (result * 10_f64.powf(f64::from(digits))).round();
        if shifted.abs() <= f64::from(i32::MAX) {
            Ok(shifted as i32)
        } else {
            Err(CalcError::TooLarge)
        }
    }

    fn digits(
        &self,
        call: &Call<'_>,
        dividend: u32,
        divisor: u32,
        mut replies: Replies<u8, CalcError>,
    ) {
        if divisor == 0 {
            return replies.end(Err(self.division_by_zero(call)));
        }
        let mut rest = u64::from(dividend % divisor);
        while rest != 0 {
            rest *= 10;
            // A reader who takes no more of them stops this here, and one who has gone ends it.
            if replies.send(&((rest / u64::from(divisor)) as u8)).is_err() {
                return;
            }
            rest %= u64::from(divisor);
        }
        replies.end(Ok(()));
    }

    fn log(&self, call: &Call<'_>, line: &str) {
        println!("{}: {line}", call.peer());
    }
}

impl Calc {
    fn division_by_zero(&self, call: &Call<'_>) -> CalcError {
        let body = format!("{} has tried it", call.peer());
        if let Err(error) = self.news.important_news("Division by zero", &body) {
            eprintln!("news: {error}");
        }
        CalcError::DivisionByZero
    }
}
