//! One session with both brokers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use wire::Str;
use wire::kafka::create_topics::CreatableTopic;
use wire::kafka::shape::Value;
use wire::kafka::{AnyRequest, Api, ApiKey, CreateTopicsRequest, MetadataRequest};

use super::coverage::Coverage;
use super::draw::Drawer;
use super::known::Known;
use super::listed::Listed;
use super::peer::{Lane, Outcome};
use super::rights::{clear, rights};
use super::steps::{Step, Steps};
use super::stories::{Door, Story};
use super::warm::warm_again;
use super::{Difference, compare};

/// Connections of a session.
const LANES: usize = 3;
const CLIENTS: [&str; LANES] = ["differ-0", "differ-1", "differ-2"];
/// An answer that is not there by then waits for something.
const PROMPT: Duration = Duration::from_millis(350);
/// What one broker has answered, the other answers within this time.
const LATE: Duration = Duration::from_secs(6);
/// How long the two may take until they tell the same of their topics.
const SETTLED: Duration = Duration::from_secs(3);
/// How often a session that differs is run again.
const AGAIN: u32 = 2;
/// How long all connections may wait before they are given up.
const STUCK: Duration = Duration::from_millis(2500);

/// What a session is drawn from.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub steps: usize,
    /// Only requests of this API.
    pub api: Option<ApiKey>,
    /// Every step is printed.
    pub shown: bool,
    /// A difference does not end it, though what follows may differ for that reason alone.
    pub goes_on: bool,
}

/// Where a broker is, and texts that only it has.
#[derive(Debug, Clone)]
pub struct Address {
    pub address: SocketAddr,
    /// Where it wants a login.
    pub logins: Option<SocketAddr>,
    pub own_words: Vec<(String, String)>,
}

/// A difference, with the request that brought it.
#[derive(Debug, Clone)]
pub struct Found {
    /// A seed, or the name of a recording.
    pub session: String,
    pub step: usize,
    pub api: &'static Api,
    pub version: i16,
    pub request: String,
    pub difference: Difference,
    pub listed: bool,
}

struct Side {
    lanes: Vec<Lane>,
    /// For looks that are not part of the session.
    look: Lane,
    known: Known,
}

impl Side {
    fn new(at: &Address, prefix: String, door: Door) -> Side {
        let behind = at.logins.unwrap_or(at.address);
        let lane = |number: usize| match door {
            Door::Open => Lane::new(at.address, CLIENTS[number]),
            Door::Users(users) => Lane::new(behind, CLIENTS[number]).logged_in(users[number]),
            Door::Strangers => Lane::new(behind, CLIENTS[number]),
        };
        let lanes = (0..LANES).map(lane).collect();
        let look = Lane::new(at.address, "differ-look");
        Side { lanes, look, known: Known { own_words: at.own_words.clone(), prefix, ..Known::default() } }
    }
}

struct Session<'a> {
    plan: &'a Plan,
    listed: &'a Listed,
    story: &'static Story,
    is_wide: bool,
    prefix: String,
    kafka: Side,
    ours: Side,
    found: Vec<Found>,
    asked: Coverage,
    parted: bool,
}

/// The outcome of a session: how many requests were compared, and what differed.
pub struct Report {
    pub compared: Coverage,
    pub found: Vec<Found>,
}

/// Runs the session of `plan.seed`. What differs but for a moment, since one of the two was busy, differs the next time at another
/// place or not at all: only who differs every time differs.
pub fn run(plan: &Plan, kafka: &Address, ours: &Address, listed: &Listed) -> std::io::Result<Report> {
    let mut report = Report { compared: Coverage::default(), found: Vec::new() };
    for again in 0..=AGAIN {
        let mut one = run_once(plan, again, kafka, ours, listed)?;
        report.compared.add(&one.compared);
        if again < AGAIN && one.found.iter().any(|found| !found.listed) {
            let differs = one.found.iter().filter(|found| !found.listed);
            differs.for_each(|found| {
                let Found { step, api, difference, .. } = found;
                println!("seed {} {} {}: differs at step {step}", plan.seed, api.name, difference.path);
                println!("    kafka {}\n    ours  {}", difference.kafka, difference.ours);
            });
            continue;
        }
        report.found.append(&mut one.found);
        break;
    }
    Ok(report)
}

fn run_once(
    plan: &Plan,
    again: u32,
    kafka: &Address,
    ours: &Address,
    listed: &Listed,
) -> std::io::Result<Report> {
    // Sessions do not meet: names tell the seed and the run.
    let prefix = format!("s{}-{}{}-", plan.seed, std::process::id(), ["", "b", "c"][again as usize]);
    let steps = Steps::of(plan.seed, plan.api);
    let (story, is_wide) = (steps.story(), steps.is_wide());
    if plan.shown {
        println!("{}: {}", plan.seed, story.name);
    }
    let mut session = Session {
        plan,
        listed,
        story,
        is_wide,
        prefix: prefix.clone(),
        kafka: Side::new(kafka, prefix.clone(), story.door),
        ours: Side::new(ours, prefix, story.door),
        found: Vec::new(),
        asked: Coverage::default(),
        parted: false,
    };
    // Another session may have deleted the coordinators' topics.
    warm_again(kafka, &mut session.kafka.look)?;
    warm_again(ours, &mut session.ours.look)?;
    session.prelude()?;
    for (number, step) in steps.take(plan.steps).enumerate() {
        session.step(number, &step)?;
        if session.parted {
            break;
        }
    }
    session.close();
    Ok(Report { compared: session.asked, found: session.found })
}

impl Session<'_> {
    /// The topics that requests name: `a` with two partitions, `b` with one.
    fn prelude(&mut self) -> std::io::Result<()> {
        let topics = [("a", 2), ("b", 1)].map(|(name, num_partitions)| CreatableTopic {
            name: Str::from(format!("{}{name}", self.prefix)),
            num_partitions,
            replication_factor: 1,
            ..Default::default()
        });
        let create = CreateTopicsRequest { topics: topics.into(), timeout_ms: 10_000, ..Default::default() };
        for side in [&mut self.kafka, &mut self.ours] {
            if self.story.is_cleared || self.is_wide {
                clear(&mut side.look, &CLIENTS)?;
            }
            let answer = side.look.ask(create.clone().into(), 7)?;
            side.known.learn(ApiKey::CreateTopics, &answer.show(7));
            if side.known.topic_ids.len() != 2 {
                return Err(std::io::Error::other("the topics of the session could not be created"));
            }
            if self.story.has_rights {
                let rng = ChaCha8Rng::seed_from_u64(self.plan.seed);
                side.look.ask(rights(rng, &self.prefix), 3)?;
            }
        }
        Ok(())
    }

    /// A connection that does not wait for an answer; `None` if there is none, and the session has parted.
    fn lane(&mut self, number: usize, pick: usize) -> Option<usize> {
        let free: Vec<usize> = (0..LANES).filter(|&lane| !self.kafka.lanes[lane].is_waiting()).collect();
        if !free.is_empty() {
            return Some(free[pick % free.len()]);
        }
        self.wait_for_any(number);
        let lane = (0..LANES).find(|&lane| !self.kafka.lanes[lane].is_waiting());
        if lane.is_none() {
            self.close();
        }
        (!self.parted).then(|| lane.unwrap_or(0))
    }

    fn step(&mut self, number: usize, step: &Step) -> std::io::Result<()> {
        let (key, version) = (step.key, step.version);
        let Some(lane) = self.lane(number, step.pick) else { return Ok(()) };
        let draw = |side: &Side| {
            let rng = ChaCha8Rng::seed_from_u64(step.seed);
            let (known, prefix) = (&side.known, self.prefix.as_str());
            let is_wide = self.is_wide;
            let mut drawer = Drawer { rng, key, version, known, prefix, is_wide, path: Vec::new() };
            AnyRequest::draw(key, &mut drawer, version)
        };
        let requests = [draw(&self.kafka), draw(&self.ours)];
        if self.plan.shown {
            let how = step.damage.map(|damage| format!(" {damage:?}")).unwrap_or_default();
            let how = if step.as_token { " as a token".into() } else { how };
            let how = if step.is_tagged { format!("{how} tagged") } else { how };
            let how = step.client_id.map(|id| format!("{how} of {id:?}")).unwrap_or(how);
            let name = key.api().name;
            println!("{number} lane {lane} {name} v{version}{how} {}", shown(&requests[0], version));
        }
        for (side, request) in [&mut self.kafka, &mut self.ours].into_iter().zip(requests) {
            let lane = &mut side.lanes[lane];
            lane.next_with(step.client_id, step.is_tagged);
            match (step.damage, request) {
                (Some(damage), request) => lane.send_damaged(request, version, damage)?,
                (None, AnyRequest::SaslAuthenticate(request)) if step.as_token => {
                    lane.send_token(request, version)?
                }
                (None, request) => lane.send(request, version)?,
            }
        }
        self.collect(number, lane, PROMPT);
        // Others may have waited for this one.
        for other in (0..LANES).filter(|&other| other != lane) {
            if !self.parted && self.kafka.lanes[other].is_waiting() {
                self.collect(number, other, Duration::from_millis(30));
            }
        }
        // What is done behind the answer.
        match key {
            ApiKey::AlterConfigs | ApiKey::IncrementalAlterConfigs | ApiKey::EndTxn => sleep_ms(150),
            ApiKey::AlterUserScramCredentials | ApiKey::AlterClientQuotas => sleep_ms(150),
            ApiKey::CreateTopics | ApiKey::CreatePartitions => self.settle(150)?,
            // It may have made a topic.
            ApiKey::Metadata if version < 4 => self.settle(150)?,
            ApiKey::DeleteTopics | ApiKey::AlterPartitionReassignments => self.settle(400)?,
            _ => {}
        }
        Ok(())
    }

    /// Waits, at least for so many milliseconds, until both tell the same of the session's topics; or not, which will show.
    fn settle(&mut self, least_ms: u64) -> std::io::Result<()> {
        sleep_ms(least_ms);
        let end = Instant::now() + SETTLED;
        while Instant::now() < end {
            let everything = MetadataRequest { topics: None, ..Default::default() };
            let mut topics = Vec::new();
            for side in [&mut self.kafka, &mut self.ours] {
                side.look.send(everything.clone().into(), 9)?;
                match side.look.outcome(LATE) {
                    Some((_, _, Outcome::Answer(answer))) => {
                        topics.push(side.known.common(ApiKey::Metadata, answer));
                    }
                    _ => side.look.drop_connection(),
                }
            }
            if topics.len() == 2 && topics[0] == topics[1] {
                return Ok(());
            }
            sleep_ms(50);
        }
        Ok(())
    }

    fn wait_for_any(&mut self, step: usize) {
        let end = Instant::now() + STUCK;
        while Instant::now() < end && !self.parted {
            for lane in 0..LANES {
                self.collect(step, lane, Duration::from_millis(100));
                if !self.kafka.lanes[lane].is_waiting() {
                    return;
                }
            }
        }
    }

    /// Compares the two outcomes on a lane, once one of them is there within `wait`.
    fn collect(&mut self, step: usize, lane: usize, wait: Duration) {
        let (kafka, ours) = match self.kafka.lanes[lane].outcome(wait) {
            Some(kafka) => (Some(kafka), self.ours.lanes[lane].outcome(LATE)),
            None => match self.ours.lanes[lane].outcome(Duration::from_millis(1)) {
                Some(ours) => (self.kafka.lanes[lane].outcome(LATE), Some(ours)),
                None => return,
            },
        };
        let (request, version) = match (&kafka, &ours) {
            (Some((request, version, _)), _) | (_, Some((request, version, _))) => {
                (request.clone(), *version)
            }
            (None, None) => return,
        };
        let key = request.key();
        match self.story.is_damaged {
            true => self.asked.damaged += 1,
            false => self.asked.count(key, version),
        }
        if kafka.is_none() || ours.is_none() {
            // An answer that comes after all is not for the next request.
            self.kafka.lanes[lane].drop_connection();
            self.ours.lanes[lane].drop_connection();
        }
        let kafka = told(&mut self.kafka.known, key, kafka.map(|(_, _, outcome)| outcome));
        let ours = told(&mut self.ours.known, key, ours.map(|(_, _, outcome)| outcome));
        if self.plan.shown {
            println!("    kafka {kafka}");
        }
        for difference in compare(&kafka, &ours) {
            let listed = self.listed.has(key.api(), &difference);
            if self.plan.shown {
                println!("    ours  {ours}");
            }
            self.parted |= !listed && !self.plan.goes_on;
            let request = shown(&request, version);
            let session = format!("seed {}", self.plan.seed);
            self.found.push(Found { session, step, api: key.api(), version, request, difference, listed });
        }
    }

    fn close(&mut self) {
        for side in [&mut self.kafka, &mut self.ours] {
            side.lanes.iter_mut().for_each(Lane::drop_connection);
        }
    }
}

fn sleep_ms(time: u64) {
    std::thread::sleep(Duration::from_millis(time));
}

/// A request in one line that ends somewhere.
pub(super) fn shown(request: &AnyRequest, version: i16) -> String {
    let mut text = request.show(version).to_string();
    let end = (0..=600.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.truncate(end);
    text
}

/// What came, under the names that both have.
pub(super) fn told(known: &mut Known, key: ApiKey, outcome: Option<Outcome>) -> Value {
    match outcome {
        Some(Outcome::Answer(answer)) => {
            known.learn(key, &answer);
            known.common(key, answer)
        }
        Some(Outcome::Closed) => Value::Text("the connection is closed".into()),
        Some(Outcome::Unreadable(why)) => Value::Text(format!("not an answer: {why}").into()),
        None => Value::Text("no answer".into()),
    }
}
