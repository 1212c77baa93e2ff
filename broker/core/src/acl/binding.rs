//! One ACL, the resource that it is on, and filters of both.

use std::fmt;

use wire::Str;

use super::{Operation, PatternType, Permission, Principal, ResourceType};

/// Stands for every host, and as a literal name for every resource.
pub const WILDCARD: &str = "*";
/// The one name that the cluster has as a resource.
pub const CLUSTER_NAME: &str = "kafka-cluster";

/// The resources that an ACL is on. Its pattern is literal or prefixed where it is stored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Resource {
    pub kind: ResourceType,
    pub pattern: PatternType,
    pub name: Str,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resource { kind, pattern, name } = self;
        write!(f, "ResourcePattern(resourceType={kind}, name={name}, patternType={pattern})")
    }
}

/// Who may, or may not, do what from where.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Entry {
    /// `type:name`; `User:*` is everybody.
    pub principal: Str,
    /// An address as text, or `*`.
    pub host: Str,
    pub operation: Operation,
    pub permission: Permission,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { principal, host, operation, permission } = self;
        write!(f, "(principal={principal}, host={host}, operation={operation}, permissionType={permission})")
    }
}

/// An ACL with its resource.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Binding {
    pub resource: Resource,
    pub entry: Entry,
}

/// Why something cannot be stored as an ACL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BindingError {
    #[error("ACL binding contains unknown elements")]
    Unknown,
    #[error("ACL binding contains invalid resource name: {0}")]
    Name(Str),
}

impl Binding {
    /// What the authorizer demands of an ACL before it is stored; the principal is looked at later.
    pub fn check(&self) -> Result<(), BindingError> {
        let (resource, entry) = (&self.resource, &self.entry);
        if resource.kind == ResourceType::Unknown
            || resource.pattern == PatternType::Unknown
            || entry.operation == Operation::Unknown
            || entry.permission == Permission::Unknown
        {
            return Err(BindingError::Unknown);
        }
        if resource.name.contains('/') {
            return Err(BindingError::Name(resource.name.clone()));
        }
        Ok(())
    }
}

impl Entry {
    /// Its principal; a text without a colon is none.
    pub fn parse_principal(&self) -> Result<Principal, super::PrincipalError> {
        Principal::parse(&self.principal)
    }
}

/// Which resources are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResourceFilter {
    pub kind: ResourceType,
    pub pattern: PatternType,
    /// None: every name.
    pub name: Option<Str>,
}

impl ResourceFilter {
    /// Whether ACLs on `resource` are meant.
    pub fn matches(&self, resource: &Resource) -> bool {
        if self.kind != ResourceType::Any && self.kind != resource.kind {
            return false;
        }
        let any_pattern = matches!(self.pattern, PatternType::Any | PatternType::Match);
        if !any_pattern && self.pattern != resource.pattern {
            return false;
        }
        let Some(name) = &self.name else { return true };
        if self.pattern == PatternType::Any || self.pattern == resource.pattern {
            return *name == resource.name;
        }
        match resource.pattern {
            PatternType::Literal => *name == resource.name || resource.name == WILDCARD,
            PatternType::Prefixed => name.starts_with(&*resource.name),
            _ => false,
        }
    }

    /// The resources that it names outright, whether or not they have ACLs; none where it is less definite.
    pub fn named(&self) -> Vec<Resource> {
        let patterns: &[PatternType] = match self.pattern {
            PatternType::Literal => &[PatternType::Literal],
            PatternType::Prefixed => &[PatternType::Prefixed],
            PatternType::Any => &[PatternType::Literal, PatternType::Prefixed],
            PatternType::Match | PatternType::Unknown => &[],
        };
        let definite = !matches!(self.kind, ResourceType::Any | ResourceType::Unknown);
        match &self.name {
            Some(name) if definite => patterns
                .iter()
                .map(|pattern| Resource { kind: self.kind, pattern: *pattern, name: name.clone() })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// Which entries are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryFilter {
    pub principal: Option<Str>,
    pub host: Option<Str>,
    pub operation: Operation,
    pub permission: Permission,
}

impl EntryFilter {
    /// Every entry.
    pub const ANY: EntryFilter =
        EntryFilter { principal: None, host: None, operation: Operation::Any, permission: Permission::Any };

    /// Whether `entry` is meant.
    pub fn matches(&self, entry: &Entry) -> bool {
        self.principal.as_ref().is_none_or(|principal| *principal == entry.principal)
            && self.host.as_ref().is_none_or(|host| *host == entry.host)
            && (self.operation == Operation::Any || self.operation == entry.operation)
            && (self.permission == Permission::Any || self.permission == entry.permission)
    }
}

/// Which ACLs are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    pub resource: ResourceFilter,
    pub entry: EntryFilter,
}

impl Filter {
    /// Whether `entry` on `resource` is meant.
    pub fn matches(&self, resource: &Resource, entry: &Entry) -> bool {
        self.resource.matches(resource) && self.entry.matches(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(kind: ResourceType, pattern: PatternType, name: &'static str) -> Resource {
        Resource { kind, pattern, name: Str::from_static(name) }
    }

    fn filter(kind: ResourceType, pattern: PatternType, name: Option<&'static str>) -> ResourceFilter {
        ResourceFilter { kind, pattern, name: name.map(Str::from_static) }
    }

    #[test]
    fn a_match_finds_whatever_affects_the_resource_and_the_rest_only_the_name_itself() {
        use PatternType::{Any, Literal, Match, Prefixed};
        let topic = ResourceType::Topic;
        let all = [on(topic, Literal, "t1"), on(topic, Literal, "*"), on(topic, Prefixed, "t")];
        let found = |pattern, name| -> Vec<&str> {
            let filter = filter(topic, pattern, Some(name));
            all.iter().filter(|resource| filter.matches(resource)).map(|resource| &*resource.name).collect()
        };
        assert_eq!(found(Match, "t1"), ["t1", "*", "t"]);
        assert_eq!(found(Match, "x"), ["*"]);
        assert_eq!(found(Any, "t"), ["t"]);
        assert_eq!(found(Literal, "t1"), ["t1"]);
        assert_eq!(found(Prefixed, "t1"), [""; 0]);
        assert!(filter(ResourceType::Any, Any, None).matches(&all[2]));
        assert!(!filter(ResourceType::Group, Any, None).matches(&all[2]));
        assert!(!filter(topic, Literal, None).matches(&all[2]));
    }

    #[test]
    fn only_a_definite_filter_names_resources_that_may_have_no_acls_yet() {
        let topic = ResourceType::Topic;
        assert_eq!(filter(topic, PatternType::Any, Some("t")).named().len(), 2);
        assert_eq!(filter(topic, PatternType::Prefixed, Some("t")).named().len(), 1);
        assert!(filter(topic, PatternType::Match, Some("t")).named().is_empty());
        assert!(filter(topic, PatternType::Any, None).named().is_empty());
        assert!(filter(ResourceType::Any, PatternType::Any, Some("t")).named().is_empty());
    }

    #[test]
    fn what_is_unknown_or_has_a_slash_in_its_name_is_no_acl() {
        let entry = Entry {
            principal: Str::from_static("User:a"),
            host: Str::from_static("*"),
            operation: Operation::Read,
            permission: Permission::Allow,
        };
        let binding =
            |resource| Binding { resource, entry: entry.clone() }.check().map_err(|error| error.to_string());
        assert_eq!(binding(on(ResourceType::Topic, PatternType::Literal, "t")), Ok(()));
        assert_eq!(
            binding(on(ResourceType::Topic, PatternType::Literal, "a/b")),
            Err("ACL binding contains invalid resource name: a/b".into())
        );
        assert_eq!(
            binding(on(ResourceType::Unknown, PatternType::Literal, "t")),
            Err("ACL binding contains unknown elements".into())
        );
    }
}
