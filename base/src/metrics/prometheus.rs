//! Prometheus' text format 0.0.4, as the Java client library 0.9 writes it: every number a double, a comma behind
//! each label, the name as its own help.

use super::{Kind, Labels, Number, Reading, Sample, Summary, Value};
use std::fmt::Write;

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label of what is kept by a key.
const KEY: &str = "key";

/// The whole page.
pub fn text(samples: impl IntoIterator<Item = Sample>) -> String {
    let mut to = String::new();
    for Sample { name, kind, reading } in samples {
        if reading == Reading::Absent {
            continue;
        }
        let kind_name = match kind {
            Kind::Gauge | Kind::GaugeSet => "gauge",
            Kind::Counter | Kind::CounterSet => "counter",
            _ => "summary",
        };
        let _ = writeln!(to, "# HELP {name} {name}\n# TYPE {name} {kind_name}");
        for (part, labels, number) in series(kind, &reading) {
            let labels: String = labels.iter().map(|(name, value)| format!("{name}=\"{value}\",")).collect();
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(to, "{name}{part}{labels} {}", of_go(number));
        }
    }
    to
}

/// The same as named figures, as `mntr` shows them where this form was chosen: `X{quantile="0.5"}`, `X_count`, `X_sum`.
pub fn entries(samples: impl IntoIterator<Item = Sample>) -> Vec<(String, Number)> {
    let mut to = vec![];
    for Sample { name, kind, reading } in samples {
        for (part, labels, number) in series(kind, &reading) {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            to.push((format!("{name}{part}{labels}"), Number::Float(number)));
        }
    }
    to
}

/// Every line of a family: what is put behind its name, the labels, the number.
fn series(kind: Kind, reading: &Reading) -> Vec<(&'static str, Labels, f64)> {
    let mut to = vec![];
    let mut put = |labels: Labels, value: &Value| match value {
        Value::Number(Number::Int(number)) => to.push(("", labels, *number as f64)),
        Value::Number(Number::Float(number)) => to.push(("", labels, *number)),
        Value::Summary(summary) => {
            let quantiles = [("0.5", summary.p50), ("0.9", summary.p90), ("0.99", summary.p99)];
            let shown = if kind.is_detailed() { 3 } else { 1 };
            for (quantile, number) in &quantiles[..shown] {
                let labels = [labels.clone(), vec![("quantile", (*quantile).into())]].concat();
                to.push(("", labels, known(summary, *number)));
            }
            to.push(("_count", labels.clone(), summary.count as f64));
            to.push(("_sum", labels, summary.sum as f64));
        }
    };
    match reading {
        Reading::Absent => {}
        Reading::One(value) => put(vec![], value),
        Reading::Keyed(values) => {
            values.iter().for_each(|(key, value)| put(vec![(KEY, escaped(key))], value))
        }
        Reading::Labelled(values) => {
            for (labels, value) in values {
                put(labels.iter().map(|(name, value)| (*name, escaped(value))).collect(), value);
            }
        }
    }
    to
}

/// Nothing is known of the spread of no values.
fn known(summary: &Summary, number: u64) -> f64 {
    if summary.count == 0 { f64::NAN } else { number as f64 }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn of_go(number: f64) -> String {
    match number {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        number => Number::Float(number).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &'static str, kind: Kind, reading: impl Into<Reading>) -> Sample {
        Sample { name, kind, reading: reading.into() }
    }

    fn three() -> Summary {
        Summary { count: 3, sum: 14, min: 2, max: 8, p50: 4, p90: 8, p95: 8, p99: 8, p999: 8 }
    }

    #[test]
    fn families_are_written_as_java_s_client_writes_them() {
        let samples = [
            sample("uptime", Kind::Gauge, 90_802u64),
            sample("gone", Kind::Gauge, None::<u64>),
            sample("quota", Kind::GaugeSet, Reading::Keyed(vec![])),
            sample("fsynctime", Kind::Summary, three()),
            sample("idle", Kind::Detailed, Summary::default()),
            sample("read", Kind::SummarySet, Reading::Keyed(vec![("a\"b".into(), Value::Summary(three()))])),
            sample(
                "labelled",
                Kind::Counter,
                Reading::Labelled(vec![
                    (vec![], 3u64.into()),
                    (vec![("topic", "a\\".into()), ("partition", "0".into())], 1u64.into()),
                ]),
            ),
        ];
        assert_eq!(
            text(samples),
            "# HELP uptime uptime\n# TYPE uptime gauge\nuptime 90802.0\n\
             # HELP quota quota\n# TYPE quota gauge\n\
             # HELP fsynctime fsynctime\n# TYPE fsynctime summary\nfsynctime{quantile=\"0.5\",} 4.0\n\
             fsynctime_count 3.0\nfsynctime_sum 14.0\n\
             # HELP idle idle\n# TYPE idle summary\nidle{quantile=\"0.5\",} NaN\nidle{quantile=\"0.9\",} NaN\n\
             idle{quantile=\"0.99\",} NaN\nidle_count 0.0\nidle_sum 0.0\n\
             # HELP read read\n# TYPE read summary\nread{key=\"a\\\"b\",quantile=\"0.5\",} 4.0\n\
             read_count{key=\"a\\\"b\",} 3.0\nread_sum{key=\"a\\\"b\",} 14.0\n\
             # HELP labelled labelled\n# TYPE labelled counter\nlabelled 3.0\n\
             labelled{topic=\"a\\\\\",partition=\"0\",} 1.0\n"
        );
    }

    #[test]
    fn mntr_names_its_series_without_the_last_comma() {
        let names = |kind| -> Vec<String> {
            entries([sample("x", kind, three())]).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(Kind::Summary), ["x{quantile=\"0.5\"}", "x_count", "x_sum"]);
        assert_eq!(names(Kind::Detailed).len(), 5);
    }
}
