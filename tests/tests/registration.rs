//! A broker of ours that starts on an ensemble of ours, over real sockets and files: when it may be spoken to.

#[path = "../../zk-server/tests/support/mod.rs"]
mod support;

use base::properties::Properties;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use support::{Ensemble, PATIENCE};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions};

const PERSISTENT: &CreateOptions<'static> = &CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: &CreateOptions<'static> = &CreateMode::Ephemeral.with_acls(Acls::anyone_all());

/// A port that is free now.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn whoever_connects_to_a_broker_is_refused_until_it_is_registered() {
    let ensemble = Ensemble::start::<3>();
    ensemble.leader(2);
    let dir = tempfile::tempdir().unwrap();
    ensemble.runtime.block_on(async {
        let zookeeper = ensemble.addr(0).to_string();
        let connector = Client::connector().with_session_timeout(Duration::from_secs(9));
        let former = timeout(PATIENCE, connector.connect(&zookeeper)).await.unwrap().unwrap();
        former.mkdir("/brokers/ids", PERSISTENT).await.unwrap();
        former.create("/brokers/ids/1", b"a former life's", EPHEMERAL).await.unwrap();

        let address = free_address();
        let text = format!(
            "broker.id=1\nlisteners=PLAINTEXT://{address}\nlog.dirs={}\nzookeeper.connect={zookeeper}\n",
            dir.path().display()
        );
        let config = broker::BrokerConfig::read(&Properties::parse("broker", text.as_bytes()).unwrap());
        let starting = tokio::spawn(broker::start(config.unwrap()));
        // The last thing that it does before it registers is to bring its logs up.
        let recovered = dir.path().join("meta.properties");
        timeout(PATIENCE, async {
            while !recovered.exists() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the broker signs its directory");
        for _ in 0..20 {
            let refused = TcpStream::connect(address).await.map(drop).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            sleep(Duration::from_millis(50)).await;
        }
        assert!(!starting.is_finished(), "it waits for the former registration to go");

        former.delete("/brokers/ids/1", None).await.unwrap();
        let running = timeout(PATIENCE, starting).await.unwrap().unwrap().unwrap();
        assert_eq!(running.addresses()[0].1, address);
        TcpStream::connect(address).await.expect("it is registered, and answers");
        running.stop().await;
    });
}
