"""Random and mutated frames on every port, with honest traffic beside; and configurations with mistakes."""

import concurrent.futures
import random
import re
import socket
import struct
import subprocess
import threading
import time

from harness import World, cluster_is_up, free_ports, need_python, say, until

FRAMES = 2500  # on each of the four ports
GROWTH_MAX = 16 << 20  # bytes that a process may have more after it


def zk_frames():
    """Honest first frames of the client port."""
    hello = struct.pack(">iqiqi16s?", 0, 0, 10000, 0, 16, b"\0" * 16, False)
    path = struct.pack(">i", 4) + b"/abc"
    acl = struct.pack(">iii5si6s", 1, 31, 5, b"world", 6, b"anyone")
    bodies = [
        (1, path + struct.pack(">i", 3) + b"xyz" + acl + struct.pack(">i", 0)), (2, path + struct.pack(">i", -1)),
        (3, path + b"\1"), (4, path + b"\1"), (5, path + struct.pack(">i", 1) + b"d" + struct.pack(">i", -1)),
        (7, path + acl + struct.pack(">i", -1)), (8, path + b"\1"), (12, path + b"\0"), (9, path), (11, b""),
        (14, struct.pack(">ibi", 13, 0, -1) + path + struct.pack(">i", 0) + struct.pack(">ibi", -1, 1, -1)),
        (101, struct.pack(">q", 0) + struct.pack(">i", 1) + path + struct.pack(">ii", 0, 0)),
        (105, struct.pack(">qiiiii", 0, 0, 0, 0, 0, 0)), (106, path + struct.pack(">i", 1)),
        (100, struct.pack(">ii6si3s", 0, 6, b"digest", 3, b"a:b")), (107, b""), (22, struct.pack(">ibi", -1, 1, -1)),
    ]
    frames = [struct.pack(">i", len(hello)) + hello]
    for op, body in bodies:
        frame = struct.pack(">ii", 1, op) + body
        frames.append(struct.pack(">i", len(frame)) + frame)
    return frames[0], frames[1:]


def quorum_frames():
    info = struct.pack(">qiq", 2, 0x10000, 0)
    packets = [struct.pack(">iqi", 11, 1 << 32, len(info)) + info + struct.pack(">i", -1)]
    packets += [struct.pack(">iqii", kind, 1 << 32, -1, -1) for kind in range(0, 20)]
    return packets[0], packets


def election_frames():
    address = b"127.0.0.1:3888"
    hello = struct.pack(">qqi", -65536, 3, len(address)) + address
    vote = struct.pack(">iqqqqii", 0, 3, 0, 1, 0, 2, 9) + b"version=0"
    return hello, [struct.pack(">i", len(vote)) + vote]


def kafka_frames():
    frames = []
    for key, version in [(k, v) for k in range(0, 68) for v in (0, 3, 7, 12)]:
        header = struct.pack(">hhih", key, version, 7, 3) + b"bad"
        body = header + bytes(random.Random(key * 100 + version).randrange(256) for _ in range(40))
        frames.append(struct.pack(">i", len(body)) + body)
    return b"", frames


def mutate(rng, frame):
    frame = bytearray(frame)
    for _ in range(rng.randrange(1, 4)):
        kind = rng.randrange(6)
        if kind == 0 and frame:
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        elif kind == 1 and len(frame) >= 4:
            at = rng.randrange(len(frame) - 3)
            frame[at:at + 4] = struct.pack(">i", rng.choice([-1, -2, 0, 1, 2**31 - 1, -2**31, 65536, 1 << 24]))
        elif kind == 2:
            del frame[rng.randrange(len(frame) + 1):]
        elif kind == 3:
            frame += rng.randbytes(rng.randrange(200))
        elif kind == 4 and frame:
            at = rng.randrange(len(frame))
            frame[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            frame = bytearray(rng.randbytes(rng.randrange(1, 300)))
    return bytes(frame)


def attack(rng, port, greeting, frames, count):
    """`count` frames, a few on each connection; what the server answers is read and thrown away."""
    sent = 0
    while sent < count:
        # A server that does not take the connection any more is a failure; one that closes it early is not.
        with socket.create_connection(("127.0.0.1", port), 60) as s:
            s.settimeout(0.02)
            try:
                if greeting and rng.random() < 0.8:
                    s.sendall(greeting)
                for _ in range(rng.randrange(1, 12)):
                    sent += 1
                    s.sendall(mutate(rng, rng.choice(frames)))
                while s.recv(65536):
                    pass
            except OSError:
                pass
    return sent


def rss(process):
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) * 1024


def bad_frames():
    """10,000 random and mutated frames on 2181, 2888, 3888 and 9092: nobody falls, honest traffic goes on."""
    need_python("kazoo", "kafka")
    import kafka
    from kazoo.client import KazooClient

    with World("bad-frames") as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        port = free_ports(13)[12]
        world.broker(1, port, ensemble.connect + "/test", offsets_topic_replication_factor=1)
        victim = ensemble.leader()
        client_port = ensemble.client[victim]
        honest = KazooClient(hosts=f"127.0.0.1:{client_port}", timeout=20.0)
        honest.start(timeout=120)
        cluster_is_up({1: port})
        producer = until("a broker", 30, lambda: kafka.KafkaProducer(bootstrap_servers=f"127.0.0.1:{port}", acks="all"))
        producer.send("honest", b"0").get(120)
        before = {name: rss(process) for name, process in world.processes.items()}
        stop, done, trouble = threading.Event(), [0, 0], []

        def traffic():
            try:
                honest.create("/honest", b"0")
                while not stop.is_set():
                    value = b"%d" % done[0]
                    honest.set("/honest", value)
                    assert honest.get("/honest")[0] == value
                    done[0] += 1
                    producer.send("honest", value).get(120)
                    done[1] += 1
                    time.sleep(0.005)
            except Exception as why:
                trouble.append(why)

        runner = threading.Thread(target=traffic)
        runner.start()
        session = honest.client_id
        for name, target, (greeting, frames) in (
                ("client port", client_port, zk_frames()), ("quorum port", client_port + 1, quorum_frames()),
                ("election port", client_port + 2, election_frames()), ("broker", port, kafka_frames())):
            begin = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                sent = sum(pool.map(lambda seed: attack(random.Random(seed), target, greeting, frames, FRAMES // 4),
                                    range(4)))
            say(f"{name}: {sent} frames in {time.monotonic() - begin:.1f} s; "
                f"{done[0]} honest writes, {done[1]} honest records so far")
        until("honest traffic", 30, lambda: trouble or min(done) > 50)
        stop.set()
        runner.join(180)
        assert not trouble, trouble
        assert done[0] > 50 and done[1] > 50, done
        assert honest.client_id == session, "the honest session was lost"
        for name, process in world.processes.items():
            assert process.poll() is None, f"{name} ended with {process.returncode}"
            growth = rss(process) - before[name]
            say(f"{name}: memory {before[name] >> 20} MiB, {growth >> 10:+} KiB")
            assert growth < GROWTH_MAX, f"{name} grew by {growth} bytes"
        honest.stop()
        producer.close()


def wrong_configurations():
    """A mistake in zoo.cfg or server.properties: one line that names file, line, key, what is wrong and what is right."""
    wrong = []
    with World("wrong-configurations") as world:
        data = world.dir / "data"
        good = {"tickTime": "2000", "dataDir": data, "clientPort": free_ports(1)[0]}
        for key, value, names in (
                ("tickTime", "often", ["tickTime", "often"]), ("clientPort", "99999999", ["clientPort"]),
                ("server.1", "host", ["server.1"]), ("maxClientCnxns", "many", ["maxClientCnxns", "many"]),
                ("server.x", "h:1:2", ["server.N"]), ("server.1", "h:1:x", ["0 to 65535"]),
                ("server.1", "h:1:1", ["must be different"]), ("server.1", "h:1:2:boss", ["boss"]),
                ("electionAlg", "1", ["3"]), ("peerType", "spectator", ["spectator", "participant"]),
                ("admin.enableServer", "maybe", ["maybe", "true", "false"]), ("skipACL", "perhaps", ["perhaps", "yes"]),
                ("secureClientPort", "2281", ["ssl.keyStore.location"]), ("sslQuorum", "true", ["ssl.quorum.keyStore.location"]),
                ("group.1", "1:2:3", ["participant"]), ("dynamicConfigFile", "/x", ["cannot read /x"]),
                ("admin.forceHttps", "true", ["ssl.quorum.keyStore.location"]),
                ("snapshot.compression.method", "rar", ["rar", "gz"]), ("maxSessionTimeout", "1", ["maxSessionTimeout"]),
                ("minSessionTimeout", "99999999", ["inSessionTimeout"])):
            file = world.dir / "zoo.cfg"
            file.write_text("".join(f"{k}={v}\n" for k, v in {**good, key: value}.items()))
            wrong += refused(world, ["zkServer.sh", "start-foreground", file], key, names)
        good = {"broker.id": "1", "zookeeper.connect": "127.0.0.1:1", "log.dirs": data}
        for key, value, names in (
                ("broker.id", "one", ["one"]), ("num.partitions", "0", ["0", "at least 1"]),
                ("listeners", "9092", ["NAME://"]), ("listeners", "PLAINTEXT://:x", ["PLAINTEXT://:x"]),
                ("listeners", "WEIRD://:9092", ["WEIRD"]), ("log.retention.hours", "x", ["x"]),
                ("compression.type", "rar", ["rar", "zstd"]), ("log.dirs", "", ["log directory"]),
                ("auto.create.topics.enable", "maybe", ["maybe", "true"]), ("log.segment.bytes", "1", ["at least 14"]),
                ("advertised.listeners", "PLAINTEXT://a:1,PLAINTEXT://b:2", ["PLAINTEXT://a:1", "own"]),
                ("log.cleanup.policy", "shred", ["shred", "compact"]), ("security.inter.broker.protocol", "TLS9", ["TLS9"]),
                ("process.roles", "broker,controller", ["remove"]), ("zookeeper.connect", "", ["zookeeper.connect"])):
            file = world.dir / "server.properties"
            file.write_text("".join(f"{k}={v}\n" for k, v in {**good, key: value}.items()))
            wrong += refused(world, ["kafka-server-start.sh", file], key, names)
    assert not wrong, "\n".join(wrong)


def refused(world, command, key, names):
    """What is missing, where the server does not end with one line that has `FILE:LINE: KEY: ` and each of `names`."""
    process = world.start("refused", world.tool(command[0]), *command[1:])
    try:
        code = process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait() and 0
    del world.processes["refused"]
    said = (world.dir / "refused.log").read_text()
    (world.dir / "refused.log").unlink()
    if code in (0, None):
        return [f"{command[-1].read_text()} was accepted"]
    file = command[-1]
    at = next(n for n, line in enumerate(file.read_text().splitlines(), 1) if line.startswith(f"{key}="))
    place = f"{file}:{at}: {key}: "
    lines = [line for line in said.splitlines() if place in line and all(name in line for name in names)]
    if not lines:
        return [f"no line has {place!r} and {names}:\n{said}"]
    say(lines[0][lines[0].index(place) + len(str(file.parent)) + 1:][:230])
    return []
