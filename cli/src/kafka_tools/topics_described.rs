//! What `kafka-topics --describe` prints: a line per topic, then a line per partition.

use super::topics::Failure;
use base::Given;
use client::Admin;
use client::admin::TOPIC;
use client::cluster::{Metadata, Partition};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::Str;
use wire::kafka::ErrorCode;
use wire::kafka::describe_configs::{DescribeConfigsResource, DescribeConfigsResourceResult};
use wire::kafka::list_partition_reassignments::OngoingPartitionReassignment;

/// `config_source` of a default.
const DEFAULT_CONFIG: i8 = 5;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Report {
    All,
    Overrides,
    UnderReplicated,
    Unavailable,
    UnderMinIsr,
    AtMinIsr,
}

pub struct Describer {
    report: Report,
    metadata: Arc<Metadata>,
    configs: BTreeMap<Str, Vec<DescribeConfigsResourceResult>>,
    reassignments: BTreeMap<(Str, i32), OngoingPartitionReassignment>,
}

impl Describer {
    /// Asks for all that the lines hold.
    pub async fn ask(admin: &Admin, given: &Given, names: &[Str]) -> Result<Describer, Failure> {
        let report = match given {
            given if given.has("topics-with-overrides") => Report::Overrides,
            given if given.has("under-replicated-partitions") => Report::UnderReplicated,
            given if given.has("unavailable-partitions") => Report::Unavailable,
            given if given.has("under-min-isr-partitions") => Report::UnderMinIsr,
            given if given.has("at-min-isr-partitions") => Report::AtMinIsr,
            _ => Report::All,
        };
        let metadata = admin.metadata(Some(names)).await?;
        for topic in metadata.topics.values() {
            topic.error.ok().map_err(|code| Failure::from(client::ClientError::from(code)))?;
        }
        let resource = |name: &Str| DescribeConfigsResource {
            resource_type: TOPIC,
            resource_name: name.clone(),
            configuration_keys: None,
        };
        let mut configs = BTreeMap::new();
        for result in admin.describe_configs(names.iter().map(resource).collect(), false, false).await? {
            client::ClientError::check(result.error_code, &result.error_message)?;
            configs.insert(result.resource_name, result.configs);
        }
        Ok(Describer { report, metadata, configs, reassignments: reassignments(admin).await? })
    }

    pub fn print(&self, names: &[Str]) {
        for name in names {
            let Some(topic) = self.metadata.topics.get(name) else { continue };
            if self.report == Report::All
                || self.report == Report::Overrides && !self.overrides(name).is_empty()
            {
                println!("{}", self.topic_line(name, topic));
            }
            if self.report == Report::Overrides {
                continue;
            }
            for (index, partition) in &topic.partitions {
                if self.is_wanted(name, *index, partition) {
                    println!("{}", self.partition_line(name, *index, partition));
                }
            }
        }
    }

    /// What the lines say, as JSON: topics of which nothing is wanted are left out.
    pub fn document(&self, names: &[Str]) -> Value {
        let mut topics = Vec::new();
        for name in names {
            let Some(topic) = self.metadata.topics.get(name) else { continue };
            let partitions = topic.partitions.iter();
            let wanted: Vec<Value> = partitions
                .filter(|(index, partition)| self.is_wanted(name, **index, partition))
                .map(|(index, partition)| self.partition_document(name, *index, partition))
                .collect();
            let is_wanted = match self.report {
                Report::All => true,
                Report::Overrides => !self.overrides(name).is_empty(),
                _ => !wanted.is_empty(),
            };
            if !is_wanted {
                continue;
            }
            let first = topic.partitions.iter().next();
            let replicas = first.map_or(0, |(index, one)| self.replication_factor(name, *index, one));
            let configs: BTreeMap<&str, Option<&str>> =
                self.own(name).map(|entry| (&*entry.name, entry.value.as_deref())).collect();
            topics.push(json!({
                "topic": &**name,
                "topic_id": (!topic.id.is_zero()).then(|| topic.id.to_string()),
                "partition_count": topic.partitions.len(),
                "replication_factor": replicas,
                "configs": configs,
                "partitions": wanted,
            }));
        }
        json!({ "topics": topics })
    }

    fn partition_document(&self, name: &Str, index: i32, partition: &Partition) -> Value {
        let moving = self.reassignments.get(&(name.clone(), index));
        json!({
            "partition": index,
            "leader": (partition.leader >= 0).then_some(partition.leader),
            "replicas": partition.replicas,
            "isr": partition.isr,
            "adding_replicas": moving.map(|moving| moving.adding_replicas.clone()).unwrap_or_default(),
            "removing_replicas": moving.map(|moving| moving.removing_replicas.clone()).unwrap_or_default(),
        })
    }

    /// What is set for the topic itself.
    fn own(&self, name: &Str) -> impl Iterator<Item = &DescribeConfigsResourceResult> {
        let entries = self.configs.get(name).into_iter().flatten();
        entries.filter(|entry| !(entry.is_default || entry.config_source == DEFAULT_CONFIG))
    }

    /// `name=value` of what is not a default.
    fn overrides(&self, name: &Str) -> String {
        let shown = self
            .own(name)
            .map(|entry| format!("{}={}", entry.name, entry.value.as_deref().unwrap_or("null")));
        shown.collect::<Vec<_>>().join(",")
    }

    fn topic_line(&self, name: &Str, topic: &client::cluster::Topic) -> String {
        let id = if topic.id.is_zero() { String::new() } else { format!("\tTopicId: {}", topic.id) };
        let first = topic.partitions.iter().next();
        let replicas = first.map_or(0, |(index, partition)| self.replication_factor(name, *index, partition));
        format!(
            "Topic: {name}{id}\tPartitionCount: {}\tReplicationFactor: {replicas}\tConfigs: {}",
            topic.partitions.len(),
            self.overrides(name)
        )
    }

    /// Replicas that are being added do not count yet.
    fn replication_factor(&self, name: &Str, index: i32, partition: &Partition) -> usize {
        let adding =
            self.reassignments.get(&(name.clone(), index)).map_or(0, |ongoing| ongoing.adding_replicas.len());
        partition.replicas.len() - adding.min(partition.replicas.len())
    }

    fn is_wanted(&self, name: &Str, index: i32, partition: &Partition) -> bool {
        let min_isr = || -> usize {
            let entries = self.configs.get(name).into_iter().flatten();
            let value = entries
                .filter(|entry| entry.name == "min.insync.replicas")
                .find_map(|entry| entry.value.clone());
            value.and_then(|value| value.parse().ok()).unwrap_or(1)
        };
        let led = self.metadata.brokers.contains_key(&partition.leader);
        match self.report {
            Report::All => true,
            Report::Overrides => false,
            Report::UnderReplicated => self.replication_factor(name, index, partition) > partition.isr.len(),
            Report::Unavailable => !led,
            Report::UnderMinIsr => partition.leader < 0 || partition.isr.len() < min_isr(),
            Report::AtMinIsr => partition.isr.len() == min_isr(),
        }
    }

    fn partition_line(&self, name: &Str, index: i32, partition: &Partition) -> String {
        let list = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
        let leader = if partition.leader < 0 { "none".to_owned() } else { partition.leader.to_string() };
        let moving = self.reassignments.get(&(name.clone(), index)).map_or(String::new(), |ongoing| {
            let (adding, removing) = (list(&ongoing.adding_replicas), list(&ongoing.removing_replicas));
            format!("\tAdding Replicas: {adding}\tRemoving Replicas: {removing}")
        });
        let (replicas, isr) = (list(&partition.replicas), list(&partition.isr));
        format!(
            "\tTopic: {name}\tPartition: {index}\tLeader: {leader}\tReplicas: {replicas}\tIsr: {isr}{moving}"
        )
    }
}

/// Reassignments under way; none where the broker does not tell.
async fn reassignments(admin: &Admin) -> Result<BTreeMap<(Str, i32), OngoingPartitionReassignment>, Failure> {
    let topics = match admin.reassignments().await {
        Ok(topics) => topics,
        Err(client::ClientError::Call(client::CallError::Unsupported { .. })) => Vec::new(),
        Err(error) if error.code() == Some(ErrorCode::CLUSTER_AUTHORIZATION_FAILED) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut reassignments = BTreeMap::new();
    for topic in topics {
        for partition in topic.partitions {
            reassignments.insert((topic.name.clone(), partition.partition_index), partition);
        }
    }
    Ok(reassignments)
}
