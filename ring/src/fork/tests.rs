//! Generations, the fork lock and cells, in this process and in forked children of it.

use super::*;
