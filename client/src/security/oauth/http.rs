//! One question over HTTP or HTTPS at a time, bounded in time and size: what a token endpoint and a key endpoint need.

use super::OAuthError;
use crate::security::{Lookup, SecurityError, shake_hands, ssl, wrong};
use ::tls::Tls;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Java's sockets wait for ever unless they are told how long; nobody wants that.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const ANSWER_MAX: usize = 1 << 20;
const HEADERS_MAX: usize = 100;

/// An endpoint.
pub struct Endpoint {
    /// As it was given.
    pub url: String,
    /// `host:port`
    address: String,
    host: String,
    path: String,
    tls: Option<Arc<Tls>>,
    connect_timeout: Duration,
    read_timeout: Duration,
}

/// An answer's status and body.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Where a URL leads: to a file, or to a server.
pub enum Place {
    File(std::path::PathBuf),
    Server { tls: bool, host: String, address: String, path: String },
}

/// Reads the URL that `key` holds; errors are Kafka's.
pub fn place(key: &str, url: &str) -> Result<Place, SecurityError> {
    let option = |why: String| wrong(key, format!("The OAuth configuration option {key} {why}"));
    let (protocol, rest) =
        url.split_once(':').ok_or_else(|| option(format!("contains a URL ({url}) that is malformed")))?;
    let tls = match protocol.to_ascii_lowercase().as_str() {
        "file" => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            return Ok(Place::File(path.into()));
        }
        "http" => false,
        "https" => true,
        other => {
            return Err(option(format!(
                "contains a URL ({url}) that contains an invalid protocol ({other}); only \"http\", \"https\", and \
                 \"file\" protocol are supported"
            )));
        }
    };
    let rest = rest.strip_prefix("//").unwrap_or_default();
    let rest = rest.split('#').next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || host.contains('@') || !plain(host) || !plain(path) {
        return Err(option(format!("contains a URL ({url}) that is malformed")));
    }
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = match (has_port, tls) {
        (true, _) => host.to_owned(),
        (false, true) => format!("{host}:443"),
        (false, false) => format!("{host}:80"),
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Place::Server { tls, host: host.to_owned(), address, path })
}

impl Endpoint {
    /// A server; over TLS it is trusted by the stores that the options of the login module name.
    pub fn new(
        url: &str,
        place: (bool, String, String, String),
        options: &Lookup<'_>,
        timeouts: (Option<Duration>, Option<Duration>),
    ) -> Result<Endpoint, SecurityError> {
        let (is_tls, host, address, path) = place;
        let tls = match is_tls {
            true => Some(Arc::new(Tls::for_client(ssl::settings("", options)?, true)?)),
            false => None,
        };
        Ok(Endpoint {
            url: url.to_owned(),
            address,
            host,
            path,
            tls,
            connect_timeout: timeouts.0.unwrap_or(TIMEOUT_DEFAULT),
            read_timeout: timeouts.1.unwrap_or(TIMEOUT_DEFAULT),
        })
    }

    pub async fn get(&self) -> Result<Answer, OAuthError> {
        self.ask(format!("GET {} HTTP/1.1\r\n{}\r\n", self.path, self.common())).await
    }

    /// Posts a form, with a header that says who asks.
    pub async fn post(&self, authorization: &str, form: &str) -> Result<Answer, OAuthError> {
        let (path, common, length) = (&self.path, self.common(), form.len());
        self.ask(format!(
            "POST {path} HTTP/1.1\r\n{common}Authorization: {authorization}\r\nCache-Control: no-cache\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
        ))
        .await
    }

    fn common(&self) -> String {
        format!("Host: {}\r\nAccept: application/json\r\nConnection: close\r\n", self.host)
    }

    async fn ask(&self, request: String) -> Result<Answer, OAuthError> {
        let failed = |why: String| OAuthError::Endpoint { url: self.url.clone(), why };
        let connecting = async {
            let stream = TcpStream::connect(&self.address).await.map_err(|error| error.to_string())?;
            let stream: Box<dyn crate::security::Stream> = match &self.tls {
                Some(tls) => {
                    Box::new(shake_hands(tls, stream, &self.address).await.map_err(|e| e.to_string())?)
                }
                None => Box::new(stream),
            };
            Ok(stream)
        };
        let connected = tokio::time::timeout(self.connect_timeout, connecting).await;
        let mut stream = connected.unwrap_or_else(|_| Err("connect timed out".to_owned())).map_err(failed)?;
        let asked = tokio::time::timeout(self.read_timeout, exchange(&mut stream, request.as_bytes()));
        asked.await.unwrap_or_else(|_| Err("Read timed out".to_owned())).map_err(failed)
    }
}

async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
) -> Result<Answer, String> {
    stream.write_all(request).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = whole(&bytes, false)? {
            return Ok(answer);
        }
        if bytes.len() > ANSWER_MAX {
            return Err(format!("the answer is longer than {ANSWER_MAX} bytes"));
        }
        match stream.read_buf(&mut bytes).await {
            Ok(1..) => {}
            // Many servers end a TLS connection without saying so.
            Ok(0) | Err(_) => {
                return whole(&bytes, true)?.ok_or_else(|| "the answer was cut short".to_owned());
            }
        }
    }
}

/// The answer, once all of it is there; `ended`: no more will come.
fn whole(bytes: &[u8], ended: bool) -> Result<Option<Answer>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(bytes).map_err(|error| format!("not an answer of HTTP: {error}"))?;
    let (httparse::Status::Complete(at), Some(status)) = (parsed, head.code) else { return Ok(None) };
    let header = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    };
    let body = &bytes[at..];
    let body = if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        chunks(body)?
    } else {
        match header("content-length").map(str::parse::<usize>) {
            Some(Ok(length)) => body.get(..length).map(<[u8]>::to_vec),
            Some(Err(_)) => return Err("its length is no number".to_owned()),
            None => ended.then(|| body.to_vec()),
        }
    };
    Ok(body.map(|body| Answer { status, body }))
}

/// The body that chunks make, once the last is there.
fn chunks(mut rest: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut body = Vec::new();
    loop {
        let parsed = httparse::parse_chunk_size(rest).map_err(|_| "a chunk without a size".to_owned())?;
        let httparse::Status::Complete((at, size)) = parsed else { return Ok(None) };
        if size == 0 {
            return Ok(Some(body));
        }
        let Some(end) = usize::try_from(size).ok().and_then(|size| at.checked_add(size)) else {
            return Err("a chunk that is too large".to_owned());
        };
        let Some(chunk) = rest.get(at..end) else { return Ok(None) };
        body.extend_from_slice(chunk);
        let Some(next) = rest.get(end + 2..) else { return Ok(None) };
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_length_its_last_chunk_or_the_connection() {
        let ok = |body: &str| Ok(Some(Answer { status: 200, body: body.into() }));
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", false), ok("ab"));
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", true), Ok(None));
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\n\r\nab", false), Ok(None));
        assert_eq!(whole(b"HTTP/1.1 200 OK\r\n\r\nab", true), ok("ab"));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n";
        assert_eq!(whole(chunked, false), ok("abc"));
        for cut in 45..chunked.len() - 4 {
            assert_eq!(whole(&chunked[..cut], false), Ok(None), "{cut}");
        }
        assert!(whole(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", false).is_err());
        assert!(whole(b"\x16\x03\x01 nonsense", false).is_err());
    }

    #[test]
    fn a_url_leads_to_a_file_or_a_server_or_is_told_with_its_key() {
        assert!(
            matches!(place("k", "file:///a/b").unwrap(), Place::File(path) if path == std::path::Path::new("/a/b"))
        );
        assert!(
            matches!(place("k", "file:/a").unwrap(), Place::File(path) if path == std::path::Path::new("/a"))
        );
        let Place::Server { tls, address, path, .. } = place("k", "https://id.example/token?x=1").unwrap()
        else {
            panic!("a server")
        };
        assert_eq!((tls, &*address, &*path), (true, "id.example:443", "/token?x=1"));
        let Place::Server { address, path, .. } = place("k", "http://h:81").unwrap() else {
            panic!("a server")
        };
        assert_eq!((&*address, &*path), ("h:81", "/"));
        for (url, problem) in [
            ("x", "malformed"),
            ("http://", "malformed"),
            ("http://a b/", "malformed"),
            ("ftp://a/", "an invalid protocol (ftp)"),
        ] {
            let error = place("sasl.url", url).err().unwrap().to_string();
            assert!(
                error.starts_with("sasl.url: The OAuth configuration option sasl.url")
                    && error.contains(problem),
                "{error}"
            );
        }
    }
}
