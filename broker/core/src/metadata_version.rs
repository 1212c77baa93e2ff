//! Which protocol the brokers of a cluster speak among themselves: `inter.broker.protocol.version`. During a rolling
//! upgrade it stays at the old version until every broker runs the new software. Each version adds to those before it
//! what the predicates here name; which request versions go with it is told beside them.

use std::fmt;

macro_rules! versions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A version of Kafka's, in the order in which they came.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum MetadataVersion {
            $($(#[$doc])* $name,)*
        }

        impl MetadataVersion {
            /// All that 3.5.1 knows, oldest first.
            pub const ALL: &[MetadataVersion] = &[$(MetadataVersion::$name,)*];

            /// The whole name, as `2.8-IV1`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(MetadataVersion::$name => $text,)*
                }
            }
        }
    };
}

versions! {
    V0_8_0 = "0.8.0",
    V0_8_1 = "0.8.1",
    V0_8_2 = "0.8.2",
    V0_9_0 = "0.9.0",
    /// Message format 1.
    V0_10_0Iv0 = "0.10.0-IV0",
    V0_10_0Iv1 = "0.10.0-IV1",
    V0_10_1Iv0 = "0.10.1-IV0",
    V0_10_1Iv1 = "0.10.1-IV1",
    V0_10_1Iv2 = "0.10.1-IV2",
    V0_10_2Iv0 = "0.10.2-IV0",
    /// Record batches, producer ids.
    V0_11_0Iv0 = "0.11.0-IV0",
    V0_11_0Iv1 = "0.11.0-IV1",
    /// OffsetForLeaderEpoch among brokers.
    V0_11_0Iv2 = "0.11.0-IV2",
    /// A broker outlives a log directory that fails.
    V1_0Iv0 = "1.0-IV0",
    V1_1Iv0 = "1.1-IV0",
    V2_0Iv0 = "2.0-IV0",
    /// ACLs on prefixes.
    V2_0Iv1 = "2.0-IV1",
    V2_1Iv0 = "2.1-IV0",
    V2_1Iv1 = "2.1-IV1",
    /// Zstandard.
    V2_1Iv2 = "2.1-IV2",
    /// Broker epochs.
    V2_2Iv0 = "2.2-IV0",
    V2_2Iv1 = "2.2-IV1",
    /// Static members of groups.
    V2_3Iv0 = "2.3-IV0",
    V2_3Iv1 = "2.3-IV1",
    V2_4Iv0 = "2.4-IV0",
    V2_4Iv1 = "2.4-IV1",
    V2_5Iv0 = "2.5-IV0",
    V2_6Iv0 = "2.6-IV0",
    /// `/feature`.
    V2_7Iv0 = "2.7-IV0",
    /// Logs that part are seen in a Fetch.
    V2_7Iv1 = "2.7-IV1",
    /// ISR changes go through the controller.
    V2_7Iv2 = "2.7-IV2",
    /// Topic ids.
    V2_8Iv0 = "2.8-IV0",
    V2_8Iv1 = "2.8-IV1",
    V3_0Iv0 = "3.0-IV0",
    V3_0Iv1 = "3.0-IV1",
    V3_1Iv0 = "3.1-IV0",
    /// Leaders from outside of the ISR say when they have recovered.
    V3_2Iv0 = "3.2-IV0",
    V3_3Iv0 = "3.3-IV0",
    V3_3Iv1 = "3.3-IV1",
    V3_3Iv2 = "3.3-IV2",
    V3_3Iv3 = "3.3-IV3",
    V3_4Iv0 = "3.4-IV0",
    V3_5Iv0 = "3.5-IV0",
    V3_5Iv1 = "3.5-IV1",
    V3_5Iv2 = "3.5-IV2",
}

use MetadataVersion::*;

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The request version of the newest step that `version` has reached; steps stand newest first, the last holds for all.
macro_rules! step {
    ($version:expr; $($from:ident => $request:literal),* ; $oldest:literal) => {
        match $version {
            $(version if version >= $from => $request,)*
            _ => $oldest,
        }
    };
}

impl MetadataVersion {
    pub const LATEST: MetadataVersion = V3_5Iv2;

    /// The version that a text stands for: `3.5` and `3.5.1` are 3.5-IV2, `0.10.0.1` is 0.10.0-IV1. What comes behind the
    /// second part, or behind the third of `0.x`, does not count.
    pub fn parse(text: &str) -> Option<MetadataVersion> {
        let parts = if text.starts_with("0.") { 3 } else { 2 };
        let end =
            text.trim_end_matches('.').match_indices('.').nth(parts - 1).map_or(text.len(), |(at, _)| at);
        let name = &text[..end];
        let named = |version: &&MetadataVersion| {
            let rest = version.name().strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        MetadataVersion::ALL.iter().rev().find(named).copied().filter(|_| !name.is_empty())
    }

    /// The newest message format: 0, 1, or 2 for record batches.
    pub fn record_version(self) -> u8 {
        match self {
            version if version < V0_10_0Iv0 => 0,
            version if version < V0_11_0Iv0 => 1,
            _ => 2,
        }
    }

    /// Followers ask where their last leader epoch ends; before, they go back to the high watermark.
    pub fn asks_for_epoch_ends(self) -> bool {
        self >= V0_11_0Iv2
    }

    /// A follower whose log has parted from the leader's hears so in the answer to its Fetch.
    pub fn truncates_on_fetch(self) -> bool {
        self >= V2_7Iv1
    }

    /// A broker goes on without a log directory that fails.
    pub fn outlives_log_dirs(self) -> bool {
        self >= V1_0Iv0
    }

    /// ACLs may be of prefixes.
    pub fn has_prefixed_acls(self) -> bool {
        self >= V2_0Iv1
    }

    pub fn has_zstd(self) -> bool {
        self >= V2_1Iv0
    }

    pub fn has_static_members(self) -> bool {
        self >= V2_3Iv0
    }

    pub fn has_features(self) -> bool {
        self >= V2_7Iv0
    }

    /// ISR changes are asked of the controller; before, leaders write them to ZooKeeper and leave notes.
    pub fn alters_by_request(self) -> bool {
        self >= V2_7Iv2
    }

    /// Topics get ids.
    pub fn has_topic_ids(self) -> bool {
        self >= V2_8Iv0
    }

    /// That a leader came from outside of the ISR is written down until it says that it is well.
    pub fn has_leader_recovery(self) -> bool {
        self >= V3_2Iv0
    }

    /// `message.format.version` means nothing any more: record batches are always written.
    pub fn ignores_message_format(self) -> bool {
        self >= V3_0Iv1
    }

    // ---- requests among brokers

    pub fn fetch(self) -> i16 {
        step!(self; V3_5Iv1 => 15, V3_5Iv0 => 14, V3_1Iv0 => 13, V2_7Iv1 => 12, V2_3Iv1 => 11, V2_1Iv2 => 10,
            V2_0Iv1 => 8, V1_1Iv0 => 7, V0_11_0Iv1 => 5, V0_11_0Iv0 => 4, V0_10_1Iv1 => 3, V0_10_0Iv0 => 2,
            V0_9_0 => 1; 0)
    }

    pub fn offset_for_leader_epoch(self) -> i16 {
        step!(self; V2_8Iv0 => 4, V2_3Iv1 => 3, V2_1Iv1 => 2, V2_0Iv0 => 1; 0)
    }

    pub fn list_offsets(self) -> i16 {
        step!(self; V3_5Iv0 => 8, V3_0Iv1 => 7, V2_8Iv0 => 6, V2_2Iv1 => 5, V2_1Iv1 => 4, V2_0Iv1 => 3,
            V0_11_0Iv0 => 2, V0_10_1Iv2 => 1; 0)
    }

    pub fn write_txn_markers(self) -> i16 {
        step!(self; V2_8Iv0 => 1; 0)
    }

    pub fn controlled_shutdown(self) -> i16 {
        step!(self; V2_4Iv1 => 3, V2_2Iv0 => 2, V0_9_0 => 1; 0)
    }

    /// Of a partition whose topic has an id; without one it is 1 at most.
    pub fn alter_partition(self) -> i16 {
        if self.has_topic_ids() { 3 } else { 1 }
    }

    // ---- requests of the controller

    pub fn leader_and_isr(self) -> i16 {
        step!(self; V3_4Iv0 => 7, V3_2Iv0 => 6, V2_8Iv1 => 5, V2_4Iv1 => 4, V2_4Iv0 => 3, V2_2Iv0 => 2,
            V1_0Iv0 => 1; 0)
    }

    pub fn update_metadata(self) -> i16 {
        step!(self; V3_4Iv0 => 8, V2_8Iv1 => 7, V2_4Iv1 => 6, V2_2Iv0 => 5, V1_0Iv0 => 4, V0_10_2Iv0 => 3,
            V0_10_0Iv1 => 2, V0_9_0 => 1; 0)
    }

    pub fn stop_replica(self) -> i16 {
        step!(self; V3_4Iv0 => 4, V2_6Iv0 => 3, V2_4Iv1 => 2, V2_2Iv0 => 1; 0)
    }

    // ---- what is kept

    /// Of the values of offsets in `__consumer_offsets`; one with an expiry of its own is always version 1.
    pub fn offset_value(self) -> i16 {
        step!(self; V2_1Iv1 => 3, V2_1Iv0 => 2; 1)
    }

    /// Of the values of groups in `__consumer_offsets`.
    pub fn group_value(self) -> i16 {
        step!(self; V2_3Iv0 => 3, V2_1Iv0 => 2, V0_10_1Iv0 => 1; 0)
    }

    /// Of `/brokers/ids/N`; from 5 on with features.
    pub fn registration(self) -> i32 {
        step!(self; V2_7Iv0 => 5, V0_10_0Iv1 => 4; 2)
    }

    /// Of `/feature`.
    pub fn feature_node(self) -> i32 {
        step!(self; V3_3Iv0 => 2; 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_may_be_written_short_and_with_what_does_not_count() {
        let known = [
            ("3.5", "3.5-IV2"),
            ("3.5.1", "3.5-IV2"),
            ("3.5-IV1", "3.5-IV1"),
            ("0.10.0.0", "0.10.0-IV1"),
            ("0.10.1-IV0", "0.10.1-IV0"),
            ("0.9.0.1", "0.9.0"),
            ("2.8.2", "2.8-IV1"),
        ];
        for (text, version) in known {
            assert_eq!(MetadataVersion::parse(text).map(MetadataVersion::name), Some(version), "{text}");
        }
        for text in ["", "3", "3.", "3.5.", "4.7", "0.10", "0.9", "3.5-IV", "x", "."] {
            assert_eq!(MetadataVersion::parse(text), None, "{text}");
        }
        for version in MetadataVersion::ALL {
            assert_eq!(MetadataVersion::parse(version.name()), Some(*version));
        }
    }

    #[test]
    fn versions_of_requests_never_fall_and_end_at_the_newest() {
        type Of = fn(MetadataVersion) -> i16;
        let requests: [(Of, i16); 11] = [
            (MetadataVersion::fetch, 15),
            (MetadataVersion::offset_for_leader_epoch, 4),
            (MetadataVersion::list_offsets, 8),
            (MetadataVersion::write_txn_markers, 1),
            (MetadataVersion::controlled_shutdown, 3),
            (MetadataVersion::alter_partition, 3),
            (MetadataVersion::leader_and_isr, 7),
            (MetadataVersion::update_metadata, 8),
            (MetadataVersion::stop_replica, 4),
            (MetadataVersion::offset_value, 3),
            (MetadataVersion::group_value, 3),
        ];
        for (of, newest) in requests {
            assert!(MetadataVersion::ALL.is_sorted_by_key(|version| of(*version)));
            assert_eq!(of(MetadataVersion::LATEST), newest);
        }
        assert_eq!(MetadataVersion::ALL.last(), Some(&MetadataVersion::LATEST));
    }

    #[test]
    fn what_a_cluster_of_two_eight_speaks() {
        let version = MetadataVersion::parse("2.8").unwrap();
        assert_eq!((version.fetch(), version.list_offsets(), version.offset_for_leader_epoch()), (12, 6, 4));
        assert_eq!((version.leader_and_isr(), version.update_metadata(), version.stop_replica()), (5, 7, 3));
        assert!(version.has_topic_ids() && version.alters_by_request() && !version.has_leader_recovery());
        let before = MetadataVersion::parse("2.6").unwrap();
        assert_eq!((before.fetch(), before.leader_and_isr(), before.update_metadata()), (11, 4, 6));
        assert!(!before.has_features() && !before.alters_by_request() && !before.truncates_on_fetch());
    }
}
