//! Batches that say something about themselves that is not so, with a checksum that is right.

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use wire::batch::message_set::MessageSetBuilder;
use wire::batch::{BatchBuilder, Compression, HEADER_SIZE};

use super::records::{TIME, codec_of};

/// Where the fields of a batch stand, and what is put there.
const FIELDS: &[(usize, &[&[u8]])] = &[
    // base offset
    (0, &[&[0, 0, 0, 0, 0, 0, 0, 5], &[0xff; 8], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]),
    // length
    (8, &[&[0; 4], &[0xff; 4], &[0, 0, 0, 48], &[0x7f, 0xff, 0xff, 0xff]]),
    // partition leader epoch
    (12, &[&[0, 0, 0, 7], &[0xff; 4]]),
    // magic
    (16, &[&[3], &[0xff], &[0], &[1]]),
    // attributes: log append time, a codec that is not, bits that nobody uses, a delete horizon, transactional, control
    (
        21,
        &[&[0, 8], &[0, 5], &[0, 7], &[0, 0x80], &[0x80, 0], &[0, 0x40], &[0, 0x10], &[0, 0x20], &[0, 0x30]],
    ),
    // last offset delta
    (23, &[&[0, 0, 0, 0], &[0, 0, 0, 9], &[0xff; 4]]),
    // base timestamp
    (
        27,
        &[
            &[0xff; 8],
            &[0; 8],
            &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x80, 0, 0, 0, 0, 0, 0, 0],
        ],
    ),
    // largest timestamp
    (35, &[&[0xff; 8], &[0; 8], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]),
    // producer id
    (43, &[&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe], &[0x7f; 8]]),
    // producer epoch
    (51, &[&[0xff, 0xff], &[0, 0], &[0x7f, 0xff], &[0x80, 0]]),
    // base sequence
    (53, &[&[0xff; 4], &[0x7f, 0xff, 0xff, 0xff], &[0x80, 0, 0, 0], &[0, 0, 0, 1]]),
    // count of records
    (57, &[&[0; 4], &[0, 0, 0, 1], &[0, 0, 0, 4], &[0xff; 4], &[0x7f, 0xff, 0xff, 0xff]]),
];

/// Records for a produce request of this version.
pub fn draw(rng: &mut ChaCha8Rng, version: i16, producers: &[(i64, i16)]) -> Bytes {
    let (kind, codec, count) = (rng.random_range(0..12), rng.random_range(0..8), rng.random_range(1..4));
    let (field, value) = (rng.random_range(0..FIELDS.len()), rng.random_range(0..64_usize));
    let (at, byte) = (rng.random_range(0..256_usize), [0, 1, 2, 0x7f, 0x80, 0xff][rng.random_range(0..6)]);
    let codec = codec_of(codec, version);
    if version < 3 {
        return old(if version < 2 { 0 } else { 1 }, kind, codec, count, at, byte);
    }
    let mut batch = BatchBuilder::new().compression(codec);
    if let Some((id, epoch)) = producers.last().filter(|_| kind < 3) {
        batch = batch.producer(*id, *epoch, 0);
    }
    for n in 0..count {
        let value = if kind == 10 { None } else { Some(&b"value"[..]) };
        let headers: &[(&str, Option<&[u8]>)] = match kind {
            11 => &[("", None), ("h", Some(b"")), ("h", Some(b"2"))],
            _ => &[],
        };
        batch.push(TIME + n, Some(b"key"), value, headers);
    }
    let mut whole = batch.finish().expect("codecs write to memory").to_vec();
    match kind {
        // A field says something else.
        0..6 => {
            let (place, values) = FIELDS[field];
            let value = values[value % values.len()];
            whole[place..place + value.len()].copy_from_slice(value);
        }
        // A byte of the records, as they stand there, is another one.
        6..8 => {
            let records = whole.len() - HEADER_SIZE;
            whole[HEADER_SIZE + at * records / 256] = byte;
        }
        // Bytes behind the records, which belong to the batch.
        8 => {
            whole.extend_from_slice(&[byte; 3]);
            let len = whole.len() as u32 - 12;
            whole[8..12].copy_from_slice(&len.to_be_bytes());
        }
        // Bytes behind the batch.
        9 => {
            sign(&mut whole);
            whole.extend_from_slice(&[byte; 20][..at % 20]);
            return whole.into();
        }
        _ => {}
    }
    sign(&mut whole);
    whole.into()
}

/// Puts the right checksum into a batch.
fn sign(batch: &mut [u8]) {
    let sum = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&sum.to_be_bytes());
}

/// A message set, whole or with another byte in it.
fn old(magic: u8, kind: usize, codec: Compression, count: i64, at: usize, byte: u8) -> Bytes {
    let codec = if codec == Compression::Zstd { Compression::None } else { codec };
    let mut set = MessageSetBuilder::new(magic, codec, None, if kind == 0 { 5 } else { 0 });
    for n in 0..count {
        let key = format!("k{n}");
        let (key, value) = (Some(key.as_bytes()), Some(&b"value"[..]));
        set.push(n, TIME + n, key.filter(|_| kind != 1), value.filter(|_| kind != 2));
    }
    let mut whole = set.finish().unwrap_or_default().to_vec();
    let len = whole.len();
    match kind {
        3..8 if len > 0 => whole[at * len / 256] = byte,
        8 => whole.truncate(len - len.min(3)),
        _ => {}
    }
    whole.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use wire::batch::Batch;

    #[test]
    fn most_batches_have_the_right_checksum_and_all_can_be_drawn() {
        let mut whole = 0;
        for seed in 0..500 {
            let drawn = draw(&mut ChaCha8Rng::seed_from_u64(seed), (seed % 10) as i16, &[(7, 0)]);
            if let Ok(Some(batch)) = Batch::split_from(&mut drawn.clone()) {
                whole += usize::from(batch.check_crc().is_ok());
            }
        }
        assert!(whole > 200, "{whole}");
    }
}
