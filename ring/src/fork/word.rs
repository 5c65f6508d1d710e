//! Words that a fork wipes: they read zero in a child, however it was forked.
//!
//! For state whose every use has to ask whether this is still the process that it belongs to: where zero means
//! "no", the state itself says so, and the question costs nothing.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_utils::CachePadded;

use super::{Generation, PerProcess, generation, map_page};

/// A cell on cache lines of its own, for one word that is read all the time has nothing to do with the next.
type Cell = CachePadded<AtomicU32>;

/// Cells that nobody uses. Their memory is never given back, so that whoever keeps a reference to one may.
#[derive(Default)]
struct Free {
    wiped: Vec<&'static Cell>,
    /// Where the kernel wipes nothing.
    ordinary: Vec<&'static Cell>,
}

static FREE: PerProcess<Mutex<Free>> = PerProcess::new();

/// A word, zero at first, until it is dropped.
pub struct Word {
    cell: &'static Cell,
    wiped: bool,
    generation: Generation,
}

impl Word {
    /// A word of this process.
    pub fn new() -> Self {
        let mut free =
            FREE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if free.wiped.is_empty() {
            free.map();
        }
        let (cell, wiped) = match free.wiped.pop() {
            Some(cell) => (cell, true),
            None => (free.ordinary.pop().unwrap_or_else(|| Box::leak(Box::default())), false),
        };
        Self { cell, wiped, generation: generation() }
    }

    /// Whether it reads zero in a child. If not, the child has to be found out some other way.
    pub fn is_wiped(&self) -> bool {
        self.wiped
    }

    /// The word itself. It stays readable for ever, but means something only while the [`Word`] lives.
    pub fn get(&self) -> &'static AtomicU32 {
        self.cell
    }
}

impl Free {
    /// A page full of cells, if the kernel has one that it wipes.
    fn map(&mut self) {
        let page: *mut Cell = map_page().cast();
        if page.is_null() {
            return;
        }
        for index in 0..rustix::param::page_size() / size_of::<Cell>() {
            // SAFETY: a page that was just mapped, aligned and zero, which is a cell's bytes over and over; it is never
            // unmapped, and nobody else knows it.
            self.wiped.push(unsafe { &*page.add(index) });
        }
    }
}

impl Default for Word {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        if !self.generation.is_current() {
            return; // the parent's; and whoever wrote to it here left it so
        }
        // ORDERING: Relaxed; the lock publishes it to whoever takes the cell next.
        self.cell.store(0, Ordering::Relaxed);
        let Some(free) = FREE.get() else { return };
        let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
        if self.wiped { free.wiped.push(self.cell) } else { free.ordinary.push(self.cell) }
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Word").field("wiped", &self.wiped).finish_non_exhaustive()
    }
}
