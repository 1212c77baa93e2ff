//! What Kafka requires of several settings together (`KafkaConfig.validateValues` of 3.5.1), in its words.

use base::ConfigError;

use super::{BrokerConfig, split_list};

/// A requirement that is not met, and the key to blame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    pub key: &'static str,
    /// Kafka's words, without its "requirement failed: ".
    pub problem: String,
    /// Kafka checks it by `require`, and says so.
    by_require: bool,
}

impl Unmet {
    /// As Kafka's exception has it.
    pub fn in_javas_words(&self) -> String {
        let said = if self.by_require { "requirement failed: " } else { "" };
        format!("{said}{}", self.problem)
    }
}

const OVERRIDES: &str = "max.connections.per.ip.overrides";
const SASL_MECHANISMS: &str = "sasl.enabled.mechanisms";

impl BrokerConfig {
    /// The first requirement that this configuration as a whole does not meet.
    pub fn unmet_requirement(&self) -> Option<Unmet> {
        self.bad_override().or_else(|| self.unmet_number()).or_else(|| self.unmet_name())
    }

    /// As an error that names the key's place in the file.
    pub fn check_requirements(&self, properties: &base::Properties) -> Result<(), ConfigError> {
        match self.unmet_requirement() {
            Some(unmet) => Err(super::at(properties, unmet.key, unmet.problem)),
            None => Ok(()),
        }
    }

    /// The first of these that is given, or has a default, in the unit of the first.
    fn first_of(&self, units: &[(&str, i64)]) -> i64 {
        units.iter().find_map(|(key, factor)| Some(self.int_opt(key)?.saturating_mul(*factor))).unwrap_or(-1)
    }

    fn unmet_number(&self) -> Option<Unmet> {
        let int = |key: &str| self.int(key);
        let roll = self.first_of(&[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)]);
        let jitter = self.first_of(&[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)]);
        let units =
            [("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)];
        let (acks, idle) = (int("offsets.commit.required.acks"), int("connections.max.idle.ms"));
        let (fetch_wait, queued) = (int("replica.fetch.wait.max.ms"), int("queued.max.request.bytes"));
        let delay = int("connection.failed.authentication.delay.ms");
        let has_overrides = split_list(self.text(OVERRIDES).unwrap_or_default()).next().is_some();
        let checks: [(bool, &'static str, &str); 10] = [
            (roll >= 1, "log.roll.ms", "log.roll.ms must be greater than or equal to 1"),
            (jitter >= 0, "log.roll.jitter.ms", "log.roll.jitter.ms must be greater than or equal to 0"),
            (
                // Every negative number stands for no limit.
                self.first_of(&units) != 0,
                "log.retention.ms",
                "log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
            ),
            (
                int("log.cleaner.dedupe.buffer.size") / int("log.cleaner.threads").max(1) > 1024 * 1024,
                "log.cleaner.dedupe.buffer.size",
                "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.",
            ),
            (
                fetch_wait <= int("replica.socket.timeout.ms"),
                "replica.socket.timeout.ms",
                "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary \
                 socket timeouts",
            ),
            (
                fetch_wait <= int("replica.lag.time.max.ms"),
                "replica.fetch.wait.max.ms",
                "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent \
                 frequent changes in ISR",
            ),
            (
                acks >= -1 && acks <= int("offsets.topic.replication.factor"),
                "offsets.commit.required.acks",
                "offsets.commit.required.acks must be greater or equal -1 and less or equal to \
                 offsets.topic.replication.factor",
            ),
            (
                queued <= 0 || queued >= int("socket.request.max.bytes"),
                "queued.max.request.bytes",
                "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
            ),
            (
                int("max.connections.per.ip") != 0 || has_overrides,
                "max.connections.per.ip",
                "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.",
            ),
            (
                idle < 0 || delay < idle,
                "connection.failed.authentication.delay.ms",
                &format!(
                    "connection.failed.authentication.delay.ms={delay} should always be less than \
                     connections.max.idle.ms={idle} to prevent failed authentication responses from timing out"
                ),
            ),
        ];
        let unmet = checks.iter().find(|(met, ..)| !met);
        unmet.map(|&(_, key, problem)| required(key, problem))
    }

    fn unmet_name(&self) -> Option<Unmet> {
        let codec = self.int("offsets.topic.compression.codec");
        if !(0..=4).contains(&codec) {
            let problem = format!("Unknown compression type id: {codec}");
            return Some(Unmet { key: "offsets.topic.compression.codec", problem, by_require: false });
        }
        let controllers: Vec<&str> =
            split_list(self.text("controller.listener.names").unwrap_or_default()).collect();
        if !controllers.is_empty() {
            let problem = format!(
                "controller.listener.names must be empty when not running in KRaft mode: [{}]",
                controllers.join(", ")
            );
            return Some(required("controller.listener.names", problem));
        }
        let among_brokers = &self.listeners.inter_broker;
        let own = format!("listener.name.{}.{SASL_MECHANISMS}", among_brokers.to_lowercase());
        let enabled = self.given().get(&own).map(String::as_str).or(self.text(SASL_MECHANISMS));
        let mechanism = self.text("sasl.mechanism.inter.broker.protocol").unwrap_or_default();
        let by_sasl = self.listeners.protocol_of(among_brokers).is_sasl();
        if by_sasl && !split_list(enabled.unwrap_or_default()).any(|one| one == mechanism) {
            let problem = "sasl.mechanism.inter.broker.protocol must be included in sasl.enabled.mechanisms when SASL is \
                           used for inter-broker communication";
            return Some(required("sasl.mechanism.inter.broker.protocol", problem));
        }
        None
    }

    /// `HOST:NUMBER,…`, as Java takes it apart.
    fn bad_override(&self) -> Option<Unmet> {
        let text = self.text(OVERRIDES).unwrap_or_default();
        let wrong = |problem: String| Some(Unmet { key: OVERRIDES, problem, by_require: false });
        let pairs: Vec<&str> = split_list(text).collect();
        if let Some(alone) = pairs.iter().find(|pair| !pair.contains(':')) {
            let length = alone.len();
            return wrong(format!(
                "Error parsing configuration property '{OVERRIDES}': begin 0, end -1, length {length}"
            ));
        }
        let pairs: Vec<(&str, &str)> = pairs.iter().filter_map(|pair| pair.rsplit_once(':')).collect();
        if let Some((_, number)) = pairs.iter().find(|(_, number)| number.trim().parse::<i32>().is_err()) {
            return wrong(format!("For input string: \"{}\"", number.trim()));
        }
        let in_a_name = |c: char| c.is_ascii_alphanumeric() || "-%._:".contains(c);
        let invalid: Vec<&str> =
            pairs.iter().map(|(host, _)| host.trim()).filter(|host| !host.chars().all(in_a_name)).collect();
        match invalid.is_empty() {
            true => None,
            false => wrong(format!("{OVERRIDES} contains invalid addresses : {}", invalid.join(","))),
        }
    }
}

fn required(key: &'static str, problem: impl Into<String>) -> Unmet {
    Unmet { key, problem: problem.into(), by_require: true }
}

/// What of a new topic Java checks for tiered storage, also where that is off: the local part keeps no more than the
/// whole. `of` has the values that count for the topic.
pub fn check_local_retention(of: impl Fn(&str) -> Option<String>) -> Result<(), String> {
    for (local, whole) in
        [("local.retention.ms", "retention.ms"), ("local.retention.bytes", "retention.bytes")]
    {
        let number = |key: &str| of(key).and_then(|value| value.trim().parse::<i64>().ok());
        let (Some(kept), Some(of_all)) = (number(local), number(whole)) else { continue };
        let problem = match kept {
            // As much as of the whole.
            -2 => continue,
            -1 if of_all != -1 => format!("Value must not be -1 as {whole} value is set as {of_all}"),
            kept if kept > of_all => format!("Value must not be more than property: {whole} value."),
            _ => continue,
        };
        return Err(format!("Invalid value {kept} for configuration {local}: {problem}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use base::Properties;

    fn unmet(text: &str) -> Option<Unmet> {
        let text = format!("zookeeper.connect=h\nbroker.id=1\n{text}\n");
        BrokerConfig::read(&Properties::parse("t", text.as_bytes()).unwrap()).unwrap().unmet_requirement()
    }

    #[test]
    fn what_does_not_go_together_is_told_with_its_key() {
        assert_eq!(unmet(""), None);
        for (text, key, problem) in [
            ("log.retention.ms=0", "log.retention.ms", "log.retention.ms must be unlimited"),
            ("log.retention.minutes=0", "log.retention.ms", "log.retention.ms must be unlimited"),
            (
                "log.cleaner.dedupe.buffer.size=2000000\nlog.cleaner.threads=2",
                "log.cleaner.dedupe.buffer.size",
                "1MB per cleaner thread",
            ),
            ("max.connections.per.ip=0", "max.connections.per.ip", "can be set to zero only if"),
            (
                "queued.max.request.bytes=1000",
                "queued.max.request.bytes",
                "larger or equal to socket.request.max.bytes",
            ),
            ("replica.fetch.wait.max.ms=30001", "replica.socket.timeout.ms", "unnecessary socket timeouts"),
            ("replica.lag.time.max.ms=100", "replica.fetch.wait.max.ms", "frequent changes in ISR"),
            (
                "offsets.commit.required.acks=4",
                "offsets.commit.required.acks",
                "must be greater or equal -1 and less",
            ),
            (
                "connections.max.idle.ms=100",
                "connection.failed.authentication.delay.ms",
                "delay.ms=100 should always be less than",
            ),
            (
                "offsets.topic.compression.codec=9",
                "offsets.topic.compression.codec",
                "Unknown compression type id: 9",
            ),
            (
                "controller.listener.names=A,B",
                "controller.listener.names",
                "not running in KRaft mode: [A, B]",
            ),
            (
                "listeners=SASL_PLAINTEXT://:1\nsecurity.inter.broker.protocol=SASL_PLAINTEXT\nsasl.enabled.mechanisms=PLAIN",
                "sasl.mechanism.inter.broker.protocol",
                "must be included in sasl.enabled.mechanisms",
            ),
        ] {
            let unmet = unmet(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(unmet.key, key);
            assert!(unmet.problem.contains(problem), "{unmet:?}");
        }
        for text in [
            "log.retention.ms=-7",
            "queued.max.request.bytes=200000000",
            "connections.max.idle.ms=-1",
            "max.connections.per.ip=0\nmax.connections.per.ip.overrides=h:3",
            "listeners=SASL_PLAINTEXT://:1\nsecurity.inter.broker.protocol=SASL_PLAINTEXT\n\
             listener.name.sasl_plaintext.sasl.enabled.mechanisms=PLAIN,GSSAPI\nsasl.enabled.mechanisms=PLAIN",
        ] {
            assert_eq!(unmet(text), None, "{text}");
        }
    }

    #[test]
    fn limits_of_hosts_are_taken_apart_as_java_does() {
        let wrong = |value: &str| {
            unmet(&format!("max.connections.per.ip.overrides={value}")).map(|unmet| unmet.in_javas_words())
        };
        for right in ["1.2.3.4:-1", "127.0.0.1:5,", "::1:4", "a.b-c:1, d:2"] {
            assert_eq!(wrong(right), None, "{right}");
        }
        for (value, problem) in [
            ("x:y", "For input string: \"y\""),
            ("host:99999999999", "For input string: \"99999999999\""),
            (
                "a:1,b",
                "Error parsing configuration property 'max.connections.per.ip.overrides': begin 0, end -1, length 1",
            ),
            ("a b:3", "max.connections.per.ip.overrides contains invalid addresses : a b"),
            ("[::1]:4", "max.connections.per.ip.overrides contains invalid addresses : [::1]"),
        ] {
            assert_eq!(wrong(value).as_deref(), Some(problem));
        }
    }

    #[test]
    fn the_file_and_the_line_of_what_is_required_are_named() {
        let text = "zookeeper.connect=h\nbroker.id=1\nlog.retention.ms=0\n";
        let properties = Properties::parse("server.properties", text.as_bytes()).unwrap();
        let config = BrokerConfig::read(&properties).unwrap();
        assert_eq!(
            config.check_requirements(&properties).unwrap_err().to_string(),
            "server.properties:3: log.retention.ms: log.retention.ms must be unlimited (-1) or, greater than or equal to 1"
        );
        assert!(config.unmet_requirement().unwrap().in_javas_words().starts_with("requirement failed: log."));
    }

    #[test]
    fn the_local_part_of_a_new_topic_keeps_no_more_than_the_whole() {
        let check = |pairs: &[(&str, &str)]| {
            let all =
                [("local.retention.ms", "-2"), ("retention.ms", "1000"), ("local.retention.bytes", "-2")];
            let all: BTreeMap<&str, &str> =
                all.iter().chain(&[("retention.bytes", "-1")]).chain(pairs).copied().collect();
            check_local_retention(|key| all.get(key).map(|value| value.to_string()))
        };
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[("local.retention.ms", "1000")]), Ok(()));
        assert_eq!(check(&[("local.retention.ms", "-1"), ("retention.ms", "-1")]), Ok(()));
        assert_eq!(
            check(&[("local.retention.ms", "1001")]).unwrap_err(),
            "Invalid value 1001 for configuration local.retention.ms: Value must not be more than property: \
             retention.ms value."
        );
        assert_eq!(
            check(&[("local.retention.ms", "-1")]).unwrap_err(),
            "Invalid value -1 for configuration local.retention.ms: Value must not be -1 as retention.ms value is set \
             as 1000"
        );
        // Java takes no limit of the whole for less than any.
        assert!(check(&[("local.retention.bytes", "7")]).is_err());
    }
}
