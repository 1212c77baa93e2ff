//! Records to produce: batches and message sets, whole and damaged.

use bytes::{Bytes, BytesMut};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use wire::batch::message_set::MessageSetBuilder;
use wire::batch::{BatchBuilder, Compression};

/// The time of every record that is written.
pub const TIME: i64 = 1_600_000_000_000;

/// What a number that was drawn stands for in a produce request of this version.
pub fn codec_of(drawn: i32, version: i16) -> Compression {
    match drawn {
        0 => Compression::Gzip,
        1 => Compression::Snappy,
        2 => Compression::Lz4,
        3 if version >= 7 => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Records for a produce request of this version.
pub fn draw(rng: &mut ChaCha8Rng, version: i16, producers: &[(i64, i16)]) -> Bytes {
    let kind = rng.random_range(0..24);
    let (codec, count) = (rng.random_range(0..10), rng.random_range(1..4));
    let (back, sequence) = (rng.random_range(0..3_usize), [0, 0, 1, 2, 3, 9][rng.random_range(0..6)]);
    let damage = rng.random_range(0..61_usize);
    let codec = codec_of(codec, version);
    let old = version < 3 && kind < 20 || kind == 23;
    if old {
        return set(if version >= 2 { 1 } else { 0 }, codec, count);
    }
    let producer = producers.iter().rev().nth(back).or(producers.last());
    let mut batch = BatchBuilder::new().compression(codec);
    if let Some((id, epoch)) = producer.filter(|_| kind < 10) {
        batch = batch.producer(*id, *epoch, sequence).transactional(kind < 6);
    }
    if kind == 19 {
        batch = batch.control(true);
    }
    for n in 0..count {
        let key = format!("k{n}");
        let key = (kind != 18).then_some(key.as_bytes());
        batch.push(TIME + n, key, Some(b"value"), &[("h", Some(b"1"))]);
    }
    let whole = batch.finish().expect("codecs write to memory");
    match kind {
        20 => Bytes::new(),
        21 => [&whole[..], &whole[..]].concat().into(),
        22 => {
            let mut bytes = BytesMut::from(&whole[..]);
            bytes[damage] ^= 0x10;
            bytes.freeze()
        }
        17 => whole.slice(..whole.len() - 3),
        _ => whole,
    }
}

fn set(magic: u8, codec: Compression, count: i64) -> Bytes {
    let mut set = MessageSetBuilder::new(magic, codec, None, 0);
    for n in 0..count {
        set.push(n, TIME + n, Some(format!("k{n}").as_bytes()), Some(b"value"));
    }
    set.finish().unwrap_or_default()
}
