//! A program whose only dependency of ours is an api crate is a client of another's server.
//!
//! The client is this test binary again, told by its environment where the server listens.

use std::error::Error;
use std::os::unix::fs::DirBuilderExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quotes_api::memring::{self, End, Listener, RecvError};
use quotes_api::{ArchivedSide, Order, Quote, Quotes, Side};

const SERVER: &str = "QUOTES_SERVER";
const LIMIT: i64 = 100;

/// The client: takes quotes until the server closes, and orders ten of whatever is asked below the limit.
#[test]
fn client() -> Result<(), Box<dyn Error>> {
    let Ok(server) = std::env::var(SERVER) else {
        return Ok(()); // the other test starts it
    };
    let (mut orders, mut quotes) = memring::connect::<Quotes>(server)?.split();
    loop {
        let quote = match quotes.recv() {
            Ok(quote) => quote,
            Err(RecvError::Ended(End::Closed)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if matches!(quote.side, ArchivedSide::Ask) && quote.price < LIMIT {
            let symbol = quote.symbol.as_str().to_owned();
            orders.send(&Order { symbol, quantity: 10, note: None })?;
        }
    }
}

#[test]
fn a_program_compiled_from_the_api_alone_is_a_client() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("memring-quotes-{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let path = directory.join("quotes.sock");
    let listener = Listener::bind(&path)?;
    let mut client = Command::new(std::env::current_exe()?)
        .args(["client", "--exact"])
        .env(SERVER, &path)
        .stdout(Stdio::null())
        .spawn()?;

    let soon = Instant::now() + Duration::from_secs(10);
    let incoming = listener.accept_deadline(soon)?;
    assert!(incoming.speaks::<Quotes>());
    assert_eq!(incoming.peer().pid(), Some(client.id()));
    let (mut quotes, mut orders) = incoming.open::<Quotes>()?.split();
    let mut expected = Vec::new();
    for (number, price) in [99, 100, 98, 1, 500].into_iter().enumerate() {
        for side in [Side::Bid, Side::Ask] {
            let symbol = format!("the symbol of number {number}");
            if side == Side::Ask && price < LIMIT {
                expected.push(symbol.clone());
            }
            quotes.send_deadline(&Quote { symbol, price, side }, soon)?;
        }
    }
    drop(quotes);
    for symbol in &expected {
        let order = orders.recv_deadline(soon)?;
        assert_eq!((order.symbol.as_str(), order.quantity.to_native()), (symbol.as_str(), 10));
    }
    let end = orders.recv_deadline(soon).map(|_| ());
    assert!(matches!(end, Err(RecvError::Ended(End::Closed))), "{end:?}");
    assert!(client.wait()?.success());
    drop(listener);
    std::fs::remove_dir(&directory)?; // nothing was left in it
    Ok(())
}

#[test]
fn the_manifest_names_the_api_and_nothing_else() {
    let manifest = include_str!("../Cargo.toml");
    let (before, dependencies) = manifest.split_once("[dev-dependencies]\n").expect("them");
    assert!(!before.contains("dependencies]"));
    let named: Vec<&str> =
        dependencies.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    assert_eq!(named, ["quotes-api"]);
}
