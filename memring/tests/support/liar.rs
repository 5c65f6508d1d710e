//! A client that claims types and sends any bytes it likes.

use memring::{Listener, Message, Protocol, ServerEnd};
use memring_transport::control::{Fingerprint, Signature, TypeId, TypeName};
use memring_transport::{Connection, Policy, Settings, WhenAbsent};

use super::{PATIENCE, Scratch, soon};

/// A server that believes in types, and a client that sends any bytes it likes.
pub fn liar<P: Protocol>() -> (ServerEnd<P>, Connection) {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.socket()).expect("binds");
    let address = memring::Address::path(scratch.socket()).expect("an address");
    let connecting = std::thread::spawn(move || {
        let signature = Signature {
            protocol: TypeName::new(P::NAME).expect("a name"),
            to_accepting: type_id::<P::ToServer>(),
            to_connecting: type_id::<P::ToClient>(),
        };
        memring_transport::connect(
            &address,
            PATIENCE,
            WhenAbsent::Fail,
            &Policy::same_uid(),
            &Settings::new(),
            &signature,
        )
    });
    let server = listener.accept_deadline(soon()).expect("accepts").open::<P>().expect("opens");
    (server, connecting.join().unwrap().expect("connects"))
}

fn type_id<T: Message + ?Sized>() -> TypeId<'static> {
    TypeId {
        fingerprint: Fingerprint(T::fingerprint().to_le_bytes()),
        name: TypeName::fit(&T::name()),
    }
}
