//! The files: what is to be moved where, and what the tool prints to be put into one.

use super::dirs::{DirState, Dirs, Replica};
use super::verify::State;
use super::{Exception, Failure, Ongoing, join};
use client::TopicPartition;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use wire::Str;

/// A log directory of the broker's own choice.
const ANY_DIR: &str = "any";

/// What `--reassignment-json-file` asks for, in its order.
#[derive(Debug, Default)]
pub struct Plan {
    pub partitions: Vec<(TopicPartition, Vec<i32>)>,
    /// Where replicas are to be in a directory of their own.
    pub dirs: Dirs,
}

impl Plan {
    /// The partitions, each once, as they can be asked for.
    pub fn checked(&self) -> Result<BTreeMap<TopicPartition, Vec<i32>>, Failure> {
        if self.partitions.is_empty() {
            return Err(Failure::refused("Partition reassignment list cannot be empty"));
        }
        if self.partitions.iter().any(|(_, replicas)| replicas.is_empty()) {
            return Err(Failure::refused("Partition replica list cannot be empty"));
        }
        let (mut checked, mut twice, mut doubled) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        for (partition, replicas) in &self.partitions {
            if checked.insert(partition.clone(), replicas.clone()).is_some() {
                twice.insert(partition);
            }
            let mut seen = BTreeSet::new();
            let again: BTreeSet<&i32> = replicas.iter().filter(|id| !seen.insert(**id)).collect();
            if !again.is_empty() {
                doubled.push(format!("{partition} contains multiple entries for {}", join(again)));
            }
        }
        if !twice.is_empty() {
            let list = join(twice);
            return Err(Failure::refused(format!(
                "Partition reassignment contains duplicate topic partitions: {list}"
            )));
        }
        if !doubled.is_empty() {
            return Err(Failure::refused(format!(
                "Partition replica lists may not contain duplicate entries: {}",
                doubled.join(". ")
            )));
        }
        Ok(checked)
    }
}

fn mapping(message: String) -> Failure {
    Failure::new("com.fasterxml.jackson.databind.JsonMappingException", message)
}

fn expected(kind: &str, found: &Value) -> Failure {
    mapping(format!("Expected `{kind}` value, received {found}"))
}

fn object(value: &Value) -> Result<&Map<String, Value>, Failure> {
    value.as_object().ok_or_else(|| mapping(format!("Expected JSON object, received {value}")))
}

fn array(value: &Value) -> Result<&Vec<Value>, Failure> {
    value.as_array().ok_or_else(|| mapping(format!("Expected JSON array, received {value}")))
}

fn field<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Failure> {
    object.get(name).ok_or_else(|| mapping(format!("No such field exists: `{name}`")))
}

fn int(value: &Value) -> Result<i32, Failure> {
    value.as_i64().and_then(|int| i32::try_from(int).ok()).ok_or_else(|| expected("Int", value))
}

fn text(value: &Value) -> Result<&str, Failure> {
    value.as_str().ok_or_else(|| expected("String", value))
}

fn check_version(root: &Map<String, Value>) -> Result<(), Failure> {
    match root.get("version").map_or(Ok(1), int)? {
        1 => Ok(()),
        other => Err(Failure::operation(format!("Not supported version field value {other}"))),
    }
}

/// Jackson's words for the mistake that is made most: something that is no JSON at all.
fn syntax_error(source: &str, error: &serde_json::Error) -> Failure {
    let start = source.trim_start();
    let word: String = start.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == '$').collect();
    let before = &source[..source.len() - start.len()];
    let message = if start.starts_with(char::is_alphabetic) {
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |indent| indent.chars().count());
        format!(
            "Unrecognized token '{word}': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or \
             'false')\n at [Source: (String)\"{source}\"; line: {line}, column: {}]",
            column + word.chars().count() + 1
        )
    } else {
        format!(
            "{error}\n at [Source: (String)\"{source}\"; line: {}, column: {}]",
            error.line(),
            error.column()
        )
    };
    let trace = format!(
        "kafka.admin.AdminOperationException: {message}\nCaused by: com.fasterxml.jackson.core.JsonParseException: \
         {message}"
    );
    Failure::Exception(Exception { message, trace })
}

/// Reads a plan.
pub fn plan(source: &str) -> Result<Plan, Failure> {
    let root: Value = serde_json::from_str(source).map_err(|error| syntax_error(source, &error))?;
    let root = object(&root)?;
    check_version(root)?;
    let mut plan = Plan::default();
    for entry in root.get("partitions").map_or(Ok(&Vec::new()), array)? {
        let entry = object(entry)?;
        let topic = text(field(entry, "topic")?)?;
        let partition = TopicPartition::new(topic, int(field(entry, "partition")?)?);
        let replicas = array(field(entry, "replicas")?)?.iter().map(int).collect::<Result<Vec<i32>, _>>()?;
        if let Some(dirs) = entry.get("log_dirs") {
            let dirs = array(dirs)?.iter().map(text).collect::<Result<Vec<&str>, _>>()?;
            if dirs.len() != replicas.len() {
                let listed = |items: Vec<String>| format!("Vector({})", items.join(", "));
                return Err(Failure::refused(format!(
                    "Size of replicas list {} is different from size of log dirs list {} for partition {partition}",
                    listed(replicas.iter().map(ToString::to_string).collect()),
                    listed(dirs.iter().map(ToString::to_string).collect())
                )));
            }
            for (&broker, dir) in replicas.iter().zip(dirs).filter(|(_, dir)| *dir != ANY_DIR) {
                let replica =
                    Replica { broker, topic: partition.topic.clone(), partition: partition.partition };
                plan.dirs.insert(replica, dir.to_owned());
            }
        }
        plan.partitions.push((partition, replicas));
    }
    Ok(plan)
}

/// Reads `--topics-to-move-json-file`.
pub fn topics(source: &str) -> Result<Vec<Str>, Failure> {
    let root: Value = serde_json::from_str(source)
        .map_err(|_| Failure::operation("The input string is not a valid JSON"))?;
    let root = object(&root)?;
    check_version(root)?;
    let none = Vec::new();
    let entries = root.get("topics").map_or(Ok(&none), array)?;
    entries.iter().map(|entry| Ok(text(field(object(entry)?, "topic")?)?.into())).collect()
}

fn partition_of(partition: &TopicPartition) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("topic".to_owned(), json!(&*partition.topic));
    object.insert("partition".to_owned(), json!(partition.partition));
    object
}

/// A plan as text.
pub fn assignments(assignments: &BTreeMap<TopicPartition, Vec<i32>>) -> String {
    let one = |(partition, replicas): (&TopicPartition, &Vec<i32>)| {
        let mut object = partition_of(partition);
        object.insert("replicas".to_owned(), json!(replicas));
        object.insert("log_dirs".to_owned(), json!(vec![ANY_DIR; replicas.len()]));
        Value::Object(object)
    };
    let partitions: Vec<Value> = assignments.iter().map(one).collect();
    json!({ "version": 1, "partitions": partitions }).to_string()
}

/// `--list --json`.
pub fn ongoing(ongoing: &Ongoing) -> Value {
    let one = |(partition, ongoing): (&TopicPartition, _)| {
        let ongoing: &wire::kafka::list_partition_reassignments::OngoingPartitionReassignment = ongoing;
        let mut object = partition_of(partition);
        object.insert("replicas".to_owned(), json!(ongoing.replicas));
        object.insert("adding".to_owned(), json!(ongoing.adding_replicas));
        object.insert("removing".to_owned(), json!(ongoing.removing_replicas));
        Value::Object(object)
    };
    json!({ "reassignments": ongoing.iter().map(one).collect::<Vec<_>>() })
}

/// `--verify --json`.
pub fn verified(states: &BTreeMap<TopicPartition, State>, moves: &BTreeMap<Replica, DirState>) -> Value {
    let partition = |(partition, state): (&TopicPartition, &State)| {
        let mut object = partition_of(partition);
        let name = match (state.done, state.current == state.target) {
            (false, _) => "moving",
            (true, true) => "completed",
            (true, false) => "elsewhere",
        };
        object.insert("state".to_owned(), json!(name));
        object.insert("replicas".to_owned(), json!(state.current));
        object.insert("target".to_owned(), json!(state.target));
        Value::Object(object)
    };
    let dir = |(replica, state): (&Replica, &DirState)| {
        json!({
            "topic": &*replica.topic,
            "partition": replica.partition,
            "broker": replica.broker,
            "state": state.name(),
        })
    };
    json!({
        "partitions": states.iter().map(partition).collect::<Vec<_>>(),
        "log_dirs": moves.iter().map(dir).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        match result {
            Err(Failure::Exception(exception)) => exception.message,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_plan_is_read_and_written() {
        let text = concat!(
            r#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[3,1],"log_dirs":["any","any"]},"#,
            r#"{"topic":"t","partition":10,"replicas":[2],"log_dirs":["any"]}]}"#
        );
        let read = plan(text).unwrap();
        assert_eq!(assignments(&read.checked().unwrap()), text);
        assert!(read.dirs.is_empty());
        let text = r#"{"partitions":[{"topic":"t","partition":0,"replicas":[3,1],"log_dirs":["any","/d"]}]}"#;
        let replica = Replica { broker: 1, topic: "t".into(), partition: 0 };
        assert_eq!(plan(text).unwrap().dirs, Dirs::from([(replica, "/d".to_owned())]));
    }

    #[test]
    fn mistakes_are_named_in_javas_words() {
        let of = |partition: &str| {
            why(plan(&format!(r#"{{"partitions":[{partition}]}}"#)).and_then(|p| p.checked()))
        };
        assert_eq!(of(r#"{"partition":0,"replicas":[1]}"#), "No such field exists: `topic`");
        assert_eq!(
            of(r#"{"topic":"t","partition":"0","replicas":[1]}"#),
            "Expected `Int` value, received \"0\""
        );
        assert_eq!(
            of(r#"{"topic":"t","partition":0,"replicas":[]}"#),
            "Partition replica list cannot be empty"
        );
        assert_eq!(of(""), "Partition reassignment list cannot be empty");
        assert_eq!(
            of(r#"{"topic":"t","partition":0,"replicas":[1,1]}"#),
            "Partition replica lists may not contain duplicate entries: t-0 contains multiple entries for 1"
        );
        assert_eq!(
            of(r#"{"topic":"t","partition":0,"replicas":[1]},{"topic":"t","partition":0,"replicas":[2]}"#),
            "Partition reassignment contains duplicate topic partitions: t-0"
        );
        assert_eq!(
            of(r#"{"topic":"t","partition":0,"replicas":[1,2],"log_dirs":["any"]}"#),
            "Size of replicas list Vector(1, 2) is different from size of log dirs list Vector(any) for partition t-0"
        );
        assert_eq!(why(plan(r#"{"version":2}"#)), "Not supported version field value 2");
        assert_eq!(
            why(plan("nonsense\n")),
            "Unrecognized token 'nonsense': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or \
             'false')\n at [Source: (String)\"nonsense\n\"; line: 1, column: 9]"
        );
        assert_eq!(why(topics("nonsense")), "The input string is not a valid JSON");
    }
}
