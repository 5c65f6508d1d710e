//! Calls with JSON, by a client that knows no types: what comes is what the same handler gives to everybody.

use std::thread;
use std::time::Duration;

use memring::rkyv::Archived;
use memring::rpc::{
    Call, CallError, Calls, Description, JsonError, Link, NotCallable, Options, Replies, Serve,
    Shape,
};
use memring::{Fd, Policy};

use super::support::soon;

#[memring::message]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub struct Point {
    pub x: i32,
    pub y: i32,
}

#[memring::message]
#[derive(serde::Serialize, serde::Deserialize, Debug, Clone, PartialEq)]
pub enum Refusal {
    Empty,
    Long { most: u32 },
}

/// All of it takes JSON.
#[memring::interface(name = "shapes", version = "1.0", json)]
trait Shapes {
    fn lent(text: &str, points: &[Point], whole: &Point) -> Result<String, Refusal>;
    fn owned(first: Point, second: Option<u8>, r#type: (u8, String)) -> Vec<Point>;
    fn nothing();
    fn not_finite() -> f64;
    fn panics(why: &str);
    fn points(to: i32) -> Result<Stream<Point>, Refusal>;
    #[oneway]
    fn told(text: &str);
    fn last_told() -> String;
    #[signal]
    fn moved(to: Point);
}

/// Some of it does.
#[memring::interface(name = "some", version = "1.0")]
trait Some {
    fn plain(number: u8) -> u8;
    #[json]
    fn worded(number: u8) -> u8;
    #[json]
    fn denied(number: u8) -> u8;
    fn carried(file: Fd);
}

#[derive(Default)]
struct Serves {
    told: std::sync::Mutex<String>,
}

impl ShapesServer for Serves {
    fn lent(
        &self,
        _: &Call<'_>,
        text: &str,
        points: &[Archived<Point>],
        whole: &Archived<Point>,
    ) -> Result<String, Refusal> {
        match points.len() {
            0 => Err(Refusal::Empty),
            1..=3 => {
                let sum: i32 = points.iter().map(|point| point.x.to_native()).sum();
                Ok(format!("{text} {sum} {}", whole.y))
            }
            _ => Err(Refusal::Long { most: 3 }),
        }
    }

    fn owned(
        &self,
        _: &Call<'_>,
        first: Point,
        second: Option<u8>,
        (number, _): (u8, String),
    ) -> Vec<Point> {
        vec![first, Point { x: second.map_or(-1, i32::from), y: number.into() }]
    }

    fn nothing(&self, _: &Call<'_>) {}

    fn not_finite(&self, _: &Call<'_>) -> f64 {
        f64::NAN
    }

    fn panics(&self, _: &Call<'_>, why: &str) {
        panic!("{why}");
    }

    fn points(&self, _: &Call<'_>, to: i32, mut replies: Replies<Point, Refusal>) {
        for x in 0..to {
            if replies.send(&Point { x, y: -x }).is_err() {
                return;
            }
        }
        replies.end(if to < 100 { Ok(()) } else { Err(Refusal::Long { most: 100 }) });
    }

    fn told(&self, _: &Call<'_>, text: &str) {
        *self.told.lock().expect("no panic") = text.to_owned();
    }

    fn last_told(&self, _: &Call<'_>) -> String {
        self.told.lock().expect("no panic").clone()
    }
}

/// The same, by futures.
impl ShapesAsyncServer for Serves {
    async fn lent(
        &self,
        call: &Call<'_>,
        text: &str,
        points: &[Archived<Point>],
        whole: &Archived<Point>,
    ) -> Result<String, Refusal> {
        ShapesServer::lent(self, call, text, points, whole)
    }

    async fn owned(
        &self,
        call: &Call<'_>,
        first: Point,
        second: Option<u8>,
        r#type: (u8, String),
    ) -> Vec<Point> {
        ShapesServer::owned(self, call, first, second, r#type)
    }

    async fn nothing(&self, _: &Call<'_>) {}

    async fn not_finite(&self, _: &Call<'_>) -> f64 {
        f64::NAN
    }

    async fn panics(&self, _: &Call<'_>, why: &str) {
        panic!("{why}");
    }

    async fn points(&self, _: &Call<'_>, to: i32, mut replies: Replies<Point, Refusal>) {
        for x in 0..to {
            if replies.send_async(&Point { x, y: -x }).await.is_err() {
                return;
            }
        }
        let end = if to < 100 { Ok(()) } else { Err(Refusal::Long { most: 100 }) };
        replies.end_async(end).await;
    }

    async fn told(&self, call: &Call<'_>, text: &str) {
        ShapesServer::told(self, call, text);
    }

    async fn last_told(&self, call: &Call<'_>) -> String {
        ShapesServer::last_told(self, call)
    }
}

impl SomeServer for Serves {
    fn plain(&self, _: &Call<'_>, number: u8) -> u8 {
        number
    }

    fn worded(&self, _: &Call<'_>, number: u8) -> u8 {
        number
    }

    fn denied(&self, _: &Call<'_>, number: u8) -> u8 {
        number
    }

    fn carried(&self, _: &Call<'_>, _: Fd) {}
}

fn link() -> Link {
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let services: [Serve; 2] = [
        Shapes::serve(Serves::default()),
        Some::serve(Serves::default()).method("denied", Policy::nobody()),
    ];
    let server = Link::serving(server, services);
    thread::spawn(move || server.run());
    Link::over(client)
}

fn described(name: &str) -> Description {
    link().describe(name, "1.0", soon()).expect("described")
}

/// Shapes, served by a thread and by a task.
fn shapes() -> [Description; 2] {
    let (server, client) = memring::pair::<Calls>().expect("a pair");
    let server = Link::serving(server, [Shapes::serve_async(Serves::default())]);
    thread::spawn(move || pollster::block_on(server.run_async()));
    let in_a_task = Link::over(client).describe("shapes", "1.0", soon()).expect("described");
    [described("shapes"), in_a_task]
}

fn call(
    description: &Description,
    method: &str,
    json: &str,
) -> Result<String, CallError<JsonError>> {
    let method = description.json(method).expect("callable");
    method.call(json, &Options::new().timeout(Duration::from_secs(10)))
}

#[test]
fn arguments_go_by_name_or_in_order_and_results_come_as_json() {
    shapes().iter().for_each(arguments);
}

fn arguments(shapes: &Description) {
    let check = |method: &str, json: &str, result: &str| {
        assert_eq!(call(shapes, method, json).expect(json), result);
    };
    let lent =
        r#"{"points": [{"x":1,"y":2}, {"x":3,"y":4}], "text": "é\n", "whole": {"y":7,"x":0}}"#;
    check("lent", lent, r#""é\n 4 7""#);
    check("lent", r#"["t", [{"x":1,"y":2}], {"y":7,"x":0}]"#, r#""t 1 7""#);
    check(
        "owned",
        r#"{"type": [9, ""], "first": {"x":1,"y":2}, "second": 3}"#,
        r#"[{"x":1,"y":2},{"x":3,"y":9}]"#,
    );
    // What may be nothing need not be there.
    check(
        "owned",
        r#"{"type": [9, ""], "first": {"x":1,"y":2}}"#,
        r#"[{"x":1,"y":2},{"x":-1,"y":9}]"#,
    );
    check("nothing", "{}", "null");
    check("nothing", " [ ] ", "null");
}

#[test]
fn errors_of_the_method_are_json_and_what_is_wrong_with_arguments_is_said() {
    shapes().iter().for_each(errors);
}

fn errors(shapes: &Description) {
    let failed = |json: &str, error: &str| match call(shapes, "lent", json) {
        Err(CallError::Failed(JsonError(found))) => assert_eq!(found, error),
        other => panic!("{other:?}"),
    };
    failed(r#"["", [], {"x":0,"y":0}]"#, r#""Empty""#);
    let point = r#"{"x":0,"y":0}"#;
    failed(
        &format!(r#"["", [{point},{point},{point},{point}], {point}]"#),
        r#"{"Long":{"most":3}}"#,
    );

    let refused = |method: &str, json: &str, said: &str| match call(shapes, method, json) {
        Err(CallError::Arguments(why)) => assert!(why.contains(said), "{json}: {why}"),
        other => panic!("{json}: {other:?}"),
    };
    refused("lent", "", "EOF while parsing");
    refused("lent", "[", "EOF while parsing");
    refused("lent", "7", "an object of arguments by name, or an array");
    refused("lent", "{}", "missing field `text`");
    refused("lent", r#"{"text": 7}"#, "invalid type: integer `7`, expected a string");
    refused("lent", r#"{"text": "", "text": ""}"#, "duplicate field `text`");
    refused(
        "lent",
        r#"{"word": ""}"#,
        "unknown field `word`, expected one of `text`, `points`, `whole`",
    );
    refused("lent", r#"["t", []]"#, "missing field `whole`");
    refused("owned", r#"[{"x":1,"y":2}, null, [9, ""], 4]"#, "invalid length 4");
    refused("owned", r#"[{"x":1,"y":2}, 256, [9, ""]]"#, "256");
    refused("nothing", "[1]", "invalid length 1");
    refused("nothing", "{} x", "trailing characters");
    refused("points", "[true]", "invalid type: boolean");
    let deep = format!("[{}", "[".repeat(10_000));
    refused("lent", &deep, "invalid type: sequence, expected a string");

    match call(shapes, "not_finite", "{}") {
        Err(CallError::Unanswered(why)) => assert!(why.contains("not finite"), "{why}"),
        other => panic!("{other:?}"),
    }
    let panicked = call(shapes, "panics", r#"["on purpose"]"#);
    assert!(matches!(panicked, Err(CallError::Panicked)), "{panicked:?}");
    call(shapes, "nothing", "{}").expect("the session goes on");
}

#[test]
fn streams_answer_with_json_and_one_way_calls_with_nothing() {
    shapes().iter().for_each(streams);
}

fn streams(shapes: &Description) {
    let points = shapes.json("points").expect("callable");
    assert_eq!(points.shape(), Shape::Stream);
    let options = Options::new().timeout(Duration::from_secs(10));
    let stream = points.stream("[50]", &options).expect("sent");
    let replies: Vec<_> = stream.map(|reply| reply.expect("a reply")).collect();
    assert_eq!(replies.len(), 50, "more than come without credit");
    assert_eq!(replies[49], r#"{"x":49,"y":-49}"#);
    let last = points.stream("[100]", &options).expect("sent").last();
    match last {
        Some(Err(CallError::Failed(JsonError(error)))) => {
            assert_eq!(error, r#"{"Long":{"most":100}}"#)
        }
        other => panic!("{other:?}"),
    }
    let told = shapes.json("told").expect("callable");
    assert_eq!(told.shape(), Shape::OneWay);
    told.tell(r#"{"text": "hello"}"#, &options).expect("sent");
    told.tell(r#"{"text": 7}"#, &options).expect("sent, and for nobody");
    assert_eq!(call(shapes, "last_told", "{}").expect("told"), r#""hello""#);
}

#[test]
fn what_takes_no_json_says_so_before_it_is_called() {
    let some = described("some");
    assert_eq!(call(&some, "worded", "[7]").expect("worded"), "7");
    let not = |method: &str| some.json(method).expect_err("not callable");
    assert_eq!(not("plain"), NotCallable::NoJson("plain".into()));
    assert_eq!(not("carried"), NotCallable::NoJson("carried".into()));
    assert_eq!(not("denied"), NotCallable::Denied("denied".into()));
    assert_eq!(not("none"), NotCallable::Unknown("none".into()));
    let moved = described("shapes").json("moved").expect_err("not callable");
    assert_eq!(moved, NotCallable::Signal("moved".into()));
}
