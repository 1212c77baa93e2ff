//! Passwords among dynamic settings, as they stand encrypted in ZooKeeper: a list of `name:value` pairs that says how it was
//! encrypted, the key derived from `password.encoder.secret` by PBKDF2. Java's brokers read what ours wrote, and the reverse.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    self, DecryptingKey, DecryptionContext, EncryptingKey, PaddedBlockDecryptingKey,
    PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::pbkdf2;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use client::security::scram::random;

use crate::config::BrokerConfig;

pub const SECRET: &str = "password.encoder.secret";
pub const OLD_SECRET: &str = "password.encoder.old.secret";
pub const CIPHER: &str = "password.encoder.cipher.algorithm";
pub const KEY_FACTORY: &str = "password.encoder.keyfactory.algorithm";
pub const KEY_LENGTH: &str = "password.encoder.key.length";
pub const ITERATIONS: &str = "password.encoder.iterations";

/// What a listener's password key ends in: what is encrypted.
const KEYS: &[&str] = &[
    "sasl.jaas.config",
    "ssl.key.password",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.password",
    "ssl.truststore.certificates",
    "ssl.truststore.password",
];

/// Whether a dynamic setting is kept encrypted.
pub fn is_password(name: &str) -> bool {
    KEYS.iter().any(|key| name.ends_with(key))
}

/// Why a password cannot be encrypted or read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PasswordError {
    #[error(
        "`{0}` is not a cipher that passwords can be encrypted with here: AES/CBC/PKCS5Padding, AES/CTR/NoPadding or AES/GCM/NoPadding"
    )]
    Cipher(String),
    #[error(
        "`{0}` is not a way to derive keys here: PBKDF2WithHmacSHA1, PBKDF2WithHmacSHA256, PBKDF2WithHmacSHA384 or PBKDF2WithHmacSHA512"
    )]
    KeyFactory(String),
    #[error("{0} is not a length of keys of AES: 128, 192 or 256")]
    KeyLength(i64),
    #[error("{0} iterations are no iterations")]
    Iterations(i64),
    #[error("it says nothing of its {0}")]
    Missing(&'static str),
    #[error("its {0} cannot be read")]
    Unreadable(&'static str),
    #[error("Password could not be decoded")]
    Decode,
    #[error("Password could not be decoded, sanity check of length failed")]
    Length,
    #[error("it cannot be encrypted")]
    Encode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Cbc,
    Ctr,
    Gcm,
}

impl Mode {
    fn named(name: &str) -> Result<Mode, PasswordError> {
        match name {
            "AES/CBC/PKCS5Padding" => Ok(Mode::Cbc),
            "AES/CTR/NoPadding" => Ok(Mode::Ctr),
            "AES/GCM/NoPadding" => Ok(Mode::Gcm),
            other => Err(PasswordError::Cipher(other.to_owned())),
        }
    }
}

fn derivation(name: &str) -> Result<pbkdf2::Algorithm, PasswordError> {
    match name {
        "PBKDF2WithHmacSHA1" => Ok(pbkdf2::PBKDF2_HMAC_SHA1),
        "PBKDF2WithHmacSHA256" => Ok(pbkdf2::PBKDF2_HMAC_SHA256),
        "PBKDF2WithHmacSHA384" => Ok(pbkdf2::PBKDF2_HMAC_SHA384),
        "PBKDF2WithHmacSHA512" => Ok(pbkdf2::PBKDF2_HMAC_SHA512),
        other => Err(PasswordError::KeyFactory(other.to_owned())),
    }
}

/// Encrypts and reads passwords by one secret.
#[derive(Clone)]
pub struct PasswordEncoder {
    secret: String,
    cipher: String,
    key_factory: String,
    key_length: i64,
    iterations: i64,
}

/// Without the secret.
impl fmt::Debug for PasswordEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordEncoder({}, {})", self.cipher, self.key_factory)
    }
}

impl PasswordEncoder {
    /// By the keys `password.encoder.*`; whatever cannot be used shows here. `None`: there is no secret.
    pub fn new(
        secret: &str,
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<PasswordEncoder, PasswordError> {
        let number = |key: &str, default: i64| match value(key) {
            Some(text) => text.trim().parse().unwrap_or(0),
            None => default,
        };
        let encoder = PasswordEncoder {
            secret: secret.to_owned(),
            cipher: value(CIPHER).unwrap_or_else(|| "AES/CBC/PKCS5Padding".to_owned()),
            key_factory: value(KEY_FACTORY).unwrap_or_else(|| "PBKDF2WithHmacSHA512".to_owned()),
            key_length: number(KEY_LENGTH, 128),
            iterations: number(ITERATIONS, 4096),
        };
        Mode::named(&encoder.cipher)?;
        derive_key(secret, &encoder.key_factory, encoder.key_length, &[0; 8], 1)?;
        match encoder.iterations {
            1.. => Ok(encoder),
            iterations => Err(PasswordError::Iterations(iterations)),
        }
    }

    /// Of a broker, by the secret under `key`. `None`: there is none.
    pub fn of_broker(config: &BrokerConfig, key: &str) -> Result<Option<PasswordEncoder>, PasswordError> {
        let Some(secret) = config.text(key).filter(|secret| !secret.is_empty()) else { return Ok(None) };
        PasswordEncoder::new(secret, |key| config.text(key).map(str::to_owned)).map(Some)
    }

    /// The password's form in ZooKeeper, another one each time.
    pub fn encode(&self, password: &str) -> Result<String, PasswordError> {
        let salt = random::<256>();
        let mode = Mode::named(&self.cipher)?;
        let key = derive_key(&self.secret, &self.key_factory, self.key_length, &salt, self.iterations)?;
        let (encrypted, iv) = encrypt(mode, &key, password.as_bytes()).ok_or(PasswordError::Encode)?;
        // In the order in which Java writes them.
        let mut text = format!(
            "encryptedPassword:{},keyLength:{},cipherAlgorithm:{},initializationVector:{},keyFactoryAlgorithm:{},salt:{},\
             iterations:{},passwordLength:{}",
            BASE64.encode(encrypted),
            self.key_length,
            self.cipher,
            BASE64.encode(iv),
            self.key_factory,
            BASE64.encode(salt),
            self.iterations,
            utf16_length(password)
        );
        if mode == Mode::Gcm {
            text.push_str(",authenticationTagLength:128");
        }
        Ok(text)
    }

    /// Reads what any encoder with the same secret wrote.
    pub fn decode(&self, text: &str) -> Result<String, PasswordError> {
        let parts: BTreeMap<&str, &str> =
            text.split(',').filter_map(|pair| pair.trim().rsplit_once(':')).collect();
        let part = |name: &'static str| parts.get(name).copied().ok_or(PasswordError::Missing(name));
        let number = |name: &'static str| {
            part(name)?.trim().parse::<i64>().map_err(|_| PasswordError::Unreadable(name))
        };
        let bytes = |name: &'static str| {
            BASE64.decode(part(name)?.trim()).map_err(|_| PasswordError::Unreadable(name))
        };
        let mode = Mode::named(part("cipherAlgorithm")?)?;
        // Whoever can write there must not hold up the broker by it.
        let iterations = number("iterations")?;
        if iterations > ITERATIONS_MAX {
            return Err(PasswordError::Iterations(iterations));
        }
        let key = derive_key(
            &self.secret,
            part("keyFactoryAlgorithm")?,
            number("keyLength")?,
            &bytes("salt")?,
            iterations,
        )?;
        let decrypted = decrypt(mode, &key, &bytes("initializationVector")?, bytes("encryptedPassword")?);
        let password =
            decrypted.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(PasswordError::Decode)?;
        match i64::try_from(utf16_length(&password)) == Ok(number("passwordLength")?) {
            true => Ok(password),
            false => Err(PasswordError::Length),
        }
    }
}

/// More of them would take a broker seconds for each password.
const ITERATIONS_MAX: i64 = 10_000_000;

/// As Java counts characters.
fn utf16_length(text: &str) -> usize {
    text.encode_utf16().count()
}

fn derive_key(
    secret: &str,
    key_factory: &str,
    bits: i64,
    salt: &[u8],
    iterations: i64,
) -> Result<Vec<u8>, PasswordError> {
    let algorithm = derivation(key_factory)?;
    let length = match bits {
        128 => 16,
        192 => 24,
        256 => 32,
        _ => return Err(PasswordError::KeyLength(bits)),
    };
    let rounds = u32::try_from(iterations).ok().and_then(NonZeroU32::new);
    let rounds = rounds.ok_or(PasswordError::Iterations(iterations))?;
    let mut key = vec![0; length];
    pbkdf2::derive(algorithm, rounds, salt, secret.as_bytes(), &mut key);
    Ok(key)
}

fn block_key(key: &[u8]) -> Option<UnboundCipherKey> {
    let algorithm = match key.len() {
        16 => &cipher::AES_128,
        24 => &cipher::AES_192,
        _ => &cipher::AES_256,
    };
    UnboundCipherKey::new(algorithm, key).ok()
}

fn sealing_key(key: &[u8]) -> Option<LessSafeKey> {
    let algorithm = match key.len() {
        16 => &aead::AES_128_GCM,
        24 => &aead::AES_192_GCM,
        _ => &aead::AES_256_GCM,
    };
    UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new)
}

/// What is encrypted, and its initialization vector.
fn encrypt(mode: Mode, key: &[u8], text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut bytes = text.to_vec();
    let context = match mode {
        Mode::Gcm => {
            let iv = random::<NONCE_LEN>();
            let nonce = Nonce::assume_unique_for_key(iv);
            sealing_key(key)?.seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes).ok()?;
            return Some((bytes, iv.to_vec()));
        }
        Mode::Cbc => PaddedBlockEncryptingKey::cbc_pkcs7(block_key(key)?).ok()?.encrypt(&mut bytes).ok()?,
        Mode::Ctr => EncryptingKey::ctr(block_key(key)?).ok()?.encrypt(&mut bytes).ok()?,
    };
    let DecryptionContext::Iv128(iv) = context else { return None };
    Some((bytes, iv.as_ref().to_vec()))
}

fn decrypt(mode: Mode, key: &[u8], iv: &[u8], mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    if mode == Mode::Gcm {
        let nonce = Nonce::try_assume_unique_for_key(iv).ok()?;
        let opened = sealing_key(key)?.open_in_place(nonce, Aad::empty(), &mut bytes).ok()?;
        return Some(opened.to_vec());
    }
    let iv: [u8; 16] = iv.try_into().ok()?;
    let context = DecryptionContext::Iv128(FixedLength::from(iv));
    let key = block_key(key)?;
    let opened = match mode {
        Mode::Cbc => PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?.decrypt(&mut bytes, context).ok()?,
        _ => DecryptingKey::ctr(key).ok()?.decrypt(&mut bytes, context).ok()?,
    };
    Some(opened.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(secret: &str, pairs: &[(&str, &str)]) -> Result<PasswordEncoder, PasswordError> {
        let map: BTreeMap<&str, &str> = pairs.iter().copied().collect();
        PasswordEncoder::new(secret, |key| map.get(key).map(|value| (*value).to_owned()))
    }

    /// Written by Kafka 3.5.1 with the secret `encoder-secret`.
    const BY_JAVA: [&str; 2] = [
        "encryptedPassword:JnWJUPRycjF4h6bRaF+Ssw==,keyLength:128,cipherAlgorithm:AES/CBC/PKCS5Padding,\
         initializationVector:0J+hJawKPhvd40u43FYjww==,keyFactoryAlgorithm:PBKDF2WithHmacSHA512,salt:lcvqDQaBV48iCEDJJ39yugPy\
         +kMtY6dm5yuPlFzUgf7XzDod9lZyICeLr/HqIZ6AuFU1WKUNcVHc0cKMcGhfL+FIaoh7/3AFPTjz33NiVRnGNm/HWV9FQapSOIQHnOzhE7tdeMedNW0\
         LL8xk8yaLBs7sFPFYwO3rs8zL4Q7DDjEXf8l9I6X/sD2DvhEVAZODq93k7zJ6q48l7X0d1Aq00+RLoU7RjeLHNC+5IlVo/FkrLAyfDebXJvflQgE67Q\
         u4su8LQPIiivYKw+347SqNmSbHWn4V+G3XYZtHFPipPFY7JKYWJG05GMGCl+va9D0VgfdEWQNXUv64pFn8p1xpvQ==,iterations:4096,\
         passwordLength:8",
        "encryptedPassword:wzud/hApr93WDmvF/FcVHvLYLC+G0QBWKA==,keyLength:256,cipherAlgorithm:AES/GCM/NoPadding,\
         initializationVector:bpBHOlWhSUxFX3mn,keyFactoryAlgorithm:PBKDF2WithHmacSHA1,salt:sXWR2i5cw8zEnKC/PWqhPPvD6QtQhqN9QBB\
         yh1SY2wSplklhWL5MuDPmgpIOsiaxByavJS4Wg11EJ9zHYdaosKeVCOax5qK6CU6TIcMkek3ZX59LljDkaEXy5Al8xSF6b5XbSYy/4K514EQ5A5PiEC3\
         RKbhJ7LYCYNzl3BQGP5aniTk07PQzEELBnl5/gyshmZadLz0hua5BgTJNMkKuIY1BQjqaY4ViKjjZrWNq88bryB37OaSaRFJRuSTRDRonYMHYdKIj+Gn\
         0Wcx7oIyNmSl4SFBmRFG1+1B37iUW9dX4H3bU4GkTlTkfP2OJWCUegJSXlrCvwJQo//IJQIOlpw==,iterations:4096,passwordLength:8,\
         authenticationTagLength:128",
    ];

    #[test]
    fn what_java_encrypted_is_read_with_its_secret_and_with_no_other() {
        for text in BY_JAVA {
            assert_eq!(encoder("encoder-secret", &[]).unwrap().decode(text).unwrap(), "pässword");
            let other = encoder("another", &[]).unwrap().decode(text);
            assert!(matches!(other, Err(PasswordError::Decode | PasswordError::Length)), "{other:?}");
        }
    }

    #[test]
    fn a_password_comes_back_by_every_cipher_and_looks_like_javas() {
        for (cipher, bits) in [
            ("AES/CBC/PKCS5Padding", "128"),
            ("AES/CBC/PKCS5Padding", "256"),
            ("AES/CTR/NoPadding", "192"),
            ("AES/GCM/NoPadding", "256"),
        ] {
            let encoder =
                encoder("s", &[(CIPHER, cipher), (KEY_LENGTH, bits), (ITERATIONS, "1024")]).unwrap();
            for password in ["", "x", "a much longer password, with commas: and colons"] {
                let text = encoder.encode(password).unwrap();
                assert_eq!(encoder.decode(&text).unwrap(), password);
                assert!(password.len() < 10 || !text.contains(password));
                assert_ne!(encoder.encode(password).unwrap(), text);
            }
        }
        let names = |text: &str| {
            text.split(',').map(|pair| pair.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let ours = encoder("s", &[]).unwrap().encode("x").unwrap();
        assert_eq!(names(&ours), names(BY_JAVA[0]));
    }

    #[test]
    fn what_cannot_be_used_is_named_and_nonsense_is_no_password() {
        let wrong = |key, value| encoder("s", &[(key, value)]).unwrap_err().to_string();
        assert!(
            wrong(CIPHER, "DESede/CBC/PKCS5Padding").starts_with("`DESede/CBC/PKCS5Padding` is not a cipher")
        );
        assert!(wrong(KEY_FACTORY, "PBKDF2WithHmacSHA224").contains("PBKDF2WithHmacSHA224"));
        assert_eq!(wrong(KEY_LENGTH, "64"), "64 is not a length of keys of AES: 128, 192 or 256");
        let encoder = encoder("s", &[]).unwrap();
        assert!(!format!("{encoder:?}").contains("\"s\""));
        let endless = BY_JAVA[0].replace("iterations:4096", "iterations:4000000000");
        assert!(matches!(encoder.decode(&endless), Err(PasswordError::Iterations(_))));
        for (part, with) in [("keyLength:128", ""), ("iterations:4096", "iterations:x"), ("salt:l", "salt:?")]
        {
            assert!(encoder.decode(&BY_JAVA[0].replace(part, with)).is_err(), "{part}");
        }
        assert!(encoder.decode("plain").is_err() && encoder.decode("").is_err());
    }

    #[test]
    fn listeners_passwords_are_encrypted_and_nothing_else() {
        assert!(is_password("listener.name.out.scram-sha-512.sasl.jaas.config"));
        assert!(is_password("listener.name.out.ssl.keystore.password") && is_password("ssl.key.password"));
        assert!(!is_password("listener.name.out.ssl.keystore.location") && !is_password("log.retention.ms"));
        assert!(!is_password("password.encoder.secret"));
    }
}
