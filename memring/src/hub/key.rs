//! Keys: what events name, and the places behind them.

use std::fmt;

/// Names one thing of a hub's: a member, a listener, a timer, a descriptor, a set of signals. It is of no other hub, and never
/// used again once that has left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// A small number: of all keys that are in use at a time each has its own, and those that have left are used again. For
    /// lists of what belongs to keys.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// For a kernel that keeps 64 bits.
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}.{})", self.index, self.generation)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How often a place is used: so a key's bits leave some numbers to others.
const GENERATIONS: u32 = 1 << 31;

/// Places by key.
pub(super) struct Places<T> {
    list: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Places<T> {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), free: Vec::new() }
    }

    /// A key for what `make` makes, given it.
    pub(super) fn try_insert<E>(
        &mut self,
        make: impl FnOnce(Key) -> Result<T, E>,
    ) -> Result<Key, E> {
        let index = match self.free.last() {
            Some(index) => *index,
            None => self.list.len() as u32,
        };
        let generation = self.list.get(index as usize).map_or(0, |(generation, _)| *generation);
        let key = Key { index, generation };
        let value = make(key)?;
        match self.list.get_mut(index as usize) {
            Some(place) => {
                self.free.pop();
                place.1 = Some(value);
            }
            None => self.list.push((0, Some(value))),
        }
        Ok(key)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.list.get_mut(key.index()) {
            Some((generation, value)) if *generation == key.generation => value.as_mut(),
            _ => None,
        }
    }

    /// All that are in use.
    pub(super) fn keys(&self) -> Vec<Key> {
        let places = self.list.iter().enumerate().filter(|(_, (_, value))| value.is_some());
        places
            .map(|(at, (generation, _))| Key { index: at as u32, generation: *generation })
            .collect()
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, value) = self.list.get_mut(key.index())?;
        if *generation != key.generation {
            return None;
        }
        let value = value.take()?;
        // One whose numbers are used up is used no more.
        if *generation + 1 < GENERATIONS {
            *generation += 1;
            self.free.push(key.index);
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(places: &mut Places<&'static str>, what: &'static str) -> Key {
        places.try_insert(|_| Ok::<_, ()>(what)).expect("made")
    }

    #[test]
    fn a_key_names_what_it_was_made_for_and_nothing_after() {
        let mut places = Places::new();
        let first = insert(&mut places, "first");
        let second = insert(&mut places, "second");
        assert_eq!(places.remove(first), Some("first"));
        assert_eq!(places.remove(first), None);
        let third = insert(&mut places, "third");
        assert_eq!(third.index(), first.index(), "the place is used again");
        assert_ne!(third, first);
        assert!(places.get_mut(first).is_none());
        assert_eq!(places.get_mut(third), Some(&mut "third"));
        assert_eq!(places.get_mut(second), Some(&mut "second"));
        assert_eq!(Key::from_bits(third.to_bits()), third);
    }

    #[test]
    fn what_cannot_be_made_takes_no_place() {
        let mut places = Places::new();
        let first = insert(&mut places, "first");
        assert_eq!(places.try_insert(|_| Err("no")), Err("no"));
        places.remove(first);
        assert_eq!(places.try_insert(|_| Err("no")), Err("no"));
        let second = insert(&mut places, "second");
        assert_eq!(second.index(), first.index());
    }
}
