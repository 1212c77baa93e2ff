//! What `*.protocol.version` and `message.format.version` may be.

/// Every version that Kafka 3.5.1 knows, in order.
const VERSIONS: &[&str] = &[
    "0.8.0",
    "0.8.1",
    "0.8.2",
    "0.9.0",
    "0.10.0-IV0",
    "0.10.0-IV1",
    "0.10.1-IV0",
    "0.10.1-IV1",
    "0.10.1-IV2",
    "0.10.2-IV0",
    "0.11.0-IV0",
    "0.11.0-IV1",
    "0.11.0-IV2",
    "1.0-IV0",
    "1.1-IV0",
    "2.0-IV0",
    "2.0-IV1",
    "2.1-IV0",
    "2.1-IV1",
    "2.1-IV2",
    "2.2-IV0",
    "2.2-IV1",
    "2.3-IV0",
    "2.3-IV1",
    "2.4-IV0",
    "2.4-IV1",
    "2.5-IV0",
    "2.6-IV0",
    "2.7-IV0",
    "2.7-IV1",
    "2.7-IV2",
    "2.8-IV0",
    "2.8-IV1",
    "3.0-IV0",
    "3.0-IV1",
    "3.1-IV0",
    "3.2-IV0",
    "3.3-IV0",
    "3.3-IV1",
    "3.3-IV2",
    "3.3-IV3",
    "3.4-IV0",
    "3.5-IV0",
    "3.5-IV1",
    "3.5-IV2",
];

/// The version that a text stands for: `3.5` and `3.5.1` are `3.5-IV2`, `0.10.0.1` is `0.10.0-IV1`. What comes behind the
/// second part, or behind the third of `0.x`, does not count.
pub fn full(text: &str) -> Option<&'static str> {
    let parts = if text.starts_with("0.") { 3 } else { 2 };
    let end = text.trim_end_matches('.').match_indices('.').nth(parts - 1).map_or(text.len(), |(at, _)| at);
    let name = &text[..end];
    let named = |version: &&&str| {
        version.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    VERSIONS.iter().rev().find(named).copied().filter(|_| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_may_be_written_short_and_with_what_does_not_count() {
        let known = [
            ("3.5", "3.5-IV2"),
            ("3.5.1", "3.5-IV2"),
            ("3.5-IV1", "3.5-IV1"),
            ("0.10.0.0", "0.10.0-IV1"),
            ("0.10.1-IV0", "0.10.1-IV0"),
            ("0.9.0.1", "0.9.0"),
            ("2.8.2", "2.8-IV1"),
        ];
        for (text, version) in known {
            assert_eq!(full(text), Some(version), "{text}");
        }
        for text in ["", "3", "3.", "3.5.", "4.7", "0.10", "0.9", "3.5-IV", "x", "."] {
            assert_eq!(full(text), None, "{text}");
        }
    }
}
