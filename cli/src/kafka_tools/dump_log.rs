//! `kafka-dump-log`: what is in the files of a partition.

use super::dump_index::{self, Complaints};
use super::{Stop, end, help_or_version, metadata_records, require, scala_order, string_hash};
use crate::Call;
use base::{Given, ToolOption, ToolOptions};
use bytes::Bytes;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use wire::batch::control::{EndTransaction, Marker};
use wire::batch::{Batch, Record};
use wire::kafka::offsets_topic::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey, OffsetCommitValue,
};
use wire::kafka::transaction_topic::{TransactionLogKey, TransactionLogValue};
use wire::kafka::{Message, split_version};

const DECODER: &str = "kafka.serializer.StringDecoder";

pub const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::flag("cluster-metadata-decoder", "Shows records of a KRaft cluster's metadata."),
    ToolOption::flag("deep-iteration", "Shows records, too."),
    ToolOption::text("files", "file1, file2, ...", "REQUIRED: the files, separated by commas."),
    ToolOption::flag("index-sanity-check", "Checks an index only as a broker does at its start."),
    ToolOption::text_if_any("key-decoder-class", "", "How keys are shown; text is what there is.")
        .or(DECODER),
    ToolOption::int("max-bytes", "size", "Reads so much of a log file.").or("2147483647"),
    ToolOption::int(
        "max-message-size",
        "size",
        "The largest batch that is looked for at an index's position.",
    )
    .or("5242880"),
    ToolOption::flag("offsets-decoder", "Shows records of __consumer_offsets."),
    ToolOption::flag("print-data-log", "Shows keys and values of records."),
    ToolOption::flag("skip-record-metadata", "Leaves out all of a record but key and value."),
    ToolOption::flag("transaction-log-decoder", "Shows records of __transaction_state."),
    ToolOption::text_if_any("value-decoder-class", "", "How values are shown; text is what there is.")
        .or(DECODER),
    ToolOption::flag("verify-index-only", "Checks an index without showing it."),
]);

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, dump(call))
}

/// How keys and values are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decoder {
    Text,
    Offsets,
    Transactions,
    Metadata,
}

/// What is shown of a log file.
struct View {
    records: bool,
    contents: bool,
    metadata: bool,
    decoder: Decoder,
    bytes_max: usize,
}

fn dump(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args)?;
    help_or_version(
        call,
        &given,
        "This tool helps to parse a log file and dump its contents to the console, useful for debugging a seemingly \
         corrupt log segment.",
    )?;
    require(&given, &["files"])?;
    let view = view(&given)?;
    let mut complaints = Complaints::default();
    let mut gaps: Vec<(String, Vec<(i64, i64)>)> = Vec::new();
    let mut to = BufWriter::new(std::io::stdout());
    for file in given.text("files")?.unwrap_or_default().split(',') {
        let path = Path::new(file);
        writeln!(to, "Dumping {file}").map_err(gone)?;
        let suffix = file.rsplit_once('.').map_or("", |(_, suffix)| suffix);
        let checks = dump_index::Checks {
            sanity_only: given.has("index-sanity-check"),
            verify_only: given.has("verify-index-only"),
        };
        let dumped = match suffix {
            "log" | "checkpoint" => log(path, &view, &mut to).map(|found| gaps.push((absolute(path), found))),
            "index" => dump_index::offsets(path, checks, &mut complaints, &mut to),
            "timeindex" => dump_index::times(path, checks, &mut complaints, &mut to),
            "snapshot" => dump_index::producers(path, &mut to),
            "txnindex" => dump_index::aborted(path, &mut to),
            _ => {
                to.flush().map_err(gone)?;
                eprintln!("Ignoring unknown file {file}");
                Ok(())
            }
        };
        to.flush().map_err(gone)?;
        dumped?;
    }
    complaints.tell();
    for (file, pairs) in gaps.iter().filter(|(_, pairs)| !pairs.is_empty()) {
        eprintln!("Non-consecutive offsets in {file}");
        // The last one comes first.
        pairs.iter().rev().for_each(|(first, second)| eprintln!("  {first} is followed by {second}"));
    }
    Ok(())
}

/// Nobody reads the output any more.
pub(super) fn gone(_: std::io::Error) -> Stop {
    Stop::Exit(1)
}

pub fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// The file's bytes, or Java's complaint.
pub(super) fn bytes_of(path: &Path) -> Result<Bytes, Stop> {
    std::fs::read(path).map(Bytes::from).map_err(|error| {
        let shown = path.display();
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                Stop::Uncaught("java.nio.file.NoSuchFileException", shown.to_string())
            }
            _ => Stop::Uncaught("java.io.IOException", format!("{shown}: {error}")),
        }
    })
}

fn view(given: &Given) -> Result<View, Stop> {
    for option in ["key-decoder-class", "value-decoder-class"] {
        if let Some(class) = given.text(option)?.filter(|class| *class != DECODER) {
            return Err(Stop::Uncaught("java.lang.ClassNotFoundException", class.to_owned()));
        }
    }
    let decoders = [
        ("offsets-decoder", Decoder::Offsets),
        ("transaction-log-decoder", Decoder::Transactions),
        ("cluster-metadata-decoder", Decoder::Metadata),
    ];
    let decoder = decoders.into_iter().find(|(option, _)| given.has(option));
    let decoder = decoder.map_or(Decoder::Text, |(_, decoder)| decoder);
    let contents = decoder != Decoder::Text
        || ["print-data-log", "key-decoder-class", "value-decoder-class"]
            .iter()
            .any(|option| given.has(option));
    Ok(View {
        records: contents || given.has("deep-iteration"),
        contents,
        metadata: !given.has("skip-record-metadata"),
        decoder,
        bytes_max: given.number("max-bytes")?.unwrap_or_default().max(0) as usize,
    })
}

/// Prints a segment; returns where an offset is not followed by the next one.
fn log(path: &Path, view: &View, to: &mut impl Write) -> Result<Vec<(i64, i64)>, Stop> {
    writeln!(to, "{}", title(path)?).map_err(gone)?;
    let mut bytes = bytes_of(path)?;
    bytes.truncate(view.bytes_max);
    let size = bytes.len();
    let corrupt = |why: String| Stop::Uncaught("org.apache.kafka.common.errors.CorruptRecordException", why);
    let (mut gaps, mut last, mut rest) = (Vec::new(), None, bytes);
    let mut progress = Progress::new(path, size);
    loop {
        let position = size - rest.len();
        progress.tell(position);
        let batch = match Batch::split_from(&mut rest) {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(error) => {
                to.flush().map_err(gone)?;
                return Err(corrupt(format!("at position {position} of {}: {error}", path.display())));
            }
        };
        writeln!(to, "{}", batch_line(&batch, position)).map_err(gone)?;
        if !view.records {
            continue;
        }
        for (index, record) in batch.records().map_err(|error| corrupt(error.to_string()))?.enumerate() {
            let record = record.map_err(|error| corrupt(error.to_string()))?;
            if let Some(last) = last.filter(|last| record.offset != last + 1) {
                gaps.push((last, record.offset));
            }
            last = Some(record.offset);
            writeln!(to, "{}", record_line(&batch, index as i32, &record, view)).map_err(gone)?;
        }
    }
    if !rest.is_empty() && view.bytes_max == i32::MAX as usize {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(to, "Found {} invalid bytes at the end of {name}", rest.len()).map_err(gone)?;
    }
    Ok(gaps)
}

/// The line over a file: of a segment its first offset, of a snapshot of metadata where it ends.
fn title(path: &Path) -> Result<String, Stop> {
    if path.extension().is_none_or(|suffix| suffix != "checkpoint") {
        return Ok(format!("Log starting offset: {}", dump_index::base_offset(path)?));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    if name == "bootstrap" {
        return Ok("KRaft bootstrap snapshot".to_owned());
    }
    let end =
        name.split_once('-').and_then(|(offset, epoch)| Some((offset.parse().ok()?, epoch.parse().ok()?)));
    let (offset, epoch): (i64, i32) =
        end.ok_or_else(|| Stop::Uncaught("java.util.NoSuchElementException", "No value present".to_owned()))?;
    Ok(format!("Snapshot end offset: {offset}, epoch: {epoch}"))
}

/// How far a large file is, twice a second on a terminal's stderr, where what is shown goes elsewhere.
struct Progress<'a> {
    path: &'a Path,
    size: usize,
    next: Option<Instant>,
    told: bool,
}

const PROGRESS_EVERY: Duration = Duration::from_millis(500);

impl Progress<'_> {
    fn new(path: &Path, size: usize) -> Progress<'_> {
        let is_seen = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
        Progress { path, size, next: is_seen.then(|| Instant::now() + PROGRESS_EVERY), told: false }
    }

    fn tell(&mut self, position: usize) {
        if self.next.is_some_and(|next| Instant::now() >= next) {
            self.next = Some(Instant::now() + PROGRESS_EVERY);
            self.told = true;
            let percent = position as u128 * 100 / self.size.max(1) as u128;
            eprint!("\r{percent:3}% of {}", self.path.display());
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.told {
            // Nothing is left on the line.
            eprint!("\r\x1b[K");
        }
    }
}

fn timestamp_type(batch: &Batch) -> &'static str {
    if batch.header().attributes.is_log_append_time() { "LogAppendTime" } else { "CreateTime" }
}

fn batch_line(batch: &Batch, position: usize) -> String {
    let header = batch.header();
    let attributes = header.attributes;
    let horizon = match attributes.has_delete_horizon() {
        true => format!("OptionalLong[{}]", header.base_timestamp),
        false => "OptionalLong.empty".to_owned(),
    };
    let codec = attributes.compression().map_or("unknown", |codec| codec.name());
    format!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
         partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {horizon} position: {position} {}: {} \
         size: {} magic: 2 compresscodec: {codec} crc: {} isvalid: {}",
        header.base_offset,
        header.last_offset(),
        header.record_count,
        header.base_sequence,
        header.last_sequence(),
        header.producer_id,
        header.producer_epoch,
        header.leader_epoch,
        attributes.is_transactional(),
        attributes.is_control(),
        timestamp_type(batch),
        header.max_timestamp,
        header.size(),
        header.crc,
        batch.check_crc().is_ok()
    )
}

fn record_line(batch: &Batch, index: i32, record: &Record, view: &View) -> String {
    let header = batch.header();
    let is_control = header.attributes.is_control();
    let mut parts = Vec::new();
    if view.metadata {
        let size = |part: &Option<Bytes>| part.as_ref().map_or(-1, |bytes| bytes.len() as i64);
        // As batches count on after the largest number.
        let sequence = match header.base_sequence {
            ..0 => -1,
            base => ((i64::from(base) + record.offset - header.base_offset) & i64::from(i32::MAX)) as i32,
        };
        let keys: Vec<&str> = record.headers.iter().map(|header| &*header.key).collect();
        parts.push(format!(
            "offset: {} {}: {} keySize: {} valueSize: {} sequence: {sequence} headerKeys: [{}]",
            record.offset,
            timestamp_type(batch),
            record.timestamp,
            size(&record.key),
            size(&record.value),
            keys.join(",")
        ));
        if is_control {
            parts.extend(marker(batch).filter(|_| index == 0).or_else(|| control(record)));
        }
    }
    if view.contents && !is_control {
        let (key, payload) = decoded(record, view.decoder);
        parts.extend(key.map(|key| format!("key: {key}")));
        parts.extend(payload.map(|payload| format!("payload: {payload}")));
    }
    // The bar belongs to metadata and keys: a payload alone goes without.
    match parts.first() {
        None => String::new(),
        Some(first) if first.starts_with("payload: ") => format!(" {first}"),
        Some(_) => format!("| {}", parts.join(" ")),
    }
}

fn marker(batch: &Batch) -> Option<String> {
    let end = EndTransaction::from_batch(batch).ok()??;
    let kind = match end.marker {
        Marker::Commit => "COMMIT",
        Marker::Abort => "ABORT",
    };
    Some(format!("endTxnMarker: {kind} coordinatorEpoch: {}", end.coordinator_epoch))
}

/// A control record that is no marker: those of a KRaft log.
fn control(record: &Record) -> Option<String> {
    let [_, _, kind @ ..] = record.key.as_ref()?.first_chunk::<4>()?;
    let value = record.value.clone().unwrap_or_default();
    Some(metadata_records::control(i16::from_be_bytes(*kind), &value))
}

fn decoded(record: &Record, decoder: Decoder) -> (Option<String>, Option<String>) {
    let text = |part: &Option<Bytes>| part.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let special = match decoder {
        Decoder::Text => return (text(&record.key), text(&record.value)),
        Decoder::Offsets => offsets_record(record),
        Decoder::Transactions => transaction_record(record),
        Decoder::Metadata => {
            let shown = metadata_records::shown(&record.value)
                .unwrap_or_else(|why| format!("Error at {}, skipping. {why}", record.offset));
            return (None, Some(shown));
        }
    };
    special.unwrap_or_else(|| {
        let version =
            record.key.as_ref().and_then(|key| split_version(key).ok()).map_or(-1, |(version, _)| version);
        (Some(format!("unknown::version={version}")), None)
    })
}

const DELETED: &str = "<DELETE>";

fn offsets_record(record: &Record) -> Option<(Option<String>, Option<String>)> {
    let (version, key) = split_version(record.key.as_ref()?).ok()?;
    if version == 2 {
        let key = GroupMetadataKey::decode(&key, version).ok()?;
        let value = match &record.value {
            None => DELETED.to_owned(),
            Some(value) => {
                let (version, value) = split_version(value).ok()?;
                group_text(&GroupMetadataValue::decode(&value, version).ok()?)
            }
        };
        return Some((Some(format!("group_metadata::group={}", key.group)), Some(value)));
    }
    let key = (version <= 1).then(|| OffsetCommitKey::decode(&key, version).ok())??;
    let value = match &record.value {
        None => DELETED.to_owned(),
        Some(value) => {
            let (version, value) = split_version(value).ok()?;
            let value = OffsetCommitValue::decode(&value, version).ok()?;
            match value.metadata.is_empty() {
                true => format!("offset={}", value.offset),
                false => format!("offset={},metadata={}", value.offset, value.metadata),
            }
        }
    };
    let key = format!("offset_commit::group={},partition={}-{}", key.group, key.topic, key.partition);
    Some((Some(key), Some(value)))
}

fn group_text(group: &GroupMetadataValue) -> String {
    let of_consumers = &*group.protocol_type == "consumer";
    let members: Vec<&MemberMetadata> = group.members.iter().collect();
    let members = scala_order(&members, |member| string_hash(&member.member_id));
    let members = members.into_iter().map(|member| {
        let assignment = match client::group::read_assignment(&member.assignment) {
            Ok(partitions) if of_consumers => {
                let shown: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                format!("[{}]", shown.join(", "))
            }
            _ => member.assignment.iter().map(|byte| format!("{byte:02X}")).collect(),
        };
        format!("{}={assignment}", member.member_id)
    });
    let members: Vec<String> = members.collect();
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let protocol = group.protocol.as_deref().map_or("null".to_owned(), text);
    format!(
        "{{\"protocolType\":{},\"protocol\":{protocol},\"generationId\":{},\"assignment\":{}}}",
        text(&group.protocol_type),
        group.generation,
        text(&format!("{{{}}}", members.join(",")))
    )
}

fn transaction_record(record: &Record) -> Option<(Option<String>, Option<String>)> {
    let (version, key) = split_version(record.key.as_ref()?).ok()?;
    let id = TransactionLogKey::decode(&key, version).ok()?.transactional_id;
    let value = match &record.value {
        None => DELETED.to_owned(),
        Some(value) => {
            let (version, value) = split_version(value).ok()?;
            let value = TransactionLogValue::decode(&value, version).ok()?;
            let state = super::formatter::TRANSACTION_STATES.get(value.transaction_status as usize)?;
            let partitions: Vec<String> = (value.transaction_partitions.iter().flatten())
                .flat_map(|topic| topic.partition_ids.iter().map(|index| format!("{}-{index}", topic.topic)))
                .collect();
            format!(
                "producerId:{},producerEpoch:{},state={state},partitions=[{}],txnLastUpdateTimestamp={},txnTimeoutMs={}",
                value.producer_id,
                value.producer_epoch,
                partitions.join(","),
                value.transaction_last_update_timestamp_ms,
                value.transaction_timeout_ms
            )
        }
    };
    Some((Some(format!("transaction_metadata::transactionalId={id}")), Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::batch::BatchBuilder;

    fn view(contents: bool) -> View {
        View { records: true, contents, metadata: true, decoder: Decoder::Text, bytes_max: i32::MAX as usize }
    }

    fn file(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("00000000000000000007.log");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn a_segment_is_shown_with_its_records_and_what_is_left_over() {
        let mut batch = BatchBuilder::new().base_offset(7);
        batch.push(100, None, Some(b"hello"), &[]);
        batch.push(101, Some(b"k"), None, &[]);
        let mut bytes = batch.finish().unwrap().to_vec();
        bytes.extend([0; 5]);
        let (_dir, path) = file(&bytes);
        let mut to = Vec::new();
        assert!(log(&path, &view(true), &mut to).unwrap().is_empty());
        let text = String::from_utf8(to).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "Log starting offset: 7");
        assert!(lines[1].starts_with(
            "baseOffset: 7 lastOffset: 8 count: 2 baseSequence: -1 lastSequence: -1 producerId: -1"
        ));
        assert!(lines[1].ends_with("isvalid: true"));
        assert_eq!(
            lines[2],
            "| offset: 7 CreateTime: 100 keySize: -1 valueSize: 5 sequence: -1 headerKeys: [] payload: hello"
        );
        assert_eq!(
            lines[3],
            "| offset: 8 CreateTime: 101 keySize: 1 valueSize: -1 sequence: -1 headerKeys: [] key: k"
        );
        assert_eq!(lines[4], "Found 5 invalid bytes at the end of 00000000000000000007.log");
    }

    #[test]
    fn a_gap_between_offsets_is_found() {
        let batch = |offset: i64| {
            let mut batch = BatchBuilder::new().base_offset(offset);
            batch.push(1, None, Some(b"x"), &[]);
            batch.finish().unwrap().to_vec()
        };
        let (_dir, path) = file(&[batch(7), batch(9)].concat());
        assert_eq!(log(&path, &view(false), &mut Vec::new()).unwrap(), [(7, 9)]);
    }
}
