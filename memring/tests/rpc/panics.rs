//! A check of the application's own that panics over an answer: whoever waits meanwhile is not forgotten.

use std::sync::mpsc;
use std::thread;

use memring::rkyv::bytecheck;
use memring::rpc::{Call, CallError, Calls, Link};

use super::support::{eventually, eventually_asleep, tid};

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
