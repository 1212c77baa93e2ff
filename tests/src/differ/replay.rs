//! A recorded session with both brokers.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use wire::jute::Reader;
use wire::kafka::{AnyRequest, ApiKey, RequestHeader};

use super::again::again;
use super::compare;
use super::coverage::Coverage;
use super::known::Known;
use super::listed::Listed;
use super::peer::{Lane, Outcome, read_answer};
use super::recording::{Recording, What};
use super::session::{Address, Found, Report, shown, told};

/// How long each broker has for an answer that the recorded one gave.
const LATE: Duration = Duration::from_secs(10);

/// How long what is done behind an answer takes.
const BEHIND: Duration = Duration::from_millis(500);

struct Side {
    at: Address,
    lanes: HashMap<usize, Lane>,
    known: Known,
}

impl Side {
    fn new(at: &Address, prefix: &str) -> Side {
        let known = Known { own_words: at.own_words.clone(), prefix: prefix.into(), ..Known::default() };
        Side { at: at.clone(), lanes: HashMap::new(), known }
    }

    fn lane(&mut self, connection: usize) -> &mut Lane {
        let address = self.at.address;
        self.lanes.entry(connection).or_insert_with(|| Lane::new(address, ""))
    }
}

/// Replays `recording`, in the order of its events. The first difference that is not listed ends it.
pub fn replay(
    recording: &Recording,
    token: &str,
    kafka: &Address,
    ours: &Address,
    listed: &Listed,
    is_shown: bool,
) -> std::io::Result<Report> {
    let bad = |why: String| std::io::Error::other(format!("{}: {why}", recording.name));
    let mut sides = [Side::new(kafka, token), Side::new(ours, token)];
    let mut then = Known::default();
    let mut asked: HashMap<usize, std::collections::VecDeque<(AnyRequest, i16)>> = HashMap::new();
    let mut report = Report { compared: Coverage::default(), found: Vec::new() };
    for (step, event) in recording.events.iter().enumerate() {
        let open = asked.entry(event.connection).or_default();
        match &event.what {
            What::Asked(frame) => {
                let (header, request) = request_of(frame.clone()).map_err(bad)?;
                let version = header.request_api_version;
                if is_shown {
                    let (name, text) = (request.key().api().name, shown(&request, version));
                    println!("{step} connection {} {name} v{version} {text}", event.connection);
                }
                for side in &mut sides {
                    let request = again(&request, version, &then, &side.known);
                    let lane = side.lane(event.connection);
                    lane.client_id = header.client_id.clone();
                    lane.send(request, version)?;
                }
                open.push_back((request, version));
            }
            What::Closed => {
                open.clear();
                sides.iter_mut().for_each(|side| side.lane(event.connection).drop_connection());
            }
            What::Answered(frame) => {
                // The client closed the connection and did not wait for it.
                let Some((request, version)) = open.pop_front() else { continue };
                let key = request.key();
                if !frame.is_empty()
                    && let Outcome::Answer(answer) = read_answer(key, version, None, frame.clone())
                {
                    then.learn(key, &answer);
                }
                let [kafka, ours] = &mut sides;
                let outcome = |side: &mut Side| {
                    let outcome = side.lane(event.connection).outcome(LATE);
                    told(&mut side.known, key, outcome.map(|(_, _, outcome)| outcome))
                };
                let (kafka, ours) = (outcome(kafka), outcome(ours));
                report.compared.count(key, version);
                if is_shown {
                    println!("{step}   kafka {kafka}");
                }
                // The client was not so fast, and brokers do these behind their answers.
                let makes_topics = key == ApiKey::Metadata && version < 4;
                if makes_topics
                    || matches!(
                        key,
                        ApiKey::CreateTopics
                            | ApiKey::DeleteTopics
                            | ApiKey::CreatePartitions
                            | ApiKey::AlterPartitionReassignments
                            | ApiKey::IncrementalAlterConfigs
                            | ApiKey::AlterClientQuotas
                            | ApiKey::EndTxn
                    )
                {
                    std::thread::sleep(BEHIND);
                }
                let mut parted = false;
                for difference in compare(&kafka, &ours) {
                    let is_listed = listed.has(key.api(), &difference);
                    parted |= !is_listed;
                    report.found.push(Found {
                        session: recording.name.clone(),
                        step,
                        api: key.api(),
                        version,
                        request: shown(&request, version),
                        difference,
                        listed: is_listed,
                    });
                }
                if parted {
                    return Ok(report);
                }
            }
        }
    }
    Ok(report)
}

fn request_of(frame: Bytes) -> Result<(RequestHeader, AnyRequest), String> {
    let mut reader = Reader::new(frame);
    let header = RequestHeader::read(&mut reader).map_err(|error| error.to_string())?;
    let key = ApiKey::from_i16(header.request_api_key)
        .ok_or_else(|| format!("no API has the key {}", header.request_api_key))?;
    let request = AnyRequest::read(key, &mut reader, header.request_api_version)
        .map_err(|error| format!("{}: {error}", key.api().name))?;
    Ok((header, request))
}
