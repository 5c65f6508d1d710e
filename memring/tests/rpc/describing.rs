//! What a server tells of what it serves, and to whom.

use std::thread;

use memring::Policy;
use memring::rpc::{
    Call, Calls, Client, DescribeError, Link, Offered, Replies, Serve, Service, Shape,
};

use super::support::soon;

#[memring::message]
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    pub price: f64,
    pub venue: Venue,
}

#[memring::message]
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Venue {
    Here,
    There(u16),
}

#[memring::message]
#[derive(Debug)]
pub struct Closed;

#[memring::interface(name = "market", version = "2.1")]
trait Market {
    fn last(symbol: &str, venues: &[Venue]) -> Result<Tick, Closed>;
    fn watch(symbol: String) -> Stream<Tick>;
    #[oneway]
    fn log(line: &str);
    #[signal]
    fn opened(venue: Venue);
}

struct Serves;

impl MarketServer for Serves {
    fn last(
        &self,
        _: &Call<'_>,
        _: &str,
        _: &[memring::rkyv::Archived<Venue>],
    ) -> Result<Tick, Closed> {
        Ok(Tick { price: 1.5, venue: Venue::Here })
    }

    fn watch(&self, _: &Call<'_>, _: String, replies: Replies<Tick>) {
        replies.end(Ok(()));
    }

    fn log(&self, _: &Call<'_>, _: &str) {}
}

/// A service of any name, with nothing in it.
struct Named(&'static memring::rpc::Interface);

impl Service for Named {
    fn interface(&self) -> &'static memring::rpc::Interface {
        self.0
    }

    fn call(&self, _: u32, _: memring::rpc::Request<'_>) {}
}

fn named(name: impl Into<String>, version: &'static str) -> Serve {
    let name = Box::leak(name.into().into_boxed_str());
    let interface = memring::rpc::Interface { name, version, members: &[] };
    Serve::new(Named(Box::leak(Box::new(interface))))
}

fn link(services: impl IntoIterator<Item = Serve>) -> Link {
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, services);
    thread::spawn(move || server.run());
    Link::over(client)
}

fn offered(name: &str, version: &str) -> Offered {
    Offered { name: name.to_owned(), version: version.to_owned() }
}

#[test]
fn an_interface_tells_its_members_and_types_and_is_opened_by_it() {
    let link = link([Market::serve(Serves).method("log", Policy::nobody())]);
    assert_eq!(link.offered(soon()).expect("a list"), [offered("market", "2.1")]);
    let market = link.describe("market", "2.1", soon()).expect("described");
    assert_eq!(market.offered, offered("market", "2.1"));
    let members: Vec<_> = market
        .members
        .iter()
        .map(|member| (member.shape, &*member.name, &*member.signature, member.denied))
        .collect();
    let expected = [
        (Shape::Call, "last", "(symbol: &str, venues: &[Venue]) -> Result<Tick, Closed>", false),
        (Shape::Stream, "watch", "(symbol: String) -> Stream<Tick>", false),
        (Shape::OneWay, "log", "(line: &str) #[oneway]", true),
        (Shape::Signal, "opened", "(venue: Venue) #[signal]", false),
    ];
    assert_eq!(members, expected);
    let ours = MarketClient::interface().members;
    for (theirs, ours) in market.members.iter().zip(ours) {
        assert_eq!(theirs.prints, (ours.prints)());
        assert!(!theirs.json);
    }
    let types = [
        "enum Venue { Here, There(u16) }",
        "struct Tick { price: f64, venue: Venue }",
        "struct Closed",
    ];
    assert_eq!(market.types, types);
    // Beside it, whoever knows the types opens it as ever.
    let client: MarketClient = link.open().expect("opened");
    assert_eq!(client.last("ABC", &[]).expect("a tick").price, 1.5);
}

#[test]
fn what_a_policy_hides_is_neither_listed_nor_described() {
    let link = link([
        named("seen", "1"),
        Market::serve(Serves).policy(Policy::nobody()),
        named("seen", "2"),
    ]);
    assert_eq!(link.offered(soon()).expect("a list"), [offered("seen", "1"), offered("seen", "2")]);
    let hidden = link.describe("market", "2.1", soon());
    assert!(matches!(hidden, Err(DescribeError::Denied(name)) if name == "market"));
    let other = link.describe("seen", "3", soon());
    match other {
        Err(DescribeError::UnknownVersion { wanted, offered: versions }) => {
            assert_eq!(
                (wanted, &versions[..]),
                (offered("seen", "3"), &["1".into(), "2".into()][..])
            );
        }
        other => panic!("{other:?}"),
    }
    let none = link.describe("none", "1", soon());
    assert!(matches!(none, Err(DescribeError::UnknownInterface(name)) if name == "none"));
    for (name, version) in [("", "1"), ("a\nb", "1"), ("a", ""), (&*"x".repeat(129), "1")] {
        let error = link.describe(name, version, soon()).expect_err("no name");
        assert!(matches!(error, DescribeError::NoName(_)), "{error:?}");
    }
}

#[test]
fn however_many_there_are_all_are_listed_in_order() {
    for count in [0, 1, 63, 64, 65, 128, 200] {
        let all: Vec<_> = (0..count).map(|number| format!("number {number}")).collect();
        let link = link(all.iter().map(|name| named(name, "1")));
        let listed = link.offered(soon()).expect("a list");
        assert!(listed.iter().map(|offered| &offered.name).eq(&all), "{count}");
    }
    // And where nothing is served at all: whoever waits there answers that.
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let (server, client) = (Link::over(server), Link::serving(client, [named("ours", "1")]));
    let serving = client.clone();
    thread::spawn(move || serving.run());
    let asking = thread::spawn(move || {
        while let Ok(listed) = server.offered(soon()) {
            assert_eq!(listed, [offered("ours", "1")]);
        }
    });
    assert!(client.offered(soon()).expect("a list").is_empty());
    client.close();
    asking.join().expect("no panic");
}
