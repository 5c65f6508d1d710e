//! What a hostile message makes its receiver allocate: in proportion to the bytes that came, whatever it claims.
//!
//! Alone in its binary, with an allocator that counts.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use memring_codec::{Cbor, Format, Json, Parsed, Postcard};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The system's, with the most bytes that were in use at once.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's own; the numbers decide nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's own promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's own promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes in use at once, beyond those before, while `bytes` are decoded.
fn most<T: Serialize + DeserializeOwned + Send + Sync + 'static, N>(bytes: &[u8]) -> usize
where
    Parsed<N>: Format<T>,
{
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    drop(Parsed::<N>::decode(bytes));
    MOST.load(Ordering::Relaxed) - before
}

/// As a vector grows, old and new memory of twice as much are in use at once; an error takes some, too.
fn check(what: &str, most: usize, bytes: usize, element: usize) {
    let allowed = 1024 + 4 * bytes * element;
    println!("{what}: {most} of {allowed} bytes");
    assert!(most <= allowed, "{what}: {most} bytes for {bytes} that came");
}

type Deep = Vec<Vec<Vec<Vec<Vec<Vec<[u64; 8]>>>>>>;
type Wide = Vec<[Option<u64>; 16]>;

#[test]
fn attack_71_memory_follows_the_bytes_that_came_and_no_claim() {
    // 2^60, and 200, of elements that never come.
    let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
    check("postcard, huge", most::<Wide, Postcard>(&huge), huge.len(), 256);
    let deep = [0x05, 0x04, 0x03, 0x02, 0x01];
    check("postcard, deep", most::<Deep, Postcard>(&deep), deep.len(), 64);
    let huge = b"\x9b\x10\0\0\0\0\0\0\0";
    check("CBOR, huge", most::<Wide, Cbor>(huge), huge.len(), 256);
    let deep = [&huge[..]; 6].concat();
    check("CBOR, deep", most::<Deep, Cbor>(&deep), deep.len(), 64);
    let text = b"\x7b\x10\0\0\0\0\0\0\0text";
    check("CBOR, text", most::<String, Cbor>(text), text.len(), 4096); // it reserves 16 KiB
    check("CBOR, bytes", most::<Box<str>, Cbor>(text), text.len(), 4096);

    // What is there: many small elements, each larger in memory.
    let many = |element: &[u8]| [b"\x80\x20", &element.repeat(4096)[..]].concat();
    let nothing = many(&[0; 16]);
    check("postcard, nothing", most::<Wide, Postcard>(&nothing), nothing.len(), 16);
    let texts = many(b"\x01a");
    check("postcard, texts", most::<Vec<String>, Postcard>(&texts), texts.len(), 24);
    let nested = [&b"["[..], &b"[],".repeat(10_000), b"[]]"].concat();
    check("JSON, nested", most::<Vec<Vec<u64>>, Json>(&nested), nested.len(), 24);
    let words = [b"\"".to_vec(), b"\\u00df".repeat(10_000), b"\"".to_vec()].concat();
    check("JSON, text", most::<String, Json>(&words), words.len(), 1);
}
