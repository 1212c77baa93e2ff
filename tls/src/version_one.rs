//! Certificates of X.509's first version, which have no extensions. `openssl x509 -req` signs such ones unless it is told
//! otherwise, so many clusters run on them, and Java takes them for a key's own certificate. The library behind
//! handshakes reads none: what it would do with one is done here.
//!
//! Such a certificate is believed where one that the trust store holds has signed it. As an issuer between the two it is
//! refused, as by Java: nothing in it says that it may sign.

use super::ocsp;
use super::verify::may_sign_others;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, DigitallySignedStruct, Error, InconsistentKeys};
use std::sync::Arc;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate, X509Version};

/// The certificate, where it is one of the first version.
pub(super) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    (parsed.version() == X509Version::V1).then_some(parsed)
}

/// Whether one of `trusted` has signed this certificate, and it counts `now`.
pub(super) fn check(
    bytes: &CertificateDer<'_>,
    parsed: &X509Certificate<'_>,
    trusted: &[CertificateDer<'static>],
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Result<(), Error> {
    let refuse = |why| Err(Error::InvalidCertificate(why));
    let Ok(now) = ASN1Time::from_timestamp(now.as_secs() as i64) else {
        return refuse(CertificateError::BadEncoding);
    };
    if now < parsed.validity().not_before {
        return refuse(CertificateError::NotValidYet);
    }
    if now > parsed.validity().not_after {
        return refuse(CertificateError::Expired);
    }
    let by_one = trusted.iter().filter(|issuer| may_sign_others(issuer)).any(|issuer| {
        X509Certificate::from_der(issuer).is_ok_and(|(_, issuer)| {
            issuer.subject().as_raw() == parsed.issuer().as_raw()
                && ocsp::is_strongly_issued_by(bytes, &issuer, algorithms)
        })
    });
    if by_one { Ok(()) } else { refuse(CertificateError::UnknownIssuer) }
}

/// Whether the owner of this certificate signed a handshake's `message` in TLS 1.2.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &X509Certificate<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let known = algorithms.mapping.iter().find(|(scheme, _)| *scheme == dss.scheme);
    let kind = ocsp::key_kind(certificate).ok_or(CertificateError::BadEncoding)?;
    let bits = &certificate.public_key().subject_public_key.data;
    let mut fitting =
        known.iter().flat_map(|(_, all)| all.iter()).filter(|one| *one.public_key_alg_id() == *kind);
    if fitting.any(|one| one.verify_signature(bits, message, dss.signature()).is_ok()) {
        return Ok(HandshakeSignatureValid::assertion());
    }
    Err(Error::InvalidCertificate(CertificateError::BadSignature))
}

/// The same in TLS 1.3.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &X509Certificate<'_>,
    dss: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
    verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)
}

/// What a side shows of itself: its chain, of any version, and the key that has to belong to it.
pub(super) fn own(
    provider: &CryptoProvider,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<Arc<SingleCertAndKey>, Error> {
    let key = provider.key_provider.load_private_key(key.clone_key())?;
    let first = chain.first().ok_or(Error::NoCertificatesPresented)?;
    let (_, parsed) = X509Certificate::from_der(first)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    match key.public_key() {
        Some(public) if public.as_ref() != parsed.public_key().raw => {
            Err(InconsistentKeys::KeyMismatch.into())
        }
        _ => Ok(Arc::new(CertifiedKey::new(chain.to_vec(), key).into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Kind, Store};
    use crate::{ClientAuth, Tls, TlsSettings, suites};
    use std::path::Path;
    use std::time::Duration;

    fn pem(name: &str) -> Store {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores").join(name);
        Store { path, kind: Kind::Pem, password: String::new(), key_password: None, inline: None }
    }

    fn settings(key: &str, trust: &str, version: &'static rustls::SupportedProtocolVersion) -> TlsSettings {
        TlsSettings {
            prefix: "ssl.".into(),
            key_store_key: "ssl.keystore.location".into(),
            trust_store_key: "ssl.truststore.location".into(),
            key_store: Some(pem(key)),
            trust_store: Some(pem(trust)),
            versions: vec![version],
            suites: suites::suites(None).unwrap(),
            client_auth: ClientAuth::Need,
            checks_server_host: false,
            checks_client_host: false,
            revocation: Default::default(),
            detect_within: Duration::from_secs(5),
        }
    }

    /// A handshake with itself, in memory.
    fn shake(tls: &Tls) -> Result<(), Error> {
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let mut client = rustls::ClientConnection::new(tls.client().unwrap(), name).unwrap();
        let mut server = rustls::ServerConnection::new(tls.server().unwrap()).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut &bytes[..]).unwrap();
            server.process_new_packets()?;
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut &bytes[..]).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn a_certificate_of_the_first_version_serves_both_sides_of_a_handshake() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for key in ["one-rsa.pem", "one-ec.pem"] {
                let tls = Tls::for_server(settings(key, "one-ca.pem", version), false).unwrap();
                assert_eq!(shake(&tls), Ok(()), "{key} {version:?}");
            }
            let strange = Tls::for_server(settings("one-rsa.pem", "trust.pem", version), false).unwrap();
            let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
            assert_eq!(shake(&strange), Err(unknown));
        }
    }

    #[test]
    fn who_is_trusted_himself_cannot_vouch_for_others() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let pinned = Tls::for_server(settings("owner.pem", "owner.pem", version), false).unwrap();
            assert_eq!(shake(&pinned), Ok(()));
            for key in ["by-owner-1.pem", "by-owner-3.pem"] {
                let tls = Tls::for_server(settings(key, "owner.pem", version), false).unwrap();
                let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
                assert_eq!(shake(&tls), Err(unknown), "{key} {version:?}");
            }
        }
    }

    #[test]
    fn a_certificate_of_the_first_version_counts_only_in_its_time() {
        let (chain, _) = pem("one-rsa.pem").key().unwrap();
        let trusted = pem("one-ca.pem").trust().unwrap();
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let parsed = parse(&chain[0]).unwrap();
        let at = |seconds: i64| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds as u64));
            check(&chain[0], &parsed, &trusted, &algorithms, now)
        };
        let (from, to) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        assert_eq!((at(from), at(to)), (Ok(()), Ok(())));
        assert_eq!(at(from - 1), Err(Error::InvalidCertificate(CertificateError::NotValidYet)));
        assert_eq!(at(to + 1), Err(Error::InvalidCertificate(CertificateError::Expired)));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let ((chain, _), (_, other)) = (pem("one-rsa.pem").key().unwrap(), pem("one-ec.pem").key().unwrap());
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        assert_eq!(
            own(&provider, &chain, &other).unwrap_err(),
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch)
        );
    }

    #[test]
    fn with_revocation_it_is_refused_as_nothing_in_it_says_where_to_ask() {
        let mut settings = settings("one-rsa.pem", "one-ca.pem", &rustls::version::TLS13);
        settings.revocation.crl = true;
        let tls = Tls::for_server(settings, false).unwrap();
        let unknown = Error::InvalidCertificate(CertificateError::UnknownRevocationStatus);
        assert_eq!(shake(&tls), Err(unknown));
    }
}
