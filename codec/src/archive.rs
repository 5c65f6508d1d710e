//! The rkyv format: values written as archives into a sink, and archives checked before they are looked at.
//!
//! Why not rkyv's ready-made functions: its serialiser shares pointers and fills a buffer of its own, and its
//! `access` has no depth limit (a 400 KB archive overflows a 2 MiB stack) and keeps a table for `Rc` and
//! `Arc`, which has had its share of advisories. Here nothing is shared, so such a type does not compile;
//! depth is bounded; and the bytes go straight to where they are sent from.
//!
//! It does not deserialise unless asked: a received archive is read in place.

#![allow(unsafe_code)]

use std::alloc::Layout;
use std::fmt;
use std::mem::{MaybeUninit, size_of};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr::NonNull;

use rkyv::api::{deserialize_using, root_position, serialize_using};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::{self, Source, Strategy, Trace};
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::{Allocator, Positional, Writer};
use rkyv::validation::Validator;
use rkyv::validation::archive::{ArchiveContext, ArchiveValidator};
use rkyv::{Archive, Deserialize, Portable, Serialize};

use crate::{DecodeError, EncodeError, Encoder, Format, Reason, Sink, SinkFull};

/// Levels of pointers, the root being one, that a received archive has to stay below.
///
/// Checking recurses, so depth is stack, and 64 levels fit any thread. The sender is not stopped from sending
/// a deeper value: its session ends at the receiver.
pub const DEPTH: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// Scratch bytes on the stack for a value being written. A vector of strings needs 16 an element; what does
/// not fit is allocated for the moment.
pub(crate) const SPACE: usize = 512;

/// Bytes gathered before they are passed on. An archive is written in pieces of a few bytes, and each piece
/// handed to the sink costs a call and a copy into shared memory.
pub(crate) const STAGE: usize = 512;

/// The format of everything that `#[message]` declares.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rkyv;

/// What rkyv has to know of a type for it to be a message. Implemented for every type that has it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be archived as a message",
    note = "`Rc` and `Arc` cannot be part of a message: use the value itself, a `Box`, or \
            `#[rkyv(with = Unshare)]`"
)]
pub trait Archivable:
    for<'a> Serialize<
        Strategy<Serializer<'a>, Failure>,
        Archived: Portable + for<'b> CheckBytes<Strategy<Check<'b>, Reason>>,
    >
{
}

impl<T> Archivable for T where
    T: for<'a> Serialize<
            Strategy<Serializer<'a>, Failure>,
            Archived: Portable + for<'b> CheckBytes<Strategy<Check<'b>, Reason>>,
        >
{
}

impl<T: Archivable> Format<T> for Rkyv {
    type View = T::Archived;
    type Checked = ();

    const NAME: &'static str = "rkyv";

    /// What remembers no position has nothing beside its root: all its archives are as long as that.
    const USUAL: Option<usize> =
        if size_of::<T::Resolver>() == 0 { Some(size_of::<T::Archived>()) } else { None };

    /// A type whose bytes are its archive's, in this layout and without padding: plain words, say.
    #[inline]
    fn ready(value: &T) -> Option<&[u8]> {
        as_they_are(std::slice::from_ref(value))
    }

    #[inline]
    fn ready_all(values: &[T]) -> Option<&[u8]> {
        let whole_words = const { size_of::<T>() != 0 && size_of::<T>().is_multiple_of(8) };
        if whole_words { as_they_are(values) } else { None }
    }

    #[inline]
    fn encode(value: &T, out: &mut Encoder<'_>) -> Result<(), EncodeError> {
        let mut stage = [MaybeUninit::uninit(); STAGE];
        let mut space = [MaybeUninit::uninit(); SPACE];
        let mut serializer = Serializer::new(out.sink, out.position, &mut stage, &mut space, ());
        let result = serialize_using::<_, Failure>(value, &mut serializer);
        let result = result.and_then(|_| serializer.finish());
        out.position = serializer.position;
        match result {
            Ok(()) => Ok(()),
            Err(failure) => Err(explain(failure, serializer.refusal)),
        }
    }

    /// An archive that is as long as its root has nothing else in it, or nothing that takes bytes.
    #[inline]
    fn alignment(len: usize) -> usize {
        if len == size_of::<T::Archived>() { align_of::<T::Archived>() } else { 16 }
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<(), DecodeError> {
        let needed = size_of::<T::Archived>();
        if bytes.len() < needed {
            return Err(DecodeError::Short { needed, found: bytes.len() });
        }
        let mut check = Check::with(bytes, ());
        check_root::<T::Archived, _>(bytes, &mut check)
            .map_err(|source| DecodeError::Invalid { source })?;
        match check.surplus() {
            0 => Ok(()),
            surplus => Err(DecodeError::Surplus { surplus, found: bytes.len() }),
        }
    }

    #[inline]
    unsafe fn view<'a>(_: &'a (), bytes: &'a [u8]) -> &'a T::Archived {
        // SAFETY: by the contract of `Format::view`, (1) `decode` accepted these bytes, at this address, as a
        // `T::Archived` at the root position, alignment included, and (2) they have not changed.
        unsafe { rkyv::access_unchecked::<T::Archived>(bytes) }
    }
}

/// The bytes of values that are their archives' too.
#[inline(always)]
fn as_they_are<T: Archive>(values: &[T]) -> Option<&[u8]> {
    let as_they_are =
        const { T::COPY_OPTIMIZATION.is_enabled() && size_of::<T>() == size_of::<T::Archived>() };
    // SAFETY: rkyv's flag, which is unsafe to set, says that a value has no uninitialised byte and that its bytes are what
    // its serialisation would write. They are borrowed as the values are.
    as_they_are
        .then(|| unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) })
}

/// Checks the root, and whatever it points at: rkyv's `check_pos_with_context` in one piece. That is inlined or not as
/// the compiler feels, and where it is not, a message of plain words costs twice as much to check.
#[inline(always)]
pub(crate) fn check_root<A, X>(bytes: &[u8], check: &mut Check<'_, X>) -> Result<(), Reason>
where
    A: Portable + for<'b> CheckBytes<Strategy<Check<'b, X>, Reason>>,
{
    let context = Strategy::<Check<'_, X>, Reason>::wrap(check);
    let root = bytes.as_ptr().wrapping_add(root_position::<A>(bytes.len()));
    context.check_subtree_ptr(root, &Layout::new::<A>())?;
    // SAFETY: the line above made sure (1) that the root lies in the bytes with its whole size, (2) that it is aligned.
    // (3) The range given back is the one that was handed out.
    unsafe {
        let outer = context.push_subtree_range(root, root.add(size_of::<A>()))?;
        A::check_bytes(root.cast::<A>(), context)?;
        context.pop_subtree_range(outer)
    }
}

/// Turns an archive that was received back into an owned value.
///
/// Its cost is the value's, so mind a bound on what you accept; the message is best read in place.
///
/// # Errors
///
/// [`DecodeError::Invalid`] if a wrapper of yours refuses.
pub fn deserialize<T>(archived: &T::Archived) -> Result<T, DecodeError>
where
    T: Archive,
    T::Archived: Deserialize<T, Strategy<Owner, Reason>>,
{
    deserialize_using::<T, Owner, Reason>(archived, &mut Owner)
        .map_err(|source| DecodeError::Invalid { source })
}

/// The owned value that an archive holds, which is checked first.
///
/// # Errors
///
/// As [`Format::decode`] and [`deserialize`].
#[inline]
pub fn from_archive<T>(bytes: &[u8]) -> Result<T, DecodeError>
where
    T: Archivable,
    T::Archived: Deserialize<T, Strategy<Owner, Reason>>,
{
    <Rkyv as Format<T>>::decode(bytes)?;
    // SAFETY: (1) these very bytes were just decoded. (2) They are borrowed shared, until this returns.
    deserialize(unsafe { <Rkyv as Format<T>>::view(&(), bytes) })
}

/// The deserialiser behind [`deserialize`]: it pools no shared pointers.
#[derive(Debug)]
pub struct Owner;

/// The serialiser behind [`Rkyv`]: writes to a sink, allocates on the stack first, shares no pointers. `A` is where
/// attachments go, for messages that have any.
pub struct Serializer<'a, A = ()> {
    sink: &'a mut dyn Sink,
    /// Bytes written, staged ones included.
    pub(crate) position: usize,
    stage: &'a mut [MaybeUninit<u8>; STAGE],
    /// The first so many bytes of the stage are initialised and not yet passed on.
    staged: usize,
    /// What the sink said when it refused. Not in the error: a thin one stays in registers.
    pub(crate) refusal: Option<SinkFull>,
    space: SubAllocator<'a>,
    space_range: Range<usize>,
    pub(crate) attached: A,
}

impl<'a, A> Serializer<'a, A> {
    #[inline]
    pub(crate) fn new(
        sink: &'a mut dyn Sink,
        position: usize,
        stage: &'a mut [MaybeUninit<u8>; STAGE],
        space: &'a mut [MaybeUninit<u8>],
        attached: A,
    ) -> Self {
        let start = space.as_ptr().addr();
        let space_range = start..start + space.len();
        let space = SubAllocator::new(space);
        Self { sink, position, stage, staged: 0, refusal: None, space, space_range, attached }
    }

    /// Passes on what is staged.
    #[inline]
    fn flush(&mut self) -> Result<(), Failure> {
        self.pass_on(|sink, staged| sink.write(staged))
    }

    /// Passes on what is staged, and says that it is the end.
    #[inline]
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.pass_on(|sink, staged| sink.last(staged))
    }

    #[inline]
    fn pass_on(
        &mut self,
        pass: impl FnOnce(&mut dyn Sink, &[u8]) -> Result<(), SinkFull>,
    ) -> Result<(), Failure> {
        let staged = self.stage.as_ptr().cast::<u8>();
        // SAFETY: the first `staged` bytes were written by `write`, which alone raises it.
        let staged = unsafe { std::slice::from_raw_parts(staged, self.staged) };
        self.staged = 0;
        match pass(self.sink, staged) {
            Ok(()) => Ok(()),
            Err(refusal) => {
                self.refusal = Some(refusal);
                Err(Failure::Sink)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn write_past_stage(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.staged != 0 {
            self.flush()?;
        }
        if bytes.len() <= STAGE {
            return self.write(bytes);
        }
        self.position += bytes.len();
        match self.sink.write(bytes) {
            Ok(()) => Ok(()),
            Err(refusal) => {
                self.refusal = Some(refusal);
                Err(Failure::Sink)
            }
        }
    }
}

impl<A> Positional for Serializer<'_, A> {
    #[inline]
    fn pos(&self) -> usize {
        self.position
    }
}

impl<A> Writer<Failure> for Serializer<'_, A> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let len = bytes.len();
        if len > STAGE - self.staged {
            return self.write_past_stage(bytes);
        }
        // SAFETY: by the line above the stage has `len` bytes after the staged ones; it is borrowed by
        // nobody else, so `bytes` lie apart from it.
        unsafe {
            let room = self.stage.as_mut_ptr().add(self.staged).cast::<u8>();
            room.copy_from_nonoverlapping(bytes.as_ptr(), len);
        }
        self.staged += len;
        self.position += len;
        Ok(())
    }
}

// SAFETY: `push_alloc` gives memory from `SubAllocator`, which upholds the contract, or from the global
// allocator with this very layout.
unsafe impl<A> Allocator<Failure> for Serializer<'_, A> {
    #[inline]
    unsafe fn push_alloc(&mut self, layout: Layout) -> Result<NonNull<[u8]>, Failure> {
        // SAFETY: the caller gives a layout whose size is not zero.
        let inline: Result<_, rancor::Failure> = unsafe { self.space.push_alloc(layout) };
        if let Ok(memory) = inline {
            return Ok(memory);
        }
        // SAFETY: as above.
        let memory = unsafe { std::alloc::alloc(layout) };
        let Some(memory) = NonNull::new(memory) else { std::alloc::handle_alloc_error(layout) };
        Ok(NonNull::slice_from_raw_parts(memory, layout.size()))
    }

    #[inline]
    unsafe fn pop_alloc(&mut self, memory: NonNull<u8>, layout: Layout) -> Result<(), Failure> {
        if self.space_range.contains(&memory.addr().get()) {
            // SAFETY: the memory is the sub-allocator's, and popped in the order that the caller keeps.
            unsafe { self.space.pop_alloc(memory, layout) }
        } else {
            // SAFETY: not the sub-allocator's, so it came from the global allocator with this layout.
            unsafe { std::alloc::dealloc(memory.as_ptr(), layout) };
            Ok(())
        }
    }
}

/// Checks an archive: rkyv's validator with a depth limit and without shared pointers, which also sees
/// whether the archive begins where its bytes do.
///
/// rkyv reads an archive from its end and does not mind bytes that nothing refers to, so what a sender
/// appends would become the message and the message would become padding. `X` is what came beside it.
pub struct Check<'a, X = ()> {
    validator: Validator<ArchiveValidator<'a>, ()>,
    start: usize,
    lowest: usize,
    pub(crate) claims: X,
}

impl<'a, X> Check<'a, X> {
    #[inline]
    pub(crate) fn with(bytes: &'a [u8], claims: X) -> Self {
        let Range { start, end } = bytes.as_ptr_range();
        Self {
            validator: Validator::new(ArchiveValidator::with_max_depth(bytes, Some(DEPTH)), ()),
            start: start.addr(),
            lowest: end.addr(),
            claims,
        }
    }

    /// Bytes before the first that belongs to the archive.
    #[inline]
    pub(crate) fn surplus(&self) -> usize {
        self.lowest - self.start
    }
}

// SAFETY: every answer is the validator's own; the address taken down on the way decides nothing here.
unsafe impl<E: Source, X> ArchiveContext<E> for Check<'_, X> {
    #[inline]
    fn check_subtree_ptr(&mut self, ptr: *const u8, layout: &Layout) -> Result<(), E> {
        self.validator.check_subtree_ptr(ptr, layout)
    }

    #[inline]
    unsafe fn push_subtree_range(
        &mut self,
        root: *const u8,
        end: *const u8,
    ) -> Result<Range<usize>, E> {
        self.lowest = self.lowest.min(root.addr());
        // SAFETY: the caller's own promise.
        unsafe { self.validator.push_subtree_range(root, end) }
    }

    #[inline]
    unsafe fn pop_subtree_range(&mut self, range: Range<usize>) -> Result<(), E> {
        // SAFETY: the caller's own promise.
        unsafe { self.validator.pop_subtree_range(range) }
    }
}

/// Why a value could not be written, in the terms that rkyv's traits ask for.
#[derive(Debug)]
pub enum Failure {
    /// The sink refused.
    Sink,
    /// The value refused.
    Value(Reason),
}

#[cold]
pub(crate) fn explain(failure: Failure, refusal: Option<SinkFull>) -> EncodeError {
    match (failure, refusal) {
        (Failure::Value(source), _) => EncodeError::Unencodable { source },
        (Failure::Sink, Some(refusal)) => refusal.into(),
        // A value's own code made the failure up.
        (Failure::Sink, None) => EncodeError::Full,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sink => f.write_str("the sink has no room left"),
            Self::Value(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl Trace for Failure {
    fn trace<R>(self, trace: R) -> Self
    where
        R: fmt::Debug + fmt::Display + Send + Sync + 'static,
    {
        match self {
            Self::Sink => Self::Sink,
            Self::Value(reason) => Self::Value(reason.trace(trace)),
        }
    }
}

impl Source for Failure {
    fn new<T: std::error::Error + Send + Sync + 'static>(source: T) -> Self {
        Self::Value(Reason::new(source))
    }
}
