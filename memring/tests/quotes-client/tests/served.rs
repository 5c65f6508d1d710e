//! A program whose only dependency of ours is an api crate is a client of another's server.

use std::error::Error;
use std::os::unix::fs::DirBuilderExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quotes_api::memring::Listener;
use quotes_api::{Quote, Quotes, Side};

#[test]
fn a_program_compiled_from_the_api_alone_is_a_client() -> Result<(), Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("memring-quotes-{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let path = directory.join("quotes.sock");
    let listener = Listener::bind(&path)?;
    let client = Command::new(env!("CARGO_BIN_EXE_quotes-client"))
        .arg(&path)
        .arg("100")
        .stdout(Stdio::piped())
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
            if side == Side::Ask && price < 100 {
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
    let said = client.wait_with_output()?;
    assert!(said.status.success());
    assert_eq!(String::from_utf8(said.stdout)?, "3 orders\n");
    drop(listener);
    std::fs::remove_dir(&directory)?; // nothing was left in it
    Ok(())
}

#[test]
fn the_client_s_manifest_names_the_api_and_nothing_else() {
    let manifest = include_str!("../Cargo.toml");
    let (_, dependencies) = manifest.split_once("[dependencies]\n").expect("dependencies");
    let named: Vec<&str> = dependencies
        .lines()
        .map(|line| line.split([' ', '.']).next().unwrap_or_default())
        .collect();
    assert_eq!(named, ["quotes-api"]);
}
