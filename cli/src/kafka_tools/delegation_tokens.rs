//! `kafka-delegation-tokens`: makes, renews, ends and shows delegation tokens.

use super::{Failed, Stop, admin_options, end, help_or_version, json, require, rule_out, run, throwable};
use crate::Call;
use base::{Given, ToolOption, ToolOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use broker::acl::Principal;
use client::cluster::Target;
use client::{Admin, ClientError};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::process::ExitCode;
use wire::kafka::create_delegation_token::CreatableRenewers;
use wire::kafka::describe_delegation_token::{DescribeDelegationTokenOwner, DescribedDelegationToken};
use wire::kafka::{
    CreateDelegationTokenRequest, DescribeDelegationTokenRequest, ExpireDelegationTokenRequest,
    RenewDelegationTokenRequest,
};

const TABLE: ToolOptions = ToolOptions(&[
    ToolOption::text("bootstrap-server", "", "REQUIRED: the brokers to start with."),
    ToolOption::text(
        "command-config",
        "",
        "REQUIRED: file with settings for the admin client; tokens are given out over secured connections only.",
    ),
    ToolOption::flag("create", "Makes a token; --renewer-principal says who may renew it."),
    ToolOption::flag("describe", "Shows tokens; --owner-principal says whose."),
    ToolOption::flag("expire", "Ends a token after --expiry-time-period."),
    ToolOption::long_if_any(
        "expiry-time-period",
        "",
        "Milliseconds after which the token ends; -1 ends it at once.",
    ),
    ToolOption::text_if_any("hmac", "", "HMAC of the token."),
    json::OPTION,
    ToolOption::long_if_any(
        "max-life-time-period",
        "",
        "Milliseconds that the token may live; -1 is delegation.token.max.lifetime.ms of the brokers.",
    ),
    ToolOption::text_if_any("owner-principal", "", "A principal that owns tokens: type:name."),
    ToolOption::flag("renew", "Renews a token for --renew-time-period."),
    ToolOption::long_if_any(
        "renew-time-period",
        "",
        "Milliseconds for which the token is renewed; -1 is delegation.token.expiry.time.ms of the brokers.",
    ),
    ToolOption::text_if_any("renewer-principal", "", "A principal that may renew the token: type:name."),
]);

pub fn main(call: &Call) -> ExitCode {
    end(&TABLE, administer(call))
}

fn administer(call: &Call) -> Result<(), Stop> {
    let given = TABLE.parse(&call.args).map_err(|error| failed(error.exception(), &error.to_string()))?;
    help_or_version(
        call,
        &given,
        "This tool helps to create, renew, expire, or describe delegation tokens.",
    )?;
    check(&given)?;
    let options = admin_options(&given, "command-config").map_err(|stop| match stop {
        Stop::Uncaught(exception, message) => failed(exception, &message),
        stop => stop,
    })?;
    let done = run(async {
        let admin = Admin::new(options);
        if given.has("create") {
            create(&admin, &given).await
        } else if given.has("renew") {
            renew(&admin, &given).await
        } else if given.has("expire") {
            expire(&admin, &given).await
        } else {
            describe(&admin, &given).await
        }
    })?;
    done.map_err(|error| match error {
        Failed::Stop(stop) => stop,
        Failed::Client(error) => {
            let text = throwable(&error);
            eprintln!("{text}\njava.util.concurrent.ExecutionException: {text}\nCaused by: {text}");
            Stop::Exit(1)
        }
    })
}

/// As the real tool tells of whatever it catches: the message, and the trace.
fn failed(exception: &str, message: &str) -> Stop {
    eprintln!("{message}\n{exception}: {message}");
    Stop::Exit(1)
}

fn check(given: &Given) -> Result<(), Stop> {
    let actions = ["create", "renew", "expire", "describe"];
    if actions.iter().filter(|action| given.has(action)).count() != 1 {
        return Err(Stop::Usage(
            "Command must include exactly one action: --create, --renew, --expire or --describe".to_owned(),
        ));
    }
    require(given, &["bootstrap-server", "command-config"])?;
    for (action, needed) in [
        ("create", &["max-life-time-period"][..]),
        ("renew", &["hmac", "renew-time-period"]),
        ("expire", &["hmac", "expiry-time-period"]),
    ] {
        if given.has(action) {
            require(given, needed)?;
        }
    }
    if !given.has("describe") && !given.has("create") {
        let action = if given.has("renew") { "renew" } else { "expire" };
        rule_out(given, action, &["json"])?;
    }
    rule_out(given, "create", &["hmac", "renew-time-period", "expiry-time-period"])?;
    rule_out(
        given,
        "renew",
        &["renewer-principal", "max-life-time-period", "expiry-time-period", "owner-principal"],
    )?;
    rule_out(given, "expire", &["renew", "max-life-time-period", "renew-time-period", "owner-principal"])?;
    rule_out(given, "describe", &["renew-time-period", "max-life-time-period", "hmac", "expiry-time-period"])
}

fn number(given: &Given, option: &str) -> Result<i64, Stop> {
    // Given without a value it is null, which Java trips over.
    given.number(option)?.ok_or_else(|| {
        failed(
            "java.lang.NullPointerException",
            "Cannot invoke \"java.lang.Long.longValue()\" because the return value of \
             \"joptsimple.OptionSet.valueOf(joptsimple.OptionSpec)\" is null",
        )
    })
}

fn principals(given: &Given, option: &str) -> Result<Vec<Principal>, Stop> {
    let parse = |text: &String| {
        Principal::parse(text.trim())
            .map_err(|error| failed("java.lang.IllegalArgumentException", &error.to_string()))
    };
    given.texts(option).iter().map(parse).collect()
}

fn list(principals: impl Iterator<Item = String>) -> String {
    format!("[{}]", principals.collect::<Vec<_>>().join(", "))
}

fn hmac(given: &Given) -> Result<(String, Vec<u8>), Stop> {
    let text = given.text("hmac")?.unwrap_or_default().to_owned();
    let illegal = |_| failed("java.lang.IllegalArgumentException", "Illegal base64 character");
    let bytes = BASE64.decode(&text).map_err(illegal)?;
    Ok((text, bytes))
}

async fn create(admin: &Admin, given: &Given) -> Result<(), Failed> {
    let renewers = principals(given, "renewer-principal")?;
    let max_lifetime_ms = number(given, "max-life-time-period")?;
    if !given.has("json") {
        println!(
            "Calling create token operation with renewers :{} , max-life-time-period :{max_lifetime_ms}",
            list(renewers.iter().map(Principal::to_string))
        );
    }
    let owner = principals(given, "owner-principal")?.into_iter().next();
    let renewer = |one: &Principal| CreatableRenewers {
        principal_type: one.kind.clone(),
        principal_name: one.name.clone(),
    };
    let request = CreateDelegationTokenRequest {
        owner_principal_type: owner.as_ref().map(|owner| owner.kind.clone()),
        owner_principal_name: owner.map(|owner| owner.name),
        renewers: renewers.iter().map(renewer).collect(),
        max_lifetime_ms,
    };
    let made = admin.call(&Target::Any, &request, |response| response.error_code).await?;
    ClientError::check(made.error_code, &None)?;
    let shown = renewers.iter().map(|renewer| {
        wire::kafka::describe_delegation_token::DescribedDelegationTokenRenewer {
            principal_type: renewer.kind.clone(),
            principal_name: renewer.name.clone(),
        }
    });
    let token = DescribedDelegationToken {
        principal_type: made.principal_type,
        principal_name: made.principal_name,
        token_requester_principal_type: made.token_requester_principal_type,
        token_requester_principal_name: made.token_requester_principal_name,
        issue_timestamp: made.issue_timestamp_ms,
        expiry_timestamp: made.expiry_timestamp_ms,
        max_timestamp: made.max_timestamp_ms,
        token_id: made.token_id,
        hmac: made.hmac,
        renewers: shown.collect(),
    };
    match given.has("json") {
        true => json::print(&document(&[token])),
        false => {
            println!("Created delegation token with tokenId : {}", token.token_id);
            print_tokens(&[token]);
        }
    }
    Ok(())
}

async fn renew(admin: &Admin, given: &Given) -> Result<(), Failed> {
    let renew_period_ms = number(given, "renew-time-period")?;
    let (text, hmac) = hmac(given)?;
    println!("Calling renew token operation with hmac :{text} , renew-time-period :{renew_period_ms}");
    let request = RenewDelegationTokenRequest { hmac: hmac.into(), renew_period_ms };
    let done = admin.call(&Target::Any, &request, |response| response.error_code).await?;
    ClientError::check(done.error_code, &None)?;
    print!("Completed renew operation. New expiry date : {}", minute(done.expiry_timestamp_ms));
    Ok(())
}

async fn expire(admin: &Admin, given: &Given) -> Result<(), Failed> {
    let expiry_time_period_ms = number(given, "expiry-time-period")?;
    let (text, hmac) = hmac(given)?;
    println!(
        "Calling expire token operation with hmac :{text} , expire-time-period :{expiry_time_period_ms}"
    );
    let request = ExpireDelegationTokenRequest { hmac: hmac.into(), expiry_time_period_ms };
    let done = admin.call(&Target::Any, &request, |response| response.error_code).await?;
    ClientError::check(done.error_code, &None)?;
    print!("Completed expire operation. New expiry date : {}", minute(done.expiry_timestamp_ms));
    Ok(())
}

async fn describe(admin: &Admin, given: &Given) -> Result<(), Failed> {
    let owners = principals(given, "owner-principal")?;
    match owners.is_empty() {
        _ if given.has("json") => {}
        true => println!("Calling describe token operation for current user."),
        false => println!(
            "Calling describe token operation for owners: {}",
            list(owners.iter().map(Principal::to_string))
        ),
    }
    let owner =
        |one: Principal| DescribeDelegationTokenOwner { principal_type: one.kind, principal_name: one.name };
    // Nobody named is an empty list and not everybody, as in the real tool: nothing is shown then.
    let request = DescribeDelegationTokenRequest { owners: Some(owners.into_iter().map(owner).collect()) };
    let known = admin.call(&Target::Any, &request, |response| response.error_code).await?;
    ClientError::check(known.error_code, &None)?;
    match given.has("json") {
        true => json::print(&document(&known.tokens)),
        false => {
            print!("Total number of tokens : {}", known.tokens.len());
            print_tokens(&known.tokens);
        }
    }
    Ok(())
}

/// Local time to the minute.
fn minute(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M").to_string()
}

/// The tokens with their times in milliseconds; an HMAC is base64, as `--hmac` takes it.
fn document(tokens: &[DescribedDelegationToken]) -> Value {
    let token = |token: &DescribedDelegationToken| {
        let renewers =
            token.renewers.iter().map(|one| format!("{}:{}", one.principal_type, one.principal_name));
        json!({
            "token_id": &*token.token_id,
            "hmac": BASE64.encode(&token.hmac),
            "owner": format!("{}:{}", token.principal_type, token.principal_name),
            "requester":
                format!("{}:{}", token.token_requester_principal_type, token.token_requester_principal_name),
            "renewers": renewers.collect::<Vec<_>>(),
            "issue_timestamp_ms": token.issue_timestamp,
            "expiry_timestamp_ms": token.expiry_timestamp,
            "max_timestamp_ms": token.max_timestamp,
        })
    };
    json!({ "tokens": tokens.iter().map(token).collect::<Vec<_>>() })
}

fn print_tokens(tokens: &[DescribedDelegationToken]) {
    let row = |[id, hmac, owner, requester, renewers, issued, expires, max]: [&str; 8]| {
        println!(
            "\n{id:<15} {hmac:<30} {owner:<15} {requester:<15} {renewers:<25} {issued:<15} {expires:<15} {max:<15}"
        );
    };
    row(["TOKENID", "HMAC", "OWNER", "REQUESTER", "RENEWERS", "ISSUEDATE", "EXPIRYDATE", "MAXDATE"]);
    for token in tokens {
        let renewers =
            token.renewers.iter().map(|one| format!("{}:{}", one.principal_type, one.principal_name));
        row([
            &token.token_id,
            &BASE64.encode(&token.hmac),
            &format!("{}:{}", token.principal_type, token.principal_name),
            &format!("{}:{}", token.token_requester_principal_type, token.token_requester_principal_name),
            &list(renewers),
            &minute(token.issue_timestamp),
            &minute(token.expiry_timestamp),
            &minute(token.max_timestamp),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(words: &str) -> String {
        let args: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        match check(&TABLE.parse(&args).unwrap()) {
            Err(Stop::Usage(problem)) => problem,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn one_action_with_what_it_needs_and_nothing_else() {
        let at = "--bootstrap-server h:1 --command-config f";
        assert_eq!(problem(&format!("--create --max-life-time-period -1 {at}")), "Ok(())");
        assert_eq!(problem(&format!("--expire --hmac aa --expiry-time-period 5 {at}")), "Ok(())");
        for (words, expected) in [
            ("--create --renew", "Command must include exactly one action"),
            ("--describe --bootstrap-server h:1", "Missing required argument \"[command-config]\""),
            (&format!("--create {at}"), "Missing required argument \"[max-life-time-period]\""),
            (&format!("--renew --renew-time-period 1 {at}"), "Missing required argument \"[hmac]\""),
            (
                &format!("--expire --hmac aa --expiry-time-period 5 --json {at}"),
                "Option \"[expire]\" can't be used with option \"[json]\"",
            ),
            (
                &format!("--describe --hmac x {at}"),
                "Option \"[describe]\" can't be used with option \"[hmac]\"",
            ),
        ] {
            assert!(problem(words).starts_with(expected), "{}", problem(words));
        }
    }

    #[test]
    fn a_document_has_tokens_with_times_in_milliseconds() {
        let token = DescribedDelegationToken {
            principal_type: "User".into(),
            principal_name: "a".into(),
            token_id: "id".into(),
            hmac: vec![0, 1].into(),
            issue_timestamp: 1,
            expiry_timestamp: 2,
            max_timestamp: 3,
            ..Default::default()
        };
        let document = document(&[token]);
        let token = &document["tokens"][0];
        assert_eq!(
            (&token["owner"], &token["hmac"], &token["max_timestamp_ms"]),
            (&"User:a".into(), &"AAE=".into(), &3.into())
        );
        assert_eq!(token["renewers"], json!([]));
    }
}
