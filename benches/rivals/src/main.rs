//! The rivals: other libraries for messages on one host, as contenders in memring's benchmark.
//!
//! Each is used as its own documentation advises for speed, and on the terms of everybody: a message is written
//! in full by its sender, into the library's memory where the library lends it, and read in full by its receiver,
//! where it lies if the library lets it. A contender refuses what its library cannot do.
//!
//! The program is a worker: `memring bench --rivals` starts it and tells it what to do. `memring-rivals calls`
//! measures by itself: calls, and whoever can make some.

use std::process::ExitCode;

use memring_benches::link::{Contender, Measure, Terms, Waiting};

#[cfg(feature = "aeron")]
mod aeron;
mod calls;
mod helpers;
mod iceoryx2;
mod ipc_channel;
mod meet;
mod rtrb;
mod serialised;
mod shmem_ipc;
#[cfg(test)]
mod tests;
mod words;
mod zmq;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [command, arguments @ ..] if command == calls::COMMAND => calls::run(arguments),
        [command, job] if command == calls::WORKER => calls::work(job),
        _ => memring_benches::worker::run(&contenders()),
    }
}

fn contenders() -> Vec<Contender> {
    [
        rtrb::ALL,
        iceoryx2::ALL,
        shmem_ipc::ALL,
        ipc_channel::ALL,
        #[cfg(feature = "aeron")]
        aeron::ALL,
        zmq::ALL,
        serialised::ALL,
    ]
    .concat()
}

/// For what only spins.
///
/// One way, none of the rivals waits adaptively: whoever asks for that gets the wait that is fastest.
fn spins(terms: &Terms) -> bool {
    match terms.measure {
        Measure::OneWay => terms.wait != Waiting::Park,
        Measure::RoundTrip => terms.wait == Waiting::Spin,
        Measure::SetUp | Measure::Idle => false,
    }
}

/// For what can sleep, and spin too.
fn spins_or_sleeps(terms: &Terms) -> bool {
    spins(terms) || terms.wait == Waiting::Park && terms.measure != Measure::SetUp
}

/// For what leaves waiting to the kernel.
fn sleeps(terms: &Terms) -> bool {
    match terms.measure {
        Measure::OneWay => true,
        Measure::RoundTrip | Measure::Idle => terms.wait == Waiting::Park,
        Measure::SetUp => false,
    }
}
