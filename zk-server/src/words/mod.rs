//! Four-letter words: the first four bytes of a connection, answered in text.
//!
//! Texts as ZooKeeper 3.9.3 prints them; monitoring scripts parse them.

mod connections;
pub(crate) mod listing;
mod mntr;
mod serving;

use crate::admin::Limits;
use crate::config::Config;
use crate::disk::Disk;
use crate::server::clients::Clients;
use crate::server::journal::SharedStats;
use crate::server::links::OutLinks;
use bytes::Bytes;
use std::fmt::Write;
use std::net::SocketAddr;
use zk_core::peer::{Mode, Status};
use zk_core::{Now, Peer};

/// What `srvr`, `stat`, `envi` and `mntr` call us: the release whose behaviour this is.
pub(crate) const VERSION: &str =
    "3.9.3-c26634f34490bb0ea7a09cc51e05ede3b4e320ee, built on 2024-10-17 23:21 UTC";

const WORDS: [&[u8; 4]; 18] = [
    b"conf", b"cons", b"crst", b"dirs", b"dump", b"envi", b"gtmk", b"hash", b"isro", b"mntr", b"ruok",
    b"srst", b"srvr", b"stat", b"stmk", b"wchc", b"wchp", b"wchs",
];
const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";
/// What `gtmk` shows: the trace mask that Java starts with.
pub(crate) const TRACE_MASK: i64 = 0b1_0011_0010;

pub(crate) fn is_word(bytes: &[u8; 4]) -> bool {
    WORDS.contains(&bytes)
}

/// `4lw.commands.whitelist`; `*` stands for all.
pub(crate) fn is_allowed(word: &str, whitelist: &[String]) -> bool {
    whitelist.iter().any(|allowed| allowed == "*" || allowed == word)
}

/// What the answers are made of.
pub(crate) struct View<'a> {
    pub peer: &'a mut Peer,
    pub clients: &'a mut Clients,
    pub links: &'a mut OutLinks,
    pub config: &'a Config,
    pub disk: &'a Disk,
    pub journal: &'a SharedStats,
    pub limits: &'a mut Limits,
    pub now: Now,
}

/// The whole answer, but to what is long ([`listing`]). `argument`: what came behind the word in the same read.
pub(crate) fn answer(word: [u8; 4], argument: &[u8], from: SocketAddr, view: &mut View) -> Bytes {
    let mut to = String::new();
    let status = view.peer.status();
    match &word {
        b"ruok" => to.push_str("imok"),
        b"gtmk" => to.push_str(&TRACE_MASK.to_string()),
        b"stmk" => set_trace_mask(argument, &mut to),
        b"envi" => environment(&mut to),
        b"isro" if !status.serving => to.push_str("null"),
        b"isro" => to.push_str(if status.read_only { "ro" } else { "rw" }),
        _ if !status.serving => to.push_str(NOT_SERVING),
        b"srvr" => serving::srvr(view, &status, &mut to),
        b"stat" => connections::stat(view, &status, from, &mut to),
        b"mntr" => mntr::mntr(view, &status, &mut to),
        b"conf" => serving::conf(view, &mut to),
        b"dirs" => serving::dirs(view, &mut to),
        b"hash" => serving::hash(view, &mut to),
        b"srst" => {
            crate::metrics::reset(view);
            to.push_str("Server stats reset.\n");
        }
        b"crst" => {
            view.clients.reset();
            to.push_str("Connection stats reset.\n");
        }
        b"cons" => connections::cons(view, from, &mut to),
        b"wchs" => connections::watch_summary(view, &mut to),
        _ => {}
    }
    to.into()
}

/// `srvr`'s and `mntr`'s word for a mode.
pub(crate) fn mode_name(status: &Status) -> &'static str {
    match status.mode {
        Mode::Looking if status.read_only => "read-only",
        Mode::Looking => "looking",
        Mode::Standalone => "standalone",
        Mode::Following { .. } => "follower",
        Mode::Observing { .. } => "observer",
        Mode::Leading => "leader",
    }
}

/// Eight bytes set a mask; there is nothing here that it would trace.
fn set_trace_mask(argument: &[u8], to: &mut String) {
    if let Some(mask) = argument.first_chunk() {
        let _ = write!(to, "{}", i64::from_be_bytes(*mask));
    }
}

/// Whom this process runs as: by name, as the system knows it.
pub(crate) fn user_name() -> String {
    let uid = rustix::process::getuid().as_raw().to_string();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let own = fields.find(|fields| fields.get(2) == Some(&&*uid));
    own.map_or(uid, |fields| fields[0].to_owned())
}

/// The keys that Java prints; what only a JVM has stays empty.
pub(crate) fn environment_pairs() -> Vec<(&'static str, String)> {
    let var = |name: &str| std::env::var(name).unwrap_or_default();
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let dir = std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default();
    let memory = |key: &str| {
        let info = file("/proc/meminfo");
        let line = info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).unwrap_or(0)
            / 1024
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        other => other,
    };
    vec![
        ("zookeeper.version", VERSION.to_owned()),
        ("host.name", file("/proc/sys/kernel/hostname")),
        ("java.version", String::new()),
        ("java.vendor", String::new()),
        ("java.home", String::new()),
        ("java.class.path", String::new()),
        ("java.library.path", String::new()),
        ("java.io.tmpdir", std::env::temp_dir().display().to_string()),
        ("java.compiler", "<NA>".to_owned()),
        ("os.name", "Linux".to_owned()),
        ("os.arch", arch.to_owned()),
        ("os.version", file("/proc/sys/kernel/osrelease")),
        ("user.name", user_name()),
        ("user.home", var("HOME")),
        ("user.dir", dir),
        ("os.memory.free", format!("{}MB", memory("MemAvailable"))),
        ("os.memory.max", format!("{}MB", memory("MemTotal"))),
        ("os.memory.total", format!("{}MB", memory("MemTotal"))),
    ]
}

fn environment(to: &mut String) {
    to.push_str("Environment:\n");
    for (key, value) in environment_pairs() {
        let _ = writeln!(to, "{key}={value}");
    }
}

/// What a member of an ensemble is doing.
pub(crate) fn peer_state(status: &Status) -> Option<&'static str> {
    match status.mode {
        Mode::Leading => Some("leading - broadcast"),
        Mode::Following { .. } => Some("following - broadcast"),
        Mode::Observing { .. } => Some("observing - broadcast"),
        Mode::Standalone | Mode::Looking => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_words_are_allowed_and_a_star_allows_all() {
        let list = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        assert!(is_allowed("srvr", &list(&["srvr"])));
        assert!(!is_allowed("stat", &list(&["srvr", "ruok"])));
        assert!(is_allowed("stat", &list(&["*"])));
        assert!(is_word(b"ruok") && !is_word(b"\0\0\0\x2d"));
    }

    #[test]
    fn the_trace_mask_is_answered_in_decimal() {
        let mut to = String::new();
        set_trace_mask(&[0, 0, 0, 0, 0, 0, 1, 0x32, 9], &mut to);
        assert_eq!(to, "306");
        assert_eq!(TRACE_MASK, 306);
    }
}
