"""Real clients' sessions with Kafka's broker, written to tests/recordings for the harness `differ`."""

import collections
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time

from differ import FAST
from harness import REPO, Skipped, World, cluster_is_up, free_ports, mode, need_peer, need_python, say, until
from streams import fetched, need_java

FOLDER = REPO / "tests" / "recordings"
# Stands in all names, for the replay to put one of its own there.
RUN = "run00000"
# Answers that tell what the broker chose: Fetch, Metadata, JoinGroup, CreateTopics, InitProducerId. The others' bytes are not kept.
FETCH, TOLD = 1, (3, 11, 19, 22)


class Recorder:
    """Between clients and a broker: what passes is written down, in the order in which it passed."""

    def __init__(self, name, port, broker):
        self.file = open(FOLDER / f"{name}.rec", "wb")
        self.file.write(b"MREC1\n")
        self.broker, self.lock, self.connections, self.sessions = broker, threading.Lock(), 0, set()
        self.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            broker = socket.create_connection(("127.0.0.1", self.broker))
            for s in (client, broker):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number, asked = self.connections, collections.deque()
            self.connections += 1
            threading.Thread(target=self.requests, args=(number, asked, client, broker), daemon=True).start()
            threading.Thread(target=self.answers, args=(number, asked, broker, client), daemon=True).start()

    def requests(self, number, asked, client, broker):
        for frame in frames(client):
            with self.lock:
                asked.append(struct.unpack(">hh", frame[:4]))
                self.write(b">", number, frame)
            broker.sendall(struct.pack(">i", len(frame)) + frame)
        with self.lock:
            self.write(b"x", number, b"")
        broker.close()

    def answers(self, number, asked, broker, client):
        for frame in frames(broker):
            with self.lock:
                self.write(b"<", number, frame if self.tells(asked.popleft(), frame) else b"")
            client.sendall(struct.pack(">i", len(frame)) + frame)

    def tells(self, asked, frame):
        key, version = asked
        if key == FETCH and version >= 7:
            at = 4 + (version >= 12) + 4 + 2
            session = frame[at:at + 4]
            if session in self.sessions:
                return False
            self.sessions.add(session)
            return True
        return key in TOLD

    def write(self, kind, number, frame):
        if not self.file.closed:
            self.file.write(kind + bytes([number]) + struct.pack(">I", len(frame)) + frame)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        time.sleep(0.5)
        with self.lock:
            self.file.close()


def frames(stream):
    """What comes, without the lengths, until the other side ends."""
    stream = stream.makefile("rb")
    while True:
        try:
            head = stream.read(4)
            if len(head) < 4:
                return
            yield stream.read(struct.unpack(">i", head)[0])
        except OSError:
            return


def record():
    """Records tests/recordings anew, or those that RECORD names: real clients' sessions with Kafka's broker."""
    kafka = need_peer("kafka")
    need_python("confluent_kafka", "kafka")
    with World("record") as world:
        ensemble = world.ensemble(["ours"])
        ensemble.start(1)
        until("the server", 30, lambda: mode(ensemble.client[1]) == "standalone")
        own, port, proxy = free_ports(8)[5:]
        world.broker(1, port, f"{ensemble.connect}/java", kafka, **FAST, **{
            "listeners": f"OWN://127.0.0.1:{own},CLIENT://127.0.0.1:{port}",
            "advertised.listeners": f"OWN://127.0.0.1:{own},CLIENT://127.0.0.1:{proxy}",
            "listener.security.protocol.map": "OWN:PLAINTEXT,CLIENT:PLAINTEXT", "inter.broker.listener.name": "OWN"})
        cluster_is_up({1: port})
        # The coordinators' topics are there before the first session, here as in the replay.
        world.run(kafka, "console-consumer", "--bootstrap-server", f"127.0.0.1:{own}", "--topic", "warm", "--group", "warm",
                  "--timeout-ms", 4000, check=False)
        world.run(kafka, "producer-perf-test", "--topic", "warm", "--num-records", 5, "--record-size", 5, "--throughput", -1,
                  "--transactional-id", "warm", "--producer-props", f"bootstrap.servers=127.0.0.1:{own}")
        time.sleep(10)
        FOLDER.mkdir(exist_ok=True)
        sessions = (librdkafka, librdkafka_group, kafka_python, java_console, java_transactions, java_admin, java_groups,
                    java_reassign, java_0_10, java_0_11, kafkajs)
        wanted = os.environ.get("RECORD", "").split()
        for session in (session for session in sessions if not wanted or session.__name__ in wanted):
            recorder = Recorder(session.__name__, proxy, port)
            try:
                session(world, kafka, f"127.0.0.1:{proxy}")
            finally:
                recorder.close()
            say(f"{session.__name__}: {(FOLDER / (session.__name__ + '.rec')).stat().st_size} bytes")


def java_console(world, kafka, at):
    topic, group, at = f"{RUN}-console", f"{RUN}-readers", ["--bootstrap-server", at]
    world.run(kafka, "topics", *at, "--create", "--topic", topic, "--partitions", 2, "--replication-factor", 1)
    lines = "".join(f"key{n}:value{n}\n" for n in range(20))
    world.run(kafka, "console-producer", *at, "--topic", topic, "--property", "parse.key=true", "--property",
              "key.separator=:", input=lines)
    world.run(kafka, "console-producer", *at, "--topic", topic, "--compression-codec", "zstd", "--request-required-acks", 1,
              input="one\ntwo\n")
    read = world.run(kafka, "console-consumer", *at, "--topic", topic, "--from-beginning", "--group", group,
                     "--max-messages", 22, "--timeout-ms", 20000)
    assert "Processed a total of 22 messages" in read, read
    world.run(kafka, "console-consumer", *at, "--topic", topic, "--partition", 0, "--offset", 3, "--max-messages", 1)
    world.run(kafka, "consumer-groups", *at, "--describe", "--group", group)
    world.run(kafka, "consumer-groups", *at, "--describe", "--members", "--state", "--group", group, check=False)


def tools(world, kafka, server):
    def tool(name, *words, check=True):
        world.run(kafka, name, "--bootstrap-server", server, *words, check=check)

    return tool


def records(world, kafka, server, topic):
    world.run(kafka, "producer-perf-test", "--topic", topic, "--num-records", 30, "--record-size", 10, "--throughput", -1,
              "--producer-props", f"bootstrap.servers={server}")


def java_admin(world, kafka, server):
    topic, tool = f"{RUN}-admin", tools(world, kafka, server)
    tool("topics", "--create", "--topic", topic, "--partitions", 2, "--replication-factor", 1, "--config", "retention.ms=86400000")
    tool("topics", "--alter", "--topic", topic, "--partitions", 3)
    tool("topics", "--describe", "--topic", topic)
    for kind, name, change in (("topics", topic, "max.message.bytes=2000000"), ("clients", f"{RUN}-client", "producer_byte_rate=1000000")):
        named = ["--entity-type", kind, "--entity-name", name]
        tool("configs", *named, "--alter", "--add-config", change)
        tool("configs", *named, "--describe")
    records(world, kafka, server, topic)
    tool("get-offsets", "--topic", topic)
    below = world.dir / "below.json"
    below.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 0}]}))
    tool("delete-records", "--offset-json-file", below)
    tool("log-dirs", "--describe", "--topic-list", topic)
    tool("features", "describe")
    tool("topics", "--delete", "--topic", topic)


def java_groups(world, kafka, server):
    topic, group, tool = f"{RUN}-of-groups", f"{RUN}-group", tools(world, kafka, server)
    tool("topics", "--create", "--topic", topic, "--partitions", 2)
    records(world, kafka, server, topic)
    tool("consumer-groups", "--group", group, "--topic", topic, "--reset-offsets", "--to-earliest", "--execute")
    tool("consumer-groups", "--describe", "--group", group)
    tool("consumer-groups", "--list", "--state")
    tool("consumer-groups", "--delete-offsets", "--group", group, "--topic", f"{topic}:0")
    tool("consumer-groups", "--delete", "--group", group)


def java_reassign(world, kafka, server):
    topic, tool = f"{RUN}-moved", tools(world, kafka, server)
    tool("topics", "--create", "--topic", topic, "--partitions", 2)
    tool("leader-election", "--election-type", "preferred", "--topic", topic, "--partition", 0)
    plan = world.dir / "plan.json"
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 0, "replicas": [1]}]}))
    tool("reassign-partitions", "--reassignment-json-file", plan, "--execute")
    tool("reassign-partitions", "--reassignment-json-file", plan, "--verify")
    tool("transactions", "list")
    tool("transactions", "describe-producers", "--topic", topic, "--partition", 0)


def old_java(world, server, version, codec):
    """One of Kafka's old Java clients: topics, records, groups that go on where they committed."""
    need_java()
    jars = fetched("kafka-clients", version)
    world.run("javac", "-nowarn", "-cp", f"{jars}/*", "-d", world.dir / version, REPO / "tests" / "interop" / "OldClient.java")
    said = world.run("java", "-XX:TieredStopAtLevel=1", "-Dreplicas=1", "-cp", f"{world.dir / version}:{jars}/*", "OldClient", server,
                     f"{RUN}-" + version.replace(".", "-"), codec)
    assert "ends 500" in said, said[-3000:]


def java_0_10(world, _kafka, server):
    old_java(world, server, "0.10.2.2", "snappy")


def java_0_11(world, _kafka, server):
    old_java(world, server, "0.11.0.3", "lz4")


KAFKAJS = """
const { Kafka, logLevel } = require('kafkajs');
const [server, topic] = process.argv.slice(2);
const kafka = new Kafka({ clientId: 'js', brokers: [server], logLevel: logLevel.ERROR });
(async () => {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: true });
  const producer = kafka.producer({ transactionalId: topic + '-txn', idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const work = await producer.transaction();
  await work.send({ topic, messages: [...Array(20).keys()].map((n) => ({ key: `${n}`, value: `v${n}` })) });
  await work.commit();
  const consumer = kafka.consumer({ groupId: topic + '-group' });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await new Promise((done) => { let n = 0; consumer.run({ eachMessage: async () => { if (++n === 20) done(); } }); });
  await consumer.stop();
  await consumer.disconnect();
  await admin.fetchOffsets({ groupId: topic + '-group', topics: [topic] });
  await admin.fetchTopicOffsets(topic);
  await admin.describeGroups([topic + '-group']);
  await producer.disconnect();
  await admin.disconnect();
  console.log('done');
})().catch((error) => { console.error(error); process.exit(1); });
"""


def kafkajs(world, _kafka, server):
    if not shutil.which("npm"):
        raise Skipped("npm is not installed")
    folder = world.dir / "js"
    folder.mkdir()
    (folder / "session.js").write_text(KAFKAJS)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "kafkajs@2.2.4"], cwd=folder, check=True, capture_output=True, timeout=300)
    said = world.run("node", folder / "session.js", server, f"{RUN}-js")
    assert "done" in said, said


def java_transactions(world, kafka, server):
    topic = f"{RUN}-txn"
    world.run(kafka, "topics", "--bootstrap-server", server, "--create", "--topic", topic, "--partitions", 1)
    for _ in range(2):
        world.run(kafka, "producer-perf-test", "--topic", topic, "--num-records", 40, "--record-size", 10, "--throughput", -1,
                  "--transactional-id", f"{RUN}-perf", "--transaction-duration-ms", 100,
                  "--producer-props", f"bootstrap.servers={server}")
    world.run(kafka, "console-consumer", "--bootstrap-server", server, "--topic", topic, "--from-beginning",
              "--isolation-level", "read_committed", "--max-messages", 80, "--group", f"{RUN}-txn-readers")
    world.run(kafka, "transactions", "--bootstrap-server", server, "describe", "--transactional-id", f"{RUN}-perf")


def librdkafka(_world, _kafka, server):
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

    topic, group, base = f"{RUN}-rd", f"{RUN}-rd-group", {"bootstrap.servers": server, "client.id": "rd"}
    admin = AdminClient(base)
    for name in (topic, f"{topic}-out"):
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(20)
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(20)
    for asked in admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values():
        asked.result(20)
    producer = ck.Producer({**base, "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 50})
    for n in range(60):
        producer.produce(topic, key=str(n % 5), value=str(n))
    assert producer.flush(30) == 0
    consumer = ck.Consumer({**base, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                            "isolation.level": "read_committed"})
    consumer.subscribe([topic])
    out = ck.Producer({**base, "transactional.id": f"{RUN}-rd-txn"})
    out.init_transactions(20)
    for is_kept in (True, False, True):
        out.begin_transaction()
        for message in read(consumer, 10):
            out.produce(f"{topic}-out", key=message.key(), value=message.value())
        out.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 20)
        out.commit_transaction(20) if is_kept else out.abort_transaction(20)
    consumer.commit(asynchronous=False)
    consumer.close()
    admin.list_consumer_groups().result(20)
    admin.describe_consumer_groups([group])[group].result(20)
    admin.delete_consumer_groups([group])[group].result(20)
    for gone in admin.delete_topics([topic, f"{topic}-out"]).values():
        gone.result(20)


def read(consumer, count):
    got = []
    until(f"{count} records", 30, lambda: len(got) >= count or got.extend(
        message for message in consumer.consume(1, 1.0) if not message.error()))
    return got


def librdkafka_group(_world, _kafka, server):
    """Two members, one of them static, one after the other."""
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, NewTopic

    topic, base = f"{RUN}-shared", {"bootstrap.servers": server, "client.id": "rd"}
    admin = AdminClient(base)
    admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(20)
    producer = ck.Producer(base)
    for n in range(40):
        producer.produce(topic, key=str(n), value=str(n), partition=n % 4)
    assert producer.flush(30) == 0
    settings = {**base, "group.id": f"{RUN}-shared-group", "auto.offset.reset": "earliest",
                "partition.assignment.strategy": "cooperative-sticky"}
    first = ck.Consumer({**settings, "group.instance.id": f"{RUN}-one"})
    first.subscribe([topic])
    read(first, 40)
    first.close()
    again = ck.Consumer({**settings, "group.instance.id": f"{RUN}-one"})
    again.subscribe([topic])
    until("an assignment", 30, lambda: again.poll(0.2) or again.assignment())
    again.close()


def kafka_python(_world, _kafka, server):
    import kafka
    from kafka.admin import NewTopic

    topic = f"{RUN}-py"
    admin = kafka.KafkaAdminClient(bootstrap_servers=server)
    admin.create_topics([NewTopic(topic, 2, 1)])
    producer = kafka.KafkaProducer(bootstrap_servers=server, acks="all", compression_type="gzip", linger_ms=50)
    sent = [producer.send(topic, key=b"%d" % (n % 3), value=b"%d" % n) for n in range(30)]
    producer.flush(30)
    assert all(s.get(30).offset >= 0 for s in sent)
    consumer = kafka.KafkaConsumer(topic, bootstrap_servers=server, group_id=f"{RUN}-py-group", auto_offset_reset="earliest",
                                   consumer_timeout_ms=15000)
    assert [consumer.beginning_offsets([p]) for p in (kafka.TopicPartition(topic, 0),)]
    got = []
    for message in consumer:
        got.append(message)
        if len(got) == 30:
            break
    consumer.commit()
    consumer.close()
    admin.close()
    producer.close()
