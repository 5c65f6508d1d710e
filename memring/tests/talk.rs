//! Two processes talk: every way to wait, every shape of message, every way to send and receive.

mod support;

use std::io::IoSlice;
use std::time::{Duration, Instant};

use memring::{
    Bytes, ClientEnd, Connector, End, Lanes, Listener, Protocol, RecvError, SendError, ServerEnd,
    TryRecvError, TrySendError,
};
use support::{Helper, Scratch, Stage, WAITS, eventually, play, soon};

#[test]
fn role() {
    play(&[
        ("echo", echo),
        ("echo letters", echo_letters),
        ("answer", answer),
        ("flood", flood),
        ("count", count),
    ]);
}

/// 32 bytes of plain data.
#[memring::message]
#[derive(Clone, Debug, PartialEq)]
struct Quote {
    id: u64,
    price: i64,
    size: u64,
    venue: u32,
    flags: u32,
}

#[memring::message]
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Nothing,
    Moved(i32, i32),
    Opened { by: String },
    Failed(Result<u32, String>),
    Nested(Vec<Event>),
}

/// Everything that lies out of line.
#[memring::message]
#[derive(Clone, Debug, PartialEq)]
struct Letter {
    subject: String,
    bytes: Vec<u8>,
    lines: Vec<String>,
    quotes: Vec<Quote>,
    events: Vec<Event>,
    reply_to: Option<Box<Letter>>,
}

struct Quotes;
impl Protocol for Quotes {
    const NAME: &'static str = "quotes";
    type ToClient = Quote;
    type ToServer = Quote;
}

struct Letters;
impl Protocol for Letters {
    const NAME: &'static str = "letters";
    type ToClient = Letter;
    type ToServer = Letter;
}

fn quote(id: u64) -> Quote {
    Quote {
        id,
        price: -(id as i64),
        size: id.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        venue: id as u32,
        flags: !(id as u32),
    }
}

fn letter(size: usize, depth: u32) -> Letter {
    Letter {
        subject: "grüße".repeat(size),
        bytes: (0..size).map(|at| at as u8).collect(),
        lines: (0..size).map(|at| "x".repeat(at % 50)).collect(),
        quotes: (0..size as u64).map(quote).collect(),
        events: vec![
            Event::Nothing,
            Event::Moved(-1, i32::MAX),
            Event::Opened { by: "me".into() },
            Event::Failed(Ok(7)),
            Event::Failed(Err("why not".into())),
        ],
        reply_to: (depth > 0).then(|| {
            let mut inner = letter(size / 2, depth - 1);
            inner.events.push(Event::Nested(inner.events.clone()));
            Box::new(inner)
        }),
    }
}

fn connect<P: Protocol>(stage: &Stage) -> ClientEnd<P> {
    Connector::new()
        .wait(stage.wait())
        .timeout(support::PATIENCE)
        .connect::<P>(stage.path())
        .expect("connects")
}

/// Sends every quote back until the other side closes.
fn echo(stage: &Stage) {
    let channel = connect::<Quotes>(stage);
    let (mut orders, mut quotes) = channel.split();
    loop {
        match quotes.recv() {
            Ok(quote) => orders.send(&quote.to_value().expect("a quote")).expect("sends"),
            Err(RecvError::Ended(End::Closed)) => return stage.say("closed"),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Sends every letter back until the other side closes.
fn echo_letters(stage: &Stage) {
    let mut channel = connect::<Letters>(stage);
    let (tx, rx) = channel.halves();
    loop {
        match rx.recv() {
            Ok(letter) => tx.send(&letter.to_value().expect("a letter")).expect("sends"),
            Err(RecvError::Ended(End::Closed)) => return stage.say("closed"),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Sends every byte string back, whatever its size, until the other side closes.
fn answer(stage: &Stage) {
    let channel = connect::<Bytes>(stage);
    let (mut tx, rx) = channel.split();
    for message in rx {
        tx.send(message.expect("a message").bytes()).expect("sends");
    }
    stage.say("closed");
}

/// Sends numbers as fast as they go, then closes.
fn flood(stage: &Stage) {
    let channel = connect::<Bytes>(stage);
    let (mut tx, _rx) = channel.split();
    for number in 0..stage.number("count") {
        tx.send(&number.to_le_bytes()).expect("sends");
    }
}

/// Receives numbers in order until the other side closes, and says how many.
fn count(stage: &Stage) {
    let channel = connect::<Bytes>(stage);
    let (_tx, mut rx) = channel.split();
    let mut next = 0_u64;
    loop {
        match rx.recv() {
            Ok(bytes) => assert_eq!(bytes[..8], next.to_le_bytes(), "in order"),
            Err(RecvError::Ended(End::Closed)) => return stage.say(next),
            Err(other) => panic!("{other}"),
        }
        next += 1;
    }
}

/// A server end of protocol `P`, and the helper at its other end.
fn serve<P: Protocol>(
    role: &str,
    ours: &str,
    theirs: &str,
    more: &[(&str, &dyn std::fmt::Display)],
) -> (ServerEnd<P>, Helper) {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener = Listener::builder()
        .wait(support::wait_named(ours))
        .handshake_timeout(support::PATIENCE)
        .bind(&path)
        .expect("binds");
    let shown = path.display();
    let mut arguments: Vec<(&str, &dyn std::fmt::Display)> =
        vec![("path", &shown), ("wait", &theirs)];
    arguments.extend_from_slice(more);
    let helper = Helper::start(role, &arguments);
    let incoming = listener.accept_deadline(soon()).expect("accepts");
    assert_eq!(incoming.peer().pid(), Some(helper.pid()), "the kernel's word");
    assert_eq!(incoming.protocol(), P::NAME);
    assert!(incoming.speaks::<P>());
    (incoming.open::<P>().expect("opens"), helper)
}

#[test]
fn every_pair_of_wait_strategies_answers_and_streams() {
    for ours in WAITS {
        for theirs in WAITS {
            // Two that spin on few processors take turns by the scheduler's grace.
            let rounds = if (ours, theirs) == ("spin", "spin") { 200 } else { 2000 };
            let (mut channel, mut helper) = serve::<Quotes>("echo", ours, theirs, &[]);
            for id in 0..rounds {
                channel.send_deadline(&quote(id), soon()).expect("sends");
                let back = channel.recv_deadline(soon()).expect("an answer");
                assert_eq!(back.to_value().unwrap(), quote(id), "{ours} {theirs}");
            }
            drop(channel);
            helper.expect("closed");
            helper.finish();

            let (mut channel, mut helper) =
                serve::<Bytes>("flood", ours, theirs, &[("count", &50_000)]);
            for number in 0..50_000_u64 {
                let bytes = channel.recv_deadline(soon()).expect("a number");
                assert_eq!(*bytes, number.to_le_bytes(), "{ours} {theirs}");
            }
            assert!(matches!(channel.recv_deadline(soon()), Err(RecvError::Ended(End::Closed))));
            helper.finish();

            let (mut channel, mut helper) = serve::<Bytes>("count", ours, theirs, &[]);
            for number in 0..50_000_u64 {
                channel.send_deadline(&number.to_le_bytes(), soon()).expect("sends");
            }
            drop(channel);
            helper.expect("50000");
            helper.finish();
        }
    }
}

#[test]
fn a_lull_before_each_message_loses_no_wake() {
    // The other side has gone to sleep each time, by whatever way it waits.
    for theirs in ["adaptive", "park"] {
        let (mut channel, mut helper) = serve::<Quotes>("echo", "park", theirs, &[]);
        for id in 0..30 {
            support::eventually_all_asleep(helper.pid());
            channel.send_deadline(&quote(id), soon()).expect("sends");
            let back = channel.recv_deadline(soon()).expect("an answer");
            assert_eq!(back.id, id);
        }
        drop(channel);
        helper.expect("closed");
        helper.finish();
    }
}

#[test]
fn typed_messages_of_every_shape_come_back_as_they_went() {
    let (mut channel, mut helper) = serve::<Letters>("echo letters", "adaptive", "adaptive", &[]);
    // From empty strings to what takes many parts.
    for (size, depth) in [(0, 0), (1, 0), (1, 3), (50, 2), (300, 1), (20_000, 2), (0, 0), (7, 1)] {
        let letter = letter(size, depth);
        channel.send_deadline(&letter, soon()).expect("sends");
        let back = channel.recv_deadline(soon()).expect("an answer");
        assert_eq!(back.subject.as_str(), letter.subject);
        assert_eq!(back.quotes.len(), letter.quotes.len());
        assert!(back.to_value().unwrap() == letter, "size {size}, depth {depth}");
    }
    drop(channel);
    helper.expect("closed");
    helper.finish();
}

#[test]
fn bytes_of_every_size_come_back_as_they_went() {
    let (mut channel, mut helper) = serve::<Bytes>("answer", "adaptive", "adaptive", &[]);
    let lane = channel.session().negotiated().largest_message;
    assert_eq!(lane, 16 << 20, "the default");
    let quarter = (256 << 10) / 4;
    for len in [
        0,
        1,
        7,
        8,
        15,
        16,
        17,
        4095,
        4096,
        quarter - 17,
        quarter - 16,
        quarter - 15,
        quarter,
        quarter + 1,
        256 << 10,
        10 << 20,
        16 << 20,
        0,
    ] {
        let message: Vec<u8> = (0..len).map(|at| (at * 7 / 3) as u8).collect();
        channel.send_deadline(&message, soon()).expect("sends");
        let back = channel.recv_deadline(soon()).expect("an answer");
        assert!(*back == message[..], "{len} bytes");
    }
    // One byte more than was agreed is refused here, and the channel goes on.
    let large = vec![0; (16 << 20) + 1];
    let max = 16 << 20;
    assert!(matches!(
        channel.send(&large),
        Err(SendError::TooLarge { len, max: most }) if most == max && len > max
    ));
    // Without waiting, what the lane holds at once is the most.
    assert!(matches!(
        channel.try_send(&large),
        Err(TrySendError::TooLarge { len, max: most }) if most < 256 << 10 && len > max
    ));
    channel.send_deadline(b"still here", soon()).expect("sends");
    assert_eq!(&*channel.recv_deadline(soon()).expect("an answer"), b"still here");
    drop(channel);
    helper.expect("closed");
    helper.finish();
}

#[test]
fn batches_pieces_and_slots_arrive_as_single_messages_in_order() {
    let (channel, mut helper) = serve::<Bytes>("answer", "adaptive", "adaptive", &[]);
    let (mut tx, mut rx) = channel.split();
    let mut expected = Vec::new();

    let mut batch = tx.batch();
    for number in 0..1000_u32 {
        let message = vec![number as u8; number as usize % 70];
        batch.push_deadline(&message, soon()).expect("pushes");
        expected.push(message);
    }
    // Larger than a frame, in the middle of a batch.
    let large = vec![9; 300_000];
    batch.push(&large).expect("pushes");
    expected.push(large);
    batch.flush();
    batch.try_push(b"after a flush").expect("there is room");
    expected.push(b"after a flush".to_vec());
    drop(batch);

    tx.send_vectored(&[IoSlice::new(b"in "), IoSlice::new(b""), IoSlice::new(b"pieces")])
        .expect("sends");
    expected.push(b"in pieces".to_vec());
    let (first, second) = (vec![1; 100_000], vec![2; 100_000]);
    tx.send_vectored_deadline(&[IoSlice::new(&first), IoSlice::new(&second)], soon())
        .expect("sends");
    expected.push([first, second].concat());
    tx.send_vectored(&[]).expect("sends nothing as a message");
    expected.push(Vec::new());

    let mut slot = tx.claim(8).expect("room");
    assert!(slot.limit() >= 8);
    slot.write(b"in").unwrap();
    slot.write(b"place").unwrap();
    assert_eq!(slot.written(), 7);
    slot.commit();
    expected.push(b"inplace".to_vec());
    drop(tx.claim_deadline(100, soon()).expect("room")); // sends nothing
    tx.try_claim(0).expect("room").commit();
    expected.push(Vec::new());
    let most = tx.lane_bytes() as usize / 4;
    assert!(matches!(tx.claim(most), Err(SendError::TooLarge { .. })));

    std::mem::forget(tx.batch()); // a leaked guard is closed by the next call
    tx.send(b"last").expect("sends");
    expected.push(b"last".to_vec());

    for message in &expected {
        assert!(*rx.recv_deadline(soon()).expect("an answer") == message[..]);
    }
    drop((tx, rx));
    helper.expect("closed");
    helper.finish();
}

#[test]
fn a_leaked_batch_is_published_by_the_next_call() {
    let (mut server, mut client) = memring::pair::<Bytes>().expect("a pair");
    let mut batch = server.batch();
    batch.push(b"pushed").expect("pushes");
    std::mem::forget(batch);
    assert!(matches!(client.try_recv(), Err(TryRecvError::Empty)), "not yet");
    server.send(b"sent").expect("sends");
    assert_eq!(&*client.recv_deadline(soon()).unwrap(), b"pushed");
    assert_eq!(&*client.recv_deadline(soon()).unwrap(), b"sent");
    // An open one is published when the sender is dropped, too.
    let (mut sender, _receiver) = server.split();
    let mut batch = sender.batch();
    batch.push(b"at the end").expect("pushes");
    std::mem::forget(batch);
    drop(sender);
    assert_eq!(&*client.recv_deadline(soon()).unwrap(), b"at the end");
    assert!(matches!(client.recv_deadline(soon()), Err(RecvError::Ended(End::Closed))));
}

#[test]
fn owned_messages_outlive_the_receiver_and_go_to_other_threads() {
    let (mut server, client) = memring::pair::<Letters>().expect("a pair");
    let (_tx, mut rx) = client.split();
    let sender = std::thread::spawn(move || {
        for size in [3, 0, 5000, 40] {
            server.send_deadline(&letter(size, 1), soon()).expect("sends");
        }
    });
    let kept = [
        rx.recv_owned().expect("a letter"),
        rx.recv_owned_deadline(soon()).expect("a letter"),
        rx.recv_owned_deadline(soon()).expect("a letter"),
    ];
    let mut last = None;
    eventually("the last letter", || {
        last = rx.try_recv_owned().ok();
        last.is_some()
    });
    sender.join().unwrap();
    assert!(matches!(rx.try_recv_owned(), Err(TryRecvError::Ended(End::Closed))));
    drop(rx);
    let there = std::thread::spawn(move || {
        for (message, size) in kept.into_iter().chain(last).zip([3, 0, 5000, 40]) {
            assert!(message.to_value().unwrap() == letter(size, 1), "size {size}");
        }
    });
    there.join().unwrap();
}

#[test]
fn an_iterator_ends_after_a_close() {
    let (server, client) = memring::pair::<Bytes>().expect("a pair");
    let (mut tx, other) = server.split();
    let (keep, mut rx) = client.split();
    for text in ["one", "two", "three"] {
        tx.send(text.as_bytes()).expect("sends");
    }
    let first: Vec<_> = rx.iter().take(1).map(|m| m.unwrap().bytes().to_vec()).collect();
    assert_eq!(first, [b"one"]);
    drop(tx);
    let mut rest = rx.iter();
    assert_eq!(rest.next().unwrap().unwrap().bytes(), b"two");
    assert_eq!(rest.next().unwrap().unwrap().bytes(), b"three");
    assert!(rest.next().is_none());
    assert!(rest.next().is_none(), "and stays ended");
    assert!((&mut rx).into_iter().next().is_none(), "sticky");
    // The other direction has not ended with it.
    let mut keep = keep;
    keep.send(b"still").expect("sends");
    let mut other = other;
    assert_eq!(&*other.recv_deadline(soon()).unwrap(), b"still");
    assert!(rx.into_iter().next().is_none());
}

#[test]
fn frames_of_a_trusted_peer_are_read_in_place() {
    let (mut channel, mut helper) = serve::<Bytes>("answer", "adaptive", "adaptive", &[]);
    for number in 0..3_u8 {
        channel.send(&vec![number; 1000]).expect("sends");
    }
    channel.send(&vec![4; 500_000]).expect("sends");
    let (tx, rx) = channel.split();
    // SAFETY: the other process is this program, and changes nothing after it has sent it.
    #[allow(unsafe_code)]
    let mut rx = unsafe { rx.trust_peer() };
    for number in 0..3_u8 {
        let view = rx.recv_deadline(soon()).expect("an answer");
        assert_eq!(view.bytes(), vec![number; 1000]);
    }
    let kept = rx.recv_owned_deadline(soon()).expect("an answer");
    assert!(kept.bytes() == vec![4; 500_000], "in parts, so copied");
    drop((tx, rx));
    helper.expect("closed");
    helper.finish();
}

#[test]
fn attack_86_deadlines_pass_and_nothing_is_lost_by_them() {
    let options = Connector::new().lanes(Lanes::Small, Lanes::Small);
    let (mut server, client) = options.pair::<Bytes>().expect("a pair");
    let (mut tx, mut rx) = client.split();
    let now = Instant::now;
    let short = Duration::from_millis(20);

    assert!(matches!(rx.recv_deadline(now()), Err(RecvError::TimedOut)));
    assert!(matches!(rx.recv_deadline(now() + short), Err(RecvError::TimedOut)));
    assert!(matches!(rx.recv_owned_deadline(now() + short), Err(RecvError::TimedOut)));
    assert!(matches!(rx.try_recv(), Err(TryRecvError::Empty)));

    // A deadline in the past still takes what lies there.
    server.send(b"there").expect("sends");
    assert_eq!(&*rx.recv_deadline(now()).expect("it lies there"), b"there");

    let filled = fill(&mut tx);
    assert!(matches!(tx.send_deadline(b"no", now()), Err(SendError::TimedOut)));
    assert!(matches!(tx.send_deadline(b"no", now() + short), Err(SendError::TimedOut)));
    assert!(matches!(tx.claim_deadline(10, now() + short), Err(SendError::TimedOut)));
    let pieces = [IoSlice::new(b"no")];
    assert!(matches!(tx.send_vectored_deadline(&pieces, now() + short), Err(SendError::TimedOut)));
    assert!(matches!(tx.batch().push_deadline(b"no", now() + short), Err(SendError::TimedOut)));
    // A message in parts, given up half-way.
    for number in 0..filled {
        assert_eq!(*server.recv_deadline(soon()).expect("a number"), number.to_le_bytes());
    }
    let large = vec![7; 100_000];
    assert!(matches!(tx.send_deadline(&large, now() + short), Err(SendError::TimedOut)));
    let rest = std::thread::spawn(move || {
        tx.send_deadline(b"whole", soon()).expect("sends");
        tx
    });
    assert_eq!(&*server.recv_deadline(soon()).expect("the next message"), b"whole");
    let mut tx = rest.join().unwrap();
    tx.send(b"and on").expect("sends");
    assert_eq!(&*server.recv_deadline(soon()).expect("the next message"), b"and on");
}

/// Fills the lane with numbers; how many went in.
fn fill(tx: &mut memring::Sender<[u8]>) -> u64 {
    for number in 0_u64.. {
        match tx.try_send(&number.to_le_bytes()) {
            Ok(()) => {}
            Err(TrySendError::Full) => return number,
            Err(other) => panic!("{other}"),
        }
    }
    unreachable!("the lane is bounded")
}

#[test]
fn a_full_lane_is_bounded_and_refuses_without_losing_anything() {
    for (lanes, bytes) in
        [(Lanes::Small, 16 << 10), (Lanes::Normal, 256 << 10), (Lanes::Bulk, 4 << 20)]
    {
        let options = Connector::new().lanes(lanes, lanes);
        let (mut server, client) = options.pair::<Bytes>().expect("a pair");
        let (mut tx, rx) = client.split();
        assert_eq!((tx.lane_bytes(), rx.lane_bytes()), (bytes, bytes), "{lanes:?}");
        let filled = fill(&mut tx);
        // 8 bytes take a header of 16 and 16 of padded payload.
        assert!(filled <= bytes / 32 && filled >= bytes / 32 - 2, "{filled} in {bytes}");
        assert!(matches!(tx.try_claim(1), Err(TrySendError::Full)));
        assert!(matches!(tx.batch().try_push(b"1"), Err(TrySendError::Full)));
        for number in 0..filled {
            assert_eq!(*server.recv_deadline(soon()).unwrap(), number.to_le_bytes());
        }
        assert!(matches!(server.try_recv(), Err(TryRecvError::Empty)));
        tx.try_send(b"again").expect("there is room again");
        assert_eq!(&*server.recv_deadline(soon()).unwrap(), b"again");
    }
}

#[test]
fn what_was_negotiated_is_shown_to_both() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    let listener = Listener::builder()
        .name("the server")
        .metadata(b"of the server")
        .largest_message(1 << 20)
        .lanes_between(Lanes::Small, Lanes::Bytes(32 << 10))
        .bind(&path)
        .expect("binds");
    let client = std::thread::spawn(move || {
        Connector::new()
            .name("the client")
            .metadata(&[0xff; 4096])
            .lanes(Lanes::Bytes(4096), Lanes::Bulk)
            .wait(memring::Wait::Park)
            .connect::<Bytes>(&path)
            .expect("connects")
    });
    let incoming = listener.accept_deadline(soon()).expect("accepts");
    assert_eq!(incoming.name(), "the client");
    assert_eq!(incoming.metadata(), [0xff; 4096]);
    assert_eq!(incoming.peer().uid(), Some(uid()));
    let (tx, rx) = incoming.open::<Bytes>().expect("opens").split();
    let (client_tx, client_rx) = client.join().unwrap().split();
    let negotiated = client_rx.session().negotiated();
    assert_eq!(negotiated.peer_name.as_str(), "the server");
    assert_eq!(negotiated.peer_metadata.as_bytes(), b"of the server");
    assert_eq!(negotiated.largest_message, 1 << 20);
    assert_eq!(client_tx.largest_message(), 1 << 20);
    assert_eq!(tx.largest_message(), 1 << 20);
    // Wishes are granted within the server's limits.
    assert_eq!((client_tx.lane_bytes(), rx.lane_bytes()), (16 << 10, 16 << 10));
    assert_eq!((client_rx.lane_bytes(), tx.lane_bytes()), (32 << 10, 32 << 10));
    assert_eq!(client_rx.wait_strategy(), memring::Wait::Park);
    assert_eq!(rx.wait_strategy(), memring::Wait::Adaptive);
    assert_eq!(client_tx.peer().uid(), Some(uid()));
    assert_eq!(client_tx.peer().pid(), Some(std::process::id()));
}

fn uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("/proc"))
}

#[test]
fn counters_show_what_happened() {
    let (mut server, client) = memring::pair::<Bytes>().expect("a pair");
    let (_tx, mut rx) = client.split();
    rx.set_wait_strategy(memring::Wait::Park);
    for len in [0, 10, 100] {
        server.send(&vec![0; len]).expect("sends");
        rx.recv_deadline(soon()).expect("a message");
    }
    let receiver = std::thread::spawn(move || {
        rx.recv_deadline(soon()).expect("a message");
        rx.stats()
    });
    support::eventually("a sleeper, a wake", || {
        server.try_send(b"").expect("there is room");
        receiver.is_finished()
    });
    let received = receiver.join().unwrap();
    assert_eq!((received.messages, received.bytes), (4, 110));
    let (sender, _) = server.split();
    assert_eq!(sender.stats().bytes, 110);
}

#[test]
fn deadlines_that_nobody_lives_to_see_are_no_deadlines() {
    let options = Connector::new().timeout(Duration::MAX).lanes(Lanes::Small, Lanes::Small);
    let (mut server, client) = options.pair::<Bytes>().expect("a pair");
    let (mut tx, mut rx) = client.split();
    rx.set_wait_strategy(memring::Wait::Park);
    tx.set_wait_strategy(memring::Wait::Park);
    let mut far = vec![Instant::now() + Duration::from_secs(1 << 34)];
    far.extend(
        (30..63).filter_map(|bits| Instant::now().checked_add(Duration::from_secs(1 << bits))),
    );
    for deadline in far {
        let (tell, told) = std::sync::mpsc::channel();
        let receiving = std::thread::spawn(move || {
            tell.send(support::tid()).unwrap();
            rx.recv_deadline(deadline).expect("a message");
            rx
        });
        support::eventually_asleep(told.recv().unwrap());
        server.send(b"wake").expect("sends");
        rx = receiving.join().unwrap();
    }
    let scratch = Scratch::new();
    let listener =
        Listener::builder().handshake_timeout(Duration::MAX).bind(scratch.socket()).expect("binds");
    let path = scratch.socket();
    let client = std::thread::spawn(move || {
        Connector::new().timeout(Duration::MAX).connect::<Bytes>(&path).map(|_| ())
    });
    let far = Instant::now() + Duration::from_secs(1 << 40);
    listener.accept_deadline(far).expect("accepts").open::<Bytes>().expect("opens");
    client.join().unwrap().expect("connects");
}

#[test]
fn an_empty_slice_of_what_needs_more_alignment_than_its_owner_is_no_fault() {
    #[memring::message]
    struct Wide {
        wide: Vec<u128>,
    }
    struct Wides;
    impl memring::Protocol for Wides {
        const NAME: &'static str = "wides";
        type ToClient = Wide;
        type ToServer = Wide;
    }
    let (mut server, mut client) = memring::pair::<Wides>().expect("a pair");
    let mut batch = server.batch();
    for len in [0, 0, 0, 1, 0, 2] {
        batch.push(&Wide { wide: vec![7; len] }).expect("room");
    }
    drop(batch);
    for len in [0, 0, 0, 1, 0, 2] {
        assert_eq!(client.recv().expect("what was sent").wide.len(), len);
    }
}
