//! DescribeUserScramCredentials and AlterUserScramCredentials (KIP-554), on the nodes below `/config/users`.

use std::collections::{BTreeMap, BTreeSet};

use broker_core::quota::Name;
use client::security::scram::{Credential, Hash, ITERATIONS_MAX, ITERATIONS_MIN};
use wire::Str;
use wire::kafka::alter_user_scram_credentials::AlterUserScramCredentialsResult;
use wire::kafka::describe_user_scram_credentials::{CredentialInfo, DescribeUserScramCredentialsResult};
use wire::kafka::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse, DescribeUserScramCredentialsRequest,
    DescribeUserScramCredentialsResponse, ErrorCode,
};

use super::{Call, text};
use crate::zk::ZkError;

const NO_NAME: &str = "Username must not be empty";

/// An error code and its text.
type Refusal = (ErrorCode, String);

pub async fn describe(
    call: &Call<'_>,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let asked: Vec<Str> = request.users.unwrap_or_default().into_iter().map(|user| user.name).collect();
    let described = match asked.is_empty() {
        true => describe_all(call).await,
        false => Ok(describe_some(call, &asked).await),
    };
    match described {
        // No error's message is not null here, in Java.
        Ok(results) => DescribeUserScramCredentialsResponse {
            results,
            error_message: Some(Str::default()),
            ..Default::default()
        },
        Err(error) => DescribeUserScramCredentialsResponse {
            error_code: ErrorCode::UNKNOWN_SERVER_ERROR,
            error_message: text(error.to_string()),
            ..Default::default()
        },
    }
}

/// Everybody who has a credential, by the name that the node in ZooKeeper has: Java does not decode it here.
async fn describe_all(call: &Call<'_>) -> Result<Vec<DescribeUserScramCredentialsResult>, ZkError> {
    let mut results = Vec::new();
    let zk = call.broker.zk();
    for user in zk.users().await? {
        let config = zk.user(&user).await?;
        if has_credential(&config) {
            results.push(described(Name::Named(user).node().into(), Ok(config)));
        }
    }
    results.sort_by(|one, other| one.user.cmp(&other.user));
    Ok(results)
}

async fn describe_some(call: &Call<'_>, asked: &[Str]) -> Vec<DescribeUserScramCredentialsResult> {
    let mut results = Vec::new();
    let mut seen = BTreeSet::new();
    for user in asked {
        if !seen.insert(user) {
            continue;
        }
        let config = if user.is_empty() {
            Err((ErrorCode::RESOURCE_NOT_FOUND, NO_NAME.to_owned()))
        } else if asked.iter().filter(|other| *other == user).count() > 1 {
            let why = format!(
                "Cannot describe SCRAM credentials for the same user twice in a single request: {user}"
            );
            Err((ErrorCode::DUPLICATE_RESOURCE, why))
        } else {
            match call.broker.zk().user(user).await {
                Ok(config) if has_credential(&config) => Ok(config),
                Ok(_) => {
                    let why = format!("Attempt to describe a user credential that does not exist: {user}");
                    Err((ErrorCode::RESOURCE_NOT_FOUND, why))
                }
                Err(error) => Err((ErrorCode::UNKNOWN_SERVER_ERROR, error.to_string())),
            }
        };
        results.push(described(user.clone(), config));
    }
    results
}

fn has_credential(config: &BTreeMap<String, String>) -> bool {
    Hash::ALL.iter().any(|hash| config.contains_key(hash.mechanism()))
}

fn described(
    user: Str,
    config: Result<BTreeMap<String, String>, Refusal>,
) -> DescribeUserScramCredentialsResult {
    let mut result = DescribeUserScramCredentialsResult {
        user,
        error_message: Some(Str::default()),
        ..Default::default()
    };
    match config {
        Ok(config) => {
            let info = |hash: Hash| {
                let credential = Credential::parse(config.get(hash.mechanism())?)?;
                let iterations = i32::try_from(credential.iterations).ok()?;
                Some(CredentialInfo { mechanism: hash.number(), iterations })
            };
            result.credential_infos = Hash::ALL.into_iter().filter_map(info).collect();
        }
        Err((code, why)) => {
            result.error_code = code;
            result.error_message = text(why);
        }
    }
    result
}

/// What is to become of a user: a credential for a mechanism, or none any more.
type Changes = Vec<(Hash, Option<Credential>)>;

/// Of an empty password no credential can be made. Java learns of it while it prepares what is right with all users, and
/// changes none of them.
fn has_empty_password(request: &AlterUserScramCredentialsRequest, user: &str) -> bool {
    request.upsertions.iter().any(|one| one.name == user && one.salted_password.is_empty())
}

pub async fn alter(
    call: &Call<'_>,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    let governs = call.broker.is_controller();
    let (mut results, mut right) = (Vec::new(), Vec::new());
    let mut told = |user: Str, (error_code, why): Refusal| {
        let error_message = if error_code.is_ok() { Some(Str::default()) } else { text(why) };
        results.push(AlterUserScramCredentialsResult { user, error_code, error_message });
    };
    for (user, changes) in changes(&request) {
        let changed = match changes {
            _ if !governs => Err((ErrorCode::NOT_CONTROLLER, ErrorCode::NOT_CONTROLLER.message().to_owned())),
            Ok(changes) => changed(call, &user, changes).await,
            Err(refusal) => Err(refusal),
        };
        match changed {
            Ok(config) => right.push((user, config)),
            Err(refusal) => told(user, refusal),
        }
    }
    let fails = right.iter().any(|(user, _)| has_empty_password(&request, user));
    for (user, config) in right {
        let outcome = match fails {
            true => {
                Err((ErrorCode::UNKNOWN_SERVER_ERROR, ErrorCode::UNKNOWN_SERVER_ERROR.message().to_owned()))
            }
            false => call.broker.zk().change_user(&user, &config).await.map_err(failed),
        };
        if outcome.is_ok() {
            // Here it counts at once; the others hear of it.
            call.broker.users.read(&user, &config);
        }
        told(user, outcome.err().unwrap_or_default());
    }
    AlterUserScramCredentialsResponse { results, ..Default::default() }
}

fn failed(error: ZkError) -> Refusal {
    (ErrorCode::UNKNOWN_SERVER_ERROR, error.to_string())
}

/// By user, what is asked for or what is wrong with it: one mistake, and nothing of the user changes. As in Java the last
/// mistake is told, those of deletions before those of credentials to set, and that something is asked for twice only if it is
/// the only one.
fn changes(request: &AlterUserScramCredentialsRequest) -> BTreeMap<Str, Result<Changes, Refusal>> {
    let mut all: BTreeMap<Str, Result<Changes, Refusal>> = BTreeMap::new();
    let mut take = |user: &Str, change: Result<(Hash, Option<Credential>), Refusal>| {
        let known = all.entry(user.clone()).or_insert_with(|| Ok(Vec::new()));
        match (known, change) {
            (known, Err(refusal)) => *known = Err(refusal),
            (Err(_), Ok(_)) => {}
            (Ok(changes), Ok(change)) if changes.iter().all(|(hash, _)| *hash != change.0) => {
                changes.push(change)
            }
            (known, Ok(_)) => {
                let why = "A user credential cannot be altered twice in the same request";
                *known = Err((ErrorCode::DUPLICATE_RESOURCE, why.to_owned()));
            }
        }
    };
    for deletion in &request.deletions {
        take(&deletion.name, mechanism(&deletion.name, deletion.mechanism).map(|hash| (hash, None)));
    }
    for upsertion in &request.upsertions {
        let change = mechanism(&upsertion.name, upsertion.mechanism).and_then(|hash| {
            let iterations = u32::try_from(upsertion.iterations).unwrap_or(0);
            let why = match iterations {
                ..ITERATIONS_MIN => "Too few iterations",
                ITERATIONS_MIN..=ITERATIONS_MAX => {
                    let (salted, salt) = (&upsertion.salted_password, &upsertion.salt);
                    return Ok((hash, Some(Credential::of_salted(hash, salted, salt, iterations))));
                }
                _ => "Too many iterations",
            };
            Err((ErrorCode::UNACCEPTABLE_CREDENTIAL, why.to_owned()))
        });
        take(&upsertion.name, change);
    }
    all
}

fn mechanism(user: &str, number: i8) -> Result<Hash, Refusal> {
    if user.is_empty() {
        return Err((ErrorCode::UNACCEPTABLE_CREDENTIAL, NO_NAME.to_owned()));
    }
    let unknown = || (ErrorCode::UNSUPPORTED_SASL_MECHANISM, "Unknown SCRAM mechanism".to_owned());
    Hash::of_number(number).ok_or_else(unknown)
}

/// What a user's settings are with these changes.
async fn changed(call: &Call<'_>, user: &str, changes: Changes) -> Result<BTreeMap<String, String>, Refusal> {
    let mut config = call.broker.zk().user(user).await.map_err(failed)?;
    for (hash, credential) in changes {
        match credential {
            Some(credential) => {
                config.insert(hash.mechanism().to_owned(), credential.text());
            }
            None if config.remove(hash.mechanism()).is_none() => {
                let why = "Attempt to delete a user credential that does not exist";
                return Err((ErrorCode::RESOURCE_NOT_FOUND, why.to_owned()));
            }
            None => {}
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use wire::kafka::alter_user_scram_credentials::{ScramCredentialDeletion, ScramCredentialUpsertion};

    use super::*;

    #[test]
    fn a_user_of_whom_something_is_wrong_is_refused_as_a_whole() {
        let set = |name: &'static str, mechanism: i8, iterations: i32| ScramCredentialUpsertion {
            name: name.into(),
            mechanism,
            iterations,
            ..Default::default()
        };
        let delete =
            |name: &'static str, mechanism: i8| ScramCredentialDeletion { name: name.into(), mechanism };
        let all = changes(&AlterUserScramCredentialsRequest {
            upsertions: vec![
                set("good", 1, 4096),
                set("good", 2, 16384),
                set("few", 1, 4095),
                set("many", 1, 16385),
                set("twice", 1, 4096),
                set("", 1, 4096),
                set("strange and few", 0, 4096),
                set("strange and few", 1, -1),
                set("twice and strange", 1, 4096),
                set("twice and strange", 1, 4096),
                set("few and strange", 1, 1),
            ],
            deletions: vec![
                delete("twice", 1),
                delete("strange", 0),
                delete("gone", 2),
                delete("twice and strange", 3),
                delete("few and strange", 3),
            ],
        });
        let of = |user: &str| match &all[user] {
            Ok(changes) => format!("{} changes", changes.len()),
            Err((code, why)) => format!("{} {why}", code.name()),
        };
        assert_eq!(of("good"), "2 changes");
        assert_eq!(of("gone"), "1 changes");
        assert_eq!(of("few"), "UNACCEPTABLE_CREDENTIAL Too few iterations");
        assert_eq!(of("many"), "UNACCEPTABLE_CREDENTIAL Too many iterations");
        assert_eq!(of(""), "UNACCEPTABLE_CREDENTIAL Username must not be empty");
        assert_eq!(of("strange"), "UNSUPPORTED_SASL_MECHANISM Unknown SCRAM mechanism");
        assert!(of("twice").starts_with("DUPLICATE_RESOURCE"));
        assert_eq!(of("strange and few"), of("few"));
        assert_eq!(of("few and strange"), of("few"));
        assert_eq!(of("twice and strange"), of("strange"));
    }

    #[test]
    fn of_an_empty_password_no_credential_is_made() {
        let set = |name: &'static str, password: &'static [u8]| ScramCredentialUpsertion {
            name: name.into(),
            salted_password: password.into(),
            ..Default::default()
        };
        let request = AlterUserScramCredentialsRequest {
            upsertions: vec![set("ann", b"salted"), set("bob", b"")],
            deletions: Vec::new(),
        };
        assert!(!has_empty_password(&request, "ann") && has_empty_password(&request, "bob"));
    }
}
