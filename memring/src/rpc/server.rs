//! A server of calls: a thread for each client, or tasks.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::services::{Serve, Services};
use super::session::{Calls, Link, MOST_RUNNING};
use super::shared::Shared;
use crate::address::ToAddress;
use crate::error::{AcceptFailed, BindError};
use crate::server::{Incoming, Listener, ListenerBuilder};

/// Between looks whether a session is quiet, and looks in a row that have to find it so.
const LOOK: Duration = Duration::from_millis(1);
const QUIET: u32 = 3;

/// What is served to whoever connects, and how.
///
/// Each client has a thread of its own, or several: so a handler that blocks keeps no other client waiting.
///
/// ```
/// use std::time::Duration;
/// use memring::{Lanes, Listener};
/// use memring::rpc::{Call, Server};
///
/// #[memring::interface(name = "adder", version = "1")]
/// trait Adder {
///     fn add(a: u32, b: u32) -> u32;
/// }
///
/// struct Adds;
/// impl AdderServer for Adds {
///     fn add(&self, _: &Call<'_>, a: u32, b: u32) -> u32 { a.wrapping_add(b) }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("memring-server-{}", std::process::id()));
/// # std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&directory)?;
/// # let path = directory.join("adder.sock");
/// let server = Server::new()
///     .listener(Listener::builder().lanes_between(Lanes::Small, Lanes::Normal))
///     .serve(Adder::serve(Adds))
///     .bind(&path)?;
/// std::thread::scope(|scope| {
///     let running = scope.spawn(|| server.run());
/// #   let client = AdderClient::connect(&path).expect("it listens");
/// #   assert_eq!(client.add(1, 2).expect("an answer"), 3);
///     // Once it is enough: what runs may finish, for a second.
///     server.shut_down(Duration::from_secs(1));
///     running.join().expect("no panic")
/// })?;
/// # std::fs::remove_dir_all(directory)?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a server does nothing until it is bound and runs"]
pub struct Server {
    services: Services,
    listener: ListenerBuilder,
    at_once: u32,
    threads: usize,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("services", &self.services).finish_non_exhaustive()
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Server {
    /// Serves nothing yet.
    pub fn new() -> Self {
        Self {
            services: Services::default(),
            listener: Listener::builder(),
            at_once: MOST_RUNNING,
            threads: 1,
        }
    }

    /// Serves an interface.
    ///
    /// # Panics
    ///
    /// If the same version of the same interface is served already, or 65,535 interfaces are.
    pub fn serve(mut self, serve: Serve) -> Self {
        self.services.add(serve);
        self
    }

    /// How clients are listened for: who is admitted, how large their lanes are, what they may send.
    pub fn listener(mut self, listener: ListenerBuilder) -> Self {
        self.listener = listener;
        self
    }

    /// How many calls of a client's run or wait at once; 1024 unless said otherwise. None at all is taken for one, and more than
    /// 32,760 for that many.
    pub fn calls_at_once(mut self, most: u32) -> Self {
        self.at_once = most.max(1);
        self
    }

    /// How many calls of one client run beside each other; one unless said otherwise, and if none is said. Each takes a
    /// thread, from when the client has come until its session ends.
    pub fn threads_per_client(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Listens at an address.
    ///
    /// # Errors
    ///
    /// As [`ListenerBuilder::bind`].
    pub fn bind(self, address: impl ToAddress) -> Result<Serving, BindError> {
        let listener = self.listener.bind(address)?;
        Ok(Serving {
            listener,
            services: Arc::new(self.services),
            at_once: self.at_once,
            threads: self.threads,
            links: Mutex::default(),
        })
    }
}

/// A server that listens.
pub struct Serving {
    listener: Listener,
    services: Arc<Services>,
    at_once: u32,
    threads: usize,
    links: Mutex<Vec<Weak<Shared>>>,
}

impl Serving {
    /// Takes clients and serves them in threads, until [`shut_down`](Self::shut_down).
    ///
    /// # Errors
    ///
    /// What ended the listening before.
    pub fn run(&self) -> Result<(), AcceptFailed> {
        for incoming in self.listener.incoming() {
            let Some(shared) = self.take(incoming?) else { continue };
            for _ in 0..self.threads {
                let link = Link::of(&shared);
                let run = move || drop(link.run());
                if spawn(run).is_err() {
                    shared.close(); // it is told, and comes again when there is more room for threads
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes clients and serves them in tasks of the runtime's that this is awaited in, until [`shut_down`](Self::shut_down): see
    /// [`Link::run_tokio`]. All clients' calls run beside each other.
    ///
    /// # Errors
    ///
    /// What ended the listening before.
    ///
    /// # Panics
    ///
    /// Outside of a runtime of tokio's, or in one without its I/O.
    #[cfg(feature = "tokio")]
    pub async fn run_tokio(&self) -> Result<(), AcceptFailed> {
        use memring_transport::AcceptError;

        let mut waiting = self.listener.tokio().map_err(AcceptError::System)?;
        loop {
            match waiting.accept().await {
                Ok(incoming) => {
                    if let Some(shared) = self.take(incoming) {
                        let link = Link::of(&shared);
                        tokio::spawn(async move { link.run_tokio().await });
                    }
                }
                Err(AcceptFailed(AcceptError::ShutDown)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the session of one that came.
    fn take(&self, incoming: Incoming) -> Option<Arc<Shared>> {
        // One that speaks something else is told so, and one that has gone has gone.
        let channel = incoming.open::<Calls>().ok()?;
        let shared = Shared::new(channel, self.at_once);
        shared.services.get_or_init(|| Arc::clone(&self.services));
        let mut links = self.links();
        links.retain(|link| link.strong_count() != 0);
        links.push(Arc::downgrade(&shared));
        Some(shared)
    }

    /// Takes no more clients, refuses new calls, and waits until those that run have ended, or for `patience`; then the
    /// sessions end, and with them calls that came so late that they were not even refused.
    pub fn shut_down(&self, patience: Duration) {
        let links = self.begin_to_shut_down();
        let end = Instant::now() + patience;
        for link in links {
            let mut quiet = Quiet::default();
            while !quiet.is(&link) && Instant::now() < end {
                thread::sleep(LOOK);
            }
            link.close();
        }
    }

    /// As [`shut_down`](Self::shut_down), in a task.
    #[cfg(feature = "tokio")]
    pub async fn shut_down_async(&self, patience: Duration) {
        let links = self.begin_to_shut_down();
        let end = Instant::now() + patience;
        for link in links {
            let mut quiet = Quiet::default();
            while !quiet.is(&link) && Instant::now() < end {
                super::background::sleep_until(Instant::now() + LOOK).await;
            }
            link.close();
        }
    }

    fn begin_to_shut_down(&self) -> Vec<Arc<Shared>> {
        self.listener.shut_down();
        let links: Vec<_> = self.links().drain(..).filter_map(|link| link.upgrade()).collect();
        links.iter().for_each(|link| link.stop());
        links
    }

    /// The listener: its address, and whom it turned away.
    #[must_use]
    pub fn listener(&self) -> &Listener {
        &self.listener
    }

    fn links(&self) -> MutexGuard<'_, Vec<Weak<Shared>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks in a row that found a session quiet.
#[derive(Default)]
struct Quiet(u32);

impl Quiet {
    /// Whether it is. What lies in the lane behind a call that ran is read, and refused, before the next look.
    fn is(&mut self, link: &Shared) -> bool {
        self.0 = if link.is_quiet() { self.0 + 1 } else { 0 };
        self.0 > QUIET
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("memring-calls".into()).spawn(run).map(drop)
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("listener", &self.listener).finish_non_exhaustive()
    }
}
