//! A certificate's subject as Java writes it: `X500Principal.getName()`, RFC 2253. ACLs compare this text.

use std::fmt::Write;
use x509_parser::der_parser::asn1_rs::{Any, Tag};
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate};
use x509_parser::x509::X509Name;

/// Attributes that RFC 2253 has a short name for.
const KEYWORDS: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The subject's distinguished name; `None`: the certificate cannot be read.
pub fn rfc2253(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(of_name(certificate.subject()))
}

/// The most specific common name of the subject.
pub fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.subject().iter_common_name().last().and_then(|name| text(name.attr_value()))
}

/// The last part of the name stands first.
fn of_name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for rdn in name.iter() {
        parts.push(rdn.iter().map(attribute).collect::<Vec<_>>().join("+"));
    }
    parts.reverse();
    parts.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let keyword = KEYWORDS.iter().find(|(id, _)| *id == oid).map(|(_, keyword)| *keyword);
    match (keyword, text(attribute.attr_value())) {
        (Some(keyword), Some(text)) => format!("{keyword}={}", escaped(&text)),
        _ => {
            let mut shown = format!("{}=#", keyword.unwrap_or(&oid));
            for byte in encoded(attribute.attr_value()) {
                let _ = write!(shown, "{byte:02x}");
            }
            shown
        }
    }
}

/// The types that hold text.
fn text(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::GeneralString => {
            String::from_utf8(value.data.to_vec()).ok()
        }
        Tag::TeletexString => Some(value.data.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let units = value.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            String::from_utf16(&units.collect::<Vec<_>>()).ok()
        }
        _ => None,
    }
}

/// Tag, length and content; tags of names are all short.
fn encoded(value: &Any<'_>) -> Vec<u8> {
    let mut to = vec![value.tag().0 as u8];
    match value.data.len() {
        short @ 0..=127 => to.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            to.push(0x80 | bytes.len() as u8);
            to.extend_from_slice(bytes);
        }
    }
    to.extend_from_slice(value.data);
    to
}

fn escaped(text: &str) -> String {
    let inner = text.trim_matches(' ');
    // All blanks: every one of them is escaped, as a leading one.
    let start = if inner.is_empty() { text.len() } else { text.find(inner).unwrap_or(0) };
    let end = start + inner.len();
    let mut to = String::with_capacity(text.len() + 4);
    for (at, letter) in text.char_indices() {
        let blank_at_an_end = letter == ' ' && (at < start || at >= end);
        match letter {
            '\0' => to.push_str("\\00"),
            _ => {
                if blank_at_an_end || ",=+<>#;\"\\".contains(letter) {
                    to.push('\\');
                }
                to.push(letter);
            }
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_part_of_a_name_is_escaped() {
        assert_eq!(escaped("Ann"), "Ann");
        assert_eq!(escaped("a,b=c+d"), "a\\,b\\=c\\+d");
        assert_eq!(escaped(" x  "), "\\ x\\ \\ ");
        assert_eq!(escaped("  "), "\\ \\ ");
        assert_eq!(escaped("#1\"\\;"), "\\#1\\\"\\\\\\;");
    }

    /// `CN=zk-client, OU=Menagerie, O="Zoo, Inc.", L=Bern, ST=BE, C=CH` and an e-mail address, as DER.
    fn name() -> Vec<u8> {
        fn tlv(tag: u8, data: &[u8]) -> Vec<u8> {
            [&[tag, data.len() as u8][..], data].concat()
        }
        fn rdn(oid: &[u8], tag: u8, value: &str) -> Vec<u8> {
            tlv(0x31, &tlv(0x30, &[tlv(6, oid), tlv(tag, value.as_bytes())].concat()))
        }
        let email = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];
        let dc = [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19];
        let rdns = [
            rdn(&[0x55, 4, 6], 0x13, "CH"),
            rdn(&dc, 0x16, "zoo"),
            rdn(&[0x55, 4, 10], 0x0c, "Zoo, Inc."),
            rdn(&email, 0x16, "a@b"),
            rdn(&[0x55, 4, 3], 0x0c, "zk-client"),
        ];
        tlv(0x30, &rdns.concat())
    }

    #[test]
    fn a_name_is_written_backwards_with_java_s_keywords_and_the_rest_in_hexadecimal() {
        let bytes = name();
        let (_, name) = X509Name::from_der(&bytes).unwrap();
        // As `new X500Principal(bytes).getName()` of Java 17 writes it.
        assert_eq!(of_name(&name), "CN=zk-client,1.2.840.113549.1.9.1=#1603614062,O=Zoo\\, Inc.,DC=zoo,C=CH");
    }
}
