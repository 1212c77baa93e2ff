//! `--print-metrics` of the perf tools: what this client counts, under the names of Java's metrics and in its layout.

/// `group:name:{tags}` and a value.
pub struct Metric {
    pub group: &'static str,
    pub name: &'static str,
    /// `key=value` each.
    pub tags: Vec<(&'static str, String)>,
    pub value: f64,
}

impl Metric {
    fn shown(&self) -> String {
        let tags: Vec<String> = self.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("{}:{}:{{{}}}", self.group, self.name, tags.join(", "))
    }
}

pub fn print(metrics: &[Metric]) {
    print!("{}", text(metrics));
}

fn text(metrics: &[Metric]) -> String {
    let mut lines: Vec<(String, f64)> = metrics.iter().map(|metric| (metric.shown(), metric.value)).collect();
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = format!("\n{:<width$}   Value\n", "Metric Name");
    for (name, value) in lines {
        text += &format!("{name:<width$} : {value:.3}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_order_with_their_values_in_a_column() {
        let metric =
            |name, value| Metric { group: "g", name, tags: vec![("client-id", "c".to_owned())], value };
        assert_eq!(
            text(&[metric("rate", 2.0), metric("a-total", 1.5)]),
            "\nMetric Name               Value\ng:a-total:{client-id=c} : 1.500\ng:rate:{client-id=c}    : 2.000\n"
        );
    }
}
