//! One server: its process with a core, its disk, and its clocks.

use super::disk::Disk;
use super::shell::{Sending, Snapping};
use std::collections::{BTreeMap, VecDeque};
use zk_core::config::{Ensemble, Reconfig};
use zk_core::member::Member;
use zk_core::quorums::Quorums;
use zk_core::{CoreConfig, Event, LinkId, Now, Peer};

/// Milliseconds per tick: short, so that time-outs come often.
pub const TICK_MS: u64 = 200;
pub const SESSION_MS: i32 = 3000;

#[derive(Debug)]
pub struct Node {
    pub config: CoreConfig,
    /// `None`: down.
    pub peer: Option<Peer>,
    /// Counts the starts.
    pub life: u32,
    pub disk: Disk,
    pub inbox: VecDeque<Event>,
    /// The run that is scheduled first.
    pub run_at: Option<u64>,
    /// The process does nothing before this.
    pub stalled_until: u64,
    pub slow_disk_until: u64,
    pub full_disk_until: u64,
    /// Its disk is down to the reserve.
    pub no_room_until: u64,
    /// Connections that died with the process and whose other ends do not know yet.
    pub silent: Vec<usize>,
    pub snapping: Option<Snapping>,
    /// Snapshots on their way to learners.
    pub sending: BTreeMap<LinkId, Sending>,
    pub clock: Clock,
}

/// A server's idea of time, from the world's.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub wall_offset: i64,
    pub mono_origin: u64,
    /// Monotonic milliseconds that pass in 1000 of the world's.
    pub rate: u64,
}

impl Clock {
    pub fn now(&self, world: u64) -> Now {
        let wall = 1_700_000_000_000 + world as i64 + self.wall_offset;
        Now { mono: self.mono_origin + world * self.rate / 1000, wall }
    }

    /// The first world time at which the monotonic clock shows `mono`.
    pub fn world_at(&self, mono: u64) -> u64 {
        mono.saturating_sub(self.mono_origin).saturating_mul(1000).div_ceil(self.rate)
    }
}

impl Node {
    /// These are the members at the next start, too.
    pub fn activate(&mut self, members: Ensemble) {
        let proposed = &mut self.config.reconfig.proposed;
        if proposed.as_ref().is_some_and(|proposed| proposed.version <= members.version) {
            *proposed = None;
        }
        self.config.ensemble = Some(members);
    }

    pub fn new(config: CoreConfig, clock: Clock) -> Node {
        Node {
            config,
            peer: None,
            life: 0,
            disk: Disk::default(),
            inbox: VecDeque::new(),
            run_at: None,
            stalled_until: 0,
            slow_disk_until: 0,
            full_disk_until: 0,
            no_room_until: 0,
            silent: vec![],
            snapping: None,
            sending: BTreeMap::new(),
            clock,
        }
    }
}

/// Any client may change them, down to a single voter.
pub fn let_members_change(config: &mut CoreConfig) {
    config.reconfig = Reconfig { enabled: true, standalone: false, proposed: None };
    config.auth.skip_acl = true;
}

/// The line by which a server joins.
pub fn line(sid: usize, role: &str) -> String {
    format!("server.{sid}=10.0.0.{sid}:2888:3888:{role};2181")
}

/// Members 1 to `voters` vote, those up to `servers` observe; a single server stands alone.
pub fn configs(voters: usize, servers: usize, commit_log_count: usize) -> Vec<CoreConfig> {
    let member = |sid: usize| {
        let role = if sid <= voters { "participant" } else { "observer" };
        let spec = format!("127.0.0.1:{}:{}:{role}", 2000 + sid, 3000 + sid);
        (sid as i64, Member::parse(sid as i64, &spec).expect("it has the form of a line"))
    };
    let ensemble = Ensemble::new((1..=servers).map(member).collect(), Quorums::Majority, 0);
    let config = |sid: usize| CoreConfig {
        myid: sid as i64,
        ensemble: (servers > 1).then(|| ensemble.clone()),
        tick_ms: TICK_MS,
        init_limit: 10,
        sync_limit: 5,
        session_ms_min: 400,
        session_ms_max: 20_000,
        auth: Default::default(),
        extended_types: true,
        emulate_353: false,
        enforce_quota: false,
        digest: true,
        sessionless_ms: 10_000,
        connects: Default::default(),
        requests: Default::default(),
        close_session_lists: true,
        commit_log_count,
        term_end: zk_core::config::TERM_END,
        jute_max: 0xf_ffff,
        local_sessions: Default::default(),
        read_only_after_ms: None,
        reaping: zk_core::config::Reaping::default(),
        multi_address: false,
        reconfig: Reconfig::default(),
        oracle: false,
        observer_masters: false,
        leader_serves: true,
        dialling: Default::default(),
        audit: false,
    };
    (1..=servers).map(config).collect()
}
