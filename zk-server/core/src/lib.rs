//! What a ZooKeeper server decides, without I/O: no clock, thread, socket, file, or global randomness.
//!
//! [`Peer::step`] takes one [`Event`] and says what is to be done as [`Effect`]s; `zk-server` and the simulator
//! in `tests` are loops round it. Inside:
//!
//! * `membership`: who the servers are, and while that changes, who they will be.
//! * `election`, `zab`: who leads, and the one order of transactions (leader, learner, sync).
//! * `front`: what a server owes its own clients: handshakes, requests in order, watches.
//! * `prepare`: request -> transaction, on the leader; `session`: who is alive there.
//! * `database` (`tree`, `acl`): transaction -> state, and the state as a snapshot.

pub mod acl;
pub mod audit;
pub mod auth;
pub mod config;
pub mod database;
mod digest_alg;
pub mod election;
mod ensemble_text;
pub mod event;
pub mod front;
mod hash;
pub mod local_session;
pub mod measure;
pub mod member;
pub mod membership;
mod path;
pub mod peer;
pub mod prepare;
pub mod quorums;
mod quota;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod rig;
pub mod sasl;
pub mod session;
pub mod throttle;
pub mod tree;
pub mod watch;
pub mod zab;

pub use config::{CoreConfig, Ensemble};
pub use database::Database;
pub use ensemble_text::TextError;
pub use event::{ConnId, Effect, Event, LinkId, LogLevel, Now};
pub use peer::Peer;
