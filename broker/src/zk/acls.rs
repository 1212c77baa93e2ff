//! ACLs as Kafka stores them: `/kafka-acl/TYPE/NAME` for literal names, `/kafka-acl-extended/prefixed/TYPE/NAME` for
//! prefixes, a JSON list in each; and the notes that tell every broker of a change.

use std::collections::BTreeSet;

use broker_core::acl::{Entry, Operation, PatternType, Permission, Principal, Resource, ResourceType};
use serde_json::json;
use wire::Str;
use zookeeper_client::Error;

use super::notes::Notes;
use super::{Zk, ZkError};

/// Notes of literal names: `TOPIC:name`.
const LITERAL_CHANGES: Notes = Notes { root: "/kafka-acl-changes", prefix: "acl_changes_" };
/// Notes of prefixes, as JSON.
const EXTENDED_CHANGES: Notes = Notes { root: "/kafka-acl-extended-changes", prefix: "acl_changes_" };
/// Where each type of pattern is kept.
const STORES: [(PatternType, &str); 2] =
    [(PatternType::Literal, "/kafka-acl"), (PatternType::Prefixed, "/kafka-acl-extended/prefixed")];
/// Requests that are under way at a time.
const WINDOW: usize = 512;

/// The ACLs of a resource, and its node's version; none where it has no node.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub entries: BTreeSet<Entry>,
    pub version: Option<i32>,
}

fn root(pattern: PatternType) -> &'static str {
    if pattern == PatternType::Prefixed { STORES[1].1 } else { STORES[0].1 }
}

fn path(resource: &Resource) -> String {
    format!("{}/{}/{}", root(resource.pattern), resource.kind.name(), resource.name)
}

/// A node's list as Kafka writes it.
pub fn encode(entries: &BTreeSet<Entry>) -> String {
    // In Kafka's order of keys, which a map of ours would sort.
    let text = |text: &str| json!(text).to_string();
    let entry = |entry: &Entry| {
        format!(
            r#"{{"principal":{},"permissionType":"{}","operation":"{}","host":{}}}"#,
            text(&entry.principal),
            entry.permission.name(),
            entry.operation.name(),
            text(&entry.host)
        )
    };
    let all: Vec<String> = entries.iter().map(entry).collect();
    format!(r#"{{"version":1,"acls":[{}]}}"#, all.join(","))
}

/// Reads a node's list; an empty node has none.
pub fn decode(path: &str, data: &[u8]) -> Result<BTreeSet<Entry>, ZkError> {
    if data.is_empty() {
        return Ok(BTreeSet::new());
    }
    let bad = |problem: &str| ZkError::BadData { path: path.to_owned(), problem: problem.to_owned() };
    let node = Zk::json(path, data)?;
    if node["version"].as_i64() != Some(1) {
        return Err(bad("its version is not 1"));
    }
    let all = node["acls"].as_array().ok_or_else(|| bad("no \"acls\" list"))?;
    let entry = |entry: &serde_json::Value| {
        let text = |key: &str| {
            let text = entry[key].as_str().map(Str::from);
            text.ok_or_else(|| bad(&format!("an ACL without \"{key}\"")))
        };
        let principal = text("principal")?;
        Principal::parse(&principal).map_err(|error| bad(&error.to_string()))?;
        Ok(Entry {
            principal,
            host: text("host")?,
            operation: Operation::from_name(&text("operation")?),
            permission: Permission::from_name(&text("permissionType")?),
        })
    };
    all.iter().map(entry).collect()
}

fn note(resource: &Resource) -> String {
    match resource.pattern {
        PatternType::Literal => format!("{}:{}", resource.kind, resource.name),
        pattern => format!(
            r#"{{"version":1,"resourceType":"{}","name":{},"patternType":"{pattern}"}}"#,
            resource.kind,
            json!(&*resource.name)
        ),
    }
}

fn read_note(path: &str, data: &[u8]) -> Result<Resource, ZkError> {
    let bad = |problem: &str| ZkError::BadData { path: path.to_owned(), problem: problem.to_owned() };
    let resource = if path.starts_with(EXTENDED_CHANGES.root) {
        let note = Zk::json(path, data)?;
        if note["version"].as_i64().is_none_or(|version| version > 1) {
            return Err(bad("an ACL change of an unknown version"));
        }
        let text = |key: &str| note[key].as_str().ok_or_else(|| bad(&format!("no \"{key}\"")));
        Resource {
            kind: ResourceType::from_upper(text("resourceType")?),
            pattern: PatternType::from_upper(text("patternType")?),
            name: text("name")?.into(),
        }
    } else {
        let text = std::str::from_utf8(data).map_err(|_| bad("an ACL change that is no text"))?;
        let (kind, name) = text.split_once(':').ok_or_else(|| {
            bad(&format!("expected a string in format ResourceType:ResourceName but got {text}"))
        })?;
        Resource { kind: ResourceType::from_upper(kind), pattern: PatternType::Literal, name: name.into() }
    };
    let known = ResourceType::CONCRETE.contains(&resource.kind)
        && matches!(resource.pattern, PatternType::Literal | PatternType::Prefixed);
    if known { Ok(resource) } else { Err(bad("an ACL change of an unknown resource or pattern type")) }
}

impl Zk {
    /// Makes the nodes that ACLs and their notes live under.
    pub async fn make_acl_nodes(&self) -> Result<(), ZkError> {
        for (_, root) in STORES {
            for kind in ResourceType::CONCRETE {
                self.make_path(&format!("{root}/{}", kind.name())).await?;
            }
        }
        for notes in [LITERAL_CHANGES, EXTENDED_CHANGES] {
            self.make_path(notes.root).await?;
        }
        Ok(())
    }

    /// The ACLs of one resource pattern.
    pub async fn acls(&self, resource: &Resource) -> Result<Stored, ZkError> {
        let path = path(resource);
        let Some((data, stat)) = self.get(&path).await? else { return Ok(Stored::default()) };
        Ok(Stored { entries: decode(&path, &data)?, version: Some(stat.version) })
    }

    /// Every resource pattern that has ACLs, with them; many requests are under way at a time.
    pub async fn all_acls(&self) -> Result<Vec<(Resource, BTreeSet<Entry>)>, ZkError> {
        let mut all = Vec::new();
        for (pattern, root) in STORES {
            for kind_name in self.children(root).await? {
                let kind = ResourceType::from_name(&kind_name);
                if !ResourceType::CONCRETE.contains(&kind) {
                    tracing::warn!("Ignoring unknown ResourceType: {kind_name}");
                    continue;
                }
                let names = self.children(&format!("{root}/{}", kind.name())).await?;
                for names in names.chunks(WINDOW) {
                    let resource = |name: &String| Resource { kind, pattern, name: name.as_str().into() };
                    let resources: Vec<Resource> = names.iter().map(resource).collect();
                    let paths: Vec<String> = resources.iter().map(path).collect();
                    let reads: Vec<_> = paths.iter().map(|path| self.client.get_data(path)).collect();
                    for ((resource, path), read) in resources.into_iter().zip(&paths).zip(reads) {
                        let entries = match read.await {
                            Ok((data, _)) => decode(path, &data)?,
                            Err(Error::NoNode) => continue,
                            // Lost connections and the like: alone and with retries.
                            Err(_) => self.acls(&resource).await?.entries,
                        };
                        all.push((resource, entries));
                    }
                }
            }
        }
        Ok(all)
    }

    /// Replaces the ACLs of a resource if they still are what was read; false where they are not.
    pub async fn replace_acls(
        &self,
        resource: &Resource,
        entries: &BTreeSet<Entry>,
        read: Option<i32>,
    ) -> Result<bool, ZkError> {
        let path = path(resource);
        let data = encode(entries);
        let done = match read {
            None if entries.is_empty() => return Ok(true),
            Some(version) if entries.is_empty() => return self.delete_at(&path, version).await,
            Some(version) => self.set(&path, data.as_bytes(), Some(version)).await.map(drop),
            None => self.create(&path, data.as_bytes()).await,
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) if error.bad_version() || error.node_exists() => Ok(false),
            // Deleted meanwhile; a missing folder of its type would be missing the next time, too.
            Err(error) if error.no_node() && read.is_some() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells every broker that a resource's ACLs have changed.
    pub async fn note_acls(&self, resource: &Resource) -> Result<(), ZkError> {
        let notes = if resource.pattern == PatternType::Literal { LITERAL_CHANGES } else { EXTENDED_CHANGES };
        notes.leave(self, note(resource).as_bytes()).await
    }
}

/// Follows one of the two lists of notes (those of prefixes, if `extended`); see [`Notes::watch`].
pub async fn watch_acls<F, Fut>(
    zk: Zk,
    extended: bool,
    armed: tokio::sync::oneshot::Sender<()>,
    mut changed: F,
) -> ZkError
where
    F: FnMut(Resource) -> Fut,
    Fut: Future<Output = ()>,
{
    let notes = if extended { EXTENDED_CHANGES } else { LITERAL_CHANGES };
    let noted = |path: String, data: Vec<u8>| {
        let changed = read_note(&path, &data).map(&mut changed);
        async move {
            match changed {
                Ok(changed) => changed.await,
                Err(error) => tracing::error!("{error}"),
            }
        }
    };
    notes.watch(zk, armed, noted).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(principal: &'static str) -> Entry {
        Entry {
            principal: Str::from_static(principal),
            host: Str::from_static("*"),
            operation: Operation::DescribeConfigs,
            permission: Permission::Allow,
        }
    }

    #[test]
    fn a_list_is_written_in_kafkas_bytes_and_read_back() {
        let entries = BTreeSet::from([entry("User:a\"b")]);
        let text = encode(&entries);
        assert_eq!(
            text,
            r#"{"version":1,"acls":[{"principal":"User:a\"b","permissionType":"Allow","operation":"DescribeConfigs","host":"*"}]}"#
        );
        assert_eq!(decode("/p", text.as_bytes()).unwrap(), entries);
        assert!(decode("/p", b"").unwrap().is_empty());
    }

    #[test]
    fn a_list_that_cannot_be_read_is_told_with_its_path() {
        for (data, problem) in [
            ("{", "EOF while parsing an object"),
            (r#"{"version":2,"acls":[]}"#, "its version is not 1"),
            (r#"{"version":1}"#, "no \"acls\" list"),
            (r#"{"version":1,"acls":[{"principal":"User:a"}]}"#, "an ACL without \"host\""),
            (r#"{"version":1,"acls":[{"principal":"a"}]}"#, "expected a string in format"),
        ] {
            let error = decode("/kafka-acl/Topic/t", data.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("/kafka-acl/Topic/t") && error.contains(problem), "{data}: {error}");
        }
    }

    #[test]
    fn notes_are_text_for_literal_names_and_json_for_prefixes() {
        let literal = Resource {
            kind: ResourceType::TransactionalId,
            pattern: PatternType::Literal,
            name: "a:b".into(),
        };
        let prefixed = Resource { pattern: PatternType::Prefixed, ..literal.clone() };
        assert_eq!(note(&literal), "TRANSACTIONAL_ID:a:b");
        assert_eq!(
            note(&prefixed),
            r#"{"version":1,"resourceType":"TRANSACTIONAL_ID","name":"a:b","patternType":"PREFIXED"}"#
        );
        let read = |root: &str, note: &str| read_note(&format!("{root}/acl_changes_1"), note.as_bytes());
        assert_eq!(read("/kafka-acl-changes", &note(&literal)).unwrap(), literal);
        assert_eq!(read("/kafka-acl-extended-changes", &note(&prefixed)).unwrap(), prefixed);
        assert!(read("/kafka-acl-changes", "Cookie:a").is_err() && read("/kafka-acl-changes", "x").is_err());
        assert_eq!(path(&prefixed), "/kafka-acl-extended/prefixed/TransactionalId/a:b");
    }
}
