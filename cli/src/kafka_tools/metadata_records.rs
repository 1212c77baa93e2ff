//! Records of a KRaft cluster's metadata log, as JSON. Brokers here have no such log: this is for looking at the files of
//! Kafka's own. The forms are those of 3.5.1; a record is a frame version, a type and a version, each an unsigned varint,
//! and the fields.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::{Buf, Bytes};
use serde_json::{Map, Value, json};

/// A field's form.
enum Kind {
    Bool,
    I8,
    I16,
    U16,
    I32,
    I64,
    F64,
    Uuid,
    Text,
    Bytes,
    Ids,
    Texts,
    List(&'static [Field]),
}

use Kind::{Bool, F64, I8, I16, I32, I64, Ids, List, Text, Texts, U16, Uuid};

struct Field {
    name: &'static str,
    kind: Kind,
    since: i16,
    /// Of a field that is left out where it has its default; lists are then null by default.
    tag: Option<u32>,
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, tag: None }
}

const fn since(since: i16, field: Field) -> Field {
    Field { since, ..field }
}

const fn tagged(tag: u32, name: &'static str, kind: Kind) -> Field {
    Field { name, kind, since: 0, tag: Some(tag) }
}

const BROKER: Field = field("brokerId", I32);
const BROKER_EPOCH: Field = field("brokerEpoch", I64);
const TOPIC_ID: Field = field("topicId", Uuid);
const NAME: Field = field("name", Text);

struct Form {
    kind: u32,
    name: &'static str,
    fields: &'static [Field],
}

const fn form(kind: u32, name: &'static str, fields: &'static [Field]) -> Form {
    Form { kind, name, fields }
}

const FORMS: &[Form] = &[
    form(
        0,
        "REGISTER_BROKER_RECORD",
        &[
            BROKER,
            since(2, field("isMigratingZkBroker", Bool)),
            field("incarnationId", Uuid),
            BROKER_EPOCH,
            field(
                "endPoints",
                List(&[NAME, field("host", Text), field("port", U16), field("securityProtocol", I16)]),
            ),
            field(
                "features",
                List(&[NAME, field("minSupportedVersion", I16), field("maxSupportedVersion", I16)]),
            ),
            field("rack", Text),
            field("fenced", Bool),
            since(1, field("inControlledShutdown", Bool)),
        ],
    ),
    form(1, "UNREGISTER_BROKER_RECORD", &[BROKER, BROKER_EPOCH]),
    form(2, "TOPIC_RECORD", &[NAME, TOPIC_ID]),
    form(
        3,
        "PARTITION_RECORD",
        &[
            field("partitionId", I32),
            TOPIC_ID,
            field("replicas", Ids),
            field("isr", Ids),
            field("removingReplicas", Ids),
            field("addingReplicas", Ids),
            field("leader", I32),
            tagged(0, "leaderRecoveryState", I8),
            field("leaderEpoch", I32),
            field("partitionEpoch", I32),
        ],
    ),
    form(
        4,
        "CONFIG_RECORD",
        &[field("resourceType", I8), field("resourceName", Text), NAME, field("value", Text)],
    ),
    form(
        5,
        "PARTITION_CHANGE_RECORD",
        &[
            field("partitionId", I32),
            TOPIC_ID,
            tagged(0, "isr", Ids),
            tagged(1, "leader", I32),
            tagged(2, "replicas", Ids),
            tagged(3, "removingReplicas", Ids),
            tagged(4, "addingReplicas", Ids),
            tagged(5, "leaderRecoveryState", I8),
        ],
    ),
    form(7, "FENCE_BROKER_RECORD", &[field("id", I32), field("epoch", I64)]),
    form(8, "UNFENCE_BROKER_RECORD", &[field("id", I32), field("epoch", I64)]),
    form(9, "REMOVE_TOPIC_RECORD", &[TOPIC_ID]),
    form(
        10,
        "DELEGATION_TOKEN_RECORD",
        &[
            field("owner", Text),
            field("renewers", Texts),
            field("issueTimestamp", I64),
            field("maxTimestamp", I64),
            field("expirationTimestamp", I64),
            field("tokenId", Text),
        ],
    ),
    form(
        11,
        "USER_SCRAM_CREDENTIAL_RECORD",
        &[
            NAME,
            field("mechanism", I8),
            field("salt", Kind::Bytes),
            field("storedKey", Kind::Bytes),
            field("serverKey", Kind::Bytes),
            field("iterations", I32),
        ],
    ),
    form(12, "FEATURE_LEVEL_RECORD", &[NAME, field("featureLevel", I16)]),
    form(
        14,
        "CLIENT_QUOTA_RECORD",
        &[
            field("entity", List(&[field("entityType", Text), field("entityName", Text)])),
            field("key", Text),
            field("value", F64),
            field("remove", Bool),
        ],
    ),
    form(15, "PRODUCER_IDS_RECORD", &[BROKER, BROKER_EPOCH, field("nextProducerId", I64)]),
    form(
        17,
        "BROKER_REGISTRATION_CHANGE_RECORD",
        &[BROKER, BROKER_EPOCH, tagged(0, "fenced", I8), since(1, tagged(1, "inControlledShutdown", I8))],
    ),
    form(
        18,
        "ACCESS_CONTROL_ENTRY_RECORD",
        &[
            field("id", Uuid),
            field("resourceType", I8),
            field("resourceName", Text),
            field("patternType", I8),
            field("principal", Text),
            field("host", Text),
            field("operation", I8),
            field("permissionType", I8),
        ],
    ),
    form(19, "REMOVE_ACCESS_CONTROL_ENTRY_RECORD", &[field("id", Uuid)]),
    form(20, "NO_OP_RECORD", &[]),
    form(21, "ZK_MIGRATION_STATE_RECORD", &[field("zkMigrationState", I8)]),
    form(22, "REMOVE_USER_SCRAM_CREDENTIAL_RECORD", &[NAME, field("mechanism", I8)]),
];

/// The record as Java shows it, or what Java says of one that it cannot read.
pub fn shown(record: &Option<Bytes>) -> Result<String, String> {
    let mut from = record.clone().unwrap_or_default();
    let mut number = |what: &str| {
        let value = varint(&mut from).ok_or(format!("Error while reading {what}"))?;
        match value <= i16::MAX as u32 {
            true => Ok(value),
            false => Err(format!("Value for {what} was too large.")),
        }
    };
    match number("frame version")? {
        1 => {}
        0 => {
            return Err("Could not deserialize metadata record with frame version 0. Note that upgrades from the preview \
                        release of KRaft in 2.8 to newer versions are not supported."
                .to_owned());
        }
        other => {
            return Err(format!(
                "Could not deserialize metadata record due to unknown frame version {other}(only frame version 1 is \
                 supported)"
            ));
        }
    }
    let (kind, version) = (number("type")?, number("version")?);
    let form = FORMS.iter().find(|form| form.kind == kind).ok_or_else(|| {
        format!("org.apache.kafka.common.errors.UnsupportedVersionException: Unknown metadata id {kind}")
    })?;
    let failed = || format!("Failed to deserialize record with type {kind}");
    let data = fields(&mut from, form.fields, version as i16).ok_or_else(failed)?;
    if from.has_remaining() {
        return Err(format!("Found {} byte(s) of garbage after {kind}", from.remaining()));
    }
    Ok(json!({ "type": form.name, "version": version, "data": data }).to_string())
}

/// What a control record of such a log says, as Java shows it.
pub fn control(kind: i16, value: &Bytes) -> String {
    const HEADER: &[Field] = &[field("version", I16), field("lastContainedLogTimestamp", I64)];
    let of = |known: &[Field]| {
        fields(&mut value.clone(), known, 0).map_or_else(String::new, |data| data.to_string())
    };
    match kind {
        2 => "controlType: LEADER_CHANGE(2)".to_owned(),
        3 => format!("SnapshotHeader {}", of(HEADER)),
        4 => format!("SnapshotFooter {}", of(&HEADER[..1])),
        other => format!("controlType: UNKNOWN({other})"),
    }
}

/// Null where something is missing or cannot be; all lengths are checked against what remains.
fn fields(from: &mut Bytes, known: &[Field], version: i16) -> Option<Value> {
    let mut values: Vec<Option<Value>> = Vec::new();
    for field in known {
        let is_here = field.since <= version && field.tag.is_none();
        values.push(if is_here { Some(value(from, &field.kind, version)?) } else { None });
    }
    for _ in 0..varint(from)? {
        let (tag, size) = (varint(from)?, varint(from)? as usize);
        let mut bytes = take(from, size)?;
        let place = known.iter().position(|field| field.tag == Some(tag) && field.since <= version);
        if let Some(place) = place {
            values[place] = Some(value(&mut bytes, &known[place].kind, version)?);
        }
    }
    let named = known.iter().zip(values).filter_map(|(field, value)| Some((field.name.to_owned(), value?)));
    Some(Value::Object(named.collect::<Map<_, _>>()))
}

fn value(from: &mut Bytes, kind: &Kind, version: i16) -> Option<Value> {
    Some(match kind {
        Bool => json!(from.try_get_u8().ok()? != 0),
        I8 => json!(from.try_get_i8().ok()?),
        I16 => json!(from.try_get_i16().ok()?),
        U16 => json!(from.try_get_u16().ok()?),
        I32 => json!(from.try_get_i32().ok()?),
        I64 => json!(from.try_get_i64().ok()?),
        F64 => json!(from.try_get_f64().ok()?),
        Uuid => json!(URL_SAFE_NO_PAD.encode(take(from, 16)?)),
        Text => match length(from)? {
            None => Value::Null,
            Some(size) => json!(std::str::from_utf8(&take(from, size)?).ok()?),
        },
        Kind::Bytes => match length(from)? {
            None => Value::Null,
            Some(size) => json!(STANDARD.encode(take(from, size)?)),
        },
        Ids => list(from, |from| value(from, &I32, version))?,
        Texts => list(from, |from| value(from, &Text, version))?,
        List(of) => list(from, |from| fields(from, of, version))?,
    })
}

fn list(from: &mut Bytes, mut one: impl FnMut(&mut Bytes) -> Option<Value>) -> Option<Value> {
    let Some(count) = length(from)? else { return Some(Value::Null) };
    // Each entry takes a byte at least.
    if count > from.remaining() {
        return None;
    }
    (0..count).map(|_| one(from)).collect::<Option<Vec<Value>>>().map(Value::Array)
}

/// A compact length: `Some(None)` for null.
fn length(from: &mut Bytes) -> Option<Option<usize>> {
    Some(varint(from)?.checked_sub(1).map(|size| size as usize))
}

fn take(from: &mut Bytes, size: usize) -> Option<Bytes> {
    (size <= from.remaining()).then(|| from.split_to(size))
}

fn varint(from: &mut Bytes) -> Option<u32> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let byte = from.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hex: &str) -> Result<String, String> {
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        shown(&Some(bytes.collect()))
    }

    #[test]
    fn records_that_kafka_wrote_are_shown_as_it_shows_them() {
        // The metadata level, as `kafka-storage format` of 3.5.1 writes it.
        assert_eq!(
            told("010c00116d657461646174612e76657273696f6e000b00").unwrap(),
            r#"{"type":"FEATURE_LEVEL_RECORD","version":0,"data":{"name":"metadata.version","featureLevel":11}}"#
        );
        assert_eq!(told("01140000").unwrap(), r#"{"type":"NO_OP_RECORD","version":0,"data":{}}"#);
    }

    #[test]
    fn fields_with_their_defaults_are_left_out_and_lists_may_be_null() {
        let partition = "00000001".to_owned() + &"00".repeat(16);
        assert_eq!(
            told(&format!("010500{partition}00")).unwrap(),
            r#"{"type":"PARTITION_CHANGE_RECORD","version":0,"data":{"partitionId":1,"topicId":"AAAAAAAAAAAAAAAAAAAAAA"}}"#
        );
        // Leader 2, and an ISR of 1 and 2.
        assert_eq!(
            told(&format!("010500{partition}0200090300000001000000020104{:08x}", 2)).unwrap(),
            r#"{"type":"PARTITION_CHANGE_RECORD","version":0,"data":{"partitionId":1,"topicId":"AAAAAAAAAAAAAAAAAAAAAA","isr":[1,2],"leader":2}}"#
        );
        assert_eq!(
            told("010400020261026b0000").unwrap(),
            r#"{"type":"CONFIG_RECORD","version":0,"data":{"resourceType":2,"resourceName":"a","name":"k","value":null}}"#
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_in_javas_words() {
        assert_eq!(told("").unwrap_err(), "Error while reading frame version");
        assert!(
            told("00")
                .unwrap_err()
                .starts_with("Could not deserialize metadata record with frame version 0.")
        );
        assert!(told("016300").unwrap_err().ends_with("Unknown metadata id 99"));
        assert_eq!(told("010c00ff").unwrap_err(), "Failed to deserialize record with type 12");
        assert_eq!(told("011400000102").unwrap_err(), "Found 2 byte(s) of garbage after 20");
        // A length of 4 GiB, a list of as many.
        assert_eq!(told("010c00ffffffff0f").unwrap_err(), "Failed to deserialize record with type 12");
        assert_eq!(told("010e00ffffffff0f").unwrap_err(), "Failed to deserialize record with type 14");
    }
}
