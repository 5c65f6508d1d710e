//! What `ping` and `pong` are both compiled from. In real programs this is a crate of its own.

/// A ball that is played.
#[memring::message]
pub struct Ping {
    /// Which.
    pub number: u64,
}

/// It comes back.
#[memring::message]
pub struct Pong {
    /// Which.
    pub number: u64,
    /// What the server says at present.
    pub word: String,
}

/// The protocol: pings to the server, pongs to the client.
pub struct PingPong;

impl memring::Protocol for PingPong {
    const NAME: &'static str = "ping-pong";
    type ToClient = Pong;
    type ToServer = Ping;
}
