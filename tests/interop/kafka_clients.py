"""Real Kafka clients on our brokers: Java's tools, librdkafka, kafka-python; and a leader that is killed."""

import contextlib
import signal
import threading
import time

from harness import World, cluster_is_up, free_ports, need_peer, need_python, say, topics_are_up, until


@contextlib.contextmanager
def cluster(name):
    """Three servers and three brokers, all ours; gives the world, the bootstrap list, and broker id -> port."""
    with World(name) as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        ports = dict(enumerate(free_ports(3 + 12)[12:], 1))
        for number, port in ports.items():
            world.broker(number, port, ensemble.connect + "/test")
        bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports.values())
        # A client that asks before the controller has told the brokers waits for its own next refresh, as with Java's.
        cluster_is_up(ports)
        yield world, ensemble, bootstrap, ports


def registered(world, ensemble):
    text = world.run(world.tool("zkCli.sh"), "-server", ensemble.connect, "ls", "/test/brokers/ids", check=False)
    return set(text.strip().splitlines()[-1].strip("[]").split(", "))


def java_tools():
    """Java's console and perf tools, with groups, on three of our brokers."""
    kafka = need_peer("kafka")
    with cluster("java-tools") as (world, _, bootstrap, ports):
        at = ["--bootstrap-server", bootstrap]
        world.run(kafka, "topics", *at, "--create", "--topic", "t", "--partitions", 6, "--replication-factor", 3)
        topics_are_up(ports, "t", in_sync=3)
        described = world.run(kafka, "topics", *at, "--describe", "--topic", "t")
        assert described.count("Isr: ") == 6 and "ReplicationFactor: 3" in described, described
        say("console producer and consumer")
        lines = [f"key{i}:value{i}" for i in range(500)]
        world.run(kafka, "console-producer", *at, "--topic", "t", "--property", "parse.key=true", "--property",
                  "key.separator=:", input="\n".join(lines) + "\n")
        read = world.run(kafka, "console-consumer", *at, "--topic", "t", "--from-beginning", "--group", "g", "--property",
                         "print.key=true", "--property", "key.separator=:", "--max-messages", 500, "--timeout-ms", 240000)
        assert sorted(line for line in read.splitlines() if line.startswith("key")) == sorted(lines), read[-2000:]
        group = world.run(kafka, "consumer-groups", *at, "--describe", "--group", "g")
        lags = [line.split()[5] for line in group.splitlines() if line.startswith("g ")]
        assert lags == ["0"] * 6, group
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            say(f"perf producer, {codec}")
            done = world.run(kafka, "producer-perf-test", "--topic", "t", "--num-records", 20000, "--record-size", 100,
                             "--throughput", -1, "--producer-props", f"bootstrap.servers={bootstrap}", "acks=all",
                             f"compression.type={codec}")
            assert "20000 records sent" in done, done
        say("perf consumer")
        read = world.run(kafka, "consumer-perf-test", *at, "--topic", "t", "--messages", 100500, "--timeout", 240000)
        assert int(read.splitlines()[-1].split(",")[4]) >= 100500, read


def librdkafka():
    """Python's confluent-kafka (librdkafka): idempotent producer, group of two consumers."""
    need_python("confluent_kafka")
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, NewTopic

    with cluster("librdkafka") as (_, _, bootstrap, _):
        admin = AdminClient({"bootstrap.servers": bootstrap})
        for created in admin.create_topics([NewTopic("t", 4, 3)]).values():
            created.result(120)
        producer = ck.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "lz4"})
        failures = []
        for i in range(5000):
            producer.produce("t", key=str(i % 50), value=str(i), on_delivery=lambda e, _: e and failures.append(e))
            producer.poll(0)
        assert producer.flush(240) == 0 and not failures, failures[:3]
        got, stop = [], threading.Event()

        def consume():
            consumer = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
            consumer.subscribe(["t"])
            while not stop.is_set():
                message = consumer.poll(0.2)
                if message and not message.error():
                    got.append((message.key(), int(message.value())))
            consumer.close()

        threads = [threading.Thread(target=consume) for _ in range(2)]
        [t.start() for t in threads]
        try:
            until("5000 records", 60, lambda: len({value for _, value in got}) == 5000)
        finally:
            stop.set()
            [t.join(120) for t in threads]


def kafka_python():
    """kafka-python: producer, group consumer, admin."""
    need_python("kafka")
    import kafka
    from kafka.admin import NewTopic

    with cluster("kafka-python") as (_, _, bootstrap, ports):
        servers = bootstrap.split(",")
        admin = kafka.KafkaAdminClient(bootstrap_servers=servers)
        admin.create_topics([NewTopic("t", 3, 3)])
        topics_are_up(ports, "t")
        assert "t" in kafka.KafkaConsumer(bootstrap_servers=servers).topics()
        producer = kafka.KafkaProducer(bootstrap_servers=servers, acks="all")
        sent = [producer.send("t", key=b"%d" % (i % 7), value=b"%d" % i) for i in range(2000)]
        producer.flush(240)
        assert all(s.get(120).offset >= 0 for s in sent)
        consumer = kafka.KafkaConsumer("t", bootstrap_servers=servers, group_id="g", auto_offset_reset="earliest",
                                       consumer_timeout_ms=120000)
        got = []
        for message in consumer:
            got.append((message.key, int(message.value)))
            if len(got) == 2000:
                break
        assert len(got) == 2000, len(got)
        for key in {k for k, _ in got}:
            values = [v for k, v in got if k == key]
            assert values == sorted(values), f"the order of key {key}"
        consumer.commit()
        consumer.close()
        admin.close()
        producer.close()


def killed_leader():
    """kill -9 of a partition's leader under an acks=all idempotent producer: all that was acknowledged is there, in order."""
    need_python("confluent_kafka")
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, NewTopic

    with cluster("killed-leader") as (world, ensemble, bootstrap, ports):
        admin = AdminClient({"bootstrap.servers": bootstrap})
        for created in admin.create_topics([NewTopic("t", 1, 3, config={"min.insync.replicas": "2"})]).values():
            created.result(120)
        topics_are_up(ports, "t", in_sync=3)
        acknowledged, failures = [], []
        producer = ck.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all",
                                "linger.ms": 5, "message.timeout.ms": 600000})

        def delivered(error, message):
            (failures if error else acknowledged).append(error or int(message.value()))

        def leader():
            return admin.list_topics("t", 10).topics["t"].partitions[0].leader

        first = until("a leader", 20, leader)
        end, i, killed = time.monotonic() + 25, 0, False
        while time.monotonic() < end:
            producer.produce("t", value=str(i), on_delivery=delivered)
            i += 1
            producer.poll(0)
            time.sleep(0.001)
            if not killed and time.monotonic() > end - 20:
                say(f"kill -9 of broker {first}, {len(acknowledged)} acknowledged")
                world.stop(f"broker-{first}", signal.SIGKILL)
                killed = True
        assert producer.flush(600) == 0 and not failures, failures[:3]
        second = until("another leader", 30, lambda: (now := leader()) != first and now)
        say(f"broker {second} leads, {len(acknowledged)} of {i} acknowledged")
        until("the dead broker's session to end", 40, lambda: str(first) not in registered(world, ensemble))
        world.broker(first, ports[first], ensemble.connect + "/test")
        consumer = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
        consumer.assign([ck.TopicPartition("t", 0, 0)])
        got = []

        def drain():
            got.extend(int(m.value()) for m in consumer.consume(5000, 1.0) if not m.error())
            return len(got) >= len(acknowledged)

        until("all that was acknowledged", 60, drain)
        assert got == sorted(got), "order"
        assert len(set(got)) == len(got), "an idempotent producer's records are there once"
        missing = set(acknowledged) - set(got)
        assert not missing, f"{len(missing)} acknowledged records are lost: {sorted(missing)[:5]}"
        consumer.close()
