//! Server 2 with its real port; server 1 is played byte by byte.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::zk::quorum::PeerState;

const SOON: Duration = Duration::from_secs(20);

async fn hello(stream: &mut TcpStream, own: &[Endpoint]) {
    stream.write_all(&hello::encode(1, own, false)).await.unwrap();
}

/// Server 2 dials, and says who it is.
async fn dialled(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    assert_eq!(hello::read(&mut stream).await.unwrap().sid, 2);
    stream
}

#[tokio::test]
async fn a_smaller_server_that_dialled_before_we_had_come_through_breaks_nothing_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let one = vec![Endpoint::new("127.0.0.1", listener.local_addr().unwrap().port())];
    let two = vec![Endpoint::new("127.0.0.1", 0)];
    let (inbox, _inputs) = Inbox::new();
    let net = ElectionNet::start(
        Settings {
            myid: 2,
            members: [(1, one.clone()), (2, two)].into(),
            listen_on_all: false,
            multi_address: false,
            routes: Routes::new(None),
            connect_within: SOON,
            hello_within: SOON,
            bind_tries: 1,
            keep_alive: false,
            security: PeerSecurity { tls: None, sasl: None, hosts: Arc::from([]) },
        },
        inbox,
    );
    let net = net.await.unwrap();
    let at = net.bound[0];
    let mut early = TcpStream::connect(at).await.unwrap();
    // Its handshake is slow; meanwhile another one is through, and is called back.
    tokio::time::sleep(Duration::from_millis(50)).await;
    hello(&mut TcpStream::connect(at).await.unwrap(), &one).await;
    let mut link = dialled(&listener).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    hello(&mut early, &one).await;
    assert_eq!(timeout(SOON, early.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0, "it is hung up");
    let vote =
        Notification { state: PeerState::Looking, leader: 2, zxid: 0, round: 1, peer_epoch: 0, config: None };
    net.send(1, vote);
    let len = timeout(SOON, link.read_i32()).await.unwrap().unwrap();
    link.read_exact(&mut vec![0; len as usize]).await.unwrap();
    // Whoever dials now has lost what there was.
    hello(&mut TcpStream::connect(at).await.unwrap(), &one).await;
    dialled(&listener).await;
    assert_eq!(timeout(SOON, link.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
}
