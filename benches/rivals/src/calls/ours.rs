//! How a client and its server find each other over memring, for its messages and for its calls.

use std::path::Path;
use std::time::Duration;

use memring::{ClientEnd, Connector, Listener, Protocol, ServerEnd, Wait};
use memring_benches::Failed;

/// Which memring it is.
pub const VERSION: &str = memring_benches::ours::ALL[0].version;

const SOCKET: &str = "memring.sock";
/// How long the client waits for its server.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server's end, once the one client there is has come.
pub fn accept<P: Protocol>(at: &Path, wait: Wait) -> Result<ServerEnd<P>, Failed> {
    let listener = Listener::builder().wait(wait).bind(at.join(SOCKET))?;
    Ok(listener.accept()?.open::<P>()?)
}

/// The client's end.
pub fn connect<P: Protocol>(at: &Path, wait: Wait) -> Result<ClientEnd<P>, Failed> {
    let connector = Connector::new().wait_for_service().timeout(PATIENCE).wait(wait);
    Ok(connector.connect::<P>(at.join(SOCKET))?)
}
