//! Key sets (JWKS, RFC 7517) and the signatures that they check: RS, PS, ES and HS with 256, 384 and 512 bits, and EdDSA by
//! Ed25519. Which key of a set counts is as Java's library has it (observed of jose4j 0.9.3).

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, RsaParameters, UnparsedPublicKey};
use client::security::oauth::jwt::{Claims, decode_base64};
use serde_json::Value;
use std::fmt;

/// A key that can check signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<String>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    Ec {
        curve: Curve,
        point: Vec<u8>,
    },
    Ed25519(Vec<u8>),
    /// What signer and checker share.
    Secret(Vec<u8>),
}

/// Without what it is made of: it may be a secret.
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Material::Rsa { .. } => "RSA",
            Material::Ec { .. } => "EC",
            Material::Ed25519(_) => "Ed25519",
            Material::Secret(_) => "secret",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
    P521,
}

/// What a token's header says of its signature.
pub enum Algorithm {
    Rsa(&'static RsaParameters),
    Ec(Curve, &'static EcdsaVerificationAlgorithm),
    Ed25519,
    Hmac(hmac::Algorithm),
}

impl Algorithm {
    /// By its name in a token's header; `None`: no signatures of that kind are taken, `none` least of all.
    pub fn named(name: &str) -> Option<Algorithm> {
        let rsa = Algorithm::Rsa;
        Some(match name {
            "RS256" => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            "ES256" => Algorithm::Ec(Curve::P256, &signature::ECDSA_P256_SHA256_FIXED),
            "ES384" => Algorithm::Ec(Curve::P384, &signature::ECDSA_P384_SHA384_FIXED),
            "ES512" => Algorithm::Ec(Curve::P521, &signature::ECDSA_P521_SHA512_FIXED),
            "EdDSA" => Algorithm::Ed25519,
            "HS256" => Algorithm::Hmac(hmac::HMAC_SHA256),
            "HS384" => Algorithm::Hmac(hmac::HMAC_SHA384),
            "HS512" => Algorithm::Hmac(hmac::HMAC_SHA512),
            _ => return None,
        })
    }
}

/// Reads a key set. Keys of kinds that are not taken here are left out; the error is what is wrong with the set.
pub fn read_set(json: &[u8]) -> Result<Vec<Key>, String> {
    let set: Value =
        serde_json::from_slice(json).map_err(|error| format!("not a JSON Web Key Set: {error}"))?;
    let keys = set["keys"].as_array().ok_or("not a JSON Web Key Set: it has no list \"keys\"")?;
    Ok(keys.iter().filter_map(Value::as_object).filter_map(|key| Key::read(&Claims(key.clone()))).collect())
}

impl Key {
    fn read(key: &Claims) -> Option<Key> {
        let text = |name: &str| key.text(name).ok().flatten();
        let bytes = |name: &str| decode_base64(text(name)?);
        let may_check = |operations: &Value| {
            operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"))
        };
        if text("use").is_some_and(|usage| usage != "sig") || !key.get("key_ops").is_none_or(may_check) {
            return None;
        }
        let material = match text("kty")? {
            "RSA" => {
                let modulus = without_zeros(bytes("n")?);
                Material::Rsa { modulus, exponent: without_zeros(bytes("e")?) }
            }
            "EC" => {
                let (curve, len): (Curve, usize) = match text("crv")? {
                    "P-256" => (Curve::P256, 32),
                    "P-384" => (Curve::P384, 48),
                    "P-521" => (Curve::P521, 66),
                    _ => return None,
                };
                // An uncompressed point: some writers leave zeros out.
                let mut point = vec![4];
                for coordinate in [bytes("x")?, bytes("y")?] {
                    let coordinate = without_zeros(coordinate);
                    point.resize(point.len() + len.checked_sub(coordinate.len())?, 0);
                    point.extend(coordinate);
                }
                Material::Ec { curve, point }
            }
            "OKP" if text("crv") == Some("Ed25519") => Material::Ed25519(bytes("x")?),
            "oct" => Material::Secret(bytes("k")?),
            _ => return None,
        };
        let owned = |name: &str| text(name).map(str::to_owned);
        Some(Key { id: owned("kid"), algorithm: owned("alg"), material })
    }

    /// Whether it is of the kind that makes such signatures.
    fn fits(&self, algorithm: &Algorithm) -> bool {
        match (&self.material, algorithm) {
            (Material::Rsa { .. }, Algorithm::Rsa(_))
            | (Material::Ed25519(_), Algorithm::Ed25519)
            | (Material::Secret(_), Algorithm::Hmac(_)) => true,
            (Material::Ec { curve, .. }, Algorithm::Ec(wanted, _)) => curve == wanted,
            _ => false,
        }
    }

    /// Whether this key's owner signed these bytes.
    pub fn signed(&self, algorithm: &Algorithm, bytes: &[u8], signature: &[u8]) -> bool {
        match (&self.material, algorithm) {
            (Material::Rsa { modulus, exponent }, Algorithm::Rsa(parameters)) => {
                let key = PublicKeyComponents { n: modulus.as_slice(), e: exponent.as_slice() };
                key.verify(parameters, bytes, signature).is_ok()
            }
            (Material::Ec { point, .. }, Algorithm::Ec(_, algorithm)) => {
                UnparsedPublicKey::new(*algorithm, point).verify(bytes, signature).is_ok()
            }
            (Material::Ed25519(public), Algorithm::Ed25519) => {
                UnparsedPublicKey::new(&signature::ED25519, public).verify(bytes, signature).is_ok()
            }
            // RFC 7518, 3.2: a secret is at least as long as what the hash gives.
            (Material::Secret(secret), Algorithm::Hmac(algorithm)) => {
                let is_long = secret.len() >= algorithm.digest_algorithm().output_len();
                is_long && hmac::verify(&hmac::Key::new(*algorithm, secret), bytes, signature).is_ok()
            }
            _ => false,
        }
    }
}

fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}

/// The key that a token's header means: by its id, if it names one, among those that fit the algorithm. Of several, those that
/// are for another algorithm come last.
pub fn select<'a>(keys: &'a [Key], id: Option<&str>, name: &str, algorithm: &Algorithm) -> Option<&'a Key> {
    let is_meant = |key: &Key| id.is_none_or(|id| key.id.as_deref() == Some(id)) && key.fits(algorithm);
    let mut meant = keys.iter().filter(|key| is_meant(key));
    let first = meant.clone().next();
    meant.find(|key| key.algorithm.as_ref().is_none_or(|own| own == name)).or(first)
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair, RsaKeyPair,
    };
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    /// A pair, and its public key in a set.
    pub(in super::super) struct Pair(EcdsaKeyPair);

    impl Pair {
        pub(in super::super) fn new() -> Pair {
            Pair(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
        }

        pub(in super::super) fn set(&self, id: &str) -> String {
            let point = self.0.public_key().as_ref();
            let (x, y) = point[1..].split_at(32);
            let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
            format!(
                r#"{{"keys":[{{"kty":"oct","k":"x"}},{{"kty":"EC","use":"sig","kid":"{id}","crv":"P-256","x":"{x}","y":"{y}"}}]}}"#
            )
        }

        pub(in super::super) fn token(&self, id: &str, claims: &str) -> String {
            let header = format!(r#"{{"alg":"ES256","kid":"{id}"}}"#);
            let [header, claims] = [&*header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
            let bytes = format!("{header}.{claims}");
            let signature = self.0.sign(&SystemRandom::new(), bytes.as_bytes()).unwrap();
            format!("{bytes}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
        }
    }

    #[test]
    fn keys_of_both_kinds_check_what_their_owners_signed_and_nothing_else() {
        let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        // PKCS #1: a sequence of the modulus, of 256 bytes behind a zero, and the exponent 65537.
        let public = rsa.public_key().as_ref();
        let [n, e] = [&public[9..265], &public[267..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        let ec = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
        let (x, y) = ec.public_key().as_ref()[1..].split_at(66);
        // Zeros before the number may be there or not.
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(without_zeros(part.to_vec())));
        let set = format!(
            r#"{{"keys":[{{"kty":"RSA","kid":"r","alg":"RS256","n":"{n}","e":"{e}"}},{{"kty":"EC","kid":"e","crv":"P-521","x":"{x}","y":"{y}"}}]}}"#
        );
        let keys = read_set(set.as_bytes()).unwrap();
        let find =
            |id: Option<&str>, name: &str| select(&keys, id, name, &Algorithm::named(name).unwrap()).cloned();
        assert_eq!(find(Some("r"), "RS256"), Some(keys[0].clone()));
        assert_eq!(find(None, "ES512"), Some(keys[1].clone()));
        for (id, name) in
            [(Some("r"), "HS256"), (Some("e"), "RS256"), (Some("e"), "ES256"), (Some("x"), "RS256")]
        {
            assert_eq!(find(id, name), None, "{name}");
        }
        let random = SystemRandom::new();
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&signature::RSA_PKCS1_SHA256, &random, b"bytes", &mut signature).unwrap();
        let rs256 = Algorithm::named("RS256").unwrap();
        assert!(
            keys[0].signed(&rs256, b"bytes", &signature) && !keys[0].signed(&rs256, b"other", &signature)
        );
        let es512 = Algorithm::named("ES512").unwrap();
        let signature = ec.sign(&random, b"bytes").unwrap();
        assert!(keys[1].signed(&es512, b"bytes", signature.as_ref()));
        assert!(!keys[1].signed(&es512, b"bytes", b"") && !keys[0].signed(&es512, b"bytes", b"x"));
    }

    #[test]
    fn secrets_and_edwards_curves_check_signatures_too_where_the_secret_is_long_enough() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let [x, k, short] =
            [pair.public_key().as_ref(), &[7; 47], &[7; 31]].map(|part| URL_SAFE_NO_PAD.encode(part));
        let set = format!(
            r#"{{"keys":[{{"kty":"OKP","crv":"Ed448","x":"{x}"}},{{"kty":"OKP","crv":"Ed25519","x":"{x}"}},
            {{"kty":"oct","kid":"long","alg":"HS384","k":"{k}"}},{{"kty":"oct","kid":"short","k":"{short}"}}]}}"#
        );
        let keys = read_set(set.as_bytes()).unwrap();
        let signed = |id: Option<&str>, name: &str, signature: &[u8]| {
            let algorithm = Algorithm::named(name).unwrap();
            select(&keys, id, name, &algorithm).unwrap().signed(&algorithm, b"bytes", signature)
        };
        assert!(signed(None, "EdDSA", pair.sign(b"bytes").as_ref()));
        assert!(!signed(None, "EdDSA", pair.sign(b"other").as_ref()));
        let hs = |algorithm, secret: &[u8]| hmac::sign(&hmac::Key::new(algorithm, secret), b"bytes");
        // What a key is for decides among several only.
        assert!(signed(Some("long"), "HS256", hs(hmac::HMAC_SHA256, &[7; 47]).as_ref()));
        assert!(!signed(Some("long"), "HS384", hs(hmac::HMAC_SHA384, &[7; 47]).as_ref()));
        assert!(!signed(Some("short"), "HS256", hs(hmac::HMAC_SHA256, &[7; 31]).as_ref()));
        // No key is shown, nor is a public one ever a secret.
        assert!(!format!("{keys:?}").contains("[7, 7"));
        let rsa = read_set(br#"{"keys":[{"kty":"RSA","n":"AQ","e":"AQ"}]}"#).unwrap();
        assert!(select(&rsa, None, "HS256", &Algorithm::named("HS256").unwrap()).is_none());
    }

    #[test]
    fn of_several_keys_those_for_another_algorithm_come_last() {
        let set = br#"{"keys":[{"kty":"RSA","kid":"enc","use":"enc","n":"AQ","e":"AQ"},
            {"kty":"RSA","kid":"ops","key_ops":["encrypt"],"n":"AQ","e":"AQ"},
            {"kty":"RSA","kid":"a","alg":"RS512","n":"AQ","e":"AQ"},
            {"kty":"RSA","kid":"b","key_ops":["verify"],"n":"AQ","e":"AQ"}]}"#;
        let keys = read_set(set).unwrap();
        let find = |id: Option<&str>, name: &str| {
            select(&keys, id, name, &Algorithm::named(name).unwrap())?.id.as_deref()
        };
        assert_eq!(find(None, "RS256"), Some("b"));
        assert_eq!(find(None, "RS512"), Some("a"));
        assert_eq!(find(Some("a"), "RS256"), Some("a"));
        assert_eq!([find(Some("enc"), "RS256"), find(Some("ops"), "RS256")], [None, None]);
    }

    #[test]
    fn what_is_no_key_is_left_out_and_what_is_no_set_is_told() {
        let set = br#"{"keys":[1,{},{"kty":"EC","crv":"secp256k1","x":"","y":""},{"kty":"RSA","use":"enc","n":"AQ","e":"AQ"}]}"#;
        assert_eq!(read_set(set), Ok(vec![]));
        assert!(read_set(b"{}").unwrap_err().contains("no list \"keys\""));
        assert!(read_set(b"<html>").unwrap_err().contains("not a JSON Web Key Set"));
        for name in ["none", "HS1", "ES256K", ""] {
            assert!(Algorithm::named(name).is_none());
        }
    }
}
