//! The smallest client: says hello to `server` and shows the answer.
//!
//! `cargo run --example client -- [PATH]`

mod greetings;

use std::time::Duration;

use greetings::{Greetings, Hello};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("greetings".to_owned());
    // Waits for a server that is about to start. `memring::connect` would not.
    let mut channel = memring::connect_timeout::<Greetings>(address, Duration::from_secs(5))?;
    for name in ["Ada", "Grace"] {
        channel.send(&Hello { name: name.to_owned() })?;
        let greeting = channel.recv()?;
        println!("{} (the number {})", greeting.text, greeting.before + 1);
    }
    Ok(())
}
