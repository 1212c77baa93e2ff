//! Java's deserializers, as far as what they make of bytes can be printed.

/// By the class in `org.apache.kafka.common.serialization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deserializer {
    /// Text, or bytes as they are.
    Bytes,
    /// Bytes with what is not printable escaped (BytesDeserializer).
    Escaped,
    Short,
    Integer,
    Long,
    Float,
    Double,
}

impl Deserializer {
    /// The error is Java's.
    pub fn by_class(class: &str) -> Result<Deserializer, String> {
        match class.strip_prefix("org.apache.kafka.common.serialization.") {
            Some("StringDeserializer" | "ByteArrayDeserializer") => Ok(Deserializer::Bytes),
            Some("BytesDeserializer") => Ok(Deserializer::Escaped),
            Some("ShortDeserializer") => Ok(Deserializer::Short),
            Some("IntegerDeserializer") => Ok(Deserializer::Integer),
            Some("LongDeserializer") => Ok(Deserializer::Long),
            Some("FloatDeserializer") => Ok(Deserializer::Float),
            Some("DoubleDeserializer") => Ok(Deserializer::Double),
            _ => Err(format!("java.lang.ClassNotFoundException: {class}")),
        }
    }

    /// What is printed; the error is Java's.
    pub fn text(self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let wrong = |class: &str, size: usize| {
            format!(
                "org.apache.kafka.common.errors.SerializationException: Size of data received by {class}Deserializer is \
                 not {size}"
            )
        };
        let text = match self {
            Deserializer::Bytes => return Ok(bytes.to_vec()),
            Deserializer::Escaped => escaped(bytes),
            Deserializer::Short => {
                i16::from_be_bytes(bytes.try_into().map_err(|_| wrong("Short", 2))?).to_string()
            }
            Deserializer::Integer => {
                i32::from_be_bytes(bytes.try_into().map_err(|_| wrong("Integer", 4))?).to_string()
            }
            Deserializer::Long => {
                i64::from_be_bytes(bytes.try_into().map_err(|_| wrong("Long", 8))?).to_string()
            }
            Deserializer::Float => {
                format!("{:?}", f32::from_be_bytes(bytes.try_into().map_err(|_| wrong("Float", 4))?))
            }
            Deserializer::Double => {
                format!("{:?}", f64::from_be_bytes(bytes.try_into().map_err(|_| wrong("Double", 8))?))
            }
        };
        Ok(text.into_bytes())
    }
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b' '..=b'~' if *byte != b'\\' => text.push(char::from(*byte)),
            _ => text += &format!("\\x{byte:02X}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_width() {
        let class = |name: &str| {
            Deserializer::by_class(&format!("org.apache.kafka.common.serialization.{name}")).unwrap()
        };
        assert_eq!(class("IntegerDeserializer").text(b"null").unwrap(), b"1853189228");
        assert_eq!(class("LongDeserializer").text(&[0, 0, 0, 0, 0, 0, 1, 0]).unwrap(), b"256");
        assert!(class("ShortDeserializer").text(b"abc").unwrap_err().ends_with("ShortDeserializer is not 2"));
        assert_eq!(class("BytesDeserializer").text(b"a\\\n~").unwrap(), b"a\\x5C\\x0A~");
        assert!(Deserializer::by_class("no.Such").is_err());
    }
}
