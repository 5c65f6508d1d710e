//! tarpc: a trait as a service, over a Unix socket with bincode and frames that begin with their length.
//!
//! As in its examples: the client's dispatch is a task, and so is each call at the server. Its limits, a thousand calls
//! in flight and a hundred waiting to be sent, are far off. Each call has a deadline, ten seconds if not told otherwise,
//! and is traced if somebody subscribes; nobody does.

use std::path::Path;

use futures_util::StreamExt;
use memring_benches::Failed;
use tarpc::client::Config;
use tarpc::context::{self, Context};
use tarpc::serde_transport::{self, Transport};
use tarpc::server::{BaseChannel, Channel};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::LengthDelimitedCodec;
use tokio::net::UnixStream;

use super::awaited::{self, Awaited, Echo};
use super::{Client, Contender, Threads, Words, meet};

/// With bincode, the faster of the two formats it comes with.
pub const ALL: &[Contender] =
    &[Contender { name: "tarpc", version: "tarpc 0.38.0", serve, connect }];

#[tarpc::service]
trait Service {
    async fn echo(argument: Words) -> Words;
}

#[derive(Clone)]
struct Server;

impl Service for Server {
    async fn echo(self, _: Context, argument: Words) -> Words {
        super::echo(argument)
    }
}

impl Echo for ServiceClient {
    async fn echo(&self, argument: Words) -> Result<Words, Failed> {
        Ok(ServiceClient::echo(self, context::current(), argument).await?)
    }
}

fn serve(threads: Threads, at: &Path) -> Result<(), Failed> {
    let stream = meet::accept(at)?;
    awaited::tokio(threads)?.block_on(async {
        let channel = BaseChannel::with_defaults(transport(stream)?);
        let answers = channel.execute(Server.serve());
        answers.for_each(async |answer| drop(tokio::spawn(answer))).await;
        Ok(())
    })
}

fn connect(threads: Threads, at: &Path) -> Result<Client, Failed> {
    let stream = meet::connect(at)?;
    Ok(Box::new(Awaited::connect(awaited::tokio(threads)?, async || {
        Ok(ServiceClient::new(Config::default(), transport(stream)?).spawn())
    })?))
}

type Bincoded<Item, SinkItem> = Transport<UnixStream, Item, SinkItem, Bincode<Item, SinkItem>>;

fn transport<Item, SinkItem>(
    stream: std::os::unix::net::UnixStream,
) -> Result<Bincoded<Item, SinkItem>, Failed>
where
    Item: for<'de> serde::Deserialize<'de>,
    SinkItem: serde::Serialize,
{
    stream.set_nonblocking(true)?;
    let framed = LengthDelimitedCodec::builder().new_framed(UnixStream::from_std(stream)?);
    Ok(serde_transport::new(framed, Bincode::default()))
}
