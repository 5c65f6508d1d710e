//! Errors: what the other side sent, what they are as `io::Error`, and what lies behind them.

mod support;

use std::error::Error;
use std::io::ErrorKind::{self, *};
use std::sync::Arc;
use std::time::Duration;

use memring::rkyv::bytecheck;
use memring::{
    Bytes, ConnectError, Connector, End, Fault, Lanes, Listener, Protocol, RecvError, Rule,
    SendError, Sender, ServerEnd, TryRecvError, TrySendError,
};
use support::liar::liar;
use support::soon;

#[memring::message]
#[derive(Debug, PartialEq)]
struct Order {
    symbol: String,
    lots: Vec<u32>,
    urgent: bool,
}

fn order() -> Order {
    Order { symbol: "a symbol that is not inline".into(), lots: vec![1, 2, 3], urgent: true }
}

struct Orders;
impl Protocol for Orders {
    const NAME: &'static str = "orders";
    type ToClient = [u8];
    type ToServer = Order;
}

/// A message with a check of the application's own, which is wrong about some values.
#[memring::message]
#[derive(Debug)]
#[rkyv(bytecheck(verify))]
struct Checked {
    divisor: u32,
}

// SAFETY: it accepts only what the derived check has accepted.
#[allow(unsafe_code)]
unsafe impl<C> bytecheck::Verify<C> for ArchivedChecked
where
    C: memring::rkyv::rancor::Fallible + ?Sized,
{
    fn verify(&self, _: &mut C) -> Result<(), C::Error> {
        assert_ne!(self.divisor.to_native(), 0, "the application's own mistake");
        Ok(())
    }
}

struct Checks;
impl Protocol for Checks {
    const NAME: &'static str = "checks";
    type ToClient = [u8];
    type ToServer = Checked;
}

/// The archive of an order, as an honest client would send it.
fn archive() -> Vec<u8> {
    let (_server, client) = memring::pair::<Orders>().expect("a pair");
    drop(client);
    let (mut server, mut client) = memring::pair::<Orders>().expect("a pair");
    client.send(&order()).expect("sends");
    server.recv_deadline(soon()).expect("an order").bytes().to_vec()
}

fn assert_fault(end: &End) -> &Fault {
    match end {
        End::Fault(fault) => {
            assert_eq!(fault.rule, Rule::Decode);
            assert!(fault.detail.is_some(), "says what was wrong");
            fault
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn attack_72_what_is_no_message_ends_that_session_and_no_other() {
    let good = archive();
    let mut letters = good.clone();
    letters[0] = 0xff; // no UTF-8
    let mut urgent = good.clone();
    let at = urgent.len() - 1;
    let flag = (0..=at).rev().find(|at| urgent[*at] == 1).expect("a flag");
    urgent[flag] = 2; // no bool
    let cases: [(&str, Vec<u8>); 7] = [
        ("nothing", Vec::new()),
        ("too little", vec![0; 3]),
        ("ones", vec![0xff; 100]),
        ("cut", good[..good.len() - 1].to_vec()),
        ("more", [&[0; 8], &good[..]].concat()),
        ("letters", letters),
        ("flag", urgent),
    ];
    let (mut bystander, mut other) = memring::pair::<Bytes>().expect("a pair");
    for (what, bytes) in cases {
        let (mut server, mut client) = liar::<Orders>();
        client.producer.send(&good, 0, None).expect("sends");
        client.producer.send(&bytes, 0, None).expect("sends");
        client.producer.send(&good, 0, None).expect("sends");
        assert_eq!(server.recv_deadline(soon()).unwrap().to_value().unwrap(), order());
        for _ in 0..2 {
            match server.recv_deadline(soon()).map(|_| ()) {
                Err(RecvError::Ended(end)) => assert_fault(&end),
                other => panic!("{what}: {other:?}"),
            };
            match server.try_recv().map(|_| ()) {
                Err(TryRecvError::Ended(end)) => assert_fault(&end),
                other => panic!("{what}: {other:?}"),
            };
            let sent = server.send(b"?");
            assert!(matches!(sent, Err(SendError::Ended(End::Fault(_)))), "{what}: {sent:?}");
        }
        // The liar is cut off.
        let end = client.consumer.recv(Some(soon())).map(|_| ());
        assert!(end.is_err(), "{what}: {end:?}");
        bystander.send(b"undisturbed").expect("sends");
        assert_eq!(&*other.recv_deadline(soon()).unwrap(), b"undisturbed");
    }
}

#[test]
fn attack_72_any_byte_may_be_anything() {
    let good = archive();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x81;
        let (mut server, mut client) = liar::<Orders>();
        client.producer.send(&bytes, 0, None).expect("sends");
        match server.recv_owned_deadline_of_either() {
            Ok(()) | Err(RecvError::Ended(End::Fault(_))) => {}
            Err(other) => panic!("byte {at}: {other:?}"),
        }
    }
}

/// Receives one and turns it into a value, which must not panic whatever it is.
trait Receive {
    fn recv_owned_deadline_of_either(&mut self) -> Result<(), RecvError>;
}

impl Receive for ServerEnd<Orders> {
    fn recv_owned_deadline_of_either(&mut self) -> Result<(), RecvError> {
        let (_, rx) = self.halves();
        let order = rx.recv_owned_deadline(soon())?;
        let _ = order.to_value();
        Ok(())
    }
}

#[test]
fn attack_77_a_check_of_the_application_s_that_panics_poisons_its_session_only() {
    let (mut server, mut client) = memring::pair::<Checks>().expect("a pair");
    let (mut bystander, mut other) = memring::pair::<Bytes>().expect("a pair");
    client.send(&Checked { divisor: 7 }).expect("sends");
    assert_eq!(server.recv_deadline(soon()).expect("a message").divisor, 7);
    client.send(&Checked { divisor: 0 }).expect("sends");
    for _ in 0..2 {
        match server.recv_deadline(soon()).map(|_| ()) {
            Err(RecvError::Ended(end)) => {
                let fault = assert_fault(&end);
                assert!(fault.to_string().contains("panicked"), "{fault}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(server.send(b"?").is_err());
    bystander.send(b"undisturbed").expect("sends");
    assert_eq!(&*other.recv_deadline(soon()).unwrap(), b"undisturbed");
}

#[test]
fn ends_and_errors_have_fitting_kinds_and_keep_what_lies_behind_them() {
    let (server, _client) = memring::pair::<Bytes>().expect("a pair");
    let peer = server.peer().clone();
    let fault = Fault { rule: Rule::Decode, detail: Some(Arc::from("why")) };
    let ends: [(End, ErrorKind); 5] = [
        (End::Closed, BrokenPipe),
        (End::PeerDied(peer), ConnectionReset),
        (End::Fault(fault), InvalidData),
        (End::Forked, Unsupported),
        (End::Local, NotConnected),
    ];
    for (end, kind) in ends {
        let errors: [std::io::Error; 5] = [
            end.clone().into(),
            SendError::Ended(end.clone()).into(),
            TrySendError::Ended(end.clone()).into(),
            RecvError::Ended(end.clone()).into(),
            TryRecvError::Ended(end.clone()).into(),
        ];
        for error in errors {
            assert_eq!(error.kind(), kind, "{end:?}");
            let inner = error.get_ref().expect("keeps the end").downcast_ref::<End>();
            assert_eq!(inner.expect("an End").to_string(), end.to_string());
        }
    }
    let errors: [(std::io::Error, ErrorKind); 6] = [
        (SendError::TimedOut.into(), TimedOut),
        (SendError::TooLarge { len: 2, max: 1 }.into(), InvalidInput),
        (TrySendError::Full.into(), WouldBlock),
        (TrySendError::TooLarge { len: 2, max: 1 }.into(), InvalidInput),
        (RecvError::TimedOut.into(), TimedOut),
        (TryRecvError::Empty.into(), WouldBlock),
    ];
    for (error, kind) in errors {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.get_ref().is_some());
    }
}

#[test]
fn settings_that_break_a_limit_are_said_before_anything_happens() {
    let long = "x".repeat(65);
    let cases: [(Connector, &str); 6] = [
        (Connector::new().name(&long), "application name"),
        (Connector::new().name("a\nb"), "application name"),
        (Connector::new().metadata(&[0; 4097]), "metadata"),
        (Connector::new().lanes(Lanes::Bytes(5000), Lanes::Small), ""),
        (Connector::new().lanes(Lanes::Small, Lanes::Bytes(1 << 31)), ""),
        (Connector::new().lanes(Lanes::Small, Lanes::Bytes(0)), ""),
    ];
    for (connector, what) in cases {
        let shown = format!("{connector:?}");
        let error = connector.timeout(Duration::from_secs(5)).pair::<Bytes>().expect_err("limits");
        let text = error.to_string();
        assert!(text.contains(what), "{text}");
        assert!(error.source().is_some() || matches!(error, ConnectError::Text { .. }), "{shown}");
        let error = std::io::Error::from(error);
        assert_eq!(error.kind(), InvalidInput, "{error}");
    }
    for builder in [
        Listener::builder().name(&long),
        Listener::builder().metadata(&[0; 4097]),
        Listener::builder().largest_message(0),
    ] {
        let error = builder.bind("/no/such/directory/s").expect_err("limits");
        assert_eq!(std::io::Error::from(error).kind(), InvalidInput);
    }
    for address in ["", "/", "a\0b/", &"/x".repeat(60)] {
        let error = memring::connect::<Bytes>(address).expect_err("no address");
        assert_eq!(std::io::Error::from(error).kind(), InvalidInput, "{address:?}");
        let error = Listener::bind(address).expect_err("no address");
        assert_eq!(std::io::Error::from(error).kind(), InvalidInput, "{address:?}");
    }
}

#[test]
fn halves_are_send_and_errors_are_errors() {
    fn send<T: Send + 'static>() {}
    fn error<T: Error + Send + Sync + 'static>() {}
    send::<Sender<Order>>();
    send::<memring::Receiver<Order>>();
    send::<memring::Received<Order>>();
    send::<memring::Channel<Order, [u8]>>();
    send::<Listener>();
    send::<memring::Incoming>();
    error::<End>();
    error::<SendError>();
    error::<TrySendError>();
    error::<RecvError>();
    error::<TryRecvError>();
    error::<ConnectError>();
    error::<memring::BindError>();
    error::<memring::AcceptFailed>();
}
