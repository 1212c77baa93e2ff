//! Log lines in the layouts that operators know, through `tracing`.
//!
//! The level is `info`, or what `RUST_LOG` says (`debug`, `zk_server=debug`, ...), until [`set_levels`] says something else.

use jiff::Zoned;
use std::fmt;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, Layer};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[2026-11-21 09:27:11,057] INFO message (target)`
    Kafka,
    /// `2026-11-21 09:27:11,057 [myid:1] - INFO  [target] - message`
    ZooKeeper,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
    /// Appended to.
    File(PathBuf),
    /// `DIR/NAME`, a link to the current hour's `DIR/NAME.yyyy-MM-dd-HH`; hours in UTC.
    Hourly {
        dir: PathBuf,
        name: String,
    },
}

static MYID: OnceLock<String> = OnceLock::new();

/// What stands in `[myid:]` from now on; the first call counts.
pub fn set_myid(myid: i64) {
    let _ = MYID.set(myid.to_string());
}

/// Why logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("cannot open log file {}: {source}", path.display())]
    File { path: PathBuf, source: tracing_appender::rolling::InitError },
    #[error("cannot open log file {}: {source}", path.display())]
    Open { path: PathBuf, source: std::io::Error },
    #[error("logging is already set up")]
    Twice,
}

/// What is logged: as it was configured, and the way to change it.
struct Filter {
    configured: Targets,
    current: reload::Handle<Targets, Layered<Vec<BoxedLayer>, Registry>>,
}

static FILTER: OnceLock<Filter> = OnceLock::new();

/// From which level on the configuration has this logged; the target `""` stands for all that it does not name.
pub fn configured_level(target: &str) -> LevelFilter {
    let Some(filter) = FILTER.get() else { return LevelFilter::INFO };
    let named = filter.configured.iter().filter(|(name, _)| target.starts_with(name));
    let longest = named.max_by_key(|(name, _)| name.len()).map(|(_, level)| level);
    longest.or(filter.configured.default_level()).unwrap_or(LevelFilter::OFF)
}

/// From now on these levels count: that of everything, and those of targets that begin with a name, the longest name first.
/// Nothing happens where logging was not set up.
pub fn set_levels<'a>(everything: LevelFilter, targets: impl Iterator<Item = (&'a str, LevelFilter)>) {
    let Some(filter) = FILTER.get() else { return };
    let wanted = Targets::new().with_default(everything).with_targets(targets);
    if let Err(error) = filter.current.reload(wanted) {
        tracing::error!("Levels of logging cannot be changed: {error}");
    }
}

fn configured(level: &str) -> Targets {
    let given = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    given.or_else(|| level.parse().ok()).unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO))
}

/// Sets the process's logging up, once, before any thread starts.
pub fn init(layout: Layout, outputs: &[Output]) -> Result<(), LoggingError> {
    init_at("info", layout, outputs)
}

/// As [`init`], from another level on: tools log from `warn`.
pub fn init_at(level: &str, layout: Layout, outputs: &[Output]) -> Result<(), LoggingError> {
    let configured = configured(level);
    let (filter, current) = reload::Layer::new(configured.clone());
    let mut layers = Vec::new();
    for output in outputs {
        let layer = Layer::new().event_format(Lines(layout)).with_ansi(false);
        layers.push(match output {
            Output::Stdout => Box::new(layer.with_writer(std::io::stdout)) as BoxedLayer,
            Output::Stderr => Box::new(layer.with_writer(std::io::stderr)),
            Output::File(path) => {
                let file = OpenOptions::new().append(true).create(true).open(path);
                let file = file.map_err(|source| LoggingError::Open { path: path.clone(), source })?;
                Box::new(layer.with_writer(Arc::new(file)))
            }
            Output::Hourly { dir, name } => Box::new(layer.with_writer(hourly(dir, name)?)),
        });
    }
    tracing_subscriber::registry().with(layers).with(filter).try_init().map_err(|_| LoggingError::Twice)?;
    let _ = FILTER.set(Filter { configured, current });
    Ok(())
}

/// Servers that start together in one installation may take the link's place from each other: who comes second tries again.
fn hourly(dir: &Path, name: &str) -> Result<RollingFileAppender, LoggingError> {
    const ATTEMPTS: u32 = 20;
    let build = || {
        let builder = RollingFileAppender::builder().rotation(Rotation::HOURLY);
        builder.filename_prefix(name).latest_symlink(name).build(dir)
    };
    for attempt in 1..ATTEMPTS {
        match build() {
            Ok(file) => return Ok(file),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(u64::from(attempt))),
        }
    }
    build().map_err(|source| LoggingError::File { path: dir.join(name), source })
}

type BoxedLayer = Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync>;

struct Lines(Layout);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = event.metadata().level().as_str();
        let target = event.metadata().target();
        prefix(self.0, &mut to, &Zoned::now(), level, target)?;
        context.field_format().format_fields(to.by_ref(), event)?;
        match self.0 {
            Layout::Kafka => writeln!(to, " ({target})"),
            Layout::ZooKeeper => writeln!(to),
        }
    }
}

fn prefix(layout: Layout, to: &mut impl fmt::Write, now: &Zoned, level: &str, target: &str) -> fmt::Result {
    let millis = now.millisecond();
    let seconds = now.strftime("%Y-%m-%d %H:%M:%S");
    match layout {
        Layout::Kafka => write!(to, "[{seconds},{millis:03}] {level} "),
        Layout::ZooKeeper => {
            let myid = MYID.get().map_or("", String::as_str);
            write!(to, "{seconds},{millis:03} [myid:{myid}] - {level:<5} [{target}] - ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    #[test]
    fn servers_that_start_together_all_get_their_log_file() {
        let dir = tempfile::tempdir().unwrap();
        let opened = || hourly(dir.path(), "server.log").map(drop).map_err(|error| error.to_string());
        std::thread::scope(|scope| {
            let openers: Vec<_> = (0..8).map(|_| scope.spawn(opened)).collect();
            openers.into_iter().for_each(|opener| opener.join().unwrap().unwrap());
        });
    }

    #[test]
    fn lines_begin_as_log4j_begins_them() {
        let now = date(2026, 11, 21).at(9, 27, 11, 57_000_000).to_zoned(TimeZone::UTC).unwrap();
        let mut line = String::new();
        prefix(Layout::Kafka, &mut line, &now, "INFO", "broker").unwrap();
        assert_eq!(line, "[2026-11-21 09:27:11,057] INFO ");
        line.clear();
        prefix(Layout::ZooKeeper, &mut line, &now, "WARN", "zk_server::disk").unwrap();
        assert_eq!(line, "2026-11-21 09:27:11,057 [myid:] - WARN  [zk_server::disk] - ");
    }
}
