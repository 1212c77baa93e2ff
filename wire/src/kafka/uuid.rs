//! Topic ids and the like: 16 bytes, printed as 22 characters of URL-safe base64, as Kafka's tools print them.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// Stands for "no id".
    pub const ZERO: Uuid = Uuid([0; 16]);

    pub fn is_zero(&self) -> bool {
        *self == Uuid::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = [0; 22];
        for (at, character) in text.iter_mut().enumerate() {
            // 22 characters hold 132 bits: the last one has four zero bits below the id's own two.
            let index = if at < 21 { bits >> (122 - 6 * at) } else { bits << 4 };
            *character = ALPHABET[(index & 63) as usize];
        }
        f.write_str(std::str::from_utf8(&text).expect("base64 is ASCII"))
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not the base64 form of 16 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: 22 characters of URL-safe base64")]
pub struct ParseUuidError(pub String);

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(text: &str) -> Result<Uuid, ParseUuidError> {
        let refused = || ParseUuidError(text.to_owned());
        let unpadded = text.trim_end_matches('=').as_bytes();
        if unpadded.len() != 22 {
            return Err(refused());
        }
        let mut bits: u128 = 0;
        for (at, character) in unpadded.iter().enumerate() {
            let value = ALPHABET.iter().position(|c| c == character).ok_or_else(refused)? as u128;
            bits = if at < 21 { bits << 6 | value } else { bits << 2 | value >> 4 };
        }
        Ok(Uuid(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_as_javas_base64_and_reads_back() {
        let id = Uuid([0xfb, 0xff, 0xbf, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0xff]);
        assert_eq!(id.to_string(), "-_-_AAECAwQFBgcICQoL_w");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    }

    #[test]
    fn text_of_another_length_or_alphabet_is_refused() {
        assert!("short".parse::<Uuid>().is_err());
        assert!("AAAAAAAAAAAAAAAAAAAAA+".parse::<Uuid>().is_err());
    }
}
