//! gRPC by tonic: protocol buffers over HTTP/2, over a Unix socket.
//!
//! Client and server are what tonic generates, from a description in `build.rs` and not from a file, so that no `protoc`
//! is needed; the code is the same. The words are four fields of fixed size: a list of them would be allocated.

use std::path::Path;

use memring_benches::Failed;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

use super::awaited::{self, Awaited, Echo};
use super::{Client, Contender, Threads, Words, meet};

/// As its examples do it.
pub const ALL: &[Contender] =
    &[Contender { name: "gRPC", version: "tonic 0.14.9, prost 0.14.6", serve, connect }];

/// Argument and answer.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Quad {
    #[prost(fixed64, tag = "1")]
    first: u64,
    #[prost(fixed64, tag = "2")]
    second: u64,
    #[prost(fixed64, tag = "3")]
    third: u64,
    #[prost(fixed64, tag = "4")]
    fourth: u64,
}

impl From<Words> for Quad {
    fn from([first, second, third, fourth]: Words) -> Self {
        Self { first, second, third, fourth }
    }
}

impl From<Quad> for Words {
    fn from(Quad { first, second, third, fourth }: Quad) -> Self {
        [first, second, third, fourth]
    }
}

mod generated {
    #![allow(missing_docs)]
    include!(concat!(env!("OUT_DIR"), "/memring.Calls.rs"));
}
use generated::calls_client::CallsClient;
use generated::calls_server::{self, CallsServer};

struct Service;

#[tonic::async_trait]
impl calls_server::Calls for Service {
    async fn echo(&self, request: Request<Quad>) -> Result<Response<Quad>, Status> {
        Ok(Response::new(super::echo(request.into_inner().into()).into()))
    }
}

impl Echo for CallsClient<tonic::transport::Channel> {
    async fn echo(&self, argument: Words) -> Result<Words, Failed> {
        // A clone for each call, as its documentation has it: calls borrow the client, and clones share the connection.
        Ok(CallsClient::echo(&mut self.clone(), Quad::from(argument)).await?.into_inner().into())
    }
}

fn serve(threads: Threads, at: &Path) -> Result<(), Failed> {
    let listener = meet::listen(at)?;
    listener.set_nonblocking(true)?;
    awaited::tokio(threads)?.block_on(async {
        let incoming = UnixListenerStream::new(UnixListener::from_std(listener)?);
        let server = Server::builder().add_service(CallsServer::new(Service));
        Ok(server.serve_with_incoming(incoming).await?)
    })
}

fn connect(threads: Threads, at: &Path) -> Result<Client, Failed> {
    let path = meet::wait(at)?;
    Ok(Box::new(Awaited::connect(awaited::tokio(threads)?, async || {
        let channel = Endpoint::from_shared(format!("unix:{}", path.display()))?.connect().await?;
        Ok(CallsClient::new(channel))
    })?))
}
