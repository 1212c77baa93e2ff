//! One server: its place in the ensemble, and the single entry to everything that it decides.

use crate::acl;
use crate::config::{CoreConfig, Ensemble};
use crate::database::Database;
use crate::election::{Election, config_version};
use crate::event::{Effect, Event, LinkId, LogLevel, Now};
use crate::front::Front;
use crate::measure::Measures;
use crate::member::Member;
use crate::membership::Membership;
use crate::zab::history::History;
use crate::zab::leader::Leader;
use crate::zab::learner::Learner;
use crate::zab::links::{Links, Stage};
use crate::zab::pipeline::Pipeline;
use crate::zab::standalone::Standalone;
use crate::zab::{Over, Server, log};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use wire::zk::quorum::{Notification, PeerState, QuorumPacket};
use wire::zk::txn::Txn;
use wire::zk::{SessionId, Sid, Zxid, epoch_of, perm};

/// Learners that dial before this server knows that it leads: how many, and how many packets of each, are kept.
const EARLY_LINKS_MAX: usize = 64;
const EARLY_PACKETS_MAX: usize = 4;
/// A step that comes later than this is no ordinary delay.
const STALL_MS_MIN: u64 = 250;

/// What was found on disk at the start.
#[derive(Debug)]
pub struct Recovered {
    pub database: Database,
    /// Last zxid in the log (or of the snapshot, where the log ends before it); -1: empty and not to be trusted.
    pub last_logged: Zxid,
    /// The transactions that were replayed on top of the snapshot, in order, the last
    /// [`CoreConfig::commit_log_count`] at most and nothing from before the snapshot: it may stand behind a gap.
    /// Empty is correct, but costs learners that lag a whole snapshot.
    pub recent: Vec<Txn>,
    pub accepted_epoch: i64,
    pub current_epoch: i64,
}

/// What a server is at the moment, as `srvr` and `mntr` name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Looking,
    Standalone,
    Following { leader: Sid },
    Observing { leader: Sid },
    Leading,
}

/// Figures that only the core knows; `None` where they do not apply to the mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub mode: Mode,
    /// Clients are being served.
    pub serving: bool,
    /// They may only read: there is no quorum.
    pub read_only: bool,
    pub last_zxid: Zxid,
    /// Leader only: connected learners, and those in sync.
    pub learners: Option<usize>,
    pub synced_followers: Option<usize>,
    /// Those of the followers that have no vote.
    pub synced_non_voting: Option<usize>,
    /// Of a follower, too, that is an observer master.
    pub synced_observers: Option<usize>,
    /// Observer only: who serves it, the leader or an observer master.
    pub observer_master: Option<Sid>,
    /// Leader only: transactions that syncs wait for.
    pub pending_syncs: Option<usize>,
    /// Leader only: mono ms at which its service began; `None` before that, too.
    pub leading_since: Option<u64>,
    /// Leader only: bytes of the last, smallest and largest proposal; -1 before the first.
    pub proposal_sizes: Option<[i64; 3]>,
}

/// Whether somebody without a session, such as the admin server's user, may do all to the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Granted,
    /// Who it is cannot be told.
    Unknown,
    Denied,
}

#[derive(Debug)]
enum Role {
    /// Before the first tick.
    Starting,
    /// The leader was lost while the log was being cut: without the end of that, nothing can be said of its history.
    Cutting,
    /// Connections of learners that were faster than this server's own election wait for its end.
    Looking {
        since: u64,
        early: BTreeMap<LinkId, Vec<QuorumPacket>>,
    },
    Leading(Box<Leader>),
    Learning(Box<Learner>),
    Standalone(Box<Standalone>),
}

#[derive(Debug)]
pub struct Peer {
    server: Server,
    /// `None`: standalone.
    election: Option<Election>,
    role: Role,
    /// Mono ms of the last step.
    last_step: u64,
}

impl Peer {
    /// The first [`Event::Tick`] starts the election, or the standalone server.
    pub fn new(config: CoreConfig, recovered: Recovered) -> Peer {
        let Recovered { mut database, last_logged, recent, accepted_epoch, current_epoch } = recovered;
        if config.emulate_353 {
            database.emulate_353();
        }
        Peer {
            election: config.ensemble.is_some().then(|| Election::new(config.myid)),
            server: Server {
                front: Front::new(&config),
                members: Membership::new(&config),
                next_leader: None,
                history: History::new(database, last_logged, recent, config.commit_log_count),
                config,
                accepted_epoch,
                current_epoch,
                replacements: 0,
                has_room: true,
                gave_way: false,
                gives_way: false,
                up: vec![],
                masters_tried: 0,
                sought: BTreeMap::new(),
            },
            role: Role::Starting,
            last_step: 0,
        }
    }

    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        self.notice_stall(now, out);
        if let Err(Over(why)) = self.take(now, event, out) {
            self.leave(&why, now, out);
        }
        let established = match &self.role {
            Role::Leading(leader) => leader.established(),
            Role::Learning(learner) => learner.established(),
            _ => None,
        };
        if let (Some(epoch), Some(election)) = (established, &mut self.election) {
            election.established(epoch);
        }
    }

    /// A process that was stopped, or waited for its disk, heard nobody meanwhile: no session is to die of that. It is
    /// noticed by a step that comes long after the moment at which the last one wanted it.
    fn notice_stall(&mut self, now: Now, out: &mut Vec<Effect>) {
        let last = std::mem::replace(&mut self.last_step, now.mono);
        let least = (self.server.config.tick_ms / 2).max(STALL_MS_MIN);
        if now.mono.saturating_sub(last) <= least || matches!(self.role, Role::Starting) {
            return;
        }
        let Some(due) = self.deadline() else { return };
        let stalled = now.mono.saturating_sub(due.max(last));
        if stalled <= least {
            return;
        }
        log(
            out,
            LogLevel::Warn,
            format!("This server stood still for {stalled} ms: its sessions get as much more"),
        );
        self.server.front.measures.jvm_pause_time_ms.add(stalled);
        self.server.front.postpone(stalled);
        match &mut self.role {
            Role::Leading(leader) => leader.postpone(stalled),
            Role::Standalone(standalone) => standalone.pipeline.postpone(stalled),
            Role::Starting | Role::Cutting | Role::Looking { .. } | Role::Learning(_) => {}
        }
    }

    fn take(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) -> Result<(), Over> {
        let server = &mut self.server;
        match event {
            Event::Tick => return self.tick(now, out),
            Event::ClientOpened { conn, peer } => server.front.opened(conn, peer, now, out),
            Event::ClientIdentified { conn, ids } => server.front.identified(conn, ids),
            Event::ClientFrame { conn, frame } => {
                server.front.frame(conn, frame, now, &server.history.db, out, &mut server.up);
            }
            Event::ClientClosed { conn } => server.front.closed(conn),
            Event::Vote { from, vote } => {
                if vote.state == PeerState::Looking {
                    self.server.sought.insert(from, vote.peer_epoch);
                }
                if self.learns_members(&vote, now, out) {
                    self.look(now, out);
                    return Ok(());
                }
                let members = self.server.members.as_ref();
                let elected = self
                    .election
                    .as_mut()
                    .zip(members)
                    .and_then(|(election, members)| election.on_vote(from, &vote, members, now, out));
                return self.elected(elected, now, out);
            }
            Event::LinkOpened { link, leader } => return self.on_link(link, leader, now, out),
            Event::LinkClosed { link } => return self.on_link_closed(link),
            Event::DialFailed { leader } => match &mut self.role {
                Role::Learning(learner) if learner.master() == leader => return learner.on_dial_failed(now),
                _ => {}
            },
            Event::LinkPacket { link, packet } => return self.on_packet(link, packet, now, out),
            Event::LinkSnapshot { link, database } => {
                if let Role::Learning(learner) = &mut self.role {
                    return learner.on_snapshot(link, *database, server, now, out);
                }
            }
            Event::LinkProgress { link } => match &mut self.role {
                Role::Leading(leader) => leader.on_progress(link, now),
                Role::Learning(learner) => learner.on_progress(link, now),
                _ => {}
            },
            Event::SnapshotSent { link } => match &mut self.role {
                Role::Leading(leader) => leader.on_snapshot_sent(link, &self.server, now, out),
                Role::Learning(learner) => learner.on_snapshot_sent(link, &self.server, now, out),
                _ => {}
            },
            Event::Restored { database } => self.restore(*database, now, out),
            Event::SnapshotSaved => {
                if let Role::Learning(learner) = &mut self.role {
                    return learner.on_snapshot_saved(server, now, out);
                }
            }
            Event::Durable { zxid } => {
                server.history.on_durable(zxid);
                return match &mut self.role {
                    Role::Leading(leader) => leader.on_durable(server, now, out),
                    Role::Learning(learner) => learner.on_durable(zxid, server, now, out),
                    Role::Standalone(standalone) => standalone.on_durable(server, now, out),
                    Role::Starting | Role::Cutting | Role::Looking { .. } => Ok(()),
                };
            }
            Event::DiskSpace { enough } => {
                server.has_room = enough;
                server.gave_way &= !enough;
            }
            Event::Oracle { grants } => {
                if let Some(members) = &mut server.members {
                    members.set_oracle(grants);
                }
                let election = self.election.as_mut().zip(self.server.members.as_ref());
                let elected = election.and_then(|(election, members)| election.recount(members, now, out));
                return self.elected(elected, now, out);
            }
            Event::Truncated { database } => match &mut self.role {
                Role::Learning(learner) => return learner.on_truncated(*database, server, now, out),
                Role::Cutting => {
                    let before = server.history.truncated(server.adopt(*database));
                    out.push(Effect::Discard { database: Box::new(before) });
                    server.replacements += 1;
                    self.look(now, out);
                    return Ok(());
                }
                _ => {}
            },
        }
        self.serve_front(now, out)
    }

    /// Hands what the front has asked for to whoever orders it.
    fn serve_front(&mut self, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        match &mut self.role {
            Role::Leading(leader) => leader.serve_front(&mut self.server, now, out),
            Role::Standalone(standalone) => standalone.serve_front(&mut self.server, now, out),
            Role::Learning(learner) => {
                learner.serve_front(&mut self.server, out);
                Ok(())
            }
            Role::Starting | Role::Cutting | Role::Looking { .. } => {
                self.server.up.clear();
                Ok(())
            }
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        self.server.front.tick(now, &self.server.history.db, out);
        match &mut self.role {
            Role::Starting => {
                self.server.front.measures.unserved(now);
                self.start(now, out);
                Ok(())
            }
            Role::Cutting => Ok(()),
            Role::Looking { since, .. } => {
                let after = self.server.config.read_only_after_ms;
                if after.is_some_and(|ms| *since + ms <= now.mono) && !self.server.front.is_read_only() {
                    log(
                        out,
                        LogLevel::Info,
                        "Starting ReadOnlyZooKeeperServer: read-only clients are served",
                    );
                    self.server.front.serve_read_only(now, out);
                }
                let election = self.election.as_mut().zip(self.server.members.as_ref());
                let elected = election.and_then(|(election, members)| election.tick(members, now, out));
                self.elected(elected, now, out)
            }
            Role::Leading(leader) => leader.tick(&mut self.server, now, out),
            Role::Learning(learner) => learner.tick(&self.server, now, out),
            Role::Standalone(standalone) => standalone.tick(&mut self.server, now, out),
        }
    }

    fn start(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.election.is_none() {
            self.role = Role::Standalone(Box::new(Standalone::new(&mut self.server, now, out)));
            return;
        }
        // A history that reaches into an epoch has that epoch's beginning: only the note of it was lost.
        let epoch = epoch_of(self.server.history.last_logged().max(0));
        if self.server.current_epoch < epoch {
            self.server.store_current_epoch(epoch, out);
        }
        if self.server.accepted_epoch < self.server.current_epoch {
            let epoch = self.server.current_epoch;
            self.server.store_accepted_epoch(epoch, out);
        }
        self.look(now, out);
    }

    fn look(&mut self, now: Now, out: &mut Vec<Effect>) {
        log(out, LogLevel::Info, "LOOKING");
        self.server.front.measures.looking_count += 1;
        self.role = Role::Looking { since: now.mono, early: BTreeMap::new() };
        // Whoever only reads may do so before there is a leader.
        self.server.publish_config(now);
        // Whoever is elected with less than a learner has, learns that from its ACKEPOCH, and gives up.
        let (last, epoch) = match std::mem::take(&mut self.server.gives_way) {
            true => (0, 0),
            false => (self.server.history.last_logged(), self.server.current_epoch),
        };
        let election = self.election.as_mut().zip(self.server.members.as_ref());
        let elected = election.and_then(|(election, members)| election.start(last, epoch, members, now, out));
        if let Err(Over(why)) = self.elected(elected, now, out) {
            self.leave(&why, now, out);
        }
    }

    /// The role is over: nobody is served, the whole log counts, and the search for a leader starts again.
    fn leave(&mut self, why: &str, now: Now, out: &mut Vec<Effect>) {
        log(out, LogLevel::Warn, why);
        let cutting = match &mut self.role {
            Role::Leading(leader) => {
                leader.shutdown(out);
                false
            }
            Role::Learning(learner) => learner.shutdown(&mut self.server, out),
            _ => false,
        };
        self.server.note_alone(true);
        self.server.front.measures.unserved(now);
        self.server.front.serve(false, now, out);
        self.server.up.clear();
        if self.server.history.fast_forward() {
            // A snapshot that goes on would hold, under its older name, what may never be committed.
            self.server.replacements += 1;
        }
        let next = self.server.next_leader.take();
        if cutting {
            log(out, LogLevel::Warn, "PeerState set to LOOKING");
            self.role = Role::Cutting;
        } else if let Some(leader) = next {
            self.follow(leader, now, out);
        } else {
            log(out, LogLevel::Warn, "PeerState set to LOOKING");
            self.look(now, out);
        }
    }

    /// The members have changed, and the change has named its leader: there is nothing to elect.
    fn follow(&mut self, leader: Sid, now: Now, out: &mut Vec<Effect>) {
        let (last, epoch) = (self.server.history.last_logged(), self.server.current_epoch);
        if let Some((election, members)) = self.election.as_mut().zip(self.server.members.as_ref()) {
            election.appoint(leader, last, epoch, members);
        }
        self.role = Role::Looking { since: now.mono, early: BTreeMap::new() };
        if let Err(Over(why)) = self.elected(Some(leader), now, out) {
            self.leave(&why, now, out);
        }
    }

    /// Whoever looks for a leader takes over members that are newer than its own: they are committed. True: they are
    /// other ones, and whatever was voted under the old ones is void.
    fn learns_members(&mut self, vote: &Notification, now: Now, out: &mut Vec<Effect>) -> bool {
        let (Role::Looking { .. }, Some(members), Some(text)) =
            (&self.role, &self.server.members, &vote.config)
        else {
            return false;
        };
        let committed = members.committed();
        let newer = |version: i64| version > committed.version;
        if !members.is_enabled() || !i64::from_str_radix(config_version(text), 16).is_ok_and(newer) {
            return false;
        }
        let read = std::str::from_utf8(text).map_err(|error| error.to_string());
        let learned = match read.and_then(|text| Ensemble::parse(text).map_err(|wrong| wrong.why)) {
            Ok(learned) => learned,
            Err(why) => {
                log(out, LogLevel::Error, format!("the members in a vote cannot be read: {why}"));
                return false;
            }
        };
        let same = learned.lines() == committed.lines();
        // Who leads is not known, and so nobody's role ends by this.
        self.server.activate_members(learned, self.server.config.myid, None, now, out);
        !same
    }

    fn elected(&mut self, leader: Option<Sid>, now: Now, out: &mut Vec<Effect>) -> Result<(), Over> {
        let (Some(leader), Role::Looking { since, early }) = (leader, &mut self.role) else { return Ok(()) };
        let (took, early) = (now.mono - *since, std::mem::take(early));
        // Those who were content with reading meet a server that does more.
        self.server.front.serve(false, now, out);
        self.server.front.measures.election_time.add(took);
        if leader == self.server.config.myid {
            log(out, LogLevel::Info, "LEADING");
            log(out, LogLevel::Info, format!("LEADING - LEADER ELECTION TOOK - {took} MS"));
            self.role = Role::Leading(Box::new(Leader::new(&mut self.server, now, out)));
            return self.admit(early, now, out);
        }
        out.extend(early.into_keys().map(|link| Effect::CloseLink { link }));
        let learner = Learner::new(leader, &mut self.server, now, out);
        let name = if learner.is_observer() { "OBSERVING" } else { "FOLLOWING" };
        log(out, LogLevel::Info, name);
        log(out, LogLevel::Info, format!("{name} - LEADER ELECTION TOOK - {took} MS"));
        self.role = Role::Learning(Box::new(learner));
        Ok(())
    }

    /// The new leader takes over the connections of learners that were there before it knew.
    fn admit(
        &mut self,
        early: BTreeMap<LinkId, Vec<QuorumPacket>>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        let Role::Leading(leader) = &mut self.role else { return Ok(()) };
        leader.start(&mut self.server, now, out)?;
        for (link, packets) in early {
            leader.on_link(link, now);
            for packet in packets {
                leader.on_packet(link, packet, &mut self.server, now, out)?;
            }
        }
        Ok(())
    }

    fn on_link(
        &mut self,
        link: LinkId,
        leader: Option<Sid>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        let taken = match (&mut self.role, leader) {
            (Role::Leading(leader), None) => {
                leader.on_link(link, now);
                true
            }
            (Role::Looking { early, .. }, None) if early.len() < EARLY_LINKS_MAX => {
                early.insert(link, vec![]);
                true
            }
            (Role::Learning(learner), Some(sid)) if learner.master() == sid => {
                learner.on_link(link, &self.server, now, out)
            }
            (Role::Learning(learner), None) => learner.on_observer(link, now),
            _ => false,
        };
        if !taken {
            out.push(Effect::CloseLink { link });
        }
        Ok(())
    }

    fn on_link_closed(&mut self, link: LinkId) -> Result<(), Over> {
        match &mut self.role {
            Role::Leading(leader) => return leader.on_closed(link, &self.server),
            Role::Learning(learner) => return learner.on_closed(link),
            Role::Looking { early, .. } => drop(early.remove(&link)),
            Role::Starting | Role::Cutting | Role::Standalone(_) => {}
        }
        Ok(())
    }

    fn on_packet(
        &mut self,
        link: LinkId,
        packet: QuorumPacket,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), Over> {
        match &mut self.role {
            Role::Leading(leader) => leader.on_packet(link, packet, &mut self.server, now, out),
            Role::Learning(learner) => learner.on_packet(link, packet, &mut self.server, now, out),
            Role::Looking { early, .. } => {
                let Some(packets) = early.get_mut(&link) else { return Ok(()) };
                packets.push(packet);
                if packets.len() > EARLY_PACKETS_MAX {
                    early.remove(&link);
                    out.push(Effect::CloseLink { link });
                }
                Ok(())
            }
            Role::Starting | Role::Cutting | Role::Standalone(_) => Ok(()),
        }
    }

    /// [`Event::Restored`] may come: somebody is served, and nothing is under way that began with the present state.
    pub fn can_restore(&self) -> bool {
        let idle = self.server.history.pending().is_empty();
        idle && match &self.role {
            Role::Leading(leader) => leader.established().is_some() && !leader.is_streaming(),
            Role::Learning(learner) => learner.established().is_some() && !learner.is_saving(),
            Role::Standalone(_) => true,
            Role::Starting | Role::Cutting | Role::Looking { .. } => false,
        }
    }

    fn restore(&mut self, database: Database, now: Now, out: &mut Vec<Effect>) {
        let server = &mut self.server;
        let before = server.history.restored(database);
        out.push(Effect::Discard { database: Box::new(before) });
        server.replacements += 1;
        server.publish_config(now);
        match &mut self.role {
            Role::Leading(leader) => leader.restored(server, now),
            Role::Standalone(standalone) => standalone.pipeline.restored(server, now),
            _ => {}
        }
    }

    /// The last transaction that is applied and on stable storage.
    pub fn last_safe(&self) -> Zxid {
        self.server.history.durable().min(self.server.history.db.last_zxid())
    }

    /// The moment (mono ms) at which [`Event::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<u64> {
        let role = match &self.role {
            Role::Starting => Some(0),
            Role::Cutting => None,
            Role::Looking { since, .. } => {
                let waits =
                    self.server.config.read_only_after_ms.filter(|_| !self.server.front.is_read_only());
                let election = self.election.as_ref().and_then(Election::deadline);
                [election, waits.map(|ms| since + ms)].into_iter().flatten().min()
            }
            Role::Leading(leader) => Some(leader.deadline()),
            Role::Learning(learner) => Some(learner.deadline(&self.server)),
            Role::Standalone(standalone) => Some(standalone.deadline()),
        };
        [role, self.server.front.deadline()].into_iter().flatten().min()
    }

    pub fn status(&self) -> Status {
        let mut status = Status {
            mode: Mode::Looking,
            serving: false,
            read_only: false,
            last_zxid: self.server.history.db.last_zxid(),
            learners: None,
            synced_followers: None,
            synced_non_voting: None,
            synced_observers: None,
            observer_master: None,
            pending_syncs: None,
            leading_since: None,
            proposal_sizes: None,
        };
        match &self.role {
            Role::Starting | Role::Cutting | Role::Looking { .. } => {
                status.read_only = self.server.front.is_read_only();
                status.serving = status.read_only;
            }
            Role::Standalone(standalone) => {
                (status.mode, status.serving) = (Mode::Standalone, true);
                status.proposal_sizes = Some(standalone.pipeline.proposal_sizes());
            }
            Role::Learning(learner) => {
                let leader = learner.leader();
                let observes = learner.is_observer();
                status.mode = if observes { Mode::Observing { leader } } else { Mode::Following { leader } };
                status.serving = learner.established().is_some();
                status.observer_master = observes.then(|| learner.master());
                status.synced_observers = learner.observers();
            }
            Role::Leading(leader) => {
                status.mode = Mode::Leading;
                status.serving = leader.established().is_some() && self.server.config.leader_serves;
                let in_sync = |observer| {
                    let links = leader.links().values();
                    links.filter(|link| link.stage == Stage::Active && link.observer == observer).count()
                };
                let links = leader.links().values();
                let votes = |sid| self.server.members().committed().is_voter(sid);
                let voteless =
                    links.filter(|link| link.stage == Stage::Active && !link.observer && !votes(link.sid));
                status.synced_non_voting = Some(voteless.count());
                status.pending_syncs = Some(leader.pipeline().map_or(0, Pipeline::pending_syncs));
                status.leading_since = leader.pipeline().map(Pipeline::since);
                status.learners = Some(leader.links().len());
                status.synced_followers = Some(in_sync(false));
                status.synced_observers = Some(in_sync(true));
                status.proposal_sizes =
                    Some(leader.pipeline().map_or([-1; 3], |pipeline| pipeline.proposal_sizes()));
            }
        }
        status
    }

    /// Sessions by the moment (mono ms) at which they expire, as `dump` lists them. `None`: that clock is the leader's.
    pub fn expiries(&self) -> Option<&BTreeMap<u64, BTreeSet<SessionId>>> {
        let pipeline = match &self.role {
            Role::Leading(leader) => leader.pipeline()?,
            Role::Standalone(standalone) => &standalone.pipeline,
            Role::Starting | Role::Cutting | Role::Looking { .. } | Role::Learning(_) => return None,
        };
        Some(pipeline.sessions.by_deadline())
    }

    /// The members that count; `None` for a server of its own.
    pub fn ensemble(&self) -> Option<&Ensemble> {
        self.server.members.as_ref().map(Membership::committed)
    }

    /// This server decides by the oracle's word alone: it is to be asked before every step.
    pub fn decides_alone(&self) -> bool {
        let leads = matches!(self.role, Role::Leading(_));
        leads && self.server.members.as_ref().is_some_and(Membership::decides_alone)
    }

    /// What has been applied: snapshots and `mntr` are made from it.
    pub fn database(&self) -> &Database {
        &self.server.history.db
    }

    /// Which database [`Peer::database`] is: a snapshot that was begun of another one is to be given up. `None`: no
    /// snapshot may be begun now, because the disk holds another history than memory.
    pub fn snapshot_basis(&self) -> Option<u64> {
        let one = match &self.role {
            Role::Cutting => false,
            Role::Learning(learner) => learner.is_one_with_disk(),
            _ => true,
        };
        one.then_some(self.server.replacements)
    }

    /// [`Effect::SaveSnapshot`] is wanted, and nothing changes [`Peer::database`] until it is answered.
    pub fn is_saving(&self) -> bool {
        matches!(&self.role, Role::Learning(learner) if learner.is_saving())
    }

    /// [`Peer::database`] is a leader's snapshot that may show some of what has not come yet, and so is the state of no
    /// moment.
    pub fn is_fuzzy(&self) -> bool {
        matches!(&self.role, Role::Learning(learner) if learner.is_fuzzy())
    }

    /// `data` proves who it is by `scheme`, as in an auth packet; the address is where it comes from.
    pub fn admits(&self, scheme: &str, data: Option<&[u8]>, from: IpAddr) -> Admission {
        let db = &self.server.history.db;
        let ids = self.server.front.identify(scheme, data, from, db);
        let Some(ids) = ids else { return Admission::Unknown };
        let acl = db.node("/").and_then(|root| db.acl_of(root));
        let granted = acl::allows(&self.server.config.auth, acl.as_deref(), perm::ALL, &ids);
        if granted { Admission::Granted } else { Admission::Denied }
    }

    /// The ensemble as it is configured now; nobody for a standalone server.
    pub fn members(&self) -> impl Iterator<Item = (Sid, &Member)> {
        let members = self.server.members.iter().flat_map(|members| &members.committed().members);
        members.map(|(sid, member)| (*sid, member))
    }

    /// Observers in service, by the connections that they have come by.
    pub fn observers(&self) -> impl Iterator<Item = (LinkId, Sid)> {
        let links = self.learners().into_iter().flatten();
        let served = links.filter(|(_, link)| link.observer && link.stage == Stage::Active);
        served.map(|(id, link)| (*id, link.sid))
    }

    /// Who has come by this connection to learn from this server, once it has said so.
    pub fn learner(&self, link: LinkId) -> Option<Sid> {
        let link = self.learners()?.get(&link)?;
        (link.stage > Stage::Hello).then_some(link.sid)
    }

    fn learners(&self) -> Option<&Links> {
        match &self.role {
            Role::Leading(leader) => Some(leader.links()),
            Role::Learning(learner) => learner.observer_links(),
            Role::Starting | Role::Cutting | Role::Looking { .. } | Role::Standalone(_) => None,
        }
    }

    pub fn member(&self, sid: Sid) -> Option<&Member> {
        self.server.members.as_ref()?.committed().members.get(&sid)
    }

    /// What was done so far, and how long it took.
    pub fn measures(&self) -> &Measures {
        &self.server.front.measures
    }

    /// The figures of [`Peer::measures`] begin anew.
    pub fn reset_measures(&mut self) {
        self.server.front.measures.reset();
    }

    /// The clients: `dump`, `wchs` are made from it.
    pub fn front(&self) -> &Front {
        &self.server.front
    }
}

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
