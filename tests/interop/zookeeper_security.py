"""TLS and SASL against Java: its zkCli on our ports, its server among ours. Stores are made by keytool."""

import os
import shutil
import subprocess

from harness import Skipped, World, free_ports, mode, need_peer, say, until

PASSWORD = "secret"
DIGEST = "org.apache.zookeeper.server.auth.DigestLoginModule required"


class Stores:
    """An authority, a trust store with it, and keys that it signed."""

    def __init__(self, folder):
        if not shutil.which("keytool"):
            raise Skipped("keytool is not installed")
        self.folder = folder
        folder.mkdir()
        self.keytool("-genkeypair", "-alias", "ca", "-keystore", "ca.p12", "-keyalg", "EC", "-dname", "CN=zoo-ca",
                     "-validity", "30", "-ext", "bc:c")
        self.keytool("-exportcert", "-rfc", "-alias", "ca", "-keystore", "ca.p12", "-file", "ca.pem")
        self.keytool("-importcert", "-alias", "ca", "-keystore", "trust.jks", "-storetype", "JKS", "-file", "ca.pem")

    def keytool(self, *arguments):
        subprocess.run(["keytool", "-storepass", PASSWORD, "-keypass", PASSWORD, "-noprompt", *arguments], check=True,
                       cwd=self.folder, capture_output=True, timeout=300)

    def key(self, name, subject):
        store = f"{name}.p12"
        self.keytool("-genkeypair", "-alias", "key", "-keystore", store, "-keyalg", "RSA", "-dname", subject,
                     "-validity", "30")
        self.keytool("-certreq", "-alias", "key", "-keystore", store, "-file", f"{name}.csr")
        self.keytool("-gencert", "-rfc", "-alias", "ca", "-keystore", "ca.p12", "-infile", f"{name}.csr",
                     "-outfile", f"{name}.pem", "-validity", "30", "-ext", "san=dns:localhost,ip:127.0.0.1")
        self.keytool("-importcert", "-alias", "ca", "-keystore", store, "-file", "ca.pem")
        self.keytool("-importcert", "-alias", "key", "-keystore", store, "-file", f"{name}.pem")
        self.keytool("-delete", "-alias", "ca", "-keystore", store)

    def lines(self, name, prefix="ssl."):
        """What names a key and the trust store."""
        keys = {"keyStore.location": self.folder / f"{name}.p12", "keyStore.password": PASSWORD,
                "trustStore.location": self.folder / "trust.jks", "trustStore.password": PASSWORD}
        return {prefix + key: value for key, value in keys.items()}


def flags(settings):
    return " ".join(f"-D{key}={value}" for key, value in settings.items())


def append(file, settings):
    with open(file, "a") as out:
        out.writelines(f"{key}={value}\n" for key, value in settings.items())


def cli(world, tool, server, settings, *command, check=True):
    """zkCli with these properties, ours or Java's."""
    for _ in range(5):
        done = subprocess.run([str(part) for part in [*tool, "-server", server, *command]], capture_output=True, text=True,
                              timeout=300, cwd=world.dir, stdin=subprocess.DEVNULL,
                              env={**os.environ, "JVMFLAGS": flags(settings), "CLIENT_JVMFLAGS": ""})
        # A handshake that a busy machine was too slow for.
        if not check or "ConnectionLoss" not in done.stdout + done.stderr:
            break
    if check and done.returncode:
        raise AssertionError(f"{command} exited {done.returncode}\n{done.stdout}\n{done.stderr[-3000:]}")
    return done.stdout + done.stderr


def tls_clients():
    """Both zkClis with a client certificate on our TLS port and on one that takes both; its subject in an ACL."""
    zookeeper = need_peer("zookeeper")
    with World("tls") as world:
        stores = Stores(world.dir / "stores")
        stores.key("server", "CN=zk-server")
        stores.key("client", "CN=zk-client,OU=Menagerie")
        plain, secure = free_ports(2)
        config = world.dir / "zoo.cfg"
        config.write_text(f"tickTime=1000\ndataDir={world.dir / 'data'}\nclientPort={plain}\nsecureClientPort={secure}\n"
                          "client.portUnification=true\nadmin.enableServer=false\n4lw.commands.whitelist=*\n")
        append(config, stores.lines("server"))
        world.start("zk", world.tool("zkServer.sh"), "start-foreground", config)
        until("our server", 30, lambda: mode(plain) == "standalone")
        settings = {"zookeeper.client.secure": "true", **stores.lines("client", "zookeeper.ssl."),
                    "zookeeper.clientCnxnSocket": "org.apache.zookeeper.ClientCnxnSocketNetty"}
        subject = "CN=zk-client,OU=Menagerie"
        for name, tool in (("java", [zookeeper, "cli"]), ("ours", [world.tool("zkCli.sh")])):
            for port in (secure, plain):
                at = f"localhost:{port}"
                said = cli(world, tool, at, settings, "whoami")
                assert f"x509: {subject}" in said, f"{name}: {said[-2000:]}"
            path = f"/{name}"
            cli(world, tool, at, settings, "create", path, "mine", "auth::cdrwa")
            acl = cli(world, tool, at, settings, "getAcl", path)
            assert f"'x509,'{subject}" in acl.replace("%2C", ","), acl
            assert "mine" in cli(world, tool, at, settings, "get", path)
            say(f"{name}: TLS on both ports, and an ACL for {subject}")
        refused = cli(world, [world.tool("zkCli.sh")], f"localhost:{plain}", {}, "get", "/java", check=False)
        assert "NoAuth" in refused or "Insufficient permission" in refused, refused
        status = world.dir / "secure.cfg"
        status.write_text(f"dataDir={world.dir / 'data'}\nsecureClientPort={secure}\n")
        done = subprocess.run([world.tool("zkServer.sh"), "status", status], capture_output=True, text=True, timeout=300,
                              env={**os.environ, "CLIENT_JVMFLAGS": flags(settings)})
        assert "Client SSL: true." in done.stdout and "Mode: standalone" in done.stdout, done


def sasl_clients():
    """Java's zkCli proves by SASL who it is: ACLs, the super user, and a wrong password."""
    zookeeper = need_peer("zookeeper")
    with World("sasl") as world:
        (world.dir / "server.jaas").write_text(f'Server {{ {DIGEST} user_bob="builder" user_root="toor"; }};\n')
        for name, user, password in (("bob", "bob", "builder"), ("root", "root", "toor"), ("wrong", "bob", "bulldozer")):
            (world.dir / f"{name}.jaas").write_text(
                f'Client {{ {DIGEST} username="{user}" password="{password}"; }};\n')
        [port] = free_ports(1)
        config = world.dir / "zoo.cfg"
        config.write_text(f"tickTime=1000\ndataDir={world.dir / 'data'}\nclientPort={port}\nadmin.enableServer=false\n"
                          "authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\nsuperUser=root\n")
        jaas = "-Djava.security.auth.login.config="
        world.start("zk", world.tool("zkServer.sh"), "start-foreground", config,
                    env={"SERVER_JVMFLAGS": f"{jaas}{world.dir / 'server.jaas'}"})
        until("our server", 30, lambda: mode(port) == "standalone")

        def java(who, *command, check=True):
            settings = {"java.security.auth.login.config": world.dir / f"{who}.jaas"} if who else {}
            return cli(world, [zookeeper, "cli"], f"localhost:{port}", settings, *command, check=check)

        assert "sasl: bob" in java("bob", "whoami")
        java("bob", "create", "/bob", "his", "sasl:bob:cdrwa")
        assert "his" in java("bob", "get", "/bob")
        assert "Insufficient permission" in java(None, "get", "/bob", check=False)
        assert "his" in java("root", "get", "/bob")
        say("Java's zkCli: bob has his node, the super user reads it, a stranger does not")
        wrong = java("wrong", "get", "/bob", check=False)
        assert "AuthFailed" in wrong or "AUTH_FAILED" in wrong, wrong

        def ours(who, *command, check=True):
            settings = {"java.security.auth.login.config": world.dir / f"{who}.jaas"}
            return cli(world, [world.tool("zkCli.sh")], f"localhost:{port}", settings, *command, check=check)

        assert "sasl: bob" in ours("bob", "whoami") and "his" in ours("root", "get", "/bob")
        wrong = ours("wrong", "get", "/bob", check=False)
        assert "AuthFailed" in wrong or "AUTH_FAILED" in wrong, wrong
        say("our zkCli does the same")


def secure_ensemble():
    """Ours and Java's in one ensemble by TLS and SASL; either kind leads; then one that does not belong."""
    zookeeper = need_peer("zookeeper")
    with World("secure") as world:
        stores = Stores(world.dir / "stores")
        stores.key("server", "CN=zk-server")
        (world.dir / "quorum.jaas").write_text(
            f'QuorumServer {{ {DIGEST} user_zoo="keeper"; }};\n'
            f'QuorumLearner {{ {DIGEST} username="zoo" password="keeper"; }};\n')
        ensemble = world.ensemble(["ours", "java", "ours"], zookeeper)
        for i in ensemble.kinds:
            append(world.dir / f"zoo-{i}.cfg", {
                "sslQuorum": "true", "fips-mode": "false", **stores.lines("server", "ssl.quorum."),
                "quorum.auth.enableSasl": "true", "quorum.auth.learnerRequireSasl": "true",
                "quorum.auth.serverRequireSasl": "true"})
        os.environ["JVMFLAGS"] = f"-Djava.security.auth.login.config={world.dir / 'quorum.jaas'}"
        try:
            ensemble.start_all()
            led = set()
            for round_ in range(4):
                leader = ensemble.leader()
                led.add(ensemble.kinds[leader])
                tool = [world.tool("zkCli.sh")]
                cli(world, tool, ensemble.connect, {}, "create", f"/round-{round_}", "x")
                for i in ensemble.client:
                    until(f"/round-{round_} on server {i}", 20, lambda i=i: f"round-{round_}" in cli(
                        world, tool, f"127.0.0.1:{ensemble.client[i]}", {}, "ls", "/"))
                say(f"round {round_}: {ensemble.kinds[leader]} leads by TLS and SASL")
                if led == set(ensemble.kinds.values()):
                    break
                ensemble.kill(leader)
                ensemble.wait([i for i in ensemble.client if i != leader])
                ensemble.start(leader)
                ensemble.wait(ensemble.client)
            assert led == set(ensemble.kinds.values()), led
        finally:
            del os.environ["JVMFLAGS"]
