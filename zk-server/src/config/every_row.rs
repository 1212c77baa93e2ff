//! Every operation and every error of ZooKeeper 3.9.3 has a row in `docs/compatibility.md`.

/// What a client may ask for.
const OPERATIONS: &[(&str, i32)] = &[
    ("closeSession", -11),
    ("create", 1),
    ("delete", 2),
    ("exists", 3),
    ("getData", 4),
    ("setData", 5),
    ("getACL", 6),
    ("setACL", 7),
    ("getChildren", 8),
    ("sync", 9),
    ("ping", 11),
    ("getChildren2", 12),
    ("check", 13),
    ("multi", 14),
    ("create2", 15),
    ("reconfig", 16),
    ("checkWatches", 17),
    ("removeWatches", 18),
    ("createContainer", 19),
    ("deleteContainer", 20),
    ("createTTL", 21),
    ("multiRead", 22),
    ("auth", 100),
    ("setWatches", 101),
    ("sasl", 102),
    ("getEphemerals", 103),
    ("getAllChildrenNumber", 104),
    ("setWatches2", 105),
    ("addWatch", 106),
    ("whoAmI", 107),
];

/// What may stand in an answer, or is a client's own.
const ERRORS: &[i32] = &[
    -1, -2, -3, -4, -5, -6, -7, -8, -12, -13, -14, -100, -101, -102, -103, -108, -110, -111, -112, -113,
    -114, -115, -118, -119, -120, -121, -122, -123, -124, -125, -127,
];

/// First cells of the rows of a chapter of ZooKeeper's part.
fn first_cells(chapter: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, chapter) = text.split_once(&format!("\n## {chapter}\n")).unwrap();
    let (chapter, _) = chapter.split_once("\n## ").unwrap();
    let rows = chapter.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.filter_map(|row| row.split('|').nth(1).map(str::to_owned)).collect()
}

#[test]
fn every_operation_of_zookeeper_has_a_row() {
    let rows = first_cells("Requests");
    let told = |name: &str, number: i32| {
        let row = format!("{name} ({number}");
        rows.iter().any(|cell| cell.split([' ', ',']).any(|word| word == name) && cell.contains(&row))
    };
    let untold: Vec<_> = OPERATIONS.iter().filter(|(name, number)| !told(name, *number)).collect();
    assert_eq!(untold, Vec::<&(&str, i32)>::new());
}

#[test]
fn every_error_of_zookeeper_has_a_row() {
    let rows = first_cells("Errors");
    let told: Vec<i32> = rows
        .iter()
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter_map(|word| word.parse().ok())
        .collect();
    let untold: Vec<_> = ERRORS.iter().filter(|code| !told.contains(code)).collect();
    assert_eq!(untold, Vec::<&i32>::new());
}
