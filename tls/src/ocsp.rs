//! OCSP (RFC 6960): whether a certificate still counts, as its issuer says when it is asked.
//!
//! As Java's PKIX has it: the responder is the one that the certificate names, certificates are named by SHA-1, there
//! is no nonce, clocks may differ by a quarter of an hour, and an answer is signed by the issuer, or by somebody whom
//! the issuer has certified for that.

use super::der::{self, BIT_STRING, ENUMERATED, NULL, OCTETS, OID, SEQUENCE, TIME, Values};
use aws_lc_rs::signature::{RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use rustls::crypto::WebPkiSupportedAlgorithms;
use sha1::{Digest, Sha1};
use std::io;
use x509_parser::asn1_rs::GeneralizedTime;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_PKIX_ACCESS_DESCRIPTOR_OCSP, OID_PKIX_AUTHORITY_INFO_ACCESS};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// Seconds by which clocks may differ.
const SKEW: i64 = 900;
/// 1.3.14.3.2.26
const SHA1_OID: [u8; 5] = [0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// 1.3.6.1.5.5.7.48.1.1
const BASIC_OID: [u8; 9] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// sha1WithRSAEncryption, which responders still sign with; for certificates and handshakes it is too weak.
const SHA1_RSA: [u8; 13] = [OID, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5, NULL, 0];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Good,
    Revoked,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum OcspError {
    #[error("it names no OCSP responder at an http: address")]
    NoResponder,
    #[error("{url}: {source}")]
    Http { url: String, source: io::Error },
    #[error("the answer is no OCSP response")]
    Malformed,
    #[error("the responder answers with the status {0}")]
    Failed(u8),
    #[error("the responder does not know this certificate")]
    Unknown,
    #[error("the answer is not signed by the certificate's issuer, nor in its name")]
    Signature,
    #[error("the answer is of another time")]
    Time,
}

/// Asks for one certificate of this issuer, and waits for the answer. `now`: seconds since 1970.
pub(super) fn ask(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
    now: i64,
) -> Result<Status, OcspError> {
    let url = responder(certificate).ok_or(OcspError::NoResponder)?;
    let answer = super::http_post::post(&url, "application/ocsp-request", &request(certificate, issuer));
    let answer = answer.map_err(|source| OcspError::Http { url, source })?;
    check(&answer, certificate, issuer, algorithms, now)
}

/// Where a certificate says that it can be asked for.
fn responder(certificate: &X509Certificate<'_>) -> Option<String> {
    let extension = certificate.get_extension_unique(&OID_PKIX_AUTHORITY_INFO_ACCESS).ok()??;
    let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else { return None };
    let mut places = access.iter().filter(|place| place.access_method == OID_PKIX_ACCESS_DESCRIPTOR_OCSP);
    places.find_map(|place| match &place.access_location {
        GeneralName::URI(uri) if uri.starts_with("http://") => Some((*uri).to_owned()),
        _ => None,
    })
}

/// The hashes by which an issuer is named: of its name, and of its key.
fn issuer_hashes(issuer: &X509Certificate<'_>) -> [Vec<u8>; 2] {
    let key = &issuer.public_key().subject_public_key.data;
    [Sha1::digest(issuer.subject().as_raw()).to_vec(), Sha1::digest(key).to_vec()]
}

fn request(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Vec<u8> {
    let algorithm = der::encode(SEQUENCE, &[&der::encode(OID, &[&SHA1_OID]), &[NULL, 0]]);
    let [name, key] = issuer_hashes(issuer).map(|hash| der::encode(OCTETS, &[&hash]));
    let serial = der::encode(der::INTEGER, &[certificate.raw_serial()]);
    let mut nested = der::encode(SEQUENCE, &[&algorithm, &name, &key, &serial]);
    // Request, the list of requests, TBSRequest, OCSPRequest.
    for _ in 0..4 {
        nested = der::encode(SEQUENCE, &[&nested]);
    }
    nested
}

/// What an answer says of a certificate.
fn check(
    answer: &[u8],
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
    now: i64,
) -> Result<Status, OcspError> {
    let basic = basic(answer)?;
    let signed = signed(basic).ok_or(OcspError::Malformed)?;
    if !is_in_the_name_of(issuer, &signed, algorithms, now) {
        return Err(OcspError::Signature);
    }
    let single = single(signed.data, certificate, issuer)?;
    let not_yet = now + SKEW < single.this_update;
    let no_more = now - SKEW > single.next_update.unwrap_or(single.this_update);
    if not_yet || no_more {
        return Err(OcspError::Time);
    }
    match single.status {
        0x80 => Ok(Status::Good),
        // `[1]`, with a time and perhaps a reason inside.
        0xa1 => Ok(Status::Revoked),
        _ => Err(OcspError::Unknown),
    }
}

/// The BasicOCSPResponse of a successful answer.
fn basic(answer: &[u8]) -> Result<&[u8], OcspError> {
    let mut outer = Values(answer).take(SEQUENCE).ok_or(OcspError::Malformed)?.values();
    match outer.take(ENUMERATED).map(|status| status.content) {
        Some([0]) => {}
        Some([status]) => return Err(OcspError::Failed(*status)),
        _ => return Err(OcspError::Malformed),
    }
    typed(outer).ok_or(OcspError::Malformed)
}

/// What stands behind the type of a response, where it is the basic one.
fn typed(mut outer: Values<'_>) -> Option<&[u8]> {
    let mut typed = outer.take(der::context(0))?.values().take(SEQUENCE)?.values();
    typed.take(OID).filter(|kind| kind.content == BASIC_OID)?;
    Some(typed.take(OCTETS)?.content)
}

/// A structure as X.509 signs it: with its algorithm, the signature, and here the signer's certificates.
struct Signed<'a> {
    /// With its tag, as it was signed.
    whole: &'a [u8],
    data: Values<'a>,
    /// Without its tag.
    algorithm: &'a [u8],
    signature: &'a [u8],
    certificates: Option<Values<'a>>,
}

fn signed(bytes: &[u8]) -> Option<Signed<'_>> {
    let mut parts = Values(bytes).take(SEQUENCE)?.values();
    let data = parts.take(SEQUENCE)?;
    let algorithm = parts.take(SEQUENCE)?.content;
    // The first byte counts the bits that are left over.
    let (0, signature) = parts.take(BIT_STRING)?.content.split_first()? else { return None };
    let certificates = match parts.take_if(der::context(0)) {
        Some(all) => Some(all.values().take(SEQUENCE)?.values()),
        None => None,
    };
    Some(Signed { whole: data.whole, data: data.values(), algorithm, signature, certificates })
}

/// Of which kind a certificate's key is: its algorithm, without the tag.
pub(super) fn key_kind<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    Some(Values(certificate.public_key().raw).take(SEQUENCE)?.values().take(SEQUENCE)?.content)
}

impl Signed<'_> {
    fn is_by(&self, signer: &X509Certificate<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let Some(kind) = key_kind(signer) else { return false };
        let bits = &signer.public_key().subject_public_key.data;
        if self.algorithm == SHA1_RSA {
            let key = UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, bits);
            return key.verify(self.whole, self.signature).is_ok();
        }
        let mut fitting = algorithms.all.iter().filter(|algorithm| {
            *algorithm.signature_alg_id() == *self.algorithm && *algorithm.public_key_alg_id() == *kind
        });
        fitting.any(|algorithm| algorithm.verify_signature(bits, self.whole, self.signature).is_ok())
    }
}

/// Whether `certificate` was signed by the owner of `issuer`.
pub(super) fn is_issued_by(
    certificate: &[u8],
    issuer: &X509Certificate<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    signed(certificate).is_some_and(|signed| signed.is_by(issuer, algorithms))
}

/// The same, by nothing as weak as SHA-1.
pub(super) fn is_strongly_issued_by(
    certificate: &[u8],
    issuer: &X509Certificate<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    signed(certificate).is_some_and(|signed| signed.algorithm != SHA1_RSA && signed.is_by(issuer, algorithms))
}

/// Signed by the issuer, or by somebody whom it lets sign answers.
fn is_in_the_name_of(
    issuer: &X509Certificate<'_>,
    signed: &Signed<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
    now: i64,
) -> bool {
    if signed.is_by(issuer, algorithms) {
        return true;
    }
    let Some(mut shown) = signed.certificates else { return false };
    let Ok(now) = ASN1Time::from_timestamp(now) else { return false };
    std::iter::from_fn(|| shown.next()).any(|shown| {
        let Ok((_, signer)) = X509Certificate::from_der(shown.whole) else { return false };
        let may_sign =
            || signer.extended_key_usage().ok().flatten().is_some_and(|usage| usage.value.ocsp_signing);
        signer.issuer().as_raw() == issuer.subject().as_raw()
            && signer.validity().is_valid_at(now)
            && may_sign()
            && is_issued_by(shown.whole, issuer, algorithms)
            && signed.is_by(&signer, algorithms)
    })
}

struct Single {
    status: u8,
    /// Seconds since 1970.
    this_update: i64,
    next_update: Option<i64>,
}

/// What is said of this certificate among all that is said.
fn single(
    mut data: Values<'_>,
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
) -> Result<Single, OcspError> {
    let [name, key] = issuer_hashes(issuer);
    let mut all = || {
        // The version, who answers, and when.
        data.take_if(der::context(0));
        data.next()?;
        data.take(TIME)?;
        Some(data.take(SEQUENCE)?.values())
    };
    let mut all = all().ok_or(OcspError::Malformed)?;
    while let Some(one) = all.take(SEQUENCE) {
        let mut one = one.values();
        let read = |one: &mut Values<'_>| {
            let mut id = one.take(SEQUENCE)?.values();
            let hash = id.take(SEQUENCE)?.values().take(OID)?.content;
            let same = hash == SHA1_OID
                && id.take(OCTETS)?.content == name
                && id.take(OCTETS)?.content == key
                && id.take(der::INTEGER)?.content == certificate.raw_serial();
            let status = one.next()?.tag;
            let this_update = seconds(one.take(TIME)?.content)?;
            let next_update = match one.take_if(der::context(0)) {
                Some(next) => Some(seconds(next.values().take(TIME)?.content)?),
                None => None,
            };
            Some((same, Single { status, this_update, next_update }))
        };
        let (same, single) = read(&mut one).ok_or(OcspError::Malformed)?;
        if same {
            return Ok(single);
        }
    }
    Err(OcspError::Unknown)
}

fn seconds(time: &[u8]) -> Option<i64> {
    Some(GeneralizedTime::from_bytes(time).ok()?.utc_datetime().ok()?.unix_timestamp())
}

#[cfg(test)]
pub(super) mod tests;
