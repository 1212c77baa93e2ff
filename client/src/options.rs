//! What all clients can be told, under Java's configuration names.

use crate::error::ClientError;
use crate::security::Security;
use base::Properties;
use std::net::ToSocketAddrs;
use std::time::Duration;
use wire::Str;

/// Which client stands in log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    Admin,
    Producer,
    Consumer,
}

#[derive(Debug, Clone)]
pub struct ClientOptions {
    pub kind: ClientKind,
    /// `host:port` each.
    pub bootstrap: Vec<String>,
    pub client_id: Str,
    /// Of a consumer; stands in log lines.
    pub group_id: Option<Str>,
    pub request_timeout: Duration,
    /// How long an operation is retried in all.
    pub api_timeout: Duration,
    pub retry_backoff: Duration,
    /// Doubles with every failure, up to the second.
    pub reconnect_backoff: (Duration, Duration),
    pub setup_timeout: Duration,
    pub metadata_age_max: Duration,
    pub security: Security,
}

impl ClientOptions {
    /// Options for the brokers in `bootstrap`, `host:port` separated by commas.
    pub fn new(kind: ClientKind, bootstrap: &str, client_id: &str) -> Result<ClientOptions, ClientError> {
        Ok(ClientOptions {
            kind,
            bootstrap: parse_bootstrap(bootstrap)?,
            client_id: client_id.into(),
            group_id: None,
            request_timeout: Duration::from_secs(30),
            api_timeout: Duration::from_secs(60),
            retry_backoff: Duration::from_millis(100),
            reconnect_backoff: (Duration::from_millis(50), Duration::from_millis(1000)),
            setup_timeout: Duration::from_secs(10),
            metadata_age_max: Duration::from_secs(300),
            security: Security::default(),
        })
    }

    /// Takes the settings that are given under Java's names; `bootstrap.servers` too. Stores
    /// for TLS are read; names that are not known are passed over, as in Java.
    pub fn with(mut self, properties: &Properties) -> Result<ClientOptions, ClientError> {
        if let Some(entry) = properties.get("bootstrap.servers") {
            self.bootstrap = parse_bootstrap(&entry.value)?;
        }
        if let Some(entry) = properties.get("client.id") {
            self.client_id = entry.value.as_str().into();
        }
        let lookup = |key: &str| properties.get(key).map(|entry| entry.value.clone());
        self.security =
            Security::of_client(&lookup).map_err(|error| ClientError::Config(error.to_string()))?;
        let millis = |to: &mut Duration, key| set(properties, key, |ms: u64| *to = Duration::from_millis(ms));
        millis(&mut self.request_timeout, "request.timeout.ms")?;
        millis(&mut self.api_timeout, "default.api.timeout.ms")?;
        millis(&mut self.retry_backoff, "retry.backoff.ms")?;
        millis(&mut self.reconnect_backoff.0, "reconnect.backoff.ms")?;
        millis(&mut self.reconnect_backoff.1, "reconnect.backoff.max.ms")?;
        millis(&mut self.setup_timeout, "socket.connection.setup.timeout.ms")?;
        millis(&mut self.metadata_age_max, "metadata.max.age.ms")?;
        Ok(self)
    }

    /// Leaves out bootstrap servers whose names nobody knows, with a warning each; fails if none is left. Asks the system's
    /// resolver, and so may take a while.
    pub fn resolve(mut self) -> Result<ClientOptions, ClientError> {
        self.bootstrap.retain(|server| {
            let known = server.to_socket_addrs().is_ok_and(|mut addresses| addresses.next().is_some());
            if !known {
                let host = server.rsplit_once(':').map_or(&**server, |(host, _)| host);
                tracing::warn!(
                    target: "org.apache.kafka.clients.ClientUtils",
                    "Couldn't resolve server {server} from bootstrap.servers as DNS resolution failed for {host}"
                );
            }
            known
        });
        match self.bootstrap.is_empty() {
            true => Err(none_resolvable()),
            false => Ok(self),
        }
    }

    /// What Java puts before a client's log lines: `[Producer clientId=x] `.
    pub fn log_prefix(&self) -> String {
        let id = &self.client_id;
        match (self.kind, &self.group_id) {
            (ClientKind::Admin, _) => format!("[AdminClient clientId={id}] "),
            (ClientKind::Producer, _) => format!("[Producer clientId={id}] "),
            (ClientKind::Consumer, None) => format!("[Consumer clientId={id}, groupId=null] "),
            (ClientKind::Consumer, Some(group)) => format!("[Consumer clientId={id}, groupId={group}] "),
        }
    }
}

/// Hands over the value of `key`, if it is given, or says what is wrong with it.
pub(crate) fn set<T: std::str::FromStr>(
    properties: &Properties,
    key: &str,
    take: impl FnOnce(T),
) -> Result<(), ClientError> {
    let Some(entry) = properties.get(key) else { return Ok(()) };
    match entry.value.trim().parse() {
        Ok(value) => take(value),
        Err(_) => {
            return Err(ClientError::Config(format!(
                "Invalid value {} for configuration {key}: Not a number of type {}",
                entry.value,
                if std::mem::size_of::<T>() > 4 { "LONG" } else { "INT" }
            )));
        }
    }
    Ok(())
}

fn parse_bootstrap(servers: &str) -> Result<Vec<String>, ClientError> {
    let mut bootstrap = Vec::new();
    for server in servers.split(',').map(str::trim).filter(|server| !server.is_empty()) {
        let invalid = || ClientError::Config(format!("Invalid url in bootstrap.servers: {server}"));
        // A protocol before the address is allowed and ignored: `PLAINTEXT://host:9092`.
        let address = server.rsplit_once("//").map_or(server, |(_, address)| address);
        let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(invalid());
        }
        bootstrap.push(address.to_owned());
    }
    match bootstrap.is_empty() {
        true => Err(none_resolvable()),
        false => Ok(bootstrap),
    }
}

fn none_resolvable() -> ClientError {
    ClientError::Config("No resolvable bootstrap urls given in bootstrap.servers".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_is_a_list_of_hosts_with_ports() {
        let options = ClientOptions::new(ClientKind::Admin, "a:1, b:2,,[::1]:3", "x").unwrap();
        assert_eq!(options.bootstrap, ["a:1", "b:2", "[::1]:3"]);
        for bad in ["a", "a:", ":1", "a:x", "a:70000"] {
            let error = ClientOptions::new(ClientKind::Admin, bad, "x").unwrap_err();
            assert_eq!(error.to_string(), format!("Invalid url in bootstrap.servers: {bad}"));
        }
        assert!(ClientOptions::new(ClientKind::Admin, ",", "x").is_err());
    }

    #[test]
    fn a_protocol_that_cannot_be_spoken_is_refused_by_name() {
        let properties = Properties::parse("test", b"security.protocol=SASL_SSL").unwrap();
        let error = ClientOptions::new(ClientKind::Admin, "a:1", "x").unwrap().with(&properties).unwrap_err();
        assert!(error.to_string().contains("GSSAPI (Kerberos) is not supported"));
    }
}
