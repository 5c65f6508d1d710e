//! What `server` and `client` are both compiled from. In real programs this is a crate of its own.

/// Somebody says hello.
#[memring::message]
pub struct Hello {
    /// Who.
    pub name: String,
}

/// The answer.
#[memring::message]
pub struct Greeting {
    /// What to show.
    pub text: String,
    /// How many were greeted before.
    pub before: u64,
}

/// The protocol: hellos to the server, greetings to the client.
pub struct Greetings;

impl memring::Protocol for Greetings {
    const NAME: &'static str = "greetings";
    type ToClient = Greeting;
    type ToServer = Hello;
}
