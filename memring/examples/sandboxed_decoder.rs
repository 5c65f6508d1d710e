//! A host has untrusted files decoded by a child that has locked itself in. A file that makes the child crash,
//! hang, lie or reach for what it may not costs the host that child and that file.
//!
//! The decoder reads PPM pictures, and has bugs planted: a comment in a file makes it do what a crafted file
//! would make a real one do. Without arguments the host tries them all.
//!
//! `cargo run --example sandboxed_decoder [FILE]...`

#![allow(unsafe_code)] // The sandbox is three system calls that no crate here wraps.

use std::error::Error;
use std::io;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use memring::{Protocol, ServerEnd};

#[memring::message]
struct File {
    number: u32,
    bytes: Vec<u8>,
}

#[memring::message]
enum Answer {
    /// Three bytes a pixel.
    Picture {
        number: u32,
        width: u32,
        height: u32,
        pixels: Vec<u8>,
    },
    NoPicture {
        number: u32,
        why: String,
    },
}

struct Decode;

impl Protocol for Decode {
    const NAME: &'static str = "decode";
    type ToClient = File;
    type ToServer = Answer;
}

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    match files.first().map(String::as_str) {
        Some("child") => child(),
        Some(_) => host(files.into_iter().map(|name| Ok((name.clone(), std::fs::read(name)?)))),
        None => host(samples().into_iter().map(Ok)),
    }
}

/// What a host waits for one picture.
const PATIENCE: Duration = Duration::from_millis(500);

type Named = io::Result<(String, Vec<u8>)>;

fn host(files: impl Iterator<Item = Named>) -> Result<(), Box<dyn Error>> {
    let mut decoder = Decoder::start()?;
    for (number, file) in (0..).zip(files) {
        let (name, bytes) = file?;
        match decoder.decode(number, bytes) {
            Ok(said) => println!("{name}: {said}"),
            Err(why) => {
                println!("{name}: bad file: {why}; {}", decoder.end()?);
                decoder = Decoder::start()?;
            }
        }
    }
    println!("the host is well");
    decoder.end()?;
    Ok(())
}

/// A child that decodes, until it cannot be trusted any more.
struct Decoder {
    child: Child,
    channel: ServerEnd<Decode>,
}

impl Decoder {
    fn start() -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        let (child, channel) = memring::spawn::<Decode>(command.arg("child").env_clear())?;
        Ok(Self { child, channel })
    }

    /// What became of a file. After an error this decoder is of no more use.
    fn decode(&mut self, number: u32, bytes: Vec<u8>) -> Result<String, Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        self.channel.send_deadline(&File { number, bytes }, deadline)?;
        // The message is a copy of our own, and well-formed. Whether it is true is for us to check.
        match &*self.channel.recv_deadline(deadline)? {
            ArchivedAnswer::Picture { number: of, width, height, pixels } => {
                // In numbers that no width and height overflow.
                let due = u128::from(width.to_native()) * u128::from(height.to_native()) * 3;
                if *of != number || due != pixels.len() as u128 {
                    return Err("its answer does not fit".into());
                }
                Ok(format!("{width} x {height}"))
            }
            ArchivedAnswer::NoPicture { number: of, why } if *of == number => {
                Ok(format!("no picture: {why}"))
            }
            ArchivedAnswer::NoPicture { .. } => Err("its answer is for another file".into()),
        }
    }

    /// Kills the child; how it ended.
    fn end(mut self) -> io::Result<String> {
        self.child.kill()?;
        Ok(format!("its decoder ended by {}", self.child.wait()?))
    }
}

fn child() -> Result<(), Box<dyn Error>> {
    let channel = memring::inherited::<Decode>()?;
    channel.session().before_sandbox();
    lock_in()?;
    let (mut answers, files) = channel.split();
    for file in files {
        let file = file?;
        let number = file.number.to_native();
        let answer = match decode(&file.bytes) {
            Ok((width, height, pixels)) => Answer::Picture { number, width, height, pixels },
            Err(why) => Answer::NoPicture { number, why: why.to_owned() },
        };
        answers.send(&answer)?;
    }
    Ok(())
}

/// Reads a binary PPM: `P6`, width, height, 255, and three bytes a pixel.
fn decode(bytes: &[u8]) -> Result<(u32, u32, Vec<u8>), &'static str> {
    let mut rest = bytes.strip_prefix(b"P6").ok_or("it does not begin with P6")?;
    let [width, height, most] = [number(&mut rest)?, number(&mut rest)?, number(&mut rest)?];
    if most == 254 {
        return Ok((u32::MAX, u32::MAX, Vec::new())); // planted: a lie
    }
    if most != 255 {
        return Err("it has other than 8 bits a channel");
    }
    let (_, pixels) = rest.split_first().ok_or("it ends after its header")?;
    if pixels.len() as u128 != u128::from(width) * u128::from(height) * 3 {
        return Err("it has more or fewer pixels than it says");
    }
    Ok((width, height, pixels.to_vec()))
}

/// The next number of the header, after white space and comments.
fn number(rest: &mut &[u8]) -> Result<u32, &'static str> {
    loop {
        *rest = rest.trim_ascii_start();
        let Some(comment) = rest.strip_prefix(b"#") else { break };
        let end = comment.iter().position(|byte| *byte == b'\n').ok_or("a comment has no end")?;
        planted_bug(&comment[..end]);
        *rest = &comment[end..];
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, after) = rest.split_at(digits);
    *rest = after;
    std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()).ok_or("a number is missing")
}

/// What a crafted file would have a real decoder do.
fn planted_bug(comment: &[u8]) {
    match comment {
        b"crash" => std::process::abort(),
        b"hang" => loop {
            std::hint::spin_loop();
        },
        b"open" => drop(std::fs::File::open("/etc/passwd")),
        b"eat" => drop(std::hint::black_box(vec![1_u8; 4 << 30])),
        b"leave" => std::process::exit(0),
        _ => {}
    }
}

/// The system calls that are left: what memring makes once a session stands, and memory, and the end.
const ALLOWED: &[libc::c_long] = &[
    // Sleeping, and waking the peer.
    libc::SYS_futex,
    libc::SYS_futex_waitv,
    libc::SYS_clock_gettime, // where the vDSO has no clock
    // The control socket: the watcher's wait, the drainer's read, the end.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_getpid, // where the kernel wipes no page in a forked child
    // Memory, for large messages too.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // What a program of Rust does on its way out. (`abort` wants to signal, and ends by SIGSYS instead.)
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// From here on this process computes, and talks on the sockets it has; whatever else it tries kills it.
fn lock_in() -> io::Result<()> {
    for (resource, most) in [
        (libc::RLIMIT_AS, 1 << 30),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_NOFILE, 0), // no more than there are
    ] {
        let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: `limit` is live and whole.
        check(i64::from(unsafe { libc::setrlimit(resource, &raw const limit) }))?;
    }
    let step =
        |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let equal = |value, jt, jf| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, jt, jf);
    let verdict = |what| step(libc::BPF_RET | libc::BPF_K, what, 0, 0);
    // The architecture is at 4 of what a filter sees, the number of the call at 0.
    let mut program = vec![load(4), equal(ARCHITECTURE, 1, 0)];
    program.extend([verdict(libc::SECCOMP_RET_KILL_PROCESS), load(0)]);
    for call in ALLOWED {
        program.extend([equal(*call as u32, 0, 1), verdict(libc::SECCOMP_RET_ALLOW)]);
    }
    program.push(verdict(libc::SECCOMP_RET_KILL_PROCESS));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let (strict, all) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC);
    // SAFETY: the filter describes live instructions, which the kernel checks and copies. All threads get
    // it, those of memring too.
    unsafe {
        check(i64::from(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))?;
        check(libc::syscall(libc::SYS_seccomp, strict, all, &raw const filter))
    }
}

fn check(result: i64) -> io::Result<()> {
    match result {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        thread => Err(io::Error::other(format!("thread {thread} could not be confined"))),
    }
}

/// Good files and bad ones, in turn.
fn samples() -> Vec<(String, Vec<u8>)> {
    let good = |width: usize, height: usize| {
        [format!("P6\n{width} {height}\n255\n").as_bytes(), &vec![7; width * height * 3]].concat()
    };
    let bad = |bug: &str| format!("P6\n#{bug}\n1 1\n255\n???").into_bytes();
    let mut samples = vec![("small.ppm".to_owned(), good(2, 2))];
    for bug in ["crash", "hang", "open", "eat", "leave"] {
        samples.push((format!("{bug}.ppm"), bad(bug)));
    }
    samples.push(("lie.ppm".to_owned(), b"P6 1 1 254\n???".to_vec()));
    samples.push(("torn.ppm".to_owned(), good(9, 9)[..99].to_vec()));
    samples.push(("large.ppm".to_owned(), good(600, 400)));
    samples
}
