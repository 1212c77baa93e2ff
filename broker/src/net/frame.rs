//! Size-delimited frames: int32 length, then that many bytes.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::memory::{RequestMemory, Taken};

/// Why no further frame comes from a peer.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer announced a size outside `0..=limit`.
    #[error("invalid receive (size = {size}, socket.request.max.bytes = {limit})")]
    Size { size: i32, limit: usize },
    /// The peer went away inside a frame, or the socket failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// Room made at once; a frame's announced size is believed only as its bytes arrive.
const STEP: usize = 64 * 1024;

/// Reads frames from one socket; what arrives with a frame but behind it waits in the buffer.
pub struct FrameReader<R> {
    socket: R,
    buffer: BytesMut,
    limit: usize,
    memory: Option<Arc<RequestMemory>>,
    /// What the frame at hand has of it.
    taken: Option<Taken>,
}

/// The first bytes of a Produce request, whose records are kept until it is answered. Others are worked on as soon as they are
/// there, and some wait long for something to happen.
const PRODUCE: [u8; 2] = [0, 0];

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that refuses frames above `limit` bytes.
    pub fn new(socket: R, limit: usize) -> Self {
        FrameReader { socket, buffer: BytesMut::new(), limit, memory: None, taken: None }
    }

    /// Takes room for each frame before it is read.
    pub fn within(mut self, memory: Option<Arc<RequestMemory>>) -> Self {
        self.memory = memory;
        self
    }

    /// The frame at hand is done with.
    pub fn answered(&mut self) {
        self.taken = None;
    }

    /// From the next frame on, another limit holds.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next frame; `None` when the peer closed between frames. Cancel safe: bytes read stay in
    /// the buffer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(size) = self.announced()? {
                if let (None, Some(memory)) = (&self.taken, &self.memory) {
                    self.taken = Some(memory.take(size).await);
                }
                if self.buffer.len() >= 4 + size {
                    self.buffer.advance(4);
                    let frame = self.buffer.split_to(size).freeze();
                    if !frame.starts_with(&PRODUCE) {
                        self.taken = None;
                    }
                    return Ok(Some(frame));
                }
                self.buffer.reserve((4 + size - self.buffer.len()).min(self.buffer.len().max(STEP)));
            } else {
                self.buffer.reserve(STEP);
            }
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    fn announced(&self) -> Result<Option<usize>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let size = i32::from_be_bytes(*head);
        match usize::try_from(size) {
            Ok(bytes) if bytes <= self.limit => Ok(Some(bytes)),
            _ => Err(FrameError::Size { size, limit: self.limit }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_in_order_and_the_end_is_clean() {
        let bytes: &[u8] = &[0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        let mut reader = FrameReader::new(bytes, 10);
        assert_eq!(reader.next().await.unwrap().unwrap(), [1, 2][..]);
        assert_eq!(reader.next().await.unwrap().unwrap(), [][..]);
        assert_eq!(reader.next().await.unwrap().unwrap(), [9][..]);
        assert!(reader.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_oversized_or_negative_frame_is_refused_before_memory_is_taken() {
        for head in [11i32, i32::MAX, -1] {
            let bytes = head.to_be_bytes();
            let mut reader = FrameReader::new(&bytes[..], 10);
            assert!(matches!(reader.next().await, Err(FrameError::Size { size, .. }) if size == head));
        }
    }

    #[tokio::test]
    async fn a_frame_cut_short_is_an_error() {
        let mut reader = FrameReader::new(&[0u8, 0, 0, 2, 1][..], 10);
        assert!(matches!(reader.next().await, Err(FrameError::Io(_))));
    }
}
