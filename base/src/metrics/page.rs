//! What is asked of, and answered by, a port that shows pages to whoever asks by HTTP and takes nothing: the head of a request
//! in, an answer out. Sockets are the caller's.

use super::prometheus::CONTENT_TYPE;

/// A head is no longer than this.
pub const HEAD_MAX: usize = 8 << 10;

/// What a head asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// This path, without what stands behind `?`; `head`: nothing but the answer's own head.
    Page { path: String, head: bool },
    /// Nothing that is answered with a page.
    Refused(Status),
}

/// Answers without a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    HeadTooLarge,
    Unavailable,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::Unavailable => "503 Service Unavailable",
        }
    }
}

/// Reads the head of a request (RFC 9112) as far as it is needed; `None`: there is more to come.
pub fn ask(bytes: &[u8]) -> Option<Ask> {
    let ends = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    if !ends(b"\r\n\r\n") && !ends(b"\n\n") {
        return (bytes.len() >= HEAD_MAX).then_some(Ask::Refused(Status::HeadTooLarge));
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let words: Option<Vec<&str>> =
        std::str::from_utf8(line).ok().map(|line| line.split_ascii_whitespace().collect());
    Some(match words.as_deref() {
        Some([method, target, version]) if version.starts_with("HTTP/1.") && target.starts_with('/') => {
            let path = target.split('?').next().unwrap_or_default().to_owned();
            match *method {
                "GET" => Ask::Page { path, head: false },
                "HEAD" => Ask::Page { path, head: true },
                _ => Ask::Refused(Status::MethodNotAllowed),
            }
        }
        _ => Ask::Refused(Status::BadRequest),
    })
}

/// The answer with a page, or its head alone.
pub fn shown(page: &str, head: bool) -> Vec<u8> {
    answer("200 OK", CONTENT_TYPE, page, head)
}

/// The answer without a page.
pub fn refused(status: Status) -> Vec<u8> {
    answer(status.line(), "text/plain; charset=utf-8", &format!("{}\n", status.line()), false)
}

fn answer(status: &str, kind: &str, body: &str, head: bool) -> Vec<u8> {
    let length = body.len();
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\r\n"
    );
    if !head {
        answer.push_str(body);
    }
    answer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_by_its_path_and_nothing_else_is_taken() {
        let page = |path: &str, head| Some(Ask::Page { path: path.into(), head });
        assert_eq!(ask(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"), page("/metrics", false));
        assert_eq!(ask(b"HEAD / HTTP/1.0\n\n"), page("/", true));
        assert_eq!(ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\n"), None);
        let refused = |status| Some(Ask::Refused(status));
        assert_eq!(ask(b"POST /metrics HTTP/1.1\r\n\r\n"), refused(Status::MethodNotAllowed));
        for bad in
            [&b"GET\r\n\r\n"[..], b"\xff\xfe /x HTTP/1.1\r\n\r\n", b"GET x HTTP/1.1\r\n\r\n", b"\r\n\r\n"]
        {
            assert_eq!(ask(bad), refused(Status::BadRequest));
        }
        assert_eq!(ask(&[b'a'; HEAD_MAX]), refused(Status::HeadTooLarge));
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_ends_the_connection() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let whole = text(shown("a 1.0\n", false));
        assert!(
            whole.contains("Content-Length: 6\r\n") && whole.ends_with("Connection: close\r\n\r\na 1.0\n"),
            "{whole}"
        );
        assert!(text(shown("a 1.0\n", true)).ends_with("\r\n\r\n"));
        assert!(text(refused(Status::MethodNotAllowed)).contains("Allow: GET, HEAD\r\n"));
    }
}
