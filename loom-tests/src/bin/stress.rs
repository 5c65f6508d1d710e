//! Two processes that sleep whenever they can, and count the wakes that were lost.
//!
//! The models take both fences of the asymmetric pair for full ones. Whether nothing on a publish and a
//! membarrier before a sleep are as good as that, only a machine can show: the parent sends, the child
//! receives, both park, and random pauses of changing length let now the one and now the other wait. Every
//! message is a race between a publish and a sleep.
//!
//! A wake was lost if a wait lasted to its deadline and then found what had been published long before.
//! Without the heavy fence (`ci/stress-soak.sh` builds that mutant) there must be some, or this proves
//! nothing. How soon depends on where the processors sit, so this is a soak and no part of CI.

#[cfg(memring_loom)]
fn main() {
    println!("The stress runs on the machine and not on loom: build it without memring_loom.");
}

#[cfg(not(memring_loom))]
fn main() -> std::process::ExitCode {
    stress::main()
}

#[cfg(not(memring_loom))]
mod stress {
    use std::error::Error;
    use std::io::{BufRead, BufReader, Write};
    use std::os::fd::{AsFd, OwnedFd};
    use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use memring_ring::consumer::RecvError;
    use memring_ring::fence::{self, Fence, Fences};
    use memring_ring::memory::Mapping;
    use memring_ring::segment::{Candidate, Expect, Geometry, SealMask, Segment, Stage};
    use memring_ring::{End, Life, Terms, Wait, channel, fork};

    type Outcome<T> = Result<T, Box<dyn Error>>;

    const HELP: &str = "stress [--seconds N] [--until-lost]
  --seconds N   how long (default 60)
  --until-lost  stop at the first lost wake, and fail if there is none: for the mutant";

    /// The smallest lane there is, so that the producer waits often.
    const CAPACITY: u64 = 4096;
    const LARGEST: usize = 512;
    /// A wait that lasts as long as this, for what was there before half of it, has lost its wake.
    const DEADLINE: Duration = Duration::from_secs(1);
    /// Messages between two changes of pace.
    const SPELL: u64 = 2_000;

    pub fn main() -> ExitCode {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let outcome = match args.first().map(String::as_str) {
            Some("--child") => child(&args[1..]),
            _ => parent(&args),
        };
        match outcome {
            Ok(code) => code,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
        }
    }

    /// What one side saw.
    #[derive(Default)]
    struct Tally {
        messages: u64,
        sleeps: u64,
        lost: u64,
    }

    /// Pauses of random length. Which, is nobody's secret: xorshift.
    struct Pace {
        state: u64,
        longest: u64,
    }

    impl Pace {
        fn new(seed: u64) -> Self {
            Self { state: seed | 1, longest: 0 }
        }

        fn random(&mut self) -> u64 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            self.state
        }

        fn pause(&mut self, message: u64) {
            if message.is_multiple_of(SPELL) {
                // From none to some ten microseconds at most, short ones as often as long ones.
                self.longest = (1 << (self.random() % 12)) - 1;
            }
            for _ in 0..self.random() & self.longest {
                std::hint::black_box(());
            }
        }
    }

    fn parent(args: &[String]) -> Outcome<ExitCode> {
        let mut seconds = 60;
        let mut until_lost = false;
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--seconds" => seconds = args.next().ok_or(HELP)?.parse()?,
                "--until-lost" => until_lost = true,
                _ => return Err(HELP.into()),
            }
        }
        let life = life()?;
        let Started { mine, theirs, mut child, news } = start()?;
        let (mut producer, _consumer) = channel(&mine, &theirs, &life, &terms());

        let began = Instant::now();
        let mut told = began;
        let mut tally = Tally::default();
        let mut pace = Pace::new(0x9e37_79b9_7f4a_7c15);
        let bytes = [7; LARGEST];
        while began.elapsed() < Duration::from_secs(seconds) {
            pace.pause(tally.messages);
            let len = pace.random() as usize % (LARGEST + 1);
            let from = Instant::now();
            match producer.send(&bytes[..len], nanos(), Some(from + DEADLINE)) {
                // Room that came only with the deadline had come before: the consumer rests for microseconds.
                Ok(()) if from.elapsed() >= DEADLINE => tally.lost += 1,
                Ok(()) => {}
                // The child's wake was lost meanwhile; it will tell.
                Err(memring_ring::producer::SendError::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
            tally.messages += 1;
            if told.elapsed() >= Duration::from_secs(10) {
                told = Instant::now();
                eprintln!(
                    "{:>5.0} s: {} messages, {} sleeps for room",
                    began.elapsed().as_secs_f64(),
                    tally.messages,
                    producer.stats().sleeps
                );
            }
            // We have waited for somebody who slept: one of us has something to tell.
            if until_lost && from.elapsed() >= DEADLINE / 2 {
                break;
            }
        }
        tally.sleeps = producer.stats().sleeps;
        drop(producer);

        let theirs = told_by(news)?;
        if !child.wait()?.success() {
            return Err("the child failed".into());
        }
        let lost = tally.lost + theirs.lost;
        println!(
            "{} messages in {:.0} s; {} sleeps for room, {} for messages; {lost} wakes lost",
            tally.messages,
            began.elapsed().as_secs_f64(),
            tally.sleeps,
            theirs.sleeps,
        );
        Ok(if (lost > 0) == until_lost { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn child(args: &[String]) -> Outcome<ExitCode> {
        let life = life()?;
        let mask = args.first().ok_or("which seals?")?.parse()?;
        let mask = SealMask::from_bits(mask).ok_or("such seals do not exist")?;
        let check = |fd: OwnedFd, stage| {
            let expect = Expect { stage, geometry: geometry()?, mask, others: &[] };
            Ok::<_, Box<dyn Error>>(Candidate::new(fd).check(expect).map_err(|no| no.why)?)
        };
        let theirs = std::io::stdin().as_fd().try_clone_to_owned()?;
        let theirs = check(theirs, Stage::Sealed)?.map_reader()?;
        let mine = std::io::stdout().as_fd().try_clone_to_owned()?;
        let mine = check(mine, Stage::Open)?.map_writer_and_seal()?;
        eprintln!("sealed");

        let (_producer, mut consumer) = channel(&mine, &theirs, &life, &terms());
        let mut tally = Tally::default();
        let mut pace = Pace::new(0x2545_f491_4f6c_dd1d);
        let mut idle = 0;
        loop {
            pace.pause(tally.messages);
            let from = Instant::now();
            match consumer.recv(Some(from + DEADLINE)) {
                Ok(item) => {
                    let age = Duration::from_nanos(nanos().saturating_sub(item.tag));
                    if from.elapsed() >= DEADLINE && age >= DEADLINE / 2 {
                        tally.lost += 1;
                    }
                    tally.messages += 1;
                    idle = 0;
                }
                Err(RecvError::Ended(End::Closed)) => break,
                Err(RecvError::TimedOut) if idle < 10 => idle += 1,
                Err(error) => return Err(error.into()),
            }
        }
        tally.sleeps = consumer.stats().sleeps;
        writeln!(std::io::stderr(), "{} {} {}", tally.messages, tally.sleeps, tally.lost)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Two segments, and a child that has both: S on its standard input, C on its standard output. What it
    /// has to say comes on its standard error.
    fn start() -> Outcome<Started> {
        let s = Segment::create(geometry()?)?;
        let mask = s.seal_mask().bits();
        let (mine, send, _) = s.into_writer()?;
        let c = Segment::create(geometry()?)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--child", &mask.to_string()])
            .stdin(Stdio::from(send))
            .stdout(Stdio::from(c.offer_writer()?))
            .stderr(Stdio::piped())
            .spawn()?;
        let mut news = BufReader::new(child.stderr.take().ok_or("no standard error")?);
        let mut line = String::new();
        news.read_line(&mut line)?;
        if line.trim() != "sealed" {
            return Err(format!("the child says: {line}").into());
        }
        let theirs = c.into_reader()?;
        Ok(Started { mine, theirs, child, news })
    }

    /// A channel's memory, and the process at its other end.
    struct Started {
        mine: Arc<Mapping>,
        theirs: Arc<Mapping>,
        child: Child,
        news: BufReader<ChildStderr>,
    }

    fn told_by(news: BufReader<ChildStderr>) -> Outcome<Tally> {
        let said: Vec<String> = news.lines().collect::<Result<_, _>>()?;
        let last = said.last().ok_or("the child says nothing")?;
        let numbers: Vec<u64> = last.split(' ').filter_map(|word| word.parse().ok()).collect();
        match numbers[..] {
            [messages, sleeps, lost] => Ok(Tally { messages, sleeps, lost }),
            _ => Err(format!("the child says: {}", said.join("\n")).into()),
        }
    }

    /// Both use the asymmetric pair, or there is nothing to see.
    fn life() -> Outcome<Arc<Life>> {
        fence::choose(Fence::Asymmetric)?;
        let fences = Fences::negotiate(fence::ours(), fence::ours());
        if fences.chosen() != (false, true) {
            return Err("this kernel or sandbox has no membarrier, so no asymmetric pair".into());
        }
        Ok(Life::new(fences, fork::generation()))
    }

    fn geometry() -> Outcome<Geometry> {
        Ok(Geometry::new(4096, CAPACITY)?)
    }

    fn terms() -> Terms {
        Terms::new(LARGEST as u64).wait(Wait::Park)
    }

    /// A clock that both processes share. It may be set meanwhile: only ages of half a second count.
    fn nanos() -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| now.as_nanos() as u64)
    }
}
