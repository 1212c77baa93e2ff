//! What the controller knows of the cluster, as ZooKeeper holds it.

use crate::MetadataVersion;
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;
use wire::kafka::Uuid;

/// A partition's leader when there is none.
pub const NO_LEADER: i32 = -1;
/// A partition's leader in UpdateMetadata while its topic is being deleted.
pub const LEADER_DURING_DELETE: i32 = -2;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Str,
    pub partition: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: Str,
    /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
    pub host: Str,
    pub port: i32,
}

/// `/brokers/ids/N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// The node's czxid.
    pub epoch: i64,
    pub endpoints: Vec<Endpoint>,
    pub rack: Option<Str>,
}

/// `/brokers/topics/T/partitions/P/state`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    pub controller_epoch: i32,
    /// [`NO_LEADER`], or a broker.
    pub leader: i32,
    pub leader_epoch: i32,
    pub isr: Vec<i32>,
    /// The leader was elected from outside of the ISR and has not yet said that it is well.
    pub recovering: bool,
    /// The node's data version: brokers call it the partition epoch.
    pub version: i32,
}

impl PartitionState {
    /// Whether this broker is held to have what was acknowledged while another could give it to it, so that a loss of its
    /// memory has to be seen. The last one in sync stays so whatever happened to it.
    pub fn counts_on(&self, id: i32) -> bool {
        self.isr.len() > 1 && self.isr.contains(&id)
    }
}

/// One partition in `/brokers/topics/T`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The preferred leader first. During a reassignment both the old replicas and the new.
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

impl Assignment {
    pub fn is_being_reassigned(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// The replicas that a reassignment began with; their order may have been lost.
    pub fn origin(&self) -> Vec<i32> {
        self.replicas.iter().copied().filter(|id| !self.adding.contains(id)).collect()
    }

    /// The replicas that a reassignment ends with.
    pub fn target(&self) -> Vec<i32> {
        self.replicas.iter().copied().filter(|id| !self.removing.contains(id)).collect()
    }

    /// On the way from the original replicas to others: first the target in its order, then who is to go.
    pub fn reassigned_to(&self, target: &[i32]) -> Assignment {
        let origin = self.origin();
        let mut replicas: Vec<i32> = Vec::with_capacity(target.len() + origin.len());
        for &id in target.iter().chain(&origin) {
            if !replicas.contains(&id) {
                replicas.push(id);
            }
        }
        let without = |others: &[i32]| replicas.iter().copied().filter(|id| !others.contains(id)).collect();
        Assignment { adding: without(&origin), removing: without(target), replicas }
    }
}

/// `/brokers/topics/T`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topic {
    /// Zero: none yet, as before 2.8.
    pub id: Uuid,
    pub partitions: BTreeMap<i32, Assignment>,
}

/// All that a newly elected controller reads.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub brokers: BTreeMap<i32, Broker>,
    pub topics: BTreeMap<Str, Topic>,
    pub states: BTreeMap<TopicPartition, PartitionState>,
    /// Topics whose `unclean.leader.election.enable` is on.
    pub unclean: BTreeSet<Str>,
}

#[derive(Debug, Clone)]
pub struct ControllerConfig {
    pub id: i32,
    /// The listener brokers use among themselves: leaders are named by it.
    pub listener: Str,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `leader.imbalance.per.broker.percentage`.
    pub imbalance_percent_max: u32,
    /// `inter.broker.protocol.version`.
    pub protocol: MetadataVersion,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_counts_on_who_is_in_sync_beside_others() {
        let state = |isr: &[i32]| PartitionState {
            controller_epoch: 1,
            leader: isr[0],
            leader_epoch: 0,
            isr: isr.to_vec(),
            recovering: false,
            version: 0,
        };
        assert!(state(&[1, 2]).counts_on(1) && state(&[1, 2]).counts_on(2));
        assert!(!state(&[1, 2]).counts_on(3));
        assert!(!state(&[1]).counts_on(1), "nobody else could give it what it lost");
    }
}
