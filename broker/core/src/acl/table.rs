//! Every ACL of the cluster, and what they allow: deny before allow, literal, wildcard and prefixed names, and the
//! operations that others imply.
//!
//! A decision looks up the resource by name, the wildcard, and each length of prefix that there is, and in each of
//! these the principal and everybody: a handful of look-ups, however many ACLs there are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use wire::Str;

use super::{
    Binding, Entry, Filter, Operation, PatternType, Permission, Principal, Resource, ResourceType, USER,
    WILDCARD,
};

/// From where a rule holds.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Origin {
    Everywhere,
    Address(IpAddr),
    /// The host is no address as Java writes it, so no connection comes from there.
    Nowhere,
}

/// An entry without its principal, ready to be compared.
#[derive(Clone, Debug)]
struct Rule {
    origin: Origin,
    operation: Operation,
    permission: Permission,
}

/// The ACLs of one resource pattern.
#[derive(Clone, Default, Debug)]
struct Rules {
    entries: BTreeSet<Entry>,
    by_principal: BTreeMap<Principal, Vec<Rule>>,
}

/// Who wants something, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    pub principal: &'a Principal,
    pub host: IpAddr,
}

/// Every ACL, and the two settings that decide where there is none.
#[derive(Clone, Default, Debug)]
pub struct Acls {
    rules: BTreeMap<(ResourceType, PatternType), BTreeMap<Str, Rules>>,
    /// By kind of resource, how many prefixes there are of each length in bytes.
    prefix_lengths: BTreeMap<ResourceType, BTreeMap<usize, usize>>,
    super_users: BTreeSet<Principal>,
    allow_if_none: bool,
}

/// An address as Java writes it, and with it ACLs: the eight numbers of version 6 are never shortened.
pub fn host_text(host: IpAddr) -> String {
    match host.to_canonical() {
        IpAddr::V4(host) => host.to_string(),
        IpAddr::V6(host) => host.segments().map(|part| format!("{part:x}")).join(":"),
    }
}

impl Origin {
    fn read(host: &str) -> Origin {
        if host == WILDCARD {
            return Origin::Everywhere;
        }
        match host.parse::<IpAddr>() {
            Ok(address) if host_text(address) == host => Origin::Address(address.to_canonical()),
            _ => Origin::Nowhere,
        }
    }

    fn covers(&self, host: IpAddr) -> bool {
        match self {
            Origin::Everywhere => true,
            Origin::Address(address) => *address == host,
            Origin::Nowhere => false,
        }
    }
}

impl Rules {
    fn new(entries: BTreeSet<Entry>) -> Rules {
        let mut by_principal: BTreeMap<Principal, Vec<Rule>> = BTreeMap::new();
        for entry in &entries {
            // What names nobody applies to nobody.
            let Ok(principal) = entry.parse_principal() else { continue };
            by_principal.entry(principal).or_default().push(Rule {
                origin: Origin::read(&entry.host),
                operation: entry.operation,
                permission: entry.permission,
            });
        }
        Rules { entries, by_principal }
    }

    /// Whether a rule for this principal, or for everybody, is about the operation itself or about all.
    fn says(
        &self,
        who: Who<'_>,
        everybody: &Principal,
        permission: Permission,
        operation: Operation,
    ) -> bool {
        let applies = |rule: &Rule| {
            rule.permission == permission
                && (rule.operation == operation || rule.operation == Operation::All)
                && rule.origin.covers(who.host)
        };
        let of = |principal| self.by_principal.get(principal).is_some_and(|rules| rules.iter().any(applies));
        of(who.principal) || of(everybody)
    }
}

/// What allows `operation`: itself, or one that cannot be used without it.
fn allowed_by(operation: Operation) -> &'static [Operation] {
    use Operation::{
        Alter, AlterConfigs, ClusterAction, Create, CreateTokens, Delete, Describe, DescribeConfigs,
        DescribeTokens, IdempotentWrite, Read, Write,
    };
    match operation {
        Describe => &[Describe, Read, Write, Delete, Alter],
        DescribeConfigs => &[DescribeConfigs, AlterConfigs],
        Read => &[Read],
        Write => &[Write],
        Create => &[Create],
        Delete => &[Delete],
        Alter => &[Alter],
        ClusterAction => &[ClusterAction],
        AlterConfigs => &[AlterConfigs],
        IdempotentWrite => &[IdempotentWrite],
        CreateTokens => &[CreateTokens],
        DescribeTokens => &[DescribeTokens],
        Operation::All => &[Operation::All],
        Operation::Any | Operation::Unknown => &[],
    }
}

impl Acls {
    /// No ACLs yet. `super_users` may do everything; what has no ACL at all is everybody's if `allow_if_none`.
    pub fn new(super_users: BTreeSet<Principal>, allow_if_none: bool) -> Acls {
        Acls { super_users, allow_if_none, ..Acls::default() }
    }

    /// Whether `who` may do `operation` on the resource of this name.
    pub fn allows(&self, who: Who<'_>, operation: Operation, kind: ResourceType, name: &str) -> bool {
        if self.super_users.contains(who.principal) {
            return true;
        }
        let mut found = [None; 2];
        let literal = self.rules.get(&(kind, PatternType::Literal));
        if let Some(literal) = literal {
            found = [literal.get(WILDCARD), literal.get(name)];
        }
        let prefixed = self.prefixes(kind, name);
        let all = || found.into_iter().flatten().chain(prefixed.iter().copied());
        if all().next().is_none() {
            return self.allow_if_none;
        }
        let everybody = everybody();
        let who = Who { host: who.host.to_canonical(), ..who };
        let says = |permission, operation| {
            all().any(|rules: &Rules| rules.says(who, everybody, permission, operation))
        };
        !says(Permission::Deny, operation)
            && allowed_by(operation).iter().any(|operation| says(Permission::Allow, *operation))
    }

    fn prefixes(&self, kind: ResourceType, name: &str) -> Vec<&Rules> {
        let (Some(lengths), Some(prefixed)) =
            (self.prefix_lengths.get(&kind), self.rules.get(&(kind, PatternType::Prefixed)))
        else {
            return Vec::new();
        };
        let prefixes = lengths.range(..=name.len()).filter_map(|(length, _)| name.get(..*length));
        prefixes.filter_map(|prefix| prefixed.get(prefix)).collect()
    }

    /// Whether `who` may do `operation` on at least one resource of this kind, that there may be.
    pub fn allows_on_some(&self, who: Who<'_>, operation: Operation, kind: ResourceType) -> bool {
        if self.super_users.contains(who.principal) {
            return true;
        }
        let denied = self.names(who, operation, kind, PatternType::Literal, Permission::Deny);
        if denied.contains(WILDCARD) {
            return false;
        }
        if self.allow_if_none {
            return true;
        }
        let denied_prefixes = self.names(who, operation, kind, PatternType::Prefixed, Permission::Deny);
        let dominated = |name: &str| {
            let ends = name.char_indices().map(|(at, letter)| at + letter.len_utf8());
            ends.map(|end| &name[..end]).any(|prefix| denied_prefixes.contains(prefix))
        };
        let prefixes = self.names(who, operation, kind, PatternType::Prefixed, Permission::Allow);
        let literals = self.names(who, operation, kind, PatternType::Literal, Permission::Allow);
        prefixes.iter().any(|prefix| !dominated(prefix))
            || literals.iter().any(|name| *name == WILDCARD || !denied.contains(name) && !dominated(name))
    }

    /// The names whose ACLs tell `who` this of `operation`; implied operations do not count here.
    fn names(
        &self,
        who: Who<'_>,
        operation: Operation,
        kind: ResourceType,
        pattern: PatternType,
        permission: Permission,
    ) -> BTreeSet<&str> {
        let who = Who { host: who.host.to_canonical(), ..who };
        let all = self.rules.get(&(kind, pattern)).into_iter().flatten();
        let told = all.filter(|(_, rules)| rules.says(who, everybody(), permission, operation));
        told.map(|(name, _)| &**name).collect()
    }

    /// The ACLs of one resource pattern.
    pub fn get(&self, resource: &Resource) -> BTreeSet<Entry> {
        let of_kind = self.rules.get(&(resource.kind, resource.pattern));
        of_kind.and_then(|all| all.get(&resource.name)).map(|rules| rules.entries.clone()).unwrap_or_default()
    }

    /// Replaces the ACLs of one resource pattern; no entries: it has none any more.
    pub fn set(&mut self, resource: &Resource, entries: BTreeSet<Entry>) {
        let of_kind = self.rules.entry((resource.kind, resource.pattern)).or_default();
        let (had, has) = (of_kind.contains_key(&resource.name), !entries.is_empty());
        if has {
            of_kind.insert(resource.name.clone(), Rules::new(entries));
        } else {
            of_kind.remove(&resource.name);
        }
        if resource.pattern != PatternType::Prefixed || had == has {
            return;
        }
        let lengths = self.prefix_lengths.entry(resource.kind).or_default();
        let count = lengths.entry(resource.name.len()).or_default();
        if has {
            *count += 1;
        } else {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&resource.name.len());
            }
        }
    }

    /// The resource patterns that have ACLs.
    pub fn resources(&self) -> impl Iterator<Item = Resource> + '_ {
        self.rules.iter().flat_map(|((kind, pattern), all)| {
            all.keys().map(|name| Resource { kind: *kind, pattern: *pattern, name: name.clone() })
        })
    }

    /// The ACLs that `filter` means.
    pub fn matching(&self, filter: &Filter) -> Vec<Binding> {
        let resources = self.resources().filter(|resource| filter.resource.matches(resource));
        resources
            .flat_map(|resource| {
                let entries = self.get(&resource).into_iter().filter(|entry| filter.entry.matches(entry));
                entries.map(|entry| Binding { resource: resource.clone(), entry }).collect::<Vec<_>>()
            })
            .collect()
    }
}

fn everybody() -> &'static Principal {
    static EVERYBODY: Principal =
        Principal { kind: Str::from_static(USER), name: Str::from_static(WILDCARD) };
    &EVERYBODY
}
