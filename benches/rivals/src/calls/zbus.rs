//! zbus: D-Bus from peer to peer, over a Unix socket and without a bus.
//!
//! A client's proxy calls an interface of a server's object. By default zbus starts a task for each call that it
//! serves; `spawn = false`, which it has for interfaces whose methods call nobody, answers them in the order they came
//! in. Each message is written by a system call of its own. It runs on its own runtime, as it does by default, with
//! one thread.

use std::path::Path;

use memring_benches::Failed;
use zbus::Guid;
use zbus::connection::Builder;

use super::awaited::{Awaited, Echo, Runs};
use super::{Client, Contender, Words, meet};

/// Nothing to choose.
pub const ALL: &[Contender] = &[Contender {
    name: "zbus",
    version: "zbus 6.2.1",
    serve: |_, at| serve(at),
    connect: |_, at| connect(at),
}];

const OBJECT: &str = "/org/memring/Calls";

struct Server;

#[zbus::interface(name = "org.memring.Calls", spawn = false)]
impl Server {
    fn echo(&self, argument: Words) -> Words {
        super::echo(argument)
    }
}

#[zbus::proxy(
    interface = "org.memring.Calls",
    default_service = "org.memring.Calls",
    default_path = "/org/memring/Calls"
)]
trait Service {
    fn echo(&self, argument: Words) -> zbus::Result<Words>;
}

impl Echo for ServiceProxy<'_> {
    async fn echo(&self, argument: Words) -> Result<Words, Failed> {
        Ok(ServiceProxy::echo(self, argument).await?)
    }
}

/// zbus's own runtime.
struct Own;

impl Runs for Own {
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        zbus::block_on(future)
    }
}

fn serve(at: &Path) -> Result<(), Failed> {
    let stream = meet::accept(at)?;
    zbus::block_on(async {
        let builder = Builder::unix_stream(stream).server(Guid::generate()).p2p();
        let connection = builder.serve_at(OBJECT, Server).build().await?;
        connection.closed().await;
        Ok(())
    })
}

fn connect(at: &Path) -> Result<Client, Failed> {
    let stream = meet::connect(at)?;
    Ok(Box::new(Awaited::connect(Own, async || {
        let connection = Builder::unix_stream(stream).p2p().build().await?;
        Ok(ServiceProxy::new(&connection).await?)
    })?))
}
