//! One of the two brokers: its connections, frames out and answers in.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use wire::Str;
use wire::jute::Reader;
use wire::kafka::shape::Value;
use wire::kafka::{AnyRequest, AnyResponse, ApiKey, Message, ProduceRequest, RequestHeader, ResponseHeader};

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
}

/// One connection; answers come in the order of the requests.
#[derive(Debug)]
pub struct Lane {
    address: SocketAddr,
    pub client_id: Option<Str>,
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
            stream: None,
            received: BytesMut::new(),
            asked: VecDeque::new(),
            correlation_id: 0,
        }
    }

    /// Sends a request, whether or not the ones before have been answered.
    pub fn send(&mut self, request: AnyRequest, version: i16) -> std::io::Result<()> {
        self.correlation_id += 1;
        let mut to = BytesMut::new();
        to.put_i32(0);
        let header = RequestHeader {
            request_api_key: request.key() as i16,
            request_api_version: version,
            correlation_id: self.correlation_id,
            client_id: self.client_id.clone(),
        };
        header.write(&mut to);
        request.write(&mut to, version);
        let len = to.len() as i32 - 4;
        to[..4].copy_from_slice(&len.to_be_bytes());
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        // A connection that was closed behind the last answer shows when the answer is read.
        let _ = self.stream.as_mut().expect("connected").write_all(&to);
        self.asked.push_back(Asked { request, version, correlation_id: self.correlation_id });
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
        read_answer(asked.request.key(), asked.version, Some(asked.correlation_id), frame)
    }
}

/// What the bytes of an answer say.
pub fn read_answer(key: ApiKey, asked: i16, correlation_id: Option<i32>, frame: Bytes) -> Outcome {
    let mut version = asked;
    let mut reader = Reader::new(frame);
    let mut read = || -> Result<(ResponseHeader, AnyResponse), String> {
        let header = ResponseHeader::read(&mut reader, key.api().response_header_version(version))
            .map_err(|e| e.to_string())?;
        if key == ApiKey::ApiVersions && version > key.api().versions.1 {
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
