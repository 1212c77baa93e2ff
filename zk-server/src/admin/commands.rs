//! The commands, in one table, and the checks before any of them runs.

use super::json;
use crate::config::{Admin, HostPort};
use crate::disk::Disk;
use crate::metrics;
use crate::net::client_port::Origin;
use crate::server::clients::Client;
use crate::server::inbox::Inbox;
use crate::server::links::LinkStats;
use crate::server::stats::Sizes;
use crate::words::{self, VERSION, View, listing};
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use tracing::warn;
use wire::zk::Zxid;
use zk_core::config::Role;
use zk_core::peer::{Admission, Mode, Status};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
}

#[derive(Debug)]
pub(super) struct Asked {
    pub name: String,
    pub verb: Verb,
    pub arguments: Vec<(String, String)>,
    /// The header of that name.
    pub authorization: Option<String>,
    pub from: IpAddr,
}

impl Asked {
    fn argument(&self, name: &str) -> Option<&str> {
        self.arguments.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }
}

pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

/// What is to be done after the loop's turn.
pub(super) enum Next {
    Answer(Answer),
    /// The bytes of the state as of this zxid.
    Snapshot {
        disk: Disk,
        zxid: Zxid,
        streaming: bool,
    },
    /// What the request brings becomes the state.
    Restore {
        disk: Disk,
    },
    /// What is to be answered, but for a long list.
    List {
        name: &'static str,
        body: Fields,
        list: List,
    },
    /// No JSON, only this status: the wrong verb, as Java fails on it.
    Bare(StatusCode),
}

/// Which one: [`listing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Watches,
    WatchesByPath,
    Ephemerals,
}

pub(super) type Fields = Map<String, Value>;
type Run = fn(&Asked, &mut View<'_>, &mut Fields);

struct Command {
    /// The primary one first.
    names: &'static [&'static str],
    /// Only while clients are served.
    serving: bool,
    /// Only for somebody with all permissions on the root.
    protected: bool,
    verb: Verb,
    does: Does,
}

#[derive(Clone, Copy)]
enum Does {
    Show(Run),
    Snapshot,
    Restore,
    /// What a list that is gathered in parts comes behind.
    List(Run, List),
}

const fn list(names: &'static [&'static str], run: Run, list: List) -> Command {
    Command { does: Does::List(run, list), ..get(names, run) }
}

const fn get(names: &'static [&'static str], run: Run) -> Command {
    Command { names, serving: true, protected: false, verb: Verb::Get, does: Does::Show(run) }
}

/// Also while nobody is served.
const fn always(names: &'static [&'static str], run: Run) -> Command {
    Command { serving: false, ..get(names, run) }
}

/// Only for those who may do all.
const fn protected(names: &'static [&'static str], verb: Verb, does: Does) -> Command {
    Command { names, serving: true, protected: true, verb, does }
}

static COMMANDS: &[Command] = &[
    get(&["configuration", "conf", "config"], configuration),
    get(&["connection_stat_reset", "crst"], |_, view, _| view.clients.reset()),
    get(&["connections", "cons"], |_, view, to| connections(view, false, to)),
    get(&["dirs"], |_, view, to| {
        let (data, log) = view.disk.sizes();
        to.extend(fields(json!({ "datadir_size": data, "logdir_size": log })));
    }),
    list(&["dump"], dump, List::Ephemerals),
    always(&["environment", "env", "envi"], |_, _, to| to.extend(environment())),
    always(&["get_trace_mask", "gtmk"], |_, _, to| put(to, "tracemask", words::TRACE_MASK)),
    get(&["hash"], hash),
    get(&["initial_configuration", "icfg"], |_, view, to| {
        let text = view.config.is_standalone().then(|| view.config.text.clone());
        put(to, "initial_configuration", text);
    }),
    get(&["is_read_only", "isro"], |_, view, to| put(to, "read_only", view.peer.status().read_only)),
    get(&["last_snapshot", "lsnp"], |_, view, to| {
        let last = view.disk.last_snapshot();
        put(to, "zxid", format!("{:x}", last.map_or(-1, |(zxid, _)| zxid)));
        put(to, "timestamp", last.map_or(-1, |(_, at)| at as i64));
    }),
    get(&["leader", "lead"], leader),
    always(&["monitor", "mntr"], monitor),
    get(&["observer_connection_stat_reset", "orst"], |_, view, _| {
        for (link, _) in view.peer.observers() {
            view.links.entry(link).and_modify(|link| link.stats = LinkStats::default());
        }
    }),
    get(&["observers", "obsr"], observers),
    protected(&["restore", "rest"], Verb::Post, Does::Restore),
    get(&["ruok"], |_, _, _| {}),
    get(&["server_stats", "srvr"], server_stats),
    always(&["set_trace_mask", "stmk"], set_trace_mask),
    protected(&["snapshot", "snap"], Verb::Get, Does::Snapshot),
    get(&["stat_reset", "srst"], |_, view, _| metrics::reset(view)),
    get(&["stats", "stat"], |asked, view, to| {
        server_stats(asked, view, to);
        connections(view, true, to);
    }),
    always(&["system_properties", "sysp"], |_, _, to| {
        let mut known: Vec<(String, Value)> = environment().into_iter().collect();
        known.retain(|(name, _)| !["zookeeper.version", "host.name"].contains(&&**name));
        known.sort_by(|(one, _), (other, _)| one.cmp(other));
        to.extend(known);
    }),
    get(&["voting_view"], voting_view),
    get(&["watch_summary", "wchs"], |_, view, to| {
        let figures = view.peer.front().watch_figures();
        put(to, "num_connections", figures.connections);
        put(to, "num_paths", figures.paths);
        put(to, "num_total_watches", figures.watches);
    }),
    list(&["watches", "wchc"], |_, _, _| {}, List::Watches),
    list(&["watches_by_path", "wchp"], |_, _, _| {}, List::WatchesByPath),
    always(&["zabstate"], zab_state),
];

/// Primary names, sorted.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&str> = COMMANDS.iter().map(|command| command.names[0]).collect();
    names.sort_unstable();
    names.into_iter()
}

pub(super) fn run(asked: &Asked, config: &Admin, view: &mut View) -> Next {
    let refused = |status, why: &str| {
        Next::Answer(Answer { status, body: json!({ "command": asked.name, "error": why }) })
    };
    let Some(command) = COMMANDS.iter().find(|command| command.names.contains(&&*asked.name)) else {
        return refused(StatusCode::OK, &format!("Unknown command: {}", asked.name));
    };
    if command.serving && !view.peer.status().serving {
        return refused(StatusCode::OK, "This ZooKeeper instance is not currently serving requests");
    }
    if command.protected {
        match admission(asked, view) {
            None => return refused(StatusCode::UNAUTHORIZED, "Auth info is missing for the command"),
            Some(Admission::Unknown) => return refused(StatusCode::UNAUTHORIZED, "Not authenticated"),
            Some(Admission::Denied) => return refused(StatusCode::FORBIDDEN, "Not authorized"),
            Some(Admission::Granted) => {}
        }
    }
    if command.verb != asked.verb {
        return Next::Bare(StatusCode::INTERNAL_SERVER_ERROR);
    }
    match command.does {
        Does::Show(run) => {
            let mut body = Fields::new();
            run(asked, view, &mut body);
            Next::Answer(finish(command.names[0], body))
        }
        Does::List(run, list) => {
            let mut body = Fields::new();
            run(asked, view, &mut body);
            Next::List { name: command.names[0], body, list }
        }
        Does::Snapshot => match may_snapshot(config, view) {
            Ok(()) => Next::Snapshot {
                disk: view.disk.clone(),
                zxid: view.peer.last_safe(),
                streaming: asked.argument("streaming").is_none_or(|word| word.eq_ignore_ascii_case("true")),
            },
            Err(status) => Next::Answer(failed("snapshot", status)),
        },
        Does::Restore => match may_restore(config, view) {
            Ok(()) => Next::Restore { disk: view.disk.clone() },
            Err(status) => Next::Answer(failed("restore", status)),
        },
    }
}

/// `None`: the loop has ended.
pub(super) async fn gather(
    inbox: &Inbox,
    name: &'static str,
    mut body: Fields,
    list: List,
) -> Option<Answer> {
    match list {
        List::Watches => {
            let watches = listing::watches(inbox).await?;
            put(&mut body, "session_id_to_watched_paths", by_text(listing::by_session(&watches).into_iter()));
        }
        List::WatchesByPath => {
            let watches = listing::watches(inbox).await?;
            put(&mut body, "path_to_session_ids", by_text(listing::by_path(&watches).into_iter()));
        }
        List::Ephemerals => {
            let nodes = listing::ephemerals(inbox).await?;
            put(&mut body, "session_id_to_ephemeral_paths", by_text(listing::by_session(&nodes).into_iter()));
        }
    }
    Some(finish(name, body))
}

fn finish(name: &str, mut body: Fields) -> Answer {
    // A command that failed has its error before its name, and no second one.
    let failed = body.contains_key("error");
    put(&mut body, "command", name);
    if !failed {
        put(&mut body, "error", Value::Null);
    }
    Answer { status: StatusCode::OK, body: Value::Object(body) }
}

/// A status says it all.
pub(super) fn failed(command: &str, status: StatusCode) -> Answer {
    Answer { status, body: json!({ "command": command, "error": null }) }
}

fn may_snapshot(config: &Admin, view: &mut View) -> Result<(), StatusCode> {
    if !config.snapshots {
        warn!("Snapshot command is disabled");
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    if !view.disk.tells_last_zxid() {
        warn!("Snapshot command requires serializeLastProcessedZxidEnable flag is set to true");
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    // Java takes the number for microseconds here.
    if !view.limits.snapshot.allow(config.rate_interval_ms / 1000, view.now.mono) {
        view.clients.stats.admin.snapshot_rate_limited_count += 1;
        warn!("Snapshot request was rate limited");
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    Ok(())
}

fn may_restore(config: &Admin, view: &mut View) -> Result<(), StatusCode> {
    if !config.restores {
        warn!("Restore command is disabled");
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    if !view.disk.tells_last_zxid() {
        warn!("Restore command requires serializeLastProcessedZxidEnable flag is set to true");
        return Err(StatusCode::INTERNAL_SERVER_ERROR);
    }
    if !view.limits.restore.allow(config.rate_interval_ms, view.now.mono) {
        view.clients.stats.admin.restore_rate_limited_count += 1;
        warn!("Restore request was rate limited");
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    Ok(())
}

/// `<scheme> <data>`, or a scheme alone where the connection says who it is. `None`: the header is missing.
fn admission(asked: &Asked, view: &View) -> Option<Admission> {
    let words: Vec<&str> = asked.authorization.as_deref()?.split(' ').collect();
    Some(match words[..] {
        [scheme] => view.peer.admits(scheme, None, asked.from),
        [scheme, data] => view.peer.admits(scheme, Some(data.as_bytes()), asked.from),
        _ => Admission::Unknown,
    })
}

fn put(to: &mut Fields, key: &str, value: impl Into<Value>) {
    to.insert(key.into(), value.into());
}

fn fields(value: Value) -> Fields {
    match value {
        Value::Object(fields) => fields,
        _ => Fields::new(),
    }
}

fn by_text<K: ToString, V: Into<Value>>(lists: impl Iterator<Item = (K, Vec<V>)>) -> Value {
    let list = |(key, values): (K, Vec<V>)| (key.to_string(), values.into_iter().map(Into::into).collect());
    Value::Object(lists.map(list).collect())
}

fn environment() -> Fields {
    words::environment_pairs().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
}

fn configuration(_: &Asked, view: &mut View, to: &mut Fields) {
    let config = view.config;
    let (data, log) = view.disk.folders();
    to.extend(fields(json!({
        "client_port": config.client.as_ref().map_or(-1, |at| i32::from(at.port)),
        "data_dir": data.display().to_string(),
        "data_log_dir": log.display().to_string(),
        "tick_time": config.core.tick_ms,
        "max_client_cnxns": config.client_cnxns_max,
        "min_session_timeout": config.core.session_ms_min,
        "max_session_timeout": config.core.session_ms_max,
        "server_id": if config.is_standalone() { 0 } else { config.core.myid },
        "client_port_listen_backlog": config.client_backlog.unwrap_or(-1),
    })));
}

fn connections(view: &View, brief: bool, to: &mut Fields) {
    let of = |secure: bool| -> Value {
        let clients = view.clients.iter().filter(|(_, client)| client.secure == secure);
        clients.map(|(_, client)| connection(client, brief)).collect()
    };
    put(to, "connections", of(false));
    put(to, "secure_connections", of(true));
}

fn connection(client: &Client, brief: bool) -> Value {
    let stats = &client.stats;
    let mut to = fields(json!({
        "remote_socket_address": client.from.to_string(),
        "interest_ops": 1,
        "outstanding_requests": client.queued(),
        "packets_received": stats.received,
        "packets_sent": stats.sent,
    }));
    if !brief {
        to.extend(fields(json!({
            "session_id": stats.session,
            "last_operation": stats.last_op,
            "established": stats.established,
            "session_timeout": stats.timeout,
            "last_cxid": stats.last_cxid,
            "last_zxid": stats.last_zxid,
            "last_response_time": stats.last_response,
            "last_latency": stats.last_latency,
            "min_latency": stats.latency.min(),
            "avg_latency": stats.latency.sum.checked_div(stats.latency.count).unwrap_or(0),
            "max_latency": stats.latency.max,
        })));
    }
    Value::Object(to)
}

/// Those that learn from this server.
fn observers(_: &Asked, view: &mut View, to: &mut Fields) {
    let served = view.peer.observers().filter_map(|(id, sid)| Some((view.links.get(&id)?, sid)));
    let told = served.map(|(link, sid)| {
        let (packets, bytes) = link.queued();
        json!({
            "remote_socket_address": link.from().map_or("<null>".to_owned(), |from| format!("/{from}")),
            "sid": sid,
            "established": link.established,
            "queued_packets": packets,
            "queued_packets_size": bytes,
            "packets_received": link.stats.received,
            "packets_sent": link.stats.sent,
            "requests": link.stats.requests,
            "last_zxid": link.stats.last_zxid,
        })
    });
    let told: Vec<Value> = told.collect();
    put(to, "synced_observers", told.len());
    put(to, "observers", told);
}

fn dump(_: &Asked, view: &mut View, to: &mut Fields) {
    let expiries = view.peer.expiries().into_iter().flatten();
    let expiries = expiries.map(|(at, sessions)| (at, sessions.iter().copied().collect::<Vec<i64>>()));
    put(to, "expiry_time_to_session_ids", by_text(expiries));
}

fn hash(_: &Asked, view: &mut View, to: &mut Fields) {
    let digests = view.peer.database().digest_log().map(|entry| {
        json!({
            "zxid": entry.zxid,
            "digest": entry.digest,
            "digest_version": zk_core::database::DIGEST_VERSION,
        })
    });
    put(to, "digests", digests.collect::<Value>());
}

fn leader(_: &Asked, view: &mut View, to: &mut Fields) {
    let leader = match view.peer.status().mode {
        Mode::Leading => view.config.core.myid,
        Mode::Following { leader } | Mode::Observing { leader } => leader,
        Mode::Standalone | Mode::Looking => return put(to, "error", "server is not initialized"),
    };
    put(to, "is_leader", leader == view.config.core.myid);
    put(to, "leader_id", leader);
    let at = view.peer.member(leader).and_then(|member| member.quorum.first());
    put(to, "leader_ip", at.map_or("", |at| &at.host));
}

fn monitor(_: &Asked, view: &mut View, to: &mut Fields) {
    let status = view.peer.status();
    put(to, "version", VERSION);
    put(to, "server_state", words::mode_name(&status));
    if let Some(doing) = words::peer_state(&status) {
        put(to, "peer_state", doing);
    }
    if let Some(master) = status.observer_master {
        put(to, "observer_master_id", master);
    }
    to.extend(metrics::named(view).into_iter().map(|(name, number)| (name, json::number(number))));
}

fn set_trace_mask(asked: &Asked, _: &mut View, to: &mut Fields) {
    const NEEDS: &str = "setTraceMask requires long traceMask argument";
    match asked.argument("traceMask").map(|mask| (mask, mask.parse::<i64>())) {
        Some((_, Ok(mask))) => put(to, "tracemask", mask),
        Some((given, Err(_))) => put(to, "error", format!("{NEEDS}, got {given}")),
        None => put(to, "error", NEEDS),
    }
}

fn server_stats(_: &Asked, view: &mut View, to: &mut Fields) {
    let status = view.peer.status();
    let stats = &view.clients.stats;
    let (data, log) = view.disk.sizes();
    let latency = &stats.latency;
    let own = json!({
        "packets_sent": stats.sent,
        "packets_received": stats.received,
        "fsync_threshold_exceed_count": view.journal.get().slow_syncs,
        "client_response_stats": sizes(stats.responses),
        "data_dir_size": data,
        "log_dir_size": log,
        "provider_null": false,
        "last_processed_zxid": status.last_zxid,
        "outstanding_requests": view.clients.outstanding(),
        "server_state": words::mode_name(&status),
        "avg_latency": latency.mean(),
        "max_latency": latency.max,
        "min_latency": latency.min(),
        "num_alive_client_connections": view.clients.alive(),
        "uptime": view.now.mono,
        "auth_failed_count": view.peer.measures().auth_failed_count,
        "non_mtlsremote_conn_count": view.clients.plain_from(Origin::Elsewhere),
        "non_mtlslocal_conn_count": view.clients.plain_from(Origin::Here),
    });
    put(to, "version", VERSION);
    put(to, "read_only", status.read_only);
    put(to, "server_stats", own);
    put(to, "client_response", sizes(stats.responses));
    if let (Mode::Leading, Some([last, min, max])) = (status.mode, status.proposal_sizes) {
        put(to, "proposal_stats", sizes(Sizes { last, min, max }));
    }
    put(to, "node_count", view.peer.database().node_count());
}

fn sizes(of: Sizes) -> Value {
    json!({ "last_buffer_size": of.last, "min_buffer_size": of.min, "max_buffer_size": of.max })
}

fn voting_view(_: &Asked, view: &mut View, to: &mut Fields) {
    let voters = view.peer.members().filter(|(_, member)| member.role == Role::Participant);
    let text = |all: &[HostPort]| all.iter().map(HostPort::to_string).collect::<Vec<_>>();
    let voters = voters.map(|(sid, member)| {
        let shown = json!({
            "server_addresses": text(&member.quorum),
            "election_addresses": text(&member.election),
            "client_address": member.client.as_ref().map(HostPort::to_string).unwrap_or_default(),
            "learner_type": "participant",
        });
        (sid.to_string(), shown)
    });
    put(to, "current_config", Value::Object(voters.collect()));
}

fn zab_state(_: &Asked, view: &mut View, to: &mut Fields) {
    let Status { mode, serving, last_zxid, .. } = view.peer.status();
    let own = view.peer.member(view.config.core.myid).filter(|_| serving);
    let (Some(own), false) = (own, view.config.is_standalone()) else {
        put(to, "voting", false);
        return put(to, "zabstate", "");
    };
    to.extend(fields(json!({
        "myid": view.config.core.myid,
        "is_leader": mode == Mode::Leading,
        "quorum_address": addresses(&own.quorum),
        "election_address": addresses(&own.election),
        "client_address": own.client.as_ref().map(HostPort::to_string),
        "voting": own.role == Role::Participant,
        "last_zxid": format!("0x{last_zxid:x}"),
        "zab_epoch": last_zxid >> 32,
        "zab_counter": last_zxid & 0xffff_ffff,
        "zabstate": "broadcast",
    })));
}

/// All that Java tells of a set of addresses. Its own are not tried: each counts as reachable.
fn addresses(of: &[HostPort]) -> Value {
    let all: Vec<String> = of.iter().map(HostPort::to_string).collect();
    let ports: BTreeSet<u16> = of.iter().map(|at| at.port).collect();
    json!({
        "empty": of.is_empty(),
        "all_addresses": all,
        "wildcard_addresses": ports.iter().map(|port| format!("0.0.0.0:{port}")).collect::<Vec<_>>(),
        "all_ports": ports,
        "all_host_strings": of.iter().map(|at| &at.host).collect::<BTreeSet<_>>(),
        "reachable_address": all.first(),
        "all_reachable_addresses": all,
        "all_reachable_addresses_or_all": all,
        "reachable_or_one": all.first(),
        "one": all.first(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_belongs_to_one_command() {
        let mut all: Vec<&str> = COMMANDS.iter().flat_map(|command| command.names).copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
