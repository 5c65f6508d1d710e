//! An engine that must not wait for anybody, and before it a front of tasks that wait for everybody.
//!
//! The engine is one thread with blocking calls and all accounts in plain memory. The front accepts TCP connections, a task
//! each, and has one session with the engine: each question goes with a number, and the answer comes back under it. So slow
//! customers cost a task, and the engine sees nothing but work.
//!
//! `cargo run --example async_front [CUSTOMERS]` runs both, and so many customers who pay each other in a circle.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use memring::task::Tokio;
use memring::{Async, Connector, End, Protocol, Receiver, RecvError, Sender, ServerEnd, Wait};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What the engine is asked.
#[memring::message]
struct Pay {
    number: u64,
    from: u64,
    to: u64,
    amount: u64,
}

/// What it answers.
#[memring::message]
struct Paid {
    number: u64,
    /// What is left, or nothing if that was not enough.
    left: Option<u64>,
}

struct Payments;

impl Protocol for Payments {
    const NAME: &'static str = "payments";
    type ToClient = Paid;
    type ToServer = Pay;
}

/// What everybody begins with.
const START: u64 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let customers: u64 = std::env::args().nth(1).map_or(Ok(50), |count| count.parse())?;
    // The engine may spin: it has a thread for itself, and a processor if there is one to spare.
    let (server, client) = Connector::new().wait(Wait::Adaptive).pair::<Payments>()?;
    let engine = thread::Builder::new().name("engine".into()).spawn(move || engine(server))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (tx, rx) = client.into_tokio()?.split()?;
        let front = Arc::new(Front { tx: tx.into(), asked: Mutex::default() });
        tokio::spawn(hear(Arc::clone(&front), rx));
        tokio::spawn(accept(listener, front));
        let mut paying = Vec::new();
        for customer in 0..customers {
            paying.push(tokio::spawn(pay(address, customer, (customer + 1) % customers)));
        }
        for customer in paying {
            customer.await?.map_err(|error| format!("a customer: {error}"))?;
        }
        Ok::<(), Box<dyn Error>>(())
    })?;
    drop(runtime); // and with it the front's end of the session
    let accounts = engine.join().map_err(|_| "the engine has failed")?;
    let total: u64 = accounts.values().sum();
    println!("{customers} customers, {total} in all: {}", total == START * customers);
    Ok(())
}

/// Answers until the front has gone; the accounts.
fn engine(mut channel: ServerEnd<Payments>) -> HashMap<u64, u64> {
    let mut accounts = HashMap::new();
    loop {
        let (number, from, to, amount) = match channel.recv() {
            Ok(pay) => (pay.number.into(), pay.from.into(), pay.to.into(), pay.amount.to_native()),
            Err(RecvError::Ended(End::Closed)) => return accounts,
            Err(error) => {
                eprintln!("the front: {error}");
                return accounts;
            }
        };
        accounts.entry(to).or_insert(START);
        let has = accounts.entry(from).or_insert(START);
        let left = has.checked_sub(amount);
        if let Some(left) = left {
            *has = left;
            *accounts.entry(to).or_insert(START) += amount;
        }
        if let Err(error) = channel.send(&Paid { number, left }) {
            eprintln!("the front: {error}");
            return accounts;
        }
    }
}

/// The front's end of the session.
struct Front {
    tx: tokio::sync::Mutex<Async<Sender<Pay>, Tokio>>,
    /// Who waits for the answer of which number.
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Option<u64>>>,
}

impl Front {
    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is left after the payment.
    async fn pay(
        &self,
        from: u64,
        to: u64,
        amount: u64,
    ) -> Result<Option<u64>, Box<dyn Error + Send + Sync>> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut asked = self.asked();
            asked.next += 1;
            let number = asked.next;
            asked.waiting.insert(number, answer);
            number
        };
        self.tx.lock().await.send(&Pay { number, from, to, amount }).await?;
        Ok(answered.await?)
    }
}

/// Hands out the engine's answers.
async fn hear(front: Arc<Front>, mut rx: Async<Receiver<Paid>, Tokio>) {
    while let Ok(paid) = rx.recv().await {
        let left = paid.left.as_ref().map(|left| left.to_native());
        let waiting = front.asked().waiting.remove(&paid.number.to_native());
        if let Some(waiting) = waiting {
            waiting.send(left).ok(); // who asked may have gone
        }
    }
}

/// Gives each customer a task.
async fn accept(listener: TcpListener, front: Arc<Front>) {
    while let Ok((socket, _)) = listener.accept().await {
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            if let Err(error) = serve(socket, &front).await {
                eprintln!("a customer: {error}");
            }
        });
    }
}

/// One customer: a payment a line, `FROM TO AMOUNT`.
async fn serve(mut socket: TcpStream, front: &Front) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (reads, mut writes) = socket.split();
    let mut lines = BufReader::new(reads).lines();
    while let Some(line) = lines.next_line().await? {
        let numbers: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        let answer = match numbers.as_deref() {
            Ok(&[from, to, amount]) => match front.pay(from, to, amount).await? {
                Some(left) => format!("{left} left\n"),
                None => "not enough\n".to_owned(),
            },
            _ => "FROM TO AMOUNT, please\n".to_owned(),
        };
        writes.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// A customer who pays another in small amounts, and once too much.
async fn pay(front: SocketAddr, from: u64, to: u64) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut socket = TcpStream::connect(front).await?;
    let (reads, mut writes) = socket.split();
    let mut lines = BufReader::new(reads).lines();
    for amount in [1, 2, 3, 1_000_000, 4] {
        writes.write_all(format!("{from} {to} {amount}\n").as_bytes()).await?;
        let answer = lines.next_line().await?.ok_or("the front has gone")?;
        let due = if amount < START { "left" } else { "not enough" };
        if !answer.ends_with(due) {
            return Err(format!("{amount} of {from}: {answer}").into());
        }
    }
    Ok(())
}
