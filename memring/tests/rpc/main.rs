//! Calls: interfaces, their methods, and everything that can become of a call.

mod basics;
