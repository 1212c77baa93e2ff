//! Which files a call is about: `ZOOCFGDIR`, `ZOOCFG`, `ZOOPIDFILE`, `ZOO_LOG_DIR`, and the configuration itself.

use crate::install;
use base::Properties;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Place {
    /// `zoo.cfg`
    pub file: PathBuf,
    pub pid_file: PathBuf,
    pub log_dir: PathBuf,
    /// The file's keys; none where it cannot be read: the server itself tells why.
    pub keys: Properties,
    environment: Environment,
}

impl Place {
    /// Takes `--config FOLDER` off the words.
    pub fn folder_of(words: &[String]) -> (Option<PathBuf>, &[String]) {
        match words {
            [flag, folder, words @ ..] if flag == "--config" => (Some(PathBuf::from(folder)), words),
            words => (None, words),
        }
    }

    /// For the tools that take no file's name: the place, and the words without `--config FOLDER`.
    pub fn of_words(words: &[String]) -> (Place, &[String]) {
        let (folder, words) = Place::folder_of(words);
        (Place::find(folder, None), words)
    }

    /// `folder` is `--config`'s, `file` a name inside it or, with a slash, a path.
    pub fn find(folder: Option<PathBuf>, file: Option<&str>) -> Place {
        let bin = install::bin();
        let mut environment = Environment::default();
        let folder = folder.or_else(|| environment.path("ZOOCFGDIR")).unwrap_or_else(|| {
            let conf = bin.join("../conf");
            if conf.exists() { conf } else { bin.join("../etc/zookeeper") }
        });
        environment.source(&folder.join("zookeeper-env.sh"));
        environment.source(&folder.join("java.env"));
        let file = match file {
            Some(path) if path.contains('/') => PathBuf::from(path),
            Some(name) => folder.join(name),
            None => folder.join(environment.get("ZOOCFG").unwrap_or_else(|| "zoo.cfg".into())),
        };
        let keys = Properties::read(&file).unwrap_or_default();
        let data_dir = value(&keys, "dataDir").unwrap_or_default();
        let pid_file = environment
            .path("ZOOPIDFILE")
            .unwrap_or_else(|| PathBuf::from(format!("{data_dir}/zookeeper_server.pid")));
        let log_dir = environment.path("ZOO_LOG_DIR").unwrap_or_else(|| bin.join("../logs"));
        Place { file, pid_file, log_dir, keys, environment }
    }

    pub fn key(&self, key: &str) -> Option<&str> {
        value(&self.keys, key)
    }

    /// Makes the folders of pid file and logs. The error is the line that says which data folder is missing, where
    /// they must not be made.
    pub fn prepare_folders(&self) -> Result<(), String> {
        if self.environment.get("ZOO_DATADIR_AUTOCREATE_DISABLE").is_some() {
            for (key, what) in [("dataDir", "data"), ("dataLogDir", "txnlog")] {
                let folder = self.key(key).unwrap_or_default();
                if (key == "dataDir" || !folder.is_empty()) && !Path::new(folder).join("version-2").is_dir() {
                    return Err(format!(
                        "ZooKeeper {what} directory is missing at {folder} fix the path or run initialize"
                    ));
                }
            }
        }
        // Failures show when the files themselves are written.
        if let Some(folder) = self.pid_file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let _ = fs::create_dir_all(folder);
        }
        let _ = fs::create_dir_all(&self.log_dir);
        Ok(())
    }

    /// What a background start writes its output to.
    pub fn out_file(&self) -> PathBuf {
        let user = self.environment.get("USER").unwrap_or_default();
        self.log_dir.join(format!("zookeeper-{user}-server-{}.out", host_name()))
    }

    /// `SERVER_JVMFLAGS` and `JVMFLAGS` in the order in which Java would get them.
    pub fn jvm_flags(&self) -> String {
        let mut flags = String::new();
        if self.environment.get("ZOO_DATADIR_AUTOCREATE_DISABLE").is_some() {
            flags += "-Dzookeeper.datadir.autocreate=false ";
        }
        for name in ["SERVER_JVMFLAGS", "JVMFLAGS"] {
            flags += &self.environment.get(name).unwrap_or_default();
            flags.push(' ');
        }
        flags.trim().into()
    }
}

/// Empty counts as absent, as in the script.
fn value<'a>(keys: &'a Properties, key: &str) -> Option<&'a str> {
    keys.get(key).map(|entry| entry.value.trim()).filter(|value| !value.is_empty())
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => env::var("HOSTNAME").unwrap_or_default(),
        name => name.into(),
    }
}

/// The process's variables, under those that `zookeeper-env.sh` and `java.env` set.
#[derive(Default)]
struct Environment {
    set: Vec<(String, String)>,
}

impl Environment {
    /// Empty counts as unset, as in the script.
    fn get(&self, name: &str) -> Option<String> {
        let sourced = self.set.iter().find(|(set, _)| set == name).map(|(_, value)| value.clone());
        sourced.or_else(|| env::var(name).ok()).filter(|value| !value.is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// Lets a shell read the file, because such files are shell.
    fn source(&mut self, file: &Path) {
        if !file.is_file() {
            return;
        }
        let shell = Command::new("sh")
            .args(["-c", "set -a; . \"$0\" >&2; env -0"])
            .arg(file)
            .envs(self.set.clone())
            .output();
        let Ok(output) = shell else {
            return eprintln!("{}: there is no sh to read it", file.display());
        };
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.split('\0').filter_map(|line| line.split_once('='));
        self.set = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    }
}
