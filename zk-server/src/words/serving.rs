//! `srvr`, `conf`, `dirs`, `hash`: the server as a whole.

use super::{VERSION, View, mode_name};
use crate::config::HostPort;
use std::collections::BTreeSet;
use std::fmt::Write;
use zk_core::config::Role;
use zk_core::peer::{Mode, Status};

/// The ports of addresses, each once.
fn ports(addresses: &[HostPort]) -> String {
    let ports: BTreeSet<u16> = addresses.iter().map(|at| at.port).collect();
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join("|")
}

pub(super) fn srvr(view: &View, status: &Status, to: &mut String) {
    let _ = writeln!(to, "Zookeeper version: {VERSION}");
    figures(view, status, to);
}

/// What `srvr` and `stat` share: from the latencies on.
pub(super) fn figures(view: &View, status: &Status, to: &mut String) {
    let stats = &view.clients.stats;
    let latency = &stats.latency;
    let _ = writeln!(to, "Latency min/avg/max: {}/{:?}/{}", latency.min(), latency.mean(), latency.max);
    let _ = writeln!(to, "Received: {}", stats.received);
    let _ = writeln!(to, "Sent: {}", stats.sent);
    let _ = writeln!(to, "Connections: {}", view.clients.alive());
    let _ = writeln!(to, "Outstanding: {}", view.clients.outstanding());
    let _ = writeln!(to, "Zxid: 0x{:x}", status.last_zxid);
    let _ = writeln!(to, "Mode: {}", mode_name(status));
    let _ = writeln!(to, "Node count: {}", view.peer.database().node_count());
    if status.mode == Mode::Leading {
        let [last, min, max] = status.proposal_sizes.unwrap_or([-1; 3]);
        let _ = writeln!(to, "Proposal sizes last/min/max: {last}/{min}/{max}");
    }
}

pub(super) fn conf(view: &View, to: &mut String) {
    let config = view.config;
    let core = &config.core;
    let (data_folder, log_folder) = view.disk.folders();
    let (data_size, log_size) = view.disk.sizes();
    let server_id = if config.is_standalone() { 0 } else { core.myid };
    let _ = writeln!(to, "clientPort={}", config.client.as_ref().map_or(-1, |at| i32::from(at.port)));
    let secure = config.security.secure_client.as_ref().map_or(-1, |at| i32::from(at.port));
    let _ = writeln!(to, "secureClientPort={secure}");
    let _ = writeln!(to, "dataDir={}", data_folder.display());
    let _ = writeln!(to, "dataDirSize={data_size}");
    let _ = writeln!(to, "dataLogDir={}", log_folder.display());
    let _ = writeln!(to, "dataLogSize={log_size}");
    let _ = writeln!(to, "tickTime={}", core.tick_ms);
    let _ = writeln!(to, "maxClientCnxns={}", config.client_cnxns_max);
    let _ = writeln!(to, "minSessionTimeout={}", core.session_ms_min);
    let _ = writeln!(to, "maxSessionTimeout={}", core.session_ms_max);
    let _ = writeln!(to, "clientPortListenBacklog={}", config.client_backlog.unwrap_or(-1));
    let _ = writeln!(to, "serverId={server_id}");
    if let (Some(ensemble), Some(own)) = (&core.ensemble, config.members.get(&core.myid)) {
        let _ = writeln!(to, "initLimit={}", core.init_limit);
        let _ = writeln!(to, "syncLimit={}", core.sync_limit);
        let _ = writeln!(to, "electionAlg=3");
        let _ = writeln!(to, "electionPort={}", ports(&own.election));
        let _ = writeln!(to, "quorumPort={}", ports(&own.quorum));
        let _ = writeln!(to, "peerType={}", i32::from(own.role == Role::Observer));
        if !view.peer.status().read_only {
            let _ = write!(to, "membership: \n{}", ensemble.text);
        }
    }
}

pub(super) fn dirs(view: &View, to: &mut String) {
    let (data, log) = view.disk.sizes();
    let _ = writeln!(to, "datadir_size: {data}");
    let _ = writeln!(to, "logdir_size: {log}");
}

/// The tree's digest at every 128th transaction; unsigned, as Java's longs are printed as they are: signed.
pub(super) fn hash(view: &View, to: &mut String) {
    for entry in view.peer.database().digest_log() {
        let _ = writeln!(to, "{:x}: {}", entry.zxid, entry.digest);
    }
}
