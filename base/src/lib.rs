//! What std lacks, for both servers and the tools: `.properties` files, option tables, logs.

pub mod logging;
pub mod options;
pub mod properties;

pub use options::{Kind, Opt, Settings, Table};
pub use properties::{ConfigError, Entry, Origin, Properties};
