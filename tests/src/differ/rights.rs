//! Before a session about rights: what others left is taken away from both brokers, and its users get some.

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use wire::Str;
use wire::kafka::alter_client_quotas::{OpData, RequestEntityData, RequestEntryData};
use wire::kafka::alter_user_scram_credentials::{ScramCredentialDeletion, ScramCredentialUpsertion};
use wire::kafka::create_acls::AclCreation;
use wire::kafka::delete_acls::DeleteAclsFilter;
use wire::kafka::{
    AlterClientQuotasRequest, AlterUserScramCredentialsRequest, AnyRequest, AnyResponse, CreateAclsRequest,
    DeleteAclsRequest, DescribeClientQuotasRequest, DescribeUserScramCredentialsRequest,
};

use super::peer::Lane;

/// ACLs that a session with rights begins with.
const RIGHTS: usize = 14;
/// More than a session uses.
const PLENTY: f64 = 1e12;

/// No ACLs, no quotas but those that keep the session's own connections free, and one user with a password.
pub fn clear(look: &mut Lane, clients: &[&'static str]) -> std::io::Result<()> {
    let any = DeleteAclsFilter {
        resource_type_filter: 1,
        pattern_type_filter: 1,
        operation: 1,
        permission_type: 1,
        ..Default::default()
    };
    look.ask(DeleteAclsRequest { filters: vec![any] }.into(), 3)?;

    let mut entries = Vec::new();
    if let AnyResponse::DescribeClientQuotas(told) =
        look.ask(DescribeClientQuotasRequest::default().into(), 1)?
    {
        for entry in told.entries.unwrap_or_default() {
            let entity = entry.entity.into_iter();
            let ops = entry.values.into_iter();
            entries.push(RequestEntryData {
                entity: entity
                    .map(|part| RequestEntityData {
                        entity_type: part.entity_type,
                        entity_name: part.entity_name,
                    })
                    .collect(),
                ops: ops.map(|value| OpData { key: value.key, remove: true, ..Default::default() }).collect(),
            });
        }
    }
    look.ask(AlterClientQuotasRequest { entries, validate_only: false }.into(), 1)?;
    let part = |kind: &'static str, name: &'static str| RequestEntityData {
        entity_type: kind.into(),
        entity_name: Some(name.into()),
    };
    let free = |entity: Vec<RequestEntityData>, keys: &[&'static str]| RequestEntryData {
        entity,
        ops: keys.iter().map(|&key| OpData { key: key.into(), value: PLENTY, remove: false }).collect(),
    };
    let rates =
        ["producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"];
    let mut entries: Vec<_> = clients
        .iter()
        .map(|client| free(vec![part("user", "ANONYMOUS"), part("client-id", client)], &rates))
        .collect();
    let connections = OpData { key: "connection_creation_rate".into(), value: 1e6, remove: false };
    entries.push(RequestEntryData { entity: vec![part("ip", "127.0.0.1")], ops: vec![connections] });
    look.ask(AlterClientQuotasRequest { entries, validate_only: false }.into(), 1)?;

    let mut deletions = Vec::new();
    let everybody = DescribeUserScramCredentialsRequest { users: None };
    if let AnyResponse::DescribeUserScramCredentials(told) = look.ask(everybody.into(), 0)? {
        for user in told.results {
            deletions.extend(
                user.credential_infos.iter().map(|info| ScramCredentialDeletion {
                    name: user.user.clone(),
                    mechanism: info.mechanism,
                }),
            );
        }
    }
    look.ask(AlterUserScramCredentialsRequest { deletions, upsertions: Vec::new() }.into(), 0)?;
    let sam = [1, 2].map(|mechanism| ScramCredentialUpsertion {
        name: "sam".into(),
        mechanism,
        iterations: 4096,
        salt: b"salt of both"[..].into(),
        salted_password: vec![1; 32 * mechanism as usize].into(),
    });
    for one in sam {
        look.ask(
            AlterUserScramCredentialsRequest { deletions: Vec::new(), upsertions: vec![one] }.into(),
            0,
        )?;
    }
    Ok(())
}

/// Rights for the users of a session, drawn for both brokers from the same numbers.
pub fn rights(mut rng: ChaCha8Rng, prefix: &str) -> AnyRequest {
    let creations = (0..RIGHTS).map(|_| right(&mut rng, prefix)).collect();
    CreateAclsRequest { creations }.into()
}

fn right(rng: &mut ChaCha8Rng, prefix: &str) -> AclCreation {
    let mut below = |count: usize| rng.random_range(0..count);
    let (resource_type, names): (i8, &[&str]) = match below(10) {
        0..4 => (2, &["a", "a", "b", "new", "", "*"]),
        4..6 => (3, &["g", "h", "", "*"]),
        6 => (5, &["t", "u", "", "*"]),
        7 => (7, &["User:alice", "User:bob"]),
        _ => (4, &["kafka-cluster"]),
    };
    let name = names[below(names.len())];
    let (resource_name, pattern): (Str, i8) = match (resource_type, name) {
        (4 | 7, name) => (name.into(), 3),
        (_, "*") => ("*".into(), 3),
        (_, "") => (prefix.into(), 4),
        (_, name) => (format!("{prefix}{name}").into(), if below(5) == 0 { 4 } else { 3 }),
    };
    let operations: &[i8] = match resource_type {
        2 => &[2, 3, 3, 4, 4, 5, 6, 7, 8, 10, 11],
        3 => &[2, 3, 3, 6, 8],
        5 => &[2, 4, 4, 8],
        7 => &[2, 13, 14],
        _ => &[2, 5, 7, 8, 9, 10, 11, 12],
    };
    AclCreation {
        resource_type,
        resource_name,
        resource_pattern_type: pattern,
        principal: ["User:alice", "User:alice", "User:alice", "User:bob", "User:*"][below(5)].into(),
        host: ["*", "*", "127.0.0.1", "10.1.2.3"][below(4)].into(),
        operation: operations[below(operations.len())],
        permission_type: if below(5) == 0 { 2 } else { 3 },
    }
}
