//! Lock-free SPSC lanes over sealed shared memory: memring's ring.
#[cfg(not(memring_loom))]
pub mod fork;
#[cfg(not(memring_loom))]
pub mod memory;
#[cfg(not(memring_loom))]
pub mod segment;
