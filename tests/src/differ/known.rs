//! What one broker has told about itself, and answers in which that stands under names that both have.

use std::collections::BTreeMap;

use bytes::Bytes;
use wire::Str;
use wire::batch::HEADER_SIZE;
use wire::kafka::shape::Value;
use wire::kafka::{ApiKey, Uuid};

/// Values that a broker chose, in the order in which they were seen; the other one's stand at the same places.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub members: Vec<Str>,
    pub generations: Vec<i32>,
    pub producers: Vec<(i64, i16)>,
    pub fetch_sessions: Vec<i32>,
    pub topic_ids: BTreeMap<Str, Uuid>,
    /// Of delegation tokens.
    pub token_ids: Vec<Str>,
    pub hmacs: Vec<Bytes>,
    pub log_dirs: Vec<Str>,
    /// What stands before the names of this session.
    pub prefix: String,
    /// Texts of this broker alone (its port, its folders), and what they stand as.
    pub own_words: Vec<(String, String)>,
}

fn field<'a>(fields: &'a [(&'static str, Value)], name: &str) -> Option<&'a Value> {
    fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
}

impl Known {
    /// Takes note of what `answer` tells for the first time.
    pub fn learn(&mut self, key: ApiKey, answer: &Value) {
        let Value::Struct(fields) = answer else { return };
        let int = |name| match field(fields, name) {
            Some(Value::Int(value)) => Some(*value),
            _ => None,
        };
        match key {
            ApiKey::JoinGroup => {
                if let Some(Value::Text(member)) = field(fields, "member_id")
                    && !member.is_empty()
                    && !self.members.contains(member)
                {
                    self.members.push(member.clone());
                }
                if let Some(generation) = int("generation_id").filter(|&generation| generation > 0) {
                    self.generations.push(generation as i32);
                }
            }
            ApiKey::InitProducerId => {
                if let (Some(id @ 0..), Some(epoch)) = (int("producer_id"), int("producer_epoch")) {
                    self.producers.push((id, epoch as i16));
                }
            }
            ApiKey::Fetch => {
                let session = int("session_id").unwrap_or_default() as i32;
                if session != 0 && !self.fetch_sessions.contains(&session) {
                    self.fetch_sessions.push(session);
                }
            }
            ApiKey::Metadata | ApiKey::CreateTopics => {
                if let Some(Value::List(topics)) = field(fields, "topics") {
                    topics.iter().for_each(|topic| self.learn_topic(topic));
                }
            }
            ApiKey::CreateDelegationToken => {
                if let (Some(Value::Text(id)), Some(Value::Bytes(hmac))) =
                    (field(fields, "token_id"), field(fields, "hmac"))
                    && !hmac.is_empty()
                {
                    self.token_ids.push(id.clone());
                    self.hmacs.push(hmac.clone());
                }
            }
            ApiKey::DescribeLogDirs => {
                if let Some(Value::List(dirs)) = field(fields, "results") {
                    dirs.iter().for_each(|dir| self.learn_log_dir(dir));
                }
            }
            _ => {}
        }
    }

    fn learn_log_dir(&mut self, dir: &Value) {
        if let Value::Struct(fields) = dir
            && let Some(Value::Text(path)) = field(fields, "log_dir")
            && !self.log_dirs.contains(path)
        {
            self.log_dirs.push(path.clone());
        }
    }

    fn learn_topic(&mut self, topic: &Value) {
        let Value::Struct(fields) = topic else { return };
        if let (Some(Value::Text(name)), Some(Value::Id(id))) =
            (field(fields, "name"), field(fields, "topic_id"))
            && id.0 != [0; 16]
        {
            self.topic_ids.insert(name.clone(), *id);
        }
    }

    /// The answer as the other broker would have to give it, too.
    pub fn common(&self, key: ApiKey, answer: Value) -> Value {
        match answer {
            Value::Struct(fields) => Value::Struct(
                fields.into_iter().map(|(name, value)| (name, self.common_field(key, name, value))).collect(),
            ),
            other => other,
        }
    }

    fn common_field(&self, key: ApiKey, name: &'static str, value: Value) -> Value {
        match (name, value) {
            (_, Value::List(items)) => self.common_list(key, name, items),
            (_, Value::Struct(fields)) => self.common(key, Value::Struct(fields)),
            ("cluster_id", Value::Text(_)) => Value::Text("<cluster>".into()),
            ("port", Value::Int(_)) => Value::Text("<port>".into()),
            ("total_bytes" | "usable_bytes", Value::Int(bytes @ 0..)) if bytes > 0 => {
                Value::Text("<disk>".into())
            }
            ("log_append_time_ms" | "last_timestamp" | "transaction_start_time_ms", Value::Int(0..)) => {
                Value::Text("<time>".into())
            }
            // Records carry times of their own; these are of the control records of a transaction's end.
            ("timestamp", Value::Int(time)) if time > 1_700_000_000_000 => Value::Text("<time>".into()),
            ("producer_id", Value::Int(id)) => {
                let place = self.producers.iter().position(|(known, _)| *known == id);
                place.map_or(Value::Int(id), |place| Value::Text(format!("<producer {place}>").into()))
            }
            ("producer_id_start", Value::Int(0..)) => Value::Text("<block>".into()),
            ("session_id", Value::Int(id)) => {
                let place = self.fetch_sessions.iter().position(|known| i64::from(*known) == id);
                place.map_or(Value::Int(id), |place| Value::Text(format!("<session {place}>").into()))
            }
            (_, Value::Id(id)) if id.0 != [0; 16] => {
                let name =
                    self.topic_ids.iter().find(|(_, known)| **known == id).map(|(name, _)| name.to_string());
                Value::Text(format!("<id of {}>", name.unwrap_or_else(|| "an unknown topic".into())).into())
            }
            (
                "issue_timestamp_ms"
                | "expiry_timestamp_ms"
                | "max_timestamp_ms"
                | "issue_timestamp"
                | "expiry_timestamp"
                | "max_timestamp",
                Value::Int(time),
            ) if time > 1_700_000_000_000 => Value::Text(from_now(time).into()),
            ("hmac", Value::Bytes(hmac)) => {
                let place = self.hmacs.iter().position(|known| *known == hmac);
                place.map_or(Value::Bytes(hmac), |place| Value::Text(format!("<hmac {place}>").into()))
            }
            ("auth_bytes", Value::Bytes(bytes)) => Value::Bytes(common_challenge(bytes)),
            ("records", Value::Bytes(bytes)) => Value::Bytes(common_records(bytes)),
            (_, Value::Text(text)) => Value::Text(self.common_text(&text)),
            (_, value) => value,
        }
    }

    /// Java's lists come in the order of its hash maps more often than not: structs are compared in an order of their own.
    fn common_list(&self, key: ApiKey, name: &'static str, items: Vec<Value>) -> Value {
        let mut items: Vec<Value> =
            items.into_iter().map(|item| self.common_field(key, name, item)).collect();
        // What other sessions left.
        if matches!(
            (key, name),
            (ApiKey::ListGroups, "groups")
                | (ApiKey::ListTransactions, "transaction_states")
                | (ApiKey::Metadata | ApiKey::DescribeLogDirs | ApiKey::ListPartitionReassignments, "topics")
        ) {
            items.retain(|item| item.to_string().contains(&self.prefix));
        }
        if (key, name) == (ApiKey::DescribeDelegationToken, "tokens") {
            items.retain(|item| item.to_string().contains("<token "));
        }
        if (key, name) == (ApiKey::DescribeConfigs, "configs") {
            items.retain(|item| !is_loaded_logger(item));
        }
        // Out of a set, in Java.
        if name == "mechanisms" {
            items.sort_by_key(Value::to_string);
        }
        if matches!(items.first(), Some(Value::Struct(_))) {
            merge(&mut items);
            items.sort_by_key(Value::to_string);
        }
        Value::List(items)
    }

    fn common_text(&self, text: &Str) -> Str {
        if let Some(place) = self.members.iter().position(|member| member == text) {
            return format!("<member {place}>").into();
        }
        if let Some(place) = self.token_ids.iter().position(|id| id == text) {
            return format!("<token {place}>").into();
        }
        let mut common = text.to_string();
        for (place, member) in self.members.iter().enumerate() {
            common = common.replace(&**member, &format!("<member {place}>"));
        }
        if let Some((before, rest)) = common.split_once("connectionId=")
            && let Some((id, rest)) = rest.split_once(',')
        {
            // A request as Java prints it: which thread and connection it came by.
            let before = before.split_once("processor=").map_or(before, |(before, _)| before);
            common = format!("{before}connectionId={},{rest}", without_numbers(id));
        }
        for (word, name) in &self.own_words {
            common = common.replace(word, name);
        }
        common.into()
    }
}

/// Java answers out of maps where ours answers item by item: a topic that a request names twice, or without partitions, and
/// a partition that it names twice, stand there once, or not at all.
fn merge(items: &mut Vec<Value>) {
    let mut merged: Vec<Value> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let Value::Struct(fields) = &item else { continue };
        let same = |other: &&mut Value| match other {
            Value::Struct(others) => fields.len() == 2 && fields[0] == others[0],
            _ => false,
        };
        let found = merged.iter_mut().find(same);
        if let (Some(Value::Struct(others)), Some((_, Value::List(more)))) = (found, fields.get(1))
            && let Some((_, Value::List(list))) = others.get_mut(1)
        {
            list.extend(more.iter().cloned());
            list.sort_by_key(Value::to_string);
            list.dedup();
        } else if !merged.contains(&item) {
            merged.push(item);
        }
    }
    let is_hollow = |item: &Value| match item {
        Value::Struct(fields) => fields.len() == 2 && fields[1].1 == Value::List(Vec::new()),
        _ => false,
    };
    merged.retain(|item| !is_hollow(item));
    *items = merged;
}

/// Loggers that the file of their settings names. Which other classes have one depends on what a JVM has loaded.
const LOGGERS: [&str; 5] = [
    "kafka.authorizer.logger",
    "kafka.controller",
    "kafka.log.LogCleaner",
    "kafka.network.RequestChannel$",
    "kafka.request.logger",
];

fn is_loaded_logger(config: &Value) -> bool {
    let Value::Struct(fields) = config else { return false };
    let Some(Value::Text(name)) = field(fields, "name") else { return false };
    name.starts_with("kafka.") && !name.starts_with("kafka.metrics.") && !LOGGERS.contains(&&**name)
}

/// A text with one mark for each number in it.
fn without_numbers(text: &str) -> String {
    let parts: Vec<&str> = text.split(|c: char| c.is_ascii_digit()).collect();
    let mut shown = String::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 && (at == 1 || !parts[at - 1].is_empty()) {
            shown.push('#');
        }
        shown += part;
    }
    shown
}

/// A time in tens of minutes from now.
fn from_now(time: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let away = time.saturating_sub(now.as_millis() as i64);
    format!("<now and {} minutes>", away.saturating_add(300_000).div_euclid(600_000) * 10)
}

/// What a server answers to SCRAM's first message, without what it drew.
fn common_challenge(bytes: Bytes) -> Bytes {
    match std::str::from_utf8(&bytes).ok().and_then(|text| text.split_once(",s=")) {
        Some((nonce, rest)) if nonce.starts_with("r=differ") => format!("r=differ<nonce>,s={rest}").into(),
        _ => bytes,
    }
}

/// Record batches without what each broker gives its own: producer id and checksum; times too, in control batches.
fn common_records(records: Bytes) -> Bytes {
    let mut records = records.to_vec();
    let mut at = 0;
    while records.len() >= at + HEADER_SIZE && records[at + 16] == 2 {
        let len = i32::from_be_bytes(records[at + 8..at + 12].try_into().expect("4 bytes")) as usize;
        let control = records[at + 22] & 0x20 != 0;
        records[at + 17..at + 21].fill(0);
        if i64::from_be_bytes(records[at + 43..at + 51].try_into().expect("8 bytes")) >= 0 {
            records[at + 43..at + 51].fill(0);
        }
        if control {
            records[at + 27..at + 43].fill(0);
        }
        at += 12 + len;
    }
    Bytes::from(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_challenges_stand_without_what_each_broker_numbers_or_draws() {
        let known =
            |port: u16| Known { own_words: vec![(port.to_string(), "<port>".into())], ..Known::default() };
        let text = |known: Known, processor: u16, id: &str| {
            known.common_text(
                &format!("Request(processor={processor}, connectionId={id}, session=x) is not").into(),
            )
        };
        let kafka = text(known(9092), 3, "127.0.0.1:9092-127.0.0.1:39184-12");
        assert_eq!(kafka, text(known(9093), 0, "127.0.0.1:9093-127.0.0.1:4711-0"));
        assert_eq!(kafka, "Request(connectionId=#.#.#.#:#-#.#.#.#:#-#, session=x) is not");
        let first = Bytes::from_static(b"r=differabc,s=salt,i=4096");
        assert_eq!(common_challenge(first), &b"r=differ<nonce>,s=salt,i=4096"[..]);
        assert_eq!(common_challenge(Bytes::from_static(b"v=abc,s=x")), &b"v=abc,s=x"[..]);
    }

    fn joined(member: &'static str) -> Value {
        Value::Struct(vec![
            ("generation_id", Value::Int(3)),
            ("leader", Value::Text(member.into())),
            ("member_id", Value::Text(member.into())),
        ])
    }

    #[test]
    fn what_each_broker_chose_stands_under_one_name() {
        let (mut kafka, mut ours) = (Known::default(), Known::default());
        kafka.own_words.push(("9092".into(), "<port>".into()));
        kafka.learn(ApiKey::JoinGroup, &joined("c-1"));
        ours.learn(ApiKey::JoinGroup, &joined("c-77"));
        let left = kafka.common(ApiKey::JoinGroup, joined("c-1"));
        assert_eq!(left, ours.common(ApiKey::JoinGroup, joined("c-77")));
        assert_eq!(kafka.generations, [3]);
        let told = Value::Struct(vec![("error_message", Value::Text("c-1 at :9092".into()))]);
        assert_eq!(
            kafka.common(ApiKey::LeaveGroup, told).to_string(),
            "{error_message: \"<member 0> at :<port>\"}"
        );
    }
}
