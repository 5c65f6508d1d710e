//! Runs a command on an older kernel: `deny [--errno NAME] [--one-cpu] FEATURE... -- COMMAND...`.
//!
//! The features are refused by a seccomp filter, with the answer that a kernel without them would give,
//! or a sandbox that forbids them (`--errno EPERM`). `ci/denied.sh` runs the tests with it. It is no
//! sandbox: what it refuses can be had by other calls.

#![allow(unsafe_code)] // A filter is installed by system calls.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use libc::{c_int, c_long};

/// A call that is refused, or one kind of it.
struct Rule {
    call: c_long,
    which: Which,
    answer: Answer,
}

/// Which calls of the number a rule is about, by the low half of an argument.
enum Which {
    All,
    /// The argument of this index, from 0, is this.
    Is(u32, u32),
    /// The argument of this index has some of these bits.
    Has(u32, u32),
}

enum Answer {
    /// As the command line says: `ENOSYS` unless told otherwise.
    Told,
    /// What the kernel says of an option, a flag or a command that it does not know.
    Fixed(c_int),
}

use Answer::{Fixed, Told};
use Which::{All, Has, Is};

// The numbers of asm-generic; libc lacks some.
const SO_PEERGROUPS: u32 = 59;
const SO_PASSPIDFD: u32 = 76;
const SO_PEERPIDFD: u32 = 77;
const SO_PASSRIGHTS: u32 = 83;
const MADV_WIPEONFORK: u32 = 18;
const MADV_POPULATE_READ: u32 = 22;
const MADV_POPULATE_WRITE: u32 = 23;
const MFD_NOEXEC_SEAL_OR_EXEC: u32 = 0x18;
const SYS_FUTEX_WAITV: c_long = 449;

const FEATURES: [(&str, &[Rule]); 8] = [
    ("membarrier", &[Rule::new(libc::SYS_membarrier, All, Told)]),
    ("futex_waitv", &[Rule::new(SYS_FUTEX_WAITV, All, Told)]),
    (
        "pidfd",
        &[
            Rule::new(libc::SYS_pidfd_open, All, Told),
            Rule::new(libc::SYS_setsockopt, Is(2, SO_PASSPIDFD), Fixed(libc::ENOPROTOOPT)),
            Rule::new(libc::SYS_getsockopt, Is(2, SO_PEERPIDFD), Fixed(libc::ENOPROTOOPT)),
        ],
    ),
    (
        "passrights",
        &[Rule::new(libc::SYS_setsockopt, Is(2, SO_PASSRIGHTS), Fixed(libc::ENOPROTOOPT))],
    ),
    (
        "peergroups",
        &[Rule::new(libc::SYS_getsockopt, Is(2, SO_PEERGROUPS), Fixed(libc::ENOPROTOOPT))],
    ),
    ("inotify", &[Rule::new(libc::SYS_inotify_init1, All, Told)]),
    (
        "noexec",
        &[Rule::new(libc::SYS_memfd_create, Has(1, MFD_NOEXEC_SEAL_OR_EXEC), Fixed(libc::EINVAL))],
    ),
    (
        "madvise",
        &[
            Rule::new(libc::SYS_madvise, Is(2, MADV_WIPEONFORK), Fixed(libc::EINVAL)),
            Rule::new(libc::SYS_madvise, Is(2, MADV_POPULATE_READ), Fixed(libc::EINVAL)),
            Rule::new(libc::SYS_madvise, Is(2, MADV_POPULATE_WRITE), Fixed(libc::EINVAL)),
        ],
    ),
];

impl Rule {
    const fn new(call: c_long, which: Which, answer: Answer) -> Self {
        Self { call, which, answer }
    }

    /// Its instructions, which fall through where it does not apply.
    fn compile(&self, told: c_int, program: &mut Vec<libc::sock_filter>) {
        let step =
            |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
        let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0);
        // `struct seccomp_data`: the number at 0, the arguments from 16 on, 8 bytes each.
        let argument = |index: u32| load(16 + 8 * index);
        let equal = |k, jf| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k, jf);
        let any = |k, jf| step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, k, jf);
        let call = u32::try_from(self.call).expect("a system call number");
        let errno = match self.answer {
            Told => told,
            Fixed(errno) => errno,
        };
        program.push(load(0));
        match self.which {
            All => program.push(equal(call, 1)),
            Is(index, value) => program.extend([equal(call, 3), argument(index), equal(value, 1)]),
            Has(index, bits) => program.extend([equal(call, 3), argument(index), any(bits, 1)]),
        }
        let refuse = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
        program.push(step(libc::BPF_RET | libc::BPF_K, refuse, 0));
    }
}

/// What the command line asks for.
struct Order {
    rules: Vec<&'static Rule>,
    errno: c_int,
    one_cpu: bool,
    command: Vec<OsString>,
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Order, String> {
    let mut order =
        Order { rules: Vec::new(), errno: libc::ENOSYS, one_cpu: false, command: Vec::new() };
    while let Some(argument) = arguments.next() {
        match argument.to_str().unwrap_or_default() {
            "--" => break,
            "--one-cpu" => order.one_cpu = true,
            "--errno" => {
                order.errno = match arguments.next().as_deref().and_then(OsStr::to_str) {
                    Some("ENOSYS") => libc::ENOSYS,
                    Some("EPERM") => libc::EPERM,
                    other => return Err(format!("--errno takes ENOSYS or EPERM, not {other:?}")),
                };
            }
            name => match FEATURES.iter().find(|(feature, _)| *feature == name) {
                Some((_, rules)) => order.rules.extend(*rules),
                None => {
                    let known: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
                    return Err(format!("no feature {name:?}; there are {}", known.join(" ")));
                }
            },
        }
    }
    order.command.extend(arguments);
    if order.command.is_empty() {
        return Err("usage: deny [--errno NAME] [--one-cpu] FEATURE... -- COMMAND...".to_owned());
    }
    Ok(order)
}

/// Refuses what the rules say to this process and all it becomes and starts.
fn refuse(rules: &[&Rule], told: c_int) -> io::Result<()> {
    let mut program = Vec::new();
    for rule in rules {
        rule.compile(told, &mut program);
    }
    let code = (libc::BPF_RET | libc::BPF_K) as u16;
    program.push(libc::sock_filter { code, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW });
    let len = u16::try_from(program.len()).expect("a short program");
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: `filter` describes live instructions, which the kernel checks and copies.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Keeps this process, and what it becomes and starts, on the last processor that it may use.
fn pin() -> io::Result<()> {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: zeroes are an empty set; both calls get a live set and its size, and the CPU_ functions an
    // index within it.
    let done = unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size, &raw mut allowed) == 0
            && (0..8 * size).rev().find(|cpu| libc::CPU_ISSET(*cpu, &allowed)).is_some_and(|last| {
                libc::CPU_SET(last, &mut one);
                libc::sched_setaffinity(0, size, &raw const one) == 0
            })
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn main() -> ExitCode {
    let order = match parse(std::env::args_os().skip(1)) {
        Ok(order) => order,
        Err(why) => {
            eprintln!("deny: {why}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = if order.one_cpu { pin() } else { Ok(()) } {
        eprintln!("deny: cannot pin to one processor: {error}");
        return ExitCode::from(2);
    }
    if let Err(error) = refuse(&order.rules, order.errno) {
        eprintln!("deny: cannot install the filter: {error}");
        return ExitCode::from(2);
    }
    let error = Command::new(&order.command[0]).args(&order.command[1..]).exec();
    eprintln!("deny: {}: {error}", order.command[0].display());
    ExitCode::from(2)
}
