//! Steps: the places, by name, at which a test kills or stops this process.
//!
//! What a peer leaves behind depends on where it dies, and a signal from outside seldom hits the few
//! instructions that matter. So the numbered steps of the ring, and those of the handshake, say where they
//! are. [`at`] is nothing unless the crate is built with `--cfg memring_steps`. Then it counts, and where
//! `MEMRING_STEP=name:nth:signal` is in the environment, the process raises that signal when it comes by
//! that step for the nth time, having said so on its standard output.
//!
//! A step is marked *before* what it does: killed at P3, the header is not stored.
//!
//! Not here: who is killed when, and what must hold then (`attacks/tests/torture`).
#![allow(unsafe_code)] // only in what `memring_steps` adds

macro_rules! steps {
    ($($(#[$doc:meta])+ $step:ident = $name:literal,)+) => {
        /// A place at which a test can kill or stop this process.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step { $($(#[$doc])+ $step,)+ }

        impl Step {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$step,)+];

            /// What it is called in the environment and in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$step => $name,)+ }
            }
        }
    };
}

steps! {
    /// Room was found, and is lent.
    Claim = "claim",
    /// Bytes go into a grant.
    Write = "write",
    /// A grant becomes a message.
    Commit = "commit",
    /// A message joins the open pack.
    Grow = "grow",
    /// The open pack is published.
    Flush = "flush",
    /// One part of a large message goes in.
    Part = "part",
    /// A large message is given up.
    Abort = "abort",
    /// The end mark is published.
    EndMark = "end-mark",
    /// Producer: the payload is in place, the tag is not.
    P1 = "p1",
    /// Producer: the next header is zeroed.
    P2 = "p2",
    /// Producer: the header is stored.
    P3 = "p3",
    /// Producer: light fence.
    P4 = "p4",
    /// Producer: looks whether the consumer sleeps.
    P5 = "p5",
    /// Producer: wakes the consumer.
    P5Wake = "p5-wake",
    /// Producer: rings the consumer's doorbell: E5.
    P5Bell = "p5-bell",
    /// Consumer: loads a header.
    C1 = "c1",
    /// Consumer: decodes it.
    C2 = "c2",
    /// Consumer: copies a payload out.
    C3 = "c3",
    /// Consumer: releases a frame.
    C4 = "c4",
    /// Consumer: says that it has gone.
    Leave = "leave",
    /// Head: stores what is released.
    H1 = "h1",
    /// Head: publishes it.
    H2 = "h2",
    /// Head: light fence.
    H3 = "h3",
    /// Head: looks whether the producer sleeps.
    H4 = "h4",
    /// Head: wakes the producer.
    H4Wake = "h4-wake",
    /// Head: rings the producer's doorbell: E5.
    H4Bell = "h4-bell",
    /// Producer: loads the head.
    H5 = "h5",
    /// Wait: loads the private word.
    W1 = "w1",
    /// Wait: looks.
    W2 = "w2",
    /// Wait: says that it sleeps.
    W3 = "w3",
    /// Wait: heavy fence.
    W4 = "w4",
    /// Wait: looks again.
    W5 = "w5",
    /// Wait: sleeps.
    W6 = "w6",
    /// Wait: says that it is awake.
    W7 = "w7",
    /// Arming: asks for a doorbell.
    E1 = "e1",
    /// Arming: heavy fence.
    E2 = "e2",
    /// Arming: looks.
    E3 = "e3",
    /// Life: stores what happened.
    L1 = "l1",
    /// Life: changes the private word and wakes.
    L2 = "l2",
    /// A segment was made.
    SegmentMade = "segment-made",
    /// A segment that we write was mapped and is not sealed yet.
    SegmentMapped = "segment-mapped",
    /// A segment that we write was sealed.
    SegmentSealed = "segment-sealed",
    /// A segment that the peer writes was mapped.
    SegmentRead = "segment-read",
    /// A connection was taken from the kernel.
    Accepted = "accepted",
    /// A connection was made.
    Connected = "connected",
    /// A control packet goes out.
    Send = "send",
    /// A control packet went out.
    Sent = "sent",
    /// A control packet came in.
    Received = "received",
    /// The handshake is over, the lanes stand, and nobody watches the peer yet.
    Lanes = "lanes",
    /// The session is watched.
    Watched = "watched",
    /// The last half was dropped: the session leaves the watcher.
    Unwatch = "unwatch",
    /// The control socket is shut down.
    ShutDown = "shut-down",
}

/// This process is about to do `step`.
#[inline(always)]
pub fn at(step: Step) {
    #[cfg(memring_steps)]
    taken::at(step);
    #[cfg(not(memring_steps))]
    let _ = step;
}

#[cfg(memring_steps)]
pub use taken::count;

#[cfg(memring_steps)]
mod taken {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::time::{ClockId, clock_gettime};

    use super::Step;

    static COUNTS: [AtomicU64; Step::ALL.len()] = [const { AtomicU64::new(0) }; Step::ALL.len()];

    /// What the environment asks for.
    struct Plan {
        name: String,
        nth: u64,
        signal: i32,
    }

    impl Plan {
        fn of_environment() -> Option<Self> {
            let text = std::env::var("MEMRING_STEP").ok()?;
            let mut fields = text.split(':');
            let plan = Self {
                name: fields.next()?.to_owned(),
                nth: fields.next()?.parse().ok()?,
                signal: fields.next()?.parse().ok()?,
            };
            fields.next().is_none().then_some(plan)
        }
    }

    /// How often this process came by.
    #[must_use]
    pub fn count(step: Step) -> u64 {
        COUNTS[step as usize].load(Ordering::Relaxed)
    }

    pub(super) fn at(step: Step) {
        static PLAN: OnceLock<Option<Plan>> = OnceLock::new();
        // ORDERING: Relaxed; a count guards nothing, and one thread alone sees the nth.
        let nth = COUNTS[step as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let Some(plan) = PLAN.get_or_init(Plan::of_environment) else {
            return;
        };
        if plan.nth != nth || plan.name != step.name() {
            return;
        }
        let now = clock_gettime(ClockId::Monotonic);
        let nanos = now.tv_sec * 1_000_000_000 + now.tv_nsec;
        let mut out = std::io::stdout().lock();
        // Nobody may be listening; the signal comes all the same.
        let _ = writeln!(out, "@step {} {nanos}", step.name()).and_then(|()| out.flush());
        drop(out);
        // SAFETY: no memory is involved. To this thread, so that it goes no further.
        unsafe { libc::raise(plan.signal) };
    }
}
