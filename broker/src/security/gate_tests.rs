use base::Properties;
use client::security::PLAIN_MODULE;
use client::security::scram::{Hash, ScramClient};
use rand::{Rng, RngExt, SeedableRng};
use wire::kafka::{ListGroupsRequest, Request};

use super::*;
use crate::config::BrokerConfig;
use crate::security::{Logins, TokenKey, Users};

/// A listener with PLAIN and SCRAM, and Ann's password.
fn security(more: &str) -> Arc<ListenerSecurity> {
    let text = format!(
        "broker.id=1\nzookeeper.connect=h\nlisteners=IN://:1\nlistener.security.protocol.map=IN:SASL_PLAINTEXT\n\
         inter.broker.listener.name=IN\nsasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
         listener.name.in.plain.sasl.jaas.config={PLAIN_MODULE} required user_ann=\"secret\";\n{more}"
    );
    let config = BrokerConfig::read(&Properties::parse("t", text.as_bytes()).unwrap()).unwrap();
    let users = Arc::new(Users::default());
    let endpoint = &config.listeners.bound[0];
    Arc::new(ListenerSecurity::read(&config, endpoint, &Logins::default(), users).unwrap())
}

fn frame<R: Request>(request: &R, version: i16) -> Bytes {
    let header = RequestHeader {
        request_api_key: R::KEY as i16,
        request_api_version: version,
        correlation_id: 7,
        client_id: None,
    };
    let mut bytes = BytesMut::new();
    header.write(&mut bytes);
    request.write(&mut bytes, version);
    bytes.freeze()
}

fn answer<R: Request>(verdict: Verdict, version: i16) -> R::Response {
    let bytes = match verdict {
        Verdict::Answer(bytes) | Verdict::Refuse { answer: Some(bytes), .. } => bytes,
        other => panic!("{other:?}"),
    };
    let mut from = Reader::new(bytes);
    let header = ResponseHeader::read(&mut from, R::KEY.api().response_header_version(version)).unwrap();
    assert_eq!(header.correlation_id, 7);
    R::Response::read(&mut from, version).unwrap()
}

fn named(gate: &mut LoginGate, mechanism: &'static str, version: i16, now: Instant) -> Verdict {
    gate.take(frame(&SaslHandshakeRequest { mechanism: mechanism.into() }, version), now)
}

fn token(gate: &mut LoginGate, token: &'static str, now: Instant) -> Verdict {
    gate.take(frame(&SaslAuthenticateRequest { auth_bytes: Bytes::from_static(token.as_bytes()) }, 2), now)
}

#[test]
fn versions_a_mechanism_and_a_password_open_the_gate() {
    let (mut gate, now) = (LoginGate::new(&security(""), Told::default()).unwrap(), Instant::now());
    let versions: ApiVersionsResponse =
        answer::<ApiVersionsRequest>(gate.take(frame(&ApiVersionsRequest::default(), 0), now), 0);
    assert!(versions.api_keys.iter().any(|api| api.api_key == ApiKey::SaslAuthenticate as i16));
    let handshake = answer::<SaslHandshakeRequest>(named(&mut gate, "PLAIN", 1, now), 1);
    assert_eq!(handshake.mechanisms, ["PLAIN", "SCRAM-SHA-256"].map(Str::from));
    assert_eq!(gate.principal(), None);
    let done = answer::<SaslAuthenticateRequest>(token(&mut gate, "\0ann\0secret", now), 2);
    assert!(done.error_code.is_ok() && done.session_lifetime_ms == 0);
    assert_eq!(gate.principal(), Some(&Principal::user("ann")));
    assert!(matches!(gate.take(frame(&MetadataRequest::default(), 12), now), Verdict::Pass(_)));
}

#[test]
fn clients_before_1_0_send_bare_tokens() {
    let (mut gate, now) = (LoginGate::new(&security(""), Told::default()).unwrap(), Instant::now());
    answer::<SaslHandshakeRequest>(named(&mut gate, "PLAIN", 0, now), 0);
    let done = gate.take(Bytes::from_static(b"\0ann\0secret"), now);
    assert!(matches!(done, Verdict::Answer(token) if token.is_empty()));
    assert!(gate.principal().is_some());
    let mut gate = LoginGate::new(&security(""), Told::default()).unwrap();
    named(&mut gate, "PLAIN", 0, now);
    let refused = gate.take(Bytes::from_static(b"\0ann\0wrong"), now);
    assert!(matches!(refused, Verdict::Refuse { answer: None, .. }));
}

#[test]
fn whoever_does_not_log_in_gets_no_further() {
    let now = Instant::now();
    let mut gate = LoginGate::new(&security(""), Told::default()).unwrap();
    let refused = gate.take(frame(&MetadataRequest::default(), 12), now);
    let Verdict::Refuse { answer: None, why } = refused else { panic!("{refused:?}") };
    assert_eq!(why, "Unexpected Kafka request of type Metadata during SASL handshake.");
    let mut gate = LoginGate::new(&security(""), Told::default()).unwrap();
    let refused = answer::<SaslHandshakeRequest>(named(&mut gate, "GSSAPI", 1, now), 1);
    assert_eq!(refused.error_code, ErrorCode::UNSUPPORTED_SASL_MECHANISM);
    let mut gate = LoginGate::new(&security(""), Told::default()).unwrap();
    named(&mut gate, "PLAIN", 1, now);
    let refused = answer::<SaslAuthenticateRequest>(token(&mut gate, "\0ann\0wrong", now), 2);
    assert_eq!(refused.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
    assert_eq!(refused.error_message.as_deref(), Some("Authentication failed: Invalid username or password"));
    let mut gate = LoginGate::new(&security(""), Told::default()).unwrap();
    named(&mut gate, "SCRAM-SHA-256", 1, now);
    let refused = answer::<SaslAuthenticateRequest>(token(&mut gate, "n,,n=eve,r=abc", now), 2);
    assert_eq!(
        refused.error_message.as_deref(),
        Some(
            "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256"
        )
    );
}

#[test]
fn whoever_asks_for_something_else_instead_of_a_token_is_told_before_the_connection_ends() {
    let asked = |frame: Bytes| {
        let now = Instant::now();
        let mut gate = LoginGate::new(&security(""), Told::default()).unwrap();
        named(&mut gate, "PLAIN", 1, now);
        gate.take(frame, now)
    };
    let versions = asked(frame(&ApiVersionsRequest::default(), 0));
    assert!(matches!(versions, Verdict::Refuse { .. }), "{versions:?}");
    assert_eq!(answer::<ApiVersionsRequest>(versions, 0).error_code, ErrorCode::ILLEGAL_SASL_STATE);
    let again = asked(frame(&SaslHandshakeRequest { mechanism: "PLAIN".into() }, 1));
    assert_eq!(answer::<SaslHandshakeRequest>(again, 1).error_code, ErrorCode::ILLEGAL_SASL_STATE);
    let topic = MetadataRequestTopic { name: Some("t".into()), ..Default::default() };
    let topics = asked(frame(&MetadataRequest { topics: Some(vec![topic]), ..Default::default() }, 12));
    let told = answer::<MetadataRequest>(topics, 12);
    assert_eq!(told.topics[0].error_code, ErrorCode::ILLEGAL_SASL_STATE);
    assert_eq!((&told.cluster_id, told.controller_id, told.brokers.len()), (&None, -1, 0));
    let other = asked(frame(&ListGroupsRequest::default(), 4));
    assert!(matches!(other, Verdict::Refuse { answer: None, .. }), "{other:?}");
}

#[test]
fn a_login_that_has_grown_too_old_is_shown_again_or_the_connection_ends() {
    let security = security("plain.connections.max.reauth.ms=5000\n");
    let (mut gate, start) = (LoginGate::new(&security, Told::default()).unwrap(), Instant::now());
    let at = |ms: u64| start + Duration::from_millis(ms);
    let metadata = || frame(&MetadataRequest::default(), 12);
    named(&mut gate, "PLAIN", 1, start);
    let done = answer::<SaslAuthenticateRequest>(token(&mut gate, "\0ann\0secret", start), 2);
    assert_eq!(done.session_lifetime_ms, 5000);
    assert!(matches!(gate.take(metadata(), at(4999)), Verdict::Pass(_)));
    named(&mut gate, "PLAIN", 1, at(4999));
    assert!(
        answer::<SaslAuthenticateRequest>(token(&mut gate, "\0ann\0secret", at(5000)), 2).error_code.is_ok()
    );
    assert!(matches!(gate.take(metadata(), at(9999)), Verdict::Pass(_)));
    // Too soon after the last: who handles requests says so.
    assert!(matches!(named(&mut gate, "PLAIN", 1, at(5900)), Verdict::Pass(_)));
    assert!(matches!(gate.take(metadata(), at(10_000)), Verdict::Refuse { .. }));
}

#[test]
fn another_mechanism_or_another_user_is_no_login_again() {
    let now = Instant::now();
    for (mechanism, text) in [("SCRAM-SHA-256", "n,,n=ann,r=a"), ("PLAIN", "\0bob\0secret")] {
        let more = "listener.name.in.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
                    required user_ann=\"secret\" user_bob=\"secret\";\n\
                    plain.connections.max.reauth.ms=5000\n";
        let mut gate = LoginGate::new(&security(more), Told::default()).unwrap();
        named(&mut gate, "PLAIN", 1, now);
        token(&mut gate, "\0ann\0secret", now);
        assert!(matches!(named(&mut gate, mechanism, 1, now), Verdict::Answer(_)));
        let refused = token(&mut gate, text, now);
        let Verdict::Refuse { why, .. } = refused else { panic!("{refused:?}") };
        assert!(why.contains("re-authentication"), "{why}");
    }
}

#[test]
fn no_bytes_of_strangers_open_the_gate_or_break_it() {
    let security = security("");
    let now = Instant::now();
    let mut random = rand::rngs::ChaCha8Rng::seed_from_u64(17);
    for round in 0..2_000 {
        let mut gate = LoginGate::new(&security, Told::default()).unwrap();
        for _ in 0..4 {
            let good = match random.random_range(0..4) {
                0 => frame(&ApiVersionsRequest::default(), random.random_range(0..5)),
                1 => frame(
                    &SaslHandshakeRequest { mechanism: "SCRAM-SHA-256".into() },
                    random.random_range(0..2),
                ),
                2 => frame(&SaslAuthenticateRequest { auth_bytes: Bytes::from_static(b"n,,n=a,r=b") }, 1),
                _ => Bytes::from_static(b"\0ann\0secre"),
            };
            let mut bytes = good.to_vec();
            bytes.truncate(random.random_range(0..=bytes.len()));
            for _ in 0..random.random_range(0..4) {
                if let Some(at) = bytes.len().checked_sub(1).map(|last| random.random_range(0..=last)) {
                    bytes[at] = random.random();
                }
            }
            if random.random_bool(0.1) {
                bytes = vec![0; random.random_range(0..200)];
                random.fill_bytes(&mut bytes);
            }
            if matches!(gate.take(bytes.into(), now), Verdict::Refuse { .. }) {
                break;
            }
        }
        assert_eq!(gate.principal(), None, "round {round}");
    }
}

fn read(text: &str, logins: &Logins) -> Result<ListenerSecurity, String> {
    let text = format!(
        "broker.id=1\nzookeeper.connect=h\nlisteners=IN://:1\nlistener.security.protocol.map=IN:SASL_PLAINTEXT\n\
         inter.broker.listener.name=IN\n{text}"
    );
    let config = BrokerConfig::read(&Properties::parse("t", text.as_bytes()).unwrap()).unwrap();
    let endpoint = &config.listeners.bound[0];
    ListenerSecurity::read(&config, endpoint, logins, Arc::new(Users::default()))
        .map_err(|error| error.to_string())
}

#[test]
fn a_mechanism_that_is_not_there_stops_the_start() {
    for (text, expected) in [
        ("", "sasl.enabled.mechanisms: GSSAPI (Kerberos) is not supported"),
        (
            "sasl.enabled.mechanisms=PLAIN,CRAM-MD5\n",
            "sasl.enabled.mechanisms: the SASL mechanism `CRAM-MD5`",
        ),
        (
            "sasl.enabled.mechanisms=OAUTHBEARER\n",
            "listener.name.in.oauthbearer.sasl.jaas.config: Could not find a 'KafkaServer'",
        ),
        (
            "sasl.enabled.mechanisms=PLAIN\n",
            "listener.name.in.plain.sasl.jaas.config: Could not find a 'KafkaServer'",
        ),
        (
            "sasl.enabled.mechanisms=SCRAM-SHA-256\nscram-sha-256.sasl.server.callback.handler.class=a.B\n",
            "`a.B`: Java's classes cannot be loaded here",
        ),
    ] {
        let logins = Logins::default();
        let error = read(text, &logins).map(|_| ()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_listener_among_brokers_that_does_not_trust_itself_stops_the_start() {
    let kept = |name: &str| format!("{}/../tls/tests/stores/{name}", env!("CARGO_MANIFEST_DIR"));
    let start = |key: &str, among_brokers: &str| {
        let text = format!(
            "broker.id=1\nzookeeper.connect=h\nlisteners=IN://:1,OUT://:2\ninter.broker.listener.name={among_brokers}\n\
             listener.security.protocol.map=IN:SSL,OUT:PLAINTEXT\nssl.client.auth=required\n\
             ssl.keystore.location={}\nssl.keystore.password=secret\n\
             ssl.truststore.location={}\nssl.truststore.password=secret\n",
            kept(key),
            kept("trust.p12")
        );
        let config = BrokerConfig::read(&Properties::parse("t", text.as_bytes()).unwrap()).unwrap();
        let endpoint = &config.listeners.bound[0];
        ListenerSecurity::read(&config, endpoint, &Logins::default(), Arc::new(Users::default()))
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert_eq!(start("server.p12", "IN"), Ok(()));
    assert_eq!(start("stranger.p12", "OUT"), Ok(()));
    let refused = start("stranger.p12", "IN").unwrap_err();
    assert!(
        refused.starts_with(
            "listener.name.in.ssl.: A client SSLEngine created with the provided settings can't"
        ),
        "{refused}"
    );
}

#[test]
fn a_listeners_own_login_comes_before_everybodys() {
    let section = |name: &str, password: &str| {
        format!("{name} {{ {PLAIN_MODULE} required username=b password=p user_ann=\"{password}\"; }};\n")
    };
    let text = section("KafkaServer", "of all") + &section("in.KafkaServer", "of the listener");
    let file = base::jaas::Jaas::parse(std::path::Path::new("jaas.conf"), &text).unwrap();
    let logins = Logins { file: Some(file) };
    let password = |text: &str| read(text, &logins).unwrap().sasl.unwrap().passwords["ann"].clone();
    assert_eq!(password("sasl.enabled.mechanisms=PLAIN\n"), "of the listener");
    let key =
        format!("listener.name.in.plain.sasl.jaas.config={PLAIN_MODULE} required user_ann=\"of the key\";\n");
    assert_eq!(password(&format!("sasl.enabled.mechanisms=PLAIN\n{key}")), "of the key");
}

#[test]
fn what_a_login_shows_bounds_the_session_as_the_settings_do() {
    let now_ms = wall_clock();
    let module = client::security::OAUTH_MODULE;
    let lifetime = |more: &str, exp_s: i64| {
        let security = security(&format!(
            "sasl.enabled.mechanisms=PLAIN,OAUTHBEARER\nlistener.name.in.oauthbearer.sasl.jaas.config={module} required;\n{more}"
        ));
        let mut gate = LoginGate::new(&security, Told::default()).unwrap();
        let now = Instant::now();
        named(&mut gate, "OAUTHBEARER", 1, now);
        let claims = base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            format!(r#"{{"sub":"svc","exp":{exp_s}}}"#),
        );
        let message = format!("n,,\x01auth=Bearer eyJhbGciOiJub25lIn0.{claims}.\x01\x01");
        let shown = SaslAuthenticateRequest { auth_bytes: Bytes::from(message) };
        let done = answer::<SaslAuthenticateRequest>(gate.take(frame(&shown, 2), now), 2);
        assert_eq!((done.error_code, gate.came_by_token()), (ErrorCode::NONE, false));
        assert_eq!(gate.principal(), Some(&Principal::user("svc")));
        let expired = now + Duration::from_millis(u64::try_from(done.session_lifetime_ms).unwrap());
        let request = frame(&MetadataRequest::default(), 1);
        assert!(matches!(gate.take(request.clone(), now), Verdict::Pass(_)));
        assert!(matches!(gate.take(request, expired), Verdict::Refuse { .. }));
        done.session_lifetime_ms
    };
    let exp_s = now_ms / 1000 + 60;
    assert!((50_000..=60_000).contains(&lifetime("", exp_s)));
    assert_eq!(lifetime("connections.max.reauth.ms=5000\n", exp_s), 5000);
    assert!(lifetime("connections.max.reauth.ms=3600000\n", exp_s) <= 60_000);
}

#[test]
fn a_delegation_token_opens_the_gate_and_is_remembered_as_one() {
    let security = security("");
    let key = TokenKey::new("secret").unwrap();
    security.users.tokens().set(&key, super::super::tokens::tests::token("id", "ann", wall_clock() + 30_000));
    let mut gate = LoginGate::new(&security, Told::default()).unwrap();
    let now = Instant::now();
    named(&mut gate, "SCRAM-SHA-256", 1, now);
    let password = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key.sign("id"));
    let mut scram = ScramClient::new(Hash::Sha256, "id", &password, true);
    let mut show = |text: String| {
        let shown = SaslAuthenticateRequest { auth_bytes: Bytes::from(text) };
        answer::<SaslAuthenticateRequest>(gate.take(frame(&shown, 2), now), 2)
    };
    let first = show(scram.first());
    let last = show(scram.answer(std::str::from_utf8(&first.auth_bytes).unwrap()).unwrap());
    scram.finish(std::str::from_utf8(&last.auth_bytes).unwrap()).unwrap();
    assert!((20_000..=30_000).contains(&last.session_lifetime_ms));
    assert!(gate.came_by_token() && gate.principal() == Some(&Principal::user("ann")));
}

#[test]
fn a_login_that_does_not_grow_old_is_not_shown_again() {
    let (mut gate, now) = (LoginGate::new(&security(""), Told::default()).unwrap(), Instant::now());
    named(&mut gate, "PLAIN", 1, now);
    let done = answer::<SaslAuthenticateRequest>(token(&mut gate, "\0ann\0secret", now), 2);
    assert_eq!((done.error_code, done.error_message.as_deref()), (ErrorCode::NONE, Some("")));
    // The broker answers it, as Java's does, with ILLEGAL_SASL_STATE, and the connection goes on.
    let again = gate.take(frame(&SaslHandshakeRequest { mechanism: "PLAIN".into() }, 1), now);
    assert!(matches!(again, Verdict::Pass(_)), "{again:?}");
    assert!(gate.principal().is_some());
}
