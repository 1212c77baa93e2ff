//! Base64 as `java.util.Base64`'s decoder takes it, with its complaints: the padding may be missing.

/// The error is the exception's text.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    // Java looks at the text as Latin-1.
    let bytes: Vec<u8> = text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
    if bytes.len() == 1 {
        return Err("Input byte[] should at least have 2 bytes for base64 bytes".into());
    }
    let mut plain = Vec::with_capacity(bytes.len() / 4 * 3 + 2);
    let (mut at, mut bits, mut sextets) = (0, 0u32, 0);
    while at < bytes.len() {
        let byte = bytes[at];
        at += 1;
        let Some(value) = sextet(byte) else {
            if byte != b'=' {
                return Err(format!("Illegal base64 character {:x}", Signed(byte as i8)));
            }
            // Behind two letters there are two of them, behind three letters one.
            let second = sextets == 2 && {
                at += 1;
                bytes.get(at - 1) != Some(&b'=')
            };
            if sextets == 0 || second {
                return Err("Input byte array has wrong 4-byte ending unit".into());
            }
            break;
        };
        bits = bits << 6 | value;
        sextets += 1;
        if sextets == 4 {
            plain.extend_from_slice(&bits.to_be_bytes()[1..]);
            (bits, sextets) = (0, 0);
        }
    }
    match sextets {
        1 => return Err("Last unit does not have enough valid bits".into()),
        2 => plain.push((bits >> 4) as u8),
        3 => plain.extend_from_slice(&(bits >> 2).to_be_bytes()[2..]),
        _ => {}
    }
    match at < bytes.len() {
        true => Err(format!("Input byte array has incorrect ending byte at {at}")),
        false => Ok(plain),
    }
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// Java's bytes have a sign, and show it.
struct Signed(i8);

impl std::fmt::LowerHex for Signed {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{:x}", self.0.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_may_be_there_or_not() {
        for (text, plain) in [
            ("aGVsbG8=", "hello"),
            ("aGVsbG8", "hello"),
            ("aA==", "h"),
            ("aA", "h"),
            ("", ""),
            ("aGVs", "hel"),
        ] {
            assert_eq!(decode(text).unwrap(), plain.as_bytes(), "{text}");
        }
    }

    #[test]
    fn complaints_are_java_s() {
        for (text, why) in [
            ("a", "Input byte[] should at least have 2 bytes for base64 bytes"),
            ("!!!", "Illegal base64 character 21"),
            ("aa\u{e4}", "Illegal base64 character -1c"),
            ("aGVs=", "Input byte array has wrong 4-byte ending unit"),
            ("aA=", "Input byte array has wrong 4-byte ending unit"),
            ("aGVsb", "Last unit does not have enough valid bits"),
            ("aGVsbG8==", "Input byte array has incorrect ending byte at 8"),
        ] {
            assert_eq!(decode(text).unwrap_err(), why, "{text}");
        }
    }
}
