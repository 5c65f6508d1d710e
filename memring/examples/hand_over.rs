//! A front accepts TCP connections and hands each to a worker process, which answers on it. The front keeps no copy,
//! so a connection belongs to one process at any time and closes when that one closes it, or dies.
//!
//! One of the workers dies of a question. The connections that it had close with it, and whoever asked there asks
//! again; those that the front could not hand to it any more come back to the front, which hands them to another.
//!
//! `cargo run --example hand_over [VISITORS]` starts the workers, and the visitors in a process of their own.

use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memring::{Fd, Protocol, ServerEnd};

/// A connection, from the front to a worker.
#[memring::message(attachments)]
struct Visitor {
    number: u64,
    socket: Fd,
}

/// What a worker says when the front has no more for it.
#[memring::message]
struct Done {
    answered: u64,
}

struct Work;

impl Protocol for Work {
    const NAME: &'static str = "work";
    type ToClient = Visitor;
    type ToServer = Done;
}

/// How many workers there are.
const WORKERS: usize = 3;

/// What nobody survives who is asked it.
const DEADLY: &str = "what is 1 / 0?";

/// How long a visitor may keep a worker, and a worker a visitor.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker"] => worker(),
        ["visitors", address, count] => visitors(address.parse()?, count.parse()?),
        [count] => front(count),
        _ => front("30"),
    }
}

fn front(count: &str) -> Result<(), Box<dyn Error>> {
    let mut workers = Vec::new();
    for number in 1..=WORKERS {
        let mut command = Command::new(std::env::current_exe()?);
        // The worker connects, so it takes descriptors without being told to: its messages have some.
        let (child, channel) = memring::spawn::<Work>(command.arg("worker"))?;
        workers.push(Worker { number, child, channel });
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let before = open_descriptors()?;
    let mut visitors = Command::new(std::env::current_exe()?)
        .args(["visitors", &address.to_string(), count])
        .spawn()?;
    let closing = AtomicBool::new(false);
    let came = std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let status = visitors.wait();
            closing.store(true, Ordering::Relaxed);
            let _wakes_the_front = TcpStream::connect(address);
            status
        });
        let mut came = 0;
        for socket in listener.incoming() {
            if closing.load(Ordering::Relaxed) {
                break;
            }
            came += 1;
            hand_over(&mut workers, Visitor { number: came, socket: socket?.into() })?;
        }
        match watching.join() {
            Ok(status) if status.as_ref().is_ok_and(|status| status.success()) => Ok(came),
            Ok(status) => Err(Box::<dyn Error>::from(format!("the visitors: {status:?}"))),
            Err(_) => Err("a thread panicked".into()),
        }
    })?;
    // What a dead worker had of the session goes too; what was handed over went at once.
    let after = open_descriptors()?;
    if after > before {
        return Err(format!("{before} descriptors became {after}").into());
    }
    println!("the front handed over {came} connections and has none of them");
    workers.into_iter().try_for_each(Worker::finish)
}

/// A worker, as the front has it.
struct Worker {
    number: usize,
    child: Child,
    channel: ServerEnd<Work>,
}

/// Hands the visitor to the worker whose turn it is. One that has died is taken off the list, and its visitor goes to
/// the next. Without a worker there is none, and the connection is closed.
fn hand_over(workers: &mut Vec<Worker>, mut visitor: Visitor) -> Result<(), Box<dyn Error>> {
    while !workers.is_empty() {
        let turn = visitor.number as usize % workers.len();
        // Closes the front's copy once the worker's is on its way. If it cannot be sent, it comes back.
        match workers[turn].channel.send_owned(visitor) {
            Ok(()) => return Ok(()),
            Err((error, back)) => {
                let mut gone = workers.remove(turn);
                println!("worker {} is out: {error}; {}", gone.number, gone.child.wait()?);
                visitor = back;
            }
        }
    }
    println!("visitor {} finds nobody", visitor.number);
    Ok(())
}

impl Worker {
    /// Lets it end, and says how it did.
    fn finish(self) -> Result<(), Box<dyn Error>> {
        let Self { number, mut child, channel } = self;
        let (visitors, mut done) = channel.split();
        drop(visitors); // no more of them
        match done.recv() {
            Ok(done) => println!("worker {number} answered {}", done.answered),
            Err(error) => println!("worker {number} is out: {error}"),
        }
        child.wait()?;
        Ok(())
    }
}

fn worker() -> Result<(), Box<dyn Error>> {
    let (mut done, visitors) = memring::inherited::<Work>()?.split();
    let mut answered = 0;
    for visitor in visitors {
        let visitor = visitor?;
        // It can be taken once. Not taken, it is closed with the message.
        let socket = visitor.take_fd(&visitor.socket).ok_or("taken before")?;
        match answer(TcpStream::from(socket), visitor.number.to_native()) {
            Ok(()) => answered += 1,
            Err(error) => eprintln!("visitor {}: {error}", visitor.number),
        }
    }
    done.send(&Done { answered })?;
    Ok(())
}

/// Answers one question.
fn answer(socket: TcpStream, number: u64) -> std::io::Result<()> {
    // Whoever is at the other end may say nothing for ever.
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut question = String::new();
    BufReader::new(&socket).read_line(&mut question)?;
    if question.trim_end() == DEADLY {
        std::process::exit(1); // as a crash would, without a word and in the midst of it
    }
    let process = std::process::id();
    writeln!(&socket, "{} {number} {process}", question.trim_end())
}

/// The visitors: each asks its question until it is answered. One question is never asked again.
fn visitors(address: SocketAddr, count: u64) -> Result<(), Box<dyn Error>> {
    let mut again = 0;
    let mut unanswered = 0;
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..count)
            .map(|visitor| {
                scope.spawn(move || {
                    let deadly = visitor == count / 2;
                    let question = if deadly { DEADLY.to_owned() } else { visitor.to_string() };
                    for attempt in 0..100 {
                        match ask(address, &question) {
                            Ok(()) => return Ok(attempt),
                            // Kept waiting is something else than turned away.
                            Err(error) if deadly || error.kind() == ErrorKind::WouldBlock => {
                                return Err(error);
                            }
                            Err(_) => std::thread::sleep(Duration::from_millis(1)),
                        }
                    }
                    Err(ErrorKind::TimedOut.into())
                })
            })
            .collect();
        for visitor in asking {
            match visitor.join() {
                Ok(Ok(0)) => {}
                Ok(Ok(_)) => again += 1,
                Ok(Err(_)) | Err(_) => unanswered += 1,
            }
        }
    });
    println!("{} visitors were answered, {again} of them not at once", count - unanswered);
    if unanswered == 1 { Ok(()) } else { Err(format!("{unanswered} were not").into()) }
}

/// Asks on a connection of its own. One that ends without an answer is an error.
fn ask(address: SocketAddr, question: &str) -> std::io::Result<()> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    writeln!(&socket, "{question}")?;
    let mut answer = String::new();
    BufReader::new(&socket).read_line(&mut answer)?;
    match answer.split_whitespace().next() {
        Some(first) if first == question => Ok(()),
        Some(_) => Err(ErrorKind::InvalidData.into()),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn open_descriptors() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}
