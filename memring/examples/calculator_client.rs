//! Has `calculator_server` calculate, and hears its news.
//!
//! `cargo run --example calculator_client -- [PATH]`

mod calculator;
mod told;

use std::time::{Duration, Instant};

use calculator::{CalcError, CalculatorClient};
use memring::rpc::{CallError, Options};
use told::Told;

fn main() -> Result<(), Told> {
    let address = std::env::args().nth(1).unwrap_or("calculator".to_owned());
    // Who serves another version is told apart from who serves none: the error says which there are.
    let calculator = CalculatorClient::connect(address)?;
    // Without it a call takes as long as it takes. It holds for each call anew.
    let calculator = calculator.with(Options::new().timeout(Duration::from_secs(5)));
    // From here on news comes, also while nobody waits for it.
    let mut news = calculator.important_news()?;

    calculator.log("here I am")?;
    println!("1.5 + 2.25 = {} hundredths", calculator.calculate("+", 2, &[1.5, 2.25])?);
    for (op, terms) in [("%", [1.0, 2.0]), ("/", [1.0, 0.0]), ("*", [1e30, 1e30])] {
        let [a, b] = terms;
        match calculator.calculate(op, 0, &terms) {
            Ok(result) => println!("{a} {op} {b} = {result}"),
            // What the method itself says, as a value of its type.
            Err(CallError::Failed(CalcError::DivisionByZero)) => {
                println!("{a} {op} {b}: of course")
            }
            Err(CallError::Failed(error)) => println!("{a} {op} {b}: {error}"),
            // Anything else: there was no answer. The server has gone, panicked, or speaks otherwise.
            Err(error) => return Err(error.into()),
        }
    }

    for divisor in [8, 7] {
        print!("1 / {divisor} = 0.");
        // The stream is dropped after twelve, and with that the server stops.
        for digit in calculator.digits(1, divisor)?.take(12) {
            print!("{}", digit?);
        }
        println!();
    }

    let (headline, body) = news.recv_deadline(Instant::now() + Duration::from_secs(5))?;
    println!("{headline}: {body}");
    Ok(())
}
