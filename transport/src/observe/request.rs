//! What a client of an endpoint asks for: one line, or an HTTP request. Pure.
//!
//! Nothing of a request but its first line is looked at, and nothing of it is kept.

use super::Snapshot;
use super::prometheus::CONTENT_TYPE;

/// Bytes that a request may have.
pub const MOST_REQUEST_BYTES: usize = 8 << 10;

/// What has come of a request so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// More has to come.
    Part,
    Request(Request),
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    what: What,
    http: Http,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Json,
    Metrics,
    Unknown,
    NotAllowed,
    TooLong,
}

/// What goes around the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Http {
    No,
    Body,
    HeadOnly,
}

impl Heard {
    /// Of what a client sent, and whether that was all it will.
    pub(super) fn of(sent: &[u8], all: bool) -> Self {
        let line = sent.split(|byte| *byte == b'\n').next().unwrap_or(sent);
        let has_line = line.len() < sent.len() || all;
        let http = line.trim_ascii_end().rsplit(|byte| *byte == b' ').next();
        let is_http = http.is_some_and(|version| version.starts_with(b"HTTP/1."));
        let whole = if is_http { all || has_blank_line(sent) } else { has_line };
        match whole {
            true if is_http => Self::Request(Request::of_http(line)),
            true => Self::Request(Request::of_line(line.trim_ascii())),
            false if sent.len() >= MOST_REQUEST_BYTES => {
                let http = if is_http { Http::Body } else { Http::No };
                Self::Request(Request { what: What::TooLong, http })
            }
            false => Self::Part,
        }
    }
}

/// Whether the head of an HTTP request has ended.
fn has_blank_line(sent: &[u8]) -> bool {
    sent.windows(2).any(|two| two == b"\n\n") || sent.windows(3).any(|three| three == b"\n\r\n")
}

impl Request {
    fn of_line(line: &[u8]) -> Self {
        let what = match line {
            b"json" => What::Json,
            b"metrics" => What::Metrics,
            _ => What::Unknown,
        };
        Self { what, http: Http::No }
    }

    fn of_http(line: &[u8]) -> Self {
        let mut words = line.split(|byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or(b""), words.next().unwrap_or(b""));
        let path = target.split(|byte| *byte == b'?').next().unwrap_or(b"");
        let what = match (method, path) {
            (b"GET" | b"HEAD", b"/metrics") => What::Metrics,
            (b"GET" | b"HEAD", b"/json") => What::Json,
            (b"GET" | b"HEAD", _) => What::Unknown,
            _ => What::NotAllowed,
        };
        Self { what, http: if method == b"HEAD" { Http::HeadOnly } else { Http::Body } }
    }

    /// The whole answer. Takes a snapshot only if one was asked for.
    pub(super) fn answer(self, snapshot: impl FnOnce() -> Snapshot) -> Vec<u8> {
        const PLAIN: &str = "text/plain; charset=utf-8";
        let refused = |why: &str| format!("memring: {why}\n");
        let (status, kind, body) = match self.what {
            What::Json => ("200 OK", "application/json", snapshot().to_json()),
            What::Metrics => ("200 OK", CONTENT_TYPE, snapshot().to_prometheus()),
            What::Unknown => {
                let why = match self.http {
                    Http::No => "say json or metrics",
                    _ => "there are /metrics and /json",
                };
                ("404 Not Found", PLAIN, refused(why))
            }
            What::NotAllowed => ("405 Method Not Allowed", PLAIN, refused("say GET")),
            What::TooLong => {
                ("431 Request Header Fields Too Large", PLAIN, refused("that is too long"))
            }
        };
        if self.http == Http::No {
            return body.into_bytes();
        }
        let allow = if self.what == What::NotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
            body.len()
        );
        if self.http == Http::Body {
            answer.push_str(&body);
        }
        answer.into_bytes()
    }
}

/// What somebody is told who may not look.
pub(super) fn not_admitted(uid: u32) -> Vec<u8> {
    format!("memring: only processes of uid {uid} and root may look\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(sent: &str) -> Option<(What, Http)> {
        match Heard::of(sent.as_bytes(), false) {
            Heard::Part => None,
            Heard::Request(Request { what, http }) => Some((what, http)),
        }
    }

    #[test]
    fn a_request_is_a_line_or_the_head_of_one_of_http() {
        for (sent, expected) in [
            ("json\n", Some((What::Json, Http::No))),
            ("metrics\r\nand more", Some((What::Metrics, Http::No))),
            ("JSON\n", Some((What::Unknown, Http::No))),
            ("\n", Some((What::Unknown, Http::No))),
            ("", None),
            ("json", None),
            ("GET /metrics HTTP/1.1\r\n", None),
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n", None),
            ("GET /metrics HTTP/1.1\r\n\r\n", Some((What::Metrics, Http::Body))),
            ("GET /metrics?x=1 HTTP/1.0\n\n", Some((What::Metrics, Http::Body))),
            ("HEAD /json HTTP/1.1\r\nHost: x\r\n\r\n", Some((What::Json, Http::HeadOnly))),
            ("GET / HTTP/1.1\r\n\r\n", Some((What::Unknown, Http::Body))),
            ("POST /metrics HTTP/1.1\r\n\r\n", Some((What::NotAllowed, Http::Body))),
            (" HTTP/1.1\r\n\r\n", Some((What::NotAllowed, Http::Body))),
            ("GET /metrics SPDY/3\r\n", Some((What::Unknown, Http::No))),
        ] {
            assert_eq!(heard(sent), expected, "{sent:?}");
        }
        // Who says no more has said all.
        let all = Heard::of(b"json", true);
        assert_eq!(all, Heard::Request(Request { what: What::Json, http: Http::No }));
        assert!(matches!(Heard::of(b"\xff\xfe\0", true), Heard::Request(_)));
    }

    #[test]
    fn a_request_ends_at_its_limit() {
        let line = "x".repeat(MOST_REQUEST_BYTES - 1);
        assert_eq!(heard(&line), None);
        assert_eq!(heard(&format!("{line}x")), Some((What::TooLong, Http::No)));
        let head = format!("GET /metrics HTTP/1.1\r\nX: {line}");
        assert_eq!(heard(&head), Some((What::TooLong, Http::Body)));
    }

    #[test]
    fn a_refusal_takes_no_snapshot_and_says_what_there_is() {
        let answer = |sent: &[u8]| match Heard::of(sent, true) {
            Heard::Request(request) => {
                String::from_utf8(request.answer(|| panic!("of nothing"))).unwrap()
            }
            Heard::Part => panic!("all was sent"),
        };
        assert_eq!(answer(b"hello"), "memring: say json or metrics\n");
        let not_found = answer(b"GET / HTTP/1.1\r\n\r\n");
        assert!(not_found.starts_with("HTTP/1.1 404 "), "{not_found}");
        assert!(not_found.contains("Content-Length: 38\r\n"), "{not_found}");
        assert!(answer(b"PUT / HTTP/1.1\r\n\r\n").contains("\r\nAllow: GET, HEAD\r\n"));
    }
}
