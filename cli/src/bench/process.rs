//! Processes under measurement: started, asked for their CPU seconds and memory, stopped.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that runs while this value lives; killed when it is dropped.
#[derive(Debug)]
pub struct Measured {
    child: Child,
    pub name: String,
}

impl Measured {
    /// Starts `command`, both its outputs into `log`.
    pub fn start(name: String, command: &mut Command, log: &Path) -> Result<Measured> {
        let file = fs::File::create(log).with_context(|| format!("{}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Measured { child, name })
    }

    /// User and system CPU seconds so far.
    pub fn cpu_seconds(&self) -> Result<f64> {
        cpu_seconds_of(self.child.id())
    }

    /// Resident memory, bytes.
    pub fn rss(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("VmRSS")?.parse::<u64>()? * 1024)
    }

    /// Asks it to stop in good order.
    pub fn terminate(&self) -> Result<()> {
        Ok(rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.child),
            rustix::process::Signal::TERM,
        )?)
    }

    /// Whether it has come to its end, by itself or because it was told to.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// An error with the end of its log, if it has ended by itself.
    pub fn alive(&mut self, log: &Path) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            bail!(
                "{} ended with {status}:\n{}",
                self.name,
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
        Ok(())
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// User and system CPU seconds of a process so far.
pub fn cpu_seconds_of(process: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field may hold blanks and ends in the last parenthesis; utime and stime are 14 and 15.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Calls `check` until it is true; the time that it took.
pub fn wait_for(what: &str, at_most: Duration, mut check: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let begin = Instant::now();
    while !check()? {
        if begin.elapsed() > at_most {
            bail!("{what} did not come within {at_most:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(begin.elapsed())
}
