//! Messages without their types: any message as a tree of named values, and any message drawn field by field. For
//! programs that treat all APIs alike, as generators and comparisons do; servers and clients use the structs.

use std::fmt;

use super::{ErrorCode, Uuid};
use crate::Str;
use bytes::Bytes;

/// A message, or a part of one, with the fields that its version has, in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Str),
    Bytes(Bytes),
    Id(Uuid),
    Error(ErrorCode),
    List(Vec<Value>),
    Struct(Vec<(&'static str, Value)>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Text(value) => write!(f, "{value:?}"),
            Value::Bytes(value) => write!(f, "{value:?}"),
            Value::Id(value) => write!(f, "{value}"),
            Value::Error(value) => write!(f, "{value:?}"),
            Value::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Value::Struct(fields) => {
                f.write_str("{")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{name}: {value}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Who decides what the fields of a message that is drawn hold.
pub trait Draw {
    /// The next values are of this field, until [`Draw::leave`].
    fn enter(&mut self, field: &'static str);
    fn leave(&mut self);
    /// Is a value that may be null so?
    fn null(&mut self) -> bool;
    /// How many items a list has.
    fn count(&mut self) -> usize;
    fn bool(&mut self) -> bool;
    /// A value that fits into so many bits, with sign.
    fn int(&mut self, bits: u32) -> i64;
    fn float(&mut self) -> f64;
    fn text(&mut self) -> Str;
    fn bytes(&mut self) -> Bytes;
    fn id(&mut self) -> Uuid;
}

/// A value that a message can hold, to be shown as a tree and to be drawn.
pub trait Shape: Sized {
    fn show(&self, version: i16) -> Value;
    fn draw(from: &mut dyn Draw, version: i16) -> Self;
}

macro_rules! ints {
    ($($type:ty)+) => {$(
        impl Shape for $type {
            fn show(&self, _: i16) -> Value {
                Value::Int(i64::from(*self))
            }
            fn draw(from: &mut dyn Draw, _: i16) -> $type {
                from.int(<$type>::BITS) as $type
            }
        }
    )+};
}

ints! { i8 i16 u16 i32 i64 }

macro_rules! leaves {
    ($($type:ty, $value:ident, $draw:ident;)+) => {$(
        impl Shape for $type {
            fn show(&self, _: i16) -> Value {
                Value::$value(self.clone())
            }
            fn draw(from: &mut dyn Draw, _: i16) -> $type {
                from.$draw()
            }
        }
    )+};
}

leaves! {
    bool, Bool, bool;
    f64, Float, float;
    Str, Text, text;
    Bytes, Bytes, bytes;
    Uuid, Id, id;
}

impl Shape for ErrorCode {
    fn show(&self, _: i16) -> Value {
        Value::Error(*self)
    }
    fn draw(from: &mut dyn Draw, _: i16) -> ErrorCode {
        ErrorCode(from.int(16) as i16)
    }
}

impl<T: Shape> Shape for Option<T> {
    fn show(&self, version: i16) -> Value {
        self.as_ref().map_or(Value::Null, |value| value.show(version))
    }
    fn draw(from: &mut dyn Draw, version: i16) -> Option<T> {
        (!from.null()).then(|| T::draw(from, version))
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn show(&self, version: i16) -> Value {
        Value::List(self.iter().map(|item| item.show(version)).collect())
    }
    fn draw(from: &mut dyn Draw, version: i16) -> Vec<T> {
        (0..from.count()).map(|_| T::draw(from, version)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jute::Reader;
    use crate::kafka::{APIS, AnyRequest, AnyResponse};
    use bytes::BytesMut;

    /// Counts up, and is null every third time.
    #[derive(Default)]
    struct Counting {
        drawn: i64,
        depth: usize,
    }

    impl Draw for Counting {
        fn enter(&mut self, _: &'static str) {
            self.depth += 1;
        }
        fn leave(&mut self) {
            self.depth -= 1;
        }
        fn null(&mut self) -> bool {
            self.int(8) % 3 == 0
        }
        fn count(&mut self) -> usize {
            2
        }
        fn bool(&mut self) -> bool {
            self.int(8) % 2 == 0
        }
        fn int(&mut self, _: u32) -> i64 {
            self.drawn += 1;
            self.drawn % 100
        }
        fn float(&mut self) -> f64 {
            self.int(8) as f64
        }
        fn text(&mut self) -> Str {
            Str::from(format!("t{}", self.int(8)))
        }
        fn bytes(&mut self) -> Bytes {
            Bytes::from(vec![self.int(8) as u8; 3])
        }
        fn id(&mut self) -> Uuid {
            Uuid([self.int(8) as u8; 16])
        }
    }

    #[test]
    fn a_message_that_was_drawn_shows_the_fields_of_its_version_and_comes_back_from_its_bytes() {
        for api in APIS {
            for version in api.versions.0..=api.versions.1 {
                let mut source = Counting::default();
                let drawn = AnyRequest::draw(api.key, &mut source, version);
                assert_eq!(source.depth, 0, "{} v{version}", api.name);
                let mut bytes = BytesMut::new();
                drawn.write(&mut bytes, version);
                let mut reader = Reader::new(bytes.freeze());
                let read = AnyRequest::read(api.key, &mut reader, version).unwrap();
                assert_eq!(reader.remaining(), 0, "{} v{version}", api.name);
                let mut again = BytesMut::new();
                read.write(&mut again, version);
                let reader = &mut Reader::new(again.freeze());
                let twice = AnyRequest::read(api.key, reader, version).unwrap();
                assert_eq!(read.show(version), twice.show(version), "{} v{version}", api.name);
            }
        }
        let answer = AnyResponse::DescribeCluster(Default::default());
        let shown = answer.show(0).to_string();
        assert!(
            shown.starts_with("{throttle_time_ms: 0, error_code: NONE(0), error_message: null, "),
            "{shown}"
        );
    }
}
