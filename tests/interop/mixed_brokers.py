"""A broker of ours beside two of Java's: one cluster, each kind as its controller."""

import json
import threading
import time

from harness import World, free_ports, need_peer, need_python, say, until
from mixed_ensemble import with_client

PARTITIONS = 6


def mixed_brokers():
    """One broker of ours and two of Java's: replicas both ways, each stopped in good order under each kind of controller."""
    kafka = need_peer("kafka")
    need_python("kazoo", "confluent_kafka")
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, NewTopic

    with World("mixed-brokers") as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        ports = dict(enumerate(free_ports(3 + 12)[12:], 1))
        bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports.values())
        # As a producer that nobody tunes, but quicker to find a new leader.
        at = {"bootstrap.servers": bootstrap, "log_level": 0}

        def start(number):
            world.broker(number, ports[number], ensemble.connect + "/test", None if number == 1 else kafka)

        def zk(act):
            return with_client(ensemble, 1, lambda c: (c.sync("/"), act(c))[1])

        def brokers():
            return {int(name) for name in zk(lambda c: c.get_children("/test/brokers/ids"))}

        def controller():
            return zk(lambda c: json.loads(c.get("/test/controller")[0])["brokerid"])

        def make_controller(wanted):
            """Deposes the controller until the wanted one is faster than the others."""
            for _ in range(50):
                if controller() in wanted:
                    return
                zk(lambda c: c.delete("/test/controller"))
                until("a controller", 30, lambda: controller() is not None)
            raise AssertionError(f"none of {wanted} became the controller")

        start(2)
        until("a Java controller", 90, lambda: controller() == 2)
        start(1)
        start(3)
        until("three brokers", 90, lambda: brokers() == {1, 2, 3})
        admin = AdminClient(at)
        until("each broker in the metadata", 60, lambda: len(admin.list_topics(timeout=10).brokers) == 3)
        topic = NewTopic("t", PARTITIONS, 3, config={"min.insync.replicas": "2"})
        next(iter(admin.create_topics([topic]).values())).result(60)

        def partitions():
            return admin.list_topics("t", 10).topics["t"].partitions.values()

        def all_in_sync():
            return len(partitions()) == PARTITIONS and all(len(p.isrs) == 3 for p in partitions())

        def leaders():
            return [p.leader for p in partitions()]

        # One request under way: librdkafka answers a retry that was overtaken with a new epoch, and then sends again what a
        # leader that has gone may have taken (seen between two Java leaders: one record twice, epochs 0 and 1).
        producer = ck.Producer({**at, "enable.idempotence": True, "acks": "all", "linger.ms": 5, "max.in.flight": 1,
                                "message.timeout.ms": 120000})
        acknowledged, failures, stop = [set() for _ in range(PARTITIONS)], [], threading.Event()

        def delivered(error, message):
            if error:
                failures.append(error)
            else:
                acknowledged[message.partition()].add(int(message.value()))

        def produce():
            i = 0
            while not stop.is_set():
                producer.produce("t", value=str(i), partition=i % PARTITIONS, on_delivery=delivered)
                producer.poll(0)
                i += 1
                time.sleep(0.002)

        traffic = threading.Thread(target=produce)
        traffic.start()
        try:
            for kind, wanted in (("Java's", {2, 3}), ("our", {1})):
                make_controller(wanted)
                say(f"{kind} controller, broker {controller()}")
                until("all replicas in sync", 60, all_in_sync)
                for number in (1, 3, 2):
                    admin.elect_leaders(ck.ElectionType.PREFERRED).result(30)
                    until("each broker to lead", 30, lambda: set(leaders()) == {1, 2, 3})
                    before = sum(map(len, acknowledged))
                    code = world.stop(f"broker-{number}", seconds=60)
                    # Java's broker ends by the signal's exit code.
                    assert code in ((0,) if number == 1 else (0, 143)), f"broker {number} exited with {code}"
                    until(f"others to lead what {number} led", 20, lambda: number not in leaders() and -1 not in leaders())
                    until("records to be taken meanwhile", 30, lambda: sum(map(len, acknowledged)) > before + 200)
                    start(number)
                    until(f"broker {number} to be back in sync", 90, all_in_sync)
                    say(f"broker {number} was stopped and is back, {sum(map(len, acknowledged))} acknowledged")
                    if controller() not in wanted:
                        make_controller(wanted)
        finally:
            stop.set()
            traffic.join(30)
        assert producer.flush(120) == 0 and not failures, failures[:3]
        consumer = ck.Consumer({**at, "group.id": "g"})
        consumer.assign([ck.TopicPartition("t", p, 0) for p in range(PARTITIONS)])
        total, got = sum(map(len, acknowledged)), [[] for _ in range(PARTITIONS)]

        def drain():
            for message in consumer.consume(5000, 1.0):
                if not message.error():
                    got[message.partition()].append(int(message.value()))
            return sum(map(len, got)) >= total

        try:
            until("all that was acknowledged", 60, drain)
        except AssertionError:
            for p in partitions():
                at_end = consumer.get_watermark_offsets(ck.TopicPartition("t", p.id), timeout=5)
                say(f"{p.id}: {len(acknowledged[p.id])} acknowledged, {len(got[p.id])} read, offsets {at_end}, leader {p.leader}")
            raise
        consumer.close()
        for partition in range(PARTITIONS):
            assert got[partition] == sorted(set(got[partition])), f"order and uniqueness in partition {partition}"
            missing = acknowledged[partition] - set(got[partition])
            assert not missing, f"{len(missing)} of partition {partition} are lost: {sorted(missing)[:5]}"
        say(f"{total} acknowledged records are there once, in order")
