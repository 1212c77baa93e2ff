//! Where a packet of the quorum port ends. Packets have no length in front: `int type, long zxid, buffer data,
//! vector<Id> authinfo`, one after the other.

use bytes::BytesMut;
use wire::jute::Record;
use wire::zk::quorum::QuorumPacket;

/// The longest buffer of a packet that is believed: a transaction is at most twice `jute.maxbuffer`, but a PING
/// carries 12 bytes for every session of a learner.
const DATA_MAX: usize = 64 << 20;
/// The longest scheme or id, and the most ids, of one request's author.
const ID_MAX: usize = 1 << 20;
const IDS_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PacketError {
    #[error("length {len} in a packet of type {kind} is out of range")]
    Length { kind: i32, len: i32 },
    #[error(transparent)]
    Decode(#[from] wire::jute::DecodeError),
}

/// A walk over bytes that may end too early: `None` then.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    kind: i32,
}

impl Walk<'_> {
    fn int(&mut self) -> Option<i32> {
        let int = self.bytes.get(self.at..)?.first_chunk()?;
        self.at += 4;
        Some(i32::from_be_bytes(*int))
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.at += len;
        (self.at <= self.bytes.len()).then_some(())
    }

    /// A length and so many bytes; -1 is null.
    fn buffer(&mut self, max: usize) -> Option<Result<(), PacketError>> {
        match self.int()? {
            -1 => Some(Ok(())),
            len if len < 0 || len as usize > max => Some(Err(PacketError::Length { kind: self.kind, len })),
            len => self.skip(len as usize).map(Ok),
        }
    }

    fn packet(&mut self) -> Option<Result<(), PacketError>> {
        self.kind = self.int()?;
        self.skip(8)?;
        if let Err(error) = self.buffer(DATA_MAX)? {
            return Some(Err(error));
        }
        let count = self.int()?;
        if count > IDS_MAX as i32 {
            return Some(Err(PacketError::Length { kind: self.kind, len: count }));
        }
        for _ in 0..count.max(0) * 2 {
            if let Err(error) = self.buffer(ID_MAX)? {
                return Some(Err(error));
            }
        }
        Some(Ok(()))
    }
}

/// The next packet, if all of it is there; its data is a slice of what was read.
pub(crate) fn next_packet(buffer: &mut BytesMut) -> Result<Option<QuorumPacket>, PacketError> {
    let mut walk = Walk { bytes: buffer, at: 0, kind: 0 };
    let len = match walk.packet() {
        None => return Ok(None),
        Some(Err(error)) => return Err(error),
        Some(Ok(())) => walk.at,
    };
    Ok(Some(QuorumPacket::decode(&buffer.split_to(len).freeze())?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wire::Str;
    use wire::zk::Id;
    use wire::zk::quorum::packet;

    #[test]
    fn packets_are_found_whatever_the_pieces_in_which_they_come() {
        let ids = vec![Id { scheme: Str::from_static("ip"), id: Str::from_static("127.0.0.1") }];
        let sent = [
            QuorumPacket::new(packet::PING, 7, None),
            QuorumPacket::new(packet::PROPOSAL, 8, Some(Bytes::from_static(b"transaction"))),
            QuorumPacket { auth: Some(ids), ..QuorumPacket::new(packet::REQUEST, -1, Some(Bytes::new())) },
        ];
        let mut wire = BytesMut::new();
        sent.iter().for_each(|packet| packet.write(&mut wire));
        let (mut buffer, mut got) = (BytesMut::new(), Vec::new());
        for byte in wire {
            buffer.extend_from_slice(&[byte]);
            got.extend(next_packet(&mut buffer).unwrap());
        }
        assert_eq!(got, sent);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_length_out_of_range_is_an_error_at_once() {
        for bytes in [
            &b"\0\0\0\x02\0\0\0\0\0\0\0\0\x7f\xff\xff\xff"[..],
            b"\0\0\0\x02\0\0\0\0\0\0\0\0\xff\xff\xff\xfe",
            b"\0\0\0\x01\0\0\0\0\0\0\0\0\xff\xff\xff\xff\x7f\xff\xff\xff",
        ] {
            assert!(matches!(next_packet(&mut BytesMut::from(bytes)), Err(PacketError::Length { .. })));
        }
    }
}
