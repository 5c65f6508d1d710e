//! A host has untrusted files decoded by a child that has locked itself in. A file that makes the child crash,
//! hang, lie or reach for what it may not costs the host that child and that file.
//!
//! The decoder reads PPM pictures, and has bugs planted: a comment in a file makes it do what a crafted file
//! would make a real one do. Without arguments the host tries them all.
//!
//! `cargo run --example sandboxed_decoder [FILE]...`

mod sandbox;

use std::error::Error;
use std::io;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use memring::{Protocol, ServerEnd};

#[memring::message]
struct File {
    number: u32,
    bytes: Vec<u8>,
}

#[memring::message]
enum Answer {
    /// Three bytes a pixel.
    Picture {
        number: u32,
        width: u32,
        height: u32,
        pixels: Vec<u8>,
    },
    NoPicture {
        number: u32,
        why: String,
    },
}

struct Decode;

impl Protocol for Decode {
    const NAME: &'static str = "decode";
    type ToClient = File;
    type ToServer = Answer;
}

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    match files.first().map(String::as_str) {
        Some("child") => child(),
        Some(_) => host(files.into_iter().map(|name| Ok((name.clone(), std::fs::read(name)?)))),
        None => host(samples().into_iter().map(Ok)),
    }
}

/// What a host waits for one picture.
const PATIENCE: Duration = Duration::from_millis(500);

type Named = io::Result<(String, Vec<u8>)>;

fn host(files: impl Iterator<Item = Named>) -> Result<(), Box<dyn Error>> {
    let mut decoder = Decoder::start()?;
    for (number, file) in (0..).zip(files) {
        let (name, bytes) = file?;
        match decoder.decode(number, bytes) {
            Ok(said) => println!("{name}: {said}"),
            Err(why) => {
                println!("{name}: bad file: {why}; {}", decoder.end()?);
                decoder = Decoder::start()?;
            }
        }
    }
    println!("the host is well");
    decoder.end()?;
    Ok(())
}

/// A child that decodes, until it cannot be trusted any more.
struct Decoder {
    child: Child,
    channel: ServerEnd<Decode>,
}

impl Decoder {
    fn start() -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        let (child, channel) = memring::spawn::<Decode>(command.arg("child").env_clear())?;
        Ok(Self { child, channel })
    }

    /// What became of a file. After an error this decoder is of no more use.
    fn decode(&mut self, number: u32, bytes: Vec<u8>) -> Result<String, Box<dyn Error>> {
        let deadline = Instant::now() + PATIENCE;
        self.channel.send_deadline(&File { number, bytes }, deadline)?;
        // The message is a copy of our own, and well-formed. Whether it is true is for us to check.
        match &*self.channel.recv_deadline(deadline)? {
            ArchivedAnswer::Picture { number: of, width, height, pixels } => {
                // In numbers that no width and height overflow.
                let due = u128::from(width.to_native()) * u128::from(height.to_native()) * 3;
                if *of != number || due != pixels.len() as u128 {
                    return Err("its answer does not fit".into());
                }
                Ok(format!("{width} x {height}"))
            }
            ArchivedAnswer::NoPicture { number: of, why } if *of == number => {
                Ok(format!("no picture: {why}"))
            }
            ArchivedAnswer::NoPicture { .. } => Err("its answer is for another file".into()),
        }
    }

    /// Kills the child; how it ended.
    fn end(mut self) -> io::Result<String> {
        self.child.kill()?;
        Ok(format!("its decoder ended by {}", self.child.wait()?))
    }
}

fn child() -> Result<(), Box<dyn Error>> {
    let channel = memring::inherited::<Decode>()?;
    channel.session().before_sandbox();
    sandbox::lock_in()?;
    let (mut answers, files) = channel.split();
    for file in files {
        let file = file?;
        let number = file.number.to_native();
        let answer = match decode(&file.bytes) {
            Ok((width, height, pixels)) => Answer::Picture { number, width, height, pixels },
            Err(why) => Answer::NoPicture { number, why: why.to_owned() },
        };
        answers.send(&answer)?;
    }
    Ok(())
}

/// Reads a binary PPM: `P6`, width, height, 255, and three bytes a pixel.
fn decode(bytes: &[u8]) -> Result<(u32, u32, Vec<u8>), &'static str> {
    let mut rest = bytes.strip_prefix(b"P6").ok_or("it does not begin with P6")?;
    let [width, height, most] = [number(&mut rest)?, number(&mut rest)?, number(&mut rest)?];
    if most == 254 {
        return Ok((u32::MAX, u32::MAX, Vec::new())); // planted: a lie
    }
    if most != 255 {
        return Err("it has other than 8 bits a channel");
    }
    let (_, pixels) = rest.split_first().ok_or("it ends after its header")?;
    if pixels.len() as u128 != u128::from(width) * u128::from(height) * 3 {
        return Err("it has more or fewer pixels than it says");
    }
    Ok((width, height, pixels.to_vec()))
}

/// The next number of the header, after white space and comments.
fn number(rest: &mut &[u8]) -> Result<u32, &'static str> {
    loop {
        *rest = rest.trim_ascii_start();
        let Some(comment) = rest.strip_prefix(b"#") else { break };
        let end = comment.iter().position(|byte| *byte == b'\n').ok_or("a comment has no end")?;
        planted_bug(&comment[..end]);
        *rest = &comment[end..];
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, after) = rest.split_at(digits);
    *rest = after;
    std::str::from_utf8(number).ok().and_then(|text| text.parse().ok()).ok_or("a number is missing")
}

/// What a crafted file would have a real decoder do.
fn planted_bug(comment: &[u8]) {
    match comment {
        b"crash" => std::process::abort(),
        b"hang" => loop {
            std::hint::spin_loop();
        },
        b"open" => drop(std::fs::File::open("/etc/passwd")),
        b"eat" => drop(std::hint::black_box(vec![1_u8; 4 << 30])),
        b"leave" => std::process::exit(0),
        _ => {}
    }
}

/// Good files and bad ones, in turn.
fn samples() -> Vec<(String, Vec<u8>)> {
    let good = |width: usize, height: usize| {
        [format!("P6\n{width} {height}\n255\n").as_bytes(), &vec![7; width * height * 3]].concat()
    };
    let bad = |bug: &str| format!("P6\n#{bug}\n1 1\n255\n???").into_bytes();
    let mut samples = vec![("small.ppm".to_owned(), good(2, 2))];
    for bug in ["crash", "hang", "open", "eat", "leave"] {
        samples.push((format!("{bug}.ppm"), bad(bug)));
    }
    samples.push(("lie.ppm".to_owned(), b"P6 1 1 254\n???".to_vec()));
    samples.push(("torn.ppm".to_owned(), good(9, 9)[..99].to_vec()));
    samples.push(("large.ppm".to_owned(), good(600, 400)));
    samples
}
