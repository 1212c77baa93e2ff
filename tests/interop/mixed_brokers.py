"""A broker of ours beside two of Java's: one cluster, each kind as its controller."""

import json
import signal

from broker_load import Writer
from harness import World, cluster_is_up, free_ports, need_peer, need_python, say, until
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
            return zk(lambda c: json.loads(c.get("/test/controller")[0])["brokerid"])

        def make_controller(wanted):
            """Deposes the controller while those that are not wanted are held up: ours would nearly always be faster."""
            if controller() in wanted:
                return
            held = [world.processes[f"broker-{number}"] for number in ports if number not in wanted]
            for process in held:
                process.send_signal(signal.SIGSTOP)
            try:
                zk(lambda c: c.delete("/test/controller"))
                until(f"one of {wanted} to govern", 20, lambda: zk(lambda c: c.exists("/test/controller")) and controller() in wanted)
            finally:
                for process in held:
                    process.send_signal(signal.SIGCONT)

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

        def all_in_sync():
            return len(partitions()) == PARTITIONS and all(len(p.isrs) == 3 for p in partitions())

        def leaders():
            return [p.leader for p in partitions()]

        with Writer(at, PARTITIONS) as writer:
            for kind, wanted in (("Java's", {2, 3}), ("our", {1})):
                make_controller(wanted)
                say(f"{kind} controller, broker {controller()}")
                until("all replicas in sync", 60, all_in_sync)
                for number in (1, 3, 2):
                    admin.elect_leaders(ck.ElectionType.PREFERRED).result(30)
                    until("each broker to lead", 30, lambda: set(leaders()) == {1, 2, 3})
                    before = writer.count()
                    code = world.stop(f"broker-{number}", seconds=60)
                    # Java's broker ends by the signal's exit code.
                    assert code in ((0,) if number == 1 else (0, 143)), f"broker {number} exited with {code}"
                    until(f"others to lead what {number} led", 20, lambda: number not in leaders() and -1 not in leaders())
                    until("records to be taken meanwhile", 30, lambda: writer.count() > before + 200)
                    start(number)
                    until(f"broker {number} to be back in sync", 90, all_in_sync)
                    say(f"broker {number} was stopped and is back, {writer.count()} acknowledged")
                    if controller() not in wanted:
                        make_controller(wanted)
        writer.check()
