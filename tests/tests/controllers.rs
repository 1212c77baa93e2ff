//! Controllers of ours that stand against each other on an ensemble of ours, over real sockets.

#[path = "../../zk-server/tests/support/mod.rs"]
mod support;

use broker::controller::{ControllerHandle, ElectionType, Options, TopicPartition, missed, start};
use broker::zk::Zk;
use std::time::Duration;
use support::{Ensemble, PATIENCE};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use wire::kafka::ErrorCode;
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions};

const PERSISTENT: &CreateOptions<'static> = &CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: &CreateOptions<'static> = &CreateMode::Ephemeral.with_acls(Acls::anyone_all());
const STATE: &str = "/brokers/topics/t/partitions/0/state";

/// A session, its holder's name for the ensemble.
async fn session(ensemble: &Ensemble) -> Zk {
    let connect = (0..3).map(|n| ensemble.addr(n).to_string()).collect::<Vec<_>>().join(",");
    Zk::connect(&connect, Duration::from_secs(9), PATIENCE).await.unwrap()
}

fn candidate(id: i32, session: Zk) -> (ControllerHandle, watch::Sender<Zk>) {
    let options = Options {
        protocol: broker_core::MetadataVersion::LATEST,
        id,
        listener: "PLAINTEXT".into(),
        orders_listener: "PLAINTEXT".into(),
        security: Default::default(),
        delete_topics: true,
        imbalance_percent_max: 10,
        balance_every: None,
        socket_timeout: Duration::from_secs(5),
        unclean: Box::new(|_| false),
        stats: Default::default(),
    };
    let (sessions, current) = watch::channel(session);
    (start(options, current).0, sessions)
}

/// Two registered brokers, and a partition of theirs that its second replica leads.
async fn cluster(client: &Client) {
    for path in ["/brokers/ids", "/brokers/topics", "/admin/delete_topics"] {
        client.mkdir(path, PERSISTENT).await.unwrap();
    }
    for path in ["/isr_change_notification", "/log_dir_event_notification"] {
        client.create(path, b"", PERSISTENT).await.unwrap();
    }
    for id in [1, 2] {
        // Nobody listens there: what brokers are told is not looked at here.
        let node = br#"{"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"endpoints":["PLAINTEXT://127.0.0.1:9"]}"#;
        client.create(&format!("/brokers/ids/{id}"), node, EPHEMERAL).await.unwrap();
    }
    let topic = br#"{"removing_replicas":{},"partitions":{"0":[1,2]},"topic_id":"L4TXRCAySCGe7LmWsDch3w","adding_replicas":{},"version":3}"#;
    client.create("/brokers/topics/t", topic, PERSISTENT).await.unwrap();
    client.mkdir("/brokers/topics/t/partitions/0", PERSISTENT).await.unwrap();
    let state = br#"{"controller_epoch":0,"leader":2,"version":1,"leader_epoch":0,"isr":[1,2]}"#;
    client.create(STATE, state, PERSISTENT).await.unwrap();
}

/// The state node's text and version.
async fn state(client: &Client) -> (String, i32) {
    client.sync(STATE).await.unwrap();
    let (data, stat) = client.get_data(STATE).await.unwrap();
    (String::from_utf8(data).unwrap(), stat.version)
}

async fn until_active(controller: &ControllerHandle) {
    let mut following = controller.follow();
    let active = async {
        while !controller.is_active() {
            following.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, active).await.expect("it becomes the controller");
}

async fn elect(controller: &ControllerHandle) -> Result<ErrorCode, ErrorCode> {
    let partition = TopicPartition { topic: "t".into(), partition: 0 };
    let elected = controller.elect_leaders(ElectionType::Preferred, Some(vec![partition])).await?;
    Ok(elected[0].error)
}

fn ensemble() -> Ensemble {
    let ensemble = Ensemble::start::<3>();
    ensemble.leader(2);
    ensemble
}

#[test]
fn a_controller_that_was_replaced_without_its_knowledge_writes_nothing() {
    let ensemble = ensemble();
    ensemble.runtime.block_on(async {
        let admin = session(&ensemble).await;
        let client = admin.client();
        cluster(client).await;
        let (controller, _sessions) = candidate(1, session(&ensemble).await);
        until_active(&controller).await;
        let before = state(client).await;
        // Another was elected, and is gone again: this one's watch of /controller never fired.
        client.set_data("/controller_epoch", b"7", None).await.unwrap();
        assert_eq!(elect(&controller).await, Err(ErrorCode::NOT_CONTROLLER));
        assert_eq!(state(client).await, before, "fenced by the version of /controller_epoch");
        // It gives its own node back, and is elected by right.
        let elected = async {
            while elect(&controller).await != Ok(ErrorCode::NONE) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, elected).await.unwrap();
        let (text, version) = state(client).await;
        assert_eq!(version, before.1 + 1);
        assert_eq!(text, r#"{"controller_epoch":8,"leader":1,"version":1,"leader_epoch":1,"isr":[1,2]}"#);
    });
}

#[test]
fn an_expired_session_takes_the_office_along_and_a_new_one_may_bring_it_back() {
    let ensemble = ensemble();
    ensemble.runtime.block_on(async {
        let admin = session(&ensemble).await;
        cluster(admin.client()).await;
        let first = session(&ensemble).await;
        let (one, one_sessions) = candidate(1, first.clone());
        until_active(&one).await;
        let second = session(&ensemble).await;
        let (two, _two_sessions) = candidate(2, second.clone());
        end(&ensemble, first).await;
        until_active(&two).await;
        assert_eq!(elect(&one).await, Err(ErrorCode::NOT_CONTROLLER));
        assert_eq!(elect(&two).await, Ok(ErrorCode::NONE));
        assert!(state(admin.client()).await.0.starts_with(r#"{"controller_epoch":2,"leader":1,"#));
        one_sessions.send(session(&ensemble).await).unwrap();
        end(&ensemble, second).await;
        until_active(&one).await;
        assert_eq!(elect(&one).await, Ok(ErrorCode::ELECTION_NOT_NEEDED));
        assert_eq!(admin.get("/controller_epoch").await.unwrap().unwrap().0, b"3");
    });
}

#[test]
fn notes_of_isr_changes_and_an_old_controller_s_features_are_dealt_with() {
    let ensemble = ensemble();
    ensemble.runtime.block_on(async {
        let admin = session(&ensemble).await;
        let client = admin.client();
        cluster(client).await;
        client.create("/feature", br#"{"version":1,"status":0,"features":{}}"#, PERSISTENT).await.unwrap();
        let (controller, _sessions) = candidate(1, session(&ensemble).await);
        until_active(&controller).await;
        let shrunk = br#"{"controller_epoch":1,"leader":2,"version":1,"leader_epoch":0,"isr":[2]}"#;
        client.set_data(STATE, shrunk, None).await.unwrap();
        let sequential = CreateMode::PersistentSequential.with_acls(Acls::anyone_all());
        let note = br#"{"version":1,"partitions":[{"topic":"t","partition":0}]}"#;
        client.create("/isr_change_notification/isr_change_", note, &sequential).await.unwrap();
        let consumed = async {
            while !client.list_children("/isr_change_notification").await.unwrap().is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, consumed).await.unwrap();
        assert_eq!(elect(&controller).await, Ok(ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE), "1 has left");
        let (feature, _) = client.get_data("/feature").await.unwrap();
        assert_eq!(feature, br#"{"features":{},"status":1,"version":2}"#);
    });
}

#[test]
fn a_broker_that_lost_its_memory_stays_away_until_it_has_been_missed() {
    let ensemble = ensemble();
    ensemble.runtime.block_on(async {
        let admin = session(&ensemble).await;
        let client = admin.client();
        cluster(client).await;
        let back = session(&ensemble).await;
        let waiting = tokio::spawn(async move { missed::wait(&back, 1, PATIENCE).await.unwrap() });
        sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_finished(), "its former registration is there");
        client.delete("/brokers/ids/1", None).await.unwrap();
        sleep(Duration::from_millis(200)).await;
        assert!(!waiting.is_finished(), "it is in an ISR");
        let (other, _sessions) = candidate(2, session(&ensemble).await);
        until_active(&other).await;
        timeout(PATIENCE, waiting).await.expect("a controller took it out").unwrap();
        assert!(state(client).await.0.ends_with(r#""isr":[2]}"#));
    });
}

#[test]
fn nobody_waits_where_there_is_nobody_to_miss_it() {
    let ensemble = ensemble();
    ensemble.runtime.block_on(async {
        let admin = session(&ensemble).await;
        let client = admin.client();
        cluster(client).await;
        client.delete("/brokers/ids/2", None).await.unwrap();
        let wait = |patience| missed::wait(&admin, 2, patience);
        let begin = std::time::Instant::now();
        wait(Duration::from_millis(300)).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(300), "none governs: it registers in the end");
        client.create("/admin/delete_topics/t", b"", PERSISTENT).await.unwrap();
        timeout(PATIENCE, wait(PATIENCE * 2)).await.expect("the topic is on its way out").unwrap();
        client.delete("/admin/delete_topics/t", None).await.unwrap();
        let alone = br#"{"controller_epoch":0,"leader":2,"version":1,"leader_epoch":1,"isr":[2]}"#;
        client.set_data(STATE, alone, None).await.unwrap();
        timeout(PATIENCE, wait(PATIENCE * 2)).await.expect("the last one in sync stays so").unwrap();
        let both = br#"{"controller_epoch":0,"leader":2,"version":1,"leader_epoch":1,"isr":[1,2]}"#;
        client.set_data(STATE, both, None).await.unwrap();
        client.delete("/brokers/ids/1", None).await.unwrap();
        timeout(PATIENCE, wait(PATIENCE * 2)).await.expect("no broker is left").unwrap();
    });
}

/// Ends a session from outside, as time would.
async fn end(ensemble: &Ensemble, session: Zk) {
    let info = session.client().session().clone();
    let usurper =
        Client::connector().with_session(info).connect(&ensemble.addr(0).to_string()).await.unwrap();
    drop(usurper);
}
