//! The loop: the one thread that owns the [`Peer`]. A turn takes what is waiting, steps the core with each, performs
//! its effects, and ends in one batch for the log and one write for each connection. Snapshots are encoded between the
//! turns ([`background`]).

mod background;

mod members;

use super::Exit;
use super::clients::Clients;
use super::inbox::{Inbox, Input, Look};
use super::journal::Journal;
use super::links::{OutLink, OutLinks};
use super::oracle::{self, Oracle};
use super::purging::Purging;
use super::snapshots::{Permit, Trigger};
use super::streams::Streams;
use super::turns::{self, Stopwatch};
use crate::admin::Limits;
use crate::audit;
use crate::config::Config;
use crate::disk::{Disk, DiskError};
use crate::election_net::ElectionNet;
use crate::http::HttpPort;
use crate::net::client_port::ClientPort;
use crate::quorum_net::{Port, QuorumNet};
use crate::words;
use background::Snapping;
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{debug, error, info, warn};
use wire::zk::Zxid;
use wire::zk::quorum::QuorumPacket;
use zk_core::peer::{Mode, Recovered};
use zk_core::{ConnId, Effect, Ensemble, Event, LinkId, LogLevel, Now, Peer};

/// Events of one turn, and for how long it takes more of them: what was decided leaves then, and others have theirs.
const TURN_EVENTS: usize = 4096;
const TURN_TIME: Duration = Duration::from_millis(2);
/// Connections that are written to at the end of one turn: a write is a system call, and one event may concern thousands.
const FLUSHED_MAX: usize = 256;
/// The longest sleep: nothing is ever due later than this.
const IDLE: Duration = Duration::from_secs(10);

/// What a loop is made of.
pub(super) struct Parts {
    pub config: Arc<Config>,
    pub disk: Disk,
    pub recovered: Recovered,
    pub inbox: Inbox,
    pub inputs: Receiver<Input>,
    pub clients: Option<ClientPort>,
    pub election: Option<ElectionNet>,
    pub quorum: Option<QuorumNet>,
    /// What operators ask: the admin server, Prometheus' port.
    pub http: Vec<HttpPort>,
    pub mode: watch::Sender<Mode>,
    pub ended: watch::Sender<Option<Exit>>,
    pub runtime: Handle,
}

/// Starts the thread; its end is told by `parts.ended`.
pub(super) fn spawn(parts: Parts) -> io::Result<()> {
    let disk_config = &parts.config.disk;
    let journal = Journal::start(
        parts.disk.clone(),
        parts.inbox.clone(),
        disk_config.batch_max,
        disk_config.sync_warning,
    )?;
    let (running, stop) = std::sync::mpsc::channel();
    let (space, inbox) = (parts.disk.space().clone(), parts.inbox.clone());
    std::thread::Builder::new().name("DiskSpace".into()).spawn(move || {
        space.watch(&stop, |enough| inbox.event(Event::DiskSpace { enough }));
    })?;
    let name = format!("QuorumPeer[myid={}]", parts.config.core.myid);
    std::thread::Builder::new().name(name).spawn(move || {
        let ended = parts.ended.clone();
        let runtime = parts.runtime.clone();
        let _guard = runtime.enter();
        let exit = Loop::new(parts, journal).run();
        drop(running);
        ended.send_replace(Some(exit));
    })?;
    Ok(())
}

/// The loop's clock.
#[derive(Debug, Clone, Copy)]
struct Clock {
    start: Instant,
}

impl Clock {
    fn now(self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.start.elapsed().as_millis() as u64, wall: wall.as_millis() as i64 }
    }
}

/// What came in one piece and is not all dealt with: the next turn goes on with it.
#[derive(Debug)]
enum Rest {
    Frames { conn: ConnId, frames: std::vec::IntoIter<Bytes> },
    Packets { link: LinkId, packets: std::vec::IntoIter<QuorumPacket>, load: usize },
}

struct Loop {
    config: Arc<Config>,
    disk: Disk,
    peer: Peer,
    clock: Clock,
    inbox: Inbox,
    inputs: Receiver<Input>,
    rest: Option<Rest>,
    client_port: Option<ClientPort>,
    clients: Clients,
    election: Option<ElectionNet>,
    quorum: Option<QuorumNet>,
    /// The members that are on their way.
    proposed: Option<Box<Ensemble>>,
    /// Of the admin server.
    limits: Limits,
    http: Vec<HttpPort>,
    links: OutLinks,
    dirty_links: Vec<LinkId>,
    journal: Journal,
    appends: Vec<(Zxid, Bytes)>,
    trigger: Trigger,
    snapping: Option<Snapping>,
    /// When the snapshot that the core waits for is tried again: the disk was full.
    save_at: Option<Instant>,
    streams: Streams,
    /// Of the last snapshot that was encoded: its thread may still be at it.
    sealing: Option<Permit>,
    mode: watch::Sender<Mode>,
    effects: Vec<Effect>,
    purging: Purging,
    oracle: Option<Oracle>,
    exit: Option<Exit>,
}

impl Loop {
    fn new(parts: Parts, journal: Journal) -> Loop {
        let Parts { config, disk, recovered, inbox, inputs, clients, election, quorum, http, mode, .. } =
            parts;
        Loop {
            peer: Peer::new(config.core.clone(), recovered),
            clock: Clock { start: Instant::now() },
            clients: Clients::new(clients.as_ref().map(|port| port.shared.clone())),
            client_port: clients,
            links: OutLinks::new(),
            dirty_links: Vec::new(),
            appends: Vec::new(),
            trigger: Trigger::new(config.disk.snap_count, config.disk.snap_bytes),
            snapping: None,
            save_at: None,
            streams: Streams::default(),
            sealing: None,
            effects: Vec::new(),
            proposed: config.core.reconfig.proposed.clone().map(Box::new),
            oracle: config.oracle.clone().map(|path| Oracle::new(path, Instant::now())),
            purging: Purging::new(&config.disk, Instant::now()),
            exit: None,
            config,
            disk,
            inbox,
            inputs,
            rest: None,
            election,
            quorum,
            http,
            limits: Limits::default(),
            journal,
            mode,
        }
    }

    fn run(mut self) -> Exit {
        if let Some(enough) = self.disk.space().look() {
            self.step(Event::DiskSpace { enough });
        }
        self.ask_oracle();
        self.step(Event::Tick);
        self.end_turn();
        while self.exit.is_none() {
            let first = match &self.rest {
                Some(_) => None,
                None => match self.inputs.recv_timeout(self.wait()) {
                    Ok(first) => Some(first),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            };
            let turn = Stopwatch::start();
            self.ask_oracle();
            self.take_waiting(first);
            if self.peer.deadline().is_some_and(|at| at <= self.clock.now().mono) {
                self.step(Event::Tick);
            }
            self.end_turn();
            self.work_in_background();
            self.clients.stats.turns.note(&turn);
        }
        self.finish()
    }

    /// Where this server decides by the oracle's word alone, it is asked in every turn.
    fn ask_oracle(&mut self) {
        let at_once = self.peer.decides_alone();
        let says = self.oracle.as_mut().and_then(|oracle| oracle.look(at_once, Instant::now()));
        if let Some(grants) = says {
            self.step(Event::Oracle { grants });
        }
    }

    /// How long nothing has to happen.
    fn wait(&self) -> Duration {
        self.wait_for_work().min(self.oracle.as_ref().map_or(IDLE, |_| oracle::LOOK_EVERY))
    }

    fn wait_for_work(&self) -> Duration {
        if self.clients.is_dirty() {
            return Duration::ZERO;
        }
        if let Some(pause) = self.background_pause() {
            return pause;
        }
        let now = self.clock.now().mono;
        self.peer.deadline().map_or(IDLE, |at| Duration::from_millis(at.saturating_sub(now)).min(IDLE))
    }

    /// Takes what is there in its order, an event at a time, until the turn has been long enough.
    fn take_waiting(&mut self, mut first: Option<Input>) {
        let begun = Instant::now();
        for _ in 0..TURN_EVENTS {
            if !self.take_rest() {
                let Some(input) = first.take().or_else(|| self.inputs.try_recv().ok()) else { return };
                self.take(input);
            }
            // After each: the end of a sync alone may take half of that time.
            if self.exit.is_some() || begun.elapsed() > TURN_TIME {
                return;
            }
        }
    }

    /// One event of what came in one piece; false: there is no such thing.
    fn take_rest(&mut self) -> bool {
        let Some(rest) = &mut self.rest else { return false };
        let now = self.clock.now();
        match rest {
            Rest::Frames { conn, frames } => {
                let (conn, frame) = (*conn, frames.next());
                match frame {
                    None => self.rest = None,
                    Some(frame) if self.clients.received(conn, &frame, now) => {
                        self.step_at(now, Event::ClientFrame { conn, frame });
                    }
                    Some(_) => {}
                }
            }
            Rest::Packets { link, packets, load } => {
                let (link, load, packet) = (*link, *load, packets.next());
                match packet {
                    None => {
                        if let Some(link) = self.links.get(&link) {
                            link.gate.take_off(load);
                        }
                        self.rest = None;
                    }
                    Some(packet) => {
                        let open = self.links.get_mut(&link).filter(|link| !link.closing);
                        if open.map(|link| link.stats.note_received(packet.kind)).is_some() {
                            self.step_at(now, Event::LinkPacket { link, packet });
                        }
                    }
                }
            }
        }
        true
    }

    fn take(&mut self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::ClientOpened { conn, from, outlet, gate, secure, ids } => {
                self.clients.opened(conn, from, outlet, gate, now);
                self.clients.note_secure(conn, secure);
                self.step_at(now, Event::ClientOpened { conn, peer: from.ip() });
                if !ids.is_empty() {
                    self.step_at(now, Event::ClientIdentified { conn, ids });
                }
            }
            Input::ClientFrames { conn, frames } => {
                self.rest = Some(Rest::Frames { conn, frames: frames.into_iter() });
            }
            Input::ClientClosed { conn } => {
                self.clients.closed(conn);
                self.step_at(now, Event::ClientClosed { conn });
            }
            Input::Word { word, argument, from, answer } => {
                let text = self.word(word, &argument, from);
                // Whoever asked may be gone.
                let _ = answer.send(text);
            }
            Input::Look(Look(look)) => look(&mut self.view()),
            Input::Restore { state, answer } => {
                // Whoever asked may be gone.
                let _ = answer.send(self.restore(state));
            }
            Input::Vote { from, vote } => {
                self.inbox.votes.take_off(1);
                self.step_at(now, Event::Vote { from, vote });
            }
            Input::LinkOpened { link, leader, outlet, gate } => {
                self.links.insert(link, OutLink::new(outlet, gate, now.wall));
                self.step_at(now, Event::LinkOpened { link, leader });
            }
            Input::LinkPackets { link, packets, load } => {
                self.rest = Some(Rest::Packets { link, packets: packets.into_iter(), load });
            }
            Input::Core(Event::LinkClosed { link }) => {
                self.links.remove(&link);
                self.streams.end(link);
                self.step_at(now, Event::LinkClosed { link });
            }
            Input::Core(event) => self.step_at(now, event),
            Input::Sealed(sealed) => self.publish(now, *sealed),
            Input::Unsaved => self.save_again_later(),
            Input::Broken { code, why } => self.exit = Some(Exit { code, why }),
            Input::Stop => self.exit = Some(Exit { code: 0, why: "stopped".into() }),
        }
    }

    fn step(&mut self, event: Event) {
        self.step_at(self.clock.now(), event);
    }

    fn step_at(&mut self, now: Now, event: Event) {
        let (begun, name) = (Instant::now(), turns::name_of(&event));
        let mut effects = std::mem::take(&mut self.effects);
        self.peer.step(now, event, &mut effects);
        for effect in effects.drain(..) {
            if let Err(error) = self.perform(now, effect) {
                error!("{error}");
                self.exit = Some(Exit { code: 1, why: error.to_string() });
            }
        }
        self.effects = effects;
        self.clients.stats.turns.note_step(name, begun.elapsed());
    }

    fn perform(&mut self, now: Now, effect: Effect) -> Result<(), DiskError> {
        match effect {
            Effect::ToClient { conn, bytes } => self.clients.send(conn, bytes, now),
            Effect::CloseClient { conn } => self.clients.close(conn),
            Effect::SendVote { to, vote } => {
                if let Some(election) = &self.election {
                    election.send(to, vote);
                }
            }
            Effect::DialLeader { leader } => {
                if let Some(quorum) = &self.quorum {
                    quorum.dial(leader);
                }
            }
            Effect::DialMaster { follower } => {
                if let Some(quorum) = &self.quorum {
                    quorum.dial_master(follower);
                }
            }
            Effect::SendPacket { link, packet } => self.queue_for(link, &packet),
            Effect::SendSnapshot { link, stream } => self.begin_stream(link, stream),
            Effect::CloseLink { link } => {
                self.streams.end(link);
                if let Some(out) = self.links.get_mut(&link) {
                    out.closing = true;
                    self.dirty_links.push(link);
                }
            }
            Effect::Append { zxid, txn } => {
                self.trigger.logged(txn.len());
                self.appends.push((zxid, txn));
            }
            Effect::RollLog => {
                self.hand_over_appends();
                self.journal.roll();
            }
            Effect::Truncate { zxid } => {
                self.hand_over_appends();
                self.give_up_snapshot();
                self.journal.truncate(zxid);
            }
            Effect::SaveSnapshot => self.save_snapshot(),
            Effect::Discard { database } => {
                // Where no thread can be had, it goes here.
                let _ = std::thread::Builder::new().name("Discard".into()).spawn(move || drop(database));
            }
            Effect::StoreAcceptedEpoch { epoch } => self.disk.store_accepted_epoch(epoch)?,
            Effect::StoreCurrentEpoch { epoch } => self.disk.store_current_epoch(epoch)?,
            Effect::StoreProposedMembers { members } => self.store_proposed(members),
            Effect::ActivateMembers { members } => self.activate(*members),
            Effect::Audit(line) => audit::tell(&line),
            Effect::Log { level, line } => match level {
                LogLevel::Debug => debug!("{line}"),
                LogLevel::Info => info!("{line}"),
                LogLevel::Warn => warn!("{line}"),
                LogLevel::Error => error!("{line}"),
            },
            Effect::Exit { code, why } => self.exit = Some(Exit { code, why }),
        }
        Ok(())
    }

    fn queue_for(&mut self, link: LinkId, packet: &QuorumPacket) {
        let Some(out) = self.links.get_mut(&link).filter(|link| !link.closing) else { return };
        if out.out.is_empty() {
            self.dirty_links.push(link);
        }
        out.queue(packet);
    }

    fn hand_over_appends(&mut self) {
        if !self.appends.is_empty() {
            self.journal.append(std::mem::take(&mut self.appends));
        }
    }

    /// Everything that this turn decided leaves: the log's batch first, so that the disk works meanwhile.
    fn end_turn(&mut self) {
        self.hand_over_appends();
        for link in std::mem::take(&mut self.dirty_links) {
            let Some(out) = self.links.get_mut(&link) else { continue };
            if !out.out.is_empty() {
                let waiting = out.leaves();
                if let Some(sid) = self.peer.learner(link) {
                    let sizes = &mut self.clients.stats.learner_handler_qp_size;
                    sizes.entry(sid).or_default().add(waiting as u64 - 1);
                }
                match self.streams.hold(link, out.out.split().freeze()) {
                    Ok(None) => {}
                    Ok(Some(bytes)) => _ = out.outlet.send(bytes),
                    Err(waiting) => {
                        warn!("A learner is let go: {waiting} bytes wait behind its snapshot");
                        // Its reader tells the core.
                        out.outlet.abort();
                        self.streams.end(link);
                    }
                }
            }
            if out.closing {
                out.outlet.close();
                out.gate.open();
            }
        }
        self.clients.flush(FLUSHED_MAX);
        self.note_mode();
    }

    /// Learners can connect while we lead, and while we do not know yet: the core keeps those waiting who knew before.
    fn note_mode(&mut self) {
        let status = self.peer.status();
        let mode = status.mode;
        if *self.mode.borrow() != mode {
            self.mode.send_replace(mode);
        }
        if let Some(quorum) = &mut self.quorum {
            quorum.listen(match mode {
                Mode::Leading | Mode::Looking => Port::Quorum,
                Mode::Following { .. } if status.synced_observers.is_some() => Port::ObserverMaster,
                _ => Port::None,
            });
        }
    }

    fn word(&mut self, word: [u8; 4], argument: &[u8], from: std::net::SocketAddr) -> Bytes {
        self.clients.stats.received += 1;
        words::answer(word, argument, from, &mut self.view())
    }

    fn view(&mut self) -> words::View<'_> {
        words::View {
            peer: &mut self.peer,
            clients: &mut self.clients,
            links: &mut self.links,
            config: &self.config,
            disk: &self.disk,
            journal: &self.journal.stats,
            now: self.clock.now(),
            limits: &mut self.limits,
        }
    }

    /// Ports closed, log synced, connections ended.
    fn finish(mut self) -> Exit {
        if let Some(port) = self.client_port.take() {
            port.close();
        }
        self.http.drain(..).for_each(HttpPort::close);
        if let Some(port) = self.quorum.take() {
            port.close();
        }
        if let Some(port) = self.election.take() {
            port.close();
        }
        self.hand_over_appends();
        self.disk.space().stop_waiting();
        self.journal.close();
        self.clients.abort_all();
        self.links.values().for_each(|link| link.outlet.abort());
        self.exit.take().unwrap_or_else(|| Exit { code: 1, why: "the inbox was closed".into() })
    }
}
