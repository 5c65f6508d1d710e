//! The server of a scene as one hub in one thread: the listener, the bystander and all sessions of attackers. Nothing here may
//! wait but the hub.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender};

use memring::hub::{Event, Hub, Key, Member};
use memring::{Arm, Bytes, End, Incoming, Listener, Protocol, ServerEnd, TrySendError};

use crate::bystander;
use crate::in_hand::{Attempt, Job};
use crate::scene::Ends;
use crate::service::{ECHO, How, Service};

/// A hub and everybody in it.
pub struct House {
    hub: Hub,
    guests: HashMap<Key, Box<dyn Guest>>,
    /// Whose deadline a timer is.
    deadlines: HashMap<Key, Key>,
}

/// A session in the hub.
trait Guest {
    fn key(&self) -> Key;

    /// Goes on as far as it can, for something has happened, perhaps to its deadline. `None` once it has left.
    fn turn(self: Box<Self>, hub: &mut Hub, late: bool) -> Option<Box<dyn Guest>>;
}

impl House {
    pub fn new(hub: Hub) -> Self {
        Self { hub, guests: HashMap::new(), deadlines: HashMap::new() }
    }

    /// Serves until the listener is shut down: the bystander, attackers as `welcome` does, and the waits of tests.
    pub fn serve(
        mut self,
        listener: &Listener,
        welcome: impl Fn(&mut Self, Incoming),
        jobs: &Receiver<Job>,
    ) {
        self.hub.listen(listener).expect("joins");
        loop {
            match self.hub.wait(None).expect("waits").expect("there is no deadline") {
                Event::Connected(_, incoming) if incoming.name() == bystander::NAME => {
                    let bystander = incoming.open::<Bytes>().expect("the bystander speaks bytes");
                    self.seat(bystander, ECHO, None);
                }
                Event::Connected(_, incoming) => welcome(&mut self, *incoming),
                Event::Readable(key) | Event::Room(key) | Event::Closed(key, _) => {
                    self.turn(key, false);
                }
                Event::Timer(timer) => {
                    if let Some(key) = self.deadlines.remove(&timer) {
                        self.turn(key, true);
                    }
                }
                Event::Woken => jobs.try_iter().for_each(|job| self.wait_with(job)),
                Event::Paused(..) => {} // it is counted
                Event::Stopped(..) => return,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Serves this session too, and notes how it ended.
    pub fn seat<P: Protocol<ToClient = [u8]>>(
        &mut self,
        mut channel: ServerEnd<P>,
        service: Service<P>,
        ends: Option<Ends>,
    ) {
        let owed = (service.begin)(&mut channel).into();
        let channel = self.hub.add(channel).expect("joins");
        let key = channel.key();
        self.guests.insert(key, Box::new(Served { channel, service, owed, ends }));
        self.turn(key, false);
    }

    fn wait_with(&mut self, job: Job) {
        let Job { channel, deadline, at_once, attempt, back } = job;
        let channel = self.hub.add(channel).expect("joins");
        let key = channel.key();
        let timer = deadline.map(|deadline| self.hub.at(deadline).expect("a timer"));
        self.deadlines.extend(timer.map(|timer| (timer, key)));
        self.guests.insert(key, Box::new(Waits { channel, attempt, back, timer }));
        if at_once {
            self.turn(key, false);
        }
    }

    fn turn(&mut self, key: Key, late: bool) {
        let Some(guest) = self.guests.remove(&key) else { return };
        if let Some(guest) = guest.turn(&mut self.hub, late) {
            self.guests.insert(guest.key(), guest);
        }
    }
}

/// One that is served.
struct Served<P: Protocol<ToClient = [u8]>> {
    channel: Member<ServerEnd<P>>,
    service: Service<P>,
    /// What there was no room for. Nothing is received before that has gone.
    owed: VecDeque<Vec<u8>>,
    ends: Option<Ends>,
}

impl<P: Protocol<ToClient = [u8]>> Served<P> {
    fn go_on(&mut self) -> Result<(), End> {
        self.pay()?;
        if self.owed.is_empty() {
            self.owed.extend((self.service.answer)(&mut self.channel, How::Now)?);
            self.pay()?;
        }
        Ok(())
    }

    fn pay(&mut self) -> Result<(), End> {
        while let Some(message) = self.owed.front() {
            match self.channel.try_send(message) {
                Ok(()) => drop(self.owed.pop_front()),
                Err(TrySendError::Full) => {
                    if self.channel.await_room() == Arm::Armed {
                        self.channel.pause();
                        return Ok(());
                    }
                }
                Err(TrySendError::Ended(end)) => return Err(end),
                Err(other) => panic!("{other}"),
            }
        }
        self.channel.resume();
        Ok(())
    }
}

impl<P: Protocol<ToClient = [u8]>> Guest for Served<P> {
    fn key(&self) -> Key {
        self.channel.key()
    }

    fn turn(mut self: Box<Self>, _: &mut Hub, _: bool) -> Option<Box<dyn Guest>> {
        match self.go_on() {
            Ok(()) => Some(self),
            Err(end) => {
                let ends = self.ends.take();
                drop(self);
                if let Some(ends) = ends {
                    ends.lock().unwrap().push(end);
                }
                None
            }
        }
    }
}

/// One with which a test waits.
struct Waits {
    channel: Member<ServerEnd<Bytes>>,
    attempt: Attempt,
    back: Sender<ServerEnd<Bytes>>,
    timer: Option<Key>,
}

impl Guest for Waits {
    fn key(&self) -> Key {
        self.channel.key()
    }

    fn turn(mut self: Box<Self>, hub: &mut Hub, late: bool) -> Option<Box<dyn Guest>> {
        if !(self.attempt)(&mut self.channel, late) {
            return Some(self);
        }
        if let Some(timer) = self.timer {
            hub.remove(timer);
        }
        // A test that has failed wants nothing back.
        self.back.send(self.channel.into_inner()).ok();
        None
    }
}
