//! `memring describe` and `memring call`, against a real server in another process, and against one that says what it likes.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use memring::rkyv::Archived;
use memring::rpc::fuzzing::Raw;
use memring::rpc::{Call, Calls, Replies, Server};
use memring::{Listener, Policy};
use serde_json::{Value, json};

use support::{Running, Scratch, memring, one_line, run, shell};

#[memring::message]
#[derive(serde::Serialize, serde::Deserialize)]
enum CalcError {
    DivisionByZero,
    Unknown { op: String },
}

#[memring::message]
#[derive(serde::Serialize, serde::Deserialize)]
struct Tick {
    price: f64,
    of: (String, [u8; 2]),
}

#[memring::interface(name = "calculator", version = "1.0", json)]
trait Calculator {
    fn calculate(op: &str, digits: u32, terms: &[f32]) -> Result<i32, CalcError>;
    fn watch(symbol: String, most: Option<u32>) -> Result<Stream<Tick>, CalcError>;
    #[oneway]
    fn log(line: &str);
    fn logged() -> Vec<String>;
    fn slow();
    fn secret();
    #[signal]
    fn news(headline: &str);
}

/// The same in another version.
#[memring::interface(name = "calculator", version = "1.10")]
trait NewCalculator {
    #[json]
    fn version() -> String;
    fn plain(number: u8) -> u8;
}

#[memring::interface(name = "hidden", version = "1", json)]
trait Hidden {
    fn method();
}

#[derive(Default)]
struct Calc {
    logged: std::sync::Mutex<Vec<String>>,
}

impl CalculatorServer for Calc {
    fn calculate(
        &self,
        _: &Call<'_>,
        op: &str,
        digits: u32,
        terms: &[Archived<f32>],
    ) -> Result<i32, CalcError> {
        let scale = 10_f32.powi(digits as i32);
        let terms = terms.iter().map(|term| term.to_native());
        match op {
            "+" => Ok((terms.sum::<f32>() * scale) as i32),
            "/" => Err(CalcError::DivisionByZero),
            op => Err(CalcError::Unknown { op: op.to_owned() }),
        }
    }

    fn watch(
        &self,
        _: &Call<'_>,
        symbol: String,
        most: Option<u32>,
        mut replies: Replies<Tick, CalcError>,
    ) {
        for number in 0..most.unwrap_or(u32::MAX) {
            let tick = Tick { price: f64::from(number) / 2.0, of: (symbol.clone(), [1, 2]) };
            if replies.send(&tick).is_err() {
                return;
            }
        }
        let failing = symbol.is_empty();
        replies.end(if failing { Err(CalcError::DivisionByZero) } else { Ok(()) });
    }

    fn log(&self, _: &Call<'_>, line: &str) {
        self.logged.lock().unwrap().push(line.to_owned());
    }

    fn logged(&self, _: &Call<'_>) -> Vec<String> {
        self.logged.lock().unwrap().clone()
    }

    fn slow(&self, _: &Call<'_>) {
        loop {
            std::thread::park(); // until its process is killed
        }
    }

    fn secret(&self, _: &Call<'_>) {}
}

impl NewCalculatorServer for Calc {
    fn version(&self, _: &Call<'_>) -> String {
        "1.10".into()
    }

    fn plain(&self, _: &Call<'_>, number: u8) -> u8 {
        number
    }
}

impl HiddenServer for Calc {
    fn method(&self, _: &Call<'_>) {}
}

const SOCKET: &str = "MEMRING_TEST_SOCKET";

/// The server's process; elsewhere this is no test.
#[test]
fn serves() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let server = Server::new()
        .serve(Calculator::serve(Calc::default()).method("secret", Policy::nobody()))
        .serve(NewCalculator::serve(Calc::default()))
        .serve(Hidden::serve(Calc::default()).policy(Policy::nobody()))
        .bind(socket.as_str())
        .unwrap();
    println!("\nlistening");
    server.run().unwrap();
}

/// A server, and where it is.
struct Scene {
    scratch: Scratch,
    _server: Running,
}

impl Scene {
    fn new() -> Self {
        let scratch = Scratch::new();
        let mut server = Command::new(std::env::current_exe().unwrap());
        server.args(["serves", "--exact", "--nocapture", "--test-threads=1"]);
        server.env(SOCKET, scratch.path("s")).stdout(Stdio::piped());
        let mut server = Running::start(&mut server);
        let lines = BufReader::new(server.child.stdout.take().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line == "listening"));
        Self { scratch, _server: server }
    }

    fn socket(&self) -> PathBuf {
        self.scratch.path("s")
    }

    fn describe(&self, more: &[&str]) -> Output {
        run(memring().arg("describe").arg(self.socket()).args(more))
    }

    fn call(&self, more: &[&str]) -> Output {
        run(memring().arg("call").arg(self.socket()).args(more))
    }

    /// What a call prints.
    #[track_caller]
    fn prints(&self, more: &[&str], printed: &str) {
        let output = self.call(more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{more:?}: {said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), printed, "{more:?}");
    }

    /// The line that a call fails with.
    #[track_caller]
    fn fails(&self, more: &[&str], status: i32, says: &str) {
        let output = self.call(more);
        let line = one_line(&output, status);
        assert!(line.contains(says), "{more:?}: {line}");
    }
}

#[test]
fn a_server_tells_its_interfaces_members_and_types() {
    let scene = Scene::new();
    let output = scene.describe(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (head, rest) = text.split_once('\n').unwrap();
    assert!(head.contains("s: pid ") && head.contains(" uid "), "{head}");
    let expected = "
calculator 1.0
  call     calculate(op: &str, digits: u32, terms: &[f32]) -> Result<i32, CalcError>  [json]
  stream   watch(symbol: String, most: Option<u32>) -> Result<Stream<Tick>, CalcError>  [json]
  one-way  log(line: &str)  [json]
  call     logged() -> Vec<String>  [json]
  call     slow()  [json]
  call     secret()  [json]  [denied]
  signal   news(headline: &str)
  enum CalcError { DivisionByZero, Unknown { op: String } }
  struct Tick { price: f64, of: (String, [u8; 2]) }

calculator 1.10
  call     version() -> String  [json]
  call     plain(number: u8) -> u8
";
    assert_eq!(rest, expected);

    let output = scene.describe(&["--json"]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let interfaces = object["interfaces"].as_array().unwrap();
    let names: Vec<_> = interfaces.iter().map(|one| (&one["name"], &one["version"])).collect();
    let (calculator, old, new) = (json!("calculator"), json!("1.0"), json!("1.10"));
    assert_eq!(names, [(&calculator, &old), (&calculator, &new)]);
    let watch = &interfaces[0]["members"][1];
    assert_eq!(watch["shape"], "stream");
    assert_eq!((&watch["json"], &watch["denied"]), (&json!(true), &json!(false)));
    let prints = watch["fingerprints"].as_array().unwrap();
    assert!(prints.len() == 3 && prints.iter().all(|print| print.as_str().unwrap().len() == 32));
    assert_eq!(interfaces[0]["members"][5]["denied"], true);
    assert_eq!(
        interfaces[0]["types"][0],
        "enum CalcError { DivisionByZero, Unknown { op: String } }"
    );
    assert!(object["peer"]["pid"].as_u64().is_some());
}

#[test]
fn results_are_printed_and_streams_line_by_line() {
    let scene = Scene::new();
    let old = "calculator@1.0.calculate";
    scene.prints(&[old, r#"{"terms": [2, 40], "op": "+", "digits": 1}"#], "420\n");
    scene.prints(&["calculator.calculate", r#"["+", 0, []]"#, "--version", "1.0"], "0\n");
    // Of several versions the newest.
    scene.prints(&["calculator.version"], "\"1.10\"\n");
    scene.prints(&["calculator@1.0.log", r#"["first"]"#], "");
    scene.prints(&["calculator@1.0.log", r#"{"line": "\u202e2nd"}"#], "");
    scene.prints(&["calculator@1.0.logged"], "[\"first\",\"\\u202e2nd\"]\n");

    let ticks = "{\"price\":0.0,\"of\":[\"A\",[1,2]]}\n{\"price\":0.5,\"of\":[\"A\",[1,2]]}\n";
    scene.prints(&["calculator@1.0.watch", r#"{"symbol": "A", "most": 2}"#], ticks);
    scene.prints(&["calculator@1.0.watch", r#"{"symbol": "A"}"#, "--count", "2"], ticks);
    let many = scene.call(&["calculator@1.0.watch", r#"["A", 1000]"#]);
    assert_eq!(String::from_utf8(many.stdout).unwrap().lines().count(), 1000);
    // What came before an error is printed.
    let failing = scene.call(&["calculator@1.0.watch", r#"["", 1]"#]);
    assert_eq!(one_line(&failing, 1), "memring: the method failed: \"DivisionByZero\"");
    assert_eq!(failing.stdout, b"{\"price\":0.0,\"of\":[\"\",[1,2]]}\n");

    let mut piped = memring();
    piped.arg("call").arg(scene.socket()).args([old, "-"]);
    let mut piped = Running::start(piped.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut stdin = piped.child.stdin.take().unwrap();
    stdin.write_all(b"\n {\"op\": \"+\", \"digits\": 0,\n\"terms\": [1]}\n").unwrap();
    drop(stdin);
    assert_eq!(piped.end().stdout, b"1\n");
    // Whoever reads no more ends it.
    let (socket, watch) = (scene.socket(), "calculator@1.0.watch '[\"A\"]'");
    let head = shell(&format!("\"$0\" call '{}' {watch} | head -n 3", socket.display()));
    assert_eq!(String::from_utf8(head.stdout).unwrap().lines().count(), 3);
    assert!(head.stderr.is_empty());
}

#[test]
fn failures_are_one_line_and_a_status_by_whose_they_are() {
    let scene = Scene::new();
    let old = "calculator@1.0.calculate";
    // The method's own.
    scene.fails(&[old, r#"["/", 0, [1]]"#], 1, ": the method failed: \"DivisionByZero\"");
    let unknown = r#"the method failed: {"Unknown":{"op":"a  b\u202e"}}"#;
    scene.fails(&[old, r#"["a  b\u202e", 0, [1]]"#], 1, unknown);
    let output = scene.call(&[old, r#"["/", 0, [1]]"#, "--json"]);
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = "the method failed: \"DivisionByZero\"";
    assert_eq!(object, json!({"error": error, "status": 1}));
    // The arguments'.
    scene.fails(&[old, "{}"], 2, "missing field `op`");
    scene.fails(&[old, r#"{"sign": "+"}"#], 2, "unknown field `sign`, expected one of `op`");
    scene.fails(&[old, "["], 2, "no JSON: EOF while parsing");
    scene.fails(&[old, "7"], 2, "one JSON object");
    // The names'.
    scene.fails(&["calculate"], 2, "not a method");
    scene.fails(
        &["abacus.add"],
        2,
        "no interface `abacus` that this user may use: it serves calculator 1.0, calculator 1.10",
    );
    scene.fails(&["hidden.method"], 2, "no interface `hidden`");
    scene.fails(&["hidden@1.method"], 3, "does not let this process use `hidden`");
    scene.fails(&["calculator@2.add"], 2, "in versions 1.0, 1.10, and not 2");
    scene.fails(
        &["calculator.calculate"],
        2,
        "calculator 1.10: there is no method `calculate`: there are version, plain",
    );
    scene.fails(
        &["calculator.plain", "[1]"],
        2,
        "`plain` takes no JSON: its server can declare it so",
    );
    scene.fails(&["calculator@1.0.news"], 2, "is a signal");
    scene.fails(&["calculator@1.0.secret"], 3, "does not let this process call `secret`");
    scene.fails(&["calculator.version", "--count", "2"], 2, "--count is for streams");
    scene.fails(&["calculator.version", "--count", "0"], 2, "0 is not in");
    // Time.
    scene.fails(&["calculator@1.0.slow", "--timeout", "100ms"], 3, "no answer before the deadline");
    scene.fails(&["calculator@1.0.watch", "[\"A\"]", "--timeout", "0"], 3, "");
}

#[test]
fn where_there_is_no_server_of_calls_it_is_said() {
    let scratch = Scratch::new();
    let none = scratch.path("none");
    for (command, more) in [("describe", &[][..]), ("call", &["a.b"])] {
        let output = run(memring().arg(command).arg(&none).args(more));
        assert!(one_line(&output, 3).contains("nothing at"));
        let echo = Running::echo(&scratch.path(command), &[]);
        let output = run(memring().arg(command).arg(scratch.path(command)).args(more));
        one_line(&output, 3);
        drop(echo);
    }
}

/// What a command says of a server that gives these answers, one after the other, and then for ever the last.
fn beside(answers: &[Vec<u8>], command: &str, limits: &str) -> Output {
    let scratch = Scratch::new();
    let listener = Listener::bind(scratch.path("s").as_path()).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut raw = Raw::over(listener.accept().unwrap().open::<Calls>().unwrap());
            let soon = || Instant::now() + Duration::from_secs(10);
            let mut answers = answers.iter().peekable();
            let mut answer = answers.peek().copied();
            while let Ok(asked) = raw.recv(soon()) {
                answer = answers.next().or(answer);
                let Some(answer) = answer else { break };
                if raw.send(answer, asked.tag, soon()).is_err() {
                    break;
                }
            }
        });
        let command = command.replace("PATH", &format!("'{}'", scratch.path("s").display()));
        shell(&format!("{limits} exec \"$0\" {command}"))
    })
}

fn packet(kind: u8, interface: u16, number: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind, 0];
    packet.extend(interface.to_le_bytes());
    packet.extend(number.to_le_bytes());
    packet.extend([0; 8]);
    packet.extend(body);
    packet
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

fn list(next: u16, names: &[&str]) -> Vec<u8> {
    let mut body = (names.len() as u16).to_le_bytes().to_vec();
    names.iter().for_each(|name| body.extend([text(name), text("1")].concat()));
    packet(2, next, 16, &body)
}

/// A description of methods that all take JSON, and of types.
fn description(names: &[&str], signature: &str, types: &[&str]) -> Vec<u8> {
    let mut body = (names.len() as u16).to_le_bytes().to_vec();
    for name in names {
        body.extend([vec![0x80], text(name), text(signature), vec![0; 48]].concat());
    }
    body.extend((types.len() as u16).to_le_bytes());
    types.iter().for_each(|one| body.extend(text(one)));
    packet(2, 0, 16, &body)
}

#[test]
fn whatever_a_server_calls_itself_no_terminal_obeys_it() {
    let hiding = "a\u{202e}b\u{200b}";
    let answers = [list(0, &[hiding]), description(&[hiding], hiding, &[hiding])];
    let output = beside(&answers, "describe PATH", "");
    let shown = String::from_utf8(output.stdout).unwrap();
    let shown = shown.split_once('\n').unwrap().1;
    let hidden = "a\u{fffd}b\u{fffd}";
    assert_eq!(shown, format!("\n{hidden} 1\n  call     {hidden}{hidden}  [json]\n  {hidden}\n"));
    let output = beside(&answers, "describe PATH --json", "");
    let object = String::from_utf8(output.stdout).unwrap();
    assert!(!object.trim_end().contains(memring::observe::is_unseen), "{object:?}");
    let object: Value = serde_json::from_str(&object).unwrap();
    assert_eq!(object["interfaces"][0]["members"][0]["name"], hiding);

    let answers = [list(0, &[hiding, "n"]), description(&["m", hiding], "()", &[])];
    let line = one_line(&beside(&answers, "call PATH x.m", ""), 2);
    assert!(line.ends_with("it serves a\u{fffd}b\u{fffd} 1, n 1"), "{line}");
    let line = one_line(&beside(&answers, "call PATH n.x", ""), 2);
    assert!(line.ends_with("there are m, a\u{fffd}b\u{fffd}"), "{line}");
    let result = |answer: Vec<u8>| {
        let answers = [answers[0].clone(), answers[1].clone(), answer];
        beside(&answers, "call PATH n.m", "")
    };
    let output = result(packet(6, 0, 0, "[\"\u{202e}\",\n1]".as_bytes()));
    assert_eq!(output.stdout, b"[\"\\u202e\",1]\n");
    let line = one_line(&result(packet(6, 0, 0, b"\x1b[2J")), 5);
    assert!(line.ends_with("what the server answered is no JSON"), "{line}");
    let line = one_line(&result(packet(7, 0, 0, "\"\u{202e}\u{7f}\"".as_bytes())), 1);
    assert!(line.ends_with("the method failed: \"\\u202e\\u007f\""), "{line}");
    let line = one_line(&result(packet(8, 0, 9, "\u{202e}why\x1b".as_bytes())), 2);
    assert!(line.contains("could not use the arguments"), "{line}");
}

#[test]
fn whatever_a_server_tells_little_memory_is_taken_and_it_ends() {
    let says = |answers: &[Vec<u8>], status| {
        one_line(&beside(answers, "describe PATH", "ulimit -v 600000;"), status)
    };
    // Answers that are none.
    assert!(says(&[packet(6, 0, 0, &[])], 4).contains("does not keep to the protocol"));
    assert!(says(&[list(9, &[]), list(9, &[])], 4).contains("does not keep to the protocol"));
    assert!(says(&[list(0, &["n"]), packet(2, 0, 0, &[255])], 4).contains("does not keep"));
    assert!(says(&[packet(15, 0, 0, &[])], 4).contains("unknown kind"));
    // As many as there can be, each with as much as there can be.
    let pages: Vec<_> = (1..=1023).map(|page| list(page * 64, &["n"; 64])).collect();
    let types = vec!["t"; 1024];
    let much = description(&vec!["m"; 1024], "()", &types);
    let answers = [pages, vec![list(0, &["n"; 63]), much]].concat();
    assert!(says(&answers, 4).ends_with("the server has more than 64 MiB to tell"));
    // One that has too much to tell, and one that changes its mind.
    let answers = [list(0, &["n", "m"]), packet(3, 0, 5, &[]), packet(3, 0, 3, &[])];
    let output = beside(&answers, "describe PATH", "");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("\nn 1\n  what the peer has to tell does not fit its lane"), "{shown}");
    assert!(shown.contains("\nm 1\n  the peer does not let this process use `m`"), "{shown}");
    let output = beside(&[list(0, &[])], "describe PATH", "");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.ends_with("\nnothing is served that this user may use\n"), "{shown}");
}
