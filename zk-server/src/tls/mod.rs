//! TLS as ZooKeeper's users configure it: the keys `ssl.*` (client port, and `zkCli`) and `ssl.quorum.*` (between
//! servers). Stores, contexts and verification are the crate `tls`.

mod settings;

pub use ::tls::{
    ClientAuth, HostError, Revocation, StoreError, SuiteError, Tls, TlsError, TlsSettings, blocking,
    common_name, jvm, matches_host, rfc2253,
};
pub use settings::{KEYS, of_admin, of_clients, of_quorum};

#[cfg(test)]
mod tests;
