//! A kernel that refuses: as an older one does that lacks an option, or one that is asked what it never should be.
//!
//! Filters hold for the calling thread and all that it starts afterwards, other processes too, and cannot be
//! taken off: for tests that are alone, before their server binds.

#![allow(unsafe_code)]

use memring::ListenerBuilder;

/// Which third argument of a call it is about.
#[derive(Clone, Copy)]
pub enum Third {
    /// This value: the name of an option, say.
    Is(i32),
    /// One with one of these bits in it.
    Has(i32),
}

const SO_PASSRIGHTS: i32 = 83;

/// As before Linux 6.16: descriptors cannot be forbidden, they arrive. The settings of a scene, which go as they came.
pub fn without_passrights(builder: ListenerBuilder) -> ListenerBuilder {
    refuse(libc::SYS_setsockopt, Third::Is(SO_PASSRIGHTS), libc::ENOPROTOOPT);
    builder
}

/// Answers `errno` to such calls from now on.
pub fn refuse(call: libc::c_long, third: Third, errno: i32) {
    let step = |code, jt, jf, k: u32| libc::sock_filter { code, jt, jf, k };
    let load = |at| step((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, at);
    let test = |how: u32, k: u32, jf| step((libc::BPF_JMP | how | libc::BPF_K) as u16, 0, jf, k);
    let answer = |k| step((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, k);
    let mut program = [
        // `struct seccomp_data`: the number at 0, the arguments from 16 on, 8 bytes each.
        load(0),
        test(libc::BPF_JEQ, call as u32, 3),
        load(32),
        match third {
            Third::Is(value) => test(libc::BPF_JEQ, value.cast_unsigned(), 1),
            Third::Has(bits) => test(libc::BPF_JSET, bits.cast_unsigned(), 1),
        },
        answer(libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter describes live instructions, which the kernel checks and copies.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) == 0
    };
    assert!(done, "seccomp: {}", std::io::Error::last_os_error());
}

/// Whether descriptors can be forbidden here.
pub fn has_passrights() -> bool {
    use std::os::fd::AsRawFd;
    let (one, _other) = std::os::unix::net::UnixDatagram::pair().expect("two sockets");
    let off: libc::c_int = 0;
    // SAFETY: the option lives through the call and has the size told.
    let set = unsafe {
        libc::setsockopt(
            one.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
    set == 0
}
