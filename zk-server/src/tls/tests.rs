use super::*;
use crate::net::stream::{Half, Stream};
use base::{Properties, Table};
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A store of the crate `tls`.
fn store(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/tests/stores").join(name).display().to_string()
}

fn settings(lines: &str) -> Result<TlsSettings, String> {
    let properties = Properties::parse("zoo.cfg", lines.as_bytes()).unwrap();
    let settings = Table(&KEYS).read(&properties).map_err(|error| error.to_string())?;
    of_clients(&settings).map_err(|error| error.to_string())
}

/// With a key, a trust store, and more lines.
fn tls(key: &str, trust: &str, more: &str) -> Tls {
    let lines = format!(
        "ssl.keyStore.location={}\nssl.keyStore.password=secret\nssl.trustStore.location={}\n\
         ssl.trustStore.password=secret\n{more}",
        store(key),
        store(trust)
    );
    Tls::new(settings(&lines).unwrap(), false).unwrap()
}

/// A handshake and some bytes in both directions.
async fn meet(server: &Tls, client: &Tls) -> std::io::Result<(Stream, Stream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let dialled = TcpStream::connect(listener.local_addr()?).await?;
    let (accepted, _) = listener.accept().await?;
    let (server, client) = (server.server().unwrap(), client.client().unwrap());
    let there = tokio::spawn(async move {
        let stream = Arc::new(Stream::accept_tls(accepted, server).await?);
        let mut half = Half(stream.clone());
        let mut asked = [0; 4];
        half.read_exact(&mut asked).await?;
        half.write_all(&vec![asked[0]; 100_000]).await?;
        half.flush().await?;
        drop(half);
        Ok::<_, std::io::Error>(Arc::into_inner(stream).unwrap())
    });
    let stream = Arc::new(Stream::dial_tls(dialled, client, "localhost").await?);
    let mut half = Half(stream.clone());
    half.write_all(b"ping").await?;
    half.flush().await?;
    let mut answer = vec![0; 100_000];
    half.read_exact(&mut answer).await?;
    assert!(answer.iter().all(|byte| *byte == b'p'));
    drop(half);
    Ok((there.await.unwrap()?, Arc::into_inner(stream).unwrap()))
}

#[tokio::test]
async fn every_kind_of_store_makes_a_server_and_a_client() {
    for (key, trust) in [
        ("server.p12", "trust.jks"),
        ("server.jks", "trust.p12"),
        ("server.pem", "trust.pem"),
        ("server-encrypted.pem", "trust.pem"),
    ] {
        let server = tls(key, trust, "");
        let client = tls("client.p12", trust, "");
        let (there, here) = meet(&server, &client).await.unwrap();
        assert_eq!(
            rfc2253(&there.certificates()[0]).unwrap(),
            "CN=zk-client,OU=Menagerie,O=Zoo\\, Inc.,C=CH"
        );
        assert!(here.tls_shown().unwrap().starts_with("TLSv1.3 - TLS_AES_"), "{:?}", here.tls_shown());
        matches_host(&here.certificates()[0], &["127.0.0.1".into()]).unwrap();
        matches_host(&here.certificates()[0], &["localhost".into()]).unwrap();
        let wrong = matches_host(&here.certificates()[0], &["zk2".into()]).unwrap_err().to_string();
        assert_eq!(wrong, "the certificate is for localhost, 127.0.0.1, and not for zk2");
    }
}

#[tokio::test]
async fn a_stranger_is_refused_and_a_client_without_certificate_only_where_one_is_needed() {
    let server = tls("server.p12", "trust.p12", "");
    meet(&server, &tls("stranger.p12", "trust.p12", "")).await.unwrap_err();
    let nameless = settings(&format!(
        "ssl.trustStore.location={}\nssl.trustStore.password=secret\n",
        store("trust.p12")
    ));
    let nameless = Tls::new(nameless.unwrap(), false).unwrap();
    meet(&server, &nameless).await.unwrap_err();
    for asked in ["want", "none"] {
        let lenient = tls("server.p12", "trust.p12", &format!("ssl.clientAuth={asked}\n"));
        let (there, _) = meet(&lenient, &nameless).await.unwrap();
        assert!(there.certificates().is_empty());
    }
    let lenient = tls("server.p12", "trust.p12", "ssl.clientAuth=want\n");
    meet(&lenient, &tls("stranger.p12", "trust.p12", "")).await.unwrap_err();
    // A server of another authority.
    meet(&tls("stranger.p12", "trust.p12", ""), &tls("client.p12", "trust.p12", "")).await.unwrap_err();
}

#[tokio::test]
async fn versions_that_do_not_meet_end_the_handshake() {
    let old = tls("client.p12", "trust.p12", "ssl.protocol=TLSv1.2\n");
    meet(&tls("server.p12", "trust.p12", ""), &old).await.unwrap_err();
    let both = tls("server.p12", "trust.p12", "ssl.enabledProtocols=TLSv1.2,TLSv1.3\n");
    let (there, _) = meet(&both, &old).await.unwrap();
    assert!(there.tls_shown().unwrap().starts_with("TLSv1.2 - TLS_ECDHE_ECDSA_WITH_AES_"));
}

#[test]
fn mistakes_are_told_with_their_key_before_a_port_is_open() {
    let wrong = |lines: &str| match settings(lines) {
        Err(wrong) => wrong,
        Ok(settings) => Tls::for_server(settings, false).unwrap_err().to_string(),
    };
    assert!(wrong("").starts_with("ssl.keyStore.location is not set"));
    let key = format!("ssl.keyStore.location={}\n", store("server.p12"));
    assert!(wrong(&key).contains("server.p12: cannot be opened, wrong password or damaged"));
    let key = format!("{key}ssl.keyStore.password=secret\n");
    assert!(wrong(&key).starts_with("ssl.trustStore.location is not set"));
    let no_key = format!("ssl.keyStore.location={}\nssl.keyStore.password=secret\n", store("trust.p12"));
    assert!(wrong(&no_key).contains("trust.p12: there is no private key"));
    let no_trust =
        format!("{key}ssl.trustStore.location={}\nssl.trustStore.password=secret\n", store("client.p12"));
    assert!(wrong(&no_trust).contains("client.p12: there is no trusted certificate"));
    let missing = wrong("ssl.keyStore.location=/no/such.jks\n");
    assert!(missing.starts_with("ssl.keyStore.location: cannot read /no/such.jks"), "{missing}");
    assert_eq!(
        wrong("ssl.enabledProtocols=TLSv1.1,TLSv1\n"),
        "zoo.cfg:1: ssl.enabledProtocols: `TLSv1.1` is not safe any more and not supported: use TLSv1.2, TLSv1.3"
    );
    assert!(
        wrong("ssl.context.supplier.class=my.Own\n").starts_with("zoo.cfg:1: ssl.context.supplier.class: ")
    );
    assert!(wrong("ssl.clientAuth=maybe\n").contains("`maybe` is not one of none, want, need"));
    assert!(
        wrong("ssl.keyStore.passwordPath=/no/such\nssl.keyStore.location=/x.jks\n").contains("passwordPath")
    );
}

#[test]
fn host_names_between_servers_are_checked_only_without_fips_mode() {
    let of = |lines: &str| {
        let properties = Properties::parse("zoo.cfg", lines.as_bytes()).unwrap();
        let quorum = of_quorum(&Table(&KEYS).read(&properties).unwrap()).unwrap();
        (quorum.checks_server_host, quorum.checks_client_host)
    };
    assert_eq!(of(""), (false, false));
    assert_eq!(of("fips-mode=false\n"), (true, true));
    assert_eq!(of("fips-mode=false\nssl.quorum.hostnameVerification=false\n"), (false, false));
    let clients = settings("").unwrap();
    assert!(clients.checks_server_host && !clients.checks_client_host);
}
