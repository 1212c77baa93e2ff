//! A recorded request made anew for another broker: the same, but for what the broker of the recording chose itself.

use std::collections::VecDeque;

use bytes::Bytes;
use wire::Str;
use wire::batch::HEADER_SIZE;
use wire::kafka::shape::{Draw, Value};
use wire::kafka::{AnyRequest, Uuid};

use super::known::Known;

/// `request` of the recording, in which `then` was known, for a broker of which `now` is known.
pub fn again(request: &AnyRequest, version: i16, then: &Known, now: &Known) -> AnyRequest {
    let mut again = Again { leaves: VecDeque::new(), path: Vec::new(), then, now };
    again.flatten(request.show(version));
    AnyRequest::draw(request.key(), &mut again, version)
}

/// Draws what was shown.
struct Again<'a> {
    /// In the order of the fields; a list is its length, and then its items.
    leaves: VecDeque<Value>,
    path: Vec<&'static str>,
    then: &'a Known,
    now: &'a Known,
}

impl Again<'_> {
    fn flatten(&mut self, value: Value) {
        match value {
            Value::Struct(fields) => fields.into_iter().for_each(|(_, value)| self.flatten(value)),
            Value::List(items) => {
                self.leaves.push_back(Value::Int(items.len() as i64));
                items.into_iter().for_each(|item| self.flatten(item));
            }
            leaf => self.leaves.push_back(leaf),
        }
    }

    fn next(&mut self) -> Value {
        self.leaves.pop_front().expect("a message is drawn as it is shown")
    }

    fn number(&mut self) -> i64 {
        match self.next() {
            Value::Int(value) => value,
            Value::Error(code) => code.0.into(),
            other => panic!("{other} where a number is drawn"),
        }
    }

    fn producer(&self, id: i64) -> i64 {
        let place = self.then.producers.iter().position(|(known, _)| *known == id);
        place.and_then(|place| self.now.producers.get(place)).map_or(id, |(id, _)| *id)
    }

    /// Batches of the same producer here.
    fn records(&self, records: &Bytes) -> Bytes {
        let mut records = records.to_vec();
        let mut at = 0;
        while records.len() >= at + HEADER_SIZE && records[at + 16] == 2 {
            let len = u32::from_be_bytes(records[at + 8..at + 12].try_into().expect("4 bytes")) as usize;
            let end = (at + 12 + len).min(records.len());
            let id = i64::from_be_bytes(records[at + 43..at + 51].try_into().expect("8 bytes"));
            records[at + 43..at + 51].copy_from_slice(&self.producer(id).to_be_bytes());
            let checksum = crc32c::crc32c(&records[at + 21..end]);
            records[at + 17..at + 21].copy_from_slice(&checksum.to_be_bytes());
            at = end;
        }
        records.into()
    }
}

impl Draw for Again<'_> {
    fn enter(&mut self, field: &'static str) {
        self.path.push(field);
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn null(&mut self) -> bool {
        let is_null = self.leaves.front() == Some(&Value::Null);
        if is_null {
            self.leaves.pop_front();
        }
        is_null
    }

    fn count(&mut self) -> usize {
        self.number() as usize
    }

    fn bool(&mut self) -> bool {
        matches!(self.next(), Value::Bool(true))
    }

    fn int(&mut self, _: u32) -> i64 {
        let value = self.number();
        match self.path.last().copied() {
            Some("producer_id" | "v3_and_below_producer_id" | "producer_id_filters") => self.producer(value),
            Some("session_id") => {
                let place = self.then.fetch_sessions.iter().position(|known| i64::from(*known) == value);
                place.and_then(|place| self.now.fetch_sessions.get(place)).map_or(value, |id| i64::from(*id))
            }
            _ => value,
        }
    }

    fn float(&mut self) -> f64 {
        match self.next() {
            Value::Float(value) => value,
            other => panic!("{other} where a float is drawn"),
        }
    }

    fn text(&mut self) -> Str {
        let Value::Text(text) = self.next() else { panic!("no text where one is drawn") };
        let place = self.then.members.iter().position(|member| *member == text);
        place.and_then(|place| self.now.members.get(place)).cloned().unwrap_or(text)
    }

    fn bytes(&mut self) -> Bytes {
        let Value::Bytes(bytes) = self.next() else { panic!("no bytes where some are drawn") };
        match self.path.last().copied() {
            Some("records") => self.records(&bytes),
            _ => bytes,
        }
    }

    fn id(&mut self) -> Uuid {
        let Value::Id(id) = self.next() else { panic!("no id where one is drawn") };
        let named = self.then.topic_ids.iter().find(|(_, known)| **known == id);
        named.and_then(|(name, _)| self.now.topic_ids.get(name)).copied().unwrap_or(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differ::draw::Drawer;
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;
    use wire::batch::{Batch, BatchBuilder};
    use wire::kafka::fetch::{FetchRequest, FetchTopic};
    use wire::kafka::heartbeat::HeartbeatRequest;
    use wire::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
    use wire::kafka::{APIS, ApiKey};

    #[test]
    fn a_request_of_which_nothing_was_chosen_by_a_broker_stays_what_it_was() {
        let known = Known::default();
        for api in APIS.iter().filter(|api| api.broker_versions.is_some() && api.key != ApiKey::Produce) {
            for version in api.versions.0..=api.versions.1 {
                for seed in 0..6 {
                    let rng = ChaCha8Rng::seed_from_u64(seed);
                    let path = Vec::new();
                    let mut drawer = Drawer {
                        rng,
                        key: api.key,
                        version,
                        known: &known,
                        prefix: "p-",
                        is_wide: seed > 1,
                        path,
                    };
                    let request = AnyRequest::draw(api.key, &mut drawer, version);
                    let same = again(&request, version, &known, &known);
                    assert_eq!(same.show(version), request.show(version), "{} v{version}", api.name);
                }
            }
        }
    }

    #[test]
    fn what_a_broker_chose_is_what_the_other_chose_in_its_place() {
        let known = |member: &'static str, producer, session, id| Known {
            members: vec![Str::from_static(member)],
            producers: vec![(producer, 0)],
            fetch_sessions: vec![session],
            topic_ids: [(Str::from_static("t"), Uuid([id; 16]))].into(),
            ..Known::default()
        };
        let (then, now) = (known("c-1", 7, 70, 1), known("c-2", 9, 90, 2));
        let beat = HeartbeatRequest { member_id: "c-1".into(), ..Default::default() };
        let AnyRequest::Heartbeat(beat) = again(&beat.into(), 4, &then, &now) else { panic!() };
        assert_eq!(beat.member_id, "c-2");
        let topic = FetchTopic { topic_id: Uuid([1; 16]), ..Default::default() };
        let fetch = FetchRequest { session_id: 70, topics: vec![topic], ..Default::default() };
        let AnyRequest::Fetch(fetch) = again(&fetch.into(), 13, &then, &now) else { panic!() };
        assert_eq!((fetch.session_id, fetch.topics[0].topic_id), (90, Uuid([2; 16])));

        let mut batch = BatchBuilder::new().producer(7, 0, 0);
        batch.push(1, None, Some(b"x"), &[]);
        let data = PartitionProduceData { index: 0, records: Some(batch.finish().unwrap()) };
        let topic = TopicProduceData { name: "t".into(), partition_data: vec![data] };
        let produce = ProduceRequest { topic_data: vec![topic], ..Default::default() };
        let AnyRequest::Produce(produce) = again(&produce.into(), 9, &then, &now) else { panic!() };
        let mut records = produce.topic_data[0].partition_data[0].records.clone().unwrap();
        let batch = Batch::split_from(&mut records).unwrap().unwrap();
        assert_eq!(batch.header().producer_id, 9);
        batch.check_crc().unwrap();
    }
}
