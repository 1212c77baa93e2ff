//! `differ --kafka HOST:PORT --ours HOST:PORT --seeds FIRST..END`: sends the same sessions to a broker of Kafka 3.5.1 and to
//! one of ours, each alone in its cluster with broker id 1, and prints where answers differ.
//!
//! `--seed N --show`: one session, step by step. `--steps N`: requests of a session (40). `--api NAME`: requests of one API
//! only. `--recordings NAME|all`: the recorded sessions of that name, before the seeds. `--seconds N`: no session begins later. `--word KAFKAS=OURS=NAME`: texts that each side has of its own, and what they
//! stand as. `--kafka-logins`, `--ours-logins`: where they want a login. `--whole`: every API is asked in every version. `--on`: a difference does not end its session. Exit code 1: something differs that `docs/differences.md` does not list.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tests::differ::coverage::Coverage;
use tests::differ::listed::Listed;
use tests::differ::recording::Recording;
use tests::differ::replay::replay;
use tests::differ::session::{Address, Found, Plan, run};
use tests::differ::warm::warm;
use wire::kafka::{APIS, ApiKey};

struct Args {
    kafka: Address,
    ours: Address,
    seeds: Range<u64>,
    /// Which recordings, "all" for all of them.
    recordings: Option<String>,
    steps: usize,
    api: Option<ApiKey>,
    seconds: u64,
    shown: bool,
    /// Every API in every version has to be asked.
    whole: bool,
    /// Sessions do not end with their first difference.
    goes_on: bool,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(args) => sessions(&args),
        Err(why) => {
            eprintln!(
                "{why}\nusage: differ --kafka HOST:PORT --ours HOST:PORT [--seeds FIRST..END|--seed N] [--recordings NAME|all] [--steps N] [--api NAME] [--seconds N] [--word KAFKAS=OURS=NAME]... [--kafka-logins HOST:PORT --ours-logins HOST:PORT] [--whole] [--on] [--show]"
            );
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let address =
        || Address { address: SocketAddr::from(([127, 0, 0, 1], 0)), logins: None, own_words: Vec::new() };
    let mut args = Args {
        kafka: address(),
        ours: address(),
        seeds: 0..0,
        recordings: None,
        steps: 40,
        api: None,
        seconds: 3600,
        shown: false,
        whole: false,
        goes_on: false,
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--show" => args.shown = true,
            "--on" => args.goes_on = true,
            "--whole" => args.whole = true,
            _ => args.valued(&word, words.next().ok_or_else(|| format!("{word} needs a value"))?)?,
        }
    }
    let has_sessions = !args.seeds.is_empty() || args.recordings.is_some();
    if !has_sessions || args.kafka.address.port() == 0 || args.ours.address.port() == 0 {
        return Err("which brokers, and which seeds?".into());
    }
    for side in [&mut args.kafka, &mut args.ours] {
        for at in [Some(side.address), side.logins].into_iter().flatten() {
            side.own_words.push((at.port().to_string(), "<port>".into()));
        }
    }
    Ok(args)
}

impl Args {
    /// Takes a word that has a value.
    fn valued(&mut self, word: &str, value: String) -> Result<(), String> {
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        match word {
            "--kafka" => self.kafka.address = resolve(&value)?,
            "--ours" => self.ours.address = resolve(&value)?,
            "--kafka-logins" => self.kafka.logins = Some(resolve(&value)?),
            "--ours-logins" => self.ours.logins = Some(resolve(&value)?),
            "--seed" => self.seeds = number(&value)?..number(&value)? + 1,
            "--seeds" => {
                let (first, end) = value.split_once("..").ok_or_else(|| format!("{value} is no range"))?;
                self.seeds = number(first)?..number(end)?;
            }
            "--recordings" => self.recordings = Some(value),
            "--steps" => self.steps = number(&value)? as usize,
            "--seconds" => self.seconds = number(&value)?,
            "--api" => {
                let api = APIS.iter().find(|api| api.name == value && api.broker_versions.is_some());
                self.api = Some(api.ok_or_else(|| format!("there is no API {value}"))?.key);
            }
            "--word" => {
                let parts: Vec<&str> = value.split('=').collect();
                let [kafka, ours, name] = parts[..] else { return Err(format!("{value} is not A=B=NAME")) };
                self.kafka.own_words.push((kafka.into(), name.into()));
                self.ours.own_words.push((ours.into(), name.into()));
            }
            _ => return Err(format!("{word} is not known")),
        }
        Ok(())
    }
}

fn resolve(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("{text}: {error}"))?;
    found.next().ok_or_else(|| format!("{text} has no address"))
}

fn sessions(args: &Args) -> ExitCode {
    let (listed, begin) = (Listed::of_docs(), Instant::now());
    let (mut ran, mut compared, mut found) = (0, Coverage::default(), Vec::new());
    if let Err(error) = warm(&args.kafka).and_then(|()| warm(&args.ours)) {
        println!("{error}");
        return ExitCode::from(2);
    }
    // Recordings have a name for their topics and groups that no other run has.
    let token = format!("r{:07}", std::process::id() % 10_000_000);
    let recordings = match &args.recordings {
        None => Vec::new(),
        Some(name) => match Recording::all(token.as_bytes().try_into().expect("8 bytes")) {
            Ok(all) => all.into_iter().filter(|one| name == "all" || one.name == *name).collect(),
            Err(why) => {
                println!("{why}");
                return ExitCode::from(2);
            }
        },
    };
    if args.recordings.is_some() && recordings.is_empty() {
        println!("there is no such recording");
        return ExitCode::from(2);
    }
    for recording in &recordings {
        match replay(recording, &token, &args.kafka, &args.ours, &listed, args.shown) {
            Ok(report) => {
                println!("{}: {} answers", recording.name, report.compared.total());
                ran += 1;
                compared.add(&report.compared);
                found.extend(report.found);
            }
            Err(error) => {
                println!("{error}");
                return ExitCode::from(2);
            }
        }
    }
    for seed in args.seeds.clone() {
        if begin.elapsed() > Duration::from_secs(args.seconds) {
            break;
        }
        let plan = Plan { seed, steps: args.steps, api: args.api, shown: args.shown, goes_on: args.goes_on };
        match run(&plan, &args.kafka, &args.ours, &listed) {
            Ok(report) => {
                ran += 1;
                compared.add(&report.compared);
                found.extend(report.found);
            }
            Err(error) => {
                println!("seed {seed}: {error}");
                return ExitCode::from(2);
            }
        }
    }
    let unlisted = tell(&found);
    let missing = compared.missing();
    println!("{}never asked: {}", compared.table(), missing.join(", "));
    println!(
        "{ran} sessions, {} answers compared in {} s: {unlisted} differences that are not listed",
        compared.total(),
        begin.elapsed().as_secs()
    );
    if unlisted > 0 || args.whole && !missing.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Prints each kind of difference once, with how often it came and one seed; counts those that are not listed.
fn tell(found: &[Found]) -> usize {
    let mut kinds: BTreeMap<(bool, &str, &str), Vec<&Found>> = BTreeMap::new();
    for one in found {
        kinds.entry((one.listed, one.api.name, &one.difference.path)).or_default().push(one);
    }
    for ((listed, api, path), ones) in &kinds {
        println!("{} {api} {path}: {} times", if *listed { "listed" } else { "DIFFERS" }, ones.len());
        for one in ones.iter().take(if *listed { 0 } else { 4 }) {
            println!("    {} step {} v{}: {}", one.session, one.step, one.version, one.request);
            println!("      kafka {}\n      ours  {}", one.difference.kafka, one.difference.ours);
        }
    }
    found.iter().filter(|one| !one.listed).count()
}
