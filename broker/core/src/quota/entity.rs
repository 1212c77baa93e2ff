//! Whom a quota is for, and which of many quotas counts for a client.

use std::collections::BTreeMap;
use std::fmt;

/// A name, or whoever has no quota under its own name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    Default,
    Named(String),
}

/// A user, a client id, or both; as ZooKeeper's `/config/users/U`, `/config/clients/C`, `/config/users/U/clients/C`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entity {
    pub user: Option<Name>,
    pub client_id: Option<Name>,
}

/// Who shares a counter: a user's name or "", a client id or "".
pub type Group = (String, String);

/// The bounds of one kind of quota.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    by_entity: BTreeMap<Entity, f64>,
}

impl Bounds {
    pub fn is_empty(&self) -> bool {
        self.by_entity.is_empty()
    }

    /// Sets or removes a bound.
    pub fn set(&mut self, entity: &Entity, bound: Option<f64>) {
        match bound {
            Some(bound) => drop(self.by_entity.insert(entity.clone(), bound)),
            None => drop(self.by_entity.remove(entity)),
        }
    }

    fn of(&self, user: Option<&Name>, client_id: Option<&Name>) -> Option<f64> {
        self.by_entity.get(&Entity { user: user.cloned(), client_id: client_id.cloned() }).copied()
    }

    /// The bound that counts, and with whom it is shared. Kafka looks in this order: user and client id, the user and any
    /// client id, the user, any user and the client id, any user and any client id, any user, the client id, any client id. A
    /// quota for a pair needs both to have a name; without a client id only the user's own count.
    pub fn find(&self, user: &str, client_id: &str) -> Option<(f64, Group)> {
        if self.is_empty() {
            return None;
        }
        let any = Name::Default;
        let (name, id) = (Name::Named(user.to_owned()), Name::Named(client_id.to_owned()));
        // A name of nothing has no node of its own.
        let (named, has_id) = (!user.is_empty(), !client_id.is_empty());
        let pair = || (user.to_owned(), client_id.to_owned());
        let alone = || (user.to_owned(), String::new());
        let shared = || (String::new(), client_id.to_owned());
        let both = named && has_id;
        let found = |bound: Option<f64>, group: &dyn Fn() -> Group| bound.map(|bound| (bound, group()));
        None.or_else(|| found(both.then(|| self.of(Some(&name), Some(&id))).flatten(), &pair))
            .or_else(|| found(both.then(|| self.of(Some(&name), Some(&any))).flatten(), &pair))
            .or_else(|| found(named.then(|| self.of(Some(&name), None)).flatten(), &alone))
            .or_else(|| found(both.then(|| self.of(Some(&any), Some(&id))).flatten(), &pair))
            .or_else(|| found(both.then(|| self.of(Some(&any), Some(&any))).flatten(), &pair))
            .or_else(|| found(named.then(|| self.of(Some(&any), None)).flatten(), &alone))
            .or_else(|| found(has_id.then(|| self.of(None, Some(&id))).flatten(), &shared))
            .or_else(|| found(has_id.then(|| self.of(None, Some(&any))).flatten(), &shared))
    }
}

impl Entity {
    /// Reads the path below `/config` (`users/U`, `clients/C`, `users/U/clients/C`); `None` for any other.
    pub fn parse(path: &str) -> Option<Entity> {
        let parts: Vec<&str> = path.split('/').collect();
        let (user, client_id) = match parts[..] {
            ["users", user] => (Some(Name::read(user)), None),
            ["clients", client_id] => (None, Some(Name::read(client_id))),
            ["users", user, "clients", client_id] => (Some(Name::read(user)), Some(Name::read(client_id))),
            _ => return None,
        };
        Some(Entity { user, client_id })
    }
}

/// As Kafka's log has it.
impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(Name::Default) => f.write_str("default user")?,
            Some(user) => write!(f, "user {}", user.node())?,
            None => {}
        }
        let between = if self.user.is_some() { " " } else { "" };
        match &self.client_id {
            Some(Name::Default) => write!(f, "{between}default client-id"),
            Some(Name::Named(client_id)) => write!(f, "{between}client-id {client_id}"),
            None => Ok(()),
        }
    }
}

/// The node that is for whoever has none.
pub const DEFAULT: &str = "<default>";

impl Name {
    /// As a node of ZooKeeper has it.
    pub fn read(node: &str) -> Name {
        if node == DEFAULT { Name::Default } else { Name::Named(desanitize(node)) }
    }

    /// The node of ZooKeeper.
    pub fn node(&self) -> String {
        match self {
            Name::Default => DEFAULT.to_owned(),
            Name::Named(name) => sanitize(name),
        }
    }

    /// As APIs name it; `None` is the default.
    pub fn name(&self) -> Option<&str> {
        match self {
            Name::Default => None,
            Name::Named(name) => Some(name),
        }
    }
}

/// A name as a node of ZooKeeper can have it: all but letters, digits and `.`, `-`, `_` becomes `%XX`, byte by byte.
pub fn sanitize(name: &str) -> String {
    let mut node = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => node.push(char::from(byte)),
            byte => node.push_str(&format!("%{byte:02X}")),
        }
    }
    node
}

/// The name of a node; what is no escape stays, and `+` is a blank, as URLs have it.
pub fn desanitize(node: &str) -> String {
    let bytes = node.as_bytes();
    let mut name = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = bytes
            .get(at + 1..at + 3)
            .filter(|hex| bytes[at] == b'%' && hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match escaped {
            Some(byte) => {
                name.push(byte);
                at += 3;
            }
            None => {
                name.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(paths: &[(&str, f64)]) -> Bounds {
        let mut bounds = Bounds::default();
        for (path, bound) in paths {
            bounds.set(&Entity::parse(path).unwrap(), Some(*bound));
        }
        bounds
    }

    #[test]
    fn the_nearest_quota_counts_in_kafkas_order() {
        let order = [
            "users/u/clients/c",
            "users/u/clients/<default>",
            "users/u",
            "users/<default>/clients/c",
            "users/<default>/clients/<default>",
            "users/<default>",
            "clients/c",
            "clients/<default>",
        ];
        let mut all = bounds(&[]);
        for (at, path) in order.iter().enumerate().rev() {
            all.set(&Entity::parse(path).unwrap(), Some(at as f64));
            assert_eq!(all.find("u", "c").unwrap().0, at as f64, "{path}");
        }
        for (at, path) in order.iter().enumerate() {
            assert_eq!(all.find("u", "c").unwrap().0, at as f64);
            all.set(&Entity::parse(path).unwrap(), None);
        }
        assert!(all.is_empty() && all.find("u", "c").is_none());
    }

    #[test]
    fn who_shares_a_counter_follows_from_the_quota() {
        let group = |path: &str| bounds(&[(path, 1.0)]).find("u", "c").unwrap().1;
        assert_eq!(group("users/<default>"), ("u".into(), "".into()));
        assert_eq!(group("clients/<default>"), ("".into(), "c".into()));
        assert_eq!(group("users/<default>/clients/<default>"), ("u".into(), "c".into()));
    }

    #[test]
    fn without_a_client_id_only_the_users_own_quotas_count() {
        let all = bounds(&[("users/u/clients/<default>", 1.0), ("clients/<default>", 2.0)]);
        assert!(all.find("u", "").is_none());
        assert_eq!(bounds(&[("users/u", 3.0)]).find("u", "").unwrap().0, 3.0);
    }

    #[test]
    fn entities_are_called_as_in_kafkas_log() {
        for (path, said) in [
            ("users/a%20b", "user a%20b"),
            ("users/<default>/clients/c", "default user client-id c"),
            ("users/u/clients/<default>", "user u default client-id"),
            ("clients/a%20b", "client-id a b"),
        ] {
            assert_eq!(Entity::parse(path).unwrap().to_string(), said);
        }
    }

    #[test]
    fn names_become_nodes_and_come_back() {
        for (name, node) in [("a b*c/+", "a%20b%2Ac%2F%2B"), ("CN=é", "CN%3D%C3%A9"), ("x.y-z_1", "x.y-z_1")]
        {
            assert_eq!(sanitize(name), node);
            assert_eq!(desanitize(node), name);
        }
        assert_eq!(desanitize("100%"), "100%");
        assert_eq!(Name::read("<default>"), Name::Default);
        assert_eq!(sanitize("<default>"), "%3Cdefault%3E");
        assert!(Entity::parse("users/a/b/c").is_none() && Entity::parse("ips/1").is_none());
    }
}
