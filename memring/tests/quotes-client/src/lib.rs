//! Nothing: this crate's program is `tests/client.rs`, a client of a quotes server that is compiled from the api
//! crate and nothing else.
