//! The crate's interfaces are not only compiled: each of their methods is called, and each signal comes.

use std::thread;
use std::time::Duration;

use other::fanout::Slow;
use other::rkyv::Archived;
use other::rpc::{Call, CallError, Calls, Link, Replies, Serve};
use renamed_user::{
    Empty, EmptyClient, EmptyServer, Names, NamesArguments, NamesClient, NamesServer, NamesSignals,
    Refusal, S, Shapes, ShapesClient, ShapesServer, ShapesSignals,
};

/// No signal is lost here to a subscriber that was not given the processor for a while.
const PATIENT: Slow = Slow::Wait(Duration::from_secs(10));

/// The client's end of a session in which these are served.
fn served(services: impl IntoIterator<Item = Serve>) -> Link {
    let (server, client) = other::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, services);
    thread::spawn(move || server.run());
    Link::over(client)
}

struct Named(NamesSignals);

impl NamesServer for Named {
    fn names(&self, _: &Call<'_>, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) -> u32 {
        format!("{a}{b}{c}{d}{e}{f}").parse().expect("digits")
    }

    fn more(&self, _: &Call<'_>, a: u8, S(b): S, c: u8, d: u8, e: u8, f: u8) -> u32 {
        format!("{a}{b}{c}{d}{e}{f}").parse().expect("digits")
    }

    fn r#type(&self, call: &Call<'_>, mut argument: NamesArguments) -> NamesArguments {
        argument.text += call.method();
        argument
    }

    fn ab(&self, call: &Call<'_>) {
        self.0.signalled(1, "two", 3, 4, 5).expect("it can be encoded");
        NamesSignals::match_to(call).expect("room");
    }

    fn _ab(&self, call: &Call<'_>) {
        NamesSignals::signalled_to(call, 6, "seven", 8, 9, 10).expect("room");
        self.0.r#match().expect("it can be encoded");
    }

    fn streamed(&self, _: &Call<'_>, a: u8, b: u8, c: u8, mut replies: Replies<u8>) {
        [a, b, c].iter().for_each(|reply| replies.send(reply).expect("a reader"));
        replies.end(Ok(()));
    }
}

#[test]
fn no_name_of_an_argument_collides() {
    let signals = NamesSignals::new(PATIENT);
    let link = served([Serve::new(Names::serve(Named(signals.clone()))).signals(&signals)]);
    let names: NamesClient = link.open().expect("it is served");
    assert_eq!(names.names(1, 2, 3, 4, 5, 6).expect("an answer"), 123_456);
    assert_eq!(names.more(1, S(2), 3, 4, 5, 6).expect("an answer"), 123_456);
    let argument = NamesArguments { text: "a ".into() };
    assert_eq!(names.r#type(argument).expect("an answer").text, "a type");
    let numbers: Result<Vec<_>, _> = names.streamed(1, 2, 3).expect("room").collect();
    assert_eq!(numbers.expect("all come"), [1, 2, 3]);
    let mut signalled = names.signalled().expect("it is there");
    let mut matched = names.r#match().expect("it is there");
    names.ab().expect("an answer");
    names._ab().expect("an answer");
    assert_eq!(signalled.recv().expect("it comes"), (1, "two".into(), 3, 4, 5));
    assert_eq!(signalled.recv().expect("it comes"), (6, "seven".into(), 8, 9, 10));
    assert_eq!([(); 2].map(|()| matched.recv().expect("it comes")), [(), ()]);
}

struct Shaped(ShapesSignals);

impl ShapesServer for Shaped {
    fn twelve(
        &self,
        _: &Call<'_>,
        a: u8,
        b: u16,
        c: u32,
        d: u64,
        e: i8,
        f: i16,
        g: i32,
        h: i64,
        i: bool,
        j: char,
        k: String,
        l: &str,
    ) -> String {
        format!("{a} {b} {c} {d} {e} {f} {g} {h} {i} {j} {k} {l}")
    }

    fn optional(
        &self,
        _: &Call<'_>,
        one: Option<u8>,
        other: &Archived<Option<String>>,
    ) -> Option<Option<u8>> {
        other.as_ref().map(|_| one)
    }

    fn tuples(
        &self,
        _: &Call<'_>,
        (one, text): (u8, String),
        (two,): (u8,),
        (): (),
    ) -> (String, u8) {
        (text, one + two)
    }

    fn arrays(
        &self,
        _: &Call<'_>,
        one: [u8; 3],
        other: &Archived<[u8; 3]>,
        many: &[Archived<[u8; 2]>],
        boxed: Box<[u8]>,
    ) -> [String; 2] {
        [format!("{one:?} {other:?}"), format!("{many:?} {boxed:?}")]
    }

    fn unit(&self, _: &Call<'_>, (): ()) {}

    fn checked(&self, _: &Call<'_>, like: bool) -> Result<(), Refusal> {
        if like { Ok(()) } else { Err(Refusal::Disliked) }
    }

    fn lent(
        &self,
        _: &Call<'_>,
        whole: &Archived<NamesArguments>,
        many: &[Archived<String>],
        wrapped: &Archived<Vec<u8>>,
    ) -> u32 {
        let texts = many.iter().map(|text| text.len()).sum::<usize>();
        u32::try_from(whole.text.len() + texts + wrapped.len()).expect("few")
    }

    fn told(&self, _: &Call<'_>) {
        self.0.one("word".into()).expect("it can be encoded");
        self.0.many(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, &[12]).expect("it can be encoded");
    }
}

#[test]
fn all_shapes_of_arguments_and_results_arrive() {
    let signals = ShapesSignals::new(PATIENT);
    let link = served([Serve::new(Shapes::serve(Shaped(signals.clone()))).signals(&signals)]);
    let shapes: ShapesClient = link.open().expect("it is served");
    let twelve = shapes.twelve(1, 2, 3, 4, -5, -6, -7, -8, true, 'j', "k".into(), "l");
    assert_eq!(twelve.expect("an answer"), "1 2 3 4 -5 -6 -7 -8 true j k l");
    let optional = |one, other| shapes.optional(one, &other).expect("an answer");
    assert_eq!(optional(Some(1), None), None);
    assert_eq!(optional(None, Some("text".into())), Some(None));
    assert_eq!(optional(Some(1), Some("text".into())), Some(Some(1)));
    let together = shapes.tuples((1, "text".into()), (2,), ()).expect("an answer");
    assert_eq!(together, ("text".into(), 3));
    let arrays = shapes.arrays([1, 2, 3], &[4, 5, 6], &[[7, 8], [9, 10]], [11].into());
    assert_eq!(arrays.expect("an answer"), ["[1, 2, 3] [4, 5, 6]", "[[7, 8], [9, 10]] [11]"]);
    shapes.unit(()).expect("an answer");
    shapes.checked(true).expect("an answer");
    assert!(matches!(shapes.checked(false), Err(CallError::Failed(Refusal::Disliked))));
    let whole = NamesArguments { text: "four".into() };
    let lent = shapes.lent(&whole, &["one".into(), "two".into()], &vec![1, 2]);
    assert_eq!(lent.expect("an answer"), 4 + 6 + 2);
    let (mut one, mut many) = (shapes.one().expect("it is there"), shapes.many().expect("too"));
    shapes.told().expect("room");
    assert_eq!(one.recv().expect("it comes"), "word");
    let (a, .., k, l) = many.recv().expect("it comes");
    assert_eq!((a, k, l), (1, 11, vec![12]));
}

struct Nothing;

impl EmptyServer for Nothing {}

#[test]
fn an_interface_without_members_is_opened() {
    let link = served([Serve::new(Empty::serve(Nothing))]);
    let empty: EmptyClient = link.open().expect("it is served");
    assert!(empty.link().open::<ShapesClient>().is_err());
    assert_eq!(renamed_user::local(), "local");
}
