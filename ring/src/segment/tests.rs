//! Segments made, sent, checked and refused.

use super::*;
