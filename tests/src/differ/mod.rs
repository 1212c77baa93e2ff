//! The same requests to two brokers, and their answers side by side, field by field.
//!
//! A session is drawn from a seed: some requests of each API and version, with values that make sense, values at the edge
//! and nonsense, on three connections. What a broker chooses itself (member ids, producer ids, topic ids, fetch sessions)
//! is learned from its answers and given back to it, and stands under a common name where answers are compared. The first
//! difference that is not [`listed`] ends a session, since the two have parted ways from there.
//!
//! Recorded sessions of real clients are replayed to both in the same way: see [`recording`].

pub mod again;
pub mod coverage;
pub mod damage;
pub mod draw;
pub mod draw_security;
pub mod known;
pub mod listed;
pub mod peer;
pub mod recording;
pub mod records;
pub mod replay;
pub mod rights;
pub mod session;
pub mod steps;
pub mod stories;
pub mod warm;
pub mod wide;
pub mod wide_records;

use wire::kafka::shape::Value;

/// Where two answers differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Field names from the outside in; the items of a list have no names.
    pub path: String,
    pub kafka: String,
    pub ours: String,
}

/// All places in which `ours` is not what `kafka` is.
pub fn compare(kafka: &Value, ours: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    differ("", kafka, ours, &mut found);
    found
}

fn differ(path: &str, kafka: &Value, ours: &Value, found: &mut Vec<Difference>) {
    match (kafka, ours) {
        (Value::Struct(left), Value::Struct(right)) if left.len() == right.len() => {
            for ((name, left), (_, right)) in left.iter().zip(right) {
                let dot = if path.is_empty() { "" } else { "." };
                differ(&format!("{path}{dot}{name}"), left, right, found);
            }
        }
        (Value::List(left), Value::List(right)) if left.len() == right.len() => {
            for (left, right) in left.iter().zip(right) {
                differ(path, left, right, found);
            }
        }
        (Value::List(left), Value::List(right)) if are_structs(left) && are_structs(right) => {
            one_by_one(path, left, right, found);
        }
        (left, right) if left == right => {}
        (left, right) => {
            found.push(Difference { path: path.into(), kafka: left.to_string(), ours: right.to_string() })
        }
    }
}

fn are_structs(items: &[Value]) -> bool {
    items.iter().all(|item| matches!(item, Value::Struct(fields) if !fields.is_empty()))
}

/// Lists of different lengths: items with the same first field are each other's, and the rest is missing on one side.
fn one_by_one(path: &str, left: &[Value], right: &[Value], found: &mut Vec<Difference>) {
    let key = |item: &Value| match item {
        Value::Struct(fields) => fields[0].1.clone(),
        other => other.clone(),
    };
    let mut rest: Vec<&Value> = right.iter().collect();
    let nothing = || "nothing".to_string();
    for item in left {
        match rest.iter().position(|other| key(other) == key(item)) {
            Some(at) => differ(path, item, rest.remove(at), found),
            None => found.push(Difference { path: path.into(), kafka: item.to_string(), ours: nothing() }),
        }
    }
    found.extend(rest.into_iter().map(|item| Difference {
        path: path.into(),
        kafka: nothing(),
        ours: item.to_string(),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &'static str, partitions: &[i64]) -> Value {
        let partitions = partitions.iter().map(|&index| Value::Int(index)).collect();
        Value::Struct(vec![("name", Value::Text(name.into())), ("partitions", Value::List(partitions))])
    }

    #[test]
    fn a_difference_is_told_with_its_path_and_both_values() {
        let answer =
            |topics| Value::Struct(vec![("throttle", Value::Int(0)), ("topics", Value::List(topics))]);
        let kafka = answer(vec![topic("a", &[0, 1]), topic("b", &[0])]);
        assert_eq!(compare(&kafka, &kafka), []);
        let found = compare(&kafka, &answer(vec![topic("a", &[0, 2]), topic("c", &[0])]));
        let shown: Vec<_> =
            found.iter().map(|d| (d.path.as_str(), d.kafka.as_str(), d.ours.as_str())).collect();
        assert_eq!(shown, [("topics.partitions", "1", "2"), ("topics.name", "\"b\"", "\"c\"")]);
        let found = compare(&kafka, &answer(vec![topic("a", &[0, 1])]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "topics");
        assert_eq!((&*found[0].kafka, &*found[0].ours), ("{name: \"b\", partitions: [0]}", "nothing"));
    }
}
