//! Which ports of this machine to use.

use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::net::TcpListener;

/// How far above the usual port a free one is looked for.
const RANGE: u16 = 200;

/// Hands ports out, each once.
#[derive(Debug, Default)]
pub struct Ports {
    given: BTreeSet<u16>,
    /// What the user should know of ports that were not free.
    pub moved: Vec<String>,
}

impl Ports {
    /// The port that the user has asked for with `option`, or an error that says that it is taken.
    pub fn exactly(&mut self, port: u16, whose: &str, option: &str) -> Result<u16> {
        if !self.take(port) {
            bail!("port {port}, for {whose}, is taken by another program: choose others with {option}");
        }
        Ok(port)
    }

    /// The usual port, or the next one above it that is free. What the user would look for and not find is noted.
    pub fn near(&mut self, usual: u16, whose: &str, option: &str) -> Result<u16> {
        let port = self.any_near(usual)?;
        if port != usual && !self.given.contains(&usual) {
            self.moved.push(format!(
                "Port {usual} is taken by another program: {whose} uses {port} ({option} chooses)"
            ));
        }
        Ok(port)
    }

    /// As [`Ports::near`], for a port that only the servers themselves use.
    pub fn any_near(&mut self, usual: u16) -> Result<u16> {
        let last = usual.saturating_add(RANGE);
        (usual..=last)
            .find(|port| self.take(*port))
            .with_context(|| format!("no port from {usual} to {last} is free"))
    }

    fn take(&mut self, port: u16) -> bool {
        let free = !self.given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free {
            self.given.insert(port);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_option_that_moves_it() {
        let other = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let taken = other.local_addr().unwrap().port();
        let mut ports = Ports::default();
        let error = ports.exactly(taken, "broker 0", "--kafka-port").unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()) && error.contains("--kafka-port"), "{error}");
        let next = ports.near(taken, "broker 0", "--kafka-port").unwrap();
        assert!(next > taken);
        assert_eq!(ports.moved.len(), 1);
        assert!(ports.moved[0].contains(&format!("broker 0 uses {next}")), "{}", ports.moved[0]);
    }

    #[test]
    fn a_port_is_given_once_and_the_neighbours_move_is_not_told() {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut ports = Ports::default();
        let first = ports.any_near(free).unwrap();
        let second = ports.near(first, "server 2", "--zk-port").unwrap();
        assert!(second > first);
        assert!(ports.moved.is_empty(), "{:?}", ports.moved);
    }
}
