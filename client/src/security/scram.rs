//! SCRAM (RFC 5802, RFC 7677) as Kafka speaks it: no channel binding, names and passwords as they are written, a user's
//! credentials as ZooKeeper and the admin requests hold them. The client's side of an exchange is [`ScramClient`].

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use std::fmt;
use std::num::NonZeroU32;

/// Fewer iterations than these neither side accepts.
pub const ITERATIONS_MIN: u32 = 4096;
/// More would let a peer keep us busy; Kafka's own bound for new credentials.
pub const ITERATIONS_MAX: u32 = 16_384;
/// The client's header and, in Base64, what it says of channel binding: there is none.
const GS2_HEADER: &str = "n,,";

/// The mechanism's hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    /// Both, by their numbers in the admin requests.
    pub const ALL: [Hash; 2] = [Hash::Sha256, Hash::Sha512];

    /// By a mechanism's name.
    pub fn of_mechanism(name: &str) -> Option<Hash> {
        Hash::ALL.into_iter().find(|hash| hash.mechanism() == name)
    }

    /// By its number in the admin requests.
    pub fn of_number(number: i8) -> Option<Hash> {
        Hash::ALL.into_iter().find(|hash| hash.number() == number)
    }

    pub fn mechanism(self) -> &'static str {
        match self {
            Hash::Sha256 => "SCRAM-SHA-256",
            Hash::Sha512 => "SCRAM-SHA-512",
        }
    }

    pub fn number(self) -> i8 {
        match self {
            Hash::Sha256 => 1,
            Hash::Sha512 => 2,
        }
    }

    fn hmac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text).as_ref().to_vec()
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }

    /// `Hi`: the password, salted and iterated.
    pub fn salted_password(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let (algorithm, len) = match self {
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
        };
        let mut salted = vec![0; len];
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
        salted
    }
}

/// What a server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    pub salt: Vec<u8>,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
    pub iterations: u32,
}

/// Without the keys.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({} iterations)", self.iterations)
    }
}

impl Credential {
    /// From a salted password, which an admin request carries.
    pub fn of_salted(hash: Hash, salted: &[u8], salt: &[u8], iterations: u32) -> Credential {
        let client_key = hash.hmac(salted, b"Client Key");
        Credential {
            salt: salt.to_vec(),
            stored_key: hash.digest(&client_key),
            server_key: hash.hmac(salted, b"Server Key"),
            iterations,
        }
    }

    /// From a password, with a salt of its own.
    pub fn of_password(hash: Hash, password: &str, iterations: u32) -> Credential {
        let salt = random::<24>();
        let salted = hash.salted_password(password.as_bytes(), &salt, iterations);
        Credential::of_salted(hash, &salted, &salt, iterations)
    }

    /// As it stands in `/config/users`.
    pub fn text(&self) -> String {
        format!(
            "salt={},stored_key={},server_key={},iterations={}",
            BASE64.encode(&self.salt),
            BASE64.encode(&self.stored_key),
            BASE64.encode(&self.server_key),
            self.iterations
        )
    }

    /// Reads [`Credential::text`]; `None`: it is none.
    pub fn parse(text: &str) -> Option<Credential> {
        let value = |key: &str| {
            text.split(',')
                .find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
        };
        let bytes = |key: &str| BASE64.decode(value(key)?).ok();
        Some(Credential {
            salt: bytes("salt")?,
            stored_key: bytes("stored_key")?,
            server_key: bytes("server_key")?,
            iterations: value("iterations")?.parse().ok().filter(|count| *count > 0)?,
        })
    }

    /// Whether `proof` shows that its owner knows the password, for this exchange.
    pub fn proves(&self, hash: Hash, exchange: &str, proof: &[u8]) -> bool {
        let signature = hash.hmac(&self.stored_key, exchange.as_bytes());
        if signature.len() != proof.len() {
            return false;
        }
        let client_key = xor(&signature, proof);
        constant_time::verify_slices_are_equal(&hash.digest(&client_key), &self.stored_key).is_ok()
    }

    /// By which the server shows that it knows the credential.
    pub fn server_signature(&self, hash: Hash, exchange: &str) -> Vec<u8> {
        hash.hmac(&self.server_key, exchange.as_bytes())
    }
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// Bytes that nobody can guess.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random numbers");
    bytes
}

/// A part of a nonce: printable, without commas.
pub fn nonce() -> String {
    URL_SAFE_NO_PAD.encode(random::<24>())
}

/// A name as messages carry it.
pub fn sasl_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// The name of [`sasl_name`]; `None`: an equals sign stands for nothing.
pub fn name_of(sasl_name: &str) -> Option<String> {
    let name = sasl_name.replace("=2C", ",");
    match name.replace("=3D", "").contains('=') {
        true => None,
        false => Some(name.replace("=3D", "=")),
    }
}

/// The value of the attribute `key` that a part begins with.
pub fn attribute<'a>(part: Option<&'a str>, key: &str) -> Option<&'a str> {
    part?.strip_prefix(key)?.strip_prefix('=')
}

/// Why an exchange fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("Invalid SCRAM server message")]
    Malformed,
    #[error("Invalid server nonce: does not start with client nonce")]
    Nonce,
    #[error(
        "Requested iterations {0} is less than the minimum {ITERATIONS_MIN} or more than {ITERATIONS_MAX}"
    )]
    Iterations(u32),
    #[error("Invalid server signature: the server does not know the password")]
    Signature,
    #[error("Sasl authentication using SCRAM failed with error: {0}")]
    Refused(String),
}

/// The client's side of one exchange.
pub struct ScramClient {
    hash: Hash,
    password: String,
    nonce: String,
    /// What was sent first, without its header.
    first: String,
    signature: Vec<u8>,
}

impl ScramClient {
    /// `token`: the name is that of a delegation token.
    pub fn new(hash: Hash, name: &str, password: &str, token: bool) -> ScramClient {
        ScramClient::with_nonce(hash, name, password, token, nonce())
    }

    fn with_nonce(hash: Hash, name: &str, password: &str, token: bool, nonce: String) -> ScramClient {
        let extension = if token { ",tokenauth=true" } else { "" };
        let first = format!("n={},r={nonce}{extension}", sasl_name(name));
        ScramClient { hash, password: password.to_owned(), nonce, first, signature: Vec::new() }
    }

    /// The first message.
    pub fn first(&self) -> String {
        format!("{GS2_HEADER}{}", self.first)
    }

    /// The second message, to what the server said to the first.
    pub fn answer(&mut self, server_first: &str) -> Result<String, ScramError> {
        let mut parts = server_first.split(',');
        let nonce = attribute(parts.next(), "r").ok_or(ScramError::Malformed)?;
        let salt = attribute(parts.next(), "s").and_then(|salt| BASE64.decode(salt).ok());
        let salt = salt.ok_or(ScramError::Malformed)?;
        let iterations = attribute(parts.next(), "i").and_then(|count| count.parse::<u32>().ok());
        let iterations = iterations.ok_or(ScramError::Malformed)?;
        if !nonce.starts_with(&self.nonce) {
            return Err(ScramError::Nonce);
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(ScramError::Iterations(iterations));
        }
        let salted = self.hash.salted_password(self.password.as_bytes(), &salt, iterations);
        let credential = Credential::of_salted(self.hash, &salted, &salt, iterations);
        let without_proof = format!("c={},r={nonce}", BASE64.encode(GS2_HEADER));
        let exchange = format!("{},{server_first},{without_proof}", self.first);
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let proof = xor(&client_key, &self.hash.hmac(&credential.stored_key, exchange.as_bytes()));
        self.signature = credential.server_signature(self.hash, &exchange);
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)))
    }

    /// Whether the server, by its last message, knows the password too.
    pub fn finish(&self, server_final: &str) -> Result<(), ScramError> {
        let mut parts = server_final.split(',');
        let part = parts.next();
        if let Some(error) = attribute(part, "e") {
            return Err(ScramError::Refused(error.to_owned()));
        }
        let signature = attribute(part, "v").and_then(|text| BASE64.decode(text).ok());
        let signature = signature.ok_or(ScramError::Malformed)?;
        constant_time::verify_slices_are_equal(&signature, &self.signature).map_err(|_| ScramError::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_of_rfc_7677_comes_out() {
        let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
        let mut client = ScramClient::with_nonce(Hash::Sha256, "user", "pencil", false, nonce);
        assert_eq!(client.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server_first =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = client.answer(server_first).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        client.finish("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert_eq!(client.finish("v=AAAA"), Err(ScramError::Signature));
        assert_eq!(client.finish("e=other-error"), Err(ScramError::Refused("other-error".into())));
    }

    #[test]
    fn a_server_that_asks_for_too_little_or_too_much_work_is_not_answered() {
        let mut client = ScramClient::with_nonce(Hash::Sha512, "u", "p", false, "abc".into());
        for (message, error) in [
            ("r=abcd,s=AAAA,i=4095", ScramError::Iterations(4095)),
            ("r=abcd,s=AAAA,i=4000000000", ScramError::Iterations(4_000_000_000)),
            ("r=xyz,s=AAAA,i=4096", ScramError::Nonce),
            ("r=abcd,s=A,i=4096", ScramError::Malformed),
            ("", ScramError::Malformed),
        ] {
            assert_eq!(client.answer(message), Err(error), "{message}");
        }
    }

    #[test]
    fn a_credential_is_kept_as_kafka_keeps_it_and_shows_no_key() {
        let credential = Credential::of_password(Hash::Sha512, "secret", 4096);
        assert_eq!(Credential::parse(&credential.text()), Some(credential.clone()));
        assert_eq!(format!("{credential:?}"), "Credential(4096 iterations)");
        for wrong in ["", "salt=AA==", "salt=!,stored_key=AA==,server_key=AA==,iterations=1"] {
            assert_eq!(Credential::parse(wrong), None);
        }
    }

    #[test]
    fn commas_and_equals_signs_of_names_are_escaped() {
        assert_eq!(sasl_name("a=b,c"), "a=3Db=2Cc");
        assert_eq!(name_of("a=3Db=2Cc").as_deref(), Some("a=b,c"));
        assert_eq!(name_of("a=b"), None);
    }
}
