//! The world's clock, and everything that happens on it in one order that the seed fixes.

use super::broker::{Broker, LAG_MS, TURN_MS};
use super::checks::{Checks, Cluster};
use super::clients::{Client, Place};
use super::faults::Profile;
use super::net::{Body, Happening, Message, Net, Party};
use super::nodes;
use super::office::{Desk, Errand, SharedDesk, Task, administer};
use super::session::{Session, Wish};
use super::transactional::Transactional;
use super::{Figures, Report, Setup, TRANSACTION_TOPIC, Variety};
use crate::sim;
use crate::sim::net::Payload;
use broker_core::controller::TopicPartition;
use broker_core::partition::{Isolation, PartitionConfig};
use broker_core::transaction;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::task::{Context, Waker};
use wire::Str;

/// Within this time after the last fault everything must be as ZooKeeper says, and ZooKeeper as it should.
const CALM_MS: u64 = 30_000;
/// Producers go on for this long after it.
const CLOSING_MS: u64 = 500;
const ADMIN_TURN_MS: u64 = 10;
const WATCH_MS: u64 = 15;
/// The administrator's place among the owners of sessions.
const ADMIN: i32 = -1;

/// The administrator's process.
struct Admin {
    desk: SharedDesk,
    task: Task,
    sessions: BTreeMap<usize, Session>,
}

pub struct World {
    pub profile: Profile,
    pub net: Net,
    pub ensemble: sim::world::World,
    pub brokers: BTreeMap<i32, Broker>,
    clients: Vec<Client>,
    admin: Admin,
    pub errands: Rc<RefCell<VecDeque<Errand>>>,
    /// Whose session each guest of the ensemble is.
    owners: BTreeMap<usize, i32>,
    /// What came for a broker's sessions and has not been looked at.
    mail: BTreeMap<i32, VecDeque<(usize, usize, Payload)>>,
    /// Until when what goes to a broker (0), or comes from it (1), is held up between it and ZooKeeper.
    pub zookeeper_cuts: BTreeMap<(i32, usize), u64>,
    pub checks: Checks,
    pub figures: Figures,
    closing: bool,
    variety: Variety,
    /// Since when a broker's coordinator waits for the members of a group.
    pub(super) preparing: BTreeMap<(i32, Str), u64>,
}

impl World {
    pub fn new(setup: Setup) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(setup.seed);
        let profile = Profile::new(&mut rng);
        let servers = rng.random_range(1..=3);
        let ensemble = sim::Setup {
            seed: rng.random_range(0..90_000),
            servers,
            trace: setup.trace,
            variety: sim::Variety::Usual,
        };
        let ensemble = sim::world::World::hosting(ensemble, profile.zookeeper);
        let config = PartitionConfig {
            min_insync_replicas: profile.min_insync,
            replica_lag_ms_max: LAG_MS,
            ..PartitionConfig::default()
        };
        let brokers = (1..=setup.brokers as i32)
            .map(|id| {
                let clock = (rng.random_range(0..1_000_000), rng.random_range(950..=1050));
                (id, Broker::new(id, clock, config.clone()))
            })
            .collect();
        let errands = Rc::new(RefCell::new(VecDeque::new()));
        let desk = Desk::new(ADMIN, None, false);
        let task: Task = Box::pin(administer(desk.clone(), errands.clone()));
        let mut net = Net::new(rng, profile.loss, profile.delay_ms, setup.trace);
        net.unclean = setup.variety == Variety::Unclean;
        let mut checks = Checks::default();
        checks.unclean = net.unclean;
        let mut world = World {
            clients: clients(profile.flights),
            profile,
            net,
            ensemble,
            brokers,
            admin: Admin { desk, task, sessions: BTreeMap::new() },
            errands,
            owners: BTreeMap::new(),
            mail: BTreeMap::new(),
            zookeeper_cuts: BTreeMap::new(),
            checks,
            figures: Figures::default(),
            closing: false,
            variety: setup.variety,
            preparing: BTreeMap::new(),
        };
        for topic in ["t0", "t1"] {
            world.new_topic(topic.into());
        }
        if setup.variety == Variety::Transactions {
            world.add_transactions();
        }
        if setup.variety == Variety::Groups {
            world.add_groups();
        }
        world
    }

    pub(super) fn add_client(&mut self, client: Client) {
        self.clients.push(client);
    }

    pub(super) fn clients(&self) -> &[Client] {
        &self.clients
    }

    pub(super) fn variety(&self) -> Variety {
        self.variety
    }

    /// Coordinators' settings and log.
    pub(super) fn set_up_transactions(&mut self) {
        let short = self.net.chance(40);
        self.net.transactions = transaction::Config {
            partitions: 2,
            abort_interval_ms: 100,
            id_expiration_ms: if short { 1_500 } else { 604_800_000 },
            expiry_interval_ms: 200,
            ..transaction::Config::default()
        };
        self.new_topic_of(TRANSACTION_TOPIC.into(), 2);
    }

    /// Rivals for each id, and consumers of what is committed.
    fn add_transactions(&mut self) {
        self.set_up_transactions();
        let coordinator = transaction::Coordinator::new(self.net.transactions.clone());
        let targets: Vec<TopicPartition> = ["t0", "t1"].map(|topic| tp(topic, 0)).into();
        for id in ["a", "b", "c"] {
            let home = tp(TRANSACTION_TOPIC, coordinator.partition_for(id));
            for timeout_ms in [400, 3_000] {
                let rival = Transactional::new(id, home.clone(), targets.clone(), timeout_ms);
                self.clients.push(Client::Transactional(rival));
            }
        }
        let reader = |target| Client::consumer(target, Isolation::ReadCommitted);
        self.clients.extend(targets.into_iter().map(reader));
    }

    pub fn has_transactions(&self) -> bool {
        self.variety == Variety::Transactions
    }

    pub fn run(&mut self) -> Result<(), String> {
        let ids: Vec<i32> = self.brokers.keys().copied().collect();
        for broker in ids {
            let after = self.net.rng.random_range(0..400);
            self.net.schedule(after, Happening::Boot { broker });
        }
        (0..self.clients.len()).for_each(|at| self.net.schedule(800, Happening::Client { at }));
        self.net.schedule(0, Happening::Admin);
        self.net.schedule(0, Happening::Watch);
        self.net.schedule(1_200, Happening::Fault);
        self.run_until(self.profile.faulty_ms, |_| false)?;
        self.heal();
        let healed = self.net.now;
        self.run_until(healed + CLOSING_MS, |_| false)?;
        self.closing = true;
        self.run_until(healed + CALM_MS, |world| world.unsettled().is_none())?;
        if let Some(why) = self.unsettled() {
            return Err(format!("{CALM_MS} ms after the last fault {why}"));
        }
        self.final_state();
        self.failure()
    }

    pub fn report(mut self, failure: Option<String>) -> Report {
        let figures = Figures {
            virtual_ms: self.net.now,
            leaderships: self.checks.elections,
            acknowledged: self.checks.acks,
            given_up: self.checks.given_up,
            commits: self.checks.transactions.commits(),
            aborts: self.checks.transactions.aborts(),
            untold: self.checks.transactions.untold(),
            unclean: self.checks.unclean_elections,
            tenures: self.checks.groups.tenures,
            offsets: self.checks.groups.acks,
            fenced: self.checks.groups.fenced,
            ..self.figures
        };
        let mut trace: Vec<String> = self.ensemble.take_trace();
        trace.append(&mut self.net.trace);
        trace.sort_by_key(|line| line.trim_start().split(' ').next().and_then(|at| at.parse::<u64>().ok()));
        Report { failure: failure.map(|why| format!("at {} ms: {why}", self.net.now)), trace, figures }
    }

    fn failure(&mut self) -> Result<(), String> {
        let transactions = self.checks.transactions.problem();
        for problem in transactions.into_iter().chain(self.checks.groups.problem()) {
            self.checks.fail(problem);
        }
        self.checks.failure.clone().map_or(Ok(()), Err)
    }

    fn run_until(&mut self, end: u64, done: impl Fn(&mut World) -> bool) -> Result<(), String> {
        let mut looked = 0;
        loop {
            self.failure()?;
            // It is looked at now and then, as that is work.
            if self.net.now >= looked + 50 {
                looked = self.net.now;
                if done(self) {
                    return Ok(());
                }
            }
            let (own, others) = (self.net.next_at(), self.ensemble.next_at());
            if own.min(others) > end {
                self.net.now = end;
                self.ensemble.advance(end).map_err(|why| format!("ZooKeeper: {why}"))?;
                return Ok(());
            }
            if others <= own {
                self.net.now = others;
                self.ensemble.advance(others).map_err(|why| format!("ZooKeeper: {why}"))?;
                self.sort_mail();
            } else {
                let Some(happening) = self.net.pop() else { return Ok(()) };
                self.ensemble.advance(self.net.now).map_err(|why| format!("ZooKeeper: {why}"))?;
                self.happen(happening)?;
            }
        }
    }

    fn sort_mail(&mut self) {
        for (guest, conn, payload) in std::mem::take(&mut self.ensemble.guest_mail) {
            let Some(&owner) = self.owners.get(&guest) else { continue };
            self.mail.entry(owner).or_default().push_back((guest, conn, payload));
            let World { brokers, net, .. } = self;
            if let Some(broker) = brokers.get_mut(&owner) {
                broker.wake(net, 0);
            }
        }
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Turn { broker } => return self.broker_turn(broker),
            Happening::Arrive(message) => self.arrive(*message),
            Happening::Boot { broker } => {
                let World { brokers, net, .. } = self;
                if let Some(broker) = brokers.get_mut(&broker) {
                    broker.boot(net);
                }
            }
            Happening::Client { at } => self.client_turn(at),
            Happening::Admin => return self.admin_turn(),
            Happening::Fault if !self.net.calm => self.fault(),
            Happening::Fault => {}
            Happening::Watch => {
                self.net.schedule(WATCH_MS, Happening::Watch);
                if let Some(database) = self.ensemble.newest() {
                    let cluster = Cluster::read(database);
                    self.checks.zookeeper(database, &cluster);
                }
                if self.has_groups() {
                    self.watch_groups();
                }
            }
        }
        Ok(())
    }

    fn arrive(&mut self, message: Message) {
        self.checks.groups.now = self.net.now;
        let World { brokers, net, checks, clients, .. } = self;
        match message.to {
            Party::Broker(id) => {
                if let Some(broker) = brokers.get_mut(&id) {
                    broker.arrives(net, message);
                }
            }
            Party::Client(at) => {
                if let (Some(client), Body::Response(response)) = (clients.get_mut(at), message.body) {
                    client.take(net, checks, message.call, response);
                }
            }
        }
    }

    // ---- brokers and their sessions

    fn broker_turn(&mut self, id: i32) -> Result<(), String> {
        let Some(broker) = self.brokers.get_mut(&id) else { return Ok(()) };
        if !broker.begin_turn(self.net.now) {
            return Ok(());
        }
        if broker.stalled_until <= self.net.now {
            self.hold_up(id);
            self.read_mail(id)?;
            let World { brokers, net, checks, .. } = self;
            let left = brokers.get_mut(&id).is_some_and(|broker| broker.turn(net, checks));
            self.go_on_with_sessions(id)?;
            if left {
                // Everything is on disk before the process ends.
                if let Some(broker) = self.brokers.get_mut(&id) {
                    broker.flush();
                }
                self.kill(id);
                self.net.note(|| format!("broker {id} has left"));
                let down = self.net.rng.random_range(20..1500);
                self.net.schedule(down, Happening::Boot { broker: id });
            }
        }
        let World { brokers, net, .. } = self;
        if let Some(broker) = brokers.get_mut(&id) {
            broker.wake(net, TURN_MS);
        }
        Ok(())
    }

    /// Cuts between a broker and ZooKeeper begin and end.
    fn hold_up(&mut self, id: i32) {
        let guests: Vec<usize> =
            self.owners.iter().filter(|(_, owner)| **owner == id).map(|(g, _)| *g).collect();
        for end in [0, 1] {
            match self.zookeeper_cuts.get(&(id, end)) {
                Some(until) if *until > self.net.now && !self.net.calm => {
                    guests.iter().for_each(|guest| self.ensemble.cut_guest(*guest, end));
                }
                Some(_) => {
                    self.zookeeper_cuts.remove(&(id, end));
                    guests.iter().for_each(|guest| self.ensemble.join_guest(*guest, end));
                }
                None => {}
            }
        }
    }

    fn sessions(&self, owner: i32) -> BTreeMap<usize, Session> {
        match self.brokers.get(&owner) {
            Some(broker) => broker.up.as_ref().map(|life| life.sessions.clone()).unwrap_or_default(),
            None => self.admin.sessions.clone(),
        }
    }

    fn read_mail(&mut self, owner: i32) -> Result<(), String> {
        let sessions = self.sessions(owner);
        for (guest, conn, payload) in self.mail.remove(&owner).into_iter().flatten() {
            let Some(session) = sessions.get(&guest) else { continue };
            match payload {
                Payload::Frame(frames) => {
                    let wishes = session.take(conn, frames, self.net.now)?;
                    self.grant(guest, session, wishes);
                }
                Payload::Closed => session.disconnected(conn),
                Payload::Opened { .. } | Payload::Packet(_) | Payload::Snapshot(_) => {}
            }
        }
        Ok(())
    }

    fn go_on_with_sessions(&mut self, owner: i32) -> Result<(), String> {
        let desk = match self.brokers.get(&owner) {
            Some(broker) => broker.up.as_ref().map(|life| life.desk.clone()),
            None => Some(self.admin.desk.clone()),
        };
        let Some(desk) = desk else { return Ok(()) };
        for session in std::mem::take(&mut desk.borrow_mut().opened) {
            let guest = self.owners.len();
            self.owners.insert(guest, owner);
            let sessions = match self.brokers.get_mut(&owner).and_then(|broker| broker.up.as_mut()) {
                Some(life) => &mut life.sessions,
                None => &mut self.admin.sessions,
            };
            sessions.retain(|_, session| !session.is_over() || session.conn().is_some());
            sessions.insert(guest, session);
        }
        for (guest, session) in self.sessions(owner) {
            let wishes = session.turn(self.net.now);
            self.grant(guest, &session, wishes);
        }
        Ok(())
    }

    fn grant(&mut self, guest: usize, session: &Session, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Connect => {
                    let server = self.net.rng.random_range(0..self.ensemble.nodes.len());
                    if let Some(conn) = self.ensemble.connect_guest(guest, server) {
                        let hello = session.connected(conn, self.net.now);
                        self.ensemble.send(conn, 1, Payload::Frame(hello));
                    }
                }
                Wish::Close(conn) => self.ensemble.close(conn, 0),
                Wish::Send(conn, frame) => self.ensemble.send(conn, 1, Payload::Frame(frame)),
            }
        }
    }

    /// Ends a process. False: there was none.
    pub fn kill(&mut self, id: i32) -> bool {
        let World { brokers, net, ensemble, checks, .. } = self;
        let Some(broker) = brokers.get_mut(&id).filter(|broker| broker.up.is_some()) else { return false };
        for conn in broker.kill(net, checks) {
            ensemble.close(conn, 0);
        }
        self.mail.remove(&id);
        true
    }

    fn admin_turn(&mut self) -> Result<(), String> {
        self.net.schedule(ADMIN_TURN_MS, Happening::Admin);
        self.read_mail(ADMIN)?;
        self.admin.desk.borrow_mut().now = self.net.now;
        let mut context = Context::from_waker(Waker::noop());
        let _ = self.admin.task.as_mut().poll(&mut context);
        self.go_on_with_sessions(ADMIN)
    }

    fn client_turn(&mut self, at: usize) {
        let think = self.net.rng.random_range(self.profile.think_ms.clone());
        // A transaction takes many turns, and so does a rebalance.
        let many = |client: &Client| !matches!(client, Client::Producer(_) | Client::Consumer(_));
        let think = if many(&self.clients[at]) { think / 4 } else { think };
        // What is left is worked off.
        let think = if self.closing && matches!(self.clients[at], Client::Job(_)) { 1 } else { think };
        self.net.schedule(think.max(1), Happening::Client { at });
        let place = self.locate(self.clients[at].tp().clone());
        let World { clients, net, .. } = self;
        clients[at].act(at, net, place, self.closing);
    }

    /// What some broker says of a partition.
    fn locate(&mut self, tp: TopicPartition) -> Option<Place> {
        let up: Vec<&Broker> = self.brokers.values().filter(|broker| broker.up.is_some()).collect();
        if up.is_empty() {
            return None;
        }
        let broker = up[self.net.rng.random_range(0..up.len())];
        let metadata = &broker.up.as_ref()?.metadata;
        let found = metadata.partition(&tp.topic, tp.partition)?;
        Some(Place {
            id: metadata.topic_id(&tp.topic),
            leader: found.leader,
            leader_epoch: found.leader_epoch,
        })
    }

    // ---- the end

    fn heal(&mut self) {
        self.net.note(|| "all is healed".into());
        self.net.calm = true;
        self.net.cuts.clear();
        self.ensemble.heal();
        let ids: Vec<i32> = self.brokers.keys().copied().collect();
        for id in ids {
            let Some(broker) = self.brokers.get_mut(&id) else { continue };
            broker.stalled_until = 0;
            let broken = broker.up.as_mut().is_some_and(|life| {
                life.doomed_dir = None;
                !life.failed_dirs.is_empty()
            });
            if broken {
                self.kill(id);
            }
            self.net.schedule(1, Happening::Boot { broker: id });
            let World { brokers, net, .. } = self;
            if let Some(broker) = brokers.get_mut(&id) {
                broker.wake(net, 0);
            }
        }
    }

    /// What is not yet as it should be, when all is well.
    fn unsettled(&mut self) -> Option<String> {
        if !self.errands.borrow().is_empty() {
            return Some("errands are left".into());
        }
        if let Some(client) = self.clients.iter().find(|client| !client.is_done()) {
            return Some(format!("a producer still waits: {client:?}"));
        }
        let Some(database) = self.ensemble.newest().filter(|_| self.ensemble.all_serve()) else {
            return Some("ZooKeeper does not serve".into());
        };
        let deletions = database.node(nodes::DELETIONS).map_or(0, |node| node.children().len());
        if deletions > 0 {
            return Some(format!("{deletions} topics are still to be deleted"));
        }
        let cluster = Cluster::read(database);
        let all: Vec<i32> = self.brokers.keys().copied().collect();
        for (name, topic) in &cluster.topics {
            for (&partition, assignment) in &topic.partitions {
                let tp = TopicPartition { topic: name.clone(), partition };
                let Some(state) = cluster.states.get(&tp) else {
                    return Some(format!("{tp:?} has no state"));
                };
                let mut isr = state.isr.clone();
                let mut replicas = assignment.replicas.clone();
                isr.sort_unstable();
                replicas.sort_unstable();
                if assignment.is_being_reassigned() {
                    return Some(format!("{tp:?} is still being reassigned: {assignment:?}"));
                }
                if isr != replicas || state.leader != assignment.replicas[0] {
                    return Some(format!("{tp:?} of {:?} has the state {state:?}", assignment.replicas));
                }
            }
        }
        let broker = all.iter().find_map(|id| self.unsettled_broker(*id, &all, &cluster));
        broker.or_else(|| if self.has_groups() { self.unsettled_groups() } else { None })
    }

    fn unsettled_broker(&self, id: i32, all: &[i32], cluster: &Cluster) -> Option<String> {
        let broker = &self.brokers[&id];
        let Some(life) = &broker.up else { return Some(format!("broker {id} is down")) };
        let nodes: Vec<i32> = life.metadata.nodes.iter().copied().collect();
        if nodes != all {
            return Some(format!("broker {id} knows of the brokers {nodes:?}"));
        }
        let known: BTreeSet<&Str> = life.metadata.topics.keys().collect();
        let there: BTreeSet<&Str> = cluster.topics.keys().collect();
        // Who was without a session when a topic went, or heard no more of it before the controller that deleted it ended, is
        // never told of its end, as with Kafka's own brokers.
        let renewed = life.desk.borrow().registrations > 1;
        let untold = |topic: &&Str| renewed || self.checks.untold.contains(&(id, (*topic).clone()));
        if !known.is_superset(&there) || !known.difference(&there).copied().all(|topic| untold(&topic)) {
            return Some(format!("broker {id} knows of the topics {known:?}, there are {there:?}"));
        }
        let mut own: BTreeSet<TopicPartition> = BTreeSet::new();
        for (tp, state) in &cluster.states {
            let topic = &cluster.topics[&tp.topic];
            let told = life.metadata.partition(&tp.topic, tp.partition);
            let same = told.is_some_and(|told| {
                (told.leader, told.leader_epoch, &told.isr) == (state.leader, state.leader_epoch, &state.isr)
                    && told.offline_replicas.is_empty()
            });
            if !same || life.metadata.topic_id(&tp.topic) != topic.id {
                return Some(format!("broker {id} knows {tp:?} as {told:?}, the state is {state:?}"));
            }
            if !topic.partitions[&tp.partition].replicas.contains(&id) {
                continue;
            }
            own.insert(tp.clone());
            let Some(replica) = life.replicas.get(tp) else {
                return Some(format!("broker {id} lacks {tp:?}"));
            };
            let leads = replica.core.is_leader() == (state.leader == id);
            if replica.id != topic.id || !leads || replica.core.leader_epoch() != state.leader_epoch {
                let (epoch, leads) = (replica.core.leader_epoch(), replica.core.is_leader());
                return Some(format!(
                    "broker {id} leads {tp:?}: {leads} in epoch {epoch}; the state is {state:?}"
                ));
            }
            let (mark, end) = (replica.core.high_watermark(), replica.core.log_end());
            if mark != end {
                return Some(format!(
                    "the watermark of {tp:?} on broker {id} is {mark}, the log's end {end}"
                ));
            }
            let stable = replica.core.last_stable_offset();
            if stable != end {
                return Some(format!(
                    "what is stable of {tp:?} on broker {id} ends at {stable}, the log at {end}"
                ));
            }
            let leader = &self.brokers[&state.leader].disk.logs.get(tp).map(|log| &log.batches);
            if broker.disk.logs.get(tp).map(|log| &log.batches) != *leader {
                return Some(format!("broker {id} has another log of {tp:?} than its leader"));
            }
        }
        let kept =
            |tp: &&TopicPartition| !own.contains(*tp) && self.checks.kept.contains(&(id, (*tp).clone()));
        let logs: BTreeSet<TopicPartition> =
            broker.disk.logs.keys().filter(|tp| !kept(tp)).cloned().collect();
        (logs != own).then(|| format!("broker {id} has the logs {logs:?}, and should {own:?}"))
    }

    fn final_state(&mut self) {
        let Some(cluster) = self.ensemble.newest().map(Cluster::read) else { return };
        for (tp, state) in &cluster.states {
            let key = (cluster.topics[&tp.topic].id, tp.partition);
            if let Some(log) = self.brokers[&state.leader].disk.logs.get(tp) {
                self.checks.end(key, log);
                self.checks.transactions.end(key, log);
            }
        }
        self.checks.transactions.conclude();
        if self.has_groups() {
            self.end_groups();
        }
        self.figures.controllers = self
            .brokers
            .values()
            .filter_map(|b| b.up.as_ref())
            .map(|life| life.desk.borrow().elections)
            .sum();
    }
}

pub(super) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.to_owned().into(), partition }
}

/// Who writes and reads what: promises are made on topics that stay.
fn clients(flights: usize) -> Vec<Client> {
    let mut clients = vec![
        Client::producer(0, tp("t0", 0), true, flights),
        Client::producer(1, tp("t0", 0), true, 1),
        Client::producer(2, tp("t1", 0), true, flights),
        Client::producer(3, tp("t1", 0), false, 1),
        Client::producer(4, tp("d0", 0), false, 1),
        Client::producer(5, tp("d1", 0), true, 1),
    ];
    for (topic, partition) in [("t0", 0), ("t1", 0), ("t0", 0)] {
        clients.push(Client::consumer(tp(topic, partition), Isolation::ReadUncommitted));
    }
    clients
}
