//! What is compared with what.

use crate::link::{Measure, Room, Terms, Waiting};

/// Bytes of the messages measured.
pub const SIZES: [usize; 8] = [8, 32, 64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20];

/// Messages in a batch, where there are batches.
const BATCH: u64 = 64;

/// The name of what [`crate::conductor::Conductor::footprint`] measures, beside the groups'.
pub const FOOTPRINT: &str = "footprint of a session";

/// What is compared in one interleaved run.
#[derive(Clone, Debug)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// The terms that all who can are measured on.
    pub terms: Terms,
    /// Further terms, for those who can, or for memring alone.
    pub more: Vec<(Terms, Who)>,
}

/// Who is measured on further terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// All who can.
    All,
    /// memring's typed messages.
    Ours,
}

/// Everything.
#[must_use]
pub fn groups() -> Vec<Group> {
    let mut groups: Vec<Group> = SIZES.into_iter().map(round_trip).collect();
    groups.extend([64, 1 << 10, 64 << 10].map(round_trip_together));
    groups.extend([8, 32, 64, 256, 1 << 10, 4 << 10].map(|size| one_way(size, Room::Normal, 1)));
    groups.extend([8, 64].map(|size| one_way(size, Room::Normal, BATCH)));
    groups.extend([1 << 10, 64 << 10].map(|size| one_way(size, Room::Bulk, 1)));
    groups.push(one_way(1 << 20, Room::Large, 1));
    groups.push(set_up());
    groups.push(idle());
    groups
}

fn round_trip(size: usize) -> Group {
    let terms = Terms {
        measure: Measure::RoundTrip,
        size,
        wait: Waiting::Spin,
        room: match size {
            0..65_536 => Room::Normal,
            65_536..1_048_576 => Room::Bulk,
            _ => Room::Large,
        },
        batch: 1,
        together: false,
    };
    let adaptive = Terms { wait: Waiting::Adaptive, ..terms.clone() };
    let park = Terms { wait: Waiting::Park, ..terms.clone() };
    Group {
        name: format!("round trip {}", bytes(size)),
        terms,
        more: vec![(adaptive, Who::Ours), (park, Who::All)],
    }
}

fn round_trip_together(size: usize) -> Group {
    let Group { name, terms, .. } = round_trip(size);
    let terms = Terms { wait: Waiting::Park, together: true, ..terms };
    let adaptive = Terms { wait: Waiting::Adaptive, ..terms.clone() };
    Group { name: format!("{name}, one processor"), terms, more: vec![(adaptive, Who::Ours)] }
}

fn one_way(size: usize, room: Room, batch: u64) -> Group {
    let how = match (room, batch) {
        (Room::Bulk, _) => ", bulk lanes",
        (Room::Large, _) => ", large lanes",
        (_, 1) => "",
        _ => ", in batches",
    };
    Group {
        name: format!("one way {}{how}", bytes(size)),
        terms: Terms {
            measure: Measure::OneWay,
            size,
            wait: Waiting::Spin,
            room,
            batch,
            together: false,
        },
        more: Vec::new(),
    }
}

fn set_up() -> Group {
    Group {
        name: "set-up, one processor".to_owned(),
        terms: Terms {
            measure: Measure::SetUp,
            size: 64,
            wait: Waiting::Park,
            room: Room::Small,
            batch: 1,
            together: true,
        },
        more: Vec::new(),
    }
}

fn idle() -> Group {
    let terms = Terms {
        measure: Measure::Idle,
        size: 64,
        wait: Waiting::Park,
        room: Room::Normal,
        batch: 1,
        together: false,
    };
    let adaptive = Terms { wait: Waiting::Adaptive, ..terms.clone() };
    Group { name: "idle".to_owned(), terms, more: vec![(adaptive, Who::Ours)] }
}

/// A size in words.
#[must_use]
pub fn bytes(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..1_048_576 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_names_of_their_own_and_terms_that_links_can_be_opened_on() {
        let groups = groups();
        for (index, group) in groups.iter().enumerate() {
            let twice = groups[..index].iter().any(|other| other.name == group.name);
            assert!(!twice, "{}", group.name);
            for terms in std::iter::once(&group.terms).chain(group.more.iter().map(|(it, _)| it)) {
                assert!(terms.size > 0 && terms.size.is_multiple_of(8), "{terms:?}");
                assert!(terms.batch > 0 && terms.room.messages(terms.size) >= 2, "{terms:?}");
            }
        }
    }

    #[test]
    fn sizes_are_told_in_their_largest_unit() {
        for (size, words) in
            [(8, "8 B"), (1 << 10, "1 KiB"), (64 << 10, "64 KiB"), (1 << 20, "1 MiB")]
        {
            assert_eq!(bytes(size), words);
        }
    }
}
