//! The worker processes of one contender, as whoever started them sees them.
//!
//! What they are told and what for is for whoever starts them to say: anything that is JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::link::{Failed, Terms};
use crate::worker::{COMMAND, Job, Named, Reply};

/// A worker that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long workers have to end by themselves.
const FAREWELL: Duration = Duration::from_secs(2);

/// One worker, or two: the near end's first. They end with this.
///
/// To be started by a thread that lasts: a worker dies with the thread that started it.
pub struct Workers {
    children: Vec<(Child, ChildStdin)>,
    /// Which of them said what; that one said nothing more is nothing.
    said: Receiver<(usize, Option<String>)>,
}

impl Workers {
    /// Starts one for each job, whose command line is `command` and the job.
    ///
    /// # Errors
    ///
    /// That the program cannot be started.
    pub fn start(program: &Path, command: &str, jobs: &[impl Serialize]) -> Result<Self, Failed> {
        let (say, said) = channel();
        let mut workers = Self { children: Vec::new(), said };
        for (index, job) in jobs.iter().enumerate() {
            workers.children.push(start(program, command, job, index, say.clone())?);
        }
        Ok(workers)
    }

    /// Gives all the same order.
    ///
    /// # Errors
    ///
    /// That one of them has ended.
    pub fn tell(&mut self, order: &impl Serialize) -> Result<(), Failed> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        for (_, orders) in &mut self.children {
            orders.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// Waits for a reply of each, the near end's first; or for the first that failed.
    ///
    /// # Errors
    ///
    /// What a worker says went wrong; that one has ended, or says nothing.
    pub fn replies(&mut self) -> Result<Vec<Reply>, Failed> {
        let mut replies: Vec<Option<Reply>> = self.children.iter().map(|_| None).collect();
        while replies.iter().any(Option::is_none) {
            let (index, line) = self.said.recv_timeout(PATIENCE).map_err(|error| match error {
                RecvTimeoutError::Timeout => "no answer from a worker",
                RecvTimeoutError::Disconnected => "the workers have gone",
            })?;
            let line = line.ok_or("a worker died")?;
            match serde_json::from_str(&line)? {
                Reply::Failed(why) => return Err(why.into()),
                reply => replies[index] = Some(reply),
            }
        }
        Ok(replies.into_iter().flatten().collect())
    }

    /// Waits until each has said that it is done.
    ///
    /// # Errors
    ///
    /// As [`replies`](Self::replies).
    pub fn done(&mut self) -> Result<(), Failed> {
        match self.replies()?.iter().all(|reply| matches!(reply, Reply::Done)) {
            true => Ok(()),
            false => Err(unexpected()),
        }
    }
}

/// A worker said what it was not asked.
pub(crate) fn unexpected() -> Failed {
    "a worker answered what nobody asked".into()
}

impl Drop for Workers {
    /// Who has no more orders to expect ends by itself, and takes away what it has made; who does not is killed.
    fn drop(&mut self) {
        let children = self.children.drain(..).map(|(child, _orders)| child);
        let mut children: Vec<Child> = children.collect();
        let until = Instant::now() + FAREWELL;
        let running = |child: &mut Child| matches!(child.try_wait(), Ok(None));
        while children.iter_mut().any(running) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        for child in &mut children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(
    program: &Path,
    command: &str,
    job: &impl Serialize,
    index: usize,
    say: Sender<(usize, Option<String>)>,
) -> Result<(Child, ChildStdin), Failed> {
    let mut child = command_line(program, command, job)?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (Some(orders), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        unreachable!("both were asked for");
    };
    thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok).map(Some);
        for line in lines.chain([None]) {
            // It fails when nobody is interested any more.
            let _ = say.send((index, line));
        }
    });
    Ok((child, orders))
}

fn command_line(program: &Path, command: &str, job: &impl Serialize) -> Result<Command, Failed> {
    let mut line = Command::new(program);
    line.args([command, &serde_json::to_string(job)?]);
    Ok(line)
}

/// Who of a program can be measured on these terms.
///
/// # Errors
///
/// That it cannot be run, or answers something else.
pub fn list(program: &Path, terms: &Terms) -> Result<Vec<Named>, Failed> {
    let output = command_line(program, COMMAND, &Job::List(terms.clone()))?.output()?;
    let named = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success());
    named.ok_or_else(|| format!("no program of contenders: it does not answer `{COMMAND}`").into())
}
