//! What ACLs allow, by example and beside a naive model that reads the whole list each time.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use wire::Str;

use super::*;

fn host(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn binding(kind: ResourceType, pattern: PatternType, name: &str, entry: Entry) -> Binding {
    Binding { resource: Resource { kind, pattern, name: name.into() }, entry }
}

fn entry(permission: Permission, principal: &str, operation: Operation, host: &str) -> Entry {
    Entry { principal: principal.into(), host: host.into(), operation, permission }
}

fn allow(principal: &str, operation: Operation) -> Entry {
    entry(Permission::Allow, principal, operation, "*")
}

fn deny(principal: &str, operation: Operation) -> Entry {
    entry(Permission::Deny, principal, operation, "*")
}

fn table(bindings: &[Binding]) -> Acls {
    let mut acls = Acls::new(BTreeSet::from([Principal::user("root")]), false);
    for binding in bindings {
        let mut entries = acls.get(&binding.resource);
        entries.insert(binding.entry.clone());
        acls.set(&binding.resource, entries);
    }
    acls
}

fn may(acls: &Acls, name: &str, operation: Operation, topic: &str) -> bool {
    let who = Who { principal: &Principal::user(name), host: host("10.0.0.1") };
    acls.allows(who, operation, ResourceType::Topic, topic)
}

const T: ResourceType = ResourceType::Topic;

#[test]
fn a_denial_goes_before_an_allowance_wherever_either_is() {
    use Operation::{All, Read, Write};
    let acls = table(&[
        binding(T, PatternType::Literal, "*", allow("User:alice", All)),
        binding(T, PatternType::Prefixed, "secret-", deny("User:*", Read)),
        binding(T, PatternType::Literal, "secret-1", allow("User:alice", Read)),
    ]);
    assert!(may(&acls, "alice", Read, "t") && may(&acls, "alice", Write, "secret-1"));
    assert!(!may(&acls, "alice", Read, "secret-1"));
    assert!(!may(&acls, "bob", Write, "t"));
    assert!(may(&acls, "root", Read, "secret-1"));
}

#[test]
fn a_right_implies_the_look_that_it_needs_and_a_denial_implies_nothing() {
    use Operation::{Alter, AlterConfigs, Create, Delete, Describe, DescribeConfigs, Read, Write};
    for operation in [Read, Write, Delete, Alter] {
        let acls = table(&[binding(T, PatternType::Literal, "t", allow("User:a", operation))]);
        assert!(may(&acls, "a", Describe, "t") && !may(&acls, "a", DescribeConfigs, "t"));
    }
    let acls = table(&[binding(T, PatternType::Literal, "t", allow("User:a", AlterConfigs))]);
    assert!(may(&acls, "a", DescribeConfigs, "t") && !may(&acls, "a", Describe, "t"));
    let acls = table(&[
        binding(T, PatternType::Literal, "t", allow("User:a", Create)),
        binding(T, PatternType::Literal, "t", allow("User:a", Describe)),
        binding(T, PatternType::Literal, "t", deny("User:a", Read)),
    ]);
    assert!(may(&acls, "a", Describe, "t") && !may(&acls, "a", Read, "t"));
}

#[test]
fn what_has_no_acl_at_all_is_everybodys_only_where_that_is_wished() {
    let mut open = Acls::new(BTreeSet::new(), true);
    assert!(may(&open, "a", Operation::Read, "t"));
    let resource = Resource { kind: T, pattern: PatternType::Prefixed, name: "t".into() };
    open.set(&resource, BTreeSet::from([allow("User:b", Operation::Read)]));
    assert!(!may(&open, "a", Operation::Read, "t") && may(&open, "a", Operation::Read, "x"));
    open.set(&resource, BTreeSet::new());
    assert!(may(&open, "a", Operation::Read, "t"));
    assert!(!may(&table(&[]), "a", Operation::Read, "t"));
}

#[test]
fn a_host_is_an_address_as_java_writes_it() {
    let acls = |host: &str| {
        let entry = entry(Permission::Allow, "User:a", Operation::Read, host);
        table(&[binding(T, PatternType::Literal, "t", entry)])
    };
    let from = |acls: &Acls, from: &str| {
        let who = Who { principal: &Principal::user("a"), host: host(from) };
        acls.allows(who, Operation::Read, T, "t")
    };
    assert!(from(&acls("10.0.0.1"), "10.0.0.1") && from(&acls("10.0.0.1"), "::ffff:10.0.0.1"));
    assert!(!from(&acls("10.0.0.1"), "10.0.0.2") && !from(&acls("localhost"), "127.0.0.1"));
    assert!(from(&acls("0:0:0:0:0:0:0:1"), "::1") && !from(&acls("::1"), "::1"));
    assert_eq!(host_text(host("fe80::a:1")), "fe80:0:0:0:0:0:a:1");
}

#[test]
fn a_principal_of_another_type_is_somebody_else() {
    let acls = table(&[binding(T, PatternType::Literal, "t", allow("Group:a", Operation::Read))]);
    assert!(!may(&acls, "a", Operation::Read, "t"));
    let group = Principal::parse("Group:a").unwrap();
    let who = Who { principal: &group, host: host("10.0.0.1") };
    assert!(acls.allows(who, Operation::Read, T, "t"));
}

#[test]
fn a_right_on_some_resource_is_one_that_no_denial_covers() {
    use PatternType::{Literal, Prefixed};
    let some = |bindings: &[Binding]| {
        let who = Who { principal: &Principal::user("a"), host: host("10.0.0.1") };
        table(bindings).allows_on_some(who, Operation::Write, T)
    };
    let write = |pattern, name| binding(T, pattern, name, allow("User:a", Operation::Write));
    let never = |pattern, name| binding(T, pattern, name, deny("User:*", Operation::All));
    assert!(!some(&[]));
    assert!(some(&[write(Literal, "t")]) && some(&[write(Prefixed, "t")]) && some(&[write(Literal, "*")]));
    assert!(!some(&[write(Literal, "*"), never(Literal, "*")]));
    assert!(!some(&[write(Literal, "t"), never(Literal, "t")]));
    assert!(!some(&[write(Literal, "topic"), never(Prefixed, "to")]));
    assert!(!some(&[write(Prefixed, "topic"), never(Prefixed, "to")]));
    assert!(some(&[write(Prefixed, "t"), never(Prefixed, "to")]));
    assert!(some(&[write(Literal, "*"), never(Prefixed, "t")]));
    let read = binding(T, Literal, "t", allow("User:a", Operation::Read));
    assert!(!some(&[read]));
}

/// The rule, read off the list of all ACLs.
fn model(
    all: &BTreeSet<Binding>,
    who: Who<'_>,
    operation: Operation,
    name: &str,
    allow_if_none: bool,
) -> bool {
    let on = |binding: &&Binding| match binding.resource.pattern {
        PatternType::Literal => binding.resource.name == name || binding.resource.name == "*",
        _ => name.starts_with(&*binding.resource.name),
    };
    let here: Vec<&Binding> = all.iter().filter(on).collect();
    if here.is_empty() {
        return allow_if_none;
    }
    let says = |permission, operation| {
        here.iter().any(|binding| {
            let entry = &binding.entry;
            entry.permission == permission
                && (entry.operation == operation || entry.operation == Operation::All)
                && (entry.host == "*" || *entry.host == *who.host.to_string())
                && (entry.principal == "User:*" || *entry.principal == *who.principal.to_string())
        })
    };
    let implied = match operation {
        Operation::Describe => {
            vec![operation, Operation::Read, Operation::Write, Operation::Delete, Operation::Alter]
        }
        Operation::DescribeConfigs => vec![operation, Operation::AlterConfigs],
        _ => vec![operation],
    };
    !says(Permission::Deny, operation) && implied.into_iter().any(|o| says(Permission::Allow, o))
}

#[test]
fn the_table_decides_as_a_walk_through_the_whole_list_does_whatever_came_and_went() {
    const NAMES: &[&str] = &["a", "ab", "abc", "b", "ba", "*", "ä", "äb"];
    const WHO: &[&str] = &["User:x", "User:y", "User:*"];
    const HOSTS: &[&str] = &["*", "10.0.0.1", "10.0.0.2"];
    const OPERATIONS: &[Operation] = &[
        Operation::All,
        Operation::Read,
        Operation::Write,
        Operation::Describe,
        Operation::AlterConfigs,
        Operation::DescribeConfigs,
    ];
    for seed in 0..60 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let allow_if_none = random.random_bool(0.5);
        let mut acls = Acls::new(BTreeSet::new(), allow_if_none);
        let mut all: BTreeSet<Binding> = BTreeSet::new();
        for _ in 0..120 {
            let pattern = if random.random_bool(0.5) { PatternType::Literal } else { PatternType::Prefixed };
            let name: Str = Str::from_static(NAMES[random.random_range(0..NAMES.len())]);
            let resource = Resource { kind: T, pattern, name };
            let mut entries = acls.get(&resource);
            if random.random_bool(0.3) {
                let entry = Entry {
                    principal: Str::from_static(WHO[random.random_range(0..WHO.len())]),
                    host: Str::from_static(HOSTS[random.random_range(0..HOSTS.len())]),
                    operation: OPERATIONS[random.random_range(0..OPERATIONS.len())],
                    permission: if random.random_bool(0.3) { Permission::Deny } else { Permission::Allow },
                };
                all.insert(Binding { resource: resource.clone(), entry: entry.clone() });
                entries.insert(entry);
            } else if let Some(gone) = entries.pop_first() {
                all.remove(&Binding { resource: resource.clone(), entry: gone });
            }
            acls.set(&resource, entries);
            let principal = Principal::parse(WHO[random.random_range(0..2)]).unwrap();
            let who = Who { principal: &principal, host: host(HOSTS[random.random_range(1..3)]) };
            let operation = OPERATIONS[random.random_range(1..OPERATIONS.len())];
            for name in ["a", "abcd", "b", "bz", "äbc", "c", "*", ""] {
                let expected = model(&all, who, operation, name, allow_if_none);
                let got = acls.allows(who, operation, T, name);
                assert_eq!(got, expected, "seed {seed}: {who:?} {operation:?} {name}: {all:?}");
            }
        }
        let any = Filter {
            resource: ResourceFilter { kind: ResourceType::Any, pattern: PatternType::Any, name: None },
            entry: EntryFilter::ANY,
        };
        assert_eq!(acls.matching(&any).into_iter().collect::<BTreeSet<_>>(), all);
    }
}
