//! Kafka's znodes, with a text of our own inside: how they are written as JSON is tested where that is done.

pub use broker_core::controller::paths::*;
use broker_core::controller::{Assignment, Broker, Endpoint, PartitionState, Topic};
use std::collections::BTreeMap;
use std::fmt::Write;
use wire::kafka::Uuid;

fn numbers(text: &str) -> Vec<i32> {
    text.split(',').filter_map(|number| number.parse().ok()).collect()
}

fn list(numbers: &[i32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// Of a node that holds nothing else.
pub fn number(data: &[u8]) -> i32 {
    str::from_utf8(data).ok().and_then(|text| text.parse().ok()).unwrap_or(-1)
}

pub fn broker(data: &[u8], czxid: i64) -> Broker {
    let endpoint = Endpoint {
        listener: "PLAINTEXT".into(),
        security_protocol: 0,
        host: "h".into(),
        port: 9000 + number(data),
    };
    Broker { epoch: czxid, endpoints: vec![endpoint], rack: None }
}

/// `controller epoch;leader;leader epoch;isr;recovering`
pub fn encode_state(state: &PartitionState) -> Vec<u8> {
    let PartitionState { controller_epoch, leader, leader_epoch, isr, recovering, .. } = state;
    format!("{controller_epoch};{leader};{leader_epoch};{};{}", list(isr), i32::from(*recovering)).into()
}

pub fn partition_state(data: &[u8], version: i32) -> PartitionState {
    let text = String::from_utf8_lossy(data);
    let fields: Vec<&str> = text.split(';').collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok()).unwrap_or(-1);
    PartitionState {
        controller_epoch: number(0),
        leader: number(1),
        leader_epoch: number(2),
        isr: fields.get(3).map(|field| numbers(field)).unwrap_or_default(),
        recovering: number(4) == 1,
        version,
    }
}

/// `id;partition=replicas/adding/removing;…`
pub fn encode_topic(topic: &Topic) -> Vec<u8> {
    let mut text = topic.id.to_string();
    for (partition, Assignment { replicas, adding, removing }) in &topic.partitions {
        let _ = write!(text, ";{partition}={}/{}/{}", list(replicas), list(adding), list(removing));
    }
    text.into()
}

/// Partitions that nobody reassigns.
pub fn new_topic(id: Uuid, partitions: &BTreeMap<i32, Vec<i32>>) -> Topic {
    let settled = |replicas: &Vec<i32>| Assignment { replicas: replicas.clone(), ..Assignment::default() };
    Topic { id, partitions: partitions.iter().map(|(id, replicas)| (*id, settled(replicas))).collect() }
}

pub fn topic(data: &[u8]) -> Topic {
    let text = String::from_utf8_lossy(data);
    let mut fields = text.split(';');
    let id = fields.next().and_then(|id| id.parse().ok()).unwrap_or(Uuid::ZERO);
    let partition = |field: &str| {
        let (partition, lists) = field.split_once('=')?;
        let mut lists = lists.split('/').map(numbers);
        let mut next = || lists.next().unwrap_or_default();
        let (replicas, adding, removing) = (next(), next(), next());
        Some((partition.parse().ok()?, Assignment { replicas, adding, removing }))
    };
    Topic { id, partitions: fields.filter_map(partition).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let state = PartitionState {
            controller_epoch: 3,
            leader: -1,
            leader_epoch: 4,
            isr: vec![2, 1],
            recovering: true,
            version: 7,
        };
        assert_eq!(partition_state(&encode_state(&state), 7), state);
        let mut written = new_topic(Uuid([7; 16]), &BTreeMap::from([(0, vec![1, 2]), (1, vec![2])]));
        written.partitions.insert(2, Assignment::default().reassigned_to(&[3, 1]));
        written.partitions.insert(3, written.partitions[&0].reassigned_to(&[3, 1]));
        assert_eq!(topic(&encode_topic(&written)), written);
    }
}
