//! The authentication providers that need nothing but bytes and the tree: `ip`, `digest`, `ensemble`, `key`; and the
//! user names of all of them.

use crate::database::Database;
pub use crate::digest_alg::DigestAlg;
use crate::sasl::SaslUsers;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use wire::Str;
use wire::zk::{ClientInfo, Id};

/// The id that every connection has from the start: `ip:<peer>`, as Java prints an address.
pub fn ip_id(peer: IpAddr) -> Id {
    let text = match peer.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|part| format!("{part:x}")).join(":"),
    };
    Id { scheme: Str::from_static("ip"), id: text.into() }
}

/// Which schemes there are, and who may do what without being asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRules {
    /// ACLs are not checked (`skipACL`).
    pub skip_acl: bool,
    /// The hash of the scheme `digest`; `None`: there is no such scheme (`DigestAuthenticationProvider.enabled`).
    pub digest: Option<DigestAlg>,
    /// `DigestAuthenticationProvider.superDigest`: `super:<base64 of the hash>`, who may do all.
    pub super_digest: Option<Str>,
    /// The names of this ensemble, one of which a client must give that uses the scheme `ensemble`
    /// (`ensembleAuthName`); empty: any will do. `None`: that scheme is not known.
    pub ensemble_names: Option<Vec<Str>>,
    /// The scheme `key` is known: its clients give a multiple of the number in the node `/key`.
    pub key: bool,
    /// The scheme `x509` is known: its ids are subjects of certificates.
    pub x509: bool,
    /// The scheme `sasl` is known.
    pub sasl: bool,
    /// `letAnySaslUserDoX`: an ACL's id that everybody has who came by SASL.
    pub any_sasl_user: Option<Str>,
    /// Who may come by SASL; `None`: clients are told that there is no SASL.
    pub sasl_users: Option<Arc<SaslUsers>>,
    /// One of these schemes a connection must have an id of before it is served (`enforce.auth.schemes`); empty: none.
    pub enforced: Vec<Str>,
}

impl Default for AuthRules {
    fn default() -> AuthRules {
        AuthRules {
            skip_acl: false,
            digest: Some(DigestAlg::Sha1),
            super_digest: None,
            ensemble_names: None,
            key: false,
            x509: false,
            sasl: false,
            any_sasl_user: None,
            sasl_users: None,
            enforced: vec![],
        }
    }
}

impl AuthRules {
    /// A provider has this scheme.
    pub fn knows(&self, scheme: &str) -> bool {
        match scheme {
            "ip" => true,
            "digest" => self.digest.is_some(),
            "ensemble" => self.ensemble_names.is_some(),
            "key" => self.key,
            "x509" => self.x509,
            "sasl" => self.sasl,
            _ => false,
        }
    }

    /// Requests of a connection with these ids are served.
    pub fn admits(&self, ids: &[Id]) -> bool {
        self.enforced.is_empty() || ids.iter().any(|id| self.enforced.contains(&id.scheme))
    }
}

/// `user:password` -> `user:base64(hash(user:password))`. Without a colon all of it is the user.
pub fn digest(alg: DigestAlg, credentials: &str) -> String {
    let user = credentials.split(':').next().unwrap_or_default();
    format!("{user}:{}", STANDARD.encode(alg.hash(credentials.as_bytes())))
}

/// How an auth packet is refused; its connection ends either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The client is told, and gives up.
    Failed,
    /// The client is not told, so that it tries another server.
    Elsewhere,
}

/// The ids that an auth packet adds to its connection, whose address is `peer`.
pub fn authenticate(
    rules: &AuthRules,
    scheme: &str,
    payload: Option<&[u8]>,
    peer: &Id,
    db: &Database,
) -> Result<Vec<Id>, Refusal> {
    match scheme {
        "ip" => Ok(vec![peer.clone()]),
        "digest" => {
            let alg = rules.digest.ok_or(Refusal::Failed)?;
            let digest = digest(alg, &String::from_utf8_lossy(payload.ok_or(Refusal::Failed)?));
            let mut ids = Vec::with_capacity(2);
            if rules.super_digest.as_deref() == Some(digest.as_str()) {
                ids.push(Id { scheme: Str::from_static("super"), id: Str::new() });
            }
            ids.push(Id { scheme: Str::from_static("digest"), id: digest.into() });
            Ok(ids)
        }
        "ensemble" => {
            let names = rules.ensemble_names.as_ref().ok_or(Refusal::Failed)?;
            let given = String::from_utf8_lossy(payload.unwrap_or_default());
            let fits = given.is_empty() || names.is_empty() || names.iter().any(|name| *name == *given);
            if fits { Ok(vec![]) } else { Err(Refusal::Elsewhere) }
        }
        "key" if rules.key => {
            let key = db.node(KEY_NODE).and_then(|node| node.data());
            let given = payload.ok_or(Refusal::Failed)?;
            if key.is_some_and(|key| !is_multiple(key, given)) {
                return Err(Refusal::Failed);
            }
            // The id is the same for whoever has the key: an ACL with it outlives a change of the key.
            Ok(vec![Id { scheme: Str::from_static("key"), id: Str::new() }])
        }
        _ => Err(Refusal::Failed),
    }
}

/// Where the scheme `key` looks for its number; without it, anything is accepted, so that it can be written.
const KEY_NODE: &str = "/key";

/// Both are decimal numbers, and `given` is a multiple of `key`; every number is one of 0.
fn is_multiple(key: &[u8], given: &[u8]) -> bool {
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<i32>().ok();
    match (number(key), number(given)) {
        (Some(key), Some(given)) => key == 0 || given.wrapping_rem(key) == 0,
        _ => false,
    }
}

/// An id of this scheme says who somebody is, so that `auth:` stands for it; an address does not.
pub fn is_authenticated(rules: &AuthRules, scheme: &str) -> bool {
    matches!(scheme, "digest" | "key" | "x509" | "sasl") && rules.knows(scheme)
}

/// The scheme has a provider, and the provider takes the id into an ACL.
pub fn is_valid(rules: &AuthRules, scheme: &str, id: &str) -> bool {
    match scheme {
        _ if !rules.knows(scheme) => false,
        "digest" => id.trim_end_matches(':').split(':').count() == 2,
        "ip" => network(id).is_some(),
        "key" => true,
        "x509" => is_subject(id),
        "sasl" => is_principal(id),
        _ => false,
    }
}

/// Attributes that Java knows in a distinguished name, besides numbers with dots.
const ATTRIBUTES: [&str; 20] = [
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
];

/// `CN=a,O=b`: every part has an attribute that Java knows.
fn is_subject(id: &str) -> bool {
    let mut escaped = false;
    let mut parts = id.split(|letter| {
        let splits = !escaped && ",+;".contains(letter);
        escaped = !escaped && letter == '\\';
        splits
    });
    id.is_empty()
        || parts.all(|part| {
            part.split_once('=').is_some_and(|(key, _)| {
                let key = key.trim().to_ascii_uppercase();
                let digits = key.strip_prefix("OID.").unwrap_or(&key);
                let number =
                    digits.contains('.') && digits.bytes().all(|byte| b"0123456789.".contains(&byte));
                number || ATTRIBUTES.contains(&key.as_str())
            })
        })
}

/// `name`, `name@REALM` or `name/host@REALM`.
fn is_principal(id: &str) -> bool {
    match id.split_once('@') {
        None => true,
        Some((name, realm)) => name.matches('/').count() <= 1 && !realm.contains(['@', '/']),
    }
}

/// A connection's id `have` is covered by an ACL's id `wanted` of the same scheme.
pub fn matches(rules: &AuthRules, scheme: &str, have: &str, wanted: &str) -> bool {
    match scheme {
        _ if !rules.knows(scheme) => false,
        "digest" | "key" | "x509" => have == wanted,
        "sasl" => have == wanted || have == "super" || rules.any_sasl_user.as_deref() == Some(wanted),
        "ip" => match (have.parse::<Ipv4Addr>(), network(wanted)) {
            (Ok(have), Some((net, bits))) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                u32::from(have) & mask == u32::from(net) & mask
            }
            _ => false,
        },
        _ => false,
    }
}

/// `a.b.c.d` or `a.b.c.d/bits`; leading zeros and the like as Java's integers take them. Addresses of version 6 have
/// no ACLs in Java either.
fn network(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
    let bits = bits.parse().ok().filter(|bits| *bits <= 32)?;
    let mut octets = [0; 4];
    let mut parts = address.split('.');
    for octet in &mut octets {
        *octet = parts.next()?.parse().ok()?;
    }
    if parts.next().is_some() { None } else { Some((octets.into(), bits)) }
}

/// What whoAmI says of a connection's ids.
pub fn client_infos(ids: &[Id]) -> Vec<ClientInfo> {
    ids.iter()
        .map(|id| {
            let user = match (&*id.scheme, id.id.split_once(':')) {
                ("digest", Some((user, _))) => user.into(),
                _ => id.id.clone(),
            };
            ClientInfo { scheme: id.scheme.clone(), user }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Id {
        ip_id(IpAddr::from([127, 0, 0, 1]))
    }

    fn ask(rules: &AuthRules, scheme: &str, payload: Option<&str>) -> Result<Vec<Id>, Refusal> {
        authenticate(rules, scheme, payload.map(str::as_bytes), &peer(), &Database::new())
    }

    #[test]
    fn digests_are_those_of_the_real_server() {
        assert_eq!(digest(DigestAlg::Sha1, "super:adminpw"), "super:YW0smZw1fP8Plz4LetS54OLjO/8=");
        assert_eq!(digest(DigestAlg::Sha1, "bob:pw"), "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
        // Of Java's MessageDigest.
        assert_eq!(
            digest(DigestAlg::Sha256, "super:test"),
            "super:wjySwxg860UATFtciuZ1lpzrCHrPeov6SPu/ZD56uig="
        );
        assert_eq!(
            digest(DigestAlg::Sha3_256, "super:test"),
            "super:cRy/KPYuDpW/dtsepniTMpuiuupnWgdU9txltIfv3hA="
        );
    }

    #[test]
    fn the_super_digest_adds_a_second_id() {
        let known = Some(Str::from_static("super:YW0smZw1fP8Plz4LetS54OLjO/8="));
        let rules = AuthRules { super_digest: known, ..AuthRules::default() };
        let ids = ask(&rules, "digest", Some("super:adminpw")).unwrap();
        assert_eq!(ids.iter().map(|id| &*id.scheme).collect::<Vec<_>>(), ["super", "digest"]);
        assert_eq!(ask(&rules, "digest", None), Err(Refusal::Failed));
        assert_eq!(ask(&rules, "world", Some("")), Err(Refusal::Failed));
    }

    #[test]
    fn a_digest_that_is_switched_off_is_no_scheme_at_all() {
        let rules = AuthRules { digest: None, ..AuthRules::default() };
        assert_eq!(ask(&rules, "digest", Some("bob:pw")), Err(Refusal::Failed));
        assert!(!is_valid(&rules, "digest", "bob:x") && !matches(&rules, "digest", "bob:x", "bob:x"));
        assert!(!is_authenticated(&rules, "digest"));
        assert!(is_valid(&AuthRules::default(), "digest", "bob:x"));
    }

    #[test]
    fn a_key_is_a_multiple_of_the_number_in_its_node() {
        assert!(is_multiple(b"5", b"25") && is_multiple(b"0", b"7") && is_multiple(b"-1", b"-2147483648"));
        assert!(!is_multiple(b"5", b"7") && !is_multiple(b"five", b"25") && !is_multiple(b"5", b""));
        let rules = AuthRules { key: true, ..AuthRules::default() };
        let key = Id { scheme: Str::from_static("key"), id: Str::new() };
        assert_eq!(ask(&rules, "key", Some("any")), Ok(vec![key]));
        assert_eq!(ask(&AuthRules::default(), "key", Some("25")), Err(Refusal::Failed));
        assert!(is_valid(&rules, "key", "") && is_authenticated(&rules, "key"));
    }

    #[test]
    fn subjects_and_principals_are_taken_into_acls_where_their_schemes_are_known() {
        let rules = AuthRules { x509: true, sasl: true, ..AuthRules::default() };
        for subject in ["CN=bob", "cn=bob, O=Zoo\\, Inc.,C=CH", "1.2.840.113549.1.9.1=#16", "CN=a+OU=b", ""] {
            assert!(is_valid(&rules, "x509", subject), "{subject}");
        }
        for wrong in ["bob", "FOO=bar", "CN=a,b"] {
            assert!(!is_valid(&rules, "x509", wrong), "{wrong}");
        }
        for principal in ["bob", "bob@EXAMPLE.COM", "zk/host@EXAMPLE.COM", "a/b/c"] {
            assert!(is_valid(&rules, "sasl", principal), "{principal}");
        }
        for wrong in ["a@b@c", "a@b/c", "a/b/c@d"] {
            assert!(!is_valid(&rules, "sasl", wrong), "{wrong}");
        }
        assert!(!is_valid(&AuthRules::default(), "sasl", "bob"));
        assert!(is_authenticated(&rules, "x509") && is_authenticated(&rules, "sasl"));
    }

    #[test]
    fn an_acl_may_be_for_whoever_came_by_sasl() {
        let rules = AuthRules { sasl: true, any_sasl_user: Some("anyone".into()), ..AuthRules::default() };
        assert!(matches(&rules, "sasl", "bob", "bob") && !matches(&rules, "sasl", "bob", "ann"));
        assert!(matches(&rules, "sasl", "bob", "anyone") && matches(&rules, "sasl", "super", "ann"));
    }

    #[test]
    fn who_has_an_id_of_an_enforced_scheme_is_admitted() {
        let rules = AuthRules { enforced: vec!["digest".into(), "key".into()], ..AuthRules::default() };
        assert!(!rules.admits(&[peer()]));
        let bob = Id { scheme: Str::from_static("digest"), id: Str::from_static("bob:x") };
        assert!(rules.admits(&[peer(), bob]));
        assert!(AuthRules::default().admits(&[]));
    }

    #[test]
    fn another_ensemble_s_client_is_sent_away_without_a_word() {
        let names = |names: &[&'static str]| AuthRules {
            ensemble_names: Some(names.iter().map(|name| Str::from_static(name)).collect()),
            ..AuthRules::default()
        };
        let ours = names(&["foo", "bar"]);
        assert_eq!(ask(&ours, "ensemble", Some("bar")), Ok(vec![]));
        assert_eq!(ask(&ours, "ensemble", Some("")), Ok(vec![]));
        assert_eq!(ask(&ours, "ensemble", Some("goo")), Err(Refusal::Elsewhere));
        assert_eq!(ask(&names(&[]), "ensemble", Some("goo")), Ok(vec![]));
        assert_eq!(ask(&AuthRules::default(), "ensemble", Some("bar")), Err(Refusal::Failed));
    }

    #[test]
    fn addresses_match_by_prefix_and_only_in_version_4() {
        let rules = AuthRules::default();
        let valid = |id| is_valid(&rules, "ip", id);
        assert!(matches(&rules, "ip", "10.1.2.3", "10.1.0.0/16"));
        assert!(matches(&rules, "ip", "10.1.2.3", "0.0.0.0/0"));
        assert!(!matches(&rules, "ip", "10.2.2.3", "10.1.0.0/16"));
        assert!(!matches(&rules, "ip", "0:0:0:0:0:0:0:1", "0:0:0:0:0:0:0:1"));
        assert!(valid("010.0.0.001") && !valid("10.0.0") && !valid("10.0.0.256") && !valid("10.0.0.1."));
        assert!(!valid("10.0.0.0/33") && !valid("10.0.0.0/") && !valid("::1") && valid("10.0.0.1"));
        assert!(!valid("2001:db8::/32") && !valid("fe80:0:0:0:0:0:0:1"));
    }

    #[test]
    fn an_address_of_version_6_is_printed_as_java_prints_it() {
        assert_eq!(ip_id("::1".parse().unwrap()).id, "0:0:0:0:0:0:0:1");
    }
}
