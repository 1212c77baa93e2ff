//! Where another server is said to be: a name or an address, and a port. Names are resolved at every use.

use crate::config::HostPort;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::time::Duration;
use tokio::net::TcpStream;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// A host name, or an address without brackets.
    pub host: String,
    pub port: u16,
}

impl Endpoint {
    #[cfg(test)]
    pub fn new(host: impl Into<String>, port: u16) -> Endpoint {
        Endpoint { host: host.into(), port }
    }

    /// Reads `host:port` or `[v6]:port`.
    pub fn parse(text: &str) -> Option<Endpoint> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None => host,
        };
        (!host.is_empty()).then_some(Endpoint { host: host.to_owned(), port: port.parse().ok()? })
    }

    fn literal(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Every address that the name has now. Blocks while the system's resolver is asked: for the start, when nobody waits.
    pub fn resolve_blocking(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some((address, zone)) = self.host.split_once('%')
            && let Ok(address) = address.parse()
        {
            return Ok(vec![SocketAddrV6::new(address, self.port, 0, scope_id(zone)?).into()]);
        }
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }

    /// Asks the resolver anew, so that a changed `/etc/hosts` counts from the next attempt on.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some(ip) = self.literal() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        if self.host.contains('%') {
            return self.resolve_blocking();
        }
        let found: Vec<SocketAddr> =
            tokio::net::lookup_host((self.host.as_str(), self.port)).await?.collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("{}: no address", self.host)));
        }
        Ok(found)
    }

    /// As Java prints a socket address: `name/1.2.3.4:99`, `/1.2.3.4:99`, `name/<unresolved>:99`.
    pub fn shown(&self, resolved: Option<SocketAddr>) -> String {
        match (self.literal(), resolved) {
            (Some(ip), _) => format!("/{}", SocketAddr::new(ip, self.port)),
            (None, Some(at)) => format!("{}/{at}", self.host),
            (None, None) => format!("{}/<unresolved>:{}", self.host, self.port),
        }
    }

    /// Connects to the first address that answers. On failure: the address to show, and why.
    pub async fn connect(&self, within: Duration) -> Result<TcpStream, (String, io::Error)> {
        let addresses = self.resolve().await.map_err(|error| (self.shown(None), error))?;
        let mut last = None;
        for at in addresses {
            match tokio::time::timeout(within, TcpStream::connect(at)).await {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Some((at, error)),
                Err(_) => last = Some((at, io::ErrorKind::TimedOut.into())),
            }
        }
        let (at, error) = last.expect("resolve() answers with one address at least");
        Err((self.shown(Some(at)), error))
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

impl From<&HostPort> for Endpoint {
    fn from(at: &HostPort) -> Endpoint {
        Endpoint { host: at.host.clone(), port: at.port }
    }
}

/// `host:port`, an IPv6 address in brackets.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_both_kinds_of_addresses_are_read_and_printed() {
        for text in ["test-broker01:3888", "10.0.0.1:3888", "[::1]:3888"] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Endpoint::parse("nohost"), None);
        assert_eq!(Endpoint::parse(":1"), None);
        assert_eq!(Endpoint::parse("a:99999"), None);
    }

    #[test]
    fn addresses_are_shown_as_operators_know_them() {
        let name = Endpoint::new("test-broker01", 3888);
        let at = "54.180.104.155:3888".parse().ok();
        assert_eq!(name.shown(at), "test-broker01/54.180.104.155:3888");
        assert_eq!(name.shown(None), "test-broker01/<unresolved>:3888");
        assert_eq!(Endpoint::new("127.0.0.1", 1).shown(None), "/127.0.0.1:1");
    }

    #[test]
    fn an_address_may_name_its_interface() {
        let resolved = |host: &str| Endpoint::new(host, 2181).resolve_blocking();
        assert_eq!(resolved("0:0:0:0:0:0:0:1%7").unwrap(), ["[::1%7]:2181".parse().unwrap()]);
        assert_eq!(resolved("::1").unwrap(), ["[::1]:2181".parse().unwrap()]);
        let why = resolved("::1%nothere").unwrap_err().to_string();
        assert_eq!(why, "there is no network interface nothere");
    }
}
