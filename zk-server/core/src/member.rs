//! `server.N=host:quorumPort:electionPort[:role][|...][;[clientHost:]clientPort]`, and the text that servers compare.

use crate::config::Role;
use std::fmt;
use std::net::IpAddr;
use wire::zk::Sid;

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
    /// Where learners find it, and where voters do: pairs, by host. Several only with `multiAddress.enabled`.
    pub quorum: Vec<HostPort>,
    pub election: Vec<HostPort>,
    pub role: Role,
    /// Where its clients connect: from the line, or for this server from `clientPort`.
    pub client: Option<HostPort>,
    /// `client` stands on the line itself, and so in the canonical text.
    pub client_in_line: bool,
}

/// Neither other machines nor other servers of this one are told apart by such a host.
fn is_everywhere(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|at| at.is_unspecified() || at.is_loopback())
}

const FORM: &str = "host:quorumPort:electionPort[:participant|:observer][;[clientHost:]clientPort]";

impl Member {
    /// What this line and another server's both claim, as far as texts tell.
    pub fn collides(&self, other: &Member) -> Option<String> {
        let all = |member: &Member| -> Vec<HostPort> {
            let own = member.quorum.iter().chain(&member.election).chain(&member.client);
            own.filter(|at| !is_everywhere(&at.host)).cloned().collect()
        };
        let theirs = all(other);
        let both = all(self).into_iter().find(|at| theirs.contains(at))?;
        Some(format!("{both} is another server's address, too"))
    }

    /// Reads a line's value; the error says what is wrong with it. Several addresses are read whatever
    /// `multiAddress.enabled` says: [`Member::single`] is for those who do not allow them.
    pub fn parse(sid: Sid, spec: &str) -> Result<Member, String> {
        let wrong = || format!("`{spec}` does not have the form {FORM}");
        let mut halves = spec.split(';');
        let server = halves.next().unwrap_or_default();
        let client = halves.next().map(|client| parse_client(client, spec)).transpose()?;
        if halves.next().is_some() {
            return Err(wrong());
        }
        let mut addresses = Vec::new();
        let mut role = None;
        for address in server.split('|') {
            let (quorum, election, said) = parse_address(sid, address)?.ok_or_else(wrong)?;
            if let (Some(role), Some(said)) = (role, said)
                && role != said
            {
                return Err("Multiple addresses should have similar roles: participant vs observer".into());
            }
            role = role.or(said);
            addresses.push((quorum, election));
        }
        addresses.sort_by(|(a, _), (b, _)| a.host.cmp(&b.host));
        addresses.dedup();
        let (quorum, election) = addresses.into_iter().unzip();
        let role = role.unwrap_or(Role::Participant);
        Ok(Member { quorum, election, role, client_in_line: client.is_some(), client })
    }

    /// Refuses several addresses.
    pub fn single(self, sid: Sid) -> Result<Member, String> {
        match self.quorum.len() {
            0 | 1 => Ok(self),
            _ => Err(format!(
                "Multiple address feature is disabled, but multiple addresses were specified for sid {sid}: \
                 set multiAddress.enabled=true on every server"
            )),
        }
    }
}

/// One of the addresses of a server, with the role if that is said here. `None`: it has another form.
fn parse_address(sid: Sid, text: &str) -> Result<Option<(HostPort, HostPort, Option<Role>)>, String> {
    let (host, quorum, election, role) = match split_host(text)[..] {
        [host, quorum, election] => (host, quorum, election, None),
        [host, quorum, election, role] => (host, quorum, election, Some(role)),
        _ => return Ok(None),
    };
    let role = match role.map(|role| role.trim().to_ascii_lowercase()).as_deref() {
        None => None,
        Some("participant") => Some(Role::Participant),
        Some("observer") => Some(Role::Observer),
        Some(other) => return Err(format!("Unrecognised peertype: {other}: write participant or observer")),
    };
    let quorum = HostPort::new(host, parse_port(host, quorum)?);
    let election = HostPort::new(host, parse_port(host, election)?);
    if quorum.port == election.port {
        return Err(format!(
            "Client and election port must be different! Please update the configuration file on server.{sid}"
        ));
    }
    Ok(Some((quorum, election, role)))
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
        for (at, (quorum, election)) in self.quorum.iter().zip(&self.election).enumerate() {
            let bar = if at == 0 { "" } else { "|" };
            write!(f, "{bar}{quorum}:{}", election.port)?;
        }
        write!(f, ":{role}")?;
        match &self.client {
            Some(client) if self.client_in_line => write!(f, ";{client}"),
            _ => Ok(()),
        }
    }
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
        check("b:1:2|a:3:4:observer|b:1:2;5", "a:3:4|b:1:2:observer;0.0.0.0:5");
        check("a:3:4|b:1:2:observer;0.0.0.0:5", "a:3:4|b:1:2:observer;0.0.0.0:5");
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
        check("h:1:2|i:1", "does not have the form");
        check("h:1:2:observer|i:1:2:participant", "should have similar roles");
        let several = Member::parse(7, "h:1:2|i:1:2").unwrap().single(7).unwrap_err();
        assert!(several.contains("multiple addresses were specified for sid 7"), "{several}");
    }
}
