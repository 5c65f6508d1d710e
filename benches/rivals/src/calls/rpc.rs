//! memring's calls: by threads, as they are by default and asleep; and by tasks of tokio's.
//!
//! A client and a server of threads have one each. Many outstanding calls are begun by that thread, which then waits for the oldest.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use memring::Wait;
use memring::rpc::{self, Call, Link};
use memring_benches::Failed;
use memring_benches::link::time_each;

use super::awaited::{self, Awaited, Echo};
use super::ours::{self, VERSION};
use super::{Calls, Client, Contender, Threads, Words, argument, check};

/// By threads, by threads that sleep, and by tasks.
pub const ALL: &[Contender] = &[
    Contender {
        name: "memring, calls",
        version: VERSION,
        serve: |_, at| serve(at, Wait::Adaptive),
        connect: |_, at| connect(at, Wait::Adaptive),
    },
    Contender {
        name: "memring, calls, park",
        version: VERSION,
        serve: |_, at| serve(at, Wait::Park),
        connect: |_, at| connect(at, Wait::Park),
    },
    Contender {
        name: "memring, calls, tokio",
        version: VERSION,
        serve: serve_in_tasks,
        connect: connect_in_tasks,
    },
];

#[memring::interface(name = "echo", version = "1")]
trait Service {
    fn echo(argument: Words) -> Words;
}

struct Server;

impl ServiceServer for Server {
    fn echo(&self, _: &Call<'_>, argument: Words) -> Words {
        super::echo(argument)
    }
}

impl ServiceAsyncServer for Server {
    async fn echo(&self, _: &Call<'_>, argument: Words) -> Words {
        super::echo(argument)
    }
}

impl Echo for ServiceAsyncClient {
    async fn echo(&self, argument: Words) -> Result<Words, Failed> {
        Ok(ServiceAsyncClient::echo(self, argument).await?)
    }
}

fn accept(at: &Path, wait: Wait, service: rpc::Serve) -> Result<Link, Failed> {
    Ok(Link::serving(ours::accept::<rpc::Calls>(at, wait)?, [service]))
}

fn serve(at: &Path, wait: Wait) -> Result<(), Failed> {
    accept(at, wait, Service::serve(Server))?.run();
    Ok(())
}

fn serve_in_tasks(threads: Threads, at: &Path) -> Result<(), Failed> {
    let link = accept(at, Wait::Adaptive, Service::serve_async(Server))?;
    awaited::tokio(threads)?.block_on(link.run_tokio());
    Ok(())
}

fn link(at: &Path, wait: Wait) -> Result<Link, Failed> {
    Ok(Link::over(ours::connect::<rpc::Calls>(at, wait)?))
}

fn connect(at: &Path, wait: Wait) -> Result<Client, Failed> {
    let link = link(at, wait)?;
    Ok(Box::new(Caller { waits: link.open()?, begins: link.open()? }))
}

fn connect_in_tasks(threads: Threads, at: &Path) -> Result<Client, Failed> {
    Ok(Box::new(Awaited::connect(awaited::tokio(threads)?, async || {
        Ok(link(at, Wait::Adaptive)?.open_async::<ServiceAsyncClient>().await?)
    })?))
}

/// A thread that calls.
struct Caller {
    waits: ServiceClient,
    begins: ServiceAsyncClient,
}

impl Calls for Caller {
    fn round_trips(
        &mut self,
        numbers: Range<u64>,
        took: &mut dyn FnMut(Duration),
    ) -> Result<(), Failed> {
        time_each(numbers, took, |number| check(number, self.waits.echo(argument(number))?))
    }

    fn pipelined(&mut self, numbers: Range<u64>, outstanding: u64) -> Result<(), Failed> {
        let mut begun = VecDeque::new();
        for number in numbers {
            if begun.len() as u64 == outstanding {
                answer(&mut begun)?;
            }
            begun.push_back((number, self.begins.echo(argument(number))));
        }
        while !begun.is_empty() {
            answer(&mut begun)?;
        }
        Ok(())
    }
}

fn answer(begun: &mut VecDeque<(u64, rpc::Pending<Words>)>) -> Result<(), Failed> {
    match begun.pop_front() {
        Some((number, pending)) => check(number, pending.wait()?),
        None => Ok(()),
    }
}
