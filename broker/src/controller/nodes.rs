//! What the controller reads from and writes to znodes, as JSON in Kafka's own key order.

use std::collections::BTreeMap;
use std::fmt::Write;

use broker_core::MetadataVersion;
pub use broker_core::controller::paths::*;
use broker_core::controller::{Broker, Endpoint, PartitionState, TopicPartition};
use serde::Deserialize;
use serde_json::{Value, json};
use wire::Str;

use crate::zk::ZkError;

/// What `/feature` is to hold: whether features are versioned, none of which this software has.
pub fn features(protocol: MetadataVersion) -> String {
    let (status, version) = (i32::from(protocol.has_features()), protocol.feature_node());
    format!(r#"{{"features":{{}},"status":{status},"version":{version}}}"#)
}

fn bad(path: &str, problem: impl Into<String>) -> ZkError {
    ZkError::BadData { path: path.to_owned(), problem: problem.into() }
}

fn parse(path: &str, data: &[u8]) -> Result<Value, ZkError> {
    serde_json::from_slice(data).map_err(|error| bad(path, error.to_string()))
}

fn int(node: &Value, path: &str, key: &str) -> Result<i32, ZkError> {
    let value = node[key].as_i64().and_then(|value| i32::try_from(value).ok());
    value.ok_or_else(|| bad(path, format!("no {key}")))
}

fn ints(node: &Value, path: &str, key: &str) -> Result<Vec<i32>, ZkError> {
    let list = node[key].as_array().ok_or_else(|| bad(path, format!("no {key}")))?;
    let id = |value: &Value| value.as_i64().and_then(|id| i32::try_from(id).ok());
    list.iter().map(id).collect::<Option<_>>().ok_or_else(|| bad(path, format!("unreadable {key}")))
}

/// The broker in `/controller`.
pub fn controller_id(data: &[u8]) -> Result<i32, ZkError> {
    int(&parse(CONTROLLER, data)?, CONTROLLER, "brokerid")
}

pub fn controller(id: i32, now_ms: i64) -> Vec<u8> {
    let node =
        json!({ "version": 2, "brokerid": id, "timestamp": now_ms.to_string(), "kraftControllerEpoch": -1 });
    node.to_string().into_bytes()
}

/// The number in `/controller_epoch`.
pub fn controller_epoch(data: &[u8]) -> Result<i32, ZkError> {
    let text = String::from_utf8_lossy(data);
    text.trim().parse().map_err(|_| bad(CONTROLLER_EPOCH, format!("{text:?} is no number")))
}

/// What a state node says: read without a tree between, as a new controller reads those of all partitions.
#[derive(Deserialize)]
struct StateNode {
    controller_epoch: i32,
    leader: i32,
    leader_epoch: i32,
    isr: Vec<i32>,
    #[serde(default)]
    leader_recovery_state: i64,
}

/// A partition's state node; `version` is the node's own.
pub fn partition_state(path: &str, data: &[u8], version: i32) -> Result<PartitionState, ZkError> {
    let node: StateNode = serde_json::from_slice(data).map_err(|error| bad(path, error.to_string()))?;
    Ok(PartitionState {
        controller_epoch: node.controller_epoch,
        leader: node.leader,
        leader_epoch: node.leader_epoch,
        isr: node.isr,
        recovering: node.leader_recovery_state != 0,
        version,
    })
}

pub fn encode_state(state: &PartitionState) -> Vec<u8> {
    let mut node = String::with_capacity(96);
    // Writing to a string does not fail.
    let _ = write!(
        node,
        r#"{{"controller_epoch":{},"leader":{},"version":1,"leader_epoch":{},"isr":["#,
        state.controller_epoch, state.leader, state.leader_epoch
    );
    for (at, id) in state.isr.iter().enumerate() {
        let _ = write!(node, "{}{id}", if at == 0 { "" } else { "," });
    }
    node.push_str(if state.recovering { r#"],"leader_recovery_state":1}"# } else { "]}" });
    node.into_bytes()
}

/// A broker's registration; `czxid` of the node is its epoch.
pub fn broker(path: &str, data: &[u8], czxid: i64) -> Result<Broker, ZkError> {
    let node = parse(path, data)?;
    let endpoints = node["endpoints"].as_array().ok_or_else(|| bad(path, "no endpoints"))?;
    let endpoint = |text: &Value| {
        let text = text.as_str()?;
        let (listener, address) = text.split_once("://")?;
        let (host, port) = address.rsplit_once(':')?;
        let protocol = node["listener_security_protocol_map"][listener].as_str().unwrap_or(listener);
        Some(Endpoint {
            listener: listener.into(),
            security_protocol: security_protocol(protocol)?,
            host: host.trim_start_matches('[').trim_end_matches(']').into(),
            port: port.parse().ok()?,
        })
    };
    Ok(Broker {
        epoch: czxid,
        endpoints: endpoints
            .iter()
            .map(endpoint)
            .collect::<Option<_>>()
            .ok_or_else(|| bad(path, "unreadable endpoints"))?,
        rack: node["rack"].as_str().map(Str::from),
    })
}

fn security_protocol(name: &str) -> Option<i16> {
    Some(match name {
        "PLAINTEXT" => 0,
        "SSL" => 1,
        "SASL_PLAINTEXT" => 2,
        "SASL_SSL" => 3,
        _ => return None,
    })
}

/// The broker that a note under `/log_dir_event_notification` is of.
pub fn log_dir_event(path: &str, data: &[u8]) -> Result<i32, ZkError> {
    int(&parse(path, data)?, path, "broker")
}

/// The partitions in `/admin/preferred_replica_election`.
pub fn preferred_election(data: &[u8]) -> Result<Vec<TopicPartition>, ZkError> {
    partitions(PREFERRED_ELECTION, data)
}

/// The partitions that a note under `/isr_change_notification` is of.
pub fn isr_change(path: &str, data: &[u8]) -> Result<Vec<TopicPartition>, ZkError> {
    partitions(path, data)
}

fn partitions(path: &str, data: &[u8]) -> Result<Vec<TopicPartition>, ZkError> {
    let node = parse(path, data)?;
    let list = node["partitions"].as_array().ok_or_else(|| bad(path, "no partitions"))?;
    let partition = |entry: &Value| {
        let partition = entry["partition"].as_i64().and_then(|id| i32::try_from(id).ok())?;
        Some(TopicPartition { topic: entry["topic"].as_str()?.into(), partition })
    };
    list.iter().map(partition).collect::<Option<_>>().ok_or_else(|| bad(path, "unreadable partitions"))
}

/// A note of these partitions under `/isr_change_notification`.
pub fn encode_isr_change<'a>(partitions: impl Iterator<Item = &'a (Str, i32)>) -> Vec<u8> {
    let list: Vec<Value> =
        partitions.map(|(topic, partition)| json!({ "topic": &**topic, "partition": partition })).collect();
    json!({ "version": 1, "partitions": list }).to_string().into_bytes()
}

/// What the controller makes of `/feature`; `None`: it may stay. The features themselves are kept, but where the versioning
/// was off or goes off.
pub fn renewed_features(
    path: &str,
    data: &[u8],
    protocol: MetadataVersion,
) -> Result<Option<String>, ZkError> {
    let node = parse(path, data)?;
    let kept = &node["features"];
    let has_some = kept.as_object().is_some_and(|features| !features.is_empty());
    if protocol.has_features() && has_some && !features_are_off(data)? {
        // No broker of this version starts where a feature was agreed on that it does not know.
        return Ok(None);
    }
    let wanted = features(protocol);
    let same = serde_json::from_str::<Value>(&wanted).is_ok_and(|wanted| wanted == node);
    Ok((!same).then_some(wanted))
}

/// Whether `/feature` says that features are not versioned, as a controller of Kafka before 2.7 leaves it.
pub fn features_are_off(data: &[u8]) -> Result<bool, ZkError> {
    Ok(int(&parse(FEATURE, data)?, FEATURE, "status")? == 0)
}

/// The partitions in `/admin/reassign_partitions`, and the replicas that they are to have.
pub fn reassignments(data: &[u8]) -> Result<BTreeMap<TopicPartition, Vec<i32>>, ZkError> {
    let node = parse(REASSIGNMENTS, data)?;
    let list = node["partitions"].as_array().ok_or_else(|| bad(REASSIGNMENTS, "no partitions"))?;
    let one = |entry: &Value| {
        let partition = int(entry, REASSIGNMENTS, "partition")?;
        let topic = entry["topic"].as_str().ok_or_else(|| bad(REASSIGNMENTS, "no topic"))?.into();
        Ok((TopicPartition { topic, partition }, ints(entry, REASSIGNMENTS, "replicas")?))
    };
    list.iter().map(one).collect()
}

pub fn encode_reassignments(partitions: &BTreeMap<TopicPartition, Vec<i32>>) -> Vec<u8> {
    let list: Vec<Value> = partitions
        .iter()
        .map(|(tp, replicas)| json!({ "topic": &*tp.topic, "partition": tp.partition, "replicas": replicas }))
        .collect();
    json!({ "version": 1, "partitions": list }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_state_reads_and_writes_as_kafkas() {
        let text = br#"{"controller_epoch":1,"leader":2,"version":1,"leader_epoch":3,"isr":[2,1]}"#;
        let state = partition_state("/p", text, 7).unwrap();
        assert_eq!((state.leader, state.isr.as_slice(), state.version), (2, [2, 1].as_slice(), 7));
        assert_eq!(encode_state(&state), text);
        let recovering = encode_state(&PartitionState { recovering: true, ..state });
        assert!(String::from_utf8(recovering).unwrap().ends_with(r#","leader_recovery_state":1}"#));
        assert!(partition_state("/p", br#"{"leader":1}"#, 0).is_err());
    }

    #[test]
    fn notes_of_isr_changes_are_read() {
        let note = br#"{"version":1,"partitions":[{"topic":"t","partition":3},{"topic":"u","partition":0}]}"#;
        let read = isr_change("/isr_change_notification/isr_change_0000000000", note).unwrap();
        assert_eq!(
            read.iter().map(|tp| (&*tp.topic, tp.partition)).collect::<Vec<_>>(),
            [("t", 3), ("u", 0)]
        );
        let again = encode_isr_change([(Str::from("t"), 3), (Str::from("u"), 0)].iter());
        assert_eq!(again, note);
        assert!(isr_change("/n", br#"{"version":1,"partitions":[{"topic":"t"}]}"#).is_err());
    }

    #[test]
    fn features_that_an_old_controller_switched_off_are_seen() {
        let of = |text: &str| features(MetadataVersion::parse(text).unwrap());
        assert_eq!(of("3.5"), r#"{"features":{},"status":1,"version":2}"#);
        assert_eq!(of("2.8"), r#"{"features":{},"status":1,"version":1}"#);
        assert_eq!(of("2.6"), r#"{"features":{},"status":0,"version":1}"#);
        assert!(!features_are_off(of("3.5").as_bytes()).unwrap());
        let latest = MetadataVersion::LATEST;
        let renewed = |data: &str| renewed_features(FEATURE, data.as_bytes(), latest).unwrap();
        assert_eq!(renewed(&of("3.5")), None);
        assert_eq!(renewed(&of("2.6")), Some(of("3.5")));
        assert_eq!(renewed(&of("2.8")), Some(of("3.5")));
        let agreed = r#"{"features":{"x":{"max_version_level":1}},"status":1,"version":2}"#;
        assert_eq!(renewed(agreed), None);
        assert_eq!(
            renewed_features(FEATURE, agreed.as_bytes(), MetadataVersion::V2_6Iv0).unwrap(),
            Some(of("2.6"))
        );
        assert!(features_are_off(br#"{"version":1,"status":0,"features":{}}"#).unwrap());
        assert!(features_are_off(b"{}").is_err());
    }

    #[test]
    fn old_requests_for_reassignments_read_and_write_as_kafkas() {
        let text = concat!(
            r#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2]},"#,
            r#"{"topic":"t","partition":1,"replicas":[2]}]}"#
        );
        let read = reassignments(text.as_bytes()).unwrap();
        assert_eq!(read[&TopicPartition { topic: "t".into(), partition: 0 }], [1, 2]);
        assert_eq!(encode_reassignments(&read), text.as_bytes());
        assert!(reassignments(br#"{"partitions":[{"topic":"t","partition":0}]}"#).is_err());
    }

    #[test]
    fn the_controller_node_is_kafkas() {
        let text = r#"{"version":2,"brokerid":1,"timestamp":"1795253398481","kraftControllerEpoch":-1}"#;
        assert_eq!(controller(1, 1_795_253_398_481), text.as_bytes());
        assert_eq!(controller_id(text.as_bytes()).unwrap(), 1);
    }

    #[test]
    fn a_registration_of_kafkas_is_read() {
        let text = concat!(
            r#"{"listener_security_protocol_map":{"IN":"SASL_SSL"},"endpoints":["IN://[::1]:22101"],"jmx_port":-1,"#,
            r#""features":{},"host":null,"timestamp":"1","port":-1,"rack":"r1","version":5}"#
        );
        let broker = broker("/brokers/ids/1", text.as_bytes(), 99).unwrap();
        assert_eq!((broker.epoch, broker.rack.as_deref()), (99, Some("r1")));
        let endpoint = &broker.endpoints[0];
        assert_eq!((endpoint.security_protocol, &*endpoint.host, endpoint.port), (3, "::1", 22101));
    }
}
