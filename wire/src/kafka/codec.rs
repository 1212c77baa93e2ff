//! How Kafka's protocol encodes values, and [`message!`], the macro that declares a message at all its versions.
//!
//! | type | bytes; in a flexible version |
//! |---|---|
//! | `bool`, `i8`, `i16`, `u16`, `i32`, `i64`, `f64` | big-endian; the same |
//! | [`Uuid`] | 16; the same |
//! | [`Str`] | `i16` length + UTF-8, -1 = null; unsigned varint of length + 1, 0 = null |
//! | [`Bytes`] | `i32` length + bytes, -1 = null; unsigned varint of length + 1, 0 = null |
//! | `Vec<T>` | `i32` count + items, -1 = null; unsigned varint of count + 1, 0 = null |
//! | nested struct | its fields; its fields + tagged fields |
//! | `Option<struct>` | `i8`, -1 = null, else the struct; the same |
//! | tagged fields | only in flexible versions: count, then (tag, size, value), all three varints, tags ascending |
//!
//! Tagged fields that are not declared are skipped, and not written back.
//! Strings and byte fields are slices of what was read.

use super::Uuid;
use super::error::ErrorTally;
use crate::Str;
use crate::jute::{DecodeError, Reader};
use bytes::{BufMut, Bytes, BytesMut};

/// A message, or a struct inside one, at all its versions. A field that the version lacks reads as its default and is
/// not written.
pub trait Message: Sized + Default {
    /// First version with compact lengths and tagged fields; `i16::MAX` where there is none.
    const FLEXIBLE_FROM: i16;

    fn read(from: &mut Reader, version: i16) -> Result<Self, DecodeError>;
    fn write(&self, to: &mut BytesMut, version: i16);

    /// The field `throttle_time_ms` of a response that has one.
    fn throttle_time_ms(&mut self) -> Option<&mut i32> {
        None
    }

    /// Counts the fields `error_code` (and AddPartitionsToTxn's `partition_error_code`), whatever version they are of, by how
    /// deep they stand.
    fn count_errors(&self, to: &mut ErrorTally);

    fn encode(&self, version: i16) -> Bytes {
        self.encode_sized(version, 64)
    }

    /// As [`Message::encode`]: a message of about `size` bytes does not grow, and move, as it is written.
    fn encode_sized(&self, version: i16, size: usize) -> Bytes {
        let mut to = BytesMut::with_capacity(size);
        self.write(&mut to, version);
        to.freeze()
    }

    /// Decodes the start of `bytes`; trailing bytes are ignored.
    fn decode(bytes: &Bytes, version: i16) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(bytes.clone()), version)
    }
}

/// A value that a field can hold.
pub trait Field: Sized {
    fn read(from: &mut Reader, version: i16, flexible: bool) -> Result<Self, DecodeError>;
    fn write(&self, to: &mut BytesMut, version: i16, flexible: bool);

    fn is_null(&self) -> bool {
        false
    }
    /// Those of the structs in it, see [`Message::count_errors`].
    #[inline]
    fn count_errors(&self, _: &mut ErrorTally) {}
    /// Writes null as the type's empty value, for versions where null has no encoding.
    fn write_present(&self, to: &mut BytesMut, version: i16, flexible: bool) {
        self.write(to, version, flexible);
    }
}

/// A type whose encoding has a place for null.
pub trait Nullable: Field + Default {
    fn read_nullable(from: &mut Reader, version: i16, flexible: bool) -> Result<Option<Self>, DecodeError>;
    fn write_some(&self, to: &mut BytesMut, version: i16, flexible: bool);
    fn write_null(to: &mut BytesMut, flexible: bool);
}

impl<T: Nullable> Field for Option<T> {
    fn read(from: &mut Reader, version: i16, flexible: bool) -> Result<Option<T>, DecodeError> {
        T::read_nullable(from, version, flexible)
    }
    fn write(&self, to: &mut BytesMut, version: i16, flexible: bool) {
        match self {
            Some(value) => value.write_some(to, version, flexible),
            None => T::write_null(to, flexible),
        }
    }
    fn is_null(&self) -> bool {
        self.is_none()
    }
    fn count_errors(&self, to: &mut ErrorTally) {
        if let Some(value) = self {
            value.count_errors(to);
        }
    }
    fn write_present(&self, to: &mut BytesMut, version: i16, flexible: bool) {
        match self {
            Some(value) => value.write_some(to, version, flexible),
            None => T::default().write_some(to, version, flexible),
        }
    }
}

macro_rules! fixed_size {
    ($($type:ty, $put:ident;)+) => {$(
        impl Field for $type {
            #[inline]
            fn read(from: &mut Reader, _: i16, _: bool) -> Result<$type, DecodeError> {
                from.array().map(<$type>::from_be_bytes)
            }
            #[inline]
            fn write(&self, to: &mut BytesMut, _: i16, _: bool) {
                to.$put(*self);
            }
        }
    )+};
}

fixed_size! {
    i8, put_i8;
    i16, put_i16;
    u16, put_u16;
    i32, put_i32;
    i64, put_i64;
    f64, put_f64;
}

impl Field for bool {
    fn read(from: &mut Reader, _: i16, _: bool) -> Result<bool, DecodeError> {
        Ok(from.array::<1>()?[0] != 0)
    }
    fn write(&self, to: &mut BytesMut, _: i16, _: bool) {
        to.put_u8(*self as u8);
    }
}

impl Field for Uuid {
    fn read(from: &mut Reader, _: i16, _: bool) -> Result<Uuid, DecodeError> {
        from.array().map(Uuid)
    }
    fn write(&self, to: &mut BytesMut, _: i16, _: bool) {
        to.put_slice(&self.0);
    }
}

impl Field for super::ErrorCode {
    fn read(from: &mut Reader, _: i16, _: bool) -> Result<Self, DecodeError> {
        from.array().map(|bytes| super::ErrorCode(i16::from_be_bytes(bytes)))
    }
    fn write(&self, to: &mut BytesMut, _: i16, _: bool) {
        to.put_i16(self.0);
    }
}

macro_rules! never_null {
    () => {
        fn read(from: &mut Reader, version: i16, flexible: bool) -> Result<Self, DecodeError> {
            let at = from.position();
            Self::read_nullable(from, version, flexible)?.ok_or(DecodeError::Null { at })
        }
        fn write(&self, to: &mut BytesMut, version: i16, flexible: bool) {
            self.write_some(to, version, flexible);
        }
    };
}

impl Field for Str {
    never_null!();
}
impl Field for Bytes {
    never_null!();
}
impl<T: Field> Field for Vec<T> {
    never_null!();

    fn count_errors(&self, to: &mut ErrorTally) {
        self.iter().for_each(|item| item.count_errors(to));
    }
}

impl Nullable for Str {
    fn read_nullable(from: &mut Reader, _: i16, flexible: bool) -> Result<Option<Str>, DecodeError> {
        let len = match flexible {
            true => read_compact_len(from)?,
            false => read_len(i32::from(i16::from_be_bytes(from.array()?))),
        };
        match len {
            None => Ok(None),
            Some(len) => {
                let at = from.position();
                let bytes = from.take(len)?;
                Str::try_from(bytes.clone()).or_else(|_| replaced(&bytes, at)).map(Some)
            }
        }
    }
    fn write_some(&self, to: &mut BytesMut, _: i16, flexible: bool) {
        match flexible {
            true => write_uvarint(to, self.len() as u32 + 1),
            false => to.put_i16(self.len() as i16),
        }
        to.put_slice(self.as_bytes());
    }
    fn write_null(to: &mut BytesMut, flexible: bool) {
        match flexible {
            true => to.put_u8(0),
            false => to.put_i16(-1),
        }
    }
}

impl Nullable for Bytes {
    fn read_nullable(from: &mut Reader, _: i16, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        read_count(from, flexible)?.map(|len| from.take(len)).transpose()
    }
    fn write_some(&self, to: &mut BytesMut, _: i16, flexible: bool) {
        write_count(to, flexible, self.len());
        to.put_slice(self);
    }
    fn write_null(to: &mut BytesMut, flexible: bool) {
        write_null_count(to, flexible);
    }
}

impl<T: Field> Nullable for Vec<T> {
    fn read_nullable(from: &mut Reader, version: i16, flexible: bool) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = read_count(from, flexible)? else { return Ok(None) };
        // No item is shorter than a byte, so a lying count is found out before anything is reserved; an honest one
        // reserves no more than was received, and grows from there.
        if count > from.remaining() {
            let at = from.position() + from.remaining();
            return Err(DecodeError::Short { at, wanted: count - from.remaining() });
        }
        let mut items = Vec::with_capacity(count.min(from.remaining() / size_of::<T>().max(1) + 1));
        for _ in 0..count {
            items.push(T::read(from, version, flexible)?);
        }
        Ok(Some(items))
    }
    fn write_some(&self, to: &mut BytesMut, version: i16, flexible: bool) {
        write_count(to, flexible, self.len());
        for item in self {
            item.write(to, version, flexible);
        }
    }
    fn write_null(to: &mut BytesMut, flexible: bool) {
        write_null_count(to, flexible);
    }
}

/// What is no UTF-8 is replaced, as Java does it, so that the request is answered all the same; unless it grows beyond what a
/// string can hold.
#[cold]
fn replaced(bytes: &[u8], at: usize) -> Result<Str, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    if text.len() > i16::MAX as usize {
        return Err(DecodeError::Utf8 { at });
    }
    Ok(text.as_ref().into())
}

/// Any length below zero is null's, as Java reads it.
fn read_len(len: i32) -> Option<usize> {
    usize::try_from(len).ok()
}

fn read_compact_len(from: &mut Reader) -> Result<Option<usize>, DecodeError> {
    Ok(read_len(read_uvarint(from)?.wrapping_sub(1) as i32))
}

fn read_count(from: &mut Reader, flexible: bool) -> Result<Option<usize>, DecodeError> {
    match flexible {
        true => read_compact_len(from),
        false => from.array().map(|len| read_len(i32::from_be_bytes(len))),
    }
}

fn write_count(to: &mut BytesMut, flexible: bool, count: usize) {
    match flexible {
        true => write_uvarint(to, count as u32 + 1),
        false => to.put_i32(count as i32),
    }
}

fn write_null_count(to: &mut BytesMut, flexible: bool) {
    match flexible {
        true => to.put_u8(0),
        false => to.put_i32(-1),
    }
}

/// Seven bits a byte, lowest first, at most five bytes.
#[inline]
pub fn read_uvarint(from: &mut Reader) -> Result<u32, DecodeError> {
    let at = from.position();
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let [byte] = from.array()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::Varint { at })
}

#[inline]
pub fn write_uvarint(to: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        to.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    to.put_u8(value as u8);
}

/// Reads a tagged-field section; `field` reads a value it knows from exactly its bytes and skips others.
pub fn read_tagged(
    from: &mut Reader,
    field: &mut dyn FnMut(u32, &mut Reader) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    for _ in 0..read_uvarint(from)? {
        let tag = read_uvarint(from)?;
        let size = read_uvarint(from)?;
        let bytes = from.take(size as usize)?;
        field(tag, &mut Reader::new(bytes))?;
    }
    Ok(())
}

/// Collects the tagged fields of one struct; [`TaggedFields::finish`] writes the section.
#[derive(Default)]
pub struct TaggedFields {
    count: u32,
    bytes: BytesMut,
}

impl TaggedFields {
    /// Tags have to come in ascending order.
    pub fn push(&mut self, tag: u32, value: &impl Field, version: i16) {
        let mut encoded = BytesMut::new();
        value.write(&mut encoded, version, true);
        self.count += 1;
        write_uvarint(&mut self.bytes, tag);
        write_uvarint(&mut self.bytes, encoded.len() as u32);
        self.bytes.put_slice(&encoded);
    }

    pub fn finish(self, to: &mut BytesMut) {
        write_uvarint(to, self.count);
        to.put_slice(&self.bytes);
    }
}

/// Declares the structs of one message:
///
/// ```text
/// message! { flexible 12..;                      // or: flexible none;
///     pub struct FetchRequest {
///         cluster_id: Option<Str> [12.., tag 0], // in these versions, as tagged field 0
///         replica_id: i32 [0..=14] = -1,         // default, where a version lacks it
///         topics: Option<Vec<Topic>> [0.., null 1..], // null has an encoding from version 1; without `null`, in all
///     }
/// }
/// ```
macro_rules! message {
    (flexible none; $($rest:tt)*) => { message! { @structs (i16::MAX) $($rest)* } };
    (flexible $flexible:literal..; $($rest:tt)*) => { message! { @structs ($flexible) $($rest)* } };

    (@structs ($flexible:expr) $($(#[$meta:meta])* pub struct $name:ident { $(
        $(#[$fmeta:meta])* $field:ident: $type:ty
            [$versions:expr $(, null $nullable:expr)? $(, tag $tag:literal)?] $(= $default:expr)?,
    )* })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: message!(@default $($default)?),)* }
            }
        }

        impl $crate::kafka::Message for $name {
            const FLEXIBLE_FROM: i16 = $flexible;

            #[allow(unused_mut, unused_variables, clippy::absurd_extreme_comparisons, clippy::manual_range_contains)]
            fn read(
                from: &mut $crate::jute::Reader,
                version: i16,
            ) -> Result<$name, $crate::jute::DecodeError> {
                let flexible = version >= Self::FLEXIBLE_FROM;
                let mut message = $name::default();
                $(message!(@untagged ($($tag)?) {
                    if ($versions).contains(&version) {
                        let at = from.position();
                        message.$field = $crate::kafka::codec::Field::read(from, version, flexible)?;
                        $(if !($nullable).contains(&version) && message.$field.is_none() {
                            return Err($crate::jute::DecodeError::Null { at });
                        })?
                    }
                });)*
                if flexible {
                    $crate::kafka::codec::read_tagged(from, &mut |tag, from| {
                        $($(if tag == $tag && ($versions).contains(&version) {
                            message.$field = $crate::kafka::codec::Field::read(from, version, true)?;
                        })?)*
                        Ok(())
                    })?;
                }
                Ok(message)
            }

            #[allow(unused_mut, unused_variables, clippy::absurd_extreme_comparisons, clippy::manual_range_contains)]
            fn write(&self, to: &mut ::bytes::BytesMut, version: i16) {
                let flexible = version >= Self::FLEXIBLE_FROM;
                $(message!(@untagged ($($tag)?) {
                    if ($versions).contains(&version) {
                        if true $(&& ($nullable).contains(&version))? {
                            $crate::kafka::codec::Field::write(&self.$field, to, version, flexible);
                        } else {
                            $crate::kafka::codec::Field::write_present(&self.$field, to, version, flexible);
                        }
                    }
                });)*
                if flexible {
                    let mut tagged = $crate::kafka::codec::TaggedFields::default();
                    $(message!(@push (self, tagged, version) $field: $type [$versions] ($($tag)?) ($($default)?));)*
                    tagged.finish(to);
                }
            }

            #[allow(unreachable_code)]
            fn throttle_time_ms(&mut self) -> Option<&mut i32> {
                $(message!(@throttle_time $field self);)*
                None
            }

            #[allow(unused_variables)]
            fn count_errors(&self, to: &mut $crate::kafka::error::ErrorTally) {
                $(message!(@error $field self to);)*
            }
        }

        impl $crate::kafka::codec::Field for $name {
            fn read(
                from: &mut $crate::jute::Reader,
                version: i16,
                _: bool,
            ) -> Result<$name, $crate::jute::DecodeError> {
                $crate::kafka::Message::read(from, version)
            }
            fn write(&self, to: &mut ::bytes::BytesMut, version: i16, _: bool) {
                $crate::kafka::Message::write(self, to, version);
            }
            fn count_errors(&self, to: &mut $crate::kafka::error::ErrorTally) {
                to.within(|to| $crate::kafka::Message::count_errors(self, to));
            }
        }

        impl $crate::kafka::shape::Shape for $name {
            #[allow(unused_variables, unused_mut, clippy::absurd_extreme_comparisons, clippy::manual_range_contains)]
            fn show(&self, version: i16) -> $crate::kafka::shape::Value {
                let mut fields = Vec::new();
                $(if ($versions).contains(&version) {
                    fields.push((stringify!($field), $crate::kafka::shape::Shape::show(&self.$field, version)));
                })*
                $crate::kafka::shape::Value::Struct(fields)
            }

            #[allow(unused_variables, unused_mut, clippy::absurd_extreme_comparisons, clippy::manual_range_contains)]
            fn draw(from: &mut dyn $crate::kafka::shape::Draw, version: i16) -> $name {
                let mut message = $name::default();
                $(if ($versions).contains(&version) {
                    from.enter(stringify!($field));
                    message.$field = $crate::kafka::shape::Shape::draw(from, version);
                    from.leave();
                })*
                message
            }
        }

        impl $crate::kafka::codec::Nullable for $name {
            fn read_nullable(
                from: &mut $crate::jute::Reader,
                version: i16,
                flexible: bool,
            ) -> Result<Option<$name>, $crate::jute::DecodeError> {
                match <i8 as $crate::kafka::codec::Field>::read(from, version, flexible)? {
                    present if present < 0 => Ok(None),
                    _ => $crate::kafka::Message::read(from, version).map(Some),
                }
            }
            fn write_some(&self, to: &mut ::bytes::BytesMut, version: i16, _: bool) {
                ::bytes::BufMut::put_i8(to, 1);
                $crate::kafka::Message::write(self, to, version);
            }
            fn write_null(to: &mut ::bytes::BytesMut, _: bool) {
                ::bytes::BufMut::put_i8(to, -1);
            }
        }
    )+};

    (@push ($self:ident, $to:ident, $version:ident) $field:ident: $type:ty [$versions:expr] () $default:tt) => {};
    (@push ($self:ident, $to:ident, $version:ident) $field:ident: $type:ty [$versions:expr] ($tag:literal) ($($default:expr)?)) => {
        if ($versions).contains(&$version) && $self.$field != message!(@default_of $type, $($default)?) {
            $to.push($tag, &$self.$field, $version);
        }
    };
    (@throttle_time throttle_time_ms $self:ident) => { return Some(&mut $self.throttle_time_ms) };
    (@throttle_time $field:ident $self:ident) => {};
    (@error error_code $self:ident $to:ident) => { $to.note($self.error_code) };
    (@error partition_error_code $self:ident $to:ident) => { $to.note($self.partition_error_code) };
    (@error $field:ident $self:ident $to:ident) => { $crate::kafka::codec::Field::count_errors(&$self.$field, $to) };
    (@untagged () $body:block) => { $body };
    (@untagged ($tag:literal) $body:block) => {};

    (@default) => { Default::default() };
    (@default $value:expr) => { $value };
    (@default_of $type:ty,) => { <$type>::default() };
    (@default_of $type:ty, $value:expr) => { $value };
}
pub(crate) use message;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_below_zero_is_null_and_what_is_no_utf_8_is_replaced() {
        let read = |bytes: &'static [u8], flexible| {
            Option::<Str>::read(&mut Reader::new(Bytes::from_static(bytes)), 0, flexible)
        };
        assert_eq!(read(b"\xff\xfe", false), Ok(None));
        assert_eq!(read(b"\xff\xff\xff\xff\x0f", true), Ok(None));
        assert_eq!(read(b"\0\x03a\xffb", false), Ok(Some("a\u{fffd}b".into())));
        let items = || Reader::new(Bytes::from_static(&[0x80, 0, 0, 0]));
        assert_eq!(Option::<Vec<i32>>::read(&mut items(), 0, false), Ok(None));
        assert_eq!(Vec::<i32>::read(&mut items(), 0, false), Err(DecodeError::Null { at: 0 }));
    }
}
