"""Brokers and tools that prove to ZooKeeper who they are: by certificate and by SASL, with ACLs on all that they make."""

import os
import pathlib
import subprocess
import threading

from broker_security import SCRAM, login
from harness import World, cluster_is_up, free_ports, mode, need_peer, need_python, say, until
from zookeeper_security import DIGEST, PASSWORD, Stores, append, flags

# echo -n super:pass | openssl dgst -binary -sha1 | base64
SUPER = "super:CiymZRNkXx0HJFQhdpGmqJqKuHM="
SASL_PROVIDER = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"
NETTY = "org.apache.zookeeper.ClientCnxnSocketNetty"
USER = "/config/users/ann"


def zookeeper_auth():
    """Brokers of both kinds come to our ZooKeeper by certificate and to Java's by SASL; every node has the ACLs that Java gives it; the tools."""
    kafka, zookeeper = need_peer("kafka"), need_peer("zookeeper")
    need_python("kazoo")
    with World("zookeeper-auth") as world:
        auth = Auth(world, kafka, zookeeper)
        by_certificate(auth)
        by_sasl(auth)


class Auth:
    def __init__(self, world, kafka, zookeeper):
        self.world, self.kafka, self.zookeeper = world, kafka, zookeeper
        self.ports = iter(free_ports(9))
        self.stores = Stores(world.dir / "stores")
        self.stores.key("server", "CN=zk-server")
        self.stores.key("broker", "CN=broker,OU=Menagerie")
        self.jaas("server", f'Server {{ {DIGEST} user_kafka="kafka-secret"; }};')
        self.jaas("broker", f'Client {{ {DIGEST} username="kafka" password="kafka-secret"; }};')
        self.jaas("wrong", f'Client {{ {DIGEST} username="kafka" password="not-it"; }};')

    def jaas(self, name, text):
        (self.world.dir / f"{name}.jaas").write_text(text + "\n")

    def login_flag(self, name):
        return f"-Djava.security.auth.login.config={self.world.dir}/{name}.jaas"

    def tls(self):
        """A broker's keys, and a tool's file."""
        return {"zookeeper.ssl.client.enable": "true", "zookeeper.clientCnxnSocket": NETTY,
                "zookeeper.ssl.keystore.location": self.stores.folder / "broker.p12",
                "zookeeper.ssl.keystore.password": PASSWORD,
                "zookeeper.ssl.truststore.location": self.stores.folder / "trust.jks",
                "zookeeper.ssl.truststore.password": PASSWORD}

    def ensemble(self, kind):
        """One server with a plain and a TLS port; SASL and a super user."""
        name, plain, secure = f"zk-{kind}", next(self.ports), next(self.ports)
        config = self.world.dir / f"{name}.cfg"
        config.write_text(f"tickTime=1000\ndataDir={self.world.dir / name}\nclientPort={plain}\nsecureClientPort={secure}\n"
                          f"admin.enableServer=false\n4lw.commands.whitelist=*\nauthProvider.1={SASL_PROVIDER}\n"
                          "ssl.enabledProtocols=TLSv1.2,TLSv1.3\n")
        append(config, self.stores.lines("server"))
        settings = {"zookeeper.DigestAuthenticationProvider.superDigest": SUPER,
                    "zookeeper.serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory"}
        options = f"{flags(settings)} {self.login_flag('server')}"
        if kind == "ours":
            self.world.start(name, self.world.tool("zkServer.sh"), "start-foreground", config, env={"SERVER_JVMFLAGS": options})
        else:
            self.world.start(name, self.zookeeper, "server", config, env={"JVMFLAGS": options})
        until(f"the ZooKeeper of {kind}", 60, lambda: mode(plain) == "standalone")
        return plain, secure

    def broker(self, number, java, connect, opts="", **properties):
        port = next(self.ports)
        os.environ["KAFKA_OPTS"] = opts
        try:
            self.world.broker(number, port, connect, self.kafka if java else None, **{
                "zookeeper.set.acl": "true", "offsets.topic.replication.factor": 1, "offsets.topic.num.partitions": 1,
                "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer", "super.users": "User:ANONYMOUS",
                **properties})
        finally:
            os.environ.pop("KAFKA_OPTS", None)
        return f"127.0.0.1:{port}"

    def tool(self, java, tool, *words, opts="", check=True):
        """A tool of ours or of Java's, with these flags of the JVM."""
        command = [self.kafka, tool] if java else [self.world.tool(f"kafka-{tool}.sh")]
        return self.said([*command, *words], opts, check)

    def migrate(self, java, *words, opts="", check=True):
        command = [self.world.tool("zookeeper-security-migration.sh")]
        if java:
            home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "peers" / "kafka"
            command = ["java", f"-Dlog4j.configuration=file:{home}/tools-log4j.properties", *opts.split(), "-cp", f"{home}/libs/*",
                       "kafka.admin.ZkSecurityMigrator"]
        return self.said([*command, *words], opts, check)

    def said(self, command, opts, check):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=400, cwd=self.world.dir,
                              env={**os.environ, "KAFKA_OPTS": opts})
        if check and done.returncode:
            raise AssertionError(f"{command} exited {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
        # Frames of stack traces are Java's alone.
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line and not line.startswith(("\tat ", "\t... "))]
        return done.returncode, lines


def port_of(address):
    return int(address.rpartition(":")[2])


def tree(port, root):
    """Every node below the chroot with its ACL, by the super user."""
    from kazoo.client import KazooClient

    client = KazooClient(hosts=f"127.0.0.1:{port}", timeout=20.0, auth_data=[("digest", "super:pass")])
    client.start(timeout=120)
    found, level = {}, [root]
    try:
        while level:
            path = level.pop()
            acls, _ = client.get_acls(path)
            found[path[len(root):] or "/"] = " ".join(f"{acl.id.scheme}:{acl.id.id}:{acl.perms}" for acl in acls)
            level += [f"{path}/{child}" for child in client.get_children(path)]
    finally:
        client.stop()
        client.close()
    return found


def in_parallel(*acts):
    """All of them at once: a JVM takes its time to start."""
    failed = []

    def run(act):
        try:
            act()
        except BaseException as why:
            failed.append(why)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def by_certificate(auth):
    """A cluster of ours and one of Java's, each with its chroot of our ZooKeeper: the nodes and their ACLs are the same."""
    plain, secure = auth.ensemble("ours")
    tls_file = auth.world.dir / "zk-tls.properties"
    tls_file.write_text("".join(f"{key}={value}\n" for key, value in auth.tls().items()))
    chroots = {False: "/ours", True: "/javas"}
    connect = {java: f"localhost:{secure}{chroot}" for java, chroot in chroots.items()}

    def play(java):
        number = 12 if java else 11
        # The credentials that a first broker needs, before it is there. Java's tool wants the chroot made.
        if java:
            make(plain, "/javas")
        change = ["--alter", "--entity-type", "users", "--entity-name", "ann", "--add-config", "SCRAM-SHA-256=[password=ann-secret]"]
        auth.tool(java, "configs", "--zookeeper", connect[java], "--zk-tls-config-file", tls_file, *change)
        before = tree(plain, chroots[java])
        assert before[USER] == before["/config/users"] == "x509:CN=broker,OU=Menagerie:31", before
        # ACLs have a chroot of their own, which the authorizer makes and reaches by keys of its own.
        acls = f"localhost:{secure}{chroots[java]}-acls"
        own = {f"authorizer.{key}": value for key, value in auth.tls().items()}
        server = auth.broker(number, java, connect[java], **auth.tls(), **own, **{"authorizer.zookeeper.url": acls})
        at = ["--bootstrap-server", server]
        cluster_is_up({number: port_of(server)})
        auth.tool(java, "topics", *at, "--create", "--topic", "t", "--partitions", "2", "--config", "retention.ms=1000000")
        auth.tool(java, "configs", *at, "--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "log.cleaner.threads=1")
        auth.tool(java, "acls", *at, "--add", "--allow-principal", "User:ann", "--topic", "t", "--operation", "Read")
        properties = [f"zookeeper.connect={connect[java]}", f"authorizer.zookeeper.url={acls}", "zookeeper.set.acl=true"]
        auth.tool(java, "acls", *(word for one in properties for word in ("--authorizer-properties", one)),
                  "--zk-tls-config-file", tls_file, "--add", "--allow-principal", "User:ann", "--topic", "p-",
                  "--resource-pattern-type", "prefixed", "--operation", "Read")

    in_parallel(lambda: play(False), lambda: play(True))

    def same(what, part=""):
        trees = {java: comparable(tree(plain, chroot + part)) for java, chroot in chroots.items()}
        assert trees[False].keys() == trees[True].keys(), (what, trees[False].keys() ^ trees[True].keys())
        differ = {path: (acl, trees[True][path]) for path, acl in trees[False].items() if acl != trees[True][path]}
        assert not differ, (what, differ)
        kinds = {}
        for acl in trees[False].values():
            kinds[acl] = kinds.get(acl, 0) + 1
        say(f"{what}: {len(trees[False])} nodes, the same of either: {kinds}")
        return trees[False]

    # Some of it a broker does later than it answers.
    made = until("the same nodes", 20, lambda: same("made by brokers and tools that show a certificate"))
    acls = until("the same ACLs", 20, lambda: same("made by authorizers at an ensemble of their own", "-acls"))
    assert "/kafka-acl/Topic/t" in acls and "/kafka-acl-extended/prefixed/Topic/p-" in acls and "/kafka-acl" not in made, acls
    owner = "x509:CN=broker,OU=Menagerie:31"
    assert made["/brokers/topics/t"] == f"{owner} world:anyone:1" and made[USER] == owner, made
    assert made["/config/brokers/<default>"] == owner and made["/consumers"] == "world:anyone:31", made

    def migrate(acl):
        words = lambda java: ["--zookeeper.acl", acl, "--zookeeper.connect", connect[java], "--zk-tls-config-file", tls_file]
        said = {}
        in_parallel(*(lambda java=java: said.update({java: auth.migrate(java, *words(java))}) for java in chroots))
        assert said[False][0] == said[True][0] == 0 and said[False][1] == said[True][1], said

    migrate("unsecure")
    opened = same("after the migration to unsecure")
    assert set(opened.values()) == {"world:anyone:31"}, opened
    migrate("secure")
    same("after the migration to secure")
    cases = [["--zookeeper.acl", "secure", "--zookeeper.connect", f"localhost:{secure}/nowhere", "--zk-tls-config-file", tls_file,
              "--enable.path.check"], ["--zookeeper.acl", "secure"], ["--zookeeper.acl", "other", "--zk-tls-config-file", tls_file]]
    said = {}
    in_parallel(*(lambda java=java, at=at: said.update({(java, at): auth.migrate(java, *cases[at], check=False)})
                  for java in chroots for at in range(len(cases))))
    for at, case in enumerate(cases):
        ours, javas = (without_options(said[java, at]) for java in (False, True))
        assert ours == javas, f"{case}:\nours   {ours}\nJava's {javas}"
    say(f"the migration says the same as Java's in {len(cases)} wrong calls")
    for number in (11, 12):
        auth.world.stop(f"broker-{number}")
    log = (auth.world.dir / "broker-11.log").read_text()
    assert PASSWORD not in log, "a password stands in the log"


def without_options(said):
    """Up to the table of options, which is in other words."""
    code, lines = said
    table = next((at for at, line in enumerate(lines) if line.startswith("Option ")), len(lines))
    # Java's is on its way when the tool ends, and may come too late.
    return code, [line for line in lines[:table] if "WARN Znode is gone" not in line]


def make(port, path):
    from kazoo.client import KazooClient

    client = KazooClient(hosts=f"127.0.0.1:{port}", timeout=20.0)
    client.start(timeout=120)
    client.ensure_path(path)
    client.stop()
    client.close()


def comparable(nodes):
    """Without what is a broker's own, and what comes and goes."""
    same = {}
    for path, acl in nodes.items():
        path = path.replace("/brokers/ids/11", "/brokers/ids/N").replace("/brokers/ids/12", "/brokers/ids/N")
        if "_change_" in path or "_changes_" in path:
            path = path[:-10]
        if path == "/":
            continue  # Java's was made by the test
        same[path] = acl
    return same


def by_sasl(auth):
    """One cluster of both kinds at Java's ZooKeeper, by SASL."""
    plain, _ = auth.ensemble("java")
    connect = f"127.0.0.1:{plain}"
    auth.broker(23, False, connect, auth.login_flag("wrong"))
    servers = [auth.broker(number, number == 22, connect, auth.login_flag("broker"), **{
        "offsets.topic.replication.factor": 2}) for number in (21, 22)]
    at = ["--bootstrap-server", servers[0]]
    cluster_is_up({number: port_of(server) for number, server in zip((21, 22), servers)})
    auth.tool(False, "topics", *at, "--create", "--topic", "t", "--replica-assignment", "21:22,22:21")
    lines = "".join(f"m{i}\n" for i in range(50))
    auth.world.run(auth.world.tool("kafka-console-producer.sh"), *at, "--topic", "t", "--producer-property", "acks=all", input=lines)
    read = auth.world.run(auth.world.tool("kafka-console-consumer.sh"), "--bootstrap-server", servers[1], "--topic", "t",
                          "--from-beginning", "--max-messages", "50", "--timeout-ms", "240000")
    assert sum(line.startswith("m") for line in read.splitlines()) == 50, read[-1000:]
    auth.tool(False, "configs", "--zookeeper", connect, "--alter", "--entity-type", "users", "--entity-name", "bob",
              "--add-config", "SCRAM-SHA-256=[password=bob-secret]", opts=auth.login_flag("broker"))
    stranger = auth.tool(False, "configs", "--zookeeper", connect, "--alter", "--entity-type", "users", "--entity-name", "eve",
                         "--add-config", "SCRAM-SHA-256=[password=eve-secret]", check=False)
    assert stranger[0] and "not authorized" in " ".join(stranger[1]), stranger
    nodes = tree(plain, "")
    owner = "sasl:kafka:31"
    assert nodes["/brokers/topics/t/partitions/0/state"] == f"{owner} world:anyone:1", nodes
    assert nodes["/brokers/ids/21"] == nodes["/brokers/ids/22"] == nodes["/controller"] == f"{owner} world:anyone:1", nodes
    assert nodes["/config/users/bob"] == owner and "/config/users/eve" not in nodes, nodes
    say(f"by SASL at Java's ZooKeeper: {sum(owner in acl for acl in nodes.values())} nodes are sasl:kafka's")
    until("the one with a wrong password to give up", 30, lambda: auth.world.processes["broker-23"].poll() not in (None, 0))
    log = (auth.world.dir / "broker-23.log").read_text()
    assert "authentication failed" in log, log[-1000:]
    for number in (21, 23):
        log = (auth.world.dir / f"broker-{number}.log").read_text()
        assert "kafka-secret" not in log and "not-it" not in log, "a password stands in the log"
