//! iceoryx2: services in shared memory, published without a copy.
//!
//! A service each way, for one publisher and one subscriber that loses nothing. A message is loaned, written,
//! sent, and read where it lies. Publishing wakes nobody, so whoever spins polls the subscriber, and whoever
//! sleeps listens to an event that the other end notifies.

use std::path::Path;

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use iceoryx2::service::port_factory::{event, publish_subscribe};
use memring_benches::link::{Contender, Open, Side, Terms, Waiting};
use memring_benches::payload::{WORD, word};
use memring_benches::{Failed, Link};

use crate::meet::until;
use crate::words;

/// Polled, or notified where one sleeps.
pub const ALL: &[Contender] = &[Contender {
    name: "iceoryx2",
    version: "iceoryx2 0.10.0",
    can: crate::spins_or_sleeps,
    open: Open::Processes(|terms, side, at| {
        Ok(match terms.wait {
            Waiting::Park => Box::new(Sleeping::meet(terms, side, &at)?),
            Waiting::Spin | Waiting::Adaptive => Box::new(Polling::meet(terms, side, &at)?),
        })
    }),
}];

/// Both directions, for one that looks again and again.
struct Polling {
    outgoing: Publisher<ipc::Service, [u64], ()>,
    incoming: Subscriber<ipc::Service, [u64], ()>,
    words: usize,
}

impl Polling {
    fn meet(terms: &Terms, side: Side, at: &Path) -> Result<Self, Failed> {
        set_log_level(LogLevel::Error);
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let [out, back] = names(side, at)?;
        let [out, back] = [service(&node, &out, terms)?, service(&node, &back, terms)?];
        let incoming = back.subscriber_builder().create()?;
        let words = terms.size / WORD;
        let outgoing = out
            .publisher_builder()
            .initial_max_slice_len(words)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        // What is published before there is a subscriber is lost.
        until(|| Ok((out.dynamic_config().number_of_subscribers() > 0).then_some(())))?;
        let mut both = Self { outgoing, incoming, words };
        both.greet(side)?;
        Ok(both)
    }

    /// One message there and back: so long as the subscriber has received nothing, a publisher that finds the
    /// buffer full throws away what it sends, whatever its strategy.
    fn greet(&mut self, side: Side) -> Result<(), Failed> {
        if side == Side::Near {
            self.send(0)?;
        }
        until(|| Ok(self.received(0)?.then_some(())))?;
        if side == Side::Far {
            self.send(0)?;
        }
        Ok(())
    }

    /// Whether message `number` was there, and read.
    #[inline]
    fn received(&mut self, number: u64) -> Result<bool, Failed> {
        let Some(message) = self.incoming.receive()? else { return Ok(false) };
        words::read(message.payload(), number)?;
        Ok(true)
    }
}

impl Link for Polling {
    #[inline]
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        let message = self.outgoing.loan_slice_uninit(self.words)?;
        message.write_from_fn(|index| word(number, index as u64)).send()?;
        Ok(())
    }

    #[inline]
    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        while !self.received(number)? {
            std::hint::spin_loop();
        }
        Ok(())
    }
}

/// Both directions, with a bell each.
struct Sleeping {
    messages: Polling,
    outgoing: Notifier<ipc::Service>,
    incoming: Listener<ipc::Service>,
    batched: bool,
}

impl Sleeping {
    fn meet(terms: &Terms, side: Side, at: &Path) -> Result<Self, Failed> {
        let node = NodeBuilder::new().create::<ipc::Service>()?;
        let [out, back] = names(side, at)?;
        let [out, back] = [bell(&node, &out)?, bell(&node, &back)?];
        let incoming = back.listener_builder().create()?;
        let outgoing = out.notifier_builder().create()?;
        until(|| Ok((out.dynamic_config().number_of_listeners() > 0).then_some(())))?;
        let messages = Polling::meet(terms, side, at)?;
        // A batch that does not fit would fill the buffer of a subscriber that nobody woke.
        let fits = terms.batch <= terms.room.messages(terms.size) as u64;
        Ok(Self { messages, outgoing, incoming, batched: terms.batch > 1 && fits })
    }
}

impl Link for Sleeping {
    fn send(&mut self, number: u64) -> Result<(), Failed> {
        self.messages.send(number)?;
        if self.batched { Ok(()) } else { self.flush() }
    }

    fn receive(&mut self, number: u64) -> Result<(), Failed> {
        while !self.messages.received(number)? {
            self.incoming.blocking_wait(|_| ())?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failed> {
        self.outgoing.notify()?;
        Ok(())
    }
}

/// What the services out and back are called, in a directory that no other pair has.
fn names(side: Side, at: &Path) -> Result<[ServiceName; 2], Failed> {
    let name = |way| ServiceName::new(&format!("{}/{way}", at.display()));
    let [there, back] = [name("there")?, name("back")?];
    Ok(if side == Side::Near { [there, back] } else { [back, there] })
}

fn service(
    node: &Node<ipc::Service>,
    name: &ServiceName,
    terms: &Terms,
) -> Result<publish_subscribe::PortFactory<ipc::Service, [u64], ()>, Failed> {
    Ok(node
        .service_builder(name)
        .publish_subscribe::<[u64]>()
        .max_publishers(1)
        .max_subscribers(1)
        .history_size(0)
        .subscriber_max_buffer_size(terms.room.messages(terms.size))
        .subscriber_max_borrowed_samples(1)
        .enable_safe_overflow(false)
        .open_or_create()?)
}

fn bell(
    node: &Node<ipc::Service>,
    name: &ServiceName,
) -> Result<event::PortFactory<ipc::Service>, Failed> {
    Ok(node.service_builder(name).event().max_notifiers(1).max_listeners(1).open_or_create()?)
}
