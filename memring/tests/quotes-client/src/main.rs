//! A client of a quotes server: orders ten of whatever is asked at less than a limit.
//!
//! `quotes-client PATH LIMIT`. It is compiled from the api crate and nothing else.

use std::process::ExitCode;

use quotes_api::memring::{self, End, RecvError};
use quotes_api::{ArchivedSide, Order, Quotes};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, limit] = &arguments[..] else {
        eprintln!("usage: quotes-client PATH LIMIT");
        return ExitCode::FAILURE;
    };
    let done = limit.parse().map_err(Into::into).and_then(|limit| trade(path, limit));
    match done {
        Ok(orders) => {
            println!("{orders} orders");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("quotes-client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes quotes until the server closes; how many orders it gave.
fn trade(path: &str, limit: i64) -> Result<u32, Box<dyn std::error::Error>> {
    let (mut orders, mut quotes) = memring::connect::<Quotes>(path)?.split();
    let mut given = 0;
    loop {
        let quote = match quotes.recv() {
            Ok(quote) => quote,
            Err(RecvError::Ended(End::Closed)) => return Ok(given),
            Err(error) => return Err(error.into()),
        };
        if matches!(quote.side, ArchivedSide::Ask) && quote.price < limit {
            let symbol = quote.symbol.as_str().to_owned();
            orders.send(&Order { symbol, quantity: 10, note: None })?;
            given += 1;
        }
    }
}
