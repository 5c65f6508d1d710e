//! Blobs in messages: sent once and named from then on, kept within bounds, forgotten when nobody holds them.

mod support;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use memring::blob::{Blob, BlobBuilder, ReadError, Table};
use memring::{Connector, Lanes, Listener, Protocol, SendError, TrySendError};
use support::{Helper, Scratch, Stage, alone, eventually, eventually_asleep, play, soon};

#[test]
fn role() {
    play(&[("send and die", send_and_die), ("keep", keep)]);
}

#[memring::message]
struct Part {
    at: u64,
    bytes: Vec<u8>,
}

#[memring::message(attachments)]
struct Film {
    name: String,
    parts: Blob<Table<Part>>,
    cover: Option<Blob<[u8]>>,
    first: Option<Blob<Part>>,
}

struct Films;
impl Protocol for Films {
    const NAME: &'static str = "films";
    type ToClient = Film;
    type ToServer = Film;
}

fn parts(count: u64, size: usize) -> Blob<Table<Part>> {
    let mut table = BlobBuilder::new().table().unwrap();
    for at in 0..count {
        table.push(&Part { at, bytes: vec![at as u8; size] }).unwrap();
    }
    table.seal().unwrap()
}

fn film(name: &str, parts: &Blob<Table<Part>>) -> Film {
    Film { name: name.into(), parts: parts.clone(), cover: None, first: None }
}

/// Maps of memfds in this process.
fn maps() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:memring-blob")).count()
}

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count() - 1
}

#[test]
fn blobs_come_with_their_message_and_are_the_same_memory_when_named_again() {
    let (mut server, client) = memring::pair::<Films>().unwrap();
    let (_tx, mut rx) = client.split();
    let table = parts(100, 1000);
    let cover = BlobBuilder::new().with_size(5000).unwrap().seal().unwrap();
    let first = BlobBuilder::new().value(&Part { at: 7, bytes: vec![1; 10] }).unwrap();
    for round in 0..3 {
        server
            .send(&Film {
                name: format!("round {round}"),
                parts: table.clone(),
                cover: Some(cover.clone()),
                first: (round != 1).then(|| first.clone()),
            })
            .unwrap();
    }
    let mut seen = Vec::new();
    for round in 0..3 {
        let film = rx.recv().unwrap();
        assert_eq!(film.name, format!("round {round}"));
        let table = film.blob(&film.parts).unwrap();
        assert_eq!(table.len(), 100);
        let part = table.get(99).unwrap().unwrap();
        assert!(part.at == 99 && part.bytes.iter().all(|byte| *byte == 99));
        assert_eq!(film.blob(film.cover.as_ref().unwrap()).unwrap().len(), 5000);
        if let Some(first) = film.first.as_ref() {
            assert_eq!(film.blob(first).unwrap().get().unwrap().at, 7);
        }
        seen.push(table);
    }
    let same = |one: &Blob<Table<Part>>| std::ptr::eq(one.bytes(), seen[0].bytes());
    assert!(seen.iter().all(same), "one map");
    assert_eq!(seen[0].id(), table.id(), "of one memory");
    drop((server, rx));
    assert_eq!(seen[2].get(0).unwrap().unwrap().at, 0, "what is held outlives the session");
}

#[test]
fn a_received_blob_is_sent_on() {
    let (mut first, mut middle) = memring::pair::<Films>().unwrap();
    let (mut onward, mut last) = memring::pair::<Films>().unwrap();
    first.send(&film("through", &parts(3, 10))).unwrap();
    let value = middle.recv().unwrap().take_value().unwrap();
    drop((first, middle));
    onward.send_owned(value).map_err(|(error, _)| error).unwrap();
    let film = last.recv().unwrap();
    assert_eq!(film.blob(&film.parts).unwrap().get(2).unwrap().unwrap().at, 2);
}

#[test]
fn what_nobody_holds_any_more_is_given_up_at_both_ends() {
    if !alone("what_nobody_holds_any_more_is_given_up_at_both_ends") {
        return;
    }
    let (mut server, client) = memring::pair::<Films>().unwrap();
    let (_tx, mut rx) = client.split();
    let (before, fds) = (maps(), open_fds());
    let table = parts(10, 100);
    server.send(&film("once", &table)).unwrap();
    server.send(&film("twice", &table)).unwrap();
    let held = {
        let film = rx.recv().unwrap();
        film.blob(&film.parts).unwrap()
    };
    drop(table); // before the second message was received
    let film = rx.recv().unwrap();
    assert_eq!(film.blob(&film.parts).unwrap().len(), 10);
    drop(film);
    eventually("only what is held is mapped", || maps() == before + 1);
    drop(held);
    eventually("nothing is mapped", || maps() == before && open_fds() == fds);
    // And one that was received long before.
    let table = parts(10, 100);
    server.send(&film_of(&table)).unwrap();
    drop(rx.recv().unwrap());
    assert_eq!(maps(), before + 2, "kept, for it may be named again");
    drop(table);
    eventually("nothing is mapped", || maps() == before && open_fds() == fds);
}

fn film_of(parts: &Blob<Table<Part>>) -> Film {
    film("a film", parts)
}

#[test]
fn the_peer_keeps_no_more_than_it_said_and_what_was_given_up_comes_again() {
    let connector = Connector::new().blobs(2, 1 << 20);
    let (mut server, client) = connector.pair::<Films>().unwrap();
    let (tx, _) = server.halves();
    let (_ctx, mut rx) = client.split();
    let films: Vec<_> = (1..=3).map(|count| parts(count, 10)).collect();
    tx.try_send(&film_of(&films[0])).unwrap();
    tx.try_send(&film_of(&films[1])).unwrap();
    tx.try_send(&film_of(&films[0])).unwrap();
    assert!(matches!(tx.try_send(&film_of(&films[2])), Err(TrySendError::Full)));
    let late = tx.send_deadline(&film_of(&films[2]), std::time::Instant::now());
    assert!(matches!(late, Err(SendError::TimedOut)));
    let mut receive = |count: u64| {
        let film = rx.recv().unwrap();
        assert_eq!(film.blob(&film.parts).unwrap().len(), count);
        drop(film);
        rx.release();
    };
    receive(1);
    receive(2);
    tx.try_send(&film_of(&films[2])).unwrap(); // in the place of the second
    receive(1);
    receive(3);
    for round in 0..10 {
        for (count, table) in (1..).zip(&films) {
            tx.send(&film_of(table)).unwrap_or_else(|error| panic!("{round}: {error}"));
            receive(count);
        }
    }
    // More than it ever keeps.
    let large = parts(2, 1 << 20);
    assert!(matches!(tx.send(&film_of(&large)), Err(SendError::Blobs)));
    let three = Film {
        name: String::new(),
        parts: films[0].clone(),
        cover: Some(BlobBuilder::new().with_size(1).unwrap().seal().unwrap()),
        first: Some(BlobBuilder::new().value(&Part { at: 0, bytes: vec![] }).unwrap()),
    };
    assert!(matches!(tx.send(&three), Err(SendError::Blobs)));
    tx.send(&film_of(&films[0])).unwrap();
    receive(1);
}

#[test]
fn a_blob_that_is_no_table_is_an_error_of_whoever_reads_it_and_of_nobody_else() {
    #[memring::message(attachments)]
    struct Any {
        table: Blob<Table<Part>>,
        bytes: Blob<[u8]>,
    }
    struct Anys;
    impl Protocol for Anys {
        const NAME: &'static str = "anys";
        type ToClient = Any;
        type ToServer = [u8];
    }
    let (mut server, mut client) = memring::pair::<Anys>().unwrap();
    let bytes = BlobBuilder::new().with_size(100).unwrap().seal().unwrap();
    let no_table = Blob::<Table<Part>>::of(bytes.memory().clone());
    assert!(no_table.is_err());
    let table = parts(3, 10);
    let as_bytes = Blob::<[u8]>::of(table.memory().clone()).unwrap();
    server.send(&Any { table, bytes: as_bytes }).unwrap();
    let any = client.recv().unwrap();
    let (table, bytes) = (any.blob(&any.table).unwrap(), any.blob(&any.bytes).unwrap());
    assert!(std::ptr::eq(table.bytes(), &*bytes), "one memory, read in two ways");
    let part = Blob::<Part>::of(table.memory().clone()).unwrap();
    assert!(matches!(part.get(), Err(ReadError::Invalid(_))));
}

#[test]
fn a_message_makes_no_more_blobs_known_than_a_packet_carries() {
    #[memring::message(attachments)]
    struct Many {
        blobs: Vec<Blob<[u8]>>,
    }
    struct Manys;
    impl Protocol for Manys {
        const NAME: &'static str = "manys";
        type ToClient = Many;
        type ToServer = [u8];
    }
    let (mut server, mut client) =
        Connector::new().blobs(300, 1 << 30).pair::<Manys>().expect("a pair");
    let empty = || BlobBuilder::new().with_size(0).unwrap().seal().unwrap();
    let mut many = Many { blobs: (0..254).map(|_| empty()).collect() };
    let refused = server.send(&many).unwrap_err();
    assert!(matches!(refused, SendError::TooManyFds { count: 254, most: 253 }), "{refused}");
    let last = many.blobs.pop();
    server.send(&many).unwrap();
    // Those are known now, so there is a place for another.
    many.blobs.extend(last);
    server.send(&many).unwrap();
    for count in [253, 254] {
        assert_eq!(client.recv().unwrap().blobs.len(), count);
    }
}

fn send_and_die(stage: &Stage) {
    let listener = Listener::builder().blobs(4, 1 << 30).bind(stage.path()).unwrap();
    stage.say("listening");
    let mut server = listener.accept_deadline(soon()).unwrap().open::<Films>().unwrap();
    server.send(&film("survivor", &parts(200, 10_000))).unwrap();
    stage.say("sent");
    stage.linger();
}

#[test]
fn a_blob_survives_its_maker_in_every_process_that_holds_it() {
    let directory = Scratch::new();
    let path = directory.socket();
    let maker = Helper::start("send and die", &[("path", &path.display())]);
    maker.expect("listening");
    let connector = Connector::new().lanes(Lanes::Small, Lanes::Small);
    let (_tx, mut rx) = connector.connect::<Films>(&path).unwrap().split();
    maker.expect("sent");
    let held = {
        let film = rx.recv().unwrap();
        film.blob(&film.parts).unwrap()
    };
    maker.kill();
    drop(maker);
    assert!(rx.recv().is_err(), "it is gone");
    for at in 0..200 {
        let part = held.get(at).unwrap().unwrap();
        assert!(part.at == at && part.bytes.iter().all(|byte| *byte == at as u8));
    }
    drop(rx);
    // And in a third process, which has it from the second.
    let onward = directory.path().join("onward");
    let listener = Listener::builder().blobs(4, 1 << 30).bind(&onward).unwrap();
    let keeper = Helper::start("keep", &[("path", &onward.display())]);
    let mut server = listener.accept_deadline(soon()).unwrap().open::<Films>().unwrap();
    server.send(&film("inherited", &held)).unwrap();
    drop(held);
    keeper.expect("200 parts, the last 199");
}

fn keep(stage: &Stage) {
    let mut client = memring::connect::<Films>(stage.path()).unwrap();
    let film = client.recv().unwrap();
    let held = film.blob(&film.parts).unwrap();
    let last = held.get(held.len() - 1).unwrap().unwrap();
    stage.say(format!("{} parts, the last {}", held.len(), last.at));
}

#[memring::message(attachments)]
struct Screen {
    #[rkyv(with = memring::rkyv::with::Lock)]
    frame: Mutex<Blob<[u8]>>,
    fill: Vec<u8>,
}

struct Screens;
impl Protocol for Screens {
    const NAME: &'static str = "screens";
    type ToClient = Screen;
    type ToServer = [u8];
}

/// Its last holder lets go while the message that names it waits for room.
#[test]
fn a_blob_that_a_waiting_message_names_is_not_forgotten_before_it() {
    let frame = |byte| {
        let mut blob = BlobBuilder::new().with_size(10).unwrap();
        blob.fill(byte);
        blob.seal().unwrap()
    };
    let (server, client) = memring::pair::<Screens>().unwrap();
    let (mut tx, _rx) = server.split();
    let (_tx, mut rx) = client.split();
    let screen = Arc::new(Screen { frame: Mutex::new(frame(1)), fill: vec![0; 20_000] });
    let mut sent = 0;
    while tx.try_send(&screen).is_ok() {
        sent += 1;
    }
    let waiting = Arc::clone(&screen);
    let (tell, told) = channel();
    let sending = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid()).unwrap();
        tx.send(&waiting).map(|()| tx)
    });
    eventually_asleep(told.recv().unwrap().as_raw_nonzero().get());
    *screen.frame.lock().unwrap() = frame(2);
    for _ in 0..=sent {
        let screen = rx.recv_deadline(soon()).unwrap();
        assert_eq!(screen.blob(&screen.frame).unwrap()[0], 1);
    }
    sending.join().unwrap().unwrap();
}
