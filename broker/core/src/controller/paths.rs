//! Where the controller's nodes are, below the chroot.

use super::TopicPartition;

/// `/controller`.
pub const CONTROLLER: &str = "/controller";
/// The epoch of the newest controller; its version fences all that controllers write.
pub const CONTROLLER_EPOCH: &str = "/controller_epoch";
pub const FEATURE: &str = "/feature";
pub const BROKERS: &str = "/brokers/ids";
pub const TOPICS: &str = "/brokers/topics";
pub const DELETIONS: &str = "/admin/delete_topics";
pub const PREFERRED_ELECTION: &str = "/admin/preferred_replica_election";
/// Reassignments as they were asked for before there was a request.
pub const REASSIGNMENTS: &str = "/admin/reassign_partitions";
pub const LOG_DIR_EVENTS: &str = "/log_dir_event_notification";
pub const ISR_CHANGES: &str = "/isr_change_notification";

pub fn topic_path(topic: &str) -> String {
    format!("{TOPICS}/{topic}")
}

pub fn partitions_path(topic: &str) -> String {
    format!("{TOPICS}/{topic}/partitions")
}

pub fn partition_path(tp: &TopicPartition) -> String {
    format!("{TOPICS}/{}/partitions/{}", tp.topic, tp.partition)
}

pub fn state_path(tp: &TopicPartition) -> String {
    format!("{TOPICS}/{}/partitions/{}/state", tp.topic, tp.partition)
}

/// All nodes of a topic whose partitions' nodes are named so, children first: what goes with its deletion, the wish for it last.
pub fn nodes_of_topic(topic: &str, partitions: &[String]) -> Vec<String> {
    let above = partitions_path(topic);
    let states = partitions.iter().map(|id| format!("{above}/{id}/state"));
    let parents = partitions.iter().map(|id| format!("{above}/{id}"));
    let rest =
        [above.clone(), topic_path(topic), format!("/config/topics/{topic}"), format!("{DELETIONS}/{topic}")];
    states.chain(parents).chain(rest).collect()
}
