"""A cluster in the middle of a rolling upgrade: `inter.broker.protocol.version` of before, our brokers beside Java's, then raised."""

import json
import signal
import time

from broker_load import Writer
from harness import World, cluster_is_up, free_ports, need_peer, need_python, say, until
from mixed_ensemble import with_client

PARTITIONS = 3
# Topic ids came with 2.8, ISR changes by request and features with 2.7.
WITH_IDS, WITH_FEATURES = (2, 8), (2, 7)


def old_protocol():
    """Brokers of both kinds with inter.broker.protocol.version=2.6, ISRs by way of ZooKeeper, raised to 3.5 one by one."""
    raised("2.6")


def old_protocol_of_two_eight():
    """Brokers of both kinds with inter.broker.protocol.version=2.8, raised to 3.5 one by one."""
    raised("2.8")


def old_protocol_of_one_one():
    """Brokers of both kinds with inter.broker.protocol.version=1.1, raised to 3.5 one by one."""
    raised("1.1")


def raised(old):
    kafka = need_peer("kafka")
    need_python("kazoo", "confluent_kafka")
    from confluent_kafka.admin import AdminClient, NewTopic

    version = tuple(map(int, old.split(".")))
    with World(f"protocol-{old}") as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        ports = dict(enumerate(free_ports(12 + 3)[12:], 1))
        at = {"bootstrap.servers": ",".join(f"127.0.0.1:{port}" for port in ports.values()), "log_level": 0}

        def start(number, protocol):
            # Two of ours, one of Java's.
            world.broker(number, ports[number], ensemble.connect + "/test", kafka if number == 2 else None, **{
                "inter_broker_protocol_version": protocol, "replica_lag_time_max_ms": 2000,
                # Who asks too early may have a topic made: it is to be as the others.
                "num_partitions": PARTITIONS, "default_replication_factor": 3, "min_insync_replicas": 2})

        def zk(act):
            return with_client(ensemble, 1, lambda c: (c.sync("/"), act(c))[1])

        def node(path):
            return json.loads(zk(lambda c: c.get("/test" + path)[0]))

        def states(topic):
            return [node(f"/brokers/topics/{topic}/partitions/{number}/state") for number in range(PARTITIONS)]

        def in_sync(topic, members):
            return all(sorted(state["isr"]) == members for state in states(topic))

        def controller():
            return node("/controller")["brokerid"]

        def make_controller(wanted):
            """Deposes the controller while those that are not wanted are held up for a moment."""
            held = [world.processes[f"broker-{number}"] for number in ports if number not in wanted and controller() not in wanted]
            for process in held:
                process.send_signal(signal.SIGSTOP)
            try:
                if held:
                    zk(lambda c: c.delete("/test/controller"))
                until(f"one of {wanted} to govern", 20, lambda: controller() in wanted)
            finally:
                for process in held:
                    process.send_signal(signal.SIGCONT)

        def told_isrs(topic):
            return [sorted(part.isrs) for part in admin.list_topics(topic, 10).topics[topic].partitions.values()]

        def shrink_and_grow(topic, number, led_by):
            """A broker stands still for less than its session lasts: the leaders take it out, and back."""
            others = sorted(set(ports) - {number})
            process = world.processes[f"broker-{number}"]
            process.send_signal(signal.SIGSTOP)
            try:
                until(f"{led_by} to take broker {number} out of an ISR", 12,
                      lambda: any(sorted(state["isr"]) == others and state["leader"] != number for state in states(topic)))
            finally:
                process.send_signal(signal.SIGCONT)
            until(f"broker {number} to be back in sync", 30, lambda: in_sync(topic, [1, 2, 3]))
            until("the metadata to tell of it", 30, lambda: told_isrs(topic) == [[1, 2, 3]] * PARTITIONS)

        start(2, old)
        until("Java's controller", 90, lambda: controller() == 2)
        start(1, old)
        start(3, old)
        cluster_is_up(ports)
        admin = AdminClient(at)
        forms = [set(node(f"/brokers/ids/{number}")) for number in ports]
        assert forms[0] == forms[1] == forms[2], f"registrations differ: {forms}"
        assert ("features" in forms[0]) == (version >= WITH_FEATURES), forms[0]

        def create(topic):
            new = NewTopic(topic, PARTITIONS, replica_assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]], config={"min.insync.replicas": "2"})

            def made():
                # Who has just heard of another controller asks the former one still.
                if topic not in admin.list_topics(timeout=10).topics:
                    next(iter(admin.create_topics([new]).values())).result(60)
                return True

            until(f"{topic} to be made", 60, made)
            until(f"{topic} in sync", 30, lambda: in_sync(topic, [1, 2, 3]))
            assert ("topic_id" in node(f"/brokers/topics/{topic}")) == (version >= WITH_IDS), node(f"/brokers/topics/{topic}")

        feature = node("/feature")
        create("t")
        make_controller({1, 3})
        say(f"our controller, broker {controller()}, speaks {old} as Java's did")
        until("the same /feature", 10, lambda: node("/feature") == feature)
        assert feature["status"] == int(version >= WITH_FEATURES), feature
        create("u")
        with Writer(at, PARTITIONS) as writer:
            def taken(more):
                before = writer.count()
                until("records to be taken", 30, lambda: writer.failures or writer.count() > before + more)
                assert not writer.failures, writer.failures[:3]

            taken(100)
            shrink_and_grow("t", 2, "our leaders")
            # A controller that stands still writes no ISRs, with a protocol in which it is asked for them.
            shrink_and_grow("t", 4 - controller(), "Java's leader and ours")
            say(f"ISRs shrank and grew, {writer.count()} acknowledged")
            make_controller({2})
            for number in ports:
                world.stop(f"broker-{number}", seconds=60)
                taken(50)
                start(number, "3.5")
                until(f"broker {number} to be back in sync", 90, lambda: in_sync("t", [1, 2, 3]) and in_sync("u", [1, 2, 3]))
                say(f"broker {number} speaks 3.5, {writer.count()} acknowledged")
            make_controller({1, 2, 3} - {controller()})
            until("ids of all topics", 30, lambda: all("topic_id" in node(f"/brokers/topics/{topic}") for topic in ("t", "u")))
            until("/feature of today", 30, lambda: node("/feature") == {"features": {}, "status": 1, "version": 2})
            taken(200)
            until("replicas to follow by id", 60, lambda: in_sync("t", [1, 2, 3]))
            time.sleep(1)
        writer.check()
