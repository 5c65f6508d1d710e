//! What is done to a lane: operations at random, with messages of the sizes where something changes.

use memring_ring::Wait;
use proptest::prelude::*;
use proptest::sample::select;

use super::support::{Fencing, STARTS};

/// How large a message is, in the sizes where something changes.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    Small(usize),
    /// About the largest of a pack.
    Entry(isize),
    /// About the largest of one frame.
    Frame(isize),
    /// About the largest that the lane holds at once.
    AtOnce(isize),
    /// About the negotiated largest.
    Largest(isize),
    /// So many thousandths of the largest.
    Share(usize),
}

impl Size {
    pub fn of(self, sizes: &Sizes) -> usize {
        let (base, offset) = match self {
            Self::Small(size) => return size,
            Self::Share(share) => return sizes.max_message * share / 1000,
            Self::Entry(offset) => (sizes.frame - 16, offset),
            Self::Frame(offset) => (sizes.frame, offset),
            Self::AtOnce(offset) => (sizes.at_once, offset),
            Self::Largest(offset) => (sizes.max_message, offset),
        };
        base.saturating_add_signed(offset)
    }
}

/// The largest messages there are, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// One frame holds: a quarter of the lane less the header.
    pub frame: usize,
    /// An empty lane holds: all of it, but four headers of parts, the total and the next header.
    pub at_once: usize,
    /// Was agreed.
    pub max_message: usize,
}

impl Sizes {
    pub fn of(setting: Setting) -> Self {
        let capacity = setting.capacity as usize;
        Self {
            frame: capacity / 4 - 16,
            at_once: capacity - 5 * 16 - 8,
            max_message: capacity * setting.largest as usize / 100,
        }
    }
}

pub fn size() -> impl Strategy<Value = Size> {
    prop_oneof![
        8 => (0..80_usize).prop_map(Size::Small),
        2 => (-20..20_isize).prop_map(Size::Entry),
        2 => (-20..20_isize).prop_map(Size::Frame),
        2 => (-20..20_isize).prop_map(Size::AtOnce),
        1 => (-2..3_isize).prop_map(Size::Largest),
        2 => (0..1001_usize).prop_map(Size::Share),
    ]
}

#[derive(Clone, Copy, Debug)]
pub enum Push {
    Bytes(Size),
    /// Messages of one length and without a tag.
    Alike(Size, usize),
    /// Claimed, written in two pieces, and committed or dropped.
    Grant {
        size: Size,
        commit: bool,
    },
    Flush,
}

#[derive(Clone, Debug)]
pub enum Op {
    TrySend(Size),
    TrySendVectored(Size, Vec<usize>),
    /// Two pieces, with so many zeros between them.
    SendTwo {
        size: Size,
        cut: usize,
        gap: usize,
    },
    /// Sends with no time left: in the middle of a large message that means giving it up.
    Send(Size),
    SendVectored(Size, Vec<usize>),
    Claim {
        size: Size,
        commit: bool,
        wait: bool,
    },
    Batch {
        pushes: Vec<Push>,
        leak: bool,
        wait: bool,
    },
    /// So many messages of so many words, at once and with no time left.
    SendAlike {
        words: usize,
        count: usize,
    },
    WaitForRoom(Size),
    /// Receives a message whose length is known, if that is short.
    NextOf {
        packed: bool,
    },
    /// Receives a message that is expected to be so much longer than it is.
    NextSoon {
        longer: usize,
    },
    /// Takes some of what is left of a pack.
    SkipAlike,
    TryRecv,
    Recv,
    Take,
    /// Receives until there is nothing more.
    Drain,
    Publish,
    Strategy(Wait),
}

pub fn op() -> impl Strategy<Value = Op> {
    let push = prop_oneof![
        6 => size().prop_map(Push::Bytes),
        3 => (size(), 1..9_usize).prop_map(|(size, count)| Push::Alike(size, count)),
        2 => (size(), any::<bool>()).prop_map(|(size, commit)| Push::Grant { size, commit }),
        1 => Just(Push::Flush),
    ];
    let cuts = || prop::collection::vec(0..4000_usize, 0..6);
    prop_oneof![
        6 => size().prop_map(Op::TrySend),
        2 => (size(), cuts()).prop_map(|(size, cuts)| Op::TrySendVectored(size, cuts)),
        3 => (size(), 0..200_usize, 0..70_usize)
            .prop_map(|(size, cut, gap)| Op::SendTwo { size, cut, gap }),
        3 => size().prop_map(Op::Send),
        2 => (size(), cuts()).prop_map(|(size, cuts)| Op::SendVectored(size, cuts)),
        3 => (size(), any::<bool>(), any::<bool>())
            .prop_map(|(size, commit, wait)| Op::Claim { size, commit, wait }),
        3 => (prop::collection::vec(push, 0..12), any::<bool>(), any::<bool>())
            .prop_map(|(pushes, leak, wait)| Op::Batch { pushes, leak, wait }),
        2 => (1..40_usize, 0..30_usize).prop_map(|(words, count)| Op::SendAlike { words, count }),
        1 => size().prop_map(Op::WaitForRoom),
        6 => any::<bool>().prop_map(|packed| Op::NextOf { packed }),
        4 => select(vec![0, 0, 0, 1, 16, 5000]).prop_map(|longer| Op::NextSoon { longer }),
        2 => Just(Op::SkipAlike),
        8 => Just(Op::TryRecv),
        3 => Just(Op::Recv),
        3 => Just(Op::Take),
        2 => Just(Op::Drain),
        1 => Just(Op::Publish),
        1 => select(vec![Wait::Spin, Wait::Adaptive, Wait::Park]).prop_map(Op::Strategy),
    ]
}

#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub capacity: u64,
    /// The largest message, in percent of the lane.
    pub largest: u64,
    pub start: u64,
    pub in_place: bool,
    pub fencing: Fencing,
}

pub fn setting() -> impl Strategy<Value = Setting> {
    (
        select(vec![4096, 4096, 8192, 65536]),
        select(vec![1_u64, 20, 24, 50, 97, 300]),
        prop_oneof![select(STARTS.to_vec()), any::<u64>().prop_map(|start| start & !15)],
        any::<bool>(),
        select(vec![Fencing::Ours, Fencing::Full]),
    )
        .prop_map(|(capacity, largest, start, in_place, fencing)| Setting {
            capacity,
            largest,
            start,
            in_place,
            fencing,
        })
}
