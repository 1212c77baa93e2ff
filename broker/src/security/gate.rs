//! The way through a SASL listener: versions, a mechanism, tokens; then requests, until the login has grown too old.
//! Kafka's states and answers (KIP-43, KIP-152, KIP-368), also the tokens without headers of clients before 1.0.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker_core::acl::Principal;
use bytes::{Bytes, BytesMut};
use wire::Str;
use wire::jute::Reader;
use wire::kafka::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use wire::kafka::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, ErrorCode, Message, MetadataRequest, MetadataResponse,
    RequestHeader, ResponseHeader, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest,
    SaslHandshakeResponse,
};

use super::ListenerSecurity;
use super::mechanism::{Checks, Exchange, Rejection, Step};
use crate::api;
use crate::shard::wall_clock;

/// Nobody shows a login again sooner than this after the last time.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What becomes of a frame.
#[derive(Debug)]
pub enum Verdict {
    /// It is a request, for who handles requests.
    Pass(Bytes),
    Answer(Bytes),
    /// The login has failed: the answer, if there is one, is sent when the delay is over, and the connection closed.
    Refuse {
        answer: Option<Bytes>,
        why: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Versions may be asked once; a mechanism has to be named.
    HandshakeOrVersions,
    Handshake,
    Authenticate,
    Complete,
}

/// What who asks for versions is told beside them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    pub features_epoch: i64,
    /// Versions of APIs that may still change are among them.
    pub unstable: bool,
}

/// One connection's way.
pub struct LoginGate {
    security: Arc<ListenerSecurity>,
    state: State,
    mechanism: String,
    exchange: Option<Exchange>,
    /// Tokens travel in requests and not bare.
    headers: bool,
    /// Who logged in.
    principal: Option<Principal>,
    /// The last login was by a delegation token.
    by_token: bool,
    expires: Option<Instant>,
    /// When the login was last begun again.
    again: Option<Instant>,
    told: Told,
}

impl LoginGate {
    /// `None`: the listener asks for no login.
    pub fn new(security: &Arc<ListenerSecurity>, told: Told) -> Option<LoginGate> {
        security.sasl.as_ref()?;
        Some(LoginGate {
            security: security.clone(),
            state: State::HandshakeOrVersions,
            mechanism: String::new(),
            exchange: None,
            headers: false,
            principal: None,
            by_token: false,
            expires: None,
            again: None,
            told,
        })
    }

    /// Who logged in, once somebody has.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref().filter(|_| self.state == State::Complete)
    }

    /// Whether the last login was by a delegation token.
    pub fn came_by_token(&self) -> bool {
        self.by_token
    }

    /// How many bytes a frame may have now.
    pub fn receive_max(&self, of_requests: usize) -> usize {
        match (&self.security.sasl, self.state) {
            (Some(sasl), state) if state != State::Complete => sasl.receive_max.min(of_requests),
            _ => of_requests,
        }
    }

    /// Takes the next frame.
    pub fn take(&mut self, frame: Bytes, now: Instant) -> Verdict {
        let outcome = match self.state {
            State::Complete => return self.request(frame, now),
            State::HandshakeOrVersions | State::Handshake => self.handshake(frame),
            State::Authenticate if self.headers => self.authenticate(frame, now),
            State::Authenticate => self.bare_token(&frame, now),
        };
        outcome.unwrap_or_else(|why| Verdict::Refuse { answer: None, why })
    }

    /// "authentication" the first time, "re-authentication" later.
    fn purpose(&self) -> &'static str {
        if self.principal.is_some() { "re-authentication" } else { "authentication" }
    }

    fn request(&mut self, frame: Bytes, now: Instant) -> Verdict {
        let key = frame.get(..2).map(|key| i16::from_be_bytes([key[0], key[1]]));
        let early = self.again.is_some_and(|again| now < again + AGAIN_AFTER);
        // A login that does not grow old is not shown again.
        if key == Some(ApiKey::SaslHandshake as i16) && self.expires.is_some() && !early {
            self.again = Some(now);
            self.state = State::Handshake;
            return self.take(frame, now);
        }
        if self.expires.is_some_and(|expires| now >= expires) {
            let why = "the session has expired without re-authentication".to_owned();
            return Verdict::Refuse { answer: None, why };
        }
        Verdict::Pass(frame)
    }

    fn handshake(&mut self, frame: Bytes) -> Result<Verdict, String> {
        let mut reader = Reader::new(frame);
        let header = RequestHeader::read(&mut reader).map_err(|error| format!("request header: {error}"))?;
        let version = header.request_api_version;
        let Some(api) = header.api() else {
            return Err(
                "Exception handling first SASL packet from client, GSSAPI is not supported by server".into(),
            );
        };
        let in_range = api.broker_versions.is_some_and(|(low, high)| (low..=high).contains(&version));
        match api.key {
            ApiKey::ApiVersions if self.state == State::Handshake => Err(
                "Unexpected ApiVersions request received during SASL authentication state HANDSHAKE_REQUEST"
                    .into(),
            ),
            ApiKey::ApiVersions if !in_range => Ok(Verdict::Answer(api::versions_downgrade(&header))),
            ApiKey::ApiVersions => {
                let request =
                    ApiVersionsRequest::read(&mut reader, version).map_err(|error| error.to_string())?;
                let response = api::versions(version, &request, self.told.features_epoch, self.told.unstable);
                if response.error_code.is_ok() {
                    self.state = State::Handshake;
                }
                Ok(Verdict::Answer(encoded(&header, &response)))
            }
            ApiKey::SaslHandshake if in_range => {
                let request =
                    SaslHandshakeRequest::read(&mut reader, version).map_err(|error| error.to_string())?;
                self.named(&header, &request.mechanism)
            }
            _ => Err(format!("Unexpected Kafka request of type {} during SASL handshake.", api.name)),
        }
    }

    /// A mechanism has been named.
    fn named(&mut self, header: &RequestHeader, mechanism: &str) -> Result<Verdict, String> {
        let enabled = self.security.sasl.as_ref().map_or(&[][..], |sasl| &sasl.mechanisms);
        let mechanisms: Vec<Str> = enabled.iter().map(|name| Str::from(name.as_str())).collect();
        if !enabled.iter().any(|name| name == mechanism) {
            let response =
                SaslHandshakeResponse { error_code: ErrorCode::UNSUPPORTED_SASL_MECHANISM, mechanisms };
            let why = format!("Unsupported SASL mechanism {mechanism}");
            return Ok(Verdict::Refuse { answer: Some(encoded(header, &response)), why });
        }
        self.headers |= header.request_api_version >= 1;
        self.exchange = match self.principal.is_some() && self.mechanism != mechanism {
            // The next token is answered with the refusal.
            true => None,
            false => Some(Exchange::new(mechanism)),
        };
        if self.principal.is_none() {
            self.mechanism = mechanism.to_owned();
        }
        self.state = State::Authenticate;
        let response = SaslHandshakeResponse { error_code: ErrorCode::NONE, mechanisms };
        Ok(Verdict::Answer(encoded(header, &response)))
    }

    fn authenticate(&mut self, frame: Bytes, now: Instant) -> Result<Verdict, String> {
        let mut reader = Reader::new(frame);
        let header = RequestHeader::read(&mut reader).map_err(|error| format!("request header: {error}"))?;
        let version = header.request_api_version;
        let api = header.api().ok_or("a request that is not known came instead of a token")?;
        if api.key != ApiKey::SaslAuthenticate {
            let why = format!("Unexpected Kafka request of type {} during SASL authentication.", api.name);
            return Ok(Verdict::Refuse { answer: misplaced(&header, &mut reader), why });
        }
        if !api.broker_versions.is_some_and(|(low, high)| (low..=high).contains(&version)) {
            return Err(format!("Version {version} is not supported for apiKey SASL_AUTHENTICATE"));
        }
        let request =
            SaslAuthenticateRequest::read(&mut reader, version).map_err(|error| error.to_string())?;
        match self.token(&request.auth_bytes, now) {
            Ok((token, lifetime)) => {
                let response = SaslAuthenticateResponse {
                    auth_bytes: token.into(),
                    // No error's message is not null, in Java.
                    error_message: Some(Str::default()),
                    session_lifetime_ms: i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX),
                    ..Default::default()
                };
                Ok(Verdict::Answer(encoded(&header, &response)))
            }
            Err(why) => {
                let response = SaslAuthenticateResponse {
                    error_code: ErrorCode::SASL_AUTHENTICATION_FAILED,
                    error_message: Some(Str::from(why.as_str())),
                    ..Default::default()
                };
                Ok(Verdict::Refuse { answer: Some(encoded(&header, &response)), why })
            }
        }
    }

    fn bare_token(&mut self, token: &[u8], now: Instant) -> Result<Verdict, String> {
        self.token(token, now).map(|(token, _)| Verdict::Answer(token.into()))
    }

    /// The answer to a token, and how long the session may last (zero: for ever, or it has not begun).
    fn token(&mut self, token: &[u8], now: Instant) -> Result<(Vec<u8>, Duration), String> {
        let Some(sasl) = &self.security.sasl else { return Err("the listener asks for no login".to_owned()) };
        let Some(exchange) = &mut self.exchange else {
            let mechanism = &self.mechanism;
            return Err(format!(
                "SASL mechanism requested by client is not supported for re-authentication of mechanism '{mechanism}'"
            ));
        };
        let now_ms = wall_clock();
        let (passwords, bearer) = (&sasl.passwords, sasl.bearer.as_deref());
        let step = exchange.take(token, &Checks { passwords, users: &self.security.users, bearer, now_ms });
        let (token, admitted) = match step {
            Ok(Step::Continue(token)) => return Ok((token, Duration::ZERO)),
            Ok(Step::Done { token, admitted }) => (token, admitted),
            Err(Rejection(Some(why))) => return Err(why),
            Err(Rejection(None)) => {
                let (purpose, mechanism) = (self.purpose(), &self.mechanism);
                return Err(format!(
                    "Authentication failed during {purpose} due to invalid credentials with SASL mechanism {mechanism}"
                ));
            }
        };
        let principal = admitted.principal;
        if let Some(before) = self.principal.as_ref().filter(|before| **before != principal) {
            return Err(format!(
                "Cannot change principals during re-authentication from {}.{}: {}.{}",
                before.kind, before.name, principal.kind, principal.name
            ));
        }
        let shown_for = |until_ms: i64| Duration::from_millis(u64::try_from(until_ms - now_ms).unwrap_or(0));
        let shown_for = admitted.until_ms.map(shown_for);
        let lifetime = shown_for.into_iter().chain(sasl.reauthentication.get(&self.mechanism).copied()).min();
        self.by_token = admitted.by_token;
        self.expires = lifetime.map(|lifetime| now + lifetime);
        self.principal = Some(principal);
        self.exchange = None;
        self.state = State::Complete;
        Ok((token, lifetime.unwrap_or_default()))
    }
}

/// What a request of another kind is told before the connection ends. Others than these get no answer.
fn misplaced(header: &RequestHeader, body: &mut Reader) -> Option<Bytes> {
    let error_code = ErrorCode::ILLEGAL_SASL_STATE;
    let (low, high) = header.api()?.broker_versions?;
    if !(low..=high).contains(&header.request_api_version) {
        return None;
    }
    match header.api()?.key {
        ApiKey::ApiVersions => {
            Some(encoded(header, &ApiVersionsResponse { error_code, ..Default::default() }))
        }
        ApiKey::SaslHandshake => {
            Some(encoded(header, &SaslHandshakeResponse { error_code, ..Default::default() }))
        }
        ApiKey::Metadata => {
            let request = MetadataRequest::read(body, header.request_api_version).ok()?;
            let failed = |topic: MetadataRequestTopic| MetadataResponseTopic {
                error_code,
                name: Some(topic.name.unwrap_or_default()),
                topic_id: topic.topic_id,
                ..Default::default()
            };
            let topics = request.topics.unwrap_or_default().into_iter().map(failed).collect();
            Some(encoded(header, &MetadataResponse { topics, ..Default::default() }))
        }
        _ => None,
    }
}

fn encoded(header: &RequestHeader, response: &impl Message) -> Bytes {
    let version = header.request_api_version;
    let mut bytes = BytesMut::new();
    let head = ResponseHeader { correlation_id: header.correlation_id };
    head.write(&mut bytes, header.api().map_or(0, |api| api.response_header_version(version)));
    response.write(&mut bytes, version);
    bytes.freeze()
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
