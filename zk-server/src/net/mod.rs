//! Sockets: what client, election and quorum port have in common, and the client port itself.

pub(crate) mod client_port;
pub(crate) mod endpoint;
pub(crate) mod frames;
pub(crate) mod gate;
pub(crate) mod listen;
pub(crate) mod outlet;
pub(crate) mod peers;
pub(crate) mod route;
pub(crate) mod secure;
pub(crate) mod stream;
