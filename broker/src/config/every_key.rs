//! Every setting of a broker and of a topic of Kafka 3.5.1 has a row in `docs/compatibility.md`, which says what becomes of it.

use super::without_effect::is_without_effect;
use super::{BROKER_KEYS, Key, NOT_YET, THROTTLE_KEYS, TOPIC_KEYS};

/// The rows below a heading: what stands in backticks in the first column, and the state.
fn documented(heading: &str) -> Vec<(Vec<String>, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, table) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    let table = table.split_once("\n## ").map_or(table, |(table, _)| table);
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|row| row.split('|').map(str::to_owned).collect::<Vec<_>>());
    cells.map(|cells| (names(&cells[1]), cells[2].trim().to_owned())).collect()
}

fn names(cell: &str) -> Vec<String> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The key itself, or its family: `ssl.*`, `*.purgatory.*`.
fn speaks_of(name: &str, key: &str) -> bool {
    let parts: Vec<&str> = name.split('*').collect();
    match parts[..] {
        [whole] => whole == key,
        [start, end] => key.len() > start.len() + end.len() && key.starts_with(start) && key.ends_with(end),
        ["", middle, ""] => key.contains(middle),
        _ => false,
    }
}

fn states<'a>(rows: &'a [(Vec<String>, String)], key: &str) -> Vec<&'a str> {
    let exact = rows.iter().filter(|(names, _)| names.iter().any(|name| name == key));
    let exact: Vec<&str> = exact.map(|(_, state)| &**state).collect();
    if !exact.is_empty() {
        // A row that names the key counts for more than one of its family.
        return exact;
    }
    let family = rows.iter().filter(|(names, _)| names.iter().any(|name| speaks_of(name, key)));
    family.map(|(_, state)| &**state).collect()
}

fn wrong(heading: &str, keys: &[&[Key]]) -> Vec<String> {
    let rows = documented(heading);
    let keys = keys.iter().flat_map(|table| table.iter());
    let fits = |key: &Key, state: &str| match key.name {
        name if is_without_effect(name) => state.starts_with("ignored"),
        name if NOT_YET.iter().any(|(known, harmless)| *known == name && *harmless != ["true", "false"]) => {
            !state.starts_with("ignored")
        }
        _ => true,
    };
    keys.filter_map(|key| match &states(&rows, key.name)[..] {
        [] => Some(format!("{} has no row", key.name)),
        states if states.iter().all(|state| fits(key, state)) => None,
        states => Some(format!("{}: {states:?}", key.name)),
    })
    .collect()
}

#[test]
fn the_documents_say_what_becomes_of_every_setting() {
    assert_eq!(wrong("Broker settings", &[BROKER_KEYS, THROTTLE_KEYS]), Vec::<String>::new());
    assert_eq!(wrong("Topic settings", &[TOPIC_KEYS]), Vec::<String>::new());
}

#[test]
fn the_documents_name_no_setting_that_does_not_exist() {
    for (heading, tables) in
        [("Broker settings", &[BROKER_KEYS, THROTTLE_KEYS][..]), ("Topic settings", &[TOPIC_KEYS][..])]
    {
        for name in documented(heading).iter().flat_map(|(names, _)| names) {
            let known = tables.iter().any(|table| table.iter().any(|key| speaks_of(name, key.name)));
            let of_listeners = name.starts_with("listener.name.");
            assert!(known || of_listeners || name == "TUNING", "{heading}: {name}");
        }
    }
}
