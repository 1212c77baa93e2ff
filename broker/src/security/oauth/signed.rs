//! Tokens that somebody signed, as Java's library judges them: signature, times, audience, issuer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::jaas::Module;
use client::security::oauth::http::{self, Endpoint, Place};
use client::security::oauth::jwt::{Claims, Summary, decode_base64, sections};
use client::security::oauth::{Retry, claim_name};
use client::security::{Lookup, SecurityError};
use serde_json::Value;

use super::keys::{Algorithm, read_set, select};
use super::refresh::{Endpoints, KeySource};
use super::{Believed, Disbelieved, wrong};
use crate::config::split_list;

const URL: &str = "sasl.oauthbearer.jwks.endpoint.url";

/// What the keys `sasl.oauthbearer.*` say.
pub struct Signed {
    keys: Arc<KeySource>,
    clock_skew_s: i64,
    audience: BTreeSet<String>,
    issuer: Option<String>,
    sub_claim: String,
    scope_claim: String,
}

impl Signed {
    pub(super) fn read(module: &Module, lookup: &Lookup<'_>) -> Result<Signed, SecurityError> {
        let given =
            |key: &str| lookup(key).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let number = |key: &str, default: i64| match given(key) {
            None => Ok(default),
            Some(text) => {
                let invalid =
                    || wrong(key, format!("Invalid value {text} for configuration {key}: not a number"));
                text.parse().map_err(|_| invalid())
            }
        };
        let millis = |key: &str, default: i64| {
            number(key, default).map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
        };
        let missing = || wrong(URL, format!("The OAuth configuration option {URL} value must be non-null"));
        let url = given(URL).ok_or_else(missing)?;
        let keys = match http::place(URL, &url)? {
            Place::File(path) => {
                let in_file = |error: String| wrong(URL, format!("{}: {error}", path.display()));
                let bytes = std::fs::read(&path).map_err(|error| in_file(error.to_string()))?;
                KeySource::fixed(read_set(&bytes).map_err(in_file)?)
            }
            Place::Server { tls, host, address, path } => {
                let stores = |key: &str| module.options.get(key).cloned();
                let refresh = millis("sasl.oauthbearer.jwks.endpoint.refresh.ms", 3_600_000)?;
                if refresh.is_zero() {
                    let key = "sasl.oauthbearer.jwks.endpoint.refresh.ms";
                    return Err(wrong(key, "it must be positive"));
                }
                KeySource::at(Endpoints {
                    endpoint: Endpoint::new(&url, (tls, host, address, path), &stores, (None, None))?,
                    refresh,
                    retry: Retry {
                        backoff: millis("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", 100)?,
                        backoff_max: millis("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", 10_000)?,
                    },
                })
            }
        };
        Ok(Signed {
            keys: Arc::new(keys),
            clock_skew_s: number("sasl.oauthbearer.clock.skew.seconds", 30)?,
            audience: given("sasl.oauthbearer.expected.audience")
                .map_or_else(BTreeSet::new, |list| split_list(&list).map(str::to_owned).collect()),
            issuer: given("sasl.oauthbearer.expected.issuer"),
            sub_claim: claim_name(lookup, "sasl.oauthbearer.sub.claim.name", "sub"),
            scope_claim: claim_name(lookup, "sasl.oauthbearer.scope.claim.name", "scope"),
        })
    }

    pub(super) async fn prepare(&self) -> Result<(), SecurityError> {
        self.keys.start().await.map_err(|error| wrong(URL, error.to_string()))
    }

    pub(super) fn believes(&self, token: &str, now_ms: i64) -> Result<Believed, Disbelieved> {
        let [header, payload, signature] = sections(token)?;
        self.check_signature(header, payload, signature)?;
        let claims = Claims::decode(payload)?;
        self.check_times(&claims, now_ms.div_euclid(1000))?;
        self.check_audience(&claims)?;
        if let Some(issuer) = &self.issuer
            && claims.text("iss")? != Some(issuer)
        {
            return Err("its issuer (iss) is not the expected one".into());
        }
        for name in ["sub", "jti"] {
            claims.text(name)?;
        }
        let Summary { principal, expires_ms, .. } =
            Summary::read(&claims, &self.sub_claim, &self.scope_claim)?;
        Ok(Believed { principal, expires_ms })
    }

    fn check_signature(&self, header: &str, payload: &str, signature: &str) -> Result<(), Disbelieved> {
        let head = Claims::decode(header)?;
        if head.get("crit").is_some() {
            return Err("its header has something critical that is not known here (crit)".into());
        }
        let name = head.text("alg")?.unwrap_or_default();
        let algorithm = Algorithm::named(name)
            .ok_or_else(|| format!("signatures of the algorithm `{name}` are not taken"))?;
        let id = head.text("kid")?;
        let keys = self.keys.load();
        let Some(key) = select(&keys, id, name, &algorithm) else {
            if let Some(id) = id {
                self.keys.miss(id);
            }
            return Err(format!("Unable to find a suitable verification key (kid {id:?}, alg {name})").into());
        };
        let bytes = format!("{header}.{payload}");
        let signature = decode_base64(signature).ok_or("its signature is no Base64")?;
        match key.signed(&algorithm, bytes.as_bytes(), &signature) {
            true => Ok(()),
            false => Err("JWS signature is invalid".into()),
        }
    }

    fn check_times(&self, claims: &Claims, now_s: i64) -> Result<(), Disbelieved> {
        let time =
            |name: &str| -> Result<Option<i64>, String> { Ok(claims.number(name)?.map(|at| at as i64)) };
        let exp = time("exp")?.ok_or("No Expiration Time (exp) claim present")?;
        let iat = time("iat")?.ok_or("No Issued At (iat) claim present")?;
        let nbf = time("nbf")?;
        if now_s.saturating_sub(self.clock_skew_s) >= exp {
            return Err("The JWT is no longer valid: the Expiration Time (exp) has passed".into());
        }
        if exp < iat || nbf.is_some_and(|nbf| exp < nbf) {
            return Err("The Expiration Time (exp) is before the Issued At or Not Before time".into());
        }
        if nbf.is_some_and(|nbf| now_s.saturating_add(self.clock_skew_s) < nbf) {
            return Err("The JWT is not yet valid: the Not Before time (nbf) has not come".into());
        }
        Ok(())
    }

    /// A token for somebody is not for everybody: without an expected audience it must have none.
    fn check_audience(&self, claims: &Claims) -> Result<(), Disbelieved> {
        let audience = match claims.get("aud") {
            None if self.audience.is_empty() => return Ok(()),
            None => return Err("No Audience (aud) claim present".into()),
            Some(Value::String(_) | Value::Array(_)) => claims.texts("aud"),
            Some(_) => return Err("The Audience (aud) claim is neither a text nor a list".into()),
        };
        match audience.iter().any(|one| self.audience.contains(*one)) {
            true => Ok(()),
            false => Err("Audience (aud) claim doesn't contain an acceptable identifier".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::tests::Pair;
    use super::super::tests::validator;
    use super::super::{SIGNED, Validator};
    use super::*;

    fn signed(pair: &Pair, keys: &[(&str, &str)]) -> Validator {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pair.set("k")).unwrap();
        let url = format!("file://{}", file.path().display());
        let own = [("sasl.server.callback.handler.class", SIGNED[1]), (URL, &*url)];
        validator("", &[&own, keys].concat()).unwrap()
    }

    #[test]
    fn a_token_of_a_known_key_is_believed_within_its_times() {
        let pair = Pair::new();
        let validator = signed(&pair, &[("sasl.oauthbearer.sub.claim.name", "client_id")]);
        let claims = r#"{"client_id":"svc","iat":100,"nbf":150,"exp":200,"scope":["a"]}"#;
        let token = pair.token("k", claims);
        let believes = |now_s: i64| validator.believes(&token, now_s * 1000).map_err(|error| error.why);
        assert_eq!(believes(160), Ok(Believed { principal: "svc".to_owned(), expires_ms: 200_000 }));
        assert!(believes(120).is_ok() && believes(229).is_ok());
        assert!(believes(119).unwrap_err().contains("not yet valid"));
        assert!(believes(230).unwrap_err().contains("no longer valid"));
    }

    #[test]
    fn forged_tokens_and_those_of_strangers_are_not_believed() {
        let (pair, stranger) = (Pair::new(), Pair::new());
        let validator = signed(&pair, &[]);
        let claims = r#"{"sub":"ann","iat":1,"exp":200}"#;
        let good = pair.token("k", claims);
        assert!(validator.believes(&good, 100_000).is_ok());
        let why = |token: &str| validator.believes(token, 100_000).unwrap_err().why;
        assert!(why(&stranger.token("k", claims)).contains("signature is invalid"));
        assert!(why(&pair.token("other", claims)).contains("suitable verification key"));
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let eve = pair.token("k", r#"{"sub":"eve","iat":1,"exp":200}"#);
        let eve = eve.split('.').nth(1).unwrap();
        assert!(why(&format!("{header}.{eve}.{signature}")).contains("signature is invalid"));
        // {"alg":"none"}
        assert!(why(&format!("eyJhbGciOiJub25lIn0.{eve}.c2ln")).contains("algorithm `none`"));
        for token in ["", "a.b", "a.b.c", &format!("{signed}.!")] {
            assert!(!why(token).is_empty());
        }
    }

    #[test]
    fn audience_and_issuer_have_to_be_the_expected_ones() {
        let pair = Pair::new();
        let believes = |keys: &[(&str, &str)], more: &str| {
            let token = pair.token("k", &format!(r#"{{"sub":"ann","iat":1,"exp":200{more}}}"#));
            signed(&pair, keys).believes(&token, 100_000).is_ok()
        };
        let audience = [("sasl.oauthbearer.expected.audience", "kafka, other")];
        assert!(believes(&audience, r#","aud":["x","kafka"]"#) && believes(&audience, r#","aud":"other""#));
        assert!(!believes(&audience, "") && !believes(&audience, r#","aud":"x""#));
        assert!(!believes(&[], r#","aud":"kafka""#));
        let issuer = [("sasl.oauthbearer.expected.issuer", "https://id")];
        assert!(believes(&issuer, r#","iss":"https://id""#));
        assert!(!believes(&issuer, "") && !believes(&issuer, r#","iss":"https://evil""#));
        for wrong in [r#","jti":1"#, r#","scope":["a","a"]"#, r#","nbf":"x""#] {
            assert!(!believes(&[], wrong), "{wrong}");
        }
    }
}
