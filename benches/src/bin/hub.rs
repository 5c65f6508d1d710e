//! What a hub costs a server of thousands: connecting them, their memory, a busy client among them, and a thousand busy ones.
//!
//! Two servers, each one hub in one thread that sends back what comes: one that many sit idle at, in clients of several processes,
//! and one that nobody else is at. One busy client takes turns at both, a round trip of 64 bytes at a time.
//!
//! `cargo run --release -p memring-benches --bin hub [SESSIONS [BUSY]]`

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memring::hub::{Event, Hub, Member};
use memring::{Bytes, ClientEnd, Connector, Lanes, Limits, Listener};
use memring_benches::pin;
use memring_benches::scratch::Scratch;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROLE: &str = "HUB_ROLE";
const BYTES: usize = 64;
/// Client processes.
const PROCESSES: usize = 6;
/// Round trips of a turn, and turns at each server.
const TURN: usize = 50_000;
const TURNS: usize = 5;
/// How long the busy ones are watched.
const WATCHED: Duration = Duration::from_secs(3);

fn main() -> Outcome<()> {
    allow_descriptors()?;
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: usize| arguments.next().map_or(Ok(usual), |number| number.parse());
    match std::env::var(ROLE).as_deref() {
        Ok("server") => {
            let (path, cpu) = (arguments.next().ok_or("a path")?, arguments.next());
            if let Some(cpu) = cpu {
                pin::pin(cpu.parse()?)?;
            }
            serve(Path::new(&path))
        }
        Ok(role) => {
            let count = number(1)?;
            let path = std::env::var("HUB_PATH")?;
            let busy = role == "busy";
            clients(Path::new(&path), count, busy)
        }
        Err(_) => {
            let (sessions, busy) = (number(9000)?, number(1000)?);
            measure(sessions, busy)
        }
    }
}

/// As many as the hard limit allows.
fn allow_descriptors() -> Outcome<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    Ok(())
}

/// A process that says lines, and is told some.
struct Helper {
    child: Child,
    input: ChildStdin,
    says: mpsc::Receiver<String>,
}

impl Helper {
    fn start(role: &str, arguments: &[String], path: &Path) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).env(ROLE, role).env("HUB_PATH", path);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("a pipe")?;
        let lines = BufReader::new(child.stdout.take().ok_or("a pipe")?).lines();
        let (say, says) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| say.send(line)));
        Ok(Self { child, input, says })
    }

    fn tell(&mut self, line: &str) -> Outcome<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    fn hear(&self) -> Outcome<String> {
        Ok(self.says.recv_timeout(Duration::from_secs(120))?)
    }

    fn ask(&mut self, line: &str) -> Outcome<String> {
        self.tell(line)?;
        self.hear()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// The server.

struct Client {
    channel: Member<memring::ServerEnd<Bytes>>,
    answered: u64,
}

/// Sends back what comes, and says how it is when it is told a line.
fn serve(path: &Path) -> Outcome<()> {
    let limits = {
        let mut limits = Limits::default();
        (limits.sessions, limits.sessions_per_uid) = (100_000, 100_000);
        (limits.descriptors, limits.descriptors_per_uid) = (100_000, 100_000);
        (limits.bytes, limits.bytes_per_uid) = (8 << 30, 8 << 30);
        limits
    };
    let listener = Listener::builder().limits(limits).bind(path)?;
    let mut hub = Hub::new()?;
    hub.listen(&listener)?;
    let (remote, (say, said)) = (hub.remote(), mpsc::channel());
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = say.send(line);
            remote.wake();
        }
    });
    println!("ready");
    let mut clients: HashMap<_, Client> = HashMap::new();
    while let Some(event) = hub.wait(None)? {
        match event {
            Event::Connected(_, incoming) => {
                let Ok(channel) = incoming.open::<Bytes>() else { continue };
                let channel = hub.add(channel)?;
                clients.insert(channel.key(), Client { channel, answered: 0 });
            }
            Event::Readable(key) => {
                let Some(client) = clients.get_mut(&key) else { continue };
                let (answers, questions) = client.channel.halves();
                let Ok(question) = questions.try_recv() else { continue };
                client.answered += u64::from(answers.try_send(&question).is_ok());
            }
            Event::Closed(key, _) => drop(clients.remove(&key)),
            Event::Paused(_, why) => eprintln!("server: {why}"),
            Event::Woken => {
                for line in said.try_iter() {
                    match line.as_str() {
                        "forget" => clients.values_mut().for_each(|client| client.answered = 0),
                        _ => println!("{}", state(&clients)?),
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sessions, kilobytes of memory of its own and shared, how often its threads slept, the fewest answers and the most.
fn state<K>(clients: &HashMap<K, Client>) -> Outcome<String> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut switches = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        switches += field(&status, "voluntary_ctxt_switches:");
    }
    let answers = clients.values().map(|client| client.answered).filter(|count| *count > 0);
    let (least, most) =
        answers.fold((u64::MAX, 0), |(least, most), count| (least.min(count), most.max(count)));
    let descriptors = std::fs::read_dir("/proc/self/fd")?.count() - 1;
    Ok(format!(
        "{} {} {} {switches} {least} {most} {descriptors}",
        clients.len(),
        field(&rollup, "Pss:"),
        field(&rollup, "Pss_Shmem:"),
    ))
}

/// What a server says of itself.
#[derive(Debug)]
struct State {
    sessions: u64,
    memory: u64,
    shared: u64,
    switches: u64,
    least: u64,
    most: u64,
    descriptors: u64,
}

fn state_of(server: &mut Helper) -> Outcome<State> {
    let line = server.ask("state")?;
    let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [sessions, memory, shared, switches, least, most, descriptors] = numbers[..] else {
        return Err(line.into());
    };
    Ok(State { sessions, memory, shared, switches, least, most, descriptors })
}

// Clients.

fn connect(path: &Path) -> Outcome<ClientEnd<Bytes>> {
    let connector = Connector::new().lanes(Lanes::Small, Lanes::Small);
    Ok(connector.timeout(Duration::from_secs(60)).connect::<Bytes>(path)?)
}

/// So many sessions that sit there; or are each sent a message as soon as one has come back, from the time that it is told.
fn clients(path: &Path, count: usize, busy: bool) -> Outcome<()> {
    let mut hub = Hub::new()?;
    let mut members = HashMap::new();
    let mut failed = None;
    for _ in 0..count {
        match connect(path) {
            Ok(channel) => {
                let member = hub.add(channel)?;
                members.insert(member.key(), member);
            }
            Err(error) => failed = Some(error),
        }
    }
    println!("{}", members.len());
    if let Some(error) = failed {
        println!("{}", shown(&*error));
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if busy {
        for member in members.values_mut() {
            member.try_send(&[1; BYTES])?;
        }
    }
    while let Some(event) = hub.wait(None)? {
        match event {
            Event::Readable(key) => {
                let (questions, answers) = members.get_mut(&key).ok_or("a member")?.halves();
                if answers.try_recv().is_ok() {
                    questions.try_send(&[1; BYTES])?;
                }
            }
            Event::Closed(..) => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

fn shown(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

// What is measured.

/// A server of this name on this processor.
fn server(scratch: &Scratch, name: &str, cpu: usize) -> Outcome<(Helper, PathBuf)> {
    let path = scratch.path().join(name);
    let helper = Helper::start("server", &[path.display().to_string(), cpu.to_string()], &path)?;
    helper.hear()?;
    Ok((helper, path))
}

/// Microseconds of round trips: p50 and p99.
fn turn(client: &mut ClientEnd<Bytes>) -> Outcome<[f64; 2]> {
    let mut times = Histogram::<u64>::new(3)?;
    for _ in 0..TURN {
        let begun = Instant::now();
        client.send(&[7; BYTES])?;
        client.recv()?;
        times.record(begun.elapsed().as_nanos() as u64)?;
    }
    Ok([50.0, 99.0].map(|at| times.value_at_percentile(at) as f64 / 1e3))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(sessions: usize, busy: usize) -> Outcome<()> {
    let processors = pin::allowed()?;
    let [ours, servers] = match processors.as_slice() {
        [first, second, ..] => [*first, *second],
        _ => return Err("two processors are needed".into()),
    };
    let scratch = Scratch::new()?;
    let (_alone, alone_at) = server(&scratch, "alone", servers)?;
    let (mut crowded, crowded_at) = server(&scratch, "crowded", servers)?;
    let before = state_of(&mut crowded)?;

    let began = Instant::now();
    let count = |of: usize| (0..PROCESSES).map(move |at| (of + at) / PROCESSES);
    let start = |role: &str, count: usize| Helper::start(role, &[count.to_string()], &crowded_at);
    let mut idle: Vec<_> =
        count(sessions).map(|count| start("idle", count)).collect::<Result<_, _>>()?;
    for helper in &idle {
        helper.hear()?;
    }
    let took = began.elapsed();
    let after = state_of(&mut crowded)?;
    println!(
        "{} sessions of {PROCESSES} processes connected in {:.1} s: {:.0} a second",
        after.sessions,
        took.as_secs_f64(),
        after.sessions as f64 / took.as_secs_f64(),
    );
    let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / after.sessions.max(1) as f64;
    println!(
        "the server has {:.1} KiB of memory a session ({:.1} of it shared), and {:.2} descriptors",
        each(after.memory, before.memory),
        each(after.shared, before.shared),
        each(after.descriptors, before.descriptors),
    );

    std::thread::sleep(Duration::from_secs(1));
    let before = state_of(&mut crowded)?;
    let cpu = cpu_of(crowded.child.id())?;
    std::thread::sleep(Duration::from_secs(5));
    let used = cpu_of(crowded.child.id())? - cpu;
    let after = state_of(&mut crowded)?;
    println!(
        "in 5 s of nothing it used {used} ticks of a processor, and its threads woke {} times, two of them to be asked",
        after.switches.saturating_sub(before.switches),
    );

    pin::pin(ours)?;
    let (mut one, mut other) = (connect(&alone_at)?, connect(&crowded_at)?);
    turn(&mut one)?;
    turn(&mut other)?;
    println!(
        "{:<12}{:>12}{:>12}{:>14}{:>14}",
        "round trip", "alone p50", "p99", "crowded p50", "p99"
    );
    let mut all = vec![Vec::new(); 4];
    for at in 1..=TURNS {
        let [alone, crowded] = [turn(&mut one)?, turn(&mut other)?];
        println!(
            "{:<12}{:>9.2} us{:>9.2} us{:>11.2} us{:>11.2} us",
            format!("run {at}"),
            alone[0],
            alone[1],
            crowded[0],
            crowded[1]
        );
        for (list, value) in all.iter_mut().zip(alone.into_iter().chain(crowded)) {
            list.push(value);
        }
    }
    let [p50, p99, crowded_p50, crowded_p99] = all.into_iter().map(median).collect::<Vec<_>>()[..]
    else {
        return Err("four medians".into());
    };
    println!(
        "medians, crowded by alone: p50 {:.2}, p99 {:.2} (at most 1.5)",
        crowded_p50 / p50,
        crowded_p99 / p99
    );
    drop((one, other));

    // Both together would be more than the descriptors allow.
    drop(idle.pop());
    let mut busy: Vec<_> =
        count(busy).map(|count| start("busy", count)).collect::<Result<_, _>>()?;
    let mut connected = 0;
    for helper in &busy {
        connected += helper.hear()?.parse::<u64>()?;
    }
    for helper in &mut busy {
        helper.tell("go")?;
    }
    std::thread::sleep(Duration::from_millis(500));
    crowded.tell("forget")?;
    std::thread::sleep(WATCHED);
    let state = state_of(&mut crowded)?;
    println!(
        "{connected} busy ones beside idle ones had {} to {} answers each in {} s: {:.2} times as many (at most 2)",
        state.least,
        state.most,
        WATCHED.as_secs(),
        state.most as f64 / state.least as f64,
    );
    drop(busy);

    println!("as many again as the descriptors allow:");
    let most = getrlimit(Resource::Nofile).current.unwrap_or(20_000);
    std::thread::sleep(Duration::from_secs(1)); // the others are closing
    let free = most.saturating_sub(state_of(&mut crowded)?.descriptors) / 2;
    let more = start("idle", free as usize + 3)?;
    let connected: u64 = more.hear()?.parse()?;
    let state = state_of(&mut crowded)?;
    println!(
        "{connected} more connected, then no more: {}; the server holds {} descriptors",
        more.says
            .recv_timeout(Duration::from_millis(100))
            .unwrap_or_else(|_| "and yet all did".into()),
        state.descriptors,
    );
    drop(idle);
    Ok(())
}

/// Ticks of a processor that the process has used.
fn cpu_of(pid: u32) -> Outcome<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit(") ").next().ok_or("a stat line")?;
    let fields: Vec<_> = rest.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}
