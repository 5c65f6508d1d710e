//! Checks of the application's own that panic: whoever sent what was checked is told, and whoever waits meanwhile is not forgotten.

use std::sync::mpsc;
use std::thread;

use memring::rkyv::bytecheck;
use memring::rpc::{Call, CallError, Calls, JsonError, Link, Options, Replies};

use super::support::{PATIENCE, eventually, eventually_asleep, soon, tid};

/// Says that it is being checked, waits until it is told to go on, and panics.
static CHECKED: std::sync::Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>> =
    std::sync::Mutex::new(None);

#[memring::message]
#[derive(Debug)]
#[rkyv(bytecheck(verify))]
pub struct Checked {
    number: u32,
}

// SAFETY: it accepts only what the derived check has accepted.
#[allow(unsafe_code)]
unsafe impl<C> bytecheck::Verify<C> for ArchivedChecked
where
    C: memring::rkyv::rancor::Fallible + ?Sized,
{
    fn verify(&self, _: &mut C) -> Result<(), C::Error> {
        let waits = CHECKED.lock().unwrap().take();
        if let Some((began, go_on)) = waits {
            began.send(()).unwrap();
            go_on.recv().unwrap();
            panic!("the application's own mistake");
        }
        Ok(())
    }
}

/// A check that panics over one number, as an archive and as JSON.
#[memring::message]
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[rkyv(bytecheck(verify))]
#[serde(from = "u32")]
pub struct Unlucky {
    number: u32,
}

const UNLUCKY: u32 = 13;

// SAFETY: it accepts only what the derived check has accepted.
#[allow(unsafe_code)]
unsafe impl<C> bytecheck::Verify<C> for ArchivedUnlucky
where
    C: memring::rkyv::rancor::Fallible + ?Sized,
{
    fn verify(&self, _: &mut C) -> Result<(), C::Error> {
        let _ = Unlucky::from(self.number.to_native());
        Ok(())
    }
}

impl From<u32> for Unlucky {
    fn from(number: u32) -> Self {
        assert_ne!(number, UNLUCKY, "the application's own mistake");
        Self { number }
    }
}

#[memring::interface(name = "lots", version = "1")]
trait Lots {
    #[json]
    fn takes(it: Unlucky) -> u32;
    fn gives(number: u32) -> Unlucky;
    fn fails(number: u32) -> Result<(), Unlucky>;
    fn streams(number: u32) -> Stream<Unlucky>;
}

struct Drawing;

impl LotsServer for Drawing {
    fn takes(&self, _: &Call<'_>, it: Unlucky) -> u32 {
        it.number
    }

    fn gives(&self, _: &Call<'_>, number: u32) -> Unlucky {
        Unlucky { number }
    }

    fn fails(&self, _: &Call<'_>, number: u32) -> Result<(), Unlucky> {
        Err(Unlucky { number })
    }

    fn streams(&self, _: &Call<'_>, number: u32, mut replies: Replies<Unlucky>) {
        while replies.send(&Unlucky { number }).is_ok() {}
    }
}

impl LotsAsyncServer for Drawing {
    async fn takes(&self, _: &Call<'_>, it: Unlucky) -> u32 {
        it.number
    }

    async fn gives(&self, _: &Call<'_>, number: u32) -> Unlucky {
        Unlucky { number }
    }

    async fn fails(&self, _: &Call<'_>, number: u32) -> Result<(), Unlucky> {
        Err(Unlucky { number })
    }

    async fn streams(&self, _: &Call<'_>, number: u32, mut replies: Replies<Unlucky>) {
        while replies.send_async(&Unlucky { number }).await.is_ok() {}
    }
}

#[test]
fn a_check_that_panics_is_said_of_what_it_checked_and_nothing_else_ends() {
    for serve in [Lots::serve(Drawing), Lots::serve_async(Drawing)] {
        let (server, client) = memring::pair::<Calls>().expect("a pair");
        let server = Link::serving(server, [serve]);
        thread::spawn(move || server.run());
        let link = Link::over(client);
        let patient = || Options::new().timeout(PATIENCE);
        let client = link.open::<LotsClient>().expect("it is served").with(patient());
        let lots = link.describe("lots", "1", soon()).expect("described");
        let takes = lots.json("takes").expect("it takes JSON");

        let refused = client.takes(Unlucky { number: UNLUCKY });
        assert!(matches!(refused, Err(CallError::Arguments(_))), "{refused:?}");
        let refused = takes.call("[13]", &patient());
        assert!(matches!(refused, Err(CallError::<JsonError>::Arguments(_))), "{refused:?}");
        let none = client.gives(UNLUCKY);
        assert!(matches!(none, Err(CallError::Answer(_))), "{none:?}");
        let none = client.fails(UNLUCKY);
        assert!(matches!(none, Err(CallError::Answer(_))), "{none:?}");
        let mut replies = client.streams(UNLUCKY).expect("begun");
        let none = replies.recv();
        assert!(matches!(none, Err(CallError::Answer(_))), "{none:?}");
        assert!(matches!(replies.recv(), Ok(None)), "nothing comes after that");

        assert_eq!(client.takes(Unlucky { number: 7 }).expect("an answer"), 7);
        assert_eq!(takes.call("[7]", &patient()).expect("an answer"), "7");
        assert_eq!(client.gives(7).expect("an answer").number, 7);
        assert!(matches!(client.fails(7), Err(CallError::Failed(Unlucky { number: 7 }))));
    }
}

#[memring::interface(name = "checks", version = "1")]
trait Checks {
    fn checked(number: u32) -> Checked;
    fn plain(number: u32) -> u32;
}

struct Checking;

impl ChecksServer for Checking {
    fn checked(&self, _: &Call<'_>, number: u32) -> Checked {
        Checked { number }
    }

    fn plain(&self, _: &Call<'_>, number: u32) -> u32 {
        number
    }
}

#[test]
fn a_check_that_panics_over_an_answer_leaves_nobody_asleep() {
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [Checks::serve(Checking)]);
    thread::spawn(move || server.run());
    let client: ChecksClient = Link::over(client).open().expect("it is served");
    assert_eq!(client.checked(1).expect("an answer").number, 1);

    let (began, begins) = mpsc::channel();
    let (go, goes) = mpsc::channel();
    *CHECKED.lock().unwrap() = Some((began, goes));
    let panics = client.clone();
    let panics = thread::spawn(move || panics.checked(2));
    begins.recv().expect("it checks");
    // It has both halves, and this one wants one.
    let waits = client.clone();
    let (told, tell) = mpsc::channel();
    let waits = thread::spawn(move || {
        told.send(tid()).unwrap();
        waits.plain(3)
    });
    eventually_asleep(tell.recv().expect("it runs"));
    go.send(()).expect("it waits");
    match panics.join().expect("the panic is said of the answer") {
        Err(CallError::Answer(_)) => {}
        other => panic!("{other:?}"),
    }
    eventually("the other has its turn", || waits.is_finished());
    assert_eq!(waits.join().expect("no panic").expect("an answer"), 3);
    assert_eq!(client.plain(4).expect("an answer"), 4);
}
