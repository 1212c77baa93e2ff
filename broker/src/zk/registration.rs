//! What a broker writes when it starts: the base nodes, the cluster id, its own registration.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use zookeeper_client::Error;

use super::{RETRY_PAUSE, Zk, ZkError};

/// Nodes that every broker creates at start and finds there otherwise (recorded from 3.5.1).
const BASE_NODES: [&str; 13] = [
    "/consumers",
    "/brokers/ids",
    "/brokers/topics",
    "/config/changes",
    "/admin/delete_topics",
    "/brokers/seqid",
    "/isr_change_notification",
    "/log_dir_event_notification",
    "/config/topics",
    "/config/clients",
    "/config/users",
    "/config/brokers",
    "/config/ips",
];

/// The contents of `/brokers/ids/N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub id: i32,
    /// (listener name, security protocol, host, port) of each advertised listener.
    pub endpoints: Vec<(String, String, String, u16)>,
    pub rack: Option<String>,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// Of the node's form: 5, or 4 before `inter.broker.protocol.version` 2.7, without features.
    pub version: i32,
}

impl Registration {
    /// The node's JSON.
    pub fn json(&self) -> Vec<u8> {
        let protocols: serde_json::Map<_, _> =
            self.endpoints.iter().map(|(name, protocol, ..)| (name.clone(), json!(protocol))).collect();
        let endpoints: Vec<_> =
            self.endpoints.iter().map(|(name, _, host, port)| format!("{name}://{host}:{port}")).collect();
        let plain = self.endpoints.iter().find(|(_, protocol, ..)| protocol == "PLAINTEXT");
        let mut node = serde_json::Map::new();
        node.insert("listener_security_protocol_map".into(), protocols.into());
        node.insert("endpoints".into(), json!(endpoints));
        if let Some(rack) = &self.rack {
            node.insert("rack".into(), json!(rack));
        }
        node.insert("jmx_port".into(), json!(-1));
        if self.version >= 5 {
            node.insert("features".into(), json!({}));
        }
        node.insert("host".into(), json!(plain.map(|(_, _, host, _)| host)));
        node.insert("timestamp".into(), json!(self.timestamp.to_string()));
        node.insert("port".into(), json!(plain.map_or(-1, |(_, _, _, port)| i32::from(*port))));
        node.insert("version".into(), json!(self.version));
        serde_json::Value::Object(node).to_string().into_bytes()
    }
}

impl Zk {
    /// Creates the nodes that every broker expects.
    pub async fn make_base_nodes(&self) -> Result<(), ZkError> {
        for path in BASE_NODES {
            match self.create(path, b"").await {
                Err(error) if error.no_node() => self.make_path(path).await?,
                Err(error) if !error.node_exists() => return Err(error),
                _ => {}
            }
        }
        self.make_producer_id_node().await
    }

    /// The cluster's id, making one up for a new cluster.
    pub async fn cluster_id(&self) -> Result<String, ZkError> {
        const PATH: &str = "/cluster/id";
        if self.get(PATH).await?.is_none() {
            self.make_path("/cluster").await?;
            let node = json!({ "version": "1", "id": URL_SAFE_NO_PAD.encode(random_uuid().as_bytes()) });
            match self.create(PATH, node.to_string().as_bytes()).await {
                Err(error) if !error.node_exists() => return Err(error),
                _ => {}
            }
        }
        let bad = |problem: &str| ZkError::BadData { path: PATH.into(), problem: problem.into() };
        let (data, _) = self.get(PATH).await?.ok_or_else(|| bad("nothing: it was deleted just now"))?;
        let node = Self::json(PATH, &data)?;
        node["id"].as_str().map(str::to_owned).ok_or_else(|| bad("no id"))
    }

    /// The next generated broker id: versions of `/brokers/seqid` counted from `reserved_max`.
    pub async fn next_broker_id(&self, reserved_max: i32) -> Result<i32, ZkError> {
        Ok(self.set("/brokers/seqid", b"", None).await?.version + reserved_max)
    }

    /// Whether no other broker has these advertised listeners (`host:port`).
    ///
    /// # Errors
    ///
    /// [`ZkError::AddressTaken`] names the broker that has some of them.
    pub async fn check_addresses(&self, id: i32, own: &[String]) -> Result<(), ZkError> {
        for name in if own.is_empty() { vec![] } else { self.children("/brokers/ids").await? } {
            let Some(other) = name.parse().ok().filter(|other| *other != id) else { continue };
            let path = format!("/brokers/ids/{name}");
            let Some((data, _)) = self.get(&path).await? else { continue };
            let common = common_addresses(own, &Self::json(&path, &data)?);
            if !common.is_empty() {
                return Err(ZkError::AddressTaken { addresses: common.join(","), other });
            }
        }
        Ok(())
    }

    /// Registers the broker; its broker epoch (the node's czxid) is returned. The node is made by a
    /// transaction of create and set, so its version is 1, as Kafka's.
    pub async fn register(&self, broker: &Registration) -> Result<i64, ZkError> {
        let path = format!("/brokers/ids/{}", broker.id);
        let failed = |source| ZkError::Operation { operation: "register", path: path.clone(), source };
        let data = broker.json();
        loop {
            let mut writer = self.client.new_multi_writer();
            writer.add_create(&path, b"", &self.ephemeral(&path)).map_err(failed)?;
            writer.add_set_data(&path, &data, Some(0)).map_err(failed)?;
            match writer.commit().await.map_err(Error::from) {
                Ok(_) => {}
                Err(Error::ConnectionLoss) => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(Error::NodeExists) => {}
                Err(source) => return Err(failed(source)),
            }
            let Some(stat) = self.stat(&path).await? else { continue };
            if stat.ephemeral_owner != self.client.session_id().0 {
                return Err(ZkError::AlreadyRegistered { id: broker.id, owner: stat.ephemeral_owner });
            }
            return Ok(stat.czxid);
        }
    }
}

/// Which of these addresses a registered broker has, too.
fn common_addresses<'a>(own: &'a [String], registered: &serde_json::Value) -> Vec<&'a str> {
    let endpoints = registered["endpoints"].as_array().into_iter().flatten();
    let theirs: Vec<&str> = endpoints.filter_map(|one| Some(one.as_str()?.split_once("://")?.1)).collect();
    own.iter().map(String::as_str).filter(|address| theirs.contains(address)).collect()
}

/// A random uuid whose text form does not begin with `-` (Kafka avoids those: tools would read an
/// option).
pub fn random_uuid() -> uuid::Uuid {
    loop {
        let id = uuid::Uuid::new_v4();
        if !URL_SAFE_NO_PAD.encode(id.as_bytes()).starts_with('-') {
            return id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_reads_like_kafkas_own() {
        let broker = Registration {
            id: 1,
            endpoints: vec![("PLAINTEXT".into(), "PLAINTEXT".into(), "127.0.0.1".into(), 22101)],
            rack: None,
            timestamp: 1795253398054,
            version: 5,
        };
        let expected = concat!(
            r#"{"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"endpoints":["PLAINTEXT://127.0.0.1:22101"],"#,
            r#""jmx_port":-1,"features":{},"host":"127.0.0.1","timestamp":"1795253398054","port":22101,"version":5}"#
        );
        assert_eq!(String::from_utf8(broker.json()).unwrap(), expected);
        let before = String::from_utf8(Registration { version: 4, ..broker }.json()).unwrap();
        assert_eq!(
            before,
            expected.replace(r#""features":{},"#, "").replace(r#""version":5"#, r#""version":4"#)
        );
    }

    #[test]
    fn an_address_that_another_broker_has_is_found_under_any_name() {
        let endpoint = |name: &str, port| (name.to_owned(), "SSL".into(), "h1".into(), port);
        let other = Registration {
            id: 1,
            endpoints: vec![endpoint("IN", 9092), endpoint("OUT", 9093)],
            rack: None,
            timestamp: 0,
            version: 5,
        };
        let node: serde_json::Value = serde_json::from_slice(&other.json()).unwrap();
        let own = ["h1:9093", "h1:9094", "h2:9092", "h1:0"].map(str::to_owned);
        assert_eq!(common_addresses(&own, &node), ["h1:9093"]);
        assert!(common_addresses(&own, &json!({})).is_empty());
    }

    #[test]
    fn a_broker_without_a_plaintext_listener_registers_no_host() {
        let broker = Registration {
            id: 1,
            endpoints: vec![("IN".into(), "SSL".into(), "h".into(), 1)],
            rack: Some("r1".into()),
            timestamp: 0,
            version: 5,
        };
        let node: serde_json::Value = serde_json::from_slice(&broker.json()).unwrap();
        assert_eq!(node["host"], serde_json::Value::Null);
        assert_eq!(node["port"], -1);
        assert_eq!(node["rack"], "r1");
    }
}
