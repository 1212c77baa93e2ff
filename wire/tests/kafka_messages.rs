//! Messages that Java's 3.5.1 classes wrote at random, of every API, version and direction: decoded and encoded again
//! they are the same bytes. A sample is kept here; the whole set is found by `MENAGERIE_ORACLES`, or in
//! `../shared/oracles` beside the repository.

use bytes::{Buf, Bytes, BytesMut};
use std::collections::BTreeSet;
use std::path::PathBuf;
use wire::jute::Reader;
use wire::kafka::{APIS, AnyRequest, AnyResponse, ApiKey};

const SAMPLE: &[u8] = include_bytes!("fixtures/kafka-messages-3.5.1.sample.bin");
const HEADERS: &str = include_str!("fixtures/kafka-header-versions-3.5.1.txt");

/// Reads `api_key i16, version i16, kind u8 (0 request, 1 response), length i32, bytes` until the end; returns which
/// (key, version, kind) there were, and how many messages.
fn check_all(mut oracle: Bytes) -> (BTreeSet<(ApiKey, i16, u8)>, usize) {
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    let mut failures = Vec::new();
    while oracle.has_remaining() {
        let key = ApiKey::from_i16(oracle.get_i16()).expect("an API of 3.5.1");
        let (version, kind) = (oracle.get_i16(), oracle.get_u8());
        let len = oracle.get_i32() as usize;
        let bytes = oracle.split_to(len);
        if let Err(why) = check(key, version, kind, &bytes) {
            failures.push(format!("{key:?} v{version} kind {kind}: {why}"));
        }
        seen.insert((key, version, kind));
        count += 1;
    }
    assert!(
        failures.is_empty(),
        "{} of {count} failed:\n{}",
        failures.len(),
        failures[..failures.len().min(20)].join("\n")
    );
    (seen, count)
}

fn check(key: ApiKey, version: i16, kind: u8, bytes: &Bytes) -> Result<(), String> {
    let mut from = Reader::new(bytes.clone());
    let mut written = BytesMut::new();
    if kind == 0 {
        AnyRequest::read(key, &mut from, version).map_err(|e| e.to_string())?.write(&mut written, version);
    } else {
        AnyResponse::read(key, &mut from, version).map_err(|e| e.to_string())?.write(&mut written, version);
    }
    match (from.remaining(), written == *bytes) {
        (0, true) => Ok(()),
        (0, false) => Err(format!("read  {bytes:?}\nwrote {:?}", written.freeze())),
        (left, _) => Err(format!("{left} of {} bytes were left unread", bytes.len())),
    }
}

#[test]
fn the_sample_decodes_and_encodes_to_the_same_bytes_at_every_version_of_every_api() {
    let (seen, _) = check_all(Bytes::from_static(SAMPLE));
    for api in APIS {
        for version in api.versions.0..=api.versions.1 {
            assert!(seen.contains(&(api.key, version, 0)), "no request {} v{version}", api.name);
            // The generator of the set could not write this response, of an API that 3.5.1 had not released.
            let unreleased = api.key == ApiKey::ConsumerGroupHeartbeat;
            assert!(
                unreleased || seen.contains(&(api.key, version, 1)),
                "no response {} v{version}",
                api.name
            );
        }
    }
}

#[test]
fn the_whole_set_decodes_and_encodes_to_the_same_bytes() {
    let folder = std::env::var_os("MENAGERIE_ORACLES").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/oracles")),
        PathBuf::from,
    );
    let path = folder.join("kafka-messages-3.5.1.bin");
    match std::fs::read(&path) {
        Ok(oracle) => {
            let (seen, count) = check_all(Bytes::from(oracle));
            assert_eq!((seen.len(), count), (553, 22_090));
        }
        Err(why) => eprintln!("skipped: {}: {why}", path.display()),
    }
}

#[test]
fn header_versions_are_javas() {
    for line in HEADERS.lines() {
        let numbers: Vec<i16> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
        let [key, version, request, response] = numbers[..] else { panic!("{line:?}") };
        let api = ApiKey::from_i16(key).unwrap().api();
        assert_eq!(api.request_header_version(version), request, "{} v{version} request", api.name);
        assert_eq!(api.response_header_version(version), response, "{} v{version} response", api.name);
    }
}

#[test]
fn no_prefix_of_a_message_panics_or_reserves_what_it_does_not_hold() {
    let mut sample = Bytes::from_static(SAMPLE);
    while sample.has_remaining() {
        let key = ApiKey::from_i16(sample.get_i16()).unwrap();
        let (version, kind) = (sample.get_i16(), sample.get_u8());
        let len = sample.get_i32() as usize;
        let bytes = sample.split_to(len);
        for end in (0..len).step_by(7) {
            let mut from = Reader::new(bytes.slice(..end));
            let refused = if kind == 0 {
                AnyRequest::read(key, &mut from, version).is_err()
            } else {
                AnyResponse::read(key, &mut from, version).is_err()
            };
            assert!(refused, "{key:?} v{version} kind {kind}, {end} of {len} bytes");
        }
    }
    // A Metadata v0 request of four bytes that announces 2^31 - 1 topics.
    let lie = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
    assert!(AnyRequest::read(ApiKey::Metadata, &mut Reader::new(lie), 0).is_err());
}
