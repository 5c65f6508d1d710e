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
use memring::{Async, Bytes, Connector, Receiver, Sender};
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
    async fn recv(&mut self) -> Request;
}

impl Way for Async<Sender<[u8]>, Tokio> {
    async fn send(&mut self, request: &Request) {
        Async::<Sender<[u8]>, Tokio>::send(self, request).await.expect("the child is there");
    }
}

impl Back for Async<Receiver<[u8]>, Tokio> {
    async fn recv(&mut self) -> Request {
        let answer = Async::<Receiver<[u8]>, Tokio>::recv(self).await.expect("the child is there");
        answer.as_ref().try_into().expect("as long as the request")
    }
}

impl Way for OwnedWriteHalf {
    async fn send(&mut self, request: &Request) {
        self.write_all(request).await.expect("the child is there");
    }
}

impl Back for BufReader<OwnedReadHalf> {
    async fn recv(&mut self) -> Request {
        let mut answer = [0; BYTES];
        self.read_exact(&mut answer).await.expect("the child is there");
        answer
    }
}

fn main() -> Outcome<()> {
    let rounds: usize = std::env::args().nth(1).map_or(Ok(15), |rounds| rounds.parse())?;
    let processors = pin::allowed()?;
    let [ours, childs] = match processors.as_slice() {
        [first, second, ..] => [*first, *second],
        _ => return Err("two processors are needed".into()),
    };
    if std::env::var_os("SEQCST").is_some() {
        memring::choose_fence(memring::Fence::SeqCst)?;
    }
    let child = std::env::var_os(CHILD).is_some();
    if child {
        pin::pin(childs)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    if child {
        return runtime.block_on(local.run_until(serve()));
    }
    let (near, far) = Bare::pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env(CHILD, "1").stdin(Stdio::from(std::os::fd::OwnedFd::from(far)));
    let (mut child, parked) = Connector::new().spawn::<Bytes>(&mut command)?;
    drop(command);
    pin::pin(ours)?;
    runtime.block_on(local.run_until(async {
        near.set_nonblocking(true)?;
        let (reads, writes) = UnixStream::from_std(near)?.into_split();
        let socket = Calls::over(writes, BufReader::new(reads));
        // The child spins if the second session is asked.
        let (tx, rx) = parked.into_tokio()?.split()?;
        let session = Calls::over(tx, rx);
        println!("{:<12}{:>14}{:>14}{:>10}", "in flight", "memring", "Unix stream", "ratio");
        for in_flight in [1, 8, 64] {
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..rounds {
                times[0].push(session.turn(in_flight).await);
                times[1].push(socket.turn(in_flight).await);
            }
            let [ours, bare] = times.map(|mut times| {
                times.sort_unstable();
                times[times.len() / 2].as_nanos() as f64 / TURN as f64
            });
            println!("{in_flight:<12}{ours:>11.0} ns{bare:>11.0} ns{:>10.2}", ours / bare);
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    }))?;
    drop(local);
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Sends back what comes, over both.
async fn serve() -> Outcome<()> {
    use std::os::fd::AsFd;
    let socket = Bare::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    socket.set_nonblocking(true)?;
    let (reads, mut writes) = UnixStream::from_std(socket)?.into_split();
    let mut channel = memring::inherited::<Bytes>()?.into_tokio()?;
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
            loop {
                let answer = rx.recv().await;
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
