//! Blobs whose maker is dead.
#![allow(unsafe_code)]

use std::io::{IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::*;
use crate::testing::{Forked, alone, open_fds};

fn send(to: &UnixStream, memory: &SealedMemory) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [memory.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    let len = memory.len().to_le_bytes();
    sendmsg(to, &[IoSlice::new(&len)], &mut control, SendFlags::NOSIGNAL).expect("sent");
}

fn receive(from: &UnixStream) -> SealedMemory {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut len = [0; 8];
    recvmsg(from, &mut [IoSliceMut::new(&mut len)], &mut control, RecvFlags::CMSG_CLOEXEC)
        .expect("received");
    let fd = control
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .expect("a descriptor");
    SealedMemory::from_foreign(ForeignFd::new(fd), u64::from_le_bytes(len)).expect("a blob")
}

#[test]
fn a_blob_survives_the_kill_of_its_maker_in_every_process_that_holds_it() {
    if !alone(
        "blob::tests::death::a_blob_survives_the_kill_of_its_maker_in_every_process_that_holds_it",
    ) {
        return;
    }
    const LEN: usize = 3 << 20;
    let before = open_fds();
    {
        let (sockets, theirs): (Vec<_>, Vec<_>) =
            (0..3).map(|_| UnixStream::pair().expect("a pair")).unzip();
        let (mut dead, alive) = UnixStream::pair().expect("a pair");
        // Three receivers, who look after the maker's death only, of which the maker's end of `alive` tells.
        let receivers: Vec<_> = sockets
            .iter()
            .map(|socket| {
                Forked::start(|| {
                    let memory = receive(socket);
                    // A byte of each blob was looked at before, of the others none.
                    assert_eq!(memory.bytes()[0], pattern(1)[0]);
                    rustix::io::write(socket, b"!").expect("said");
                    // Whoever has `alive` but the maker has to close it.
                    // SAFETY: the parent's own is another descriptor, and this child is about to end.
                    unsafe { libc::close(alive.as_raw_fd()) };
                    assert_eq!(dead.read(&mut [0]).expect("read"), 0);
                    assert!(memory.bytes() == pattern(LEN));
                    let again = received(&memory).expect("a blob still");
                    assert!(again.bytes() == pattern(LEN));
                })
            })
            .collect();
        let maker = Forked::start(|| {
            let memory = grown(&pattern(LEN), 10_000);
            for socket in &theirs {
                send(socket, &memory);
            }
            for socket in &theirs {
                rustix::io::read(socket, &mut [0; 1]).expect("all have it");
            }
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .expect("killed");
        });
        drop(alive);
        assert!(!maker.wait(), "killed, and so no success");
        for receiver in receivers {
            assert!(receiver.wait());
        }
    }
    assert_eq!(open_fds(), before);
}
