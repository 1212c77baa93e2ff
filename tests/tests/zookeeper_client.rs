//! The `zookeeper-client` crate, which nobody here wrote, against an ensemble of ours over real sockets and files.

#[path = "../../zk-server/tests/support/mod.rs"]
mod support;

use std::time::Duration;
use support::{Ensemble, PATIENCE};
use tokio::time::timeout;
use zookeeper_client as zk;
use zookeeper_client::{Acls, AddWatchMode, CreateMode, EventType, LockOptions, LockPrefix, SessionState};

const PERSISTENT: &zk::CreateOptions<'static> = &CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: &zk::CreateOptions<'static> = &CreateMode::Ephemeral.with_acls(Acls::anyone_all());

/// Three servers that serve.
fn ensemble() -> Ensemble {
    let ensemble = Ensemble::start::<3>();
    ensemble.leader(2);
    ensemble
}

/// `host:port` of each server in `members`.
fn cluster(ensemble: &Ensemble, members: &[usize]) -> String {
    members.iter().map(|n| ensemble.addr(*n).to_string()).collect::<Vec<_>>().join(",")
}

async fn connect(cluster: &str) -> zk::Client {
    let connector = zk::Client::connector().with_session_timeout(Duration::from_secs(9));
    timeout(PATIENCE, connector.connect(cluster)).await.unwrap().unwrap()
}

#[test]
fn nodes_are_created_read_changed_and_deleted_through_any_server() {
    let ensemble = ensemble();
    ensemble.runtime.block_on(async {
        let (one, other) =
            (connect(&cluster(&ensemble, &[0])).await, connect(&cluster(&ensemble, &[1])).await);
        let (created, _) = one.create("/a", b"1", PERSISTENT).await.unwrap();
        assert_eq!(one.create("/a", b"", PERSISTENT).await.unwrap_err(), zk::Error::NodeExists);
        other.sync("/a").await.unwrap();
        assert_eq!(other.get_data("/a").await.unwrap(), (b"1".to_vec(), created));
        let stat = other.set_data("/a", b"22", Some(0)).await.unwrap();
        assert_eq!((stat.version, stat.data_length), (1, 2));
        assert_eq!(one.set_data("/a", b"", Some(0)).await.unwrap_err(), zk::Error::BadVersion);
        let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
        let (_, first) = one.create("/a/s-", b"", &sequential).await.unwrap();
        let (_, second) = one.create("/a/s-", b"", &sequential).await.unwrap();
        assert_eq!((first.to_string(), second.to_string()), ("0000000000".into(), "0000000001".into()));
        one.mkdir("/deep/er/est", PERSISTENT).await.unwrap();
        assert_eq!(one.list_children("/deep/er").await.unwrap(), ["est"]);
        assert_eq!(one.count_descendants_number("/deep").await.unwrap(), 2);
        assert_eq!(one.delete("/a", None).await.unwrap_err(), zk::Error::NotEmpty);
        one.delete("/deep/er/est", None).await.unwrap();
        assert_eq!(one.check_stat("/deep/er/est").await.unwrap(), None);
        let (acls, _) = one.get_acl("/a").await.unwrap();
        assert_eq!(acls, Acls::anyone_all().to_vec());
    });
}

#[test]
fn one_shot_and_persistent_watches_tell_what_others_do() {
    let ensemble = ensemble();
    ensemble.runtime.block_on(async {
        let (one, other) =
            (connect(&cluster(&ensemble, &[0])).await, connect(&cluster(&ensemble, &[2])).await);
        let (stat, exists) = one.check_and_watch_stat("/w").await.unwrap();
        assert!(stat.is_none());
        let mut below = one.watch("/w", AddWatchMode::PersistentRecursive).await.unwrap();
        other.create("/w", b"", PERSISTENT).await.unwrap();
        let event = timeout(PATIENCE, exists.changed()).await.unwrap();
        assert_eq!((event.event_type, event.path.as_str()), (EventType::NodeCreated, "/w"));
        let (_, _, children) = one.get_and_watch_children("/w").await.unwrap();
        let (_, _, data) = one.get_and_watch_data("/w").await.unwrap();
        other.create("/w/c", b"", PERSISTENT).await.unwrap();
        other.set_data("/w", b"x", None).await.unwrap();
        assert_eq!(
            timeout(PATIENCE, children.changed()).await.unwrap().event_type,
            EventType::NodeChildrenChanged
        );
        assert_eq!(timeout(PATIENCE, data.changed()).await.unwrap().event_type, EventType::NodeDataChanged);
        other.delete("/w/c", None).await.unwrap();
        let mut seen = vec![];
        for _ in 0..4 {
            let event = timeout(PATIENCE, below.changed()).await.unwrap();
            seen.push((event.event_type, event.path));
        }
        let expected = [
            (EventType::NodeCreated, "/w"),
            (EventType::NodeCreated, "/w/c"),
            (EventType::NodeDataChanged, "/w"),
            (EventType::NodeDeleted, "/w/c"),
        ];
        assert_eq!(seen, expected.map(|(kind, path)| (kind, path.to_owned())));
        drop(below);
    });
}

#[test]
fn a_transaction_happens_whole_or_not_at_all() {
    let ensemble = ensemble();
    ensemble.runtime.block_on(async {
        let client = connect(&cluster(&ensemble, &[0, 1, 2])).await;
        client.create("/m", b"", PERSISTENT).await.unwrap();
        let mut refused = client.new_multi_writer();
        refused.add_create("/m/a", b"", PERSISTENT).unwrap();
        refused.add_set_data("/m", b"x", Some(7)).unwrap();
        assert!(refused.commit().await.unwrap_err().to_string().contains("version"));
        assert_eq!(client.list_children("/m").await.unwrap(), Vec::<String>::new());
        let mut writer = client.new_multi_writer();
        writer.add_check_version("/m", 0).unwrap();
        writer.add_create("/m/a", b"1", PERSISTENT).unwrap();
        writer.add_set_data("/m", b"x", Some(0)).unwrap();
        writer.add_delete("/m/a", Some(0)).unwrap();
        assert_eq!(writer.commit().await.unwrap().len(), 4);
        let mut reader = client.new_multi_reader();
        reader.add_get_data("/m").unwrap();
        reader.add_get_children("/m").unwrap();
        let read = reader.commit().await.unwrap();
        assert!(matches!(&read[0], zk::MultiReadResult::Data { data, .. } if data == b"x"), "{read:?}");
        assert!(
            matches!(&read[1], zk::MultiReadResult::Children { children } if children.is_empty()),
            "{read:?}"
        );
    });
}

#[test]
fn a_lock_passes_from_hand_to_hand_and_fences_its_holder_s_writes() {
    let ensemble = ensemble();
    ensemble.runtime.block_on(async {
        let (one, other) =
            (connect(&cluster(&ensemble, &[0])).await, connect(&cluster(&ensemble, &[1])).await);
        let prefix = || LockPrefix::new_curator("/locks", "latch-").unwrap();
        let options = || {
            let ancestors = CreateMode::Persistent.with_acls(Acls::anyone_all());
            LockOptions::new(Acls::anyone_all()).with_ancestor_options(ancestors).unwrap()
        };
        let held = one.lock(prefix(), b"one", options()).await.unwrap();
        held.create("/work", b"one", PERSISTENT).await.unwrap();
        let waits = other.lock(prefix(), b"other", options());
        tokio::pin!(waits);
        assert!(timeout(Duration::from_millis(300), &mut waits).await.is_err(), "held by two");
        drop(held);
        let held = timeout(PATIENCE, waits).await.unwrap().unwrap();
        held.set_data("/work", b"other", None).await.unwrap();
        one.sync("/work").await.unwrap();
        assert_eq!(one.get_data("/work").await.unwrap().0, b"other");
    });
}

#[test]
fn digest_users_keep_their_nodes_to_themselves() {
    let ensemble = ensemble();
    ensemble.runtime.block_on(async {
        let (one, other) =
            (connect(&cluster(&ensemble, &[0])).await, connect(&cluster(&ensemble, &[1])).await);
        one.auth("digest", b"bob:pw").await.unwrap();
        one.create("/private", b"p", &CreateMode::Persistent.with_acls(Acls::creator_all())).await.unwrap();
        other.sync("/private").await.unwrap();
        assert_eq!(other.get_data("/private").await.unwrap_err(), zk::Error::NoAuth);
        other.auth("digest", b"bob:pw").await.unwrap();
        assert_eq!(other.get_data("/private").await.unwrap().0, b"p");
        let users = other.list_auth_users().await.unwrap();
        assert!(users.iter().any(|user| user.scheme() == "digest" && user.user() == "bob"), "{users:?}");
    });
}

#[test]
fn a_session_survives_the_leader_and_its_end_takes_its_ephemeral_nodes_along() {
    let mut ensemble = ensemble();
    let all = cluster(&ensemble, &[0, 1, 2]);
    let leader = ensemble.leader(2);
    let at_leader = cluster(&ensemble, &[leader, (leader + 1) % 3, (leader + 2) % 3]);
    let (client, watcher, session) = ensemble.runtime.block_on(async {
        let (client, watcher) = (connect(&at_leader).await, connect(&all).await);
        client.create("/mine", b"", EPHEMERAL).await.unwrap();
        let session = client.session_id();
        (client, watcher, session)
    });
    ensemble.stop(leader);
    ensemble.leader(1);
    ensemble.runtime.block_on(async {
        // What is under way when a connection breaks has an unknown outcome: the client says so, and goes on.
        let read = async {
            loop {
                match client.get_data("/mine").await {
                    Err(zk::Error::ConnectionLoss) => tokio::time::sleep(Duration::from_millis(50)).await,
                    answer => return answer,
                }
            }
        };
        let (_, stat) = timeout(PATIENCE, read).await.unwrap().unwrap();
        assert_eq!(client.session_id(), session);
        assert_eq!(client.state(), SessionState::SyncConnected);
        assert_ne!(stat.ephemeral_owner, 0);
        let gone = async {
            loop {
                match watcher.check_and_watch_stat("/mine").await {
                    Ok((Some(_), gone)) => return gone,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let gone = timeout(PATIENCE, gone).await.unwrap();
        drop(client);
        assert_eq!(timeout(PATIENCE, gone.changed()).await.unwrap().event_type, EventType::NodeDeleted);
    });
}
