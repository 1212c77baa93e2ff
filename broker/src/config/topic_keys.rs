//! Every topic config as 3.5.1 knows it, with the broker key that its default comes from.

use super::keys::{Key, Kind::*, Update::*, Valid::*};

/// Sorted by name.
#[rustfmt::skip]
pub static TOPIC_KEYS: &[Key] = &[
    Key { name: "cleanup.policy", kind: List, default: Some("delete"), valid: OneOf(&["compact", "delete"]), update: ClusterWide, server_key: "log.cleanup.policy", internal: false },
    Key { name: "compression.type", kind: Text, default: Some("producer"), valid: OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), update: ClusterWide, server_key: "compression.type", internal: false },
    Key { name: "delete.retention.ms", kind: Long, default: Some("86400000"), valid: AtLeast(0), update: ClusterWide, server_key: "log.cleaner.delete.retention.ms", internal: false },
    Key { name: "file.delete.delay.ms", kind: Long, default: Some("60000"), valid: AtLeast(0), update: ClusterWide, server_key: "log.segment.delete.delay.ms", internal: false },
    Key { name: "flush.messages", kind: Long, default: Some("9223372036854775807"), valid: AtLeast(1), update: ClusterWide, server_key: "log.flush.interval.messages", internal: false },
    Key { name: "flush.ms", kind: Long, default: Some("9223372036854775807"), valid: AtLeast(0), update: ClusterWide, server_key: "log.flush.interval.ms", internal: false },
    Key { name: "follower.replication.throttled.replicas", kind: List, default: Some(""), valid: Throttled, update: ClusterWide, server_key: "", internal: false },
    Key { name: "index.interval.bytes", kind: Int, default: Some("4096"), valid: AtLeast(0), update: ClusterWide, server_key: "log.index.interval.bytes", internal: false },
    Key { name: "leader.replication.throttled.replicas", kind: List, default: Some(""), valid: Throttled, update: ClusterWide, server_key: "", internal: false },
    Key { name: "local.retention.bytes", kind: Long, default: Some("-2"), valid: AtLeast(-2), update: ClusterWide, server_key: "", internal: true },
    Key { name: "local.retention.ms", kind: Long, default: Some("-2"), valid: AtLeast(-2), update: ClusterWide, server_key: "", internal: true },
    Key { name: "max.compaction.lag.ms", kind: Long, default: Some("9223372036854775807"), valid: AtLeast(1), update: ClusterWide, server_key: "log.cleaner.max.compaction.lag.ms", internal: false },
    Key { name: "max.message.bytes", kind: Int, default: Some("1048588"), valid: AtLeast(0), update: ClusterWide, server_key: "message.max.bytes", internal: false },
    Key { name: "message.downconversion.enable", kind: Boolean, default: Some("true"), valid: Any, update: ClusterWide, server_key: "log.message.downconversion.enable", internal: false },
    Key { name: "message.format.version", kind: Text, default: Some("3.0-IV1"), valid: Version, update: ClusterWide, server_key: "log.message.format.version", internal: false },
    Key { name: "message.timestamp.difference.max.ms", kind: Long, default: Some("9223372036854775807"), valid: AtLeast(0), update: ClusterWide, server_key: "log.message.timestamp.difference.max.ms", internal: false },
    Key { name: "message.timestamp.type", kind: Text, default: Some("CreateTime"), valid: OneOf(&["CreateTime", "LogAppendTime"]), update: ClusterWide, server_key: "log.message.timestamp.type", internal: false },
    Key { name: "min.cleanable.dirty.ratio", kind: Double, default: Some("0.5"), valid: Between(0.0, 1.0), update: ClusterWide, server_key: "log.cleaner.min.cleanable.ratio", internal: false },
    Key { name: "min.compaction.lag.ms", kind: Long, default: Some("0"), valid: AtLeast(0), update: ClusterWide, server_key: "log.cleaner.min.compaction.lag.ms", internal: false },
    Key { name: "min.insync.replicas", kind: Int, default: Some("1"), valid: AtLeast(1), update: ClusterWide, server_key: "min.insync.replicas", internal: false },
    Key { name: "preallocate", kind: Boolean, default: Some("false"), valid: Any, update: ClusterWide, server_key: "log.preallocate", internal: false },
    Key { name: "remote.storage.enable", kind: Boolean, default: Some("false"), valid: Any, update: ClusterWide, server_key: "", internal: true },
    Key { name: "retention.bytes", kind: Long, default: Some("-1"), valid: Any, update: ClusterWide, server_key: "log.retention.bytes", internal: false },
    Key { name: "retention.ms", kind: Long, default: Some("604800000"), valid: AtLeast(-1), update: ClusterWide, server_key: "log.retention.ms", internal: false },
    Key { name: "segment.bytes", kind: Int, default: Some("1073741824"), valid: AtLeast(14), update: ClusterWide, server_key: "log.segment.bytes", internal: false },
    Key { name: "segment.index.bytes", kind: Int, default: Some("10485760"), valid: AtLeast(4), update: ClusterWide, server_key: "log.index.size.max.bytes", internal: false },
    Key { name: "segment.jitter.ms", kind: Long, default: Some("0"), valid: AtLeast(0), update: ClusterWide, server_key: "log.roll.jitter.ms", internal: false },
    Key { name: "segment.ms", kind: Long, default: Some("604800000"), valid: AtLeast(1), update: ClusterWide, server_key: "log.roll.ms", internal: false },
    Key { name: "unclean.leader.election.enable", kind: Boolean, default: Some("false"), valid: Any, update: ClusterWide, server_key: "unclean.leader.election.enable", internal: false },
];
