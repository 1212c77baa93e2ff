//! Tokens that nobody signed, made from the options `unsecuredLogin…` of a login module: for trying things out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const EXTENSION: &str = "unsecuredLoginExtension_";
const LIFETIME_DEFAULT_S: i64 = 3600;

/// What the options ask for.
pub struct Unsecured {
    principal_claim: String,
    lifetime_s: i64,
    /// Without `iat` and `exp`, which are those of the moment.
    claims: Map<String, Value>,
}

/// The extensions that go with the token.
pub fn extensions(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let extension =
        |(key, value): (&String, &String)| Some((key.strip_prefix(EXTENSION)?.to_owned(), value.clone()));
    options.iter().filter_map(extension).collect()
}

impl Unsecured {
    /// Reads the options; `None`: there are none, so that nobody can log in by them.
    pub fn read(options: &BTreeMap<String, String>) -> Result<Option<Unsecured>, String> {
        if options.is_empty() {
            return Ok(None);
        }
        if options.keys().all(|key| key.starts_with(EXTENSION)) {
            return Err("Extensions provided in login context without a token".to_owned());
        }
        let option = |key: &str| options.get(key).map(|value| value.trim()).filter(|value| !value.is_empty());
        let principal_claim = option("unsecuredLoginPrincipalClaimName").unwrap_or("sub").to_owned();
        let lifetime_s = match options.get("unsecuredLoginLifetimeSeconds") {
            None => LIFETIME_DEFAULT_S,
            Some(text) => text.parse().map_err(|_| format!("For input string: \"{text}\""))?,
        };
        let mut claims = Map::new();
        for (key, value) in options {
            if let Some((name, value)) = claim(key, value)? {
                if ["iat", "exp"].contains(&name) {
                    return Err(format!("Cannot explicitly set the '{name}' claim"));
                }
                claims.insert(name.to_owned(), value);
            }
        }
        let principal = claims.get(&principal_claim);
        match principal.and_then(Value::as_str).is_some_and(|name| !name.trim().is_empty()) {
            true => Ok(Some(Unsecured { principal_claim, lifetime_s, claims })),
            false => Err(format!("No principal name in JWT claim: {principal_claim}")),
        }
    }

    /// A token as of now, its principal, and when it will expire.
    pub fn make(&self, now_ms: i64) -> (String, String, i64) {
        let now_s = now_ms as f64 / 1000.0;
        let mut claims = self.claims.clone();
        claims.insert("iat".to_owned(), json!(now_s));
        claims.insert("exp".to_owned(), json!(now_s + self.lifetime_s as f64));
        let section = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let principal = claims[&self.principal_claim].as_str().unwrap_or_default().to_owned();
        let token = format!("{}.{}.", section(json!({ "alg": "none" })), section(Value::Object(claims)));
        (token, principal, now_ms.saturating_add(self.lifetime_s.saturating_mul(1000)))
    }
}

/// The claim that an option sets, if it sets one.
fn claim<'a>(key: &'a str, value: &str) -> Result<Option<(&'a str, Value)>, String> {
    let named = |prefix: &str| key.strip_prefix(prefix).filter(|name| !name.is_empty());
    if let Some(name) = named("unsecuredLoginStringClaim_") {
        return Ok(Some((name, json!(value))));
    }
    if let Some(name) = named("unsecuredLoginNumberClaim_") {
        let number: f64 =
            value.trim().parse().map_err(|_| format!("For input string: \"{value}\" of {key}"))?;
        return Ok(Some((name, json!(number))));
    }
    Ok(named("unsecuredLoginListClaim_").map(|name| (name, list(value))))
}

/// A list begins with what stands between its elements: `|a|b`.
fn list(value: &str) -> Value {
    let mut rest = value.chars();
    match rest.next() {
        Some(delimiter) if value.len() > 1 => rest.as_str().split(delimiter).collect(),
        _ => json!([]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::jwt::{Claims, Summary};
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_become_claims_of_a_token_without_a_signature() {
        let options = options(&[
            ("unsecuredLoginStringClaim_sub", "ann"),
            ("unsecuredLoginNumberClaim_n", "1.5"),
            ("unsecuredLoginListClaim_scope", "|a|b"),
            ("unsecuredLoginLifetimeSeconds", "60"),
            ("unsecuredLoginExtension_trace", "x"),
        ]);
        let (token, principal, expires_ms) = Unsecured::read(&options).unwrap().unwrap().make(1_000_500);
        assert_eq!((&*principal, expires_ms), ("ann", 1_060_500));
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!((parts.len(), parts[2]), (3, ""));
        assert_eq!(Claims::decode(parts[0]).unwrap().text("alg"), Ok(Some("none")));
        let claims = Claims::decode(parts[1]).unwrap();
        assert_eq!(claims.texts("scope"), ["a", "b"]);
        assert_eq!(claims.number("n"), Ok(Some(1.5)));
        assert_eq!(claims.number("iat"), Ok(Some(1000.5)));
        assert_eq!(Summary::read(&claims, "sub", "scope").unwrap().principal, "ann");
        assert_eq!(extensions(&options), BTreeMap::from([("trace".to_owned(), "x".to_owned())]));
    }

    #[test]
    fn options_that_make_no_token_are_told() {
        assert!(Unsecured::read(&options(&[])).unwrap().is_none());
        for (pairs, problem) in [
            (&[("unsecuredLoginExtension_t", "x")][..], "without a token"),
            (&[("unsecuredLoginStringClaim_exp", "x")], "Cannot explicitly set the 'exp' claim"),
            (&[("unsecuredLoginStringClaim_name", "x")], "No principal name in JWT claim: sub"),
            (&[("unsecuredLoginLifetimeSeconds", "x")], "For input string: \"x\""),
            (&[("unsecuredLoginNumberClaim_n", "x")], "For input string"),
        ] {
            let error = Unsecured::read(&options(pairs)).err().unwrap();
            assert!(error.contains(problem), "{error}");
        }
    }
}
