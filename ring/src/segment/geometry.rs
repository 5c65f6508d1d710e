//! The sizes of a segment, checked once.
//!
//! Both sides state them in the handshake; each checks them here against its own page size before a
//! byte is mapped. It says nothing about what lies where inside the control area.

use rustix::param::page_size;

/// The largest data area: beyond it a 32-bit futex word could not tell two positions apart.
pub const MAX_CAPACITY: u64 = 1 << 30;

/// The largest control area: room for any page size in use, and far more than its words need.
pub const MAX_CONTROL: u32 = 1 << 20;

/// Control area and data area of a segment, in bytes: page multiples, the second a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    control: u32,
    capacity: u32,
}

impl Geometry {
    /// Checks a control area of `control_bytes` and a data area of `capacity` bytes.
    ///
    /// # Errors
    ///
    /// [`GeometryError`] names the first rule that is broken.
    pub fn new(control_bytes: u32, capacity: u64) -> Result<Self, GeometryError> {
        Self::for_page(control_bytes, capacity, page_size() as u64)
    }

    /// The sizes for `capacity` bytes of data, and the smallest control area for pages of `peer_page`
    /// bytes at the other end and of ours here.
    ///
    /// # Errors
    ///
    /// [`GeometryError`] as from [`Geometry::new`], for either page size.
    pub fn for_pages(peer_page: u32, capacity: u64) -> Result<Self, GeometryError> {
        let page = u64::from(peer_page).max(page_size() as u64);
        if !page.is_power_of_two() || page > u64::from(MAX_CONTROL) {
            return Err(GeometryError::Page { page: u64::from(peer_page) });
        }
        Self::for_page(page as u32, capacity, page)
    }

    fn for_page(control: u32, capacity: u64, page: u64) -> Result<Self, GeometryError> {
        if control == 0 || control > MAX_CONTROL || !u64::from(control).is_multiple_of(page) {
            return Err(GeometryError::Control { control, page });
        }
        if !capacity.is_power_of_two() {
            return Err(GeometryError::NotPowerOfTwo { capacity });
        }
        if capacity < page || capacity > MAX_CAPACITY {
            return Err(GeometryError::OutOfRange { capacity, page });
        }
        Ok(Self { control, capacity: capacity as u32 })
    }

    /// Bytes of the control area.
    pub fn control_bytes(self) -> usize {
        self.control as usize
    }

    /// Bytes of the data area.
    pub fn capacity_bytes(self) -> usize {
        self.capacity as usize
    }

    /// Bytes of the file: both areas, each once.
    pub fn file_len(self) -> u64 {
        u64::from(self.control) + u64::from(self.capacity)
    }
}

/// Sizes that no segment can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// The control area is empty, not whole pages, or too large.
    #[error(
        "a control area of {control} bytes is not a positive multiple of the page size {page} up to {MAX_CONTROL}"
    )]
    Control {
        /// The size asked for.
        control: u32,
        /// The page size it has to fit.
        page: u64,
    },
    /// Positions are masked with `capacity - 1`.
    #[error("a lane of {capacity} bytes: the size must be a power of two")]
    NotPowerOfTwo {
        /// The size asked for.
        capacity: u64,
    },
    /// Less than a page or more than [`MAX_CAPACITY`].
    #[error(
        "a lane of {capacity} bytes: the size must lie between one page ({page}) and {MAX_CAPACITY}"
    )]
    OutOfRange {
        /// The size asked for.
        capacity: u64,
        /// The page size it has to fit.
        page: u64,
    },
    /// The other side claims a page size that no machine has.
    #[error("a page size of {page} bytes is not a power of two up to {MAX_CONTROL}")]
    Page {
        /// The size claimed.
        page: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attack_25_sizes_are_checked_before_anything_is_mapped() {
        use GeometryError as E;
        let page = page_size() as u64;
        let control = page as u32;
        let check = |control, capacity, expected| {
            assert_eq!(Geometry::new(control, capacity).map(Geometry::file_len), expected);
        };
        check(control, page, Ok(2 * page));
        check(control, MAX_CAPACITY, Ok(page + MAX_CAPACITY));
        check(2 * control, 1 << 18, Ok(2 * page + (1 << 18)));
        check(MAX_CONTROL, 1 << 20, Ok(2 << 20));

        check(0, 1 << 18, Err(E::Control { control: 0, page }));
        check(control + 1, 1 << 18, Err(E::Control { control: control + 1, page }));
        check(control / 2, 1 << 18, Err(E::Control { control: control / 2, page }));
        check(2 * MAX_CONTROL, 1 << 18, Err(E::Control { control: 2 * MAX_CONTROL, page }));
        check(u32::MAX, 1 << 18, Err(E::Control { control: u32::MAX, page }));

        for capacity in [0, 3, page - 1, page + 1, 3 * page, MAX_CAPACITY + 1, u64::MAX] {
            check(control, capacity, Err(E::NotPowerOfTwo { capacity }));
        }
        for capacity in [1, page / 2, 2 * MAX_CAPACITY, 1 << 32, 1 << 60, 1 << 63] {
            check(control, capacity, Err(E::OutOfRange { capacity, page }));
        }
    }

    #[test]
    fn the_larger_page_of_the_two_sides_decides() {
        let big = 1 << 16;
        let geometry = Geometry::for_pages(big, 1 << 18).expect("64 KiB pages");
        assert_eq!(geometry.control_bytes(), big as usize);
        assert_eq!(
            Geometry::for_pages(big, 1 << 14),
            Err(GeometryError::OutOfRange { capacity: 1 << 14, page: big.into() })
        );
        for page in [(1 << 16) + 1, 3 << 14, 1 << 21, u32::MAX] {
            assert_eq!(
                Geometry::for_pages(page, 1 << 20),
                Err(GeometryError::Page { page: page.into() }),
            );
        }
    }
}
