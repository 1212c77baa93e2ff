//! The hashes that `DigestAuthenticationProvider.digestAlg` may name.

use md5::Md5;
use sha1::{Digest, Sha1};
use sha2::{Sha224, Sha256, Sha384, Sha512, Sha512_224, Sha512_256};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

/// A hash over `user:password`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DigestAlg {
    Md5,
    #[default]
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Sha512_224,
    Sha512_256,
    Sha3_224,
    Sha3_256,
    Sha3_384,
    Sha3_512,
}

/// The names by which Java 17's `MessageDigest` knows them, whatever their case; MD2 is the one that is not here.
const NAMES: &[(DigestAlg, &[&str])] = &[
    (DigestAlg::Md5, &["MD5"]),
    (DigestAlg::Sha1, &["SHA-1", "SHA1", "SHA", "1.3.14.3.2.26"]),
    (DigestAlg::Sha224, &["SHA-224", "SHA224", "2.16.840.1.101.3.4.2.4"]),
    (DigestAlg::Sha256, &["SHA-256", "SHA256", "2.16.840.1.101.3.4.2.1"]),
    (DigestAlg::Sha384, &["SHA-384", "SHA384", "2.16.840.1.101.3.4.2.2"]),
    (DigestAlg::Sha512, &["SHA-512", "SHA512", "2.16.840.1.101.3.4.2.3"]),
    (DigestAlg::Sha512_224, &["SHA-512/224", "SHA512/224", "2.16.840.1.101.3.4.2.5"]),
    (DigestAlg::Sha512_256, &["SHA-512/256", "SHA512/256", "2.16.840.1.101.3.4.2.6"]),
    (DigestAlg::Sha3_224, &["SHA3-224", "2.16.840.1.101.3.4.2.7"]),
    (DigestAlg::Sha3_256, &["SHA3-256", "2.16.840.1.101.3.4.2.8"]),
    (DigestAlg::Sha3_384, &["SHA3-384", "2.16.840.1.101.3.4.2.9"]),
    (DigestAlg::Sha3_512, &["SHA3-512", "2.16.840.1.101.3.4.2.10"]),
];

impl DigestAlg {
    /// By one of its names.
    pub fn named(name: &str) -> Option<DigestAlg> {
        let name = name.strip_prefix("OID.").unwrap_or(name);
        let knows = |names: &[&str]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        NAMES.iter().find(|(_, names)| knows(names)).map(|(alg, _)| *alg)
    }

    pub fn hash(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            DigestAlg::Md5 => Md5::digest(bytes).to_vec(),
            DigestAlg::Sha1 => Sha1::digest(bytes).to_vec(),
            DigestAlg::Sha224 => Sha224::digest(bytes).to_vec(),
            DigestAlg::Sha256 => Sha256::digest(bytes).to_vec(),
            DigestAlg::Sha384 => Sha384::digest(bytes).to_vec(),
            DigestAlg::Sha512 => Sha512::digest(bytes).to_vec(),
            DigestAlg::Sha512_224 => Sha512_224::digest(bytes).to_vec(),
            DigestAlg::Sha512_256 => Sha512_256::digest(bytes).to_vec(),
            DigestAlg::Sha3_224 => Sha3_224::digest(bytes).to_vec(),
            DigestAlg::Sha3_256 => Sha3_256::digest(bytes).to_vec(),
            DigestAlg::Sha3_384 => Sha3_384::digest(bytes).to_vec(),
            DigestAlg::Sha3_512 => Sha3_512::digest(bytes).to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_goes_by_java_s_names_whatever_their_case() {
        for name in ["SHA1", "sha-1", "SHA", "OID.1.3.14.3.2.26"] {
            assert_eq!(DigestAlg::named(name), Some(DigestAlg::Sha1), "{name}");
        }
        assert_eq!(DigestAlg::named("SHA-512/256"), Some(DigestAlg::Sha512_256));
        assert_eq!(DigestAlg::named("sha3-384"), Some(DigestAlg::Sha3_384));
        for stranger in ["", "SHA3", "SHA3_256", "CRC32", "MD2"] {
            assert_eq!(DigestAlg::named(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn every_hash_has_the_length_of_its_name() {
        let bytes = |name: &str| DigestAlg::named(name).unwrap().hash(b"x").len();
        for (name, bits) in [("MD5", 128), ("SHA-1", 160), ("SHA-224", 224), ("SHA-512/224", 224)] {
            assert_eq!(bytes(name) * 8, bits, "{name}");
        }
        for bits in [224, 256, 384, 512] {
            assert_eq!(bytes(&format!("SHA3-{bits}")) * 8, bits);
            assert_eq!(bytes(&format!("SHA{bits}")) * 8, bits);
        }
    }
}
