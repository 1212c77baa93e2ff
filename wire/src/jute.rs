//! Jute, ZooKeeper's binary encoding: big-endian integers, length-prefixed strings and buffers, no tags.
//!
//! | type | bytes |
//! |---|---|
//! | `bool` | 1; any non-zero reads as true |
//! | `i32`, `i64` | 4, 8 |
//! | ustring ([`Str`], or `Option` where null is legal) | `i32` length + UTF-8; -1 = null |
//! | buffer (`Option<Bytes>`) | `i32` length + bytes; -1 = null |
//! | vector (`Vec<T>`) | `i32` count + items; negative reads as empty |
//!
//! Reading never copies: strings and buffers are slices of the frame that was read.

use crate::Str;
use bytes::{BufMut, Bytes, BytesMut};

/// Why bytes are not the record that was expected. The offset is from the start of the frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the record ends at byte {at}, {wanted} more were expected")]
    Short { at: usize, wanted: usize },
    #[error("length {len} at byte {at} is out of range")]
    Length { at: usize, len: i32 },
    #[error("null at byte {at}, where a value is required")]
    Null { at: usize },
    #[error("the text at byte {at} is not UTF-8")]
    Utf8 { at: usize },
    #[error("the variable-length integer at byte {at} is too long")]
    Varint { at: usize },
    #[error("unknown type {kind} at byte {at}")]
    Kind { at: usize, kind: i32 },
    #[error("the node {path:?} at byte {at} comes before its parent")]
    Orphan { at: usize, path: String },
}

/// A cursor over one frame.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    at: usize,
    field_max: usize,
}

impl Reader {
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes, at: 0, field_max: usize::MAX }
    }

    /// Refuses strings and buffers that are longer.
    pub fn with_field_max(self, field_max: usize) -> Reader {
        Reader { field_max, ..self }
    }

    /// Bytes that are still unread.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Offset of the next byte from the start of the frame.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Goes back to an offset that was read before.
    pub fn go_back(&mut self, to: usize) {
        self.at = self.at.min(to);
    }

    /// The rest of the frame, as a slice.
    pub fn rest(&mut self) -> Bytes {
        let rest = self.bytes.slice(self.at..);
        self.at = self.bytes.len();
        rest
    }

    pub fn read<T: Record>(&mut self) -> Result<T, DecodeError> {
        T::read(self)
    }

    /// `len` bytes as a slice.
    pub fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if self.remaining() < len {
            return Err(DecodeError::Short { at: self.bytes.len(), wanted: len - self.remaining() });
        }
        let taken = self.bytes.slice(self.at..self.at + len);
        self.at += len;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(DecodeError::Short { at: self.bytes.len(), wanted: N - self.remaining() }),
        }
    }
}

/// A value that jute can carry.
pub trait Record: Sized {
    fn read(from: &mut Reader) -> Result<Self, DecodeError>;
    fn write(&self, to: &mut BytesMut);

    /// Decodes the start of `bytes`; trailing bytes are ignored, as the Java server does.
    fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(bytes.clone()))
    }

    fn encode(&self) -> Bytes {
        let mut to = BytesMut::new();
        self.write(&mut to);
        to.freeze()
    }
}

impl Record for () {
    fn read(_: &mut Reader) -> Result<(), DecodeError> {
        Ok(())
    }
    fn write(&self, _: &mut BytesMut) {}
}

impl Record for bool {
    fn read(from: &mut Reader) -> Result<bool, DecodeError> {
        Ok(from.array::<1>()?[0] != 0)
    }
    fn write(&self, to: &mut BytesMut) {
        to.put_u8(*self as u8);
    }
}

impl Record for i32 {
    fn read(from: &mut Reader) -> Result<i32, DecodeError> {
        from.array().map(i32::from_be_bytes)
    }
    fn write(&self, to: &mut BytesMut) {
        to.put_i32(*self);
    }
}

impl Record for i64 {
    fn read(from: &mut Reader) -> Result<i64, DecodeError> {
        from.array().map(i64::from_be_bytes)
    }
    fn write(&self, to: &mut BytesMut) {
        to.put_i64(*self);
    }
}

impl Record for Option<Bytes> {
    fn read(from: &mut Reader) -> Result<Option<Bytes>, DecodeError> {
        let at = from.position();
        match from.read::<i32>()? {
            -1 => Ok(None),
            len if len < 0 || len as usize > from.field_max => Err(DecodeError::Length { at, len }),
            len => from.take(len as usize).map(Some),
        }
    }
    fn write(&self, to: &mut BytesMut) {
        match self {
            None => to.put_i32(-1),
            Some(bytes) => {
                to.put_i32(bytes.len() as i32);
                to.put_slice(bytes);
            }
        }
    }
}

impl Record for Option<Str> {
    fn read(from: &mut Reader) -> Result<Option<Str>, DecodeError> {
        let at = from.position();
        match from.read::<Option<Bytes>>()? {
            None => Ok(None),
            Some(bytes) => Str::try_from(bytes).map(Some).map_err(|_| DecodeError::Utf8 { at: at + 4 }),
        }
    }
    fn write(&self, to: &mut BytesMut) {
        match self {
            None => to.put_i32(-1),
            Some(text) => text.write(to),
        }
    }
}

impl Record for Str {
    fn read(from: &mut Reader) -> Result<Str, DecodeError> {
        let at = from.position();
        from.read::<Option<Str>>()?.ok_or(DecodeError::Null { at })
    }
    fn write(&self, to: &mut BytesMut) {
        to.put_i32(self.len() as i32);
        to.put_slice(self.as_bytes());
    }
}

impl<T: Record> Record for Vec<T> {
    fn read(from: &mut Reader) -> Result<Vec<T>, DecodeError> {
        let count = from.read::<i32>()?.max(0) as usize;
        // No item is shorter than a byte, so a lying count reserves at most what was received.
        let mut items = Vec::with_capacity(count.min(from.remaining() / size_of::<T>().max(1) + 1));
        for _ in 0..count {
            items.push(from.read()?);
        }
        Ok(items)
    }
    fn write(&self, to: &mut BytesMut) {
        to.put_i32(self.len() as i32);
        for item in self {
            item.write(to);
        }
    }
}

/// Declares a record: the fields are encoded in the order in which they stand.
#[macro_export]
macro_rules! record {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $type:ty,)* })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)* }

        impl $crate::jute::Record for $name {
            fn read(from: &mut $crate::jute::Reader) -> Result<$name, $crate::jute::DecodeError> {
                Ok($name { $($field: from.read()?,)* })
            }
            fn write(&self, to: &mut ::bytes::BytesMut) {
                $($crate::jute::Record::write(&self.$field, to);)*
            }
        }
    )+};
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &[u8]) -> Bytes {
        Bytes::copy_from_slice(hex)
    }

    #[test]
    fn null_text_where_a_value_is_required_is_refused() {
        assert_eq!(Str::decode(&bytes(&[0xff; 4])), Err(DecodeError::Null { at: 0 }));
        assert_eq!(Option::<Str>::decode(&bytes(&[0xff; 4])), Ok(None));
    }

    #[test]
    fn a_length_beyond_the_frame_is_short_and_reserves_nothing() {
        assert_eq!(
            Option::<Bytes>::decode(&bytes(&[0x7f, 0xff, 0xff, 0xff, 1])),
            Err(DecodeError::Short { at: 5, wanted: 0x7fff_fffe })
        );
        assert!(Vec::<i64>::decode(&bytes(&[0x7f, 0xff, 0xff, 0xff, 1])).is_err());
    }

    #[test]
    fn a_field_beyond_the_reader_s_limit_is_refused() {
        let frame = bytes(&[0, 0, 0, 2, b'a', b'b', 0, 0, 0, 3, b'a', b'b', b'c']);
        let mut from = Reader::new(frame).with_field_max(2);
        assert_eq!(from.read::<Str>().as_deref(), Ok("ab"));
        assert_eq!(from.read::<Str>(), Err(DecodeError::Length { at: 6, len: 3 }));
    }

    #[test]
    fn a_length_below_minus_one_is_refused_but_such_a_count_is_empty() {
        assert_eq!(
            Option::<Bytes>::decode(&bytes(&[0xff, 0xff, 0xff, 0xfe])),
            Err(DecodeError::Length { at: 0, len: -2 })
        );
        assert_eq!(Vec::<i64>::decode(&bytes(&[0xff, 0xff, 0xff, 0xfe])), Ok(vec![]));
    }
}
