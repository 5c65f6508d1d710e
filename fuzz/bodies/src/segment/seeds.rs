//! Lives of two ends to begin from: good ones, and overwrites of each kind of byte at each kind of step.

use super::{BY_PEER, Op, PEER, VICTIM};
use crate::Seed;
use crate::input::Script;

impl Script {
    fn by(self, who: usize, op: Op) -> Self {
        self.u8(op as u8 | if who == PEER { BY_PEER } else { 0 })
    }

    /// A message by this call: its bytes, and the choice that says how.
    fn message(self, who: usize, op: Op, choice: u8, len: u16) -> Self {
        let script = self.by(who, op).u8(choice);
        if len < 200 { script.u8(len as u8) } else { script.u8(200).u16(len) }
    }

    /// The peer sends three messages.
    fn three(self) -> Self {
        (0..3).fold(self, |script, len| script.message(PEER, Op::TrySend, 0, 20 * len))
    }

    fn receives(self, who: usize, times: usize) -> Self {
        (0..times).fold(self, |script, _| script.by(who, Op::TryRecv))
    }

    /// The victim sends until it finds out what the head is now.
    fn fill(self) -> Self {
        (0..6).fold(self, |script, _| script.message(VICTIM, Op::Send, 1, 1000))
    }
}

/// Each by what it shows.
pub fn seeds() -> Vec<Seed> {
    // Positions about to wrap at 2^64, and messages of up to 20,000 bytes.
    let begin = |choice| Script::default().u8(choice);
    let wraps = || begin(2 | 3 << 2);
    let frame =
        |script: Script, grain, kind, len| script.by(VICTIM, Op::Frame).u8(grain).u8(kind).u16(len);
    let word = |script: Script, which: u8| script.by(VICTIM, Op::Word).u8(which);
    let parts = || wraps().message(PEER, Op::Send, 1, 6000).receives(VICTIM, 1);
    let seeds: Vec<(&str, Script)> = vec![
        ("talk", wraps().three().receives(VICTIM, 4).fill().receives(PEER, 4).fill()),
        (
            "every-send",
            [Op::TrySend, Op::Send, Op::Vectored, Op::Claim].into_iter().fold(
                wraps(),
                |script, op| {
                    let script = script.message(VICTIM, op, 9, 40).message(PEER, op, 0, 50);
                    script.by(PEER, Op::Take).by(VICTIM, Op::Take)
                },
            ),
        ),
        ("parts", wraps().message(VICTIM, Op::Send, 1, 3500).by(PEER, Op::Recv).by(PEER, Op::Take)),
        ("given-up", wraps().message(VICTIM, Op::Send, 1, 9000).receives(PEER, 2).fill()),
        (
            "batch",
            wraps().by(VICTIM, Op::Batch).u8(5).bytes(&[0, 9, 17, 200, 0, 3, 1]).receives(PEER, 6),
        ),
        (
            "leaked",
            wraps().by(PEER, Op::Batch).u8(0x83).bytes(&[0, 9, 17]).receives(VICTIM, 1).three(),
        ),
        ("claim-given-back", wraps().message(VICTIM, Op::Claim, 3, 50).fill()),
        ("sender-closes", wraps().three().by(PEER, Op::CloseSender).receives(VICTIM, 5)),
        ("receiver-closes", wraps().by(PEER, Op::CloseReceiver).fill().fill()),
        ("dead", wraps().three().by(VICTIM, Op::HangUp).receives(VICTIM, 5).fill()),
        ("longer", frame(wraps().three(), 0, 1, 1008).receives(VICTIM, 4)),
        ("shorter", frame(wraps().three(), 3, 1, 4).receives(VICTIM, 4)),
        ("too-long", frame(wraps().three(), 0, 1, 1009).receives(VICTIM, 2).fill()),
        (
            "not-last",
            frame(wraps().three(), 6, 1, 0).receives(VICTIM, 5).three().receives(VICTIM, 3),
        ),
        ("becomes-pack", frame(wraps().three(), 3, 2, 40).receives(VICTIM, 4)),
        ("becomes-end", frame(wraps().three(), 1, 7, 0).receives(VICTIM, 4).three()),
        ("becomes-first", frame(wraps().three(), 1, 3, 24).receives(VICTIM, 4)),
        ("kind", wraps().three().by(VICTIM, Op::Header).u8(0).u64(0x99).receives(VICTIM, 2).fill()),
        ("fds", wraps().three().by(VICTIM, Op::Header).u8(1).u64(0x0001_0001).receives(VICTIM, 3)),
        (
            "payload",
            wraps().three().by(VICTIM, Op::Bytes).u16(0).u8(40).bytes(&[0; 40]).receives(VICTIM, 4),
        ),
        ("part-again", frame(parts(), 0, 3, 1008).receives(VICTIM, 3)),
        (
            "part-surplus",
            frame(parts().message(PEER, Op::Send, 1, 6000), 0, 5, 1000).receives(VICTIM, 9),
        ),
        ("head-past", word(wraps().fill(), 129).fill().receives(PEER, 5)),
        ("head-all", word(wraps().fill(), 128).fill().receives(PEER, 5)),
        ("head-some", word(wraps().fill(), 64).fill().receives(PEER, 5).fill()),
        ("head-back", word(wraps().fill().receives(PEER, 4).fill(), 3).fill().fill()),
        ("head-any", word(wraps().fill(), 2).u64(0x1234_5678).fill()),
        ("head-gone", word(wraps().fill(), 2).u64(1_u64.wrapping_sub(64)).fill().fill()),
        (
            "head-torn",
            wraps().fill().by(VICTIM, Op::Control).u16(1).u8(4).bytes(&[1, 2, 3, 4]).fill(),
        ),
        ("asleep", word(wraps(), 0).u64(5).message(VICTIM, Op::Send, 1, 9).receives(PEER, 2)),
        ("gone-unsaid", word(wraps(), 0).u64(3).fill().receives(PEER, 2).fill()),
        ("awaits", word(wraps(), 1).u64(5).three().receives(VICTIM, 4)),
        (
            "fault-after-fault",
            word(frame(wraps().fill().three(), 0, 9, 9).receives(VICTIM, 1), 129).fill().three(),
        ),
        ("small", frame(begin(1 << 2).three(), 0, 1, 101).receives(VICTIM, 2)),
        ("empty", frame(begin(0).message(PEER, Op::Send, 0, 0), 0, 1, 1).receives(VICTIM, 2)),
    ];
    seeds.into_iter().map(|(name, script)| (name.to_owned(), script.0)).collect()
}
