//! What the core needs to know of zoo.cfg. Addresses are the shell's; here servers are ids.

use std::collections::BTreeMap;
use wire::Str;
use wire::zk::Sid;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreConfig {
    /// `myid`; 1 for a standalone server, as its session ids show.
    pub myid: Sid,
    /// `None`: standalone.
    pub ensemble: Option<Ensemble>,
    /// Milliseconds.
    pub tick_ms: u64,
    /// Ticks.
    pub init_limit: u64,
    /// Ticks.
    pub sync_limit: u64,
    pub session_ms_min: i32,
    pub session_ms_max: i32,
    /// `zookeeper.DigestAuthenticationProvider.superDigest`: `super:<base64 of SHA1>`.
    pub super_digest: Option<Str>,
    pub skip_acl: bool,
    /// TTL nodes are allowed (`extendedTypesEnabled`).
    pub extended_types: bool,
    /// Hard quotas refuse what exceeds them (`enforceQuota`).
    pub enforce_quota: bool,
    /// Transactions carry the tree's digest (`digest.enabled`).
    pub digest: bool,
    /// Milliseconds of a connection's life without a session (`nio.sessionlessCnxnTimeout`).
    pub sessionless_ms: u64,
    /// Committed transactions kept in memory for DIFF (`commitLogCount`).
    pub commit_log_count: usize,
    /// Longest ustring or buffer of a request (`jute.maxbuffer` + its extra).
    pub jute_max: usize,
    pub reaping: Reaping,
    /// The names of this ensemble, one of which a client must give that uses the scheme `ensemble`
    /// (`ensembleAuthName`); empty: any will do. `None`: that scheme is not known.
    pub ensemble_names: Option<Vec<Str>>,
}

/// How containers without children and TTL nodes past their time are removed (`znode.container.*`). Milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaping {
    /// Between two looks (`checkIntervalMs`).
    pub check_ms: u64,
    /// Between two removals (60,000 / `maxPerMinute`).
    pub gap_ms: u64,
    /// Containers that never had a child are removed when they are older; 0: they stay (`maxNeverUsedIntervalMs`).
    pub never_used_ms: i64,
}

impl Default for Reaping {
    fn default() -> Reaping {
        Reaping { check_ms: 60_000, gap_ms: 6, never_used_ms: 0 }
    }
}

/// The members, and the text by which servers tell each other of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensemble {
    pub members: BTreeMap<Sid, Role>,
    /// Canonical `server.N=...` lines and `version=<hex>`: votes and NEWLEADER carry it.
    pub text: Str,
    pub version: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Participant,
    Observer,
}

impl Ensemble {
    pub fn is_voter(&self, sid: Sid) -> bool {
        self.members.get(&sid) == Some(&Role::Participant)
    }

    pub fn voters(&self) -> impl Iterator<Item = Sid> + '_ {
        self.members.iter().filter(|(_, role)| **role == Role::Participant).map(|(sid, _)| *sid)
    }

    /// More than half of the voters are among `sids`.
    pub fn is_quorum(&self, sids: impl Iterator<Item = Sid>) -> bool {
        sids.filter(|sid| self.is_voter(*sid)).count() > self.voters().count() / 2
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A standalone server with the defaults.
    pub(crate) fn standalone() -> CoreConfig {
        CoreConfig {
            myid: 1,
            ensemble: None,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            session_ms_min: 4000,
            session_ms_max: 40_000,
            super_digest: Some(Str::from_static("super:YW0smZw1fP8Plz4LetS54OLjO/8=")),
            skip_acl: false,
            extended_types: true,
            enforce_quota: false,
            digest: true,
            sessionless_ms: 10_000,
            commit_log_count: 500,
            jute_max: 2_097_150,
            reaping: Reaping::default(),
            ensemble_names: None,
        }
    }
}
