//! Fixtures of tests are written in hexadecimal.

use bytes::Bytes;

pub fn bytes(hex: &str) -> Bytes {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}
