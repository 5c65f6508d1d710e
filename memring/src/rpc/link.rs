//! A session in which calls are made and served: whoever waits reads for all.
//!
//! There is no thread behind it. A thread that waits, for an answer, for a call to serve, for credit, takes the receiving
//! half if nobody has it, and files what it reads for the others until its own comes; then it wakes one of those that
//! sleep, to read in its place. Whoever finds the half taken sleeps, and is woken when its own was filed or it is to read.
//!
//! Locks are taken in the order `receiving`, `sending`, `table`; the receiving half is never waited for with one of the
//! others held, and the table's lock is held for no call and no wake.
//!
//! Not here: what an interface is, or what a handler does.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use memring_codec::attached::Attaches;
use memring_codec::{EncodeError, Scratch, Sink};
use memring_ring::buffer::Buffer;
use memring_ring::consumer::{Consumer, Item, RecvError as LaneRecvError, TryRecvError as LaneTryRecvError};
use memring_transport::{Peer, Session};

use super::services::{Opened, Services};
use super::table::{Asked, Packet, Running, Table, Waiter};
use super::wire::{self, Broken, Code, HEADER, Header, Kind, Opening, Shape};
use crate::arrived::Arrived;
use crate::attached::Outbound;
use crate::carry::KEEP;
use crate::channel::Channel;
use crate::error::{End, Fault, SendError, TrySendError, end_of};

/// How long whoever waits for room looks away from what comes.
const SLICE: Duration = Duration::from_millis(1);

/// Calls of the peer's that run or wait at once, unless said otherwise.
pub(crate) const MOST_RUNNING: u32 = 1024;

/// A session in which calls are made and served. Clones are the same session; it ends with the last of them, and of what was
/// opened in it.
#[derive(Clone)]
pub struct Link {
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

/// What the threads of a session share.
pub(crate) struct Shared {
    session: Arc<Session>,
    sending: Mutex<Sending>,
    /// A message that waits for room is through.
    through: Condvar,
    receiving: Mutex<Receiving>,
    table: Mutex<Table>,
    pub(crate) services: OnceLock<Arc<Services>>,
    /// New calls are refused.
    stopping: AtomicBool,
    /// So much was read and not begun that only who begins it reads on.
    crowded: AtomicBool,
}

struct Sending {
    out: Outbound,
    /// The number of the last question.
    last: u64,
    /// Somebody waits for room in the midst of a message.
    busy: bool,
}

struct Receiving {
    consumer: Consumer,
    /// The number of the peer's last question.
    last: u64,
    /// What the peer opened, by the number of the service.
    opened: Vec<Option<Opened>>,
    /// Short answers that found no room.
    owed: Vec<(Vec<u8>, u64)>,
    fault: Option<Fault>,
    /// The peer's clock may be another: ours less its, in nanoseconds.
    ahead: i64,
}

/// Why a wait ended without what it was for.
pub(crate) enum Stopped {
    TimedOut,
    Ended(End),
}

/// What a wait was for.
pub(crate) enum Got<'a, T> {
    /// Another thread had filed it.
    Ready(T),
    /// It was read just now, and lies where it was read.
    Here(Here<'a>),
}

/// A packet in the receiving half, which nobody else can use as long as this lives.
pub(crate) struct Here<'a> {
    shared: &'a Shared,
    receiving: Option<MutexGuard<'a, Receiving>>,
    pub header: Header,
    pub call: u64,
    item: Item,
    arrived: Option<Arc<Arrived>>,
    /// Of a question: what runs it.
    pub running: Option<Arc<Running>>,
}

impl Here<'_> {
    /// Its body.
    pub(crate) fn body(&self) -> &[u8] {
        let bytes = self.receiving.as_ref().map_or(&[][..], |one| one.consumer.bytes(&self.item));
        bytes.get(self.header.body_at()..).unwrap_or_default()
    }

    /// What came with it.
    pub(crate) fn arrived(&self) -> Option<&Arc<Arrived>> {
        self.arrived.as_ref()
    }

    /// It was the answer to a question of this side's, and has been read: the question is settled, and others read.
    pub(crate) fn done(mut self) {
        drop(self.receiving.take());
        let next = {
            let mut table = self.shared.table();
            table.forget(self.call);
            table.next_reader()
        };
        if let Some(thread) = next {
            thread.unpark();
        }
    }

    /// Takes it out, into this memory, and lets others read.
    pub(crate) fn take(mut self, spare: Buffer) -> (Packet, Option<Arc<Running>>) {
        let memory = match &mut self.receiving {
            Some(receiving) => receiving.consumer.take(&self.item, spare),
            None => spare, // never: it is given back when this is dropped
        };
        let arrived = self.arrived.take();
        let packet = Packet { header: self.header, call: self.call, memory, arrived };
        (packet, self.running.take())
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        if let Some(receiving) = self.receiving.take() {
            drop(receiving);
            self.shared.pass_on();
        }
    }
}

thread_local! {
    /// Where this thread encodes.
    static SCRATCH: Cell<Option<Scratch>> = const { Cell::new(None) };
}

/// Lends this thread's memory for encoding, empty, for up to `most` bytes.
fn with_scratch<R>(most: usize, with: impl FnOnce(&mut Scratch) -> R) -> R {
    // An encoding that calls somebody itself finds none, and makes its own.
    let mut scratch = SCRATCH.take().unwrap_or_else(|| Scratch::new(most));
    scratch.set_max(most);
    let result = with(&mut scratch);
    scratch.clear_and_shrink(KEEP);
    SCRATCH.set(Some(scratch));
    result
}

/// Encodes a body behind its header.
pub(crate) trait Body {
    /// Whether it may carry something beside bytes.
    const CARRIES: bool;

    fn encode(
        &self,
        into: &mut Scratch,
        attaches: Option<&mut dyn Attaches>,
    ) -> Result<(), EncodeError>;
}

/// Bytes as they are.
impl Body for &[u8] {
    const CARRIES: bool = false;

    fn encode(
        &self,
        into: &mut Scratch,
        _: Option<&mut dyn Attaches>,
    ) -> Result<(), EncodeError> {
        Ok(into.write(self)?)
    }
}

/// Why something was not sent.
pub(crate) enum NotSent {
    /// As many questions are open as the peer takes.
    TooMany(u32),
    Send(SendError),
}

impl From<SendError> for NotSent {
    fn from(error: SendError) -> Self {
        Self::Send(error)
    }
}

impl Shared {
    pub(crate) fn new(channel: Channel<[u8], [u8]>, most_running: u32) -> Arc<Self> {
        let (sender, receiver) = channel.split();
        let session = Arc::clone(sender.session());
        let out = Outbound::of(sender);
        let mut consumer = receiver.into_consumer();
        if session.negotiated().takes.any() {
            consumer.take_fds();
        }
        Arc::new(Self {
            session,
            sending: Mutex::new(Sending { out, last: 0, busy: false }),
            through: Condvar::new(),
            receiving: Mutex::new(Receiving {
                consumer,
                last: 0,
                opened: Vec::new(),
                owed: Vec::new(),
                fault: None,
                ahead: 0,
            }),
            table: Mutex::new(Table::new(most_running)),
            services: OnceLock::new(),
            stopping: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
        })
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    pub(crate) fn peer(&self) -> &Peer {
        self.session.peer()
    }

    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_forked(&self) -> bool {
        self.session.life().is_forked()
    }

    // ---- sending

    /// Sends a packet about a call that has a number.
    pub(crate) fn send<B: Body>(
        &self,
        header: Header,
        call: u64,
        body: &B,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        match self.put(header, body, deadline, |_| Ok(call), |_| {}) {
            Ok(_) => Ok(()),
            Err(NotSent::Send(error)) => Err(error),
            Err(NotSent::TooMany(_)) => Err(SendError::TimedOut), // none is asked for
        }
    }

    /// Sends a question. Its number.
    pub(crate) fn ask<B: Body>(
        &self,
        header: Header,
        body: &B,
        asked: Asked,
        deadline: Option<Instant>,
    ) -> Result<u64, NotSent> {
        let number = |last: &mut u64| {
            let call = *last + 1;
            self.table().ask(call, asked).map_err(NotSent::TooMany)?;
            *last = call;
            Ok(call)
        };
        self.put(header, body, deadline, number, |call| drop(self.table().forget(call)))
    }

    /// Encodes, numbers and sends a packet. What is not sent is told to `undo`.
    fn put<B: Body>(
        &self,
        header: Header,
        body: &B,
        deadline: Option<Instant>,
        number: impl FnOnce(&mut u64) -> Result<u64, NotSent>,
        undo: impl FnOnce(u64),
    ) -> Result<u64, NotSent> {
        // Before a lock is taken that another thread of the parent may have held at the fork.
        if self.is_forked() {
            return Err(SendError::Ended(End::Forked).into());
        }
        let most = self.session.negotiated().largest_message.min(memring_codec::LARGEST_VALUE as u64);
        with_scratch(most as usize, |scratch| {
            if B::CARRIES {
                return self.put_carrying(header, body, deadline, scratch, number, undo);
            }
            scratch
                .write(&header.encode())
                .map_err(EncodeError::from)
                .and_then(|()| body.encode(scratch, None))
                .map_err(SendError::of_encoding)?;
            let mut sending = self.lock_sending(deadline)?;
            let call = number(&mut sending.last)?;
            let bytes = scratch.as_slice();
            match sending.out.producer().try_send(bytes, call) {
                Ok(()) => Ok(call),
                Err(_) => match self.put_slowly(sending, bytes, call, deadline) {
                    Ok(()) => Ok(call),
                    Err(error) => {
                        undo(call);
                        Err(error.into())
                    }
                },
            }
        })
    }

    /// The same, of what may carry descriptors or blobs.
    fn put_carrying<B: Body>(
        &self,
        header: Header,
        body: &B,
        deadline: Option<Instant>,
        scratch: &mut Scratch,
        number: impl FnOnce(&mut u64) -> Result<u64, NotSent>,
        undo: impl FnOnce(u64),
    ) -> Result<u64, NotSent> {
        // What goes along is numbered in the order in which it is sent.
        let mut sending = self.lock_sending(deadline)?;
        let encoded = sending.out.encode(scratch, |scratch, place| body.encode(scratch, Some(place)));
        let going = encoded.map_err(SendError::of_encoding)?;
        let blobs = going.blobs();
        let count = u8::try_from(blobs.len()).map_err(|_| SendError::Blobs)?;
        let header = Header { blobs: count, ..header };
        let mut bytes = Vec::with_capacity(header.body_at() + scratch.len());
        bytes.extend_from_slice(&header.encode());
        blobs.for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
        bytes.resize(header.body_at(), 0);
        bytes.extend_from_slice(scratch);
        let call = number(&mut sending.last)?;
        loop {
            match sending.out.try_send(&bytes, &going, call) {
                Err(TrySendError::Full) => {}
                Ok(()) => {
                    self.let_others(&mut sending);
                    return Ok(call);
                }
                Err(error) => {
                    self.let_others(&mut sending);
                    drop(sending);
                    undo(call);
                    return Err(error.waited().into());
                }
            }
            sending = match self.look_away(sending, deadline) {
                Ok(sending) => sending,
                Err(error) => {
                    undo(call);
                    return Err(error.into());
                }
            };
            // It may be the peer that has to receive what went before: no word of ours says when.
            thread::sleep(SLICE / 4);
        }
    }

    /// Sends on as room comes free, and reads meanwhile: both sides may be waiting for room.
    #[cold]
    fn put_slowly<'a>(
        &'a self,
        mut sending: MutexGuard<'a, Sending>,
        bytes: &[u8],
        call: u64,
        deadline: Option<Instant>,
    ) -> Result<(), SendError> {
        let mut sent = 0;
        loop {
            let result = sending.out.try_send_on(bytes, call, &mut sent);
            match result {
                Err(TrySendError::Full) => {}
                other => {
                    self.let_others(&mut sending);
                    return other.map_err(TrySendError::waited);
                }
            }
            sending = self.look_away(sending, deadline)?;
        }
    }

    /// Waits a moment for room, and reads what there is. The sending half stays this thread's.
    fn look_away<'a>(
        &'a self,
        mut sending: MutexGuard<'a, Sending>,
        deadline: Option<Instant>,
    ) -> Result<MutexGuard<'a, Sending>, SendError> {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| now >= deadline) {
            self.let_others(&mut sending);
            return Err(SendError::TimedOut);
        }
        sending.busy = true;
        let until = deadline.map_or(now + SLICE, |deadline| deadline.min(now + SLICE));
        if let Err(SendError::Ended(end)) = sending.out.wait_for_room(until) {
            self.let_others(&mut sending);
            return Err(SendError::Ended(end));
        }
        drop(sending);
        self.read_what_is_there();
        Ok(self.sending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn let_others(&self, sending: &mut Sending) {
        if std::mem::take(&mut sending.busy) {
            self.through.notify_all();
        }
    }

    fn lock_sending(&self, deadline: Option<Instant>) -> Result<MutexGuard<'_, Sending>, SendError> {
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        while sending.busy {
            sending = match deadline {
                None => self.through.wait(sending).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(SendError::TimedOut);
                    }
                    self.through.wait_timeout(sending, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        Ok(sending)
    }

    /// Sends a short packet if there is room now. Whether it went, or nobody is there to get it.
    fn try_put(&self, bytes: &[u8], call: u64) -> bool {
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        if sending.busy {
            return false;
        }
        !matches!(sending.out.producer().try_send(bytes, call), Err(memring_ring::producer::TrySendError::Full))
    }

    /// Tells the peer that nobody will wait for this answer; whoever waits still does.
    pub(crate) fn tell_cancelled(&self, call: u64) {
        let waits = !self.is_forked() && matches!(self.table().asked(call), Some(Asked::Waiting(_)));
        if waits {
            self.try_put(&Header::new(Kind::Cancel).encode(), call);
        }
    }

    /// Tells the peer that nobody waits for this answer any more.
    pub(crate) fn cancel(&self, call: u64) {
        if self.is_forked() || !self.table().abandon(call) {
            return;
        }
        let bytes = Header::new(Kind::Cancel).encode();
        if !self.try_put(&bytes, call) {
            // It is only a kindness, and there is nobody to wait here for room.
            let mut receiving = match self.receiving.try_lock() {
                Ok(receiving) => receiving,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            receiving.owed.push((bytes.to_vec(), call));
        }
    }

    // ---- receiving

    fn is_crowded(&self) -> bool {
        // ORDERING: Relaxed; a bound that may be overstepped by what is read meanwhile.
        self.crowded.load(Ordering::Relaxed)
    }

    /// Takes a call that another thread read.
    pub(crate) fn next_job(&self, table: &mut Table) -> Option<(Packet, Option<Arc<Running>>)> {
        let job = table.next_job()?;
        self.crowded.store(table.is_crowded(), Ordering::Relaxed);
        Some(job)
    }

    /// Waits until `ready` finds something in the table, or a packet comes that is `mine`.
    pub(crate) fn wait<'a, T>(
        &'a self,
        serves: bool,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut Table) -> Option<T>,
        mine: impl Fn(&Header, u64) -> bool,
        waiter: impl Fn(&mut Table, Waiter),
    ) -> Result<Got<'a, T>, Stopped> {
        if self.is_forked() {
            return Err(Stopped::Ended(End::Forked));
        }
        let mut chosen = false;
        loop {
            let receiving = match self.receiving.try_lock() {
                Ok(receiving) => Some(receiving),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(mut receiving) = receiving {
                // Nobody files anything from here on but this thread.
                let found = ready(&mut self.table());
                if let Some(found) = found {
                    drop(receiving);
                    self.pass_on();
                    return Ok(Got::Ready(found));
                }
                let read = self.read_until(&mut receiving, serves, deadline, &mut ready, &mine);
                return match read {
                    Ok(Read::Ready(found)) => {
                        drop(receiving);
                        self.pass_on();
                        Ok(Got::Ready(found))
                    }
                    Ok(Read::Here(Mine { header, item, arrived, running })) => Ok(Got::Here(Here {
                        shared: self,
                        receiving: Some(receiving),
                        header,
                        call: item.tag,
                        item,
                        arrived,
                        running,
                    })),
                    Err(stopped) => {
                        drop(receiving);
                        self.pass_on();
                        Err(stopped)
                    }
                };
            }
            let number = {
                let mut table = self.table();
                if let Some(found) = ready(&mut table) {
                    drop(table);
                    if chosen {
                        self.pass_on();
                    }
                    return Ok(Got::Ready(found));
                }
                if let Some(end) = table.end() {
                    return Err(Stopped::Ended(end.clone()));
                }
                waiter(&mut table, Waiter::Thread(thread::current()));
                table.sleeps(thread::current(), serves)
            };
            // Whoever had the receiving half may have given it back before it could see that this thread sleeps.
            let free = match self.receiving.try_lock() {
                Err(TryLockError::WouldBlock) => false,
                Ok(_) | Err(TryLockError::Poisoned(_)) => true,
            };
            let now = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            match now {
                _ if free => {}
                None => thread::park(),
                Some(left) => thread::park_timeout(left),
            }
            chosen = !self.table().woke(number);
            if now.is_some_and(|left| left.is_zero()) {
                let found = ready(&mut self.table());
                if chosen {
                    self.pass_on();
                }
                return found.map(Got::Ready).ok_or(Stopped::TimedOut);
            }
        }
    }

    /// Reads, files what is for others, and stops at what is for this thread.
    fn read_until<T>(
        &self,
        receiving: &mut Receiving,
        serves: bool,
        deadline: Option<Instant>,
        ready: &mut impl FnMut(&mut Table) -> Option<T>,
        mine: &impl Fn(&Header, u64) -> bool,
    ) -> Result<Read<T>, Stopped> {
        loop {
            let slice = if receiving.owed.is_empty() {
                deadline
            } else {
                self.pay(receiving);
                let soon = Instant::now() + SLICE;
                Some(deadline.map_or(soon, |deadline| deadline.min(soon)))
            };
            if !serves && self.is_crowded() {
                // What is behind has to wait until some of that has begun.
                thread::sleep(SLICE);
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Err(Stopped::TimedOut);
                }
                continue;
            }
            let item = match receiving.consumer.recv(slice) {
                Ok(item) => item,
                Err(LaneRecvError::TimedOut) if slice == deadline => return Err(Stopped::TimedOut),
                Err(LaneRecvError::Ended(end)) => {
                    return Err(Stopped::Ended(self.over(receiving, end)));
                }
                Err(_) => continue,
            };
            match self.sort(receiving, item, mine) {
                Ok(Sorted::Mine(mine)) => return Ok(Read::Here(mine)),
                Ok(Sorted::Filed) => {
                    let found = ready(&mut self.table());
                    if let Some(found) = found {
                        return Ok(Read::Ready(found));
                    }
                }
                Err(broken) => return Err(Stopped::Ended(self.broken(receiving, broken))),
            }
        }
    }

    /// Files what lies in the lane, and waits for nothing.
    fn read_what_is_there(&self) {
        let mut receiving = match self.receiving.try_lock() {
            Ok(receiving) => receiving,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.pay(&mut receiving);
        while !self.is_crowded() {
            match receiving.consumer.try_recv() {
                Ok(item) => match self.sort(&mut receiving, item, &|_, _| false) {
                    Ok(_) => {}
                    Err(broken) => {
                        self.broken(&mut receiving, broken);
                        break;
                    }
                },
                Err(LaneTryRecvError::Ended(end)) => {
                    self.over(&mut receiving, end);
                    break;
                }
                Err(_) => break,
            }
        }
        drop(receiving);
        self.pass_on();
    }

    /// Looks whether something came that changes what runs, such as a cancellation.
    pub(crate) fn look(&self) {
        if !self.is_forked() {
            self.read_what_is_there();
        }
    }

    /// Wakes somebody to read.
    #[inline]
    fn pass_on(&self) {
        let next = self.table().next_reader();
        if let Some(thread) = next {
            thread.unpark();
        }
    }

    /// Sends what is owed, as far as there is room.
    fn pay(&self, receiving: &mut Receiving) {
        let paid = receiving.owed.iter().take_while(|(bytes, call)| self.try_put(bytes, *call)).count();
        receiving.owed.drain(..paid);
    }

    /// What a packet is, and whose.
    fn sort(
        &self,
        receiving: &mut Receiving,
        item: Item,
        mine: &impl Fn(&Header, u64) -> bool,
    ) -> Result<Sorted, Broken> {
        let mut header = Header::decode(receiving.consumer.bytes(&item))?;
        let call = item.tag;
        let mut running = None;
        if item.has_fds() && !header.kind.may_carry() {
            drop(self.session.take_parcel());
        }
        match header.kind {
            Kind::Opened | Kind::Refused | Kind::Done | Kind::Failed | Kind::Ended | Kind::Item => {
                let arrived = self.arrived(receiving, header, &item)?;
                if mine(&header, call) {
                    return Ok(Sorted::Mine(Mine { header, item, arrived, running }));
                }
                let memory = receiving.consumer.take(&item, Buffer::new());
                let packet = Packet { header, call, memory, arrived };
                let waiter = self.table().file(packet)?;
                if let Some(waiter) = waiter {
                    waiter.wake();
                }
                return Ok(Sorted::Filed);
            }
            Kind::Cancel => {
                let waiter = self.table().running(call).and_then(|running| running.cut());
                if let Some(waiter) = waiter {
                    waiter.wake();
                }
                return Ok(Sorted::Filed);
            }
            Kind::Credit => {
                let granted = self.table().running(call).map(|one| one.grant(header.number));
                if let Some(Some(waiter)) = granted.transpose()? {
                    waiter.wake();
                }
                return Ok(Sorted::Filed);
            }
            Kind::Open => {
                self.in_order(receiving, call)?;
                self.opens(receiving, header, item)?;
                return Ok(Sorted::Filed);
            }
            Kind::Call | Kind::Tell => {
                if header.time != 0 {
                    header.time = header.time.saturating_add_signed(receiving.ahead).max(1);
                }
                let shape = receiving.shape(&header, self.services.get())?;
                match (header.kind, shape) {
                    (Kind::Call, Shape::Call | Shape::Stream) => {
                        self.in_order(receiving, call)?;
                        running = Some(self.table().begin(call, 0)?);
                    }
                    (Kind::Tell, Shape::OneWay) if call == 0 => {}
                    _ => return Err(Broken::Method),
                }
            }
            Kind::Signal | Kind::Subscribe | Kind::Unsubscribe => return Err(Broken::Method),
        }
        let arrived = self.arrived(receiving, header, &item)?;
        if mine(&header, call) {
            return Ok(Sorted::Mine(Mine { header, item, arrived, running }));
        }
        let memory = receiving.consumer.take(&item, Buffer::new());
        let packet = Packet { header, call, memory, arrived };
        let thread = {
            let mut table = self.table();
            let thread = table.queue(packet, running);
            self.crowded.store(table.is_crowded(), Ordering::Relaxed);
            thread
        };
        if let Some(thread) = thread {
            thread.unpark();
        }
        Ok(Sorted::Filed)
    }

    /// A question's number follows the one before.
    fn in_order(&self, receiving: &mut Receiving, call: u64) -> Result<(), Broken> {
        if call <= receiving.last {
            return Err(Broken::Order);
        }
        receiving.last = call;
        Ok(())
    }

    /// The peer asks for an interface: it is told at once.
    fn opens(&self, receiving: &mut Receiving, header: Header, item: Item) -> Result<(), Broken> {
        let call = item.tag;
        let theirs = receiving.consumer.bytes(&item).get(HEADER..).unwrap_or_default();
        let opening = Opening::decode(theirs)?;
        let (answer, opened) = match self.services.get() {
            Some(services) => services.answer(&opening, self.peer(), self.most_running()),
            None => (Services::none(), None),
        };
        receiving.ahead = clock_difference(header.time);
        if let Some((place, opened)) = opened {
            if receiving.opened.len() <= place {
                receiving.opened.resize_with(place + 1, || None);
            }
            receiving.opened[place] = Some(opened);
        }
        if !receiving.owed.is_empty() || !self.try_put(&answer, call) {
            if receiving.owed.len() >= self.most_running() as usize {
                return Err(Broken::Overrun);
            }
            receiving.owed.push((answer, call));
        }
        Ok(())
    }

    fn most_running(&self) -> u32 {
        self.table().most_running
    }

    /// What came with a packet, named before anything else is read: the peer counts on it.
    #[inline]
    fn arrived(
        &self,
        receiving: &Receiving,
        header: Header,
        item: &Item,
    ) -> Result<Option<Arc<Arrived>>, Broken> {
        if !item.has_fds() && header.blobs == 0 {
            return Ok(None);
        }
        let parcel = if item.has_fds() { self.session.take_parcel() } else { None };
        let blobs = header.blobs_of(receiving.consumer.bytes(item));
        let session = Arc::clone(&self.session);
        let arrived = Arrived::listing(session, parcel.unwrap_or_default(), blobs);
        Ok(Some(Arc::new(arrived.ok_or(Broken::Blob)?)))
    }

    /// The session ended.
    #[cold]
    fn over(&self, receiving: &mut Receiving, end: memring_ring::End) -> End {
        let end = match (&receiving.fault, end) {
            (Some(fault), memring_ring::End::Fault(rule)) if fault.rule == rule => {
                End::Fault(fault.clone())
            }
            (_, end) => end_of(end, self.peer()),
        };
        let told = self.table().finish_all(end.clone());
        told.into_iter().for_each(Waiter::wake);
        end
    }

    /// The peer broke a rule.
    #[cold]
    fn broken(&self, receiving: &mut Receiving, broken: Broken) -> End {
        let rule = memring_ring::Fault::Calls;
        let end = receiving.consumer.fail(rule);
        receiving.fault.get_or_insert(Fault { rule, detail: Some(broken.to_string().into()) });
        self.over(receiving, end)
    }

    // ---- serving

    /// Refuses new calls from now on.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Ends a call of the peer's without an answer of the method's.
    pub(crate) fn end_call(&self, call: u64, code: Code, why: &str) {
        self.table().finish(call);
        let header = Header { number: code as u32, ..Header::new(Kind::Ended) };
        let why = &why.as_bytes()[..why.len().min(wire::MAX_SIGNATURE)];
        // If it cannot be told, the session is over.
        let _ = self.send(header, call, &why, None);
    }

    /// Closes the session for both directions.
    pub(crate) fn close(&self) {
        if !self.is_forked() {
            self.session.close();
        }
    }
}

enum Read<T> {
    Ready(T),
    Here(Mine),
}

enum Sorted {
    Mine(Mine),
    Filed,
}

/// What the thread that reads was waiting for.
struct Mine {
    header: Header,
    item: Item,
    arrived: Option<Arc<Arrived>>,
    running: Option<Arc<Running>>,
}

impl Receiving {
    /// What kind of member a call is for, if the peer may call it.
    #[inline]
    fn shape(&self, header: &Header, services: Option<&Arc<Services>>) -> Result<Shape, Broken> {
        let place = usize::from(header.interface);
        let opened = self.opened.get(place).and_then(Option::as_ref).ok_or(Broken::NotOpened)?;
        let members = services.map_or(&[][..], |services| services.members(place));
        let member = members.get(header.number as usize).ok_or(Broken::Method)?;
        if !opened.allows(header.number as usize) {
            return Err(Broken::Method);
        }
        Ok(member.shape)
    }
}

/// The monotonic clock, in nanoseconds.
pub(crate) fn now_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// How far our clock is ahead of the peer's, which read so when it wrote: nothing, unless it is in another time namespace.
fn clock_difference(theirs: u64) -> i64 {
    /// What a packet may take on its way.
    const SLACK: i64 = 10_000_000_000;
    let ahead = now_nanos().wrapping_sub(theirs) as i64;
    if (0..SLACK).contains(&ahead) { 0 } else { ahead }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("peer", self.peer()).finish_non_exhaustive()
    }
}
