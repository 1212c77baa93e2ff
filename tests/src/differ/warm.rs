//! Before the first session: both brokers have their coordinators' topics, and have loaded them. Which request first finds a
//! topic there that another one caused to be made is a matter of time.

use std::time::{Duration, Instant};

use wire::kafka::describe_transactions::DescribeTransactionsRequest;
use wire::kafka::find_coordinator::FindCoordinatorRequest;
use wire::kafka::list_groups::ListGroupsRequest;
use wire::kafka::metadata::MetadataRequestTopic;
use wire::kafka::{AnyRequest, AnyResponse, HeartbeatRequest, MetadataRequest};

use super::peer::{Lane, Outcome};
use super::session::Address;

/// Names for each of a few partitions of the coordinators' topics.
const NAMES: usize = 24;
const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until the broker coordinates groups and transactions of any name.
pub fn warm(at: &Address) -> std::io::Result<()> {
    let mut lane = Lane::new(at.address, "differ-warm");
    let end = Instant::now() + PATIENCE;
    for n in 0..NAMES {
        let name = format!("warm-{n}");
        for key_type in [0, 1] {
            let find = FindCoordinatorRequest { key: name.as_str().into(), key_type, ..Default::default() };
            until(&mut lane, end, &find.into(), 2, |answer| answer.contains("error_code: NONE("))?;
        }
        let beat = HeartbeatRequest { group_id: name.as_str().into(), ..Default::default() };
        until(&mut lane, end, &beat.into(), 3, |answer| answer.contains("UNKNOWN_MEMBER_ID"))?;
        let describe = DescribeTransactionsRequest { transactional_ids: vec![name.as_str().into()] };
        until(&mut lane, end, &describe.into(), 0, |answer| answer.contains("TRANSACTIONAL_ID_NOT_FOUND"))?;
    }
    let list = ListGroupsRequest::default();
    until(&mut lane, end, &list.into(), 4, |answer| answer.contains("error_code: NONE("))
}

/// As [`warm`], if one of the topics is gone.
pub fn warm_again(at: &Address, look: &mut Lane) -> std::io::Result<()> {
    let topic = |name: &'static str| MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let topics = ["__consumer_offsets", "__transaction_state"].map(topic);
    let request = MetadataRequest { topics: Some(topics.into()), ..Default::default() };
    let AnyResponse::Metadata(told) = look.ask(request.into(), 9)? else { return Ok(()) };
    match told.topics.iter().all(|topic| topic.error_code.is_ok()) {
        true => Ok(()),
        false => warm(at),
    }
}

fn until(
    lane: &mut Lane,
    end: Instant,
    request: &AnyRequest,
    version: i16,
    is_it: impl Fn(&str) -> bool,
) -> std::io::Result<()> {
    loop {
        lane.send(request.clone(), version)?;
        let outcome = lane.outcome(Duration::from_secs(10));
        let answer = match outcome {
            Some((_, _, Outcome::Answer(answer))) => answer.to_string(),
            other => format!("{other:?}"),
        };
        if is_it(&answer) {
            return Ok(());
        }
        if Instant::now() > end {
            let name = request.key().api().name;
            return Err(std::io::Error::other(format!("{name} is still answered with {answer}")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
