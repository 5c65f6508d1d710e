//! A parent gives a child it started some work to do. No path, no listener: the child is connected from its first
//! instruction, and the parent knows it by the pidfd it started it with.
//!
//! `cargo run --example spawned_child`

use std::error::Error;
use std::process::Command;

use memring::Protocol;

/// Numbers to be summed up.
#[memring::message]
struct Job {
    numbers: Vec<u32>,
}

/// What came of it. The child may well fail; that is no reason to end the session.
#[memring::message]
enum Answer {
    Sum(u32),
    TooLarge { at: u32 },
}

struct Work;

impl Protocol for Work {
    const NAME: &'static str = "work";
    // The parent is the server, so jobs go to the client.
    type ToClient = Job;
    type ToServer = Answer;
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("child") => child(),
        _ => parent(),
    }
}

fn parent() -> Result<(), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let (mut child, channel) = memring::spawn::<Work>(command.arg("child"))?;
    println!("the child is {}", channel.peer());
    let (mut jobs, mut answers) = channel.split();
    for numbers in [vec![], vec![1, 2, 3], vec![1, u32::MAX]] {
        let shown = format!("{numbers:?}");
        jobs.send(&Job { numbers })?;
        // If the child dies instead, this is an error that says so.
        match &*answers.recv()? {
            ArchivedAnswer::Sum(sum) => println!("{shown} make {sum}"),
            ArchivedAnswer::TooLarge { at } => println!("{shown}: too much at number {at}"),
        }
    }
    // Nothing more to do: the child finds the channel closed, and ends.
    drop(jobs);
    println!("the child ended: {}", child.wait()?);
    Ok(())
}

fn child() -> Result<(), Box<dyn Error>> {
    let (mut answers, jobs) = memring::inherited::<Work>()?.split();
    // The iterator ends when the parent closes. Any other end is its last item, an error.
    for job in jobs {
        let job = job?;
        let mut sum = 0_u32;
        let mut answer = None;
        for (at, number) in (0..).zip(job.numbers.iter()) {
            match sum.checked_add(number.to_native()) {
                Some(more) => sum = more,
                None => answer = Some(Answer::TooLarge { at }),
            }
        }
        answers.send(&answer.unwrap_or(Answer::Sum(sum)))?;
    }
    Ok(())
}
