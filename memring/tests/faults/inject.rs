//! One system call made to fail: by a filter that asks a thread of this process, which says what happens.
//!
//! The kernel stops whoever makes the call and hands it to the one who holds the filter's listener
//! (`SECCOMP_RET_USER_NOTIF`), so the n-th call can fail and all others go on as they are. The judge may
//! neither allocate nor lock while it judges: the thread that it judges may hold that lock.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::SeqCst};

/// A call, or one kind of it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: libc::c_long,
    /// Only where this argument, under this mask, is this.
    pub only: Option<(usize, u64, u64)>,
}

/// Which of the calls fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Never,
    /// The n-th, from 1, and no other.
    Nth(u32),
    Always,
}

/// Judges the calls of one thread, and of those that it starts.
#[derive(Debug)]
pub struct Judge {
    call: Call,
    errno: i32,
    when: When,
    listener: AtomicI32,
    armed: AtomicBool,
    seen: AtomicU32,
    fired: AtomicU32,
}

impl Judge {
    pub const fn new(call: Call, errno: i32, when: When) -> Self {
        Self {
            call,
            errno,
            when,
            listener: AtomicI32::new(-1),
            armed: AtomicBool::new(true),
            seen: AtomicU32::new(0),
            fired: AtomicU32::new(0),
        }
    }

    /// From now on every call goes on as it is.
    pub fn disarm(&self) {
        self.armed.store(false, SeqCst);
    }

    /// How many calls were made to fail.
    pub fn fired(&self) -> u32 {
        self.fired.load(SeqCst)
    }

    /// Has this thread, and those that it starts, judged from now on.
    pub fn install(&self) {
        let step =
            |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
        let mut program = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, self.call.number as u32, 1),
            step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF, 0),
            step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
        ];
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the filter describes live instructions, which the kernel checks and copies.
        let listener = unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                &raw const filter,
            )
        };
        assert!(listener >= 0, "seccomp: {}", std::io::Error::last_os_error());
        // No channel: to send on it may be a call that is judged.
        self.listener.store(listener as i32, SeqCst);
    }

    /// Judges until the process ends. For a thread of its own.
    pub fn sit(&self) {
        let mut listener = -1;
        while listener < 0 {
            std::thread::yield_now();
            listener = self.listener.load(SeqCst);
        }
        loop {
            // SAFETY: zeroes are a notification, and what the kernel wants to be given.
            let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: `asked` is live, and of the size that the number of the command says.
            let done = unsafe { libc::ioctl(listener, NOTIF_RECV, &raw mut asked) };
            if done != 0 {
                continue; // a signal, or the caller has gone
            }
            let fails = self.fails(&asked);
            let answer = libc::seccomp_notif_resp {
                id: asked.id,
                val: 0,
                error: if fails { -self.errno } else { 0 },
                flags: if fails { 0 } else { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 },
            };
            // SAFETY: `answer` is live, and of the size that the number of the command says.
            unsafe { libc::ioctl(listener, NOTIF_SEND, &raw const answer) };
        }
    }

    fn fails(&self, asked: &libc::seccomp_notif) -> bool {
        let kind =
            self.call.only.is_none_or(|(at, mask, value)| asked.data.args[at] & mask == value);
        // What a child does before its exec is its own affair.
        // SAFETY: no memory is involved; signal 0 is none.
        let ours = unsafe {
            libc::syscall(libc::SYS_tgkill, libc::getpid(), asked.pid as libc::pid_t, 0) == 0
        };
        if !kind || !ours || !self.armed.load(SeqCst) {
            return false;
        }
        let number = self.seen.fetch_add(1, SeqCst) + 1;
        let fails = match self.when {
            When::Never => false,
            When::Nth(n) => number == n,
            When::Always => true,
        };
        if fails {
            self.fired.fetch_add(1, SeqCst);
        }
        fails
    }
}

// `_IOWR('!', 0, struct seccomp_notif)` and `_IOWR('!', 1, struct seccomp_notif_resp)`.
const NOTIF_RECV: libc::c_ulong = 0xc050_2100;
const NOTIF_SEND: libc::c_ulong = 0xc018_2101;
