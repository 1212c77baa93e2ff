//! Whom we believe: chains up to the trust store, revocation lists where `crl=true`, issuers where `ocsp=true`, and names
//! of hosts.
//!
//! A certificate that itself stands in the trust store is believed as it is, as Java does; this is how self-signed
//! ones work. Host names are looked at after the handshake ([`matches_host`]), since they depend on the address.

use super::names::common_name;
use super::ocsp::{self, Status};
use super::settings::Revocation;
use super::store::StoreError;
use super::version_one;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::runtime::{Handle, RuntimeFlavor};
use tracing::warn;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};

/// What a trust store makes of others' certificates.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    /// Those that may sign others.
    roots: Arc<RootCertStore>,
    certificates: Arc<Vec<CertificateDer<'static>>>,
    hints: Arc<Vec<DistinguishedName>>,
    revocation: Revocation,
    provider: Arc<CryptoProvider>,
}

/// Whether a certificate that the trust store holds counts for those that it has signed, too: as with Java 17, one of
/// the third version has to say that it is an authority's and, where it says what its key is for, that it signs
/// certificates. Otherwise the owner of a certificate that somebody trusts could make himself others' names.
pub(super) fn may_sign_others(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
    parsed.version() != X509Version::V3
        || parsed.is_ca()
            && parsed.key_usage().is_ok_and(|usage| usage.is_none_or(|is| is.value.key_cert_sign()))
}

/// Certificates in a chain whose issuers are asked.
const CHAIN_MAX: usize = 10;

impl Trust {
    pub fn new(
        certificates: Vec<CertificateDer<'static>>,
        revocation: Revocation,
        provider: Arc<CryptoProvider>,
    ) -> Result<Trust, StoreError> {
        let (mut roots, mut all) = (RootCertStore::empty(), RootCertStore::empty());
        for certificate in &certificates {
            all.add(certificate.clone()).map_err(StoreError::Anchor)?;
            if may_sign_others(certificate) {
                roots.add(certificate.clone()).map_err(StoreError::Anchor)?;
            }
        }
        let hints = Arc::new(all.subjects());
        Ok(Trust {
            roots: Arc::new(roots),
            certificates: Arc::new(certificates),
            hints,
            revocation,
            provider,
        })
    }

    pub fn for_servers(&self) -> ServerVerifier {
        ServerVerifier(self.clone())
    }

    pub fn for_clients(&self, needed: bool) -> ClientVerifier {
        ClientVerifier { trust: self.clone(), needed }
    }

    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|known| known.as_ref() == certificate.as_ref())
    }

    /// `verify` looks at the chain with these revocation lists. Nobody is asked about a certificate that it does not
    /// believe without them.
    fn check(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        verify: impl Fn(Vec<CertificateRevocationListDer<'static>>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.is_pinned(end) {
            return Ok(());
        }
        if let Some(parsed) = version_one::parse(end) {
            let algorithms = &self.provider.signature_verification_algorithms;
            version_one::check(end, &parsed, &self.certificates, algorithms, now)?;
            return match self.revocation {
                Revocation { crl: false, ocsp: false } => Ok(()),
                // It names nobody who could be asked.
                _ => Err(Error::InvalidCertificate(CertificateError::UnknownRevocationStatus)),
            };
        }
        if self.roots.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        verify(vec![])?;
        match self.revocation {
            Revocation { crl: false, ocsp: false } => Ok(()),
            Revocation { ocsp: true, .. } if aside(|| self.issuers_know(end, rest, now))? => Ok(()),
            _ => verify(self.lists(end, rest)?),
        }
    }

    /// Whether the issuers of a whole chain say that its certificates still count; false: one of them does not say.
    fn issuers_know(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<bool, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        let mut current = end;
        for _ in 0..CHAIN_MAX {
            if self.is_pinned(current) {
                return Ok(true);
            }
            let Ok((_, parsed)) = X509Certificate::from_der(current) else { return Ok(false) };
            let mut known = rest.iter().chain(self.certificates.iter());
            let issuer = known.find_map(|bytes| {
                let (_, issuer) = X509Certificate::from_der(bytes).ok()?;
                let same = issuer.subject().as_raw() == parsed.issuer().as_raw();
                (same && ocsp::is_issued_by(current, &issuer, algorithms)).then_some((bytes, issuer))
            });
            let Some((bytes, issuer)) = issuer else { return Ok(false) };
            match ocsp::ask(&parsed, &issuer, algorithms, now.as_secs() as i64) {
                Ok(Status::Good) => current = bytes,
                Ok(Status::Revoked) => {
                    return Err(Error::InvalidCertificate(CertificateError::Revoked));
                }
                Err(why) => {
                    warn!("Whether the certificate of {} still counts is not known: {why}", parsed.subject());
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// The revocation lists of a chain. Only lists in files are read; a chain of
    /// which a list is missing is refused, as by Java.
    fn lists(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
        let mut lists = Vec::new();
        for certificate in std::iter::once(end).chain(rest) {
            for address in list_addresses(certificate) {
                match read_list(&address) {
                    Ok(list) => lists.push(list),
                    Err(why) => warn!("The revocation list {address} cannot be used: {why}"),
                }
            }
        }
        if lists.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::UnknownRevocationStatus));
        }
        Ok(lists)
    }

    fn tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match version_one::parse(cert) {
            Some(cert) => version_one::verify_tls12(message, &cert, dss, algorithms),
            None => verify_tls12_signature(message, cert, dss, algorithms),
        }
    }

    fn tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match version_one::parse(cert) {
            Some(cert) => version_one::verify_tls13(message, &cert, dss, algorithms),
            None => verify_tls13_signature(message, cert, dss, algorithms),
        }
    }

    /// SHA-1 is named last, as Java does, for certificates alone: a Java key manager shows none that is signed in a way
    /// that the peer does not name, also where the peer has that very certificate in its trust store. No handshake is
    /// believed that is signed so, nor a chain.
    fn schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.provider.signature_verification_algorithms.supported_schemes();
        schemes.extend([SignatureScheme::ECDSA_SHA1_Legacy, SignatureScheme::RSA_PKCS1_SHA1]);
        schemes
    }
}

/// Runs what waits for others; the tasks of the same thread go on elsewhere meanwhile.
fn aside<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::General(error.to_string())
}

/// Believes a server by its chain alone.
#[derive(Debug)]
pub(super) struct ServerVerifier(Trust);

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let trust = &self.0;
        trust.check(end, rest, now, |lists| {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(trust.roots.clone(), trust.provider.clone())
                    .with_crls(lists)
                    .enforce_revocation_expiration()
                    .build()
                    .map_err(broken)?;
            match verifier.verify_server_cert(end, rest, name, ocsp, now) {
                // It checks the name last, when all else was good.
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(()),
                other => other.map(|_| ()),
            }
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.schemes()
    }
}

/// Believes a client by its chain.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    trust: Trust,
    needed: bool,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.needed
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.trust.hints
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let trust = &self.trust;
        trust.check(end, rest, now, |lists| {
            WebPkiClientVerifier::builder_with_provider(trust.roots.clone(), trust.provider.clone())
                .with_crls(lists)
                .enforce_revocation_expiration()
                .build()
                .map_err(broken)?
                .verify_client_cert(end, rest, now)
                .map(|_| ())
        })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.schemes()
    }
}

/// Where a certificate says that its revocation list is.
fn list_addresses(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return vec![] };
    let mut addresses = Vec::new();
    for extension in certificate.extensions() {
        let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() else { continue };
        for point in points.iter() {
            let Some(DistributionPointName::FullName(names)) = &point.distribution_point else { continue };
            let uris = names.iter().filter_map(|name| match name {
                GeneralName::URI(uri) => Some((*uri).to_owned()),
                _ => None,
            });
            addresses.extend(uris);
        }
    }
    addresses
}

/// `file:/path` and `file:///path`, DER or PEM.
fn read_list(address: &str) -> Result<CertificateRevocationListDer<'static>, String> {
    let path = address.strip_prefix("file:").ok_or("only file: addresses are read here")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    if bytes.starts_with(b"-----BEGIN") {
        return CertificateRevocationListDer::from_pem_slice(&bytes).map_err(|error| format!("{error:?}"));
    }
    Ok(bytes.into())
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("the certificate is for {named}, and not for {wanted}")]
    Other { named: String, wanted: String },
}

/// Whether a certificate names one of these hosts: by its alternative names, or by its common name where it has none.
/// A `*` stands for letters without a dot.
pub fn matches_host(certificate: &[u8], hosts: &[String]) -> Result<(), HostError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| HostError::Unreadable)?;
    let (mut names, mut addresses) = (Vec::<String>::new(), Vec::<IpAddr>::new());
    if let Ok(Some(extension)) = parsed.subject_alternative_name() {
        for name in &extension.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
    }
    if names.is_empty() && addresses.is_empty() {
        names.extend(common_name(&parsed));
    }
    let fits = hosts.iter().any(|host| match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        // An address in a common name counts, too.
        Ok(ip) => addresses.contains(&ip) || addresses.is_empty() && names.iter().any(|name| name == host),
        Err(_) => names.iter().any(|pattern| fits(&host.to_lowercase(), &pattern.to_lowercase())),
    });
    if fits {
        return Ok(());
    }
    names.extend(addresses.iter().map(IpAddr::to_string));
    Err(HostError::Other { named: names.join(", "), wanted: hosts.join(", ") })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn fits(host: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => host == pattern,
        Some((head, tail)) => host
            .strip_prefix(head)
            .and_then(|rest| rest.strip_suffix(tail))
            .is_some_and(|star| !star.contains('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_part_of_a_name() {
        assert!(fits("zk1.zoo.org", "*.zoo.org") && fits("zk1.zoo.org", "zk*.zoo.org"));
        assert!(!fits("a.zk1.zoo.org", "*.zoo.org") && !fits("zoo.org", "*.zoo.org"));
        assert!(fits("zk1", "zk1") && !fits("zk11", "zk1"));
    }

    #[test]
    fn certificates_may_be_signed_with_sha1_and_handshakes_may_not() {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let trust = Trust::new(vec![], Revocation::default(), provider.clone()).unwrap();
        let named = trust.for_clients(true).supported_verify_schemes();
        let last = [SignatureScheme::ECDSA_SHA1_Legacy, SignatureScheme::RSA_PKCS1_SHA1];
        assert!(named.ends_with(&last), "{named:?}");
        assert_eq!(trust.for_servers().supported_verify_schemes(), named);
        let believed = provider.signature_verification_algorithms.mapping;
        assert!(believed.iter().all(|(scheme, _)| !last.contains(scheme)));
    }

    #[test]
    fn only_lists_in_files_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [0x30, 0]).unwrap();
        let path = file.path().display();
        assert_eq!(read_list(&format!("file:{path}")).unwrap().as_ref(), [0x30, 0]);
        assert_eq!(read_list(&format!("file://{path}")).unwrap().as_ref(), [0x30, 0]);
        assert_eq!(read_list("http://x/y.crl").unwrap_err(), "only file: addresses are read here");
    }
}
