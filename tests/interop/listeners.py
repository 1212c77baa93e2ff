"""Several listeners of brokers of both kinds, and settings that change while they run: ours beside Java's."""

import json
import shutil
import socket
import ssl
import subprocess

from broker_security import PLAIN, login
from config_wire import APPEND, BROKER, DELETE, LOGGER, SET, SUBTRACT, Wire
from harness import World, cluster_is_up, free_ports, need_peer, need_python, say, until
from mixed_ensemble import with_client
from zookeeper_security import PASSWORD

SECRET = "first-secret"
CERTS = "listener.name.certs."
NAMES = ("INTERNAL", "CONTROL", "LOGIN", "CERTS", "NEW")
PROTOCOLS = "INTERNAL:PLAINTEXT,CONTROL:PLAINTEXT,LOGIN:SASL_PLAINTEXT,CERTS:SSL,NEW:SASL_PLAINTEXT"


class Pair:
    """Broker 1 is ours, broker 2 Java's."""

    def __init__(self, world, kafka, ensemble, stores):
        self.world, self.kafka, self.ensemble, self.stores = world, kafka, ensemble, stores
        self.wrong = []
        ports = free_ports(10)
        self.ports = {number: dict(zip(NAMES, ports[5 * (number - 1):])) for number in (1, 2)}

    def listeners(self, number, *names):
        return ",".join(f"{name}://127.0.0.1:{self.ports[number][name]}" for name in names)

    def start(self, number, **more):
        folder = self.stores.folder
        self.world.broker(number, 0, self.ensemble.connect, self.kafka if number == 2 else None, **{
            "listeners": self.listeners(number, *NAMES[:4]), "listener.security.protocol.map": PROTOCOLS,
            "inter.broker.listener.name": "INTERNAL", "control.plane.listener.name": "CONTROL",
            "listener.name.login.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.login.plain.sasl.jaas.config": f'{PLAIN} user_pat="pat-secret";',
            CERTS + "ssl.client.auth": "required", "ssl.principal.mapping.rules":
                "RULE:^CN=(.*?),OU=Menagerie$/$1@certs/,DEFAULT",
            CERTS + "ssl.keystore.location": folder / f"broker-{number}.p12",
            CERTS + "ssl.keystore.type": "PKCS12", CERTS + "ssl.truststore.type": "PEM",
            CERTS + "ssl.truststore.location": folder / "ca.pem",
            "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer",
            "super.users": "User:ANONYMOUS;User:pat;User:alice@certs", "default.replication.factor": 2,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1, "password.encoder.secret": SECRET, **more})

    def wire(self, number):
        return Wire(self.ports[number]["INTERNAL"])

    def both(self, act):
        """What `act` gets of each, which is the same but for ids and ports."""
        got = []
        for number in (1, 2):
            with self.wire(number) as wire:
                shown = repr(act(wire, number))
            for name, port in self.ports[number].items():
                shown = shown.replace(str(port), f"<{name}>")
            for mark in ("name='{}'", "broker-{}", "expected {}"):
                shown = shown.replace(mark.format(number), mark.format("N"))
            got.append(shown)
        return got

    def same(self, what, act):
        ours, java = self.both(act)
        if ours != java:
            self.wrong.append(f"{what}:\n ours {ours}\n Java {java}")

    def set(self, number, settings, operation=SET):
        with self.wire(number) as wire:
            answer = wire.alter(BROKER, str(number), [(key, operation, str(value)) for key, value in settings.items()])
        assert answer[0] == 0, f"broker {number}: {settings}: {answer}"

    def node(self, path):
        return with_client(self.ensemble, 1, lambda c: (c.sync("/"), c.get(path)[0])[1].decode())

    def certificate(self, number):
        """What the listener CERTS shows, to somebody who shows Alice's."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.stores.folder / "ca.pem")
        context.load_cert_chain(self.stores.folder / "alice.pem", self.stores.folder / "alice.key")
        try:
            with socket.create_connection(("127.0.0.1", self.ports[number]["CERTS"]), timeout=60) as plain:
                with context.wrap_socket(plain) as secured:
                    return secured.getpeercert(True)
        except OSError:
            return None


class Certificates:
    """An authority and keys that it signed, by openssl: keytool takes seconds for each step."""

    def __init__(self, world):
        self.world, self.folder = world, world.dir / "stores"
        self.folder.mkdir()
        self.openssl("req", "-x509", *self.fresh("ca"), "-subj", "/CN=listeners-ca", "-days", 30, "-out", "ca.pem")

    def openssl(self, *arguments):
        done = subprocess.run(["openssl", *map(str, arguments)], cwd=self.folder, capture_output=True, text=True)
        assert not done.returncode, done.stderr

    def fresh(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]

    def key(self, name, subject):
        self.openssl("req", *self.fresh(name), "-subj", subject, "-out", f"{name}.csr")
        (self.folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                     "-days", 30, "-extfile", "names", "-out", f"{name}.pem")
        self.openssl("pkcs12", "-export", "-inkey", f"{name}.key", "-in", f"{name}.pem", "-certfile", "ca.pem",
                     "-passout", f"pass:{PASSWORD}", "-out", f"{name}.p12")


def make_stores(world):
    stores = Certificates(world)
    for name, subject in (("broker-1", "/CN=broker"), ("broker-2", "/CN=broker"), ("next", "/CN=broker"),
                          ("third", "/CN=broker"), ("other", "/CN=other"), ("alice", "/OU=Menagerie/CN=alice"),
                          ("mallory", "/OU=Menagerie/CN=mallory")):
        stores.key(name, subject)
    return stores


def encrypted_before_the_start(pair, ours):
    """Each kind's tool writes the password that the other kind's broker needs."""
    add = f"{CERTS}ssl.keystore.password={PASSWORD},password.encoder.secret={SECRET}"
    for number, tool in ((1, [pair.kafka, "configs"]), (2, [ours])):
        said = pair.world.run(*tool, "--zookeeper", pair.ensemble.connect, "--alter", "--entity-type", "brokers",
                              "--entity-name", number, "--add-config", add)
        assert "Completed updating config for entity: brokers" in said, said
        node = pair.node(f"/config/brokers/{number}")
        assert "encryptedPassword" in node and PASSWORD not in node and SECRET not in node, node
    missing = pair.world.run(ours, "--zookeeper", pair.ensemble.connect, "--alter", "--entity-type", "brokers",
                             "--entity-name", 1, "--add-config", f"{CERTS}ssl.key.password=x", check=False)
    assert "password.encoder.secret must be specified" in missing, missing


def by_every_listener(pair, topics):
    """A topic made by a login, seen by a certificate, written and read by Java's tools."""
    world, folder = pair.world, pair.stores.folder
    client = {"LOGIN": f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
                       f"sasl.jaas.config={login('pat', 'pat-secret', PLAIN)}\n"}
    for name in ("alice", "mallory"):
        client[name] = (f"security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={folder}/ca.pem\n"
                        f"ssl.keystore.type=PKCS12\nssl.keystore.location={folder}/{name}.p12\n"
                        f"ssl.keystore.password={PASSWORD}\n")
    files = {name: world.dir / f"{name}.properties" for name in client}
    for name, lines in client.items():
        files[name].write_text(lines)
    by = lambda number, listener, name: ["--bootstrap-server", f"127.0.0.1:{pair.ports[number][listener]}",
                                         "--command-config", files[name]]
    create = ["--create", "--topic", "t", "--partitions", 2, "--replication-factor", 2]
    until("a topic on both", 60, lambda: world.run(topics, *by(1, "LOGIN", "LOGIN"), *create, check=False) is not None
          and "t" in world.run(topics, *by(1, "LOGIN", "LOGIN"), "--list").split())
    for number, tool in ((1, [pair.kafka, "topics"]), (2, [topics])):
        until(f"the topic at {number}", 60, lambda: "t" in world.run(*tool, *by(number, "CERTS", "alice"), "--list").split())
        denied = world.run(topics, *by(number, "CERTS", "mallory"), "--list")
        assert "t" not in denied.split(), "a stranger sees the topic"
    for listener in ("CONTROL", "INTERNAL"):
        at = ["--bootstrap-server", f"127.0.0.1:{pair.ports[1][listener]}"]
        assert "t" in world.run(topics, *at, "--list").split(), f"clients are served by {listener}"
    lines = "".join(f"{i}\n" for i in range(50))
    world.run(pair.kafka, "console-producer", "--bootstrap-server", f"127.0.0.1:{pair.ports[2]['CERTS']}", "--topic", "t",
              "--producer.config", files["alice"], input=lines)
    read = world.run(world.tool("kafka-console-consumer.sh"), "--bootstrap-server",
                     f"127.0.0.1:{pair.ports[1]['LOGIN']}", "--topic", "t", "--from-beginning", "--max-messages", 50,
                     "--timeout-ms", 240000, "--consumer.config", files["LOGIN"])
    assert set(lines.split()) <= set(read.split()), read[-500:]
    # Java's sockets are of version 6.
    connected = lambda port: any(line.split()[3] == "01" and int(line.split()[1].split(":")[1], 16) == port
                                 for table in ("tcp", "tcp6") for line in open(f"/proc/net/{table}").readlines()[1:])
    for number in (1, 2):
        until(f"the controller to come to {number} by its own listener", 10, lambda: connected(pair.ports[number]["CONTROL"]))


# Values that are each broker's own.
OWN = ("advertised.listeners", "broker.id", "listeners", "log.dirs", "node.id", "listener.name.certs.ssl.keystore.location",
       "zookeeper.connect")


def described_alike(pair):
    """Both kinds say the same of every setting: value, source, synonyms, type, whether it may change or is secret."""
    got = []
    for number in (1, 2):
        with pair.wire(number) as wire:
            error, entries = wire.describe(BROKER, str(number))
            assert error[0] == 0, error
            got.append(entries)
    ours, java = got
    pair.wrong += [f"{name}: ours {ours.get(name)} Java {java.get(name)}" for name in sorted(ours.keys() | java.keys())
                   if name not in OWN and ours.get(name) != java.get(name)]
    assert ours["advertised.listeners"][2:5] == java["advertised.listeners"][2:5]


def answers_alike(pair):
    """Changes that are taken, and those that are not, with the same words."""
    own, everybody = (lambda number: str(number)), (lambda number: "")
    cases = [(own, "log.dirs", "/x"), (own, "num.io.threads", "100"), (own, "num.io.threads", "0"),
             (everybody, "num.io.threads", "1"), (everybody, "background.threads", "x"), (own, "log.retention.ms", "0"),
             (own, "ssl.keystore.location", "/x"), (everybody, CERTS + "ssl.keystore.location", "/x"),
             (everybody, "listeners", "INTERNAL://:1"), (own, "max.connections", "0"), (own, "metric.reporters", "a.B"),
             (own, "principal.builder.class", "a.B"), (own, "listener.name.login.max.connections", "0"),
             (own, "num.network.threads", "99"), (own, "listener.name.login.num.network.threads", "99"),
             (own, "log.cleaner.threads", "9"), (own, "log.cleaner.dedupe.buffer.size", "1000"),
             (everybody, "unclean.leader.election.enable", "maybe"), (own, "max.connections.per.ip", "0"),
             (own, "compression.type", "rar"), (own, "ssl.client.auth", "often"), (own, "unknown.key", "x"),
             (own, "message.max.bytes", "-1"), (everybody, "listener.name.login.plain.sasl.jaas.config", "x"),
             (own, "producer.id.expiration.ms", "0"), (own, "password.encoder.secret", "x")]
    for name, key, value in cases:
        pair.same(f"{key}={value}", lambda wire, number: wire.alter(BROKER, name(number), [(key, SET, value)], True))
    now = {number: pair.listeners(number, *NAMES[:4]) for number in (1, 2)}
    for what, value in (("no inter-broker listener", lambda n: pair.listeners(n, "LOGIN", "CONTROL")),
                        ("unknown listener", lambda n: now[n] + ",WHAT://127.0.0.1:1"),
                        ("one name twice", lambda n: now[n] + ",LOGIN://127.0.0.1:1")):
        pair.same(what, lambda wire, n: wire.alter(BROKER, str(n), [("listeners", SET, value(n))], True))
    pair.same("another protocol", lambda wire, n: wire.alter(BROKER, str(n), [
        ("listener.security.protocol.map", SET, PROTOCOLS.replace("LOGIN:SASL_PLAINTEXT", "LOGIN:PLAINTEXT"))], True))
    pair.same("settings of an open listener", lambda wire, n: wire.alter(BROKER, str(n), [
        ("listeners", SET, pair.listeners(n, *NAMES)), ("listener.name.login.connections.max.reauth.ms", SET, "9"),
        ("listener.name.new.sasl.enabled.mechanisms", SET, "PLAIN"),
        ("listener.name.new.plain.sasl.jaas.config", SET, f'{PLAIN} user_x="y";')], True))
    for what, changes in (("twice", [("num.io.threads", SET, "8"), ("num.io.threads", SET, "9")]),
                          ("null", [("num.io.threads", SET, None), ("log.retention.ms", SET, None)]),
                          ("operation", [("num.io.threads", 9, "8")]), ("append", [("num.io.threads", APPEND, "8")]),
                          ("append unknown", [("unknown", APPEND, "8")]), ("delete", [("num.io.threads", DELETE, None)]),
                          ("subtract", [("sasl.enabled.mechanisms", SUBTRACT, "GSSAPI")])):
        pair.same(what, lambda wire, n: wire.alter(BROKER, str(n), changes, True))
    pair.same("another broker", lambda wire, n: [code for code, _ in (
        wire.alter(BROKER, "7", [("num.io.threads", SET, "8")]), wire.alter(BROKER, "x", []))])
    # To one resource twice Java never answers.
    with pair.wire(1) as wire:
        twice = wire.replace(BROKER, "1", [{"num.io.threads": "8"}] * 2, True)
        assert twice == [(42, "Each resource must appear at most once.")] * 2, twice
    pair.same("null in a set", lambda wire, n: wire.replace(BROKER, str(n), {"num.io.threads": None}, True))
    pair.same("loggers by the older request", lambda wire, n: wire.replace(LOGGER, str(n), {"root": "INFO"}, True))


def loggers_alike(pair):
    for what, changes in (("unknown", [("What", SET, "INFO")]), ("level", [("kafka", SET, "OFF")]),
                          ("root", [("root", DELETE, None)]), ("append", [("kafka", APPEND, "INFO")]),
                          ("operation", [("kafka", 7, "INFO")]), ("none", [("kafka", SET, None)])):
        pair.same(what, lambda wire, n: wire.alter(LOGGER, str(n), changes))
    pair.same("nobody's", lambda wire, n: wire.alter(LOGGER, "", [("kafka", SET, "INFO")]))
    pair.same("another's", lambda wire, n: wire.describe(LOGGER, "9")[0])
    for number in (1, 2):
        with pair.wire(number) as wire:
            loggers = wire.describe(LOGGER, str(number))[1]
            for name in ("root", "kafka", "kafka.controller.KafkaController", "kafka.log.LogCleaner",
                         "kafka.server.ReplicaManager", "org.apache.kafka", "org.apache.zookeeper"):
                assert loggers[name][1:] == ("INFO", False, 6, False, [], 0), loggers[name]
            assert wire.alter(LOGGER, str(number), [("kafka.request.logger", SET, "DEBUG")])[0] == 0
            wire.describe(BROKER, "")
            assert wire.describe(LOGGER, str(number))[1]["kafka.request.logger"][1] == "DEBUG"
            log = lambda: (pair.world.dir / f"broker-{number}.log").read_text()
            until("requests in the log", 20, lambda: "Completed request:" in log())
            assert wire.alter(LOGGER, str(number), [("kafka.request.logger", DELETE, "")])[0] == 0


def a_listener_comes_and_goes(pair):
    for number in (1, 2):
        pair.set(number, {"listeners": pair.listeners(number, *NAMES), "listener.name.new.sasl.enabled.mechanisms": "PLAIN",
                          "listener.name.new.plain.sasl.jaas.config": f'{PLAIN} user_eve="eve-secret";'})
    file = pair.world.dir / "eve.properties"
    file.write_text(f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
                    f"sasl.jaas.config={login('eve', 'eve-secret', PLAIN)}\n")
    endpoints = lambda number: json.loads(pair.node(f"/brokers/ids/{number}"))["endpoints"]
    for number in (1, 2):
        until(f"the new listener of {number}", 30, lambda: any(end.startswith("NEW:") for end in endpoints(number)))
        assert "eve-secret" not in pair.node(f"/config/brokers/{number}")
        versions = lambda: pair.world.run(pair.world.tool("kafka-broker-api-versions.sh"), "--bootstrap-server",
                                          f"127.0.0.1:{pair.ports[number]['NEW']}", "--command-config", file, check=False)
        # Each is told of the other's address by the controller, whoever that is.
        both = [f"127.0.0.1:{pair.ports[n]['NEW']} " for n in (1, 2)]
        until("a login by it, and both brokers", 60, lambda: all(address in versions() for address in both))
    for number in (1, 2):
        pair.set(number, {"listeners": "", "listener.name.new.sasl.enabled.mechanisms": "",
                          "listener.name.new.plain.sasl.jaas.config": ""}, DELETE)
        until(f"no new listener of {number}", 30, lambda: not any(end.startswith("NEW:") for end in endpoints(number)))
        gone = lambda: socket.socket().connect_ex(("127.0.0.1", pair.ports[number]["NEW"])) != 0
        until("its port closed", 20, gone)


def stores_change(pair):
    folder = pair.stores.folder
    new = lambda name: {CERTS + "ssl.keystore.location": folder / f"{name}.p12", CERTS + "ssl.keystore.password": PASSWORD}
    told = pair.both(lambda wire, n: wire.alter(BROKER, str(n), [(key, SET, str(value)) for key, value in new("other").items()]))
    for answer in told:
        assert answer.startswith("(42, ") and "Keystore DistinguishedName does not match" in answer, told
    told = pair.both(lambda wire, n: wire.alter(BROKER, str(n), [(CERTS + "ssl.keystore.location", SET, "/not/there")]))
    assert all("Validation of dynamic config update of SSLFactory failed" in answer for answer in told), told
    for number in (1, 2):
        before = until("a certificate", 30, lambda: pair.certificate(number))
        live = folder / f"live-{number}.p12"
        shutil.copy(folder / "next.p12", live)
        pair.set(number, new(f"live-{number}"))
        second = until("the next certificate", 30, lambda: (now := pair.certificate(number)) != before and now)
        # The same name, other contents.
        shutil.copy(folder / "third.p12", live)
        pair.set(number, new(f"live-{number}"))
        until("the third certificate", 30, lambda: pair.certificate(number) not in (before, second, None))


def another_secret(pair):
    """With the old secret beside the new one, passwords are encrypted anew at the start."""
    before = pair.node("/config/brokers/1")
    pair.world.stop("broker-1")
    pair.start(1, **{"password.encoder.secret": "second-secret", "password.encoder.old.secret": SECRET})
    until("the listener with the password", 60, lambda: pair.certificate(1))
    until("the password encrypted anew", 20, lambda: pair.node("/config/brokers/1") != before)
    pair.world.stop("broker-1")
    pair.start(1, **{"password.encoder.secret": "second-secret"})
    until("the listener with the password, by the new secret alone", 60, lambda: pair.certificate(1))


def listeners():
    """Four listeners, one of them the controller's, on brokers of both kinds; settings, stores, loggers, passwords at run time."""
    kafka = need_peer("kafka")
    need_python("kazoo")
    with World("listeners") as world:
        stores = make_stores(world)
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        pair = Pair(world, kafka, ensemble, stores)
        say("passwords before the first start, by each kind's tool for the other kind's broker")
        encrypted_before_the_start(pair, world.tool("kafka-configs.sh"))
        for number in (1, 2):
            pair.start(number)
        cluster_is_up({number: pair.ports[number]["INTERNAL"] for number in (1, 2)})
        until("a certificate of each", 90, lambda: all(pair.certificate(number) for number in (1, 2)))
        say("logins, certificates, the controller's own listener")
        by_every_listener(pair, world.tool("kafka-topics.sh"))
        say("what both say of their settings and loggers, and of changes")
        described_alike(pair)
        answers_alike(pair)
        loggers_alike(pair)
        assert not pair.wrong, "\n".join(pair.wrong)
        say("a listener that comes and goes")
        a_listener_comes_and_goes(pair)
        say("other stores")
        stores_change(pair)
        say("another secret")
        another_secret(pair)
        for number in (1, 2):
            log = (world.dir / f"broker-{number}.log").read_text()
            if number == 1:
                words = (SECRET, "second-secret", "eve-secret", "pat-secret")
                assert not any(word in log for word in words), "a secret in the log"
