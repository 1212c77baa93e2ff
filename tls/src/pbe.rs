//! Keys that are encrypted as in PKCS#12 (RFC 7292, appendix B and C), but stand in a PEM file: by 3DES with SHA-1, which
//! is what Java's tools and older ones of openssl write (`-v1 PBE-SHA1-3DES`).

use super::der::{INTEGER, OCTETS, OID, SEQUENCE, Values};
use cbc::cipher::{BlockModeDecrypt, KeyIvInit, block_padding::Pkcs7};
use pkcs12::kdf::{Pkcs12KeyType, derive_key_utf8};
use sha1::Sha1;

/// pbeWithSHAAnd3-KeyTripleDES-CBC
const SHA1_3DES: [u8; 10] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 1, 3];

/// As many rounds as Java takes from a PKCS#12 file.
const ROUNDS_MAX: u32 = 5_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PbeError {
    #[error("its parameters cannot be read")]
    Parameters,
    #[error("the password is wrong")]
    Password,
}

/// The PKCS#8 bytes of an EncryptedPrivateKeyInfo; `None` where it is encrypted in another way.
pub(super) fn decrypt(der: &[u8], password: &str) -> Option<Result<Vec<u8>, PbeError>> {
    let mut info = Values(der).take(SEQUENCE)?.values();
    let mut algorithm = info.take(SEQUENCE)?.values();
    (algorithm.take(OID)?.content == SHA1_3DES).then(|| {
        let parameters = algorithm.take(SEQUENCE).ok_or(PbeError::Parameters)?;
        let data = info.take(OCTETS).ok_or(PbeError::Parameters)?.content;
        triple_des(parameters.values(), data, password)
    })
}

/// `parameters`: salt, rounds.
fn triple_des(mut parameters: Values<'_>, data: &[u8], password: &str) -> Result<Vec<u8>, PbeError> {
    let salt = parameters.take(OCTETS).ok_or(PbeError::Parameters)?.content;
    let rounds = parameters.take(INTEGER).map(|it| it.content).filter(|bytes| matches!(bytes.len(), 1..=4));
    let rounds =
        rounds.ok_or(PbeError::Parameters)?.iter().fold(0u32, |sum, &byte| sum << 8 | u32::from(byte));
    if !(1..=ROUNDS_MAX).contains(&rounds) {
        return Err(PbeError::Parameters);
    }
    let derive = |what, len| derive_key_utf8::<Sha1>(password, salt, what, rounds as i32, len);
    let key = derive(Pkcs12KeyType::EncryptionKey, 24).map_err(|_| PbeError::Password)?;
    let iv = derive(Pkcs12KeyType::Iv, 8).map_err(|_| PbeError::Password)?;
    let cipher =
        cbc::Decryptor::<des::TdesEde3>::new_from_slices(&key, &iv).map_err(|_| PbeError::Parameters)?;
    cipher.decrypt_padded_vec::<Pkcs7>(data).map_err(|_| PbeError::Password)
}

#[cfg(test)]
mod tests {
    use super::super::der::encode;
    use super::*;

    fn info(algorithm: &[u8], rounds: &[u8], data: &[u8]) -> Vec<u8> {
        let salt = encode(OCTETS, &[&[1, 2, 3, 4, 5, 6, 7, 8]]);
        let parameters = encode(SEQUENCE, &[&salt, &encode(INTEGER, &[rounds])]);
        let algorithm = encode(SEQUENCE, &[&encode(OID, &[algorithm]), &parameters]);
        encode(SEQUENCE, &[&algorithm, &encode(OCTETS, &[data])])
    }

    #[test]
    fn what_is_encrypted_in_another_way_is_left_to_others() {
        assert_eq!(decrypt(&info(&[0x2a, 1], &[1], &[0; 8]), "x"), None);
        assert_eq!(decrypt(b"", "x"), None);
        assert_eq!(decrypt(&[0x30, 0x82], "x"), None);
    }

    #[test]
    fn bad_parameters_and_wrong_passwords_are_told() {
        for rounds in [&[0][..], &[0, 0x7f, 0xff, 0xff, 0xff], &[0x7f, 0xff, 0xff, 0xff]] {
            assert_eq!(decrypt(&info(&SHA1_3DES, rounds, &[0; 8]), "x"), Some(Err(PbeError::Parameters)));
        }
        let whole = info(&SHA1_3DES, &[1], &[0; 8]);
        assert_eq!(decrypt(&whole, "x"), Some(Err(PbeError::Password)));
        for end in 0..whole.len() {
            assert!(decrypt(&whole[..end], "x").is_none_or(|read| read.is_err()), "{end}");
        }
    }
}
