//! Metrics of a server: one static table says what there is, readings are taken when somebody asks, and two forms
//! show them: lines as of ZooKeeper's `mntr` ([`entries`]) and Prometheus' text ([`prometheus::text`]).
//!
//! Nothing is counted here: the owners of the figures keep them in plain fields, and a row of the table reads them.

mod histogram;
pub mod page;
pub mod process;
pub mod prometheus;

pub use histogram::Histogram;

use std::fmt::{Display, Formatter};

/// What a family measures, in the order in which `mntr` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Gauge,
    /// Gauges by a key.
    GaugeSet,
    Counter,
    CounterSet,
    /// Mean, smallest, largest, count and sum; in Prometheus' form also the median.
    Summary,
    /// With percentiles.
    Detailed,
    SummarySet,
    DetailedSet,
}

impl Kind {
    fn is_detailed(self) -> bool {
        matches!(self, Kind::Detailed | Kind::DetailedSet)
    }
}

/// A row of a table. `read` makes its reading; what of is the table's business.
#[derive(Debug, Clone, Copy)]
pub struct Family<F> {
    pub name: &'static str,
    pub kind: Kind,
    pub read: F,
}

impl<F> Family<F> {
    pub const fn new(name: &'static str, kind: Kind, read: F) -> Family<F> {
        Family { name, kind, read }
    }
}

/// What a family says at the moment.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// The family does not apply now: it is not shown at all.
    Absent,
    One(Value),
    /// By key; shown even when empty.
    Keyed(Vec<(String, Value)>),
    /// By labels of their own; only in Prometheus' form.
    Labelled(Vec<(Labels, Value)>),
}

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    Number(Number),
    Summary(Summary),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Int(i64),
    Float(f64),
}

/// A summary's figures.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Summary {
    pub count: u64,
    pub sum: u64,
    pub min: u64,
    pub max: u64,
    pub p50: u64,
    pub p90: u64,
    pub p95: u64,
    pub p99: u64,
    pub p999: u64,
}

impl Summary {
    /// Rounded to four decimals; 0 before the first value.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.sum as f64 / self.count as f64 * 1e4).round() / 1e4 }
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Number(Number::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl From<i64> for Reading {
    fn from(value: i64) -> Reading {
        Reading::One(Value::Number(Number::Int(value)))
    }
}

impl From<f64> for Reading {
    fn from(value: f64) -> Reading {
        Reading::One(Value::Number(Number::Float(value)))
    }
}

impl From<u64> for Reading {
    fn from(value: u64) -> Reading {
        i64::try_from(value).unwrap_or(i64::MAX).into()
    }
}

impl From<usize> for Reading {
    fn from(value: usize) -> Reading {
        (value as u64).into()
    }
}

impl From<Summary> for Reading {
    fn from(value: Summary) -> Reading {
        Reading::One(Value::Summary(value))
    }
}

impl<T: Into<Reading>> From<Option<T>> for Reading {
    fn from(value: Option<T>) -> Reading {
        value.map_or(Reading::Absent, Into::into)
    }
}

/// As Java prints numbers: `7`, `6.9315`, `1.795284917737E9`, `NaN`.
impl Display for Number {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        match *self {
            Number::Int(number) => write!(to, "{number}"),
            Number::Float(number) if number == 0.0 || (1e-3..1e7).contains(&number.abs()) => {
                write!(to, "{number:?}")
            }
            Number::Float(number) if number.is_finite() => {
                let text = format!("{number:E}");
                let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
                let point = if digits.contains('.') { "" } else { ".0" };
                write!(to, "{digits}{point}E{exponent}")
            }
            Number::Float(number) if number.is_nan() => to.write_str("NaN"),
            Number::Float(number) => to.write_str(if number > 0.0 { "Infinity" } else { "-Infinity" }),
        }
    }
}

/// One reading with what the table says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: &'static str,
    pub kind: Kind,
    pub reading: Reading,
}

/// Every figure under a name of its own, as ZooKeeper's default provider has them: `avg_X min_X max_X cnt_X sum_X`,
/// percentiles `p50_X p95_X p99_X p999_X`, and keys in front of the name: `<key>_X`.
pub fn entries(samples: impl IntoIterator<Item = Sample>) -> Vec<(String, Number)> {
    let mut samples: Vec<Sample> = samples.into_iter().collect();
    samples.sort_by_key(|sample| sample.kind);
    let mut to = vec![];
    for Sample { name, kind, reading } in samples {
        match reading {
            Reading::Absent | Reading::Labelled(_) => {}
            Reading::One(value) => spread(name, kind, value, &mut to),
            Reading::Keyed(values) => {
                for (key, value) in values {
                    spread(&format!("{key}_{name}"), kind, value, &mut to);
                }
            }
        }
    }
    to
}

fn spread(name: &str, kind: Kind, value: Value, to: &mut Vec<(String, Number)>) {
    let summary = match value {
        Value::Number(number) => return to.push((name.into(), number)),
        Value::Summary(summary) => summary,
    };
    let mut put = |part: &str, number| to.push((format!("{part}_{name}"), number));
    put("avg", Number::Float(summary.mean()));
    let whole = [("min", summary.min), ("max", summary.max), ("cnt", summary.count), ("sum", summary.sum)];
    let spread = [("p50", summary.p50), ("p95", summary.p95), ("p99", summary.p99), ("p999", summary.p999)];
    let spread = if kind.is_detailed() { &spread[..] } else { &[] };
    for (part, number) in whole.iter().chain(spread) {
        put(part, Number::Int(i64::try_from(*number).unwrap_or(i64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &'static str, kind: Kind, reading: impl Into<Reading>) -> Sample {
        Sample { name, kind, reading: reading.into() }
    }

    #[test]
    fn numbers_print_as_java_prints_them() {
        let float = |number: f64| Number::Float(number).to_string();
        assert_eq!(Number::Int(-1).to_string(), "-1");
        assert_eq!(
            [0.0, 6.9315, 4.0, 1_795_284_917.737, 1e9, 0.0001, 9_999_999.0].map(float),
            ["0.0", "6.9315", "4.0", "1.795284917737E9", "1.0E9", "1.0E-4", "9999999.0"]
        );
        assert_eq!([f64::NAN, f64::NEG_INFINITY].map(float), ["NaN", "-Infinity"]);
    }

    #[test]
    fn gauges_come_first_then_counters_then_summaries_and_keys_stand_in_front() {
        let summary = Summary { count: 3, sum: 14, min: 2, max: 8, p50: 4, p90: 8, p95: 8, p99: 8, p999: 8 };
        let keyed = Reading::Keyed(vec![("7".into(), Value::Summary(summary))]);
        let samples = [
            sample("detailed", Kind::DetailedSet, keyed),
            sample("time", Kind::Summary, summary),
            sample("count", Kind::Counter, 5u64),
            sample("gone", Kind::Gauge, None::<u64>),
            sample("size", Kind::Gauge, 1.5),
        ];
        let lines: Vec<String> =
            entries(samples).into_iter().map(|(name, number)| format!("{name} {number}")).collect();
        assert_eq!(
            lines,
            [
                "size 1.5",
                "count 5",
                "avg_time 4.6667",
                "min_time 2",
                "max_time 8",
                "cnt_time 3",
                "sum_time 14",
                "avg_7_detailed 4.6667",
                "min_7_detailed 2",
                "max_7_detailed 8",
                "cnt_7_detailed 3",
                "sum_7_detailed 14",
                "p50_7_detailed 4",
                "p95_7_detailed 8",
                "p99_7_detailed 8",
                "p999_7_detailed 8",
            ]
        );
    }
}
