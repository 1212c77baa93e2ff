//! The session in which ACLs are kept, where `authorizer.zookeeper.*` asks for one of the authorizer's own: at another
//! ensemble, or secured in another way. Otherwise the broker's serves.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::authorizer::Authorizer;
use crate::config::BrokerConfig;
use crate::zk::{JvmFlags, ZK_SECURITY_KEYS, Zk, ZkError, ZkSecurity, ZkSecurityError};

const PREFIX: &str = "authorizer.";
/// Where the authorizer's ensemble is.
pub const URL: &str = "authorizer.zookeeper.url";

/// Whether a key is about the authorizer's own way to ZooKeeper.
pub fn is_of_session(key: &str) -> bool {
    let own = key.strip_prefix(PREFIX);
    key == URL || own.is_some_and(|own| ZK_SECURITY_KEYS.iter().any(|(known, _)| *known == own))
}

/// Where the authorizer's session goes, and how.
#[derive(Debug, Clone)]
pub struct Elsewhere {
    connect: String,
    session_timeout: Duration,
    connection_timeout: Duration,
    security: ZkSecurity,
}

impl Elsewhere {
    /// `None`: the authorizer uses the broker's session.
    pub fn of(config: &BrokerConfig, flags: &JvmFlags) -> Result<Option<Elsewhere>, ZkSecurityError> {
        let given = config.given();
        let differs = |(key, value): (&String, &String)| match key.as_str() {
            URL => *value != config.zookeeper_connect,
            key => is_of_session(key),
        };
        if config.authorizer.is_none() || !given.iter().any(differs) {
            return Ok(None);
        }
        // Its own keys count before the broker's.
        let lookup = |key: &str| given.get(&format!("{PREFIX}{key}")).or_else(|| given.get(key)).cloned();
        let security = ZkSecurity::read(&lookup, flags)?;
        let brokers = ZkSecurity::read(&|key| given.get(key).cloned(), flags)?;
        security.check_beside(&brokers)?;
        let millis = |key: &str| {
            let own = given.get(&format!("{PREFIX}{key}")).and_then(|value| value.parse().ok());
            own.map(Duration::from_millis)
        };
        Ok(Some(Elsewhere {
            connect: given.get(URL).unwrap_or(&config.zookeeper_connect).clone(),
            session_timeout: millis("zookeeper.session.timeout.ms")
                .unwrap_or_else(|| config.millis("zookeeper.session.timeout.ms")),
            connection_timeout: millis("zookeeper.connection.timeout.ms")
                .unwrap_or_else(|| config.zookeeper_connection_timeout()),
            security,
        }))
    }

    /// A session, with the nodes that ACLs are kept in.
    pub async fn open(&self) -> Result<Zk, ZkError> {
        tracing::info!("[ACL authorizer] Connecting to zookeeper on {}", self.connect);
        let zk = Zk::connect_as(&self.connect, self.session_timeout, self.connection_timeout, &self.security)
            .await?;
        zk.make_acl_nodes().await?;
        Ok(zk)
    }
}

/// Opens another session whenever the last has ended.
pub async fn keep(elsewhere: Elsewhere, authorizer: Arc<Authorizer>, sessions: watch::Sender<Zk>) {
    loop {
        let mut states = sessions.borrow().client().state_watcher();
        while !states.changed().await.is_terminated() {}
        tracing::warn!("[ACL authorizer] The ZooKeeper session expired, opening another");
        loop {
            match elsewhere.open().await {
                Ok(zk) => {
                    authorizer.set_session(zk.clone());
                    sessions.send_replace(zk);
                    break;
                }
                Err(error) => {
                    tracing::error!("[ACL authorizer] {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Properties;

    use super::*;
    use crate::authorizer::ACL_AUTHORIZER;

    fn elsewhere(text: &str) -> Result<Option<Elsewhere>, String> {
        let text = format!("zookeeper.connect=h/k\nauthorizer.class.name={ACL_AUTHORIZER}\n{text}");
        let properties = Properties::parse("server.properties", text.as_bytes()).unwrap();
        let config = BrokerConfig::read(&properties).map_err(|error| error.to_string())?;
        Elsewhere::of(&config, &JvmFlags::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn another_ensemble_or_another_way_there_is_a_session_of_the_authorizers_own() {
        assert!(elsewhere("").unwrap().is_none());
        assert!(elsewhere("authorizer.zookeeper.url=h/k\n").unwrap().is_none());
        assert!(elsewhere("authorizer.zookeeper.session.timeout.ms=7\n").unwrap().is_none());
        let text = "authorizer.zookeeper.url=other/acls\nauthorizer.zookeeper.session.timeout.ms=7000\n";
        let other = elsewhere(text).unwrap().unwrap();
        assert_eq!((&*other.connect, other.session_timeout), ("other/acls", Duration::from_secs(7)));
        assert_eq!(other.connection_timeout, Duration::from_secs(18));
        let tls = "authorizer.zookeeper.ssl.client.enable=true\n";
        assert!(
            elsewhere(tls).unwrap_err().starts_with("zookeeper.clientCnxnSocket: TLS to ZooKeeper needs")
        );
        assert!(elsewhere("authorizer.zookeeper.other=x\n").is_err());
    }
}
