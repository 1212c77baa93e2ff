//! What the tool prints of a node.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use wire::zk::{Acl, Stat, perm};

/// Eleven lines.
pub fn stat(stat: &Stat) -> String {
    format!(
        "cZxid = 0x{:x}\nctime = {}\nmZxid = 0x{:x}\nmtime = {}\npZxid = 0x{:x}\ncversion = {}\ndataVersion = {}\n\
         aclVersion = {}\nephemeralOwner = 0x{:x}\ndataLength = {}\nnumChildren = {}",
        stat.czxid,
        date(stat.ctime, TimeZone::system()),
        stat.mzxid,
        date(stat.mtime, TimeZone::system()),
        stat.pzxid,
        stat.cversion,
        stat.version,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

/// As `java.util.Date` prints itself: `Sat Nov 21 09:35:36 UTC 2026`.
fn date(ms: i64, zone: TimeZone) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) => at.to_zoned(zone).strftime("%a %b %d %H:%M:%S %Z %Y").to_string(),
        Err(_) => ms.to_string(),
    }
}

/// Two lines: `'world,'anyone` and `: cdrwa`. What would end a field of the first is written as `%2C` and the like.
pub fn acl(acl: &Acl) -> String {
    let mut id = String::with_capacity(acl.id.id.len());
    for letter in acl.id.id.chars() {
        match letter {
            '\0' | '\n' | '\r' | '%' | ',' | '}' => id.push_str(&format!("%{:02X}", letter as u32)),
            _ => id.push(letter),
        }
    }
    format!("'{},'{id}\n: {}", acl.id.scheme, perms(acl.perms))
}

/// One word: `world:anyone:cdrwa`.
pub fn acl_word(acl: &Acl) -> String {
    format!("{}:{}:{}", acl.id.scheme, acl.id.id, perms(acl.perms))
}

fn perms(perms: i32) -> String {
    let letters =
        [(perm::CREATE, 'c'), (perm::DELETE, 'd'), (perm::READ, 'r'), (perm::WRITE, 'w'), (perm::ADMIN, 'a')];
    letters.iter().filter(|(bit, _)| perms & bit != 0).map(|(_, letter)| letter).collect()
}

/// `[a, b]`
pub fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// A boxed table, 16 bytes a row; nothing for no bytes.
pub fn hex_dump(bytes: &[u8]) -> String {
    const RULE: &str = "+--------+-------------------------------------------------+----------------+";
    if bytes.is_empty() {
        return String::new();
    }
    let mut text = String::from("         +-------------------------------------------------+\n");
    text += "         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n";
    text += RULE;
    for (row, bytes) in bytes.chunks(16).enumerate() {
        let hex: String = bytes.iter().map(|byte| format!(" {byte:02x}")).collect();
        let shown = |byte: &u8| if (0x20..0x7f).contains(byte) { *byte as char } else { '.' };
        let plain: String = bytes.iter().map(shown).collect();
        text += &format!("\n|{:08x}|{hex:<48} |{plain:<16}|", row * 16);
    }
    text + "\n" + RULE
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::zk::Id;

    #[test]
    fn dates_are_java_s() {
        assert_eq!(date(0, TimeZone::UTC), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(1_795_253_736_000, TimeZone::UTC), "Sat Nov 21 09:35:36 UTC 2026");
    }

    #[test]
    fn an_acl_is_two_lines_with_letters_in_one_order() {
        let id = Id { scheme: "world".into(), id: "anyone".into() };
        assert_eq!(acl(&Acl { perms: 31, id: id.clone() }), "'world,'anyone\n: cdrwa");
        assert_eq!(acl(&Acl { perms: perm::READ | perm::ADMIN, id }), "'world,'anyone\n: ra");
    }

    #[test]
    fn a_hex_dump_has_sixteen_bytes_a_row() {
        let rows: Vec<String> = hex_dump(b"0123456789abcdefhi\n").lines().map(String::from).collect();
        assert_eq!(rows[3], "|00000000| 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 |0123456789abcdef|");
        assert_eq!(rows[4], "|00000010| 68 69 0a                                        |hi.             |");
        assert_eq!((rows.len(), hex_dump(b"").as_str()), (6, ""));
    }
}
