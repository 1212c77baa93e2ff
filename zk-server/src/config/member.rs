//! `server.N` lines.

use zk_core::config::Role;

/// A host by name or address and a port. Names are resolved at each use, never kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// IPv6 addresses without brackets.
    pub host: String,
    pub port: u16,
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
