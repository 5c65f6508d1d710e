//! Protocols: what flows on a channel, each way, under one name.

use memring_codec::{Format, Message};
use memring_transport::control::{
    Fingerprint, MAX_TYPE_NAME, Signature, TextError, TypeId, TypeName,
};
use memring_transport::handshake::Carries;

/// What flows on a channel: a name, and a message type for each direction.
///
/// Both programs are compiled from the same declaration, usually in a crate of its own. When a channel
/// opens, the name and the fingerprints of both types are compared; a mismatch is refused with an error
/// that names the types of both sides.
///
/// ```
/// #[memring::message]
/// pub struct Quote { pub symbol: String, pub price: f64 }
/// #[memring::message]
/// pub struct Order { pub symbol: String, pub quantity: i32 }
///
/// pub struct Quotes;
/// impl memring::Protocol for Quotes {
///     const NAME: &'static str = "quotes";
///     type ToClient = Quote;
///     type ToServer = Order;
/// }
/// ```
pub trait Protocol: 'static {
    /// The name, at most 128 bytes without control characters; compared on both sides.
    const NAME: &'static str;
    /// What the server (the accepting side) sends.
    type ToClient: Message + ?Sized;
    /// What the client (the connecting side) sends.
    type ToServer: Message + ?Sized;
}

/// The untyped protocol: byte strings both ways.
///
/// ```
/// let (mut server, mut client) = memring::pair::<memring::Bytes>()?;
/// server.send(&[])?; // an empty message is a message
/// assert!(client.recv()?.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Bytes;

impl Protocol for Bytes {
    const NAME: &'static str = "bytes";
    type ToClient = [u8];
    type ToServer = [u8];
}

/// What the handshake says of a protocol.
pub(crate) fn signature<P: Protocol>() -> Result<Signature<'static>, TextError> {
    Ok(Signature {
        protocol: TypeName::new(P::NAME)?,
        to_accepting: type_id::<P::ToServer>(),
        to_connecting: type_id::<P::ToClient>(),
    })
}

/// What its messages carry beside bytes: to the accepting side, and to the connecting.
pub(crate) fn carries<P: Protocol>() -> [Carries; 2] {
    let of = |memring_codec::Carries { fds, blobs }| Carries { fds, blobs };
    [of(P::ToServer::carries()), of(P::ToClient::carries())]
}

fn type_id<T: Message + ?Sized>() -> TypeId<'static> {
    TypeId {
        fingerprint: Fingerprint(T::fingerprint().to_le_bytes()),
        name: TypeName::fit(&with_format(T::name(), T::Format::NAME)),
    }
}

/// What a refused peer is told: the type, of which something may be cut off, and the format, of which nothing is.
fn with_format(mut name: String, format: &str) -> String {
    if format.is_empty() {
        return name;
    }
    let most = MAX_TYPE_NAME.saturating_sub(" as ".len() + format.len());
    name.truncate((0..=most).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0));
    name + " as " + format
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_said_however_long_the_name() {
        let check = |name: &str, format, expected: &str| {
            assert_eq!(with_format(name.into(), format), expected);
        };
        check("Quote", "JSON", "Quote as JSON");
        check("bytes", "", "bytes");
        check(&"x".repeat(200), "rkyv", &format!("{} as rkyv", "x".repeat(120)));
        check(&"ß".repeat(100), "JSON", &format!("{} as JSON", "ß".repeat(60)));
        check(&"ß".repeat(100), "CBORs", &format!("{} as CBORs", "ß".repeat(59)));
    }
}
