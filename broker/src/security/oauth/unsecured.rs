//! Tokens that nobody signed (`alg: none`), with the options `unsecuredValidator…` of the login module.

use std::collections::BTreeMap;

use client::security::SecurityError;
use client::security::oauth::jwt::{Claims, millis};
use serde_json::Value;

use super::{Believed, Disbelieved, wrong};

/// What the options say.
pub struct Unsecured {
    principal_claim: String,
    scope_claim: String,
    required_scope: Vec<String>,
    clock_skew_ms: i64,
}

impl Unsecured {
    pub(super) fn read(place: &str, options: &BTreeMap<String, String>) -> Result<Unsecured, SecurityError> {
        let option = |name: &str| {
            let value = options.get(&format!("unsecuredValidator{name}"));
            value.map(|value| value.trim()).filter(|value| !value.is_empty())
        };
        let skew = option("AllowableClockSkewMs").unwrap_or("0");
        let clock_skew_ms: i32 =
            skew.parse().map_err(|_| wrong(place, format!("For input string: \"{skew}\"")))?;
        if clock_skew_ms < 0 {
            return Err(wrong(place, format!("Allowable clock skew millis must not be negative: {skew}")));
        }
        let scopes = option("RequiredScope").unwrap_or_default().split(' ');
        let required_scope: Vec<String> =
            scopes.filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
        let fits = |c: char| matches!(c, '\x21' | '\x23'..='\x5b' | '\x5d'..='\x7e');
        if let Some(scope) = required_scope.iter().find(|scope| !scope.chars().all(fits)) {
            return Err(wrong(place, format!("Invalid scope value: {scope}")));
        }
        Ok(Unsecured {
            principal_claim: option("PrincipalClaimName").unwrap_or("sub").to_owned(),
            scope_claim: option("ScopeClaimName").unwrap_or("scope").to_owned(),
            required_scope,
            clock_skew_ms: clock_skew_ms.into(),
        })
    }

    pub(super) fn believes(&self, token: &str, now_ms: i64) -> Result<Believed, Disbelieved> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(
                "Unsecured JWS compact serializations must have 3 dot-separated Base64URL-encoded values"
                    .into(),
            );
        };
        let (header, claims) = (Claims::decode(header)?, Claims::decode(claims)?);
        if header.text("alg")? != Some("none") {
            return Err("Unsecured JWS must have 'none' for an algorithm".into());
        }
        if !signature.is_empty() {
            return Err("Unsecured JWS must not contain a digital signature".into());
        }
        let exp = claims.number("exp")?.ok_or("No expiration time in JWT")?;
        let principal = claims.text(&self.principal_claim)?.filter(|name| !name.trim().is_empty());
        let principal = principal
            .ok_or_else(|| format!("No principal name in JWT claim: {}", self.principal_claim))?
            .to_owned();
        let iat = claims.number("iat")?;
        if iat.is_some_and(|iat| 1000.0 * iat > (now_ms + self.clock_skew_ms) as f64) {
            return Err("The Issued At value was after the indicated time plus allowable clock skew".into());
        }
        if (now_ms - self.clock_skew_ms) as f64 >= 1000.0 * exp {
            return Err(
                "The indicated time minus allowable clock skew was on or after the Expiration Time value"
                    .into(),
            );
        }
        if iat.is_some_and(|iat| exp <= iat) {
            return Err("The Expiration Time was not after the Issued At time".into());
        }
        self.check_scope(&claims)?;
        Ok(Believed { principal, expires_ms: millis(exp) })
    }

    fn check_scope(&self, claims: &Claims) -> Result<(), Disbelieved> {
        match claims.get(&self.scope_claim) {
            None | Some(Value::String(_) | Value::Array(_)) => {}
            Some(_) => return Err(format!("The '{}' claim was not of type List", self.scope_claim).into()),
        }
        let granted: Vec<&str> = claims.texts(&self.scope_claim).into_iter().map(str::trim).collect();
        match self.required_scope.iter().find(|scope| !granted.contains(&scope.as_str())) {
            None => Ok(()),
            Some(missing) => {
                let scope = format!("[{}]", self.required_scope.join(", "));
                let why = format!("the token lacks the scope {missing} of {scope}");
                Err(Disbelieved { why, scope: Some(scope) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    fn judge(options: &[(&str, &str)], claims: &str) -> Result<Believed, String> {
        let options = options
            .iter()
            .map(|(key, value)| (format!("unsecuredValidator{key}"), (*value).to_owned()))
            .collect();
        let unsecured = Unsecured::read("jaas", &options).unwrap();
        unsecured.believes(&token(r#"{"alg":"none"}"#, claims), 100_000).map_err(|error| error.why)
    }

    #[test]
    fn times_and_principals_are_checked_as_by_kafka() {
        let ann = Believed { principal: "ann".to_owned(), expires_ms: 100_001 };
        assert_eq!(judge(&[], r#"{"sub":"ann","exp":100.001,"iat":100}"#), Ok(ann));
        let skew = [("AllowableClockSkewMs", "2000")];
        assert!(judge(&skew, r#"{"sub":"ann","exp":98.001,"iat":98}"#).is_ok());
        assert!(judge(&skew, r#"{"sub":"ann","exp":200,"iat":102}"#).is_ok());
        assert_eq!(judge(&[("PrincipalClaimName", "n")], r#"{"n":"x","exp":200}"#).unwrap().principal, "x");
        for (claims, problem) in [
            (r#"{"sub":"ann"}"#, "No expiration time"),
            (r#"{"exp":200}"#, "No principal name in JWT claim: sub"),
            (r#"{"sub":" ","exp":200}"#, "No principal name"),
            (r#"{"sub":1,"exp":200}"#, "was not of type String"),
            (r#"{"sub":"a","exp":"200"}"#, "was not of type Number"),
            (r#"{"sub":"a","exp":100}"#, "on or after the Expiration Time"),
            (r#"{"sub":"a","exp":200,"iat":100.1}"#, "Issued At value was after"),
            (r#"{"sub":"a","exp":200,"scope":1}"#, "was not of type List"),
        ] {
            let why = judge(&[], claims).unwrap_err();
            assert!(why.contains(problem), "{claims}: {why}");
        }
    }

    #[test]
    fn a_required_scope_may_come_as_a_text_or_in_a_list() {
        let one = [("RequiredScope", "read")];
        assert!(judge(&one, r#"{"sub":"a","exp":200,"scope":"read"}"#).is_ok());
        assert!(judge(&one, r#"{"sub":"a","exp":200,"scope":["write"," read "]}"#).is_ok());
        assert!(judge(&one, r#"{"sub":"a","exp":200}"#).is_err());
    }

    #[test]
    fn what_is_signed_or_no_token_at_all_is_not_believed() {
        let unsecured = Unsecured::read("jaas", &BTreeMap::new()).unwrap();
        let none = r#"{"alg":"none"}"#;
        let claims = r#"{"sub":"ann","exp":200}"#;
        for bad in [
            String::new(),
            "..".to_owned(),
            "a.b".to_owned(),
            token(r#"{"alg":"HS256"}"#, claims),
            token("{}", claims),
            token("[]", claims),
            token(none, "x"),
            token(none, claims) + "c2ln",
            token(none, claims) + ".",
        ] {
            assert!(unsecured.believes(&bad, 1).is_err(), "{bad}");
        }
    }
}
