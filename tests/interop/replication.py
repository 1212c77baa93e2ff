"""Who reads from whom, and how fast: racks and throttles, between brokers of ours and of Java's."""

import struct
import time

from harness import World, cluster_is_up, free_ports, need_peer, need_python, say, topics_are_up, until
from old_formats import Raw, text

SELECTOR = "org.apache.kafka.common.replica.RackAwareReplicaSelector"


def cluster(world, kinds, **properties):
    """Brokers 1, 2, …, of Java's where `kinds` has the command; gives (start, ports, bootstrap)."""
    ensemble = world.ensemble(["ours"] * 3)
    ensemble.start_all()
    ports = dict(enumerate(free_ports(len(kinds) + 12)[12:], 1))

    def start(number):
        own = {key: value[number - 1] if isinstance(value, list) else value for key, value in properties.items()}
        world.broker(number, ports[number], ensemble.connect + "/test", kinds[number - 1],
                     **{"offsets_topic_replication_factor": 1, **own})

    return start, ports, ",".join(f"127.0.0.1:{port}" for port in ports.values())


def preferred(raw, topic, rack, offset=0):
    """What Fetch 11 says of one partition: (error, preferred replica, bytes of records)."""
    body = struct.pack(">iiiibii", -1, 0, 1, 1 << 22, 0, 0, -1) + struct.pack(">i", 1) + text(topic)
    body += struct.pack(">iiiqqi", 1, 0, -1, offset, -1, 1 << 20) + struct.pack(">i", 0) + text(rack)
    answer = raw.call(1, 11, body)
    at = 4 + 2 + 4 + 4 + 2 + len(topic) + 4
    index, error, *_ = struct.unpack_from(">ihqqq", answer, at)
    at += 4 + 2 + 24
    aborted = struct.unpack_from(">i", answer, at)[0]
    at += 4 + 16 * max(aborted, 0)
    replica, size = struct.unpack_from(">ii", answer, at)
    return error, replica, max(size, 0)


def nearest_replica():
    """Consumers are sent to the replica in their rack, by leaders of ours and of Java's, and served there."""
    kafka = need_peer("kafka")
    need_python("confluent_kafka")
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient

    with World("nearest-replica") as world:
        start, ports, bootstrap = cluster(world, [None, kafka, None], broker_rack=["a", "b", "c"],
                                          replica_selector_class=SELECTOR)
        for number in ports:
            start(number)
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        cluster_is_up(ports)
        # Topic led-by-N has its first replica on broker N.
        for leader in ports:
            others = [number for number in ports if number != leader]
            world.run(kafka, "topics", "--bootstrap-server", bootstrap, "--create", "--topic", f"led-by-{leader}",
                      "--replica-assignment", ":".join(map(str, [leader, *others])))
        topics_are_up(ports, *(f"led-by-{leader}" for leader in ports), in_sync=3)
        producer = ck.Producer({"bootstrap.servers": bootstrap, "log_level": 0, "acks": "all"})
        for leader in ports:
            for i in range(100):
                producer.produce(f"led-by-{leader}", value=str(i))
        assert producer.flush(240) == 0
        racks = {1: "a", 2: "b", 3: "c"}
        for leader in ports:
            topic, raw = f"led-by-{leader}", Raw(ports[leader])
            for number, rack in racks.items():
                # Until each follower has fetched what the consumer asks for.
                wanted = -1 if number == leader else number
                until(f"{topic} for rack {rack}", 20, lambda: preferred(raw, topic, rack)[:2] == (0, wanted))
                error, _, size = preferred(raw, topic, rack)
                assert (size > 0) == (number == leader), (topic, rack, size)
                # A follower hears of the high watermark with its next fetch.
                near = Raw(ports[number])
                until(f"broker {number} to serve {topic}", 20, lambda: preferred(near, topic, rack)[2] > 0)
                assert preferred(near, topic, rack)[:2] == (0, -1), (topic, number)
            for rack in ("", "elsewhere"):
                error, replica, size = preferred(raw, topic, rack)
                assert (error, replica) == (0, -1) and size > 0, (topic, rack)
            assert preferred(raw, topic, racks[leader % 3 + 1], 1000)[0] == 1, "an offset that nobody has"
        say("each rack is sent to its own replica, which answers")
        for leader in ports:
            topic = f"led-by-{leader}"
            for rack in racks.values():
                consumer = ck.Consumer({"bootstrap.servers": bootstrap, "log_level": 0, "group.id": "g", "client.rack": rack})
                consumer.assign([ck.TopicPartition(topic, 0, 0)])
                got = []
                until(f"librdkafka in rack {rack} to read {topic}", 30, lambda: got.extend(
                    int(m.value()) for m in consumer.consume(100, 0.5) if not m.error()) or len(got) >= 100)
                assert got == list(range(100)), got
                consumer.close()
        near = ["--bootstrap-server", bootstrap, "--partition", 0, "--offset", "earliest", "--max-messages", 100,
                "--consumer-property", "client.rack=c", "--timeout-ms", 240000]
        for leader in ports:
            wanted = [str(i) for i in range(100)]
            for name, said in (("Java's", world.run(kafka, "console-consumer", *near, "--topic", f"led-by-{leader}")),
                               ("our", world.run(world.tool("kafka-console-consumer.sh"), *near, "--topic", f"led-by-{leader}"))):
                got = [line for line in said.splitlines() if line.isdigit()]
                assert got == wanted, f"{name} consumer of led-by-{leader}: {said[-500:]}"
        say("librdkafka's, Java's and our own consumers read from there")


def throttled_replicas(megabytes=6, rate=600_000):
    """A replica that comes back is copied at the throttled rate, by a leader of ours and by a follower of ours."""
    kafka = need_peer("kafka")
    need_python("confluent_kafka")
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient

    with World("throttled-replicas") as world:
        start, ports, bootstrap = cluster(world, [None, kafka], num_partitions=1, replica_lag_time_max_ms=4000)
        for number in ports:
            start(number)
        admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        cluster_is_up(ports)
        at = ["--bootstrap-server", bootstrap]

        def configs(kind, name, add):
            # A broker's settings are changed by itself.
            to = ["--bootstrap-server", f"127.0.0.1:{ports[int(name)]}"] if kind == "brokers" else at
            world.run(kafka, "configs", *to, "--alter", "--entity-type", kind, "--entity-name", name, "--add-config", add)

        for leader, follower, throttle in ((1, 2, "leader"), (2, 1, "follower")):
            topic = f"by-{throttle}"
            world.run(kafka, "topics", *at, "--create", "--topic", topic, "--replica-assignment", f"{leader}:{follower}")
            topics_are_up(ports, topic, in_sync=2)
            throttler = leader if throttle == "leader" else follower
            configs("brokers", str(throttler), f"{throttle}.replication.throttled.rate={rate}")
            world.stop(f"broker-{follower}", seconds=60)

            def isr():
                return {*admin.list_topics(topic, 10).topics[topic].partitions[0].isrs}

            until("the follower to leave", 30, lambda: isr() == {leader})
            producer = ck.Producer({"bootstrap.servers": f"127.0.0.1:{ports[leader]}", "log_level": 0, "acks": "1"})
            for i in range(megabytes * 10):
                producer.produce(topic, value=bytes([i]) * 100_000)
                producer.poll(0)
            assert producer.flush(240) == 0
            configs("topics", topic, f"{throttle}.replication.throttled.replicas=0:{throttler}")
            start(follower)
            begin = time.monotonic()
            until("the follower to come back", 90, lambda: isr() == {leader, follower})
            took = time.monotonic() - begin
            say(f"throttled by our {throttle}, {megabytes} MB came in {took:.1f} s")
            # Up to a window's worth goes at once, and a response of one partition is 1 MB.
            assert took > (megabytes * 1e6 - 2.5e6) / rate, took
            described = world.run(kafka, "configs", "--bootstrap-server", f"127.0.0.1:{ports[throttler]}", "--describe",
                                  "--entity-type", "brokers", "--entity-name", str(throttler))
            assert f"{throttle}.replication.throttled.rate={rate}" in described, described
