//! Snappy as Java's snapshots have it (`SnappyOutputStream`): a header, then blocks of 32 KiB, each by itself.
//!
//! | part | bytes |
//! |---|---|
//! | header (16) | `82 53 4e 41 50 50 59 00`, `i32` version 1, `i32` oldest reader 1 |
//! | block | `i32` length, raw snappy |

use snap::raw::{Decoder, Encoder, decompress_len};
use std::io::{self, ErrorKind, Read, Write};

pub const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSIONS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 1];
const BLOCK: usize = 32 << 10;
/// Snappy shrinks to a twenty-first at best: a block that announces more is a lie, and reserves nothing.
const RATIO_MAX: usize = 32;

/// Compresses what is written; [`SnappyWriter::finish`] writes the last block.
pub struct SnappyWriter<W: Write> {
    to: W,
    block: Vec<u8>,
    encoder: Encoder,
    begun: bool,
}

impl<W: Write> SnappyWriter<W> {
    pub fn new(to: W) -> SnappyWriter<W> {
        SnappyWriter { to, block: Vec::with_capacity(BLOCK), encoder: Encoder::new(), begun: false }
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.write_block()?;
        Ok(self.to)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if !self.begun {
            self.to.write_all(&MAGIC)?;
            self.to.write_all(&VERSIONS)?;
            self.begun = true;
        }
        if self.block.is_empty() {
            return Ok(());
        }
        let compressed = self.encoder.compress_vec(&self.block).map_err(io::Error::other)?;
        self.to.write_all(&(compressed.len() as u32).to_be_bytes())?;
        self.to.write_all(&compressed)?;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for SnappyWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.write_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Gives the plain bytes; a stream that is cut short or damaged is an error.
pub struct SnappyReader<R: Read> {
    from: R,
    plain: Vec<u8>,
    at: usize,
    begun: bool,
}

impl<R: Read> SnappyReader<R> {
    pub fn new(from: R) -> SnappyReader<R> {
        SnappyReader { from, plain: vec![], at: 0, begun: false }
    }

    /// False at the end of the stream.
    fn next_block(&mut self) -> io::Result<bool> {
        if !self.begun {
            self.skip_header()?;
        }
        let mut len = [0; 4];
        let mut filled = 0;
        while filled < len.len() {
            match self.from.read(&mut len[filled..])? {
                0 if filled == 0 => return Ok(false),
                0 => return Err(damaged("a block's length is cut short")),
                more => filled += more,
            }
        }
        let len = u32::from_be_bytes(len);
        let mut block = Vec::new();
        if (&mut self.from).take(u64::from(len)).read_to_end(&mut block)? < len as usize {
            return Err(damaged("a block is cut short"));
        }
        let plain = decompress_len(&block).map_err(damaged)?;
        if plain / RATIO_MAX > block.len() {
            return Err(damaged("a block announces more than it can hold"));
        }
        self.plain.resize(plain, 0);
        self.at = 0;
        Decoder::new().decompress(&block, &mut self.plain).map_err(damaged)?;
        Ok(true)
    }

    fn skip_header(&mut self) -> io::Result<()> {
        let mut header = [0; 16];
        self.from.read_exact(&mut header)?;
        if header[..8] != MAGIC {
            return Err(damaged("it does not begin as a stream of Java's snappy"));
        }
        self.begun = true;
        Ok(())
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let taken = to.len().min(self.plain.len() - self.at);
        to[..taken].copy_from_slice(&self.plain[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

fn damaged(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("snappy: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Vec<u8> {
        (0..100_000u32).map(|i| (i % 251) as u8 ^ (i / 1000) as u8).collect()
    }

    fn compressed(plain: &[u8]) -> Vec<u8> {
        let mut to = SnappyWriter::new(vec![]);
        plain.chunks(777).for_each(|chunk| to.write_all(chunk).unwrap());
        to.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = vec![];
        SnappyReader::new(bytes).read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn what_was_written_comes_back() {
        for plain in [vec![], vec![7], plain()] {
            assert_eq!(read(&compressed(&plain)).unwrap(), plain);
        }
    }

    #[test]
    fn the_header_and_the_blocks_are_java_s() {
        let bytes = compressed(&plain());
        assert_eq!(bytes[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
        let first = u32::from_be_bytes(bytes[16..20].try_into().unwrap()) as usize;
        assert_eq!(decompress_len(&bytes[20..20 + first]).unwrap(), BLOCK);
    }

    #[test]
    fn a_stream_that_is_cut_short_or_lies_is_refused() {
        let whole = compressed(&plain());
        for cut in [0, 7, 15, 18, 100, whole.len() - 1] {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let mut lie = compressed(b"x");
        lie.truncate(20);
        lie.extend_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
        lie[16..20].copy_from_slice(&4u32.to_be_bytes());
        assert!(read(&lie).unwrap_err().to_string().contains("more than it can hold"));
    }
}
