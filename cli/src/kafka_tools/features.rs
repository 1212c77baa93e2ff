//! `kafka-features`: which features a cluster has, and changes of their levels. Clusters on ZooKeeper have none.

use super::argparse::{Arg, Command, Parser, Refusal, Words};
use super::{Stop, Terse, admin_of, json, run};
use crate::Call;
use client::cluster::Target;
use client::{Admin, ClientError};
use serde_json::json as document;
use std::collections::BTreeMap;
use std::process::ExitCode;
use wire::kafka::update_features::FeatureUpdateKey;
use wire::kafka::{ApiVersionsRequest, ApiVersionsResponse, UpdateFeaturesRequest, UpdateFeaturesResponse};

const METADATA: &str = "metadata.version";

const LEVEL: Arg = Arg::text(&["--metadata"], "METADATA", "The metadata version, such as 3.5-IV2.");
const FEATURE: Arg = Arg::text(&["--feature"], "FEATURE", "feature=level; may be repeated.");
const UNSAFE: Arg = Arg::flag(&["--unsafe"], "Also where metadata may be lost.");
const DRY_RUN: Arg = Arg::flag(&["--dry-run"], "Only checks whether it could be done.");

pub const PARSER: Parser = Parser {
    prog: "kafka-features",
    description: "Shows and changes the features of a cluster.",
    args: &[
        Arg::text(&["--bootstrap-server"], "BOOTSTRAP_SERVER", "The brokers to start with.").required(),
        Arg::text(&["--command-config"], "COMMAND_CONFIG", "File with settings for the admin client."),
    ],
    one_of: &[],
    commands: &[
        Command { name: "describe", doc: "The features that there are.", args: &[json::ARG] },
        Command { name: "upgrade", doc: "Raises levels.", args: &[LEVEL, FEATURE, DRY_RUN] },
        Command { name: "downgrade", doc: "Lowers levels.", args: &[LEVEL, FEATURE, UNSAFE, DRY_RUN] },
        Command {
            name: "disable",
            doc: "Lowers levels to zero.",
            args: &[Arg::text(&["--feature"], "FEATURE", "The feature; may be repeated."), UNSAFE, DRY_RUN],
        },
    ],
};

/// The metadata versions that have a level of their own, lowest first: `3.0-IV1` is 1.
const LEVELS: [&str; 11] = [
    "3.0-IV1", "3.1-IV0", "3.2-IV0", "3.3-IV0", "3.3-IV1", "3.3-IV2", "3.3-IV3", "3.4-IV0", "3.5-IV0",
    "3.5-IV1", "3.5-IV2",
];
/// Versions from before there were levels; each stands for its `-IV` versions too.
const BEFORE_LEVELS: [&str; 21] = [
    "0.8.0", "0.8.1", "0.8.2", "0.9.0", "0.10.0", "0.10.1", "0.10.2", "0.11.0", "1.0", "1.1", "2.0", "2.1",
    "2.2", "2.3", "2.4", "2.5", "2.6", "2.7", "2.8", "3.0-IV0", "0.10",
];

pub fn main(call: &Call) -> ExitCode {
    super::end_terse(match PARSER.parse(&call.args) {
        Ok(words) => features(&words),
        Err(Refusal::Help(help)) => {
            print!("{help}");
            Ok(())
        }
        Err(Refusal::Wrong { why, .. }) => {
            Err(Terse::Said(format!("Command line error: {why}. Type --help for help.")))
        }
    })
}

fn features(words: &Words) -> Result<(), Terse> {
    let config = words.text("--command-config");
    if let Some(missing) = config.filter(|path| !std::path::Path::new(path).exists()) {
        return Err(Terse::Said(format!("Properties file {missing} does not exists!")));
    }
    let bootstrap = words.text("--bootstrap-server").unwrap_or_default();
    // Here Java leaves what it cannot make to its default handler.
    let options = admin_of(bootstrap, config).map_err(Terse::Stopped)?;
    let admin = Admin::new(options);
    match words.command {
        Some("describe") => run(describe(&admin, words.has("--json")))?,
        Some(verb) => {
            let updates = updates(verb, words)?;
            let kind = match (verb, words.has("--unsafe")) {
                ("upgrade", _) => Kind::Upgrade,
                (_, false) => Kind::Downgrade,
                (_, true) => Kind::UnsafeDowngrade,
            };
            run(update(&admin, verb, kind, &updates, words.has("--dry-run")))?
        }
        None => Ok(()),
    }
}

fn level_text(feature: &str, level: i16) -> String {
    if feature != METADATA {
        return level.to_string();
    }
    let named = usize::try_from(level - 1).ok().and_then(|at| LEVELS.get(at));
    named.map_or_else(|| format!("UNKNOWN [{level}]"), |name| (*name).to_owned())
}

/// `3.5` is the last version of that release. -1: from before there were levels.
fn level_of(version: &str) -> Option<i16> {
    if let Some(at) = LEVELS.iter().rposition(|name| {
        *name == version || name.split_once("-IV").is_some_and(|(release, _)| release == version)
    }) {
        return Some(at as i16 + 1);
    }
    let release = version.split_once("-IV").map_or(version, |(release, _)| release);
    (BEFORE_LEVELS.contains(&version) || BEFORE_LEVELS.contains(&release)).then_some(-1)
}

async fn describe(admin: &Admin, as_json: bool) -> Result<(), Terse> {
    let failed = |error: ClientError| Terse::executed("describeFeatures", error).uncaught();
    let request = ApiVersionsRequest {
        client_software_name: "menagerie".into(),
        client_software_version: env!("CARGO_PKG_VERSION").into(),
    };
    let answer = admin.call(&Target::Any, &request, |answer| answer.error_code).await.map_err(failed)?;
    ClientError::check(answer.error_code, &None).map_err(failed)?;
    let rows = rows(&answer);
    if as_json {
        let all: Vec<serde_json::Value> = rows
            .into_iter()
            .map(|row| {
                document!({
                    "feature": row.name, "min_version": row.min, "max_version": row.max,
                    "finalized_version": row.finalized, "epoch": row.epoch,
                })
            })
            .collect();
        json::print(&document!({ "features": all }));
        return Ok(());
    }
    for row in rows {
        let epoch = row.epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
        println!(
            "Feature: {name}\tSupportedMinVersion: {}\tSupportedMaxVersion: {}\tFinalizedVersionLevel: {}\tEpoch: {epoch}",
            level_text(&row.name, row.min),
            level_text(&row.name, row.max),
            level_text(&row.name, row.finalized),
            name = row.name,
        );
    }
    Ok(())
}

struct Row {
    name: String,
    min: i16,
    max: i16,
    finalized: i16,
    epoch: Option<i64>,
}

fn rows(answer: &ApiVersionsResponse) -> Vec<Row> {
    let mut rows: Vec<Row> = (answer.supported_features.iter())
        .map(|feature| Row {
            name: feature.name.to_string(),
            min: feature.min_version,
            max: feature.max_version,
            finalized: (answer.finalized_features.iter())
                .find(|one| one.name == feature.name)
                .map_or(0, |one| one.max_version_level),
            epoch: Some(answer.finalized_features_epoch).filter(|epoch| *epoch >= 0),
        })
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// The levels that are asked for, by feature.
fn updates(verb: &str, words: &Words) -> Result<BTreeMap<String, i16>, Terse> {
    let mut updates = BTreeMap::new();
    if let Some(version) = words.text("--metadata") {
        let level = level_of(version).ok_or_else(|| {
            let known = LEVELS[3..].join(", ");
            Terse::Said(format!(
                "Unsupported metadata version {version}. Supported metadata versions are {known}"
            ))
        })?;
        updates.insert(METADATA.to_owned(), level);
    }
    for given in words.texts("--feature") {
        let (name, level) = if verb == "disable" { (given.as_str(), 0) } else { name_and_level(given)? };
        if updates.insert(name.to_owned(), level).is_some() {
            return Err(Terse::Said(format!("Feature {name} was specified more than once.")));
        }
    }
    match updates.is_empty() {
        true => Err(Terse::Said(format!("You must specify at least one feature to {verb}"))),
        false => Ok(updates),
    }
}

fn name_and_level(given: &str) -> Result<(&str, i16), Terse> {
    let why = |why: &str| Terse::Said(format!("Can't parse feature=level string {given}: {why}"));
    let (name, level) = given.split_once('=').ok_or_else(|| why("equals sign not found."))?;
    let level = level.trim();
    let number = level.parse().map_err(|_| why(&format!("unable to parse {level} as a short.")))?;
    Ok((name.trim(), number))
}

async fn update(
    admin: &Admin,
    verb: &str,
    kind: Kind,
    updates: &BTreeMap<String, i16>,
    dry_run: bool,
) -> Result<(), Terse> {
    if updates.values().any(|level| *level < 0) {
        let why = "Cannot specify a negative version level.".to_owned();
        return Err(Terse::Stopped(Stop::Uncaught("java.lang.IllegalArgumentException", why)));
    }
    let upgrade_type = match kind {
        Kind::Upgrade => 1,
        Kind::Downgrade => 2,
        Kind::UnsafeDowngrade => 3,
    };
    let request = UpdateFeaturesRequest {
        timeout_ms: 30_000,
        feature_updates: updates
            .iter()
            .map(|(feature, level)| FeatureUpdateKey {
                feature: feature.as_str().into(),
                max_version_level: *level,
                allow_downgrade: upgrade_type != 1,
                upgrade_type,
            })
            .collect(),
        validate_only: dry_run,
    };
    let answer = admin.call(&Target::Controller, &request, |answer| answer.error_code).await;
    let errors = errors_of(updates, answer);
    let failures = errors.values().filter(|error| error.is_some()).count();
    for (feature, error) in &errors {
        let level = updates[*feature];
        match (error, verb) {
            (Some(why), _) => {
                let could = if dry_run { "Can not" } else { "Could not" };
                let what = match verb {
                    "disable" => format!("disable {feature}"),
                    _ => format!("{verb} {feature} to {level}"),
                };
                println!("{could} {what}. {why}");
            }
            (None, _) => {
                let was = if dry_run { "can be" } else { "was" };
                let what = match verb {
                    "disable" => "disabled.".to_owned(),
                    _ => format!("{verb}d to {level}."),
                };
                println!("{feature} {was} {what}");
            }
        }
    }
    match failures {
        0 => Ok(()),
        some => Err(Terse::Said(format!("{some} out of {} operation(s) failed.", updates.len()))),
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Upgrade,
    Downgrade,
    UnsafeDowngrade,
}

/// What became of each feature: an error of the request as a whole is everybody's.
fn errors_of(
    updates: &BTreeMap<String, i16>,
    answer: Result<UpdateFeaturesResponse, ClientError>,
) -> BTreeMap<&str, Option<String>> {
    let answer = answer.and_then(|answer| {
        ClientError::check(answer.error_code, &answer.error_message)?;
        Ok(answer)
    });
    let each = |feature: &String| match &answer {
        Err(error) => Some(error.to_string()),
        Ok(answer) => {
            let own = answer.results.iter().find(|one| *one.feature == **feature);
            own.and_then(|own| ClientError::check(own.error_code, &own.error_message).err())
                .map(|error| error.to_string())
        }
    };
    updates.keys().map(|feature| (feature.as_str(), each(feature))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_stands_for_its_last_level() {
        assert_eq!(level_of("3.5"), Some(11));
        assert_eq!(level_of("3.3-IV1"), Some(5));
        assert_eq!(level_of("2.8"), Some(-1));
        assert_eq!(level_of("2.8-IV1"), Some(-1));
        assert_eq!(level_of("9"), None);
        assert_eq!(level_text(METADATA, 11), "3.5-IV2");
        assert_eq!(level_text(METADATA, 99), "UNKNOWN [99]");
        assert_eq!(level_text("x", 3), "3");
    }

    #[test]
    fn features_and_levels_are_read_or_named() {
        let said = |line: &[&str]| {
            let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
            let words = PARSER.parse(&words).unwrap();
            match updates(words.command.unwrap(), &words) {
                Err(Terse::Said(why)) => why,
                Ok(updates) => format!("{updates:?}"),
                Err(_) => unreachable!(),
            }
        };
        let at = ["--bootstrap-server", "b:1"];
        let with = |rest: &[&'static str]| said(&[&at[..], rest].concat());
        assert_eq!(with(&["upgrade"]), "You must specify at least one feature to upgrade");
        assert_eq!(with(&["upgrade", "--feature", "x = 1"]), r#"{"x": 1}"#);
        assert_eq!(
            with(&["upgrade", "--feature", "x"]),
            "Can't parse feature=level string x: equals sign not found."
        );
        assert_eq!(
            with(&["upgrade", "--feature", "x=y"]),
            "Can't parse feature=level string x=y: unable to parse y as a short."
        );
        assert_eq!(
            with(&["disable", "--feature", "x", "--feature", "x"]),
            "Feature x was specified more than once."
        );
        assert!(with(&["upgrade", "--metadata", "9"]).starts_with("Unsupported metadata version 9. "));
    }
}
