//! A client's login on a connection, before the first request: versions, SaslHandshake, SaslAuthenticate.

use super::Login;
use super::oauth::message::{AFTER_ERROR, First};
use super::scram::{ScramClient, ScramError};
use bytes::{Bytes, BytesMut};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use wire::Str;
use wire::jute::{DecodeError, Reader};
use wire::kafka::{
    ApiKey, ApiVersionsRequest, ErrorCode, Message, Request, RequestHeader, ResponseHeader,
    SaslAuthenticateRequest, SaslHandshakeRequest,
};

/// Larger answers do not belong to a login.
const ANSWER_MAX: usize = 512 << 10;

/// Why a connection could not be secured.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// The connection failed; another attempt may work.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("SSL handshake failed: {0}")]
    Tls(String),
    /// The broker's own words, or what is wrong with its.
    #[error("{0}")]
    Refused(String),
    #[error(
        "Client SASL mechanism '{mechanism}' not enabled in the server, enabled mechanisms are [{enabled}]"
    )]
    Mechanism { mechanism: &'static str, enabled: String },
}

impl AuthenticationError {
    /// The exception that Java's clients would throw; `None`: an ordinary disconnect.
    pub fn exception(&self) -> Option<&'static str> {
        match self {
            AuthenticationError::Io(_) => None,
            AuthenticationError::Tls(_) => Some("SslAuthenticationException"),
            AuthenticationError::Refused(_) => Some("SaslAuthenticationException"),
            AuthenticationError::Mechanism { .. } => Some("UnsupportedSaslMechanismException"),
        }
    }
}

impl From<ScramError> for AuthenticationError {
    fn from(error: ScramError) -> AuthenticationError {
        AuthenticationError::Refused(error.to_string())
    }
}

impl From<DecodeError> for AuthenticationError {
    fn from(error: DecodeError) -> AuthenticationError {
        AuthenticationError::Refused(format!("the broker's answer cannot be read: {error}"))
    }
}

/// Logs in on a new connection; says how long the session may last, if the broker limits it.
pub async fn first_login(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin + Send + ?Sized),
    login: &Login,
    client_id: &Str,
) -> Result<Option<Duration>, AuthenticationError> {
    let mut talk = Opening { stream, client_id, correlation: 0 };
    // Version 0 has what is asked for here, and every broker knows it.
    let versions = talk.call(&ApiVersionsRequest::default(), 0).await?;
    let highest = |key: ApiKey| {
        let known = versions.api_keys.iter().find(|known| known.api_key == key as i16);
        known.map(|known| known.max_version)
    };
    if highest(ApiKey::SaslHandshake).is_none_or(|version| version < 1) {
        return Err(AuthenticationError::Refused("the broker is too old for this login".to_owned()));
    }
    authenticate(&mut talk, login, highest(ApiKey::SaslAuthenticate).unwrap_or(0).min(2)).await
}

/// Shows a login, on a new connection or once more on an old one, by SaslAuthenticate in this `version`.
pub(crate) async fn authenticate<T: Talk + Send>(
    talk: &mut T,
    login: &Login,
    version: i16,
) -> Result<Option<Duration>, AuthenticationError> {
    let mechanism = login.mechanism();
    let answer = talk.call(&SaslHandshakeRequest { mechanism: Str::from_static(mechanism) }, 1).await?;
    match answer.error_code {
        ErrorCode::NONE => {}
        ErrorCode::UNSUPPORTED_SASL_MECHANISM => {
            let enabled =
                answer.mechanisms.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ");
            return Err(AuthenticationError::Mechanism { mechanism, enabled });
        }
        error => return Err(AuthenticationError::Refused(error.message().to_owned())),
    }
    let lifetime_ms = match login {
        Login::Plain { name, password } => {
            let (_, lifetime) = show(talk, version, format!("\0{name}\0{password}").into_bytes()).await?;
            lifetime
        }
        Login::Scram { hash, name, password, token } => {
            let mut scram = ScramClient::new(*hash, name, password, *token);
            let (first, _) = show(talk, version, scram.first().into_bytes()).await?;
            let proof = scram.answer(&text(&first)?)?;
            let (last, lifetime) = show(talk, version, proof.into_bytes()).await?;
            scram.finish(&text(&last)?)?;
            lifetime
        }
        Login::Bearer(bearer) => {
            let token =
                bearer.token().await.map_err(|error| AuthenticationError::Refused(error.to_string()))?;
            let first = First {
                identity: String::new(),
                token: token.value.clone(),
                extensions: bearer.extensions.clone(),
            };
            let (problem, lifetime) = show(talk, version, first.write()).await?;
            if !problem.is_empty() {
                // The broker tells its error once it knows that we have seen what is wrong.
                show(talk, version, AFTER_ERROR.to_vec()).await?;
                return Err(AuthenticationError::Refused(text(&problem)?));
            }
            lifetime
        }
    };
    Ok(u64::try_from(lifetime_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis))
}

/// One token of a login, and what the broker says to it, with the session's lifetime in milliseconds.
async fn show<T: Talk + Send>(
    talk: &mut T,
    version: i16,
    token: Vec<u8>,
) -> Result<(Bytes, i64), AuthenticationError> {
    let answer = talk.call(&SaslAuthenticateRequest { auth_bytes: token.into() }, version).await?;
    if !answer.error_code.is_ok() {
        let message = answer.error_message.filter(|message| !message.is_empty());
        let message = message.as_deref().unwrap_or(answer.error_code.message()).to_owned();
        return Err(AuthenticationError::Refused(message));
    }
    Ok((answer.auth_bytes, answer.session_lifetime_ms))
}

fn text(bytes: &[u8]) -> Result<String, AuthenticationError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ScramError::Malformed.into())
}

/// Requests and answers, one after the other, on a connection.
pub(crate) trait Talk {
    fn client_id(&self) -> Str;

    /// A number for the next request.
    fn correlation(&mut self) -> i32;

    /// Sends a frame with its length before it, and gets the answer to it, without a length.
    fn exchange(
        &mut self,
        correlation: i32,
        frame: Bytes,
    ) -> impl Future<Output = Result<Bytes, AuthenticationError>> + Send;

    /// One request in exactly this version.
    fn call<R: Request + Sync>(
        &mut self,
        request: &R,
        version: i16,
    ) -> impl Future<Output = Result<R::Response, AuthenticationError>> + Send
    where
        Self: Send,
    {
        let header = RequestHeader {
            request_api_key: R::KEY as i16,
            request_api_version: version,
            correlation_id: self.correlation(),
            client_id: Some(self.client_id()),
        };
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&[0; 4]);
        header.write(&mut frame);
        request.write(&mut frame, version);
        let len = (frame.len() - 4) as i32;
        frame[..4].copy_from_slice(&len.to_be_bytes());
        async move {
            let mut from = Reader::new(self.exchange(header.correlation_id, frame.freeze()).await?);
            let answered = ResponseHeader::read(&mut from, R::KEY.api().response_header_version(version))?;
            if answered.correlation_id != header.correlation_id {
                return Err(AuthenticationError::Refused("an answer came out of order".to_owned()));
            }
            Ok(R::Response::read(&mut from, version)?)
        }
    }
}

/// A connection that nobody else uses yet.
struct Opening<'a, S: ?Sized> {
    stream: &'a mut S,
    client_id: &'a Str,
    correlation: i32,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + ?Sized> Talk for Opening<'_, S> {
    fn client_id(&self) -> Str {
        self.client_id.clone()
    }

    fn correlation(&mut self) -> i32 {
        self.correlation += 1;
        self.correlation - 1
    }

    async fn exchange(&mut self, _: i32, frame: Bytes) -> Result<Bytes, AuthenticationError> {
        self.stream.write_all(&frame).await?;
        self.stream.flush().await?;
        let len = usize::try_from(self.stream.read_i32().await?).unwrap_or(usize::MAX);
        if len > ANSWER_MAX {
            let why =
                format!("an answer of {len} bytes was announced: is this a broker's port for this protocol?");
            return Err(AuthenticationError::Refused(why));
        }
        let mut answer = vec![0; len];
        self.stream.read_exact(&mut answer).await?;
        Ok(Bytes::from(answer))
    }
}
