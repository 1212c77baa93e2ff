//! What a context is made of, whichever keys it came from.

use crate::store::Store;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use std::time::Duration;

/// Whether a server asks who connects for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    /// It asks, and takes who has none.
    Want,
    Need,
}

/// How it is found out whether a certificate still counts; one of which it cannot be found out is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revocation {
    /// By lists.
    pub crl: bool,
    /// By asking its issuer; by lists where that gives no answer.
    pub ocsp: bool,
}

/// What one family of keys says, such as `ssl.*`.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// What the family's keys begin with: `ssl.`, `ssl.quorum.`, `listener.name.out.ssl.`.
    pub prefix: String,
    /// The whole name of the key that says where the key store is.
    pub key_store_key: String,
    /// Likewise the trust store.
    pub trust_store_key: String,
    pub key_store: Option<Store>,
    pub trust_store: Option<Store>,
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub suites: Vec<SupportedCipherSuite>,
    pub client_auth: ClientAuth,
    /// Who is dialled must be named in its certificate.
    pub checks_server_host: bool,
    /// Who dials must be named in its certificate.
    pub checks_client_host: bool,
    pub revocation: Revocation,
    /// Until a connection of a port that takes both has shown what it is.
    pub detect_within: Duration,
}
