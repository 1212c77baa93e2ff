"""Real Kafka 3.5.1 on our ensemble."""

import json
import signal
import subprocess

from harness import World, free_ports, need_peer, need_python, say, until
from mixed_ensemble import with_client


def kafka_on_ours(records=200_000):
    """Three Java brokers under /test on three of our servers: a leader of ours and the controller's broker are killed."""
    kafka = need_peer("kafka")
    need_python("kazoo")
    with World("kafka-on-ours") as world:
        ensemble = world.ensemble(["ours"] * 3)
        ensemble.start_all()
        ports = dict(enumerate(free_ports(3 + 12)[12:], 1))
        bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports.values())
        for number, port in ports.items():
            world.broker(number, port, ensemble.connect + "/test", kafka)

        def znode(path):
            alive = next(i for i in ensemble.client if f"zk-{i}" in world.processes)
            return with_client(ensemble, alive, lambda c: (c.sync("/"), c.get("/test" + path)[0])[1])

        def brokers():
            alive = next(i for i in ensemble.client if f"zk-{i}" in world.processes)
            return with_client(ensemble, alive, lambda c: set(c.get_children("/test/brokers/ids")))

        until("three Java brokers", 90, lambda: brokers() == {"1", "2", "3"})
        at = ["--bootstrap-server", bootstrap]
        world.run(kafka, "topics", *at, "--create", "--topic", "t", "--partitions", 6, "--replication-factor", 3,
                  "--config", "min.insync.replicas=2")
        producer = subprocess.Popen(
            [kafka, "producer-perf-test", "--topic", "t", "--num-records", str(records), "--record-size", "100",
             "--throughput", str(records // 30), "--producer-props", f"bootstrap.servers={bootstrap}", "acks=all"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        leader = ensemble.leader()
        say(f"kill -9 of our leader, server {leader}")
        ensemble.kill(leader)
        ensemble.wait([i for i in ensemble.client if i != leader])
        ensemble.start(leader)
        controller = json.loads(znode("/controller"))["brokerid"]
        say(f"kill -9 of the controller's broker, {controller}")
        world.stop(f"broker-{controller}", signal.SIGKILL)
        successor = until("another controller", 60,
                          lambda: (now := json.loads(znode("/controller"))["brokerid"]) != controller and now)
        said, _ = producer.communicate(timeout=300)
        assert producer.returncode == 0 and f"{records} records sent" in said, said[-3000:]
        assert "Exception" not in said, said[-3000:]
        say(f"broker {successor} is the controller; {said.strip().splitlines()[-1]}")
        read = world.run(kafka, "consumer-perf-test", *at, "--topic", "t", "--messages", records, "--timeout", 60000,
                         seconds=300)
        assert int(read.splitlines()[-1].split(",")[4]) >= records, read
        until("the dead broker's node to go", 40, lambda: str(controller) not in brokers())
        world.broker(controller, ports[controller], ensemble.connect + "/test", kafka)
        until("it to come back", 60, lambda: str(controller) in brokers())
