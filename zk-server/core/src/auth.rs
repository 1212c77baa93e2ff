//! The authentication providers that need nothing but bytes: `ip`, `digest`; and the user names of all of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::net::{IpAddr, Ipv4Addr};
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

/// `user:password` -> `user:base64(SHA1(user:password))`. Without a colon all of it is the user.
pub fn digest(credentials: &str) -> String {
    let user = credentials.split(':').next().unwrap_or_default();
    format!("{user}:{}", STANDARD.encode(Sha1::digest(credentials.as_bytes())))
}

/// How an auth packet is refused; its connection ends either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The client is told, and gives up.
    Failed,
    /// The client is not told, so that it tries another server.
    Elsewhere,
}

/// The ids that an auth packet adds to its connection. `names`: see [`crate::CoreConfig::ensemble_names`].
pub fn authenticate(
    scheme: &str,
    payload: Option<&[u8]>,
    peer: &Id,
    super_digest: Option<&str>,
    names: Option<&[Str]>,
) -> Result<Vec<Id>, Refusal> {
    match (scheme, names) {
        ("ip", _) => Ok(vec![peer.clone()]),
        ("digest", _) => {
            let digest = digest(&String::from_utf8_lossy(payload.ok_or(Refusal::Failed)?));
            let mut ids = Vec::with_capacity(2);
            if Some(digest.as_str()) == super_digest {
                ids.push(Id { scheme: Str::from_static("super"), id: Str::new() });
            }
            ids.push(Id { scheme: Str::from_static("digest"), id: digest.into() });
            Ok(ids)
        }
        ("ensemble", Some(names)) => {
            let given = String::from_utf8_lossy(payload.unwrap_or_default());
            let fits = given.is_empty() || names.is_empty() || names.iter().any(|name| *name == *given);
            if fits { Ok(vec![]) } else { Err(Refusal::Elsewhere) }
        }
        _ => Err(Refusal::Failed),
    }
}

/// An id of this scheme says who somebody is, so that `auth:` stands for it; an address does not.
pub fn is_authenticated(scheme: &str) -> bool {
    scheme == "digest"
}

/// The scheme has a provider, and the provider takes the id into an ACL.
pub fn is_valid(scheme: &str, id: &str) -> bool {
    match scheme {
        "digest" => id.trim_end_matches(':').split(':').count() == 2,
        "ip" => network(id).is_some(),
        _ => false,
    }
}

/// A connection's id `have` is covered by an ACL's id `wanted` of the same scheme.
pub fn matches(scheme: &str, have: &str, wanted: &str) -> bool {
    match scheme {
        "digest" => have == wanted,
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

/// `a.b.c.d` or `a.b.c.d/bits`; leading zeros and the like as Java's integers take them.
fn network(text: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, bits) = text.split_once('/').unwrap_or((text, "32"));
    let bits = bits.parse().ok().filter(|bits| *bits <= 32)?;
    let mut octets = [0; 4];
    let mut parts = address.trim_end_matches('.').split('.');
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

    #[test]
    fn digests_are_those_of_the_real_server() {
        assert_eq!(digest("super:adminpw"), "super:YW0smZw1fP8Plz4LetS54OLjO/8=");
        assert_eq!(digest("bob:pw"), "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
    }

    #[test]
    fn the_super_digest_adds_a_second_id() {
        let peer = ip_id(IpAddr::from([127, 0, 0, 1]));
        let known = "super:YW0smZw1fP8Plz4LetS54OLjO/8=";
        let ids = authenticate("digest", Some(b"super:adminpw"), &peer, Some(known), None).unwrap();
        assert_eq!(ids.iter().map(|id| &*id.scheme).collect::<Vec<_>>(), ["super", "digest"]);
        assert_eq!(authenticate("digest", None, &peer, None, None), Err(Refusal::Failed));
        assert_eq!(authenticate("world", Some(b""), &peer, None, None), Err(Refusal::Failed));
    }

    #[test]
    fn another_ensemble_s_client_is_sent_away_without_a_word() {
        let peer = ip_id(IpAddr::from([127, 0, 0, 1]));
        let names = [Str::from_static("foo"), Str::from_static("bar")];
        let ask = |name: &'static str, names: Option<&[Str]>| {
            authenticate("ensemble", Some(name.as_bytes()), &peer, None, names)
        };
        assert_eq!(ask("bar", Some(&names)), Ok(vec![]));
        assert_eq!(ask("", Some(&names)), Ok(vec![]));
        assert_eq!(ask("goo", Some(&names)), Err(Refusal::Elsewhere));
        assert_eq!(ask("goo", Some(&[])), Ok(vec![]));
        assert_eq!(ask("bar", None), Err(Refusal::Failed));
    }

    #[test]
    fn addresses_match_by_prefix_and_only_in_version_4() {
        assert!(matches("ip", "10.1.2.3", "10.1.0.0/16"));
        assert!(matches("ip", "10.1.2.3", "0.0.0.0/0"));
        assert!(!matches("ip", "10.2.2.3", "10.1.0.0/16"));
        assert!(is_valid("ip", "010.0.0.001") && !is_valid("ip", "10.0.0") && !is_valid("ip", "10.0.0.256"));
        assert!(!is_valid("ip", "10.0.0.0/33") && !is_valid("ip", "::1") && is_valid("ip", "10.0.0.1"));
    }

    #[test]
    fn an_address_of_version_6_is_printed_as_java_prints_it() {
        assert_eq!(ip_id("::1".parse().unwrap()).id, "0:0:0:0:0:0:0:1");
    }
}
