//! The differences that are meant, out of the table in `docs/differences.md`.

use super::Difference;
use wire::kafka::Api;

/// A row: where, and what stands there on each side; `*` stands for anything.
#[derive(Debug)]
struct Row {
    api: String,
    path: String,
    kafka: String,
    ours: String,
}

#[derive(Debug)]
pub struct Listed {
    rows: Vec<Row>,
}

impl Listed {
    /// The rows of the table whose columns are API, field, Kafka, ours and reason.
    pub fn parse(page: &str) -> Listed {
        let rows = page.lines().filter_map(|line| {
            let cells: Vec<&str> =
                line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
            let [api, path, kafka, ours, _reason] = cells[..] else { return None };
            let plain = |cell: &str| cell.trim_matches('`').to_string();
            (api != "API" && !api.starts_with("---")).then(|| Row {
                api: plain(api),
                path: plain(path),
                kafka: plain(kafka),
                ours: plain(ours),
            })
        });
        Listed { rows: rows.collect() }
    }

    /// The table of this repository.
    pub fn of_docs() -> Listed {
        Listed::parse(include_str!("../../../docs/differences.md"))
    }

    pub fn has(&self, api: &Api, difference: &Difference) -> bool {
        self.rows.iter().any(|row| {
            fits(&row.api, api.name)
                && fits(&row.path, &difference.path)
                && fits(&row.kafka, &difference.kafka)
                && fits(&row.ours, &difference.ours)
        })
    }
}

/// `pattern` may hold stars.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, rest)) => {
            let Some(text) = text.strip_prefix(before) else { return false };
            (0..=text.len()).any(|at| text.is_char_boundary(at) && fits(rest, &text[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::kafka::ApiKey;

    #[test]
    fn a_row_covers_its_api_field_and_values_alone() {
        let page = "| API | field | Kafka | ours | reason |\n|---|---|---|---|---|\n| Fetch | `a.b` | `1*` | `*` | why |\n";
        let listed = Listed::parse(page);
        let found =
            |path: &str, kafka: &str| Difference { path: path.into(), kafka: kafka.into(), ours: "x".into() };
        assert!(listed.has(ApiKey::Fetch.api(), &found("a.b", "12")));
        assert!(!listed.has(ApiKey::Fetch.api(), &found("a.b", "2")));
        assert!(!listed.has(ApiKey::Fetch.api(), &found("a", "12")));
        assert!(!listed.has(ApiKey::Produce.api(), &found("a.b", "12")));
    }

    #[test]
    fn every_row_of_the_page_can_be_read() {
        assert!(!Listed::of_docs().rows.is_empty());
    }
}
