//! A small authority of our own, and responders that say what they should and what they should not.

use super::*;
use crate::Revocation;
use crate::verify::Trust;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

/// 2026-11-21 00:00:00
const NOW: i64 = 1_795_219_200;
const ECDSA_SHA256: [u8; 10] = [OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const P256_KEY: [u8; 19] =
    [OID, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

struct Owner {
    key: EcdsaKeyPair,
    name: Vec<u8>,
}

impl Owner {
    fn new(name: &str) -> Owner {
        let text = der::encode(0x0c, &[name.as_bytes()]);
        let part = der::encode(SEQUENCE, &[&[OID, 3, 0x55, 4, 3], &text]);
        let name = der::encode(SEQUENCE, &[&der::encode(0x31, &[&part])]);
        Owner { key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(), name }
    }

    fn signed(&self, data: &[u8], behind: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(&SystemRandom::new(), data).unwrap();
        let signature = der::encode(BIT_STRING, &[&[0], signature.as_ref()]);
        der::encode(SEQUENCE, &[data, &der::encode(SEQUENCE, &[&ECDSA_SHA256]), &signature, behind])
    }

    /// A certificate of `owner`, with these extensions.
    fn certifies(&self, owner: &Owner, serial: u8, extensions: &[&[u8]]) -> Vec<u8> {
        let version = der::encode(context(0), &[&[der::INTEGER, 1, 2]]);
        let until = |year: &str| der::encode(TIME, &[format!("{year}0101000000Z").as_bytes()]);
        let key = der::encode(BIT_STRING, &[&[0], owner.key.public_key().as_ref()]);
        let key = der::encode(SEQUENCE, &[&der::encode(SEQUENCE, &[&P256_KEY]), &key]);
        let data = der::encode(
            SEQUENCE,
            &[
                &version,
                &[der::INTEGER, 1, serial],
                &der::encode(SEQUENCE, &[&ECDSA_SHA256]),
                &self.name,
                &der::encode(SEQUENCE, &[&until("2020"), &until("2100")]),
                &owner.name,
                &key,
                &der::encode(context(3), &[&der::encode(SEQUENCE, extensions)]),
            ],
        );
        self.signed(&data, &[])
    }
}

use der::context;

fn extension(oid: &[u8], value: &[u8]) -> Vec<u8> {
    der::encode(SEQUENCE, &[&der::encode(OID, &[oid]), &der::encode(OCTETS, &[value])])
}

/// Where to ask, as certificates say it.
fn ask_at(url: &str) -> Vec<u8> {
    let method = [OID, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1];
    let place = der::encode(SEQUENCE, &[&method, &der::encode(0x86, &[url.as_bytes()])]);
    extension(&[0x2b, 6, 1, 5, 5, 7, 1, 1], &der::encode(SEQUENCE, &[&place]))
}

/// It may sign others.
fn is_authority() -> Vec<u8> {
    extension(&[0x55, 0x1d, 0x13], &der::encode(SEQUENCE, &[&[1, 1, 0xff]]))
}

/// Certified for signing answers.
fn signs_answers() -> Vec<u8> {
    extension(&[0x55, 0x1d, 0x25], &der::encode(SEQUENCE, &[&[OID, 8, 0x2b, 6, 1, 5, 5, 7, 3, 9]]))
}

const GOOD: &[u8] = &[0x80, 0];
const REVOKED: &[u8] = b"\xa1\x11\x18\x0f20260101000000Z";
const UNKNOWN: &[u8] = &[0x82, 0];
const TODAY: [&str; 2] = ["20261120000000Z", "20261122000000Z"];

/// The CertID in a request.
fn asked(request: &[u8]) -> Vec<u8> {
    let mut inner = Values(request);
    for _ in 0..4 {
        inner = inner.take(SEQUENCE).unwrap().values();
    }
    inner.take(SEQUENCE).unwrap().whole.to_vec()
}

/// An answer by `signer`, which shows these certificates.
fn answer(request: &[u8], signer: &Owner, status: &[u8], [from, to]: [&str; 2], shown: &[&[u8]]) -> Vec<u8> {
    let time = |at: &str| der::encode(TIME, &[at.as_bytes()]);
    let next = der::encode(context(0), &[&time(to)]);
    let single = der::encode(SEQUENCE, &[&asked(request), status, &time(from), &next]);
    let who = der::encode(context(1), &[&signer.name]);
    let data = der::encode(SEQUENCE, &[&who, &time(from), &der::encode(SEQUENCE, &[&single])]);
    let shown = der::encode(context(0), &[&der::encode(SEQUENCE, shown)]);
    let basic = signer.signed(&data, &shown);
    let typed = der::encode(SEQUENCE, &[&der::encode(OID, &[&BASIC_OID]), &der::encode(OCTETS, &[&basic])]);
    der::encode(SEQUENCE, &[&[ENUMERATED, 1, 0], &der::encode(context(0), &[&typed])])
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}

fn parsed(bytes: &[u8]) -> X509Certificate<'_> {
    X509Certificate::from_der(bytes).unwrap().1
}

#[test]
fn an_answer_counts_when_its_issuer_or_whom_it_names_has_signed_it_and_in_its_time() {
    let (authority, owner, other) = (Owner::new("zoo"), Owner::new("server"), Owner::new("zoo"));
    let root = authority.certifies(&authority, 1, &[&is_authority()]);
    let certificate = authority.certifies(&owner, 7, &[]);
    let (issuer, mine) = (parsed(&root), parsed(&certificate));
    let request = request(&mine, &issuer);
    let says =
        |answer: &[u8]| check(answer, &mine, &issuer, &algorithms(), NOW).map_err(|error| error.to_string());
    let by = |signer: &Owner, status: &[u8], when, shown: &[&[u8]]| {
        says(&answer(&request, signer, status, when, shown))
    };

    assert_eq!(by(&authority, GOOD, TODAY, &[]), Ok(Status::Good));
    assert_eq!(by(&authority, REVOKED, TODAY, &[]), Ok(Status::Revoked));
    let unknown = OcspError::Unknown.to_string();
    assert_eq!(by(&authority, UNKNOWN, TODAY, &[]), Err(unknown.clone()));
    let time = OcspError::Time.to_string();
    assert_eq!(by(&authority, GOOD, ["20261110000000Z", "20261120000000Z"], &[]), Err(time.clone()));
    assert_eq!(by(&authority, GOOD, ["20261122000000Z", "20261123000000Z"], &[]), Err(time));

    let delegate = authority.certifies(&other, 8, &[&signs_answers()]);
    assert_eq!(by(&other, GOOD, TODAY, &[&delegate]), Ok(Status::Good));
    let signature = OcspError::Signature.to_string();
    let no_delegate = authority.certifies(&other, 8, &[]);
    let own = other.certifies(&other, 8, &[&signs_answers()]);
    for shown in [&[][..], &[&no_delegate[..]], &[&own[..]]] {
        assert_eq!(by(&other, GOOD, TODAY, shown), Err(signature.clone()));
    }

    let of_another = authority.certifies(&owner, 9, &[]);
    let elsewhere = super::request(&parsed(&of_another), &issuer);
    assert_eq!(says(&answer(&elsewhere, &authority, GOOD, TODAY, &[])), Err(unknown));
    assert_eq!(says(&[SEQUENCE, 3, ENUMERATED, 1, 3]), Err(OcspError::Failed(3).to_string()));
    let good = answer(&request, &authority, GOOD, TODAY, &[&delegate]);
    for end in 0..good.len() {
        assert_eq!(says(&good[..end]), Err(OcspError::Malformed.to_string()), "{end}");
    }
    let mut changed = good.clone();
    for at in 0..good.len() {
        changed[at] ^= 1;
        // Whatever is read into it: never a panic, and never good but for what is not signed.
        let _ = says(&changed);
        changed[at] ^= 1;
    }
}

/// Answers `count` questions with what `status` says, and with 500 where it says nothing.
fn responder(
    count: usize,
    authority: Arc<Owner>,
    status: Option<&'static [u8]>,
) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ocsp", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = vec![0; 4096];
            let mut len = 0;
            let body = loop {
                len += stream.read(&mut question[len..]).unwrap();
                let head_end = question[..len].windows(4).position(|at| at == b"\r\n\r\n");
                let body = head_end.map(|at| &question[at + 4..len]);
                if let Some(body) = body.filter(|body| Values(body).next().is_some()) {
                    break body.to_vec();
                }
            };
            let reply = match status {
                Some(status) => {
                    let body = answer(&body, &authority, status, TODAY, &[]);
                    [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body]
                        .concat()
                }
                None => b"HTTP/1.1 500 Internal Server Error\r\n\r\n".to_vec(),
            };
            stream.write_all(&reply).unwrap();
        }
    });
    (url, thread)
}

/// What becomes of a client whose certificate's issuer says this when asked.
fn admitted(status: Option<&'static [u8]>) -> Result<(), rustls::Error> {
    let (authority, owner) = (Arc::new(Owner::new("zoo")), Owner::new("client"));
    let root = authority.certifies(&authority, 1, &[&is_authority()]);
    let (url, thread) = responder(1, authority.clone(), status);
    let certificate = authority.certifies(&owner, 7, &[&ask_at(&url)]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let revocation = Revocation { ocsp: true, crl: false };
    let trust = Trust::new(vec![root.into()], revocation, provider).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW as u64));
    let verified = trust.for_clients(true).verify_client_cert(&CertificateDer::from(certificate), &[], now);
    thread.join().unwrap();
    verified.map(|_| ())
}

#[test]
fn who_is_not_said_to_be_good_is_refused() {
    use rustls::CertificateError::{Revoked, UnknownRevocationStatus};
    let refused = |why| Err(rustls::Error::InvalidCertificate(why));
    assert_eq!(admitted(Some(GOOD)), Ok(()));
    assert_eq!(admitted(Some(REVOKED)), refused(Revoked));
    assert_eq!(admitted(Some(UNKNOWN)), refused(UnknownRevocationStatus));
    assert_eq!(admitted(None), refused(UnknownRevocationStatus));
}

#[test]
fn nobody_is_asked_about_a_certificate_of_a_stranger() {
    let (authority, stranger, owner) = (Owner::new("zoo"), Owner::new("zoo"), Owner::new("client"));
    let root = authority.certifies(&authority, 1, &[&is_authority()]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let certificate = stranger.certifies(&owner, 7, &[&ask_at(&url)]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trust = Trust::new(vec![root.into()], Revocation { ocsp: true, crl: true }, provider).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW as u64));
    trust.for_clients(true).verify_client_cert(&CertificateDer::from(certificate), &[], now).unwrap_err();
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}
