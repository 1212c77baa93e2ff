//! SASL DIGEST-MD5 (RFC 2831), both sides, as the exchange of ZooKeeper: quality of protection `auth`, algorithm
//! `md5-sess`, one realm. Nonces come from the caller: nothing here is random.
//!
//! ```text
//! client: (empty)
//! server: realm="zk-sasl-md5",nonce="...",charset=utf-8,algorithm=md5-sess
//! client: charset=utf-8,username="bob",realm="zk-sasl-md5",nonce="...",nc=00000001,cnonce="...",
//!         digest-uri="zookeeper/zk-sasl-md5",maxbuf=65536,response=...,qop=auth,authzid="bob"
//! server: rspauth=...
//! ```

mod digest;
mod directives;
mod users;

pub use users::SaslUsers;

use bytes::Bytes;
use digest::Exchange;
use directives::Directives;

/// Longest token that is looked at, as in Java.
const TOKEN_MAX: usize = 4096;
const NONCE_COUNT: &str = "00000001";

/// Whom a client wants to be known to: both sides must agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    pub protocol: &'static str,
    /// The server's name, and its realm.
    pub name: &'static str,
}

/// Of the client port.
pub const CLIENTS: Service = Service { protocol: "zookeeper", name: "zk-sasl-md5" };
/// Between servers.
pub const QUORUM: Service = Service { protocol: "zookeeper-quorum", name: "zk-quorum-sasl-md5" };

impl Service {
    fn uri(self) -> String {
        format!("{}/{}", self.protocol, self.name)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    #[error("DIGEST-MD5: an initial response is not wanted")]
    Initial,
    #[error("DIGEST-MD5: the exchange is over")]
    Over,
    #[error("DIGEST-MD5: a token of {0} bytes")]
    Long(usize),
    #[error("DIGEST-MD5: malformed at byte {0}")]
    Malformed(usize),
    #[error("DIGEST-MD5: `{0}` is missing or given twice")]
    Directive(&'static str),
    #[error("DIGEST-MD5: `{key}` is `{value}`")]
    Value { key: &'static str, value: String },
    #[error("DIGEST-MD5: no password for `{0}`")]
    User(String),
    #[error("DIGEST-MD5: mismatched response")]
    Mismatch,
}

/// What a server says to a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Challenge(Bytes),
    /// The client is who it says.
    Done {
        token: Bytes,
        user: String,
        /// As whom it wants to act, where that is not the same.
        authorization: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Asked,
    Over,
}

/// One exchange from the server's side.
#[derive(Debug, Clone)]
pub struct Server {
    service: Service,
    nonce: String,
    stage: Stage,
}

impl Server {
    /// `nonce`: printable, without quotes, never used before.
    pub fn new(service: Service, nonce: String) -> Server {
        Server { service, nonce, stage: Stage::New }
    }

    /// Answers the client's next token. `password`: of a user, if there is such a user.
    pub fn evaluate(
        &mut self,
        token: &[u8],
        password: impl Fn(&str) -> Option<String>,
    ) -> Result<Answer, SaslError> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::New if token.is_empty() => {
                self.stage = Stage::Asked;
                let Server { service, nonce, .. } = self;
                let text =
                    format!("realm=\"{}\",nonce=\"{nonce}\",charset=utf-8,algorithm=md5-sess", service.name);
                Ok(Answer::Challenge(text.into()))
            }
            Stage::New => Err(SaslError::Initial),
            Stage::Asked => self.check(token, password),
            Stage::Over => Err(SaslError::Over),
        }
    }

    fn check(&self, token: &[u8], password: impl Fn(&str) -> Option<String>) -> Result<Answer, SaslError> {
        let said = Directives::parse(token)?;
        let wrong = |key, value: &str| Err(SaslError::Value { key, value: value.into() });
        if let Some(charset) = said.get("charset")?.filter(|charset| *charset != "utf-8") {
            return wrong("charset", charset);
        }
        let realm = said.get("realm")?.unwrap_or_default();
        if realm != self.service.name {
            return wrong("realm", realm);
        }
        let nonce = said.need("nonce")?;
        if nonce != self.nonce {
            return wrong("nonce", nonce);
        }
        let count = said.need("nc")?;
        if count != NONCE_COUNT {
            return wrong("nc", count);
        }
        let qop = said.get("qop")?.unwrap_or("auth");
        if qop != "auth" {
            return wrong("qop", qop);
        }
        let uri = said.need("digest-uri")?;
        if !uri.eq_ignore_ascii_case(&self.service.uri()) {
            return wrong("digest-uri", uri);
        }
        let user = said.need("username")?;
        let password = password(user).ok_or_else(|| SaslError::User(user.into()))?;
        let authorization = said.get("authzid")?.filter(|id| !id.is_empty());
        let exchange = Exchange {
            user,
            realm,
            password: &password,
            nonce,
            cnonce: said.need("cnonce")?,
            uri,
            authorization,
        };
        if said.need("response")? != exchange.response() {
            return Err(SaslError::Mismatch);
        }
        Ok(Answer::Done {
            token: format!("rspauth={}", exchange.server_proof()).into(),
            user: user.into(),
            authorization: authorization.filter(|id| *id != user).map(String::from),
        })
    }
}

/// One exchange from the client's side.
#[derive(Debug, Clone)]
pub struct Client {
    service: Service,
    user: String,
    password: String,
    cnonce: String,
    stage: Stage,
    /// What the server has to prove.
    proof: String,
}

impl Client {
    /// `cnonce`: printable, without quotes, never used before. The first token to send is empty.
    pub fn new(service: Service, user: &str, password: &str, cnonce: String) -> Client {
        let (user, password) = (user.to_owned(), password.to_owned());
        Client { service, user, password, cnonce, stage: Stage::New, proof: String::new() }
    }

    /// The server has proved that it knows the password, too.
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Answers the server's next token; `None`: nothing is left to say.
    pub fn evaluate(&mut self, token: &[u8]) -> Result<Option<Bytes>, SaslError> {
        match self.stage {
            Stage::New => {
                let response = self.respond(token)?;
                self.stage = Stage::Asked;
                Ok(Some(response))
            }
            Stage::Asked => {
                if Directives::parse(token)?.need("rspauth")? != self.proof {
                    return Err(SaslError::Mismatch);
                }
                self.stage = Stage::Over;
                Ok(None)
            }
            Stage::Over => Err(SaslError::Over),
        }
    }

    fn respond(&mut self, challenge: &[u8]) -> Result<Bytes, SaslError> {
        let said = Directives::parse(challenge)?;
        let algorithm = said.need("algorithm")?;
        if algorithm != "md5-sess" {
            return Err(SaslError::Value { key: "algorithm", value: algorithm.into() });
        }
        let offered = said.get("qop")?.unwrap_or("auth");
        if !offered.split(',').any(|qop| qop.trim() == "auth") {
            return Err(SaslError::Value { key: "qop", value: offered.into() });
        }
        let nonce = said.need("nonce")?;
        // Of several realms the first; the server's own name where it names none.
        let realm = said.first("realm").unwrap_or(self.service.name);
        let uri = self.service.uri();
        let Client { user, password, cnonce, .. } = &*self;
        let exchange =
            Exchange { user, realm, password, nonce, cnonce, uri: &uri, authorization: Some(user) };
        let response = exchange.response();
        let proof = exchange.server_proof();
        let [user, realm] = [user.as_str(), realm].map(directives::quoted);
        let text = format!(
            "charset=utf-8,username={user},realm={realm},nonce={},nc={NONCE_COUNT},cnonce={},digest-uri=\"{uri}\",\
             maxbuf=65536,response={response},qop=auth,authzid={user}",
            directives::quoted(nonce),
            directives::quoted(cnonce)
        );
        self.proof = proof;
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests;
