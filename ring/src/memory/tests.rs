//! The mirror, the bounds, the kernel's refusals, and what a forked child does not have.

use super::*;
