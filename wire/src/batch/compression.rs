//! The codecs of a batch's records, in the framing that Java's clients use. Decompression is bounded by the caller.
//!
//! | id | codec | framing |
//! |---|---|---|
//! | 1 | gzip | RFC 1952 |
//! | 2 | snappy | xerial's: 8-byte magic, version 1, compatible version 1, then `i32` length + raw snappy of 32 KiB each |
//! | 3 | lz4 | LZ4 frame: independent 64 KiB blocks, no checksums of blocks or content |
//! | 4 | zstd | one frame, level 3 |

use super::BatchError;
use bytes::{Buf, Bytes};
use std::io::{Read, Write};

/// What a batch may grow to when its reader names no limit.
pub const DEFAULT_LIMIT: usize = 256 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_BLOCK: usize = 32 << 10;

impl Compression {
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The low three bits of a batch's attributes.
    pub fn id(self) -> u8 {
        self as u8
    }

    pub fn from_id(id: u8) -> Option<Compression> {
        Compression::ALL.get(usize::from(id)).copied()
    }

    /// As configurations name it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    pub fn from_name(name: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|codec| codec.name() == name)
    }

    pub fn compress(self, plain: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(plain.to_vec()),
            Compression::Gzip => {
                let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                to.write_all(plain)?;
                to.finish()
            }
            Compression::Snappy => compress_xerial(plain),
            Compression::Lz4 => {
                let info = lz4_flex::frame::FrameInfo::new()
                    .block_size(lz4_flex::frame::BlockSize::Max64KB)
                    .block_mode(lz4_flex::frame::BlockMode::Independent);
                let mut to = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
                to.write_all(plain)?;
                to.finish().map_err(std::io::Error::other)
            }
            Compression::Zstd => zstd::stream::encode_all(plain, 3),
        }
    }

    /// The plain records; at most `limit` bytes of them.
    pub fn decompress(self, data: Bytes, limit: usize) -> Result<Bytes, BatchError> {
        let read = match self {
            Compression::None => return Ok(data),
            Compression::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(&data[..]), limit),
            Compression::Snappy => return decompress_xerial(data, limit),
            Compression::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(&data[..]), limit),
            Compression::Zstd => {
                zstd::stream::read::Decoder::with_buffer(&data[..]).and_then(|from| read_bounded(from, limit))
            }
        };
        match read {
            Ok(plain) if plain.len() > limit => Err(BatchError::TooLarge { codec: self.name(), limit }),
            Ok(plain) => Ok(Bytes::from(plain)),
            Err(why) => Err(self.garbage(why)),
        }
    }

    fn garbage(self, why: impl std::fmt::Display) -> BatchError {
        BatchError::Decompress { codec: self.name(), why: why.to_string() }
    }
}

/// Reads one byte over the limit at most, so that the caller can tell.
fn read_bounded(from: impl Read, limit: usize) -> std::io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    from.take(limit as u64 + 1).read_to_end(&mut plain)?;
    Ok(plain)
}

fn compress_xerial(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut to = Vec::from(XERIAL_MAGIC);
    to.extend_from_slice(&1i32.to_be_bytes());
    to.extend_from_slice(&1i32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK) {
        let compressed = encoder.compress_vec(block).map_err(std::io::Error::other)?;
        to.extend_from_slice(&(compressed.len() as i32).to_be_bytes());
        to.extend_from_slice(&compressed);
    }
    Ok(to)
}

/// Data without xerial's magic is one raw block, as Java takes it too.
fn decompress_xerial(mut data: Bytes, limit: usize) -> Result<Bytes, BatchError> {
    let mut plain = Vec::new();
    if !data.starts_with(&XERIAL_MAGIC) {
        decompress_block(&data, &mut plain, limit)?;
        return Ok(Bytes::from(plain));
    }
    if data.len() < 16 {
        return Err(Compression::Snappy.garbage("the header ends early"));
    }
    data.advance(16);
    while data.has_remaining() {
        // Streams that were appended to each other have a header each.
        if data.starts_with(&XERIAL_MAGIC) && data.len() >= 16 {
            data.advance(16);
            continue;
        }
        let len =
            data.try_get_i32().map_err(|_| Compression::Snappy.garbage("a block's length ends early"))?;
        if len < 0 || len as usize > data.len() {
            return Err(Compression::Snappy.garbage("a block is longer than the data"));
        }
        decompress_block(&data.split_to(len as usize), &mut plain, limit)?;
    }
    Ok(Bytes::from(plain))
}

fn decompress_block(block: &[u8], plain: &mut Vec<u8>, limit: usize) -> Result<(), BatchError> {
    let garbage = |why: snap::Error| Compression::Snappy.garbage(why);
    let len = snap::raw::decompress_len(block).map_err(garbage)?;
    // Snappy shrinks to no less than a twenty-first: a block that announces more is a lie, and reserves nothing.
    if len > limit.saturating_sub(plain.len()) {
        return Err(BatchError::TooLarge { codec: "snappy", limit });
    }
    if len / 32 > block.len() {
        return Err(Compression::Snappy.garbage("a block announces more than it can hold"));
    }
    let start = plain.len();
    plain.resize(start + len, 0);
    snap::raw::Decoder::new().decompress(block, &mut plain[start..]).map_err(garbage)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Vec<u8> {
        (0..200_000u32).map(|i| (i % 251) as u8 ^ (i / 1000) as u8).collect()
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        for codec in Compression::ALL {
            for plain in [vec![], vec![7], plain()] {
                let data = Bytes::from(codec.compress(&plain).unwrap());
                assert_eq!(codec.decompress(data, 200_000).unwrap(), plain, "{codec:?}");
            }
        }
    }

    #[test]
    fn data_that_grows_beyond_the_limit_is_refused() {
        for codec in &Compression::ALL[1..] {
            let data = Bytes::from(codec.compress(&plain()).unwrap());
            let error = codec.decompress(data, 199_999).unwrap_err();
            assert_eq!(error, BatchError::TooLarge { codec: codec.name(), limit: 199_999 });
        }
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        for codec in &Compression::ALL[1..] {
            let whole = codec.compress(&plain()).unwrap();
            for data in [&b"not compressed at all"[..], &whole[..whole.len() / 2]] {
                let error = codec.decompress(Bytes::copy_from_slice(data), 1 << 20).unwrap_err();
                assert!(
                    matches!(error, BatchError::Decompress { .. } | BatchError::TooLarge { .. }),
                    "{codec:?}: {error}"
                );
            }
        }
    }

    #[test]
    fn the_lz4_frame_header_is_javas() {
        // Version 1, independent blocks, 64 KiB; the last byte is the header's own checksum.
        let data = Compression::Lz4.compress(b"x").unwrap();
        assert_eq!(data[..7], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82]);
    }
}
