//! As much of DER as OCSP's messages need.

use x509_parser::asn1_rs::{Any, Class, FromDer};

/// A value with its tag: content, and all of its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    /// The first byte: class, form and number, all of which fit into one here.
    pub tag: u8,
    pub content: &'a [u8],
    pub whole: &'a [u8],
}

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// `[number]`, with other values inside; of a plain one the bit 0x20 is not set.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Values one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a>(pub &'a [u8]);

impl<'a> Values<'a> {
    /// The next one; `None` at the end, and where the bytes are no DER.
    pub fn next(&mut self) -> Option<Value<'a>> {
        let (rest, any) = Any::from_der(self.0).ok()?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        let known = any.class() == Class::Universal || any.class() == Class::ContextSpecific;
        known.then_some(Value { tag: *whole.first()?, content: any.data, whole })
    }

    /// The next one, which has to be of this kind.
    pub fn take(&mut self, tag: u8) -> Option<Value<'a>> {
        self.next().filter(|value| value.tag == tag)
    }

    /// The next one where it is of this kind; else it stays.
    pub fn take_if(&mut self, tag: u8) -> Option<Value<'a>> {
        let mut ahead = *self;
        let value = ahead.take(tag)?;
        *self = ahead;
        Some(value)
    }
}

impl<'a> Value<'a> {
    pub fn values(self) -> Values<'a> {
        Values(self.content)
    }
}

/// A value of these parts.
pub(super) fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut to = vec![tag];
    match len {
        0..=127 => to.push(len as u8),
        _ => {
            let bytes = len.to_be_bytes();
            let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
            to.push(0x80 | bytes.len() as u8);
            to.extend_from_slice(bytes);
        }
    }
    parts.iter().for_each(|part| to.extend_from_slice(part));
    to
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_no_prefix_of_them_is_one() {
        let long = encode(OCTETS, &[&[7; 300]]);
        let whole = encode(SEQUENCE, &[&encode(INTEGER, &[&[5]]), &encode(context(0), &[&long])]);
        let mut values = Values(&whole).take(SEQUENCE).unwrap().values();
        assert_eq!(values.take_if(OID).map(|value| value.tag), None);
        assert_eq!(values.take(INTEGER).unwrap().content, [5]);
        let inner = values.take_if(context(0)).unwrap().values().take(OCTETS).unwrap();
        assert_eq!((inner.content, inner.whole), (&[7; 300][..], &long[..]));
        assert!(values.next().is_none());
        for end in 0..whole.len() {
            assert!(Values(&whole[..end]).next().is_none(), "{end}");
        }
    }
}
