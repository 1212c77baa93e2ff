"""A broker of ours beside two of Java's: one cluster, each kind as its controller."""

import json

import mixed_ensemble
from broker_load import Writer
from harness import World, cluster_is_up, free_ports, need_peer, need_python, say, topics_are_up, until
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

        def controller():
            return until("a controller", 60, lambda: [zk(lambda c: json.loads(c.get("/test/controller")[0])["brokerid"])])[0]

        def make_controller(wanted):
            mixed_ensemble.make_controller(world, zk, wanted, ports)

        start(2)
        until("a Java controller", 90, lambda: controller() == 2)
        start(1)
        start(3)
        cluster_is_up(ports)
        admin = AdminClient(at)
        topic = NewTopic("t", PARTITIONS, 3, config={"min.insync.replicas": "2"})
        next(iter(admin.create_topics([topic]).values())).result(60)

        def partitions():
            return admin.list_topics("t", 10).topics["t"].partitions.values()

        def leaders():
            return [p.leader for p in partitions()]

        with Writer(at, PARTITIONS) as writer:
            for kind, wanted in (("Java's", {2, 3}), ("our", {1})):
                make_controller(wanted)
                say(f"{kind} controller, broker {controller()}")
                topics_are_up(ports, "t", in_sync=3)
                for number in (1, 3, 2):
                    def each_leads():
                        # librdkafka asks a former controller until metadata tells it of the current one.
                        if set(leaders()) != {1, 2, 3}:
                            admin.elect_leaders(ck.ElectionType.PREFERRED).result(30)
                        return set(leaders()) == {1, 2, 3}

                    until("each broker to lead", 60, each_leads)
                    before = writer.count()
                    code = world.stop(f"broker-{number}", seconds=60)
                    # Java's broker ends by the signal's exit code.
                    assert code in ((0,) if number == 1 else (0, 143)), f"broker {number} exited with {code}"
                    until(f"others to lead what {number} led", 20, lambda: number not in leaders() and -1 not in leaders())
                    until("records to be taken meanwhile", 30, lambda: writer.count() > before + 200)
                    start(number)
                    cluster_is_up(ports)
                    topics_are_up(ports, "t", in_sync=3)
                    say(f"broker {number} was stopped and is back, {writer.count()} acknowledged")
                    if controller() not in wanted:
                        make_controller(wanted)
        writer.check()
