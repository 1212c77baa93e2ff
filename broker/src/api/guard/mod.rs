//! Authorization round the handlers: what the sender may not touch is taken out of a request before its handler sees it,
//! and answered here. Where there is no authorizer nothing is ever taken out.
//!
//! Handlers whose answers depend on rights in other ways ask [`super::Call::may`] themselves: produce, fetch, metadata,
//! topics, transactions.

mod cluster;
mod configs;
mod groups;
mod offsets;

pub use cluster::*;
pub use configs::*;
pub use groups::*;
pub use offsets::*;
