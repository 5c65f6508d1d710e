//! The peer whose memory is never the same twice: it answers each load from the script, and judges what is
//! loaded.
//!
//! It follows both halves by their loads alone. A *frame* begins with the load of a header that is not zero,
//! at the place where the frame before it ended. From then on the tag is loaded once at most and each byte of the
//! payload once, in order, within the length that this header gave; the next header after that. The one
//! word that is looked at before its time is the next header, as a hint, right after the producer's sleep word
//! said that it sleeps.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use memring_ring::Life;
use memring_ring::frame::{Header, Kind};
use memring_ring::position::{GONE, frame_size};
use memring_ring::scripted::{Peer, Place};

use crate::input::Input;
use crate::memory::{CAPACITY, HEAD, LARGEST, RX_ASLEEP, TX_ASLEEP, offset};
use crate::witness::Witness;

/// The low bits of a sleep word of a consumer that has gone.
const ASLEEP_GONE: u32 = 3;

pub struct Liar {
    script: Vec<u8>,
    at: usize,
    life: Arc<Life>,
    /// Loads and sleeps that this call may still have.
    steps: u32,
    pub sleeps: u32,
    /// Nothing of the peer's lane is read any more.
    pub deaf: bool,
    /// Where the frame that is being read, or will be next, begins.
    head: u64,
    frame: Option<Frame>,
    /// The last load said that our producer is waited for: a header loaded now may be a hint.
    hint: bool,
    /// Such a header, until we know.
    hinted: Option<u64>,
    /// What kind of frame the last one was, its tag, and all bytes of the message so far.
    pub last: Option<(Kind, u64)>,
    pub message: Vec<u8>,
    /// Our lane, and how many messages lie in it.
    pub ours: Witness,
    pub messages: u64,
    /// The last head that could be believed, and whether one could not.
    told: u64,
    pub lied: bool,
    /// How many heads may be loaded before the next publish; `None` while a call waits.
    heads: Option<u32>,
    published: u64,
}

struct Frame {
    word: u64,
    tagged: bool,
    copied: usize,
}

/// What the bench's messages are made of.
pub const OURS: u8 = 0x5c;

impl Liar {
    pub fn new(script: &[u8], life: &Arc<Life>, ours: Witness) -> Self {
        let start = ours.at();
        Self {
            script: script.to_vec(),
            at: 0,
            life: Arc::clone(life),
            steps: 0,
            sleeps: 0,
            deaf: false,
            head: start,
            frame: None,
            hint: false,
            hinted: None,
            last: None,
            message: Vec::new(),
            ours,
            messages: 0,
            told: start,
            lied: false,
            heads: None,
            published: start,
        }
    }

    /// Takes something from the script.
    pub fn draw<T>(&mut self, draw: impl FnOnce(&mut Input<'_>) -> T) -> T {
        let mut input = Input::new(&self.script[self.at..]);
        let drawn = draw(&mut input);
        self.at = self.script.len() - input.left();
        drawn
    }

    /// Before each call: how many steps it has, and how many heads, if that can be said.
    pub fn allow(&mut self, steps: u32, heads: Option<u32>) {
        (self.steps, self.heads) = (steps, heads);
    }

    fn step(&mut self) {
        self.steps = self.steps.checked_sub(1).expect("a call has a bounded number of steps");
    }

    /// Reads what we published.
    pub fn look(&mut self) {
        let messages = &mut self.messages;
        self.ours.read(usize::MAX, |_, bytes| {
            assert!(bytes.iter().all(|byte| *byte == OURS), "made of our own bytes");
            *messages += 1;
        });
        let used = self.ours.at().wrapping_sub(self.told);
        let most = if self.ours.has_ended() { CAPACITY } else { CAPACITY - 16 };
        assert!(used <= most, "{used} bytes behind the last head that could be believed");
    }

    fn header(&mut self) -> u64 {
        let len = |input: &mut Input<'_>| u64::from(input.u16()) % (LARGEST + 24);
        self.draw(|input| match input.u8() {
            kind @ 1..=5 => u64::from(kind) | len(input) << 32,
            kind @ (0 | 6 | 7) => kind.into(),
            _ => input.u64(),
        })
    }

    fn data_word(&mut self, at: usize) -> u64 {
        assert!(!self.deaf, "the lane is read after its end");
        let may_be_hint = std::mem::take(&mut self.hint);
        let here = offset(self.head);
        if let Some(word) = self.hinted.take()
            && at == here + 8
        {
            self.begin(word); // it was none
        }
        if let Some(frame) = &mut self.frame {
            let header = frame.header();
            if at == here + 8 {
                assert!(!std::mem::replace(&mut frame.tagged, true), "a tag is loaded twice");
                let tag = self.draw(|input| input.u8()).into();
                self.last = Some((header.kind, tag));
                return tag;
            }
            self.head = self.head.wrapping_add(frame_size(header.len.into()));
            self.frame = None;
        }
        assert_eq!(at, offset(self.head), "no header of a next frame: one is loaded twice");
        let word = self.header();
        if may_be_hint {
            self.hinted = Some(word);
        } else if word as u32 != 0 {
            self.begin(word);
        }
        word
    }

    fn begin(&mut self, word: u64) {
        self.frame = Some(Frame { word, tagged: false, copied: 0 });
        if !matches!(word as u8, 4 | 5) {
            self.message.clear();
        }
    }

    /// The peer's release position: a word for which we know whether it can be believed.
    fn head_word(&mut self) -> u64 {
        if let Some(heads) = &mut self.heads {
            *heads = heads.checked_sub(1).expect("a head is loaded once a decision");
        }
        self.look();
        let (told, tail) = (self.told, self.ours.at());
        let word = self.draw(|input| match input.u8() {
            0 => told,
            1 => tail,
            2 => told.wrapping_add(u64::from(input.u8()) * 16),
            3 => tail.wrapping_add(u64::from(input.u8()) * 16),
            4 => tail | GONE,
            5 => told | 8,
            _ => input.u64(),
        });
        let head = word & !GONE;
        if head.is_multiple_of(16) && head.wrapping_sub(told) <= tail.wrapping_sub(told) {
            self.told = head;
        } else {
            self.lied = true;
        }
        word
    }
}

impl Frame {
    /// Of which more is loaded only if it keeps the rules.
    fn header(&self) -> Header {
        assert!(self.word >> 32 <= LARGEST, "no frame is longer than a quarter of the lane");
        Header::decode(self.word, LARGEST).expect("a bad header is a fault before anything else")
    }
}

/// The bench draws from the same script.
pub struct Shared(pub Rc<RefCell<Liar>>);

impl Peer for Shared {
    fn load64(&mut self, place: Place) -> u64 {
        let mut liar = self.0.borrow_mut();
        liar.step();
        match place {
            Place::Data(at) => liar.data_word(at),
            Place::Control(HEAD) => {
                liar.hint = false;
                liar.head_word()
            }
            Place::Control(at) => panic!("no word of ours at {at}"),
        }
    }

    fn load32(&mut self, place: Place) -> u32 {
        let mut liar = self.0.borrow_mut();
        liar.step();
        let word = liar.draw(|input| input.u8()).into();
        match place {
            Place::Control(TX_ASLEEP) => liar.hint = word != 0,
            Place::Control(RX_ASLEEP) => {
                liar.hint = false;
                liar.look();
                let at = liar.ours.at();
                assert_ne!(std::mem::replace(&mut liar.published, at), at, "once a publish");
                // Another decision from here on; and a consumer that is said to have gone is asked.
                let more = u32::from(word & 3 == ASLEEP_GONE);
                liar.heads = liar.heads.map(|_| 1 + more);
            }
            other => panic!("no word of ours at {other:?}"),
        }
        word
    }

    fn copy_out(&mut self, place: Place, into: &mut [u8]) {
        let mut liar = self.0.borrow_mut();
        liar.step();
        let Place::Data(at) = place else { panic!("bytes of a control area: {place:?}") };
        if let Some(word) = liar.hinted.take() {
            liar.begin(word); // it was none; and who knows how long a message is asks for no tag
        }
        let payload = offset(liar.head) + 16;
        let frame = liar.frame.as_mut().expect("a payload belongs to a frame");
        let from = at.checked_sub(payload).expect("a payload lies behind its header");
        assert!(from >= frame.copied, "a byte is copied twice");
        frame.copied = from + into.len();
        assert!(frame.copied <= frame.header().len as usize, "more than the header said");
        let rest = liar.steps as u8;
        liar.draw(|input| {
            let given = input.bytes(into.len().min(64));
            let (first, others) = into.split_at_mut(given.len());
            first.copy_from_slice(given);
            others.fill(rest);
        });
        liar.message.extend_from_slice(into);
    }

    fn sleep(&mut self) {
        let mut liar = self.0.borrow_mut();
        liar.step();
        liar.hint = false;
        if liar.sleeps == 0 {
            liar.life.hang_up();
        }
        liar.sleeps = liar.sleeps.saturating_sub(1);
    }
}
