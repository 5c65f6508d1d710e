//! The `#[message]` attribute of memring.
//!
//! Why an attribute: a message needs rkyv's derives, and a derive cannot add derives. With it, people write
//! one line and no dependency on rkyv.
//!
//! What it does not do: it hashes nothing. It writes code that tells a `Schema` what the compiler knows about
//! the fields, so that aliases, generic arguments and types of other crates count for what they are.
//! Depend on `memring`, which re-exports it.

mod attributes;
mod declaration;
mod errors;
mod expand;
mod interface;

use proc_macro::TokenStream;

/// Makes a struct or an enum a message.
///
/// It derives rkyv's `Archive`, `Serialize` and `Deserialize`, unless another format is asked for, and implements `Fingerprinted` and `Message`.
/// The type may be generic and may contain itself. Every field needs a fingerprint: the language's and
/// the standard library's types have one, and so has every other `#[message]`.
///
/// - `#[memring::message(attachments)]`: its values may carry file descriptors (`Fd`) and blobs (`Blob`), in fields of
///   its own or of what it contains. Whatever contains an `Fd` or a `Blob` says so too.
/// - `#[memring::message(crate = path)]`: where memring is found, if not at `::memring`.
/// - `#[memring::message(format = json)]`, `cbor` or `postcard`: serde writes and reads it, and nothing is derived here.
///   Derive `serde::Serialize` and `serde::Deserialize` beside it. What `#[serde(...)]` says counts in the
///   fingerprint, word by word. Needs memring's feature of that name.
/// - `#[memring::message(format = plain)]`: its bytes in memory are its encoding. Derive zerocopy's `IntoBytes`,
///   `TryFromBytes` (or `FromBytes`), `Immutable` and `KnownLayout` beside it. Needs the feature `zerocopy`.
/// - `#[rkyv(...)]` on the type, a variant or a field: handed to rkyv, whose wrappers (`with = ...`) count in
///   the fingerprint. `as` and `remote` are refused: they hide the layout.
/// - `#[memring(foreign = "name and version")]` on a field: the fingerprint of its type and wrapper is
///   that text. You answer for changing it when the archived form changes. What such a type carries of descriptors or
///   blobs is not seen here: its user says with `.fds(n)` or `.blobs(n, bytes)` that it is taken.
///
/// A type that contains itself through another type needs `#[rkyv(omit_bounds)]` on one field of the
/// cycle; a type that names itself does not.
///
/// In a crate that denies `missing_docs`, put public enums whose variants have named fields into a module that
/// allows it: rkyv derives a public helper for them whose fields have no documentation.
///
/// ```ignore
/// #[memring::message]
/// pub struct Quote {
///     pub price: u64,
///     pub venue: String,
/// }
/// ```
#[proc_macro_attribute]
pub fn message(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::message(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes an interface of a trait, for calls: clients, and what servers implement. Needs memring's feature `rpc`.
///
/// The trait is a description; see `memring::rpc` for what becomes of it. It has methods and signals, without `self`, without
/// `async` and without code:
///
/// - `fn name(argument: Type, ..) -> Result<T, E>`, or `-> T`, or nothing: a call. An argument that is a reference is lent by
///   the caller, and read where it arrived by the handler: `&str` as that, `&[T]` as a slice of `Archived<T>`, any other `&T` as an
///   `Archived<T>`. Other arguments, results and errors are made for whoever gets them.
/// - `-> Stream<T>`, or `Result<Stream<T>, E>`: a call with many replies.
/// - `#[oneway]`: a call that nothing comes back from.
/// - `#[signal]`: sent by the server to those who subscribed.
/// - `#[attachments]`: descriptors or blobs go with arguments or results. It is seen where a type is called `Fd` or
///   `Blob`; where another type hides them it has to be said.
///
/// - `#[json]`: the method also takes JSON, and answers it; `json` beside the name has all methods do so. Needs memring's feature `json`, and
///   serde's derives on the types of arguments, results and errors.
///
/// `name` and `version` are what two programs compare, and `crate = path` says where memring is found, if not at `::memring`.
#[proc_macro_attribute]
pub fn interface(arguments: TokenStream, item: TokenStream) -> TokenStream {
    interface::expand::interface(arguments.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
