//! One of the two brokers: its connections, frames out and answers in.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use wire::Str;
use wire::jute::Reader;
use wire::kafka::shape::Value;
use wire::kafka::{
    AnyRequest, AnyResponse, ApiKey, Message, ProduceRequest, RequestHeader, ResponseHeader,
    SaslAuthenticateRequest, SaslHandshakeRequest,
};

use super::damage::Damage;
use super::draw_security::PASSWORD;

/// What became of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Answer(Value),
    /// The broker closed the connection instead of an answer.
    Closed,
    /// The bytes are no answer of this API and version.
    Unreadable(String),
}

/// A request whose answer is to come.
#[derive(Debug)]
struct Asked {
    request: AnyRequest,
    version: i16,
    correlation_id: i32,
    /// The answer is a token of the login without a header.
    as_token: bool,
}

/// One connection; answers come in the order of the requests.
#[derive(Debug)]
pub struct Lane {
    address: SocketAddr,
    pub client_id: Option<Str>,
    /// The client id of the next request, if it is another one.
    other_client_id: Option<Option<Str>>,
    /// The next request has tagged fields that nobody knows.
    is_tagged: bool,
    /// Who logs in on each connection before anything else.
    user: Option<&'static str>,
    stream: Option<TcpStream>,
    received: BytesMut,
    /// Oldest first.
    asked: VecDeque<Asked>,
    correlation_id: i32,
}

impl Lane {
    pub fn new(address: SocketAddr, client_id: &str) -> Lane {
        Lane {
            address,
            client_id: Some(client_id.into()),
            other_client_id: None,
            is_tagged: false,
            user: None,
            stream: None,
            received: BytesMut::new(),
            asked: VecDeque::new(),
            correlation_id: 0,
        }
    }

    /// Every connection logs in as this user, by PLAIN.
    pub fn logged_in(mut self, user: &'static str) -> Lane {
        self.user = Some(user);
        self
    }

    /// What is different with the next request: its client id, and tagged fields that nobody knows.
    pub fn next_with(&mut self, client_id: Option<Option<&'static str>>, is_tagged: bool) {
        self.other_client_id = client_id.map(|id| id.map(Str::from_static));
        self.is_tagged = is_tagged;
    }

    /// Sends a request, whether or not the ones before have been answered.
    pub fn send(&mut self, request: AnyRequest, version: i16) -> std::io::Result<()> {
        let (frame, _) = self.frame_of(&request, version);
        self.put(frame, request, version, false)
    }

    /// Sends a request whose bytes are damaged.
    pub fn send_damaged(&mut self, request: AnyRequest, version: i16, damage: Damage) -> std::io::Result<()> {
        let (mut frame, header) = self.frame_of(&request, version);
        damage.apply(&mut frame, header);
        let version = match damage {
            Damage::Version(version) => version,
            _ => version,
        };
        self.put(frame, request, version, false)
    }

    /// Sends what a SaslAuthenticate holds without the request around it.
    pub fn send_token(&mut self, request: SaslAuthenticateRequest, version: i16) -> std::io::Result<()> {
        let mut frame = BytesMut::new();
        frame.put_i32(request.auth_bytes.len() as i32);
        frame.put_slice(&request.auth_bytes);
        self.put(frame, request.into(), version, true)
    }

    /// A request that is no part of the session, and its answer.
    pub fn ask(&mut self, request: AnyRequest, version: i16) -> std::io::Result<AnyResponse> {
        let name = request.key().api().name;
        let address = self.address;
        let bad = |why: String| std::io::Error::other(format!("{name} v{version} at {address}: {why}"));
        let (frame, _) = self.frame_of(&request, version);
        let mut stream = self.stream.take().map_or_else(|| self.connect(), Ok)?;
        stream.write_all(&frame)?;
        let answer = read_frame(&mut stream)?;
        self.stream = Some(stream);
        let mut reader = Reader::new(answer);
        ResponseHeader::read(&mut reader, request.key().api().response_header_version(version))
            .map_err(|error| bad(error.to_string()))?;
        AnyResponse::read(request.key(), &mut reader, version).map_err(|error| bad(error.to_string()))
    }

    /// A whole frame, and how long the header in it is.
    fn frame_of(&mut self, request: &AnyRequest, version: i16) -> (BytesMut, usize) {
        self.correlation_id += 1;
        let mut to = BytesMut::new();
        to.put_i32(0);
        let header = RequestHeader {
            request_api_key: request.key() as i16,
            request_api_version: version,
            correlation_id: self.correlation_id,
            client_id: self.other_client_id.take().unwrap_or_else(|| self.client_id.clone()),
        };
        header.write(&mut to);
        let is_tagged =
            std::mem::take(&mut self.is_tagged) && request.key().api().request_header_version(version) == 2;
        if is_tagged {
            tag(&mut to);
        }
        let header = to.len() - 4;
        request.write(&mut to, version);
        // A tagged field of its own may be the last one there.
        let ends_with_tags = matches!(request.key(), ApiKey::Fetch | ApiKey::UpdateMetadata);
        if is_tagged && !ends_with_tags {
            tag(&mut to);
        }
        let len = to.len() as i32 - 4;
        to[..4].copy_from_slice(&len.to_be_bytes());
        (to, header)
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        if let Some(user) = self.user {
            let mechanism = SaslHandshakeRequest { mechanism: "PLAIN".into() };
            let auth_bytes = format!("\0{user}\0{PASSWORD}").into();
            let login: [(AnyRequest, i16); 2] =
                [(mechanism.into(), 1), (SaslAuthenticateRequest { auth_bytes }.into(), 0)];
            for (request, version) in login {
                let mut lane = Lane::new(self.address, user);
                stream.write_all(&lane.frame_of(&request, version).0)?;
                let answer = read_frame(&mut stream)?;
                if answer.get(4..6) != Some(&[0, 0]) {
                    return Err(std::io::Error::other(format!("{user} may not log in: {answer:?}")));
                }
            }
        }
        Ok(stream)
    }

    fn put(
        &mut self,
        frame: BytesMut,
        request: AnyRequest,
        version: i16,
        as_token: bool,
    ) -> std::io::Result<()> {
        if self.stream.is_none() {
            self.stream = Some(self.connect()?);
        }
        // A connection that was closed behind the last answer shows when the answer is read.
        let _ = self.stream.as_mut().expect("connected").write_all(&frame);
        self.asked.push_back(Asked { request, version, correlation_id: self.correlation_id, as_token });
        Ok(())
    }

    pub fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Gives up the answers, and the connection with it.
    pub fn drop_connection(&mut self) {
        self.stream = None;
        self.asked.clear();
        self.received.clear();
    }

    /// The outcome of the oldest request without one, if it comes within `wait`. A produce request with acks=0 has an empty
    /// one at once.
    pub fn outcome(&mut self, wait: Duration) -> Option<(AnyRequest, i16, Outcome)> {
        let asked = self.asked.front()?;
        if matches!(&asked.request, AnyRequest::Produce(ProduceRequest { acks: 0, .. })) {
            let asked = self.asked.pop_front()?;
            return Some((asked.request, asked.version, Outcome::Answer(Value::Null)));
        }
        let end = Instant::now() + wait;
        let outcome = loop {
            if let Some(frame) = self.frame() {
                break self.read(frame);
            }
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let Some(stream) = self.stream.as_mut() else { break Outcome::Closed };
            stream.set_read_timeout(Some(left)).expect("not zero");
            let mut buffer = [0; 65536];
            match stream.read(&mut buffer) {
                Ok(0) => break Outcome::Closed,
                Ok(len) => self.received.extend_from_slice(&buffer[..len]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= end {
                        return None;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break Outcome::Closed,
            }
        };
        let asked = self.asked.pop_front()?;
        if outcome == Outcome::Closed {
            self.drop_connection();
        }
        Some((asked.request, asked.version, outcome))
    }

    fn frame(&mut self) -> Option<Bytes> {
        let len = i32::from_be_bytes(self.received.get(..4)?.try_into().ok()?) as usize;
        (self.received.len() >= len + 4).then(|| self.received.split_to(len + 4).freeze().slice(4..))
    }

    fn read(&self, frame: Bytes) -> Outcome {
        let asked = self.asked.front().expect("an answer is awaited");
        if asked.as_token {
            return Outcome::Answer(Value::Struct(vec![("auth_bytes", Value::Bytes(frame))]));
        }
        read_answer(asked.request.key(), asked.version, Some(asked.correlation_id), frame)
    }
}

/// Puts a tagged field where bytes end with the count of none: tag 10,000, three bytes.
fn tag(bytes: &mut BytesMut) {
    if bytes.last() == Some(&0) {
        bytes.truncate(bytes.len() - 1);
        bytes.put_slice(b"\x01\x90\x4e\x03tag");
    }
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<Bytes> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = usize::try_from(i32::from_be_bytes(len)).map_err(std::io::Error::other)?;
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}

/// What the bytes of an answer say.
pub fn read_answer(key: ApiKey, asked: i16, correlation_id: Option<i32>, frame: Bytes) -> Outcome {
    let mut version = asked;
    let mut reader = Reader::new(frame);
    let mut read = || -> Result<(ResponseHeader, AnyResponse), String> {
        let header = ResponseHeader::read(&mut reader, key.api().response_header_version(version))
            .map_err(|e| e.to_string())?;
        if key == ApiKey::ApiVersions && !(0..=key.api().versions.1).contains(&version) {
            version = 0; // how a version that the broker does not know is answered
        }
        let body = AnyResponse::read(key, &mut reader, version).map_err(|e| e.to_string())?;
        Ok((header, body))
    };
    match read() {
        Err(why) => Outcome::Unreadable(why),
        Ok((header, _)) if correlation_id.is_some_and(|id| id != header.correlation_id) => {
            let asked = correlation_id.unwrap_or_default();
            Outcome::Unreadable(format!("correlation id {} for {asked}", header.correlation_id))
        }
        Ok(_) if reader.remaining() > 0 => {
            Outcome::Unreadable(format!("{} bytes behind the answer", reader.remaining()))
        }
        Ok((_, body)) => Outcome::Answer(body.show(version)),
    }
}

/// As bytes, for messages inside of messages.
pub fn encoded(message: &impl Message, version: i16) -> Bytes {
    wire::kafka::encode_versioned(message, version)
}
