use super::*;
use zk_core::auth::DigestAlg;
use zk_core::config::RequestLimits;
use zk_core::throttle::ConnectWeights;

struct Home(tempfile::TempDir);

impl Home {
    fn new(myid: &str) -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        if !myid.is_empty() {
            std::fs::write(home.0.path().join("myid"), myid).unwrap();
        }
        home
    }

    /// `@` stands for the data folder.
    fn load(&self, text: &str, flags: &str) -> Result<Config, String> {
        let file = self.0.path().join("zoo.cfg");
        std::fs::write(&file, text.replace('@', &self.0.path().display().to_string())).unwrap();
        let place = format!("{}/", self.0.path().display());
        Config::load(&file, flags).map_err(|error| error.to_string().replace(&place, ""))
    }
}

fn load(text: &str) -> Result<Config, String> {
    Home::new("1\n").load(text, "")
}

const THREE: &str = "dataDir=@\nclientPort=2181\ninitLimit=20\nsyncLimit=5\ntickTime=2000\n\
    server.1=test-broker01:2888:3888\nserver.2=test-broker03:2888:3888\nserver.3=test-broker02:2888:3888\n";

#[test]
fn the_tutorial_s_file_makes_an_ensemble_of_three() {
    let config = load(THREE).unwrap();
    assert!(!config.is_standalone());
    assert_eq!(config.core.myid, 1);
    assert_eq!((config.core.session_ms_min, config.core.session_ms_max), (4000, 40000));
    assert_eq!(config.client, Some(HostPort::new("0.0.0.0", 2181)));
    assert_eq!(config.members[&1].client, config.client);
    assert!(!config.core.ensemble.unwrap().text.contains(";0.0.0.0:2181"));
    assert_eq!(config.hello_timeout, Duration::from_secs(10));
    assert_eq!(config.data_log_dir, config.data_dir);
    assert_eq!(config.words, ["srvr", "srvr"]);
}

#[test]
fn one_server_or_none_in_the_list_runs_standalone() {
    assert!(load("dataDir=@\nclientPort=1\n").unwrap().is_standalone());
    let one = load("dataDir=@\nserver.1=h:1:2;2182\n").unwrap();
    assert!(one.is_standalone());
    assert_eq!(one.client, Some(HostPort::new("0.0.0.0", 2182)));
    let alone = "dataDir=@\nstandaloneEnabled=false\ninitLimit=1\nsyncLimit=1\nserver.1=h:1:2\n";
    assert_eq!(load(alone).unwrap().members.len(), 1);
}

#[test]
fn mistakes_are_told_in_zookeeper_s_words() {
    let check = |text: &str, message: &str| assert_eq!(load(text).unwrap_err(), message);
    check("clientPort=1\n", "zoo.cfg: dataDir is not set");
    check(
        "dataDir=@\nclientPortAddress=h\n",
        "zoo.cfg:2: clientPortAddress: clientPortAddress is set but clientPort is not set",
    );
    check(
        "dataDir=@\ntickTime=0\n",
        "zoo.cfg:2: tickTime: tickTime is not set: write milliseconds, such as 2000",
    );
    check(
        "dataDir=@\nminSessionTimeout=9\nmaxSessionTimeout=8\n",
        "zoo.cfg:2: minSessionTimeout: minSessionTimeout must not be larger than maxSessionTimeout (9 > 8)",
    );
    check(&THREE.replace("initLimit=20", ""), "zoo.cfg: initLimit is not set");
    check(&THREE.replace("syncLimit=5", ""), "zoo.cfg: syncLimit is not set");
    check(
        "dataDir=@\nelectionAlg=1\n",
        "zoo.cfg:2: electionAlg: Invalid electionAlg value. Only 3 is supported.",
    );
    check(
        "dataDir=@\npeerType=boss\n",
        "zoo.cfg:2: peerType: Unrecognised peertype: boss: write participant or observer",
    );
    check("dataDir=@\nclientPort=x\n", "zoo.cfg:2: clientPort: `x` is not a whole number from 0 to 65535");
    check(
        "dataDir=@\nquorumListenOnAllIPs=yes\n",
        "zoo.cfg:2: quorumListenOnAllIPs: Invalid option yes for quorumListenOnAllIPs. Choose 'true' or 'false.'",
    );
    check(
        "dataDir=@\nserver.1=h:1:2:observer\n",
        "zoo.cfg: Observers w/o participants is an invalid configuration",
    );
    check(
        "dataDir=@\nmetricsProvider.className=no.Such\n",
        "zoo.cfg:2: metricsProvider.className: metrics provider class was not found: no.Such",
    );
    let missing = Home::new("").load(THREE, "").unwrap_err();
    assert_eq!(missing, "zoo.cfg: myid file is missing");
    assert_eq!(Home::new("one\n").load(THREE, "").unwrap_err(), "myid:1: serverid one is not a number");
    assert!(Home::new("7").load(THREE, "").unwrap_err().starts_with("zoo.cfg: My id 7 not in the peer list"));
    let nowhere = Config::load(Path::new("/no/such/zoo.cfg"), "").unwrap_err().to_string();
    assert_eq!(nowhere, "/no/such/zoo.cfg file is missing");
}

#[test]
fn what_would_silently_be_less_safe_is_refused() {
    for line in ["quorum.auth.enableSasl=true", "audit.impl.class=no.Such\naudit.enable=true"] {
        let message = load(&format!("dataDir=@\n{line}\n")).unwrap_err();
        assert!(message.starts_with(&format!("zoo.cfg:2: {}", line.split('=').next().unwrap())), "{message}");
    }
    for line in ["secureClientPort=2281", "client.portUnification=true"] {
        let message = load(&format!("dataDir=@\n{line}\n")).unwrap_err();
        let asks = line.split('=').next().unwrap();
        let told = format!("zoo.cfg:2: {asks}: ssl.keyStore.location is not set: ");
        assert!(message.starts_with(&told), "{message}");
    }
    let message = load("dataDir=@\nsslQuorum=true\nssl.quorum.keyStore.location=/no/such.jks\n").unwrap_err();
    assert!(
        message.starts_with("zoo.cfg:3: ssl.quorum.keyStore.location: cannot read /no/such.jks: "),
        "{message}"
    );
    for asks in ["admin.portUnification", "admin.forceHttps"] {
        let message = load(&format!("dataDir=@\n{asks}=true\n")).unwrap_err();
        assert!(
            message.starts_with(&format!("zoo.cfg:2: {asks}: ssl.quorum.keyStore.location is not set: ")),
            "{message}"
        );
        load(&format!("dataDir=@\nadmin.enableServer=false\n{asks}=true\n")).unwrap();
    }
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/../tls/tests/stores/server.p12");
    let lines = format!(
        "dataDir=@\nadmin.forceHttps=true\nadmin.needClientAuth=true\nssl.quorum.keyStore.location={key}\n\
         ssl.quorum.keyStore.password=secret\n"
    );
    let message = load(&lines).unwrap_err();
    assert!(
        message.starts_with("zoo.cfg:3: admin.needClientAuth: ssl.quorum.trustStore.location is not set"),
        "{message}"
    );
    load("dataDir=@\nsslQuorum=false\nreconfigEnabled=False\nobserverMasterPort=0\nnio.numWorkerThreads=4\n")
        .unwrap();
    let flagged = Home::new("1").load("dataDir=@\n", "-Dzookeeper.serverCnxnFactory=no.Such").unwrap_err();
    assert!(flagged.starts_with("JVMFLAGS: serverCnxnFactory: "), "{flagged}");
}

#[test]
fn groups_and_weights_decide_and_stand_in_the_text() {
    let config = load(&format!("{THREE}group.1=1:2\ngroup.2=3\nweight.3=0\n")).unwrap();
    let ensemble = config.core.ensemble.unwrap();
    assert!(ensemble.text.ends_with(
        "server.3=test-broker02:2888:3888:participant\ngroup.1=1:2\ngroup.2=3\nweight.1=1\nweight.2=1\nweight.3=0\n\
         version=0"
    ));
    assert!(ensemble.is_quorum([1, 2].into_iter()) && !ensemble.is_quorum([1, 3].into_iter()));
    let message = load(&format!("{THREE}group.1=1:2\ngroup.2=2:3\n")).unwrap_err();
    assert_eq!(message, "zoo.cfg:10: group.2: Server 2 is in multiple groups");
    let message = load(&format!("{THREE}group.1=1:2\n")).unwrap_err();
    assert_eq!(message, "zoo.cfg: Server 3 is not in a group");
}

#[test]
fn an_oracle_is_for_two_voters_without_groups() {
    let config = load(&format!("{THREE}oraclePath=/x\n")).unwrap();
    assert!(config.core.oracle && config.oracle.as_deref() == Some(Path::new("/x")));
    let message = load(&format!("{THREE}oraclePath=/x\ngroup.1=1:2\ngroup.2=3\n")).unwrap_err();
    assert!(message.contains("oraclePath: an oracle decides between two voters"), "{message}");
    assert!(!load(THREE).unwrap().core.oracle);
}

#[test]
fn an_observer_master_s_port_is_off_unless_it_is_positive() {
    for (line, port) in
        [("", None), ("observerMasterPort=0\n", None), ("observerMasterPort=2191\n", Some(2191))]
    {
        let config = load(&format!("{THREE}{line}leaderServes=no\n")).unwrap();
        assert_eq!((config.observer_master_port, config.core.observer_masters), (port, port.is_some()));
        assert!(!config.core.leader_serves);
    }
}

#[test]
fn several_addresses_need_their_key() {
    let several = THREE.replace("server.2=test-broker03:2888:3888", "server.2=b:2888:3888|a:2889:3889");
    let message = load(&several).unwrap_err();
    assert!(message.contains("server.2: Multiple address feature is disabled"), "{message}");
    let flags =
        "-Dzookeeper.multiAddress.enabled=true -Dzookeeper.multiAddress.reachabilityCheckTimeoutMs=70";
    let config = Home::new("1").load(&several, flags).unwrap();
    assert_eq!(config.members[&2].quorum, [HostPort::new("a", 2889), HostPort::new("b", 2888)]);
    assert_eq!(config.address_probe, Some(Duration::from_millis(70)));
    assert!(config.core.ensemble.unwrap().text.contains("server.2=a:2889:3889|b:2888:3888:participant\n"));
    let file = format!("{several}multiAddress.enabled=true\nmultiAddress.reachabilityCheckEnabled=false\n");
    assert_eq!(load(&file).unwrap().address_probe, None);
}

#[test]
fn providers_that_are_here_are_taken_and_strangers_are_passed_over_as_classes_that_java_does_not_find() {
    let config = load("dataDir=@\nauthProvider.1=com.example.Mine\n").unwrap();
    assert_eq!(config.core.auth.ensemble_names, None);
    let provider = "authProvider.2=org.apache.zookeeper.server.auth.EnsembleAuthenticationProvider";
    let config = load(&format!("dataDir=@\n{provider}\nensembleAuthName= foo,bar \n")).unwrap();
    assert_eq!(config.core.auth.ensemble_names, Some(vec!["foo".into(), "bar".into()]));
    assert_eq!(load(&format!("dataDir=@\n{provider}\n")).unwrap().core.auth.ensemble_names, Some(vec![]));
}

#[test]
fn authentication_is_enforced_by_schemes_that_there_are() {
    let enforce = "dataDir=@\nenforce.auth.enabled=true\n";
    let message = |more: &str| load(&format!("{enforce}{more}")).unwrap_err();
    assert_eq!(
        message(""),
        "zoo.cfg:2: enforce.auth.enabled: enforce.auth.enabled is true enforce.auth.schemes must be configured"
    );
    assert_eq!(
        message("enforce.auth.schemes=digest,sasl\n"),
        "zoo.cfg:3: enforce.auth.schemes: Authentication scheme sasl is not available"
    );
    let off = "DigestAuthenticationProvider.enabled=false\n";
    assert!(message(&format!("enforce.auth.schemes=digest\n{off}")).contains("digest is not available"));
    let key = "authProvider.k=org.apache.zookeeper.server.auth.KeyAuthenticationProvider\n";
    let both = load(&format!("{enforce}enforce.auth.schemes= digest, key\n{key}")).unwrap();
    assert_eq!(both.core.auth.enforced, ["digest", "key"]);
    assert!(load("dataDir=@\nenforce.auth.schemes=none\n").unwrap().core.auth.enforced.is_empty());
}

#[test]
fn local_sessions_and_read_only_mode_are_a_member_s() {
    let text = format!("{THREE}localSessionsEnabled=true\nlocalSessionsUpgradingEnabled=true\n");
    let config = Home::new("1\n").load(&text, "-Dreadonlymode.enabled=true").unwrap();
    assert_eq!(config.core.local_sessions, LocalSessionRules { enabled: true, upgrading: true });
    assert_eq!(config.core.read_only_after_ms, Some(2000));
    assert!(config.words.contains(&"isro".into()));
    let alone =
        Home::new("1\n").load("dataDir=@\nlocalSessionsEnabled=true\n", "-Dreadonlymode.enabled=true");
    let alone = alone.unwrap().core;
    assert_eq!((alone.local_sessions.enabled, alone.read_only_after_ms), (false, None));
}

#[test]
fn limits_are_read_and_weights_put_right() {
    let config = load("dataDir=@\n").unwrap();
    assert_eq!((config.large_requests, config.core.connects.weights), (None, None));
    assert_eq!(config.core.requests, RequestLimits::default());
    let text = "dataDir=@\nlargeRequestThreshold=9\nlargeRequestMaxBytes=20\nthrottled_op_wait_time=5\n\
        request_throttle_max_requests=7\nrequest_stale_latency_check=true\nconnection_throttle_tokens=4\n\
        connection_throttle_freeze_time=0\nconnection_throttle_weight_enabled=true\n\
        connection_throttle_local_session_weight=5\nconnection_throttle_renew_session_weight=0\n";
    let config = load(text).unwrap();
    assert_eq!(config.large_requests, Some(LargeRequests { above: 9, bytes_max: 20 }));
    let requests = RequestLimits { in_process_max: 7, drop_late: true, wait_ms_max: Some(5) };
    assert_eq!(config.core.requests, requests);
    let weights = ConnectWeights { global: 5, local: 5, renewed: 2 };
    assert_eq!(config.core.connects.weights, Some(weights));
    assert_eq!((config.core.connects.tokens, config.core.connects.freeze_ms), (4, Some(0)));
}

#[test]
fn the_digest_s_hash_has_one_of_java_s_names() {
    let rules = |text: &str| load(&format!("dataDir=@\n{text}\n")).unwrap().core.auth;
    assert_eq!(rules("").digest, Some(DigestAlg::Sha1));
    assert_eq!(rules("DigestAuthenticationProvider.digestAlg=SHA-512").digest, Some(DigestAlg::Sha512));
    let off = "DigestAuthenticationProvider.enabled=false";
    assert_eq!(rules(off).digest, None);
    let again = "authProvider.1=org.apache.zookeeper.server.auth.DigestAuthenticationProvider";
    assert_eq!(rules(&format!("{off}\n{again}")).digest, Some(DigestAlg::Sha1));
    let wrong = load("dataDir=@\nDigestAuthenticationProvider.digestAlg=CRC32\n").unwrap_err();
    assert!(wrong.contains("don't support this ACL digest algorithm: CRC32"), "{wrong}");
}

#[test]
fn containers_are_looked_for_as_the_flags_say() {
    let flags = "-Dznode.container.checkIntervalMs=500 -Dznode.container.maxPerMinute=60 \
                 -Dznode.container.maxNeverUsedIntervalMs=9";
    let config = Home::new("1").load("dataDir=@\nznode.container.checkIntervalMs=7\n", flags).unwrap();
    let Reaping { check_ms, gap_ms, never_used_ms } = config.core.reaping;
    assert_eq!((check_ms, gap_ms, never_used_ms), (500, 1000, 9));
}

#[test]
fn flags_set_properties_where_the_file_does_not() {
    let flags =
        "-Xmx512m -Dzookeeper.snapCount=50 -Dzookeeper.skipACL=yes -Djute.maxbuffer=0x1000 -Dx=y -server";
    let config = Home::new("1").load("dataDir=@\nskipACL=no\njute.maxbuffer=9\n", flags).unwrap();
    assert_eq!(config.disk.snap_count, 50);
    assert!(!config.core.auth.skip_acl);
    assert_eq!((config.frame_max, config.core.jute_max), (0x1000, 0x2000));
}

#[test]
fn a_line_s_client_address_must_not_contradict_client_port() {
    let text =
        "dataDir=@\ninitLimit=1\nsyncLimit=1\nclientPort=2181\nserver.1=h:1:2;2182\nserver.2=i:1:2;2182\n";
    assert!(
        load(text)
            .unwrap_err()
            .contains("is different from client address found in dynamic file: 0.0.0.0:2182")
    );
    let agreed = load(&text.replace("2182", "2181")).unwrap();
    assert!(agreed.core.ensemble.unwrap().text.contains("server.1=h:1:2:participant;0.0.0.0:2181\n"));
}

#[test]
fn purges_keep_three_snapshots_at_least() {
    let config = load("dataDir=@\nautopurge.snapRetainCount=1\nautopurge.purgeInterval=2\n").unwrap();
    assert_eq!(config.disk.snapshots_kept, 3);
    assert_eq!(config.disk.purge_interval, Some(Duration::from_secs(7200)));
    assert_eq!(config.disk.size_max, None, "as Java with these lines");
}

#[test]
fn purges_are_bounded_by_size_unless_the_file_speaks_of_them() {
    let purging = |lines: &str| {
        let disk = load(&format!("dataDir=@\n{lines}")).unwrap().disk;
        (disk.purge_interval, disk.size_max)
    };
    assert_eq!(purging(""), (None, Some(10 << 30)));
    assert_eq!(purging("autopurge.purgeInterval=0\n"), (None, None));
    assert_eq!(purging("autopurge.sizeLimitInMb=0\n"), (None, None));
    assert_eq!(purging("autopurge.purgeInterval=0\nautopurge.sizeLimitInMb=7\n"), (None, Some(7 << 20)));
}

#[test]
fn words_make_a_standalone_server_without_a_limit_of_connections() {
    let config = Config::from_arguments("2181", "/d", &["500".into()], "").unwrap();
    assert!(config.is_standalone());
    assert_eq!((config.core.tick_ms, config.client_cnxns_max), (500, 0));
    let message = Config::from_arguments("x", "/d", &[], "").unwrap_err().to_string();
    assert_eq!(message, "arguments: clientPort: `x` is not a whole number from 0 to 65535");
}

#[test]
fn members_may_stand_in_a_file_of_their_own() {
    let home = Home::new("2");
    let write = |name: &str, text: &str| std::fs::write(home.0.path().join(name), text).unwrap();
    let rest = "dataDir=@\ninitLimit=5\nsyncLimit=2\nreconfigEnabled=true\n";
    let pointing = format!("{rest}dynamicConfigFile=@/zoo.cfg.dynamic.1000000ff\n");
    let lines = "server.1=a:1:2;3\nserver.2=b:1:2;4";
    write("zoo.cfg.dynamic.1000000ff", lines);
    let config = home.load(&pointing, "").unwrap();
    assert_eq!(config.client, Some(HostPort::new("0.0.0.0", 4)));
    assert!(config.core.reconfig.enabled && config.core.reconfig.proposed.is_none());
    assert_eq!(config.core.ensemble.unwrap().version, 0x1_0000_00ff);

    write("zoo.cfg.dynamic.next", "server.1=a:1:2;3\nversion=200000001");
    let config = home.load(&pointing, "").unwrap();
    assert_eq!(config.core.reconfig.proposed.unwrap().version, 0x2_0000_0001);
    write("zoo.cfg.dynamic.next", "server.1=a:1");
    let message = home.load(&pointing, "").unwrap_err();
    assert!(message.contains("zoo.cfg.dynamic.next: `a:1` does not have the form"), "{message}");
    std::fs::remove_file(home.0.path().join("zoo.cfg.dynamic.next")).unwrap();

    let message = home.load(&format!("{pointing}server.3=c:1:2\n"), "").unwrap_err();
    assert_eq!(message, "zoo.cfg:6: server.3: parameter: server.3 must be in a separate dynamic config file");
    write("zoo.cfg.dynamic.1000000ff", "server.1=a:1:2\nversion=7");
    let message = home.load(&pointing, "").unwrap_err();
    assert!(
        message.starts_with("zoo.cfg.dynamic.1000000ff:2: version: dynamic file shouldn't have"),
        "{message}"
    );
    write("zoo.cfg.dynamic.1000000ff", "tickTime=7");
    let message = home.load(&pointing, "").unwrap_err();
    assert!(message.contains("1: tickTime: Unrecognised parameter: tickTime"), "{message}");
    let message = home.load(&format!("{rest}dynamicConfigFile=/no/such\n"), "").unwrap_err();
    assert!(message.starts_with("zoo.cfg:5: dynamicConfigFile: cannot read /no/such"), "{message}");
    let named = format!("{rest}dynamicConfigFile=@/zoo.cfg.dynamic\n");
    write("zoo.cfg.dynamic", lines);
    assert_eq!(home.load(&named, "").unwrap().core.ensemble.unwrap().version, 0);
}

/// A JAAS file and the flag that names it.
fn jaas(folder: &tempfile::TempDir) -> String {
    let digest = "org.apache.zookeeper.server.auth.DigestLoginModule required";
    let text = format!(
        "Server {{ {digest} user_bob=\"builder\"; }};\nQuorumServer {{ {digest} user_test=\"pw\"; }};\n\
         QuorumLearner {{ {digest} username=\"test\" password=\"pw\"; }};\n\
         Kerberos {{ com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true; }};\n"
    );
    let path = folder.path().join("jaas.conf");
    std::fs::write(&path, text).unwrap();
    format!("-Djava.security.auth.login.config={}", path.display())
}

#[test]
fn users_of_sasl_come_from_the_jaas_file_and_without_its_section_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let flags = jaas(&folder);
    let home = Home::new("1");
    let config = home.load("dataDir=@\nsuperUser=bob\nsuperUser.2=ann\n", &flags).unwrap();
    let users = config.core.auth.sasl_users.unwrap();
    assert_eq!(users.passwords["bob"], "builder");
    assert_eq!(users.super_users, ["bob", "ann"]);
    assert!(!config.core.auth.sasl);
    assert!(
        home.load("dataDir=@\nsasl.serverconfig=Other\n", &flags).unwrap().core.auth.sasl_users.is_none()
    );
    let kerberos = home.load("dataDir=@\nsasl.serverconfig=Kerberos\n", &flags).unwrap_err();
    assert!(kerberos.contains("GSSAPI (Kerberos) is not supported"), "{kerberos}");
    let missing = home.load("dataDir=@\n", "-Djava.security.auth.login.config=/no/such").unwrap_err();
    assert!(missing.contains("java.security.auth.login.config: cannot read /no/such"), "{missing}");
    let provider = "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n";
    let required = format!("dataDir=@\n{provider}sessionRequireClientSASLAuth=true\n");
    assert_eq!(load(&required).unwrap().core.auth.enforced, ["sasl"]);
    let alone = load("dataDir=@\nsessionRequireClientSASLAuth=true\n").unwrap_err();
    assert!(alone.ends_with("Authentication scheme sasl is not available"), "{alone}");
}

#[test]
fn servers_that_are_to_prove_themselves_need_users_and_a_login() {
    let folder = tempfile::tempdir().unwrap();
    let flags = jaas(&folder);
    let home = Home::new("1");
    let auth = |more: &str, flags: &str| home.load(&format!("dataDir=@\nquorum.auth.{more}"), flags);
    let sasl = auth("enableSasl=true\nquorum.auth.learnerRequireSasl=true\n", &flags).unwrap();
    let sasl = sasl.security.quorum_sasl.unwrap();
    assert_eq!((sasl.proves, sasl.requires), (true, false));
    assert_eq!((sasl.users["test"].as_str(), sasl.login.0.as_str()), ("pw", "test"));
    for (lines, expected) in [
        (
            "serverRequireSasl=true",
            "quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        (
            "learnerRequireSasl=true",
            "quorum.auth.enableSasl is disabled, so cannot enable quorum.auth.learnerRequireSasl",
        ),
        (
            "enableSasl=true\nquorum.auth.serverRequireSasl=true",
            "quorum.auth.learnerRequireSasl is disabled, so cannot enable quorum.auth.serverRequireSasl",
        ),
        ("enableSasl=true\nquorum.auth.server.saslLoginContext=None", "section 'None' could not be found"),
        (
            "enableSasl=true\nquorum.auth.learner.saslLoginContext=Kerberos",
            "GSSAPI (Kerberos) is not supported",
        ),
    ] {
        let message = auth(lines, &flags).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    assert!(auth("enableSasl=true", "").unwrap_err().contains("set -Djava.security.auth.login.config=FILE"));
}

#[test]
fn a_port_for_tls_has_its_stores_and_certificates_have_a_scheme() {
    let store = |name: &str| format!("{}/../tls/tests/stores/{name}", env!("CARGO_MANIFEST_DIR"));
    let stores = format!(
        "dataDir=@\nssl.keyStore.location={}\nssl.keyStore.password=secret\nssl.trustStore.location={}\n\
         ssl.trustStore.password=secret\n",
        store("server.p12"),
        store("trust.p12")
    );
    let config = load(&format!("{stores}secureClientPort=2281\nsecureClientPortAddress=[::1]\n")).unwrap();
    assert_eq!(config.security.secure_client, Some(HostPort::new("::1", 2281)));
    assert!(config.security.tls.is_some() && config.core.auth.x509 && config.client.is_none());
    let unused = load(&stores).unwrap();
    assert!(unused.security.tls.is_none() && !unused.core.auth.x509);
    let other = load(&format!("{stores}client.portUnification=true\nssl.authProvider=mine\n")).unwrap_err();
    assert!(
        other.contains("No auth provider configured for the SSL authentication scheme 'mine'"),
        "{other}"
    );
    let other =
        load(&format!("{stores}secureClientPort=1\nauthProvider.x509=com.example.Mine\n")).unwrap_err();
    assert!(other.contains("com.example.Mine"), "{other}");
    let lonely = load("dataDir=@\nsecureClientPortAddress=::1\n").unwrap_err();
    assert!(lonely.ends_with("secureClientPortAddress is set but secureClientPort is not set"), "{lonely}");
}
