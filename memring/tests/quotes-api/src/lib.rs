//! What a quotes server and its clients are compiled from, and the only thing.
//!
//! An api crate declares the messages, the protocol and where the service is found, and shows memring to whoever
//! uses it, so that both sides have one version of it.

pub use memring;

/// Where the server listens unless it is told otherwise: a name in the runtime directory.
pub const SERVICE: &str = "quotes";

/// What something costs at a moment.
#[memring::message]
#[derive(Clone, Debug, PartialEq)]
pub struct Quote {
    /// What is quoted.
    pub symbol: String,
    /// What one costs, in hundredths.
    pub price: i64,
    /// On which side of the book.
    pub side: Side,
}

/// A side of the book.
#[memring::message]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    /// Somebody would buy.
    Bid,
    /// Somebody would sell.
    Ask,
}

/// What a client wants.
#[memring::message]
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Of what.
    pub symbol: String,
    /// How many; negative to sell.
    pub quantity: i32,
    /// Words for the clerk.
    pub note: Option<String>,
}

/// Quotes flow to the client, orders to the server.
#[derive(Clone, Copy, Debug)]
pub struct Quotes;

impl memring::Protocol for Quotes {
    const NAME: &'static str = "quotes";
    type ToClient = Quote;
    type ToServer = Order;
}

/// A client's end of the channel.
pub type Client = memring::ClientEnd<Quotes>;
