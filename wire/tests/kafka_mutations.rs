//! Damaged messages of every API, version and direction: bits flipped, lengths that are absurd, bytes missing and bytes
//! too many. Decoding refuses them or makes something of them that can be written and read again; it never panics, nor
//! reserves what the message does not hold.

use bytes::{Buf, Bytes, BytesMut};
use wire::jute::Reader;
use wire::kafka::{AnyRequest, AnyResponse, ApiKey};

const SAMPLE: &[u8] = include_bytes!("fixtures/kafka-messages-3.5.1.sample.bin");

/// What a length field may be told to be, at 1 to 5 bytes of it.
const ABSURD: [&[u8]; 8] = [
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xfe],
    &[0x7f, 0xff],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0x7f],
    &[0xff, 0x7f],
    &[0x01],
];

/// The message as it is written after having been read; `None`: it was refused.
fn again(key: ApiKey, version: i16, kind: u8, bytes: Bytes) -> Option<Bytes> {
    let mut from = Reader::new(bytes);
    let mut to = BytesMut::new();
    if kind == 0 {
        AnyRequest::read(key, &mut from, version).ok()?.write(&mut to, version);
    } else {
        AnyResponse::read(key, &mut from, version).ok()?.write(&mut to, version);
    }
    Some(to.freeze())
}

fn with(bytes: &Bytes, at: usize, put: &[u8]) -> Bytes {
    let mut damaged = bytes.to_vec();
    let end = (at + put.len()).min(damaged.len());
    damaged.splice(at..end, put.iter().copied());
    damaged.into()
}

#[test]
fn damaged_messages_are_refused_or_read_as_something_that_stays_what_it_is() {
    let mut sample = Bytes::from_static(SAMPLE);
    let (mut refused, mut taken) = (0_u64, 0_u64);
    while sample.has_remaining() {
        let key = ApiKey::from_i16(sample.get_i16()).unwrap();
        let (version, kind) = (sample.get_i16(), sample.get_u8());
        let len = sample.get_i32() as usize;
        let bytes = sample.split_to(len);
        // Every byte of short messages; long ones are gone over in steps that do not keep to their fields.
        for at in (0..len).step_by(1 + len / 97) {
            let bit = 1 << (at % 8);
            let mut damaged = vec![
                with(&bytes, at, &[bytes[at] ^ bit]),
                Bytes::from([&bytes[..at], &bytes[at + 1..]].concat()),
                Bytes::from([&bytes[..at], &[bytes[at]], &bytes[at..]].concat()),
            ];
            damaged.push(with(&bytes, at, ABSURD[at % ABSURD.len()]));
            damaged.push(with(&bytes, at, ABSURD[(at / 3 + 1) % ABSURD.len()]));
            for message in damaged {
                let Some(once) = again(key, version, kind, message) else {
                    refused += 1;
                    continue;
                };
                taken += 1;
                let twice = again(key, version, kind, once.clone());
                assert_eq!(twice.as_ref(), Some(&once), "{key:?} v{version} kind {kind}, damaged at {at}");
            }
        }
    }
    assert!(refused > 10_000 && taken > 10_000, "{refused} refused, {taken} taken");
}
