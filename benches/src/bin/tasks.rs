//! What a round trip costs between tasks of tokio: over a session, and over a Unix stream socket doing the same.
//!
//! A child sends back 64 bytes at a time. Here so many tasks each send a request, over one session or one socket, and wait for
//! their answer; another task receives and hands the answers out. Both processes run tokio's runtime of one thread, each
//! on a processor of its own, and both ways take turns in one run.
//!
//! `cargo run --release -p memring-benches --features tokio --bin tasks [ROUNDS]`

use std::cell::RefCell;
use std::os::unix::net::UnixStream as Bare;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use memring::task::Tokio;
use memring::{Async, Bytes, Connector, Receiver, Sender, ServerEnd};
use memring_benches::pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, Notify};
use tokio::task::LocalSet;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const CHILD: &str = "TASKS_CHILD";
const BYTES: usize = 64;
/// Round trips of a turn.
const TURN: usize = 20_000;
/// How long a task spins where it does.
const SPIN: Duration = Duration::from_micros(50);

type Request = [u8; BYTES];

/// One way to and fro.
trait Way {
    async fn send(&mut self, request: &Request);
}

trait Back {
    /// `None` once the child has gone.
    async fn recv(&mut self) -> Option<Request>;
}

impl Way for Async<Sender<[u8]>, Tokio> {
    async fn send(&mut self, request: &Request) {
        Async::<Sender<[u8]>, Tokio>::send(self, request).await.expect("the child is there");
    }
}

impl Back for Async<Receiver<[u8]>, Tokio> {
    async fn recv(&mut self) -> Option<Request> {
        let answer = Async::<Receiver<[u8]>, Tokio>::recv(self).await.ok()?;
        answer.as_ref().try_into().ok()
    }
}

impl Way for OwnedWriteHalf {
    async fn send(&mut self, request: &Request) {
        self.write_all(request).await.expect("the child is there");
    }
}

impl Back for BufReader<OwnedReadHalf> {
    async fn recv(&mut self) -> Option<Request> {
        let mut answer = [0; BYTES];
        self.read_exact(&mut answer).await.ok()?;
        Some(answer)
    }
}

fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(15), |rounds| rounds.parse())?;
    let processors = pin::allowed()?;
    let [ours, childs] = match processors.as_slice() {
        [first, second, ..] => [*first, *second],
        _ => return Err("two processors are needed".into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    if let Some(spin) = std::env::var_os(CHILD) {
        pin::pin(childs)?;
        return runtime.block_on(local.run_until(serve(spin == "spin")));
    }
    println!("{:<18}{:>14}{:>14}{:>10}", "in flight", "memring", "Unix stream", "ratio");
    for (spin, all_in_flight) in [(false, &[1, 8, 64][..]), (true, &[1])] {
        let (near, far) = Bare::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.env(CHILD, if spin { "spin" } else { "wait" });
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(far)));
        let (mut child, channel) = Connector::new().spawn::<Bytes>(&mut command)?;
        drop(command);
        let compared = compare(near, channel, spin, all_in_flight, rounds);
        pin::on(ours, || runtime.block_on(local.run_until(compared)))??;
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// Turns over both ways, for so many in flight each.
async fn compare(
    near: Bare,
    channel: ServerEnd<Bytes>,
    spin: bool,
    all_in_flight: &[usize],
    rounds: usize,
) -> Outcome<()> {
    near.set_nonblocking(true)?;
    let (reads, writes) = UnixStream::from_std(near)?.into_split();
    let socket = Calls::over(writes, BufReader::new(reads));
    let (tx, rx) = channel.into_tokio()?.spin(if spin { SPIN } else { Duration::ZERO }).split()?;
    let session = Calls::over(tx, rx);
    for &in_flight in all_in_flight {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            times[0].push(session.turn(in_flight).await);
            times[1].push(socket.turn(in_flight).await);
        }
        let [ours, bare] = times.map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2].as_nanos() as f64 / TURN as f64
        });
        let shown = if spin { format!("{in_flight}, spinning") } else { in_flight.to_string() };
        println!("{shown:<18}{ours:>11.0} ns{bare:>11.0} ns{:>10.2}", ours / bare);
    }
    Ok(())
}

/// Sends back what comes, over both.
async fn serve(spin: bool) -> Outcome<()> {
    use std::os::fd::AsFd;
    let socket = Bare::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let (reads, mut writes) = UnixStream::from_std(socket)?.into_split();
    let spin = if spin { SPIN } else { Duration::ZERO };
    let mut channel = memring::inherited::<Bytes>()?.into_tokio()?.spin(spin);
    let echo = tokio::task::spawn_local(async move {
        while let Ok(request) = channel.recv().await {
            let request: Request = request.as_ref().try_into().expect("as long as all");
            if channel.send(&request).await.is_err() {
                return;
            }
        }
    });
    let mut reads = BufReader::new(reads);
    let mut request = [0; BYTES];
    while reads.read_exact(&mut request).await.is_ok() {
        writes.write_all(&request).await?;
    }
    echo.await?;
    Ok(())
}

/// Calls over one way, of many tasks.
struct Calls<W> {
    tx: Rc<Mutex<W>>,
    answered: Rc<RefCell<Vec<Rc<Notify>>>>,
}

impl<W: Way + 'static> Calls<W> {
    fn over(tx: W, mut rx: impl Back + 'static) -> Self {
        let answered: Rc<RefCell<Vec<Rc<Notify>>>> = Rc::default();
        let waiting = Rc::clone(&answered);
        tokio::task::spawn_local(async move {
            while let Some(answer) = rx.recv().await {
                let task = usize::from(answer[0]);
                let notify = Rc::clone(&waiting.borrow()[task]);
                notify.notify_one();
            }
        });
        Self { tx: Rc::new(Mutex::new(tx)), answered }
    }

    /// How long so many tasks take for a turn.
    async fn turn(&self, in_flight: usize) -> Duration {
        let began = Instant::now();
        *self.answered.borrow_mut() = (0..in_flight).map(|_| Rc::default()).collect();
        let tasks = (0..in_flight).map(|task| {
            let (tx, answered) = (Rc::clone(&self.tx), Rc::clone(&self.answered.borrow()[task]));
            tokio::task::spawn_local(async move {
                let mut request = [7; BYTES];
                request[0] = task as u8;
                for _ in 0..TURN / in_flight {
                    tx.lock().await.send(&request).await;
                    answered.notified().await;
                }
            })
        });
        let tasks: Vec<_> = tasks.collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        began.elapsed()
    }
}
