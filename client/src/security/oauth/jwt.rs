//! JSON web tokens in their compact form: sections, claims, times.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Bytes of a section. Java's unsecured tokens use the other alphabet.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.replace('+', "-").replace('/', "_");
    URL.decode(text.as_bytes()).ok()
}

/// The members of a header, or of claims.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims(pub Map<String, Value>);

impl Claims {
    /// Of a section; the error says what it is not.
    pub fn decode(section: &str) -> Result<Claims, &'static str> {
        let bytes = decode_base64(section).ok_or("malformed Base64 URL encoded value")?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(members)) => Ok(Claims(members)),
            _ => Err("malformed JSON"),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A claim that has to be a text, if it is there.
    pub fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("The '{name}' claim was not of type String")),
        }
    }

    /// A claim that has to be a number, if it is there; times are seconds since 1970.
    pub fn number(&self, name: &str) -> Result<Option<f64>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(_) => Err(format!("The '{name}' claim was not of type Number")),
        }
    }

    /// Scopes: one text, or a list of them; anything else has none.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        match self.get(name) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// Milliseconds of a time in seconds.
pub fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// Header, claims and signature of a token that is to be signed; the error is Kafka's.
pub fn sections(token: &str) -> Result<[&str; 3], String> {
    let token = token.trim();
    if token.is_empty() {
        return Err("Empty JWT provided; expected three sections (header, payload, and signature)".to_owned());
    }
    // As Java splits: empty parts at the end do not count.
    let parts: Vec<&str> = token.trim_end_matches('.').split('.').collect();
    let count = parts.len();
    let malformed = || {
        format!(
            "Malformed JWT provided; expected three sections (header, payload, and signature), but {count} sections provided"
        )
    };
    let sections: [&str; 3] = parts.try_into().map_err(|_| malformed())?;
    match sections.iter().zip(["header", "payload", "signature"]).find(|(part, _)| part.trim().is_empty()) {
        None => Ok(sections),
        Some((_, name)) => Err(format!(
            "Malformed JWT provided; expected at least three sections (header, payload, and signature), but {name} section missing"
        )),
    }
}

/// What a token says of itself, where nobody has to believe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub principal: String,
    /// ms since 1970.
    pub issued_ms: Option<i64>,
    pub expires_ms: i64,
}

impl Summary {
    /// Checks that a token can be of use; the error is Kafka's.
    pub fn read(claims: &Claims, sub_claim: &str, scope_claim: &str) -> Result<Summary, String> {
        let mut scopes: Vec<&str> = Vec::new();
        for scope in claims.texts(scope_claim) {
            let scope = non_blank(scope_claim, Some(scope))?;
            if scopes.contains(&scope) {
                return Err(format!(
                    "{scope_claim} value must not contain duplicates - {scope} already present"
                ));
            }
            scopes.push(scope);
        }
        let time = |name: &str| -> Result<Option<i64>, String> {
            match claims.number(name)?.map(|seconds| millis(seconds.trunc())) {
                Some(ms) if ms < 0 => {
                    Err(format!("{name} value must be non-negative; value given was \"{ms}\""))
                }
                time => Ok(time),
            }
        };
        let expires_ms = time("exp")?.ok_or("exp value must be non-null")?;
        let principal = non_blank(sub_claim, claims.text(sub_claim)?)?.to_owned();
        Ok(Summary { principal, issued_ms: time("iat")?, expires_ms })
    }
}

/// Without blanks at its ends.
pub fn non_blank<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, String> {
    let value = value.ok_or_else(|| format!("{name} value must be non-null"))?;
    if value.is_empty() {
        return Err(format!("{name} value must be non-empty"));
    }
    match value.trim() {
        "" => Err(format!("{name} value must not contain only whitespace")),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> Claims {
        Claims(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_token_has_three_sections_and_java_counts_no_empty_ones_at_the_end() {
        assert_eq!(sections(" a.b.c ").unwrap(), ["a", "b", "c"]);
        for (token, problem) in [
            ("", "Empty JWT"),
            ("a", "but 1 sections"),
            ("a.b.", "but 2 sections"),
            ("a.b.c.d", "but 4 sections"),
            ("a..c", "payload section missing"),
        ] {
            assert!(sections(token).unwrap_err().contains(problem), "{token}");
        }
    }

    #[test]
    fn a_section_may_be_in_either_alphabet_and_without_padding() {
        for text in ["eyJhIjoiPz8_In0", "eyJhIjoiPz8/In0", "eyJhIjoiPz8_In0="] {
            assert_eq!(Claims::decode(text).unwrap().text("a"), Ok(Some("???")));
        }
        assert_eq!(Claims::decode("!"), Err("malformed Base64 URL encoded value"));
        assert_eq!(Claims::decode("W10"), Err("malformed JSON"));
    }

    #[test]
    fn what_a_token_needs_is_told_in_kafkas_words() {
        let read = |json: &str| Summary::read(&claims(json), "sub", "scope");
        let summary = Summary { principal: "ann".to_owned(), issued_ms: Some(1000), expires_ms: 2000 };
        assert_eq!(read(r#"{"sub":" ann ","iat":1,"exp":2.9,"scope":["a","b"]}"#), Ok(summary));
        for (json, problem) in [
            (r#"{"sub":"a"}"#, "exp value must be non-null"),
            (r#"{"exp":1}"#, "sub value must be non-null"),
            (r#"{"exp":1,"sub":""}"#, "sub value must be non-empty"),
            (r#"{"exp":1,"sub":" "}"#, "sub value must not contain only whitespace"),
            (r#"{"exp":1,"sub":5}"#, "The 'sub' claim was not of type String"),
            (r#"{"exp":"1","sub":"a"}"#, "The 'exp' claim was not of type Number"),
            (r#"{"exp":-1,"sub":"a"}"#, "exp value must be non-negative; value given was \"-1000\""),
            (r#"{"exp":1,"sub":"a","scope":["b","b"]}"#, "must not contain duplicates - b already present"),
            (r#"{"exp":1,"sub":"a","scope":""}"#, "scope value must be non-empty"),
        ] {
            assert!(read(json).unwrap_err().contains(problem), "{json}: {:?}", read(json));
        }
    }
}
