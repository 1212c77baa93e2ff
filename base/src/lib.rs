//! What std lacks, for both servers and the tools: `.properties` and JAAS files, option tables, logs, metrics.

mod flood;
pub mod jaas;
pub mod logging;
pub mod metrics;
pub mod options;
pub mod properties;
pub mod tool_options;

pub use flood::{Flood, and_more};
pub use options::{Kind, Opt, Settings, Table};
pub use properties::{ConfigError, Entry, Origin, Properties};
pub use tool_options::{Given, OptionError, ToolOption, ToolOptions};
