//! One member's way through its group: it joins, gets its assignment, keeps its place by heartbeats, leaves or dies.
//! What it does with its partitions is its owner's business.

use super::requests::{self, Author, is_passing};
use super::{REBALANCE_MS_MAX, SESSION_MS_MAX, WORK_PARTITIONS};
use crate::cluster::broker::Request;
use crate::cluster::checks::Checks;
use crate::cluster::clients::{PATIENCE_MS, Place};
use crate::cluster::net::{Net, Party};
use broker_core::ErrorCode;
use broker_core::controller::TopicPartition;
use broker_core::group::{self, JoinContext, Response};
use bytes::Bytes;
use rand::RngExt;
use wire::Str;
use wire::kafka::join_group::{JoinGroupRequestProtocol, JoinGroupResponseMember};
use wire::kafka::leave_group::MemberIdentity;
use wire::kafka::sync_group::SyncGroupRequestAssignment;
use wire::kafka::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
    SyncGroupResponse,
};

/// How a member is, all its life.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    instance: Option<Str>,
    session_ms: i32,
    rebalance_ms: i32,
    /// Is given an id first, as all clients since 2.2.
    id_first: bool,
    can_skip_assignment: bool,
}

impl Manner {
    pub fn new(net: &mut Net, instance: Option<&str>) -> Manner {
        Manner {
            instance: instance.map(Str::from),
            session_ms: net.rng.random_range(300..=SESSION_MS_MAX as i32),
            rebalance_ms: net.rng.random_range(200..=REBALANCE_MS_MAX as i32),
            id_first: net.chance(80),
            can_skip_assignment: net.chance(50),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Out { until: u64 },
    Joining,
    Syncing,
    In,
    Leaving,
}

/// What it owns, from one assignment to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    pub author: Author,
    pub partitions: Vec<i32>,
}

impl Tenure {
    /// Of two owners of one partition, the later one's is larger.
    pub fn ticket(&self) -> (i32, u64) {
        let number = self.author.member.rsplit('-').next().and_then(|number| number.parse().ok());
        (self.author.generation, number.unwrap_or(0))
    }
}

#[derive(Debug)]
pub struct Membership {
    pub home: TopicPartition,
    manner: Manner,
    author: Author,
    phase: Phase,
    place: Option<Place>,
    call: Option<(u64, u64)>,
    beat: Option<(u64, u64)>,
    beat_at: u64,
    /// The members, where it leads.
    members: Vec<JoinGroupResponseMember>,
    protocol: Option<Str>,
    changes: u8,
    pub tenure: Option<Tenure>,
    /// The others wait for it; its owner lets it go.
    pub is_called: bool,
}

impl Membership {
    pub fn new(group: &str, home: TopicPartition, manner: Manner) -> Membership {
        let author = Author { group: group.to_owned().into(), generation: -1, ..Author::default() };
        Membership {
            home,
            author: Author { instance: manner.instance.clone(), ..author },
            manner,
            phase: Phase::Out { until: 0 },
            place: None,
            call: None,
            beat: None,
            beat_at: 0,
            members: vec![],
            protocol: None,
            changes: 0,
            tenure: None,
            is_called: false,
        }
    }

    pub fn group(&self) -> &Str {
        &self.author.group
    }

    /// Its id, where it takes itself for a member in good standing.
    pub fn settled(&self) -> Option<&Str> {
        (self.phase == Phase::In && !self.is_called).then_some(&self.author.member)
    }

    pub fn is_out(&self) -> bool {
        matches!(self.phase, Phase::Out { .. })
    }

    pub fn learn(&mut self, place: Option<Place>) {
        if let Some(place) = place
            && self.place.is_none_or(|known| known.leader_epoch <= place.leader_epoch)
        {
            self.place = Some(place);
        }
    }

    /// Asks the coordinator, if one is known.
    pub fn ask(&self, at: usize, net: &mut Net, request: group::Request) -> Option<(u64, u64)> {
        let place = self.place.filter(|place| place.leader >= 0)?;
        let patience = match &request {
            // The answer comes when all are there.
            group::Request::Join(..) => REBALANCE_MS_MAX * 2,
            group::Request::Sync(_) => PATIENCE_MS + REBALANCE_MS_MAX,
            _ => PATIENCE_MS,
        };
        let request = Request::Group(Box::new(request));
        let call = net.call(Party::Client(at), Party::Broker(place.leader), request);
        Some((call, net.now + patience))
    }

    pub fn act(&mut self, at: usize, net: &mut Net, closing: bool) {
        for call in [&mut self.call, &mut self.beat] {
            if let Some((late, _)) = call.take_if(|(_, until)| *until <= net.now) {
                net.forget(late);
            }
        }
        match self.phase {
            Phase::Out { until } if until > net.now || closing => {}
            Phase::Out { .. } => self.phase = Phase::Joining,
            Phase::In => {
                if self.beat.is_none() && self.beat_at <= net.now {
                    let Author { group, generation, member, instance } = self.author.clone();
                    let request = HeartbeatRequest {
                        group_id: group,
                        generation_id: generation,
                        member_id: member,
                        group_instance_id: instance,
                    };
                    self.beat = self.ask(at, net, group::Request::Heartbeat(request));
                    self.beat_at = net.now + self.manner.session_ms as u64 / 3;
                }
            }
            _ if self.call.is_some() => {}
            Phase::Joining => self.call = self.ask(at, net, self.join(at)),
            Phase::Syncing => {
                let request = self.sync(net);
                self.call = self.ask(at, net, request);
            }
            Phase::Leaving => {
                let Author { group, member, instance, .. } = self.author.clone();
                let leaving = MemberIdentity { member_id: member, group_instance_id: instance, reason: None };
                let request =
                    LeaveGroupRequest { group_id: group, members: vec![leaving], ..Default::default() };
                self.call = self.ask(at, net, group::Request::Leave { request, single: false });
            }
        }
    }

    fn join(&self, at: usize) -> group::Request {
        let metadata = requests::subscription(self.changes);
        let protocol = JoinGroupRequestProtocol { name: "range".into(), metadata };
        let request = JoinGroupRequest {
            group_id: self.author.group.clone(),
            session_timeout_ms: self.manner.session_ms,
            rebalance_timeout_ms: self.manner.rebalance_ms,
            member_id: self.author.member.clone(),
            group_instance_id: self.author.instance.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            reason: None,
        };
        let context = JoinContext {
            client_id: format!("c{at}").into(),
            client_host: "/127.0.0.1".into(),
            known_member_id_required: self.manner.id_first,
            can_skip_assignment: self.manner.can_skip_assignment,
            ..JoinContext::default()
        };
        group::Request::Join(request, context)
    }

    /// Whoever leads deals the partitions out, beginning with anyone.
    fn sync(&self, net: &mut Net) -> group::Request {
        let count = self.members.len();
        let first = if count > 0 { net.rng.random_range(0..count) } else { 0 };
        let assignments = self.members.iter().enumerate().map(|(n, member)| {
            let own = (0..WORK_PARTITIONS).filter(|p| (*p as usize + first) % count == n).map(|p| p as u8);
            let assignment = own.collect::<Vec<u8>>().into();
            SyncGroupRequestAssignment { member_id: member.member_id.clone(), assignment }
        });
        group::Request::Sync(SyncGroupRequest {
            group_id: self.author.group.clone(),
            generation_id: self.author.generation,
            member_id: self.author.member.clone(),
            group_instance_id: self.author.instance.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: self.protocol.clone(),
            assignments: assignments.collect(),
        })
    }

    /// It gives up what it owns, and joins again under the id that it has.
    pub fn join_again(&mut self) {
        (self.phase, self.call, self.beat) = (Phase::Joining, None, None);
        (self.tenure, self.is_called) = (None, false);
    }

    /// The same, as one that says other things of itself.
    pub fn change(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        self.join_again();
    }

    pub fn leave(&mut self) {
        self.join_again();
        self.phase = Phase::Leaving;
    }

    /// Its process is gone; another one comes later.
    pub fn die(&mut self, net: &mut Net) {
        self.join_again();
        self.author.member = Str::new();
        self.phase = Phase::Out { until: net.now + net.rng.random_range(10..800) };
    }

    /// It is told that it is not who it says any more, or not in this generation.
    pub fn refused(&mut self, net: &mut Net, error: ErrorCode) {
        match error {
            ErrorCode::FENCED_INSTANCE_ID => return self.die(net),
            ErrorCode::UNKNOWN_MEMBER_ID => self.author.member = Str::new(),
            _ => {}
        }
        self.join_again();
    }

    /// False: nothing that it has asked.
    pub fn answered(&mut self, net: &mut Net, checks: &mut Checks, call: u64, response: &Response) -> bool {
        if self.beat.take_if(|(asked, _)| *asked == call).is_some() {
            self.beaten(net, checks, response);
            return true;
        }
        if self.call.take_if(|(asked, _)| *asked == call).is_none() {
            return false;
        }
        let (author, phase) = (&self.author, self.phase);
        net.note(|| format!("{} of {} in {phase:?} hears {response:?}", author.member, author.group));
        match response {
            Response::Join(response) => self.joined(net, checks, response),
            Response::Sync(response) => self.synced(net, checks, response),
            // Whatever came of it, it is gone.
            Response::Leave(_) => self.die(net),
            other => checks.fail(format!("a member hears {other:?}")),
        }
        true
    }

    fn joined(&mut self, net: &mut Net, checks: &mut Checks, response: &JoinGroupResponse) {
        match response.error_code {
            ErrorCode::NONE => {
                self.author.member = response.member_id.clone();
                self.author.generation = response.generation_id;
                self.protocol = response.protocol_name.clone();
                let leads = response.leader == response.member_id && !response.skip_assignment;
                self.members = if leads { response.members.clone() } else { vec![] };
                self.phase = Phase::Syncing;
            }
            ErrorCode::MEMBER_ID_REQUIRED => self.author.member = response.member_id.clone(),
            ErrorCode::REBALANCE_IN_PROGRESS => {}
            error @ (ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID) => {
                self.refused(net, error);
            }
            error if is_passing(error) => {}
            error => checks.fail(format!("{} hears {error} as it joins", self.author.member)),
        }
    }

    fn synced(&mut self, net: &mut Net, checks: &mut Checks, response: &SyncGroupResponse) {
        match response.error_code {
            ErrorCode::NONE => {
                let partitions = self.partitions(checks, &response.assignment);
                let tenure = Tenure { author: self.author.clone(), partitions };
                checks.groups.owns(&tenure);
                (self.tenure, self.is_called) = (Some(tenure), false);
                self.phase = Phase::In;
                self.beat_at = net.now;
            }
            error @ (ErrorCode::REBALANCE_IN_PROGRESS
            | ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID) => self.refused(net, error),
            // Java's consumer joins again, and others ask again.
            error if is_passing(error) => {
                if net.chance(50) {
                    self.join_again();
                }
            }
            error => checks.fail(format!("{} hears {error} as it syncs", self.author.member)),
        }
    }

    fn partitions(&self, checks: &mut Checks, assignment: &Bytes) -> Vec<i32> {
        let partitions: Vec<i32> = assignment.iter().map(|n| i32::from(*n)).collect();
        if partitions.iter().any(|n| *n >= WORK_PARTITIONS) {
            checks.fail(format!("{} is assigned {partitions:?}", self.author.member));
        }
        partitions
    }

    fn beaten(&mut self, net: &mut Net, checks: &mut Checks, response: &Response) {
        let Response::Heartbeat(response) = response else {
            return checks.fail(format!("a member hears {response:?} to its heartbeat"));
        };
        match response.error_code {
            ErrorCode::NONE => {}
            ErrorCode::REBALANCE_IN_PROGRESS => self.is_called = true,
            error @ (ErrorCode::ILLEGAL_GENERATION
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_INSTANCE_ID) => self.refused(net, error),
            error if is_passing(error) => {}
            error => checks.fail(format!("{} hears {error} to its heartbeat", self.author.member)),
        }
    }
}
