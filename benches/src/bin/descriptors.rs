//! What it costs to pass file descriptors: with messages, and in bare packets for scale.
//!
//! A child receives them, closes them and answers; a round trip is timed. Both ways spin and take turns: with
//! messages, over a session; and bare, in packets with `SCM_RIGHTS` over a socketpair of the same kind as a
//! session's. Afterwards both processes hold as many descriptors as before.
//!
//! `cargo run --release -p memring-benches --bin descriptors [DESCRIPTORS]`

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memring::{Bytes, Connector, Wait};
use memring_benches::pin;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Descriptors in one message.
const TOGETHER: [usize; 2] = [1, 100];
const CHILD: &str = "DESCRIPTORS_CHILD";

fn main() -> Outcome<()> {
    let total: usize = std::env::args().nth(1).map_or(Ok(10_000), |total| total.parse())?;
    let rounds = |together: usize| (total / together).max(1);
    let processors = pin::allowed()?;
    let [ours, childs] = match processors.as_slice() {
        [first, second, ..] => [*first, *second],
        _ => return Err("two processors are needed: both ends spin".into()),
    };
    let connector = Connector::new().wait(Wait::Spin).fds(100);
    if std::env::var_os(CHILD).is_some() {
        pin::pin(childs)?;
        return child(connector, rounds);
    }

    let (near, far) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args().skip(1)).env(CHILD, "1").stdin(Stdio::from(far));
    let (mut child, channel) = connector.spawn::<Bytes>(&mut command)?;
    drop(command);
    pin::pin(ours)?;
    let (mut tx, mut rx) = channel.split();
    let null = OwnedFd::from(File::open("/dev/null")?);
    let before = held()?;
    println!("{:<24}{:>12}{:>12}{:>12}{:>12}", "round trips", "p50", "p99", "bare p50", "ratio");
    for together in TOGETHER {
        let fds = vec![null.as_fd(); together];
        let mut times = [Histogram::<u64>::new(3)?, Histogram::new(3)?];
        for _ in 0..rounds(together) {
            let begun = Instant::now();
            tx.send_with_fds(&[7; 8], &fds)?;
            rx.recv()?;
            times[0].record(begun.elapsed().as_nanos() as u64)?;
            let begun = Instant::now();
            send(near.as_fd(), &fds)?;
            receive(near.as_fd())?;
            times[1].record(begun.elapsed().as_nanos() as u64)?;
        }
        let at = |times: &Histogram<u64>, part| times.value_at_quantile(part) as f64 / 1e3;
        println!(
            "{:<24}{:>9.2} us{:>9.2} us{:>9.2} us{:>12.2}",
            format!("{} of {together}", rounds(together)),
            at(&times[0], 0.5),
            at(&times[0], 0.99),
            at(&times[1], 0.5),
            at(&times[0], 0.5) / at(&times[1], 0.5),
        );
    }
    drop((tx, rx));
    if !child.wait()?.success() {
        return Err("the child did not receive what was sent".into());
    }
    println!("descriptors before: {before}; after, without the session: {}", held()?);
    Ok(())
}

/// Receives, closes and answers.
fn child(connector: Connector, rounds: impl Fn(usize) -> usize) -> Outcome<()> {
    let (mut tx, mut rx) = connector.inherited::<Bytes>()?.split();
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let before = held()?;
    for together in TOGETHER {
        for _ in 0..rounds(together) {
            let (message, fds) = rx.recv_with_fds()?;
            if message.len() != 8 || fds.len() != together {
                return Err("something was lost".into());
            }
            drop(fds);
            tx.send(&[])?;
            if receive(socket.as_fd())? != together {
                return Err("something was lost in a bare packet".into());
            }
            send(socket.as_fd(), &[])?;
        }
    }
    let after = held()?;
    if after != before {
        return Err(format!("{before} descriptors before, and {after} after").into());
    }
    Ok(())
}

/// Sends a bare packet.
fn send(socket: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) -> Outcome<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(100))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err("no room for the descriptors".into());
    }
    let bytes = [IoSlice::new(&[7; 8])];
    rustix::net::sendmsg(socket, &bytes, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one, spinning, and closes what came with it: how many.
fn receive(socket: BorrowedFd<'_>) -> Outcome<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(100))];
    let mut bytes = [0; 8];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut into = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(socket, &mut into, &mut control, flags) {
            Ok(_) => {
                let count = |message| match message {
                    RecvAncillaryMessage::ScmRights(fds) => fds.count(),
                    _ => 0,
                };
                return Ok(control.drain().map(count).sum());
            }
            Err(Errno::AGAIN) => std::hint::spin_loop(),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Descriptors of this process, once none has been closed for a while: a handshake closes some in other threads.
fn held() -> Outcome<usize> {
    let count = || Ok::<_, std::io::Error>(std::fs::read_dir("/proc/self/fd")?.count() - 1);
    let mut held = count()?;
    loop {
        std::thread::sleep(Duration::from_millis(50));
        match count()? {
            same if same == held => return Ok(held),
            other => held = other,
        }
    }
}
