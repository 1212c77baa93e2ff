//! Frames: four bytes of length, then so many bytes. The pieces handed out are slices of what was read.

use bytes::{Buf, Bytes, BytesMut};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Len error {len}: a frame is 0 to {max} bytes long")]
pub(crate) struct BadLength {
    pub len: i32,
    pub max: usize,
}

/// Moves every whole frame's payload from `buffer` to `frames`. Says how many bytes the next frame still lacks, at
/// least 1.
pub(crate) fn split(buffer: &mut BytesMut, max: usize, frames: &mut Vec<Bytes>) -> Result<usize, BadLength> {
    loop {
        let Some(head) = buffer.first_chunk::<4>() else { return Ok(4 - buffer.len()) };
        let len = i32::from_be_bytes(*head);
        let Some(size) = usize::try_from(len).ok().filter(|size| *size <= max) else {
            return Err(BadLength { len, max });
        };
        if buffer.len() < 4 + size {
            return Ok(4 + size - buffer.len());
        }
        buffer.advance(4);
        frames.push(buffer.split_to(size).freeze());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_leave_and_the_rest_waits() {
        let mut buffer = BytesMut::from(&b"\0\0\0\x02ab\0\0\0\0\0\0\0\x03c"[..]);
        let mut frames = Vec::new();
        assert_eq!(split(&mut buffer, 10, &mut frames), Ok(2));
        assert_eq!(frames, [&b"ab"[..], b""]);
        buffer.extend_from_slice(b"de\0");
        assert_eq!(split(&mut buffer, 10, &mut frames), Ok(3));
        assert_eq!(frames[2], &b"cde"[..]);
    }

    #[test]
    fn a_length_below_zero_or_over_the_limit_is_refused_before_its_bytes_come() {
        let mut frames = Vec::new();
        assert_eq!(
            split(&mut BytesMut::from(&b"\xff\xff\xff\xff"[..]), 10, &mut frames),
            Err(BadLength { len: -1, max: 10 })
        );
        assert!(split(&mut BytesMut::from(&b"\0\0\0\x0b"[..]), 10, &mut frames).is_err());
        assert_eq!(split(&mut BytesMut::from(&b"\0\0\0\x0a"[..]), 10, &mut frames), Ok(10));
    }
}
