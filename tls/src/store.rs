//! Key and trust stores: JKS, PKCS12, PEM.

use super::pbe;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use pkcs8::EncryptedPrivateKeyInfoRef;
use rustls::RootCertStore;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use tracing::warn;

/// The first bytes of a JKS file.
const JKS_MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// JKS or PKCS12, as the file's first bytes say: Java, too, opens either under either name.
    Java,
    Pem,
    /// What this machine trusts by itself, where a JVM has its `cacerts`: the files of the operating system, or those that
    /// `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    System,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("`{0}` is not a type of store: use JKS, PKCS12 or PEM")]
    Kind(String),
    #[error("BCFKS stores are not supported: use PKCS12")]
    Bcfks,
    #[error("{0} does not end in .jks, .p12 or .pem: name its type, too")]
    Ending(PathBuf),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path}: cannot be opened, wrong password or damaged: {why}")]
    Open { path: PathBuf, why: String },
    #[error("{path}: there is no private key with a certificate in it")]
    NoKey { path: PathBuf },
    #[error("{path}: there is no trusted certificate in it")]
    NoTrust { path: PathBuf },
    #[error("NONE leaves nobody to trust: name a file, or remove it")]
    Nobody,
    #[error("one of the trusted certificates cannot be understood: {0}")]
    Anchor(rustls::Error),
}

impl Kind {
    /// By its Java name.
    pub fn named(name: &str) -> Result<Kind, StoreError> {
        match name.to_ascii_uppercase().as_str() {
            "JKS" | "PKCS12" => Ok(Kind::Java),
            "PEM" => Ok(Kind::Pem),
            "BCFKS" => Err(StoreError::Bcfks),
            _ => Err(StoreError::Kind(name.into())),
        }
    }

    /// By the ending of a file's name.
    pub fn of_file(path: &Path) -> Result<Kind, StoreError> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("jks" | "p12") => Ok(Kind::Java),
            Some("pem") => Ok(Kind::Pem),
            Some("bcfks") => Err(StoreError::Bcfks),
            _ => Err(StoreError::Ending(path.into())),
        }
    }
}

/// Where a store is and how it opens.
#[derive(Clone)]
pub struct Store {
    /// Its file; of a store that stands in a configuration, the key that holds it.
    pub path: PathBuf,
    pub kind: Kind,
    pub password: String,
    /// Of the key in it, where that has one of its own.
    pub key_password: Option<String>,
    /// A store that stands in a configuration.
    pub inline: Option<String>,
}

/// Without the password.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({:?}, {})", self.kind, self.path.display())
    }
}

/// DER as PEM.
fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// A key with its certificates, the key's own first.
type KeyEntry = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Store {
    /// Whom this machine trusts by itself.
    pub fn system() -> Store {
        let path = "the certificates of this system".into();
        Store { path, kind: Kind::System, password: String::new(), key_password: None, inline: None }
    }

    /// The first private key by its alias, with its chain.
    pub(super) fn key(&self) -> Result<KeyEntry, StoreError> {
        let (mut keys, _) = self.load(true)?;
        if keys.len() > 1 {
            warn!("{}: of {} private keys the first is used", self.path.display(), keys.len());
        }
        keys.retain(|(chain, _)| !chain.is_empty());
        let first = if keys.is_empty() { None } else { Some(keys.swap_remove(0)) };
        first.ok_or_else(|| StoreError::NoKey { path: self.path.clone() })
    }

    /// The certificates that the store trusts.
    pub(super) fn trust(&self) -> Result<Vec<CertificateDer<'static>>, StoreError> {
        let (_, trusted) = self.load(false)?;
        if trusted.is_empty() {
            return Err(StoreError::NoTrust { path: self.path.clone() });
        }
        Ok(trusted)
    }

    /// The store's key and its chain as two texts of PEM, for libraries that take nothing else.
    pub fn key_as_pem(&self) -> Result<(String, String), StoreError> {
        let (chain, key) = self.key()?;
        let label = match &key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let chain = chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect();
        Ok((chain, pem(label, key.secret_der())))
    }

    /// What the store trusts, as PEM.
    pub fn trust_as_pem(&self) -> Result<String, StoreError> {
        Ok(self.trust()?.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect())
    }

    /// `keys`: whether private keys are opened; for a trust store they are passed over.
    fn load(&self, keys: bool) -> Result<(Vec<KeyEntry>, Vec<CertificateDer<'static>>), StoreError> {
        if self.kind == Kind::System {
            return Ok((vec![], self.system_certificates()));
        }
        let bytes = match &self.inline {
            Some(text) => text.clone().into_bytes(),
            None => std::fs::read(&self.path)
                .map_err(|source| StoreError::Read { path: self.path.clone(), source })?,
        };
        match self.kind {
            Kind::Pem => self.pem(&bytes, keys),
            Kind::Java if bytes.starts_with(&JKS_MAGIC) => self.jks(&bytes, keys),
            _ => self.pkcs12(&bytes),
        }
    }

    /// One that cannot be used is passed over: nobody here has chosen it.
    fn system_certificates(&self) -> Vec<CertificateDer<'static>> {
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            warn!("{}: {error}", self.path.display());
        }
        let is_anchor =
            |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
        loaded.certs.into_iter().filter(is_anchor).collect()
    }

    fn key_password(&self) -> &str {
        self.key_password.as_deref().unwrap_or(&self.password)
    }

    fn open(&self, why: impl fmt::Display) -> StoreError {
        StoreError::Open { path: self.path.clone(), why: why.to_string() }
    }

    fn jks(
        &self,
        bytes: &[u8],
        keys: bool,
    ) -> Result<(Vec<KeyEntry>, Vec<CertificateDer<'static>>), StoreError> {
        let mut store = jks::KeyStore::new();
        let password = self.password.as_bytes();
        match store.load(bytes, password) {
            // Java looks for damage only where a password is given; certificates can be read without.
            Err(jks::KeyStoreError::InvalidDigest) if !keys && password.is_empty() => {}
            loaded => loaded.map_err(|error| self.open(error))?,
        }
        let mut aliases = store.aliases();
        aliases.sort();
        let (mut entries, mut trusted) = (Vec::new(), Vec::new());
        for alias in aliases {
            if store.is_trusted_certificate_entry(&alias) {
                let entry = store.get_trusted_certificate_entry(&alias).map_err(|error| self.open(error))?;
                trusted.push(CertificateDer::from(entry.certificate.content));
            } else if keys {
                let entry = store.get_private_key_entry(&alias, self.key_password().as_bytes());
                let entry = entry.map_err(|error| self.open(format!("key `{alias}`: {error}")))?;
                let chain = entry.certificate_chain.into_iter().map(|one| one.content.into()).collect();
                entries.push((chain, PrivatePkcs8KeyDer::from(entry.private_key).into()));
            }
        }
        Ok((entries, trusted))
    }

    fn pkcs12(&self, bytes: &[u8]) -> Result<(Vec<KeyEntry>, Vec<CertificateDer<'static>>), StoreError> {
        use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
        let store = KeyStore::from_pkcs12(bytes, &self.password, Pkcs12ImportPolicy::Strict)
            .map_err(|error| self.open(error))?;
        let (mut entries, mut trusted) = (Vec::new(), Vec::new());
        for (_, entry) in store.entries() {
            match entry {
                KeyStoreEntry::PrivateKeyChain(chain) => {
                    let key = PrivatePkcs8KeyDer::from(chain.key().as_der().to_vec());
                    let certs = chain.certs().iter().map(|one| one.as_der().to_vec().into()).collect();
                    entries.push((certs, key.into()));
                }
                KeyStoreEntry::Certificate(certificate) => {
                    trusted.push(CertificateDer::from(certificate.as_der().to_vec()));
                }
                KeyStoreEntry::Secret(_) => {}
            }
        }
        Ok((entries, trusted))
    }

    fn pem(
        &self,
        bytes: &[u8],
        keys: bool,
    ) -> Result<(Vec<KeyEntry>, Vec<CertificateDer<'static>>), StoreError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| self.open(format!("{error:?}")))?;
        if !keys {
            return Ok((vec![], certificates));
        }
        if let Some(key) = self.encrypted_key(bytes)? {
            return Ok((vec![(certificates, key)], vec![]));
        }
        let key = <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes).find_map(|section| {
            let (kind, der) = section.ok()?;
            PrivateKeyDer::from_pem(kind, der)
        });
        Ok((key.map(|key| (certificates, key)).into_iter().collect(), vec![]))
    }
}

impl Store {
    /// The first key of a PEM file where it is encrypted, as PKCS#8 has it: by PBES2, or by
    /// 3DES as in PKCS#12.
    fn encrypted_key(&self, bytes: &[u8]) -> Result<Option<PrivateKeyDer<'static>>, StoreError> {
        const LABEL: &str = "ENCRYPTED PRIVATE KEY";
        let text = String::from_utf8_lossy(bytes);
        let begin = format!("-----BEGIN {LABEL}-----");
        let Some((_, rest)) = text.split_once(&begin) else { return Ok(None) };
        let (inner, _) = rest
            .split_once(&format!("-----END {LABEL}-----"))
            .ok_or_else(|| self.open("the encrypted key has no end"))?;
        let base64: String = inner.split_whitespace().collect();
        let der = BASE64.decode(base64).map_err(|error| self.open(error))?;
        if let Some(key) = pbe::decrypt(&der, self.key_password()) {
            let key = key.map_err(|error| self.open(error))?;
            return Ok(Some(PrivatePkcs8KeyDer::from(key).into()));
        }
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(&*der).map_err(|error| self.open(error))?;
        let key = encrypted.decrypt(self.key_password()).map_err(|error| self.open(error))?;
        Ok(Some(PrivatePkcs8KeyDer::from(key.as_bytes().to_vec()).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_s_type_is_named_or_shown_by_its_file_s_ending() {
        assert_eq!(Kind::of_file(Path::new("/x/server.jks")).unwrap(), Kind::Java);
        assert_eq!(Kind::of_file(Path::new("/x/server.p12")).unwrap(), Kind::Java);
        assert_eq!(Kind::named("pem").unwrap(), Kind::Pem);
        let wrong = Kind::of_file(Path::new("/x/server.keystore")).unwrap_err().to_string();
        assert_eq!(wrong, "/x/server.keystore does not end in .jks, .p12 or .pem: name its type, too");
        assert!(matches!(Kind::named("BCFKS"), Err(StoreError::Bcfks)));
    }

    #[test]
    fn certificates_are_read_without_a_password_where_it_only_guards_against_damage() {
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stores/trust.jks"));
        let mut store =
            Store { path, kind: Kind::Java, password: String::new(), key_password: None, inline: None };
        assert!(!store.trust().unwrap().is_empty());
        assert!(store.key().is_err());
        store.password = "wrong".to_owned();
        assert!(store.trust().unwrap_err().to_string().contains("wrong password"));
    }

    #[test]
    fn a_file_that_is_no_store_is_told_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes, expected) in [
            ("a.jks", &b"\xfe\xed\xfe\xed\0\0"[..], "wrong password or damaged"),
            ("a.p12", b"\x30\x82", "wrong password or damaged"),
            ("a.pem", b"", "there is no private key"),
            (
                "b.pem",
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "wrong password or damaged",
            ),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let kind = Kind::of_file(&path).unwrap();
            let store = Store {
                path: path.clone(),
                kind,
                password: "secret".into(),
                key_password: None,
                inline: None,
            };
            let error = store.key().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(name), "{error}");
            assert!(!format!("{store:?}").contains("secret"));
        }
    }
}
