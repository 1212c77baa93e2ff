//! Requests that nobody would send: bytes that are missing or too many, lengths that cannot be, APIs and versions that are not.

use bytes::{BufMut, BytesMut};
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use wire::kafka::ApiKey;

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It ends after this part of its body, in 256ths.
    Cut(u8),
    /// It ends within its header, after so many bytes.
    CutHeader(u8),
    /// So many bytes come behind its body.
    More(u8),
    /// Four bytes stand in its body at this part of it, in 256ths.
    Put(u8, [u8; 4]),
    /// It says that it has so many bytes.
    Length(i32),
    Key(i16),
    Version(i16),
    /// How long its client id is said to be.
    ClientId(i16),
}

/// Who believes a wrong number here has the wrong controller, more partitions than there is room for, or no bytes to spend.
const BELIEVED: &[ApiKey] = &[
    ApiKey::LeaderAndIsr,
    ApiKey::StopReplica,
    ApiKey::UpdateMetadata,
    ApiKey::CreateTopics,
    ApiKey::CreatePartitions,
    ApiKey::AlterPartition,
    ApiKey::AlterClientQuotas,
];

/// Draws what is wrong with a request of this API.
pub fn damage(rng: &mut ChaCha8Rng, key: ApiKey) -> Damage {
    let (at, kind) = (rng.random_range(0..=255_u8), rng.random_range(0..20));
    let bytes = [[0xff; 4], [0x7f, 0xff, 0xff, 0xff], [0x80, 0, 0, 0], [0; 4], [0x7f; 4]];
    let bytes = bytes[rng.random_range(0..bytes.len())];
    let number = [-1, i16::MIN, 100, i16::MAX][rng.random_range(0..4)];
    match kind {
        0..7 => Damage::Cut(at),
        7 => Damage::CutHeader(at % 9),
        8..10 => Damage::More(1 + at % 20),
        10..15 if !BELIEVED.contains(&key) => Damage::Put(at, bytes),
        10..15 => Damage::Cut(at),
        15 => Damage::Length([0, -1, i32::MIN, i32::MAX][usize::from(at % 4)]),
        16 => Damage::Key([-1, 52, 55, 62, 68, 69, 1000, i16::MAX][usize::from(at % 8)]),
        17..19 => Damage::Version(number),
        _ => Damage::ClientId([-2, i16::MIN, 9, 300, i16::MAX][usize::from(at % 5)]),
    }
}

impl Damage {
    /// Does it to a frame with its length, whose header has so many bytes.
    pub fn apply(self, frame: &mut BytesMut, header: usize) {
        let body = 4 + header;
        let at = |part: u8| body + (frame.len() - body) * usize::from(part) / 256;
        match self {
            Damage::Cut(part) => frame.truncate(at(part)),
            Damage::CutHeader(len) => frame.truncate(4 + usize::from(len)),
            Damage::More(count) => frame.put_bytes(0x21, usize::from(count)),
            Damage::Put(part, bytes) => {
                let at = at(part);
                let len = bytes.len().min(frame.len() - at);
                frame[at..at + len].copy_from_slice(&bytes[..len]);
            }
            Damage::Length(len) => {
                frame[..4].copy_from_slice(&len.to_be_bytes());
                return;
            }
            Damage::Key(key) => frame[4..6].copy_from_slice(&key.to_be_bytes()),
            Damage::Version(version) => frame[6..8].copy_from_slice(&version.to_be_bytes()),
            // ControlledShutdown v0 has none there.
            Damage::ClientId(len) if header >= 10 => frame[12..14].copy_from_slice(&len.to_be_bytes()),
            Damage::ClientId(_) => {}
        }
        let len = frame.len() as i32 - 4;
        frame[..4].copy_from_slice(&len.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_says_its_true_length_unless_that_is_what_is_wrong() {
        let damaged = |damage: Damage| {
            let mut frame = BytesMut::from(&b"\0\0\0\x10\0\x01\0\x02\0\0\0\x09\0\x02meabcd"[..]);
            damage.apply(&mut frame, 12);
            (frame[..4].to_vec(), frame[4..].to_vec())
        };
        assert_eq!(
            damaged(Damage::Cut(128)),
            (vec![0, 0, 0, 14], b"\0\x01\0\x02\0\0\0\x09\0\x02meab".to_vec())
        );
        assert_eq!(damaged(Damage::CutHeader(1)), (vec![0, 0, 0, 1], vec![0]));
        assert_eq!(damaged(Damage::Length(-1)).0, [0xff; 4]);
        assert_eq!(&damaged(Damage::Put(192, [7; 4])).1[12..], b"abc\x07");
        assert_eq!(&damaged(Damage::ClientId(9)).1[8..10], [0, 9]);
        assert_eq!(damaged(Damage::More(2)).0, [0, 0, 0, 18]);
    }
}
