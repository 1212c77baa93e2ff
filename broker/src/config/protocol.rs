//! Which protocol this broker speaks with others, and how old the format of records may be that goes with it.

use std::collections::BTreeMap;

use broker_core::MetadataVersion;

const PROTOCOL: &str = "inter.broker.protocol.version";
const FORMAT: &str = "log.message.format.version";
/// The first one whose logs hold record batches. Before it brokers would have to write message sets to one another.
const OLDEST: MetadataVersion = MetadataVersion::V0_11_0Iv0;

/// Reads `inter.broker.protocol.version`, and refuses what asks for records older than batches. An error is of the key.
pub fn read_protocol(given: &BTreeMap<String, String>) -> Result<MetadataVersion, (&'static str, String)> {
    let version = |key: &str| given.get(key).and_then(|text| MetadataVersion::parse(text));
    let protocol = version(PROTOCOL).unwrap_or(MetadataVersion::LATEST);
    if protocol < OLDEST {
        let problem = format!(
            "{PROTOCOL}={protocol}: this broker writes record batches only, which came with 0.11.0. Bring the cluster to \
             {PROTOCOL}=0.11.0 or newer first, and write that here"
        );
        return Err((PROTOCOL, problem));
    }
    if let Some(format) = version(FORMAT)
        && format.record_version() < 2
        && !protocol.ignores_message_format()
    {
        let problem = format!(
            "{FORMAT}={format}: this broker writes record batches only, which came with 0.11.0. Write {FORMAT}=0.11.0 or \
             leave it out; consumers from before are served in their own format"
        );
        return Err((FORMAT, problem));
    }
    Ok(protocol)
}

/// Whether a topic's `message.format.version` asks for records that this broker does not write; with
/// `inter.broker.protocol.version` 3.0 or newer it means nothing.
pub fn asks_for_message_sets(protocol: MetadataVersion, format: &str) -> bool {
    let format = MetadataVersion::parse(format.trim());
    !protocol.ignores_message_format() && format.is_some_and(|format| format.record_version() < 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<MetadataVersion, (&'static str, String)> {
        read_protocol(&pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect())
    }

    #[test]
    fn protocols_from_0_11_on_are_spoken_and_older_ones_refused_with_what_to_write() {
        assert_eq!(read(&[]), Ok(MetadataVersion::LATEST));
        assert_eq!(read(&[(PROTOCOL, "2.8")]), Ok(MetadataVersion::V2_8Iv1));
        assert_eq!(read(&[(PROTOCOL, "0.11.0-IV0")]), Ok(MetadataVersion::V0_11_0Iv0));
        let (key, problem) = read(&[(PROTOCOL, "0.10.2")]).unwrap_err();
        assert!(key == PROTOCOL && problem.contains("inter.broker.protocol.version=0.11.0"), "{problem}");
    }

    #[test]
    fn formats_older_than_batches_are_refused_where_they_would_count() {
        assert!(read(&[(FORMAT, "0.10.2")]).is_ok(), "3.5 does not look at it");
        assert!(read(&[(PROTOCOL, "2.8"), (FORMAT, "2.6")]).is_ok());
        let (key, problem) = read(&[(PROTOCOL, "2.8"), (FORMAT, "0.10.2")]).unwrap_err();
        assert!(key == FORMAT && problem.contains("log.message.format.version=0.11.0"), "{problem}");
        assert!(asks_for_message_sets(MetadataVersion::V2_8Iv1, "0.10.0"));
        assert!(!asks_for_message_sets(MetadataVersion::LATEST, "0.10.0"));
        assert!(!asks_for_message_sets(MetadataVersion::V2_8Iv1, "2.0"));
    }
}
