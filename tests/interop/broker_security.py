"""Brokers behind TLS and logins: ours and Java's in one cluster, tools of both kinds, librdkafka."""

import subprocess

from harness import World, free_ports, need_peer, say, secure_cluster_is_up, until
from zookeeper_security import PASSWORD, Stores

SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


def login(user, password, module=SCRAM):
    return f'{module} username="{user}" password="{password}";'


def client_file(world, stores, name, user, password, mechanism="SCRAM-SHA-512"):
    module = PLAIN if mechanism == "PLAIN" else SCRAM
    file = world.dir / f"{name}.properties"
    file.write_text(f"security.protocol=SASL_SSL\nsasl.mechanism={mechanism}\n"
                    f"sasl.jaas.config={login(user, password, module)}\n"
                    f"ssl.truststore.location={stores.folder}/trust.jks\nssl.truststore.password={PASSWORD}\n")
    return file


def rdkafka(bootstrap, stores):
    """librdkafka reads what Java's tools wrote, where its build has SASL and TLS."""
    try:
        import confluent_kafka as ck
    except ImportError:
        return say("confluent_kafka is not here")
    consumer = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": "rd", "auto.offset.reset": "earliest",
                            "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
                            "sasl.username": "admin", "sasl.password": "admin-secret",
                            "ssl.ca.location": str(stores.folder / "ca.pem")})
    consumer.subscribe(["t"])
    read = []
    until("what was written, by librdkafka", 60,
          lambda: (read.extend(m.value().decode() for m in consumer.consume(100, 1) if not m.error()),
                   len(read) >= 200)[1])
    consumer.close()
    assert sorted(set(read)) == sorted([f"{kind}-{i}" for kind in ("java", "ours") for i in range(100)]), len(read)


def secure_brokers():
    """SASL_SSL with SCRAM between two brokers of ours and one of Java's, and to the tools of both kinds."""
    kafka = need_peer("kafka")
    with World("secure-brokers") as world:
        stores = Stores(world.dir / "stores")
        stores.key("broker", "CN=broker,OU=Menagerie")
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        ours = {tool: world.tool(f"kafka-{tool}.sh")
                for tool in ("configs", "topics", "console-producer", "console-consumer")}
        say("the first credentials, before there is a broker")
        world.run(ours["configs"], "--zookeeper", ensemble.connect, "--alter", "--entity-type", "users", "--entity-name",
                  "admin", "--add-config", "SCRAM-SHA-512=[iterations=8192,password=admin-secret]")
        ports = dict(enumerate(free_ports(3), 1))
        bootstrap = ",".join(f"localhost:{port}" for port in ports.values())
        for number, port in ports.items():
            world.broker(number, port, ensemble.connect, kafka if number == 2 else None, **{
                "listeners": f"SECURE://localhost:{port}", "listener.security.protocol.map": "SECURE:SASL_SSL",
                "inter.broker.listener.name": "SECURE", "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
                "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
                "listener.name.secure.scram-sha-512.sasl.jaas.config": login("admin", "admin-secret"),
                "listener.name.secure.plain.sasl.jaas.config": f'{PLAIN} user_pat="pat-secret";',
                "ssl.keystore.location": stores.folder / "broker.p12", "ssl.keystore.password": PASSWORD,
                "ssl.truststore.location": stores.folder / "trust.jks", "ssl.truststore.password": PASSWORD})
        admin = client_file(world, stores, "admin", "admin", "admin-secret")
        pat = client_file(world, stores, "pat", "pat", "pat-secret", "PLAIN")
        at = ["--bootstrap-server", bootstrap]
        secure_cluster_is_up(world, {number: f"localhost:{port}" for number, port in ports.items()}, admin)
        world.run(ours["topics"], *at, "--command-config", admin, "--create", "--topic", "t", "--partitions", 3, "--replication-factor", 3)
        isr = lambda: world.run(ours["topics"], *at, "--command-config", admin, "--describe", "--topic", "t")
        until("all replicas in sync", 60,
              lambda: sum(len(line.split("Isr: ")[1].split(",")) for line in isr().splitlines() if "Isr: " in line) == 9)

        say("tools of both kinds, by SCRAM and by PLAIN")
        lines = lambda kind: "".join(f"{kind}-{i}\n" for i in range(100))
        world.run(kafka, "console-producer", *at, "--topic", "t", "--producer.config", admin, input=lines("java"))
        world.run(ours["console-producer"], *at, "--topic", "t", "--producer.config", pat, input=lines("ours"))
        for tool in ([ours["console-consumer"]], [kafka, "console-consumer"]):
            read = world.run(*tool, *at, "--topic", "t", "--from-beginning", "--max-messages", 200, "--timeout-ms", 240000,
                             "--consumer.config", pat)
            assert sum(line.startswith(("java-", "ours-")) for line in read.splitlines()) == 200, read[-2000:]
        rdkafka(bootstrap, stores)

        say("credentials that come and go")
        for tool in ([ours["configs"]], [kafka, "configs"]):
            change = [*tool, *at, "--command-config", admin, "--alter", "--entity-type", "users", "--entity-name", "ann"]
            world.run(*change, "--add-config", "SCRAM-SHA-512=[password=ann-secret]")

            def same():
                shown = [world.run(*shower, *at, "--command-config", admin, "--describe", "--entity-type", "users",
                                   "--entity-name", "ann") for shower in ([ours["configs"]], [kafka, "configs"])]
                assert shown[0] == shown[1] and "SCRAM-SHA-512=iterations=4096" in shown[0], shown
                return True

            until("the same of both", 20, same)
            ann = client_file(world, stores, "ann", "ann", "ann-secret")
            until("Ann's login at every broker", 30, lambda: all(
                world.run(ours["topics"], "--bootstrap-server", f"localhost:{port}", "--command-config", ann, "--list")
                for port in ports.values()))
            world.run(*change, "--delete-config", "SCRAM-SHA-512")

        say("wrong passwords")
        wrong = {"scram": client_file(world, stores, "wrong", "admin", "not-it"),
                 "plain": client_file(world, stores, "wrong-plain", "pat", "not-it", "PLAIN")}
        words = {"scram": "Authentication failed during authentication due to invalid credentials with SASL mechanism "
                          "SCRAM-SHA-512", "plain": "Authentication failed: Invalid username or password"}
        for kind, file in wrong.items():
            for tool in ([ours["topics"]], [kafka, "topics"]):
                for number in (1, 2):
                    command = [*tool, "--bootstrap-server", f"localhost:{ports[number]}", "--command-config", file, "--list"]
                    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=400)
                    said = done.stdout + done.stderr
                    assert done.returncode and f"SaslAuthenticationException: {words[kind]}" in said, said[-2000:]
        for number in (1, 3):
            log = (world.dir / f"broker-{number}.log").read_text()
            assert "secret" not in log and "not-it" not in log, "a password stands in the log"
