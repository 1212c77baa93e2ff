"""OAUTHBEARER and delegation tokens: a broker of ours and one of Java's in one cluster, tools of both kinds, an identity
provider that gives out tokens for a few seconds, so that every connection has to show its login again."""

import base64
import http.server
import json
import os
import pathlib
import re
import ssl
import subprocess
import threading
import time

from broker_security import SCRAM, login
from harness import World, free_ports, mode, need_peer, say, secure_cluster_is_up, until

OAUTH = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
HANDLERS = "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearer"
LIFETIME_S = 15


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def certificates(folder):
    """An authority and a server's certificate by it, as PEM: the authority's alone, and the server's with its key."""
    openssl = lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
    ca, key, asked, own = (folder / f"id-{name}.pem" for name in ("ca", "key", "asked", "own"))
    extensions = folder / "id-extensions.cnf"
    extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", "/CN=id-authority", "-keyout",
            folder / "id-ca-key.pem", "-out", ca)
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=id-provider", "-keyout", key, "-out", asked)
    openssl("x509", "-req", "-days", 2, "-in", asked, "-CA", ca, "-CAkey", folder / "id-ca-key.pem", "-CAcreateserial",
            "-extfile", extensions, "-out", own)
    return ca, own, key


class Provider:
    """Gives `svc` tokens that an RSA key has signed, and shows the key; by HTTPS alone."""

    def __init__(self, folder):
        self.key = folder / "provider.pem"
        subprocess.run(["openssl", "genrsa", "-out", self.key, "2048"], check=True, capture_output=True)
        shown = subprocess.run(["openssl", "rsa", "-in", self.key, "-noout", "-modulus"], check=True,
                               capture_output=True, text=True).stdout
        modulus = encoded(bytes.fromhex(shown.strip().split("=")[1]))
        self.keys = {"keys": [{"kty": "RSA", "kid": "one", "use": "sig", "n": modulus, "e": "AQAB"}]}
        self.given = []
        self.ca, certificate, own_key = certificates(folder)
        # Whom the login modules believe: Java's take the same words.
        self.trust = f'ssl.truststore.type="PEM" ssl.truststore.location="{self.ca}"'
        provider = self

        class Answers(http.server.BaseHTTPRequestHandler):
            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                self.answer(200, provider.keys)

            def do_POST(self):
                form = self.rfile.read(int(self.headers["Content-Length"])).decode()
                name, secret = base64.b64decode(self.headers["Authorization"].split()[1]).decode().split(":")
                if secret != "client-secret" or form != "grant_type=client_credentials&scope=kafka":
                    return self.answer(401, {"error": "invalid_client", "error_description": "not known here"})
                provider.given.append(name)
                self.answer(200, {"access_token": provider.token(name), "token_type": "bearer"})

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", free_ports(1)[0]), Answers)
        # Whoever does not trust it hangs up; that is no mistake of its own.
        self.server.handle_error = lambda *_: None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, own_key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"https://localhost:{self.server.server_port}"

    def token(self, name, lifetime=LIFETIME_S, **claims):
        now = int(time.time())
        header = encoded(json.dumps({"alg": "RS256", "kid": "one"}).encode())
        claims = {"sub": name, "aud": "kafka", "iat": now, "exp": now + lifetime, **claims}
        signed = f"{header}.{encoded(json.dumps(claims).encode())}"
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=signed.encode(), check=True,
                                   capture_output=True).stdout
        return f"{signed}.{encoded(signature)}"


def java_tool(name):
    """A tool of 3.5.1 by its class: its package moved in that release."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache"))
    return ["java", "-cp", f"{cache}/peers/kafka/libs/*", name]


def settings(world, name, jaas, **more):
    file = world.dir / f"{name}.properties"
    lines = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER", "sasl.jaas.config": jaas, **more}
    file.write_text("".join(f"{key.replace('_', '.')}={value}\n" for key, value in lines.items()))
    return file


def oauth_and_tokens():
    """One broker of ours and one of Java's: logins by tokens of all kinds, seen from tools of both kinds."""
    kafka = need_peer("kafka")
    with World("oauth-and-tokens") as world:
        provider = Provider(world.dir)
        ensemble = world.ensemble(["ours"])
        ensemble.start(1)
        until("a server", 60, lambda: mode(ensemble.client[1]))
        ports = free_ports(4)
        inside, outside = dict(zip((1, 2), ports[:2])), dict(zip((1, 2), ports[2:]))
        for number in (1, 2):
            world.broker(number, inside[number], ensemble.connect, kafka if number == 2 else None, **{
                "listeners": f"IN://localhost:{inside[number]},OUT://localhost:{outside[number]}",
                "listener.security.protocol.map": "IN:SASL_PLAINTEXT,OUT:SASL_PLAINTEXT",
                "inter.broker.listener.name": "IN", "sasl.mechanism.inter.broker.protocol": "OAUTHBEARER",
                "listener.name.in.sasl.enabled.mechanisms": "OAUTHBEARER,SCRAM-SHA-256,SCRAM-SHA-512",
                "listener.name.out.sasl.enabled.mechanisms": "OAUTHBEARER",
                # The brokers' own tokens last for a few seconds, too.
                "listener.name.in.oauthbearer.sasl.jaas.config":
                    f'{OAUTH} unsecuredLoginStringClaim_sub="broker" unsecuredLoginLifetimeSeconds="{LIFETIME_S}" '
                    'unsecuredValidatorAllowableClockSkewMs="10000";',
                "listener.name.in.scram-sha-256.sasl.jaas.config": f"{SCRAM};",
                "listener.name.in.scram-sha-512.sasl.jaas.config": f"{SCRAM};",
                # With any option at all Java's listener wants a token of its own, too.
                "listener.name.out.oauthbearer.sasl.jaas.config":
                    f'{OAUTH} unsecuredLoginStringClaim_sub="listener" {provider.trust};',
                "listener.name.out.oauthbearer.sasl.server.callback.handler.class": f"{HANDLERS}ValidatorCallbackHandler",
                "sasl.oauthbearer.jwks.endpoint.url": f"{provider.url}/keys",
                "sasl.oauthbearer.expected.audience": "kafka", "connections.max.reauth.ms": 4000,
                "delegation.token.secret.key": "token-secret", "offsets.topic.replication.factor": 2,
                "transaction.state.log.replication.factor": 2, "transaction.state.log.min.isr": 1})
        at = {number: ["--bootstrap-server", f"localhost:{port}"] for number, port in inside.items()}
        ann = settings(world, "ann", f'{OAUTH} unsecuredLoginStringClaim_sub="ann";')
        topics = world.tool("kafka-topics.sh")
        secure_cluster_is_up(world, {number: f"localhost:{port}" for number, port in inside.items()}, ann)
        world.run(topics, *at[1], "--command-config", ann, "--create", "--topic", "t", "--replica-assignment", "1:2,2:1")

        say("tokens of a provider, on connections that outlive them")
        from_provider = {
            "sasl.login.callback.handler.class": f"{HANDLERS}LoginCallbackHandler",
            "sasl.oauthbearer.token.endpoint.url": f"{provider.url}/token"}
        client = lambda name, secret="client-secret", trust=provider.trust: \
            f'{OAUTH} clientId="{name}" clientSecret="{secret}" scope="kafka" {trust};'
        ours = settings(world, "svc-ours", client("svc-ours"), **from_provider)
        java = settings(world, "svc-java", client("svc-java"), **from_provider)
        out = ["--bootstrap-server", f"localhost:{outside[1]}"]
        consumers = {name: world.start(f"consumer-{name}", *tool, *out, "--topic", "t", "--from-beginning",
                                       "--max-messages", 200, "--timeout-ms", 500000, "--consumer.config", file)
                     for name, tool, file in (("ours", [world.tool("kafka-console-consumer.sh")], ours),
                                              ("java", [kafka, "console-consumer"], java))}
        lines = lambda kind: "".join(f"{kind}-{i}\n" for i in range(100))
        world.run(world.tool("kafka-console-producer.sh"), *out, "--topic", "t", "--producer.config", ours,
                  input=lines("ours"))
        # Both consumers outlive their first token; the producer had one of its own.
        until("tokens that are replaced", 90, lambda: provider.given.count("svc-ours") >= 3
              and provider.given.count("svc-java") >= 2)
        time.sleep(LIFETIME_S / 2)
        world.run(kafka, "console-producer", *out, "--topic", "t", "--producer.config", java, input=lines("java"))
        for name, process in consumers.items():
            assert process.wait(400) == 0, name
            text = (world.dir / f"consumer-{name}.log").read_text()
            assert sum(line.startswith(("java-", "ours-")) for line in text.splitlines()) == 200, (name, text[-2000:])
            assert "Exception" not in text and "failed authentication" not in text, (name, text[-2000:])
        isr = lambda: world.run(topics, *at[1], "--command-config", ann, "--describe", "--topic", "t").splitlines()
        until("all replicas in sync", 60, lambda: sum(len(line.split("Isr: ")[1].split(",")) for line in isr() if "Isr: " in line) == 4)

        say("a provider that the system's certificates speak for, and one that nobody's do")
        plain = settings(world, "svc-system", client("svc-system", trust=""), **from_provider)
        said = world.run(topics, *out, "--command-config", plain, "--list", check=False)
        assert "svc-system" not in provider.given and "UnknownIssuer" in said, said
        by_system = subprocess.run([topics, *out, "--command-config", plain, "--list"], capture_output=True, text=True,
                                   timeout=360, env={**os.environ, "SSL_CERT_FILE": str(provider.ca)})
        assert "t" in by_system.stdout.split() and "svc-system" in provider.given, by_system

        say("tokens that nobody believes")
        from_file = lambda name, token: ((world.dir / f"{name}.jwt").write_text(token), settings(
            world, name, f'{OAUTH};', **{**from_provider, "sasl.oauthbearer.token.endpoint.url": f"file://{world.dir}/{name}.jwt"}))[1]
        good = provider.token("svc", 600)
        forged = from_file("forged", good[:-8] + ("AAAAAAAA" if not good.endswith("AAAAAAAA") else "BBBBBBBB"))
        foreign = from_file("foreign", provider.token("svc", 600, aud="other"))
        for number, port in outside.items():
            for file in (forged, foreign):
                command = [topics, "--bootstrap-server", f"localhost:{port}", "--command-config", file, "--list"]
                said = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=360)
                assert 'SaslAuthenticationException: {"status":"invalid_token"}' in said.stdout + said.stderr, said
        command = [kafka, "topics", *out, "--command-config", forged, "--list"]
        said = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=360)
        assert 'SaslAuthenticationException: {"status":"invalid_token"}' in said.stdout + said.stderr, said
        refused = settings(world, "refused", client("svc", "wrong-secret"), **from_provider)
        said = world.run(topics, *out, "--command-config", refused, "--list", check=False)
        assert "wrong-secret" not in said

        say("delegation tokens of both brokers")
        tool = {"ours": [world.tool("kafka-delegation-tokens.sh")], "java": java_tool("org.apache.kafka.tools.DelegationTokenCommand")}
        ids = {}
        for kind, number in (("ours", 2), ("java", 1)):
            made = world.run(*tool[kind], *at[number], "--command-config", ann, "--create", "--max-life-time-period", -1,
                             "--renewer-principal", "User:ren")
            row = next(line for line in made.splitlines() if "User:ann" in line).split()
            assert row[2:5] == ["User:ann", "User:ann", "[User:ren]"], made
            ids[kind] = (row[0], row[1])
        show = lambda kind, number: world.run(*tool[kind], *at[number], "--command-config", ann, "--describe",
                                              "--owner-principal", "User:ann")
        shape = lambda text: sorted(" ".join(line.split()) for line in text.splitlines()
                                    if re.match("TOKENID|Total number|Calling|.*User:ann", line))
        shown = until("both tokens", 20, lambda: "Total number of tokens : 2" in (text := show("java", 1)) and text)
        for kind, number in (("ours", 1), ("ours", 2)):
            until("the same tokens everywhere", 20, lambda: shape(show(kind, number)) == shape(shown))
        nodes = world.run(world.tool("zkCli.sh"), "-server", ensemble.connect, "get",
                          f"/delegation_token/tokens/{ids['ours'][0]}")
        kept = world.run(world.tool("zkCli.sh"), "-server", ensemble.connect, "get",
                         f"/delegation_token/tokens/{ids['java'][0]}")
        masked = lambda text: re.sub(r"\d{13}", "TIME", re.search(r'\{"issueTimestamp.*\}', text)[0])
        assert masked(nodes).replace(*[ids[kind][0] for kind in ("ours", "java")]) == masked(kept), (nodes, kept)

        say("logins by them, and what they may not")
        token = {f"{kind}-{bits}": settings(world, f"token-{kind}-{bits}",
                                            login(*ids[kind])[:-1] + ' tokenauth="true";', sasl_mechanism=f"SCRAM-SHA-{bits}")
                 for kind in ids for bits in (256, 512)}
        for file in token.values():
            text = file.read_text().replace("sasl.mechanism=OAUTHBEARER\n", "")
            file.write_text(text)
        for number in (1, 2):
            for file in token.values():
                assert "t" in world.run(topics, *at[number], "--command-config", file, "--list").split()
            said = world.run(*tool["ours"], *at[number], "--command-config", token["ours-256"], "--describe",
                             "--owner-principal", "User:ann", check=False)
            assert "Delegation Token requests are not allowed on" in said, said
        assert "t" in world.run(kafka, "topics", *at[1], "--command-config", token["java-512"], "--list").split()
        ren, eve = (settings(world, name, f'{OAUTH} unsecuredLoginStringClaim_sub="{name}";') for name in ("ren", "eve"))
        hmac = ids["java"][1]
        change = lambda file, number, *words: world.run(*tool["ours"], *at[number], "--command-config", file, *words,
                                                        "--hmac", hmac, check=False)
        for number in (1, 2):
            assert "Completed renew operation. New expiry date" in change(ren, number, "--renew", "--renew-time-period", -1)
            said = change(eve, number, "--renew", "--renew-time-period", -1)
            assert "DelegationTokenOwnerMismatchException: Specified Principal is not valid Owner/Renewer." in said, said
        assert "Completed expire operation" in change(ren, 1, "--expire", "--expiry-time-period", -1)
        for number in (1, 2):
            until("nobody's login by a token that has ended", 20, lambda: "invalid credentials with SASL mechanism" in world.run(
                topics, *at[number], "--command-config", token["java-256"], "--list", check=False))
            said = change(ren, number, "--renew", "--renew-time-period", -1)
            assert "DelegationTokenNotFoundException" in said, said

        say("secrets in no log, in no description")
        described = world.run(world.tool("kafka-configs.sh"), *at[1], "--command-config", ann, "--describe", "--all",
                              "--entity-type", "brokers", "--entity-name", 1)
        assert "delegation.token.secret.key=null sensitive=true" in described, described[:2000]
        for text in (described, (world.dir / "broker-1.log").read_text()):
            for secret in ("token-secret", "client-secret", ids["ours"][1], ids["java"][1], good):
                assert secret not in text, secret
