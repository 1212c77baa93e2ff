//! What stores may take the place of others while a server runs, as Kafka has it: its own certificate keeps its names, stores
//! neither come nor go, and, where servers of one kind speak to each other, those with the old stores and those with the new
//! ones still trust each other both ways.

use std::collections::BTreeSet;
use std::io::Cursor;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, ServerConnection};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::Tls;
use super::names::rfc2253;

/// Why stores cannot be changed without a new start; in Kafka's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SuccessionError {
    #[error("Keystore DistinguishedName does not match:  existing={{DN={old}}}, new={{DN={new}}}")]
    Subject { old: String, new: String },
    #[error("Keystore SubjectAltNames do not match:  existing={{SAN=[{old}]}}, new={{SAN=[{new}]}}")]
    Alternatives { old: String, new: String },
    #[error("Cannot add SSL keystore to an existing listener for which no keystore was configured.")]
    KeyAdded,
    #[error("Cannot remove the SSL keystore from an existing listener for which a keystore was configured.")]
    KeyRemoved,
    #[error("Cannot add SSL truststore to an existing listener for which no truststore was configured.")]
    TrustAdded,
    #[error("{0}")]
    Distrusted(String),
}

/// What a certificate is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateNames {
    subject: String,
    /// `[type, name]`, as Java shows them.
    alternatives: BTreeSet<String>,
}

impl CertificateNames {
    /// `None`: it cannot be read.
    pub(super) fn of(certificate: &[u8]) -> Option<CertificateNames> {
        let subject = rfc2253(certificate)?;
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let mut alternatives = BTreeSet::new();
        if let Ok(Some(extension)) = parsed.subject_alternative_name() {
            alternatives.extend(extension.value.general_names.iter().map(shown));
        }
        Some(CertificateNames { subject, alternatives })
    }

    /// Whether `new` may take this one's place.
    pub(super) fn check(&self, new: &CertificateNames) -> Result<(), SuccessionError> {
        if !self.subject.eq_ignore_ascii_case(&new.subject) {
            let (old, new) = (self.subject.clone(), new.subject.clone());
            return Err(SuccessionError::Subject { old, new });
        }
        if !new.alternatives.is_superset(&self.alternatives) {
            let joined = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
            let (old, new) = (joined(&self.alternatives), joined(&new.alternatives));
            return Err(SuccessionError::Alternatives { old, new });
        }
        Ok(())
    }
}

fn shown(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::RFC822Name(name) => format!("[1, {name}]"),
        GeneralName::DNSName(name) => format!("[2, {name}]"),
        GeneralName::URI(name) => format!("[6, {name}]"),
        GeneralName::IPAddress(bytes) => match (<[u8; 4]>::try_from(*bytes), <[u8; 16]>::try_from(*bytes)) {
            (Ok(four), _) => format!("[7, {}]", std::net::IpAddr::from(four)),
            (_, Ok(sixteen)) => format!("[7, {}]", std::net::IpAddr::from(sixteen)),
            _ => format!("[7, {bytes:?}]"),
        },
        other => format!("{other:?}"),
    }
}

impl Tls {
    /// Whether `new` may take this one's place while connections come and go. `among_peers`: servers with either stores
    /// speak to each other by them.
    pub fn check_successor(&self, new: &Tls, among_peers: bool) -> Result<(), SuccessionError> {
        match (self.names(), new.names()) {
            (Some(old), Some(new)) => old.check(&new)?,
            (None, Some(_)) => return Err(SuccessionError::KeyAdded),
            (Some(_), None) => return Err(SuccessionError::KeyRemoved),
            (None, None) => {}
        }
        if self.settings.trust_store.is_none() && new.settings.trust_store.is_some() {
            return Err(SuccessionError::TrustAdded);
        }
        if among_peers {
            try_hands(&self.dialling()?, new)?;
            try_hands(&new.dialling()?, self)?;
        }
        Ok(())
    }

    /// The same stores for who dials.
    fn dialling(&self) -> Result<Tls, SuccessionError> {
        let failed = |error: super::TlsError| SuccessionError::Distrusted(error.to_string());
        Tls::for_client(self.settings.clone(), false).map_err(failed)
    }

    /// Whether somebody with these stores gets through to somebody with the same; a broker's own listener has to be so.
    pub fn check_self(&self) -> Result<(), SuccessionError> {
        try_hands(&self.dialling()?, self)
    }
}

/// Shakes hands in memory: each side by its stores.
fn try_hands(client: &Tls, server: &Tls) -> Result<(), SuccessionError> {
    let failed = |why: String| SuccessionError::Distrusted(why);
    let name = ServerName::try_from("localhost").expect("a valid name");
    let config = client.client().map_err(|error| failed(error.to_string()))?;
    let mut client = ClientConnection::new(config, name).map_err(|error| failed(error.to_string()))?;
    let config = server.server().map_err(|error| failed(error.to_string()))?;
    let mut server = ServerConnection::new(config).map_err(|error| failed(error.to_string()))?;
    // A handshake takes two or three turns.
    for _ in 0..8 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).map_err(|error| failed(error.to_string()))?;
        }
        let mut sent = Cursor::new(bytes);
        while (sent.position() as usize) < sent.get_ref().len() {
            server.read_tls(&mut sent).map_err(|error| failed(error.to_string()))?;
            server.process_new_packets().map_err(|error| failed(error.to_string()))?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).map_err(|error| failed(error.to_string()))?;
        }
        let mut sent = Cursor::new(bytes);
        while (sent.position() as usize) < sent.get_ref().len() {
            client.read_tls(&mut sent).map_err(|error| failed(error.to_string()))?;
            client.process_new_packets().map_err(|error| failed(error.to_string()))?;
        }
        if !client.is_handshaking() && !server.is_handshaking() && !client.wants_write() {
            return Ok(());
        }
    }
    Err(failed("the handshake does not come to an end".to_owned()))
}

/// The names of a chain's first certificate.
pub(super) fn names_of(chain: &[CertificateDer<'_>]) -> Option<CertificateNames> {
    CertificateNames::of(chain.first()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(subject: &str, alternatives: &[&str]) -> CertificateNames {
        CertificateNames {
            subject: subject.to_owned(),
            alternatives: alternatives.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_certificate_keeps_its_names_and_may_get_more() {
        let old = names("CN=broker", &["[2, a]"]);
        assert_eq!(old.check(&names("cn=broker", &["[2, a]", "[2, b]"])), Ok(()));
        assert_eq!(
            old.check(&names("CN=other", &["[2, a]"])).unwrap_err().to_string(),
            "Keystore DistinguishedName does not match:  existing={DN=CN=broker}, new={DN=CN=other}"
        );
        assert_eq!(
            old.check(&names("CN=broker", &["[2, b]"])).unwrap_err().to_string(),
            "Keystore SubjectAltNames do not match:  existing={SAN=[[2, a]]}, new={SAN=[[2, b]]}"
        );
    }
}
