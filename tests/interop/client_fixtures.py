"""A broker as the test fixtures of client libraries start one: by class, on openssl's certificates, waiting for Kafka's log."""

import re
import shutil
import ssl
import subprocess

from harness import Skipped, World, free_ports, need_python, say, until

PASSWORD = "foobar"
# As a library's fixture writes it, the empty section included.
JAAS = """KafkaServer {
    org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="alice-secret";
};
Client {};
"""


def stores(folder):
    """A key store and a trust store as scripts make them with openssl, whose certificates have no extensions (version 1)."""
    for tool in ("keytool", "openssl"):
        if not shutil.which(tool):
            raise Skipped(f"{tool} is not installed")
    folder.mkdir()

    def run(*command):
        subprocess.run(command, check=True, cwd=folder, capture_output=True, timeout=240)

    def keytool(store, *arguments):
        run("keytool", "-keystore", store, "-storepass", PASSWORD, "-keypass", PASSWORD, "-noprompt", *arguments)

    keytool("key.jks", "-alias", "localhost", "-genkey", "-keyalg", "RSA", "-dname", "CN=localhost", "-validity", "30")
    run("openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca-key", "-out", "ca-cert", "-days",
        "30", "-subj", "/O=Menagerie/CN=authority")
    keytool("trust.jks", "-alias", "CARoot", "-import", "-file", "ca-cert")
    keytool("key.jks", "-alias", "localhost", "-certreq", "-file", "request")
    run("openssl", "x509", "-req", "-CA", "ca-cert", "-CAkey", "ca-key", "-in", "request", "-out", "signed", "-days", "30",
        "-CAcreateserial")
    keytool("key.jks", "-alias", "CARoot", "-import", "-file", "ca-cert")
    keytool("key.jks", "-alias", "localhost", "-import", "-file", "signed")
    return folder


def client_fixtures():
    """A broker as client libraries' fixtures start one: by class, openssl's certificates, an empty JAAS section, log lines."""
    need_python("kafka")
    import kafka

    with World("client-fixtures") as world:
        run_class = world.tool("kafka-run-class.sh")
        folder = stores(world.dir / "stores")
        zookeeper, tls, sasl = free_ports(3)
        (world.dir / "zookeeper.properties").write_text(
            f"dataDir={world.dir}/zk\nclientPort={zookeeper}\nmaxClientCnxns=0\nadmin.enableServer=false\n")
        world.start("zk", run_class, "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                    world.dir / "zookeeper.properties", env={"LOG_DIR": str(world.dir / "logs-zk")})
        logged = lambda name, pattern: re.search(pattern, (world.dir / f"{name}.log").read_text(), re.IGNORECASE)
        until("ZooKeeper's line", 30, lambda: logged("zk", "binding to port"))
        world.run(world.tool("kafka-configs.sh"), "--zookeeper", f"127.0.0.1:{zookeeper}/test", "--alter", "--entity-type",
                  "users", "--entity-name", "alice", "--add-config", "SCRAM-SHA-256=[password=alice-secret]")

        say("a broker that believes its own certificate of version 1")
        (world.dir / "jaas.conf").write_text(JAAS)
        settings = {
            "broker.id": 0, "listeners": f"SSL://localhost:{tls},SASL_SSL://localhost:{sasl}", "log.dirs": world.dir / "data",
            "security.inter.broker.protocol": "SSL", "ssl.client.auth": "requested", "sasl.enabled.mechanisms": "SCRAM-SHA-256",
            "zookeeper.connect": f"127.0.0.1:{zookeeper}/test", "group.initial.rebalance.delay.ms": 0,
            "offsets.topic.replication.factor": 1, "ssl.keystore.location": folder / "key.jks",
            "ssl.keystore.password": PASSWORD, "ssl.key.password": PASSWORD,
            "ssl.truststore.location": folder / "trust.jks", "ssl.truststore.password": PASSWORD}
        file = world.dir / "kafka.properties"
        file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        world.start("broker", run_class, "kafka.Kafka", file, env={
            "KAFKA_OPTS": f"-Djava.security.auth.login.config={world.dir / 'jaas.conf'}",
            "LOG_DIR": str(world.dir / "logs-broker")})
        until("the broker's line", 30, lambda: logged("broker", r"\[Kafka ?Server (id=)?0\],? started"))
        until("the line after which credentials count", 30, lambda: logged("broker", "Removing Produce quota for user alice"))

        context = ssl.create_default_context(cafile=str(folder / "ca-cert"))
        # Its only name is a common one, which Python does not look at.
        context.check_hostname = False
        login = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-256", "sasl_plain_username": "alice",
                 "sasl_plain_password": "alice-secret"}
        for name, port, how in (("SSL", tls, {"security_protocol": "SSL"}), ("SASL_SSL", sasl, login)):
            say(f"kafka-python by {name}")
            at = {"bootstrap_servers": f"localhost:{port}", "ssl_context": context, **how}
            producer = kafka.KafkaProducer(**at, acks="all")
            sent = [producer.send(name, b"%d" % i) for i in range(100)]
            producer.flush(240)
            assert all(s.get(120).offset >= 0 for s in sent)
            producer.close()
            consumer = kafka.KafkaConsumer(name, **at, group_id=name, auto_offset_reset="earliest", consumer_timeout_ms=120000)
            got = []
            for message in consumer:
                got.append(int(message.value))
                if len(got) == 100:
                    break
            consumer.close()
            assert got == list(range(100)), got
