//! One question over plain HTTP, waited for: bounded in time and size.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Java's `com.sun.security.ocsp.timeout`.
const WITHIN: Duration = Duration::from_secs(15);
const ANSWER_MAX: usize = 64 << 10;

/// The body of the answer to `body`, posted to an `http://` address. Anything but a status of 200 is an error.
pub(super) fn post(url: &str, kind: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let until = Instant::now() + WITHIN;
    let (host, path) = parts(url).ok_or(ErrorKind::InvalidInput)?;
    let mut stream = connect(host, until)?;
    // 1.0: the answer comes in one piece.
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.set_write_timeout(Some(left(until)?))?;
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(body) = whole(&answer)? {
            return Ok(body.to_vec());
        }
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut piece)? {
            0 => return at_the_end(&answer),
            read if answer.len() + read > ANSWER_MAX => {
                return Err(io::Error::other(format!("the answer is longer than {ANSWER_MAX} bytes")));
            }
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
}

/// Host and port as they stand there, and the path.
fn parts(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    (!host.is_empty() && plain(host) && plain(path))
        .then_some((host, if path.is_empty() { "/" } else { path }))
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn connect(host: &str, until: Instant) -> io::Result<TcpStream> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let at = if has_port { host.to_owned() } else { format!("{host}:80") };
    let mut last = ErrorKind::NotFound.into();
    for address in at.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Head and body of an answer whose head is complete.
fn split(answer: &[u8]) -> io::Result<Option<(&str, &[u8])>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(at) = answer.windows(END.len()).position(|at| at == END) else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..at]).map_err(|_| ErrorKind::InvalidData)?;
    match head.split(' ').nth(1) {
        Some("200") if head.starts_with("HTTP/1.") => Ok(Some((head, &answer[at + END.len()..]))),
        _ => Err(io::Error::other(head.lines().next().unwrap_or_default().to_owned())),
    }
}

fn length(head: &str) -> Option<usize> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?.1.trim().parse().ok()
}

/// The body, once as much of it is there as its head says.
fn whole(answer: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some((head, body)) = split(answer)? else { return Ok(None) };
    Ok(length(head).and_then(|length| body.get(..length)))
}

/// A body without a length ends with the connection.
fn at_the_end(answer: &[u8]) -> io::Result<Vec<u8>> {
    match split(answer)? {
        Some((head, body)) if length(head).is_none() => Ok(body.to_vec()),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one connection with `answer`, and says what was asked.
    fn answered(answer: &'static [u8]) -> (io::Result<Vec<u8>>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/a?b", listener.local_addr().unwrap());
        let there = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut piece = [0; 512];
            while !asked.ends_with(b"question") {
                let read = stream.read(&mut piece).unwrap();
                asked.extend_from_slice(&piece[..read]);
            }
            // It may have heard enough before the end.
            let _ = stream.write_all(answer);
            String::from_utf8(asked).unwrap()
        });
        (post(&url, "x/y", b"question"), there.join().unwrap())
    }

    #[test]
    fn an_answer_ends_with_its_length_or_with_the_connection() {
        let (answer, asked) = answered(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nab---");
        assert_eq!(answer.unwrap(), b"ab");
        assert!(asked.starts_with("POST /a?b HTTP/1.0\r\nHost: 127.0.0.1:"), "{asked}");
        assert!(asked.ends_with("Content-Type: x/y\r\nContent-Length: 8\r\n\r\nquestion"), "{asked}");
        assert_eq!(answered(b"HTTP/1.1 200 OK\r\n\r\nabc").0.unwrap(), b"abc");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let (refused, _) = answered(b"HTTP/1.0 404 Not Found\r\n\r\n");
        assert_eq!(refused.unwrap_err().to_string(), "HTTP/1.0 404 Not Found");
        answered(b"HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\nab").0.unwrap_err();
        answered(b"").0.unwrap_err();
        static LONG: [u8; ANSWER_MAX + 1] = [b'x'; ANSWER_MAX + 1];
        assert!(answered(&LONG).0.is_err());
        for url in ["https://x/", "http:///x", "http://a b/", "file:/x"] {
            assert_eq!(post(url, "", b"").unwrap_err().kind(), ErrorKind::InvalidInput, "{url}");
        }
    }
}
