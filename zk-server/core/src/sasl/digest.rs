//! The digests of RFC 2831, section 2.1.2.1.

use super::NONCE_COUNT;
use md5::{Digest, Md5};

/// What both sides know when they compute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exchange<'a> {
    pub user: &'a str,
    pub realm: &'a str,
    pub password: &'a str,
    pub nonce: &'a str,
    pub cnonce: &'a str,
    pub uri: &'a str,
    pub authorization: Option<&'a str>,
}

impl Exchange<'_> {
    /// The client's proof.
    pub fn response(&self) -> String {
        self.value("AUTHENTICATE")
    }

    /// The server's (`rspauth`).
    pub fn server_proof(&self) -> String {
        self.value("")
    }

    fn value(&self, method: &str) -> String {
        let mut secret = Md5::new();
        secret.update(latin(self.user));
        secret.update(b":");
        secret.update(latin(self.realm));
        secret.update(b":");
        secret.update(latin(self.password));
        let mut a1 = Md5::new();
        a1.update(secret.finalize());
        a1.update(format!(":{}:{}", self.nonce, self.cnonce));
        if let Some(authorization) = self.authorization {
            a1.update(format!(":{authorization}"));
        }
        let a2 = Md5::digest(format!("{method}:{}", self.uri));
        let (a1, a2) = (hex(&a1.finalize()), hex(&a2));
        let text = format!("{a1}:{}:{NONCE_COUNT}:{}:auth:{a2}", self.nonce, self.cnonce);
        hex(&Md5::digest(text))
    }
}

/// ISO 8859-1 where every letter is in it, UTF-8 otherwise: the RFC wants it so for names and passwords.
fn latin(text: &str) -> Vec<u8> {
    let latin: Option<Vec<u8>> = text.chars().map(|letter| u8::try_from(letter as u32).ok()).collect();
    latin.unwrap_or_else(|| text.as_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc_has_its_digests() {
        let exchange = Exchange {
            user: "chris",
            realm: "elwood.innosoft.com",
            password: "secret",
            nonce: "OA6MG9tEQGm2hh",
            cnonce: "OA6MHXh6VqTrRk",
            uri: "imap/elwood.innosoft.com",
            authorization: None,
        };
        assert_eq!(exchange.response(), "d388dad90d4bbd760a152321f2143af7");
        assert_eq!(exchange.server_proof(), "ea40f60335c427b5527b84dbabcdfffd");
    }

    #[test]
    fn letters_beyond_latin_1_are_hashed_as_utf_8() {
        assert_eq!(latin("é"), [0xe9]);
        assert_eq!(latin("é€"), "é€".as_bytes());
    }
}
