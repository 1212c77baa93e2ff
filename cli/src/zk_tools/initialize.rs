//! `zkServer-initialize [--configfile FILE] [--myid N] [--force]`: makes a server's folders, so that it may start with
//! nothing in them.

use crate::Call;
use crate::zk_server::place::Place;
use base::Properties;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    config: Option<String>,
    myid: String,
    force: bool,
}

/// How the words end.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Help,
    Unknown(String),
}

pub fn main(call: &Call) -> ExitCode {
    let (place, words) = Place::of_words(&call.args);
    let default = place.file.display().to_string();
    match wish(words) {
        Ok(wish) => match initialize(&wish, Path::new(wish.config.as_ref().unwrap_or(&default))) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(why) => println!("{why}"),
        },
        Err(refused) => {
            if let Refused::Unknown(word) = refused {
                println!("Unknown option: {word}");
            }
            print_usage(&call.name, &default);
        }
    }
    ExitCode::FAILURE
}

fn print_usage(name: &str, config: &str) {
    println!(
        "usage: {name} <parameters>
  Optional parameters:
     -h                                                    Display this message
     --help                                                Display this message
     --configfile={config:<40} ZooKeeper config file
     --myid=#                                              Set the myid to be used, if any (1-255)
     --force                                               Force creation of the data/txnlog dirs"
    );
}

fn wish(words: &[String]) -> Result<Wish, Refused> {
    let mut wish = Wish::default();
    let mut words = words.iter();
    // An empty word ends them, as in the script.
    while let Some(word) = words.next().filter(|word| !word.is_empty()) {
        match (word.as_str(), word.split_once('=').filter(|(_, value)| !value.is_empty())) {
            ("--configfile", _) => wish.config = Some(words.next().ok_or(Refused::Help)?.clone()),
            (_, Some(("--configfile", file))) => wish.config = Some(file.into()),
            ("--myid", _) => wish.myid = words.next().ok_or(Refused::Help)?.clone(),
            (_, Some(("--myid", myid))) => wish.myid = myid.into(),
            ("--force", _) => wish.force = true,
            ("-h" | "--help", _) => return Err(Refused::Help),
            _ => return Err(Refused::Unknown(word.clone())),
        }
    }
    Ok(wish)
}

/// The error is what the tool says.
fn initialize(wish: &Wish, config: &Path) -> Result<(), String> {
    if !config.exists() {
        return Err(format!("Unable to find config file at {}", config.display()));
    }
    let keys = Properties::read(config).map_err(|error| error.to_string())?;
    let folder = |key: &str| {
        let value = keys.get(key).map(|entry| entry.value.trim().to_owned());
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    let Some(data) = folder("dataDir") else {
        return Err(format!("Unable to determine dataDir from {}", config.display()));
    };
    let logs = folder("dataLogDir");
    if wish.force {
        println!("Force enabled, data/txnlog directories will be re-initialized");
    } else {
        for (what, folder) in [("data", Some(&data)), ("txnlog", logs.as_ref())] {
            if let Some(folder) = folder.filter(|folder| folder.join("version-2").is_dir()) {
                return Err(format!(
                    "ZooKeeper {what} directory already exists at {} (or use --force to force re-initialization)",
                    folder.display()
                ));
            }
        }
    }
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    for folder in [Some(&data), logs.as_ref()].into_iter().flatten() {
        renew(folder).map_err(|error| failed(folder, error))?;
    }
    let myid = data.join("myid");
    if wish.myid.is_empty() {
        println!("No myid provided, be sure to specify it in {} if using non-standalone", myid.display());
    } else {
        println!("Using myid of {}", wish.myid);
        fs::write(&myid, format!("{}\n", wish.myid)).map_err(|error| failed(&myid, error))?;
    }
    let marker = data.join("initialize");
    File::create(&marker).map(drop).map_err(|error| failed(&marker, error))
}

/// Removes what a server keeps there, and nothing else.
fn renew(folder: &Path) -> io::Result<()> {
    let there = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    there(fs::remove_file(folder.join("myid")))?;
    there(fs::remove_dir_all(folder.join("version-2")))?;
    fs::create_dir_all(folder.join("version-2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Wish, Refused> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        wish(&words)
    }

    #[test]
    fn words_are_understood_in_both_forms() {
        let wanted = Wish { config: Some("f".into()), myid: "3".into(), force: true };
        assert_eq!(asked("--configfile f --myid 3 --force").unwrap(), wanted);
        assert_eq!(asked("--configfile=f --myid=3 --force").unwrap(), wanted);
        assert_eq!(asked("--myid="), Err(Refused::Unknown("--myid=".into())));
        assert_eq!(asked("--help"), Err(Refused::Help));
        assert_eq!(asked("--configfile"), Err(Refused::Help));
    }

    #[test]
    fn folders_are_made_once_and_again_only_by_force() {
        let folder = tempfile::tempdir().unwrap();
        let (data, config) = (folder.path().join("data"), folder.path().join("zoo.cfg"));
        fs::write(&config, format!("dataDir={}\n", data.display())).unwrap();
        let with = |myid: &str, force| Wish { config: None, myid: myid.into(), force };
        initialize(&with("3", false), &config).unwrap();
        assert_eq!(fs::read_to_string(data.join("myid")).unwrap(), "3\n");
        assert!(data.join("initialize").exists() && data.join("version-2").is_dir());
        fs::write(data.join("version-2/snapshot.0"), "x").unwrap();
        fs::write(data.join("other"), "x").unwrap();
        let again = initialize(&with("4", false), &config).unwrap_err();
        assert!(again.starts_with("ZooKeeper data directory already exists at "), "{again}");
        initialize(&with("", true), &config).unwrap();
        assert!(data.join("other").exists() && !data.join("myid").exists());
        assert_eq!(fs::read_dir(data.join("version-2")).unwrap().count(), 0);
    }
}
