//! What real clients once said to Kafka's broker, and what they heard: the sessions in `tests/recordings`, whose README tells the
//! format.

use std::path::PathBuf;

use bytes::Bytes;

/// Stands in every recording in the names of its topics, groups and transactions; each replay has one of its own.
pub const TOKEN: &[u8; 8] = b"run00000";
const MAGIC: &[u8] = b"MREC1\n";

/// Something that passed between a client and the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A request, without its length.
    Asked(Bytes),
    /// The answer to the oldest request that has none; empty where nothing is to be learned from it.
    Answered(Bytes),
    /// The client closed the connection.
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Connections are numbered in the order in which they were opened.
    pub connection: usize,
    pub what: What,
}

/// One client's session, or several clients' together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    pub name: String,
    pub events: Vec<Event>,
}

impl Recording {
    /// Reads the bytes of a recording, with `token` in place of its own.
    pub fn parse(name: &str, bytes: &[u8], token: &[u8; 8]) -> Result<Recording, String> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(format!("{name} does not begin as a recording"))?;
        let mut events = Vec::new();
        while let Some((head, behind)) = rest.split_at_checked(6) {
            let len = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
            let at = events.len();
            let (frame, behind) =
                behind.split_at_checked(len).ok_or(format!("{name}: event {at} ends early"))?;
            let frame = renamed(frame, token);
            let what = match head[0] {
                b'>' => What::Asked(frame),
                b'<' => What::Answered(frame),
                b'x' => What::Closed,
                other => return Err(format!("{name}: event {at} is of kind {other}")),
            };
            events.push(Event { connection: usize::from(head[1]), what });
            rest = behind;
        }
        match rest.is_empty() {
            true => Ok(Recording { name: name.into(), events }),
            false => Err(format!("{name}: {} bytes behind the last event", rest.len())),
        }
    }

    /// The recordings of this repository, by name.
    pub fn all(token: &[u8; 8]) -> Result<Vec<Recording>, String> {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/recordings"));
        let at = |error: std::io::Error| format!("{}: {error}", folder.display());
        let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
            .map_err(at)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(at)?;
        files.retain(|file| file.extension().is_some_and(|ending| ending == "rec"));
        files.sort();
        let read = |file: &PathBuf| {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let bytes = std::fs::read(file).map_err(|error| format!("{name}: {error}"))?;
            Recording::parse(&name, &bytes, token)
        };
        files.iter().map(read).collect()
    }
}

fn renamed(frame: &[u8], token: &[u8; 8]) -> Bytes {
    let mut frame = frame.to_vec();
    let mut at = 0;
    while let Some(found) = frame[at..].windows(TOKEN.len()).position(|part| part == TOKEN) {
        frame[at + found..at + found + TOKEN.len()].copy_from_slice(token);
        at += found + TOKEN.len();
    }
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_with_another_token() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(b">\x00\x00\x00\x00\x0aa-run00000<\x00\x00\x00\x00\x00x\x01\x00\x00\x00\x00");
        let recording = Recording::parse("one", &bytes, b"r0000077").unwrap();
        let whats: Vec<_> =
            recording.events.into_iter().map(|event| (event.connection, event.what)).collect();
        let asked = What::Asked(Bytes::from_static(b"a-r0000077"));
        assert_eq!(whats, [(0, asked), (0, What::Answered(Bytes::new())), (1, What::Closed)]);
        let cut = Recording::parse("one", &bytes[..bytes.len() - 1], b"r0000077").unwrap_err();
        assert!(cut.contains("behind the last event"), "{cut}");
        assert!(Recording::parse("two", b"no", b"r0000077").is_err());
    }

    #[test]
    fn the_recordings_of_this_repository_can_be_read() {
        let all = Recording::all(b"r0000001").unwrap();
        assert!(all.len() >= 4, "{} recordings", all.len());
    }
}
