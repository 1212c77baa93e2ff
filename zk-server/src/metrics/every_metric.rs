//! Every metric of ZooKeeper 3.9.3 is shown, or `docs/compatibility.md` says why it is not.

use super::table;
use base::metrics::process;

/// All that a leader of 3.9.3 shows at `/metrics`.
const METRICS: &str = "
    ack_latency add_dead_watcher_stall_time approximate_data_size auth_failed_count avg_latency
    bytes_received_count close_session_prep_time cnxn_closed_without_zk_server_running
    commit_commit_proc_req_queued commit_count commit_process_time commit_propagation_latency
    concurrent_request_processing_in_commit_processor connection_drop_count connection_drop_probability
    connection_rejected connection_request_count connection_revalidate_count connection_token_deficit dbinittime
    dead_watchers_cleaner_latency dead_watchers_cleared dead_watchers_queued diff_count digest_mismatches_count
    election_time ensemble_auth_fail ensemble_auth_skip ensemble_auth_success ephemerals_count
    follower_sync_time fsynctime global_sessions inflight_diff_count inflight_snap_count insecure_admin_count
    jvm_buffer_pool_capacity_bytes jvm_buffer_pool_used_buffers jvm_buffer_pool_used_bytes jvm_classes_loaded
    jvm_classes_loaded_total jvm_classes_unloaded_total jvm_gc_collection_seconds jvm_info
    jvm_memory_bytes_committed jvm_memory_bytes_init jvm_memory_bytes_max jvm_memory_bytes_used
    jvm_memory_pool_allocated_bytes_total jvm_memory_pool_bytes_committed jvm_memory_pool_bytes_init
    jvm_memory_pool_bytes_max jvm_memory_pool_bytes_used jvm_pause_time_ms jvm_threads_current
    jvm_threads_daemon jvm_threads_deadlocked jvm_threads_deadlocked_monitor jvm_threads_peak
    jvm_threads_started_total jvm_threads_state large_requests_rejected last_client_response_size
    last_proposal_size leader_unavailable_time leader_uptime learner_commit_received_count
    learner_handler_qp_size learner_handler_qp_time_ms learner_proposal_received_count
    learner_request_processor_queue_size learners local_sessions local_write_committed_time_ms looking_count
    max_client_response_size max_file_descriptor_count max_latency max_proposal_size min_client_response_size
    min_latency min_proposal_size netty_queued_buffer_capacity node_changed_watch_count
    node_children_watch_count node_created_watch_count node_deleted_watch_count non_mtls_local_conn_count
    non_mtls_remote_conn_count num_alive_connections observer_sync_time om_commit_process_time_ms
    om_proposal_process_time_ms open_file_descriptor_count outstanding_changes_queued
    outstanding_changes_removed outstanding_requests outstanding_tls_handshake packets_received packets_sent
    pending_session_queue_size pending_syncs prep_process_time prep_processor_queue_size
    prep_processor_queue_time_ms prep_processor_request_queued process_cpu_seconds_total process_max_fds
    process_open_fds process_resident_memory_bytes process_start_time_seconds process_virtual_memory_bytes
    propagation_latency proposal_ack_creation_latency proposal_count proposal_latency proposal_process_time
    quit_leading_due_to_disloyal_voter quorum_ack_latency quorum_size quota_bytes_limit_per_namespace
    quota_bytes_usage_per_namespace quota_count_limit_per_namespace quota_count_usage_per_namespace
    quota_exceeded_error_per_namespace read_commit_proc_issued read_commit_proc_req_queued
    read_commitproc_time_ms read_final_proc_time_ms read_per_namespace readlatency
    reads_after_write_in_session_queue reads_issued_from_session_queue request_commit_queued
    request_throttle_queue_time_ms request_throttle_wait_count requests_in_session_queue
    requests_not_forwarded_to_commit_processor response_bytes response_packet_cache_hits
    response_packet_cache_misses response_packet_get_children_cache_hits
    response_packet_get_children_cache_misses restore_error_count restore_rate_limited_count restore_time
    revalidate_count server_write_committed_time_ms session_queues_drained sessionless_connections_expired
    skip_learner_request_to_next_processor_count snap_count snapshot_error_count snapshot_rate_limited_count
    snapshottime socket_closing_time stale_replies stale_requests stale_requests_dropped stale_sessions_expired
    startup_snap_load_time startup_txns_load_time startup_txns_loaded sync_process_time
    sync_processor_batch_size sync_processor_queue_and_flush_time_ms sync_processor_queue_flush_time_ms
    sync_processor_queue_size sync_processor_queue_time_ms sync_processor_request_queued synced_followers
    synced_non_voting_followers synced_observers throttled_ops
    time_waiting_empty_pool_in_commit_processor_read_ms tls_handshake_exceeded unavailable_time
    unrecoverable_error_count unsuccessful_handshake updatelatency uptime watch_bytes watch_count
    write_batch_time_in_commit_processor write_commit_proc_issued write_commit_proc_req_queued
    write_commitproc_time_ms write_final_proc_time_ms write_per_namespace znode_count
";
/// Of this server alone.
const OURS: [&str; 5] =
    ["max_turn_time_ms", "max_turn_cpu_ms", "max_step_time_ms", "disk_free_bytes", "disk_full"];

fn all() -> impl Iterator<Item = &'static str> {
    METRICS.split_whitespace()
}

fn shown() -> impl Iterator<Item = &'static str> {
    table::TABLE.iter().map(|row| row.name).chain(process::TABLE.iter().map(|row| row.name))
}

/// The names in backticks of the rows whose second column begins with `state`, of the chapter on metrics.
fn documented(state: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/compatibility.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, chapter) = text.split_once("## Metrics").unwrap();
    let (chapter, _) = chapter.split_once("\n## ").unwrap();
    let rows =
        chapter.lines().filter(|line| line.starts_with('|')).map(|row| row.split('|').collect::<Vec<_>>());
    let rows = rows.filter(|cells| cells[2].trim().starts_with(state));
    let names =
        rows.flat_map(|cells| cells[1].split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    names.flat_map(|quoted| quoted.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn names(documented: &str, metric: &str) -> bool {
    documented.strip_suffix('*').map_or(documented == metric, |start| metric.starts_with(start))
}

#[test]
fn every_metric_of_zookeeper_is_shown_or_the_documents_say_why_not() {
    let missing = documented("not there");
    let untold: Vec<&str> = all()
        .filter(|metric| !shown().any(|name| name == *metric))
        .filter(|metric| !missing.iter().any(|name| names(name, metric)))
        .collect();
    assert_eq!(untold, Vec::<&str>::new());
    // Nothing is told to be missing that is there, nor that never was.
    let wrong: Vec<&String> = missing
        .iter()
        .filter(|name| shown().any(|metric| names(name, metric)) || !all().any(|metric| names(name, metric)))
        .collect();
    assert_eq!(wrong, Vec::<&String>::new());
}

#[test]
fn what_is_shown_beside_zookeeper_s_own_metrics_is_ours_and_told() {
    let own: Vec<&str> = shown().filter(|name| !all().any(|metric| metric == *name)).collect();
    assert_eq!(own, OURS);
    let told = documented("ours");
    assert!(OURS.iter().all(|name| told.iter().any(|one| one == name)), "{told:?}");
}
