//! SASL as ZooKeeper's users configure it: a JAAS file with users and passwords. The exchange itself is
//! [`zk_core::sasl`]; between servers it travels in packets of its own ([`quorum`]).

pub mod jaas;
pub(crate) mod quorum;

use rustls::crypto::aws_lc_rs;
use std::collections::BTreeMap;
use zk_core::sasl::CLIENTS;
pub use zk_core::sasl::{Client, SaslError};

/// Users and their passwords.
pub type Users = BTreeMap<String, String>;

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::default_provider().secure_random.fill(&mut bytes).expect("the system's random numbers");
    bytes
}

/// One exchange from the side of a client of the client port.
pub fn client(user: &str, password: &str) -> Client {
    Client::new(CLIENTS, user, password, nonce())
}

/// A value for one exchange.
pub(crate) fn nonce() -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(random::<30>())
}
