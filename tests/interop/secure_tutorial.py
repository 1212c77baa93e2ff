"""The tutorial with everything locked: TLS, SCRAM and ACLs, from ZooKeeper up (docs/secure-tutorial.md)."""

import os
import re
import subprocess

from broker_security import client_file, login
from harness import World, free_ports, need_peer, say, secure_cluster_is_up, until
from zookeeper_auth import NETTY, SASL_PROVIDER, in_parallel
from zookeeper_security import DIGEST, PASSWORD, Stores, append, cli

USERS = ("admin", "alice", "bob", "carol", "eve")


def secure_tutorial():
    """TLS, DIGEST and SCRAM everywhere: users before brokers, ACLs by SASL names, and who has no rights gets Kafka's very errors."""
    kafka = need_peer("kafka")
    with World("secure-tutorial") as world:
        stores = Stores(world.dir / "stores")
        for name in ("zookeeper", "broker"):
            stores.key(name, f"CN={name},OU=Menagerie")
        secrets = Secured(world, stores, kafka)
        secrets.ensemble()
        secrets.users()
        secrets.brokers()
        secrets.topics_and_messages()
        secrets.strangers()
        secrets.nothing_leaked()


class Secured:
    def __init__(self, world, stores, kafka):
        self.world, self.stores, self.kafka = world, stores, kafka
        self.tools = {tool: [world.tool(f"kafka-{tool}.sh")] for tool in
                      ("configs", "topics", "acls", "console-producer", "console-consumer", "consumer-groups")}
        self.clients = {user: client_file(world, stores, user, user, f"{user}-secret") for user in USERS}
        # Who is refused hears so at once.
        for file in self.clients.values():
            with open(file, "a") as out:
                out.write("delivery.timeout.ms=120000\nrequest.timeout.ms=60000\n")
        # Behind those of the ensemble, which are taken later.
        self.ports = dict(enumerate(free_ports(4 * 3 + 3)[-3:], 1))

    def at(self, *numbers):
        return ",".join(f"localhost:{self.ports[number]}" for number in numbers or self.ports)

    def ensemble(self):
        """1. Three ZooKeepers that speak TLS to brokers and know them by DIGEST."""
        (self.world.dir / "zookeeper.jaas").write_text(f'Server {{ {DIGEST} user_kafka="kafka-secret"; }};\n')
        (self.world.dir / "kafka.jaas").write_text(f'Client {{ {DIGEST} username="kafka" password="kafka-secret"; }};\n')
        ensemble = self.world.ensemble(["ours"] * 3)
        for i, port in ensemble.client.items():
            append(self.world.dir / f"zoo-{i}.cfg", {
                "secureClientPort": port + 3, "authProvider.1": SASL_PROVIDER, "ssl.clientAuth": "none", **self.stores.lines("zookeeper"),
                "sslQuorum": "true", **self.stores.lines("zookeeper", "ssl.quorum.")})
        os.environ["SERVER_JVMFLAGS"] = f"-Djava.security.auth.login.config={self.world.dir}/zookeeper.jaas"
        try:
            ensemble.start_all()
        finally:
            del os.environ["SERVER_JVMFLAGS"]
        self.plain = ensemble.connect
        self.connect = ",".join(f"localhost:{port + 3}" for port in ensemble.client.values()) + "/test"
        say("three ZooKeepers, by TLS among themselves and for who comes")

    def zk_keys(self):
        return {"zookeeper.ssl.client.enable": "true", "zookeeper.clientCnxnSocket": NETTY, "zookeeper.ssl.protocol": "TLSv1.3",
                "zookeeper.ssl.truststore.location": self.stores.folder / "trust.jks", "zookeeper.ssl.truststore.password": PASSWORD}

    def with_login(self, act):
        os.environ["KAFKA_OPTS"] = f"-Djava.security.auth.login.config={self.world.dir}/kafka.jaas"
        try:
            return act()
        finally:
            del os.environ["KAFKA_OPTS"]

    def users(self):
        """2. SCRAM users, before there is a broker."""
        tls_file = self.world.dir / "zk-tls.properties"
        tls_file.write_text("".join(f"{key}={value}\n" for key, value in self.zk_keys().items()))
        for user in USERS:
            said = self.with_login(lambda user=user: self.world.run(
                *self.tools["configs"], "--zookeeper", self.connect, "--zk-tls-config-file", tls_file, "--alter", "--entity-type", "users",
                "--entity-name", user, "--add-config", f"SCRAM-SHA-512=[password={user}-secret]"))
            assert f"Completed updating config for entity: user-principal '{user}'." in said, said
        tool, server = [self.world.tool("zkCli.sh")], self.plain.split(",")[0]
        refused = cli(self.world, tool, server, {}, "get", "/test/config/users/admin", check=False)
        assert "Insufficient permission" in refused or "NoAuth" in refused, refused
        say(f"{len(USERS)} users, whose credentials nobody else can read")

    def brokers(self):
        """3. Two brokers of ours and one of Java's, SASL_SSL only, with AclAuthorizer."""
        for number, port in self.ports.items():
            self.with_login(lambda number=number, port=port: self.world.broker(
                number, port, self.connect, self.kafka if number == 2 else None, **{
                    **self.zk_keys(), "zookeeper.set.acl": "true", "listeners": f"SECURE://localhost:{port}",
                    "listener.security.protocol.map": "SECURE:SASL_SSL", "inter.broker.listener.name": "SECURE", "sasl.enabled.mechanisms": "SCRAM-SHA-512",
                    "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
                    "listener.name.secure.scram-sha-512.sasl.jaas.config": login("admin", "admin-secret"),
                    "ssl.keystore.location": self.stores.folder / "broker.p12", "ssl.keystore.password": PASSWORD,
                    "ssl.truststore.location": self.stores.folder / "trust.jks", "ssl.truststore.password": PASSWORD,
                    "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer", "super.users": "User:admin",
                    "offsets.topic.num.partitions": 2, "auto.create.topics.enable": "false"}))

        secure_cluster_is_up(self.world, {number: self.at(number) for number in self.ports}, self.clients["admin"])
        self.world.run(*self.tools["topics"], "--bootstrap-server", self.at(), "--command-config", self.clients["admin"],
                       "--create", "--topic", "delta-topic", "--replica-assignment", "1:2:3,2:3:1,3:1:2")
        # Java's is in the metadata before it answers.
        for number in self.ports:
            until(f"broker {number}", 150, lambda number=number: "delta-topic" in self.run("admin", "topics", "--list", numbers=(number,))[1])
        say("three brokers that know each other by SCRAM")

    def run(self, who, tool, *words, numbers=(), java=False, option="--command-config", input=None):
        """A tool by somebody: exit code and what it says."""
        command = [self.kafka, tool] if java else self.tools[tool]
        command = [*command, "--bootstrap-server", self.at(*numbers), option, self.clients[who], *words]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=400, cwd=self.world.dir, input=input)
        return done.returncode, done.stdout + done.stderr

    def allow(self, *words):
        code, said = self.run("admin", "acls", "--add", *words)
        assert code == 0, said

    def produce(self, who, topic, lines, **how):
        return self.run(who, "console-producer", "--topic", topic, "--producer-property", "acks=all", option="--producer.config",
                        input="".join(f"{line}\n" for line in lines), **how)

    def consume(self, who, topic, group, *words, **how):
        return self.run(who, "console-consumer", "--topic", topic, "--group", group, "--from-beginning", "--timeout-ms", "240000", *words,
                        option="--consumer.config", **how)

    def topics_and_messages(self):
        """4. Alice writes, Bob reads in his group; nobody else does either."""
        for java, topic in ((False, "ours-led"), (True, "javas-led")):
            code, said = self.run("admin", "topics", "--create", "--topic", topic, "--replica-assignment", "2:1" if java else "1:2")
            assert code == 0, said
        self.allow("--allow-principal", "User:alice", "--producer", "--topic", "delta-topic")
        self.allow("--allow-principal", "User:bob", "--consumer", "--topic", "delta-topic", "--group", "readers")
        for topic in ("ours-led", "javas-led"):
            self.allow("--allow-principal", "User:carol", "--operation", "Describe", "--topic", topic)
        for number in self.ports:
            listed = lambda: self.run("admin", "acls", "--list", numbers=(number,))[1]
            until(f"all rights at broker {number}", 30, lambda: all(word in (text := listed()) for word in ("alice", "name=readers"))
                  and text.count("User:carol") == 2 and text.count("User:bob") == 3)
        until("Alice to write", 20, lambda: "ERROR" not in self.produce("alice", "delta-topic", ["probe"], numbers=(1, 3))[1])
        for java in (False, True):
            code, said = self.produce("alice", "delta-topic", [f"{'java' if java else 'ours'}-{i}" for i in range(50)], java=java)
            assert code == 0 and "ERROR" not in said, said[-2000:]
        read = {}
        in_parallel(*(lambda java=java: read.update({java: self.consume("bob", "delta-topic", "readers", "--max-messages", "50", java=java)})
                      for java in (False, True)))
        lines = [line for _, said in read.values() for line in said.splitlines() if line.startswith(("java-", "ours-", "probe"))]
        assert len(lines) >= 100, [said[-1500:] for _, said in read.values()]
        code, listed = self.run("bob", "consumer-groups", "--describe", "--group", "readers")
        assert code == 0 and "delta-topic" in listed, listed
        code, said = self.run("admin", "topics", "--describe", "--topic", "delta-topic")
        assert code == 0 and said.count("Leader: ") == 3, said
        say(f"Alice wrote and Bob read {len(lines)} messages, by tools of both kinds")

    def strangers(self):
        """5. Who has no rights gets the same from a broker of ours and from Java's, by tools of either kind."""
        cases = [
            ("eve", "topics", ["--describe", "--topic", "delta-topic"]), ("eve", "topics", ["--list"]),
            ("eve", "topics", ["--create", "--topic", "new", "--partitions", "1"]), ("eve", "topics", ["--delete", "--topic", "delta-topic"]),
            ("eve", "topics", ["--alter", "--topic", "delta-topic", "--partitions", "9"]),
            ("carol", "topics", ["--alter", "--topic", "ours-led", "--partitions", "9"]), ("carol", "topics", ["--list"]),
            ("eve", "acls", ["--list"]), ("eve", "acls", ["--add", "--allow-principal", "User:eve", "--topic", "delta-topic"]),
            ("eve", "configs", ["--describe", "--entity-type", "topics", "--entity-name", "delta-topic"]),
            ("eve", "configs", ["--alter", "--entity-type", "topics", "--entity-name", "delta-topic", "--add-config", "retention.ms=1"]),
            ("eve", "configs", ["--describe", "--entity-type", "users", "--entity-name", "admin"]),
            ("eve", "configs", ["--alter", "--entity-type", "users", "--entity-name", "eve", "--add-config", "SCRAM-SHA-512=[password=x]"]),
            ("eve", "consumer-groups", ["--describe", "--group", "readers"]), ("eve", "consumer-groups", ["--list"]),
            ("alice", "consumer-groups", ["--delete", "--group", "readers"]),
        ]
        answers = {}

        def ask(case, number, java):
            who, tool, words = cases[case]
            code, said = self.run(who, tool, *words, numbers=(number,), java=java)
            answers[case, number, java] = (code, wording(said))

        # Java's tools are slow to start: every fourth case, by them, too.
        asked = [(case, number, False) for case in range(len(cases)) for number in (1, 2)]
        asked += [(case, number, True) for case in range(0, len(cases), 4) for number in (1, 2)]
        for at in range(0, len(asked), 4):
            in_parallel(*(lambda one=one: ask(*one) for one in asked[at:at + 4]))
        differ = []
        for case, (who, tool, words) in enumerate(cases):
            for java in (False, True):
                both = [answers.get((case, number, java)) for number in (1, 2)]
                for _ in range(2):
                    # A client that had to wait says more.
                    if both[0] != both[1]:
                        in_parallel(*(lambda number=number: ask(case, number, java) for number in (1, 2)))
                        both = [answers[case, number, java] for number in (1, 2)]
                if both[0] != both[1]:
                    differ.append(f"{who}: {tool} {words} (java: {java}):\nours   {both[0]}\nJava's {both[1]}")
        assert "TopicAuthorizationException" in " ".join(answers[2, 1, False][1]), answers[2, 1, False]
        assert "ClusterAuthorizationException" in " ".join(answers[7, 1, False][1]), answers[7, 1, False]

        said = {}
        # Eve may not even see a topic; Carol sees it, and may neither write nor read.
        flows = [("eve", "delta-topic", None), ("carol", None, None)]
        jobs = []
        for who, topic, _ in flows:
            for number, led in ((1, "ours-led"), (2, "javas-led")):
                jobs.append((who, topic or led, number, "produce"))
                jobs.append((who, topic or led, number, "consume"))

        def flow(who, topic, number, what):
            if what == "produce":
                code, text = self.produce(who, topic, ["x"], numbers=(number,))
            else:
                code, text = self.consume(who, topic, "other", numbers=(number,))
            said[who, number, what] = (code, [line.replace("javas-led", "T").replace("ours-led", "T") for line in wording(text)])

        in_parallel(*(lambda job=job: flow(*job) for job in jobs))
        for who in ("eve", "carol"):
            for what in ("produce", "consume"):
                both = [said[who, number, what] for number in (1, 2)]
                for _ in range(2):
                    if both[0] != both[1]:
                        in_parallel(*(lambda job=job: flow(*job) for job in jobs if job[0] == who and job[3] == what))
                        both = [said[who, number, what] for number in (1, 2)]
                if both[0] != both[1] or "uthoriz" not in " ".join(both[0][1]):
                    differ.append(f"{who} {what}:\nours   {both[0]}\nJava's {both[1]}")
        assert not differ, "\n".join(differ)
        say(f"{len(cases)} refusals, and those of producers and consumers, are the same from ours and from Java's")

    def nothing_leaked(self):
        """6. No secret is in a log, nor in what DescribeConfigs shows."""
        code, shown = self.run("admin", "configs", "--describe", "--all", "--entity-type", "brokers", "--entity-name", "1")
        assert code == 0 and "zookeeper.ssl.truststore.password=null sensitive=true" in shown, shown[-3000:]
        texts = {"DescribeConfigs": shown, **{log.name: log.read_text(errors="replace") for log in self.world.dir.glob("*.log")
                                              if log.name not in ("broker-2.log",)}}
        for name, text in texts.items():
            for secret in [f"{user}-secret" for user in (*USERS, "kafka")]:
                assert secret not in text, f"{secret} stands in {name}"
        say(f"no secret in {len(texts)} logs and descriptions")


def wording(said):
    """Without times, stack frames, and what is a connection's or a process's own."""
    lines = []
    for line in said.splitlines():
        line = re.sub(r"^\[\d[^\]]*\] ", "", line.strip())
        line = re.sub(r"processor=\d+, connectionId=[^,]*", "~", line)
        line = re.sub(r"--bootstrap-server localhost:\d+", "~", line)
        line = re.sub(r"localhost:\d+ \(id: -?\d+ rack: null\)|correlation id \d+|clientId=[\w.-]+|[\w-]*-\d+-[0-9a-f-]{30,}", "~", line)
        if line and not line.startswith(("at ", "... ", "Caused by")):
            lines.append(line)
    return lines
