//! What shows of Java's own classes in the tools' output: the order of its hash sets, and its dates.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// In the order in which a `HashSet` or the keys of a `HashMap` come that were filled in the given order. `capacity`
/// is the one that the set was made with (16 unless said otherwise). Lists of more than eight in one bucket, which
/// Java turns into trees, do not matter here.
pub fn hash_order<T>(
    items: impl IntoIterator<Item = T>,
    capacity: usize,
    hash: impl Fn(&T) -> i32,
) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    let mut buckets = capacity;
    while items.len() > buckets / 4 * 3 {
        buckets *= 2;
    }
    items.sort_by_key(|item| {
        let hash = hash(item) as u32;
        (hash ^ hash >> 16) as usize & (buckets - 1)
    });
    items
}

/// `String.hashCode`
pub fn string_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// `Long.hashCode`
pub fn long_hash(number: i64) -> i32 {
    (number ^ ((number as u64) >> 32) as i64) as i32
}

/// `String.compareTo`: by UTF-16 units.
pub fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

/// As `java.util.Date` prints itself: `Sat Nov 21 09:35:36 UTC 2026`.
pub fn date(ms: i64) -> String {
    format(ms, "%a %b %d %H:%M:%S %Z %Y")
}

/// `DateFormat.SHORT` and `LONG` in English: `11/21/26, 9:33:58 AM UTC`.
pub fn date_short(ms: i64) -> String {
    format(ms, "%-m/%-d/%y, %-I:%M:%S %p %Z")
}

/// `DateFormat.MEDIUM` in English: `Nov 21, 2026, 9:33:58 AM`.
pub fn date_medium(ms: i64) -> String {
    format(ms, "%b %-d, %Y, %-I:%M:%S %p")
}

fn format(ms: i64, how: &str) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(TimeZone::system()).strftime(how).to_string(),
        Err(_) => ms.to_string(),
    }
}

/// `Long.decode`: decimal, `0x`, `#` or, with a leading 0, octal.
pub fn decode_long(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let hex = ["0x", "0X", "#"].iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (digits, radix) = match (hex, digits.strip_prefix('0')) {
        (Some(hex), _) => (hex, 16),
        (None, Some(octal)) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    if digits.starts_with(['-', '+']) {
        return None;
    }
    i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_comes_in_java_s_order() {
        // As a HashSet of each list prints on a JVM of version 17.
        let words = ["zookeeper", "a", "eph", "cont", "ttl", "sec", "d1"];
        let order = hash_order(words, 8, |word| string_hash(word));
        assert_eq!(order, ["sec", "a", "zookeeper", "eph", "cont", "ttl", "d1"]);
        let numbered: Vec<String> = (0..13).map(|i| format!("n-{i}")).collect();
        let order = hash_order(&numbered, 8, |word| string_hash(word));
        let order: Vec<&str> = order.iter().map(|word| word.trim_start_matches("n-")).collect();
        assert_eq!(order.join(" "), "10 11 0 2 12 1 4 3 6 5 8 7 9");
        assert_eq!(
            (string_hash("zookeeper"), long_hash(0x1000_0166_0000_0001)),
            (1_600_681_804, 268_435_815)
        );
    }

    #[test]
    fn numbers_are_decoded_as_java_decodes_them() {
        assert_eq!(decode_long("0x1f"), Some(31));
        assert_eq!(decode_long("#1F"), Some(31));
        assert_eq!(decode_long("017"), Some(15));
        assert_eq!(decode_long("0"), Some(0));
        assert_eq!(decode_long("-5"), Some(-5));
        assert_eq!((decode_long("x"), decode_long("0x-1"), decode_long("--1")), (None, None, None));
    }
}
