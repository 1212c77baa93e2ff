//! Java's names of TLS versions and cipher suites, and what they are here.

use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};
use tracing::warn;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    #[error("`{0}` is not safe any more and not supported: use TLSv1.2, TLSv1.3")]
    Old(String),
    #[error("`{0}` is not a TLS version: use TLSv1.2, TLSv1.3")]
    Version(String),
    #[error("none of these cipher suites is supported here: {asked}; supported are {known}")]
    Suites { asked: String, known: String },
    #[error("no cipher suite that is allowed belongs to {0}")]
    NoSuiteFor(String),
}

/// The name of RFC 8446 and RFC 5289, which is Java's.
fn name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

/// All, or those of a list. Names that are not here (CBC suites, mostly) are told and left out, unless none is left.
pub fn suites(list: Option<&str>) -> Result<Vec<SupportedCipherSuite>, SuiteError> {
    let all = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
    let Some(list) = list else { return Ok(all.to_vec()) };
    let mut found = Vec::new();
    for asked in list.split(',').map(str::trim).filter(|asked| !asked.is_empty()) {
        match all.iter().find(|suite| name(suite) == asked) {
            Some(suite) => found.push(*suite),
            None => warn!("The cipher suite {asked} is not supported here and is left out"),
        }
    }
    if found.is_empty() {
        let known = all.iter().map(name).collect::<Vec<_>>().join(", ");
        return Err(SuiteError::Suites { asked: list.into(), known });
    }
    Ok(found)
}

/// Those that are spoken; versions that no JVM of today speaks are told and left out, unless none is left.
/// `enabledProtocols`, else what `protocol` stands for: on the client port it alone (Netty is told one version),
/// between servers what Java's context of that name speaks.
pub fn versions(
    enabled: Option<&str>,
    protocol: &str,
    quorum: bool,
    suites: &[SupportedCipherSuite],
) -> Result<Vec<&'static SupportedProtocolVersion>, SuiteError> {
    let asked = match (enabled, protocol) {
        (Some(list), _) => list,
        (None, "TLS") => "TLSv1.3,TLSv1.2",
        (None, "TLSv1.3") if quorum => "TLSv1.3,TLSv1.2",
        (None, other) => other,
    };
    let mut versions: Vec<&'static SupportedProtocolVersion> = Vec::new();
    let mut old = Vec::new();
    for one in asked.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        match one {
            "TLSv1.3" => versions.push(&TLS13),
            "TLSv1.2" => versions.push(&TLS12),
            "TLSv1" | "TLSv1.1" | "SSLv3" | "SSLv2Hello" => old.push(one),
            other => return Err(SuiteError::Version(other.into())),
        }
    }
    match *old {
        [] => {}
        [first, ..] if versions.is_empty() => return Err(SuiteError::Old(first.into())),
        // Lists of Kafka before 2.5 go on to be written. A JVM of today does not speak them either, without a word.
        _ => warn!("{} of {asked}: not safe any more, and not spoken", old.join(", ")),
    }
    versions.retain(|version| suites.iter().any(|suite| suite.version().version == version.version));
    if versions.is_empty() {
        return Err(SuiteError::NoSuiteFor(asked.into()));
    }
    Ok(versions)
}

/// Has clients whose contexts are not ours (the ZooKeeper session's library) speak these versions, by these suites. It holds
/// for the process, from the first call on.
pub fn install_for_others(versions: &[&'static SupportedProtocolVersion], suites: &[SupportedCipherSuite]) {
    let spoken = |suite: &&SupportedCipherSuite| {
        versions.iter().any(|version| version.version == suite.version().version)
    };
    let provider = rustls::crypto::CryptoProvider {
        cipher_suites: suites.iter().filter(spoken).copied().collect(),
        ..rustls::crypto::aws_lc_rs::default_provider()
    };
    // It was there already: every session of a process has the same settings.
    let _ = provider.install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(enabled: Option<&str>, protocol: &str, quorum: bool) -> Result<Vec<String>, SuiteError> {
        let all = suites(None).unwrap();
        let versions = versions(enabled, protocol, quorum, &all)?;
        Ok(versions.iter().map(|version| format!("{:?}", version.version)).collect())
    }

    #[test]
    fn the_client_port_speaks_one_version_unless_told_otherwise_and_servers_speak_two() {
        assert_eq!(names(None, "TLSv1.3", false).unwrap(), ["TLSv1_3"]);
        assert_eq!(names(None, "TLSv1.3", true).unwrap(), ["TLSv1_3", "TLSv1_2"]);
        assert_eq!(names(None, "TLSv1.2", true).unwrap(), ["TLSv1_2"]);
        assert_eq!(names(Some("TLSv1.2, TLSv1.3"), "TLSv1.3", false).unwrap(), ["TLSv1_2", "TLSv1_3"]);
    }

    #[test]
    fn old_versions_are_left_out_and_refused_by_name_where_nothing_else_is_asked_for() {
        assert_eq!(names(Some("TLSv1.2,TLSv1.1,TLSv1"), "TLS", false).unwrap(), ["TLSv1_2"]);
        assert_eq!(names(Some("TLSv1.1,TLSv1"), "TLS", false), Err(SuiteError::Old("TLSv1.1".into())));
        assert_eq!(names(None, "TLSv9", false), Err(SuiteError::Version("TLSv9".into())));
    }

    #[test]
    fn java_s_names_of_suites_are_known_and_cbc_is_left_out() {
        let list = "TLS_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        let found: Vec<String> = suites(Some(list)).unwrap().iter().map(name).collect();
        assert_eq!(found, ["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
        let wrong = suites(Some("TLS_RSA_WITH_AES_128_CBC_SHA")).unwrap_err().to_string();
        assert!(wrong.contains("TLS_RSA_WITH_AES_128_CBC_SHA") && wrong.contains("TLS_AES_256_GCM_SHA384"));
    }

    #[test]
    fn a_version_without_an_allowed_suite_is_not_spoken() {
        let only12 = suites(Some("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")).unwrap();
        assert_eq!(versions(None, "TLSv1.3", true, &only12).unwrap().len(), 1);
        assert_eq!(
            versions(None, "TLSv1.3", false, &only12).unwrap_err(),
            SuiteError::NoSuiteFor("TLSv1.3".into())
        );
    }
}
