"""Ten thousand malformed TLS and SASL handshakes on brokers' ports and ZooKeeper's, with honest traffic beside."""

import concurrent.futures
import os
import random
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time

from bad_input import kafka_frames, mutate, rss, zk_frames
from broker_security import login
from harness import World, free_ports, mode, need_python, say, until
from zookeeper_security import PASSWORD, Stores, append

COUNT = 3400  # on each of three ports
HALF_OPEN = 60
GROWTH_MAX = 24 << 20
LINES_MAX = 1500
PATIENCE = 10  # seconds that an unfinished handshake is given


def bad_handshakes():
    """10,000 malformed TLS and SASL handshakes: no panic, memory and descriptors come back, logs stay short, honest clients go on."""
    need_python("kazoo", "kafka")
    with World("bad-handshakes") as world:
        stores = Stores(world.dir / "stores")
        stores.key("server", "CN=server")
        plain, secure, tls_port, sasl_port = free_ports(4)
        config = world.dir / "zoo.cfg"
        config.write_text(f"tickTime=1000\ndataDir={world.dir}/zk\nclientPort={plain}\nsecureClientPort={secure}\nadmin.enableServer=false\n"
                          f"4lw.commands.whitelist=*\nmaxClientCnxns=0\nssl.clientAuth=none\nssl.enabledProtocols=TLSv1.2,TLSv1.3\n"
                          f"nio.sessionlessCnxnTimeout={PATIENCE * 1000}\n")
        append(config, stores.lines("server"))
        world.start("zk", world.tool("zkServer.sh"), "start-foreground", config)
        until("ZooKeeper", 30, lambda: mode(plain) == "standalone")
        world.run(world.tool("kafka-configs.sh"), "--zookeeper", f"localhost:{plain}", "--alter", "--entity-type", "users", "--entity-name",
                  "ann", "--add-config", "SCRAM-SHA-512=[password=ann-secret]")
        world.broker(1, tls_port, f"localhost:{plain}", **{
            "listeners": f"TLS://localhost:{tls_port},LOGIN://localhost:{sasl_port}",
            "listener.security.protocol.map": "TLS:SASL_SSL,LOGIN:SASL_PLAINTEXT", "inter.broker.listener.name": "LOGIN",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512", "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "listener.name.login.scram-sha-512.sasl.jaas.config": login("ann", "ann-secret"),
            "listener.name.tls.scram-sha-512.sasl.jaas.config": login("ann", "ann-secret"),
            "ssl.keystore.location": stores.folder / "server.p12", "ssl.keystore.password": PASSWORD,
            "offsets.topic.replication.factor": 1, "connections.max.idle.ms": PATIENCE * 1000})
        honest = Honest(stores, tls_port, secure)
        until("the broker", 60, honest.producer)
        processes = {"broker": world.processes["broker-1"], "zk": world.processes["zk"]}
        threads = [threading.Thread(target=act, daemon=True) for act in (honest.kafka, honest.zookeeper)]
        for thread in threads:
            thread.start()
        # Once round warms up what is made once; from then on it is counted.
        storm(tls_port, sasl_port, secure, 100)
        before = {name: (rss(process), descriptors(process)) for name, process in processes.items()}
        lines = {name: len((world.dir / f"{log}.log").read_text().splitlines()) for name, log in (("broker", "broker-1"), ("zk", "zk"))}
        held = half_open(tls_port, sasl_port, secure)
        begin = time.monotonic()
        sent = storm(tls_port, sasl_port, secure, COUNT)
        renegotiations = renegotiate((tls_port, secure))
        say(f"{sum(sent.values())} malformed handshakes in {time.monotonic() - begin:.0f} s, {renegotiations} attempts to renegotiate")
        closed_by_server(held)
        say(f"{len(held)} handshakes that never ended were ended by the servers")
        until("honest traffic", 30, lambda: honest.failed or honest.messages > 100 and honest.logins > 2 and honest.nodes > 5)
        honest.stop = True
        for thread in threads:
            thread.join(180)
        assert not honest.failed, honest.failed
        assert honest.messages > 100 and honest.logins > 2 and honest.nodes > 5, vars(honest)
        say(f"meanwhile {honest.messages} messages, {honest.logins} logins and {honest.nodes} nodes were written")
        for name, process in processes.items():
            assert process.poll() is None, f"{name} has ended"
            until(f"{name}'s descriptors to come back", 30, lambda: descriptors(process) <= before[name][1] + 4)
            growth = rss(process) - before[name][0]
            log = (world.dir / ("broker-1.log" if name == "broker" else "zk.log")).read_text()
            more = len(log.splitlines()) - lines[name]
            assert growth < GROWTH_MAX, f"{name} grew by {growth} bytes"
            assert "panicked" not in log and "ann-secret" not in log, log[-2000:]
            assert more < LINES_MAX, f"{name}'s log grew by {more} lines"
            say(f"{name}: {growth >> 10} KiB more, {descriptors(process) - before[name][1]:+} descriptors, {more} lines in its log")


class Honest:
    """Clients that behave, all the time, by TLS."""

    def __init__(self, stores, port, zk_port):
        self.ca, self.port, self.zk_port = str(stores.folder / "ca.pem"), port, zk_port
        self.stop, self.failed, self.messages, self.logins, self.nodes = False, [], 0, 0, 0

    def producer(self):
        from kafka import KafkaProducer

        return KafkaProducer(bootstrap_servers=f"localhost:{self.port}", security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512",
                             sasl_plain_username="ann", sasl_plain_password="ann-secret", ssl_cafile=self.ca, acks="all")

    def kafka(self):
        try:
            while not self.stop:
                producer = self.producer()
                self.logins += 1
                for _ in range(20):
                    producer.send("honest", b"x" * 100).get(120)
                    self.messages += 1
                producer.close()
        except Exception as why:
            self.failed.append(f"Kafka: {why!r}")

    def zookeeper(self):
        from kazoo.client import KazooClient

        try:
            while not self.stop:
                client = KazooClient(hosts=f"localhost:{self.zk_port}", use_ssl=True, ca=self.ca, verify_certs=True, timeout=20.0)
                client.start(timeout=120)
                for _ in range(3):
                    client.create("/honest-", b"x", sequence=True)
                    self.nodes += 1
                client.stop()
                client.close()
        except Exception as why:
            self.failed.append(f"ZooKeeper: {why!r}")


def hello(rng):
    """A first flight of OpenSSL's, of either version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = rng.choice([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        handshake.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def sasl_frames():
    """Versions, a mechanism, and tokens, by requests and bare."""
    def framed(key, version, body):
        frame = struct.pack(">hhih", key, version, 1, 3) + b"bad" + body
        return struct.pack(">i", len(frame)) + frame

    mechanism = struct.pack(">h", 13) + b"SCRAM-SHA-512"
    first = b"n,,n=ann,r=fyko+d2lbbFgONRv9qkxdawL"
    last = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    return [framed(18, 0, b""), framed(17, 1, mechanism), framed(17, 0, mechanism), framed(36, 0, struct.pack(">i", len(first)) + first),
            framed(36, 1, struct.pack(">i", len(last)) + last), struct.pack(">i", len(first)) + first]


def tls_records(rng):
    """Records that no handshake has: absurd lengths, alerts, empty ones, those of a connection that is under way."""
    kind = rng.choice([20, 21, 22, 23, 24, 255])
    length = rng.choice([0, 1, 2, 16385, 65535, 300])
    body = rng.randbytes(min(length, rng.randrange(400)))
    return struct.pack(">BHH", kind, rng.choice([0x301, 0x303, 0x304, 0, 0xffff]), length) + body


class Attack:
    def __init__(self, port, is_tls, frames):
        self.port, self.is_tls, self.frames = port, is_tls, frames

    def once(self, rng, flight):
        """One connection that goes wrong."""
        with socket.create_connection(("127.0.0.1", self.port), 60) as s:
            s.settimeout(0.02)
            try:
                if self.is_tls:
                    self.tls(rng, s, flight)
                else:
                    for frame in self.frames[:rng.randrange(4)]:
                        s.sendall(frame)
                    s.sendall(rng.choice([lambda: mutate(rng, rng.choice(self.frames)), lambda: flight, lambda: tls_records(rng)])())
                while s.recv(65536):
                    pass
            except (OSError, ValueError):
                pass

    def tls(self, rng, s, flight):
        kind = rng.randrange(20)
        if kind == 0:
            # A good handshake, and nonsense behind it.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            s.settimeout(5)
            with context.wrap_socket(s, server_hostname="localhost") as wrapped:
                wrapped.settimeout(0.02)
                for _ in range(rng.randrange(1, 4)):
                    wrapped.sendall(mutate(rng, rng.choice(self.frames)))
                while wrapped.recv(65536):
                    pass
        elif kind < 10:
            s.sendall(mutate(rng, flight))
        elif kind < 13:
            s.sendall(flight[:rng.randrange(1, len(flight))])
        elif kind < 15:
            s.sendall(flight + tls_records(rng) + mutate(rng, flight))
        elif kind < 17:
            s.sendall(tls_records(rng))
        elif kind < 19:
            s.sendall(rng.choice(self.frames))
        else:
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


def storm(tls_port, sasl_port, zk_port, count):
    """`count` on each port, some at a time; how many were made."""
    seed = int(os.environ.get("MENAGERIE_SEED", "7"))
    sasl = sasl_frames()
    attacks = {"TLS": Attack(tls_port, True, sasl + kafka_frames()[1][:50]), "SASL": Attack(sasl_port, False, sasl + kafka_frames()[1][:50]),
               "ZooKeeper": Attack(zk_port, True, [zk_frames()[0], *zk_frames()[1]])}
    flights = [hello(random.Random(seed + at)) for at in range(8)]

    def some(name, part):
        rng = random.Random(f"{seed} {name} {part}")
        for _ in range(count // 4):
            attacks[name].once(rng, rng.choice(flights))
        return name, count // 4

    sent = dict.fromkeys(attacks, 0)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        for name, made in pool.map(lambda job: some(*job), [(name, part) for name in attacks for part in range(4)]):
            sent[name] += made
    return sent


def half_open(*ports):
    """Connections that begin and never go on."""
    held = []
    for at in range(HALF_OPEN):
        s = socket.create_connection(("127.0.0.1", ports[at % len(ports)]), 10)
        # Nothing at all; a part of a record; a part of a frame's length.
        s.sendall([b"", b"\x16\x03\x01\x02\x00\x01", b"\x00\x00"][at // len(ports) % 3])
        held.append(s)
    return held


def closed_by_server(held):
    end = time.monotonic() + 12 * PATIENCE
    for s in held:
        s.settimeout(max(0.1, end - time.monotonic()))
        try:
            while s.recv(4096):
                pass
        except ConnectionResetError:
            pass
        s.close()


def renegotiate(ports):
    """OpenSSL's client asks for another handshake on the same connection."""
    if not shutil.which("openssl"):
        return 0
    for port in ports:
        for _ in range(3):
            client = subprocess.Popen(["openssl", "s_client", "-tls1_2", "-connect", f"127.0.0.1:{port}"], stdin=subprocess.PIPE,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.3)
            try:
                client.communicate(b"R\n", timeout=20)
            except (subprocess.TimeoutExpired, BrokenPipeError):
                client.kill()
                client.wait()
    return 3 * len(ports)


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))
