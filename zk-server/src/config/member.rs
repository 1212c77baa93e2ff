//! `server.N=host:quorumPort:electionPort[:role][;[clientHost:]clientPort]`, and the text that servers compare.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, SocketAddrV6, ToSocketAddrs};
use wire::zk::Sid;
use zk_core::config::{Ensemble, Role};

/// A host by name or address and a port. Names are resolved at each use, never kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// IPv6 addresses without brackets.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    pub fn new(host: &str, port: u16) -> HostPort {
        HostPort { host: host.into(), port }
    }

    /// Every address that the name has now. Blocks while the system's resolver is asked.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some((address, zone)) = self.host.split_once('%')
            && let Ok(address) = address.parse()
        {
            return Ok(vec![SocketAddrV6::new(address, self.port, 0, scope_id(zone)?).into()]);
        }
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

/// The index of the interface that an IPv6 address names behind its `%`, by number or by name.
fn scope_id(zone: &str) -> io::Result<u32> {
    if let Ok(index) = zone.parse() {
        return Ok(index);
    }
    let index = std::fs::read_to_string(format!("/sys/class/net/{zone}/ifindex"));
    index.ok().and_then(|index| index.trim().parse().ok()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("there is no network interface {zone}"))
    })
}

/// As Java's servers write it: IPv6 addresses in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// One `server.N` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub quorum: HostPort,
    pub election: HostPort,
    pub role: Role,
    /// Where its clients connect: from the line, or for this server from `clientPort`.
    pub client: Option<HostPort>,
    /// `client` stands on the line itself, and so in the canonical text.
    pub client_in_line: bool,
}

const FORM: &str = "host:quorumPort:electionPort[:participant|:observer][;[clientHost:]clientPort]";

impl Member {
    /// Reads a line's value; the error says what is wrong with it.
    pub fn parse(sid: Sid, spec: &str) -> Result<Member, String> {
        let wrong = || format!("`{spec}` does not have the form {FORM}");
        let mut halves = spec.split(';');
        let server = halves.next().unwrap_or_default();
        let client = halves.next().map(|client| parse_client(client, spec)).transpose()?;
        if halves.next().is_some() {
            return Err(wrong());
        }
        if server.contains('|') {
            return Err(format!(
                "Multiple address feature is disabled, but multiple addresses were specified for sid {sid}: \
                 several addresses of one server are not supported yet, write one"
            ));
        }
        let parts = split_host(server);
        let (host, quorum, election, role) = match parts[..] {
            [host, quorum, election] => (host, quorum, election, "participant"),
            [host, quorum, election, role] => (host, quorum, election, role),
            _ => return Err(wrong()),
        };
        let role = match role.trim().to_ascii_lowercase().as_str() {
            "participant" => Role::Participant,
            "observer" => Role::Observer,
            other => return Err(format!("Unrecognised peertype: {other}: write participant or observer")),
        };
        let quorum = HostPort::new(host, parse_port(host, quorum)?);
        let election = HostPort::new(host, parse_port(host, election)?);
        if quorum.port == election.port {
            return Err(format!(
                "Client and election port must be different! Please update the configuration file on server.{sid}"
            ));
        }
        Ok(Member { quorum, election, role, client_in_line: client.is_some(), client })
    }
}

fn parse_client(client: &str, spec: &str) -> Result<HostPort, String> {
    match split_host(client)[..] {
        [port] => Ok(HostPort::new("0.0.0.0", parse_port("0.0.0.0", port)?)),
        [host, port] => Ok(HostPort::new(host, parse_port(host, port)?)),
        _ => Err(format!("`{spec}` does not have the form {FORM}")),
    }
}

fn parse_port(host: &str, port: &str) -> Result<u16, String> {
    port.parse()
        .map_err(|_| format!("Address unresolved: {host}:{port} (a port is a number from 0 to 65535)"))
}

/// Splits at colons, except inside the brackets of a leading IPv6 address.
fn split_host(text: &str) -> Vec<&str> {
    if let Some((host, rest)) = text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return std::iter::once(host).chain(rest.split(':').skip(1)).collect();
    }
    text.split(':').collect()
}

/// As the canonical text has it, behind `server.N=`.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let role = match self.role {
            Role::Participant => "participant",
            Role::Observer => "observer",
        };
        write!(f, "{}:{}:{role}", self.quorum, self.election.port)?;
        match &self.client {
            Some(client) if self.client_in_line => write!(f, ";{client}"),
            _ => Ok(()),
        }
    }
}

/// The members as the core knows them, with the text that travels in votes and NEWLEADER.
pub fn ensemble(members: &BTreeMap<Sid, Member>, version: i64) -> Ensemble {
    let mut text = String::new();
    for sid in hash_order(members) {
        text += &format!("server.{sid}={}\n", members[&sid]);
    }
    text += &format!("version={version:x}");
    let roles = members.iter().map(|(sid, member)| (*sid, member.role)).collect();
    Ensemble { members: roles, text: text.into(), version }
}

/// Java's servers write the lines in the order of a `HashMap<Long, _>`: ascending until an id outgrows the table.
fn hash_order(members: &BTreeMap<Sid, Member>) -> Vec<Sid> {
    let mut slots = 16;
    while members.len() * 4 > slots * 3 {
        slots *= 2;
    }
    let slot = |sid: &Sid| {
        let hash = (*sid ^ (*sid as u64 >> 32) as i64) as u32;
        (hash ^ hash >> 16) as usize & (slots - 1)
    };
    let mut sids: Vec<Sid> = members.keys().copied().collect();
    sids.sort_by_key(slot);
    sids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(spec: &str) -> Result<String, String> {
        Member::parse(1, spec).map(|member| member.to_string())
    }

    #[test]
    fn lines_have_one_canonical_text() {
        let check = |spec: &str, text: &str| assert_eq!(canonical(spec).as_deref(), Ok(text));
        check("test-broker01:2888:3888", "test-broker01:2888:3888:participant");
        check("127.0.0.1:1:2:Observer", "127.0.0.1:1:2:observer");
        check("h:1:2;2181", "h:1:2:participant;0.0.0.0:2181");
        check("h:1:2:participant;c:2181", "h:1:2:participant;c:2181");
        check("[::1]:1:2;[::2]:3", "[::1]:1:2:participant;[::2]:3");
    }

    #[test]
    fn an_address_may_name_its_interface() {
        let resolved = |host: &str| HostPort::new(host, 2181).resolve();
        assert_eq!(resolved("0:0:0:0:0:0:0:1%7").unwrap(), ["[::1%7]:2181".parse().unwrap()]);
        assert_eq!(resolved("::1").unwrap(), ["[::1]:2181".parse().unwrap()]);
        let why = resolved("::1%nothere").unwrap_err().to_string();
        assert_eq!(why, "there is no network interface nothere");
    }

    #[test]
    fn a_wrong_line_is_told_what_is_right() {
        let check = |spec: &str, part: &str| {
            let message = canonical(spec).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        check("h:1", "does not have the form host:quorumPort:electionPort");
        check("h:1:2:participant:x", "does not have the form");
        check("h:1:2;3;4", "does not have the form");
        check("h:1:x", "Address unresolved: h:x");
        check("h:1:70000", "from 0 to 65535");
        check("h:1:2:boss", "Unrecognised peertype: boss");
        check("h:1:1", "must be different");
        check("h:1:2|i:1:2", "Multiple address feature is disabled");
    }

    #[test]
    fn the_text_of_an_ensemble_ends_in_its_version_without_a_newline() {
        let members = [3, 1, 2].map(|n| (n, Member::parse(n, &format!("h{n}:2888:3888")).unwrap()));
        let ensemble = ensemble(&members.into(), 0x1_0000_0000);
        assert_eq!(
            &*ensemble.text,
            "server.1=h1:2888:3888:participant\nserver.2=h2:2888:3888:participant\n\
             server.3=h3:2888:3888:participant\nversion=100000000"
        );
        assert_eq!(ensemble.voters().count(), 3);
    }

    #[test]
    fn ids_beyond_the_table_come_in_java_s_order() {
        let members = [1, 2, 16, 33].map(|n| (n, Member::parse(n, "h:1:2").unwrap()));
        assert_eq!(hash_order(&members.into()), [16, 1, 33, 2]);
    }
}
