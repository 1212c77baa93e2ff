//! `--json`, which listing tools have in addition to Java's options: one document on stdout, in place of the table.
//! What each document holds is told in `docs/tools-json.md`.

use super::argparse::Arg;
use base::ToolOption;
use client::TopicPartition;
use serde_json::{Map, Value, json};

/// The option of tools that read theirs as jopt-simple does.
pub const OPTION: ToolOption = ToolOption::flag("json", "Prints one JSON document in place of the table.");
/// The option of tools that read theirs as argparse4j does.
pub const ARG: Arg = Arg::flag(&["--json"], "Prints one JSON document in place of the table.");

/// Prints the document, on a line of its own.
pub fn print(document: &Value) {
    println!("{document}");
}

/// `{"topic":"t","partition":0}`
pub fn partition(partition: &TopicPartition) -> Value {
    json!({ "topic": &*partition.topic, "partition": partition.partition })
}

/// Titles that stand over text, also where it looks like a number.
const TEXTS: [&str; 3] = ["TransactionalId", "TransactionState", "Topic"];
/// The title over a list of partitions.
const PARTITIONS: &str = "TopicPartitions";

/// A table's rows as objects: titles become keys (`ProducerId` is `producer_id`), `None` is null.
pub fn rows(headers: &[&str], rows: &[Vec<String>]) -> Value {
    let cell = |title: &str, text: &String| match title {
        PARTITIONS => text.split(',').filter(|one| !one.is_empty()).map(of_text).collect(),
        title if TEXTS.contains(&title) => Value::from(text.as_str()),
        _ if text == "None" => Value::Null,
        _ => text.parse::<i64>().map_or_else(|_| Value::from(text.as_str()), Value::from),
    };
    let row = |cells: &Vec<String>| -> Map<String, Value> {
        headers.iter().zip(cells).map(|(title, text)| (key(title), cell(title, text))).collect()
    };
    rows.iter().map(row).collect()
}

/// `t-0` is partition 0 of `t`.
fn of_text(text: &str) -> Value {
    let (topic, index) = text.rsplit_once('-').unwrap_or((text, ""));
    json!({ "topic": topic, "partition": index.parse::<i32>().ok() })
}

/// `ProducerId` as `producer_id`, `Duration(min)` as `duration_min`.
fn key(title: &str) -> String {
    let mut key = String::new();
    for letter in title.chars().filter(|letter| *letter != ')') {
        match letter {
            '(' => key.push('_'),
            letter if letter.is_ascii_uppercase() && !key.is_empty() => {
                key.push('_');
                key.push(letter.to_ascii_lowercase());
            }
            letter => key.push(letter.to_ascii_lowercase()),
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_rows_are_objects_by_its_titles() {
        let headers = ["TransactionalId", "ProducerId", "CurrentTransactionStartOffset", "TopicPartitions"];
        let cells = ["7", "7", "None", "a-b-1,c-2"].map(str::to_owned).to_vec();
        assert_eq!(
            rows(&headers, &[cells]).to_string(),
            r#"[{"transactional_id":"7","producer_id":7,"current_transaction_start_offset":null,"topic_partitions":[{"topic":"a-b","partition":1},{"topic":"c","partition":2}]}]"#
        );
        assert_eq!(key("Duration(min)"), "duration_min");
    }
}
