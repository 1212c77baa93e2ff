//! What a configuration key may hold, and Kafka's words for what it may not.

use broker_core::MetadataVersion;

/// The type of a key's value, by the numbers of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

/// Which values of the type are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Valid {
    Any,
    AtLeast(i64),
    Between(f64, f64),
    /// One of these words; of a list, each entry.
    OneOf(&'static [&'static str]),
    /// A version of Kafka's, as [`MetadataVersion::parse`] takes it.
    Version,
    NonEmpty,
    /// `*`, or `partition:broker` pairs.
    Throttled,
}

/// Whether a broker key may change while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

/// One row of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    /// As it would be written; `None`: unset.
    pub default: Option<&'static str>,
    pub valid: Valid,
    pub update: Update,
    /// Of a topic key: the broker key that holds its default, or empty.
    pub server_key: &'static str,
    /// Not shown by DescribeConfigs.
    pub internal: bool,
}

/// Finds a key in a table sorted by name.
pub fn find(table: &'static [Key], name: &str) -> Option<&'static Key> {
    // `zookeeper.clientCnxnSocket` sorts before `zookeeper.connect` by bytes too.
    table.binary_search_by(|key| key.name.cmp(name)).ok().map(|at| &table[at])
}

impl Key {
    /// Checks a value; the error is Kafka's `Invalid value V for configuration K: …`.
    pub fn check(&self, value: &str) -> Result<(), String> {
        let trimmed = value.trim();
        if self.valid == Valid::Throttled && !are_throttled(trimmed) {
            let (name, list) = (self.name, trimmed.split(',').map(str::trim).collect::<Vec<_>>().join(", "));
            return Err(format!(
                "Invalid value [{list}] for configuration {name}: {name} must be the literal '*' or a list of replicas in \
                 the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
            ));
        }
        // Of a list, Kafka names the word that is wrong.
        let wrong = match self.kind {
            Kind::List => split_list(trimmed).find_map(|word| Some((word, self.bad_word(word)?))),
            _ => self.problem(trimmed).map(|problem| (value, problem)),
        };
        wrong.map_or(Ok(()), |(value, problem)| {
            Err(format!("Invalid value {value} for configuration {}: {problem}", self.name))
        })
    }

    fn problem(&self, value: &str) -> Option<String> {
        let not_a_number = |kind: &str| Some(format!("Not a number of type {kind}"));
        match self.kind {
            Kind::Boolean if !value.eq_ignore_ascii_case("true") && !value.eq_ignore_ascii_case("false") => {
                Some("Expected value to be either true or false".into())
            }
            Kind::Int => match value.parse::<i32>() {
                Ok(number) => self.out_of_range(f64::from(number)),
                Err(_) => not_a_number("INT"),
            },
            Kind::Short => match value.parse::<i16>() {
                Ok(number) => self.out_of_range(f64::from(number)),
                Err(_) => not_a_number("SHORT"),
            },
            Kind::Long => match value.parse::<i64>() {
                Ok(number) => self.out_of_range(number as f64),
                Err(_) => not_a_number("LONG"),
            },
            Kind::Double => match value.parse::<f64>() {
                Ok(number) => self.out_of_range(number),
                Err(_) => not_a_number("DOUBLE"),
            },
            _ => self.bad_word(value),
        }
    }

    fn out_of_range(&self, number: f64) -> Option<String> {
        match self.valid {
            Valid::AtLeast(least) if number < least as f64 => Some(format!("Value must be at least {least}")),
            Valid::Between(least, _) if number < least => Some(format!("Value must be at least {least}")),
            Valid::Between(_, most) if number > most => Some(format!("Value must be no more than {most}")),
            _ => None,
        }
    }

    fn bad_word(&self, word: &str) -> Option<String> {
        match self.valid {
            Valid::OneOf(words) if !words.contains(&word) => {
                Some(format!("String must be one of: {}", words.join(", ")))
            }
            Valid::Version if MetadataVersion::parse(word).is_none() => {
                Some(format!("Version {word} is not a valid version"))
            }
            Valid::NonEmpty if word.is_empty() => Some("String must be non-empty".into()),
            _ => None,
        }
    }
}

/// `*` alone, or pairs of digits; what is empty between commas does not count.
fn are_throttled(list: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_replica = |word: &str| {
        word.split_once(':').is_some_and(|(partition, broker)| digits(partition) && digits(broker))
    };
    let words: Vec<&str> = split_list(list).collect();
    words == ["*"] || words.iter().all(|word| is_replica(word))
}

/// The entries of a list value.
pub fn split_list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{BROKER_KEYS, TOPIC_KEYS};
    use super::*;

    #[test]
    fn tables_are_sorted_and_their_defaults_are_valid() {
        for table in [BROKER_KEYS, TOPIC_KEYS] {
            assert!(table.is_sorted_by(|a, b| a.name < b.name));
            for key in table {
                let default = key.default.unwrap_or_default();
                assert!(
                    key.default.is_none() || default.is_empty() || key.check(default).is_ok(),
                    "{}",
                    key.name
                );
            }
        }
    }

    #[test]
    fn mistakes_are_told_in_kafkas_words() {
        let wrong = |name: &str, value: &str| find(BROKER_KEYS, name).unwrap().check(value).unwrap_err();
        assert_eq!(
            wrong("broker.id", "x"),
            "Invalid value x for configuration broker.id: Not a number of type INT"
        );
        assert_eq!(
            wrong("num.partitions", "0"),
            "Invalid value 0 for configuration num.partitions: Value must be at least 1"
        );
        assert_eq!(
            wrong("log.cleanup.policy", "compact,keep"),
            "Invalid value keep for configuration log.cleanup.policy: String must be one of: compact, delete"
        );
        assert_eq!(
            wrong("delete.topic.enable", "yes"),
            "Invalid value yes for configuration delete.topic.enable: Expected value to be either true or false"
        );
    }

    #[test]
    fn throttled_replicas_are_a_star_or_pairs() {
        let key = find(TOPIC_KEYS, "leader.replication.throttled.replicas").unwrap();
        for right in ["", "*", "0:1", "0:1, 2:3,", ",,"] {
            assert_eq!(key.check(right), Ok(()), "{right}");
        }
        for wrong in ["none", "0:1,*", "0:1,1", "0:-1", "*,*", "a:b"] {
            assert!(key.check(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            key.check("0:1,x").unwrap_err(),
            "Invalid value [0:1, x] for configuration leader.replication.throttled.replicas: \
             leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: \
             [partitionId]:[brokerId],[partitionId]:[brokerId],..."
        );
    }

    #[test]
    fn a_version_that_is_none_is_named() {
        let key = find(BROKER_KEYS, "inter.broker.protocol.version").unwrap();
        assert!(key.check("3.5.1").is_ok());
        assert_eq!(
            key.check("4.7").unwrap_err(),
            "Invalid value 4.7 for configuration inter.broker.protocol.version: Version 4.7 is not a valid version"
        );
    }
}
