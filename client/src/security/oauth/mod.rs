//! OAUTHBEARER from the client's side (KIP-255, KIP-768): a token from somewhere, held as long as it is good, and another
//! one before it expires. The class names of Java's two handlers say which: an unsecured token from the options of the
//! login module, or one from a token endpoint, which may be a file.

pub mod http;
pub mod jwt;
pub mod message;
mod unsecured;

use super::{Lookup, SecurityError, wrong};
use base::jaas::Module;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{Answer, Endpoint, Place};
use jwt::{Claims, Summary};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use unsecured::Unsecured;

/// Until the next attempt when no new token was to be had and the old one is still good.
const AGAIN_AFTER_MS: i64 = 10_000;
/// Statuses after which another attempt would get the same answer.
const FINAL_STATUSES: [u16; 17] =
    [400, 401, 402, 403, 404, 405, 406, 407, 409, 410, 411, 412, 413, 414, 415, 501, 505];

const LOGIN_HANDLER: &str = "sasl.login.callback.handler.class";
const TOKEN_URL: &str = "sasl.oauthbearer.token.endpoint.url";

/// Why there is no token, or no keys to check tokens by. Tokens and secrets are not in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OAuthError {
    #[error("{0}: {1}")]
    File(PathBuf, Arc<std::io::Error>),
    #[error("{url}: {why}")]
    Endpoint { url: String, why: String },
    /// An answer that another attempt would not change.
    #[error("{url}: {why}; will not attempt further retries")]
    Final { url: String, why: String },
    #[error("Could not validate the access token: {0}")]
    Token(String),
    #[error("Token not provided, this login cannot be used to establish client connections")]
    NoToken,
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// A token with what is known of it.
pub struct Token {
    pub value: String,
    pub principal: String,
    expires_ms: i64,
}

/// Where tokens come from, and the one that is held.
pub struct BearerLogin {
    source: Source,
    /// Sent along with each token.
    pub extensions: BTreeMap<String, String>,
    window: Window,
    sub_claim: String,
    scope_claim: String,
    held: tokio::sync::Mutex<Option<Held>>,
}

enum Source {
    Unsecured(Option<Unsecured>),
    /// Read once, as by Java.
    File(String),
    Endpoint(Box<TokenEndpoint>),
}

struct Held {
    token: Arc<Token>,
    refresh_ms: i64,
}

/// Without tokens and secrets.
impl fmt::Debug for BearerLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerLogin")
    }
}

/// A value of a key that has to be a number.
fn number<T: std::str::FromStr>(lookup: &Lookup<'_>, key: &str) -> Result<Option<T>, SecurityError> {
    let given = lookup(key).filter(|value| !value.trim().is_empty());
    let parse = |text: String| {
        let invalid = || wrong(key, format!("Invalid value {text} for configuration {key}: not a number"));
        text.trim().parse().map_err(|_| invalid())
    };
    given.map(parse).transpose()
}

fn millis(lookup: &Lookup<'_>, key: &str, default: u64) -> Result<Duration, SecurityError> {
    Ok(Duration::from_millis(number(lookup, key)?.unwrap_or(default)))
}

impl BearerLogin {
    /// What a login module and the keys `sasl.*` ask for. `key` stands in errors.
    pub fn read(key: &str, module: &Module, lookup: &Lookup<'_>) -> Result<BearerLogin, SecurityError> {
        let handler = lookup(LOGIN_HANDLER).filter(|name| !name.trim().is_empty());
        let (source, extensions) = match handler.as_deref().map(str::trim) {
            None | Some(UNSECURED_LOGIN) => {
                let made = Unsecured::read(&module.options).map_err(|why| wrong(key, why))?;
                (Source::Unsecured(made), unsecured::extensions(&module.options))
            }
            Some("org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler")
            | Some("org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler") => {
                (endpoint_or_file(key, module, lookup)?, extensions_of(&module.options))
            }
            Some(other) => {
                let why = format!(
                    "`{other}`: Java's classes cannot be loaded here; of OAUTHBEARER, OAuthBearerLoginCallbackHandler is known"
                );
                return Err(wrong(LOGIN_HANDLER, why));
            }
        };
        message::check_extensions(&extensions).map_err(|why| wrong(key, why))?;
        Ok(BearerLogin {
            source,
            extensions,
            window: Window::read(lookup)?,
            sub_claim: claim_name(lookup, "sasl.oauthbearer.sub.claim.name", "sub"),
            scope_claim: claim_name(lookup, "sasl.oauthbearer.scope.claim.name", "scope"),
            held: tokio::sync::Mutex::default(),
        })
    }

    /// A token that is good for a while yet. One that nears its end is replaced, or kept while no other is to be had.
    pub async fn token(&self) -> Result<Arc<Token>, OAuthError> {
        let mut held = self.held.lock().await;
        let now = now_ms();
        if let Some(held) = held.as_ref().filter(|held| now < held.refresh_ms) {
            return Ok(held.token.clone());
        }
        match self.fetch().await {
            Ok((token, issued_ms)) => {
                let refresh_ms = self.window.refresh_ms(now, issued_ms, token.expires_ms, rand::random());
                tracing::debug!("A token of {} is held, to be replaced at {refresh_ms}", token.principal);
                let token = Arc::new(token);
                *held = Some(Held { token: token.clone(), refresh_ms });
                Ok(token)
            }
            Err(error) => match held.as_mut().filter(|held| now < held.token.expires_ms) {
                None => Err(error),
                Some(held) => {
                    tracing::warn!("No new token, the old one is good for a while yet: {error}");
                    held.refresh_ms = now + AGAIN_AFTER_MS;
                    Ok(held.token.clone())
                }
            },
        }
    }

    /// A new token, and when it was issued if it says so.
    async fn fetch(&self) -> Result<(Token, Option<i64>), OAuthError> {
        let value = match &self.source {
            Source::Unsecured(None) => return Err(OAuthError::NoToken),
            Source::Unsecured(Some(unsecured)) => {
                let now = now_ms();
                let (value, principal, expires_ms) = unsecured.make(now);
                return Ok((Token { value, principal, expires_ms }, Some(now)));
            }
            Source::File(text) => text.clone(),
            Source::Endpoint(endpoint) => endpoint.retrieve().await?,
        };
        let [_, payload, _] = jwt::sections(&value).map_err(OAuthError::Token)?;
        let claims = Claims::decode(payload).map_err(|why| OAuthError::Token(why.to_owned()))?;
        let summary =
            Summary::read(&claims, &self.sub_claim, &self.scope_claim).map_err(OAuthError::Token)?;
        let Summary { principal, issued_ms, expires_ms } = summary;
        Ok((Token { value: value.trim().to_owned(), principal, expires_ms }, issued_ms))
    }
}

const UNSECURED_LOGIN: &str = "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredLoginCallbackHandler";

/// The name of a claim, or its default.
pub fn claim_name(lookup: &Lookup<'_>, key: &str, default: &str) -> String {
    let given = lookup(key).map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    given.unwrap_or_else(|| default.to_owned())
}

fn extensions_of(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let extension =
        |(key, value): (&String, &String)| Some((key.strip_prefix("extension_")?.to_owned(), value.clone()));
    options.iter().filter_map(extension).collect()
}

fn endpoint_or_file(key: &str, module: &Module, lookup: &Lookup<'_>) -> Result<Source, SecurityError> {
    let url = lookup(TOKEN_URL).map(|url| url.trim().to_owned()).filter(|url| !url.is_empty());
    let missing =
        || wrong(TOKEN_URL, format!("The OAuth configuration option {TOKEN_URL} value must be non-null"));
    let url = url.ok_or_else(missing)?;
    let (tls, host, address, path) = match http::place(TOKEN_URL, &url)? {
        Place::File(path) => {
            let text = std::fs::read_to_string(&path);
            let text = text.map_err(|error| wrong(TOKEN_URL, format!("{}: {error}", path.display())))?;
            return Ok(Source::File(text));
        }
        Place::Server { tls, host, address, path } => (tls, host, address, path),
    };
    let option = |name: &str| {
        let value = module.options.get(name).map(|value| value.trim().to_owned());
        value.filter(|value| !value.is_empty())
    };
    let needed = |name: &str| {
        option(name).ok_or_else(|| {
            wrong(key, format!("The OAuth configuration option {name} value must be non-null"))
        })
    };
    let timeout = |key: &str| Ok::<_, SecurityError>(number(lookup, key)?.map(Duration::from_millis));
    let timeouts = (timeout("sasl.login.connect.timeout.ms")?, timeout("sasl.login.read.timeout.ms")?);
    let stores = |key: &str| module.options.get(key).cloned();
    Ok(Source::Endpoint(Box::new(TokenEndpoint {
        authorization: format!(
            "Basic {}",
            BASE64.encode(format!("{}:{}", needed("clientId")?, needed("clientSecret")?))
        ),
        form: form(option("scope").as_deref()),
        endpoint: Endpoint::new(&url, (tls, host, address, path), &stores, timeouts)?,
        retry: Retry {
            backoff: millis(lookup, "sasl.login.retry.backoff.ms", 100)?,
            backoff_max: millis(lookup, "sasl.login.retry.backoff.max.ms", 10_000)?,
        },
    })))
}

/// Where tokens are given out to who shows an id and a secret (the grant `client_credentials`).
struct TokenEndpoint {
    endpoint: Endpoint,
    authorization: String,
    form: String,
    retry: Retry,
}

fn form(scope: Option<&str>) -> String {
    let mut form = "grant_type=client_credentials".to_owned();
    if let Some(scope) = scope {
        form += "&scope=";
        for byte in scope.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                    form.push(char::from(byte))
                }
                b' ' => form.push('+'),
                byte => form += &format!("%{byte:02X}"),
            }
        }
    }
    form
}

impl TokenEndpoint {
    async fn retrieve(&self) -> Result<String, OAuthError> {
        let body = self
            .retry
            .run(|| async {
                checked(&self.endpoint.url, self.endpoint.post(&self.authorization, &self.form).await?)
            })
            .await?;
        let answer: Option<serde_json::Value> = serde_json::from_slice(&body).ok();
        let token = answer.as_ref().and_then(|answer| answer["access_token"].as_str()).map(str::trim);
        // What came instead of a token may hold one: it is not shown.
        let without = || OAuthError::Final {
            url: self.endpoint.url.clone(),
            why: "The token endpoint response did not contain an access_token value".to_owned(),
        };
        token.filter(|token| !token.is_empty()).map(str::to_owned).ok_or_else(without)
    }
}

/// The body of an answer that is one.
fn checked(url: &str, answer: Answer) -> Result<Vec<u8>, OAuthError> {
    let url = url.to_owned();
    match answer.status {
        200 | 201 if answer.body.is_empty() => {
            let why = "The token endpoint response was unexpectedly empty".to_owned();
            Err(OAuthError::Endpoint { url, why })
        }
        200 | 201 => Ok(answer.body),
        status => {
            let said = said(&answer.body);
            let why = format!(
                "The response code {status} and error response {said} was encountered reading the token endpoint response"
            );
            match FINAL_STATUSES.contains(&status) {
                true => Err(OAuthError::Final { url, why }),
                false => Err(OAuthError::Endpoint { url, why }),
            }
        }
    }
}

/// What an endpoint says went wrong, in Kafka's form; only its two well-known members.
fn said(body: &[u8]) -> String {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else { return "{}".to_owned() };
    for (error, text) in [("error", "error_description"), ("errorCode", "errorSummary")] {
        if let Some(error) = body.get(error) {
            return format!("{{{error} - {}}}", body.get(text).map_or_else(String::new, ToString::to_string));
        }
    }
    "{}".to_owned()
}

/// How often something is tried.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    pub backoff: Duration,
    /// For so long altogether.
    pub backoff_max: Duration,
}

impl Retry {
    /// Tries until it works, cannot work, or has taken too long; pauses double. The error is the first one.
    pub async fn run<T, F, Fut>(&self, mut attempt: F) -> Result<T, OAuthError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, OAuthError>>,
    {
        let end = tokio::time::Instant::now() + self.backoff_max;
        let (mut pause, mut first) = (self.backoff, None);
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let is_final = matches!(error, OAuthError::Final { .. });
            tracing::warn!("{error}");
            let first = first.get_or_insert(error);
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            if is_final || left.is_zero() {
                return Err(first.clone());
            }
            tokio::time::sleep(pause.min(left)).await;
            pause *= 2;
        }
    }
}

/// When a token is replaced: `sasl.login.refresh.*`.
#[derive(Debug, Clone, Copy)]
struct Window {
    factor: f64,
    jitter: f64,
    period_min_ms: i64,
    buffer_ms: i64,
}

impl Window {
    fn read(lookup: &Lookup<'_>) -> Result<Window, SecurityError> {
        let seconds =
            |key: &str, default: i64| Ok::<_, SecurityError>(number(lookup, key)?.unwrap_or(default) * 1000);
        Ok(Window {
            factor: number(lookup, "sasl.login.refresh.window.factor")?.unwrap_or(0.8),
            jitter: number(lookup, "sasl.login.refresh.window.jitter")?.unwrap_or(0.05),
            period_min_ms: seconds("sasl.login.refresh.min.period.seconds", 60)?,
            buffer_ms: seconds("sasl.login.refresh.buffer.seconds", 300)?,
        })
    }

    /// When a token should be replaced that was had `now_ms`; `chance` is from 0 to 1.
    fn refresh_ms(&self, now_ms: i64, issued_ms: Option<i64>, expires_ms: i64, chance: f64) -> i64 {
        let part = self.factor + self.jitter * chance;
        let after = |start_ms: i64| start_ms + ((expires_ms - start_ms) as f64 * part) as i64;
        if now_ms + self.period_min_ms + self.buffer_ms > expires_ms {
            // There is no room for either.
            return after(now_ms);
        }
        let proposed_ms = after(issued_ms.unwrap_or(now_ms));
        match proposed_ms.min(expires_ms - self.buffer_ms) {
            at if at < proposed_ms => at,
            at => at.max(now_ms + self.period_min_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::OAUTH_MODULE;
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const ENDPOINT_LOGIN: &str =
        "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler";

    fn login(options: &str, keys: &[(&str, &str)]) -> Result<BearerLogin, String> {
        let module = Module::parse("jaas", &format!("{OAUTH_MODULE} required {options};")).unwrap();
        let keys: BTreeMap<_, _> = keys.iter().copied().collect();
        let lookup = |key: &str| keys.get(key).map(|value| (*value).to_owned());
        BearerLogin::read("jaas", &module, &lookup).map_err(|error| error.to_string())
    }

    fn signed(sub: &str, expires_ms: i64) -> String {
        let section = |json: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json);
        let claims = format!(r#"{{"sub":"{sub}","iat":1,"exp":{}}}"#, expires_ms / 1000);
        format!("{}.{}.c2ln", section(r#"{"alg":"RS256"}"#.to_owned()), section(claims))
    }

    /// Answers one connection after the other, and says what was asked.
    async fn serve(answers: Vec<String>) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                let complete = |request: &[u8]| {
                    let text = String::from_utf8_lossy(request).into_owned();
                    let length =
                        text.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
                    text.split_once("\r\n\r\n").is_some_and(|(_, body)| Some(body.len()) == length)
                };
                while !complete(&request) {
                    assert!(stream.read_buf(&mut request).await.unwrap() > 0);
                }
                asked.push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (url, serving)
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_token_endpoint_is_shown_id_and_secret_and_asked_again_when_it_stumbles() {
        let token = signed("svc", now_ms() + 3_600_000);
        let stumble = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned();
        let good = ok(&format!(r#"{{"access_token":" {token} ","expires_in":1}}"#));
        let (url, serving) = serve(vec![stumble, good]).await;
        let keys =
            [(LOGIN_HANDLER, ENDPOINT_LOGIN), (TOKEN_URL, &*url), ("sasl.login.retry.backoff.ms", "1")];
        let login = login("clientId=\"me\" clientSecret=\"hidden\" scope=\"a b/c\" extension_k=\"v\"", &keys)
            .unwrap();
        let first = login.token().await.unwrap();
        assert_eq!((&*first.value, &*first.principal), (&*token, "svc"));
        // It is held: nobody is asked again.
        assert!(Arc::ptr_eq(&first, &login.token().await.unwrap()));
        let asked = serving.await.unwrap();
        assert!(asked[1].starts_with("POST /token HTTP/1.1\r\nHost: 127.0.0.1:"), "{}", asked[1]);
        assert!(asked[1].contains("Authorization: Basic bWU6aGlkZGVu\r\n"));
        assert!(asked[1].ends_with("\r\n\r\ngrant_type=client_credentials&scope=a+b%2Fc"), "{}", asked[1]);
        assert_eq!(login.extensions["k"], "v");
        assert_eq!(format!("{login:?}"), "BearerLogin");
    }

    #[tokio::test]
    async fn a_refusal_is_final_and_shows_what_the_endpoint_says() {
        let body = r#"{"error":"invalid_client","error_description":"who?"}"#;
        let refusal = format!("HTTP/1.1 401 No\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (url, serving) = serve(vec![refusal]).await;
        let keys = [(LOGIN_HANDLER, ENDPOINT_LOGIN), (TOKEN_URL, &*url)];
        let error =
            login("clientId=a clientSecret=hidden", &keys).unwrap().token().await.err().unwrap().to_string();
        assert!(error.contains(r#"401 and error response {"invalid_client" - "who?"}"#), "{error}");
        assert!(!error.contains("hidden"));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn an_old_token_serves_until_it_expires_when_no_other_is_to_be_had() {
        let token = signed("svc", now_ms() + 3_000);
        let (url, serving) = serve(vec![ok(&format!(r#"{{"access_token":"{token}"}}"#))]).await;
        let keys = [
            (LOGIN_HANDLER, ENDPOINT_LOGIN),
            (TOKEN_URL, &*url),
            ("sasl.login.retry.backoff.ms", "1"),
            ("sasl.login.retry.backoff.max.ms", "5"),
            // At once.
            ("sasl.login.refresh.window.factor", "0"),
            ("sasl.login.refresh.window.jitter", "0"),
        ];
        let login = login("clientId=a clientSecret=b", &keys).unwrap();
        let first = login.token().await.unwrap();
        serving.await.unwrap();
        assert!(Arc::ptr_eq(&first, &login.token().await.unwrap()));
        tokio::time::sleep(Duration::from_millis(3_100)).await;
        login.held.lock().await.as_mut().unwrap().refresh_ms = 0;
        assert!(matches!(login.token().await, Err(OAuthError::Endpoint { .. })));
    }

    #[test]
    fn a_token_is_replaced_in_its_window_but_neither_too_soon_nor_too_late() {
        let window = Window { factor: 0.8, jitter: 0.05, period_min_ms: 60_000, buffer_ms: 300_000 };
        // An hour: 80% of it, and 85% at most.
        assert_eq!(window.refresh_ms(0, Some(0), 3_600_000, 0.0), 2_880_000);
        assert_eq!(window.refresh_ms(0, Some(0), 3_600_000, 1.0), 3_060_000);
        // Half of it is gone already.
        assert_eq!(window.refresh_ms(1_800_000, Some(0), 3_600_000, 0.0), 2_880_000);
        // Not in the last five minutes; not in the first one.
        assert_eq!(window.refresh_ms(0, Some(0), 600_000, 0.0), 300_000);
        assert_eq!(window.refresh_ms(3_000_000, Some(0), 3_600_000, 0.0), 3_060_000);
        // No room for either.
        assert_eq!(window.refresh_ms(0, None, 10_000, 0.0), 8_000);
    }

    #[test]
    fn what_cannot_give_a_token_is_told_by_name() {
        let endpoint = (LOGIN_HANDLER, ENDPOINT_LOGIN);
        for (options, keys, problem) in [
            (
                "",
                &[(LOGIN_HANDLER, "com.example.Mine")][..],
                "`com.example.Mine`: Java's classes cannot be loaded",
            ),
            ("", &[endpoint], "sasl.oauthbearer.token.endpoint.url value must be non-null"),
            (
                "clientId=a",
                &[endpoint, (TOKEN_URL, "http://x/")],
                "option clientSecret value must be non-null",
            ),
            ("a=b", &[endpoint, (TOKEN_URL, "file:///no/where")], "/no/where: No such file"),
            ("a=b", &[], "No principal name in JWT claim: sub"),
            (
                "clientId=a clientSecret=b ssl.truststore.location=\"/no/where\"",
                &[endpoint, (TOKEN_URL, "https://x/")],
                "ssl.truststore.location: cannot read /no/where",
            ),
            (
                "extension_auth=x",
                &[endpoint, (TOKEN_URL, "file:///dev/null")],
                "Extension name auth is invalid",
            ),
        ] {
            let error = login(options, keys).err().unwrap();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[tokio::test]
    async fn an_unsecured_token_needs_options_and_a_file_is_read_once() {
        assert!(matches!(login("", &[]).unwrap().token().await, Err(OAuthError::NoToken)));
        let made = login("unsecuredLoginStringClaim_sub=ann", &[]).unwrap();
        assert_eq!(made.token().await.unwrap().principal, "ann");
        let file = std::env::temp_dir().join(format!("token-{}", std::process::id()));
        std::fs::write(&file, signed("file", now_ms() + 60_000)).unwrap();
        let url = format!("file://{}", file.display());
        let keys = [(LOGIN_HANDLER, ENDPOINT_LOGIN), (TOKEN_URL, &*url)];
        let read = login("a=b", &keys).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(read.token().await.unwrap().principal, "file");
    }
}
