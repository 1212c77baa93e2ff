//! One connection to one broker. Requests are written in the order in which they are started, without waiting for
//! earlier responses; a broker answers in that order. Policy (retries, back-off, which broker) is the caller's.

use crate::reauthentication::Reauthentication;
use crate::security::{Protocol, Security};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use wire::Str;
use wire::jute::{DecodeError, Reader};
use wire::kafka::{
    APIS, ApiKey, ApiVersionsRequest, ApiVersionsResponse, ErrorCode, Message, Request, RequestHeader,
    ResponseHeader,
};

/// Why a call has no response. Errors inside a response are the caller's to read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    #[error("cannot connect to {peer}: {why}")]
    Connect { peer: Arc<str>, why: Arc<str> },
    #[error("the connection to {peer} is closed: {why}")]
    Closed { peer: Arc<str>, why: Arc<str> },
    /// The peer does not believe who we are, or we do not believe it.
    #[error("{why}")]
    Authentication { peer: Arc<str>, exception: &'static str, why: Arc<str> },
    #[error("{peer} did not answer {api} within {} ms", after.as_millis())]
    TimedOut { peer: Arc<str>, api: &'static str, after: Duration },
    /// In Java's words, since tools print them.
    #[error("The broker does not support {}", shouted(api))]
    Unsupported { peer: Arc<str>, api: &'static str },
    #[error("{peer} sent a malformed {api} response: {source}")]
    Malformed { peer: Arc<str>, api: &'static str, source: DecodeError },
}

/// `DESCRIBE_CLIENT_QUOTAS` for DescribeClientQuotas.
fn shouted(api: &str) -> String {
    let mut name = String::new();
    for (at, letter) in api.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    pub client_id: Str,
    /// How long the TCP handshake, and the exchange of versions, may each take.
    pub setup_timeout: Duration,
    /// How long [`Connection::call`] waits.
    pub request_timeout: Duration,
    /// Largest response that is accepted, in bytes.
    pub response_bytes_max: usize,
    pub security: Security,
}

impl Default for ConnectionOptions {
    fn default() -> ConnectionOptions {
        ConnectionOptions {
            client_id: Str::from_static("menagerie"),
            setup_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            response_bytes_max: 256 << 20,
            security: Security::default(),
        }
    }
}

/// A handle; clones share the socket, which closes when the last one goes.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    peer: Arc<str>,
    options: ConnectionOptions,
    reauthentication: Arc<Reauthentication>,
    /// By API key: the versions that both sides know.
    versions: OnceLock<Vec<Option<(i16, i16)>>>,
    correlation: Arc<AtomicI32>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    why_closed: Arc<OnceLock<Arc<str>>>,
    tasks: [AbortHandle; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[derive(Debug)]
struct Outgoing {
    frame: Bytes,
    /// The end of the frame, where other connections send the same bytes.
    shared: Bytes,
    /// `None`: the broker sends no response.
    awaited: Option<Awaited>,
}

#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) correlation: i32,
    pub(crate) reply: oneshot::Sender<Bytes>,
}

/// A response that is on its way.
#[derive(Debug)]
pub struct Reply<R: Request> {
    connection: Connection,
    correlation: i32,
    version: i16,
    frame: oneshot::Receiver<Bytes>,
    request: std::marker::PhantomData<fn() -> R>,
}

impl Connection {
    /// Connects to `host:port`, proves there who we are, and exchanges versions.
    pub async fn connect(address: &str, options: ConnectionOptions) -> Result<Connection, CallError> {
        let refused = |why: String| CallError::Connect { peer: address.into(), why: why.into() };
        let stream = tokio::time::timeout(options.setup_timeout, TcpStream::connect(address))
            .await
            .map_err(|_| refused("timed out".to_owned()))?
            .map_err(|error| refused(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
        if options.security.protocol == Protocol::Plaintext {
            return Connection::over(stream, address, options).await;
        }
        let securing = options.security.secure(stream, address, &options.client_id);
        let secured = tokio::time::timeout(options.setup_timeout, securing)
            .await
            .map_err(|_| refused("timed out".to_owned()))?
            .map_err(|error| match error.exception() {
                None => refused(error.to_string()),
                Some(exception) => CallError::Authentication {
                    peer: address.into(),
                    exception,
                    why: error.to_string().into(),
                },
            })?;
        let connection = Connection::start_tasks(secured.stream, address, options);
        connection.inner.reauthentication.session_began(secured.lifetime);
        connection.know_versions().await?;
        Ok(connection)
    }

    /// Takes a stream that is already connected (and authenticated, where the listener asks for it), and exchanges
    /// versions. `peer` names the other end in errors.
    pub async fn over<S>(stream: S, peer: &str, options: ConnectionOptions) -> Result<Connection, CallError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let connection = Connection::start_tasks(stream, peer, options);
        connection.know_versions().await?;
        Ok(connection)
    }

    async fn know_versions(&self) -> Result<(), CallError> {
        let versions = self.exchange_versions().await?;
        self.inner.versions.set(versions).expect("a new connection asks once");
        let login = self.versions_of(ApiKey::SaslAuthenticate);
        self.inner.reauthentication.set_version(login.map_or(0, |(_, highest)| highest));
        Ok(())
    }

    fn start_tasks<S>(stream: S, peer: &str, options: ConnectionOptions) -> Connection
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, writer) = tokio::io::split(stream);
        let (outgoing, to_write) = mpsc::unbounded_channel();
        let (awaited, to_answer) = mpsc::unbounded_channel();
        let why_closed = Arc::new(OnceLock::new());
        let correlation = Arc::new(AtomicI32::new(0));
        let (security, client_id) = (options.security.clone(), options.client_id.clone());
        let reauthentication = Arc::new(Reauthentication::new(security, client_id, correlation.clone()));
        let writing = tokio::spawn(write_frames(
            writer,
            to_write,
            awaited,
            why_closed.clone(),
            reauthentication.clone(),
        ));
        let reading = tokio::spawn(read_frames(
            reader,
            to_answer,
            options.response_bytes_max,
            why_closed.clone(),
            writing.abort_handle(),
        ));
        let tasks = [writing.abort_handle(), reading.abort_handle()];
        Connection {
            inner: Arc::new(Inner {
                peer: peer.into(),
                options,
                reauthentication,
                versions: OnceLock::new(),
                correlation,
                outgoing,
                why_closed,
                tasks,
            }),
        }
    }

    async fn exchange_versions(&self) -> Result<Vec<Option<(i16, i16)>>, CallError> {
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("menagerie"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
        };
        let setup = self.inner.options.setup_timeout;
        let mut response = self.start_at(&request, 3)?.within(setup).await?;
        if response.error_code == ErrorCode::UNSUPPORTED_VERSION {
            response = self.start_at(&request, 0)?.within(setup).await?;
        }
        if !response.error_code.is_ok() {
            let why = format!("it refused the exchange of versions: {}", response.error_code.name());
            return Err(CallError::Connect { peer: self.inner.peer.clone(), why: why.into() });
        }
        Ok(common_versions(&response))
    }

    /// `host:port` as it was given.
    pub fn peer(&self) -> &str {
        &self.inner.peer
    }

    /// The lowest and highest version of an API that both sides know.
    pub fn versions_of(&self, key: ApiKey) -> Option<(i16, i16)> {
        self.inner.versions.get()?.get(key as usize).copied().flatten()
    }

    /// Whether it takes no more requests.
    pub fn is_closed(&self) -> bool {
        self.inner.why_closed.get().is_some() || self.inner.outgoing.is_closed()
    }

    /// Calls with the highest version that both sides know.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, CallError> {
        self.call_within(request, self.inner.options.request_timeout).await
    }

    /// As [`Connection::call`], in the highest common version that is at most `highest`.
    pub async fn call_up_to<R: Request>(&self, request: &R, highest: i16) -> Result<R::Response, CallError> {
        self.start_up_to(request, highest)?.within(self.inner.options.request_timeout).await
    }

    /// As [`Connection::call`], for a request that the broker may hold back for a while.
    pub async fn call_within<R: Request>(
        &self,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, CallError> {
        self.start(request)?.within(timeout).await
    }

    /// Queues a request behind those started before it; its response can be awaited later.
    pub fn start<R: Request>(&self, request: &R) -> Result<Reply<R>, CallError> {
        self.start_at(request, self.highest::<R>()?)
    }

    /// As [`Connection::start`], in the highest common version that is at most `highest`.
    pub fn start_up_to<R: Request>(&self, request: &R, highest: i16) -> Result<Reply<R>, CallError> {
        self.start_at(request, self.highest::<R>()?.min(highest))
    }

    /// As [`Connection::start`], in exactly this version.
    pub fn start_at<R: Request>(&self, request: &R, version: i16) -> Result<Reply<R>, CallError> {
        let (reply, frame) = oneshot::channel();
        let correlation = self.inner.correlation.fetch_add(1, Ordering::Relaxed);
        self.enqueue(request, version, correlation, Some(Awaited { correlation, reply }))?;
        Ok(Reply { connection: self.clone(), correlation, version, frame, request: std::marker::PhantomData })
    }

    /// As [`Connection::start_at`], with a body that is encoded already: its `head`, and a rest that other connections
    /// may send too.
    pub fn start_encoded<R: Request>(
        &self,
        version: i16,
        head: &[u8],
        shared: Bytes,
    ) -> Result<Reply<R>, CallError> {
        let (reply, frame) = oneshot::channel();
        let correlation = self.inner.correlation.fetch_add(1, Ordering::Relaxed);
        let awaited = Some(Awaited { correlation, reply });
        self.enqueue_with::<R>(|to| to.put_slice(head), shared, version, correlation, awaited)?;
        Ok(Reply { connection: self.clone(), correlation, version, frame, request: std::marker::PhantomData })
    }

    /// Queues a request that gets no response: Produce with `acks=0`.
    pub fn send<R: Request>(&self, request: &R) -> Result<(), CallError> {
        let correlation = self.inner.correlation.fetch_add(1, Ordering::Relaxed);
        self.enqueue(request, self.highest::<R>()?, correlation, None)
    }

    fn highest<R: Request>(&self) -> Result<i16, CallError> {
        let unsupported = || CallError::Unsupported { peer: self.inner.peer.clone(), api: R::KEY.api().name };
        self.versions_of(R::KEY).map(|(_, highest)| highest).ok_or_else(unsupported)
    }

    fn enqueue<R: Request>(
        &self,
        request: &R,
        version: i16,
        correlation: i32,
        awaited: Option<Awaited>,
    ) -> Result<(), CallError> {
        let body = |to: &mut BytesMut| request.write(to, version);
        self.enqueue_with::<R>(body, Bytes::new(), version, correlation, awaited)
    }

    fn enqueue_with<R: Request>(
        &self,
        body: impl FnOnce(&mut BytesMut),
        shared: Bytes,
        version: i16,
        correlation: i32,
        awaited: Option<Awaited>,
    ) -> Result<(), CallError> {
        let mut frame = BytesMut::with_capacity(256);
        frame.put_i32(0);
        let header = RequestHeader {
            request_api_key: R::KEY as i16,
            request_api_version: version,
            correlation_id: correlation,
            client_id: Some(self.inner.options.client_id.clone()),
        };
        header.write(&mut frame);
        body(&mut frame);
        let len = (frame.len() - 4 + shared.len()) as i32;
        frame[..4].copy_from_slice(&len.to_be_bytes());
        let outgoing = Outgoing { frame: frame.freeze(), shared, awaited };
        self.inner.outgoing.send(outgoing).map_err(|_| self.closed())
    }

    fn closed(&self) -> CallError {
        let why = self.inner.why_closed.get().cloned().unwrap_or_else(|| "it was given up".into());
        CallError::Closed { peer: self.inner.peer.clone(), why }
    }
}

impl<R: Request> Reply<R> {
    /// The number that request and response carry.
    pub fn correlation_id(&self) -> i32 {
        self.correlation
    }

    /// Waits for the response. The connection stays usable after a time-out: a late response is dropped.
    pub async fn within(self, timeout: Duration) -> Result<R::Response, CallError> {
        let peer = &self.connection.inner.peer;
        let frame = match tokio::time::timeout(timeout, self.frame).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(_)) => return Err(self.connection.closed()),
            Err(_) => {
                return Err(CallError::TimedOut {
                    peer: peer.clone(),
                    api: R::KEY.api().name,
                    after: timeout,
                });
            }
        };
        decode::<R>(frame, self.version).map_err(|source| CallError::Malformed {
            peer: peer.clone(),
            api: R::KEY.api().name,
            source,
        })
    }
}

fn decode<R: Request>(frame: Bytes, version: i16) -> Result<R::Response, DecodeError> {
    let mut from = Reader::new(frame);
    ResponseHeader::read(&mut from, R::KEY.api().response_header_version(version))?;
    // A broker that knows no version of ApiVersions that we asked for answers in version 0.
    if R::KEY == ApiKey::ApiVersions && version > 0 {
        let body = from.rest();
        if body.starts_with(&ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes()) {
            return R::Response::decode(&body, 0);
        }
        return R::Response::decode(&body, version);
    }
    R::Response::read(&mut from, version)
}

fn common_versions(response: &ApiVersionsResponse) -> Vec<Option<(i16, i16)>> {
    let mut common = vec![None; APIS.len()];
    for theirs in &response.api_keys {
        if let Some(key) = ApiKey::from_i16(theirs.api_key) {
            let (low, high) = key.api().versions;
            let both = (low.max(theirs.min_version), high.min(theirs.max_version));
            common[key as usize] = (both.0 <= both.1).then_some(both);
        }
    }
    common
}

async fn write_frames(
    mut writer: impl AsyncWrite + Unpin + Send,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    awaited: mpsc::UnboundedSender<Awaited>,
    why_closed: Arc<OnceLock<Arc<str>>>,
    reauthentication: Arc<Reauthentication>,
) {
    while let Some(Outgoing { frame, shared, awaited: reply }) = queue.recv().await {
        if let Err(error) = reauthentication.keep_session(&mut writer, &awaited).await {
            let _ = why_closed.set(error.to_string().into());
            return;
        }
        if let Some(reply) = reply
            && awaited.send(reply).is_err()
        {
            return;
        }
        let written = match writer.write_all(&frame).await {
            Ok(()) if !shared.is_empty() => writer.write_all(&shared).await,
            written => written,
        };
        if let Err(error) = written {
            let _ = why_closed.set(error.to_string().into());
            return;
        }
    }
}

async fn read_frames(
    mut reader: impl AsyncRead + Unpin,
    mut awaited: mpsc::UnboundedReceiver<Awaited>,
    bytes_max: usize,
    why_closed: Arc<OnceLock<Arc<str>>>,
    writing: AbortHandle,
) {
    let why = loop {
        let frame = match read_frame(&mut reader, bytes_max).await {
            Ok(frame) => frame,
            Err(why) => break why,
        };
        // The request was queued here before it was written, so an honest response finds it.
        let Ok(Awaited { correlation, reply }) = awaited.try_recv() else {
            break "a response came without a request".to_owned();
        };
        let answered = (&frame[..4]).get_i32();
        if answered != correlation {
            break format!("response {answered} came where {correlation} was due");
        }
        let _ = reply.send(frame);
    };
    let _ = why_closed.set(why.into());
    writing.abort();
}

async fn read_frame(reader: &mut (impl AsyncRead + Unpin), bytes_max: usize) -> Result<Bytes, String> {
    let len = match reader.read_i32().await {
        Ok(len) => len,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err("the broker closed it".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    if len < 4 || len as usize > bytes_max {
        return Err(format!("a response of {len} bytes was announced"));
    }
    // Grows with what arrives: an announcement alone reserves little.
    let mut frame = BytesMut::with_capacity((len as usize).min(1 << 20));
    let mut limited = reader.take(len as u64);
    while frame.len() < len as usize {
        match limited.read_buf(&mut frame).await {
            Ok(0) => return Err("the broker closed it inside a response".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::kafka::api_versions::ApiVersion;
    use wire::kafka::{HeartbeatRequest, HeartbeatResponse, MetadataRequest};

    /// Reads one request, and returns its header and body.
    async fn request(stream: &mut tokio::io::DuplexStream) -> (RequestHeader, Bytes) {
        let len = stream.read_i32().await.unwrap();
        let mut frame = vec![0; len as usize];
        stream.read_exact(&mut frame).await.unwrap();
        let mut from = Reader::new(frame.into());
        (RequestHeader::read(&mut from).unwrap(), from.rest())
    }

    async fn respond(stream: &mut tokio::io::DuplexStream, correlation: i32, header: i16, body: Bytes) {
        let mut frame = BytesMut::new();
        ResponseHeader { correlation_id: correlation }.write(&mut frame, header);
        frame.extend_from_slice(&body);
        stream.write_i32(frame.len() as i32).await.unwrap();
        stream.write_all(&frame).await.unwrap();
    }

    fn versions(
        error_code: ErrorCode,
        key: ApiKey,
        min_version: i16,
        max_version: i16,
    ) -> ApiVersionsResponse {
        let api_keys = vec![ApiVersion { api_key: key as i16, min_version, max_version }];
        ApiVersionsResponse { error_code, api_keys, ..Default::default() }
    }

    async fn connected(
        serve: impl AsyncFnOnce(&mut tokio::io::DuplexStream),
    ) -> (Result<Connection, CallError>, tokio::io::DuplexStream) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (connection, ()) =
            tokio::join!(Connection::over(ours, "test:1", ConnectionOptions::default()), serve(&mut theirs));
        (connection, theirs)
    }

    async fn heartbeats_up_to_2(stream: &mut tokio::io::DuplexStream) {
        let (header, _) = request(stream).await;
        assert_eq!((header.request_api_key, header.request_api_version), (18, 3));
        respond(
            stream,
            header.correlation_id,
            0,
            versions(ErrorCode::NONE, ApiKey::Heartbeat, 0, 2).encode(3),
        )
        .await;
    }

    #[tokio::test]
    async fn pipelined_requests_get_their_responses_in_order() {
        let (connection, mut broker) = connected(heartbeats_up_to_2).await;
        let connection = connection.unwrap();
        let replies: Vec<_> =
            (0..3).map(|_| connection.start(&HeartbeatRequest::default()).unwrap()).collect();
        for millis in 0..3 {
            let (header, _) = request(&mut broker).await;
            assert_eq!(header.request_api_version, 2);
            let body = HeartbeatResponse { throttle_time_ms: millis, ..Default::default() }.encode(2);
            respond(&mut broker, header.correlation_id, 0, body).await;
        }
        for (millis, reply) in replies.into_iter().enumerate() {
            assert_eq!(reply.within(Duration::from_secs(5)).await.unwrap().throttle_time_ms, millis as i32);
        }
        assert!(matches!(
            connection.call(&MetadataRequest::default()).await,
            Err(CallError::Unsupported { api: "Metadata", .. })
        ));
    }

    #[tokio::test]
    async fn a_broker_that_knows_only_version_0_of_the_exchange_is_asked_again() {
        let (connection, _broker) = connected(async |stream: &mut _| {
            let (header, _) = request(stream).await;
            let refusal = versions(ErrorCode::UNSUPPORTED_VERSION, ApiKey::ApiVersions, 0, 0).encode(0);
            respond(stream, header.correlation_id, 0, refusal).await;
            let (header, _) = request(stream).await;
            assert_eq!(header.request_api_version, 0);
            let answer = versions(ErrorCode::NONE, ApiKey::Metadata, 1, 4).encode(0);
            respond(stream, header.correlation_id, 0, answer).await;
        })
        .await;
        assert_eq!(connection.unwrap().versions_of(ApiKey::Metadata), Some((1, 4)));
    }

    #[tokio::test]
    async fn a_response_that_nobody_asked_for_closes_the_connection() {
        let (connection, mut broker) = connected(heartbeats_up_to_2).await;
        let connection = connection.unwrap();
        let reply = connection.start(&HeartbeatRequest::default()).unwrap();
        let (header, _) = request(&mut broker).await;
        respond(&mut broker, header.correlation_id + 1, 0, HeartbeatResponse::default().encode(2)).await;
        let error = reply.within(Duration::from_secs(5)).await.unwrap_err();
        assert!(error.to_string().contains("came where"), "{error}");
        assert!(connection.is_closed());
    }

    fn with_login(name: &str) -> ConnectionOptions {
        let module = crate::security::PLAIN_MODULE;
        let lookup = |key: &str| match key {
            "security.protocol" => Some("SASL_PLAINTEXT".to_owned()),
            "sasl.mechanism" => Some("PLAIN".to_owned()),
            "sasl.jaas.config" => Some(format!("{module} required username={name} password=p;")),
            _ => None,
        };
        ConnectionOptions { security: Security::of_client(&lookup).unwrap(), ..ConnectionOptions::default() }
    }

    /// A connection whose login grows old at once, and the broker's end of it.
    async fn grown_old() -> (Connection, tokio::io::DuplexStream) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let serve = async {
            let (header, _) = request(&mut theirs).await;
            let all = [ApiKey::Heartbeat, ApiKey::SaslAuthenticate];
            let api_keys =
                all.map(|key| ApiVersion { api_key: key as i16, min_version: 0, max_version: 1 }).to_vec();
            let body = ApiVersionsResponse { api_keys, ..Default::default() }.encode(3);
            respond(&mut theirs, header.correlation_id, 0, body).await;
        };
        let (connection, ()) = tokio::join!(Connection::over(ours, "test:1", with_login("ann")), serve);
        let connection = connection.unwrap();
        connection.inner.reauthentication.session_began(Some(Duration::ZERO));
        (connection, theirs)
    }

    async fn show_again(
        broker: &mut tokio::io::DuplexStream,
        error_code: ErrorCode,
        session_lifetime_ms: i64,
    ) {
        let (header, body) = request(broker).await;
        assert_eq!(header.request_api_key, ApiKey::SaslHandshake as i16);
        assert_eq!(wire::kafka::SaslHandshakeRequest::decode(&body, 1).unwrap().mechanism, "PLAIN");
        let answer = wire::kafka::SaslHandshakeResponse::default().encode(1);
        respond(broker, header.correlation_id, 0, answer).await;
        let (header, body) = request(broker).await;
        assert_eq!(
            (header.request_api_key, header.request_api_version),
            (ApiKey::SaslAuthenticate as i16, 1)
        );
        let shown = wire::kafka::SaslAuthenticateRequest::decode(&body, 1).unwrap();
        assert_eq!(&shown.auth_bytes[..], b"\0ann\0p");
        let answer =
            wire::kafka::SaslAuthenticateResponse { error_code, session_lifetime_ms, ..Default::default() };
        respond(broker, header.correlation_id, 0, answer.encode(1)).await;
    }

    #[tokio::test]
    async fn a_login_is_shown_again_between_two_requests_when_it_is_time() {
        let (connection, mut broker) = grown_old().await;
        let first = connection.start(&HeartbeatRequest::default()).unwrap();
        let second = connection.start(&HeartbeatRequest::default()).unwrap();
        show_again(&mut broker, ErrorCode::NONE, 3_600_000).await;
        // Both waited for it; it is good for an hour now.
        for reply in [first, second] {
            let (header, _) = request(&mut broker).await;
            assert_eq!(header.request_api_key, ApiKey::Heartbeat as i16);
            respond(&mut broker, header.correlation_id, 0, HeartbeatResponse::default().encode(1)).await;
            reply.within(Duration::from_secs(5)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_login_that_is_not_taken_again_closes_the_connection_in_the_brokers_words() {
        let (connection, mut broker) = grown_old().await;
        let reply = connection.start(&HeartbeatRequest::default()).unwrap();
        show_again(&mut broker, ErrorCode::SASL_AUTHENTICATION_FAILED, 0).await;
        let error = reply.within(Duration::from_secs(5)).await.unwrap_err();
        assert!(error.to_string().contains("SASL Authentication failed"), "{error}");
        assert!(connection.is_closed());
    }
}
