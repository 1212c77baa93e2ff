//! What the core needs to know of zoo.cfg.

use crate::auth::AuthRules;
use crate::member::Member;
use crate::quorums::{Quorums, hash_order};
use crate::throttle::ConnectLimits;
use std::collections::BTreeMap;
use wire::Str;
use wire::zk::{Sid, Zxid};

/// ZooKeeper's last counter of an epoch: reaching it ends the leadership.
pub const TERM_END: i64 = 0xffff_ffff;

#[derive(Debug, Clone, PartialEq)]
pub struct CoreConfig {
    /// The counter at which a leader's term ends: 0xffffffff ([`TERM_END`]), or less where terms are to be short.
    pub term_end: i64,
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
    /// Who clients may say that they are, and what they have to say.
    pub auth: AuthRules,
    /// TTL nodes are allowed (`extendedTypesEnabled`).
    pub extended_types: bool,
    /// TTL nodes that 3.5.3 wrote are taken for what they are (`emulate353TTLNodes`).
    pub emulate_353: bool,
    /// Hard quotas refuse what exceeds them (`enforceQuota`).
    pub enforce_quota: bool,
    /// Transactions carry the tree's digest (`digest.enabled`).
    pub digest: bool,
    /// Milliseconds of a connection's life without a session (`nio.sessionlessCnxnTimeout`).
    pub sessionless_ms: u64,
    /// New connections in a while (`connection_throttle_*`).
    pub connects: ConnectLimits,
    /// Requests under way (`request_throttle_*`, `throttled_op_wait_time`).
    pub requests: RequestLimits,
    /// A closeSession lists the nodes that go with it (`closeSessionTxn.enabled`).
    pub close_session_lists: bool,
    /// Committed transactions kept in memory for DIFF (`commitLogCount`).
    pub commit_log_count: usize,
    /// Longest ustring or buffer of a request (`jute.maxbuffer` + its extra).
    pub jute_max: usize,
    pub reaping: Reaping,
    /// Members may have several addresses (`multiAddress.enabled`).
    pub multi_address: bool,
    /// Followers serve observers, and an observer looks for one that does (`observerMasterPort`).
    pub observer_masters: bool,
    /// While it leads, this server serves clients, too (`leaderServes`).
    pub leader_serves: bool,
    pub dialling: Dialling,
    /// Of a member of an ensemble.
    pub local_sessions: LocalSessionRules,
    /// Milliseconds without a leader after which read-only clients are served; `None`: never (`readonlymode.enabled`).
    pub read_only_after_ms: Option<u64>,
    pub reconfig: Reconfig,
    /// Of two voters, one may decide alone where an oracle lets it ([`crate::Event::Oracle`], `oraclePath`).
    pub oracle: bool,
    /// Writes are told for the audit trail (`audit.enable`).
    pub audit: bool,
}

/// Whether new sessions are known to their server only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LocalSessionRules {
    /// `localSessionsEnabled`
    pub enabled: bool,
    /// One that makes an ephemeral node becomes a session of the ensemble (`localSessionsUpgradingEnabled`); otherwise
    /// it is refused that node.
    pub upgrading: bool,
}

/// Whether and how the members may change while servers run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconfig {
    /// `reconfigEnabled`
    pub enabled: bool,
    /// An ensemble keeps two voters (`standaloneEnabled`); otherwise one will do.
    pub standalone: bool,
    /// What was proposed and, as far as this server knows, never committed.
    pub proposed: Option<Ensemble>,
}

impl Default for Reconfig {
    fn default() -> Reconfig {
        Reconfig { enabled: false, standalone: true, proposed: None }
    }
}

/// What becomes of requests when there are too many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestLimits {
    /// Requests under way above which those that come wait for their turn; 0: no limit (`request_throttle_max_requests`).
    pub in_process_max: u64,
    /// One that waited for longer than its session's time-out ends its connection (`request_stale_latency_check` with
    /// `request_throttle_drop_stale`).
    pub drop_late: bool,
    /// Milliseconds after which one that waited is refused, -127; `None`: never (`throttled_op_wait_time`).
    pub wait_ms_max: Option<u64>,
}

/// How a learner goes about reaching its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialling {
    /// Ticks in which it has to be connected (`connectToLearnerMasterLimit`); 0: `initLimit`.
    pub limit: u64,
    /// Milliseconds between two attempts (`leaderConnectDelayDuringRetryMs`).
    pub pause_ms: u64,
}

impl Default for Dialling {
    fn default() -> Dialling {
        Dialling { limit: 0, pause_ms: 100 }
    }
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

/// The members, who of them decide, and the text by which servers tell each other of all that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensemble {
    pub members: BTreeMap<Sid, Member>,
    pub quorums: Quorums,
    /// Canonical lines, `server.N=...`, `group.N` and `weight.N`, `version=<hex>`: votes and NEWLEADER carry it.
    pub text: Str,
    pub version: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Participant,
    Observer,
}

impl Ensemble {
    pub fn new(members: BTreeMap<Sid, Member>, quorums: Quorums, version: i64) -> Ensemble {
        let mut text = String::new();
        for sid in hash_order(members.keys().copied()) {
            text += &format!("server.{sid}={}\n", members[&sid]);
        }
        text += &format!("{quorums}version={version:x}");
        Ensemble { members, quorums, text: text.into(), version }
    }

    /// The lines without the version: two with the same text are the same ensemble.
    pub fn lines(&self) -> &str {
        self.text.rsplit_once('\n').map_or("", |(lines, _)| lines)
    }

    pub fn role(&self, sid: Sid) -> Option<Role> {
        self.members.get(&sid).map(|member| member.role)
    }

    pub fn is_voter(&self, sid: Sid) -> bool {
        self.role(sid) == Some(Role::Participant)
    }

    pub fn voters(&self) -> impl Iterator<Item = Sid> + '_ {
        self.members.iter().filter(|(_, member)| member.role == Role::Participant).map(|(sid, _)| *sid)
    }

    /// `sids`, each named once, are enough to decide.
    pub fn is_quorum(&self, sids: impl Iterator<Item = Sid>) -> bool {
        let voters = sids.filter(|sid| self.is_voter(*sid));
        match &self.quorums {
            Quorums::Majority => voters.count() > self.voters().count() / 2,
            Quorums::Hierarchical(groups) => groups.is_quorum(voters),
        }
    }

    /// Whether a server of this id may be elected: one whose vote weighs nothing may not.
    pub fn may_lead(&self, sid: Sid) -> bool {
        self.is_voter(sid) && self.quorums.weight(sid) > 0
    }

    /// The largest zxid that a quorum has reached, of what each voter has.
    pub fn reached(&self, of: impl Fn(Sid) -> Zxid) -> Zxid {
        let mut all: Vec<(Zxid, Sid)> = self.voters().map(|sid| (of(sid), sid)).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let quorum = (1..=all.len()).find(|n| self.is_quorum(all[..*n].iter().map(|(_, sid)| *sid)));
        quorum.map_or(0, |n| all[n - 1].0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Servers at ports of their own.
    pub(crate) fn ensemble(voters: &[Sid], observers: &[Sid]) -> Ensemble {
        grouped(&[], voters, observers)
    }

    /// The same with lines such as `group.1=1:2`.
    pub(crate) fn grouped(lines: &[&str], voters: &[Sid], observers: &[Sid]) -> Ensemble {
        let members = members(voters, observers);
        let quorums = crate::quorums::tests::read(lines, &members).unwrap();
        Ensemble::new(members, quorums, 0)
    }

    pub(crate) fn members(voters: &[Sid], observers: &[Sid]) -> BTreeMap<Sid, Member> {
        let member = |sid: Sid, role| {
            let spec = format!("h{sid}:2888:3888:{role}");
            (sid, Member::parse(sid, &spec).expect("it has the form of a line"))
        };
        let voters = voters.iter().map(|sid| member(*sid, "participant"));
        voters.chain(observers.iter().map(|sid| member(*sid, "observer"))).collect()
    }

    #[test]
    fn what_a_quorum_has_is_the_least_of_what_its_members_have() {
        let majority = ensemble(&[1, 2, 3], &[9]);
        assert_eq!(majority.reached(|sid| [0, 5, 7, 6][sid as usize]), 6);
        let groups = grouped(&["group.1=1:2:3", "weight.1=3"], &[1, 2, 3], &[9]);
        assert_eq!(groups.reached(|sid| [0, 5, 7, 6][sid as usize]), 5);
        assert!(groups.is_quorum([1, 9].into_iter()) && !groups.is_quorum([2, 3, 9].into_iter()));
    }

    #[test]
    fn the_text_of_an_ensemble_ends_in_its_version_without_a_newline() {
        let members = [3, 1, 2].map(|n| (n, Member::parse(n, &format!("h{n}:2888:3888")).unwrap()));
        let ensemble = Ensemble::new(members.into(), Quorums::Majority, 0x1_0000_0000);
        assert_eq!(
            &*ensemble.text,
            "server.1=h1:2888:3888:participant\nserver.2=h2:2888:3888:participant\n\
             server.3=h3:2888:3888:participant\nversion=100000000"
        );
        assert_eq!(ensemble.voters().count(), 3);
    }

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
            auth: AuthRules {
                super_digest: Some(Str::from_static("super:YW0smZw1fP8Plz4LetS54OLjO/8=")),
                ..AuthRules::default()
            },
            extended_types: true,
            emulate_353: false,
            enforce_quota: false,
            digest: true,
            sessionless_ms: 10_000,
            connects: ConnectLimits::default(),
            requests: RequestLimits::default(),
            close_session_lists: true,
            commit_log_count: 500,
            term_end: TERM_END,
            jute_max: 2_097_150,
            reaping: Reaping::default(),
            multi_address: false,
            local_sessions: LocalSessionRules::default(),
            read_only_after_ms: None,
            reconfig: Reconfig::default(),
            oracle: false,
            observer_masters: false,
            leader_serves: true,
            dialling: Dialling::default(),
            audit: false,
        }
    }
}
